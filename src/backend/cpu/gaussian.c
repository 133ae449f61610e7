// Normal variables whose means and variances a network computes: drawing from them (Kingma & Welling 2013, section
// 2.4), and their distance from standard normal ones (appendix B). With m, v the columns of a row x = [m, v], v = log
// sigma^2, and e ~ N(0, 1):
//   y = m + exp(v / 2) e;  dm = dy,  dv = dy exp(v / 2) e / 2
//   KL = sum over columns of (m^2 + exp(v) - v - 1) / 2;  dm = m,  dv = (exp(v) - 1) / 2
#include "backend/cpu/cpu.h"
#include "base/rng.h"
#include <math.h>

enum { ROWS = 16 };

// exp(v / 2) e of row r: the noise of an element is a function of its place alone.
static double deviation(const qn_gaussian_args *a, size_t r, size_t k) {
    qn_rng rng = {a->seed, a->stream, (uint64_t)r * a->n + k};
    return exp(0.5 * (double)a->x[(2 * r + 1) * a->n + k]) * qn_rng_normal(&rng);
}

static void forward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const qn_gaussian_args *a = arguments;
    for (size_t r = first; r < last; r++)
        for (size_t k = 0; k < a->n; k++)
            a->y[r * a->n + k] = (float)((double)a->x[2 * r * a->n + k] + deviation(a, r, k));
}

static void backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const qn_gaussian_args *a = arguments;
    for (size_t r = first; r < last; r++) {
        const float *dy = a->dy + r * a->n;
        float *dm = a->dx + 2 * r * a->n, *dv = dm + a->n;
        for (size_t k = 0; k < a->n; k++) {
            float v = (float)(0.5 * (double)dy[k] * deviation(a, r, k));
            dm[k] = a->accumulate ? dm[k] + dy[k] : dy[k];
            dv[k] = a->accumulate ? dv[k] + v : v;
        }
    }
}

void qn_cpu_gaussian_forward(qn_backend *b, const qn_gaussian_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->rows, ROWS, forward, a);
}

void qn_cpu_gaussian_backward(qn_backend *b, const qn_gaussian_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->rows, ROWS, backward, a);
}

// A few numbers per row are little work beside the product that made them: one thread does it.
void qn_cpu_gaussian_divergence(qn_backend *b, const qn_gaussian_divergence_args *a) {
    (void)b;
    double sum = 0, factor = a->weight / a->divisor;
    for (size_t r = 0; r < a->rows; r++) {
        const float *m = a->x + 2 * r * a->n, *v = m + a->n;
        float *dm = a->dx ? a->dx + 2 * r * a->n : NULL, *dv = dm ? dm + a->n : NULL;
        for (size_t k = 0; k < a->n; k++) {
            double mean = m[k], log_variance = v[k], above = expm1(log_variance); // exact where the variance is near 1
            sum += 0.5 * (mean * mean + above - log_variance);
            if (!dm) continue;
            dm[k] = (float)(factor * mean);
            dv[k] = (float)(factor * 0.5 * above);
        }
    }
    *a->loss = sum / a->divisor;
}
