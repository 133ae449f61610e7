// O = softmax(Q K^T / sqrt(h)) V for each head inside each sequence (Vaswani et al. 2017, equation 1); heads of width
// h = d / heads stand side by side. Self-attention: qkv [T, 3 d] with Q, K, V side by side, O [T, d]. Attention of
// other rows: queries [Tq, d], kv [T, 2 d] with K, V side by side, O [Tq, d]. Backward: see backend/cpu/attention.c.
//
// A bias by distance is added to the scores; a window leaves out keys further away.
#include "ops/ops.h"
#include <math.h>

typedef struct {
    qn_attention_args args;
    qn_tensor *query, *kv; // the same tensor in self-attention
    qn_tensor *out;
    qn_tensor *bias;      // or NULL
    qn_tensor *distances; // or NULL
} record;

// Where the gradient of queries or keys goes; where a bias alone trains, a place that nobody reads.
static float *gradient_place(qn_context *c, qn_tensor *t) {
    if (t->requires_grad) return qn_gradient_to_write(c, t);
    float *place = qn_arena_alloc(c->arena, qn_count(t), sizeof *place);
    return place ? place : qn_fail_operation(c, QN_ERROR_MEMORY);
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->out->has_grad) return;
    bool self = r->query == r->kv;
    size_t d = qn_width(r->out);
    float *dkv = gradient_place(c, r->kv), *dquery = self ? dkv : gradient_place(c, r->query);
    if (!dkv || !dquery) return;
    r->args.dout = r->out->grad;
    r->args.dquery = dquery;
    r->args.dkey = dkv + (self ? d : 0);
    r->args.dvalue = r->args.dkey + r->args.key_heads * r->args.head_width;
    float *drows = r->distances ? qn_gradient_to_write(c, r->distances) : NULL;
    if (drows) {
        c->backend->ops->zero(c->backend, drows, qn_count(r->distances));
        r->args.ddistance_query = r->args.distance_query ? drows : NULL;
        r->args.ddistance_key = r->args.distance_key ? drows + d : NULL;
    }
    r->args.dbias = r->bias && r->bias->requires_grad ? r->bias->grad : NULL;
    c->backend->ops->attention_backward(c->backend, &r->args);
    if (drows) qn_gradient_written(c, r->distances, drows);
    if (r->kv->requires_grad) qn_gradient_written(c, r->kv, dkv);
    if (!self && r->query->requires_grad) qn_gradient_written(c, r->query, dquery);
}

// Adds the bias to what a record computes. False, with the failure kept, when it does not fit.
static bool use_bias(qn_context *c, record *r, const qn_attention_bias *bias, qn_ragged batch) {
    const qn_tensor *w = bias->weight;
    size_t heads = r->args.heads;
    bool good = w->rank == 2 && qn_width(w) == heads;
    for (size_t i = 0; good && i < batch.sequences; i++)
        good = (size_t)(batch.offsets[i + 1] - batch.offsets[i]) <= bias->reach + 1;
    if (!good) {
        qn_fail(QN_ERROR_ARGUMENT,
                "attention: the bias is [%zu, %zu] (expected [buckets, %zu], and at most %zu tokens)", qn_rows(w),
                qn_width(w), heads, bias->reach + 1);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_parameter(c, "attention", w)) return false;
    r->bias = bias->weight;
    r->args.bias = w->data;
    r->args.buckets = w->shape[0];
    r->args.bias_bucket = bias->bucket;
    r->args.bias_reach = bias->reach;
    return true;
}

// Adds the distances to what a record computes, in the same way.
static bool use_distances(qn_context *c, record *r, const qn_attention_distances *f, size_t d, qn_ragged batch) {
    const qn_tensor *t = f->rows;
    bool good = qn_width(t) == 2 * d;
    for (size_t i = 0; good && i < batch.sequences; i++)
        good = (size_t)(batch.offsets[i + 1] - batch.offsets[i]) <= f->reach + 1;
    if (!good) {
        qn_fail(QN_ERROR_ARGUMENT,
                "attention: distances are [%zu, %zu] (expected [distances, %zu], and at most %zu tokens)", qn_rows(t),
                qn_width(t), 2 * d, f->reach + 1);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    r->distances = f->rows;
    r->args.distance_query = f->query ? t->data : NULL;
    r->args.distance_key = f->key ? t->data + d : NULL;
    r->args.distances = qn_rows(t);
    r->args.distance_stride = 2 * d;
    r->args.distance_index = f->index;
    r->args.distance_reach = f->reach;
    r->args.scale = 1.0f / sqrtf((float)(d / r->args.heads * (1u + f->key + f->query)));
    return true;
}

static float scale_of(const qn_attention_form *form, size_t head_width) {
    return form->scale > 0 ? form->scale : 1.0f / sqrtf((float)head_width);
}

typedef struct {
    qn_ragged queries, batch;
    size_t key, d; // the column of the keys in kv; the width
    const qn_attention_form *form;
    const int32_t *positions;
} setting;

static qn_tensor *attend(qn_context *c, qn_tensor *query, qn_tensor *kv, const setting *s) {
    const qn_attention_form *form = s->form;
    size_t rows = qn_rows(query), heads = form->heads, key_heads = form->key_heads ? form->key_heads : heads, d = s->d;
    qn_ragged queries = s->queries, batch = s->batch;
    bool trains = query->requires_grad || kv->requires_grad || (form->bias && form->bias->weight->requires_grad) ||
                  (form->distances && form->distances->rows->requires_grad);
    if (heads == 0 || d % heads != 0 || heads % key_heads != 0) {
        qn_fail(QN_ERROR_ARGUMENT, "attention: width %zu with %zu heads (expected heads dividing the width)", d, heads);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_ragged(c, "attention", queries, rows) || !qn_check_ragged(c, "attention", batch, qn_rows(kv)))
        return NULL;
    record r = {.query = query, .kv = kv};
    r.out = kv->is_narrow ? qn_new_narrow_matrix(c, rows, d, trains) : qn_new_matrix(c, rows, d, trains);
    if (!r.out) return NULL;
    r.args = (qn_attention_args){.sequences = batch.sequences,
                                 .offsets = batch.offsets,
                                 .query_offsets = queries.offsets,
                                 .heads = heads,
                                 .key_heads = key_heads,
                                 .head_width = d / heads,
                                 .query = query->data,
                                 .query_stride = qn_width(query),
                                 .key = kv->data ? kv->data + s->key : NULL,
                                 .value = kv->data ? kv->data + s->key + d / heads * key_heads : NULL,
                                 .stride = qn_width(kv),
                                 .scale = scale_of(form, d / heads),
                                 .query_positions = s->positions,
                                 .window = form->window,
                                 .causal = form->causal,
                                 .narrow = kv->narrow,
                                 .narrow_out = r.out->narrow,
                                 .out = r.out->data};
    if (form->bias && !use_bias(c, &r, form->bias, batch)) return NULL;
    if (form->distances && !use_distances(c, &r, form->distances, d, batch)) return NULL;
    if (c->dropout && form->dropout > 0) r.args.dropout = (qn_dropout){form->dropout, c->seed, c->stream++};
    if (r.out->requires_grad) {
        r.args.lse = qn_arena_alloc(c->arena, rows * heads, sizeof(float));
        if (!r.args.lse) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->attention_forward(c->backend, &r.args);
    if (r.out->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.out;
}

// The width of the queries, where `columns` hold them (or not) with keys and values; 0 when they do not fit.
static size_t query_width(const qn_attention_form *form, size_t columns, bool with_queries) {
    size_t key_heads = form->key_heads ? form->key_heads : form->heads;
    size_t all = 2 * key_heads + (with_queries ? form->heads : 0);
    return all && columns % all == 0 ? columns / all * form->heads : 0;
}

qn_tensor *qn_self_attention_of(qn_context *c, qn_tensor *qkv, qn_ragged batch, const qn_attention_form *form) {
    if (!qkv) return NULL;
    size_t d = query_width(form, qn_width(qkv), true);
    if (d == 0) {
        qn_fail(QN_ERROR_ARGUMENT, "attention: [%zu, %zu] with %zu heads (expected [T, 3 d])", qn_rows(qkv),
                qn_width(qkv), form->heads);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    return attend(c, qkv, qkv, &(setting){batch, batch, d, d, form, NULL});
}

qn_tensor *qn_self_attention(qn_context *c, qn_tensor *qkv, size_t heads, qn_ragged batch, float dropout) {
    return qn_self_attention_of(c, qkv, batch, &(qn_attention_form){.heads = heads, .dropout = dropout});
}

qn_tensor *qn_attention_of(qn_context *c, qn_tensor *query, qn_ragged queries, const int32_t *positions, qn_tensor *kv,
                           qn_ragged batch, const qn_attention_form *form) {
    if (!query || !kv) return NULL;
    size_t d = qn_width(query);
    if (query_width(form, qn_width(kv), false) != d || queries.sequences != batch.sequences) {
        qn_fail(QN_ERROR_ARGUMENT,
                "attention: queries [%zu, %zu] of %zu sequences, keys and values [%zu, %zu] of %zu (expected [T, 2 d])",
                qn_rows(query), d, queries.sequences, qn_rows(kv), qn_width(kv), batch.sequences);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    return attend(c, query, kv, &(setting){queries, batch, 0, d, form, positions});
}

qn_tensor *qn_attention(qn_context *c, qn_tensor *query, qn_ragged queries, qn_tensor *kv, qn_ragged batch,
                        size_t heads, float dropout) {
    return qn_attention_of(c, query, queries, NULL, kv, batch,
                           &(qn_attention_form){.heads = heads, .dropout = dropout});
}

void qn_narrow_attention(qn_context *c, const qn_narrow_tensor *qkv, const qn_attention_form *form, qn_ragged batch,
                         qn_narrow_tensor *narrow_out, qn_tensor *out) {
    if (c->status != QN_OK || !qn_check_ragged(c, "attention", batch, qkv->rows)) return;
    size_t key_heads = form->key_heads ? form->key_heads : form->heads, h = qkv->width / (form->heads + 2 * key_heads);
    record r = {.args = {.sequences = batch.sequences,
                         .offsets = batch.offsets,
                         .query_offsets = batch.offsets,
                         .heads = form->heads,
                         .key_heads = key_heads,
                         .head_width = h,
                         .stride = qkv->width,
                         .scale = scale_of(form, h),
                         .window = form->window,
                         .causal = form->causal,
                         .narrow = qkv->data,
                         .narrow_out = narrow_out ? narrow_out->data : NULL,
                         .out = out ? out->data : NULL}};
    if (form->bias && !use_bias(c, &r, form->bias, batch)) return;
    c->backend->ops->attention_forward(c->backend, &r.args);
}
