// The heat map of a confusion matrix as inline SVG.
#include "base/utf8.h"
#include "train/plot_internal.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_CHARACTERS 22

typedef struct {
    double cell, font, left, top, width, height;
} layout;

// A label cut to what fits beside a row, with an ellipsis.
static void put_label(const char *text, int limit, qn_buffer *out) {
    size_t size = strlen(text), at = 0;
    int32_t code;
    for (int n = 0; at < size && n < limit - 1; n++) at += qn_utf8_next(text + at, size - at, &code);
    if (at < size && at + qn_utf8_next(text + at, size - at, &code) == size) at = size;
    qn_buffer_html(out, text, at);
    if (at < size) qn_buffer_text(out, "\u2026");
}

static int label_length(const char *text) {
    size_t size = strlen(text), at = 0;
    int32_t code;
    int n = 0;
    for (; at < size && n < LABEL_CHARACTERS; n++) at += qn_utf8_next(text + at, size - at, &code);
    return n;
}

static layout arrange(const qn_heat_map *plot) {
    static const struct {
        int classes;
        double cell;
    } sizes[] = {{3, 78}, {5, 62}, {8, 46}, {12, 38}, {20, 29}, {30, 23}, {50, 15}, {100000, 10}};
    layout l = {0};
    int i = 0;
    while (plot->n > sizes[i].classes) i++;
    l.cell = sizes[i].cell;
    l.font = fmin(12, l.cell * 0.82);
    int longest = 1;
    for (int32_t k = 0; k < plot->n; k++) {
        int length = label_length(plot->labels[k]);
        if (length > longest) longest = length;
    }
    // A letter is about 0.56 em wide; column labels stand at 45 degrees, so the last one leans out to the right.
    double text = 0.56 * l.font * longest;
    // A page is about 1,080 wide; beyond that the map would have to be scrolled.
    if (l.cell <= 15) l.cell = fmin(l.cell, (1050 - text - 0.71 * text) / plot->n);
    if (l.cell < 6) l.cell = 6;
    l.left = text + 26;
    l.top = 0.71 * text + 34;
    double right = l.cell * plot->n;
    for (int32_t k = 0; k < plot->n; k++)
        right = fmax(right, l.cell * (k + 0.5) + 0.71 * 0.6 * l.font * label_length(plot->labels[k]) + 6);
    l.width = l.left + right + 2;
    l.height = l.top + l.cell * plot->n + 4;
    return l;
}

static void put_labels(const qn_heat_map *plot, const layout *l, qn_buffer *out) {
    for (int32_t k = 0; k < plot->n; k++) {
        double middle = l->cell * (k + 0.5);
        qn_buffer_text(out, "<text class=\"end\"");
        qn_plot_attribute("x", l->left - 6, out);
        qn_plot_attribute("y", l->top + middle + 0.35 * l->font, out);
        qn_buffer_char(out, '>');
        put_label(plot->labels[k], LABEL_CHARACTERS, out);
        qn_buffer_text(out, "</text><text transform=\"translate(");
        qn_plot_coordinate(l->left + middle + 0.25 * l->font, out);
        qn_buffer_char(out, ' ');
        qn_plot_coordinate(l->top - 6, out);
        qn_buffer_text(out, ") rotate(-45)\">");
        put_label(plot->labels[k], LABEL_CHARACTERS, out);
        qn_buffer_text(out, "</text>");
    }
    qn_buffer_text(out, "<text class=\"mid label axis-name\" transform=\"translate(11 ");
    qn_plot_coordinate(l->top + l->cell * plot->n / 2, out);
    qn_buffer_text(out, ") rotate(-90)\">");
    qn_plot_html(plot->row_label, out);
    qn_buffer_text(out, "</text><text class=\"mid label axis-name\"");
    qn_plot_attribute("x", l->left + l->cell * plot->n / 2, out);
    qn_buffer_text(out, " y=\"12\">");
    qn_plot_html(plot->column_label, out);
    qn_buffer_text(out, "</text>");
}

static void put_cell(const layout *l, const qn_heat_cell *cell, int64_t row_total, qn_buffer *out) {
    double share = row_total > 0 ? (double)cell->count / (double)row_total : 0, gap = l->cell > 12 ? 1 : 0.5;
    bool right = cell->row == cell->column;
    // The root makes rare mistakes visible beside a full diagonal.
    double ink = 0.05 + 0.95 * (right ? share : sqrt(share));
    double x = l->left + l->cell * cell->column, y = l->top + l->cell * cell->row;
    qn_buffer_printf(out, "<rect class=\"%s\"", right ? "c1" : "c2");
    qn_plot_attribute("x", x + gap / 2, out);
    qn_plot_attribute("y", y + gap / 2, out);
    qn_plot_attribute("width", l->cell - gap, out);
    qn_plot_attribute("height", l->cell - gap, out);
    qn_plot_attribute("fill-opacity", ink, out);
    qn_buffer_printf(out, " data-cell=\"%d,%d,%lld,%lld\"/>", (int)cell->row, (int)cell->column, (long long)cell->count,
                     (long long)row_total);
    if (l->cell < 20) return;
    // The count shrinks with its digits, so that it stays inside the cell.
    int digits = 1;
    for (int64_t c = cell->count; c >= 10; c /= 10) digits++;
    double font = fmin(13, (l->cell - 4) / (0.58 * fmax(digits, 2)));
    qn_buffer_printf(out, "<text class=\"mid%s\"", ink > 0.6 ? " on" : "");
    qn_plot_attribute("x", x + l->cell / 2, out);
    qn_plot_attribute("y", y + l->cell / 2 + 0.36 * font, out);
    qn_buffer_text(out, " style=\"font-size:");
    qn_plot_coordinate(font, out);
    qn_buffer_printf(out, "px\">%lld</text>", (long long)cell->count);
}

void qn_plot_heat_map(const qn_heat_map *plot, qn_buffer *out) {
    int64_t *rows = qn_calloc((size_t)(plot->n > 0 ? plot->n : 1), sizeof *rows);
    if (!rows) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < plot->n_cells; i++) rows[plot->cells[i].row] += plot->cells[i].count;
    layout l = arrange(plot);
    qn_plot_open("heat", plot->title, plot->note, out);
    qn_buffer_text(out, "</figcaption><div class=\"scroll\"><svg role=\"img\" aria-label=\"");
    qn_plot_html(plot->title, out);
    qn_buffer_text(out, "\" viewBox=\"0 0 ");
    qn_plot_coordinate(l.width, out);
    qn_buffer_char(out, ' ');
    qn_plot_coordinate(l.height, out);
    qn_buffer_char(out, '"');
    qn_plot_attribute("width", l.width, out);
    qn_plot_attribute("height", l.height, out);
    qn_buffer_text(out, " style=\"font-size:");
    qn_plot_coordinate(l.font, out);
    qn_buffer_text(out, "px\" data-labels=\"");
    qn_buffer json = {0};
    for (int32_t k = 0; k < plot->n; k++) {
        qn_buffer_char(&json, k ? ',' : '[');
        qn_buffer_json_string(&json, plot->labels[k], strlen(plot->labels[k]));
    }
    qn_buffer_text(&json, plot->n > 0 ? "]" : "[]");
    qn_plot_html(json.data, out);
    if (json.failed) out->failed = true;
    qn_buffer_free(&json);
    qn_buffer_text(out, "\"><rect class=\"ground\"");
    qn_plot_attribute("x", l.left, out);
    qn_plot_attribute("y", l.top, out);
    qn_plot_attribute("width", l.cell * plot->n, out);
    qn_plot_attribute("height", l.cell * plot->n, out);
    qn_buffer_text(out, "/>");
    put_labels(plot, &l, out);
    for (size_t i = 0; i < plot->n_cells; i++)
        if (plot->cells[i].count > 0) put_cell(&l, &plot->cells[i], rows[plot->cells[i].row], out);
    qn_buffer_text(out, "</svg></div></figure>\n");
    free(rows);
}
