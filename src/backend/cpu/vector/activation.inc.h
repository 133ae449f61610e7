// Activations over an array and their gradients; the formulas are those of math.inc.h.
void QN_V_NAME(activation_forward)(qn_activation f, size_t n, const float *x, float *y) {
    switch (f) {
    case QN_ACTIVATION_GELU:
        V_EACH(n, { v_put(y + i, w, v_gelu(v_get(x + i, w))); });
        break;
    case QN_ACTIVATION_GELU_TANH:
        V_EACH(n, { v_put(y + i, w, v_gelu_tanh(v_get(x + i, w))); });
        break;
    case QN_ACTIVATION_RELU:
        V_EACH(n, { v_put(y + i, w, v_relu(v_get(x + i, w))); });
        break;
    case QN_ACTIVATION_SILU:
        V_EACH(n, { v_put(y + i, w, v_silu(v_get(x + i, w))); });
        break;
    case QN_ACTIVATION_TANH:
        V_EACH(n, { v_put(y + i, w, v_tanh(v_get(x + i, w))); });
        break;
    case QN_ACTIVATION_NONE:
        if (y != x && n > 0) memmove(y, x, n * sizeof *y);
        break;
    }
}

void QN_V_NAME(activation_backward)(qn_activation f, size_t n, const float *x, const float *dy, float *dx) {
    switch (f) {
    case QN_ACTIVATION_GELU:
        V_EACH(n, { v_put(dx + i, w, v_mul(v_get(dy + i, w), v_gelu_slope(v_get(x + i, w)))); });
        break;
    case QN_ACTIVATION_GELU_TANH:
        V_EACH(n, { v_put(dx + i, w, v_mul(v_get(dy + i, w), v_gelu_tanh_slope(v_get(x + i, w)))); });
        break;
    case QN_ACTIVATION_RELU:
        V_EACH(n, { v_put(dx + i, w, v_mul(v_get(dy + i, w), v_relu_slope(v_get(x + i, w)))); });
        break;
    case QN_ACTIVATION_SILU:
        V_EACH(n, { v_put(dx + i, w, v_mul(v_get(dy + i, w), v_silu_slope(v_get(x + i, w)))); });
        break;
    case QN_ACTIVATION_TANH:
        V_EACH(n, { v_put(dx + i, w, v_mul(v_get(dy + i, w), v_tanh_slope(v_get(x + i, w)))); });
        break;
    case QN_ACTIVATION_NONE:
        if (dx != dy && n > 0) memmove(dx, dy, n * sizeof *dx);
        break;
    }
}
