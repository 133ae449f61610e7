// Operations on tensors: each checks its shapes, computes through the backend and, while a tape is there, records its
// backward.
//
// One file per operation: shape rule, forward, backward. An operation returns NULL when something failed; the first
// failure stays in the context, and an operation that is given NULL returns NULL, so that a model is written without
// checks and asks once at the end.
#pragma once
#include "backend/backend.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

typedef struct {
    qn_backend *backend;
    qn_arena *arena;   // data of activations and their gradients: reset per step
    qn_arena *records; // tensors, tape, records
    qn_tape *tape;     // NULL: inference, nothing is recorded or kept
    bool dropout;      // dropout is on (training)
    uint64_t seed;     // of this step's dropout
    uint64_t stream;   // next dropout's stream; an operation takes one, so that the order of operations decides
    float loss_scale;  // gradients of losses are multiplied by it (gradient accumulation); 1 normally
    qn_status status;  // of the first failure
} qn_context;

// The sequences of a batch: sequence i is rows offsets[i] .. offsets[i+1]-1. On the host.
typedef struct {
    size_t sequences;
    const int32_t *offsets;
} qn_ragged;

// --- Building blocks of operations (context.c)
qn_tensor *qn_new_tensor(qn_context *c, int rank, const size_t *shape, bool requires_grad);
qn_tensor *qn_new_matrix(qn_context *c, size_t rows, size_t width, bool requires_grad);
void *qn_new_record(qn_context *c, size_t size, qn_backward_function backward,
                    const void *content);                 // NULL without a tape
void *qn_fail_operation(qn_context *c, qn_status status); // remembers the failure; always NULL
// The place of t's gradient, allocated at first use. *accumulate says whether it already holds a contribution (then add
// to it); afterwards it does. NULL when t needs no gradient.
float *qn_gradient(qn_context *c, qn_tensor *t, bool *accumulate);
// Adds `from` (dense, of t's size) to t's gradient.
void qn_add_gradient(qn_context *c, qn_tensor *t, const float *from);
static inline bool qn_taping(const qn_context *c) {
    return c->tape != NULL;
}
// Runs the tape backward. The losses have put their gradients already.
qn_status qn_backward(qn_context *c);

// --- Operations. T rows, d columns.
// f(x W^T + b): x [T, in], W [out, in], b [out] or NULL -> [T, out]
qn_tensor *qn_linear(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f);
// Sum of one to three tables' rows: table[k] [size_k, d], ids[k] T integers on the host, each 0 .. size_k-1 -> [T, d]
qn_tensor *qn_embedding(qn_context *c, size_t rows, size_t tables, qn_tensor *const *table, const int32_t *const *ids);
// Multi-head self-attention inside each sequence: qkv [T, 3 d] with queries, keys, values side by side -> [T, d]
qn_tensor *qn_self_attention(qn_context *c, qn_tensor *qkv, size_t heads, qn_ragged batch, float dropout);
// *sum = x + dropout(sub) and its layer norm: x, sub [T, d] (sub NULL: x alone), gamma, beta [d] -> [T, d]. `sum` NULL:
// not wanted. Without a tape x's memory is reused: for *sum where it is wanted, else for the result, and x must not be
// used afterwards.
qn_tensor *qn_add_norm(qn_context *c, qn_tensor *x, qn_tensor *sub, qn_tensor *gamma, qn_tensor *beta, float eps,
                       float dropout, qn_tensor **sum);
qn_tensor *qn_activate(qn_context *c, qn_tensor *x, qn_activation f);
qn_tensor *qn_drop(qn_context *c, qn_tensor *x, float p);
qn_tensor *qn_gather(qn_context *c, qn_tensor *x, size_t rows, const int32_t *index); // y[i] = x[index[i]] -> [rows, d]
qn_tensor *qn_pool_sequences(qn_context *c, qn_tensor *x, qn_ragged batch, qn_pool mode); // -> [n, d]
qn_tensor *qn_normalize(qn_context *c, qn_tensor *x);                                     // rows to length 1
// Losses give the mean over the batch and put the gradient of their input, times loss_scale.
// targets: one class per row, negative for none; class_weights [C] on the host or NULL.
qn_status qn_cross_entropy(qn_context *c, qn_tensor *logits, const int32_t *targets, const float *class_weights,
                           float smoothing, double *loss);
qn_status qn_binary_cross_entropy(qn_context *c, qn_tensor *logits, const float *targets,
                                  double *loss); // targets [n, C]
qn_status qn_mean_squared_error(qn_context *c, qn_tensor *predictions, const float *targets,
                                double *loss); // targets [n, C]
