// Vectors of texts: one per text by pooling, or one per token.
#include "infer/model.h"
#include <math.h>
#include <string.h>

qn_embed_options qn_embed_defaults(void) {
    return (qn_embed_options){.pooling = QN_POOLING_FOLDER, .normalize = -1};
}

typedef struct {
    qn_sbert_pooling pooling;
    bool normalize;
    int32_t prompt; // tokens that are not pooled
    float *vectors; // [count, width]
} embedding;

// The rows of a batch that are pooled: all, or those behind the prompt. Sequence i is then rows offsets[i] .. of the
// result.
static qn_tensor *drop_prompt(int32_t prompt, qn_context *c, const qn_infer_batch *batch, qn_ragged *ragged) {
    *ragged = batch->tokens.ragged;
    if (prompt == 0) return batch->hidden;
    size_t rows = 0;
    int32_t *offsets = qn_arena_alloc(c->records, ragged->sequences + 1, sizeof *offsets);
    int32_t *index = qn_arena_alloc(c->records, batch->tokens.tokens, sizeof *index);
    if (!offsets || !index) return qn_fail_operation(c, QN_ERROR_MEMORY);
    offsets[0] = 0;
    for (size_t i = 0; i < ragged->sequences; i++) {
        for (int32_t t = ragged->offsets[i] + prompt; t < ragged->offsets[i + 1]; t++) index[rows++] = t;
        offsets[i + 1] = (int32_t)rows;
    }
    ragged->offsets = offsets;
    return qn_gather(c, batch->hidden, rows, index);
}

// mean_sqrt_len: sum / sqrt(n). Pooled holds the means.
static void scale_means(qn_tensor *pooled, qn_ragged batch) {
    size_t d = qn_width(pooled);
    for (size_t i = 0; i < batch.sequences; i++) {
        float factor = sqrtf((float)(batch.offsets[i + 1] - batch.offsets[i]));
        for (size_t k = 0; k < d; k++) pooled->data[i * d + k] *= factor;
    }
}

// weightedmean: token t of n, from 1, has the weight t (Muennighoff 2022).
static qn_tensor *pool_weighted(qn_context *c, qn_tensor *x, qn_ragged batch) {
    size_t d = qn_width(x);
    qn_tensor *y = qn_new_matrix(c, batch.sequences, d, false);
    for (size_t i = 0; y && i < batch.sequences; i++) {
        float *out = y->data + i * d, total = 0;
        memset(out, 0, d * sizeof *out);
        for (int32_t t = batch.offsets[i]; t < batch.offsets[i + 1]; t++) {
            float weight = (float)(t - batch.offsets[i] + 1);
            total += weight;
            for (size_t k = 0; k < d; k++) out[k] += weight * x->data[(size_t)t * d + k];
        }
        for (size_t k = 0; k < d; k++) out[k] /= total > 0 ? total : 1;
    }
    return y;
}

static qn_tensor *pool_last(qn_context *c, qn_tensor *x, qn_ragged batch) {
    int32_t *index = qn_arena_alloc(c->records, batch.sequences, sizeof *index);
    if (!index) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i < batch.sequences; i++) index[i] = batch.offsets[i + 1] > 0 ? batch.offsets[i + 1] - 1 : 0;
    return qn_gather(c, x, batch.sequences, index);
}

static qn_tensor *pool(qn_context *c, qn_tensor *x, qn_ragged batch, qn_sbert_pooling pooling) {
    switch (pooling) {
    case QN_SBERT_POOL_CLS:
        return qn_pool_sequences(c, x, batch, QN_POOL_CLS);
    case QN_SBERT_POOL_MAX:
        return qn_pool_sequences(c, x, batch, QN_POOL_MAX);
    case QN_SBERT_POOL_WEIGHTED_MEAN:
        return x ? pool_weighted(c, x, batch) : NULL;
    case QN_SBERT_POOL_LAST_TOKEN:
        return pool_last(c, x, batch);
    case QN_SBERT_POOL_MEAN:
    case QN_SBERT_POOL_MEAN_SQRT_LEN:
    case QN_SBERT_POOLINGS:
        break;
    }
    qn_tensor *y = qn_pool_sequences(c, x, batch, QN_POOL_MEAN);
    if (y && pooling == QN_SBERT_POOL_MEAN_SQRT_LEN) scale_means(y, batch);
    return y;
}

static qn_status receive_vectors(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const embedding *e = user;
    qn_ragged ragged;
    qn_tensor *x = drop_prompt(e->prompt, c, batch, &ragged);
    // The first token's vector is that of the whole sequence, prompt or not.
    bool whole = e->pooling == QN_SBERT_POOL_CLS;
    qn_tensor *y = pool(c, whole ? batch->hidden : x, whole ? batch->tokens.ragged : ragged, e->pooling);
    if (e->normalize) y = qn_normalize(c, y);
    if (!y) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    size_t d = qn_width(y), bytes = d * sizeof(float);
    for (size_t i = 0; i < ragged.sequences; i++)
        m->backend->ops->copy_out(m->backend, e->vectors + batch->index[i] * d, y->data + i * d, bytes);
    return QN_OK;
}

qn_status qn_embed(qn_model *model, const qn_text *texts, size_t count, const qn_embed_options *options,
                   float *vectors) {
    static const qn_sbert_pooling poolings[] = {[QN_POOLING_MEAN] = QN_SBERT_POOL_MEAN,
                                                [QN_POOLING_CLS] = QN_SBERT_POOL_CLS,
                                                [QN_POOLING_MAX] = QN_SBERT_POOL_MAX};
    qn_embed_options defaults = qn_embed_defaults();
    if (!options) options = &defaults;
    embedding e = {.pooling = model->sbert.pooling,
                   .normalize = model->sbert.normalize,
                   .prompt = model->prompt_tokens,
                   .vectors = vectors};
    if (options->pooling > QN_POOLING_MAX)
        return qn_fail(QN_ERROR_ARGUMENT, "pooling %d is not known", (int)options->pooling);
    if (options->pooling != QN_POOLING_FOLDER) e.pooling = poolings[options->pooling];
    if (options->normalize >= 0) e.normalize = options->normalize != 0;
    return qn_infer_texts(model, texts, count, true, false, receive_vectors, &e);
}

qn_status qn_infer_vectors(qn_model *m, const qn_sequences *sequences, float *vectors) {
    embedding e = {.pooling = m->sbert.pooling, .normalize = m->sbert.normalize, .vectors = vectors};
    return qn_infer_sequences(m, sequences, false, receive_vectors, &e);
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
