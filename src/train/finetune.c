// Fine-tuning: a task's data, its network and the loop, and the best model at the end.
#include "base/clock.h"
#include "base/file.h"
#include "data/loader.h"
#include "models/gguf_model.h"
#include "nn/frozen.h"
#include "train/adapters.h"
#include "train/finetune.h"
#include "train/run_files.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    qn_job task;
    qn_dataset train, validation, test;
    qn_sampler *sampler;
    qn_loader loader;
    qn_frozen_cache *cache;
} job;

static qn_status loss(qn_trainer *t, qn_context *c, const qn_batch *batch, double *value) {
    const job *j = t->data;
    return j->task.task->loss(&j->task, t->network, c, batch, value);
}

// Settles what the loss does not train, and measures the model on `d`, unless that is NULL.
static qn_status measure(qn_trainer *t, const qn_dataset *d, qn_outcome *out) {
    const job *j = t->data;
    qn_context c = qn_trainer_inference(t);
    qn_model *model;
    QN_TRY(qn_model_lend(t->network, t->tokenizer, &c, &j->task.encode, &model));
    qn_status status = j->task.task->settle ? j->task.task->settle(&j->task, model) : QN_OK;
    if (status == QN_OK && d) status = j->task.task->measure(&j->task, model, d, out);
    qn_model_close(model);
    return status;
}

static qn_status evaluate(qn_trainer *t, qn_metric metrics[QN_METRICS_MAX], size_t *count) {
    qn_outcome outcome = {0};
    qn_status status = measure(t, &((job *)t->data)->validation, &outcome);
    *count = outcome.metric_count;
    memcpy(metrics, outcome.metrics, sizeof outcome.metrics);
    qn_outcome_free(&outcome);
    return status;
}

static qn_status seek(qn_trainer *t, const qn_data_position *position) {
    return qn_loader_seek(&((job *)t->data)->loader, position);
}

static const qn_objective with_validation = {.loss = loss, .evaluate = evaluate, .seek = seek},
                          without_validation = {.loss = loss, .seek = seek};

// --- Preparation

static qn_status read_data(const qn_training *o, job *j) {
    const qn_task *task = j->task.task;
    QN_TRY(task->read(&j->task, o->train, o->train_count, true, &j->train));
    if (o->validation) QN_TRY(task->read(&j->task, &o->validation, 1, false, &j->validation));
    if (o->test) QN_TRY(task->read(&j->task, &o->test, 1, false, &j->test));
    return QN_OK;
}

static qn_status make_network(const qn_training *o, const char *folder, const char *checkpoint, job *j,
                              qn_network **out) {
    qn_model_config config;
    QN_TRY(qn_model_config_read(folder, &config));
    qn_status status = j->task.task->configure(&j->task, &config);
    if (status != QN_OK) {
        qn_model_config_free(&config);
        return status;
    }
    if (o->dropout >= 0) qn_model_config_set_dropout(&config, (float)o->dropout);
    qn_lora lora = {0};
    qn_network_options options = {.heads = j->task.task->heads | (j->task.sentence.sparse ? QN_HEAD_LM : 0),
                                  .trainable = true,
                                  .seed = o->seed,
                                  .by_rows = o->ema == 0, // a mean of the weights reads every row
                                  .frozen = (int)(o->freeze_layers + 1),
                                  .sentence = &j->task.sentence,
                                  .text_decoder = j->task.text_decoder};
    if (qn_training_adapts(o)) {
        options.lora = &lora;
        status = qn_training_open_adapters(o, checkpoint, &lora);
    }
    if (status != QN_OK)
        qn_model_config_free(&config);
    else
        status = qn_is_folder(folder) || qn_is_gguf(folder) ? qn_network_load(&config, folder, &options, out)
                                      : qn_network_create(&config, &options, out);
    qn_lora_free(&lora);
    return status;
}

// Layers that do not train run once for each text.
static qn_status keep_frozen(qn_trainer *t, job *j) {
    const qn_training *o = t->options;
    qn_encoder *e = &t->network->encoder;
    if (!e->frozen || o->activation_cache == 0 || t->network->config.encoder_decoder || j->task.noise) return QN_OK;
    const qn_sequences *texts = &j->train.sequences;
    QN_TRY(qn_make_folders(o->output));
    QN_TRY(qn_frozen_cache_create(texts->count, texts->offsets, e->config.hidden, o->activation_cache << 20, o->output,
                                  &j->cache));
    e->cache = j->cache;
    qn_trainer_say(t, "embeddings and %zu layers are frozen and run once per text; what they give takes %.0f MB %s",
                   e->frozen - 1, (double)qn_frozen_cache_bytes(j->cache) / 1e6,
                   qn_frozen_cache_in_file(j->cache) ? "in a file" : "of memory");
    return QN_OK;
}

static qn_status plan(const qn_training *o, job *j, qn_trainer *t) {
    qn_sampler_options s = {.order = o->group_by_length ? QN_ORDER_GROUPED : QN_ORDER_SHUFFLED,
                            .batch_size = o->batch_size,
                            .batch_tokens = o->batch_tokens,
                            .width = j->train.width,
                            .no_duplicates = j->task.no_duplicates,
                            .seed = o->seed};
    QN_TRY(qn_sampler_create(&j->train.sequences, &s, &j->sampler));
    double epochs = o->max_steps > 0 || o->epochs <= 0 ? 1e9 : o->epochs;
    t->total_steps = o->max_steps;
    if (o->max_steps <= 0 && o->epochs > 0) {
        uint64_t whole, last;
        QN_TRY(qn_sampler_total(j->sampler, (uint64_t)floor(epochs), &whole));
        QN_TRY(qn_sampler_total(j->sampler, (uint64_t)ceil(epochs), &last));
        t->total_steps = qn_training_steps(o, whole, last);
    }
    j->loader = (qn_loader){
        .dataset = &j->train, .sampler = j->sampler, .noise = j->task.noise, .epochs = (uint64_t)ceil(epochs)};
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
    QN_TRY(qn_trainer_take_final(t));
    const qn_dataset *d = t->options->test ? &j->test : t->options->validation ? &j->validation : NULL;
    char data[512], name[512];
    qn_outcome outcome = {0};
    snprintf(data, sizeof data, "%s, %zu examples", t->options->train[0], qn_dataset_count(&j->train));
    qn_status status = measure(t, d, &outcome);
    if (d)
        snprintf(name, sizeof name, "%s, %zu examples", d == &j->test ? t->options->test : t->options->validation,
                 qn_dataset_count(d));
    t->network->config.text_decoder = false; // it stays in the checkpoints
    if (status == QN_OK) status = qn_network_save(t->network, t->options->output);
    if (status == QN_OK) status = qn_tokenizer_save(t->tokenizer, t->options->output);
    if (status == QN_OK) status = qn_run_report(t, j->task.task->title, data, d ? name : NULL, d ? &outcome : NULL, d);
    if (status == QN_OK && json) {
        if (!d) qn_buffer_printf(&outcome.json, "{\"loss\": %.9g}", t->state.last_loss);
        status = qn_buffer_status(&outcome.json);
        *json = outcome.json.data;
        outcome.json = (qn_buffer){0};
    }
    qn_outcome_free(&outcome);
    return status;
}

static qn_status check(const qn_training *o, job *j) {
    QN_TRY(qn_training_check(o));
    QN_TRY(qn_task_find(o->task, o->multi_label, &j->task.task));
    j->task.training = o;
    QN_TRY(qn_training_check_adapters(o));
    j->task.data = &o->data;
    return j->task.task->check ? j->task.task->check(o) : QN_OK;
}

static void say_start(qn_trainer *t, const char *checkpoint) {
    const job *j = t->data;
    const qn_parameters *set = &t->network->parameters;
    double all = (double)qn_parameters_total(set), trained = (double)qn_parameters_trained(set);
    char labels[32] = "";
    if (t->network->heads & (QN_HEAD_CLASSIFIER | QN_HEAD_TAGGER))
        snprintf(labels, sizeof labels, ", %zu labels", t->network->config.labels);
    qn_trainer_say(t,
                   "%zu training examples, %zu tokens%s; %.1f M parameters, %.2f M (%.1f %%) trained; %d threads, %s",
                   qn_dataset_count(&j->train), j->train.sequences.tokens, labels, all / 1e6, trained / 1e6,
                   100 * trained / all, qn_backend_threads(t->backend), qn_backend_isa(t->backend));
    if (j->train.split)
        qn_trainer_say(t, "%zu of %zu training texts are longer than %zu tokens and were split into windows",
                       j->train.split, j->train.documents, j->task.encode.max_length);
    if (j->train.truncated)
        qn_trainer_say(t, "%zu training examples are longer than %zu tokens and were cut", j->train.truncated,
                       j->task.encode.max_length);
    if (checkpoint) qn_trainer_say(t, "going on from %s", checkpoint);
}

static qn_status prepare(qn_trainer *t, job *j, qn_tokenizer **tokenizer, char **checkpoint) {
    const qn_training *o = t->options;
    QN_TRY(check(o, j));
    QN_TRY(qn_run_folder(o, checkpoint));
    const char *folder = *checkpoint && !qn_training_adapts(o) ? *checkpoint : o->model;
    const char *words = o->tokenizer ? o->tokenizer : folder;
    if (!o->tokenizer && !qn_is_folder(folder) && !qn_is_gguf(folder))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: a single config.json has no tokenizer (expected --tokenizer)", folder);
    QN_TRY(qn_tokenizer_load(words, tokenizer));
    t->tokenizer = *tokenizer;
    qn_model_config config;
    QN_TRY(qn_model_config_read(folder, &config));
    j->task.tokenizer = *tokenizer;
    j->task.folder = *checkpoint ? *checkpoint : folder;
    j->task.resumes = *checkpoint != NULL;
    j->task.encode = qn_encode_defaults();
    j->task.encode.max_length = length_limit(o, *tokenizer, &config);
    size_t vocabulary = config.encoder.vocabulary;
    qn_model_config_free(&config);
    if (qn_tokenizer_size(*tokenizer) > vocabulary)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: the tokenizer has %zu tokens, the model %zu", words,
                       qn_tokenizer_size(*tokenizer), vocabulary);
    QN_TRY(read_data(o, j));
    QN_TRY(make_network(o, folder, *checkpoint, j, &t->network));
    QN_TRY(qn_backend_create_cpu(o->threads, NULL, &t->backend));
    t->objective = o->validation ? &with_validation : &without_validation;
    t->best_metric = o->best_metric        ? o->best_metric
                     : j->task.best_metric ? j->task.best_metric
                                           : j->task.task->best_metric;
    QN_TRY(plan(o, j, t));
    say_start(t, *checkpoint);
    return keep_frozen(t, j);
}

static qn_status finish_trial(qn_trainer *t, qn_run_result *result) {
    const job *j = t->data;
    const qn_metric *chosen = qn_metric_find(t->metrics, t->metric_count, t->best_metric);
    if (!chosen) return qn_fail(QN_ERROR_ARGUMENT, "a trial was not measured (expected a validation file)");
    *result = (qn_run_result){.value = t->state.best_value,
                              .lower_is_better = chosen->lower_is_better,
                              .passes = t->state.tokens / (double)j->train.sequences.tokens,
                              .steps = t->state.seconds - t->aside};
    snprintf(result->metric, sizeof result->metric, "%s", t->best_metric);
    QN_TRY(qn_trainer_take_final(t)); // settled when it was measured
    QN_TRY(qn_network_save(t->network, t->options->output));
    return qn_tokenizer_save(t->tokenizer, t->options->output);
}

// json or result: NULL.
static qn_status finetune(const qn_training *training, char **json, qn_run_result *result) {
    job j = {0};
    qn_trainer t = {.options = training, .pretraining = false, .data = &j};
    qn_tokenizer *tokenizer = NULL;
    char *checkpoint = NULL;
    if (json) *json = NULL;
    qn_status status = prepare(&t, &j, &tokenizer, &checkpoint);
    if (status == QN_OK) status = qn_trainer_run(&t, checkpoint);
    if (status == QN_OK) status = result ? finish_trial(&t, result) : finish(&t, json);
    qn_trainer_free(&t);
    qn_network_free(t.network);
    qn_backend_destroy(t.backend);
    qn_sampler_free(j.sampler);
    qn_frozen_cache_free(j.cache);
    qn_dataset_free(&j.train);
    qn_dataset_free(&j.validation);
    qn_dataset_free(&j.test);
    qn_job_free(&j.task);
    qn_tokenizer_free(tokenizer);
    free(checkpoint);
    return status;
}

qn_status qn_finetune(const qn_training *training, char **json) {
    return finetune(training, json, NULL);
}

qn_status qn_finetune_trial(const qn_training *training, qn_run_result *result) {
    return finetune(training, NULL, result);
}

qn_training qn_training_defaults(bool pretraining) {
    return (qn_training){
        .task = pretraining ? NULL : "classify",
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
        .activation_cache = 1024,
        .mask_probability = 0.15,
        .pairs = 10,
        .noise = {-1, -1, -1, -1, -1},
        .decoder = {.tied = -1, .beta = 1},
        .embed = {.query_flops = -1,
                  .document_flops = -1,
                  .margin = -1, .normalize = -1, .no_duplicates = -1},
        .log_steps = 10,
        .keep_checkpoints = 2,
    };
}
