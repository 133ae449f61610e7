// Logistic regression with several classes: the head of few-shot classification.
#pragma once
#include "base/status.h"

typedef struct {
    size_t rows, width, classes;
    const float *x;          // [rows, width]
    const int32_t *targets;  // [rows], each 0 .. classes-1
    double inverse_strength; // C of scikit-learn's LogisticRegression: the weaker the penalty, the larger
} qn_logistic;

// The minimum of sum_i -log softmax(W x_i + b)[target_i] + |W|^2 / (2 C), from zeros, by L-BFGS in double precision: a
// function of its input alone. weight [classes, width], bias [classes].
qn_status qn_logistic_fit(const qn_logistic *problem, float *weight, float *bias);
