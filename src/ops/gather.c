// y[i] = x[index[i]], dx[index[i]] += dy[i]        x [T, d], y [rows, d]
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    const int32_t *index;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    float *dx = qn_gradient(c, r->x, &accumulate);
    if (!dx) return;
    if (!accumulate) c->backend->ops->zero(c->backend, dx, qn_count(r->x));
    c->backend->ops->gather_backward(c->backend, qn_rows(r->y), qn_width(r->y), r->y->grad, r->index, dx);
}

qn_tensor *qn_gather(qn_context *c, qn_tensor *x, size_t rows, const int32_t *index) {
    if (!x) return NULL;
    for (size_t i = 0; i < rows; i++)
        if (index[i] < 0 || (size_t)index[i] >= qn_rows(x)) {
            qn_fail(QN_ERROR_ARGUMENT, "gather: row %d of [%zu, %zu]", index[i], qn_rows(x), qn_width(x));
            return qn_fail_operation(c, QN_ERROR_ARGUMENT);
        }
    qn_tensor *y = qn_new_matrix(c, rows, qn_width(x), x->requires_grad);
    if (!y) return NULL;
    c->backend->ops->gather_forward(c->backend, rows, qn_width(x), x->data, index, y->data);
    record r = {x, y, index};
    if (y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return y;
}
