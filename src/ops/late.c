// Late interaction (Khattab & Zaharia 2020, ColBERT): texts have a vector for each token, and
//   y[i, j] = sum over tokens t of query i of the largest q_t . d_s over tokens s of document j
//             q [Tq, d], d [Td, d] -> [n, m]; a document without tokens scores 0
//   dq_t = sum over j of dy[i, j] d_best(t, j),  dd_s = sum of dy[i, j] q_t over the t, j whose best is s
#include "ops/ops.h"
#include <string.h>

typedef struct {
    qn_tensor *q, *d, *y;
    qn_ragged queries, documents;
    int32_t *best; // [Tq, m] a row of d, -1 where the document has none
} record;

static void add(size_t n, float factor, const float *from, float *to) {
    for (size_t k = 0; k < n; k++) to[k] += factor * from[k];
}

// Room for a gradient that is added to.
static bool begin_gradient(qn_context *c, qn_tensor *t, float **grad) {
    bool accumulate = true;
    *grad = qn_gradient(c, t, &accumulate);
    if (*grad && !accumulate) c->backend->ops->zero(c->backend, *grad, qn_count(t));
    return *grad || !t->requires_grad;
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    const record *r = content;
    size_t m = r->documents.sequences, width = qn_width(r->q);
    float *dq, *dd;
    if (!r->y->has_grad || !begin_gradient(c, r->q, &dq) || !begin_gradient(c, r->d, &dd)) return;
    for (size_t i = 0; i < r->queries.sequences; i++)
        for (size_t t = (size_t)r->queries.offsets[i]; t < (size_t)r->queries.offsets[i + 1]; t++)
            for (size_t j = 0; j < m; j++) {
                int32_t best = r->best[t * m + j];
                float dy = r->y->grad[i * m + j];
                if (best < 0) continue;
                if (dq) add(width, dy, r->d->data + (size_t)best * width, dq + t * width);
                if (dd) add(width, dy, r->q->data + t * width, dd + (size_t)best * width);
            }
}

// The largest of scores[first .. last-1]; the first of equal ones.
static int32_t largest(const float *scores, int32_t first, int32_t last) {
    int32_t best = first < last ? first : -1;
    for (int32_t s = first + 1; s < last; s++)
        if (scores[s] > scores[best]) best = s;
    return best;
}

static void score_query(const record *r, size_t i, const float *products) {
    size_t m = r->documents.sequences, rows = qn_rows(r->d), first = (size_t)r->queries.offsets[i];
    size_t tokens = (size_t)r->queries.offsets[i + 1] - first;
    for (size_t j = 0; j < m; j++) {
        double sum = 0;
        for (size_t t = 0; t < tokens; t++) {
            const float *row = products + t * rows;
            int32_t best = largest(row, r->documents.offsets[j], r->documents.offsets[j + 1]);
            if (r->best) r->best[(first + t) * m + j] = best;
            sum += best < 0 ? 0 : row[best];
        }
        r->y->data[i * m + j] = (float)sum;
    }
}

qn_tensor *qn_max_similarities(qn_context *c, qn_tensor *q, qn_ragged queries, qn_tensor *d, qn_ragged documents) {
    if (!q || !d) return NULL;
    size_t rows = qn_rows(d), width = qn_width(q), longest = 0;
    if (qn_width(d) != width) {
        qn_fail(QN_ERROR_ARGUMENT, "max similarities: vectors of widths %zu and %zu (expected equal ones)", width,
                qn_width(d));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_ragged(c, "max similarities", queries, qn_rows(q)) ||
        !qn_check_ragged(c, "max similarities", documents, rows))
        return NULL;
    bool trains = q->requires_grad || d->requires_grad;
    record r = {q, d, qn_new_matrix(c, queries.sequences, documents.sequences, trains), queries, documents, NULL};
    if (!r.y) return NULL;
    if (r.y->requires_grad) {
        r.best = qn_arena_alloc(c->records, qn_rows(q) * documents.sequences + 1, sizeof *r.best);
        if (!r.best) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    for (size_t i = 0; i < queries.sequences; i++) {
        size_t tokens = (size_t)(queries.offsets[i + 1] - queries.offsets[i]);
        if (tokens > longest) longest = tokens;
    }
    qn_arena_mark mark = qn_arena_save(c->arena);
    float *products = qn_arena_alloc(c->arena, longest * rows + 1, sizeof *products);
    if (!products) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i < queries.sequences; i++) {
        size_t first = (size_t)queries.offsets[i], tokens = (size_t)queries.offsets[i + 1] - first;
        if (tokens > 0 && rows > 0)
            c->backend->ops->linear_forward(c->backend,
                                            &(qn_linear_forward_args){.rows = tokens,
                                                                      .x = q->data + first * width,
                                                                      .weight = {d->data, rows, width, NULL},
                                                                      .y = products});
        score_query(&r, i, products);
    }
    qn_arena_restore(c->arena, mark);
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}
