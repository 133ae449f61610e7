// See ct2_model.h. Variables are those of ctranslate2/specs/transformer_spec.py; its converters join queries, keys and
// values into one matrix, and leave out the row of Marian's padding, from which the decoder begins with zeros.
#include "models/ct2_model.h"
#include "base/json.h"
#include "base/memory.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WIDTH = 65536, MOST_LAYERS = 1024, NAME_SIZE = 256 };

typedef enum { MARIAN, BART, MBART, T5 } kind;
static const char *const types[] = {"marian", "bart", "mbart", "t5"}, *const classes[] = {
                                                                          "MarianMTModel",
                                                                          "BartForConditionalGeneration",
                                                                          "MBartForConditionalGeneration",
                                                                          "T5ForConditionalGeneration"};

// One of the two stacks.
typedef struct {
    const char *scope; // "encoder"
    const char *words; // "encoder/embeddings_0/weight"
    int64_t layers, heads, inner, width, head_width, vocabulary, positions;
    int64_t buckets, most_distance;
    bool pre_norm, embedding_norm, rms, gated, relative;
    int activation;
    double scale; // of embeddings
} stack;

typedef struct {
    qn_ct2_folder folder;
    const char *path;
    stack encoder, decoder;
    kind kind;
    bool zero_start, tied, scaled_output, biased_output, shared_words;
    int64_t start; // token that the decoder begins with; -1: the text's own
} model;

// Writes a name; what is longer than names are finds nothing.
static void put(char name[NAME_SIZE], const char *format, ...) QN_PRINTF(2, 3);
static void put(char name[NAME_SIZE], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, NAME_SIZE, format, arguments);
    va_end(arguments);
}

static const qn_ct2_variable *find(const model *m, const char *format, const char *scope, int64_t layer) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, format, scope, layer);
    return qn_ct2_find(m->folder.weights, name);
}

static qn_status integer(const model *m, const char *scope, const char *name, int64_t lowest, int64_t highest,
                         const int64_t *fallback, int64_t *out) {
    char full[NAME_SIZE];
    put(full, "%s/%s", scope, name);
    return qn_ct2_read_integer(m->folder.weights, full, lowest, highest, fallback, out);
}

static qn_status unsupported(const model *m, const char *what) {
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: %s (expected the parts of Marian, BART, mBART or T5)", m->path, what);
}

// --- What the variables say

// "scale_embeddings" is a flag, which stands for sqrt(d), or the number itself.
static qn_status read_scale(const model *m, stack *s) {
    const qn_ct2_variable *v = find(m, "%s/scale_embeddings", s->scope, 0);
    const double yes = 1;
    char name[NAME_SIZE];
    put(name, "%s/scale_embeddings", s->scope);
    QN_TRY(qn_ct2_read_real(m->folder.weights, name, 0, 1e6, &yes, &s->scale));
    if (!v || v->dtype == QN_CT2_I8) s->scale = s->scale > 0 ? sqrt((double)s->width) : 1;
    return QN_OK;
}

static qn_status matrix(const model *m, const char *format, const char *scope, int64_t sizes[2]) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, format, scope);
    const qn_ct2_variable *v = qn_ct2_find(m->folder.weights, name);
    if (!v || v->dims != 2 || v->shape[0] < 1 || v->shape[1] < 1 || v->shape[0] > 10000000 || v->shape[1] > MOST_WIDTH)
        return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" is no matrix of a model", m->path, name);
    sizes[0] = v->shape[0];
    sizes[1] = v->shape[1];
    return QN_OK;
}

static qn_status read_stack(const model *m, stack *s) {
    static const char *const refused[] = {"alibi", "sliding_window", "multi_query_attention"};
    const int64_t no = 0;
    int64_t sizes[2], value;
    QN_TRY(matrix(m, "%s", s->words, sizes));
    s->vocabulary = sizes[0];
    s->width = sizes[1];
    while (s->layers < MOST_LAYERS && find(m, "%s/layer_%" PRId64 "/ffn/linear_0/weight", s->scope, s->layers))
        s->layers++;
    if (s->layers == 0) return unsupported(m, "a stack without layers");
    QN_TRY(matrix(m, "%s/layer_0/ffn/linear_0/weight", s->scope, sizes));
    s->inner = sizes[0];
    QN_TRY(integer(m, s->scope, "num_heads", 1, 4096, &(int64_t){8}, &s->heads));
    QN_TRY(matrix(m, "%s/layer_0/self_attention/linear_0/weight", s->scope, sizes));
    s->head_width = sizes[0] / 3 / s->heads;
    if (s->head_width * s->heads * 3 != sizes[0]) return unsupported(m, "queries, keys and values of different widths");
    QN_TRY(integer(m, s->scope, "pre_norm", 0, 1, &(int64_t){1}, &value));
    s->pre_norm = value != 0;
    QN_TRY(integer(m, s->scope, "activation", 0, 100, &no, &value));
    s->activation = (int)value;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        QN_TRY(integer(m, s->scope, refused[i], 0, 1000000, &no, &value));
        if (value) return unsupported(m, refused[i]);
    }
    s->embedding_norm = find(m, "%s/layernorm_embedding/gamma", s->scope, 0) != NULL;
    s->rms = !find(m, "%s/layer_0/ffn/layer_norm/beta", s->scope, 0);
    s->gated = find(m, "%s/layer_0/ffn/linear_0_noact/weight", s->scope, 0) != NULL;
    s->relative = find(m, "%s/layer_0/self_attention/relative_attention_bias", s->scope, 0) != NULL;
    if (s->relative) {
        QN_TRY(matrix(m, "%s/layer_0/self_attention/relative_attention_bias", s->scope, sizes));
        s->buckets = sizes[0];
        QN_TRY(integer(m, s->scope, "layer_0/self_attention/relative_attention_max_distance", 1, 1 << 20, NULL,
                       &s->most_distance));
    } else if (find(m, "%s/position_encodings/encodings", s->scope, 0)) {
        QN_TRY(matrix(m, "%s/position_encodings/encodings", s->scope, sizes));
        s->positions = sizes[0];
    }
    return read_scale(m, s);
}

static qn_status read_start(model *m) {
    const qn_ct2_vocabulary *target = m->folder.target.count ? &m->folder.target : &m->folder.source;
    const char *token = m->folder.config.decoder_start_token;
    m->start = -1;
    if (m->zero_start) m->start = m->decoder.vocabulary; // the row that is added
    for (size_t i = 0; token && m->start < 0 && i < target->count; i++)
        if (!strcmp(target->tokens[i], token)) m->start = (int64_t)i;
    if (token && m->start < 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: the decoder's first token \"%.60s\" is not in the vocabulary", m->path,
                       token);
    return QN_OK;
}

static qn_status choose_kind(model *m) {
    const stack *e = &m->encoder, *d = &m->decoder;
    if (e->width != d->width || e->pre_norm != d->pre_norm || e->embedding_norm != d->embedding_norm ||
        e->rms != d->rms || e->gated != d->gated || e->relative != d->relative || e->activation != d->activation)
        return unsupported(m, "encoder and decoder are of different kinds");
    if (fabs(e->scale - d->scale) > 1e-3 ||
        (fabs(e->scale - 1) > 1e-3 && fabs(e->scale - sqrt((double)e->width)) > 1e-3))
        return unsupported(m, "another scale of embeddings");
    if (e->relative != e->rms || e->rms > e->pre_norm || (e->gated && !e->rms))
        return unsupported(m, "another mixture of norms and positions");
    if (!e->relative && (!e->positions || e->head_width * e->heads != e->width))
        return unsupported(m, "no table of positions");
    if (e->pre_norm && !e->rms && !e->embedding_norm)
        return unsupported(m, "norms before sublayers and none of the embeddings");
    m->kind = e->rms ? T5 : e->pre_norm ? MBART : e->embedding_norm ? BART : MARIAN;
    if (m->zero_start && m->kind != MARIAN) return unsupported(m, "a decoder that begins with zeros");
    return QN_OK;
}

static qn_status read_model(const char *path, model *m) {
    const int64_t no = 0;
    int64_t value;
    *m = (model){.path = path,
                 .encoder = {.scope = "encoder", .words = "encoder/embeddings_0/weight"},
                 .decoder = {.scope = "decoder", .words = "decoder/embeddings/weight"}};
    QN_TRY(qn_ct2_folder_open(path, &m->folder));
    const qn_ct2 *w = m->folder.weights;
    if (strcmp(qn_ct2_spec(w), "TransformerSpec"))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: specification \"%.60s\" (expected TransformerSpec)", path,
                       qn_ct2_spec(w));
    QN_TRY(read_stack(m, &m->encoder));
    QN_TRY(read_stack(m, &m->decoder));
    QN_TRY(qn_ct2_read_integer(w, "decoder/start_from_zero_embedding", 0, 1, &no, &value));
    m->zero_start = value != 0;
    QN_TRY(choose_kind(m));
    const qn_ct2_variable *words = qn_ct2_find(w, m->decoder.words);
    m->shared_words = qn_ct2_find(w, m->encoder.words) == words;
    if (!m->shared_words) return unsupported(m, "encoder and decoder have tables of words of their own");
    m->tied = qn_ct2_find(w, "decoder/projection/weight") == words;
    m->scaled_output = qn_ct2_find(w, "decoder/scale_outputs") != NULL;
    m->biased_output = qn_ct2_find(w, "decoder/projection/bias") != NULL;
    return read_start(m);
}

// --- config.json

static void set_stack(json_t *json, const model *m) {
    const stack *e = &m->encoder, *d = &m->decoder;
    static const char *const names[] = {"relu", "gelu_new", "silu", "gelu", NULL, "tanh"};
    const char *activation = e->activation < 6 && names[e->activation] ? names[e->activation] : "unknown";
    bool t5 = m->kind == T5;
#define INTEGER(key, value) json_object_set_new(json, key, json_integer((json_int_t)(value)))
    INTEGER("vocab_size", d->vocabulary + m->zero_start);
    INTEGER("d_model", e->width);
    INTEGER(t5 ? "num_layers" : "encoder_layers", e->layers);
    INTEGER(t5 ? "num_decoder_layers" : "decoder_layers", d->layers);
    INTEGER(t5 ? "num_heads" : "encoder_attention_heads", e->heads);
    INTEGER(t5 ? "d_ff" : "encoder_ffn_dim", e->inner);
    if (t5) {
        char form[NAME_SIZE]; // transformers calls the gate of "gelu_new" gated-gelu
        put(form, "%s%s", e->gated ? "gated-" : "", e->gated && !strcmp(activation, "gelu_new") ? "gelu" : activation);
        json_object_set_new(json, "feed_forward_proj", json_string(form));
        INTEGER("d_kv", e->head_width);
        INTEGER("relative_attention_num_buckets", e->buckets);
        INTEGER("relative_attention_max_distance", e->most_distance);
        json_object_set_new(json, "scale_decoder_outputs", json_boolean(m->scaled_output));
    } else {
        INTEGER("decoder_attention_heads", d->heads);
        INTEGER("decoder_ffn_dim", d->inner);
        INTEGER("max_position_embeddings", e->positions < d->positions ? e->positions : d->positions);
        json_object_set_new(json, "activation_function", json_string(activation));
        json_object_set_new(json, "scale_embedding", json_boolean(e->scale > 1.001));
    }
}

static int64_t id_of(const model *m, const char *token) {
    for (size_t i = 0; token && i < m->folder.source.count; i++)
        if (!strcmp(m->folder.source.tokens[i], token)) return (int64_t)i;
    return -1;
}

static json_t *make_config(const model *m) {
    const qn_ct2_config *c = &m->folder.config;
    json_t *json = json_object();
    json_object_set_new(json, "model_type", json_string(types[m->kind]));
    json_object_set_new(json, "architectures", json_pack("[s]", classes[m->kind]));
    set_stack(json, m);
    json_object_set_new(json, "is_encoder_decoder", json_true());
    json_object_set_new(json, "tie_word_embeddings", json_boolean(m->tied));
    json_object_set_new(json, m->kind == T5 ? "layer_norm_epsilon" : "layer_norm_eps",
                        json_real(c->layer_norm_epsilon > 0 ? c->layer_norm_epsilon
                                  : m->kind == T5           ? 1e-6
                                                            : 1e-5));
    int64_t end = id_of(m, c->eos_token), pad = m->zero_start ? m->decoder.vocabulary : id_of(m, "<pad>");
    if (end >= 0) INTEGER("eos_token_id", end);
    if (pad >= 0) INTEGER("pad_token_id", pad);
    if (m->start >= 0) INTEGER("decoder_start_token_id", m->start);
    if (m->zero_start) { // the row that was left out is never written
        json_object_set_new(json, "bad_words_ids", json_pack("[[I]]", (json_int_t)pad));
        json_object_set_new(json, "renormalize_logits", json_true());
    }
#undef INTEGER
    return json;
}

qn_status qn_ct2_model_config(const char *folder, qn_buffer *out) {
    model m;
    qn_status status = read_model(folder, &m);
    json_t *json = status == QN_OK ? make_config(&m) : NULL;
    if (status == QN_OK && !json) status = QN_ERROR_MEMORY;
    if (json) qn_json_write(json, out);
    if (status == QN_OK) status = qn_buffer_status(out);
    json_decref(json);
    qn_ct2_folder_close(&m.folder);
    return status;
}

// --- Tensors

typedef struct {
    const model *m;
    qn_weights *out;
    bool *used; // [variables]
} copier;

// Rows first .. first + rows - 1 of a variable (rows 0: all) as the tensor `name`, `lead` rows of zeros in front,
// `trail` behind.
static qn_status copy(copier *c, const char *name, const char *variable, int64_t first, int64_t rows, int64_t lead,
                      int64_t trail) {
    const qn_ct2 *w = c->m->folder.weights;
    const qn_ct2_variable *v = qn_ct2_find(w, variable);
    if (!v) return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" is missing", c->m->path, variable);
    QN_TRY(qn_ct2_need(w, variable, v->dims, v->shape, &v));
    if (v->dims < 1 || v->dims > 2)
        return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" has %d dimensions (expected 1 or 2)", c->m->path, variable,
                       v->dims);
    if (!rows) rows = v->shape[0];
    int64_t width = v->dims == 2 ? v->shape[1] : 1, shape[2] = {rows + lead + trail, width};
    if (first + rows > v->shape[0])
        return qn_fail(QN_ERROR_FORMAT, "%s: variable \"%s\" has %" PRId64 " rows (expected %" PRId64 ")", c->m->path,
                       variable, v->shape[0], first + rows);
    float *values = qn_weights_add(c->out, name, v->dims, shape);
    if (!values) return QN_ERROR_MEMORY;
    memset(values, 0, (size_t)(lead * width) * sizeof *values);
    qn_ct2_to_f32(v, first * width, rows * width, values + lead * width);
    memset(values + (lead + rows) * width, 0, (size_t)(trail * width) * sizeof *values);
    for (size_t i = 0; i < qn_ct2_count(w); i++)
        if (qn_ct2_at(w, i) == v) c->used[i] = true;
    return QN_OK;
}

// A linear layer "weight" and "bias", or parts of one whose rows are queries, keys and values.
static qn_status copy_linear(copier *c, const char *name, const char *variable, int64_t first, int64_t rows) {
    char to[NAME_SIZE], from[NAME_SIZE];
    put(to, "%s.weight", name);
    put(from, "%s/weight", variable);
    QN_TRY(copy(c, to, from, first, rows, 0, 0));
    put(from, "%s/bias", variable);
    bool has = qn_ct2_find(c->m->folder.weights, from);
    if (!has && c->m->kind == T5) return QN_OK;
    put(to, "%s.bias", name);
    return copy(c, to, from, first, rows, 0, 0);
}

static qn_status copy_norm(copier *c, const char *name, const char *variable) {
    char to[NAME_SIZE], from[NAME_SIZE];
    put(to, "%s.weight", name);
    put(from, "%s/gamma", variable);
    QN_TRY(copy(c, to, from, 0, 0, 0, 0));
    if (c->m->kind == T5) return QN_OK;
    put(to, "%s.bias", name);
    put(from, "%s/beta", variable);
    return copy(c, to, from, 0, 0, 0, 0);
}

// Names of a layer's parts in Hugging Face's files: BART's, then T5's.
typedef struct {
    const char *query, *key, *value, *output, *norm;
} attention_names;
static const attention_names self_names[] = {
    {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "self_attn_layer_norm"},
    {"layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v", "layer.0.SelfAttention.o",
     "layer.0.layer_norm"}};
static const attention_names cross_names[] = {{"encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj",
                                               "encoder_attn.out_proj", "encoder_attn_layer_norm"},
                                              {"layer.1.EncDecAttention.q", "layer.1.EncDecAttention.k",
                                               "layer.1.EncDecAttention.v", "layer.1.EncDecAttention.o",
                                               "layer.1.layer_norm"}};

static qn_status copy_attention(copier *c, const stack *s, const char *layer, const char *scope, bool cross) {
    const attention_names *n = cross ? &cross_names[c->m->kind == T5] : &self_names[c->m->kind == T5];
    const int64_t rows = s->heads * s->head_width;
    const struct {
        const char *name, *from;
        int64_t first, rows;
    } parts[] = {{n->query, "linear_0", 0, rows},
                 {n->key, cross ? "linear_1" : "linear_0", cross ? 0 : rows, rows},
                 {n->value, cross ? "linear_1" : "linear_0", cross ? rows : 2 * rows, rows},
                 {n->output, cross ? "linear_2" : "linear_1", 0, 0}};
    char to[NAME_SIZE], from[NAME_SIZE];
    for (size_t i = 0; i < 4; i++) {
        put(to, "%s%s", layer, parts[i].name);
        put(from, "%s/%s", scope, parts[i].from);
        QN_TRY(copy_linear(c, to, from, parts[i].first, parts[i].rows));
    }
    put(to, "%s%s", layer, n->norm);
    put(from, "%s/layer_norm", scope);
    return copy_norm(c, to, from);
}

static qn_status copy_feed_forward(copier *c, const stack *s, const char *layer, const char *scope) {
    bool t5 = c->m->kind == T5, decodes = s == &c->m->decoder;
    char prefix[NAME_SIZE], to[NAME_SIZE], from[NAME_SIZE];
    put(prefix, "%s%s", layer, !t5 ? "" : decodes ? "layer.2." : "layer.1.");
    const char *const names[][2] = {{t5 ? s->gated ? "DenseReluDense.wi_0" : "DenseReluDense.wi" : "fc1", "linear_0"},
                                    {t5 ? "DenseReluDense.wo" : "fc2", "linear_1"},
                                    {"DenseReluDense.wi_1", "linear_0_noact"}};
    for (size_t i = 0; i < (s->gated ? 3 : 2); i++) {
        put(to, "%s%s", prefix, names[i][0]);
        put(from, "%s/%s", scope, names[i][1]);
        QN_TRY(copy_linear(c, to, from, 0, 0));
    }
    put(to, "%s%s", prefix, t5 ? "layer_norm" : "final_layer_norm");
    put(from, "%s/layer_norm", scope);
    return copy_norm(c, to, from);
}

static qn_status copy_stack(copier *c, const stack *s) {
    bool t5 = c->m->kind == T5, decodes = s == &c->m->decoder;
    char to[NAME_SIZE], from[NAME_SIZE];
    const char *prefix = t5 ? "" : "model.";
#define NAMES(to_, from_) put(to, "%s%s" to_, prefix, s->scope), put(from, "%s" from_, s->scope)
    for (int64_t i = 0; i < s->layers; i++) {
        char layer[NAME_SIZE], scope[NAME_SIZE];
        put(layer, "%s%s.%s.%" PRId64 ".", prefix, s->scope, t5 ? "block" : "layers", i);
        put(scope, "%s/layer_%" PRId64 "/self_attention", s->scope, i);
        QN_TRY(copy_attention(c, s, layer, scope, false));
        put(scope, "%s/layer_%" PRId64 "/attention", s->scope, i);
        if (decodes) QN_TRY(copy_attention(c, s, layer, scope, true));
        put(scope, "%s/layer_%" PRId64 "/ffn", s->scope, i);
        QN_TRY(copy_feed_forward(c, s, layer, scope));
    }
    if (t5) {
        NAMES(".block.0.layer.0.SelfAttention.relative_attention_bias.weight",
              "/layer_0/self_attention/relative_attention_bias");
        QN_TRY(copy(c, to, from, 0, 0, 0, 0));
    } else if (c->m->kind != MARIAN) { // whose positions are computed
        int64_t positions =
            c->m->encoder.positions < c->m->decoder.positions ? c->m->encoder.positions : c->m->decoder.positions;
        NAMES(".embed_positions.weight", "/position_encodings/encodings");
        QN_TRY(copy(c, to, from, 0, positions, 2, 0)); // BART's count from 2
        NAMES(".layernorm_embedding", "/layernorm_embedding");
        QN_TRY(copy_norm(c, to, from));
    }
    if (!s->pre_norm) return QN_OK;
    if (t5)
        NAMES(".final_layer_norm", "/layer_norm");
    else
        NAMES(".layer_norm", "/layer_norm");
#undef NAMES
    return copy_norm(c, to, from);
}

// Whether a table is the one that Marian's family computes: sines, then cosines, of pos / 10000^(2 i / d).
static qn_status check_sinusoids(copier *c, const stack *s) {
    char name[NAME_SIZE];
    put(name, "%s/position_encodings/encodings", s->scope);
    const qn_ct2_variable *v;
    QN_TRY(qn_ct2_need(c->m->folder.weights, name, 2, (int64_t[]){s->positions, s->width}, &v));
    for (size_t i = 0; i < qn_ct2_count(c->m->folder.weights); i++)
        if (qn_ct2_at(c->m->folder.weights, i) == v) c->used[i] = true;
    for (int64_t pos = 0; pos < s->positions && pos < 64; pos++)
        for (int64_t k = 0; k < s->width; k++) {
            int64_t half = (s->width + 1) / 2, i = k < half ? k : k - half;
            double angle = (double)pos / pow(10000, 2.0 * (double)i / (double)s->width);
            float value;
            qn_ct2_to_f32(v, pos * s->width + k, 1, &value);
            if (fabs((double)value - (k < half ? sin(angle) : cos(angle))) > 0.02)
                return unsupported(c->m, "positions that are no sinusoids, without a norm");
        }
    return QN_OK;
}

// A tensor that nobody read would change the result.
static qn_status check_used(const copier *c) {
    const qn_ct2 *w = c->m->folder.weights;
    for (size_t i = 0; i < qn_ct2_count(w); i++) {
        const qn_ct2_variable *v = qn_ct2_at(w, i);
        bool scale = false, shared = c->m->kind == T5 && strstr(v->name, "relative_attention_");
        for (size_t k = 0; k < qn_ct2_count(w); k++) scale |= qn_ct2_at(w, k)->scale == v;
        if (c->used[i] || scale || shared || v->dims == 0 || !strcmp(v->name + strlen(v->name) - 6, "_token")) continue;
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: variable \"%.100s\" has no place (expected the parts of %s)",
                       c->m->path, v->name, types[c->m->kind]);
    }
    return QN_OK;
}

// Hugging Face's files have this bias in any case, as [1, V].
static qn_status copy_output_bias(copier *c) {
    const model *m = c->m;
    const qn_ct2_variable *v = NULL;
    int64_t shape[2] = {1, m->decoder.vocabulary + m->zero_start};
    if (m->kind == T5) return m->biased_output ? unsupported(m, "a bias of the output") : QN_OK;
    if (m->biased_output)
        QN_TRY(qn_ct2_need(m->folder.weights, "decoder/projection/bias", 1, &m->decoder.vocabulary, &v));
    float *values = qn_weights_add(c->out, "final_logits_bias", 2, shape);
    if (!values) return QN_ERROR_MEMORY;
    memset(values, 0, (size_t)shape[1] * sizeof *values);
    if (v) qn_ct2_to_f32(v, 0, v->count, values);
    for (size_t i = 0; i < qn_ct2_count(m->folder.weights); i++) c->used[i] |= qn_ct2_at(m->folder.weights, i) == v;
    return QN_OK;
}

static qn_status copy_all(copier *c) {
    const model *m = c->m;
    QN_TRY(copy(c, m->kind == T5 ? "shared.weight" : "model.shared.weight", m->encoder.words, 0, 0, 0, m->zero_start));
    QN_TRY(copy_stack(c, &m->encoder));
    QN_TRY(copy_stack(c, &m->decoder));
    if (m->kind == MARIAN) QN_TRY(check_sinusoids(c, &m->encoder));
    if (m->kind == MARIAN) QN_TRY(check_sinusoids(c, &m->decoder));
    if (!m->tied) QN_TRY(copy(c, "lm_head.weight", "decoder/projection/weight", 0, 0, 0, m->zero_start));
    QN_TRY(copy_output_bias(c));
    return check_used(c);
}

qn_status qn_ct2_model_weights(const char *folder, qn_weights **out) {
    model m;
    copier c = {.m = &m};
    *out = NULL;
    qn_status status = read_model(folder, &m);
    if (status == QN_OK) {
        c.used = qn_calloc(qn_ct2_count(m.folder.weights), sizeof *c.used);
        status = c.used ? qn_weights_create(folder, &c.out) : QN_ERROR_MEMORY;
    }
    if (status == QN_OK) status = copy_all(&c);
    if (status == QN_OK) status = qn_weights_complete(c.out);
    free(c.used);
    qn_ct2_folder_close(&m.folder);
    if (status != QN_OK) {
        qn_weights_close(c.out);
        return status;
    }
    *out = c.out;
    return QN_OK;
}

// --- The tokenizer

qn_status qn_ct2_model_check(const char *path, const qn_tokenizer *tokenizer) {
    qn_ct2_folder folder;
    QN_TRY(qn_ct2_folder_open(path, &folder));
    qn_status status = QN_OK;
    for (size_t i = 0; status == QN_OK && i < folder.source.count; i++) {
        const char *token = qn_tokenizer_token(tokenizer, (int32_t)i);
        if (token && strcmp(token, folder.source.tokens[i]))
            status =
                qn_fail(QN_ERROR_FORMAT, "%s: token %zu is \"%.60s\" in the vocabulary, and \"%.60s\" in the tokenizer",
                        path, i, folder.source.tokens[i], token);
    }
    qn_ct2_folder_close(&folder);
    return status;
}
