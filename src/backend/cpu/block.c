// Steps on rows in inference. With many rows a task carries a block of them through all steps: what a step writes is in
// the second-level cache when the next one reads it, values that no one else needs never reach memory, and there is one
// parallel region for all. With few rows the steps follow one another and each is cut by columns as well, so that every
// thread reads a part of a weight and not all of it. The bits are the same.
#include "backend/cpu/cpu.h"
#include <string.h>

// Rows of a block, a multiple of the tiles of gemm; below LEAST_ROWS for each thread the weights' way from memory would
// be the time.
enum { MOST_ROWS = 98, LEAST_ROWS = 42 };

// Where a value stands in a worker's memory, in floats; `nowhere` when it has no such form.
static const size_t nowhere = (size_t)-1;
typedef struct {
    size_t values;           // [rows, width] float32
    size_t words;            // [rows, words] in the dtype of the products that read it
    const qn_packed *reader; // the first such product's weight; all of one value have one dtype
    bool written_narrow;     // the product that writes it rounds to bf16 itself
} place;

typedef struct {
    qn_cpu *cpu;
    const qn_block_args *a;
    size_t block; // rows
    size_t bytes; // of int8: [rows] qn_byte_row
    place place[QN_BLOCK_VALUES];
} job_t;

// A value that is only read by products in bf16 needs no float32.
static bool needs_float(const qn_block_args *a, int value) {
    if (a->value[value].memory) return true;
    if (a->value[value].narrow) return false;
    for (size_t i = 0; i < a->steps; i++) {
        const qn_block_step *s = &a->step[i];
        bool linear = s->kind == QN_STEP_LINEAR;
        const qn_packed *weight = s->weight.packed;
        if (s->from == value && (!linear || weight->compute != QN_DTYPE_BF16)) return true;
        if (!linear && (s->sub == value || s->to == value || s->sum == value)) return true;
    }
    return false;
}

static size_t lay_out(job_t *job) {
    const qn_block_args *a = job->a;
    size_t used = 0;
    job->bytes = used;
    used += qn_byte_rows_room(job->block);
    for (size_t v = 0; v < a->values; v++) {
        place *p = &job->place[v];
        *p = (place){nowhere, nowhere, NULL, false};
        if (a->value[v].narrow) continue;
        for (size_t i = 0; i < a->steps && !p->reader; i++)
            if (a->step[i].kind == QN_STEP_LINEAR && a->step[i].from == (int)v) {
                const qn_packed *weight = a->step[i].weight.packed;
                if (weight->compute != QN_DTYPE_F32) p->reader = weight;
            }
        bool floats = needs_float(a, (int)v);
        p->written_narrow = p->reader && !floats;
        if (floats && !a->value[v].memory) {
            p->values = used;
            used += qn_round_up(job->block * a->value[v].width, 16);
        }
        if (p->reader) {
            p->words = used;
            used += qn_round_up(job->block * p->reader->words, 16);
        }
    }
    return used;
}

static float *floats_of(const job_t *job, int value, size_t row, int worker) {
    const qn_block_value *v = &job->a->value[value];
    if (v->memory) return v->memory + row * v->width;
    return job->place[value].values == nowhere ? NULL : job->cpu->per_worker[worker].memory + job->place[value].values;
}

// The place of a value in bf16, or NULL.
static uint16_t *narrow_of(const job_t *job, int value, size_t row, int worker) {
    const qn_block_value *v = &job->a->value[value];
    const place *p = &job->place[value];
    if (v->narrow) return v->narrow + row * v->width;
    return p->written_narrow ? (uint16_t *)(void *)(job->cpu->per_worker[worker].memory + p->words) : NULL;
}

static qn_rows rows_of(const job_t *job, const qn_block_step *s, size_t row, size_t rows, int worker) {
    const qn_packed *weight = s->weight.packed;
    const uint16_t *narrow = narrow_of(job, s->from, row, worker);
    if (narrow) return (qn_rows){(const qn_word *)(const void *)narrow, weight->words, NULL};
    const float *x = floats_of(job, s->from, row, worker);
    if (weight->compute == QN_DTYPE_F32) return (qn_rows){x, weight->in, NULL};
    float *memory = job->cpu->per_worker[worker].memory, *words = memory + job->place[s->from].words;
    qn_byte_row *bytes = (qn_byte_row *)(void *)(memory + job->bytes);
    qn_cpu_narrow(job->cpu, weight, rows, x, words, bytes);
    return (qn_rows){words, weight->words, bytes};
}

static void linear(const job_t *job, const qn_block_step *s, size_t row, size_t rows, int worker) {
    const qn_packed *weight = s->weight.packed;
    qn_cpu_multiply(job->cpu, &(qn_product){.weight = weight,
                                            .bias = s->bias,
                                            .activation = s->activation,
                                            .rows = rows,
                                            .x = rows_of(job, s, row, rows, worker),
                                            .columns = weight->out,
                                            .y = floats_of(job, s->to, row, worker),
                                            .narrow = narrow_of(job, s->to, row, worker)});
}

static qn_norm_args norm_of(const qn_block_args *a, const qn_block_step *s, size_t rows, const float *x,
                            const float *sub, float *sum, float *out) {
    return (qn_norm_args){.rows = rows,
                          .d = a->value[s->from].width,
                          .eps = s->eps,
                          .rms = s->rms,
                          .x = x,
                          .sub = sub,
                          .gamma = s->gamma,
                          .beta = s->bias,
                          .sum = sum,
                          .out = out};
}

// Gated units and rotations of a block's rows.
static void glu(const job_t *job, const qn_block_step *s, size_t row, size_t rows, int worker) {
    size_t n = job->a->value[s->to].width, gate = s->gate_last ? n : 0, value = s->gate_last ? 0 : n;
    const float *x = floats_of(job, s->from, row, worker);
    float *y = floats_of(job, s->to, row, worker);
    for (size_t r = 0; r < rows; r++, x += 2 * n, y += n)
        job->cpu->kernels->glu_forward(s->activation, n, x + gate, x + value, y);
}

static void rotate_rows(const qn_cpu *cpu, const qn_block_step *s, size_t width, size_t row, size_t rows, float *x,
                        uint16_t *narrow) {
    const qn_rotary *f = &s->rotary;
    for (size_t r = 0; r < rows; r++) {
        size_t at = (size_t)s->positions[row + r] * f->half;
        const float *cosine = f->cosine + at, *sine = f->sine + at;
        if (narrow)
            cpu->kernels->rotate_bf16(s->heads, s->head_width, f->half, cosine, sine, 1, narrow + r * width);
        else
            cpu->kernels->rotate(s->heads, s->head_width, f->half, cosine, sine, 1, x + r * width);
    }
}

static void block_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_block_args *a = job->a;
    size_t row = index * job->block, rows = a->rows - row < job->block ? a->rows - row : job->block;
    for (size_t i = 0; i < a->steps; i++) {
        const qn_block_step *s = &a->step[i];
        if (s->kind == QN_STEP_LINEAR) {
            linear(job, s, row, rows, worker);
            continue;
        }
        if (s->kind == QN_STEP_GLU) {
            glu(job, s, row, rows, worker);
            continue;
        }
        if (s->kind == QN_STEP_ROTATE) {
            rotate_rows(job->cpu, s, a->value[s->from].width, row, rows, floats_of(job, s->from, row, worker),
                        narrow_of(job, s->from, row, worker));
            continue;
        }
        qn_norm_args norm = norm_of(
            a, s, rows, floats_of(job, s->from, row, worker), s->sub < 0 ? NULL : floats_of(job, s->sub, row, worker),
            s->sum < 0 ? NULL : floats_of(job, s->sum, row, worker), floats_of(job, s->to, row, worker));
        job->cpu->kernels->norm_forward(&norm, 0, rows);
    }
}

typedef struct {
    const qn_block_step *step;
    size_t width;
    float *x;
    uint16_t *narrow;
} rotation;

static void rotate_range(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const rotation *r = arguments;
    rotate_rows(cpu, r->step, r->width, first, last - first, r->x ? r->x + first * r->width : NULL,
                r->narrow ? r->narrow + first * r->width : NULL);
}

// The steps one after the other over all rows.
static void step_by_step(qn_cpu *cpu, const qn_block_args *a) {
    float *memory[QN_BLOCK_VALUES];
    size_t inside = 0;
    for (size_t v = 0; v < a->values; v++)
        inside += a->value[v].memory || a->value[v].narrow ? 0 : qn_round_up(a->rows * a->value[v].width, 16);
    float *scratch = qn_cpu_block_scratch(cpu, inside);
    if (!scratch) return;
    for (size_t v = 0; v < a->values; v++) {
        bool outside = a->value[v].memory || a->value[v].narrow;
        memory[v] = outside ? a->value[v].memory : scratch;
        if (!outside) scratch += qn_round_up(a->rows * a->value[v].width, 16);
    }
    for (size_t i = 0; i < a->steps; i++) {
        const qn_block_step *s = &a->step[i];
        if (s->kind == QN_STEP_NORM) {
            qn_norm_args norm = norm_of(a, s, a->rows, memory[s->from], s->sub < 0 ? NULL : memory[s->sub],
                                        s->sum < 0 ? NULL : memory[s->sum], memory[s->to]);
            qn_cpu_norm_forward(&cpu->base, &norm);
        } else if (s->kind == QN_STEP_GLU) {
            qn_cpu_glu_forward(&cpu->base, &(qn_glu_args){.rows = a->rows,
                                                          .n = a->value[s->to].width,
                                                          .activation = s->activation,
                                                          .gate_last = s->gate_last,
                                                          .x = memory[s->from],
                                                          .y = memory[s->to]});
        } else if (s->kind == QN_STEP_ROTATE) {
            const qn_block_value *v = &a->value[s->from];
            qn_cpu_ranges(cpu, a->rows, 32, rotate_range, &(rotation){s, v->width, memory[s->from], v->narrow});
        } else {
            qn_cpu_linear_forward(&cpu->base, &(qn_linear_forward_args){.rows = a->rows,
                                                                        .x = memory[s->from],
                                                                        .weight = s->weight,
                                                                        .bias = s->bias,
                                                                        .activation = s->activation,
                                                                        .y = memory[s->to],
                                                                        .x_narrow = a->value[s->from].narrow,
                                                                        .y_narrow = a->value[s->to].narrow});
        }
    }
}

void qn_cpu_block_forward(qn_backend *b, const qn_block_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t threads = (size_t)qn_threads_count(cpu->threads);
    bool own = true;
    for (size_t i = 0; i < a->steps; i++)
        if (a->step[i].kind == QN_STEP_LINEAR) own = own && !((const qn_packed *)a->step[i].weight.packed)->onednn;
    if (!own || (threads > 1 && a->rows < threads * LEAST_ROWS)) {
        step_by_step(cpu, a);
        return;
    }
    // Equal blocks, as many for each thread.
    size_t blocks = (a->rows + MOST_ROWS - 1) / MOST_ROWS;
    blocks = qn_round_up(blocks, threads);
    job_t job = {.cpu = cpu, .a = a, .block = (a->rows + blocks - 1) / blocks};
    if (!qn_cpu_worker_scratch(cpu, lay_out(&job))) return;
    qn_threads_run(cpu->threads, (a->rows + job.block - 1) / job.block, block_task, &job);
}
