// Substrings that occur more than once in counted words, by sorting of all suffixes.
#pragma once
#include "base/status.h"
#include "text/word_count.h"

typedef struct {
    uint32_t start, size; // bytes of words->bytes, whole characters
    uint32_t characters;  // at least 2
    uint64_t frequency;   // places where it stands; at least 2
} qn_substring;

typedef struct {
    qn_substring *items;
    size_t count, capacity;
} qn_substrings;

// Of up to `longest` characters, and of those that always go on with the same character only the longest. In the order
// of their bytes. The words are valid UTF-8 of less than 4 GiB together.
qn_status qn_find_substrings(const qn_word_counts *words, size_t longest, qn_substrings *out);
