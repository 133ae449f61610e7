// Writes a tokenizer's files. What it was loaded from is written as it was; all else is made in the form of Hugging
// Face.
#include "base/file.h"
#include "base/memory.h"
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

static const char *token_of(const qn_tokenizer *t, int32_t id) {
    const char *token = qn_tokenizer_token(t, id);
    return token ? token : "";
}

static const char *truth(bool value) {
    return value ? "true" : "false";
}

static void put_string(qn_buffer *out, const char *text, size_t size) {
    qn_buffer_json_string(out, text, size);
}

// strip_accents null means: as lowercase.
static const char *strip_accents(const qn_bert_options *options) {
    return options->strip_accents == options->lowercase ? "null" : truth(options->strip_accents);
}

static int by_id(const void *left, const void *right) {
    const qn_added_token *a = *(const qn_added_token *const *)left, *b = *(const qn_added_token *const *)right;
    return (a->id > b->id) - (a->id < b->id);
}

static qn_status put_added_tokens(const qn_tokenizer *t, qn_buffer *out) {
    const qn_added_token **sorted = qn_malloc(t->added.count + 1, sizeof *sorted);
    if (!sorted) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < t->added.count; i++) sorted[i] = &t->added.tokens[i];
    qsort(sorted, t->added.count, sizeof *sorted, by_id);
    qn_buffer_text(out, "  \"added_tokens\": [");
    for (size_t i = 0; i < t->added.count; i++) {
        const qn_added_token *token = sorted[i];
        qn_buffer_printf(out, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", (int)token->id);
        put_string(out, token->content, token->size);
        qn_buffer_printf(out,
                         ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": %s}",
                         truth(token->single_word), truth(token->lstrip), truth(token->rstrip),
                         truth(token->normalized), truth(token->special));
    }
    qn_buffer_text(out, "\n  ],\n");
    free(sorted);
    return QN_OK;
}

static void put_template(const qn_tokenizer *t, qn_buffer *out, const char *key, const qn_template *template) {
    qn_buffer_printf(out, "    \"%s\": [", key);
    for (size_t i = 0; i < template->count; i++) {
        qn_template_part part = template->parts[i];
        qn_buffer_text(out, i ? ",\n      " : "\n      ");
        if (part.id >= 0) {
            qn_buffer_text(out, "{\"SpecialToken\": {\"id\": ");
            put_string(out, token_of(t, part.id), strlen(token_of(t, part.id)));
        } else {
            qn_buffer_printf(out, "{\"Sequence\": {\"id\": \"%s\"", part.id == QN_TEMPLATE_PAIR ? "B" : "A");
        }
        qn_buffer_printf(out, ", \"type_id\": %d}}", (int)part.type);
    }
    qn_buffer_text(out, "\n    ],\n");
}

// The tokens that the templates have, each once.
static void put_template_tokens(const qn_tokenizer *t, qn_buffer *out) {
    const qn_template *templates[2] = {&t->single, &t->pair};
    int32_t seen[256];
    size_t count = 0;
    qn_buffer_text(out, "    \"special_tokens\": {");
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < templates[i]->count; j++) {
            int32_t id = templates[i]->parts[j].id;
            bool again = id < 0 || count == sizeof seen / sizeof seen[0];
            for (size_t k = 0; k < count && !again; k++) again = seen[k] == id;
            if (again) continue;
            qn_buffer_text(out, count ? ",\n      " : "\n      ");
            seen[count++] = id;
            const char *token = token_of(t, id);
            put_string(out, token, strlen(token));
            qn_buffer_text(out, ": {\"id\": ");
            put_string(out, token, strlen(token));
            qn_buffer_printf(out, ", \"ids\": [%d], \"tokens\": [", (int)id);
            put_string(out, token, strlen(token));
            qn_buffer_text(out, "]}");
        }
    }
    qn_buffer_text(out, "\n    }\n");
}

static void put_model(const qn_tokenizer *t, qn_buffer *out) {
    const char *unknown = t->model.unknown >= 0 ? token_of(t, t->model.unknown) : "[UNK]";
    qn_buffer_text(out, "  \"model\": {\n    \"type\": \"WordPiece\",\n    \"unk_token\": ");
    put_string(out, unknown, strlen(unknown));
    qn_buffer_text(out, ",\n    \"continuing_subword_prefix\": ");
    put_string(out, t->model.prefix, strlen(t->model.prefix));
    qn_buffer_printf(out, ",\n    \"max_input_chars_per_word\": %zu,\n    \"vocab\": {", t->model.max_characters);
    bool first = true;
    for (size_t id = 0; id < t->vocabulary.size; id++) {
        size_t size;
        const char *token = qn_vocabulary_token(&t->vocabulary, (int32_t)id, &size);
        // A string that stands for two ids is found by the larger one only.
        if (!token || (size > 0 && qn_vocabulary_id(&t->vocabulary, token, size) != (int32_t)id)) continue;
        qn_buffer_text(out, first ? "\n      " : ",\n      ");
        first = false;
        put_string(out, token, size);
        qn_buffer_printf(out, ": %zu", id);
    }
    qn_buffer_text(out, "\n    }\n  }\n");
}

static qn_status make_json(const qn_tokenizer *t, qn_buffer *out) {
    const qn_bert_options *o = qn_bert_get_options(t->bert);
    qn_buffer_text(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    QN_TRY(put_added_tokens(t, out));
    qn_buffer_printf(
        out,
        "  \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": %s, \"handle_chinese_chars\": %s, "
        "\"strip_accents\": %s, \"lowercase\": %s},\n",
        truth(o->clean_text), truth(o->chinese_characters), strip_accents(o), truth(o->lowercase));
    qn_buffer_text(out, "  \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},\n");
    qn_buffer_text(out, "  \"post_processor\": {\n    \"type\": \"TemplateProcessing\",\n");
    put_template(t, out, "single", &t->single);
    put_template(t, out, "pair", &t->pair);
    put_template_tokens(t, out);
    qn_buffer_text(out, "  },\n  \"decoder\": ");
    if (t->decoder_prefix) {
        qn_buffer_text(out, "{\"type\": \"WordPiece\", \"prefix\": ");
        put_string(out, t->decoder_prefix, strlen(t->decoder_prefix));
        qn_buffer_printf(out, ", \"cleanup\": %s},\n", truth(t->decoder_cleanup));
    } else {
        qn_buffer_text(out, "null,\n");
    }
    put_model(t, out);
    qn_buffer_text(out, "}\n");
    return qn_buffer_status(out);
}

static void put_special_names(const qn_tokenizer *t, qn_buffer *out) {
    bool first = true;
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++) {
        if (t->special[i] < 0) continue;
        qn_buffer_printf(out, "%s\n  \"%s\": ", first ? "" : ",", qn_special_keys[i]);
        put_string(out, token_of(t, t->special[i]), strlen(token_of(t, t->special[i])));
        first = false;
    }
    // What generation looks for: the same tokens under other names, as in RoBERTa. Without a token in front of texts the
    // end's stands for it, as in GPT-2: CTranslate2 opens no folder without one.
    const struct {
        const char *key;
        qn_special_token token;
    } other[] = {{"bos_token", t->special[QN_TOKEN_CLS] < 0 ? QN_TOKEN_SEP : QN_TOKEN_CLS},
                 {"eos_token", QN_TOKEN_SEP}};
    for (size_t i = 0; i < 2 && !t->bert; i++) {
        int32_t id = t->special[other[i].token];
        if (id < 0) continue;
        qn_buffer_printf(out, ",\n  \"%s\": ", other[i].key);
        put_string(out, token_of(t, id), strlen(token_of(t, id)));
    }
}

static qn_status make_config(const qn_tokenizer *t, qn_buffer *out) {
    const qn_bert_options *o = t->bert ? qn_bert_get_options(t->bert) : NULL;
    qn_buffer_text(out, "{");
    put_special_names(t, out);
    if (out->size > 1) qn_buffer_text(out, ",");
    if (o)
        qn_buffer_printf(out, "\n  \"do_lower_case\": %s,\n  \"strip_accents\": %s,\n  \"tokenize_chinese_chars\": %s,",
                         truth(o->lowercase), strip_accents(o), truth(o->chinese_characters));
    qn_buffer_text(out, "\n");
    // The number that transformers writes for "no limit".
    if (t->max_length > 0)
        qn_buffer_printf(out, "  \"model_max_length\": %zu,\n", t->max_length);
    else
        qn_buffer_text(out, "  \"model_max_length\": 1000000000000000019884624838656,\n");
    bool typed = false; // transformers gives types to a model only where it is told so
    for (size_t i = 0; i < t->pair.count; i++) typed = typed || t->pair.parts[i].type != 0;
    qn_buffer_printf(out, "  \"model_input_names\": [\"input_ids\", %s\"attention_mask\"],\n",
                     typed ? "\"token_type_ids\", " : "");
    qn_buffer_printf(out, "  \"tokenizer_class\": \"%s\"\n}\n", o ? "BertTokenizer" : "PreTrainedTokenizerFast");
    return qn_buffer_status(out);
}

static qn_status make_special(const qn_tokenizer *t, qn_buffer *out) {
    qn_buffer_text(out, "{");
    put_special_names(t, out);
    qn_buffer_text(out, "\n}\n");
    return qn_buffer_status(out);
}

// One token per line. Only where line numbers can be ids.
static qn_status make_vocabulary(const qn_tokenizer *t, qn_buffer *out) {
    if (t->words.kind != QN_MODEL_WORDPIECE || t->vocabulary.count != t->vocabulary.size) return QN_OK;
    for (size_t id = 0; id < t->vocabulary.size; id++) {
        size_t size;
        const char *token = qn_vocabulary_token(&t->vocabulary, (int32_t)id, &size);
        if (memchr(token, '\n', size) || memchr(token, '\r', size) || memchr(token, 0, size)) {
            qn_buffer_clear(out);
            return QN_OK;
        }
        qn_buffer_append(out, token, size);
        qn_buffer_char(out, '\n');
    }
    return qn_buffer_status(out);
}

qn_status qn_tokenizer_save(const qn_tokenizer *t, const char *folder) {
    static const struct {
        const char *name;
        qn_status (*make)(const qn_tokenizer *t, qn_buffer *out);
    } files[] = {
        {"vocab.txt", make_vocabulary},
        {"tokenizer_config.json", make_config},
        {"special_tokens_map.json", make_special},
        {"tokenizer.json", make_json}, // the last one, since a reader looks for it first
    };
    const qn_buffer *kept[] = {NULL, &t->config_file, &t->special_file, &t->json_file};
    QN_TRY(qn_make_folders(folder));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        qn_buffer made = {0};
        bool keep = kept[i] && kept[i]->size > 0;
        qn_status status = keep ? QN_OK : files[i].make(t, &made);
        const qn_buffer *text = keep ? kept[i] : &made;
        char *path = qn_path_join(folder, files[i].name);
        if (!path) status = QN_ERROR_MEMORY;
        if (status == QN_OK && text->size > 0) status = qn_write_file(path, text->data, text->size);
        free(path);
        qn_buffer_free(&made);
        QN_TRY(status);
    }
    return QN_OK;
}
