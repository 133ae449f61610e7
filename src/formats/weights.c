// A model folder's weights as one set of tensors: opening of single and sharded files, and conversion to float32.
#include "formats/weights.h"
#include "base/file.h"
#include "base/half.h"
#include "base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The largest index read: at a hundred bytes a tensor, a million tensors.
#define INDEX_LIMIT 100000000u
#define PIECE ((size_t)1 << 20) // elements converted at a time

// A tensor of the set, the file it stands in, and whether somebody read it.
typedef struct {
    const qn_st_tensor *tensor;
    size_t file;
    bool used;
} slot;

struct qn_weights {
    char *path;
    qn_safetensors **files;
    size_t file_count;
    slot *slots; // sorted by name
    size_t count;
};

static int compare_slots(const void *a, const void *b) {
    return strcmp(((const slot *)a)->tensor->name, ((const slot *)b)->tensor->name);
}

// Gathers the tensors of all files, and refuses a name that two files have.
static qn_status gather(qn_weights *weights) {
    size_t total = 0, filled = 0;
    for (size_t f = 0; f < weights->file_count; f++) total += qn_safetensors_count(weights->files[f]);
    weights->slots = qn_calloc(total ? total : 1, sizeof *weights->slots);
    if (!weights->slots) return QN_ERROR_MEMORY;
    for (size_t f = 0; f < weights->file_count; f++)
        for (size_t i = 0; i < qn_safetensors_count(weights->files[f]); i++)
            weights->slots[filled++] = (slot){.tensor = qn_safetensors_at(weights->files[f], i), .file = f};
    weights->count = total;
    qsort(weights->slots, total, sizeof *weights->slots, compare_slots);
    for (size_t i = 1; i < total; i++) {
        const slot *left = &weights->slots[i - 1], *right = &weights->slots[i];
        if (strcmp(left->tensor->name, right->tensor->name)) continue;
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" stands in %s too",
                       qn_safetensors_path(weights->files[left->file]), left->tensor->name,
                       qn_safetensors_path(weights->files[right->file]));
    }
    return QN_OK;
}

// Both lists are sorted by name: they must be the same list.
static qn_status compare_with_index(const qn_weights *weights, const qn_shard_index *index, const char *path) {
    size_t i = 0, s = 0;
    while (i < index->count || s < weights->count) {
        const slot *found = s < weights->count ? &weights->slots[s] : NULL;
        const struct qn_shard_entry *listed = i < index->count ? &index->entries[i] : NULL;
        int order = !found ? -1 : !listed ? 1 : strcmp(listed->tensor, found->tensor->name);
        if (order < 0)
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" is not in %s (the index says it is)", path,
                           listed->tensor, index->shards[listed->shard]);
        if (order > 0)
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" of %s is not in the index", path,
                           found->tensor->name, index->shards[found->file]);
        if (listed->shard != found->file)
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" stands in %s (the index says %s)", path,
                           listed->tensor, index->shards[found->file], index->shards[listed->shard]);
        i++, s++;
    }
    return QN_OK;
}

static qn_status open_single(qn_weights *weights, const char *path) {
    weights->files = qn_calloc(1, sizeof *weights->files);
    if (!weights->files) return QN_ERROR_MEMORY;
    QN_TRY(qn_safetensors_open(path, &weights->files[0]));
    weights->file_count = 1;
    return gather(weights);
}

static qn_status open_shards(qn_weights *weights, const qn_shard_index *index, const char *folder,
                             const char *index_path) {
    weights->files = qn_calloc(index->shard_count, sizeof *weights->files);
    if (!weights->files) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < index->shard_count; i++) {
        char *path = qn_path_join(folder, index->shards[i]);
        if (!path) return QN_ERROR_MEMORY;
        qn_status status = qn_is_file(path)
                               ? qn_safetensors_open(path, &weights->files[i])
                               : qn_fail(QN_ERROR_IO, "%s: missing (%s names it as a shard)", path, index_path);
        free(path);
        if (status != QN_OK) return status;
        weights->file_count = i + 1;
    }
    QN_TRY(gather(weights));
    return compare_with_index(weights, index, index_path);
}

static qn_status open_index(qn_weights *weights, const char *folder, const char *index_path) {
    qn_buffer text = {0};
    qn_shard_index index = {0};
    qn_status status = qn_read_file(index_path, INDEX_LIMIT, &text);
    if (status == QN_OK) status = qn_shard_index_parse(text.data, text.size, index_path, &index);
    if (status == QN_OK) status = open_shards(weights, &index, folder, index_path);
    qn_shard_index_free(&index);
    qn_buffer_free(&text);
    return status;
}

static qn_status open_folder(qn_weights *weights, const char *folder) {
    qn_status status = QN_ERROR_MEMORY;
    char *single = qn_path_join(folder, "model.safetensors");
    char *index = qn_path_join(folder, "model.safetensors.index.json");
    char *pickle = qn_path_join(folder, "pytorch_model.bin");
    if (single && index && pickle) {
        if (qn_is_file(single))
            status = open_single(weights, single);
        else if (qn_is_file(index))
            status = open_index(weights, folder, index);
        else if (qn_is_file(pickle))
            status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: only pytorch_model.bin (expected model.safetensors)", folder);
        else
            status = qn_fail(QN_ERROR_IO, "%s: no model.safetensors and no model.safetensors.index.json", folder);
    }
    free(single);
    free(index);
    free(pickle);
    return status;
}

qn_status qn_weights_open(const char *path, qn_weights **out) {
    *out = NULL;
    qn_weights *weights = qn_calloc(1, sizeof *weights);
    if (!weights) return QN_ERROR_MEMORY;
    qn_status status = QN_ERROR_MEMORY;
    weights->path = qn_strdup(path);
    if (weights->path) {
        if (qn_is_folder(path))
            status = open_folder(weights, path);
        else
            status = open_single(weights, path);
    }
    if (status != QN_OK) {
        qn_weights_close(weights);
        return status;
    }
    *out = weights;
    return QN_OK;
}

void qn_weights_close(qn_weights *weights) {
    if (!weights) return;
    for (size_t i = 0; i < weights->file_count; i++) qn_safetensors_close(weights->files[i]);
    free(weights->files);
    free(weights->slots);
    free(weights->path);
    free(weights);
}

const char *qn_weights_path(const qn_weights *weights) {
    return weights->path;
}

size_t qn_weights_count(const qn_weights *weights) {
    return weights->count;
}

const qn_st_tensor *qn_weights_at(const qn_weights *weights, size_t index) {
    return index < weights->count ? weights->slots[index].tensor : NULL;
}

static slot *find_slot(const qn_weights *weights, const char *name) {
    const qn_st_tensor tensor = {.name = name};
    const slot key = {.tensor = &tensor};
    return bsearch(&key, weights->slots, weights->count, sizeof key, compare_slots);
}

const qn_st_tensor *qn_weights_find(const qn_weights *weights, const char *name) {
    const slot *found = find_slot(weights, name);
    return found ? found->tensor : NULL;
}

const char *qn_weights_metadata(const qn_weights *weights, const char *key) {
    return weights->file_count ? qn_safetensors_metadata(weights->files[0], key) : NULL;
}

bool qn_st_is_float(qn_st_dtype dtype) {
    return dtype == QN_ST_F32 || dtype == QN_ST_F16 || dtype == QN_ST_BF16 || dtype == QN_ST_F64;
}

void qn_st_to_f32(qn_st_dtype dtype, const uint8_t *data, size_t count, float *out) {
    if (!count) return;
    uint16_t half;
    double wide;
    switch (dtype) {
    case QN_ST_F32:
        memcpy(out, data, count * sizeof *out);
        break;
    case QN_ST_F16:
        for (size_t i = 0; i < count; i++) {
            memcpy(&half, data + 2 * i, 2);
            out[i] = qn_f16_to_f32(half);
        }
        break;
    case QN_ST_BF16:
        for (size_t i = 0; i < count; i++) {
            memcpy(&half, data + 2 * i, 2);
            out[i] = qn_bf16_to_f32(half);
        }
        break;
    case QN_ST_F64:
        for (size_t i = 0; i < count; i++) {
            memcpy(&wide, data + 8 * i, 8);
            out[i] = (float)wide;
        }
        break;
    default: // qn_st_is_float() was not asked; zeros are the least harm
        memset(out, 0, count * sizeof *out);
    }
}

// Finds a float tensor of exactly this shape, and marks it as used.
static qn_status take(qn_weights *weights, const char *name, int dims, const int64_t *shape, const qn_st_tensor **out) {
    slot *found = find_slot(weights, name);
    if (!found) return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" is missing", weights->path, name);
    const qn_st_tensor *tensor = found->tensor;
    const char *path = qn_safetensors_path(weights->files[found->file]);
    if (!qn_st_is_float(tensor->dtype))
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" is %s (expected F32, F16, BF16 or F64)", path, name,
                       qn_st_dtype_name(tensor->dtype));
    if (dims != tensor->dims || (dims && memcmp(shape, tensor->shape, (size_t)dims * sizeof *shape))) {
        char have[QN_ST_SHAPE_TEXT], want[QN_ST_SHAPE_TEXT];
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" has the shape %s (expected %s)", path, name,
                       qn_st_shape_text(tensor->dims, tensor->shape, have), qn_st_shape_text(dims, shape, want));
    }
    found->used = true;
    *out = tensor;
    return QN_OK;
}

qn_status qn_weights_read_f32(qn_weights *weights, const char *name, int dims, const int64_t *shape, float *out) {
    const qn_st_tensor *tensor;
    QN_TRY(take(weights, name, dims, shape, &tensor));
    // A piece at a time, so that a large tensor is not in memory twice.
    size_t width = (size_t)qn_st_dtype_bits(tensor->dtype) / 8, count = tensor->size / width;
    for (size_t first = 0; first < count; first += PIECE) {
        size_t n = count - first < PIECE ? count - first : PIECE;
        qn_st_to_f32(tensor->dtype, tensor->data + first * width, n, out + first);
        qn_forget_pages(tensor->data + first * width, n * width);
    }
    return QN_OK;
}

qn_status qn_weights_view_f32(qn_weights *weights, const char *name, int dims, const int64_t *shape,
                              const float **out) {
    const qn_st_tensor *tensor;
    *out = NULL;
    QN_TRY(take(weights, name, dims, shape, &tensor));
    if (tensor->dtype == QN_ST_F32 && (uintptr_t)tensor->data % _Alignof(float) == 0)
        *out = (const float *)(const void *)tensor->data;
    return QN_OK;
}

const qn_st_tensor *qn_weights_unused(const qn_weights *weights, size_t *cursor) {
    while (*cursor < weights->count) {
        const slot *next = &weights->slots[(*cursor)++];
        if (!next->used) return next->tensor;
    }
    return NULL;
}

bool qn_weights_mark_used(qn_weights *weights, const char *name) {
    slot *found = find_slot(weights, name);
    if (found) found->used = true;
    return found != NULL;
}

const char *qn_weights_prefix(const qn_weights *weights, const char *const *prefixes, size_t count, const char *probe) {
    char name[512];
    for (size_t i = 0; i < count; i++) {
        int length = snprintf(name, sizeof name, "%s%s", prefixes[i], probe);
        if (length > 0 && (size_t)length < sizeof name && qn_weights_find(weights, name)) return prefixes[i];
    }
    return NULL;
}
