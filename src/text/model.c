// From a word to its pieces, through the cache.
#include "text/model.h"
#include "base/memory.h"
#include "text/form.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 8 * QN_MODEL_CACHE_KEY };
static const char sign[] = "\xE2\x96\x81";

qn_status qn_word_model_finish(qn_word_model *model) {
    static atomic_uint_fast64_t serials = 1;
    model->serial = atomic_fetch_add(&serials, 1);
    if (model->kind == QN_MODEL_BPE) return qn_bpe_finish(&model->bpe);
    if (model->kind == QN_MODEL_UNIGRAM) qn_unigram_finish(&model->unigram, model->vocabulary);
    return QN_OK;
}

void qn_word_model_clear(qn_word_model *model) {
    qn_bpe_clear(&model->bpe);
    qn_unigram_clear(&model->unigram);
}

void qn_model_room_free(qn_model_room *room) {
    qn_bpe_room_free(&room->bpe);
    free(room->unigram.nodes);
    free(room->wordpiece);
    free(room->cache);
    *room = (qn_model_room){0};
}

static qn_status put_piece(qn_pieces *pieces, int32_t id, size_t start, size_t end) {
    QN_TRY(qn_pieces_reserve(pieces, 1));
    pieces->pieces[pieces->count++] = (qn_span_piece){id, (uint32_t)start, (uint32_t)end};
    return QN_OK;
}

static qn_status put_unknown(int32_t unknown, size_t size, qn_pieces *pieces) {
    if (unknown < 0)
        return qn_fail(QN_ERROR_FORMAT, "a word has no token, and the vocabulary has no token for unknown words");
    return put_piece(pieces, unknown, 0, size);
}

static qn_status encode_wordpiece(const qn_wordpiece *model, qn_model_room *room, const char *word, size_t size,
                                  qn_pieces *pieces) {
    size_t characters = 0;
    for (size_t i = 0; i < size; i++) characters += ((uint8_t)word[i] & 0xC0) != 0x80;
    if (characters > model->max_characters) return put_unknown(model->unknown, size, pieces);
    QN_TRY(qn_grow((void **)&room->wordpiece, &room->wordpiece_capacity, size, sizeof *room->wordpiece));
    size_t count = qn_wordpiece_match(model, NULL, word, size, room->wordpiece), begin = 0;
    if (count == 0) return put_unknown(model->unknown, size, pieces);
    for (size_t i = 0; i < count; i++) {
        QN_TRY(put_piece(pieces, room->wordpiece[i].id, begin, room->wordpiece[i].end));
        begin = room->wordpiece[i].end;
    }
    return QN_OK;
}

static qn_status encode_new(const qn_word_model *model, qn_model_room *room, const char *word, size_t size, bool bytes,
                            qn_pieces *pieces) {
    switch (model->kind) {
    case QN_MODEL_BPE:
        return qn_bpe_encode(&model->bpe, &room->bpe, word, size, bytes, pieces);
    case QN_MODEL_UNIGRAM:
        return qn_unigram_encode(&model->unigram, &room->unigram, word, size, pieces);
    case QN_MODEL_WORDPIECE:
        return encode_wordpiece(model->wordpiece, room, word, size, pieces);
    case QN_MODEL_WORDLEVEL:
        break;
    }
    int32_t id = qn_vocabulary_id(model->vocabulary, word, size);
    return id >= 0 ? put_piece(pieces, id, 0, size) : put_unknown(model->unknown, size, pieces);
}

typedef struct {
    uint64_t key[QN_MODEL_CACHE_KEY];
    size_t slot;
    uint16_t tag;
} cache_key;

static inline cache_key find_slot(const char *word, size_t size) {
    cache_key c = {.key = {0}};
    memcpy(c.key, word, size);
    const uint64_t *key = c.key;
    uint64_t hash = (key[0] ^ (key[1] << 29 | key[1] >> 35) ^ (key[2] << 43 | key[2] >> 21)) * 0x9E3779B97F4A7C15u;
    hash = (hash ^ hash >> 29) * 0xBF58476D1CE4E5B9u;
    c.slot = hash >> 40 & (QN_MODEL_CACHE_WORDS - 1);
    c.tag = (uint16_t)(hash >> 24 | 1);
    return c;
}

// NULL where the word is not there.
static inline const qn_model_cached *recall(const qn_model_cache *cache, const cache_key *c, size_t size) {
    if (cache->tags[c->slot].kept != c->tag) return NULL;
    const qn_model_cached *word = &cache->words[c->slot];
    bool same = word->size == size && memcmp(word->key, c->key, sizeof c->key) == 0;
    return same ? word : NULL;
}

static void remember(qn_model_cache *cache, const cache_key *c, size_t size, const qn_span_piece *pieces,
                     size_t count) {
    qn_model_tag *tag = &cache->tags[c->slot];
    if (tag->kept != 0 && tag->seen != c->tag) {
        tag->seen = c->tag;
        return;
    }
    if (count > QN_MODEL_CACHE_PIECES) return;
    for (size_t i = 0; i < count; i++)
        if (pieces[i].start != (i > 0 ? pieces[i - 1].end : 0)) return; // bytes of one character
    *tag = (qn_model_tag){.kept = c->tag};
    qn_model_cached *word = &cache->words[c->slot];
    memcpy(word->key, c->key, sizeof c->key);
    word->count = (uint8_t)count;
    word->size = (uint8_t)size;
    for (size_t i = 0; i < count; i++) {
        word->ids[i] = pieces[i].id;
        word->ends[i] = (uint8_t)pieces[i].end;
    }
}

// Adds the pieces of a word that begins at byte `begin` of a larger one.
static qn_status encode_cached(const qn_word_model *model, qn_model_room *room, const char *word, size_t size,
                               bool bytes, uint32_t begin, qn_pieces *pieces) {
    cache_key key;
    if (size <= KEY_BYTES) {
        key = find_slot(word, size);
        const qn_model_cached *known = recall(room->cache, &key, size);
        if (known) {
            QN_TRY(qn_pieces_reserve(pieces, known->count));
            uint32_t last = begin;
            for (size_t i = 0; i < known->count; i++) {
                uint32_t end = begin + known->ends[i];
                pieces->pieces[pieces->count++] = (qn_span_piece){known->ids[i], last, end};
                last = end;
            }
            return QN_OK;
        }
    }
    size_t first = pieces->count;
    QN_TRY(qn_pieces_reserve(pieces, 1)); // a word may have no pieces
    QN_TRY(encode_new(model, room, word, size, bytes, pieces));
    qn_span_piece *found = pieces->pieces + first;
    size_t count = pieces->count - first;
    if (size <= KEY_BYTES) remember(room->cache, &key, size, found, count);
    for (size_t i = 0; i < count && begin > 0; i++) {
        found[i].start += begin;
        found[i].end += begin;
    }
    return QN_OK;
}

qn_status qn_word_model_encode(const qn_word_model *model, qn_model_room *room, const char *word, size_t size,
                               bool bytes, qn_pieces *pieces) {
    pieces->count = 0;
    if (!room->cache || room->serial != model->serial) {
        free(room->cache);
        room->cache = qn_calloc(1, sizeof *room->cache);
        if (!room->cache) return QN_ERROR_MEMORY;
        room->serial = model->serial;
    }
    size_t begin = 0;
    // No merge of such a model reaches over a sign that follows something else, so that the word can be cut there.
    for (size_t i = 1; model->kind == QN_MODEL_BPE && !bytes && model->bpe.splits && i + 3 <= size; i++) {
        const char *found = memchr(word + i, sign[0], size - i - 2);
        if (!found) break;
        i = (size_t)(found - word);
        if (memcmp(word + i, sign, 3) != 0 || (i >= 3 && memcmp(word + i - 3, sign, 3) == 0)) continue;
        QN_TRY(encode_cached(model, room, word + begin, i - begin, false, (uint32_t)begin, pieces));
        begin = i;
    }
    return encode_cached(model, room, word + begin, size - begin, bytes, (uint32_t)begin, pieces);
}
