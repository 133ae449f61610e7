// Fuzzes the .npy reader: what opens is read to its last element.
#include "formats/npy.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_npy array;
    if (qn_npy_open_memory(data, size, "x", &array) != QN_OK) return 0;
    if (array.count > size) abort();
    float *values = malloc(array.count * sizeof *values + 1);
    if (values) qn_npy_to_f32(&array, 0, array.count, values);
    free(values);
    qn_npy_close(&array);
    return 0;
}
