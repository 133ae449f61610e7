// MRR@10, nDCG@10 and average precision equal those of sentence-transformers' evaluator for cross-encoders.
#include "support.h"
#include "base/json.h"
#include "metrics/reranking.h"
#include <math.h>

static void measures_equal_the_reference(void **state) {
    (void)state;
    json_t *golden;
    assert_ok(qn_json_load(QN_SOURCE_DIR "/tests/golden/metrics/reranking.json", &golden));
    const json_t *rows = json_object_get(golden, "rows");
    size_t n = json_array_size(rows);
    float gain[512], score[512];
    uint32_t group[512];
    assert_true(n > 0 && n <= 512);
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(rows, i);
        group[i] = (uint32_t)json_integer_value(json_array_get(row, 0));
        gain[i] = (float)json_number_value(json_array_get(row, 1));
        score[i] = (float)json_number_value(json_array_get(row, 2));
    }
    qn_reranking m;
    assert_ok(qn_reranking_measure(gain, score, group, n, &m));
    assert_int_equal(m.queries, json_integer_value(json_object_get(golden, "queries")));
    assert_true(fabs(m.mrr - json_number_value(json_object_get(golden, "mrr"))) < 1e-12);
    assert_true(fabs(m.ndcg - json_number_value(json_object_get(golden, "ndcg"))) < 1e-12);
    assert_true(fabs(m.map - json_number_value(json_object_get(golden, "map"))) < 1e-12);
    json_decref(golden);
}

// Nothing relevant is undefined; a first relevant document at rank 11 counts nothing for MRR@10.
static void odd_rankings(void **state) {
    (void)state;
    qn_reranking m;
    assert_ok(qn_reranking_measure((float[]){0}, (float[]){1}, (uint32_t[]){0}, 1, &m));
    assert_true(m.queries == 0 && isnan(m.mrr));
    float gain[11] = {[10] = 1}, score[11];
    uint32_t group[11] = {0};
    for (int i = 0; i < 11; i++) score[i] = (float)-i;
    assert_ok(qn_reranking_measure(gain, score, group, 11, &m));
    assert_true(m.mrr == 0 && m.ndcg == 0 && fabs(m.map - 1.0 / 11) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(measures_equal_the_reference), cmocka_unit_test(odd_rankings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
