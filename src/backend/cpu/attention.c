// Ragged multi-head attention. A task is one head of one sequence; it walks over blocks of queries and keeps one block
// of score rows, so memory grows with the length s, never with s x s. Products go through the same gemm kernel as the
// linear layers.
//
// Forward:  S = scale Q K^T, P = softmax(S) by rows, O = dropout(P) V; lse_i = log sum_j exp(S_ij) is kept.
// Backward: P = exp(S - lse); dV = dropout(P)^T dO; dP = dropout(dO V^T); delta_i = sum dO_i O_i = sum_j P_ij dP_ij;
//           dS = P (dP - delta); dQ = scale dS K; dK = scale dS^T Q.   (Dao et al., FlashAttention, 2022, appendix B)
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { QUERY_BLOCK = 48 };

typedef struct {
    qn_cpu *cpu;
    const qn_attention_args *a;
    size_t padded; // longest sequence, in whole panels
} job_t;

// Dropout of one row of probabilities; a row's counters start at (token * heads + head) * 2^20, enough for 8 million
// keys.
static void drop_row(const job_t *job, size_t token, size_t head, size_t n, const float *x, float *y) {
    uint64_t row = (uint64_t)token * job->a->heads + head;
    job->cpu->kernels->dropout(job->a->dropout, row << 20, n, x, y, false);
}

static void forward_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t head = index % a->heads, sequence = index / a->heads, h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t width = k->panel_width, ld = qn_round_up(s, width);
    size_t begin = (size_t)a->query_offsets[sequence], queries = (size_t)a->query_offsets[sequence + 1] - begin;
    float *keys = job->cpu->per_worker[worker].memory, *scores = keys + job->padded * h;
    if (queries == 0) return;
    if (s == 0) { // nothing to see: zeros
        for (size_t i = 0; i < queries; i++) memset(a->out + (begin + i) * d + column, 0, h * sizeof(float));
        return;
    }
    k->pack(s, h, a->key + first * a->stride + column, a->stride, keys);
    for (size_t q = 0; q < queries; q += QUERY_BLOCK) {
        size_t rows = queries - q < QUERY_BLOCK ? queries - q : QUERY_BLOCK, token = begin + q;
        k->gemm(&(qn_gemm){.m = rows,
                           .n = s,
                           .k = h,
                           .a = a->query + token * a->query_stride + column,
                           .a_row = a->query_stride,
                           .a_step = 1,
                           .b = keys,
                           .b_row = width,
                           .b_panel = h * width,
                           .b_packed = true,
                           .c = scores,
                           .c_row = ld});
        float lse[QUERY_BLOCK];
        k->softmax(rows, s, a->scale, scores, ld, lse, NULL, 0);
        for (size_t i = 0; i < rows; i++) {
            if (a->lse) a->lse[(token + i) * a->heads + head] = lse[i];
            if (a->dropout.p > 0) drop_row(job, token + i, head, s, scores + i * ld, scores + i * ld);
        }
        k->gemm(&(qn_gemm){.m = rows,
                           .n = h,
                           .k = s,
                           .a = scores,
                           .a_row = ld,
                           .a_step = 1,
                           .b = a->value + first * a->stride + column,
                           .b_row = a->stride,
                           .b_panel = width,
                           .c = a->out + token * d + column,
                           .c_row = d});
    }
}

// Inference in bf16: the same with products of bf16, whose rows are words of two: keys in pairs along the head's width,
// probabilities and values in pairs along the sequence.
static void narrow_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t head = index % a->heads, sequence = index / a->heads, h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t width = k->panel_width, ld = qn_round_up(s, width), pairs = (s + 1) / 2;
    const uint16_t *query = a->narrow + first * a->stride + column, *key = query + d, *value = key + d;
    float *keys = job->cpu->per_worker[worker].memory, *values = keys + job->padded * h;
    float *scores = values + job->padded * qn_round_up(h, width);
    uint16_t *p = (uint16_t *)(void *)(scores + QUERY_BLOCK * job->padded);
    if (s == 0) return;
    k->pack(s, h / 2, (const qn_word *)(const void *)key, a->stride / 2, keys);
    k->pack_pairs(s, h, value, a->stride, values);
    for (size_t q = 0; q < s; q += QUERY_BLOCK) {
        size_t rows = s - q < QUERY_BLOCK ? s - q : QUERY_BLOCK, out = (first + q) * d + column;
        k->gemm_bf16(&(qn_gemm){.m = rows,
                                .n = s,
                                .k = h / 2,
                                .a = (const qn_word *)(const void *)(query + q * a->stride),
                                .a_row = a->stride / 2,
                                .a_step = 1,
                                .b = keys,
                                .b_row = width,
                                .b_panel = h / 2 * width,
                                .b_packed = true,
                                .c = scores,
                                .c_row = ld});
        k->softmax(rows, s, a->scale, scores, ld, NULL, p, ld);
        for (size_t i = 0; i < rows && s % 2; i++) p[i * ld + s] = 0;
        k->gemm_bf16(&(qn_gemm){.m = rows,
                                .n = h,
                                .k = pairs,
                                .a = (const qn_word *)(const void *)p,
                                .a_row = ld / 2,
                                .a_step = 1,
                                .b = values,
                                .b_row = width,
                                .b_panel = pairs * width,
                                .b_packed = true,
                                .c = a->out ? a->out + out : NULL,
                                .narrow = a->narrow_out ? a->narrow_out + out : NULL,
                                .c_row = d});
    }
}

// The gradients of one head where there is nothing to attend to, or nobody who attends.
static void zero_rows(float *x, float *y, size_t rows, size_t stride, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        memset(x + i * stride, 0, width * sizeof *x);
        if (y) memset(y + i * stride, 0, width * sizeof *y);
    }
}

static void backward_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t head = index % a->heads, sequence = index / a->heads, h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t width = k->panel_width, ld = qn_round_up(s, width), start = first * a->stride + column;
    float *keys = job->cpu->per_worker[worker].memory, *values = keys + job->padded * h, *p = values + job->padded * h;
    float *dp = p + QUERY_BLOCK * job->padded, *dropped = dp + QUERY_BLOCK * job->padded;
    size_t begin = (size_t)a->query_offsets[sequence], queries = (size_t)a->query_offsets[sequence + 1] - begin;
    if (queries == 0) zero_rows(a->dkey + start, a->dvalue + start, s, a->stride, h); // nobody looked
    if (s == 0) zero_rows(a->dquery + begin * a->query_stride + column, NULL, queries, a->query_stride, h);
    if (s == 0 || queries == 0) return;
    k->pack(s, h, a->key + start, a->stride, keys);
    k->pack(s, h, a->value + start, a->stride, values);
    for (size_t q = 0; q < queries; q += QUERY_BLOCK) {
        size_t rows = queries - q < QUERY_BLOCK ? queries - q : QUERY_BLOCK, token = begin + q;
        size_t at = token * a->query_stride + column;
        const float *out = a->out + token * d + column, *dout = a->dout + token * d + column;
        k->gemm(&(qn_gemm){.m = rows,
                           .n = s,
                           .k = h,
                           .a = a->query + at,
                           .a_row = a->query_stride,
                           .a_step = 1,
                           .b = keys,
                           .b_row = width,
                           .b_panel = h * width,
                           .b_packed = true,
                           .c = p,
                           .c_row = ld});
        k->gemm(&(qn_gemm){.m = rows,
                           .n = s,
                           .k = h,
                           .a = dout,
                           .a_row = d,
                           .a_step = 1,
                           .b = values,
                           .b_row = width,
                           .b_panel = h * width,
                           .b_packed = true,
                           .c = dp,
                           .c_row = ld});
        float *used = a->dropout.p > 0 ? dropped : p; // the probabilities that met the values
        for (size_t i = 0; i < rows; i++) {
            float *row = p + i * ld, *drow = dp + i * ld;
            k->exp_sum(s, row, a->scale, a->lse[(token + i) * a->heads + head], row);
            if (a->dropout.p > 0) {
                drop_row(job, token + i, head, s, row, dropped + i * ld);
                drop_row(job, token + i, head, s, drow, drow);
            }
        }
        k->gemm(&(qn_gemm){.m = s,
                           .n = h,
                           .k = rows,
                           .a = used,
                           .a_row = 1,
                           .a_step = ld,
                           .b = dout,
                           .b_row = d,
                           .b_panel = width,
                           .c = a->dvalue + start,
                           .c_row = a->stride,
                           .accumulate = q > 0});
        for (size_t i = 0; i < rows; i++) {
            float delta = k->dot(h, out + i * d, dout + i * d);
            k->score_backward(s, p + i * ld, dp + i * ld, delta, a->scale, dp + i * ld);
        }
        k->gemm(&(qn_gemm){.m = s,
                           .n = h,
                           .k = rows,
                           .a = dp,
                           .a_row = 1,
                           .a_step = ld,
                           .b = a->query + at,
                           .b_row = a->query_stride,
                           .b_panel = width,
                           .c = a->dkey + start,
                           .c_row = a->stride,
                           .accumulate = q > 0});
        k->gemm(&(qn_gemm){.m = rows,
                           .n = h,
                           .k = s,
                           .a = dp,
                           .a_row = ld,
                           .a_step = 1,
                           .b = a->key + start,
                           .b_row = a->stride,
                           .b_panel = width,
                           .c = a->dquery + at,
                           .c_row = a->query_stride});
    }
}

static void run(qn_backend *b, const qn_attention_args *a, qn_task task, size_t packs, size_t blocks) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t longest = 0;
    for (size_t i = 0; i < a->sequences; i++) {
        size_t s = (size_t)(a->offsets[i + 1] - a->offsets[i]);
        if (s > longest) longest = s;
    }
    job_t job = {cpu, a, qn_round_up(longest, cpu->kernels->panel_width)};
    if (longest == 0) job.padded = cpu->kernels->panel_width; // queries may stand before empty sequences
    if (!qn_cpu_worker_scratch(
            cpu, job.padded * (packs * qn_round_up(a->head_width, cpu->kernels->panel_width) + blocks * QUERY_BLOCK)))
        return;
    qn_threads_run(cpu->threads, a->sequences * a->heads, task, &job);
}

void qn_cpu_attention_forward(qn_backend *b, const qn_attention_args *a) {
    if (a->narrow)
        run(b, a, narrow_task, 2, 2);
    else
        run(b, a, forward_task, 1, 1);
}

void qn_cpu_attention_backward(qn_backend *b, const qn_attention_args *a) {
    run(b, a, backward_task, 2, 3);
}
