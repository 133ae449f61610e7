// Any bytes as a config.json: a model's shape is read with every value checked, or refused with a message. What follows
// a NUL is the configuration of a decoder of that model's vectors.
#include "models/text_decoder.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_decoder(qn_model_config *config, const char *text, size_t size) {
    qn_text_decoder options = {0};
    if (qn_text_decoder_parse(config, text, size, "decoder/config.json", &options) != QN_OK) return;
    if (options.layers > QN_MOST_LAYERS) abort();
    if (qn_text_decoder_configure(config, &options) != QN_OK) return;
    const qn_encoder_config *e = &config->encoder, *d = &config->decoder;
    if (!d->causal || !d->cross || (config->decoder_tied && d->layers != e->layers)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_model_config config;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t first = end ? (size_t)(end - data) : size;
    if (qn_model_config_parse((const char *)data, first, "config.json", &config) != QN_OK) return 0;
    if (config.encoder.hidden % config.encoder.heads || !config.labels || !config.label_names) abort();
    if (end) read_decoder(&config, (const char *)end + 1, size - first - 1);
    qn_model_config_free(&config);
    return 0;
}
