// Weights in groups of 32; docs/mathematics.md has the formulas.
#include "backend/backend.h"
#include "base/half.h"

static float as_half(float x) {
    return qn_f16_to_f32(qn_f32_to_f16(x));
}

static void eight_bits(size_t count, const float *w, int8_t *q, float *scale) {
    float top = 0;
    for (size_t i = 0; i < count; i++) top = fmaxf(top, fabsf(w[i]));
    *scale = as_half(top / 127);
    float inverse = *scale > 0 ? 1 / *scale : 0;
    for (size_t i = 0; i < count; i++) q[i] = (int8_t)fminf(127, fmaxf(-127, rintf(w[i] * inverse)));
}

static void four_bits(size_t count, const float *w, int8_t *q, float *scale, float *minimum) {
    float low = w[0], high = w[0];
    for (size_t i = 1; i < count; i++) {
        low = fminf(low, w[i]);
        high = fmaxf(high, w[i]);
    }
    *minimum = as_half(low);
    *scale = as_half((high - *minimum) / 15);
    float inverse = *scale > 0 ? 1 / *scale : 0;
    for (size_t i = 0; i < count; i++) q[i] = (int8_t)fminf(15, fmaxf(0, rintf((w[i] - *minimum) * inverse)));
}

void qn_groups_quantize(size_t in, const float *row, bool four, int8_t *q, float *scale, float *minimum) {
    for (size_t g = 0; g * QN_GROUP < in; g++) {
        size_t first = g * QN_GROUP, count = in - first < QN_GROUP ? in - first : QN_GROUP;
        if (four)
            four_bits(count, row + first, q + first, scale + g, minimum + g);
        else
            eight_bits(count, row + first, q + first, scale + g);
    }
}
