// O = softmax(Q K^T / sqrt(h)) V for each head inside each sequence (Vaswani et al. 2017, equation 1)
// qkv [T, 3 d]: Q, K, V side by side, heads of width h = d / heads side by side in each; O [T, d]. Backward: see
// backend/cpu/attention.c.
#include "ops/ops.h"
#include <math.h>

typedef struct {
    qn_attention_args args;
    qn_tensor *qkv, *out;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->out->has_grad) return;
    float *grad = qn_gradient_to_write(c, r->qkv);
    if (!grad) return;
    size_t d = qn_width(r->out);
    r->args.dout = r->out->grad;
    r->args.dquery = grad;
    r->args.dkey = grad + d;
    r->args.dvalue = grad + 2 * d;
    c->backend->ops->attention_backward(c->backend, &r->args);
    qn_gradient_written(c, r->qkv, grad);
}

qn_tensor *qn_self_attention(qn_context *c, qn_tensor *qkv, size_t heads, qn_ragged batch, float dropout) {
    if (!qkv) return NULL;
    size_t rows = qn_rows(qkv), width = qn_width(qkv), d = width / 3;
    if (heads == 0 || d * 3 != width || d % heads != 0) {
        qn_fail(QN_ERROR_ARGUMENT, "attention: [%zu, %zu] with %zu heads (expected [T, 3 d], heads dividing d)", rows,
                width, heads);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_ragged(c, "attention", batch, rows)) return NULL;
    record r = {.qkv = qkv, .out = qn_new_matrix(c, rows, d, qkv->requires_grad)};
    if (!r.out) return NULL;
    r.args = (qn_attention_args){.sequences = batch.sequences,
                                 .offsets = batch.offsets,
                                 .heads = heads,
                                 .head_width = d / heads,
                                 .query = qkv->data,
                                 .key = qkv->data + d,
                                 .value = qkv->data + 2 * d,
                                 .stride = width,
                                 .scale = 1.0f / sqrtf((float)(d / heads)),
                                 .out = r.out->data};
    if (c->dropout && dropout > 0) r.args.dropout = (qn_dropout){dropout, c->seed, c->stream++};
    if (r.out->requires_grad) {
        r.args.lse = qn_arena_alloc(c->arena, rows * heads, sizeof(float));
        if (!r.args.lse) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->attention_forward(c->backend, &r.args);
    if (r.out->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.out;
}
