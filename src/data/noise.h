// Noise for texts that a model shall restore (Lewis et al. 2020, BART; Wang et al. 2021, TSDAE): sentences change
// places, spans become one mask each, tokens go or are masked. A batch then has two sequences for each text: what is
// left of it, and itself.
#pragma once
#include "data/batch.h"

typedef struct {
    double permute;  // share of a text's sentences that change places among themselves
    double infill;   // share of its tokens that spans cover, in the mean; each span becomes one mask
    double span;     // mean of the spans' lengths, which are Poisson's; one of length 0 puts a mask between two tokens
    double deletion; // share of the tokens that go, in the mean; one always stays
    double mask;     // share of them that become the mask
    bool words;      // all of this is done to whole words in place of tokens
    size_t max_length; // what is left has at most so many tokens; a text has no more
    uint64_t seed;
} qn_noise_options;

// Ready to work. Of one source of batches: not for several threads at once.
typedef struct {
    qn_noise_options options;
    int32_t mask_id;
    double start; // probability that a span begins at a token that none covers
    size_t vocabulary;
    uint8_t *kind;                   // [vocabulary] see noise.c
    int32_t *order;                  // [tokens of a sequence] after the sentences have changed places
    int32_t *begin, *place, *chosen; // [sentences + 1], of a sequence
    size_t order_capacity, sentence_capacity;
} qn_noise;

// An error for shares outside 0 .. 1, a mean span outside 0 .. 100, and a tokenizer without a mask token where one is
// needed.
qn_status qn_noise_init(qn_noise *noise, const qn_tokenizer *tokenizer, const qn_noise_options *options);
void qn_noise_free(qn_noise *noise);
// The shares that the user gives; false where he gives none.
bool qn_noise_options_take(qn_noise_options *options, const qn_noise_training *given);
// Clears the batch and appends, for each of the examples, its noisy form and itself. What happens to a text is a pure
// function of (seed, epoch, stream, its number).
qn_status qn_batch_fill_noisy(qn_batch *batch, qn_noise *noise, const qn_sequences *sequences, const uint32_t *examples,
                              size_t count, uint64_t epoch, uint32_t stream);
