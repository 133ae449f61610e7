// How a beam search runs: as the caller wants it, else as generation_config.json or config.json says.
#pragma once
#include "base/json.h"
#include "infer/beam.h"

typedef struct {
    const qn_model_config *config;
    const qn_tokenizer *tokenizer; // for the names of tokens
    const json_t *generation;      // an object, from `path`; or NULL
    const char *path;
    const char *folder; // whose rules of search are the default; NULL: a network in training
} qn_beam_source;

typedef struct {
    qn_search search;
    int32_t *ends, *banned; // what `search` points to
} qn_beam_settings;

// Every value is checked. Free the result with qn_beam_settings_free.
qn_status qn_beam_settings_read(const qn_beam_source *from, const qn_translation_options *options,
                                qn_beam_settings *out);
// Those of a model: its folder's generation_config.json, where it has one, and config.json.
qn_status qn_beam_settings_open(const qn_model *model, const qn_translation_options *options, qn_beam_settings *out);
void qn_beam_settings_free(qn_beam_settings *settings);
