// The next token: what may be drawn, and how probably, equals transformers' processors; draws follow the probabilities
// and depend on seed, sequence and step alone.
#include "base/json.h"
#include "infer/sample.h"
#include "support.h"
#include <math.h>

static double number(const json_t *c, const char *key) {
    return json_number_value(json_object_get(c, key));
}

static void test_choices_equal_transformers(void **state) {
    (void)state;
    json_t *cases;
    assert_ok(qn_json_load(QN_SOURCE_DIR "/tests/golden/infer/sample.json", &cases));
    qn_choices choices = {0};
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *list = json_object_get(c, "logits"),
                     *kept = json_object_get(c, "kept");
        const json_t *words = json_object_get(c, "text");
        float logits[400];
        int32_t text[16];
        size_t n = json_array_size(list), length = json_array_size(words);
        for (size_t k = 0; k < n; k++) logits[k] = (float)json_number_value(json_array_get(list, k));
        for (size_t k = 0; k < length; k++) text[k] = (int32_t)json_integer_value(json_array_get(words, k));
        qn_sampling s = {number(c, "temperature"),        number(c, "top_p"),         number(c, "min_p"),
                         number(c, "repetition_penalty"), (size_t)number(c, "top_k"), 1};
        assert_ok(qn_sampling_check(&s));
        assert_ok(qn_choices_of(&s, logits, n, text, length, &choices));
        assert_int_equal(choices.count, json_object_size(kept));
        for (size_t k = 0; k < choices.count; k++) {
            char id[16];
            snprintf(id, sizeof id, "%d", (int)choices.choices[k].id);
            assert_non_null(json_object_get(kept, id));
            assert_true(fabs(choices.choices[k].value - number(kept, id)) < 1e-5);
            assert_true(k == 0 || choices.choices[k].value <= choices.choices[k - 1].value);
        }
    }
    qn_choices_free(&choices);
    json_decref(cases);
}

static void test_draws(void **state) {
    (void)state;
    qn_choices memory = {0};
    int counts[3] = {0}, again;
    qn_sampling s = {.temperature = 1, .seed = 5};
    for (uint64_t step = 0; step < 20000; step++) {
        float logits[3] = {logf(0.5f), logf(0.3f), logf(0.2f)};
        int32_t token;
        assert_ok(qn_sample(&s, logits, 3, NULL, 0, 7, step, &memory, &token));
        counts[token]++;
        assert_ok(qn_sample(&s, logits, 3, NULL, 0, 7, step, &memory, &again));
        assert_int_equal(token, again);
    }
    assert_true(abs(counts[0] - 10000) < 300 && abs(counts[1] - 6000) < 300 && abs(counts[2] - 4000) < 300);
    float best[4] = {1, 3, 3, 2}, wrong[2] = {NAN, NAN};
    int32_t token;
    s.temperature = 0;
    assert_ok(qn_sample(&s, best, 4, NULL, 0, 0, 0, &memory, &token));
    assert_int_equal(token, 1); // the first of equals
    s.repetition_penalty = 2;
    assert_ok(qn_sample(&s, best, 4, (int32_t[]){1, 1, 2, -1, 99}, 5, 0, 0, &memory, &token));
    assert_int_equal(token, 3);
    assert_fails(qn_sample(&s, wrong, 2, NULL, 0, 0, 0, &memory, &token), QN_ERROR_DIVERGED, "no numbers");
    assert_fails(qn_sampling_check(&(qn_sampling){.top_p = 1.5}), QN_ERROR_ARGUMENT, "top-p");
    assert_fails(qn_sampling_check(&(qn_sampling){.temperature = NAN}), QN_ERROR_ARGUMENT, "temperature");
    qn_choices_free(&memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choices_equal_transformers), cmocka_unit_test(test_draws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
