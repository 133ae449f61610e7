// Adapters in PEFT's files: adapter_config.json, read with every value checked, and both files written.
#include "models/lora_private.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_RANK = 65536 };

void qn_lora_free(qn_lora *lora) {
    free(lora->targets);
    free(lora->source);
    free(lora->base);
    json_decref(lora->ranks);
    json_decref(lora->alphas);
    qn_weights_close(lora->weights);
    *lora = (qn_lora){0};
}

qn_status qn_lora_choose(const qn_training *t, qn_lora *out) {
    *out = (qn_lora){.rank = t->lora_rank,
                     .alpha = t->lora_alpha > 0 ? t->lora_alpha : 2 * (double)t->lora_rank,
                     .dropout = t->lora_dropout,
                     .rank_stabilized = t->lora_rank_stabilized,
                     .targets = qn_strdup(t->lora_targets && *t->lora_targets ? t->lora_targets : "all-linear"),
                     .base = t->model ? qn_strdup(t->model) : NULL};
    return out->targets && (out->base || !t->model) ? QN_OK : QN_ERROR_MEMORY;
}

// --- Reading

// What changes the outputs and is not computed here is refused, not passed over.
static qn_status refuse(const json_t *json, const char *file) {
    static const char *const switches[] = {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora",
                                           "alora_invocation_tokens"};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        const json_t *value = json_object_get(json, switches[i]);
        if (value && !json_is_false(value) && !json_is_null(value))
            return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" is set (expected a plain LoRA adapter)", file,
                           switches[i]);
    }
    const char *type = NULL, *bias = "none";
    QN_TRY(qn_json_string(json, file, "peft_type", true, &type));
    if (strcmp(type, "LORA") != 0)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"peft_type\" is \"%s\" (expected \"LORA\")", file, type);
    QN_TRY(qn_json_string(json, file, "bias", false, &bias));
    if (strcmp(bias, "none") != 0)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"bias\" is \"%s\" (expected \"none\")", file, bias);
    return QN_OK;
}

// {"end of a module's name": number}; PEFT allows regular expressions, of which a leading ^ is understood.
static qn_status read_pattern(const json_t *json, const char *file, const char *key, double least, double most,
                              json_t **out) {
    json_t *object = NULL, *value;
    const char *name;
    QN_TRY(qn_json_object(json, file, key, false, &object));
    if (!object || json_object_size(object) == 0) return QN_OK;
    json_object_foreach(object, name, value) {
        if (strpbrk(name, "*+?()[]{}|\\$"))
            return qn_fail(QN_ERROR_UNSUPPORTED,
                           "%s: \"%s\": \"%s\" is a regular expression (expected names of modules)", file, key, name);
        if (!json_is_number(value) || !(json_number_value(value) >= least && json_number_value(value) <= most))
            return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\": \"%s\" is no number in range (expected %g to %g)", file, key,
                           name, least, most);
    }
    *out = json_incref(object);
    return QN_OK;
}

static qn_status read_config(const json_t *json, qn_lora *out) {
    const char *file = out->source, *base = NULL;
    QN_TRY(refuse(json, file));
    out->alpha = 8; // PEFT's defaults
    QN_TRY(qn_json_int(json, file, "r", true, 1, LARGEST_RANK, &out->rank));
    QN_TRY(qn_json_real(json, file, "lora_alpha", false, 0, 1e9, &out->alpha));
    QN_TRY(qn_json_real(json, file, "lora_dropout", false, 0, 0.999, &out->dropout));
    QN_TRY(qn_json_bool(json, file, "use_rslora", false, &out->rank_stabilized));
    QN_TRY(read_pattern(json, file, "rank_pattern", 1, LARGEST_RANK, &out->ranks));
    QN_TRY(read_pattern(json, file, "alpha_pattern", 0, 1e9, &out->alphas));
    QN_TRY(qn_json_string(json, file, "base_model_name_or_path", false, &base));
    out->base = base ? qn_strdup(base) : NULL;
    return base && !out->base ? QN_ERROR_MEMORY : QN_OK;
}

qn_status qn_lora_parse(const char *text, size_t size, const char *source, qn_lora *out) {
    json_t *json = NULL;
    *out = (qn_lora){.source = qn_strdup(source)};
    qn_status status = out->source ? qn_json_parse(text, size, source, &json) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = read_config(json, out);
    json_decref(json);
    if (status != QN_OK) qn_lora_free(out);
    return status;
}

bool qn_lora_is_folder(const char *folder) {
    char *path = qn_path_join(folder, "adapter_config.json");
    bool found = path && qn_is_file(path);
    free(path);
    return found;
}

static qn_status open_tensors(const char *folder, qn_lora *out) {
    char *path = qn_path_join(folder, "adapter_model.safetensors"), *old = qn_path_join(folder, "adapter_model.bin");
    qn_status status = path && old ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK && !qn_is_file(path) && qn_is_file(old))
        status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: a pickle (expected adapter_model.safetensors)", old);
    if (status == QN_OK) status = qn_weights_open(path, &out->weights);
    free(path);
    free(old);
    return status;
}

qn_status qn_lora_open(const char *folder, qn_lora *out) {
    *out = (qn_lora){0};
    if (!qn_is_folder(folder)) return qn_fail(QN_ERROR_IO, "%s: no such folder (expected an adapter's folder)", folder);
    qn_buffer text = {0};
    char *path = qn_path_join(folder, "adapter_config.json");
    qn_status status = path ? qn_read_file(path, 1 << 24, &text) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_lora_parse(text.data, text.size, path, out);
    qn_buffer_free(&text);
    free(path);
    if (status == QN_OK) status = open_tensors(folder, out);
    if (status != QN_OK) qn_lora_free(out);
    return status;
}

// The value of the pattern that names the module, else `otherwise`.
static double by_pattern(json_t *pattern, const char *module, double otherwise) {
    const char *name;
    json_t *value;
    if (!pattern) return otherwise;
    json_object_foreach(pattern, name, value) {
        bool whole = *name == '^';
        const char *end = name + whole;
        size_t length = strlen(module), size = strlen(end);
        if (length >= size && strcmp(module + length - size, end) == 0 &&
            (length == size || (!whole && module[length - size - 1] == '.')))
            return json_number_value(value);
        // The whole name with a prefix that this model's names do not have.
        if (size > length && strcmp(end + size - length, module) == 0 && end[size - length - 1] == '.')
            return json_number_value(value);
    }
    return otherwise;
}

int64_t qn_lora_rank(const qn_lora *lora, const char *module) {
    return (int64_t)by_pattern(lora->ranks, module, (double)lora->rank);
}

float qn_lora_scale(const qn_lora *lora, const char *module, size_t rank) {
    double alpha = by_pattern(lora->alphas, module, lora->alpha);
    return (float)(alpha / (lora->rank_stabilized ? sqrt((double)rank) : (double)rank));
}

// An adapter of PEFT alone: its classifier has as many rows as there are labels.
static qn_status labels_of_tensors(const qn_lora *lora, qn_model_config *config) {
    const char *classifier = config->family->classifier;
    char name[QN_LORA_NAME];
    snprintf(name, sizeof name, "base_model.model.%s.weight", classifier ? classifier : "");
    const qn_st_tensor *t = classifier ? qn_weights_find(lora->weights, name) : NULL;
    if (!t) return QN_OK;
    if (t->dims != 2 || t->shape[0] < 1 || t->shape[0] > 1000000)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is no classifier (expected [labels, width])",
                       qn_weights_path(lora->weights), name);
    config->heads = QN_HEAD_POOLER | QN_HEAD_CLASSIFIER;
    if ((size_t)t->shape[0] == config->labels) return QN_OK;
    return qn_model_config_set_labels(config, t->shape[0] == 1 ? QN_PROBLEM_REGRESSION : QN_PROBLEM_SINGLE_LABEL,
                                      (size_t)t->shape[0], NULL);
}

qn_status qn_lora_configure(const qn_lora *lora, const char *folder, qn_model_config *config) {
    char *path = qn_path_join(folder, "config.json");
    if (!path) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    if (qn_is_file(path)) {
        qn_model_config own;
        status = qn_model_config_read(path, &own);
        if (status == QN_OK) {
            qn_model_config_free(config);
            *config = own;
        }
    } else
        status = labels_of_tensors(lora, config);
    free(path);
    return status;
}

// --- Writing

// Adds `text` unless the list has it.
static void add_once(json_t *list, const char *text, size_t length) {
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value) if (json_string_length(value) == length &&
                                           strncmp(json_string_value(value), text, length) == 0) return;
    json_array_append_new(list, json_stringn(text, length));
}

// A module by the part of its name that its layer does not share, as long as that names adapted weights alone.
static json_t *targets_of(const qn_network *n) {
    json_t *list = json_array();
    bool exact = true;
    char module[QN_LORA_NAME], other[QN_LORA_NAME];
    for (int whole = 0; whole < 2; whole++) {
        json_array_clear(list);
        for (size_t i = 0; i < n->parameters.count; i++) {
            const qn_parameter *p = n->parameters.items[i];
            if (!p->tensor.adapter || !qn_lora_module(p, module)) continue;
            const char *end = module;
            for (const char *at = module; (at = strchr(at, '.')); at++) // behind the last number
                if (at[1] >= '0' && at[1] <= '9') end = strchr(at + 1, '.') ? strchr(at + 1, '.') + 1 : end;
            if (whole) end = module;
            add_once(list, end, strlen(end));
            for (size_t k = 0; k < n->parameters.count; k++) {
                const qn_parameter *q = n->parameters.items[k];
                if (q->tensor.adapter || q->tensor.rank != 2 || !qn_lora_module(q, other)) continue;
                size_t length = strlen(other), size = strlen(end);
                if (length >= size && strcmp(other + length - size, end) == 0 &&
                    (length == size || other[length - size - 1] == '.'))
                    exact = exact && whole;
            }
        }
        if (exact) break;
    }
    return list;
}

static json_t *modules_to_save(const qn_network *n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (p->layer > qn_model_layers(&n->config) && !p->frozen && !p->module)
            add_once(list, p->name, strcspn(p->name, "."));
    }
    if (json_array_size(list)) return list;
    json_decref(list);
    return json_null();
}

static const char *task_type(unsigned heads, bool causal) {
    return causal                       ? "CAUSAL_LM"
           : heads & QN_HEAD_CLASSIFIER ? "SEQ_CLS"
           : heads & QN_HEAD_TAGGER   ? "TOKEN_CLS"
           : heads & QN_HEAD_SPAN     ? "QUESTION_ANS"
                                      : "FEATURE_EXTRACTION";
}

static qn_status save_config(const qn_network *n, const char *folder) {
    const qn_lora_summary *l = &n->lora;
    json_t *ranks = json_object(), *alphas = json_object();
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        char module[QN_LORA_NAME];
        if (!p->tensor.adapter || !qn_lora_module(p, module)) continue;
        double rank = (double)qn_width(p->tensor.adapter->b), root = l->rank_stabilized ? sqrt(rank) : rank;
        double alpha = (double)p->tensor.adapter->scale * root;
        if ((int64_t)rank != l->rank) json_object_set_new(ranks, module, json_integer((json_int_t)rank));
        if (fabs(alpha - l->alpha) > 1e-5 * l->alpha) json_object_set_new(alphas, module, json_real(alpha));
    }
    json_t *json =
        json_pack("{s:s, s:s, s:s?, s:I, s:f, s:f, s:o, s:o, s:s, s:b, s:b, s:b, s:b, s:o, s:o}", "peft_type", "LORA",
                  "task_type", task_type(n->heads, n->config.encoder.causal), "base_model_name_or_path", l->base, "r", (json_int_t)l->rank,
                  "lora_alpha", l->alpha, "lora_dropout", l->dropout, "target_modules", targets_of(n),
                  "modules_to_save", modules_to_save(n), "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1,
                  "use_rslora", (int)l->rank_stabilized, "use_dora", 0, "rank_pattern", ranks, "alpha_pattern", alphas);
    char *path = qn_path_join(folder, "adapter_config.json");
    qn_status status = json && path ? qn_json_save(json, path) : qn_fail(QN_ERROR_MEMORY, "%s: out of memory", folder);
    json_decref(json);
    free(path);
    return status;
}

void qn_lora_file_name(const qn_network *n, const qn_parameter *p, char name[QN_LORA_NAME]) {
    char own[QN_NAME_SIZE];
    snprintf(name, QN_LORA_NAME, "base_model.model.%s", qn_network_file_name(n, p, qn_network_prefix(n), own));
}

static qn_status save_tensors(const qn_network *n, const char *folder) {
    size_t count = 0;
    int layers = qn_model_layers(&n->config);
    qn_st_entry *entries = qn_calloc(n->parameters.count, sizeof *entries);
    char(*names)[QN_LORA_NAME] = qn_calloc(n->parameters.count, sizeof *names);
    char *path = qn_path_join(folder, "adapter_model.safetensors");
    qn_status status = entries && names && path ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        bool factor = p->layer <= layers && strstr(p->name, ".lora_");
        if (p->module || (!factor && p->layer <= layers)) continue;
        qn_lora_file_name(n, p, names[count]);
        entries[count] =
            (qn_st_entry){.name = names[count], .dtype = QN_ST_F32, .dims = p->tensor.rank, .values = p->tensor.data};
        for (int k = 0; k < p->tensor.rank; k++) entries[count].shape[k] = (int64_t)p->tensor.shape[k];
        count++;
    }
    if (status == QN_OK) status = qn_safetensors_write(path, entries, count, NULL);
    free(path);
    free(names);
    free(entries);
    return status;
}

qn_status qn_lora_save(qn_network *n, const char *folder) {
    QN_TRY(save_tensors(n, folder));
    return save_config(n, folder);
}
