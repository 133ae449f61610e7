// UTF-8: one character at a time, and the cleaning of text that goes to a terminal.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether all of text[0 .. size-1] is UTF-8.
bool qn_utf8_is_valid(const char *text, size_t size);

// Decodes the first character of text[0 .. size-1], size > 0. Returns the bytes it takes, at least 1. Bytes that are
// not UTF-8 (overlong, surrogate, above U+10FFFF, truncated, stray) give *code = -1 and the length of the maximal
// subpart, which is what one U+FFFD stands for in the Unicode standard (section 3.9), in Python's errors="replace" and
// in Rust's from_utf8_lossy.
size_t qn_utf8_next(const char *text, size_t size, int32_t *code);

// Writes `code` as 1 to 4 bytes; returns how many. `code` is a Unicode scalar value.
size_t qn_utf8_put(char out[4], int32_t code);

// True for a character that may change a terminal's state or the order of what it shows: controls, line separators,
// bidi overrides.
bool qn_utf8_is_unsafe(int32_t code);

// Makes NUL-terminated text safe to print as one line, in place: unsafe characters and bytes that are not UTF-8 become
// '?'.
void qn_utf8_sanitize(char *text);
