// How fast each CPU kernel is on each instruction set that this CPU can run: one thread, arrays in the second-level
// cache.
//   bench_kernels [floats [kernel]]
#include "backend/cpu/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { WIDTH = 384, MOST_DEPTH = 384 };

static float *x, *y, *z, *w, *panels;
static size_t n, room; // floats of one call, floats of an array
static volatile float sink;

typedef struct {
    double floats, bytes, flops; // of one call
} work;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// One function for each kernel: runs it once and says how many bytes it moved and how many operations it did.
static qn_gemm product(const qn_kernels *k) {
    static float scale[1 << 12];
    static int32_t sum[1 << 12];
    static qn_byte_row bytes[1 << 12];
    return (qn_gemm){.m = n / WIDTH,
                     .n = WIDTH,
                     .k = MOST_DEPTH,
                     .a = x,
                     .a_row = MOST_DEPTH,
                     .a_step = 1,
                     .b = panels,
                     .b_row = k->panel_width,
                     .b_panel = MOST_DEPTH * k->panel_width,
                     .b_packed = true,
                     .c = y,
                     .c_row = WIDTH,
                     .bytes = bytes,
                     .columns = {.scale = scale, .sum = sum}};
}
static work product_work(double steps) { // products in one word
    double rows = (double)(n / WIDTH);
    return (work){rows * WIDTH, 0, 2.0 * rows * WIDTH * MOST_DEPTH * steps};
}
static work run_gemm(const qn_kernels *k) {
    k->gemm(&(qn_gemm[]){product(k)}[0]);
    return product_work(1);
}
static work run_gemm_bf16(const qn_kernels *k) {
    k->gemm_bf16(&(qn_gemm[]){product(k)}[0]);
    return product_work(2);
}
static work run_gemm_int8(const qn_kernels *k) {
    k->gemm_int8(&(qn_gemm[]){product(k)}[0]);
    return product_work(4);
}
static work run_softmax(const qn_kernels *k) {
    memcpy(y, x, n * sizeof *y);
    k->softmax(n / 64, 64, 0.2f, y, 64, NULL, NULL, 0);
    return (work){(double)n, 8.0 * (double)n, (double)n};
}
static work run_narrow_pairs(const qn_kernels *k) {
    k->narrow_pairs(n / WIDTH, WIDTH, x, WIDTH, y, WIDTH);
    return (work){(double)n, 6.0 * (double)n, (double)n};
}
static work run_pack_pairs(const qn_kernels *k) {
    k->pack_pairs(2 * (n / WIDTH), WIDTH, (const uint16_t *)(const void *)x, WIDTH, y);
    return (work){(double)n, 8.0 * (double)n, 0};
}
static work run_pack(const qn_kernels *k) {
    k->pack(WIDTH, MOST_DEPTH, w, MOST_DEPTH, panels);
    return (work){WIDTH * MOST_DEPTH, 8.0 * WIDTH * MOST_DEPTH, 0};
}
static work run_activation_forward(const qn_kernels *k) {
    k->activation_forward(QN_ACTIVATION_GELU, n, x, y);
    return (work){(double)n, 8.0 * (double)n, (double)n};
}
static work run_activation_backward(const qn_kernels *k) {
    k->activation_backward(QN_ACTIVATION_GELU, n, x, z, y);
    return (work){(double)n, 12.0 * (double)n, (double)n};
}
static work run_glu_forward(const qn_kernels *k) {
    k->glu_forward(QN_ACTIVATION_GELU, n, x, z, y);
    return (work){(double)n, 12.0 * (double)n, (double)n};
}
static work run_glu_backward(const qn_kernels *k) {
    k->glu_backward(QN_ACTIVATION_GELU, n / 2, x, z, w, y, y + n / 2);
    return (work){(double)n / 2, 20.0 * (double)n / 2, (double)n};
}
static work run_rotate(const qn_kernels *k) {
    k->rotate(n / 64, 64, 32, z, z + 32, 1, y);
    return (work){(double)n, 8.0 * (double)n, 3.0 * (double)n};
}
static work run_rotate_bf16(const qn_kernels *k) {
    k->rotate_bf16(n / 64, 64, 32, z, z + 32, 1, (uint16_t *)(void *)y);
    return (work){(double)n, 4.0 * (double)n, 3.0 * (double)n};
}
static work run_dropout(const qn_kernels *k) {
    k->dropout((qn_dropout){0.1f, 1, 2}, 0, n, x, y, false);
    return (work){(double)n, 8.0 * (double)n, (double)n};
}
static float gamma_beta[2 * WIDTH], mean[1 << 16], rstd[1 << 16];
static work run_norm_forward(const qn_kernels *k) {
    qn_norm_args a = {
        .rows = n / WIDTH, .d = WIDTH, .eps = 1e-5f, .x = x, .sub = z, .gamma = gamma_beta, .beta = gamma_beta + WIDTH};
    a.out = y, a.mean = mean, a.rstd = rstd;
    k->norm_forward(&a, 0, a.rows);
    return (work){(double)n, 12.0 * (double)n, 8.0 * (double)n};
}
static work run_norm_backward(const qn_kernels *k) {
    static float dgamma[WIDTH], dbeta[WIDTH];
    qn_norm_args a = {
        .rows = n / WIDTH, .d = WIDTH, .eps = 1e-5f, .x = x, .gamma = gamma_beta, .mean = mean, .rstd = rstd};
    a.dout = z, a.dx = y;
    k->norm_backward(&a, 0, a.rows, dgamma, dbeta);
    return (work){(double)n, 12.0 * (double)n, 16.0 * (double)n};
}
static work run_max(const qn_kernels *k) {
    sink = k->max(n, x);
    return (work){(double)n, 4.0 * (double)n, (double)n};
}
static work run_exp_sum(const qn_kernels *k) {
    sink = k->exp_sum(n, x, 1, 4, y);
    return (work){(double)n, 8.0 * (double)n, (double)n};
}
static work run_scale(const qn_kernels *k) {
    k->scale(n, 0.5f, x, y);
    return (work){(double)n, 8.0 * (double)n, (double)n};
}
static work run_axpy(const qn_kernels *k) {
    k->axpy(n, 1e-9f, x, y);
    return (work){(double)n, 12.0 * (double)n, 2.0 * (double)n};
}
static work run_add_rows(const qn_kernels *k) {
    k->add_rows(n / 64, 64, x, 64, y);
    return (work){(double)n, 4.0 * (double)n, (double)n};
}
static work run_dot(const qn_kernels *k) {
    sink = k->dot(n, x, z);
    return (work){(double)n, 8.0 * (double)n, 2.0 * (double)n};
}
static float *places[4096]; // of rows of 64 in x
static size_t scattered(void) {
    size_t rows = n / 64 < 4096 ? n / 64 : 4096;
    for (size_t i = 0; i < rows; i++) places[i] = x + i * 64;
    return rows;
}
static work run_gather_dot(const qn_kernels *k) {
    size_t rows = scattered();
    k->gather_dot(rows, 64, z, places, 0, y);
    return (work){(double)rows * 64, 256.0 * (double)rows, 128.0 * (double)rows};
}
static work run_gather_sum(const qn_kernels *k) {
    size_t rows = scattered();
    k->gather_sum(rows, 64, z, places, 0, y);
    return (work){(double)rows * 64, 256.0 * (double)rows, 128.0 * (double)rows};
}
static work run_score_backward(const qn_kernels *k) {
    k->score_backward(n, x, z, 0.1f, 0.125f, y);
    return (work){(double)n, 12.0 * (double)n, 3.0 * (double)n};
}
static work run_sum_squares(const qn_kernels *k) {
    sink = (float)k->sum_squares(n, x);
    return (work){(double)n, 4.0 * (double)n, 2.0 * (double)n};
}
static work run_adamw(const qn_kernels *k) {
    static int64_t step;
    static float *second; // never negative
    if (!second) second = calloc(n, sizeof *second);
    if (!second) abort();
    qn_adamw f = qn_adamw_update(&(qn_adamw_options){1e-6, 0.9, 0.999, 1e-8, 0.01, 0}, ++step, 1);
    k->adamw(&f, n, y, z, w, second);
    for (size_t i = 0; i < n; i += 64) z[i] = x[i];
    return (work){(double)n, 32.0 * (double)n, 12.0 * (double)n};
}

static work run_adamw_idle(const qn_kernels *k) {
    enum { UPDATES = 16 };
    static float *second;
    if (!second) second = calloc(n, sizeof *second);
    if (!second) abort();
    qn_adamw f[UPDATES];
    for (int i = 0; i < UPDATES; i++)
        f[i] = qn_adamw_update(&(qn_adamw_options){1e-6, 0.9, 0.999, 1e-8, 0.01, 0}, i + 1, 1);
    k->adamw_idle(f, UPDATES, UPDATES / 2, n, y, w, second);
    return (work){(double)n, 24.0 * (double)n, 5.0 * UPDATES * (double)n};
}

static work run_approach(const qn_kernels *k) {
    k->approach(n, 1e-3f, x, y);
    return (work){(double)n, 12.0 * (double)n, 3.0 * (double)n};
}

static work run_to_bf16(const qn_kernels *k) {
    k->to_bf16(n, x, (uint16_t *)(void *)y);
    return (work){(double)n, 6.0 * (double)n, (double)n};
}
static work run_from_bf16(const qn_kernels *k) {
    k->from_bf16(n, (const uint16_t *)(const void *)x, y);
    return (work){(double)n, 6.0 * (double)n, (double)n};
}
static work run_quantize(const qn_kernels *k) {
    qn_byte_row row;
    k->quantize(n, x, &(qn_exact){0}, (uint8_t *)(void *)y, &row);
    sink = row.scale;
    return (work){(double)n, 5.0 * (double)n, 2.0 * (double)n};
}
static work run_round_int8(const qn_kernels *k) {
    k->round_int8(n, x, y);
    return (work){(double)n, 8.0 * (double)n, 4.0 * (double)n};
}
static work run_dequantize(const qn_kernels *k) {
    static int32_t sums[1 << 16], column_sums[1 << 16];
    const qn_byte_row row = {.scale = 0.5f, .zero = 131};
    const qn_byte_columns columns = {.scale = x, .sum = column_sums};
    k->dequantize(n < 1 << 16 ? n : 1 << 16, sums, &row, &columns, y);
    return (work){(double)n, 16.0 * (double)n, 3.0 * (double)n};
}
static work run_gemm_groups(const qn_kernels *k) { // of four bits
    size_t groups = WIDTH / QN_GROUP, rows = n / WIDTH;
    memset(x, 1, rows * qn_group_row(groups));
    k->gemm_groups(&(qn_group_gemm){rows, WIDTH, groups, (const int8_t *)x, (const uint8_t *)panels, QN_DTYPE_Q4, y, WIDTH});
    return (work){(double)(rows * WIDTH), (double)(WIDTH / QN_GROUP_PANEL * qn_group_panel(groups, QN_DTYPE_Q4)),
                  2.0 * (double)rows * WIDTH * WIDTH};
}
static work run_quantize_groups(const qn_kernels *k) {
    k->quantize_groups(n / QN_GROUP * QN_GROUP, x, (int8_t *)y);
    return (work){(double)n, 5.25 * (double)n, 4.0 * (double)n};
}
static work run_finish(const qn_kernels *k) {
    k->finish(QN_ACTIVATION_GELU, n, x, z, y);
    return (work){(double)n, 12.0 * (double)n, 2.0 * (double)n};
}

typedef struct {
    const char *name;
    work (*run)(const qn_kernels *k);
    bool optional; // not in every table
} entry;
static const entry entries[] = {
#define ENTRY(kernel, result, parameters) {#kernel, run_##kernel, false},
    QN_KERNEL_MAP(ENTRY){"gemm_bf16", run_gemm_bf16, true},
    {"gemm_int8", run_gemm_int8, true},
};

static bool has(const qn_kernels *k, const entry *e) {
    return !e->optional || (e->run == run_gemm_bf16 ? k->gemm_bf16 : k->gemm_int8);
}

static void fill(float *to, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        to[i] = (float)(seed >> 8) * 0x1p-22f - 2;
    }
}

// The fastest of many single calls, so that other programs on the machine disturb little.
static void measure(const entry *e, const qn_kernels *k) {
    double best = 1e9;
    work done = {0, 0, 0};
    fill(x, n, 1), fill(y, n, 2), fill(z, n, 3), fill(w, room, 4);
    k->pack(WIDTH, MOST_DEPTH, w, MOST_DEPTH, panels);
    double end = seconds() + 0.15;
    for (double start = seconds(); start < end; start = seconds()) {
        done = e->run(k);
        double time = seconds() - start;
        if (time < best) best = time;
    }
    printf("%-20s %-7s %9.2f us", e->name, k->name, best * 1e6);
    if (done.bytes > 0) printf("  %7.2f GB/s", done.bytes / best * 1e-9);
    if (done.flops > 0) printf("  %7.2f GFLOP/s", done.flops / best * 1e-9);
    printf("  %7.3f ns/float\n", best / done.floats * 1e9);
}

static void print_cpu(void) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0) {
            printf("%s", line);
            break;
        }
    if (f) fclose(f);
}

int main(int argc, char **argv) {
    n = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 64 * WIDTH;
    n = n / WIDTH * WIDTH;
    size_t least = (size_t)WIDTH * MOST_DEPTH;
    room = n > least ? n : least;
    if (n == 0 || n / WIDTH > COUNT(mean)) {
        fprintf(stderr, "usage: bench_kernels [floats (%d .. %zu) [kernel]]\n", WIDTH, COUNT(mean) * WIDTH);
        return 2;
    }
    float **arrays[] = {&x, &y, &z, &w, &panels};
    for (size_t i = 0; i < COUNT(arrays); i++)
        if (!(*arrays[i] = aligned_alloc(64, (room * sizeof(float) + 63) / 64 * 64))) return 1;
    for (size_t i = 0; i < COUNT(gamma_beta); i++) gamma_beta[i] = 1;
    for (size_t i = 0; i < COUNT(mean); i++) rstd[i] = 1;
    print_cpu();
    printf("%zu floats; a GELU of one float counts as one operation\n", n);
    static const char *const names[] = {"ref", "avx2", "avx512"};
    for (size_t e = 0; e < COUNT(entries); e++)
        for (size_t i = 0; i < COUNT(names); i++) {
            const qn_kernels *k = qn_kernels_choose(names[i]);
            if (k && has(k, &entries[e]) && (argc < 3 || strcmp(argv[2], entries[e].name) == 0))
                measure(&entries[e], k);
        }
    for (size_t i = 0; i < COUNT(arrays); i++) free(*arrays[i]);
    return 0;
}
