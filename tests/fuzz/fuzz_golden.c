// Fuzzes the reader of golden files: what it accepts must give every text and every value from inside the file.
#include "formats/safetensors.h"
#include "infer/golden.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_safetensors *file;
    qn_golden golden;
    if (qn_safetensors_open_memory(data, size, "x", &file) != QN_OK) return 0;
    if (qn_golden_read(file, &golden) == QN_OK) {
        volatile uint8_t sink = 0;
        for (size_t i = 0; i < golden.count; i++) {
            qn_text text;
            qn_golden_text(&golden, i, &text);
            for (size_t k = 0; k < text.size; k++) sink ^= (uint8_t)text.text[k];
            for (size_t k = 0; k < text.pair_size; k++) sink ^= (uint8_t)text.pair[k];
        }
        for (size_t k = 0; k < 4 * golden.count * golden.width; k++) sink ^= golden.vectors[k];
        for (size_t k = 0; k < 4 * golden.count * golden.labels; k++) sink ^= golden.logits[k];
    }
    qn_safetensors_close(file);
    return 0;
}
