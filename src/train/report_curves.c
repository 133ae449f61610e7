// The sections about the course of training: curves and the table of evaluations, all from the log.
#include "base/memory.h"
#include "train/plot.h"
#include "train/progress.h"
#include "train/report_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double *x, *y;
    size_t n;
} curve;

static bool take(const qn_history *history, qn_event event, const char *key, curve *out) {
    *out = (curve){0};
    if (!history || history->rows == 0) return true;
    out->x = qn_malloc(2 * history->rows, sizeof *out->x);
    if (!out->x) return false;
    out->y = out->x + history->rows;
    out->n = qn_history_series(history, event, "step", key, out->x, out->y);
    return true;
}

// An exponential mean that is unbiased from the first point on; its memory grows with the length of the run.
static bool smoothed(const curve *raw, curve *out) {
    *out = (curve){0};
    if (raw->n == 0) return true;
    out->x = qn_malloc(2 * raw->n, sizeof *out->x);
    if (!out->x) return false;
    out->y = out->x + raw->n;
    out->n = raw->n;
    double keep = 1 - 1 / fmax(4, (double)raw->n / 40), sum = 0, weight = 0;
    for (size_t i = 0; i < raw->n; i++) {
        sum = keep * sum + (1 - keep) * raw->y[i];
        weight = keep * weight + (1 - keep);
        out->x[i] = raw->x[i];
        out->y[i] = sum / weight;
    }
    return true;
}

double qn_report_last_step(const qn_history *history) {
    double last = 0;
    for (size_t row = 0; history && row < history->rows; row++) last = fmax(last, (double)history->step[row]);
    return last;
}

static void add(qn_line_plot *plot, const char *name, const curve *c, qn_plot_look look, int color) {
    if (c->n) plot->series[plot->n_series++] = (qn_plot_series){name, c->x, c->y, c->n, look, color};
}

// Adds a training curve: pale with a smoothed line over it, or as it is where it has few points.
static void add_training(qn_line_plot *plot, const char *name, const char *raw_name, const curve *raw,
                         const curve *smooth) {
    if (raw->n > 20) {
        add(plot, raw_name, raw, QN_PLOT_FAINT, 1);
        add(plot, name, smooth, QN_PLOT_LINE, 1);
    } else {
        add(plot, name, raw, QN_PLOT_DOTTED, 1);
    }
}

static void mark_best(const qn_report *report, const curve *c, const char *text, qn_line_plot *plot) {
    for (size_t i = 0; i < c->n && report->best_step >= 0; i++)
        if (c->x[i] == (double)report->best_step) {
            plot->marks[plot->n_marks++] = (qn_plot_mark){c->x[i], c->y[i], text};
            return;
        }
}

static void put_loss(const qn_report *report, qn_buffer *out) {
    curve raw, smooth = {0}, eval = {0};
    bool ok = take(report->history, QN_EVENT_TRAIN, "loss", &raw) && smoothed(&raw, &smooth) &&
              take(report->history, QN_EVENT_EVAL, "eval_loss", &eval);
    qn_line_plot plot = {.title = "Loss",
                         .x_label = "step",
                         .x_max = qn_report_last_step(report->history),
                         .log_switch = true,
                         .y_clip = 0.995};
    add_training(&plot, "smoothed", "training", &raw, &smooth);
    add(&plot, "validation", &eval, QN_PLOT_DOTTED, 2);
    mark_best(report, &eval, "best checkpoint", &plot);
    if (ok) qn_plot_lines(&plot, out);
    if (!ok) out->failed = true;
    free(raw.x);
    free(smooth.x);
    free(eval.x);
}

// One curve of the training events in a plot of its own, if the log has it.
static void put_single(const qn_report *report, const char *key, const char *title, bool clip, qn_buffer *out) {
    curve raw, smooth = {0};
    bool ok = take(report->history, QN_EVENT_TRAIN, key, &raw) && (!clip || smoothed(&raw, &smooth));
    qn_line_plot plot = {.title = title,
                         .x_label = "step",
                         .x_max = qn_report_last_step(report->history),
                         .log_switch = clip,
                         .y_from_zero = true,
                         .y_clip = clip ? 0.99 : 0};
    if (clip)
        add_training(&plot, "smoothed", "raw", &raw, &smooth);
    else
        add(&plot, title, &raw, QN_PLOT_LINE, 3);
    if (ok && raw.n) qn_plot_lines(&plot, out);
    if (!ok) out->failed = true;
    free(raw.x);
    free(smooth.x);
}

// Metrics of the evaluations that share one axis from 0 to 1.
static void put_metrics(const qn_report *report, qn_buffer *out) {
    static const char *const keys[] = {"eval_f1",
                                       "eval_exact_match",
                                       "eval_accuracy",
                                       "eval_macro_f1",
                                       "eval_mcc",
                                       "eval_micro_f1",
                                       "eval_mean_average_precision",
                                       "eval_subset_accuracy",
                                       "eval_pearson",
                                       "eval_spearman",
                                       "eval_r2",
                                       "eval_ndcg_at_10",
                                       "eval_mrr_at_10",
                                       "eval_recall_at_10"};
    enum { LINES = 4 };
    curve curves[LINES] = {{0}};
    qn_buffer names[LINES] = {{0}};
    qn_line_plot plot = {
        .title = "Validation metrics", .x_label = "step", .x_max = qn_report_last_step(report->history)};
    bool has_accuracy = report->history && qn_history_column(report->history, "eval_accuracy"), ok = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && plot.n_series < LINES && ok; i++) {
        // With one label per example micro F1 is accuracy once more.
        if (has_accuracy && strcmp(keys[i], "eval_micro_f1") == 0) continue;
        size_t at = plot.n_series;
        ok = take(report->history, QN_EVENT_EVAL, keys[i], &curves[at]);
        if (!ok || curves[at].n == 0) {
            free(curves[at].x);
            curves[at] = (curve){0};
            continue;
        }
        qn_report_metric_name(keys[i], &names[at]);
        add(&plot, names[at].data ? names[at].data : "", &curves[at], QN_PLOT_DOTTED, (int)at + 1);
        if (report->best_metric && strcmp(keys[i] + 5, report->best_metric) == 0)
            mark_best(report, &curves[at], "best checkpoint", &plot);
    }
    if (plot.n_series == 1) plot.note = plot.series[0].name;
    if (ok && plot.n_series) qn_plot_lines(&plot, out);
    if (!ok) out->failed = true;
    for (size_t i = 0; i < LINES; i++) {
        free(curves[i].x);
        qn_buffer_free(&names[i]);
    }
}

// Pre-training: the share of masked tokens found, and perplexity, the exponential of the loss.
static void put_language_model(const qn_report *report, qn_buffer *out) {
    curve raw, smooth = {0}, eval = {0};
    bool ok = take(report->history, QN_EVENT_TRAIN, "accuracy", &raw) && smoothed(&raw, &smooth) &&
              take(report->history, QN_EVENT_EVAL, "eval_accuracy", &eval);
    if (ok && raw.n) {
        qn_line_plot plot = {.title = "Masked tokens found",
                             .x_label = "step",
                             .x_max = qn_report_last_step(report->history),
                             .y_percent = true,
                             .y_from_zero = true};
        add_training(&plot, "smoothed", "training", &raw, &smooth);
        add(&plot, "validation", &eval, QN_PLOT_DOTTED, 2);
        qn_plot_lines(&plot, out);
    }
    bool pretraining = raw.n > 0 || (!qn_report_has_results(report) && eval.n > 0);
    free(raw.x);
    free(smooth.x);
    free(eval.x);
    curve loss = {0}, held = {0}, soft = {0};
    ok = ok && take(report->history, QN_EVENT_TRAIN, "loss", &loss) && smoothed(&loss, &soft) &&
         take(report->history, QN_EVENT_EVAL, "eval_loss", &held);
    if (ok && pretraining) {
        for (size_t i = 0; i < soft.n; i++) soft.y[i] = exp(soft.y[i]);
        for (size_t i = 0; i < held.n; i++) held.y[i] = exp(held.y[i]);
        qn_line_plot plot = {.title = "Perplexity",
                             .x_label = "step",
                             .x_max = qn_report_last_step(report->history),
                             .log_switch = true,
                             .log_first = true,
                             .y_clip = 0.97};
        add(&plot, "smoothed", &soft, QN_PLOT_LINE, 1);
        add(&plot, "validation", &held, QN_PLOT_DOTTED, 2);
        qn_plot_lines(&plot, out);
    }
    if (!ok) out->failed = true;
    free(loss.x);
    free(held.x);
    free(soft.x);
}

bool qn_report_curves(const qn_report *report, qn_buffer *out) {
    if (!report->history || report->history->rows == 0) return false;
    qn_report_section("training", "Training", NULL, out);
    qn_buffer_text(out, "<div class=\"grid\">\n");
    size_t start = out->size, figures = 0;
    put_loss(report, out);
    bool pretraining = report->history && qn_history_column(report->history, "accuracy");
    if (!pretraining) put_metrics(report, out);
    put_language_model(report, out);
    put_single(report, "learning_rate", "Learning rate", false, out);
    put_single(report, "grad_norm", "Gradient norm", true, out);
    for (const char *at = out->data ? out->data + start : NULL; at && (at = strstr(at, "<figure")); at++) figures++;
    // Two stand side by side: an odd one would leave a hole.
    bool speed = figures % 2 && report->history && qn_history_column(report->history, "tokens_per_second");
    if (speed) qn_report_speed_curve(report, out);
    qn_buffer_text(out, "</div>\n");
    return speed;
}

// ---- the table of evaluations -------------------------------------------------------------------

// The mean training loss since the evaluation before, which is what stands beside a validation loss.
static double training_loss(const qn_history *history, const double *loss, size_t row) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = row; i-- > 0 && history->event[i] != QN_EVENT_EVAL;)
        if (history->event[i] == QN_EVENT_TRAIN && isfinite(loss[i])) {
            sum += loss[i];
            n++;
        }
    return n ? sum / (double)n : NAN;
}

static void put_cell(const char *name, double value, qn_buffer *out) {
    qn_buffer_text(out, "<td>");
    qn_report_metric_short(name, value, out);
    qn_buffer_text(out, "</td>");
}

static void put_evaluation(const qn_report *report, size_t row, const size_t *columns, size_t n_columns,
                           qn_buffer *out) {
    const qn_history *h = report->history;
    const double *epoch = qn_history_column(h, "epoch"), *loss = qn_history_column(h, "loss");
    bool best = h->step[row] == report->best_step;
    qn_buffer_text(out, best ? "<tr class=\"best\"><td>" : "<tr><td>");
    qn_format_count(h->step[row], out);
    qn_buffer_text(out, "</td>");
    put_cell("epoch", epoch ? epoch[row] : NAN, out);
    put_cell("loss", loss ? training_loss(h, loss, row) : NAN, out);
    for (size_t i = 0; i < n_columns; i++) put_cell(h->key[columns[i]], h->values[columns[i]][row], out);
    qn_buffer_text(out, best ? "<td><span class=\"chip\">best</span></td></tr>\n" : "<td></td></tr>\n");
}

void qn_report_evaluations(const qn_report *report, qn_buffer *out) {
    const qn_history *h = report->history;
    if (!h || h->rows == 0) return;
    size_t columns[8], n_columns = 0, evaluations = 0;
    const double *accuracy = qn_history_column(h, "eval_accuracy");
    for (size_t k = 0; k < h->keys && n_columns < 8; k++) {
        bool duplicate = accuracy && strcmp(h->key[k], "eval_micro_f1") == 0;
        if (strncmp(h->key[k], "eval_", 5) == 0 && !duplicate) columns[n_columns++] = k;
    }
    for (size_t row = 0; row < h->rows; row++) evaluations += h->event[row] == QN_EVENT_EVAL;
    if (evaluations && n_columns) {
        qn_buffer_printf(
            out,
            "<h3>Evaluations</h3>\n<div class=\"scroll%s\"><table class=\"numbers\"><thead><tr><th>Step</th>"
            "<th>Epoch</th><th>Training loss</th>",
            evaluations > 20 ? " tall" : "");
        for (size_t i = 0; i < n_columns; i++) {
            qn_buffer_text(out, strcmp(h->key[columns[i]], "eval_loss") == 0 ? "<th>Validation " : "<th>");
            if (strcmp(h->key[columns[i]], "eval_loss") == 0)
                qn_buffer_text(out, "loss");
            else
                qn_report_metric_name(h->key[columns[i]], out);
            if (strstr(h->key[columns[i]], "accuracy")) qn_buffer_text(out, " %");
            qn_buffer_text(out, "</th>");
        }
        qn_buffer_text(out, "<th></th></tr></thead><tbody>\n");
        for (size_t row = 0; row < h->rows; row++)
            if (h->event[row] == QN_EVENT_EVAL) put_evaluation(report, row, columns, n_columns, out);
        qn_buffer_text(out, "</tbody></table></div>\n");
    }
    qn_buffer_text(out, "</section>\n");
}
