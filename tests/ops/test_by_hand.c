// The context of quern.h: failures and their messages, memory that runs out at every place, and steps that take nothing
// from the heap, by hand and of a whole encoder.
#include "fixture.h"
#include "models/network.h"
#include "train/optimizer.h"

static void test_wrong_shapes(void **state) {
    (void)state;
    qn_context *c = open_context(1, NULL);
    qn_tensor *x = random_matrix(4, 6, 1), *w = random_matrix(3, 5, 2), *v = random_parameter(0, 6, 3), *bad;
    static const int32_t down[] = {0, 3, 2, 4}, within[] = {0, 3}, from[] = {1, 4}, ids[] = {0, 4, 1, -1};
    const int32_t *id = ids;
    double loss;
#define REFUSED(expression, text)                                                                                      \
    do {                                                                                                               \
        qn_context_reset(c);                                                                                           \
        assert_null(expression);                                                                                       \
        assert_int_equal(qn_context_status(c), QN_ERROR_ARGUMENT);                                                     \
        assert_non_null(strstr(qn_last_error(), text));                                                                \
    } while (0)
    REFUSED(qn_linear(c, x, w, NULL, QN_ACTIVATION_NONE), "W [3, 5]");
    REFUSED(qn_linear(c, x, v, NULL, QN_ACTIVATION_NONE), "linear");
    REFUSED(qn_self_attention(c, x, 0, (qn_ragged){1, (int32_t[]){0, 4}}, 0), "0 heads");
    REFUSED(qn_self_attention(c, x, 4, (qn_ragged){1, (int32_t[]){0, 4}}, 0), "4 heads");
    REFUSED(qn_self_attention(c, x, 2, (qn_ragged){3, down}, 0), "ascending");
    REFUSED(qn_self_attention(c, x, 2, (qn_ragged){1, within}, 0), "ascending");
    REFUSED(qn_pool_sequences(c, x, (qn_ragged){1, from}, QN_POOL_MEAN), "ascending");
    REFUSED(qn_embedding(c, 4, 1, &x, &id), "id 4 of token 1");
    REFUSED(qn_embedding(c, 4, 0, &x, &id), "0 tables");
    REFUSED(qn_gather(c, x, 2, ids), "row 4");
    REFUSED(qn_add_norm(c, x, NULL, v, w, 1e-5f, 0, NULL), "norm");
    REFUSED(qn_constant(c, 5, (size_t[]){1, 1, 1, 1, 1}, NULL), "5 dimensions");
    REFUSED(qn_constant(c, 2, (size_t[]){SIZE_MAX, 2}, NULL), "too large");
    // The first failure stays, NULL goes through, and the loss says it.
    assert_null(qn_activate(c, qn_linear(c, NULL, w, NULL, QN_ACTIVATION_NONE), QN_ACTIVATION_GELU));
    assert_int_equal(qn_mean_squared_error(c, NULL, NULL, &loss), QN_ERROR_ARGUMENT);
    qn_context_reset(c);
    assert_fails(qn_backward(c), QN_ERROR_ARGUMENT, "nothing is recorded");
    qn_recording_begin(c);
    qn_tensor *result = qn_activate(c, x, QN_ACTIVATION_NONE);
    assert_null(qn_linear(c, x, result, NULL, QN_ACTIVATION_NONE)); // its gradient would have no place
    assert_int_equal(qn_backward(c), QN_ERROR_ARGUMENT);
    assert_fails(qn_parameter_create(0, NULL, NULL, &bad), QN_ERROR_ARGUMENT, "0 dimensions");
    assert_null(bad);
    qn_context_reset(c);
    qn_tensor *constant = qn_constant(c, 2, (size_t[]){4, 6}, x->data);
    assert_fails(qn_adamw_step(c, &constant, 1, NULL, 1), QN_ERROR_ARGUMENT, "not a parameter");
    assert_fails(qn_adamw_step(c, &x, 1, NULL, 0), QN_ERROR_ARGUMENT, "step 0");
    x->grad[3] = NAN;
    float before = x->data[0];
    assert_fails(qn_adamw_step(c, &x, 1, NULL, 1), QN_ERROR_DIVERGED, "not a number");
    assert_true(x->data[0] == before);
    qn_parameter_free(x);
    qn_parameter_free(w);
    qn_parameter_free(v);
    qn_context_destroy(c);
}

// A context keeps its operands: the norm of inference must not write into a parameter or a constant.
static void test_operands_stay(void **state) {
    (void)state;
    qn_context *c = open_context(1, NULL);
    qn_tensor *x = random_matrix(4, 6, 1), *sub = random_matrix(4, 6, 2), *gamma = random_parameter(0, 6, 3), *sum;
    float kept[24];
    memcpy(kept, x->data, sizeof kept);
    assert_non_null(qn_add_norm(c, x, sub, gamma, gamma, 1e-5f, 0, NULL));
    assert_non_null(qn_add_norm(c, x, sub, gamma, gamma, 1e-5f, 0, &sum));
    assert_memory_equal(kept, x->data, sizeof kept);
    assert_true(fabsf(sum->data[5] - (x->data[5] + sub->data[5])) < 1e-6f);
    assert_int_equal(qn_tensor_rank(x), 2);
    assert_int_equal(qn_tensor_size(x, 0), 4);
    assert_int_equal(qn_tensor_size(x, 2), 0);
    assert_int_equal(qn_tensor_count(x), 24);
    assert_null(qn_tensor_grad(sum));
    qn_parameter_free(x);
    qn_parameter_free(sub);
    qn_parameter_free(gamma);
    qn_context_destroy(c);
}

// One AdamW step with a gradient of known values, clipped or not, against the formula in double precision.
static void test_adamw(void **state) {
    (void)state;
    for (int clipped = 0; clipped < 2; clipped++) {
        qn_context *c = open_context(1, NULL);
        qn_tensor *p = random_parameter(0, 3, 1);
        static const double g[3] = {3, -4, 0};
        double before[3], m[3] = {0}, v[3] = {0};
        qn_adamw_options o = {0.01, 0.9, 0.99, 1e-8, 0.1, clipped ? 2.5 : 0};
        for (int i = 0; i < 3; i++) before[i] = p->data[i];
        for (int step = 1; step <= 3; step++) {
            for (int i = 0; i < 3; i++) p->grad[i] = (float)g[i];
            assert_ok(qn_adamw_step(c, &p, 1, &o, step));
            for (int i = 0; i < 3; i++) {
                double gi = clipped ? g[i] / 2 : g[i];
                m[i] = 0.9 * m[i] + 0.1 * gi;
                v[i] = 0.99 * v[i] + 0.01 * gi * gi;
                before[i] -= 0.01 * 0.1 * before[i];
                before[i] -= 0.01 * (m[i] / (1 - pow(0.9, step))) / (sqrt(v[i] / (1 - pow(0.99, step))) + 1e-8);
                assert_true(fabs(p->data[i] - before[i]) < 1e-6);
                assert_true(p->grad[i] == 0);
            }
        }
        qn_parameter_free(p);
        qn_context_destroy(c);
    }
}

static qn_status whole_step(void) {
    static const int32_t offsets[] = {0, 3, 7}, ids[] = {0, 1, 2, 3, 3, 1, 0}, targets[] = {1, 0};
    const int32_t *id = ids;
    qn_context *c = NULL;
    qn_tensor *p[4] = {NULL};
    double loss;
    qn_status status = qn_context_create(2, NULL, &c);
    for (size_t i = 0; status == QN_OK && i < 4; i++) {
        static const size_t shapes[4][2] = {{4, 8}, {24, 8}, {8, 8}, {2, 8}};
        status = qn_parameter_create(2, shapes[i], random_values(i, shapes[i][0] * 8), &p[i]);
    }
    if (status == QN_OK) {
        qn_context_dropout(c, true, 1);
        qn_recording_begin(c);
        qn_tensor *x = qn_embedding(c, 7, 1, p, &id);
        x = qn_self_attention(c, qn_linear(c, x, p[1], NULL, QN_ACTIVATION_NONE), 2, (qn_ragged){2, offsets}, 0.1f);
        x = qn_pool_sequences(c, qn_linear(c, x, p[2], NULL, QN_ACTIVATION_GELU), (qn_ragged){2, offsets}, QN_POOL_MAX);
        status = qn_cross_entropy(c, qn_linear(c, qn_normalize(c, x), p[3], NULL, QN_ACTIVATION_NONE), targets, NULL, 0,
                                  &loss);
        if (status == QN_OK) status = qn_backward(c);
        if (status == QN_OK) status = qn_adamw_step(c, p, 4, NULL, 1);
    }
    for (size_t i = 0; i < 4; i++) qn_parameter_free(p[i]);
    qn_context_destroy(c);
    return status;
}

// Whichever allocation fails, the step says so and gives everything back (AddressSanitizer builds look for leaks).
static void test_no_memory(void **state) {
    (void)state;
    size_t failures = 0;
    for (;; failures++) {
        test_fail_allocations_after(failures);
        qn_status status = whole_step();
        test_fail_allocations_off();
        if (status == QN_OK) break;
        assert_int_equal(status, QN_ERROR_MEMORY);
        assert_true(failures < 1000);
    }
    assert_true(failures > 10);
}

typedef struct {
    qn_network *network;
    qn_context c;
    qn_tape tape;
    qn_backend *backend;
    qn_optimizer *optimizer;
} encoder_run;

static void encoder_step(encoder_run *r, int64_t step) {
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, types[11] = {0},
                         positions[] = {0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6}, offsets[] = {0, 4, 11}, masked[] = {1, 6},
                         targets[] = {9, 3};
    qn_context *c = &r->c;
    double loss;
    qn_arena_reset(c->arena);
    qn_arena_reset(c->records);
    r->tape = (qn_tape){0};
    c->seed = (uint64_t)step;
    c->stream = 0;
    qn_tensor *hidden =
        qn_encoder_forward(c, &r->network->encoder, &(qn_tokens){11, ids, types, positions, {2, offsets}, NULL, NULL, NULL});
    assert_ok(qn_cross_entropy(c, qn_network_masked_lm(c, r->network, hidden, 2, masked), targets, NULL, 0, &loss));
    assert_ok(qn_backward(c));
    double norm = qn_optimizer_norm(r->optimizer);
    assert_true(norm > 0);
    qn_optimizer_step(r->optimizer, 1e-3, 1 / norm);
}

// Forward, backward and optimizer of a whole encoder: once warm, a step allocates nothing, in any thread.
static void test_steady_step(void **state) {
    (void)state;
    encoder_run r = {0};
    qn_model_config config;
    assert_ok(qn_model_config_read(QN_SOURCE_DIR "/tests/golden/bert/mlm-gelu-w8", &config));
    assert_ok(qn_network_create(
        &config, &(qn_network_options){.heads = QN_HEAD_LM, .trainable = true, .seed = 1}, &r.network));
    assert_ok(qn_backend_create_cpu(2, NULL, &r.backend));
    assert_ok(qn_optimizer_create(r.backend, &r.network->parameters, &(qn_optimizer_options){0.9, 0.999, 1e-8, 0.01, 1},
                                  &r.optimizer));
    r.c = (qn_context){.backend = r.backend,
                       .arena = qn_arena_create(1 << 12),
                       .records = qn_arena_create(1 << 12),
                       .tape = &r.tape,
                       .dropout = true,
                       .loss_scale = 1};
    for (int64_t step = 1; step <= 2; step++) encoder_step(&r, step);
    size_t before = test_allocations();
    for (int64_t step = 3; step <= 6; step++) {
        encoder_step(&r, step);
        if (step == 3) before = test_allocations(); // the reset at its beginning made one chunk of several
    }
    assert_int_equal(test_allocations() - before, 0);
    qn_arena_destroy(r.c.arena);
    qn_arena_destroy(r.c.records);
    qn_optimizer_free(r.optimizer);
    qn_network_free(r.network);
    qn_backend_destroy(r.backend);
}

static float *encoder_gradients(qn_network *n, qn_backend *backend, qn_compute compute, bool keep) {
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, types[11] = {0},
                         positions[] = {0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6}, offsets[] = {0, 4, 11};
    qn_parameters *set = &n->parameters;
    qn_tape tape = {0};
    qn_context c = {.backend = backend,
                    .arena = qn_arena_create(1 << 12),
                    .records = qn_arena_create(1 << 12),
                    .tape = &tape,
                    .compute = compute,
                    .dropout = true,
                    .seed = 7,
                    .loss_scale = 1,
                    .keep = keep};
    double loss;
    memset(set->grads, 0, set->size * sizeof *set->grads);
    qn_tensor *hidden = qn_encoder_forward(&c, &n->encoder, &(qn_tokens){11, ids, types, positions, {2, offsets}, NULL, NULL, NULL});
    if (!hidden) fail_msg("%s", qn_last_error());
    assert_ok(qn_mean_squared_error(&c, hidden, random_values(5, qn_count(hidden)), &loss));
    assert_ok(qn_backward(&c));
    qn_arena_destroy(c.arena);
    qn_arena_destroy(c.records);
    float *grads = malloc(set->size * sizeof *grads);
    memcpy(grads, set->grads, set->size * sizeof *grads);
    return grads;
}

// Values that are forgotten and computed again change no bit of a gradient, in either dtype; bf16 turns none away.
static void test_forgotten_values(void **state) {
    (void)state;
    static const char *const folders[] = {"bert/mlm-gelu-w8", "bert/roberta_prelayernorm-mlm-gelu-w8",
                                          "families/modernbert-mlm", "families/jina_embeddings_v3-mlm"};
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tests/golden/%s", QN_SOURCE_DIR, folders[f]);
        qn_model_config config;
        qn_network *network;
        qn_backend *backend;
        assert_ok(qn_model_config_read(path, &config));
        assert_ok(qn_network_create(&config, &(qn_network_options){.trainable = true, .seed = 1}, &network));
        assert_ok(qn_backend_create_cpu(2, NULL, &backend));
        size_t n = network->parameters.size;
        float *exact = encoder_gradients(network, backend, QN_DTYPE_F32, true);
        for (int bf16 = 0; bf16 < 2; bf16++) {
            qn_compute compute = bf16 ? QN_DTYPE_BF16 : QN_DTYPE_F32;
            if (!backend->ops->computes(backend, compute)) continue;
            float *kept = encoder_gradients(network, backend, compute, true);
            float *forgotten = encoder_gradients(network, backend, compute, false);
            assert_memory_equal(kept, forgotten, n * sizeof *kept);
            double ab = 0, aa = 0, bb = 0;
            for (size_t i = 0; i < n; i++)
                ab += (double)exact[i] * kept[i], aa += (double)exact[i] * exact[i], bb += (double)kept[i] * kept[i];
            if (!(ab >= (bf16 ? 0.999 : 1 - 1e-12) * sqrt(aa * bb)))
                fail_msg("%s: cosine of gradients %.6f", path, ab / sqrt(aa * bb));
            free(kept);
            free(forgotten);
        }
        free(exact);
        qn_network_free(network);
        qn_backend_destroy(backend);
    }
}

// Backward through many layers takes the memory of a few gradients, not of one for each layer; and forward keeps no
// value that the model forgot.
static void test_backward_reuses_memory(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    enum { BETWEEN = 128 }; // an arena's forbidden bytes between allocations
#else
    enum { BETWEEN = 0 };
#endif
    enum { LAYERS = 12, ROWS = 64, WIDTH = 32, MATRIX = ROWS * WIDTH * 4 };
    qn_tensor *w = random_parameter(WIDTH, WIDTH, 1), *bias = random_parameter(0, WIDTH, 2);
    float first[2][WIDTH * WIDTH];
    for (int keep = 0; keep < 2; keep++) {
        qn_context *c = open_context(1, NULL);
        c->keep = keep;
        qn_recording_begin(c);
        qn_tensor *x = qn_linear(c, qn_constant(c, 2, (size_t[]){ROWS, WIDTH}, random_values(3, ROWS * WIDTH)), w, bias,
                                 QN_ACTIVATION_NONE);
        for (int i = 0; i < LAYERS; i++) {
            qn_tensor *sub = qn_linear(c, x, w, bias, QN_ACTIVATION_NONE);
            qn_tensor *y = qn_add_norm(c, x, sub, bias, bias, 1e-5f, 0, NULL);
            qn_forget_value(c, sub);
            qn_forget_for_now(c, x);
            x = y;
        }
        double loss;
        size_t forward = qn_arena_peak(c->arena);
        assert_true(forward >= (size_t)(keep ? 3 : 1) * LAYERS * MATRIX);
        if (!keep) assert_true(forward <= (LAYERS + 4) * (MATRIX + 1024 + BETWEEN));
        assert_ok(qn_mean_squared_error(c, x, random_values(4, ROWS * WIDTH), &loss));
        assert_ok(qn_backward(c));
        assert_true(qn_arena_peak(c->arena) <= forward + 4 * (MATRIX + 1024));
        memcpy(first[keep], qn_tensor_grad(w), sizeof first[keep]);
        memset(qn_tensor_grad(w), 0, sizeof first[keep]);
        memset(qn_tensor_grad(bias), 0, WIDTH * sizeof(float));
        qn_context_destroy(c);
    }
    assert_memory_equal(first[0], first[1], sizeof first[0]);
    qn_parameter_free(w);
    qn_parameter_free(bias);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wrong_shapes),
                                       cmocka_unit_test(test_operands_stay),
                                       cmocka_unit_test(test_adamw),
                                       cmocka_unit_test(test_no_memory),
                                       cmocka_unit_test(test_steady_step),
                                       cmocka_unit_test(test_forgotten_values),
                                       cmocka_unit_test(test_backward_reuses_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
