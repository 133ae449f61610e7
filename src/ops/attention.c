// O = softmax(Q K^T / sqrt(h)) V for each head inside each sequence (Vaswani et al. 2017, equation 1); heads of width
// h = d / heads stand side by side. Self-attention: qkv [T, 3 d] with Q, K, V side by side, O [T, d]. Attention of
// other rows: queries [Tq, d], kv [T, 2 d] with K, V side by side, O [Tq, d]. Backward: see backend/cpu/attention.c.
#include "ops/ops.h"
#include <math.h>

typedef struct {
    qn_attention_args args;
    qn_tensor *query, *kv; // the same tensor in self-attention
    qn_tensor *out;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->out->has_grad) return;
    bool self = r->query == r->kv;
    size_t d = qn_width(r->out);
    float *dkv = qn_gradient_to_write(c, r->kv), *dquery = self ? dkv : qn_gradient_to_write(c, r->query);
    if (!dkv || !dquery) return;
    r->args.dout = r->out->grad;
    r->args.dquery = dquery;
    r->args.dkey = dkv + (self ? d : 0);
    r->args.dvalue = r->args.dkey + d;
    c->backend->ops->attention_backward(c->backend, &r->args);
    qn_gradient_written(c, r->kv, dkv);
    if (!self) qn_gradient_written(c, r->query, dquery);
}

// `key` is the column of the keys in kv.
static qn_tensor *attend(qn_context *c, qn_tensor *query, qn_ragged queries, qn_tensor *kv, qn_ragged batch, size_t key,
                         size_t d, size_t heads, float dropout) {
    size_t rows = qn_rows(query);
    if (heads == 0 || d % heads != 0) {
        qn_fail(QN_ERROR_ARGUMENT, "attention: width %zu with %zu heads (expected heads dividing the width)", d, heads);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_ragged(c, "attention", queries, rows) || !qn_check_ragged(c, "attention", batch, qn_rows(kv)))
        return NULL;
    record r = {.query = query, .kv = kv, .out = qn_new_matrix(c, rows, d, query->requires_grad || kv->requires_grad)};
    if (!r.out) return NULL;
    r.args = (qn_attention_args){.sequences = batch.sequences,
                                 .offsets = batch.offsets,
                                 .query_offsets = queries.offsets,
                                 .heads = heads,
                                 .head_width = d / heads,
                                 .query = query->data,
                                 .query_stride = qn_width(query),
                                 .key = kv->data + key,
                                 .value = kv->data + key + d,
                                 .stride = qn_width(kv),
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

qn_tensor *qn_self_attention(qn_context *c, qn_tensor *qkv, size_t heads, qn_ragged batch, float dropout) {
    if (!qkv) return NULL;
    size_t width = qn_width(qkv), d = width / 3;
    if (d * 3 != width || d == 0) {
        qn_fail(QN_ERROR_ARGUMENT, "attention: [%zu, %zu] (expected [T, 3 d])", qn_rows(qkv), width);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    return attend(c, qkv, batch, qkv, batch, d, d, heads, dropout);
}

qn_tensor *qn_attention(qn_context *c, qn_tensor *query, qn_ragged queries, qn_tensor *kv, qn_ragged batch,
                        size_t heads, float dropout) {
    if (!query || !kv) return NULL;
    size_t d = qn_width(query);
    if (qn_width(kv) != 2 * d || queries.sequences != batch.sequences) {
        qn_fail(QN_ERROR_ARGUMENT,
                "attention: queries [%zu, %zu] of %zu sequences, keys and values [%zu, %zu] of %zu (expected [T, 2 d])",
                qn_rows(query), d, queries.sequences, qn_rows(kv), qn_width(kv), batch.sequences);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    return attend(c, query, queries, kv, batch, 0, d, heads, dropout);
}

void qn_narrow_attention(qn_context *c, const qn_narrow_tensor *qkv, size_t heads, qn_ragged batch,
                         qn_narrow_tensor *narrow_out, qn_tensor *out) {
    if (c->status != QN_OK || !qn_check_ragged(c, "attention", batch, qkv->rows)) return;
    size_t h = qkv->width / 3 / heads;
    c->backend->ops->attention_forward(c->backend,
                                       &(qn_attention_args){.sequences = batch.sequences,
                                                            .offsets = batch.offsets,
                                                            .query_offsets = batch.offsets,
                                                            .heads = heads,
                                                            .head_width = h,
                                                            .stride = qkv->width,
                                                            .scale = 1.0f / sqrtf((float)h),
                                                            .narrow = qkv->data,
                                                            .narrow_out = narrow_out ? narrow_out->data : NULL,
                                                            .out = out ? out->data : NULL});
}
