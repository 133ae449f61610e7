// Matrix product over tiles of TILE_ROWS x 2 vectors held in registers. The includer has included its vec.h and
// math.inc.h and defines
//   TILE_ROWS, TILE_EACH(X)   the rows of the largest tile, and X(1) .. X(TILE_ROWS)
//   GEMM                      the kernel's name
//   g_sum                     a vector of sums, made by g_zero(), G_STEP(sum, a, b) from words, and seen as a vector of
//                             floats, bit by bit, through g_bits(sum)
//   g_columns                 what finished sums of some columns have in common: g_columns_of(g, column, n)
//   G_VALUE(g, columns, row, bits)   a finished sum of C[row, column ..] as a float32
//   G_RAW                     whether a sum as it is can be C
//   G_AHEAD                   whether a panel's second tile fetches the next panel into the second-level cache.
//                             Without it the first tile of each panel waits for memory, with few rows a third of the
//                             time of AVX2's small tiles; AVX-512's large ones gain nothing.
// Each element is one chain of fused multiply-adds over p, whatever the tile: see kernels.h.

// Rows are addressed in groups of three (base, base + row, base + 2 row), which keeps the pointers of a whole tile in
// registers.
#define GROUPS ((TILE_ROWS + 2) / 3)

static inline __attribute__((always_inline)) void tile(const int rows, const int vectors, const qn_gemm *g,
                                                       const qn_word *a, const qn_word *b, float *c, const size_t c_row,
                                                       size_t tail, bool plain_tail, const qn_word *next,
                                                       const size_t next_row) {
    g_sum sum[TILE_ROWS][2];
    const size_t a_row = g->a_row, a_step = g->a_step, b_row = g->b_row, k = g->k;
    const qn_word *base[GROUPS];
    QN_UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] = a + (size_t)i * a_row;
    QN_UNROLL for (int i = 0; i < rows; i++) {
        float *row = c + (size_t)i * c_row;
        if (!g->accumulate) {
            sum[i][0] = sum[i][1] = g_zero();
        } else if (vectors == 2) {
            sum[i][0] = g_from(v_load(row));
            sum[i][1] = g_from(tail == V_WIDTH ? v_load(row + V_WIDTH) : v_load_tail(row + V_WIDTH, tail));
        } else {
            sum[i][0] = g_from(tail == V_WIDTH ? v_load(row) : v_load_tail(row, tail));
        }
    }
    for (size_t p = 0; p < k; p++) {
        v_float b0, b1 = v_set1(0.0f);
        if (vectors == 2) {
            b0 = v_load(b);
            b1 = plain_tail ? v_load_tail(b + V_WIDTH, tail) : v_load(b + V_WIDTH);
        } else {
            b0 = plain_tail ? v_load_tail(b, tail) : v_load(b);
        }
        QN_UNROLL for (int i = 0; i < rows; i++) {
            v_float x = v_set1(base[i / 3][(size_t)(i % 3) * a_row]);
            sum[i][0] = G_STEP(sum[i][0], x, b0);
            if (vectors == 2) sum[i][1] = G_STEP(sum[i][1], x, b1);
        }
        QN_UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] += a_step;
        b += b_row;
        if (G_AHEAD) __builtin_prefetch(next, 0, 2);
        next += next_row;
    }
    QN_UNROLL for (int i = 0; i < rows; i++) {
        float *row = c + (size_t)i * c_row;
        if (vectors == 2) {
            v_store(row, g_bits(sum[i][0]));
            row += V_WIDTH;
        }
        v_float last = g_bits(vectors == 2 ? sum[i][1] : sum[i][0]);
        if (tail == V_WIDTH)
            v_store(row, last);
        else
            v_store_tail(row, last, tail);
    }
}

// One function per number of rows keeps every accumulator in a register. The next panel, whose rows are a cache line,
// is at `next`; where there is nothing to fetch that is this panel, with next_row 0.
#define TILE_ARGUMENTS                                                                                                 \
    const qn_gemm *g, const qn_word *a, const qn_word *b, float *c, size_t c_row, size_t n, const qn_word *next,       \
        size_t next_row
#define TILE(rows)                                                                                                     \
    static __attribute__((noinline)) void tile_##rows(TILE_ARGUMENTS) {                                                \
        size_t tail = (n - 1) % V_WIDTH + 1;                                                                           \
        bool plain_tail = !g->b_packed && tail != V_WIDTH;                                                             \
        if (n > V_WIDTH) {                                                                                             \
            if (plain_tail)                                                                                            \
                tile(rows, 2, g, a, b, c, c_row, tail, true, next, next_row);                                          \
            else                                                                                                       \
                tile(rows, 2, g, a, b, c, c_row, tail, false, next, next_row);                                         \
        } else if (plain_tail)                                                                                         \
            tile(rows, 1, g, a, b, c, c_row, tail, true, next, next_row);                                              \
        else                                                                                                           \
            tile(rows, 1, g, a, b, c, c_row, tail, false, next, next_row);                                             \
    }
TILE_EACH(TILE)
#undef TILE

static void (*const tiles[TILE_ROWS + 1])(TILE_ARGUMENTS) = {NULL,
#define TILE(rows) tile_##rows,
                                                             TILE_EACH(TILE)
#undef TILE
};
#undef TILE_ARGUMENTS

// From the sums of one tile, which are in the first-level cache, to C: scales, bias, activation, dtype. `plain`: whole
// vectors, and no `pre`.
static inline __attribute__((always_inline)) void finish_rows(const qn_gemm *g, const float *sums, size_t row,
                                                              size_t rows, size_t column, size_t n,
                                                              const qn_activation f, const bool plain) {
    for (size_t j = 0; j < n; j += V_WIDTH) {
        const size_t at = column + j, tail = plain || n - j > V_WIDTH ? V_WIDTH : n - j;
        const v_float bias = g->bias ? v_get(g->bias + at, tail) : v_zero();
        const g_columns columns = g_columns_of(g, at, tail);
        const float *from = sums + j;
        const size_t first = row * g->c_row + at;
        float *c = g->narrow ? NULL : g->c + first, *pre = plain || !g->pre ? NULL : g->pre + first;
        uint16_t *narrow = g->narrow ? g->narrow + first : NULL;
        uint16_t *pre_narrow = plain || !g->pre_narrow ? NULL : g->pre_narrow + first;
        for (size_t i = row; i < row + rows; i++, from += 2 * V_WIDTH) {
            v_float y = v_add(G_VALUE(g, columns, i, plain ? v_load(from) : v_get(from, tail)), bias);
            if (pre) v_put(pre + (i - row) * g->c_row, tail, y);
            if (pre_narrow) y = v_put_bf16(pre_narrow + (i - row) * g->c_row, tail, y);
            y = v_activate(f, y);
            if (narrow)
                v_put_bf16(narrow + (i - row) * g->c_row, tail, y);
            else if (plain)
                v_store(c + (i - row) * g->c_row, y);
            else
                v_put(c + (i - row) * g->c_row, tail, y);
        }
    }
}

// One loop for each of the common activations keeps its constants in registers.
static void finish(const qn_gemm *g, const float *sums, size_t row, size_t rows, size_t column, size_t n) {
    const bool plain = !g->pre && !g->pre_narrow && n == 2 * V_WIDTH, gelu = g->activation == QN_ACTIVATION_GELU;
    if (!plain && gelu)
        finish_rows(g, sums, row, rows, column, n, QN_ACTIVATION_GELU, false);
    else if (!plain)
        finish_rows(g, sums, row, rows, column, n, g->activation, false);
    else if (g->activation == QN_ACTIVATION_NONE)
        finish_rows(g, sums, row, rows, column, 2 * V_WIDTH, QN_ACTIVATION_NONE, true);
    else if (gelu)
        finish_rows(g, sums, row, rows, column, 2 * V_WIDTH, QN_ACTIVATION_GELU, true);
    else
        finish_rows(g, sums, row, rows, column, 2 * V_WIDTH, g->activation, true);
}

void GEMM(const qn_gemm *g) {
    // The rows are cut into equal tiles rather than full ones and a rest: 64 = 13 + 13 + 13 + 13 + 12.
    size_t count = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    bool raw = G_RAW && !g->bias && !g->pre && !g->pre_narrow && !g->narrow && g->activation == QN_ACTIVATION_NONE;
    float sums[TILE_ROWS * 2 * V_WIDTH];
    for (size_t column = 0; column < g->n; column += 2 * V_WIDTH) {
        size_t n = g->n - column < 2 * V_WIDTH ? g->n - column : 2 * V_WIDTH;
        const qn_word *b = g->b + column / (2 * V_WIDTH) * g->b_panel;
        for (size_t t = 0, row = 0; t < count; t++) {
            size_t rows = (g->m - row + count - t - 1) / (count - t);
            const qn_word *a = g->a + row * g->a_row;
            const bool ahead = G_AHEAD && t == 1 && g->b_packed && column + 2 * V_WIDTH < g->n;
            const qn_word *next = ahead ? b + g->b_panel : b;
            const size_t next_row = ahead ? g->b_row : 0;
            if (raw) {
                tiles[rows](g, a, b, g->c + row * g->c_row + column, g->c_row, n, next, next_row);
            } else {
                tiles[rows](g, a, b, sums, 2 * V_WIDTH, n, next, next_row);
                finish(g, sums, row, rows, column, n);
            }
            row += rows;
        }
    }
}
#undef GROUPS
