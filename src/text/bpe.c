// Byte-pair encoding in n log n steps for a word of n characters, whatever it is.
#include "text/bpe.h"
#include "base/memory.h"
#include "text/form.h"
#include "text/steps.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLACE_BITS = 5, SHORT_WORD = 1 << PLACE_BITS };
static const char sign[] = "\xE2\x96\x81";

// --- The model ------------------------------------------------------------------------------------------------------

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
    return qn_merge_table_add(&bpe->merges, (qn_bpe_merge){a, b, id});
}

// Whether the sign of white space stands behind another character in a token that merging makes.
static bool has_inner_sign(const char *token, size_t size) {
    for (size_t i = 3; i + 3 <= size; i++)
        if (memcmp(token + i, sign, 3) == 0 && memcmp(token + i - 3, sign, 3) != 0) return true;
    return false;
}

qn_status qn_bpe_finish(qn_bpe *bpe) {
    QN_TRY(qn_merge_table_build(&bpe->merges));
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
    for (size_t i = 0; i < bpe->merges.count && bpe->splits; i++) {
        size_t size;
        const char *token = qn_vocabulary_token(bpe->vocabulary, bpe->merges.merges[i].id, &size);
        bpe->splits = !token || !has_inner_sign(token, size);
    }
    return bpe->all_bytes ? qn_early_build(&bpe->early, bpe->vocabulary, &bpe->merges, bpe->characters) : QN_OK;
}

void qn_bpe_clear(qn_bpe *bpe) {
    free(bpe->prefix);
    free(bpe->suffix);
    qn_merge_table_free(&bpe->merges);
    qn_early_free(&bpe->early);
    *bpe = (qn_bpe){.unknown = -1};
}

void qn_bpe_room_free(qn_bpe_room *room) {
    free(room->symbols);
    free(room->heap);
    *room = (qn_bpe_room){0};
}

// --- A word as a row of symbols -------------------------------------------------------------------------------------

// Of a word of `size` bytes, and one that ends the row.
static qn_status reserve_symbols(qn_bpe_room *room, size_t size) {
    if (size < room->symbols_capacity) return QN_OK;
    return qn_grow((void **)&room->symbols, &room->symbols_capacity, size + 1, sizeof *room->symbols);
}

static inline void put_symbol(qn_bpe_room *room, size_t *count, int32_t id, size_t size) {
    room->symbols[*count] = (qn_symbol){id, (uint32_t)size, (int32_t)*count - 1, (int32_t)*count + 1};
    ++*count;
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

static size_t put_characters(const qn_bpe *bpe, qn_bpe_room *room, const char *word, size_t size) {
    size_t count = 0, unknown = 0; // bytes of the unknown characters that wait
    for (size_t i = 0; i < size;) {
        uint32_t code;
        size_t length = qn_form_next(word + i, &code);
        int32_t id = find_character(bpe, word + i, length, i == 0, i + length == size);
        if (id >= 0) {
            if (unknown > 0) put_symbol(room, &count, bpe->unknown, unknown);
            unknown = 0;
            put_symbol(room, &count, id, length);
        } else if (bpe->byte_fallback && has_bytes(bpe, word + i, length)) {
            // What is unknown goes on waiting, as in the reference; it cannot be where all 256 bytes are tokens.
            for (size_t j = 0; j < length; j++) put_symbol(room, &count, bpe->bytes[(uint8_t)word[i + j]], 1);
        } else if (bpe->unknown >= 0) {
            if (unknown > 0 && !bpe->fuse_unknown) {
                put_symbol(room, &count, bpe->unknown, unknown);
                unknown = 0;
            }
            unknown += length;
        }
        i += length;
    }
    if (unknown > 0) put_symbol(room, &count, bpe->unknown, unknown);
    return count;
}

// The tokens that word[begin, end), a character of such a form, becomes early; false where its bytes must be looked at.
static inline bool put_early(const qn_bpe *bpe, qn_bpe_room *room, size_t *count, int form, uint32_t code,
                             const char *word, size_t size, size_t begin, size_t end) {
    const qn_early_entry *entry = qn_early_find(&bpe->early, form, code);
    if (!qn_early_holds(&bpe->early, entry, word, size, begin, end)) return false;
    size_t first = entry->first >> QN_EARLY_SIZE_SHIFT;
    put_symbol(room, count, (int32_t)(entry->first & QN_EARLY_ID), first);
    if (first < end - begin) put_symbol(room, count, (int32_t)entry->second, end - begin - first);
    return true;
}

static size_t put_bytes(const qn_bpe *bpe, qn_bpe_room *room, const char *word, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        bool spaced = word[i] == ' ' && i + 1 < size;
        size_t begin = i + spaced, end = begin + 1;
        uint8_t lead = (uint8_t)word[begin];
        if (lead >= 0xC0) end = begin + (lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4);
        if (end > begin + 1 && end <= size) {
            uint32_t code;
            qn_form_next(word + begin, &code);
            if (spaced && put_early(bpe, room, &count, QN_EARLY_SPACED, code, word, size, i, end)) {
                i = end;
                continue;
            }
            if (spaced) put_symbol(room, &count, bpe->characters[' '], 1);
            i = begin;
            if (put_early(bpe, room, &count, QN_EARLY_ALONE, code, word, size, i, end)) {
                i = end;
                continue;
            }
        }
        for (end = end < size ? end : size; i < end; i++)
            put_symbol(room, &count, bpe->characters[(uint8_t)word[i]], 1);
    }
    return count;
}

// --- Merging --------------------------------------------------------------------------------------------------------

// Moves what is left of the linked symbols together; returns how many. The last one leads to `end`.
static size_t keep_linked(qn_symbol *symbols, int32_t end) {
    size_t kept = 0;
    for (int32_t i = 0; i != end; i = symbols[i].next) symbols[kept++] = symbols[i];
    return kept;
}

// Few symbols: the pair of the lowest rank is looked for each time, and of equal ranks the first place. A key is the
// rank of a symbol with its right neighbour above its place, so that the smallest key is found without a branch;
// symbols that are gone and pairs that do not merge have NO_KEY.
#define NO_KEY UINT32_MAX
static_assert(SHORT_WORD == 1 << PLACE_BITS && QN_MAX_MERGES < NO_KEY >> PLACE_BITS, "a key has 32 bits");

static inline uint32_t smallest(const uint32_t *keys, size_t count) {
    uint32_t even = NO_KEY, odd = NO_KEY; // two chains, so that the processor compares two at once
    for (size_t i = 0; i < count; i += 2) {
        even = keys[i] < even ? keys[i] : even;
        odd = keys[i + 1] < odd ? keys[i + 1] : odd;
    }
    return even < odd ? even : odd;
}

static inline uint32_t find_key(const qn_bpe *bpe, const qn_symbol *symbols, int32_t left, int32_t right) {
    uint32_t rank = qn_merge_rank(&bpe->merges, symbols[left].id, symbols[right].id);
    return rank == QN_NO_RANK ? NO_KEY : rank << PLACE_BITS | (uint32_t)left;
}

// The symbols are a ring, closed by one that merges with nothing, so that all have two neighbours.
static size_t merge_short(const qn_bpe *bpe, qn_symbol *symbols, size_t count) {
    uint32_t keys[SHORT_WORD + 2];
    int32_t ring = (int32_t)count;
    symbols[ring] = (qn_symbol){.id = -1, .previous = ring - 1, .next = 0};
    symbols[0].previous = ring;
    for (int32_t i = 0; i < ring; i++) keys[i] = find_key(bpe, symbols, i, i + 1);
    keys[ring] = keys[ring + 1] = NO_KEY;
    for (;;) {
        uint32_t best = smallest(keys, count);
        if (best == NO_KEY) break;
        int32_t place = (int32_t)(best & (SHORT_WORD - 1));
        qn_symbol *left = &symbols[place], *right = &symbols[left->next];
        left->id = bpe->merges.merges[best >> PLACE_BITS].id;
        left->size += right->size;
        keys[left->next] = NO_KEY;
        left->next = right->next;
        symbols[left->next].previous = place;
        keys[place] = find_key(bpe, symbols, place, left->next);
        keys[left->previous] = find_key(bpe, symbols, left->previous, place);
    }
    return keep_linked(symbols, ring);
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
    uint32_t rank = qn_merge_rank(&bpe->merges, room->symbols[place].id, room->symbols[next].id);
    if (rank == QN_NO_RANK) return QN_OK;
    size_t at = room->heap_count;
    if (at == room->heap_capacity)
        QN_TRY(qn_grow((void **)&room->heap, &room->heap_capacity, at + 1, sizeof *room->heap));
    qn_merge_event event = {rank, (uint32_t)place, bpe->merges.merges[rank].id};
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
        uint32_t rank = qn_merge_rank(&bpe->merges, left->id, right->id);
        if (rank == QN_NO_RANK || bpe->merges.merges[rank].id != top.id) continue; // it was about other symbols
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
    *count = keep_linked(symbols, -1);
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
    QN_TRY(reserve_symbols(room, size));
    size_t count = bytes ? put_bytes(bpe, room, word, size) : put_characters(bpe, room, word, size);
    if (count > SHORT_WORD)
        QN_TRY(merge_long(bpe, room, &count));
    else if (count > 1)
        count = merge_short(bpe, room->symbols, count);
    return add_pieces(pieces, room->symbols, count);
}
