// Products with weights in groups.
#include "backend/cpu/ref/ref.h"
#include "base/half.h"
#include <math.h>
#include <string.h>

// Number i behind a group's q.
static float number_at(const uint8_t *at, size_t i, bool fine) {
    uint16_t half;
    float value;
    memcpy(&half, at + i * sizeof half, sizeof half);
    if (!fine) return qn_f16_to_f32(half);
    memcpy(&value, at + i * sizeof value, sizeof value);
    return value;
}

// q of one output of a group at input p.
static int32_t weight_at(const uint8_t *group, bool four, size_t output, size_t p) {
    if (!four) return (int8_t)group[p / 4 * 4 * QN_GROUP_PANEL + output * 4 + p % 4];
    uint8_t byte = group[p % 16 / 4 * 4 * QN_GROUP_PANEL + output * 4 + p % 4];
    return p < 16 ? byte & 15 : byte >> 4;
}

void qn_ref_gemm_groups(const qn_group_gemm *g) {
    size_t row = qn_group_row(g->groups), panel = qn_group_panel(g->groups, g->form), bytes = panel / g->groups;
    const bool four = qn_group_four(g->form), fine = qn_group_fine(g->form);
    const size_t width = qn_scale_width(g->form);
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            const int8_t *a = g->a + i * row;
            float total = 0;
            for (size_t k = 0; k < g->groups; k++) {
                const uint8_t *b = g->b + j / QN_GROUP_PANEL * panel + k * bytes;
                const uint8_t *numbers = b + qn_group_quants(g->form);
                size_t at = j % QN_GROUP_PANEL;
                int32_t of_row;
                float scale;
                memcpy(&scale, a + g->groups * QN_GROUP + k * sizeof scale, sizeof scale);
                memcpy(&of_row, a + g->groups * (QN_GROUP + sizeof scale) + k * sizeof of_row, sizeof of_row);
                for (size_t first = 0; first < QN_GROUP; first += width, at += QN_GROUP_PANEL) {
                    int32_t sum = 0;
                    for (size_t p = first; p < first + width; p++)
                        sum += a[k * QN_GROUP + p] * weight_at(b, four, j % QN_GROUP_PANEL, p);
                    total = fmaf((float)sum * number_at(numbers, at, fine), scale, total);
                }
                if (g->form != QN_DTYPE_Q8) total = fmaf(number_at(numbers, at, fine), scale * (float)of_row, total);
            }
            g->c[i * g->c_row + j] = total;
        }
}

void qn_ref_quantize_groups(size_t n, const float *x, int8_t *row) {
    size_t groups = (n + QN_GROUP - 1) / QN_GROUP;
    for (size_t k = 0; k < groups; k++) {
        const float *from = x + k * QN_GROUP;
        size_t count = n - k * QN_GROUP < QN_GROUP ? n - k * QN_GROUP : QN_GROUP;
        float top = 0;
        int32_t sum = 0;
        for (size_t p = 0; p < count; p++) top = fmaxf(top, fabsf(from[p]));
        float scale = top / 127, inverse = top > 1e-30f ? 127 / top : 0;
        for (size_t p = 0; p < QN_GROUP; p++) {
            int8_t q = p < count ? (int8_t)rintf(from[p] * inverse) : 0;
            row[k * QN_GROUP + p] = q;
            sum += q;
        }
        memcpy(row + groups * QN_GROUP + k * sizeof scale, &scale, sizeof scale);
        memcpy(row + groups * (QN_GROUP + sizeof scale) + k * sizeof sum, &sum, sizeof sum);
    }
}
