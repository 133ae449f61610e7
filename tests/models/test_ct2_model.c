// Protects folders of CTranslate2 as models: those that its converters made have the configuration and weights of the
// model that they were made from, in float32 to the bit; what has no place in a family is refused by name.
#include "models/ct2_model.h"
#include "models/network.h"
#include "support.h"
#include <math.h>

#define GOLDEN QN_SOURCE_DIR "/tests/golden/"

static qn_network *load(const char *folder) {
    qn_model_config config;
    qn_network *network;
    assert_ok(qn_model_config_read(folder, &config));
    assert_ok(qn_network_load(&config, folder, &(qn_network_options){.heads = QN_HEAD_LM}, &network));
    return network;
}

static void compare_stacks(const qn_encoder_config *a, const qn_encoder_config *b) {
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->intermediate, b->intermediate);
    assert_int_equal(a->vocabulary, b->vocabulary);
    assert_int_equal(a->activation, b->activation);
    assert_int_equal(a->pre_norm, b->pre_norm);
    assert_int_equal(a->gated, b->gated);
    assert_int_equal(a->rms, b->rms);
    assert_int_equal(a->positions, b->positions);
    assert_int_equal(a->relative_buckets, b->relative_buckets);
    assert_int_equal(a->buckets.most, b->buckets.most);
    assert_true(fabsf(a->embedding_scale - b->embedding_scale) < 1e-6f);
    assert_true(fabsf(a->norm_eps - b->norm_eps) < 1e-9f);
}

static void compare(const char *converted, const char *original, float tolerance) {
    qn_network *a = load(test_path(GOLDEN "ct2_models", converted)), *b = load(test_path(GOLDEN "seq2seq", original));
    assert_string_equal(a->config.family->model_type, b->config.family->model_type);
    compare_stacks(&a->config.encoder, &b->config.encoder);
    compare_stacks(&a->config.decoder, &b->config.decoder);
    assert_int_equal(a->config.encoder.heads, b->config.encoder.heads);
    // Transformers 5 says of every T5 that it is tied, whose outputs the converter then scales.
    if (strcmp(converted, "t5-gated")) assert_true(fabsf(a->config.logit_scale - b->config.logit_scale) < 1e-6f);
    assert_int_equal(a->parameters.count, b->parameters.count);
    for (size_t i = 0; i < a->parameters.count; i++) {
        const qn_parameter *p = a->parameters.items[i], *q = qn_parameters_find(&b->parameters, p->name);
        assert_non_null(q);
        size_t count = qn_count(&p->tensor), width = p->tensor.shape[p->tensor.rank - 1];
        assert_int_equal(count, qn_count(&q->tensor));
        // The padding of Marian is a row of zeros, and the first rows of BART's positions are for no token.
        bool padded = !strcmp(converted, "marian"), words = p->tensor.shape[0] == a->config.encoder.vocabulary;
        size_t first = strstr(p->name, "embed_positions") ? 2 * width : 0, last = count;
        if (padded && words) last -= width;
        if (padded && strstr(p->name, "final_logits_bias")) last--;
        for (size_t k = first; k < last; k++)
            if (fabsf(p->tensor.data[k] - q->tensor.data[k]) > tolerance * fmaxf(1, fabsf(q->tensor.data[k])))
                fail_msg("%s: %s: element %zu is %g (expected %g)", converted, p->name, k, (double)p->tensor.data[k],
                         (double)q->tensor.data[k]);
        for (size_t k = last; k < count; k++) assert_true(fabsf(p->tensor.data[k]) <= 0);
    }
    qn_network_free(a);
    qn_network_free(b);
}

static void test_equals_what_was_converted(void **state) {
    (void)state;
    compare("marian", "marian", 0);
    compare("bart", "bart", 0);
    compare("mbart", "mbart", 0);
    compare("t5", "t5", 0);
    compare("t5-gated", "t5-gated", 0);
    compare("bart-int8", "bart", 0.02f);
    compare("t5-float16", "t5", 1e-3f);
    // Without a bias of the output there are zeros.
    qn_network *plain = load(test_path(GOLDEN "ct2_models", "bart-plain"));
    const qn_parameter *bias = qn_parameters_find(&plain->parameters, "final_logits_bias");
    assert_non_null(bias);
    for (size_t i = 0; i < qn_count(&bias->tensor); i++) assert_true(fabsf(bias->tensor.data[i]) <= 0);
    qn_network_free(plain);
}

// A copy of a folder whose model.bin has other bytes.
static const char *changed(const char *name, const char *from, const char *to, size_t length) {
    static const char *const files[] = {"config.json", "shared_vocabulary.json", "model.bin"};
    const char *folder = test_folder(), *source = test_path(GOLDEN "ct2_models", name);
    for (size_t i = 0; i < 3; i++) {
        size_t size;
        char *data = test_read(test_path(source, files[i]), &size),
             *at = i == 2 ? memmem(data, size, from, length) : NULL;
        if (i == 2) assert_non_null(at);
        if (at) memcpy(at, to, length);
        test_write(test_path(folder, files[i]), data, size);
        free(data);
    }
    return folder;
}

static void test_refuses_other_models(void **state) {
    (void)state;
    qn_model_config c;
    qn_weights *w;
    assert_fails(qn_model_config_read(changed("bart", "TransformerSpec", "TransformerSpeX", 15), &c),
                 QN_ERROR_UNSUPPORTED, "TransformerSpeX");
    assert_fails(
        qn_model_config_read(
            changed("bart", "encoder/layer_0/ffn/linear_0/weight", "encoder/layer_9/ffn/linear_0/weight", 35), &c),
        QN_ERROR_UNSUPPORTED, "without layers");
    assert_fails(qn_ct2_model_weights(
                     changed("bart", "decoder/layer_1/ffn/linear_1/bias", "decoder/layer_1/ffn/linear_1/biaX", 33), &w),
                 QN_ERROR_FORMAT, "linear_1/bias\" is missing");
    assert_fails(
        qn_ct2_model_weights(
            changed("t5", "decoder/layer_1/ffn/linear_1/weight", "decoder/layer_7/ffn/linear_1/weight", 35), &w),
        QN_ERROR_FORMAT, "linear_1/weight\" is missing");
    // The positions of another kind of model.
    const char *folder =
        changed("marian", "encoder/position_encodings/encodings", "encoder/position_encodings/encodinXs", 36);
    assert_fails(qn_model_config_read(folder, &c), QN_ERROR_UNSUPPORTED, "no table of positions");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_what_was_converted),
        cmocka_unit_test(test_refuses_other_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
