// The search for settings: its trials are those that the seed says, the best one's folder is kept, a search that was
// stopped goes on where it stood, and what cannot be searched is an error.
#include "base/file.h"
#include "training.h"
#include <math.h>
#include <string.h>

static char folder[256];
enum { MOST = 40 };
typedef struct {
    qn_trial trials[MOST];
    size_t count;
    int stop_after; // steps; 0: never
} seen;

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    write_small_bert(folder, 2, "", "grain\nmill\nsea\nfish\nbread\n");
    char data[4000] = "text\tlabel\n";
    for (int i = 0; i < 60; i++)
        strcat(data, i % 2 ? "grain mill\tfood\n" : i % 3 ? "sea\twater\n" : "fish sea\twater\n");
    test_write_text(path("data.tsv"), data);
    return 0;
}

static void on_trial(void *user, const qn_trial *t) {
    seen *s = user;
    assert_true(s->count < MOST);
    s->trials[s->count++] = *t;
}

static void on_step(void *user, const qn_training_step *step) {
    seen *s = user;
    (void)step;
    if (s->stop_after > 0) s->stop_after--;
}

static bool stop(void *user) {
    return ((seen *)user)->stop_after == 0;
}

static qn_tuning tuning(const char *output, seen *s) {
    *s = (seen){.stop_after = -1};
    qn_tuning t = qn_tuning_defaults();
    t.training = task_training(folder, "classify", "config.json", "data.tsv", output);
    t.training.epochs = 1;
    t.training.threads = 1;
    t.training.on_step = on_step;
    t.training.progress_width = 80;
    t.training.stop = stop;
    t.training.user = s;
    t.on_trial = on_trial;
    t.most_trials = 12;
    return t;
}

static bool same(const qn_trial *a, const qn_trial *b) {
    return a->number == b->number && a->learning_rate == b->learning_rate && a->batch_size == b->batch_size &&
           a->freeze_layers == b->freeze_layers && a->best == b->best && strcmp(a->stage, b->stage) == 0;
}

static void the_best_is_kept(void **state) {
    (void)state;
    seen s;
    char *json;
    qn_tuning t = tuning("search", &s);
    t.training.test = t.training.validation;
    assert_ok(qn_tune(&t, &json));
    assert_int_equal(s.count, 12);
    const qn_trial *best = NULL;
    for (size_t i = 0; i < s.count; i++) {
        const qn_trial *x = &s.trials[i];
        assert_true(x->learning_rate >= 1e-5 && x->learning_rate <= 1e-3 && x->batch_size >= 8 && x->batch_size <= 64);
        assert_true(x->freeze_layers >= -1 && x->freeze_layers <= 2 && x->epochs > 0 && x->epochs <= 1);
        if (x->best) best = x;
    }
    assert_non_null(best);
    for (size_t i = 0; i < s.count; i++) assert_true(!(s.trials[i].value > best->value));
    assert_string_equal(s.trials[0].stage, "first");
    assert_string_equal(s.trials[1].stage, "halving");
    char expected[64];
    snprintf(expected, sizeof expected, "\"trial\": %d,", (int)best->number);
    assert_non_null(strstr(json, expected));
    assert_non_null(strstr(json, "\"test\": {"));
    free(json);
    // best/ is a model with the value that its trial had; of the others nothing is left.
    qn_model *m;
    assert_ok(qn_model_open(path("search/best"), NULL, &m));
    assert_ok(qn_evaluate(m, path("data.tsv"), NULL, &json));
    snprintf(expected, sizeof expected, "\"accuracy\": %.6g", best->value);
    assert_non_null(strstr(json, expected));
    free(json);
    qn_model_close(m);
    assert_false(qn_is_folder(path("search/trial-1")));
    assert_true(qn_is_file(path("search/report.html")));
}

static void a_stopped_search_goes_on(void **state) {
    (void)state;
    seen whole, parts, rest;
    qn_tuning t = tuning("whole", &whole);
    t.training.epochs = 0.5; // so that 27 trials are planned in both
    assert_ok(qn_tune(&t, NULL));
    t = tuning("parts", &parts);
    t.training.epochs = 0.5;
    parts.stop_after = 9;
    assert_int_equal(qn_tune(&t, NULL), QN_INTERRUPTED);
    assert_non_null(strstr(qn_last_error(), "--resume"));
    assert_true(parts.count > 0 && parts.count < whole.count);
    t = tuning("parts", &rest);
    t.training.epochs = 0.5;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "holds another search");
    t.training.resume = "";
    t.least_rate = 1e-6;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "\"least_learning_rate\" was another");
    t.least_rate = 1e-5;
    assert_ok(qn_tune(&t, NULL));
    assert_int_equal(rest.count, whole.count);
    for (size_t i = 0; i < whole.count; i++)
        if (!same(&whole.trials[i], &rest.trials[i])) fail_msg("trial %zu is another one", i + 1);
    // A larger number of trials goes on from the end.
    t.most_trials = 14;
    rest.count = 0;
    assert_ok(qn_tune(&t, NULL));
    assert_int_equal(rest.count, 14);
}

static void bad_searches_are_errors(void **state) {
    (void)state;
    seen s;
    qn_tuning t = tuning("none", &s);
    t.training.validation = NULL;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "no validation file");
    t = tuning("none", &s);
    t.least_rate = 1;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "learning rates from 1 to 0.001");
    t = tuning("none", &s);
    t.minutes = 0;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "a budget of 0 minutes");
    t = tuning("none", &s);
    t.least_batch = 128;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "batches from 128 to 64");
    t = tuning("none", &s);
    t.training.max_steps = 3;
    assert_fails(qn_tune(&t, NULL), QN_ERROR_ARGUMENT, "the length of trainings is searched");
}

// A trial that the end of the time cuts short is measured, and kept.
static void the_shortest_search_has_a_model(void **state) {
    (void)state;
    seen s;
    qn_tuning t = tuning("short", &s);
    t.minutes = 1e-5;
    assert_ok(qn_tune(&t, NULL));
    assert_int_equal(s.count, 1);
    assert_true(s.trials[0].epochs > 0 && s.trials[0].epochs < t.training.epochs);
    assert_true(qn_is_folder(path("short/best")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_is_kept), cmocka_unit_test(a_stopped_search_goes_on),
                                       cmocka_unit_test(bad_searches_are_errors),
                                       cmocka_unit_test(the_shortest_search_has_a_model)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
