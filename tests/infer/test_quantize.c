// Folders in int8: equal bits to quantizing at load, every family's weights, and clear errors for broken files.
#include "support.h"
#include "base/buffer.h"
#include "base/file.h"
#include "infer/model.h"
#include <math.h>

static void copy_file(const char *from, const char *to, const char *name) {
    size_t size;
    char *data = test_read(test_path(from, name), &size);
    test_write(test_path(to, name), data, size);
    free(data);
}

// A golden BERT with a vocabulary of words.
static void make_folder(const char *name, char out[512]) {
    char from[512];
    snprintf(out, 512, "%s/%s", test_folder(), name);
    snprintf(from, sizeof from, "%s/tests/golden/bert/%s", QN_SOURCE_DIR, name);
    assert_ok(qn_make_folders(out));
    copy_file(from, out, "config.json");
    copy_file(from, out, "model.safetensors");
    qn_buffer text = {0};
    qn_buffer_text(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 5; i < 101; i++) qn_buffer_printf(&text, "w%d\n", i);
    test_write(test_path(out, "vocab.txt"), text.data, text.size);
    qn_buffer_free(&text);
}

// The vectors of three texts; false where this CPU does not compute the dtype.
static bool embed(const char *folder, const char *dtype, float *vectors, size_t *count) {
    static const qn_text texts[] = {{"w5 w6 w7 w80", 12, NULL, 0}, {"", 0, NULL, 0}, {"w9 w9 w33", 9, NULL, 0}};
    qn_model_options o = qn_model_defaults();
    o.dtype = dtype;
    o.threads = 2;
    qn_model *model;
    qn_status status = qn_model_open(folder, &o, &model);
    if (status == QN_ERROR_UNSUPPORTED) return false;
    assert_ok(status);
    *count = 3 * qn_model_width(model);
    assert_true(*count <= 1024);
    assert_ok(qn_embed(model, texts, 3, NULL, vectors));
    qn_model_close(model);
    return true;
}

static void test_equal_bits(void **state) {
    (void)state;
    static const char *const names[] = {"mlm-gelu-w8", "classify-prenorm-gelu_new-w20", "mlm-sinusoidal-relu-w8"};
    static float a[1024], b[1024];
    for (size_t i = 0; i < 3; i++) {
        char original[512], folder[560];
        size_t count;
        make_folder(names[i], original);
        snprintf(folder, sizeof folder, "%s-int8", original);
        assert_ok(qn_quantize(original, folder));
        assert_int_equal(qn_quantize(original, folder), QN_ERROR_ARGUMENT); // holds a model now
        if (embed(original, "int8", a, &count)) {
            assert_true(embed(folder, "int8", b, &count));
            assert_memory_equal(a, b, count * sizeof *a);
        }
        assert_true(embed(original, NULL, a, &count) && embed(folder, NULL, b, &count)); // float32 opens it too
        double ab = 0, aa = 0, bb = 0;
        for (size_t k = 0; k < count; k++)
            ab += (double)a[k] * b[k], aa += (double)a[k] * a[k], bb += (double)b[k] * b[k];
        assert_true(ab > 0.995 * sqrt(aa * bb));
    }
}

static qn_network *load(const char *folder) {
    qn_model_config config;
    qn_network *n;
    assert_ok(qn_model_config_read(folder, &config));
    assert_ok(qn_network_load(&config, folder, &(qn_network_options){.heads = config.heads, .trainable = true}, &n));
    return n;
}

// Joined and shared weights, gates and every head: what is read is what was quantized, and the rest is untouched.
static void test_families(void **state) {
    (void)state;
    static const char *const names[] = {"albert-pretrain", "modernbert-mlm",         "gte-classify",
                                        "mpnet-mlm",       "jina_embeddings_v3-mlm", "electra-classify"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[512], folder[512];
        snprintf(from, sizeof from, "%s/tests/golden/families/%s", QN_SOURCE_DIR, names[i]);
        snprintf(folder, sizeof folder, "%s/%s", test_folder(), names[i]);
        qn_network *n = load(from);
        size_t products = qn_encoder_products(&n->config.encoder), quantized = 0;
        qn_exact *exact = calloc(products, sizeof *exact);
        for (size_t k = 0; k < products; k++) exact[k] = (qn_exact){k % 3, {k % 3 ? k % 2 : 0, k % 3 > 1 ? 5 : 0}};
        assert_ok(qn_quantized_write(n, exact, folder));
        qn_network *m = load(folder);
        assert_memory_equal(m->config.exact, exact, products * sizeof *exact);
        for (size_t k = 0; k < n->parameters.count; k++) {
            const qn_parameter *p = n->parameters.items[k], *r = m->parameters.items[k];
            size_t product, width = qn_width(&p->tensor);
            bool bytes = qn_encoder_is_quantized(&n->encoder, &n->parameters, p);
            bool of_product = qn_encoder_product_of(&n->encoder, &n->parameters, p, &product);
            const qn_exact own = of_product ? exact[product] : (qn_exact){0};
            quantized += of_product;
            for (size_t row = 0; row < qn_rows(&p->tensor); row++) {
                const float *x = p->tensor.data + row * width, *y = r->tensor.data + row * width;
                int8_t q[1024], again[1024];
                assert_true(width <= 1024);
                if (!bytes) {
                    assert_memory_equal(x, y, width * sizeof *x);
                    continue;
                }
                float scale = qn_int8_quantize(width, x, &own, q);
                assert_true(qn_int8_quantize(width, y, &own, again) == scale);
                assert_memory_equal(q, again, width);
                for (size_t e = 0; e < own.count; e++) assert_true(x[own.channel[e]] == y[own.channel[e]]);
            }
        }
        assert_true(quantized >= products);
        qn_network_free(n);
        qn_network_free(m);
        free(exact);
    }
}

// Replaces the first `from` in a file by `to`, which is as long.
static void patch(const char *folder, const char *name, const char *from, const char *to) {
    size_t size, length = strlen(from);
    char *data = test_read(test_path(folder, name), &size), *at = memmem(data, size, from, length);
    assert_non_null(at);
    assert_int_equal(strlen(to), length);
    memcpy(at, to, length);
    test_write(test_path(folder, name), data, size);
    free(data);
}

static void expect_error(const char *folder, const char *message) {
    qn_model *model;
    qn_status status = qn_model_open(folder, NULL, &model);
    assert_true(status == QN_ERROR_FORMAT || status == QN_ERROR_UNSUPPORTED);
    if (!strstr(qn_last_error(), message)) fail_msg("%s (expected \"%s\")", qn_last_error(), message);
}

static void test_broken_files(void **state) {
    (void)state;
    char original[512], folder[560];
    make_folder("mlm-gelu-w8", original);
    static const struct {
        const char *file, *from, *to, *message;
    } cases[] = {
        {"model.safetensors", "query.weight_scale", "query.weight_scalf", "without bert.encoder.layer.0.attention"},
        {"model.safetensors", "query.weight\":{\"dtype\":\"I8\"", "query.weight\":{\"dtype\":\"U8\"", "query.weight"},
        {"config.json", "\"quantization\"", "\"quantizatiom\"", "has no \"quantization\""},
        {"config.json", "\"int8\"", "\"int4\"", "expected int8"},
        {"config.json", "\"exact_channels\"", "\"exact_channelz\"", "exact_channels"},
    };
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        snprintf(folder, sizeof folder, "%s-broken-%zu", original, i);
        assert_ok(qn_quantize(original, folder));
        if (i < sizeof cases / sizeof *cases) {
            patch(folder, cases[i].file, cases[i].from, cases[i].to);
            expect_error(folder, cases[i].message);
            continue;
        }
        size_t size; // bytes come last in the file
        char *data = test_read(test_path(folder, "model.safetensors"), &size);
        data[size - 1] = (char)0x80;
        test_write(test_path(folder, "model.safetensors"), data, size);
        free(data);
        expect_error(folder, "is -128");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal_bits), cmocka_unit_test(test_families),
                                       cmocka_unit_test(test_broken_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
