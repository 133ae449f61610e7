// Tags of words: entities of texts.
#include "base/utf8.h"
#include "data/tagged.h"
#include "infer/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Texts of a group: enough tokens to fill batches of similar lengths.
enum { GROUP_BATCHES = 8 };

qn_status qn_infer_scheme(qn_model *m, const qn_tag_scheme **out) {
    *out = NULL;
    if (!(m->network->heads & QN_HEAD_TAGGER))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: this model has no head for tags (expected \"architectures\" [\"%s\"])",
                       m->network->config.source,
                       m->network->config.family->class_tagger ? m->network->config.family->class_tagger
                                                               : "...ForTokenClassification");
    if (!m->tags.kinds)
        QN_TRY(qn_tag_scheme_init((const char *const *)m->network->config.label_names, qn_model_labels(m), &m->tags));
    *out = &m->tags;
    return QN_OK;
}

// --- Logits of tokens

typedef struct {
    const qn_sequences *sequences;
    unsigned head;
    const int32_t *row_of;
    float *rows;
} token_rows;

static qn_status receive_tokens(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const token_rows *to = user;
    qn_tensor *logits = to->head == QN_HEAD_SPAN ? qn_network_answer(c, m->network, batch->hidden)
                                                 : qn_network_tag(c, m->network, batch->hidden);
    if (!logits) return c->status != QN_OK ? c->status : QN_ERROR_MEMORY;
    size_t width = qn_width(logits);
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) {
        int64_t token = qn_sequences_begin(to->sequences, batch->index[i]);
        for (int32_t t = batch->tokens.ragged.offsets[i]; t < batch->tokens.ragged.offsets[i + 1]; t++, token++) {
            int64_t row = to->row_of ? to->row_of[token] : token;
            if (row >= 0)
                m->backend->ops->copy_out(m->backend, to->rows + (size_t)row * width, logits->data + (size_t)t * width,
                                          width * sizeof(float));
        }
    }
    return QN_OK;
}

qn_status qn_infer_tokens(qn_model *m, const qn_sequences *s, unsigned head, const int32_t *row_of, float *rows) {
    return qn_infer_sequences(m, s, false, receive_tokens, &(token_rows){s, head, row_of, rows});
}

// --- Texts

typedef struct {
    const qn_text *text;
    size_t index, first, count; // its rows
    qn_usage usage;
} tagged_text;

typedef struct {
    qn_model *model;
    const qn_tag_scheme *scheme;
    const qn_tag_options *options;
    qn_tag_receiver receive;
    void *user;
    qn_words words; // of one text
    // A group of texts. A row is a word that has a token.
    tagged_text *texts;
    qn_word *row_words; // [rows]
    int32_t *word_of;   // of one text's tokens
    int32_t *row_of;    // of all windows' tokens
    size_t text_count, rows;
    size_t text_capacity, row_capacity, word_capacity, token_capacity;
    // Results.
    float *scores; // [rows, labels]
    int32_t *tags; // [rows]
    qn_entity *entities;
    qn_tag_span *spans;
    size_t score_capacity, tag_capacity, entity_capacity, span_capacity;
} tagger;

#define GROW(array, capacity, need) QN_TRY(qn_grow((void **)&(array), &(capacity), (need), sizeof *(array)))

static qn_status encode(tagger *g, const qn_text *text, size_t index, qn_windows *windows, qn_usage *usage) {
    qn_model *m = g->model;
    qn_encode_options whole = m->encode;
    whole.max_length = 0;
    QN_TRY(qn_tokenizer_encode(m->tokenizer, text->text, text->size, NULL, 0, &whole, &m->encoding));
    QN_TRY(qn_windows_plan(&m->encoding, 0, m->encode.max_length, g->options->stride, windows));
    return qn_infer_overflow(m, index, windows, usage);
}

// Appends the text's windows; a word's row is in the window where its first token has the most context.
static qn_status add_text(tagger *g, const qn_text *text, size_t index) {
    qn_model *m = g->model;
    qn_windows windows;
    GROW(g->texts, g->text_capacity, g->text_count + 1);
    tagged_text *t = &g->texts[g->text_count++];
    *t = (tagged_text){.text = text, .index = index, .first = g->rows};
    QN_TRY(encode(g, text, index, &windows, &t->usage));
    g->words.count = 0;
    QN_TRY(g->options->split_by_space ? qn_words_split_by_space(text->text, text->size, &g->words)
                                      : qn_words_split(text->text, text->size, &g->words));
    GROW(g->word_of, g->word_capacity, m->encoding.count);
    qn_words_align(&m->encoding, g->words.items, g->words.count, false, g->word_of);
    GROW(g->row_words, g->row_capacity, g->rows + g->words.count);
    for (size_t i = 0; i < windows.count; i++) {
        size_t begin = m->window.tokens;
        QN_TRY(qn_windows_append(&windows, i, &m->encoding, &m->window));
        GROW(g->row_of, g->token_capacity, m->window.tokens);
        for (size_t k = begin; k < m->window.tokens; k++) {
            size_t token = qn_windows_token(&windows, i, k - begin);
            int32_t word = g->word_of[token];
            g->row_of[k] = -1;
            if (word < 0 || qn_windows_best(&windows, token) != i) continue;
            g->row_of[k] = (int32_t)g->rows;
            g->row_words[g->rows++] = g->words.items[word];
        }
    }
    t->count = g->rows - t->first;
    return g->rows < INT32_MAX ? QN_OK : qn_fail(QN_ERROR_UNSUPPORTED, "more than %d words", INT32_MAX);
}

static float probability(const float *scores, size_t labels, int32_t tag) {
    double largest = scores[0], total = 0;
    for (size_t k = 1; k < labels; k++) largest = fmax(largest, scores[k]);
    for (size_t k = 0; k < labels; k++) total += exp(scores[k] - largest);
    return (float)(exp(scores[tag] - largest) / total);
}

static void describe_span(const tagger *g, const tagged_text *t, const qn_entity *e, qn_tag_span *out) {
    size_t labels = g->scheme->labels;
    const qn_word *words = g->row_words + t->first;
    double sum = 0;
    for (size_t w = t->first + e->first; w <= t->first + e->last; w++)
        sum += probability(g->scores + w * labels, labels, g->tags[w]);
    *out = (qn_tag_span){.label = g->scheme->names[e->type],
                         .start = (size_t)words[e->first].begin,
                         .end = (size_t)words[e->last].end,
                         .score = (float)(sum / (e->last - e->first + 1))};
}

// Spans ascend, so that one walk over the text counts its characters.
static void count_characters(const qn_text *text, qn_tag_span *spans, size_t count) {
    size_t byte = 0, characters = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        qn_tag_span *s = &spans[i / 2];
        size_t to = i % 2 ? s->end : s->start;
        for (int32_t code; byte < to; characters++) byte += qn_utf8_next(text->text + byte, text->size - byte, &code);
        *(i % 2 ? &s->char_end : &s->char_start) = characters;
    }
}

static qn_status give(tagger *g, const tagged_text *t) {
    const float *scores = g->scores + t->first * g->scheme->labels;
    int32_t *tags = g->tags + t->first;
    QN_TRY(qn_tag_decode(g->scheme, scores, t->count, !g->options->unconstrained, tags));
    size_t count = qn_tag_entities(g->scheme, tags, t->count, false, g->entities);
    for (size_t i = 0; i < count; i++) describe_span(g, t, &g->entities[i], &g->spans[i]);
    count_characters(t->text, g->spans, count);
    return g->receive(g->user, t->index, &t->usage, g->spans, count);
}

static qn_status run_group(tagger *g) {
    GROW(g->scores, g->score_capacity, g->rows * g->scheme->labels);
    GROW(g->tags, g->tag_capacity, g->rows);
    GROW(g->entities, g->entity_capacity, g->rows);
    GROW(g->spans, g->span_capacity, g->rows);
    QN_TRY(qn_infer_tokens(g->model, &g->model->window, QN_HEAD_TAGGER, g->row_of, g->scores));
    for (size_t i = 0; i < g->text_count; i++) QN_TRY(give(g, &g->texts[i]));
    return QN_OK;
}

static qn_status run(tagger *g, const qn_text *texts, size_t count) {
    qn_model *m = g->model;
    for (size_t i = 0; i < count;) {
        qn_sequences_clear(&m->window);
        g->text_count = g->rows = 0;
        do QN_TRY(add_text(g, &texts[i], i));
        while (++i < count && m->window.tokens < GROUP_BATCHES * m->batch_tokens);
        QN_TRY(run_group(g));
    }
    return QN_OK;
}

qn_status qn_tag(qn_model *model, const qn_text *texts, size_t count, const qn_tag_options *options,
                 qn_tag_receiver receive, void *user) {
    const qn_tag_options defaults = {0};
    tagger g = {.model = model, .options = options ? options : &defaults, .receive = receive, .user = user};
    QN_TRY(qn_infer_scheme(model, &g.scheme));
    qn_status status = run(&g, texts, count);
    free(g.words.items);
    free(g.texts);
    free(g.row_words);
    free(g.word_of);
    free(g.row_of);
    free(g.scores);
    free(g.tags);
    free(g.entities);
    free(g.spans);
    return status;
}
