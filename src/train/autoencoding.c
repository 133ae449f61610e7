// See autoencoding.h.
#include "train/autoencoding.h"
#include "base/rng.h"
#include "infer/reconstruct.h"
#include "metrics/projection.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void qn_autoencoding_free(qn_autoencoding *a) {
    free(a->inputs);
    free(a->outputs);
    free(a->steps);
    free(a->samples);
    free(a->x);
    free(a->y);
    free(a->classes);
    *a = (qn_autoencoding){0};
}

// Rows 0 .. count - 1 stand for rows of the data that are evenly apart.
static size_t spread(size_t i, size_t count, size_t rows) {
    return i * rows / count;
}

static qn_status make_pairs(qn_context *c, qn_autoencoder_network *n, const qn_numbers *numbers, qn_autoencoding *a) {
    size_t d = numbers->columns, most = QN_SHOWN_LINES * QN_SHOWN_ACROSS;
    a->pairs = numbers->rows < most ? numbers->rows : most;
    a->inputs = qn_malloc(a->pairs * d, sizeof *a->inputs);
    a->outputs = qn_malloc(a->pairs * d, sizeof *a->outputs);
    if (!a->inputs || !a->outputs) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < a->pairs; i++)
        memcpy(a->inputs + i * d, numbers->values + spread(i, a->pairs, numbers->rows) * d, d * sizeof *a->inputs);
    QN_TRY(qn_autoencoder_run(c, n, a->inputs, a->pairs, NULL, a->outputs));
    qn_autoencoder_unscale(n, a->inputs, a->pairs, a->inputs);
    a->low = a->high = a->inputs[0];
    for (size_t i = 0; i < a->pairs * d; i++) {
        a->low = fminf(a->low, a->inputs[i]);
        a->high = fmaxf(a->high, a->inputs[i]);
    }
    return QN_OK;
}

// A row and the next one of another class, or simply another one.
static size_t partner(const qn_numbers *numbers, size_t row) {
    for (size_t step = 1; step < numbers->rows; step++) {
        size_t other = (row + step) % numbers->rows;
        if (numbers->classes[other] != numbers->classes[row]) return other;
    }
    return (row + numbers->rows / 2) % numbers->rows;
}

static qn_status make_ways(qn_context *c, qn_autoencoder_network *n, const qn_numbers *numbers, const float *latent,
                           qn_autoencoding *a) {
    size_t width = n->config.latent, count = QN_SHOWN_WAYS * QN_SHOWN_ACROSS;
    if (numbers->rows < 2) return QN_OK;
    float *between = qn_malloc(count * width, sizeof *between), *at = between;
    a->ways = QN_SHOWN_WAYS;
    a->steps = qn_malloc(count * numbers->columns, sizeof *a->steps);
    qn_status status = between && a->steps ? QN_OK : QN_ERROR_MEMORY;
    for (size_t way = 0; way < a->ways && status == QN_OK; way++) {
        size_t from = spread(way, a->ways, numbers->rows), to = partner(numbers, from);
        for (size_t step = 0; step < QN_SHOWN_ACROSS; step++, at += width) {
            float share = (float)step / (QN_SHOWN_ACROSS - 1);
            for (size_t k = 0; k < width; k++)
                at[k] = (1 - share) * latent[from * width + k] + share * latent[to * width + k];
        }
    }
    if (status == QN_OK) status = qn_autoencoder_run_decoder(c, n, between, count, a->steps);
    free(between);
    return status;
}

static qn_status make_samples(qn_context *c, qn_autoencoder_network *n, qn_autoencoding *a) {
    size_t width = n->config.latent;
    if (!n->config.variational) return QN_OK;
    float *latent = qn_malloc(QN_SHOWN_SAMPLES * width, sizeof *latent);
    a->samples = qn_malloc(QN_SHOWN_SAMPLES * a->columns, sizeof *a->samples);
    qn_status status = latent && a->samples ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        qn_random_normal(0, 0, 1, latent, QN_SHOWN_SAMPLES * width);
        status = qn_autoencoder_run_decoder(c, n, latent, QN_SHOWN_SAMPLES, a->samples);
    }
    free(latent);
    return status;
}

static qn_status make_points(const qn_numbers *numbers, const float *latent, qn_autoencoding *a) {
    size_t width = a->latent, rows = numbers->rows;
    a->points = rows < QN_SHOWN_POINTS ? rows : QN_SHOWN_POINTS;
    a->x = qn_malloc(a->points, sizeof *a->x);
    a->y = qn_malloc(a->points, sizeof *a->y);
    a->classes = qn_malloc(a->points, sizeof *a->classes);
    float *plane = width > 2 ? qn_malloc(2 * rows, sizeof *plane) : NULL;
    qn_status status = a->x && a->y && a->classes && (plane || width <= 2) ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK && plane) status = qn_principal_plane(latent, rows, width, plane, a->share);
    for (size_t i = 0; i < a->points && status == QN_OK; i++) {
        size_t row = spread(i, a->points, rows);
        const float *at = plane ? plane + 2 * row : latent + row * width;
        a->x[i] = at[0];
        a->y[i] = width > 1 ? at[1] : 0;
        a->classes[i] = numbers->classes[row];
    }
    free(plane);
    return status;
}

static void set_shape(const qn_autoencoder_config *f, qn_autoencoding *a) {
    const size_t strip[3] = {1, f->inputs, 1};
    memcpy(a->picture, f->picture[0] && f->picture[2] != 2 ? f->picture : strip, sizeof a->picture);
    a->columns = f->inputs;
    a->latent = f->latent;
    a->layers = f->layers;
}

qn_status qn_autoencoding_make(qn_context *c, qn_autoencoder_network *n, const qn_numbers *numbers,
                               qn_autoencoding *out) {
    *out = (qn_autoencoding){.names = (const char *const *)numbers->names.names, .name_count = numbers->names.count};
    set_shape(&n->config, out);
    float *latent = qn_malloc(numbers->rows * n->config.latent, sizeof *latent);
    qn_status status = latent ? make_pairs(c, n, numbers, out) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_autoencoder_run(c, n, numbers->values, numbers->rows, latent, NULL);
    if (status == QN_OK) status = make_ways(c, n, numbers, latent, out);
    if (status == QN_OK) status = make_samples(c, n, out);
    if (status == QN_OK) status = make_points(numbers, latent, out);
    free(latent);
    return status;
}
