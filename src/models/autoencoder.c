// See autoencoder.h. Encoder: inputs -> hidden_sizes -> latent; decoder: latent -> the same backwards -> inputs; the
// activation stands behind each hidden layer.
#include "models/autoencoder.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 64, FULL_NAME_SIZE = NAME_SIZE + 16 };
static const char weights_file[] = "model.safetensors", shift_name[] = "input.shift", scale_name[] = "input.scale";

// --- Construction

static qn_status add_tensor(qn_parameters *set, const char *name, const char *part, size_t out, size_t in, int depth,
                            bool joined, qn_tensor **tensor) {
    char full[FULL_NAME_SIZE];
    snprintf(full, sizeof full, "%s.%s", name, part);
    *tensor = qn_parameters_add(set, full, in ? out : 0, in ? in : out,
                                (qn_parameter_options){QN_INIT_UNIFORM, in > 0, false, depth, joined});
    return *tensor ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status add_layer(qn_parameters *set, const char *name, size_t out, size_t in, int depth, qn_dense *layer) {
    QN_TRY(add_tensor(set, name, "weight", out, in, depth, false, &layer->weight));
    return add_tensor(set, name, "bias", out, 0, depth, false, &layer->bias);
}

static qn_status add_latent(qn_autoencoder_network *n, size_t in, int depth) {
    qn_parameters *set = &n->parameters;
    size_t out = n->config.latent;
    qn_tensor *behind;
    if (!n->config.variational) return add_layer(set, "encoder.latent", out, in, depth, &n->latent);
    QN_TRY(add_tensor(set, "encoder.mean", "weight", out, in, depth, false, &n->latent.weight));
    QN_TRY(add_tensor(set, "encoder.log_variance", "weight", out, in, depth, true, &behind));
    QN_TRY(add_tensor(set, "encoder.mean", "bias", out, 0, depth, false, &n->latent.bias));
    return add_tensor(set, "encoder.log_variance", "bias", out, 0, depth, true, &behind);
}

static qn_status add_layers(qn_autoencoder_network *n) {
    const qn_autoencoder_config *f = &n->config;
    qn_parameters *set = &n->parameters;
    char name[NAME_SIZE];
    int depth = 0;
    size_t width = f->inputs;
    for (size_t i = 0; i < f->layers; i++) {
        snprintf(name, sizeof name, "encoder.layers.%zu", i);
        QN_TRY(add_layer(set, name, f->hidden[i], width, depth++, &n->encoder[i]));
        width = f->hidden[i];
    }
    QN_TRY(add_latent(n, width, depth++));
    width = f->latent;
    for (size_t i = 0; i < f->layers; i++) {
        size_t next = f->hidden[f->layers - 1 - i];
        snprintf(name, sizeof name, "decoder.layers.%zu", i);
        QN_TRY(add_layer(set, name, next, width, depth++, &n->decoder[i]));
        width = next;
    }
    return add_layer(set, "decoder.output", f->inputs, width, depth, &n->output);
}

static void initialize(qn_autoencoder_network *n, uint64_t seed) {
    double bound = 1;
    for (size_t i = 0; i < n->parameters.count; i++) { // a bias has the bound of the weight before it
        qn_parameter *p = n->parameters.items[i];
        if (p->tensor.rank == 2) bound = 1 / sqrt((double)qn_width(&p->tensor));
        qn_parameter_initialize(p, seed, bound);
    }
}

static qn_status make(qn_autoencoder_network *n, bool trainable) {
    const qn_autoencoder_config *f = &n->config;
    if (f->inputs == 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"input_size\" is missing (expected a number of columns)", f->source);
    QN_TRY(add_layers(n));
    QN_TRY(qn_parameters_allocate(&n->parameters));
    if (trainable) QN_TRY(qn_parameters_allocate_training(&n->parameters));
    n->latent_weight = qn_parameters_view(&n->parameters, n->latent.weight, f->variational ? 2 : 1);
    n->latent_bias = qn_parameters_view(&n->parameters, n->latent.bias, f->variational ? 2 : 1);
    n->shift = qn_calloc(f->inputs, sizeof *n->shift);
    n->scale = qn_malloc(f->inputs, sizeof *n->scale);
    if (!n->shift || !n->scale) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < f->inputs; i++) n->scale[i] = 1;
    return QN_OK;
}

qn_status qn_autoencoder_create(qn_autoencoder_config *config, bool trainable, uint64_t seed,
                                qn_autoencoder_network **out) {
    *out = NULL;
    qn_autoencoder_network *n = qn_calloc(1, sizeof *n);
    if (!n) {
        qn_autoencoder_config_free(config);
        return QN_ERROR_MEMORY;
    }
    n->config = *config;
    *config = (qn_autoencoder_config){0};
    qn_status status = make(n, trainable);
    if (status == QN_OK) {
        initialize(n, seed);
        *out = n;
    } else
        qn_autoencoder_network_free(n);
    return status;
}

qn_status qn_autoencoder_load(qn_autoencoder_config *config, const char *folder, bool trainable,
                              qn_autoencoder_network **out) {
    QN_TRY(qn_autoencoder_create(config, trainable, 0, out));
    qn_status status = qn_autoencoder_read_weights(*out, folder);
    if (status == QN_OK) return QN_OK;
    qn_autoencoder_network_free(*out);
    *out = NULL;
    return status;
}

void qn_autoencoder_network_free(qn_autoencoder_network *n) {
    if (!n) return;
    qn_autoencoder_config_free(&n->config);
    qn_parameters_free(&n->parameters);
    free(n->shift);
    free(n->scale);
    free(n);
}

// --- Files

static qn_status write_config(qn_autoencoder_network *n, const char *folder) {
    json_t *json = n->config.json;
    json_object_set_new(json, "input_size", json_integer((json_int_t)n->config.inputs));
    if (n->config.picture[0]) {
        json_t *shape = json_array();
        for (int i = 0; i < 3; i++) json_array_append_new(shape, json_integer((json_int_t)n->config.picture[i]));
        json_object_set_new(json, "input_shape", shape);
    }
    char *path = qn_path_join(folder, "config.json");
    qn_status status = path ? qn_json_save(json, path) : QN_ERROR_MEMORY;
    free(path);
    return status;
}

qn_status qn_autoencoder_save(qn_autoencoder_network *n, const char *folder) {
    size_t count = n->parameters.count;
    QN_TRY(qn_make_folders(folder));
    QN_TRY(write_config(n, folder));
    qn_st_entry *entries = qn_calloc(count + 2, sizeof *entries);
    char *path = qn_path_join(folder, weights_file);
    qn_status status = entries && path ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        const qn_parameter *p = n->parameters.items[i];
        entries[i] =
            (qn_st_entry){.name = p->name, .dtype = QN_ST_F32, .dims = p->tensor.rank, .values = p->tensor.data};
        for (int k = 0; k < p->tensor.rank; k++) entries[i].shape[k] = (int64_t)p->tensor.shape[k];
    }
    for (size_t i = 0; i < 2 && status == QN_OK; i++)
        entries[count + i] = (qn_st_entry){.name = i ? scale_name : shift_name,
                                           .dtype = QN_ST_F32,
                                           .dims = 1,
                                           .shape = {(int64_t)n->config.inputs},
                                           .values = i ? n->scale : n->shift};
    if (status == QN_OK) status = qn_safetensors_write(path, entries, count + 2, NULL);
    free(entries);
    free(path);
    return status;
}

static qn_status read_tensors(qn_autoencoder_network *n, qn_weights *weights) {
    const int64_t inputs[1] = {(int64_t)n->config.inputs};
    for (size_t i = 0; i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        int64_t shape[QN_MAX_RANK];
        for (int k = 0; k < p->tensor.rank; k++) shape[k] = (int64_t)p->tensor.shape[k];
        QN_TRY(qn_weights_read_f32(weights, p->name, p->tensor.rank, shape, p->tensor.data));
    }
    QN_TRY(qn_weights_read_f32(weights, shift_name, 1, inputs, n->shift));
    QN_TRY(qn_weights_read_f32(weights, scale_name, 1, inputs, n->scale));
    for (size_t i = 0; i < n->config.inputs; i++)
        if (!isfinite(n->shift[i]) || !isfinite(n->scale[i]) || n->scale[i] == 0)
            return qn_fail(QN_ERROR_FORMAT, "%s: column %zu is shifted by %g and divided by %g (expected numbers)",
                           qn_weights_path(weights), i, (double)n->shift[i], (double)n->scale[i]);
    return QN_OK;
}

qn_status qn_autoencoder_read_weights(qn_autoencoder_network *n, const char *folder) {
    qn_weights *weights;
    QN_TRY(qn_weights_open(folder, &weights));
    qn_status status = read_tensors(n, weights);
    qn_weights_close(weights);
    return status;
}

// --- Scaling

// One column of the data, or all numbers: its mean and sum of squared differences from that (Welford 1962), and ends.
typedef struct {
    double mean, squares, low, high;
} extent;

static void widen(extent *e, size_t before, double x) {
    double delta = x - e->mean;
    e->mean += delta / (double)(before + 1);
    e->squares += delta * (x - e->mean);
    e->low = before ? fmin(e->low, x) : x;
    e->high = before ? fmax(e->high, x) : x;
}

static void set_scaling(qn_input_scaling scaling, const extent *e, size_t rows, float *shift, float *scale) {
    double variance = e->squares / (double)rows;
    if (scaling == QN_SCALING_NONE) return;
    *shift = (float)(scaling == QN_SCALING_STANDARD ? e->mean : e->low);
    *scale = (float)(scaling == QN_SCALING_STANDARD ? sqrt(variance) : e->high - e->low);
    // What differs by rounding alone is constant, and is left as it is.
    if (*scale <= 1e-6f * fmaxf(1, fabsf(*shift))) *scale = 1;
}

qn_status qn_autoencoder_fit_scaling(qn_autoencoder_network *n, const float *data, size_t rows) {
    size_t d = n->config.inputs;
    extent *columns = qn_calloc(d, sizeof *columns), all;
    if (!columns) return QN_ERROR_MEMORY;
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < d; k++) widen(&columns[k], r, (double)data[r * d + k]);
    all = columns[0];
    for (size_t k = 1; k < d; k++) {
        all.low = fmin(all.low, columns[k].low);
        all.high = fmax(all.high, columns[k].high);
    }
    for (size_t k = 0; k < d && rows; k++)
        set_scaling(n->config.scaling, n->config.scaling == QN_SCALING_RANGE ? &all : &columns[k], rows, &n->shift[k],
                    &n->scale[k]);
    free(columns);
    return QN_OK;
}

void qn_autoencoder_scale(const qn_autoencoder_network *n, const float *from, size_t rows, float *to) {
    size_t d = n->config.inputs;
    bool clip = n->config.binary;
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < d; k++) {
            float x = (from[r * d + k] - n->shift[k]) / n->scale[k];
            to[r * d + k] = clip ? fminf(fmaxf(x, 0), 1) : x;
        }
}

void qn_autoencoder_unscale(const qn_autoencoder_network *n, const float *from, size_t rows, float *to) {
    size_t d = n->config.inputs;
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < d; k++) to[r * d + k] = from[r * d + k] * n->scale[k] + n->shift[k];
}

void qn_autoencoder_outputs(const qn_autoencoder_network *n, const float *from, size_t rows, float *to) {
    if (!n->config.binary) {
        qn_autoencoder_unscale(n, from, rows, to);
        return;
    }
    for (size_t i = 0; i < rows * n->config.inputs; i++) to[i] = 1 / (1 + expf(-from[i]));
    qn_autoencoder_unscale(n, to, rows, to);
}

// --- Forward

qn_tensor *qn_autoencoder_encoder(qn_context *c, qn_autoencoder_network *n, qn_tensor *x) {
    const qn_autoencoder_config *f = &n->config;
    x = qn_drop(c, x, f->input_dropout);
    for (size_t i = 0; i < f->layers; i++)
        x = qn_drop(c, qn_linear(c, x, n->encoder[i].weight, n->encoder[i].bias, f->activation), f->dropout);
    return qn_linear(c, x, &n->latent_weight, &n->latent_bias, QN_ACTIVATION_NONE);
}

qn_tensor *qn_autoencoder_decoder(qn_context *c, qn_autoencoder_network *n, qn_tensor *z) {
    const qn_autoencoder_config *f = &n->config;
    for (size_t i = 0; i < f->layers; i++)
        z = qn_drop(c, qn_linear(c, z, n->decoder[i].weight, n->decoder[i].bias, f->activation), f->dropout);
    return qn_linear(c, z, n->output.weight, n->output.bias, QN_ACTIVATION_NONE);
}

qn_status qn_autoencoder_loss_of(qn_context *c, qn_autoencoder_network *n, const float *numbers, size_t rows,
                                 double beta, qn_autoencoder_loss *out) {
    const qn_autoencoder_config *f = &n->config;
    *out = (qn_autoencoder_loss){0};
    qn_tensor *x = qn_new_matrix(c, rows, f->inputs, false);
    if (!x) return qn_context_status(c);
    memcpy(x->data, numbers, rows * f->inputs * sizeof *numbers);
    qn_tensor *latent = qn_autoencoder_encoder(c, n, x);
    qn_tensor *y = qn_autoencoder_decoder(c, n, f->variational ? qn_reparameterize(c, latent) : latent);
    QN_TRY(f->binary ? qn_binary_cross_entropy(c, y, numbers, &out->error)
                     : qn_mean_squared_error(c, y, numbers, &out->error));
    beta /= (double)f->inputs;
    if (f->variational) QN_TRY(qn_gaussian_divergence(c, latent, (float)beta, &out->divergence));
    out->loss = out->error + beta * out->divergence;
    return QN_OK;
}
