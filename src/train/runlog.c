// log.jsonl: appended line by line, cut back on resume, and read into columns for the report.
#include "train/runlog.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A log of more than this is not read; it is some two million lines.
#define LOG_LIMIT ((size_t)1 << 30)

struct qn_runlog {
    int file;
    off_t size;
    char *path;
    qn_buffer line;
};

// ---- writing ------------------------------------------------------------------------------------

static const char *const event_names[] = {"train", "eval", "skip", "warning", "checkpoint", "end"};

static qn_event event_of(const char *name) {
    for (int i = 0; i < QN_EVENT_OTHER; i++)
        if (strcmp(name, event_names[i]) == 0) return (qn_event)i;
    return QN_EVENT_OTHER;
}

// Parses one line without its newline. Returns the object (to be released) or NULL when it is not a whole line of a
// log.
static json_t *parse_line(const char *line, size_t size, int64_t *step, qn_event *event) {
    json_t *object = NULL;
    if (qn_json_parse(line, size, "log", &object) != QN_OK) return NULL;
    const json_t *name = json_object_get(object, "event"), *at = json_object_get(object, "step");
    if (!json_is_string(name) || !json_is_integer(at)) {
        json_decref(object);
        return NULL;
    }
    *step = json_integer_value(at);
    *event = event_of(json_string_value(name));
    return object;
}

// How many bytes of the log a run that goes on from `resume_step` keeps.
static size_t kept_bytes(const char *text, size_t size, int64_t resume_step) {
    size_t from = 0;
    while (from < size) {
        const char *newline = memchr(text + from, '\n', size - from);
        if (!newline) break;
        size_t end = (size_t)(newline - text);
        int64_t step = 0;
        qn_event event = QN_EVENT_OTHER;
        json_t *line = parse_line(text + from, end - from, &step, &event);
        json_decref(line);
        if (!line || step > resume_step || event == QN_EVENT_END) break;
        from = end + 1;
    }
    return from;
}

static qn_status cut_back(qn_runlog *log, int64_t resume_step) {
    qn_buffer text = {0};
    size_t keep = 0;
    if (resume_step >= 0) {
        qn_status status = qn_read_file(log->path, LOG_LIMIT, &text);
        if (status == QN_OK) keep = kept_bytes(text.data, text.size, resume_step);
        qn_buffer_free(&text);
        if (status != QN_OK) return status;
    }
    if (ftruncate(log->file, (off_t)keep) != 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot cut the log", log->path);
    log->size = (off_t)keep;
    return QN_OK;
}

qn_status qn_runlog_open(const char *path, int64_t resume_step, qn_runlog **out) {
    *out = NULL;
    qn_runlog *log = qn_calloc(1, sizeof *log);
    if (!log) return QN_ERROR_MEMORY;
    log->file = -1;
    log->path = qn_strdup(path);
    qn_status status = log->path ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        log->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        status = log->file >= 0 ? cut_back(log, resume_step)
                                : qn_fail_errno(QN_ERROR_IO, "%s: cannot open for writing", path);
    }
    if (status != QN_OK) {
        qn_runlog_close(log);
        return status;
    }
    *out = log;
    return QN_OK;
}

void qn_runlog_close(qn_runlog *log) {
    if (!log) return;
    if (log->file >= 0) close(log->file);
    qn_buffer_free(&log->line);
    free(log->path);
    free(log);
}

void qn_runlog_begin(qn_runlog *log, const char *event, int64_t step) {
    qn_buffer_clear(&log->line);
    qn_buffer_printf(&log->line, "{\"event\": \"%s\", \"step\": %lld", event, (long long)step);
}

static void put_key(qn_runlog *log, const char *prefix, const char *key) {
    qn_buffer_printf(&log->line, ", \"%s%s\": ", prefix, key);
}

void qn_runlog_real(qn_runlog *log, const char *key, double value) {
    put_key(log, "", key);
    qn_buffer_json_number(&log->line, value, 9);
}

void qn_runlog_int(qn_runlog *log, const char *key, int64_t value) {
    put_key(log, "", key);
    qn_buffer_printf(&log->line, "%lld", (long long)value);
}

void qn_runlog_bool(qn_runlog *log, const char *key, bool value) {
    put_key(log, "", key);
    qn_buffer_text(&log->line, value ? "true" : "false");
}

void qn_runlog_string(qn_runlog *log, const char *key, const char *value) {
    put_key(log, "", key);
    qn_buffer_json_string(&log->line, value, strlen(value));
}

void qn_runlog_metrics(qn_runlog *log, const qn_metric *metrics, size_t n) {
    for (size_t i = 0; i < n; i++) {
        put_key(log, "eval_", metrics[i].name);
        qn_buffer_json_number(&log->line, metrics[i].value, 9);
    }
}

qn_status qn_runlog_end(qn_runlog *log) {
    qn_buffer_text(&log->line, "}\n");
    QN_TRY(qn_buffer_status(&log->line));
    size_t done = 0;
    while (done < log->line.size) {
        ssize_t n = write(log->file, log->line.data + done, log->line.size - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            // Half a line is taken back, so that what is there can be read; nothing helps if that fails too.
            qn_status status = qn_fail_errno(QN_ERROR_IO, "%s: cannot write", log->path);
            int ignored = ftruncate(log->file, log->size);
            (void)ignored;
            return status;
        }
    }
    log->size += (off_t)done;
    return QN_OK;
}

qn_status qn_runlog_sync(qn_runlog *log) {
    // A pipe or a special file cannot be synced; there is nothing to make durable then.
    if (fsync(log->file) == 0 || errno == EINVAL || errno == EROFS) return QN_OK;
    return qn_fail_errno(QN_ERROR_IO, "%s: cannot sync", log->path);
}

// ---- reading ------------------------------------------------------------------------------------

static qn_status grow_rows(qn_history *h) {
    if (h->rows < h->capacity) return QN_OK;
    size_t capacity = h->capacity ? 2 * h->capacity : 256;
    void *grown = qn_realloc(h->step, capacity, sizeof *h->step);
    if (!grown) return QN_ERROR_MEMORY;
    h->step = grown;
    if (!(grown = qn_realloc(h->event, capacity, sizeof *h->event))) return QN_ERROR_MEMORY;
    h->event = grown;
    if (!(grown = qn_realloc(h->text, capacity, sizeof *h->text))) return QN_ERROR_MEMORY;
    h->text = grown;
    for (size_t k = 0; k < h->keys; k++) {
        if (!(grown = qn_realloc(h->values[k], capacity, sizeof **h->values))) return QN_ERROR_MEMORY;
        h->values[k] = grown;
    }
    h->capacity = capacity;
    return QN_OK;
}

// Finds or adds the column of `key`. Lines of one event list their keys in one order, so the search begins where the
// last one ended.
static qn_status column_of(qn_history *h, const char *key, size_t *hint, double **out) {
    *out = NULL;
    for (size_t i = 0; i < h->keys; i++) {
        size_t k = (*hint + i) % h->keys;
        if (strcmp(h->key[k], key) != 0) continue;
        *hint = k + 1;
        *out = h->values[k];
        return QN_OK;
    }
    if (h->keys == QN_HISTORY_KEYS) return QN_OK;
    char *name = qn_strdup(key);
    double *values = qn_malloc(h->capacity, sizeof *values);
    if (!name || !values) {
        free(name);
        free(values);
        return QN_ERROR_MEMORY;
    }
    for (size_t row = 0; row < h->rows; row++) values[row] = NAN;
    h->key[h->keys] = name;
    h->values[h->keys++] = values;
    *out = values;
    return QN_OK;
}

static qn_status add_row(qn_history *h, json_t *line, int64_t step, qn_event event) {
    QN_TRY(grow_rows(h));
    size_t row = h->rows++, hint = 0;
    h->step[row] = step;
    h->event[row] = event;
    h->text[row] = NULL;
    for (size_t k = 0; k < h->keys; k++) h->values[k][row] = NAN;
    const char *key;
    json_t *value;
    json_object_foreach(line, key, value) {
        if (json_is_string(value) && !h->text[row] &&
            (strcmp(key, "reason") == 0 || strcmp(key, "message") == 0 || strcmp(key, "path") == 0)) {
            h->text[row] = qn_strdup(json_string_value(value));
            if (!h->text[row]) return QN_ERROR_MEMORY;
        }
        if (!json_is_number(value) && !json_is_boolean(value)) continue;
        double *column;
        QN_TRY(column_of(h, key, &hint, &column));
        if (column) column[row] = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
    }
    return QN_OK;
}

qn_status qn_history_parse(const char *text, size_t size, const char *source, qn_history *out) {
    *out = (qn_history){0};
    size_t line_number = 1;
    for (size_t from = 0; from < size; line_number++) {
        const char *newline = memchr(text + from, '\n', size - from);
        size_t end = newline ? (size_t)(newline - text) : size;
        int64_t step = 0;
        qn_event event = QN_EVENT_OTHER;
        json_t *line = parse_line(text + from, end - from, &step, &event);
        if (!line && !newline) return QN_OK;
        if (!line)
            return qn_fail(QN_ERROR_FORMAT, "%s:%zu: not a line of a log (expected {\"event\": ..., \"step\": ...})",
                           source, line_number);
        qn_status status = add_row(out, line, step, event);
        json_decref(line);
        QN_TRY(status);
        from = end + 1;
    }
    return QN_OK;
}

qn_status qn_history_read(const char *path, qn_history *out) {
    *out = (qn_history){0};
    qn_buffer text = {0};
    qn_status status = qn_read_file(path, LOG_LIMIT, &text);
    if (status == QN_OK) status = qn_history_parse(text.data, text.size, path, out);
    qn_buffer_free(&text);
    return status;
}

void qn_history_free(qn_history *h) {
    for (size_t row = 0; row < h->rows; row++) free(h->text[row]);
    for (size_t k = 0; k < h->keys; k++) {
        free(h->key[k]);
        free(h->values[k]);
    }
    free(h->step);
    free(h->event);
    free(h->text);
    *h = (qn_history){0};
}

const double *qn_history_column(const qn_history *history, const char *key) {
    for (size_t k = 0; k < history->keys; k++)
        if (strcmp(history->key[k], key) == 0) return history->values[k];
    return NULL;
}

size_t qn_history_series(const qn_history *history, qn_event event, const char *x_key, const char *key, double *x,
                         double *y) {
    bool by_step = strcmp(x_key, "step") == 0;
    const double *ys = qn_history_column(history, key), *xs = by_step ? NULL : qn_history_column(history, x_key);
    size_t n = 0;
    if (!ys || (!xs && !by_step)) return 0;
    for (size_t row = 0; row < history->rows; row++) {
        double at = xs ? xs[row] : (double)history->step[row];
        if (history->event[row] != event || !isfinite(ys[row]) || !isfinite(at)) continue;
        x[n] = at;
        y[n++] = ys[row];
    }
    return n;
}
