// Products with weights in groups: a lane is one of the panel's 16 outputs. Compiled twice, with and without
// AVX512_VNNI, whose instruction multiplies unsigned by signed bytes; bytes of 8-bit weights are therefore shifted by
// 128 there, and 128 times the row's sum is taken off again. Both give the same whole numbers, and so the same bits.
#include "backend/cpu/avx512/vec.h"
#include <string.h>

enum { ROWS = 8 }; // that share a group's weights in registers

static inline __m512i add_products(__m512i sum, __m512i w, __m512i x, bool four) {
#ifdef __AVX512VNNI__
    (void)four;
    return _mm512_dpbusd_epi32(sum, w, x);
#else
    const __m512i ones = _mm512_set1_epi16(1);
    if (four) return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), ones));
    // |w| x with the sign of w moved to x: pairs stay within 16 bits, as neither is -128.
    __mmask64 negative = _mm512_movepi8_mask(w);
    x = _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_abs_epi8(w), x), ones));
#endif
}

static inline __m512i first_sum(int32_t of_row, bool four) {
#ifdef __AVX512VNNI__
    // Unsigned: the sum of a row that is no numbers is any.
    return four ? _mm512_setzero_si512() : _mm512_set1_epi32((int32_t)(0u - 128u * (uint32_t)of_row));
#else
    (void)of_row, (void)four;
    return _mm512_setzero_si512();
#endif
}

static inline void load_group(const uint8_t *b, bool four, __m512i w[8]) {
    const __m512i low = _mm512_set1_epi8(15);
    for (int s = 0; s < 4 && four; s++) {
        __m512i both = _mm512_loadu_si512(b + 64 * s);
        w[s] = _mm512_and_si512(both, low);
        w[s + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
    for (int s = 0; s < 8 && !four; s++) {
        w[s] = _mm512_loadu_si512(b + 64 * s);
#ifdef __AVX512VNNI__
        w[s] = _mm512_xor_si512(w[s], _mm512_set1_epi8((char)0x80));
#endif
    }
}

static inline __m512i step_of(const int8_t *a, int s) {
    int32_t four_inputs;
    memcpy(&four_inputs, a + 4 * s, sizeof four_inputs);
    return _mm512_set1_epi32(four_inputs);
}

// `rows` rows by one panel.
static inline void tile(const qn_group_gemm *g, const int8_t *a, const uint8_t *b, size_t rows, bool four, float *c,
                        size_t n) {
    size_t row = qn_group_row(g->groups);
    v_float total[ROWS];
    for (size_t r = 0; r < rows; r++) total[r] = v_zero();
    for (size_t k = 0; k < g->groups; k++) {
        __m512i w[8];
        load_group(b, four, w);
        b += four ? 256 : 512;
        v_float scales = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)b)), minima = v_zero();
        b += 32;
        if (four) {
            minima = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)b));
            b += 32;
        }
        for (size_t r = 0; r < rows; r++) {
            const int8_t *x = a + r * row, *q = x + k * QN_GROUP, *rest = x + g->groups * QN_GROUP;
            float scale;
            int32_t of_row;
            memcpy(&scale, rest + k * sizeof scale, sizeof scale);
            memcpy(&of_row, rest + (g->groups + k) * sizeof of_row, sizeof of_row);
            __m512i even = first_sum(of_row, four), odd = _mm512_setzero_si512();
            for (int s = 0; s < 8; s += 2) {
                even = add_products(even, w[s], step_of(q, s), four);
                odd = add_products(odd, w[s + 1], step_of(q, s + 1), four);
            }
            v_float sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            total[r] = v_fma(v_mul(sum, scales), v_set1(scale), total[r]);
            if (four) total[r] = v_fma(minima, v_set1(scale * (float)of_row), total[r]);
        }
    }
    for (size_t r = 0; r < rows; r++) v_store_tail(c + r * g->c_row, total[r], n);
}

static inline void rows_of_panel(const qn_group_gemm *g, size_t column, bool four) {
    const uint8_t *b = g->b + column / QN_GROUP_PANEL * qn_group_panel(g->groups, four);
    size_t n = g->n - column < QN_GROUP_PANEL ? g->n - column : QN_GROUP_PANEL, row = qn_group_row(g->groups), i = 0;
    for (; i + ROWS <= g->m; i += ROWS) tile(g, g->a + i * row, b, ROWS, four, g->c + i * g->c_row + column, n);
    for (; i + 4 <= g->m; i += 4) tile(g, g->a + i * row, b, 4, four, g->c + i * g->c_row + column, n);
    for (; i + 2 <= g->m; i += 2) tile(g, g->a + i * row, b, 2, four, g->c + i * g->c_row + column, n);
    for (; i < g->m; i++) tile(g, g->a + i * row, b, 1, four, g->c + i * g->c_row + column, n);
}

void GEMM_GROUPS(const qn_group_gemm *g) {
    for (size_t column = 0; column < g->n; column += QN_GROUP_PANEL)
        if (g->four)
            rows_of_panel(g, column, true);
        else
            rows_of_panel(g, column, false);
}
