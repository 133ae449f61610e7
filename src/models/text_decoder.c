// See text_decoder.h. Its parameters are a module of the network (qn_parameter.module): "decoder." and then the names
// that its own file has, without the family's prefix.
#include "models/text_decoder.h"
#include "base/file.h"
#include "models/sentence.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FOLDER[] = "decoder", PREFIX[] = "decoder.";

// --- The configuration

static char *file_in(const char *folder, const char *name) {
    char *inside = qn_path_join(folder, FOLDER), *path = inside ? qn_path_join(inside, name) : NULL;
    free(inside);
    return path;
}

bool qn_has_text_decoder(const char *folder) {
    char *path = file_in(folder, "config.json");
    bool found = path && qn_is_file(path);
    free(path);
    return found;
}

static const char *layers_key(const qn_model_config *config) {
    const qn_family *f = config->family;
    bool older = f->older_keys && json_object_get(config->json, f->older_keys->hidden);
    return (older ? f->older_keys : f->keys)->layers;
}

static qn_status parse(const qn_model_config *config, const json_t *json, const char *file, qn_text_decoder *out) {
    const char *type = NULL;
    bool crosses = false;
    int64_t layers = 0;
    if (!json_is_object(json)) return qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object", file);
    QN_TRY(qn_json_string(json, file, "model_type", true, &type));
    QN_TRY(qn_json_bool(json, file, "add_cross_attention", false, &crosses));
    QN_TRY(qn_json_bool(json, file, "tie_encoder_decoder", false, &out->tied));
    QN_TRY(qn_json_bool(json, file, "variational", false, &out->variational));
    QN_TRY(qn_json_int(json, file, layers_key(config), true, 0, QN_MOST_LAYERS, &layers));
    if (!crosses || strcmp(type, config->family->model_type) != 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: not a decoder of vectors (expected \"%s\" with \"add_cross_attention\")",
                       file, config->family->model_type);
    if (out->tied && (size_t)layers != config->encoder.layers)
        return qn_fail(QN_ERROR_FORMAT, "%s: %lld layers that are tied to the encoder's (expected %zu)", file,
                       (long long)layers, config->encoder.layers);
    out->layers = (size_t)layers;
    return QN_OK;
}

qn_status qn_text_decoder_parse(const qn_model_config *config, const char *text, size_t size, const char *source,
                                qn_text_decoder *out) {
    json_t *json = NULL;
    QN_TRY(qn_json_parse(text, size, source, &json));
    qn_status status = parse(config, json, source, out);
    json_decref(json);
    return status;
}

static qn_status read_file(const qn_model_config *config, const char *file, qn_text_decoder *out) {
    json_t *json = NULL;
    QN_TRY(qn_json_load(file, &json));
    qn_status status = parse(config, json, file, out);
    json_decref(json);
    return status;
}

qn_status qn_text_decoder_configure(qn_model_config *config, const qn_text_decoder *options) {
    qn_text_decoder o = *options;
    const qn_encoder_config *e = &config->encoder;
    if (config->encoder_decoder || e->causal || e->distance_span || !config->family->decoder_bias)
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: \"%s\" has no decoder of a text's vector (expected an encoder such as "
                       "\"bert\")",
                       config->source, config->family->model_type);
    o.layers = e->layers;
    if (!o.tied && options->layers) o.layers = options->layers;
    if (o.folder) {
        char *file = file_in(o.folder, "config.json");
        qn_status status = file ? read_file(config, file, &o) : QN_ERROR_MEMORY;
        free(file);
        QN_TRY(status);
    }
    config->text_decoder = true;
    config->decoder_tied = o.tied && !o.separate;
    config->variational = o.variational;
    qn_encoder_config *d = &config->decoder;
    *d = *e;
    d->causal = d->cross = true;
    d->window = 0; // each token sees all before it
    d->layers = o.layers;
    d->below = config->decoder_tied ? 0 : e->layers;
    if (e->groups && d->layers % e->inner)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: a decoder of %zu layers (expected a multiple of %zu)", config->source,
                       d->layers, e->inner);
    return QN_OK;
}

// --- Parameters

// Those that all families call the same.
static qn_encoder_names names_of(const qn_family *f) {
    qn_encoder_names n = f->names;
    n.cross_query = "crossattention.self.query";
    n.cross_key = "crossattention.self.key";
    n.cross_value = "crossattention.self.value";
    n.cross_output = "crossattention.output.dense";
    if (!n.cross_norm) n.cross_norm = "crossattention.output.LayerNorm";
    return n;
}

// What was added from `first` on becomes the decoder's.
static qn_status take(qn_parameters *set, size_t first) {
    for (size_t i = first; i < set->count; i++) {
        qn_parameter *p = set->items[i];
        size_t size = strlen(PREFIX) + strlen(p->name) + 1;
        char *name = qn_malloc(size, 1);
        if (!name) return QN_ERROR_MEMORY;
        snprintf(name, size, "%s%s", PREFIX, p->name);
        free(p->name);
        p->name = name;
        p->module = QN_MODULE_DECODER;
    }
    return QN_OK;
}

qn_status qn_text_decoder_add(qn_network *n) {
    qn_model_config *config = &n->config;
    qn_encoder_names names = names_of(config->family);
    size_t first = n->parameters.count, d = config->decoder.hidden;
    size_t width = qn_sbert_width(&n->sentence, d, config->encoder.vocabulary);
    int last = qn_model_layers(config) + 1;
    if (n->heads & QN_HEAD_LM || n->sentence.sparse)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a decoder of texts beside a masked-language head", config->source);
    QN_TRY(config->decoder_tied
               ? qn_encoder_add_tied(&n->decoder_stack, &n->encoder, &config->decoder, &names, &n->parameters)
               : qn_encoder_add(&n->decoder_stack, &config->decoder, &names, NULL, &n->parameters));
    QN_TRY(qn_network_add_language_head(n, n->decoder_stack.config.embedding, last));
    if (config->variational)
        QN_TRY(qn_dense_add(&n->parameters, "log_variance", width, config->encoder.hidden * n->sentence.pooling_count,
                            last, true, &n->log_variance));
    if (width != d) QN_TRY(qn_dense_add(&n->parameters, "enc_to_dec_proj", d, width, last, true, &n->unfold));
    return take(&n->parameters, first);
}

static bool is_own(const qn_parameter *p) {
    return p->module == QN_MODULE_DECODER;
}

// The name of a parameter in the decoder's file, where it stands in that.
static const char *file_name(const qn_network *n, const qn_parameter *p, const char *prefix, char name[QN_NAME_SIZE]) {
    bool base = p->layer <= qn_model_layers(&n->config);
    if (!is_own(p) && !(n->config.decoder_tied && base && !p->module)) return NULL;
    snprintf(name, QN_NAME_SIZE, "%s%s", base ? prefix : "", p->name + (is_own(p) ? strlen(PREFIX) : 0));
    return name;
}

static void shape_of(const qn_parameter *p, int64_t shape[QN_MAX_RANK]) {
    for (int i = 0; i < p->tensor.rank; i++) shape[i] = (int64_t)p->tensor.shape[i];
}

// --- Files

qn_status qn_text_decoder_restore(qn_network *n, const char *folder) {
    qn_weights *file = NULL;
    char *path = qn_path_join(folder, FOLDER), name[QN_NAME_SIZE];
    qn_status status = path ? qn_weights_open(path, &file) : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        int64_t shape[QN_MAX_RANK];
        if (!is_own(p)) continue;
        shape_of(p, shape);
        status = qn_weights_read_f32(file, file_name(n, p, n->config.family->prefix, name), p->tensor.rank, shape,
                                     p->tensor.data);
    }
    qn_weights_close(file);
    free(path);
    return status;
}

// The decoder begins as the encoder, and as the head that its folder has.
qn_status qn_text_decoder_read(qn_network *n, const qn_network_options *options, const char *prefix) {
    char name[QN_NAME_SIZE];
    if (options->text_decoder->folder) return qn_text_decoder_restore(n, options->text_decoder->folder);
    for (size_t i = 0; i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        int64_t shape[QN_MAX_RANK];
        if (!is_own(p)) continue;
        shape_of(p, shape);
        file_name(n, p, prefix, name);
        const qn_st_tensor *t = qn_network_find(n, name);
        if (t && t->dims == p->tensor.rank && memcmp(t->shape, shape, (size_t)t->dims * sizeof *shape) == 0) {
            QN_TRY(qn_weights_read_f32(n->weights, name, p->tensor.rank, shape, p->tensor.data));
        } else {
            qn_parameter_initialize(p, options->seed, n->config.encoder.initializer_range);
            n->fresh++;
        }
    }
    return QN_OK;
}

static qn_status write_config(const qn_network *n, const char *folder) {
    const char *class = n->config.family->class_text_decoder;
    json_t *json = json_deep_copy(n->config.json);
    char *path = qn_path_join(folder, "config.json");
    int failed = !json || !path;
    if (!failed) {
        failed |= class ? json_object_set_new(json, "architectures", json_pack("[s]", class)) : 0;
        if (!class) json_object_del(json, "architectures");
        failed |= json_object_set_new(json, "is_decoder", json_true());
        failed |= json_object_set_new(json, "add_cross_attention", json_true());
        failed |= json_object_set_new(json, "tie_encoder_decoder", json_boolean(n->config.decoder_tied));
        if (n->config.variational) failed |= json_object_set_new(json, "variational", json_true());
        failed |= json_object_set_new(json, layers_key(&n->config), json_integer((json_int_t)n->config.decoder.layers));
    }
    qn_status status = failed ? QN_ERROR_MEMORY : qn_json_save(json, path);
    json_decref(json);
    free(path);
    return status;
}

qn_status qn_text_decoder_save(qn_network *n, const char *folder) {
    size_t count = 0;
    qn_st_entry *entries = qn_calloc(n->parameters.count, sizeof *entries);
    char(*names)[QN_NAME_SIZE] = qn_calloc(n->parameters.count, sizeof *names);
    char *path = qn_path_join(folder, FOLDER);
    qn_status status = entries && names && path ? qn_make_folders(path) : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (!file_name(n, p, n->config.family->prefix, names[i])) continue;
        entries[count] =
            (qn_st_entry){.name = names[i], .dtype = QN_ST_F32, .dims = p->tensor.rank, .values = p->tensor.data};
        shape_of(p, entries[count++].shape);
    }
    if (status == QN_OK) status = write_config(n, path);
    if (status == QN_OK) status = qn_weights_write(path, entries, count, NULL, 0);
    free(path);
    free(names);
    free(entries);
    return status;
}

// --- Forward

qn_tensor *qn_text_decoder_encode(qn_context *c, qn_network *n, const qn_tokens *source, float weight,
                                  double *divergence) {
    *divergence = 0;
    if (!n->config.variational) return qn_sentence_vectors(c, n, source, NULL);
    qn_tensor *hidden = qn_encoder_forward(c, &n->encoder, source);
    qn_tensor *pooled = qn_sentence_pool(c, n, hidden, source->ragged, NULL, 0);
    qn_tensor *mean = qn_sentence_pool(c, n, hidden, source->ragged, NULL, n->sentence.module_count);
    qn_tensor *spread = qn_linear(c, pooled, n->log_variance.weight, n->log_variance.bias, QN_ACTIVATION_NONE);
    qn_tensor *x = qn_side_by_side(c, (qn_tensor *[]){mean, spread}, 2);
    if (qn_gaussian_divergence(c, x, weight, divergence) != QN_OK) return NULL;
    return qn_taping(c) ? qn_reparameterize(c, x) : mean;
}

qn_tensor *qn_text_decoder_source(qn_context *c, qn_network *n, qn_tensor *vectors) {
    return n->unfold.weight ? qn_linear(c, vectors, n->unfold.weight, n->unfold.bias, QN_ACTIVATION_NONE) : vectors;
}

qn_tensor *qn_text_decoder_hidden(qn_context *c, qn_network *n, qn_tensor *vectors, const qn_tokens *target) {
    size_t count = target->ragged.sequences;
    qn_encoded *source = qn_arena_alloc(c->records, 1, sizeof *source);
    int32_t *one_each = qn_arena_alloc(c->records, count + 1, sizeof *one_each);
    if (!source || !one_each) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i <= count; i++) one_each[i] = (int32_t)i;
    *source = (qn_encoded){qn_text_decoder_source(c, n, vectors), {count, one_each}};
    qn_tokens tokens = *target;
    tokens.source = source;
    return qn_encoder_forward(c, &n->decoder_stack, &tokens);
}
