// Fuzzes the readers of CTranslate2's files: a model.bin that opens is read to its last element.
#include "formats/ctranslate2.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_weights(const uint8_t *data, size_t size) {
    qn_ct2 *file;
    if (qn_ct2_open_memory(data, size, "x", &file) != QN_OK) return;
    for (size_t i = 0; i < qn_ct2_count(file); i++) {
        const qn_ct2_variable *v = qn_ct2_at(file, i);
        double number;
        if (qn_ct2_find(file, v->name) != v) abort();
        float *values = malloc((size_t)v->count * sizeof *values + 1);
        if (values) qn_ct2_to_f32(v, 0, v->count, values);
        free(values);
        if (qn_ct2_read_real(file, v->name, -1e30, 1e30, NULL, &number) == QN_OK && v->count != 1) abort();
    }
    qn_ct2_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_ct2_config config;
    qn_ct2_vocabulary vocabulary;
    read_weights(data, size);
    if (qn_ct2_config_parse((const char *)data, size, "x", &config) == QN_OK) qn_ct2_config_free(&config);
    for (int json = 0; json < 2; json++)
        if (qn_ct2_vocabulary_parse((const char *)data, size, json, "x", &vocabulary) == QN_OK)
            qn_ct2_vocabulary_free(&vocabulary);
    return 0;
}
