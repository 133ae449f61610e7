// The strings of a vocabulary by id, and a trie that finds ids by string. Read-only after qn_vocabulary_finish.
#pragma once
#include "text/trie.h"

// Ids above this are taken for damage, not for a vocabulary.
enum { QN_MAX_TOKEN_ID = (1 << 24) - 1 };

typedef struct {
    char *bytes; // the strings, each with a NUL
    size_t byte_count, byte_capacity;
    uint32_t *starts; // [size] of bytes; UINT32_MAX where an id has no string
    uint32_t *lengths;
    size_t size; // the largest id + 1
    size_t starts_capacity, lengths_capacity;
    size_t count; // ids that have a string
    qn_trie trie;
} qn_vocabulary;

// `id` is 0 to QN_MAX_TOKEN_ID. A later string for the same id replaces an earlier one; of equal strings the largest id
// is found.
qn_status qn_vocabulary_add(qn_vocabulary *vocabulary, const char *text, size_t size, int64_t id);
qn_status qn_vocabulary_finish(qn_vocabulary *vocabulary);
void qn_vocabulary_free(qn_vocabulary *vocabulary);

// NULL, and *size 0, where there is none.
const char *qn_vocabulary_token(const qn_vocabulary *vocabulary, int32_t id, size_t *size);
int32_t qn_vocabulary_id(const qn_vocabulary *vocabulary, const char *text, size_t size); // -1 where there is none
