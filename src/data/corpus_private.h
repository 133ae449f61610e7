// What the parts of the corpus share: the list of files, and the making of sequences from lines.
#pragma once
#include "base/rng.h"
#include "data/corpus.h"

// Expands files, folders and patterns into a list of files on the heap.
qn_status qn_corpus_files(const char *const *paths, size_t count, char ***files, size_t *file_count);

// How lines become sequences.
typedef struct {
    const qn_corpus_options *options;
    int32_t begin, end; // ids of [CLS] and [SEP], -1 where the tokenizer has none
} qn_corpus_shape;

// Tokens of text that a sequence has room for.
size_t qn_corpus_body(const qn_corpus_shape *shape);

// lines: tokens without special ones; starts [lines.count]: the line begins a document. `out` and `next_sentence`
// (grown, one number for each sequence of `out`) are filled anew. `rng` is used for pairs of segments only.
qn_status qn_corpus_build(const qn_corpus_shape *shape, const qn_sequences *lines, const uint8_t *starts, qn_rng *rng,
                          qn_sequences *out, int32_t **next_sentence, size_t *next_capacity);
