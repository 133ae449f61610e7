// Layer norm of rows. A row comes from memory once and then from the first-level cache. The second pass sums the
// deviations from the rounded mean as well as their squares (the corrected two-pass algorithm of Chan, Golub, LeVeque
// 1983), so that a row with a mean far larger than its deviation keeps its digits.
//   forward:   s = x + dropout(sub), z = (s - mean) rstd, out = z gamma + beta
//              (rms: mean is 0 and mean(g) drops out; without beta, 0)
//   backward:  g = dout gamma, ds = rstd (g - mean(g) - z mean(g z)) + dsum, dx (+)= ds, dsub = dropout(ds),
//              dgamma += dout z, dbeta += dout
void QN_V_NAME(norm_forward)(const qn_norm_args *a, size_t first, size_t last) {
    const size_t d = a->d;
    const v_dropout drop = v_dropout_of(a->dropout);
    const v_float zero = v_zero();
    for (size_t r = first; r < last; r++) {
        const float *x = a->x + r * d, *row = x;
        float *out = a->out + r * d;
        v_float s[4] = {zero, zero, zero, zero};
        if (a->sub) {
            const float *sub = a->sub + r * d;
            float *sum = a->sum ? a->sum + r * d : out; // without `sum`, `out` holds the row until the last pass
            uint64_t counter = r * ((d + 7) / 8), bits = 0;
            row = sum;
            if (drop.threshold == 0) {
                V_EACH(d, {
                    v_float t = v_add(v_get(x + i, w), v_get(sub + i, w));
                    v_put(sum + i, w, t);
                    s[u] = v_add(s[u], t);
                });
            } else {
                V_EACH(d, {
                    if (u == 0) bits = v_keep_bits(&drop, counter + i / 8);
                    v_float t = v_add(v_get(x + i, w), v_drop(&drop, bits, u, v_get(sub + i, w)));
                    v_put(sum + i, w, t);
                    s[u] = v_add(s[u], t);
                });
            }
        } else if (!a->rms) {
            V_EACH(d, { s[u] = v_add(s[u], v_get(x + i, w)); });
        }
        const float guess = a->rms ? 0 : v_sum4(s) / (float)d;
        const v_float m = v_set1(guess);
        v_float rest[4] = {zero, zero, zero, zero}, square[4] = {zero, zero, zero, zero};
        V_EACH(d, {
            v_float t = v_fill_tail(v_sub(v_get(row + i, w), m), w, zero);
            rest[u] = v_add(rest[u], t);
            square[u] = v_fma(t, t, square[u]);
        });
        const float shift = a->rms ? 0 : v_sum4(rest) / (float)d;
        const float rstd = 1.0f / sqrtf(fmaf(-shift, shift, v_sum4(square) / (float)d) + a->eps);
        const v_float f = v_set1(rstd), offset = v_set1(shift * rstd);
        V_EACH(d, {
            v_float z = v_fms(v_sub(v_get(row + i, w), m), f, offset);
            v_put(out + i, w, v_fma(z, v_get(a->gamma + i, w), a->beta ? v_get(a->beta + i, w) : zero));
        });
        if (a->mean) a->mean[r] = guess + shift;
        if (a->rstd) a->rstd[r] = rstd;
    }
}

void QN_V_NAME(norm_backward)(const qn_norm_args *a, size_t first, size_t last, float *dgamma, float *dbeta) {
    const size_t d = a->d;
    const v_dropout drop = v_dropout_of(a->dropout);
    const v_float zero = v_zero();
    for (size_t r = first; r < last; r++) {
        const float *row = (a->sub && a->sum ? a->sum : a->x) + r * d, *dout = a->dout + r * d;
        const float *dsum = a->dsum ? a->dsum + r * d : NULL;
        float *dx = a->dx + r * d, *dsub = a->dsub ? a->dsub + r * d : NULL;
        const v_float mean = v_set1(a->mean[r]), rstd = v_set1(a->rstd[r]);
        v_float sum_g[4] = {zero, zero, zero, zero}, sum_gz[4] = {zero, zero, zero, zero};
        V_EACH(d, {
            v_float dy = v_get(dout + i, w);
            v_float z = v_mul(v_sub(v_get(row + i, w), mean), rstd);
            v_float g = v_mul(dy, v_get(a->gamma + i, w));
            sum_g[u] = v_add(sum_g[u], g);
            sum_gz[u] = v_fma(g, z, sum_gz[u]);
            if (dgamma) v_put(dgamma + i, w, v_fma(dy, z, v_get(dgamma + i, w)));
            if (dbeta) v_put(dbeta + i, w, v_add(v_get(dbeta + i, w), dy));
        });
        const v_float mean_g = v_set1(a->rms ? 0 : v_sum4(sum_g) / (float)d),
                      mean_gz = v_set1(v_sum4(sum_gz) / (float)d);
        uint64_t counter = r * ((d + 7) / 8), bits = 0;
        V_EACH(d, {
            v_float z = v_mul(v_sub(v_get(row + i, w), mean), rstd);
            v_float g = v_mul(v_get(dout + i, w), v_get(a->gamma + i, w));
            v_float ds = v_mul(rstd, v_fnma(z, mean_gz, v_sub(g, mean_g)));
            if (dsum) ds = v_add(ds, v_get(dsum + i, w));
            v_put(dx + i, w, a->accumulate ? v_add(v_get(dx + i, w), ds) : ds);
            if (dsub) {
                if (u == 0 && drop.threshold > 0) bits = v_keep_bits(&drop, counter + i / 8);
                v_put(dsub + i, w, drop.threshold > 0 ? v_drop(&drop, bits, u, ds) : ds);
            }
        });
    }
}
