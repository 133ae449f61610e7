// Protects the learning rates along a run (those of transformers' schedules, read at the end of a step while they
// rise), and the mean of the last checkpoints as the model in the end.
#include "formats/weights.h"
#include "quern.h"
#include "support.h"
#include "train/schedule.h"
#include <math.h>

static double rate(const char *name, double warmup, double step, double total) {
    qn_schedule s = {.peak = 2, .warmup = warmup / total};
    assert_ok(qn_schedule_parse(name, &s.kind));
    return qn_schedule_rate(&s, step / total, 1 / total);
}

static void near(double got, double right) {
    if (fabs(got - right) > 1e-12) fail_msg("a rate of %.17g (expected %.17g)", got, right);
}

static void test_rates(void **state) {
    (void)state;
    static const char *const names[] = {"linear", "cosine", "constant", "inverse_sqrt"};
    for (size_t i = 0; i < 4; i++) { // all rise alike
        near(rate(names[i], 10, 0, 100), 0.2);
        near(rate(names[i], 10, 9, 100), 2);
        near(rate(names[i], 10, 10, 100), 2);
    }
    near(rate("linear", 10, 55, 100), 1);
    near(rate("cosine", 10, 55, 100), 1);
    near(rate("constant", 10, 55, 100), 2);
    // get_inverse_sqrt_schedule: peak sqrt(warmup / step), whatever the length of the run.
    near(rate("inverse_sqrt", 10, 40, 100), 1);
    near(rate("inverse_sqrt", 10, 40, 1000), 1);
    near(rate("inverse_sqrt", 10, 90, 100), 2.0 / 3);
    qn_schedule_kind kind;
    assert_fails(qn_schedule_parse("sqrt", &kind), QN_ERROR_ARGUMENT, "inverse_sqrt");
}

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 30, \"hidden_size\": 16, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 32, \"max_position_embeddings\": 16}";

static qn_status next_text(void *user, const char **text, size_t *size) {
    const char **at = user;
    *text = *at;
    *size = *at ? strlen(*at) : 0;
    *at = NULL;
    return QN_OK;
}

static void make_data(const char *folder) {
    const char *text = "an apple a day and a bee in May";
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    qn_tokenizer *tokenizer;
    o.vocab_size = 30;
    assert_ok(qn_tokenizer_train(&o, next_text, &text, &tokenizer));
    assert_ok(qn_tokenizer_save(tokenizer, test_path(folder, "tokenizer")));
    qn_tokenizer_free(tokenizer);
    test_write_text(test_path(folder, "config.json"), config);
    test_write_text(test_path(folder, "train.tsv"),
                    "label\ttext\na\tan apple\nb\ta bee\na\tan apple a day\nb\ta bee in May\n");
}

// Adds the values of a tensor of a folder to sum [count].
static size_t add_tensor(const char *folder, const char *name, double *sum) {
    qn_weights *weights;
    static float values[1 << 12];
    assert_ok(qn_weights_open(folder, &weights));
    const qn_st_tensor *t = qn_weights_find(weights, name);
    assert_non_null(t);
    size_t count = t->size / sizeof *values;
    qn_st_to_f32(t->dtype, t->data, count, values);
    for (size_t i = 0; i < count; i++) sum[i] += (double)values[i];
    qn_weights_close(weights);
    return count;
}

static void test_takes_the_mean_of_checkpoints(void **state) {
    (void)state;
    static double mean[1 << 12], got[1 << 12];
    const char *folder = test_folder();
    make_data(folder);
    char model[300], tokenizer[300], data[300], output[300];
    snprintf(model, sizeof model, "%s/config.json", folder);
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer", folder);
    snprintf(data, sizeof data, "%s/train.tsv", folder);
    snprintf(output, sizeof output, "%s/run", folder);
    qn_training t = qn_training_defaults(false);
    t.model = model;
    t.tokenizer = tokenizer;
    t.output = output;
    t.train = (const char *[]){data};
    t.train_count = 1;
    t.validation = data;
    t.batch_size = 2;
    t.max_steps = 10;
    t.save_steps = t.eval_steps = 2;
    t.learning_rate = 1e-2;
    t.keep_checkpoints = 1;
    t.average_last = 3;
    t.threads = 1;
    char *json = NULL;
    assert_ok(qn_finetune(&t, &json));
    free(json);
    static const int steps[] = {6, 8, 10};
    static const char name[] = "bert.encoder.layer.0.output.dense.weight";
    for (size_t i = 0; i < 3; i++) {
        char checkpoint[320];
        snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint-%d", output, steps[i]);
        assert_int_equal(add_tensor(checkpoint, name, mean), 16 * 32);
    }
    assert_int_equal(add_tensor(output, name, got), 16 * 32);
    for (size_t i = 0; i < 16 * 32; i++)
        if (fabs(got[i] - mean[i] / 3) > 1e-7) fail_msg("weight %zu is %g (expected %g)", i, got[i], mean[i] / 3);
    t.average_last = -1;
    t.overwrite = true;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "average");
    t.average_last = 0;
    t.schedule = "inverse_sqrt";
    t.warmup_ratio = 0;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "without a warmup");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_takes_the_mean_of_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
