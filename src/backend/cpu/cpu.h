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
    qn_scratch *per_worker;
} qn_cpu;

static inline qn_cpu *qn_cpu_of(qn_backend *b) {
    return (qn_cpu *)b;
}

// At least `count` floats, kept from call to call; NULL, with the backend's status set, when there is no memory.
float *qn_cpu_shared_scratch(qn_cpu *cpu, size_t count);
bool qn_cpu_worker_scratch(qn_cpu *cpu, size_t count); // makes per_worker[i].memory that large for every worker

// Cuts 0 .. count-1 into ranges of `grain` and runs them as tasks.
typedef void (*qn_range_task)(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker);
void qn_cpu_ranges(qn_cpu *cpu, size_t count, size_t grain, qn_range_task task, const void *arguments);

static inline size_t qn_round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// product.c
void *qn_cpu_pack(qn_backend *b, const float *weight, size_t out, size_t in, qn_compute compute);
void qn_cpu_unpack(qn_backend *b, void *packed);
void qn_cpu_linear_forward(qn_backend *b, const qn_linear_forward_args *a);
void qn_cpu_linear_backward(qn_backend *b, const qn_linear_backward_args *a);
// attention.c
void qn_cpu_attention_forward(qn_backend *b, const qn_attention_args *a);
void qn_cpu_attention_backward(qn_backend *b, const qn_attention_args *a);
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
// loss.c
void qn_cpu_cross_entropy(qn_backend *b, const qn_cross_entropy_args *a);
void qn_cpu_binary_cross_entropy(qn_backend *b, const qn_elementwise_loss_args *a);
void qn_cpu_mean_squared_error(qn_backend *b, const qn_elementwise_loss_args *a);
// elementwise.c
void qn_cpu_activation_forward(qn_backend *b, qn_activation f, size_t count, const float *x, float *y);
void qn_cpu_activation_backward(qn_backend *b, qn_activation f, size_t count, const float *x, const float *dy,
                                float *dx);
void qn_cpu_dropout(qn_backend *b, qn_dropout f, size_t rows, size_t d, const float *x, float *y, bool accumulate);
void qn_cpu_add(qn_backend *b, size_t count, const float *x, float *y);
double qn_cpu_sum_squares(qn_backend *b, size_t count, const float *x);
void qn_cpu_adamw(qn_backend *b, const qn_adamw *f, size_t count, float *parameter, float *gradient, float *m,
                  float *v);
