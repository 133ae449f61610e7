// Few-shot classification: the pairs that tune the encoder, the head at the minimum of its loss, and a folder that is
// an ordinary classifier's; a resumed run ends in the same bytes, and what the task cannot do is an error.
#include "training.h"
#include "tasks/logistic.h"
#include "tasks/task.h"
#include <math.h>

static char folder[256];

static const char *const data =
    "text\tlabel\nfish sea\twater\nsea\twater\nfish fish\twater\ngrain mill\tfood\nbread\tfood\n"
    "mill bread\tfood\nstone\trock\nstone hill\trock\nhill\trock\n";

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    write_small_bert(folder, 2, ", \"initializer_range\": 0.2", "grain\nmill\nsea\nfish\nbread\nstone\nhill\n");
    test_write_text(path("data.tsv"), data);
    return 0;
}

static qn_training training(const char *output) {
    qn_training t = task_training(folder, "few-shot", "config.json", "data.tsv", output);
    t.learning_rate = 2e-3;
    t.epochs = 2;
    t.batch_size = 8;
    t.pairs = 4;
    return t;
}

static void a_classifier_comes_out(void **state) {
    (void)state;
    qn_model *m;
    qn_text text = {"sea fish", 8, NULL, 0};
    float scores[3];
    char *json;
    qn_training t = training("water");
    assert_ok(qn_finetune(&t, &json));
    assert_non_null(strstr(json, "\"accuracy\": 1"));
    free(json);
    assert_ok(qn_model_open(path("water"), NULL, &m));
    assert_int_equal(qn_model_task(m), QN_TASK_CLASSIFY);
    assert_string_equal(qn_model_label(m, 2), "water");
    assert_ok(qn_classify(m, &text, 1, false, scores));
    assert_true(scores[2] > scores[0] && scores[2] > scores[1]);
    assert_ok(qn_evaluate(m, path("data.tsv"), NULL, &json));
    assert_non_null(strstr(json, "\"accuracy\": 1"));
    free(json);
    qn_model_close(m);
}

static void losses_of_scores_train_too(void **state) {
    (void)state;
    char *json;
    qn_training t = training("cosine");
    t.embed.loss = "cosine";
    t.epochs = 6;
    assert_ok(qn_finetune(&t, &json));
    assert_non_null(strstr(json, "\"accuracy\": 1"));
    free(json);
}

static bool stop_at(void *user) {
    int *left = user;
    return --*left < 0;
}

static void a_resumed_run_is_the_same(void **state) {
    (void)state;
    int left = 3;
    qn_training t = training("whole");
    t.log_steps = 1;
    assert_ok(qn_finetune(&t, NULL));
    t = training("parts");
    t.stop = stop_at;
    t.user = &left;
    assert_int_equal(qn_finetune(&t, NULL), QN_INTERRUPTED);
    t.stop = NULL;
    t.resume = "";
    assert_ok(qn_finetune(&t, NULL));
    size_t sizes[2];
    char *whole = test_read(path("whole/model.safetensors"), &sizes[0]);
    char *parts = test_read(path("parts/model.safetensors"), &sizes[1]);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(whole, parts, sizes[0]);
    free(whole);
    free(parts);
}

// The gradient of the loss is zero there, and a stronger penalty makes smaller weights.
static void the_head_is_at_its_minimum(void **state) {
    (void)state;
    enum { N = 12, D = 3, C = 3 };
    float x[N * D], weight[C * D], bias[C], strong[C * D], strong_bias[C];
    int32_t targets[N];
    for (int i = 0; i < N; i++) {
        targets[i] = i * 7 % 5 % C;
        for (int k = 0; k < D; k++) x[i * D + k] = (float)sin(3.7 * i + 1.9 * k * k);
    }
    qn_logistic p = {N, D, C, x, targets, 2};
    assert_ok(qn_logistic_fit(&p, weight, bias));
    double gradient[C * (D + 1)] = {0}, length = 0, strong_length = 0;
    for (int k = 0; k < C * D; k++) gradient[k] = weight[k] / 2;
    for (int i = 0; i < N; i++) {
        double z[C], sum = 0;
        for (int c = 0; c < C; c++) {
            z[c] = bias[c];
            for (int k = 0; k < D; k++) z[c] += (double)weight[c * D + k] * x[i * D + k];
            sum += exp(z[c]);
        }
        for (int c = 0; c < C; c++) {
            double error = exp(z[c]) / sum - (targets[i] == c);
            for (int k = 0; k < D; k++) gradient[c * D + k] += error * x[i * D + k];
            gradient[C * D + c] += error;
        }
    }
    for (int k = 0; k < C * (D + 1); k++) assert_true(fabs(gradient[k]) < 1e-4);
    p.inverse_strength = 0.1;
    assert_ok(qn_logistic_fit(&p, strong, strong_bias));
    for (int k = 0; k < C * D; k++) length += weight[k] * weight[k], strong_length += strong[k] * strong[k];
    assert_true(strong_length < length);
}

static void wrong_use_is_an_error(void **state) {
    (void)state;
    qn_training t = training("none");
    t.embed.loss = "triplet";
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "the loss triplet does not learn from labels");
    t = training("none");
    t.balanced = true;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "few-shot learns by pairs");
    t = training("none");
    t.pairs = 0;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "0 pairs for each text");
    test_write_text(path("one.tsv"), "text\tlabel\nsea\twater\nfish\twater\n");
    t = task_training(folder, "few-shot", "config.json", "one.tsv", "none");
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_FORMAT, "all texts have one label");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_classifier_comes_out), cmocka_unit_test(losses_of_scores_train_too),
        cmocka_unit_test(a_resumed_run_is_the_same), cmocka_unit_test(the_head_is_at_its_minimum),
        cmocka_unit_test(wrong_use_is_an_error)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
