// See chat.h.
#include "infer/chat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_MARKS = 3, LARGEST_TEMPLATE = 1 << 20 };

struct qn_chat_form {
    const char *name;
    const char *marks[MOST_MARKS];            // all of them are in the template
    const char *without;                      // and this is not; may be NULL
    const char *system[2], *user[2], *answer; // what stands around them, and where the answer begins
    const char *within; // the system's words and what follows them are a part of the user's message, behind this
    const char *end;
    bool trimmed; // messages lose white space at their ends
};

static const struct qn_chat_form forms[] = {
    {.name = "ChatML",
     .marks = {"<|im_start|>", "<|im_end|>"},
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .answer = "<|im_start|>assistant\n",
     .end = "<|im_end|>"},
    {.name = "Llama 3",
     .marks = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     .without = "Cutting Knowledge", // of 3.1 and later: dates that a program fills in
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .end = "<|eot_id|>",
     .trimmed = true},
    {.name = "Llama 2",
     .marks = {"[INST]", "[/INST]", "<<SYS>>"},
     .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
     .user = {"[INST] ", " [/INST]"},
     .answer = "",
     .within = "[INST] ",
     .end = "</s>",
     .trimmed = true},
    {.name = "Zephyr",
     .marks = {"<|user|>", "<|assistant|>", "eos_token"},
     .without = "<|end|>", // Phi's
     .system = {"<|system|>\n", "</s>\n"},
     .user = {"<|user|>\n", "</s>\n"},
     .answer = "<|assistant|>\n",
     .end = "</s>"},
};

static const char *find(const char *text, size_t size, const char *part) {
    return memmem(text, size, part, strlen(part));
}

static bool fits(const struct qn_chat_form *form, const char *text, size_t size) {
    for (size_t i = 0; i < MOST_MARKS && form->marks[i]; i++)
        if (!find(text, size, form->marks[i])) return false;
    return !form->without || !find(text, size, form->without);
}

// ChatML's templates often have a system message of their own, as one string of the program: '<|im_start|>system\n
// WORDS<|im_end|>\n', where the line's end may be written as \n.
static qn_status find_system(const char *text, size_t size, qn_chat *out) {
    static const char *const begins[] = {"'<|im_start|>system\n", "'<|im_start|>system\\n"};
    for (size_t i = 0; i < 2; i++) {
        const char *begin = find(text, size, begins[i]);
        if (!begin) continue;
        begin += strlen(begins[i]);
        const char *end = find(begin, size - (size_t)(begin - text), "<|im_end|>");
        if (!end || end == begin || memchr(begin, '\'', (size_t)(end - begin)) ||
            memchr(begin, '\\', (size_t)(end - begin)))
            continue;
        out->system = qn_strndup(begin, (size_t)(end - begin));
        return out->system ? QN_OK : QN_ERROR_MEMORY;
    }
    return QN_OK;
}

qn_status qn_chat_parse(const char *text, size_t size, const char *source, qn_chat *out) {
    *out = (qn_chat){0};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!fits(&forms[i], text, size)) continue;
        out->form = &forms[i];
        return i == 0 ? find_system(text, size, out) : QN_OK;
    }
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: its chat template is of no known shape (expected ChatML, Llama 2, Llama 3 or Zephyr)", source);
}

// "chat_template" is a string, or a list of {"name", "template"}, of which "default" counts.
static const json_t *template_of(const json_t *config) {
    const json_t *value = json_object_get(config, "chat_template");
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0) return json_object_get(item, "template");
    }
    return value;
}

static qn_status from_config(const char *source, const qn_tokenizer *tokenizer, qn_chat *out) {
    const qn_buffer *config = qn_tokenizer_config_text(tokenizer);
    json_t *json = NULL;
    if (config) QN_TRY(qn_json_parse(config->data, config->size, source, &json));
    const json_t *text = template_of(json);
    qn_status status =
        json_is_string(text)
            ? qn_chat_parse(json_string_value(text), json_string_length(text), source, out)
            : qn_fail(QN_ERROR_UNSUPPORTED, "%s: there is no chat template (expected a model tuned for chats)", source);
    json_decref(json);
    return status;
}

qn_status qn_chat_open(const char *path, const qn_tokenizer *tokenizer, qn_chat *out) {
    *out = (qn_chat){0};
    char *file = qn_path_join(path, "chat_template.jinja");
    if (!file) return QN_ERROR_MEMORY;
    qn_buffer text = {0};
    bool own = qn_is_file(file);
    qn_status status = own ? qn_read_file(file, LARGEST_TEMPLATE, &text) : from_config(path, tokenizer, out);
    if (own && status == QN_OK) status = qn_chat_parse(text.data ? text.data : "", text.size, file, out);
    qn_buffer_free(&text);
    free(file);
    return status;
}

void qn_chat_free(qn_chat *chat) {
    free(chat->system);
    *chat = (qn_chat){0};
}

const char *qn_chat_end(const qn_chat *chat) {
    return chat->form->end;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void put(const struct qn_chat_form *f, const char *text, size_t size, qn_buffer *out) {
    while (f->trimmed && size > 0 && is_space(text[size - 1])) size--;
    while (f->trimmed && size > 0 && is_space(*text)) text++, size--;
    qn_buffer_append(out, text, size);
}

qn_status qn_chat_prompt(const qn_chat *chat, const char *system, const char *text, size_t size, qn_buffer *out) {
    const struct qn_chat_form *f = chat->form;
    if (!system) system = chat->system;
    qn_buffer_clear(out);
    if (f->within) qn_buffer_text(out, f->within);
    if (system && *system) {
        qn_buffer_text(out, f->system[0]);
        put(f, system, strlen(system), out);
        qn_buffer_text(out, f->system[1]);
    }
    if (!f->within) qn_buffer_text(out, f->user[0]);
    put(f, text, size, out);
    qn_buffer_text(out, f->user[1]);
    qn_buffer_text(out, f->answer);
    return qn_buffer_status(out);
}
