// The WordPiece model: a word becomes the longest token it begins with, then the longest continuing token, and so on.
#pragma once
#include "text/vocabulary.h"

typedef struct {
    uint64_t key[2]; // the word's bytes, zeros behind them
    int32_t id;      // -1: free
    uint32_t size;
} qn_word_slot;

typedef struct {
    int32_t unknown;       // id of the unknown token, -1 where the vocabulary has none
    size_t max_characters; // a longer word is unknown
    char *prefix;          // of continuing tokens
    // Filled by qn_wordpiece_finish:
    const qn_vocabulary *vocabulary;
    int32_t continuation; // where the trie is after the prefix, -1: no token continues a word
    qn_word_slot *slots;  // whole words of up to 16 bytes, by hash
    size_t slot_mask;
    uint64_t serial; // of this model in the process, for caches
} qn_wordpiece;

// What the last words of up to 16 bytes became, in few enough bytes to stay near the processor. It belongs to one
// thread.
enum { QN_CACHE_PIECES = 3, QN_CACHE_WORDS = 4096 };
typedef struct {
    uint64_t serial; // of the model that the entries are for; 0: none
    struct {
        uint64_t key[2];
        int32_t ids[QN_CACHE_PIECES];
        uint8_t ends[QN_CACHE_PIECES];
        uint8_t count; // pieces; 0: free
    } words[QN_CACHE_WORDS];
} qn_word_cache;

typedef struct {
    int32_t id;
    uint32_t end; // bytes of the word up to the end of this piece
} qn_piece;

qn_status qn_wordpiece_finish(qn_wordpiece *model, const qn_vocabulary *vocabulary);
void qn_wordpiece_clear(qn_wordpiece *model);

// Cuts a word of size >= 1 bytes into pieces[0 .. size-1]. Returns how many; 0: the word is unknown. With a cache, 16
// bytes of `word` may be read, however short it is.
size_t qn_wordpiece_match(const qn_wordpiece *model, qn_word_cache *cache, const char *word, size_t size,
                          qn_piece *pieces);

bool qn_wordpiece_continues(const qn_wordpiece *model, const char *token, size_t size);
