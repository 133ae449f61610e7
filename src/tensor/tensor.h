// A tensor: a shape over float32 memory that someone else owns (an arena for activations, the parameter set for
// weights), and its gradient.
#pragma once
#include "base/memory.h"

enum { QN_MAX_RANK = 4 };

struct qn_tensor { // qn_tensor is quern.h's
    int rank;
    size_t shape[QN_MAX_RANK];
    float *data;
    float *grad; // same shape; NULL until someone contributes (activations) or where training stores it (parameters)
    uint16_t *narrow; // where is_narrow: the value in bf16 in place of data, which products in bf16 alone read
    bool is_narrow;
    bool requires_grad;        // a parameter that trains, or something computed from one
    bool has_grad;             // grad holds a value: the next contribution is added; parameters always have it
    const void *packed;        // the backend's own form of a weight (inference), or NULL
    const struct qn_grouped_weight *stored; // of a weight that a file has in groups: in place of data; or NULL
    const struct qn_adapter *adapter; // of a weight: what is added to it at low rank (ops.h), or NULL
    struct qn_tensor *sibling; // another result of the same operation, while recording
    struct qn_used_rows *used; // a table whose gradient has only the rows in use (used_rows.h), or NULL
    // While recording: computes the value again where it was forgotten, from what `record` keeps; NULL: cannot.
    void (*again)(void *context, void *record, struct qn_tensor *t);
    void *record;
    float *moments; // [2, count] for the optimizer, where qn_parameter_create made it; a parameter set has its own
};

// All dimensions but the last, multiplied; the last.
static inline size_t qn_rows(const qn_tensor *t) {
    size_t rows = 1;
    for (int i = 0; i + 1 < t->rank; i++) rows *= t->shape[i];
    return rows;
}
static inline size_t qn_width(const qn_tensor *t) {
    return t->shape[t->rank - 1];
}
static inline size_t qn_count(const qn_tensor *t) {
    return qn_rows(t) * qn_width(t);
}
