// BLEU and chrF equal sacrebleu's, of single segments (with its smoothing) and of all together, with one reference and
// two.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/json.h"
#include "metrics/translation.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void check(const char *what, double got, const json_t *want) {
    double expected = json_number_value(want);
    if (fabs(got - expected) > 1e-9 * fmax(1, fabs(expected)))
        fail_msg("%s is %.12g (expected %.12g)", what, got, expected);
}

static void check_scores(const char *name, const qn_translation *sums, const json_t *want) {
    char what[512];
    qn_translation_scores s = qn_translation_measure(sums);
#define CHECK(field)                                                                                                   \
    (snprintf(what, sizeof what, "%s: " #field, name), check(what, s.field, json_object_get(want, #field)))
    CHECK(bleu);
    CHECK(chrf);
    CHECK(brevity);
    CHECK(length_ratio);
#undef CHECK
    for (size_t k = 0; k < QN_BLEU_ORDERS; k++) {
        snprintf(what, sizeof what, "%s: precision %zu", name, k + 1);
        check(what, s.precisions[k], json_array_get(json_object_get(want, "precisions"), k));
    }
}

static void scores_equal_the_reference(void **state) {
    (void)state;
    json_t *golden;
    assert_int_equal(qn_json_load(QN_SOURCE_DIR "/tests/golden/metrics/translation.json", &golden), QN_OK);
    qn_translation first = {0}, both = {0};
    const json_t *cases = json_object_get(golden, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *references = json_object_get(c, "references");
        const char *output = json_string_value(json_object_get(c, "output")), *texts[2];
        size_t sizes[2];
        for (size_t k = 0; k < 2; k++) {
            texts[k] = json_string_value(json_array_get(references, k));
            sizes[k] = strlen(texts[k]);
        }
        qn_translation one = {0};
        assert_int_equal(qn_translation_add(&one, output, strlen(output), texts, sizes, 2), QN_OK);
        assert_int_equal(qn_translation_add(&first, output, strlen(output), texts, sizes, 1), QN_OK);
        assert_int_equal(qn_translation_add(&both, output, strlen(output), texts, sizes, 2), QN_OK);
        check_scores(output, &one, json_object_get(c, "scores"));
    }
    check_scores("first references", &first, json_object_get(golden, "first"));
    check_scores("both references", &both, json_object_get(golden, "both"));
    json_decref(golden);
}

// A megabyte without white space, and bytes that are not UTF-8, take no quadratic time and crash nothing.
static void hostile_text_is_counted(void **state) {
    (void)state;
    static char text[1 << 20];
    memset(text, 'a', sizeof text);
    const char *reference = text;
    size_t size = sizeof text;
    qn_translation sums = {0};
    assert_int_equal(qn_translation_add(&sums, text, sizeof text, &reference, &size, 1), QN_OK);
    memset(text, 0xFF, sizeof text);
    assert_int_equal(qn_translation_add(&sums, text, 1000, &reference, &size, 1), QN_OK);
    assert_int_equal(sums.segments, 2);
    assert_int_equal(sums.output_words, 2);
    assert_int_not_equal(qn_translation_add(&sums, text, 1000, &reference, &size, 0), QN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_equal_the_reference),
                                       cmocka_unit_test(hostile_text_is_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
