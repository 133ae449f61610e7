// Charts of measurements as SVG files that stand alone, for the documentation: lines with linear or logarithmic axes,
// and horizontal stacked bars. The report's plots (train/plot.h) live in a page with style and script; these have
// everything inside, light and dark.
#pragma once
#include "base/buffer.h"

enum { CHART_SERIES = 12, CHART_COLORS = 8 };

typedef enum {
    CHART_LINE,   // with a dot at each point
    CHART_POINTS, // dots alone
    CHART_LIMIT   // dashed, without dots: a bound, not a measurement
} chart_look;

typedef struct {
    const char *name;    // NULL: not in the legend
    const double *x, *y; // [n]; values that are not finite are left out
    size_t n;
    int color; // 0 .. CHART_COLORS - 1
    chart_look look;
} chart_series;

typedef struct {
    const char *title, *note; // the note stands below the title
    const char *x_label, *y_label;
    bool log_x, log_y;     // a linear y axis begins at zero
    const double *x_ticks; // [n_x_ticks], or NULL: chosen
    size_t n_x_ticks;
    chart_series series[CHART_SERIES];
    size_t n_series;
} chart_lines;
void chart_put_lines(const chart_lines *chart, qn_buffer *out);

// A row is a bar of 100 %, cut into the parts' shares; the last part is what remains.
typedef struct {
    const char *title, *note;
    const char *const *rows; // [n_rows]
    size_t n_rows;
    const char *const *parts; // [n_parts], at most CHART_COLORS
    size_t n_parts;
    const double *shares; // [n_rows, n_parts]
} chart_shares;
void chart_put_shares(const chart_shares *chart, qn_buffer *out);
