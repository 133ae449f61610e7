// y = x[:, first .. first + count - 1]        x [T, d] -> [T, count];  dx = dy there, 0 elsewhere
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    size_t first;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    size_t rows = qn_rows(r->x), d = qn_width(r->x), count = qn_width(r->y);
    float *dx = qn_gradient(c, r->x, &accumulate);
    if (dx && !accumulate) c->backend->ops->zero(c->backend, dx, rows * d);
    for (size_t i = 0; dx && i < rows; i++)
        for (size_t k = 0; k < count; k++) dx[i * d + r->first + k] += r->y->grad[i * count + k];
}

qn_tensor *qn_columns(qn_context *c, qn_tensor *x, size_t first, size_t count) {
    if (!x) return NULL;
    size_t rows = qn_rows(x), d = qn_width(x);
    if (count > d || first > d - count) {
        qn_fail(QN_ERROR_ARGUMENT, "columns: %zu from %zu on (expected some of %zu)", count, first, d);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    record r = {x, qn_new_matrix(c, rows, count, x->requires_grad), first};
    if (!r.y) return NULL;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < count; k++) r.y->data[i * count + k] = x->data[i * d + first + k];
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}
