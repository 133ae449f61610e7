// Search among stored vectors: of dense ones every one is looked at, of sparse ones those that have a column in common
// with the query.
#include "infer/search.h"
#include "base/memory.h"
#include "formats/npy.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_FLOATS = 1 << 14, SUMS = 16 };

struct qn_vectors {
    qn_npy array;
    size_t count, width;
    int64_t *offsets;     // [count + 1] of a ColBERT's: where a text's rows begin; NULL: each row is a text
    qn_postings postings; // of sparse vectors, in place of the array; without columns: there are none
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

// Ascending, from 0 to the number of rows.
static qn_status take_offsets(qn_vectors *v, const qn_npy *a, const char *path) {
    if (a->dims != 1 || a->dtype != QN_NPY_I8 || a->count < 1)
        return qn_fail(QN_ERROR_FORMAT, "%s: no list of offsets (expected int64 [texts + 1])", path);
    v->offsets = qn_malloc(a->count, sizeof *v->offsets);
    if (!v->offsets) return QN_ERROR_MEMORY;
    memcpy(v->offsets, a->data, a->count * sizeof *v->offsets);
    bool good = v->offsets[0] == 0 && v->offsets[a->count - 1] == (int64_t)v->count;
    for (size_t i = 1; good && i < a->count; i++) good = v->offsets[i] >= v->offsets[i - 1];
    v->count = a->count - 1;
    return good ? QN_OK
                : qn_fail(QN_ERROR_FORMAT, "%s: offsets that do not fit the vectors (expected ascending ones)", path);
}

qn_status qn_vectors_open_multi(const char *path, const char *offsets, qn_vectors **out) {
    qn_npy array = {0};
    QN_TRY(qn_vectors_open(path, out));
    qn_status status = qn_npy_open(offsets, &array);
    if (status == QN_OK) status = take_offsets(*out, &array, offsets);
    qn_npy_close(&array);
    if (status == QN_OK) return QN_OK;
    qn_vectors_close(*out);
    *out = NULL;
    return status;
}

qn_status qn_vectors_open_sparse(const char *path, qn_vectors **out) {
    *out = NULL;
    qn_vectors *v = qn_calloc(1, sizeof *v);
    if (!v) return QN_ERROR_MEMORY;
    qn_status status = qn_postings_open(path, &v->postings);
    if (status != QN_OK) {
        free(v);
        return status;
    }
    v->count = v->postings.rows;
    v->width = v->postings.columns;
    *out = v;
    return QN_OK;
}

void qn_vectors_close(qn_vectors *v) {
    if (!v) return;
    qn_postings_free(&v->postings);
    free(v->offsets);
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
    float sums[SUMS] = {0}, total = 0;
    size_t k = 0;
    for (; k + SUMS <= d; k += SUMS)
        for (size_t j = 0; j < SUMS; j++) sums[j] += a[k + j] * b[k + j];
    for (; k < d; k++) sums[k % SUMS] += a[k] * b[k];
    for (size_t j = 0; j < SUMS; j++) total += sums[j];
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
    if (v->postings.columns) return qn_fail(QN_ERROR_ARGUMENT, "sparse vectors (expected qn_vectors_search_sparse)");
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

// The sum over the query's rows of the largest product with one of `count` rows.
static float max_similarity(const float *query, size_t rows, const float *text, size_t count, size_t d) {
    float sum = 0;
    for (size_t q = 0; q < rows && count > 0; q++) {
        float best = -INFINITY;
        for (size_t t = 0; t < count; t++) best = fmaxf(best, dot_product(query + q * d, text + t * d, d));
        sum += best;
    }
    return sum;
}

qn_status qn_vectors_search_multi(const qn_vectors *v, const float *query, size_t rows, size_t top, qn_match *matches,
                                  size_t *found) {
    *found = 0;
    if (!v->offsets) return qn_fail(QN_ERROR_ARGUMENT, "vectors of whole texts (expected qn_vectors_open_multi)");
    size_t longest = 0, d = v->width;
    for (size_t i = 0; i < v->count; i++) {
        size_t count = (size_t)(v->offsets[i + 1] - v->offsets[i]);
        if (count > longest) longest = count;
    }
    float *text = qn_malloc(longest, d * sizeof *text);
    if (!text) return QN_ERROR_MEMORY;
    for (size_t i = 0; top > 0 && i < v->count; i++) {
        size_t first = (size_t)v->offsets[i], count = (size_t)v->offsets[i + 1] - first;
        qn_npy_to_f32(&v->array, first * d, count * d, text);
        float score = max_similarity(query, rows, text, count, d);
        insert(matches, found, top, i, isnan(score) ? -INFINITY : score);
    }
    free(text);
    return QN_OK;
}

// --- Sparse vectors

qn_status qn_products_begin(const qn_postings *p, const qn_sparse_vector *query, qn_products *out) {
    *out = (qn_products){.postings = p, .query = query, .at = qn_malloc(query->count + 1, sizeof *out->at)};
    if (!out->at) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < query->count; i++) {
        int32_t column = query->column[i];
        if (column < 0 || (size_t)column >= p->columns) {
            qn_products_end(out);
            return qn_fail(QN_ERROR_ARGUMENT, "column %d of a query (expected from 0 on, below %zu)", (int)column,
                           p->columns);
        }
        out->at[i] = p->offsets[column];
    }
    return QN_OK;
}

// In the order of dot_product, so that whole vectors would give the same bits.
size_t qn_products_next(qn_products *x, float *scores) {
    const qn_postings *p = x->postings;
    float sums[SUMS][QN_PRODUCTS] = {{0}};
    size_t first = x->first, count = p->rows - first < QN_PRODUCTS ? p->rows - first : QN_PRODUCTS;
    for (size_t i = 0; i < x->query->count; i++) {
        size_t column = (size_t)x->query->column[i];
        float *sum = sums[column % SUMS], factor = x->query->value[i];
        int64_t at = x->at[i], end = p->offsets[column + 1];
        for (; at < end && (size_t)p->row[at] < first + count; at++)
            sum[(size_t)p->row[at] - first] += factor * p->value[at];
        x->at[i] = at;
    }
    for (size_t r = 0; r < count; r++) scores[r] = 0;
    for (size_t j = 0; j < SUMS; j++)
        for (size_t r = 0; r < count; r++) scores[r] += sums[j][r];
    x->first += count;
    return count;
}

void qn_products_end(qn_products *x) {
    free(x->at);
    x->at = NULL;
}

qn_status qn_vectors_search_sparse(const qn_vectors *v, const qn_sparse_vector *query, size_t top, qn_match *matches,
                                   size_t *found) {
    *found = 0;
    if (!v->postings.columns) return qn_fail(QN_ERROR_ARGUMENT, "dense vectors (expected qn_vectors_open_sparse)");
    if (top == 0) return QN_OK;
    qn_products products;
    float scores[QN_PRODUCTS];
    QN_TRY(qn_products_begin(&v->postings, query, &products));
    for (size_t first = 0, count; (count = qn_products_next(&products, scores)) > 0; first += count)
        for (size_t i = 0; i < count; i++)
            insert(matches, found, top, first + i, isnan(scores[i]) ? -INFINITY : scores[i]);
    qn_products_end(&products);
    return QN_OK;
}
