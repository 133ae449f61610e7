// Sixteen floats in a register and the few operations that the kernels are written in; avx2/vec.h has the same names
// for eight. A kernel file includes this header and then its formulas from vector/.
#pragma once
#include "backend/cpu/constants.h"
#include <immintrin.h>

#define QN_V_NAME(name) qn_avx512_##name
#define QN_PROTOTYPE(name, result, parameters) result QN_V_NAME(name) parameters;
QN_KERNEL_MAP(QN_PROTOTYPE)
QN_NARROW_KERNEL_MAP(QN_PROTOTYPE)
#undef QN_PROTOTYPE

#define V_WIDTH ((size_t)16)

typedef __m512 v_float;
typedef __m512d v_double; // half as many lanes
typedef __m512i v_int;    // lanes of 64 bits
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
static inline void v_store_tail(float *p, v_float v, size_t n) {
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
// The first n lanes of a, the others from `fill`.
static inline v_float v_fill_tail(v_float a, size_t n, v_float fill) {
    return _mm512_mask_mov_ps(fill, v_tail(n), a);
}
// a 2^n for an integral n.
static inline v_float v_scale(v_float a, v_float n) {
    return _mm512_scalef_ps(a, n);
}
// The upper halves of the lanes rounded to bf16: to nearest, ties to even; a NaN stays one. The lower halves are 0.
static inline __m512i v_round_bf16(v_float v) {
    __m512i bits = _mm512_castps_si512(v), even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
    return _mm512_and_si512(rounded, _mm512_set1_epi32((int)0xffff0000));
}
// The first n (1 .. V_WIDTH) lanes as bf16; returns all of them so rounded. (The instruction, where a file is compiled
// for it, takes denormals for 0.)
static inline v_float v_put_bf16(uint16_t *p, size_t n, v_float v) {
#ifdef __AVX512BF16__
    __m256i narrow = (__m256i)_mm512_cvtneps_pbh(v);
    __m512i rounded = _mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16);
#else
    __m512i rounded = v_round_bf16(v);
    __m256i narrow = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
#endif
    _mm256_mask_storeu_epi16(p, v_tail(n), narrow);
    return _mm512_castsi512_ps(rounded);
}
// n (1 .. V_WIDTH) values of bf16; the other lanes are zero.
static inline v_float v_get_bf16(const uint16_t *p, size_t n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_tail(n), p)), 16));
}
// Words of two: each lane of `low` and, above it, of `high`.
static inline v_float v_narrow_pair(v_float low, v_float high) {
#ifdef __AVX512BF16__
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low)));
#else
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(v_round_bf16(low), 16), v_round_bf16(high)));
#endif
}
// The first n lanes, cut to whole numbers, as bytes; above 255 gives 255, -1 and below any byte.
static inline void v_put_bytes(uint8_t *p, size_t n, v_float v) {
    _mm512_mask_cvtusepi32_storeu_epi8(p, v_tail(n), _mm512_cvttps_epi32(v));
}
// Words of two bf16, the first of each from `low`: n and m lanes, the others zero.
static inline v_float v_pairs(const uint16_t *low, size_t n, const uint16_t *high, size_t m) {
    __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_tail(n), low));
    __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_tail(m), high));
    return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
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

// Rows 0 .. 15 of `from` become columns of `to`; distances of rows in floats.
static inline void v_transpose(const qn_word *from, size_t from_row, qn_word *to, size_t to_row) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_ps((const float *)from + (size_t)i * from_row);
    for (int i = 0; i < 16; i += 2) { // pairs of rows: words 0 and 1, 2 and 3 of each quarter
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) // four rows: word i of each quarter
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] =
                _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b[i + j]), _mm512_castps_pd(b[i + 2 + j])));
            a[i + 2 * j + 1] =
                _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b[i + j]), _mm512_castps_pd(b[i + 2 + j])));
        }
    for (int i = 0; i < 4; i++) { // quarters
        __m512 low = _mm512_shuffle_f32x4(a[i], a[4 + i], 0x88), high = _mm512_shuffle_f32x4(a[i], a[4 + i], 0xdd);
        __m512 low2 = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0x88),
               high2 = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0xdd);
        _mm512_storeu_ps((float *)to + (size_t)i * to_row, _mm512_shuffle_f32x4(low, low2, 0x88));
        _mm512_storeu_ps((float *)to + (size_t)(i + 4) * to_row, _mm512_shuffle_f32x4(high, high2, 0x88));
        _mm512_storeu_ps((float *)to + (size_t)(i + 8) * to_row, _mm512_shuffle_f32x4(low, low2, 0xdd));
        _mm512_storeu_ps((float *)to + (size_t)(i + 12) * to_row, _mm512_shuffle_f32x4(high, high2, 0xdd));
    }
}

// Double precision, for sums over many elements.
static inline v_double v_double_zero(void) {
    return _mm512_setzero_pd();
}
static inline v_double v_widen_low(v_float a) {
    return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}
static inline v_double v_widen_high(v_float a) {
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
static inline v_double v_double_add(v_double a, v_double b) {
    return _mm512_add_pd(a, b);
}
static inline v_double v_double_fma(v_double a, v_double b, v_double c) {
    return _mm512_fmadd_pd(a, b, c);
}
static inline double v_double_sum(v_double a) {
    __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// What dropout.inc.h needs of whole numbers.
// Consecutive counters, in the order that v_reach_bits undoes.
static inline v_int v_counters(uint64_t first) {
    return _mm512_add_epi64(_mm512_set1_epi64((long long)first), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
}
static inline v_int v_int_set1(uint64_t x) {
    return _mm512_set1_epi64((long long)x);
}
static inline v_int v_int_high(v_int a) {
    return _mm512_srli_epi64(a, 32);
}
static inline v_int v_int_xor3(v_int a, v_int b, v_int c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
// Products of the lower halves.
static inline v_int v_int_product(v_int a, v_int b) {
    return _mm512_mul_epu32(a, b);
}
// Lower halves of both: a below b.
static inline v_int v_int_join(v_int a, v_int b) {
    return _mm512_mask_blend_epi32(0xaaaa, a, _mm512_slli_epi64(b, 32));
}
// One bit for each of the 16-bit lanes a[0], b[0], a[1], b[1], ... in the order of the counters: whether it is >=
// threshold.
static inline uint64_t v_reach_bits(v_int a, v_int b, uint16_t threshold) {
    v_int t = _mm512_set1_epi16((short)threshold);
    uint64_t low = _mm512_cmpge_epu16_mask(_mm512_unpacklo_epi64(a, b), t);
    uint64_t high = _mm512_cmpge_epu16_mask(_mm512_unpackhi_epi64(a, b), t);
    return high << 32 | low;
}
static inline v_mask v_mask_of_bits(uint32_t bits) {
    return (v_mask)bits;
}

#include "backend/cpu/vector/loop.inc.h"
#include "backend/cpu/avx512/gelu.h"
#include "backend/cpu/vector/math.inc.h"
