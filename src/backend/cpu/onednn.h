// Products in bf16 and int8 over oneDNN: the one file that knows its API, of 2.6 and of 3.x.
//
// A weight is cut into groups of columns, each packed by oneDNN for blocks of exactly QN_NARROW_ROWS rows, so that one
// primitive serves every batch, and a row's bits do not depend on the batch. Primitives run single-threaded inside the
// backend's own tasks.
#pragma once
#include "backend/backend.h"

enum { QN_NARROW_ROWS = 32, QN_NARROW_COLUMNS = 384 }; // of a block; of a group at most

typedef struct qn_narrow qn_narrow;

// W [out, in] for products in `compute` by `workers` threads: float32 for those in bf16, quantized for those in int8.
qn_status qn_narrow_create(const void *weight, size_t out, size_t in, qn_compute compute, int workers,
                           qn_narrow **out_weight);
void qn_narrow_free(qn_narrow *weight); // NULL is allowed
size_t qn_narrow_groups(const qn_narrow *weight);
// Columns first .. first+count-1 belong to group g.
void qn_narrow_group(const qn_narrow *weight, size_t g, size_t *first, size_t *count);
// bf16: source [rows, in] of bf16, result [rows, count] float32. int8: source of unsigned bytes, result int32. rows is
// QN_NARROW_ROWS. `scratch` has qn_narrow_scratch() bytes. False when oneDNN fails.
bool qn_narrow_multiply(qn_narrow *weight, size_t g, int worker, const void *source, void *result, void *scratch);
size_t qn_narrow_scratch(const qn_narrow *weight);
