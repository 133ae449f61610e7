// AdamW steps (Loshchilov, Hutter 2019) in the order of torch.optim.AdamW: decay, moments, update.
#include "backend/cpu/ref/ref.h"
#include <math.h>

void qn_ref_adamw(const qn_adamw *f, size_t n, float *parameter, float *gradient, float *m, float *v) {
    for (size_t i = 0; i < n; i++) {
        float g = f->grad_scale * gradient[i];
        m[i] += f->rest1 * (g - m[i]);
        v[i] = f->beta2 * v[i] + f->rest2 * g * g;
        parameter[i] = f->decay * parameter[i] - f->step * (m[i] / (sqrtf(v[i]) * f->correction + f->eps));
        gradient[i] = 0.0f;
    }
}

void qn_ref_adamw_idle(const qn_adamw *f, size_t count, size_t live, size_t n, float *parameter, float *m, float *v) {
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < count; k++) {
            m[i] = k < live ? m[i] - f[k].rest1 * m[i] : 0.0f;
            v[i] *= f[k].beta2;
            parameter[i] = f[k].decay * parameter[i] - f[k].step * (m[i] / (sqrtf(v[i]) * f[k].correction + f[k].eps));
        }
}

// One fused step, so that every path has the same bits.
void qn_ref_approach(size_t n, float share, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf(share, x[i] - y[i], y[i]);
}
