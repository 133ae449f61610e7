// See ranking.h.
#include "metrics/ranking.h"
#include <math.h>

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

// The share of the relevant documents among the first k results.
static double recall(const bool *hit, size_t count, size_t relevant, size_t k) {
    size_t found = 0;
    for (size_t i = 0; i < least(count, k); i++) found += hit[i];
    return (double)found / (double)relevant;
}

// sum over hits of 1 / log2(rank + 1), divided by that of the best order
static double ndcg(const bool *hit, size_t count, size_t relevant, size_t k) {
    double gain = 0, best = 0;
    for (size_t i = 0; i < least(count, k); i++) gain += hit[i] / log2((double)i + 2);
    for (size_t i = 0; i < least(relevant, k); i++) best += 1 / log2((double)i + 2);
    return gain / best;
}

static double average_precision(const bool *hit, size_t count, size_t relevant, size_t k) {
    double sum = 0;
    size_t found = 0;
    for (size_t i = 0; i < least(count, k); i++)
        if (hit[i]) sum += (double)++found / (double)(i + 1);
    return sum / (double)least(relevant, k);
}

void qn_ranking_add(qn_ranking *r, const bool *hit, size_t count, size_t relevant) {
    size_t first = 0;
    while (first < least(count, 10) && !hit[first]) first++;
    r->queries++;
    r->accuracy_at_1 += count > 0 && hit[0];
    r->recall_at_1 += recall(hit, count, relevant, 1);
    r->recall_at_5 += recall(hit, count, relevant, 5);
    r->recall_at_10 += recall(hit, count, relevant, 10);
    r->mrr_at_10 += first < least(count, 10) ? 1 / (double)(first + 1) : 0;
    r->ndcg_at_10 += ndcg(hit, count, relevant, 10);
    r->map_at_100 += average_precision(hit, count, relevant, QN_RANKING_DEPTH);
}

void qn_ranking_finish(qn_ranking *r) {
    double *sums[] = {&r->accuracy_at_1, &r->recall_at_1, &r->recall_at_5, &r->recall_at_10,
                      &r->mrr_at_10,     &r->ndcg_at_10,  &r->map_at_100};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) *sums[i] = r->queries ? *sums[i] / (double)r->queries : NAN;
}

size_t qn_ranking_scalars(const qn_ranking *r, qn_metric out[QN_METRICS_MAX]) {
    const qn_metric metrics[] = {
        {"ndcg_at_10", r->ndcg_at_10, false},       {"mrr_at_10", r->mrr_at_10, false},
        {"accuracy_at_1", r->accuracy_at_1, false}, {"recall_at_1", r->recall_at_1, false},
        {"recall_at_5", r->recall_at_5, false},     {"recall_at_10", r->recall_at_10, false},
        {"map_at_100", r->map_at_100, false},
    };
    size_t n = sizeof metrics / sizeof *metrics;
    for (size_t i = 0; i < n; i++) out[i] = metrics[i];
    return n;
}
