// Rows of numbers from files. Text is here; arrays are in numbers_arrays.c.
#include "base/json.h"
#include "base/memory.h"
#include "data/hash.h"
#include "data/numbers_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// --- Rows

qn_status qn_numbers_add(qn_numbers *n, const char *path, size_t rows, size_t columns, float **place) {
    if (rows == 0) return qn_fail(QN_ERROR_FORMAT, "%s: no rows of numbers", path);
    if (columns == 0 || columns > QN_NUMBERS_COLUMNS)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: rows of %zu numbers (expected 1 to %d)", path, columns,
                       QN_NUMBERS_COLUMNS);
    if (n->columns && n->columns != columns)
        return qn_fail(QN_ERROR_FORMAT, "%s: rows of %zu numbers (expected %zu, as before)", path, columns, n->columns);
    size_t values, all;
    if (__builtin_add_overflow(n->rows, rows, &all) || all > UINT32_MAX / 2 ||
        __builtin_mul_overflow(all, columns, &values))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: more than 2 billion rows", path);
    void *memory = n->values, *classes = n->classes;
    qn_status status = qn_grow(&memory, &n->value_capacity, values, sizeof *n->values);
    n->values = memory;
    if (status == QN_OK) status = qn_grow(&classes, &n->class_capacity, all, sizeof *n->classes);
    n->classes = classes;
    if (status != QN_OK) return status;
    for (size_t r = n->rows; r < all; r++) n->classes[r] = -1;
    *place = n->values + n->rows * columns;
    n->columns = columns;
    n->rows = all;
    return QN_OK;
}

qn_status qn_numbers_label(qn_numbers *n, size_t row, qn_span label) {
    label = qn_span_trim(label);
    return label.size ? qn_labels_add(&n->names, label, &n->classes[row]) : QN_OK;
}

qn_status qn_numbers_set_picture(qn_numbers *n, const char *path, const size_t picture[3]) {
    if (n->picture[0] && memcmp(n->picture, picture, sizeof n->picture))
        return qn_fail(QN_ERROR_FORMAT, "%s: pictures of %zu x %zu (expected %zu x %zu, as before)", path, picture[0],
                       picture[1], n->picture[0], n->picture[1]);
    memcpy(n->picture, picture, sizeof n->picture);
    return QN_OK;
}

// --- TSV and CSV

typedef struct {
    const qn_data_options *options;
    ptrdiff_t label; // column, -1: none
    bool *left_out;  // [cells] the label, and a column without a name, which is the rows' numbers
    size_t cells, used;
    bool begun;
} table;

static bool is_name(qn_span cell, const char *name) {
    return strlen(name) == cell.size && strncasecmp(cell.data, name, cell.size) == 0;
}

// Names where a cell is no number; also 0, 1, 2, ..., as pandas writes them where there are none.
static bool is_header(const qn_span *cells, size_t count) {
    bool counted = count > 2;
    for (size_t i = 0; i < count; i++) {
        double value;
        if (!qn_parse_number(cells[i], &value)) return true;
        counted = counted && value == (double)i;
    }
    return counted;
}

// A column that the user names, by its name or by its number from 1; -1 where there is none.
static ptrdiff_t find_column(const qn_span *names, size_t count, const char *wanted) {
    for (size_t i = 0; names && i < count; i++)
        if (is_name(qn_span_trim(names[i]), wanted)) return (ptrdiff_t)i;
    char *end;
    unsigned long number = strtoul(wanted, &end, 10);
    return *wanted >= '0' && *wanted <= '9' && !*end && number >= 1 && number <= count ? (ptrdiff_t)number - 1 : -1;
}

static const char *const label_names[] = {"label", "labels", "class", "category", "target", NULL};

// names NULL: none.
static qn_status find_columns(table *t, const qn_span *names, size_t count, const char *file) {
    t->label = -1;
    t->cells = count;
    t->left_out = qn_calloc(count, sizeof *t->left_out);
    if (!t->left_out) return QN_ERROR_MEMORY;
    for (size_t i = 0; names && i < count; i++) t->left_out[i] = qn_span_trim(names[i]).size == 0;
    if (t->options->label_column) {
        t->label = find_column(names, count, t->options->label_column);
        if (t->label < 0)
            return qn_fail(QN_ERROR_FORMAT, "%s: no column \"%s\" among %zu", file, t->options->label_column, count);
    }
    for (const char *const *known = label_names; names && t->label < 0 && *known; known++)
        for (size_t i = 0; i < count && t->label < 0; i++)
            if (is_name(qn_span_trim(names[i]), *known)) t->label = (ptrdiff_t)i;
    if (t->label >= 0) t->left_out[t->label] = true;
    for (size_t i = 0; i < count; i++) t->used += !t->left_out[i];
    return QN_OK;
}

// The names of a file without a header, separated by commas; "" is no names.
static qn_status given_names(const char *columns, size_t count, const char *file, table *t) {
    if (!*columns) return find_columns(t, NULL, count, file);
    qn_span *names = qn_calloc(count, sizeof *names);
    size_t found = 0;
    if (!names) return QN_ERROR_MEMORY;
    for (const char *at = columns;; at++) {
        size_t size = strcspn(at, ",");
        if (found < count) names[found] = (qn_span){at, size};
        found++;
        at += size;
        if (!*at) break;
    }
    qn_status status =
        found == count ? find_columns(t, names, count, file)
                       : qn_fail(QN_ERROR_ARGUMENT, "%s: %zu columns (expected %zu, as are named)", file, count, found);
    free(names);
    return status;
}

static qn_status add_cells(qn_numbers *n, const table *t, const qn_record *r) {
    float *row;
    QN_TRY(qn_numbers_add(n, r->file, 1, t->used, &row));
    for (size_t i = 0; i < r->cell_count; i++) {
        double value;
        qn_span cell = r->cells[i];
        if (t->left_out[i]) continue;
        if (!qn_parse_number(cell, &value) || fabs(value) > 1e30)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: column %zu is \"%.*s\" (expected a number)", r->file,
                           (long long)r->line, i + 1, (int)(cell.size < 60 ? cell.size : 60), cell.data);
        *row++ = (float)value;
    }
    return t->label >= 0 ? qn_numbers_label(n, n->rows - 1, r->cells[t->label]) : QN_OK;
}

static qn_status add_row(qn_numbers *n, table *t, const qn_record *r) {
    if (t->begun) return add_cells(n, t, r);
    t->begun = true;
    if (t->options->columns)
        QN_TRY(given_names(t->options->columns, r->cell_count, r->file, t));
    else if (is_header(r->cells, r->cell_count))
        return find_columns(t, r->cells, r->cell_count, r->file);
    else
        QN_TRY(find_columns(t, NULL, r->cell_count, r->file));
    return add_cells(n, t, r);
}

// --- JSON lines: {"embedding": [...], "label": ...}, or a list alone; lists of lists are pictures.

static const char *const value_names[] = {"embedding", "vector", "values", "numbers", "pixels", "x", NULL};

static json_t *find_value(const json_t *object, const char *wanted, const char *const *known) {
    if (wanted) return json_object_get(object, wanted);
    json_t *found = NULL;
    for (; *known && !found; known++) found = json_object_get(object, *known);
    return found;
}

static bool count_numbers(const json_t *list, int depth, size_t *count) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_is_array(item) ? depth == 2 || !count_numbers(item, depth + 1, count) : !json_is_number(item))
            return false;
        *count += json_is_number(item);
    }
    return true;
}

static float *put_numbers(const json_t *list, float *to) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_is_array(item))
            to = put_numbers(item, to);
        else
            *to++ = (float)json_number_value(item);
    }
    return to;
}

static qn_status label_json(qn_numbers *n, const json_t *label) {
    if (!label || json_is_null(label)) return QN_OK;
    if (json_is_string(label))
        return qn_numbers_label(n, n->rows - 1, (qn_span){json_string_value(label), json_string_length(label)});
    char *text = json_dumps(label, JSON_ENCODE_ANY | JSON_COMPACT);
    qn_status status = text ? qn_numbers_label(n, n->rows - 1, (qn_span){text, strlen(text)}) : QN_ERROR_MEMORY;
    free(text);
    return status;
}

static qn_status add_value(qn_numbers *n, const table *t, const json_t *value, const char *place) {
    const json_t *list = json_is_array(value) ? value : find_value(value, t->options->text_column, value_names);
    size_t count = 0;
    float *row;
    if (!json_is_array(list) || !count_numbers(list, 0, &count))
        return qn_fail(QN_ERROR_FORMAT, "%s: no list of numbers (expected one under \"%s\")", place,
                       t->options->text_column ? t->options->text_column
                                               : "embedding, vector, values, numbers, pixels, x");
    QN_TRY(qn_numbers_add(n, place, 1, count, &row));
    put_numbers(list, row);
    for (size_t k = 0; k < count; k++)
        if (!(fabsf(row[k]) <= 1e30f)) return qn_fail(QN_ERROR_FORMAT, "%s: number %zu is too large", place, k + 1);
    const json_t *first = json_array_get(list, 0);
    size_t height = json_array_size(list), width = json_array_size(first), picture[3] = {height, width, 1};
    if (json_is_array(first) && !json_is_array(json_array_get(first, 0)) && height * width == count)
        QN_TRY(qn_numbers_set_picture(n, place, picture));
    return json_is_object(value) ? label_json(n, find_value(value, t->options->label_column, label_names)) : QN_OK;
}

static qn_status add_line(qn_numbers *n, const table *t, const qn_record *r) {
    char place[512];
    json_t *value = NULL;
    snprintf(place, sizeof place, "%.480s:%lld", r->file, (long long)r->line);
    QN_TRY(qn_json_parse_line(r->text.data, r->text.size, r->file, r->line, &value));
    qn_status status = add_value(n, t, value, place);
    json_decref(value);
    return status;
}

static qn_status read_text(qn_numbers *n, const char *path, const qn_data_options *options) {
    qn_reader_options o = {.cells = true};
    table t = {.options = options, .label = -1};
    qn_reader *reader;
    bool end = false;
    if (options->format) QN_TRY(qn_format_parse(options->format, &o.format));
    if (o.format == QN_FORMAT_TEXT || o.format == QN_FORMAT_FASTTEXT)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: format %s has no numbers (expected tsv, csv or jsonl)", path,
                       options->format);
    QN_TRY(qn_reader_open(path, &o, &reader));
    qn_status status = QN_OK;
    while (status == QN_OK) {
        qn_record record;
        status = qn_reader_next(reader, &record, &end);
        if (status != QN_OK || end) break;
        status = record.cells ? add_row(n, &t, &record) : add_line(n, &t, &record);
    }
    qn_reader_close(reader);
    free(t.left_out);
    return status;
}

// --- Files

static qn_status sort_labels(qn_numbers *n) {
    int32_t *renumber = qn_calloc(n->names.count, sizeof *renumber);
    qn_status status = renumber ? qn_labels_sort(&n->names, renumber) : QN_ERROR_MEMORY;
    for (size_t r = 0; r < n->rows && status == QN_OK; r++)
        if (n->classes[r] >= 0) n->classes[r] = renumber[n->classes[r]];
    free(renumber);
    return status;
}

static qn_status read_files(qn_numbers *n, const char *const *paths, size_t count, const qn_data_options *options) {
    for (size_t i = 0; i < count; i++) {
        bool array = false;
        size_t before = n->rows;
        QN_TRY(qn_numbers_read_array(n, paths[i], options, &array));
        if (!array) QN_TRY(read_text(n, paths[i], options));
        if (n->rows == before) return qn_fail(QN_ERROR_FORMAT, "%s: no rows of numbers", paths[i]);
    }
    n->fingerprint = qn_hash(n->columns, n->values, n->rows * n->columns * sizeof *n->values);
    return sort_labels(n);
}

qn_status qn_numbers_read(const char *const *paths, size_t count, const qn_data_options *data, qn_numbers **out) {
    *out = NULL;
    qn_numbers *n = qn_calloc(1, sizeof *n);
    if (!n) return QN_ERROR_MEMORY;
    qn_status status = read_files(n, paths, count, data ? data : &(qn_data_options){0});
    if (status == QN_OK)
        *out = n;
    else
        qn_numbers_free(n);
    return status;
}

void qn_numbers_free(qn_numbers *n) {
    if (!n) return;
    free(n->values);
    free(n->classes);
    qn_labels_free(&n->names);
    free(n);
}

size_t qn_numbers_rows(const qn_numbers *n) {
    return n->rows;
}

size_t qn_numbers_columns(const qn_numbers *n) {
    return n->columns;
}

const float *qn_numbers_values(const qn_numbers *n) {
    return n->values;
}

const char *qn_numbers_label_of(const qn_numbers *n, size_t row) {
    return row < n->rows && n->classes[row] >= 0 ? n->names.names[n->classes[row]] : NULL;
}

void qn_numbers_picture(const qn_numbers *n, size_t picture[3]) {
    memcpy(picture, n->picture, sizeof n->picture);
}

qn_status qn_dataset_of_numbers(const qn_numbers *n, const float *values, const char *name, qn_dataset *out) {
    *out = (qn_dataset){.width = 1, .target = QN_TARGET_NONE, .fingerprint = n->fingerprint};
    out->numbers = values;
    out->columns = n->columns;
    out->names = qn_calloc(1, sizeof *out->names);
    qn_status status = out->names && (out->names[0] = qn_strdup(name)) ? QN_OK : QN_ERROR_MEMORY;
    out->name_count = 1;
    for (size_t r = 0; r < n->rows && status == QN_OK; r++) {
        status = qn_sequences_put(&out->sequences, 0);
        if (status == QN_OK) status = qn_sequences_close(&out->sequences, 1);
    }
    if (status != QN_OK) qn_dataset_free(out);
    return status;
}
