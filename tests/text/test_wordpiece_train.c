// Learning of vocabularies.
#include "support.h"
#include "text/tokenizer.h"

typedef struct {
    const char *const *texts;
    size_t count, next, fail_at;
} texts_source;

static qn_status next_text(void *user, const char **text, size_t *size) {
    texts_source *s = user;
    if (s->fail_at && s->next + 1 == s->fail_at) return qn_fail(QN_ERROR_IO, "no more disk");
    *text = s->next < s->count ? s->texts[s->next++] : NULL;
    *size = *text ? strlen(*text) : 0;
    return QN_OK;
}

static const char *const words[] = {"roses are red", "violets are blue", "BERT is big and so is GPT-2",
                                    "Caf\xc3\xa9 caf\xc3\xa9"};

static char *learned(const qn_wordpiece_options *options, const char *const *texts, size_t count) {
    qn_tokenizer *t;
    texts_source source = {texts, count, 0, 0};
    assert_ok(qn_wordpiece_train(options, next_text, &source, &t));
    const char *folder = test_folder();
    assert_ok(qn_tokenizer_save(t, folder));
    qn_tokenizer_free(t);
    return test_read(test_path(folder, "vocab.txt"), NULL);
}

// Protects the algorithm: characters first, then their continuing forms, then merges by frequency; ties by the smaller
// ids.
static void test_small_text(void **state) {
    (void)state;
    qn_wordpiece_options o = qn_wordpiece_defaults();
    char *vocab = learned(&o, words, 4);
    assert_string_equal(vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
                               "-\n2\na\nb\nc\nd\ne\nf\ng\ni\nl\nn\no\np\nr\ns\nt\nu\nv\n"
                               "##a\n##d\n##e\n##f\n##g\n##i\n##l\n##n\n##o\n##p\n##r\n##s\n##t\n##u\n"
                               "ar\nca\nis\n##fe\nare\ncafe\n");
    free(vocab);
}

// Protects independence of the order of the texts.
static void test_order(void **state) {
    (void)state;
    const char *turned[] = {words[3], words[1], words[0], words[2]};
    qn_wordpiece_options o = qn_wordpiece_defaults();
    char *a = learned(&o, words, 4), *b = learned(&o, turned, 4);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

// Protects the sizes that were asked for.
static void test_sizes(void **state) {
    (void)state;
    qn_wordpiece_options o = qn_wordpiece_defaults();
    qn_tokenizer *t;
    for (o.vocab_size = 7; o.vocab_size < 60; o.vocab_size += 5) {
        texts_source source = {words, 4, 0, 0};
        assert_ok(qn_wordpiece_train(&o, next_text, &source, &t));
        assert_true(qn_tokenizer_size(t) <= o.vocab_size);
        qn_tokenizer_free(t);
    }
    o.vocab_size = 6;
    texts_source source = {words, 4, 0, 0};
    assert_fails(qn_wordpiece_train(&o, next_text, &source, &t), QN_ERROR_ARGUMENT, "no room");
    o = qn_wordpiece_defaults();
    o.limit_alphabet = 3;
    source.next = 0;
    assert_ok(qn_wordpiece_train(&o, next_text, &source, &t));
    assert_true(qn_tokenizer_id(t, "e") > 0 && qn_tokenizer_id(t, "z") < 0 && qn_tokenizer_id(t, "g") < 0);
    qn_tokenizer_free(t);
}

static bool stop_at_once(void *user, const char *stage, size_t done, size_t total) {
    (void)user, (void)stage, (void)done, (void)total;
    return false;
}

// Protects the ways out: a source that fails, a user who stops, no text, no memory.
static void test_failures(void **state) {
    (void)state;
    qn_wordpiece_options o = qn_wordpiece_defaults();
    qn_tokenizer *t;
    texts_source source = {words, 4, 0, 3};
    assert_fails(qn_wordpiece_train(&o, next_text, &source, &t), QN_ERROR_IO, "no more disk");
    source = (texts_source){words, 0, 0, 0};
    assert_fails(qn_wordpiece_train(&o, next_text, &source, &t), QN_ERROR_ARGUMENT, "no words");
    o.progress = stop_at_once;
    source = (texts_source){words, 4, 0, 0};
    assert_int_equal(qn_wordpiece_train(&o, next_text, &source, &t), QN_INTERRUPTED);
    assert_null(t);
    o.progress = NULL;
    for (size_t allowed = 0; allowed < 2000; allowed++) {
        source.next = 0;
        test_fail_allocations_after(allowed);
        qn_status status = qn_wordpiece_train(&o, next_text, &source, &t);
        test_fail_allocations_off();
        assert_true(status == QN_OK || status == QN_ERROR_MEMORY);
        qn_tokenizer_free(t);
        if (status == QN_OK) return;
    }
    fail_msg("learning four lines took more than 2000 allocations");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_text),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
