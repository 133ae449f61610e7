// The files that make a model folder one of sentence-transformers: modules.json, the pooling's configuration, the
// input's limits and the prompts. Families read and write them here; config.json and the weights are theirs.
#pragma once
#include "base/status.h"

// How the vectors of a text's tokens become one. Name in newer folders, flag in older ones.
#define QN_SBERT_POOLING_MAP(X)                                                                                        \
    X(CLS, "cls", "pooling_mode_cls_token")                                                                            \
    X(MAX, "max", "pooling_mode_max_tokens")                                                                           \
    X(MEAN, "mean", "pooling_mode_mean_tokens")                                                                        \
    X(MEAN_SQRT_LEN, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens")                                      \
    X(WEIGHTED_MEAN, "weightedmean", "pooling_mode_weightedmean_tokens")                                               \
    X(LAST_TOKEN, "lasttoken", "pooling_mode_lasttoken")

typedef enum {
#define QN_SBERT_POOLING_ENUM(name, text, flag) QN_SBERT_POOL_##name,
    QN_SBERT_POOLING_MAP(QN_SBERT_POOLING_ENUM)
#undef QN_SBERT_POOLING_ENUM
        QN_SBERT_POOLINGS
} qn_sbert_pooling;

typedef enum {
    QN_SBERT_COSINE,
    QN_SBERT_DOT,
    QN_SBERT_EUCLIDEAN,
    QN_SBERT_MANHATTAN,
    QN_SBERT_SIMILARITIES
} qn_sbert_similarity;

const char *qn_sbert_pooling_name(qn_sbert_pooling pooling);          // "mean"
const char *qn_sbert_similarity_name(qn_sbert_similarity similarity); // "cosine"

typedef struct {
    char *name, *text;
} qn_sbert_prompt;

// All strings are on the heap and owned by the struct.
typedef struct {
    bool present;           // modules.json is there; without it the defaults of sentence-transformers stand below
    char *transformer_path; // where config.json and the weights are, relative to the folder; "" for the folder itself
    char *pooling_path;     // "1_Pooling"
    char *normalize_path;   // "2_Normalize"; the folder need not be there
    int64_t width;          // of a token's vector; 0 when not stated
    qn_sbert_pooling pooling;
    bool include_prompt;    // whether the prompt's tokens are pooled too
    bool normalize;         // to length 1
    int64_t max_seq_length; // in tokens, special ones included; 0 when not stated: the tokenizer's or the model's limit
                            // holds
    bool do_lower_case;
    qn_sbert_prompt *prompts;
    size_t prompt_count;
    char *default_prompt; // the name of one of `prompts`, or NULL
    qn_sbert_similarity similarity;
} qn_sbert;

// The defaults of sentence-transformers: mean pooling, no normalisation, cosine. Nothing on the heap.
qn_sbert qn_sbert_defaults(void);
void qn_sbert_free(qn_sbert *config);

// Reads what `folder` holds of these files, in the spelling of any version of sentence-transformers. A folder without
// modules.json is fine (`present` is false). QN_ERROR_UNSUPPORTED: modules or poolings that Quern does not compute,
// named.
qn_status qn_sbert_read(const char *folder, qn_sbert *out);

// Writes them into `folder`, in the spelling that versions 2 to 6 of sentence-transformers read. The paths are not
// looked at: the transformer is expected in the folder itself, the pooling goes into 1_Pooling.
qn_status qn_sbert_write(const char *folder, const qn_sbert *config);

// The single files, for the tests: each parses the text of one file, called `source` in messages, into a config that
// holds defaults.
qn_status qn_sbert_parse_modules(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_pooling(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_transformer(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_prompts(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_normalize(const char *text, size_t size, const char *source, qn_sbert *out);
