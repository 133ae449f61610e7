// y = factor x, dx = factor dy        any shape
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    float factor;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    float *dx = qn_gradient(c, r->x, &accumulate);
    if (dx) c->backend->ops->scale(c->backend, qn_count(r->x), r->factor, r->y->grad, dx, accumulate);
}

qn_tensor *qn_scale(qn_context *c, qn_tensor *x, float factor) {
    if (!x) return NULL;
    qn_tensor *y = qn_new_tensor(c, x->rank, x->shape, x->requires_grad);
    if (!y) return NULL;
    c->backend->ops->scale(c->backend, qn_count(x), factor, x->data, y->data, false);
    if (y->requires_grad && !qn_new_record(c, sizeof(record), backward, &(record){x, y, factor})) return NULL;
    return y;
}
