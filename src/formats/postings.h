// Sparse matrices: rows one after another, as they are found, and the same by columns (an inverted index), as a search
// reads them: for each column the rows in which it is not zero, with its values there.
#pragma once
#include "formats/safetensors.h"

// The elements of row i are offsets[i] .. offsets[i+1]-1.
typedef struct {
    size_t rows, columns;
    int64_t *offsets; // [rows + 1]; NULL before the first row
    int32_t *column;  // ascending in each row
    float *value;
    size_t capacity[3]; // of the three arrays
} qn_sparse_rows;

qn_status qn_sparse_rows_add(qn_sparse_rows *m, const qn_sparse_vector *row);
qn_sparse_vector qn_sparse_rows_at(const qn_sparse_rows *m, size_t row);
void qn_sparse_rows_free(qn_sparse_rows *m);

// The elements of column j are offsets[j] .. offsets[j+1]-1. Read-only once it is made.
typedef struct {
    size_t rows, columns;
    const int64_t *offsets; // [columns + 1]
    const int32_t *row;     // ascending in each column
    const float *value;
    qn_safetensors *file; // whose bytes they are; NULL: they are the matrix's own
} qn_postings;

qn_status qn_postings_make(const qn_sparse_rows *rows, qn_postings *out);
void qn_postings_free(qn_postings *p);

// A safetensors file with the arrays of SciPy's csc_matrix: data, indices, indptr, shape. Every index is checked when
// it is opened; `out` is as good as zeros after a failure.
qn_status qn_postings_write(const qn_postings *p, const char *path);
qn_status qn_postings_open(const char *path, qn_postings *out);
// The same over bytes in memory, which must outlive it; `source` names them in messages.
qn_status qn_postings_open_memory(const void *data, size_t size, const char *source, qn_postings *out);
