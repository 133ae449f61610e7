// The heart of WordPiece and BPE training: words are rows of symbols, and again and again the most frequent pair of
// neighbours becomes one symbol (Sennrich, Haddow, Birch: "Neural machine translation of rare words with subword
// units", 2016).
#pragma once
#include "base/status.h"

typedef struct {
    uint32_t left, right;
} qn_pair;

// Words as rows of symbols, one behind the other in one array.
typedef struct {
    uint32_t *symbols;
    size_t symbol_count, symbols_capacity;
    struct qn_merge_word {
        size_t start;
        uint32_t length;
        uint64_t count;
    } * words;
    size_t word_count, words_capacity;
} qn_merge_words;

// A word is begun, then gets its symbols.
qn_status qn_merge_words_begin(qn_merge_words *words, uint64_t count);
qn_status qn_merge_words_symbol(qn_merge_words *words, uint32_t symbol);
void qn_merge_words_free(qn_merge_words *words);

typedef struct {
    uint64_t min_frequency;
    // Gives the symbol that a pair becomes, which may be one that is there already; *stop ends the merging before this
    // pair.
    qn_status (*merge)(void *user, qn_pair pair, uint32_t *symbol, bool *stop);
    void *user;
} qn_merge_options;

// Of equally frequent pairs the one with the smaller left, then right symbol comes first. The words are changed.
qn_status qn_merge_pairs(qn_merge_words *words, const qn_merge_options *options);
