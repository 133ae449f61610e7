// A growing byte buffer, and the writing of JSON and HTML text into it.
#include "base/buffer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void qn_buffer_free(qn_buffer *buffer) {
    free(buffer->data);
    *buffer = (qn_buffer){0};
}

void qn_buffer_clear(qn_buffer *buffer) {
    buffer->size = 0;
    buffer->failed = false;
    if (buffer->data != NULL) buffer->data[0] = '\0';
}

// Room for `size` more bytes and the NUL.
static bool reserve(qn_buffer *buffer, size_t size) {
    if (buffer->failed) return false;
    size_t need;
    if (__builtin_add_overflow(buffer->size, size, &need) || need == SIZE_MAX ||
        qn_grow((void **)&buffer->data, &buffer->capacity, need + 1, 1) != QN_OK) {
        buffer->failed = true;
        return false;
    }
    return true;
}

void qn_buffer_append(qn_buffer *buffer, const void *data, size_t size) {
    if (!reserve(buffer, size)) return;
    if (size > 0) memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void qn_buffer_text(qn_buffer *buffer, const char *text) {
    qn_buffer_append(buffer, text, strlen(text));
}

void qn_buffer_char(qn_buffer *buffer, char c) {
    qn_buffer_append(buffer, &c, 1);
}

void qn_buffer_printf(qn_buffer *buffer, const char *format, ...) {
    if (!reserve(buffer, 0)) return;
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t room = buffer->capacity - buffer->size;
    int length = vsnprintf(buffer->data + buffer->size, room, format, arguments);
    if (length < 0) {
        buffer->failed = true;
        length = 0;
    } else if ((size_t)length >= room) {
        if (reserve(buffer, (size_t)length)) {
            vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
        } else {
            length = 0;
        }
    }
    va_end(again);
    va_end(arguments);
    buffer->size += (size_t)length;
    buffer->data[buffer->size] = '\0';
}

void qn_buffer_json_string(qn_buffer *buffer, const char *text, size_t size) {
    qn_buffer_char(buffer, '"');
    size_t plain = 0; // start of the bytes that can be copied as they are
    for (size_t i = 0; i < size;) {
        int32_t code;
        size_t length = qn_utf8_next(text + i, size - i, &code);
        char escape[16];
        const char *replacement = NULL;
        if (code == '"') {
            replacement = "\\\"";
        } else if (code == '\\') {
            replacement = "\\\\";
        } else if (code == '\n') {
            replacement = "\\n";
        } else if (code == '\r') {
            replacement = "\\r";
        } else if (code == '\t') {
            replacement = "\\t";
        } else if (code < 0) {
            replacement = "\xEF\xBF\xBD";
        } else if (qn_utf8_is_unsafe(code) ||
                   (code == '<' && i + 1 < size && (text[i + 1] == '/' || text[i + 1] == '!'))) {
            // The latter two would end a <script> element, or begin a comment, in a page that embeds the JSON.
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code);
            replacement = escape;
        }
        if (replacement != NULL) {
            qn_buffer_append(buffer, text + plain, i - plain);
            qn_buffer_text(buffer, replacement);
            plain = i + length;
        }
        i += length;
    }
    qn_buffer_append(buffer, text + plain, size - plain);
    qn_buffer_char(buffer, '"');
}

qn_status qn_json_quote(const char *text, size_t size, char **quoted) {
    qn_buffer buffer = {0};
    qn_buffer_json_string(&buffer, text, size);
    qn_status status = qn_buffer_status(&buffer);
    if (status != QN_OK) qn_buffer_free(&buffer);
    *quoted = buffer.data;
    return status;
}

void qn_buffer_json_number(qn_buffer *buffer, double value, int digits) {
    if (!isfinite(value)) {
        qn_buffer_text(buffer, "null");
        return;
    }
    char text[64];
    snprintf(text, sizeof text, "%.*g", digits < 1 ? 1 : digits > 17 ? 17 : digits, value);
    // A program that called setlocale() may have another decimal point.
    const char *point = localeconv()->decimal_point;
    char *found = strstr(text, point);
    if (strcmp(point, ".") != 0 && *point != '\0' && found != NULL) {
        *found = '.';
        memmove(found + 1, found + strlen(point), strlen(found + strlen(point)) + 1);
    }
    qn_buffer_text(buffer, text);
}

void qn_buffer_html(qn_buffer *buffer, const char *text, size_t size) {
    size_t plain = 0;
    for (size_t i = 0; i < size;) {
        int32_t code;
        size_t length = qn_utf8_next(text + i, size - i, &code);
        const char *replacement = code == '&'    ? "&amp;"
                                  : code == '<'  ? "&lt;"
                                  : code == '>'  ? "&gt;"
                                  : code == '"'  ? "&quot;"
                                  : code == '\'' ? "&#39;"
                                  : code < 0 || (qn_utf8_is_unsafe(code) && code != '\n' && code != '\t')
                                      ? "\xEF\xBF\xBD"
                                      : NULL;
        if (replacement != NULL) {
            qn_buffer_append(buffer, text + plain, i - plain);
            qn_buffer_text(buffer, replacement);
            plain = i + length;
        }
        i += length;
    }
    qn_buffer_append(buffer, text + plain, size - plain);
}

qn_status qn_buffer_status(const qn_buffer *buffer) {
    if (!buffer->failed) return QN_OK;
    return qn_fail(QN_ERROR_MEMORY, "out of memory (a text of more than %zu bytes)", buffer->size);
}

void qn_buffer_base64(qn_buffer *buffer, const void *data, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t three =
            (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        char text[4] = {digits[three >> 18], digits[three >> 12 & 63], digits[three >> 6 & 63], digits[three & 63]};
        for (size_t k = left + 1; k < 4; k++) text[k] = '=';
        qn_buffer_append(buffer, text, sizeof text);
    }
}
