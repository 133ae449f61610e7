// The model of a tokenizer, of whatever kind: a word becomes pieces. Beside it a cache of the last short words.
#pragma once
#include "text/bpe.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

typedef enum { QN_MODEL_WORDPIECE, QN_MODEL_BPE, QN_MODEL_UNIGRAM, QN_MODEL_WORDLEVEL } qn_model_kind;

typedef struct {
    qn_model_kind kind;
    int32_t unknown; // of WordLevel
    const qn_vocabulary *vocabulary;
    const qn_wordpiece *wordpiece;
    qn_bpe bpe;
    qn_unigram unigram;
    uint64_t serial; // of this model in the process, for caches
} qn_word_model;

// Words of up to 24 bytes: one entry fills one line of the processor's cache.
enum { QN_MODEL_CACHE_PIECES = 7, QN_MODEL_CACHE_WORDS = 16384, QN_MODEL_CACHE_KEY = 3 };
typedef struct {
    uint64_t key[QN_MODEL_CACHE_KEY];
    int32_t ids[QN_MODEL_CACHE_PIECES];
    uint8_t ends[QN_MODEL_CACHE_PIECES];
    uint8_t count, size;
} qn_model_cached;

// A few bits of the hash of a slot's word, and of the word that last came to this slot and was another; 0: none. The
// newer word takes the slot when it comes again. Words that never come again, as in random text, so touch nothing but
// this, and drive nothing else out of the processor's cache.
typedef struct {
    uint16_t kept, seen;
} qn_model_tag;

typedef struct {
    qn_model_tag tags[QN_MODEL_CACHE_WORDS];
    qn_model_cached words[QN_MODEL_CACHE_WORDS];
} qn_model_cache;

// What a model needs; belongs to one thread. Start from zeros.
typedef struct {
    qn_bpe_room bpe;
    qn_unigram_room unigram;
    qn_piece *wordpiece;
    size_t wordpiece_capacity;
    qn_model_cache *cache;
    uint64_t serial; // of the model that the cache is for
} qn_model_room;

qn_status qn_word_model_finish(qn_word_model *model);
void qn_word_model_clear(qn_word_model *model);
void qn_model_room_free(qn_model_room *room);
// Pieces of word[0, size), size > 0, of valid UTF-8, in place of those in `pieces`. With `bytes` (of BPE) the bytes of
// the word stand for GPT-2's characters.
qn_status qn_word_model_encode(const qn_word_model *model, qn_model_room *room, const char *word, size_t size,
                               bool bytes, qn_pieces *pieces);
