// The files that make a model folder one of sentence-transformers: modules.json, the configurations of its modules, the
// input's limits and the prompts. Families read and write them here; config.json and the weights are theirs.
#pragma once
#include "base/status.h"

typedef enum {
    QN_SBERT_COSINE,
    QN_SBERT_DOT,
    QN_SBERT_EUCLIDEAN,
    QN_SBERT_MANHATTAN,
    QN_SBERT_SIMILARITIES
} qn_sbert_similarity;

const char *qn_pool_name(qn_pool pooling); // "mean"
const char *qn_sbert_similarity_name(qn_sbert_similarity similarity); // "cosine"

typedef struct {
    char *name, *text;
} qn_sbert_prompt;

// A module behind the pooling. Its weights are in `path`, "2_Dense", a folder inside the model's.
typedef struct {
    enum { QN_SBERT_DENSE, QN_SBERT_NORMALIZE } kind;
    char *path;
    size_t in, out; // dense: f(x W^T + b)
    bool bias;
    qn_activation activation;
} qn_sbert_module;

// ColBERT (Khattab & Zaharia 2020): a vector for each token, in PyLate's files or colbert-ir's. [0] is of queries, [1] of
// documents.
typedef struct {
    bool on;
    char *prefix[2];   // the second token; "" or NULL: none
    int64_t length[2]; // in tokens
    bool expand;       // queries are filled up to their length with masks, whose vectors count too
    bool attend;       // other tokens attend to these
    char **skip;       // [skip_count] tokens of documents that have no vector
    size_t skip_count;
} qn_sbert_late;

// All strings are on the heap and owned by the struct.
typedef struct {
    bool present;           // modules.json is there; without it the defaults of sentence-transformers stand below
    char *folder;           // what was read; NULL: nothing
    char *transformer_path; // where config.json and the weights are, relative to the folder; "" for the folder itself
    char *pooling_path;     // "1_Pooling"
    bool sparse;            // SPLADE: a weight for each word of the vocabulary, by the masked-language head
    qn_sbert_late late;     // then there is no pooling, and the modules work on tokens
    int64_t width;          // of a token's vector, or of a sparse one; 0 when not stated
    qn_pool poolings[QN_POOLS]; // their results stand side by side
    size_t pooling_count;
    bool include_prompt;      // whether the prompt's tokens are pooled too
    qn_sbert_module *modules; // in their order
    size_t module_count;
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

// "mean", or several poolings: "cls,mean".
qn_status qn_sbert_set_poolings(qn_sbert *config, const char *names);
bool qn_sbert_normalizes(const qn_sbert *config); // vectors have length 1
qn_status qn_sbert_set_normalize(qn_sbert *config, bool on);
// A dense layer behind the pooling and others of its kind, before a normalisation. `activation` NULL: "tanh".
qn_status qn_sbert_add_dense(qn_sbert *config, size_t in, size_t out, const char *activation);
void qn_sbert_make_sparse(qn_sbert *config); // its vectors are SPLADE's from now on
// Its vectors are ColBERT's from now on: of tokens, `width` values each. query, document: the prefixes, or NULL.
qn_status qn_sbert_make_late(qn_sbert *config, size_t width, const char *query, const char *document);
// The width of a text's vector, from that of a token's and from the vocabulary's size.
size_t qn_sbert_width(const qn_sbert *config, size_t hidden, size_t vocabulary);
// The prompt that `prompt` names, or else is; NULL: that of the purpose, or the default. NULL where there is none.
const char *qn_sbert_prompt_of(const qn_sbert *config, const char *prompt, qn_purpose purpose);

// Reads what `folder` holds of these files, in the spelling of any version of sentence-transformers. A folder without
// modules.json is fine (`present` is false). QN_ERROR_UNSUPPORTED: modules or poolings that Quern does not compute,
// named.
qn_status qn_sbert_read(const char *folder, qn_sbert *out);

// Writes them into `folder`, in the spelling that versions 2 to 6 of sentence-transformers read; poolings side by side
// in an order of their own are known to version 6 alone. The transformer is expected in the folder itself, the pooling
// goes into 1_Pooling, and the other modules get paths by their place, which they have from then on.
qn_status qn_sbert_write(const char *folder, qn_sbert *config);

// The single files, for the tests: each parses the text of one file, called `source` in messages, into a config that
// holds defaults.
qn_status qn_sbert_parse_modules(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_pooling(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_transformer(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_prompts(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_normalize(const char *text, size_t size, const char *source, qn_sbert *out);
qn_status qn_sbert_parse_artifact(const char *text, size_t size, const char *source, qn_sbert *out); // colbert-ir's
qn_status qn_sbert_parse_dense(const char *text, size_t size, const char *source, qn_sbert *out); // the last module
