// The CPU backend's inside: the kernel table, the team of threads and their scratch memory.
#pragma once
#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/threads.h"

typedef struct {
    float *memory;
    size_t bytes;
} qn_scratch;

typedef struct {
    qn_backend base; // first member
    const qn_kernels *kernels;
    qn_threads *threads;
    qn_scratch shared; // one for the whole operation: packed weights, partial sums
    qn_scratch block;  // values between the steps of block.c, each of which may use `shared`
    qn_scratch *per_worker;
} qn_cpu;

static inline qn_cpu *qn_cpu_of(qn_backend *b) {
    return (qn_cpu *)b;
}

// At least `count` floats, kept from call to call; NULL, with the backend's status set, when there is no memory.
float *qn_cpu_shared_scratch(qn_cpu *cpu, size_t count);
float *qn_cpu_block_scratch(qn_cpu *cpu, size_t count);
bool qn_cpu_worker_scratch(qn_cpu *cpu, size_t count); // makes per_worker[i].memory that large for every worker

// Cuts 0 .. count-1 into ranges of `grain` and runs them as tasks.
typedef void (*qn_range_task)(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker);
void qn_cpu_ranges(qn_cpu *cpu, size_t count, size_t grain, qn_range_task task, const void *arguments);

static inline size_t qn_round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// packed.c
typedef struct qn_narrow qn_narrow; // onednn.h

// A weight [out, in] that products read.
typedef struct {
    qn_compute compute;
    size_t out, in, words; // words of a row
    qn_word *panels;       // see qn_gemm
    qn_narrow *onednn;     // in place of panels
    qn_exact exact;        // int8
    qn_byte_columns columns;
    float *column_memory; // that `columns` points into
} qn_packed;

// Rows that a product reads: float32 as they lie, or words of a narrow dtype.
typedef struct {
    const qn_word *words;
    size_t row;         // words from row to row
    qn_byte_row *bytes; // int8: [rows]
} qn_rows;

static inline qn_rows qn_rows_from(qn_rows x, size_t first) {
    return (qn_rows){x.words + first * x.row, x.row, x.bytes ? x.bytes + first : NULL};
}

// y = f(x W^T + bias) of some rows and of columns first .. first+columns-1, by the calling thread.
typedef struct {
    const qn_packed *weight;
    const float *bias; // [out] or NULL
    qn_activation activation;
    size_t rows;
    qn_rows x;
    size_t first, columns; // whole panels, but for the last
    float *pre, *y;        // [rows, out]; pre may be NULL
    uint16_t *pre_narrow;  // [rows, out] pre as bf16 in place of pre, which y is then computed from; or NULL
    uint16_t *narrow;      // [rows, out] y as bf16 in place of y
} qn_product;

void qn_cpu_multiply(const qn_cpu *cpu, const qn_product *p);
// Rows [rows, in] in the weight's dtype, [rows, words]; bytes [rows] for int8.
void qn_cpu_narrow(const qn_cpu *cpu, const qn_packed *weight, size_t rows, const float *x, qn_word *words,
                   qn_byte_row *bytes);
// Floats that hold `rows` of them, whole cache lines.
static inline size_t qn_byte_rows_room(size_t rows) {
    return qn_round_up(rows * sizeof(qn_byte_row) / sizeof(float), 16);
}
size_t qn_packed_words(const qn_cpu *cpu, const qn_packed *weight);
void qn_cpu_pack_panels(qn_cpu *cpu, qn_packed *weight, const float *values);
bool qn_cpu_computes(const qn_backend *b, qn_compute compute);
void *qn_cpu_pack(qn_backend *b, const qn_pack_args *a);
void qn_cpu_unpack(qn_backend *b, void *packed);
// groups.c
size_t qn_cpu_group_words(size_t in); // of a row of activations
qn_status qn_cpu_pack_groups(qn_cpu *cpu, qn_packed *weight, const qn_pack_args *a);
void qn_cpu_multiply_groups(const qn_cpu *cpu, const qn_product *p);
// product.c
// A grid of tasks over the rows and columns of a result: rows by blocks, columns by whole panels, at least some three
// tasks per thread while blocks stay worth a task.
typedef struct {
    size_t row_block, column_block, columns; // columns: number of column blocks
    size_t tasks;
} qn_grid;
enum { QN_ROW_BLOCK = 96, QN_STEP_BLOCK = 256 }; // of a task: rows; tokens that a sum over tokens takes at once
qn_grid qn_grid_of(const qn_cpu *cpu, size_t rows, size_t columns);
static inline size_t qn_smaller(size_t a, size_t b) {
    return a < b ? a : b;
}
void qn_cpu_linear_forward(qn_backend *b, const qn_linear_forward_args *a);
void qn_cpu_linear_backward(qn_backend *b, const qn_linear_backward_args *a);
// low_rank.c
void qn_cpu_low_rank_forward(qn_backend *b, const qn_low_rank_args *a);
void qn_cpu_low_rank_backward(qn_backend *b, const qn_low_rank_args *a);
// product_bf16.c
void qn_cpu_bf16_backward(qn_cpu *cpu, const qn_linear_backward_args *a);
// block.c
void qn_cpu_block_forward(qn_backend *b, const qn_block_args *a);
// product_onednn.c
void qn_cpu_onednn_forward(qn_cpu *cpu, const qn_linear_forward_args *a);
// attention.c
void qn_cpu_attention_forward(qn_backend *b, const qn_attention_args *a);
void qn_cpu_attention_backward(qn_backend *b, const qn_attention_args *a);
// cache.c
size_t qn_cpu_cache_floats(const qn_backend *b, size_t capacity, size_t key_heads, size_t head_width);
void qn_cpu_cache_attention(qn_backend *b, const qn_cache_args *a);
void qn_cpu_top(qn_backend *b, const qn_top_args *a);
void qn_cpu_token_attention(qn_backend *b, const qn_token_args *a);
// Dropout of a row of probabilities.
void qn_cpu_drop_probabilities(const qn_cpu *cpu, const qn_attention_args *a, size_t token, size_t head, size_t n,
                               const float *x, float *y);
// disentangled.c
void qn_cpu_disentangled_forward(qn_cpu *cpu, const qn_attention_args *a);
void qn_cpu_disentangled_backward(qn_cpu *cpu, const qn_attention_args *a);
// norm.c
void qn_cpu_norm_forward(qn_backend *b, const qn_norm_args *a);
void qn_cpu_norm_backward(qn_backend *b, const qn_norm_args *a);
// rows.c
void qn_cpu_embedding_forward(qn_backend *b, const qn_embedding_args *a);
void qn_cpu_embedding_backward(qn_backend *b, const qn_embedding_args *a);
void qn_cpu_gather_forward(qn_backend *b, size_t rows, size_t d, const float *x, const int32_t *index, float *y);
void qn_cpu_gather_backward(qn_backend *b, size_t rows, size_t d, const float *dy, const int32_t *index, float *dx);
void qn_cpu_pool_forward(qn_backend *b, const qn_pool_args *a);
void qn_cpu_pool_backward(qn_backend *b, const qn_pool_args *a);
void qn_cpu_normalize_forward(qn_backend *b, size_t rows, size_t d, const float *x, float *y, float *norm);
void qn_cpu_normalize_backward(qn_backend *b, size_t rows, size_t d, const float *y, const float *norm, const float *dy,
                               float *dx, bool accumulate);
void qn_cpu_adamw_rows(qn_backend *b, const qn_adamw *f, const qn_adamw_rows *r, float *gradient);
void qn_cpu_adamw_idle(qn_backend *b, const qn_adamw_missed *f, const qn_adamw_rows *r);
// scores.c
void qn_cpu_lexical_forward(qn_backend *b, const qn_lexical_args *a);
void qn_cpu_lexical_backward(qn_backend *b, const qn_lexical_args *a);
void qn_cpu_group_scores_forward(qn_backend *b, const qn_group_scores_args *a);
void qn_cpu_group_scores_backward(qn_backend *b, const qn_group_scores_args *a);
// loss.c
void qn_cpu_cross_entropy(qn_backend *b, const qn_cross_entropy_args *a);
void qn_cpu_span_cross_entropy(qn_backend *b, const qn_span_cross_entropy_args *a);
void qn_cpu_binary_cross_entropy(qn_backend *b, const qn_elementwise_loss_args *a);
void qn_cpu_mean_squared_error(qn_backend *b, const qn_elementwise_loss_args *a);
// gaussian.c
void qn_cpu_gaussian_forward(qn_backend *b, const qn_gaussian_args *a);
void qn_cpu_gaussian_backward(qn_backend *b, const qn_gaussian_args *a);
void qn_cpu_gaussian_divergence(qn_backend *b, const qn_gaussian_divergence_args *a);
// elementwise.c
void qn_cpu_activation_forward(qn_backend *b, qn_activation f, size_t count, const float *x, float *y);
void qn_cpu_activation_backward(qn_backend *b, qn_activation f, size_t count, const float *x, const float *dy,
                                float *dx);
void qn_cpu_glu_forward(qn_backend *b, const qn_glu_args *a);
void qn_cpu_glu_backward(qn_backend *b, const qn_glu_args *a);
void qn_cpu_rotate(qn_backend *b, const qn_rotate_args *a);
void qn_cpu_activation_narrow_forward(qn_backend *b, qn_activation f, size_t count, const uint16_t *x, uint16_t *y);
// dy becomes dy f'(x), on this thread.
void qn_activation_narrow_backward(const qn_kernels *k, qn_activation f, size_t count, const uint16_t *x, float *dy);
void qn_cpu_dropout(qn_backend *b, qn_dropout f, size_t rows, size_t d, const float *x, float *y, bool accumulate);
void qn_cpu_add(qn_backend *b, size_t count, const float *x, float *y);
void qn_cpu_scale(qn_backend *b, size_t count, float factor, const float *x, float *y, bool accumulate);
double qn_cpu_sum_squares(qn_backend *b, size_t count, const float *x);
void qn_cpu_adamw(qn_backend *b, const qn_adamw *f, size_t count, float *parameter, float *gradient, float *m,
                  float *v);
void qn_cpu_approach(qn_backend *b, size_t count, float share, const float *x, float *y);
