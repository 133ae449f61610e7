// Any bytes as the config.json of an autoencoder of numbers; small ones that are read also make a network.
#include "models/autoencoder.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_autoencoder_config config;
    if (qn_autoencoder_config_parse((const char *)data, size, "x", &config) != QN_OK) {
        if (*qn_last_error() == '\0' || strpbrk(qn_last_error(), "\n\r\x1b")) abort();
        return 0;
    }
    bool small = config.inputs < 256 && config.latent < 256;
    for (size_t i = 0; i < config.layers; i++) small = small && config.hidden[i] < 256;
    if (!small) {
        qn_autoencoder_config_free(&config);
        return 0;
    }
    qn_autoencoder_network *n;
    if (qn_autoencoder_create(&config, false, 1, &n) == QN_OK) qn_autoencoder_network_free(n);
    return 0;
}
