// Protects autoencoders of numbers: PyTorch's losses, gradients, outputs and 20 AdamW steps; configurations that cannot
// be; scaling; and folders that are read as they were written.
#include "data/numbers.h"
#include "infer/reconstruct.h"
#include "models/golden.h"
#include "train/optimizer.h"

static const char *golden(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/autoencoder/%s", QN_SOURCE_DIR, name);
    return path;
}

static const double RATE = 1e-2, DECAY = 0.1;
enum { STEPS = 20 };

static qn_autoencoder_network *load(const char *folder, bool trainable) {
    qn_autoencoder_config config;
    qn_autoencoder_network *n;
    assert_ok(qn_autoencoder_config_read(folder, &config));
    assert_ok(qn_autoencoder_load(&config, folder, trainable, &n));
    return n;
}

static void compare_parameters(const qn_autoencoder_network *n, qn_weights *expected, const char *prefix, bool grads,
                               double tolerance) {
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        char name[128];
        snprintf(name, sizeof name, "%s.%s", prefix, p->name);
        golden_compare(expected, name, grads ? p->tensor.grad : p->tensor.data, tolerance);
    }
}

static void step(qn_context *c, qn_autoencoder_network *n, qn_optimizer *optimizer, const float *x, size_t rows,
                 uint64_t number, qn_weights *expected) {
    qn_autoencoder_loss loss;
    qn_context_reset(c);
    qn_recording_begin(c);
    qn_context_dropout(c, true, number);
    assert_ok(qn_autoencoder_loss_of(c, n, x, rows, n->config.beta, &loss));
    assert_ok(qn_backward(c));
    if (number == 1) {
        float parts[3] = {(float)loss.loss, (float)loss.error, (float)loss.divergence};
        golden_compare(expected, "loss", parts, 1e-5);
        compare_parameters(n, expected, "grad", true, 1e-5);
    }
    qn_optimizer_step(optimizer, RATE, 1);
}

static void check_case(const char *name) {
    char file[640];
    qn_autoencoder_network *n = load(golden(name), true);
    qn_weights *expected;
    qn_context *c;
    size_t count, d = n->config.inputs;
    snprintf(file, sizeof file, "%s/expected.safetensors", golden(name));
    assert_ok(qn_weights_open(file, &expected));
    assert_ok(qn_context_create(2, NULL, &c));
    float *x = golden_f32(expected, "x", &count), *out = malloc(count * sizeof *out),
          *latent = malloc(count * sizeof *out);
    size_t rows = count / d;
    assert_ok(qn_autoencoder_run(c, n, x, rows, latent, out));
    golden_compare(expected, "outputs", out, 1e-5);
    golden_compare(expected, "latent", latent, 1e-5);
    qn_optimizer *optimizer;
    assert_ok(qn_optimizer_create(c->backend, &n->parameters, &(qn_optimizer_options){0.9, 0.999, 1e-8, DECAY, 1},
                                  &optimizer));
    for (uint64_t number = 1; number <= STEPS; number++) step(c, n, optimizer, x, rows, number, expected);
    compare_parameters(n, expected, "after", false, 1e-5);
    qn_optimizer_free(optimizer);
    qn_context_destroy(c);
    qn_weights_close(expected);
    qn_autoencoder_network_free(n);
    free(x);
    free(out);
    free(latent);
}

static void test_matches_pytorch(void **state) {
    (void)state;
    check_case("plain");
    check_case("variational");
    check_case("linear");
}

static qn_status parse(const char *text) {
    qn_autoencoder_config config;
    qn_status status = qn_autoencoder_config_parse(text, strlen(text), "c.json", &config);
    if (status == QN_OK) qn_autoencoder_config_free(&config);
    return status;
}

#define BEGIN "{\"model_type\": \"autoencoder\", "

// Each impossible configuration is refused with its own message.
static void test_refuses_configurations(void **state) {
    (void)state;
    assert_ok(parse(BEGIN "\"latent_size\": 3}"));
    assert_fails(parse("{\"model_type\": \"bert\"}"), QN_ERROR_UNSUPPORTED, "(expected autoencoder)");
    assert_fails(parse("[]"), QN_ERROR_FORMAT, "c.json");
    assert_fails(parse(BEGIN "\"input_size\": 4}"), QN_ERROR_FORMAT, "latent_size");
    assert_fails(parse(BEGIN "\"latent_size\": 0}"), QN_ERROR_FORMAT, "latent_size");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"hidden_sizes\": [3, -1]}"), QN_ERROR_FORMAT, "hidden_sizes");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"hidden_sizes\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}"),
                 QN_ERROR_UNSUPPORTED, "17 sizes (expected at most 16)");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"input_shape\": [8]}"), QN_ERROR_FORMAT, "height, width");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"input_shape\": [1048576, 1048576, 1048576]}"), QN_ERROR_UNSUPPORTED,
                 "input_shape");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"input_shape\": [2, 3], \"input_size\": 7}"), QN_ERROR_FORMAT,
                 "(expected 6");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"hidden_act\": \"swoosh\"}"), QN_ERROR_UNSUPPORTED,
                 "linear, gelu, gelu_new, relu, silu, tanh");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"reconstruction_loss\": \"bce\", \"input_scaling\": \"standard\"}"),
                 QN_ERROR_FORMAT, "numbers from 0 to 1");
    assert_fails(parse(BEGIN "\"latent_size\": 2, \"beta\": -1}"), QN_ERROR_FORMAT, "beta");
}

static qn_autoencoder_network *fresh(const char *more) {
    char text[512];
    qn_autoencoder_config config;
    qn_autoencoder_network *n;
    snprintf(text, sizeof text, BEGIN "\"input_size\": 3, \"hidden_sizes\": [4], \"latent_size\": 2%s}", more);
    assert_ok(qn_autoencoder_config_parse(text, strlen(text), "c.json", &config));
    assert_ok(qn_autoencoder_create(&config, false, 5, &n));
    return n;
}

// Scaled data has the mean and variance, or the ends, that its kind promises, and comes back; constant columns too.
static void test_scaling(void **state) {
    (void)state;
    static const float data[12] = {1, -5, 7, 3, 10, 7, 2, 0, 7, 2, -5, 7};
    static const char *const kinds[] = {"none", "standard", "minmax", "range"};
    for (size_t k = 0; k < 4; k++) {
        char more[64];
        float scaled[12], back[12];
        snprintf(more, sizeof more, ", \"input_scaling\": \"%s\"", kinds[k]);
        qn_autoencoder_network *n = fresh(more);
        assert_string_equal(qn_input_scaling_name(n->config.scaling), kinds[k]);
        assert_ok(qn_autoencoder_fit_scaling(n, data, 4));
        qn_autoencoder_scale(n, data, 4, scaled);
        qn_autoencoder_unscale(n, scaled, 4, back);
        for (size_t i = 0; i < 12; i++) assert_float_equal(back[i], data[i], 1e-5);
        double mean = 0, variance = 0;
        for (size_t r = 0; r < 4; r++) mean += scaled[3 * r + 1] / 4;
        for (size_t r = 0; r < 4; r++) variance += (scaled[3 * r + 1] - mean) * (scaled[3 * r + 1] - mean) / 4;
        if (k == 1) assert_true(fabs(mean) < 1e-6 && fabs(variance - 1) < 1e-6 && scaled[2] == 0);
        if (k == 2) assert_true(scaled[0] == 0 && scaled[3] == 1 && scaled[4] == 1 && scaled[11] == 0);
        if (k == 3) assert_true(scaled[1] == 0 && scaled[4] == 1 && fabsf(scaled[2] - 12.0f / 15) < 1e-6);
        qn_autoencoder_network_free(n);
    }
}

// A written folder is the network again, and its public functions agree with each other and with any batch.
static void test_written_folder(void **state) {
    (void)state;
    char *folder = test_folder();
    qn_autoencoder_network *n = fresh(", \"variational\": true, \"input_scaling\": \"standard\"");
    float data[300][3], latent[300][2], out[300][3], again[300][3], one[3];
    qn_random_normal(3, 0, 4, data[0], 900);
    assert_ok(qn_autoencoder_fit_scaling(n, data[0], 300));
    assert_ok(qn_autoencoder_save(n, folder));
    qn_autoencoder_network *read = load(folder, false);
    assert_memory_equal(n->shift, read->shift, 3 * sizeof *n->shift);
    assert_memory_equal(n->parameters.values, read->parameters.values, n->parameters.size * sizeof(float));
    qn_autoencoder_network_free(read);
    qn_autoencoder_network_free(n);
    qn_autoencoder *m;
    assert_true(qn_is_autoencoder(folder));
    assert_false(qn_is_autoencoder(QN_SOURCE_DIR "/examples/tiny.json"));
    assert_false(qn_is_autoencoder("/no/such/folder"));
    assert_ok(qn_autoencoder_open(folder, 2, &m));
    assert_true(qn_autoencoder_columns(m) == 3 && qn_autoencoder_latent_width(m) == 2 &&
                qn_autoencoder_is_variational(m));
    assert_ok(qn_autoencoder_reconstruct(m, data[0], 300, out[0]));
    assert_ok(qn_autoencoder_encode(m, data[0], 300, latent[0]));
    assert_ok(qn_autoencoder_decode(m, latent[0], 300, again[0]));
    assert_memory_equal(out, again, sizeof out);
    assert_ok(qn_autoencoder_reconstruct(m, data[299], 1, one));
    assert_memory_equal(one, out[299], sizeof one);
    assert_ok(qn_autoencoder_sample(m, 9, 40, out[0]));
    assert_ok(qn_autoencoder_sample(m, 9, 7, again[0]));
    assert_memory_equal(out, again, 7 * sizeof out[0]);
    char *json;
    assert_ok(qn_autoencoder_describe(m, &json));
    assert_non_null(strstr(json, "\"latent_size\": 2"));
    free(json);
    test_write_text(test_path(folder, "d.csv"), "a,b,c\n1,2,3\n4,5,7\n");
    assert_ok(qn_autoencoder_evaluate(m, test_path(folder, "d.csv"), NULL, &json));
    assert_non_null(strstr(json, "{\"rows\": 2, \"loss\": "));
    free(json);
    test_write_text(test_path(folder, "d.csv"), "a,b\n1,2\n4,5\n");
    assert_fails(qn_autoencoder_evaluate(m, test_path(folder, "d.csv"), NULL, &json), QN_ERROR_FORMAT,
                 "rows of 2 numbers (expected 3, as the model reads)");
    qn_autoencoder_close(m);
    assert_ok(qn_autoencoder_open(golden("plain"), 1, &m));
    assert_fails(qn_autoencoder_sample(m, 1, 1, out[0]), QN_ERROR_UNSUPPORTED, "samples are of a variational");
    qn_autoencoder_close(m);
    remove(test_path(folder, "model.safetensors"));
    assert_fails(qn_autoencoder_open(folder, 1, &m), QN_ERROR_IO, folder);
}

// Weights begin as torch.nn.Linear's: uniform within 1 / sqrt(inputs of the layer), with that variance.
static void test_initial_weights(void **state) {
    (void)state;
    const char *text = BEGIN "\"input_size\": 100, \"hidden_sizes\": [400], \"latent_size\": 2}";
    qn_autoencoder_config config;
    qn_autoencoder_network *n;
    assert_ok(qn_autoencoder_config_parse(text, strlen(text), "c.json", &config));
    assert_ok(qn_autoencoder_create(&config, false, 1, &n));
    double squares = 0, top = 0;
    for (size_t i = 0; i < 40000; i++) {
        double w = n->encoder[0].weight->data[i];
        squares += w * w;
        top = fmax(top, fabs(w));
    }
    assert_true(top <= 0.1 && top > 0.0999);
    assert_true(fabs(squares / 40000 / (0.01 / 3) - 1) < 0.02);
    for (size_t i = 0; i < 400; i++) assert_true(fabsf(n->encoder[0].bias->data[i]) <= 0.1f);
    qn_autoencoder_network_free(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches_pytorch), cmocka_unit_test(test_refuses_configurations),
        cmocka_unit_test(test_scaling),         cmocka_unit_test(test_written_folder),
        cmocka_unit_test(test_initial_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
