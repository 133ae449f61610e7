// Any bytes as CSV or TSV, plain or gzip-compressed.
#include "reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_read(data, size, QN_FORMAT_CSV);
    fuzz_read(data, size, QN_FORMAT_TSV);
    return 0;
}
