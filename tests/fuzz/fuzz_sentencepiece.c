// Any bytes as a SentencePiece model or, behind a byte 'm', as vocab.json and merges.txt with a byte 1 between: they
// become a tokenizer.json that loads, or give an error; what loads encodes and decodes.
#include "use_tokenizer.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static qn_status convert(qn_tokenizer *t, const char *text, size_t size) {
    if (size == 0 || *text != 'm') return qn_sentencepiece_to_json("spiece.model", text, size, &t->json_file);
    const char *cut = memchr(text, 1, size);
    size_t length = cut ? (size_t)(cut - text) : size;
    qn_buffer vocabulary = {0}, merges = {0};
    qn_buffer_append(&vocabulary, text + 1, length - 1);
    if (cut) qn_buffer_append(&merges, cut + 1, size - length - 1);
    qn_status status = qn_buffer_status(&vocabulary);
    if (status == QN_OK)
        status = qn_merges_to_json("vocab.json", &vocabulary, "merges.txt", &merges, true, &t->json_file);
    qn_buffer_free(&vocabulary);
    qn_buffer_free(&merges);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_tokenizer *t;
    if (qn_tokenizer_create(&t) != QN_OK) return 0;
    load_and_use(t, convert(t, (const char *)data, size), data, size);
    return 0;
}
