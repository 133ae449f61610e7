// The prompts of chats: what a model was tuned to read around a user's message. Templates are programs (Jinja); those
// of the usual shapes are known by their marks, and others are refused.
#pragma once
#include "base/buffer.h"
#include "text/tokenizer.h"

typedef struct {
    const struct qn_chat_form *form;
    char *system; // what the template says where the caller says nothing; NULL: nothing
} qn_chat;

// The template of a model's folder (chat_template.jinja, or in tokenizer_config.json) or of a GGUF file. An error where
// there is none, or one of another shape.
qn_status qn_chat_open(const char *path, const qn_tokenizer *tokenizer, qn_chat *out);
qn_status qn_chat_parse(const char *text, size_t size, const char *source, qn_chat *out); // the template's text
void qn_chat_free(qn_chat *chat);

// The prompt of one message; system NULL: the template's. The tokenizer sets the first token where a text has one.
qn_status qn_chat_prompt(const qn_chat *chat, const char *system, const char *text, size_t size, qn_buffer *out);
const char *qn_chat_end(const qn_chat *chat); // the token that ends an answer
