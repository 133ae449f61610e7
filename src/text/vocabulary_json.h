// Reads the vocabulary out of tokenizer.json's text. It is nearly all of the file, and as a tree of JSON values it
// would take most of the time to load a tokenizer.
#pragma once
#include "base/buffer.h"
#include "text/vocabulary.h"

// If `text` has an object {"model": {"vocab": {STRING: NUMBER, ...}}} written as expected, adds its tokens, puts the
// text without them (with "vocab": {}) into `rest` and sets *found. Anything else is left to the JSON parser and its
// messages: *found is false, and nothing is added. A token id above `limit` is an error.
qn_status qn_vocabulary_scan_json(const char *text, size_t size, const char *path, int64_t limit,
                                  qn_vocabulary *vocabulary, qn_buffer *rest, bool *found);
