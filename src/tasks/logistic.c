// L-BFGS (Nocedal & Wright 2006, algorithm 7.4) on a loss that is convex, with a line search that halves the step until
// the loss falls enough (Armijo).
#include "tasks/logistic.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY = 10, MOST_STEPS = 1000, MOST_HALVINGS = 40 };
static const double ENOUGH = 1e-4, SMALL_GRADIENT = 1e-6; // of the mean over the rows, the largest element

typedef struct {
    const qn_logistic *p;
    size_t size;                                               // classes (width + 1): W, then b
    double *at, *next;                                         // [size] where we stand, and try
    double *gradient, *gradient2;                              // [size]
    double *direction;                                         // [size]
    double *logits;                                            // [classes]
    double *moved[MEMORY], *turned[MEMORY], curvature[MEMORY]; // s, y [size], 1 / s.y of the last steps
    size_t kept;                                               // steps so far that are remembered, in a ring
} fit;

static double dot(size_t n, const double *a, const double *b) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// The loss and its gradient, both divided by the number of rows.
static double loss_at(const fit *f, const double *w, double *gradient) {
    const qn_logistic *p = f->p;
    size_t d = p->width, weights = p->classes * d;
    double loss = dot(weights, w, w) / (2 * p->inverse_strength);
    for (size_t k = 0; k < weights; k++) gradient[k] = w[k] / p->inverse_strength;
    memset(gradient + weights, 0, p->classes * sizeof *gradient);
    for (size_t i = 0; i < p->rows; i++) {
        const float *x = p->x + i * d;
        double most = -INFINITY, sum = 0;
        for (size_t c = 0; c < p->classes; c++) {
            double z = w[weights + c];
            for (size_t k = 0; k < d; k++) z += w[c * d + k] * x[k];
            f->logits[c] = z;
            most = fmax(most, z);
        }
        for (size_t c = 0; c < p->classes; c++) sum += exp(f->logits[c] - most);
        loss += log(sum) + most - f->logits[p->targets[i]];
        for (size_t c = 0; c < p->classes; c++) {
            double error = exp(f->logits[c] - most) / sum - ((size_t)p->targets[i] == c);
            for (size_t k = 0; k < d; k++) gradient[c * d + k] += error * x[k];
            gradient[weights + c] += error;
        }
    }
    double rows = (double)p->rows;
    for (size_t k = 0; k < f->size; k++) gradient[k] /= rows;
    return loss / rows;
}

// direction = -H gradient, H the inverse of the curvature that the last steps saw.
static void choose_direction(fit *f) {
    double alpha[MEMORY], *q = f->direction;
    size_t first = f->kept > MEMORY ? f->kept - MEMORY : 0;
    for (size_t k = 0; k < f->size; k++) q[k] = -f->gradient[k];
    for (size_t i = f->kept; i-- > first;) {
        size_t s = i % MEMORY;
        alpha[s] = f->curvature[s] * dot(f->size, f->moved[s], q);
        for (size_t k = 0; k < f->size; k++) q[k] -= alpha[s] * f->turned[s][k];
    }
    if (f->kept) {
        size_t s = (f->kept - 1) % MEMORY;
        double scale = 1 / (f->curvature[s] * dot(f->size, f->turned[s], f->turned[s]));
        for (size_t k = 0; k < f->size; k++) q[k] *= scale;
    }
    for (size_t i = first; i < f->kept; i++) {
        size_t s = i % MEMORY;
        double beta = f->curvature[s] * dot(f->size, f->turned[s], q);
        for (size_t k = 0; k < f->size; k++) q[k] += (alpha[s] - beta) * f->moved[s][k];
    }
}

static void remember(fit *f) {
    size_t s = f->kept % MEMORY;
    for (size_t k = 0; k < f->size; k++) {
        f->moved[s][k] = f->next[k] - f->at[k];
        f->turned[s][k] = f->gradient2[k] - f->gradient[k];
    }
    double curvature = dot(f->size, f->moved[s], f->turned[s]);
    if (curvature <= 0) return; // no step of use: rounding
    f->curvature[s] = 1 / curvature;
    f->kept++;
}

static void swap(double **a, double **b) {
    double *x = *a;
    *a = *b;
    *b = x;
}

static void minimize(fit *f) {
    double loss = loss_at(f, f->at, f->gradient);
    for (int step = 0; step < MOST_STEPS; step++) {
        double largest = 0, length = 1;
        for (size_t k = 0; k < f->size; k++) largest = fmax(largest, fabs(f->gradient[k]));
        if (largest <= SMALL_GRADIENT) return;
        choose_direction(f);
        double slope = dot(f->size, f->gradient, f->direction), value = INFINITY;
        for (int tries = 0; tries < MOST_HALVINGS; tries++, length /= 2) {
            for (size_t k = 0; k < f->size; k++) f->next[k] = f->at[k] + length * f->direction[k];
            value = loss_at(f, f->next, f->gradient2);
            if (value <= loss + ENOUGH * length * slope) break;
        }
        if (!(value < loss)) return; // at the limit of precision
        remember(f);
        swap(&f->at, &f->next);
        swap(&f->gradient, &f->gradient2);
        loss = value;
    }
}

qn_status qn_logistic_fit(const qn_logistic *p, float *weight, float *bias) {
    enum { VECTORS = 5 + 2 * MEMORY };
    fit f = {.p = p, .size = p->classes * (p->width + 1)};
    double **const vectors[] = {&f.at, &f.next, &f.gradient, &f.gradient2, &f.direction};
    double *memory = qn_calloc(f.size, VECTORS * sizeof *memory);
    f.logits = qn_calloc(p->classes, sizeof *f.logits);
    if (!memory || !f.logits) {
        free(memory);
        free(f.logits);
        return QN_ERROR_MEMORY;
    }
    for (size_t i = 0; i < 5; i++) *vectors[i] = memory + i * f.size;
    for (size_t i = 0; i < MEMORY; i++) {
        f.moved[i] = memory + (5 + 2 * i) * f.size;
        f.turned[i] = f.moved[i] + f.size;
    }
    minimize(&f);
    for (size_t k = 0; k < p->classes * p->width; k++) weight[k] = (float)f.at[k];
    for (size_t c = 0; c < p->classes; c++) bias[c] = (float)f.at[p->classes * p->width + c];
    free(memory);
    free(f.logits);
    return QN_OK;
}
