// Exact match and F1 of answers equal those of SQuAD's script, Unicode and articles included.
#include "support.h"
#include "base/json.h"
#include "metrics/answers.h"
#include <math.h>

static void scores_equal_the_script(void **state) {
    (void)state;
    json_t *golden;
    assert_ok(qn_json_load(QN_SOURCE_DIR "/tests/golden/metrics/answers.json", &golden));
    for (size_t i = 0; i < json_array_size(golden); i++) {
        const json_t *c = json_array_get(golden, i), *answers = json_object_get(c, "gold");
        const char *prediction = json_string_value(json_object_get(c, "prediction"));
        qn_buffer gold = {0}, plain = {0};
        for (size_t k = 0; k < json_array_size(answers); k++) {
            qn_buffer_text(&gold, json_string_value(json_array_get(answers, k)));
            qn_buffer_char(&gold, '\0');
        }
        qn_buffer_char(&gold, '\0');
        assert_ok(qn_answer_normalize(prediction, strlen(prediction), &plain));
        assert_string_equal(plain.data ? plain.data : "", json_string_value(json_object_get(c, "normalized")));
        bool exact;
        double f1, want = json_number_value(json_object_get(c, "f1"));
        assert_ok(qn_answer_score(prediction, strlen(prediction), gold.data, &exact, &f1));
        if (exact != json_is_true(json_object_get(c, "exact")) || fabs(f1 - want) > 1e-12)
            fail_msg("\"%s\": exact %d, F1 %.12g (expected %.12g)", prediction, exact, f1, want);
        qn_buffer_free(&gold);
        qn_buffer_free(&plain);
    }
    json_decref(golden);
}

static void means_are_by_kind(void **state) {
    (void)state;
    qn_answers sums = {0};
    qn_answers_add(&sums, true, true, 1);
    qn_answers_add(&sums, true, false, 0.5);
    qn_answers m = qn_answers_mean(&sums);
    assert_true(m.exact == 0.5 && m.f1 == 0.75 && m.has_f1 == 0.75 && isnan(m.no_exact));
    qn_metric scalars[QN_METRICS_MAX];
    assert_int_equal(qn_answers_scalars(&m, scalars), 2);
    qn_answers_add(&sums, false, true, 1);
    m = qn_answers_mean(&sums);
    assert_true(m.answerable == 2 && m.no_exact == 1 && m.has_exact == 0.5);
    assert_int_equal(qn_answers_scalars(&m, scalars), 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_equal_the_script), cmocka_unit_test(means_are_by_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
