// The table behind BERT's normaliser: one entry for each code point, in blocks of 128 of which equal ones are shared.
#pragma once
#include "text/bert.h"

enum {
    QN_CODE_BLOCK_BITS = 7,
    QN_CODE_BLOCK = 1 << QN_CODE_BLOCK_BITS,
    QN_CODE_BLOCKS = 0x110000 >> QN_CODE_BLOCK_BITS,
};

// What a code point becomes. The low 21 bits of an entry are the code point it turns into, 0 for itself, or for
// EXPANDED an index.
enum {
    QN_CHAR_LETTER = 0u << 29,
    QN_CHAR_SPACE = 1u << 29,
    QN_CHAR_PUNCTUATION = 2u << 29, // a word by itself
    QN_CHAR_ALONE = 3u << 29,       // a word by itself, because of spaces that the normaliser puts around it
    QN_CHAR_REMOVED = 4u << 29,
    QN_CHAR_EXPANDED = 5u << 29, // several: expansions[index] is the count, then code points with their kind
    QN_CHAR_HANGUL = 6u << 29,   // a syllable that is taken apart by rule
    QN_CHAR_REORDER = 7u << 29,  // has a combining mark that stays: the run it is in must be put into canonical order
};
#define QN_CHAR_KIND 0xE0000000u
#define QN_CHAR_CODE 0x001FFFFFu
// No starter in it, and so it does not end a run of combining marks.
#define QN_CHAR_TRANSPARENT (1u << 28)

enum { QN_EDGE_SPACE = 1, QN_EDGE_PUNCTUATION = 2 };

struct qn_bert {
    qn_bert_options options;
    uint16_t blocks[QN_CODE_BLOCKS];
    uint32_t *entries; // [block_count, QN_CODE_BLOCK]
    size_t block_count, entries_capacity;
    uint32_t *expansions;
    size_t expansion_count, expansions_capacity;
    uint8_t word[256]; // a byte that is a letter of a word, normalised; 0 for all others
    uint8_t edge[256]; // an ASCII byte at which a word ends: QN_EDGE_*; 0 for all others
};

static inline uint32_t qn_bert_entry(const qn_bert *bert, uint32_t code) {
    size_t block = bert->blocks[code >> QN_CODE_BLOCK_BITS];
    return bert->entries[block << QN_CODE_BLOCK_BITS | (code & (QN_CODE_BLOCK - 1))];
}
