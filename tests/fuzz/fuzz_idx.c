// Fuzzes the reader of IDX files: what opens is read to its last element.
#include "formats/idx.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_idx array;
    if (qn_idx_open_memory(data, size, "x", &array) != QN_OK) return 0;
    if (array.count > size) abort();
    float *values = malloc(array.count * sizeof *values + 1);
    if (values) qn_idx_to_f32(&array, 0, array.count, values);
    free(values);
    qn_idx_close(&array);
    return 0;
}
