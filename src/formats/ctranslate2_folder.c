// The files beside model.bin in a folder of CTranslate2: config.json and the vocabularies.
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/ctranslate2.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT 1000000000u // bytes
enum { CONFIG_SINCE = 6 };

// --- Vocabularies

void qn_ct2_vocabulary_free(qn_ct2_vocabulary *v) {
    for (size_t i = 0; i < v->count; i++) free(v->tokens[i]);
    free(v->tokens);
    *v = (qn_ct2_vocabulary){0};
}

static qn_status add_token(qn_ct2_vocabulary *v, size_t *capacity, const char *text, size_t size) {
    QN_TRY(qn_grow((void **)&v->tokens, capacity, v->count + 1, sizeof *v->tokens));
    v->tokens[v->count] = qn_strndup(text, size);
    return v->tokens[v->count++] ? QN_OK : (v->count--, QN_ERROR_MEMORY);
}

static qn_status parse_list(const char *text, size_t size, const char *source, qn_ct2_vocabulary *out) {
    json_t *list, *item;
    size_t capacity = 0, i;
    QN_TRY(qn_json_parse(text, size, source, &list));
    qn_status status =
        json_is_array(list) ? QN_OK : qn_fail(QN_ERROR_FORMAT, "%s: no list (expected one of tokens)", source);
    json_array_foreach(list, i, item) {
        if (status == QN_OK && !json_is_string(item))
            status = qn_fail(QN_ERROR_FORMAT, "%s: item %zu of the list is no string (expected a token)", source, i);
        if (status == QN_OK) status = add_token(out, &capacity, json_string_value(item), json_string_length(item));
    }
    json_decref(list);
    return status;
}

static qn_status parse_lines(const char *text, size_t size, qn_ct2_vocabulary *out) {
    size_t capacity = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - text) - at : size - at;
        QN_TRY(add_token(out, &capacity, text + at, length - (length > 0 && text[at + length - 1] == '\r')));
        at += length + 1;
    }
    return QN_OK;
}

qn_status qn_ct2_vocabulary_parse(const char *text, size_t size, bool json, const char *source,
                                  qn_ct2_vocabulary *out) {
    *out = (qn_ct2_vocabulary){0};
    qn_status status = json ? parse_list(text, size, source, out) : parse_lines(text, size, out);
    if (status == QN_OK && out->count == 0) status = qn_fail(QN_ERROR_FORMAT, "%s: no tokens", source);
    if (status != QN_OK) qn_ct2_vocabulary_free(out);
    return status;
}

// Reads NAME_vocabulary.json or .txt; *found false: the folder has neither.
static qn_status read_vocabulary(const char *folder, const char *name, qn_ct2_vocabulary *out, bool *found) {
    qn_status status = QN_OK;
    *found = false;
    for (int json = 1; status == QN_OK && !*found && json >= 0; json--) {
        char file[64];
        snprintf(file, sizeof file, "%s_vocabulary.%s", name, json ? "json" : "txt");
        char *path = qn_path_join(folder, file);
        if (!path) return QN_ERROR_MEMORY;
        *found = qn_is_file(path);
        qn_buffer text = {0};
        if (*found) status = qn_read_file(path, FILE_LIMIT, &text);
        if (*found && status == QN_OK) status = qn_ct2_vocabulary_parse(text.data, text.size, json, path, out);
        qn_buffer_free(&text);
        free(path);
    }
    return status;
}

static qn_status read_vocabularies(const char *folder, qn_ct2_folder *out) {
    bool shared, source, target = true;
    QN_TRY(read_vocabulary(folder, "shared", &out->source, &shared));
    if (shared) return QN_OK;
    QN_TRY(read_vocabulary(folder, "source", &out->source, &source));
    if (source) QN_TRY(read_vocabulary(folder, "target", &out->target, &target));
    if (source && target) return QN_OK;
    return qn_fail(QN_ERROR_IO,
                   "%s: no vocabulary (expected shared_vocabulary.json, or source_ and target_vocabulary.json)",
                   folder);
}

// --- Configuration

void qn_ct2_config_free(qn_ct2_config *c) {
    free(c->unk_token);
    free(c->bos_token);
    free(c->eos_token);
    free(c->decoder_start_token);
    *c = (qn_ct2_config){0};
}

// What CTranslate2 takes for a key that is not there; null is none.
static qn_status read_token(const json_t *object, const char *source, const char *key, const char *fallback,
                            char **out) {
    const char *token = json_object_get(object, key) ? NULL : fallback;
    QN_TRY(qn_json_string(object, source, key, false, &token));
    if (!token) return QN_OK;
    *out = qn_strdup(token);
    return *out ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status read_config(const json_t *object, const char *source, qn_ct2_config *out) {
    if (!json_is_object(object)) return qn_fail(QN_ERROR_FORMAT, "%s: no object", source);
    QN_TRY(read_token(object, source, "unk_token", "<unk>", &out->unk_token));
    QN_TRY(read_token(object, source, "bos_token", "<s>", &out->bos_token));
    QN_TRY(read_token(object, source, "eos_token", "</s>", &out->eos_token));
    QN_TRY(read_token(object, source, "decoder_start_token", "<s>", &out->decoder_start_token));
    QN_TRY(qn_json_bool(object, source, "add_source_bos", false, &out->add_source_bos));
    QN_TRY(qn_json_bool(object, source, "add_source_eos", false, &out->add_source_eos));
    return qn_json_real(object, source, "layer_norm_epsilon", false, 0, 1, &out->layer_norm_epsilon);
}

qn_status qn_ct2_config_parse(const char *text, size_t size, const char *source, qn_ct2_config *out) {
    json_t *object;
    *out = (qn_ct2_config){0};
    QN_TRY(qn_json_parse(text, size, source, &object));
    qn_status status = read_config(object, source, out);
    json_decref(object);
    if (status != QN_OK) qn_ct2_config_free(out);
    return status;
}

// A string in model.bin: its characters as numbers.
static qn_status read_string(const qn_ct2 *weights, const char *name, const char *fallback, char **out) {
    const qn_ct2_variable *v = qn_ct2_find(weights, name);
    if (v && v->dtype != QN_CT2_I8)
        return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" is %s (expected characters)", qn_ct2_path(weights), name,
                       qn_ct2_dtype_name(v->dtype));
    *out = v ? qn_strndup((const char *)v->data, v->size) : qn_strdup(fallback);
    return *out ? QN_OK : QN_ERROR_MEMORY;
}

// Before version 6 model.bin says what config.json does later, and a decoder begins with one of two tokens.
static qn_status read_older_config(const qn_ct2 *weights, qn_ct2_config *out) {
    static const char *const names[] = {"with_source_bos", "with_source_eos", "with_target_bos",
                                        "user_decoder_start_tokens"};
    const int64_t usual[] = {0, 0, 1, 0};
    int64_t flags[4];
    for (size_t i = 0; i < 4; i++) QN_TRY(qn_ct2_read_integer(weights, names[i], 0, 1, &usual[i], &flags[i]));
    out->add_source_bos = flags[0] != 0;
    out->add_source_eos = flags[1] != 0;
    QN_TRY(read_string(weights, "unk_token", "<unk>", &out->unk_token));
    QN_TRY(read_string(weights, "bos_token", "<s>", &out->bos_token));
    QN_TRY(read_string(weights, "eos_token", "</s>", &out->eos_token));
    if (flags[3]) return QN_OK;
    out->decoder_start_token = qn_strdup(flags[2] ? out->bos_token : out->eos_token);
    return out->decoder_start_token ? QN_OK : QN_ERROR_MEMORY;
}

// --- The folder

static bool has_file(const char *folder, const char *name) {
    char *path = qn_path_join(folder, name);
    bool found = path && qn_is_file(path);
    free(path);
    return found;
}

bool qn_ct2_is_folder(const char *path) {
    return has_file(path, "model.bin") && !has_file(path, "model.safetensors") &&
           !has_file(path, "model.safetensors.index.json");
}

static qn_status open_folder(const char *folder, qn_ct2_folder *out) {
    char *weights = qn_path_join(folder, "model.bin"), *config = qn_path_join(folder, "config.json");
    qn_status status = weights && config ? qn_ct2_open(weights, &out->weights) : QN_ERROR_MEMORY;
    if (status == QN_OK && (qn_ct2_version(out->weights) >= CONFIG_SINCE || qn_is_file(config))) {
        qn_buffer text = {0};
        status = qn_read_file(config, FILE_LIMIT, &text);
        if (status == QN_OK) status = qn_ct2_config_parse(text.data, text.size, config, &out->config);
        qn_buffer_free(&text);
    } else if (status == QN_OK)
        status = read_older_config(out->weights, &out->config);
    free(weights);
    free(config);
    return status == QN_OK ? read_vocabularies(folder, out) : status;
}

qn_status qn_ct2_folder_open(const char *path, qn_ct2_folder *out) {
    *out = (qn_ct2_folder){0};
    qn_status status = open_folder(path, out);
    if (status != QN_OK) qn_ct2_folder_close(out);
    return status;
}

void qn_ct2_folder_close(qn_ct2_folder *folder) {
    qn_ct2_close(folder->weights);
    qn_ct2_config_free(&folder->config);
    qn_ct2_vocabulary_free(&folder->source);
    qn_ct2_vocabulary_free(&folder->target);
    *folder = (qn_ct2_folder){0};
}
