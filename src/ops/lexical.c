// y[i, v] = log(1 + max(0, max over the tokens t of sequence i of x_t . w_v + b_v))    x [T, d], W [V, d] -> y [n, V]
// Backward: dlogit = dy e^-y at the token that decided, where y > 0; then as a linear layer's        (Formal et al.
// 2021) FLOPS, a loss that makes y sparse: sum over v of (mean over i of y[i, v])^2                        (Paria et
// al. 2020)
#include "ops/ops.h"

typedef struct {
    qn_lexical_args args;
    qn_tensor *x, *weight, *bias, *y;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad || !qn_value(c, r->x)) return;
    bool accumulate = false;
    r->args.x = r->x->data;
    r->args.dy = r->y->grad;
    r->args.dx = qn_gradient(c, r->x, &accumulate);
    r->args.accumulate = accumulate;
    r->args.dweight = r->weight->requires_grad ? r->weight->grad : NULL;
    r->args.dbias = r->bias && r->bias->requires_grad ? r->bias->grad : NULL;
    r->args.weight.packed = NULL;
    c->backend->ops->lexical_backward(c->backend, &r->args);
}

qn_tensor *qn_lexical(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_ragged batch) {
    if (!x || !weight || !qn_check_ragged(c, "lexical weights", batch, qn_rows(x))) return NULL;
    if (!qn_check_parameter(c, "lexical weights", weight)) return NULL;
    size_t words = weight->shape[0], n = batch.sequences;
    bool trains = x->requires_grad || weight->requires_grad;
    record r = {.x = x, .weight = weight, .bias = bias, .y = qn_new_matrix(c, n, words, trains)};
    if (!r.y) return NULL;
    r.args = (qn_lexical_args){.sequences = n,
                               .offsets = batch.offsets,
                               .x = x->data,
                               .weight = {weight->data, words, qn_width(weight), weight->packed},
                               .bias = bias ? bias->data : NULL,
                               .y = r.y->data};
    if (r.y->requires_grad) {
        r.args.argmax = qn_arena_alloc(c->arena, n * words, sizeof *r.args.argmax);
        if (!r.args.argmax) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->lexical_forward(c->backend, &r.args);
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}

qn_status qn_flops_loss(qn_context *c, qn_tensor *y, double *loss) {
    *loss = 0;
    if (!y || c->status != QN_OK) return qn_context_status(c);
    size_t n = qn_rows(y), words = qn_width(y);
    bool accumulate = false;
    float *mean = qn_arena_zalloc(c->arena, words, sizeof *mean);
    float *dy = qn_taping(c) ? qn_gradient(c, y, &accumulate) : NULL;
    if (!mean) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < words; v++) mean[v] += y->data[i * words + v] / (float)n;
    for (size_t v = 0; v < words; v++) *loss += (double)mean[v] * mean[v];
    for (size_t i = 0; dy && i < n; i++)
        for (size_t v = 0; v < words; v++) {
            float g = c->loss_scale * 2 * mean[v] / (float)n;
            dy[i * words + v] = accumulate ? dy[i * words + v] + g : g;
        }
    return qn_context_status(c);
}
