// Examples of several texts: which columns they are, their batches, and batches without duplicates.
#include "fixture.h"
#include "data/loader.h"

static char folder[256];
static qn_tokenizer *tokenizer;

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    tokenizer = fixture_tokenizer(folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    qn_tokenizer_free(tokenizer);
    return 0;
}

static qn_status read(const char *name, const char *text, const char *columns, bool twice, qn_dataset *out) {
    char path[300];
    snprintf(path, sizeof path, "%s", test_path(folder, name));
    test_write_text(path, text);
    qn_dataset_options o = qn_dataset_defaults();
    o.reader.group = true;
    o.reader.text_columns = columns;
    o.target = QN_TARGET_ANY_SCORE;
    o.keep_texts = true;
    o.twice = twice;
    return qn_dataset_read(&(const char *){path}, 1, tokenizer, &o, NULL, out);
}

// "x1 x2|x3" of an example.
static void expect(const qn_dataset *d, size_t i, const char *texts) {
    char all[200] = "";
    for (size_t k = 0; k < d->width; k++) {
        if (k) strcat(all, "|");
        strcat(all, qn_dataset_group_text(d, i, k));
    }
    assert_string_equal(all, texts);
}

static void columns(void **state) { // the anchor first, then the positive, then negatives, whatever their order
    (void)state;
    static const struct {
        const char *name, *text, *columns, *expected;
    } cases[] = {
        {"a.tsv", "negative_1\tpositive\tid\tanchor\nx1\tx2\t7\tx3\n", NULL, "x3|x2|x1"},
        {"b.tsv", "sentence1\tsentence2\tscore\nx1\tx2\t0.5\n", NULL, "x1|x2"},
        {"c.csv", "query,document\n\"x1 x2\",x3\n", NULL, "x1 x2|x3"},
        {"d.tsv", "word\tdefinition\nx1\tx2\n", "definition, word", "x2|x1"},
        {"e.tsv", "word\tdefinition\nx1\tx2\n", "2,1", "x2|x1"},
        {"f.jsonl", "{\"anchor\": \"x1\", \"positive\": \"x2\", \"negatives\": [\"x\\u0033\", \"x4\"], \"n\": 1}\n",
         NULL, "x1|x2|x3|x4"},
        {"g.jsonl", "{\"texts\": [\"x1\", \"x2\"], \"score\": 1}\n", NULL, "x1|x2"},
        {"h.txt", "x1\n", NULL, "x1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_dataset d;
        assert_ok(read(cases[i].name, cases[i].text, cases[i].columns, false, &d));
        assert_int_equal(qn_dataset_count(&d), 1);
        expect(&d, 0, cases[i].expected);
        assert_int_equal(d.target, strstr(cases[i].text, "score") ? QN_TARGET_SCORE : QN_TARGET_NONE);
        qn_dataset_free(&d);
    }
}

static void errors(void **state) { // name file and line
    (void)state;
    static const struct {
        const char *name, *text, *columns, *message;
    } cases[] = {
        {"a.tsv", "word\tlabel\nx1\tx2\n", NULL, "a.tsv:1: no columns of texts"},
        {"b.tsv", "word\tlabel\nx1\tx2\n", "word,text", "b.tsv:1: no column \"text\" (found: \"word\", \"label\")"},
        {"c.jsonl", "{\"texts\": [\"x1\", \"x2\"]}\n{\"texts\": [\"x1\"]}\n", NULL,
         "c.jsonl:2: 1 text (expected 2, as in the first example)"},
        {"d.jsonl", "{\"texts\": [\"x1\", 2]}\n", NULL, "d.jsonl:1: \"texts\" holds a number (expected strings)"},
        {"e.jsonl", "{\"anchor\": \"x1\", \"positive\": null}\n", NULL, "e.jsonl:1: \"positive\" is null"},
        {"f.jsonl", "{\"texts\": []}\n", NULL, "f.jsonl:1: no text"},
        {"g.tsv", "sentence1\tsentence2\tscore\nx1\tx2\tmuch\n", NULL, "g.tsv:2: the score is \"much\""},
        {"h.tsv", "anchor\tpositive\nx1\n", NULL, "h.tsv:2: 1 column (expected 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_dataset d;
        assert_fails(read(cases[i].name, cases[i].text, cases[i].columns, false, &d), QN_ERROR_FORMAT,
                     cases[i].message);
    }
}

static void
batches(void **state) { // hold an example's texts side by side; with `twice` one text stands there two times
    (void)state;
    qn_dataset d;
    assert_ok(read("a.tsv", "anchor\tpositive\tscore\nx1\tx2 x3\t1\nx4\tx5\t2\n", NULL, false, &d));
    qn_batch b = {0};
    assert_ok(qn_batch_fill(&b, &d, (const uint32_t[]){1, 0}, 2));
    static const int32_t ids[] = {FIXTURE_CLS,   FIXTURE_X + 4, FIXTURE_SEP,   FIXTURE_CLS, FIXTURE_X + 5,
                                  FIXTURE_SEP,   FIXTURE_CLS,   FIXTURE_X + 1, FIXTURE_SEP, FIXTURE_CLS,
                                  FIXTURE_X + 2, FIXTURE_X + 3, FIXTURE_SEP};
    assert_int_equal(b.sequences, 4);
    assert_int_equal(b.width, 2);
    assert_int_equal(b.tokens, 13);
    assert_memory_equal(b.ids, ids, sizeof ids);
    assert_true(b.scores[0] == 2 && b.scores[1] == 1);
    qn_dataset_free(&d);
    assert_ok(read("b.txt", "x1\nx2\n", NULL, true, &d));
    assert_int_equal(d.width, 2);
    expect(&d, 1, "x2|x2");
    qn_batch_free(&b);
    qn_dataset_free(&d);
}

// Of 300 examples with few different positives: each example once an epoch, none shares a text with another of its
// batch, and only the last batches are not full.
static void no_duplicates(void **state) {
    (void)state;
    qn_buffer text = {0};
    qn_buffer_text(&text, "anchor\tpositive\n");
    for (int i = 0; i < 300; i++) qn_buffer_printf(&text, "x%d x%d\tx%d\n", i % 150, i / 150, i * i % 40);
    qn_dataset d;
    assert_ok(read("many.tsv", text.data, NULL, false, &d));
    qn_buffer_free(&text);
    qn_sampler *s;
    assert_ok(qn_sampler_create(
        &d.sequences, &(qn_sampler_options){.batch_size = 5, .width = 2, .no_duplicates = true, .seed = 3}, &s));
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        bool seen[300] = {false};
        size_t full = 0, examples = 0;
        assert_ok(qn_sampler_set_epoch(s, epoch));
        for (size_t k = 0; k < qn_sampler_batches(s); k++) {
            const uint32_t *batch;
            size_t count;
            qn_sampler_batch(s, k, &batch, &count);
            full += count == 5;
            for (size_t i = 0; i < count; i++, examples++) {
                assert_false(seen[batch[i]]);
                seen[batch[i]] = true;
                for (size_t other = 0; other < i; other++)
                    assert_true(strcmp(qn_dataset_group_text(&d, batch[i], 1),
                                       qn_dataset_group_text(&d, batch[other], 1)) != 0);
            }
        }
        assert_int_equal(examples, 300);
        assert_true(full >= 45);
        size_t counted;
        assert_ok(qn_sampler_count(s, epoch, &counted));
        assert_int_equal(counted, qn_sampler_batches(s));
    }
    qn_sampler_free(s);
    qn_dataset_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(columns), cmocka_unit_test(errors), cmocka_unit_test(batches),
                                       cmocka_unit_test(no_duplicates)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
