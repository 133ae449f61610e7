// Activations and gated linear units over an array, and their gradients; the formulas are those of math.inc.h.
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

// A loop for each of the two that models use, and one for the others.
#define GLU_EACH(n, ...)                                                                                               \
    switch (f) {                                                                                                       \
    case QN_ACTIVATION_GELU: {                                                                                         \
        const qn_activation known = QN_ACTIVATION_GELU;                                                                \
        V_EACH(n, __VA_ARGS__);                                                                                        \
        break;                                                                                                         \
    }                                                                                                                  \
    case QN_ACTIVATION_SILU: {                                                                                         \
        const qn_activation known = QN_ACTIVATION_SILU;                                                                \
        V_EACH(n, __VA_ARGS__);                                                                                        \
        break;                                                                                                         \
    }                                                                                                                  \
    default: {                                                                                                         \
        const qn_activation known = f;                                                                                 \
        V_EACH(n, __VA_ARGS__);                                                                                        \
        break;                                                                                                         \
    }                                                                                                                  \
    }

void QN_V_NAME(glu_forward)(qn_activation f, size_t n, const float *gate, const float *value, float *y) {
    GLU_EACH(n, { v_put(y + i, w, v_mul(v_activate(known, v_get(gate + i, w)), v_get(value + i, w))); })
}

void QN_V_NAME(glu_backward)(qn_activation f, size_t n, const float *gate, const float *value, const float *dy,
                             float *dgate, float *dvalue) {
    GLU_EACH(n, {
        v_float g = v_get(gate + i, w), d = v_get(dy + i, w);
        v_float dg = v_mul(v_mul(d, v_get(value + i, w)), v_slope(known, g));
        v_float dv = v_mul(d, v_activate(known, g));
        v_put(dgate + i, w, dg);
        v_put(dvalue + i, w, dv);
    })
}
#undef GLU_EACH
