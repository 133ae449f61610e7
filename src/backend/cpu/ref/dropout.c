// Dropout: whether an element is kept is a function of seed, stream and its number alone.
#include "backend/cpu/constants.h"
#include "backend/cpu/ref/ref.h"
#include "base/rng.h"

void qn_ref_dropout(qn_dropout f, uint64_t counter, size_t n, const float *x, float *y, bool accumulate) {
    uint32_t threshold = qn_dropout_threshold(f.p);
    float factor = qn_dropout_factor(f.p);
    qn_random4 random = {{0}};
    for (size_t i = 0; i < n; i++) {
        if (i % 8 == 0) random = qn_philox(f.seed, f.stream, counter + i / 8);
        uint32_t lane = random.v[i % 8 / 2] >> (i % 2 * 16) & 0xffff;
        float kept = lane >= threshold ? factor * x[i] : 0.0f;
        y[i] = accumulate ? y[i] + kept : kept;
    }
}
