// The progress line: smoothing of loss, speed and time left, and a layout that drops its least important parts first.
#include "train/progress.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOSS_DECAY 0.95
#define WINDOW_SECONDS 30.0

// ---- numbers as text ----------------------------------------------------------------------------

// Writes `value` (0 or more) with `decimals` 0 to 3 digits after the point, whatever the locale.
static void put_fixed(double value, int decimals, qn_buffer *out) {
    static const int64_t powers[] = {1, 10, 100, 1000};
    int64_t scaled = (int64_t)llround(fmin(value, 1e15) * (double)powers[decimals]);
    qn_buffer_printf(out, "%" PRId64, scaled / powers[decimals]);
    if (decimals) qn_buffer_printf(out, ".%0*" PRId64, decimals, scaled % powers[decimals]);
}

// Three significant digits: 9.87, 98.7, 987. A value that rounds up to the next length gets that length's form.
static void put_three(double value, qn_buffer *out) {
    put_fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, out);
}

void qn_format_duration(double seconds, qn_buffer *out) {
    if (!isfinite(seconds) || seconds < 0) {
        qn_buffer_char(out, '?');
        return;
    }
    int64_t all = (int64_t)llround(fmin(seconds, 1e12)), hours = all / 3600;
    int minutes = (int)(all / 60 % 60), rest = (int)(all % 60);
    if (hours >= 100)
        qn_buffer_printf(out, "%" PRId64 "d%02dh", hours / 24, (int)(hours % 24));
    else if (hours)
        qn_buffer_printf(out, "%d:%02d:%02d", (int)hours, minutes, rest);
    else
        qn_buffer_printf(out, "%d:%02d", minutes, rest);
}

static void put_scaled(double value, const char *const *units, int n, qn_buffer *out) {
    int unit = 0;
    // 999.5 would be written as 1000: the next unit takes it.
    for (; unit + 1 < n && value >= 999.5; unit++) value /= 1000;
    put_three(value, out);
    qn_buffer_text(out, units[unit]);
}

void qn_format_short(double value, qn_buffer *out) {
    static const char *const units[] = {"", "k", "M", "G", "T"};
    if (!isfinite(value) || value < 0)
        qn_buffer_char(out, '?');
    else
        put_scaled(value, units, 5, out);
}

void qn_format_bytes(double bytes, qn_buffer *out) {
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB"};
    if (!isfinite(bytes) || bytes < 0)
        qn_buffer_char(out, '?');
    else
        put_scaled(bytes, units, 5, out);
}

void qn_format_count(int64_t value, qn_buffer *out) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    for (int i = 0; i < n; i++) {
        qn_buffer_char(out, digits[i]);
        if (digits[i] != '-' && i + 1 < n && (n - 1 - i) % 3 == 0) qn_buffer_char(out, ',');
    }
}

// ---- state --------------------------------------------------------------------------------------

void qn_progress_start(qn_progress *progress, int64_t total_steps, double total_epochs, const char *unit,
                       double seconds_before, double now) {
    *progress = (qn_progress){.total_steps = total_steps,
                              .total_epochs = total_epochs,
                              .unit = unit,
                              .learning_rate = NAN,
                              .started = now,
                              .last = now,
                              .shown = -INFINITY,
                              .seconds_before = seconds_before};
}

void qn_progress_step(qn_progress *p, int64_t step, double epoch, double loss, double learning_rate, double amount,
                      size_t peak_memory, double now) {
    double seconds = fmax(now - p->last, 0), steps = (double)(step - p->step);
    // The first step of a resumed run jumps to its place; that is not speed.
    if (p->window == 0 && steps > 1) steps = 1;
    double keep = exp(-seconds / WINDOW_SECONDS);
    p->window = p->window * keep + seconds;
    p->speed = p->speed * keep + amount;
    p->pace = p->pace * keep + steps;
    p->last = now;
    if (isfinite(loss)) {
        // The sums keep their ratio unbiased from the first step on.
        p->loss = p->loss * LOSS_DECAY + loss * (1 - LOSS_DECAY);
        p->loss_weight = p->loss_weight * LOSS_DECAY + (1 - LOSS_DECAY);
    }
    p->step = step;
    p->epoch = epoch;
    p->learning_rate = learning_rate;
    p->peak_memory = peak_memory;
}

bool qn_progress_due(qn_progress *p, double interval, double now) {
    bool last = p->total_steps > 0 && p->step >= p->total_steps;
    if (now - p->shown < interval && !last) return false;
    p->shown = now;
    return true;
}

double qn_progress_loss(const qn_progress *p) {
    return p->loss_weight > 0 ? p->loss / p->loss_weight : NAN;
}

double qn_progress_speed(const qn_progress *p) {
    return p->window > 0 ? p->speed / p->window : NAN;
}

double qn_progress_left(const qn_progress *p) {
    if (p->total_steps <= 0 || p->pace <= 0) return NAN;
    return fmax((double)(p->total_steps - p->step), 0) * p->window / p->pace;
}

double qn_progress_elapsed(const qn_progress *p, double now) {
    return p->seconds_before + fmax(now - p->started, 0);
}

// ---- the line -----------------------------------------------------------------------------------

// Loss with four significant digits, as far as 0.0001 goes; learning rate as 1.8e-04.
static void put_loss(double loss, qn_buffer *out) {
    if (loss < 0) qn_buffer_char(out, '-');
    put_fixed(fabs(loss), fabs(loss) < 100 ? 3 : 1, out);
}

static void put_rate(double rate, qn_buffer *out) {
    int exponent = rate > 0 ? (int)floor(log10(rate)) : 0;
    double mantissa = rate > 0 ? rate / pow(10, exponent) : 0;
    if (mantissa >= 9.95) {
        mantissa /= 10;
        exponent++;
    }
    if (rate == 0) {
        qn_buffer_char(out, '0');
        return;
    }
    put_fixed(mantissa, 1, out);
    qn_buffer_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

// Parts of the line in the order shown; each may be left out to fit.
typedef enum { STEP, PERCENT, BAR, EPOCH, LOSS, RATE, SPEED, TIME, MEMORY, PARTS } part;

// A number with up to two decimals, without trailing zeros: 0.48, 3, 2.5.
static void put_epochs(double epochs, qn_buffer *out) {
    double hundredths = fmod(round(epochs * 100), 100);
    put_fixed(epochs, hundredths == 0 ? 0 : fmod(hundredths, 10) == 0 ? 1 : 2, out);
}

static void put_part(const qn_progress *p, part which, bool plain, double now, qn_buffer *out) {
    double left = qn_progress_left(p), loss = qn_progress_loss(p), speed = qn_progress_speed(p);
    switch (which) {
    case STEP:
        qn_buffer_text(out, plain || p->total_steps <= 0 ? "step " : "");
        qn_format_count(p->step, out);
        if (p->total_steps > 0) {
            qn_buffer_char(out, '/');
            qn_format_count(p->total_steps, out);
        }
        break;
    case PERCENT:
        if (p->total_steps > 0)
            qn_buffer_printf(out, plain ? "(%d%%)" : "%3d%%", (int)(100.0 * (double)p->step / (double)p->total_steps));
        break;
    case EPOCH:
        if (!isfinite(p->epoch) || p->epoch < 0) break;
        qn_buffer_text(out, "epoch ");
        put_fixed(p->epoch, 2, out);
        if (p->total_epochs > 0) {
            qn_buffer_char(out, '/');
            put_epochs(p->total_epochs, out);
        }
        break;
    case LOSS:
        if (isnan(loss)) break;
        qn_buffer_text(out, "loss ");
        put_loss(loss, out);
        break;
    case RATE:
        if (!isfinite(p->learning_rate) || p->learning_rate < 0) break;
        qn_buffer_text(out, "lr ");
        put_rate(p->learning_rate, out);
        break;
    case SPEED:
        if (!isfinite(speed)) break;
        qn_format_short(speed, out);
        qn_buffer_printf(out, " %s/s", p->unit);
        break;
    case TIME:
        qn_format_duration(qn_progress_elapsed(p, now), out);
        if (plain) qn_buffer_text(out, " elapsed");
        if (isnan(left)) break;
        qn_buffer_text(out, plain ? ", " : " < ");
        qn_format_duration(left, out);
        if (plain) qn_buffer_text(out, " left");
        break;
    case MEMORY:
        if (p->peak_memory) qn_format_bytes((double)p->peak_memory, out);
        break;
    case BAR:
    case PARTS:
        break;
    }
}

static void put_bar(double share, int columns, bool unicode, qn_buffer *out) {
    int halves = (int)(fmin(fmax(share, 0), 1) * 2 * columns);
    for (int i = 0; i < columns; i++) {
        if (unicode)
            qn_buffer_text(out, 2 * i + 1 < halves ? "\u2501" : 2 * i < halves ? "\u2578" : "\u2500");
        else
            qn_buffer_char(out, 2 * i + 1 < halves ? '#' : '-');
    }
}

// Appends bytes that stand in the buffer itself, which may move while it grows.
static void copy_within(qn_buffer *out, size_t from, size_t length) {
    for (size_t i = 0; i < length && !out->failed; i++) qn_buffer_char(out, out->data[from + i]);
}

static void format_plain(const qn_progress *p, double now, qn_buffer *out) {
    bool first = true;
    for (int i = 0; i < PARTS; i++) {
        size_t before = out->size;
        if (!first) qn_buffer_text(out, i == PERCENT ? " " : ", ");
        size_t start = out->size;
        put_part(p, (part)i, true, now, out);
        if (out->size == start && out->data) {
            out->size = before;
            out->data[before] = 0;
        } else {
            first = false;
        }
    }
}

// What is dropped first when the terminal is narrow. The bar takes what is left over, from 8 to 24 columns. The parts
// are written to the end of the buffer, then what stays is copied behind them and moved to its place: nothing else is
// allocated.
static void format_terminal(const qn_progress *p, qn_progress_style style, double now, qn_buffer *out) {
    static const part drop_order[] = {MEMORY, RATE, EPOCH, SPEED, TIME, PERCENT, LOSS};
    enum { GAP = 2, BAR_MIN = 8, BAR_MAX = 24 };
    const size_t width = style.width > 0 ? (size_t)style.width : 80, start = out->size;
    size_t at[PARTS], length[PARTS], total = 0;
    for (int i = 0; i < PARTS; i++) {
        at[i] = out->size - start;
        put_part(p, (part)i, false, now, out);
        length[i] = out->size - start - at[i];
        if (length[i]) total += length[i] + (total ? GAP : 0);
    }
    for (size_t i = 0; total > width && i < sizeof drop_order / sizeof *drop_order; i++) {
        if (length[drop_order[i]]) total -= length[drop_order[i]] + GAP;
        length[drop_order[i]] = 0;
    }
    // Even the step alone may be wider than a very narrow terminal.
    if (total > width) length[STEP] = width;
    const size_t line = out->size, free_columns = total + GAP < width ? width - total - GAP : 0;
    bool bar = p->total_steps > 0 && free_columns >= BAR_MIN;
    for (int i = 0; i < PARTS && !out->failed; i++) {
        if (length[i] == 0 && !(i == BAR && bar)) continue;
        if (out->size > line) qn_buffer_text(out, "  ");
        if (i == BAR)
            put_bar((double)p->step / (double)p->total_steps, free_columns < BAR_MAX ? (int)free_columns : BAR_MAX,
                    style.unicode, out);
        else
            copy_within(out, start + at[i], length[i]);
    }
    if (out->failed) return;
    memmove(out->data + start, out->data + line, out->size - line + 1);
    out->size -= line - start;
}

void qn_progress_format(const qn_progress *progress, qn_progress_style style, double now, qn_buffer *out) {
    if (style.terminal)
        format_terminal(progress, style, now, out);
    else
        format_plain(progress, now, out);
}
