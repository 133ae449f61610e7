// Labels and numbers of texts, and the tokens that fit a mask.
#include "infer/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_infer_need_labels(const qn_model *model) {
    if (model->network->heads & QN_HEAD_CLASSIFIER) return QN_OK;
    const char *class = model->network->config.family->class_classifier;
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: this model has no classification head (expected \"architectures\" [\"%s\"])",
                   model->network->config.source, class ? class : "BertForSequenceClassification");
}

qn_status qn_infer_classify(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const qn_infer_scores *out = user;
    size_t labels = qn_model_labels(m);
    qn_tensor *logits = qn_network_classify(c, m->network, batch->hidden, batch->tokens.ragged);
    if (!logits) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++)
        m->backend->ops->copy_out(m->backend, out->scores + batch->index[i] * labels, logits->data + i * labels,
                                  labels * sizeof(float));
    return QN_OK;
}

// p_k = exp(x_k - max x) / sum exp(x_j - max x)
void qn_infer_softmax(float *x, size_t count) {
    double largest = -INFINITY, total = 0;
    for (size_t k = 0; k < count; k++) largest = fmax(largest, x[k]);
    for (size_t k = 0; k < count; k++) total += exp(x[k] - largest);
    for (size_t k = 0; k < count; k++) x[k] = (float)(exp(x[k] - largest) / total);
}

void qn_infer_probabilities(const qn_model *model, size_t count, float *scores) {
    size_t labels = qn_model_labels(model);
    qn_task_kind task = qn_model_task(model);
    if (task == QN_TASK_CLASSIFY)
        for (size_t i = 0; i < count; i++) qn_infer_softmax(scores + i * labels, labels);
    if (task == QN_TASK_MULTILABEL || (task == QN_TASK_RERANK && !model->network->config.raw_score))
        for (size_t i = 0; i < count * labels; i++) scores[i] = (float)(1 / (1 + exp(-(double)scores[i])));
}

qn_status qn_classify(qn_model *model, const qn_text *texts, size_t count, bool logits, float *scores) {
    QN_TRY(qn_infer_need_labels(model));
    QN_TRY(qn_infer_texts(model, texts, count, false, false, qn_infer_classify, &(qn_infer_scores){scores}));
    if (!logits) qn_infer_probabilities(model, count, scores);
    return QN_OK;
}

// ---- Pairs

qn_status qn_infer_need_reranker(const qn_model *model) {
    QN_TRY(qn_infer_need_labels(model));
    if (qn_model_labels(model) == 1) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this model has %zu labels (expected one output, as of a cross-encoder)",
                   model->network->config.source, qn_model_labels(model));
}

qn_status qn_rerank(qn_model *model, const char *query, size_t query_size, const qn_text *documents, size_t count,
                    bool logits, float *scores) {
    QN_TRY(qn_infer_need_reranker(model));
    qn_text *pairs = qn_malloc(count, sizeof *pairs);
    if (!pairs) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        pairs[i] = (qn_text){query, query_size, documents[i].text ? documents[i].text : "", documents[i].size};
    qn_status status = qn_infer_texts(model, pairs, count, false, false, qn_infer_classify, &(qn_infer_scores){scores});
    free(pairs);
    if (status == QN_OK && !logits && !model->network->config.raw_score)
        for (size_t i = 0; i < count; i++) scores[i] = (float)(1 / (1 + exp(-(double)scores[i])));
    return status;
}

// ---- Tokens that were replaced
// -----------------------------------------------------------------------------------------------------------

typedef struct {
    const qn_text *texts;
    qn_replaced_receiver receive;
    void *user;
} replaced;

static qn_status receive_replaced(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const replaced *r = user;
    qn_tensor *logits = qn_network_discriminate(c, m->network, batch->hidden);
    if (!logits) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    float *p = logits->data;
    for (size_t t = 0; t < batch->tokens.tokens; t++) p[t] = (float)(1 / (1 + exp(-(double)p[t])));
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) {
        // The batch has ids alone; tokenising again is far cheaper than keeping every encoding of the window.
        QN_TRY(qn_infer_encode(m, &r->texts[batch->index[i]], false));
        QN_TRY(r->receive(r->user, batch->index[i], &m->encoding, p + batch->tokens.ragged.offsets[i]));
    }
    return QN_OK;
}

qn_status qn_find_replaced(qn_model *m, const qn_text *texts, size_t count, qn_replaced_receiver receive, void *user) {
    if (!(m->network->heads & QN_HEAD_DISCRIMINATOR))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: this model has no discriminator (expected \"architectures\" [\"ElectraForPreTraining\"])",
                       m->network->config.source);
    return qn_infer_texts(m, texts, count, false, true, receive_replaced, &(replaced){texts, receive, user});
}

// ---- Masks
// -----------------------------------------------------------------------------------------------------------

typedef struct {
    size_t top, masks;
    const int32_t *index; // [masks] rows of the mask tokens
    qn_fill_receiver receive;
    void *user;
} fill;

// The most probable tokens, best first, ties by id: insertion into a short sorted list.
static size_t best_candidates(const qn_model *m, const float *probability, size_t count, size_t top,
                              qn_candidate *out) {
    size_t found = 0;
    for (size_t k = 0; k < count; k++) {
        float p = probability[k];
        if (found == top && !(p > out[top - 1].probability)) continue;
        size_t at = found < top ? found++ : top - 1;
        for (; at > 0 && p > out[at - 1].probability; at--) out[at] = out[at - 1];
        out[at] = (qn_candidate){(int32_t)k, qn_tokenizer_token(m->tokenizer, (int32_t)k), p};
    }
    return found;
}

static qn_status receive_masks(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const fill *f = user;
    qn_tensor *logits = qn_network_masked_lm(c, m->network, batch->hidden, f->masks, f->index);
    qn_candidate *candidates = qn_arena_alloc(c->records, f->top, sizeof *candidates);
    float *row = logits ? qn_arena_alloc(c->records, qn_width(logits), sizeof *row) : NULL;
    if (!row || !candidates) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    size_t vocabulary = qn_width(logits);
    for (size_t i = 0; i < f->masks; i++) {
        m->backend->ops->copy_out(m->backend, row, logits->data + i * vocabulary, vocabulary * sizeof *row);
        qn_infer_softmax(row, vocabulary);
        // Rows of the embedding table that no token stands for are no answers.
        size_t known = qn_tokenizer_size(m->tokenizer) < vocabulary ? qn_tokenizer_size(m->tokenizer) : vocabulary;
        size_t found = best_candidates(m, row, known, f->top, candidates);
        QN_TRY(f->receive(f->user, i, (size_t)f->index[i], candidates, found));
    }
    return QN_OK;
}

qn_tensor *qn_infer_head_weight(const qn_model *m) {
    return m->network->decoder ? m->network->decoder : qn_network_last_stack(m->network)->word;
}

// Packed at the first use and not when a model is opened. Four bits are too few for scores of words: eight there.
qn_status qn_infer_pack_head(qn_model *m) {
    static const qn_compute computes[] = {[QN_DTYPE_F32] = QN_DTYPE_F32,
                                          [QN_DTYPE_BF16] = QN_DTYPE_F32,
                                          [QN_DTYPE_INT8] = QN_DTYPE_INT8,
                                          [QN_DTYPE_Q8] = QN_DTYPE_Q8,
                                          [QN_DTYPE_Q4] = QN_DTYPE_Q8}; // k8 and k4 are of files alone
    qn_tensor *weight = qn_infer_head_weight(m);
    if (m->head_packed) return QN_OK;
    qn_compute compute = weight->stored ? weight->stored->compute : computes[m->compute];
    weight->packed = m->backend->ops->pack(m->backend, &(qn_pack_args){.out = weight->shape[0],
                                                                       .in = weight->shape[1],
                                                                       .compute = compute,
                                                                       .weight = weight->data,
                                                                       .grouped = weight->stored});
    m->head_packed = weight->packed != NULL;
    return m->head_packed ? QN_OK : QN_ERROR_MEMORY;
}

qn_status qn_fill_mask(qn_model *m, const qn_text *text, size_t top, qn_fill_receiver receive, void *user) {
    if (!(m->network->heads & QN_HEAD_LM))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: this model has no masked-language head (expected \"architectures\" [\"%s\"])",
                       m->network->config.source, m->network->config.family->class_masked_lm);
    int32_t mask = qn_tokenizer_special(m->tokenizer, QN_TOKEN_MASK);
    if (mask < 0) return qn_fail(QN_ERROR_UNSUPPORTED, "%s: the tokenizer has no mask token", m->transformer);
    if (top == 0) return qn_fail(QN_ERROR_ARGUMENT, "no candidates wanted (expected 1 or more)");
    size_t vocabulary = m->network->config.encoder.vocabulary;
    QN_TRY(qn_infer_encode(m, text, false));
    qn_sequences_clear(&m->window);
    QN_TRY(qn_sequences_append(&m->window, &m->encoding));
    int32_t *index = qn_malloc(m->encoding.count, sizeof *index);
    if (!index) return QN_ERROR_MEMORY;
    fill f = {top < vocabulary ? top : vocabulary, 0, index, receive, user};
    for (size_t t = 0; t < m->encoding.count; t++)
        if (m->encoding.ids[t] == mask) index[f.masks++] = (int32_t)t;
    qn_status status = QN_OK;
    if (f.masks == 0)
        status = qn_fail(QN_ERROR_ARGUMENT, "the text has no %s within the first %zu tokens",
                         qn_tokenizer_token(m->tokenizer, mask), m->encode.max_length);
    if (status == QN_OK) status = qn_infer_pack_head(m);
    if (status == QN_OK) status = qn_infer_sequences(m, &m->window, true, receive_masks, &f);
    free(index);
    return status;
}
