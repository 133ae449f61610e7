// The weights of a model: one model.safetensors of its folder, or the shards that model.safetensors.index.json names,
// seen as one set of tensors; or those of a GGUF file.
#pragma once
#include "formats/gguf.h"
#include "formats/safetensors.h"

// Reading marks tensors as used, so a set of weights is for one thread at a time.
typedef struct qn_weights qn_weights;

// `path` is a folder, or a .safetensors file. model.safetensors wins over an index, as in transformers. Every shard is
// opened and checked against the index: each tensor stands in the shard that the index names, and in no other.
qn_status qn_weights_open(const char *path, qn_weights **out);
// The tensors of a GGUF file, which the weights own from then on, also on failure. `name_of` writes a tensor's name in
// a Hugging Face folder into `name`; *heads above 0: the rows of each of so many heads, i and i + h / 2, stand side by
// side in the file, and are read in their usual order.
enum { QN_WEIGHT_NAME = 256 };
typedef void (*qn_weight_namer)(void *user, const qn_gguf_tensor *tensor, char name[QN_WEIGHT_NAME], size_t *heads);
qn_status qn_weights_of_gguf(qn_gguf *file, qn_weight_namer name_of, void *user, qn_weights **out);
// A set of tensors that its maker fills: qn_weights_add gives the place of a tensor's float32 values (NULL, with the
// last error set, without memory), and qn_weights_complete ends it.
qn_status qn_weights_create(const char *path, qn_weights **out);
float *qn_weights_add(qn_weights *weights, const char *name, int dims, const int64_t *shape);
qn_status qn_weights_complete(qn_weights *weights);
void qn_weights_close(qn_weights *weights); // NULL is allowed

const char *qn_weights_path(const qn_weights *weights); // as given to open
size_t qn_weights_count(const qn_weights *weights);
const qn_st_tensor *qn_weights_at(const qn_weights *weights, size_t index); // sorted by name
const qn_st_tensor *qn_weights_find(const qn_weights *weights,
                                    const char *name); // NULL when there is none; marks nothing
const char *qn_weights_metadata(const qn_weights *weights,
                                const char *key); // of the first file; NULL when there is none

const char *qn_weights_dtype(const qn_weights *weights, size_t index); // "F32", "Q4_1"
// The tensor of a GGUF file as it stands there, and where row `row` of it is; NULL: no GGUF file, or no such tensor.
const qn_gguf_tensor *qn_weights_blocks(const qn_weights *weights, const char *name, size_t *heads);
int64_t qn_weights_block_row(const qn_gguf_tensor *tensor, size_t heads, int64_t row);
bool qn_weights_is_gguf(const qn_weights *weights); // NULL is allowed

// Copies a tensor of F32, F16, BF16, F64 or blocks into `out` as float32, and marks it as used. Fails, naming the file,
// when the tensor is missing, of another dtype, or not of exactly this shape.
qn_status qn_weights_read_f32(qn_weights *weights, const char *name, int dims, const int64_t *shape, float *out);

// The same without a copy: *out points into the mapped file when the tensor is F32 and aligned, and is NULL otherwise
// (then read it).
qn_status qn_weights_view_f32(qn_weights *weights, const char *name, int dims, const int64_t *shape, const float **out);

// Converts `count` elements of a float dtype from unaligned bytes; the dtype must be one that qn_st_is_float() accepts.
bool qn_st_is_float(qn_st_dtype dtype); // F32, F16, BF16, F64
void qn_st_to_f32(qn_st_dtype dtype, const uint8_t *data, size_t count, float *out);

// Tensors that nobody read, for a warning: start with *cursor = 0; NULL at the end. Marking as used silences a name
// that is known to be without effect (such as "embeddings.position_ids"); it returns false when there is no such
// tensor.
const qn_st_tensor *qn_weights_unused(const qn_weights *weights, size_t *cursor);
bool qn_weights_mark_used(qn_weights *weights, const char *name);

// The same weights stand under "bert.encoder..." or under "encoder...", depending on the head they were saved with.
// Returns the first of `count` prefixes for which prefix + probe is a tensor; NULL when none is.
const char *qn_weights_prefix(const qn_weights *weights, const char *const *prefixes, size_t count, const char *probe);

// Writes `count` tensors into `folder` as model.safetensors, or, when they take more than `max_shard` bytes (0: 5 GB),
// as model-00001-of-0000N.safetensors and an index. Each file is atomic; files of an earlier layout are removed at the
// end, and until then a reader finds either the old or the new weights, unless both are sharded into the same number of
// files.
qn_status qn_weights_write(const char *folder, const qn_st_entry *entries, size_t count, const char *const *metadata,
                           size_t max_shard);

// The content of model.safetensors.index.json: which shard holds which tensor. Sorted by tensor name.
typedef struct {
    char **shards; // file names without folders, sorted
    size_t shard_count;
    struct qn_shard_entry {
        char *tensor;
        size_t shard;
    } * entries;
    size_t count;
} qn_shard_index;

qn_status qn_shard_index_parse(const char *text, size_t size, const char *source, qn_shard_index *out);
void qn_shard_index_free(qn_shard_index *index);
