// How well a decoder foresees texts: the mean negative logarithm of the probability that it gives the next token.
//
// A text is cut into windows of the model's limit, neighbours of which share tokens. A token knows only those before it
// in its window; it counts once, in the first window that holds it and the one before it. That is the way of Hugging
// Face's documentation, whose stride is a window less what is shared. llama.cpp's way: whole windows that share
// nothing, whose second half counts.
#include "infer/model.h"
#include <math.h>
#include <stdlib.h>

enum { HEAD_ROWS = 128 }; // rows of logits at once: a row is as long as the vocabulary

qn_perplexity_options qn_perplexity_defaults(void) {
    return (qn_perplexity_options){0};
}

typedef struct {
    qn_model *model;
    const qn_perplexity_options *options;
    qn_perplexity_result *result;
    int32_t *ids, *types, *positions, *offsets, *rows, *targets; // of the batch that is being filled
    size_t tokens, sequences, counted, room;
} measuring;

static qn_status forward(measuring *g) {
    qn_model *m = g->model;
    if (g->tokens == 0) return QN_OK;
    qn_arena_reset(m->arena);
    qn_arena_reset(m->records);
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_tokens tokens = qn_tokens_of(g->tokens, g->ids, g->types, g->positions, (qn_ragged){g->sequences, g->offsets});
    qn_tensor *hidden = qn_encoder_forward(&c, &m->network->encoder, &tokens);
    if (!hidden) return c.status != QN_OK ? c.status : QN_ERROR_MEMORY;
    for (size_t first = 0; first < g->counted; first += HEAD_ROWS) {
        size_t rows = g->counted - first < HEAD_ROWS ? g->counted - first : HEAD_ROWS;
        qn_arena_mark mark = qn_arena_save(m->arena);
        qn_tensor *logits = qn_network_masked_lm(&c, m->network, hidden, rows, g->rows + first);
        double loss = 0;
        QN_TRY(qn_cross_entropy(&c, logits, g->targets + first, NULL, 0, &loss));
        g->result->loss_sum += loss * (double)rows;
        qn_arena_restore(m->arena, mark);
    }
    g->result->counted += g->counted;
    g->tokens = g->sequences = g->counted = 0;
    if (m->backend->status == QN_OK) return QN_OK;
    m->backend->status = QN_OK;
    return qn_fail(QN_ERROR_MEMORY, "out of memory for a batch of %zu tokens", tokens.tokens);
}

// Tokens ids[0, size), of which those from `from` on count.
static qn_status add_window(measuring *g, const int32_t *ids, size_t size, size_t from, int32_t begin) {
    if (g->tokens && g->tokens + size > g->model->batch_tokens) QN_TRY(forward(g));
    if (g->tokens + size > g->room) {
        size_t room = g->tokens + size > g->model->batch_tokens ? g->tokens + size : g->model->batch_tokens, used[6];
        int32_t **arrays[6] = {&g->ids, &g->types, &g->positions, &g->offsets, &g->rows, &g->targets};
        for (size_t i = 0; i < 6; i++) {
            used[i] = g->room ? g->room + 1 : 0;
            QN_TRY(qn_grow((void **)arrays[i], &used[i], room + 1, sizeof(int32_t)));
        }
        g->room = room;
    }
    for (size_t i = 0; i < size; i++) {
        size_t at = g->tokens + i;
        g->ids[at] = i == 0 && begin >= 0 ? begin : ids[i];
        g->types[at] = 0;
        g->positions[at] = (int32_t)i;
        if (i < from) continue;
        g->rows[g->counted] = (int32_t)at - 1;
        g->targets[g->counted++] = ids[i];
    }
    g->offsets[g->sequences++] = (int32_t)g->tokens;
    g->tokens += size;
    g->offsets[g->sequences] = (int32_t)g->tokens;
    g->result->windows++;
    return QN_OK;
}

static qn_status measure_text(measuring *g, const qn_text *text) {
    qn_model *m = g->model;
    const qn_perplexity_options *o = g->options;
    size_t window = m->encode.max_length, stride = window - o->shared;
    qn_encode_options options = m->encode;
    options.max_length = 0;
    QN_TRY(
        qn_tokenizer_encode(m->tokenizer, text->text ? text->text : "", text->size, NULL, 0, &options, &m->encoding));
    const int32_t *ids = m->encoding.ids;
    size_t count = m->encoding.count, begin = 0, known = 1; // tokens that have counted, and the first
    g->result->tokens += count;
    if (o->as_llama_cpp) {
        int32_t first = m->encoding.sequences && count && m->encoding.sequences[0] < 0 ? ids[0] : -1;
        for (; begin + window <= count; begin += window) {
            QN_TRY(add_window(g, ids + begin, window, window / 2 + 1, first));
            if (o->progress && !o->progress(o->user, begin, count, g->result)) return QN_INTERRUPTED;
        }
        return QN_OK;
    }
    for (; known < count; begin += stride) {
        size_t end = count - begin < window ? count : begin + window, from = known > begin ? known - begin : 1;
        if (from < end - begin) QN_TRY(add_window(g, ids + begin, end - begin, from, -1));
        known = end;
        if (o->progress && !o->progress(o->user, begin, count, g->result)) return QN_INTERRUPTED;
    }
    return QN_OK;
}

static qn_status check(const qn_model *m, const qn_perplexity_options *o) {
    if (!qn_model_is_decoder(m))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this model foresees no text (expected a decoder)",
                       m->network->config.source);
    if (o->shared >= m->encode.max_length)
        return qn_fail(QN_ERROR_ARGUMENT, "windows of %zu tokens share %zu (expected fewer)", m->encode.max_length,
                       o->shared);
    if (m->encode.max_length < 2)
        return qn_fail(QN_ERROR_ARGUMENT, "windows of %zu tokens (expected 2 or more)", m->encode.max_length);
    return QN_OK;
}

qn_status qn_perplexity(qn_model *m, const qn_text *texts, size_t count, const qn_perplexity_options *options,
                        qn_perplexity_result *result) {
    qn_perplexity_options defaults = qn_perplexity_defaults();
    measuring g = {.model = m, .options = options ? options : &defaults, .result = result};
    QN_TRY(check(m, g.options));
    QN_TRY(qn_infer_pack(m));
    QN_TRY(qn_infer_pack_head(m));
    qn_status status = QN_OK;
    for (size_t i = 0; i < count && status == QN_OK; i++) status = measure_text(&g, &texts[i]);
    if (status == QN_OK) status = forward(&g);
    result->loss = result->counted ? result->loss_sum / (double)result->counted : NAN;
    result->perplexity = exp(result->loss);
    int32_t *arrays[] = {g.ids, g.types, g.positions, g.offsets, g.rows, g.targets};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    return status;
}
