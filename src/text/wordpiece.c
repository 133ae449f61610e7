// Matching of words: whole words through a hash table, all others byte by byte through the vocabulary's trie.
#include "text/wordpiece.h"
#include "base/memory.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 16 };

// Bytes of 0xFF up to position 16, zeros from there: 16 bytes from [16 - size] keep the first `size` bytes of a word.
static const uint8_t key_mask[2 * KEY_BYTES] = {255, 255, 255, 255, 255, 255, 255, 255,
                                                255, 255, 255, 255, 255, 255, 255, 255};

static inline void make_key(const char *word, size_t size, bool padded, uint64_t key[2]) {
    if (padded) {
        uint64_t mask[2];
        memcpy(mask, key_mask + KEY_BYTES - size, KEY_BYTES);
        memcpy(key, word, KEY_BYTES);
        key[0] &= mask[0];
        key[1] &= mask[1];
    } else {
        key[0] = key[1] = 0;
        memcpy(key, word, size);
    }
}

static inline size_t hash_key(const uint64_t key[2]) {
    uint64_t hash = (key[0] ^ (key[1] << 29 | key[1] >> 35)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
    hash *= 0xBF58476D1CE4E5B9u;
    return (size_t)(hash >> 24);
}

qn_status qn_wordpiece_finish(qn_wordpiece *model, const qn_vocabulary *vocabulary) {
    static atomic_uint_fast64_t serials = 1;
    model->serial = atomic_fetch_add(&serials, 1);
    model->vocabulary = vocabulary;
    model->continuation = qn_trie_walk(&vocabulary->trie, QN_TRIE_ROOT, model->prefix, strlen(model->prefix));
    size_t slots = 64;
    while (slots < 2 * vocabulary->count) slots *= 2;
    model->slots = qn_malloc(slots, sizeof *model->slots);
    if (!model->slots) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < slots; i++) model->slots[i] = (qn_word_slot){{0, 0}, -1, 0};
    model->slot_mask = slots - 1;
    for (size_t i = 0; i < vocabulary->size; i++) {
        size_t size;
        const char *token = qn_vocabulary_token(vocabulary, (int32_t)i, &size);
        if (!token || size == 0 || size > KEY_BYTES) continue;
        if (*model->prefix && qn_wordpiece_continues(model, token, size)) continue; // seldom a word; the trie has it
        qn_word_slot slot = {{0, 0}, (int32_t)i, (uint32_t)size};
        make_key(token, size, false, slot.key);
        size_t at = hash_key(slot.key) & model->slot_mask;
        while (model->slots[at].id >= 0 &&
               (memcmp(model->slots[at].key, slot.key, sizeof slot.key) != 0 || model->slots[at].size != slot.size))
            at = (at + 1) & model->slot_mask;
        model->slots[at] = slot; // of equal strings the last, as in the trie
    }
    return QN_OK;
}

void qn_wordpiece_clear(qn_wordpiece *model) {
    free(model->prefix);
    free(model->slots);
    *model = (qn_wordpiece){.unknown = -1};
}

// Through the trie, from the longest match to the next.
static size_t match_longest(const qn_wordpiece *model, const char *word, size_t size, qn_piece *pieces) {
    const qn_trie *trie = &model->vocabulary->trie;
    size_t count = 0;
    for (size_t begin = 0; begin < size;) {
        int32_t node = begin == 0 ? QN_TRIE_ROOT : model->continuation, id = -1;
        size_t end = begin;
        for (size_t i = begin; i < size && node >= 0; i++) {
            node = qn_trie_step(trie, node, (uint8_t)word[i]);
            if (node >= 0 && trie->cells[node].value >= 0) {
                id = trie->cells[node].value;
                end = i + 1;
            }
        }
        if (id < 0) return 0;
        pieces[count++] = (qn_piece){id, (uint32_t)end};
        begin = end;
    }
    return count;
}

static size_t match_short(const qn_wordpiece *model, const uint64_t key[2], size_t hash, const char *word, size_t size,
                          qn_piece *pieces) {
    for (size_t at = hash & model->slot_mask; model->slots[at].id >= 0; at = (at + 1) & model->slot_mask) {
        const qn_word_slot *slot = &model->slots[at];
        if (slot->key[0] == key[0] && slot->key[1] == key[1] && slot->size == size) {
            pieces[0] = (qn_piece){slot->id, (uint32_t)size};
            return 1;
        }
    }
    return match_longest(model, word, size, pieces);
}

size_t qn_wordpiece_match(const qn_wordpiece *model, qn_word_cache *cache, const char *word, size_t size,
                          qn_piece *pieces) {
    if (size > KEY_BYTES) return match_longest(model, word, size, pieces);
    uint64_t key[2];
    make_key(word, size, cache != NULL, key);
    size_t hash = hash_key(key);
    if (!cache) return match_short(model, key, hash, word, size, pieces);
    if (cache->serial != model->serial) {
        memset(cache, 0, sizeof *cache);
        cache->serial = model->serial;
    }
    // The pieces of a word cover it, so that its size is the end of the last one.
    size_t at = hash >> 8 & (QN_CACHE_WORDS - 1), count = cache->words[at].count;
    if (count > 0 && cache->words[at].key[0] == key[0] && cache->words[at].key[1] == key[1] &&
        cache->words[at].ends[count - 1] == size) {
        for (size_t i = 0; i < count; i++) pieces[i] = (qn_piece){cache->words[at].ids[i], cache->words[at].ends[i]};
        return count;
    }
    count = match_short(model, key, hash, word, size, pieces);
    if (count > 0 && count <= QN_CACHE_PIECES) {
        memcpy(cache->words[at].key, key, sizeof key);
        cache->words[at].count = (uint8_t)count;
        for (size_t i = 0; i < count; i++) {
            cache->words[at].ids[i] = pieces[i].id;
            cache->words[at].ends[i] = (uint8_t)pieces[i].end;
        }
    }
    return count;
}

bool qn_wordpiece_continues(const qn_wordpiece *model, const char *token, size_t size) {
    size_t prefix = strlen(model->prefix);
    return prefix > 0 && size > prefix && memcmp(token, model->prefix, prefix) == 0;
}
