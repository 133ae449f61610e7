// Plots as inline SVG: scales and ticks, line charts, bars, scatter. The heat map stands in plot_heat.c, style and
// script in plot_page.c.
#include "train/plot_internal.h"
#include "base/memory.h"
#include "train/progress.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 480
#define HEIGHT 250
#define LEFT 50
#define RIGHT 14
#define TOP 12
#define BOTTOM 38
// A line of more points than this is thinned; it is more than a screen has columns for it.
#define LINE_POINTS 600
#define SCATTER_POINTS 2000
#define GROUP_COLORS 10

typedef struct {
    double x0, x1, y0, y1; // ranges; y in log10 when log_y
    double step;           // between ticks of y, when the frame ends at ticks; 0: to be found
    bool log_y;
} scale;

// ---- numbers ------------------------------------------------------------------------------------

void qn_plot_coordinate(double value, qn_buffer *out) {
    if (!isfinite(value)) value = 0;
    // Hundredths of a unit are finer than any screen; far outside the frame the exact place does not matter.
    long long hundredths = llround(fmin(fmax(value, -9999), 9999) * 100);
    if (hundredths < 0) qn_buffer_char(out, '-');
    if (hundredths < 0) hundredths = -hundredths;
    qn_buffer_printf(out, "%lld", hundredths / 100);
    if (hundredths % 100)
        qn_buffer_printf(out, hundredths % 10 ? ".%02lld" : ".%lld",
                         hundredths % 10 ? hundredths % 100 : hundredths % 100 / 10);
}

void qn_plot_attribute(const char *name, double value, qn_buffer *out) {
    qn_buffer_printf(out, " %s=\"", name);
    qn_plot_coordinate(value, out);
    qn_buffer_char(out, '"');
}

void qn_plot_number(double value, int digits, qn_buffer *out) {
    if (!isfinite(value)) {
        qn_buffer_text(out, "\u2013");
        return;
    }
    if (value < 0) qn_buffer_text(out, "\u2212");
    value = fabs(value);
    if (value >= pow(10, digits) && value < 1e15)
        qn_format_count(llround(value), out);
    else if (value >= 1000 && value == floor(value) && value < 1e15)
        qn_format_count((int64_t)value, out);
    else
        qn_buffer_json_number(out, value, digits);
}

// A tick's label: short, as the axis has little room, and in one form for the whole axis, whose largest tick is
// `largest`. 12,500 is 12.5k beside 20k, 0.00015 is 1.5e−4, 0.85 is 85 % where shares are meant.
static void put_tick(double value, double largest, bool percent, qn_buffer *out) {
    const char *unit = percent ? "\u202f%" : "";
    if (percent) {
        value *= 100;
    } else if (largest > 0 && largest < 1e-2 && value != 0) {
        int exponent = (int)floor(log10(fabs(value)) + 1e-9);
        qn_plot_number(value / pow(10, exponent), 3, out);
        qn_buffer_printf(out, "e\u2212%d", -exponent);
        return;
    } else if (largest >= 1e9 && largest < 1e12) {
        value /= 1e9;
        unit = "G";
    } else if (largest >= 1e6) {
        value /= 1e6;
        unit = "M";
    } else if (largest >= 1e4) {
        value /= 1e3;
        unit = "k";
    }
    qn_plot_number(value, 5, out);
    if (value != 0 || percent) qn_buffer_text(out, unit);
}

void qn_plot_html(const char *text, qn_buffer *out) {
    if (text) qn_buffer_html(out, text, strlen(text));
}

// Values that are not finite, or so large that differences overflow, are left out of plots.
static bool plottable(double value) {
    return isfinite(value) && fabs(value) < 1e30;
}

// ---- scales and ticks ---------------------------------------------------------------------------

static double nice_step(double span, int target) {
    double raw = span / target, power = pow(10, floor(log10(raw))), r = raw / power;
    return power * (r < 1.5 ? 1 : r < 3.5 ? 2 : r < 7.5 ? 5 : 10);
}

// Widens an empty or hardly visible range, so that ticks can be told apart.
static void widen(double *lo, double *hi) {
    double size = fmax(fabs(*lo), fabs(*hi));
    if (*hi - *lo > 1e-9 * size && *hi > *lo) return;
    double pad = size > 0 ? 0.1 * size : 1;
    *lo -= pad;
    *hi += pad;
}

static int linear_ticks(double lo, double hi, double step, double *out) {
    double first = ceil(lo / step - 1e-9);
    int n = 0;
    for (int i = 0; i < QN_PLOT_TICKS && (first + i) * step <= hi + 1e-9 * step; i++)
        out[n++] = (first + i) * step + 0.0;
    return n;
}

// Ticks of a logarithmic axis, lo and hi in log10: whole decades, with 2 and 5 between them where there is room, or
// plain ones when the range is below a decade.
static int log_ticks(double lo, double hi, double *out) {
    int n = 0;
    if (hi - lo < 0.9) {
        n = linear_ticks(pow(10, lo), pow(10, hi), nice_step(pow(10, hi) - pow(10, lo), 4), out);
        for (int i = 0; i < n; i++) out[i] = log10(out[i]);
        return n;
    }
    double every = ceil((hi - lo) / 7);
    for (double decade = floor(lo); decade <= hi && n < QN_PLOT_TICKS; decade += every)
        for (int digit = 1; digit <= 5; digit += digit == 1 ? 1 : 3) {
            double at = decade + log10(digit);
            if (at >= lo - 1e-9 && at <= hi + 1e-9 && n < QN_PLOT_TICKS && (digit == 1 || hi - lo < 2.2)) out[n++] = at;
        }
    return n;
}

static double place_x(const scale *s, double x) {
    return LEFT + (x - s->x0) / (s->x1 - s->x0) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const scale *s, double y) {
    double at = s->log_y ? log10(y) : y;
    return HEIGHT - BOTTOM - (at - s->y0) / (s->y1 - s->y0) * (HEIGHT - TOP - BOTTOM);
}

// ---- shared pieces ------------------------------------------------------------------------------

static void put_text(double x, double y, const char *class, qn_buffer *out) {
    qn_buffer_text(out, "<text");
    qn_plot_attribute("x", x, out);
    qn_plot_attribute("y", y, out);
    qn_buffer_printf(out, " class=\"%s\">", class);
}

static void put_line(double x1, double y1, double x2, double y2, const char *class, qn_buffer *out) {
    qn_buffer_printf(out, "<line class=\"%s\"", class);
    qn_plot_attribute("x1", x1, out);
    qn_plot_attribute("y1", y1, out);
    qn_plot_attribute("x2", x2, out);
    qn_plot_attribute("y2", y2, out);
    qn_buffer_text(out, "/>");
}

void qn_plot_open(const char *kind, const char *title, const char *note, qn_buffer *out) {
    qn_buffer_printf(out, "<figure class=\"plot %s\"><figcaption><b>", kind);
    qn_plot_html(title, out);
    qn_buffer_text(out, "</b>");
    if (note) {
        qn_buffer_text(out, "<span class=\"note\">");
        qn_plot_html(note, out);
        qn_buffer_text(out, "</span>");
    }
}

static void put_legend(const char *name, int color, const char *look, qn_buffer *out) {
    qn_buffer_printf(out, "<span class=\"key c%d %s\">", color, look);
    qn_plot_html(name, out);
    qn_buffer_text(out, "</span>");
}

static void open_svg(const char *title, qn_buffer *out) {
    qn_buffer_printf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    qn_plot_html(title, out);
    qn_buffer_char(out, '"');
}

// What is inside this nested picture is cut at the frame, but for the breadth of a line.
static void open_clip(qn_buffer *out) {
    int x = LEFT - 7, y = TOP - 4, width = WIDTH - LEFT - RIGHT + 14, height = HEIGHT - TOP - BOTTOM + 8;
    qn_buffer_printf(out, "<svg x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" viewBox=\"%d %d %d %d\">", x, y, width,
                     height, x, y, width, height);
}

static void put_x_axis(const scale *s, const char *label, qn_buffer *out) {
    double ticks[QN_PLOT_TICKS];
    int n = linear_ticks(s->x0, s->x1, nice_step(s->x1 - s->x0, 6), ticks);
    put_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis", out);
    for (int i = 0; i < n; i++) {
        double x = place_x(s, ticks[i]);
        put_line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4, "axis", out);
        put_text(x, HEIGHT - BOTTOM + 16, "mid", out);
        put_tick(ticks[i], fmax(fabs(ticks[0]), fabs(ticks[n - 1])), false, out);
        qn_buffer_text(out, "</text>");
    }
    put_text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 5, "mid label", out);
    qn_plot_html(label, out);
    qn_buffer_text(out, "</text>");
}

static void put_value_tick(const scale *s, double tick, double largest, bool percent, qn_buffer *out) {
    double value = s->log_y ? pow(10, tick) : tick;
    put_tick(value, s->log_y ? value : largest, percent, out);
}

static void put_y_axis(const scale *s, bool percent, qn_buffer *out) {
    double ticks[QN_PLOT_TICKS];
    double step = s->step > 0 ? s->step : nice_step(s->y1 - s->y0, 4), largest = 0;
    int n = s->log_y ? log_ticks(s->y0, s->y1, ticks) : linear_ticks(s->y0, s->y1, step, ticks);
    // Decades differ too much for one unit.
    for (int i = 0; i < n && !s->log_y; i++) largest = fmax(largest, fabs(ticks[i]));
    for (int i = 0; i < n; i++) {
        double y = HEIGHT - BOTTOM - (ticks[i] - s->y0) / (s->y1 - s->y0) * (HEIGHT - TOP - BOTTOM);
        if (y < HEIGHT - BOTTOM - 0.5) put_line(LEFT, y, WIDTH - RIGHT, y, "grid", out);
        put_text(LEFT - 7, y + 4, "end", out);
        put_value_tick(s, ticks[i], largest, percent, out);
        qn_buffer_text(out, "</text>");
    }
}

static void put_empty(qn_buffer *out) {
    qn_buffer_text(out, ">");
    put_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis", out);
    put_text((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0, "mid label", out);
    qn_buffer_text(out, "no data</text></svg></figure>\n");
}

static void put_dot(double x, double y, double radius, const char *class, const char *text, qn_buffer *out) {
    qn_buffer_printf(out, "<circle class=\"%s\"", class);
    qn_plot_attribute("cx", x, out);
    qn_plot_attribute("cy", y, out);
    qn_plot_attribute("r", radius, out);
    if (text) {
        qn_buffer_text(out, " data-t=\"");
        qn_plot_html(text, out);
        qn_buffer_char(out, '"');
    }
    qn_buffer_text(out, "/>");
}

// ---- lines --------------------------------------------------------------------------------------

typedef struct {
    double *x, *y;
    size_t n;
} points;

// Drops what cannot be drawn, then keeps the lowest and the highest point of each interval, in their order: spikes stay
// visible.
static bool thin(const qn_plot_series *series, points *out) {
    out->n = 0;
    out->x = qn_malloc(2 * (series->n + 1), sizeof *out->x);
    if (!out->x) return false;
    out->y = out->x + series->n + 1;
    for (size_t i = 0; i < series->n; i++)
        if (plottable(series->x[i]) && plottable(series->y[i])) {
            out->x[out->n] = series->x[i];
            out->y[out->n++] = series->y[i];
        }
    if (out->n <= LINE_POINTS) return true;
    size_t all = out->n, buckets = LINE_POINTS / 2, kept = 0;
    for (size_t b = 0; b < buckets; b++) {
        size_t from = all * b / buckets, to = all * (b + 1) / buckets, low = from, high = from;
        for (size_t i = from; i < to; i++) {
            if (out->y[i] < out->y[low]) low = i;
            if (out->y[i] > out->y[high]) high = i;
        }
        // Reading runs ahead of writing, as each interval has more than two points.
        size_t first = low < high ? low : high, second = low < high ? high : low;
        double x[2] = {out->x[first], out->x[second]}, y[2] = {out->y[first], out->y[second]};
        for (int i = 0; i < (first == second ? 1 : 2); i++, kept++) {
            out->x[kept] = x[i];
            out->y[kept] = y[i];
        }
    }
    out->n = kept;
    return true;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The highest value to show: all, or the given quantile of all when a few values lie far above it.
static double upper_limit(const points *lines, size_t n_lines, double quantile, double highest) {
    size_t n = 0, at = 0;
    for (size_t i = 0; i < n_lines; i++) n += lines[i].n;
    double *all = quantile > 0 && quantile < 1 && n > 20 ? qn_malloc(n, sizeof *all) : NULL;
    if (!all) return highest;
    for (size_t i = 0; i < n_lines; i++)
        for (size_t k = 0; k < lines[i].n; k++) all[at++] = lines[i].y[k];
    qsort(all, n, sizeof *all, compare_doubles);
    double limit = all[(size_t)(quantile * (double)(n - 1))];
    free(all);
    return limit > 0 && highest > 1.6 * limit ? 1.15 * limit : highest;
}

// Ranges of all lines. Returns false when there is no point. *positive tells whether a logarithmic axis is possible.
static bool line_scale(const qn_line_plot *plot, const points *lines, scale *s, scale *log_scale) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (size_t i = 0; i < plot->n_series; i++)
        for (size_t k = 0; k < lines[i].n; k++) {
            x0 = fmin(x0, lines[i].x[k]);
            x1 = fmax(x1, lines[i].x[k]);
            y0 = fmin(y0, lines[i].y[k]);
            y1 = fmax(y1, lines[i].y[k]);
        }
    if (!(x0 <= x1)) return false;
    if (plot->x_max > plot->x_min && plottable(plot->x_min) && plottable(plot->x_max)) {
        x0 = fmin(x0, plot->x_min);
        x1 = fmax(x1, plot->x_max);
    }
    if (x0 > 0 && x0 < 0.15 * x1) x0 = 0;
    widen(&x0, &x1);
    y1 = upper_limit(lines, plot->n_series, plot->y_clip, y1);
    *log_scale = (scale){x0, x1, 0, 0, 0, true};
    if (plot->log_switch && y0 > 0) {
        log_scale->y0 = log10(y0);
        log_scale->y1 = log10(fmax(y1, y0));
        double pad = fmax(0.04 * (log_scale->y1 - log_scale->y0), 0.02);
        log_scale->y0 -= pad;
        log_scale->y1 += pad;
    }
    if (plot->y_from_zero && y0 > 0) y0 = 0;
    widen(&y0, &y1);
    // The frame ends at ticks, but never goes above 100 % or below 0 for the roundness alone.
    double step = nice_step(y1 - y0, 4), low = floor(y0 / step + 1e-9) * step, high = ceil(y1 / step - 1e-9) * step;
    if (plot->y_percent && y1 <= 1) high = fmin(high, 1);
    *s = (scale){x0, x1, low, high, step, false};
    return true;
}

static void put_path(const points *line, const scale *s, const qn_plot_series *series, qn_buffer *out) {
    static const char *const looks[] = {"line", "faint", "line"};
    if (line->n > 1) {
        qn_buffer_printf(out, "<path class=\"%s c%d\" d=\"", looks[series->look], series->color);
        for (size_t i = 0; i < line->n; i++) {
            qn_buffer_char(out, i ? 'L' : 'M');
            qn_plot_coordinate(place_x(s, line->x[i]), out);
            qn_buffer_char(out, ' ');
            qn_plot_coordinate(place_y(s, line->y[i]), out);
        }
        qn_buffer_text(out, "\"/>");
    }
    // A single point is no line; many dots would hide theirs.
    if (line->n == 1 || (series->look == QN_PLOT_DOTTED && line->n <= 60))
        for (size_t i = 0; i < line->n; i++) {
            char class[16] = "dot c1";
            class[5] = (char)('0' + series->color);
            put_dot(place_x(s, line->x[i]), place_y(s, line->y[i]), line->n > 30 ? 2 : 3, class, NULL, out);
        }
}

static void put_layer(const qn_line_plot *plot, const points *lines, const scale *s, qn_buffer *out) {
    qn_buffer_printf(out, "<g class=\"%s\">", s->log_y ? "log" : "lin");
    put_y_axis(s, plot->y_percent, out);
    open_clip(out);
    for (size_t i = 0; i < plot->n_series; i++) put_path(&lines[i], s, &plot->series[i], out);
    for (size_t i = 0; i < plot->n_marks; i++) {
        const qn_plot_mark *mark = &plot->marks[i];
        if (plottable(mark->x) && plottable(mark->y) && !(s->log_y && mark->y <= 0))
            put_dot(place_x(s, mark->x), place_y(s, mark->y), 5.5, "mark", mark->text, out);
    }
    qn_buffer_text(out, "</svg></g>");
}

static void json_list(const double *values, size_t n, qn_buffer *out) {
    qn_buffer_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i) qn_buffer_char(out, ',');
        qn_buffer_json_number(out, values[i], 5);
    }
    qn_buffer_char(out, ']');
}

static void json_range(double a, double b, qn_buffer *out) {
    qn_buffer_char(out, '[');
    qn_buffer_json_number(out, a, 9);
    qn_buffer_char(out, ',');
    qn_buffer_json_number(out, b, 9);
    qn_buffer_char(out, ']');
}

// What the tooltip needs, as JSON in an attribute: frame, ranges and the points of each line.
static void put_hover_data(const qn_line_plot *plot, const points *lines, const scale *s, const scale *log_scale,
                           bool has_log, qn_buffer *out) {
    qn_buffer json = {0};
    qn_buffer_printf(&json, "{\"f\":[%d,%d,%d,%d],\"x\":", LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM);
    json_range(s->x0, s->x1, &json);
    qn_buffer_text(&json, ",\"y\":");
    json_range(s->y0, s->y1, &json);
    if (has_log) {
        qn_buffer_text(&json, ",\"l\":");
        json_range(log_scale->y0, log_scale->y1, &json);
    }
    qn_buffer_printf(&json, ",\"p\":%d,\"n\":", plot->y_percent);
    qn_buffer_json_string(&json, plot->x_label, strlen(plot->x_label));
    qn_buffer_text(&json, ",\"s\":[");
    for (size_t i = 0; i < plot->n_series; i++) {
        qn_buffer_printf(&json, "%s{\"c\":%d,\"n\":", i ? "," : "", plot->series[i].color);
        qn_buffer_json_string(&json, plot->series[i].name, strlen(plot->series[i].name));
        qn_buffer_text(&json, ",\"x\":");
        json_list(lines[i].x, lines[i].n, &json);
        qn_buffer_text(&json, ",\"y\":");
        json_list(lines[i].y, lines[i].n, &json);
        qn_buffer_char(&json, '}');
    }
    qn_buffer_text(&json, "]}");
    qn_buffer_text(out, " data-plot=\"");
    qn_plot_html(json.data, out);
    qn_buffer_char(out, '"');
    if (json.failed) out->failed = true;
    qn_buffer_free(&json);
}

void qn_plot_lines(const qn_line_plot *plot, qn_buffer *out) {
    static const char *const looks[] = {"", "pale", "dotted"};
    points lines[QN_PLOT_SERIES] = {{0}};
    bool ok = true;
    for (size_t i = 0; i < plot->n_series && ok; i++) ok = thin(&plot->series[i], &lines[i]);
    scale linear, logarithmic;
    bool any = ok && line_scale(plot, lines, &linear, &logarithmic), has_log = any && logarithmic.y1 > logarithmic.y0;
    qn_plot_open("lines", plot->title, plot->note, out);
    if (has_log)
        qn_buffer_printf(out, "<label class=\"switch\"><input type=\"checkbox\"%s/>log</label>",
                         plot->log_first ? " checked=\"checked\"" : "");
    qn_buffer_text(out, "<span class=\"legend\">");
    for (size_t i = 0; i < plot->n_series && plot->n_series > 1; i++)
        if (plot->series[i].n)
            put_legend(plot->series[i].name, plot->series[i].color, looks[plot->series[i].look], out);
    qn_buffer_text(out, "</span></figcaption>");
    open_svg(plot->title, out);
    if (any) {
        put_hover_data(plot, lines, &linear, &logarithmic, has_log, out);
        qn_buffer_text(out, ">");
        put_x_axis(&linear, plot->x_label, out);
        put_layer(plot, lines, &linear, out);
        if (has_log) put_layer(plot, lines, &logarithmic, out);
        qn_buffer_text(out, "</svg></figure>\n");
    } else {
        put_empty(out);
    }
    for (size_t i = 0; i < plot->n_series; i++) free(lines[i].x);
    if (!ok) out->failed = true;
}

// ---- bars ---------------------------------------------------------------------------------------

static void put_bar(const scale *s, double left, double right, double from, double to, const char *class,
                    const char *text, qn_buffer *out) {
    if (!(to > from)) return;
    double top = place_y(s, to), bottom = place_y(s, from);
    qn_buffer_printf(out, "<rect class=\"%s\"", class);
    qn_plot_attribute("x", place_x(s, left) + 1, out);
    qn_plot_attribute("y", top, out);
    qn_plot_attribute("width", fmax(place_x(s, right) - place_x(s, left) - 2, 1), out);
    qn_plot_attribute("height", bottom - top, out);
    qn_buffer_text(out, " data-t=\"");
    qn_plot_html(text, out);
    qn_buffer_text(out, "\"/>");
}

static void bar_tip(const qn_bar_plot *plot, double left, double right, double first, double second, qn_buffer *tip) {
    qn_buffer_clear(tip);
    qn_plot_number(left, 3, tip);
    qn_buffer_text(tip, " \u2013 ");
    qn_plot_number(right, 3, tip);
    qn_buffer_char(tip, '\n');
    qn_plot_number(first, 6, tip);
    qn_buffer_printf(tip, " %s", plot->first_name);
    if (!plot->second) return;
    qn_buffer_char(tip, '\n');
    qn_plot_number(second, 6, tip);
    qn_buffer_printf(tip, " %s", plot->second_name);
}

void qn_plot_bars(const qn_bar_plot *plot, qn_buffer *out) {
    qn_plot_open("bars", plot->title, plot->note, out);
    qn_buffer_text(out, "<span class=\"legend\">");
    if (plot->second) {
        put_legend(plot->first_name, 1, "box", out);
        put_legend(plot->second_name, 2, "box", out);
    }
    qn_buffer_text(out, "</span></figcaption>");
    open_svg(plot->title, out);
    double highest = 0;
    for (size_t i = 0; i < plot->n; i++) {
        double total = plot->first[i] + (plot->second ? plot->second[i] : 0);
        if (plottable(total)) highest = fmax(highest, total);
    }
    if (highest <= 0 || !(plot->x_max > plot->x_min)) {
        put_empty(out);
        return;
    }
    double step = nice_step(highest, 4), width = (plot->x_max - plot->x_min) / (double)plot->n;
    scale s = {plot->x_min, plot->x_max, 0, ceil(highest / step - 1e-9) * step, step, false};
    qn_buffer tip = {0};
    qn_buffer_char(out, '>');
    put_y_axis(&s, false, out);
    for (size_t i = 0; i < plot->n; i++) {
        double left = plot->x_min + width * (double)i, right = left + width, first = plot->first[i],
               second = plot->second ? plot->second[i] : 0;
        if (!plottable(first) || !plottable(second)) continue;
        bar_tip(plot, left, right, first, second, &tip);
        put_bar(&s, left, right, 0, first, "c1", tip.data, out);
        put_bar(&s, left, right, first, first + second, "c2", tip.data, out);
    }
    put_x_axis(&s, plot->x_label, out);
    qn_buffer_text(out, "</svg></figure>\n");
    if (tip.failed) out->failed = true;
    qn_buffer_free(&tip);
}

// ---- scatter ------------------------------------------------------------------------------------

static bool scatter_scale(const qn_scatter_plot *plot, scale *s, double *largest) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    *largest = 0;
    for (size_t i = 0; i < plot->n; i++) {
        if (!plottable(plot->x[i]) || !plottable(plot->y[i])) continue;
        x0 = fmin(x0, plot->x[i]);
        x1 = fmax(x1, plot->x[i]);
        y0 = fmin(y0, plot->y[i]);
        y1 = fmax(y1, plot->y[i]);
        if (plot->size && plottable(plot->size[i])) *largest = fmax(*largest, plot->size[i]);
    }
    if (!(x0 <= x1)) return false;
    if (plot->unit) {
        *s = (scale){0, 1, 0, 1, 0.2, false};
        return true;
    }
    if (plot->diagonal) {
        x0 = y0 = fmin(x0, y0);
        x1 = y1 = fmax(x1, y1);
    }
    widen(&x0, &x1);
    widen(&y0, &y1);
    double x_step = nice_step(x1 - x0, 5), y_step = nice_step(y1 - y0, 4);
    if (plot->diagonal) x_step = y_step;
    *s = (scale){floor(x0 / x_step + 1e-9) * x_step,
                 ceil(x1 / x_step - 1e-9) * x_step,
                 floor(y0 / y_step + 1e-9) * y_step,
                 ceil(y1 / y_step - 1e-9) * y_step,
                 y_step,
                 false};
    return true;
}

// Groups have the colours behind the four of lines; there are ten.
static int group_color(int32_t group) {
    return group < 0 ? 1 : 10 + group % GROUP_COLORS;
}

void qn_plot_scatter(const qn_scatter_plot *plot, qn_buffer *out) {
    qn_plot_open("scatter", plot->title, plot->note, out);
    qn_buffer_text(out, "<span class=\"legend\">");
    for (size_t g = 0; g < plot->group_count && plot->group_count <= GROUP_COLORS; g++)
        put_legend(plot->groups[g], group_color((int32_t)g), "dotted", out);
    qn_buffer_text(out, "</span></figcaption>");
    open_svg(plot->title, out);
    scale s;
    double largest;
    if (!scatter_scale(plot, &s, &largest)) {
        put_empty(out);
        return;
    }
    qn_buffer_char(out, '>');
    put_y_axis(&s, false, out);
    put_x_axis(&s, plot->x_label, out);
    if (plot->y_label) {
        qn_buffer_printf(out, "<text class=\"mid label\" transform=\"translate(11 %d) rotate(-90)\">",
                         (TOP + HEIGHT - BOTTOM) / 2);
        qn_plot_html(plot->y_label, out);
        qn_buffer_text(out, "</text>");
    }
    if (plot->diagonal) {
        double from = fmax(s.x0, s.y0), to = fmin(s.x1, s.y1);
        if (from < to) put_line(place_x(&s, from), place_y(&s, from), place_x(&s, to), place_y(&s, to), "ideal", out);
    }
    if (plot->connect) {
        bool begun = false;
        qn_buffer_text(out, "<path class=\"line c1\" d=\"");
        for (size_t i = 0; i < plot->n; i++) {
            if (!plottable(plot->x[i]) || !plottable(plot->y[i])) continue;
            qn_buffer_char(out, begun ? 'L' : 'M');
            qn_plot_coordinate(place_x(&s, plot->x[i]), out);
            qn_buffer_char(out, ' ');
            qn_plot_coordinate(place_y(&s, plot->y[i]), out);
            begun = true;
        }
        qn_buffer_text(out, "\"/>");
    }
    size_t shown = plot->n < SCATTER_POINTS ? plot->n : SCATTER_POINTS;
    for (size_t k = 0; k < shown; k++) {
        size_t i = plot->n * k / shown;
        if (!plottable(plot->x[i]) || !plottable(plot->y[i])) continue;
        double share = plot->size && largest > 0 && plottable(plot->size[i]) ? fmax(plot->size[i], 0) / largest : 1;
        double radius = plot->size ? 2.5 + 5.5 * sqrt(share) : shown > 500 ? 2 : 3;
        char class[32];
        snprintf(class, sizeof class, "%s c%d", plot->size ? "bubble" : "point",
                 plot->group ? group_color(plot->group[i]) : 1);
        const char *tip = plot->text                                                            ? plot->text[i]
                          : plot->group && plot->group[i] >= 0 ? plot->groups[plot->group[i]]
                                                               : NULL;
        put_dot(place_x(&s, plot->x[i]), place_y(&s, plot->y[i]), radius, class, tip, out);
    }
    qn_buffer_text(out, "</svg></figure>\n");
}
