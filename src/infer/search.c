// Search among stored vectors by looking at every one of them.
#include "base/memory.h"
#include "formats/npy.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_FLOATS = 1 << 14 };

struct qn_vectors {
    qn_npy array;
    size_t count, width;
};

qn_status qn_vectors_open(const char *path, qn_vectors **out) {
    *out = NULL;
    qn_vectors *v = qn_calloc(1, sizeof *v);
    if (!v) return QN_ERROR_MEMORY;
    qn_status status = qn_npy_open(path, &v->array);
    if (status == QN_OK && (v->array.dims != 2 || v->array.shape[1] < 1))
        status = qn_fail(QN_ERROR_FORMAT, "%s: an array of %d dimensions (expected vectors [count, width])", path,
                         v->array.dims);
    if (status != QN_OK) {
        qn_vectors_close(v);
        return status;
    }
    v->count = (size_t)v->array.shape[0];
    v->width = (size_t)v->array.shape[1];
    *out = v;
    return QN_OK;
}

void qn_vectors_close(qn_vectors *v) {
    if (!v) return;
    qn_npy_close(&v->array);
    free(v);
}

size_t qn_vectors_count(const qn_vectors *v) {
    return v->count;
}

size_t qn_vectors_width(const qn_vectors *v) {
    return v->width;
}

// Sixteen sums side by side: a fixed order that compilers turn into vectors.
static float dot_product(const float *a, const float *b, size_t d) {
    float sums[16] = {0}, total = 0;
    size_t k = 0;
    for (; k + 16 <= d; k += 16)
        for (size_t j = 0; j < 16; j++) sums[j] += a[k + j] * b[k + j];
    for (; k < d; k++) sums[k % 16] += a[k] * b[k];
    for (size_t j = 0; j < 16; j++) total += sums[j];
    return total;
}

// A short list, best first; equal scores keep the order in which they came.
static void insert(qn_match *matches, size_t *found, size_t top, size_t index, float score) {
    if (*found == top && !(score > matches[top - 1].score)) return;
    size_t at = *found < top ? (*found)++ : top - 1;
    for (; at > 0 && score > matches[at - 1].score; at--) matches[at] = matches[at - 1];
    matches[at] = (qn_match){index, score};
}

qn_status qn_vectors_search(const qn_vectors *v, const float *query, bool dot, size_t top, qn_match *matches,
                            size_t *found) {
    *found = 0;
    if (top == 0 || v->count == 0) return QN_OK;
    size_t d = v->width, rows = BLOCK_FLOATS / d ? BLOCK_FLOATS / d : 1;
    float *block = qn_malloc(rows, d * sizeof *block);
    if (!block) return QN_ERROR_MEMORY;
    float length = dot ? 1 : sqrtf(dot_product(query, query, d));
    for (size_t first = 0; first < v->count; first += rows) {
        size_t n = v->count - first < rows ? v->count - first : rows;
        qn_npy_to_f32(&v->array, first * d, n * d, block);
        for (size_t i = 0; i < n; i++) {
            const float *row = block + i * d;
            float score = dot_product(query, row, d);
            if (!dot) {
                float both = length * sqrtf(dot_product(row, row, d));
                score = both == 0 ? 0 : score / both;
            }
            insert(matches, found, top, first + i, isnan(score) ? -INFINITY : score);
        }
    }
    free(block);
    return QN_OK;
}
