// Any bytes as a file of sparse vectors: what opens is searched with every column, and every element is read.
#include "infer/search.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_postings p;
    if (qn_postings_open_memory(data, size, "x", &p) != QN_OK) {
        if (p.file || p.offsets) abort();
        return 0;
    }
    float scores[QN_PRODUCTS];
    qn_products products;
    int32_t *columns = malloc(p.columns * sizeof *columns);
    float *ones = malloc(p.columns * sizeof *ones);
    for (size_t j = 0; columns && ones && j < p.columns; j++) columns[j] = (int32_t)j, ones[j] = 1;
    qn_sparse_vector query = {p.columns, columns, ones};
    if (columns && ones && p.rows < 1 << 20 && qn_products_begin(&p, &query, &products) == QN_OK) {
        size_t rows = 0, count;
        while ((count = qn_products_next(&products, scores)) > 0) rows += count;
        for (size_t j = 0; j < p.columns; j++)
            if (products.at[j] != p.offsets[j + 1]) abort(); // an element was passed over
        if (rows != p.rows) abort();
        qn_products_end(&products);
    }
    free(columns);
    free(ones);
    qn_postings_free(&p);
    return 0;
}
