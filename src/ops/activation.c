// y = f(x), dx = dy f'(x)        any shape; f: see QN_ACTIVATION_MAP
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    qn_activation f;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    c->backend->ops->activation_backward(c->backend, r->f, qn_count(r->x), r->x->data, r->y->grad, r->y->grad);
    qn_add_gradient(c, r->x, r->y->grad);
}

qn_tensor *qn_activate(qn_context *c, qn_tensor *x, qn_activation f) {
    if (!x) return NULL;
    qn_tensor *y = qn_new_tensor(c, x->rank, x->shape, x->requires_grad);
    if (!y) return NULL;
    c->backend->ops->activation_forward(c->backend, f, qn_count(x), x->data, y->data);
    record r = {x, y, f};
    if (y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return y;
}
