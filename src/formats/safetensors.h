// safetensors files: a length of 8 bytes, a JSON header, then the tensors' bytes without holes. Reading maps the file
// and checks every rule of the format before it hands out a pointer; writing streams, and gives the same bytes as the
// reference library.
#pragma once
#include "base/status.h"

// Name in the file, bits per element. The order is that of the reference: when writing, tensors of a later dtype come
// first.
#define QN_ST_DTYPE_MAP(X)                                                                                             \
    X(BOOL, 8)                                                                                                         \
    X(F4, 4)                                                                                                           \
    X(F6_E2M3, 6)                                                                                                      \
    X(F6_E3M2, 6)                                                                                                      \
    X(U8, 8)                                                                                                           \
    X(I8, 8)                                                                                                           \
    X(F8_E5M2, 8)                                                                                                      \
    X(F8_E4M3, 8)                                                                                                      \
    X(F8_E8M0, 8)                                                                                                      \
    X(F8_E4M3FNUZ, 8)                                                                                                  \
    X(F8_E5M2FNUZ, 8)                                                                                                  \
    X(I16, 16)                                                                                                         \
    X(U16, 16)                                                                                                         \
    X(F16, 16)                                                                                                         \
    X(BF16, 16)                                                                                                        \
    X(I32, 32)                                                                                                         \
    X(U32, 32)                                                                                                         \
    X(F32, 32)                                                                                                         \
    X(C64, 64)                                                                                                         \
    X(F64, 64)                                                                                                         \
    X(I64, 64)                                                                                                         \
    X(U64, 64)

typedef enum {
#define QN_ST_DTYPE_ENUM(name, bits) QN_ST_##name,
    QN_ST_DTYPE_MAP(QN_ST_DTYPE_ENUM)
#undef QN_ST_DTYPE_ENUM
        QN_ST_DTYPES,
    QN_ST_BLOCKS = QN_ST_DTYPES // of no such file: quantized in blocks (weights.h)
} qn_st_dtype;

enum { QN_ST_MAX_DIMS = 8 };

const char *qn_st_dtype_name(qn_st_dtype dtype); // "F32"
int qn_st_dtype_bits(qn_st_dtype dtype);         // 32

// One tensor of an open file. `name` and `data` belong to the file; `data` may be unaligned, and is NULL only when size
// is 0.
typedef struct {
    const char *name;
    qn_st_dtype dtype;
    int dims;
    int64_t shape[QN_ST_MAX_DIMS];
    const uint8_t *data;
    size_t size; // bytes
} qn_st_tensor;

// "[30522, 384]", "[]" for a scalar; `text` has room for QN_ST_SHAPE_TEXT bytes. Returns `text`.
enum { QN_ST_SHAPE_TEXT = 8 * 22 + 4 };
const char *qn_st_shape_text(int dims, const int64_t *shape, char *text);

// An open file. Read-only, so any number of threads may use it. The file must not be cut short by others while it is
// open (replacing it with a rename, as all of Quern's writers do, is safe).
typedef struct qn_safetensors qn_safetensors;

// Errors name file, tensor, what was found and what was expected. QN_ERROR_UNSUPPORTED: a dtype or a number of
// dimensions that this version does not know; QN_ERROR_FORMAT: any other breach of the format.
qn_status qn_safetensors_open(const char *path, qn_safetensors **out);
// The same over bytes in memory, which must outlive the file; `source` names them in messages.
qn_status qn_safetensors_open_memory(const void *data, size_t size, const char *source, qn_safetensors **out);
void qn_safetensors_close(qn_safetensors *file); // NULL is allowed

const char *qn_safetensors_path(const qn_safetensors *file);
size_t qn_safetensors_count(const qn_safetensors *file);
const qn_st_tensor *qn_safetensors_at(const qn_safetensors *file, size_t index);       // in the order of their bytes
const qn_st_tensor *qn_safetensors_find(const qn_safetensors *file, const char *name); // NULL when there is none

// The "__metadata__" map of strings, in the order of the file.
size_t qn_safetensors_metadata_count(const qn_safetensors *file);
const char *qn_safetensors_metadata_at(const qn_safetensors *file, size_t index, const char **value); // returns the key
const char *qn_safetensors_metadata(const qn_safetensors *file, const char *key); // NULL when there is none

// One tensor to write. Exactly one of `values` (float32, converted to `dtype`, which is then F32, F16, BF16 or F64;
// rounded to nearest, ties to even) and `bytes` (already as they shall stand in the file) is given; neither when the
// tensor has no elements.
typedef struct {
    const char *name;
    qn_st_dtype dtype;
    int dims;
    int64_t shape[QN_ST_MAX_DIMS];
    const float *values;
    const void *bytes;
} qn_st_entry;

// Writes `count` tensors, in any order given, as one file; atomic. `metadata` is a list key, value, key, value, ...,
// NULL, or NULL; "format": "pt", which transformers asks for, is added unless the list has a "format". Takes a fixed 64
// KiB of memory for the data.
qn_status qn_safetensors_write(const char *path, const qn_st_entry *entries, size_t count, const char *const *metadata);

// The bytes that an entry takes in a file; refuses what does not fit in an int64.
qn_status qn_st_entry_size(const qn_st_entry *entry, size_t *bytes);
