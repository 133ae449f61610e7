// Metrics of retrieval, equal to those of sentence-transformers' InformationRetrievalEvaluator.
#pragma once
#include "metrics/metrics.h"

enum { QN_RANKING_DEPTH = 100 }; // results that are looked at

// Means over queries. Start with zeros.
typedef struct {
    size_t queries, documents;
    double accuracy_at_1;                          // the first result is relevant
    double recall_at_1, recall_at_5, recall_at_10; // of the relevant documents
    double mrr_at_10;                              // 1 / rank of the first relevant one, 0 beyond 10
    double ndcg_at_10;                             // Järvelin & Kekäläinen 2002, gains 0 and 1
    double map_at_100;
} qn_ranking;

// Adds a query: hit [count] says which of its first results are relevant, best first (count is QN_RANKING_DEPTH, or the
// number of documents where that is less); `relevant` documents there are, at least 1.
void qn_ranking_add(qn_ranking *ranking, const bool *hit, size_t count, size_t relevant);
// From sums to means.
void qn_ranking_finish(qn_ranking *ranking);
size_t qn_ranking_scalars(const qn_ranking *ranking, qn_metric out[QN_METRICS_MAX]);
