// Any bytes as generation_config.json: settings of a search within their limits, or an error.
#include "infer/beam_settings.h"
#include <stdlib.h>

enum { VOCABULARY = 50, POSITIONS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const qn_search *s) {
    if (s->beams < 1 || s->best < 1 || s->best > s->beams || s->min_tokens >= s->max_tokens) abort();
    if (s->max_tokens > POSITIONS || s->start < 0 || s->start >= VOCABULARY) abort();
    if (s->first < -1 || s->first >= VOCABULARY || s->last < -1 || s->last >= VOCABULARY) abort();
    for (size_t i = 0; i < s->end_count; i++)
        if (s->ends[i] < 0 || s->ends[i] >= VOCABULARY) abort();
    for (size_t i = 0; i < s->banned_count; i++)
        if (s->banned[i] < 0 || s->banned[i] >= VOCABULARY) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json;
    if (qn_json_parse((const char *)data, size, "generation_config.json", &json) != QN_OK) return 0;
    qn_model_config config = {.source = (char *)(uintptr_t)"config.json", .json = json_object(), .start_id = -1};
    config.decoder.vocabulary = VOCABULARY;
    config.decoder.max_positions = POSITIONS;
    qn_beam_source from = {.config = &config, .generation = json, .path = "generation_config.json"};
    for (int rules = QN_RULES_TRANSFORMERS; json_is_object(json) && rules <= QN_RULES_CTRANSLATE2; rules++) {
        qn_translation_options options = qn_translation_defaults();
        qn_beam_settings settings;
        options.rules = rules;
        if (qn_beam_settings_read(&from, &options, &settings) == QN_OK) check(&settings.search);
        qn_beam_settings_free(&settings);
    }
    json_decref(config.json);
    json_decref(json);
    return 0;
}
