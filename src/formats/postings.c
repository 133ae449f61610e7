// See postings.h.
#include "formats/postings.h"
#include "base/memory.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_sparse_rows_add(qn_sparse_rows *m, const qn_sparse_vector *row) {
    size_t used = m->offsets ? (size_t)m->offsets[m->rows] : 0, count = row->count;
    for (size_t i = 0; i < count; i++)
        if (row->column[i] < 0 || (size_t)row->column[i] >= m->columns || (i && row->column[i] <= row->column[i - 1]))
            return qn_fail(QN_ERROR_ARGUMENT, "row %zu: column %" PRId32 " (expected ascending ones below %zu)",
                           m->rows, row->column[i], m->columns);
    QN_TRY(qn_grow((void **)&m->offsets, &m->capacity[0], m->rows + 2, sizeof *m->offsets));
    QN_TRY(qn_grow((void **)&m->column, &m->capacity[1], used + count + 1, sizeof *m->column));
    QN_TRY(qn_grow((void **)&m->value, &m->capacity[2], used + count + 1, sizeof *m->value));
    if (count) memcpy(m->column + used, row->column, count * sizeof *row->column);
    if (count) memcpy(m->value + used, row->value, count * sizeof *row->value);
    m->offsets[m->rows] = (int64_t)used;
    m->offsets[++m->rows] = (int64_t)(used + count);
    return QN_OK;
}

qn_sparse_vector qn_sparse_rows_at(const qn_sparse_rows *m, size_t row) {
    int64_t first = m->offsets[row];
    return (qn_sparse_vector){(size_t)(m->offsets[row + 1] - first), m->column + first, m->value + first};
}

void qn_sparse_rows_free(qn_sparse_rows *m) {
    free(m->offsets);
    free(m->column);
    free(m->value);
    *m = (qn_sparse_rows){0};
}

// A counting sort: offsets[j + 1] first counts the elements of column j, then says where the next one goes.
qn_status qn_postings_make(const qn_sparse_rows *m, qn_postings *out) {
    size_t count = m->offsets ? (size_t)m->offsets[m->rows] : 0;
    if (m->rows > INT32_MAX || m->columns > INT32_MAX)
        return qn_fail(QN_ERROR_ARGUMENT, "a sparse matrix of %zu rows and %zu columns (expected at most %d)", m->rows,
                       m->columns, INT32_MAX);
    int64_t *offsets = qn_calloc(m->columns + 2, sizeof *offsets);
    int32_t *row = qn_malloc(count + 1, sizeof *row);
    float *value = qn_malloc(count + 1, sizeof *value);
    *out = (qn_postings){.rows = m->rows, .columns = m->columns, .offsets = offsets, .row = row, .value = value};
    if (!offsets || !row || !value) {
        qn_postings_free(out);
        return QN_ERROR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) offsets[(size_t)m->column[i] + 2]++;
    for (size_t j = 2; j <= m->columns; j++) offsets[j] += offsets[j - 1];
    for (size_t r = 0; r < m->rows; r++)
        for (int64_t i = m->offsets[r]; i < m->offsets[r + 1]; i++) {
            int64_t at = offsets[(size_t)m->column[i] + 1]++;
            row[at] = (int32_t)r;
            value[at] = m->value[i];
        }
    return QN_OK;
}

void qn_postings_free(qn_postings *p) {
    if (p->file) {
        qn_safetensors_close(p->file);
    } else {
        free((void *)(uintptr_t)p->offsets);
        free((void *)(uintptr_t)p->row);
        free((void *)(uintptr_t)p->value);
    }
    *p = (qn_postings){0};
}

// --- Files

qn_status qn_postings_write(const qn_postings *p, const char *path) {
    const int64_t shape[2] = {(int64_t)p->rows, (int64_t)p->columns}, count = p->offsets[p->columns];
    const qn_st_entry entries[] = {
        {.name = "data", .dtype = QN_ST_F32, .dims = 1, .shape = {count}, .values = count ? p->value : NULL},
        {.name = "indices", .dtype = QN_ST_I32, .dims = 1, .shape = {count}, .bytes = count ? p->row : NULL},
        {.name = "indptr", .dtype = QN_ST_I64, .dims = 1, .shape = {shape[1] + 1}, .bytes = p->offsets},
        {.name = "shape", .dtype = QN_ST_I64, .dims = 1, .shape = {2}, .bytes = shape}};
    return qn_safetensors_write(path, entries, sizeof entries / sizeof *entries, NULL);
}

struct qn_sparse_writer {
    qn_sparse_rows rows;
    char *path;
};

qn_status qn_sparse_writer_open(const char *path, size_t columns, qn_sparse_writer **out) {
    qn_sparse_writer *w = *out = qn_calloc(1, sizeof *w);
    if (!w) return QN_ERROR_MEMORY;
    w->rows.columns = columns;
    w->path = qn_strdup(path);
    if (w->path) return QN_OK;
    qn_sparse_writer_abort(w);
    *out = NULL;
    return QN_ERROR_MEMORY;
}

qn_status qn_sparse_writer_row(qn_sparse_writer *w, const qn_sparse_vector *row) {
    qn_status status = qn_sparse_rows_add(&w->rows, row);
    return status == QN_OK ? QN_OK : qn_fail_prefix(status, "%s", w->path);
}

qn_status qn_sparse_writer_commit(qn_sparse_writer *w) {
    qn_postings p;
    qn_status status = qn_postings_make(&w->rows, &p);
    if (status == QN_OK) {
        status = qn_postings_write(&p, w->path);
        qn_postings_free(&p);
    }
    qn_sparse_writer_abort(w);
    return status;
}

void qn_sparse_writer_abort(qn_sparse_writer *w) {
    if (!w) return;
    qn_sparse_rows_free(&w->rows);
    free(w->path);
    free(w);
}

// *data is the first of the `count` elements of the array `name`.
static qn_status find_array(const qn_safetensors *file, const char *name, qn_st_dtype dtype, int64_t count,
                            const void **data) {
    static const int64_t none;
    const qn_st_tensor *t = qn_safetensors_find(file, name);
    const char *path = qn_safetensors_path(file);
    char shape[QN_ST_SHAPE_TEXT];
    if (!t)
        return qn_fail(QN_ERROR_FORMAT, "%s: no array \"%s\" (expected sparse vectors, as quern index writes them)",
                       path, name);
    if (t->dtype != dtype || t->dims != 1 || t->shape[0] != count)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %s %s (expected %s [%" PRId64 "])", path, name,
                       qn_st_dtype_name(t->dtype), qn_st_shape_text(t->dims, t->shape, shape), qn_st_dtype_name(dtype),
                       count);
    if ((uintptr_t)t->data % ((size_t)qn_st_dtype_bits(dtype) / 8) != 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" does not begin at a multiple of the size of its elements", path,
                       name);
    *data = t->data ? t->data : (const void *)&none;
    return QN_OK;
}

// Columns follow each other, and the rows of each ascend, below the number of rows.
static qn_status check_columns(const qn_postings *p) {
    const char *path = qn_safetensors_path(p->file);
    for (size_t j = 0; j < p->columns; j++)
        for (int64_t i = p->offsets[j]; i < p->offsets[j + 1]; i++) {
            int32_t least = i > p->offsets[j] ? p->row[i - 1] : -1;
            if (p->row[i] <= least || (size_t)p->row[i] >= p->rows)
                return qn_fail(QN_ERROR_FORMAT, "%s: row %" PRId32 " in column %zu (expected ascending ones below %zu)",
                               path, p->row[i], j, p->rows);
        }
    return QN_OK;
}

static qn_status take_offsets(qn_postings *p) {
    const void *data;
    QN_TRY(find_array(p->file, "indptr", QN_ST_I64, (int64_t)p->columns + 1, &data));
    p->offsets = data;
    bool good = p->offsets[0] == 0;
    for (size_t j = 0; good && j < p->columns; j++) good = p->offsets[j] <= p->offsets[j + 1];
    return good ? QN_OK
                : qn_fail(QN_ERROR_FORMAT, "%s: \"indptr\" does not ascend from 0", qn_safetensors_path(p->file));
}

static qn_status take_arrays(qn_postings *p) {
    const void *data;
    int64_t shape[2];
    QN_TRY(find_array(p->file, "shape", QN_ST_I64, 2, &data));
    memcpy(shape, data, sizeof shape);
    if (shape[0] < 0 || shape[0] > INT32_MAX || shape[1] < 1 || shape[1] > INT32_MAX)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"shape\" is %" PRId64 " rows of %" PRId64 " columns (expected up to %d)",
                       qn_safetensors_path(p->file), shape[0], shape[1], INT32_MAX);
    p->rows = (size_t)shape[0];
    p->columns = (size_t)shape[1];
    QN_TRY(take_offsets(p));
    QN_TRY(find_array(p->file, "indices", QN_ST_I32, p->offsets[p->columns], &data));
    p->row = data;
    QN_TRY(find_array(p->file, "data", QN_ST_F32, p->offsets[p->columns], &data));
    p->value = data;
    return check_columns(p);
}

static qn_status take_file(qn_safetensors *file, qn_postings *out) {
    *out = (qn_postings){.file = file};
    qn_status status = take_arrays(out);
    if (status != QN_OK) qn_postings_free(out);
    return status;
}

qn_status qn_postings_open(const char *path, qn_postings *out) {
    qn_safetensors *file;
    *out = (qn_postings){0};
    QN_TRY(qn_safetensors_open(path, &file));
    return take_file(file, out);
}

qn_status qn_postings_open_memory(const void *data, size_t size, const char *source, qn_postings *out) {
    qn_safetensors *file;
    *out = (qn_postings){0};
    QN_TRY(qn_safetensors_open_memory(data, size, source, &file));
    return take_file(file, out);
}
