// Any bytes as JSON lines. Our scanner must not refuse an object that jansson takes (jansson in turn refuses more:
// bytes that are not UTF-8, halves of surrogate pairs, numbers out of range).
#include "reader.h"
#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_status status = fuzz_read(data, size, QN_FORMAT_JSONL);
    if (size < 2 || status == QN_OK || data[0] & 1 || memchr(data, '\n', size) || data[1] == 0x1f) return 0;
    // Errors of syntax are told by a column; others are about what stands under a key.
    const char *error = strstr(qn_last_error(), ":1:");
    if (!error || error[3] < '0' || error[3] > '9' || strstr(error, "nested")) return 0;
    json_t *value = json_loadb((const char *)data + 1, size - 1, 0, NULL);
    if (json_is_object(value)) abort();
    json_decref(value);
    return 0;
}
