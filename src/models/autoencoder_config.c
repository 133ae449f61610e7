// config.json of an autoencoder of numbers.
#include "base/file.h"
#include "models/autoencoder.h"
#include <stdlib.h>
#include <string.h>

const char qn_autoencoder_type[] = "autoencoder";

typedef struct {
    const char *text;
    int value;
} choice;

static const choice activations[] = {
#define CHOICE(text, name) {text, QN_ACTIVATION_##name},
    QN_ACTIVATION_MAP(CHOICE)
#undef CHOICE
        {0}};
static const choice scalings[] = {{"none", QN_SCALING_NONE},
                                  {"standard", QN_SCALING_STANDARD},
                                  {"minmax", QN_SCALING_MINMAX},
                                  {"range", QN_SCALING_RANGE},
                                  {0}};
static const choice losses[] = {{"mse", false}, {"bce", true}, {0}};

const char *qn_input_scaling_name(qn_input_scaling scaling) {
    return scalings[scaling].text;
}

static qn_status choose(const json_t *json, const char *file, const char *key, const choice *choices, int *value) {
    const char *text = NULL;
    QN_TRY(qn_json_string(json, file, key, false, &text));
    if (!text) return QN_OK;
    char known[160] = "";
    for (const choice *c = choices; c->text; c++) {
        if (!strcmp(c->text, text)) return *value = c->value, QN_OK;
        strcat(strcat(known, c == choices ? "" : ", "), c->text);
    }
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" is \"%s\" (expected one of %s)", file, key, text, known);
}

static qn_status read_size(const json_t *json, const char *file, const char *key, bool required, size_t *value) {
    int64_t number = (int64_t)*value;
    QN_TRY(qn_json_int(json, file, key, required, 1, QN_AUTOENCODER_WIDTH, &number));
    *value = (size_t)number;
    return QN_OK;
}

// Sizes in a list, at most `most`; none where the key is missing.
static qn_status read_sizes(const json_t *json, const char *file, const char *key, size_t most, size_t *sizes,
                            size_t *count) {
    json_t *list = NULL;
    QN_TRY(qn_json_array(json, file, key, false, &list));
    *count = json_array_size(list);
    if (*count > most)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" has %zu sizes (expected at most %zu)", file, key, *count,
                       most);
    for (size_t i = 0; i < *count; i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t size = json_integer_value(item);
        if (!json_is_integer(item) || size < 1 || size > QN_AUTOENCODER_WIDTH)
            return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" has something else than sizes (expected 1 to %d)", file, key,
                           QN_AUTOENCODER_WIDTH);
        sizes[i] = (size_t)size;
    }
    return QN_OK;
}

// "input_size", and "input_shape", [height, width] or [height, width, channels], of pictures.
static qn_status read_inputs(qn_autoencoder_config *f) {
    size_t dims;
    QN_TRY(read_size(f->json, f->source, "input_size", false, &f->inputs));
    QN_TRY(read_sizes(f->json, f->source, "input_shape", 3, f->picture, &dims));
    if (dims == 0) return QN_OK;
    if (dims == 1)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: \"input_shape\" has one size (expected height, width and perhaps channels)", f->source);
    if (dims == 2) f->picture[2] = 1;
    size_t pixels = f->picture[0] * f->picture[1]; // below 2^40
    if (pixels > QN_AUTOENCODER_WIDTH || pixels * f->picture[2] > QN_AUTOENCODER_WIDTH)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"input_shape\" has more than %d numbers", f->source,
                       QN_AUTOENCODER_WIDTH);
    pixels *= f->picture[2];
    if (f->inputs && f->inputs != pixels)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"input_size\" is %zu (expected %zu, the numbers of \"input_shape\")",
                       f->source, f->inputs, pixels);
    f->inputs = pixels;
    return QN_OK;
}

static qn_status read_fraction(const json_t *json, const char *file, const char *key, float *value) {
    double number = 0;
    QN_TRY(qn_json_real(json, file, key, false, 0, 0.999, &number));
    *value = (float)number;
    return QN_OK;
}

static qn_status read_config(qn_autoencoder_config *f) {
    const json_t *json = f->json;
    const char *file = f->source, *type = NULL;
    int activation = QN_ACTIVATION_RELU, scaling = QN_SCALING_NONE, binary = false;
    QN_TRY(qn_json_string(json, file, "model_type", true, &type));
    if (strcmp(type, qn_autoencoder_type))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"model_type\" is \"%s\" (expected %s)", file, type,
                       qn_autoencoder_type);
    QN_TRY(read_inputs(f));
    QN_TRY(read_sizes(json, file, "hidden_sizes", QN_AUTOENCODER_LAYERS, f->hidden, &f->layers));
    QN_TRY(read_size(json, file, "latent_size", true, &f->latent));
    QN_TRY(choose(json, file, "hidden_act", activations, &activation));
    QN_TRY(choose(json, file, "input_scaling", scalings, &scaling));
    QN_TRY(choose(json, file, "reconstruction_loss", losses, &binary));
    QN_TRY(qn_json_bool(json, file, "variational", false, &f->variational));
    QN_TRY(qn_json_real(json, file, "beta", false, 0, 1e6, &f->beta));
    QN_TRY(qn_json_int(json, file, "beta_warmup_steps", false, 0, INT64_MAX, &f->beta_warmup));
    QN_TRY(read_fraction(json, file, "dropout", &f->dropout));
    QN_TRY(read_fraction(json, file, "input_dropout", &f->input_dropout));
    f->activation = (qn_activation)activation;
    f->scaling = (qn_input_scaling)scaling;
    f->binary = binary;
    if (f->binary && f->scaling == QN_SCALING_STANDARD)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: \"reconstruction_loss\" bce is of numbers from 0 to 1 (expected \"input_scaling\" none, "
                       "minmax or range)",
                       file);
    return QN_OK;
}

qn_status qn_autoencoder_config_parse(const char *text, size_t size, const char *source, qn_autoencoder_config *out) {
    *out = (qn_autoencoder_config){.beta = 1};
    out->source = qn_strdup(source);
    qn_status status = out->source ? qn_json_parse(text, size, source, &out->json) : QN_ERROR_MEMORY;
    if (status == QN_OK && !json_is_object(out->json)) status = qn_fail(QN_ERROR_FORMAT, "%s: not an object", source);
    if (status == QN_OK) status = read_config(out);
    if (status != QN_OK) qn_autoencoder_config_free(out);
    return status;
}

qn_status qn_autoencoder_config_read(const char *path, qn_autoencoder_config *out) {
    enum { LIMIT = 1 << 20 };
    *out = (qn_autoencoder_config){0};
    char *file = qn_is_folder(path) ? qn_path_join(path, "config.json") : qn_strdup(path);
    qn_buffer text = {0};
    qn_status status = file ? qn_read_file(file, LIMIT, &text) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_autoencoder_config_parse(text.data ? text.data : "", text.size, file, out);
    qn_buffer_free(&text);
    free(file);
    return status;
}

void qn_autoencoder_config_free(qn_autoencoder_config *config) {
    json_decref(config->json);
    free(config->source);
    *config = (qn_autoencoder_config){0};
}

bool qn_is_autoencoder(const char *path) {
    enum { LIMIT = 64 << 20 };
    char *file = qn_is_folder(path) ? qn_path_join(path, "config.json") : qn_strdup(path);
    qn_buffer text = {0};
    json_t *json = NULL;
    bool is = false;
    if (file && qn_is_file(file) && qn_read_file(file, LIMIT, &text) == QN_OK &&
        qn_json_parse(text.data ? text.data : "", text.size, file, &json) == QN_OK) {
        const char *type = json_string_value(json_object_get(json, "model_type"));
        is = type && !strcmp(type, qn_autoencoder_type);
    }
    json_decref(json);
    qn_buffer_free(&text);
    free(file);
    return is;
}
