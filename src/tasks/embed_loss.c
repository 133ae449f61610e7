// Losses of sentence embeddings, as in sentence-transformers; the formulas are in docs/mathematics.md.
#include "base/buffer.h"
#include "tasks/embed.h"
#include "tasks/sides.h"
#include <stdlib.h>
#include <string.h>

// Row k of each example, for k = first .. last, those of one k side by side: [n (last - first + 1), d]
static qn_tensor *texts_of(qn_context *c, qn_tensor *vectors, size_t width, size_t first, size_t last) {
    if (!vectors) return NULL;
    size_t n = qn_rows(vectors) / width, rows = 0;
    int32_t *index = qn_arena_alloc(c->records, n * (last - first + 1), sizeof *index);
    if (!index) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t k = first; k <= last; k++)
        for (size_t i = 0; i < n; i++) index[rows++] = (int32_t)(i * width + k);
    return qn_gather(c, vectors, rows, index);
}

// Each anchor shall find its own positive among the positives and negatives of all examples (Henderson et al. 2017);
// symmetric: and each positive its anchor among all anchors.
static qn_status in_batch(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                          double *loss) {
    size_t width = batch->width, n = batch->sequences / width;
    int32_t *own = qn_arena_alloc(c->records, n, sizeof *own);
    if (!own) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) own[i] = (int32_t)i;
    qn_tensor *anchors = texts_of(c, vectors, width, 0, 0);
    qn_tensor *others = texts_of(c, vectors, width, 1, width - 1);
    if (!j->symmetric) return qn_cross_entropy(c, qn_similarities(c, anchors, others, j->scale), own, NULL, 0, loss);
    double back = 0;
    float scale = c->loss_scale;
    c->loss_scale = scale / 2;
    qn_status status = qn_cross_entropy(c, qn_similarities(c, anchors, others, j->scale), own, NULL, 0, loss);
    qn_tensor *positives = texts_of(c, vectors, width, 1, 1);
    if (status == QN_OK)
        status = qn_cross_entropy(c, qn_similarities(c, positives, anchors, j->scale), own, NULL, 0, &back);
    c->loss_scale = scale;
    *loss = (*loss + back) / 2;
    return status;
}

static qn_status cosent(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch, double *loss) {
    return qn_cosent_loss(c, qn_group_scores(c, vectors, 2, false), batch->scores, j->scale, loss);
}

static qn_status cosine(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch, double *loss) {
    (void)j;
    return qn_mean_squared_error(c, qn_group_scores(c, vectors, 2, false), batch->scores, loss);
}

static qn_status triplet(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                         double *loss) {
    (void)batch;
    bool distance = j->similarity == QN_SBERT_EUCLIDEAN;
    return qn_triplet_loss(c, qn_group_scores(c, vectors, 3, distance), distance, j->margin, loss);
}

static qn_status margin(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch, double *loss) {
    (void)j;
    return qn_margin_loss(c, qn_group_scores(c, vectors, 3, false), batch->scores, loss);
}

static qn_status contrastive(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                             double *loss) {
    return qn_contrastive_loss(c, qn_group_scores(c, vectors, 2, false), batch->scores, j->margin, loss);
}

// The student's vectors shall be the teacher's.
static qn_status distill(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                         double *loss) {
    size_t d = j->teacher_width;
    float *targets = qn_arena_alloc(c->arena, batch->sequences * d, sizeof *targets);
    if (!targets) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < batch->sequences; i++)
        memcpy(targets + i * d, j->teacher + batch->examples[i] * d, d * sizeof *targets);
    return qn_mean_squared_error(c, vectors, targets, loss);
}

// Each text shall find those of its own class among all texts of the batch (Khosla et al. 2020).
static qn_status classes(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                         double *loss) {
    int32_t *own = qn_arena_alloc(c->records, batch->sequences + 1, sizeof *own);
    if (!own) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < batch->sequences; i++) own[i] = batch->classes[i / batch->width];
    qn_tensor *scores = qn_similarities(c, vectors, texts_of(c, vectors, 1, 0, 0), j->scale);
    return qn_class_contrastive_loss(c, scores, own, loss);
}

static const qn_embed_loss losses[] = {
    {.name = "multiple-negatives", .least = 2, .in_batch = true, .scale = 20, .compute = in_batch},
    {.name = "simcse", .least = 2, .most = 2, .twice = true, .in_batch = true, .scale = 20, .compute = in_batch},
    {.name = "cosent", .least = 2, .most = 2, .scores = true, .scale = 20, .compute = cosent},
    {.name = "cosine", .least = 2, .most = 2, .scores = true, .compute = cosine},
    {.name = "triplet", .least = 3, .most = 3, .similarity = QN_SBERT_EUCLIDEAN, .margin = 5, .compute = triplet},
    {.name = "margin-mse", .least = 3, .most = 3, .scores = true, .similarity = QN_SBERT_DOT, .compute = margin},
    {.name = "distill", .least = 1, .teacher = true, .similarity = QN_SBERT_DOT, .compute = distill},
    {.name = "classes", .least = 1, .most = 1, .classes = true, .scale = 20, .compute = classes},
    {.name = "contrastive", .least = 2, .most = 2, .scores = true, .margin = 0.5, .compute = contrastive},
    {.name = "tsdae", .least = 1, .most = 1, .restores = true},
};
enum { LOSSES = sizeof losses / sizeof *losses };

const qn_embed_loss *qn_embed_loss_find(const char *name) {
    qn_buffer known = {0};
    for (size_t i = 0; i < LOSSES; i++) {
        if (strcmp(losses[i].name, name) == 0) {
            qn_buffer_free(&known);
            return &losses[i];
        }
        qn_buffer_printf(&known, "%s%s", i ? ", " : "", losses[i].name);
    }
    qn_fail(QN_ERROR_ARGUMENT, "loss is \"%s\" (expected one of %s)", name, known.data ? known.data : "");
    qn_buffer_free(&known);
    return NULL;
}

const qn_embed_loss *qn_embed_loss_usual(size_t texts, bool scores, bool teacher) {
    if (teacher) return qn_embed_loss_find("distill");
    return qn_embed_loss_find(!scores ? "multiple-negatives" : texts == 3 ? "margin-mse" : "cosent");
}

// What the words in use cost, so that few are.
static qn_status add_flops(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                           double *loss) {
    float scale = c->loss_scale;
    qn_status status = QN_OK;
    for (size_t k = 0; status == QN_OK && k < 2 && k < batch->width; k++) {
        double value;
        if (j->flops[k] == 0) continue;
        c->loss_scale = scale * j->flops[k];
        status = qn_flops_loss(c, texts_of(c, vectors, batch->width, k, k ? batch->width - 1 : 0), &value);
        *loss += (double)j->flops[k] * value;
    }
    c->loss_scale = scale;
    return status;
}

qn_status qn_embed_loss_of(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                           double *loss) {
    if (j->sparse) {
        QN_TRY(j->loss->compute(j, c, j->similarity == QN_SBERT_COSINE ? qn_normalize(c, vectors) : vectors, batch, loss));
        return add_flops(j, c, vectors, batch, loss);
    }
    bool cosine_of = j->similarity == QN_SBERT_COSINE;
    if (j->dim_count == 0) return j->loss->compute(j, c, cosine_of ? qn_normalize(c, vectors) : vectors, batch, loss);
    float scale = c->loss_scale;
    qn_status status = QN_OK;
    *loss = 0;
    for (size_t i = 0; status == QN_OK && i < j->dim_count; i++) {
        double value;
        c->loss_scale = scale * j->weights[i];
        status = j->loss->compute(j, c, qn_normalize(c, qn_columns(c, vectors, 0, j->dims[i])), batch, &value);
        *loss += (double)j->weights[i] * value;
    }
    c->loss_scale = scale;
    return status;
}

// --- Through the network

// The vectors of sequences first .. last-1 of a batch.
static qn_tensor *encode(const qn_embed_job *j, qn_network *network, qn_context *c, const qn_batch *batch, size_t first,
                         size_t last) {
    size_t n = last - first;
    int32_t begin = batch->offsets[first];
    int32_t *offsets = qn_arena_alloc(c->records, n + 1, sizeof *offsets);
    if (!offsets) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i <= n; i++) offsets[i] = batch->offsets[first + i] - begin;
    qn_tokens tokens = qn_tokens_of((size_t)offsets[n], batch->ids + begin, batch->types + begin,
                                    batch->positions + begin, (qn_ragged){n, offsets});
    tokens.texts = batch->examples + first;
    int32_t *skip = NULL;
    if (j->prompt_tokens[0] || j->prompt_tokens[1]) {
        skip = qn_arena_alloc(c->records, n, sizeof *skip);
        if (!skip) return qn_fail_operation(c, QN_ERROR_MEMORY);
        for (size_t i = 0; i < n; i++) skip[i] = qn_embed_skipped(j, (first + i) % batch->width);
    }
    return qn_sentence_vectors(c, network, &tokens, skip);
}

typedef struct {
    qn_arena_mark values, records;
} marks;

static marks save(const qn_context *c) {
    return (marks){qn_arena_save(c->arena), qn_arena_save(c->records)};
}

static void restore(const qn_context *c, marks m) {
    qn_arena_restore(c->arena, m.values);
    qn_arena_restore(c->records, m.records);
}

static size_t vector_width(const qn_network *n) {
    return qn_sbert_width(&n->sentence, n->encoder.config.hidden, n->encoder.config.vocabulary);
}

// Every chunk of texts forward, without a record; then the loss of all vectors and their gradients; then each chunk
// forward again, with the same dropout, and backward from its vectors' gradients. The last chunk's backward is left to
// the caller, as that of a whole batch is.
static qn_status cached(const qn_embed_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                        double *loss) {
    size_t n = batch->sequences, d = vector_width(network),
           step = j->mini_batch, chunks = (n + step - 1) / step;
    uint64_t *streams = qn_arena_alloc(c->records, chunks, sizeof *streams);
    qn_tensor *vectors = qn_arena_zalloc(c->records, 1, sizeof *vectors);
    float *data = qn_arena_alloc(c->arena, n * d, sizeof *data), *grad = qn_arena_alloc(c->arena, n * d, sizeof *grad);
    if (!streams || !vectors || !data || !grad) return QN_ERROR_MEMORY;
    // No result of an operation: the tape must not take its gradient back.
    *vectors = (qn_tensor){.rank = 2, .shape = {n, d}, .data = data, .grad = grad, .requires_grad = true};
    qn_tape *tape = c->tape;
    c->tape = NULL;
    for (size_t i = 0; i < chunks; i++) {
        size_t first = i * step, last = n - first < step ? n : first + step;
        marks m = save(c);
        streams[i] = c->stream;
        qn_tensor *y = encode(j, network, c, batch, first, last);
        if (!y) break;
        memcpy(data + first * d, y->data, (last - first) * d * sizeof *data);
        restore(c, m);
    }
    c->tape = tape;
    QN_TRY(qn_context_status(c));
    QN_TRY(qn_embed_loss_of(j, c, vectors, batch, loss));
    QN_TRY(qn_backward(c));
    if (!vectors->has_grad) memset(grad, 0, n * d * sizeof *grad);
    for (size_t i = 0; i < chunks; i++) {
        size_t first = i * step, last = n - first < step ? n : first + step;
        marks m = save(c);
        c->stream = streams[i];
        qn_tensor *y = encode(j, network, c, batch, first, last);
        if (!y) return qn_context_status(c);
        qn_add_gradient(c, y, grad + first * d);
        if (last == n) break;
        QN_TRY(qn_backward(c));
        restore(c, m);
    }
    return qn_context_status(c);
}

// --- ColBERT

// The rows of tokens that count, of texts `first` .. `last` of each example, those of one place side by side.
static qn_tensor *rows_of(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *b, size_t first,
                          size_t last, qn_ragged *ragged) {
    size_t n = b->sequences / b->width, rows = 0, text = 0;
    int32_t *index = qn_arena_alloc(c->records, b->tokens + n * (last - first + 1) + 1, sizeof *index);
    if (!index || !vectors) return index ? NULL : qn_fail_operation(c, QN_ERROR_MEMORY);
    int32_t *offsets = index + b->tokens;
    offsets[0] = 0;
    for (size_t k = first; k <= last; k++)
        for (size_t i = 0; i < n; i++) {
            size_t s = i * b->width + k;
            for (int32_t t = b->offsets[s]; t < b->offsets[s + 1]; t++)
                if (k == 0 || !j->late.skipped[b->ids[t]]) index[rows++] = t;
            offsets[++text] = (int32_t)rows;
        }
    *ragged = (qn_ragged){text, offsets};
    return qn_gather(c, vectors, rows, index);
}

// Each query shall find its own document among those of all examples, by the sum of its tokens' largest similarities
// (Santhanam et al. 2022, with the negatives of the batch).
static qn_status late_loss(const qn_embed_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                           double *loss) {
    size_t n = batch->sequences / batch->width;
    int32_t *own = qn_arena_alloc(c->records, n + 1, sizeof *own);
    if (!own) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) own[i] = (int32_t)i;
    qn_tokens tokens = qn_batch_tokens(batch);
    tokens.seen = qn_late_seen(&j->late, c->records, &tokens);
    qn_tensor *vectors = qn_sentence_tokens(c, network, qn_encoder_forward(c, &network->encoder, &tokens));
    qn_ragged queries = {0}, documents = {0};
    qn_tensor *q = rows_of(j, c, vectors, batch, 0, 0, &queries);
    qn_tensor *d = rows_of(j, c, vectors, batch, 1, batch->width - 1, &documents);
    qn_tensor *scores = qn_scale(c, qn_max_similarities(c, q, queries, d, documents), j->scale);
    return qn_cross_entropy(c, scores, own, NULL, 0, loss);
}

qn_status qn_embed_batch_loss(const qn_embed_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                              double *loss) {
    *loss = 0;
    if (j->late.on) return late_loss(j, network, c, batch, loss);
    if (j->loss->restores) return qn_sides_loss(network, c, batch, 0, 0, &(qn_sides_sums){0}, loss);
    if (j->mini_batch > 0 && j->mini_batch < batch->sequences) return cached(j, network, c, batch, loss);
    return qn_embed_loss_of(j, c, encode(j, network, c, batch, 0, batch->sequences), batch, loss);
}
