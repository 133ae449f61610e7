// NumPy's .npy files: written row by row when the number of rows is not known in advance, and read by mapping.
#pragma once
#include "base/file.h"

enum { QN_NPY_MAX_DIMS = 8 };

typedef enum { QN_NPY_F4, QN_NPY_F8, QN_NPY_I4, QN_NPY_I8, QN_NPY_U1 } qn_npy_dtype; // '<f4' '<f8' '<i4' '<i8' '|u1'

// Writing, format 1.0, is public: qn_npy_writer_open and its kin in quern.h.

// An array in C order, little-endian. `data` points into the mapping, may be unaligned, and is NULL when there are no
// elements.
typedef struct {
    qn_npy_dtype dtype;
    int dims;
    int64_t shape[QN_NPY_MAX_DIMS];
    size_t count; // elements
    const uint8_t *data;
    qn_mapping mapping;
} qn_npy;

// Reads format 1.0, 2.0 and 3.0. Fortran order, big-endian and other dtypes are refused with QN_ERROR_UNSUPPORTED.
qn_status qn_npy_open(const char *path, qn_npy *out);
// The same over bytes in memory, which must outlive the array; `source` names them in messages.
qn_status qn_npy_open_memory(const void *data, size_t size, const char *source, qn_npy *out);
void qn_npy_close(qn_npy *array);

void qn_npy_to_f32(const qn_npy *array, size_t first, size_t count, float *out); // elements first .. first + count - 1
