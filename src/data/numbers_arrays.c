// Rows of numbers from .npy, safetensors and IDX files: the first dimension counts the rows, two or three others are a
// picture's.
#include "base/memory.h"
#include "data/numbers_private.h"
#include "formats/idx.h"
#include "formats/npy.h"
#include "formats/weights.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Room for an array of that shape.
static qn_status add_array(qn_numbers *n, const char *path, int dims, const int64_t *shape, float **place) {
    size_t columns = 1, picture[3] = {0, 0, 1};
    if (dims < 1) return qn_fail(QN_ERROR_FORMAT, "%s: a single number (expected rows)", path);
    for (int i = 1; i < dims; i++)
        if (__builtin_mul_overflow(columns, (size_t)shape[i], &columns))
            return qn_fail(QN_ERROR_UNSUPPORTED, "%s: rows of too many numbers", path);
    QN_TRY(qn_numbers_add(n, path, (size_t)shape[0], columns, place));
    bool first = dims == 4 && shape[1] == 1, last = dims == 4 && (shape[3] == 1 || shape[3] == 3 || shape[3] == 4);
    if (dims != 3 && !first && !last) return QN_OK;
    picture[0] = (size_t)shape[first && !last ? 2 : 1];
    picture[1] = (size_t)shape[first && !last ? 3 : 2];
    if (last) picture[2] = (size_t)shape[3];
    return qn_numbers_set_picture(n, path, picture);
}

static qn_status check_finite(const qn_numbers *n, const char *path, const float *values, size_t rows) {
    for (size_t i = 0; i < rows * n->columns; i++)
        if (!(fabsf(values[i]) <= 1e30f))
            return qn_fail(QN_ERROR_FORMAT, "%s: row %zu, column %zu is %g (expected a number)", path, i / n->columns,
                           i % n->columns, (double)values[i]);
    return QN_OK;
}

static qn_status read_npy(qn_numbers *n, const char *path) {
    qn_npy array;
    float *place;
    QN_TRY(qn_npy_open(path, &array));
    qn_status status = add_array(n, path, array.dims, array.shape, &place);
    if (status == QN_OK) {
        qn_npy_to_f32(&array, 0, array.count, place);
        status = check_finite(n, path, place, (size_t)array.shape[0]);
    }
    qn_npy_close(&array);
    return status;
}

// --- IDX

// Of train-images-idx3-ubyte the labels are in train-labels-idx1-ubyte; NULL where the name is no such one.
static char *labels_beside(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *images = strstr(name, "images");
    if (!images) return NULL;
    size_t before = (size_t)(images - path), size = strlen(path) + 1;
    char *out = qn_malloc(size + 1, 1);
    if (!out) return NULL;
    snprintf(out, size + 1, "%.*slabels%s", (int)before, path, images + strlen("images"));
    char *kind = strstr(out + before, "idx3");
    if (kind) kind[3] = '1';
    return out;
}

static qn_status read_idx_labels(qn_numbers *n, const char *path, size_t first, size_t rows) {
    qn_idx array;
    QN_TRY(qn_idx_open(path, &array));
    qn_status status = QN_OK;
    if (array.dims != 1 || array.count != rows)
        status =
            qn_fail(QN_ERROR_FORMAT, "%s: %zu labels (expected %zu, one for each picture)", path, array.count, rows);
    for (size_t r = 0; r < rows && status == QN_OK; r++) {
        float value;
        char text[32];
        qn_idx_to_f32(&array, r, 1, &value);
        status =
            qn_numbers_label(n, first + r, (qn_span){text, (size_t)snprintf(text, sizeof text, "%g", (double)value)});
    }
    qn_idx_close(&array);
    return status;
}

static qn_status read_idx(qn_numbers *n, const char *path) {
    qn_idx array;
    float *place;
    int64_t shape[QN_IDX_MAX_DIMS];
    size_t first = n->rows;
    QN_TRY(qn_idx_open(path, &array));
    for (int i = 0; i < array.dims; i++) shape[i] = (int64_t)array.shape[i];
    qn_status status = add_array(n, path, array.dims, shape, &place);
    if (status == QN_OK) {
        qn_idx_to_f32(&array, 0, array.count, place);
        status = check_finite(n, path, place, array.shape[0]);
    }
    qn_idx_close(&array);
    char *beside = status == QN_OK ? labels_beside(path) : NULL;
    if (beside && qn_is_file(beside)) status = read_idx_labels(n, beside, first, n->rows - first);
    free(beside);
    return status;
}

// --- safetensors

static bool known_label(const char *name, const qn_data_options *options) {
    return options->label_column ? !strcmp(name, options->label_column)
                                 : !strcmp(name, "labels") || !strcmp(name, "label") || !strcmp(name, "y");
}

static bool is_whole(qn_st_dtype dtype) {
    return dtype == QN_ST_U8 || dtype == QN_ST_I32 || dtype == QN_ST_I64;
}

static double element(const qn_st_tensor *t, size_t i) {
    int32_t i4;
    int64_t i8;
    float f4;
    size_t bits = (size_t)qn_st_dtype_bits(t->dtype);
    const uint8_t *at = t->data + i * (bits / 8);
    switch (t->dtype) {
    case QN_ST_U8:
        return *at;
    case QN_ST_I32:
        return memcpy(&i4, at, sizeof i4), i4;
    case QN_ST_I64:
        return memcpy(&i8, at, sizeof i8), (double)i8;
    default:
        return qn_st_to_f32(t->dtype, at, 1, &f4), (double)f4;
    }
}

// The tensor of numbers: the one that is named, or the only one that can be it.
static qn_status find_tensor(const qn_safetensors *file, const char *path, const qn_data_options *options,
                             const qn_st_tensor **out) {
    size_t candidates = 0;
    *out = NULL;
    for (size_t i = 0; i < qn_safetensors_count(file); i++) {
        const qn_st_tensor *t = qn_safetensors_at(file, i);
        bool fits = options->text_column ? !strcmp(t->name, options->text_column) : !known_label(t->name, options);
        if (!fits) continue;
        candidates++;
        *out = t;
    }
    if (candidates != 1)
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu tensors of numbers (expected one, or --text-column with its name)",
                       path, candidates);
    if (qn_st_is_float((*out)->dtype) || is_whole((*out)->dtype)) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: tensor \"%s\" is %s (expected F32, F16, BF16, F64, U8, I32 or I64)", path,
                   (*out)->name, qn_st_dtype_name((*out)->dtype));
}

static qn_status read_tensor_labels(qn_numbers *n, const char *path, const qn_st_tensor *t, size_t first, size_t rows) {
    if (t->dims != 1 || (size_t)t->shape[0] != rows || !(qn_st_is_float(t->dtype) || is_whole(t->dtype)))
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%s\" is no list of %zu labels", path, t->name, rows);
    for (size_t r = 0; r < rows; r++) {
        char text[32];
        size_t size = (size_t)snprintf(text, sizeof text, "%.9g", element(t, r));
        QN_TRY(qn_numbers_label(n, first + r, (qn_span){text, size}));
    }
    return QN_OK;
}

static qn_status read_tensors(qn_numbers *n, const qn_safetensors *file, const char *path,
                              const qn_data_options *options) {
    const qn_st_tensor *t;
    float *place;
    size_t first = n->rows;
    QN_TRY(find_tensor(file, path, options, &t));
    QN_TRY(add_array(n, path, t->dims, t->shape, &place));
    size_t rows = n->rows - first, count = rows * n->columns;
    for (size_t i = 0; i < count; i++) place[i] = (float)element(t, i);
    QN_TRY(check_finite(n, path, place, rows));
    for (size_t i = 0; i < qn_safetensors_count(file); i++) {
        const qn_st_tensor *labels = qn_safetensors_at(file, i);
        if (labels != t && known_label(labels->name, options)) return read_tensor_labels(n, path, labels, first, rows);
    }
    return QN_OK;
}

static qn_status read_safetensors(qn_numbers *n, const char *path, const qn_data_options *options) {
    qn_safetensors *file;
    QN_TRY(qn_safetensors_open(path, &file));
    qn_status status = read_tensors(n, file, path, options);
    qn_safetensors_close(file);
    return status;
}

qn_status qn_numbers_read_array(qn_numbers *n, const char *path, const qn_data_options *options, bool *array) {
    static const char extension[] = ".safetensors";
    uint8_t start[6];
    size_t got = 0, size = strlen(path), end = strlen(extension);
    *array = true;
    if (options->format || !qn_is_file(path)) return *array = false, QN_OK;
    if (size > end && !strcmp(path + size - end, extension)) return read_safetensors(n, path, options);
    QN_TRY(qn_idx_peek(path, start, sizeof start, &got));
    if (qn_idx_is(start, got)) return read_idx(n, path);
    if (got == 6 && !memcmp(start, "\x93NUMPY", 6)) return read_npy(n, path);
    return *array = false, QN_OK;
}
