// See embed_search.h.
#include "tasks/embed_search.h"
#include "data/hash.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES_AT_ONCE = 64 };

qn_status qn_embed_vectors(const qn_job *j, qn_model *m, const qn_sequences *sequences, size_t column, size_t width,
                           float **out) {
    size_t d = qn_model_width(m), n = sequences->count;
    const qn_embed_job *e = j->own;
    *out = qn_malloc(n, d * sizeof **out);
    int32_t *skip = qn_malloc(n, sizeof *skip);
    qn_status status = *out && skip ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n; i++) skip[i] = qn_embed_skipped(e, column + i % width);
    if (status == QN_OK) status = qn_infer_vectors(m, sequences, skip, *out);
    free(skip);
    QN_TRY(status);
    if (qn_model_sparse(m)) return QN_OK; // their dot product counts
    for (size_t i = 0; i < n; i++) {
        float *x = *out + i * d;
        double sum = 0;
        for (size_t k = 0; k < d; k++) sum += (double)x[k] * x[k];
        for (size_t k = 0; k < d && sum > 0; k++) x[k] = (float)(x[k] / sqrt(sum));
    }
    return QN_OK;
}

// --- Vectors of tokens

typedef struct {
    qn_embed_texts *texts;
    size_t width, capacity, done;
} multi_collector;

static qn_status collect_multi(void *user, size_t index, size_t count, const float *vectors) {
    multi_collector *x = user;
    qn_embed_texts *t = x->texts;
    size_t first = t->rows[index], last = first + count;
    QN_TRY(qn_grow((void **)&t->vectors, &x->capacity, last * x->width + 1, sizeof *t->vectors));
    memcpy(t->vectors + first * x->width, vectors, count * x->width * sizeof *vectors);
    t->rows[index + 1] = last;
    return QN_OK;
}

static qn_status multi_vectors(qn_model *m, size_t side, qn_embed_texts *t) {
    t->rows = qn_calloc(t->count + 1, sizeof *t->rows);
    if (!t->rows) return QN_ERROR_MEMORY;
    return qn_infer_multi(m, &t->sequences, side, collect_multi, &(multi_collector){t, qn_model_width(m), 0, 0});
}

// --- Vectors of words' weights

static qn_status collect_sparse(void *user, size_t index, const qn_sparse_vector *vector) {
    (void)index;
    return qn_sparse_rows_add(user, vector);
}

static qn_status sparse_vectors(qn_model *m, qn_embed_texts *t) {
    t->sparse.columns = qn_model_width(m);
    return qn_infer_sparse(m, &t->sequences, collect_sparse, &t->sparse);
}

// --- Texts and answers

static void free_texts(qn_embed_texts *t) {
    free(t->first);
    free(t->number);
    free(t->vectors);
    free(t->rows);
    qn_sparse_rows_free(&t->sparse);
    qn_sequences_free(&t->sequences);
}

static qn_status add_text(qn_embed_texts *t, const qn_dataset *d, size_t at) {
    const qn_sequences *from = &d->sequences;
    t->first[t->count++] = at;
    QN_TRY(qn_sequences_put_from(&t->sequences, from, from->offsets[at], from->offsets[at + 1]));
    return qn_sequences_close(&t->sequences, from->second[at]);
}

// Texts of columns `from` on, up to `to`, by a table of hashes.
static qn_status collect(const qn_dataset *d, size_t from, size_t to, qn_embed_texts *t) {
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

static int by_query(const void *left, const void *right) {
    const qn_embed_answer *a = left, *b = right;
    if (a->query != b->query) return a->query < b->query ? -1 : 1;
    return a->document < b->document ? -1 : a->document > b->document;
}

static size_t sort_answers(qn_embed_answer *answers, size_t count) {
    size_t kept = 0;
    qsort(answers, count, sizeof *answers, by_query);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || by_query(&answers[kept - 1], &answers[i]) != 0) answers[kept++] = answers[i];
    return kept;
}

// The best results, best first, equal scores in the order of the documents.
static size_t best_of(const float *scores, size_t count, size_t depth, uint32_t *top) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (found == depth && scores[i] <= scores[top[found - 1]]) continue;
        size_t at = found < depth ? found++ : found - 1;
        for (; at > 0 && scores[i] > scores[top[at - 1]]; at--) top[at] = top[at - 1];
        top[at] = (uint32_t)i;
    }
    return found;
}

const char *qn_embed_text(const qn_embed_search *s, const qn_embed_texts *texts, size_t number) {
    return s->dataset->texts + s->dataset->text_offsets[texts->first[number]];
}

bool qn_embed_answers(const qn_embed_found *f, uint32_t document) {
    return bsearch(&(qn_embed_answer){f->query, document}, f->answers, f->answer_count, sizeof *f->answers, by_query) !=
           NULL;
}

void qn_embed_search_free(qn_embed_search *s) {
    free_texts(&s->queries);
    free_texts(&s->documents);
    qn_postings_free(&s->postings);
    free(s->answers);
    *s = (qn_embed_search){0};
}

qn_status qn_embed_search_open(const qn_job *j, qn_model *m, const qn_dataset *d, qn_embed_search *s) {
    size_t n = qn_dataset_count(d);
    s->dataset = d;
    QN_TRY(collect(d, 0, 0, &s->queries));
    QN_TRY(collect(d, 1, d->width - 1, &s->documents));
    s->answers = qn_malloc(n, sizeof *s->answers);
    if (!s->answers) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++)
        s->answers[i] = (qn_embed_answer){s->queries.number[i * d->width], s->documents.number[i * d->width + 1]};
    s->answer_count = sort_answers(s->answers, n);
    if (qn_model_multi_vector(m)) {
        QN_TRY(multi_vectors(m, 0, &s->queries));
        return multi_vectors(m, 1, &s->documents);
    }
    if (qn_model_sparse(m)) {
        QN_TRY(sparse_vectors(m, &s->queries));
        QN_TRY(sparse_vectors(m, &s->documents));
        return qn_postings_make(&s->documents.sparse, &s->postings);
    }
    QN_TRY(qn_embed_vectors(j, m, &s->queries.sequences, 0, 1, &s->queries.vectors));
    return qn_embed_vectors(j, m, &s->documents.sequences, 1, 1, &s->documents.vectors);
}

// --- The search

// The sums of the largest products, a query at a time: products [its rows, rows of all documents].
static qn_status score_multi(const qn_embed_search *s, qn_model *m, size_t first, size_t count, float *scores) {
    const size_t *queries = s->queries.rows + first, *documents = s->documents.rows;
    size_t d = qn_model_width(m), n = s->documents.count, all = documents[n], longest = 0;
    for (size_t i = 0; i < count; i++)
        if (queries[i + 1] - queries[i] > longest) longest = queries[i + 1] - queries[i];
    float *products = qn_malloc(longest + 1, (all + 1) * sizeof *products);
    if (!products) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        size_t rows = queries[i + 1] - queries[i];
        if (rows > 0 && all > 0)
            m->backend->ops->linear_forward(
                m->backend, &(qn_linear_forward_args){.rows = rows,
                                                  .x = s->queries.vectors + queries[i] * d,
                                                  .weight = {s->documents.vectors, all, d, NULL},
                                                  .y = products});
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t q = 0; q < rows && documents[j] < documents[j + 1]; q++) {
                float best = products[q * all + documents[j]];
                for (size_t t = documents[j] + 1; t < documents[j + 1]; t++) best = fmaxf(best, products[q * all + t]);
                sum += best;
            }
            scores[i * n + j] = (float)sum;
        }
    }
    free(products);
    return m->backend->status;
}

static qn_status score_sparse(const qn_embed_search *s, size_t first, size_t count, float *scores) {
    for (size_t i = 0; i < count; i++) {
        qn_products products;
        qn_sparse_vector query = qn_sparse_rows_at(&s->queries.sparse, first + i);
        QN_TRY(qn_products_begin(&s->postings, &query, &products));
        for (size_t n; (n = qn_products_next(&products, scores)) > 0;) scores += n;
        qn_products_end(&products);
    }
    return QN_OK;
}

static qn_status search_some(const qn_embed_search *s, qn_model *m, size_t first, size_t count, float *scores) {
    size_t d = qn_model_width(m);
    if (s->postings.columns) return score_sparse(s, first, count, scores);
    if (s->documents.rows) return score_multi(s, m, first, count, scores);
    m->backend->ops->linear_forward(
        m->backend, &(qn_linear_forward_args){.rows = count,
                                              .x = s->queries.vectors + first * d,
                                              .weight = {s->documents.vectors, s->documents.count, d, NULL},
                                              .y = scores});
    return m->backend->status;
}

qn_status qn_embed_search_run(const qn_embed_search *s, qn_model *m, size_t depth, qn_embed_receiver receive,
                              void *user) {
    size_t documents = s->documents.count, at = 0;
    float *scores = qn_malloc(QUERIES_AT_ONCE, documents * sizeof *scores);
    uint32_t *top = qn_malloc(depth, sizeof *top);
    qn_status status = scores && top ? QN_OK : QN_ERROR_MEMORY;
    for (size_t first = 0; status == QN_OK && first < s->queries.count; first += QUERIES_AT_ONCE) {
        size_t left = s->queries.count - first, count = left < QUERIES_AT_ONCE ? left : QUERIES_AT_ONCE;
        status = search_some(s, m, first, count, scores);
        for (size_t i = 0; i < count && status == QN_OK; i++) {
            qn_embed_found f = {
                .query = (uint32_t)(first + i), .answers = s->answers + at, .scores = scores + i * documents};
            while (at < s->answer_count && s->answers[at].query == f.query) at++;
            f.answer_count = (size_t)(s->answers + at - f.answers);
            f.top = top;
            f.count = best_of(f.scores, documents, depth, top);
            status = receive(user, s, &f);
        }
    }
    free(scores);
    free(top);
    return status;
}
