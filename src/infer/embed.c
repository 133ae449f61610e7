// Vectors of texts: one per text by pooling, one per token, or sparse ones.
#include "infer/model.h"
#include <string.h>

qn_embed_options qn_embed_defaults(void) {
    return (qn_embed_options){.pooling = QN_POOLING_FOLDER, .normalize = -1};
}

typedef struct {
    qn_pooling pooling;
    int normalize;       // as in qn_embed_options
    const int32_t *skip; // [count] tokens that are not pooled; NULL: those of the model's prompt
    float *vectors;      // [count, width]
} embedding;

// The tokens that are left out of each sequence of a batch; NULL: none.
static qn_status skipped(const qn_model *m, qn_context *c, const qn_infer_batch *batch, const embedding *e,
                         const int32_t **out) {
    size_t n = batch->tokens.ragged.sequences;
    *out = NULL;
    if (!e->skip && !m->prompt_tokens) return QN_OK;
    int32_t *skip = qn_arena_alloc(c->records, n, sizeof *skip);
    if (!skip) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) skip[i] = e->skip ? e->skip[batch->index[i]] : m->prompt_tokens;
    *out = skip;
    return QN_OK;
}

static qn_status receive_vectors(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const embedding *e = user;
    const qn_sbert *s = &m->network->sentence;
    const int32_t *skip;
    size_t d = qn_model_width(m), bytes = d * sizeof(float);
    QN_TRY(skipped(m, c, batch, e, &skip));
    qn_ragged ragged = batch->tokens.ragged;
    bool normalizes = qn_sbert_normalizes(s);
    qn_tensor *y = e->pooling == QN_POOLING_FOLDER
                       ? qn_sentence_pool(c, m->network, batch->hidden, ragged, skip, s->module_count - normalizes)
                       : qn_pool_sequences_after(c, batch->hidden, ragged, skip, (qn_pool)(e->pooling - 1));
    if (y && d < qn_width(y)) y = qn_columns(c, y, 0, d);
    if (e->normalize < 0 ? normalizes : e->normalize) y = qn_normalize(c, y);
    if (!y) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    for (size_t i = 0; i < ragged.sequences; i++)
        m->backend->ops->copy_out(m->backend, e->vectors + batch->index[i] * d, y->data + i * d, bytes);
    return QN_OK;
}

qn_status qn_embed(qn_model *model, const qn_text *texts, size_t count, const qn_embed_options *options,
                   float *vectors) {
    qn_embed_options defaults = qn_embed_defaults();
    if (!options) options = &defaults;
    if (options->pooling > (qn_pooling)QN_POOLS)
        return qn_fail(QN_ERROR_ARGUMENT, "pooling %d is not known", (int)options->pooling);
    const qn_sbert *s = &model->network->sentence;
    if (s->late.on)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: has a vector for each token (expected qn_embed_multi)", model->folder);
    if (options->pooling != QN_POOLING_FOLDER && (s->sparse || s->pooling_count > 1 || s->module_count > qn_sbert_normalizes(s)))
        return qn_fail(QN_ERROR_ARGUMENT,
                       "%s: its vectors are made of several poolings or by dense layers (expected the folder's pooling)",
                       model->folder);
    if (s->sparse) QN_TRY(qn_infer_pack_head(model));
    return qn_infer_texts(model, texts, count, true, false, receive_vectors,
                          &(embedding){options->pooling, options->normalize, NULL, vectors});
}

qn_status qn_infer_vectors(qn_model *m, const qn_sequences *sequences, const int32_t *skip, float *vectors) {
    if (m->network->sentence.sparse) QN_TRY(qn_infer_pack_head(m));
    return qn_infer_sequences(m, sequences, false, receive_vectors,
                              &(embedding){QN_POOLING_FOLDER, -1, skip, vectors});
}

typedef struct {
    const qn_text *texts;
    qn_token_vectors receive;
    void *user;
} token_receiver;

static qn_status receive_tokens(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    (void)c;
    const token_receiver *r = user;
    size_t d = qn_width(batch->hidden);
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) {
        // The batch has ids alone; tokenising again is far cheaper than keeping every encoding of the window.
        QN_TRY(qn_infer_encode(m, &r->texts[batch->index[i]], true));
        QN_TRY(r->receive(r->user, batch->index[i], &m->encoding,
                          batch->hidden->data + (size_t)batch->tokens.ragged.offsets[i] * d));
    }
    return QN_OK;
}

qn_status qn_embed_tokens(qn_model *model, const qn_text *texts, size_t count, qn_token_vectors receive, void *user) {
    return qn_infer_texts(model, texts, count, true, true, receive_tokens, &(token_receiver){texts, receive, user});
}

// --- ColBERT: a vector for each token, compared by the largest similarities

typedef struct {
    size_t side;
    qn_multi_vectors receive;
    void *user;
} multi_receiver;

// The vectors that count of a sequence [length, d], put together at their beginning; how many they are.
static size_t keep_vectors(const qn_model *m, size_t side, const int32_t *ids, size_t length, float *vectors) {
    size_t kept = 0, d = qn_model_width(m);
    for (size_t t = 0; t < length; t++) {
        if (side == 1 && (size_t)ids[t] < m->late.vocabulary && m->late.skipped[ids[t]]) continue;
        if (kept < t) memcpy(vectors + kept * d, vectors + t * d, d * sizeof *vectors);
        kept++;
    }
    return kept;
}

static qn_status receive_multi(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const multi_receiver *r = user;
    size_t d = qn_model_width(m);
    const int32_t *offsets = batch->tokens.ragged.offsets;
    qn_tensor *y = qn_sentence_tokens(c, m->network, batch->hidden);
    if (!y) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) {
        float *vectors = y->data + (size_t)offsets[i] * d;
        size_t kept = keep_vectors(m, r->side, batch->tokens.ids + offsets[i], (size_t)(offsets[i + 1] - offsets[i]),
                                   vectors);
        QN_TRY(r->receive(r->user, batch->index[i], kept, vectors));
    }
    return QN_OK;
}

static qn_status need_multi(const qn_model *m) {
    if (m->late.on) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: has one vector for a text (expected a ColBERT: modules.json with pylate's Dense, or "
                   "artifact.metadata)",
                   m->folder);
}

qn_status qn_embed_multi(qn_model *model, const qn_text *texts, size_t count, qn_multi_vectors receive, void *user) {
    QN_TRY(need_multi(model));
    return qn_infer_texts(model, texts, count, true, true, receive_multi,
                          &(multi_receiver){model->side, receive, user});
}

qn_status qn_infer_multi(qn_model *m, const qn_sequences *sequences, size_t side, qn_multi_vectors receive,
                         void *user) {
    return qn_infer_sequences(m, sequences, true, receive_multi, &(multi_receiver){side, receive, user});
}

// --- SPLADE: the weights of words, without zeros

typedef struct {
    qn_sparse_vectors receive;
    void *user;
} sparse_receiver;

static qn_status receive_sparse(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const sparse_receiver *r = user;
    qn_tensor *y = qn_sentence_pool(c, m->network, batch->hidden, batch->tokens.ragged, NULL, 0);
    size_t d = qn_model_width(m);
    int32_t *column = qn_arena_alloc(c->records, d, sizeof *column);
    if (!y || !column) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) {
        float *row = y->data + i * qn_width(y); // its elements that count are put together at its beginning
        size_t count = 0;
        for (size_t k = 0; k < d; k++) {
            if (row[k] == 0) continue;
            column[count] = (int32_t)k;
            row[count++] = row[k];
        }
        QN_TRY(r->receive(r->user, batch->index[i], &(qn_sparse_vector){count, column, row}));
    }
    return QN_OK;
}

static qn_status need_sparse(qn_model *m) {
    if (m->network->sentence.sparse) return qn_infer_pack_head(m);
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: has no weights of words (expected a folder of a SparseEncoder)", m->folder);
}

qn_status qn_embed_sparse(qn_model *model, const qn_text *texts, size_t count, qn_sparse_vectors receive, void *user) {
    QN_TRY(need_sparse(model));
    return qn_infer_texts(model, texts, count, true, true, receive_sparse, &(sparse_receiver){receive, user});
}

qn_status qn_infer_sparse(qn_model *m, const qn_sequences *sequences, qn_sparse_vectors receive, void *user) {
    QN_TRY(need_sparse(m));
    return qn_infer_sequences(m, sequences, true, receive_sparse, &(sparse_receiver){receive, user});
}
