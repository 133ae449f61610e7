// Lines of a file or of standard input: a window of uncompressed bytes that slides over the text, filled by read() or
// by inflate().
#include "data/input.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { BLOCK = 256 << 10 };

struct qn_input {
    char *name;
    int fd;
    bool owns_fd, gzip, raw_end, text_end;
    char *window; // unread text is window[begin .. end-1]
    size_t capacity, begin, end;
    int64_t offset, line; // position of window[begin]; lines read so far
    int64_t invalid;      // of them not UTF-8
    // gzip only
    unsigned char *raw; // [BLOCK] compressed bytes
    z_stream stream;
    bool stream_ready, in_member;
};

const char *qn_input_name(const qn_input *input) {
    return input->name;
}

bool qn_input_is_plain(const qn_input *input) {
    return input->owns_fd && !input->gzip;
}

int64_t qn_input_line_number(const qn_input *input) {
    return input->line;
}

int64_t qn_input_offset(const qn_input *input) {
    return input->offset;
}

int64_t qn_input_invalid_lines(const qn_input *input) {
    return input->invalid;
}

void qn_input_close(qn_input *input) {
    if (!input) return;
    if (input->stream_ready) inflateEnd(&input->stream);
    if (input->owns_fd) close(input->fd);
    free(input->raw);
    free(input->window);
    free(input->name);
    free(input);
}

// One read() of at most `size` bytes; 0 is the end of the file.
static qn_status read_raw(qn_input *input, void *into, size_t size, size_t *got) {
    ssize_t n;
    do n = read(input->fd, into, size);
    while (n < 0 && errno == EINTR);
    if (n < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot read", input->name);
    *got = (size_t)n;
    if (n == 0) input->raw_end = true;
    return QN_OK;
}

static qn_status refill_raw(qn_input *input) {
    z_stream *z = &input->stream;
    if (z->avail_in > 0 || input->raw_end) return QN_OK;
    size_t got;
    QN_TRY(read_raw(input, input->raw, BLOCK, &got));
    z->next_in = input->raw;
    z->avail_in = (unsigned)got;
    return QN_OK;
}

// Between two members: another one, zeros (padding of tapes and block devices, which gzip ignores too), or the end.
static qn_status next_member(qn_input *input) {
    z_stream *z = &input->stream;
    for (;;) {
        QN_TRY(refill_raw(input));
        if (z->avail_in == 0) {
            input->text_end = true;
            return QN_OK;
        }
        if (*z->next_in != 0) break;
        z->next_in++;
        z->avail_in--;
    }
    if (*z->next_in != 0x1f)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: other bytes follow the gzip data (expected its end or another gzip member)", input->name);
    inflateReset(z);
    input->in_member = true;
    return QN_OK;
}

static qn_status fill_gzip(qn_input *input, size_t room) {
    z_stream *z = &input->stream;
    unsigned want = room > BLOCK ? BLOCK : (unsigned)room;
    z->next_out = (unsigned char *)input->window + input->end;
    z->avail_out = want;
    while (z->avail_out == want && !input->text_end) {
        if (!input->in_member) {
            QN_TRY(next_member(input));
            continue;
        }
        QN_TRY(refill_raw(input));
        if (z->avail_in == 0)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the gzip data ends here in the middle (is the file truncated?)",
                           input->name, (long long)input->line + 1);
        int code = inflate(z, Z_NO_FLUSH);
        if (code == Z_STREAM_END)
            input->in_member = false;
        else if (code == Z_MEM_ERROR)
            return qn_fail(QN_ERROR_MEMORY, "%s: out of memory while decompressing", input->name);
        else if (code != Z_OK && code != Z_BUF_ERROR)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: corrupt gzip data (%s)", input->name, (long long)input->line + 1,
                           z->msg ? z->msg : "unknown reason");
    }
    input->end += want - z->avail_out;
    return QN_OK;
}

// Brings more text to the end of the window, or sets text_end.
static qn_status fill(qn_input *input) {
    if (input->begin > 0 && (input->begin == input->end || input->capacity - input->end < BLOCK / 2)) {
        memmove(input->window, input->window + input->begin, input->end - input->begin);
        input->end -= input->begin;
        input->begin = 0;
    }
    if (input->capacity - input->end < BLOCK / 2) {
        void *window = input->window;
        QN_TRY(qn_grow(&window, &input->capacity, input->capacity + BLOCK, 1));
        input->window = window;
    }
    size_t room = input->capacity - input->end;
    if (input->gzip) return fill_gzip(input, room);
    size_t got;
    QN_TRY(read_raw(input, input->window + input->end, room, &got));
    input->end += got;
    input->text_end = got == 0;
    return QN_OK;
}

// What a file is whose first bytes are these, when it is none of ours.
static const char *foreign_format(const unsigned char *bytes, size_t size) {
    static const struct {
        const char *magic, *name;
        size_t size;
    } known[] = {
        {"PK\3\4", "a zip archive (or .xlsx, .docx)", 4},
        {"PAR1\x15", "a Parquet file", 5},
        {"ARROW1\0\0", "an Arrow file", 8},
        {"\x28\xb5\x2f\xfd", "zstd-compressed", 4},
        {"BZh91AY", "bzip2-compressed", 7},
        {"\xfd\x37zXZ", "xz-compressed", 5},
        {"\xff\xfe", "UTF-16 text", 2},
        {"\xfe\xff", "UTF-16 text", 2},
        {"%PDF-", "a PDF file", 5},
        {"\x89PNG", "a PNG image", 4},
        {"\xff\xd8\xff", "a JPEG image", 3},
        {"SQLite format 3", "an SQLite database", 15},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (size >= known[i].size && memcmp(bytes, known[i].magic, known[i].size) == 0) return known[i].name;
    return NULL;
}

static qn_status start_gzip(qn_input *input) {
    input->raw = qn_malloc(BLOCK, 1);
    if (!input->raw) return QN_ERROR_MEMORY;
    if (inflateInit2(&input->stream, 15 + 16) != Z_OK)
        return qn_fail(QN_ERROR_MEMORY, "%s: out of memory while decompressing", input->name);
    input->stream_ready = true;
    input->gzip = input->in_member = true;
    memcpy(input->raw, input->window, input->end);
    input->stream.next_in = input->raw;
    input->stream.avail_in = (unsigned)input->end;
    input->end = 0;
    return QN_OK;
}

static qn_status open_file(qn_input *input, const char *path) {
    if (strcmp(path, "-") == 0) {
        input->fd = STDIN_FILENO;
        return QN_OK;
    }
    input->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (input->fd < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot open", path);
    input->owns_fd = true;
    struct stat info;
    if (fstat(input->fd, &info) == 0 && S_ISDIR(info.st_mode))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: is a folder (expected a file)", path);
    return QN_OK;
}

double qn_input_progress(const qn_input *input) {
    struct stat info;
    if (fstat(input->fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) return 0;
    off_t at = lseek(input->fd, 0, SEEK_CUR);
    double progress = (double)at / (double)info.st_size;
    return progress < 0 ? 0 : progress > 1 ? 1 : progress;
}

// Skips the byte order mark; text must have been filled in.
static void skip_mark(qn_input *input) {
    if (input->offset == 0 && input->end - input->begin >= 3 &&
        memcmp(input->window + input->begin, "\xef\xbb\xbf", 3) == 0) {
        input->begin += 3;
        input->offset = 3;
    }
}

// A whole line has arrived. More is not waited for: whoever writes into a pipe may wait for an answer to it.
static bool has_line(const qn_input *input) {
    return memchr(input->window + input->begin, '\n', input->end - input->begin) != NULL;
}

static qn_status start(qn_input *input) {
    // A pipe may deliver less than what the magic bytes need in one read.
    while (input->end < 16 && !input->raw_end && !has_line(input)) {
        size_t got;
        QN_TRY(read_raw(input, input->window + input->end, BLOCK - input->end, &got));
        input->end += got;
    }
    const unsigned char *bytes = (const unsigned char *)input->window;
    if (input->end >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) QN_TRY(start_gzip(input));
    while (input->end < 16 && !input->text_end && !has_line(input)) QN_TRY(fill(input));
    const char *foreign = foreign_format((const unsigned char *)input->window, input->end);
    if (foreign)
        return qn_fail(QN_ERROR_FORMAT, "%s: is %s (expected UTF-8 text, plain or gzip)", input->name, foreign);
    skip_mark(input);
    return QN_OK;
}

qn_status qn_input_open(const char *path, qn_input **out) {
    *out = NULL;
    qn_input *input = qn_calloc(1, sizeof *input);
    if (!input) return QN_ERROR_MEMORY;
    input->fd = -1;
    qn_status status = QN_ERROR_MEMORY;
    input->name = qn_strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    input->window = qn_malloc(BLOCK, 1);
    if (!input->name || !input->window) goto fail;
    input->capacity = BLOCK;
    QN_TRY_GOTO(status, open_file(input, path), fail);
    QN_TRY_GOTO(status, start(input), fail);
    *out = input;
    return QN_OK;
fail:
    qn_input_close(input);
    return status;
}

qn_status qn_input_line(qn_input *input, qn_span *line, bool *end) {
    *end = false;
    size_t searched = 0;
    char *newline = NULL;
    for (;;) {
        char *text = input->window + input->begin;
        size_t size = input->end - input->begin;
        if (size > searched) newline = memchr(text + searched, '\n', size - searched);
        searched = newline ? (size_t)(newline - text) : size;
        if (searched > QN_LINE_LIMIT)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the line is longer than %zu MiB (expected lines of text)",
                           input->name, (long long)input->line + 1, QN_LINE_LIMIT >> 20);
        if (newline || input->text_end) break;
        QN_TRY(fill(input));
    }
    if (!newline && searched == 0) {
        *end = true;
        *line = (qn_span){NULL, 0};
        return QN_OK;
    }
    char *text = input->window + input->begin;
    size_t size = searched;
    const char *nul = memchr(text, 0, size);
    if (nul)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s:%lld: a NUL byte at column %zu (expected UTF-8 text; is this a binary file?)", input->name,
                       (long long)input->line + 1, (size_t)(nul - text) + 1);
    *line = (qn_span){text, size};
    input->begin += size + (newline != NULL);
    input->offset += (int64_t)(size + (newline != NULL));
    input->line++;
    return QN_OK;
}

qn_status qn_input_text(qn_input *input, qn_span *line, bool *end) {
    QN_TRY(qn_input_line(input, line, end));
    if (*end || qn_utf8_is_valid(line->data, line->size)) return QN_OK;
    if (input->invalid++ == 0)
        qn_log(QN_LOG_WARNING, "%s:%lld: not UTF-8; such bytes are read as U+FFFD", input->name,
               (long long)input->line);
    return QN_OK;
}

// Back to the first byte; only a file can do that.
static qn_status rewind_input(qn_input *input) {
    if (lseek(input->fd, 0, SEEK_SET) < 0)
        return qn_fail_errno(QN_ERROR_IO, "%s: cannot go back to an earlier place", input->name);
    input->begin = input->end = 0;
    input->offset = 0;
    input->raw_end = input->text_end = false;
    if (input->gzip) {
        inflateReset(&input->stream);
        input->stream.avail_in = 0;
        input->in_member = true;
    }
    return QN_OK;
}

qn_status qn_input_seek(qn_input *input, int64_t offset, int64_t line) {
    if (offset < 0 || line < 0) return qn_fail(QN_ERROR_ARGUMENT, "%s: cannot go to a negative position", input->name);
    // The window often still holds what was just read, so that even standard input can go back a little.
    if (offset < input->offset && input->offset - offset <= (int64_t)input->begin) {
        input->begin -= (size_t)(input->offset - offset);
        input->offset = offset;
    }
    bool inside = offset >= input->offset && offset - input->offset <= (int64_t)(input->end - input->begin);
    struct stat info;
    if (!inside && !input->gzip && fstat(input->fd, &info) == 0 && S_ISREG(info.st_mode)) {
        if (offset > info.st_size) goto too_short;
        if (lseek(input->fd, offset, SEEK_SET) < 0)
            return qn_fail_errno(QN_ERROR_IO, "%s: cannot go to byte %lld", input->name, (long long)offset);
        input->begin = input->end = 0;
        input->offset = offset;
        input->raw_end = input->text_end = false;
    } else if (offset < input->offset) {
        QN_TRY(rewind_input(input));
    }
    while (input->offset < offset) {
        size_t left = input->end - input->begin,
               skip = (uint64_t)(offset - input->offset) < left ? (size_t)(offset - input->offset) : left;
        input->begin += skip;
        input->offset += (int64_t)skip;
        if (skip == left && input->offset < offset) {
            if (input->text_end) goto too_short;
            QN_TRY(fill(input));
        }
    }
    input->line = line;
    if (offset == 0) {
        while (input->end - input->begin < 3 && !input->text_end && !has_line(input)) QN_TRY(fill(input));
        skip_mark(input);
    }
    return QN_OK;
too_short:
    return qn_fail(QN_ERROR_FORMAT, "%s: ends before byte %lld, where reading was to continue (was the file changed?)",
                   input->name, (long long)offset);
}

qn_status qn_input_peek(qn_input *input, size_t limit, qn_span *out) {
    while (input->end - input->begin < limit && input->end < BLOCK && !input->text_end && !has_line(input))
        QN_TRY(fill(input));
    size_t size = input->end - input->begin;
    *out = (qn_span){input->window + input->begin, size < limit ? size : limit};
    return QN_OK;
}
