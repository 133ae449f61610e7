// Products in bf16 and int8 through the backend, against float32: right to the dtype's precision, the same bits
// whatever the threads and the neighbours.
#include "backend/backend.h"
#include "base/memory.h"
#include "base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const isas[] = {"ref", "avx2", "avx512"};
enum { ISAS = 3 };
static qn_rng rng = {7, 1, 0};

static float *random_array(size_t count) {
    float *x = qn_aligned_alloc((count ? count : 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++) x[i] = (float)(qn_rng_real(&rng) * 2 - 1);
    return x;
}

// |a - b| / |b|
static double distance(size_t count, const float *a, const float *b) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(a[i]));
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

typedef struct {
    size_t rows, in, out;
    float *x, *w, *bias, *dy;
    float *y, *dx, *dw, *db; // results
} product;

static product new_product(size_t rows, size_t in, size_t out) {
    product p = {rows,
                 in,
                 out,
                 random_array(rows * in),
                 random_array(in * out),
                 random_array(out),
                 random_array(rows * out),
                 NULL,
                 NULL,
                 NULL,
                 NULL};
    return p;
}

static void compute(qn_backend *b, product *p, qn_compute dtype) {
    p->y = random_array(p->rows * p->out), p->dx = random_array(p->rows * p->in);
    p->dw = random_array(p->in * p->out), p->db = random_array(p->out);
    for (size_t i = 0; i < p->in * p->out; i++) p->dw[i] = 0.5f; // gradients of parameters are added to
    for (size_t i = 0; i < p->out; i++) p->db[i] = 0.5f;
    qn_weight weight = {p->w, p->out, p->in, NULL};
    size_t count = p->rows * p->out;
    float *pre = random_array(count), *dy = random_array(count);
    uint16_t *pre_narrow = qn_aligned_alloc(count * sizeof *pre_narrow);
    memcpy(dy, p->dy, count * sizeof *dy); // becomes dz
    b->ops->linear_forward(b, &(qn_linear_forward_args){.rows = p->rows,
                                                        .x = p->x,
                                                        .weight = weight,
                                                        .bias = p->bias,
                                                        .activation = QN_ACTIVATION_GELU,
                                                        .compute = dtype,
                                                        .pre = dtype == QN_DTYPE_F32 ? pre : NULL,
                                                        .pre_narrow = dtype == QN_DTYPE_F32 ? NULL : pre_narrow,
                                                        .y = p->y});
    b->ops->linear_backward(b, &(qn_linear_backward_args){.rows = p->rows,
                                                          .x = p->x,
                                                          .weight = weight,
                                                          .compute = dtype,
                                                          .activation = QN_ACTIVATION_GELU,
                                                          .pre = dtype == QN_DTYPE_F32 ? pre : NULL,
                                                          .pre_narrow = dtype == QN_DTYPE_F32 ? NULL : pre_narrow,
                                                          .dy = dy,
                                                          .dx = p->dx,
                                                          .dweight = p->dw,
                                                          .dbias = p->db});
    assert_int_equal(b->status, QN_OK);
    qn_aligned_free(pre), qn_aligned_free(dy), qn_aligned_free(pre_narrow);
}

static void free_results(product *p) {
    qn_aligned_free(p->y), qn_aligned_free(p->dx), qn_aligned_free(p->dw), qn_aligned_free(p->db);
}

static void free_product(product *p) {
    qn_aligned_free(p->x), qn_aligned_free(p->w), qn_aligned_free(p->bias), qn_aligned_free(p->dy);
}

static const size_t shapes[][3] = {{1, 1, 1},   {1, 5, 3},    {3, 33, 1},    {7, 31, 33},
                                   {64, 48, 5}, {97, 64, 96}, {131, 50, 66}, {513, 96, 40}};

static qn_backend *backend(const char *isa, int threads, qn_compute dtype) {
    qn_backend *b;
    if (qn_backend_create_cpu(threads, isa, &b) != QN_OK) return NULL;
    if (b->ops->computes(b, dtype)) return b;
    qn_backend_destroy(b);
    return NULL;
}

// Forward, dx, dW and db in bf16 are those of float32 but for the rounding of what is read, the activation's too.
static void test_bf16_training(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int i = 0; i < ISAS; i++) {
            qn_backend *one = backend(isas[i], 1, QN_DTYPE_BF16), *two = backend(isas[i], 2, QN_DTYPE_BF16);
            if (!one || !two) continue;
            product p = new_product(shapes[s][0], shapes[s][1], shapes[s][2]), exact = p, again = p;
            compute(one, &p, QN_DTYPE_BF16);
            compute(two, &again, QN_DTYPE_BF16);
            compute(one, &exact, QN_DTYPE_F32);
            assert_true(distance(p.rows * p.out, p.y, exact.y) < 1e-2);
            assert_true(distance(p.rows * p.in, p.dx, exact.dx) < 1e-2);
            assert_true(distance(p.in * p.out, p.dw, exact.dw) < 1e-2);
            assert_true(distance(p.out, p.db, exact.db) < 1e-2);
            assert_memory_equal(p.y, again.y, p.rows * p.out * sizeof(float));
            assert_memory_equal(p.dx, again.dx, p.rows * p.in * sizeof(float));
            assert_memory_equal(p.dw, again.dw, p.in * p.out * sizeof(float));
            assert_memory_equal(p.db, again.db, p.out * sizeof(float));
            free_results(&p), free_results(&exact), free_results(&again);
            free_product(&p);
            qn_backend_destroy(one);
            qn_backend_destroy(two);
        }
}

// A packed weight gives a row the same bits alone and among others, to the dtype's precision.
static void test_packed(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int i = 0; i < ISAS; i++)
            for (int d = QN_DTYPE_F32; d <= QN_DTYPE_Q4; d++) {
                qn_backend *b = backend(isas[i], 2, (qn_compute)d);
                if (!b) continue;
                product p = new_product(shapes[s][0], shapes[s][1], shapes[s][2]), exact = p;
                compute(b, &exact, QN_DTYPE_F32);
                float *y = random_array(p.rows * p.out), *row = random_array(p.out);
                void *packed =
                    b->ops->pack(b, &(qn_pack_args){.out = p.out, .in = p.in, .compute = (qn_compute)d, .weight = p.w});
                assert_non_null(packed);
                qn_linear_forward_args a = {.rows = p.rows,
                                            .x = p.x,
                                            .weight = {p.w, p.out, p.in, packed},
                                            .bias = p.bias,
                                            .activation = QN_ACTIVATION_GELU,
                                            .y = y};
                b->ops->linear_forward(b, &a);
                double far = distance(p.rows * p.out, y, exact.y);
                static const double bounds[] = {1e-6, 1e-2, 3e-2, 3e-2, 2e-1}; // by dtype
                assert_true(far < bounds[d]);
                a.rows = 1, a.y = row, a.x = p.x + (p.rows - 1) * p.in;
                b->ops->linear_forward(b, &a);
                assert_memory_equal(row, y + (p.rows - 1) * p.out, p.out * sizeof *row);
                b->ops->unpack(b, packed);
                qn_aligned_free(y), qn_aligned_free(row);
                free_results(&exact);
                free_product(&p);
                qn_backend_destroy(b);
            }
}

// The channels of a few rows by hand: large values that no other channel has to share the bytes with.
static void put_outliers(product *p, const qn_exact *exact) {
    for (size_t r = 0; r < p->rows; r++)
        for (size_t e = 0; e < exact->count; e++)
            p->x[r * p->in + exact->channel[e]] = (r % 2 ? -40.0f : 300.0f) + (float)e;
}

// Exact channels: rows with a channel far above the others are as near as ordinary rows, whichever of Quern's own
// products and oneDNN's computes them, and a weight that is already quantized gives the same bits.
static void test_exact_channels(void **state) {
    (void)state;
    static const qn_exact sets[] = {{1, {0}}, {1, {4}}, {2, {0, 4}}, {3, {0, 1, 2}}, {4, {0, 1, 3, 4}}};
    for (size_t s = 1; s < sizeof shapes / sizeof *shapes; s++)
        for (int i = 0; i < 2 * ISAS; i++)
            for (size_t set = 0; set < sizeof sets / sizeof *sets; set++) {
                qn_exact exact = sets[set];
                exact.channel[exact.count - 1] = (uint32_t)shapes[s][1] - 1; // the last channel too
                qn_backend *b = backend(isas[i % ISAS], 2, QN_DTYPE_INT8);
                if (!b) continue;
                if (i < ISAS)
                    unsetenv("QUERN_ONEDNN");
                else
                    setenv("QUERN_ONEDNN", "1", 1);
                product p = new_product(shapes[s][0], shapes[s][1], shapes[s][2]), right = p;
                put_outliers(&p, &exact);
                compute(b, &right, QN_DTYPE_F32);
                float *y = random_array(p.rows * p.out), *again = random_array(p.rows * p.out);
                float *scale = random_array(p.out), *column = random_array(exact.count * p.out);
                int8_t *q = malloc(p.out * p.in);
                assert_non_null(q);
                for (size_t n = 0; n < p.out; n++) {
                    scale[n] = qn_int8_quantize(p.in, p.w + n * p.in, &exact, q + n * p.in);
                    for (size_t e = 0; e < exact.count; e++) {
                        column[e * p.out + n] = p.w[n * p.in + exact.channel[e]];
                        assert_int_equal(q[n * p.in + exact.channel[e]], 0);
                    }
                }
                const qn_int8_weight quantized = {q, scale, column, exact};
                qn_pack_args pack = {.out = p.out, .in = p.in, .compute = QN_DTYPE_INT8, .weight = p.w, .exact = exact};
                qn_linear_forward_args a = {
                    .rows = p.rows, .x = p.x, .weight = {p.w, p.out, p.in, NULL}, .bias = p.bias, .y = y};
                a.activation = QN_ACTIVATION_GELU;
                for (int from = 0; from < 2; from++) {
                    if (from) pack.weight = NULL, pack.quantized = &quantized, a.y = again;
                    void *packed = b->ops->pack(b, &pack);
                    assert_non_null(packed);
                    a.weight.packed = packed;
                    b->ops->linear_forward(b, &a);
                    b->ops->unpack(b, packed);
                }
                assert_memory_equal(y, again, p.rows * p.out * sizeof *y);
                double largest = 0; // the others' error, next to nothing beside the outliers
                for (size_t k = 0; k < p.rows * p.out; k++) largest = fmax(largest, fabs((double)y[k] - right.y[k]));
                assert_true(largest < 0.02 * sqrt((double)p.in) + 1e-4 * 300);
                free(q);
                qn_aligned_free(y), qn_aligned_free(again), qn_aligned_free(scale), qn_aligned_free(column);
                free_results(&right);
                free_product(&p);
                qn_backend_destroy(b);
            }
    unsetenv("QUERN_ONEDNN");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bf16_training), cmocka_unit_test(test_packed),
                                       cmocka_unit_test(test_exact_channels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
