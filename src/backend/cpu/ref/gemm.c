// Matrix product in plain C, one element after the other: the meaning of `gemm` and `pack`.
#include "backend/cpu/ref/ref.h"
#include <math.h>

enum { WIDTH = QN_REF_PANEL_WIDTH };

void qn_ref_gemm(const qn_gemm *g) {
    for (size_t i = 0; i < g->m; i++) {
        float *c = g->c + i * g->c_row;
        for (size_t j = 0; j < g->n; j++) {
            const float *b = g->b + j / WIDTH * g->b_panel + j % WIDTH;
            float sum = g->accumulate ? c[j] : 0.0f;
            for (size_t p = 0; p < g->k; p++) sum = fmaf(g->a[i * g->a_row + p * g->a_step], b[p * g->b_row], sum);
            if (g->bias) sum += g->bias[j];
            if (g->pre) g->pre[i * g->c_row + j] = sum;
            c[j] = sum;
        }
        if (g->activation != QN_ACTIVATION_NONE) qn_ref_activation_forward(g->activation, g->n, c, c);
    }
}

void qn_ref_pack(size_t n, size_t k, const float *w, size_t row, float *panels) {
    for (size_t first = 0; first < n; first += WIDTH)
        for (size_t p = 0; p < k; p++)
            for (size_t j = first; j < first + WIDTH; j++) *panels++ = j < n ? w[j * row + p] : 0.0f;
}
