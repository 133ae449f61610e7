// Metrics of classification, multi-label classification and regression, equal to those of scikit-learn and SciPy.
//
// A value that is undefined for the data (a correlation with a constant, anything of no examples) is NaN in the structs
// and null in JSON. Where scikit-learn has a convention for such a case (MCC of a constant prediction is 0, an
// undefined precision counts 0 in a macro mean), that convention is followed and said beside the field. All functions
// are pure: no globals, any thread.
#pragma once
#include "base/buffer.h"

// Classes up to which JSON and report show the whole confusion matrix; above, only the most frequent confusions are
// listed.
#define QN_CONFUSION_CLASSES 100
#define QN_TOP_CONFUSIONS 50
#define QN_CALIBRATION_BINS 15
#define QN_METRICS_MAX 16

// One scalar of a metrics struct under its stable name, as written to JSON and (after "eval_") to log.jsonl.
typedef struct {
    const char *name; // static
    double value;     // NaN: undefined
    bool lower_is_better;
} qn_metric;

// True if `candidate` is better than `best`; an undefined value is worse than any defined one.
bool qn_metric_better(const qn_metric *candidate, double best);
// The entry of that name, or NULL. The name may start with "eval_".
const qn_metric *qn_metric_find(const qn_metric *metrics, size_t n, const char *name);

// One example that a model gets wrong, for people to read. For classes gold and predicted are their names, score the
// probability of the predicted one and gold_score that of the gold one (NaN: unknown); for numbers the names are NULL
// and the scores are the values; for texts that were
// written gold is the one that was expected, and score how alike they are.
typedef struct {
    const char *text, *text_pair; // text_pair: NULL for single texts
    const char *gold, *predicted;
    double gold_score, score;
} qn_mistake;

// ---- one label per example ----------------------------------------------------------------------

typedef struct {
    size_t n;                 // examples; 0 is allowed
    int32_t classes;          // K >= 1
    const int32_t *gold;      // [n], 0 .. K-1
    const int32_t *predicted; // [n], 0 .. K-1
    const float *probability; // [n, K], rows sum to 1; NULL: no log loss and no calibration
} qn_classification_input;

typedef struct {
    double precision, recall, f1; // NaN where the denominator is 0
    double average_precision;     // multi-label only; NaN for a label without positives
    int64_t support;              // examples with this gold label
    int64_t predicted;            // examples predicted so
    int64_t correct;
} qn_class_score;

typedef struct {
    int32_t gold, predicted;
    int64_t count;
} qn_confusion; // one non-zero cell of the confusion matrix

// Examples whose predicted class has a probability in (b / BINS, (b + 1) / BINS]; 0 belongs to the first bin.
typedef struct {
    int64_t count, correct;
    double confidence; // sum of these probabilities
} qn_calibration_bin;

typedef struct {
    size_t n;
    int32_t classes;
    double accuracy;
    double macro_precision, macro_recall,
        macro_f1;       // over classes that occur in gold or predictions; undefined ones count 0
    double weighted_f1; // weighted by support
    double micro_f1;    // equals accuracy when every example has one label
    double mcc;         // 0 when gold or predictions are constant
    double log_loss;    // natural logarithm; probabilities are clipped to [2^-52, 1 - 2^-52]
    double ece;         // expected calibration error
    double mean_confidence;
    qn_class_score *per_class; // [K]
    qn_confusion *cells;       // sorted by gold, then predicted
    size_t n_cells;
    bool has_probability;
    qn_calibration_bin bins[QN_CALIBRATION_BINS];
} qn_classification;

// Fails on a label outside 0 .. K-1. `out` is to be freed with qn_classification_free, also after a failure (it is then
// empty).
qn_status qn_classification_measure(const qn_classification_input *in, qn_classification *out);
void qn_classification_free(qn_classification *metrics);
size_t qn_classification_scalars(const qn_classification *metrics, qn_metric out[QN_METRICS_MAX]);
// The `limit` most frequent off-diagonal cells, by count downwards, then gold, then predicted. Returns how many were
// written.
size_t qn_classification_confusions(const qn_classification *metrics, qn_confusion *out, size_t limit);

// {"task": "classify", "examples": n, "classes": K, "accuracy": ..., ..., "ece": ...,
//  "per_class": [{"label": "...", "precision": ..., "recall": ..., "f1": ..., "support": ..., "predicted": ...}, ...],
//  "confusion": [[...], ...] (rows gold, columns predicted; null above QN_CONFUSION_CLASSES),
//  "top_confusions": [{"gold": "...", "predicted": "...", "count": ...}, ...]}
// `labels` [K] or NULL: then "0", "1", ...
void qn_classification_json(const qn_classification *metrics, const char *const *labels, qn_buffer *out);

// ---- any number of labels per example -----------------------------------------------------------

typedef struct {
    size_t n;            // examples
    int32_t labels;      // L >= 1
    const uint8_t *gold; // [n, L], 0 or 1
    const float *score;  // [n, L]
    double threshold;    // a label is predicted where score >= threshold; 0.5 for probabilities
} qn_multilabel_input;

typedef struct {
    size_t n;
    int32_t labels;
    double micro_precision, micro_recall, micro_f1;
    double macro_f1, weighted_f1;  // over all labels; undefined ones count 0
    double subset_accuracy;        // every label of the example right
    double hamming_loss;           // share of wrong decisions
    double mean_average_precision; // over all labels; one without positives counts 0
    qn_class_score *per_label;     // [L]
} qn_multilabel;

qn_status qn_multilabel_measure(const qn_multilabel_input *in, qn_multilabel *out);
void qn_multilabel_free(qn_multilabel *metrics);
size_t qn_multilabel_scalars(const qn_multilabel *metrics, qn_metric out[QN_METRICS_MAX]);
// Like qn_classification_json with "task": "multilabel" and "per_label", whose entries also have "average_precision";
// no confusion.
void qn_multilabel_json(const qn_multilabel *metrics, const char *const *labels, qn_buffer *out);

// ---- numbers ------------------------------------------------------------------------------------

typedef struct {
    size_t n;
    double pearson, spearman; // NaN when a side is constant or n < 2
    double mse, rmse, mae;
    double r2; // NaN for n < 2; for constant gold 1 when all are right, else 0
} qn_regression;

// gold [n], predicted [n]. A NaN or infinity on either side leaves every metric undefined.
qn_status qn_regression_measure(const float *gold, const float *predicted, size_t n, qn_regression *out);
size_t qn_regression_scalars(const qn_regression *metrics, qn_metric out[QN_METRICS_MAX]);
// {"task": "regress", "examples": n, "pearson": ..., "spearman": ..., "mse": ..., "rmse": ..., "mae": ..., "r2": ...}
void qn_regression_json(const qn_regression *metrics, qn_buffer *out);

// ---- what to look at ----------------------------------------------------------------------------

// Indices of the examples that are wrong with the highest probability (without probabilities: the first wrong ones),
// and of the largest absolute errors; the worst first, ties by index. Returns how many of `limit` were written.
size_t qn_worst_classified(const qn_classification_input *in, size_t *out, size_t limit);
size_t qn_worst_regressed(const float *gold, const float *predicted, size_t n, size_t *out, size_t limit);
