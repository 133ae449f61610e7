// Exponential and activations of one vector, from the operations of vec.h. All are exact functions of the element: no
// lane looks at another. Constants are minimax fits in relative error; the largest errors found by the tests stand
// beside the functions.
#pragma once

// e^(x + low) for x + low in [-110, 89]: 2^n e^r with |r| <= ln(2) / 2; ln(2) in two parts keeps r exact.
static inline v_float v_expm1_reduced(v_float x, v_float low, v_float *n) {
    *n = v_round(v_mul(x, v_set1(0x1.715476p+0f)));
    v_float r = v_fnma(*n, v_set1(0x1.62e430p-1f), x);
    r = v_add(v_fnma(*n, v_set1(-0x1.05c610p-29f), r), low);
    v_float q = v_set1(0.00138131424f);
    q = v_fma(q, r, v_set1(0.00836941904f));
    q = v_fma(q, r, v_set1(0.0416684568f));
    q = v_fma(q, r, v_set1(0.166665148f));
    q = v_fma(q, r, v_set1(0.499999931f));
    return v_fma(v_mul(r, r), q, r); // e^r - 1
}
static inline v_float v_exp_sum2(v_float x, v_float low) {
    v_float n, r = v_expm1_reduced(x, low, &n);
    return v_scale(v_add(v_set1(1.0f), r), n);
}
// e^x to 1 ulp; 0 below -104, infinity above 88.73, NaN for NaN.
static inline v_float v_exp(v_float x) {
    x = v_max_bound(v_set1(-104.0f), v_min_bound(v_set1(89.0f), x));
    return v_exp_sum2(x, v_zero());
}

static inline v_float v_relu(v_float x) {
    return v_max_bound(v_zero(), x);
}

// tanh |x| = m / (m + 2) with m = e^(2 |x|) - 1 = 2^n (e^r - 1) + (2^n - 1), which is exact to the last bits near 0
// too.
static inline v_float v_tanh(v_float x) {
    v_float n, t = v_min_bound(v_set1(10.0f), v_abs(x));
    v_float r = v_expm1_reduced(v_add(t, t), v_zero(), &n);
    v_float power = v_scale(v_set1(1.0f), n);
    v_float m = v_fma(power, r, v_sub(power, v_set1(1.0f)));
    return v_copysign(v_div(m, v_add(m, v_set1(2.0f))), x);
}
// The derivative 1 - tanh^2 = 4 e / (1 + e)^2 with e = e^(-2 |x|).
static inline v_float v_tanh_slope(v_float x) {
    v_float t = v_min_bound(v_set1(52.0f), v_abs(x));
    v_float e = v_exp_sum2(v_mul(v_set1(-2.0f), t), v_zero());
    v_float s = v_add(e, v_set1(1.0f));
    return v_div(v_mul(v_set1(4.0f), e), v_mul(s, s));
}

// sigmoid z = (z < 0 ? e : 1) / (1 + e) with e = e^-|z|, for |z| <= 110; *e as a by-product.
static inline v_float v_sigmoid(v_float z, v_float *e) {
    *e = v_exp_sum2(v_copysign(z, v_set1(-1.0f)), v_zero());
    v_float one = v_set1(1.0f);
    return v_div(v_select(v_less(z, v_zero()), *e, one), v_add(one, *e));
}
static inline v_float v_clamp(v_float x, float bound) {
    return v_max_bound(v_set1(-bound), v_min_bound(v_set1(bound), x));
}
static inline v_float v_silu(v_float x) {
    v_float e, z = v_clamp(x, 104.0f);
    return v_mul(v_max_bound(v_set1(-104.0f), x), v_sigmoid(z, &e));
}
// s (1 + x (1 - s)), where s (1 - s) = e / (1 + e)^2.
static inline v_float v_silu_slope(v_float x) {
    v_float e, z = v_clamp(x, 104.0f), s = v_sigmoid(z, &e), sum = v_add(v_set1(1.0f), e);
    return v_fma(z, v_div(e, v_mul(sum, sum)), s);
}

// gelu_new: 0.5 x (1 + tanh u) = x sigmoid(2 u), which does not cancel; 2 u = x (a + b x^2), a = 2 sqrt(2 / pi), b =
// 0.044715 a. |x| is kept below 10.8, where 2 u reaches 107 and the sigmoid has become 0 or 1.
static inline v_float v_gelu_tanh(v_float x) {
    v_float e, c = v_clamp(x, 10.8f), square = v_mul(c, c);
    v_float z = v_mul(c, v_fma(square, v_set1(0.07135481283f), v_set1(1.595769122f)));
    return v_mul(v_max_bound(v_set1(-10.8f), x), v_sigmoid(z, &e));
}
static inline v_float v_gelu_tanh_slope(v_float x) {
    v_float e, c = v_clamp(x, 10.8f), square = v_mul(c, c), a = v_set1(1.595769122f);
    v_float z = v_mul(c, v_fma(square, v_set1(0.07135481283f), a));
    v_float dz = v_fma(square, v_set1(0.2140644385f), a);
    v_float s = v_sigmoid(z, &e), sum = v_add(v_set1(1.0f), e);
    return v_fma(v_mul(c, dz), v_div(e, v_mul(sum, sum)), s);
}

// gelu. Q(t) = 1 - Phi(t) = e^(-t^2 / 2) R(t) for t = |x|, where R (half the scaled complementary error function of t /
// sqrt(2)) falls smoothly like 0.4 / t and is a quotient of polynomials with positive coefficients to 6e-9. So
//   gelu x = max(x, 0) - t Q(t)
// keeps its relative accuracy far into the negative tail, where x (1 + erf) / 2 cancels. t stops at 14.4, where t Q(t)
// is below 2^-149.
static inline v_float v_gelu_parts(v_float x, v_float *t, v_float *e) {
    *t = v_min_bound(v_set1(14.4f), v_abs(x));
    v_float half = v_mul(v_set1(-0.5f), *t), exponent = v_mul(half, *t);
    *e = v_exp_sum2(exponent, v_fms(half, *t, exponent)); // the product's rounding error would be amplified in the tail
    v_float p = v_set1(0.00411630451f), q = v_set1(0.0103179255f);
    p = v_fma(p, *t, v_set1(0.0406332017f));
    q = v_fma(q, *t, v_set1(0.101858779f));
    p = v_fma(p, *t, v_set1(0.18323507f));
    q = v_fma(q, *t, v_set1(0.469470448f));
    p = v_fma(p, *t, v_set1(0.438294867f));
    q = v_fma(q, *t, v_set1(1.20250287f));
    p = v_fma(p, *t, v_set1(0.5f));
    q = v_fma(q, *t, v_set1(1.67447471f));
    q = v_fma(q, *t, v_set1(1.0f));
    return v_div(v_mul(*e, p), q);
}
#ifndef V_OWN_GELU
static inline v_float v_gelu(v_float x) {
    v_float t, e, q = v_gelu_parts(x, &t, &e);
    return v_fnma(t, q, v_relu(x));
}
#endif
// Phi(x) + x phi(x), phi(x) = e^(-x^2 / 2) / sqrt(2 pi).
static inline v_float v_gelu_slope(v_float x) {
    v_float t, e, q = v_gelu_parts(x, &t, &e);
    v_float phi = v_select(v_less(x, v_zero()), q, v_sub(v_set1(1.0f), q));
    return v_fma(v_copysign(t, x), v_mul(e, v_set1(0.3989422804f)), phi);
}

static inline v_float v_relu_slope(v_float x) { // 0 at 0; a NaN passes the gradient on, as in torch
    return v_select(v_less_equal(x, v_zero()), v_zero(), v_set1(1.0f));
}

static inline v_float v_activate(qn_activation f, v_float x) {
    switch (f) {
    case QN_ACTIVATION_GELU:
        return v_gelu(x);
    case QN_ACTIVATION_GELU_TANH:
        return v_gelu_tanh(x);
    case QN_ACTIVATION_RELU:
        return v_relu(x);
    case QN_ACTIVATION_SILU:
        return v_silu(x);
    case QN_ACTIVATION_TANH:
        return v_tanh(x);
    case QN_ACTIVATION_NONE:
        break;
    }
    return x;
}
static inline v_float v_slope(qn_activation f, v_float x) {
    switch (f) {
    case QN_ACTIVATION_GELU:
        return v_gelu_slope(x);
    case QN_ACTIVATION_GELU_TANH:
        return v_gelu_tanh_slope(x);
    case QN_ACTIVATION_RELU:
        return v_relu_slope(x);
    case QN_ACTIVATION_SILU:
        return v_silu_slope(x);
    case QN_ACTIVATION_TANH:
        return v_tanh_slope(x);
    case QN_ACTIVATION_NONE:
        break;
    }
    return v_set1(1.0f);
}
