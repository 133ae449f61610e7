// Reading of safetensors: the header is parsed and every rule of the format is checked before a tensor is handed out.
#include "formats/safetensors.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/st_header.h"
#include <inttypes.h>
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
    qn_mapping mapping;  // empty when the bytes belong to the caller
    qn_st_header header; // the tensors in the order of their bytes
    const qn_st_tensor **by_name;
};

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
#define TENSOR_FAIL(path, name, format, ...)                                                                           \
    qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\": " format, path, name, __VA_ARGS__)

// Bits of a dtype and shape; false when they overflow. The product is taken in order, as the reference does: a zero
// does not excuse an overflow before it.
static bool count_bits(qn_st_dtype dtype, int dims, const int64_t *shape, uint64_t *bits) {
    uint64_t count = 1;
    for (int i = 0; i < dims; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(count, (uint64_t)shape[i], &count)) return false;
    }
    return !__builtin_mul_overflow(count, (uint64_t)qn_st_dtype_bits(dtype), bits);
}

// The size that dtype and shape ask for must be the size that the offsets give, inside the file.
static qn_status check_size(const char *path, const qn_st_item *item, uint64_t data_size) {
    const qn_st_tensor *tensor = &item->tensor;
    char shape[QN_ST_SHAPE_TEXT];
    const char *dtype = qn_st_dtype_name(tensor->dtype);
    qn_st_shape_text(tensor->dims, tensor->shape, shape);
    uint64_t bits;
    if (!count_bits(tensor->dtype, tensor->dims, tensor->shape, &bits))
        return TENSOR_FAIL(path, tensor->name, "%s %s is larger than any file", dtype, shape);
    if (bits % 8) return TENSOR_FAIL(path, tensor->name, "%s %s is not a whole number of bytes", dtype, shape);
    if (item->end > data_size)
        return TENSOR_FAIL(path, tensor->name,
                           "data_offsets [%" PRIu64 ", %" PRIu64 "] reach beyond the end (the file holds %" PRIu64
                           " bytes of data)",
                           item->begin, item->end, data_size);
    if (item->end - item->begin != bits / 8)
        return TENSOR_FAIL(path, tensor->name,
                           "data_offsets [%" PRIu64 ", %" PRIu64 "] hold %" PRIu64 " bytes (expected %" PRIu64
                           " for %s %s)",
                           item->begin, item->end, item->end - item->begin, bits / 8, dtype, shape);
    return QN_OK;
}

static int compare_items(const void *a, const void *b) {
    const qn_st_item *left = a, *right = b;
    if (left->begin != right->begin) return left->begin < right->begin ? -1 : 1;
    if (left->end != right->end) return left->end < right->end ? -1 : 1;
    return strcmp(left->tensor.name, right->tensor.name);
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const qn_st_tensor *const *)a)->name, (*(const qn_st_tensor *const *)b)->name);
}

// The tensors must tile the data: no overlap (one buffer under two names would be written by two), no hole (where bytes
// could hide).
static qn_status check_tiling(const char *path, const qn_st_item *items, size_t count, uint64_t data_size) {
    uint64_t reached = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = items[i].tensor.name;
        if (items[i].begin < reached)
            return TENSOR_FAIL(path, name,
                               "begins at byte %" PRIu64 " of the data, inside \"%.100s\" (expected %" PRIu64 ")",
                               items[i].begin, items[i - 1].tensor.name, reached);
        if (items[i].begin > reached)
            return TENSOR_FAIL(path, name,
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

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// A key that comes twice would have two meanings.
static qn_status check_metadata(const qn_safetensors *file) {
    size_t count = file->header.metadata_count;
    if (count < 2) return QN_OK;
    const char **keys = qn_malloc(count, sizeof *keys);
    if (!keys) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) keys[i] = file->header.metadata[i].key;
    qsort(keys, count, sizeof *keys, compare_keys);
    qn_status status = QN_OK;
    for (size_t i = 1; i < count && status == QN_OK; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            status = qn_fail(QN_ERROR_FORMAT, "%s: \"__metadata__\": \"%.100s\" is repeated", file->path, keys[i]);
    free(keys);
    return status;
}

// The tensors sorted by name, none of which comes twice.
static qn_status index_names(qn_safetensors *file) {
    qn_st_header *header = &file->header;
    file->by_name = qn_malloc(header->count ? header->count : 1, sizeof *file->by_name);
    if (!file->by_name) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < header->count; i++) file->by_name[i] = &header->items[i].tensor;
    qsort(file->by_name, header->count, sizeof *file->by_name, compare_names);
    for (size_t i = 1; i < header->count; i++)
        if (!strcmp(file->by_name[i - 1]->name, file->by_name[i]->name))
            return qn_fail(QN_ERROR_FORMAT, "%s: two tensors are called \"%.100s\"", file->path,
                           file->by_name[i]->name);
    return QN_OK;
}

static qn_status place_tensors(qn_safetensors *file, const uint8_t *data, uint64_t data_size) {
    qn_st_header *header = &file->header;
    for (size_t i = 0; i < header->count; i++) QN_TRY(check_size(file->path, &header->items[i], data_size));
    if (header->count) qsort(header->items, header->count, sizeof *header->items, compare_items);
    QN_TRY(index_names(file));
    QN_TRY(check_tiling(file->path, header->items, header->count, data_size));
    for (size_t i = 0; i < header->count; i++) {
        qn_st_item *item = &header->items[i];
        item->tensor.size = (size_t)(item->end - item->begin);
        item->tensor.data = item->tensor.size ? data + item->begin : NULL;
    }
    return QN_OK;
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
    QN_TRY(qn_st_header_parse((const char *)data + 8, (size_t)header_size, file->path, &file->header));
    QN_TRY(check_metadata(file));
    return place_tensors(file, data + 8 + header_size, size - 8 - header_size);
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
    qn_st_header_free(&file->header);
    qn_unmap(&file->mapping);
    free(file->by_name);
    free(file->path);
    free(file);
}

const char *qn_safetensors_path(const qn_safetensors *file) {
    return file->path;
}

size_t qn_safetensors_count(const qn_safetensors *file) {
    return file->header.count;
}

const qn_st_tensor *qn_safetensors_at(const qn_safetensors *file, size_t index) {
    return index < file->header.count ? &file->header.items[index].tensor : NULL;
}

const qn_st_tensor *qn_safetensors_find(const qn_safetensors *file, const char *name) {
    const qn_st_tensor key = {.name = name}, *wanted = &key;
    const qn_st_tensor *const *found =
        bsearch(&wanted, file->by_name, file->header.count, sizeof *file->by_name, compare_names);
    return found ? *found : NULL;
}

size_t qn_safetensors_metadata_count(const qn_safetensors *file) {
    return file->header.metadata_count;
}

const char *qn_safetensors_metadata_at(const qn_safetensors *file, size_t index, const char **value) {
    if (index >= file->header.metadata_count) return NULL;
    *value = file->header.metadata[index].value;
    return file->header.metadata[index].key;
}

const char *qn_safetensors_metadata(const qn_safetensors *file, const char *key) {
    for (size_t i = 0; i < file->header.metadata_count; i++)
        if (!strcmp(file->header.metadata[i].key, key)) return file->header.metadata[i].value;
    return NULL;
}
