// Using an autoencoder of numbers: latent vectors, reconstructions, samples, and how good it is.
#include "infer/reconstruct.h"
#include "data/numbers.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SEED_OF_MEASURES = 0x6d656173;

struct qn_autoencoder {
    qn_autoencoder_network *network;
    qn_context context;
};

static void restart(qn_context *c) {
    qn_arena_reset(c->arena);
    qn_arena_reset(c->records);
}

static qn_tensor *constant(qn_context *c, const float *values, size_t rows, size_t width) {
    qn_tensor *t = qn_new_matrix(c, rows, width, false);
    if (t) memcpy(t->data, values, rows * width * sizeof *values);
    return t;
}

// Latent vectors, of the variational kind the means.
static qn_tensor *encode(qn_context *c, qn_autoencoder_network *n, const float *numbers, size_t rows) {
    qn_tensor *latent = qn_autoencoder_encoder(c, n, constant(c, numbers, rows, n->config.inputs));
    return n->config.variational ? qn_columns(c, latent, 0, n->config.latent) : latent;
}

// In pieces: `numbers`, or else `latent`, is what there is.
static qn_status run(qn_context *c, qn_autoencoder_network *n, const float *numbers, const float *given, size_t rows,
                     float *latent, float *outputs) {
    size_t d = n->config.inputs, width = n->config.latent;
    for (size_t at = 0; at < rows; at += QN_RECONSTRUCT_ROWS) {
        size_t count = rows - at < QN_RECONSTRUCT_ROWS ? rows - at : QN_RECONSTRUCT_ROWS;
        restart(c);
        qn_tensor *z = numbers ? encode(c, n, numbers + at * d, count) : constant(c, given + at * width, count, width);
        qn_tensor *y = outputs ? qn_autoencoder_decoder(c, n, z) : z;
        if (!y) return qn_context_status(c);
        if (latent) memcpy(latent + at * width, z->data, count * width * sizeof *latent);
        if (outputs) qn_autoencoder_outputs(n, y->data, count, outputs + at * d);
    }
    return qn_context_status(c);
}

qn_status qn_autoencoder_run(qn_context *c, qn_autoencoder_network *n, const float *numbers, size_t rows, float *latent,
                             float *outputs) {
    return run(c, n, numbers, NULL, rows, latent, outputs);
}

qn_status qn_autoencoder_run_decoder(qn_context *c, qn_autoencoder_network *n, const float *latent, size_t rows,
                                     float *outputs) {
    return run(c, n, NULL, latent, rows, NULL, outputs);
}

// --- Measuring

typedef struct {
    qn_autoencoder_loss loss; // sums over rows
    double squares;           // of what the reconstructions of the means miss
    double *mean, *spread;    // [inputs] of the numbers: their mean, and the sum of squared differences from it
} sums;

static qn_status add_piece(qn_context *c, qn_autoencoder_network *n, const float *numbers, size_t first, size_t count,
                           sums *s) {
    size_t d = n->config.inputs;
    qn_autoencoder_loss loss;
    restart(c);
    c->seed = SEED_OF_MEASURES;
    c->stream = first;
    QN_TRY(qn_autoencoder_loss_of(c, n, numbers, count, n->config.beta, &loss));
    s->loss.loss += loss.loss * (double)count;
    s->loss.error += loss.error * (double)count;
    s->loss.divergence += loss.divergence * (double)count;
    restart(c);
    qn_tensor *y = qn_autoencoder_decoder(c, n, encode(c, n, numbers, count));
    if (!y) return qn_context_status(c);
    for (size_t i = 0; i < count * d; i++) {
        double out = n->config.binary ? 1 / (1 + exp(-(double)y->data[i])) : (double)y->data[i], x = numbers[i];
        double *mean = &s->mean[i % d], delta = x - *mean;
        s->squares += (out - x) * (out - x);
        *mean += delta / (double)(first + i / d + 1);
        s->spread[i % d] += delta * (x - *mean);
    }
    return qn_context_status(c);
}

static void put_metrics(const qn_autoencoder_network *n, size_t rows, const sums *s, qn_metric *metrics,
                        size_t *count) {
    double spread = 0;
    for (size_t k = 0; k < n->config.inputs; k++) spread += s->spread[k];
    *count = 0;
    metrics[(*count)++] = (qn_metric){"loss", s->loss.loss / (double)rows, true};
    if (n->config.binary) metrics[(*count)++] = (qn_metric){"bce", s->loss.error / (double)rows, true};
    if (n->config.variational) metrics[(*count)++] = (qn_metric){"kl", s->loss.divergence / (double)rows, true};
    metrics[(*count)++] = (qn_metric){"mse", s->squares / ((double)rows * (double)n->config.inputs), true};
    metrics[(*count)++] = (qn_metric){"r2", spread > 0 ? 1 - s->squares / spread : NAN, false};
}

qn_status qn_autoencoder_measure(qn_context *c, qn_autoencoder_network *n, const float *numbers, size_t rows,
                                 qn_metric metrics[QN_METRICS_MAX], size_t *count) {
    size_t d = n->config.inputs;
    sums s = {.mean = qn_calloc(2 * d, sizeof *s.mean)};
    if (!s.mean) return QN_ERROR_MEMORY;
    s.spread = s.mean + d;
    qn_status status = QN_OK;
    for (size_t at = 0; at < rows && status == QN_OK; at += QN_RECONSTRUCT_ROWS) {
        size_t piece = rows - at < QN_RECONSTRUCT_ROWS ? rows - at : QN_RECONSTRUCT_ROWS;
        status = add_piece(c, n, numbers + at * d, at, piece, &s);
    }
    put_metrics(n, rows, &s, metrics, count);
    free(s.mean);
    return status;
}

// --- The public functions

static qn_status open_parts(qn_autoencoder *m, const char *folder, int threads) {
    qn_autoencoder_config config;
    QN_TRY(qn_autoencoder_config_read(folder, &config));
    QN_TRY(qn_autoencoder_load(&config, folder, false, &m->network));
    QN_TRY(qn_backend_create_cpu(threads, NULL, &m->context.backend));
    m->context.loss_scale = 1;
    m->context.arena = qn_arena_create(1 << 16);
    m->context.records = qn_arena_create(1 << 14);
    return m->context.arena && m->context.records ? QN_OK : QN_ERROR_MEMORY;
}

qn_status qn_autoencoder_open(const char *folder, int threads, qn_autoencoder **out) {
    *out = NULL;
    qn_autoencoder *m = qn_calloc(1, sizeof *m);
    if (!m) return QN_ERROR_MEMORY;
    qn_status status = open_parts(m, folder, threads);
    if (status == QN_OK)
        *out = m;
    else
        qn_autoencoder_close(m);
    return status;
}

void qn_autoencoder_close(qn_autoencoder *m) {
    if (!m) return;
    qn_autoencoder_network_free(m->network);
    qn_arena_destroy(m->context.arena);
    qn_arena_destroy(m->context.records);
    qn_backend_destroy(m->context.backend);
    free(m);
}

size_t qn_autoencoder_columns(const qn_autoencoder *m) {
    return m->network->config.inputs;
}

size_t qn_autoencoder_latent_width(const qn_autoencoder *m) {
    return m->network->config.latent;
}

bool qn_autoencoder_is_variational(const qn_autoencoder *m) {
    return m->network->config.variational;
}

void qn_autoencoder_picture(const qn_autoencoder *m, size_t picture[3]) {
    memcpy(picture, m->network->config.picture, sizeof m->network->config.picture);
}

// A failed call leaves nothing behind for the next one.
static qn_status finish(qn_autoencoder *m, qn_status status) {
    m->context.status = m->context.backend->status = QN_OK;
    return status;
}

static qn_status run_scaled(qn_autoencoder *m, const float *numbers, size_t rows, float *latent, float *outputs) {
    size_t d = m->network->config.inputs;
    float *scaled = qn_malloc(QN_RECONSTRUCT_ROWS * d, sizeof *scaled);
    qn_status status = scaled ? QN_OK : QN_ERROR_MEMORY;
    for (size_t at = 0; at < rows && status == QN_OK; at += QN_RECONSTRUCT_ROWS) {
        size_t count = rows - at < QN_RECONSTRUCT_ROWS ? rows - at : QN_RECONSTRUCT_ROWS;
        qn_autoencoder_scale(m->network, numbers + at * d, count, scaled);
        status = run(&m->context, m->network, scaled, NULL, count,
                     latent ? latent + at * m->network->config.latent : NULL, outputs ? outputs + at * d : NULL);
    }
    free(scaled);
    return finish(m, status);
}

qn_status qn_autoencoder_encode(qn_autoencoder *m, const float *numbers, size_t rows, float *latent) {
    return run_scaled(m, numbers, rows, latent, NULL);
}

qn_status qn_autoencoder_decode(qn_autoencoder *m, const float *latent, size_t rows, float *numbers) {
    return finish(m, run(&m->context, m->network, NULL, latent, rows, NULL, numbers));
}

qn_status qn_autoencoder_reconstruct(qn_autoencoder *m, const float *numbers, size_t rows, float *outputs) {
    return run_scaled(m, numbers, rows, NULL, outputs);
}

qn_status qn_autoencoder_sample(qn_autoencoder *m, uint64_t seed, size_t rows, float *numbers) {
    size_t width = m->network->config.latent;
    if (!m->network->config.variational)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: samples are of a variational autoencoder (\"variational\" is false)",
                       m->network->config.source);
    float *latent = qn_malloc(rows * width, sizeof *latent);
    if (!latent) return QN_ERROR_MEMORY;
    for (size_t r = 0; r < rows; r++) qn_random_normal(seed, r, 1, latent + r * width, width);
    qn_status status = qn_autoencoder_decode(m, latent, rows, numbers);
    free(latent);
    return status;
}

qn_status qn_autoencoder_evaluate(qn_autoencoder *m, const char *path, const qn_data_options *data, char **json) {
    *json = NULL;
    qn_numbers *numbers;
    qn_metric metrics[QN_METRICS_MAX];
    size_t count = 0;
    QN_TRY(qn_numbers_read(&path, 1, data, &numbers));
    qn_status status = QN_OK;
    if (numbers->columns != m->network->config.inputs)
        status = qn_fail(QN_ERROR_FORMAT, "%s: rows of %zu numbers (expected %zu, as the model reads)", path,
                         numbers->columns, m->network->config.inputs);
    if (status == QN_OK) {
        qn_autoencoder_scale(m->network, numbers->values, numbers->rows, numbers->values);
        status = qn_autoencoder_measure(&m->context, m->network, numbers->values, numbers->rows, metrics, &count);
        status = finish(m, status);
    }
    qn_buffer text = {0};
    qn_buffer_printf(&text, "{\"rows\": %zu", numbers->rows);
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(&text, ", \"%s\": ", metrics[i].name);
        qn_buffer_json_number(&text, metrics[i].value, 9);
    }
    qn_buffer_text(&text, "}");
    if (status == QN_OK) status = qn_buffer_status(&text);
    qn_numbers_free(numbers);
    if (status != QN_OK) {
        qn_buffer_free(&text);
        return status;
    }
    *json = text.data;
    return QN_OK;
}

qn_status qn_autoencoder_describe(const qn_autoencoder *m, char **json) {
    const qn_autoencoder_network *n = m->network;
    const qn_autoencoder_config *f = &n->config;
    qn_buffer text = {0};
    *json = NULL;
    json_t *all = json_copy(f->json);
    if (!all) return QN_ERROR_MEMORY;
    json_object_set_new(all, "parameters", json_integer((json_int_t)qn_parameters_total(&n->parameters)));
    json_object_set_new(all, "threads", json_integer(qn_backend_threads(m->context.backend)));
    json_object_set_new(all, "isa", json_string(qn_backend_isa(m->context.backend)));
    qn_json_write(all, &text);
    json_decref(all);
    *json = text.data;
    return qn_buffer_status(&text);
}
