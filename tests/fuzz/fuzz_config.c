// Any bytes as a config.json: a model's shape is read with every value checked, or refused with a message.
#include "models/network.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_model_config config;
    if (qn_model_config_parse((const char *)data, size, "config.json", &config) != QN_OK) return 0;
    if (config.encoder.hidden % config.encoder.heads || !config.labels || !config.label_names) abort();
    qn_model_config_free(&config);
    return 0;
}
