// Layer norm with residual and dropout, forward and backward, with sums in double precision.
//   forward:   s = x + dropout(sub), z = (s - mean) rstd, out = z gamma + beta
//              (rms: mean is 0 and mean(g) drops out; without beta, 0)
//   backward:  g = dout gamma, ds = rstd (g - mean(g) - z mean(g z)) + dsum, dx (+)= ds, dsub = dropout(ds),
//              dgamma += dout z, dbeta += dout
#include "backend/cpu/ref/ref.h"
#include <math.h>

void qn_ref_norm_forward(const qn_norm_args *a, size_t first, size_t last) {
    size_t d = a->d;
    for (size_t r = first; r < last; r++) {
        const float *row = a->x + r * d;
        float *out = a->out + r * d;
        if (a->sub) {
            const float *x = row, *sub = a->sub + r * d;
            float *sum = a->sum ? a->sum + r * d : out; // without `sum`, `out` holds the row until the end
            for (size_t i = 0; i < d; i += 8) {
                size_t n = d - i < 8 ? d - i : 8;
                float dropped[8]; // `sum` may be `sub`
                qn_ref_dropout(a->dropout, r * ((d + 7) / 8) + i / 8, n, sub + i, dropped, false);
                for (size_t j = 0; j < n; j++) sum[i + j] = x[i + j] + dropped[j];
            }
            row = sum;
        }
        double mean = 0, variance = 0;
        for (size_t i = 0; i < d && !a->rms; i++) mean += row[i];
        mean /= (double)d;
        for (size_t i = 0; i < d; i++) variance += (row[i] - mean) * (row[i] - mean);
        variance /= (double)d;
        double rstd = 1 / sqrt(variance + a->eps);
        for (size_t i = 0; i < d; i++)
            out[i] = (float)((row[i] - mean) * rstd * a->gamma[i] + (a->beta ? a->beta[i] : 0));
        if (a->mean) a->mean[r] = (float)mean;
        if (a->rstd) a->rstd[r] = (float)rstd;
    }
}

void qn_ref_norm_backward(const qn_norm_args *a, size_t first, size_t last, float *dgamma, float *dbeta) {
    size_t d = a->d;
    for (size_t r = first; r < last; r++) {
        const float *row = (a->sub && a->sum ? a->sum : a->x) + r * d, *dout = a->dout + r * d;
        float *dx = a->dx + r * d;
        double mean = a->mean[r], rstd = a->rstd[r], mean_g = 0, mean_gz = 0;
        for (size_t i = 0; i < d; i++) {
            double z = (row[i] - mean) * rstd, g = (double)dout[i] * a->gamma[i];
            mean_g += g;
            mean_gz += g * z;
            if (dgamma) dgamma[i] += (float)(dout[i] * z);
            if (dbeta) dbeta[i] += dout[i];
        }
        mean_g = a->rms ? 0 : mean_g / (double)d;
        mean_gz /= (double)d;
        for (size_t i = 0; i < d; i++) {
            double z = (row[i] - mean) * rstd, g = (double)dout[i] * a->gamma[i];
            float ds = (float)(rstd * (g - mean_g - z * mean_gz));
            if (a->dsum) ds += a->dsum[r * d + i];
            dx[i] = a->accumulate ? dx[i] + ds : ds;
            if (a->dsub) a->dsub[r * d + i] = ds;
        }
        if (a->dsub) qn_ref_dropout(a->dropout, r * ((d + 7) / 8), d, a->dsub + r * d, a->dsub + r * d, false);
    }
}
