// Fuzzes the reading back of TensorBoard's event files: the input as a file, and as the event of one record whose
// checksums are right, which the fuzzer would not find. Records stay inside the file, and the walk ends.
#include "formats/tfevents.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const uint8_t *data, size_t size) {
    qn_tfevents_record record;
    size_t offset = 0, before = 0;
    while (qn_tfevents_next(data, size, &offset, &record)) {
        if (record.start != data + before || offset != before + record.size || offset > size) abort();
        before = offset;
    }
    if (offset != before) abort();
}

// CRC32C with TFRecord's mask, bit by bit.
static uint32_t checksum(const uint8_t *data, size_t size) {
    uint32_t crc = ~0u;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        crc ^= data[bit / 8] >> bit % 8 & 1u;
        crc = crc >> 1 ^ (crc & 1u ? 0x82F63B78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    walk(data, size);
    uint8_t *framed = malloc(size + 16);
    if (!framed) return 0;
    uint64_t length = size;
    memcpy(framed, &length, 8);
    if (size) memcpy(framed + 12, data, size);
    uint32_t length_crc = checksum(framed, 8), crc = checksum(framed + 12, size);
    memcpy(framed + 8, &length_crc, 4);
    memcpy(framed + 12 + size, &crc, 4);
    walk(framed, size + 16);
    free(framed);
    return 0;
}
