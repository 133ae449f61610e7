// The rows of a table that are in use, where a step reads few of many: the table's gradient is then [count, d], row i
// of it being that of the table's row rows[i], so that gradients cost what the used rows cost.
#pragma once
#include "base/memory.h"

typedef struct qn_used_rows {
    size_t count, size; // rows in use, rows of the table
    int32_t *rows;      // [count] in the order in which they came into use
    int32_t *place;     // [size] where a row stands in `rows`; -1: not in use
} qn_used_rows;

qn_used_rows *qn_used_rows_create(size_t size); // none in use; NULL with the last error set when memory is short
void qn_used_rows_free(qn_used_rows *used);     // NULL is allowed
// Brings ids[count] into use, those that are not yet; they are the rows from the returned number on. Every id is below
// `size`.
size_t qn_used_rows_add(qn_used_rows *used, size_t count, const int32_t *ids);
void qn_used_rows_clear(qn_used_rows *used);
