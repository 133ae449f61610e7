// Products with a weight: y = x W^T + b forward, dx = dy W, dW += dy^T x, db += sum dy backward, cut into tasks whose
// size follows from the shapes and the number of threads; the bits of the result depend on neither (see gemm in
// kernels.h).
#include "backend/cpu/cpu.h"

enum { ROW_BLOCK = 96, STEP_BLOCK = 256 };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

// A grid of tasks: rows by blocks, columns by whole panels, at least some three tasks per thread while blocks stay
// worth a task.
typedef struct {
    size_t row_block, column_block, columns; // columns: number of column blocks
    size_t tasks;
} grid;

static grid make_grid(const qn_cpu *cpu, size_t rows, size_t columns, size_t row_block) {
    size_t width = cpu->kernels->panel_width, threads = (size_t)qn_threads_count(cpu->threads);
    grid g = {.row_block = row_block, .column_block = qn_round_up(columns, width)};
    size_t row_blocks = (rows + row_block - 1) / row_block;
    if (threads > 1 && row_blocks < 3 * threads) {
        size_t pieces = smaller((3 * threads + row_blocks - 1) / row_blocks, (columns + width - 1) / width);
        g.column_block = qn_round_up((columns + pieces - 1) / pieces, width);
    }
    g.columns = (columns + g.column_block - 1) / g.column_block;
    g.tasks = row_blocks * g.columns;
    return g;
}

typedef struct {
    qn_cpu *cpu;
    const qn_linear_forward_args *a;
    const qn_packed *weight;
    qn_rows x;
    qn_word *words; // narrow dtypes: x's memory
    grid grid;
} forward_job;

static void narrow_task(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const forward_job *job = arguments;
    size_t in = job->weight->in;
    qn_cpu_narrow(cpu, job->weight, last - first, job->a->x + first * in, job->words + first * job->weight->words,
                  job->x.scale ? job->x.scale + first : NULL, job->x.zero ? job->x.zero + first : NULL);
}

static void forward_task(void *context, size_t index, int worker) {
    (void)worker;
    const forward_job *job = context;
    const qn_linear_forward_args *a = job->a;
    size_t row = index / job->grid.columns * job->grid.row_block, out = job->weight->out,
           column = index % job->grid.columns * job->grid.column_block;
    qn_cpu_multiply(job->cpu, &(qn_product){
                                  .weight = job->weight,
                                  .bias = a->bias,
                                  .activation = a->activation,
                                  .rows = smaller(job->grid.row_block, a->rows - row),
                                  .x = qn_rows_from(job->x, row),
                                  .first = column,
                                  .columns = smaller(job->grid.column_block, out - column),
                                  .pre = a->pre ? a->pre + row * out : NULL,
                                  .y = a->y ? a->y + row * out : NULL,
                                  .narrow = a->y_narrow ? a->y_narrow + row * out : NULL,
                              });
}

void qn_cpu_linear_forward(qn_backend *b, const qn_linear_forward_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t rows = a->rows;
    if (rows == 0) return;
    const qn_packed *weight = a->weight.packed;
    if (weight && weight->onednn) {
        qn_cpu_onednn_forward(cpu, a);
        return;
    }
    qn_packed now; // training: the weight changes from call to call
    if (!weight) {
        now = (qn_packed){.out = a->weight.out, .in = a->weight.in, .words = a->weight.in};
        now.panels = qn_cpu_shared_scratch(cpu, qn_packed_words(cpu, &now));
        if (!now.panels) return;
        qn_cpu_pack_panels(cpu, &now, a->weight.data);
        weight = &now;
    }
    forward_job job = {
        cpu, a, weight, {.words = a->x, .row = weight->in}, NULL, make_grid(cpu, rows, weight->out, ROW_BLOCK)};
    if (a->x_narrow) {
        job.x = (qn_rows){(const qn_word *)(const void *)a->x_narrow, weight->words, NULL, NULL};
    } else if (weight->compute != QN_DTYPE_F32) {
        size_t room = qn_round_up(rows, 16);
        float *shared = qn_cpu_shared_scratch(cpu, rows * weight->words + 2 * room);
        if (!shared) return;
        job.words = shared + 2 * room;
        job.x = (qn_rows){job.words, weight->words, NULL, NULL};
        if (weight->compute == QN_DTYPE_INT8) job.x.scale = shared, job.x.zero = (int32_t *)(void *)(shared + room);
        qn_cpu_ranges(cpu, rows, 16, narrow_task, &job);
    }
    qn_threads_run(cpu->threads, job.grid.tasks, forward_task, &job);
}

typedef struct {
    qn_cpu *cpu;
    const qn_linear_backward_args *a;
    grid grid;
} backward_job;

// dx = dy W: W's rows are the steps of the product, so W is read as it lies.
static void input_task(void *context, size_t index, int worker) {
    (void)worker;
    const backward_job *job = context;
    const qn_linear_backward_args *a = job->a;
    size_t row = index / job->grid.columns * job->grid.row_block,
           column = index % job->grid.columns * job->grid.column_block;
    size_t in = a->weight.in, out = a->weight.out;
    job->cpu->kernels->gemm(&(qn_gemm){
        .m = smaller(job->grid.row_block, a->rows - row),
        .n = smaller(job->grid.column_block, in - column),
        .k = out,
        .a = a->dy + row * out,
        .a_row = out,
        .a_step = 1,
        .b = a->weight.data + column,
        .b_row = in,
        .b_panel = job->cpu->kernels->panel_width,
        .c = a->dx + row * in + column,
        .c_row = in,
        .accumulate = a->accumulate,
    });
}

// dW += dy^T x by blocks of tokens, whose rows of dy and x then stay in the cache; the order of the sum is that of the
// tokens.
static void weight_task(void *context, size_t index, int worker) {
    (void)worker;
    const backward_job *job = context;
    const qn_linear_backward_args *a = job->a;
    size_t row = index / job->grid.columns * job->grid.row_block,
           column = index % job->grid.columns * job->grid.column_block;
    size_t in = a->weight.in, out = a->weight.out, rows = smaller(job->grid.row_block, out - row);
    for (size_t t = 0; t < a->rows; t += STEP_BLOCK) {
        size_t steps = smaller(STEP_BLOCK, a->rows - t);
        if (a->dweight)
            job->cpu->kernels->gemm(&(qn_gemm){
                .m = rows,
                .n = smaller(job->grid.column_block, in - column),
                .k = steps,
                .a = a->dy + t * out + row,
                .a_row = 1,
                .a_step = out,
                .b = a->x + t * in + column,
                .b_row = in,
                .b_panel = job->cpu->kernels->panel_width,
                .c = a->dweight + row * in + column,
                .c_row = in,
                .accumulate = true,
            });
        if (a->dbias && column == 0)
            for (size_t s = t; s < t + steps; s++)
                job->cpu->kernels->axpy(rows, 1.0f, a->dy + s * out + row, a->dbias + row);
    }
}

void qn_cpu_linear_backward(qn_backend *b, const qn_linear_backward_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    if (a->rows == 0) return;
    if (a->dx) {
        backward_job job = {cpu, a, make_grid(cpu, a->rows, a->weight.in, ROW_BLOCK)};
        qn_threads_run(cpu->threads, job.grid.tasks, input_task, &job);
    }
    if (a->dweight || a->dbias) {
        backward_job job = {cpu, a, make_grid(cpu, a->weight.out, a->weight.in, ROW_BLOCK)};
        qn_threads_run(cpu->threads, job.grid.tasks, weight_task, &job);
    }
}
