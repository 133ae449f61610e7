// Weights in int8; docs/mathematics.md has the formulas.
#include "backend/backend.h"

float qn_int8_quantize(size_t in, const float *row, const qn_exact *exact, int8_t *q) {
    float top = 0;
    for (size_t i = 0, e = 0; i < in; i++)
        if (e < exact->count && exact->channel[e] == i)
            e++;
        else
            top = fmaxf(top, fabsf(row[i]));
    float scale = qn_int8_scale(top), inverse = scale > 0 ? 1 / scale : 0;
    for (size_t i = 0, e = 0; i < in; i++) {
        bool out = e < exact->count && exact->channel[e] == i;
        q[i] = out ? 0 : (int8_t)lrintf(row[i] * inverse);
        e += out;
    }
    return scale;
}
