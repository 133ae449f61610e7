// A growing byte buffer that is always followed by a NUL. Append errors are sticky: check `failed` once at the end.
#pragma once
#include "base/status.h"

typedef struct {
    char *data; // NULL while empty; always NUL-terminated otherwise
    size_t size, capacity;
    bool failed;
} qn_buffer;

void qn_buffer_free(qn_buffer *buffer);
void qn_buffer_clear(qn_buffer *buffer); // keeps the memory
void qn_buffer_append(qn_buffer *buffer, const void *data, size_t size);
void qn_buffer_text(qn_buffer *buffer, const char *text);
void qn_buffer_char(qn_buffer *buffer, char c);
void qn_buffer_printf(qn_buffer *buffer, const char *format, ...) QN_PRINTF(2, 3);
// A JSON string with quotes; bytes that are not UTF-8 become U+FFFD. Other characters stay as they are, but for those that could drive a
// terminal, and "</" and "<!", which could end a <script> element that the JSON stands in: these are escaped.
void qn_buffer_json_string(qn_buffer *buffer, const char *text, size_t size);
// A JSON number with `digits` significant digits; NaN and infinities, which JSON lacks, become null.
void qn_buffer_json_number(qn_buffer *buffer, double value, int digits);
// HTML text, good in elements and in quoted attributes: & < > " ' escaped; control characters and bytes that are not UTF-8 become U+FFFD.
void qn_buffer_html(qn_buffer *buffer, const char *text, size_t size);
// Base64 (RFC 4648) with padding.
void qn_buffer_base64(qn_buffer *buffer, const void *data, size_t size);
qn_status qn_buffer_status(const qn_buffer *buffer); // QN_OK, or QN_ERROR_MEMORY with the last error set
