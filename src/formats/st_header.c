// A streaming parser for the JSON header of a safetensors file:
// {"__metadata__": {"key": "value", ...}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
#include "formats/st_header.h"
#include "base/memory.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How deep the value of a key that the format does not know may nest.
enum { DEPTH_LIMIT = 64 };

typedef struct {
    const char *source;
    const char *tensor; // the name of the tensor that is being read, for messages; NULL outside
    const char *start, *at, *end;
    char *pool; // where the next decoded string goes: none is longer than its text, so all fit into the header's size
    qn_st_header *out;
} parser;

// --- Values ---

static qn_status fail(const parser *p, const char *expected) {
    char found[24] = "the end";
    if (p->at < p->end) snprintf(found, sizeof found, "'%c'", *p->at);
    size_t byte = (size_t)(p->at - p->start);
    if (p->tensor)
        return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\": header byte %zu is %s (expected %s)", p->source,
                       p->tensor, byte, found, expected);
    return qn_fail(QN_ERROR_FORMAT, "%s: header byte %zu is %s (expected %s)", p->source, byte, found, expected);
}

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
}

static bool accept(parser *p, char c) {
    skip_space(p);
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

static bool accept_word(parser *p, const char *word) {
    size_t length = strlen(word);
    skip_space(p);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length)) return false;
    p->at += length;
    return true;
}

// Four hexadecimal digits of \uXXXX; -1 when they are none.
static int32_t read_hex(parser *p) {
    int32_t code = 0;
    if (p->end - p->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        code = code << 4 | digit;
    }
    return code;
}

// What follows a backslash, as a Unicode scalar value; -1 when it is no escape. U+0000 is none: names are C strings.
static int32_t read_escape(parser *p) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end) return -1;
    char c = *p->at++;
    const char *simple = c ? strchr(names, c) : NULL;
    if (simple) return (unsigned char)values[simple - names];
    int32_t code = c == 'u' ? read_hex(p) : -1;
    if (code >= 0xD800 && code < 0xDC00) {
        if (p->end - p->at < 6 || p->at[0] != '\\' || p->at[1] != 'u') return -1;
        p->at += 2;
        int32_t low = read_hex(p);
        return low >= 0xDC00 && low < 0xE000 ? 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00) : -1;
    }
    return code > 0 && !(code >= 0xDC00 && code < 0xE000) ? code : -1;
}

// Decodes a string into the pool. `keep` says whether it stays there; otherwise the next string overwrites it.
static qn_status read_string(parser *p, bool keep, const char **out) {
    if (!accept(p, '"')) return fail(p, "a string");
    char *to = p->pool;
    while (p->at < p->end && *p->at != '"') {
        int32_t code;
        const char *begin = p->at;
        if (*p->at == '\\') {
            p->at++;
            code = read_escape(p);
            if (code > 0) to += qn_utf8_put(to, code);
        } else {
            size_t used = qn_utf8_next(p->at, (size_t)(p->end - p->at), &code);
            memcpy(to, p->at, used);
            to += used;
            p->at += used;
        }
        if (code < 0x20 && (*begin != '\\' || code < 0)) {
            p->at = begin;
            return fail(p, "UTF-8 text with JSON's escapes");
        }
    }
    if (p->at == p->end) return fail(p, "the end of a string");
    p->at++;
    *to++ = 0;
    *out = p->pool;
    if (keep) p->pool = to;
    return QN_OK;
}

static bool is_digit(const parser *p) {
    return p->at < p->end && *p->at >= '0' && *p->at <= '9';
}

// A whole number that fits into int64_t. Fractions and exponents are none, even where their value is whole.
static qn_status read_integer(parser *p, int64_t *out) {
    static const char expected[] = "a whole number below 2^63";
    skip_space(p);
    bool negative = p->at < p->end && *p->at == '-';
    p->at += negative;
    if (!is_digit(p)) return fail(p, expected);
    const char *first = p->at;
    int64_t value = 0;
    for (; is_digit(p); p->at++) {
        if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_add_overflow(value, (int64_t)(*p->at - '0'), &value))
            return fail(p, expected);
    }
    bool padded = *first == '0' && p->at - first > 1; // JSON has no 007
    if (padded || (p->at < p->end && (*p->at == '.' || *p->at == 'e' || *p->at == 'E'))) return fail(p, expected);
    *out = negative ? -value : value;
    return QN_OK;
}

// A number of any kind, for values that are only stepped over.
static bool skip_number(parser *p) {
    if (p->at < p->end && *p->at == '-') p->at++;
    if (!is_digit(p)) return false;
    bool zero = *p->at++ == '0';
    if (zero && is_digit(p)) return false;
    while (is_digit(p)) p->at++;
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        if (!is_digit(p)) return false;
        while (is_digit(p)) p->at++;
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        if (!is_digit(p)) return false;
        while (is_digit(p)) p->at++;
    }
    return true;
}

// Steps over one value of any kind.
static qn_status skip_value(parser *p, int depth) {
    const char *ignored;
    if (depth == DEPTH_LIMIT) return fail(p, "less nesting");
    skip_space(p);
    char first = p->at < p->end ? *p->at : 0;
    if (first == '"') return read_string(p, false, &ignored);
    if (first == '{' || first == '[') {
        char close = first == '{' ? '}' : ']';
        p->at++;
        if (accept(p, close)) return QN_OK;
        do {
            if (first == '{') {
                QN_TRY(read_string(p, false, &ignored));
                if (!accept(p, ':')) return fail(p, "':'");
            }
            QN_TRY(skip_value(p, depth + 1));
        } while (accept(p, ','));
        return accept(p, close) ? QN_OK : fail(p, first == '{' ? "',' or '}'" : "',' or ']'");
    }
    if (accept_word(p, "true") || accept_word(p, "false") || accept_word(p, "null") || skip_number(p)) return QN_OK;
    return fail(p, "a value");
}

// --- The header ---

static qn_status read_dtype(parser *p, qn_st_dtype *dtype) {
    const char *text;
    QN_TRY(read_string(p, false, &text));
    for (int i = 0; i < QN_ST_DTYPES; i++) {
        *dtype = (qn_st_dtype)i;
        if (!strcmp(text, qn_st_dtype_name(*dtype))) return QN_OK;
    }
#define LIST(name, bits) " " #name
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: tensor \"%.100s\": dtype \"%.20s\" is unknown (expected one of" QN_ST_DTYPE_MAP(LIST) ")",
                   p->source, p->tensor, text);
#undef LIST
}

static qn_status read_shape(parser *p, qn_st_tensor *tensor) {
    if (!accept(p, '[')) return fail(p, "a list of sizes");
    if (accept(p, ']')) return QN_OK;
    do {
        if (tensor->dims == QN_ST_MAX_DIMS)
            return qn_fail(QN_ERROR_UNSUPPORTED, "%s: tensor \"%.100s\" has more than %d dimensions", p->source,
                           p->tensor, QN_ST_MAX_DIMS);
        int64_t *size = &tensor->shape[tensor->dims++];
        QN_TRY(read_integer(p, size));
        if (*size < 0)
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\": shape[%d] is %" PRId64 " (expected at least 0)",
                           p->source, p->tensor, tensor->dims - 1, *size);
    } while (accept(p, ','));
    return accept(p, ']') ? QN_OK : fail(p, "',' or ']'");
}

static qn_status read_offsets(parser *p, qn_st_item *item) {
    int64_t begin, end;
    if (!accept(p, '[')) return fail(p, "[begin, end]");
    QN_TRY(read_integer(p, &begin));
    if (!accept(p, ',')) return fail(p, "','");
    QN_TRY(read_integer(p, &end));
    if (!accept(p, ']')) return fail(p, "']'");
    if (begin < 0 || end < begin)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: tensor \"%.100s\": data_offsets [%" PRId64 ", %" PRId64 "] (expected 0 <= begin <= end)",
                       p->source, p->tensor, begin, end);
    item->begin = (uint64_t)begin;
    item->end = (uint64_t)end;
    return QN_OK;
}

static qn_status read_tensor(parser *p, qn_st_item *item) {
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    bool seen[3] = {false};
    if (!accept(p, '{')) return fail(p, "an object with dtype, shape and data_offsets");
    bool more = !accept(p, '}');
    while (more) {
        const char *key;
        int which = 0;
        QN_TRY(read_string(p, false, &key));
        while (which < 3 && strcmp(key, keys[which])) which++;
        if (which < 3 && seen[which])
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\": \"%s\" is repeated", p->source, p->tensor,
                           keys[which]);
        if (!accept(p, ':')) return fail(p, "':'");
        if (which == 0) QN_TRY(read_dtype(p, &item->tensor.dtype));
        if (which == 1) QN_TRY(read_shape(p, &item->tensor));
        if (which == 2) QN_TRY(read_offsets(p, item));
        if (which == 3) QN_TRY(skip_value(p, 0)); // the reference ignores other keys
        if (which < 3) seen[which] = true;
        more = accept(p, ',');
        if (!more && !accept(p, '}')) return fail(p, "',' or '}'");
    }
    for (int i = 0; i < 3; i++)
        if (!seen[i])
            return qn_fail(QN_ERROR_FORMAT, "%s: tensor \"%.100s\": \"%s\" is missing", p->source, p->tensor, keys[i]);
    return QN_OK;
}

static qn_status read_metadata(parser *p) {
    qn_st_header *out = p->out;
    if (accept_word(p, "null")) return QN_OK; // the reference takes it for none
    if (!accept(p, '{')) return fail(p, "an object of strings");
    if (accept(p, '}')) return QN_OK;
    do {
        QN_TRY(
            qn_grow((void **)&out->metadata, &out->metadata_capacity, out->metadata_count + 1, sizeof *out->metadata));
        qn_st_pair *pair = &out->metadata[out->metadata_count++];
        QN_TRY(read_string(p, true, &pair->key));
        if (!accept(p, ':')) return fail(p, "':'");
        QN_TRY(read_string(p, true, &pair->value));
    } while (accept(p, ','));
    return accept(p, '}') ? QN_OK : fail(p, "',' or '}'");
}

static qn_status read_header(parser *p) {
    qn_st_header *out = p->out;
    bool has_metadata = false;
    if (p->at == p->end || *p->at != '{') return fail(p, "'{'"); // the format allows no space before it
    p->at++;
    bool more = !accept(p, '}');
    while (more) {
        const char *name;
        QN_TRY(read_string(p, true, &name));
        if (!accept(p, ':')) return fail(p, "':'");
        if (!strcmp(name, "__metadata__")) {
            if (has_metadata) return qn_fail(QN_ERROR_FORMAT, "%s: \"__metadata__\" is repeated", p->source);
            has_metadata = true;
            QN_TRY(read_metadata(p));
        } else {
            QN_TRY(qn_grow((void **)&out->items, &out->capacity, out->count + 1, sizeof *out->items));
            qn_st_item *item = &out->items[out->count++];
            *item = (qn_st_item){.tensor = {.name = name}};
            p->tensor = name;
            QN_TRY(read_tensor(p, item));
            p->tensor = NULL;
        }
        more = accept(p, ',');
        if (!more && !accept(p, '}')) return fail(p, "',' or '}'");
    }
    skip_space(p);
    return p->at == p->end ? QN_OK : fail(p, "nothing after the header's object");
}

qn_status qn_st_header_parse(const char *text, size_t size, const char *source, qn_st_header *out) {
    *out = (qn_st_header){0};
    out->text = qn_malloc(size + 1, 1);
    if (!out->text) return QN_ERROR_MEMORY;
    parser p = {.source = source, .start = text, .at = text, .end = text + size, .pool = out->text, .out = out};
    qn_status status = read_header(&p);
    if (status != QN_OK) qn_st_header_free(out);
    return status;
}

void qn_st_header_free(qn_st_header *header) {
    free(header->text);
    free(header->items);
    free(header->metadata);
    *header = (qn_st_header){0};
}
