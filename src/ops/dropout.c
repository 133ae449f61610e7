// y = x keep / (1 - p), dx = dy keep / (1 - p)        any shape; keep is drawn again in backward, nothing is stored
// (Srivastava et al. 2014, in the inverted form)
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    qn_dropout f;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    float *dx = qn_gradient(c, r->x, &accumulate);
    if (dx) c->backend->ops->dropout(c->backend, r->f, qn_rows(r->x), qn_width(r->x), r->y->grad, dx, accumulate);
}

qn_tensor *qn_drop(qn_context *c, qn_tensor *x, float p) {
    if (!x || !c->dropout || p <= 0) return x;
    qn_tensor *y = qn_new_tensor(c, x->rank, x->shape, x->requires_grad);
    if (!y) return NULL;
    record r = {x, y, {p, c->seed, c->stream++}};
    c->backend->ops->dropout(c->backend, r.f, qn_rows(x), qn_width(x), x->data, y->data, false);
    if (y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return y;
}
