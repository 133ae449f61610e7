// Protects GGUF files as models: on tiny ones that gguf-py wrote, token ids equal those of the libraries that the
// tokenizers are from; in float32 logits equal transformers' on the dequantized weights, and with weights left in their
// blocks nearly so; a chat's prompt is what the template writes; what is not known is refused with a line that says
// what.
#include "formats/safetensors.h"
#include "infer/chat.h"
#include "infer/model.h"
#include "models/gguf_model.h"
#include "support.h"
#include <math.h>

static const char *const names[] = {"llama-q4_1", "llama-mixed", "llama-bpe", "llama-scaled", "qwen2-q5_0", "gpt2-q8_0"};
enum { NAMES = sizeof names / sizeof *names, TEXTS = 7 };
static const char *const texts[TEXTS] = {"a mill grinds grain",
                                         "The stone weighs 1234 pounds, doesn't it?",
                                         "na\xC3\xAFve  caf\xC3\xA9\n\n\tx = 10 + y;",
                                         "",
                                         "<|im_start|>user\nhello<|im_end|>\n",
                                         "\xE6\x9D\xB1\xE4\xBA\xAC \xF0\x9F\x98\x80 a",
                                         " two  spaces "};

static const char *golden(const char *name, const char *end) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/tests/golden/gguf/%s.%s", QN_SOURCE_DIR, name, end);
    return path;
}

static void test_tokens(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        qn_tokenizer *t;
        qn_safetensors *right;
        assert_ok(qn_tokenizer_load(golden(names[i], "gguf"), &t));
        assert_ok(qn_safetensors_open(golden(names[i], "safetensors"), &right));
        for (int k = 0; k < TEXTS; k++) {
            char key[32];
            qn_encoding e = QN_ENCODING_INIT;
            snprintf(key, sizeof key, "ids_%d", k);
            const qn_st_tensor *ids = qn_safetensors_find(right, key);
            assert_ok(qn_tokenizer_encode(t, texts[k], strlen(texts[k]), NULL, 0, NULL, &e));
            if (e.count != (size_t)ids->shape[0] || (e.count && memcmp(e.ids, ids->data, ids->size) != 0))
                fail_msg("%s: text %d: %zu ids, the first is %d (expected %d)", names[i], k, e.count,
                         e.count ? e.ids[0] : -1, (int)ids->shape[0]);
            qn_encoding_free(&e);
        }
        qn_safetensors_close(right);
        qn_tokenizer_free(t);
    }
}

// The largest difference of the logits of text 1, relative to the largest logit.
static double difference(const char *name, const char *dtype) {
    qn_model *m;
    qn_safetensors *right;
    qn_model_options o = qn_model_defaults();
    o.dtype = dtype;
    assert_ok(qn_model_open(golden(name, "gguf"), &o, &m));
    assert_ok(qn_safetensors_open(golden(name, "safetensors"), &right));
    const qn_st_tensor *want = qn_safetensors_find(right, "logits");
    assert_ok(qn_tokenizer_encode(m->tokenizer, texts[1], strlen(texts[1]), NULL, 0, NULL, &m->encoding));
    size_t count = m->encoding.count, vocabulary = (size_t)want->shape[1];
    assert_int_equal(count, want->shape[0]);
    int32_t positions[64], types[64] = {0}, offsets[2] = {0, (int32_t)count};
    for (int32_t i = 0; i < 64; i++) positions[i] = i;
    assert_ok(qn_infer_pack(m));
    assert_ok(qn_infer_pack_head(m));
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_tokens tokens = qn_tokens_of(count, m->encoding.ids, types, positions, (qn_ragged){1, offsets});
    qn_tensor *logits =
        qn_network_masked_lm(&c, m->network, qn_encoder_forward(&c, &m->network->encoder, &tokens), count, positions);
    assert_non_null(logits);
    double worst = 0, largest = 0;
    for (size_t i = 0; i < count * vocabulary; i++) {
        float expected;
        memcpy(&expected, want->data + i * sizeof expected, sizeof expected);
        worst = fmax(worst, fabs((double)logits->data[i] - expected));
        largest = fmax(largest, fabs((double)expected));
    }
    qn_safetensors_close(right);
    qn_model_close(m);
    return worst / largest;
}

static void test_logits(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        double exact = difference(names[i], "f32"), stored = difference(names[i], NULL);
        if (exact > 1e-5) fail_msg("%s in float32: logits differ by %g", names[i], exact);
        if (stored > 0.03) fail_msg("%s in its blocks: logits differ by %g", names[i], stored);
    }
}

// What stays in blocks: products of the file, also with parts of several forms, and tables of words.
static void test_stored(void **state) {
    (void)state;
    qn_model *m;
    assert_ok(qn_model_open(golden("llama-q4_1", "gguf"), NULL, &m));
    const qn_encoder *e = &m->network->encoder;
    assert_int_equal(e->layers[1].qkv_weight.stored->compute, QN_DTYPE_Q4);
    assert_int_equal(e->layers[1].up.weight->stored->compute, QN_DTYPE_Q4);
    assert_int_equal(e->word->stored->compute, QN_DTYPE_Q8);
    assert_null(e->layers[1].qkv_weight.data);
    qn_model_close(m);
    assert_ok(qn_model_open(golden("llama-mixed", "gguf"), NULL, &m));
    e = &m->network->encoder;
    assert_int_equal(e->layers[0].qkv_weight.stored->compute, QN_DTYPE_K8); // queries of 4 bits beside values of 8
    assert_int_equal(e->layers[0].attention_output.weight->stored->compute, QN_DTYPE_Q4);
    assert_int_equal(e->layers[0].up.weight->stored->compute, QN_DTYPE_Q8); // of Q5_0
    assert_null(e->word->stored);
    assert_int_equal(m->network->decoder->stored->compute, QN_DTYPE_K8); // of Q5_1
    assert_true(m->network->decoder != e->word);
    qn_model_close(m);
}

static qn_status keep_text(void *user, const qn_generated *g) {
    char **text = user;
    if (g->end) *text = strndup(g->text, g->size);
    return QN_OK;
}

static void test_generates(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        qn_model *m;
        char *text = NULL, *again = NULL;
        assert_ok(qn_model_open(golden(names[i], "gguf"), NULL, &m));
        qn_generation_options o = qn_generation_defaults();
        o.max_new_tokens = o.min_new_tokens = 16;
        qn_text prompt = {.text = texts[0], .size = strlen(texts[0])};
        assert_ok(qn_generate(m, &prompt, 1, &o, keep_text, &text));
        assert_ok(qn_generate(m, &prompt, 1, &o, keep_text, &again));
        assert_string_equal(text, again);
        free(text);
        free(again);
        qn_model_close(m);
    }
}

static void test_chat(void **state) {
    (void)state;
    qn_tokenizer *t;
    qn_chat chat;
    qn_buffer out = {0};
    const char *path = golden("llama-q4_1", "gguf");
    assert_ok(qn_tokenizer_load(path, &t));
    assert_ok(qn_chat_open(path, t, &chat));
    assert_ok(qn_chat_prompt(&chat, NULL, " hi ", 4, &out));
    assert_string_equal(out.data, "<|im_start|>system\nYou are a mill.<|im_end|>\n<|im_start|>user\n hi "
                                  "<|im_end|>\n<|im_start|>assistant\n");
    assert_ok(qn_chat_prompt(&chat, "", "hi", 2, &out));
    assert_string_equal(out.data, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    qn_chat_free(&chat);
    qn_tokenizer_free(t);
    static const struct {
        const char *template, *system, *prompt;
    } others[] = {
        {"{{ '<|start_header_id|>' }} <|end_header_id|> <|eot_id|>", "be brief",
         "<|start_header_id|>system<|end_header_id|>\n\nbe brief<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
         "hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
        {"[INST] <<SYS>> [/INST]", "be brief", "[INST] <<SYS>>\nbe brief\n<</SYS>>\n\nhi [/INST]"},
        {"[INST] <<SYS>> [/INST]", NULL, "[INST] hi [/INST]"},
        {"'<|user|>\n' + eos_token '<|assistant|>\n'", NULL, "<|user|>\n hi </s>\n<|assistant|>\n"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_ok(qn_chat_parse(others[i].template, strlen(others[i].template), "x", &chat));
        assert_ok(qn_chat_prompt(&chat, others[i].system, " hi ", 4, &out));
        assert_string_equal(out.data, others[i].prompt);
        qn_chat_free(&chat);
    }
    assert_fails(qn_chat_parse("{{ messages }}", 14, "x", &chat), QN_ERROR_UNSUPPORTED, "no known shape");
    qn_buffer_free(&out);
    assert_ok(qn_tokenizer_load(golden("llama-mixed", "gguf"), &t));
    assert_fails(qn_chat_open(golden("llama-mixed", "gguf"), t, &chat), QN_ERROR_UNSUPPORTED, "no chat template");
    qn_tokenizer_free(t);
}

// The file with some bytes replaced by as many others.
static const char *changed(const char *name, const char *what, const char *by, size_t length) {
    size_t size;
    char *bytes = test_read(golden(name, "gguf"), &size), *at = memmem(bytes, size, what, length);
    const char *path = test_path(test_folder(), "changed.gguf");
    assert_non_null(at);
    memcpy(at, by, length);
    test_write(path, bytes, size);
    free(bytes);
    return path;
}

static void test_refuses(void **state) {
    (void)state;
#define CASE(what, by, message, status)                                                                                \
    { what, by, sizeof(what) - 1, message, status }
    static const struct {
        const char *what, *by;
        size_t length;
        const char *message;
        qn_status status;
    } cases[] = {
        CASE("\5\0\0\0\0\0\0\0llama\x14", "\5\0\0\0\0\0\0\0mamba\x14", "architecture \"mamba\"", QN_ERROR_UNSUPPORTED),
        CASE("llama.block_count", "llama.black_count", "llama.block_count", QN_ERROR_FORMAT),
        CASE("\6\0\0\0\0\0\0\0smollm", "\6\0\0\0\0\0\0\0smellm", "pre-tokenizer \"smellm\"", QN_ERROR_UNSUPPORTED),
        CASE("tokenizer.ggml.tokens", "tokenizer.ggml.tokans", "tokenizer.ggml.tokens", QN_ERROR_FORMAT),
        CASE("tokenizer.ggml.merges", "tokenizer.ggml.mergas", "tokenizer.ggml.merges", QN_ERROR_FORMAT),
        CASE("blk.1.attn_q.weight", "blk.1.attn_x.weight", "layers.1.self_attn.q_proj", QN_ERROR_FORMAT),
        CASE("token_embd.weight", "token_ambd.weight", "token_embd", QN_ERROR_FORMAT),
        CASE("blk.0.attn_q.weight", "blk.1.attn_q.weight", "is repeated", QN_ERROR_FORMAT),
    };
#undef CASE
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_model *m;
        assert_fails(qn_model_open(changed(names[0], cases[i].what, cases[i].by, cases[i].length), NULL, &m),
                     cases[i].status, cases[i].message);
    }
    qn_model *m;
    const char *other = test_path(test_folder(), "x.gguf");
    test_write_text(other, "GGUX");
    assert_fails(qn_model_open(other, NULL, &m), QN_ERROR_IO, "GGUF");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tokens), cmocka_unit_test(test_logits),
                                       cmocka_unit_test(test_stored), cmocka_unit_test(test_generates),
                                       cmocka_unit_test(test_chat),   cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
