// p -= rate decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t))
// + eps) (Loshchilov & Hutter 2019, as torch.optim.AdamW; the update itself is the backend's adamw.)
#include "train/optimizer.h"
#include <math.h>

// Calls `visit` for each run of neighbouring entries that agree in `same`; frozen ones are left out.
typedef struct {
    size_t first, end; // floats
    const qn_parameter *parameter;
} run;

static size_t entry_end(const qn_parameters *set, size_t i) {
    return i + 1 < set->count ? set->items[i + 1]->offset : set->size;
}

static bool next_run(const qn_parameters *set, size_t *at, run *r) {
    while (*at < set->count && set->items[*at]->frozen) ++*at;
    if (*at == set->count) return false;
    const qn_parameter *p = set->items[*at];
    *r = (run){p->offset, entry_end(set, *at), p};
    for (++*at; *at < set->count; ++*at) {
        const qn_parameter *q = set->items[*at];
        if (q->frozen || q->decay != p->decay || q->layer != p->layer) break;
        r->end = entry_end(set, *at);
    }
    return true;
}

double qn_gradient_norm(qn_backend *backend, const qn_parameters *set) {
    double sum = 0;
    run r;
    for (size_t at = 0; next_run(set, &at, &r);)
        sum += backend->ops->sum_squares(backend, r.end - r.first, set->grads + r.first);
    return sqrt(sum);
}

void qn_optimizer_step(qn_backend *backend, qn_parameters *set, const qn_optimizer_options *o, int64_t step,
                       double learning_rate, double scale) {
    int top = 0;
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i]->layer > top) top = set->items[i]->layer;
    run r;
    for (size_t at = 0; next_run(set, &at, &r);) {
        double rate = learning_rate * pow(o->layer_decay, top - r.parameter->layer);
        qn_adamw f = {(float)rate,
                      (float)o->beta1,
                      (float)o->beta2,
                      (float)o->eps,
                      r.parameter->decay ? (float)o->weight_decay : 0,
                      step,
                      (float)scale};
        backend->ops->adamw(backend, &f, r.end - r.first, set->values + r.first, set->grads + r.first,
                            set->moment1 + r.first, set->moment2 + r.first);
    }
}

void qn_optimizer_skip(qn_backend *backend, qn_parameters *set) {
    backend->ops->zero(backend, set->grads, set->size);
}
