// ColBERT: what is trained finds its documents, a folder gives the vectors that the training had, a query's fill sees
// and is not seen, punctuation of documents has no vector, and search over stored vectors finds what retrieval does.
#include "training.h"
#include "base/file.h"
#include "tasks/embed.h"
#include <math.h>

static char folder[256];

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 70, \"hidden_size\": 32, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 40, "
    "\"initializer_range\": 0.2}";

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(path("config.json"), config);
    qn_buffer text = {0};
    qn_buffer_text(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[unused0]\n[unused1]\n,\n");
    for (int i = 0; i < 50; i++) qn_buffer_printf(&text, "x%d\n", i);
    test_write_text(path("vocab.txt"), text.data);
    qn_buffer_clear(&text);
    qn_buffer_text(&text, "anchor\tpositive\n");
    for (int i = 0; i < 40; i++) qn_buffer_printf(&text, "x%d\tx%d , x%d x3\n", i, i, i / 2);
    test_write_text(path("pairs.tsv"), text.data);
    qn_buffer_free(&text);
    return 0;
}

static qn_training training(const char *output) {
    qn_training t = task_training(folder, "embed", "config.json", "pairs.tsv", output);
    t.embed.multi_vector = true;
    t.embed.dense = 12;
    t.learning_rate = 3e-3;
    t.epochs = 12;
    t.batch_size = 10;
    return t;
}

static double number(const char *json, const char *key) {
    const char *at = strstr(json, key);
    assert_non_null(at);
    return strtod(at + strlen(key) + 3, NULL);
}

// The vectors of one text.
typedef struct {
    size_t count;
    float values[40 * 12];
} vectors;

static qn_status take(void *user, size_t index, size_t count, const float *values) {
    vectors *v = user;
    (void)index;
    assert_true(count <= 40);
    v->count = count;
    memcpy(v->values, values, count * 12 * sizeof *values);
    return QN_OK;
}

static vectors embed(const char *model, bool query, const char *text) {
    vectors v = {0};
    qn_model *m;
    qn_model_options o = qn_model_defaults();
    o.purpose = query ? QN_FOR_QUERIES : QN_FOR_DOCUMENTS;
    assert_ok(qn_model_open(path(model), &o, &m));
    assert_true(qn_model_multi_vector(m) && qn_model_width(m) == 12);
    qn_text t = {text, strlen(text), NULL, 0};
    assert_ok(qn_embed_multi(m, &t, 1, take, &v));
    float one[12];
    assert_fails(qn_embed(m, &t, 1, NULL, one), QN_ERROR_UNSUPPORTED, "has a vector for each token");
    qn_model_close(m);
    return v;
}

static void documents_are_found(void **state) {
    (void)state;
    char *json;
    qn_training t = training("late");
    assert_ok(qn_finetune(&t, &json));
    double trained = number(json, "ndcg_at_10");
    assert_true(trained > 0.8);
    free(json);
    qn_model *m;
    assert_ok(qn_model_open(path("late"), NULL, &m));
    assert_ok(qn_evaluate_task(m, "retrieval", path("pairs.tsv"), NULL, &json));
    assert_true(fabs(number(json, "ndcg_at_10") - trained) < 1e-6);
    free(json);
    assert_fails(qn_evaluate_task(m, "sts", path("pairs.tsv"), NULL, &json), QN_ERROR_FORMAT, "");
    qn_model_close(m);
    assert_true(qn_is_file(path("late/1_Dense/model.safetensors")));
    // Frozen layers that run once per text train the same, a query's fill included.
    size_t sizes[2];
    char *weights[2];
    for (int i = 0; i < 2; i++) {
        t = training(i ? "each" : "once");
        t.freeze_layers = 1;
        t.activation_cache = i ? 0 : 10;
        t.epochs = 2;
        assert_ok(qn_finetune(&t, NULL));
        weights[i] = test_read(path(i ? "each/model.safetensors" : "once/model.safetensors"), &sizes[i]);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(weights[0], weights[1], sizes[0]);
    free(weights[0]);
    free(weights[1]);
    // It goes on from its own folder.
    t = training("more");
    t.model = path("late");
    t.tokenizer = NULL;
    t.epochs = 1;
    assert_ok(qn_finetune(&t, NULL));
}

static void vectors_are_of_tokens(void **state) {
    (void)state;
    vectors query = embed("late", true, "x1 x2"), document = embed("late", false, "x1 , x2");
    assert_int_equal(query.count, 32);   // [CLS] [unused0] x1 x2 [SEP] and masks
    assert_int_equal(document.count, 5); // [CLS] [unused1] x1 x2 [SEP], no comma
    for (size_t i = 0; i < query.count; i++) {
        double length = 0;
        for (int k = 0; k < 12; k++) length += query.values[i * 12 + k] * query.values[i * 12 + k];
        assert_true(fabs(length - 1) < 1e-5);
    }
    // Of another length of queries the first tokens have the same vectors: nobody sees the masks.
    char *text = test_read(path("late/config_sentence_transformers.json"), NULL),
         *at = strstr(text, "\"query_length\": 32");
    assert_non_null(at);
    memcpy(at, "\"query_length\": 20", 18);
    assert_ok(qn_make_folders(path("short")));
    char command[1000];
    snprintf(command, sizeof command, "cp -r %s/late/. %s/short", folder, folder);
    assert_int_equal(system(command), 0);
    test_write_text(path("short/config_sentence_transformers.json"), text);
    vectors few = embed("short", true, "x1 x2");
    assert_int_equal(few.count, 20);
    assert_memory_equal(few.values, query.values, 5 * 12 * sizeof(float));
    // With attention to the masks they are others.
    at = strstr(text, "\"attend_to_expansion_tokens\": false");
    assert_non_null(at);
    memcpy(at, "\"attend_to_expansion_tokens\": true ", 35);
    test_write_text(path("short/config_sentence_transformers.json"), text);
    few = embed("short", true, "x1 x2");
    assert_true(memcmp(few.values, query.values, 5 * 12 * sizeof(float)) != 0);
    free(text);
}

static void what_does_not_fit_is_an_error(void **state) {
    (void)state;
    qn_training t = training("none");
    t.embed.loss = "cosent";
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_FORMAT, "");
    t = training("none");
    t.embed.loss = "simcse";
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT,
                 "vectors of tokens are trained by the loss multiple-negatives");
    t = training("none");
    t.embed.pooling = "cls";
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "vectors of tokens have no pooling");
    qn_model *m;
    qn_model_options o = qn_model_defaults();
    o.dimensions = 4;
    assert_fails(qn_model_open(path("late"), &o, &m), QN_ERROR_UNSUPPORTED, "vectors of tokens have 12 dimensions");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(documents_are_found), cmocka_unit_test(vectors_are_of_tokens),
                                       cmocka_unit_test(what_does_not_fit_is_an_error)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
