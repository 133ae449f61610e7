// Protects the training of autoencoders of numbers: digits are learned, a stopped and resumed run and another number of
// threads end in the same bytes, the report has its pictures, and options without a meaning are refused.
#include "base/file.h"
#include "quern.h"
#include "support.h"

static char folder[256];
static int64_t steps_left;

static const char variational[] =
    "{\"model_type\": \"autoencoder\", \"input_shape\": [8, 8], \"input_scaling\": \"range\", \"hidden_sizes\": [32], "
    "\"latent_size\": 4, \"variational\": true, \"beta\": 0.1, \"beta_warmup_steps\": 10, "
    "\"reconstruction_loss\": \"bce\", \"dropout\": 0.1}";
static const char plain[] = "{\"model_type\": \"autoencoder\", \"hidden_sizes\": [32], \"latent_size\": 2, "
                            "\"input_scaling\": \"standard\", \"hidden_act\": \"tanh\", \"input_dropout\": 0.05}";

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    return 0;
}

static bool stop_soon(void *user) {
    (void)user;
    return --steps_left <= 0;
}

static qn_training options_for(const char *config, const char *output, int threads) {
    static const char *const train[] = {QN_SOURCE_DIR "/data/digits/train.csv.gz"};
    static char model[300], out[300];
    snprintf(model, sizeof model, "%s/config.json", folder);
    snprintf(out, sizeof out, "%s/%s", folder, output);
    test_write_text(model, config);
    qn_training t = qn_training_defaults(true);
    t.model = model;
    t.output = out;
    t.train = train;
    t.train_count = 1;
    t.validation = QN_SOURCE_DIR "/data/digits/validation.csv.gz";
    t.max_steps = 60;
    t.eval_steps = 20;
    t.log_steps = 1;
    t.learning_rate = 3e-3;
    t.threads = threads;
    t.seed = 11;
    return t;
}

static void assert_same(const char *a, const char *b, const char *name) {
    char left[300], right[300];
    size_t m, n;
    snprintf(left, sizeof left, "%s/%s/%s", folder, a, name);
    snprintf(right, sizeof right, "%s/%s/%s", folder, b, name);
    char *x = test_read(left, &m), *y = test_read(right, &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static double value_of(const char *json, const char *key) {
    const char *at = strstr(json, key);
    if (!at) fail_msg("no %s in %s", key, json);
    return strtod(at + strlen(key) + 2, NULL);
}

static void test_resumed_run(void **state) {
    (void)state;
    qn_training t = options_for(variational, "whole", 2);
    char *json;
    assert_ok(qn_pretrain(&t, &json));
    assert_true(value_of(json, "\"eval_bce\"") < 0.48 && value_of(json, "\"eval_kl\"") > 0.1);
    assert_true(value_of(json, "\"eval_loss\"") < 0.5 && value_of(json, "\"steps\"") == 60);
    free(json);
    t = options_for(variational, "stopped", 1);
    t.stop = stop_soon;
    steps_left = 33;
    assert_fails(qn_pretrain(&t, NULL), QN_INTERRUPTED, "go on with --resume");
    t.stop = NULL;
    t.resume = "";
    assert_ok(qn_pretrain(&t, NULL));
    assert_same("whole", "stopped", "model.safetensors");
    assert_same("whole", "stopped", "checkpoint-60/optimizer.safetensors");
}

// What the report shows: curves, the pictures of reconstructions, samples and interpolations, and ten colours.
static void test_report(void **state) {
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s/whole/report.html", folder);
    char *page = test_read(path, NULL);
    static const char *const parts[] = {"Variational autoencoder",
                                        "Reconstructions",
                                        "Latent vectors",
                                        "Samples",
                                        "Interpolations",
                                        "Rows per second",
                                        "two principal components of 4",
                                        "class=\"point c19\"",
                                        "img-src data:",
                                        "KL divergence"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(page, parts[i])) fail_msg("the report has no \"%s\"", parts[i]);
    size_t pictures = 0;
    for (const char *at = page; (at = strstr(at, "src=\"data:image/png;base64,iVBORw0KGgo")); at++) pictures++;
    assert_int_equal(pictures, 3);
    assert_null(strstr(page, "okens per second"));
    free(page);
}

// Without an input size or a shape; rows that are no pictures are shown as strips.
static void test_plain(void **state) {
    (void)state;
    qn_training t = options_for(plain, "plain", 1);
    char *json, path[300];
    t.test = QN_SOURCE_DIR "/data/digits/test.csv.gz";
    assert_ok(qn_pretrain(&t, &json));
    assert_true(value_of(json, "\"eval_r2\"") > 0.15 &&
                value_of(json, "\"eval_mse\"") == value_of(json, "\"eval_loss\""));
    free(json);
    snprintf(path, sizeof path, "%s/plain/report.html", folder);
    char *page = test_read(path, NULL);
    assert_non_null(strstr(page, "first number"));
    assert_null(strstr(page, "Samples"));
    free(page);
    // Going on from the folder keeps its scaling.
    snprintf(path, sizeof path, "%s/plain", folder);
    t = options_for(plain, "more", 1);
    t.model = path;
    t.max_steps = 1;
    t.eval_steps = 0;
    t.learning_rate = 0;
    assert_ok(qn_pretrain(&t, NULL));
    assert_same("plain", "more", "model.safetensors");
}

static void test_refuses(void **state) {
    (void)state;
    qn_training t = options_for(plain, "refused", 1);
    t.lora_rank = 4;
    assert_fails(qn_pretrain(&t, NULL), QN_ERROR_ARGUMENT, "has no use for adapters");
    t.lora_rank = 0;
    t.task = "mlm";
    assert_fails(qn_pretrain(&t, NULL), QN_ERROR_ARGUMENT, "expected autoencode");
    t = options_for("{\"model_type\": \"autoencoder\", \"latent_size\": 2, \"reconstruction_loss\": \"bce\"}",
                    "refused", 1);
    assert_fails(qn_pretrain(&t, NULL), QN_ERROR_FORMAT, "(expected 0 to 1 for");
    t = options_for("{\"model_type\": \"autoencoder\", \"latent_size\": 2, \"input_size\": 63}", "refused", 1);
    assert_fails(qn_pretrain(&t, NULL), QN_ERROR_FORMAT, "rows of 64 numbers (expected 63");
    assert_false(qn_is_folder(t.output));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resumed_run), cmocka_unit_test(test_report),
                                       cmocka_unit_test(test_plain), cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
