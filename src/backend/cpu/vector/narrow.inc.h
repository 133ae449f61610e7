// Rows into bytes and back, for the products in narrow dtypes. The integer parts are plain loops, which the
// compiler turns into vectors of the folder's instruction set.
void QN_V_NAME(quantize)(size_t n, const float *restrict x, uint8_t *restrict y, float *scale, int32_t *zero) {
    v_float none = v_zero(), low[4] = {none, none, none, none}, high[4] = {none, none, none, none};
    V_EACH(n, {
        v_float v = v_get(x + i, w);
        low[u] = v_min_bound(low[u], v);
        high[u] = v_max_bound(high[u], v);
    });
    float top = v_max_lane(v_max(v_max(high[0], high[1]), v_max(high[2], high[3])));
    for (int u = 0; u < 4; u++) low[u] = v_sub(none, low[u]);
    float bottom = -v_max_lane(v_max(v_max(low[0], low[1]), v_max(low[2], low[3])));
    const qn_byte_range range = qn_byte_range_of(bottom, top);
    for (size_t i = 0; i < n; i++) y[i] = (uint8_t)(int32_t)(x[i] * range.inverse + range.start);
    *scale = range.scale;
    *zero = range.zero;
}

void QN_V_NAME(dequantize)(size_t n, const int32_t *sum, int32_t zero, const int32_t *column_sum, float scale,
                           const float *column_scale, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = (float)(sum[i] - zero * column_sum[i]) * (column_scale[i] * scale);
}

void QN_V_NAME(finish)(qn_activation f, size_t n, const float *x, const float *bias, float *y) {
    V_EACH(n, {
        v_float v = v_get(x + i, w);
        if (bias) v = v_add(v, v_get(bias + i, w));
        v_put(y + i, w, v_activate(f, v));
    });
}
