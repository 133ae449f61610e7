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

// Rows side by side: what one waits for, the others fill. A row's sum runs over one vector of partial sums, so its bits
// do not depend on how many rows there are.
static inline __attribute__((always_inline)) void softmax_rows(const size_t rows, size_t n, float scale, float *x,
                                                               size_t row, float *lse, uint16_t *narrow,
                                                               size_t narrow_row) {
    enum { MOST = 4 };
    const v_float factor = v_set1(scale), least = v_set1(-INFINITY);
    const size_t whole = n / V_WIDTH * V_WIDTH, tail = n - whole;
    v_float m[MOST], offset[MOST], sum[MOST];
    float shift[MOST];
    QN_UNROLL for (size_t r = 0; r < rows; r++) {
        m[r] = tail ? v_fill_tail(v_load_tail(x + r * row + whole, tail), tail, least) : least;
        sum[r] = v_zero();
    }
    for (size_t i = 0; i < whole; i += V_WIDTH)
        QN_UNROLL for (size_t r = 0; r < rows; r++) m[r] = v_max(m[r], v_load(x + r * row + i));
    QN_UNROLL for (size_t r = 0; r < rows; r++) {
        shift[r] = v_max_lane(m[r]) * scale;
        offset[r] = v_set1(shift[r]);
    }
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t w = i < whole ? V_WIDTH : tail;
        QN_UNROLL for (size_t r = 0; r < rows; r++) {
            v_float e = v_exp(v_fms(factor, v_get(x + r * row + i, w), offset[r]));
            v_put(x + r * row + i, w, e);
            sum[r] = v_add(sum[r], i < whole ? e : v_fill_tail(e, w, v_zero()));
        }
    }
    QN_UNROLL for (size_t r = 0; r < rows; r++) {
        float total = v_sum(sum[r]);
        if (lse) lse[r] = shift[r] + logf(total);
        sum[r] = v_set1(1.0f / total);
    }
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t w = i < whole ? V_WIDTH : tail;
        QN_UNROLL for (size_t r = 0; r < rows; r++) {
            v_float p = v_mul(sum[r], v_get(x + r * row + i, w));
            if (narrow)
                v_put_bf16(narrow + r * narrow_row + i, w, p);
            else
                v_put(x + r * row + i, w, p);
        }
    }
}

void QN_V_NAME(softmax)(size_t rows, size_t n, float scale, float *x, size_t row, float *lse, uint16_t *narrow,
                        size_t narrow_row) {
    size_t r = 0;
    for (; r + 4 <= rows; r += 4)
        softmax_rows(4, n, scale, x + r * row, row, lse ? lse + r : NULL, narrow ? narrow + r * narrow_row : NULL,
                     narrow_row);
    for (; r < rows; r++)
        softmax_rows(1, n, scale, x + r * row, row, lse ? lse + r : NULL, narrow ? narrow + r * narrow_row : NULL,
                     narrow_row);
}

void QN_V_NAME(axpy)(size_t n, float factor, const float *x, float *y) {
    v_float f = v_set1(factor);
    V_EACH(n, { v_put(y + i, w, v_fma(f, v_get(x + i, w), v_get(y + i, w))); });
}

void QN_V_NAME(add_rows)(size_t rows, size_t n, const float *x, size_t row, float *y) {
    for (size_t block = 0; block < n; block += V_BLOCK) {
        const size_t whole = n - block < V_BLOCK ? 0 : rows; // rows whose whole block stays in registers
        v_float sum[4];
        QN_UNROLL for (size_t u = 0; u < 4 && whole; u++) sum[u] = v_load(y + block + u * V_WIDTH);
        for (size_t r = 0; r < whole; r++)
            QN_UNROLL for (size_t u = 0; u < 4; u++) sum[u] = v_add(sum[u], v_load(x + r * row + block + u * V_WIDTH));
        QN_UNROLL for (size_t u = 0; u < 4 && whole; u++) v_store(y + block + u * V_WIDTH, sum[u]);
        for (size_t i = block; !whole && i < n; i += V_WIDTH) {
            const size_t w = n - i < V_WIDTH ? n - i : V_WIDTH;
            v_float last = v_get(y + i, w);
            for (size_t r = 0; r < rows; r++) last = v_add(last, v_get(x + r * row + i, w));
            v_put(y + i, w, last);
        }
    }
}

float QN_V_NAME(dot)(size_t n, const float *x, const float *y) {
    v_float zero = v_zero(), s[4] = {zero, zero, zero, zero};
    V_EACH(n, { s[u] = v_fma(v_get(x + i, w), v_get(y + i, w), s[u]); });
    return v_sum4(s);
}

void QN_V_NAME(gather_dot)(size_t rows, size_t n, const float *x, float *const *row, size_t at, float *y) {
    const v_float zero = v_zero();
    for (size_t r = 0; r < rows; r++) {
        const float *z = row[r] + at;
        v_float s[4] = {zero, zero, zero, zero};
        V_EACH(n, { s[u] = v_fma(v_get(x + i, w), v_get(z + i, w), s[u]); });
        y[r] = v_sum4(s);
    }
}

// A block of columns stays in registers while the rows go by.
void QN_V_NAME(gather_sum)(size_t rows, size_t n, const float *factor, float *const *row, size_t at, float *y) {
    for (size_t block = 0; block < n; block += V_BLOCK) {
        const bool whole = n - block >= V_BLOCK;
        v_float sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        for (size_t r = 0; r < rows && whole; r++) {
            const v_float f = v_set1(factor[r]);
            const float *z = row[r] + at + block;
            QN_UNROLL for (size_t u = 0; u < 4; u++) sum[u] = v_fma(f, v_load(z + u * V_WIDTH), sum[u]);
        }
        QN_UNROLL for (size_t u = 0; u < 4 && whole; u++) v_store(y + block + u * V_WIDTH, sum[u]);
        for (size_t i = block; !whole && i < n; i += V_WIDTH) {
            const size_t w = n - i < V_WIDTH ? n - i : V_WIDTH;
            v_float last = v_zero();
            for (size_t r = 0; r < rows; r++) last = v_fma(v_set1(factor[r]), v_get(row[r] + at + i, w), last);
            v_put(y + i, w, last);
        }
    }
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
