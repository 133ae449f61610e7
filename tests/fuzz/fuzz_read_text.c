// Any bytes as plain text or fastText lines, plain or gzip-compressed.
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_read(data, size, QN_FORMAT_TEXT);
    fuzz_read(data, size, QN_FORMAT_FASTTEXT);
    return 0;
}
