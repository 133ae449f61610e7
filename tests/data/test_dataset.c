// Labels, and data sets in memory.
#include "tests/data/fixture.h"
#include "data/dataset.h"

static char *folder;
static qn_tokenizer *tokenizer;

static int set_up(void **state) {
    (void)state;
    folder = test_folder();
    tokenizer = fixture_tokenizer(folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    qn_tokenizer_free(tokenizer);
    return 0;
}

static qn_span span(const char *text) {
    return (qn_span){text, strlen(text)};
}

static void labels_have_an_order_of_their_own(
    void **state) { // whatever the order of the data: numeric for whole numbers, else bytes
    (void)state;
    static const char *const numbers[] = {"10", "9", "-1", "9", "0"}, *const words[] = {"b", "10", "a", "9", "B"};
    static const char *const sorted_numbers[] = {"-1", "0", "9", "10"}, *const sorted_words[] = {"10", "9", "B", "a",
                                                                                                 "b"};
    qn_labels labels = {0};
    int32_t renumber[8], id;
    for (size_t i = 0; i < 5; i++) assert_ok(qn_labels_add(&labels, span(numbers[i]), NULL));
    assert_ok(qn_labels_sort(&labels, renumber));
    assert_int_equal(labels.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(labels.names[i], sorted_numbers[i]);
        assert_int_equal(qn_labels_find(&labels, span(sorted_numbers[i])), i);
    }
    assert_int_equal(renumber[0], 3); // "10" came first
    qn_labels_free(&labels);
    for (size_t i = 0; i < 5; i++) assert_ok(qn_labels_add(&labels, span(words[i]), NULL));
    assert_ok(qn_labels_sort(&labels, NULL));
    for (size_t i = 0; i < 5; i++) assert_string_equal(labels.names[i], sorted_words[i]);
    assert_fails(qn_labels_lookup(&labels, span("c"), "f.tsv", 7, &id), QN_ERROR_FORMAT,
                 "f.tsv:7: the label \"c\" is not one of the model's (expected \"10\", \"9\", \"B\", \"a\", \"b\")");
    qn_labels_free(&labels);
}

static void many_labels(void **state) { // the hash table grows
    (void)state;
    qn_labels labels = {0};
    char name[16];
    for (int i = 0; i < 5000; i++) {
        int32_t id;
        snprintf(name, sizeof name, "l%d", i % 2500);
        assert_ok(qn_labels_add(&labels, span(name), &id));
        assert_int_equal(id, i % 2500);
    }
    assert_int_equal(labels.count, 2500);
    qn_labels_free(&labels);
}

static void numbers_stand_for_named_classes(void **state) { // data with 0 and 1 fits a model with NEGATIVE and POSITIVE
    (void)state;
    static const char *const names[] = {"NEGATIVE", "POSITIVE"}, *const numbers[] = {"5", "7"},
                             *const twice[] = {"a", "a"};
    qn_labels labels = {0};
    assert_ok(qn_labels_set(&labels, names, 2));
    assert_int_equal(qn_labels_find(&labels, span("1")), 1);
    assert_int_equal(qn_labels_find(&labels, span("2")), -1);
    assert_int_equal(qn_labels_find(&labels, span("-1")), -1);
    assert_ok(qn_labels_set(&labels, numbers, 2));
    assert_int_equal(qn_labels_find(&labels, span("1")), -1);
    assert_fails(qn_labels_set(&labels, twice, 2), QN_ERROR_FORMAT, "occurs twice");
    qn_labels_free(&labels);
}

static qn_status read_set(const char *text, const char *name, const qn_dataset_options *options, qn_labels *labels,
                          qn_dataset *out) {
    const char *path = test_path(folder, name);
    test_write_text(path, text);
    return qn_dataset_read(&path, 1, tokenizer, options, labels, out);
}

static void classes_are_collected_and_looked_up(void **state) { // training collects, evaluation must know
    (void)state;
    qn_dataset_options options = qn_dataset_defaults();
    options.target = QN_TARGET_CLASS;
    options.collect_labels = options.keep_texts = true;
    qn_labels labels = {0};
    qn_dataset d, e;
    assert_ok(read_set("label\ttext\nnoun\tx1 w12\nadverb\tx2\nnoun\tx3\n", "train.tsv", &options, &labels, &d));
    static const int32_t ids[] = {FIXTURE_CLS,       FIXTURE_X + 1,     FIXTURE_W,
                                  FIXTURE_PIECE + 1, FIXTURE_PIECE + 2, FIXTURE_SEP};
    assert_int_equal(d.sequences.count, 3);
    assert_int_equal(qn_sequences_length(&d.sequences, 0), 6);
    assert_memory_equal(d.sequences.ids, ids, sizeof ids);
    static const bool continues[] = {false, false, false, true, true, false};
    for (int i = 0; i < 6; i++) assert_int_equal(qn_sequences_continues(&d.sequences, i), continues[i]);
    assert_int_equal(d.sequences.second[0], 6);
    assert_int_equal(d.classes[0], 1);
    assert_int_equal(d.classes[1], 0);
    assert_string_equal(labels.names[0], "adverb");
    assert_int_equal(d.lines[2], 4);
    const char *text, *pair;
    qn_dataset_text(&d, 2, &text, &pair);
    assert_string_equal(text, "x3");
    assert_null(pair);
    int64_t counts[2];
    float weights[2];
    qn_dataset_class_counts(&d, counts);
    qn_dataset_class_weights(&d, counts, weights);
    assert_int_equal(counts[1], 2);
    assert_true(weights[0] == 1.5f && weights[1] == 0.75f);
    options.collect_labels = false;
    assert_ok(read_set("label\ttext\nnoun\tx1 w12\nadverb\tx2\nnoun\tx3\n", "same.tsv", &options, &labels, &e));
    assert_true(d.fingerprint == e.fingerprint);
    qn_dataset_free(&e);
    assert_ok(read_set("label\ttext\nnoun\tx1 w12\nnoun\tx2\nnoun\tx3\n", "other.tsv", &options, &labels, &e));
    assert_true(d.fingerprint != e.fingerprint);
    qn_dataset_free(&e);
    qn_dataset_free(&d);
    assert_fails(read_set("label\ttext\nnoun\ta\nverb\tb\n", "eval.tsv", &options, &labels, &d), QN_ERROR_FORMAT,
                 "eval.tsv:3: the label \"verb\" is not one of the model's");
    assert_fails(read_set("label\ttext\n\ta\n", "none.tsv", &options, &labels, &d), QN_ERROR_FORMAT,
                 "none.tsv:2: no label");
    assert_fails(read_set("label\ttext\n", "empty.tsv", &options, &labels, &d), QN_ERROR_FORMAT,
                 "empty.tsv: holds no examples");
    assert_fails(read_set("", "void.tsv", &options, &labels, &d), QN_ERROR_FORMAT, "void.tsv: holds no examples");
    assert_fails(read_set("{\"text\": \"a\", \"label\": [\"noun\", \"adverb\"]}\n", "two.jsonl", &options, &labels, &d),
                 QN_ERROR_FORMAT, "two.jsonl:1: several labels");
    qn_labels_free(&labels);
}

static void several_labels_and_scores(void **state) {
    (void)state;
    qn_dataset_options options = qn_dataset_defaults();
    options.target = QN_TARGET_LABELS;
    options.collect_labels = true;
    qn_labels labels = {0};
    qn_dataset d;
    assert_ok(read_set("text,labels\na,\"z,x\"\nb,\nc,x\n", "multi.csv", &options, &labels, &d));
    static const uint8_t multi[] = {1, 1, 0, 0, 1, 0};
    assert_int_equal(d.labels, 2);
    assert_memory_equal(d.multi, multi, sizeof multi);
    int64_t counts[2];
    qn_dataset_class_counts(&d, counts);
    assert_int_equal(counts[0], 2);
    qn_dataset_free(&d);
    assert_fails(read_set("text,labels\na,\n", "nolabel.csv", &options, &(qn_labels){0}, &d), QN_ERROR_FORMAT,
                 "no example has a label");
    qn_labels_free(&labels);
    options.target = QN_TARGET_SCORE;
    assert_ok(read_set("sentence1\tsentence2\tscore\nx1\tx2 x3\t2.5\nx4\tx5\t-1\n", "score.tsv", &options, NULL, &d));
    assert_true(d.scores[0] == 2.5f && d.scores[1] == -1);
    assert_int_equal(d.sequences.second[0], 3); // [CLS] x1 [SEP] | x2 x3 [SEP]
    qn_dataset_free(&d);
    assert_ok(read_set("text\tlabel\nx1\t3\n", "label.tsv", &options, NULL, &d)); // a label that is a number will do
    assert_true(d.scores[0] == 3);
    qn_dataset_free(&d);
    assert_fails(read_set("text\tlabel\nx1\tgood\n", "bad.tsv", &options, NULL, &d), QN_ERROR_FORMAT,
                 "bad.tsv:2: the label is \"good\" (expected a number)");
}

static void long_texts_are_cut_and_counted(void **state) {
    (void)state;
    qn_dataset_options options = qn_dataset_defaults();
    options.encode.max_length = 4;
    qn_dataset d;
    assert_ok(read_set("x1 x2 x3\nx1 x2\n", "cut.txt", &options, NULL, &d));
    assert_int_equal(d.truncated, 1);
    assert_int_equal(qn_sequences_length(&d.sequences, 0), 4);
    qn_dataset_free(&d);
    options.limit = 1;
    assert_ok(read_set("x1 x2 x3\nx1 x2\n", "limit.txt", &options, NULL, &d));
    assert_int_equal(d.sequences.count, 1);
    qn_dataset_free(&d);
}

static void memory_running_out_leaks_nothing(void **state) {
    (void)state;
    qn_dataset_options options = qn_dataset_defaults();
    options.target = QN_TARGET_LABELS;
    options.collect_labels = options.keep_texts = true;
    for (size_t count = 0;; count++) {
        qn_labels labels = {0};
        qn_dataset d;
        const char *path = test_path(folder, "oom.csv");
        test_write_text(path, "text,labels\na,\"z,x\"\nb,\nc,x\n");
        test_fail_allocations_after(count);
        qn_status status = qn_dataset_read(&path, 1, tokenizer, &options, &labels, &d);
        test_fail_allocations_off();
        qn_dataset_free(&d);
        qn_labels_free(&labels);
        if (status == QN_OK) break;
        assert_int_equal(status, QN_ERROR_MEMORY);
        assert_true(count < 200);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_have_an_order_of_their_own), cmocka_unit_test(many_labels),
        cmocka_unit_test(numbers_stand_for_named_classes),   cmocka_unit_test(classes_are_collected_and_looked_up),
        cmocka_unit_test(several_labels_and_scores),         cmocka_unit_test(long_texts_are_cut_and_counted),
        cmocka_unit_test(memory_running_out_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
