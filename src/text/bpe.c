// Byte-pair encoding in n log n steps for a word of n characters, whatever it is.
#include "text/bpe.h"
#include "base/memory.h"
#include "text/form.h"
#include "text/steps.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 32 };
#define FREE UINT64_MAX
static const char sign[] = "\xE2\x96\x81";

// --- The model ------------------------------------------------------------------------------------------------------

static inline size_t hash_pair(uint64_t pair) {
    pair *= 0x9E3779B97F4A7C15u;
    return (size_t)(pair >> 24 ^ pair >> 45);
}

static inline const qn_merge_slot *find_merge(const qn_bpe *bpe, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t hash = hash_pair(pair), bit = hash & bpe->filter_mask;
    if (!(bpe->filter[bit / 64] >> bit % 64 & 1)) return NULL;
    for (size_t at = hash & bpe->slot_mask;; at = (at + 1) & bpe->slot_mask) {
        const qn_merge_slot *slot = &bpe->slots[at];
        if (slot->pair == pair) return slot;
        if (slot->pair == FREE) return NULL;
    }
}

qn_status qn_bpe_reserve(qn_bpe *bpe, size_t merges) {
    size_t slots = 16;
    while (slots < 2 * merges) slots *= 2;
    bpe->slots = qn_malloc(slots, sizeof *bpe->slots);
    if (!bpe->slots) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < slots; i++) bpe->slots[i] = (qn_merge_slot){FREE, -1, 0};
    bpe->slot_mask = slots - 1;
    size_t bits = 8 * slots;
    bpe->filter = qn_calloc(bits / 64, sizeof *bpe->filter);
    if (!bpe->filter) return QN_ERROR_MEMORY;
    bpe->filter_mask = bits - 1;
    return QN_OK;
}

qn_status qn_bpe_add_merge(qn_bpe *bpe, const char *path, size_t number, const char *left, size_t left_size,
                           const char *right, size_t right_size) {
    const qn_trie *trie = &bpe->vocabulary->trie;
    size_t skip = bpe->prefix ? strlen(bpe->prefix) : 0;
    if (skip > right_size) skip = right_size;
    int32_t a = qn_vocabulary_id(bpe->vocabulary, left, left_size);
    int32_t b = qn_vocabulary_id(bpe->vocabulary, right, right_size), id = -1;
    int32_t node = qn_trie_walk(trie, QN_TRIE_ROOT, left, left_size);
    if (node >= 0) node = qn_trie_walk(trie, node, right + skip, right_size - skip);
    if (node >= 0) id = trie->cells[node].value;
    if (a < 0 || b < 0 || id < 0)
        return qn_fail(
            QN_ERROR_FORMAT, "%s: merge %zu, \"%.*s\" and \"%.*s\", has a token that is not in the vocabulary", path,
            number, (int)(left_size < 100 ? left_size : 100), left, (int)(right_size < 100 ? right_size : 100), right);
    uint64_t pair = (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
    size_t hash = hash_pair(pair), bit = hash & bpe->filter_mask, at = hash & bpe->slot_mask;
    bpe->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    while (bpe->slots[at].pair != FREE && bpe->slots[at].pair != pair) at = (at + 1) & bpe->slot_mask;
    bpe->slots[at] = (qn_merge_slot){pair, id, (uint32_t)number}; // of equal ones the last, as in the reference
    bpe->merge_count++;
    return QN_OK;
}

// Whether the sign of white space stands behind another character in a token that merging makes.
static bool has_inner_sign(const char *token, size_t size) {
    for (size_t i = 3; i + 3 <= size; i++)
        if (memcmp(token + i, sign, 3) == 0 && memcmp(token + i - 3, sign, 3) != 0) return true;
    return false;
}

void qn_bpe_finish(qn_bpe *bpe) {
    bpe->all_bytes = true;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        bpe->bytes[byte] = qn_vocabulary_id(bpe->vocabulary, name, 6);
        uint32_t code = qn_byte_character((uint8_t)byte);
        char bytes[2] = {(char)(code < 0x80 ? code : 0xC0 | code >> 6), (char)(0x80 | (code & 0x3F))};
        bpe->characters[byte] = qn_vocabulary_id(bpe->vocabulary, bytes, code < 0x80 ? 1 : 2);
        bpe->all_bytes &= bpe->characters[byte] >= 0;
    }
    bpe->all_bytes &= !bpe->prefix && !bpe->suffix;
    // Where a character may be passed over, the places of all after it move, and the word must stay in one piece.
    bool complete = bpe->unknown >= 0 || bpe->byte_fallback;
    for (int byte = 0; byte < 256 && bpe->unknown < 0; byte++) complete &= bpe->bytes[byte] >= 0;
    bpe->splits = complete && !bpe->prefix && !bpe->suffix && !bpe->ignore_merges &&
                  qn_vocabulary_id(bpe->vocabulary, sign, 3) >= 0;
    for (size_t i = 0; i <= bpe->slot_mask && bpe->splits; i++) {
        size_t size;
        if (bpe->slots[i].pair == FREE) continue;
        const char *token = qn_vocabulary_token(bpe->vocabulary, bpe->slots[i].id, &size);
        bpe->splits = !token || !has_inner_sign(token, size);
    }
}

void qn_bpe_clear(qn_bpe *bpe) {
    free(bpe->prefix);
    free(bpe->suffix);
    free(bpe->slots);
    free(bpe->filter);
    *bpe = (qn_bpe){.unknown = -1};
}

void qn_bpe_room_free(qn_bpe_room *room) {
    free(room->symbols);
    free(room->heap);
    *room = (qn_bpe_room){0};
}

// --- A word as a row of symbols -------------------------------------------------------------------------------------

static qn_status put_symbol(qn_bpe_room *room, size_t *count, int32_t id, uint32_t size) {
    if (*count == room->symbols_capacity)
        QN_TRY(qn_grow((void **)&room->symbols, &room->symbols_capacity, *count + 1, sizeof *room->symbols));
    room->symbols[*count] = (qn_symbol){id, size, (int32_t)*count - 1, (int32_t)*count + 1};
    ++*count;
    return QN_OK;
}

// The token of one character with the prefix or suffix that its place asks for.
static int32_t find_character(const qn_bpe *bpe, const char *text, size_t size, bool first, bool last) {
    const qn_trie *trie = &bpe->vocabulary->trie;
    int32_t node = QN_TRIE_ROOT;
    if (!first && bpe->prefix) node = qn_trie_walk(trie, node, bpe->prefix, strlen(bpe->prefix));
    if (node >= 0) node = qn_trie_walk(trie, node, text, size);
    if (node >= 0 && last && bpe->suffix) node = qn_trie_walk(trie, node, bpe->suffix, strlen(bpe->suffix));
    return node < 0 ? -1 : trie->cells[node].value;
}

static bool has_bytes(const qn_bpe *bpe, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (bpe->bytes[(uint8_t)text[i]] < 0) return false;
    return true;
}

static qn_status put_characters(const qn_bpe *bpe, qn_bpe_room *room, const char *word, size_t size, size_t *count) {
    uint32_t unknown = 0; // bytes of the unknown characters that wait
    for (size_t i = 0; i < size;) {
        uint32_t code;
        size_t length = qn_form_next(word + i, &code);
        int32_t id = find_character(bpe, word + i, length, i == 0, i + length == size);
        if (id >= 0) {
            if (unknown > 0) QN_TRY(put_symbol(room, count, bpe->unknown, unknown));
            unknown = 0;
            QN_TRY(put_symbol(room, count, id, (uint32_t)length));
        } else if (bpe->byte_fallback && has_bytes(bpe, word + i, length)) {
            // What is unknown goes on waiting, as in the reference; it cannot be where all 256 bytes are tokens.
            for (size_t j = 0; j < length; j++) QN_TRY(put_symbol(room, count, bpe->bytes[(uint8_t)word[i + j]], 1));
        } else if (bpe->unknown >= 0) {
            if (unknown > 0 && !bpe->fuse_unknown) {
                QN_TRY(put_symbol(room, count, bpe->unknown, unknown));
                unknown = 0;
            }
            unknown += (uint32_t)length;
        }
        i += length;
    }
    return unknown > 0 ? put_symbol(room, count, bpe->unknown, unknown) : QN_OK;
}

static qn_status put_bytes(const qn_bpe *bpe, qn_bpe_room *room, const char *word, size_t size, size_t *count) {
    for (size_t i = 0; i < size; i++) QN_TRY(put_symbol(room, count, bpe->characters[(uint8_t)word[i]], 1));
    return QN_OK;
}

// --- Merging --------------------------------------------------------------------------------------------------------

// Moves what is left of the linked symbols together; returns how many.
static size_t keep_linked(qn_symbol *symbols) {
    size_t kept = 0;
    for (int32_t i = 0; i >= 0; i = symbols[i].next) symbols[kept++] = symbols[i];
    return kept;
}

// Few symbols: the pair of the lowest rank is looked for each time, and of equal ranks the first place. A key is the
// rank of a symbol with its right neighbour above its place, so that the smallest key is found without a branch;
// symbols that are gone and pairs that do not merge have NO_KEY.
#define NO_KEY UINT64_MAX
static_assert(SHORT_WORD == 32, "a place has five bits of a key");

static inline uint64_t smallest(const uint64_t *keys, size_t count) {
    uint64_t even = NO_KEY, odd = NO_KEY; // two chains, so that the processor compares two at once
    for (size_t i = 0; i < count; i += 2) {
        even = keys[i] < even ? keys[i] : even;
        odd = keys[i + 1] < odd ? keys[i + 1] : odd;
    }
    return even < odd ? even : odd;
}

static inline void look_up(const qn_bpe *bpe, const qn_symbol *left, const qn_symbol *right, size_t place,
                           uint64_t *keys, int32_t *made) {
    const qn_merge_slot *merge = find_merge(bpe, left->id, right->id);
    keys[place] = merge ? (uint64_t)merge->rank << 5 | place : NO_KEY;
    if (merge) made[place] = merge->id;
}

static size_t merge_short(const qn_bpe *bpe, qn_symbol *symbols, size_t count) {
    uint64_t keys[SHORT_WORD + 2];
    int32_t made[SHORT_WORD];
    for (size_t i = 0; i + 1 < count; i++) look_up(bpe, &symbols[i], &symbols[i + 1], i, keys, made);
    keys[count - 1] = keys[count] = NO_KEY; // of the last symbol, and of one that makes their number even
    symbols[count - 1].next = -1;
    for (;;) {
        uint64_t best = smallest(keys, count);
        if (best == NO_KEY) break;
        size_t place = (size_t)best & (SHORT_WORD - 1);
        qn_symbol *left = &symbols[place], *right = &symbols[left->next];
        left->id = made[place];
        left->size += right->size;
        keys[left->next] = keys[place] = NO_KEY;
        left->next = right->next;
        if (left->next >= 0) {
            symbols[left->next].previous = (int32_t)place;
            look_up(bpe, left, &symbols[left->next], place, keys, made);
        }
        if (left->previous >= 0) look_up(bpe, &symbols[left->previous], left, (size_t)left->previous, keys, made);
    }
    return keep_linked(symbols);
}

static inline bool before(const qn_merge_event *a, const qn_merge_event *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void sift_down(qn_merge_event *heap, size_t count, size_t at) {
    qn_merge_event moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static qn_status push(const qn_bpe *bpe, qn_bpe_room *room, int32_t place, int32_t next, bool ordered) {
    const qn_merge_slot *merge = find_merge(bpe, room->symbols[place].id, room->symbols[next].id);
    if (!merge) return QN_OK;
    size_t at = room->heap_count;
    if (at == room->heap_capacity)
        QN_TRY(qn_grow((void **)&room->heap, &room->heap_capacity, at + 1, sizeof *room->heap));
    qn_merge_event event = {merge->rank, (uint32_t)place, merge->id};
    room->heap_count++;
    while (ordered && at > 0 && before(&event, &room->heap[(at - 1) / 2])) {
        room->heap[at] = room->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    room->heap[at] = event;
    return QN_OK;
}

// Many symbols: a linked list, and a heap of the merges that were possible at some time.
static qn_status merge_long(const qn_bpe *bpe, qn_bpe_room *room, size_t *count) {
    qn_symbol *symbols = room->symbols;
    room->heap_count = 0;
    symbols[*count - 1].next = -1;
    for (size_t i = 0; i + 1 < *count; i++) QN_TRY(push(bpe, room, (int32_t)i, (int32_t)i + 1, false));
    for (size_t i = room->heap_count / 2; i-- > 0;) sift_down(room->heap, room->heap_count, i);
    while (room->heap_count > 0) {
        qn_merge_event top = room->heap[0];
        room->heap[0] = room->heap[--room->heap_count];
        if (room->heap_count > 0) sift_down(room->heap, room->heap_count, 0);
        qn_symbol *left = &symbols[top.place];
        if (left->size == 0 || left->next < 0) continue;
        qn_symbol *right = &symbols[left->next];
        const qn_merge_slot *merge = find_merge(bpe, left->id, right->id);
        if (!merge || merge->id != top.id) continue; // it was about other symbols
        left->id = top.id;
        left->size += right->size;
        right->size = 0;
        left->next = right->next;
        if (left->next >= 0) {
            symbols[left->next].previous = (int32_t)top.place;
            QN_TRY(push(bpe, room, (int32_t)top.place, left->next, true));
        }
        if (left->previous >= 0) QN_TRY(push(bpe, room, left->previous, (int32_t)top.place, true));
    }
    *count = keep_linked(symbols);
    return QN_OK;
}

static qn_status add_pieces(qn_pieces *p, const qn_symbol *symbols, size_t count) {
    uint32_t begin = 0;
    QN_TRY(qn_pieces_reserve(p, count));
    for (size_t i = 0; i < count; i++) {
        p->pieces[p->count++] = (qn_span_piece){symbols[i].id, begin, begin + symbols[i].size};
        begin += symbols[i].size;
    }
    return QN_OK;
}

// The token that the whole word is, -1.
static int32_t whole_word(const qn_bpe *bpe, const char *word, size_t size, bool bytes) {
    const qn_trie *trie = &bpe->vocabulary->trie;
    if (!bytes) return qn_vocabulary_id(bpe->vocabulary, word, size);
    int32_t node = QN_TRIE_ROOT;
    for (size_t i = 0; i < size && node >= 0; i++) {
        uint32_t code = qn_byte_character((uint8_t)word[i]);
        if (code >= 0x80) node = qn_trie_step(trie, node, (uint8_t)(0xC0 | code >> 6));
        if (node >= 0) node = qn_trie_step(trie, node, (uint8_t)(code < 0x80 ? code : 0x80 | (code & 0x3F)));
    }
    return node < 0 ? -1 : trie->cells[node].value;
}

qn_status qn_bpe_encode(const qn_bpe *bpe, qn_bpe_room *room, const char *word, size_t size, bool bytes,
                        qn_pieces *pieces) {
    if (bpe->ignore_merges) {
        int32_t id = whole_word(bpe, word, size, bytes);
        if (id >= 0) return add_pieces(pieces, &(qn_symbol){.id = id, .size = (uint32_t)size}, 1);
    }
    size_t count = 0;
    QN_TRY(bytes ? put_bytes(bpe, room, word, size, &count) : put_characters(bpe, room, word, size, &count));
    if (count > SHORT_WORD)
        QN_TRY(merge_long(bpe, room, &count));
    else if (count > 1)
        count = merge_short(bpe, room->symbols, count);
    return add_pieces(pieces, room->symbols, count);
}
