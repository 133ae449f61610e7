// What the fuzz targets of tokenizer files share: a file turned into tokenizer.json loads, or gives an error; what
// loads encodes and decodes.
#pragma once
#include "text/pipeline.h"
#include <stdlib.h>

static inline void use_tokenizer(const qn_tokenizer *t, const char *text, size_t size) {
    qn_encoding e = QN_ENCODING_INIT;
    if (qn_tokenizer_encode(t, text, size, "caf\xc3\xa9 <s>", 9, NULL, &e) == QN_OK) {
        char *decoded = NULL;
        qn_status status = qn_tokenizer_decode(t, e.ids, e.count, false, &decoded);
        if (status != QN_OK && status != QN_ERROR_UNSUPPORTED) abort();
        free(decoded);
    }
    qn_encoding_free(&e);
}

// `status` is that of making t->json_file from the input. Frees the tokenizer.
static inline void load_and_use(qn_tokenizer *t, qn_status status, const uint8_t *data, size_t size) {
    qn_bert_options options = {true, true, true, true};
    if (status == QN_OK) status = qn_tokenizer_parse_json(t, "tokenizer.json", &options);
    if (status == QN_OK) status = qn_tokenizer_finish(t, &options);
    if (status == QN_OK)
        use_tokenizer(t, (const char *)data, size);
    else if (*qn_last_error() == 0)
        abort();
    qn_tokenizer_free(t);
}
