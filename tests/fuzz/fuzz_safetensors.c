// Fuzzes the safetensors reader: the input as a file, and the input as a header (up to its first NUL) with data behind
// it, so that the fuzzer need not keep the length right. What opens is read to its last byte.
#include "formats/weights.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const void *bytes, size_t size) {
    qn_safetensors *file;
    if (qn_safetensors_open_memory(bytes, size, "x", &file) != QN_OK) return;
    for (size_t i = 0; i < qn_safetensors_count(file); i++) {
        const qn_st_tensor *tensor = qn_safetensors_at(file, i);
        char shape[QN_ST_SHAPE_TEXT];
        qn_st_shape_text(tensor->dims, tensor->shape, shape);
        if (qn_safetensors_find(file, tensor->name) != tensor) abort();
        if (!qn_st_is_float(tensor->dtype)) continue;
        size_t count = tensor->size / ((size_t)qn_st_dtype_bits(tensor->dtype) / 8);
        float *values = malloc(count * sizeof *values + 1);
        if (values) qn_st_to_f32(tensor->dtype, tensor->data, count, values);
        free(values);
    }
    const char *key, *value;
    for (size_t i = 0; (key = qn_safetensors_metadata_at(file, i, &value)); i++)
        if (qn_safetensors_metadata(file, key) != value) abort();
    qn_safetensors_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_all(data, size);
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    uint64_t header = end ? (uint64_t)(end - data) : size;
    size_t rest = size - (size_t)header - (end ? 1 : 0);
    uint8_t *file = malloc(8 + (size_t)header + rest);
    if (!file) return 0;
    memcpy(file, &header, 8);
    if (header) memcpy(file + 8, data, (size_t)header);
    if (rest) memcpy(file + 8 + header, end + 1, rest);
    read_all(file, 8 + (size_t)header + rest);
    free(file);
    return 0;
}
