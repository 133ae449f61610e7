// Weights in groups (see qn_group_gemm): packing, and products with them. Each is read once for all rows of a product,
// so that few rows cost what memory gives: a quarter (8 bits) or a seventh (4 bits) of float32's time.
#include "backend/cpu/cpu.h"
#include "base/half.h"
#include "base/memory.h"
#include <string.h>

static size_t groups_of(const qn_packed *weight) {
    return (weight->in + QN_GROUP - 1) / QN_GROUP;
}

size_t qn_cpu_group_words(size_t in) {
    return qn_group_row((in + QN_GROUP - 1) / QN_GROUP) / sizeof(qn_word);
}

typedef struct {
    qn_packed *weight;
    const qn_pack_args *a;
} pack_job;

// Number `i` of those behind a group's q.
static void put_number(qn_compute form, uint8_t *at, size_t i, float value) {
    uint16_t half = qn_f32_to_f16(value);
    if (qn_group_fine(form))
        memcpy(at + i * sizeof value, &value, sizeof value);
    else
        memcpy(at + i * sizeof half, &half, sizeof half);
}

// One output into its lane of a panel: q [groups * 32], scales and minima.
static void put_lane(const qn_packed *weight, uint8_t *panel, size_t lane, const int8_t *q, const float *scale,
                     const float *minimum) {
    qn_compute form = weight->compute;
    bool four = qn_group_four(form);
    size_t bytes = qn_group_panel(1, form), scales = QN_GROUP / qn_scale_width(form);
    for (size_t g = 0; g < groups_of(weight); g++, panel += bytes, q += QN_GROUP) {
        uint8_t *numbers = panel + qn_group_quants(form);
        for (size_t p = 0; p < QN_GROUP; p++) {
            uint8_t *at = panel + (four ? p % 16 : p) / 4 * 4 * QN_GROUP_PANEL + lane * 4 + p % 4;
            if (!four)
                *at = (uint8_t)(q[p] == INT8_MIN ? -INT8_MAX : q[p]);
            else
                *at = (uint8_t)(p < 16 ? (*at & 0xf0) | (q[p] & 15) : (*at & 15) | (q[p] & 15) << 4);
        }
        for (size_t s = 0; s < scales; s++) put_number(form, numbers, s * QN_GROUP_PANEL + lane, scale[g * scales + s]);
        if (form != QN_DTYPE_Q8) put_number(form, numbers, scales * QN_GROUP_PANEL + lane, minimum[g]);
    }
}

static void pack_panels(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    const pack_job *job = arguments;
    const qn_packed *weight = job->weight;
    size_t groups = groups_of(weight), panel = qn_group_panel(groups, weight->compute);
    float *scale = cpu->per_worker[worker].memory, *minimum = scale + 2 * groups;
    int8_t *q = (int8_t *)(minimum + groups);
    for (size_t i = first; i < last; i++) {
        uint8_t *to = (uint8_t *)(void *)weight->panels + i * panel;
        memset(to, 0, panel);
        for (size_t lane = 0; lane < QN_GROUP_PANEL; lane++) {
            size_t output = i * QN_GROUP_PANEL + lane;
            if (output >= weight->out) break;
            memset(q, 0, groups * QN_GROUP);
            if (job->a->grouped)
                job->a->grouped->read(job->a->grouped->user, output, q, scale, minimum);
            else
                qn_groups_quantize(weight->in, job->a->weight + output * weight->in, weight->compute == QN_DTYPE_Q4, q,
                                   scale, minimum);
            put_lane(weight, to, lane, q, scale, minimum);
        }
    }
}

qn_status qn_cpu_pack_groups(qn_cpu *cpu, qn_packed *weight, const qn_pack_args *a) {
    size_t groups = groups_of(weight), panels = (weight->out + QN_GROUP_PANEL - 1) / QN_GROUP_PANEL;
    weight->panels = qn_aligned_alloc(panels * qn_group_panel(groups, weight->compute));
    if (!weight->panels) return QN_ERROR_MEMORY;
    if (!qn_cpu_worker_scratch(cpu, groups * (3 + QN_GROUP / sizeof(float)))) return cpu->base.status;
    qn_cpu_ranges(cpu, panels, 1, pack_panels, &(pack_job){weight, a});
    return QN_OK;
}

void qn_cpu_multiply_groups(const qn_cpu *cpu, const qn_product *p) {
    const qn_packed *weight = p->weight;
    size_t groups = groups_of(weight), out = weight->out;
    float *y = p->y + p->first;
    const uint8_t *panels = (const uint8_t *)(const void *)weight->panels;
    cpu->kernels->gemm_groups(
        &(qn_group_gemm){.m = p->rows,
                         .n = p->columns,
                         .groups = groups,
                         .a = (const int8_t *)(const void *)p->x.words,
                         .b = panels + p->first / QN_GROUP_PANEL * qn_group_panel(groups, weight->compute),
                         .form = weight->compute,
                         .c = y,
                         .c_row = out});
    if (!p->bias && p->activation == QN_ACTIVATION_NONE && !p->pre) return;
    const float *bias = p->bias ? p->bias + p->first : NULL;
    for (size_t i = 0; i < p->rows; i++) {
        if (p->pre)
            cpu->kernels->finish(QN_ACTIVATION_NONE, p->columns, y + i * out, bias, p->pre + i * out + p->first);
        cpu->kernels->finish(p->activation, p->columns, y + i * out, bias, y + i * out);
    }
}
