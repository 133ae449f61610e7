// Translation: texts to tokens, beam search, tokens to texts; and what a folder says of it.
#include "infer/beam.h"
#include "base/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BEAMS = 4, MOST_TOKENS = 256, WINDOW_BATCHES = 64 };

typedef struct {
    qn_model *model;
    const qn_translation_options *options;
    qn_search search;
    json_t *generation; // generation_config.json, or NULL
    char *path;         // its name, for messages
    int32_t *ends, *banned;
    size_t first; // text of a window
    qn_translation_receiver receive;
    void *user;
} translator;

qn_translation_options qn_translation_defaults(void) {
    return (qn_translation_options){.early_stopping = -1};
}

// --- What the folder says. Newer folders have a file for it, older ones have it in config.json.

static const json_t *find(const translator *t, const char *key) {
    const json_t *value = t->generation ? json_object_get(t->generation, key) : NULL;
    if (!value || json_is_null(value)) value = json_object_get(t->model->network->config.json, key);
    return value && !json_is_null(value) ? value : NULL;
}

static qn_status wrong(const translator *t, const char *key, const char *expected) {
    return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is out of range (expected %s)",
                   t->generation ? t->path : t->model->network->config.source, key, expected);
}

static qn_status find_size(const translator *t, const char *key, size_t most, size_t *value) {
    const json_t *found = find(t, key);
    if (!found) return QN_OK;
    json_int_t number = json_is_integer(found) ? json_integer_value(found) : -1;
    if (number < 0 || (uint64_t)number > most) return wrong(t, key, "an integer of 0 or more");
    *value = (size_t)number;
    return QN_OK;
}

// A token or a list of them, in memory of its own.
static qn_status find_tokens(const translator *t, const char *key, int32_t **tokens, size_t *count) {
    const json_t *found = find(t, key);
    size_t vocabulary = t->model->network->config.decoder.vocabulary,
           n = json_is_array(found) ? json_array_size(found) : 1;
    *tokens = qn_malloc(n + 1, sizeof **tokens);
    *count = 0;
    if (!*tokens) return QN_ERROR_MEMORY;
    for (size_t i = 0; found && i < n; i++) {
        const json_t *item = json_is_array(found) ? json_array_get(found, i) : found;
        if (json_is_array(item) && json_array_size(item) == 1) item = json_array_get(item, 0); // of bad_words_ids
        json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (json_is_array(item)) continue; // words of several tokens are not banned
        if (id < 0 || (uint64_t)id >= vocabulary) return wrong(t, key, "tokens of the vocabulary");
        (*tokens)[(*count)++] = (int32_t)id;
    }
    return QN_OK;
}

static qn_status find_token(const translator *t, const char *key, int32_t *token) {
    int32_t *tokens = NULL;
    size_t count = 0;
    qn_status status = find_tokens(t, key, &tokens, &count);
    if (status == QN_OK && count > 0) *token = tokens[0];
    free(tokens);
    return status;
}

static qn_status read_generation(translator *t) {
    if (!t->model->transformer) return QN_OK; // a network in training
    t->path = qn_path_join(t->model->transformer, "generation_config.json");
    if (!t->path) return QN_ERROR_MEMORY;
    if (!qn_is_file(t->path)) return QN_OK;
    QN_TRY(qn_json_load(t->path, &t->generation));
    return json_is_object(t->generation) ? QN_OK : qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object", t->path);
}

static qn_status choose_lengths(translator *t) {
    const qn_translation_options *o = t->options;
    qn_search *s = &t->search;
    size_t most = t->model->network->config.decoder.max_positions, length = 0, least = 0;
    QN_TRY(find_size(t, "max_length", SIZE_MAX / 2, &length));
    s->max_tokens = length > 1 ? length - 1 : MOST_TOKENS;
    QN_TRY(find_size(t, "max_new_tokens", SIZE_MAX / 2, &s->max_tokens));
    if (o->max_tokens > most)
        return qn_fail(QN_ERROR_ARGUMENT, "texts of %zu tokens (expected at most %zu)", o->max_tokens, most);
    if (o->max_tokens) s->max_tokens = o->max_tokens;
    if (s->max_tokens > most) s->max_tokens = most;
    QN_TRY(find_size(t, "min_length", SIZE_MAX / 2, &least));
    s->min_tokens = least > 0 ? least - 1 : 0; // the first one is none of ours
    if (o->min_tokens) s->min_tokens = o->min_tokens;
    if (s->min_tokens < s->max_tokens) return QN_OK;
    return qn_fail(QN_ERROR_ARGUMENT, "at least %zu tokens (expected fewer than the most, %zu)", s->min_tokens,
                   s->max_tokens);
}

static qn_status choose(translator *t) {
    const qn_translation_options *o = t->options;
    const qn_model_config *config = &t->model->network->config;
    qn_search *s = &t->search;
    *s = (qn_search){.beams = BEAMS, .length_penalty = 1, .first = -1, .last = -1};
    QN_TRY(find_size(t, "num_beams", 1 << 10, &s->beams));
    if (o->beam_size) s->beams = o->beam_size;
    s->best = o->n_best ? o->n_best : 1;
    if (s->beams < 1 || s->beams > 1 << 10 || s->best > s->beams)
        return qn_fail(QN_ERROR_ARGUMENT, "the %zu best of %zu beams (expected at most as many, and at most %d)",
                       s->best, s->beams, 1 << 10);
    const json_t *penalty = find(t, "length_penalty"), *stopping = find(t, "early_stopping");
    if (json_is_number(penalty)) s->length_penalty = (float)json_number_value(penalty);
    if (o->own_penalty) s->length_penalty = (float)o->length_penalty;
    if (!(fabsf(s->length_penalty) <= 100)) return wrong(t, "length_penalty", "-100 to 100");
    if (json_is_true(stopping)) s->stopping = QN_STOP_WHEN_FULL;
    if (json_is_string(stopping)) s->stopping = QN_STOP_NEVER;
    if (o->early_stopping >= 0) s->stopping = (qn_early_stopping)o->early_stopping;
    QN_TRY(find_size(t, "no_repeat_ngram_size", 1 << 10, &s->ngram));
    if (o->no_repeat_ngram) s->ngram = o->no_repeat_ngram;
    QN_TRY(choose_lengths(t));
    QN_TRY(find_tokens(t, "eos_token_id", &t->ends, &s->end_count));
    QN_TRY(find_tokens(t, "bad_words_ids", &t->banned, &s->banned_count));
    s->ends = t->ends, s->banned = t->banned;
    QN_TRY(find_token(t, "forced_bos_token_id", &s->first));
    QN_TRY(find_token(t, "forced_eos_token_id", &s->last));
    s->start = config->start_id;
    QN_TRY(find_token(t, "decoder_start_token_id", &s->start));
    if (o->forced_first) {
        s->first = qn_tokenizer_id(t->model->tokenizer, o->forced_first);
        if (s->first < 0 || (size_t)s->first >= config->decoder.vocabulary)
            return qn_fail(QN_ERROR_ARGUMENT, "\"%s\" is no token of this model", o->forced_first);
    }
    if (s->start < 0) s->start = s->first; // a language's own beginning
    if (s->start < 0)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: texts begin with their language's token (expected one to be forced)",
                       config->source);
    s->renormalize = json_is_true(find(t, "renormalize_logits"));
    return QN_OK;
}

// --- Texts

static qn_status receive(void *user, const qn_hypothesis *h) {
    translator *t = user;
    char *text;
    QN_TRY(qn_tokenizer_decode(t->model->tokenizer, h->ids, h->count, true, &text));
    const char *begin = text + strspn(text, " ");
    qn_status status = t->receive(t->user, &(qn_translated){.index = t->first + h->index,
                                                            .rank = h->rank,
                                                            .text = begin,
                                                            .size = strlen(begin),
                                                            .tokens = h->count,
                                                            .score = h->score,
                                                            .last = h->last});
    free(text);
    return status;
}

static qn_status encode(translator *t, const qn_text *text, size_t index) {
    const char *prefix = t->options->prefix;
    qn_text given = *text;
    qn_buffer joined = {0};
    if (prefix && *prefix) {
        qn_buffer_text(&joined, prefix);
        qn_buffer_append(&joined, text->text ? text->text : "", text->size);
        QN_TRY(qn_buffer_status(&joined));
        given.text = joined.data;
        given.size = joined.size;
    }
    qn_status status = qn_infer_encode(t->model, &given, false);
    qn_buffer_free(&joined);
    return status == QN_OK ? QN_OK : qn_fail_prefix(status, "text %zu", index + 1);
}

static qn_status run(translator *t, const qn_text *texts, size_t count) {
    qn_model *m = t->model;
    for (size_t next = 0; next < count;) {
        qn_sequences_clear(&m->window);
        for (t->first = next; next < count && m->window.tokens < WINDOW_BATCHES * m->batch_tokens; next++) {
            QN_TRY(encode(t, &texts[next], next));
            QN_TRY(qn_sequences_append(&m->window, &m->encoding));
        }
        QN_TRY(qn_beam_search(m, &t->search, &m->window, receive, t));
    }
    return QN_OK;
}

qn_status qn_translate(qn_model *m, const qn_text *texts, size_t count, const qn_translation_options *options,
                       qn_translation_receiver receiver, void *user) {
    qn_translation_options defaults = qn_translation_defaults();
    translator t = {.model = m, .options = options ? options : &defaults, .receive = receiver, .user = user};
    const qn_model_config *config = &m->network->config;
    if (!config->encoder_decoder || !(m->network->heads & QN_HEAD_MASKED_LM))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this model does not translate (expected \"%s\")", config->source,
                       config->encoder_decoder ? config->family->class_masked_lm : "MarianMTModel");
    if (m->overflow == QN_OVERFLOW_SPLIT)
        return qn_fail(QN_ERROR_UNSUPPORTED, "translation does not split texts (expected to cut them, or an error)");
    qn_status status = qn_infer_pack(m);
    if (status == QN_OK) status = qn_infer_pack_head(m);
    if (status == QN_OK) status = read_generation(&t);
    if (status == QN_OK) status = choose(&t);
    if (status == QN_OK) status = run(&t, texts, count);
    json_decref(t.generation);
    free(t.path);
    free(t.ends);
    free(t.banned);
    return status;
}
