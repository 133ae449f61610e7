// The best answers among the windows of a text.
#pragma once
#include "infer/model.h"

// An answer: bytes of the context.
typedef struct {
    int32_t start, end;
    double logit, probability; // start's and end's logit together; among the best answers
    bool none;                 // that there is no answer
} qn_answer_guess;

typedef struct {
    const float *logits;          // [tokens, 2]
    const int32_t *starts, *ends; // [tokens] bytes of the context; -1 for other tokens
    size_t tokens;
} qn_answer_window;

typedef struct {
    size_t best, longest; // guesses that are kept, and tokens of an answer: 20 and 30
    bool allow_none;
} qn_answer_limits;

// As run_qa.py of transformers: the pairs of the best starts and ends, the likeliest first; with allow_none "none" is
// one of them, by the window where it is least likely. guesses [best + 1]; returns how many. *none_logit: of "none".
size_t qn_answer_guesses(const qn_answer_window *windows, size_t count, const qn_answer_limits *limits,
                         qn_answer_guess *guesses, double *none_logit);
