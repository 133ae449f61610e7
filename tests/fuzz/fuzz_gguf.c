// Fuzzes the GGUF reader; what opens is read to its last value and element.
#include "formats/gguf.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_gguf *file;
    if (qn_gguf_open_memory(data, size, "x", &file) != QN_OK) return 0;
    for (size_t i = 0; i < qn_gguf_values(file); i++) {
        const qn_gguf_value *v = qn_gguf_value_at(file, i);
        if (qn_gguf_value_of(file, v->key) != v) abort();
        const uint8_t *at = v->data;
        size_t length, total = 0;
        double sum = 0;
        for (uint64_t k = 0; k < v->count; k++) {
            if (v->kind != QN_GGUF_STRING)
                sum += qn_gguf_number(v, k);
            else
                for (const char *text = qn_gguf_next_string(&at, &length); length > 0; length--)
                    total += text[length - 1] != 0;
        }
        volatile double used = sum + (double)total;
        (void)used;
    }
    for (size_t i = 0; i < qn_gguf_count(file); i++) {
        const qn_gguf_tensor *t = qn_gguf_at(file, i);
        if (qn_gguf_find(file, t->name) != t) abort();
        float *values = malloc((size_t)t->count * sizeof *values + 1);
        if (values) qn_gguf_to_f32(t, 0, t->count, values);
        free(values);
    }
    qn_gguf_close(file);
    return 0;
}
