// Counting of words in an open-addressed hash table.
#include "text/word_count.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

static uint64_t hash_word(const char *word, size_t size) {
    uint64_t hash = size * 0x9E3779B97F4A7C15u;
    while (size > 0) {
        uint64_t part = 0;
        size_t taken = size < 8 ? size : 8;
        memcpy(&part, word, taken);
        hash = (hash ^ part) * 0xBF58476D1CE4E5B9u;
        hash ^= hash >> 31;
        word += taken;
        size -= taken;
    }
    return hash;
}

static qn_status grow_slots(qn_word_counts *c) {
    size_t slots = c->slots ? 2 * (c->slot_mask + 1) : 1 << 14;
    uint32_t *fresh = qn_calloc(slots, sizeof *fresh);
    if (!fresh) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < c->count; i++) {
        size_t at = hash_word(c->bytes + c->words[i].start, c->words[i].size) & (slots - 1);
        while (fresh[at] != 0) at = (at + 1) & (slots - 1);
        fresh[at] = (uint32_t)i + 1;
    }
    free(c->slots);
    c->slots = fresh;
    c->slot_mask = slots - 1;
    return QN_OK;
}

qn_status qn_word_counts_add(qn_word_counts *c, const char *word, size_t size, uint64_t times, size_t *number) {
    if (!c->slots || 2 * (c->count + 1) > c->slot_mask + 1) QN_TRY(grow_slots(c));
    uint64_t hash = hash_word(word, size);
    uint32_t tag = (uint32_t)(hash >> 32);
    size_t at = hash & c->slot_mask;
    for (; c->slots[at] != 0; at = (at + 1) & c->slot_mask) {
        qn_counted_word *known = &c->words[c->slots[at] - 1];
        if (known->tag == tag && known->size == size && memcmp(c->bytes + known->start, word, size) == 0) {
            known->count += times;
            *number = c->slots[at] - 1;
            return QN_OK;
        }
    }
    if (c->count >= INT32_MAX) return qn_fail(QN_ERROR_UNSUPPORTED, "more than 2^31 different words");
    QN_TRY(qn_grow((void **)&c->words, &c->capacity, c->count + 1, sizeof *c->words));
    QN_TRY(qn_grow((void **)&c->bytes, &c->byte_capacity, c->byte_count + size, 1));
    memcpy(c->bytes + c->byte_count, word, size);
    c->words[c->count] = (qn_counted_word){c->byte_count, (uint32_t)size, tag, times};
    c->byte_count += size;
    *number = c->count;
    c->slots[at] = (uint32_t)++c->count;
    return QN_OK;
}

void qn_word_counts_free(qn_word_counts *c) {
    free(c->bytes);
    free(c->words);
    free(c->slots);
    *c = (qn_word_counts){0};
}
