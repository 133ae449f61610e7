// Ids, types, words, offsets and decoded text against Hugging Face tokenizers; tests/golden/tokenizer holds what the
// reference gave (scripts/parity/tokenizer.py --golden wrote it).
#include "base/json.h"
#include "support.h"
#include "text/bert.h"
#include "text/tokenizer.h"

#define GOLDEN QN_SOURCE_DIR "/tests/golden/tokenizer/"

static size_t unhex(const char *hex, char *out) {
    size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        sscanf(hex + 2 * i, "%2x", &byte);
        out[i] = (char)byte;
    }
    return size;
}

static void check_row(const json_t *item, const char *key, const int32_t *row, size_t count, size_t line) {
    const json_t *list = json_object_get(item, key);
    if (json_array_size(list) != count)
        fail_msg("case %zu: %zu %s (expected %zu)", line, count, key, json_array_size(list));
    for (size_t i = 0; i < count; i++)
        if (json_integer_value(json_array_get(list, i)) != row[i])
            fail_msg("case %zu: %s[%zu] is %d (expected %d)", line, key, i, (int)row[i],
                     (int)json_integer_value(json_array_get(list, i)));
}

static void check_ranges(const json_t *item, const char *key, const int32_t *starts, const int32_t *ends, size_t count,
                         size_t line) {
    const json_t *list = json_object_get(item, key);
    assert_int_equal(json_array_size(list), count);
    for (size_t i = 0; i < count; i++) {
        const json_t *range = json_array_get(list, i);
        int start = (int)json_integer_value(json_array_get(range, 0)),
            end = (int)json_integer_value(json_array_get(range, 1));
        if (start != starts[i] || end != ends[i])
            fail_msg("case %zu: %s[%zu] is %d to %d (expected %d to %d)", line, key, i, (int)starts[i], (int)ends[i],
                     start, end);
    }
}

static void check_decoded(const qn_tokenizer *tokenizer, const json_t *item, const char *key, bool skip,
                          const qn_encoding *e) {
    char *text;
    assert_ok(qn_tokenizer_decode(tokenizer, e->ids, e->count, skip, &text));
    assert_string_equal(text, json_string_value(json_object_get(item, key)));
    free(text);
}

static void check_case(const qn_tokenizer *tokenizer, const json_t *item, qn_encoding *e, size_t line) {
    static char text[1 << 16], pair[1 << 16];
    const char *pair_hex = json_string_value(json_object_get(item, "pair"));
    const char *strategy = json_string_value(json_object_get(item, "truncation"));
    size_t size = unhex(json_string_value(json_object_get(item, "text")), text);
    size_t pair_size = pair_hex ? unhex(pair_hex, pair) : 0;
    qn_encode_options options = qn_encode_defaults();
    options.max_length = (size_t)json_integer_value(json_object_get(item, "max_length"));
    options.truncate_left = json_is_true(json_object_get(item, "left"));
    if (strategy && strcmp(strategy, "only_first") == 0) options.truncation = QN_TRUNCATE_ONLY_FIRST;
    if (strategy && strcmp(strategy, "only_second") == 0) options.truncation = QN_TRUNCATE_ONLY_SECOND;
    qn_status status = qn_tokenizer_encode(tokenizer, text, size, pair_hex ? pair : NULL, pair_size, &options, e);
    if (json_is_true(json_object_get(item, "fails"))) {
        assert_int_equal(status, QN_ERROR_ARGUMENT);
        return;
    }
    assert_int_equal(status, QN_OK);
    check_row(item, "ids", e->ids, e->count, line);
    check_row(item, "types", e->types, e->count, line);
    check_row(item, "words", e->words, e->count, line);
    check_row(item, "sequences", e->sequences, e->count, line);
    check_ranges(item, "offsets", e->char_starts, e->char_ends, e->count, line);
    check_ranges(item, "bytes", e->starts, e->ends, e->count, line);
    check_decoded(tokenizer, item, "decoded", true, e);
    check_decoded(tokenizer, item, "decoded_all", false, e);
}

static void check_folder(const char *folder, size_t least) {
    char path[4096];
    qn_tokenizer *tokenizer;
    assert_ok(qn_tokenizer_load(folder, &tokenizer));
    snprintf(path, sizeof path, "%s/cases.jsonl", folder);
    size_t size, line = 0;
    char *text = test_read(path, &size);
    qn_encoding e = QN_ENCODING_INIT;
    for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *item;
        assert_ok(qn_json_parse(at, (size_t)(end - at), path, &item));
        check_case(tokenizer, item, &e, ++line);
        json_decref(item);
    }
    assert_in_range(line, least, 1000);
    free(text);
    qn_encoding_free(&e);
    qn_tokenizer_free(tokenizer);
}

// Protects equality with the reference on texts in many scripts, pairs, cuts and broken UTF-8.
static void test_uncased(void **state) {
    (void)state;
    check_folder(GOLDEN "uncased", 150);
}

// The same for a cased vocabulary with added tokens of every kind.
static void test_cased_with_added_tokens(void **state) {
    (void)state;
    check_folder(GOLDEN "cased", 150);
}

// The same for pipelines that are not BERT's (scripts/parity/tokenizer_kinds.py --golden wrote them).
static void test_kinds(void **state) {
    (void)state;
    static const char *const kinds[] = {"gpt2",        "roberta",   "llama3",   "qwen2",  "llama2",
                                        "metaspace",   "unfused",   "suffix",   "prefix", "unigram",
                                        "precompiled", "wordlevel", "wordpiece"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char path[4096];
        snprintf(path, sizeof path, GOLDEN "%s", kinds[i]);
        check_folder(path, 50);
    }
}

static uint64_t hash_more(uint64_t hash, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)text[i]) * 0x100000001B3u;
    return (hash ^ '\n') * 0x100000001B3u;
}

static size_t put_utf8(char *out, uint32_t code) {
    size_t n = 0;
    if (code < 0x80) {
        out[n++] = (char)code;
    } else if (code < 0x800) {
        out[n++] = (char)(0xC0 | code >> 6);
    } else {
        out[n++] = (char)(code < 0x10000 ? 0xE0 | code >> 12 : 0xF0 | code >> 18);
        if (code >= 0x10000) out[n++] = (char)(0x80 | (code >> 12 & 0x3F));
        out[n++] = (char)(0x80 | (code >> 6 & 0x3F));
    }
    if (code >= 0x80) out[n++] = (char)(0x80 | (code & 0x3F));
    return n;
}

// Protects the normaliser and the pre-tokenizer on every code point, alone and before marks, under all sixteen
// settings.
static void test_every_code_point(void **state) {
    (void)state;
    FILE *file = fopen(GOLDEN "unicode.txt", "r");
    assert_non_null(file);
    char flags[8], last[8] = "";
    unsigned plane;
    unsigned long long expected;
    qn_bert *bert = NULL;
    qn_words words = {0};
    qn_buffer out = {0};
    qn_align *aligns = NULL;
    size_t capacity = 0;
    while (fscanf(file, "%7s %u %llx", flags, &plane, &expected) == 3) {
        if (strcmp(flags, last) != 0) {
            qn_bert_options options = {flags[0] == '1', flags[1] == '1', flags[2] == '1', flags[3] == '1'};
            qn_bert_free(bert);
            assert_ok(qn_bert_create(&options, &bert));
            strcpy(last, flags);
        }
        uint64_t hash = 0xCBF29CE484222325u;
        for (uint32_t code = plane << 16; code < (plane + 1) << 16; code++) {
            if (code >= 0xD800 && code < 0xE000) continue;
            char text[32] = "a";
            size_t size = 1;
            size += put_utf8(text + size, code);
            text[size++] = 'b';
            size += put_utf8(text + size, 0x316);
            size += put_utf8(text + size, code);
            size += put_utf8(text + size, 0x301);
            qn_buffer_clear(&out);
            assert_ok(qn_bert_normalize(&words, bert, text, 0, size, 0, &out, &aligns, &capacity));
            hash = hash_more(hash, out.data, out.size);
            qn_words_begin(&words, bert, text, 0, size, 0, 100);
            qn_word word;
            while (qn_words_next(&words, &word)) hash = hash_more(hash, word.text, word.size);
        }
        if (hash != expected) fail_msg("settings %s, plane %u: another hash than the reference's", flags, plane);
    }
    fclose(file);
    qn_bert_free(bert);
    qn_words_free(&words);
    qn_buffer_free(&out);
    free(aligns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uncased),
        cmocka_unit_test(test_cased_with_added_tokens),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_every_code_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
