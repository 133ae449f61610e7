// Beam search over an encoder-decoder, or a decoder of texts' vectors. Each source is encoded once, and so are its keys and values in the decoder's
// layers; what beams have in common is computed and kept once; sources join as soon as there is room and leave when
// they are done.
#pragma once
#include "infer/model.h"

typedef struct {
    size_t beams, best;            // at once; how many of a source's are wanted, at most `beams`
    size_t min_tokens, max_tokens; // of a text before its end; of a text with its end
    size_t ngram;                  // no sequence of so many tokens comes twice; 0: any may
    float length_penalty;          // a score is the sum of logarithms divided by length^penalty
    qn_search_rules rules;
    qn_early_stopping stopping; // of transformers' rules
    int32_t start, first, last; // what the decoder reads first; -1 or what is written first, and last if nothing ended
    const int32_t *ends, *banned;
    size_t end_count, banned_count;
    bool renormalize; // probabilities without what is banned add up to 1
} qn_search;

typedef struct {
    size_t index, rank; // of the source; 0 is its best
    const int32_t *ids; // with the end
    size_t count;
    float score;
    bool last; // of its source
} qn_hypothesis;
typedef qn_status (*qn_hypothesis_receiver)(void *user, const qn_hypothesis *hypothesis);

// What is written from: texts that the encoder reads, or, where the model has a decoder of texts' vectors, such vectors.
typedef struct {
    const qn_sequences *texts; // or NULL, and
    const float *vectors;      // [count, width of the model's vectors]
    size_t count;
} qn_sources;

// In the order of the sources, `best` for each. The model's weights are packed.
qn_status qn_beam_search(qn_model *model, const qn_search *search, const qn_sources *sources,
                         qn_hypothesis_receiver receive, void *user);
