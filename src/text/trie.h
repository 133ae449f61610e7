// A double-array trie: strings to numbers, one array read per byte (Aoe: "An efficient digital search algorithm by
// using a double-array structure", 1989). Read-only after it is built.
#pragma once
#include "base/status.h"

typedef struct {
    int32_t base;   // the child for byte b is cell base + b
    int32_t parent; // -1: the cell is free
    int32_t value;  // -1: no string ends here
} qn_trie_cell;

typedef struct {
    qn_trie_cell *cells;
    size_t count, capacity;
    size_t duplicates; // strings that were there already
} qn_trie;

typedef struct {
    const char *text;
    size_t size;   // at least 1
    int32_t value; // at least 0
} qn_trie_entry;

enum { QN_TRIE_ROOT = 0 };

// `entries` are put into another order. Of equal strings the last one given counts.
qn_status qn_trie_build(qn_trie *trie, qn_trie_entry *entries, size_t count);
void qn_trie_free(qn_trie *trie);

// The node that `byte` leads to, or -1. The array has room behind every base, so that no bound is checked.
static inline int32_t qn_trie_step(const qn_trie *trie, int32_t node, uint8_t byte) {
    int32_t child = trie->cells[node].base + byte;
    return trie->cells[child].parent == node ? child : -1;
}

// Follows all of `text` from `node`; -1 where the trie has no such path.
int32_t qn_trie_walk(const qn_trie *trie, int32_t node, const char *text, size_t size);
