// JSON lines: a strict scanner for one object per line (RFC 8259) that copies only strings with escapes and takes
// nothing from the heap. Bytes that are not UTF-8 pass through strings, as they do in the other formats.
#include "base/memory.h"
#include "base/utf8.h"
#include "data/reader_private.h"
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 512 }; // nesting of values that are skipped

typedef struct {
    const char *at, *end;
    const char *error; // set once; `at` is the place
} scanner;

static bool wrong(scanner *s, const char *error) {
    if (!s->error) s->error = error;
    return false;
}

static void skip_space(scanner *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n')) s->at++;
}

static bool literal(scanner *s, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(s->end - s->at) < size || memcmp(s->at, word, size) != 0)
        return wrong(s, "no JSON value (expected a string in quotes, a number, true, false, null, [ or {)");
    s->at += size;
    return true;
}

static bool digits(scanner *s) {
    if (s->at == s->end || *s->at < '0' || *s->at > '9') return wrong(s, "a number is incomplete (expected a digit)");
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') s->at++;
    return true;
}

static bool number(scanner *s) {
    if (*s->at == '-') s->at++;
    if (s->at < s->end && *s->at == '0')
        s->at++;
    else if (!digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!digits(s)) return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        if (!digits(s)) return false;
    }
    return true;
}

// Four hexadecimal digits.
static int32_t hex4(scanner *s) {
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->at + i < s->end ? s->at[i] : '\0';
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            wrong(s, "\\u without four hexadecimal digits");
            return -1;
        }
        code = code * 16 + digit;
    }
    s->at += 4;
    return code;
}

// What follows a backslash, written to `out`. Halves of surrogate pairs that stand alone, and NUL, become U+FFFD.
static size_t escape(scanner *s, char *out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = s->at < s->end ? *s->at++ : '\0';
    if (c != 'u') {
        const char *name = c ? strchr(names, c) : NULL;
        if (!name) return wrong(s, "an unknown escape after a backslash");
        *out = values[name - names];
        return 1;
    }
    int32_t code = hex4(s);
    if (code < 0) return 0;
    if (code >= 0xD800 && code < 0xDC00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u') {
        const char *before = s->at;
        s->at += 2;
        int32_t low = hex4(s);
        if (low < 0) return 0;
        if (low >= 0xDC00 && low < 0xE000)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        else
            s->at = before;
    }
    return (size_t)qn_utf8_put(out, code == 0 || (code >= 0xD800 && code < 0xE000) ? 0xFFFD : code);
}

// A string from its opening quote on. Without escapes its text stays where it is; otherwise it goes to *out, which
// moves on and has room for at least as many bytes as the string has. out == NULL skips.
static bool string(scanner *s, char **out, qn_span *text) {
    const char *begin = ++s->at;
    char *copy = NULL, *to = NULL, skipped[4];
    for (;;) {
        const char *run = s->at;
        while (s->at < s->end && *s->at != '"' && *s->at != '\\' && (unsigned char)*s->at >= 0x20) s->at++;
        if (to) {
            memcpy(to, run, (size_t)(s->at - run));
            to += s->at - run;
        }
        if (s->at == s->end) return wrong(s, "a string does not end in this line (expected a closing quote)");
        if (*s->at == '"') break;
        if (*s->at != '\\') return wrong(s, "a control character inside a string (expected an escape)");
        if (out && !copy) {
            copy = to = *out;
            memcpy(to, begin, (size_t)(s->at - begin));
            to += s->at - begin;
        }
        s->at++;
        size_t size = escape(s, to ? to : skipped);
        if (s->error) return false;
        if (to) to += size;
    }
    if (text) *text = copy ? (qn_span){copy, (size_t)(to - copy)} : (qn_span){begin, (size_t)(s->at - begin)};
    if (copy) *out = to;
    s->at++;
    return true;
}

// Any value; of strings the text, of others the source. Arrays and objects are checked and skipped.
static bool value(scanner *s, char **out, qn_json_value *result, int depth) {
    skip_space(s);
    const char *begin = s->at;
    char c = s->at < s->end ? *s->at : '\0';
    switch (c) {
    case '"':
        result->kind = QN_JSON_STRING;
        return string(s, out, &result->text);
    case 't':
        result->kind = QN_JSON_TRUE;
        literal(s, "true");
        break;
    case 'f':
        result->kind = QN_JSON_FALSE;
        literal(s, "false");
        break;
    case 'n':
        result->kind = QN_JSON_NULL;
        literal(s, "null");
        break;
    case '[':
    case '{': {
        if (depth >= DEPTH) return wrong(s, "values are nested too deeply");
        char close = c == '[' ? ']' : '}';
        result->kind = c == '[' ? QN_JSON_ARRAY : QN_JSON_OBJECT;
        s->at++;
        skip_space(s);
        if (s->at < s->end && *s->at == close) {
            s->at++;
            break;
        }
        for (;;) {
            qn_json_value inner;
            skip_space(s);
            if (c == '{') {
                if (s->at == s->end || *s->at != '"') return wrong(s, "no key (expected a string in quotes)");
                if (!string(s, NULL, NULL)) return false;
                skip_space(s);
                if (s->at == s->end || *s->at++ != ':') return wrong(s, "no colon after a key");
            }
            if (!value(s, NULL, &inner, depth + 1)) return false;
            skip_space(s);
            if (s->at == s->end)
                return wrong(s, "an array or object does not end in this line (expected one JSON object per line)");
            if (*s->at == close) break;
            if (*s->at != ',') return wrong(s, "no comma between two values");
            s->at++;
        }
        s->at++;
        break;
    }
    default:
        result->kind = QN_JSON_NUMBER;
        if (c == '-' || (c >= '0' && c <= '9'))
            number(s);
        else
            literal(s, "a value");
    }
    result->text = (qn_span){begin, (size_t)(s->at - begin)};
    return !s->error;
}

static qn_status add_pair(qn_reader *reader, size_t count, qn_span key, qn_json_value content) {
    void *keys = reader->cell, *values = reader->value;
    qn_status status = qn_grow(&keys, &reader->cell_capacity, count + 1, sizeof *reader->cell);
    reader->cell = keys;
    if (status == QN_OK) status = qn_grow(&values, &reader->value_capacity, count + 1, sizeof *reader->value);
    reader->value = values;
    if (status != QN_OK) return status;
    reader->cell[count] = key;
    reader->value[count] = content;
    return QN_OK;
}

// The keys of an object into reader->cell, what stands under them into reader->value. Syntax errors end up in s->error.
static qn_status object(qn_reader *reader, scanner *s, size_t *count) {
    char *out = reader->scratch;
    *count = 0;
    skip_space(s);
    if (s->at == s->end || *s->at != '{') {
        wrong(s, s->at < s->end && *s->at == '[' ? "a JSON array (expected one JSON object per line)"
                                                 : "no JSON object (expected {)");
        return QN_OK;
    }
    s->at++;
    skip_space(s);
    bool empty = s->at < s->end && *s->at == '}';
    while (!empty) {
        qn_span key;
        qn_json_value content;
        skip_space(s);
        if (s->at == s->end)
            wrong(s, "the object does not end in this line (expected one JSON object per line)");
        else if (*s->at != '"')
            wrong(s, "no key (expected a string in quotes)");
        if (s->error || !string(s, &out, &key)) return QN_OK;
        skip_space(s);
        if (s->at == s->end || *s->at != ':') {
            wrong(s, "no colon after a key");
            return QN_OK;
        }
        s->at++;
        if (!value(s, &out, &content, 1)) return QN_OK;
        QN_TRY(add_pair(reader, *count, key, content));
        ++*count;
        skip_space(s);
        if (s->at < s->end && *s->at == '}') break;
        if (s->at == s->end || *s->at != ',') {
            wrong(s, s->at == s->end ? "the object does not end in this line (expected one JSON object per line)"
                                     : "no comma between two values");
            return QN_OK;
        }
        s->at++;
    }
    s->at++;
    skip_space(s);
    if (s->at < s->end) wrong(s, "more after the object (expected one JSON object per line)");
    return QN_OK;
}

static const char *kind_name(qn_json_kind kind) {
    static const char *const names[] = {"a string", "a number", "true", "false", "null", "an array", "an object"};
    return names[kind];
}

// A label that is no array: strings as they are, numbers and booleans as they are written.
static bool is_label(const qn_json_value *content) {
    return content->kind <= QN_JSON_FALSE;
}

qn_status qn_reader_json_labels(qn_reader *reader, qn_record *record, qn_span text) {
    void *room = reader->label_text;
    qn_status status = qn_grow(&room, &reader->label_text_capacity, text.size + 1, 1);
    reader->label_text = room;
    if (status != QN_OK) return status;
    char *out = reader->label_text;
    scanner s = {text.data, text.data + text.size, NULL};
    s.at++; // the bracket, by which the caller knew the array
    skip_space(&s);
    bool empty = s.at < s.end && *s.at == ']';
    while (!empty) {
        qn_json_value item;
        if (!value(&s, &out, &item, 1)) break;
        if (!is_label(&item))
            return qn_fail(QN_ERROR_FORMAT, "a label is %s (expected a string or a number)", kind_name(item.kind));
        QN_TRY(qn_reader_add_label(reader, record, qn_span_trim(item.text)));
        skip_space(&s);
        if (s.at < s.end && *s.at == ']') break;
        if (s.at == s.end || *s.at != ',') {
            wrong(&s, "the list of labels goes wrong (expected [\"A\", \"B\"])");
            break;
        }
        s.at++;
    }
    if (!s.error) {
        s.at++;
        skip_space(&s);
        if (s.at < s.end) wrong(&s, "more after the list of labels (expected its end)");
    }
    return s.error ? qn_fail(QN_ERROR_FORMAT, "%s", s.error) : QN_OK;
}

// What stands under a key in this record, or NULL. Of a key that occurs twice, the last one counts, as in Python.
static const qn_json_value *find_key(const qn_reader *reader, size_t count, const char *key) {
    if (!key) return NULL;
    size_t size = strlen(key);
    for (size_t i = count; i-- > 0;)
        if (reader->cell[i].size == size && memcmp(reader->cell[i].data, key, size) == 0) return &reader->value[i];
    return NULL;
}

static const qn_json_value *find(const qn_reader *reader, size_t count, qn_role role) {
    return find_key(reader, count, reader->key[role]);
}

// A text of the record. `needed` is false where null means that there is none.
static qn_status take_text(const qn_reader *reader, const qn_record *record, size_t count, qn_role role, bool needed,
                           qn_span *out) {
    const qn_json_value *content = find(reader, count, role);
    if (content && content->kind == QN_JSON_STRING) {
        *out = content->text;
        return QN_OK;
    }
    if (content && content->kind == QN_JSON_NULL && !needed) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s:%lld: \"%s\" is %s (expected a string)", qn_input_name(reader->input),
                   (long long)record->line, reader->key[role], content ? kind_name(content->kind) : "not there");
}

// The strings of a JSON array into the record's texts; `*out` is where they are unescaped.
static qn_status take_list(qn_reader *reader, qn_record *record, const char *key, qn_span text, char **out) {
    scanner s = {text.data, text.data + text.size, NULL};
    s.at++; // the bracket
    skip_space(&s);
    while (s.at < s.end && *s.at != ']') {
        qn_json_value item;
        if (!value(&s, out, &item, 1)) break;
        if (item.kind != QN_JSON_STRING)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: \"%s\" holds %s (expected strings)", qn_input_name(reader->input),
                           (long long)record->line, key, kind_name(item.kind));
        QN_TRY(qn_reader_add_text(reader, record, item.text));
        skip_space(&s);
        if (s.at < s.end && *s.at == ',') s.at++;
        skip_space(&s);
    }
    return s.error ? qn_fail(QN_ERROR_FORMAT, "%s:%lld: \"%s\": %s", qn_input_name(reader->input),
                             (long long)record->line, key, s.error)
                   : QN_OK;
}

// The texts of a group: each key has a text or a list of texts.
static qn_status take_group(qn_reader *reader, qn_record *record, size_t count) {
    size_t need = 1;
    for (size_t i = 0; i < reader->group_count; i++) {
        const qn_json_value *content = find_key(reader, count, reader->group_key[i]);
        if (content && content->kind == QN_JSON_ARRAY) need += content->text.size;
    }
    void *room = reader->group_text;
    qn_status status = qn_grow(&room, &reader->group_text_capacity, need, 1);
    reader->group_text = room;
    if (status != QN_OK) return status;
    char *out = reader->group_text;
    for (size_t i = 0; i < reader->group_count; i++) {
        const char *key = reader->group_key[i];
        const qn_json_value *content = find_key(reader, count, key);
        if (content && content->kind == QN_JSON_ARRAY)
            QN_TRY(take_list(reader, record, key, content->text, &out));
        else if (content && content->kind == QN_JSON_STRING)
            QN_TRY(qn_reader_add_text(reader, record, content->text));
        else
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: \"%s\" is %s (expected a string or a list of strings)",
                           qn_input_name(reader->input), (long long)record->line, key,
                           content ? kind_name(content->kind) : "not there");
    }
    if (record->text_count == 0)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: no text (expected at least one)", qn_input_name(reader->input),
                       (long long)record->line);
    record->text = record->texts[0];
    return QN_OK;
}

static qn_status take_label(qn_reader *reader, qn_record *record, const qn_json_value *content) {
    qn_status status = QN_OK;
    if (!content || content->kind == QN_JSON_NULL) return QN_OK;
    record->has_label = true;
    if (content->kind == QN_JSON_ARRAY)
        status = qn_reader_json_labels(reader, record, content->text);
    else if (is_label(content) && reader->options.multi_label && content->kind == QN_JSON_STRING)
        status = qn_reader_split_labels(reader, record, content->text);
    else if (is_label(content))
        status = qn_reader_add_label(reader, record, qn_span_trim(content->text));
    else
        status = qn_fail(QN_ERROR_FORMAT, "the label is %s (expected a string, a number or an array of them)",
                         kind_name(content->kind));
    if (status != QN_OK && status != QN_ERROR_MEMORY)
        qn_fail_prefix(status, "%s:%lld", qn_input_name(reader->input), (long long)record->line);
    return status;
}

static qn_status take_score(const qn_reader *reader, qn_record *record, const qn_json_value *content) {
    if (!content || content->kind == QN_JSON_NULL) return QN_OK;
    bool usable = content->kind == QN_JSON_NUMBER || content->kind == QN_JSON_STRING;
    if (!usable || !qn_parse_number(content->text, &record->score))
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the score is %s (expected a finite number)",
                       qn_input_name(reader->input), (long long)record->line,
                       usable ? "not a number" : kind_name(content->kind));
    record->has_score = true;
    return QN_OK;
}

// The next line that is not blank, taken apart.
static qn_status next_object(qn_reader *reader, qn_record *record, size_t *count, bool *end) {
    qn_span line;
    do {
        record->offset = qn_input_offset(reader->input);
        QN_TRY(qn_input_text(reader->input, &line, end));
        if (*end) return QN_OK;
    } while (qn_span_trim(line).size == 0);
    record->line = qn_input_line_number(reader->input);
    // Unescaping never makes a string longer, so all strings of the line fit.
    QN_TRY(qn_reader_reserve(reader, line.size + 1));
    scanner s = {line.data, line.data + line.size, NULL};
    QN_TRY(object(reader, &s, count));
    if (s.error)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld:%zu: %s", qn_input_name(reader->input), (long long)record->line,
                       (size_t)(s.at - line.data) + 1, s.error);
    return QN_OK;
}

// The first record says which keys are which; it is read again as a record.
static qn_status start(qn_reader *reader) {
    qn_reader_position begin = qn_reader_tell(reader);
    qn_record first = {0};
    bool end;
    size_t count;
    QN_TRY(next_object(reader, &first, &count, &end));
    if (end) return QN_OK;
    QN_TRY(qn_reader_resolve(reader, reader->cell, count, false, reader->column));
    for (int role = 0; role < QN_ROLES; role++) {
        ptrdiff_t at = reader->column[role];
        if (at < 0) continue;
        reader->key[role] = qn_strndup(reader->cell[at].data, reader->cell[at].size);
        if (!reader->key[role]) return QN_ERROR_MEMORY;
    }
    reader->group_key = qn_calloc(reader->group_count + 1, sizeof *reader->group_key);
    if (!reader->group_key) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < reader->group_count; i++) {
        const qn_span *name = &reader->cell[reader->group[i]];
        reader->group_key[i] = qn_strndup(name->data, name->size);
        if (!reader->group_key[i]) return QN_ERROR_MEMORY;
    }
    return qn_reader_seek(reader, &begin);
}

static qn_status next(qn_reader *reader, qn_record *record, bool *end) {
    size_t count;
    QN_TRY(next_object(reader, record, &count, end));
    if (*end) return QN_OK;
    if (reader->options.group)
        QN_TRY(take_group(reader, record, count));
    else
        QN_TRY(take_text(reader, record, count, QN_ROLE_TEXT, true, &record->text));
    if (reader->key[QN_ROLE_PAIR] && !reader->options.group)
        QN_TRY(take_text(reader, record, count, QN_ROLE_PAIR, false, &record->pair));
    QN_TRY(take_label(reader, record, find(reader, count, QN_ROLE_LABEL)));
    return take_score(reader, record, find(reader, count, QN_ROLE_SCORE));
}

const qn_reader_methods qn_reader_jsonl = {start, next};
