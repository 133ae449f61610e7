// Matrix product over tiles of TILE_ROWS x 2 vectors held in registers. The includer defines TILE_ROWS and TILE_EACH,
// and has included its vec.h and math.inc.h. Each element is one chain of fused multiply-adds over p, whatever the
// tile: see kernels.h.

// Rows are addressed in groups of three (base, base + row, base + 2 row), which keeps the pointers of a whole tile in
// registers.
#define GROUPS ((TILE_ROWS + 2) / 3)

static inline __attribute__((always_inline)) void tile(const int rows, const int vectors, const qn_gemm *g,
                                                       const float *a, const float *b, size_t k, float *c, size_t tail,
                                                       bool plain_tail) {
    v_float sum[TILE_ROWS][2];
    const size_t a_row = g->a_row, a_step = g->a_step, b_row = g->b_row, c_row = g->c_row;
    const float *base[GROUPS];
    QN_UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] = a + (size_t)i * a_row;
    QN_UNROLL for (int i = 0; i < rows; i++) {
        float *row = c + (size_t)i * c_row;
        if (!g->accumulate) {
            sum[i][0] = sum[i][1] = v_set1(0.0f);
        } else if (vectors == 2) {
            sum[i][0] = v_load(row);
            sum[i][1] = tail == V_WIDTH ? v_load(row + V_WIDTH) : v_load_tail(row + V_WIDTH, tail);
        } else {
            sum[i][0] = tail == V_WIDTH ? v_load(row) : v_load_tail(row, tail);
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
            sum[i][0] = v_fma(x, b0, sum[i][0]);
            if (vectors == 2) sum[i][1] = v_fma(x, b1, sum[i][1]);
        }
        QN_UNROLL for (int i = 0; i < rows; i += 3) base[i / 3] += a_step;
        b += b_row;
    }
    QN_UNROLL for (int i = 0; i < rows; i++) {
        float *row = c + (size_t)i * c_row;
        if (vectors == 2) {
            v_store(row, sum[i][0]);
            row += V_WIDTH;
        }
        v_float last = vectors == 2 ? sum[i][1] : sum[i][0];
        if (tail == V_WIDTH)
            v_store(row, last);
        else
            v_store_tail(row, last, tail);
    }
}

// One function per number of rows keeps every accumulator in a register.
#define TILE(rows)                                                                                                     \
    static __attribute__((noinline)) void tile_##rows(const qn_gemm *g, const float *a, const float *b, size_t k,      \
                                                      float *c, size_t n) {                                            \
        size_t tail = (n - 1) % V_WIDTH + 1;                                                                           \
        bool plain_tail = !g->b_packed && tail != V_WIDTH;                                                             \
        if (n > V_WIDTH) {                                                                                             \
            if (plain_tail)                                                                                            \
                tile(rows, 2, g, a, b, k, c, tail, true);                                                              \
            else                                                                                                       \
                tile(rows, 2, g, a, b, k, c, tail, false);                                                             \
        } else if (plain_tail)                                                                                         \
            tile(rows, 1, g, a, b, k, c, tail, true);                                                                  \
        else                                                                                                           \
            tile(rows, 1, g, a, b, k, c, tail, false);                                                                 \
    }
TILE_EACH(TILE)
#undef TILE

static void (*const tiles[TILE_ROWS + 1])(const qn_gemm *, const float *, const float *, size_t, float *,
                                          size_t) = {NULL,
#define TILE(rows) tile_##rows,
                                                     TILE_EACH(TILE)
#undef TILE
};

// Bias and activation of one tile while it is in the first-level cache.
static void finish(const qn_gemm *g, size_t row, size_t rows, size_t column, size_t n) {
    for (size_t i = row; i < row + rows; i++) {
        float *c = g->c + i * g->c_row + column, *pre = g->pre ? g->pre + i * g->c_row + column : NULL;
        for (size_t j = 0; j < n; j += V_WIDTH) {
            size_t tail = n - j < V_WIDTH ? n - j : V_WIDTH;
            v_float y = v_load_tail(c + j, tail);
            if (g->bias) y = v_add(y, v_load_tail(g->bias + column + j, tail));
            if (pre) v_store_tail(pre + j, y, tail);
            v_store_tail(c + j, v_activate(g->activation, y), tail);
        }
    }
}

void QN_V_NAME(gemm)(const qn_gemm *g) {
    // The rows are cut into equal tiles rather than full ones and a rest: 64 = 13 + 13 + 13 + 13 + 12.
    size_t count = (g->m + TILE_ROWS - 1) / TILE_ROWS;
    bool last_pass = g->bias || g->pre || g->activation != QN_ACTIVATION_NONE;
    for (size_t column = 0; column < g->n; column += 2 * V_WIDTH) {
        size_t n = g->n - column < 2 * V_WIDTH ? g->n - column : 2 * V_WIDTH;
        const float *b = g->b + column / (2 * V_WIDTH) * g->b_panel;
        for (size_t t = 0, row = 0; t < count; t++) {
            size_t rows = (g->m - row + count - t - 1) / (count - t);
            tiles[rows](g, g->a + row * g->a_row, b, g->k, g->c + row * g->c_row + column, n);
            if (last_pass) finish(g, row, rows, column, n);
            row += rows;
        }
    }
}

void QN_V_NAME(pack)(size_t n, size_t k, const float *w, size_t row, float *panels) {
    for (size_t first = 0; first < n; first += 2 * V_WIDTH) {
        size_t columns = n - first < 2 * V_WIDTH ? n - first : 2 * V_WIDTH;
        const float *source = w + first * row;
        // Blocks of 16 steps: each source row is read a cache line at a time while the written block stays near.
        for (size_t p0 = 0; p0 < k; p0 += 16) {
            size_t steps = k - p0 < 16 ? k - p0 : 16;
            float *block = panels + p0 * 2 * V_WIDTH;
            for (size_t j = 0; j < columns; j++)
                for (size_t p = 0; p < steps; p++) block[p * 2 * V_WIDTH + j] = source[j * row + p0 + p];
            for (size_t p = 0; p < steps && columns < 2 * V_WIDTH; p++)
                for (size_t j = columns; j < 2 * V_WIDTH; j++) block[p * 2 * V_WIDTH + j] = 0.0f;
        }
        panels += k * 2 * V_WIDTH;
    }
}
#undef GROUPS
