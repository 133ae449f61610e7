// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A number is a pure function of (seed, stream, counter): nothing is stored, any thread can compute any number, and a resumed run
// draws the same ones.
#pragma once
#include <stdint.h>

typedef struct {
    uint32_t v[4];
} qn_random4;

static inline qn_random4 qn_philox(uint64_t seed, uint64_t stream, uint64_t counter) {
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (qn_random4){{c0, c1, c2, c3}};
}

// A generator that walks along one stream.
typedef struct {
    uint64_t seed, stream, counter;
} qn_rng;

static inline uint64_t qn_rng_u64(qn_rng *rng) {
    qn_random4 r = qn_philox(rng->seed, rng->stream, rng->counter++);
    return (uint64_t)r.v[1] << 32 | r.v[0];
}
// Uniform in [0, 1) with 53 bits.
static inline double qn_rng_real(qn_rng *rng) {
    return (double)(qn_rng_u64(rng) >> 11) * 0x1p-53;
}
// Uniform in 0 .. n-1 (n > 0), by multiplication; the bias is below n / 2^64.
static inline uint64_t qn_rng_below(qn_rng *rng, uint64_t n) {
    return (uint64_t)(((unsigned __int128)qn_rng_u64(rng) * n) >> 64);
}
double qn_rng_normal(qn_rng *rng); // mean 0, variance 1 (Box-Muller)
