// A scanner for the one large object of tokenizer.json. What it does not know it gives up on.
#include "text/vocabulary_json.h"
#include "base/utf8.h"
#include <string.h>

typedef struct {
    const char *at, *end;
} cursor;

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r')) c->at++;
}

static bool take(cursor *c, char expected) {
    skip_space(c);
    if (c->at >= c->end || *c->at != expected) return false;
    c->at++;
    return true;
}

// Over a string, behind its first quote; *escaped tells whether a backslash is in it. False where it does not end.
static bool skip_string(cursor *c, const char **text, size_t *size, bool *escaped) {
    *text = c->at;
    *escaped = false;
    for (; c->at < c->end && *c->at != '"'; c->at++) {
        if ((uint8_t)*c->at < 0x20) return false;
        if (*c->at != '\\') continue;
        *escaped = true;
        if (++c->at >= c->end) return false;
    }
    *size = (size_t)(c->at - *text);
    return c->at++ < c->end;
}

static bool skip_value(cursor *c) {
    size_t depth = 0;
    skip_space(c);
    while (c->at < c->end) {
        char first = *c->at++;
        const char *text;
        size_t size;
        bool escaped;
        if (first == '"') {
            if (!skip_string(c, &text, &size, &escaped)) return false;
        } else if (first == '{' || first == '[') {
            depth++;
        } else if (first == '}' || first == ']') {
            if (depth-- == 0) return false;
        } else if (depth == 0) { // a number or a word
            while (c->at < c->end && !strchr(",}] \n\t\r", *c->at)) c->at++;
        }
        if (depth == 0) return true;
    }
    return false;
}

// From the beginning of an object to the value of one of its members.
static bool find_member(cursor *c, const char *key) {
    if (!take(c, '{')) return false;
    do {
        const char *text;
        size_t size;
        bool escaped;
        if (!take(c, '"') || !skip_string(c, &text, &size, &escaped) || !take(c, ':')) return false;
        if (size == strlen(key) && memcmp(text, key, size) == 0) return true;
        if (!skip_value(c)) return false;
    } while (take(c, ','));
    return false;
}

static int32_t read_hex(const char *text, size_t size) {
    int32_t value = 0;
    if (size < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

// One escape behind its backslash. Returns the bytes it takes, 0 where it is not one.
static size_t read_escape(const char *text, size_t size, int32_t *code) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name = size > 0 && *text ? strchr(names, *text) : NULL;
    if (name) {
        *code = values[name - names];
        return 1;
    }
    if (size < 5 || *text != 'u') return 0;
    *code = read_hex(text + 1, size - 1);
    if (*code < 0 || (*code >= 0xDC00 && *code < 0xE000)) return 0;
    if (*code < 0xD800 || *code >= 0xE000) return 5;
    if (size < 11 || text[5] != '\\' || text[6] != 'u') return 0;
    int32_t low = read_hex(text + 7, size - 7);
    if (low < 0xDC00 || low >= 0xE000) return 0;
    *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    return 11;
}

// The string itself, of UTF-8 text with escapes, in `out`.
static bool unescape(const char *text, size_t size, qn_buffer *out) {
    qn_buffer_clear(out);
    for (size_t i = 0; i < size;) {
        int32_t code = (uint8_t)text[i];
        char bytes[4];
        if (code == '\\') {
            size_t length = read_escape(text + i + 1, size - i - 1, &code);
            if (length == 0) return false;
            i += 1 + length;
        } else {
            i += qn_utf8_next(text + i, size - i, &code);
            if (code < 0) return false;
        }
        qn_buffer_append(out, bytes, qn_utf8_put(bytes, code));
    }
    return true;
}

static bool is_ascii(const char *text, size_t size) {
    uint8_t bits = 0;
    for (size_t i = 0; i < size; i++) bits |= (uint8_t)text[i];
    return bits < 0x80;
}

static bool read_id(cursor *c, int64_t *id) {
    skip_space(c);
    const char *first = c->at;
    for (*id = 0; c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - first < 18; c->at++)
        *id = 10 * *id + (*c->at - '0');
    return c->at > first && (*first != '0' || c->at == first + 1) && c->at < c->end && strchr(",} \n\t\r", *c->at);
}

// Adds the tokens of the object at the cursor; *good is false where it is not written as expected.
static qn_status scan_tokens(cursor *c, const char *path, int64_t limit, qn_vocabulary *v, qn_buffer *token,
                             bool *good) {
    *good = false;
    if (!take(c, '{')) return QN_OK;
    if (take(c, '}')) {
        *good = true;
        return QN_OK;
    }
    do {
        const char *text;
        size_t size;
        bool escaped;
        int64_t id;
        if (!take(c, '"') || !skip_string(c, &text, &size, &escaped) || !take(c, ':') || !read_id(c, &id)) return QN_OK;
        if (escaped || !is_ascii(text, size)) {
            if (!unescape(text, size, token)) return QN_OK;
            QN_TRY(qn_buffer_status(token));
            text = token->data ? token->data : "";
            size = token->size;
        }
        if (id > limit)
            return qn_fail(QN_ERROR_FORMAT, "%s: the id %lld of token \"%.*s\" is out of range (expected at most %lld)",
                           path, (long long)id, (int)(size < 100 ? size : 100), text, (long long)limit);
        qn_status status = qn_vocabulary_add(v, text, size, id);
        if (status != QN_OK) return qn_fail_prefix(status, "%s", path);
    } while (take(c, ','));
    *good = take(c, '}');
    return QN_OK;
}

qn_status qn_vocabulary_scan_json(const char *text, size_t size, const char *path, int64_t limit,
                                  qn_vocabulary *vocabulary, qn_buffer *rest, bool *found) {
    cursor c = {text, text + size};
    *found = false;
    if (!find_member(&c, "model") || !find_member(&c, "vocab")) return QN_OK;
    skip_space(&c);
    size_t before = (size_t)(c.at - text);
    qn_buffer token = {0};
    qn_status status = scan_tokens(&c, path, limit, vocabulary, &token, found);
    qn_buffer_free(&token);
    if (!*found) qn_vocabulary_free(vocabulary);
    QN_TRY(status);
    if (!*found) return QN_OK;
    qn_buffer_append(rest, text, before);
    qn_buffer_text(rest, "{}");
    qn_buffer_append(rest, c.at, (size_t)(c.end - c.at));
    return qn_buffer_status(rest);
}
