// One AdamW step (Loshchilov, Hutter 2019) in the order of torch.optim.AdamW: decay, moments, update.
#include "backend/cpu/constants.h"
#include "backend/cpu/ref/ref.h"
#include <math.h>

void qn_ref_adamw(const qn_adamw *f, size_t n, float *parameter, float *gradient, float *m, float *v) {
    qn_adamw_factors k = qn_adamw_factors_of(f);
    for (size_t i = 0; i < n; i++) {
        float g = f->grad_scale * gradient[i];
        m[i] += k.rest1 * (g - m[i]);
        v[i] = f->beta2 * v[i] + k.rest2 * g * g;
        parameter[i] = k.decay * parameter[i] - k.step * (m[i] / (sqrtf(v[i]) * k.correction + f->eps));
        gradient[i] = 0.0f;
    }
}
