// Question answering from data to answers: a stopped run goes on to the same bytes; answers lie in their contexts, of
// any length, and do not depend on the questions beside them; and what is not possible is an error.
#include "training.h"
#include <math.h>

static char folder[256];

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 40, \"hidden_size\": 32, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 24, "
    "\"initializer_range\": 0.2}";

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    char *text = calloc(1, 1 << 16), *at = text;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(path("config.json"), config);
    test_write_text(
        path("vocab.txt"),
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwho\nwhere\nann\nmary\nparis\nbonn\nlives\nin\nthe\n.\n?\n\xC3\xBC\n");
    for (int i = 0; i < 60; i++) {
        const char *name = i % 2 ? "ann" : "mary", *place = i % 3 ? "paris" : "bonn";
        at += sprintf(at, "{\"question\": \"%s ?\", \"context\": \"%s%s lives in %s.\", \"answers\": [%s%s%s]}\n",
                      i % 4 < 2 ? "who" : "where", i % 5 ? "" : "\xC3\xBC the ", name, place, i % 7 ? "\"" : "",
                      i % 7 ? (i % 4 < 2 ? name : place) : "", i % 7 ? "\"" : "");
    }
    test_write_text(path("data.jsonl"), text);
    free(text);
    return 0;
}

static bool stop_at_once(void *user) {
    return ++*(int *)user > 9;
}

static qn_status train(const char *output, const char *resume, int *stop, char **json) {
    qn_training t = task_training(folder, "answer", "config.json", "data.jsonl", output);
    t.learning_rate = 3e-3;
    t.epochs = 4;
    t.batch_size = 10;
    t.save_steps = 5;
    t.seed = 3;
    t.resume = resume;
    t.stop = stop ? stop_at_once : NULL;
    t.user = stop;
    return qn_finetune(&t, json);
}

static void a_stopped_run_ends_in_the_same_bytes(void **state) {
    (void)state;
    char *json;
    assert_ok(train("whole", NULL, NULL, &json));
    assert_non_null(strstr(json, "\"questions\": 60, \"answerable\": 51"));
    free(json);
    int asked = 0;
    size_t m, n;
    qn_status stopped = train("stopped", NULL, &asked, NULL);
    if (stopped != QN_INTERRUPTED) fail_msg("%s", qn_last_error());
    assert_ok(train("stopped", "", NULL, NULL));
    char a[300], b[300];
    snprintf(a, sizeof a, "%s/model.safetensors", path("whole"));
    snprintf(b, sizeof b, "%s/model.safetensors", path("stopped"));
    char *x = test_read(a, &m), *y = test_read(b, &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

typedef struct {
    const qn_text *texts;
    qn_answer_span best[8];
    qn_usage usage[8];
    bool none[8];
    size_t next;
} receiver;

static qn_status receive(void *user, size_t index, const qn_usage *usage, const qn_answer_result *result) {
    receiver *r = user;
    const qn_text *t = &r->texts[index];
    assert_int_equal(index, r->next++);
    for (size_t i = 0; i < result->count; i++) {
        const qn_answer_span *s = &result->spans[i];
        assert_true(s->start < s->end && s->end <= t->pair_size && s->score > 0 && s->score <= 1);
        assert_true(t->pair[s->start] != ' ' && t->pair[s->end - 1] != ' ');
        if (i > 0) assert_true(s->score <= s[-1].score);
    }
    if (result->count) r->best[index] = result->spans[0];
    r->none[index] = result->none;
    r->usage[index] = *usage;
    return QN_OK;
}

static void answers_lie_in_their_contexts(void **state) {
    (void)state;
    char longer[600] = "\xC3\xBC ";
    for (int i = 0; i < 12; i++) strcat(longer, i % 2 ? "ann lives in bonn. " : "mary lives in paris. ");
    qn_text texts[] = {
        {"who ?", 5, "ann lives in bonn.", 18}, {"where ?", 7, longer, strlen(longer)}, {"who ?", 5, "", 0}};
    qn_model *m;
    receiver all = {.texts = texts}, one = {.texts = texts + 1};
    assert_ok(qn_model_open(path("whole"), NULL, &m));
    assert_int_equal(qn_model_task(m), QN_TASK_ANSWER);
    qn_answer_options o = qn_answer_defaults();
    o.top = 5;
    assert_ok(qn_answer(m, texts, 3, &o, receive, &all));
    assert_true(all.usage[0].windows == 1 && all.usage[1].windows > 2 && all.none[2] && !all.none[0]);
    assert_ok(qn_answer(m, texts + 1, 1, &o, receive, &one));
    assert_true(one.best[0].start == all.best[1].start && one.best[0].end == all.best[1].end);
    assert_memory_equal(&one.best[0].score, &all.best[1].score, sizeof one.best[0].score);
    // Characters and bytes differ by the one before.
    assert_int_equal(all.best[1].start, all.best[1].char_start + 1);
    o.allow_none = true;
    o.none_threshold = -1e9;
    all.next = 0;
    assert_ok(qn_answer(m, texts, 1, &o, receive, &all));
    assert_true(all.none[0]);
    o.candidates = 1000;
    assert_fails(qn_answer(m, texts, 1, &o, receive, &all), QN_ERROR_ARGUMENT, "1000 candidates");
    char question[400] = "";
    for (int i = 0; i < 40; i++) strcat(question, "who ");
    qn_text wide = {question, strlen(question), "ann", 3};
    assert_fails(qn_answer(m, &wide, 1, NULL, receive, &all), QN_ERROR_ARGUMENT, "question 1: a question of 43 tokens");
    qn_tag_options tags = {0};
    assert_fails(qn_tag(m, texts, 1, &tags, NULL, NULL), QN_ERROR_UNSUPPORTED, "BertForTokenClassification");
    qn_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_stopped_run_ends_in_the_same_bytes),
                                       cmocka_unit_test(answers_lie_in_their_contexts)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
