// Different words and how often each occurs; words are numbered in the order in which they came.
#pragma once
#include "base/status.h"

typedef struct {
    size_t start; // of bytes
    uint32_t size, tag;
    uint64_t count;
} qn_counted_word;

typedef struct {
    char *bytes;
    size_t byte_count, byte_capacity;
    qn_counted_word *words;
    size_t count, capacity;
    uint32_t *slots; // number of the word + 1, 0 where free
    size_t slot_mask;
} qn_word_counts;

// *number is the word's.
qn_status qn_word_counts_add(qn_word_counts *counts, const char *word, size_t size, uint64_t times, size_t *number);
void qn_word_counts_free(qn_word_counts *counts);
