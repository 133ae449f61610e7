// Tagging from data to entities: a small model learns names, is measured, saved, and finds them with their places, in
// texts of any length and in any company; a stopped run goes on to the same bytes.
#include "training.h"
#include "base/json.h"

static char folder[256];

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 40, \"hidden_size\": 32, \"num_hidden_layers\": 1, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 24, "
    "\"initializer_range\": 0.2, \"hidden_dropout_prob\": 0, \"attention_probs_dropout_prob\": 0, \"id2label\": "
    "{\"0\": \"old\"}}";
static const char vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nmary\nann\n##a\nsmith\nparis\nbonn\nin\nlives\nand\nthe\n"
    "mill\n.\ngrinds\nfor\n\xC3\xBC\nx1\nx2\nx3\nx4\nx5\nx6\nx7\nx8\nx9\n";

static const char *path(const char *name) {
    return test_path(folder, name);
}

static int setup(void **state) {
    (void)state;
    static const char *const names[] = {"mary", "ann", "anna", "mary smith", "ann smith"}, *const places[] = {"paris",
                                                                                                              "bonn"};
    char *text = calloc(1, 1 << 16), *at = text;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(path("config.json"), config);
    test_write_text(path("vocab.txt"), vocabulary);
    for (int i = 0; i < 240; i++) { // one to four sentences make a text, so that names stand at every place
        const char *name = names[i % 5], *place = places[i % 2], *second = strchr(name, ' ');
        if (i % 3 == 0) at += sprintf(at, "the O\nmill O\ngrinds O\nfor O\n");
        if (i % 7 == 0) at += sprintf(at, "\xC3\xBC O\n");
        at += sprintf(at, "%.*s B-PER\n", second ? (int)(second - name) : 20, name);
        if (second) at += sprintf(at, "%s I-PER\n", second + 1);
        at += sprintf(at, "lives O\nin O\n%s B-LOC\n. O\n%s", place, i % 8 % 3 ? "" : "\n");
    }
    test_write_text(path("names.conll"), text);
    free(text);
    return 0;
}

static bool stop_at_once(void *user) {
    return ++*(int *)user > 12;
}

static qn_status train(const char *output, const char *resume, int *stop, char **json) {
    qn_training t = task_training(folder, "tag", "config.json", "names.conll", output);
    t.learning_rate = 5e-3;
    t.epochs = 6;
    t.batch_size = 6;
    t.save_steps = 7;
    t.seed = 3;
    t.resume = resume;
    t.stop = stop ? stop_at_once : NULL;
    t.user = stop;
    return qn_finetune(&t, json);
}

static double number(const char *json, const char *key) {
    json_t *object;
    assert_ok(qn_json_parse(json, strlen(json), "metrics", &object));
    double value = json_number_value(json_object_get(object, key));
    json_decref(object);
    return value;
}

static void a_model_learns_names(void **state) {
    (void)state;
    char *json;
    assert_ok(train("whole", NULL, NULL, &json));
    assert_true(number(json, "f1") > 0.99);
    free(json);
    qn_model *m;
    assert_ok(qn_model_open(path("whole"), NULL, &m));
    assert_int_equal(qn_model_task(m), QN_TASK_TAG);
    assert_int_equal(qn_model_labels(m), 4);
    assert_string_equal(qn_model_label(m, 0), "B-LOC");
    assert_ok(qn_evaluate(m, path("names.conll"), NULL, &json));
    assert_true(number(json, "f1") > 0.99 && number(json, "words") > 1000);
    free(json);
    float scores[4];
    qn_text text = {"mary", 4, NULL, 0};
    assert_fails(qn_classify(m, &text, 1, false, scores), QN_ERROR_UNSUPPORTED, "no classification head");
    qn_model_close(m);
}

// "PER[0,10) LOC[20,25) " of each text, and what was read.
typedef struct {
    char found[4096];
    size_t used, next;
    qn_usage usage;
} receiver;

static qn_status receive(void *user, size_t index, const qn_usage *usage, const qn_tag_span *spans, size_t count) {
    receiver *r = user;
    assert_int_equal(index, r->next++);
    r->usage = *usage;
    for (size_t i = 0; i < count; i++) {
        assert_true(spans[i].score > 0 && spans[i].score <= 1 && spans[i].end > spans[i].start);
        r->used += (size_t)snprintf(r->found + r->used, sizeof r->found - r->used, "%s[%zu,%zu)%zu ", spans[i].label,
                                    spans[i].char_start, spans[i].char_end, spans[i].end - spans[i].start);
    }
    r->used += (size_t)snprintf(r->found + r->used, sizeof r->found - r->used, "| ");
    return QN_OK;
}

static receiver tag(qn_model *m, const char *const *texts, size_t count, const qn_tag_options *options) {
    qn_text list[16];
    receiver r = {0};
    for (size_t i = 0; i < count; i++) list[i] = (qn_text){texts[i], strlen(texts[i]), NULL, 0};
    assert_ok(qn_tag(m, list, count, options, receive, &r));
    return r;
}

static void entities_have_their_places(void **state) {
    (void)state;
    qn_model *m;
    assert_ok(qn_model_open(path("whole"), NULL, &m));
    // Characters and bytes differ after the first word; punctuation is no part of a name; an empty text has none.
    const char *texts[] = {"\xC3\xBC mary smith lives in paris.", "", "anna lives in bonn"};
    receiver r = tag(m, texts, 3, NULL);
    assert_string_equal(r.found, "PER[2,12)10 LOC[22,27)5 | | PER[0,4)4 LOC[14,18)4 | ");
    // Words by white space: the stop is a part of it.
    r = tag(m, texts, 1, &(qn_tag_options){.split_by_space = true});
    assert_string_equal(r.found, "PER[2,12)10 LOC[22,28)6 | ");
    qn_model_close(m);
}

// A text of 60 words in windows of 24 tokens gives what its sentences give; cut, it ends early, and says so.
static void long_texts_are_split(void **state) {
    (void)state;
    char text[1024] = "", want[1024] = "";
    size_t used = 0, found = 0;
    for (int i = 0; i < 15; i++) {
        found += (size_t)snprintf(want + found, sizeof want - found, "PER[%zu,%zu)4 LOC[%zu,%zu)5 ", used, used + 4,
                                  used + 14, used + 19);
        used += (size_t)snprintf(text + used, sizeof text - used, "mary lives in paris. ");
    }
    strcat(want, "| ");
    const char *texts[] = {text};
    qn_model *m;
    qn_model_options o = qn_model_defaults();
    assert_ok(qn_model_open(path("whole"), &o, &m));
    receiver r = tag(m, texts, 1, NULL);
    assert_string_equal(r.found, want);
    assert_true(r.usage.windows > 3 && r.usage.tokens == 15 * 5 + 2 && !r.usage.truncated);
    qn_model_close(m);
    o.overflow = QN_OVERFLOW_TRUNCATE;
    assert_ok(qn_model_open(path("whole"), &o, &m));
    r = tag(m, texts, 1, NULL);
    assert_true(r.usage.windows == 1 && r.usage.tokens == 24 && r.usage.truncated);
    assert_true(strncmp(r.found, want, 20) == 0 && r.used < 150);
    qn_model_close(m);
    o.overflow = QN_OVERFLOW_ERROR;
    assert_ok(qn_model_open(path("whole"), &o, &m));
    qn_text one = {text, strlen(text), NULL, 0};
    assert_fails(qn_tag(m, &one, 1, NULL, receive, &r), QN_ERROR_ARGUMENT,
                 "text 1 has 77 tokens (expected at most 24)");
    qn_model_close(m);
}

static void a_stopped_run_ends_in_the_same_bytes(void **state) {
    (void)state;
    int asked = 0;
    size_t m, n;
    assert_int_equal(train("stopped", NULL, &asked, NULL), QN_INTERRUPTED);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_learns_names), cmocka_unit_test(entities_have_their_places),
        cmocka_unit_test(long_texts_are_split), cmocka_unit_test(a_stopped_run_ends_in_the_same_bytes)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
