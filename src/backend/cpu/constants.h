// Numbers that every variant of a kernel must agree on, derived from the arguments once per call.
#pragma once
#include "backend/cpu/kernels.h"
#include <math.h>

// The least 16-bit random number that keeps an element; 65536 keeps none.
static inline uint32_t qn_dropout_threshold(float p) {
    return (uint32_t)lrintf(p * 65536.0f);
}
static inline float qn_dropout_factor(float p) {
    return p < 1.0f ? 1.0f / (1.0f - p) : 0.0f;
}

// Bytes for values from `low` (at most 0) to `high` (at least 0): value = (byte - zero) scale, byte = value inverse +
// start, cut off; at most 255, beyond which the highest value may come where `zero` was half way between two numbers.
typedef struct {
    float scale, inverse, start;
    int32_t zero;
} qn_byte_range;

static inline qn_byte_range qn_byte_range_of(float low, float high) {
    float scale = (high - low) / 255, inverse = high - low > 0 ? 255 / (high - low) : 0;
    int32_t zero = (int32_t)(0.5f - low * inverse);
    return (qn_byte_range){scale, inverse, (float)zero + 0.5f, zero};
}
