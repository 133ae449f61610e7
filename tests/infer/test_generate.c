// Text from a decoder: the tokens are those of forward passes without a cache, whatever stands beside a prompt; pieces
// make up the whole text; stop strings, limits and wrong prompts end as they should. On tiny Llama and GPT-2 of random
// weights.
#include "infer/model.h"
#include "support.h"
#include <string.h>

static const char *const golden[] = {"families/llama-causal", "families/llama-wide-causal", "families/gpt2-causal"};

// The golden weights, and a vocabulary of letters beside [PAD], [UNK], [CLS], [SEP] and [MASK].
static const char *make_folder(const char *name) {
    char from[512];
    const char *folder = test_folder(), *files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        size_t size;
        snprintf(from, sizeof from, "%s/tests/golden/%s/%s", QN_SOURCE_DIR, name, files[i]);
        char *bytes = test_read(from, &size);
        test_write(test_path(folder, files[i]), bytes, size);
        free(bytes);
    }
    qn_buffer words = {0};
    qn_buffer_text(&words, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 0; i < 38; i++) qn_buffer_printf(&words, "%s%c\n", i < 26 ? "" : "##", 'a' + i % 26);
    test_write(test_path(folder, "vocab.txt"), words.data, words.size);
    qn_buffer_free(&words);
    return folder;
}

typedef struct {
    qn_buffer pieces[8];
    char *whole[8];
    const char *end[8];
    size_t new_tokens[8];
} texts;

static qn_status receive(void *user, const qn_generated *g) {
    texts *t = user;
    if (!g->end) {
        qn_buffer_append(&t->pieces[g->index], g->text, g->size);
        return QN_OK;
    }
    t->whole[g->index] = strndup(g->text, g->size);
    t->end[g->index] = g->end;
    t->new_tokens[g->index] = g->new_tokens;
    const char *pieces = t->pieces[g->index].data;
    assert_string_equal(pieces ? pieces : "", t->whole[g->index]);
    return QN_OK;
}

static void drop(texts *t) {
    for (int i = 0; i < 8; i++) {
        qn_buffer_free(&t->pieces[i]);
        free(t->whole[i]);
    }
    *t = (texts){0};
}

static qn_text text_of(const char *text) {
    return (qn_text){.text = text, .size = strlen(text)};
}

// Greedy, each token by a forward pass over all that is there.
static char *without_cache(qn_model *m, const char *prompt, size_t most) {
    qn_encoding e = QN_ENCODING_INIT;
    assert_ok(qn_tokenizer_encode(m->tokenizer, prompt, strlen(prompt), NULL, 0, NULL, &e));
    int32_t ids[64], types[64] = {0}, positions[64], length = (int32_t)e.count - 1; // without [SEP]
    memcpy(ids, e.ids, (size_t)length * sizeof *ids);
    qn_encoding_free(&e);
    int32_t first = length;
    json_int_t end = json_integer_value(json_object_get(m->network->config.json, "eos_token_id"));
    for (int32_t i = 0; i < 64; i++) positions[i] = i;
    assert_ok(qn_infer_pack(m));
    while (length < first + (int32_t)most && length < 50) {
        int32_t offsets[2] = {0, length}, last = length - 1, best = 0;
        qn_arena_reset(m->arena), qn_arena_reset(m->records);
        qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
        qn_tokens tokens = qn_tokens_of((size_t)length, ids, types, positions, (qn_ragged){1, offsets});
        qn_tensor *hidden = qn_encoder_forward(&c, &m->network->encoder, &tokens);
        qn_tensor *logits = qn_network_masked_lm(&c, m->network, hidden, 1, &last);
        assert_non_null(logits);
        for (int32_t k = 1; k < 43; k++)
            if (logits->data[k] > logits->data[best]) best = k;
        if (best == 3 || best == end) break; // [SEP]
        ids[length++] = best;
    }
    char *text;
    assert_ok(qn_tokenizer_decode(m->tokenizer, ids + first, (size_t)(length - first), true, &text));
    return text;
}

static void test_cache_changes_nothing(void **state) {
    (void)state;
    static const char *const prompts[] = {"a b c", "hello", "x", "the mill grinds grain all day long"};
    for (size_t i = 0; i < 3; i++) {
        qn_model *m;
        assert_ok(qn_model_open(make_folder(golden[i]), NULL, &m));
        qn_generation_options o = qn_generation_defaults();
        o.max_new_tokens = 12;
        qn_text all[4];
        texts together = {0};
        for (int k = 0; k < 4; k++) all[k] = text_of(prompts[k]);
        assert_ok(qn_generate(m, all, 4, &o, receive, &together));
        for (int k = 0; k < 4; k++) {
            texts alone = {0};
            char *expected = without_cache(m, prompts[k], 12);
            assert_ok(qn_generate(m, &all[k], 1, &o, receive, &alone));
            assert_string_equal(alone.whole[0], expected);
            assert_string_equal(together.whole[k], expected);
            assert_non_null(together.end[k]);
            free(expected);
            drop(&alone);
        }
        drop(&together);
        qn_model_close(m);
    }
}

static void test_limits(void **state) {
    (void)state;
    qn_model *m;
    const char *folder = make_folder(golden[2]);
    assert_ok(qn_model_open(folder, NULL, &m));
    qn_text prompt = text_of("a b c"),
            longest = text_of("a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l "
                              "m n o p q r s t u v w x y z");
    qn_generation_options o = qn_generation_defaults();
    texts t = {0}, cut = {0};
    o.max_new_tokens = 20;
    assert_ok(qn_generate(m, &prompt, 1, &o, receive, &t));
    assert_true(t.new_tokens[0] <= 20);
    assert_true(strlen(t.whole[0]) > 4);
    char stop[3] = {t.whole[0][2], t.whole[0][3], 0}; // ends before its first place, and no piece shows its beginning
    o.stop = (const char *const[]){stop}, o.stop_count = 1;
    assert_ok(qn_generate(m, &prompt, 1, &o, receive, &cut));
    assert_string_equal(cut.end[0], "stop");
    assert_int_equal(strlen(cut.whole[0]), (size_t)(strstr(t.whole[0], stop) - t.whole[0]));
    drop(&t), drop(&cut);
    o = qn_generation_defaults();
    assert_fails(qn_generate(m, &longest, 1, &o, receive, &t), QN_ERROR_ARGUMENT, "fewer than 50");
    o.max_new_tokens = 0;
    assert_fails(qn_generate(m, &prompt, 1, &o, receive, &t), QN_ERROR_ARGUMENT, "new tokens");
    o = qn_generation_defaults(), o.top_p = 2;
    assert_fails(qn_generate(m, &prompt, 1, &o, receive, &t), QN_ERROR_ARGUMENT, "top-p");
    qn_model_close(m);
    qn_model_options options = qn_model_defaults();
    options.overflow = QN_OVERFLOW_TRUNCATE;
    assert_ok(qn_model_open(folder, &options, &m));
    assert_ok(qn_generate(m, &longest, 1, NULL, receive, &t));
    assert_true(t.new_tokens[0] <= 1); // the prompt kept its last 49 tokens
    drop(&t);
    qn_model_close(m);
}

// Drawn texts depend on seed and prompt, not on neighbours or the dtype's packing of heads.
static void test_drawn(void **state) {
    (void)state;
    qn_model *m;
    qn_model_options options = {.threads = 2, .dtype = "q8"};
    assert_ok(qn_model_open(make_folder(golden[0]), &options, &m));
    qn_text two[2] = {text_of("a b"), text_of("c d e f g")};
    qn_generation_options o = {.max_new_tokens = 10, .temperature = 1.5, .top_k = 20, .seed = 3};
    texts first = {0}, second = {0}, other = {0};
    assert_ok(qn_generate(m, two, 2, &o, receive, &first));
    assert_ok(qn_generate(m, two, 1, &o, receive, &second));
    assert_string_equal(first.whole[0], second.whole[0]);
    o.seed = 4;
    assert_ok(qn_generate(m, two, 1, &o, receive, &other));
    assert_string_not_equal(first.whole[0], other.whole[0]);
    drop(&first), drop(&second), drop(&other);
    qn_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cache_changes_nothing), cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_drawn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
