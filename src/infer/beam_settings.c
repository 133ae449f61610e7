// See beam_settings.h.
#include "infer/beam_settings.h"
#include "base/file.h"
#include "models/ct2_model.h"
#include <math.h>
#include <stdlib.h>

enum { BEAMS = 4, MOST_TOKENS = 256 };

// What is read, from where, and what is found.
typedef struct {
    const qn_beam_source *from;
    const qn_translation_options *options;
    qn_beam_settings *out;
} reader;

// Newer folders have a file of their own for it, older ones have it in config.json.
static const json_t *find(const reader *r, const char *key) {
    const json_t *value = r->from->generation ? json_object_get(r->from->generation, key) : NULL;
    if (!value || json_is_null(value)) value = json_object_get(r->from->config->json, key);
    return value && !json_is_null(value) ? value : NULL;
}

static qn_status wrong(const reader *r, const char *key, const char *expected) {
    return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is out of range (expected %s)",
                   r->from->generation ? r->from->path : r->from->config->source, key, expected);
}

static qn_status find_size(const reader *r, const char *key, size_t most, size_t *value) {
    const json_t *found = find(r, key);
    if (!found) return QN_OK;
    json_int_t number = json_is_integer(found) ? json_integer_value(found) : -1;
    if (number < 0 || (uint64_t)number > most) return wrong(r, key, "an integer of 0 or more");
    *value = (size_t)number;
    return QN_OK;
}

// A token or a list of them, in memory of its own.
static qn_status find_tokens(const reader *r, const char *key, int32_t **tokens, size_t *count) {
    const json_t *found = find(r, key);
    size_t vocabulary = r->from->config->decoder.vocabulary, n = json_is_array(found) ? json_array_size(found) : 1;
    *tokens = qn_malloc(n + 1, sizeof **tokens);
    *count = 0;
    if (!*tokens) return QN_ERROR_MEMORY;
    for (size_t i = 0; found && i < n; i++) {
        const json_t *item = json_is_array(found) ? json_array_get(found, i) : found;
        if (json_is_array(item) && json_array_size(item) == 1) item = json_array_get(item, 0); // of bad_words_ids
        json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (json_is_array(item)) continue; // words of several tokens are not banned
        if (id < 0 || (uint64_t)id >= vocabulary) return wrong(r, key, "tokens of the vocabulary");
        (*tokens)[(*count)++] = (int32_t)id;
    }
    return QN_OK;
}

static qn_status find_token(const reader *r, const char *key, int32_t *token) {
    int32_t *tokens = NULL;
    size_t count = 0;
    qn_status status = find_tokens(r, key, &tokens, &count);
    if (status == QN_OK && count > 0) *token = tokens[0];
    free(tokens);
    return status;
}

static qn_status choose_lengths(const reader *r) {
    const qn_translation_options *o = r->options;
    qn_search *s = &r->out->search;
    size_t most = r->from->config->decoder.max_positions, length = 0, least = 0;
    QN_TRY(find_size(r, "max_length", SIZE_MAX / 2, &length));
    s->max_tokens = length > 1 ? length - 1 : MOST_TOKENS;
    QN_TRY(find_size(r, "max_new_tokens", SIZE_MAX / 2, &s->max_tokens));
    if (o->max_tokens > most)
        return qn_fail(QN_ERROR_ARGUMENT, "texts of %zu tokens (expected at most %zu)", o->max_tokens, most);
    if (o->max_tokens) s->max_tokens = o->max_tokens;
    if (s->max_tokens > most) s->max_tokens = most;
    QN_TRY(find_size(r, "min_length", SIZE_MAX / 2, &least));
    s->min_tokens = least > 0 ? least - 1 : 0; // the first one is none of ours
    if (s->rules == QN_RULES_CTRANSLATE2 && s->min_tokens == 0) s->min_tokens = s->max_tokens > 1;
    if (o->min_tokens) s->min_tokens = o->min_tokens;
    if (s->min_tokens < s->max_tokens) return QN_OK;
    return qn_fail(QN_ERROR_ARGUMENT, "at least %zu tokens (expected fewer than the most, %zu)", s->min_tokens,
                   s->max_tokens);
}

static qn_status choose_rules(const reader *r) {
    const qn_translation_options *o = r->options;
    qn_search *s = &r->out->search;
    s->rules = r->from->folder && qn_ct2_is_folder(r->from->folder) ? QN_RULES_CTRANSLATE2 : QN_RULES_TRANSFORMERS;
    if (o->rules >= 0) s->rules = (qn_search_rules)o->rules;
    if (s->rules == QN_RULES_CTRANSLATE2 && o->early_stopping >= 0)
        return qn_fail(QN_ERROR_ARGUMENT, "CTranslate2's rules of search stop in one way (expected transformers' rules "
                                          "where early stopping is chosen)");
    const json_t *stopping = find(r, "early_stopping");
    if (json_is_true(stopping)) s->stopping = QN_STOP_WHEN_FULL;
    if (json_is_string(stopping)) s->stopping = QN_STOP_NEVER;
    if (o->early_stopping >= 0) s->stopping = (qn_early_stopping)o->early_stopping;
    return QN_OK;
}

static qn_status choose(const reader *r) {
    const qn_translation_options *o = r->options;
    const qn_model_config *config = r->from->config;
    qn_search *s = &r->out->search;
    *s = (qn_search){.beams = BEAMS, .length_penalty = 1, .first = -1, .last = -1};
    QN_TRY(find_size(r, "num_beams", 1 << 10, &s->beams));
    if (o->beam_size) s->beams = o->beam_size;
    s->best = o->n_best ? o->n_best : 1;
    if (s->beams < 1 || s->beams > 1 << 10 || s->best > s->beams)
        return qn_fail(QN_ERROR_ARGUMENT, "the %zu best of %zu beams (expected at most as many, and at most %d)",
                       s->best, s->beams, 1 << 10);
    const json_t *penalty = find(r, "length_penalty");
    if (json_is_number(penalty)) s->length_penalty = (float)json_number_value(penalty);
    if (o->own_penalty) s->length_penalty = (float)o->length_penalty;
    if (!(fabsf(s->length_penalty) <= 100)) return wrong(r, "length_penalty", "-100 to 100");
    QN_TRY(choose_rules(r));
    QN_TRY(find_size(r, "no_repeat_ngram_size", 1 << 10, &s->ngram));
    if (o->no_repeat_ngram) s->ngram = o->no_repeat_ngram;
    QN_TRY(choose_lengths(r));
    QN_TRY(find_tokens(r, "eos_token_id", &r->out->ends, &s->end_count));
    QN_TRY(find_tokens(r, "bad_words_ids", &r->out->banned, &s->banned_count));
    s->ends = r->out->ends, s->banned = r->out->banned;
    QN_TRY(find_token(r, "forced_bos_token_id", &s->first));
    QN_TRY(find_token(r, "forced_eos_token_id", &s->last));
    s->start = config->start_id;
    QN_TRY(find_token(r, "decoder_start_token_id", &s->start));
    if (o->forced_first) {
        s->first = qn_tokenizer_id(r->from->tokenizer, o->forced_first);
        if (s->first < 0 || (size_t)s->first >= config->decoder.vocabulary)
            return qn_fail(QN_ERROR_ARGUMENT, "\"%s\" is no token of this model", o->forced_first);
    }
    if (s->start < 0) s->start = s->first; // a language's own beginning
    if (s->start < 0)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: texts begin with their language's token (expected one to be forced)",
                       config->source);
    s->renormalize = s->rules == QN_RULES_CTRANSLATE2 || json_is_true(find(r, "renormalize_logits"));
    return QN_OK;
}

qn_status qn_beam_settings_read(const qn_beam_source *from, const qn_translation_options *options,
                                qn_beam_settings *out) {
    *out = (qn_beam_settings){0};
    qn_status status = choose(&(reader){from, options, out});
    if (status != QN_OK) qn_beam_settings_free(out);
    return status;
}

void qn_beam_settings_free(qn_beam_settings *settings) {
    free(settings->ends);
    free(settings->banned);
    *settings = (qn_beam_settings){0};
}

qn_status qn_beam_settings_open(const qn_model *m, const qn_translation_options *options, qn_beam_settings *out) {
    const char *folder = m->transformer; // NULL: a network in training
    char *path = folder ? qn_path_join(folder, "generation_config.json") : NULL;
    json_t *generation = NULL;
    if (folder && !path) return QN_ERROR_MEMORY;
    qn_status status = path && qn_is_file(path) ? qn_json_load(path, &generation) : QN_OK;
    if (status == QN_OK && generation && !json_is_object(generation))
        status = qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object", path);
    if (status == QN_OK)
        status = qn_beam_settings_read(&(qn_beam_source){.config = &m->network->config,
                                                         .tokenizer = m->tokenizer,
                                                         .generation = generation,
                                                         .path = path,
                                                         .folder = folder},
                                       options, out);
    json_decref(generation);
    free(path);
    return status;
}
