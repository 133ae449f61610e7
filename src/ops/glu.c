// y = f(gate) value, where x [T, 2 n] holds gate and value side by side        y [T, n]
// dgate = dy value f'(gate), dvalue = dy f(gate)        (Dauphin et al. 2017; GeGLU, SwiGLU: Shazeer 2020)
#include "ops/ops.h"

typedef struct {
    qn_glu_args args;
    qn_tensor *x, *y;
} record;

static void glu_again(void *context, void *content, qn_tensor *y) {
    qn_context *c = context;
    const record *r = content;
    qn_glu_args args = r->args;
    args.y = y->data;
    c->backend->ops->glu_forward(c->backend, &args);
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    r->args.dy = r->y->grad;
    r->args.dx = qn_gradient_to_write(c, r->x);
    if (!r->args.dx) return;
    c->backend->ops->glu_backward(c->backend, &r->args);
    qn_gradient_written(c, r->x, r->args.dx);
}

qn_tensor *qn_glu(qn_context *c, qn_tensor *x, qn_activation f, bool gate_last) {
    if (!x) return NULL;
    size_t rows = qn_rows(x), n = qn_width(x) / 2;
    if (2 * n != qn_width(x) || n == 0) {
        qn_fail(QN_ERROR_ARGUMENT, "glu: [%zu, %zu] (expected [T, 2 n])", rows, qn_width(x));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    record r = {.x = x, .y = qn_new_matrix(c, rows, n, x->requires_grad)};
    if (!r.y) return NULL;
    r.args = (qn_glu_args){.rows = rows, .n = n, .activation = f, .gate_last = gate_last, .x = x->data, .y = r.y->data};
    c->backend->ops->glu_forward(c->backend, &r.args);
    if (!r.y->requires_grad) return r.y;
    r.y->record = qn_new_record(c, sizeof r, backward, &r);
    if (!r.y->record) return NULL;
    r.y->again = glu_again;
    return r.y;
}
