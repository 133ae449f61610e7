// Rotary position embeddings: pairs of a head's values turn by an angle.
void QN_V_NAME(rotate)(size_t heads, size_t step, size_t half, const float *cosine, const float *sine, float direction,
                       float *x) {
    const v_float way = v_set1(direction);
    for (size_t k = 0; k < heads; k++, x += step)
        V_EACH(half, {
            v_float a = v_get(x + i, w), b = v_get(x + half + i, w);
            v_float c = v_get(cosine + i, w), s = v_mul(way, v_get(sine + i, w));
            v_put(x + i, w, v_fnma(b, s, v_mul(a, c)));
            v_put(x + half + i, w, v_fma(a, s, v_mul(b, c)));
        });
}

void QN_V_NAME(rotate_bf16)(size_t heads, size_t step, size_t half, const float *cosine, const float *sine,
                            float direction, uint16_t *x) {
    const v_float way = v_set1(direction);
    for (size_t k = 0; k < heads; k++, x += step)
        V_EACH(half, {
            v_float a = v_get_bf16(x + i, w), b = v_get_bf16(x + half + i, w);
            v_float c = v_get(cosine + i, w), s = v_mul(way, v_get(sine + i, w));
            v_put_bf16(x + i, w, v_fnma(b, s, v_mul(a, c)));
            v_put_bf16(x + half + i, w, v_fma(a, s, v_mul(b, c)));
        });
}
