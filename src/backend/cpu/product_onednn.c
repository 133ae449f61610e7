// Products of weights that oneDNN packed: tasks are blocks of QN_NARROW_ROWS rows by groups of columns.
#include "backend/cpu/cpu.h"
#include "backend/cpu/onednn.h"
#include <string.h>

typedef struct {
    qn_cpu *cpu;
    const qn_linear_forward_args *a;
    const qn_packed *packed;
    unsigned char *source; // [rows, in] in the narrow dtype, filled up to whole blocks
    qn_byte_row *bytes;    // [rows] int8
} narrow_job;

static size_t source_bytes(const qn_packed *packed, size_t in) {
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
        else if (job->a->x_narrow)
            memcpy(row, job->a->x_narrow + r * in, bytes);
        else if (job->packed->compute == QN_DTYPE_BF16)
            cpu->kernels->to_bf16(in, job->a->x + r * in, row);
        else
            cpu->kernels->quantize(in, job->a->x + r * in, &job->packed->exact, row, &job->bytes[r]);
    }
}

static void narrow_task(void *context, size_t index, int worker) {
    const narrow_job *job = context;
    const qn_linear_forward_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    qn_narrow *narrow = job->packed->onednn;
    size_t groups = qn_narrow_groups(narrow), row = index / groups * QN_NARROW_ROWS, first, count, out = a->weight.out;
    qn_narrow_group(narrow, index % groups, &first, &count);
    float *values = job->cpu->per_worker[worker].memory; // one row of float32 for int8
    float *result = values + QN_NARROW_COLUMNS, *scratch = result + QN_NARROW_ROWS * QN_NARROW_COLUMNS;
    const qn_byte_columns columns = qn_byte_columns_from(job->packed->columns, first);
    bool ok = qn_narrow_multiply(narrow, index % groups, worker,
                                 job->source + row * source_bytes(job->packed, a->weight.in), result, scratch);
    if (!ok) job->cpu->base.status = QN_ERROR_MEMORY;
    for (size_t r = row; ok && r < row + QN_NARROW_ROWS && r < a->rows; r++) {
        const float *x = result + (r - row) * count;
        if (job->packed->compute == QN_DTYPE_INT8) {
            k->dequantize(count, (const int32_t *)(const void *)x, &job->bytes[r], &columns, values);
            x = values;
        }
        k->finish(a->activation, count, x, a->bias ? a->bias + first : NULL, a->y ? a->y + r * out + first : values);
        if (!a->y) k->to_bf16(count, values, a->y_narrow + r * out + first);
    }
}

void qn_cpu_onednn_forward(qn_cpu *cpu, const qn_linear_forward_args *a) {
    const qn_packed *packed = a->weight.packed;
    size_t rows = qn_round_up(a->rows, QN_NARROW_ROWS), in = a->weight.in, groups = qn_narrow_groups(packed->onednn);
    size_t room = qn_byte_rows_room(rows);
    size_t floats = room + (rows * source_bytes(packed, in) + sizeof(float) - 1) / sizeof(float);
    float *shared = qn_cpu_shared_scratch(cpu, floats);
    if (!shared || !qn_cpu_worker_scratch(cpu, (QN_NARROW_ROWS + 1) * QN_NARROW_COLUMNS +
                                                   qn_narrow_scratch(packed->onednn) / sizeof(float) + 16))
        return;
    narrow_job job = {cpu, a, packed, (unsigned char *)(shared + room), (qn_byte_row *)(void *)shared};
    qn_cpu_ranges(cpu, rows, 16, narrow_rows, &job);
    qn_threads_run(cpu->threads, rows / QN_NARROW_ROWS * groups, narrow_task, &job);
}
