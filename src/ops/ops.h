// Operations on tensors: each checks its shapes, computes through the backend and, while a tape is there, records its
// backward.
//
// The operations themselves are public: quern.h, "Tensors and operations", declares them. One file each: shape rule,
// forward, backward. An operation returns NULL when something failed; the first failure stays in the context, and an
// operation that is given NULL returns NULL, so that a model is written without checks and asks once at the end.
#pragma once
#include "backend/backend.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

struct qn_context { // qn_context is quern.h's
    qn_backend *backend;
    qn_arena *arena;    // data of activations and their gradients: reset per step
    qn_arena *records;  // tensors, tape, records
    qn_tape *tape;      // NULL: inference, nothing is recorded or kept
    qn_compute compute; // of products with weights that are not packed, forward and backward
    bool dropout;       // dropout is on (training)
    bool recompute;     // an encoder's layers keep only their inputs and run again in backward
    uint64_t seed;      // of this step's dropout
    uint64_t stream;    // next dropout's stream; an operation takes one, so that the order of operations decides
    float loss_scale;   // gradients of losses are multiplied by it (gradient accumulation); 1 normally
    bool keep; // values stay until the reset; otherwise inference may reuse x in qn_add_norm, and backward uses the
               // memory of values that it has passed
    // Sees the input of each qn_linear, or NULL.
    void (*watch)(void *user, const qn_tensor *x, const qn_tensor *weight);
    void *watcher;
    qn_status status; // of the first failure
};

// --- Building blocks of operations (context.c)
qn_tensor *qn_new_tensor(qn_context *c, int rank, const size_t *shape, bool requires_grad);
qn_tensor *qn_new_matrix(qn_context *c, size_t rows, size_t width, bool requires_grad);
qn_tensor *qn_new_narrow_matrix(qn_context *c, size_t rows, size_t width, bool requires_grad); // in bf16
void *qn_new_record(qn_context *c, size_t size, qn_backward_function backward,
                    const void *content);                 // NULL without a tape
void *qn_fail_operation(qn_context *c, qn_status status); // remembers the failure; always NULL
// The place of t's gradient, allocated at first use. *accumulate says whether it already holds a contribution (then add
// to it); afterwards it does. NULL when t needs no gradient.
float *qn_gradient(qn_context *c, qn_tensor *t, bool *accumulate);
// For a backward that can only write: t's gradient while nothing is in it, otherwise a place of the same size, which
// qn_gradient_written then adds. NULL when t needs no gradient.
float *qn_gradient_to_write(qn_context *c, qn_tensor *t);
void qn_gradient_written(qn_context *c, qn_tensor *t, float *where);
// A model promises that no later operation reads t's value again, nor the backward of an operation that was given t but
// through qn_value, where t can be computed `again`, nor the backward of t's own, as is true of qn_linear and
// qn_add_norm. While recording, its memory then serves what comes next.
void qn_forget_value(qn_context *c, qn_tensor *t);
// The same where t can be computed again; otherwise it stays.
void qn_forget_for_now(qn_context *c, qn_tensor *t);
// Computes t's value again when it was forgotten, for a backward. False, with the failure kept, when there is none.
bool qn_value(qn_context *c, qn_tensor *t);
// Adds `from` (dense, of t's size) to t's gradient.
void qn_add_gradient(qn_context *c, qn_tensor *t, const float *from);
static inline bool qn_taping(const qn_context *c) {
    return c->tape != NULL;
}
// False, with the failure kept, unless the offsets ascend from 0 to `rows`.
bool qn_check_ragged(qn_context *c, const char *operation, qn_ragged batch, size_t rows);
// False, with the failure kept, when t is the result of an operation that trains: gradients of weights go straight to
// where parameters keep them. NULL is fine.
bool qn_check_parameter(qn_context *c, const char *operation, const qn_tensor *t);

// As qn_pool_sequences, without the first skip[i] tokens of sequence i (NULL: none); weights of places stay. The array
// must stand until backward.
qn_tensor *qn_pool_sequences_after(qn_context *c, qn_tensor *x, qn_ragged batch, const int32_t *skip, qn_pool mode);
// Columns of several matrices of T rows side by side: part[i] [T, d_i] -> [T, sum of d_i]; the only one is itself.
qn_tensor *qn_side_by_side(qn_context *c, qn_tensor *const *part, size_t count);

// ColBERT's scores (late.c): y[i, j] = sum over rows t of query i of the largest q_t . d_s over rows s of document j;
// q [Tq, d], d [Td, d] -> [n, m]; a document without rows scores 0. Offsets must stand until backward.
qn_tensor *qn_max_similarities(qn_context *c, qn_tensor *q, qn_ragged queries, qn_tensor *d, qn_ragged documents);

// SPLADE's vectors of texts (lexical.c): for each sequence and row of `weight` [V, d] log(1 + max(0, its largest logit))
// over the tokens; bias [V] or NULL -> [n, V].
qn_tensor *qn_lexical(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_ragged batch);
// The sum over columns of the squared mean of y [n, V]; its gradient is put at once.
qn_status qn_flops_loss(qn_context *c, qn_tensor *y, double *loss);

// As qn_embedding in a form: with `int8` each row is what quantization leaves of it (inference alone), and those of the
// first table are multiplied by `scale` (0: 1). `fixed`: id `padding` of that table gets no gradient.
typedef struct {
    bool int8, fixed;
    int32_t padding;
    float scale;
} qn_embedding_form;
qn_tensor *qn_embedding_in(qn_context *c, const qn_embedding_form *form, size_t rows, size_t tables,
                           qn_tensor *const *table, const int32_t *const *ids);

// --- Training in bf16: values that products alone read are kept as these read them, in bf16.
//
// As qn_linear; but where products are recorded in bf16 the result is narrow, and so is what f was applied to. Readers
// may be qn_linear and, where f is none, qn_self_attention_biased without a bias.
qn_tensor *qn_linear_narrow(qn_context *c, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f);

// --- Attention with a bias by distance (attention.c): S_ij += weight[bucket[j - i + reach], head]
typedef struct {
    qn_tensor *weight;     // [buckets, heads], a parameter
    const int32_t *bucket; // [2 reach + 1], each less than the number of buckets; must stand until backward
    size_t reach;          // a sequence has at most reach + 1 tokens
} qn_attention_bias;

// Disentangled attention (He et al. 2021): S_ij = (Q_i K_j + Q_i R_x + K_j S_x) / sqrt(parts h), x = index[i - j +
// reach]
typedef struct {
    qn_tensor *rows;      // [distances, 2 d]: S, the distances as queries, and R, as keys, side by side
    bool key, query;      // whether R and S are used
    const int32_t *index; // [2 reach + 1], ascending; must stand until backward
    size_t reach;
} qn_attention_distances;

typedef struct {
    size_t heads;
    float dropout;
    const qn_attention_distances *distances; // or NULL
    const qn_attention_bias *bias;           // or NULL
    size_t window;                           // queries see keys at distances up to it; 0: all
    size_t key_heads;                        // of keys and values, each for heads / key_heads query heads; 0: heads
    bool causal;                             // no query sees a later key
    float scale;                             // of the scores; 0: 1 / sqrt(h)
} qn_attention_form;

// As quern.h's qn_self_attention and qn_attention, in any form. `positions` are those of the queries, each in its
// sequence; only a bias or a window needs them.
qn_tensor *qn_self_attention_of(qn_context *c, qn_tensor *qkv, qn_ragged batch, const qn_attention_form *form);
qn_tensor *qn_attention_of(qn_context *c, qn_tensor *query, qn_ragged queries, const int32_t *positions, qn_tensor *kv,
                           qn_ragged batch, const qn_attention_form *form);

// --- Rotary positions (rotate.c) of the first `heads` heads of each row of x, in place; returns x. Its maker must not
// need x's value in backward, as is true of qn_linear without an activation. `positions` and the tables must stand
// until backward.
qn_tensor *qn_rotate(qn_context *c, qn_tensor *x, size_t heads, size_t head_width, const int32_t *positions,
                     const qn_rotary *rotary);

// --- Adapters (adapter.c): what is added to a weight at low rank, W + scale B A, without changing W. A weight that has
// one (tensor.h) is used with it by every qn_linear.
typedef struct qn_adapter {
    const qn_tensor *target; // the weight [out, in]
    qn_tensor *a, *b;        // parameters [r, in], [out, r]
    float scale, dropout;    // dropout is of its input, with dropout switched on
    const struct qn_adapter *next; // of a weight that lies behind the target, for views over both; or NULL
} qn_adapter;

typedef struct qn_adapted qn_adapted; // what backward needs of them
bool qn_adapters_train(const qn_tensor *weight); // whether any of the weight's is trained
// Adds to z [T, out] = x W^T + b; *out is for backward, which adds to dx (NULL: not wanted) and to the parameters'
// gradients. False after a failure.
bool qn_adapters_forward(qn_context *c, const qn_tensor *x, const qn_tensor *weight, float *z, qn_adapted **out);
void qn_adapters_backward(qn_context *c, const qn_adapted *steps, const qn_tensor *x, const qn_tensor *weight,
                          const float *dz, float *dx);

// --- Steps on rows in inference (block.c): what stands between two attentions, run in one go; see qn_block_args. A
// value is named by its place. Nothing is recorded: only without a tape and with packed weights.
//
// Matrices of bf16 exist only here: what passes between a block and an attention while products are narrow.
typedef struct {
    size_t rows, width;
    uint16_t *data;
} qn_narrow_tensor;

qn_narrow_tensor *qn_new_narrow(qn_context *c, size_t rows, size_t width);
// qkv [T, 3 d] to out [T, d] of either dtype (the other NULL), as qn_self_attention_of.
void qn_narrow_attention(qn_context *c, const qn_narrow_tensor *qkv, const qn_attention_form *form, qn_ragged batch,
                         qn_narrow_tensor *narrow_out, qn_tensor *out);

typedef struct {
    qn_context *context;
    qn_block_value value[QN_BLOCK_VALUES];
    qn_block_step step[2 * QN_BLOCK_VALUES];
    qn_block_args args;
} qn_block;

void qn_block_begin(qn_block *b, qn_context *c, size_t rows);
int qn_block_tensor(qn_block *b, qn_tensor *t); // a value in memory
int qn_block_narrow(qn_block *b, qn_narrow_tensor *t);
int qn_block_inside(qn_block *b, size_t width); // a value that is gone afterwards
void qn_block_linear(qn_block *b, int from, const qn_tensor *weight, const qn_tensor *bias, qn_activation f, int to);
// sum = from + sub (sub -1: from alone; sum -1: not kept), to = norm(sum); beta may be NULL
typedef struct {
    const qn_tensor *gamma, *beta;
    float eps;
    bool rms;
} qn_block_norm_form;
void qn_block_norm(qn_block *b, int from, int sub, int sum, const qn_block_norm_form *form, int to);
void qn_block_glu(qn_block *b, int from, qn_activation f, bool gate_last, int to); // [T, 2 n] to [T, n]
// As qn_rotate.
void qn_block_rotate(qn_block *b, int value, size_t heads, size_t head_width, const int32_t *positions,
                     const qn_rotary *rotary);
void qn_block_run(qn_block *b);
