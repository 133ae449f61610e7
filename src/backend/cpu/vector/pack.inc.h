// Panels: of a weight, B = W^T, words moved as they are; and of bf16 in pairs of rows.
void QN_V_NAME(pack)(size_t n, size_t k, const qn_word *w, size_t row, qn_word *panels) {
    for (size_t first = 0; first < n; first += 2 * V_WIDTH) {
        size_t columns = n - first < 2 * V_WIDTH ? n - first : 2 * V_WIDTH;
        const qn_word *source = w + first * row;
        size_t p0 = 0;
        // Squares of V_WIDTH rows and steps are turned over in registers.
        for (; columns == 2 * V_WIDTH && p0 + V_WIDTH <= k; p0 += V_WIDTH) {
            v_transpose(source + p0, row, panels + p0 * 2 * V_WIDTH, 2 * V_WIDTH);
            v_transpose(source + V_WIDTH * row + p0, row, panels + p0 * 2 * V_WIDTH + V_WIDTH, 2 * V_WIDTH);
        }
        // The rest by blocks: each source row is read a cache line at a time while the written block stays near.
        for (; p0 < k; p0 += V_WIDTH) {
            size_t steps = k - p0 < V_WIDTH ? k - p0 : V_WIDTH;
            qn_word *block = panels + p0 * 2 * V_WIDTH;
            for (size_t j = 0; j < columns; j++)
                for (size_t p = 0; p < steps; p++) block[p * 2 * V_WIDTH + j] = source[j * row + p0 + p];
            for (size_t p = 0; p < steps && columns < 2 * V_WIDTH; p++)
                for (size_t j = columns; j < 2 * V_WIDTH; j++) block[p * 2 * V_WIDTH + j] = 0.0f;
        }
        panels += k * 2 * V_WIDTH;
    }
}

void QN_V_NAME(pack_pairs)(size_t k, size_t n, const uint16_t *b, size_t row, qn_word *panels) {
    for (size_t first = 0; first < n; first += 2 * V_WIDTH)
        for (size_t p = 0; p < k; p += 2, panels += 2 * V_WIDTH)
            for (size_t half = 0; half < 2; half++) {
                size_t j = first + half * V_WIDTH, w = j >= n ? 0 : n - j < V_WIDTH ? n - j : V_WIDTH;
                const uint16_t *even = b + p * row + j, *odd = even + row;
                v_store((float *)panels + half * V_WIDTH, v_pairs(even, w, odd, p + 1 < k ? w : 0));
            }
}
