// See ctranslate2.h. Layout of model.bin (ctranslate2/specs/model_spec.py, Model::load): version, name and revision of
// the specification; number of variables, and each with its name, shape, dtype and bytes; from version 3 on further
// names of variables. A name is its length with the final NUL in two bytes, and the characters.
#include "formats/ctranslate2.h"
#include "base/file.h"
#include "base/half.h"
#include "base/memory.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_VERSION = 2, LAST_VERSION = 6, ALIASES_SINCE = 3, DTYPES_SINCE = 4, LONGEST_NAME = 400 };

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
#define DTYPE(name, number, bytes) [number] = {#name, bytes},
    QN_CT2_DTYPE_MAP(DTYPE)
#undef DTYPE
};

// A name and what it stands for. While the file is read, an alias has the variable's name instead.
typedef struct {
    const char *name, *of;
    size_t index;
} entry;

struct qn_ct2 {
    char *path;
    qn_mapping mapping; // empty when the bytes belong to the caller
    const char *spec;
    uint32_t revision, version;
    qn_ct2_variable *variables;
    entry *entries; // sorted by name
    size_t variable_count, variable_capacity, entry_count, entry_capacity;
};

const char *qn_ct2_dtype_name(qn_ct2_dtype dtype) {
    return (unsigned)dtype < QN_CT2_DTYPES ? dtypes[dtype].name : "?";
}

// --- Reading

typedef struct {
    const char *path;
    const uint8_t *begin, *at, *end;
} cursor;

#define FAIL_AT(c, format, ...)                                                                                        \
    qn_fail(QN_ERROR_FORMAT, "%s: byte %zu: " format, (c)->path, (size_t)((c)->at - (c)->begin), __VA_ARGS__)

static qn_status need(const cursor *c, uint64_t bytes, const char *what) {
    if (bytes <= (uint64_t)(c->end - c->at)) return QN_OK;
    return FAIL_AT(c, "the file ends within %s", what);
}

static qn_status read_number(cursor *c, size_t bytes, const char *what, uint32_t *out) {
    QN_TRY(need(c, bytes, what));
    *out = 0;
    memcpy(out, c->at, bytes);
    c->at += bytes;
    return QN_OK;
}

static qn_status read_name(cursor *c, const char *what, const char **out) {
    uint32_t size;
    QN_TRY(read_number(c, 2, what, &size));
    QN_TRY(need(c, size, what));
    if (size < 2 || size > LONGEST_NAME || memchr(c->at, 0, size) != c->at + size - 1)
        return FAIL_AT(c, "%s is no name (expected up to %d characters and a NUL)", what, LONGEST_NAME - 1);
    *out = (const char *)c->at;
    c->at += size;
    return QN_OK;
}

static qn_status add_entry(qn_ct2 *f, entry e) {
    QN_TRY(qn_grow((void **)&f->entries, &f->entry_capacity, f->entry_count + 1, sizeof *f->entries));
    f->entries[f->entry_count++] = e;
    return QN_OK;
}

static qn_status read_shape(cursor *c, qn_ct2_variable *v) {
    uint32_t dims, size;
    QN_TRY(read_number(c, 1, "a variable's dimensions", &dims));
    if (dims > QN_CT2_MAX_DIMS)
        return FAIL_AT(c, "variable \"%.100s\": %" PRIu32 " dimensions (expected at most %d)", v->name, dims,
                       QN_CT2_MAX_DIMS);
    v->dims = (int)dims;
    v->count = 1;
    for (int i = 0; i < v->dims; i++) {
        QN_TRY(read_number(c, 4, "a variable's shape", &size));
        if (__builtin_mul_overflow(v->count, (int64_t)size, &v->count))
            return FAIL_AT(c, "variable \"%.100s\" is larger than any file", v->name);
        v->shape[i] = size;
    }
    return QN_OK;
}

// Before version 4 the dtype is told by the size of an element.
static qn_status read_dtype(cursor *c, uint32_t version, qn_ct2_variable *v, uint64_t *size) {
    uint32_t number, bytes;
    QN_TRY(read_number(c, 1, "a variable's dtype", &number));
    QN_TRY(read_number(c, 4, "a variable's size", &bytes));
    *size = bytes;
    if (version < DTYPES_SINCE) {
        *size = (uint64_t)bytes * number;
        number = number == 4 ? QN_CT2_F32 : number == 2 ? QN_CT2_I16 : number == 1 ? QN_CT2_I8 : QN_CT2_DTYPES;
    }
    if (number >= QN_CT2_DTYPES)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: variable \"%.100s\" has an unknown dtype", c->path, v->name);
    v->dtype = (qn_ct2_dtype)number;
    return QN_OK;
}

static qn_status read_variable(cursor *c, qn_ct2 *f) {
    QN_TRY(qn_grow((void **)&f->variables, &f->variable_capacity, f->variable_count + 1, sizeof *f->variables));
    qn_ct2_variable *v = &f->variables[f->variable_count];
    uint64_t size;
    *v = (qn_ct2_variable){0};
    QN_TRY(read_name(c, "a variable's name", &v->name));
    QN_TRY(read_shape(c, v));
    QN_TRY(read_dtype(c, f->version, v, &size));
    QN_TRY(need(c, size, "a variable's values"));
    if (size % dtypes[v->dtype].bytes || size / dtypes[v->dtype].bytes != (uint64_t)v->count)
        return FAIL_AT(c, "variable \"%.100s\": %" PRIu64 " bytes for %" PRId64 " elements of %s", v->name, size,
                       v->count, dtypes[v->dtype].name);
    v->data = c->at;
    v->size = (size_t)size;
    c->at += size;
    return add_entry(f, (entry){.name = v->name, .index = f->variable_count++});
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static const entry *find_entry(const qn_ct2 *f, const char *name) {
    const entry key = {.name = name};
    return bsearch(&key, f->entries, f->entry_count, sizeof key, compare_entries);
}

static qn_status index_names(qn_ct2 *f) {
    if (f->entry_count) qsort(f->entries, f->entry_count, sizeof *f->entries, compare_entries);
    for (size_t i = 1; i < f->entry_count; i++)
        if (!strcmp(f->entries[i - 1].name, f->entries[i].name))
            return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%.100s\" is repeated", f->path, f->entries[i].name);
    for (size_t i = 0; i < f->entry_count; i++) {
        entry *alias = &f->entries[i];
        if (!alias->of) continue;
        const entry *meant = find_entry(f, alias->of);
        if (!meant || meant->of)
            return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%.100s\" stands for \"%.100s\", which is not there",
                           f->path, alias->name, alias->of);
        alias->index = meant->index;
    }
    return QN_OK;
}

// "weight" is quantized where there is a "weight_scale".
static qn_status find_scales(qn_ct2 *f) {
    char name[LONGEST_NAME + 8];
    for (size_t i = 0; i < f->variable_count; i++) {
        qn_ct2_variable *v = &f->variables[i];
        if ((v->dtype != QN_CT2_I8 && v->dtype != QN_CT2_I16) || v->dims == 0) continue;
        snprintf(name, sizeof name, "%s_scale", v->name);
        v->scale = qn_ct2_find(f, name);
        if (!v->scale) continue;
        if (v->scale->dtype != QN_CT2_F32 || (v->scale->count != 1 && v->scale->count != v->shape[0]))
            return qn_fail(QN_ERROR_FORMAT,
                           "%s: variable \"%.100s\" is %" PRId64 " numbers of %s (expected F32, 1 or %" PRId64 ")",
                           f->path, name, v->scale->count, dtypes[v->scale->dtype].name, v->shape[0]);
    }
    return QN_OK;
}

static qn_status read_all(cursor *c, qn_ct2 *f) {
    uint32_t variables, aliases = 0;
    QN_TRY(read_number(c, 4, "the header", &f->version));
    if (f->version < FIRST_VERSION || f->version > LAST_VERSION)
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: version %" PRIu32 " (expected a model.bin of CTranslate2, version %d to %d)", f->path,
                       f->version, FIRST_VERSION, LAST_VERSION);
    QN_TRY(read_name(c, "the specification's name", &f->spec));
    QN_TRY(read_number(c, 4, "the header", &f->revision));
    QN_TRY(read_number(c, 4, "the header", &variables));
    for (uint32_t i = 0; i < variables; i++) QN_TRY(read_variable(c, f));
    if (f->version >= ALIASES_SINCE) QN_TRY(read_number(c, 4, "the number of other names", &aliases));
    for (uint32_t i = 0; i < aliases; i++) {
        entry e = {0};
        QN_TRY(read_name(c, "another name of a variable", &e.name));
        QN_TRY(read_name(c, "a variable's name", &e.of));
        QN_TRY(add_entry(f, e));
    }
    if (c->at != c->end) return FAIL_AT(c, "%zu more bytes (expected the end)", (size_t)(c->end - c->at));
    QN_TRY(index_names(f));
    return find_scales(f);
}

qn_status qn_ct2_open_memory(const void *data, size_t size, const char *source, qn_ct2 **out) {
    *out = NULL;
    qn_ct2 *f = qn_calloc(1, sizeof *f);
    if (!f) return QN_ERROR_MEMORY;
    f->path = qn_strdup(source);
    qn_status status = QN_ERROR_MEMORY;
    if (f->path) {
        cursor c = {f->path, data, data, (const uint8_t *)data + size};
        status = read_all(&c, f);
    }
    if (status != QN_OK) {
        qn_ct2_close(f);
        return status;
    }
    *out = f;
    return QN_OK;
}

qn_status qn_ct2_open(const char *path, qn_ct2 **out) {
    qn_mapping mapping;
    *out = NULL;
    QN_TRY(qn_map_file(path, &mapping));
    qn_status status = qn_ct2_open_memory(mapping.data, mapping.size, path, out);
    if (status != QN_OK)
        qn_unmap(&mapping);
    else
        (*out)->mapping = mapping;
    return status;
}

void qn_ct2_close(qn_ct2 *f) {
    if (!f) return;
    qn_unmap(&f->mapping);
    free(f->variables);
    free(f->entries);
    free(f->path);
    free(f);
}

// --- Use

const char *qn_ct2_path(const qn_ct2 *f) {
    return f->path;
}

const char *qn_ct2_spec(const qn_ct2 *f) {
    return f->spec;
}

uint32_t qn_ct2_revision(const qn_ct2 *f) {
    return f->revision;
}

uint32_t qn_ct2_version(const qn_ct2 *f) {
    return f->version;
}

size_t qn_ct2_count(const qn_ct2 *f) {
    return f->variable_count;
}

const qn_ct2_variable *qn_ct2_at(const qn_ct2 *f, size_t index) {
    return index < f->variable_count ? &f->variables[index] : NULL;
}

const qn_ct2_variable *qn_ct2_find(const qn_ct2 *f, const char *name) {
    const entry *found = find_entry(f, name);
    return found ? &f->variables[found->index] : NULL;
}

static float element(const qn_ct2_variable *v, int64_t i) {
    const uint8_t *at = v->data + (size_t)i * dtypes[v->dtype].bytes;
    uint16_t half;
    int16_t narrow;
    int32_t whole;
    float value;
    switch (v->dtype) {
    case QN_CT2_F32:
        memcpy(&value, at, sizeof value);
        return value;
    case QN_CT2_F16:
        memcpy(&half, at, sizeof half);
        return qn_f16_to_f32(half);
    case QN_CT2_BF16:
        memcpy(&half, at, sizeof half);
        return qn_bf16_to_f32(half);
    case QN_CT2_I16:
        memcpy(&narrow, at, sizeof narrow);
        return narrow;
    case QN_CT2_I32:
        memcpy(&whole, at, sizeof whole);
        return (float)whole;
    default:
        return (int8_t)*at;
    }
}

void qn_ct2_to_f32(const qn_ct2_variable *v, int64_t first, int64_t count, float *out) {
    if (v->dtype == QN_CT2_F32 && count > 0)
        memcpy(out, v->data + (size_t)first * sizeof *out, (size_t)count * sizeof *out);
    else
        for (int64_t i = 0; i < count; i++) out[i] = element(v, first + i);
    if (!v->scale || v->count == 0) return;
    int64_t row = v->count / v->scale->count; // elements that share a scale
    for (int64_t i = 0; i < count; i++) out[i] /= element(v->scale, (first + i) / row);
}

qn_status qn_ct2_read_real(const qn_ct2 *f, const char *name, double lowest, double highest, const double *fallback,
                           double *out) {
    const qn_ct2_variable *v = qn_ct2_find(f, name);
    if (!v && fallback) return *out = *fallback, QN_OK;
    if (!v) return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" is missing (expected a number)", f->path, name);
    if (v->count != 1)
        return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" has %" PRId64 " elements (expected a number)", f->path,
                       name, v->count);
    *out = (double)element(v, 0);
    if (*out >= lowest && *out <= highest) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %g (expected %g to %g)", f->path, name, *out, lowest, highest);
}

qn_status qn_ct2_read_integer(const qn_ct2 *f, const char *name, int64_t lowest, int64_t highest,
                              const int64_t *fallback, int64_t *out) {
    double value, otherwise = fallback ? (double)*fallback : 0;
    QN_TRY(qn_ct2_read_real(f, name, (double)lowest, (double)highest, fallback ? &otherwise : NULL, &value));
    if (floor(value) < value)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %g (expected a whole number)", f->path, name, value);
    *out = (int64_t)value;
    return QN_OK;
}

qn_status qn_ct2_need(const qn_ct2 *f, const char *name, int dims, const int64_t *shape, const qn_ct2_variable **out) {
    const qn_ct2_variable *v = qn_ct2_find(f, name);
    *out = v;
    if (!v) return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%.100s\" is missing", f->path, name);
    bool same = v->dims == dims;
    for (int i = 0; same && i < dims; i++) same = v->shape[i] == shape[i];
    if (!same) {
        qn_buffer have = {0}, want = {0};
        for (int i = 0; i < v->dims; i++) qn_buffer_printf(&have, "%s%" PRId64, i ? ", " : "", v->shape[i]);
        for (int i = 0; i < dims; i++) qn_buffer_printf(&want, "%s%" PRId64, i ? ", " : "", shape[i]);
        qn_status status = qn_fail(QN_ERROR_FORMAT, "%s: variable \"%.100s\" has the shape [%s] (expected [%s])",
                                   f->path, name, have.data ? have.data : "", want.data ? want.data : "");
        qn_buffer_free(&have);
        qn_buffer_free(&want);
        return status;
    }
    bool whole = v->dtype == QN_CT2_I8 || v->dtype == QN_CT2_I16 || v->dtype == QN_CT2_I32;
    if (whole && !v->scale)
        return qn_fail(
            QN_ERROR_UNSUPPORTED,
            "%s: variable \"%.100s\" is %s without a scale (expected weights of CTranslate2's own quantization)",
            f->path, name, dtypes[v->dtype].name);
    return QN_OK;
}
