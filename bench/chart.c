// See chart.h.
#include "chart.h"
#include "train/plot_internal.h"
#include <math.h>
#include <string.h>

enum { WIDTH = 720, LEFT = 70, RIGHT = 22, FRAME = 290, BOTTOM = 56, MOST_TICKS = 24 };

static const char style[] =
    "<style>\n"
    "svg{--paper:#fff;--ink:#1f1d1a;--muted:#77726a;--grid:#e8e5de;color-scheme:light dark}\n"
    "@media (prefers-color-scheme:dark){svg{--paper:#1d1c1a;--ink:#ece8e1;--muted:#989287;--grid:#34312d}}\n"
    "text{font:12px system-ui,sans-serif;fill:var(--muted)}.title{font-size:15px;font-weight:600;fill:var(--ink)}\n"
    ".key{fill:var(--ink)}.mid{text-anchor:middle}.end{text-anchor:end}.on{fill:#fff;font-weight:600}\n"
    ".paper{fill:var(--paper)}.grid{stroke:var(--grid)}.axis{stroke:var(--muted)}\n"
    "path{fill:none;stroke-width:2;stroke-linejoin:round}circle{stroke:var(--paper);stroke-width:1.2}\n"
    "path.limit{stroke-width:1.5;stroke-dasharray:5 4}\n"
    "</style>\n";
static const char *const colors[CHART_COLORS] = {"#2b6cb0", "#d0702a", "#2f8a5f", "#8457ab",
                                                 "#c2453a", "#2a93a8", "#a98a1c", "#8a8378"};

// ---- Pieces --------------------------------------------------------------------------------------------------------

static void put_text(double x, double y, const char *class, const char *text, qn_buffer *out) {
    qn_buffer_printf(out, "<text class=\"%s\"", class);
    qn_plot_attribute("x", x, out);
    qn_plot_attribute("y", y, out);
    qn_buffer_char(out, '>');
    qn_plot_html(text, out);
    qn_buffer_text(out, "</text>\n");
}

static void put_rule(double x1, double y1, double x2, double y2, const char *class, qn_buffer *out) {
    qn_buffer_printf(out, "<line class=\"%s\"", class);
    qn_plot_attribute("x1", x1, out);
    qn_plot_attribute("y1", y1, out);
    qn_plot_attribute("x2", x2, out);
    qn_plot_attribute("y2", y2, out);
    qn_buffer_text(out, "/>\n");
}

static void put_rectangle(double x, double y, double width, double height, const char *fill, qn_buffer *out) {
    qn_buffer_printf(out, "<rect fill=\"%s\"", fill);
    qn_plot_attribute("x", x, out);
    qn_plot_attribute("y", y, out);
    qn_plot_attribute("width", width, out);
    qn_plot_attribute("height", height, out);
    qn_buffer_text(out, "/>\n");
}

// A tick's number: 16,384 in full, 20k where the axis goes far.
static void put_number(double x, double y, const char *class, double value, double largest, qn_buffer *out) {
    qn_buffer text = {0};
    bool thousands = largest >= 20000 && value != 0 && fmod(value, 1000) == 0;
    qn_plot_number(thousands ? value / 1000 : value, 5, &text);
    if (thousands) qn_buffer_char(&text, 'k');
    put_text(x, y, class, text.data ? text.data : "", out);
    if (text.failed) out->failed = true;
    qn_buffer_free(&text);
}

// An estimate: a letter of this font is about 7 units wide.
static double text_width(const char *text) {
    size_t letters = 0;
    for (; *text; text++) letters += ((unsigned char)*text & 0xC0) != 0x80;
    return 7 * (double)letters;
}

typedef struct {
    const char *name;
    int color;
    chart_look look;
} key;

// Draws the legend from y on, unless `out` is NULL; returns the height that it takes.
static double put_legend(const key *keys, size_t count, double y, qn_buffer *out) {
    double x = LEFT, begin = y;
    for (size_t i = 0; i < count; i++) {
        double width = 44 + text_width(keys[i].name);
        if (x > LEFT && x + width > WIDTH - RIGHT) {
            x = LEFT;
            y += 20;
        }
        if (out && keys[i].look != CHART_POINTS)
            qn_buffer_printf(out, "<path class=\"%s\" stroke=\"%s\" d=\"M%.0f %.0fh20\"/>\n",
                             keys[i].look == CHART_LIMIT ? "limit" : "line", colors[keys[i].color], x, y - 4);
        if (out && keys[i].look != CHART_LIMIT)
            qn_buffer_printf(out, "<circle fill=\"%s\" cx=\"%.0f\" cy=\"%.0f\" r=\"4\"/>\n", colors[keys[i].color],
                             x + 10, y - 4);
        if (out) put_text(x + 26, y, "key", keys[i].name, out);
        x += width;
    }
    return y - begin + 20;
}

static void open_svg(const char *title, const char *note, double height, qn_buffer *out) {
    qn_buffer_printf(out,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" "
                     "role=\"img\" aria-label=\"",
                     WIDTH, height, WIDTH, height);
    qn_plot_html(title, out);
    qn_buffer_text(out, "\">\n");
    qn_buffer_text(out, style);
    qn_buffer_printf(out, "<rect class=\"paper\" width=\"%d\" height=\"%.0f\"/>\n", WIDTH, height);
    put_text(LEFT, 26, "title", title, out);
    if (note) put_text(LEFT, 45, "note", note, out);
}

// ---- Lines ---------------------------------------------------------------------------------------------------------

typedef struct {
    double low, high; // logarithms where `log`
    bool log;
    double ticks[MOST_TICKS];
    size_t n_ticks;
} axis;

static double place(const axis *a, double value, double from, double to) {
    double v = a->log ? log10(value) : value;
    return from + (v - a->low) / (a->high - a->low) * (to - from);
}

static void add_tick(axis *a, double value) {
    if (a->n_ticks < MOST_TICKS) a->ticks[a->n_ticks++] = value;
}

static void choose_log(axis *a, double low, double high) {
    double pad = 0.03 * fmax(log10(high / low), 0.3);
    a->low = log10(low) - pad;
    a->high = log10(high) + pad;
    static const double steps[] = {1, 2, 5};
    bool many = a->high - a->low > 2.5;
    for (int power = (int)floor(a->low); power <= (int)ceil(a->high); power++)
        for (int i = 0; i < (many ? 1 : 3); i++) {
            double value = steps[i] * pow(10, power);
            if (log10(value) >= a->low && log10(value) <= a->high) add_tick(a, value);
        }
}

static void choose_linear(axis *a, double low, double high) {
    double span = high > low ? high - low : fmax(fabs(high), 1), power = pow(10, floor(log10(span / 5))),
           r = span / 5 / power;
    double step = power * (r < 1.5 ? 1 : r < 3.5 ? 2 : r < 7.5 ? 5 : 10);
    a->low = floor(low / step + 1e-9) * step;
    a->high = ceil(high / step - 1e-9) * step;
    if (!(a->high > a->low)) a->high = a->low + step;
    for (int i = 0; a->low + i * step <= a->high + step / 2; i++) add_tick(a, a->low + i * step);
}

static bool drawable(const chart_lines *c, const chart_series *s, size_t i) {
    return isfinite(s->x[i]) && isfinite(s->y[i]) && !(c->log_x && s->x[i] <= 0) && !(c->log_y && s->y[i] <= 0);
}

static bool choose_axes(const chart_lines *c, axis *x, axis *y) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (size_t k = 0; k < c->n_series; k++)
        for (size_t i = 0; i < c->series[k].n; i++) {
            if (!drawable(c, &c->series[k], i)) continue;
            x0 = fmin(x0, c->series[k].x[i]);
            x1 = fmax(x1, c->series[k].x[i]);
            y0 = fmin(y0, c->series[k].y[i]);
            y1 = fmax(y1, c->series[k].y[i]);
        }
    if (!(x0 <= x1)) return false;
    *x = (axis){.log = c->log_x};
    *y = (axis){.log = c->log_y};
    if (c->log_x)
        choose_log(x, x0, x1);
    else
        choose_linear(x, x0, x1);
    if (c->log_y)
        choose_log(y, y0, y1);
    else
        choose_linear(y, fmin(y0, 0), y1);
    if (c->x_ticks) {
        x->n_ticks = 0;
        for (size_t i = 0; i < c->n_x_ticks; i++) add_tick(x, c->x_ticks[i]);
    }
    return true;
}

static void put_axes(const chart_lines *c, const axis *x, const axis *y, double top, qn_buffer *out) {
    double bottom = top + FRAME;
    for (size_t i = 0; i < y->n_ticks; i++) {
        double at = place(y, y->ticks[i], bottom, top);
        put_rule(LEFT, at, WIDTH - RIGHT, at, "grid", out);
        put_number(LEFT - 8, at + 4, "end", y->ticks[i], y->log ? 0 : y->ticks[y->n_ticks - 1], out);
    }
    put_rule(LEFT, bottom, WIDTH - RIGHT, bottom, "axis", out);
    for (size_t i = 0; i < x->n_ticks; i++) {
        double at = place(x, x->ticks[i], LEFT, WIDTH - RIGHT);
        if (at < LEFT - 1 || at > WIDTH - RIGHT + 1) continue;
        put_rule(at, bottom, at, bottom + 4, "axis", out);
        put_number(at, bottom + 18, "mid", x->ticks[i], 0, out);
    }
    put_text((LEFT + WIDTH - RIGHT) / 2.0, bottom + 40, "mid", c->x_label, out);
    qn_buffer_printf(out, "<text class=\"mid\" transform=\"translate(16 %.0f) rotate(-90)\">", (top + bottom) / 2);
    qn_plot_html(c->y_label, out);
    qn_buffer_text(out, "</text>\n");
}

static void put_series(const chart_lines *c, const chart_series *s, const axis *x, const axis *y, double top,
                       qn_buffer *out) {
    const char *color = colors[s->color % CHART_COLORS];
    bool begun = false;
    if (s->look != CHART_POINTS) {
        qn_buffer_printf(out, "<path class=\"%s\" stroke=\"%s\" d=\"", s->look == CHART_LIMIT ? "limit" : "line",
                         color);
        for (size_t i = 0; i < s->n; i++) {
            if (!drawable(c, s, i)) continue;
            qn_buffer_char(out, begun ? 'L' : 'M');
            qn_plot_coordinate(place(x, s->x[i], LEFT, WIDTH - RIGHT), out);
            qn_buffer_char(out, ' ');
            qn_plot_coordinate(place(y, s->y[i], top + FRAME, top), out);
            begun = true;
        }
        qn_buffer_text(out, "\"/>\n");
    }
    for (size_t i = 0; i < s->n && s->look != CHART_LIMIT; i++) {
        if (!drawable(c, s, i)) continue;
        qn_buffer_printf(out, "<circle fill=\"%s\" r=\"4\"", color);
        qn_plot_attribute("cx", place(x, s->x[i], LEFT, WIDTH - RIGHT), out);
        qn_plot_attribute("cy", place(y, s->y[i], top + FRAME, top), out);
        qn_buffer_text(out, "><title>");
        qn_plot_html(s->name ? s->name : "", out);
        qn_buffer_text(out, ": ");
        qn_plot_number(s->x[i], 4, out);
        qn_buffer_text(out, ", ");
        qn_plot_number(s->y[i], 4, out);
        qn_buffer_text(out, "</title></circle>\n");
    }
}

void chart_put_lines(const chart_lines *c, qn_buffer *out) {
    key keys[CHART_SERIES];
    size_t n_keys = 0;
    for (size_t i = 0; i < c->n_series; i++)
        if (c->series[i].name)
            keys[n_keys++] = (key){c->series[i].name, c->series[i].color % CHART_COLORS, c->series[i].look};
    double legend = 70, top = legend + put_legend(keys, n_keys, legend, NULL);
    open_svg(c->title, c->note, top + FRAME + BOTTOM, out);
    put_legend(keys, n_keys, legend, out);
    axis x, y;
    if (choose_axes(c, &x, &y)) {
        put_axes(c, &x, &y, top, out);
        for (size_t i = 0; i < c->n_series; i++) put_series(c, &c->series[i], &x, &y, top, out);
    } else {
        put_text(WIDTH / 2.0, top + FRAME / 2.0, "mid", "not measured", out);
    }
    qn_buffer_text(out, "</svg>\n");
}

// ---- Shares --------------------------------------------------------------------------------------------------------

// The last part is the rest, in grey.
static int part_color(const chart_shares *c, size_t part) {
    return part + 1 == c->n_parts ? CHART_COLORS - 1 : (int)part;
}

void chart_put_shares(const chart_shares *c, qn_buffer *out) {
    enum { BAR = 26, STEP = 40, NAMES = 150 };
    key keys[CHART_COLORS];
    size_t n_keys = c->n_parts < CHART_COLORS ? c->n_parts : CHART_COLORS;
    for (size_t i = 0; i < n_keys; i++) keys[i] = (key){c->parts[i], part_color(c, i), CHART_POINTS};
    double legend = 70, top = legend + put_legend(keys, n_keys, legend, NULL);
    open_svg(c->title, c->note, top + STEP * (double)c->n_rows + 16, out);
    put_legend(keys, n_keys, legend, out);
    for (size_t row = 0; row < c->n_rows; row++) {
        double y = top + STEP * (double)row, x = NAMES, scale = WIDTH - RIGHT - NAMES;
        put_text(NAMES - 10, y + BAR / 2.0 + 4, "end key", c->rows[row], out);
        for (size_t i = 0; i < n_keys; i++) {
            double share = c->shares[row * c->n_parts + i], width = share * scale;
            if (!(share > 0)) continue;
            put_rectangle(x, y, fmax(width - 1, 0.5), BAR, colors[part_color(c, i)], out);
            char text[16];
            qn_buffer label = {0};
            qn_plot_number(round(100 * share), 3, &label);
            size_t size = label.size < sizeof text - 1 ? label.size : sizeof text - 1;
            if (label.data) memcpy(text, label.data, size);
            text[size] = 0;
            qn_buffer_free(&label);
            if (width > 24) put_text(x + width / 2, y + BAR / 2.0 + 4, "mid on", text, out);
            x += width;
        }
    }
    qn_buffer_text(out, "</svg>\n");
}
