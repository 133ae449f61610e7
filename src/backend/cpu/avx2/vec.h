// Eight floats in a register and the few operations that the kernels are written in; avx512/vec.h has the same names
// for sixteen. A kernel file includes this header and then its formulas from vector/.
#pragma once
#include "backend/cpu/constants.h"
#include <immintrin.h>
#include <string.h>

#define QN_V_NAME(name) qn_avx2_##name
#define QN_PROTOTYPE(name, result, parameters) result QN_V_NAME(name) parameters;
QN_KERNEL_MAP(QN_PROTOTYPE)
#undef QN_PROTOTYPE

#define V_WIDTH ((size_t)8)

typedef __m256 v_float;
typedef __m256d v_double; // half as many lanes
typedef __m256i v_int;    // lanes of 64 bits
typedef __m256 v_mask;    // all bits of a lane set: true

// The first n (0 .. V_WIDTH) lanes.
static inline __m256i v_tail(size_t n) {
    static const int32_t edge[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(edge + 8 - n));
}
static inline v_float v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, v_float v) {
    _mm256_storeu_ps(p, v);
}
// The first n (0 .. V_WIDTH) floats, the other lanes zero; memory behind them is not touched.
static inline v_float v_load_tail(const float *p, size_t n) {
    return _mm256_maskload_ps(p, v_tail(n));
}
static inline void v_store_tail(float *p, v_float v, size_t n) {
    _mm256_maskstore_ps(p, v_tail(n), v);
}
static inline v_float v_zero(void) {
    return _mm256_setzero_ps();
}
static inline v_float v_set1(float x) {
    return _mm256_set1_ps(x);
}
static inline v_float v_add(v_float a, v_float b) {
    return _mm256_add_ps(a, b);
}
static inline v_float v_sub(v_float a, v_float b) {
    return _mm256_sub_ps(a, b);
}
static inline v_float v_mul(v_float a, v_float b) {
    return _mm256_mul_ps(a, b);
}
static inline v_float v_div(v_float a, v_float b) {
    return _mm256_div_ps(a, b);
}
static inline v_float v_sqrt(v_float a) {
    return _mm256_sqrt_ps(a);
}
static inline v_float v_fma(v_float a, v_float b, v_float c) { // a b + c
    return _mm256_fmadd_ps(a, b, c);
}
static inline v_float v_fms(v_float a, v_float b, v_float c) { // a b - c
    return _mm256_fmsub_ps(a, b, c);
}
static inline v_float v_fnma(v_float a, v_float b, v_float c) { // c - a b
    return _mm256_fnmadd_ps(a, b, c);
}
// Smaller and larger of a bound, which is not NaN, and x; NaN when x is.
static inline v_float v_min_bound(v_float bound, v_float x) {
    return _mm256_min_ps(bound, x);
}
static inline v_float v_max_bound(v_float bound, v_float x) {
    return _mm256_max_ps(bound, x);
}
// The larger, NaN when either is.
static inline v_float v_max(v_float a, v_float b) {
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
static inline v_float v_abs(v_float a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline v_float v_copysign(v_float magnitude, v_float sign) {
    __m256 bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
static inline v_float v_round(v_float a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline v_mask v_less(v_float a, v_float b) {
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline v_mask v_less_equal(v_float a, v_float b) {
    return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}
static inline v_float v_select(v_mask condition, v_float yes, v_float no) {
    return _mm256_blendv_ps(no, yes, condition);
}
// The first n lanes of a, the others from `fill`.
static inline v_float v_fill_tail(v_float a, size_t n, v_float fill) {
    return _mm256_blendv_ps(fill, a, _mm256_castsi256_ps(v_tail(n)));
}
// a 2^n for an integral n of -150 .. 128, in two steps, since 2^n itself may leave the range of floats.
static inline v_float v_scale(v_float a, v_float n) {
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
}
// The upper halves of the lanes rounded to bf16: to nearest, ties to even; a NaN stays one. The lower halves are 0.
static inline __m256i v_round_bf16(v_float v) {
    __m256i bits = _mm256_castps_si256(v), even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    rounded = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    return _mm256_and_si256(rounded, _mm256_set1_epi32((int)0xffff0000));
}
// The first n (1 .. V_WIDTH) lanes as bf16; returns all of them so rounded.
static inline v_float v_put_bf16(uint16_t *p, size_t n, v_float v) {
    __m256i rounded = v_round_bf16(v), high = _mm256_srli_epi32(rounded, 16);
    __m128i low = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    if (n == V_WIDTH) {
        _mm_storeu_si128((__m128i *)(void *)p, low);
    } else {
        uint16_t lanes[V_WIDTH];
        _mm_storeu_si128((__m128i *)(void *)lanes, low);
        for (size_t i = 0; i < n; i++) p[i] = lanes[i];
    }
    return _mm256_castsi256_ps(rounded);
}
static inline v_float v_get_bf16(const uint16_t *p, size_t n) {
    uint16_t lanes[V_WIDTH] = {0};
    if (n < V_WIDTH) {
        for (size_t i = 0; i < n; i++) lanes[i] = p[i];
        p = lanes;
    }
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}
static inline v_float v_narrow_pair(v_float low, v_float high) {
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32(v_round_bf16(low), 16), v_round_bf16(high)));
}
// The first n lanes, cut to whole numbers, as bytes; above 255 gives 255, -1 and below any byte.
static inline void v_put_bytes(uint8_t *p, size_t n, v_float v) {
    __m256i whole = _mm256_cvttps_epi32(v);
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    uint8_t lanes[V_WIDTH];
    _mm_storel_epi64((__m128i *)(void *)lanes, _mm_packus_epi16(half, half));
    memcpy(p, lanes, n);
}
// Words of two bf16, the first of each from `low`: n and m lanes, the others zero.
static inline v_float v_pairs(const uint16_t *low, size_t n, const uint16_t *high, size_t m) {
    uint32_t word[V_WIDTH] = {0};
    for (size_t i = 0; i < n; i++) word[i] = low[i];
    for (size_t i = 0; i < m; i++) word[i] |= (uint32_t)high[i] << 16;
    return _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)(const void *)word));
}
// Sum of the lanes, by halves: a fixed order.
static inline float v_sum(v_float a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
// Maximum of the lanes, NaN when one is.
static inline float v_max_lane(v_float a) {
    a = v_max(a, _mm256_permute2f128_ps(a, a, 1));
    a = v_max(a, _mm256_permute_ps(a, 0x4e));
    return _mm256_cvtss_f32(v_max(a, _mm256_permute_ps(a, 0xb1)));
}

// Rows 0 .. 7 of `from` become columns of `to`; distances of rows in floats.
static inline void v_transpose(const qn_word *from, size_t from_row, qn_word *to, size_t to_row) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps((const float *)from + (size_t)i * from_row);
    for (int i = 0; i < 8; i += 2) { // pairs of rows: words 0 and 1, 2 and 3 of each half
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) // four rows: word i of each half
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] =
                _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(b[i + j]), _mm256_castps_pd(b[i + 2 + j])));
            a[i + 2 * j + 1] =
                _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(b[i + j]), _mm256_castps_pd(b[i + 2 + j])));
        }
    for (int i = 0; i < 4; i++) { // halves
        _mm256_storeu_ps((float *)to + (size_t)i * to_row, _mm256_permute2f128_ps(a[i], a[4 + i], 0x20));
        _mm256_storeu_ps((float *)to + (size_t)(i + 4) * to_row, _mm256_permute2f128_ps(a[i], a[4 + i], 0x31));
    }
}

// Double precision, for sums over many elements.
static inline v_double v_double_zero(void) {
    return _mm256_setzero_pd();
}
static inline v_double v_widen_low(v_float a) {
    return _mm256_cvtps_pd(_mm256_castps256_ps128(a));
}
static inline v_double v_widen_high(v_float a) {
    return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}
static inline v_double v_double_add(v_double a, v_double b) {
    return _mm256_add_pd(a, b);
}
static inline v_double v_double_fma(v_double a, v_double b, v_double c) {
    return _mm256_fmadd_pd(a, b, c);
}
static inline double v_double_sum(v_double a) {
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// What dropout.inc.h needs of whole numbers.
// Consecutive counters, in the order that v_reach_bits undoes.
static inline v_int v_counters(uint64_t first) {
    return _mm256_add_epi64(_mm256_set1_epi64x((long long)first), _mm256_setr_epi64x(0, 2, 1, 3));
}
static inline v_int v_int_set1(uint64_t x) {
    return _mm256_set1_epi64x((long long)x);
}
static inline v_int v_int_high(v_int a) {
    return _mm256_srli_epi64(a, 32);
}
static inline v_int v_int_xor3(v_int a, v_int b, v_int c) {
    return _mm256_xor_si256(a, _mm256_xor_si256(b, c));
}
// Products of the lower halves.
static inline v_int v_int_product(v_int a, v_int b) {
    return _mm256_mul_epu32(a, b);
}
// Lower halves of both: a below b.
static inline v_int v_int_join(v_int a, v_int b) {
    return _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xaa);
}
// One bit for each of the 16-bit lanes a[0], b[0], a[1], b[1], ... in the order of the counters: whether it is >=
// threshold.
static inline uint64_t v_reach_bits(v_int a, v_int b, uint16_t threshold) {
    v_int t = _mm256_set1_epi16((short)threshold), low = _mm256_unpacklo_epi64(a, b),
          high = _mm256_unpackhi_epi64(a, b);
    low = _mm256_cmpeq_epi16(_mm256_max_epu16(low, t), low);
    high = _mm256_cmpeq_epi16(_mm256_max_epu16(high, t), high);
    // Packing works within halves of 128 bits; the permutation puts the quarters in order.
    v_int bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
    return (uint32_t)_mm256_movemask_epi8(bytes);
}
// A mask of the lowest bits.
static inline v_mask v_mask_of_bits(uint32_t bits) {
    __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each));
}

#include "backend/cpu/vector/loop.inc.h"
#include "backend/cpu/vector/math.inc.h"
