// The running mean of the weights: its values are those of the formula, worked out by hand; frozen parameters stay; and
// a run that is stopped and goes on ends in the same bytes, with the mean in the model's file and the weights beside
// it.
#include "training.h"
#include "train/average.h"
#include <string.h>

static char folder[256];

// With torch.optim.swa_utils: AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(0.75)) over weights 1, 3, -1, 7 gives
// 1, 1.5, 0.875, 2.40625.
static void values_are_those_of_torch(void **state) {
    (void)state;
    static const float weights[] = {1, 3, -1, 7}, expected[] = {1, 1.5f, 0.875f, 2.40625f};
    qn_parameters set = {0};
    qn_backend *backend;
    qn_average *average;
    qn_parameters_add(&set, "frozen", 0, 5, (qn_parameter_options){QN_INIT_ONES, false, false, 0, false});
    qn_parameters_add(&set, "a", 3, 7, (qn_parameter_options){QN_INIT_ZEROS, true, false, 1, false});
    qn_parameters_add(&set, "b", 0, 3, (qn_parameter_options){QN_INIT_ZEROS, true, false, 1, false});
    set.items[0]->frozen = true;
    assert_ok(qn_parameters_allocate(&set));
    qn_parameters_initialize(&set, 1, 1);
    assert_ok(qn_parameters_allocate_training(&set));
    assert_ok(qn_backend_create_cpu(1, NULL, &backend));
    assert_ok(qn_average_create(backend, &set, 0.75, &average));
    const qn_tensor *a = &set.items[1]->tensor, *b = &set.items[2]->tensor;
    for (int step = 0; step < 4; step++) {
        for (int i = 0; i < 21; i++) a->data[i] = weights[step];
        for (int i = 0; i < 3; i++) b->data[i] = -weights[step];
        qn_average_update(average, step == 0);
        qn_average_swap(average);
        assert_true(a->data[0] == expected[step] && a->data[20] == expected[step] && b->data[2] == -expected[step]);
        assert_true(set.items[0]->tensor.data[4] == 1);
        qn_average_swap(average);
        assert_true(a->data[20] == weights[step] && b->data[0] == -weights[step]);
    }
    qn_average_free(average);
    qn_parameters_free(&set);
    qn_backend_destroy(backend);
}

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    write_small_bert(folder, 1, "", "grain\nmill\nsea\nfish\nbread\n");
    char data[2000] = "text\tlabel\n";
    for (int i = 0; i < 24; i++)
        strcat(data, i % 2 ? "grain mill\tfood\n" : i % 3 ? "sea\twater\n" : "fish sea\twater\n");
    test_write_text(path("data.tsv"), data);
    return 0;
}

static qn_status train(const char *output, double ema, const char *resume, bool (*stop)(void *)) {
    qn_training t = task_training(folder, "classify", "config.json", "data.tsv", output);
    t.epochs = 4;
    t.batch_size = 6;
    t.learning_rate = 1e-3;
    t.keep_checkpoints = 100;
    t.save_steps = 1;
    t.ema = ema;
    t.resume = resume;
    t.stop = stop;
    return qn_finetune(&t, NULL);
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 5;
}

static bool same(const char *a, const char *b) {
    size_t m, n;
    char left[300];
    snprintf(left, sizeof left, "%s", path(a));
    char *x = test_read(left, &m), *y = test_read(path(b), &n);
    bool equal = m == n && memcmp(x, y, m) == 0;
    free(x);
    free(y);
    return equal;
}

static void a_resumed_run_is_the_same(void **state) {
    (void)state;
    assert_ok(train("whole", 0.9, NULL, NULL));
    assert_int_equal(train("parts", 0.9, NULL, stop_after_some), QN_INTERRUPTED);
    assert_fails(train("parts", 0, "", NULL), QN_ERROR_ARGUMENT, "was trained with a running mean");
    assert_ok(train("parts", 0.9, "", NULL));
    assert_true(same("whole/model.safetensors", "parts/model.safetensors"));
    assert_true(same("whole/checkpoint-16/optimizer.safetensors", "parts/checkpoint-16/optimizer.safetensors"));
    // The mean is another model than the last weights, but trains them as a run without it does.
    assert_ok(train("plain", 0, NULL, NULL));
    assert_true(!same("whole/model.safetensors", "plain/model.safetensors"));
    assert_fails(train("plain", 0.9, "", NULL), QN_ERROR_ARGUMENT, "was trained without a running mean");
}

static void bad_decays_are_errors(void **state) {
    (void)state;
    assert_fails(train("none", 1, NULL, NULL), QN_ERROR_ARGUMENT, "decay of the mean of the weights is out of range");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_are_those_of_torch),
                                       cmocka_unit_test(a_resumed_run_is_the_same),
                                       cmocka_unit_test(bad_decays_are_errors)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
