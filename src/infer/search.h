// The dot products of a sparse vector with the rows of a sparse matrix, a block of rows at a time: what a search and
// the measuring of retrieval share. Only elements in columns of the query are read.
#pragma once
#include "formats/postings.h"

enum { QN_PRODUCTS = 256 }; // rows of a block

typedef struct {
    const qn_postings *postings;
    const qn_sparse_vector *query;
    size_t first; // the next row
    int64_t *at;  // [query->count] the next element of each of its columns
} qn_products;

// Both must stand until the end. An error where the query has columns that the matrix has not.
qn_status qn_products_begin(const qn_postings *postings, const qn_sparse_vector *query, qn_products *out);
size_t qn_products_next(qn_products *x, float *scores); // those of the next rows, at most QN_PRODUCTS; 0 at the end
void qn_products_end(qn_products *x);
