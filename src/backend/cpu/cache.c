// Attention over a cache of keys and values, for decoding. A sequence's cache has, for each key head, its keys in the
// panels that gemm reads, and its values as rows: a step packs nothing but the new tokens.
//
// A task is one key head of one sequence, with all the query heads that share it (Ainslie et al. 2023); a token's
// result has the same bits whether it comes alone or with a whole prompt, since probabilities of what it does not see
// are 0.
#include "backend/cpu/cpu.h"
#include <string.h>

enum { QUERY_BLOCK = 64 }; // rows of scores at once

size_t qn_cpu_cache_floats(const qn_backend *b, size_t capacity, size_t key_heads, size_t head_width) {
    size_t width = ((const qn_cpu *)b)->kernels->panel_width;
    return 2 * qn_round_up(capacity, width) * key_heads * head_width;
}

typedef struct {
    qn_cpu *cpu;
    const qn_cache_args *a;
    size_t longest; // keys that any sequence has at the end, in whole panels
} job_t;

// The keys of a head, panel by panel, and its values [capacity, h].
static float *keys_of(const job_t *job, size_t sequence, size_t head) {
    const qn_cache_args *a = job->a;
    size_t room = qn_round_up(a->capacity[sequence], job->cpu->kernels->panel_width) * a->head_width;
    return a->cache[sequence] + head * room;
}
static float *values_of(const job_t *job, size_t sequence, size_t head) {
    const qn_cache_args *a = job->a;
    return keys_of(job, sequence, a->key_heads + head);
}

static void append(const job_t *job, size_t sequence, size_t head) {
    const qn_cache_args *a = job->a;
    size_t h = a->head_width, width = job->cpu->kernels->panel_width, at = (size_t)a->lengths[sequence];
    size_t first = (size_t)a->offsets[sequence], count = (size_t)a->offsets[sequence + 1] - first;
    float *keys = keys_of(job, sequence, head), *values = values_of(job, sequence, head);
    for (size_t t = 0; t < count; t++, at++) {
        const float *key = a->key + (first + t) * a->stride + head * h;
        float *column = keys + at / width * width * h + at % width;
        for (size_t i = 0; i < h; i++) column[i * width] = key[i];
        memcpy(values + at * h, a->value + (first + t) * a->stride + head * h, h * sizeof *values);
    }
}

// Rows `first` .. of the queries that share a key head: row r is query head r % shared of new token r / shared.
static void attend_block(const job_t *job, size_t sequence, size_t head, size_t first, size_t rows, float *memory) {
    const qn_cache_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t h = a->head_width, shared = a->heads / a->key_heads, width = k->panel_width;
    size_t begin = (size_t)a->offsets[sequence], count = (size_t)a->offsets[sequence + 1] - begin;
    size_t before = (size_t)a->lengths[sequence], all = before + (a->key ? count : 0);
    size_t last = (first + rows - 1) / shared, seen = a->causal ? before + last + 1 : all, ld = job->longest;
    float *queries = memory, *mixed = queries + QUERY_BLOCK * h, *scores = mixed + QUERY_BLOCK * h;
    for (size_t i = 0; i < rows; i++) {
        size_t token = begin + (first + i) / shared, column = (head * shared + (first + i) % shared) * h;
        memcpy(queries + i * h, a->query + token * a->query_stride + column, h * sizeof *queries);
    }
    k->gemm(&(qn_gemm){.m = rows,
                       .n = seen,
                       .k = h,
                       .a = queries,
                       .a_row = h,
                       .a_step = 1,
                       .b = keys_of(job, sequence, head),
                       .b_row = width,
                       .b_panel = h * width,
                       .b_packed = true,
                       .c = scores,
                       .c_row = ld});
    for (size_t i = 0; i < rows;) { // the rows of a token see as much
        size_t token = (first + i) / shared, to = (token + 1) * shared - first,
               own = a->causal ? before + token + 1 : all;
        if (to > rows) to = rows;
        k->softmax(to - i, own, a->scale, scores + i * ld, ld, NULL, NULL, 0);
        for (; i < to; i++) memset(scores + i * ld + own, 0, (seen - own) * sizeof *scores);
    }
    k->gemm(&(qn_gemm){.m = rows,
                       .n = h,
                       .k = seen,
                       .a = scores,
                       .a_row = ld,
                       .a_step = 1,
                       .b = values_of(job, sequence, head),
                       .b_row = h,
                       .b_panel = width,
                       .c = mixed,
                       .c_row = h});
    for (size_t i = 0; i < rows; i++) {
        size_t token = begin + (first + i) / shared, column = (head * shared + (first + i) % shared) * h;
        memcpy(a->out + token * a->heads * h + column, mixed + i * h, h * sizeof *mixed);
    }
}

static void task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_cache_args *a = job->a;
    size_t head = index % a->key_heads, sequence = index / a->key_heads, shared = a->heads / a->key_heads;
    size_t rows = (size_t)(a->offsets[sequence + 1] - a->offsets[sequence]) * shared;
    if (a->key) append(job, sequence, head);
    if (a->lengths[sequence] == 0 && !a->key) { // nothing to see: zeros
        for (size_t i = 0; i < rows; i++) {
            size_t token = (size_t)a->offsets[sequence] + i / shared, column = head * shared + i % shared;
            memset(a->out + (token * a->heads + column) * a->head_width, 0, a->head_width * sizeof *a->out);
        }
        return;
    }
    for (size_t first = 0; first < rows && a->query; first += QUERY_BLOCK)
        attend_block(job, sequence, head, first, qn_smaller(QUERY_BLOCK, rows - first),
                     job->cpu->per_worker[worker].memory);
}

void qn_cpu_cache_attention(qn_backend *b, const qn_cache_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    job_t job = {cpu, a, 0};
    for (size_t i = 0; i < a->sequences; i++) {
        size_t all = (size_t)a->lengths[i] + (size_t)(a->key ? a->offsets[i + 1] - a->offsets[i] : 0);
        if (all > job.longest) job.longest = all;
    }
    job.longest = qn_round_up(job.longest, cpu->kernels->panel_width);
    if (!qn_cpu_worker_scratch(cpu, QUERY_BLOCK * (2 * a->head_width + job.longest))) return;
    qn_threads_run(cpu->threads, a->sequences * a->key_heads, task, &job);
}
