// What the machine can do at most, measured: multiply-adds per second of its vector units in each dtype, and the
// bandwidth of reading memory. These are the roofs that other figures are compared with.
//   bench_machine THREADS       one JSON object: {"threads": 2, "f32": GFLOP/s, "bf16": ..., "int8": ..., "memory":
//   GB/s}
// A dtype that this CPU has no instruction for is left out. Matrix units (AMX) are not measured.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAINS = 12, STEPS = 200000, ROUNDS = 60 };
// A statement for each chain, written out: only then the sums stay in registers with every compiler.
#define EACH(S) S(0) S(1) S(2) S(3) S(4) S(5) S(6) S(7) S(8) S(9) S(10) S(11)
static volatile float sink;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- Multiply-adds. Each function makes CHAINS * STEPS of them, independent enough to fill the units; returns
// operations of one. -----

typedef double (*adder)(void);

#if defined(__x86_64__)
#include <immintrin.h>
// Hides a value from the compiler, which would else compute with it beforehand.
#define OPAQUE(value) __asm__ volatile("" : "+m"(value))

__attribute__((target("avx2,fma"))) static double add_avx2(void) {
    __m256 sum[CHAINS], a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
    OPAQUE(a);
    OPAQUE(b);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_ps((float)i);
    for (int k = 0; k < STEPS; k++) {
#define STEP(i) sum[i] = _mm256_fmadd_ps(a, b, sum[i]);
        EACH(STEP)
#undef STEP
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm256_add_ps(sum[0], sum[i]);
    sink = _mm256_cvtss_f32(sum[0]);
    return 16;
}

__attribute__((target("avx512f"))) static double add_avx512(void) {
    __m512 sum[CHAINS], a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
    OPAQUE(a);
    OPAQUE(b);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int k = 0; k < STEPS; k++) {
#define STEP(i) sum[i] = _mm512_fmadd_ps(a, b, sum[i]);
        EACH(STEP)
#undef STEP
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    sink = _mm512_cvtss_f32(sum[0]);
    return 32;
}

__attribute__((target("avx512f,avx512bf16"))) static double add_bf16(void) {
    __m512 sum[CHAINS], one = _mm512_set1_ps(1.0f);
    __m512bh a = _mm512_cvtne2ps_pbh(one, one);
    OPAQUE(a);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int k = 0; k < STEPS; k++) {
#define STEP(i) sum[i] = _mm512_dpbf16_ps(sum[i], a, a);
        EACH(STEP)
#undef STEP
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    sink = _mm512_cvtss_f32(sum[0]);
    return 64;
}

__attribute__((target("avx512f,avx512vnni"))) static double add_int8(void) {
    __m512i sum[CHAINS], a = _mm512_set1_epi8(1);
    OPAQUE(a);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_epi32(i);
    for (int k = 0; k < STEPS; k++) {
#define STEP(i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, a);
        EACH(STEP)
#undef STEP
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    sink = (float)_mm512_reduce_add_epi32(sum[0]);
    return 128;
}

// AVX2 without VNNI multiplies bytes in two steps.
__attribute__((target("avx2"))) static double add_int8_avx2(void) {
    __m256i sum[CHAINS], a = _mm256_set1_epi8(1), one = _mm256_set1_epi16(1), step = _mm256_setzero_si256();
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_epi32(i);
    for (int k = 0; k < STEPS; k++) {
        step = _mm256_xor_si256(step, a); // else the product is the same each time and is computed once
#define STEP(i)                                                                                                        \
    sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_add_epi8(sum[i], step), a), one));
        EACH(STEP)
#undef STEP
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    sink = (float)_mm256_extract_epi32(sum[0], 0);
    return 64;
}

static adder choose(const char *dtype) {
    bool wide = __builtin_cpu_supports("avx512f"),
         narrow = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!strcmp(dtype, "f32")) return wide ? add_avx512 : narrow ? add_avx2 : NULL;
    if (!strcmp(dtype, "bf16")) return wide && __builtin_cpu_supports("avx512bf16") ? add_bf16 : NULL;
    return wide && __builtin_cpu_supports("avx512vnni") ? add_int8 : narrow ? add_int8_avx2 : NULL;
}
#else
static adder choose(const char *dtype) {
    (void)dtype;
    return NULL;
}
#endif

// The threads run at the same time, and each one's best round counts: none waits for one that was disturbed.
static double measure_adds(adder add, int threads) {
    double total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        double best = 0;
        for (int round = 0; round < ROUNDS; round++) {
#pragma omp barrier
            double start = seconds(), operations = add() * CHAINS * STEPS,
                   rate = operations / (seconds() - start) * 1e-9;
            if (rate > best) best = rate;
        }
        total += best;
    }
    return total;
}

// ---- Memory
// --------------------------------------------------------------------------------------------------------------------------

static double measure_memory(int threads) {
    size_t count = (size_t)1 << 26; // 512 MiB, more than any cache
    uint64_t *data = malloc(count * sizeof *data);
    double best = 0;
    if (!data) return 0;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; i++) data[i] = i;
    for (int round = 0; round < 5; round++) {
        uint64_t sum = 0;
        double start = seconds();
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : sum)
        for (size_t i = 0; i < count; i++) sum += data[i];
        double rate = (double)(count * sizeof *data) / (seconds() - start) * 1e-9;
        sink = (float)sum;
        if (rate > best) best = rate;
    }
    free(data);
    return best;
}

int main(int argc, char **argv) {
    int threads = argc == 2 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > 1024) {
        fprintf(stderr, "usage: bench_machine THREADS\n");
        return 2;
    }
    static const char *const dtypes[] = {"f32", "bf16", "int8"};
    printf("{\"threads\": %d", threads);
    for (int i = 0; i < 3; i++) {
        adder add = choose(dtypes[i]);
        if (add) printf(", \"%s\": %.1f", dtypes[i], measure_adds(add, threads));
    }
    printf(", \"memory\": %.2f}\n", measure_memory(threads));
    return 0;
}
