// Rankings of documents for queries: reciprocal rank, discounted cumulative gain, average precision.
#pragma once
#include "metrics/metrics.h"

enum { QN_RERANKING_DEPTH = 10 };

typedef struct {
    size_t queries, documents; // queries with a relevant document; the others say nothing
    double mrr;                // at QN_RERANKING_DEPTH: 1 / the rank of the first relevant one, 0 below
    double ndcg;               // at QN_RERANKING_DEPTH: gains as they are, discounted by log2(rank + 1)
    double map;                // average precision over the whole ranking
} qn_reranking;

// gain [n]: how relevant each document is for its query, relevant from 0.5 on; score [n]; group [n]: number of its
// query. Documents of equal score keep their order.
qn_status qn_reranking_measure(const float *gain, const float *score, const uint32_t *group, size_t n,
                               qn_reranking *out);
size_t qn_reranking_scalars(const qn_reranking *metrics, qn_metric out[QN_METRICS_MAX]);
// {"task": "rerank", "queries": n, "documents": n, "mrr_at_10": ..., "ndcg_at_10": ..., "map": ...}
void qn_reranking_json(const qn_reranking *metrics, qn_buffer *out);
