// Any bytes as a SentencePiece model or, behind a byte 'm', as vocab.json and merges.txt with a byte 1 between: they
// become a tokenizer.json that loads, or give an error; what loads encodes and decodes.
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const qn_tokenizer *t, const char *text, size_t size) {
    qn_encoding e = QN_ENCODING_INIT;
    if (qn_tokenizer_encode(t, text, size, "caf\xc3\xa9 <s>", 9, NULL, &e) == QN_OK) {
        char *decoded = NULL;
        qn_status status = qn_tokenizer_decode(t, e.ids, e.count, false, &decoded);
        if (status != QN_OK && status != QN_ERROR_UNSUPPORTED) abort();
        free(decoded);
    }
    qn_encoding_free(&e);
}

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
    qn_bert_options options = {true, true, true, true};
    if (qn_tokenizer_create(&t) != QN_OK) return 0;
    qn_status status = convert(t, (const char *)data, size);
    if (status == QN_OK) status = qn_tokenizer_parse_json(t, "tokenizer.json", &options);
    if (status == QN_OK) status = qn_tokenizer_finish(t, &options);
    if (status == QN_OK)
        use(t, (const char *)data, size);
    else if (*qn_last_error() == 0)
        abort();
    qn_tokenizer_free(t);
    return 0;
}
