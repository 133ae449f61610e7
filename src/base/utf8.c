// UTF-8 decoding by the table of well-formed byte sequences (Unicode standard, table 3-7).
#include "base/utf8.h"
#include <string.h>

bool qn_utf8_is_valid(const char *text, size_t size) {
    for (const char *at = text, *end = text + size; at < end;) {
        uint64_t eight;
        while (end - at >= 8 && (memcpy(&eight, at, 8), (eight & 0x8080808080808080u) == 0)) at += 8;
        if (at == end) break;
        int32_t code;
        at += qn_utf8_next(at, (size_t)(end - at), &code);
        if (code < 0) return false;
    }
    return true;
}

size_t qn_utf8_next(const char *text, size_t size, int32_t *code) {
    const unsigned char *s = (const unsigned char *)text;
    unsigned char first = s[0];
    *code = -1;
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    // The second byte's range is what excludes overlong forms, surrogates and values above U+10FFFF.
    size_t length;
    unsigned char low = 0x80, high = 0xBF;
    int32_t value;
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
        value = first & 0x1F;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        value = first & 0x0F;
        if (first == 0xE0) low = 0xA0;
        if (first == 0xED) high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        value = first & 0x07;
        if (first == 0xF0) low = 0x90;
        if (first == 0xF4) high = 0x8F;
    } else {
        return 1;
    }
    for (size_t i = 1; i < length; i++) {
        if (i == size || s[i] < low || s[i] > high) return i;
        value = value << 6 | (s[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *code = value;
    return length;
}

size_t qn_utf8_put(char out[4], int32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

bool qn_utf8_is_unsafe(int32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0x200E || code == 0x200F || code == 0x061C;
}

void qn_utf8_sanitize(char *text) {
    size_t size = strlen(text), in = 0, out = 0;
    while (in < size) {
        int32_t code;
        size_t length = qn_utf8_next(text + in, size - in, &code);
        if (qn_utf8_is_unsafe(code)) { // -1 is below 0x20, too
            text[out++] = '?';
        } else {
            memmove(text + out, text + in, length);
            out += length;
        }
        in += length;
    }
    text[out] = '\0';
}
