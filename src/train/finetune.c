// Fine-tuning of a classifier or a regression on labelled texts or pairs.
#include "base/clock.h"
#include "base/file.h"
#include "data/loader.h"
#include "train/outcome.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVALUATION_TOKENS = 4096 };

typedef struct {
    qn_dataset train, validation, test;
    qn_labels labels;
    qn_sampler *sampler;
    qn_loader loader;
    float *class_weights; // [labels] or NULL
    qn_problem problem;
    size_t max_length;
} job;

// The head reads the first token of each sequence, so the last layer computes only those.
static qn_tensor *logits_of(qn_trainer *t, qn_context *c, const qn_batch *batch) {
    qn_tokens tokens = qn_batch_tokens(batch);
    int32_t *one_each = qn_arena_alloc(c->records, batch->sequences + 1, sizeof *one_each);
    if (!one_each) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i <= batch->sequences; i++) one_each[i] = (int32_t)i;
    qn_tensor *first =
        qn_encoder_forward_rows(c, &t->network->encoder, &tokens, (qn_rows_read){batch->sequences, batch->offsets});
    return qn_network_classify(c, t->network, first, (qn_ragged){batch->sequences, one_each});
}

static qn_status loss(qn_trainer *t, qn_context *c, const qn_batch *batch, double *value) {
    const job *j = t->data;
    qn_tensor *logits = logits_of(t, c, batch);
    if (j->problem == QN_PROBLEM_SINGLE_LABEL)
        return qn_cross_entropy(c, logits, batch->classes, j->class_weights, (float)t->options->label_smoothing, value);
    if (j->problem == QN_PROBLEM_MULTI_LABEL) return qn_binary_cross_entropy(c, logits, batch->multi, value);
    return qn_mean_squared_error(c, logits, batch->scores, value);
}

// The logits [n, labels] of a whole data set, in its order.
static qn_status predict(qn_trainer *t, const qn_dataset *d, float *logits) {
    size_t labels = t->network->config.labels;
    qn_sampler *sampler = NULL;
    qn_batch batch = {0};
    qn_sampler_options options = {.order = QN_ORDER_SORTED, .batch_tokens = EVALUATION_TOKENS};
    qn_status status = qn_sampler_create(&d->sequences, &options, &sampler);
    if (status == QN_OK) status = qn_sampler_set_epoch(sampler, 0);
    for (size_t b = 0; status == QN_OK && b < qn_sampler_batches(sampler); b++) {
        const uint32_t *examples;
        size_t count;
        qn_sampler_batch(sampler, b, &examples, &count);
        status = qn_batch_fill(&batch, d, examples, count);
        if (status != QN_OK) break;
        qn_context c = qn_trainer_inference(t);
        qn_tensor *y = logits_of(t, &c, &batch);
        status = c.status;
        for (size_t i = 0; status == QN_OK && i < count; i++)
            memcpy(logits + (size_t)examples[i] * labels, y->data + i * labels, labels * sizeof *logits);
    }
    qn_batch_free(&batch);
    qn_sampler_free(sampler);
    return status;
}

static qn_status measure(qn_trainer *t, const qn_dataset *d, qn_outcome *out) {
    const job *j = t->data;
    size_t labels = t->network->config.labels;
    float *logits = qn_calloc(d->sequences.count, labels * sizeof *logits);
    if (!logits) return QN_ERROR_MEMORY;
    qn_status status = predict(t, d, logits);
    if (status != QN_OK) {
        free(logits);
        return status;
    }
    return qn_outcome_measure(j->problem, d, labels, logits, out);
}

static qn_status evaluate(qn_trainer *t, qn_metric metrics[QN_METRICS_MAX], size_t *count) {
    qn_outcome outcome;
    QN_TRY(measure(t, &((job *)t->data)->validation, &outcome));
    *count = qn_outcome_scalars(&outcome, metrics);
    qn_outcome_free(&outcome);
    return QN_OK;
}

static qn_status seek(qn_trainer *t, const qn_data_position *position) {
    return qn_loader_seek(&((job *)t->data)->loader, position);
}

static const qn_objective with_validation = {loss, evaluate, seek}, without_validation = {loss, NULL, seek};

// --- Preparation

static qn_status read_data(const qn_training *o, const qn_tokenizer *tokenizer, job *j) {
    qn_dataset_options d = qn_dataset_defaults();
    d.target = j->problem == QN_PROBLEM_SINGLE_LABEL  ? QN_TARGET_CLASS
               : j->problem == QN_PROBLEM_MULTI_LABEL ? QN_TARGET_LABELS
                                                      : QN_TARGET_SCORE;
    if (o->data.format) QN_TRY(qn_format_parse(o->data.format, &d.reader.format));
    d.reader.text_column = o->data.text_column;
    d.reader.pair_column = o->data.pair_column;
    d.reader.label_column = o->data.label_column;
    d.reader.score_column = o->data.score_column;
    d.reader.columns = o->data.columns;
    d.encode.max_length = j->max_length;
    d.collect_labels = true;
    QN_TRY(qn_dataset_read(o->train, o->train_count, tokenizer, &d, &j->labels, &j->train));
    d.collect_labels = false;
    d.keep_texts = true;
    if (o->validation) QN_TRY(qn_dataset_read(&o->validation, 1, tokenizer, &d, &j->labels, &j->validation));
    if (o->test) QN_TRY(qn_dataset_read(&o->test, 1, tokenizer, &d, &j->labels, &j->test));
    return QN_OK;
}

static qn_status make_class_weights(job *j) {
    int64_t *counts = qn_calloc(j->labels.count, sizeof *counts);
    j->class_weights = qn_calloc(j->labels.count, sizeof *j->class_weights);
    if (counts && j->class_weights) {
        qn_dataset_class_counts(&j->train, counts);
        qn_dataset_class_weights(&j->train, counts, j->class_weights);
    }
    free(counts);
    return j->class_weights && counts ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status make_network(const qn_training *o, const char *folder, const job *j, qn_network **out) {
    qn_model_config config;
    QN_TRY(qn_model_config_read(folder, &config));
    size_t labels = j->problem == QN_PROBLEM_REGRESSION ? 1 : j->labels.count;
    qn_status status = qn_model_config_set_labels(
        &config, j->problem, labels, j->problem == QN_PROBLEM_REGRESSION ? NULL : (const char *const *)j->labels.names);
    if (status != QN_OK) {
        qn_model_config_free(&config);
        return status;
    }
    if (o->dropout >= 0)
        config.encoder.hidden_dropout = config.encoder.attention_dropout = config.classifier_dropout =
            (float)o->dropout;
    qn_network_options options = {QN_HEAD_POOLER | QN_HEAD_CLASSIFIER, true, o->seed, true};
    return qn_is_folder(folder) ? qn_network_load(&config, folder, &options, out)
                                : qn_network_create(&config, &options, out);
}

static qn_status plan(const qn_training *o, job *j, qn_trainer *t) {
    qn_sampler_options s = {.order = o->group_by_length ? QN_ORDER_GROUPED : QN_ORDER_SHUFFLED,
                            .batch_size = o->batch_size,
                            .batch_tokens = o->batch_tokens,
                            .seed = o->seed};
    QN_TRY(qn_sampler_create(&j->train.sequences, &s, &j->sampler));
    double epochs = o->max_steps > 0 || o->epochs <= 0 ? 1e9 : o->epochs;
    t->total_steps = o->max_steps;
    if (o->max_steps <= 0 && o->epochs > 0) {
        uint64_t whole, last;
        QN_TRY(qn_sampler_total(j->sampler, (uint64_t)floor(epochs), &whole));
        QN_TRY(qn_sampler_total(j->sampler, (uint64_t)ceil(epochs), &last));
        double batches = (double)whole + (epochs - floor(epochs)) * (double)(last - whole);
        t->total_steps = (int64_t)ceil(batches / o->accumulation - 1e-9);
    }
    j->loader = (qn_loader){.dataset = &j->train, .sampler = j->sampler, .epochs = (uint64_t)ceil(epochs)};
    t->source = qn_loader_source(&j->loader);
    return QN_OK;
}

static size_t length_limit(const qn_training *o, const qn_tokenizer *tokenizer, const qn_model_config *config) {
    size_t limit = config->encoder.max_positions, own = qn_tokenizer_max_length(tokenizer);
    if (own > 0 && own < limit) limit = own;
    return o->max_length > 0 && o->max_length < limit ? o->max_length : limit;
}

// --- The end

static qn_status finish(qn_trainer *t, char **json) {
    job *j = t->data;
    QN_TRY(qn_trainer_take_best(t));
    const qn_dataset *d = t->options->test ? &j->test : t->options->validation ? &j->validation : NULL;
    char data[512], name[512];
    qn_outcome outcome = {0};
    snprintf(data, sizeof data, "%s, %zu examples", t->options->train[0], j->train.sequences.count);
    if (d) {
        QN_TRY(measure(t, d, &outcome));
        snprintf(name, sizeof name, "%s, %zu examples", d == &j->test ? t->options->test : t->options->validation,
                 d->sequences.count);
    }
    qn_buffer text = {0};
    qn_status status = qn_network_save(t->network, t->options->output);
    if (status == QN_OK) status = qn_tokenizer_save(t->tokenizer, t->options->output);
    if (status == QN_OK) status = qn_outcome_report(t, data, d ? name : NULL, d ? &outcome : NULL, d);
    if (status == QN_OK && json) {
        if (d)
            qn_outcome_json(&outcome, (const char *const *)t->network->config.label_names, &text);
        else
            qn_buffer_printf(&text, "{\"loss\": %.9g}", t->state.last_loss);
        status = qn_buffer_status(&text);
        *json = text.data;
    }
    qn_outcome_free(&outcome);
    return status;
}

static qn_status check(const qn_training *o, job *j) {
    QN_TRY(qn_training_check(o));
    bool classify = o->task && strcmp(o->task, "classify") == 0, regress = o->task && strcmp(o->task, "regress") == 0;
    if (!classify && !regress)
        return qn_fail(QN_ERROR_ARGUMENT, "task is \"%s\" (expected classify or regress)", o->task ? o->task : "");
    if (regress && o->multi_label)
        return qn_fail(QN_ERROR_ARGUMENT, "several labels per example are for the task classify");
    if (o->balanced && (regress || o->multi_label))
        return qn_fail(QN_ERROR_ARGUMENT, "balanced class weights are for one label per example");
    j->problem = regress ? QN_PROBLEM_REGRESSION : o->multi_label ? QN_PROBLEM_MULTI_LABEL : QN_PROBLEM_SINGLE_LABEL;
    return QN_OK;
}

static void say_start(qn_trainer *t, const char *checkpoint) {
    const job *j = t->data;
    qn_trainer_say(t, "%zu training examples, %zu tokens, %zu labels; %.1f M parameters; %d threads, %s",
                   j->train.sequences.count, j->train.sequences.tokens, t->network->config.labels,
                   (double)qn_parameters_total(&t->network->parameters) / 1e6, qn_backend_threads(t->backend),
                   qn_backend_isa(t->backend));
    if (j->train.truncated)
        qn_trainer_say(t, "%zu training examples are longer than %zu tokens and were cut", j->train.truncated,
                       j->max_length);
    if (checkpoint) qn_trainer_say(t, "going on from %s", checkpoint);
}

static qn_status prepare(qn_trainer *t, job *j, qn_tokenizer **tokenizer, char **checkpoint) {
    const qn_training *o = t->options;
    QN_TRY(check(o, j));
    QN_TRY(qn_run_folder(o, checkpoint));
    const char *folder = *checkpoint ? *checkpoint : o->model;
    const char *words = o->tokenizer ? o->tokenizer : folder;
    if (!o->tokenizer && !qn_is_folder(folder))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: a single config.json has no tokenizer (expected --tokenizer)", folder);
    QN_TRY(qn_tokenizer_load(words, tokenizer));
    t->tokenizer = *tokenizer;
    qn_model_config config;
    QN_TRY(qn_model_config_read(folder, &config));
    j->max_length = length_limit(o, *tokenizer, &config);
    size_t vocabulary = config.encoder.vocabulary;
    qn_model_config_free(&config);
    if (qn_tokenizer_size(*tokenizer) > vocabulary)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: the tokenizer has %zu tokens, the model %zu", words,
                       qn_tokenizer_size(*tokenizer), vocabulary);
    QN_TRY(read_data(o, *tokenizer, j));
    QN_TRY(make_network(o, folder, j, &t->network));
    if (o->freeze_layers >= 0) qn_network_freeze(t->network, (size_t)o->freeze_layers, true);
    if (o->balanced) QN_TRY(make_class_weights(j));
    QN_TRY(qn_backend_create_cpu(o->threads, NULL, &t->backend));
    t->objective = o->validation ? &with_validation : &without_validation;
    t->best_metric = o->best_metric                          ? o->best_metric
                     : j->problem == QN_PROBLEM_SINGLE_LABEL ? "accuracy"
                     : j->problem == QN_PROBLEM_MULTI_LABEL  ? "micro_f1"
                                                             : "pearson";
    QN_TRY(plan(o, j, t));
    say_start(t, *checkpoint);
    return QN_OK;
}

qn_status qn_finetune(const qn_training *training, char **json) {
    job j = {0};
    qn_trainer t = {.options = training, .pretraining = false, .data = &j};
    qn_tokenizer *tokenizer = NULL;
    char *checkpoint = NULL;
    if (json) *json = NULL;
    qn_status status = prepare(&t, &j, &tokenizer, &checkpoint);
    if (status == QN_OK) status = qn_trainer_run(&t, checkpoint);
    if (status == QN_OK) status = finish(&t, json);
    qn_trainer_free(&t);
    qn_network_free(t.network);
    qn_backend_destroy(t.backend);
    qn_sampler_free(j.sampler);
    qn_dataset_free(&j.train);
    qn_dataset_free(&j.validation);
    qn_dataset_free(&j.test);
    qn_labels_free(&j.labels);
    free(j.class_weights);
    qn_tokenizer_free(tokenizer);
    free(checkpoint);
    return status;
}

qn_training qn_training_defaults(bool pretraining) {
    return (qn_training){
        .task = pretraining ? "mlm" : "classify",
        .learning_rate = pretraining ? 5e-4 : 5e-5,
        .weight_decay = 0.01,
        .beta1 = 0.9,
        .beta2 = pretraining ? 0.98 : 0.999,
        .epsilon = 1e-8,
        .max_gradient_norm = 1,
        .schedule = "linear",
        .warmup_ratio = 0.06,
        .epochs = pretraining ? 1 : 3,
        .batch_size = pretraining ? 0 : 32,
        .batch_tokens = pretraining ? 8192 : 0,
        .accumulation = 1,
        .max_length = pretraining ? 128 : 0,
        .layer_decay = 1,
        .dropout = -1,
        .freeze_layers = -1,
        .mask_probability = 0.15,
        .log_steps = 10,
        .keep_checkpoints = 2,
    };
}
