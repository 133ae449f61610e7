// Autoencoders of numbers as an objective: rows in, their loss, measures of the validation data, and what the report
// shows of them.
#include "train/autoencode.h"
#include "base/file.h"
#include "data/loader.h"
#include "data/numbers.h"
#include "infer/reconstruct.h"
#include "train/autoencoding.h"
#include "train/run_files.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_ROWS = 128 }; // of a batch

typedef struct {
    qn_autoencoder_network *network;
    qn_numbers *train, *validation, *test; // scaled, once the network is there
    qn_dataset dataset;
    qn_sampler *sampler;
    qn_loader loader;
} job;

// The divergence counts little at first, so that the decoder learns to use the latent vector (Bowman et al. 2016).
static double beta_now(const qn_autoencoder_config *f, int64_t step) {
    return f->beta_warmup > 0 ? f->beta * fmin(1, (double)(step + 1) / (double)f->beta_warmup) : f->beta;
}

static qn_status loss(qn_trainer *t, qn_context *c, const qn_batch *batch, double *value) {
    const job *j = t->data;
    qn_autoencoder_loss parts;
    double beta = beta_now(&j->network->config, t->state.step);
    QN_TRY(qn_autoencoder_loss_of(c, j->network, batch->numbers, batch->sequences, beta, &parts));
    *value = parts.loss;
    return QN_OK;
}

static qn_status measure(qn_trainer *t, const qn_numbers *numbers, qn_metric *metrics, size_t *count) {
    qn_context c = qn_trainer_inference(t);
    return qn_autoencoder_measure(&c, ((job *)t->data)->network, numbers->values, numbers->rows, metrics, count);
}

static qn_status evaluate(qn_trainer *t, qn_metric metrics[QN_METRICS_MAX], size_t *count) {
    return measure(t, ((job *)t->data)->validation, metrics, count);
}

static qn_status seek(qn_trainer *t, const qn_data_position *position) {
    return qn_loader_seek(&((job *)t->data)->loader, position);
}

static qn_status save(qn_trainer *t, const char *folder) {
    return qn_autoencoder_save(((job *)t->data)->network, folder);
}

static qn_status read_weights(qn_trainer *t, const char *folder) {
    return qn_autoencoder_read_weights(((job *)t->data)->network, folder);
}

static const qn_objective with_validation = {loss, evaluate, seek, save, read_weights},
                          without_validation = {loss, NULL, seek, save, read_weights};

// --- Preparation

// Options that have no meaning here are errors, not surprises.
static qn_status check(const qn_training *o) {
    const struct {
        bool set;
        const char *name;
    } meaningless[] = {{o->tokenizer != NULL, "a tokenizer"},
                       {o->lora_rank > 0 || o->adapter, "adapters"},
                       {o->whole_word || o->next_sentence, "words and sentences"},
                       {o->freeze_layers >= 0, "frozen layers"},
                       {o->max_length > 0 && o->max_length != qn_training_defaults(true).max_length, "a length"},
                       {o->group_by_length, "groups by length"}};
    QN_TRY(qn_training_check(o));
    if (o->task && strcmp(o->task, "autoencode"))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: objective %s (expected autoencode for this autoencoder)", o->model,
                       o->task);
    for (size_t i = 0; i < sizeof meaningless / sizeof *meaningless; i++)
        if (meaningless[i].set)
            return qn_fail(QN_ERROR_ARGUMENT, "%s: an autoencoder of numbers has no use for %s", o->model,
                           meaningless[i].name);
    return QN_OK;
}

static qn_status read_data(const qn_training *o, job *j) {
    QN_TRY(qn_numbers_read(o->train, o->train_count, &o->data, &j->train));
    if (o->validation) QN_TRY(qn_numbers_read(&o->validation, 1, &o->data, &j->validation));
    if (o->test) QN_TRY(qn_numbers_read(&o->test, 1, &o->data, &j->test));
    const qn_numbers *others[] = {j->validation, j->test};
    for (int i = 0; i < 2; i++)
        if (others[i] && others[i]->columns != j->train->columns)
            return qn_fail(QN_ERROR_FORMAT, "%s: rows of %zu numbers (expected %zu, as in the training data)",
                           i ? o->test : o->validation, others[i]->columns, j->train->columns);
    return QN_OK;
}

// What the configuration leaves to the data, and whether both agree.
static qn_status fit_config(const qn_numbers *data, const char *path, qn_autoencoder_config *config) {
    if (config->inputs && config->inputs != data->columns)
        return qn_fail(QN_ERROR_FORMAT, "%s: rows of %zu numbers (expected %zu, as %s says)", path, data->columns,
                       config->inputs, config->source);
    config->inputs = data->columns;
    if (!config->picture[0]) memcpy(config->picture, data->picture, sizeof config->picture);
    return QN_OK;
}

// Unscaled cross-entropy is of numbers that are probabilities.
static qn_status check_range(const qn_autoencoder_config *f, const qn_numbers *n, const char *path) {
    for (size_t i = 0; f->binary && f->scaling == QN_SCALING_NONE && i < n->rows * n->columns; i++)
        if (n->values[i] < 0 || n->values[i] > 1)
            return qn_fail(QN_ERROR_FORMAT,
                           "%s: row %zu, column %zu is %g (expected 0 to 1 for \"reconstruction_loss\" bce, or "
                           "\"input_scaling\" minmax or range)",
                           path, i / n->columns + 1, i % n->columns + 1, (double)n->values[i]);
    return QN_OK;
}

static bool has_weights(const char *path) {
    char *weights = qn_path_join(path, "model.safetensors");
    bool has = weights && qn_is_file(weights);
    free(weights);
    return has;
}

// From scratch the scaling is the training data's; a model that goes on keeps its own.
static qn_status make_network(const qn_training *o, const char *from, job *j) {
    qn_autoencoder_config config;
    QN_TRY(qn_autoencoder_config_read(from, &config));
    qn_status status = fit_config(j->train, o->train[0], &config);
    if (status == QN_OK) status = check_range(&config, j->train, o->train[0]);
    if (status != QN_OK) {
        qn_autoencoder_config_free(&config);
        return status;
    }
    if (o->dropout >= 0) {
        config.dropout = (float)o->dropout;
        json_object_set_new(config.json, "dropout", json_real(o->dropout));
    }
    if (has_weights(from)) {
        QN_TRY(qn_autoencoder_load(&config, from, true, &j->network));
    } else {
        QN_TRY(qn_autoencoder_create(&config, true, o->seed, &j->network));
        QN_TRY(qn_autoencoder_fit_scaling(j->network, j->train->values, j->train->rows));
    }
    qn_numbers *all[] = {j->train, j->validation, j->test};
    for (int i = 0; i < 3; i++)
        if (all[i]) qn_autoencoder_scale(j->network, all[i]->values, all[i]->rows, all[i]->values);
    return QN_OK;
}

static qn_status plan(const qn_training *o, job *j, qn_trainer *t) {
    qn_sampler_options s = {
        .order = QN_ORDER_SHUFFLED, .batch_size = o->batch_size ? o->batch_size : DEFAULT_ROWS, .seed = o->seed};
    QN_TRY(qn_dataset_of_numbers(j->train, j->train->values, o->train[0], &j->dataset));
    QN_TRY(qn_sampler_create(&j->dataset.sequences, &s, &j->sampler));
    double epochs = o->max_steps > 0 || o->epochs <= 0 ? 1e9 : o->epochs;
    t->total_steps = o->max_steps;
    uint64_t batches = qn_sampler_batches(j->sampler);
    if (o->max_steps <= 0 && o->epochs > 0)
        t->total_steps = qn_training_steps(o, (uint64_t)floor(epochs) * batches, (uint64_t)ceil(epochs) * batches);
    j->loader = (qn_loader){.dataset = &j->dataset, .sampler = j->sampler, .epochs = (uint64_t)ceil(epochs)};
    t->source = qn_loader_source(&j->loader);
    return QN_OK;
}

static qn_status prepare(qn_trainer *t, job *j, char **checkpoint) {
    const qn_training *o = t->options;
    QN_TRY(check(o));
    QN_TRY(qn_run_folder(o, checkpoint));
    QN_TRY(read_data(o, j));
    QN_TRY(make_network(o, *checkpoint ? *checkpoint : o->model, j));
    QN_TRY(qn_backend_create_cpu(o->threads, NULL, &t->backend));
    t->parameters = &j->network->parameters;
    t->unit = "rows";
    t->objective = o->validation ? &with_validation : &without_validation;
    t->best_metric = o->best_metric ? o->best_metric : "loss";
    QN_TRY(plan(o, j, t));
    qn_trainer_say(t, "%zu rows of %zu numbers; latent vectors of %zu, %.2f M parameters; %d threads, %s",
                   j->train->rows, j->train->columns, j->network->config.latent,
                   (double)qn_parameters_total(t->parameters) / 1e6, qn_backend_threads(t->backend),
                   qn_backend_isa(t->backend));
    if (*checkpoint) qn_trainer_say(t, "going on from %s", *checkpoint);
    return QN_OK;
}

// --- The end

static void put_json(const qn_trainer *t, const qn_metric *metrics, size_t count, qn_buffer *out) {
    qn_buffer_printf(out, "{\"steps\": %lld, \"train_loss\": ", (long long)t->state.step);
    qn_buffer_json_number(out, t->state.last_loss, 9);
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(out, ", \"eval_%s\": ", metrics[i].name);
        qn_buffer_json_number(out, metrics[i].value, 9);
    }
    qn_buffer_text(out, "}");
}

// What is shown is of the test data, or of the best there is.
static qn_status report(qn_trainer *t, const qn_outcome *outcome, const qn_numbers *shown, const char *name) {
    job *j = t->data;
    char data[512], measured[512];
    qn_autoencoding pictures = {0};
    qn_context c = qn_trainer_inference(t);
    snprintf(data, sizeof data, "%.400s, %zu rows of %zu numbers", t->options->train[0], j->train->rows,
             j->train->columns);
    snprintf(measured, sizeof measured, "%.400s, %zu rows", name, shown->rows);
    qn_status status = qn_autoencoding_make(&c, j->network, shown, &pictures);
    t->autoencoding = &pictures;
    if (status == QN_OK)
        status = qn_run_report(t, j->network->config.variational ? "Variational autoencoder" : "Autoencoder", data,
                               measured, outcome->metric_count ? outcome : NULL, NULL);
    t->autoencoding = NULL;
    qn_autoencoding_free(&pictures);
    return status;
}

static qn_status finish(qn_trainer *t, char **json) {
    job *j = t->data;
    const qn_training *o = t->options;
    const qn_numbers *measured = o->test ? j->test : j->validation;
    qn_outcome outcome = {0};
    QN_TRY(qn_trainer_take_final(t));
    if (measured) QN_TRY(measure(t, measured, outcome.metrics, &outcome.metric_count));
    QN_TRY(qn_autoencoder_save(j->network, o->output));
    QN_TRY(report(t, &outcome, measured ? measured : j->train,
                  o->test         ? o->test
                  : o->validation ? o->validation
                                  : o->train[0]));
    if (!json) return QN_OK;
    qn_buffer text = {0};
    put_json(t, outcome.metrics, outcome.metric_count, &text);
    *json = text.data;
    return qn_buffer_status(&text);
}

qn_status qn_train_autoencoder(const qn_training *training, char **json) {
    job j = {0};
    qn_trainer t = {.options = training, .pretraining = true, .data = &j};
    char *checkpoint = NULL;
    if (json) *json = NULL;
    qn_status status = prepare(&t, &j, &checkpoint);
    if (status == QN_OK) status = qn_trainer_run(&t, checkpoint);
    if (status == QN_OK) status = finish(&t, json);
    qn_trainer_free(&t);
    qn_autoencoder_network_free(j.network);
    qn_backend_destroy(t.backend);
    qn_sampler_free(j.sampler);
    qn_dataset_free(&j.dataset);
    qn_numbers_free(j.train);
    qn_numbers_free(j.validation);
    qn_numbers_free(j.test);
    free(checkpoint);
    return status;
}
