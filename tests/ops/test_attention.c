// Ragged attention, forward and every gradient, against a plain O(s^2) reference in double precision, with and without
// dropout, on every instruction set and several numbers of threads.
#include "backend/cpu/ref/ref.h"
#include "base/half.h"
#include "fixture.h"

enum { MOST = 160 };

typedef struct {
    size_t heads, h, d;
    float dropout;
    size_t window;           // 0: all keys
    const float *qkv, *dout; // [T, 3 d], [T, d]
    double *out, *dqkv;
} problem;

static double dot(const float *x, const float *y, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * y[i];
    return sum;
}

// keep[j] = 1 / (1 - p) or 0: the mask that the operation draws for a row of probabilities (seed 5, stream 0).
static void draw_mask(const problem *a, size_t token, size_t head, size_t s, float *keep) {
    float ones[MOST];
    for (size_t j = 0; j < s; j++) keep[j] = ones[j] = 1;
    if (a->dropout > 0)
        qn_ref_dropout((qn_dropout){a->dropout, 5, 0}, (uint64_t)(token * a->heads + head) << 20, s, ones, keep, false);
}

// One head of one sequence: rows first .. first + s - 1.
static void reference(const problem *a, size_t first, size_t s, size_t head) {
    size_t d = a->d, h = a->h, w = 3 * d, column = head * h;
    double scale = 1 / sqrt((double)h);
    for (size_t i = 0; i < s; i++) {
        const float *q = a->qkv + (first + i) * w + column, *dout = a->dout + (first + i) * d + column;
        double p[MOST], dp[MOST], sum = 0, top = -INFINITY, delta = 0;
        float keep[MOST];
        draw_mask(a, first + i, head, s, keep);
        for (size_t j = 0; j < s; j++) {
            bool seen = a->window == 0 || (i <= j + a->window && j <= i + a->window);
            p[j] = seen ? scale * dot(q, a->qkv + (first + j) * w + d + column, h) : -INFINITY;
            top = fmax(top, p[j]);
        }
        for (size_t j = 0; j < s; j++) sum += p[j] = exp(p[j] - top);
        for (size_t j = 0; j < s; j++) {
            const float *value = a->qkv + (first + j) * w + 2 * d + column;
            p[j] /= sum;
            dp[j] = keep[j] * dot(dout, value, h);
            delta += p[j] * dp[j];
            for (size_t e = 0; e < h; e++) {
                a->out[(first + i) * d + column + e] += p[j] * keep[j] * value[e];
                a->dqkv[(first + j) * w + 2 * d + column + e] += p[j] * keep[j] * dout[e];
            }
        }
        for (size_t j = 0; j < s; j++)
            for (size_t e = 0; e < h; e++) {
                double ds = p[j] * (dp[j] - delta) * scale;
                a->dqkv[(first + i) * w + column + e] += ds * a->qkv[(first + j) * w + d + column + e];
                a->dqkv[(first + j) * w + d + column + e] += ds * q[e];
            }
    }
}

static void compare_within(double tolerance, const char *what, const char *isa, const problem *a, const float *ours,
                           const double *theirs, size_t n) {
    double worst = 0, top = 1e-3;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(ours[i] - theirs[i]));
        top = fmax(top, fabs(theirs[i]));
    }
    if (!(worst <= tolerance * top))
        fail_msg("%s on %s, %zu heads of %zu, dropout %g: differs by %.3g, largest value %.3g", what, isa, a->heads,
                 a->h, a->dropout, worst, top);
}

static void compare(const char *what, const char *isa, const problem *a, const float *ours, const double *theirs,
                    size_t n) {
    compare_within(1e-5, what, isa, a, ours, theirs, n);
}

static void check(qn_ragged batch, size_t heads, size_t h, float dropout, size_t window) {
    size_t rows = (size_t)batch.offsets[batch.sequences], d = heads * h;
    qn_tensor *qkv = random_matrix(rows, 3 * d, heads);
    float *dout = malloc((rows * d + 1) * sizeof *dout);
    memcpy(dout, random_values(99, rows * d), rows * d * sizeof *dout); // as fixture.h's weighed
    problem a = {heads,
                 h,
                 d,
                 dropout,
                 window,
                 qkv->data,
                 dout,
                 calloc(rows * d + 1, sizeof(double)),
                 calloc(rows * 3 * d + 1, sizeof(double))};
    for (size_t i = 0; i < batch.sequences; i++)
        for (size_t head = 0; head < heads; head++)
            reference(&a, (size_t)batch.offsets[i], (size_t)(batch.offsets[i + 1] - batch.offsets[i]), head);
    for (size_t k = 0; k < 6; k++) {
        qn_context *c = open_context(1 + (int)k / 3 * 2, all_isas[k % 3]);
        if (!c) continue;
        qn_context_dropout(c, true, 5);
        qn_recording_begin(c);
        qn_attention_form form = {.heads = heads, .dropout = dropout, .window = window};
        qn_tensor *out = qn_self_attention_of(c, qkv, batch, &form);
        weighed(c, out);
        compare("attention", all_isas[k % 3], &a, out->data, a.out, rows * d);
        assert_ok(qn_backward(c));
        compare("attention backward", all_isas[k % 3], &a, qkv->grad, a.dqkv, rows * 3 * d);
        memset(qkv->grad, 0, rows * 3 * d * sizeof(float));
        qn_context_destroy(c);
    }
    free(dout);
    free(a.out);
    free(a.dqkv);
    qn_parameter_free(qkv);
}

// While training in bf16: a product with the identity makes the operand narrow, and another one the result wide again.
static void check_narrow(qn_ragged batch, size_t heads, size_t h, float dropout) {
    size_t rows = (size_t)batch.offsets[batch.sequences], d = heads * h;
    qn_tensor *x = random_matrix(rows, 3 * d, heads), *same[2]; // [3 d, 3 d] and [d, d]
    for (size_t i = 0; i < rows * 3 * d; i++) x->data[i] = qn_bf16_to_f32(qn_f32_to_bf16(x->data[i]));
    for (size_t k = 0; k < 2; k++) {
        size_t width = k ? d : 3 * d;
        float *values = calloc(width * width, sizeof *values);
        for (size_t i = 0; i < width; i++) values[i * (width + 1)] = 1;
        assert_ok(qn_parameter_create(2, (size_t[]){width, width}, values, &same[k]));
        same[k]->requires_grad = false;
        free(values);
    }
    float *dout = malloc((rows * d + 1) * sizeof *dout);
    memcpy(dout, random_values(99, rows * d), rows * d * sizeof *dout);
    problem a = {heads,
                 h,
                 d,
                 dropout,
                 0,
                 x->data,
                 dout,
                 calloc(rows * d + 1, sizeof(double)),
                 calloc(rows * 3 * d + 1, sizeof(double))};
    for (size_t i = 0; i < batch.sequences; i++)
        for (size_t head = 0; head < heads; head++)
            reference(&a, (size_t)batch.offsets[i], (size_t)(batch.offsets[i + 1] - batch.offsets[i]), head);
    for (size_t k = 0; k < 6; k++) {
        qn_context *c = open_context(1 + (int)k / 3 * 2, all_isas[k % 3]);
        if (!c) continue;
        if (c->backend->ops->computes(c->backend, QN_DTYPE_BF16)) {
            c->compute = QN_DTYPE_BF16;
            qn_context_dropout(c, true, 5);
            qn_recording_begin(c);
            qn_tensor *qkv = qn_linear_narrow(c, x, same[0], NULL, QN_ACTIVATION_NONE);
            qn_tensor *mixed = qn_self_attention(c, qkv, heads, batch, dropout);
            assert_true(!mixed || mixed->is_narrow);
            qn_tensor *out = qn_linear(c, mixed, same[1], NULL, QN_ACTIVATION_NONE);
            weighed(c, out);
            compare_within(0.01, "narrow attention", all_isas[k % 3], &a, out->data, a.out, rows * d);
            assert_ok(qn_backward(c));
            compare_within(0.02, "narrow attention backward", all_isas[k % 3], &a, x->grad, a.dqkv, rows * 3 * d);
            memset(x->grad, 0, rows * 3 * d * sizeof(float));
        }
        qn_context_destroy(c);
    }
    free(dout);
    free(a.out);
    free(a.dqkv);
    qn_parameter_free(x);
    qn_parameter_free(same[0]);
    qn_parameter_free(same[1]);
}

static void test_reference(void **state) {
    (void)state;
    static const int32_t none[] = {0, 0}, one[] = {0, 1}, mixed[] = {0, 0, 1, 1, 34, 36, 36, 100},
                         longer[] = {0, 48, 97, 97 + MOST};
    static const size_t shapes[][2] = {{1, 1}, {1, 64}, {3, 5}, {2, 8}, {2, 20}, {4, 32}};
    static const qn_ragged batches[] = {{1, none}, {1, one}, {7, mixed}, {3, longer}};
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 8; k++) {
            check(batches[k / 2], shapes[i][0], shapes[i][1], k % 2 ? 0.2f : 0, 0);
            if (shapes[i][1] % 2 == 0) check_narrow(batches[k / 2], shapes[i][0], shapes[i][1], k % 2 ? 0.2f : 0);
        }
}

// Keys beyond the window are neither seen nor changed.
static void test_window(void **state) {
    (void)state;
    static const int32_t mixed[] = {0, 0, 1, 1, 34, 36, 36, 100}, longer[] = {0, 48, 97, 97 + MOST};
    static const qn_ragged batches[] = {{7, mixed}, {3, longer}};
    static const size_t windows[] = {1, 2, 7, 16, 63, 200};
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 2; k++) check(batches[k], 2, 20, 0, windows[i]);
}

// Scores of hundreds do not overflow: the largest is taken off before the exponential.
static void test_large_scores(void **state) {
    (void)state;
    qn_tensor *qkv = random_matrix(6, 24, 3);
    static const int32_t offsets[] = {0, 6};
    for (size_t i = 0; i < 6 * 24; i++) qkv->data[i] *= 100;
    for (size_t isa = 0; isa < 3; isa++) {
        qn_context *c = open_context(1, all_isas[isa]);
        if (!c) continue;
        qn_recording_begin(c);
        qn_tensor *out = qn_self_attention(c, qkv, 2, (qn_ragged){1, offsets}, 0);
        weighed(c, out);
        assert_ok(qn_backward(c));
        for (size_t i = 0; i < 6 * 8; i++) assert_true(isfinite(out->data[i]));
        for (size_t i = 0; i < 6 * 24; i++) assert_true(isfinite(qkv->grad[i]));
        qn_context_destroy(c);
    }
    qn_parameter_free(qkv);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_window),
                                       cmocka_unit_test(test_large_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
