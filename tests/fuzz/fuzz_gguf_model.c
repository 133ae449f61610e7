// Fuzzes GGUF files as models: from metadata to configuration, tokenizer and chat template, and with all of a model's
// tensors there to a few tokens of text.
#include "base/json.h"
#include "infer/chat.h"
#include "infer/model.h"
#include "models/gguf_model.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static qn_status drop(void *user, const qn_generated *generated) {
    (void)user, (void)generated;
    return QN_OK;
}

// A small model alone is opened: tables of positions are as long as a file says.
static bool is_small(const uint8_t *data, size_t size) {
    qn_gguf *file;
    qn_buffer json = {0}, text = {0};
    qn_model_config config = {0};
    qn_tokenizer *tokenizer;
    bool small = false;
    if (qn_gguf_open_memory(data, size, "x", &file) != QN_OK) return false;
    if (qn_gguf_config(file, &json) == QN_OK && qn_model_config_parse(json.data, json.size, "x", &config) == QN_OK) {
        small = config.encoder.max_positions <= 256 && config.encoder.hidden <= 256 && config.encoder.layers <= 4 &&
                config.encoder.head_width <= 256;
        qn_model_config_free(&config);
    }
    qn_buffer_clear(&json);
    if (qn_gguf_tokenizer(file, &json, &text) == QN_OK &&
        qn_tokenizer_from_json("x", &json, &text, &tokenizer) == QN_OK) {
        qn_chat chat;
        if (qn_chat_open("x", tokenizer, &chat) == QN_OK) qn_chat_free(&chat);
        qn_tokenizer_free(tokenizer);
    }
    qn_buffer_free(&json);
    qn_buffer_free(&text);
    qn_gguf_close(file);
    return small;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    if (!is_small(data, size)) return 0;
    int file = memfd_create("x", 0);
    if (file < 0 || write(file, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    for (int i = 0; i < 2; i++) {
        qn_model_options o = qn_model_defaults();
        qn_model *model;
        o.threads = 1;
        o.dtype = i ? "f32" : NULL;
        if (qn_model_open(path, &o, &model) != QN_OK) continue;
        qn_generation_options g = qn_generation_defaults();
        g.max_new_tokens = 3;
        qn_generate(model, &(qn_text){.text = "ab a.", .size = 5}, 1, &g, drop, NULL);
        qn_model_close(model);
    }
    close(file);
    return 0;
}
