// Normal random numbers. The generator itself is inline in the header.
#include "base/rng.h"
#include <math.h>

// Box and Muller, "A note on the generation of random normal deviates", 1958. One counter gives 128 bits, enough for
// both uniform numbers.
double qn_rng_normal(qn_rng *rng) {
    qn_random4 r = qn_philox(rng->seed, rng->stream, rng->counter++);
    uint64_t a = (uint64_t)r.v[1] << 32 | r.v[0], b = (uint64_t)r.v[3] << 32 | r.v[2];
    double radius = (double)((a >> 11) + 1) * 0x1p-53; // in (0, 1], so that the logarithm is finite
    double angle = (double)(b >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(radius)) * cos(6.283185307179586476925 * angle);
}
