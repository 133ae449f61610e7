// log.jsonl: one JSON object per line about a training run; written by the loop, read for the report.
//
// Every line begins {"event": "...", "step": S, ...}; steps never fall. Events and their keys (all optional but the
// first two):
//   train       epoch, loss, learning_rate, grad_norm, tokens (since the start), accuracy (of masked tokens), mlm_loss,
//   nsp_loss,
//               seconds, tokens_per_second, peak_memory (bytes)
//   eval        epoch, eval_loss, eval_NAME for each metric, best (true when it is the best so far), seconds
//   skip        reason, loss, grad_norm: the guard left this step out
//   warning     message
//   checkpoint  path
//   end         reason (completed, early_stopping, max_time, interrupted, diverged), seconds
// seconds, tokens_per_second and peak_memory are the only keys that differ between two equal runs.
//
// A run that goes on from the checkpoint of step S first cuts the log back to what stood there when that checkpoint was
// written: everything of step S and before, so a loop writes the lines of a step, calls qn_runlog_sync, and saves the
// checkpoint then.
#pragma once
#include "base/buffer.h"
#include "metrics/metrics.h"

typedef struct qn_runlog qn_runlog;

// Opens `path` for appending. resume_step < 0 begins a new, empty log. Otherwise the log is cut before the first line
// that is of a later step, is an "end", or is not whole (the tail of a crash); a missing file is fine.
qn_status qn_runlog_open(const char *path, int64_t resume_step, qn_runlog **out);
void qn_runlog_close(qn_runlog *log); // NULL is allowed

// A line is begun, filled and ended; it goes to the file in one write at its end, which is the only call that fails.
// Keys must be plain names. After the first lines the heap is not touched.
void qn_runlog_begin(qn_runlog *log, const char *event, int64_t step);
void qn_runlog_real(qn_runlog *log, const char *key, double value); // NaN and infinities become null
void qn_runlog_int(qn_runlog *log, const char *key, int64_t value);
void qn_runlog_bool(qn_runlog *log, const char *key, bool value);
void qn_runlog_string(qn_runlog *log, const char *key, const char *value);
void qn_runlog_metrics(qn_runlog *log, const qn_metric *metrics, size_t n); // as eval_NAME
qn_status qn_runlog_end(qn_runlog *log);

// Makes all lines durable; to be called before a checkpoint is committed.
qn_status qn_runlog_sync(qn_runlog *log);

// ---- reading ------------------------------------------------------------------------------------

typedef enum {
    QN_EVENT_TRAIN,
    QN_EVENT_EVAL,
    QN_EVENT_SKIP,
    QN_EVENT_WARNING,
    QN_EVENT_CHECKPOINT,
    QN_EVENT_END,
    QN_EVENT_OTHER
} qn_event;

#define QN_HISTORY_KEYS 128 // more different numeric keys than this are ignored

// The log as columns: values[key][row] is NaN where the line of that row has no such number; booleans are 0 and 1.
typedef struct {
    size_t rows;
    int64_t *step;   // [rows]
    qn_event *event; // [rows]
    char **text;     // [rows]: "reason", "message" or "path" of the line, or NULL
    size_t keys;     // in order of first appearance
    char *key[QN_HISTORY_KEYS];
    double *values[QN_HISTORY_KEYS]; // [rows] each
    size_t capacity;
} qn_history;

// Fails on a line that is not an object with "event" and "step", but for a last line cut short. Free also after a
// failure.
qn_status qn_history_parse(const char *text, size_t size, const char *source, qn_history *out);
qn_status qn_history_read(const char *path, qn_history *out);
void qn_history_free(qn_history *history);

// Column of that name, or NULL.
const double *qn_history_column(const qn_history *history, const char *key);
// Copies the points of one key that lie in lines of one event: x = `x_key` ("step" allowed), y. Room for [rows] in
// both; returns how many.
size_t qn_history_series(const qn_history *history, qn_event event, const char *x_key, const char *key, double *x,
                         double *y);
