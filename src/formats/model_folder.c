// sentence-transformers' files in a model folder, read and written.
#include "formats/model_folder.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT (16u << 20) // these files are a few hundred bytes; prompts may be longer
#define WIDTH_LIMIT (1 << 24)
#define LENGTH_LIMIT (1 << 30)
enum { MOST_MODULES = 16 }; // behind the pooling

static const char *const pooling_names[] = {
#define NAME(name, text) text,
    QN_POOL_MAP(NAME)
#undef NAME
};
// The older spelling, in the order in which its results stand side by side.
static const struct {
    qn_pool pooling;
    const char *flag;
} pooling_flags[QN_POOLS] = {{QN_POOL_CLS, "pooling_mode_cls_token"},
                             {QN_POOL_MAX, "pooling_mode_max_tokens"},
                             {QN_POOL_MEAN, "pooling_mode_mean_tokens"},
                             {QN_POOL_MEAN_SQRT_LEN, "pooling_mode_mean_sqrt_len_tokens"},
                             {QN_POOL_WEIGHTED_MEAN, "pooling_mode_weightedmean_tokens"},
                             {QN_POOL_LAST_TOKEN, "pooling_mode_lasttoken"}};
enum { OLD_FLAGS = 4 }; // that the first versions know
// How torch calls the activations that a dense layer may have.
static const struct {
    qn_activation activation;
    const char *name, *class_name;
} activations[] = {{QN_ACTIVATION_TANH, "tanh", "torch.nn.modules.activation.Tanh"},
                   {QN_ACTIVATION_NONE, "linear", "torch.nn.modules.linear.Identity"},
                   {QN_ACTIVATION_GELU, "gelu", "torch.nn.modules.activation.GELU"},
                   {QN_ACTIVATION_RELU, "relu", "torch.nn.modules.activation.ReLU"},
                   {QN_ACTIVATION_SILU, "silu", "torch.nn.modules.activation.SiLU"}};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };
static const char *const model_types[] = {"SentenceTransformer", "SparseEncoder"};
static const char late_class[] = "pylate.models.Dense.Dense", late_similarity[] = "MaxSim";
static const char *const sides[] = {"query", "document"};
static const int64_t late_lengths[] = {32, 180}; // PyLate's
static const char *const similarity_names[] = {"cosine", "dot", "euclidean", "manhattan"};

const char *qn_pool_name(qn_pool pooling) {
    return (unsigned)pooling < QN_POOLS ? pooling_names[pooling] : "?";
}

const char *qn_sbert_similarity_name(qn_sbert_similarity similarity) {
    return (unsigned)similarity < QN_SBERT_SIMILARITIES ? similarity_names[similarity] : "?";
}

qn_sbert qn_sbert_defaults(void) {
    return (qn_sbert){
        .poolings = {QN_POOL_MEAN}, .pooling_count = 1, .include_prompt = true, .similarity = QN_SBERT_COSINE};
}

void qn_sbert_free(qn_sbert *config) {
    for (size_t i = 0; i < config->prompt_count; i++) {
        free(config->prompts[i].name);
        free(config->prompts[i].text);
    }
    free(config->prompts);
    free(config->default_prompt);
    free(config->folder);
    free(config->transformer_path);
    free(config->pooling_path);
    for (size_t i = 0; i < config->module_count; i++) free(config->modules[i].path);
    free(config->modules);
    for (int side = 0; side < 2; side++) free(config->late.prefix[side]);
    for (size_t i = 0; i < config->late.skip_count; i++) free(config->late.skip[i]);
    free(config->late.skip);
    *config = qn_sbert_defaults();
}

static qn_status replace(char **text, const char *value) {
    char *copy = qn_strdup(value);
    if (!copy) return QN_ERROR_MEMORY;
    free(*text);
    *text = copy;
    return QN_OK;
}

// --- What the modules are ---

static qn_status find_pooling(const char *source, const char *name, size_t size, qn_pool *out) {
    for (int i = 0; i < QN_POOLS; i++) {
        if (strlen(pooling_names[i]) != size || strncmp(name, pooling_names[i], size)) continue;
        *out = (qn_pool)i;
        return QN_OK;
    }
#define LIST(name, text) " " text
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s \"%.*s\" (expected one of" QN_POOL_MAP(LIST) ")", source,
                   (int)(size < 50 ? size : 50), name);
#undef LIST
}

static qn_status add_pooling(const char *source, qn_pool pooling, qn_sbert *out) {
    for (size_t i = 0; i < out->pooling_count; i++)
        if (out->poolings[i] == pooling)
            return qn_fail(QN_ERROR_UNSUPPORTED, "%s \"%s\" twice (expected each pooling once)", source,
                           qn_pool_name(pooling));
    out->poolings[out->pooling_count++] = pooling;
    return QN_OK;
}

qn_status qn_sbert_set_poolings(qn_sbert *config, const char *names) {
    qn_sbert chosen = {0};
    for (const char *at = names;; at++) {
        qn_pool pooling;
        size_t size = strcspn(at, ",");
        QN_TRY(find_pooling("pooling", at, size, &pooling));
        QN_TRY(add_pooling("pooling", pooling, &chosen));
        at += size;
        if (!*at) break;
    }
    memcpy(config->poolings, chosen.poolings, sizeof chosen.poolings);
    config->pooling_count = chosen.pooling_count;
    return QN_OK;
}

bool qn_sbert_normalizes(const qn_sbert *config) {
    return config->module_count && config->modules[config->module_count - 1].kind == QN_SBERT_NORMALIZE;
}

static qn_status add_module(qn_sbert *config, size_t at, const qn_sbert_module *module, const char *path) {
    qn_sbert_module *modules = qn_calloc(config->module_count + 1, sizeof *modules);
    char *copy = qn_strdup(path);
    if (!modules || !copy) {
        free(modules);
        free(copy);
        return QN_ERROR_MEMORY;
    }
    for (size_t i = 0; i <= config->module_count; i++)
        modules[i] = i == at ? *module : config->modules[i - (i > at)];
    modules[at].path = copy;
    free(config->modules);
    config->modules = modules;
    config->module_count++;
    return QN_OK;
}

qn_status qn_sbert_set_normalize(qn_sbert *config, bool on) {
    if (on == qn_sbert_normalizes(config)) return QN_OK;
    if (on) return add_module(config, config->module_count, &(qn_sbert_module){.kind = QN_SBERT_NORMALIZE}, "");
    free(config->modules[--config->module_count].path);
    return QN_OK;
}

qn_status qn_sbert_add_dense(qn_sbert *config, size_t in, size_t out, const char *activation) {
    qn_sbert_module dense = {.kind = QN_SBERT_DENSE, .in = in, .out = out, .bias = true};
    size_t i = 0, at = config->module_count - qn_sbert_normalizes(config);
    while (activation && i < ACTIVATIONS && strcmp(activation, activations[i].name)) i++;
    if (i == ACTIVATIONS)
        return qn_fail(QN_ERROR_ARGUMENT,
                       "a dense layer's activation is \"%s\" (expected tanh, linear, gelu, relu or silu)", activation);
    dense.activation = activations[i].activation;
    return add_module(config, at, &dense, "");
}

void qn_sbert_make_sparse(qn_sbert *config) {
    if (config->sparse) return;
    for (size_t i = 0; i < config->module_count; i++) free(config->modules[i].path);
    config->module_count = 0;
    config->sparse = true;
    config->similarity = QN_SBERT_DOT;
}

// What a ColBERT of no other sayings is: punctuation has no vector.
static qn_status begin_late(qn_sbert *config) {
    static const char punctuation[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    qn_sbert_late *l = &config->late;
    if (l->on) return QN_OK;
    l->on = l->expand = true;
    memcpy(l->length, late_lengths, sizeof l->length);
    l->skip = qn_calloc(sizeof punctuation - 1, sizeof *l->skip);
    if (!l->skip) return QN_ERROR_MEMORY;
    for (size_t i = 0; i + 1 < sizeof punctuation; i++) {
        l->skip[i] = qn_strndup(punctuation + i, 1);
        if (!l->skip[i]) return QN_ERROR_MEMORY;
        l->skip_count++;
    }
    return QN_OK;
}

qn_status qn_sbert_make_late(qn_sbert *config, size_t width, const char *query, const char *document) {
    const char *prefixes[] = {query, document};
    if (config->late.on) return QN_OK;
    for (size_t i = 0; i < config->module_count; i++) free(config->modules[i].path);
    config->module_count = 0;
    config->pooling_count = 1;
    QN_TRY(begin_late(config));
    for (int side = 0; side < 2; side++)
        QN_TRY(replace(&config->late.prefix[side], prefixes[side] ? prefixes[side] : ""));
    return add_module(config, 0, &(qn_sbert_module){.kind = QN_SBERT_DENSE, .out = width}, "");
}

size_t qn_sbert_width(const qn_sbert *config, size_t hidden, size_t vocabulary) {
    if (config->sparse) return vocabulary;
    size_t width = hidden * config->pooling_count;
    for (size_t i = 0; i < config->module_count; i++)
        if (config->modules[i].kind == QN_SBERT_DENSE) width = config->modules[i].out;
    return width;
}

static const char *named_prompt(const qn_sbert *config, const char *name) {
    for (size_t i = 0; i < config->prompt_count; i++)
        if (!strcmp(config->prompts[i].name, name)) return config->prompts[i].text;
    return NULL;
}

const char *qn_sbert_prompt_of(const qn_sbert *config, const char *prompt, qn_purpose purpose) {
    static const char *const names[][3] = {[QN_FOR_QUERIES] = {"query"},
                                           [QN_FOR_DOCUMENTS] = {"document", "passage", "corpus"}};
    const char *text = NULL;
    if (prompt) {
        text = named_prompt(config, prompt);
        if (!text) text = prompt;
    }
    for (int i = 0; !text && purpose != QN_FOR_ANYTHING && i < 3 && names[purpose][i]; i++)
        text = named_prompt(config, names[purpose][i]);
    if (!text && config->default_prompt) text = named_prompt(config, config->default_prompt);
    return text && *text ? text : NULL;
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
    static const char *const expected[] = {"Transformer", "Pooling", "Dense or Normalize"};
    static const char *const sparse[] = {"MLMTransformer", "SpladePooling"}; // in place of the first two
    const char *type = NULL, *path = "";
    if (!json_is_object(module)) return qn_fail(QN_ERROR_FORMAT, "%s: module %zu is no object", source, position);
    QN_TRY(qn_json_string(module, source, "type", true, &type));
    QN_TRY(qn_json_string(module, source, "path", false, &path));
    const char *dot = strrchr(type, '.'), *class_name = dot ? dot + 1 : type;
    bool dense = position > 1 && !strcmp(class_name, "Dense"), normalize = position > 1 && !strcmp(class_name, "Normalize");
    bool known = position > 1 ? (dense || normalize) && !out->sparse
                              : !strcmp(class_name, expected[position]) || !strcmp(class_name, sparse[position]);
    if (position > 0 && !strncmp(type, late_class, 7) && !strcmp(class_name, "Dense") &&
        (position == 1 || out->late.on) && out->module_count < MOST_MODULES && is_inner_path(path)) {
        if (position == 1) QN_TRY(begin_late(out));
        return add_module(out, out->module_count, &(qn_sbert_module){.kind = QN_SBERT_DENSE, .bias = true}, path);
    }
    if (strncmp(type, "sentence_transformers.", 22) || !known || out->late.on)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: module %zu is \"%.100s\" (expected %s)", source, position, type,
                       expected[position < 2 ? position : 2]);
    if (!is_inner_path(path))
        return qn_fail(QN_ERROR_FORMAT, "%s: module %zu has the path \"%.100s\" (expected one inside the folder)",
                       source, position, path);
    if (position == 0) return replace(&out->transformer_path, path);
    if (position == 1) {
        out->sparse = !strcmp(class_name, sparse[1]);
        return replace(&out->pooling_path, path);
    }
    if (out->module_count == MOST_MODULES)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: more than %d modules", source, MOST_MODULES + 2);
    return add_module(out, out->module_count,
                      &(qn_sbert_module){.kind = dense ? QN_SBERT_DENSE : QN_SBERT_NORMALIZE, .bias = true}, path);
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
        status = qn_fail(QN_ERROR_UNSUPPORTED,
                         "%s: %zu modules (expected Transformer, Pooling and any of Dense and Normalize)", source, count);
    out->present = status == QN_OK;
    json_decref(root);
    return status;
}

// The newer spelling: "pooling_mode": "mean", or a list of names.
static qn_status parse_pooling_mode(const json_t *mode, const char *source, qn_sbert *out) {
    size_t count = json_is_array(mode) ? json_array_size(mode) : 1;
    char what[512];
    snprintf(what, sizeof what, "%.400s: pooling_mode", source);
    out->pooling_count = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *name = json_is_array(mode) ? json_array_get(mode, i) : mode;
        qn_pool pooling;
        if (!json_is_string(name)) return qn_fail(QN_ERROR_FORMAT, "%s is no string", what);
        QN_TRY(find_pooling(what, json_string_value(name), json_string_length(name), &pooling));
        QN_TRY(add_pooling(what, pooling, out));
    }
    return count ? QN_OK : qn_fail(QN_ERROR_FORMAT, "%s is an empty list", what);
}

// The older spelling: one boolean for each mode; none of them means the mean.
static qn_status parse_pooling_flags(const json_t *root, const char *source, qn_sbert *out) {
    out->pooling_count = 0;
    for (int i = 0; i < QN_POOLS; i++) {
        bool flag = false;
        QN_TRY(qn_json_bool(root, source, pooling_flags[i].flag, false, &flag));
        if (flag) QN_TRY(add_pooling(source, pooling_flags[i].pooling, out));
    }
    return out->pooling_count ? QN_OK : add_pooling(source, QN_POOL_MEAN, out);
}

static qn_status parse_splade(const json_t *root, const char *source) {
    const char *strategy = "max", *activation = "relu";
    QN_TRY(qn_json_string(root, source, "pooling_strategy", false, &strategy));
    QN_TRY(qn_json_string(root, source, "activation_function", false, &activation));
    if (strcmp(strategy, "max") || strcmp(activation, "relu"))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: pooling_strategy \"%.50s\" and activation_function \"%.50s\" "
                       "(expected max and relu)", source, strategy, activation);
    return QN_OK;
}

qn_status qn_sbert_parse_pooling(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    QN_TRY(parse_object(text, size, source, &root));
    const json_t *mode = json_object_get(root, "pooling_mode");
    qn_status status = qn_json_int(root, source, "word_embedding_dimension", false, 1, WIDTH_LIMIT, &out->width);
    if (status == QN_OK) status = qn_json_int(root, source, "embedding_dimension", false, 1, WIDTH_LIMIT, &out->width);
    if (status == QN_OK && out->sparse)
        status = parse_splade(root, source);
    else if (status == QN_OK) {
        status = qn_json_bool(root, source, "include_prompt", false, &out->include_prompt);
        if (status == QN_OK)
            status = mode ? parse_pooling_mode(mode, source, out) : parse_pooling_flags(root, source, out);
    }
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

// Keys are "query" and "document" with these endings.
static qn_status read_sides(const json_t *root, const char *source, const char *const *names, const char *prefix_end,
                            const char *length_end, qn_sbert_late *out) {
    for (int side = 0; side < 2; side++) {
        char key[64];
        const char *prefix = NULL;
        snprintf(key, sizeof key, "%s%s", names[side], prefix_end);
        QN_TRY(qn_json_string(root, source, key, false, &prefix));
        if (prefix) QN_TRY(replace(&out->prefix[side], prefix));
        snprintf(key, sizeof key, "%s%s", names[side], length_end);
        QN_TRY(qn_json_int(root, source, key, false, 4, LENGTH_LIMIT, &out->length[side]));
    }
    return QN_OK;
}

static qn_status read_skip(const json_t *words, const char *source, qn_sbert_late *out) {
    size_t count = json_array_size(words);
    char **skip = qn_calloc(count + 1, sizeof *skip);
    qn_status status = skip ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; i < out->skip_count; i++) free(out->skip[i]);
    free(out->skip);
    out->skip = skip;
    out->skip_count = 0;
    for (size_t i = 0; status == QN_OK && i < count; i++) {
        const char *word = json_string_value(json_array_get(words, i));
        if (!word) return qn_fail(QN_ERROR_FORMAT, "%s: skiplist_words, place %zu: no string", source, i);
        skip[i] = qn_strdup(word);
        if (!skip[i]) return QN_ERROR_MEMORY;
        out->skip_count++;
    }
    return status;
}

static qn_status read_late(const json_t *root, const char *source, const char *prefix_end, const char *length_end,
                           qn_sbert_late *out) {
    json_t *skip = NULL;
    QN_TRY(read_sides(root, source, sides, prefix_end, length_end, out));
    QN_TRY(qn_json_bool(root, source, "do_query_expansion", false, &out->expand));
    QN_TRY(qn_json_bool(root, source, "attend_to_expansion_tokens", false, &out->attend));
    QN_TRY(qn_json_array(root, source, "skiplist_words", false, &skip));
    return skip ? read_skip(skip, source, out) : QN_OK;
}

// artifact.metadata, by which colbert-ir's folders are known. Their projection is "linear.weight" beside the encoder's
// weights.
qn_status qn_sbert_parse_artifact(const char *text, size_t size, const char *source, qn_sbert *out) {
    static const char *const names[] = {"query", "doc"};
    json_t *root;
    int64_t width = 128;
    bool punctuation = true;
    QN_TRY(parse_object(text, size, source, &root));
    qn_status status = qn_json_int(root, source, "dim", false, 1, WIDTH_LIMIT, &width);
    if (status == QN_OK) status = qn_sbert_make_late(out, (size_t)width, "[unused0]", "[unused1]");
    if (status == QN_OK) status = read_sides(root, source, names, "_token_id", "_maxlen", &out->late);
    if (status == QN_OK) status = qn_json_bool(root, source, "attend_to_mask_tokens", false, &out->late.attend);
    if (status == QN_OK) status = qn_json_bool(root, source, "mask_punctuation", false, &punctuation);
    if (status == QN_OK && !punctuation) status = read_skip(NULL, source, &out->late);
    if (status == QN_OK) status = replace(&out->modules[0].path, ".");
    json_decref(root);
    return status;
}

static qn_status read_prompts(const json_t *root, const char *source, qn_sbert *out) {
    json_t *prompts = NULL;
    const char *model_type = "SentenceTransformer", *name = NULL, *similarity = "cosine";
    QN_TRY(qn_json_string(root, source, "model_type", false, &model_type));
    const char *expected = model_types[out->sparse];
    if (!out->late.on && strcmp(model_type, expected) && strcmp(model_type, model_types[0]))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: model_type \"%.50s\" (expected %s)", source, model_type, expected);
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
    if (out->late.on) return read_late(root, source, "_prefix", "_length", &out->late);
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

// A module of something else than the text's vector belongs to models of another kind.
static qn_status check_places(const json_t *root, const char *source, const char *does) {
    const char *input = "sentence_embedding", *output = "sentence_embedding";
    QN_TRY(qn_json_string(root, source, "module_input_name", false, &input));
    QN_TRY(qn_json_string(root, source, "module_output_name", false, &output));
    if (strcmp(input, output) || (strcmp(input, "sentence_embedding") && strcmp(input, "token_embeddings")))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: %s \"%.50s\" into \"%.50s\" (expected sentence_embedding)", source,
                       does, input, output);
    return QN_OK;
}

qn_status qn_sbert_parse_normalize(const char *text, size_t size, const char *source, qn_sbert *out) {
    (void)out;
    json_t *root;
    QN_TRY(parse_object(text, size, source, &root));
    qn_status status = check_places(root, source, "normalises");
    json_decref(root);
    return status;
}

static qn_status read_dense(const json_t *root, const char *source, qn_sbert_module *dense) {
    int64_t in = 0, out = 0;
    bool residual = false;
    const char *activation = activations[0].class_name;
    QN_TRY(check_places(root, source, "turns"));
    QN_TRY(qn_json_int(root, source, "in_features", true, 1, WIDTH_LIMIT, &in));
    QN_TRY(qn_json_int(root, source, "out_features", true, 1, WIDTH_LIMIT, &out));
    QN_TRY(qn_json_bool(root, source, "bias", false, &dense->bias));
    QN_TRY(qn_json_bool(root, source, "use_residual", false, &residual));
    if (residual) return qn_fail(QN_ERROR_UNSUPPORTED, "%s: use_residual is true (expected a plain layer)", source);
    QN_TRY(qn_json_string(root, source, "activation_function", false, &activation));
    dense->in = (size_t)in, dense->out = (size_t)out;
    for (int i = 0; i < ACTIVATIONS; i++) {
        // Packages moved between versions, the classes kept their names.
        if (strncmp(activation, "torch.nn.", 9) ||
            strcmp(strrchr(activation, '.'), strrchr(activations[i].class_name, '.')))
            continue;
        dense->activation = activations[i].activation;
        return QN_OK;
    }
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: activation_function \"%.100s\" (expected torch's Tanh, Identity, GELU, ReLU or SiLU)", source,
                   activation);
}

qn_status qn_sbert_parse_dense(const char *text, size_t size, const char *source, qn_sbert *out) {
    json_t *root;
    qn_sbert_module unused = {.bias = true};
    QN_TRY(parse_object(text, size, source, &root));
    qn_status status = read_dense(root, source, out->module_count ? &out->modules[out->module_count - 1] : &unused);
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

static qn_status missing(const char *folder, const char *path) {
    return qn_fail(QN_ERROR_IO, "%s: modules.json names \"%.100s\", but it holds no config.json", folder, path);
}

// The files of what modules.json names behind the transformer; the parsers of modules write to the last one.
static qn_status read_modules(const char *folder, qn_sbert *out) {
    bool found;
    size_t count = out->module_count, width;
    if (!out->late.on) QN_TRY(read_file(folder, out->pooling_path, "config.json", qn_sbert_parse_pooling, out, &found));
    if (!out->late.on && !found) return missing(folder, out->pooling_path);
    width = out->sparse || out->late.on ? 0 : (size_t)out->width * out->pooling_count;
    for (size_t i = 0; i < count; i++) {
        const qn_sbert_module *m = &out->modules[i];
        bool dense = m->kind == QN_SBERT_DENSE;
        out->module_count = i + 1;
        qn_status status = read_file(folder, m->path, "config.json",
                                     dense ? qn_sbert_parse_dense : qn_sbert_parse_normalize, out, &found);
        out->module_count = count;
        QN_TRY(status);
        if (!dense) continue;
        if (!found) return missing(folder, m->path);
        if (width && m->in != width)
            return qn_fail(QN_ERROR_FORMAT, "%s/%s/config.json: in_features is %zu (expected %zu, the width before it)",
                           folder, m->path, m->in, width);
        width = m->out;
    }
    return QN_OK;
}

static qn_status read_folder(const char *folder, qn_sbert *out) {
    // The name that sentence-transformers gave this file depended on the family for a while.
    static const char *const transformer_files[] = {
        "sentence_bert_config.json",      "sentence_roberta_config.json", "sentence_distilbert_config.json",
        "sentence_camembert_config.json", "sentence_albert_config.json",  "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json",
    };
    bool found;
    QN_TRY(replace(&out->folder, folder));
    QN_TRY(replace(&out->transformer_path, ""));
    QN_TRY(replace(&out->pooling_path, "1_Pooling"));
    QN_TRY(read_file(folder, "", "modules.json", qn_sbert_parse_modules, out, &found));
    if (out->present) QN_TRY(read_modules(folder, out));
    if (!out->present) QN_TRY(read_file(folder, "", "artifact.metadata", qn_sbert_parse_artifact, out, &found));
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

static json_t *module_json(size_t position, const char *path, const char *class_name) {
    if (strchr(class_name, '.'))
        return json_pack("{s:I, s:o, s:s, s:s}", "idx", (json_int_t)position, "name", json_sprintf("%d", (int)position),
                         "path", path, "type", class_name);
    const char *package = strstr(class_name, "MLM") || strstr(class_name, "Splade") ? "sparse_encoder.models" : "models";
    return json_pack("{s:I, s:o, s:s, s:o}", "idx", (json_int_t)position, "name",
                     json_sprintf("%d", (int)position), "path", path, "type",
                     json_sprintf("sentence_transformers.%s.%s", package, class_name));
}

// The place of a pooling in the older spelling.
static int flag_of(qn_pool pooling) {
    int i = 0;
    while (pooling_flags[i].pooling != pooling) i++;
    return i;
}

// Old versions refuse keys that they do not know: those of later versions are written only where they say something.
static json_t *pooling_json(const qn_sbert *config) {
    json_t *root = json_pack("{s:I}", "word_embedding_dimension", (json_int_t)config->width);
    bool ordered = true, chosen[QN_POOLS] = {false};
    for (size_t i = 0; i < config->pooling_count; i++) {
        chosen[flag_of(config->poolings[i])] = true;
        ordered = ordered && (i == 0 || flag_of(config->poolings[i]) > flag_of(config->poolings[i - 1]));
    }
    json_t *names = ordered ? NULL : json_array();
    for (size_t i = 0; names && i < config->pooling_count; i++)
        json_array_append_new(names, json_string(qn_pool_name(config->poolings[i])));
    if (names) json_object_set_new(root, "pooling_mode", names);
    for (int i = 0; ordered && i < QN_POOLS; i++)
        if (chosen[i] || i < OLD_FLAGS) json_object_set_new(root, pooling_flags[i].flag, json_boolean(chosen[i]));
    if (!config->include_prompt) json_object_set_new(root, "include_prompt", json_false());
    return root;
}

static json_t *dense_json(const qn_sbert_module *m) {
    int i = 0;
    while (activations[i].activation != m->activation) i++;
    return json_pack("{s:I, s:I, s:b, s:s}", "in_features", (json_int_t)m->in, "out_features", (json_int_t)m->out,
                     "bias", (int)m->bias, "activation_function", activations[i].class_name);
}

// The module at `position` of modules.json, which lists it; a folder is made for what it has to say.
static qn_status write_module(const char *folder, qn_sbert_module *m, size_t position, bool late, json_t *modules) {
    bool dense = m->kind == QN_SBERT_DENSE;
    char path[64];
    snprintf(path, sizeof path, "%zu_%s", position, dense ? "Dense" : "Normalize");
    QN_TRY(replace(&m->path, path));
    json_array_append_new(modules, module_json(position, path, late ? late_class : dense ? "Dense" : "Normalize"));
    if (!dense) return QN_OK;
    char *inside = qn_path_join(folder, path);
    qn_status status = inside ? qn_make_folders(inside) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = save(inside, "config.json", dense_json(m));
    free(inside);
    return status;
}

static void late_json(const qn_sbert_late *l, json_t *root) {
    json_t *skip = json_array();
    for (int side = 0; side < 2; side++) {
        char key[64];
        snprintf(key, sizeof key, "%s_prefix", sides[side]);
        json_object_set_new(root, key, json_string(l->prefix[side] ? l->prefix[side] : ""));
        snprintf(key, sizeof key, "%s_length", sides[side]);
        json_object_set_new(root, key, json_integer(l->length[side]));
    }
    for (size_t i = 0; i < l->skip_count; i++) json_array_append_new(skip, json_string(l->skip[i]));
    json_object_set_new(root, "skiplist_words", skip);
    json_object_set_new(root, "do_query_expansion", json_boolean(l->expand));
    json_object_set_new(root, "attend_to_expansion_tokens", json_boolean(l->attend));
    json_object_set_new(root, "similarity_fn_name", json_string(late_similarity));
}

static json_t *prompts_json(const qn_sbert *config) {
    json_t *prompts = json_object();
    for (size_t i = 0; i < config->prompt_count; i++) {
        if (json_object_set_new(prompts, config->prompts[i].name, json_string(config->prompts[i].text)) == 0) continue;
        json_decref(prompts);
        return NULL;
    }
    json_t *root = json_pack("{s:o, s:s?, s:s}", "prompts", prompts, "default_prompt_name", config->default_prompt,
                             "similarity_fn_name", similarity_names[config->similarity]);
    if (config->sparse) json_object_set_new(root, "model_type", json_string(model_types[1])); // new with these
    if (config->late.on) late_json(&config->late, root);
    return root;
}

static const char *pooling_folder(const qn_sbert *config) {
    return config->sparse ? "1_SpladePooling" : "1_Pooling";
}

static qn_status write_pooling(const char *folder, const qn_sbert *config) {
    char *pooling = qn_path_join(folder, pooling_folder(config));
    if (!pooling) return QN_ERROR_MEMORY;
    qn_status status = qn_make_folders(pooling);
    if (status == QN_OK)
        status = save(pooling, "config.json",
                      config->sparse ? json_pack("{s:s, s:s, s:I}", "pooling_strategy", "max", "activation_function",
                                                 "relu", "word_embedding_dimension", (json_int_t)config->width)
                                     : pooling_json(config));
    free(pooling);
    return status;
}

qn_status qn_sbert_write(const char *folder, qn_sbert *config) {
    if (!config->pooling_count || (unsigned)config->similarity >= QN_SBERT_SIMILARITIES || config->width < 1)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: no pooling, similarity or width of the vectors to write", folder);
    if (!config->late.on) QN_TRY(write_pooling(folder, config));

    json_t *transformer = json_pack("{s:b}", "do_lower_case", (int)config->do_lower_case);
    if (config->max_seq_length)
        json_object_set_new(transformer, "max_seq_length", json_integer(config->max_seq_length));
    QN_TRY(save(folder, "sentence_bert_config.json", transformer));
    QN_TRY(save(folder, "config_sentence_transformers.json", prompts_json(config)));

    // modules.json is last: with it the folder becomes one of sentence-transformers.
    qn_status status = QN_OK;
    json_t *modules = json_array();
    json_array_append_new(modules, module_json(0, "", config->sparse ? "MLMTransformer" : "Transformer"));
    if (!config->late.on)
        json_array_append_new(modules, module_json(1, pooling_folder(config), pooling_folder(config) + 2));
    for (size_t i = 0; status == QN_OK && i < config->module_count; i++)
        status = write_module(folder, &config->modules[i], i + (config->late.on ? 1 : 2), config->late.on, modules);
    if (status == QN_OK) return save(folder, "modules.json", modules);
    json_decref(modules);
    return status;
}
