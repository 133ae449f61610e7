// What byte-level BPE makes of the bytes of one character before any of them can merge with what stands around it. A
// word may begin as a row of these tokens instead of its bytes, and becomes the same pieces.
#pragma once
#include "text/form.h"
#include "text/merge_table.h"
#include "text/vocabulary.h"

// One or two tokens.
typedef struct {
    uint32_t first;   // its id, and above it how many bytes it has; 0: the bytes stay as they are
    uint32_t second;  // its id, where the first is not the whole
    uint32_t context; // in which neighbours this holds
} qn_early_entry;
enum { QN_EARLY_SIZE_SHIFT = 24, QN_EARLY_ID = (1 << QN_EARLY_SIZE_SHIFT) - 1 };

// Neighbours that could merge with a part before it is done: a bit for each byte before and behind, ASCII ([0]) folded
// in two, which is on the safe side, and others ([1]). Characters end with 0x80 to 0xBF and begin with 0xC0 or more.
typedef struct {
    uint64_t before[2], behind[2];
} qn_early_context;

// Characters above this are rare, and there are many.
enum { QN_EARLY_LIMIT = 0x20000, QN_EARLY_BLOCK = 64, QN_EARLY_BLOCKS = QN_EARLY_LIMIT / QN_EARLY_BLOCK };
enum { QN_EARLY_ALONE, QN_EARLY_SPACED, QN_EARLY_FORMS }; // a character, and one with the space before it

typedef struct {
    uint16_t (*starts)[QN_EARLY_BLOCKS]; // [QN_EARLY_FORMS] which block has the entries of these code points; 0: empty
    qn_early_entry (*blocks)[QN_EARLY_BLOCK];
    size_t block_count, block_capacity;
    qn_early_context *contexts; // [0]: all neighbours will do
    size_t context_count, context_capacity;
} qn_early;

// `characters` are the tokens of the 256 bytes.
qn_status qn_early_build(qn_early *early, const qn_vocabulary *vocabulary, const qn_merge_table *merges,
                         const int32_t characters[256]);
void qn_early_free(qn_early *early);

static inline const qn_early_entry *qn_early_find(const qn_early *early, int form, uint32_t code) {
    size_t block = code < QN_EARLY_LIMIT ? early->starts[form][code / QN_EARLY_BLOCK] : 0;
    return &early->blocks[block][code % QN_EARLY_BLOCK];
}

// Whether an entry's tokens stand at word[begin, end) whatever becomes of the rest of the word.
static inline bool qn_early_holds(const qn_early *early, const qn_early_entry *entry, const char *word, size_t size,
                                  size_t begin, size_t end) {
    if (entry->first == 0 || entry->context == 0) return entry->first != 0;
    const qn_early_context *context = &early->contexts[entry->context];
    uint8_t before = begin > 0 ? (uint8_t)word[begin - 1] : 0, behind = end < size ? (uint8_t)word[end] : 0;
    bool disturbed = (begin > 0 && context->before[before >> 7] >> (before & 63) & 1) ||
                     (end < size && context->behind[behind >> 7] >> (behind & 63) & 1);
    return !disturbed;
}
