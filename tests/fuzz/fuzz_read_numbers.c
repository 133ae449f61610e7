// Any bytes as a file of numbers: TSV, CSV, JSON lines, .npy or IDX. The first byte chooses options.
#include "quern.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_numbers(const char *path, const qn_data_options *options) {
    qn_numbers *n;
    if (qn_numbers_read(&path, 1, options, &n) != QN_OK) {
        if (*qn_last_error() == '\0' || strpbrk(qn_last_error(), "\n\r\x1b")) abort();
        return;
    }
    size_t rows = qn_numbers_rows(n), columns = qn_numbers_columns(n);
    for (size_t i = 0; i < rows * columns; i++)
        if (!isfinite(qn_numbers_values(n)[i])) abort();
    for (size_t r = 0; r < rows; r++) {
        const char *label = qn_numbers_label_of(n, r);
        if (label && !*label) abort();
    }
    qn_numbers_free(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const formats[] = {NULL, "csv", "tsv", "jsonl"};
    if (size == 0) return 0;
    qn_data_options options = {.format = formats[data[0] & 3],
                               .label_column = data[0] & 4 ? "1" : NULL,
                               .columns = data[0] & 8 ? (data[0] & 16 ? "a,label" : "") : NULL,
                               .text_column = data[0] & 32 ? "a" : NULL};
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    read_numbers(path, &options);
    close(fd);
    return 0;
}
