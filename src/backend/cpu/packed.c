// Weights in the form that products read, and rows of activations in the same dtype.
//   float32: panels of the weight itself.
//   bf16:    rows of words of two bf16, the last filled up with 0; panels of words.
//   int8:    w ~ q scale with q in -127 .. 127, one scale per output; x ~ (u - zero) scale with u in 0 .. 255, by rows.
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
    const float *values; // [out, in]
    size_t block;        // columns of a task
} pack_job;

// Weights symmetric per output: the largest becomes 127.
static void quantize_weights(qn_packed *weight, size_t column, const float *values, int8_t *q) {
    float top = 0;
    int32_t sum = 0;
    for (size_t i = 0; i < weight->in; i++) top = fmaxf(top, fabsf(values[i]));
    float inverse = top > 0 ? 127 / top : 0;
    for (size_t i = 0; i < weight->in; i++) {
        q[i] = (int8_t)lrintf(values[i] * inverse);
        sum += q[i];
    }
    weight->column_scale[column] = top / 127;
    weight->column_sum[column] = sum;
}

static void pack_task(void *context, size_t index, int worker) {
    const pack_job *job = context;
    qn_packed *weight = job->weight;
    size_t first = index * job->block, columns = weight->out - first, words = weight->words;
    if (columns > job->block) columns = job->block;
    const qn_word *rows = job->values + first * weight->in;
    if (weight->compute != QN_DTYPE_F32) {
        float *narrow = job->cpu->per_worker[worker].memory;
        for (size_t i = 0; i < columns; i++) {
            const float *values = job->values + (first + i) * weight->in;
            float *row = narrow + i * words;
            row[words - 1] = 0;
            if (weight->compute == QN_DTYPE_BF16)
                job->cpu->kernels->to_bf16(weight->in, values, (uint16_t *)(void *)row);
            else
                quantize_weights(weight, first + i, values, (int8_t *)(void *)row);
        }
        rows = narrow;
    }
    job->cpu->kernels->pack(columns, words, rows, words, weight->panels + first * words);
}

void qn_cpu_pack_panels(qn_cpu *cpu, qn_packed *weight, const float *values) {
    pack_job job = {cpu, weight, values, 2 * cpu->kernels->panel_width};
    if (weight->compute != QN_DTYPE_F32 && !qn_cpu_worker_scratch(cpu, job.block * weight->words)) return;
    qn_threads_run(cpu->threads, (weight->out + job.block - 1) / job.block, pack_task, &job);
}

// oneDNN's products use the tiles of AMX, which Quern's own kernels do not. QUERN_ONEDNN=1 takes them on any CPU that
// has the dtype, for tests and comparisons.
static bool wants_onednn(qn_compute compute) {
    const char *forced = getenv("QUERN_ONEDNN");
    return compute != QN_DTYPE_F32 && ((forced && strcmp(forced, "1") == 0) || qn_cpu_has_amx());
}

bool qn_cpu_computes(const qn_backend *b, qn_compute compute) {
    const qn_kernels *k = ((const qn_cpu *)b)->kernels;
    return compute == QN_DTYPE_F32 || (compute == QN_DTYPE_BF16 ? k->gemm_bf16 : k->gemm_int8) != NULL;
}

static qn_status check_dtype(const qn_cpu *cpu, qn_compute compute) {
    if (qn_cpu_computes(&cpu->base, compute)) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s has no %s: its products would be slower than those of float32",
                   cpu->kernels->name, compute == QN_DTYPE_BF16 ? "bf16 (AVX512_BF16)" : "int8 (AVX512_VNNI)");
}

static qn_status pack(qn_cpu *cpu, qn_packed *weight, const float *values) {
    QN_TRY(check_dtype(cpu, weight->compute));
    if (wants_onednn(weight->compute))
        return qn_narrow_create(values, weight->out, weight->in, weight->compute, qn_threads_count(cpu->threads),
                                &weight->onednn);
    weight->panels = qn_aligned_alloc(qn_packed_words(cpu, weight) * sizeof(qn_word));
    if (!weight->panels) return QN_ERROR_MEMORY;
    if (weight->compute == QN_DTYPE_INT8) {
        weight->column_scale = qn_malloc(weight->out, sizeof *weight->column_scale);
        weight->column_sum = qn_malloc(weight->out, sizeof *weight->column_sum);
        if (!weight->column_scale || !weight->column_sum) return QN_ERROR_MEMORY;
    }
    qn_cpu_pack_panels(cpu, weight, values);
    return cpu->base.status;
}

void *qn_cpu_pack(qn_backend *b, const float *values, size_t out, size_t in, qn_compute compute) {
    static const size_t values_per_word[] = {[QN_DTYPE_F32] = 1, [QN_DTYPE_BF16] = 2, [QN_DTYPE_INT8] = 4};
    qn_packed *weight = qn_calloc(1, sizeof *weight);
    if (!weight) return NULL;
    *weight = (qn_packed){.compute = compute, .out = out, .in = in};
    weight->words = (in + values_per_word[compute] - 1) / values_per_word[compute];
    if (pack(qn_cpu_of(b), weight, values) == QN_OK) return weight;
    qn_cpu_unpack(b, weight);
    return NULL;
}

void qn_cpu_unpack(qn_backend *b, void *memory) {
    (void)b;
    qn_packed *weight = memory;
    qn_aligned_free(weight->panels);
    free(weight->column_scale);
    free(weight->column_sum);
    qn_narrow_free(weight->onednn);
    free(weight);
}

void qn_cpu_narrow(const qn_cpu *cpu, const qn_packed *weight, size_t rows, const float *x, qn_word *words,
                   float *scale, int32_t *zero) {
    for (size_t r = 0; r < rows; r++) {
        qn_word *row = words + r * weight->words;
        row[weight->words - 1] = 0;
        if (weight->compute == QN_DTYPE_BF16)
            cpu->kernels->to_bf16(weight->in, x + r * weight->in, (uint16_t *)(void *)row);
        else
            cpu->kernels->quantize(weight->in, x + r * weight->in, (uint8_t *)(void *)row, scale + r, zero + r);
    }
}

void qn_cpu_multiply(const qn_cpu *cpu, const qn_product *p) {
    const qn_kernels *k = cpu->kernels;
    const qn_packed *weight = p->weight;
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
        .narrow = p->narrow ? p->narrow + p->first : NULL,
        .row_scale = p->x.scale,
        .row_zero = p->x.zero,
        .column_scale = weight->column_scale ? weight->column_scale + p->first : NULL,
        .column_sum = weight->column_sum ? weight->column_sum + p->first : NULL,
    });
}
