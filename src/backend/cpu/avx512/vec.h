// Sixteen floats in a register and the few operations that the kernels are written in; avx2/vec.h has the same names
// for eight. A kernel file includes this header and then its formulas from vector/.
#pragma once
#include "backend/cpu/kernels.h"
#include <immintrin.h>

#define QN_NAME(name) qn_avx512_##name
#define QN_PROTOTYPE(name, result, parameters) result QN_NAME(name) parameters;
QN_KERNEL_MAP(QN_PROTOTYPE)
#undef QN_PROTOTYPE

#define V_WIDTH ((size_t)16)

typedef __m512 v_float;
typedef __mmask16 v_mask;

// The first n (0 .. V_WIDTH) lanes.
static inline v_mask v_tail(size_t n) {
    return (v_mask)((1u << n) - 1);
}
static inline v_float v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, v_float v) {
    _mm512_storeu_ps(p, v);
}
// The first n (0 .. V_WIDTH) floats, the other lanes zero; memory behind them is not touched.
static inline v_float v_load_tail(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps(v_tail(n), p);
}
static inline void v_store_tail(float *p, size_t n, v_float v) {
    _mm512_mask_storeu_ps(p, v_tail(n), v);
}
static inline v_float v_zero(void) {
    return _mm512_setzero_ps();
}
static inline v_float v_set1(float x) {
    return _mm512_set1_ps(x);
}
static inline v_float v_add(v_float a, v_float b) {
    return _mm512_add_ps(a, b);
}
static inline v_float v_sub(v_float a, v_float b) {
    return _mm512_sub_ps(a, b);
}
static inline v_float v_mul(v_float a, v_float b) {
    return _mm512_mul_ps(a, b);
}
static inline v_float v_div(v_float a, v_float b) {
    return _mm512_div_ps(a, b);
}
static inline v_float v_sqrt(v_float a) {
    return _mm512_sqrt_ps(a);
}
static inline v_float v_fma(v_float a, v_float b, v_float c) { // a b + c
    return _mm512_fmadd_ps(a, b, c);
}
static inline v_float v_fms(v_float a, v_float b, v_float c) { // a b - c
    return _mm512_fmsub_ps(a, b, c);
}
static inline v_float v_fnma(v_float a, v_float b, v_float c) { // c - a b
    return _mm512_fnmadd_ps(a, b, c);
}
// Smaller and larger of a bound, which is not NaN, and x; NaN when x is.
static inline v_float v_min_bound(v_float bound, v_float x) {
    return _mm512_min_ps(bound, x);
}
static inline v_float v_max_bound(v_float bound, v_float x) {
    return _mm512_max_ps(bound, x);
}
// The larger, NaN when either is.
static inline v_float v_max(v_float a, v_float b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
static inline v_float v_abs(v_float a) {
    return _mm512_abs_ps(a);
}
static inline v_float v_copysign(v_float magnitude, v_float sign) {
    // Bit by bit, 0xd8 is the table of "third ? second : first".
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(magnitude), _mm512_castps_si512(sign),
                                                         _mm512_set1_epi32(INT32_MIN), 0xd8));
}
static inline v_float v_round(v_float a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline v_mask v_less(v_float a, v_float b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline v_mask v_less_equal(v_float a, v_float b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
static inline v_float v_select(v_mask condition, v_float yes, v_float no) {
    return _mm512_mask_mov_ps(no, condition, yes);
}
// a 2^n for an integral n.
static inline v_float v_scale(v_float a, v_float n) {
    return _mm512_scalef_ps(a, n);
}
// Sum of the lanes, by halves: a fixed order.
static inline float v_sum(v_float a) {
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
// Maximum of the lanes, NaN when one is.
static inline float v_max_lane(v_float a) {
    a = v_max(a, _mm512_shuffle_f32x4(a, a, 0x4e));
    a = v_max(a, _mm512_shuffle_f32x4(a, a, 0xb1));
    a = v_max(a, _mm512_permute_ps(a, 0x4e));
    return _mm512_cvtss_f32(v_max(a, _mm512_permute_ps(a, 0xb1)));
}

#include "backend/cpu/vector/math.inc.h"
