// sentence-transformers' files in a model folder, read and written.
#include "formats/model_folder.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT (16u << 20) // these files are a few hundred bytes; prompts may be longer
#define WIDTH_LIMIT (1 << 24)
#define LENGTH_LIMIT (1 << 30)

static const char *const pooling_names[] = {
#define NAME(name, text, flag) text,
    QN_SBERT_POOLING_MAP(NAME)
#undef NAME
};
static const char *const pooling_flags[] = {
#define FLAG(name, text, flag) flag,
    QN_SBERT_POOLING_MAP(FLAG)
#undef FLAG
};
static const char *const similarity_names[] = {"cosine", "dot", "euclidean", "manhattan"};

const char *qn_sbert_pooling_name(qn_sbert_pooling pooling) {
    return (unsigned)pooling < QN_SBERT_POOLINGS ? pooling_names[pooling] : "?";
}

const char *qn_sbert_similarity_name(qn_sbert_similarity similarity) {
    return (unsigned)similarity < QN_SBERT_SIMILARITIES ? similarity_names[similarity] : "?";
}

qn_sbert qn_sbert_defaults(void) {
    return (qn_sbert){.pooling = QN_SBERT_POOL_MEAN, .include_prompt = true, .similarity = QN_SBERT_COSINE};
}

void qn_sbert_free(qn_sbert *config) {
    for (size_t i = 0; i < config->prompt_count; i++) {
        free(config->prompts[i].name);
        free(config->prompts[i].text);
    }
    free(config->prompts);
    free(config->default_prompt);
    free(config->transformer_path);
    free(config->pooling_path);
    free(config->normalize_path);
    *config = qn_sbert_defaults();
}

static qn_status replace(char **text, const char *value) {
    char *copy = qn_strdup(value);
    if (!copy) return QN_ERROR_MEMORY;
    free(*text);
    *text = copy;
    return QN_OK;
}

// --- Reading ---

// A module's path comes from a foreign file: it must not lead out of the folder.
static bool is_inner_path(const char *path) {
    if (path[0] == '/' || strpbrk(path, "\\:")) return false;
    for (const char *part = path; part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        if (!strcmp(part, "..") || !strncmp(part, "../", 3)) return false;
    }
    return true;
}

static qn_status parse_object(const char *text, size_t size, const char *source, json_t **out) {
    QN_TRY(qn_json_parse(text, size, source, out));
    if (json_is_object(*out)) return QN_OK;
    json_decref(*out);
    *out = NULL;
    return qn_fail(QN_ERROR_FORMAT, "%s: no JSON object", source);
}

// The class of a module is the last part of its type: packages moved between versions, the classes kept their names.
static qn_status parse_module(const json_t *module, size_t position, const char *source, qn_sbert *out) {
    static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
    const char *type = NULL, *path = "";
    if (!json_is_object(module)) return qn_fail(QN_ERROR_FORMAT, "%s: module %zu is no object", source, position);
    QN_TRY(qn_json_string(module, source, "type", true, &type));
    QN_TRY(qn_json_string(module, source, "path", false, &path));
    const char *dot = strrchr(type, '.'), *class_name = dot ? dot + 1 : type;
    if (strncmp(type, "sentence_transformers.", 22) || position > 2 || strcmp(class_name, order[position]))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: module %zu is \"%.100s\" (expected Transformer, Pooling and, or not, Normalize)", source,
                       position, type);
    if (!is_inner_path(path))
        return qn_fail(QN_ERROR_FORMAT, "%s: module %zu has the path \"%.100s\" (expected one inside the folder)",
                       source, position, path);
    if (position == 0) return replace(&out->transformer_path, path);
    if (position == 1) return replace(&out->pooling_path, path);
    out->normalize = true;
    return replace(&out->normalize_path, path);
}

qn_status qn_sbert_parse_modules(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    QN_TRY(qn_json_parse(text, size, source, &root));
    qn_status status = QN_OK;
    size_t count = json_array_size(root);
    if (!json_is_array(root)) status = qn_fail(QN_ERROR_FORMAT, "%s: no list of modules", source);
    for (size_t i = 0; i < count && status == QN_OK; i++)
        status = parse_module(json_array_get(root, i), i, source, out);
    if (status == QN_OK && count < 2)
        status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: %zu modules (expected Transformer, Pooling and, or not, Normalize)",
                         source, count);
    out->present = status == QN_OK;
    json_decref(root);
    return status;
}

static qn_status find_pooling(const char *source, const char *name, qn_sbert_pooling *out) {
    for (int i = 0; i < QN_SBERT_POOLINGS; i++) {
        if (strcmp(name, pooling_names[i])) continue;
        *out = (qn_sbert_pooling)i;
        return QN_OK;
    }
#define LIST(name, text, flag) " " text
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: pooling_mode \"%.50s\" (expected one of" QN_SBERT_POOLING_MAP(LIST) ")",
                   source, name);
#undef LIST
}

// The newer spelling: "pooling_mode": "mean", or a list of names.
static qn_status parse_pooling_mode(const json_t *mode, const char *source, qn_sbert *out) {
    if (json_is_array(mode)) {
        if (json_array_size(mode) != 1)
            return qn_fail(QN_ERROR_UNSUPPORTED,
                           "%s: pooling_mode is a list of %zu (expected one; concatenated poolings "
                           "are not supported)",
                           source, json_array_size(mode));
        mode = json_array_get(mode, 0);
    }
    if (!json_is_string(mode)) return qn_fail(QN_ERROR_FORMAT, "%s: pooling_mode is no string", source);
    return find_pooling(source, json_string_value(mode), &out->pooling);
}

// The older spelling: one boolean for each mode; none of them means the mean.
static qn_status parse_pooling_flags(const json_t *root, const char *source, qn_sbert *out) {
    int active = -1;
    for (int i = 0; i < QN_SBERT_POOLINGS; i++) {
        bool flag = false;
        QN_TRY(qn_json_bool(root, source, pooling_flags[i], false, &flag));
        if (!flag) continue;
        if (active >= 0)
            return qn_fail(QN_ERROR_UNSUPPORTED,
                           "%s: both %s and %s are true (expected one; concatenated poolings are not supported)",
                           source, pooling_flags[active], pooling_flags[i]);
        active = i;
    }
    out->pooling = active < 0 ? QN_SBERT_POOL_MEAN : (qn_sbert_pooling)active;
    return QN_OK;
}

qn_status qn_sbert_parse_pooling(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    QN_TRY(parse_object(text, size, source, &root));
    const json_t *mode = json_object_get(root, "pooling_mode");
    qn_status status = qn_json_int(root, source, "word_embedding_dimension", false, 1, WIDTH_LIMIT, &out->width);
    if (status == QN_OK) status = qn_json_int(root, source, "embedding_dimension", false, 1, WIDTH_LIMIT, &out->width);
    if (status == QN_OK) status = qn_json_bool(root, source, "include_prompt", false, &out->include_prompt);
    if (status == QN_OK) status = mode ? parse_pooling_mode(mode, source, out) : parse_pooling_flags(root, source, out);
    json_decref(root);
    return status;
}

qn_status qn_sbert_parse_transformer(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    QN_TRY(parse_object(text, size, source, &root));
    qn_status status = qn_json_int(root, source, "max_seq_length", false, 1, LENGTH_LIMIT, &out->max_seq_length);
    if (status == QN_OK) status = qn_json_bool(root, source, "do_lower_case", false, &out->do_lower_case);
    json_decref(root);
    return status;
}

static qn_status copy_prompts(const json_t *prompts, const char *source, qn_sbert *out) {
    const char *name;
    json_t *text;
    size_t count = json_object_size(prompts);
    if (!count) return QN_OK;
    out->prompts = qn_calloc(count, sizeof *out->prompts);
    if (!out->prompts) return QN_ERROR_MEMORY;
    json_object_foreach((json_t *)prompts, name, text) {
        if (!json_is_string(text) || strlen(json_string_value(text)) != json_string_length(text))
            return qn_fail(QN_ERROR_FORMAT, "%s: prompt \"%.100s\" is no string without NUL", source, name);
        qn_sbert_prompt *prompt = &out->prompts[out->prompt_count++];
        QN_TRY(replace(&prompt->name, name));
        QN_TRY(replace(&prompt->text, json_string_value(text)));
    }
    return QN_OK;
}

static qn_status read_prompts(const json_t *root, const char *source, qn_sbert *out) {
    json_t *prompts = NULL;
    const char *model_type = "SentenceTransformer", *name = NULL, *similarity = "cosine";
    QN_TRY(qn_json_string(root, source, "model_type", false, &model_type));
    if (strcmp(model_type, "SentenceTransformer"))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: model_type \"%.50s\" (expected SentenceTransformer)", source,
                       model_type);
    QN_TRY(qn_json_object(root, source, "prompts", false, &prompts));
    QN_TRY(copy_prompts(prompts, source, out));
    QN_TRY(qn_json_string(root, source, "default_prompt_name", false, &name));
    if (name) {
        if (!json_object_get(prompts, name))
            return qn_fail(QN_ERROR_FORMAT, "%s: default_prompt_name is \"%.100s\" (expected one of the prompts)",
                           source, name);
        QN_TRY(replace(&out->default_prompt, name));
    }
    QN_TRY(qn_json_string(root, source, "similarity_fn_name", false, &similarity));
    for (int i = 0; i < QN_SBERT_SIMILARITIES; i++) {
        if (strcmp(similarity, similarity_names[i])) continue;
        out->similarity = (qn_sbert_similarity)i;
        return QN_OK;
    }
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: similarity_fn_name \"%.50s\" (expected cosine, dot, euclidean or manhattan)", source,
                   similarity);
}

qn_status qn_sbert_parse_prompts(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    QN_TRY(parse_object(text, size, source, &root));
    qn_status status = read_prompts(root, source, out);
    json_decref(root);
    return status;
}

// A Normalize of something else than the text's vector belongs to models of another kind.
qn_status qn_sbert_parse_normalize(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    const char *input = "sentence_embedding", *output = "sentence_embedding";
    QN_TRY(parse_object(text, size, source, &root));
    qn_status status = qn_json_string(root, source, "module_input_name", false, &input);
    if (status == QN_OK) status = qn_json_string(root, source, "module_output_name", false, &output);
    if (status == QN_OK && (strcmp(input, "sentence_embedding") || strcmp(output, "sentence_embedding")))
        status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: normalises \"%.50s\" into \"%.50s\" (expected sentence_embedding)",
                         source, input, output);
    out->normalize = status == QN_OK;
    json_decref(root);
    return status;
}

typedef qn_status (*parser)(const char *text, size_t size, const char *source, qn_sbert *out);

// Parses folder/inner/name when it is there; *found tells.
static qn_status read_file(const char *folder, const char *inner, const char *name, parser parse, qn_sbert *out,
                           bool *found) {
    char *place = *inner ? qn_path_join(folder, inner) : qn_strdup(folder);
    char *path = place ? qn_path_join(place, name) : NULL;
    free(place);
    if (!path) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    *found = qn_is_file(path);
    if (*found) {
        qn_buffer text = {0};
        status = qn_read_file(path, FILE_LIMIT, &text);
        if (status == QN_OK) status = parse(text.data, text.size, path, out);
        qn_buffer_free(&text);
    }
    free(path);
    return status;
}

static qn_status read_folder(const char *folder, qn_sbert *out) {
    // The name that sentence-transformers gave this file depended on the family for a while.
    static const char *const transformer_files[] = {
        "sentence_bert_config.json",      "sentence_roberta_config.json", "sentence_distilbert_config.json",
        "sentence_camembert_config.json", "sentence_albert_config.json",  "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json",
    };
    bool found;
    QN_TRY(replace(&out->transformer_path, ""));
    QN_TRY(replace(&out->pooling_path, "1_Pooling"));
    QN_TRY(replace(&out->normalize_path, "2_Normalize"));
    QN_TRY(read_file(folder, "", "modules.json", qn_sbert_parse_modules, out, &found));
    if (out->present) {
        QN_TRY(read_file(folder, out->pooling_path, "config.json", qn_sbert_parse_pooling, out, &found));
        if (!found)
            return qn_fail(QN_ERROR_IO, "%s: modules.json names \"%.100s\", but it holds no config.json", folder,
                           out->pooling_path);
        if (out->normalize)
            QN_TRY(read_file(folder, out->normalize_path, "config.json", qn_sbert_parse_normalize, out, &found));
    }
    found = false;
    for (size_t i = 0; i < sizeof transformer_files / sizeof *transformer_files && !found; i++)
        QN_TRY(read_file(folder, out->transformer_path, transformer_files[i], qn_sbert_parse_transformer, out, &found));
    return read_file(folder, "", "config_sentence_transformers.json", qn_sbert_parse_prompts, out, &found);
}

qn_status qn_sbert_read(const char *folder, qn_sbert *out) {
    *out = qn_sbert_defaults();
    qn_status status = read_folder(folder, out);
    if (status != QN_OK) qn_sbert_free(out);
    return status;
}

// --- Writing ---

// Saves a value that was just built, and gives it up; NULL means that there was no memory (or text that JSON cannot
// hold).
static qn_status save(const char *folder, const char *name, json_t *value) {
    char *path = qn_path_join(folder, name);
    qn_status status = QN_ERROR_MEMORY;
    if (path)
        status = value ? qn_json_save(value, path)
                       : qn_fail(QN_ERROR_ARGUMENT, "%s: holds text that is not UTF-8, or memory is short", path);
    json_decref(value);
    free(path);
    return status;
}

static json_t *module_json(int position, const char *path, const char *class_name) {
    return json_pack("{s:i, s:o, s:s, s:o}", "idx", position, "name", json_sprintf("%d", position), "path", path,
                     "type", json_sprintf("sentence_transformers.models.%s", class_name));
}

// Old versions refuse keys that they do not know: those of later versions are written only where they say something.
static json_t *pooling_json(const qn_sbert *config) {
    json_t *root = json_pack("{s:I}", "word_embedding_dimension", (json_int_t)config->width);
    for (int i = 0; i < QN_SBERT_POOLINGS; i++) {
        bool chosen = (int)config->pooling == i;
        if (chosen || i <= QN_SBERT_POOL_MEAN_SQRT_LEN)
            json_object_set_new(root, pooling_flags[i], json_boolean(chosen));
    }
    if (!config->include_prompt) json_object_set_new(root, "include_prompt", json_false());
    return root;
}

static json_t *prompts_json(const qn_sbert *config) {
    json_t *prompts = json_object();
    for (size_t i = 0; i < config->prompt_count; i++) {
        if (json_object_set_new(prompts, config->prompts[i].name, json_string(config->prompts[i].text)) == 0) continue;
        json_decref(prompts);
        return NULL;
    }
    return json_pack("{s:o, s:s?, s:s}", "prompts", prompts, "default_prompt_name", config->default_prompt,
                     "similarity_fn_name", similarity_names[config->similarity]);
}

qn_status qn_sbert_write(const char *folder, const qn_sbert *config) {
    if ((unsigned)config->pooling >= QN_SBERT_POOLINGS || (unsigned)config->similarity >= QN_SBERT_SIMILARITIES ||
        config->width < 1)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: no pooling, similarity or width of the vectors to write", folder);
    char *pooling = qn_path_join(folder, "1_Pooling");
    if (!pooling) return QN_ERROR_MEMORY;
    qn_status status = qn_make_folders(pooling);
    if (status == QN_OK) status = save(pooling, "config.json", pooling_json(config));
    free(pooling);
    QN_TRY(status);

    json_t *transformer = json_pack("{s:b}", "do_lower_case", (int)config->do_lower_case);
    if (config->max_seq_length)
        json_object_set_new(transformer, "max_seq_length", json_integer(config->max_seq_length));
    QN_TRY(save(folder, "sentence_bert_config.json", transformer));
    QN_TRY(save(folder, "config_sentence_transformers.json", prompts_json(config)));

    // modules.json is last: with it the folder becomes one of sentence-transformers.
    json_t *modules = json_pack("[o, o]", module_json(0, "", "Transformer"), module_json(1, "1_Pooling", "Pooling"));
    if (config->normalize) json_array_append_new(modules, module_json(2, "2_Normalize", "Normalize"));
    return save(folder, "modules.json", modules);
}
