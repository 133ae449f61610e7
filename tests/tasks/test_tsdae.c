// Decoders of texts' vectors against transformers, on every instruction set that this CPU has: vectors, logits, loss
// and every gradient; their folders; and training with the loss tsdae, interrupted and not.
#include "base/file.h"
#include "models/golden.h"
#include "training.h"
#include "tasks/sides.h"
#include "models/sentence.h"

typedef struct {
    golden_case g;
    qn_batch batch;
} fixture;

// The network of a folder with its decoder, in training or `separate`.
static qn_network *load(const char *folder, bool trainable) {
    qn_model_config config;
    qn_sbert sentence;
    qn_network *network;
    qn_text_decoder decoder = {.folder = folder, .separate = !trainable};
    assert_ok(qn_model_config_read(folder, &config));
    assert_ok(qn_sbert_read(folder, &sentence));
    assert_ok(
        qn_network_load(&config, folder,
                        &(qn_network_options){
                            .trainable = trainable, .by_rows = false, .sentence = &sentence, .text_decoder = &decoder},
                        &network));
    return network;
}

static void open_case(fixture *f, const char *name, const char *isa, int threads) {
    size_t count;
    *f = (fixture){0};
    golden_open(&f->g, name, isa, threads);
    f->g.network = load(f->g.folder, true);
    assert_int_equal(f->g.network->fresh, 0);
    f->batch.ids = golden_i32(f->g.golden, "ids", &f->batch.tokens);
    f->batch.offsets = golden_i32(f->g.golden, "offsets", &count);
    f->batch.sequences = count - 1;
    f->batch.width = 2;
}

static void close_case(fixture *f) {
    golden_close(&f->g);
    qn_batch_free(&f->batch);
}

static qn_context begin(fixture *f, bool recording) {
    golden_begin_step(&f->g);
    qn_context c = f->g.c;
    if (!recording) c.tape = NULL;
    return c;
}

static const char *golden_name(const fixture *f, const qn_parameter *p, char name[512]) {
    bool own = p->module == QN_MODULE_DECODER;
    const char *rest = p->module > 0 ? strchr(strchr(p->name, '.') + 1, '.') + 8 : p->name + (own ? 8 : 0); // "linear."
    snprintf(name, 512, "grad.%s%s", p->module > 0 ? "sentence." : own ? "decoder." : "", rest);
    if (!qn_weights_find(f->g.golden, name))
        snprintf(name, 512, "grad.decoder.%s%s", f->g.network->config.family->prefix, rest);
    return name;
}

static void run_case(const char *name, const char *isa, int threads) {
    fixture f;
    open_case(&f, name, isa, threads);
    qn_context c = begin(&f, false);
    qn_sides s;
    double divergence;
    assert_ok(qn_sides_split(&c, f.g.network, &f.batch, &s));
    qn_tensor *vectors = qn_sentence_vectors(&c, f.g.network, &s.source, NULL);
    if (!vectors) fail_msg("%s", qn_last_error());
    golden_compare(f.g.golden, "vectors", vectors->data, 1e-5);
    golden_compare(f.g.golden, "logits", qn_sides_logits(&c, f.g.network, &s, 0, &divergence)->data, 1e-5);
    double loss;
    qn_sides_sums sums = {0};
    c = begin(&f, true);
    assert_ok(qn_sides_loss(f.g.network, &c, &f.batch, 0, 0, &sums, &loss));
    assert_int_equal(sums.tokens, s.target.tokens);
    golden_check_loss(&f.g, "loss", 0, loss, 1e-5);
    assert_ok(qn_backward(&c));
    for (size_t i = 0; i < f.g.network->parameters.count; i++) {
        const qn_parameter *p = f.g.network->parameters.items[i];
        char golden[512];
        golden_compare(f.g.golden, golden_name(&f, p, golden), p->tensor.grad, 1e-5);
    }
    close_case(&f);
}

// With weights of its own, packed or not, the decoder gives the bits of the one that is tied.
static void separate_equals_tied(const char *name) {
    fixture f;
    qn_sides s;
    double divergence;
    open_case(&f, name, NULL, 2);
    qn_context c = begin(&f, true);
    assert_ok(qn_sides_split(&c, f.g.network, &f.batch, &s));
    qn_tensor *tied = qn_sides_logits(&c, f.g.network, &s, 0, &divergence);
    qn_network *separate = load(f.g.folder, false);
    assert_false(separate->config.decoder_tied);
    c.tape = NULL;
    for (int packed = 0; packed < 2; packed++) {
        if (packed) assert_ok(qn_encoder_pack(&separate->encoder, f.g.backend, QN_DTYPE_F32, NULL));
        if (packed) assert_ok(qn_encoder_pack(&separate->decoder_stack, f.g.backend, QN_DTYPE_F32, NULL));
        qn_tensor *x = qn_sides_logits(&c, separate, &s, 0, &divergence);
        assert_memory_equal(x->data, tied->data, qn_count(x) * sizeof(float));
    }
    qn_encoder_unpack(&separate->encoder, f.g.backend);
    qn_encoder_unpack(&separate->decoder_stack, f.g.backend);
    qn_network_free(separate);
    close_case(&f);
}

// A written folder has the tensors that it was read from, in each file.
static void written_equals_read(const char *name) {
    static const char *const files[] = {"model.safetensors", "decoder/model.safetensors"};
    fixture f;
    open_case(&f, name, NULL, 1);
    char *folder = test_folder();
    assert_ok(qn_network_save(f.g.network, folder));
    for (int i = 0; i < 2; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", f.g.folder, files[i]);
        golden_same_weights(test_path(folder, files[i]), path);
    }
    qn_network *again = load(folder, true);
    assert_int_equal(again->config.decoder_tied, f.g.network->config.decoder_tied);
    assert_int_equal(again->config.decoder.layers, f.g.network->config.decoder.layers);
    qn_network_free(again);
    close_case(&f);
}

static const char *const cases[] = {"text_decoder/bert-tied", "text_decoder/bert-narrow-vector", "text_decoder/roberta",
                                    "text_decoder/prelayernorm-tied", "text_decoder/electra-tied"};
enum { CASES = sizeof cases / sizeof *cases, OTHERS = 3 };

static void test_case(void **state) {
    golden_everywhere(run_case, *state);
    separate_equals_tied(*state);
    written_equals_read(*state);
}

// --- Training

static char folder[256];

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "config.json"),
                    "{\"model_type\": \"bert\", \"vocab_size\": 60, \"hidden_size\": 16, \"num_hidden_layers\": 2, "
                    "\"num_attention_heads\": 2, \"intermediate_size\": 32, \"max_position_embeddings\": 32}");
    qn_buffer text = {0};
    qn_buffer_text(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 0; i < 50; i++) qn_buffer_printf(&text, "x%d\n", i);
    test_write(test_path(folder, "vocab.txt"), text.data, text.size);
    qn_buffer_clear(&text);
    qn_buffer_text(&text, "text\n");
    for (int i = 0; i < 40; i++) qn_buffer_printf(&text, "x%d x%d x%d x3\n", i, i / 2, (i * 7) % 50);
    test_write(test_path(folder, "train.tsv"), text.data, text.size);
    qn_buffer_free(&text);
    return 0;
}

static qn_training training(const char *output, bool own) {
    qn_training t = task_training(folder, "embed", "config.json", "train.tsv", output);
    t.validation = NULL;
    t.embed.loss = "tsdae";
    t.decoder.tied = !own;
    t.decoder.layers = own;
    t.embed.pooling = "cls";
    t.learning_rate = 5e-3;
    t.batch_size = 8;
    t.epochs = 12;
    t.save_steps = 20;
    t.log_steps = 1;
    return t;
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 33;
}

static double first_loss, last_loss;
static void note_loss(void *user, const qn_training_step *step) {
    (void)user;
    if (step->step == 1) first_loss = step->loss;
    last_loss = step->loss;
}

// The same bytes on another number of threads, and stopped between two checkpoints; the decoder is in these alone.
static void resumed(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        char *files[2];
        size_t sizes[2];
        static const char *const names[2][2] = {{"whole", "stopped"}, {"whole-own", "stopped-own"}};
        qn_training t = training(names[own][0], own);
        t.threads = 2;
        t.on_step = note_loss;
        assert_ok(qn_finetune(&t, NULL));
        assert_true(last_loss < 0.75 * first_loss);
        t = training(names[own][1], own);
        t.threads = 1;
        t.stop = stop_after_some;
        polls = 0;
        assert_fails(qn_finetune(&t, NULL), QN_INTERRUPTED, "--resume");
        t.stop = NULL;
        t.resume = "";
        assert_ok(qn_finetune(&t, NULL));
        for (int i = 0; i < 2; i++) {
            char path[300];
            snprintf(path, sizeof path, "%s/model.safetensors", names[own][i]);
            files[i] = test_read(test_path(folder, path), &sizes[i]);
            assert_false(qn_has_text_decoder(test_path(folder, names[own][i])));
        }
        assert_int_equal(sizes[0], sizes[1]);
        assert_memory_equal(files[0], files[1], sizes[0]);
        free(files[0]);
        free(files[1]);
    }
    qn_model *m;
    assert_ok(qn_model_open(test_path(folder, "whole"), NULL, &m));
    assert_int_equal(qn_model_width(m), 16);
    qn_model_close(m);
}

static void excluded(void **state) {
    (void)state;
    qn_training t = training("none", false);
    t.embed.mini_batch = 4;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "the loss tsdae goes with no mini-batches");
    t = training("none", false);
    t.embed.sparse = true;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "goes with no sparse vectors");
    t = training("none", false);
    t.noise.deletion = 1;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_ARGUMENT, "the share of deleted tokens is 1 (expected 0 to 0.99)");
}

// What decoder/ holds is checked.
static void hostile(void **state) {
    (void)state;
    static const struct {
        const char *json, *error;
    } files[] = {
        {"{", "decoder/config.json"},
        {"{\"model_type\": \"bert\", \"num_hidden_layers\": 2}", "not a decoder of vectors"},
        {"{\"model_type\": \"roberta\", \"num_hidden_layers\": 2, \"add_cross_attention\": true}", "\"bert\""},
        {"{\"model_type\": \"bert\", \"num_hidden_layers\": -1, \"add_cross_attention\": true}",
         "\"num_hidden_layers\""},
        {"{\"model_type\": \"bert\", \"num_hidden_layers\": 3, \"add_cross_attention\": true, "
         "\"tie_encoder_decoder\": true}",
         "3 layers that are tied"},
        {"{\"model_type\": \"bert\", \"num_hidden_layers\": 3, \"add_cross_attention\": true}", "encoder.layer.2"}};
    fixture f;
    open_case(&f, "text_decoder/bert-tied", NULL, 1);
    char *broken = test_folder();
    assert_ok(qn_network_save(f.g.network, broken));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        qn_model_config config;
        qn_network *network;
        test_write_text(test_path(broken, "decoder/config.json"), files[i].json);
        assert_ok(qn_model_config_read(broken, &config));
        qn_status status = qn_network_load(
            &config, broken,
            &(qn_network_options){.trainable = true, .text_decoder = &(qn_text_decoder){.folder = broken}}, &network);
        assert_int_not_equal(status, QN_OK);
        if (!strstr(qn_last_error(), files[i].error)) fail_msg("%zu: \"%s\"", i, qn_last_error());
    }
    close_case(&f);
}

int main(void) {
    struct CMUnitTest tests[CASES + OTHERS];
    for (size_t i = 0; i < CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i], test_case, NULL, NULL, (void *)(uintptr_t)cases[i]};
    tests[CASES] = (struct CMUnitTest)cmocka_unit_test(resumed);
    tests[CASES + 1] = (struct CMUnitTest)cmocka_unit_test(excluded);
    tests[CASES + 2] = (struct CMUnitTest)cmocka_unit_test(hostile);
    return _cmocka_run_group_tests("tsdae", tests, CASES + OTHERS, set_up, NULL);
}
