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
