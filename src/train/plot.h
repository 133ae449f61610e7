// Plots as inline SVG for HTML pages: lines, bars, scatter and heat map. Used by the run report and by benchmark pages.
//
// A plot is one <figure> of 480 units width with everything inside; colours come from CSS custom properties (--ink,
// --muted, --line, --grid,
// --c1 .. --c4, --good, --bad), so that one plot serves light and dark. qn_plot_css and qn_plot_js, put once into a
// page, give these properties, the tooltips and the switch between linear and logarithmic scale; without scripts the
// plots still show everything but the tooltips. All texts are escaped. Points that are not finite are left out; the
// output holds no NaN and depends on the input only.
#pragma once
#include "base/buffer.h"

#define QN_PLOT_SERIES 8

typedef enum {
    QN_PLOT_LINE,
    QN_PLOT_FAINT, // a thin, pale line: raw values behind a smoothed line
    QN_PLOT_DOTTED // a line with a dot at each point: few, exact values
} qn_plot_look;

typedef struct {
    const char *name;
    const double *x, *y; // [n]; x never falls
    size_t n;            // long lines are thinned, keeping each interval's lowest and highest point
    qn_plot_look look;
    int color; // 1 .. 4
} qn_plot_series;

// A point that stands out, for example the best checkpoint, and what its tooltip says.
typedef struct {
    double x, y;
    const char *text;
} qn_plot_mark;

typedef struct {
    const char *title, *x_label;
    const char *note;    // small text beside the title, or NULL
    bool log_switch;     // a switch to a logarithmic y axis is offered when all values are above 0
    bool log_first;      // and is on at first
    bool y_from_zero;    // otherwise the axis spans the values
    bool y_percent;      // 0.5 is written as 50 %
    double x_min, x_max; // the axis covers these too when x_max > x_min
    double y_clip; // values above the quantile y_clip of all do not stretch the axis (0: all do); they are cut at the
                   // frame
    qn_plot_series series[QN_PLOT_SERIES];
    size_t n_series;
    qn_plot_mark marks[4];
    size_t n_marks;
} qn_line_plot;
void qn_plot_lines(const qn_line_plot *plot, qn_buffer *out);

// Vertical bars over [x_min, x_max] in n equal steps; each is a stack of two parts, the second optional.
typedef struct {
    const char *title, *x_label, *note;
    double x_min, x_max;
    const char *first_name, *second_name;
    const double *first, *second; // [n] heights; second may be NULL
    size_t n;
} qn_bar_plot;
void qn_plot_bars(const qn_bar_plot *plot, qn_buffer *out);

// Points, the line y = x, and equal scales on both axes when `diagonal`. With `size` the dots' areas follow it (a
// reliability diagram).
typedef struct {
    const char *title, *x_label, *y_label, *note;
    const double *x, *y;
    const double *size;      // [n] or NULL
    const char *const *text; // [n] tooltips, or NULL
    const int32_t *group;    // [n] which of `groups` a point belongs to, by its colour; negative for none; or NULL
    const char *const *groups; // [group_count]; their names, which are a legend while they are few
    size_t group_count;
    size_t n;                // at most 2,000 points, evenly chosen, are drawn
    bool diagonal;
    bool connect; // dots are joined by a line
    bool unit;    // both axes span 0 to 1
} qn_scatter_plot;
void qn_plot_scatter(const qn_scatter_plot *plot, qn_buffer *out);

// Rows gold, columns predicted. A cell's ink is its share of its row; right ones and mistakes differ in colour.
typedef struct {
    int32_t row, column;
    int64_t count;
} qn_heat_cell;
typedef struct {
    const char *title, *row_label, *column_label, *note;
    const char *const *labels; // [n]
    int32_t n;
    const qn_heat_cell *cells; // zero counts may be left out
    size_t n_cells;
} qn_heat_map;
void qn_plot_heat_map(const qn_heat_map *plot, qn_buffer *out);

// A number as the axes and tooltips write it: at most `digits` significant digits, no exponent between 1e-4 and 1e6,
// thousands separated.
void qn_plot_number(double value, int digits, qn_buffer *out);

extern const char *const qn_plot_css[]; // pieces, ended by NULL
extern const char *const qn_plot_js[];
