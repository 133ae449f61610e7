// Fuzzes sentence-transformers' and ColBERT's files: the first byte chooses the file, the rest is its text; from 128 on
// the folder is a ColBERT's already.
#include "formats/model_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static qn_status (*const parsers[])(const char *text, size_t size, const char *source, qn_sbert *out) = {
        qn_sbert_parse_modules, qn_sbert_parse_pooling,   qn_sbert_parse_transformer,
        qn_sbert_parse_prompts, qn_sbert_parse_normalize, qn_sbert_parse_dense,
        qn_sbert_parse_artifact,
    };
    if (size == 0) return 0;
    qn_sbert config = qn_sbert_defaults();
    if (data[0] >= 128) qn_sbert_make_late(&config, 128, "[unused0]", "[unused1]");
    parsers[data[0] % 128 % 7](size > 1 ? (const char *)data + 1 : NULL, size - 1, "x", &config);
    qn_sbert_free(&config);
    return 0;
}
