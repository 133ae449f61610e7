// Chooses the table of kernels for this CPU. This file itself is compiled for the oldest CPU that Quern supports.
#include "backend/cpu/kernels.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if QN_KERNELS_X86
#include <cpuid.h>
#endif

typedef struct {
    bool avx2, avx512, bf16, int8, amx;
} features;

#if QN_KERNELS_X86
// The registers that the operating system saves at a task switch; without them the instructions would fault.
static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static features detect(void) {
    enum { YMM = 0x6, ZMM = 0xe6 };
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    features found = {0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    bool fma = (c & bit_FMA) && (c & bit_F16C);
    if (!(c & bit_OSXSAVE) || !(c & bit_AVX)) return found;
    uint64_t state = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    found.avx2 = fma && (b & bit_AVX2) && (state & YMM) == YMM;
    found.avx512 = found.avx2 && (b & avx512) == avx512 && (state & ZMM) == ZMM;
    found.int8 = found.avx512 && (c & bit_AVX512VNNI);
    const uint32_t tiles = 1u << 22 | 1u << 24 | 1u << 25; // AMX_BF16, AMX_TILE, AMX_INT8
    found.amx = found.avx512 && (d & tiles) == tiles;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found.bf16 = found.avx512 && (a & bit_AVX512BF16);
    return found;
}
#else
static features detect(void) {
    return (features){0};
}
#endif

// From the best to the reference; an entry without `fill` is not in this build.
typedef struct {
    const char *name;
    void (*fill)(qn_kernels *table);
    const char *needs;
    bool usable;
    qn_kernels table;
} variant;

static variant variants[] = {
#if QN_KERNELS_X86
    {.name = "avx512", .fill = qn_kernels_avx512, .needs = "AVX512F, AVX512BW, AVX512DQ and AVX512VL"},
    {.name = "avx2", .fill = qn_kernels_avx2, .needs = "AVX2, FMA and F16C"},
#else
    {.name = "avx512", .needs = "an x86-64 CPU"},
    {.name = "avx2", .needs = "an x86-64 CPU"},
#endif
    {.name = "ref", .fill = qn_kernels_ref, .needs = "nothing"},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void) {
    features found = detect();
    for (int i = 0; i < VARIANTS; i++) {
        variant *v = &variants[i];
        v->usable = strcmp(v->name, "avx512") == 0 ? found.avx512 : strcmp(v->name, "avx2") == 0 ? found.avx2 : true;
        if (!v->fill || !v->usable) continue;
        qn_kernels_ref(&v->table);
        if (v->fill == qn_kernels_ref) continue;
        v->table.gemm_bf16 = NULL;
        v->table.gemm_int8 = NULL;
        v->fill(&v->table);
#if QN_KERNELS_X86
        if (v->fill == qn_kernels_avx512 && found.bf16) qn_kernels_avx512_bf16(&v->table);
        if (v->fill == qn_kernels_avx512 && found.int8) qn_kernels_avx512_int8(&v->table);
        if (v->fill == qn_kernels_avx512 && found.int8) qn_kernels_avx512_vnni(&v->table);
#endif
    }
}

bool qn_cpu_has_amx(void) {
    return detect().amx;
}

const qn_kernels *qn_kernels_choose(const char *isa) {
    pthread_once(&once, fill_tables);
    const char *place = "isa";
    if (!isa) {
        isa = getenv("QUERN_ISA");
        place = "QUERN_ISA";
        if (isa && !*isa) isa = NULL;
    }
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &variants[i];
        if (isa && strcmp(v->name, isa) != 0) continue;
        if (v->usable) return &v->table;
        if (!isa) continue;
        qn_fail(QN_ERROR_UNSUPPORTED, "%s: this CPU cannot run \"%s\" (expected a CPU with %s)", place, isa, v->needs);
        return NULL;
    }
    qn_fail(QN_ERROR_ARGUMENT, "%s: unknown instruction set \"%s\" (expected ref, avx2 or avx512)", place, isa);
    return NULL;
}
