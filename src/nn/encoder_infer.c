// Inference with packed weights, whole sequences or with a cache: a layer is one attention and one block of steps on
// rows, which ends with the next layer's queries, keys and values.
#include "nn/encoder_private.h"
#include <math.h>
#include <string.h>

// Post-norm: x = norm(x + sub). Pre-norm: x = x + sub, normed = norm(x).
static int norm_step(qn_block *b, qn_encoder *e, int x, int sub, const qn_dense *norm) {
    bool pre = e->config.pre_norm;
    if (!norm->weight) return x;
    int normed = pre ? qn_block_inside(b, e->config.hidden) : x;
    qn_block_norm_form form = {
        .gamma = norm->weight, .beta = norm->bias, .eps = e->config.norm_eps, .rms = e->config.rms};
    qn_block_norm(b, x, sub, pre && sub >= 0 ? x : -1, &form, normed);
    return normed;
}

static int linear_step(qn_block *b, int from, const qn_dense *dense, qn_activation f, int to) {
    qn_block_linear(b, from, dense->weight, dense->bias, f, to);
    return to;
}

static void feed_forward_steps(qn_block *b, const qn_encoder *e, const qn_encoder_layer *l, int normed, int to) {
    const qn_encoder_config *f = &e->config;
    int wide = qn_block_inside(b, f->gated ? 2 * f->intermediate : f->intermediate), in = wide;
    linear_step(b, normed, &l->up, f->gated ? QN_ACTIVATION_NONE : f->activation, wide);
    if (f->gated) qn_block_glu(b, wide, f->activation, f->gate_last, in = qn_block_inside(b, f->intermediate));
    linear_step(b, in, &l->down, QN_ACTIVATION_NONE, to);
}

// Queries, keys and values of layer i.
static void qkv_steps(qn_block *b, qn_encoder *e, size_t i, int normed, int qkv, const int32_t *positions) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    const qn_rotary *rotary = qn_encoder_rotary(e, i);
    size_t heads = e->config.heads + e->config.key_heads;
    qn_block_linear(b, normed, &l->qkv_weight, qn_present(&l->qkv_bias), QN_ACTIVATION_NONE, qkv);
    if (rotary) qn_block_rotate(b, qkv, heads, e->config.head_width, positions, rotary);
}

// What an attention reads and writes; in bf16 where products are narrow.
typedef struct {
    qn_tensor *qkv, *mixed;
    qn_narrow_tensor *narrow_qkv, *narrow_mixed;
} attention_values;

static attention_values new_attention_values(qn_context *c, const qn_encoder *e, size_t rows, bool cached) {
    const qn_encoder_config *f = &e->config;
    attention_values v = {0};
    if ((e->compute == QN_DTYPE_BF16 || e->compute == QN_DTYPE_INT8) && !e->distance_table && f->head_width % 2 == 0 &&
        !cached && c->backend->ops->computes(c->backend, QN_DTYPE_BF16))
        v.narrow_qkv = qn_new_narrow(c, rows, qn_qkv_width(f));
    else
        v.qkv = qn_new_matrix(c, rows, qn_qkv_width(f), false);
    if (v.narrow_qkv && e->compute == QN_DTYPE_BF16)
        v.narrow_mixed = qn_new_narrow(c, rows, qn_query_width(f));
    else if (v.narrow_qkv || cached)
        v.mixed = qn_new_matrix(c, rows, qn_query_width(f), false);
    return v;
}

static size_t layer_floats(const qn_encoder *e, const qn_backend *b, size_t capacity) {
    return b->ops->cache_floats(b, capacity, e->config.key_heads, e->config.head_width);
}

size_t qn_encoder_cache_floats(const qn_encoder *e, const qn_backend *b, size_t capacity) {
    return e->config.layers * layer_floats(e, b, capacity);
}

size_t qn_encoder_token_floats(const qn_encoder *e) {
    return e->config.layers * 2 * qn_key_width(&e->config);
}

static float score_scale(const qn_encoder_config *f) {
    return f->score_scale > 0 ? f->score_scale : 1.0f / sqrtf((float)f->head_width);
}

// The part of layer i in each sequence's cache; NULL after a failure.
static float **layer_memory(qn_context *c, const qn_encoder *e, size_t i, size_t sequences, const qn_kv_cache *cache) {
    float **memory = qn_arena_alloc(c->records, sequences + 1, sizeof *memory);
    if (!memory) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t k = 0; k < sequences; k++)
        memory[k] = cache->memory[k] + i * layer_floats(e, c->backend, cache->capacity[k]);
    return memory;
}

static void token_attention(qn_context *c, const qn_encoder *e, size_t i, attention_values *v, qn_ragged batch,
                            const qn_kv_cache *cache) {
    const qn_encoder_config *f = &e->config;
    const float *qkv = v->qkv->data;
    const qn_attention_bias *bias = &e->bias;
    c->backend->ops->token_attention(c->backend, &(qn_token_args){.sequences = batch.sequences,
                                                                  .lengths = cache->lengths,
                                                                  .tokens = cache->tokens,
                                                                  .first = i * 2 * qn_key_width(f),
                                                                  .heads = f->heads,
                                                                  .key_heads = f->key_heads,
                                                                  .head_width = f->head_width,
                                                                  .query = qkv,
                                                                  .key = qkv + qn_query_width(f),
                                                                  .value = qkv + qn_query_width(f) + qn_key_width(f),
                                                                  .stride = qn_qkv_width(f),
                                                                  .scale = score_scale(f),
                                                                  .bias = bias->weight ? bias->weight->data : NULL,
                                                                  .bias_bucket = bias->bucket,
                                                                  .bias_reach = bias->reach,
                                                                  .out = v->mixed->data});
}

static void cached_attention(qn_context *c, const qn_encoder *e, size_t i, attention_values *v, qn_ragged batch,
                             const qn_kv_cache *cache) {
    const qn_encoder_config *f = &e->config;
    if (!v->qkv || !v->mixed) return;
    if (cache->tokens) {
        token_attention(c, e, i, v, batch, cache);
        return;
    }
    float **memory = layer_memory(c, e, i, batch.sequences, cache);
    if (!memory) return;
    const float *qkv = v->qkv->data;
    c->backend->ops->cache_attention(c->backend, &(qn_cache_args){.sequences = batch.sequences,
                                                                  .offsets = batch.offsets,
                                                                  .lengths = cache->lengths,
                                                                  .capacity = cache->capacity,
                                                                  .cache = memory,
                                                                  .heads = f->heads,
                                                                  .key_heads = f->key_heads,
                                                                  .head_width = f->head_width,
                                                                  .query = qkv,
                                                                  .key = qkv + qn_query_width(f),
                                                                  .value = qkv + qn_query_width(f) + qn_key_width(f),
                                                                  .query_stride = qn_qkv_width(f),
                                                                  .stride = qn_qkv_width(f),
                                                                  .scale = score_scale(f),
                                                                  .causal = true,
                                                                  .out = v->mixed->data});
}

void qn_encoder_keep_source(qn_context *c, qn_encoder *e, const qn_encoded *source, const qn_kv_cache *cache) {
    const qn_encoder_config *f = &e->config;
    for (size_t i = 0; i < f->layers && source->hidden; i++) {
        qn_encoder_layer *l = qn_layer_at(e, i);
        qn_arena_mark mark = qn_arena_save(c->arena);
        float **memory = layer_memory(c, e, i, source->ragged.sequences, cache);
        qn_tensor *kv =
            qn_linear(c, source->hidden, &l->cross_kv_weight, qn_present(&l->cross_kv_bias), QN_ACTIVATION_NONE);
        if (memory && kv)
            c->backend->ops->cache_attention(c->backend, &(qn_cache_args){.sequences = source->ragged.sequences,
                                                                          .offsets = source->ragged.offsets,
                                                                          .lengths = cache->lengths,
                                                                          .capacity = cache->capacity,
                                                                          .cache = memory,
                                                                          .heads = f->heads,
                                                                          .key_heads = f->key_heads,
                                                                          .head_width = f->head_width,
                                                                          .key = kv->data,
                                                                          .value = kv->data + qn_key_width(f),
                                                                          .stride = qn_width(kv)});
        qn_arena_restore(c->arena, mark);
    }
}

// The rows that are written from one source look at it together: its keys are read once.
static qn_tensor *cached_cross(qn_context *c, const qn_encoder *e, size_t i, qn_tensor *query,
                               const qn_kv_cache *cache) {
    const qn_encoder_config *f = &e->config;
    size_t sources = cache->source_rows.sequences;
    qn_tensor *mixed = qn_new_matrix(c, qn_rows(query), qn_query_width(f), false);
    float **memory = layer_memory(c, e, i, sources, cache->source);
    if (!memory || !mixed) return NULL;
    c->backend->ops->cache_attention(c->backend, &(qn_cache_args){.sequences = sources,
                                                                  .offsets = cache->source_rows.offsets,
                                                                  .lengths = cache->source->lengths,
                                                                  .capacity = cache->source->capacity,
                                                                  .cache = memory,
                                                                  .heads = f->heads,
                                                                  .key_heads = f->key_heads,
                                                                  .head_width = f->head_width,
                                                                  .query = query->data,
                                                                  .query_stride = qn_width(query),
                                                                  .scale = score_scale(f),
                                                                  .out = mixed->data});
    return mixed;
}

// What layers say of distances is computed once.
static void keep_distances(qn_context *c, qn_encoder *e, size_t i) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    qn_attention_distances distances;
    qn_attention_form form;
    if (!e->distance_table || l->distances.data || !qn_encoder_distances(c, e, i, &distances, &form)) return;
    float *kept = qn_aligned_alloc(qn_count(distances.rows) * sizeof *kept);
    if (!kept) {
        qn_fail_operation(c, QN_ERROR_MEMORY);
        return;
    }
    memcpy(kept, distances.rows->data, qn_count(distances.rows) * sizeof *kept);
    l->distances = *distances.rows;
    l->distances.data = kept;
}

static void attention_step(qn_context *c, qn_encoder *e, size_t i, attention_values *v, qn_ragged batch,
                           const qn_kv_cache *cache) {
    qn_attention_form form = qn_encoder_form(e, i);
    qn_attention_distances distances;
    if (!qn_encoder_distances(c, e, i, &distances, &form)) return;
    if (cache)
        cached_attention(c, e, i, v, batch, cache);
    else if (v->narrow_qkv)
        qn_narrow_attention(c, v->narrow_qkv, &form, batch, v->narrow_mixed, v->mixed);
    else
        v->mixed = qn_self_attention_of(c, v->qkv, batch, &form);
}

// What follows an attention: its output projection, the residual sum, a norm. Returns what the next sublayer reads.
static int output_steps(qn_block *b, qn_encoder *e, int x, int mixed, const qn_dense *output, int delta,
                        const qn_dense *norm) {
    linear_step(b, mixed, output, QN_ACTIVATION_NONE, delta);
    return norm_step(b, e, x, delta, norm);
}

// The attention of layer i to its source: ends the block with the queries, and begins one that has read the result.
static int cross_step(qn_block *b, qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, int normed,
                      const qn_tokens *tokens, const qn_kv_cache *cache) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    qn_tensor *query = qn_new_matrix(c, qn_rows(x), qn_query_width(&e->config), false);
    linear_step(b, normed, &l->cross_query, QN_ACTIVATION_NONE, qn_block_tensor(b, query));
    qn_block_run(b);
    qn_tensor *mixed = !query  ? NULL
                       : cache ? cached_cross(c, e, i, query, cache)
                               : qn_encoder_cross(c, e, i, query, tokens);
    qn_block_begin(b, c, qn_rows(x));
    qn_block_tensor(b, x); // the first value, as in the block before
    return qn_block_tensor(b, mixed);
}

void qn_encoder_infer(qn_context *c, qn_encoder *e, qn_tensor *x, const qn_tokens *tokens, size_t end,
                      const qn_kv_cache *cache, qn_tensor **sub) {
    bool pre = e->config.pre_norm, cross = e->config.cross;
    size_t d = e->config.hidden, rows = qn_rows(x);
    attention_values v = new_attention_values(c, e, rows, cache != NULL);
    if (pre) *sub = qn_new_matrix(c, rows, d, false);
    for (size_t i = 0; i < end; i++) {
        qn_arena_mark mark = qn_arena_save(c->arena);
        keep_distances(c, e, i);
        qn_arena_restore(c->arena, mark);
    }
    for (size_t i = 0; i <= end && c->status == QN_OK; i++) {
        qn_arena_mark mark = qn_arena_save(c->arena); // the attention's result goes when the block has read it
        qn_block b;
        qn_block_begin(&b, c, rows);
        int in = qn_block_tensor(&b, x), normed = in, delta = -1;
        if (i > 0) { // the rest of layer i - 1
            qn_encoder_layer *l = qn_layer_at(e, i - 1);
            attention_step(c, e, i - 1, &v, tokens->ragged, cache);
            int mixed = v.narrow_mixed ? qn_block_narrow(&b, v.narrow_mixed) : qn_block_tensor(&b, v.mixed);
            const qn_dense *output = &l->attention_output, *norm = &l->attention_norm;
            if (cross) {
                normed = output_steps(&b, e, in, mixed, output, qn_block_inside(&b, d), pre ? &l->cross_norm : norm);
                mixed = cross_step(&b, c, e, i - 1, x, normed, tokens, cache);
                output = &l->cross_output, norm = &l->cross_norm;
            }
            delta = pre && i == end ? qn_block_tensor(&b, *sub) : qn_block_inside(&b, d);
            normed = output_steps(&b, e, in, mixed, output, delta, pre ? &l->feed_forward_norm : norm);
            feed_forward_steps(&b, e, l, normed, delta);
            if (!pre) normed = norm_step(&b, e, in, delta, &l->feed_forward_norm);
        }
        if (i < end) {
            qn_encoder_layer *l = qn_layer_at(e, i);
            if (pre) normed = norm_step(&b, e, in, delta, &l->attention_norm);
            int qkv = v.narrow_qkv ? qn_block_narrow(&b, v.narrow_qkv) : qn_block_tensor(&b, v.qkv);
            qkv_steps(&b, e, i, normed, qkv, tokens->positions);
        }
        qn_block_run(&b);
        qn_arena_restore(c->arena, mark);
    }
}

qn_tensor *qn_encoder_forward_cached(qn_context *c, qn_encoder *e, const qn_tokens *tokens, const qn_kv_cache *cache,
                                     qn_rows_read rows) {
    size_t furthest = 0, limit = e->config.max_positions;
    for (size_t t = 0; t < tokens->tokens; t++)
        if ((size_t)tokens->positions[t] >= furthest) furthest = (size_t)tokens->positions[t] + 1;
    if (furthest > limit) {
        qn_fail(QN_ERROR_ARGUMENT, "decoder: a sequence of %zu tokens (expected at most %zu)", furthest, limit);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < 2; i++)
        if (e->rotary[i].cosine) qn_rotary_extend(&e->rotary[i], furthest);
    qn_tensor *x = qn_encoder_start(c, e, tokens), *sub = NULL;
    if (x) qn_encoder_infer(c, e, x, tokens, e->config.layers, cache, &sub);
    if (x && rows.index) x = qn_gather(c, x, rows.count, rows.index);
    if (x && sub && rows.index) sub = qn_gather(c, sub, rows.count, rows.index);
    return x && e->config.pre_norm ? qn_encoder_norm(c, e, x, sub, &e->final_norm, 0, NULL) : x;
}
