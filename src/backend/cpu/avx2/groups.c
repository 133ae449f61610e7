// Products with weights in groups: a register has eight of a panel's 16 outputs. Products of bytes are summed in pairs
// of 16 bits, which never saturate: 15 * 127 * 2 with four bits, and with eight 127 * 127 * 2, where the sign of w is
// moved to x.
#include "backend/cpu/avx2/vec.h"

enum { ROWS = 4 }; // that share a group's weights

static inline __m256i products(__m256i w, __m256i x, bool four) {
    __m256i pairs =
        four ? _mm256_maddubs_epi16(w, x) : _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

static inline __m256i weights_of(const uint8_t *b, int step, int half, bool four) {
    const __m256i low = _mm256_set1_epi8(15);
    if (!four) return _mm256_loadu_si256((const __m256i *)(b + 64 * step + 32 * half));
    __m256i both = _mm256_loadu_si256((const __m256i *)(b + 64 * (step % 4) + 32 * half));
    return _mm256_and_si256(step < 4 ? both : _mm256_srli_epi16(both, 4), low);
}

// Number i of those behind a group's q, of this half of the outputs.
static inline v_float numbers(const uint8_t *at, int i, int half, bool fine) {
    if (fine) return _mm256_loadu_ps((const float *)(const void *)(at + 64 * i + 32 * half));
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 32 * i + 16 * half)));
}

static inline __attribute__((always_inline)) void tile(const qn_group_gemm *g, const int8_t *a, const uint8_t *b,
                                                       const size_t rows, int half, const qn_compute form, float *c,
                                                       size_t n) {
    const bool four = qn_group_four(form), fine = qn_group_fine(form), two = form == QN_DTYPE_K8;
    size_t row = qn_group_row(g->groups), bytes = qn_group_quants(form), all = qn_group_panel(1, form);
    v_float total[ROWS];
    for (size_t r = 0; r < rows; r++) total[r] = v_zero();
    for (size_t k = 0; k < g->groups; k++, b += all) {
        v_float scales = numbers(b + bytes, 0, half, fine), last = two ? numbers(b + bytes, 1, half, true) : scales;
        v_float minima = form == QN_DTYPE_Q8 ? v_zero() : numbers(b + bytes, two ? 2 : 1, half, fine);
        __m256i sums[ROWS], first[ROWS];
        for (size_t r = 0; r < rows; r++) sums[r] = first[r] = _mm256_setzero_si256();
        for (int s = 0; s < 8; s++) {
            __m256i w = weights_of(b, s, half, four);
            for (size_t r = 0; r < rows && two && s == 4; r++) {
                first[r] = sums[r];
                sums[r] = _mm256_setzero_si256();
            }
            for (size_t r = 0; r < rows; r++) {
                int32_t inputs;
                memcpy(&inputs, a + r * row + k * QN_GROUP + 4 * (size_t)s, sizeof inputs);
                sums[r] = _mm256_add_epi32(sums[r], products(w, _mm256_set1_epi32(inputs), four));
            }
        }
        for (size_t r = 0; r < rows; r++) {
            const int8_t *rest = a + r * row + g->groups * QN_GROUP;
            float scale;
            int32_t of_row;
            memcpy(&scale, rest + k * sizeof scale, sizeof scale);
            memcpy(&of_row, rest + (g->groups + k) * sizeof of_row, sizeof of_row);
            if (two) total[r] = v_fma(v_mul(_mm256_cvtepi32_ps(first[r]), scales), v_set1(scale), total[r]);
            total[r] = v_fma(v_mul(_mm256_cvtepi32_ps(sums[r]), last), v_set1(scale), total[r]);
            if (form != QN_DTYPE_Q8) total[r] = v_fma(minima, v_set1(scale * (float)of_row), total[r]);
        }
    }
    for (size_t r = 0; r < rows; r++) v_store_tail(c + r * g->c_row, total[r], n);
}

static inline __attribute__((always_inline)) void half_panel(const qn_group_gemm *g, size_t column, int half,
                                                             const qn_compute form) {
    const uint8_t *b = g->b + column / QN_GROUP_PANEL * qn_group_panel(g->groups, form);
    size_t row = qn_group_row(g->groups), i = 0;
    column += (size_t)half * V_WIDTH;
    if (column >= g->n) return;
    size_t n = g->n - column < V_WIDTH ? g->n - column : V_WIDTH;
    for (; i + ROWS <= g->m; i += ROWS) tile(g, g->a + i * row, b, ROWS, half, form, g->c + i * g->c_row + column, n);
    for (; i < g->m; i++) tile(g, g->a + i * row, b, 1, half, form, g->c + i * g->c_row + column, n);
}

// A function for each form keeps what depends on it out of the loops.
#define FORM(name)                                                                                                     \
    static void of_##name(const qn_group_gemm *g) {                                                                    \
        for (size_t column = 0; column < g->n; column += QN_GROUP_PANEL)                                               \
            for (int half = 0; half < 2; half++) half_panel(g, column, half, QN_DTYPE_##name);                         \
    }
FORM(Q8)
FORM(Q4)
FORM(K8)
FORM(K4)
#undef FORM

void QN_V_NAME(gemm_groups)(const qn_group_gemm *g) {
    if (g->form == QN_DTYPE_Q8) of_Q8(g);
    if (g->form == QN_DTYPE_Q4) of_Q4(g);
    if (g->form == QN_DTYPE_K8) of_K8(g);
    if (g->form == QN_DTYPE_K4) of_K4(g);
}

void QN_V_NAME(quantize_groups)(size_t n, const float *x, int8_t *row) {
    size_t groups = (n + QN_GROUP - 1) / QN_GROUP;
    for (size_t k = 0; k < groups; k++) {
        size_t count = n - k * QN_GROUP < QN_GROUP ? n - k * QN_GROUP : QN_GROUP;
        v_float v[4], top = v_zero();
        for (size_t i = 0; i < 4; i++) {
            size_t begin = i * V_WIDTH, some = count <= begin ? 0 : count - begin < V_WIDTH ? count - begin : V_WIDTH;
            v[i] = some ? v_load_tail(x + k * QN_GROUP + begin, some) : v_zero();
            top = _mm256_max_ps(top, v_abs(v[i]));
        }
        float lanes[8], most = 0;
        int32_t sum = 0;
        v_store(lanes, top);
        for (int i = 0; i < 8; i++) most = lanes[i] > most ? lanes[i] : most;
        float scale = most / 127, inverse = most > 1e-30f ? 127 / most : 0;
        for (size_t i = 0; i < 4; i++) {
            int32_t q[8];
            _mm256_storeu_si256((__m256i *)q, _mm256_cvtps_epi32(v_mul(v[i], v_set1(inverse))));
            for (size_t p = 0; p < 8; p++) {
                row[k * QN_GROUP + i * V_WIDTH + p] = (int8_t)q[p];
                sum += q[p];
            }
        }
        memcpy(row + groups * QN_GROUP + k * sizeof scale, &scale, sizeof scale);
        memcpy(row + groups * (QN_GROUP + sizeof scale) + k * sizeof sum, &sum, sizeof sum);
    }
}
