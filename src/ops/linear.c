// y = f(x W^T + b)        x [T, in], W [out, in], b [out], y [T, out]
// dz = dy f'(z), dx = dz W, dW = dz^T x, db = sum over T of dz, where z = x W^T + b
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *weight, *bias, *y;
    qn_activation f;
    float *pre; // z, kept where f needs it
} record;

static void activate_again(void *context, void *content, qn_tensor *y) {
    qn_context *c = context;
    const record *r = content;
    c->backend->ops->activation_forward(c->backend, r->f, qn_count(y), r->pre, y->data);
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    size_t rows = qn_rows(r->x);
    float *dz = r->y->grad; // y's gradient is complete and nobody reads it again: it becomes dz
    if (r->f != QN_ACTIVATION_NONE)
        c->backend->ops->activation_backward(c->backend, r->f, qn_count(r->y), r->pre, dz, dz);
    const float *x = qn_value(c, r->x);
    if (!x) return;
    bool accumulate = false;
    float *dx = qn_gradient(c, r->x, &accumulate);
    c->backend->ops->linear_backward(
        c->backend,
        &(qn_linear_backward_args){.rows = rows,
                                   .x = x,
                                   .weight = {r->weight->data, qn_rows(r->weight), qn_width(r->weight), NULL},
                                   .compute = c->compute,
                                   .dy = dz,
                                   .dx = dx,
                                   .accumulate = accumulate,
                                   .dweight = r->weight->requires_grad ? r->weight->grad : NULL,
                                   .dbias = r->bias && r->bias->requires_grad ? r->bias->grad : NULL});
}

qn_tensor *qn_linear(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f) {
    if (!x || !weight) return NULL;
    size_t rows = qn_rows(x), in = qn_width(weight), out = weight->shape[0];
    if (weight->rank != 2 || qn_width(x) != in || (bias && qn_count(bias) != out)) {
        qn_fail(QN_ERROR_ARGUMENT, "linear: x is [%zu, %zu], W [%zu, %zu] (expected W [out, %zu])", rows, qn_width(x),
                out, in, qn_width(x));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (weight->used && weight->requires_grad && qn_taping(c)) {
        qn_fail(QN_ERROR_ARGUMENT, "linear: the weight is a table that trains by rows (expected a dense gradient)");
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_parameter(c, "linear", weight) || !qn_check_parameter(c, "linear", bias)) return NULL;
    bool trains = x->requires_grad || weight->requires_grad || (bias && bias->requires_grad);
    if (c->watch) c->watch(c->watcher, x, weight);
    qn_tensor *y = qn_new_matrix(c, rows, out, trains);
    if (!y) return NULL;
    record r = {x, weight, bias, y, f, NULL};
    if (y->requires_grad && f != QN_ACTIVATION_NONE) {
        r.pre = qn_arena_alloc(c->arena, rows * out, sizeof(float));
        if (!r.pre) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->linear_forward(c->backend,
                                    &(qn_linear_forward_args){.rows = rows,
                                                              .x = x->data,
                                                              .weight = {weight->data, out, in, weight->packed},
                                                              .bias = bias ? bias->data : NULL,
                                                              .activation = f,
                                                              .compute = c->compute,
                                                              .pre = r.pre,
                                                              .y = y->data});
    if (!y->requires_grad) return y;
    y->record = qn_new_record(c, sizeof r, backward, &r);
    if (!y->record) return NULL;
    if (f != QN_ACTIVATION_NONE) y->again = activate_again;
    return y;
}
