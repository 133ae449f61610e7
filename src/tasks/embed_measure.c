// What sentence embeddings are worth: similarity of pairs, triplets, retrieval, as the evaluators of
// sentence-transformers count (cosine).
#include "base/buffer.h"
#include "data/hash.h"
#include "metrics/ranking.h"
#include "tasks/embed.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES_AT_ONCE = 64, MOST_MISTAKES = 50 };

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
    *metric = pairs ? "spearman" : triplets ? "accuracy" : "ndcg_at_10";
    return QN_OK;
}

// --- Vectors

// Of length one; their dot product is the cosine.
static qn_status embed(const qn_job *j, qn_model *m, const qn_sequences *sequences, float **out) {
    size_t d = qn_model_width(m), n = sequences->count;
    const qn_embed_job *e = j->own;
    if (j->training) { // a model in training does not know its pooling
        m->sbert.pooling = e->sbert.pooling;
        m->sbert.normalize = e->sbert.normalize;
    }
    *out = qn_malloc(n, d * sizeof **out);
    if (!*out) return QN_ERROR_MEMORY;
    QN_TRY(qn_infer_vectors(m, sequences, *out));
    for (size_t i = 0; i < n; i++) {
        float *x = *out + i * d;
        double sum = 0;
        for (size_t k = 0; k < d; k++) sum += (double)x[k] * x[k];
        for (size_t k = 0; k < d && sum > 0; k++) x[k] = (float)(x[k] / sqrt(sum));
    }
    return QN_OK;
}

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
    qn_status status = embed(j, m, &d->sequences, &vectors);
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
    qn_status status = embed(j, m, &d->sequences, &vectors);
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

// The different texts of some columns, in the order in which they occur.
typedef struct {
    size_t count, *first; // [count] the sequence where each occurs first
    uint32_t *number;     // [sequences] of the data set: its text's number; UINT32_MAX outside the columns
    qn_sequences sequences;
    float *vectors; // [count, width]
} collection;

static void free_collection(collection *t) {
    free(t->first);
    free(t->number);
    free(t->vectors);
    qn_sequences_free(&t->sequences);
}

static qn_status add_text(collection *t, const qn_dataset *d, size_t at) {
    const qn_sequences *from = &d->sequences;
    t->first[t->count++] = at;
    QN_TRY(qn_sequences_put_from(&t->sequences, from, from->offsets[at], from->offsets[at + 1]));
    return qn_sequences_close(&t->sequences, from->second[at]);
}

// Texts of columns `from` on, up to `to`, by a table of hashes.
static qn_status collect(const qn_dataset *d, size_t from, size_t to, collection *t) {
    size_t n = d->sequences.count, slots = 16;
    while (slots < 2 * n) slots *= 2;
    uint32_t *slot = qn_calloc(slots, sizeof *slot); // number + 1
    t->first = qn_malloc(n, sizeof *t->first);
    t->number = qn_malloc(n, sizeof *t->number);
    qn_status status = slot && t->first && t->number ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n; i++) {
        t->number[i] = UINT32_MAX;
        if (i % d->width < from || i % d->width > to) continue;
        const char *text = d->texts + d->text_offsets[i];
        size_t at = (size_t)qn_hash(0, text, strlen(text)) & (slots - 1);
        while (slot[at] && strcmp(d->texts + d->text_offsets[t->first[slot[at] - 1]], text) != 0)
            at = (at + 1) & (slots - 1);
        if (!slot[at]) {
            status = add_text(t, d, i);
            slot[at] = (uint32_t)t->count;
        }
        t->number[i] = slot[at] - 1;
    }
    free(slot);
    return status;
}

// Pairs of a query and a document that answers it, sorted and each once.
typedef struct {
    uint32_t query, document;
} answer;

static int by_query(const void *left, const void *right) {
    const answer *a = left, *b = right;
    if (a->query != b->query) return a->query < b->query ? -1 : 1;
    return a->document < b->document ? -1 : a->document > b->document;
}

static size_t sort_answers(answer *answers, size_t count) {
    size_t kept = 0;
    qsort(answers, count, sizeof *answers, by_query);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || by_query(&answers[kept - 1], &answers[i]) != 0) answers[kept++] = answers[i];
    return kept;
}

// The best results, best first, equal scores in the order of the documents.
static size_t best_of(const float *scores, size_t count, uint32_t top[QN_RANKING_DEPTH]) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (found == QN_RANKING_DEPTH && scores[i] <= scores[top[found - 1]]) continue;
        size_t at = found < QN_RANKING_DEPTH ? found++ : found - 1;
        for (; at > 0 && scores[i] > scores[top[at - 1]]; at--) top[at] = top[at - 1];
        top[at] = (uint32_t)i;
    }
    return found;
}

typedef struct {
    const qn_dataset *dataset;
    collection queries, documents;
    answer *answers;
    size_t answer_count;
    qn_ranking ranking;
    qn_outcome *outcome;
} retrieval;

static const char *text_of(const retrieval *r, const collection *t, size_t number) {
    return r->dataset->texts + r->dataset->text_offsets[t->first[number]];
}

static void rank_query(retrieval *r, uint32_t query, const answer *answers, size_t relevant, const float *scores) {
    uint32_t top[QN_RANKING_DEPTH];
    bool hit[QN_RANKING_DEPTH];
    size_t found = best_of(scores, r->documents.count, top);
    for (size_t i = 0; i < found; i++)
        hit[i] = bsearch(&(answer){query, top[i]}, answers, relevant, sizeof *answers, by_query) != NULL;
    qn_ranking_add(&r->ranking, hit, found, relevant);
    // Shown are queries whose first result is wrong.
    qn_outcome *o = r->outcome;
    if (hit[0] || o->mistake_count == MOST_MISTAKES) return;
    o->mistakes[o->mistake_count++] = (qn_mistake){text_of(r, &r->queries, query),
                                                   NULL,
                                                   text_of(r, &r->documents, answers[0].document),
                                                   text_of(r, &r->documents, top[0]),
                                                   scores[answers[0].document],
                                                   scores[top[0]]};
}

static qn_status rank(retrieval *r, qn_model *m) {
    size_t d = qn_model_width(m), documents = r->documents.count, at = 0;
    float *scores = qn_malloc(QUERIES_AT_ONCE, documents * sizeof *scores);
    if (!scores) return QN_ERROR_MEMORY;
    for (size_t first = 0; first < r->queries.count; first += QUERIES_AT_ONCE) {
        size_t left = r->queries.count - first, count = left < QUERIES_AT_ONCE ? left : QUERIES_AT_ONCE;
        m->backend->ops->linear_forward(m->backend,
                                        &(qn_linear_forward_args){.rows = count,
                                                                  .x = r->queries.vectors + first * d,
                                                                  .weight = {r->documents.vectors, documents, d, NULL},
                                                                  .y = scores});
        for (size_t i = 0; i < count && m->backend->status == QN_OK; i++) {
            uint32_t query = (uint32_t)(first + i);
            size_t begin = at;
            while (at < r->answer_count && r->answers[at].query == query) at++;
            rank_query(r, query, r->answers + begin, at - begin, scores + i * documents);
        }
    }
    free(scores);
    return m->backend->status;
}

static qn_status prepare_retrieval(const qn_job *j, qn_model *m, retrieval *r) {
    const qn_dataset *d = r->dataset;
    size_t n = qn_dataset_count(d);
    QN_TRY(collect(d, 0, 0, &r->queries));
    QN_TRY(collect(d, 1, d->width - 1, &r->documents));
    r->answers = qn_malloc(n, sizeof *r->answers);
    r->outcome->mistakes = qn_calloc(MOST_MISTAKES, sizeof *r->outcome->mistakes);
    if (!r->answers || !r->outcome->mistakes) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++)
        r->answers[i] = (answer){r->queries.number[i * d->width], r->documents.number[i * d->width + 1]};
    r->answer_count = sort_answers(r->answers, n);
    QN_TRY(embed(j, m, &r->queries.sequences, &r->queries.vectors));
    return embed(j, m, &r->documents.sequences, &r->documents.vectors);
}

static qn_status measure_retrieval(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *o) {
    retrieval r = {.dataset = d, .outcome = o};
    qn_status status = prepare_retrieval(j, m, &r);
    r.ranking.documents = r.documents.count;
    if (status == QN_OK) status = rank(&r, m);
    if (status == QN_OK) {
        qn_ranking_finish(&r.ranking);
        o->metric_count = qn_ranking_scalars(&r.ranking, o->metrics);
        status = write_json("retrieval", r.ranking.queries, r.ranking.documents, o);
    }
    free_collection(&r.queries);
    free_collection(&r.documents);
    free(r.answers);
    return status;
}

qn_status qn_embed_measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *o) {
    const char *metric;
    QN_TRY(qn_embed_best_metric(j, d, &metric));
    if (strcmp(metric, "spearman") == 0) return measure_pairs(j, m, d, o);
    if (strcmp(metric, "accuracy") == 0) return measure_triplets(j, m, d, o);
    return measure_retrieval(j, m, d, o);
}
