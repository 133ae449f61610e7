// Metrics equal scikit-learn and SciPy, and undefined values come out as null.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/json.h"
#include "metrics/metrics.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *golden;

static int load_golden(void **state) {
    (void)state;
    return qn_json_load(QN_SOURCE_DIR "/tests/golden/metrics/metrics.json", &golden) == QN_OK ? 0 : -1;
}

static int drop_golden(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

static void check_value(const json_t *name, const char *key, const json_t *expected, double got) {
    double want = json_is_number(expected) ? json_number_value(expected) : NAN;
    if (isnan(want) ? isnan(got) : fabs(got - want) <= 1e-12 * fmax(1, fabs(want))) return;
    fail_msg("%s: %s is %.17g (expected %.17g)", json_string_value(name), key, got, want);
}

static void check_scalars(const json_t *entry, const qn_metric *metrics, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const json_t *expected = json_object_get(entry, metrics[i].name);
        check_value(json_object_get(entry, "name"), metrics[i].name, expected, metrics[i].value);
    }
}

static void check_scores(const json_t *entry, const qn_class_score *scores, bool multilabel) {
    const json_t *name = json_object_get(entry, "name"), *list;
    for (size_t k = 0; k < json_array_size(list = json_object_get(entry, "precision")); k++)
        check_value(name, "precision", json_array_get(list, k), scores[k].precision);
    for (size_t k = 0; k < json_array_size(list = json_object_get(entry, "recall")); k++)
        check_value(name, "recall", json_array_get(list, k), scores[k].recall);
    for (size_t k = 0; k < json_array_size(list = json_object_get(entry, "f1")); k++)
        check_value(name, "f1", json_array_get(list, k), scores[k].f1);
    list = json_object_get(entry, "average_precision");
    for (size_t k = 0; multilabel && k < json_array_size(list); k++)
        check_value(name, "average_precision", json_array_get(list, k), scores[k].average_precision);
}

static float *floats(const json_t *list) {
    float *out = calloc(json_array_size(list) + 1, sizeof *out);
    for (size_t i = 0; i < json_array_size(list); i++) out[i] = (float)json_number_value(json_array_get(list, i));
    return out;
}

static int32_t *integers(const json_t *list) {
    int32_t *out = calloc(json_array_size(list) + 1, sizeof *out);
    for (size_t i = 0; i < json_array_size(list); i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return out;
}

// The JSON must parse, agree with the structs and hold no NaN; jansson refuses NaN by itself.
static json_t *parse(qn_buffer *text) {
    json_t *value = NULL;
    assert_int_equal(qn_buffer_status(text), QN_OK);
    assert_int_equal(qn_json_parse(text->data, text->size, "metrics", &value), QN_OK);
    qn_buffer_free(text);
    return value;
}

// Protects: every classification metric equals scikit-learn's, per class too, and the JSON holds the same numbers.
static void classification_equals_sklearn(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(golden, "classification"), i, entry) {
        const json_t *probability = json_object_get(entry, "probability");
        qn_classification_input in = {.n = json_array_size(json_object_get(entry, "gold")),
                                      .classes = (int32_t)json_integer_value(json_object_get(entry, "classes")),
                                      .gold = integers(json_object_get(entry, "gold")),
                                      .predicted = integers(json_object_get(entry, "predicted")),
                                      .probability = probability ? floats(probability) : NULL};
        qn_classification metrics;
        qn_metric scalars[QN_METRICS_MAX];
        assert_int_equal(qn_classification_measure(&in, &metrics), QN_OK);
        check_scalars(entry, scalars, qn_classification_scalars(&metrics, scalars));
        check_scores(entry, metrics.per_class, false);
        qn_buffer text = {0};
        qn_classification_json(&metrics, NULL, &text);
        json_t *json = parse(&text);
        assert_true(json_equal(json_object_get(json, "confusion"), json_object_get(entry, "confusion")));
        json_decref(json);
        qn_classification_free(&metrics);
        free((void *)in.gold);
        free((void *)in.predicted);
        free((void *)in.probability);
    }
    assert_true(i > 5);
}

// Protects: multi-label metrics, tied scores and labels without positives included, equal scikit-learn's.
static void multilabel_equals_sklearn(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(golden, "multilabel"), i, entry) {
        int32_t labels = (int32_t)json_integer_value(json_object_get(entry, "labels"));
        const json_t *list = json_object_get(entry, "gold");
        uint8_t *gold = calloc(json_array_size(list), 1);
        for (size_t at = 0; at < json_array_size(list); at++)
            gold[at] = json_integer_value(json_array_get(list, at)) != 0;
        float *score = floats(json_object_get(entry, "score"));
        double threshold = json_number_value(json_object_get(entry, "threshold"));
        qn_multilabel_input in = {json_array_size(list) / (size_t)labels, labels, gold, score, threshold};
        qn_multilabel metrics;
        qn_metric scalars[QN_METRICS_MAX];
        assert_int_equal(qn_multilabel_measure(&in, &metrics), QN_OK);
        check_scalars(entry, scalars, qn_multilabel_scalars(&metrics, scalars));
        check_scores(entry, metrics.per_label, true);
        qn_multilabel_free(&metrics);
        free(gold);
        free(score);
    }
    assert_true(i > 2);
}

// Protects: correlations with ties and constants, errors and R2 equal SciPy's and scikit-learn's.
static void regression_equals_scipy(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(golden, "regression"), i, entry) {
        float *gold = floats(json_object_get(entry, "gold")), *predicted = floats(json_object_get(entry, "predicted"));
        qn_regression metrics;
        qn_metric scalars[QN_METRICS_MAX];
        assert_int_equal(
            qn_regression_measure(gold, predicted, json_array_size(json_object_get(entry, "gold")), &metrics), QN_OK);
        check_scalars(entry, scalars, qn_regression_scalars(&metrics, scalars));
        free(gold);
        free(predicted);
    }
    assert_true(i > 5);
}

// Protects: an empty evaluation gives null everywhere instead of a division by zero.
static void empty_is_null(void **state) {
    (void)state;
    qn_buffer text = {0};
    qn_classification classes;
    assert_int_equal(qn_classification_measure(&(qn_classification_input){.classes = 2}, &classes), QN_OK);
    qn_classification_json(&classes, NULL, &text);
    json_t *json = parse(&text);
    assert_true(json_is_null(json_object_get(json, "accuracy")));
    assert_true(json_is_null(json_object_get(json, "mcc")));
    assert_int_equal(json_array_size(json_object_get(json, "confusion")), 2);
    json_decref(json);
    qn_classification_free(&classes);

    qn_multilabel labels;
    assert_int_equal(qn_multilabel_measure(&(qn_multilabel_input){.labels = 2, .threshold = 0.5}, &labels), QN_OK);
    qn_multilabel_json(&labels, NULL, &text);
    json = parse(&text);
    assert_true(json_is_null(json_object_get(json, "macro_f1")));
    json_decref(json);
    qn_multilabel_free(&labels);

    qn_regression numbers;
    assert_int_equal(qn_regression_measure(NULL, NULL, 0, &numbers), QN_OK);
    qn_regression_json(&numbers, &text);
    json = parse(&text);
    assert_true(json_is_null(json_object_get(json, "pearson")));
    json_decref(json);
}

// Protects: a diverged model's NaN outputs end as null, not as undefined behaviour or NaN in JSON.
static void nan_outputs_are_null(void **state) {
    (void)state;
    const int32_t gold[] = {0, 1}, predicted[] = {0, 0};
    const float probability[] = {NAN, NAN, 0.5F, 0.5F};
    qn_classification classes;
    assert_int_equal(
        qn_classification_measure(&(qn_classification_input){2, 2, gold, predicted, probability}, &classes), QN_OK);
    assert_true(isnan(classes.log_loss) && isnan(classes.ece));
    assert_true(classes.accuracy == 0.5);
    qn_classification_free(&classes);
    qn_regression numbers;
    const float bad[] = {1, INFINITY}, good[] = {1, 2};
    assert_int_equal(qn_regression_measure(good, bad, 2, &numbers), QN_OK);
    assert_true(isnan(numbers.mse) && isnan(numbers.spearman));
}

// Protects: a class out of range is refused by name instead of read out of bounds.
static void class_out_of_range(void **state) {
    (void)state;
    const int32_t gold[] = {0, 2}, predicted[] = {0, 0};
    qn_classification metrics;
    assert_int_equal(qn_classification_measure(&(qn_classification_input){2, 2, gold, predicted, NULL}, &metrics),
                     QN_ERROR_ARGUMENT);
    assert_non_null(strstr(qn_last_error(), "example 1"));
    qn_classification_free(&metrics);
}

// Protects: confusions are listed by count, ties in a fixed order, and many classes need no matrix in JSON.
static void top_confusions(void **state) {
    (void)state;
    const int32_t gold[] = {7, 7, 7, 3, 3, 150, 150, 0}, predicted[] = {9, 9, 9, 1, 1, 2, 2, 0};
    qn_classification metrics;
    assert_int_equal(qn_classification_measure(&(qn_classification_input){8, 200, gold, predicted, NULL}, &metrics),
                     QN_OK);
    qn_confusion top[2];
    assert_int_equal(qn_classification_confusions(&metrics, top, 2), 2);
    assert_true(top[0].gold == 7 && top[0].predicted == 9 && top[0].count == 3);
    assert_true(top[1].gold == 3 && top[1].count == 2);
    assert_int_equal(qn_classification_confusions(&metrics, top, 0), 0);
    qn_buffer text = {0};
    qn_classification_json(&metrics, NULL, &text);
    json_t *json = parse(&text);
    assert_true(json_is_null(json_object_get(json, "confusion")));
    assert_int_equal(json_array_size(json_object_get(json, "top_confusions")), 3);
    json_decref(json);
    qn_classification_free(&metrics);
}

// Protects: the worst examples come first, right ones and NaN never, and the limit holds.
static void worst_first(void **state) {
    (void)state;
    const int32_t gold[] = {0, 1, 1, 0, 1}, predicted[] = {0, 0, 0, 1, 0};
    const float probability[] = {1, 0, 0.6F, 0.4F, 0.9F, 0.1F, 0.3F, 0.7F, 0.9F, 0.1F};
    size_t at[4];
    assert_int_equal(qn_worst_classified(&(qn_classification_input){5, 2, gold, predicted, probability}, at, 3), 3);
    assert_true(at[0] == 2 && at[1] == 4 && at[2] == 3);
    assert_int_equal(qn_worst_classified(&(qn_classification_input){5, 2, gold, predicted, NULL}, at, 2), 2);
    assert_true(at[0] == 1 && at[1] == 2);
    const float x[] = {1, 2, 3, 4}, y[] = {1, NAN, 0, 6};
    assert_int_equal(qn_worst_regressed(x, y, 4, at, 2), 2);
    assert_true(at[0] == 2 && at[1] == 3);
}

// Protects: a best value is only replaced by a better one, in the metric's direction, and never by NaN.
static void better_knows_direction(void **state) {
    (void)state;
    qn_metric metrics[] = {{"accuracy", 0.8, false}, {"log_loss", 0.8, true}, {"mcc", NAN, false}};
    assert_true(qn_metric_better(&metrics[0], 0.7));
    assert_false(qn_metric_better(&metrics[0], 0.8));
    assert_true(qn_metric_better(&metrics[1], 0.9));
    assert_true(qn_metric_better(&metrics[1], NAN));
    assert_false(qn_metric_better(&metrics[2], NAN));
    assert_ptr_equal(qn_metric_find(metrics, 3, "eval_log_loss"), &metrics[1]);
    assert_null(qn_metric_find(metrics, 3, "loss"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classification_equals_sklearn),
        cmocka_unit_test(multilabel_equals_sklearn),
        cmocka_unit_test(regression_equals_scipy),
        cmocka_unit_test(empty_is_null),
        cmocka_unit_test(nan_outputs_are_null),
        cmocka_unit_test(class_out_of_range),
        cmocka_unit_test(top_confusions),
        cmocka_unit_test(better_knows_direction),
        cmocka_unit_test(worst_first),
    };
    return cmocka_run_group_tests_name("metrics", tests, load_golden, drop_golden);
}
