// Lines of a file or of standard input, gzip undone on the way, without a heap allocation per line.
#pragma once
#include "base/status.h"

// Bytes of somebody else's memory; not NUL-terminated.
typedef struct {
    const char *data;
    size_t size;
} qn_span;

// The longest line, or CSV record of several lines, that is accepted.
#define QN_LINE_LIMIT ((size_t)64 << 20)

typedef struct qn_input qn_input;

// Opens a file, or standard input for "-". Gzip is recognised by its first two bytes; several members in a row are one
// text. A UTF-8 byte order mark is skipped. Other compressions, archives, columnar formats and UTF-16 are refused by
// name. Not thread-safe.
qn_status qn_input_open(const char *path, qn_input **out);
void qn_input_close(qn_input *input); // NULL is allowed

// The next line without its '\n' (a '\r' before it stays). `line` is valid until the next call. At the end *end is
// true. A line above QN_LINE_LIMIT, a NUL byte, and truncated or corrupt gzip data are errors.
qn_status qn_input_line(qn_input *input, qn_span *line, bool *end);

// The same of lines that are not UTF-8 throughout: it counts them, and warns of the first, as their bytes are read as U+FFFD later.
qn_status qn_input_text(qn_input *input, qn_span *line, bool *end);

// A file as it is: neither compressed nor standard input.
bool qn_input_is_plain(const qn_input *input);
const char *qn_input_name(const qn_input *input);    // the path, or "standard input"
int64_t qn_input_line_number(const qn_input *input); // of the line that was read last, from 1
int64_t
qn_input_offset(const qn_input *input); // position of the next line in the uncompressed text, byte order mark included

int64_t qn_input_invalid_lines(const qn_input *input); // that qn_input_text has counted

// How much of the file has been read, 0 to 1; 0 where its size is not known (pipes). Runs ahead by what is buffered.
double qn_input_progress(const qn_input *input);

// Goes to `offset`, where the line after number `line` begins. A plain file jumps; gzip is read again up to there;
// standard input can only go forward. Fails when the text ends before `offset`.
qn_status qn_input_seek(qn_input *input, int64_t offset, int64_t line);

// A look at the first line, at most `limit` bytes, without consuming it; what has arrived behind it may be there too.
// Only right after opening.
qn_status qn_input_peek(qn_input *input, size_t limit, qn_span *out);
