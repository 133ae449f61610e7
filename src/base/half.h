// float32 to and from the 16-bit formats: IEEE 754 binary16 ("f16") and its truncated sibling "bf16". Both roundings
// are to nearest, ties to even. Loops over these functions vectorize, and none of them meets a subnormal float32 of its
// own making, so that they give the same results in threads that flush subnormals to zero.
#pragma once
#include <stdint.h>
#include <string.h>

static inline uint32_t qn_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float qn_float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float qn_bf16_to_f32(uint16_t half) {
    return qn_float_from_bits((uint32_t)half << 16);
}

static inline uint16_t qn_f32_to_bf16(float value) {
    uint32_t bits = qn_float_bits(value);
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    // A NaN keeps its upper bits and becomes quiet; rounding could carry it into an infinity or a zero.
    uint32_t nan = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

static inline float qn_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
    // Exponent bias 15 becomes 127; an infinity or a NaN needs the exponent 255 instead of 31 + 112.
    uint32_t normal = (magnitude << 13) + (112u << 23);
    uint32_t special = magnitude << 13 | 0x7F800000u;
    // A subnormal is m * 2^-24: the unit in the last place of 0.5 is 2^-24, so 0.5 with mantissa m, less 0.5, is exact.
    uint32_t tiny = qn_float_bits(qn_float_from_bits(0x3F000000u + magnitude) - 0.5f);
    uint32_t bits = magnitude >= 0x7C00u ? special : magnitude < 0x0400u ? tiny : normal;
    return qn_float_from_bits(sign | bits);
}

static inline uint16_t qn_f32_to_f16(float value) {
    uint32_t bits = qn_float_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    // From 65520 on the addition carries into the exponent 31, which is infinity, as it should be.
    uint32_t normal = (magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
    uint32_t special = magnitude > 0x7F800000u ? 0x7E00u | (magnitude >> 13 & 0x3FFu) : 0x7C00u;
    // Below 2^-14 the sum with 0.5 rounds to multiples of 2^-24, in the hardware's nearest-even.
    float small = magnitude < 0x38800000u ? qn_float_from_bits(magnitude) : 0.0f;
    uint32_t tiny = qn_float_bits(small + 0.5f) - 0x3F000000u;
    uint32_t half = magnitude >= 0x47800000u ? special : magnitude < 0x38800000u ? tiny : normal;
    return (uint16_t)(sign | half);
}
