// Metrics of classification, multi-label classification and regression. All sums are taken in double precision.
#include "metrics/metrics.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Enough digits for any later use, few enough that 0.1 is written as 0.1.
#define JSON_DIGITS 12

bool qn_metric_better(const qn_metric *candidate, double best) {
    if (isnan(candidate->value)) return false;
    if (isnan(best)) return true;
    return candidate->lower_is_better ? candidate->value < best : candidate->value > best;
}

const qn_metric *qn_metric_find(const qn_metric *metrics, size_t n, const char *name) {
    if (strncmp(name, "eval_", 5) == 0) name += 5;
    for (size_t i = 0; i < n; i++)
        if (strcmp(metrics[i].name, name) == 0) return &metrics[i];
    return NULL;
}

static double ratio(double numerator, double denominator) {
    return denominator > 0 ? numerator / denominator : NAN;
}

static double or_zero(double value) {
    return isnan(value) ? 0 : value;
}

// Precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN).
static void score_class(qn_class_score *score) {
    double correct = (double)score->correct;
    score->precision = ratio(correct, (double)score->predicted);
    score->recall = ratio(correct, (double)score->support);
    score->f1 = ratio(2 * correct, (double)(score->predicted + score->support));
}

// ---- one label per example ----------------------------------------------------------------------

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Collects the non-zero cells of the confusion matrix by sorting, so that many classes cost no K x K memory.
static qn_status count_cells(const qn_classification_input *in, qn_classification *out) {
    if (in->n == 0) return QN_OK;
    uint64_t *keys = qn_malloc(in->n, sizeof *keys);
    if (!keys) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < in->n; i++) keys[i] = (uint64_t)in->gold[i] << 32 | (uint32_t)in->predicted[i];
    qsort(keys, in->n, sizeof *keys, compare_u64);
    size_t cells = 1;
    for (size_t i = 1; i < in->n; i++) cells += keys[i] != keys[i - 1];
    out->cells = qn_calloc(cells, sizeof *out->cells);
    if (out->cells) {
        for (size_t i = 0; i < in->n; i++) {
            if (i == 0 || keys[i] != keys[i - 1])
                out->cells[out->n_cells++] = (qn_confusion){(int32_t)(keys[i] >> 32), (int32_t)(uint32_t)keys[i], 0};
            out->cells[out->n_cells - 1].count++;
        }
    }
    free(keys);
    return out->cells ? QN_OK : QN_ERROR_MEMORY;
}

// The K-class Matthews correlation coefficient of J. Gorodkin, "Comparing two K-category assignments by a K-category
// correlation coefficient", Computational Biology and Chemistry 28 (2004) 367-374. With n examples, c right ones, t_k
// gold and p_k predicted examples of class k:
//     MCC = (c n - sum_k p_k t_k) / sqrt((n^2 - sum_k p_k^2) (n^2 - sum_k t_k^2))
static double gorodkin_mcc(const qn_classification *m) {
    double n = (double)m->n, correct = 0, pt = 0, pp = 0, tt = 0;
    for (int32_t k = 0; k < m->classes; k++) {
        double p = (double)m->per_class[k].predicted, t = (double)m->per_class[k].support;
        correct += (double)m->per_class[k].correct;
        pt += p * t;
        pp += p * p;
        tt += t * t;
    }
    double denominator = sqrt(n * n - pp) * sqrt(n * n - tt);
    return denominator > 0 ? (correct * n - pt) / denominator : 0;
}

// Log loss, and the calibration bins behind the expected calibration error of C. Guo, G. Pleiss, Y. Sun, K. Weinberger,
// "On Calibration of Modern Neural Networks", ICML 2017:  ECE = sum_b (n_b / n) |accuracy_b - confidence_b|.
static void measure_probability(const qn_classification_input *in, qn_classification *out) {
    const double epsilon = 0x1p-52;
    double loss = 0, confidence = 0;
    bool defined = true;
    for (size_t i = 0; i < in->n; i++) {
        const float *row = in->probability + i * (size_t)in->classes;
        double gold = row[in->gold[i]], top = row[in->predicted[i]];
        if (isnan(gold) || isnan(top)) {
            defined = false;
            continue;
        }
        loss -= log(fmin(fmax(gold, epsilon), 1 - epsilon));
        top = fmin(fmax(top, 0), 1);
        confidence += top;
        int bin = (int)ceil(top * QN_CALIBRATION_BINS) - 1;
        qn_calibration_bin *b = &out->bins[bin < 0 ? 0 : bin];
        b->count++;
        b->correct += in->gold[i] == in->predicted[i];
        b->confidence += top;
    }
    if (!defined || in->n == 0) return;
    out->log_loss = loss / (double)in->n;
    out->mean_confidence = confidence / (double)in->n;
    double error = 0;
    for (int b = 0; b < QN_CALIBRATION_BINS; b++) error += fabs((double)out->bins[b].correct - out->bins[b].confidence);
    out->ece = error / (double)in->n;
}

static void average_classes(qn_classification *m) {
    double precision = 0, recall = 0, f1 = 0, weighted = 0;
    int64_t correct = 0, present = 0;
    for (int32_t k = 0; k < m->classes; k++) {
        qn_class_score *score = &m->per_class[k];
        score_class(score);
        score->average_precision = NAN;
        correct += score->correct;
        if (score->support + score->predicted == 0) continue;
        present++;
        precision += or_zero(score->precision);
        recall += or_zero(score->recall);
        f1 += score->f1;
        weighted += score->f1 * (double)score->support;
    }
    m->accuracy = m->micro_f1 = ratio((double)correct, (double)m->n);
    m->macro_precision = ratio(precision, (double)present);
    m->macro_recall = ratio(recall, (double)present);
    m->macro_f1 = ratio(f1, (double)present);
    m->weighted_f1 = ratio(weighted, (double)m->n);
    m->mcc = m->n ? gorodkin_mcc(m) : NAN;
}

qn_status qn_classification_measure(const qn_classification_input *in, qn_classification *out) {
    *out = (qn_classification){.n = in->n, .classes = in->classes, .has_probability = in->probability != NULL};
    out->log_loss = out->ece = out->mean_confidence = NAN;
    if (in->classes < 1)
        return qn_fail(QN_ERROR_ARGUMENT, "metrics: %d classes (expected at least 1)", (int)in->classes);
    for (size_t i = 0; i < in->n; i++) {
        int32_t gold = in->gold[i], predicted = in->predicted[i];
        if (gold < 0 || gold >= in->classes || predicted < 0 || predicted >= in->classes)
            return qn_fail(QN_ERROR_ARGUMENT, "metrics: example %zu has gold class %d, predicted %d (expected 0 to %d)",
                           i, (int)gold, (int)predicted, (int)in->classes - 1);
    }
    out->per_class = qn_calloc((size_t)in->classes, sizeof *out->per_class);
    if (!out->per_class || count_cells(in, out) != QN_OK) {
        qn_classification_free(out);
        return QN_ERROR_MEMORY;
    }
    for (size_t i = 0; i < out->n_cells; i++) {
        const qn_confusion *cell = &out->cells[i];
        out->per_class[cell->gold].support += cell->count;
        out->per_class[cell->predicted].predicted += cell->count;
        if (cell->gold == cell->predicted) out->per_class[cell->gold].correct = cell->count;
    }
    average_classes(out);
    if (in->probability) measure_probability(in, out);
    return QN_OK;
}

void qn_classification_free(qn_classification *metrics) {
    free(metrics->per_class);
    free(metrics->cells);
    metrics->per_class = NULL;
    metrics->cells = NULL;
    metrics->n_cells = 0;
}

size_t qn_classification_scalars(const qn_classification *m, qn_metric out[QN_METRICS_MAX]) {
    size_t n = 0;
    out[n++] = (qn_metric){"accuracy", m->accuracy, false};
    out[n++] = (qn_metric){"macro_f1", m->macro_f1, false};
    out[n++] = (qn_metric){"weighted_f1", m->weighted_f1, false};
    out[n++] = (qn_metric){"micro_f1", m->micro_f1, false};
    out[n++] = (qn_metric){"mcc", m->mcc, false};
    out[n++] = (qn_metric){"macro_precision", m->macro_precision, false};
    out[n++] = (qn_metric){"macro_recall", m->macro_recall, false};
    out[n++] = (qn_metric){"log_loss", m->log_loss, true};
    out[n++] = (qn_metric){"ece", m->ece, true};
    return n;
}

static bool more_confused(const qn_confusion *a, const qn_confusion *b) {
    if (a->count != b->count) return a->count > b->count;
    return a->gold != b->gold ? a->gold < b->gold : a->predicted < b->predicted;
}

// Insertion into a short sorted list: the lists shown are of fifty entries at most.
size_t qn_classification_confusions(const qn_classification *metrics, qn_confusion *out, size_t limit) {
    size_t n = 0;
    for (size_t i = 0; i < metrics->n_cells; i++) {
        const qn_confusion *cell = &metrics->cells[i];
        if (cell->gold == cell->predicted) continue;
        if (n == limit && (n == 0 || !more_confused(cell, &out[n - 1]))) continue;
        size_t at = n < limit ? n++ : n - 1;
        for (; at > 0 && more_confused(cell, &out[at - 1]); at--) out[at] = out[at - 1];
        out[at] = *cell;
    }
    return n;
}

// ---- JSON ---------------------------------------------------------------------------------------

static void json_scalars(const qn_metric *metrics, size_t n, qn_buffer *out) {
    for (size_t i = 0; i < n; i++) {
        qn_buffer_printf(out, ", \"%s\": ", metrics[i].name);
        qn_buffer_json_number(out, metrics[i].value, JSON_DIGITS);
    }
}

static void json_label(const char *const *labels, int32_t k, qn_buffer *out) {
    if (labels)
        qn_buffer_json_string(out, labels[k], strlen(labels[k]));
    else
        qn_buffer_printf(out, "\"%d\"", (int)k);
}

static void json_scores(const char *key, const qn_class_score *scores, int32_t n, const char *const *labels,
                        qn_buffer *out) {
    qn_buffer_printf(out, ", \"%s\": [", key);
    for (int32_t k = 0; k < n; k++) {
        qn_buffer_text(out, k ? ", {\"label\": " : "{\"label\": ");
        json_label(labels, k, out);
        const qn_metric values[] = {{"precision", scores[k].precision, false},
                                    {"recall", scores[k].recall, false},
                                    {"f1", scores[k].f1, false},
                                    {"average_precision", scores[k].average_precision, false}};
        json_scalars(values, strcmp(key, "per_label") == 0 ? 4 : 3, out);
        qn_buffer_printf(out, ", \"support\": %lld, \"predicted\": %lld}", (long long)scores[k].support,
                         (long long)scores[k].predicted);
    }
    qn_buffer_char(out, ']');
}

static void json_confusion(const qn_classification *m, qn_buffer *out) {
    qn_buffer_text(out, ", \"confusion\": ");
    if (m->classes > QN_CONFUSION_CLASSES) {
        qn_buffer_text(out, "null");
        return;
    }
    const qn_confusion *cell = m->cells, *end = m->cells + m->n_cells;
    for (int32_t gold = 0; gold < m->classes; gold++) {
        qn_buffer_text(out, gold ? ", [" : "[[");
        for (int32_t predicted = 0; predicted < m->classes; predicted++) {
            bool here = cell != end && cell->gold == gold && cell->predicted == predicted;
            qn_buffer_printf(out, "%s%lld", predicted ? ", " : "", here ? (long long)cell->count : 0LL);
            if (here) cell++;
        }
        qn_buffer_char(out, ']');
    }
    qn_buffer_char(out, ']');
}

void qn_classification_json(const qn_classification *metrics, const char *const *labels, qn_buffer *out) {
    qn_metric scalars[QN_METRICS_MAX];
    size_t n = qn_classification_scalars(metrics, scalars);
    qn_buffer_printf(out, "{\"task\": \"classify\", \"examples\": %zu, \"classes\": %d", metrics->n,
                     (int)metrics->classes);
    json_scalars(scalars, n, out);
    json_scores("per_class", metrics->per_class, metrics->classes, labels, out);
    json_confusion(metrics, out);
    qn_confusion top[QN_TOP_CONFUSIONS];
    size_t n_top = qn_classification_confusions(metrics, top, QN_TOP_CONFUSIONS);
    qn_buffer_text(out, ", \"top_confusions\": [");
    for (size_t i = 0; i < n_top; i++) {
        qn_buffer_text(out, i ? ", {\"gold\": " : "{\"gold\": ");
        json_label(labels, top[i].gold, out);
        qn_buffer_text(out, ", \"predicted\": ");
        json_label(labels, top[i].predicted, out);
        qn_buffer_printf(out, ", \"count\": %lld}", (long long)top[i].count);
    }
    qn_buffer_text(out, "]}");
}

// ---- any number of labels per example -----------------------------------------------------------

typedef struct {
    double value;
    size_t index;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

// Average precision, the area under the precision-recall curve as a sum of steps: AP = sum_k (R_k - R_(k-1)) P_k over
// the distinct scores from the highest down. `order` is sorted upwards; index tells the example.
static double average_precision(const ranked *order, const qn_multilabel_input *in, int32_t label, int64_t positives) {
    double area = 0, before = 0;
    int64_t right = 0;
    for (size_t i = in->n; i-- > 0;) {
        right += in->gold[order[i].index * (size_t)in->labels + (size_t)label] != 0;
        if (i > 0 && order[i - 1].value == order[i].value) continue;
        double recall = (double)right / (double)positives;
        area += (recall - before) * ((double)right / (double)(in->n - i));
        before = recall;
    }
    return area;
}

// Fills per_label[label] and adds its wrong decisions to *wrong.
static void measure_label(const qn_multilabel_input *in, int32_t label, ranked *order, qn_class_score *score,
                          int64_t *wrong) {
    bool defined = true;
    for (size_t i = 0; i < in->n; i++) {
        size_t at = i * (size_t)in->labels + (size_t)label;
        bool gold = in->gold[at] != 0, predicted = in->score[at] >= in->threshold;
        score->support += gold;
        score->predicted += predicted;
        score->correct += gold && predicted;
        *wrong += gold != predicted;
        defined = defined && !isnan(in->score[at]);
        order[i] = (ranked){in->score[at], i};
    }
    score_class(score);
    score->average_precision = NAN;
    if (score->support == 0 || !defined) return;
    qsort(order, in->n, sizeof *order, compare_ranked);
    score->average_precision = average_precision(order, in, label, score->support);
}

qn_status qn_multilabel_measure(const qn_multilabel_input *in, qn_multilabel *out) {
    *out = (qn_multilabel){.n = in->n, .labels = in->labels};
    if (in->labels < 1) return qn_fail(QN_ERROR_ARGUMENT, "metrics: %d labels (expected at least 1)", (int)in->labels);
    ranked *order = qn_malloc(in->n ? in->n : 1, sizeof *order);
    out->per_label = qn_calloc((size_t)in->labels, sizeof *out->per_label);
    if (!order || !out->per_label) {
        free(order);
        qn_multilabel_free(out);
        return QN_ERROR_MEMORY;
    }
    int64_t correct = 0, predicted = 0, support = 0, wrong = 0;
    double f1 = 0, weighted = 0, precision = 0;
    for (int32_t k = 0; k < in->labels; k++) {
        qn_class_score *score = &out->per_label[k];
        measure_label(in, k, order, score, &wrong);
        correct += score->correct;
        predicted += score->predicted;
        support += score->support;
        f1 += or_zero(score->f1);
        weighted += or_zero(score->f1) * (double)score->support;
        precision += or_zero(score->average_precision);
    }
    free(order);
    size_t exact = 0;
    for (size_t i = 0; i < in->n; i++) {
        bool all = true;
        for (size_t at = i * (size_t)in->labels; all && at < (i + 1) * (size_t)in->labels; at++)
            all = (in->gold[at] != 0) == (in->score[at] >= in->threshold);
        exact += all;
    }
    double n = (double)in->n, labels = (double)in->labels;
    out->micro_precision = ratio((double)correct, (double)predicted);
    out->micro_recall = ratio((double)correct, (double)support);
    out->micro_f1 = ratio(2 * (double)correct, (double)(predicted + support));
    out->macro_f1 = in->n ? f1 / labels : NAN;
    out->weighted_f1 = ratio(weighted, (double)support);
    out->subset_accuracy = ratio((double)exact, n);
    out->hamming_loss = ratio((double)wrong, n * labels);
    out->mean_average_precision = in->n ? precision / labels : NAN;
    return QN_OK;
}

void qn_multilabel_free(qn_multilabel *metrics) {
    free(metrics->per_label);
    metrics->per_label = NULL;
}

size_t qn_multilabel_scalars(const qn_multilabel *m, qn_metric out[QN_METRICS_MAX]) {
    size_t n = 0;
    out[n++] = (qn_metric){"micro_f1", m->micro_f1, false};
    out[n++] = (qn_metric){"macro_f1", m->macro_f1, false};
    out[n++] = (qn_metric){"weighted_f1", m->weighted_f1, false};
    out[n++] = (qn_metric){"subset_accuracy", m->subset_accuracy, false};
    out[n++] = (qn_metric){"mean_average_precision", m->mean_average_precision, false};
    out[n++] = (qn_metric){"micro_precision", m->micro_precision, false};
    out[n++] = (qn_metric){"micro_recall", m->micro_recall, false};
    out[n++] = (qn_metric){"hamming_loss", m->hamming_loss, true};
    return n;
}

void qn_multilabel_json(const qn_multilabel *metrics, const char *const *labels, qn_buffer *out) {
    qn_metric scalars[QN_METRICS_MAX];
    size_t n = qn_multilabel_scalars(metrics, scalars);
    qn_buffer_printf(out, "{\"task\": \"multilabel\", \"examples\": %zu, \"labels\": %d", metrics->n,
                     (int)metrics->labels);
    json_scalars(scalars, n, out);
    json_scores("per_label", metrics->per_label, metrics->labels, labels, out);
    qn_buffer_char(out, '}');
}

// ---- numbers ------------------------------------------------------------------------------------

// Pearson's r = sum (x - mx) (y - my) / (|x - mx| |y - my|), in two passes.
static double pearson(const double *x, const double *y, size_t n) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mx += x[i];
        my += y[i];
    }
    mx /= (double)n;
    my /= (double)n;
    bool x_constant = true, y_constant = true;
    for (size_t i = 0; i < n; i++) {
        double dx = x[i] - mx, dy = y[i] - my;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
        x_constant = x_constant && x[i] == x[0];
        y_constant = y_constant && y[i] == y[0];
    }
    // The rounded mean of equal numbers may differ from them, so that the sums alone cannot tell a constant.
    if (n < 2 || x_constant || y_constant) return NAN;
    return fmin(fmax(xy / (sqrt(xx) * sqrt(yy)), -1), 1);
}

// Ranks from 1; equal values get the mean of their ranks.
static void average_ranks(const float *values, size_t n, ranked *order, double *ranks) {
    for (size_t i = 0; i < n; i++) order[i] = (ranked){values[i], i};
    qsort(order, n, sizeof *order, compare_ranked);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && order[to].value == order[from].value;) to++;
        for (size_t i = from; i < to; i++) ranks[order[i].index] = 0.5 * (double)(from + 1 + to);
    }
}

qn_status qn_regression_measure(const float *gold, const float *predicted, size_t n, qn_regression *out) {
    *out = (qn_regression){n, NAN, NAN, NAN, NAN, NAN, NAN};
    double mean = 0, squared = 0, absolute = 0, variance = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(gold[i]) || !isfinite(predicted[i])) return QN_OK;
        double error = (double)predicted[i] - gold[i];
        squared += error * error;
        absolute += fabs(error);
        mean += gold[i];
    }
    if (n == 0) return QN_OK;
    double *x = qn_malloc(2 * n, sizeof *x), *y = x ? x + n : NULL;
    ranked *order = qn_malloc(n, sizeof *order);
    if (!x || !order) {
        free(x);
        free(order);
        return QN_ERROR_MEMORY;
    }
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) {
        x[i] = gold[i];
        y[i] = predicted[i];
        variance += (x[i] - mean) * (x[i] - mean);
    }
    out->mse = squared / (double)n;
    out->rmse = sqrt(out->mse);
    out->mae = absolute / (double)n;
    if (n >= 2) out->r2 = variance > 0 ? 1 - squared / variance : squared > 0 ? 0 : 1;
    out->pearson = pearson(x, y, n);
    average_ranks(gold, n, order, x);
    average_ranks(predicted, n, order, y);
    out->spearman = pearson(x, y, n);
    free(x);
    free(order);
    return QN_OK;
}

size_t qn_regression_scalars(const qn_regression *m, qn_metric out[QN_METRICS_MAX]) {
    size_t n = 0;
    out[n++] = (qn_metric){"pearson", m->pearson, false};
    out[n++] = (qn_metric){"spearman", m->spearman, false};
    out[n++] = (qn_metric){"mse", m->mse, true};
    out[n++] = (qn_metric){"rmse", m->rmse, true};
    out[n++] = (qn_metric){"mae", m->mae, true};
    out[n++] = (qn_metric){"r2", m->r2, false};
    return n;
}

void qn_regression_json(const qn_regression *metrics, qn_buffer *out) {
    qn_metric scalars[QN_METRICS_MAX];
    size_t n = qn_regression_scalars(metrics, scalars);
    qn_buffer_printf(out, "{\"task\": \"regress\", \"examples\": %zu", metrics->n);
    json_scalars(scalars, n, out);
    qn_buffer_char(out, '}');
}

// ---- what to look at ----------------------------------------------------------------------------

static double wrongness(const qn_classification_input *in, size_t i) {
    if (!in->probability) return 0;
    double p = in->probability[i * (size_t)in->classes + (size_t)in->predicted[i]];
    return isnan(p) ? 1 : p;
}

size_t qn_worst_classified(const qn_classification_input *in, size_t *out, size_t limit) {
    size_t n = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (in->gold[i] == in->predicted[i]) continue;
        double score = wrongness(in, i);
        if (n == limit && (n == 0 || score <= wrongness(in, out[n - 1]))) continue;
        size_t at = n < limit ? n++ : n - 1;
        for (; at > 0 && score > wrongness(in, out[at - 1]); at--) out[at] = out[at - 1];
        out[at] = i;
    }
    return n;
}

size_t qn_worst_regressed(const float *gold, const float *predicted, size_t n, size_t *out, size_t limit) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)predicted[i] - gold[i]);
        if (isnan(error)) continue;
        if (count == limit && (count == 0 || error <= fabs((double)predicted[out[count - 1]] - gold[out[count - 1]])))
            continue;
        size_t at = count < limit ? count++ : count - 1;
        for (; at > 0 && error > fabs((double)predicted[out[at - 1]] - gold[out[at - 1]]); at--) out[at] = out[at - 1];
        out[at] = i;
    }
    return count;
}
