// Any bytes as the vocab.json of Marian's tokenizers, beside a SentencePiece model that is right: they become a
// tokenizer.json that loads, or give an error; what loads encodes and decodes.
#include "base/file.h"
#include "use_tokenizer.h"
#include <stdlib.h>

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static qn_buffer model;

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    if (qn_read_file(QN_SOURCE_DIR "/tests/fuzz/corpus/sentencepiece/unigram", 1 << 20, &model) != QN_OK) abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_tokenizer *t;
    qn_buffer vocabulary = {0};
    if (qn_tokenizer_create(&t) != QN_OK) return 0;
    qn_buffer_append(&vocabulary, (const char *)data, size);
    qn_status status = qn_buffer_status(&vocabulary);
    if (status == QN_OK)
        status = qn_marian_to_json("source.spm", &model, "vocab.json", &vocabulary, &t->json_file);
    load_and_use(t, status, data, size);
    qn_buffer_free(&vocabulary);
    return 0;
}
