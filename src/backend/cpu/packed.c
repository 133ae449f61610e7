// Weights in the form that products read, and rows of activations in the same dtype.
//   float32: panels of the weight itself.
//   bf16:    rows of words of two bf16, the last filled up with 0; panels of words.
//   int8:    w ~ q scale with q in -127 .. 127, one scale per output; x ~ (u - zero) scale with u in 0 .. 255, by rows;
//            exact channels beside them.
//   q8, q4:  groups.c
#include "backend/cpu/cpu.h"
#include "backend/cpu/onednn.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t qn_packed_words(const qn_cpu *cpu, const qn_packed *weight) {
    return qn_round_up(weight->out, cpu->kernels->panel_width) * weight->words;
}

typedef struct {
    qn_cpu *cpu;
    qn_packed *weight;
    const qn_pack_args *a;
    size_t block; // columns of a task
    int8_t *rows; // [out, in] quantized for oneDNN
} pack_job;

// One output of a weight: q [in], and what stands beside it.
static void take_column(const pack_job *job, size_t column, int8_t *q) {
    const qn_packed *weight = job->weight;
    const qn_pack_args *a = job->a;
    size_t in = weight->in, out = weight->out;
    float *scale = weight->column_memory, *exact = scale + 2 * out;
    int32_t *sums = (int32_t *)(void *)(scale + out), sum = 0;
    if (a->quantized) {
        memcpy(q, a->quantized->q + column * in, in);
        scale[column] = a->quantized->scale[column];
    } else {
        scale[column] = qn_int8_quantize(in, a->weight + column * in, &weight->exact, q);
    }
    for (size_t i = 0; i < in; i++) sum += q[i];
    sums[column] = sum;
    for (size_t e = 0; e < weight->exact.count; e++) {
        size_t at = e * out + column;
        exact[at] = a->quantized ? a->quantized->column[at] : a->weight[column * in + weight->exact.channel[e]];
    }
}

static void pack_task(void *context, size_t index, int worker) {
    const pack_job *job = context;
    qn_packed *weight = job->weight;
    size_t first = index * job->block, columns = weight->out - first, words = weight->words;
    if (columns > job->block) columns = job->block;
    const qn_word *rows = weight->compute == QN_DTYPE_F32 ? job->a->weight + first * weight->in : NULL;
    if (weight->compute != QN_DTYPE_F32) {
        float *narrow = job->cpu->per_worker[worker].memory;
        for (size_t i = 0; i < columns; i++) {
            float *row = narrow + i * words;
            row[words - 1] = 0;
            if (weight->compute == QN_DTYPE_BF16)
                job->cpu->kernels->to_bf16(weight->in, job->a->weight + (first + i) * weight->in,
                                           (uint16_t *)(void *)row);
            else
                take_column(job, first + i, (int8_t *)(void *)row);
        }
        rows = narrow;
    }
    job->cpu->kernels->pack(columns, words, rows, words, weight->panels + first * words);
}

static void pack_panels(qn_cpu *cpu, qn_packed *weight, const qn_pack_args *a) {
    pack_job job = {cpu, weight, a, 2 * cpu->kernels->panel_width, NULL};
    if (weight->compute != QN_DTYPE_F32 && !qn_cpu_worker_scratch(cpu, job.block * weight->words)) return;
    qn_threads_run(cpu->threads, (weight->out + job.block - 1) / job.block, pack_task, &job);
}

void qn_cpu_pack_panels(qn_cpu *cpu, qn_packed *weight, const float *values) {
    pack_panels(cpu, weight, &(qn_pack_args){.weight = values});
}

static void take_columns(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const pack_job *job = arguments;
    for (size_t i = first; i < last; i++) take_column(job, i, job->rows + i * job->weight->in);
}

static qn_status pack_onednn(qn_cpu *cpu, qn_packed *weight, const qn_pack_args *a) {
    pack_job job = {.cpu = cpu, .weight = weight, .a = a};
    if (weight->compute == QN_DTYPE_INT8) {
        job.rows = qn_malloc(weight->out, weight->in);
        if (!job.rows) return QN_ERROR_MEMORY;
        qn_cpu_ranges(cpu, weight->out, 32, take_columns, &job);
    }
    const void *values = job.rows ? (const void *)job.rows : a->weight;
    qn_status status = qn_narrow_create(values, weight->out, weight->in, weight->compute,
                                        qn_threads_count(cpu->threads), &weight->onednn);
    free(job.rows);
    return status;
}

// oneDNN's products use the tiles of AMX, which Quern's own kernels do not. QUERN_ONEDNN=1 takes them on any CPU that
// has the dtype, for tests and comparisons.
static bool wants_onednn(qn_compute compute) {
    const char *forced = getenv("QUERN_ONEDNN");
    return (compute == QN_DTYPE_BF16 || compute == QN_DTYPE_INT8) &&
           ((forced && strcmp(forced, "1") == 0) || qn_cpu_has_amx());
}

bool qn_cpu_computes(const qn_backend *b, qn_compute compute) {
    const qn_kernels *k = ((const qn_cpu *)b)->kernels;
    return compute == QN_DTYPE_F32 || qn_in_groups(compute) ||
           (compute == QN_DTYPE_BF16 ? k->gemm_bf16 : k->gemm_int8) != NULL;
}

static qn_status check_dtype(const qn_cpu *cpu, qn_compute compute) {
    if (qn_cpu_computes(&cpu->base, compute)) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s has no %s: its products would be slower than those of float32",
                   cpu->kernels->name, compute == QN_DTYPE_BF16 ? "bf16 (AVX512_BF16)" : "int8 (AVX512_VNNI)");
}

static qn_status make_columns(qn_packed *weight) {
    size_t out = weight->out, count = weight->exact.count;
    float *memory = weight->column_memory = qn_malloc(out * (2 + count), sizeof *memory);
    if (!memory) return QN_ERROR_MEMORY;
    weight->columns = (qn_byte_columns){memory, (int32_t *)(void *)(memory + out), count, memory + 2 * out, out};
    return QN_OK;
}

static qn_status pack(qn_cpu *cpu, qn_packed *weight, const qn_pack_args *a) {
    QN_TRY(check_dtype(cpu, weight->compute));
    if (qn_in_groups(weight->compute)) return qn_cpu_pack_groups(cpu, weight, a);
    if (weight->compute == QN_DTYPE_INT8) QN_TRY(make_columns(weight));
    if (wants_onednn(weight->compute)) return pack_onednn(cpu, weight, a);
    weight->panels = qn_aligned_alloc(qn_packed_words(cpu, weight) * sizeof(qn_word));
    if (!weight->panels) return QN_ERROR_MEMORY;
    pack_panels(cpu, weight, a);
    return cpu->base.status;
}

void *qn_cpu_pack(qn_backend *b, const qn_pack_args *a) {
    static const size_t values_per_word[] = {[QN_DTYPE_F32] = 1, [QN_DTYPE_BF16] = 2, [QN_DTYPE_INT8] = 4};
    qn_packed *weight = qn_calloc(1, sizeof *weight);
    if (!weight) return NULL;
    *weight = (qn_packed){.compute = a->compute, .out = a->out, .in = a->in};
    weight->words = qn_in_groups(a->compute) ? qn_cpu_group_words(a->in)
                                             : (a->in + values_per_word[a->compute] - 1) / values_per_word[a->compute];
    if (a->compute == QN_DTYPE_INT8) weight->exact = a->quantized ? a->quantized->exact : a->exact;
    if (pack(qn_cpu_of(b), weight, a) == QN_OK) return weight;
    qn_cpu_unpack(b, weight);
    return NULL;
}

void qn_cpu_unpack(qn_backend *b, void *memory) {
    (void)b;
    qn_packed *weight = memory;
    qn_aligned_free(weight->panels);
    free(weight->column_memory);
    qn_narrow_free(weight->onednn);
    free(weight);
}

void qn_cpu_narrow(const qn_cpu *cpu, const qn_packed *weight, size_t rows, const float *x, qn_word *words,
                   qn_byte_row *bytes) {
    for (size_t r = 0; r < rows; r++) {
        qn_word *row = words + r * weight->words;
        row[weight->words - 1] = 0;
        if (qn_in_groups(weight->compute))
            cpu->kernels->quantize_groups(weight->in, x + r * weight->in, (int8_t *)(void *)row);
        else if (weight->compute == QN_DTYPE_BF16)
            cpu->kernels->to_bf16(weight->in, x + r * weight->in, (uint16_t *)(void *)row);
        else
            cpu->kernels->quantize(weight->in, x + r * weight->in, &weight->exact, (uint8_t *)(void *)row, bytes + r);
    }
}

void qn_cpu_multiply(const qn_cpu *cpu, const qn_product *p) {
    const qn_kernels *k = cpu->kernels;
    const qn_packed *weight = p->weight;
    if (qn_in_groups(weight->compute)) {
        qn_cpu_multiply_groups(cpu, p);
        return;
    }
    void (*const gemm[])(const qn_gemm *) = {
        [QN_DTYPE_F32] = k->gemm, [QN_DTYPE_BF16] = k->gemm_bf16, [QN_DTYPE_INT8] = k->gemm_int8};
    gemm[weight->compute](&(qn_gemm){
        .m = p->rows,
        .n = p->columns,
        .k = weight->words,
        .a = p->x.words,
        .a_row = p->x.row,
        .a_step = 1,
        .b = weight->panels + p->first * weight->words,
        .b_row = k->panel_width,
        .b_panel = weight->words * k->panel_width,
        .b_packed = true,
        .c = p->y ? p->y + p->first : NULL,
        .c_row = weight->out,
        .bias = p->bias ? p->bias + p->first : NULL,
        .activation = p->activation,
        .pre = p->pre ? p->pre + p->first : NULL,
        .pre_narrow = p->pre_narrow ? p->pre_narrow + p->first : NULL,
        .narrow = p->narrow ? p->narrow + p->first : NULL,
        .bytes = p->x.bytes,
        .columns = qn_byte_columns_from(weight->columns, p->first),
    });
}
