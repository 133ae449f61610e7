// Metrics of generated text against references: BLEU (Papineni et al. 2002) and chrF (Popovic 2015), equal to those of
// sacrebleu with its defaults (BLEU: words as mteval-v13a splits them, case kept, "exp" smoothing; chrF: characters
// without white space, orders 1 to 6, beta 2).
#pragma once
#include "base/status.h"

enum { QN_BLEU_ORDERS = 4, QN_CHRF_ORDERS = 6 };

// Sums over segments, from which the scores of a corpus follow. Start with zeros.
typedef struct {
    size_t segments;
    int64_t matches[QN_BLEU_ORDERS], totals[QN_BLEU_ORDERS]; // n-grams of words: clipped matches, and all of the output
    int64_t output_words, reference_words;                   // of the reference of the closest length
    int64_t output_characters[QN_CHRF_ORDERS], reference_characters[QN_CHRF_ORDERS], character_matches[QN_CHRF_ORDERS];
} qn_translation;

// Adds a segment: an output and one reference or several (count > 0), UTF-8.
qn_status qn_translation_add(qn_translation *sums, const char *output, size_t size, const char *const *references,
                             const size_t *sizes, size_t count);

typedef struct {
    double bleu;                       // 0 to 100
    double precisions[QN_BLEU_ORDERS]; // smoothed, 0 to 100
    double brevity;                    // penalty, 0 to 1
    double length_ratio;               // words of the outputs / words of the references
    double chrf;                       // 0 to 100
} qn_translation_scores;
qn_translation_scores qn_translation_measure(const qn_translation *sums);
