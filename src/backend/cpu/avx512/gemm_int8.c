// See vector/gemm.inc.h. AVX512_VNNI: a lane of a step adds four products of an unsigned and a signed byte to an int32.
#include "backend/cpu/avx512/gemm.h"

typedef __m512i g_sum;
#define g_zero _mm512_setzero_si512
#define G_STEP(sum, a, b) _mm512_dpbusd_epi32(sum, _mm512_castps_si512(a), _mm512_castps_si512(b))
#define g_bits(sum) _mm512_castsi512_ps(sum)
#define g_from(bits) _mm512_castps_si512(bits)
#define G_VALUE dequantized
#define G_RAW false
#define GEMM QN_V_NAME(gemm_int8)

static inline v_float dequantized(const qn_gemm *g, size_t row, size_t column, size_t n, v_float bits) {
    __m512i zero = _mm512_mullo_epi32(_mm512_set1_epi32(g->row_zero[row]),
                                      _mm512_maskz_loadu_epi32(v_tail(n), g->column_sum + column));
    v_float sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_castps_si512(bits), zero));
    return v_mul(sum, v_mul(v_get(g->column_scale + column, n), v_set1(g->row_scale[row])));
}

#include "backend/cpu/vector/gemm.inc.h"

void qn_kernels_avx512_int8(qn_kernels *table) {
    table->gemm_int8 = QN_V_NAME(gemm_int8);
}
