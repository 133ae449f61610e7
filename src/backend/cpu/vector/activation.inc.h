// Activations over an array and their gradients; the formulas are those of math.inc.h.
#define ACTIVATE(name)                                                                                                 \
    V_EACH(n, {
v_put(y + i, w, name(v_get(x + i, w)));
});
break void QN_V_NAME(activation_forward)(qn_activation f, size_t n, const float *x, float *y) {
    switch (f) {
    case QN_ACTIVATION_GELU:
        ACTIVATE(v_gelu);
    case QN_ACTIVATION_GELU_TANH:
        ACTIVATE(v_gelu_tanh);
    case QN_ACTIVATION_RELU:
        ACTIVATE(v_relu);
    case QN_ACTIVATION_SILU:
        ACTIVATE(v_silu);
    case QN_ACTIVATION_TANH:
        ACTIVATE(v_tanh);
    case QN_ACTIVATION_NONE:
        if (y != x && n > 0) memmove(y, x, n * sizeof *y);
        break;
    }
}
#undef ACTIVATE

#define SLOPE(name)                                                                                                    \
    V_EACH(n, {
v_put(dx + i, w, v_mul(v_get(dy + i, w), name(v_get(x + i, w))));
});
break void QN_V_NAME(activation_backward)(qn_activation f, size_t n, const float *x, const float *dy, float *dx) {
    switch (f) {
    case QN_ACTIVATION_GELU:
        SLOPE(v_gelu_slope);
    case QN_ACTIVATION_GELU_TANH:
        SLOPE(v_gelu_tanh_slope);
    case QN_ACTIVATION_RELU:
        SLOPE(v_relu_slope);
    case QN_ACTIVATION_SILU:
        SLOPE(v_silu_slope);
    case QN_ACTIVATION_TANH:
        SLOPE(v_tanh_slope);
    case QN_ACTIVATION_NONE:
        if (dx != dy && n > 0) memmove(dx, dy, n * sizeof *dx);
        break;
    }
}
#undef SLOPE
