// Text from a decoder. Prompts of different lengths share each step without padding: a sequence joins with its prompt
// as soon as there is room, goes on a token at a time, and leaves when it ends.
#include "infer/chat.h"
#include "infer/model.h"
#include "infer/sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SEQUENCES = 16 }; // at once

typedef struct {
    size_t index; // of the prompt
    int32_t *tokens;
    size_t count, prompt; // tokens so far, and how many of them were given
    size_t cached;        // of them, that the cache holds
    size_t capacity;      // tokens that it may have
    float *cache;
    size_t shown, pending; // tokens whose text was handed out; where the text of the next ones is decoded from
    qn_buffer held;        // text that may turn out to be the beginning of a stop string
    qn_buffer text;        // all of it
    const char *end;       // why it ended, or NULL
} sequence;

typedef struct {
    qn_model *model;
    const qn_generation_options *options;
    qn_sampling sampling;
    const qn_text *prompts;
    size_t prompt_count, next; // the next prompt that joins
    sequence active[MOST_SEQUENCES];
    size_t active_count;
    qn_chat chat;      // with options->chat
    qn_buffer message; // its prompt
    int32_t *ends;     // tokens that end a text
    size_t end_count;
    qn_choices choices;
    float *logits;
    qn_generation_receiver receive;
    void *user;
    // A step's batch.
    int32_t *ids, *types, *positions, *rows, offsets[MOST_SEQUENCES + 1], lengths[MOST_SEQUENCES];
    size_t token_capacity[4], capacity[MOST_SEQUENCES];
    float *caches[MOST_SEQUENCES];
} generator;

qn_generation_options qn_generation_defaults(void) {
    return (qn_generation_options){.max_new_tokens = 128};
}

// --- Sequences

static void free_sequence(generator *g, sequence *s) {
    if (s->cache) g->model->backend->ops->release(g->model->backend, s->cache);
    free(s->tokens);
    qn_buffer_free(&s->held);
    qn_buffer_free(&s->text);
    *s = (sequence){0};
}

// "eos_token_id" is a number or a list; a text of a tokenizer with [SEP] ends with it.
static qn_status find_ends(generator *g) {
    const json_t *eos = json_object_get(g->model->network->config.json, "eos_token_id");
    size_t most = json_array_size(eos) + 3;
    int32_t separator = qn_tokenizer_special(g->model->tokenizer, QN_TOKEN_SEP);
    g->ends = qn_malloc(most, sizeof *g->ends);
    if (!g->ends) return QN_ERROR_MEMORY;
    if (json_is_integer(eos)) g->ends[g->end_count++] = (int32_t)json_integer_value(eos);
    for (size_t i = 0; i < json_array_size(eos); i++)
        g->ends[g->end_count++] = (int32_t)json_integer_value(json_array_get(eos, i));
    if (separator >= 0) g->ends[g->end_count++] = separator;
    if (g->options->chat) g->ends[g->end_count++] = qn_tokenizer_id(g->model->tokenizer, qn_chat_end(&g->chat));
    return QN_OK;
}

static bool ends(const generator *g, int32_t token) {
    for (size_t i = 0; i < g->end_count; i++)
        if (g->ends[i] == token) return true;
    return false;
}

// The tokens of a prompt, without one that would end the text; as many of the last ones as leave room for one more.
static qn_status take_prompt(generator *g, sequence *s, const qn_text *prompt) {
    qn_model *m = g->model;
    size_t most = m->encode.max_length;
    qn_encode_options options = m->encode;
    options.max_length = 0;
    const char *text = prompt->text ? prompt->text : "";
    size_t size = prompt->size;
    if (g->options->chat) {
        QN_TRY(qn_chat_prompt(&g->chat, g->options->system, text, size, &g->message));
        text = g->message.data;
        size = g->message.size;
    }
    QN_TRY(qn_tokenizer_encode(m->tokenizer, text, size, NULL, 0, &options, &m->encoding));
    size_t count = m->encoding.count, first = 0;
    if (count > 0 && ends(g, m->encoding.ids[count - 1])) count--;
    if (count == 0) return qn_fail(QN_ERROR_ARGUMENT, "prompt %zu has no tokens (expected some text)", s->index + 1);
    if (count >= most && m->overflow != QN_OVERFLOW_TRUNCATE)
        return qn_fail(
            QN_ERROR_ARGUMENT,
            "prompt %zu has %zu tokens (expected fewer than %zu, or overflow truncate, which keeps the last)",
            s->index + 1, count, most);
    if (count >= most) first = count - most + 1;
    s->prompt = s->count = count - first;
    s->capacity = most - s->count < g->options->max_new_tokens ? most : s->count + g->options->max_new_tokens;
    s->tokens = qn_malloc(s->capacity, sizeof *s->tokens);
    if (!s->tokens) return QN_ERROR_MEMORY;
    memcpy(s->tokens, m->encoding.ids + first, s->count * sizeof *s->tokens);
    s->shown = s->pending = s->count;
    return QN_OK;
}

static qn_status join(generator *g) {
    while (g->active_count < MOST_SEQUENCES && g->next < g->prompt_count) {
        sequence *s = &g->active[g->active_count];
        *s = (sequence){.index = g->next};
        g->active_count++;
        QN_TRY(take_prompt(g, s, &g->prompts[g->next++]));
        size_t floats = qn_encoder_cache_floats(&g->model->network->encoder, g->model->backend, s->capacity);
        s->cache = g->model->backend->ops->alloc(g->model->backend, floats * sizeof(float));
        if (!s->cache) return qn_fail(QN_ERROR_MEMORY, "out of memory for a text of %zu tokens", s->capacity);
    }
    return QN_OK;
}

// --- Text

// What of the new text may be shown: all, unless its end begins a stop string.
static size_t safe_length(const generator *g, const char *text, size_t size) {
    size_t safe = size;
    for (size_t i = 0; i < g->options->stop_count; i++) {
        const char *stop = g->options->stop[i];
        size_t length = strlen(stop);
        for (size_t k = length < size ? length : size; k > 0; k--)
            if (memcmp(text + size - k, stop, k) == 0) {
                if (size - k < safe) safe = size - k;
                break;
            }
    }
    return safe;
}

static const char *find_stop(const generator *g, const qn_buffer *text) {
    const char *first = NULL;
    for (size_t i = 0; i < g->options->stop_count && text->data; i++) {
        const char *found = strstr(text->data, g->options->stop[i]);
        if (found && (!first || found < first)) first = found;
    }
    return first;
}

static qn_status show(generator *g, sequence *s, size_t size) {
    if (size == 0) return QN_OK;
    qn_buffer_append(&s->text, s->held.data, size);
    QN_TRY(qn_buffer_status(&s->text));
    qn_status status = g->receive(g->user, &(qn_generated){.index = s->index, .text = s->held.data, .size = size});
    memmove(s->held.data, s->held.data + size, s->held.size - size + 1);
    s->held.size -= size;
    return status;
}

// The text of the tokens that are new: decoded together with those before them, as a tokenizer's spaces depend on what
// is in front; not before its last character is whole.
static qn_status decode_new(generator *g, sequence *s, bool last) {
    char *before = NULL, *all = NULL;
    size_t from = s->pending, known = s->shown - from;
    qn_status status = qn_tokenizer_decode(g->model->tokenizer, s->tokens + from, known, true, &before);
    if (status == QN_OK)
        status = qn_tokenizer_decode(g->model->tokenizer, s->tokens + from, s->count - from, true, &all);
    if (status == QN_OK) {
        size_t length = strlen(all), old = strlen(before);
        bool whole = length < 3 || memcmp(all + length - 3, "\xEF\xBF\xBD", 3) != 0;
        if (length >= old && (whole || last)) {
            qn_buffer_append(&s->held, all + old, length - old);
            s->pending = s->shown > s->prompt ? s->shown : s->pending;
            s->shown = s->count;
            status = qn_buffer_status(&s->held);
        }
    }
    free(before);
    free(all);
    return status;
}

static qn_status say(generator *g, sequence *s) {
    QN_TRY(decode_new(g, s, s->end != NULL));
    const char *stop = find_stop(g, &s->held);
    if (stop) {
        s->end = "stop";
        return show(g, s, (size_t)(stop - s->held.data));
    }
    return show(g, s, s->end ? s->held.size : safe_length(g, s->held.data, s->held.size));
}

// --- Steps

static qn_status draw(generator *g, sequence *s, const float *logits) {
    size_t vocabulary = g->model->network->config.encoder.vocabulary;
    int32_t token;
    g->model->backend->ops->copy_out(g->model->backend, g->logits, logits, vocabulary * sizeof *g->logits);
    for (size_t i = 0; i < g->end_count && s->count - s->prompt < g->options->min_new_tokens; i++)
        if (g->ends[i] >= 0 && (size_t)g->ends[i] < vocabulary) g->logits[g->ends[i]] = -INFINITY;
    size_t known = qn_tokenizer_size(g->model->tokenizer); // rows that no token stands for are no answers
    QN_TRY(qn_sample(&g->sampling, g->logits, known < vocabulary ? known : vocabulary, s->tokens, s->count, s->index,
                     s->count - s->prompt, &g->choices, &token));
    s->end = ends(g, token) ? "end" : NULL;
    if (!s->end) s->tokens[s->count++] = token;
    if (!s->end && s->count == s->capacity) s->end = "length";
    return say(g, s);
}

// The tokens of a step: of each sequence those that are not in its cache, as far as the budget goes. rows: the last
// token of each sequence that is then complete, *count of them.
static qn_status fill_batch(generator *g, qn_tokens *tokens, size_t *count) {
    size_t used = 0, budget = g->model->batch_tokens > MOST_SEQUENCES ? g->model->batch_tokens : MOST_SEQUENCES;
    int32_t **arrays[4] = {&g->ids, &g->types, &g->positions, &g->rows};
    for (size_t i = 0; i < 4; i++)
        QN_TRY(qn_grow((void **)arrays[i], &g->token_capacity[i], budget + MOST_SEQUENCES, sizeof(int32_t)));
    *count = 0;
    for (size_t i = 0; i < g->active_count; i++) {
        sequence *s = &g->active[i];
        size_t left = s->count - s->cached, room = budget > used ? budget - used : 1, some = left < room ? left : room;
        g->offsets[i] = (int32_t)used;
        g->lengths[i] = (int32_t)s->cached;
        g->capacity[i] = s->capacity;
        g->caches[i] = s->cache;
        for (size_t k = 0; k < some; k++, used++) {
            g->ids[used] = s->tokens[s->cached + k];
            g->types[used] = 0;
            g->positions[used] = (int32_t)(s->cached + k);
        }
        s->cached += some;
        if (s->cached == s->count) g->rows[(*count)++] = (int32_t)used - 1;
    }
    g->offsets[g->active_count] = (int32_t)used;
    *tokens = qn_tokens_of(used, g->ids, g->types, g->positions, (qn_ragged){g->active_count, g->offsets});
    return QN_OK;
}

static qn_status step(generator *g) {
    qn_model *m = g->model;
    qn_tokens tokens;
    size_t count;
    QN_TRY(fill_batch(g, &tokens, &count));
    qn_arena_reset(m->arena);
    qn_arena_reset(m->records);
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_kv_cache cache = {.lengths = g->lengths, .capacity = g->capacity, .memory = g->caches};
    qn_tensor *hidden =
        qn_encoder_forward_cached(&c, &m->network->encoder, &tokens, &cache, (qn_rows_read){count, g->rows});
    qn_tensor *logits = hidden && count ? qn_network_masked_lm(&c, m->network, hidden, count, NULL) : NULL;
    if (!hidden || (count && !logits)) return c.status != QN_OK ? c.status : QN_ERROR_MEMORY;
    if (m->backend->status != QN_OK) {
        m->backend->status = QN_OK;
        return qn_fail(QN_ERROR_MEMORY, "out of memory for a step of %zu tokens", tokens.tokens);
    }
    size_t row = 0, kept = 0;
    for (size_t i = 0; i < g->active_count; i++) {
        sequence *s = &g->active[i];
        if (s->cached == s->count) QN_TRY(draw(g, s, logits->data + qn_width(logits) * row++));
    }
    for (size_t i = 0; i < g->active_count; i++) { // those that ended leave
        sequence s = g->active[i];
        g->active[i] = (sequence){0};
        if (!s.end) {
            g->active[kept++] = s;
            continue;
        }
        qn_status status = g->receive(g->user, &(qn_generated){.index = s.index,
                                                               .text = s.text.data ? s.text.data : "",
                                                               .size = s.text.size,
                                                               .end = s.end,
                                                               .prompt_tokens = s.prompt,
                                                               .new_tokens = s.count - s.prompt});
        free_sequence(g, &s);
        QN_TRY(status);
    }
    g->active_count = kept;
    return QN_OK;
}

static qn_status check(const qn_model *m, const qn_generation_options *o) {
    const qn_family *family = m->network->config.family;
    if (!qn_model_is_decoder(m))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this model writes no text (expected a decoder such as \"%s\")",
                       m->network->config.source,
                       m->network->config.encoder.causal ? family->class_masked_lm : "LlamaForCausalLM");
    if (o->max_new_tokens == 0) return qn_fail(QN_ERROR_ARGUMENT, "no new tokens wanted (expected 1 or more)");
    for (size_t i = 0; i < o->stop_count; i++)
        if (!o->stop[i] || !*o->stop[i])
            return qn_fail(QN_ERROR_ARGUMENT, "a stop string is empty (expected at least one character)");
    return QN_OK;
}

qn_status qn_generate(qn_model *m, const qn_text *prompts, size_t count, const qn_generation_options *options,
                      qn_generation_receiver receive, void *user) {
    qn_generation_options defaults = qn_generation_defaults();
    if (!options) options = &defaults;
    generator g = {.model = m,
                   .options = options,
                   .sampling = {options->temperature, options->top_p, options->min_p, options->repetition_penalty,
                                options->top_k, options->seed},
                   .prompts = prompts,
                   .prompt_count = count,
                   .receive = receive,
                   .user = user};
    QN_TRY(check(m, options));
    QN_TRY(qn_sampling_check(&g.sampling));
    QN_TRY(qn_infer_pack(m));
    QN_TRY(qn_infer_pack_head(m));
    qn_status status = options->chat ? qn_chat_open(m->transformer, m->tokenizer, &g.chat) : QN_OK;
    if (status == QN_OK) status = find_ends(&g);
    g.logits = qn_malloc(m->network->config.encoder.vocabulary, sizeof *g.logits);
    if (!g.logits) status = QN_ERROR_MEMORY;
    while (status == QN_OK) {
        status = join(&g);
        if (status != QN_OK || g.active_count == 0) break;
        status = step(&g);
    }
    for (size_t i = 0; i < MOST_SEQUENCES; i++) free_sequence(&g, &g.active[i]);
    qn_choices_free(&g.choices);
    qn_chat_free(&g.chat);
    qn_buffer_free(&g.message);
    free(g.logits);
    free(g.ends);
    free(g.ids);
    free(g.types);
    free(g.positions);
    free(g.rows);
    return status;
}
