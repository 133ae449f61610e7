// Rows into bytes and back, for the products in narrow dtypes. The integer parts are plain loops, which the
// compiler turns into vectors of the folder's instruction set.
void QN_V_NAME(quantize)(size_t n, const float *x, const qn_exact *exact, uint8_t *y, qn_byte_row *row) {
    v_float none = v_zero(), low[4] = {none, none, none, none}, high[4] = {none, none, none, none};
    for (size_t e = 0, first = 0; e <= exact->count; e++) { // the range between the exact channels
        size_t last = e < exact->count ? exact->channel[e] : n;
        V_EACH(last - first, {
            v_float v = v_get(x + first + i, w);
            low[u] = v_min_bound(low[u], v);
            high[u] = v_max_bound(high[u], v);
        });
        if (e < exact->count) row->exact[e] = x[last];
        first = last + 1;
    }
    float top = v_max_lane(v_max(v_max(high[0], high[1]), v_max(high[2], high[3])));
    for (int u = 0; u < 4; u++) low[u] = v_sub(none, low[u]);
    float bottom = -v_max_lane(v_max(v_max(low[0], low[1]), v_max(low[2], low[3])));
    const qn_byte_range range = qn_byte_range_of(bottom, top);
    const v_float inverse = v_set1(range.inverse), start = v_set1(range.start);
    V_EACH(n, { v_put_bytes(y + i, w, v_add(v_mul(v_get(x + i, w), inverse), start)); });
    for (size_t e = 0; e < exact->count; e++) y[exact->channel[e]] = 0;
    if (!exact->count) row->exact[0] = 0; // gemm_int8 reads it always
    row->scale = range.scale;
    row->zero = range.zero;
}

void QN_V_NAME(from_bf16)(size_t n, const uint16_t *x, float *y) {
    V_EACH(n, { v_put(y + i, w, v_get_bf16(x + i, w)); });
}

void QN_V_NAME(dequantize)(size_t n, const int32_t *sum, const qn_byte_row *row, const qn_byte_columns *columns,
                           float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] - row->zero * columns->sum[i]) * (columns->scale[i] * row->scale);
    for (size_t e = 0; e < columns->exact_count; e++)
        QN_V_NAME(axpy)(n, row->exact[e], columns->exact + e * columns->exact_row, y);
}

void QN_V_NAME(round_int8)(size_t n, const float *x, float *y) {
    v_float none = v_zero(), top[4] = {none, none, none, none};
    V_EACH(n, { top[u] = v_max(top[u], v_abs(v_get(x + i, w))); });
    const float scale = qn_int8_scale(v_max_lane(v_max(v_max(top[0], top[1]), v_max(top[2], top[3]))));
    const v_float factor = v_set1(scale), inverse = v_set1(scale > 0 ? 1 / scale : 0);
    V_EACH(n, { v_put(y + i, w, v_mul(factor, v_round(v_mul(v_get(x + i, w), inverse)))); });
}

void QN_V_NAME(finish)(qn_activation f, size_t n, const float *x, const float *bias, float *y) {
    V_EACH(n, {
        v_float v = v_get(x + i, w);
        if (bias) v = v_add(v, v_get(bias + i, w));
        v_put(y + i, w, v_activate(f, v));
    });
}
