// Products with a weight: y = x W^T + b forward, dx = dy W, dW += dy^T x, db += sum dy backward, cut into tasks whose
// size follows from the shapes and the number of threads; the bits of the result depend on neither (see gemm in
// kernels.h).
#include "backend/cpu/cpu.h"

qn_grid qn_grid_of(const qn_cpu *cpu, size_t rows, size_t columns) {
    size_t width = cpu->kernels->panel_width, threads = (size_t)qn_threads_count(cpu->threads);
    qn_grid g = {.row_block = QN_ROW_BLOCK, .column_block = qn_round_up(columns, width)};
    size_t row_blocks = (rows + g.row_block - 1) / g.row_block;
    if (threads > 1 && row_blocks < 3 * threads) {
        size_t pieces = qn_smaller((3 * threads + row_blocks - 1) / row_blocks, (columns + width - 1) / width);
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
    qn_grid grid;
} forward_job;

static void narrow_task(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const forward_job *job = arguments;
    size_t in = job->weight->in;
    qn_cpu_narrow(cpu, job->weight, last - first, job->a->x + first * in, job->words + first * job->weight->words,
                  job->x.bytes ? job->x.bytes + first : NULL);
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
                                  .rows = qn_smaller(job->grid.row_block, a->rows - row),
                                  .x = qn_rows_from(job->x, row),
                                  .first = column,
                                  .columns = qn_smaller(job->grid.column_block, out - column),
                                  .pre = a->pre ? a->pre + row * out : NULL,
                                  .pre_narrow = a->pre_narrow ? a->pre_narrow + row * out : NULL,
                                  .y = a->y ? a->y + row * out : NULL,
                                  .narrow = a->y_narrow ? a->y_narrow + row * out : NULL,
                              });
}

void qn_cpu_linear_forward(qn_backend *b, const qn_linear_forward_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t rows = a->rows, out = a->weight.out, in = a->weight.in;
    if (rows == 0) return;
    const qn_packed *weight = a->weight.packed;
    if (weight && weight->onednn) {
        qn_cpu_onednn_forward(cpu, a);
        return;
    }
    qn_packed now = {.compute = a->compute, .out = out, .in = in}; // training: the weight changes from call to call
    now.words = a->compute == QN_DTYPE_BF16 ? (in + 1) / 2 : in;
    size_t panels = weight ? 0 : qn_packed_words(cpu, &now);
    forward_job job = {cpu, a, weight ? weight : &now, {.words = a->x, .row = in}, NULL, qn_grid_of(cpu, rows, out)};
    bool narrow = job.weight->compute != QN_DTYPE_F32 && !a->x_narrow;
    size_t room = narrow && job.weight->compute == QN_DTYPE_INT8 ? qn_byte_rows_room(rows) : 0;
    float *shared = qn_cpu_shared_scratch(cpu, panels + (narrow ? rows * job.weight->words + room : 0));
    if (!shared) return;
    if (!weight) {
        now.panels = shared;
        qn_cpu_pack_panels(cpu, &now, a->weight.data);
        shared += panels;
    }
    if (a->x_narrow) job.x = (qn_rows){(const qn_word *)(const void *)a->x_narrow, job.weight->words, NULL};
    if (narrow) {
        job.words = shared + room;
        job.x = (qn_rows){job.words, job.weight->words, room ? (qn_byte_row *)(void *)shared : NULL};
        qn_cpu_ranges(cpu, rows, 16, narrow_task, &job);
    }
    qn_threads_run(cpu->threads, job.grid.tasks, forward_task, &job);
}

typedef struct {
    qn_cpu *cpu;
    const qn_linear_backward_args *a;
    qn_grid input, weight; // of dx and of dW, whose tasks need nothing of each other
} backward_job;

// dx = dy W: W's rows are the steps of the product, so W is read as it lies.
static void input_task(const backward_job *job, size_t index) {
    const qn_linear_backward_args *a = job->a;
    size_t row = index / job->input.columns * job->input.row_block,
           column = index % job->input.columns * job->input.column_block;
    size_t in = a->weight.in, out = a->weight.out;
    job->cpu->kernels->gemm(&(qn_gemm){
        .m = qn_smaller(job->input.row_block, a->rows - row),
        .n = qn_smaller(job->input.column_block, in - column),
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
static void weight_task(const backward_job *job, size_t index) {
    const qn_linear_backward_args *a = job->a;
    size_t row = index / job->weight.columns * job->weight.row_block,
           column = index % job->weight.columns * job->weight.column_block;
    size_t in = a->weight.in, out = a->weight.out, rows = qn_smaller(job->weight.row_block, out - row);
    for (size_t t = 0; t < a->rows; t += QN_STEP_BLOCK) {
        size_t steps = qn_smaller(QN_STEP_BLOCK, a->rows - t);
        if (a->dweight)
            job->cpu->kernels->gemm(&(qn_gemm){
                .m = rows,
                .n = qn_smaller(job->weight.column_block, in - column),
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
            job->cpu->kernels->add_rows(steps, rows, a->dy + t * out + row, out, a->dbias + row);
    }
}

static void gradient_task(void *context, size_t index, int worker) {
    (void)worker;
    const backward_job *job = context;
    if (index < job->input.tasks)
        input_task(job, index);
    else
        weight_task(job, index - job->input.tasks);
}

void qn_cpu_linear_backward(qn_backend *b, const qn_linear_backward_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    if (a->rows == 0) return;
    if (a->compute == QN_DTYPE_BF16) {
        qn_cpu_bf16_backward(cpu, a);
        return;
    }
    if (a->activation != QN_ACTIVATION_NONE)
        qn_cpu_activation_backward(b, a->activation, a->rows * a->weight.out, a->pre, a->dy, a->dy);
    backward_job job = {.cpu = cpu, .a = a};
    if (a->dx) job.input = qn_grid_of(cpu, a->rows, a->weight.in);
    if (a->dweight || a->dbias) job.weight = qn_grid_of(cpu, a->weight.out, a->weight.in);
    qn_threads_run(cpu->threads, job.input.tasks + job.weight.tasks, gradient_task, &job);
}
