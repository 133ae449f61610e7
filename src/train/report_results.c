// The sections about what the model does on the evaluation data: confusion matrix, classes, calibration, scatter, worst
// errors.
#include "base/memory.h"
#include "train/plot.h"
#include "train/progress.h"
#include "train/report_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool qn_report_has_results(const qn_report *report) {
    return (report->classification && report->classification->n) || (report->multilabel && report->multilabel->n) ||
           (report->regression && report->regression->n) || (report->tagging && report->tagging->words) ||
           report->n_metrics;
}

static const char *label_of(const qn_report *report, int32_t k) {
    return report->labels && report->labels[k] ? report->labels[k] : "?";
}

// The bar beside a number, as a share of its cell's free width.
static void put_bar(double share, qn_buffer *out) {
    qn_buffer_text(out, "<i style=\"--v:");
    qn_buffer_json_number(out, fmin(fmax(share, 0), 1), 3);
    qn_buffer_text(out, "\"></i>");
}

// ---- all metrics --------------------------------------------------------------------------------

static void put_scalars(const qn_report *report, qn_buffer *out) {
    qn_metric metrics[QN_METRICS_MAX];
    size_t n = report->classification ? qn_classification_scalars(report->classification, metrics)
               : report->multilabel   ? qn_multilabel_scalars(report->multilabel, metrics)
               : report->tagging      ? qn_tagging_scalars(report->tagging, metrics)
               : report->regression   ? qn_regression_scalars(report->regression, metrics)
                                      : 0;
    if (n == 0)
        for (; n < report->n_metrics; n++) metrics[n] = report->metrics[n];
    qn_buffer_text(out, "<dl class=\"metrics\">");
    for (size_t i = 0; i < n; i++) {
        if (report->classification && strcmp(metrics[i].name, "micro_f1") == 0) continue; // equals accuracy
        if (!isfinite(metrics[i].value)) continue;
        qn_buffer_text(out, "<div><dt>");
        qn_report_metric_name(metrics[i].name, out);
        qn_buffer_text(out, "</dt><dd>");
        qn_report_metric_value(metrics[i].name, metrics[i].value, out);
        qn_buffer_text(out, "</dd></div>");
    }
    qn_buffer_text(out, "</dl>\n");
}

// ---- confusion ----------------------------------------------------------------------------------

static void put_heat_map(const qn_report *report, qn_buffer *out) {
    const qn_classification *m = report->classification;
    qn_heat_cell *cells = qn_malloc(m->n_cells + 1, sizeof *cells);
    const char **labels = qn_malloc((size_t)m->classes, sizeof *labels);
    if (cells && labels) {
        for (size_t i = 0; i < m->n_cells; i++)
            cells[i] = (qn_heat_cell){m->cells[i].gold, m->cells[i].predicted, m->cells[i].count};
        for (int32_t k = 0; k < m->classes; k++) labels[k] = label_of(report, k);
        qn_plot_heat_map(&(qn_heat_map){"Confusion matrix", "gold", "predicted", "ink: share of the row", labels,
                                        m->classes, cells, m->n_cells},
                         out);
    } else {
        out->failed = true;
    }
    free(cells);
    free(labels);
}

static void put_top_confusions(const qn_report *report, size_t limit, qn_buffer *out) {
    qn_confusion top[QN_TOP_CONFUSIONS];
    size_t n = qn_classification_confusions(report->classification, top, limit);
    if (n == 0) return;
    qn_buffer_text(
        out, "<div class=\"side\"><h3>Most frequent confusions</h3>\n<table class=\"list\"><thead><tr><th>Gold</th>"
             "<th>taken for</th><th class=\"right\">count</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < n; i++) {
        qn_buffer_text(out, "<tr><td>");
        qn_report_text(label_of(report, top[i].gold), out);
        qn_buffer_text(out, "</td><td>");
        qn_report_text(label_of(report, top[i].predicted), out);
        qn_buffer_text(out, "</td><td class=\"bar\">");
        put_bar((double)top[i].count / (double)top[0].count, out);
        qn_format_count(top[i].count, out);
        qn_buffer_text(out, "</td></tr>\n");
    }
    qn_buffer_text(out, "</tbody></table></div>\n");
}

static void put_confusion(const qn_report *report, qn_buffer *out) {
    int32_t classes = report->classification->classes;
    bool map = classes >= 2 && classes <= QN_CONFUSION_CLASSES;
    qn_buffer_printf(out, "<div class=\"beside%s\">\n", classes > 30 ? " stacked" : "");
    if (map) put_heat_map(report, out);
    put_top_confusions(report, !map ? 40 : classes <= 3 ? 6 : classes <= 12 ? 10 : 22, out);
    qn_buffer_text(out, "</div>\n");
}

// ---- classes ------------------------------------------------------------------------------------

static void put_score_cell(double value, bool bar, qn_buffer *out) {
    // Sorting reads data-v; an undefined value goes below all others.
    qn_buffer_text(out, bar ? "<td class=\"bar\" data-v=\"" : "<td data-v=\"");
    qn_buffer_json_number(out, isfinite(value) ? value : -1, 6);
    qn_buffer_text(out, "\">");
    if (bar && isfinite(value)) put_bar(value, out);
    if (isfinite(value))
        qn_report_metric_short("f1", value, out);
    else
        qn_buffer_text(out, "<span title=\"undefined: nothing to divide by\">\u2013</span>");
    qn_buffer_text(out, "</td>");
}

static void put_count_cell(int64_t value, qn_buffer *out) {
    qn_buffer_printf(out, "<td data-v=\"%lld\">", (long long)value);
    qn_format_count(value, out);
    qn_buffer_text(out, "</td>");
}

// `what` the rows are: "class", "label", "type".
static void put_classes(const qn_report *report, const qn_class_score *scores, int32_t n, const char *what,
                        qn_buffer *out) {
    bool multilabel = report->multilabel != NULL;
    qn_buffer_printf(out,
                     "<h3>By %s<small>click a heading to sort</small></h3>\n<div class=\"scroll%s\"><table "
                     "class=\"numbers sortable\">"
                     "<thead><tr><th class=\"left\">%s</th><th>%s</th><th>Predicted</th><th>Precision</th>"
                     "<th>Recall</th><th>F1</th>%s</tr></thead><tbody>\n",
                     what, n > 40 ? " tall" : "", report->tagging ? "Type" : "Label",
                     report->tagging ? "Entities" : "Examples", multilabel ? "<th>Average precision</th>" : "");
    for (int32_t k = 0; k < n; k++) {
        qn_buffer_text(out, "<tr><td class=\"left\">");
        qn_report_text(label_of(report, k), out);
        qn_buffer_text(out, "</td>");
        put_count_cell(scores[k].support, out);
        put_count_cell(scores[k].predicted, out);
        put_score_cell(scores[k].precision, false, out);
        put_score_cell(scores[k].recall, false, out);
        put_score_cell(scores[k].f1, true, out);
        if (multilabel) put_score_cell(scores[k].average_precision, false, out);
        qn_buffer_text(out, "</tr>\n");
    }
    qn_buffer_text(out, "</tbody></table></div>\n");
}

// ---- calibration --------------------------------------------------------------------------------

static void put_calibration(const qn_report *report, qn_buffer *out) {
    const qn_classification *m = report->classification;
    double x[QN_CALIBRATION_BINS], y[QN_CALIBRATION_BINS], size[QN_CALIBRATION_BINS], right[QN_CALIBRATION_BINS],
        wrong[QN_CALIBRATION_BINS];
    const char *text[QN_CALIBRATION_BINS];
    qn_buffer tips[QN_CALIBRATION_BINS] = {{0}}, note = {0};
    for (size_t b = 0; b < QN_CALIBRATION_BINS; b++) {
        const qn_calibration_bin *bin = &m->bins[b];
        double count = (double)bin->count;
        right[b] = (double)bin->correct;
        wrong[b] = count - right[b];
        size[b] = count;
        x[b] = count > 0 ? bin->confidence / count : NAN;
        y[b] = count > 0 ? right[b] / count : NAN;
        qn_format_count(bin->count, &tips[b]);
        qn_buffer_text(&tips[b], " examples\nmean score ");
        qn_plot_number(x[b], 3, &tips[b]);
        qn_buffer_text(&tips[b], "\naccuracy ");
        qn_plot_number(y[b], 3, &tips[b]);
        text[b] = tips[b].data;
    }
    qn_buffer_text(&note, "expected calibration error ");
    qn_report_metric_value("ece", m->ece, &note);
    qn_buffer_text(out, "<h3>How far the scores can be trusted</h3>\n<div class=\"grid\">\n");
    qn_plot_scatter(&(qn_scatter_plot){.title = "Calibration",
                                       .x_label = "score of the predicted class",
                                       .y_label = "accuracy",
                                       .note = note.data,
                                       .x = x,
                                       .y = y,
                                       .size = size,
                                       .text = text,
                                       .n = QN_CALIBRATION_BINS,
                                       .diagonal = true,
                                       .connect = true,
                                       .unit = true},
                    out);
    qn_plot_bars(&(qn_bar_plot){"Scores", "score of the predicted class", NULL, 0, 1, "right", "wrong", right, wrong,
                                QN_CALIBRATION_BINS},
                 out);
    qn_buffer_text(out, "</div>\n");
    for (size_t b = 0; b < QN_CALIBRATION_BINS; b++) {
        if (tips[b].failed) out->failed = true;
        qn_buffer_free(&tips[b]);
    }
    qn_buffer_free(&note);
}

// ---- regression ---------------------------------------------------------------------------------

#define ERROR_BINS 24

// The histogram of prediction minus gold, symmetric about 0.
static void put_error_histogram(const double *gold, const double *predicted, size_t n, qn_buffer *out) {
    double counts[ERROR_BINS] = {0}, widest = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs(predicted[i] - gold[i]);
        if (isfinite(error)) widest = fmax(widest, error);
    }
    if (widest == 0) widest = 1;
    for (size_t i = 0; i < n; i++) {
        double at = (predicted[i] - gold[i] + widest) / (2 * widest) * ERROR_BINS;
        if (isfinite(at)) counts[at < 0 ? 0 : at >= ERROR_BINS ? ERROR_BINS - 1 : (int)at]++;
    }
    qn_plot_bars(&(qn_bar_plot){"Errors", "predicted \u2212 gold", NULL, -widest, widest, "examples", NULL, counts,
                                NULL, ERROR_BINS},
                 out);
}

static void put_regression(const qn_report *report, qn_buffer *out) {
    size_t n = report->n_points;
    double *x = n ? qn_malloc(2 * n, sizeof *x) : NULL, *y = x ? x + n : NULL;
    if (n && !x) out->failed = true;
    if (!x) return;
    for (size_t i = 0; i < n; i++) {
        x[i] = report->gold[i];
        y[i] = report->predicted[i];
    }
    qn_buffer_text(out, "<div class=\"grid\">\n");
    qn_plot_scatter(&(qn_scatter_plot){.title = "Predicted and gold values",
                                       .x_label = "gold",
                                       .y_label = "predicted",
                                       .x = x,
                                       .y = y,
                                       .n = n,
                                       .diagonal = true},
                    out);
    put_error_histogram(x, y, n, out);
    qn_buffer_text(out, "</div>\n");
    free(x);
}

void qn_report_results(const qn_report *report, qn_buffer *out) {
    if (!qn_report_has_results(report)) return;
    qn_report_section("results", "Results", report->eval_name ? report->eval_name : "validation", out);
    put_scalars(report, out);
    const qn_classification *m = report->classification;
    if (m) {
        put_confusion(report, out);
        put_classes(report, m->per_class, m->classes, "class", out);
        if (m->has_probability) put_calibration(report, out);
    } else if (report->multilabel) {
        put_classes(report, report->multilabel->per_label, report->multilabel->labels, "label", out);
    } else if (report->tagging) {
        put_classes(report, report->tagging->per_type, (int32_t)report->tagging->types, "type", out);
    } else if (report->regression) {
        put_regression(report, out);
    }
    qn_buffer_text(out, "</section>\n");
}

// ---- worst errors -------------------------------------------------------------------------------

// Long texts are folded by the style; this bound keeps the page small when a text is a whole book.
#define TEXT_BYTES 2000

static void put_text(const char *text, qn_buffer *out) {
    size_t size = strlen(text), shown = size < TEXT_BYTES ? size : TEXT_BYTES;
    // Not in the middle of a character.
    while (shown < size && shown > 0 && ((unsigned char)text[shown] & 0xC0) == 0x80) shown--;
    qn_buffer_html(out, text, shown);
    if (shown < size) qn_buffer_text(out, "\u2026");
}

// What a mistake is by: names of classes, numbers, or texts that were written.
typedef enum { BY_LABELS, BY_VALUES, BY_TEXTS } error_form;

static void put_paragraph(const char *text, qn_buffer *out) {
    qn_buffer_text(out, "<p>");
    if (text) put_text(text, out);
    qn_buffer_text(out, "</p>");
}

static void put_names(const qn_mistake *e, qn_buffer *out) {
    qn_buffer_text(out, "<span class=\"chip gold\">");
    qn_report_text(e->gold, out);
    qn_buffer_text(out, "</span>");
    if (isfinite(e->gold_score)) {
        qn_buffer_text(out, "<small>");
        qn_report_metric_short("f1", e->gold_score, out);
        qn_buffer_text(out, "</small>");
    }
    qn_buffer_text(out, "</td><td><span class=\"chip bad\">");
    qn_report_text(e->predicted, out);
    qn_buffer_text(out, "</span></td>");
    put_score_cell(e->score, true, out);
}

static void put_error(const qn_mistake *e, error_form form, qn_buffer *out) {
    qn_buffer_text(out, "<tr><td class=\"text\">");
    put_paragraph(e->text, out);
    if (e->text_pair) put_paragraph(e->text_pair, out);
    if (form == BY_TEXTS) {
        qn_buffer_text(out, "</td><td class=\"text\">");
        put_paragraph(e->gold, out);
        qn_buffer_text(out, "</td><td class=\"text\">");
        put_paragraph(e->predicted, out);
        qn_buffer_text(out, "</td><td class=\"right\">");
        qn_plot_number(e->score, 3, out);
        qn_buffer_text(out, "</td>");
    } else if (form == BY_LABELS) {
        qn_buffer_text(out, "</td><td>");
        put_names(e, out);
    } else {
        qn_buffer_text(out, "</td><td>");
        qn_plot_number(e->gold_score, 4, out);
        qn_buffer_text(out, "</td><td>");
        qn_plot_number(e->score, 4, out);
        qn_buffer_text(out, "</td><td>");
        qn_plot_number(e->score - e->gold_score, 3, out);
        qn_buffer_text(out, "</td>");
    }
    qn_buffer_text(out, "</tr>\n");
}

void qn_report_errors(const qn_report *report, qn_buffer *out) {
    static const struct {
        const char *title, *class, *gold, *predicted, *score;
    } forms[] = {[BY_LABELS] = {"Most confident errors", "", "Gold", "Predicted", "Score"},
                 [BY_VALUES] = {"Largest errors", " values", "Gold", "Predicted", "Difference"},
                 [BY_TEXTS] = {"Least alike", "", "Expected", "Written", "Alike"}};
    if (report->n_errors == 0) return;
    bool labels = !report->regression && !report->errors_by_value;
    error_form form = labels ? BY_LABELS : report->errors[0].gold ? BY_TEXTS : BY_VALUES;
    qn_report_section("errors", forms[form].title, NULL, out);
    qn_buffer_printf(out,
                     "<div class=\"scroll\"><table class=\"errors%s\"><thead><tr><th>Text</th><th>%s</th><th>%s</th>"
                     "<th class=\"right\">%s</th></tr></thead><tbody>\n",
                     forms[form].class, forms[form].gold, forms[form].predicted, forms[form].score);
    for (size_t i = 0; i < report->n_errors; i++) put_error(&report->errors[i], form, out);
    qn_buffer_text(out, "</tbody></table></div>\n</section>\n");
}
