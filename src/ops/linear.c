// y = f(x W^T + b)        x [T, in], W [out, in], b [out], y [T, out]
// (adapter.c adds to z where the weight has adapters)
// dz = dy f'(z), dx = dz W, dW = dz^T x, db = sum over T of dz, where z = x W^T + b
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *weight, *bias, *y;
    qn_activation f;
    float *pre;           // z, kept where f needs it
    uint16_t *pre_narrow; // in place of pre where y is narrow
    qn_adapted *adapted;
} record;

static void activate_again(void *context, void *content, qn_tensor *y) {
    qn_context *c = context;
    const record *r = content;
    if (y->is_narrow)
        c->backend->ops->activation_narrow_forward(c->backend, r->f, qn_count(y), r->pre_narrow, y->narrow);
    else
        c->backend->ops->activation_forward(c->backend, r->f, qn_count(y), r->pre, y->data);
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    size_t rows = qn_rows(r->x);
    float *dz = r->y->grad; // y's gradient is complete and nobody reads it again: it becomes dz
    if (!qn_value(c, r->x)) return;
    bool accumulate = false;
    float *dx = qn_gradient(c, r->x, &accumulate);
    c->backend->ops->linear_backward(
        c->backend,
        &(qn_linear_backward_args){.rows = rows,
                                   .x = r->x->data,
                                   .x_narrow = r->x->narrow,
                                   .weight = {r->weight->data, qn_rows(r->weight), qn_width(r->weight), NULL},
                                   .compute = c->compute,
                                   .activation = r->f,
                                   .pre = r->pre,
                                   .pre_narrow = r->pre_narrow,
                                   .dy = dz,
                                   .dx = dx,
                                   .accumulate = accumulate,
                                   .dweight = r->weight->requires_grad ? r->weight->grad : NULL,
                                   .dbias = r->bias && r->bias->requires_grad ? r->bias->grad : NULL});
    qn_adapters_backward(c, r->adapted, r->x, r->weight, dz, dx);
    if (c->keep) return; // otherwise nobody reads it again
    qn_arena_recycle(c->arena, r->pre, qn_count(r->y), sizeof *r->pre);
    qn_arena_recycle(c->arena, r->pre_narrow, qn_count(r->y), sizeof *r->pre_narrow);
}

// Room for what f is applied to, where backward needs it.
static bool keep_pre(qn_context *c, record *r) {
    if (!r->y->requires_grad || r->f == QN_ACTIVATION_NONE) return true;
    size_t count = qn_count(r->y);
    if (r->y->is_narrow)
        r->pre_narrow = qn_arena_alloc(c->arena, count, sizeof *r->pre_narrow);
    else
        r->pre = qn_arena_alloc(c->arena, count, sizeof *r->pre);
    if (r->pre || r->pre_narrow) return true;
    qn_fail_operation(c, QN_ERROR_MEMORY);
    return false;
}

static bool check(qn_context *c, const qn_tensor *x, const qn_tensor *weight, const qn_tensor *bias) {
    size_t in = qn_width(weight), out = weight->shape[0];
    if (weight->rank != 2 || qn_width(x) != in || (bias && qn_count(bias) != out)) {
        qn_fail(QN_ERROR_ARGUMENT, "linear: x is [%zu, %zu], W [%zu, %zu] (expected W [out, %zu])", qn_rows(x),
                qn_width(x), out, in, qn_width(x));
        qn_fail_operation(c, QN_ERROR_ARGUMENT);
        return false;
    }
    if (weight->used && weight->requires_grad && qn_taping(c)) {
        qn_fail(QN_ERROR_ARGUMENT, "linear: the weight is a table that trains by rows (expected a dense gradient)");
        qn_fail_operation(c, QN_ERROR_ARGUMENT);
        return false;
    }
    return qn_check_parameter(c, "linear", weight) && qn_check_parameter(c, "linear", bias);
}

static qn_tensor *linear(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f,
                         bool narrow) {
    if (!x || !weight || !check(c, x, weight, bias)) return NULL;
    size_t rows = qn_rows(x), in = qn_width(weight), out = weight->shape[0];
    bool adapted = weight->adapter != NULL; // then z is complete, and y computed, after the product
    bool trains = x->requires_grad || weight->requires_grad || (bias && bias->requires_grad) ||
                  (adapted && qn_adapters_train(weight));
    if (c->watch) c->watch(c->watcher, x, weight);
    qn_tensor *y = narrow ? qn_new_narrow_matrix(c, rows, out, trains) : qn_new_matrix(c, rows, out, trains);
    record r = {x, weight, bias, y, f, NULL, NULL, NULL};
    if (!y || !keep_pre(c, &r)) return NULL;
    float *z = adapted && r.pre ? r.pre : y->data;
    c->backend->ops->linear_forward(c->backend,
                                    &(qn_linear_forward_args){.rows = rows,
                                                              .x = x->data,
                                                              .x_narrow = x->narrow,
                                                              .weight = {weight->data, out, in, weight->packed},
                                                              .bias = bias ? bias->data : NULL,
                                                              .activation = adapted ? QN_ACTIVATION_NONE : f,
                                                              .compute = c->compute,
                                                              .pre = adapted ? NULL : r.pre,
                                                              .pre_narrow = r.pre_narrow,
                                                              .y = z,
                                                              .y_narrow = y->narrow});
    if (adapted && !qn_adapters_forward(c, x, weight, z, &r.adapted)) return NULL;
    if (adapted && f != QN_ACTIVATION_NONE) c->backend->ops->activation_forward(c->backend, f, qn_count(y), z, y->data);
    if (!y->requires_grad) return y;
    y->record = qn_new_record(c, sizeof r, backward, &r);
    if (!y->record) return NULL;
    if (f != QN_ACTIVATION_NONE) y->again = activate_again;
    return y;
}

qn_tensor *qn_linear(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f) {
    return linear(c, x, weight, bias, f, false);
}

qn_tensor *qn_linear_narrow(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f) {
    bool narrow =
        weight && !weight->adapter && qn_taping(c) && c->compute == QN_DTYPE_BF16 && weight->shape[0] % 2 == 0;
    return linear(c, x, weight, bias, f, narrow);
}
