// Sums, maxima and multiples of arrays.
#include "backend/cpu/ref/ref.h"
#include <math.h>

float qn_ref_max(size_t n, const float *x) {
    float max = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i] > max || isnan(x[i])) max = x[i]; // nothing is larger than a NaN: it stays
    return max;
}

float qn_ref_exp_sum(size_t n, const float *x, float scale, float shift, float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        y[i] = expf(fmaf(scale, x[i], -shift));
        sum += y[i];
    }
    return (float)sum;
}

void qn_ref_softmax(size_t rows, size_t n, float scale, float *x, size_t row, float *lse, uint16_t *narrow,
                    size_t narrow_row) {
    for (size_t r = 0; r < rows; r++) {
        float *y = x + r * row, shift = qn_ref_max(n, y) * scale, sum = qn_ref_exp_sum(n, y, scale, shift, y);
        if (lse) lse[r] = shift + logf(sum);
        qn_ref_scale(n, 1.0f / sum, y, y);
        if (narrow) qn_ref_to_bf16(n, y, narrow + r * narrow_row);
    }
}

void qn_ref_scale(size_t n, float factor, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = factor * x[i];
}

void qn_ref_axpy(size_t n, float factor, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf(factor, x[i], y[i]);
}

void qn_ref_add_rows(size_t rows, size_t n, const float *x, size_t row, float *y) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) y[i] += x[r * row + i];
}

float qn_ref_dot(size_t n, const float *x, const float *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * y[i];
    return (float)sum;
}

void qn_ref_gather_dot(size_t rows, size_t n, const float *x, float *const *row, size_t at, float *y) {
    for (size_t i = 0; i < rows; i++) y[i] = qn_ref_dot(n, x, row[i] + at);
}

void qn_ref_gather_sum(size_t rows, size_t n, const float *factor, float *const *row, size_t at, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = 0;
    for (size_t i = 0; i < rows; i++) qn_ref_axpy(n, factor[i], row[i] + at, y);
}

void qn_ref_score_backward(size_t n, const float *p, const float *dp, float delta, float scale, float *ds) {
    for (size_t i = 0; i < n; i++) ds[i] = p[i] * (dp[i] - delta) * scale;
}

double qn_ref_sum_squares(size_t n, const float *x) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}
