// What the readers of tagged texts share. Only src/data/tagged*.c include it.
#pragma once
#include "base/buffer.h"
#include "data/tagged.h"

struct qn_tagged_reader {
    qn_input *input;
    bool json;
    long word_column, tag_column; // of CoNLL, from 0; -1: the first and the last
    size_t columns;               // of the first line; 0 while unknown
    // The text being read.
    qn_buffer text, tags; // each tag followed by a NUL
    qn_words words;
    qn_span *spans; // [capacity] the tags
    size_t span_capacity;
};

// Appends a word to the text, after a space where one is before it.
qn_status qn_tagged_add_word(qn_tagged_reader *reader, const char *word, size_t size);
// Appends a tag. Errors have no place prefix.
qn_status qn_tagged_add_tag(qn_tagged_reader *reader, const char *prefix, const char *tag, size_t size);
// A line of JSON.
qn_status qn_tagged_json(qn_tagged_reader *reader, qn_span line, int64_t number);
