// config.json of Hugging Face: read with every value checked, and written back with all keys that were there.
#include "base/buffer.h"
#include "base/file.h"
#include "models/ct2_model.h"
#include "models/gguf_model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LABELS = 100000 };

typedef struct {
    const char *text;
    int value;
} choice;

static const choice activations[] = {
#define CHOICE(text, name) {text, QN_ACTIVATION_##name},
    QN_ACTIVATION_MAP(CHOICE){"gelu_pytorch_tanh", QN_ACTIVATION_GELU_TANH},
    {"gelu_fast", QN_ACTIVATION_GELU_TANH},
    {"swish", QN_ACTIVATION_SILU},
    {"swiglu", QN_ACTIVATION_SILU}, // as older nomic_bert files have it
    {"geglu", QN_ACTIVATION_GELU},
    {NULL, 0}};
#undef CHOICE

static qn_status choose(const json_t *json, const char *file, const char *key, const choice *choices, int *value) {
    const char *text = NULL;
    QN_TRY(qn_json_string(json, file, key, false, &text));
    if (!text) return QN_OK;
    qn_buffer known = {0};
    for (const choice *c = choices; c->text; c++) {
        if (strcmp(c->text, text) == 0) {
            *value = c->value;
            qn_buffer_free(&known);
            return QN_OK;
        }
        qn_buffer_printf(&known, "%s%s", known.size ? ", " : "", c->text);
    }
    qn_status status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" is \"%s\" (expected one of %s)", file, key, text,
                               known.data ? known.data : "");
    qn_buffer_free(&known);
    return status;
}

static qn_status read_size(const json_t *json, const char *file, const char *key, bool required, int64_t min,
                           int64_t max, size_t *value) {
    int64_t number = (int64_t)*value;
    QN_TRY(qn_json_int(json, file, key, required, min, max, &number));
    *value = (size_t)number;
    return QN_OK;
}

static qn_status read_fraction(const json_t *json, const char *file, const char *key, float *value) {
    double number = *value;
    if (!key) return QN_OK;
    QN_TRY(qn_json_real(json, file, key, false, 0, 0.999, &number));
    *value = (float)number;
    return QN_OK;
}

// Embeddings of their own width, and layers that share parameters.
static qn_status read_sharing(qn_model_config *config) {
    const char *file = config->source;
    const qn_family *family = config->family;
    qn_encoder_config *e = &config->encoder;
    if (family->narrow_embeddings)
        QN_TRY(read_size(config->json, file, "embedding_size", false, 1, 65536, &e->embedding));
    e->project = family->always_projects || (family->narrow_embeddings && e->embedding != e->hidden);
    if (!family->shares_layers) return QN_OK;
    e->groups = e->inner = 1;
    int64_t most = e->layers ? (int64_t)e->layers : 1;
    QN_TRY(read_size(config->json, file, "num_hidden_groups", false, 1, most, &e->groups));
    QN_TRY(read_size(config->json, file, "inner_group_num", false, 1, 100, &e->inner));
    e->layers *= e->inner;
    return QN_OK;
}

static qn_status read_llama3(const json_t *json, const char *file, qn_rotary_config *rotary) {
    QN_TRY(qn_json_real(json, file, "low_freq_factor", true, 1e-3, 1e6, &rotary->slow));
    QN_TRY(qn_json_real(json, file, "high_freq_factor", true, 1e-3, 1e6, &rotary->fast));
    QN_TRY(qn_json_real(json, file, "original_max_position_embeddings", true, 1, 1e9, &rotary->trained));
    if (rotary->fast > rotary->slow) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s: \"high_freq_factor\" is %g (expected more than \"low_freq_factor\", %g)", file,
                   rotary->fast, rotary->slow);
}

// By how much YaRN makes scores larger, for a factor of positions.
static double yarn_stretch(double factor, double scale) {
    return 0.1 * scale * log(factor) + 1;
}

static qn_status read_yarn(const json_t *json, const char *file, qn_rotary_config *rotary) {
    double scale = 0, scale_all = 0;
    rotary->fast = 32, rotary->slow = 1;
    rotary->whole_pairs = true;
    QN_TRY(qn_json_real(json, file, "beta_fast", false, 1e-3, 1e6, &rotary->fast));
    QN_TRY(qn_json_real(json, file, "beta_slow", false, 1e-3, 1e6, &rotary->slow));
    QN_TRY(qn_json_real(json, file, "original_max_position_embeddings", true, 1, 1e9, &rotary->trained));
    QN_TRY(qn_json_bool(json, file, "truncate", false, &rotary->whole_pairs));
    QN_TRY(qn_json_real(json, file, "mscale", false, 0, 1e3, &scale));
    QN_TRY(qn_json_real(json, file, "mscale_all_dim", false, 0, 1e3, &scale_all));
    rotary->stretch = yarn_stretch(rotary->factor, 1);
    if (scale > 0 && scale_all > 0)
        rotary->stretch = yarn_stretch(rotary->factor, scale) / yarn_stretch(rotary->factor, scale_all);
    return qn_json_real(json, file, "attention_factor", false, 1e-3, 1e3, &rotary->stretch);
}

// A scaling of rotary positions. "dynamic" changes angles only beyond max_position_embeddings, which is refused here.
static qn_status read_scaling(const json_t *json, const char *file, qn_rotary_config *rotary) {
    static const choice kinds[] = {{"default", QN_ROTARY_PLAIN},
                                   {"dynamic", QN_ROTARY_PLAIN},
                                   {"linear", QN_ROTARY_LINEAR},
                                   {"ntk", QN_ROTARY_NTK},
                                   {"llama3", QN_ROTARY_LLAMA3},
                                   {"yarn", QN_ROTARY_YARN},
                                   {NULL, 0}};
    int kind = (int)rotary->scaling;
    QN_TRY(choose(json, file, "type", kinds, &kind));
    QN_TRY(choose(json, file, "rope_type", kinds, &kind));
    rotary->scaling = (qn_rotary_scaling)kind;
    QN_TRY(qn_json_real(json, file, "rope_theta", false, 1, 1e12, &rotary->theta));
    QN_TRY(qn_json_real(json, file, "factor", kind != QN_ROTARY_PLAIN, 1, 1e6, &rotary->factor));
    return kind == QN_ROTARY_LLAMA3 ? read_llama3(json, file, rotary)
           : kind == QN_ROTARY_YARN ? read_yarn(json, file, rotary)
                                    : QN_OK;
}

// The part of a head that turns.
static qn_status read_rotary_width(const json_t *json, const char *file, const char *key, qn_encoder_config *e) {
    size_t h = e->head_width;
    double fraction = e->rotary_width ? (double)e->rotary_width / (double)h : 1;
    QN_TRY(qn_json_real(json, file, key, false, 0, 1, &fraction));
    e->rotary_width = (size_t)(fraction * (double)h);
    if (e->rotary_width % 2 == 0 && e->rotary_width > 0) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: heads of %zu turn in %zu values (expected an even number)", file, h,
                   e->rotary_width);
}

// Newer files have "rope_parameters", one object or one for each kind of layer; older ones have theirs at top level.
static qn_status read_rotary(qn_model_config *config) {
    const json_t *json = config->json;
    const char *file = config->source;
    qn_encoder_config *e = &config->encoder;
    static const char *const kinds[2] = {"full_attention", "sliding_attention"};
    static const char *const thetas[2] = {"global_rope_theta", "local_rope_theta"};
    json_t *parameters = NULL, *scaling = NULL;
    QN_TRY(qn_json_object(json, file, "rope_parameters", false, &parameters));
    QN_TRY(qn_json_object(json, file, "rope_scaling", false, &scaling));
    for (int i = 0; i < 2 && e->rotary[i].theta > 0; i++) {
        json_t *own = NULL;
        if (parameters) QN_TRY(qn_json_object(parameters, file, kinds[i], false, &own));
        QN_TRY(qn_json_real(json, file, "rope_theta", false, 1, 1e12, &e->rotary[i].theta));
        QN_TRY(qn_json_real(json, file, "rotary_emb_base", false, 1, 1e12, &e->rotary[i].theta));
        QN_TRY(qn_json_real(json, file, thetas[i], false, 1, 1e12, &e->rotary[i].theta));
        if (scaling) QN_TRY(read_scaling(scaling, file, &e->rotary[i]));
        if (own || parameters) QN_TRY(read_scaling(own ? own : parameters, file, &e->rotary[i]));
    }
    bool interleaved = false;
    QN_TRY(qn_json_bool(json, file, "rotary_emb_interleaved", false, &interleaved));
    if (interleaved)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"rotary_emb_interleaved\" is true (expected false)", file);
    QN_TRY(read_rotary_width(json, file, "rotary_emb_fraction", e));
    return parameters ? read_rotary_width(parameters, file, "partial_rotary_factor", e) : QN_OK;
}

// Which layers see a window of keys: "layer_types", or all but every n-th.
static qn_status read_windows(qn_model_config *config) {
    const json_t *json = config->json;
    const char *file = config->source;
    qn_encoder_config *e = &config->encoder;
    size_t total = 2 * e->window, every = 3;
    QN_TRY(read_size(json, file, "local_attention", false, 2, 1 << 24, &total));
    QN_TRY(read_size(json, file, "global_attn_every_n_layers", false, 1, QN_MOST_LAYERS, &every));
    e->window = total / 2;
    const json_t *types = json_object_get(json, "layer_types");
    if (types && !json_is_null(types) && json_array_size(types) != e->layers)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"layer_types\" has %zu entries (expected %zu)", file,
                       json_array_size(types), e->layers);
    for (size_t i = 0; i < e->layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool local = i % every != 0;
        if (json_is_array(types)) {
            local = type && strcmp(type, "sliding_attention") == 0;
            if (!local && (!type || strcmp(type, "full_attention") != 0))
                return qn_fail(QN_ERROR_FORMAT,
                               "%s: \"layer_types\"[%zu] is \"%s\" (expected full_attention or sliding_attention)",
                               file, i, type ? type : "");
        }
        if (local) e->local[i / 64] |= (uint64_t)1 << i % 64;
    }
    return QN_OK;
}

// Biases that a file may leave out.
static qn_status read_biases(qn_model_config *config) {
    static const struct {
        const char *key;
        unsigned plain;
    } parts[] = {{"norm_bias", QN_PLAIN_NORMS},
                 {"attention_bias", QN_PLAIN_QKV | QN_PLAIN_ATTENTION_OUTPUT},
                 {"mlp_bias", QN_PLAIN_UP | QN_PLAIN_DOWN}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        bool there = false;
        QN_TRY(qn_json_bool(config->json, config->source, parts[i].key, false, &there));
        if (!there) config->encoder.plain |= parts[i].plain;
    }
    bool head = false, decoder = true;
    QN_TRY(qn_json_bool(config->json, config->source, "classifier_bias", false, &head));
    QN_TRY(qn_json_bool(config->json, config->source, "decoder_bias", false, &decoder));
    config->plain_head = !head;
    config->plain_decoder = !decoder;
    return QN_OK;
}

// DeBERTa: attention to distances, and learned positions unless "position_biased_input" is false.
static qn_status read_disentangled(qn_model_config *config) {
    const json_t *json = config->json;
    const char *file = config->source;
    qn_encoder_config *e = &config->encoder;
    bool relative = false, shared = false, positions = true;
    int64_t most = -1, buckets = -1, kernel = 0;
    QN_TRY(qn_json_bool(json, file, "relative_attention", false, &relative));
    QN_TRY(qn_json_bool(json, file, "position_biased_input", false, &positions));
    QN_TRY(qn_json_bool(json, file, "share_att_key", false, &shared));
    QN_TRY(qn_json_int(json, file, "max_relative_positions", false, -1, 1 << 20, &most));
    QN_TRY(qn_json_int(json, file, "position_buckets", false, -1, 1 << 20, &buckets));
    QN_TRY(qn_json_int(json, file, "conv_kernel_size", false, 0, 1000, &kernel));
    e->positions = positions ? QN_POSITIONS_LEARNED : QN_POSITIONS_NONE;
    size_t width = e->hidden;
    QN_TRY(read_size(json, file, "embedding_size", false, 1, 65536, &width));
    if (width != e->hidden)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"embedding_size\" is %zu (expected %zu)", file, width, e->hidden);
    if (kernel > 0)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"conv_kernel_size\" is %lld (expected no convolution)", file,
                       (long long)kernel);
    if (!relative) return QN_OK;
    const json_t *parts = json_object_get(json, "pos_att_type");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const char *part = json_string_value(json_array_get(parts, i));
        e->distance_key |= part && strcmp(part, "c2p") == 0;
        e->distance_query |= part && strcmp(part, "p2c") == 0;
    }
    if (json_is_string(parts)) {
        e->distance_key = strstr(json_string_value(parts), "c2p") != NULL;
        e->distance_query = strstr(json_string_value(parts), "p2c") != NULL;
    }
    if (!shared && (e->distance_key || e->distance_query))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"share_att_key\" is false (expected true)", file);
    e->distance_most = most > 0 ? (size_t)most : e->max_positions;
    e->distance_buckets = buckets > 0 ? (size_t)buckets : 0;
    e->distance_span = e->distance_buckets ? e->distance_buckets : e->distance_most;
    const char *norm = "none";
    QN_TRY(qn_json_string(json, file, "norm_rel_ebd", false, &norm));
    e->distance_norm = strstr(norm, "layer_norm") != NULL;
    return QN_OK;
}

// A decoder whose tokens see a window alone is computed up to that length, where the window changes nothing.
static qn_status read_sliding_window(qn_model_config *config) {
    size_t window = 0;
    bool used = true;
    if (json_is_null(json_object_get(config->json, "sliding_window"))) return QN_OK;
    QN_TRY(read_size(config->json, config->source, "sliding_window", false, 1, 10000000, &window));
    QN_TRY(qn_json_bool(config->json, config->source, "use_sliding_window", false, &used));
    if (window && used && window < config->encoder.max_positions) config->encoder.max_positions = window;
    return QN_OK;
}

// What stands beside the layers' sizes in families whose feed-forward is gated or whose positions are not a table.
static qn_status read_variants(qn_model_config *config) {
    const qn_family *family = config->family;
    qn_encoder_config *e = &config->encoder;
    size_t head = e->head_width ? e->head_width : e->hidden / e->heads;
    const char *head_key = family->keys->head_width ? family->keys->head_width : "head_dim";
    QN_TRY(read_size(config->json, config->source, head_key, false, 1, 65536, &head));
    if (head * e->heads != e->hidden && !e->causal && !family->keys->head_width)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"head_dim\" is %zu (expected %zu)", config->source, head,
                       e->hidden / e->heads);
    e->head_width = head;
    e->key_heads = e->heads;
    if (family->keys->key_heads) {
        const char *key = family->keys->key_heads;
        QN_TRY(read_size(config->json, config->source, key, false, 1, e->heads, &e->key_heads));
        if (e->heads % e->key_heads)
            return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %zu (expected a divisor of %zu heads)", config->source, key,
                           e->key_heads, e->heads);
    }
    if (family->alibi) {
        static const choice kinds[] = {{"geglu", QN_ACTIVATION_GELU}, {"reglu", QN_ACTIVATION_RELU}, {NULL, 0}};
        int kind = QN_ACTIVATION_GELU;
        QN_TRY(choose(config->json, config->source, "feed_forward_type", kinds, &kind));
        e->activation = (qn_activation)kind;
    }
    if (e->positions == QN_POSITIONS_ROTARY) QN_TRY(read_rotary(config));
    if (family->disentangled) QN_TRY(read_disentangled(config));
    if (e->causal) QN_TRY(read_sliding_window(config));
    if (e->window) QN_TRY(read_windows(config));
    return family->optional_biases ? read_biases(config) : QN_OK;
}

// A feed-forward network and its activation in one word.
static qn_status read_feed_forward(qn_model_config *config, const char *key) {
    enum { GATED = 1 << 16 };
    static const choice kinds[] = {{"relu", QN_ACTIVATION_RELU},
                                   {"gelu", QN_ACTIVATION_GELU},
                                   {"gelu_new", QN_ACTIVATION_GELU_TANH},
                                   {"silu", QN_ACTIVATION_SILU},
                                   {"gated-gelu", GATED | QN_ACTIVATION_GELU_TANH},
                                   {"gated-relu", GATED | QN_ACTIVATION_RELU},
                                   {"gated-silu", GATED | QN_ACTIVATION_SILU},
                                   {NULL, 0}};
    int kind = (int)config->encoder.activation;
    QN_TRY(choose(config->json, config->source, key, kinds, &kind));
    config->encoder.gated = kind & GATED;
    config->encoder.activation = (qn_activation)(kind & ~GATED);
    return QN_OK;
}

// Biases by distance. Where the buckets are fixed the table may have more rows than these, not fewer: they would be
// read beyond its end.
static qn_status read_buckets(qn_model_config *config) {
    const char *file = config->source;
    qn_encoder_config *e = &config->encoder;
    bool fixed = config->family->fixed_buckets;
    e->buckets = (qn_buckets){32, 128, false};
    e->relative_buckets = e->buckets.count;
    QN_TRY(read_size(config->json, file, "relative_attention_num_buckets", false, fixed ? 32 : 4, 1 << 20,
                     &e->relative_buckets));
    if (fixed) return QN_OK;
    e->buckets.count = e->relative_buckets;
    QN_TRY(read_size(config->json, file, "relative_attention_max_distance", false, 1, 1 << 20, &e->buckets.most));
    if (e->buckets.most > e->buckets.count / 2) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s: \"relative_attention_max_distance\" is %zu (expected more than %zu)", file,
                   e->buckets.most, e->buckets.count / 2);
}

// The second stack: what differs from the encoder's.
static qn_status read_decoder(qn_model_config *config) {
    const qn_family *family = config->family;
    const qn_config_keys *keys = family->keys;
    const json_t *json = config->json;
    const char *file = config->source;
    if (!family->decoder_names) return QN_OK;
    qn_encoder_config *d = &config->decoder;
    *d = config->encoder;
    config->encoder_decoder = d->causal = d->cross = d->buckets.back = true;
    d->below = config->encoder.layers;
    bool shared = true, scaled = false;
    int64_t start = family->start ? family->start : config->pad_id;
    if (keys->decoder_layers) QN_TRY(read_size(json, file, keys->decoder_layers, false, 0, QN_MOST_LAYERS, &d->layers));
    if (keys->decoder_heads) QN_TRY(read_size(json, file, keys->decoder_heads, false, 1, 4096, &d->heads));
    if (keys->decoder_intermediate)
        QN_TRY(read_size(json, file, keys->decoder_intermediate, false, 1, 1 << 20, &d->intermediate));
    if (!keys->head_width && d->hidden % d->heads)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" %zu is not a multiple of \"%s\" %zu", file, keys->hidden, d->hidden,
                       keys->decoder_heads, d->heads);
    if (!keys->head_width) d->head_width = d->hidden / d->heads;
    d->key_heads = d->heads;
    QN_TRY(qn_json_int(json, file, "decoder_start_token_id", false, 0, 10000000, &start));
    config->start_id = family->wraps ? -1 : (int)start;
    QN_TRY(qn_json_bool(json, file, "share_encoder_decoder_embeddings", false, &shared));
    config->own_words = !shared && family->encoder_word;
    if (config->own_words) QN_TRY(read_size(json, file, "decoder_vocab_size", false, 1, 10000000, &d->vocabulary));
    QN_TRY(qn_json_bool(json, file, "scale_embedding", false, &scaled));
    if (scaled) config->encoder.embedding_scale = d->embedding_scale = sqrtf((float)d->hidden);
    config->encoder.padding = d->padding = config->pad_id;
    return QN_OK;
}

static qn_status read_encoder(qn_model_config *config) {
    const json_t *json = config->json;
    const char *file = config->source;
    const qn_family *family = config->family;
    const qn_config_keys *keys = family->keys;
    if (family->older_keys && json_object_get(json, family->older_keys->hidden)) keys = family->older_keys;
    qn_encoder_config *e = &config->encoder;
    static const choice positions[] = {{"absolute", QN_POSITIONS_LEARNED},
                                       {"learned", QN_POSITIONS_LEARNED},
                                       {"sinusoidal", QN_POSITIONS_SINUSOIDAL},
                                       {NULL, 0}};
    static const choice norms[] = {{"post", false}, {"pre", true}, {NULL, 0}};
    *e = family->defaults;
    e->pre_norm = family->pre_norm;
    QN_TRY(read_size(json, file, "vocab_size", true, 1, 10000000, &e->vocabulary));
    QN_TRY(read_size(json, file, keys->hidden, true, 1, 65536, &e->hidden));
    QN_TRY(read_size(json, file, keys->layers, true, 0, QN_MOST_LAYERS, &e->layers));
    QN_TRY(read_size(json, file, keys->heads, true, 1, 4096, &e->heads));
    e->intermediate = 4 * e->hidden;
    QN_TRY(read_size(json, file, keys->intermediate, false, 1, 1 << 20, &e->intermediate));
    QN_TRY(read_size(json, file, keys->positions ? keys->positions : "max_position_embeddings", false, 1, 10000000,
                     &e->max_positions));
    if (family->names.type) QN_TRY(read_size(json, file, "type_vocab_size", false, 0, 1024, &e->types));
    if (e->hidden % e->heads && !json_object_get(json, "head_dim") && !keys->head_width)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" %zu is not a multiple of \"%s\" %zu", file, keys->hidden, e->hidden,
                       keys->heads, e->heads);
    double number = e->norm_eps;
    QN_TRY(qn_json_real(json, file, keys->norm_eps ? keys->norm_eps : "layer_norm_eps", false, 0, 1, &number));
    e->norm_eps = (float)number;
    QN_TRY(qn_json_real(json, file, keys->initializer ? keys->initializer : "initializer_range", false, 0, 10,
                        &e->initializer_range));
    QN_TRY(read_fraction(json, file, keys->hidden_dropout, &e->hidden_dropout));
    QN_TRY(read_fraction(json, file, keys->attention_dropout, &e->attention_dropout));
    e->inner_dropout = e->drops == QN_DROPS_RESULT ? 0 : e->hidden_dropout;
    QN_TRY(read_fraction(json, file, keys->inner_dropout, &e->inner_dropout));
    int value = (int)e->activation;
    if (keys->activation) QN_TRY(choose(json, file, keys->activation, activations, &value));
    e->activation = (qn_activation)value;
    if (keys->feed_forward) QN_TRY(read_feed_forward(config, keys->feed_forward));
    value = QN_POSITIONS_LEARNED;
    if (family->names.position) QN_TRY(choose(json, file, "position_embedding_type", positions, &value));
    if (family->names.position) e->positions = (qn_positions)value;
    value = e->pre_norm;
    QN_TRY(choose(json, file, "norm_position", norms, &value));
    e->pre_norm = value;
    if (e->pre_norm && !family->names.final_norm)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"norm_position\" is \"pre\" (expected \"post\" in this family)",
                       file);
    QN_TRY(qn_json_bool(json, file, "sinusoidal_pos_embds", false, &e->sinusoidal_start));
    QN_TRY(read_sharing(config));
    QN_TRY(read_variants(config));
    if (family->names.relative_bias) QN_TRY(read_buckets(config));
    bool decoder = false;
    QN_TRY(qn_json_bool(json, file, "is_decoder", false, &decoder));
    if (decoder) return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"is_decoder\" is true (expected an encoder)", file);
    if (config->family->positions_after_padding) {
        e->position_offset = (config->family->pads_with_one ? 1 : (size_t)config->pad_id) + 1;
        if (e->max_positions <= e->position_offset)
            return qn_fail(QN_ERROR_FORMAT, "%s: \"max_position_embeddings\" is %zu (expected more than %zu)", file,
                           e->max_positions, e->position_offset);
        e->max_positions -= e->position_offset;
    }
    return QN_OK;
}

static void free_labels(qn_model_config *config) {
    for (size_t i = 0; i < config->labels && config->label_names; i++) free(config->label_names[i]);
    free(config->label_names);
    config->label_names = NULL;
    config->labels = 0;
}

static qn_status set_labels(qn_model_config *config, size_t labels, const char *const *names) {
    free_labels(config);
    config->label_names = qn_calloc(labels, sizeof *config->label_names);
    if (!config->label_names) return QN_ERROR_MEMORY;
    config->labels = labels;
    for (size_t i = 0; i < labels; i++) {
        char text[32];
        snprintf(text, sizeof text, "LABEL_%zu", i);
        config->label_names[i] = qn_strdup(names && names[i] ? names[i] : text);
        if (!config->label_names[i]) return QN_ERROR_MEMORY;
    }
    return QN_OK;
}

// id2label {"0": "animal", ...} gives the number of labels; without it num_labels, else 2 as in transformers.
static qn_status read_labels(qn_model_config *config) {
    json_t *map = NULL;
    QN_TRY(qn_json_object(config->json, config->source, "id2label", false, &map));
    size_t labels = map ? json_object_size(map) : 2;
    if (!map) QN_TRY(read_size(config->json, config->source, "num_labels", false, 1, MOST_LABELS, &labels));
    if (labels < 1 || labels > MOST_LABELS)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"id2label\" has %zu labels (expected 1 to %d)", config->source, labels,
                       MOST_LABELS);
    const char **names = qn_calloc(labels, sizeof *names);
    if (!names) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    for (size_t i = 0; map && i < labels && status == QN_OK; i++) {
        char key[32];
        snprintf(key, sizeof key, "%zu", i);
        names[i] = json_string_value(json_object_get(map, key));
        if (!names[i])
            status = qn_fail(QN_ERROR_FORMAT, "%s: \"id2label\" has no name for \"%s\" (expected 0 to %zu)",
                             config->source, key, labels - 1);
    }
    if (status == QN_OK) status = set_labels(config, labels, names);
    free(names);
    return status;
}

// What the heads are made of.
static qn_status read_head(qn_model_config *config) {
    static const choice poolings[] = {{"cls", 0}, {"mean", 1}, {NULL, 0}};
    const qn_family *f = config->family;
    bool tied = !f->untied;
    int value = (int)f->classifier_activation;
    QN_TRY(qn_json_bool(config->json, config->source, "tie_word_embeddings", false, &tied));
    config->untied = !tied;
    const char *key = f->disentangled ? "pooler_hidden_act" : "classifier_activation";
    if (f->classifier_norm || f->disentangled) QN_TRY(choose(config->json, config->source, key, activations, &value));
    config->head_activation = (qn_activation)value;
    value = 0;
    if (f->classifier_norm) QN_TRY(choose(config->json, config->source, "classifier_pooling", poolings, &value));
    config->classifier_mean = value;
    bool scales = f->scales_tied && tied;
    if (f->scales_tied) QN_TRY(qn_json_bool(config->json, config->source, "scale_decoder_outputs", false, &scales));
    config->logit_scale = scales ? 1.0f / sqrtf((float)config->encoder.hidden) : 1;
    return QN_OK;
}

static void read_heads(qn_model_config *config) {
    const qn_family *f = config->family;
    const char *class = json_string_value(json_array_get(json_object_get(config->json, "architectures"), 0));
    config->heads = 0;
    if (!class) return;
    if (strcmp(class, f->class_base) == 0) config->heads = f->pooler ? QN_HEAD_POOLER : 0;
    if (strcmp(class, f->class_masked_lm) == 0) config->heads = QN_HEAD_LM;
    if (f->class_pretraining && strcmp(class, f->class_pretraining) == 0)
        config->heads = QN_HEAD_LM | QN_HEAD_POOLER | QN_HEAD_NEXT_SENTENCE;
    if (f->class_classifier && strcmp(class, f->class_classifier) == 0)
        config->heads = QN_HEAD_POOLER | QN_HEAD_CLASSIFIER;
    if (f->class_tagger && strcmp(class, f->class_tagger) == 0) config->heads = QN_HEAD_TAGGER;
    if (f->class_span && strcmp(class, f->class_span) == 0) config->heads = QN_HEAD_SPAN;
    if (f->class_discriminator && strcmp(class, f->class_discriminator) == 0) config->heads = QN_HEAD_DISCRIMINATOR;
}

// What sentence-transformers' CrossEncoder writes: the name of a class of torch.
static void read_activation(qn_model_config *config) {
    const json_t *own = json_object_get(config->json, "sentence_transformers");
    const char *name = json_string_value(json_object_get(own, "activation_fn"));
    if (!name) name = json_string_value(json_object_get(config->json, "sbert_ce_default_activation_function"));
    config->reranks = name && config->labels == 1;
    config->raw_score = name && strstr(name, "Identity");
}

static qn_status read_config(qn_model_config *config) {
    const char *type = NULL, *file = config->source;
    if (!json_is_object(config->json)) return qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object", file);
    QN_TRY(qn_json_string(config->json, file, "model_type", true, &type));
    const char *positions = json_string_value(json_object_get(config->json, "position_embedding_type"));
    config->family = qn_family_find(type, positions && strcmp(positions, "alibi") == 0);
    if (!config->family)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"model_type\" is \"%s\" (expected one of %s)", file, type,
                       qn_family_list());
    int64_t pad = config->family->positions_after_padding ? 1 : config->family->pad;
    QN_TRY(qn_json_int(config->json, file, "pad_token_id", false, 0, 10000000, &pad));
    config->pad_id = (int)pad;
    QN_TRY(read_encoder(config));
    QN_TRY(read_decoder(config));
    config->classifier_dropout = config->family->classifier_dropout;
    if (config->classifier_dropout < 0) config->classifier_dropout = config->encoder.hidden_dropout;
    QN_TRY(read_fraction(config->json, file, config->family->keys->classifier_dropout, &config->classifier_dropout));
    QN_TRY(read_head(config));
    config->tagger_dropout = config->classifier_dropout;
    if (config->family->keys->tagger_dropout) {
        config->tagger_dropout = config->encoder.hidden_dropout;
        QN_TRY(read_fraction(config->json, file, config->family->keys->tagger_dropout, &config->tagger_dropout));
    }
    if (config->family->keys->span_dropout) {
        config->span_dropout = config->family->token_layer ? config->classifier_dropout : 0.1f; // DistilBERT's
        QN_TRY(read_fraction(config->json, file, config->family->keys->span_dropout, &config->span_dropout));
    }
    static const choice problems[] = {{"single_label_classification", QN_PROBLEM_SINGLE_LABEL},
                                      {"multi_label_classification", QN_PROBLEM_MULTI_LABEL},
                                      {"regression", QN_PROBLEM_REGRESSION},
                                      {NULL, 0}};
    QN_TRY(read_labels(config));
    int problem = config->labels == 1 ? QN_PROBLEM_REGRESSION : QN_PROBLEM_SINGLE_LABEL; // as transformers decides
    QN_TRY(choose(config->json, file, "problem_type", problems, &problem));
    config->problem = (qn_problem)problem;
    read_heads(config);
    read_activation(config);
    return qn_quantization_read(config);
}

qn_status qn_model_config_parse(const char *text, size_t size, const char *source, qn_model_config *out) {
    *out = (qn_model_config){0};
    out->source = qn_strdup(source);
    qn_status status = out->source ? qn_json_parse(text, size, source, &out->json) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = read_config(out);
    if (status != QN_OK) qn_model_config_free(out);
    return status;
}

static qn_status read_gguf(const char *path, qn_model_config *out) {
    qn_gguf *file;
    qn_buffer text = {0};
    QN_TRY(qn_gguf_open(path, &file));
    qn_status status = qn_gguf_config(file, &text);
    if (status == QN_OK) status = qn_model_config_parse(text.data, text.size, path, out);
    qn_buffer_free(&text);
    qn_gguf_close(file);
    return status;
}

static qn_status read_ct2(const char *path, qn_model_config *out) {
    qn_buffer text = {0};
    qn_status status = qn_ct2_model_config(path, &text);
    if (status == QN_OK) status = qn_model_config_parse(text.data, text.size, path, out);
    qn_buffer_free(&text);
    return status;
}

qn_status qn_model_config_read(const char *path, qn_model_config *out) {
    *out = (qn_model_config){0};
    if (qn_is_gguf(path)) return read_gguf(path, out);
    if (qn_ct2_is_folder(path)) return read_ct2(path, out);
    out->source = qn_is_folder(path) ? qn_path_join(path, "config.json") : qn_strdup(path);
    qn_status status = out->source ? qn_json_load(out->source, &out->json) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = read_config(out);
    if (status != QN_OK) qn_model_config_free(out);
    return status;
}

void qn_model_config_free(qn_model_config *config) {
    json_decref(config->json);
    free(config->source);
    free(config->exact);
    free_labels(config);
    *config = (qn_model_config){0};
}

void qn_model_config_set_dropout(qn_model_config *config, float p) {
    qn_encoder_config *stacks[2] = {&config->encoder, &config->decoder};
    for (int i = 0; i < 2; i++) {
        stacks[i]->hidden_dropout = stacks[i]->attention_dropout = p;
        stacks[i]->inner_dropout = stacks[i]->drops == QN_DROPS_RESULT ? 0 : p;
    }
    config->classifier_dropout = config->tagger_dropout = config->span_dropout = p;
}

qn_status qn_model_config_set_labels(qn_model_config *config, qn_problem problem, size_t labels,
                                     const char *const *names) {
    config->problem = problem;
    return set_labels(config, labels, names);
}

qn_status qn_model_config_write(qn_model_config *config, unsigned heads, const char *folder) {
    static const char *const problems[] = {"single_label_classification", "multi_label_classification", "regression"};
    const qn_family *f = config->family;
    const char *class = heads & QN_HEAD_CLASSIFIER      ? f->class_classifier
                        : heads & QN_HEAD_TAGGER        ? f->class_tagger
                        : heads & QN_HEAD_SPAN          ? f->class_span
                        : heads & QN_HEAD_DISCRIMINATOR ? f->class_discriminator
                        : heads & QN_HEAD_NEXT_SENTENCE ? f->class_pretraining
                        : heads & QN_HEAD_LM     ? f->class_masked_lm
                                                        : f->class_base;
    json_t *json = config->json;
    int failed = json_object_set_new(json, "architectures", json_pack("[s]", class));
    failed |= json_object_set_new(json, "dtype", json_string("float32"));
    json_object_del(json, "torch_dtype");
    json_object_del(json, "_name_or_path");
    json_object_del(json, "num_labels");
    if (!config->reranks) json_object_del(json, "sentence_transformers");
    if (heads & QN_HEAD_SPAN) { // transformers makes as many outputs as there are labels, which are two by default
        json_object_del(json, "id2label");
        json_object_del(json, "label2id");
    }
    if (heads & (QN_HEAD_TAGGER | QN_HEAD_SPAN)) json_object_del(json, "problem_type");
    if (heads & (QN_HEAD_CLASSIFIER | QN_HEAD_TAGGER)) {
        json_t *names = json_object(), *ids = json_object();
        for (size_t i = 0; i < config->labels; i++) {
            char key[32];
            snprintf(key, sizeof key, "%zu", i);
            failed |= json_object_set_new(names, key, json_string(config->label_names[i]));
            failed |= json_object_set_new(ids, config->label_names[i], json_integer((json_int_t)i));
        }
        failed |= json_object_set_new(json, "id2label", names);
        failed |= json_object_set_new(json, "label2id", ids);
        if (heads & QN_HEAD_CLASSIFIER && config->reranks) {
            json_object_del(json, "sbert_ce_default_activation_function");
            failed |= json_object_set_new(json, "sentence_transformers",
                                          json_pack("{s:s}", "activation_fn",
                                                    config->raw_score ? "torch.nn.modules.linear.Identity"
                                                                      : "torch.nn.modules.activation.Sigmoid"));
        }
        if (heads & QN_HEAD_CLASSIFIER)
            failed |= json_object_set_new(json, "problem_type", json_string(problems[config->problem]));
    }
    if (failed) return qn_fail(QN_ERROR_FORMAT, "%s: a label is not UTF-8, or out of memory", config->source);
    char *path = qn_path_join(folder, "config.json");
    qn_status status = path ? qn_json_save(json, path) : QN_ERROR_MEMORY;
    free(path);
    return status;
}
