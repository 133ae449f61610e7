// Answers compared with the right ones, as SQuAD's script does (Rajpurkar et al. 2016, 2018).
#pragma once
#include "metrics/metrics.h"

// Without articles, punctuation and case, one space between words.
qn_status qn_answer_normalize(const char *text, size_t size, qn_buffer *out);

// Of one prediction, against the best of the right answers: equal when normalised, and the F1 of its words. `gold` are
// strings, each followed by a NUL, and one NUL more; none: the right answer is that there is none.
qn_status qn_answer_score(const char *prediction, size_t size, const char *gold, bool *exact, double *f1);

// Means over all questions, over those with an answer, and over those without (NaN where there are none).
typedef struct {
    size_t n, answerable;
    double exact, f1, has_exact, has_f1, no_exact;
} qn_answers;
void qn_answers_add(qn_answers *sums, bool answerable, bool exact, double f1); // start with zeros
qn_answers qn_answers_mean(const qn_answers *sums);
size_t qn_answers_scalars(const qn_answers *metrics, qn_metric out[QN_METRICS_MAX]);
// {"task": "answer", "questions": n, "answerable": n, "exact_match": 0..1, "f1": ..., "has_answer_exact": ...,
//  "has_answer_f1": ..., "no_answer_exact": ...}
void qn_answers_json(const qn_answers *metrics, qn_buffer *out);
