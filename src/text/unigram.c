// Unigram by Viterbi's algorithm over the trie of tokens: linear in the word, times the longest token.
#include "text/unigram.h"
#include "base/memory.h"
#include "text/form.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double unknown_penalty = 10; // below the worst token, as in SentencePiece

qn_status qn_unigram_add_score(qn_unigram *u, double score) {
    QN_TRY(qn_grow((void **)&u->scores, &u->scores_capacity, u->score_count + 1, sizeof *u->scores));
    u->scores[u->score_count++] = score;
    return QN_OK;
}

static bool is_written_only(const qn_unigram *u, int32_t id) {
    return u->scores[id] <= QN_UNIGRAM_WRITTEN_ONLY;
}

void qn_unigram_finish(qn_unigram *u, const qn_vocabulary *vocabulary) {
    double lowest = INFINITY;
    for (size_t i = 0; i < u->score_count; i++)
        if (u->scores[i] < lowest && !is_written_only(u, (int32_t)i)) lowest = u->scores[i];
    u->unknown_score = (isfinite(lowest) ? lowest : 0) - unknown_penalty;
    u->vocabulary = vocabulary;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        u->bytes[byte] = qn_vocabulary_id(vocabulary, name, 6);
    }
}

void qn_unigram_clear(qn_unigram *u) {
    free(u->scores);
    *u = (qn_unigram){.unknown = -1};
}

static inline void offer(struct qn_unigram_node *node, double score, size_t start, int32_t id) {
    if (node->start >= 0 && !(score > node->score)) return;
    *node = (struct qn_unigram_node){score, (int32_t)start, id};
}

static void search(const qn_unigram *u, struct qn_unigram_node *nodes, const char *word, size_t size) {
    const qn_trie *trie = &u->vocabulary->trie;
    for (size_t i = 0; i <= size; i++) nodes[i] = (struct qn_unigram_node){0, -1, -1};
    for (size_t start = 0; start < size;) {
        uint32_t code;
        size_t length = qn_form_next(word + start, &code);
        double here = nodes[start].score;
        bool whole_character = false;
        int32_t node = QN_TRIE_ROOT;
        for (size_t end = start; end < size;) {
            node = qn_trie_step(trie, node, (uint8_t)word[end]);
            if (node < 0) break;
            end++;
            int32_t id = trie->cells[node].value;
            if (id < 0 || is_written_only(u, id)) continue;
            offer(&nodes[end], here + u->scores[id], start, id);
            whole_character |= end - start == length;
        }
        if (!whole_character) offer(&nodes[start + length], here + u->unknown_score, start, u->unknown);
        start += length;
    }
}

// A piece of unknown characters: bytes where there are tokens for them, else the unknown token.
static qn_status put_unknown(const qn_unigram *u, const char *word, uint32_t start, uint32_t end, qn_pieces *pieces) {
    int32_t known = qn_vocabulary_id(u->vocabulary, word + start, end - start);
    bool bytes = known < 0 && u->byte_fallback;
    for (uint32_t i = start; i < end && bytes; i++) bytes = u->bytes[(uint8_t)word[i]] >= 0;
    if (!bytes) {
        if (known < 0 && u->unknown < 0)
            return qn_fail(QN_ERROR_FORMAT,
                           "a character has no token, and the vocabulary has no token for unknown ones");
        QN_TRY(qn_pieces_reserve(pieces, 1));
        pieces->pieces[pieces->count++] = (qn_span_piece){known >= 0 ? known : u->unknown, start, end};
        return QN_OK;
    }
    QN_TRY(qn_pieces_reserve(pieces, end - start));
    for (uint32_t i = start; i < end; i++)
        pieces->pieces[pieces->count++] = (qn_span_piece){u->bytes[(uint8_t)word[i]], start, end};
    return QN_OK;
}

qn_status qn_unigram_encode(const qn_unigram *u, qn_unigram_room *room, const char *word, size_t size,
                            qn_pieces *pieces) {
    if (room->capacity < size + 1)
        QN_TRY(qn_grow((void **)&room->nodes, &room->capacity, size + 1, sizeof *room->nodes));
    struct qn_unigram_node *nodes = room->nodes;
    search(u, nodes, word, size);
    // From the end back, each node's start leads to the token before.
    size_t count = 0;
    for (size_t end = size; end > 0; count++) {
        size_t start = (size_t)nodes[end].start;
        if (nodes[end].start < 0) return qn_fail(QN_ERROR_FORMAT, "a word that no tokens cover");
        end = start;
    }
    QN_TRY(qn_pieces_reserve(pieces, count));
    qn_span_piece *out = pieces->pieces + pieces->count;
    for (size_t end = size, i = count; end > 0; end = (size_t)nodes[end].start)
        out[--i] = (qn_span_piece){nodes[end].id, (uint32_t)nodes[end].start, (uint32_t)end};
    bool plain = true;
    for (size_t i = 0; i < count && plain; i++) plain = out[i].id != u->unknown;
    if (plain) {
        pieces->count += count;
        return QN_OK;
    }
    // Unknown characters that stand together are one piece.
    size_t first = pieces->count;
    qn_pieces found = {0};
    QN_TRY(qn_pieces_reserve(&found, count));
    memcpy(found.pieces, out, count * sizeof *out);
    pieces->count = first;
    qn_status status = QN_OK;
    for (size_t i = 0; i < count && status == QN_OK;) {
        qn_span_piece piece = found.pieces[i++];
        if (piece.id != u->unknown) {
            status = qn_pieces_reserve(pieces, 1);
            if (status == QN_OK) pieces->pieces[pieces->count++] = piece;
            continue;
        }
        while (u->unknown >= 0 && i < count && found.pieces[i].id == u->unknown) piece.end = found.pieces[i++].end;
        status = put_unknown(u, word, piece.start, piece.end, pieces);
    }
    free(found.pieces);
    return status;
}
