// Tokenizers from files that are not tokenizer.json: vocab.json with merges.txt, and SentencePiece models.
#include "support.h"
#include "text/tokenizer.h"

static void check_ids(const qn_tokenizer *t, const char *text, const int32_t *ids, size_t count) {
    qn_encoding e = QN_ENCODING_INIT;
    assert_ok(qn_tokenizer_encode(t, text, strlen(text), NULL, 0, NULL, &e));
    assert_int_equal(e.count, count);
    assert_memory_equal(e.ids, ids, count * sizeof *ids);
    qn_encoding_free(&e);
}
#define CHECK_IDS(tokenizer, text, ...)                                                                                \
    check_ids(tokenizer, text, (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / 4)

static void check_decoded(const qn_tokenizer *t, const int32_t *ids, size_t count, const char *expected) {
    char *text;
    assert_ok(qn_tokenizer_decode(t, ids, count, true, &text));
    assert_string_equal(text, expected);
    free(text);
}

// Protects the two files of byte-level BPE, with and without RoBERTa's tokens, and saving them as one file.
static void test_merges(void **state) {
    (void)state;
    const char *folder = test_folder(), *copy = test_folder();
    test_write_text(test_path(folder, "merges.txt"), "#version: 0.2\na b\n\xc4\xa0 ab\r\n");
    test_write_text(test_path(folder, "vocab.json"), "{\"a\": 0, \"b\": 1, \"ab\": 2, \"\xc4\xa0\": 3, \"\xc4\xa0"
                                                     "ab\": 4, \"<s>\": 5, \"</s>\": 6, \"<mask>\": 7}");
    qn_tokenizer *t, *again;
    assert_ok(qn_tokenizer_load(folder, &t));
    CHECK_IDS(t, "ab ab ba <mask>", 5, 2, 4, 3, 1, 0, 7, 6);
    assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_MASK), 7);
    assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_CLS), 5);
    assert_ok(qn_tokenizer_save(t, copy));
    assert_ok(qn_tokenizer_load(copy, &again));
    CHECK_IDS(again, "ab ab ba <mask>", 5, 2, 4, 3, 1, 0, 7, 6);
    check_decoded(again, (const int32_t[]){5, 2, 4, 6}, 4, "ab ab");
    qn_tokenizer_free(t);
    qn_tokenizer_free(again);
    test_write_text(test_path(folder, "merges.txt"), "a b\nb\n");
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "merges.txt:2");
    test_write_text(test_path(folder, "vocab.json"), "[]");
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "vocab.json");
}

// --- SentencePiece --------------------------------------------------------------------------------------------------

typedef struct {
    uint8_t bytes[4096];
    size_t size;
} proto;

static void put_bytes(proto *p, uint8_t key, const void *data, size_t size) {
    p->bytes[p->size++] = key;
    p->bytes[p->size++] = (uint8_t)size;
    memcpy(p->bytes + p->size, data, size);
    p->size += size;
}

static void put_piece(proto *p, const char *text, float score, uint8_t type) {
    proto piece = {.size = 0};
    put_bytes(&piece, 1 << 3 | 2, text, strlen(text));
    piece.bytes[piece.size++] = 2 << 3 | 5;
    memcpy(piece.bytes + piece.size, &score, 4);
    piece.size += 4;
    piece.bytes[piece.size++] = 3 << 3;
    piece.bytes[piece.size++] = type;
    put_bytes(p, 1 << 3 | 2, piece.bytes, piece.size);
}

#define SIGN "\xe2\x96\x81"

static proto make_model(uint8_t type) {
    proto p = {.size = 0};
    put_piece(&p, "<unk>", 0, 2);
    put_piece(&p, "<s>", 0, 3);
    put_piece(&p, "</s>", 0, 3);
    put_piece(&p, SIGN "ab", -1, 1);
    put_piece(&p, "ab", -2, 1);
    put_piece(&p, SIGN, -3, 1);
    put_piece(&p, "a", -4, 1);
    put_piece(&p, "b", -5, 1);
    put_piece(&p, "<user>", 0, 4);
    put_bytes(&p, 2 << 3 | 2, (const uint8_t[]){3 << 3, type}, 2);
    return p;
}

// Protects both kinds of model: scores, the sign before the text, spaces that are taken out, unknown characters, added
// tokens, and decoding.
static void test_sentencepiece(void **state) {
    (void)state;
    for (uint8_t type = 1; type <= 2; type++) {
        const char *folder = test_folder();
        proto p = make_model(type);
        qn_tokenizer *t;
        test_write(test_path(folder, "spiece.model"), p.bytes, p.size);
        assert_ok(qn_tokenizer_load(folder, &t));
        CHECK_IDS(t, "ab  ab aab", 3, 3, 5, 6, 4);
        CHECK_IDS(t, " abxyz<user>", 3, 0, 8);
        check_decoded(t, (const int32_t[]){1, 3, 3, 5, 6, 4, 2}, 7, "ab ab aab");
        assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_UNK), 0);
        qn_tokenizer_free(t);
    }
}

// Protects Marian's two files: ids are the vocabulary's, and a piece that another language has put there is known, but
// no text is cut into it.
static void test_marian(void **state) {
    (void)state;
    for (uint8_t type = 1; type <= 2; type++) {
        const char *folder = test_folder();
        proto p = make_model(type);
        qn_tokenizer *t;
        test_write(test_path(folder, "source.spm"), p.bytes, p.size);
        test_write_text(test_path(folder, "vocab.json"),
                        "{\"</s>\": 0, \"<unk>\": 1, \"" SIGN "ab\": 2, \"ab\": 3, \"" SIGN
                        "\": 4, \"a\": 5, \"b\": 6, \">>de<<\": 7, \"aab\": 8, \"<pad>\": 9}");
        assert_ok(qn_tokenizer_load(folder, &t));
        CHECK_IDS(t, "ab  ab aab", 2, 2, 4, 5, 3, 0);
        CHECK_IDS(t, ">>de<< abxyz", 7, 2, 1, 0);
        check_decoded(t, (const int32_t[]){2, 4, 8, 5, 0}, 5, "ab aaba");
        assert_int_equal(qn_tokenizer_special(t, QN_TOKEN_PAD), 9);
        qn_tokenizer_free(t);
        test_write_text(test_path(folder, "vocab.json"), "{\"</s>\": 0, \"<unk>\": 2}");
        assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "\"<unk>\" has no id of its own");
        test_write_text(test_path(folder, "vocab.json"), "{\"a\": 0}");
        assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_FORMAT, "no token \"</s>\"");
    }
}

// Protects the reader: a model cut anywhere loads or is refused by name, and kinds that are not there are refused.
static void test_broken_sentencepiece(void **state) {
    (void)state;
    const char *folder = test_folder();
    proto p = make_model(2);
    qn_tokenizer *t;
    for (size_t size = 0; size < p.size; size++) {
        test_write(test_path(folder, "tokenizer.model"), p.bytes, size);
        qn_status status = qn_tokenizer_load(folder, &t);
        if (status == QN_OK)
            qn_tokenizer_free(t);
        else
            assert_non_null(strstr(qn_last_error(), "tokenizer.model"));
    }
    p = make_model(4);
    test_write(test_path(folder, "tokenizer.model"), p.bytes, p.size);
    assert_fails(qn_tokenizer_load(folder, &t), QN_ERROR_UNSUPPORTED, "type 4");
}

// All single bytes in base64 with their ranks, then `rest`.
static const char *tiktoken_text(const char *rest) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static char text[256 * 16];
    size_t at = 0;
    for (int byte = 0; byte < 256; byte++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%c%c== %d\n", digits[byte >> 2], digits[(byte & 3) << 4],
                               byte);
    snprintf(text + at, sizeof text - at, "%s", rest);
    return text;
}

// Protects tiktoken files: pattern and special tokens by name, merges in the order of ranks, and saving.
static void test_tiktoken(void **state) {
    (void)state;
    const char *folder = test_folder(), *copy = test_folder();
    const char *path = test_path(folder, "my.cl100k_base.tiktoken");
    test_write_text(path, tiktoken_text("YWI= 257\nYWJj 258\r\nYmM= 256\n")); // ab, abc, bc
    qn_tokenizer *t, *again;
    assert_ok(qn_tokenizer_load(path, &t));
    CHECK_IDS(t, "abc 1234ab<|endoftext|>", 258, 32, 49, 50, 51, 52, 257, 259);
    CHECK_IDS(t, "xabc\xc3\xa9", 120, 258, 0xC3, 0xA9); // bc comes first, and makes abc with a
    CHECK_IDS(t, "\n  ", 10, 32, 32);
    assert_ok(qn_tokenizer_save(t, copy));
    assert_ok(qn_tokenizer_load(copy, &again));
    CHECK_IDS(again, "abc 1234ab<|endofprompt|>", 258, 32, 49, 50, 51, 52, 257, 263);
    check_decoded(again, (const int32_t[]){258, 0xC3, 0xA9}, 3, "abc\xc3\xa9");
    qn_tokenizer_free(t);
    qn_tokenizer_free(again);
}

// Protects the message of each fault that a tiktoken file may have.
static void test_tiktoken_faults(void **state) {
    (void)state;
    static const struct {
        const char *name, *rest, *message;
    } faults[] = {
        {"mine.tiktoken", "", "does not say which pattern"},
        {"gpt2.tiktoken", "YWI=\n", "gpt2.tiktoken:257: not a tiktoken line"},
        {"gpt2.tiktoken", "Y-I= 256\n", "gpt2.tiktoken:257: not a tiktoken line"},
        {"gpt2.tiktoken", "YWI= 99999999999\n", "gpt2.tiktoken:257: not a tiktoken line"},
        {"gpt2.tiktoken", "YWI= 255\n", "two tokens have the rank 255"},
        {"gpt2.tiktoken", "YQ== 256\n", "a token stands there twice"},
    };
    const char *folder = test_folder();
    qn_tokenizer *t;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const char *path = test_path(folder, faults[i].name);
        test_write_text(path, tiktoken_text(faults[i].rest));
        assert_fails(qn_tokenizer_load(path, &t), QN_ERROR_FORMAT, faults[i].message);
    }
    const char *path = test_path(folder, "o200k_base.tiktoken");
    test_write_text(path, "YQ== 0\n");
    assert_fails(qn_tokenizer_load(path, &t), QN_ERROR_FORMAT, "the byte 0x00 has no rank");
    test_write_text(test_path(folder, "tokenizer_config.json"), "{\"tiktoken_encoding\": \"o200k_base\"}");
    path = test_path(folder, "mine.tiktoken");
    test_write_text(path, tiktoken_text(""));
    assert_ok(qn_tokenizer_load(path, &t));
    CHECK_IDS(t, "A", 65);
    qn_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_marian),
        cmocka_unit_test(test_broken_sentencepiece),
        cmocka_unit_test(test_tiktoken),
        cmocka_unit_test(test_tiktoken_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
