// The data that comes with Quern: it is what its README says, and the pre-training text holds nothing of the held-out
// splits.
#include "tests/support.h"
#include "data/labels.h"
#include "data/reader.h"

typedef void (*visitor)(void *user, const qn_record *record);

static size_t each_record(const char *name, visitor visit, void *user) {
    char path[4096];
    snprintf(path, sizeof path, "%s/data/wordnet/%s", QN_SOURCE_DIR, name);
    qn_reader *reader;
    qn_record record;
    bool end;
    size_t count = 0;
    assert_ok(qn_reader_open(path, NULL, &reader));
    for (;; count++) {
        assert_ok(qn_reader_next(reader, &record, &end));
        if (end) break;
        visit(user, &record);
    }
    assert_int_equal(qn_reader_invalid_lines(reader), 0);
    qn_reader_close(reader);
    return count;
}

static void add_text(void *user, const qn_record *record) {
    assert_ok(qn_labels_add(user, record->text, NULL));
}

static void add_label(void *user, const qn_record *record) {
    assert_int_equal(record->label_count, 1);
    assert_ok(qn_labels_add(user, record->labels[0], NULL));
}

static void expect_absent(void *user, const qn_record *record) {
    if (qn_labels_find(user, record->text) >= 0)
        fail_msg("line %lld is a held-out definition: %.*s", (long long)record->line, (int)record->text.size,
                 record->text.data);
}

static void splits_are_complete(void **state) { // as many examples as the README says, 26 topics
    (void)state;
    qn_labels topics = {0};
    assert_int_equal(each_record("train.tsv", add_label, &topics), 65718);
    assert_int_equal(each_record("validation.tsv", add_label, &topics), 8132);
    assert_int_equal(each_record("test.tsv", add_label, &topics), 8265);
    assert_int_equal(topics.count, 26);
    qn_labels_free(&topics);
}

static void held_out_texts_are_not_trained_on(void **state) { // neither by pre-training nor by fine-tuning
    (void)state;
    qn_labels held_out = {0};
    each_record("validation.tsv", add_text, &held_out);
    each_record("test.tsv", add_text, &held_out);
    assert_true(held_out.count > 16000);
    assert_int_equal(each_record("pretrain.txt.gz", expect_absent, &held_out), 131520);
    each_record("train.tsv", expect_absent, &held_out);
    qn_labels_free(&held_out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_are_complete),
        cmocka_unit_test(held_out_texts_are_not_trained_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
