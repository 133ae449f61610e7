// What sentence embeddings are worth: similarity of pairs, triplets, retrieval, as the evaluators of
// sentence-transformers count (cosine).
#include "base/buffer.h"
#include "metrics/ranking.h"
#include "tasks/embed_search.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MISTAKES = 50 };

qn_status qn_embed_best_metric(const qn_job *j, const qn_dataset *d, const char **metric) {
    const char *file = d->names[0];
    bool pairs = j->task == &qn_task_sts || (j->task == &qn_task_embed && d->width == 2 && d->scores);
    bool triplets = j->task == &qn_task_triplets || (j->task == &qn_task_embed && d->width > 2);
    if (d->width < 2 || (triplets && d->width < 3) || (j->task == &qn_task_sts && d->width != 2))
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu text%s per example (expected %s)", file, d->width,
                       d->width == 1 ? "" : "s",
                       triplets                  ? "an anchor, a positive and negatives"
                       : j->task == &qn_task_sts ? "two"
                                                 : "two or more columns of texts");
    const qn_embed_job *e = j->own;
    if (e && e->late.on && (pairs || triplets))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: vectors of tokens are measured by retrieval (expected --task retrieval)", file);
    *metric = pairs ? "spearman" : triplets ? "accuracy" : "ndcg_at_10";
    return QN_OK;
}

// --- Vectors

static float dot(size_t d, const float *a, const float *b) {
    double sum = 0;
    for (size_t k = 0; k < d; k++) sum += (double)a[k] * b[k];
    return (float)sum;
}

static qn_status write_json(const char *task, size_t examples, size_t documents, qn_outcome *o) {
    qn_buffer_printf(&o->json, "{\"task\": \"%s\", \"examples\": %zu", task, examples);
    if (documents) qn_buffer_printf(&o->json, ", \"documents\": %zu", documents);
    for (size_t i = 0; i < o->metric_count; i++) {
        qn_buffer_printf(&o->json, ", \"%s\": ", o->metrics[i].name);
        qn_buffer_json_number(&o->json, o->metrics[i].value, 9);
    }
    qn_buffer_char(&o->json, '}');
    return qn_buffer_status(&o->json);
}

// --- Pairs with scores

static qn_status measure_pairs(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *o) {
    size_t n = qn_dataset_count(d), width = qn_model_width(m);
    float *vectors = NULL;
    qn_status status = qn_embed_vectors(j, m, &d->sequences, 0, d->width, &vectors);
    o->scores = status == QN_OK ? qn_malloc(n, sizeof *o->scores) : NULL;
    if (status == QN_OK && !o->scores) status = QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n; i++)
        o->scores[i] = dot(width, vectors + 2 * i * width, vectors + (2 * i + 1) * width);
    free(vectors);
    QN_TRY(status);
    o->count = n;
    QN_TRY(qn_regression_measure(d->scores, o->scores, n, &o->regression));
    o->metrics[o->metric_count++] = (qn_metric){"spearman", o->regression.spearman, false};
    o->metrics[o->metric_count++] = (qn_metric){"pearson", o->regression.pearson, false};
    return write_json("sts", n, 0, o);
}

// --- Triplets

static qn_status measure_triplets(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *o) {
    size_t n = qn_dataset_count(d), width = qn_model_width(m), good = 0;
    float *vectors = NULL;
    qn_status status = qn_embed_vectors(j, m, &d->sequences, 0, d->width, &vectors);
    o->mistakes = qn_calloc(MOST_MISTAKES, sizeof *o->mistakes);
    if (!o->mistakes) status = QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n; i++) {
        const float *x = vectors + i * d->width * width;
        float positive = dot(width, x, x + width), nearest = -INFINITY;
        size_t which = 2;
        for (size_t k = 2; k < d->width; k++) {
            float score = dot(width, x, x + k * width);
            if (score > nearest) nearest = score, which = k;
        }
        good += positive > nearest;
        if (positive > nearest || o->mistake_count == MOST_MISTAKES) continue;
        o->mistakes[o->mistake_count++] =
            (qn_mistake){qn_dataset_group_text(d, i, 0),     NULL,     qn_dataset_group_text(d, i, 1),
                         qn_dataset_group_text(d, i, which), positive, nearest};
    }
    free(vectors);
    QN_TRY(status);
    o->metrics[o->metric_count++] = (qn_metric){"accuracy", (double)good / (double)n, false};
    return write_json("triplets", n, 0, o);
}

// --- Retrieval

typedef struct {
    qn_ranking ranking;
    qn_outcome *outcome;
} retrieval;

static qn_status rank_query(void *user, const qn_embed_search *s, const qn_embed_found *f) {
    retrieval *r = user;
    bool hit[QN_RANKING_DEPTH];
    for (size_t i = 0; i < f->count; i++) hit[i] = qn_embed_answers(f, f->top[i]);
    qn_ranking_add(&r->ranking, hit, f->count, f->answer_count);
    // Shown are queries whose first result is wrong.
    qn_outcome *o = r->outcome;
    if (hit[0] || o->mistake_count == MOST_MISTAKES) return QN_OK;
    uint32_t right = f->answers[0].document, wrong = f->top[0];
    o->mistakes[o->mistake_count++] = (qn_mistake){qn_embed_text(s, &s->queries, f->query),
                                                   NULL,
                                                   qn_embed_text(s, &s->documents, right),
                                                   qn_embed_text(s, &s->documents, wrong),
                                                   f->scores[right],
                                                   f->scores[wrong]};
    return QN_OK;
}

// How many words a sparse vector has, in the mean.
static double words_in_use(const qn_embed_texts *t) {
    return t->count ? (double)t->sparse.offsets[t->count] / (double)t->count : 0;
}

static qn_status measure_retrieval(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *o) {
    qn_embed_search s = {0};
    retrieval r = {.outcome = o};
    o->mistakes = qn_calloc(MOST_MISTAKES, sizeof *o->mistakes);
    qn_status status = o->mistakes ? qn_embed_search_open(j, m, d, &s) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_embed_search_run(&s, m, QN_RANKING_DEPTH, rank_query, &r);
    if (status == QN_OK) {
        qn_ranking_finish(&r.ranking);
        r.ranking.documents = s.documents.count;
        o->metric_count = qn_ranking_scalars(&r.ranking, o->metrics);
        if (qn_model_sparse(m)) {
            o->metrics[o->metric_count++] = (qn_metric){"query_words", words_in_use(&s.queries), true};
            o->metrics[o->metric_count++] = (qn_metric){"document_words", words_in_use(&s.documents), true};
        }
        status = write_json("retrieval", r.ranking.queries, r.ranking.documents, o);
    }
    qn_embed_search_free(&s);
    return status;
}

qn_status qn_embed_measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *o) {
    const char *metric;
    QN_TRY(qn_embed_best_metric(j, d, &metric));
    if (strcmp(metric, "spearman") == 0) return measure_pairs(j, m, d, o);
    if (strcmp(metric, "accuracy") == 0) return measure_triplets(j, m, d, o);
    return measure_retrieval(j, m, d, o);
}
