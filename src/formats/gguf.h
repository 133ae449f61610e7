// GGUF files, versions 2 and 3 (the format of ggml and llama.cpp): typed metadata, then tensors, whose values may be
// quantized in blocks. Reading maps the file and checks every size, offset and string before it hands anything out.
#pragma once
#include "backend/backend.h"
#include "base/status.h"

// Name, number in the file, elements of a block, bytes of a block.
#define QN_GGUF_DTYPE_MAP(X)                                                                                           \
    X(F32, 0, 1, 4)                                                                                                    \
    X(F16, 1, 1, 2)                                                                                                    \
    X(Q4_0, 2, 32, 18)                                                                                                 \
    X(Q4_1, 3, 32, 20)                                                                                                 \
    X(Q5_0, 6, 32, 22)                                                                                                 \
    X(Q5_1, 7, 32, 24)                                                                                                 \
    X(Q8_0, 8, 32, 34)                                                                                                 \
    X(Q2_K, 10, 256, 84)                                                                                               \
    X(Q3_K, 11, 256, 110)                                                                                              \
    X(Q4_K, 12, 256, 144)                                                                                              \
    X(Q5_K, 13, 256, 176)                                                                                              \
    X(Q6_K, 14, 256, 210)                                                                                              \
    X(BF16, 30, 1, 2)

typedef enum {
#define QN_GGUF_DTYPE_ENUM(name, number, elements, bytes) QN_GGUF_##name,
    QN_GGUF_DTYPE_MAP(QN_GGUF_DTYPE_ENUM)
#undef QN_GGUF_DTYPE_ENUM
        QN_GGUF_DTYPES
} qn_gguf_dtype;

const char *qn_gguf_dtype_name(qn_gguf_dtype dtype); // "Q4_K"

enum { QN_GGUF_MAX_DIMS = 4 };

// One tensor of an open file. `shape` has the usual order, the last dimension lying together (the file has the
// reverse).
typedef struct {
    const char *name;
    qn_gguf_dtype dtype;
    int dims;
    int64_t shape[QN_GGUF_MAX_DIMS];
    int64_t count;       // elements
    const uint8_t *data; // `size` bytes
    size_t size;
} qn_gguf_tensor;

// An open file. Read-only, so any number of threads may use it.
typedef struct qn_gguf qn_gguf;

qn_status qn_gguf_open(const char *path, qn_gguf **out);
// The same over bytes in memory, which must outlive the file; `source` names them in messages.
qn_status qn_gguf_open_memory(const void *data, size_t size, const char *source, qn_gguf **out);
void qn_gguf_close(qn_gguf *file); // NULL is allowed
const char *qn_gguf_path(const qn_gguf *file);

size_t qn_gguf_count(const qn_gguf *file);
const qn_gguf_tensor *qn_gguf_at(const qn_gguf *file, size_t index);       // in the order of the file
const qn_gguf_tensor *qn_gguf_find(const qn_gguf *file, const char *name); // NULL when there is none
void qn_gguf_forget(const qn_gguf *file, const qn_gguf_tensor *tensor); // as qn_forget_pages, where the file is mapped
// Elements first .. first+count-1 as float32, both multiples of the dtype's block.
void qn_gguf_to_f32(const qn_gguf_tensor *tensor, int64_t first, int64_t count, float *out);

// The form in groups of 32 in which products read a dtype's blocks, value for value; QN_DTYPE_F32: in none.
qn_compute qn_gguf_group_form(qn_gguf_dtype dtype);
// Row `row` of a matrix of such blocks, in that form or in k8, in which all of them have a place: q [in], scales and
// minima as qn_grouped_weight has them.
void qn_gguf_to_groups(const qn_gguf_tensor *tensor, int64_t row, qn_compute form, int8_t *q, float *scale,
                       float *minimum);

// --- Metadata

typedef enum { QN_GGUF_NUMBER, QN_GGUF_BOOL, QN_GGUF_STRING } qn_gguf_kind; // of a value, or of the items of a list

typedef struct {
    const char *key;
    qn_gguf_kind kind;
    bool list;
    uint64_t count;      // items; 1 where it is no list
    uint32_t type;       // the file's number of the type
    const uint8_t *data; // the first item
} qn_gguf_value;

size_t qn_gguf_values(const qn_gguf *file);
const qn_gguf_value *qn_gguf_value_at(const qn_gguf *file, size_t index);    // in the order of the file
const qn_gguf_value *qn_gguf_value_of(const qn_gguf *file, const char *key); // NULL when there is none
double qn_gguf_number(const qn_gguf_value *value, uint64_t index);           // of a number or a bool
// Steps through a list of strings (or the one string): start with *at = value->data, once for each item.
const char *qn_gguf_next_string(const uint8_t **at, size_t *size);

// What a model's file must say. Each fails, naming file and key, when the key is missing or of another kind, or the
// number is outside lowest .. highest; `fallback` non-NULL is what a missing key means.
qn_status qn_gguf_read_integer(const qn_gguf *file, const char *key, int64_t lowest, int64_t highest,
                               const int64_t *fallback, int64_t *out);
qn_status qn_gguf_read_real(const qn_gguf *file, const char *key, double lowest, double highest, const double *fallback,
                            double *out);
// The string of a key, not NUL-terminated.
qn_status qn_gguf_read_string(const qn_gguf *file, const char *key, const char **text, size_t *size);
