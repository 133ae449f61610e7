// The eigenvectors of the covariance with the two largest eigenvalues, by orthogonal iteration (Golub & Van Loan,
// "Matrix Computations", section 7.3.2): V <- orthonormal columns of C V.
#include "metrics/projection.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROUNDS = 1000 };

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// c [d, d] of x [rows, d]; mean [d] is written.
static void covariance(const float *x, size_t rows, size_t d, double *mean, double *c) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < d; i++) mean[i] += (double)x[r * d + i] / (double)rows;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < d; i++) {
            double a = ((double)x[r * d + i] - mean[i]) / (double)rows;
            for (size_t j = 0; j < d; j++) c[i * d + j] += a * ((double)x[r * d + j] - mean[j]);
        }
}

// Length one; false where nothing is left.
static bool normalize(double *v, size_t d) {
    double length = sqrt(dot(v, v, d));
    for (size_t i = 0; i < d && length > 0; i++) v[i] /= length;
    return length > 0;
}

static void point_up(double *v, size_t d) {
    size_t largest = 0;
    for (size_t i = 1; i < d; i++)
        if (fabs(v[i]) > fabs(v[largest])) largest = i;
    for (size_t i = 0; v[largest] < 0 && i < d; i++) v[i] = -v[i];
    if (v[largest] < 0) v[largest] = -v[largest];
}

// v [2, d], next [2, d] scratch. The first two columns of the unit matrix are no general start, so all entries differ.
static void iterate(const double *c, size_t d, double *v, double *next) {
    for (size_t i = 0; i < d; i++) v[i] = 1 + 0.1 * sin((double)i), v[d + i] = cos(2.3 * (double)i);
    for (int round = 0; round < MOST_ROUNDS; round++) {
        double change = 0;
        for (int k = 0; k < 2; k++) {
            for (size_t i = 0; i < d; i++) next[(size_t)k * d + i] = dot(c + i * d, v + (size_t)k * d, d);
            for (int other = 0; other < k; other++) {
                double along = dot(next, next + d, d);
                for (size_t i = 0; i < d; i++) next[d + i] -= along * next[i];
            }
            if (!normalize(next + (size_t)k * d, d)) memset(next + (size_t)k * d, 0, d * sizeof *next);
            point_up(next + (size_t)k * d, d);
        }
        for (size_t i = 0; i < 2 * d; i++) change = fmax(change, fabs(next[i] - v[i]));
        memcpy(v, next, 2 * d * sizeof *v);
        if (change < 1e-9) break;
    }
}

qn_status qn_principal_plane(const float *x, size_t rows, size_t d, float *points, double share[2]) {
    double *c = qn_calloc(d, d * sizeof *c), *mean = qn_calloc(d, sizeof *mean), *v = qn_calloc(4 * d, sizeof *v);
    double total = 0;
    share[0] = share[1] = 0;
    if (c && mean && v) {
        covariance(x, rows, d, mean, c);
        iterate(c, d, v, v + 2 * d);
        for (size_t i = 0; i < d; i++) total += c[i * d + i];
        for (int k = 0; k < 2; k++) {
            const double *axis = v + (size_t)k * d;
            double variance = 0;
            for (size_t r = 0; r < rows; r++) {
                double at = 0;
                for (size_t i = 0; i < d; i++) at += axis[i] * ((double)x[r * d + i] - mean[i]);
                points[2 * r + (size_t)k] = (float)at;
                variance += at * at / (double)rows;
            }
            share[k] = total > 0 ? variance / total : 0;
        }
    }
    qn_status status = c && mean && v ? QN_OK : QN_ERROR_MEMORY;
    free(c);
    free(mean);
    free(v);
    return status;
}
