// A text on its way through normalisers and pre-tokenizers: valid UTF-8, with the original place of every byte.
#pragma once
#include "base/status.h"
#include "text/bert.h"

typedef struct {
    char *text;
    qn_align *aligns; // [size]; all bytes of one character have the same
    size_t size, capacity;
} qn_form;

qn_status qn_form_reserve(qn_form *form, size_t need);
void qn_form_free(qn_form *form);
// The original text[from, to); `character` is the number of the character at `from`. Broken bytes become U+FFFD.
qn_status qn_form_read(qn_form *form, const char *text, size_t from, size_t to, int32_t *character);
qn_status qn_form_append(qn_form *form, const char *text, size_t size, qn_align align);

// The next character of a text that is known to be valid: its bytes, at least 1.
static inline size_t qn_form_next(const char *text, uint32_t *code) {
    uint8_t a = (uint8_t)text[0];
    if (a < 0x80) {
        *code = a;
        return 1;
    }
    uint32_t b = (uint8_t)text[1] & 0x3F;
    if (a < 0xE0) {
        *code = (a & 0x1Fu) << 6 | b;
        return 2;
    }
    uint32_t c = (uint8_t)text[2] & 0x3F;
    if (a < 0xF0) {
        *code = (a & 0xFu) << 12 | b << 6 | c;
        return 3;
    }
    *code = (a & 7u) << 18 | b << 12 | c << 6 | ((uint8_t)text[3] & 0x3Fu);
    return 4;
}

// Rewrites a form character by character, the way the reference does it: a new character takes the place of the next
// old one (change 0), stands beside the one before (change > 0), or takes the place of 1 - change old ones (change <
// 0).
typedef struct {
    const qn_form *from;
    qn_form *to; // emptied by qn_rewrite_begin
    size_t offset;
    qn_align origin; // of what is inserted before the first character
} qn_rewrite;

void qn_rewrite_begin(qn_rewrite *rewrite, const qn_form *from, qn_form *to);
qn_status qn_rewrite_put(qn_rewrite *rewrite, uint32_t code, int32_t change);
// Keeps the next old characters, of `length` bytes together.
qn_status qn_rewrite_keep(qn_rewrite *rewrite, size_t length);
