// The interface between operations and a device: whole-array operations on device memory, forward and backward.
//
// Nothing above this header knows the device, the instruction set or the number of threads. Arrays are float32,
// row-major, dense unless a stride says otherwise; T is the number of packed tokens, d a width, n a number of
// sequences. Sequence i of a batch is rows offsets[i] .. offsets[i+1]-1. Every operation gives the same bits for a row
// whatever rows stand beside it and however many threads run.
//
// Gradients: where a field `accumulate` stands, false writes the gradient (=) and true adds to it (+=). Gradients of
// parameters are always added to, since micro-batches share them.
#pragma once
#include "base/status.h"
#include <math.h>
#include <string.h>

typedef struct qn_backend qn_backend;

// Inverted dropout: y = x * keep / (1 - p). keep is a function of (seed, stream, element), see kernels.h; p = 0 is no
// dropout.
typedef struct {
    float p;
    uint64_t seed, stream;
} qn_dropout;

// A weight [out, in] as in Hugging Face files: y = x W^T + b. `packed` is the backend's own copy made by pack(), or
// NULL while training.
typedef struct {
    const float *data;
    size_t out, in;
    const void *packed;
} qn_weight;

// The dtype of what products read; their sums and all else are float32 (int32 for int8). In the last four each group of
// 32 inputs of a weight has a scale of its own, which suits products of few rows, where reading the weight is the time:
//   q8: w ~ scale q, q in -127 .. 127;  q4: w ~ scale q + minimum, q in 0 .. 15; scales and minima are float16.
//   k8: w = scale q + minimum, with a scale for each 16 inputs;  k4: as q4; both are float32. What files have so.
typedef enum {
    QN_DTYPE_F32,
    QN_DTYPE_BF16,
    QN_DTYPE_INT8,
    QN_DTYPE_Q8,
    QN_DTYPE_Q4,
    QN_DTYPE_K8,
    QN_DTYPE_K4
} qn_compute;
const char *qn_compute_name(qn_compute compute);               // "f32", "bf16", "int8", "q8", "q4"; "k8", "k4"
qn_status qn_compute_parse(const char *name, qn_compute *out); // NULL: float32

// Products in int8 leave out of the bytes a few channels of x and multiply them in float32: outlier channels (Dettmers
// et al. 2022), next to which all others of a row would have to share few of the 256 steps.
enum { QN_EXACT_CHANNELS = 4 };
typedef struct {
    size_t count;
    uint32_t channel[QN_EXACT_CHANNELS]; // ascending
} qn_exact;

// A weight in int8, symmetric per output: W[n, k] ~ scale[n] q[n, k], q in -127 .. 127; at the exact channels q is 0
// and W[n, channel[e]] = column[e, n].
typedef struct {
    const int8_t *q;     // [out, in]
    const float *scale;  // [out]
    const float *column; // [exact.count, out]
    qn_exact exact;
} qn_int8_weight;

// One row of a weight: q [in] and the scale that is returned. On the host (int8.c).
float qn_int8_quantize(size_t in, const float *row, const qn_exact *exact, int8_t *q);
// The scale of a row whose largest value is `top`: top / 127, rounded up to 17 significant bits. Then scale q is exact
// in float32, and its quantization is q and scale again: what is stored in bytes and read as float32 has the bits of
// what was never stored. 0 for values so small that their scale would be subnormal.
static inline float qn_int8_scale(float top) {
    if (!(top > 1e-30f)) return 0;
    float scale = top / 127;
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    bits = (bits + 0x7f) & ~(uint32_t)0x7f;
    memcpy(&scale, &bits, sizeof bits);
    return scale;
}

// One row of a weight in groups, on the host (groups.c): q [in], and for each group a scale and with four bits a
// minimum, all of them numbers that float16 has. w ~ scale q, q in -127 .. 127, or with four bits scale q + minimum, q
// in 0 .. 15.
enum { QN_GROUP = 32 };
void qn_groups_quantize(size_t in, const float *row, bool four, int8_t *q, float *scale, float *minimum);

// A weight that comes in groups. `read` may be called from any thread; q [in filled up to whole groups] is zero before;
// scale [groups], of k8 [2 groups]; minimum [groups], which q8 has none of.
typedef struct qn_grouped_weight {
    void (*read)(void *user, size_t row, int8_t *q, float *scale, float *minimum);
    void *user;
    qn_compute compute;
} qn_grouped_weight;
static inline bool qn_in_groups(qn_compute compute) {
    return compute >= QN_DTYPE_Q8;
}
// Inputs that share a scale.
static inline size_t qn_scale_width(qn_compute compute) {
    return compute == QN_DTYPE_K8 ? QN_GROUP / 2 : QN_GROUP;
}

// What to pack: a weight [out, in], for int8 with its exact channels or already quantized, for q8 and q4 perhaps
// already in groups.
typedef struct {
    size_t out, in;
    qn_compute compute;
    const float *weight;
    qn_exact exact;
    const qn_int8_weight *quantized;  // in place of the two, or NULL
    const qn_grouped_weight *grouped; // in place of `weight`, or NULL
} qn_pack_args;

typedef struct {
    size_t rows;       // T
    const float *x;    // [T, in]
    qn_weight weight;  // [out, in]
    const float *bias; // [out] or NULL
    qn_activation activation;
    qn_compute compute;       // of a weight that is not packed: float32 or bf16
    float *pre;               // [T, out] value before the activation, or NULL when no backward follows
    uint16_t *pre_narrow;     // in place of pre: in bf16, and y is f of what is there
    float *y;                 // [T, out]
    const uint16_t *x_narrow; // products in bf16: x in bf16 in place of x; `in` is even
    uint16_t *y_narrow;       // y in bf16 in place of y
} qn_linear_forward_args;

typedef struct {
    size_t rows;
    const float *x;           // [T, in]
    const uint16_t *x_narrow; // in place of x, as in forward
    qn_weight weight;
    qn_compute compute;         // float32 or bf16
    qn_activation activation;   // as in forward, with what forward put there:
    const float *pre;           // [T, out], or NULL
    const uint16_t *pre_narrow; // in place of pre, or NULL
    float *dy;                  // [T, out] gradient of y; becomes dz, that before the activation
    float *dx;                  // [T, in] or NULL
    bool accumulate;            // of dx
    float *dweight;             // [out, in] += dz^T x, or NULL
    float *dbias;               // [out] += sum of dz over T, or NULL
} qn_linear_backward_args;

// A low-rank addition to a linear layer (Hu et al. 2021): y += scale x A^T B^T, in float32. The rows of y may be parts of
// wider ones.
typedef struct {
    size_t rows, in, out, rank; // T
    const float *x;             // [T, in]
    const float *a, *b;         // [rank, in], [out, rank]
    float scale;
    float *u;         // [T, rank] scale x A^T: forward writes it, backward reads it
    float *y;         // [T, out], added to (+=)
    size_t y_stride;  // of y and dy
    const float *dy;  // backward: [T, out]
    float *dx;        // [T, in] or NULL
    bool accumulate;  // of dx
    float *da, *db;   // added to (+=), or NULL
} qn_low_rank_args;

// Operations of inference that look at one row at a time, run one after the other on a block of rows that stays in the
// cache of one thread: what stands between two attentions of a transformer. A value is a matrix [T, width], in memory
// or, where that is NULL, only inside the block. A step reads values and writes one; it may write a value that it reads
// when that is a norm.
typedef struct {
    size_t width;
    float *memory;    // [T, width] or NULL
    uint16_t *narrow; // [T, width] in bf16, or NULL; never both
} qn_block_value;

// Rotary position embeddings (Su et al. 2021) as two tables over positions: in each head the pairs (x[i], x[i + half]),
// i < half, turn by an angle whose cosine and sine are table[position * half + i]. What follows 2 half in a head stays.
typedef struct {
    size_t half;
    const float *cosine, *sine;
} qn_rotary;

// Rows of several heads of one width that stand side by side, turned in place.
typedef struct {
    size_t rows, heads, head_width;
    size_t stride; // floats from row to row
    float *x;
    const int32_t *positions; // [T], on the host
    qn_rotary rotary;
    bool back; // the other way, as gradients turn
} qn_rotate_args;

// A gated linear unit (Dauphin et al. 2017; Shazeer 2020): x [T, 2 n] holds gate and value side by side, the gate first
// or last; y = f(gate) value.
typedef struct {
    size_t rows, n;
    qn_activation activation;
    bool gate_last;
    const float *x; // [T, 2 n]
    float *y;       // [T, n]
    // backward only
    const float *dy; // [T, n]
    float *dx;       // [T, 2 n], written (=); may be x
} qn_glu_args;

typedef enum { QN_STEP_LINEAR, QN_STEP_NORM, QN_STEP_GLU, QN_STEP_ROTATE } qn_step_kind;
typedef struct {
    qn_step_kind kind;
    int from, to;             // places in the array of values
    int sub;                  // norm: the value that is added to `from` first, or -1
    int sum;                  // norm: gets that sum, or -1
    const float *bias;        // linear: [out] or NULL; norm: beta [d]
    qn_weight weight;         // linear, packed
    qn_activation activation; // linear, glu
    const float *gamma;       // norm: [d]
    float eps;
    bool rms;                 // norm
    bool gate_last;           // glu: from [T, 2 n], to [T, n]
    size_t heads, head_width; // rotate: of the first columns of `from`, which is `to`
    const int32_t *positions; // rotate: [T]
    qn_rotary rotary;         // rotate
} qn_block_step;

enum { QN_BLOCK_VALUES = 10 };
typedef struct {
    size_t rows; // T
    size_t values, steps;
    const qn_block_value *value; // at most QN_BLOCK_VALUES
    const qn_block_step *step;
} qn_block_args;

// Multi-head attention: the queries of sequence i see the keys of sequence i. Heads of width h stand side by side in a
// row. softmax(scale Q K^T) V, probabilities dropped with `dropout`. Queries, keys and values may be parts of wider
// rows: a stride is the distance of rows in floats. Tq queries, T keys.
typedef struct {
    size_t sequences;             // n
    const int32_t *offsets;       // [n+1] of keys and values, on the host
    const int32_t *query_offsets; // [n+1] of queries, outputs and lse, on the host; self-attention: the same array
    size_t heads, head_width;
    size_t key_heads;   // each serves heads / key_heads neighbouring query heads (Ainslie et al. 2023)
    const float *query; // [Tq, heads * head_width]
    size_t query_stride;
    const float *key, *value; // [T, key_heads * head_width]
    size_t stride;            // of keys and values
    float scale;              // usually 1 / sqrt(head_width)
    qn_dropout dropout;
    const float *bias;              // [buckets, heads], added to the scaled scores by distance; NULL: none
    size_t buckets, bias_reach;     // no sequence is longer than bias_reach + 1
    const int32_t *bias_bucket;     // [2 bias_reach + 1] the row of `bias` for key - query + bias_reach, on the host
    const int32_t *query_positions; // [Tq] with a bias, a window or causal: places in the sequence, on the host; NULL:
                                    // all, in order
    // Disentangled attention (He et al. 2021, DeBERTa): scores are scale (Q_i K_j + Q_i R_x + K_j S_x), where x =
    // distance_index[i - j + distance_reach] is a row of R (distance_key) and S (distance_query). Not with a bias, a
    // window or bf16.
    const float *distance_key, *distance_query; // [distances, heads * head_width], or NULL: no such part
    size_t distances, distance_stride;          // rows, and floats from row to row
    const int32_t *distance_index;              // [2 distance_reach + 1], ascending, on the host; NULL: none of this
    size_t distance_reach;
    size_t window;          // queries see keys at distances up to it, and the work is in proportion; 0: all keys
    bool causal;            // queries see no later keys; the same holds of the work
    const uint16_t *narrow; // queries, keys and values in bf16, in place of the three; [T, stride], where keys and
                            // values follow the queries at distances of heads * head_width; head_width is even.
                            // Backward: without bias and window, not causal, a key head for each query head
    uint16_t *narrow_out;   // in place of out
    float *out;             // [Tq, heads * head_width], dense
    float *lse;             // [Tq, heads] log-sum-exp of the scaled scores, kept for backward; NULL in inference
    // backward only
    const float *dout;                      // [Tq, heads * head_width], dense
    float *dquery, *dkey, *dvalue;          // with the row distances of query, key and value; written (=)
    float *dbias;                           // [buckets, heads], added to (+=); NULL when frozen
    float *ddistance_key, *ddistance_query; // with the row distance of the two; written (=); NULL: not wanted
} qn_attention_args;

// Attention with keys and values that are kept, for decoding. The new tokens of sequence i are rows offsets[i] ..
// offsets[i+1]-1; their keys and values go into its cache behind the lengths[i] that are there, and their queries see
// them: with `causal` each those up to its own place, otherwise all. Heads / key_heads query heads share a key head.
typedef struct {
    size_t sequences;       // n
    const int32_t *offsets; // [n+1], on the host
    const int32_t *lengths; // [n] tokens in the cache before, on the host
    const size_t *capacity; // [n] tokens it has room for, at least lengths and new ones
    float *const *cache;    // [n] device memory of cache_floats(capacity, key_heads, head_width) floats
    size_t heads, key_heads, head_width;
    const float *query;       // [T, heads * head_width], rows query_stride apart; NULL: only fills the cache
    const float *key, *value; // [T, key_heads * head_width], rows `stride` apart; NULL: nothing new
    size_t query_stride, stride;
    float scale;
    bool causal;
    float *out; // [T, heads * head_width], dense
} qn_cache_args;

// Attention of one new token of each sequence over tokens that have memory of their own, which sequences share where
// they have them in common: the branches of a beam search. A token's memory holds its keys [key_heads * head_width],
// then its values, from float `first` on; the new token's are put there.
typedef struct {
    size_t sequences;            // n
    const int32_t *lengths;      // [n] tokens before the new one, on the host
    float *const *const *tokens; // [n] for each the memory of its tokens, that of the new one last; the lists on the host
    size_t first;
    size_t heads, key_heads, head_width;
    const float *query;       // [n, heads * head_width], rows `stride` apart
    const float *key, *value; // [n, key_heads * head_width], rows `stride` apart
    size_t stride;
    float scale;
    const float *bias; // [buckets, heads] and what belongs to it, as in qn_attention_args; NULL: none
    size_t bias_reach;
    const int32_t *bias_bucket;
    float *out; // [n, heads * head_width], dense
} qn_token_args;

// The k largest of log softmax(x) in each row, the largest first, equal ones in the order of their columns, as a search
// for the next tokens wants them. A banned column is none of them: its value is -infinity, and so is that of what is
// missing where a row has fewer than k others. `renormalize`: the softmax leaves banned columns out.
typedef struct {
    size_t rows, classes, k;
    float *x;                      // [T, C]; scratch afterwards
    const int32_t *banned_offsets; // [T+1] of `banned`, on the host; NULL: none
    const int32_t *banned;         // columns
    bool renormalize;
    float *value;   // [T, k], on the host
    int32_t *index; // [T, k], on the host
} qn_top_args;

// sum = x + dropout(sub); out = (sum - mean) / sqrt(variance + eps) * gamma + beta (Ba, Kiros, Hinton 2016; variance
// over d, biased). With `rms` (Zhang, Sennrich 2019) the mean counts as 0: out = sum / sqrt(mean square + eps) * gamma
// + beta.
typedef struct {
    size_t rows, d;
    float eps;
    bool rms;
    const float *x;            // [T, d]
    const float *sub;          // [T, d], or NULL: sum is x itself
    qn_dropout dropout;        // of sub
    const float *gamma, *beta; // [d]; beta may be NULL: zeros
    float *sum;                // [T, d]; NULL when sub is NULL or nobody needs it (inference)
    float *mean, *rstd;        // [T]; NULL in inference
    float *out;                // [T, d]
    // backward only; mean and rstd as forward left them, `sum` (or x when sub is NULL) too
    const float *dout;     // [T, d]
    const float *dsum;     // [T, d] gradient that reaches `sum` from elsewhere (pre-norm), or NULL
    float *dx;             // [T, d]
    bool accumulate;       // of dx
    float *dsub;           // [T, d], written (=); NULL when sub is NULL
    float *dgamma, *dbeta; // [d], added to (+=); NULL when frozen or absent
} qn_norm_args;

#define QN_EMBEDDING_TABLES 3
// y[t] = sum over tables of table[k][ids[k][t]], the first times `scale`. Ids are on the host and already checked
// against `size`.
typedef struct {
    size_t rows, d;
    size_t tables;
    const float *table[QN_EMBEDDING_TABLES]; // [size, d]
    const int32_t *ids[QN_EMBEDDING_TABLES]; // [T]; backward: of the gradient's rows, negative where there is none
    float scale;                             // of the first table
    bool int8;                               // inference: rows as quantization to int8 leaves them
    size_t size[QN_EMBEDDING_TABLES];
    float *y;                           // [T, d]
    const float *dy;                    // backward
    float *dtable[QN_EMBEDDING_TABLES]; // added to (+=); NULL when frozen
} qn_embedding_args;

// Softmax cross-entropy, as torch.nn.functional.cross_entropy(weight, label_smoothing, ignore_index=-100,
// reduction="mean").
typedef struct {
    size_t rows, classes;
    const float *logits;        // [T, C]
    const int32_t *targets;     // [T] on the host; negative: ignored
    const float *class_weights; // [C] or NULL
    float smoothing;
    double total_weight; // sum of weights of the targets that count; the mean's divisor (0: loss and gradient are 0)
    double *loss;        // one value on the host: the mean
    float *dlogits;      // [T, C] written; may be `logits`; NULL: loss alone
} qn_cross_entropy_args;

// Of each sequence the softmax cross-entropy of two targets among its own rows: by column 0 and by column 1.
typedef struct {
    size_t sequences;
    const int32_t *offsets;    // [n+1], host
    const float *logits;       // [T, 2]
    const int32_t *targets[2]; // [n] row of the sequence, host; negative: ignored
    double divisor;            // of the sum
    double *loss;              // host
    float *dlogits;            // [T, 2] written; NULL: loss alone
} qn_span_cross_entropy_args;

typedef struct {
    size_t count;            // elements
    const float *x, *target; // logits or predictions
    double divisor;          // of the mean
    double *loss;            // host
    float *dx;               // written; NULL: loss alone
} qn_elementwise_loss_args;

// Rows of independent normal variables: of each row x [T, 2 n] has the means, then the logarithms of the variances.
typedef struct {
    size_t rows, n;
    const float *x;        // [T, 2 n]
    uint64_t seed, stream; // of the noise, which is also a function of row and column: backward draws it again
    float *y;              // [T, n] mean + exp(log variance / 2) noise
    // backward only
    const float *dy; // [T, n]
    float *dx;       // [T, 2 n]
    bool accumulate;
} qn_gaussian_args;

// How far they are from standard normal ones: the sum over rows of KL(N(mean, variance) || N(0, 1)).
typedef struct {
    size_t rows, n;
    const float *x; // [T, 2 n]
    double divisor; // of the sum
    double weight;  // of the gradient
    double *loss;   // host
    float *dx;      // [T, 2 n] written; NULL: loss alone
} qn_gaussian_divergence_args;

typedef struct {
    size_t sequences;
    const int32_t *offsets; // [n+1], host
    const int32_t *skip;    // [n] leading tokens that are not pooled, host; NULL: none
    size_t d;
    qn_pool mode;
    const float *x;  // [T, d]
    float *y;        // [n, d]; a sequence without tokens gives zeros
    int32_t *argmax; // [n, d] for max, kept for backward; NULL in inference
    const float *dy; // [n, d]
    float *dx;       // [T, d]
    bool accumulate;
} qn_pool_args;

// SPLADE's vector of a text, y_iv = log(1 + max(0, max over its tokens t of x_t . w_v + b_v)): a weight for each word of
// the vocabulary, most of them 0.
typedef struct {
    size_t sequences;
    const int32_t *offsets; // [n+1], host; a sequence without tokens gives zeros
    const float *x;         // [T, d]
    qn_weight weight;       // [V, d]
    const float *bias;      // [V] or NULL
    float *y;               // [n, V]; backward reads it
    int32_t *argmax;        // [n, V] the token that decides, kept for backward; NULL in inference
    const float *dy;        // [n, V]
    float *dx;              // [T, d] or NULL
    bool accumulate;
    float *dweight, *dbias; // added to; or NULL
} qn_lexical_args;

// Of groups of `width` rows, the first with each other one: y[i, k] = x_0 . x_(k+1), or the distance |x_0 - x_(k+1)|.
typedef struct {
    size_t groups, width, d;
    bool distance;
    const float *x; // [groups width, d]
    float *y;       // [groups, width - 1]; backward reads it
    const float *dy;
    float *dx; // [groups width, d]
    bool accumulate;
} qn_group_scores_args;

// One update of AdamW, as what it multiplies by.
typedef struct {
    float grad_scale;   // gradients are multiplied by this first (clipping)
    float rest1, rest2; // 1 - beta1, 1 - beta2
    float beta2, eps;
    float decay;      // 1 - learning rate * weight decay
    float step;       // learning rate / (1 - beta1^t)
    float correction; // 1 / sqrt(1 - beta2^t)
} qn_adamw;

// Update number t, from 1.
static inline qn_adamw qn_adamw_update(const qn_adamw_options *o, int64_t t, double grad_scale) {
    return (qn_adamw){.grad_scale = (float)grad_scale,
                      .rest1 = (float)(1 - o->beta1),
                      .rest2 = (float)(1 - o->beta2),
                      .beta2 = (float)o->beta2,
                      .eps = (float)o->epsilon,
                      .decay = (float)(1 - o->learning_rate * o->weight_decay),
                      .step = (float)(o->learning_rate / (1 - pow(o->beta1, (double)t))),
                      .correction = (float)(1 / sqrt(1 - pow(o->beta2, (double)t)))};
}

// Some rows of a table and its moments.
typedef struct {
    size_t rows, d;
    const int32_t *index;     // [rows] of the table, each at most once, on the host
    float *parameter, *m, *v; // [table, d]
} qn_adamw_rows;

// Updates that rows without a gradient have missed: row index[i] takes the last behind[i] of `updates`, in order. Its
// first moment counts in the first live[i] of them and is zero from then on.
typedef struct {
    const int32_t *behind, *live; // [rows], on the host
    const qn_adamw *updates;      // [count], on the host
    size_t count;
} qn_adamw_missed;

// The operations. All run on the caller's thread plus the backend's own; one backend serves one caller at a time.
// Arguments were checked by the operation above. The one thing that can fail is scratch memory: then the work is
// skipped and `status` of the backend says so until the caller clears it.
typedef struct {
    // Device memory; on the CPU plain 64-byte aligned memory.
    void *(*alloc)(qn_backend *b, size_t bytes);
    void (*release)(qn_backend *b, void *memory);
    void (*copy_in)(qn_backend *b, void *device, const void *host, size_t bytes);
    void (*copy_out)(qn_backend *b, void *host, const void *device, size_t bytes);
    void (*zero)(qn_backend *b, float *x, size_t count);

    // Whether this device has instructions for products in a dtype.
    bool (*computes)(const qn_backend *b, qn_compute compute);
    // A packed copy of a weight for products in `compute`; NULL with the last error set when there is no memory or the
    // dtype is refused.
    void *(*pack)(qn_backend *b, const qn_pack_args *a);
    void (*unpack)(qn_backend *b, void *packed);

    void (*linear_forward)(qn_backend *b, const qn_linear_forward_args *a);
    void (*linear_backward)(qn_backend *b, const qn_linear_backward_args *a);
    void (*low_rank_forward)(qn_backend *b, const qn_low_rank_args *a);
    void (*low_rank_backward)(qn_backend *b, const qn_low_rank_args *a);
    void (*block_forward)(qn_backend *b, const qn_block_args *a);
    void (*activation_forward)(qn_backend *b, qn_activation f, size_t count, const float *x, float *y);
    void (*activation_backward)(qn_backend *b, qn_activation f, size_t count, const float *x, const float *dy,
                                float *dx); // =, dx may be dy
    void (*glu_forward)(qn_backend *b, const qn_glu_args *a);
    void (*glu_backward)(qn_backend *b, const qn_glu_args *a);
    void (*rotate)(qn_backend *b, const qn_rotate_args *a);
    // The same of values in bf16.
    void (*activation_narrow_forward)(qn_backend *b, qn_activation f, size_t count, const uint16_t *x, uint16_t *y);
    void (*attention_forward)(qn_backend *b, const qn_attention_args *a);
    void (*attention_backward)(qn_backend *b, const qn_attention_args *a);
    size_t (*cache_floats)(const qn_backend *b, size_t capacity, size_t key_heads, size_t head_width);
    void (*cache_attention)(qn_backend *b, const qn_cache_args *a);
    void (*token_attention)(qn_backend *b, const qn_token_args *a);
    void (*top)(qn_backend *b, const qn_top_args *a);
    void (*norm_forward)(qn_backend *b, const qn_norm_args *a);
    void (*norm_backward)(qn_backend *b, const qn_norm_args *a);
    void (*dropout)(qn_backend *b, qn_dropout f, size_t rows, size_t d, const float *x, float *y,
                    bool accumulate); // also its own backward
    void (*embedding_forward)(qn_backend *b, const qn_embedding_args *a);
    void (*embedding_backward)(qn_backend *b, const qn_embedding_args *a);
    void (*gather_forward)(qn_backend *b, size_t rows, size_t d, const float *x, const int32_t *index,
                           float *y); // y[i] = x[index[i]]
    void (*gather_backward)(qn_backend *b, size_t rows, size_t d, const float *dy, const int32_t *index,
                            float *dx); // dx[index[i]] += dy[i]
    void (*pool_forward)(qn_backend *b, const qn_pool_args *a);
    void (*pool_backward)(qn_backend *b, const qn_pool_args *a);
    void (*lexical_forward)(qn_backend *b, const qn_lexical_args *a);
    void (*lexical_backward)(qn_backend *b, const qn_lexical_args *a);
    void (*group_scores_forward)(qn_backend *b, const qn_group_scores_args *a);
    void (*group_scores_backward)(qn_backend *b, const qn_group_scores_args *a);
    void (*normalize_forward)(qn_backend *b, size_t rows, size_t d, const float *x, float *y,
                              float *norm); // y = x / max(|x|, 1e-12)
    void (*normalize_backward)(qn_backend *b, size_t rows, size_t d, const float *y, const float *norm, const float *dy,
                               float *dx, bool accumulate);
    void (*cross_entropy)(qn_backend *b, const qn_cross_entropy_args *a);
    void (*span_cross_entropy)(qn_backend *b, const qn_span_cross_entropy_args *a);
    void (*binary_cross_entropy)(qn_backend *b, const qn_elementwise_loss_args *a); // on logits
    void (*mean_squared_error)(qn_backend *b, const qn_elementwise_loss_args *a);
    void (*gaussian_forward)(qn_backend *b, const qn_gaussian_args *a);
    void (*gaussian_backward)(qn_backend *b, const qn_gaussian_args *a);
    void (*gaussian_divergence)(qn_backend *b, const qn_gaussian_divergence_args *a);
    void (*add)(qn_backend *b, size_t count, const float *x, float *y); // y += x
    void (*scale)(qn_backend *b, size_t count, float factor, const float *x, float *y,
                  bool accumulate); // y (+)= factor x; y may be x
    double (*sum_squares)(qn_backend *b, size_t count, const float *x); // fixed order
    void (*adamw)(qn_backend *b, const qn_adamw *f, size_t count, float *parameter, float *gradient, float *m,
                  float *v);                                                                       // zeroes gradient
    void (*adamw_rows)(qn_backend *b, const qn_adamw *f, const qn_adamw_rows *r, float *gradient); // [rows, d], zeroed
    void (*adamw_idle)(qn_backend *b, const qn_adamw_missed *f, const qn_adamw_rows *r); // the same bits as adamw with
                                                                                         // gradients of zero
    void (*approach)(qn_backend *b, size_t count, float share, const float *x, float *y); // y += share (x - y)
} qn_backend_operations;

struct qn_backend {
    const qn_backend_operations *ops;
    qn_status status; // sticky
};

// The CPU. threads 0: as many as this process may run on. isa NULL: the best this CPU has, or the environment's
// QUERN_ISA (ref, avx2, avx512). One backend must not be used by two threads at once.
qn_status qn_backend_create_cpu(int threads, const char *isa, qn_backend **out);
void qn_backend_destroy(qn_backend *backend);
const char *qn_backend_isa(const qn_backend *backend);
int qn_backend_threads(const qn_backend *backend);
