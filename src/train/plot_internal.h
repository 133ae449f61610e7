// What the files of the plots share.
#pragma once
#include "train/plot.h"

#define QN_PLOT_TICKS 16

void qn_plot_coordinate(double value, qn_buffer *out); // two decimals at most
void qn_plot_attribute(const char *name, double value, qn_buffer *out);
void qn_plot_html(const char *text, qn_buffer *out); // escaped; NULL is nothing
// Opens <figure class="plot KIND"><figcaption>, both left open.
void qn_plot_open(const char *kind, const char *title, const char *note, qn_buffer *out);
