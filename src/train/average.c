// See average.h.
#include "train/average.h"
#include <stdlib.h>
#include <string.h>

// Parameters that train and lie next to each other, in the set and in the mean.
typedef struct {
    float *weights, *mean;
    size_t count;
} run;

static bool next_run(const qn_average *a, size_t *at, run *r) {
    const qn_parameters *set = a->set;
    while (*at < set->count && set->items[*at]->frozen) ++*at;
    if (*at == set->count) return false;
    const qn_parameter *first = set->items[*at];
    *r = (run){set->values + first->offset, a->values + first->slot, 0};
    for (; *at < set->count && !set->items[*at]->frozen; ++*at) r->count = qn_parameters_end(set, *at) - first->offset;
    return true;
}

qn_status qn_average_create(qn_backend *backend, qn_parameters *set, double decay, qn_average **out) {
    qn_average *a = *out = qn_calloc(1, sizeof *a);
    if (!a) return QN_ERROR_MEMORY;
    *a = (qn_average){backend, set, (float)(1 - decay), qn_aligned_alloc((set->trained + 1) * sizeof(float))};
    if (!a->values) return QN_ERROR_MEMORY;
    memset(a->values, 0,
           (set->trained + 1) * sizeof(float)); // what lies between the runs is written to checkpoints too
    qn_average_update(a, true);
    return QN_OK;
}

void qn_average_free(qn_average *a) {
    if (a) qn_aligned_free(a->values);
    free(a);
}

void qn_average_update(qn_average *a, bool first) {
    run r;
    for (size_t at = 0; next_run(a, &at, &r);) {
        if (first)
            memcpy(r.mean, r.weights, r.count * sizeof *r.mean);
        else
            a->backend->ops->approach(a->backend, r.count, a->rest, r.weights, r.mean);
    }
}

void qn_average_swap(qn_average *a) {
    run r;
    for (size_t at = 0; a && next_run(a, &at, &r);)
        for (size_t i = 0; i < r.count; i++) {
            float weight = r.weights[i];
            r.weights[i] = r.mean[i];
            r.mean[i] = weight;
        }
}
