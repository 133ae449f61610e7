// See gguf.h. Layout (ggml's docs/gguf.md): "GGUF", version, numbers of tensors and of values; the values; for each
// tensor its name, shape, dtype and offset; then, aligned, the tensors' bytes.
#include "formats/gguf.h"
#include "base/file.h"
#include "base/memory.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, LONGEST_NAME = 65535, MOST_VALUES = 10000, STRING = 8, LIST = 9 };

// Bytes of a value of each type of the format; 0: a string or a list.
static const struct {
    uint8_t bytes;
    qn_gguf_kind kind;
} types[] = {{1, QN_GGUF_NUMBER}, {1, QN_GGUF_NUMBER}, {2, QN_GGUF_NUMBER}, {2, QN_GGUF_NUMBER}, {4, QN_GGUF_NUMBER},
             {4, QN_GGUF_NUMBER}, {4, QN_GGUF_NUMBER}, {1, QN_GGUF_BOOL},   {0, QN_GGUF_STRING}, {0, QN_GGUF_STRING},
             {8, QN_GGUF_NUMBER}, {8, QN_GGUF_NUMBER}, {8, QN_GGUF_NUMBER}};
enum { TYPES = sizeof types / sizeof *types };

static const struct {
    const char *name;
    uint32_t number, elements, bytes;
} dtypes[] = {
#define DTYPE(name, number, elements, bytes) {#name, number, elements, bytes},
    QN_GGUF_DTYPE_MAP(DTYPE)
#undef DTYPE
};

struct qn_gguf {
    char *path;
    qn_mapping mapping; // empty when the bytes belong to the caller
    qn_arena *names;    // of keys and tensors
    qn_gguf_value *values;
    qn_gguf_tensor *tensors;
    size_t value_count, value_capacity, tensor_count, tensor_capacity;
    const qn_gguf_tensor **by_name;
};

const char *qn_gguf_dtype_name(qn_gguf_dtype dtype) {
    return (unsigned)dtype < QN_GGUF_DTYPES ? dtypes[dtype].name : "?";
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

static qn_status read_number(cursor *c, size_t bytes, const char *what, uint64_t *out) {
    QN_TRY(need(c, bytes, what));
    *out = 0;
    memcpy(out, c->at, bytes);
    c->at += bytes;
    return QN_OK;
}

static qn_status read_name(cursor *c, qn_arena *names, const char *what, const char **out) {
    uint64_t size;
    QN_TRY(read_number(c, 8, what, &size));
    if (size > LONGEST_NAME)
        return FAIL_AT(c, "%s of %" PRIu64 " bytes (expected at most %d)", what, size, LONGEST_NAME);
    QN_TRY(need(c, size, what));
    if (memchr(c->at, 0, (size_t)size)) return FAIL_AT(c, "%s with a NUL in it", what);
    *out = qn_arena_strndup(names, (const char *)c->at, (size_t)size);
    c->at += size;
    return *out ? QN_OK : QN_ERROR_MEMORY;
}

static bool skip_strings(cursor *c, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t size;
        if (c->end - c->at < 8) return false;
        memcpy(&size, c->at, 8);
        c->at += 8;
        if (size > (uint64_t)(c->end - c->at)) return false;
        c->at += size;
    }
    return true;
}

static bool skip_numbers(cursor *c, uint64_t count, size_t bytes) {
    uint64_t all;
    if (__builtin_mul_overflow(count, bytes, &all) || all > (uint64_t)(c->end - c->at)) return false;
    c->at += all;
    return true;
}

static qn_status read_value(cursor *c, qn_gguf *f) {
    QN_TRY(qn_grow((void **)&f->values, &f->value_capacity, f->value_count + 1, sizeof *f->values));
    qn_gguf_value *v = &f->values[f->value_count];
    uint64_t type;
    *v = (qn_gguf_value){.count = 1};
    QN_TRY(read_name(c, f->names, "a key", &v->key));
    if (qn_gguf_value_of(f, v->key)) return FAIL_AT(c, "the key \"%.100s\" is repeated", v->key);
    QN_TRY(read_number(c, 4, "a value's type", &type));
    v->list = type == LIST;
    if (v->list) {
        QN_TRY(read_number(c, 4, "a list's type", &type));
        QN_TRY(read_number(c, 8, "a list's length", &v->count));
    }
    if (type >= TYPES || type == LIST)
        return FAIL_AT(c, "key \"%.100s\": type %" PRIu64 " %s", v->key, type,
                       type == LIST ? "is a list in a list, which is not read" : "is unknown");
    v->type = (uint32_t)type;
    v->kind = types[type].kind;
    v->data = c->at;
    f->value_count++;
    bool whole = type == STRING ? skip_strings(c, v->count) : skip_numbers(c, v->count, types[type].bytes);
    return whole ? QN_OK : FAIL_AT(c, "key \"%.100s\": the file ends within its value", v->key);
}

static qn_status read_shape(cursor *c, qn_gguf_tensor *t) {
    uint64_t dims, size;
    QN_TRY(read_number(c, 4, "a tensor's dimensions", &dims));
    if (dims > QN_GGUF_MAX_DIMS)
        return FAIL_AT(c, "tensor \"%.100s\": %" PRIu64 " dimensions (expected at most %d)", t->name, dims,
                       QN_GGUF_MAX_DIMS);
    t->dims = (int)dims;
    t->count = 1;
    for (int i = t->dims - 1; i >= 0; i--) {
        QN_TRY(read_number(c, 8, "a tensor's shape", &size));
        if (size > INT64_MAX || __builtin_mul_overflow(t->count, (int64_t)size, &t->count))
            return FAIL_AT(c, "tensor \"%.100s\" is larger than any file", t->name);
        t->shape[i] = (int64_t)size;
    }
    return QN_OK;
}

static qn_status read_dtype(cursor *c, qn_gguf_tensor *t) {
    uint64_t number;
    QN_TRY(read_number(c, 4, "a tensor's dtype", &number));
    size_t dtype = 0;
    while (dtype < QN_GGUF_DTYPES && dtypes[dtype].number != number) dtype++;
    if (dtype == QN_GGUF_DTYPES)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: tensor \"%.100s\" has dtype number %" PRIu64 ", which is not read",
                       c->path, t->name, number);
    t->dtype = (qn_gguf_dtype)dtype;
    int64_t row = t->dims ? t->shape[t->dims - 1] : 1, block = dtypes[dtype].elements;
    if (row % block)
        return FAIL_AT(c, "tensor \"%.100s\": rows of %" PRId64 " (expected a multiple of %" PRId64 " for %s)", t->name,
                       row, block, dtypes[dtype].name);
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)(t->count / block), (uint64_t)dtypes[dtype].bytes, &bytes) || bytes > SIZE_MAX)
        return FAIL_AT(c, "tensor \"%.100s\" is larger than any file", t->name);
    t->size = (size_t)bytes;
    return QN_OK;
}

// The offset is kept in `data` until the place of the data is known.
static qn_status read_tensor(cursor *c, qn_gguf *f, uint64_t *offset) {
    QN_TRY(qn_grow((void **)&f->tensors, &f->tensor_capacity, f->tensor_count + 1, sizeof *f->tensors));
    qn_gguf_tensor *t = &f->tensors[f->tensor_count++];
    *t = (qn_gguf_tensor){0};
    QN_TRY(read_name(c, f->names, "a tensor's name", &t->name));
    QN_TRY(read_shape(c, t));
    QN_TRY(read_dtype(c, t));
    return read_number(c, 8, "a tensor's offset", offset);
}

static int compare_tensors(const void *a, const void *b) {
    return strcmp((*(const qn_gguf_tensor *const *)a)->name, (*(const qn_gguf_tensor *const *)b)->name);
}

static qn_status index_tensors(qn_gguf *f) {
    f->by_name = qn_malloc(f->tensor_count, sizeof *f->by_name);
    if (!f->by_name) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < f->tensor_count; i++) f->by_name[i] = &f->tensors[i];
    qsort(f->by_name, f->tensor_count, sizeof *f->by_name, compare_tensors);
    for (size_t i = 1; i < f->tensor_count; i++)
        if (!strcmp(f->by_name[i - 1]->name, f->by_name[i]->name))
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" is repeated", f->path, f->by_name[i]->name);
    return QN_OK;
}

static qn_status place_tensors(cursor *c, qn_gguf *f, const uint64_t *offsets, uint64_t alignment) {
    uint64_t used = (uint64_t)(c->at - c->begin), size = (uint64_t)(c->end - c->begin);
    uint64_t first = (used + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < f->tensor_count; i++) {
        qn_gguf_tensor *t = &f->tensors[i];
        uint64_t begin = first + offsets[i];
        if (offsets[i] % alignment)
            return qn_fail(QN_ERROR_FORMAT,
                           "%s: tensor \"%.100s\": offset %" PRIu64 " (expected a multiple of %" PRIu64 ")", f->path,
                           t->name, offsets[i], alignment);
        if (first > size || offsets[i] > size - first || t->size > size - begin)
            return qn_fail(QN_ERROR_FORMAT,
                           "%s: tensor \"%.100s\": %zu bytes at offset %" PRIu64 " reach beyond the end of the file",
                           f->path, t->name, t->size, offsets[i]);
        t->data = c->begin + begin;
    }
    return index_tensors(f);
}

static qn_status read_all(cursor *c, qn_gguf *f) {
    uint64_t magic, version, tensors, values;
    QN_TRY(read_number(c, 4, "the header", &magic));
    if (magic != 0x46554747u)
        return qn_fail(QN_ERROR_FORMAT, "%s: is not a GGUF file (expected \"GGUF\" at its begin)", f->path);
    QN_TRY(read_number(c, 4, "the header", &version));
    if (version < 2 || version > 3)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: GGUF version %" PRIu64 " (expected 2 or 3, little-endian)", f->path,
                       version);
    QN_TRY(read_number(c, 8, "the header", &tensors));
    QN_TRY(read_number(c, 8, "the header", &values));
    if (values > MOST_VALUES) // each key is compared with those before it
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: %" PRIu64 " keys (expected at most %d)", f->path, values,
                       MOST_VALUES);
    for (uint64_t i = 0; i < values; i++) QN_TRY(read_value(c, f));
    const int64_t usual = ALIGNMENT;
    int64_t alignment;
    QN_TRY(qn_gguf_read_integer(f, "general.alignment", 1, 1 << 20, &usual, &alignment));
    uint64_t *offsets = NULL;
    size_t capacity = 0;
    qn_status status = QN_OK;
    for (uint64_t i = 0; status == QN_OK && i < tensors; i++) {
        status = qn_grow((void **)&offsets, &capacity, (size_t)i + 1, sizeof *offsets);
        if (status == QN_OK) status = read_tensor(c, f, &offsets[i]);
    }
    if (status == QN_OK) status = place_tensors(c, f, offsets, (uint64_t)alignment);
    free(offsets);
    return status;
}

qn_status qn_gguf_open_memory(const void *data, size_t size, const char *source, qn_gguf **out) {
    *out = NULL;
    qn_gguf *f = qn_calloc(1, sizeof *f);
    if (!f) return QN_ERROR_MEMORY;
    f->path = qn_strdup(source);
    f->names = qn_arena_create(1 << 14);
    qn_status status = QN_ERROR_MEMORY;
    if (f->path && f->names) {
        cursor c = {f->path, data, data, (const uint8_t *)data + size};
        status = read_all(&c, f);
    }
    if (status != QN_OK) {
        qn_gguf_close(f);
        return status;
    }
    *out = f;
    return QN_OK;
}

qn_status qn_gguf_open(const char *path, qn_gguf **out) {
    qn_mapping mapping;
    *out = NULL;
    QN_TRY(qn_map_file(path, &mapping));
    qn_status status = qn_gguf_open_memory(mapping.data, mapping.size, path, out);
    if (status != QN_OK)
        qn_unmap(&mapping);
    else
        (*out)->mapping = mapping;
    return status;
}

void qn_gguf_close(qn_gguf *f) {
    if (!f) return;
    qn_unmap(&f->mapping);
    qn_arena_destroy(f->names);
    free(f->values);
    free(f->tensors);
    free(f->by_name);
    free(f->path);
    free(f);
}

const char *qn_gguf_path(const qn_gguf *f) {
    return f->path;
}

size_t qn_gguf_count(const qn_gguf *f) {
    return f->tensor_count;
}

const qn_gguf_tensor *qn_gguf_at(const qn_gguf *f, size_t index) {
    return index < f->tensor_count ? &f->tensors[index] : NULL;
}

const qn_gguf_tensor *qn_gguf_find(const qn_gguf *f, const char *name) {
    const qn_gguf_tensor key = {.name = name}, *wanted = &key;
    const qn_gguf_tensor **found = bsearch(&wanted, f->by_name, f->tensor_count, sizeof *f->by_name, compare_tensors);
    return found ? *found : NULL;
}

void qn_gguf_forget(const qn_gguf *f, const qn_gguf_tensor *t) {
    if (f->mapping.data) qn_forget_pages(t->data, t->size);
}

// --- Metadata

size_t qn_gguf_values(const qn_gguf *f) {
    return f->value_count;
}

const qn_gguf_value *qn_gguf_value_at(const qn_gguf *f, size_t index) {
    return index < f->value_count ? &f->values[index] : NULL;
}

const qn_gguf_value *qn_gguf_value_of(const qn_gguf *f, const char *key) {
    for (size_t i = 0; i < f->value_count; i++)
        if (!strcmp(f->values[i].key, key)) return &f->values[i];
    return NULL;
}

double qn_gguf_number(const qn_gguf_value *v, uint64_t index) {
    if (index >= v->count || v->type >= TYPES || v->kind == QN_GGUF_STRING) return NAN;
    const uint8_t *at = v->data + index * types[v->type].bytes;
    switch (v->type) {
#define CASE(number, type)                                                                                             \
    case number: {                                                                                                     \
        type value;                                                                                                    \
        memcpy(&value, at, sizeof value);                                                                              \
        return (double)value;                                                                                          \
    }
        CASE(0, uint8_t)
        CASE(1, int8_t)
        CASE(2, uint16_t)
        CASE(3, int16_t)
        CASE(4, uint32_t)
        CASE(5, int32_t)
        CASE(6, float)
        CASE(10, uint64_t)
        CASE(11, int64_t)
        CASE(12, double)
#undef CASE
    default:
        return *at != 0;
    }
}

const char *qn_gguf_next_string(const uint8_t **at, size_t *size) {
    uint64_t length;
    memcpy(&length, *at, 8);
    const char *text = (const char *)*at + 8;
    *at += 8 + length;
    *size = (size_t)length;
    return text;
}

static qn_status find_value(const qn_gguf *f, const char *key, qn_gguf_kind kind, const char *expected,
                            const qn_gguf_value **out) {
    *out = qn_gguf_value_of(f, key);
    if (!*out) return qn_fail(QN_ERROR_FORMAT, "%s: there is no key \"%s\" (expected %s)", f->path, key, expected);
    if ((*out)->list || (*out)->kind != kind)
        return qn_fail(QN_ERROR_FORMAT, "%s: key \"%s\" is something else (expected %s)", f->path, key, expected);
    return QN_OK;
}

qn_status qn_gguf_read_real(const qn_gguf *f, const char *key, double lowest, double highest, const double *fallback,
                            double *out) {
    const qn_gguf_value *v;
    if (fallback && !qn_gguf_value_of(f, key)) return *out = *fallback, QN_OK;
    QN_TRY(find_value(f, key, QN_GGUF_NUMBER, "a number", &v));
    *out = qn_gguf_number(v, 0);
    if (*out >= lowest && *out <= highest) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %g (expected %g to %g)", f->path, key, *out, lowest, highest);
}

qn_status qn_gguf_read_integer(const qn_gguf *f, const char *key, int64_t lowest, int64_t highest,
                               const int64_t *fallback, int64_t *out) {
    double value, otherwise = fallback ? (double)*fallback : 0;
    QN_TRY(qn_gguf_read_real(f, key, (double)lowest, (double)highest, fallback ? &otherwise : NULL, &value));
    *out = (int64_t)value;
    if ((double)*out < value || (double)*out > value)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %g (expected a whole number)", f->path, key, value);
    return QN_OK;
}

qn_status qn_gguf_read_string(const qn_gguf *f, const char *key, const char **text, size_t *size) {
    const qn_gguf_value *v;
    QN_TRY(find_value(f, key, QN_GGUF_STRING, "a string", &v));
    const uint8_t *at = v->data;
    *text = qn_gguf_next_string(&at, size);
    return QN_OK;
}
