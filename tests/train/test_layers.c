// Layers that run twice a step (gradient checkpointing) or once per text (frozen ones with their activations kept)
// train the same weights, to the bit, with dropout, in every kind of block, in float32 and bf16; and a checkpointed
// step takes less memory.
#include "base/file.h"
#include "nn/frozen.h"
#include "quern.h"
#include "support.h"
#include "train/trainer.h"
#include <string.h>

static char folder[256];
static const char *const families[] = {"roberta-classify",    "albert-classify", "modernbert-classify",
                                       "deberta_v2-classify", "mpnet-classify",  "nomic_bert-classify"};
enum { FAMILIES = sizeof families / sizeof *families };

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "vocab.txt"),
                    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngrain\nmill\nsea\nfish\nbread\nstone\nhill\n");
    static const char *const lines[] = {"grain mill bread\tfood\n", "sea fish sea sea fish\twater\n", "stone\trock\n",
                                        "hill stone hill\trock\n", "fish\twater\n"};
    char data[4000] = "text\tlabel\n";
    for (int i = 0; i < 60; i++) strcat(data, lines[i * i % 5]);
    test_write_text(test_path(folder, "data.tsv"), data);
    return 0;
}

static qn_training training(const char *model, const char *output) {
    static char paths[4][400];
    static const char *file = paths[0];
    snprintf(paths[0], sizeof paths[0], "%s", test_path(folder, "data.tsv"));
    snprintf(paths[1], sizeof paths[1], "%s", model);
    snprintf(paths[2], sizeof paths[2], "%s", test_path(folder, "vocab.txt"));
    snprintf(paths[3], sizeof paths[3], "%s", test_path(folder, output));
    qn_training t = qn_training_defaults(false);
    t.train = &file;
    t.train_count = 1;
    t.model = paths[1];
    t.tokenizer = paths[2];
    t.output = paths[3];
    t.overwrite = true;
    t.batch_size = 8;
    t.epochs = 3;
    t.learning_rate = 1e-3;
    t.dropout = 0.1;
    return t;
}

static const char *golden(size_t family) {
    static char path[300];
    snprintf(path, sizeof path, "%s/tests/golden/families/%s/config.json", QN_SOURCE_DIR, families[family]);
    return path;
}

// The weights after training with these options.
static char *train(const qn_training *t, size_t *size) {
    char path[400];
    assert_ok(qn_finetune(t, NULL));
    snprintf(path, sizeof path, "%s/model.safetensors", t->output);
    return test_read(path, size);
}

static void assert_trains_to(const char *weights, size_t size, const qn_training *t, const char *what) {
    size_t n;
    char *found = train(t, &n);
    if (n != size || memcmp(found, weights, n)) fail_msg("%s in %s: the weights differ", what, t->dtype);
    free(found);
}

static const char *const dtypes[] = {"f32", "bf16"};

static int dtypes_here(void) { // how many of them this CPU computes
    qn_backend *b;
    assert_ok(qn_backend_create_cpu(1, NULL, &b));
    bool bf16 = b->ops->computes(b, QN_DTYPE_BF16);
    qn_backend_destroy(b);
    return 1 + bf16;
}

static void checkpointed_layers_train_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++)
        for (int k = 0; k < dtypes_here(); k++) {
            qn_training plain = training(golden(i), "plain"), again = plain;
            plain.dtype = again.dtype = dtypes[k];
            again.gradient_checkpointing = true;
            size_t size;
            char *weights = train(&plain, &size);
            assert_trains_to(weights, size, &again, families[i]);
            free(weights);
        }
}

static void frozen_layers_run_once(void **state) {
    (void)state;
    for (size_t i = 0; i < FAMILIES * 3; i++)
        for (int k = 0; k < (i % 3 == 2 ? dtypes_here() : 1); k++) { // in bf16 the deepest
            qn_training kept = training(golden(i / 3), "plain"), other;
            kept.freeze_layers = (int64_t)(i % 3);
            kept.dtype = dtypes[k];
            size_t size;
            char *weights = train(&kept, &size);
            other = kept;
            other.activation_cache = 0;
            assert_trains_to(weights, size, &other, families[i / 3]);
            other = kept;
            other.gradient_checkpointing = true;
            assert_trains_to(weights, size, &other, families[i / 3]);
            free(weights);
        }
}

// Protects: what is larger than the budget lies in a file that leaves nothing behind, and holds the same.
static void a_file_holds_the_rest(void **state) {
    (void)state;
    static const int64_t offsets[] = {0, 3, 5, 9};
    qn_frozen_cache *memory, *file;
    assert_ok(qn_frozen_cache_create(3, offsets, 16, 9 * 16 * 4, folder, &memory));
    assert_ok(qn_frozen_cache_create(3, offsets, 16, 9 * 16 * 4 - 1, folder, &file));
    assert_false(qn_frozen_cache_in_file(memory));
    assert_true(qn_frozen_cache_in_file(file));
    assert_int_equal(qn_frozen_cache_bytes(file), 9 * 16 * 4);
    qn_frozen_cache_free(memory);
    qn_frozen_cache_free(file);
    assert_int_equal(qn_frozen_cache_create(3, offsets, 16, 0, "/nonexistent", &file), QN_ERROR_IO);
    qn_frozen_cache_free(file);
    void *bytes;
    assert_ok(qn_map_scratch(folder, 1 << 16, &bytes));
    memset(bytes, 7, 1 << 16);
    qn_unmap(&(qn_mapping){bytes, 1 << 16});
}

// The arena's peak of one step of a deep encoder.
static size_t step_memory(bool recompute) {
    enum { N = 6, LENGTH = 40, T = N * LENGTH };
    qn_model_config config;
    qn_network *network;
    qn_backend *backend;
    const char *text = "{\"model_type\": \"bert\", \"vocab_size\": 40, \"hidden_size\": 32, \"num_hidden_layers\": 12, "
                       "\"num_attention_heads\": 2, \"intermediate_size\": 128, \"max_position_embeddings\": 64}";
    test_write_text(test_path(folder, "deep.json"), text);
    assert_ok(qn_model_config_read(test_path(folder, "deep.json"), &config));
    assert_ok(qn_network_create(&config, &(qn_network_options){.trainable = true}, &network));
    assert_ok(qn_backend_create_cpu(1, NULL, &backend));
    int32_t ids[T], types[T], positions[T], offsets[N + 1];
    for (int i = 0; i < T; i++) ids[i] = i * 7 % 40, types[i] = 0, positions[i] = i % LENGTH;
    for (int i = 0; i <= N; i++) offsets[i] = i * LENGTH;
    qn_tape tape = {0};
    qn_context c = {.backend = backend,
                    .arena = qn_arena_create(1 << 16),
                    .records = qn_arena_create(1 << 16),
                    .loss_scale = 1,
                    .dropout = true,
                    .recompute = recompute,
                    .tape = &tape};
    qn_tokens tokens = qn_tokens_of(T, ids, types, positions, (qn_ragged){N, offsets});
    float targets[T * 32] = {0};
    double loss;
    assert_ok(qn_mean_squared_error(&c, qn_encoder_forward(&c, &network->encoder, &tokens), targets, &loss));
    assert_ok(qn_backward(&c));
    size_t peak = qn_arena_peak(c.arena);
    qn_arena_destroy(c.arena);
    qn_arena_destroy(c.records);
    qn_network_free(network);
    qn_backend_destroy(backend);
    return peak;
}

static void a_checkpointed_step_takes_less_memory(void **state) {
    (void)state;
    size_t whole = step_memory(false), less = step_memory(true);
    if (less > whole / 3) fail_msg("%zu bytes, %zu without (expected a third at most)", less, whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpointed_layers_train_the_same), cmocka_unit_test(frozen_layers_run_once),
        cmocka_unit_test(a_file_holds_the_rest), cmocka_unit_test(a_checkpointed_step_takes_less_memory)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
