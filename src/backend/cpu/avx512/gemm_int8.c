// See vector/gemm.inc.h. AVX512_VNNI: a lane of a step adds four products of an unsigned and a signed byte to an int32.
#include "backend/cpu/avx512/gemm.h"

typedef __m512i g_sum;
#define g_zero _mm512_setzero_si512
#define G_STEP(sum, a, b) _mm512_dpbusd_epi32(sum, _mm512_castps_si512(a), _mm512_castps_si512(b))
#define g_bits(sum) _mm512_castsi512_ps(sum)
#define g_from(bits) _mm512_castps_si512(bits)
#define G_VALUE(g, columns, row, bits) dequantized(g, &(columns), row, bits)
#define G_RAW false
#define G_AHEAD false
#define GEMM QN_V_NAME(gemm_int8)

// Most products have one exact channel, and it costs nothing to have it always: without one its weights are 0.
typedef struct {
    __m512i sum;
    v_float scale, exact;
    const float *more; // from the second exact channel on
    size_t count, row, n;
} g_columns;

static inline g_columns g_columns_of(const qn_gemm *g, size_t column, size_t n) {
    const qn_byte_columns *c = &g->columns;
    return (g_columns){_mm512_maskz_loadu_epi32(v_tail(n), c->sum + column),
                       v_get(c->scale + column, n),
                       c->exact_count ? v_get(c->exact + column, n) : v_zero(),
                       c->exact_count > 1 ? c->exact + c->exact_row + column : NULL,
                       c->exact_count,
                       c->exact_row,
                       n};
}

static inline v_float dequantized(const qn_gemm *g, const g_columns *c, size_t row, v_float bits) {
    const qn_byte_row *r = g->bytes + row;
    __m512i zero = _mm512_mullo_epi32(_mm512_set1_epi32(r->zero), c->sum);
    v_float sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_castps_si512(bits), zero));
    v_float y = v_mul(sum, v_mul(c->scale, v_set1(r->scale)));
    y = v_fma(v_set1(r->exact[0]), c->exact, y);
    for (size_t e = 1; e < c->count; e++) y = v_fma(v_set1(r->exact[e]), v_get(c->more + (e - 1) * c->row, c->n), y);
    return y;
}

#include "backend/cpu/vector/gemm.inc.h"

void qn_kernels_avx512_int8(qn_kernels *table) {
    table->gemm_int8 = QN_V_NAME(gemm_int8);
}
