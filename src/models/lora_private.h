// What lora.c and lora_files.c share.
#pragma once
#include "models/lora.h"

// The module of a weight: its name without ".weight"; false where it is another kind of parameter.
bool qn_lora_module(const qn_parameter *parameter, char module[QN_LORA_NAME]);
// What adapter_config.json says of a module.
int64_t qn_lora_rank(const qn_lora *lora, const char *module);
float qn_lora_scale(const qn_lora *lora, const char *module, size_t rank);
