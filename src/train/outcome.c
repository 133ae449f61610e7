// See outcome.h.
#include "train/outcome.h"
#include "base/clock.h"
#include "base/file.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// --- Scores

// Logits of one example to probabilities, in place; returns -log of the target's.
static double softmax_row(float *row, size_t labels, int32_t target) {
    double top = row[0], sum = 0, wanted = row[target];
    for (size_t c = 1; c < labels; c++) top = fmax(top, row[c]);
    for (size_t c = 0; c < labels; c++) sum += exp(row[c] - top);
    for (size_t c = 0; c < labels; c++) row[c] = (float)(exp(row[c] - top) / sum);
    return log(sum) - (wanted - top);
}

static qn_status measure_classes(const qn_dataset *d, qn_outcome *o) {
    o->predicted = qn_calloc(o->count, sizeof *o->predicted);
    if (!o->predicted) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < o->count; i++) {
        float *row = o->scores + i * o->labels;
        o->loss += softmax_row(row, o->labels, d->classes[i]) / (double)o->count;
        for (size_t c = 1; c < o->labels; c++)
            if (row[c] > row[o->predicted[i]]) o->predicted[i] = (int32_t)c;
    }
    return qn_classification_measure(
        &(qn_classification_input){o->count, (int32_t)o->labels, d->classes, o->predicted, o->scores},
        &o->classification);
}

static qn_status measure_labels(const qn_dataset *d, qn_outcome *o) {
    size_t cells = o->count * o->labels;
    for (size_t i = 0; i < cells; i++) {
        double x = o->scores[i];
        o->loss += (fmax(x, 0) - x * d->multi[i] + log1p(exp(-fabs(x)))) / (double)cells;
        o->scores[i] = (float)(1 / (1 + exp(-x)));
    }
    return qn_multilabel_measure(&(qn_multilabel_input){o->count, (int32_t)o->labels, d->multi, o->scores, 0.5},
                                 &o->multilabel);
}

static qn_status measure_scores(const qn_dataset *d, qn_outcome *o) {
    for (size_t i = 0; i < o->count; i++) {
        double error = (double)o->scores[i] - d->scores[i];
        o->loss += error * error / (double)o->count;
    }
    return qn_regression_measure(d->scores, o->scores, o->count, &o->regression);
}

qn_status qn_outcome_measure(qn_problem problem, const qn_dataset *dataset, size_t labels, float *logits,
                             qn_outcome *out) {
    *out = (qn_outcome){.problem = problem, .count = dataset->sequences.count, .labels = labels, .scores = logits};
    qn_status status = problem == QN_PROBLEM_SINGLE_LABEL  ? measure_classes(dataset, out)
                       : problem == QN_PROBLEM_MULTI_LABEL ? measure_labels(dataset, out)
                                                           : measure_scores(dataset, out);
    if (status != QN_OK) qn_outcome_free(out);
    return status;
}

size_t qn_outcome_scalars(const qn_outcome *o, qn_metric out[QN_METRICS_MAX]) {
    qn_metric all[QN_METRICS_MAX];
    size_t count = o->problem == QN_PROBLEM_SINGLE_LABEL  ? qn_classification_scalars(&o->classification, all)
                   : o->problem == QN_PROBLEM_MULTI_LABEL ? qn_multilabel_scalars(&o->multilabel, all)
                                                          : qn_regression_scalars(&o->regression, all);
    out[0] = (qn_metric){"loss", o->loss, true};
    if (count > QN_METRICS_MAX - 1) count = QN_METRICS_MAX - 1;
    memcpy(out + 1, all, count * sizeof *all);
    return count + 1;
}

void qn_outcome_json(const qn_outcome *o, const char *const *labels, qn_buffer *out) {
    if (o->problem == QN_PROBLEM_SINGLE_LABEL)
        qn_classification_json(&o->classification, labels, out);
    else if (o->problem == QN_PROBLEM_MULTI_LABEL)
        qn_multilabel_json(&o->multilabel, labels, out);
    else
        qn_regression_json(&o->regression, out);
}

void qn_outcome_free(qn_outcome *o) {
    free(o->scores);
    free(o->predicted);
    qn_classification_free(&o->classification);
    qn_multilabel_free(&o->multilabel);
    *o = (qn_outcome){0};
}

// --- Arguments

static void set_text(json_t *json, const char *key, const char *text) {
    json_object_set_new(json, key, text ? json_string(text) : json_null());
}

json_t *qn_training_json(const qn_training *o, bool pretraining) {
    json_t *json = json_object(), *train = json_array();
    if (!json || !train) return NULL;
    for (size_t i = 0; i < o->train_count; i++) json_array_append_new(train, json_string(o->train[i]));
    set_text(json, "command", o->command);
    set_text(json, "model", o->model);
    set_text(json, "tokenizer", o->tokenizer);
    set_text(json, pretraining ? "objective" : "task", o->task);
    json_object_set_new(json, "train_file", train);
    set_text(json, "validation_file", o->validation);
    set_text(json, "test_file", o->test);
    set_text(json, "lr_scheduler_type", o->schedule);
    set_text(json, "dtype", o->dtype ? o->dtype : "f32");
#define REAL(key, field) json_object_set_new(json, key, json_real(o->field))
#define INTEGER(key, field) json_object_set_new(json, key, json_integer((json_int_t)o->field))
#define FLAG(key, field) json_object_set_new(json, key, json_boolean(o->field))
    REAL("learning_rate", learning_rate);
    REAL("weight_decay", weight_decay);
    REAL("adam_beta1", beta1);
    REAL("adam_beta2", beta2);
    REAL("adam_epsilon", epsilon);
    REAL("max_grad_norm", max_gradient_norm);
    REAL("warmup_ratio", warmup_ratio);
    INTEGER("warmup_steps", warmup_steps);
    REAL("num_train_epochs", epochs);
    INTEGER("max_steps", max_steps);
    REAL("max_minutes", max_minutes);
    INTEGER("per_device_train_batch_size", batch_size);
    INTEGER("batch_tokens", batch_tokens);
    INTEGER("gradient_accumulation_steps", accumulation);
    INTEGER("max_seq_length", max_length);
    FLAG("group_by_length", group_by_length);
    REAL("layer_decay", layer_decay);
    REAL("dropout", dropout);
    INTEGER("freeze_layers", freeze_layers);
    if (pretraining) {
        REAL("mlm_probability", mask_probability);
        FLAG("whole_word", whole_word);
        FLAG("next_sentence", next_sentence);
    } else {
        FLAG("multi_label", multi_label);
        REAL("label_smoothing_factor", label_smoothing);
        FLAG("balanced", balanced);
    }
    INTEGER("eval_steps", eval_steps);
    INTEGER("save_steps", save_steps);
    set_text(json, "metric_for_best_model", o->best_metric);
    INTEGER("patience", patience);
    INTEGER("seed", seed);
    INTEGER("threads", threads);
#undef REAL
#undef INTEGER
#undef FLAG
    return json;
}

qn_status qn_training_save_arguments(const qn_training *o, bool pretraining) {
    json_t *json = qn_training_json(o, pretraining);
    char *path = qn_path_join(o->output, "args.json");
    qn_status status = json && path ? qn_json_save(json, path) : QN_ERROR_MEMORY;
    json_decref(json);
    free(path);
    return status;
}

// --- Report

enum { MOST_ERRORS = 50, FACTS = 12 };

typedef struct {
    qn_report_fact facts[FACTS];
    char text[FACTS][64];
    size_t count;
} fact_list;

static void add_fact(fact_list *list, const char *name, double value) {
    snprintf(list->text[list->count], sizeof list->text[0], "%.10g", value);
    list->facts[list->count] = (qn_report_fact){name, list->text[list->count]};
    list->count++;
}

static void model_facts(const qn_network *n, fact_list *list) {
    const qn_encoder_config *e = &n->config.encoder;
    add_fact(list, "layers", (double)e->layers);
    add_fact(list, "width", (double)e->hidden);
    add_fact(list, "heads", (double)e->heads);
    add_fact(list, "feed-forward width", (double)e->intermediate);
    add_fact(list, "vocabulary", (double)e->vocabulary);
    if (n->heads & QN_HEAD_CLASSIFIER) add_fact(list, "labels", (double)n->config.labels);
}

static size_t find_errors(const qn_outcome *o, const qn_dataset *d, char *const *labels, qn_report_error *errors) {
    size_t worst[MOST_ERRORS], count;
    bool classes = o->problem == QN_PROBLEM_SINGLE_LABEL;
    if (classes)
        count = qn_worst_classified(
            &(qn_classification_input){o->count, (int32_t)o->labels, d->classes, o->predicted, o->scores}, worst,
            MOST_ERRORS);
    else if (o->problem == QN_PROBLEM_REGRESSION)
        count = qn_worst_regressed(d->scores, o->scores, o->count, worst, MOST_ERRORS);
    else
        return 0;
    for (size_t i = 0; i < count; i++) {
        qn_report_error *e = &errors[i];
        size_t at = worst[i];
        *e = (qn_report_error){0};
        qn_dataset_text(d, at, &e->text, &e->text_pair);
        if (classes) {
            const float *row = o->scores + at * o->labels;
            e->gold = labels[d->classes[at]];
            e->predicted = labels[o->predicted[at]];
            e->gold_score = row[d->classes[at]];
            e->score = row[o->predicted[at]];
        } else {
            e->gold_score = d->scores[at];
            e->score = o->scores[at];
        }
    }
    return count;
}

// "model name" of /proc/cpuinfo; "unknown" elsewhere.
static void cpu_name(char *name, size_t size) {
    char line[256];
    snprintf(name, size, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(name, size, "%s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = 0;
            break;
        }
    if (file) fclose(file);
}

static void fill_report(qn_trainer *t, qn_report *r, const qn_outcome *o, const qn_dataset *d,
                        qn_report_error *errors) {
    const qn_training *options = t->options;
    r->task = t->pretraining                          ? "Masked language modelling"
              : strcmp(options->task, "regress") == 0 ? "Regression"
                                                      : "Classification";
    const char *slash = strrchr(options->output, '/');
    r->title = slash && slash[1] ? slash + 1 : options->output;
    r->model = options->model;
    r->command = options->command;
    r->version = qn_version();
    r->parameters = (int64_t)qn_parameters_total(&t->network->parameters);
    r->trained_parameters = 0;
    for (size_t i = 0; i < t->network->parameters.count; i++)
        if (!t->network->parameters.items[i]->frozen)
            r->trained_parameters += (int64_t)qn_count(&t->network->parameters.items[i]->tensor);
    if (t->state.best_step >= 0) {
        r->best_metric = t->best_metric;
        r->best_value = t->state.best_value;
        r->best_step = t->state.best_step;
    }
    r->seconds = t->state.seconds;
    r->tokens = t->state.tokens;
    r->padded_tokens = t->state.padded;
    r->peak_memory = qn_peak_memory();
    r->instruction_set = qn_backend_isa(t->backend);
    r->threads = qn_backend_threads(t->backend);
    r->dtype = t->context.compute == QN_DTYPE_BF16 ? "bfloat16 products, float32 weights" : "float32";
    if (!o) return;
    r->labels = (const char *const *)t->network->config.label_names;
    r->classification = o->problem == QN_PROBLEM_SINGLE_LABEL ? &o->classification : NULL;
    r->multilabel = o->problem == QN_PROBLEM_MULTI_LABEL ? &o->multilabel : NULL;
    r->regression = o->problem == QN_PROBLEM_REGRESSION ? &o->regression : NULL;
    if (r->regression) {
        r->gold = d->scores;
        r->predicted = o->scores;
        r->n_points = o->count;
    }
    r->errors = errors;
    r->n_errors = find_errors(o, d, t->network->config.label_names, errors);
}

qn_status qn_outcome_report(qn_trainer *t, const char *data, const char *eval_name, const qn_outcome *outcome,
                            const qn_dataset *dataset) {
    qn_report r;
    qn_report_init(&r);
    qn_report_error *errors = qn_calloc(MOST_ERRORS, sizeof *errors);
    char *log = qn_path_join(t->options->output, "log.jsonl"), *path = qn_path_join(t->options->output, "report.html");
    json_t *arguments = qn_training_json(t->options, t->pretraining);
    qn_history history = {0};
    qn_status status = errors && log && path && arguments ? qn_history_read(log, &history) : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        char cpu[256], date[64];
        time_t now = time(NULL) - (time_t)t->state.seconds;
        struct tm local;
        fact_list facts = {0};
        cpu_name(cpu, sizeof cpu);
        strftime(date, sizeof date, "%Y-%m-%d %H:%M", localtime_r(&now, &local));
        model_facts(t->network, &facts);
        fill_report(t, &r, outcome, dataset, errors);
        r.cpu = cpu;
        r.date = date;
        r.facts = facts.facts;
        r.n_facts = facts.count;
        r.data = data;
        r.eval_name = eval_name;
        r.history = &history;
        r.arguments = arguments;
        status = qn_report_write(&r, path);
    }
    qn_history_free(&history);
    json_decref(arguments);
    free(errors);
    free(log);
    free(path);
    return status;
}
