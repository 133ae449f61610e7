// What the files of the encoder share: its parameters (encoder.c), the forward pass over operations
// (encoder_forward.c), and inference with packed weights (encoder_infer.c).
#pragma once
#include "nn/encoder.h"

// Columns of queries, of keys (or values), and of all three.
static inline size_t qn_query_width(const qn_encoder_config *f) {
    return f->heads * f->head_width;
}
static inline size_t qn_key_width(const qn_encoder_config *f) {
    return f->key_heads * f->head_width;
}
static inline size_t qn_qkv_width(const qn_encoder_config *f) {
    return qn_query_width(f) + 2 * qn_key_width(f);
}

// A view of a bias that may be without data, as an operation wants it.
static inline qn_tensor *qn_present(qn_tensor *t) {
    return t->data ? t : NULL;
}

qn_encoder_layer *qn_layer_at(qn_encoder *e, size_t i); // the parameters that layer i uses

// One layer on every row. *sub, pre-norm: the previous feed-forward's result, which is not yet added to x; NULL at the
// beginning; afterwards this layer's own.
qn_tensor *qn_encoder_layer_forward(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, qn_tensor **sub,
                                    const qn_tokens *tokens);
// The same while recording, of which only x and *sub are kept until backward computes the layer again (again.c).
qn_tensor *qn_encoder_layer_again(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, qn_tensor **sub,
                                  const qn_tokens *tokens);
// Layers first .. last-1.
qn_tensor *qn_encoder_run(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor **sub, const qn_tokens *tokens,
                          size_t first, size_t last);
// Embeddings and the first `layers` layers, none of which trains: nothing is recorded (frozen.c).
qn_tensor *qn_encoder_frozen(qn_context *c, qn_encoder *e, const qn_tokens *tokens, size_t layers);

// How layer i attends, but for its distances.
qn_attention_form qn_encoder_form(const qn_encoder *e, size_t i);
// What layer i says of distances, where it does: the table's rows through its queries' and keys' products. False after
// a failure.
bool qn_encoder_distances(qn_context *c, qn_encoder *e, size_t i, qn_attention_distances *distances,
                          qn_attention_form *form);
// The tables by which layer i turns queries and keys, or NULL.
const qn_rotary *qn_encoder_rotary(const qn_encoder *e, size_t i);
// The queries of layer i over its keys and values of the source, which are computed from the encoder's result.
qn_tensor *qn_encoder_cross(qn_context *c, qn_encoder *e, size_t i, qn_tensor *query, const qn_tokens *tokens);
// norm(x + dropout(sub)); a norm without a weight is none.
qn_tensor *qn_encoder_norm(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor *sub, const qn_dense *norm,
                           float dropout, qn_tensor **sum);
// What the first layer reads [T, d].
qn_tensor *qn_encoder_start(qn_context *c, qn_encoder *e, const qn_tokens *tokens);

// Layers 0 .. end-1 on x, in place, with packed weights; cache NULL: of whole sequences. Pre-norm: *sub is what is
// still to be added to x.
void qn_encoder_infer(qn_context *c, qn_encoder *e, qn_tensor *x, const qn_tokens *tokens, size_t end,
                      const qn_kv_cache *cache, qn_tensor **sub);
