// Products with weights in groups: a lane is one of the panel's 16 outputs. Compiled twice, with and without
// AVX512_VNNI, whose instruction multiplies unsigned by signed bytes; bytes of q8 are therefore shifted by 128 there,
// and 128 times the row's sum is taken off again. All ways give the same whole numbers, and so the same bits.
#include "backend/cpu/avx512/vec.h"
#include <string.h>

enum { ROWS = 8 }; // that share a group's weights in registers

// Products of unsigned bytes w and signed x.
static inline __m512i add_unsigned(__m512i sum, __m512i w, __m512i x) {
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(sum, w, x);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), _mm512_set1_epi16(1)));
#endif
}

// Whether bytes of w are signed here, and not shifted. k8 would need the sums of halves of a row, which rows do not
// have.
static inline bool is_signed(const qn_compute form) {
#ifdef __AVX512VNNI__
    return form == QN_DTYPE_K8;
#else
    return form == QN_DTYPE_K8 || form == QN_DTYPE_Q8;
#endif
}

static inline __m512i add_products(__m512i sum, __m512i w, __m512i x, const qn_compute form) {
    if (!is_signed(form)) return add_unsigned(sum, w, x);
    // |w| x with the sign of w moved to x: pairs stay within 16 bits, as neither is -128.
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
    return add_unsigned(sum, _mm512_abs_epi8(w), x);
}

static inline __m512i first_sum(int32_t of_row, const qn_compute form) {
    // Unsigned: the sum of a row that is no numbers is any.
    bool shifted = !qn_group_four(form) && !is_signed(form);
    return shifted ? _mm512_set1_epi32((int32_t)(0u - 128u * (uint32_t)of_row)) : _mm512_setzero_si512();
}

static inline void load_group(const uint8_t *b, const qn_compute form, __m512i w[8]) {
    const __m512i low = _mm512_set1_epi8(15);
    const bool four = qn_group_four(form);
    for (int s = 0; s < 4 && four; s++) {
        __m512i both = _mm512_loadu_si512(b + 64 * s);
        w[s] = _mm512_and_si512(both, low);
        w[s + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
    for (int s = 0; s < 8 && !four; s++) {
        w[s] = _mm512_loadu_si512(b + 64 * s);
        if (!is_signed(form)) w[s] = _mm512_xor_si512(w[s], _mm512_set1_epi8((char)0x80));
    }
}

// Number i of those behind a group's q.
static inline v_float numbers(const uint8_t *at, int i, bool fine) {
    if (fine) return _mm512_loadu_ps(at + 64 * i);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at + 32 * i)));
}

static inline __m512i step_of(const int8_t *a, int s) {
    int32_t four_inputs;
    memcpy(&four_inputs, a + 4 * s, sizeof four_inputs);
    return _mm512_set1_epi32(four_inputs);
}

// `rows` rows by one panel.
static inline __attribute__((always_inline)) void tile(const qn_group_gemm *g, const int8_t *a, const uint8_t *b,
                                                       const size_t rows, const qn_compute form, float *c, size_t n) {
    const bool fine = qn_group_fine(form), two = form == QN_DTYPE_K8;
    const size_t row = qn_group_row(g->groups), bytes = qn_group_quants(form), all = qn_group_panel(1, form);
    v_float total[ROWS];
    for (size_t r = 0; r < rows; r++) total[r] = v_zero();
    for (size_t k = 0; k < g->groups; k++, b += all) {
        __m512i w[8];
        load_group(b, form, w);
        v_float scales = numbers(b + bytes, 0, fine), last = two ? numbers(b + bytes, 1, true) : v_zero();
        v_float minima = form == QN_DTYPE_Q8 ? v_zero() : numbers(b + bytes, two ? 2 : 1, fine);
        for (size_t r = 0; r < rows; r++) {
            const int8_t *x = a + r * row, *q = x + k * QN_GROUP, *rest = x + g->groups * QN_GROUP;
            float scale;
            int32_t of_row;
            memcpy(&scale, rest + k * sizeof scale, sizeof scale);
            memcpy(&of_row, rest + (g->groups + k) * sizeof of_row, sizeof of_row);
            __m512i first = first_sum(of_row, form), second = _mm512_setzero_si512();
            for (int s = 0; s < 4; s++) {
                first = add_products(first, w[s], step_of(q, s), form);
                second = add_products(second, w[s + 4], step_of(q, s + 4), form);
            }
            if (two) {
                total[r] = v_fma(v_mul(_mm512_cvtepi32_ps(first), scales), v_set1(scale), total[r]);
                total[r] = v_fma(v_mul(_mm512_cvtepi32_ps(second), last), v_set1(scale), total[r]);
            } else {
                v_float sum = _mm512_cvtepi32_ps(_mm512_add_epi32(first, second));
                total[r] = v_fma(v_mul(sum, scales), v_set1(scale), total[r]);
            }
            if (form != QN_DTYPE_Q8) total[r] = v_fma(minima, v_set1(scale * (float)of_row), total[r]);
        }
    }
    for (size_t r = 0; r < rows; r++) v_store_tail(c + r * g->c_row, total[r], n);
}

static inline __attribute__((always_inline)) void rows_of_panel(const qn_group_gemm *g, size_t column,
                                                                const qn_compute form) {
    const uint8_t *b = g->b + column / QN_GROUP_PANEL * qn_group_panel(g->groups, form);
    size_t n = g->n - column < QN_GROUP_PANEL ? g->n - column : QN_GROUP_PANEL, row = qn_group_row(g->groups), i = 0;
    for (; i + ROWS <= g->m; i += ROWS) tile(g, g->a + i * row, b, ROWS, form, g->c + i * g->c_row + column, n);
    for (; i + 4 <= g->m; i += 4) tile(g, g->a + i * row, b, 4, form, g->c + i * g->c_row + column, n);
    for (; i + 2 <= g->m; i += 2) tile(g, g->a + i * row, b, 2, form, g->c + i * g->c_row + column, n);
    for (; i < g->m; i++) tile(g, g->a + i * row, b, 1, form, g->c + i * g->c_row + column, n);
}

// A function for each form keeps what depends on it out of the loops.
#define FORM(name)                                                                                                     \
    static void of_##name(const qn_group_gemm *g) {                                                                    \
        for (size_t column = 0; column < g->n; column += QN_GROUP_PANEL) rows_of_panel(g, column, QN_DTYPE_##name);    \
    }
FORM(Q8)
FORM(Q4)
FORM(K8)
FORM(K4)
#undef FORM

void GEMM_GROUPS(const qn_group_gemm *g) {
    if (g->form == QN_DTYPE_Q8) of_Q8(g);
    if (g->form == QN_DTYPE_Q4) of_Q4(g);
    if (g->form == QN_DTYPE_K8) of_K8(g);
    if (g->form == QN_DTYPE_K4) of_K4(g);
}
