// Draws the charts of docs/performance.md and writes its table, from the figures of bench/peers.py.
//   bench_plots FIGURES.json FOLDER PAGE.md       FOLDER gets the SVG files; in the page, what stands between two marks
//   is replaced
#include "base/file.h"
#include "base/json.h"
#include "chart.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 64, DTYPES = 3, PROFILES = 5, PARTS = 8 };
static const char *const dtypes[DTYPES] = {"f32", "bf16", "int8"};
static const char *figures, *folder;
static const json_t *root, *raw;
static char note[256];

// ---- Reading -------------------------------------------------------------------------------------------------------

static double real(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

// A line of a chart, collected point by point.
typedef struct {
    double x[POINTS], y[POINTS];
    size_t n;
} line;

static void add(line *l, double x, double y) {
    if (l->n == POINTS || !isfinite(x) || !isfinite(y)) return;
    l->x[l->n] = x;
    l->y[l->n++] = y;
}

static void put(chart_lines *chart, const char *name, const line *l, int color, chart_look look) {
    if (l->n && chart->n_series < CHART_SERIES)
        chart->series[chart->n_series++] = (chart_series){name, l->x, l->y, l->n, color, look};
}

static qn_status save(const char *name, qn_buffer *svg) {
    char *path = qn_path_join(folder, name);
    qn_status status = path ? qn_buffer_status(svg) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_write_file(path, svg->data, svg->size);
    free(path);
    qn_buffer_free(svg);
    return status;
}

static qn_status save_lines(const char *name, const chart_lines *chart) {
    qn_buffer svg = {0};
    chart_put_lines(chart, &svg);
    return save(name, &svg);
}

// The points of `quern bench` of one kind and dtype: rates against a member.
static line sweep(const char *kind, const char *dtype, const char *member) {
    line l = {.n = 0};
    size_t i;
    const json_t *point;
    json_array_foreach(json_object_get(json_object_get(raw, "sweeps"), "points"), i,
                       point) if (!strcmp(text(point, "measure"), kind) && !strcmp(text(point, "dtype"), dtype))
        add(&l, real(point, member), real(point, "tokens_per_second"));
    return l;
}

// ---- What a token costs ---------------------------------------------------------------------------------------------

typedef struct {
    double layers, d, f;
} shape;

static shape model_shape(void) {
    const json_t *model = json_object_get(root, "model");
    return (shape){real(model, "layers"), real(model, "width"), real(model, "intermediate")};
}

// Operations of a token in a text of s tokens: the products with the weights, and those of attention.
static double operations(shape m, double s) {
    return m.layers * (8 * m.d * m.d + 4 * m.d * m.f + 4 * s * m.d);
}

// Bytes of the weights of products, read once for a batch.
static double weight_bytes(shape m, int dtype) {
    static const double size[DTYPES] = {4, 2, 1};
    return m.layers * (4 * m.d * m.d + 2 * m.d * m.f) * size[dtype];
}

// ---- Charts --------------------------------------------------------------------------------------------------------

static qn_status roofline(void) {
    const json_t *machine = json_object_get(raw, "machine");
    const json_t *texts = json_object_get(raw, "texts");
    shape m = model_shape();
    chart_lines chart = {
        .title = "Roofline per dtype",
        .note = "dashed: measured peak of vector units and memory; left dots: one text, right dots: batches",
        .x_label = "operations per byte of weights, read once for a batch",
        .y_label = "GFLOP/s",
        .log_x = true,
        .log_y = true};
    static char names[2 * DTYPES][32];
    static line limits[DTYPES], dots[DTYPES];
    double memory = real(machine, "memory");
    for (int t = 0; t < DTYPES; t++) {
        size_t i;
        const json_t *p;
        dots[t].n = limits[t].n = 0;
        json_array_foreach(json_object_get(json_object_get(raw, "sweeps"), "points"), i, p) {
            bool one = !strcmp(text(p, "measure"), "latency"), batch = !strcmp(text(p, "measure"), "batch");
            if ((!one && !batch) || strcmp(text(p, "dtype"), dtypes[t]) != 0) continue;
            double s = one ? real(p, "length") : real(texts, "mean"), tokens = one ? s : real(p, "batch_tokens");
            double rate = one ? s / real(p, "median_seconds") : real(p, "tokens_per_second");
            add(&dots[t], operations(m, s) * tokens / weight_bytes(m, t), operations(m, s) * rate * 1e-9);
        }
        double peak = real(machine, dtypes[t]);
        if (!isfinite(peak) || !isfinite(memory)) continue;
        double low = peak / memory;
        for (size_t k = 0; k < dots[t].n; k++) low = fmin(low, dots[t].x[k]);
        add(&limits[t], low, fmin(peak, low * memory));
        if (low < peak / memory) add(&limits[t], peak / memory, peak);
        add(&limits[t], 2e4, peak);
        snprintf(names[t], sizeof names[t], "%s", dtypes[t]);
        snprintf(names[DTYPES + t], sizeof names[0], "limit %s, %.0f", dtypes[t], peak);
    }
    for (int t = 0; t < DTYPES; t++) put(&chart, names[DTYPES + t], &limits[t], t, CHART_LIMIT);
    for (int t = 0; t < DTYPES; t++) put(&chart, dtypes[t], &dots[t], t, CHART_POINTS);
    return save_lines("roofline.svg", &chart);
}

static qn_status against(const char *file, const char *title, const char *kind, const char *member, const char *x_label,
                         const double *ticks, size_t n_ticks, bool limit) {
    static line lines[DTYPES], limits[DTYPES];
    const json_t *machine = json_object_get(raw, "machine");
    chart_lines chart = {.title = title,
                         .note = note,
                         .x_label = x_label,
                         .y_label = "real tokens/s",
                         .log_x = true,
                         .x_ticks = ticks,
                         .n_x_ticks = n_ticks};
    for (int t = 0; t < DTYPES; t++) {
        lines[t] = sweep(kind, dtypes[t], member);
        put(&chart, dtypes[t], &lines[t], t, CHART_LINE);
    }
    for (int t = 0; limit && t < DTYPES; t++) {
        limits[t].n = 0;
        for (size_t i = 0; i < lines[t].n; i++) {
            double s = !strcmp(member, "length") ? lines[t].x[i] : real(json_object_get(raw, "texts"), "mean");
            add(&limits[t], lines[t].x[i], real(machine, dtypes[t]) * 1e9 / operations(model_shape(), s));
        }
        static const char *const names[] = {"limit f32", "limit bf16", "limit int8"};
        put(&chart, names[t], &limits[t], t, CHART_LIMIT);
    }
    return save_lines(file, &chart);
}

static qn_status padding(void) {
    static line lines[CHART_SERIES];
    static char names[CHART_SERIES][48];
    qn_status status = QN_OK;
    for (int t = 0; t < DTYPES && status == QN_OK; t++) {
        char title[96], file[32];
        snprintf(title, sizeof title, "Texts in arrival order, batches of 32, %s", dtypes[t]);
        snprintf(file, sizeof file, "padding-%s.svg", dtypes[t]);
        chart_lines chart = {.title = title,
                             .note = note,
                             .x_label = "padded tokens / real tokens of a batch",
                             .y_label = "real tokens/s"};
        size_t i, n = 0;
        const json_t *point, *rates;
        json_array_foreach(json_object_get(raw, "padding"), i, point) {
            const char *name;
            if (strcmp(text(point, "dtype"), dtypes[t]) != 0) continue;
            json_object_foreach((json_t *)json_object_get(point, "rates"), name, rates) {
                size_t k = 0;
                while (k < n && strcmp(names[k], name) != 0) k++;
                if (k == CHART_SERIES) continue;
                if (k == n) {
                    snprintf(names[n], sizeof names[n], "%s", name);
                    lines[n++].n = 0;
                }
                add(&lines[k], real(point, "padded_over_real"), real(rates, "best"));
            }
        }
        for (size_t k = 0; k < n; k++) put(&chart, names[k], &lines[k], (int)k, CHART_LINE);
        status = save_lines(file, &chart);
    }
    return status;
}

static qn_status thread_scaling(void) {
    static line lines[DTYPES], ideal;
    static double ticks[POINTS];
    chart_lines chart = {.title = "Threads",
                         .note = note,
                         .x_label = "threads",
                         .y_label = "times as fast as one thread",
                         .x_ticks = ticks};
    ideal.n = 0;
    add(&ideal, 1, 1);
    for (int t = 0; t < DTYPES; t++) {
        lines[t] = sweep("threads", dtypes[t], "threads");
        double one = lines[t].n ? lines[t].y[0] : 1;
        for (size_t i = 0; i < lines[t].n; i++) lines[t].y[i] /= one;
        if (lines[t].n > ideal.n) {
            ideal.n = chart.n_x_ticks = 0;
            for (size_t i = 0; i < lines[t].n; i++) {
                add(&ideal, lines[t].x[i], lines[t].x[i]);
                ticks[chart.n_x_ticks++] = lines[t].x[i];
            }
        }
        put(&chart, dtypes[t], &lines[t], t, CHART_LINE);
    }
    put(&chart, "ideal", &ideal, 7, CHART_LIMIT);
    return save_lines("threads.svg", &chart);
}

// The functions with the largest shares over all profiles are the parts; the last part is all the rest.
static qn_status shares(void) {
    const char *rows[PROFILES], *parts[PARTS];
    static double values[PROFILES * PARTS];
    size_t n_rows = 0, n_parts = 0, i, k;
    const json_t *profiles = json_object_get(json_object_get(raw, "profile"), "profiles"), *profile, *entry;
    while (n_parts < PARTS - 1) {
        const char *best = NULL;
        double largest = 0;
        json_array_foreach(profiles, i, profile) json_array_foreach(json_object_get(profile, "shares"), k, entry) {
            size_t known = 0;
            while (known < n_parts && strcmp(parts[known], text(entry, "function")) != 0) known++;
            if (known == n_parts && real(entry, "share") > largest) {
                largest = real(entry, "share");
                best = text(entry, "function");
            }
        }
        if (!best) break;
        parts[n_parts++] = best;
    }
    size_t named = n_parts;
    parts[n_parts++] = "all others";
    json_array_foreach(profiles, i, profile) {
        if (n_rows == PROFILES) break;
        double *row = values + n_rows * n_parts, rest = 1;
        for (k = 0; k < n_parts; k++) row[k] = 0;
        json_array_foreach(json_object_get(profile, "shares"), k,
                           entry) for (size_t p = 0; p < named; p++) if (!strcmp(parts[p], text(entry, "function"))) {
            row[p] = real(entry, "share");
            rest -= row[p];
        }
        row[named] = fmax(rest, 0);
        rows[n_rows++] = text(profile, "name");
    }
    chart_shares chart = {.title = "Share of time per kernel, and the file that calls it, %",
                          .note = note,
                          .rows = rows,
                          .n_rows = n_rows,
                          .parts = parts,
                          .n_parts = n_parts,
                          .shares = values};
    qn_buffer svg = {0};
    chart_put_shares(&chart, &svg);
    return save("shares.svg", &svg);
}

// ---- The page ------------------------------------------------------------------------------------------------------

static void put_machine(qn_buffer *out) {
    const json_t *machine = json_object_get(root, "machine"), *texts = json_object_get(raw, "texts"),
                 *limits = json_object_get(raw, "machine"), *value;
    size_t i;
    const char *name;
    qn_buffer_printf(out, "Measured on %s: %s (", text(root, "date"), text(machine, "cpu"));
    json_array_foreach(json_object_get(machine, "flags"), i, value)
        qn_buffer_printf(out, "%s%s", i ? " " : "", json_string_value(value));
    qn_buffer_printf(out, "), %.0f processors, %.0f threads; Quern %s with its %s kernels", real(machine, "processors"),
                     real(root, "threads"), text(root, "quern"), text(root, "isa"));
    json_object_foreach((json_t *)json_object_get(root, "versions"), name, value) if (json_is_string(value))
        qn_buffer_printf(out, ", %s %s", name, json_string_value(value));
    qn_buffer_printf(out, ". Load average at the end: %.1f.", real(root, "load_average"));
    if (texts)
        qn_buffer_printf(
            out,
            " %.0f paragraphs with a mean of %.1f tokens, 95 %% below %.0f; in arrival order padded / real is %.2f.",
            real(texts, "count"), real(texts, "mean"), real(texts, "p95"),
            real(texts, "padded_over_real_in_arrival_order"));
    if (limits) {
        qn_buffer_text(out, " Measured peak:");
        for (int t = 0; t < DTYPES; t++)
            if (isfinite(real(limits, dtypes[t])))
                qn_buffer_printf(out, " %s %.0f,", dtypes[t], real(limits, dtypes[t]));
        qn_buffer_printf(out, " GFLOP/s; memory %.1f GB/s.", real(limits, "memory"));
    }
    qn_buffer_text(out, "\n\n");
}

static void put_table(qn_buffer *out) {
    size_t i;
    const json_t *row;
    qn_buffer_text(out, "| job | peer | at least | measured | | |\n| --- | --- | --- | --- | --- | --- |\n");
    json_array_foreach(json_object_get(root, "rows"), i, row) {
        const json_t *ok = json_object_get(row, "ok");
        const char *measured = text(row, "measured");
        qn_buffer_printf(out, "| %s | %s | %s | %s | %s | %s |\n", text(row, "job"), text(row, "peer"),
                         text(row, "at_least"), *measured ? measured : "not measured",
                         json_is_true(ok)    ? "ok"
                         : json_is_false(ok) ? "**short**"
                                             : "",
                         text(row, "note"));
    }
    qn_buffer_char(out, '\n');
}

// Rates and times of all programs, best and median of the rounds.
static void put_rates(const char *title, const char *kind, qn_buffer *out) {
    const json_t *part = json_object_get(raw, kind), *programs, *figure;
    const char *dtype, *name;
    if (!part) return;
    qn_buffer_printf(
        out, "%s, real tokens/s (best; median):\n\n| dtype | program | best | median |\n| --- | --- | --- | --- |\n",
        title);
    json_object_foreach((json_t *)part, dtype, programs) json_object_foreach((json_t *)programs, name, figure)
        qn_buffer_printf(out, "| %s | %s | %.0f | %.0f |\n", dtype, name, real(figure, "best"), real(figure, "median"));
    qn_buffer_char(out, '\n');
}

static void put_latencies(qn_buffer *out) {
    const json_t *part = json_object_get(raw, "latency"), *lengths, *both;
    const char *dtype, *length, *name;
    const json_t *figure;
    if (!part) return;
    qn_buffer_text(out, "One text, milliseconds (median of calls, best round; 95th percentile):\n\n| dtype | tokens | "
                        "program | median | 95 % |\n| --- | --- | --- | --- | --- |\n");
    json_object_foreach((json_t *)part, dtype, lengths) json_object_foreach((json_t *)lengths, length, both)
        json_object_foreach((json_t *)json_object_get(both, "median"), name, figure)
            qn_buffer_printf(out, "| %s | %s | %s | %.2f | %.2f |\n", dtype, length, name, 1e3 * real(figure, "best"),
                             1e3 * real(json_object_get(json_object_get(both, "p95"), name), "best"));
    qn_buffer_char(out, '\n');
}

static void put_training(qn_buffer *out) {
    const json_t *part = json_object_get(raw, "finetune"), *job, *figure;
    const char *name, *program;
    if (!json_object_size(part)) return;
    qn_buffer_text(out, "Fine-tuning, real tokens/s and peak memory:\n\n| job | program | best | median | peak MB |\n| "
                        "--- | --- | --- | --- | --- |\n");
    json_object_foreach((json_t *)part, name, job)
        json_object_foreach((json_t *)json_object_get(job, "rates"), program, figure)
            qn_buffer_printf(out, "| %s | %s | %.0f | %.0f | %.0f |\n", name, program, real(figure, "best"),
                             real(figure, "median"),
                             1e-6 * real(json_object_get(json_object_get(job, "peaks"), program), "best"));
    qn_buffer_char(out, '\n');
}

static void put_commands(qn_buffer *out) {
    const json_t *value;
    const char *name;
    qn_buffer_text(out, "Quern's command behind each figure:\n\n```\n");
    json_object_foreach((json_t *)json_object_get(root, "commands"), name, value)
        qn_buffer_printf(out, "# %s\n%s\n", name, json_string_value(value));
    qn_buffer_text(out, "```\n");
}

static qn_status write_page(const char *path) {
    static const char begin[] = "<!-- figures: written by make bench-plots -->\n", end[] = "<!-- end of figures -->";
    qn_buffer old = {0}, page = {0};
    qn_status status = qn_read_file(path, 1 << 22, &old);
    char *from = status == QN_OK && old.data ? strstr(old.data, begin) : NULL, *to = from ? strstr(from, end) : NULL;
    if (status == QN_OK && !to)
        status = qn_fail(QN_ERROR_FORMAT, "%s: the marks of the figures are missing (expected \"%s\")", path, end);
    if (status == QN_OK) {
        qn_buffer_append(&page, old.data, (size_t)(from - old.data) + strlen(begin));
        qn_buffer_char(&page, '\n');
        put_machine(&page);
        put_table(&page);
        put_rates("In bulk, sorted by length", "bulk", &page);
        put_rates("In arrival order, 32 at a time", "arrival", &page);
        put_latencies(&page);
        put_training(&page);
        put_commands(&page);
        qn_buffer_char(&page, '\n');
        qn_buffer_text(&page, to);
        status = qn_buffer_status(&page);
    }
    if (status == QN_OK) status = qn_write_file(path, page.data, page.size);
    qn_buffer_free(&old);
    qn_buffer_free(&page);
    return status;
}

static qn_status draw(const char *page) {
    static const double batches[] = {256, 512, 1024, 2048, 4096, 8192, 16384},
                        lengths[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
    snprintf(note, sizeof note, "%s, %s; %s", text(json_object_get(root, "machine"), "cpu"), text(root, "isa"),
             text(root, "date"));
    QN_TRY(roofline());
    QN_TRY(against("batch-tokens.svg", "Tokens computed at once", "batch", "batch_tokens", "batch tokens", batches, 7,
                   true));
    QN_TRY(against("lengths.svg", "Length of the texts", "length", "length", "tokens of a text", lengths, 11, true));
    QN_TRY(padding());
    QN_TRY(thread_scaling());
    QN_TRY(shares());
    return write_page(page);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: bench_plots FIGURES.json FOLDER PAGE.md\n");
        return 2;
    }
    json_t *read = NULL;
    figures = argv[1];
    folder = argv[2];
    qn_status status = qn_json_load(figures, &read);
    if (status == QN_OK) {
        root = read;
        raw = json_object_get(root, "raw");
        status = qn_make_folders(folder);
    }
    if (status == QN_OK) status = draw(argv[3]);
    if (status != QN_OK) fprintf(stderr, "bench_plots: %s\n", qn_last_error());
    json_decref(read);
    return status == QN_OK ? 0 : 1;
}
