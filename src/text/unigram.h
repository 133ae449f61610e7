// The Unigram model: of all ways to cut a word into tokens the one with the largest sum of their scores (Kudo: "Subword
// regularization", 2018), found by Viterbi's algorithm.
#pragma once
#include "text/pieces.h"
#include "text/vocabulary.h"

// A token with a score as low as this is known, but no text is cut into it: one of another language that shares the
// ids. It stands for what the own pieces do not know, as any token does that is spelled so.
#define QN_UNIGRAM_WRITTEN_ONLY (-1e30)

typedef struct {
    int32_t unknown; // -1: a character that no token begins with is an error
    bool byte_fallback;
    double *scores; // [scores_count] by id
    size_t score_count, scores_capacity;
    // Filled by qn_unigram_finish:
    const qn_vocabulary *vocabulary;
    double unknown_score;
    int32_t bytes[256]; // tokens <0x00> to <0xFF>, -1
} qn_unigram;

qn_status qn_unigram_add_score(qn_unigram *unigram, double score); // of the next id
void qn_unigram_finish(qn_unigram *unigram, const qn_vocabulary *vocabulary);
void qn_unigram_clear(qn_unigram *unigram);

// What the search needs; belongs to one thread. Start from zeros.
typedef struct {
    struct qn_unigram_node {
        double score;      // of the best way to here
        int32_t start, id; // of its last token; start -1: no way ends here
    } * nodes;
    size_t capacity;
} qn_unigram_room;

// Adds the pieces of a word of valid UTF-8.
qn_status qn_unigram_encode(const qn_unigram *unigram, qn_unigram_room *room, const char *word, size_t size,
                            qn_pieces *pieces);
