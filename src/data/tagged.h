// Texts whose words have tags: CoNLL files (a word and its tag on each line, an empty line after each sentence) and
// JSON lines with words and tags, or a text and spans.
#pragma once
#include "data/input.h"

// A word: bytes [begin, end) of its text.
typedef struct {
    int32_t begin, end;
} qn_word;

typedef struct {
    const char *format;                   // "conll" or "jsonl"; NULL or "auto": by the name, else by the first line
    const char *word_column, *tag_column; // CoNLL: a column's number, from 1; NULL: the first and the last
} qn_tagged_options;

// All pointers are valid until the next call on the reader.
typedef struct {
    qn_span text;         // CoNLL and lists of words: the words with one space between them
    const qn_word *words; // [count]
    const qn_span *tags;  // [count]
    size_t count;         // 0 is allowed
    const char *file;     // lives as long as the reader
    int64_t line;         // where it begins, from 1
} qn_tagged;

typedef struct qn_tagged_reader qn_tagged_reader;
qn_status qn_tagged_open(const char *path, const qn_tagged_options *options, qn_tagged_reader **out);
void qn_tagged_close(qn_tagged_reader *reader); // NULL is allowed
// The next text, or *end = true. Errors begin with FILE:LINE. The first tag of an entity is always a B- (or S-): IOB1's
// I- becomes one. Spans become B- and I- tags of words, which are cut at their ends.
qn_status qn_tagged_next(qn_tagged_reader *reader, qn_tagged *tagged, bool *end);

// Words of a text as a tagger sees them: white space separates, punctuation and Chinese characters stand alone. Start
// with zeros, free `items`.
typedef struct {
    qn_word *items;
    size_t count, capacity;
} qn_words;
qn_status qn_words_split(const char *text, size_t size, qn_words *out);
qn_status qn_words_split_by_space(const char *text, size_t size, qn_words *out); // each run of other characters a word

// Which word each token of an encoding's text stands for, word_of [encoding->count]: the first token of a word has its
// number, or every token with `all`; the others have -1. A token over several words stands for the first.
void qn_words_align(const qn_encoding *encoding, const qn_word *words, size_t count, bool all, int32_t *word_of);
