// Matrix products in plain C, one element after the other: the meaning of gemm, gemm_bf16, gemm_int8 and pack.
#include "backend/cpu/ref/ref.h"
#include "base/half.h"
#include <math.h>
#include <string.h>

enum { WIDTH = QN_REF_PANEL_WIDTH };

static const qn_word *left(const qn_gemm *g, size_t i, size_t p) {
    return g->a + i * g->a_row + p * g->a_step;
}

static const qn_word *right(const qn_gemm *g, size_t p, size_t j) {
    return g->b + j / WIDTH * g->b_panel + p * g->b_row + j % WIDTH;
}

static void finish(const qn_gemm *g, size_t i, size_t j, float sum) {
    size_t at = i * g->c_row + j;
    if (g->bias) sum += g->bias[j];
    if (g->pre) g->pre[at] = sum;
    if (g->pre_narrow) {
        qn_ref_to_bf16(1, &sum, g->pre_narrow + at);
        qn_ref_from_bf16(1, g->pre_narrow + at, &sum);
    }
    qn_ref_activation_forward(g->activation, 1, &sum, &sum);
    if (g->narrow)
        qn_ref_to_bf16(1, &sum, g->narrow + at);
    else
        g->c[at] = sum;
}

void qn_ref_gemm(const qn_gemm *g) {
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            float sum = g->accumulate ? g->c[i * g->c_row + j] : 0.0f;
            for (size_t p = 0; p < g->k; p++) sum = fmaf(*left(g, i, p), *right(g, p, j), sum);
            finish(g, i, j, sum);
        }
}

void qn_ref_gemm_bf16(const qn_gemm *g) {
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            float sum = g->accumulate ? g->c[i * g->c_row + j] : 0.0f;
            for (size_t p = 0; p < g->k; p++) {
                uint16_t a[2], b[2];
                memcpy(a, left(g, i, p), sizeof a);
                memcpy(b, right(g, p, j), sizeof b);
                for (int l = 0; l < 2; l++) sum = fmaf(qn_bf16_to_f32(a[l]), qn_bf16_to_f32(b[l]), sum);
            }
            finish(g, i, j, sum);
        }
}

void qn_ref_gemm_int8(const qn_gemm *g) {
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            int32_t sum = 0;
            for (size_t p = 0; p < g->k; p++) {
                uint8_t a[4];
                int8_t b[4];
                memcpy(a, left(g, i, p), sizeof a);
                memcpy(b, right(g, p, j), sizeof b);
                for (int l = 0; l < 4; l++) sum += a[l] * b[l];
            }
            float y;
            const qn_byte_columns column = qn_byte_columns_from(g->columns, j);
            qn_ref_dequantize(1, &sum, g->bytes + i, &column, &y);
            finish(g, i, j, y);
        }
}

void qn_ref_pack(size_t n, size_t k, const qn_word *w, size_t row, qn_word *panels) {
    for (size_t first = 0; first < n; first += WIDTH)
        for (size_t p = 0; p < k; p++)
            for (size_t j = first; j < first + WIDTH; j++) *panels++ = j < n ? w[j * row + p] : 0.0f;
}
