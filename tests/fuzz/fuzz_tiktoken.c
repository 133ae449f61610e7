// Any bytes as a tiktoken file, the first one choosing its encoding: it becomes a tokenizer.json that loads, or gives
// an error; what loads encodes and decodes.
#include "use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"gpt2", "p50k_edit", "cl100k_base", "o200k_base", "unknown", NULL};
    qn_tokenizer *t;
    if (size == 0 || qn_tokenizer_create(&t) != QN_OK) return 0;
    const char *name = names[data[0] % (sizeof names / sizeof names[0])];
    load_and_use(t, qn_tiktoken_to_json("r50k_base.tiktoken", data + 1, size - 1, name, &t->json_file), data, size);
    return 0;
}
