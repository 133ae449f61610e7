// A GGUF file as a model: its metadata as the config.json and tokenizer.json that it was made from, and its tensors
// under Hugging Face's names. Architectures llama, qwen2 and gpt2.
#pragma once
#include "models/network.h"
#include "text/tokenizer.h"

bool qn_is_gguf(const char *path); // a file that begins as one

// config.json and, for the tokenizer, tokenizer.json with tokenizer_config.json.
qn_status qn_gguf_config(const qn_gguf *file, qn_buffer *json);
qn_status qn_gguf_tokenizer(const qn_gguf *file, qn_buffer *json, qn_buffer *config);
// The weights under the names that the network's family gives them; `file` belongs to them, also on failure.
qn_status qn_gguf_weights(qn_gguf *file, const qn_network *network, qn_weights **out);

// Those weights of products, and tables of words, that stay in the file's blocks: tensors get `stored` in place of data
// where their product can be computed so. `stays[i]` is set for parameter i. Free with qn_stored_free.
typedef struct qn_stored qn_stored;
qn_status qn_gguf_store(qn_network *network, const char *prefix, bool *stays);
void qn_stored_free(qn_stored *stored); // NULL is allowed
