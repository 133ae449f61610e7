// What the fuzz targets of the readers share: reads a file of any bytes to its end, and again from a record in the
// middle.
#pragma once
#include "data/reader.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// A copy of a record's text and place, to compare with when it is read a second time.
typedef struct {
    qn_reader_position position;
    int64_t line;
    char *text;
    size_t size, labels;
} fuzz_mark;

// Touches every byte that a record points to, so that the sanitizers see a wrong span.
static inline unsigned fuzz_touch(const qn_record *r) {
    unsigned sum = 0;
    for (size_t i = 0; i < r->text.size; i++) sum += (unsigned char)r->text.data[i];
    for (size_t i = 0; i < r->pair.size; i++) sum += (unsigned char)r->pair.data[i];
    for (size_t t = 0; t < r->text_count; t++)
        for (size_t i = 0; i < r->texts[t].size; i++) sum += (unsigned char)r->texts[t].data[i];
    for (size_t l = 0; l < r->label_count; l++)
        for (size_t i = 0; i < r->labels[l].size; i++) sum += (unsigned char)r->labels[l].data[i];
    if (r->has_score && r->score - r->score != 0) abort();
    return sum;
}

static inline void fuzz_read_again(qn_reader *reader, const fuzz_mark *mark) {
    qn_record r;
    bool end;
    if (qn_reader_seek(reader, &mark->position) != QN_OK || qn_reader_next(reader, &r, &end) != QN_OK || end) abort();
    if (r.line != mark->line || r.text.size != mark->size || r.label_count != mark->labels) abort();
    if (mark->size > 0 && memcmp(r.text.data, mark->text, mark->size) != 0) abort();
}

// The first byte chooses options, the rest is the file. Returns the status of the reading.
static inline qn_status fuzz_read(const uint8_t *data, size_t size, qn_format format) {
    static volatile unsigned sink;
    if (size == 0) return QN_OK;
    uint8_t bits = data[0];
    qn_reader_options options = {
        .format = bits & 1 ? QN_FORMAT_AUTO : format,
        .multi_label = bits & 2,
        .columns = bits & 4 ? (bits & 8 ? "label,text" : "") : NULL,
        .text_column = bits & 16 ? "1" : NULL,
        .keep_blank_lines = bits & 32,
        .texts_only = bits & 64,
        .group = bits & 128,
        .text_columns = (bits & 144) == 144 ? "2, text" : NULL,
    };
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    qn_reader *reader;
    qn_status status = qn_reader_open(path, &options, &reader);
    fuzz_mark mark = {0};
    for (int64_t count = 0; status == QN_OK; count++) {
        qn_record r;
        bool end;
        qn_reader_position position = qn_reader_tell(reader);
        status = qn_reader_next(reader, &r, &end);
        if (status != QN_OK || end) break;
        sink = sink + fuzz_touch(&r);
        if (r.index != count || r.offset < position.offset || r.line <= position.line) abort();
        if (count == (bits >> 5)) {
            mark = (fuzz_mark){position, r.line, malloc(r.text.size + 1), r.text.size, r.label_count};
            if (r.text.size > 0) memcpy(mark.text, r.text.data, r.text.size);
        }
    }
    if (mark.text) fuzz_read_again(reader, &mark);
    free(mark.text);
    if (status != QN_OK && (*qn_last_error() == '\0' || strpbrk(qn_last_error(), "\n\r\x1b"))) abort();
    qn_reader_close(reader);
    close(fd);
    return status;
}
