// The page of a search: what is best, trials over time, over learning rate and over length, and all of them in a table.
#include "base/file.h"
#include "base/memory.h"
#include "train/plot.h"
#include "train/progress.h"
#include "train/report_internal.h"
#include "train/tune.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void qn_trial_depth(const qn_trial *t, char *text, size_t size) {
    long long layers = (long long)t->layers, frozen = (long long)t->freeze_layers;
    if (frozen < 0)
        snprintf(text, size, "all");
    else if (frozen == 0)
        snprintf(text, size, "all layers");
    else if (frozen >= layers)
        snprintf(text, size, "head alone");
    else
        snprintf(text, size, "top %lld of %lld", layers - frozen, layers);
}

// What a trial's dot says when it is pointed at.
static void put_tooltip(const qn_trial *t, qn_buffer *out) {
    char depth[64];
    qn_trial_depth(t, depth, sizeof depth);
    qn_buffer_printf(out, "trial %lld: ", (long long)t->number);
    qn_report_metric_value(t->metric, t->value, out);
    qn_buffer_printf(out, "\nlearning rate %.3g, batch %zu\nepochs %.3g, trained: %s", t->learning_rate, t->batch_size,
                     t->epochs, depth);
}

// Columns of the trials that have a value, and their tooltips.
typedef struct {
    double *time, *best_time, *value, *best, *rate, *epochs;
    const char **text;
    qn_buffer texts;
    size_t n, best_n;
} columns;

static qn_status fill(const qn_trial *trials, size_t count, columns *c) {
    double time = 0, best = NAN, *memory = qn_calloc(8 * count + 8, sizeof *memory);
    size_t *starts = qn_calloc(count, sizeof *starts);
    *c = (columns){.time = memory, .text = qn_calloc(count, sizeof *c->text)};
    if (!memory || !starts || !c->text) {
        free(starts);
        return QN_ERROR_MEMORY;
    }
    double **const parts[] = {&c->value, &c->rate, &c->epochs, &c->best, &c->best_time};
    for (size_t i = 0, at = count; i < 5; i++) {
        *parts[i] = memory + at;
        at += i < 3 ? count : 2 * count + 1;
    }
    for (size_t i = 0; i < count; i++) {
        const qn_trial *t = &trials[i];
        time += t->seconds / 60;
        if (isnan(t->value)) continue;
        c->time[c->n] = time;
        c->value[c->n] = t->value;
        c->rate[c->n] = log10(t->learning_rate);
        c->epochs[c->n] = t->epochs;
        starts[c->n++] = c->texts.size;
        put_tooltip(t, &c->texts);
        qn_buffer_char(&c->texts, '\0');
        if (t->best && !isnan(best)) c->best_time[c->best_n] = time, c->best[c->best_n++] = best; // a step
        if (t->best) best = t->value;
        c->best_time[c->best_n] = time;
        c->best[c->best_n++] = best;
    }
    for (size_t i = 0; i < c->n && !c->texts.failed; i++) c->text[i] = c->texts.data + starts[i];
    free(starts);
    return qn_buffer_status(&c->texts);
}

static void put_plots(const qn_trial *trials, const columns *c, const qn_buffer *metric, qn_buffer *out) {
    bool percent = strcmp(trials[0].metric, "accuracy") == 0;
    qn_line_plot course = {.title = "The best so far",
                           .x_label = "minutes",
                           .y_percent = percent,
                           .series = {{"best", c->best_time, c->best, c->best_n, QN_PLOT_LINE, 1},
                                      {"trials", c->time, c->value, c->n, QN_PLOT_DOTTED, 2}},
                           .n_series = 2};
    qn_scatter_plot rates = {.title = "Learning rates",
                             .x_label = "learning rate, logarithm to base 10",
                             .y_label = metric->data,
                             .x = c->rate,
                             .y = c->value,
                             .text = c->text,
                             .n = c->n};
    qn_scatter_plot lengths = rates;
    lengths.title = "Lengths";
    lengths.x_label = "epochs";
    lengths.x = c->epochs;
    qn_report_section("trials", "Trials", NULL, out);
    qn_buffer_text(out, "<div class=\"grid\">\n");
    qn_plot_lines(&course, out);
    qn_plot_scatter(&rates, out);
    qn_plot_scatter(&lengths, out);
    qn_buffer_text(out, "</div></section>\n");
}

static void put_table(const qn_trial *trials, size_t count, size_t best, const qn_buffer *metric, qn_buffer *out) {
    qn_report_section("table", "All trials", NULL, out);
    qn_buffer_text(out, "<div class=\"scroll\"><table class=\"numbers sortable\"><thead><tr><th>Trial</th>"
                        "<th class=\"left\">Stage</th><th>Learning rate</th><th>Batch</th><th>Epochs</th>"
                        "<th class=\"left\">Trained</th><th>Seconds</th><th>");
    qn_buffer_append(out, metric->data, metric->size);
    qn_buffer_text(out, "</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < count; i++) {
        const qn_trial *t = &trials[i];
        char depth[64];
        qn_trial_depth(t, depth, sizeof depth);
        qn_buffer_printf(out,
                         "<tr%s><td data-v=\"%lld\">%lld</td><td class=\"left\">%s</td><td data-v=\"%.9g\">%.3g</td>"
                         "<td data-v=\"%zu\">%zu</td><td data-v=\"%.9g\">%.3g</td><td class=\"left\">%s</td>"
                         "<td data-v=\"%.9g\">%.1f</td><td data-v=\"%.9g\">",
                         i == best ? " class=\"best\"" : "", (long long)t->number, (long long)t->number, t->stage,
                         t->learning_rate, t->learning_rate, t->batch_size, t->batch_size, t->epochs, t->epochs, depth,
                         t->seconds, t->seconds, isnan(t->value) ? 0 : t->value);
        qn_report_metric_value(t->metric, t->value, out);
        qn_buffer_text(out, "</td></tr>\n");
    }
    qn_buffer_text(out, "</tbody></table></div></section>\n");
}

static void put_best(const qn_tuning *o, const qn_trial *b, size_t count, double seconds, qn_buffer *out) {
    const qn_training *t = &o->training;
    char texts[6][96], depth[64];
    qn_buffer value = {0}, spent = {0};
    qn_trial_depth(b, depth, sizeof depth);
    qn_report_metric_value(b->metric, b->value, &value);
    qn_format_duration(seconds, &spent);
    snprintf(texts[0], sizeof texts[0], "%.3g", b->learning_rate);
    snprintf(texts[1], sizeof texts[1], "%zu", b->batch_size);
    snprintf(texts[2], sizeof texts[2], "%.3g", b->epochs);
    snprintf(texts[3], sizeof texts[3], "%lld", (long long)b->number);
    snprintf(texts[4], sizeof texts[4], "%zu in %s of %.4g minutes", count, spent.data ? spent.data : "", o->minutes);
    const qn_report_fact facts[] = {{b->metric, value.data},
                                    {"learning rate", texts[0]},
                                    {"batch", texts[1]},
                                    {"epochs", texts[2]},
                                    {"trained", depth},
                                    {"trial", texts[3]},
                                    {"trials", texts[4]},
                                    {"model", t->model},
                                    {"training data", t->train[0]},
                                    {"validation data", t->validation}};
    qn_report_section("best", "The best settings", "the model is in best/", out);
    qn_buffer_text(out, "<div class=\"grid\">");
    qn_report_facts(facts, sizeof facts / sizeof *facts, out);
    qn_buffer_text(out, "</div>");
    if (t->command) {
        qn_buffer_text(out, "<pre class=\"command\">");
        qn_report_text(t->command, out);
        qn_buffer_text(out, "</pre>");
    }
    qn_buffer_text(out, "</section>\n");
    qn_buffer_free(&value);
    qn_buffer_free(&spent);
}

qn_status qn_tune_report(const qn_tuning *tuning, const qn_trial *trials, size_t count, size_t best, double seconds,
                         const char *path) {
    qn_buffer page = {0}, metric = {0};
    columns c;
    const char *slash = strrchr(tuning->training.output, '/');
    if (count == 0) return QN_OK;
    qn_status status = fill(trials, count, &c);
    if (*trials[0].metric) qn_report_metric_name(trials[0].metric, &metric);
    qn_buffer_text(&metric, "");
    if (status == QN_OK) {
        qn_report_begin(slash && slash[1] ? slash + 1 : tuning->training.output, "Search for settings", NULL, &page);
        qn_buffer_text(&page, "</header>\n");
        if (best < count) put_best(tuning, &trials[best], count, seconds, &page);
        if (c.n > 0) put_plots(trials, &c, &metric, &page);
        put_table(trials, count, best, &metric, &page);
        qn_report_end(qn_version(), "trials.jsonl", &page);
        status = qn_buffer_status(&page);
    }
    if (status == QN_OK) status = qn_write_file(path, page.data, page.size);
    free(c.time);
    free(c.text);
    qn_buffer_free(&c.texts);
    qn_buffer_free(&metric);
    qn_buffer_free(&page);
    return status;
}
