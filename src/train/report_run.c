// The sections about the run itself: speed and memory, warnings, set-up and arguments.
#include "base/memory.h"
#include "train/plot.h"
#include "train/progress.h"
#include "train/report_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- speed and memory ---------------------------------------------------------------------------

// Facts whose values are made here; each owns its text until it is put out.
typedef struct {
    qn_report_fact facts[16];
    qn_buffer values[16];
    size_t n;
} fact_list;

static qn_buffer *begin_fact(fact_list *list, const char *name) {
    list->facts[list->n].name = name;
    return &list->values[list->n++];
}

static void add_text(fact_list *list, const char *name, const char *text) {
    if (text && *text) qn_buffer_text(begin_fact(list, name), text);
}

static void put_list(fact_list *list, qn_buffer *out) {
    for (size_t i = 0; i < list->n; i++) {
        list->facts[i].value = list->values[i].data;
        if (list->values[i].failed) out->failed = true;
    }
    qn_report_facts(list->facts, list->n, out);
    for (size_t i = 0; i < list->n; i++) qn_buffer_free(&list->values[i]);
}

static void put_machine(const qn_report *report, qn_buffer *out) {
    fact_list list = {0};
    bool timed = isfinite(report->seconds) && report->seconds > 0, rows = report->autoencoding != NULL;
    if (timed) qn_format_duration(report->seconds, begin_fact(&list, "Time"));
    if (report->tokens > 0) qn_format_count(llround(report->tokens), begin_fact(&list, rows ? "Rows" : "Real tokens"));
    if (report->tokens > 0 && timed)
        qn_format_count(llround(report->tokens / report->seconds), begin_fact(&list, rows ? "Rows per second" : "Tokens per second"));
    if (report->tokens > 0 && report->padded_tokens > report->tokens) {
        qn_buffer *value = begin_fact(&list, "Spared by not padding");
        qn_plot_number(100 * (1 - report->tokens / report->padded_tokens), 3, value);
        qn_buffer_text(value, "\u202f% of the work (padded / real ");
        qn_plot_number(report->padded_tokens / report->tokens, 3, value);
        qn_buffer_char(value, ')');
    }
    if (report->peak_memory) qn_format_bytes((double)report->peak_memory, begin_fact(&list, "Peak memory"));
    add_text(&list, "Processor", report->cpu);
    add_text(&list, "Instruction set", report->instruction_set);
    if (report->threads > 0) qn_format_count(report->threads, begin_fact(&list, "Threads"));
    add_text(&list, "Numbers", report->dtype);
    add_text(&list, "Matrix products", report->engine);
    put_list(&list, out);
}

void qn_report_speed_curve(const qn_report *report, qn_buffer *out) {
    const qn_history *h = report->history;
    if (!h || h->rows == 0) return;
    double *x = qn_malloc(2 * h->rows, sizeof *x), *y = x ? x + h->rows : NULL;
    if (!x) {
        out->failed = true;
        return;
    }
    size_t n = qn_history_series(h, QN_EVENT_TRAIN, "step", "tokens_per_second", x, y);
    qn_line_plot plot = {.title = report->autoencoding ? "Rows per second" : "Real tokens per second",
                         .x_label = "step",
                         .y_from_zero = true,
                         .x_max = qn_report_last_step(h),
                         .n_series = 1};
    plot.series[0] = (qn_plot_series){report->autoencoding ? "rows per second" : "tokens per second", x, y, n, n > 20 ? QN_PLOT_LINE : QN_PLOT_DOTTED, 3};
    if (n) qn_plot_lines(&plot, out);
    free(x);
}

void qn_report_speed(const qn_report *report, bool with_curve, qn_buffer *out) {
    qn_report_section("speed", "Speed and memory", NULL, out);
    qn_buffer_text(out, "<div class=\"grid\">\n");
    put_machine(report, out);
    if (with_curve) qn_report_speed_curve(report, out);
    qn_buffer_text(out, "</div>\n</section>\n");
}

// ---- warnings -----------------------------------------------------------------------------------

#define SKIPS_SHOWN 20

static size_t count_events(const qn_history *h, qn_event event) {
    size_t n = 0;
    for (size_t row = 0; h && row < h->rows; row++) n += h->event[row] == event;
    return n;
}

bool qn_report_has_warnings(const qn_report *report) {
    return report->n_warnings > 0 ||
           count_events(report->history, QN_EVENT_SKIP) + count_events(report->history, QN_EVENT_WARNING) > 0;
}

static void put_event_value(const qn_history *h, size_t row, const char *key, const char *name, qn_buffer *out) {
    const double *column = qn_history_column(h, key);
    if (!column || !isfinite(column[row])) return;
    qn_buffer_printf(out, ", %s ", name);
    qn_plot_number(column[row], 4, out);
}

static void put_skips(const qn_history *h, size_t skips, qn_buffer *out) {
    qn_buffer_text(out, "<li><b>");
    qn_format_count((int64_t)skips, out);
    qn_buffer_text(out, skips == 1 ? " step was left out</b> by the guard against NaN and spikes:<ul>\n"
                                   : " steps were left out</b> by the guard against NaN and spikes:<ul>\n");
    size_t shown = 0;
    for (size_t row = 0; row < h->rows && shown < SKIPS_SHOWN; row++) {
        if (h->event[row] != QN_EVENT_SKIP) continue;
        shown++;
        qn_buffer_text(out, "<li>step ");
        qn_format_count(h->step[row], out);
        if (h->text[row]) {
            qn_buffer_text(out, ": ");
            qn_report_text(h->text[row], out);
        }
        put_event_value(h, row, "loss", "loss", out);
        put_event_value(h, row, "grad_norm", "gradient norm", out);
        qn_buffer_text(out, "</li>\n");
    }
    if (skips > shown) qn_buffer_printf(out, "<li>and %zu more</li>\n", skips - shown);
    qn_buffer_text(out, "</ul></li>\n");
}

void qn_report_warnings(const qn_report *report, qn_buffer *out) {
    if (!qn_report_has_warnings(report)) return;
    const qn_history *h = report->history;
    size_t skips = count_events(h, QN_EVENT_SKIP);
    qn_report_section("warnings", "Warnings", NULL, out);
    qn_buffer_text(out, "<ul class=\"warnings\">\n");
    for (size_t i = 0; i < report->n_warnings; i++) {
        qn_buffer_text(out, "<li><b>");
        qn_report_text(report->warnings[i].name, out);
        qn_buffer_text(out, "</b> ");
        qn_report_text(report->warnings[i].value, out);
        qn_buffer_text(out, "</li>\n");
    }
    for (size_t row = 0; h && row < h->rows; row++) {
        if (h->event[row] != QN_EVENT_WARNING) continue;
        qn_buffer_text(out, "<li><b>Step ");
        qn_format_count(h->step[row], out);
        qn_buffer_text(out, "</b> ");
        qn_report_text(h->text[row] ? h->text[row] : "", out);
        qn_buffer_text(out, "</li>\n");
    }
    if (skips) put_skips(h, skips, out);
    qn_buffer_text(out, "</ul>\n</section>\n");
}

// ---- set-up -------------------------------------------------------------------------------------

// An argument as it would be typed: texts without quotes, everything else as JSON.
static void put_argument(const json_t *value, qn_buffer *out) {
    if (json_is_string(value)) {
        qn_buffer_html(out, json_string_value(value), json_string_length(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (text)
        qn_report_text(text, out);
    else
        out->failed = true;
    free(text);
}

void qn_report_arguments(const qn_report *report, qn_buffer *out) {
    qn_report_section("setup", "Set-up", NULL, out);
    fact_list list = {0};
    add_text(&list, "Model", report->model);
    add_text(&list, "Data", report->data);
    const double *column = report->history ? qn_history_column(report->history, "epoch") : NULL;
    size_t rows = report->history ? report->history->rows : 0;
    if (column && rows && report->history->event[rows - 1] == QN_EVENT_END && report->history->text[rows - 1])
        add_text(&list, "Ended", report->history->text[rows - 1]);
    qn_buffer_text(out, "<div class=\"grid\">");
    put_list(&list, out);
    if (report->n_facts) qn_report_facts(report->facts, report->n_facts, out);
    qn_buffer_text(out, "</div>\n");
    if (report->command) {
        qn_buffer_text(out, "<pre class=\"command\">");
        qn_report_text(report->command, out);
        qn_buffer_text(out, "</pre>\n");
    }
    if (report->arguments && json_object_size(report->arguments)) {
        qn_buffer_text(out, "<details open=\"open\"><summary>All arguments</summary><dl class=\"arguments\">\n");
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)report->arguments, key, value) {
            qn_buffer_text(out, "<div><dt>");
            qn_report_text(key, out);
            qn_buffer_text(out, "</dt><dd>");
            put_argument(value, out);
            qn_buffer_text(out, "</dd></div>\n");
        }
        qn_buffer_text(out, "</dl></details>\n");
    }
    qn_buffer_text(out, "</section>\n");
}
