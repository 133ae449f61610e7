// A model's weights as one set of tensors: opening of single and sharded files, and of GGUF, and conversion to float32.
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
    const qn_gguf_tensor *blocks; // of a GGUF file, or NULL
    size_t heads;                 // whose rows stand in pairs there
    bool used;
} slot;

struct qn_weights {
    char *path;
    qn_safetensors **files;
    size_t file_count;
    slot *slots; // sorted by name
    size_t count;
    qn_gguf *gguf;         // in place of `files`
    qn_st_tensor *renamed; // its tensors
    qn_arena *names;       // ... and their names; or tensors that were made
    size_t capacity;       // of `slots`, where tensors are made
};

static int compare_slots(const void *a, const void *b) {
    return strcmp(((const slot *)a)->tensor->name, ((const slot *)b)->tensor->name);
}

static const char *path_of(const qn_weights *weights, const slot *s) {
    return weights->files ? qn_safetensors_path(weights->files[s->file]) : weights->path;
}

// Sorts the slots; refuses a name that two have.
static qn_status finish(qn_weights *weights) {
    qsort(weights->slots, weights->count, sizeof *weights->slots, compare_slots);
    for (size_t i = 1; i < weights->count; i++) {
        const slot *left = &weights->slots[i - 1], *right = &weights->slots[i];
        if (strcmp(left->tensor->name, right->tensor->name)) continue;
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" stands in %s too", path_of(weights, left),
                       left->tensor->name, path_of(weights, right));
    }
    return QN_OK;
}

// Gathers the tensors of all files.
static qn_status gather(qn_weights *weights) {
    size_t total = 0, filled = 0;
    for (size_t f = 0; f < weights->file_count; f++) total += qn_safetensors_count(weights->files[f]);
    weights->slots = qn_calloc(total ? total : 1, sizeof *weights->slots);
    if (!weights->slots) return QN_ERROR_MEMORY;
    for (size_t f = 0; f < weights->file_count; f++)
        for (size_t i = 0; i < qn_safetensors_count(weights->files[f]); i++)
            weights->slots[filled++] = (slot){.tensor = qn_safetensors_at(weights->files[f], i), .file = f};
    weights->count = total;
    return finish(weights);
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

// --- GGUF

// A tensor as one of a safetensors file.
static qn_st_tensor renamed(const qn_gguf_tensor *t, const char *name) {
    static const qn_st_dtype dtypes[] = {
        [QN_GGUF_F32] = QN_ST_F32, [QN_GGUF_F16] = QN_ST_F16, [QN_GGUF_BF16] = QN_ST_BF16};
    bool plain = t->dtype == QN_GGUF_F32 || t->dtype == QN_GGUF_F16 || t->dtype == QN_GGUF_BF16;
    qn_st_tensor out = {name, plain ? dtypes[t->dtype] : QN_ST_BLOCKS, t->dims, {0}, t->data, t->size};
    for (int i = 0; i < t->dims; i++) out.shape[i] = t->shape[i];
    return out;
}

static qn_status gather_gguf(qn_weights *weights, qn_weight_namer name_of, void *user) {
    size_t count = qn_gguf_count(weights->gguf);
    weights->path = qn_strdup(qn_gguf_path(weights->gguf));
    weights->slots = qn_calloc(count ? count : 1, sizeof *weights->slots);
    weights->renamed = qn_calloc(count ? count : 1, sizeof *weights->renamed);
    weights->names = qn_arena_create(1 << 14);
    if (!weights->path || !weights->slots || !weights->renamed || !weights->names) return QN_ERROR_MEMORY;
    for (; weights->count < count; weights->count++) {
        const qn_gguf_tensor *t = qn_gguf_at(weights->gguf, weights->count);
        slot *s = &weights->slots[weights->count];
        char name[QN_WEIGHT_NAME];
        name_of(user, t, name, &s->heads);
        const char *kept = qn_arena_strndup(weights->names, name, strlen(name));
        if (!kept) return QN_ERROR_MEMORY;
        bool rows = t->dims == 2 || (t->dims == 1 && renamed(t, kept).dtype != QN_ST_BLOCKS);
        if (s->heads && (!rows || t->shape[0] % (int64_t)(2 * s->heads)))
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\": its rows are no %zu heads of even width",
                           weights->path, t->name, s->heads);
        weights->renamed[weights->count] = renamed(t, kept);
        s->tensor = &weights->renamed[weights->count];
        s->blocks = t;
    }
    return finish(weights);
}

qn_status qn_weights_of_gguf(qn_gguf *file, qn_weight_namer name_of, void *user, qn_weights **out) {
    *out = NULL;
    qn_weights *weights = qn_calloc(1, sizeof *weights);
    if (!weights) {
        qn_gguf_close(file);
        return QN_ERROR_MEMORY;
    }
    weights->gguf = file;
    qn_status status = gather_gguf(weights, name_of, user);
    if (status != QN_OK) {
        qn_weights_close(weights);
        return status;
    }
    *out = weights;
    return QN_OK;
}

// --- Tensors that are made

qn_status qn_weights_create(const char *path, qn_weights **out) {
    *out = qn_calloc(1, sizeof **out);
    if (!*out) return QN_ERROR_MEMORY;
    (*out)->path = qn_strdup(path);
    (*out)->names = qn_arena_create(1 << 16);
    if ((*out)->path && (*out)->names) return QN_OK;
    qn_weights_close(*out);
    *out = NULL;
    return QN_ERROR_MEMORY;
}

float *qn_weights_add(qn_weights *weights, const char *name, int dims, const int64_t *shape) {
    size_t count = 1;
    for (int i = 0; i < dims; i++) count *= (size_t)shape[i]; // of sizes that a file in memory has
    if (qn_grow((void **)&weights->slots, &weights->capacity, weights->count + 1, sizeof *weights->slots) != QN_OK)
        return NULL;
    qn_st_tensor *t = qn_arena_zalloc(weights->names, 1, sizeof *t);
    float *values = qn_arena_alloc(weights->names, count, sizeof *values);
    char *kept = qn_arena_strndup(weights->names, name, strlen(name));
    if (!t || !values || !kept) return NULL;
    *t = (qn_st_tensor){kept, QN_ST_F32, dims, {0}, (const uint8_t *)values, count * sizeof *values};
    for (int i = 0; i < dims; i++) t->shape[i] = shape[i];
    weights->slots[weights->count++] = (slot){.tensor = t};
    return values;
}

qn_status qn_weights_complete(qn_weights *weights) {
    return finish(weights);
}

bool qn_weights_is_gguf(const qn_weights *weights) {
    return weights && weights->gguf;
}

void qn_weights_close(qn_weights *weights) {
    if (!weights) return;
    qn_gguf_close(weights->gguf);
    qn_arena_destroy(weights->names);
    free(weights->renamed);
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

const char *qn_weights_dtype(const qn_weights *weights, size_t index) {
    const slot *s = &weights->slots[index];
    return s->blocks ? qn_gguf_dtype_name(s->blocks->dtype) : qn_st_dtype_name(s->tensor->dtype);
}

const qn_gguf_tensor *qn_weights_blocks(const qn_weights *weights, const char *name, size_t *heads) {
    const slot *found = find_slot(weights, name);
    if (!found || !found->blocks) return NULL;
    *heads = found->heads;
    return found->blocks;
}

int64_t qn_weights_block_row(const qn_gguf_tensor *t, size_t heads, int64_t row) {
    if (!heads) return row;
    int64_t h = t->shape[0] / (int64_t)heads, i = row % h;
    return row - i + i % (h / 2) * 2 + i / (h / 2);
}

const char *qn_weights_metadata(const qn_weights *weights, const char *key) {
    return weights->file_count ? qn_safetensors_metadata(weights->files[0], key) : NULL;
}

bool qn_st_is_float(qn_st_dtype dtype) {
    return dtype == QN_ST_F32 || dtype == QN_ST_F16 || dtype == QN_ST_BF16 || dtype == QN_ST_F64 ||
           dtype == QN_ST_BLOCKS;
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
static qn_status take(qn_weights *weights, const char *name, int dims, const int64_t *shape, const slot **out) {
    slot *found = find_slot(weights, name);
    if (!found) return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" is missing", weights->path, name);
    const qn_st_tensor *tensor = found->tensor;
    const char *path = path_of(weights, found);
    if (!qn_st_is_float(tensor->dtype))
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" is %s (expected F32, F16, BF16 or F64)", path, name,
                       qn_st_dtype_name(tensor->dtype));
    if (dims != tensor->dims || (dims && memcmp(shape, tensor->shape, (size_t)dims * sizeof *shape))) {
        char have[QN_ST_SHAPE_TEXT], want[QN_ST_SHAPE_TEXT];
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\" has the shape %s (expected %s)", path, name,
                       qn_st_shape_text(tensor->dims, tensor->shape, have), qn_st_shape_text(dims, shape, want));
    }
    found->used = true;
    *out = found;
    return QN_OK;
}

static void read_blocks(const qn_gguf *file, const slot *s, float *out) {
    const qn_gguf_tensor *t = s->blocks;
    int64_t rows = s->heads ? t->shape[0] : 1, width = rows ? t->count / rows : 0;
    for (int64_t i = 0; i < rows; i++)
        qn_gguf_to_f32(t, qn_weights_block_row(t, s->heads, i) * width, width, out + i * width);
    qn_gguf_forget(file, t);
}

qn_status qn_weights_read_f32(qn_weights *weights, const char *name, int dims, const int64_t *shape, float *out) {
    const slot *found;
    QN_TRY(take(weights, name, dims, shape, &found));
    const qn_st_tensor *tensor = found->tensor;
    if (found->blocks) {
        read_blocks(weights->gguf, found, out);
        return QN_OK;
    }
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
    const slot *found;
    *out = NULL;
    QN_TRY(take(weights, name, dims, shape, &found));
    const qn_st_tensor *tensor = found->tensor;
    if (tensor->dtype == QN_ST_F32 && !found->heads && (uintptr_t)tensor->data % _Alignof(float) == 0)
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
