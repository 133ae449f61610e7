// One vector per sequence: y_i = sum_t w_t x_t, with w of the pooling (quern.h), or the largest value of each column
// x [T, d] -> y [n, d].  Backward: dx_t = w_t dy_i, or dy[i, c] at the row where column c was largest
#include "ops/ops.h"

typedef struct {
    qn_pool_args args;
    qn_tensor *x, *y;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    r->args.dy = r->y->grad;
    r->args.dx = qn_gradient(c, r->x, &accumulate);
    r->args.accumulate = accumulate;
    if (r->args.dx) c->backend->ops->pool_backward(c->backend, &r->args);
}

qn_tensor *qn_pool_sequences(qn_context *c, qn_tensor *x, qn_ragged batch, qn_pool mode) {
    return qn_pool_sequences_after(c, x, batch, NULL, mode);
}

qn_tensor *qn_pool_sequences_after(qn_context *c, qn_tensor *x, qn_ragged batch, const int32_t *skip, qn_pool mode) {
    if (!x) return NULL;
    size_t d = qn_width(x);
    if (!qn_check_ragged(c, "pooling", batch, qn_rows(x))) return NULL;
    record r = {.x = x, .y = qn_new_matrix(c, batch.sequences, d, x->requires_grad)};
    if (!r.y) return NULL;
    r.args = (qn_pool_args){.sequences = batch.sequences,
                            .offsets = batch.offsets,
                            .skip = skip,
                            .d = d,
                            .mode = mode,
                            .x = x->data,
                            .y = r.y->data};
    if (r.y->requires_grad && mode == QN_POOL_MAX) {
        r.args.argmax = qn_arena_alloc(c->arena, batch.sequences * d, sizeof(int32_t));
        if (!r.args.argmax) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->pool_forward(c->backend, &r.args);
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}
