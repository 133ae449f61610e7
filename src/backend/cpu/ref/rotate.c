// Rotary position embeddings: pairs of a head's values turn by an angle. The products are rounded as the vector kernels
// round them, so that all instruction sets give the same bits.
#include "backend/cpu/ref/ref.h"
#include "base/half.h"
#include <math.h>

void qn_ref_rotate(size_t heads, size_t step, size_t half, const float *cosine, const float *sine, float direction,
                   float *x) {
    for (size_t k = 0; k < heads; k++, x += step)
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half], s = direction * sine[i];
            x[i] = fmaf(-b, s, a * cosine[i]);
            x[i + half] = fmaf(a, s, b * cosine[i]);
        }
}

void qn_ref_rotate_bf16(size_t heads, size_t step, size_t half, const float *cosine, const float *sine, float direction,
                        uint16_t *x) {
    for (size_t k = 0; k < heads; k++, x += step)
        for (size_t i = 0; i < half; i++) {
            float pair[2] = {qn_bf16_to_f32(x[i]), qn_bf16_to_f32(x[i + half])};
            uint16_t narrow[2];
            qn_ref_rotate(1, 0, 1, cosine + i, sine + i, direction, pair);
            qn_ref_to_bf16(2, pair, narrow);
            x[i] = narrow[0];
            x[i + half] = narrow[1];
        }
}
