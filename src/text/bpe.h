// Byte-pair encoding: a word is a row of characters, and of all neighbours that are in the list of merges the earliest
// in the list become one token, again and again (Sennrich, Haddow, Birch, 2016).
#pragma once
#include "text/early.h"
#include "text/pieces.h"

typedef struct {
    int32_t unknown; // -1: characters without a token are passed over
    bool fuse_unknown, byte_fallback, ignore_merges;
    char *prefix, *suffix; // of characters that continue a word, and of the last one; NULL: none
    const qn_vocabulary *vocabulary;
    qn_merge_table merges; // filled by qn_bpe_add_merge
    // Filled by qn_bpe_finish:
    qn_early early;          // of byte-level models
    int32_t bytes[256];      // tokens <0x00> to <0xFF>, -1
    int32_t characters[256]; // tokens of GPT-2's characters for bytes, -1
    bool all_bytes;          // none of them is -1
    bool splits;             // no token has U+2581 behind another character, so that a word can be cut before it
} qn_bpe;

typedef struct {
    int32_t id;
    uint32_t size; // bytes; 0: it became part of its left neighbour
    int32_t previous, next;
} qn_symbol;

typedef struct {
    uint32_t rank, place;
    int32_t id;
} qn_merge_event;

// What merging needs; belongs to one thread. Start from zeros.
typedef struct {
    qn_symbol *symbols;
    size_t symbols_capacity;
    qn_merge_event *heap;
    size_t heap_count, heap_capacity;
} qn_bpe_room;
void qn_bpe_room_free(qn_bpe_room *room);

// Two tokens, which must be in the vocabulary together with what they become; `path` is for messages.
qn_status qn_bpe_add_merge(qn_bpe *bpe, const char *path, size_t number, const char *left, size_t left_size,
                           const char *right, size_t right_size);
qn_status qn_bpe_finish(qn_bpe *bpe);
void qn_bpe_clear(qn_bpe *bpe);

// Adds the pieces of a word of valid UTF-8. With `bytes` (all_bytes must be true) its bytes, whatever they are, are
// looked up as GPT-2's characters.
qn_status qn_bpe_encode(const qn_bpe *bpe, qn_bpe_room *room, const char *word, size_t size, bool bytes,
                        qn_pieces *pieces);
