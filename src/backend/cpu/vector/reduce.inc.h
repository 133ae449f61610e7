// Sums, maxima and multiples of arrays. Sums run over four vectors of partial sums in an order that follows from n
// alone.
float QN_V_NAME(max)(size_t n, const float *x) {
    v_float least = v_set1(-INFINITY), m[4] = {least, least, least, least};
    V_EACH(n, { m[u] = v_max(m[u], v_fill_tail(v_get(x + i, w), w, least)); });
    return v_max_lane(v_max(v_max(m[0], m[1]), v_max(m[2], m[3])));
}

float QN_V_NAME(exp_sum)(size_t n, const float *x, float scale, float shift, float *y) {
    v_float zero = v_zero(), s[4] = {zero, zero, zero, zero}, factor = v_set1(scale), offset = v_set1(shift);
    V_EACH(n, {
        v_float e = v_exp(v_fms(factor, v_get(x + i, w), offset));
        v_put(y + i, w, e);
        s[u] = v_add(s[u], v_fill_tail(e, w, zero));
    });
    return v_sum4(s);
}

void QN_V_NAME(scale)(size_t n, float factor, const float *x, float *y) {
    v_float f = v_set1(factor);
    V_EACH(n, { v_put(y + i, w, v_mul(f, v_get(x + i, w))); });
}

void QN_V_NAME(softmax)(size_t rows, size_t n, float scale, float *x, size_t row, float *lse, uint16_t *narrow,
                        size_t narrow_row) {
    const v_float zero = v_zero(), least = v_set1(-INFINITY), factor = v_set1(scale);
    for (size_t r = 0; r < rows; r++) {
        float *y = x + r * row;
        v_float m[4] = {least, least, least, least}, s[4] = {zero, zero, zero, zero};
        V_EACH(n, { m[u] = v_max(m[u], v_fill_tail(v_get(y + i, w), w, least)); });
        float shift = v_max_lane(v_max(v_max(m[0], m[1]), v_max(m[2], m[3]))) * scale;
        const v_float offset = v_set1(shift);
        V_EACH(n, {
            v_float e = v_exp(v_fms(factor, v_get(y + i, w), offset));
            v_put(y + i, w, e);
            s[u] = v_add(s[u], v_fill_tail(e, w, zero));
        });
        float sum = v_sum4(s);
        const v_float part = v_set1(1.0f / sum);
        if (lse) lse[r] = shift + logf(sum);
        if (narrow) {
            V_EACH(n, { v_put_bf16(narrow + r * narrow_row + i, w, v_mul(part, v_get(y + i, w))); });
        } else {
            V_EACH(n, { v_put(y + i, w, v_mul(part, v_get(y + i, w))); });
        }
    }
}

void QN_V_NAME(axpy)(size_t n, float factor, const float *x, float *y) {
    v_float f = v_set1(factor);
    V_EACH(n, { v_put(y + i, w, v_fma(f, v_get(x + i, w), v_get(y + i, w))); });
}

float QN_V_NAME(dot)(size_t n, const float *x, const float *y) {
    v_float zero = v_zero(), s[4] = {zero, zero, zero, zero};
    V_EACH(n, { s[u] = v_fma(v_get(x + i, w), v_get(y + i, w), s[u]); });
    return v_sum4(s);
}

void QN_V_NAME(score_backward)(size_t n, const float *p, const float *dp, float delta, float scale, float *ds) {
    v_float d = v_set1(delta), f = v_set1(scale);
    V_EACH(n, { v_put(ds + i, w, v_mul(v_mul(v_get(p + i, w), v_sub(v_get(dp + i, w), d)), f)); });
}

double QN_V_NAME(sum_squares)(size_t n, const float *x) {
    v_double zero = v_double_zero(), low[4] = {zero, zero, zero, zero}, high[4] = {zero, zero, zero, zero};
    V_EACH(n, {
        v_float f = v_get(x + i, w);
        v_double a = v_widen_low(f);
        v_double b = v_widen_high(f);
        low[u] = v_double_fma(a, a, low[u]);
        high[u] = v_double_fma(b, b, high[u]);
    });
    QN_UNROLL for (size_t u = 0; u < 4; u++) low[u] = v_double_add(low[u], high[u]);
    return v_double_sum(v_double_add(v_double_add(low[0], low[1]), v_double_add(low[2], low[3])));
}
