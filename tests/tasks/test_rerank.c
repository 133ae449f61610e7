// Reranking: pairs with scores and triples train alike shapes; the folder says that it scores pairs; scores are a
// sigmoid's unless config.json says otherwise; and scores outside 0 to 1 are errors that name file and line.
#include "training.h"
#include <math.h>

static char folder[256];

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    write_small_bert(folder, 1, ", \"initializer_range\": 0.2", "grain\nmill\nsea\nfish\nbread\n");
    char pairs[4000] = "query\tdocument\tlabel\n", triples[4000] = "";
    for (int i = 0; i < 30; i++) {
        strcat(pairs, i % 2 ? "grain\tmill bread\t1\n" : i % 3 ? "grain\tsea fish\t0\n" : "sea\tfish\t1\n");
        strcat(triples, i % 2 ? "{\"query\": \"grain\", \"positive\": \"mill\", \"negative\": \"sea\"}\n"
                              : "{\"query\": \"sea\", \"positive\": \"fish\", \"negative\": \"bread\"}\n");
    }
    test_write_text(path("pairs.tsv"), pairs);
    test_write_text(path("triples.jsonl"), triples);
    return 0;
}

static qn_status train(const char *data_name, const char *output, char **json) {
    qn_training t = task_training(folder, "rerank", "config.json", data_name, output);
    t.learning_rate = 3e-3;
    t.epochs = 6;
    t.batch_size = 6;
    return qn_finetune(&t, json);
}

static void pairs_and_triples_train(void **state) {
    (void)state;
    char *json;
    assert_ok(train("pairs.tsv", "pairs", &json));
    assert_non_null(strstr(json, "\"task\": \"rerank\", \"queries\": 2, \"documents\": 30"));
    free(json);
    assert_ok(train("triples.jsonl", "triples", &json));
    assert_non_null(strstr(json, "\"queries\": 2, \"documents\": 60"));
    assert_non_null(strstr(json, "\"map\": 1"));
    free(json);
}

static void scores_are_a_sigmoid(void **state) {
    (void)state;
    qn_model *m;
    qn_text documents[] = {{"sea", 3, NULL, 0}, {"mill", 4, NULL, 0}};
    float scores[2], logits[2];
    assert_ok(qn_model_open(path("triples"), NULL, &m));
    assert_int_equal(qn_model_task(m), QN_TASK_RERANK);
    assert_ok(qn_rerank(m, "grain", 5, documents, 2, false, scores));
    assert_ok(qn_rerank(m, "grain", 5, documents, 2, true, logits));
    assert_true(scores[1] > 0.5f && scores[0] < 0.5f && fabsf(scores[1] - 1 / (1 + expf(-logits[1]))) < 1e-6f);
    qn_model_close(m);
    // A folder whose config.json says "Identity".
    char *text = test_read(path("triples/config.json"), NULL), *name = strstr(text, "activation.Sigmoid");
    assert_non_null(name);
    memcpy(name, "linear.Identity   ", 18);
    test_write_text(path("triples/config.json"), text);
    free(text);
    assert_ok(qn_model_open(path("triples"), NULL, &m));
    assert_ok(qn_rerank(m, "grain", 5, documents, 2, false, scores));
    assert_memory_equal(scores, logits, sizeof scores);
    qn_model_close(m);
}

static void wrong_data_is_an_error(void **state) {
    (void)state;
    test_write_text(path("high.tsv"), "query\tdocument\tlabel\ngrain\tmill\t1\ngrain\tsea\t2\n");
    assert_fails(train("high.tsv", "none", NULL), QN_ERROR_FORMAT, "high.tsv:3: the score is 2 (expected 0 to 1)");
    test_write_text(path("half.jsonl"), "{\"query\": \"grain\", \"negative\": \"sea\"}\n");
    assert_fails(train("half.jsonl", "none", NULL), QN_ERROR_FORMAT, "half.jsonl:1: no column");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pairs_and_triples_train),
                                       cmocka_unit_test(scores_are_a_sigmoid),
                                       cmocka_unit_test(wrong_data_is_an_error)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
