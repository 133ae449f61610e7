// y = x / max(|x|, 1e-12) by rows        x, y [n, d]
// dx = (dy - y (y . dy)) / |x|
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    float *norm;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    float *dx = qn_gradient(c, r->x, &accumulate);
    if (dx)
        c->backend->ops->normalize_backward(c->backend, qn_rows(r->x), qn_width(r->x), r->y->data, r->norm, r->y->grad,
                                            dx, accumulate);
}

qn_tensor *qn_normalize(qn_context *c, qn_tensor *x) {
    if (!x) return NULL;
    record r = {x, qn_new_matrix(c, qn_rows(x), qn_width(x), x->requires_grad), NULL};
    if (!r.y) return NULL;
    if (r.y->requires_grad) {
        r.norm = qn_arena_alloc(c->arena, qn_rows(x), sizeof(float));
        if (!r.norm) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->normalize_forward(c->backend, qn_rows(x), qn_width(x), x->data, r.y->data, r.norm);
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}
