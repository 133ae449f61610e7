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

typedef struct {
    float decay;        // 1 - learning rate * weight decay
    float rest1, rest2; // 1 - beta
    float step;         // learning rate / (1 - beta1^t)
    float correction;   // 1 / sqrt(1 - beta2^t)
} qn_adamw_factors;

static inline qn_adamw_factors qn_adamw_factors_of(const qn_adamw *f) {
    double lr = f->learning_rate, beta1 = f->beta1, beta2 = f->beta2, t = (double)f->step;
    return (qn_adamw_factors){
        .decay = (float)(1.0 - lr * f->weight_decay),
        .rest1 = (float)(1.0 - beta1),
        .rest2 = (float)(1.0 - beta2),
        .step = (float)(lr / (1.0 - pow(beta1, t))),
        .correction = (float)(1.0 / sqrt(1.0 - pow(beta2, t))),
    };
}
