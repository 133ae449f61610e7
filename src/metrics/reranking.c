// Measures of rankings, as the evaluators of sentence-transformers for cross-encoders have them.
#include "metrics/reranking.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t group;
    float score, gain;
    size_t index;
} document;

// By query, then the highest score first.
static int by_rank(const void *left, const void *right) {
    const document *a = left, *b = right;
    if (a->group != b->group) return a->group < b->group ? -1 : 1;
    if (a->score > b->score || b->score > a->score) return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int by_gain(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return (a < b) - (a > b);
}

// The documents of one query, in their order; `gains` has room for them.
static void add_query(const document *d, size_t n, float *gains, qn_reranking *sums) {
    double dcg = 0, best = 0, precision = 0;
    size_t relevant = 0, first = 0;
    for (size_t i = 0; i < n; i++) {
        gains[i] = d[i].gain;
        if (i < QN_RERANKING_DEPTH) dcg += d[i].gain / log2((double)i + 2);
        if (d[i].gain < 0.5f) continue;
        if (relevant++ == 0) first = i + 1;
        precision += (double)relevant / (double)(i + 1);
    }
    if (relevant == 0) return;
    qsort(gains, n, sizeof *gains, by_gain);
    for (size_t i = 0; i < n && i < QN_RERANKING_DEPTH; i++) best += gains[i] / log2((double)i + 2);
    sums->queries++;
    sums->mrr += first <= QN_RERANKING_DEPTH ? 1 / (double)first : 0;
    sums->ndcg += dcg / best;
    sums->map += precision / (double)relevant;
}

qn_status qn_reranking_measure(const float *gain, const float *score, const uint32_t *group, size_t n,
                               qn_reranking *out) {
    document *d = qn_malloc(n, sizeof *d);
    float *gains = qn_malloc(n, sizeof *gains);
    *out = (qn_reranking){.documents = n};
    for (size_t i = 0; d && i < n; i++) d[i] = (document){group[i], score[i], gain[i], i};
    if (d && gains) {
        qsort(d, n, sizeof *d, by_rank);
        for (size_t first = 0, last; first < n; first = last) {
            for (last = first + 1; last < n && d[last].group == d[first].group;) last++;
            add_query(d + first, last - first, gains, out);
        }
        double queries = out->queries ? (double)out->queries : NAN;
        out->mrr /= queries;
        out->ndcg /= queries;
        out->map /= queries;
    }
    qn_status status = d && gains ? QN_OK : QN_ERROR_MEMORY;
    free(d);
    free(gains);
    return status;
}

size_t qn_reranking_scalars(const qn_reranking *m, qn_metric out[QN_METRICS_MAX]) {
    const qn_metric all[] = {{"ndcg_at_10", m->ndcg, false}, {"mrr_at_10", m->mrr, false}, {"map", m->map, false}};
    memcpy(out, all, sizeof all);
    return sizeof all / sizeof *all;
}

void qn_reranking_json(const qn_reranking *m, qn_buffer *out) {
    qn_metric scalars[QN_METRICS_MAX];
    size_t count = qn_reranking_scalars(m, scalars);
    qn_buffer_printf(out, "{\"task\": \"rerank\", \"queries\": %zu, \"documents\": %zu", m->queries, m->documents);
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(out, ", \"%s\": ", scalars[i].name);
        qn_buffer_json_number(out, scalars[i].value, 9);
    }
    qn_buffer_char(out, '}');
}
