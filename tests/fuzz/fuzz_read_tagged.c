// Any bytes as a file of tagged texts, CoNLL or JSON lines: words lie in the text, ascending, each with a tag.
#include "data/tagged.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const qn_tagged *t) {
    int32_t last = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->words[i].begin < last || t->words[i].end < t->words[i].begin) abort();
        if ((size_t)t->words[i].end > t->text.size || t->tags[i].size == 0) abort();
        if (memchr(t->tags[i].data, 0, t->tags[i].size)) abort();
        last = t->words[i].end;
    }
}

// The first byte chooses the format, the rest is the file.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const formats[] = {NULL, "conll", "jsonl"};
    if (size == 0) return 0;
    qn_tagged_options options = {.format = formats[data[0] % 3], .tag_column = data[0] & 64 ? "2" : NULL};
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    qn_tagged_reader *reader;
    qn_status status = qn_tagged_open(path, &options, &reader);
    for (bool end = false; status == QN_OK && !end;) {
        qn_tagged text;
        status = qn_tagged_next(reader, &text, &end);
        if (status == QN_OK && !end) check(&text);
    }
    if (status != QN_OK && (*qn_last_error() == '\0' || strpbrk(qn_last_error(), "\n\r\x1b"))) abort();
    qn_tagged_close(reader);
    close(fd);
    return 0;
}
