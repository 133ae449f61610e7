// From texts to batches of hidden states: tokenise a window, sort it by length, cut it into batches, compute.
#include "infer/model.h"
#include "base/utf8.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

// A window is what is tokenised ahead, so that sorting finds neighbours of equal length.
enum { WINDOW_BATCHES = 64, WINDOW_TEXTS = 1 << 15 };

// ---- Text
// ------------------------------------------------------------------------------------------------------------

// Lower case as sentence-transformers asks for, code point by code point.
static qn_status lower(qn_model *m, const char *text, size_t size, size_t *used) {
    QN_TRY(qn_grow((void **)&m->text, &m->text_capacity, *used + 3 * size + 8, 1));
    for (size_t i = 0; i < size;) {
        int32_t code;
        size_t length = qn_utf8_next(text + i, size - i, &code);
        uint32_t small[2];
        size_t count = code < 0 ? 0 : qn_unicode_lower((uint32_t)code, small);
        if (code < 0) {
            memcpy(m->text + *used, text + i, length);
            *used += length;
        }
        for (size_t k = 0; k < count; k++) *used += qn_utf8_put(m->text + *used, (int32_t)small[k]);
        i += length;
    }
    return QN_OK;
}

qn_status qn_infer_overflow(const qn_model *m, size_t index, qn_windows *windows, qn_usage *usage) {
    *usage = (qn_usage){m->encoding.count, windows->count, false};
    if (windows->count == 1) return QN_OK;
    if (m->overflow == QN_OVERFLOW_ERROR)
        return qn_fail(QN_ERROR_ARGUMENT, "text %zu has %zu tokens (expected at most %zu)", index + 1,
                       m->encoding.count, m->encode.max_length);
    if (m->overflow == QN_OVERFLOW_TRUNCATE) {
        windows->count = 1;
        *usage = (qn_usage){m->encode.max_length, 1, true};
    }
    return QN_OK;
}

qn_status qn_infer_encode(qn_model *m, const qn_text *text, bool embedding) {
    const char *data = text->text;
    size_t size = text->size, used = 0;
    if (embedding && m->prompt) {
        size_t prompt = strlen(m->prompt);
        QN_TRY(qn_grow((void **)&m->text, &m->text_capacity, prompt + size + 1, 1));
        memcpy(m->text, m->prompt, prompt);
        if (size) memcpy(m->text + prompt, data, size);
        data = m->text;
        size += prompt;
        used = size;
    }
    if (embedding && m->network->sentence.do_lower_case) {
        size_t begin = used;
        // The prompt, too, is turned into lower case; it stands in the same buffer, which may move.
        QN_TRY(qn_grow((void **)&m->text, &m->text_capacity, used + 3 * size + 8, 1));
        QN_TRY(lower(m, used ? m->text : data, size, &used));
        data = m->text + begin;
        size = used - begin;
    }
    bool late = embedding && m->late.on;
    qn_encode_options encode = late ? qn_late_encoding(&m->late, m->side, &m->encode) : m->encode;
    QN_TRY(qn_tokenizer_encode(m->tokenizer, data ? data : "", size, text->pair, text->pair_size, &encode,
                               &m->encoding));
    if (m->overflow != QN_OVERFLOW_ERROR || !m->encoding.truncated) return QN_OK;
    return qn_fail(QN_ERROR_ARGUMENT, "a text of %zu tokens (expected at most %zu)", m->encoding.total,
                   m->encode.max_length);
}

qn_status qn_text_usage(qn_model *model, const qn_text *text, bool embedding, qn_usage *usage) {
    QN_TRY(qn_infer_encode(model, text, embedding));
    *usage = (qn_usage){model->encoding.count, 1, model->encoding.truncated};
    return QN_OK;
}

// ---- Batches
// ---------------------------------------------------------------------------------------------------------

// Sorts by length, the longest first, equal lengths in their order: a counting sort, which takes no memory of its own.
static qn_status sort_by_length(qn_model *m, const qn_sequences *s) {
    size_t longest = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t length = (size_t)qn_sequences_length(s, i);
        if (length > longest) longest = length;
    }
    QN_TRY(qn_grow((void **)&m->starts, &m->start_capacity, longest + 2, sizeof *m->starts));
    memset(m->starts, 0, (longest + 2) * sizeof *m->starts);
    for (size_t i = 0; i < s->count; i++) m->starts[longest - (size_t)qn_sequences_length(s, i) + 1]++;
    for (size_t l = 0; l < longest; l++) m->starts[l + 1] += m->starts[l];
    for (size_t i = 0; i < s->count; i++) m->order[m->starts[longest - (size_t)qn_sequences_length(s, i)]++] = i;
    return QN_OK;
}

// Packs the sequences order[first ..] that fit; returns how many.
static qn_status gather(qn_model *m, const qn_sequences *s, size_t first, qn_tokens *tokens, size_t *count) {
    size_t total = 0, last = first;
    for (; last < s->count; last++) {
        size_t length = (size_t)qn_sequences_length(s, m->order[last]);
        if (last > first && total + length > m->batch_tokens) break;
        total += length;
    }
    int32_t **arrays[3] = {&m->ids, &m->types, &m->positions};
    for (size_t k = 0; k < 3; k++) QN_TRY(qn_grow((void **)arrays[k], &m->token_capacity[k], total, sizeof(int32_t)));
    QN_TRY(qn_grow((void **)&m->offsets, &m->offset_capacity, last - first + 1, sizeof *m->offsets));
    int32_t t = 0;
    m->offsets[0] = 0;
    for (size_t i = first; i < last; i++) {
        size_t which = m->order[i];
        const int32_t *ids = s->ids + qn_sequences_begin(s, which);
        int32_t length = qn_sequences_length(s, which);
        for (int32_t k = 0; k < length; k++, t++) {
            m->ids[t] = ids[k];
            m->types[t] = k >= s->second[which];
            m->positions[t] = k;
        }
        m->offsets[i - first + 1] = t;
    }
    *tokens = qn_tokens_of(total, m->ids, m->types, m->positions, (qn_ragged){last - first, m->offsets});
    *count = last - first;
    return QN_OK;
}

static qn_status compute(qn_model *m, const qn_infer_batch *given, qn_infer_receiver receive, void *user) {
    qn_infer_batch batch = *given;
    qn_arena_reset(m->arena);
    qn_arena_reset(m->records);
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    batch.tokens.seen = qn_late_seen(&m->late, m->records, &batch.tokens);
    batch.hidden = qn_encoder_forward(&c, &m->network->encoder, &batch.tokens);
    if (!batch.hidden) return c.status != QN_OK ? c.status : QN_ERROR_MEMORY;
    QN_TRY(receive(m, &c, &batch, user));
    if (m->backend->status == QN_OK) return QN_OK;
    m->backend->status = QN_OK;
    return qn_fail(QN_ERROR_MEMORY, "out of memory for a batch of %zu tokens", batch.tokens.tokens);
}

// The text without words, special tokens alone: where its inputs are largest, those of every text are. A folder in int8
// has its channels.
qn_status qn_infer_find_exact(qn_model *m, qn_exact **out) {
    size_t products = qn_model_products(&m->network->config);
    qn_exact *exact = *out = qn_calloc(products + 1, sizeof *exact);
    if (!exact) return QN_ERROR_MEMORY;
    if (m->network->config.exact) {
        memcpy(exact, m->network->config.exact, products * sizeof *exact);
        return QN_OK;
    }
    QN_TRY(qn_tokenizer_encode(m->tokenizer, "", 0, NULL, 0, &m->encode, &m->encoding));
    const int32_t none = 0;
    size_t count = m->encoding.count ? m->encoding.count : 1;
    int32_t *places = qn_malloc(2 * count, sizeof *places);
    if (!places) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) places[i] = (int32_t)i, places[count + i] = 0;
    qn_tokens tokens = qn_tokens_of(count,  m->encoding.count ? m->encoding.ids : &none, places + count,
                        places, (qn_ragged){1, (const int32_t[]){0, (int32_t)count}});
    qn_arena_reset(m->arena);
    qn_arena_reset(m->records);
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_status status = qn_encoder_find_exact(&c, &m->network->encoder, &tokens, exact);
    m->backend->status = QN_OK;
    free(places);
    return status;
}

qn_status qn_infer_pack(qn_model *m) {
    if (m->packed) return QN_OK;
    qn_encoder *e = &m->network->encoder;
    qn_exact *exact = NULL;
    qn_status status = QN_OK;
    if (m->compute == QN_DTYPE_INT8) status = qn_infer_find_exact(m, &exact);
    if (status == QN_OK) status = qn_encoder_pack(e, m->backend, m->compute, exact);
    const qn_model_config *config = &m->network->config;
    const qn_exact *rest = exact && config->encoder_decoder ? exact + qn_encoder_products(&e->config) : NULL;
    if (status == QN_OK && qn_model_has_decoder(config))
        status = qn_encoder_pack(&m->network->decoder_stack, m->backend, m->compute, rest);
    free(exact);
    if (status != QN_OK) qn_encoder_unpack(&m->network->decoder_stack, m->backend);
    if (status != QN_OK) qn_encoder_unpack(e, m->backend); // the search for channels needs all of them or none
    m->packed = status == QN_OK;
    return status;
}

void qn_infer_unpack(qn_model *m) {
    qn_encoder_unpack(&m->network->encoder, m->backend);
    qn_encoder_unpack(&m->network->decoder_stack, m->backend);
    qn_tensor *head = qn_infer_head_weight(m);
    if (m->head_packed && head->packed) {
        m->backend->ops->unpack(m->backend, (void *)(uintptr_t)head->packed);
        head->packed = NULL;
    }
    m->packed = m->head_packed = false;
}

qn_status qn_infer_sequences(qn_model *m, const qn_sequences *s, bool in_order, qn_infer_receiver receive, void *user) {
    if (s->count == 0) return QN_OK;
    QN_TRY(qn_infer_pack(m));
    QN_TRY(qn_grow((void **)&m->order, &m->order_capacity, s->count, sizeof *m->order));
    if (in_order)
        for (size_t i = 0; i < s->count; i++) m->order[i] = i;
    else
        QN_TRY(sort_by_length(m, s));
    for (size_t first = 0, count; first < s->count; first += count) {
        qn_infer_batch batch = {.index = m->order + first};
        QN_TRY(gather(m, s, first, &batch.tokens, &count));
        QN_TRY(compute(m, &batch, receive, user));
    }
    return QN_OK;
}

typedef struct {
    qn_infer_receiver receive;
    void *user;
    size_t first;
} shifted;

// Index i of a window is text first + i.
static qn_status receive_window(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    const shifted *s = user;
    qn_infer_batch moved = *batch;
    size_t *index = qn_arena_alloc(c->records, batch->tokens.ragged.sequences, sizeof *index);
    if (!index) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) index[i] = s->first + batch->index[i];
    moved.index = index;
    return s->receive(m, c, &moved, s->user);
}

qn_status qn_infer_texts(qn_model *m, const qn_text *texts, size_t count, bool embedding, bool in_order,
                         qn_infer_receiver receive, void *user) {
    if (m->overflow == QN_OVERFLOW_SPLIT)
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "splitting long texts is for tagging and answers (expected to cut them, or an error)");
    for (size_t first = 0; first < count; first += m->window.count) {
        qn_sequences_clear(&m->window);
        for (size_t i = first; i < count && m->window.count < WINDOW_TEXTS; i++) {
            if (m->window.tokens >= WINDOW_BATCHES * m->batch_tokens) break;
            qn_status status = qn_infer_encode(m, &texts[i], embedding);
            if (status != QN_OK) return qn_fail_prefix(status, "text %zu", i + 1);
            QN_TRY(embedding && m->late.on ? qn_late_append(&m->late, m->side, &m->encoding, &m->window)
                                           : qn_sequences_append(&m->window, &m->encoding));
        }
        QN_TRY(qn_infer_sequences(m, &m->window, in_order, receive_window, &(shifted){receive, user, first}));
    }
    return QN_OK;
}
