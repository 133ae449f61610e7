// Rows of float32 into bf16, as they stand and in words of two rows. The includer may name the functions itself.
#ifndef QN_B_NAME
#define QN_B_NAME QN_V_NAME
#endif

void QN_B_NAME(to_bf16)(size_t n, const float *x, uint16_t *y) {
    V_EACH(n, { v_put_bf16(y + i, w, v_get(x + i, w)); });
}

void QN_B_NAME(narrow_pairs)(size_t k, size_t n, const float *b, size_t row, qn_word *words, size_t word_row) {
    const size_t room = (n + 2 * V_WIDTH - 1) / (2 * V_WIDTH) * 2 * V_WIDTH;
    for (size_t p = 0; p < k; p += 2)
        for (size_t j = 0; j < room; j += V_WIDTH) {
            size_t w = j >= n ? 0 : n - j < V_WIDTH ? n - j : V_WIDTH;
            const float *even = b + p * row + j;
            v_float high = p + 1 < k ? v_get(even + row, w) : v_zero();
            v_store((float *)words + p / 2 * word_row + j, v_narrow_pair(v_get(even, w), high));
        }
}
