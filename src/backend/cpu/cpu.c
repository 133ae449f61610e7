// The CPU backend: its table of operations, scratch memory and the cutting of ranges into tasks.
#include "backend/cpu/cpu.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

static void *cpu_alloc(qn_backend *b, size_t bytes) {
    (void)b;
    return qn_aligned_alloc(bytes);
}

static void cpu_release(qn_backend *b, void *memory) {
    (void)b;
    qn_aligned_free(memory);
}

static void cpu_copy(qn_backend *b, void *to, const void *from, size_t bytes) {
    (void)b;
    if (bytes) memcpy(to, from, bytes);
}

static void cpu_zero(qn_backend *b, float *x, size_t count) {
    (void)b;
    if (count) memset(x, 0, count * sizeof *x);
}

static const qn_backend_operations operations = {
    .alloc = cpu_alloc,
    .release = cpu_release,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .zero = cpu_zero,
    .computes = qn_cpu_computes,
    .pack = qn_cpu_pack,
    .unpack = qn_cpu_unpack,
    .linear_forward = qn_cpu_linear_forward,
    .linear_backward = qn_cpu_linear_backward,
    .low_rank_forward = qn_cpu_low_rank_forward,
    .low_rank_backward = qn_cpu_low_rank_backward,
    .block_forward = qn_cpu_block_forward,
    .activation_forward = qn_cpu_activation_forward,
    .activation_backward = qn_cpu_activation_backward,
    .activation_narrow_forward = qn_cpu_activation_narrow_forward,
    .attention_forward = qn_cpu_attention_forward,
    .attention_backward = qn_cpu_attention_backward,
    .cache_floats = qn_cpu_cache_floats,
    .cache_attention = qn_cpu_cache_attention,
    .token_attention = qn_cpu_token_attention,
    .top = qn_cpu_top,
    .norm_forward = qn_cpu_norm_forward,
    .norm_backward = qn_cpu_norm_backward,
    .glu_forward = qn_cpu_glu_forward,
    .glu_backward = qn_cpu_glu_backward,
    .rotate = qn_cpu_rotate,
    .dropout = qn_cpu_dropout,
    .embedding_forward = qn_cpu_embedding_forward,
    .embedding_backward = qn_cpu_embedding_backward,
    .gather_forward = qn_cpu_gather_forward,
    .gather_backward = qn_cpu_gather_backward,
    .pool_forward = qn_cpu_pool_forward,
    .pool_backward = qn_cpu_pool_backward,
    .lexical_forward = qn_cpu_lexical_forward,
    .lexical_backward = qn_cpu_lexical_backward,
    .group_scores_forward = qn_cpu_group_scores_forward,
    .group_scores_backward = qn_cpu_group_scores_backward,
    .normalize_forward = qn_cpu_normalize_forward,
    .normalize_backward = qn_cpu_normalize_backward,
    .cross_entropy = qn_cpu_cross_entropy,
    .span_cross_entropy = qn_cpu_span_cross_entropy,
    .binary_cross_entropy = qn_cpu_binary_cross_entropy,
    .mean_squared_error = qn_cpu_mean_squared_error,
    .gaussian_forward = qn_cpu_gaussian_forward,
    .gaussian_backward = qn_cpu_gaussian_backward,
    .gaussian_divergence = qn_cpu_gaussian_divergence,
    .add = qn_cpu_add,
    .scale = qn_cpu_scale,
    .sum_squares = qn_cpu_sum_squares,
    .adamw = qn_cpu_adamw,
    .adamw_rows = qn_cpu_adamw_rows,
    .adamw_idle = qn_cpu_adamw_idle,
    .approach = qn_cpu_approach,
};

// Twice what is asked for, so that growing lengths do not come here each time; memory that is not used is not taken.
static bool reserve(qn_cpu *cpu, qn_scratch *scratch, size_t count) {
    if (count * sizeof(float) <= scratch->bytes) return true;
    size_t bytes = qn_round_up(2 * count, 1024) * sizeof(float);
    qn_aligned_free(scratch->memory);
    *scratch = (qn_scratch){qn_aligned_alloc(bytes), bytes};
    if (scratch->memory) return true;
    *scratch = (qn_scratch){0};
    cpu->base.status = QN_ERROR_MEMORY;
    return false;
}

float *qn_cpu_shared_scratch(qn_cpu *cpu, size_t count) {
    return reserve(cpu, &cpu->shared, count ? count : 1) ? cpu->shared.memory : NULL;
}

float *qn_cpu_block_scratch(qn_cpu *cpu, size_t count) {
    return reserve(cpu, &cpu->block, count ? count : 1) ? cpu->block.memory : NULL;
}

bool qn_cpu_worker_scratch(qn_cpu *cpu, size_t count) {
    for (int i = 0; i < qn_threads_count(cpu->threads); i++)
        if (!reserve(cpu, &cpu->per_worker[i], count)) return false;
    return true;
}

typedef struct {
    qn_cpu *cpu;
    qn_range_task task;
    const void *arguments;
    size_t count, grain;
} ranges_job;

static void range(void *context, size_t index, int worker) {
    const ranges_job *job = context;
    size_t first = index * job->grain, last = first + job->grain;
    job->task(job->cpu, job->arguments, first, last < job->count ? last : job->count, worker);
}

void qn_cpu_ranges(qn_cpu *cpu, size_t count, size_t grain, qn_range_task task, const void *arguments) {
    ranges_job job = {cpu, task, arguments, count, grain};
    qn_threads_run(cpu->threads, (count + grain - 1) / grain, range, &job);
}

qn_status qn_backend_create_cpu(int threads, const char *isa, qn_backend **out) {
    *out = NULL;
    const qn_kernels *kernels = qn_kernels_choose(isa);
    if (!kernels) return QN_ERROR_UNSUPPORTED;
    if (threads < 0 || threads > 1024)
        return qn_fail(QN_ERROR_ARGUMENT, "threads is %d (expected 1 to 1024, or 0 for all)", threads);
    if (threads == 0) threads = qn_threads_available();
    qn_cpu *cpu = qn_calloc(1, sizeof *cpu);
    if (!cpu) return QN_ERROR_MEMORY;
    cpu->base.ops = &operations;
    cpu->kernels = kernels;
    cpu->per_worker = qn_calloc((size_t)threads, sizeof *cpu->per_worker);
    cpu->threads = cpu->per_worker ? qn_threads_create(threads) : NULL;
    if (!cpu->threads) {
        qn_backend_destroy(&cpu->base);
        return QN_ERROR_MEMORY;
    }
    *out = &cpu->base;
    return QN_OK;
}

void qn_backend_destroy(qn_backend *backend) {
    if (!backend) return;
    qn_cpu *cpu = qn_cpu_of(backend);
    for (int i = 0; cpu->threads && i < qn_threads_count(cpu->threads); i++) qn_aligned_free(cpu->per_worker[i].memory);
    qn_threads_destroy(cpu->threads);
    qn_aligned_free(cpu->shared.memory);
    qn_aligned_free(cpu->block.memory);
    free(cpu->per_worker);
    free(cpu);
}

const char *qn_backend_isa(const qn_backend *backend) {
    return ((const qn_cpu *)backend)->kernels->name;
}

int qn_backend_threads(const qn_backend *backend) {
    return qn_threads_count(((const qn_cpu *)backend)->threads);
}
