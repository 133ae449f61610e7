// Activations and their derivatives in double precision, one element after the other.
#include "backend/cpu/ref/ref.h"
#include <math.h>

static const double SQRT_HALF = 0.70710678118654752440, SQRT_2_OVER_PI = 0.79788456080286535588;

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

// erfc keeps the digits of Phi(x) = (1 + erf(x / sqrt(2))) / 2 where x is far below 0.
static double normal_distribution(double x) {
    return 0.5 * erfc(-x * SQRT_HALF);
}

static double activate(qn_activation f, double x) {
    switch (f) {
    case QN_ACTIVATION_NONE:
        return x;
    case QN_ACTIVATION_RELU:
        return x < 0 ? 0 : x;
    case QN_ACTIVATION_TANH:
        return tanh(x);
    default:
        break;
    }
    if (x < -700) x = -700; // so that -infinity gives the limit, -0, and not -infinity times 0
    switch (f) {
    case QN_ACTIVATION_GELU:
        return x * normal_distribution(x);
    case QN_ACTIVATION_GELU_TANH:
        return x * sigmoid(2 * SQRT_2_OVER_PI * (x + 0.044715 * x * x * x));
    case QN_ACTIVATION_SILU:
        return x * sigmoid(x);
    default:
        return x;
    }
}

static double slope(qn_activation f, double x) {
    switch (f) {
    case QN_ACTIVATION_NONE:
        return 1;
    case QN_ACTIVATION_RELU:
        return x <= 0 ? 0 : 1;
    case QN_ACTIVATION_TANH:
        return 1 / (cosh(x) * cosh(x));
    default:
        break;
    }
    if (x < -700) x = -700; // the limits at the infinities, as above
    if (x > 700) x = 700;
    switch (f) {
    case QN_ACTIVATION_GELU:
        return normal_distribution(x) + x * exp(-0.5 * x * x) * SQRT_HALF * SQRT_HALF * SQRT_2_OVER_PI;
    case QN_ACTIVATION_GELU_TANH: {
        double z = 2 * SQRT_2_OVER_PI * (x + 0.044715 * x * x * x);
        double dz = 2 * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x);
        return sigmoid(z) + x * dz * sigmoid(z) * sigmoid(-z);
    }
    case QN_ACTIVATION_SILU:
        return sigmoid(x) + x * sigmoid(x) * sigmoid(-x);
    default:
        return 1;
    }
}

void qn_ref_activation_forward(qn_activation f, size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = (float)activate(f, x[i]);
}

void qn_ref_activation_backward(qn_activation f, size_t n, const float *x, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++) dx[i] = dy[i] * (float)slope(f, x[i]);
}

void qn_ref_glu_forward(qn_activation f, size_t n, const float *gate, const float *value, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = (float)activate(f, gate[i]) * value[i];
}

void qn_ref_glu_backward(qn_activation f, size_t n, const float *gate, const float *value, const float *dy,
                         float *dgate, float *dvalue) {
    for (size_t i = 0; i < n; i++) {
        float dg = dy[i] * value[i] * (float)slope(f, gate[i]), dv = dy[i] * (float)activate(f, gate[i]);
        dgate[i] = dg;
        dvalue[i] = dv;
    }
}
