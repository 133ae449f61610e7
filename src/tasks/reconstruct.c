// What an autoencoder of texts is worth: how well its decoder foresees each text from the text's own vector (or, of an
// encoder-decoder, from its tokens), and how much of a text comes back when it writes on its own: exactly the same
// tokens, tokens at their places, and BLEU.
#include "metrics/translation.h"
#include "tasks/sides.h"
#include "tasks/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qn_status only_measures(const qn_training *o) {
    return qn_fail(QN_ERROR_ARGUMENT, "the task %s measures (expected pretrain's objective denoise to train)", o->task);
}

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(qn_job_reader(j, &options.reader));
    bool labelled = j->data && j->data->label_column; // to be shown
    options.reader.texts_only = !labelled;
    if (labelled) options.target = QN_TARGET_CLASS;
    options.collect_labels = labelled;
    options.encode = j->encode;
    options.keep_texts = !training;
    return qn_dataset_read(paths, count, j->tokenizer, &options, &j->labels, out);
}

// The first texts' vectors, for the report.
static qn_status make_plane(const qn_job *j, qn_model *m, const qn_dataset *d, qn_plane *p) {
    enum { MOST = 2000 };
    size_t rows = d->sequences.count, width = qn_model_width(m);
    p->points = rows < MOST ? rows : MOST;
    p->width = width;
    p->x = qn_malloc(p->points, sizeof *p->x);
    p->y = qn_malloc(p->points, sizeof *p->y);
    p->classes = qn_malloc(p->points, sizeof *p->classes);
    float *vectors = qn_malloc(rows * width, sizeof *vectors), *plane = qn_malloc(2 * rows, sizeof *plane);
    qn_status status = p->x && p->y && p->classes && vectors && plane ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_infer_vectors(m, &d->sequences, NULL, vectors);
    if (status == QN_OK) status = qn_principal_plane(vectors, rows, width, plane, p->share);
    for (size_t i = 0; status == QN_OK && i < p->points; i++) {
        p->x[i] = plane[2 * i], p->y[i] = plane[2 * i + 1];
        p->classes[i] = d->classes ? d->classes[i] : -1;
    }
    p->names = (const char *const *)j->labels.names;
    p->name_count = d->classes ? j->labels.count : 0;
    free(vectors);
    free(plane);
    return status;
}

// Sources are the texts themselves.
static qn_status measure_loss(const qn_job *j, qn_model *m, const qn_dataset *d, qn_sides_sums *sums) {
    qn_sampler_options options = {.order = QN_ORDER_SORTED, .batch_tokens = m->batch_tokens};
    qn_noise none;
    qn_loader loader = {.dataset = d, .epochs = 1, .noise = &none};
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    QN_TRY(qn_noise_init(&none, j->tokenizer, &(qn_noise_options){.max_length = j->encode.max_length}));
    qn_status status = qn_sampler_create(&d->sequences, &options, &loader.sampler);
    if (status == QN_OK) status = qn_sides_measure(m->network, &c, qn_loader_source(&loader), sums);
    qn_sampler_free(loader.sampler);
    qn_noise_free(&none);
    return status;
}

typedef struct {
    const qn_dataset *dataset;
    qn_outcome *outcome;
    qn_translation sums;
    size_t exact, tokens, right;
} judge;

// The texts of which the smallest shares come back.
static qn_status add_mistake(judge *g, const qn_reconstructed *r, double share) {
    qn_outcome *o = g->outcome;
    size_t at = o->mistake_count;
    if (at == QN_MOST_MISTAKES && share >= o->mistakes[at - 1].score) return QN_OK;
    const char *text, *pair, *found = qn_arena_strndup(o->strings, r->text, strlen(r->text)),
                             *original = qn_arena_strndup(o->strings, r->original, strlen(r->original));
    if (!found || !original) return QN_ERROR_MEMORY;
    qn_dataset_text(g->dataset, r->index, &text, &pair);
    if (at < QN_MOST_MISTAKES)
        o->mistake_count++;
    else
        at--;
    for (; at > 0 && share < o->mistakes[at - 1].score; at--) o->mistakes[at] = o->mistakes[at - 1];
    o->mistakes[at] = (qn_mistake){text, NULL, original, found, NAN, share};
    return QN_OK;
}

static qn_status judge_one(void *user, const qn_reconstructed *r) {
    judge *g = user;
    size_t size = strlen(r->original);
    g->exact += r->exact;
    g->tokens += r->original_tokens;
    g->right += r->right;
    QN_TRY(qn_translation_add(&g->sums, r->text, strlen(r->text), &r->original, &size, 1));
    return r->exact ? QN_OK : add_mistake(g, r, r->original_tokens ? (double)r->right / (double)r->original_tokens : 0);
}

// Text is written by packed weights; those of a network in training are as they were afterwards.
static qn_status reconstruct(const qn_job *j, qn_model *m, judge *g) {
    const qn_dataset *d = g->dataset;
    size_t count = qn_dataset_count(d);
    qn_reconstruction_options options = {.beam_size = j->data && j->data->beams ? j->data->beams : 1};
    qn_overflow overflow = m->overflow; // what the loss reads is cut too
    qn_text *texts = qn_calloc(count, sizeof *texts);
    if (!texts) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const char *text, *pair;
        qn_dataset_text(d, i, &text, &pair);
        texts[i] = (qn_text){.text = text, .size = strlen(text)};
    }
    m->overflow = QN_OVERFLOW_TRUNCATE;
    if (m->lent) m->packed = m->head_packed = false;
    qn_status status = qn_reconstruct(m, texts, count, &options, judge_one, g);
    if (m->lent) {
        qn_infer_unpack(m);
        m->packed = m->head_packed = true;
    }
    m->overflow = overflow;
    free(texts);
    return status;
}

static qn_status write_json(const judge *g, const qn_metric *metrics, size_t count, qn_outcome *out) {
    qn_buffer_printf(&out->json, "{\"task\": \"reconstruct\", \"count\": %zu, \"tokens\": %zu",
                     qn_dataset_count(g->dataset), g->tokens);
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(&out->json, ", \"%s\": ", metrics[i].name);
        qn_buffer_json_number(&out->json, metrics[i].value, 9);
    }
    qn_buffer_char(&out->json, '}');
    return qn_buffer_status(&out->json);
}

static qn_status measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    judge g = {.dataset = d, .outcome = out};
    qn_sides_sums sums = {0};
    double n = (double)qn_dataset_count(d);
    out->mistakes = qn_calloc(QN_MOST_MISTAKES, sizeof *out->mistakes);
    out->strings = qn_arena_create(1 << 12);
    if (!out->mistakes || !out->strings) return QN_ERROR_MEMORY;
    if (!m->network->config.text_decoder && !qn_model_is_translator(m))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: no decoder of texts was opened (expected an autoencoder's folder, or an encoder-decoder's)",
                       m->network->config.source);
    if (m->lent) QN_TRY(make_plane(j, m, d, &out->plane)); // of a training, which reports
    QN_TRY(measure_loss(j, m, d, &sums));
    QN_TRY(reconstruct(j, m, &g));
    double mean = sums.tokens ? sums.loss / (double)sums.tokens : NAN;
    const qn_metric scalars[] = {{"perplexity", exp(mean), true},
                                 {"accuracy", (double)sums.right / (double)(sums.tokens ? sums.tokens : 1), false},
                                 {"exact_match", n > 0 ? (double)g.exact / n : NAN, false},
                                 {"token_accuracy", (double)g.right / (double)(g.tokens ? g.tokens : 1), false},
                                 {"bleu", qn_translation_measure(&g.sums).bleu, false},
                                 {"kl", sums.divergence / (double)(sums.texts ? sums.texts : 1), true}};
    size_t count = sizeof scalars / sizeof *scalars - !m->network->config.variational;
    qn_outcome_metrics(out, mean, scalars, count);
    out->valued = true;
    return write_json(&g, out->metrics, out->metric_count, out);
}

const qn_task qn_task_reconstruct = {.name = "reconstruct",
                                     .title = "Reconstruction of texts",
                                     .best_metric = "loss",
                                     .check = only_measures,
                                     .read = read,
                                     .measure = measure};
