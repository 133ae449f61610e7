// Learning of vocabularies.
#include "support.h"
#include "text/form.h"
#include "text/substrings.h"
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

static char *learned(const qn_tokenizer_options *options, const char *const *texts, size_t count) {
    qn_tokenizer *t;
    texts_source source = {texts, count, 0, 0};
    assert_ok(qn_tokenizer_train(options, next_text, &source, &t));
    const char *folder = test_folder();
    assert_ok(qn_tokenizer_save(t, folder));
    qn_tokenizer_free(t);
    return test_read(test_path(folder, "vocab.txt"), NULL);
}

// Protects the algorithm: characters first, then their continuing forms, then merges by frequency; ties by the smaller
// ids.
static void test_small_text(void **state) {
    (void)state;
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
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
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    char *a = learned(&o, words, 4), *b = learned(&o, turned, 4);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

// Protects the sizes that were asked for.
static void test_sizes(void **state) {
    (void)state;
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    qn_tokenizer *t;
    for (o.vocab_size = 7; o.vocab_size < 60; o.vocab_size += 5) {
        texts_source source = {words, 4, 0, 0};
        assert_ok(qn_tokenizer_train(&o, next_text, &source, &t));
        assert_true(qn_tokenizer_size(t) <= o.vocab_size);
        qn_tokenizer_free(t);
    }
    o.vocab_size = 6;
    texts_source source = {words, 4, 0, 0};
    assert_fails(qn_tokenizer_train(&o, next_text, &source, &t), QN_ERROR_ARGUMENT, "no room");
    o = qn_tokenizer_defaults(QN_WORDPIECE);
    o.limit_alphabet = 3;
    source.next = 0;
    assert_ok(qn_tokenizer_train(&o, next_text, &source, &t));
    assert_true(qn_tokenizer_id(t, "e") > 0 && qn_tokenizer_id(t, "z") < 0 && qn_tokenizer_id(t, "g") < 0);
    qn_tokenizer_free(t);
}

// Protects what translators need: a text ends with a token and begins with none, and padding has the last id, in the
// memory and in the files.
static void test_translators(void **state) {
    (void)state;
    static const qn_tokenizer_kind kinds[] = {QN_BPE, QN_UNIGRAM};
    for (size_t i = 0; i < 2; i++) {
        qn_tokenizer_options o = qn_tokenizer_defaults(kinds[i]);
        o.vocab_size = i ? 40 : 270;
        o.special[QN_TOKEN_CLS] = o.special[QN_TOKEN_MASK] = "";
        o.pad_last = true;
        qn_tokenizer *t, *again;
        texts_source source = {words, 4, 0, 0};
        assert_ok(qn_tokenizer_train(&o, next_text, &source, &t));
        const char *folder = test_folder();
        assert_ok(qn_tokenizer_save(t, folder));
        assert_ok(qn_tokenizer_load(folder, &again));
        const qn_tokenizer *both[] = {t, again};
        for (size_t k = 0; k < 2; k++) {
            int32_t end = qn_tokenizer_special(both[k], QN_TOKEN_SEP);
            qn_encoding e = QN_ENCODING_INIT;
            assert_true(qn_tokenizer_size(both[k]) <= o.vocab_size);
            assert_int_equal(qn_tokenizer_special(both[k], QN_TOKEN_PAD), qn_tokenizer_size(both[k]) - 1);
            assert_string_equal(qn_tokenizer_token(both[k], (int32_t)qn_tokenizer_size(both[k]) - 1), "<pad>");
            assert_true(qn_tokenizer_is_special(both[k], (int32_t)qn_tokenizer_size(both[k]) - 1));
            assert_ok(qn_tokenizer_encode(both[k], "roses", 5, "are", 3, NULL, &e));
            assert_true(end >= 0 && e.count > 3 && e.ids[e.count - 1] == end && e.ids[0] != end);
            size_t ends = 0;
            for (size_t n = 0; n < e.count; n++) ends += e.ids[n] == end;
            assert_int_equal(ends, 2);
            qn_encoding_free(&e);
        }
        char *config = test_read(test_path(folder, "tokenizer_config.json"), NULL);
        assert_non_null(strstr(config, "\"eos_token\""));
        assert_non_null(strstr(config, "\"bos_token\": \"\\u003c/s>\"")); // which CTranslate2 wants
        free(config);
        qn_tokenizer_free(t);
        qn_tokenizer_free(again);
    }
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    qn_tokenizer *t;
    o.pad_last = true;
    texts_source source = {words, 4, 0, 0};
    assert_fails(qn_tokenizer_train(&o, next_text, &source, &t), QN_ERROR_ARGUMENT, "padding");
}

static bool stop_at_once(void *user, const char *stage, size_t done, size_t total) {
    (void)user, (void)stage, (void)done, (void)total;
    return false;
}

// Protects the ways out: a source that fails, a user who stops, no text, no memory.
static void test_failures(void **state) {
    (void)state;
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    qn_tokenizer *t;
    texts_source source = {words, 4, 0, 3};
    assert_fails(qn_tokenizer_train(&o, next_text, &source, &t), QN_ERROR_IO, "no more disk");
    source = (texts_source){words, 0, 0, 0};
    assert_fails(qn_tokenizer_train(&o, next_text, &source, &t), QN_ERROR_ARGUMENT, "no words");
    o.progress = stop_at_once;
    source = (texts_source){words, 4, 0, 0};
    assert_int_equal(qn_tokenizer_train(&o, next_text, &source, &t), QN_INTERRUPTED);
    assert_null(t);
    o.progress = NULL;
    for (size_t allowed = 0; allowed < 2000; allowed++) {
        source.next = 0;
        test_fail_allocations_after(allowed);
        qn_status status = qn_tokenizer_train(&o, next_text, &source, &t);
        test_fail_allocations_off();
        assert_true(status == QN_OK || status == QN_ERROR_MEMORY);
        qn_tokenizer_free(t);
        if (status == QN_OK) return;
    }
    fail_msg("learning four lines took more than 2000 allocations");
}

static const struct {
    qn_tokenizer_kind kind;
    bool byte_fallback;
    size_t vocab_size;
    const char *tokens[4]; // that must be learned
} kinds[] = {{QN_BPE, false, 300, {"re", "is"}},
             {QN_BPE, true, 330, {"re", "<0x41>"}},
             {QN_UNIGRAM, false, 60, {"\xe2\x96\x81", "\xc3\xa9", "s"}},
             {QN_WORDLEVEL, false, 40, {"are", "is", "roses", "cafe"}}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static qn_tokenizer_options options_of(size_t kind) {
    qn_tokenizer_options o = qn_tokenizer_defaults(kinds[kind].kind);
    o.byte_fallback = kinds[kind].byte_fallback;
    o.vocab_size = kinds[kind].vocab_size;
    o.min_frequency = 1;
    return o;
}

// Protects each kind: its tokens, their number, that texts come back, and that what is saved is what was learned.
static void test_kinds(void **state) {
    (void)state;
    const char *turned[] = {words[3], words[1], words[0], words[2]};
    for (size_t k = 0; k < KINDS; k++) {
        qn_tokenizer_options o = options_of(k);
        qn_tokenizer *t, *again;
        texts_source source = {words, 4, 0, 0}, other = {turned, 4, 0, 0};
        assert_ok(qn_tokenizer_train(&o, next_text, &source, &t));
        for (size_t i = 0; i < 4 && kinds[k].tokens[i]; i++) assert_true(qn_tokenizer_id(t, kinds[k].tokens[i]) > 0);
        assert_true(qn_tokenizer_size(t) <= o.vocab_size);
        assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_MASK), 4);
        const char *folder = test_folder(), *second = test_folder();
        assert_ok(qn_tokenizer_save(t, folder));
        assert_ok(qn_tokenizer_train(&o, next_text, &other, &again));
        assert_ok(qn_tokenizer_save(again, second));
        qn_tokenizer_free(again);
        char *a = test_read(test_path(folder, "tokenizer.json"), NULL);
        char *b = test_read(test_path(second, "tokenizer.json"), NULL), *decoded;
        assert_string_equal(a, b); // the order of the texts does not matter
        free(a);
        free(b);
        assert_ok(qn_tokenizer_load(folder, &again));
        qn_encoding e = QN_ENCODING_INIT;
        assert_ok(qn_tokenizer_encode(again, "violets are caf\xc3\xa9", 17, NULL, 0, NULL, &e));
        assert_int_equal(e.ids[0], qn_tokenizer_special(t, QN_TOKEN_CLS));
        assert_int_equal(e.ids[e.count - 1], qn_tokenizer_special(t, QN_TOKEN_SEP));
        assert_ok(qn_tokenizer_decode(t, e.ids, e.count, true, &decoded));
        assert_string_equal(decoded, kinds[k].kind == QN_WORDLEVEL ? "violets are cafe" : "violets are caf\xc3\xa9");
        free(decoded);
        qn_encoding_free(&e);
        qn_tokenizer_free(again);
        qn_tokenizer_free(t);
    }
}

// Protects every kind against a lack of memory, a source that fails, and too small a vocabulary.
static void test_kinds_failing(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        qn_tokenizer_options o = options_of(k);
        qn_tokenizer *t;
        texts_source source = {words, 4, 0, 3};
        assert_fails(qn_tokenizer_train(&o, next_text, &source, &t), QN_ERROR_IO, "no more disk");
        source = (texts_source){words, 4, 0, 0};
        o.vocab_size = 6;
        assert_fails(qn_tokenizer_train(&o, next_text, &source, &t), QN_ERROR_ARGUMENT, "vocabulary of 6 tokens");
        o = options_of(k);
        qn_status status = QN_ERROR_MEMORY;
        for (size_t allowed = 0; status != QN_OK; allowed += 1 + allowed / 8) {
            source.next = source.fail_at = 0;
            test_fail_allocations_after(allowed);
            status = qn_tokenizer_train(&o, next_text, &source, &t);
            test_fail_allocations_off();
            assert_true(status == QN_OK || status == QN_ERROR_MEMORY);
            qn_tokenizer_free(t);
        }
    }
}

// Protects the list of substrings: against counting each one in each word.
static void test_substrings(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t times;
    } texts[] = {{"banana", 2}, {"bandana", 1}, {"\xc3\xa9t\xc3\xa9", 3}, {"\xc3\xaat\xc3\xa9", 1}, {"aaaaaa", 1}};
    qn_word_counts counts = {0};
    size_t number;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_ok(qn_word_counts_add(&counts, texts[i].text, strlen(texts[i].text), texts[i].times, &number));
    qn_substrings found;
    assert_ok(qn_find_substrings(&counts, 4, &found));
    bool seen_an = false, seen_te = false;
    for (size_t i = 0; i < found.count; i++) {
        const qn_substring *s = &found.items[i];
        const char *text = counts.bytes + s->start;
        uint64_t expected = 0;
        for (size_t w = 0; w < counts.count; w++)
            for (size_t at = 0; at + s->size <= counts.words[w].size; at++)
                if (memcmp(counts.bytes + counts.words[w].start + at, text, s->size) == 0)
                    expected += counts.words[w].count;
        assert_int_equal(s->frequency, expected);
        assert_in_range(s->characters, 2, 4);
        seen_an |= s->size == 2 && memcmp(text, "an", 2) == 0;
        seen_te |= s->size == 3 && memcmp(text, "t\xc3\xa9", 3) == 0;
    }
    assert_true(seen_an && seen_te);
    free(found.items);
    qn_word_counts_free(&counts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_text),    cmocka_unit_test(test_order),      cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_translators),   cmocka_unit_test(test_failures),   cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_kinds_failing), cmocka_unit_test(test_substrings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
