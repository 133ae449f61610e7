// Fuzzes the reading back of TensorBoard's event files: records stay inside the file, and the walk ends.
#include "formats/tfevents.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_tfevents_record record;
    size_t offset = 0, before = 0;
    while (qn_tfevents_next(data, size, &offset, &record)) {
        if (record.start != data + before || offset != before + record.size || offset > size) abort();
        before = offset;
    }
    if (offset != before) abort();
    return 0;
}
