// Rows into bf16 and bytes and back, for the products in narrow dtypes. The integer parts are plain loops, which the
// compiler turns into vectors of the folder's instruction set.
void QN_V_NAME(to_bf16)(size_t n, const float *restrict x, uint16_t *restrict y) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
        y[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
}

float QN_V_NAME(quantize)(size_t n, const float *restrict x, uint8_t *restrict y) {
    v_float zero = v_zero(), m[4] = {zero, zero, zero, zero};
    V_EACH(n, { m[u] = v_max_bound(m[u], v_abs(v_get(x + i, w))); });
    float top = v_max_lane(v_max(v_max(m[0], m[1]), v_max(m[2], m[3])));
    float inverse = top > 0 ? 127 / top : 0;
    for (size_t i = 0; i < n; i++) y[i] = (uint8_t)(int32_t)(x[i] * inverse + 128.5f);
    return top / 127;
}

void QN_V_NAME(dequantize)(size_t n, const int32_t *sum, const int32_t *offset, const float *column_scale,
                           float row_scale, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = (float)(sum[i] - offset[i]) * (column_scale[i] * row_scale);
}

void QN_V_NAME(finish)(qn_activation f, size_t n, const float *x, const float *bias, float *y) {
    V_EACH(n, {
        v_float v = v_get(x + i, w);
        if (bias) v = v_add(v, v_get(bias + i, w));
        v_put(y + i, w, v_activate(f, v));
    });
}
