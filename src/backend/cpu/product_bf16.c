// Gradients of a product in bf16: dx = dz W and dW += dz^T x, whose sums, db and all gradients themselves are float32.
// Words pair what is summed over: outputs for dx, tokens for dW. One pass over dy makes all that is read of it, block by
// block in the cache: dz, both its roundings and the sums of the block's tokens for db.
#include "backend/cpu/cpu.h"
#include <string.h>

enum { TOKENS = 64, OUTS = 1024 }; // of a task that rounds, even; outputs that stay in the cache until both are made

typedef struct {
    qn_cpu *cpu;
    const qn_linear_backward_args *a;
    qn_grid input, gradient; // of dx and of dW, whose tasks need nothing of each other
    size_t token_tasks;
    size_t outs, out_pairs; // outputs in whole panels; pairs of outputs
    size_t token_pairs;
    qn_word *dz;          // [T, out_pairs]
    qn_word *weight;      // panels over `in`, out_pairs deep
    qn_word *dz_by_token; // [token_pairs, outs]
    qn_word *x_by_token;  // panels over `in`, token_pairs deep
    float *sums;          // [token_tasks, out] of dz
} job_t;

// Outputs o .. o + outs - 1 of the gradients of tokens first .. first + tokens - 1, of which the task is number `index`.
static void round_gradients(const job_t *job, size_t index, size_t tokens, size_t o, size_t outs) {
    const qn_linear_backward_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t out = a->weight.out, first = index * TOKENS;
    float *dz = a->dy + first * out + o;
    for (size_t t = 0; t < tokens; t++, dz += out) {
        size_t at = (first + t) * out + o;
        if (a->pre_narrow)
            qn_activation_narrow_backward(k, a->activation, outs, a->pre_narrow + at, dz);
        else if (a->activation != QN_ACTIVATION_NONE)
            k->activation_backward(a->activation, outs, a->pre + at, dz, dz);
        if (job->dz) k->to_bf16(outs, dz, (uint16_t *)(void *)(job->dz + (first + t) * job->out_pairs + o / 2));
    }
    dz = a->dy + first * out + o;
    if (job->dz_by_token)
        k->narrow_pairs(tokens, outs, dz, out, job->dz_by_token + first / 2 * job->outs + o, job->outs);
    if (!job->sums) return;
    memset(job->sums + index * out + o, 0, outs * sizeof *job->sums);
    k->add_rows(tokens, outs, dz, out, job->sums + index * out + o);
}

static void round_tokens(const job_t *job, size_t index) {
    const qn_linear_backward_args *a = job->a;
    const qn_cpu *cpu = job->cpu;
    size_t in = a->weight.in, out = a->weight.out, width = cpu->kernels->panel_width, first = index * TOKENS;
    size_t tokens = qn_smaller(TOKENS, a->rows - first), last = first + tokens;
    for (size_t t = first; t < last && job->dz; t++) job->dz[t * job->out_pairs + job->out_pairs - 1] = 0;
    for (size_t o = 0; o < out; o += OUTS) round_gradients(job, index, tokens, o, qn_smaller(OUTS, out - o));
    if (!job->x_by_token) return;
    for (size_t column = 0; column < in; column += width) {
        size_t columns = qn_smaller(width, in - column), from = first * in + column;
        qn_word *words = job->x_by_token + column * job->token_pairs + first / 2 * width;
        if (a->x_narrow)
            cpu->kernels->pack_pairs(tokens, columns, a->x_narrow + from, in, words);
        else
            cpu->kernels->narrow_pairs(tokens, columns, a->x + from, in, words, width);
    }
}

static void round_panel(const job_t *job, size_t index) {
    const qn_weight *weight = &job->a->weight;
    size_t width = job->cpu->kernels->panel_width, column = index * width;
    job->cpu->kernels->narrow_pairs(weight->out, qn_smaller(width, weight->in - column), weight->data + column,
                                    weight->in, job->weight + column * job->out_pairs, width);
}

static void round_task(void *context, size_t index, int worker) {
    (void)worker;
    const job_t *job = context;
    if (index < job->token_tasks)
        round_tokens(job, index);
    else
        round_panel(job, index - job->token_tasks);
}

static void input_task(const job_t *job, size_t index) {
    const qn_linear_backward_args *a = job->a;
    size_t row = index / job->input.columns * job->input.row_block, in = a->weight.in,
           column = index % job->input.columns * job->input.column_block, width = job->cpu->kernels->panel_width;
    job->cpu->kernels->gemm_bf16(&(qn_gemm){.m = qn_smaller(job->input.row_block, a->rows - row),
                                            .n = qn_smaller(job->input.column_block, in - column),
                                            .k = job->out_pairs,
                                            .a = job->dz + row * job->out_pairs,
                                            .a_row = job->out_pairs,
                                            .a_step = 1,
                                            .b = job->weight + column * job->out_pairs,
                                            .b_row = width,
                                            .b_panel = job->out_pairs * width,
                                            .b_packed = true,
                                            .c = a->dx + row * in + column,
                                            .c_row = in,
                                            .accumulate = a->accumulate});
}

static void weight_task(const job_t *job, size_t index) {
    const qn_linear_backward_args *a = job->a;
    size_t row = index / job->gradient.columns * job->gradient.row_block, in = a->weight.in, out = a->weight.out,
           column = index % job->gradient.columns * job->gradient.column_block, width = job->cpu->kernels->panel_width;
    size_t rows = qn_smaller(job->gradient.row_block, out - row), deep = QN_STEP_BLOCK / 2;
    for (size_t p = 0; p < job->token_pairs && a->dweight; p += deep)
        job->cpu->kernels->gemm_bf16(&(qn_gemm){.m = rows,
                                                .n = qn_smaller(job->gradient.column_block, in - column),
                                                .k = qn_smaller(deep, job->token_pairs - p),
                                                .a = job->dz_by_token + p * job->outs + row,
                                                .a_row = 1,
                                                .a_step = job->outs,
                                                .b = job->x_by_token + column * job->token_pairs + p * width,
                                                .b_row = width,
                                                .b_panel = job->token_pairs * width,
                                                .b_packed = true,
                                                .c = a->dweight + row * in + column,
                                                .c_row = in,
                                                .accumulate = true});
    if (a->dbias && column == 0)
        job->cpu->kernels->add_rows(job->token_tasks, rows, job->sums + row, out, a->dbias + row);
}

static void gradient_task(void *context, size_t index, int worker) {
    (void)worker;
    const job_t *job = context;
    if (index < job->input.tasks)
        input_task(job, index);
    else
        weight_task(job, index - job->input.tasks);
}

void qn_cpu_bf16_backward(qn_cpu *cpu, const qn_linear_backward_args *a) {
    size_t width = cpu->kernels->panel_width, in = a->weight.in, out = a->weight.out, ins = qn_round_up(in, width);
    job_t job = {.cpu = cpu, .a = a, .outs = qn_round_up(out, width), .out_pairs = (out + 1) / 2};
    job.token_pairs = (a->rows + 1) / 2;
    job.token_tasks = (a->rows + TOKENS - 1) / TOKENS;
    size_t dz = a->dx ? qn_round_up(a->rows * job.out_pairs, 16) : 0, weight = a->dx ? ins * job.out_pairs : 0;
    size_t by_token = a->dweight ? job.token_pairs : 0, sums = a->dbias ? job.token_tasks * out : 0;
    float *shared = qn_cpu_shared_scratch(cpu, dz + weight + by_token * (job.outs + ins) + sums);
    if (!shared) return;
    if (a->dx) {
        job.dz = shared;
        job.weight = shared + dz;
    }
    shared += dz + weight;
    if (a->dweight) {
        job.dz_by_token = shared;
        job.x_by_token = shared + by_token * job.outs;
    }
    if (a->dbias) job.sums = shared + by_token * (job.outs + ins);
    qn_threads_run(cpu->threads, job.token_tasks + (a->dx ? ins / width : 0), round_task, &job);
    if (a->dx) job.input = qn_grid_of(cpu, a->rows, in);
    if (a->dweight || a->dbias) job.gradient = qn_grid_of(cpu, out, in);
    qn_threads_run(cpu->threads, job.input.tasks + job.gradient.tasks, gradient_task, &job);
}
