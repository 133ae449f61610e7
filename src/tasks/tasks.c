// The table of tasks, and measuring a model by the task of its head.
#include "tasks/task.h"
#include "base/buffer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const qn_task *const tasks[] = {&qn_task_classify, &qn_task_multilabel, &qn_task_regress,   &qn_task_tag,
                                       &qn_task_embed,    &qn_task_sts,        &qn_task_retrieval, &qn_task_triplets,
                                       &qn_task_answer,   &qn_task_rerank,     &qn_task_translate, &qn_task_few_shot,
                                       &qn_task_reconstruct};
enum { TASKS = sizeof tasks / sizeof *tasks };

qn_status qn_task_find(const char *name, bool multi_label, const qn_task **out) {
    qn_buffer known = {0};
    for (size_t i = 0; i < TASKS; i++) {
        const qn_task *t = tasks[i];
        if (name && strcmp(t->name, name) == 0 && (t->problem == QN_PROBLEM_MULTI_LABEL) == multi_label) {
            qn_buffer_free(&known);
            *out = t;
            return QN_OK;
        }
        if (i == 0 || strcmp(t->name, tasks[i - 1]->name) != 0)
            qn_buffer_printf(&known, "%s%s", known.size ? ", " : "", t->name);
    }
    qn_status status = multi_label && name && strcmp(name, qn_task_classify.name) != 0
                           ? qn_fail(QN_ERROR_ARGUMENT, "several labels per example are for the task classify")
                           : qn_fail(QN_ERROR_ARGUMENT, "task is \"%s\" (expected one of %s)", name ? name : "",
                                     known.data ? known.data : "");
    qn_buffer_free(&known);
    return status;
}

qn_status qn_task_of(const qn_model *model, const qn_task **out) {
    if (model->network->config.encoder_decoder) return *out = &qn_task_translate, QN_OK;
    for (size_t i = 0; i < TASKS; i++) {
        unsigned heads = tasks[i]->heads & model->network->heads;
        if (heads & (QN_HEAD_TAGGER | QN_HEAD_SPAN) ||
            (heads & QN_HEAD_CLASSIFIER && tasks[i]->problem == model->network->config.problem &&
             tasks[i]->reranks == model->network->config.reranks))
            return *out = tasks[i], QN_OK;
    }
    QN_TRY(qn_infer_need_labels(model));
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: no task measures this head", model->network->config.source);
}

qn_status qn_job_reader(const qn_job *job, qn_reader_options *out) {
    const qn_data_options *data = job->data;
    *out = (qn_reader_options){0};
    if (!data) return QN_OK;
    *out = (qn_reader_options){.text_column = data->text_column,
                               .pair_column = data->pair_column,
                               .label_column = data->label_column,
                               .score_column = data->score_column,
                               .text_columns = data->text_columns,
                               .columns = data->columns};
    return data->format ? qn_format_parse(data->format, &out->format) : QN_OK;
}

void qn_job_free(qn_job *job) {
    if (job->task && job->task->free_own) job->task->free_own(job);
    qn_labels_free(&job->labels);
    qn_sbert_free(&job->sentence);
    free(job->class_weights);
    *job = (qn_job){0};
}

void qn_outcome_free(qn_outcome *o) {
    qn_buffer_free(&o->json);
    if (o->classified) qn_classification_free(&o->classification);
    if (o->multilabelled) qn_multilabel_free(&o->multilabel);
    free(o->scores);
    if (o->tagged) qn_tagging_free(&o->tagging);
    qn_tag_scheme_free(&o->scheme);
    qn_arena_destroy(o->strings);
    free(o->plane.x);
    free(o->plane.y);
    free(o->plane.classes);
    free(o->mistakes);
    *o = (qn_outcome){0};
}

qn_status qn_task_check_balance(const qn_training *o) {
    if (!o->balanced) return QN_OK;
    return qn_fail(QN_ERROR_ARGUMENT, "balanced class weights are for one label per example");
}

void qn_outcome_metrics(qn_outcome *o, double loss, const qn_metric *scalars, size_t count) {
    o->metrics[0] = (qn_metric){"loss", loss, true};
    if (count > QN_METRICS_MAX - 1) count = QN_METRICS_MAX - 1;
    memcpy(o->metrics + 1, scalars, count * sizeof *scalars);
    o->metric_count = count + 1;
}

size_t qn_count_right(const qn_tensor *logits, const int32_t *targets) {
    size_t classes = qn_width(logits), right = 0;
    for (size_t i = 0; i < qn_rows(logits); i++) {
        const float *row = logits->data + i * classes;
        size_t best = 0;
        for (size_t k = 1; k < classes; k++)
            if (row[k] > row[best]) best = k;
        right += best == (size_t)targets[i];
    }
    return right;
}

double qn_row_cross_entropy(const float *row, size_t count, int32_t target) {
    double top = row[0], sum = 0;
    for (size_t c = 1; c < count; c++) top = fmax(top, row[c]);
    for (size_t c = 0; c < count; c++) sum += exp(row[c] - top);
    return log(sum) - (row[target] - top);
}

static qn_status evaluate(qn_model *m, qn_job *job, const char *path, char **json) {
    qn_dataset dataset = {0};
    qn_outcome outcome = {0};
    qn_status status = QN_OK;
    if (qn_model_labels(m) && qn_model_task(m) != QN_TASK_REGRESS)
        if (qn_model_task(m) != QN_TASK_REGRESS && qn_model_task(m) != QN_TASK_RERANK)
            status =
                qn_labels_set(&job->labels, (const char *const *)m->network->config.label_names, qn_model_labels(m));
    if (status == QN_OK) status = job->task->read(job, &path, 1, false, &dataset);
    if (status == QN_OK) status = job->task->measure(job, m, &dataset, &outcome);
    if (status == QN_OK) {
        *json = outcome.json.data;
        outcome.json = (qn_buffer){0};
    }
    qn_outcome_free(&outcome);
    qn_dataset_free(&dataset);
    return status;
}

qn_status qn_evaluate(qn_model *m, const char *path, const qn_data_options *data, char **json) {
    return qn_evaluate_task(m, NULL, path, data, json);
}

qn_status qn_evaluate_task(qn_model *m, const char *task, const char *path, const qn_data_options *data, char **json) {
    *json = NULL;
    qn_job job = {
        .data = data, .tokenizer = m->tokenizer, .encode = m->encode, .prompts = &m->network->sentence};
    qn_status status = task ? qn_task_find(task, false, &job.task) : qn_task_of(m, &job.task);
    if (status == QN_OK && job.task->heads) { // the head decides
        const qn_task *own;
        status = qn_task_of(m, &own);
        if (status == QN_OK && task && strcmp(own->name, task) != 0)
            status = qn_fail(QN_ERROR_ARGUMENT, "task is \"%s\", but the model's head is for %s", task, own->name);
        if (status == QN_OK) job.task = own;
    }
    if (status == QN_OK) status = evaluate(m, &job, path, json);
    qn_job_free(&job);
    return status;
}
