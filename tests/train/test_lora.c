// LoRA: a run that stops and goes on ends in the same bytes on any number of threads; the adapter put into the weights
// gives what training measured; wrong adapters are refused with the place.
#include "base/file.h"
#include "quern.h"
#include "support.h"
#include <math.h>

static char folder[256];

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 400, \"hidden_size\": 32, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 64}";

static qn_status next_line(void *user, const char **text, size_t *size) {
    char **at = user, *end = strchr(*at, '\n');
    *text = end ? *at : NULL;
    if (!end) return QN_OK;
    *size = (size_t)(end - *at);
    *at = end + 1;
    return QN_OK;
}

static qn_training options(const char *model, const char *output) {
    static const char *files[1];
    qn_training t = qn_training_defaults(false);
    files[0] = test_path(folder, "train.tsv");
    t.model = model;
    t.output = output;
    t.train = files;
    t.train_count = 1;
    t.validation = files[0];
    t.threads = 1;
    t.seed = 3;
    t.batch_size = 16;
    t.epochs = 3;
    t.learning_rate = 5e-3;
    return t;
}

// A base model: a few steps from scratch.
static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "config.json"), config);
    size_t size, lines = 0;
    char *all = test_read(QN_SOURCE_DIR "/data/wordnet/train.tsv", &size), *labelled = malloc(size),
         *plain = malloc(size);
    char *l = labelled + sprintf(labelled, "label\ttext\n"), *p = plain;
    for (char *line = strchr(all, '\n') + 1; lines < 150 && line && *line; line = strchr(line, '\n') + 1) {
        char *tab = strchr(line, '\t'), *text = strchr(tab + 1, '\t') + 1, *end = strchr(text, '\n');
        l += sprintf(l, "t%zu\t%.*s\n", lines % 3, (int)(end - text), text);
        p += sprintf(p, "%.*s\n", (int)(end - text), text);
        lines++;
    }
    test_write_text(test_path(folder, "train.tsv"), labelled);
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    qn_tokenizer *tokenizer;
    o.vocab_size = 400;
    assert_ok(qn_tokenizer_train(&o, next_line, &(char *){plain}, &tokenizer));
    assert_ok(qn_tokenizer_save(tokenizer, test_path(folder, "tokenizer")));
    qn_tokenizer_free(tokenizer);
    free(all);
    free(labelled);
    free(plain);
    qn_training t = options(test_path(folder, "config.json"), test_path(folder, "base"));
    t.tokenizer = test_path(folder, "tokenizer");
    t.max_steps = 3;
    assert_ok(qn_finetune(&t, NULL));
    return 0;
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 13;
}

static bool narrow;

static qn_status adapt(const char *output, int threads, const char *resume, bool (*stop)(void *), char **json) {
    qn_training t = options(test_path(folder, "base"), test_path(folder, output));
    t.lora_rank = 4;
    t.dtype = narrow ? "bf16" : NULL;
    t.lora_dropout = 0.1;
    t.lora_targets = "query,value,up,attention_output";
    t.threads = threads;
    t.resume = resume;
    t.stop = stop;
    return qn_finetune(&t, json);
}

static void assert_same_adapter(const char *a, const char *b) {
    size_t m, n;
    char name[64];
    snprintf(name, sizeof name, "%s/adapter_model.safetensors", a);
    char *x = test_read(test_path(folder, name), &m);
    snprintf(name, sizeof name, "%s/adapter_model.safetensors", b);
    char *y = test_read(test_path(folder, name), &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void test_resume(void **state) {
    (void)state;
    narrow = true; // where this CPU has it
    if (adapt("whole-bf16", 2, NULL, NULL, NULL) == QN_OK) {
        polls = 0;
        assert_fails(adapt("stopped-bf16", 1, NULL, stop_after_some, NULL), QN_INTERRUPTED, "--resume");
        assert_ok(adapt("stopped-bf16", 2, "", NULL, NULL));
        assert_same_adapter("whole-bf16", "stopped-bf16");
    }
    narrow = false;
    polls = 0;
    assert_ok(adapt("whole", 2, NULL, NULL, NULL));
    assert_false(qn_is_file(test_path(folder, "whole/model.safetensors")));
    assert_fails(adapt("stopped", 1, NULL, stop_after_some, NULL), QN_INTERRUPTED, "--resume");
    assert_true(qn_is_file(test_path(folder, "stopped/checkpoint-13/adapter_model.safetensors")));
    assert_ok(adapt("stopped", 1, "", NULL, NULL));
    assert_same_adapter("whole", "stopped");
}

static double log_loss(const char *json) {
    const char *at = strstr(json, "\"log_loss\": ");
    assert_non_null(at);
    return atof(at + 12);
}

static void classify(const char *model, const char *adapter, float *scores) {
    qn_text texts[2] = {{"a small bird", 12, NULL, 0}, {"the act of reading aloud", 24, NULL, 0}};
    qn_model_options o = {.threads = 1, .adapter = adapter};
    qn_model *m;
    assert_ok(qn_model_open(test_path(folder, model), &o, &m));
    assert_ok(qn_classify(m, texts, 2, true, scores));
    qn_model_close(m);
}

// In the weights, beside the weights in training, and as a folder of its own: the same outputs.
static void test_merge(void **state) {
    (void)state;
    char *json, *measured;
    assert_ok(adapt("measured", 1, NULL, NULL, &json));
    qn_model_options o = {.threads = 1, .adapter = test_path(folder, "measured")};
    qn_model *m;
    assert_ok(qn_model_open(test_path(folder, "base"), &o, &m));
    assert_ok(qn_evaluate(m, test_path(folder, "train.tsv"), NULL, &measured));
    qn_model_close(m);
    assert_true(fabs(log_loss(json) - log_loss(measured)) < 1e-5);
    free(json);
    free(measured);
    float base[6], one[6], own[6], merged[6];
    classify("base", NULL, base);
    classify("base", test_path(folder, "measured"), one);
    classify("measured", NULL, own); // its adapter_config.json names the base
    assert_ok(qn_merge(test_path(folder, "base"), test_path(folder, "measured"), test_path(folder, "merged")));
    classify("merged", NULL, merged);
    assert_true(fabsf(base[0] - one[0]) > 1e-3f);
    for (int i = 0; i < 6; i++) {
        assert_true(one[i] == own[i]);
        assert_true(fabsf(one[i] - merged[i]) < 1e-5f);
    }
}

// Going on from an adapter starts where it ended.
static void test_go_on(void **state) {
    (void)state;
    qn_training t = options(test_path(folder, "base"), test_path(folder, "more"));
    t.adapter = test_path(folder, "measured");
    t.learning_rate = 0;
    t.max_steps = 2;
    assert_ok(qn_finetune(&t, NULL));
    assert_same_adapter("measured", "more");
    t.lora_rank = 5;
    t.overwrite = true;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "rank is 4, not 5");
    t = options(test_path(folder, "base"), test_path(folder, "more"));
    t.overwrite = true;
    t.lora_rank = 2;
    t.lora_targets = "query,nothing";
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "\"nothing\" names no linear layer");
}

static void refuse(const char *text, const char *message) {
    qn_model_options o = {.threads = 1, .adapter = test_path(folder, "wrong")};
    qn_model *m;
    size_t size;
    assert_ok(qn_make_folders(o.adapter));
    char *tensors = test_read(test_path(folder, "measured/adapter_model.safetensors"), &size);
    test_write(test_path(folder, "wrong/adapter_model.safetensors"), tensors, size);
    free(tensors);
    test_write_text(test_path(folder, "wrong/adapter_config.json"), text);
    if (qn_model_open(test_path(folder, "base"), &o, &m) == QN_OK) fail_msg("%s was not refused", text);
    if (!strstr(qn_last_error(), message)) fail_msg("\"%s\" (expected \"%s\" in it)", qn_last_error(), message);
}

static void test_refused(void **state) {
    (void)state;
    refuse("{\"peft_type\": \"LORA\", \"r\": 8}", "is [4, 32] (expected [8, 32]");
    refuse("{\"peft_type\": \"LORA\", \"r\": 4, \"rank_pattern\": {\"layer.1.attention.self.value\": 2}}",
           "value.lora_A.weight\" is [4, 32] (expected [2, 32]");
    refuse("{\"peft_type\": \"LORA\", \"r\": 0}", "\"r\" is 0 (expected");
    refuse("{\"peft_type\": \"LORA\"}", "\"r\"");
    refuse("{\"peft_type\": \"IA3\", \"r\": 4}", "\"peft_type\" is \"IA3\"");
    refuse("{\"peft_type\": \"LORA\", \"r\": 4, \"use_dora\": true}", "\"use_dora\" is set");
    refuse("{\"peft_type\": \"LORA\", \"r\": 4, \"bias\": \"all\"}", "\"bias\" is \"all\"");
    refuse("{\"peft_type\": \"LORA\", \"r\": 4, \"alpha_pattern\": {\".*query\": 4}}", "regular expression");
    refuse("{\"peft_type\": \"LORA\", \"r\": 4, \"lora_dropout\": 1.5}", "\"lora_dropout\" is 1.5");
    refuse("[]", "adapter_config.json");
    // An adapter of a larger model.
    char text[600];
    snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": 4, \"base_model_name_or_path\": \"nowhere\"}");
    test_write_text(test_path(folder, "wrong/adapter_config.json"), text);
    qn_model *m;
    assert_fails(qn_model_open(test_path(folder, "wrong"), NULL, &m), QN_ERROR_IO, "is for the model \"nowhere\"");
    qn_model_options o = {.adapter = test_path(folder, "missing")};
    assert_fails(qn_model_open(test_path(folder, "base"), &o, &m), QN_ERROR_IO, "missing: no such folder");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resume), cmocka_unit_test(test_merge),
                                       cmocka_unit_test(test_go_on), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
