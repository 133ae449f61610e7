// Measures a model on labelled data.
#include "data/dataset.h"
#include "infer/model.h"
#include "metrics/metrics.h"
#include <stdlib.h>

static qn_status reader_options(const qn_data_options *data, qn_reader_options *out) {
    *out = (qn_reader_options){0};
    if (!data) return QN_OK;
    *out = (qn_reader_options){.text_column = data->text_column,
                               .pair_column = data->pair_column,
                               .label_column = data->label_column,
                               .score_column = data->score_column,
                               .columns = data->columns};
    return data->format ? qn_format_parse(data->format, &out->format) : QN_OK;
}

static qn_status measure_classes(const qn_model *m, const qn_dataset *d, const float *scores, qn_buffer *json) {
    size_t n = d->sequences.count, labels = qn_model_labels(m);
    int32_t *predicted = qn_malloc(n, sizeof *predicted);
    if (!predicted) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const float *row = scores + i * labels;
        predicted[i] = 0;
        for (size_t k = 1; k < labels; k++)
            if (row[k] > row[predicted[i]]) predicted[i] = (int32_t)k;
    }
    qn_classification_input in = {n, (int32_t)labels, d->classes, predicted, scores};
    qn_classification metrics;
    qn_status status = qn_classification_measure(&in, &metrics);
    if (status == QN_OK) qn_classification_json(&metrics, (const char *const *)m->network->config.label_names, json);
    qn_classification_free(&metrics);
    free(predicted);
    return status;
}

static qn_status measure_labels(const qn_model *m, const qn_dataset *d, const float *scores, qn_buffer *json) {
    qn_multilabel_input in = {d->sequences.count, (int32_t)qn_model_labels(m), d->multi, scores, 0.5};
    qn_multilabel metrics;
    qn_status status = qn_multilabel_measure(&in, &metrics);
    if (status == QN_OK) qn_multilabel_json(&metrics, (const char *const *)m->network->config.label_names, json);
    qn_multilabel_free(&metrics);
    return status;
}

static qn_status measure_numbers(const qn_dataset *d, const float *scores, qn_buffer *json) {
    qn_regression metrics;
    QN_TRY(qn_regression_measure(d->scores, scores, d->sequences.count, &metrics));
    qn_regression_json(&metrics, json);
    return QN_OK;
}

static qn_status measure(qn_model *m, const qn_dataset *d, qn_buffer *json) {
    size_t n = d->sequences.count;
    float *scores = qn_malloc(n, qn_model_labels(m) * sizeof *scores);
    if (!scores) return QN_ERROR_MEMORY;
    qn_status status = qn_infer_sequences(m, &d->sequences, false, qn_infer_classify, &(qn_infer_scores){scores});
    if (status == QN_OK) {
        qn_infer_probabilities(m, n, scores);
        if (d->target == QN_TARGET_CLASS)
            status = measure_classes(m, d, scores, json);
        else if (d->target == QN_TARGET_LABELS)
            status = measure_labels(m, d, scores, json);
        else
            status = measure_numbers(d, scores, json);
    }
    free(scores);
    return status == QN_OK ? qn_buffer_status(json) : status;
}

qn_status qn_evaluate(qn_model *m, const char *path, const qn_data_options *data, char **json) {
    static const qn_target targets[] = {[QN_TASK_CLASSIFY] = QN_TARGET_CLASS,
                                        [QN_TASK_MULTILABEL] = QN_TARGET_LABELS,
                                        [QN_TASK_REGRESS] = QN_TARGET_SCORE};
    *json = NULL;
    QN_TRY(qn_infer_need_labels(m));
    qn_task_kind task = qn_model_task(m);
    if (task == QN_TASK_REGRESS && qn_model_labels(m) != 1)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a regression of %zu values cannot be measured (expected 1)",
                       m->network->config.source, qn_model_labels(m));
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(reader_options(data, &options.reader));
    options.target = targets[task];
    options.encode = m->encode;
    qn_labels labels = {0};
    qn_dataset dataset = {0};
    qn_buffer text = {0};
    qn_status status = QN_OK;
    if (task != QN_TASK_REGRESS)
        status = qn_labels_set(&labels, (const char *const *)m->network->config.label_names, qn_model_labels(m));
    if (status == QN_OK) status = qn_dataset_read(&path, 1, m->tokenizer, &options, &labels, &dataset);
    if (status == QN_OK) status = measure(m, &dataset, &text);
    qn_dataset_free(&dataset);
    qn_labels_free(&labels);
    if (status != QN_OK)
        qn_buffer_free(&text);
    else
        *json = text.data;
    return status;
}
