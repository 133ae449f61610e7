// Any bytes as text: messages stay one clean line, and the JSON and HTML made of them are well-formed.
#include "base/buffer.h"
#include "base/utf8.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    qn_fail(QN_ERROR_FORMAT, "%.*s", (int)size, text);
    for (const char *c = qn_last_error(); *c != '\0';) {
        int32_t code;
        c += qn_utf8_next(c, strlen(c), &code);
        if (code < 0 || qn_utf8_is_unsafe(code)) abort();
    }
    qn_buffer buffer = {0};
    qn_buffer_char(&buffer, '[');
    qn_buffer_json_string(&buffer, text, size);
    qn_buffer_char(&buffer, ']');
    json_t *parsed = json_loadb(buffer.data, buffer.size, JSON_ALLOW_NUL, NULL);
    if (parsed == NULL || strstr(buffer.data, "</") != NULL) abort();
    json_decref(parsed);
    qn_buffer_clear(&buffer);
    qn_buffer_html(&buffer, text, size);
    if (buffer.size > 0 && strpbrk(buffer.data, "<>\"'") != NULL) abort();
    qn_buffer_free(&buffer);
    return 0;
}
