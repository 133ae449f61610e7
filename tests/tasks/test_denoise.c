// Denoising: an autoencoder of texts learns to give texts back, killed or not, from its folder, plain and variational;
// its vectors are those of the embedder that its folder is; and an encoder-decoder restores noisy texts.
#include "base/file.h"
#include "training.h"
#include "tasks/task.h"
#include <math.h>

static char folder[256];

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "config.json"),
                    "{\"model_type\": \"bert\", \"vocab_size\": 30, \"hidden_size\": 32, \"num_hidden_layers\": 1, "
                    "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 24, "
                    "\"hidden_dropout_prob\": 0, \"attention_probs_dropout_prob\": 0}");
    test_write_text(test_path(folder, "bart.json"),
                    "{\"model_type\": \"bart\", \"vocab_size\": 30, \"d_model\": 16, \"encoder_layers\": 1, "
                    "\"decoder_layers\": 1, \"encoder_attention_heads\": 2, \"decoder_attention_heads\": 2, "
                    "\"encoder_ffn_dim\": 32, \"decoder_ffn_dim\": 32, \"max_position_embeddings\": 24, "
                    "\"pad_token_id\": 0, \"bos_token_id\": 2, \"eos_token_id\": 3, \"decoder_start_token_id\": 3}");
    qn_buffer text = {0};
    qn_buffer_text(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 0; i < 20; i++) qn_buffer_printf(&text, "x%d\n", i);
    test_write(test_path(folder, "vocab.txt"), text.data, text.size);
    qn_buffer_clear(&text);
    for (int i = 0; i < 60; i++) qn_buffer_printf(&text, "x%d x%d x%d\n", i % 20, (i * 3 + i / 20) % 20, (i * 7) % 20);
    test_write(test_path(folder, "texts.txt"), text.data, text.size);
    qn_buffer_free(&text);
    return 0;
}

static qn_training training(const char *model, const char *output) {
    qn_training t = task_training(folder, "denoise", model, "texts.txt", output), d = qn_training_defaults(true);
    d.task = t.task, d.train = t.train, d.train_count = 1, d.validation = t.validation;
    d.model = t.model, d.tokenizer = t.tokenizer, d.output = t.output;
    d.learning_rate = 8e-3;
    d.batch_tokens = 0;
    d.batch_size = 20;
    d.max_length = 16;
    d.epochs = 60;
    d.eval_steps = 60;
    d.save_steps = 50;
    return d;
}

static double metric(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *at = strstr(json, key);
    if (!at) fail_msg("no %s in %s", name, json);
    return strtod(at + strlen(key), NULL);
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 77;
}

static void same_file(const char *a, const char *b, const char *name) {
    char left[300], right[300];
    size_t m, n;
    snprintf(left, sizeof left, "%s/%s", a, name);
    snprintf(right, sizeof right, "%s/%s", b, name);
    char *x = test_read(test_path(folder, left), &m), *y = test_read(test_path(folder, right), &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

// Most texts come back; stopped and on another number of threads the run ends in the same bytes.
static void autoencoder(void **state) {
    (void)state;
    char *json;
    qn_training t = training("config.json", "whole");
    t.decoder.latent = 12;
    t.threads = 2;
    assert_ok(qn_pretrain(&t, &json));
    assert_true(metric(json, "eval_exact_match") > 0.5);
    assert_true(metric(json, "eval_token_accuracy") > 0.7);
    free(json);
    t = training("config.json", "stopped");
    t.decoder.latent = 12;
    t.threads = 1;
    t.stop = stop_after_some;
    assert_fails(qn_pretrain(&t, NULL), QN_INTERRUPTED, "--resume");
    t.stop = NULL;
    t.resume = "";
    assert_ok(qn_pretrain(&t, NULL));
    same_file("whole", "stopped", "model.safetensors");
    same_file("whole", "stopped", "2_Dense/model.safetensors");
    same_file("whole", "stopped", "decoder/model.safetensors");
    assert_true(qn_has_text_decoder(test_path(folder, "whole")));
}

typedef struct {
    size_t next, exact;
    char texts[8][64];
} received;

static qn_status receive(void *user, const qn_reconstructed *r) {
    received *x = user;
    assert_int_equal(r->index, x->next);
    if (r->original) assert_int_equal(r->exact, strcmp(r->text, r->original) == 0);
    x->exact += r->exact;
    snprintf(x->texts[x->next++], 64, "%s", r->text);
    return QN_OK;
}

// A text, and its vector, give the same text; beams too; other models say what they lack.
static void used(void **state) {
    (void)state;
    static const char *const lines[] = {"x0 x0 x0", "x5 x15 x15", "", "x9 x7 x3"};
    qn_model *m;
    qn_text texts[4];
    float vectors[4 * 12];
    received a = {0}, b = {0}, c = {0};
    for (int i = 0; i < 4; i++) texts[i] = (qn_text){.text = lines[i], .size = strlen(lines[i])};
    assert_fails(qn_model_open(folder, &(qn_model_options){.decoder = true}, &m), QN_ERROR_UNSUPPORTED,
                 "no decoder of texts");
    assert_ok(qn_model_open(test_path(folder, "whole"), NULL, &m));
    assert_int_equal(qn_model_width(m), 12);
    assert_fails(qn_reconstruct(m, texts, 4, NULL, receive, &a), QN_ERROR_UNSUPPORTED,
                 "no decoder of texts was opened");
    qn_model_close(m);
    assert_ok(qn_model_open(test_path(folder, "whole"), &(qn_model_options){.decoder = true}, &m));
    assert_false(qn_model_is_variational(m));
    assert_ok(qn_reconstruct(m, texts, 4, NULL, receive, &a));
    assert_int_equal(a.next, 4);
    assert_ok(qn_embed(m, texts, 4, NULL, vectors));
    assert_ok(qn_decode_vectors(m, vectors, 4, NULL, receive, &b));
    assert_ok(qn_reconstruct(m, texts, 4, &(qn_reconstruction_options){.beam_size = 3}, receive, &c));
    for (int i = 0; i < 4; i++) assert_string_equal(a.texts[i], b.texts[i]);
    char *json, data[300];
    snprintf(data, sizeof data, "%s", test_path(folder, "texts.txt"));
    assert_ok(qn_evaluate_task(m, "reconstruct", data, NULL, &json));
    assert_true(metric(json, "exact_match") > 0.5 && metric(json, "bleu") >= 0 && metric(json, "count") == 60);
    free(json);
    qn_model_close(m);
}

// Goes on from an autoencoder's folder, decoder and all.
static void continued(void **state) {
    (void)state;
    char *json;
    qn_training t = training("whole", "continued");
    t.tokenizer = NULL;
    t.learning_rate = 0;
    t.max_steps = 1;
    t.warmup_ratio = 0;
    t.decoder.latent = 12;
    assert_ok(qn_pretrain(&t, &json));
    assert_true(metric(json, "eval_exact_match") > 0.5);
    free(json);
    same_file("whole", "continued", "decoder/model.safetensors");
}

// The divergence is there, and falls with its weight; random vectors are texts.
static void variational(void **state) {
    (void)state;
    double kl[2];
    for (int i = 0; i < 2; i++) {
        char *json;
        qn_training t = training("config.json", i ? "strong" : "weak");
        t.decoder.latent = 8;
        t.decoder.variational = true;
        t.decoder.tied = 1;
        t.decoder.beta = i ? 3 : 0.01;
        t.decoder.beta_warmup_steps = 20;
        t.noise.deletion = 0;
        assert_ok(qn_pretrain(&t, &json));
        kl[i] = metric(json, "eval_kl");
        if (i == 0) assert_true(metric(json, "eval_token_accuracy") > 0.7);
        free(json);
    }
    assert_true(kl[0] > 0 && kl[1] < 0.5 * kl[0]);
    qn_model *m;
    received a = {0};
    float vectors[5 * 8];
    qn_random_normal(3, 0, 1, vectors, 40);
    assert_ok(qn_model_open(test_path(folder, "weak"), &(qn_model_options){.decoder = true}, &m));
    assert_true(qn_model_is_variational(m));
    assert_ok(qn_decode_vectors(m, vectors, 5, NULL, receive, &a));
    assert_int_equal(a.next, 5);
    qn_model_close(m);
}

// An encoder-decoder learns from the same noise and restores texts from their tokens.
static void encoder_decoder(void **state) {
    (void)state;
    char *json;
    qn_training t = training("bart.json", "bart");
    assert_ok(qn_pretrain(&t, &json));
    assert_true(metric(json, "eval_accuracy") > 0.5);
    free(json);
    assert_false(qn_has_text_decoder(test_path(folder, "bart")));
    qn_model *m;
    received a = {0};
    char data[300];
    float vector[16] = {0};
    const qn_text texts[] = {{.text = "x0 x0 x0", .size = 8}, {.text = "x5 x15 x15", .size = 10}};
    snprintf(data, sizeof data, "%s", test_path(folder, "texts.txt"));
    assert_ok(qn_model_open(test_path(folder, "bart"), &(qn_model_options){.decoder = true}, &m));
    assert_ok(qn_reconstruct(m, texts, 2, NULL, receive, &a));
    assert_int_equal(a.next, 2);
    assert_true(a.exact >= 1);
    assert_fails(qn_decode_vectors(m, vector, 1, NULL, receive, &a), QN_ERROR_UNSUPPORTED,
                 "reads all tokens of a text");
    assert_ok(qn_evaluate_task(m, "reconstruct", data, NULL, &json));
    assert_true(metric(json, "exact_match") > 0.3 && metric(json, "token_accuracy") > 0.7 &&
                metric(json, "count") == 60);
    free(json);
    qn_model_close(m);
    t = training("bart.json", "none");
    t.decoder.latent = 4;
    assert_fails(qn_pretrain(&t, NULL), QN_ERROR_ARGUMENT, "reads all tokens of a text");
    t = training("bart.json", "none");
    t.task = "mlm";
    assert_fails(qn_pretrain(&t, NULL), QN_ERROR_ARGUMENT, "objective mlm (expected denoise");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(autoencoder), cmocka_unit_test(used),
                                       cmocka_unit_test(continued), cmocka_unit_test(variational),
                                       cmocka_unit_test(encoder_decoder)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
