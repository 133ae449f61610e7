// The adapters that a training is for, where it trains adapters (LoRA) and not the model's own weights.
#pragma once
#include "models/lora.h"

bool qn_training_adapts(const qn_training *options);
qn_status qn_training_check_adapters(const qn_training *options); // what excludes them
// Those of the checkpoint, of the folder to go on from, or fresh ones. Free with qn_lora_free, also after a failure.
qn_status qn_training_open_adapters(const qn_training *options, const char *checkpoint, qn_lora *lora);
