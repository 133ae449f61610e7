// See groups.inc.h, which the CPUs with AVX512_VNNI have in groups_vnni.c; and rows of activations for it.
#include "backend/cpu/avx512/vec.h"
#define GEMM_GROUPS QN_V_NAME(gemm_groups)
#include "backend/cpu/avx512/groups.inc.h"

void QN_V_NAME(quantize_groups)(size_t n, const float *x, int8_t *row) {
    size_t groups = (n + QN_GROUP - 1) / QN_GROUP;
    for (size_t k = 0; k < groups; k++) {
        size_t count = n - k * QN_GROUP < QN_GROUP ? n - k * QN_GROUP : QN_GROUP;
        size_t first = count < V_WIDTH ? count : V_WIDTH;
        v_float a = v_load_tail(x + k * QN_GROUP, first);
        v_float b = count > V_WIDTH ? v_load_tail(x + k * QN_GROUP + V_WIDTH, count - V_WIDTH) : v_zero();
        float top = _mm512_reduce_max_ps(_mm512_max_ps(v_abs(a), v_abs(b)));
        float scale = top / 127, inverse = top > 1e-30f ? 127 / top : 0;
        __m512i p = _mm512_cvtps_epi32(v_mul(a, v_set1(inverse))), q = _mm512_cvtps_epi32(v_mul(b, v_set1(inverse)));
        int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(p, q));
        _mm_storeu_si128((__m128i *)(row + k * QN_GROUP), _mm512_cvtepi32_epi8(p));
        _mm_storeu_si128((__m128i *)(row + k * QN_GROUP + V_WIDTH), _mm512_cvtepi32_epi8(q));
        memcpy(row + groups * QN_GROUP + k * sizeof scale, &scale, sizeof scale);
        memcpy(row + groups * (QN_GROUP + sizeof scale) + k * sizeof sum, &sum, sizeof sum);
    }
}
