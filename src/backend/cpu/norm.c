// Layer norm over ranges of rows. The gradients of gamma and beta are summed per block of rows and then over the
// blocks; the blocks follow from the number of rows alone, so the bits do not depend on the threads.
#include "backend/cpu/cpu.h"
#include <string.h>

enum { FORWARD_ROWS = 32, MOST_BLOCKS = 64, LEAST_ROWS = 32 };

static void forward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    cpu->kernels->norm_forward(arguments, first, last);
}

void qn_cpu_norm_forward(qn_backend *b, const qn_norm_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->rows, FORWARD_ROWS, forward, a);
}

typedef struct {
    const qn_norm_args *a;
    float *partial; // [blocks, 2, d]
    size_t grain;
} backward_job;

static void backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const backward_job *job = arguments;
    size_t d = job->a->d;
    float *partial = job->partial + first / job->grain * 2 * d;
    memset(partial, 0, 2 * d * sizeof *partial);
    cpu->kernels->norm_backward(job->a, first, last, partial, partial + d);
}

static void frozen(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    cpu->kernels->norm_backward(((const backward_job *)arguments)->a, first, last, NULL, NULL);
}

void qn_cpu_norm_backward(qn_backend *b, const qn_norm_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    if (a->rows == 0) return;
    size_t grain = (a->rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
    if (grain < LEAST_ROWS) grain = LEAST_ROWS;
    size_t blocks = (a->rows + grain - 1) / grain;
    backward_job job = {.a = a, .grain = grain};
    if (!a->dgamma && !a->dbeta) {
        qn_cpu_ranges(cpu, a->rows, grain, frozen, &job);
        return;
    }
    job.partial = qn_cpu_shared_scratch(cpu, blocks * 2 * a->d);
    if (!job.partial) return;
    qn_cpu_ranges(cpu, a->rows, grain, backward, &job);
    if (a->dgamma) cpu->kernels->add_rows(blocks, a->d, job.partial, 2 * a->d, a->dgamma);
    if (a->dbeta) cpu->kernels->add_rows(blocks, a->d, job.partial + a->d, 2 * a->d, a->dbeta);
}
