// The progress of a long run as one line of text. The library formats; the command prints.
//
// On a terminal the line is rewritten in place and fits the width:
//     412/2,566   16%  ━━━╸────────────────────  epoch 0.48/3  loss 1.234  lr 1.8e-04  24.1k tok/s  0:41 < 3:35  412 MB
// Elsewhere (a file, a pipe) one plain line comes every so often:
//     step 412/2,566 (16%), epoch 0.48/3, loss 1.234, lr 1.8e-04, 24.1k tok/s, 0:41 elapsed, 3:35 left, 412 MB
#pragma once
#include "base/buffer.h"

typedef struct {
    // What is known beforehand; set by qn_progress_start.
    int64_t total_steps; // 0: unknown
    double total_epochs; // 0: unknown
    const char *unit;    // of `amount`, for example "tok"; static
    // What the last qn_progress_step told.
    int64_t step;
    double epoch, learning_rate;
    size_t peak_memory; // bytes; 0: not shown
    // Smoothed values and times, kept by the functions below.
    double loss, loss_weight; // sums of an exponential mean over some 20 steps
    double speed, pace;       // amount and steps in the window, each decayed; speed / window is per second
    double window;            // seconds in the window, decayed
    double started, last, shown;
    double seconds_before; // spent before a resume
} qn_progress;

typedef struct {
    int width;     // columns; the line is never longer. 0 means 80
    bool terminal; // a line to be rewritten, with a bar; otherwise the plain form, whose length is free
    bool unicode;  // the bar may use U+2501 and its kin; otherwise # and -
} qn_progress_style;

// `now` is qn_seconds() everywhere. `seconds_before` is what the run had spent before it was resumed.
void qn_progress_start(qn_progress *progress, int64_t total_steps, double total_epochs, const char *unit,
                       double seconds_before, double now);
// To be called after every step. `amount` is what this step processed (real tokens); a NaN loss or learning rate is not
// shown.
void qn_progress_step(qn_progress *progress, int64_t step, double epoch, double loss, double learning_rate,
                      double amount, size_t peak_memory, double now);
// True when `interval` seconds have passed since it was last true, at the first step and at the last one.
bool qn_progress_due(qn_progress *progress, double interval, double now);

double qn_progress_loss(const qn_progress *progress); // smoothed; NaN before the first step
double
qn_progress_speed(const qn_progress *progress); // amount per second over the last half minute or so; NaN when unknown
double qn_progress_left(const qn_progress *progress); // seconds; NaN when unknown
double qn_progress_elapsed(const qn_progress *progress, double now);

// Appends the line, without newline or carriage return.
void qn_progress_format(const qn_progress *progress, qn_progress_style style, double now, qn_buffer *out);

// The forms used in the line and in the report: "1:02:03" or "2:03", "24.1k", "412 MB", "1,234,567". NaN gives "?".
void qn_format_duration(double seconds, qn_buffer *out);
void qn_format_short(double value, qn_buffer *out); // three significant digits and k, M, G
void qn_format_bytes(double bytes, qn_buffer *out); // decimal units
void qn_format_count(int64_t value, qn_buffer *out);
