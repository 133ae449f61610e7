// IDX files, in which MNIST and its kin come: two zero bytes, a type, the number of dimensions, their sizes, and the
// elements, all big-endian; often gzipped.
#pragma once
#include "base/file.h"

enum { QN_IDX_MAX_DIMS = 8 };

// An array in C order. `data` points into `bytes`, or the caller's memory.
typedef struct {
    uint8_t type; // 0x08 unsigned bytes, 0x09 signed ones, 0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64
    int dims;
    size_t shape[QN_IDX_MAX_DIMS];
    size_t count; // elements
    const uint8_t *data;
    qn_buffer bytes; // the whole file where it was read
} qn_idx;

bool qn_idx_is(const void *start, size_t size); // whether a file that starts so is one; 4 bytes are enough
// Reads a file, plain or gzipped; caller closes.
qn_status qn_idx_open(const char *path, qn_idx *out);
// The same over bytes in memory, which must outlive the array; `source` names them in messages.
qn_status qn_idx_open_memory(const void *data, size_t size, const char *source, qn_idx *out);
void qn_idx_close(qn_idx *array);

void qn_idx_to_f32(const qn_idx *array, size_t first, size_t count, float *out); // elements first .. first + count - 1
// The first bytes of a file, at most `size`, gzip undone.
qn_status qn_idx_peek(const char *path, void *start, size_t size, size_t *got);
