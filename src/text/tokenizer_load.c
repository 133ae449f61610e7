// Loads a tokenizer from a folder or file, and the settings that stand beside it.
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

enum { LARGEST_FILE = 1 << 30, LARGEST_CONFIG = 1 << 26, NO_LIMIT_FROM = 1000000000 };

// One token per line; the line's number is the id.
qn_status qn_tokenizer_parse_vocabulary(qn_tokenizer *t, const char *path, const char *text, size_t text_size) {
    int id = 0;
    for (size_t i = 0; i < text_size; id++) {
        const char *line = text + i, *newline = memchr(line, '\n', text_size - i);
        size_t size = newline ? (size_t)(newline - line) : text_size - i;
        i += size + 1;
        if (size > 0 && line[size - 1] == '\r') size--;
        for (size_t j = 0; j < size;) {
            int32_t code;
            j += qn_utf8_next(line + j, size - j, &code);
            if (code <= 0) return qn_fail(QN_ERROR_FORMAT, "%s:%d: not UTF-8 text", path, id + 1);
        }
        qn_status status = qn_vocabulary_add(&t->vocabulary, line, size, id);
        if (status != QN_OK) return qn_fail_prefix(status, "%s:%d", path, id + 1);
    }
    if (t->vocabulary.count == 0) return qn_fail(QN_ERROR_FORMAT, "%s: the vocabulary is empty", path);
    return qn_vocabulary_finish(&t->vocabulary);
}

// What tokenizer_config.json and special_tokens_map.json say.
typedef struct {
    json_t *config, *special; // NULL where there is no such file
    char *config_path, *special_path;
} settings;

static qn_status read_settings(qn_tokenizer *t, const char *folder, settings *s) {
    struct {
        const char *name;
        qn_buffer *text;
        json_t **json;
        char **path;
    } files[] = {
        {"tokenizer_config.json", &t->config_file, &s->config, &s->config_path},
        {"special_tokens_map.json", &t->special_file, &s->special, &s->special_path},
    };
    for (size_t i = 0; i < 2; i++) {
        char *path = *files[i].path = qn_path_join(folder, files[i].name);
        if (!path) return QN_ERROR_MEMORY;
        if (!qn_is_file(path)) continue;
        QN_TRY(qn_read_file(path, LARGEST_CONFIG, files[i].text));
        QN_TRY(qn_json_parse(files[i].text->data, files[i].text->size, path, files[i].json));
        if (!json_is_object(*files[i].json)) return qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object", path);
    }
    return QN_OK;
}

static void free_settings(settings *s) {
    json_decref(s->config);
    json_decref(s->special);
    free(s->config_path);
    free(s->special_path);
}

// A token in a configuration is a string or an object with "content". NULL where it is missing.
static const char *token_content(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_string_value(value);
}

static const char *special_name(const settings *s, qn_special_token which) {
    const char *key = qn_special_keys[which], *name = token_content(s->config, key);
    if (!name) name = token_content(s->special, key);
    if (name) return name;
    return json_is_null(json_object_get(s->config, key)) ? "" : qn_special_names[which];
}

static qn_status read_max_length(qn_tokenizer *t, const settings *s) {
    double limit = 0; // transformers writes 1e30 for none
    if (s->config) QN_TRY(qn_json_real(s->config, s->config_path, "model_max_length", false, 0, 1e300, &limit));
    t->max_length = limit < NO_LIMIT_FROM ? (size_t)limit : 0;
    return QN_OK;
}

// transformers gives a model no token types where "model_input_names" has none: all are then 0, whatever the
// post-processor says.
static void read_input_names(qn_tokenizer *t, const settings *s) {
    const json_t *names = json_object_get(s->config, "model_input_names"), *name;
    size_t i;
    if (!json_is_array(names)) return;
    json_array_foreach(names, i,
                       name) if (json_is_string(name) && !strcmp(json_string_value(name), "token_type_ids")) return;
    for (i = 0; i < t->single.count; i++) t->single.parts[i].type = 0;
    for (i = 0; i < t->pair.count; i++) t->pair.parts[i].type = 0;
    t->bare_pair_type = false;
}

static qn_status add_special(qn_tokenizer *t, const char *content) {
    size_t size = strlen(content);
    if (size == 0 || qn_added_by_content(&t->added, content, size)) return QN_OK;
    qn_added_token token = {.id = qn_vocabulary_id(&t->vocabulary, content, size), .special = true};
    return token.id < 0 ? QN_OK : qn_added_add(&t->added, &token, content, size);
}

// "added_tokens_decoder": {"0": {"content": "[PAD]", ...}}, where ids are keys.
static qn_status read_added_decoder(qn_tokenizer *t, const settings *s) {
    json_t *map = NULL;
    if (!s->config) return QN_OK;
    QN_TRY(qn_json_object(s->config, s->config_path, "added_tokens_decoder", false, &map));
    for (void *i = json_object_iter(map); i; i = json_object_iter_next(map, i)) {
        const json_t *item = json_object_iter_value(i);
        const char *path = s->config_path, *content = NULL, *key = json_object_iter_key(i);
        char *end;
        long id = strtol(key, &end, 10);
        if (!json_is_object(item) || end == key || *end || id < 0 || id > QN_MAX_TOKEN_ID)
            return qn_fail(QN_ERROR_FORMAT, "%s: \"added_tokens_decoder\" has \"%s\" (expected an id and a token)",
                           path, key);
        qn_added_token token = {.id = (int32_t)id};
        QN_TRY(qn_json_string(item, path, "content", true, &content));
        QN_TRY(qn_json_bool(item, path, "single_word", false, &token.single_word));
        QN_TRY(qn_json_bool(item, path, "lstrip", false, &token.lstrip));
        QN_TRY(qn_json_bool(item, path, "rstrip", false, &token.rstrip));
        QN_TRY(qn_json_bool(item, path, "special", false, &token.special));
        token.normalized = !token.special;
        QN_TRY(qn_json_bool(item, path, "normalized", false, &token.normalized));
        int32_t known = qn_vocabulary_id(&t->vocabulary, content, strlen(content));
        if (known >= 0) token.id = known;
        if (!qn_added_by_content(&t->added, content, strlen(content)))
            QN_TRY(qn_added_add(&t->added, &token, content, strlen(content)));
    }
    return QN_OK;
}

// What vocab.txt alone does not say.
static qn_status read_bert_options(qn_tokenizer *t, const settings *s, qn_bert_options *o) {
    *o = (qn_bert_options){.clean_text = true, .chinese_characters = true, .lowercase = true};
    if (s->config) {
        QN_TRY(qn_json_bool(s->config, s->config_path, "do_lower_case", false, &o->lowercase));
        QN_TRY(qn_json_bool(s->config, s->config_path, "tokenize_chinese_chars", false, &o->chinese_characters));
    }
    o->strip_accents = o->lowercase;
    if (s->config) QN_TRY(qn_json_bool(s->config, s->config_path, "strip_accents", false, &o->strip_accents));
    t->model.max_characters = 100;
    t->model.prefix = qn_strdup("##");
    t->decoder_prefix = qn_strdup("##");
    t->decoder_cleanup = true;
    return t->model.prefix && t->decoder_prefix ? QN_OK : QN_ERROR_MEMORY;
}

// The files that a tokenizer is read from, by name. All but a bare vocab.txt are, or are turned into, a tokenizer.json.
typedef enum {
    FORMAT_JSON,
    FORMAT_VOCABULARY,
    FORMAT_MERGES,
    FORMAT_SENTENCEPIECE,
    FORMAT_MARIAN,
    FORMAT_TIKTOKEN
} format;

static qn_status convert_merges(qn_tokenizer *t, const char *path, const settings *s) {
    bool prefix_space = false;
    size_t folder = strlen(path) - strlen("vocab.json");
    qn_buffer vocabulary = {0}, merges = {0}, name = {0};
    if (s->config) QN_TRY(qn_json_bool(s->config, s->config_path, "add_prefix_space", false, &prefix_space));
    qn_buffer_append(&name, path, folder);
    qn_buffer_text(&name, "merges.txt");
    qn_status status = qn_buffer_status(&name);
    if (status == QN_OK) status = qn_read_file(path, LARGEST_FILE, &vocabulary);
    if (status == QN_OK) status = qn_read_file(name.data, LARGEST_FILE, &merges);
    if (status == QN_OK) status = qn_merges_to_json(path, &vocabulary, name.data, &merges, prefix_space, &t->json_file);
    qn_buffer_free(&vocabulary);
    qn_buffer_free(&merges);
    qn_buffer_free(&name);
    return status;
}

// The folder that a file lies in.
static char *parent_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return qn_strdup(".");
    return slash == path ? qn_strdup("/") : qn_strndup(path, (size_t)(slash - path));
}

static bool ends_with(const char *path, const char *end) {
    size_t size = strlen(path), length = strlen(end);
    return size >= length && strcmp(path + size - length, end) == 0;
}

// A source.spm or target.spm and the vocabulary of its ids, which may be one for both.
static qn_status convert_marian(const char *path, qn_buffer *out) {
    qn_buffer model = {0}, vocabulary = {0};
    char *folder = parent_folder(path);
    char *name = folder && ends_with(path, "target.spm") ? qn_path_join(folder, "target_vocab.json") : NULL;
    if (folder && !(name && qn_is_file(name))) {
        free(name);
        name = qn_path_join(folder, "vocab.json");
    }
    qn_status status = name ? qn_read_file(path, LARGEST_FILE, &model) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_read_file(name, LARGEST_FILE, &vocabulary);
    if (status == QN_OK) status = qn_marian_to_json(path, &model, name, &vocabulary, out);
    qn_buffer_free(&model);
    qn_buffer_free(&vocabulary);
    free(name);
    free(folder);
    return status;
}

static qn_status read_json(qn_tokenizer *t, const char *path, format from, const settings *s) {
    if (from == FORMAT_JSON) return qn_read_file(path, LARGEST_FILE, &t->json_file);
    if (from == FORMAT_MERGES) return convert_merges(t, path, s);
    if (from == FORMAT_MARIAN) return convert_marian(path, &t->json_file);
    qn_buffer data = {0};
    const char *name = NULL;
    if (s->config) QN_TRY(qn_json_string(s->config, s->config_path, "tiktoken_encoding", false, &name));
    qn_status status = qn_read_file(path, LARGEST_FILE, &data);
    if (status == QN_OK)
        status = from == FORMAT_TIKTOKEN ? qn_tiktoken_to_json(path, data.data, data.size, name, &t->json_file)
                                         : qn_sentencepiece_to_json(path, data.data, data.size, &t->json_file);
    qn_buffer_free(&data);
    return status;
}

static qn_status load(qn_tokenizer *t, const char *path, format from, settings *s) {
    qn_bert_options options;
    bool json = from != FORMAT_VOCABULARY;
    if (json) {
        if (t->json_file.size == 0) QN_TRY(read_json(t, path, from, s));
        QN_TRY(qn_tokenizer_parse_json(t, path, &options));
    } else {
        qn_buffer text = {0};
        qn_status status = qn_read_file(path, LARGEST_FILE, &text);
        if (status == QN_OK) status = qn_tokenizer_parse_vocabulary(t, path, text.data, text.size);
        qn_buffer_free(&text);
        QN_TRY(status);
        QN_TRY(read_bert_options(t, s, &options));
    }
    QN_TRY(read_added_decoder(t, s));
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++) {
        const char *name = special_name(s, (qn_special_token)i);
        int32_t id = qn_tokenizer_find(t, name, strlen(name));
        // A file without settings beside it has RoBERTa's and SentencePiece's names where it has not BERT's.
        static const char *const others[QN_TOKEN_COUNT] = {
            [QN_TOKEN_PAD] = "<pad>", [QN_TOKEN_UNK] = "<unk>", [QN_TOKEN_MASK] = "<mask>"};
        if (id < 0 && *name && others[i] && t->general) id = qn_tokenizer_find(t, others[i], strlen(others[i]));
        if (id >= 0 || !json) t->special[i] = id; // else what the post-processor said
        if (!json || s->config || s->special) QN_TRY(add_special(t, name));
    }
    if (t->model.unknown < 0)
        t->model.unknown = t->special[QN_TOKEN_UNK];
    else
        t->special[QN_TOKEN_UNK] = t->model.unknown;
    if (!json) QN_TRY(qn_template_bert(t));
    QN_TRY(read_max_length(t, s));
    read_input_names(t, s);
    return qn_tokenizer_finish(t, &options);
}

static format format_of(const char *path) {
    if (ends_with(path, "vocab.json")) return FORMAT_MERGES;
    if (ends_with(path, ".json")) return FORMAT_JSON;
    if (ends_with(path, ".tiktoken")) return FORMAT_TIKTOKEN;
    if (ends_with(path, ".spm")) return FORMAT_MARIAN;
    return ends_with(path, ".model") ? FORMAT_SENTENCEPIECE : FORMAT_VOCABULARY;
}

// The first of the known files that a folder has.
static qn_status find_file(const char *folder, char **file) {
    static const char *const names[] = {
        "tokenizer.json",         "vocab.txt", "source.spm", "vocab.json", "spiece.model", "tokenizer.model",
        "sentencepiece.bpe.model"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *file = qn_path_join(folder, names[i]);
        if (!*file) return QN_ERROR_MEMORY;
        if (qn_is_file(*file)) return QN_OK;
        free(*file);
        *file = NULL;
    }
    return qn_fail(
        QN_ERROR_IO,
        "%s: no tokenizer here (expected tokenizer.json or vocab.txt, vocab.json with merges.txt or source.spm, or "
        "spiece.model, tokenizer.model or sentencepiece.bpe.model)",
        folder);
}

qn_status qn_tokenizer_load_files(const char *path, qn_tokenizer **out) {
    *out = NULL;
    bool is_folder = qn_is_folder(path);
    char *folder = is_folder ? qn_strdup(path) : parent_folder(path);
    char *file = is_folder ? NULL : qn_strdup(path);
    settings s = {0};
    qn_tokenizer *t = NULL;
    qn_status status = QN_ERROR_MEMORY;
    if (!folder || (!is_folder && !file)) goto done;
    if (is_folder) QN_TRY_GOTO(status, find_file(path, &file), done);
    QN_TRY_GOTO(status, qn_tokenizer_create(&t), done);
    QN_TRY_GOTO(status, read_settings(t, folder, &s), done);
    status = load(t, file, format_of(file), &s);
done:
    free(folder);
    free(file);
    free_settings(&s);
    if (status != QN_OK) {
        qn_tokenizer_free(t);
        return status;
    }
    *out = t;
    return QN_OK;
}

qn_status qn_tokenizer_from_json(const char *source, qn_buffer *json, qn_buffer *config, qn_tokenizer **out) {
    settings s = {0};
    qn_tokenizer *t = NULL;
    *out = NULL;
    qn_status status = qn_tokenizer_create(&t);
    if (status == QN_OK) {
        t->json_file = *json, t->config_file = *config;
        *json = *config = (qn_buffer){0};
        s.config_path = s.special_path = (char *)(uintptr_t)source;
        status = qn_json_parse(t->config_file.data, t->config_file.size, source, &s.config);
    }
    if (status == QN_OK) status = load(t, source, FORMAT_JSON, &s);
    json_decref(s.config);
    qn_buffer_free(json);
    qn_buffer_free(config);
    if (status != QN_OK) {
        qn_tokenizer_free(t);
        return status;
    }
    *out = t;
    return QN_OK;
}

const qn_buffer *qn_tokenizer_config_text(const qn_tokenizer *t) {
    return t->config_file.size ? &t->config_file : NULL;
}
