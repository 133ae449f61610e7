// The decoders of tokenizer.json: each rewrites the row of token strings; in the end they are one text.
#include "base/memory.h"
#include "base/utf8.h"
#include "text/steps.h"
#include <stdlib.h>
#include <string.h>

static const char broken[] = "\xEF\xBF\xBD";

void qn_token_texts_free(qn_token_texts *t) {
    qn_buffer_free(&t->text);
    qn_buffer_free(&t->other);
    free(t->ends);
    free(t->other_ends);
    *t = (qn_token_texts){0};
}

qn_status qn_token_texts_add(qn_token_texts *t, const char *text, size_t size) {
    QN_TRY(qn_grow((void **)&t->ends, &t->capacity, t->count + 1, sizeof *t->ends));
    qn_buffer_append(&t->text, text, size);
    QN_TRY(qn_buffer_status(&t->text));
    t->ends[t->count++] = t->text.size;
    return QN_OK;
}

// The row that is being written; `put` adds to its last token, `end` ends that.
typedef struct {
    qn_token_texts *t;
    size_t count;
} writer;

static qn_status end_token(writer *w) {
    QN_TRY(qn_grow((void **)&w->t->other_ends, &w->t->other_capacity, w->count + 1, sizeof *w->t->other_ends));
    QN_TRY(qn_buffer_status(&w->t->other));
    w->t->other_ends[w->count++] = w->t->other.size;
    return QN_OK;
}

static void finish(writer *w) {
    qn_token_texts *t = w->t, old = *t;
    t->text = old.other;
    t->other = old.text;
    t->ends = old.other_ends;
    t->capacity = old.other_capacity;
    t->other_ends = old.ends;
    t->other_capacity = old.capacity;
    t->count = w->count;
}

static size_t start_of(const qn_token_texts *t, size_t i) {
    return i > 0 ? t->ends[i - 1] : 0;
}

// Replaces `from` by `to` in text[0, size), into the row that is being written.
static void replace_string(qn_buffer *out, const char *text, size_t size, const char *from, size_t from_size,
                           const char *to, size_t to_size) {
    while (from_size > 0 && size > 0) {
        const char *place = memmem(text, size, from, from_size);
        if (!place) break;
        qn_buffer_append(out, text, (size_t)(place - text));
        qn_buffer_append(out, to, to_size);
        size -= (size_t)(place - text) + from_size;
        text = place + from_size;
    }
    qn_buffer_append(out, text, size);
}

// All tokens are bytes of one text; a token that has a character that stands for no byte is taken as it is.
static qn_status decode_bytes(writer *w) {
    qn_token_texts *t = w->t;
    qn_buffer bytes = {0};
    for (size_t i = 0; i < t->count; i++) {
        size_t start = start_of(t, i), before = bytes.size;
        for (size_t at = start; at < t->ends[i];) {
            int32_t code;
            at += qn_utf8_next(t->text.data + at, t->ends[i] - at, &code);
            int byte = code < 0 ? -1 : qn_character_byte((uint32_t)code);
            if (byte < 0) {
                bytes.size = before;
                qn_buffer_append(&bytes, t->text.data + start, t->ends[i] - start);
                break;
            }
            qn_buffer_char(&bytes, (char)byte);
        }
    }
    for (size_t i = 0; i < bytes.size;) {
        int32_t code;
        size_t length = qn_utf8_next(bytes.data + i, bytes.size - i, &code);
        if (code < 0)
            qn_buffer_append(&t->other, broken, 3);
        else
            qn_buffer_append(&t->other, bytes.data + i, length);
        i += length;
    }
    qn_status status = qn_buffer_status(&bytes);
    qn_buffer_free(&bytes);
    QN_TRY(status);
    return end_token(w);
}

// "<0x41>"
static int fallback_byte(const char *text, size_t size) {
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = 16 * value + digit;
    }
    return value;
}

// A row of byte tokens is one text if it is UTF-8, else one U+FFFD for each byte.
static qn_status flush_bytes(writer *w, qn_buffer *bytes) {
    if (bytes->size == 0) return QN_OK;
    bool valid = true;
    for (size_t i = 0; i < bytes->size && valid;) {
        int32_t code;
        i += qn_utf8_next(bytes->data + i, bytes->size - i, &code);
        valid = code >= 0;
    }
    if (valid) {
        qn_buffer_append(&w->t->other, bytes->data, bytes->size);
        QN_TRY(end_token(w));
    } else {
        for (size_t i = 0; i < bytes->size; i++) {
            qn_buffer_append(&w->t->other, broken, 3);
            QN_TRY(end_token(w));
        }
    }
    qn_buffer_clear(bytes);
    return QN_OK;
}

static qn_status decode_fallback(writer *w) {
    qn_token_texts *t = w->t;
    qn_buffer bytes = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < t->count && status == QN_OK; i++) {
        const char *text = t->text.data + start_of(t, i);
        size_t size = t->ends[i] - start_of(t, i);
        int byte = fallback_byte(text, size);
        if (byte >= 0) {
            qn_buffer_char(&bytes, (char)byte);
            status = qn_buffer_status(&bytes);
            continue;
        }
        status = flush_bytes(w, &bytes);
        qn_buffer_append(&t->other, text, size);
        if (status == QN_OK) status = end_token(w);
    }
    if (status == QN_OK) status = flush_bytes(w, &bytes);
    qn_buffer_free(&bytes);
    return status;
}

// Takes back the spaces before punctuation and in English contractions.
static void clean_up(qn_buffer *text, size_t begin) {
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++) {
        const char *from = pairs[k][0], *to = pairs[k][1];
        size_t from_size = strlen(from), to_size = strlen(to), out = begin;
        for (size_t i = begin; i < text->size;) {
            if (text->size - i >= from_size && memcmp(text->data + i, from, from_size) == 0) {
                memcpy(text->data + out, to, to_size);
                out += to_size;
                i += from_size;
            } else {
                text->data[out++] = text->data[i++];
            }
        }
        text->size = out;
    }
}

static void decode_wordpiece(const qn_step *step, qn_buffer *out, const char *text, size_t size, bool first) {
    size_t begin = out->size, prefix = step->content_size;
    if (!first) {
        if (size >= prefix && memcmp(text, step->content, prefix) == 0) {
            text += prefix;
            size -= prefix;
        } else {
            qn_buffer_char(out, ' ');
        }
    }
    qn_buffer_append(out, text, size);
    if (step->flag && !out->failed && out->size > begin) clean_up(out, begin);
}

static void decode_strip(const qn_step *step, qn_buffer *out, const char *text, size_t size) {
    size_t length = step->content_size, start = 0, end = size;
    for (int32_t i = 0; i < step->start && size - start >= length && memcmp(text + start, step->content, length) == 0;
         i++)
        start += length;
    for (int32_t i = 0;
         i < step->stop && end >= start + length && memcmp(text + end - length, step->content, length) == 0; i++)
        end -= length;
    qn_buffer_append(out, text + start, end - start);
}

static qn_status decode_replace(const qn_step *step, qn_buffer *out, const char *text, size_t size,
                                qn_pattern_room *room) {
    size_t done = 0, start, end;
    for (size_t search = 0; search <= size;) {
        bool found;
        QN_TRY(qn_pattern_find(step->pattern, room, text, size, search, &found, &start, &end));
        if (!found) break;
        qn_buffer_append(out, text + done, start - done);
        qn_buffer_append(out, step->content, step->content_size);
        done = search = end;
        uint32_t code;
        if (start == end) search += end < size ? qn_form_next(text + end, &code) : 1;
    }
    qn_buffer_append(out, text + done, size - done);
    return QN_OK;
}

static qn_status apply(const qn_step *step, writer *w, qn_pattern_room *room) {
    qn_token_texts *t = w->t;
    qn_buffer *out = &t->other;
    qn_buffer_clear(out);
    if (step->kind == QN_STEP_DECODE_BYTES) return decode_bytes(w);
    if (step->kind == QN_STEP_DECODE_FALLBACK) return decode_fallback(w);
    for (size_t i = 0; i < t->count; i++) {
        const char *text = t->text.data + start_of(t, i);
        size_t size = t->ends[i] - start_of(t, i);
        switch (step->kind) {
        case QN_STEP_METASPACE: {
            bool drop = i == 0 && step->start != QN_PREPEND_NEVER;
            replace_string(out, text, size, step->content, step->content_size, " ", !drop);
            break;
        }
        case QN_STEP_DECODE_WORDPIECE:
            decode_wordpiece(step, out, text, size, i == 0);
            break;
        case QN_STEP_DECODE_SUFFIX:
            replace_string(out, text, size, step->content, step->content_size, " ", i + 1 < t->count);
            break;
        case QN_STEP_DECODE_STRIP:
            decode_strip(step, out, text, size);
            break;
        case QN_STEP_REPLACE:
            QN_TRY(decode_replace(step, out, text, size, room));
            break;
        default: // QN_STEP_DECODE_FUSE: the tokens become one
            qn_buffer_append(out, text, size);
            break;
        }
        if (step->kind != QN_STEP_DECODE_FUSE || i + 1 == t->count) QN_TRY(end_token(w));
    }
    return QN_OK;
}

qn_status qn_run_decoders(const qn_steps *steps, qn_token_texts *t, qn_pattern_room *room) {
    for (size_t i = 0; i < steps->count && t->count > 0; i++) {
        writer w = {t, 0};
        QN_TRY(apply(&steps->steps[i], &w, room));
        finish(&w);
    }
    return QN_OK;
}
