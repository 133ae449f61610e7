// One block, post-norm (Vaswani et al. 2017):  x = norm(x + attention(x)); x = norm(x + feed_forward(x))
// and pre-norm (Xiong et al. 2020):            x = x + attention(norm(x)); x = x + feed_forward(norm(x)); a last norm
// at the end In both, every residual sum is followed by a norm, so that one operation (qn_add_norm) does sum, dropout
// and norm.
#include "nn/encoder_private.h"
#include <string.h>

static bool is_local(const qn_encoder_config *f, size_t layer) {
    return f->local[layer / 64] >> layer % 64 & 1;
}

qn_attention_form qn_encoder_form(const qn_encoder *e, size_t i) {
    return (qn_attention_form){.heads = e->config.heads,
                               .dropout = e->config.attention_dropout,
                               .bias = e->bias.weight ? &e->bias : NULL,
                               .window = is_local(&e->config, i) ? e->config.window : 0,
                               .scale = e->config.score_scale,
                               .key_heads = e->config.key_heads,
                               .causal = e->config.causal};
}

bool qn_encoder_distances(qn_context *c, qn_encoder *e, size_t i, qn_attention_distances *distances,
                          qn_attention_form *form) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    if (!e->distance_table) return true;
    *distances = (qn_attention_distances){.rows = &l->distances,
                                          .key = e->config.distance_key,
                                          .query = e->config.distance_query,
                                          .index = e->distance_index,
                                          .reach = e->config.max_positions - 1};
    if (!l->distances.data)
        distances->rows = qn_linear(c, qn_drop(c, e->distance_rows, e->config.hidden_dropout), &l->query_key_weight,
                                    qn_present(&l->query_key_bias), QN_ACTIVATION_NONE);
    form->distances = distances;
    return distances->rows;
}

qn_tensor *qn_encoder_cross(qn_context *c, qn_encoder *e, size_t i, qn_tensor *query, const qn_tokens *tokens) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    const qn_encoded *source = tokens->source;
    qn_attention_form form = {.heads = e->config.heads,
                              .key_heads = e->config.key_heads,
                              .dropout = e->config.attention_dropout,
                              .scale = e->config.score_scale};
    qn_tensor *kv =
        qn_linear(c, source->hidden, &l->cross_kv_weight, qn_present(&l->cross_kv_bias), QN_ACTIVATION_NONE);
    return qn_attention_of(c, query, tokens->ragged, NULL, kv, source->ragged, &form);
}

const qn_rotary *qn_encoder_rotary(const qn_encoder *e, size_t i) {
    return e->config.positions == QN_POSITIONS_ROTARY ? &e->rotary[is_local(&e->config, i)].rotary : NULL;
}

static qn_tensor *rotate(qn_context *c, const qn_encoder *e, size_t i, qn_tensor *x, size_t heads,
                         const int32_t *positions) {
    const qn_rotary *rotary = qn_encoder_rotary(e, i);
    return rotary ? qn_rotate(c, x, heads, e->config.head_width, positions, rotary) : x;
}

static qn_tensor *dense(qn_context *c, qn_tensor *x, const qn_dense *l) {
    return qn_linear(c, x, l->weight, l->bias, QN_ACTIVATION_NONE);
}

// Attention where only the first tokens of each sequence are seen: all rows are queries, and those are keys.
static qn_tensor *attend_seen(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, const qn_tokens *tokens) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    qn_attention_form form = qn_encoder_form(e, i);
    qn_attention_distances distances;
    size_t n = tokens->ragged.sequences, rows = 0;
    int32_t *index = qn_arena_alloc(c->records, 2 * tokens->tokens + n + 2, sizeof *index);
    if (!index) return qn_fail_operation(c, QN_ERROR_MEMORY);
    int32_t *positions = index + tokens->tokens, *offsets = positions + tokens->tokens;
    offsets[0] = 0;
    for (size_t s = 0; s < n; s++) {
        for (int32_t t = 0; t < tokens->seen[s]; t++, rows++) {
            index[rows] = tokens->ragged.offsets[s] + t;
            positions[rows] = tokens->positions[index[rows]];
        }
        offsets[s + 1] = (int32_t)rows;
    }
    if (!qn_encoder_distances(c, e, i, &distances, &form)) return NULL;
    qn_tensor *kv = qn_linear(c, qn_gather(c, x, rows, index), &l->kv_weight, qn_present(&l->kv_bias), QN_ACTIVATION_NONE);
    kv = rotate(c, e, i, kv, form.key_heads, positions);
    qn_tensor *query = qn_linear(c, x, &l->query_weight, qn_present(&l->query_bias), QN_ACTIVATION_NONE);
    query = rotate(c, e, i, query, form.heads, tokens->positions);
    qn_tensor *mixed = qn_attention_of(c, query, tokens->ragged, tokens->positions, kv, (qn_ragged){n, offsets}, &form);
    return dense(c, mixed, &l->attention_output);
}

static qn_tensor *attend(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, const qn_tokens *tokens) {
    if (tokens->seen) return attend_seen(c, e, i, x, tokens);
    qn_encoder_layer *l = qn_layer_at(e, i);
    qn_attention_form form = qn_encoder_form(e, i);
    qn_attention_distances distances;
    if (!qn_encoder_distances(c, e, i, &distances, &form)) return NULL;
    bool narrow = !form.bias && !form.distances && !form.window && !form.causal && form.key_heads == form.heads &&
                  !qn_encoder_rotary(e, i) && e->config.head_width % 2 == 0;
    qn_tensor *qkv =
        (narrow ? qn_linear_narrow : qn_linear)(c, x, &l->qkv_weight, qn_present(&l->qkv_bias), QN_ACTIVATION_NONE);
    qkv = rotate(c, e, i, qkv, e->config.heads + e->config.key_heads, tokens->positions);
    return dense(c, qn_self_attention_of(c, qkv, tokens->ragged, &form), &l->attention_output);
}

// Attention to the source.
static qn_tensor *attend_source(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, const qn_tokens *tokens) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    qn_tensor *mixed = qn_encoder_cross(c, e, i, dense(c, x, &l->cross_query), tokens);
    return dense(c, mixed, &l->cross_output);
}

static qn_tensor *feed_forward(qn_context *c, qn_encoder *e, qn_encoder_layer *l, qn_tensor *x) {
    const qn_encoder_config *f = &e->config;
    qn_tensor *wide = (f->gated || f->inner_dropout > 0 ? qn_linear : qn_linear_narrow)(
        c, x, l->up.weight, l->up.bias, f->gated ? QN_ACTIVATION_NONE : f->activation);
    qn_tensor *in = f->gated ? qn_glu(c, wide, f->activation, f->gate_last) : wide;
    in = qn_drop(c, in, f->inner_dropout);
    qn_tensor *y = dense(c, in, &l->down);
    qn_forget_for_now(c, in); // the largest of all, or with a gate its half
    return y;
}

qn_tensor *qn_encoder_norm(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor *sub, const qn_dense *norm,
                           float dropout, qn_tensor **sum) {
    if (!norm->weight && !sub) return x; // a model that begins without a norm
    float eps = e->config.norm_eps;
    qn_tensor *y = e->config.rms ? qn_add_rms_norm(c, x, sub, norm->weight, eps, dropout, sum)
                                 : qn_add_norm(c, x, sub, norm->weight, norm->bias, eps, dropout, sum);
    qn_forget_value(c, sub);                  // a linear layer's result, which is in the sum now
    if (sub && !sum) qn_forget_for_now(c, x); // and so is x, whose only other readers are linear layers
    return y;
}

// The dropout of a feed-forward network's result.
static float result_dropout(const qn_encoder *e) {
    return e->config.drops == QN_DROPS_INSIDE ? 0 : e->config.hidden_dropout;
}

// The rows of a table in groups that the tokens have: a table of its own, and the ids in it.
static qn_tensor *stored_rows(qn_context *c, const qn_tensor *table, size_t count, const int32_t *ids,
                              const int32_t **places) {
    size_t d = qn_width(table), groups = (d + QN_GROUP - 1) / QN_GROUP;
    qn_compute form = table->stored->compute;
    qn_tensor *rows = qn_new_matrix(c, count, d, false);
    float *scale = qn_arena_alloc(c->records, 3 * groups, sizeof *scale), *minimum = scale + 2 * groups;
    int8_t *q = qn_arena_alloc(c->records, groups, QN_GROUP);
    int32_t *place = qn_arena_alloc(c->records, count + 1, sizeof *place);
    if (!rows || !scale || !q || !place) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t t = 0; t < count; t++) {
        place[t] = (int32_t)t;
        if (ids[t] < 0 || (size_t)ids[t] >= table->shape[0]) {
            qn_fail(QN_ERROR_ARGUMENT, "embedding: id %d of token %zu is outside the table (expected 0 to %zu)", ids[t],
                    t, table->shape[0] - 1);
            return qn_fail_operation(c, QN_ERROR_ARGUMENT);
        }
        table->stored->read(table->stored->user, (size_t)ids[t], q, scale, minimum);
        for (size_t i = 0; i < d; i++)
            rows->data[t * d + i] =
                scale[i / qn_scale_width(form)] * (float)q[i] + (form == QN_DTYPE_Q8 ? 0 : minimum[i / QN_GROUP]);
    }
    *places = place;
    return rows;
}

static qn_tensor *embed(qn_context *c, qn_encoder *e, const qn_tokens *tokens) {
    qn_tensor *tables[QN_EMBEDDING_TABLES] = {e->word};
    const int32_t *ids[QN_EMBEDDING_TABLES] = {tokens->ids};
    if (e->word->stored) tables[0] = stored_rows(c, e->word, tokens->tokens, tokens->ids, &ids[0]);
    qn_embedding_form form = {.int8 = e->compute == QN_DTYPE_INT8 && !qn_taping(c),
                              .fixed = e->config.fixed_padding,
                              .padding = e->config.padding,
                              .scale = e->config.embedding_scale};
    size_t count = 1;
    if (e->type) {
        tables[count] = e->type;
        ids[count] = tokens->types;
        if (e->config.types == 1) { // RoBERTa: one type, whatever the segment
            int32_t *zeros = qn_arena_zalloc(c->records, tokens->tokens, sizeof *zeros);
            if (!zeros) return qn_fail_operation(c, QN_ERROR_MEMORY);
            ids[count] = zeros;
        }
        count++;
    }
    if (!e->position && !e->sinusoid.data) return qn_embedding_in(c, &form, tokens->tokens, count, tables, ids);
    tables[count] = e->position ? e->position : &e->sinusoid;
    ids[count] = tokens->positions;
    if (e->config.position_offset) {
        int32_t *shifted = qn_arena_alloc(c->records, tokens->tokens, sizeof *shifted);
        if (!shifted) return qn_fail_operation(c, QN_ERROR_MEMORY);
        for (size_t t = 0; t < tokens->tokens; t++)
            shifted[t] = tokens->positions[t] + (int32_t)e->config.position_offset;
        ids[count] = shifted;
    }
    return qn_embedding_in(c, &form, tokens->tokens, count + 1, tables, ids);
}

qn_tensor *qn_encoder_start(qn_context *c, qn_encoder *e, const qn_tokens *tokens) {
    qn_tensor *x = qn_encoder_norm(c, e, embed(c, e, tokens), NULL, &e->embedding_norm, 0, NULL);
    x = qn_drop(c, x, e->config.hidden_dropout);
    return e->config.project ? dense(c, x, &e->projection) : x;
}

// The position of each row that is read; NULL after a failure.
static const int32_t *positions_of_rows(qn_context *c, const qn_tokens *tokens, qn_rows_read rows) {
    int32_t *positions = qn_arena_alloc(c->records, rows.count ? rows.count : 1, sizeof *positions);
    if (!positions) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t k = 0; k < rows.count; k++) positions[k] = tokens->positions[rows.index[k]];
    return positions;
}

static qn_tensor *attend_rows(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, const qn_tokens *tokens,
                              qn_rows_read rows, qn_ragged queries) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    qn_attention_form form = qn_encoder_form(e, i);
    const int32_t *positions = positions_of_rows(c, tokens, rows);
    qn_attention_distances distances;
    if (!positions || !qn_encoder_distances(c, e, i, &distances, &form)) return NULL;
    qn_tensor *kv = qn_linear(c, x, &l->kv_weight, qn_present(&l->kv_bias), QN_ACTIVATION_NONE);
    kv = rotate(c, e, i, kv, form.key_heads, tokens->positions);
    qn_tensor *picked = qn_gather(c, x, rows.count, rows.index);
    qn_tensor *query = qn_linear(c, picked, &l->query_weight, qn_present(&l->query_bias), QN_ACTIVATION_NONE);
    query = rotate(c, e, i, query, form.heads, positions);
    qn_tensor *mixed = qn_attention_of(c, query, queries, positions, kv, tokens->ragged, &form);
    return dense(c, mixed, &l->attention_output);
}

// How many of the rows that are read stand in each sequence: offsets [n + 1]. NULL offsets after a failure.
static qn_ragged rows_by_sequence(qn_context *c, qn_ragged batch, qn_rows_read rows) {
    int32_t *offsets = qn_arena_alloc(c->records, batch.sequences + 1, sizeof *offsets);
    size_t at = 0;
    if (!offsets) qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; offsets && i <= batch.sequences; i++) {
        offsets[i] = (int32_t)at;
        while (i < batch.sequences && at < rows.count && rows.index[at] < batch.offsets[i + 1]) {
            if (at > 0 && rows.index[at] <= rows.index[at - 1]) break;
            at++;
        }
    }
    if (offsets && at < rows.count) {
        qn_fail(QN_ERROR_ARGUMENT, "encoder: row %d is out of order or range (expected ascending rows of the batch)",
                rows.index[at]);
        return (qn_ragged){0, qn_fail_operation(c, QN_ERROR_ARGUMENT)};
    }
    return (qn_ragged){batch.sequences, offsets};
}

// The last layer for the rows that are read: keys and values of all tokens, everything else of those rows alone. *sub
// is the pre-norm residual that is not yet added, as in the loop below.
static qn_tensor *last_layer(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor **sub, const qn_tokens *tokens,
                             qn_rows_read rows) {
    size_t last = e->config.layers - 1;
    float drop = e->config.hidden_dropout, drop_result = result_dropout(e);
    qn_encoder_layer *l = qn_layer_at(e, last);
    qn_ragged queries = rows_by_sequence(c, tokens->ragged, rows);
    if (!queries.offsets) return NULL;
    if (e->config.pre_norm) {
        qn_tensor *normed = qn_encoder_norm(c, e, x, *sub, &l->attention_norm, drop_result, &x), *starts = x;
        qn_tensor *mixed = attend_rows(c, e, last, normed, tokens, rows, queries);
        x = qn_gather(c, x, rows.count, rows.index);
        if (starts != normed) qn_forget_for_now(c, normed);
        normed = qn_encoder_norm(c, e, x, mixed, &l->feed_forward_norm, drop, &x);
        *sub = feed_forward(c, e, l, normed);
        return x;
    }
    qn_tensor *mixed = attend_rows(c, e, last, x, tokens, rows, queries);
    qn_tensor *picked = qn_gather(c, x, rows.count, rows.index);
    qn_forget_for_now(c, x);
    x = qn_encoder_norm(c, e, picked, mixed, &l->attention_norm, drop, NULL);
    return qn_encoder_norm(c, e, x, feed_forward(c, e, l, x), &l->feed_forward_norm, drop_result, NULL);
}

qn_tensor *qn_encoder_forward(qn_context *c, qn_encoder *e, const qn_tokens *tokens) {
    return qn_encoder_forward_rows(c, e, tokens, (qn_rows_read){0, NULL});
}

static void extend_rotary(qn_encoder *e, qn_ragged batch) {
    size_t longest = 0;
    for (size_t i = 0; i < batch.sequences; i++) {
        size_t length = (size_t)(batch.offsets[i + 1] - batch.offsets[i]);
        if (length > longest) longest = length;
    }
    for (size_t i = 0; i < 2; i++)
        if (e->rotary[i].cosine) qn_rotary_extend(&e->rotary[i], longest);
}

static bool too_long(qn_context *c, const qn_encoder *e, qn_ragged batch) {
    for (size_t i = 0; i < batch.sequences; i++)
        if ((size_t)(batch.offsets[i + 1] - batch.offsets[i]) > e->config.max_positions) {
            qn_fail(QN_ERROR_ARGUMENT, "encoder: a sequence of %d tokens (expected at most %zu)",
                    batch.offsets[i + 1] - batch.offsets[i], e->config.max_positions);
            qn_fail_operation(c, QN_ERROR_ARGUMENT);
            return true;
        }
    return false;
}

// Whether there is a source for each sequence.
static bool source_fits(qn_context *c, const qn_tokens *tokens) {
    size_t sources = tokens->source ? tokens->source->ragged.sequences : 0;
    if (tokens->source && !tokens->source->hidden) return false; // a failure before
    if (tokens->source && sources == tokens->ragged.sequences) return true;
    qn_fail(QN_ERROR_ARGUMENT, "decoder: %zu sources of %zu sequences (expected one each)", sources,
            tokens->ragged.sequences);
    return qn_fail_operation(c, QN_ERROR_ARGUMENT);
}

qn_tensor *qn_encoder_layer_forward(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, qn_tensor **sub,
                                    const qn_tokens *tokens) {
    qn_encoder_layer *l = qn_layer_at(e, i);
    float drop = e->config.hidden_dropout, drop_result = result_dropout(e);
    if (e->config.pre_norm) {
        qn_tensor *normed = qn_encoder_norm(c, e, x, *sub, &l->attention_norm, drop_result, &x);
        qn_tensor *mixed = attend(c, e, i, normed, tokens);
        if (normed != x) qn_forget_for_now(c, normed);
        if (e->config.cross) {
            normed = qn_encoder_norm(c, e, x, mixed, &l->cross_norm, drop, &x);
            mixed = attend_source(c, e, i, normed, tokens);
            qn_forget_for_now(c, normed);
        }
        normed = qn_encoder_norm(c, e, x, mixed, &l->feed_forward_norm, drop, &x);
        *sub = feed_forward(c, e, l, normed);
        qn_forget_for_now(c, normed);
        return x;
    }
    x = qn_encoder_norm(c, e, x, attend(c, e, i, x, tokens), &l->attention_norm, drop, NULL);
    if (e->config.cross) x = qn_encoder_norm(c, e, x, attend_source(c, e, i, x, tokens), &l->cross_norm, drop, NULL);
    return qn_encoder_norm(c, e, x, feed_forward(c, e, l, x), &l->feed_forward_norm, drop_result, NULL);
}

qn_tensor *qn_encoder_run(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor **sub, const qn_tokens *tokens,
                          size_t first, size_t last) {
    bool recorded = qn_taping(c);
    qn_tensor *carry = e->config.pre_norm && !recorded && x ? qn_new_tensor(c, x->rank, x->shape, false) : NULL;
    for (size_t i = first; x && i < last; i++) {
        qn_arena_mark mark = qn_arena_save(c->arena);
        x = (recorded && c->recompute ? qn_encoder_layer_again : qn_encoder_layer_forward)(c, e, i, x, sub, tokens);
        if (recorded || c->keep) continue;
        // Without a tape the norms wrote into x's own memory: what the block used beyond it is free again.
        if (carry && *sub) {
            memcpy(carry->data, (*sub)->data, qn_count(*sub) * sizeof(float));
            *sub = carry;
        }
        qn_arena_restore(c->arena, mark);
    }
    return x;
}

qn_tensor *qn_encoder_forward_rows(qn_context *c, qn_encoder *e, const qn_tokens *tokens, qn_rows_read rows) {
    bool pre = e->config.pre_norm, cross = e->config.cross;
    size_t whole = e->config.layers; // layers that compute every row
    if (rows.index && whole > 0 && !cross && !tokens->seen) whole--;
    if (cross && !source_fits(c, tokens)) return NULL;
    if (e->config.positions >= QN_POSITIONS_ROTARY && too_long(c, e, tokens->ragged)) return NULL;
    extend_rotary(e, tokens->ragged);
    e->distance_rows = e->distance_table;
    if (e->distance_norm.weight)
        e->distance_rows = qn_add_norm(c, e->distance_table, NULL, e->distance_norm.weight, e->distance_norm.bias,
                                       e->config.norm_eps, 0, NULL);
    qn_tensor *sub = NULL; // pre-norm: the previous feed-forward's output, not yet added
    size_t frozen = qn_taping(c) && e->frozen ? e->frozen - 1 : 0;
    if (frozen > whole) whole = frozen;
    qn_tensor *x = qn_taping(c) && e->frozen ? qn_encoder_frozen(c, e, tokens, frozen) : qn_encoder_start(c, e, tokens);
    bool packed = whole > 0 && !qn_taping(c) && !c->dropout && !tokens->seen && e->layers[0].qkv_weight.packed;
    if (x && packed)
        qn_encoder_infer(c, e, x, tokens, whole, NULL, &sub);
    else
        x = qn_encoder_run(c, e, x, &sub, tokens, frozen, whole);
    if (x && whole < e->config.layers)
        x = last_layer(c, e, x, &sub, tokens, rows);
    else if (rows.index && x) {
        x = qn_gather(c, x, rows.count, rows.index);
        if (sub) sub = qn_gather(c, sub, rows.count, rows.index);
    }
    if (x && pre) x = qn_encoder_norm(c, e, x, sub, &e->final_norm, result_dropout(e), NULL);
    return e->config.final_dropout ? qn_drop(c, x, e->config.hidden_dropout) : x;
}
