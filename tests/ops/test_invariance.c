// Equal bytes: a sequence alone or in a batch, on one, two or three threads; and dropout that depends on seed, stream
// and place alone.
#include "fixture.h"

enum { TOKENS = 150, D = 36, HEADS = 3, WIDE = 50, SEQUENCES = 6, WEIGHTS = 10 };
static const int32_t offsets[SEQUENCES + 1] = {0, 1, 1, 38, 40, 97, TOKENS};

static void make_parameters(qn_tensor **p) {
    p[0] = random_matrix(TOKENS, D, 1);
    p[1] = random_matrix(3 * D, D, 2);
    p[2] = random_parameter(0, 3 * D, 3);
    p[3] = random_matrix(D, D, 4);
    p[4] = random_parameter(0, D, 5);
    p[5] = random_parameter(0, D, 6);
    p[6] = random_matrix(WIDE, D, 7);
    p[7] = random_matrix(D, WIDE, 8);
    p[8] = random_parameter(0, D, 9);
    p[9] = random_parameter(0, D, 10);
}

// A block over rows of x: linear, attention, norm and activation.
static qn_tensor *block(qn_context *c, qn_tensor *x, qn_tensor **p, qn_ragged batch, float dropout) {
    qn_tensor *qkv = qn_linear(c, x, p[1], p[2], QN_ACTIVATION_NONE);
    qn_tensor *mixed = qn_linear(c, qn_self_attention(c, qkv, HEADS, batch, dropout), p[3], NULL, QN_ACTIVATION_NONE);
    x = qn_add_norm(c, x, mixed, p[4], p[5], 1e-5f, dropout, NULL);
    qn_tensor *wide = qn_linear(c, x, p[6], NULL, QN_ACTIVATION_GELU);
    return qn_add_norm(c, x, qn_linear(c, wide, p[7], NULL, QN_ACTIVATION_NONE), p[8], p[9], 1e-5f, dropout, NULL);
}

static void test_alone_or_in_a_batch(void **state) {
    (void)state;
    qn_tensor *p[WEIGHTS];
    make_parameters(p);
    for (size_t isa = 0; isa < 3; isa++) {
        qn_context *c = open_context(2, all_isas[isa]), *alone = open_context(1, all_isas[isa]);
        if (!c) continue;
        qn_tensor *all = block(c, p[0], p, (qn_ragged){SEQUENCES, offsets}, 0);
        assert_non_null(all);
        for (size_t i = 0; i < SEQUENCES; i++) {
            size_t first = (size_t)offsets[i], rows = (size_t)offsets[i + 1] - first;
            qn_context_reset(alone);
            qn_tensor *x = qn_constant(alone, 2, (size_t[]){rows, D}, p[0]->data + first * D);
            qn_tensor *y = block(alone, x, p, (qn_ragged){1, (int32_t[]){0, (int32_t)rows}}, 0);
            assert_non_null(y);
            assert_memory_equal(y->data, all->data + first * D, rows * D * sizeof(float));
        }
        qn_context_destroy(c);
        qn_context_destroy(alone);
    }
    for (size_t i = 0; i < WEIGHTS; i++) qn_parameter_free(p[i]);
}

// Three AdamW steps with dropout: weights and loss have the same bytes on one, two and three threads.
static void test_threads(void **state) {
    (void)state;
    static const int32_t targets[SEQUENCES] = {1, 2, 0, 35, 7, 7};
    for (size_t isa = 0; isa < 3; isa++) {
        qn_tensor *first[WEIGHTS];
        double first_loss = 0;
        for (int threads = 1; threads <= 3; threads++) {
            qn_context *c = open_context(threads, all_isas[isa]);
            if (!c) break;
            qn_tensor *p[WEIGHTS];
            make_parameters(p);
            double loss = 0;
            for (int step = 1; step <= 3; step++) {
                qn_context_reset(c);
                qn_context_dropout(c, true, (uint64_t)step);
                qn_recording_begin(c);
                qn_tensor *y = block(c, p[0], p, (qn_ragged){SEQUENCES, offsets}, 0.1f);
                qn_tensor *pooled = qn_pool_sequences(c, y, (qn_ragged){SEQUENCES, offsets}, QN_POOL_MEAN);
                assert_ok(qn_cross_entropy(c, pooled, targets, NULL, 0, &loss));
                assert_ok(qn_backward(c));
                assert_ok(qn_adamw_step(c, p, WEIGHTS, NULL, step));
            }
            for (size_t i = 0; i < WEIGHTS; i++) {
                if (threads == 1)
                    first[i] = p[i];
                else {
                    assert_memory_equal(first[i]->data, p[i]->data, qn_count(p[i]) * sizeof(float));
                    qn_parameter_free(p[i]);
                }
                if (threads == 3) qn_parameter_free(first[i]);
            }
            if (threads == 1) first_loss = loss;
            assert_memory_equal(&first_loss, &loss, sizeof loss);
            qn_context_destroy(c);
        }
    }
}

static float *dropped(qn_context *c, qn_tensor *x, uint64_t seed, int earlier) {
    qn_context_reset(c);
    qn_context_dropout(c, true, seed);
    for (int i = 0; i < earlier; i++) qn_drop(c, x, 0.5f);
    qn_tensor *y = qn_drop(c, x, 0.3f);
    float *copy = malloc(qn_count(x) * sizeof *copy);
    memcpy(copy, y->data, qn_count(x) * sizeof *copy);
    return copy;
}

// The same seed gives the same bytes on any thread count and instruction set; another seed or an earlier dropout
// others; a share of 0.3 is dropped and the rest grows by 1 / 0.7; switched off, x itself comes back.
static void test_dropout(void **state) {
    (void)state;
    qn_tensor *x;
    assert_ok(qn_parameter_create(2, (size_t[]){400, 50}, NULL, &x));
    size_t bytes = 20000 * sizeof(float), kept = 0;
    for (size_t i = 0; i < 20000; i++) x->data[i] = 1;
    qn_context *c = open_context(1, "ref");
    float *first = dropped(c, x, 7, 0), *other_seed = dropped(c, x, 8, 0), *later = dropped(c, x, 7, 1);
    assert_int_not_equal(memcmp(first, other_seed, bytes), 0);
    assert_int_not_equal(memcmp(first, later, bytes), 0);
    for (size_t i = 0; i < 20000; i++) {
        kept += first[i] != 0;
        assert_true(first[i] == 0 || fabsf(first[i] - 1 / 0.7f) < 1e-6f);
    }
    assert_in_range(kept, 14000 - 400, 14000 + 400); // deviation 65
    qn_context_dropout(c, false, 7);
    assert_ptr_equal(qn_drop(c, x, 0.3f), x);
    qn_context_destroy(c);
    for (size_t isa = 0; isa < 3; isa++)
        for (int threads = 1; threads <= 3; threads++) {
            c = open_context(threads, all_isas[isa]);
            if (!c) continue;
            float *again = dropped(c, x, 7, 0);
            assert_memory_equal(first, again, bytes);
            free(again);
            qn_context_destroy(c);
        }
    free(first);
    free(other_seed);
    free(later);
    qn_parameter_free(x);
}

// Losses of single elements, and draws from normal variables with their divergence: the sums of ranges and of products
// are those of the formulas, at the ends too, with the same bytes on one, two and three threads.
static void test_losses_of_elements(void **state) {
    (void)state;
    enum { ROWS = 120, WIDTH = 98, COUNT = ROWS * WIDTH };
    static float targets[COUNT], first[COUNT];
    qn_tensor *x = random_matrix(ROWS, WIDTH, 21);
    double expected[2] = {0}, first_loss[3] = {0};
    for (size_t i = 0; i < COUNT; i++) {
        if (i % 50 == 0) x->data[i] = i % 100 ? -95 : 95; // a sigmoid of nothing and of all
        targets[i] = (float)(i % 3) / 2;
        double v = x->data[i], t = targets[i];
        expected[0] += (fmax(v, 0) - v * t + log1p(exp(-fabs(v)))) / COUNT;
        expected[1] += (v - t) * (v - t) / COUNT;
    }
    for (int threads = 1; threads <= 3; threads++) {
        qn_context *c = open_context(threads, NULL);
        double loss[3];
        qn_recording_begin(c);
        qn_context_dropout(c, true, 8);
        memset(x->grad, 0, COUNT * sizeof *x->grad);
        qn_tensor *y = qn_scale(c, x, 1);
        assert_ok(qn_binary_cross_entropy(c, y, targets, &loss[0]));
        assert_ok(qn_mean_squared_error(c, y, targets, &loss[1]));
        qn_tensor *drawn = qn_reparameterize(c, qn_scale(c, x, 0.1f));
        assert_ok(qn_mean_squared_error(c, drawn, targets, &loss[2]));
        assert_ok(qn_backward(c));
        for (int k = 0; k < 2; k++) assert_true(fabs(loss[k] - expected[k]) < 2e-7 * expected[k]);
        if (threads == 1) memcpy(first, x->grad, sizeof first), memcpy(first_loss, loss, sizeof loss);
        assert_memory_equal(first_loss, loss, sizeof loss);
        assert_memory_equal(first, x->grad, sizeof first);
        qn_context_destroy(c);
    }
    qn_parameter_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alone_or_in_a_batch), cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_dropout), cmocka_unit_test(test_losses_of_elements)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
