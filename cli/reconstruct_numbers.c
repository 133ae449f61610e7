// quern reconstruct of rows of numbers.
#include "cli/reconstruct.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ACROSS = 20 }; // pictures in a line

// What is written: rows, and where there are any the inputs that they are made of.
typedef struct {
    float *rows;               // [count, width]
    const float *inputs;       // [count, width] or NULL
    const qn_numbers *numbers; // of the inputs, for labels; or NULL
    size_t count, width, picture[3];
    const char *name; // of a row in JSON
} result;

// ---- Writing

static double error_of(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum / (double)n;
}

static void put_json(const result *r, output *out) {
    for (size_t i = 0; i < r->count && !output_broken(out); i++) {
        const float *row = r->rows + i * r->width;
        const char *label = r->numbers ? qn_numbers_label_of(r->numbers, i) : NULL;
        output_text(out, "{");
        if (r->inputs) {
            output_text(out, "\"input\": ");
            output_vector(out, r->inputs + i * r->width, r->width);
            output_text(out, ", ");
        }
        output_printf(out, "\"%s\": ", r->name);
        output_vector(out, row, r->width);
        if (r->inputs) {
            output_text(out, ", \"error\": ");
            output_number(out, error_of(r->inputs + i * r->width, row, r->width));
        }
        if (label) {
            output_text(out, ", \"label\": ");
            output_quoted(out, label, strlen(label));
        }
        output_text(out, "}\n");
    }
}

// A header of the columns' numbers, as pandas writes it.
static void put_csv(const result *r, output *out) {
    for (size_t k = 0; k < r->width; k++) output_printf(out, "%s%zu", k ? "," : "", k);
    output_text(out, "\n");
    for (size_t i = 0; i < r->count && !output_broken(out); i++) {
        for (size_t k = 0; k < r->width; k++) {
            if (k) output_text(out, ",");
            output_number(out, (double)r->rows[i * r->width + k]);
        }
        output_text(out, "\n");
    }
}

static int write_npy(const result *r, const char *path) {
    qn_npy_writer *writer;
    if (qn_npy_writer_open(path, r->width, &writer) != QN_OK) return failed();
    if (qn_npy_writer_rows(writer, r->rows, r->count) == QN_OK)
        return qn_npy_writer_commit(writer) == QN_OK ? 0 : failed();
    int status = failed();
    qn_npy_writer_abort(writer);
    return status;
}

// Lines of inputs, and under each the line of outputs.
static int write_pictures(const result *r, size_t across, const char *path) {
    const size_t *p = r->picture;
    if (!p[0]) return fail("%s: rows are no pictures (expected \"input_shape\" in the model's config.json)", path);
    size_t lines = (r->count + across - 1) / across, all = (r->inputs ? 2 * lines : lines) * across;
    float *values = calloc(all * r->width + 1, sizeof *values), low = INFINITY, high = -INFINITY;
    if (!values) return fail("out of memory");
    const float *range = r->inputs ? r->inputs : r->rows;
    for (size_t i = 0; i < r->count * r->width; i++) {
        low = fminf(low, range[i]);
        high = fmaxf(high, range[i]);
    }
    for (size_t i = 0; i < all * r->width; i++) values[i] = low; // the end of the last line is black
    for (size_t i = 0; i < r->count; i++) {
        size_t line = i / across, column = i % across, size = r->width * sizeof *values;
        if (r->inputs) memcpy(values + (2 * line * across + column) * r->width, r->inputs + i * r->width, size);
        line = r->inputs ? 2 * line + 1 : line;
        memcpy(values + (line * across + column) * r->width, r->rows + i * r->width, size);
    }
    qn_picture_sheet sheet = {values, all, across, p[0], p[1], p[2], low, high, 0};
    int status = qn_pictures_write(path, &sheet) == QN_OK ? 0 : failed();
    free(values);
    return status;
}

static int write_result(const reconstruct_settings *s, const result *r) {
    const char *path = s->use.output, *dot = path ? strrchr(path, '.') : NULL;
    size_t across = s->interpolate ? s->steps : r->count < ACROSS ? r->count : ACROSS;
    if (dot && !strcasecmp(dot, ".npy")) return write_npy(r, path);
    if (dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".pgm") || !strcasecmp(dot, ".ppm")))
        return write_pictures(r, across, path);
    output out;
    int status = output_open(&out, path);
    if (status) return status;
    (dot && !strcasecmp(dot, ".csv") ? put_csv : put_json)(r, &out);
    return output_close(&out, 0);
}

// ---- What is asked for

static int make_samples(const reconstruct_settings *s, qn_autoencoder *model, result *r) {
    r->count = s->samples;
    r->rows = malloc(r->count * r->width * sizeof *r->rows);
    if (!r->rows) return fail("out of memory");
    return qn_autoencoder_sample(model, s->seed, r->count, r->rows) == QN_OK ? 0 : failed();
}

// The number of a row, counted from 1; 0 where the argument is none.
static size_t row_number(const char *text, size_t rows) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && number <= rows ? (size_t)number : 0;
}

static int interpolate(const reconstruct_settings *s, qn_autoencoder *model, result *r) {
    size_t n = qn_autoencoder_latent_width(model), end[2];
    for (size_t i = 0; i < 2; i++) {
        end[i] = row_number(s->use.texts.items[i], r->count);
        if (!end[i]) return fail("row \"%s\" is not in the file (expected 1 to %zu)", s->use.texts.items[i], r->count);
    }
    float *ends = malloc(2 * n * sizeof *ends), *latent = malloc(s->steps * n * sizeof *latent);
    r->rows = malloc(s->steps * r->width * sizeof *r->rows);
    qn_status status = QN_OK;
    int exit_status = ends && latent && r->rows ? 0 : fail("out of memory");
    for (size_t i = 0; i < 2 && !exit_status && status == QN_OK; i++)
        status = qn_autoencoder_encode(model, r->inputs + (end[i] - 1) * r->width, 1, ends + i * n);
    for (size_t step = 0; step < s->steps && !exit_status && status == QN_OK; step++)
        for (size_t k = 0; k < n; k++) {
            float share = (float)step / (float)(s->steps - 1);
            latent[step * n + k] = (1 - share) * ends[k] + share * ends[n + k];
        }
    if (!exit_status && status == QN_OK) status = qn_autoencoder_decode(model, latent, s->steps, r->rows);
    if (status != QN_OK) exit_status = failed();
    r->count = s->steps;
    r->inputs = NULL;
    r->numbers = NULL;
    free(ends);
    free(latent);
    return exit_status;
}

static int reconstruct(const reconstruct_settings *s, qn_autoencoder *model, result *r) {
    size_t width = s->latent ? qn_autoencoder_latent_width(model) : r->width;
    r->rows = malloc(r->count * width * sizeof *r->rows);
    if (!r->rows) return fail("out of memory");
    qn_status status =
        (s->latent ? qn_autoencoder_encode : qn_autoencoder_reconstruct)(model, r->inputs, r->count, r->rows);
    if (!s->latent) return status == QN_OK ? 0 : failed();
    r->inputs = NULL;
    r->width = width;
    r->name = "latent";
    memset(r->picture, 0, sizeof r->picture);
    return status == QN_OK ? 0 : failed();
}

static int read_input(const reconstruct_settings *s, qn_autoencoder *model, qn_numbers **numbers, result *r) {
    const char *path = s->use.input ? s->use.input : "-";
    if (qn_numbers_read(&path, 1, &s->use.data, numbers) != QN_OK) return failed();
    r->numbers = *numbers;
    r->inputs = qn_numbers_values(*numbers);
    r->count = qn_numbers_rows(*numbers);
    if (qn_numbers_columns(*numbers) != qn_autoencoder_columns(model))
        return fail("%s: rows of %zu numbers (expected %zu, as the model reads)", path, qn_numbers_columns(*numbers),
                    qn_autoencoder_columns(model));
    if (s->limit && s->limit < r->count) r->count = s->limit;
    return 0;
}

int reconstruct_numbers(const reconstruct_settings *s) {
    qn_autoencoder *model;
    qn_numbers *numbers = NULL;
    if (s->use.texts.count != (s->interpolate ? 2 : 0))
        return wrong_usage("%zu arguments (expected %s)", s->use.texts.count,
                           s->interpolate ? "two rows, as --interpolate needs" : "none");
    if (qn_autoencoder_open(s->use.model, s->use.options.threads, &model) != QN_OK) return failed();
    result r = {.width = qn_autoencoder_columns(model), .name = "output"};
    qn_autoencoder_picture(model, r.picture);
    int status = s->samples ? 0 : read_input(s, model, &numbers, &r);
    if (!status) status = (s->samples ? make_samples : s->interpolate ? interpolate : reconstruct)(s, model, &r);
    if (!status) status = write_result(s, &r);
    free(r.rows);
    qn_numbers_free(numbers);
    qn_autoencoder_close(model);
    return status;
}
