// Scores of the first row of a group with each other row: the dot product, or the Euclidean distance (gradient 0 where
// it is 0).
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { GROUPS = 16 };

static void forward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_group_scores_args *a = arguments;
    for (size_t i = first; i < last; i++) {
        const float *x = a->x + i * a->width * a->d;
        float *y = a->y + i * (a->width - 1);
        for (size_t k = 1; k < a->width; k++) {
            const float *other = x + k * a->d;
            if (!a->distance) {
                y[k - 1] = cpu->kernels->dot(a->d, x, other);
                continue;
            }
            double sum = 0;
            for (size_t e = 0; e < a->d; e++) sum += ((double)x[e] - other[e]) * ((double)x[e] - other[e]);
            y[k - 1] = (float)sqrt(sum);
        }
    }
}

void qn_cpu_group_scores_forward(qn_backend *b, const qn_group_scores_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->groups, GROUPS, forward, a);
}

// Dot: dx_0 += dy x_k, dx_k += dy x_0. Distance D: dx_0 += dy (x_0 - x_k) / D, dx_k the opposite.
static void backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_group_scores_args *a = arguments;
    const qn_kernels *kernels = cpu->kernels;
    size_t d = a->d;
    for (size_t i = first; i < last; i++) {
        const float *x = a->x + i * a->width * d, *dy = a->dy + i * (a->width - 1), *y = a->y + i * (a->width - 1);
        float *dx = a->dx + i * a->width * d;
        if (!a->accumulate) memset(dx, 0, a->width * d * sizeof *dx);
        for (size_t k = 1; k < a->width; k++) {
            float factor = a->distance ? (y[k - 1] > 0 ? dy[k - 1] / y[k - 1] : 0) : dy[k - 1];
            kernels->axpy(d, a->distance ? -factor : factor, x + k * d, dx);
            kernels->axpy(d, a->distance ? -factor : factor, x, dx + k * d);
            if (!a->distance) continue;
            kernels->axpy(d, factor, x, dx);
            kernels->axpy(d, factor, x + k * d, dx + k * d);
        }
    }
}

void qn_cpu_group_scores_backward(qn_backend *b, const qn_group_scores_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->groups, GROUPS, backward, a);
}
