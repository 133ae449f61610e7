// Classification of texts and pairs, with one label or any number of them, and regression.
#include "tasks/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Data

static qn_status make_class_weights(qn_job *j, const qn_dataset *d) {
    int64_t *counts = qn_calloc(j->labels.count, sizeof *counts);
    j->class_weights = qn_calloc(j->labels.count, sizeof *j->class_weights);
    if (counts && j->class_weights) {
        qn_dataset_class_counts(d, counts);
        qn_dataset_class_weights(d, counts, j->class_weights);
    }
    free(counts);
    return j->class_weights && counts ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    static const qn_target targets[] = {[QN_PROBLEM_SINGLE_LABEL] = QN_TARGET_CLASS,
                                        [QN_PROBLEM_MULTI_LABEL] = QN_TARGET_LABELS,
                                        [QN_PROBLEM_REGRESSION] = QN_TARGET_SCORE};
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(qn_job_reader(j, &options.reader));
    options.target = targets[j->task->problem];
    options.encode = j->encode;
    options.collect_labels = training;
    options.keep_texts = !training;
    QN_TRY(qn_dataset_read(paths, count, j->tokenizer, &options, &j->labels, out));
    return training && j->training->balanced ? make_class_weights(j, out) : QN_OK;
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    bool regression = j->task->problem == QN_PROBLEM_REGRESSION;
    config->reranks = false;
    return qn_model_config_set_labels(config, j->task->problem, regression ? 1 : j->labels.count,
                                      regression ? NULL : (const char *const *)j->labels.names);
}

// --- Training

qn_tensor *qn_task_text_logits(qn_network *network, qn_context *c, const qn_batch *batch) {
    qn_tokens tokens = qn_batch_tokens(batch);
    return qn_network_classify_tokens(c, network, &tokens);
}

static qn_status loss_of_classes(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                                 double *loss) {
    return qn_cross_entropy(c, qn_task_text_logits(network, c, batch), batch->classes, j->class_weights,
                            (float)j->training->label_smoothing, loss);
}

static qn_status loss_of_labels(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                                double *loss) {
    (void)j;
    return qn_binary_cross_entropy(c, qn_task_text_logits(network, c, batch), batch->multi, loss);
}

static qn_status loss_of_scores(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                                double *loss) {
    (void)j;
    return qn_mean_squared_error(c, qn_task_text_logits(network, c, batch), batch->scores, loss);
}

// --- Measuring

// The raw outputs for a data set into out->scores [n, labels], in its order.
static qn_status score(qn_model *m, const qn_dataset *d, qn_outcome *out) {
    out->count = d->sequences.count;
    out->scores = qn_malloc(out->count, qn_model_labels(m) * sizeof *out->scores);
    out->mistakes = qn_calloc(QN_MOST_MISTAKES, sizeof *out->mistakes);
    if (!out->scores || !out->mistakes) return QN_ERROR_MEMORY;
    return qn_infer_sequences(m, &d->sequences, false, qn_infer_classify, &(qn_infer_scores){out->scores});
}

static void find_misclassified(qn_model *m, const qn_dataset *d, const qn_classification_input *in, qn_outcome *out) {
    size_t worst[QN_MOST_MISTAKES];
    out->mistake_count = qn_worst_classified(in, worst, QN_MOST_MISTAKES);
    for (size_t i = 0; i < out->mistake_count; i++) {
        qn_mistake *e = &out->mistakes[i];
        int32_t gold = in->gold[worst[i]], predicted = in->predicted[worst[i]];
        const float *row = in->probability + worst[i] * (size_t)in->classes;
        qn_dataset_text(d, worst[i], &e->text, &e->text_pair);
        e->gold = qn_model_label(m, (size_t)gold);
        e->predicted = qn_model_label(m, (size_t)predicted);
        e->gold_score = row[gold];
        e->score = row[predicted];
    }
}

static qn_status measure_classes(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    QN_TRY(score(m, d, out));
    size_t n = out->count, labels = qn_model_labels(m);
    int32_t *predicted = qn_malloc(n, sizeof *predicted);
    if (!predicted) return QN_ERROR_MEMORY;
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        const float *row = out->scores + i * labels;
        predicted[i] = 0;
        for (size_t k = 1; k < labels; k++)
            if (row[k] > row[predicted[i]]) predicted[i] = (int32_t)k;
        loss += qn_row_cross_entropy(row, labels, d->classes[i]) / (double)n;
    }
    qn_infer_probabilities(m, n, out->scores);
    qn_classification_input in = {n, (int32_t)labels, d->classes, predicted, out->scores};
    qn_status status = qn_classification_measure(&in, &out->classification);
    out->classified = true;
    if (status == QN_OK) {
        qn_metric scalars[QN_METRICS_MAX];
        qn_outcome_metrics(out, loss, scalars, qn_classification_scalars(&out->classification, scalars));
        qn_classification_json(&out->classification, (const char *const *)m->network->config.label_names, &out->json);
        find_misclassified(m, d, &in, out);
    }
    free(predicted);
    return status == QN_OK ? qn_buffer_status(&out->json) : status;
}

static qn_status measure_labels(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    QN_TRY(score(m, d, out));
    size_t labels = qn_model_labels(m), cells = out->count * labels;
    double loss = 0;
    for (size_t i = 0; i < cells; i++) {
        double x = out->scores[i];
        loss += (fmax(x, 0) - x * d->multi[i] + log1p(exp(-fabs(x)))) / (double)cells;
    }
    qn_infer_probabilities(m, out->count, out->scores);
    qn_multilabel_input in = {out->count, (int32_t)labels, d->multi, out->scores, 0.5};
    out->multilabelled = true;
    QN_TRY(qn_multilabel_measure(&in, &out->multilabel));
    qn_metric scalars[QN_METRICS_MAX];
    qn_outcome_metrics(out, loss, scalars, qn_multilabel_scalars(&out->multilabel, scalars));
    qn_multilabel_json(&out->multilabel, (const char *const *)m->network->config.label_names, &out->json);
    return qn_buffer_status(&out->json);
}

static qn_status measure_scores(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    if (qn_model_labels(m) != 1)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a regression of %zu values cannot be measured (expected 1)",
                       m->network->config.source, qn_model_labels(m));
    QN_TRY(score(m, d, out));
    double loss = 0;
    for (size_t i = 0; i < out->count; i++) {
        double error = (double)out->scores[i] - d->scores[i];
        loss += error * error / (double)out->count;
    }
    out->regressed = true;
    QN_TRY(qn_regression_measure(d->scores, out->scores, out->count, &out->regression));
    qn_metric scalars[QN_METRICS_MAX];
    qn_outcome_metrics(out, loss, scalars, qn_regression_scalars(&out->regression, scalars));
    qn_regression_json(&out->regression, &out->json);
    size_t worst[QN_MOST_MISTAKES];
    out->mistake_count = qn_worst_regressed(d->scores, out->scores, out->count, worst, QN_MOST_MISTAKES);
    for (size_t i = 0; i < out->mistake_count; i++) {
        qn_mistake *e = &out->mistakes[i];
        qn_dataset_text(d, worst[i], &e->text, &e->text_pair);
        e->gold_score = d->scores[worst[i]];
        e->score = out->scores[worst[i]];
    }
    return qn_buffer_status(&out->json);
}

#define TASK(name_, title_, problem_, metric_, check_, loss_, measure_)                                                \
    {                                                                                                                  \
        .name = name_, .title = title_, .heads = QN_HEAD_POOLER | QN_HEAD_CLASSIFIER, .problem = problem_,             \
        .best_metric = metric_, .check = check_, .read = read, .configure = configure, .loss = loss_,                  \
        .measure = measure_                                                                                            \
    }
const qn_task qn_task_classify =
    TASK("classify", "Classification", QN_PROBLEM_SINGLE_LABEL, "accuracy", NULL, loss_of_classes, measure_classes);
const qn_task qn_task_multilabel = TASK("classify", "Classification", QN_PROBLEM_MULTI_LABEL, "micro_f1", qn_task_check_balance,
                                        loss_of_labels, measure_labels);
const qn_task qn_task_regress =
    TASK("regress", "Regression", QN_PROBLEM_REGRESSION, "pearson", qn_task_check_balance, loss_of_scores, measure_scores);
