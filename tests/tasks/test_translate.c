// Translation: a model from scratch learns a small language and says so in the same numbers when it is read again; a
// run that stops and goes on ends in the same bytes; and data or models that do not fit are errors.
#include "training.h"
#include <math.h>

static char folder[256];

static const char config[] =
    "{\"model_type\": \"bart\", \"vocab_size\": 24, \"d_model\": 32, \"encoder_layers\": 1, "
    "\"decoder_layers\": 1, \"encoder_attention_heads\": 2, \"decoder_attention_heads\": 2, "
    "\"encoder_ffn_dim\": 64, \"decoder_ffn_dim\": 64, \"max_position_embeddings\": 16, "
    "\"dropout\": 0.0, \"init_std\": 0.1, \"pad_token_id\": 0, \"eos_token_id\": 3, \"decoder_start_token_id\": 3}";

static const char *path(const char *name) {
    return test_path(folder, name);
}

// Each word of one language has one in the other.
static int setup(void **state) {
    (void)state;
    static const char *const from[] = {"grain", "mill", "sea", "fish", "bread"}, *const to[] = {"grano", "molino",
                                                                                                "mar", "pez", "pan"};
    static char pairs[20000] = "source\ttarget\n";
    snprintf(folder, sizeof folder, "%s", test_folder());
    for (unsigned i = 0; i < 125; i++) {
        unsigned a = i % 5, b = i / 5 % 5, c = i / 25;
        size_t size = strlen(pairs);
        if (i % 3)
            snprintf(pairs + size, sizeof pairs - size, "%s %s\t%s %s\n", from[a], from[b], to[a], to[b]);
        else
            snprintf(pairs + size, sizeof pairs - size, "%s %s %s\t%s %s %s\n", from[a], from[b], from[c], to[a], to[b],
                     to[c]);
    }
    test_write_text(path("pairs.tsv"), pairs);
    test_write_text(path("config.json"), config);
    test_write_text(
        path("vocab.txt"),
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngrain\nmill\nsea\nfish\nbread\ngrano\nmolino\nmar\npez\npan\n");
    test_write_text(path("one.tsv"), "source\ttext\na\tb\n");
    test_write_text(path("bert.json"),
                    "{\"model_type\": \"bert\", \"vocab_size\": 24, \"hidden_size\": 32, \"num_hidden_layers\": 1, "
                    "\"num_attention_heads\": 2, \"intermediate_size\": 64}");
    return 0;
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 20;
}

static qn_status train(const char *model_name, const char *data_name, const char *output, const char *resume,
                       bool (*stop)(void *), char **json) {
    qn_training t = task_training(folder, "translate", model_name, data_name, output);
    t.learning_rate = 1e-2;
    t.max_steps = 120;
    t.eval_steps = 60;
    t.save_steps = 20;
    t.batch_size = 0;
    t.batch_tokens = 150;
    t.label_smoothing = 0.05;
    t.data.beams = 1;
    t.best_metric = strstr(data_name, "pairs") ? "chrf" : NULL; // texts of two words have no BLEU
    t.schedule = "inverse_sqrt";
    t.warmup_steps = 10;
    t.seed = 4;
    t.threads = 2;
    t.resume = resume;
    t.stop = stop;
    return qn_finetune(&t, json);
}

static double number(const char *json, const char *key) {
    const char *at = strstr(json, key);
    if (!at) fail_msg("%s has no %s", json, key);
    return strtod(strchr(at, ':') + 1, NULL);
}

static void test_learns_a_language(void **state) {
    (void)state;
    char *json, *again;
    assert_ok(train("config.json", "pairs.tsv", "run", NULL, NULL, &json));
    double loss = number(json, "\"loss\"");
    if (loss > 0.2) fail_msg("a loss of %g after training (expected less than 0.2)", loss);
    assert_true(fabs(number(json, "\"perplexity\"") - exp(loss)) < 1e-6);
    double chrf = number(json, "\"chrf\"");
    if (chrf < 90) fail_msg("chrF %g after training (expected 90 or more)", chrf);
    qn_model *model;
    assert_ok(qn_model_open(path("run"), NULL, &model));
    assert_ok(qn_evaluate(model, path("pairs.tsv"), &(qn_data_options){.beams = 1}, &again));
    assert_true(fabs(number(again, "\"loss\"") - loss) < 1e-6);
    assert_true(fabs(number(again, "\"chrf\"") - chrf) < 1e-6);
    assert_int_equal((int)number(again, "\"count\""), 125);
    free(again);
    qn_model_close(model);
    free(json);
}

static void test_goes_on_to_the_same_bytes(void **state) {
    (void)state;
    polls = 0;
    assert_int_equal(train("config.json", "pairs.tsv", "stopped", NULL, stop_after_some, NULL), QN_INTERRUPTED);
    assert_ok(train("config.json", "pairs.tsv", "stopped", "", NULL, NULL));
    size_t size[2];
    char *one = test_read(path("run/model.safetensors"), &size[0]),
         *other = test_read(path("stopped/model.safetensors"), &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(one, other, size[0]);
    free(one);
    free(other);
}

// Gradient checkpointing, with dropout, after norms and before them: an encoder's result that all layers of the decoder
// read gets the same gradient.
static void test_checkpointed_layers_train_the_same(void **state) {
    (void)state;
    static const char *const kinds[] = {"bart", "mbart"};
    for (int kind = 0; kind < 2; kind++) {
        char text[1000], *weights[2];
        size_t size[2];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"vocab_size\": 24, \"d_model\": 32, \"encoder_layers\": 2, "
                 "\"decoder_layers\": 3, \"encoder_attention_heads\": 2, \"decoder_attention_heads\": 2, "
                 "\"encoder_ffn_dim\": 64, \"decoder_ffn_dim\": 64, \"max_position_embeddings\": 16, \"dropout\": 0.1, "
                 "\"attention_dropout\": 0.1, \"pad_token_id\": 0, \"eos_token_id\": 3, \"decoder_start_token_id\": 3}",
                 kinds[kind]);
        test_write_text(path("deep.json"), text);
        for (int again = 0; again < 2; again++) {
            qn_training t = task_training(folder, "translate", "deep.json", "pairs.tsv", again ? "again" : "plain");
            t.validation = NULL;
            t.overwrite = true;
            t.max_steps = 12;
            t.batch_size = 16;
            t.learning_rate = 1e-3;
            t.gradient_checkpointing = again;
            assert_ok(qn_finetune(&t, NULL));
            weights[again] =
                test_read(path(again ? "again/model.safetensors" : "plain/model.safetensors"), &size[again]);
        }
        assert_int_equal(size[0], size[1]);
        assert_memory_equal(weights[0], weights[1], size[0]);
        free(weights[0]);
        free(weights[1]);
    }
}

static void test_refuses_what_does_not_fit(void **state) {
    (void)state;
    assert_fails(train("config.json", "one.tsv", "no", NULL, NULL, NULL), QN_ERROR_FORMAT,
                 "one.tsv:1: no column \"target\"");
    assert_fails(train("bert.json", "pairs.tsv", "no", NULL, NULL, NULL), QN_ERROR_ARGUMENT, "encoder-decoder");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_a_language),
        cmocka_unit_test(test_goes_on_to_the_same_bytes),
        cmocka_unit_test(test_checkpointed_layers_train_the_same),
        cmocka_unit_test(test_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
