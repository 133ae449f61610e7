// What a ColBERT reads of a text: a token that says whether it is a query or a document, and behind a query masks up to
// a fixed length, which are vectors of their own.
#pragma once
#include "base/memory.h"
#include "data/sequences.h"
#include "formats/model_folder.h"
#include "nn/encoder.h"

typedef struct {
    bool on;
    int32_t prefix[2]; // of queries, of documents: the second token; -1: none
    size_t length[2];  // in tokens, all included
    int32_t fill;      // -1: queries are not filled up
    bool seen;         // whether other tokens attend to what a query is filled up with
    uint8_t *skipped;  // [vocabulary] tokens of documents that have no vector
    size_t vocabulary;
} qn_late;

// QN_ERROR_FORMAT where the tokenizer lacks a prefix. `on` is false, and nothing else set, for folders of other kinds.
qn_status qn_late_resolve(const qn_sbert *sentence, const qn_tokenizer *tokenizer, qn_late *out);
void qn_late_free(qn_late *late);
// How a text is tokenised before: cut so that its side's token has room. side 0: query, 1: document.
qn_encode_options qn_late_encoding(const qn_late *late, size_t side, const qn_encode_options *options);
qn_status qn_late_append(const qn_late *late, size_t side, const qn_encoding *encoding, qn_sequences *out);
// How many tokens of each sequence the others attend to, all but what queries are filled up with: [n] in `memory`, or
// NULL where that is all (or memory is short: then the context that uses it fails too).
int32_t *qn_late_seen(const qn_late *late, qn_arena *memory, const qn_tokens *tokens);
