// Tagging: a label for each word of a text, entities as the result.
#include "base/memory.h"
#include "tasks/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Data

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    const qn_data_options *d = j->data;
    qn_windowed_options options = {.format = d ? d->format : NULL,
                                   .word_column = d ? d->text_column : NULL,
                                   .tag_column = d ? d->label_column : NULL,
                                   .encode = j->encode,
                                   .stride = d ? d->stride : 0,
                                   .collect_labels = training,
                                   .keep_texts = !training,
                                   .all_tokens = training && j->training->label_all_tokens};
    return qn_dataset_read_tags(paths, count, j->tokenizer, &options, &j->labels, out);
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    return qn_model_config_set_labels(config, QN_PROBLEM_SINGLE_LABEL, j->labels.count,
                                      (const char *const *)j->labels.names);
}

// --- Training

// The head reads the tokens that have a label, so the last layer computes only those.
static qn_status loss_of_tags(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                              double *loss) {
    qn_tokens tokens = qn_batch_tokens(batch);
    int32_t *rows = qn_arena_alloc(c->records, batch->tokens, sizeof *rows),
            *tags = qn_arena_alloc(c->records, batch->tokens, sizeof *tags);
    if (!rows || !tags) return QN_ERROR_MEMORY;
    size_t count = 0;
    for (size_t t = 0; t < batch->tokens; t++)
        if (batch->tags[t] >= 0) rows[count] = (int32_t)t, tags[count++] = batch->tags[t];
    qn_tensor *hidden = qn_encoder_forward_rows(c, &network->encoder, &tokens, (qn_rows_read){count, rows});
    return qn_cross_entropy(c, qn_network_tag(c, network, hidden), tags, NULL, (float)j->training->label_smoothing,
                            loss);
}

// --- Measuring

// The words of a data set: a row of scores for each.
typedef struct {
    size_t count;
    int32_t *row_of;       // [T] of each token, -1 for none
    int32_t *gold, *found; // [count]
    size_t *offsets;       // [documents + 1]
    size_t *token;         // [count] that the word begins with
} words;

static void free_words(words *w) {
    free(w->row_of);
    free(w->gold);
    free(w->found);
    free(w->offsets);
    free(w->token);
}

static qn_status find_words(const qn_dataset *d, words *w) {
    size_t tokens = d->sequences.tokens;
    for (size_t t = 0; t < tokens; t++) w->count += d->tags[t] >= 0;
    w->row_of = qn_malloc(tokens, sizeof *w->row_of);
    w->gold = qn_malloc(w->count, sizeof *w->gold);
    w->found = qn_malloc(w->count, sizeof *w->found);
    w->offsets = qn_calloc(d->documents + 1, sizeof *w->offsets);
    w->token = qn_malloc(w->count, sizeof *w->token);
    if (!w->row_of || !w->gold || !w->found || !w->offsets || !w->token) return QN_ERROR_MEMORY;
    size_t row = 0;
    for (size_t i = 0; i < d->sequences.count; i++) {
        for (size_t t = (size_t)d->sequences.offsets[i]; t < (size_t)d->sequences.offsets[i + 1]; t++) {
            w->row_of[t] = d->tags[t] >= 0 ? (int32_t)row : -1;
            if (d->tags[t] < 0) continue;
            w->gold[row] = d->tags[t];
            w->token[row++] = t;
        }
        w->offsets[d->document[i] + 1] = row;
    }
    return QN_OK;
}

static qn_status decode(const qn_dataset *d, const qn_outcome *o, bool constrained, words *w) {
    for (size_t i = 0; i < d->documents; i++)
        QN_TRY(qn_tag_decode(&o->scheme, o->scores + w->offsets[i] * o->scheme.labels,
                             w->offsets[i + 1] - w->offsets[i], constrained, w->found + w->offsets[i]));
    return QN_OK;
}

// What the best legal sequences are worth, which is what qn_tag gives.
static qn_status measure_constrained(const qn_dataset *d, const qn_outcome *o, words *w, qn_entity_scores *out) {
    qn_tagging legal;
    QN_TRY(decode(d, o, true, w));
    qn_status status = qn_tagging_measure(&o->scheme, d->documents, w->offsets, w->gold, w->found, &legal);
    *out = legal.lenient;
    qn_tagging_free(&legal);
    return status;
}

// --- Mistakes

// "PER: Peter Blackburn, LOC: Brussels" of the entities [count] that the others [other_count] lack.
static char *list_entities(const qn_dataset *d, const qn_outcome *o, const words *w, size_t document,
                           const qn_entity *entities, size_t count, const qn_entity *others, size_t other_count) {
    const char *text, *pair;
    qn_buffer list = {0};
    qn_dataset_text(d, document, &text, &pair);
    for (size_t i = 0; i < count; i++) {
        bool common = false;
        for (size_t k = 0; k < other_count; k++) common |= memcmp(&entities[i], &others[k], sizeof *entities) == 0;
        if (common) continue;
        const size_t *token = w->token + w->offsets[document];
        int32_t begin = d->starts[token[entities[i].first]], end = d->ends[token[entities[i].last]];
        qn_buffer_printf(&list, "%s%s: %.*s", list.size ? ", " : "", o->scheme.names[entities[i].type],
                         (int)(end - begin), text + begin);
    }
    char *copy = qn_arena_strndup(o->strings, list.data ? list.data : "none", list.data ? list.size : 4);
    qn_buffer_free(&list);
    return copy;
}

typedef struct {
    size_t document;
    double probability; // of the wrong tag that the model is surest of
} suspect;

// The worst sentences, the surest mistake first: insertion into a short sorted list. Probabilities take the scores'
// place.
static size_t worst_sentences(const qn_dataset *d, const words *w, qn_outcome *o, suspect *worst) {
    size_t found = 0, labels = o->scheme.labels;
    for (size_t i = 0; i < d->documents; i++) {
        double most = -1;
        for (size_t row = w->offsets[i]; row < w->offsets[i + 1]; row++) {
            if (w->found[row] == w->gold[row]) continue;
            most = fmax(most, exp(-qn_row_cross_entropy(o->scores + row * labels, labels, w->found[row])));
        }
        if (most < 0 || (found == QN_MOST_MISTAKES && most <= worst[found - 1].probability)) continue;
        size_t at = found < QN_MOST_MISTAKES ? found++ : found - 1;
        for (; at > 0 && most > worst[at - 1].probability; at--) worst[at] = worst[at - 1];
        worst[at] = (suspect){i, most};
    }
    return found;
}

static qn_status find_mistakes(const qn_dataset *d, const words *w, qn_outcome *o) {
    suspect worst[QN_MOST_MISTAKES];
    size_t found = worst_sentences(d, w, o, worst), longest = 0;
    for (size_t i = 0; i < found; i++) {
        size_t n = w->offsets[worst[i].document + 1] - w->offsets[worst[i].document];
        if (n > longest) longest = n;
    }
    qn_entity *gold = qn_calloc(2 * longest, sizeof *gold), *predicted = gold ? gold + longest : NULL;
    o->mistakes = qn_calloc(QN_MOST_MISTAKES, sizeof *o->mistakes);
    o->strings = qn_arena_create(1 << 12);
    qn_status status = gold && o->mistakes && o->strings ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < found; i++) {
        size_t k = worst[i].document, first = w->offsets[k], n = w->offsets[k + 1] - first;
        size_t golds = qn_tag_entities(&o->scheme, w->gold + first, n, false, gold);
        size_t predictions = qn_tag_entities(&o->scheme, w->found + first, n, false, predicted);
        qn_mistake *e = &o->mistakes[o->mistake_count++];
        qn_dataset_text(d, k, &e->text, &e->text_pair);
        e->gold = list_entities(d, o, w, k, gold, golds, predicted, predictions);
        e->predicted = list_entities(d, o, w, k, predicted, predictions, gold, golds);
        e->gold_score = NAN;
        e->score = worst[i].probability;
        if (!e->gold || !e->predicted) status = QN_ERROR_MEMORY;
    }
    free(gold);
    return status;
}

static qn_status measure_words(qn_model *m, const qn_dataset *d, words *w, qn_outcome *out) {
    size_t labels = qn_model_labels(m);
    QN_TRY(qn_tag_scheme_init((const char *const *)m->network->config.label_names, labels, &out->scheme));
    QN_TRY(find_words(d, w));
    out->scores = qn_malloc(w->count, labels * sizeof *out->scores);
    out->count = w->count;
    if (!out->scores) return QN_ERROR_MEMORY;
    QN_TRY(qn_infer_tokens(m, &d->sequences, QN_HEAD_TAGGER, w->row_of, out->scores));
    double loss = 0;
    for (size_t i = 0; i < w->count; i++)
        loss += qn_row_cross_entropy(out->scores + i * labels, labels, w->gold[i]) / (double)w->count;
    qn_entity_scores legal;
    QN_TRY(measure_constrained(d, out, w, &legal));
    QN_TRY(decode(d, out, false, w));
    out->tagged = true;
    QN_TRY(qn_tagging_measure(&out->scheme, d->documents, w->offsets, w->gold, w->found, &out->tagging));
    qn_metric scalars[QN_METRICS_MAX];
    size_t count = qn_tagging_scalars(&out->tagging, scalars);
    scalars[count++] = (qn_metric){"constrained_f1", legal.f1, false};
    qn_outcome_metrics(out, loss, scalars, count);
    qn_tagging_json(&out->tagging, &out->scheme, &legal, &out->json);
    QN_TRY(find_mistakes(d, w, out));
    return qn_buffer_status(&out->json);
}

static qn_status measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    words w = {0};
    qn_status status = measure_words(m, d, &w, out);
    free_words(&w);
    return status;
}

const qn_task qn_task_tag = {.name = "tag",
                             .title = "Tagging",
                             .heads = QN_HEAD_TAGGER,
                             .problem = QN_PROBLEM_SINGLE_LABEL,
                             .best_metric = "f1",
                             .check = qn_task_check_balance,
                             .read = read,
                             .configure = configure,
                             .loss = loss_of_tags,
                             .measure = measure};
