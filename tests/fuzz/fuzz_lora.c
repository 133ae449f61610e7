// Any bytes as an adapter_config.json: read with every value checked, or refused with a message.
#include "models/lora.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_lora lora;
    if (qn_lora_parse((const char *)data, size, "adapter_config.json", &lora) != QN_OK) return 0;
    if (lora.rank < 1 || !(lora.alpha >= 0) || !(lora.dropout >= 0 && lora.dropout < 1)) abort();
    qn_lora_free(&lora);
    return 0;
}
