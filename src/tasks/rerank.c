// Reranking: a cross-encoder's score of how well a document fits a query.
#include "base/memory.h"
#include "metrics/reranking.h"
#include "tasks/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Data

// Pairs with a score from 0 to 1, or triples of a query, a document that fits and one that does not.
static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(qn_job_reader(j, &options.reader));
    options.target = QN_TARGET_SCORE;
    options.triples = true;
    options.encode = j->encode;
    options.keep_texts = !training;
    QN_TRY(qn_dataset_read(paths, count, j->tokenizer, &options, &j->labels, out));
    for (size_t i = 0; i < out->sequences.count; i++)
        if (!(out->scores[i] >= 0 && out->scores[i] <= 1)) {
            qn_fail(QN_ERROR_FORMAT, "%s:%lld: the score is %g (expected 0 to 1)", out->names[out->files[i]],
                    (long long)out->lines[i], (double)out->scores[i]);
            qn_dataset_free(out);
            return QN_ERROR_FORMAT;
        }
    return QN_OK;
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    (void)j;
    QN_TRY(qn_model_config_set_labels(config, QN_PROBLEM_REGRESSION, 1, NULL));
    config->reranks = true;
    config->raw_score = false;
    return QN_OK;
}

static qn_status loss_of_pairs(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                               double *loss) {
    (void)j;
    return qn_binary_cross_entropy(c, qn_task_text_logits(network, c, batch), batch->scores, loss);
}

// --- Measuring

// The number of each example's query: queries of equal text are one.
static qn_status number_queries(const qn_dataset *d, uint32_t *group) {
    qn_labels queries = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; status == QN_OK && i < d->sequences.count; i++) {
        const char *query, *document;
        int32_t id = 0;
        qn_dataset_text(d, i, &query, &document);
        status = qn_labels_add(&queries, (qn_span){query, strlen(query)}, &id);
        group[i] = (uint32_t)id;
    }
    qn_labels_free(&queries);
    return status;
}

static double mean_loss(const qn_dataset *d, const float *logits) {
    double sum = 0;
    for (size_t i = 0; i < d->sequences.count; i++) {
        double x = logits[i];
        sum += fmax(x, 0) - x * (double)d->scores[i] + log1p(exp(-fabs(x)));
    }
    return sum / (double)d->sequences.count;
}

static qn_status measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    QN_TRY(qn_infer_need_reranker(m));
    out->count = d->sequences.count;
    out->scores = qn_malloc(out->count, sizeof *out->scores);
    out->mistakes = qn_calloc(QN_MOST_MISTAKES, sizeof *out->mistakes);
    uint32_t *group = qn_malloc(out->count, sizeof *group);
    qn_status status = out->scores && out->mistakes && group ? number_queries(d, group) : QN_ERROR_MEMORY;
    if (status == QN_OK)
        status = qn_infer_sequences(m, &d->sequences, false, qn_infer_classify, &(qn_infer_scores){out->scores});
    double loss = status == QN_OK ? mean_loss(d, out->scores) : 0;
    qn_reranking ranking = {0};
    // Before the sigmoid: it keeps the order, and near 1 it makes different scores equal.
    if (status == QN_OK) status = qn_reranking_measure(d->scores, out->scores, group, out->count, &ranking);
    free(group);
    if (status != QN_OK) return status;
    for (size_t i = 0; i < out->count; i++) out->scores[i] = (float)(1 / (1 + exp(-(double)out->scores[i])));
    qn_metric scalars[QN_METRICS_MAX];
    qn_outcome_metrics(out, loss, scalars, qn_reranking_scalars(&ranking, scalars));
    qn_reranking_json(&ranking, &out->json);
    size_t worst[QN_MOST_MISTAKES];
    out->valued = true;
    out->mistake_count = qn_worst_regressed(d->scores, out->scores, out->count, worst, QN_MOST_MISTAKES);
    for (size_t i = 0; i < out->mistake_count; i++) {
        qn_mistake *e = &out->mistakes[i];
        qn_dataset_text(d, worst[i], &e->text, &e->text_pair);
        e->gold_score = d->scores[worst[i]];
        e->score = out->scores[worst[i]];
    }
    return qn_buffer_status(&out->json);
}

const qn_task qn_task_rerank = {.name = "rerank",
                                .title = "Reranking",
                                .heads = QN_HEAD_POOLER | QN_HEAD_CLASSIFIER,
                                .problem = QN_PROBLEM_REGRESSION,
                                .reranks = true,
                                .best_metric = "ndcg_at_10",
                                .check = qn_task_check_balance,
                                .read = read,
                                .configure = configure,
                                .loss = loss_of_pairs,
                                .measure = measure};
