// JSON over jansson: limits, errors that name the place, and output that Python would write (shortest numbers,
// two-space indent).
#include "base/json.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_FILE ((size_t)1 << 30)

// --- Reading ---

// Integers beyond 64 bits are an error for jansson, but Hugging Face writes 1000000000000000019884624838656 for "no
// limit". Such literals outside strings become reals of the same length in place: the last three digits turn into the
// exponent e03.
static void soften_integers(char *text, size_t size) {
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        if (in_string) {
            if (text[i] == '\\') {
                i++;
            } else if (text[i] == '"') {
                in_string = false;
            }
            continue;
        }
        if (text[i] == '"') in_string = true;
        if (!isdigit((unsigned char)text[i])) continue;
        size_t end = i;
        while (end < size && isdigit((unsigned char)text[end])) end++;
        bool integer = end == size || (text[end] != '.' && text[end] != 'e' && text[end] != 'E');
        // 19 digits are the longest that may fit into int64_t. Digits after a point or an exponent were stepped over
        // below.
        if (integer && end - i >= 19) memcpy(text + end - 3, "e03", 3);
        if (!integer) {
            while (end < size &&
                   (isalnum((unsigned char)text[end]) || text[end] == '.' || text[end] == '+' || text[end] == '-'))
                end++;
        }
        i = end - 1;
    }
}

qn_status qn_json_parse(const char *text, size_t size, const char *source, json_t **out) {
    return qn_json_parse_line(text, size, source, 1, out);
}

qn_status qn_json_parse_line(const char *text, size_t size, const char *source, int64_t line, json_t **out) {
    *out = NULL;
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) { // a byte order mark
        text += 3;
        size -= 3;
    }
    // NUL in a string is legal JSON and stands in real vocabularies; qn_json_string() refuses it where text is wanted.
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t error;
    *out = json_loadb(size > 0 ? text : "", size, flags, &error);
    if (*out == NULL && json_error_code(&error) == json_error_numeric_overflow) {
        char *copy = qn_strndup(text, size);
        if (copy == NULL) return QN_ERROR_MEMORY;
        soften_integers(copy, size);
        *out = json_loadb(copy, size, flags, &error);
        free(copy);
    }
    if (*out != NULL) return QN_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return qn_fail(QN_ERROR_MEMORY, "%s: out of memory", source);
    return qn_fail(QN_ERROR_FORMAT, "%s:%lld:%d: %s (expected JSON)", source,
                   (long long)line + (error.line < 1 ? 0 : error.line - 1), error.column < 1 ? 1 : error.column,
                   error.text);
}

qn_status qn_json_load(const char *path, json_t **out) {
    *out = NULL;
    qn_buffer text = {0};
    qn_status status = qn_read_file(path, LARGEST_FILE, &text);
    if (status == QN_OK) status = qn_json_parse(text.data, text.size, path, out);
    qn_buffer_free(&text);
    return status;
}

// --- Values ---

// What a value is, in words short enough for a message.
static const char *describe(const json_t *value, char *text, size_t size) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        snprintf(text, size, "\"%.40s%s\"", json_string_value(value), json_string_length(value) > 40 ? "..." : "");
        return text;
    case JSON_INTEGER:
        snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return text;
    case JSON_REAL:
        snprintf(text, size, "%.17g", json_real_value(value));
        return text;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

static qn_status wrong(const char *file, const char *key, const json_t *value, const char *expected) {
    char text[64];
    return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %s (expected %s)", file, key, describe(value, text, sizeof text),
                   expected);
}

// Sets *value to object[key], or to NULL where there is none and none is needed.
static qn_status find(const json_t *object, const char *file, const char *key, bool required, const char *expected,
                      json_t **value) {
    *value = NULL;
    if (!json_is_object(object)) {
        char text[64];
        return qn_fail(QN_ERROR_FORMAT, "%s: %s where \"%s\" is looked for (expected an object)", file,
                       object == NULL ? "nothing" : describe(object, text, sizeof text), key);
    }
    *value = json_object_get(object, key);
    if (json_is_null(*value)) *value = NULL;
    if (*value == NULL && required)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is missing (expected %s)", file, key, expected);
    return QN_OK;
}

qn_status qn_json_int(const json_t *object, const char *file, const char *key, bool required, int64_t min, int64_t max,
                      int64_t *value) {
    char expected[96];
    snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, min, max);
    json_t *found;
    QN_TRY(find(object, file, key, required, expected, &found));
    if (found == NULL) return QN_OK;
    int64_t number;
    if (json_is_integer(found)) {
        number = json_integer_value(found);
    } else if (json_is_real(found) && fabs(json_real_value(found)) < 0x1p53 &&
               json_real_value(found) == trunc(json_real_value(found))) {
        number = (int64_t)json_real_value(found); // 12.0 and 1e5 are integers that some writers spell so
    } else {
        return wrong(file, key, found, expected);
    }
    if (number < min || number > max) return wrong(file, key, found, expected);
    *value = number;
    return QN_OK;
}

qn_status qn_json_real(const json_t *object, const char *file, const char *key, bool required, double min, double max,
                       double *value) {
    char expected[96];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    json_t *found;
    QN_TRY(find(object, file, key, required, expected, &found));
    if (found == NULL) return QN_OK;
    if (!json_is_number(found)) return wrong(file, key, found, expected);
    double number = json_number_value(found);
    if (!(number >= min && number <= max)) return wrong(file, key, found, expected);
    *value = number;
    return QN_OK;
}

qn_status qn_json_bool(const json_t *object, const char *file, const char *key, bool required, bool *value) {
    json_t *found;
    QN_TRY(find(object, file, key, required, "true or false", &found));
    if (found == NULL) return QN_OK;
    if (!json_is_boolean(found)) return wrong(file, key, found, "true or false");
    *value = json_is_true(found);
    return QN_OK;
}

qn_status qn_json_string(const json_t *object, const char *file, const char *key, bool required, const char **value) {
    json_t *found;
    QN_TRY(find(object, file, key, required, "a string", &found));
    if (found == NULL) return QN_OK;
    if (!json_is_string(found)) return wrong(file, key, found, "a string");
    if (strlen(json_string_value(found)) != json_string_length(found))
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" has a NUL in it (expected text)", file, key);
    *value = json_string_value(found);
    return QN_OK;
}

qn_status qn_json_object(const json_t *object, const char *file, const char *key, bool required, json_t **value) {
    json_t *found;
    QN_TRY(find(object, file, key, required, "an object", &found));
    if (found == NULL) return QN_OK;
    if (!json_is_object(found)) return wrong(file, key, found, "an object");
    *value = found;
    return QN_OK;
}

qn_status qn_json_array(const json_t *object, const char *file, const char *key, bool required, json_t **value) {
    json_t *found;
    QN_TRY(find(object, file, key, required, "an array", &found));
    if (found == NULL) return QN_OK;
    if (!json_is_array(found)) return wrong(file, key, found, "an array");
    *value = found;
    return QN_OK;
}

// --- Writing ---

static void write_real(qn_buffer *out, double value) {
    // The shortest digits that read back as the same number. jansson's own 17 turn 0.1 into 0.10000000000000001.
    size_t start = out->size;
    for (int digits = 15; digits <= 17; digits++) {
        char text[40];
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (digits == 17 || strtod(text, NULL) == value) {
            qn_buffer_json_number(out, value, digits);
            break;
        }
    }
    // It must stay a real for the next reader.
    if (out->size > start && strpbrk(out->data + start, ".en") == NULL) qn_buffer_text(out, ".0");
}

static void new_line(qn_buffer *out, int depth) {
    qn_buffer_char(out, '\n');
    for (int i = 0; i < depth; i++) qn_buffer_text(out, "  ");
}

static void write_value(qn_buffer *out, const json_t *value, int depth) {
    json_t *item;
    size_t index;
    const char *key;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        qn_buffer_char(out, '{');
        index = 0;
        json_object_foreach((json_t *)(uintptr_t)value, key, item) {
            if (index++ > 0) qn_buffer_char(out, ',');
            new_line(out, depth + 1);
            qn_buffer_json_string(out, key, strlen(key));
            qn_buffer_text(out, ": ");
            write_value(out, item, depth + 1);
        }
        if (index > 0) new_line(out, depth);
        qn_buffer_char(out, '}');
        break;
    case JSON_ARRAY:
        qn_buffer_char(out, '[');
        json_array_foreach(value, index, item) {
            if (index > 0) qn_buffer_char(out, ',');
            new_line(out, depth + 1);
            write_value(out, item, depth + 1);
        }
        if (json_array_size(value) > 0) new_line(out, depth);
        qn_buffer_char(out, ']');
        break;
    case JSON_STRING:
        qn_buffer_json_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        qn_buffer_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        write_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
        qn_buffer_text(out, "true");
        break;
    case JSON_FALSE:
        qn_buffer_text(out, "false");
        break;
    case JSON_NULL:
        qn_buffer_text(out, "null");
        break;
    }
}

void qn_json_write(const json_t *value, qn_buffer *out) {
    write_value(out, value, 0);
    qn_buffer_char(out, '\n');
}

qn_status qn_json_save(const json_t *value, const char *path) {
    qn_buffer text = {0};
    qn_json_write(value, &text);
    qn_status status = qn_buffer_status(&text);
    if (status == QN_OK) status = qn_write_file(path, text.data, text.size);
    qn_buffer_free(&text);
    return status;
}
