// One AdamW step (Loshchilov, Hutter 2019) in the order of torch.optim.AdamW: decay, moments, update.
void QN_V_NAME(adamw)(const qn_adamw *f, size_t n, float *parameter, float *gradient, float *m, float *v) {
    const qn_adamw_factors k = qn_adamw_factors_of(f);
    const v_float scale = v_set1(f->grad_scale), decay = v_set1(k.decay), beta2 = v_set1(f->beta2);
    const v_float rest1 = v_set1(k.rest1), rest2 = v_set1(k.rest2), step = v_set1(k.step);
    const v_float correction = v_set1(k.correction), eps = v_set1(f->eps);
    V_EACH(n, {
        v_float g = v_mul(scale, v_get(gradient + i, w));
        v_float m0 = v_get(m + i, w);
        v_float m1 = v_fma(rest1, v_sub(g, m0), m0);
        v_float v1 = v_fma(v_mul(rest2, g), g, v_mul(beta2, v_get(v + i, w)));
        v_float denominator = v_fma(v_sqrt(v1), correction, eps);
        v_float p = v_mul(decay, v_get(parameter + i, w));
        v_put(parameter + i, w, v_fnma(step, v_div(m1, denominator), p));
        v_put(m + i, w, m1);
        v_put(v + i, w, v1);
        v_put(gradient + i, w, v_zero());
    });
}
