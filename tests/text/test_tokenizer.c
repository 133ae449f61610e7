// The tokenizer as users meet it: loading, limits, saving, bad files, memory.
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "support.h"
#include <pthread.h>

#define GOLDEN QN_SOURCE_DIR "/tests/golden/tokenizer/"

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nhello\n,\nworld\n!"
                                 "\ncafe\nCafe\ncaf\xc3\xa9\n\xe4\xb8\xad\n";

// A folder with a vocab.txt, and a tokenizer_config.json unless `config` is NULL.
static const char *write_folder(const char *config) {
    const char *folder = test_folder();
    test_write_text(test_path(folder, "vocab.txt"), vocabulary);
    if (config) test_write_text(test_path(folder, "tokenizer_config.json"), config);
    return folder;
}

static qn_tokenizer *load(const char *path) {
    qn_tokenizer *tokenizer;
    assert_ok(qn_tokenizer_load(path, &tokenizer));
    return tokenizer;
}

static void check_ids(const qn_tokenizer *tokenizer, const char *text, const qn_encode_options *options, size_t count,
                      const int32_t *ids) {
    qn_encoding e = QN_ENCODING_INIT;
    assert_ok(qn_tokenizer_encode(tokenizer, text, strlen(text), NULL, 0, options, &e));
    assert_int_equal(e.count, count);
    assert_memory_equal(e.ids, ids, count * sizeof *ids);
    qn_encoding_free(&e);
}
#define CHECK_IDS(tokenizer, text, options, ...)                                                                       \
    check_ids(tokenizer, text, options, sizeof((int32_t[]){__VA_ARGS__}) / 4, (const int32_t[]){__VA_ARGS__})

// Protects the defaults of a bare vocab.txt: lower case, no accents, BERT's template and names of special tokens.
static void test_vocabulary_file(void **state) {
    (void)state;
    const char *folder = write_folder(NULL);
    qn_tokenizer *t = load(folder);
    CHECK_IDS(t, "Unaffable, Caf\xc3\xa9 \xe4\xb8\xad\xe4\xb8\xad zzz!", NULL, 2, 5, 6, 7, 9, 12, 15, 15, 1, 11, 3);
    CHECK_IDS(t, "", NULL, 2, 3);
    assert_int_equal(qn_tokenizer_size(t), 16);
    assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_PAD), 0);
    assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_MASK), 4);
    assert_int_equal(qn_tokenizer_id(t, "##able"), 7);
    assert_int_equal(qn_tokenizer_id(t, "nothing"), -1);
    assert_string_equal(qn_tokenizer_token(t, 8), "hello");
    assert_null(qn_tokenizer_token(t, 16));
    assert_null(qn_tokenizer_token(t, -1));
    assert_true(qn_tokenizer_continues(t, 6) && !qn_tokenizer_continues(t, 5));
    assert_true(qn_tokenizer_is_special(t, 2) && !qn_tokenizer_is_special(t, 8));
    assert_int_equal(qn_tokenizer_max_length(t), 0);
    qn_tokenizer_free(t);
    t = load(test_path(folder, "vocab.txt"));
    CHECK_IDS(t, "hello", NULL, 2, 8, 3);
    qn_tokenizer_free(t);
}

// Protects what tokenizer_config.json changes, and the number that stands for "no limit".
static void test_configuration(void **state) {
    (void)state;
    qn_tokenizer *t = load(write_folder("{\"do_lower_case\": false, \"model_max_length\": 128, \"mask_token\": null,"
                                        " \"cls_token\": {\"content\": \"hello\"}}"));
    CHECK_IDS(t, "Caf\xc3\xa9 Cafe caf\xc3\xa9", NULL, 8, 1, 13, 14, 3);
    assert_int_equal(qn_tokenizer_max_length(t), 128);
    assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_CLS), 8);
    assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_MASK), -1);
    qn_tokenizer_free(t);
    t = load(write_folder("{\"model_max_length\": 1000000000000000019884624838656}"));
    assert_int_equal(qn_tokenizer_max_length(t), 0);
    qn_tokenizer_free(t);
}

// Protects that a second text has type 1 only where the configuration gives the model types, read and written.
static void test_types(void **state) {
    (void)state;
    static const char *const configs[] = {NULL, "{\"model_input_names\": [\"input_ids\", \"attention_mask\"]}",
                                          "{\"model_input_names\": [\"input_ids\", \"token_type_ids\"]}"};
    for (int i = 0; i < 3; i++) {
        qn_tokenizer *t = load(write_folder(configs[i]));
        qn_encoding e = QN_ENCODING_INIT;
        assert_ok(qn_tokenizer_encode(t, "hello", 5, "world !", 7, NULL, &e));
        assert_int_equal(e.count, 6);
        for (int k = 0; k < 6; k++) assert_int_equal(e.types[k], i != 1 && k > 2);
        qn_encoding_free(&e);
        qn_tokenizer_free(t);
    }
}

// Protects decoding: spaces, pieces, punctuation, special tokens, ids that are no tokens.
static void test_decode(void **state) {
    (void)state;
    qn_tokenizer *t = load(write_folder(NULL));
    const int32_t ids[] = {2, 5, 6, 7, 9, 8, 11, 99, -5, 3};
    char *text;
    assert_ok(qn_tokenizer_decode(t, ids, 10, true, &text));
    assert_string_equal(text, "unaffable, hello!");
    free(text);
    assert_ok(qn_tokenizer_decode(t, ids, 10, false, &text));
    assert_string_equal(text, "[CLS] unaffable, hello! [SEP]");
    free(text);
    assert_ok(qn_tokenizer_decode(t, NULL, 0, false, &text));
    assert_string_equal(text, "");
    free(text);
    qn_tokenizer_free(t);
}

// Protects the limits: what is cut, what is refused, and what is reported.
static void test_limits(void **state) {
    (void)state;
    qn_tokenizer *t = load(write_folder(NULL));
    qn_encoding e = QN_ENCODING_INIT;
    qn_encode_options o = qn_encode_defaults();
    o.max_length = 4;
    assert_ok(qn_tokenizer_encode(t, "hello world!", 12, NULL, 0, &o, &e));
    assert_int_equal(e.count, 4);
    assert_int_equal(e.total, 5);
    assert_true(e.truncated);
    o.max_length = 5;
    assert_ok(qn_tokenizer_encode(t, "hello world!", 12, NULL, 0, &o, &e));
    assert_false(e.truncated);
    o.max_length = 2;
    assert_ok(qn_tokenizer_encode(t, "hello", 5, "world", 5, &(qn_encode_options){.max_length = 2}, &e));
    assert_int_equal(e.count, 2);
    CHECK_IDS(t, "hello world", &o, 2, 3);
    o.max_length = 1;
    assert_fails(qn_tokenizer_encode(t, "hello", 5, NULL, 0, &o, &e), QN_ERROR_ARGUMENT, "no room for the 2 special");
    o = (qn_encode_options){.max_length = 4, .truncation = QN_TRUNCATE_NOT, .add_special_tokens = true};
    assert_fails(qn_tokenizer_encode(t, "hello world!", 12, NULL, 0, &o, &e), QN_ERROR_ARGUMENT, "must not be cut");
    assert_int_equal(e.count, 0);
    o.truncation = QN_TRUNCATE_ONLY_SECOND;
    assert_fails(qn_tokenizer_encode(t, "hello world!", 12, NULL, 0, &o, &e), QN_ERROR_ARGUMENT, "there is none");
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
}

// Protects words that never end: megabytes without a space, in one and in several bytes a character, and endless runs
// of marks.
static void test_huge_words(void **state) {
    (void)state;
    enum { SIZE = 4000000 };
    static const char *const parts[] = {"a", "\xc3\xa9", "\xcc\x81", "\xe3\x80\xae\xcc\x81", "\xff", "\xe4\xb8\xad",
                                        "#", "[",        "[SEP"};
    qn_tokenizer *t = load(GOLDEN "cased");
    qn_encoding e = QN_ENCODING_INIT;
    char *text = malloc(SIZE);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t length = strlen(parts[i]), size = SIZE / length * length;
        for (size_t j = 0; j < size; j++) text[j] = parts[i][j % length];
        assert_ok(qn_tokenizer_encode(t, text, size, NULL, 0, NULL, &e));
        for (size_t j = 1; j + 1 < e.count; j++)
            assert_true(e.starts[j] >= 0 && e.starts[j] < e.ends[j] && e.ends[j] <= (int32_t)size);
    }
    free(text);
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
}

// Protects the bounds on hostile text for each kind: megabytes without a space, and a regular expression that explodes.
static void test_huge_words_of_all_kinds(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    static const char *const kinds[] = {"gpt2", "llama3", "llama2", "suffix", "unigram", "precompiled", "wordpiece"};
    static const char *const parts[] = {"a", "the", "\xcc\x81", "\xe2\x96\x81", " ", "\xff", "1", "'s"};
    qn_encoding e = QN_ENCODING_INIT;
    char *text = malloc(SIZE);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        char path[4096];
        snprintf(path, sizeof path, GOLDEN "%s", kinds[k]);
        qn_tokenizer *t = load(path);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            size_t length = strlen(parts[i]), size = SIZE / length * length;
            for (size_t j = 0; j < size; j++) text[j] = parts[i][j % length];
            assert_ok(qn_tokenizer_encode(t, text, size, NULL, 0, NULL, &e));
            for (size_t j = 1; j < e.count; j++) assert_true(e.starts[j] <= e.ends[j] && e.ends[j] <= (int32_t)size);
        }
        qn_tokenizer_free(t);
    }
    const char *folder = test_folder();
    test_write_text(
        test_path(folder, "tokenizer.json"),
        "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"u\", \"vocab\": {\"u\": 0}}, "
        "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a*)*b\"}, \"behavior\": \"Isolated\"}}");
    qn_tokenizer *t = load(folder);
    memset(text, 'a', SIZE);
    qn_status status = qn_tokenizer_encode(t, text, 64, NULL, 0, NULL, &e);
    assert_true(status == QN_OK || status == QN_ERROR_UNSUPPORTED);
    free(text);
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
}

// Protects the composition of Hangul: a syllable takes a final letter, but not the code point before the first of them.
static void test_compose(void **state) {
    (void)state;
    assert_int_equal(qn_unicode_compose(0x1110, 0x1162), 0xD0DC);
    assert_int_equal(qn_unicode_compose(0xD0DC, 0x11A7), 0);
    assert_int_equal(qn_unicode_compose(0xD0DC, 0x11A8), 0xD0DD);
    assert_int_equal(qn_unicode_compose('e', 0x301), 0xE9);
}

static char *same_file(const char *left, const char *right) {
    size_t left_size, right_size;
    char *a = test_read(left, &left_size), *b = test_read(right, &right_size);
    assert_int_equal(left_size, right_size);
    assert_memory_equal(a, b, left_size);
    free(a);
    return b;
}

// Protects saving: what was loaded is written byte for byte, and what is made anew loads into an equal tokenizer.
static void test_save(void **state) {
    (void)state;
    const char *first = test_folder(), *second = test_folder(), *text = "Unaffable [MASK], Caf\xc3\xa9 zz!";
    qn_tokenizer *t = load(GOLDEN "cased");
    assert_ok(qn_tokenizer_save(t, first));
    free(same_file(GOLDEN "cased/tokenizer.json", test_path(first, "tokenizer.json")));
    qn_tokenizer_free(t);

    t = load(write_folder("{\"strip_accents\": false, \"model_max_length\": 77}"));
    const char *names[] = {"vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"};
    assert_ok(qn_tokenizer_save(t, test_path(second, "new/folder")));
    qn_tokenizer *again = load(test_path(second, "new/folder"));
    assert_int_equal(qn_tokenizer_max_length(again), 77);
    CHECK_IDS(t, text, NULL, 2, 5, 6, 7, 4, 9, 14, 1, 11, 3);
    CHECK_IDS(again, text, NULL, 2, 5, 6, 7, 4, 9, 14, 1, 11, 3);
    assert_ok(qn_tokenizer_save(again, first));
    for (size_t i = 0; i < 4; i++) {
        char path[256];
        snprintf(path, sizeof path, "new/folder/%s", names[i]);
        free(same_file(test_path(second, path), test_path(first, names[i])));
    }
    qn_tokenizer_free(t);
    qn_tokenizer_free(again);
    t = load(GOLDEN "uncased");
    test_write_text(test_path(second, "file"), "");
    assert_fails(qn_tokenizer_save(t, test_path(second, "file")), QN_ERROR_IO, "file");
    qn_tokenizer_free(t);
}

// Protects against files that are not what they should be: one clear line, no crash.
static void test_bad_files(void **state) {
    (void)state;
#define MODEL                                                                                                          \
    "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"model\": {\"type\": \"WordPiece\", \"vocab\": "            \
    "{\"[UNK]\": 0, \"a\": 1}}"
    static const struct {
        const char *text;
        qn_status status;
        const char *error;
    } files[] = {
        {"", QN_ERROR_FORMAT, "tokenizer.json:1"},
        {"[]", QN_ERROR_FORMAT, "not a JSON object"},
        {"{}", QN_ERROR_FORMAT, "model"},
        {"{\"model\": {\"type\": \"Other\", \"vocab\": {}}}", QN_ERROR_UNSUPPORTED, "\"Other\""},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}", QN_ERROR_FORMAT, "empty"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}", QN_ERROR_FORMAT, "merges"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}}", QN_ERROR_FORMAT, "merge 0"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [3]}}", QN_ERROR_FORMAT, "merge 0"},
        {"{\"model\": {\"type\": \"BPE\", \"dropout\": 0.1, \"vocab\": {\"a\": 0}, \"merges\": []}}",
         QN_ERROR_UNSUPPORTED, "dropout"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 1], [\"b\"]]}}", QN_ERROR_FORMAT, "\"vocab\"[1]"},
        {"{\"model\": {\"type\": \"Unigram\", \"unk_id\": 1, \"vocab\": [[\"a\", 1]]}}", QN_ERROR_FORMAT, "unk_id"},
        {"{" MODEL ", \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(\"}, \"content\": \"\"}}",
         QN_ERROR_FORMAT, "regular expression"},
        {"{" MODEL ", \"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}}",
         QN_ERROR_FORMAT, "precompiled map"},
        {"{\"model\": {\"vocab\": {}}}", QN_ERROR_FORMAT, "empty"},
        {"{\"model\": {\"vocab\": {\"a\": 4000000000}}}", QN_ERROR_FORMAT, "out of range"},
        {"{\"model\": {\"vocab\": {\"a\": -1}}}", QN_ERROR_FORMAT, "out of range"},
        {"{\"model\": {\"vocab\": {\"a\": \"b\"}}}", QN_ERROR_FORMAT, "not a whole number"},
        {"{\"pre_tokenizer\": {\"type\": \"Other\"}, \"model\": {\"vocab\": {\"a\": 0}}}", QN_ERROR_UNSUPPORTED,
         "pre_tokenizer"},
        {"{\"model\": {\"vocab\": {\"a\": 0}, \"max_input_chars_per_word\": -1}}", QN_ERROR_FORMAT, "max_input"},
        {"{" MODEL ", \"normalizer\": {\"type\": \"Other\"}}", QN_ERROR_UNSUPPORTED, "normalizer"},
        {"{" MODEL ", \"added_tokens\": [{\"id\": 1}]}", QN_ERROR_FORMAT, "content"},
        {"{" MODEL ", \"added_tokens\": [{\"id\": 99999999999, \"content\": \"x\"}]}", QN_ERROR_FORMAT, "id"},
        {"{" MODEL ", \"added_tokens\": [3]}", QN_ERROR_FORMAT, "added_tokens"},
        {"{" MODEL ", \"decoder\": {\"type\": \"Other\"}}", QN_ERROR_UNSUPPORTED, "decoder"},
        {"{" MODEL ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [], \"pair\": []}}",
         QN_ERROR_UNSUPPORTED, "template"},
        {"{" MODEL
         ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}]}}",
         QN_ERROR_FORMAT, "\"x\""},
        {"{" MODEL ", \"post_processor\": {\"type\": \"BertProcessing\", \"sep\": [\"a\", 77], \"cls\": [\"b\", 1]}}",
         QN_ERROR_FORMAT, "77"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *folder = test_folder();
        qn_tokenizer *t;
        test_write_text(test_path(folder, "tokenizer.json"), files[i].text);
        assert_fails(qn_tokenizer_load(folder, &t), files[i].status, files[i].error);
        assert_null(t);
    }
    const char *folder = test_folder();
    qn_tokenizer *t;
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_IO, "expected tokenizer.json or vocab.txt");
    assert_fails(qn_tokenizer_load(test_path(folder, "missing"), &t), QN_ERROR_IO, "missing");
    test_write(test_path(folder, "vocab.txt"), "a\nb\xff\n", 5);
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "vocab.txt:2: not UTF-8");
    test_write(test_path(folder, "vocab.txt"), "", 0);
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "empty");
    test_write_text(test_path(folder, "vocab.txt"), "a\nb\n");
    t = load(folder);
    qn_encoding e = QN_ENCODING_INIT;
    assert_ok(qn_tokenizer_encode(t, "b a", 3, NULL, 0, NULL, &e));
    assert_int_equal(e.count, 2);
    assert_fails(qn_tokenizer_encode(t, "c", 1, NULL, 0, NULL, &e), QN_ERROR_FORMAT, "no token for unknown words");
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
    test_write_text(test_path(folder, "tokenizer_config.json"), "{\"do_lower_case\": 3}");
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "do_lower_case");
}

// Protects the vocabulary's own scanner: escapes, white space and order, and what it leaves to the JSON parser.
static void test_json_forms(void **state) {
    (void)state;
    static const struct {
        const char *vocabulary, *error; // NULL: "a\"" has id 3 and U+1F600 has id 1
    } forms[] = {
        {"{\"[UNK]\":0,\"a\\\"\":3,\"\\ud83d\\uDE00\":1,\"\":2}", NULL},
        {" {\n\t\"[UNK]\" : 0 , \"\\u0061\\u0022\" :\r3,\n\"\xf0\x9f\x98\x80\": 1 } ", NULL},
        {"{\"[UNK]\": 0, \"a\": 1, \"a\": 2}", "twice"},
        {"{\"[UNK]\": 0, \"a\": 1, \"b\": 1}", "two tokens have the id 1"},
        {"{\"[UNK]\": 0, \"a\": 1.5}", "whole number"},
        {"{\"[UNK]\": 0, \"a\": 01}", "expected JSON"},
        {"{\"[UNK]\": 0, \"\\ud83d\": 1}", "expected JSON"},
        {"{\"[UNK]\": 0, \"\xff\": 1}", "expected JSON"},
        {"{\"[UNK]\": 0,}", "expected JSON"},
        {"{\"[UNK]\": 0, \"a", "expected JSON"},
        {"{\"[UNK]\": 9999999}", "out of range"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const char *folder = test_folder();
        char text[1024];
        snprintf(text, sizeof text,
                 "{\"x\": [{\"vocab\": 1}, \"}\"], \"model\": {\"unk_token\": \"[UNK]\", \"vocab\": %s}, "
                 "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}}",
                 forms[i].vocabulary);
        test_write_text(test_path(folder, "tokenizer.json"), text);
        qn_tokenizer *t;
        if (forms[i].error) {
            assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, forms[i].error);
            continue;
        }
        t = load(folder);
        assert_int_equal(qn_tokenizer_id(t, "a\""), 3);
        assert_int_equal(qn_tokenizer_id(t, "\xf0\x9f\x98\x80"), 1);
        qn_tokenizer_free(t);
    }
}

// Protects the steady state: encoding again what was encoded before takes nothing from the heap.
static void test_steady_state_allocates_nothing(void **state) {
    (void)state;
    static const char *const texts[] = {"unaffable hello caf\xc3\xa9 \xed\x95\x9c\xea\xb5\xad", "The first [MASK] one",
                                        "\xf0\x9f\x98\x80 \xe3\x80\xae\xcc\x81"};
    qn_tokenizer *t = load(GOLDEN "cased");
    qn_encoding e = QN_ENCODING_INIT;
    size_t before = 0;
    for (int round = 0; round < 3; round++) {
        if (round == 1) before = test_allocations();
        for (size_t i = 0; i < 3; i++)
            assert_ok(qn_tokenizer_encode(t, texts[i], strlen(texts[i]), texts[0], strlen(texts[0]), NULL, &e));
    }
    assert_int_equal(test_allocations(), before);
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
}

// Protects against running out of memory at any moment: an error, no leak (the sanitizers look), no crash.
static void test_no_memory(void **state) {
    (void)state;
    const char *folder = write_folder("{\"model_max_length\": 77}"),
               *text = "un\xc3\xa9 \xe3\x80\xae\xcc\x81 hello [SEP]";
    for (size_t allowed = 0; allowed < 400; allowed++) {
        qn_tokenizer *t = NULL;
        qn_encoding e = QN_ENCODING_INIT;
        test_fail_allocations_after(allowed);
        qn_status status = qn_tokenizer_load(folder, &t);
        if (status == QN_OK) status = qn_tokenizer_encode(t, text, strlen(text), text, strlen(text), NULL, &e);
        test_fail_allocations_off();
        assert_true(status == QN_OK || status == QN_ERROR_MEMORY);
        qn_encoding_free(&e);
        qn_tokenizer_free(t);
        if (status == QN_OK) return;
    }
    fail_msg("loading and encoding took more than 400 allocations");
}

static void *encode_many(void *user) {
    const qn_tokenizer *t = user;
    qn_encoding e = QN_ENCODING_INIT;
    intptr_t sum = 0;
    for (int i = 0; i < 200; i++) {
        if (qn_tokenizer_encode(t, "The caf\xc3\xa9 [SEP] first", 22, NULL, 0, NULL, &e) != QN_OK) sum = -1;
        for (size_t j = 0; j < e.count; j++) sum += e.ids[j];
    }
    qn_encoding_free(&e);
    return (void *)sum;
}

// A tokenizer of single bytes that splits by an expression.
static qn_tokenizer *splitter(const char *before, const char *expression, const char *after) {
    const char *path = test_path(test_folder(), "tokenizer.json");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(
        file,
        "{\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"unk_token\": \"u\", \"merges\": [], \"vocab\": {");
    for (int byte = 0; byte < 256; byte++) fprintf(file, "\"<0x%02X>\": %d, ", byte, byte);
    fprintf(file,
            "\"u\": 256}}, \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"%s%s%s\"}, "
            "\"behavior\": \"Isolated\"}}",
            before, expression, after);
    fclose(file);
    return load(path);
}

// Protects the matching of well-known patterns: as PCRE2 does it, on random texts of what the patterns tell apart.
static void test_known_patterns(void **state) {
    (void)state;
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}"
#define SIGNS "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
#define SPACES "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
    static const char *const patterns[] = {WORDS "{1,3}" SIGNS SPACES, WORDS SIGNS SPACES,
                                           WORDS "{1,3}" SIGNS "\\\\s+\\\\z|" SPACES};
    static const char *const parts[] = {"'",
                                        "s",
                                        "S",
                                        "\xC5\xBF",
                                        "re",
                                        "vE",
                                        "l",
                                        "L",
                                        "D",
                                        "\xC3\xA9",
                                        "\xE4\xB8\xAD",
                                        "1",
                                        "23",
                                        "\xC2\xBD",
                                        " ",
                                        " ",
                                        "\t",
                                        "\n",
                                        "\r",
                                        "\xC2\xA0",
                                        "\xE3\x80\x80",
                                        ".",
                                        "!?",
                                        "\xCC\x81",
                                        "\xF0\x9F\x98\x80",
                                        "\xF0\x9D\x94\xB8",
                                        "\xC2\x85",
                                        "\x0B"};
    for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
        qn_tokenizer *fast = splitter("", patterns[p], ""), *slow = splitter("(?:", patterns[p], ")");
        qn_encoding a = QN_ENCODING_INIT, b = QN_ENCODING_INIT;
        uint32_t random = 1;
        for (int i = 0; i < 20000; i++) {
            char text[256] = "";
            for (int j = 0; j < 1 + i % 24; j++) {
                random = random * 1664525 + 1013904223;
                strcat(text, parts[(random >> 16) % (sizeof parts / sizeof parts[0])]);
            }
            assert_ok(qn_tokenizer_encode(fast, text, strlen(text), NULL, 0, NULL, &a));
            assert_ok(qn_tokenizer_encode(slow, text, strlen(text), NULL, 0, NULL, &b));
            assert_int_equal(a.count, b.count);
            assert_memory_equal(a.words, b.words, a.count * sizeof *a.words);
        }
        qn_encoding_free(&a);
        qn_encoding_free(&b);
        qn_tokenizer_free(fast);
        qn_tokenizer_free(slow);
    }
}

// Protects the promise that threads may share a tokenizer (the thread sanitizer looks).
static void test_threads(void **state) {
    (void)state;
    qn_tokenizer *t = load(GOLDEN "cased");
    pthread_t threads[2];
    void *sums[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_many, t), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], &sums[i]);
    assert_ptr_equal(sums[0], sums[1]);
    assert_true((intptr_t)sums[0] > 0);
    qn_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary_file),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_huge_words),
        cmocka_unit_test(test_huge_words_of_all_kinds),
        cmocka_unit_test(test_compose),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_json_forms),
        cmocka_unit_test(test_steady_state_allocates_nothing),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_known_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
