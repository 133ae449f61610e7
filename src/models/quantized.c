// Folders in int8: the weights of the encoder's products and the tables of embeddings as bytes with one scale per row,
// in model.safetensors as NAME [out, in] I8 and NAME_scale [out] F32. The exact channels of a product stand in
// config.json, "quantization", and their columns as NAME_exact [channels, out] F32. All else is float32.
//
// Reading gives float32 values whose quantization are these bytes and scales again (qn_int8_quantize), so that whatever
// computes with the folder need not know; in int8 it has the bits of the model that was quantized.
#include "base/file.h"
#include "models/network.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SECTION[] = "quantization";

// --- Products of all stacks

size_t qn_model_products(const qn_model_config *config) {
    return qn_encoder_products(&config->encoder) +
           (config->encoder_decoder ? qn_encoder_products(&config->decoder) : 0);
}

static size_t product_width(const qn_model_config *config, size_t product) {
    size_t first = qn_encoder_products(&config->encoder);
    return product < first ? qn_encoder_product_width(&config->encoder, product)
                           : qn_encoder_product_width(&config->decoder, product - first);
}

static bool product_of(const qn_network *n, const qn_parameter *p, size_t *product) {
    if (qn_encoder_product_of(&n->encoder, &n->parameters, p, product)) return true;
    if (!n->config.encoder_decoder || !qn_encoder_product_of(&n->decoder_stack, &n->parameters, p, product))
        return false;
    *product += qn_encoder_products(&n->config.encoder);
    return true;
}

static bool is_quantized(const qn_network *n, const qn_parameter *p) {
    return qn_encoder_is_quantized(&n->encoder, &n->parameters, p) ||
           (n->config.encoder_decoder && qn_encoder_is_quantized(&n->decoder_stack, &n->parameters, p));
}

// --- config.json

static qn_status read_channels(const qn_model_config *config, const json_t *list, size_t product) {
    size_t width = product_width(config, product);
    qn_exact *exact = &config->exact[product];
    if (!json_is_array(list) || json_array_size(list) > QN_EXACT_CHANNELS)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"exact_channels\" %zu is not an array of at most %d", config->source,
                       product, QN_EXACT_CHANNELS);
    exact->count = json_array_size(list);
    for (size_t i = 0; i < exact->count; i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t channel = json_is_integer(value) ? json_integer_value(value) : -1;
        json_int_t least = i ? (json_int_t)exact->channel[i - 1] + 1 : 0;
        if (channel < least || (uint64_t)channel >= width)
            return qn_fail(
                QN_ERROR_FORMAT,
                "%s: \"exact_channels\" %zu: number %zu is not a channel (expected ascending ones below %zu)",
                config->source, product, i, width);
        exact->channel[i] = (uint32_t)channel;
    }
    return QN_OK;
}

qn_status qn_quantization_read(qn_model_config *config) {
    json_t *section = NULL, *lists;
    const char *file = config->source, *dtype = NULL;
    QN_TRY(qn_json_object(config->json, file, SECTION, false, &section));
    if (!section) return QN_OK;
    QN_TRY(qn_json_string(section, file, "dtype", true, &dtype));
    if (strcmp(dtype, "int8") != 0)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" has dtype \"%s\" (expected int8)", file, SECTION, dtype);
    size_t count = qn_model_products(config);
    lists = json_object_get(section, "exact_channels");
    if (!json_is_array(lists) || json_array_size(lists) != count)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: \"%s\" has no array \"exact_channels\" of %zu arrays, one for each product", file, SECTION,
                       count);
    config->exact = qn_calloc(count + 1, sizeof *config->exact);
    if (!config->exact) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) QN_TRY(read_channels(config, json_array_get(lists, i), i));
    return QN_OK;
}

static qn_status write_section(qn_model_config *config, const qn_exact *exact) {
    json_t *lists = json_array();
    int failed = 0;
    for (size_t i = 0; i < qn_model_products(config); i++) {
        json_t *list = json_array();
        for (size_t e = 0; e < exact[i].count; e++)
            failed |= json_array_append_new(list, json_integer((json_int_t)exact[i].channel[e]));
        failed |= json_array_append_new(lists, list);
    }
    json_t *section = json_pack("{s:s, s:o}", "dtype", "int8", "exact_channels", lists);
    if (json_object_set_new(config->json, SECTION, section) || failed)
        return qn_fail(QN_ERROR_MEMORY, "%s: out of memory", config->source);
    return QN_OK;
}

// --- Reading

static const qn_st_tensor *part(qn_weights *weights, const char *name, const char *suffix) {
    char full[QN_NAME_SIZE];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    qn_weights_mark_used(weights, full);
    return qn_weights_find(weights, full);
}

static qn_status check_part(const qn_network *n, const char *name, const char *suffix, int dims, const int64_t *shape) {
    const qn_st_tensor *t = part(n->weights, name, suffix);
    bool good = t && t->dtype == QN_ST_F32 && t->dims == dims;
    for (int i = 0; good && i < dims; i++) good = t->shape[i] == shape[i];
    if (good) return QN_OK;
    char text[QN_ST_SHAPE_TEXT];
    return qn_fail(QN_ERROR_FORMAT, "%s: %s is in int8 without %s%s (expected F32 %s)", qn_weights_path(n->weights),
                   name, name, suffix, qn_st_shape_text(dims, shape, text));
}

// The exact channels of a parameter's product; none for a table.
static qn_exact exact_of(const qn_network *n, const qn_exact *exact, const qn_parameter *p) {
    size_t product;
    return exact && product_of(n, p, &product) ? exact[product] : (qn_exact){0};
}

qn_status qn_quantized_check(const qn_network *n, const qn_parameter *p, const char *name) {
    const qn_exact exact = exact_of(n, n->config.exact, p);
    size_t out = p->tensor.shape[0], in = qn_width(&p->tensor);
    if (!n->config.exact)
        return qn_fail(QN_ERROR_FORMAT, "%s: %s is in int8, and config.json has no \"%s\"", qn_weights_path(n->weights),
                       name, SECTION);
    if (!is_quantized(n, p))
        return qn_fail(QN_ERROR_FORMAT, "%s: %s is in int8 (expected a float dtype)", qn_weights_path(n->weights),
                       name);
    QN_TRY(check_part(n, name, "_scale", 1, (int64_t[]){(int64_t)out}));
    if (exact.count) QN_TRY(check_part(n, name, "_exact", 2, (int64_t[]){(int64_t)exact.count, (int64_t)out}));
    const int8_t *q = (const int8_t *)qn_weights_find(n->weights, name)->data;
    for (size_t i = 0; i < out * in; i++)
        if (q[i] == -128)
            return qn_fail(QN_ERROR_FORMAT, "%s: %s: number %zu is -128 (expected -127 to 127)",
                           qn_weights_path(n->weights), name, i);
    return QN_OK;
}

qn_status qn_quantized_read(const qn_network *n, const qn_parameter *p, const char *name, float *values) {
    const qn_exact exact = exact_of(n, n->config.exact, p);
    size_t out = p->tensor.shape[0], in = qn_width(&p->tensor);
    const int8_t *q = (const int8_t *)qn_weights_find(n->weights, name)->data;
    const uint8_t *scales = part(n->weights, name, "_scale")->data;
    const uint8_t *columns = exact.count ? part(n->weights, name, "_exact")->data : NULL;
    for (size_t r = 0; r < out; r++, q += in, values += in) {
        float scale;
        memcpy(&scale, scales + r * sizeof scale, sizeof scale);
        if (!(scale >= 0 && isfinite(scale)))
            return qn_fail(QN_ERROR_FORMAT, "%s: %s_scale: number %zu is %g (expected 0 or more)",
                           qn_weights_path(n->weights), name, r, scale);
        for (size_t i = 0; i < in; i++) values[i] = scale * q[i];
        for (size_t e = 0; e < exact.count; e++)
            memcpy(values + exact.channel[e], columns + (e * out + r) * sizeof *values, sizeof *values);
    }
    qn_weights_mark_used(n->weights, name);
    return QN_OK;
}

// --- Writing

typedef struct {
    qn_st_entry *entries; // three places for each parameter
    char (*names)[QN_NAME_SIZE];
    void **memory; // that the entries' bytes and values stand in
    size_t count, memory_count;
} file_plan;

static qn_st_entry *add(file_plan *f, const char *name, const char *suffix, qn_st_dtype dtype, int dims, size_t first,
                        size_t second) {
    snprintf(f->names[f->count], QN_NAME_SIZE, "%s%s", name, suffix);
    qn_st_entry *e = &f->entries[f->count];
    *e = (qn_st_entry){.name = f->names[f->count], .dtype = dtype, .dims = dims};
    e->shape[0] = (int64_t)first, e->shape[1] = (int64_t)second;
    f->count++;
    return e;
}

static qn_status add_quantized(file_plan *f, const qn_tensor *t, const char *name, const qn_exact *exact) {
    size_t out = t->shape[0], in = qn_width(t);
    int8_t *q = f->memory[f->memory_count++] = qn_malloc(out, in);
    float *scale = f->memory[f->memory_count++] = qn_malloc(out, sizeof *scale);
    float *columns = f->memory[f->memory_count++] = qn_malloc(out * exact->count, sizeof *columns);
    if (!q || !scale || !columns) return QN_ERROR_MEMORY;
    for (size_t r = 0; r < out; r++) {
        scale[r] = qn_int8_quantize(in, t->data + r * in, exact, q + r * in);
        for (size_t e = 0; e < exact->count; e++) columns[e * out + r] = t->data[r * in + exact->channel[e]];
    }
    add(f, name, "", QN_ST_I8, 2, out, in)->bytes = q;
    add(f, name, "_scale", QN_ST_F32, 1, out, 0)->values = scale;
    if (exact->count) add(f, name, "_exact", QN_ST_F32, 2, exact->count, out)->values = columns;
    return QN_OK;
}

static qn_status plan(const qn_network *n, const qn_exact *exact, file_plan *f) {
    const char *prefix = qn_network_prefix(n);
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (p->module) continue; // in a file of its own
        const qn_exact own = exact_of(n, exact, p);
        char name[QN_NAME_SIZE];
        qn_network_file_name(n, p, prefix, name);
        if (is_quantized(n, p)) {
            QN_TRY(add_quantized(f, &p->tensor, name, &own));
            continue;
        }
        const qn_tensor *t = &p->tensor;
        add(f, name, "", QN_ST_F32, t->rank, t->shape[0], t->rank > 1 ? t->shape[1] : 0)->values = t->data;
    }
    return QN_OK;
}

qn_status qn_quantized_write(qn_network *n, const qn_exact *exact, const char *folder) {
    size_t most = 3 * n->parameters.count + 1;
    file_plan f = {qn_calloc(most, sizeof *f.entries), qn_calloc(most, sizeof *f.names),
                   qn_calloc(most, sizeof *f.memory), 0, 0};
    qn_status status = f.entries && f.names && f.memory ? plan(n, exact, &f) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_make_folders(folder);
    if (status == QN_OK) status = write_section(&n->config, exact);
    if (status == QN_OK) status = qn_model_config_write(&n->config, n->heads, folder);
    if (status == QN_OK) status = qn_weights_write(folder, f.entries, f.count, NULL, 0);
    for (size_t i = 0; i < f.memory_count; i++) free(f.memory[i]);
    free(f.memory);
    free(f.names);
    free(f.entries);
    return status;
}
