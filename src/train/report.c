// The run's page: head, summary and the order of its sections. What stands in the sections is in report_curves.c,
// report_results.c and report_run.c, style and script in report_page.c.
#include "base/file.h"
#include "train/plot.h"
#include "train/progress.h"
#include "train/report_internal.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

void qn_report_init(qn_report *report) {
    *report = (qn_report){.best_value = NAN, .best_step = -1, .seconds = NAN};
}

// ---- pieces -------------------------------------------------------------------------------------

void qn_report_text(const char *text, qn_buffer *out) {
    if (text) qn_buffer_html(out, text, strlen(text));
}

void qn_report_section(const char *id, const char *title, const char *note, qn_buffer *out) {
    qn_buffer_printf(out, "<section id=\"%s\"><h2>%s", id, title);
    if (note) {
        qn_buffer_text(out, "<small>");
        qn_report_text(note, out);
        qn_buffer_text(out, "</small>");
    }
    qn_buffer_text(out, "</h2>\n");
}

void qn_report_facts(const qn_report_fact *facts, size_t n, qn_buffer *out) {
    size_t known = 0;
    for (size_t i = 0; i < n; i++) known += facts[i].value != NULL;
    if (known == 0) return;
    qn_buffer_text(out, "<dl class=\"facts\">");
    for (size_t i = 0; i < n; i++) {
        if (!facts[i].value) continue;
        qn_buffer_text(out, "<div><dt>");
        qn_report_text(facts[i].name, out);
        qn_buffer_text(out, "</dt><dd>");
        qn_report_text(facts[i].value, out);
        qn_buffer_text(out, "</dd></div>");
    }
    qn_buffer_text(out, "</dl>\n");
}

static const struct {
    const char *name, *shown;
    bool percent;
} metric_names[] = {
    {"accuracy", "Accuracy", true},
    {"f1", "F1", false},
    {"precision", "Precision", false},
    {"recall", "Recall", false},
    {"strict_f1", "Strict F1", false},
    {"constrained_f1", "Constrained F1", false},
    {"exact_match", "Exact match", false},
    {"has_answer_f1", "F1 with an answer", false},
    {"has_answer_exact", "Exact with an answer", false},
    {"no_answer_exact", "Exact without an answer", false},
    {"map", "Average precision", false},
    {"macro_f1", "Macro F1", false},
    {"weighted_f1", "Weighted F1", false},
    {"micro_f1", "Micro F1", false},
    {"mcc", "MCC", false},
    {"macro_precision", "Macro precision", false},
    {"macro_recall", "Macro recall", false},
    {"micro_precision", "Micro precision", false},
    {"micro_recall", "Micro recall", false},
    {"log_loss", "Log loss", false},
    {"ece", "Calibration error", false},
    {"subset_accuracy", "Subset accuracy", true},
    {"hamming_loss", "Hamming loss", false},
    {"mean_average_precision", "Mean average precision", false},
    {"pearson", "Pearson", false},
    {"spearman", "Spearman", false},
    {"mse", "MSE", false},
    {"bce", "Cross-entropy", false},
    {"kl", "KL divergence, nats", false},
    {"rmse", "RMSE", false},
    {"mae", "MAE", false},
    {"r2", "R\u00b2", false},
    {"ndcg_at_10", "nDCG@10", false},
    {"mrr_at_10", "MRR@10", false},
    {"accuracy_at_1", "Accuracy@1", true},
    {"recall_at_1", "Recall@1", false},
    {"recall_at_5", "Recall@5", false},
    {"recall_at_10", "Recall@10", false},
    {"map_at_100", "MAP@100", false},
    {"loss", "Loss", false},
    {"perplexity", "Perplexity", false},
};

static const char *without_prefix(const char *name) {
    return strncmp(name, "eval_", 5) == 0 ? name + 5 : name;
}

void qn_report_metric_name(const char *name, qn_buffer *out) {
    name = without_prefix(name);
    for (size_t i = 0; i < sizeof metric_names / sizeof *metric_names; i++)
        if (strcmp(metric_names[i].name, name) == 0) {
            qn_buffer_text(out, metric_names[i].shown);
            return;
        }
    for (const char *c = name; *c; c++)
        if (*c == '_')
            qn_buffer_char(out, ' ');
        else if ((unsigned char)*c < 128)
            qn_buffer_html(out, c, 1);
}

static bool is_percent(const char *name) {
    name = without_prefix(name);
    for (size_t i = 0; i < sizeof metric_names / sizeof *metric_names; i++)
        if (strcmp(metric_names[i].name, name) == 0) return metric_names[i].percent;
    return false;
}

// A number with exactly `decimals` digits after the point, so that columns align.
static void put_decimals(double value, int decimals, qn_buffer *out) {
    static const double powers[] = {1, 10, 100, 1000, 10000};
    if (!isfinite(value) || fabs(value) >= 1e9) {
        qn_plot_number(value, 5, out);
        return;
    }
    long long scaled = llround(fabs(value) * powers[decimals]), power = (long long)powers[decimals];
    if (value < 0 && scaled) qn_buffer_text(out, "\u2212");
    qn_format_count(scaled / power, out);
    if (decimals) qn_buffer_printf(out, ".%0*lld", decimals, scaled % power);
}

void qn_report_metric_short(const char *name, double value, qn_buffer *out) {
    if (!isfinite(value))
        qn_buffer_text(out, "\u2013");
    else if (is_percent(name))
        put_decimals(100 * value, 2, out);
    else
        put_decimals(value, fabs(value) >= 100 ? 1 : fabs(value) >= 10 ? 2 : strcmp(name, "epoch") == 0 ? 2 : 4, out);
}

void qn_report_metric_value(const char *name, double value, qn_buffer *out) {
    qn_report_metric_short(name, value, out);
    if (isfinite(value) && is_percent(name)) qn_buffer_text(out, "\u202f%");
}

// ---- head and summary ---------------------------------------------------------------------------

static void put_head(const char *title, qn_buffer *out) {
    qn_buffer_text(
        out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
             "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
             // Nothing may be loaded from anywhere, and no text of the run can become more than text.
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;style-src 'unsafe-inline';"
             "script-src 'unsafe-inline'\"/>\n<meta name=\"generator\" content=\"Quern\"/>\n<title>");
    qn_report_text(title, out);
    qn_buffer_text(out, " \u00b7 Quern</title>\n<style>\n");
    for (int i = 0; qn_plot_css[i]; i++) qn_buffer_text(out, qn_plot_css[i]);
    for (int i = 0; qn_report_css[i]; i++) qn_buffer_text(out, qn_report_css[i]);
    qn_buffer_text(out, "</style></head>\n<body><main>\n");
}

void qn_report_begin(const char *title, const char *task, const char *date, qn_buffer *out) {
    const char *const over[] = {task, date};
    put_head(title, out);
    qn_buffer_text(out, "<header><p class=\"over\">Quern");
    for (int i = 0; i < 2; i++) {
        if (!over[i]) continue;
        qn_buffer_text(out, "<span>");
        qn_report_text(over[i], out);
        qn_buffer_text(out, "</span>");
    }
    qn_buffer_text(out, "</p>\n<h1>");
    qn_report_text(title, out);
    qn_buffer_text(out, "</h1>\n");
}

void qn_report_end(const char *version, const char *numbers, qn_buffer *out) {
    qn_buffer_text(out, "<footer>Made by Quern");
    if (version) {
        qn_buffer_char(out, ' ');
        qn_report_text(version, out);
    }
    qn_buffer_printf(out, ". The numbers behind the curves are in %s beside this file.</footer>\n</main>\n<script>\n",
                     numbers);
    for (int i = 0; qn_plot_js[i]; i++) qn_buffer_text(out, qn_plot_js[i]);
    for (int i = 0; qn_report_js[i]; i++) qn_buffer_text(out, qn_report_js[i]);
    qn_buffer_text(out, "</script></body></html>\n");
}

static void put_title(const qn_report *report, qn_buffer *out) {
    qn_report_begin(report->title ? report->title : "Run", report->task, report->date, out);
    const char *const lines[] = {report->model, report->data};
    for (int i = 0; i < 2; i++) {
        if (!lines[i]) continue;
        qn_buffer_text(out, "<p class=\"lead\">");
        qn_report_text(lines[i], out);
        qn_buffer_text(out, "</p>\n");
    }
}

static void put_link(const char *id, const char *name, bool present, qn_buffer *out) {
    if (present) qn_buffer_printf(out, "<a href=\"#%s\">%s</a>", id, name);
}

// The value under `key` of the last event of that kind; NaN when there is none.
static double last_value(const qn_history *history, qn_event event, const char *key) {
    const double *column = history ? qn_history_column(history, key) : NULL;
    for (size_t row = column ? history->rows : 0; row-- > 0;)
        if (history->event[row] == event && isfinite(column[row])) return column[row];
    return NAN;
}

static void put_card(const qn_buffer *name, const qn_buffer *value, const qn_buffer *note, qn_buffer *out) {
    qn_buffer_text(out, "<div class=\"card\"><span>");
    qn_buffer_append(out, name->data, name->size);
    qn_buffer_text(out, "</span><strong>");
    qn_buffer_append(out, value->data, value->size);
    qn_buffer_text(out, "</strong><em>");
    qn_buffer_append(out, note->data, note->size);
    qn_buffer_text(out, "</em></div>");
    if (name->failed || value->failed || note->failed) out->failed = true;
}

// The card that matters most: the metric that chose the best checkpoint, or the last loss.
static void put_main_card(const qn_report *report, qn_buffer *out) {
    qn_buffer name = {0}, value = {0}, note = {0};
    double loss = last_value(report->history, QN_EVENT_TRAIN, "loss");
    if (isfinite(report->best_value) && report->best_metric) {
        qn_buffer_text(&name, "Best ");
        qn_report_metric_name(report->best_metric, &name);
        // "Best loss", but "Best MCC".
        if (name.size > 6 && islower((unsigned char)name.data[6]))
            name.data[5] = (char)tolower((unsigned char)name.data[5]);
        qn_report_metric_value(report->best_metric, report->best_value, &value);
        if (report->best_step >= 0) {
            qn_buffer_text(&note, "validation, step ");
            qn_format_count(report->best_step, &note);
        }
    } else if (isfinite(loss)) {
        qn_buffer_text(&name, "Training loss");
        qn_report_metric_value("loss", loss, &value);
        qn_buffer_text(&note, "last logged");
    }
    if (value.size) put_card(&name, &value, &note, out);
    qn_buffer_free(&name);
    qn_buffer_free(&value);
    qn_buffer_free(&note);
}

// The metrics of the last evaluation that go beside the main one.
static size_t headline(const qn_report *report, qn_metric *out) {
    qn_metric all[QN_METRICS_MAX];
    size_t n = 0, kept = 0;
    const char *const wanted[] = {
        "f1",      "exact_match", "accuracy", "macro_f1",   "mcc",       "micro_f1",    "mean_average_precision",
        "pearson", "spearman",    "mae", "mse", "r2",     "ndcg_at_10", "mrr_at_10", "recall_at_10"};
    n = report->n_metrics;
    for (size_t i = 0; i < n; i++) all[i] = report->metrics[i];
    if (report->classification) n = qn_classification_scalars(report->classification, all);
    if (report->multilabel) n = qn_multilabel_scalars(report->multilabel, all);
    if (report->regression) n = qn_regression_scalars(report->regression, all);
    if (report->tagging) n = qn_tagging_scalars(report->tagging, all);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && kept < 3; i++) {
        const qn_metric *metric = qn_metric_find(all, n, wanted[i]);
        bool single = report->classification && strcmp(wanted[i], "micro_f1") == 0;
        // What the best checkpoint was chosen by has its card, unless it was measured on other data here.
        bool same = metric && report->best_metric && strcmp(report->best_metric, wanted[i]) == 0 &&
                    metric->value == report->best_value;
        if (metric && !single && !same) out[kept++] = *metric;
    }
    double loss = last_value(report->history, QN_EVENT_EVAL, "eval_loss"), share = NAN;
    if (n == 0 && isfinite(loss)) out[kept++] = (qn_metric){"perplexity", exp(loss), true};
    if (n == 0 && isfinite(share = last_value(report->history, QN_EVENT_EVAL, "eval_accuracy")))
        out[kept++] = (qn_metric){"accuracy", share, false};
    return kept;
}

static void put_result_cards(const qn_report *report, qn_buffer *out) {
    qn_metric metrics[QN_METRICS_MAX];
    size_t n = headline(report, metrics);
    for (size_t i = 0; i < n; i++) {
        qn_buffer name = {0}, value = {0}, note = {0};
        qn_report_metric_name(metrics[i].name, &name);
        qn_report_metric_value(metrics[i].name, metrics[i].value, &value);
        qn_report_text(report->eval_name ? report->eval_name : "validation", &note);
        put_card(&name, &value, &note, out);
        qn_buffer_free(&name);
        qn_buffer_free(&value);
        qn_buffer_free(&note);
    }
}

// Puts a card under a fixed name and empties its two texts for the next one.
static void put_cost(const char *name, qn_buffer *value, qn_buffer *note, qn_buffer *out) {
    qn_buffer title = {0};
    qn_buffer_text(&title, name);
    put_card(&title, value, note, out);
    qn_buffer_free(&title);
    qn_buffer_clear(value);
    qn_buffer_clear(note);
}

static void put_cost_cards(const qn_report *report, qn_buffer *out) {
    qn_buffer value = {0}, note = {0};
    if (isfinite(report->seconds)) {
        qn_format_duration(report->seconds, &value);
        if (report->threads > 0)
            qn_buffer_printf(&note, "on %d thread%s", report->threads, report->threads == 1 ? "" : "s");
        put_cost("Time", &value, &note, out);
    }
    if (isfinite(report->seconds) && report->seconds > 0 && report->tokens > 0) {
        qn_format_count(llround(report->tokens / report->seconds), &value);
        qn_format_short(report->tokens, &note);
        qn_buffer_text(&note, report->autoencoding ? " rows" : " real tokens");
        put_cost(report->autoencoding ? "Rows per second" : "Tokens per second", &value, &note, out);
    }
    if (report->peak_memory) {
        qn_format_bytes((double)report->peak_memory, &value);
        qn_buffer_text(&note, "resident");
        put_cost("Peak memory", &value, &note, out);
    }
    if (report->parameters > 0) {
        bool some = report->trained_parameters > 0 && report->trained_parameters < report->parameters;
        qn_format_short((double)report->parameters, &value);
        if (some) qn_format_short((double)report->trained_parameters, &note);
        qn_buffer_text(&note, some ? " trained" : "all trained");
        put_cost("Parameters", &value, &note, out);
    }
    qn_buffer_free(&value);
    qn_buffer_free(&note);
}

// Cards in rows of equal length, as far as their number allows.
static void put_cards(const qn_report *report, qn_buffer *out) {
    static const int per_row[] = {1, 1, 2, 3, 4, 5, 3, 4, 4, 5, 5};
    qn_buffer cards = {0};
    put_result_cards(report, &cards);
    put_main_card(report, &cards);
    put_cost_cards(report, &cards);
    size_t n = 0;
    for (const char *at = cards.data; at && (at = strstr(at, "<div class=")); at++) n++;
    if (n) {
        qn_buffer_printf(out, "<div class=\"cards\" style=\"--n:%d\">", per_row[n < 10 ? n : 10]);
        qn_buffer_append(out, cards.data, cards.size);
        qn_buffer_text(out, "</div>\n");
    }
    if (cards.failed) out->failed = true;
    qn_buffer_free(&cards);
}

// ---- the page -----------------------------------------------------------------------------------

qn_status qn_report_html(const qn_report *report, qn_buffer *out) {
    bool results = qn_report_has_results(report), warnings = qn_report_has_warnings(report);
    put_title(report, out);
    qn_buffer_text(out, "<nav>");
    put_link("training", "Training", report->history && report->history->rows > 0, out);
    put_link("results", "Results", results, out);
    put_link("reconstructions", "Reconstructions", report->autoencoding != NULL, out);
    put_link("latent", "Latent vectors", report->plane && report->plane->points > 0, out);
    put_link("errors", "Errors", report->n_errors > 0, out);
    put_link("speed", "Speed and memory", true, out);
    put_link("warnings", "Warnings", warnings, out);
    put_link("setup", "Set-up", true, out);
    qn_buffer_text(out, "</nav></header>\n");
    put_cards(report, out);
    bool speed_placed = qn_report_curves(report, out);
    qn_report_evaluations(report, out);
    qn_report_results(report, out);
    qn_report_autoencoding(report, out);
    qn_report_latent(report, out);
    qn_report_errors(report, out);
    qn_report_speed(report, !speed_placed, out);
    qn_report_warnings(report, out);
    qn_report_arguments(report, out);
    qn_report_end(report->version, "log.jsonl", out);
    return qn_buffer_status(out);
}

qn_status qn_report_write(const qn_report *report, const char *path) {
    qn_buffer page = {0};
    qn_status status = qn_report_html(report, &page);
    if (status == QN_OK) status = qn_write_file(path, page.data, page.size);
    qn_buffer_free(&page);
    return status;
}
