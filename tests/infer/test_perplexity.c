// Protects perplexity: the mean over the tokens that count equals one of whole forward passes over the windows, with
// and without tokens that windows share, and counted as llama.cpp counts; the sum does not depend on how many tokens
// are computed at once; encoders and impossible windows are refused.
#include "infer/model.h"
#include "support.h"
#include <math.h>

static const char model[] = QN_SOURCE_DIR "/tests/golden/gguf/llama-q4_1.gguf";
static const char text[] =
    "a mill grinds grain into flour between two stones, and the stone of a hand mill weighs a few pounds";

static qn_model *open_model(size_t window, size_t batch_tokens) {
    qn_model *m;
    qn_model_options o = qn_model_defaults();
    o.dtype = "f32";
    o.max_length = window;
    o.batch_tokens = batch_tokens;
    assert_ok(qn_model_open(model, &o, &m));
    return m;
}

// -log p(ids[at] | ids[begin .. at-1]), in double precision from one pass's logits.
static double cost(qn_model *m, const int32_t *ids, size_t begin, size_t at) {
    int32_t types[64] = {0}, positions[64], offsets[2] = {0, (int32_t)(at - begin)}, last = (int32_t)(at - begin) - 1;
    for (int32_t i = 0; i < 64; i++) positions[i] = i;
    qn_arena_reset(m->arena), qn_arena_reset(m->records);
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_tokens tokens = qn_tokens_of(at - begin, ids + begin, types, positions, (qn_ragged){1, offsets});
    qn_tensor *logits =
        qn_network_masked_lm(&c, m->network, qn_encoder_forward(&c, &m->network->encoder, &tokens), 1, &last);
    double sum = 0;
    for (size_t k = 0; k < qn_width(logits); k++) sum += exp((double)logits->data[k]);
    return log(sum) - (double)logits->data[ids[at]];
}

static void check(size_t shared, bool as_llama_cpp) {
    enum { WINDOW = 16 };
    qn_perplexity_options o = {.shared = shared, .as_llama_cpp = as_llama_cpp};
    qn_perplexity_result result = {0}, other = {0};
    qn_text whole = {.text = text, .size = strlen(text)};
    qn_model *m = open_model(WINDOW, 0), *small = open_model(WINDOW, WINDOW + 3);
    assert_ok(qn_perplexity(m, &whole, 1, &o, &result));
    assert_ok(qn_perplexity(small, &whole, 1, &o, &other));
    assert_int_equal(result.counted, other.counted);
    assert_true(fabs(result.loss_sum - other.loss_sum) < 1e-5 * result.loss_sum);
    qn_encoding e = QN_ENCODING_INIT;
    assert_ok(qn_tokenizer_encode(m->tokenizer, text, strlen(text), NULL, 0, NULL, &e));
    double sum = 0;
    size_t counted = 0;
    for (size_t begin = 0, known = 1; known < e.count; begin += WINDOW - shared) {
        size_t end = begin + WINDOW < e.count ? begin + WINDOW : e.count, from = known > begin + 1 ? known : begin + 1;
        if (as_llama_cpp && begin + WINDOW > e.count) break;
        if (as_llama_cpp) from = begin + WINDOW / 2 + 1;
        for (size_t at = from; at < end; at++, counted++) sum += cost(m, e.ids, begin, at);
        known = end;
    }
    assert_int_equal(result.tokens, e.count);
    assert_int_equal(result.counted, counted);
    assert_true(fabs(result.loss - sum / (double)counted) < 1e-5);
    assert_true(fabs(result.perplexity - exp(result.loss)) < 1e-9);
    qn_encoding_free(&e);
    qn_model_close(small);
    qn_model_close(m);
}

static void test_windows(void **state) {
    (void)state;
    check(0, false);
    check(5, false);
    check(15, false);
    check(0, true);
}

static void test_texts_add_up(void **state) {
    (void)state;
    qn_model *m = open_model(16, 0);
    qn_perplexity_result together = {0}, apart = {0};
    qn_text texts[3] = {{.text = text, .size = 40}, {.text = "", .size = 0}, {.text = text + 20, .size = 50}};
    assert_ok(qn_perplexity(m, texts, 3, NULL, &together));
    for (int i = 0; i < 3; i++) assert_ok(qn_perplexity(m, &texts[i], 1, NULL, &apart));
    assert_int_equal(together.counted, apart.counted);
    assert_true(fabs(together.loss - apart.loss) < 1e-6);
    qn_model_close(m);
}

static void test_refuses(void **state) {
    (void)state;
    qn_perplexity_result result = {0};
    qn_text one = {.text = text, .size = 40};
    qn_model *m = open_model(16, 0);
    assert_fails(qn_perplexity(m, &one, 1, &(qn_perplexity_options){.shared = 16}, &result), QN_ERROR_ARGUMENT,
                 "share 16");
    qn_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_windows), cmocka_unit_test(test_texts_add_up),
                                       cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
