// A model in use: network, tokenizer and backend, and the one loop that turns sequences into batches of hidden states.
#pragma once
#include "base/memory.h"
#include "data/late.h"
#include "data/windows.h"
#include "metrics/tagging.h"
#include "models/sentence.h"
#include "text/tokenizer.h"

struct qn_model {
    char *folder, *transformer; // the folder itself, and where its config.json and weights are
    qn_network *network;
    const qn_tokenizer *tokenizer;
    qn_backend *backend;
    qn_compute compute;
    bool stored;              // a GGUF file's weights in its own blocks, where `compute` would have float32
    bool lent;                // network, tokenizer, backend and arenas belong to somebody else
    bool packed, head_packed; // the weights of products have their form for the backend: made at first use
    size_t batch_tokens;
    qn_encode_options encode;
    qn_overflow overflow;
    qn_tag_scheme tags;    // of a tagger's labels; made at first use
    char *prompt;          // put before each text that is embedded; NULL: none
    int32_t prompt_tokens; // not pooled; 0 where they are
    qn_late late;          // of a ColBERT
    size_t side;           // of it, that texts are on: 0 queries, 1 documents
    size_t dimensions;     // of a text's vector that are kept; 0: all

    // Buffers that are reused, so that a steady batch takes nothing from the heap.
    qn_arena *arena, *records;
    qn_encoding encoding;
    qn_sequences window; // tokenised texts that wait for their batch
    size_t *order, *starts;
    size_t order_capacity, start_capacity;
    int32_t *ids, *types, *positions, *offsets;
    size_t token_capacity[3], offset_capacity;
    char *text; // a prompt and its text, or a text in lower case
    size_t text_capacity;
};

// A computed batch: row i of what is pooled belongs to sequence index[i].
typedef struct {
    qn_tokens tokens;
    const size_t *index;
    qn_tensor *hidden; // [T, d]
} qn_infer_batch;

typedef qn_status (*qn_infer_receiver)(qn_model *model, qn_context *c, const qn_infer_batch *batch, void *user);

// A model over a network in training: the weights are used as they are now, in float32. What is lent stays the
// caller's, `c` gives the backend and the arenas; close with qn_model_close.
qn_status qn_model_lend(qn_network *network, const qn_tokenizer *tokenizer, const qn_context *c,
                        const qn_encode_options *encode, qn_model **out);

// Tokenises one text (as sentence-transformers prepares it when `embedding`) into model->encoding.
qn_status qn_infer_encode(qn_model *model, const qn_text *text, bool embedding);

// Gives the weights of products their form for the backend, if they do not have it yet.
qn_status qn_infer_pack(qn_model *model);
// The same of the language model's last product, and its weight: the table of words, or one of its own.
qn_status qn_infer_pack_head(qn_model *model);
void qn_infer_unpack(qn_model *model); // gives the memory of both back
qn_tensor *qn_infer_head_weight(const qn_model *model);

// The exact channels of the encoder's products, [qn_encoder_products]; free with free(), also after a failure.
qn_status qn_infer_find_exact(qn_model *model, qn_exact **exact);

// Computes the sequences in batches of at most batch_tokens tokens (a longer sequence is a batch of its own), sorted by
// length unless `in_order`, and hands each batch to `receive`. What is in the context's arena lives during that call.
qn_status qn_infer_sequences(qn_model *model, const qn_sequences *sequences, bool in_order, qn_infer_receiver receive,
                             void *user);

// The same for texts, a window at a time; index counts from the first text.
qn_status qn_infer_texts(qn_model *model, const qn_text *texts, size_t count, bool embedding, bool in_order,
                         qn_infer_receiver receive, void *user);

// A ColBERT's vectors of each sequence's tokens, which are prepared for `side`, in order.
qn_status qn_infer_multi(qn_model *model, const qn_sequences *sequences, size_t side, qn_multi_vectors receive,
                         void *user);
// The elements of SPLADE's vectors that are not 0, in order.
qn_status qn_infer_sparse(qn_model *model, const qn_sequences *sequences, qn_sparse_vectors receive, void *user);
// A vector per sequence into vectors [count, width], as the model's folder says. skip [count]: tokens of each that are
// not pooled, as of a prompt, or NULL.
qn_status qn_infer_vectors(qn_model *model, const qn_sequences *sequences, const int32_t *skip, float *vectors);
// The tokens of a prompt that are not pooled, as sentence-transformers counts: the prompt alone with its special tokens,
// without a last [SEP]. 0 for no prompt (NULL) and where they are pooled.
qn_status qn_infer_prompt_tokens(const qn_sbert *sentence, const qn_tokenizer *tokenizer,
                                 const qn_encode_options *encode, const char *prompt, int32_t *count);

// The network's score of labels as raw outputs into scores [count, labels]; `user` is a qn_infer_scores.
typedef struct {
    float *scores;
} qn_infer_scores;
qn_status qn_infer_classify(qn_model *model, qn_context *c, const qn_infer_batch *batch, void *user);
// From raw outputs to probabilities, in place; the values of a regression stay.
void qn_infer_probabilities(const qn_model *model, size_t count, float *scores);
// QN_OK when the model has a head for labels of texts; otherwise an error that says what is expected.
qn_status qn_infer_need_labels(const qn_model *model);

// QN_OK when the model has one output for a pair of texts.
qn_status qn_infer_need_reranker(const qn_model *model);

// The logits of a head on tokens (QN_HEAD_TAGGER, QN_HEAD_SPAN): those of token t of the sequences, counted through, go
// to row row_of[t] of rows [.., width]; -1: nowhere. row_of NULL: each token is its own row.
qn_status qn_infer_tokens(qn_model *model, const qn_sequences *sequences, unsigned head, const int32_t *row_of,
                          float *rows);
// What becomes of the windows of a text that is longer than the limit, as the model's options say, and what was used.
// model->encoding holds the whole text; `index` is for messages.
qn_status qn_infer_overflow(const qn_model *model, size_t index, qn_windows *windows, qn_usage *usage);
// The meaning of a tagger's labels, made at first use. An error for other models.
qn_status qn_infer_scheme(qn_model *model, const qn_tag_scheme **out);
// Softmax in place, in double precision.
void qn_infer_softmax(float *values, size_t count);

// "bert model.safetensors has ..." of the heads, for messages and for describe: "classifier, pooler".
