// config.json: what a folder says is read, and missing, wrong or absurd values are refused with the file's and the
// key's name.
#include "models/network.h"
#include "support.h"
#include <math.h>

#define SHAPE "\"vocab_size\": 10, \"hidden_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 2"
#define DISTIL "\"model_type\": \"distilbert\", \"vocab_size\": 10, \"dim\": 8, \"n_layers\": 1, \"n_heads\": 2"

static qn_status parse(const char *text, qn_model_config *config) {
    return qn_model_config_parse(text, strlen(text), "config.json", config);
}

static void test_defaults(void **state) {
    (void)state;
    qn_model_config c;
    assert_ok(parse("{\"model_type\": \"bert\", " SHAPE "}", &c));
    assert_int_equal(c.encoder.intermediate, 32);
    assert_int_equal(c.encoder.max_positions, 512);
    assert_int_equal(c.encoder.types, 2);
    assert_int_equal(c.labels, 2);
    assert_string_equal(c.label_names[1], "LABEL_1");
    assert_int_equal(c.heads, 0);
    qn_model_config_free(&c);
}

static void test_labels(void **state) {
    (void)state;
    qn_model_config c;
    assert_ok(parse("{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], " SHAPE
                    ", \"id2label\": {\"1\": \"b\", \"0\": \"a\", \"2\": \"c\"}}",
                    &c));
    assert_int_equal(c.labels, 3);
    assert_string_equal(c.label_names[2], "c");
    assert_int_equal(c.problem, QN_PROBLEM_SINGLE_LABEL);
    assert_int_equal(c.heads, QN_HEAD_POOLER | QN_HEAD_CLASSIFIER);
    qn_model_config_free(&c);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
        qn_status status;
    } cases[] = {
        {"", "config.json", QN_ERROR_FORMAT},
        {"[]", "not a JSON object", QN_ERROR_FORMAT},
        {"{" SHAPE "}", "\"model_type\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"gpt9\", " SHAPE "}", "\"gpt9\" (expected one of bert", QN_ERROR_UNSUPPORTED},
        {"{\"model_type\": \"bert\"}", "\"vocab_size\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", \"vocab_size\": -1}", "\"vocab_size\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", \"vocab_size\": 99999999999}", "\"vocab_size\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", \"vocab_size\": 10, \"hidden_size\": 9, \"num_hidden_layers\": 1, "
         "\"num_attention_heads\": 2}",
         "not a multiple", QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", " SHAPE ", \"hidden_act\": \"mish\"}", "\"mish\" (expected one of",
         QN_ERROR_UNSUPPORTED},
        {"{\"model_type\": \"bert\", " SHAPE ", \"hidden_act\": 3}", "\"hidden_act\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", " SHAPE ", \"position_embedding_type\": \"relative_key\"}", "relative_key",
         QN_ERROR_UNSUPPORTED},
        {"{\"model_type\": \"bert\", " SHAPE ", \"is_decoder\": true}", "is_decoder", QN_ERROR_UNSUPPORTED},
        {"{\"model_type\": \"bert\", " SHAPE ", \"id2label\": {}}", "id2label", QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", " SHAPE ", \"id2label\": {\"0\": \"a\", \"7\": \"b\"}}", "no name for \"1\"",
         QN_ERROR_FORMAT},
        {"{\"model_type\": \"bert\", " SHAPE ", \"layer_norm_eps\": \"small\"}", "\"layer_norm_eps\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"roberta-prelayernorm\", " SHAPE ", \"max_position_embeddings\": 2}",
         "\"max_position_embeddings\"", QN_ERROR_FORMAT},
        {"{" DISTIL ", \"norm_position\": \"pre\"}", "\"norm_position\"", QN_ERROR_UNSUPPORTED},
        {"{\"model_type\": \"distilbert\", \"vocab_size\": 10, \"dim\": 9, \"n_layers\": 1, \"n_heads\": 2}",
         "\"n_heads\" 2", QN_ERROR_FORMAT},
        {"{\"model_type\": \"distilbert\", " SHAPE "}", "\"dim\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"albert\", " SHAPE ", \"num_hidden_groups\": 2}", "\"num_hidden_groups\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"albert\", " SHAPE ", \"inner_group_num\": 0}", "\"inner_group_num\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"mpnet\", " SHAPE ", \"relative_attention_num_buckets\": 31}",
         "\"relative_attention_num_buckets\"", QN_ERROR_FORMAT},
        {"{\"model_type\": \"electra\", " SHAPE ", \"embedding_size\": -8}", "\"embedding_size\"", QN_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_model_config c;
        assert_fails(parse(cases[i].text, &c), cases[i].status, cases[i].message);
        assert_non_null(strstr(qn_last_error(), "config.json"));
    }
}

// Families that spell keys in their own way, or have other defaults.
static void test_families(void **state) {
    (void)state;
    qn_model_config c;
    assert_ok(parse("{" DISTIL ", \"hidden_dim\": 12, \"dropout\": 0.25, \"type_vocab_size\": 2}", &c));
    assert_int_equal(c.encoder.hidden, 8);
    assert_int_equal(c.encoder.intermediate, 12);
    assert_int_equal(c.encoder.types, 0);
    assert_float_equal(c.encoder.hidden_dropout, 0.25, 0);
    assert_float_equal(c.classifier_dropout, 0.2f, 0);
    qn_model_config_free(&c);
    assert_ok(parse("{\"model_type\": \"electra\", " SHAPE "}", &c));
    assert_int_equal(c.encoder.embedding, 128);
    assert_true(c.encoder.project);
    qn_model_config_free(&c);
    assert_ok(parse("{\"model_type\": \"electra\", " SHAPE ", \"embedding_size\": 8}", &c));
    assert_false(c.encoder.project);
    qn_model_config_free(&c);
    assert_ok(parse("{\"model_type\": \"albert\", " SHAPE ", \"embedding_size\": 8, \"inner_group_num\": 3}", &c));
    assert_true(c.encoder.project);
    assert_int_equal(c.encoder.layers, 3);
    assert_int_equal(c.encoder.activation, QN_ACTIVATION_GELU_TANH);
    assert_float_equal(c.encoder.hidden_dropout, 0, 0);
    assert_float_equal(c.classifier_dropout, 0.1f, 0);
    qn_model_config_free(&c);
    assert_ok(parse("{\"model_type\": \"xlm-roberta\", " SHAPE ", \"max_position_embeddings\": 514}", &c));
    assert_int_equal(c.encoder.max_positions, 512);
    assert_int_equal(c.encoder.position_offset, 2);
    qn_model_config_free(&c);
    assert_ok(parse("{\"model_type\": \"mpnet\", " SHAPE ", \"pad_token_id\": 7}", &c));
    assert_int_equal(c.encoder.position_offset, 2);
    assert_int_equal(c.encoder.relative_buckets, 32);
    qn_model_config_free(&c);
}

// DistilBERT's sinusoids are where training from scratch begins: a table that is written, and trains.
static void test_sinusoidal_start(void **state) {
    (void)state;
    qn_model_config c;
    qn_network *n;
    assert_ok(parse("{" DISTIL ", \"sinusoidal_pos_embds\": true}", &c));
    assert_ok(qn_network_create(&c, &(qn_network_options){.trainable = true}, &n));
    const qn_tensor *table = &qn_parameters_find(&n->parameters, "embeddings.position_embeddings.weight")->tensor;
    assert_int_equal(table->shape[0], 512);
    assert_float_equal(table->data[3 * 8 + 4], sin(3 / pow(10000, 4 / 8.0)), 1e-6);
    assert_float_equal(table->data[3 * 8 + 5], cos(3 / pow(10000, 4 / 8.0)), 1e-6);
    assert_true(table->requires_grad);
    qn_network_free(n);
}

// Layers that share parameters: freezing the first ones leaves what a later one uses.
static void test_freeze_shared(void **state) {
    (void)state;
    for (int frozen = 1; frozen <= 5; frozen++) {
        qn_model_config c;
        qn_network *n;
        assert_ok(parse("{\"model_type\": \"albert\", \"vocab_size\": 10, \"hidden_size\": 8, \"num_hidden_layers\": 4, "
                        "\"num_attention_heads\": 2, \"num_hidden_groups\": 2}",
                        &c));
        assert_ok(qn_network_create(&c, &(qn_network_options){.trainable = true, .frozen = frozen}, &n));
        const qn_parameter *first =
            qn_parameters_find(&n->parameters, "encoder.albert_layer_groups.0.albert_layers.0.ffn.weight");
        const qn_parameter *second =
            qn_parameters_find(&n->parameters, "encoder.albert_layer_groups.1.albert_layers.0.ffn.weight");
        assert_int_equal(first->frozen, frozen > 2);
        assert_int_equal(second->frozen, frozen > 4);
        assert_int_equal(n->parameters.trained < n->parameters.size, true); // no memory for what stays
        qn_network_free(n);
    }
}

// Weights of another shape than config.json says, and a head that the file lacks, are named before memory is taken.
static void test_wrong_weights(void **state) {
    (void)state;
    char *folder = test_folder(), from[512];
    snprintf(from, sizeof from, "%s/tests/golden/bert/classify-relu-w32", QN_SOURCE_DIR);
    qn_model_config c;
    qn_network *n;
    assert_ok(qn_model_config_read(from, &c));
    c.encoder.intermediate *= 2;
    assert_fails(qn_network_load(&c, from, &(qn_network_options){.heads = QN_HEAD_POOLER}, &n), QN_ERROR_FORMAT,
                 "intermediate.dense");
    assert_ok(qn_model_config_read(from, &c));
    c.encoder.vocabulary = 9000000;
    c.encoder.hidden = 65536;
    c.encoder.heads = 1;
    assert_fails(qn_network_load(&c, from, &(qn_network_options){.heads = QN_HEAD_POOLER}, &n), QN_ERROR_FORMAT,
                 "word_embeddings");
    assert_ok(qn_model_config_read(from, &c));
    assert_fails(qn_network_load(&c, from, &(qn_network_options){.heads = QN_HEAD_LM}, &n), QN_ERROR_FORMAT,
                 "cls.predictions");
    assert_ok(qn_model_config_read(from, &c));
    assert_fails(qn_network_load(&c, folder, &(qn_network_options){.heads = 0}, &n), QN_ERROR_IO, "model.safetensors");
}

// A saved folder read again has the same bytes in its weights.
static void test_save(void **state) {
    (void)state;
    const char *folder = test_path(test_folder(), "saved");
    char from[512], again[600];
    snprintf(from, sizeof from, "%s/tests/golden/bert/pretrain-gelu_new-w20", QN_SOURCE_DIR);
    qn_model_config c;
    qn_network *n;
    assert_ok(qn_model_config_read(from, &c));
    unsigned heads = c.heads;
    assert_ok(qn_network_load(&c, from, &(qn_network_options){.heads = heads}, &n));
    assert_ok(qn_network_save(n, folder));
    qn_network_free(n);
    assert_ok(qn_model_config_read(folder, &c));
    assert_int_equal(c.heads, heads);
    assert_ok(qn_network_load(&c, folder, &(qn_network_options){.heads = heads}, &n));
    snprintf(again, sizeof again, "%s-again", folder);
    assert_ok(qn_network_save(n, again));
    qn_network_free(n);
    size_t size, other;
    char one[640], two[640];
    snprintf(one, sizeof one, "%s/model.safetensors", folder);
    snprintf(two, sizeof two, "%s/model.safetensors", again);
    char *a = test_read(one, &size), *b = test_read(two, &other);
    assert_int_equal(size, other);
    assert_memory_equal(a, b, size);
    free(a);
    free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults),         cmocka_unit_test(test_labels),
                                       cmocka_unit_test(test_refused),          cmocka_unit_test(test_families),
                                       cmocka_unit_test(test_sinusoidal_start), cmocka_unit_test(test_freeze_shared),
                                       cmocka_unit_test(test_wrong_weights),    cmocka_unit_test(test_save)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
