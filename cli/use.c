// Windows of texts, and output.
#include "cli/use.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Many texts, so that sorting by length pays, but a fixed amount of memory.
enum { WINDOW_TEXTS = 4096, WINDOW_BYTES = 8 << 20, BUFFER_SIZE = 1 << 16 };

int use_model(const use_settings *use, qn_model **model) {
    static const char *const names[] = {
        [QN_OVERFLOW_TRUNCATE] = "truncate", [QN_OVERFLOW_ERROR] = "error", [QN_OVERFLOW_SPLIT] = "split"};
    qn_model_options options = use->options;
    for (int i = QN_OVERFLOW_TRUNCATE; use->overflow && i <= QN_OVERFLOW_SPLIT; i++)
        if (!strcmp(use->overflow, names[i])) options.overflow = (qn_overflow)i;
    return qn_model_open(use->model, &options, model) == QN_OK ? 0 : failed();
}

// ---- Texts
// -----------------------------------------------------------------------------------------------------------

int window_open(text_window *w, const use_settings *use) {
    *w = (text_window){0};
    if (use->texts.count) {
        if (use->input) return wrong_usage("--input and texts as arguments exclude each other");
        w->given = &use->texts;
        return 0;
    }
    const char *path = use->input ? use->input : "-";
    qn_data_options data = use->data;
    if (!data.format && !strcmp(path, "-")) data.format = "text";
    return qn_texts_open(&path, 1, &data, true, &w->reader) == QN_OK ? 0 : failed();
}

static int add_text(text_window *w, const qn_text *text) {
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 64;
        qn_text *texts = realloc(w->texts, capacity * sizeof *texts);
        if (texts) w->texts = texts;
        size_t *places = realloc(w->places, 2 * capacity * sizeof *places);
        if (places) w->places = places;
        if (!texts || !places) return fail("out of memory");
        w->capacity = capacity;
    }
    size_t need = w->used + text->size + text->pair_size + 1;
    if (need > w->bytes_capacity) {
        size_t capacity = need + need / 2;
        char *bytes = realloc(w->bytes, capacity);
        if (!bytes) return fail("out of memory");
        w->bytes = bytes;
        w->bytes_capacity = capacity;
    }
    w->places[2 * w->count] = w->used;
    if (text->size) memcpy(w->bytes + w->used, text->text, text->size);
    w->used += text->size;
    w->places[2 * w->count + 1] = w->used;
    if (text->pair_size) memcpy(w->bytes + w->used, text->pair, text->pair_size);
    w->used += text->pair_size;
    w->texts[w->count++] = *text;
    return 0;
}

int window_next(text_window *w) {
    w->count = w->used = 0;
    while (w->count < WINDOW_TEXTS && w->used < WINDOW_BYTES) {
        qn_text text = {0};
        if (!w->given) {
            if (qn_texts_next(w->reader, &text) != QN_OK) return failed();
            if (!text.text) break;
        } else if (w->next < w->given->count) {
            text.text = w->given->items[w->next++];
            text.size = strlen(text.text);
        } else {
            break;
        }
        int status = add_text(w, &text);
        if (status) return status;
    }
    // The bytes moved while the window grew: only now do the texts point at them.
    for (size_t i = 0; i < w->count; i++) {
        w->texts[i].text = w->bytes + w->places[2 * i];
        if (w->texts[i].pair) w->texts[i].pair = w->bytes + w->places[2 * i + 1];
    }
    return 0;
}

void window_close(text_window *w) {
    qn_texts_close(w->reader);
    free(w->texts);
    free(w->places);
    free(w->bytes);
    *w = (text_window){0};
}

// ---- Output
// ----------------------------------------------------------------------------------------------------------

int output_open(output *out, const char *path) {
    *out = (output){0};
    if (!path || !strcmp(path, "-")) return 0;
    out->buffer = malloc(BUFFER_SIZE);
    if (!out->buffer) return fail("out of memory");
    if (qn_writer_open(path, &out->file) == QN_OK) return 0;
    free(out->buffer);
    *out = (output){0};
    return failed();
}

static void flush_buffer(output *out) {
    if (out->used) qn_writer_write(out->file, out->buffer, out->used); // an error stays, and commit reports it
    out->used = 0;
}

void output_bytes(output *out, const void *data, size_t size) {
    if (!out->file) {
        fwrite(data, 1, size, stdout);
        return;
    }
    if (size > BUFFER_SIZE - out->used) flush_buffer(out);
    if (size > BUFFER_SIZE) {
        qn_writer_write(out->file, data, size);
        return;
    }
    memcpy(out->buffer + out->used, data, size);
    out->used += size;
}

void output_show(const output *out) {
    if (!out->file) fflush(stdout);
}

void output_text(output *out, const char *text) {
    output_bytes(out, text, strlen(text));
}

void output_printf(output *out, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size > 0) output_bytes(out, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void output_quoted(output *out, const char *text, size_t size) {
    char *quoted;
    if (qn_json_quote(text, size, &quoted) != QN_OK) {
        output_text(out, "null");
        return;
    }
    output_text(out, quoted);
    free(quoted);
}

void output_number(output *out, double value) {
    if (isfinite(value))
        output_printf(out, "%.9g", value);
    else
        output_text(out, "null");
}

void output_usage(output *out, const qn_usage *usage) {
    output_printf(out, "\"tokens\": %zu, \"windows\": %zu, \"truncated\": %s", usage->tokens, usage->windows,
                  usage->truncated ? "true" : "false");
}

int write_usage(output *out, qn_model *model, const qn_text *text, bool embedding) {
    qn_usage usage;
    if (qn_text_usage(model, text, embedding, &usage) != QN_OK) return failed();
    output_printf(out, ", \"tokens\": %zu, \"truncated\": %s", usage.tokens, usage.truncated ? "true" : "false");
    return 0;
}

void output_vector(output *out, const float *values, size_t count) {
    output_text(out, "[");
    for (size_t i = 0; i < count; i++) {
        if (i) output_text(out, ", ");
        output_number(out, (double)values[i]);
    }
    output_text(out, "]");
}

bool output_broken(const output *out) {
    return !out->file && ferror(stdout);
}

int output_close(output *out, int status) {
    if (out->file) {
        flush_buffer(out);
        if (status)
            qn_writer_abort(out->file);
        else if (qn_writer_commit(out->file) != QN_OK)
            status = failed();
        free(out->buffer);
    }
    *out = (output){0};
    return status;
}

bool text_rows_add(text_rows *rows, size_t count) {
    if (rows->texts + 2 > rows->capacity) {
        size_t capacity = 2 * rows->capacity + 1024;
        int64_t *offsets = realloc(rows->offsets, capacity * sizeof *offsets);
        if (!offsets) return false;
        rows->offsets = offsets;
        rows->capacity = capacity;
    }
    if (rows->texts == 0) rows->offsets[0] = 0;
    rows->offsets[rows->texts + 1] = rows->offsets[rows->texts] + (int64_t)count;
    rows->texts++;
    return true;
}

int text_rows_write(text_rows *rows, const char *path) {
    char name[4096], header[118];
    int size = snprintf(name, sizeof name, "%.*s.offsets.npy", (int)strlen(path) - 4, path);
    if (size < 0 || (size_t)size >= sizeof name) return fail("%s: the name is too long", path);
    output out;
    int status = output_open(&out, name);
    if (status) return status;
    int64_t zero = 0;
    snprintf(header, sizeof header, "{'descr': '<i8', 'fortran_order': False, 'shape': (%zu,), }", rows->texts + 1);
    output_bytes(&out, "\x93NUMPY\x01\x00\x76\x00", 10); // version 1.0, a header of 118 bytes: 128 in all
    output_printf(&out, "%-117s\n", header);
    output_bytes(&out, rows->texts ? rows->offsets : &zero, (rows->texts + 1) * sizeof zero);
    free(rows->offsets);
    *rows = (text_rows){0};
    return output_close(&out, 0);
}
