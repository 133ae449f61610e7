// Attention of new tokens over tokens that lie anywhere, for beam search: what branches have in common is kept once,
// and a branch changes hands by its list of addresses. One query is a row of dot products, which no packing would
// repay.
//
// A task is one key head of one sequence, with the query heads that share it.
#include "backend/cpu/cpu.h"
#include <string.h>

typedef struct {
    qn_cpu *cpu;
    const qn_token_args *a;
} job_t;

static void attend(const job_t *job, size_t sequence, size_t head, float *scores) {
    const qn_token_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t h = a->head_width, at = a->first + head / (a->heads / a->key_heads) * h,
           count = (size_t)a->lengths[sequence] + 1;
    float *const *tokens = a->tokens[sequence], *out = a->out + (sequence * a->heads + head) * h;
    const float *query = a->query + sequence * a->stride + head * h;
    k->gather_dot(count, h, query, tokens, at, scores);
    if (a->bias) { // in units of the product, as softmax multiplies by the scale
        const int32_t *bucket = a->bias_bucket + a->bias_reach + 1 - count;
        for (size_t i = 0; i < count; i++) scores[i] += a->bias[(size_t)bucket[i] * a->heads + head] / a->scale;
    }
    k->softmax(1, count, a->scale, scores, count, NULL, NULL, 0);
    k->gather_sum(count, h, scores, tokens, at + a->key_heads * h, out);
}

static void task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_token_args *a = job->a;
    size_t head = index % a->key_heads, sequence = index / a->key_heads, h = a->head_width;
    size_t shared = a->heads / a->key_heads;
    float *own = a->tokens[sequence][a->lengths[sequence]] + a->first + head * h;
    memcpy(own, a->key + sequence * a->stride + head * h, h * sizeof *own);
    memcpy(own + a->key_heads * h, a->value + sequence * a->stride + head * h, h * sizeof *own);
    for (size_t i = 0; i < shared; i++) attend(job, sequence, head * shared + i, job->cpu->per_worker[worker].memory);
}

void qn_cpu_token_attention(qn_backend *b, const qn_token_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    job_t job = {cpu, a};
    size_t longest = 0;
    for (size_t i = 0; i < a->sequences; i++)
        if ((size_t)a->lengths[i] > longest) longest = (size_t)a->lengths[i];
    if (!qn_cpu_worker_scratch(cpu, qn_round_up(longest + 1, cpu->kernels->panel_width))) return;
    qn_threads_run(cpu->threads, a->sequences * a->key_heads, task, &job);
}
