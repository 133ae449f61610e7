// Windows: what a text that is longer than the model is cut into, each with the special tokens, and the question where
// there is one, around its part of the text. Neighbours overlap, so that every token has context in one of them.
#pragma once
#include "data/sequences.h"

// Where the windows of an encoding are. The part that is cut is the tokens [begin, end) of the encoding; window i has
// of it what qn_windows_at says, and all tokens before and after it.
typedef struct {
    size_t begin, end;
    size_t room, step; // tokens of the part in a window, and from one window to the next
    size_t count;      // 1 at least
} qn_windows;

// Plans windows of at most max_length tokens (0: no limit) over an encoding that was not truncated. `sequence` 0 cuts
// the text, 1 the pair. `stride` is how many tokens neighbours share; 0: 128, or half of the room if that is less. As
// tokenizers' return_overflowing_tokens. QN_ERROR_ARGUMENT where there is no room, or no more than the stride.
qn_status qn_windows_plan(const qn_encoding *encoding, int sequence, size_t max_length, size_t stride, qn_windows *out);
// The tokens of the encoding that window i has of the part.
void qn_windows_at(const qn_windows *windows, size_t i, size_t *begin, size_t *end);
// The window in which a token of the part has the most context on its poorer side; the first one of equals.
size_t qn_windows_best(const qn_windows *windows, size_t token);
// Appends window i as a sequence.
qn_status qn_windows_append(const qn_windows *windows, size_t i, const qn_encoding *encoding, qn_sequences *out);
// The token of the encoding that stands at `place` of window i.
size_t qn_windows_token(const qn_windows *windows, size_t i, size_t place);
