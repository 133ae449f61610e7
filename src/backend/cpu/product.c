// Products with a weight: y = x W^T + b forward, dx = dy W, dW += dy^T x, db += sum dy backward, cut into tasks whose
// size follows from the shapes and the number of threads; the bits of the result depend on neither (see gemm in
// kernels.h).
#include "backend/cpu/cpu.h"
#include "backend/cpu/onednn.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

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
    const qn_weight *weight;
    float *panels;
    size_t block;
} pack_job;

static void pack_task(void *context, size_t index, int worker) {
    (void)worker;
    const pack_job *job = context;
    size_t first = index * job->block, in = job->weight->in;
    size_t columns = smaller(job->block, job->weight->out - first);
    job->cpu->kernels->pack(columns, in, job->weight->data + first * in, in, job->panels + first * in);
}

static void pack_into(qn_cpu *cpu, const qn_weight *weight, float *panels) {
    pack_job job = {cpu, weight, panels, 4 * cpu->kernels->panel_width};
    qn_threads_run(cpu->threads, (weight->out + job.block - 1) / job.block, pack_task, &job);
}

static size_t packed_floats(const qn_cpu *cpu, size_t out, size_t in) {
    return qn_round_up(out, cpu->kernels->panel_width) * in;
}

// A packed weight: panels for float32, or oneDNN's form for a narrow dtype.
typedef struct {
    float *panels;
    qn_narrow *narrow;
    qn_compute compute;
} packed_weight;

void *qn_cpu_pack(qn_backend *b, const float *weight, size_t out, size_t in, qn_compute compute) {
    qn_cpu *cpu = qn_cpu_of(b);
    packed_weight *packed = qn_calloc(1, sizeof *packed);
    if (!packed) return NULL;
    packed->compute = compute;
    if (compute == QN_DTYPE_F32) {
        packed->panels = qn_aligned_alloc(packed_floats(cpu, out, in) * sizeof(float));
        if (packed->panels) pack_into(cpu, &(qn_weight){.data = weight, .out = out, .in = in}, packed->panels);
    } else if (qn_narrow_create(weight, out, in, compute, qn_threads_count(cpu->threads), &packed->narrow) != QN_OK)
        packed->narrow = NULL;
    if (packed->panels || packed->narrow) return packed;
    free(packed);
    return NULL;
}

void qn_cpu_unpack(qn_backend *b, void *memory) {
    (void)b;
    packed_weight *packed = memory;
    qn_aligned_free(packed->panels);
    qn_narrow_free(packed->narrow);
    free(packed);
}

// --- Narrow products: blocks of QN_NARROW_ROWS rows by groups of columns

typedef struct {
    qn_cpu *cpu;
    const qn_linear_forward_args *a;
    const packed_weight *packed;
    unsigned char *source; // [rows, in] in the narrow dtype, filled up to whole blocks
    float *scales;         // [rows] int8: of each row
} narrow_job;

static size_t source_bytes(const packed_weight *packed, size_t in) {
    return in * (packed->compute == QN_DTYPE_BF16 ? sizeof(uint16_t) : sizeof(uint8_t));
}

static void narrow_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const narrow_job *job = arguments;
    size_t in = job->a->weight.in, bytes = source_bytes(job->packed, in);
    for (size_t r = first; r < last; r++) {
        void *row = job->source + r * bytes;
        if (r >= job->a->rows)
            memset(row, 0, bytes);
        else if (job->packed->compute == QN_DTYPE_BF16)
            cpu->kernels->to_bf16(in, job->a->x + r * in, row);
        else
            job->scales[r] = cpu->kernels->quantize(in, job->a->x + r * in, row);
    }
}

static void narrow_task(void *context, size_t index, int worker) {
    const narrow_job *job = context;
    const qn_linear_forward_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    qn_narrow *narrow = job->packed->narrow;
    size_t groups = qn_narrow_groups(narrow), row = index / groups * QN_NARROW_ROWS, first, count, out = a->weight.out;
    qn_narrow_group(narrow, index % groups, &first, &count);
    float *values = job->cpu->per_worker[worker].memory; // one row of float32 for int8
    float *result = values + QN_NARROW_COLUMNS, *scratch = result + QN_NARROW_ROWS * QN_NARROW_COLUMNS;
    bool ok = qn_narrow_multiply(narrow, index % groups, worker,
                                 job->source + row * source_bytes(job->packed, a->weight.in), result, scratch);
    if (!ok) job->cpu->base.status = QN_ERROR_MEMORY;
    for (size_t r = row; ok && r < row + QN_NARROW_ROWS && r < a->rows; r++) {
        const float *x = result + (r - row) * count;
        if (job->packed->compute == QN_DTYPE_INT8) {
            k->dequantize(count, (const int32_t *)(const void *)x, qn_narrow_offsets(narrow) + first,
                          qn_narrow_scales(narrow) + first, job->scales[r], values);
            x = values;
        }
        k->finish(a->activation, count, x, a->bias ? a->bias + first : NULL, a->y + r * out + first);
    }
}

static void narrow_forward(qn_cpu *cpu, const qn_linear_forward_args *a, const packed_weight *packed) {
    size_t rows = qn_round_up(a->rows, QN_NARROW_ROWS), in = a->weight.in, groups = qn_narrow_groups(packed->narrow);
    size_t floats = qn_round_up(rows, 16) + (rows * source_bytes(packed, in) + sizeof(float) - 1) / sizeof(float);
    float *shared = qn_cpu_shared_scratch(cpu, floats);
    if (!shared || !qn_cpu_worker_scratch(cpu, (QN_NARROW_ROWS + 1) * QN_NARROW_COLUMNS +
                                                   qn_narrow_scratch(packed->narrow) / sizeof(float) + 16))
        return;
    narrow_job job = {cpu, a, packed, (unsigned char *)(shared + qn_round_up(rows, 16)), shared};
    qn_cpu_ranges(cpu, rows, 16, narrow_rows, &job);
    qn_threads_run(cpu->threads, rows / QN_NARROW_ROWS * groups, narrow_task, &job);
}

// --- float32 products

typedef struct {
    qn_cpu *cpu;
    const qn_linear_forward_args *a;
    const float *panels;
    grid grid;
} forward_job;

static void forward_task(void *context, size_t index, int worker) {
    (void)worker;
    const forward_job *job = context;
    const qn_linear_forward_args *a = job->a;
    size_t row = index / job->grid.columns * job->grid.row_block,
           column = index % job->grid.columns * job->grid.column_block;
    size_t in = a->weight.in, out = a->weight.out;
    job->cpu->kernels->gemm(&(qn_gemm){
        .m = smaller(job->grid.row_block, a->rows - row),
        .n = smaller(job->grid.column_block, out - column),
        .k = in,
        .a = a->x + row * in,
        .a_row = in,
        .a_step = 1,
        .b = job->panels + column * in,
        .b_row = job->cpu->kernels->panel_width,
        .b_panel = in * job->cpu->kernels->panel_width,
        .b_packed = true,
        .c = a->y + row * out + column,
        .c_row = out,
        .bias = a->bias ? a->bias + column : NULL,
        .activation = a->activation,
        .pre = a->pre ? a->pre + row * out + column : NULL,
    });
}

void qn_cpu_linear_forward(qn_backend *b, const qn_linear_forward_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    if (a->rows == 0) return;
    const packed_weight *packed = a->weight.packed;
    if (packed && packed->narrow) {
        narrow_forward(cpu, a, packed);
        return;
    }
    const float *panels = packed ? packed->panels : NULL;
    if (!panels) {
        float *scratch = qn_cpu_shared_scratch(cpu, packed_floats(cpu, a->weight.out, a->weight.in));
        if (!scratch) return;
        pack_into(cpu, &a->weight, scratch);
        panels = scratch;
    }
    forward_job job = {cpu, a, panels, make_grid(cpu, a->rows, a->weight.out, ROW_BLOCK)};
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
