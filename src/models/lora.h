// LoRA adapters (Hu et al. 2021) of a network, in the files of PEFT: adapter_config.json and adapter_model.safetensors.
// An adapted weight is W + scale B A with W frozen; beside the factors, the heads are trained and kept.
#pragma once
#include "formats/weights.h"
#include "models/network.h"

// What to adapt. Either chosen (rank, targets), or read from a folder, whose tensors then say which weights have one.
struct qn_lora {
    int64_t rank;
    double alpha, dropout;
    bool rank_stabilized;   // scale = alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023)
    char *targets;          // "query,value" as Hugging Face names modules, or "all-linear"; unused where read
    char *source;           // the file it came from, for messages; NULL: chosen
    char *base;             // base_model_name_or_path; may be NULL
    json_t *ranks, *alphas; // rank_pattern and alpha_pattern: by the end of a module's name; may be NULL
    qn_weights *weights;    // of the folder, or NULL: factors start fresh
};

// Adapters to be trained from scratch. alpha 0: twice the rank. targets NULL: all-linear.
qn_status qn_lora_choose(const qn_training *training, qn_lora *out);
// Reads adapter_config.json and opens the tensors of `folder`.
qn_status qn_lora_open(const char *folder, qn_lora *out);
qn_status qn_lora_parse(const char *text, size_t size, const char *source, qn_lora *out); // adapter_config.json alone
void qn_lora_free(qn_lora *lora);
bool qn_lora_is_folder(const char *folder); // holds an adapter
// Gives a base model's configuration what the adapter says of heads and labels: from a config.json beside it, else from
// the shape of its classifier. `config` is replaced.
qn_status qn_lora_configure(const qn_lora *lora, const char *folder, qn_model_config *config);

// --- For network.c, in this order
// Adds the factors to the network's parameters, and freezes all but them and the heads.
qn_status qn_lora_add(qn_network *network, qn_lora *lora);
// The factors' first values, or those of the folder, and its heads.
qn_status qn_lora_start(qn_network *network, qn_lora *lora, uint64_t seed);
// For inference, in place of both: puts B A and the heads into the weights. Those that it writes (qn_lora_changes) must
// be the network's own memory.
qn_status qn_lora_merge(qn_network *network, qn_lora *lora);
bool qn_lora_changes(const qn_network *network, const qn_lora *lora, const qn_parameter *parameter);
bool qn_lora_has(const qn_network *network, const qn_lora *lora, const char *parameter); // a whole parameter
// A parameter's name in adapter_model.safetensors.
enum { QN_LORA_NAME = 512 };
void qn_lora_file_name(const qn_network *network, const qn_parameter *parameter, char name[QN_LORA_NAME]);
// Writes both files into the folder.
qn_status qn_lora_save(qn_network *network, const char *folder);
