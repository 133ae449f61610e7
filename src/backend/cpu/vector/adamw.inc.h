// AdamW steps (Loshchilov, Hutter 2019) in the order of torch.optim.AdamW: decay, moments, update.
static inline v_float QN_V_NAME(adamw_descend)(const qn_adamw *f, v_float p, v_float m, v_float v) {
    v_float denominator = v_fma(v_sqrt(v), v_set1(f->correction), v_set1(f->eps));
    return v_fnma(v_set1(f->step), v_div(m, denominator), v_mul(v_set1(f->decay), p));
}

void QN_V_NAME(adamw)(const qn_adamw *f, size_t n, float *parameter, float *gradient, float *m, float *v) {
    const v_float scale = v_set1(f->grad_scale), beta2 = v_set1(f->beta2);
    const v_float rest1 = v_set1(f->rest1), rest2 = v_set1(f->rest2);
    V_EACH(n, {
        v_float g = v_mul(scale, v_get(gradient + i, w));
        v_float m0 = v_get(m + i, w);
        v_float m1 = v_fma(rest1, v_sub(g, m0), m0);
        v_float v1 = v_fma(v_mul(rest2, g), g, v_mul(beta2, v_get(v + i, w)));
        v_put(parameter + i, w, QN_V_NAME(adamw_descend)(f, v_get(parameter + i, w), m1, v1));
        v_put(m + i, w, m1);
        v_put(v + i, w, v1);
        v_put(gradient + i, w, v_zero());
    });
}

// With gradients of zero; without a first moment the parameter only decays. The vectors of a block go through all
// updates together, so that their chains of dependent products overlap.
void QN_V_NAME(adamw_idle)(const qn_adamw *f, size_t count, size_t live, size_t n, float *parameter, float *m,
                           float *v) {
    for (size_t block = 0; block < n; block += V_BLOCK) {
        v_float p1[4], m1[4], v1[4];
        size_t vectors = n - block >= V_BLOCK ? 4 : (n - block + V_WIDTH - 1) / V_WIDTH;
        size_t last = n - block >= V_BLOCK ? V_WIDTH : n - block - (vectors - 1) * V_WIDTH; // elements of the last
        QN_UNROLL for (size_t u = 0; u < 4; u++) {
            p1[u] = m1[u] = v1[u] = v_zero();
            if (u >= vectors) continue;
            size_t i = block + u * V_WIDTH, w = u + 1 < vectors ? V_WIDTH : last;
            p1[u] = v_get(parameter + i, w);
            m1[u] = v_get(m + i, w);
            v1[u] = v_get(v + i, w);
        }
        for (size_t k = 0; k < live; k++) QN_UNROLL for (size_t u = 0; u < 4; u++) {
                m1[u] = v_fma(v_set1(f[k].rest1), v_sub(v_zero(), m1[u]), m1[u]);
                v1[u] = v_mul(v_set1(f[k].beta2), v1[u]);
                p1[u] = QN_V_NAME(adamw_descend)(&f[k], p1[u], m1[u], v1[u]);
            }
        for (size_t k = live; k < count; k++) QN_UNROLL for (size_t u = 0; u < 4; u++) {
                v1[u] = v_mul(v_set1(f[k].beta2), v1[u]);
                p1[u] = v_mul(v_set1(f[k].decay), p1[u]);
            }
        QN_UNROLL for (size_t u = 0; u < 4; u++) {
            if (u >= vectors) continue;
            size_t i = block + u * V_WIDTH, w = u + 1 < vectors ? V_WIDTH : last;
            v_put(parameter + i, w, p1[u]);
            v_put(m + i, w, live < count ? v_zero() : m1[u]);
            v_put(v + i, w, v1[u]);
        }
    }
}

void QN_V_NAME(approach)(size_t n, float share, const float *x, float *y) {
    V_EACH(n, {
        v_float y0 = v_get(y + i, w);
        v_put(y + i, w, v_fma(v_set1(share), v_sub(v_get(x + i, w), y0), y0));
    });
}
