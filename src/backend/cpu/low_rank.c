// Low-rank additions to linear layers: u = scale x A^T, y += u B^T forward; du = scale dy B, dx += du A, dA += du^T x,
// dB += dy^T u backward. What is [.., rank] is small, so one task does both products of its rows.
#include "backend/cpu/cpu.h"

enum { ROWS = 32, COLUMNS = 64 }; // of a task: rows; columns of A or rows of B

typedef struct {
    const qn_low_rank_args *a;
    float *first, *second; // the factors as the products read them
    float *du;             // [T, rank]
} low_rank_job;

// to [columns, rows] = factor from^T
static void transpose(size_t rows, size_t columns, float factor, const float *from, float *to) {
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < rows; r++) to[c * rows + r] = factor * from[r * columns + c];
}

// c [m, n] = a b or += a b, where b [k, n] lies as it is; rows of a and c are a_row and c_row apart.
static void product(const qn_cpu *cpu, size_t m, size_t n, size_t k, const float *a, size_t a_row, const float *b,
                    float *c, size_t c_row, bool accumulate) {
    cpu->kernels->gemm(&(qn_gemm){.m = m,
                                  .n = n,
                                  .k = k,
                                  .a = a,
                                  .a_row = a_row,
                                  .a_step = 1,
                                  .b = b,
                                  .b_row = n,
                                  .b_panel = cpu->kernels->panel_width,
                                  .c = c,
                                  .c_row = c_row,
                                  .accumulate = accumulate});
}

static void forward_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const low_rank_job *job = arguments;
    const qn_low_rank_args *a = job->a;
    float *u = a->u + first * a->rank;
    product(cpu, last - first, a->rank, a->in, a->x + first * a->in, a->in, job->first, u, a->rank, false);
    product(cpu, last - first, a->out, a->rank, u, a->rank, job->second, a->y + first * a->y_stride, a->y_stride, true);
}

void qn_cpu_low_rank_forward(qn_backend *b, const qn_low_rank_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    float *shared = qn_cpu_shared_scratch(cpu, (a->in + a->out) * a->rank);
    if (!shared || a->rows == 0) return;
    low_rank_job job = {.a = a, .first = shared, .second = shared + a->in * a->rank};
    transpose(a->rank, a->in, a->scale, a->a, job.first);
    transpose(a->out, a->rank, 1, a->b, job.second);
    qn_cpu_ranges(cpu, a->rows, ROWS, forward_rows, &job);
}

static void backward_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const low_rank_job *job = arguments;
    const qn_low_rank_args *a = job->a;
    float *du = job->du + first * a->rank;
    product(cpu, last - first, a->rank, a->out, a->dy + first * a->y_stride, a->y_stride, job->first, du, a->rank,
            false);
    if (a->dx)
        product(cpu, last - first, a->in, a->rank, du, a->rank, a->a, a->dx + first * a->in, a->in, a->accumulate);
}

// c [m, n] += a^T b over all rows, by blocks of them: a [T, m] and b [T, n] with rows a_row and b_row apart.
static void sum_over_rows(const qn_cpu *cpu, size_t rows, size_t m, size_t n, const float *a, size_t a_row,
                          const float *b, size_t b_row, float *c, size_t c_row) {
    for (size_t t = 0; t < rows; t += QN_STEP_BLOCK)
        cpu->kernels->gemm(&(qn_gemm){.m = m,
                                      .n = n,
                                      .k = qn_smaller(QN_STEP_BLOCK, rows - t),
                                      .a = a + t * a_row,
                                      .a_row = 1,
                                      .a_step = a_row,
                                      .b = b + t * b_row,
                                      .b_row = b_row,
                                      .b_panel = cpu->kernels->panel_width,
                                      .c = c,
                                      .c_row = c_row,
                                      .accumulate = true});
}

static void first_factor(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const low_rank_job *job = arguments;
    const qn_low_rank_args *a = job->a;
    sum_over_rows(cpu, a->rows, a->rank, last - first, job->du, a->rank, a->x + first, a->in, a->da + first, a->in);
}

static void second_factor(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const low_rank_job *job = arguments;
    const qn_low_rank_args *a = job->a;
    sum_over_rows(cpu, a->rows, last - first, a->rank, a->dy + first, a->y_stride, a->u, a->rank,
                  a->db + first * a->rank, a->rank);
}

void qn_cpu_low_rank_backward(qn_backend *b, const qn_low_rank_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    float *shared = qn_cpu_shared_scratch(cpu, (a->out + a->rows) * a->rank);
    if (!shared || a->rows == 0) return;
    low_rank_job job = {.a = a, .first = shared, .du = shared + a->out * a->rank};
    for (size_t i = 0; i < a->out * a->rank; i++) job.first[i] = a->scale * a->b[i];
    qn_cpu_ranges(cpu, a->rows, ROWS, backward_rows, &job);
    if (a->da) qn_cpu_ranges(cpu, a->in, COLUMNS, first_factor, &job);
    if (a->db) qn_cpu_ranges(cpu, a->out, COLUMNS, second_factor, &job);
}
