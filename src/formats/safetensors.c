// Reading of safetensors: the header is parsed and every rule of the format is checked before a tensor is handed out.
#include "formats/safetensors.h"
#include "base/file.h"
#include "base/memory.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file formats are little-endian, and so must be the machine"
#endif

// The reference library's limit: a header above it is refused before anything is allocated for it.
#define HEADER_LIMIT 100000000u

struct qn_safetensors {
    char *path;
    qn_mapping mapping; // empty when the bytes belong to the caller
    json_t *header;     // owns the names and the metadata
    json_t *metadata;   // within `header`, or NULL
    qn_st_tensor *tensors;
    const qn_st_tensor **by_name;
    size_t count;
};

// A tensor while its place in the file is still to be checked.
typedef struct {
    qn_st_tensor tensor;
    uint64_t begin, end;
} item;

const char *qn_st_dtype_name(qn_st_dtype dtype) {
    static const char *const names[] = {
#define NAME(name, bits) #name,
        QN_ST_DTYPE_MAP(NAME)
#undef NAME
    };
    return (unsigned)dtype < QN_ST_DTYPES ? names[dtype] : "?";
}

int qn_st_dtype_bits(qn_st_dtype dtype) {
    static const uint8_t sizes[] = {
#define BITS(name, bits) bits,
        QN_ST_DTYPE_MAP(BITS)
#undef BITS
    };
    return (unsigned)dtype < QN_ST_DTYPES ? sizes[dtype] : 0;
}

const char *qn_st_shape_text(int dims, const int64_t *shape, char *text) {
    size_t used = 0;
    text[used++] = '[';
    for (int i = 0; i < dims && i < QN_ST_MAX_DIMS; i++)
        used += (size_t)snprintf(text + used, QN_ST_SHAPE_TEXT - used, i ? ", %" PRId64 : "%" PRId64, shape[i]);
    snprintf(text + used, QN_ST_SHAPE_TEXT - used, "]");
    return text;
}

// Fails with "PATH: tensor "NAME": ..."; a name of a megabyte must not push the reason out of the message.
#define TENSOR_FAIL(status, path, name, format, ...)                                                                   \
    qn_fail(status, "%s: tensor \"%.100s\": " format, path, name, __VA_ARGS__)

static const char *json_kind(const json_t *value) {
    static const char *const kinds[] = {"an object", "a list", "a string", "a whole number",
                                        "a number",  "true",   "false",    "null"};
    return value ? kinds[json_typeof(value)] : "missing";
}

static qn_status parse_dtype(const char *path, const char *name, const json_t *value, qn_st_dtype *dtype) {
    const char *text = json_string_value(value);
    if (!text) return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "\"dtype\" is %s (expected a string)", json_kind(value));
    for (int i = 0; i < QN_ST_DTYPES; i++) {
        *dtype = (qn_st_dtype)i;
        if (!strcmp(text, qn_st_dtype_name(*dtype))) return QN_OK;
    }
#define LIST(name, bits) " " #name
    return TENSOR_FAIL(QN_ERROR_UNSUPPORTED, path, name,
                       "dtype \"%.20s\" is unknown (expected one of" QN_ST_DTYPE_MAP(LIST) ")", text);
#undef LIST
}

static qn_status parse_shape(const char *path, const char *name, const json_t *value, qn_st_tensor *tensor) {
    if (!json_is_array(value))
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "\"shape\" is %s (expected a list of sizes)", json_kind(value));
    size_t dims = json_array_size(value);
    if (dims > QN_ST_MAX_DIMS)
        return TENSOR_FAIL(QN_ERROR_UNSUPPORTED, path, name, "\"shape\" has %zu dimensions (expected at most %d)", dims,
                           QN_ST_MAX_DIMS);
    tensor->dims = (int)dims;
    for (size_t i = 0; i < dims; i++) {
        const json_t *size = json_array_get(value, i);
        if (!json_is_integer(size))
            return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "shape[%zu] is %s (expected a whole number)", i,
                               json_kind(size));
        tensor->shape[i] = json_integer_value(size);
        if (tensor->shape[i] < 0)
            return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "shape[%zu] is %" PRId64 " (expected at least 0)", i,
                               tensor->shape[i]);
    }
    return QN_OK;
}

static qn_status parse_range(const char *path, const char *name, const json_t *value, item *out) {
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    if (!json_is_array(value) || json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "\"data_offsets\" is %s (expected [begin, end])",
                           json_is_array(value) ? "another list" : json_kind(value));
    json_int_t from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || to < from)
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name,
                           "data_offsets [%" PRId64 ", %" PRId64 "] (expected 0 <= begin <= end)", (int64_t)from,
                           (int64_t)to);
    out->begin = (uint64_t)from;
    out->end = (uint64_t)to;
    return QN_OK;
}

// Bits of a dtype and shape; false when they overflow. The product is taken in order, as the reference does: a zero
// does not excuse an overflow before it.
static bool count_bits(qn_st_dtype dtype, int dims, const int64_t *shape, uint64_t *bits) {
    uint64_t count = 1;
    for (int i = 0; i < dims; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(count, (uint64_t)shape[i], &count)) return false;
    }
    return !__builtin_mul_overflow(count, (uint64_t)qn_st_dtype_bits(dtype), bits);
}

static qn_status parse_tensor(const char *path, const char *name, const json_t *value, uint64_t data_size, item *out) {
    qn_st_tensor *tensor = &out->tensor;
    tensor->name = name;
    if (!json_is_object(value))
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "is %s (expected an object with dtype, shape and data_offsets)",
                           json_kind(value));
    QN_TRY(parse_dtype(path, name, json_object_get(value, "dtype"), &tensor->dtype));
    QN_TRY(parse_shape(path, name, json_object_get(value, "shape"), tensor));
    QN_TRY(parse_range(path, name, json_object_get(value, "data_offsets"), out));

    char shape[QN_ST_SHAPE_TEXT];
    const char *dtype = qn_st_dtype_name(tensor->dtype);
    qn_st_shape_text(tensor->dims, tensor->shape, shape);
    uint64_t bits;
    if (!count_bits(tensor->dtype, tensor->dims, tensor->shape, &bits))
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "%s %s is larger than any file", dtype, shape);
    if (bits % 8) return TENSOR_FAIL(QN_ERROR_FORMAT, path, name, "%s %s is not a whole number of bytes", dtype, shape);
    if (out->end > data_size)
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name,
                           "data_offsets [%" PRIu64 ", %" PRIu64 "] reach beyond the end (the file holds %" PRIu64
                           " bytes of data)",
                           out->begin, out->end, data_size);
    if (out->end - out->begin != bits / 8)
        return TENSOR_FAIL(QN_ERROR_FORMAT, path, name,
                           "data_offsets [%" PRIu64 ", %" PRIu64 "] hold %" PRIu64 " bytes (expected %" PRIu64
                           " for %s %s)",
                           out->begin, out->end, out->end - out->begin, bits / 8, dtype, shape);
    tensor->size = (size_t)(bits / 8);
    return QN_OK;
}

static int compare_items(const void *a, const void *b) {
    const item *left = a, *right = b;
    if (left->begin != right->begin) return left->begin < right->begin ? -1 : 1;
    if (left->end != right->end) return left->end < right->end ? -1 : 1;
    return strcmp(left->tensor.name, right->tensor.name);
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const qn_st_tensor *const *)a)->name, (*(const qn_st_tensor *const *)b)->name);
}

// The tensors must tile the data: no overlap (one buffer under two names would be written by two), no hole (where bytes
// could hide).
static qn_status check_tiling(const char *path, const item *items, size_t count, uint64_t data_size) {
    uint64_t reached = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = items[i].tensor.name;
        if (items[i].begin < reached)
            return TENSOR_FAIL(QN_ERROR_FORMAT, path, name,
                               "begins at byte %" PRIu64 " of the data, inside \"%.100s\" (expected %" PRIu64 ")",
                               items[i].begin, items[i - 1].tensor.name, reached);
        if (items[i].begin > reached)
            return TENSOR_FAIL(QN_ERROR_FORMAT, path, name,
                               "begins at byte %" PRIu64 " of the data, after a hole (expected %" PRIu64 ")",
                               items[i].begin, reached);
        reached = items[i].end;
    }
    if (reached != data_size)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: the tensors end at byte %" PRIu64 " of the data (expected %" PRIu64
                       ", the end of the file)",
                       path, reached, data_size);
    return QN_OK;
}

static qn_status check_metadata(qn_safetensors *file, const json_t *header) {
    file->metadata = json_object_get(header, "__metadata__");
    if (json_is_null(file->metadata)) file->metadata = NULL;
    if (!file->metadata) return QN_OK;
    if (!json_is_object(file->metadata))
        return qn_fail(QN_ERROR_FORMAT, "%s: \"__metadata__\" is %s (expected an object of strings)", file->path,
                       json_kind(file->metadata));
    const char *key;
    json_t *value;
    json_object_foreach(file->metadata, key, value) {
        if (!json_is_string(value))
            return qn_fail(QN_ERROR_FORMAT, "%s: \"__metadata__\": \"%.100s\" is %s (expected a string)", file->path,
                           key, json_kind(value));
    }
    return QN_OK;
}

static qn_status read_tensors(qn_safetensors *file, const uint8_t *data, uint64_t data_size) {
    qn_status status = QN_OK;
    size_t count = json_object_size(file->header) - (json_object_get(file->header, "__metadata__") ? 1 : 0);
    item *items = qn_calloc(count ? count : 1, sizeof *items);
    if (!items) return QN_ERROR_MEMORY;
    size_t filled = 0;
    const char *name;
    json_t *value;
    json_object_foreach(file->header, name, value) {
        if (!strcmp(name, "__metadata__")) continue;
        QN_TRY_GOTO(status, parse_tensor(file->path, name, value, data_size, &items[filled++]), done);
    }
    qsort(items, count, sizeof *items, compare_items);
    QN_TRY_GOTO(status, check_tiling(file->path, items, count, data_size), done);

    file->tensors = qn_malloc(count ? count : 1, sizeof *file->tensors);
    file->by_name = qn_malloc(count ? count : 1, sizeof *file->by_name);
    if (!file->tensors || !file->by_name) {
        status = QN_ERROR_MEMORY;
        goto done;
    }
    file->count = count;
    for (size_t i = 0; i < count; i++) {
        items[i].tensor.data = items[i].tensor.size ? data + items[i].begin : NULL;
        file->tensors[i] = items[i].tensor;
        file->by_name[i] = &file->tensors[i];
    }
    qsort(file->by_name, count, sizeof *file->by_name, compare_names);
done:
    free(items);
    return status;
}

static qn_status read_file(qn_safetensors *file, const uint8_t *data, size_t size) {
    if (size < 8)
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu bytes are not a safetensors file (expected at least 8)", file->path,
                       size);
    uint64_t header_size;
    memcpy(&header_size, data, 8);
    if (header_size > HEADER_LIMIT)
        return qn_fail(QN_ERROR_FORMAT, "%s: a header of %" PRIu64 " bytes (expected at most %u)", file->path,
                       header_size, HEADER_LIMIT);
    if (header_size > size - 8)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: a header of %" PRIu64 " bytes in a file of %zu (truncated, or not a safetensors file)",
                       file->path, header_size, size);
    const char *text = (const char *)data + 8;
    if (!header_size || text[0] != '{')
        return qn_fail(QN_ERROR_FORMAT, "%s: the header does not begin with \"{\"", file->path);
    json_error_t error;
    file->header = json_loadb(text, (size_t)header_size, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return qn_fail(QN_ERROR_FORMAT, "%s: header, byte %d: %s", file->path, error.position, error.text);
    QN_TRY(check_metadata(file, file->header));
    return read_tensors(file, data + 8 + header_size, size - 8 - header_size);
}

static qn_status create(const char *path, qn_safetensors **out) {
    *out = NULL;
    qn_safetensors *file = qn_calloc(1, sizeof *file);
    if (!file) return QN_ERROR_MEMORY;
    file->path = qn_strdup(path);
    if (!file->path) {
        free(file);
        return QN_ERROR_MEMORY;
    }
    *out = file;
    return QN_OK;
}

qn_status qn_safetensors_open_memory(const void *data, size_t size, const char *source, qn_safetensors **out) {
    QN_TRY(create(source, out));
    qn_status status = read_file(*out, data, size);
    if (status != QN_OK) {
        qn_safetensors_close(*out);
        *out = NULL;
    }
    return status;
}

qn_status qn_safetensors_open(const char *path, qn_safetensors **out) {
    QN_TRY(create(path, out));
    qn_safetensors *file = *out;
    qn_status status = qn_map_file(path, &file->mapping);
    if (status == QN_OK) status = read_file(file, file->mapping.data, file->mapping.size);
    if (status != QN_OK) {
        qn_safetensors_close(file);
        *out = NULL;
    }
    return status;
}

void qn_safetensors_close(qn_safetensors *file) {
    if (!file) return;
    json_decref(file->header);
    qn_unmap(&file->mapping);
    free(file->tensors);
    free(file->by_name);
    free(file->path);
    free(file);
}

const char *qn_safetensors_path(const qn_safetensors *file) {
    return file->path;
}

size_t qn_safetensors_count(const qn_safetensors *file) {
    return file->count;
}

const qn_st_tensor *qn_safetensors_at(const qn_safetensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

const qn_st_tensor *qn_safetensors_find(const qn_safetensors *file, const char *name) {
    const qn_st_tensor key = {.name = name}, *wanted = &key;
    const qn_st_tensor *const *found =
        bsearch(&wanted, file->by_name, file->count, sizeof *file->by_name, compare_names);
    return found ? *found : NULL;
}

size_t qn_safetensors_metadata_count(const qn_safetensors *file) {
    return json_object_size(file->metadata);
}

const char *qn_safetensors_metadata_at(const qn_safetensors *file, size_t index, const char **value) {
    const char *key;
    json_t *text;
    json_object_foreach(file->metadata, key, text) {
        if (index-- > 0) continue;
        *value = json_string_value(text);
        return key;
    }
    return NULL;
}

const char *qn_safetensors_metadata(const qn_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}
