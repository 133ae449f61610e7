// The next token from its logits: greedy, or drawn after temperature, top-k, top-p, min-p and a penalty of repetition.
#pragma once
#include "base/status.h"

// In the order of transformers' processors: penalty (Keskar et al. 2019), temperature, top-k, top-p (Holtzman et al.
// 2020), min-p (Nguyen et al. 2024). Zeros switch off each of them; a temperature of 0 is greedy.
typedef struct {
    double temperature, top_p, min_p, repetition_penalty;
    size_t top_k;
    uint64_t seed;
} qn_sampling;
qn_status qn_sampling_check(const qn_sampling *sampling);

typedef struct {
    int32_t id;
    float value; // a logit, then a probability
} qn_choice;

// Memory that is used again; start with zeros.
typedef struct {
    qn_choice *choices;
    size_t count, capacity; // those that may be drawn, the most probable first
    uint64_t *seen;         // bits of the vocabulary
    size_t seen_capacity;
} qn_choices;
void qn_choices_free(qn_choices *choices);

// The tokens that may be drawn, with their probabilities. logits [vocabulary] are changed; `text` are the tokens so
// far.
qn_status qn_choices_of(const qn_sampling *sampling, float *logits, size_t vocabulary, const int32_t *text,
                        size_t length, qn_choices *out);
// Draws the token of a step: a function of the seed, the sequence's number and the step alone.
qn_status qn_sample(const qn_sampling *sampling, float *logits, size_t vocabulary, const int32_t *text, size_t length,
                    uint64_t sequence, uint64_t step, qn_choices *memory, int32_t *token);
