// The table of CPU kernels: leaves without threads, allocation or globals. ref/ is complete and readable plain C; avx2/
// and avx512/ override entries. One line in QN_KERNEL_MAP makes a kernel's prototype, its slot and its place in tests
// and benchmarks.
#pragma once
#include "backend/backend.h"

// What a product reads: four bytes of memory, which are one float32, two bf16 or four bytes of int8.
typedef float qn_word __attribute__((may_alias));

// A row of activations in bytes: x ~ (u - zero) scale with u in 0 .. 255, and its values at the exact channels, which
// the bytes do not hold.
typedef struct {
    float scale;
    int32_t zero;
    float exact[QN_EXACT_CHANNELS];
} qn_byte_row;

// The columns of a product in int8, those of the exact channels' weights included.
typedef struct {
    const float *scale; // [n]
    const int32_t *sum; // [n] of the quantized weights
    size_t exact_count;
    const float *exact; // [exact_count, n], rows exact_row apart
    size_t exact_row;
} qn_byte_columns;

static inline qn_byte_columns qn_byte_columns_from(qn_byte_columns c, size_t first) {
    if (c.scale) c.scale += first, c.sum += first, c.exact += first;
    return c;
}

// C[i, j] (+)= sum over p of A[i, p] B[p, j], each element by one chain of fused multiply-adds in the order p = 0 ..
// k-1 whatever the tile it falls into, so that a row's bits do not depend on its neighbours. With `bias`, `activation`
// or `narrow` (never with accumulate) C = f(AB + bias), and `pre` or `pre_narrow`, if given, gets AB + bias.
//   A[i, p] = a[i * a_row + p * a_step]
//   B[p, j] = b[(j / width) * b_panel + p * b_row + j % width], width = the table's panel width: packed panels have
//   b_row = width and
//             b_panel = k * width and are padded with zeros to full width; a plain row-major matrix has b_row = its row
//             distance and b_panel = width, and is never read beyond column n.
// Three kernels share this: in gemm a step p is one float32; in gemm_bf16 two bf16, and in gemm_int8 four bytes, of A
// unsigned and of B signed, each A[i, p] B[p, j] being the sum of their two or four products. B is packed there. The
// sums of gemm_int8 are whole numbers and become C through
//   (sum - bytes[i].zero columns.sum[j]) bytes[i].scale columns.scale[j] + sum over e of bytes[i].exact[e]
//   columns.exact[e, j].
typedef struct {
    size_t m, n, k; // k steps
    const qn_word *a;
    size_t a_row, a_step;
    const qn_word *b;
    size_t b_row, b_panel;
    bool b_packed; // columns up to the full panel may be read
    float *c;
    size_t c_row;
    bool accumulate;
    const float *bias; // [n] or NULL
    qn_activation activation;
    float *pre;               // rows c_row apart, or NULL
    uint16_t *pre_narrow;     // in place of pre: AB + bias in bf16, and C is f of that
    uint16_t *narrow;         // C as bf16, rows c_row apart, in place of c; or NULL
    const qn_byte_row *bytes; // gemm_int8: [m]
    qn_byte_columns columns;  // gemm_int8
} qn_gemm;

// Weights in groups of 32 inputs, as the blocks of GGUF (see qn_compute). Panels of 16 outputs lie one after the other;
// a panel is, group by group, q and then [16] of each scale and minimum,
//   q8, k8: [8 steps][16 outputs][4 inputs] of q; q8: a scale; k8: the scales of the first and the last 16 inputs, and
//   a
//           minimum;
//   q4, k4: [4 steps][16 outputs][4 bytes], inputs 0 .. 15 of the group in the low halves of the bytes and 16 .. 31 in
//           the high ones; a scale, and a minimum.
// Activations are rows of bytes, x ~ scale q, q in -127 .. 127, group by group, and after them each group's scale
// (float32) and its sum of q (int32).
//   C[i, j] = sum over groups g of fma(sum over p of q[i, p] q[j, p] scale[j, g], scale[i, g], minimum[j, g] scale[i,
//   g] sum[i, g]), in the order of the groups, each element by itself; k8 has two such sums before the minimum.
enum { QN_GROUP_PANEL = 16 };
typedef struct {
    size_t m, n, groups;
    const int8_t *a; // [m] rows of qn_group_row(groups) bytes
    const uint8_t *b;
    qn_compute form; // of b
    float *c;
    size_t c_row;
} qn_group_gemm;
static inline bool qn_group_four(qn_compute form) { // bits
    return form == QN_DTYPE_Q4 || form == QN_DTYPE_K4;
}
static inline bool qn_group_fine(qn_compute form) { // float32
    return form == QN_DTYPE_K8 || form == QN_DTYPE_K4;
}
static inline size_t qn_group_row(size_t groups) {
    return groups * (QN_GROUP + sizeof(float) + sizeof(int32_t));
}
// Bytes of q, and of a panel.
static inline size_t qn_group_quants(qn_compute form) {
    return QN_GROUP_PANEL * (qn_group_four(form) ? QN_GROUP / 2 : QN_GROUP);
}
static inline size_t qn_group_panel(size_t groups, qn_compute form) {
    size_t numbers = form == QN_DTYPE_Q8 ? 1 : form == QN_DTYPE_K8 ? 3 : 2;
    size_t size = qn_group_fine(form) ? sizeof(float) : sizeof(uint16_t);
    return groups * (qn_group_quants(form) + QN_GROUP_PANEL * numbers * size);
}

// Dropout keeps element i (0-based from the start of the call) when 16-bit lane i % 8 of philox(seed, stream, counter +
// i / 8) is >= round(p * 65536); lanes are the low, then the high half of v[0], v[1], v[2], v[3]. Kept values are
// multiplied by 1 / (1 - p).
//
// Kernel name, result, parameters.
#define QN_KERNEL_MAP(X)                                                                                               \
    X(gemm, void, (const qn_gemm *g))                                                                                  \
    /* Packs W [n, k] (rows `row` words apart) as B = W^T: panels of the table's width over n, zero-padded. */         \
    X(pack, void, (size_t n, size_t k, const qn_word *w, size_t row, qn_word *panels))                                 \
    X(activation_forward, void, (qn_activation f, size_t n, const float *x, float *y)) /* y may be x */                \
    X(activation_backward, void,                                                                                       \
      (qn_activation f, size_t n, const float *x, const float *dy, float *dx)) /* dx = dy f'(x); may be dy */          \
    /* y = f(gate) value, and backward; dgate may be gate, dvalue value */                                             \
    X(glu_forward, void, (qn_activation f, size_t n, const float *gate, const float *value, float *y))                 \
    X(glu_backward, void,                                                                                              \
      (qn_activation f, size_t n, const float *gate, const float *value, const float *dy, float *dgate,                \
       float *dvalue))                                                                                                 \
    /* In each of `heads` heads, `step` apart, in place: (x[i], x[i + half]) = (x[i] c - x[i + half] s, x[i + half] c  \
     * + x[i] s) with c = cosine[i], s = direction sine[i] */                                                          \
    X(rotate, void,                                                                                                    \
      (size_t heads, size_t step, size_t half, const float *cosine, const float *sine, float direction, float *x))     \
    X(rotate_bf16, void, /* the same on bf16, rounded to nearest */                                                    \
      (size_t heads, size_t step, size_t half, const float *cosine, const float *sine, float direction, uint16_t *x))  \
    X(dropout, void,                                                                                                   \
      (qn_dropout f, uint64_t counter, size_t n, const float *x, float *y, bool accumulate)) /* y may be x */          \
    /* Rows first .. last-1 of the norm. Row r's dropout starts at counter r * ceil(d / 8). */                         \
    X(norm_forward, void, (const qn_norm_args *a, size_t first, size_t last))                                          \
    /* The same rows backward; adds to dgamma[d], dbeta[d] (the caller's partial sums, NULL when frozen) instead of    \
     * the args' own. */                                                                                               \
    X(norm_backward, void, (const qn_norm_args *a, size_t first, size_t last, float *dgamma, float *dbeta))            \
    /* Each row y = softmax(scale x), [rows, n], rows `row` apart; lse [rows] gets log sum e^(scale x), or NULL. With  \
     * `narrow` the result goes there as bf16, rows narrow_row apart, and x is left as scratch. n > 0 */               \
    X(softmax, void,                                                                                                   \
      (size_t rows, size_t n, float scale, float *x, size_t row, float *lse, uint16_t *narrow, size_t narrow_row))     \
    X(max, float, (size_t n, const float *x)) /* n > 0; NaN if any is NaN */                                           \
    X(exp_sum, float,                                                                                                  \
      (size_t n, const float *x, float scale, float shift,                                                             \
       float *y)) /* y = exp(scale x - shift), their sum; y may be x */                                                \
    X(scale, void, (size_t n, float factor, const float *x, float *y)) /* y = factor x; may be x */                    \
    X(axpy, void, (size_t n, float factor, const float *x, float *y))  /* y += factor x */                             \
    /* y [n] += x[0] + x[1] + ..., one after the other: [rows, n], rows `row` apart */                                 \
    X(add_rows, void, (size_t rows, size_t n, const float *x, size_t row, float *y))                                   \
    X(dot, float, (size_t n, const float *x, const float *y))                                                          \
    /* Of rows that lie anywhere, from their column `at` on: y[i] = dot of x and row i */                              \
    X(gather_dot, void, (size_t rows, size_t n, const float *x, float *const *row, size_t at, float *y))               \
    /* y = factor[0] row 0 + factor[1] row 1 + ..., one after the other */                                             \
    X(gather_sum, void, (size_t rows, size_t n, const float *factor, float *const *row, size_t at, float *y))          \
    X(score_backward, void,                                                                                            \
      (size_t n, const float *p, const float *dp, float delta, float scale,                                            \
       float *ds)) /* ds = p (dp - delta) scale */                                                                     \
    X(sum_squares, double, (size_t n, const float *x))                                                                 \
    X(to_bf16, void,                                                                                                   \
      (size_t n, const float *x, uint16_t *y)) /* to nearest, ties to even; a NaN stays one; denormal or 0 */          \
    X(from_bf16, void, (size_t n, const uint16_t *x, float *y))                                                        \
    /* Packs B [k, n] of bf16 (rows `row` apart) as words of two rows: panels over n, ceil(k / 2) words deep, filled   \
     * up with zeros. */                                                                                               \
    X(pack_pairs, void, (size_t k, size_t n, const uint16_t *b, size_t row, qn_word *panels))                          \
    /* b [k, n] of float32 (rows `row` apart) as words of two rows in bf16, the first of a word from the upper row:    \
     * ceil(k / 2) rows `word_row` apart, filled up with zeros to a multiple of the panel width. */                    \
    X(narrow_pairs, void, (size_t k, size_t n, const float *b, size_t row, qn_word *words, size_t word_row))           \
    /* y = round(x / scale) + zero in 0 .. 255, over the range of x and 0, but for the exact channels, whose values    \
     * go into the row and whose bytes are 0; finite x */                                                              \
    X(quantize, void, (size_t n, const float *x, const qn_exact *exact, uint8_t *y, qn_byte_row *row))                 \
    /* From sums to values as at the end of gemm_int8 */                                                               \
    X(dequantize, void,                                                                                                \
      (size_t n, const int32_t *sum, const qn_byte_row *row, const qn_byte_columns *columns, float *y))                \
    X(gemm_groups, void, (const qn_group_gemm *g))                                                                     \
    /* A row of activations for gemm_groups, filled up with zeros to whole groups; finite x */                         \
    X(quantize_groups, void, (size_t n, const float *x, int8_t *row))                                                  \
    /* y = scale q, what quantization as a weight in int8 leaves of a row; y may be x */                               \
    X(round_int8, void, (size_t n, const float *x, float *y))                                                          \
    X(finish, void,                                                                                                    \
      (qn_activation f, size_t n, const float *x, const float *bias,                                                   \
       float *y)) /* y = f(x + bias), bias may be NULL; y may be x */                                                  \
    X(adamw, void,                                                                                                     \
      (const qn_adamw *f, size_t n, float *parameter, float *gradient, float *m,                                       \
       float *v)) /* torch.optim.AdamW; zeroes gradient */                                                             \
    /* `count` updates without a gradient, one after the other; from number `live` on the first moment is zero */      \
    X(adamw_idle, void,                                                                                                \
      (const qn_adamw *f, size_t count, size_t live, size_t n, float *parameter, float *m, float *v))                  \
    X(approach, void, (size_t n, float share, const float *x, float *y)) /* y += share (x - y) */

// Products in narrow dtypes, which a table has beside the reference only where the CPU has instructions for them.
#define QN_NARROW_KERNEL_MAP(X)                                                                                        \
    X(gemm_bf16, void, (const qn_gemm *g))                                                                             \
    X(gemm_int8, void, (const qn_gemm *g))

typedef struct {
    const char *name;   // "ref", "avx2", "avx512"
    size_t panel_width; // columns of a packed panel
#define QN_KERNEL_SLOT(name, result, parameters) result(*name) parameters;
    QN_KERNEL_MAP(QN_KERNEL_SLOT)
    QN_NARROW_KERNEL_MAP(QN_KERNEL_SLOT) // NULL: no such instructions
#undef QN_KERNEL_SLOT
} qn_kernels;

// Fill or override the table. The caller has checked that the CPU can run them.
void qn_kernels_ref(qn_kernels *table);
void qn_kernels_avx2(qn_kernels *table);
void qn_kernels_avx512(qn_kernels *table);
void qn_kernels_avx512_bf16(qn_kernels *table); // their products alone
void qn_kernels_avx512_int8(qn_kernels *table);
void qn_kernels_avx512_vnni(qn_kernels *table); // faster products of what all CPUs have

// Whether this CPU has AMX, whose products in narrow dtypes oneDNN knows best.
bool qn_cpu_has_amx(void);

// The best table for this CPU, or the one named; NULL with the last error set when the name is unknown or this CPU
// lacks it.
const qn_kernels *qn_kernels_choose(const char *isa);
