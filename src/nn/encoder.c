// One block, post-norm (Vaswani et al. 2017):  x = norm(x + attention(x)); x = norm(x + feed_forward(x))
// and pre-norm (Xiong et al. 2020):            x = x + attention(norm(x)); x = x + feed_forward(norm(x)); a last norm
// at the end In both, every residual sum is followed by a norm, so that one operation (qn_add_norm) does sum, dropout
// and norm.
#include "nn/encoder.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 512 };

qn_status qn_dense_add_plain(qn_parameters *set, const char *name, size_t out, size_t in, int layer, bool optional,
                             qn_dense *dense) {
    char full[NAME_SIZE];
    bool norm = in == 0;
    snprintf(full, sizeof full, "%s.weight", name);
    *dense = (qn_dense){0};
    dense->weight =
        qn_parameters_add(set, full, norm ? 0 : out, norm ? out : in,
                          (qn_parameter_options){norm ? QN_INIT_ONES : QN_INIT_NORMAL, !norm, optional, layer, false});
    return dense->weight ? QN_OK : QN_ERROR_MEMORY;
}

qn_status qn_dense_add(qn_parameters *set, const char *name, size_t out, size_t in, int layer, bool optional,
                       qn_dense *dense) {
    char full[NAME_SIZE];
    QN_TRY(qn_dense_add_plain(set, name, out, in, layer, optional, dense));
    snprintf(full, sizeof full, "%s.bias", name);
    dense->bias =
        qn_parameters_add(set, full, 0, out, (qn_parameter_options){QN_INIT_ZEROS, false, optional, layer, false});
    return dense->bias ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status add_dense(qn_parameters *set, const char *name, size_t out, size_t in, int layer, bool plain,
                           qn_dense *dense) {
    return (plain ? qn_dense_add_plain : qn_dense_add)(set, name, out, in, layer, false, dense);
}

// Matrices that one product computes together stand behind each other: weights, then biases.
static qn_status add_joined(qn_parameters *set, const char *prefix, const char *const *parts, size_t count,
                            const size_t *out, size_t in, int layer, bool plain, qn_dense *first) {
    char full[NAME_SIZE];
    for (int bias = 0; bias < 2 - plain; bias++)
        for (size_t i = 0; i < count; i++) {
            snprintf(full, sizeof full, "%s%s.%s", prefix, parts[i], bias ? "bias" : "weight");
            qn_tensor *t = qn_parameters_add(
                set, full, bias ? 0 : out[i], bias ? out[i] : in,
                (qn_parameter_options){bias ? QN_INIT_ZEROS : QN_INIT_NORMAL, !bias, false, layer, i > 0});
            if (!t) return QN_ERROR_MEMORY;
            if (i == 0) *(bias ? &first->bias : &first->weight) = t;
        }
    return QN_OK;
}

// Columns of queries, of keys (or values), and of all three.
static size_t query_width(const qn_encoder_config *f) {
    return f->heads * f->head_width;
}
static size_t key_width(const qn_encoder_config *f) {
    return f->key_heads * f->head_width;
}
static size_t qkv_width(const qn_encoder_config *f) {
    return query_width(f) + 2 * key_width(f);
}

static qn_status add_qkv(qn_encoder_layer *l, const qn_encoder_config *f, const char *prefix,
                         const qn_encoder_names *names, int layer, qn_parameters *set) {
    const char *parts[3] = {names->query, names->key, names->value};
    char full[NAME_SIZE];
    size_t out[3] = {query_width(f), key_width(f), key_width(f)};
    bool plain = f->plain & QN_PLAIN_QKV;
    if (!names->qkv) return add_joined(set, prefix, parts, 3, out, f->hidden, layer, plain, &l->first);
    snprintf(full, sizeof full, "%s%s", prefix, names->qkv);
    return add_dense(set, full, qkv_width(f), f->hidden, layer, plain, &l->first);
}

// Without a gate [n, d]; gate and value [2 n, d], which may be two tensors.
static qn_status add_up(qn_encoder_layer *l, const qn_encoder_config *f, const char *prefix,
                        const qn_encoder_names *names, int layer, qn_parameters *set) {
    const char *parts[2] = {names->gate, names->up};
    char full[NAME_SIZE];
    bool plain = f->plain & QN_PLAIN_UP;
    if (f->gated && names->gate)
        return add_joined(set, prefix, parts, 2, (size_t[]){f->intermediate, f->intermediate}, f->hidden, layer, plain,
                          &l->gate);
    snprintf(full, sizeof full, "%s%s", prefix, names->up);
    return add_dense(set, full, f->gated ? 2 * f->intermediate : f->intermediate, f->hidden, layer, plain, &l->up);
}

// How many sets of parameters the layers have, and which one layer i uses. ALBERT (Lan et al. 2020): the layers of its
// configuration are cut into `groups` of neighbours, and each of them runs the `inner` sets of its group.
static size_t count_sets(const qn_encoder_config *f) {
    return f->groups ? f->groups * f->inner : f->layers;
}

static size_t set_of(const qn_encoder_config *f, size_t i) {
    if (!f->groups) return i;
    double layers = (double)(f->layers / f->inner), groups = (double)f->groups; // in this order, as transformers rounds
    size_t group = (size_t)((double)(i / f->inner) / (layers / groups));
    return (group < f->groups ? group : f->groups - 1) * f->inner + i % f->inner;
}

static qn_encoder_layer *layer_at(qn_encoder *e, size_t i) {
    return &e->layers[set_of(&e->config, i)];
}

// A set's depth is that of the last layer that uses it, so that freezing the first layers never freezes a later one.
static int depth_of(const qn_encoder_config *f, size_t set) {
    size_t depth = f->layers;
    while (depth > 0 && set_of(f, depth - 1) != set) depth--;
    return (int)depth;
}

// `index` counts the sets.
static qn_status add_layer(qn_encoder *e, size_t index, const qn_encoder_names *names, qn_parameters *set) {
    const qn_encoder_config *f = &e->config;
    qn_encoder_layer *l = &e->layers[index];
    char prefix[NAME_SIZE / 2], full[NAME_SIZE];
    int depth = depth_of(f, index);
    if (f->groups)
        snprintf(prefix, sizeof prefix, names->layer, index / f->inner, index % f->inner);
    else
        snprintf(prefix, sizeof prefix, names->layer, index);
    QN_TRY(add_qkv(l, f, prefix, names, depth, set));
    const struct {
        const char *name;
        size_t out, in;
        unsigned plain;
        qn_dense *dense;
    } rest[] = {
        {names->attention_output, f->hidden, query_width(f), QN_PLAIN_ATTENTION_OUTPUT, &l->attention_output},
        {names->attention_norm, f->hidden, 0, QN_PLAIN_NORMS, &l->attention_norm},
        {names->up, 0, 0, 0, NULL},
        {names->down, f->hidden, f->intermediate, QN_PLAIN_DOWN, &l->down},
        {names->feed_forward_norm, f->hidden, 0, QN_PLAIN_NORMS, &l->feed_forward_norm},
    };
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        if (!rest[i].dense) QN_TRY(add_up(l, f, prefix, names, depth, set));
        if (!rest[i].dense || (f->unnormed_start && index == 0 && rest[i].dense == &l->attention_norm)) continue;
        snprintf(full, sizeof full, "%s%s", prefix, rest[i].name);
        QN_TRY(add_dense(set, full, rest[i].out, rest[i].in, depth, f->plain & rest[i].plain, rest[i].dense));
    }
    return QN_OK;
}

static qn_tensor *add_table(qn_parameters *set, const char *name, size_t rows, size_t d) {
    return qn_parameters_add(set, name, rows, d, (qn_parameter_options){QN_INIT_NORMAL, true, false, 0, false});
}

qn_status qn_encoder_add(qn_encoder *e, const qn_encoder_config *config, const qn_encoder_names *names,
                         qn_parameters *set) {
    *e = (qn_encoder){.config = *config};
    const qn_encoder_config *f = &e->config;
    if (!f->embedding) e->config.embedding = f->hidden;
    if (!f->key_heads) e->config.key_heads = f->heads;
    if (!f->head_width) e->config.head_width = f->hidden / f->heads;
    size_t width = f->embedding, sets = count_sets(f);
    e->layers = qn_calloc(sets ? sets : 1, sizeof *e->layers);
    e->word = add_table(set, names->word, f->vocabulary, width);
    if (!e->layers || !e->word) return QN_ERROR_MEMORY;
    if (f->positions == QN_POSITIONS_LEARNED) {
        e->position = add_table(set, names->position, f->max_positions + f->position_offset, width);
        if (!e->position) return QN_ERROR_MEMORY;
    }
    if (f->types) {
        e->type = add_table(set, names->type, f->types, width);
        if (!e->type) return QN_ERROR_MEMORY;
    }
    if (names->embedding_norm)
        QN_TRY(add_dense(set, names->embedding_norm, width, 0, 0, f->plain & QN_PLAIN_NORMS, &e->embedding_norm));
    if (f->project) QN_TRY(qn_dense_add(set, names->projection, f->hidden, width, 0, false, &e->projection));
    for (size_t i = 0; i < sets; i++) QN_TRY(add_layer(e, i, names, set));
    if (f->relative_buckets) {
        e->bias.weight = qn_parameters_add(set, names->relative_bias, f->relative_buckets, f->heads,
                                           (qn_parameter_options){QN_INIT_NORMAL, true, false, (int)f->layers, false});
        if (!e->bias.weight) return QN_ERROR_MEMORY;
    }
    if (f->distance_span) {
        e->distance_table =
            qn_parameters_add(set, names->distances, 2 * f->distance_span, f->hidden,
                              (qn_parameter_options){QN_INIT_NORMAL, true, false, (int)f->layers, false});
        if (!e->distance_table) return QN_ERROR_MEMORY;
        if (f->distance_norm)
            QN_TRY(add_dense(set, names->distance_norm, f->hidden, 0, (int)f->layers, false, &e->distance_norm));
    }
    if (!f->pre_norm) return QN_OK;
    return add_dense(set, names->final_norm, f->hidden, 0, (int)f->layers, f->plain & QN_PLAIN_NORMS, &e->final_norm);
}

void qn_encoder_initialize(qn_encoder *e) {
    if (e->position && e->config.sinusoidal_start)
        qn_fill_sinusoid(e->position->shape[0], e->config.embedding, e->position->data);
}

// Rows first .. first + count - 1 of a matrix, or that part of a vector; without data where there is none.
static qn_tensor part(const qn_tensor *t, size_t first, size_t count) {
    qn_tensor view = *t;
    size_t width = t->rank == 2 ? t->shape[1] : 1;
    view.packed = NULL;
    view.shape[0] = count;
    if (t->rank == 1) view.shape[1] = count;
    if (t->data) view.data += first * width;
    if (t->grad) view.grad += first * width;
    return view;
}

static qn_tensor joined_view(const qn_parameters *set, const qn_tensor *first, size_t count, const qn_tensor *old) {
    qn_tensor view = first ? qn_parameters_view(set, first, count) : (qn_tensor){0};
    view.packed = old->packed;
    return view;
}

static qn_status bind_positions(qn_encoder *e) {
    const qn_encoder_config *f = &e->config;
    size_t h = f->head_width;
    if (f->positions == QN_POSITIONS_SINUSOIDAL && !e->sinusoid.data)
        QN_TRY(qn_make_sinusoid(f->max_positions + f->position_offset, f->embedding, &e->sinusoid));
    for (size_t i = 0; i < 2 && f->positions == QN_POSITIONS_ROTARY; i++)
        if (f->rotary[i].theta > 0 && !e->rotary[i].cosine)
            QN_TRY(qn_rotary_create(&f->rotary[i], f->rotary_width ? f->rotary_width : h, f->max_positions,
                                    &e->rotary[i]));
    if (f->positions == QN_POSITIONS_ALIBI && !e->buckets)
        e->buckets = qn_make_alibi(f->max_positions, f->heads, &e->alibi, &e->bias);
    else if (e->bias.weight && !e->buckets)
        e->buckets = qn_make_buckets(f->max_positions, &e->bias);
    if (f->distance_span && !e->distance_index)
        e->distance_index =
            qn_make_distances(f->max_positions - 1, f->distance_span, f->distance_buckets, f->distance_most);
    return (e->bias.weight && !e->buckets) || (f->distance_span && !e->distance_index) ? QN_ERROR_MEMORY : QN_OK;
}

qn_status qn_encoder_bind(qn_encoder *e, const qn_parameters *set) {
    size_t d = query_width(&e->config), keys = 2 * key_width(&e->config);
    for (size_t i = 0; i < count_sets(&e->config); i++) {
        qn_encoder_layer *l = &e->layers[i];
        size_t parts = l->first.weight->shape[0] == d + keys ? 1 : 3;
        l->qkv_weight = joined_view(set, l->first.weight, parts, &l->qkv_weight);
        l->qkv_bias = joined_view(set, l->first.bias, parts, &l->qkv_bias);
        l->query_weight = part(&l->qkv_weight, 0, d);
        l->query_bias = part(&l->qkv_bias, 0, d);
        l->kv_weight = part(&l->qkv_weight, d, keys);
        l->kv_bias = part(&l->qkv_bias, d, keys);
        l->query_key_weight = part(&l->qkv_weight, 0, d + keys / 2);
        l->query_key_bias = part(&l->qkv_bias, 0, d + keys / 2);
        if (!l->gate.weight) continue;
        l->gate_up_weight = joined_view(set, l->gate.weight, 2, &l->gate_up_weight);
        l->gate_up_bias = joined_view(set, l->gate.bias, 2, &l->gate_up_bias);
        l->up = (qn_dense){&l->gate_up_weight, l->gate.bias ? &l->gate_up_bias : NULL};
    }
    return bind_positions(e);
}

// The weights of products, in the order of the sets of parameters.
static qn_tensor *product_weight(qn_encoder *e, size_t i) {
    qn_encoder_layer *l = &e->layers[i / QN_LAYER_PRODUCTS];
    qn_tensor *weights[QN_LAYER_PRODUCTS] = {&l->qkv_weight, l->attention_output.weight, l->up.weight, l->down.weight};
    return weights[i % QN_LAYER_PRODUCTS];
}

size_t qn_encoder_products(const qn_encoder_config *config) {
    return QN_LAYER_PRODUCTS * count_sets(config);
}

size_t qn_encoder_product_width(const qn_encoder_config *config, size_t product) {
    return product % QN_LAYER_PRODUCTS == QN_LAYER_PRODUCTS - 1 ? config->intermediate : config->hidden;
}

// Weights that one product computes together stand behind the first of them.
bool qn_encoder_product_of(const qn_encoder *e, const qn_parameters *set, const qn_parameter *p, size_t *product) {
    size_t at = 0;
    while (set->items[at] != p) at++;
    while (set->items[at]->joined) at--;
    const qn_tensor *first = &set->items[at]->tensor;
    for (size_t i = 0; i < count_sets(&e->config); i++) {
        const qn_encoder_layer *l = &e->layers[i];
        const qn_tensor *weights[QN_LAYER_PRODUCTS] = {l->first.weight, l->attention_output.weight,
                                                       l->gate.weight ? l->gate.weight : l->up.weight, l->down.weight};
        for (size_t k = 0; k < QN_LAYER_PRODUCTS; k++)
            if (weights[k] == first) {
                *product = i * QN_LAYER_PRODUCTS + k;
                return true;
            }
    }
    return false;
}

bool qn_encoder_is_quantized(const qn_encoder *e, const qn_parameters *set, const qn_parameter *p) {
    size_t product;
    return &p->tensor == e->word || &p->tensor == e->position || &p->tensor == e->type ||
           qn_encoder_product_of(e, set, p, &product);
}

// --- Exact channels

typedef struct {
    qn_encoder *encoder;
    float *largest; // [products, width] of each channel
    size_t width;   // the widest input
} search;

// The channels whose values in `largest` reach the ratio, at most so many, the largest first; ties go to the first.
static qn_exact choose_exact(float *largest, size_t width) {
    qn_exact exact = {0};
    while (exact.count < QN_EXACT_CHANNELS) {
        size_t best = 0;
        for (size_t k = 1; k < width; k++)
            if (largest[k] > largest[best]) best = k;
        if (!(largest[best] >= QN_EXACT_RATIO)) break;
        largest[best] = 0;
        size_t at = exact.count++;
        for (; at > 0 && exact.channel[at - 1] > best; at--) exact.channel[at] = exact.channel[at - 1];
        exact.channel[at] = (uint32_t)best;
    }
    return exact;
}

static void watch_input(void *user, const qn_tensor *x, const qn_tensor *weight) {
    const search *s = user;
    size_t i = 0, count = QN_LAYER_PRODUCTS * count_sets(&s->encoder->config), width = qn_width(x);
    while (i < count && product_weight(s->encoder, i) != weight) i++;
    if (i == count) return;
    float *largest = s->largest + i * s->width; // layers that share their parameters come here one after the other
    for (size_t r = 0; r < qn_rows(x); r++) {
        const float *row = x->data + r * width;
        double square = 0;
        for (size_t k = 0; k < width; k++) square += (double)row[k] * row[k];
        float inverse = square > 0 ? (float)(1 / sqrt(square / (double)width)) : 0;
        for (size_t k = 0; k < width; k++) largest[k] = fmaxf(largest[k], fabsf(row[k]) * inverse);
    }
}

qn_status qn_encoder_find_exact(qn_context *c, qn_encoder *e, const qn_tokens *tokens, qn_exact *exact) {
    const qn_encoder_config *f = &e->config;
    size_t count = QN_LAYER_PRODUCTS * count_sets(f), width = f->hidden > f->intermediate ? f->hidden : f->intermediate;
    search s = {e, qn_calloc(count * width + 1, sizeof(float)), width};
    if (!s.largest) return QN_ERROR_MEMORY;
    c->watch = watch_input, c->watcher = &s;
    qn_encoder_forward(c, e, tokens);
    c->watch = NULL;
    for (size_t i = 0; i < count; i++) exact[i] = choose_exact(s.largest + i * width, width);
    free(s.largest);
    return c->status != QN_OK ? c->status : c->backend->status;
}

qn_status qn_encoder_pack(qn_encoder *e, qn_backend *backend, qn_compute compute, const qn_exact *exact) {
    e->compute = compute;
    for (size_t i = 0; i < QN_LAYER_PRODUCTS * count_sets(&e->config); i++) {
        qn_tensor *w = product_weight(e, i);
        if (w->packed) continue;
        w->packed = backend->ops->pack(backend, &(qn_pack_args){.out = w->shape[0],
                                                                .in = w->shape[1],
                                                                .compute = compute,
                                                                .weight = w->data,
                                                                .exact = exact ? exact[i] : (qn_exact){0}});
        if (!w->packed) return QN_ERROR_MEMORY;
    }
    return QN_OK;
}

void qn_encoder_unpack(qn_encoder *e, qn_backend *backend) {
    for (size_t i = 0; e->layers && i < QN_LAYER_PRODUCTS * count_sets(&e->config); i++) {
        qn_tensor *w = product_weight(e, i);
        if (w && w->packed) backend->ops->unpack(backend, (void *)(uintptr_t)w->packed);
        if (w) w->packed = NULL;
    }
    for (size_t i = 0; e->layers && i < count_sets(&e->config); i++) {
        qn_aligned_free(e->layers[i].distances.data);
        e->layers[i].distances.data = NULL;
    }
}

void qn_encoder_free(qn_encoder *e) {
    for (size_t i = 0; e->layers && i < count_sets(&e->config); i++) qn_aligned_free(e->layers[i].distances.data);
    free(e->layers);
    qn_aligned_free(e->sinusoid.data);
    qn_aligned_free(e->alibi.data);
    for (size_t i = 0; i < 2; i++) qn_rotary_free(&e->rotary[i]);
    free(e->buckets);
    free(e->distance_index);
    *e = (qn_encoder){0};
}

static bool is_local(const qn_encoder_config *f, size_t layer) {
    return f->local[layer / 64] >> layer % 64 & 1;
}

// How layer i attends.
static qn_attention_form form_of(const qn_encoder *e, size_t i) {
    return (qn_attention_form){.heads = e->config.heads,
                               .dropout = e->config.attention_dropout,
                               .bias = e->bias.weight ? &e->bias : NULL,
                               .window = is_local(&e->config, i) ? e->config.window : 0,
                               .key_heads = e->config.key_heads,
                               .causal = e->config.causal};
}

static qn_tensor *present(qn_tensor *t) {
    return t->data ? t : NULL;
}

// What layer i says of distances, where it does: the table's rows through its queries' and keys' products.
static bool use_distances(qn_context *c, qn_encoder *e, size_t i, qn_attention_distances *distances,
                          qn_attention_form *form) {
    qn_encoder_layer *l = layer_at(e, i);
    if (!e->distance_table) return true;
    *distances = (qn_attention_distances){.rows = &l->distances,
                                          .key = e->config.distance_key,
                                          .query = e->config.distance_query,
                                          .index = e->distance_index,
                                          .reach = e->config.max_positions - 1};
    if (!l->distances.data)
        distances->rows = qn_linear(c, qn_drop(c, e->distance_rows, e->config.hidden_dropout), &l->query_key_weight,
                                    present(&l->query_key_bias), QN_ACTIVATION_NONE);
    form->distances = distances;
    return distances->rows;
}

// In inference with packed weights they are computed once.
static void keep_distances(qn_context *c, qn_encoder *e, size_t i) {
    qn_encoder_layer *l = layer_at(e, i);
    qn_attention_distances distances;
    qn_attention_form form;
    if (!e->distance_table || l->distances.data || !use_distances(c, e, i, &distances, &form)) return;
    float *kept = qn_aligned_alloc(qn_count(distances.rows) * sizeof *kept);
    if (!kept) {
        qn_fail_operation(c, QN_ERROR_MEMORY);
        return;
    }
    memcpy(kept, distances.rows->data, qn_count(distances.rows) * sizeof *kept);
    l->distances = *distances.rows;
    l->distances.data = kept;
}

// The tables by which layer i turns queries and keys, or NULL.
static const qn_rotary *rotary_of(const qn_encoder *e, size_t i) {
    return e->config.positions == QN_POSITIONS_ROTARY ? &e->rotary[is_local(&e->config, i)].rotary : NULL;
}

static qn_tensor *rotate(qn_context *c, const qn_encoder *e, size_t i, qn_tensor *x, size_t heads,
                         const int32_t *positions) {
    const qn_rotary *rotary = rotary_of(e, i);
    return rotary ? qn_rotate(c, x, heads, e->config.head_width, positions, rotary) : x;
}

static qn_tensor *dense(qn_context *c, qn_tensor *x, const qn_dense *l) {
    return qn_linear(c, x, l->weight, l->bias, QN_ACTIVATION_NONE);
}

static qn_tensor *attend(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, const qn_tokens *tokens) {
    qn_encoder_layer *l = layer_at(e, i);
    qn_attention_form form = form_of(e, i);
    qn_attention_distances distances;
    if (!use_distances(c, e, i, &distances, &form)) return NULL;
    bool narrow = !form.bias && !form.distances && !form.window && !form.causal && form.key_heads == form.heads &&
                  !rotary_of(e, i) && e->config.head_width % 2 == 0;
    qn_tensor *qkv =
        (narrow ? qn_linear_narrow : qn_linear)(c, x, &l->qkv_weight, present(&l->qkv_bias), QN_ACTIVATION_NONE);
    qkv = rotate(c, e, i, qkv, e->config.heads + e->config.key_heads, tokens->positions);
    return dense(c, qn_self_attention_of(c, qkv, tokens->ragged, &form), &l->attention_output);
}

static qn_tensor *feed_forward(qn_context *c, qn_encoder *e, qn_encoder_layer *l, qn_tensor *x) {
    const qn_encoder_config *f = &e->config;
    bool drops = f->drops != QN_DROPS_RESULT && f->hidden_dropout > 0;
    qn_tensor *wide = (f->gated || drops ? qn_linear : qn_linear_narrow)(c, x, l->up.weight, l->up.bias,
                                                                         f->gated ? QN_ACTIVATION_NONE : f->activation);
    qn_tensor *in = f->gated ? qn_glu(c, wide, f->activation, f->gate_last) : wide;
    if (f->drops != QN_DROPS_RESULT) in = qn_drop(c, in, f->hidden_dropout);
    qn_tensor *y = dense(c, in, &l->down);
    qn_forget_for_now(c, in); // the largest of all, or with a gate its half
    return y;
}

static qn_tensor *add_norm(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor *sub, const qn_dense *norm,
                           float dropout, qn_tensor **sum) {
    if (!norm->weight && !sub) return x; // a model that begins without a norm
    float eps = e->config.norm_eps;
    qn_tensor *y = e->config.rms ? qn_add_rms_norm(c, x, sub, norm->weight, eps, dropout, sum)
                                 : qn_add_norm(c, x, sub, norm->weight, norm->bias, eps, dropout, sum);
    qn_forget_value(c, sub);                  // a linear layer's result, which is in the sum now
    if (sub && !sum) qn_forget_for_now(c, x); // and so is x, whose only other readers are linear layers
    return y;
}

// The dropout of a feed-forward network's result.
static float result_dropout(const qn_encoder *e) {
    return e->config.drops == QN_DROPS_INSIDE ? 0 : e->config.hidden_dropout;
}

static qn_tensor *embed(qn_context *c, qn_encoder *e, const qn_tokens *tokens) {
    qn_tensor *tables[QN_EMBEDDING_TABLES] = {e->word};
    const int32_t *ids[QN_EMBEDDING_TABLES] = {tokens->ids};
    bool int8 = e->compute == QN_DTYPE_INT8 && !qn_taping(c);
    size_t count = 1;
    if (e->type) {
        tables[count] = e->type;
        ids[count] = tokens->types;
        if (e->config.types == 1) { // RoBERTa: one type, whatever the segment
            int32_t *zeros = qn_arena_zalloc(c->records, tokens->tokens, sizeof *zeros);
            if (!zeros) return qn_fail_operation(c, QN_ERROR_MEMORY);
            ids[count] = zeros;
        }
        count++;
    }
    if (!e->position && !e->sinusoid.data) return qn_embedding_in(c, int8, tokens->tokens, count, tables, ids);
    tables[count] = e->position ? e->position : &e->sinusoid;
    ids[count] = tokens->positions;
    if (e->config.position_offset) {
        int32_t *shifted = qn_arena_alloc(c->records, tokens->tokens, sizeof *shifted);
        if (!shifted) return qn_fail_operation(c, QN_ERROR_MEMORY);
        for (size_t t = 0; t < tokens->tokens; t++)
            shifted[t] = tokens->positions[t] + (int32_t)e->config.position_offset;
        ids[count] = shifted;
    }
    return qn_embedding_in(c, int8, tokens->tokens, count + 1, tables, ids);
}

// The position of each row that is read; NULL after a failure.
static const int32_t *positions_of_rows(qn_context *c, const qn_tokens *tokens, qn_rows_read rows) {
    int32_t *positions = qn_arena_alloc(c->records, rows.count ? rows.count : 1, sizeof *positions);
    if (!positions) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t k = 0; k < rows.count; k++) positions[k] = tokens->positions[rows.index[k]];
    return positions;
}

static qn_tensor *attend_rows(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, const qn_tokens *tokens,
                              qn_rows_read rows, qn_ragged queries) {
    qn_encoder_layer *l = layer_at(e, i);
    qn_attention_form form = form_of(e, i);
    const int32_t *positions = positions_of_rows(c, tokens, rows);
    qn_attention_distances distances;
    if (!positions || !use_distances(c, e, i, &distances, &form)) return NULL;
    qn_tensor *kv = qn_linear(c, x, &l->kv_weight, present(&l->kv_bias), QN_ACTIVATION_NONE);
    kv = rotate(c, e, i, kv, form.key_heads, tokens->positions);
    qn_tensor *picked = qn_gather(c, x, rows.count, rows.index);
    qn_tensor *query = qn_linear(c, picked, &l->query_weight, present(&l->query_bias), QN_ACTIVATION_NONE);
    query = rotate(c, e, i, query, form.heads, positions);
    qn_tensor *mixed = qn_attention_of(c, query, queries, positions, kv, tokens->ragged, &form);
    return dense(c, mixed, &l->attention_output);
}

// How many of the rows that are read stand in each sequence: offsets [n + 1]. NULL offsets after a failure.
static qn_ragged rows_by_sequence(qn_context *c, qn_ragged batch, qn_rows_read rows) {
    int32_t *offsets = qn_arena_alloc(c->records, batch.sequences + 1, sizeof *offsets);
    size_t at = 0;
    if (!offsets) qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; offsets && i <= batch.sequences; i++) {
        offsets[i] = (int32_t)at;
        while (i < batch.sequences && at < rows.count && rows.index[at] < batch.offsets[i + 1]) {
            if (at > 0 && rows.index[at] <= rows.index[at - 1]) break;
            at++;
        }
    }
    if (offsets && at < rows.count) {
        qn_fail(QN_ERROR_ARGUMENT, "encoder: row %d is out of order or range (expected ascending rows of the batch)",
                rows.index[at]);
        return (qn_ragged){0, qn_fail_operation(c, QN_ERROR_ARGUMENT)};
    }
    return (qn_ragged){batch.sequences, offsets};
}

// The last layer for the rows that are read: keys and values of all tokens, everything else of those rows alone. *sub
// is the pre-norm residual that is not yet added, as in the loop below.
static qn_tensor *last_layer(qn_context *c, qn_encoder *e, qn_tensor *x, qn_tensor **sub, const qn_tokens *tokens,
                             qn_rows_read rows) {
    size_t last = e->config.layers - 1;
    float drop = e->config.hidden_dropout, drop_result = result_dropout(e);
    qn_encoder_layer *l = layer_at(e, last);
    qn_ragged queries = rows_by_sequence(c, tokens->ragged, rows);
    if (!queries.offsets) return NULL;
    if (e->config.pre_norm) {
        qn_tensor *normed = add_norm(c, e, x, *sub, &l->attention_norm, drop_result, &x), *starts = x;
        qn_tensor *mixed = attend_rows(c, e, last, normed, tokens, rows, queries);
        x = qn_gather(c, x, rows.count, rows.index);
        if (starts != normed) qn_forget_for_now(c, normed);
        normed = add_norm(c, e, x, mixed, &l->feed_forward_norm, drop, &x);
        *sub = feed_forward(c, e, l, normed);
        return x;
    }
    qn_tensor *mixed = attend_rows(c, e, last, x, tokens, rows, queries);
    qn_tensor *picked = qn_gather(c, x, rows.count, rows.index);
    qn_forget_for_now(c, x);
    x = add_norm(c, e, picked, mixed, &l->attention_norm, drop, NULL);
    return add_norm(c, e, x, feed_forward(c, e, l, x), &l->feed_forward_norm, drop_result, NULL);
}

// --- Inference with packed weights: a layer is one attention and one block of steps on rows, which ends with the next
// layer's queries, keys and values.

// Post-norm: x = norm(x + sub). Pre-norm: x = x + sub, normed = norm(x).
static int norm_step(qn_block *b, qn_encoder *e, int x, int sub, const qn_dense *norm) {
    bool pre = e->config.pre_norm;
    if (!norm->weight) return x;
    int normed = pre ? qn_block_inside(b, e->config.hidden) : x;
    qn_block_norm_form form = {
        .gamma = norm->weight, .beta = norm->bias, .eps = e->config.norm_eps, .rms = e->config.rms};
    qn_block_norm(b, x, sub, pre && sub >= 0 ? x : -1, &form, normed);
    return normed;
}

static int linear_step(qn_block *b, int from, const qn_dense *dense, qn_activation f, int to) {
    qn_block_linear(b, from, dense->weight, dense->bias, f, to);
    return to;
}

static void feed_forward_steps(qn_block *b, const qn_encoder *e, const qn_encoder_layer *l, int normed, int to) {
    const qn_encoder_config *f = &e->config;
    int wide = qn_block_inside(b, f->gated ? 2 * f->intermediate : f->intermediate), in = wide;
    linear_step(b, normed, &l->up, f->gated ? QN_ACTIVATION_NONE : f->activation, wide);
    if (f->gated) qn_block_glu(b, wide, f->activation, f->gate_last, in = qn_block_inside(b, f->intermediate));
    linear_step(b, in, &l->down, QN_ACTIVATION_NONE, to);
}

// Queries, keys and values of layer i.
static void qkv_steps(qn_block *b, qn_encoder *e, size_t i, int normed, int qkv, const int32_t *positions) {
    qn_encoder_layer *l = layer_at(e, i);
    const qn_rotary *rotary = rotary_of(e, i);
    size_t heads = e->config.heads + e->config.key_heads;
    qn_block_linear(b, normed, &l->qkv_weight, present(&l->qkv_bias), QN_ACTIVATION_NONE, qkv);
    if (rotary) qn_block_rotate(b, qkv, heads, e->config.head_width, positions, rotary);
}

// What an attention reads and writes; in bf16 where products are narrow.
typedef struct {
    qn_tensor *qkv, *mixed;
    qn_narrow_tensor *narrow_qkv, *narrow_mixed;
} attention_values;

static attention_values new_attention_values(qn_context *c, const qn_encoder *e, size_t rows, bool cached) {
    const qn_encoder_config *f = &e->config;
    attention_values v = {0};
    if ((e->compute == QN_DTYPE_BF16 || e->compute == QN_DTYPE_INT8) && !e->distance_table && f->head_width % 2 == 0 &&
        !cached && c->backend->ops->computes(c->backend, QN_DTYPE_BF16))
        v.narrow_qkv = qn_new_narrow(c, rows, qkv_width(f));
    else
        v.qkv = qn_new_matrix(c, rows, qkv_width(f), false);
    if (v.narrow_qkv && e->compute == QN_DTYPE_BF16)
        v.narrow_mixed = qn_new_narrow(c, rows, query_width(f));
    else if (v.narrow_qkv || cached)
        v.mixed = qn_new_matrix(c, rows, query_width(f), false);
    return v;
}

static size_t layer_floats(const qn_encoder *e, const qn_backend *b, size_t capacity) {
    return b->ops->cache_floats(b, capacity, e->config.key_heads, e->config.head_width);
}

size_t qn_encoder_cache_floats(const qn_encoder *e, const qn_backend *b, size_t capacity) {
    return e->config.layers * layer_floats(e, b, capacity);
}

static void cached_attention(qn_context *c, const qn_encoder *e, size_t i, attention_values *v, qn_ragged batch,
                             const qn_kv_cache *cache) {
    const qn_encoder_config *f = &e->config;
    float **memory = qn_arena_alloc(c->records, batch.sequences + 1, sizeof *memory);
    if (!memory || !v->qkv || !v->mixed) {
        qn_fail_operation(c, QN_ERROR_MEMORY);
        return;
    }
    for (size_t k = 0; k < batch.sequences; k++)
        memory[k] = cache->memory[k] + i * layer_floats(e, c->backend, cache->capacity[k]);
    const float *qkv = v->qkv->data;
    c->backend->ops->cache_attention(c->backend, &(qn_cache_args){.sequences = batch.sequences,
                                                                  .offsets = batch.offsets,
                                                                  .lengths = cache->lengths,
                                                                  .capacity = cache->capacity,
                                                                  .cache = memory,
                                                                  .heads = f->heads,
                                                                  .key_heads = f->key_heads,
                                                                  .head_width = f->head_width,
                                                                  .query = qkv,
                                                                  .key = qkv + query_width(f),
                                                                  .value = qkv + query_width(f) + key_width(f),
                                                                  .query_stride = qkv_width(f),
                                                                  .stride = qkv_width(f),
                                                                  .scale = 1.0f / sqrtf((float)f->head_width),
                                                                  .causal = true,
                                                                  .out = v->mixed->data});
}

static void attention_step(qn_context *c, qn_encoder *e, size_t i, attention_values *v, qn_ragged batch,
                           const qn_kv_cache *cache) {
    qn_attention_form form = form_of(e, i);
    qn_attention_distances distances;
    if (!use_distances(c, e, i, &distances, &form)) return;
    if (cache)
        cached_attention(c, e, i, v, batch, cache);
    else if (v->narrow_qkv)
        qn_narrow_attention(c, v->narrow_qkv, &form, batch, v->narrow_mixed, v->mixed);
    else
        v->mixed = qn_self_attention_of(c, v->qkv, batch, &form);
}

// Layers 0 .. end-1 on x, in place. Pre-norm: *sub is what is still to be added to x.
static void infer_layers(qn_context *c, qn_encoder *e, qn_tensor *x, const qn_tokens *tokens, size_t end,
                         const qn_kv_cache *cache, qn_tensor **sub) {
    bool pre = e->config.pre_norm;
    size_t d = e->config.hidden, rows = qn_rows(x);
    attention_values v = new_attention_values(c, e, rows, cache != NULL);
    if (pre) *sub = qn_new_matrix(c, rows, d, false);
    for (size_t i = 0; i < end; i++) {
        qn_arena_mark mark = qn_arena_save(c->arena);
        keep_distances(c, e, i);
        qn_arena_restore(c->arena, mark);
    }
    for (size_t i = 0; i <= end && c->status == QN_OK; i++) {
        qn_arena_mark mark = qn_arena_save(c->arena); // the attention's result goes when the block has read it
        qn_block b;
        qn_block_begin(&b, c, rows);
        int in = qn_block_tensor(&b, x), normed = in, delta = -1;
        if (i > 0) { // the rest of layer i - 1
            qn_encoder_layer *l = layer_at(e, i - 1);
            attention_step(c, e, i - 1, &v, tokens->ragged, cache);
            int mixed = v.narrow_mixed ? qn_block_narrow(&b, v.narrow_mixed) : qn_block_tensor(&b, v.mixed);
            delta = pre && i == end ? qn_block_tensor(&b, *sub) : qn_block_inside(&b, d);
            linear_step(&b, mixed, &l->attention_output, QN_ACTIVATION_NONE, delta);
            normed = norm_step(&b, e, in, delta, pre ? &l->feed_forward_norm : &l->attention_norm);
            feed_forward_steps(&b, e, l, normed, delta);
            if (!pre) normed = norm_step(&b, e, in, delta, &l->feed_forward_norm);
        }
        if (i < end) {
            qn_encoder_layer *l = layer_at(e, i);
            if (pre) normed = norm_step(&b, e, in, delta, &l->attention_norm);
            int qkv = v.narrow_qkv ? qn_block_narrow(&b, v.narrow_qkv) : qn_block_tensor(&b, v.qkv);
            qkv_steps(&b, e, i, normed, qkv, tokens->positions);
        }
        qn_block_run(&b);
        qn_arena_restore(c->arena, mark);
    }
}

qn_tensor *qn_encoder_forward(qn_context *c, qn_encoder *e, const qn_tokens *tokens) {
    return qn_encoder_forward_rows(c, e, tokens, (qn_rows_read){0, NULL});
}

static void extend_rotary(qn_encoder *e, qn_ragged batch) {
    size_t longest = 0;
    for (size_t i = 0; i < batch.sequences; i++) {
        size_t length = (size_t)(batch.offsets[i + 1] - batch.offsets[i]);
        if (length > longest) longest = length;
    }
    for (size_t i = 0; i < 2; i++)
        if (e->rotary[i].cosine) qn_rotary_extend(&e->rotary[i], longest);
}

static bool too_long(qn_context *c, const qn_encoder *e, qn_ragged batch) {
    for (size_t i = 0; i < batch.sequences; i++)
        if ((size_t)(batch.offsets[i + 1] - batch.offsets[i]) > e->config.max_positions) {
            qn_fail(QN_ERROR_ARGUMENT, "encoder: a sequence of %d tokens (expected at most %zu)",
                    batch.offsets[i + 1] - batch.offsets[i], e->config.max_positions);
            qn_fail_operation(c, QN_ERROR_ARGUMENT);
            return true;
        }
    return false;
}

// One layer on every row. *sub: see last_layer.
static qn_tensor *layer(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, qn_tensor **sub,
                        const qn_tokens *tokens) {
    qn_encoder_layer *l = layer_at(e, i);
    float drop = e->config.hidden_dropout, drop_result = result_dropout(e);
    if (e->config.pre_norm) {
        qn_tensor *normed = add_norm(c, e, x, *sub, &l->attention_norm, drop_result, &x);
        qn_tensor *mixed = attend(c, e, i, normed, tokens);
        if (normed != x) qn_forget_for_now(c, normed);
        normed = add_norm(c, e, x, mixed, &l->feed_forward_norm, drop, &x);
        *sub = feed_forward(c, e, l, normed);
        qn_forget_for_now(c, normed);
        return x;
    }
    x = add_norm(c, e, x, attend(c, e, i, x, tokens), &l->attention_norm, drop, NULL);
    return add_norm(c, e, x, feed_forward(c, e, l, x), &l->feed_forward_norm, drop_result, NULL);
}

qn_tensor *qn_encoder_forward_rows(qn_context *c, qn_encoder *e, const qn_tokens *tokens, qn_rows_read rows) {
    size_t whole = e->config.layers - (rows.index && e->config.layers > 0); // layers that compute every row
    bool pre = e->config.pre_norm;
    if (e->config.positions >= QN_POSITIONS_ROTARY && too_long(c, e, tokens->ragged)) return NULL;
    extend_rotary(e, tokens->ragged);
    qn_tensor *x = add_norm(c, e, embed(c, e, tokens), NULL, &e->embedding_norm, 0, NULL);
    x = qn_drop(c, x, e->config.hidden_dropout);
    if (e->config.project) x = dense(c, x, &e->projection);
    e->distance_rows = e->distance_table;
    if (e->distance_norm.weight)
        e->distance_rows = qn_add_norm(c, e->distance_table, NULL, e->distance_norm.weight, e->distance_norm.bias,
                                       e->config.norm_eps, 0, NULL);
    qn_tensor *sub = NULL; // pre-norm: the previous feed-forward's output, not yet added
    bool packed = whole > 0 && !qn_taping(c) && !c->dropout && e->layers[0].qkv_weight.packed;
    if (x && packed) infer_layers(c, e, x, tokens, whole, NULL, &sub);
    qn_tensor *carry = pre && !qn_taping(c) && !packed && x ? qn_new_tensor(c, x->rank, x->shape, false) : NULL;
    for (size_t i = 0; x && !packed && i < whole; i++) {
        qn_arena_mark mark = qn_arena_save(c->arena);
        x = layer(c, e, i, x, &sub, tokens);
        if (qn_taping(c) || c->keep) continue;
        // Without a tape the norms wrote into x's own memory: what the block used beyond it is free again.
        if (carry && sub) {
            memcpy(carry->data, sub->data, qn_count(sub) * sizeof(float));
            sub = carry;
        }
        qn_arena_restore(c->arena, mark);
    }
    if (x && whole < e->config.layers)
        x = last_layer(c, e, x, &sub, tokens, rows);
    else if (rows.index)
        x = qn_gather(c, x, rows.count, rows.index);
    if (x && pre) x = add_norm(c, e, x, sub, &e->final_norm, result_dropout(e), NULL);
    return x;
}

qn_tensor *qn_encoder_forward_cached(qn_context *c, qn_encoder *e, const qn_tokens *tokens, const qn_kv_cache *cache,
                                     qn_rows_read rows) {
    size_t furthest = 0, limit = e->config.max_positions;
    for (size_t t = 0; t < tokens->tokens; t++)
        if ((size_t)tokens->positions[t] >= furthest) furthest = (size_t)tokens->positions[t] + 1;
    if (furthest > limit) {
        qn_fail(QN_ERROR_ARGUMENT, "decoder: a sequence of %zu tokens (expected at most %zu)", furthest, limit);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < 2; i++)
        if (e->rotary[i].cosine) qn_rotary_extend(&e->rotary[i], furthest);
    qn_tensor *x = add_norm(c, e, embed(c, e, tokens), NULL, &e->embedding_norm, 0, NULL), *sub = NULL;
    if (e->config.project) x = dense(c, x, &e->projection);
    if (x) infer_layers(c, e, x, tokens, e->config.layers, cache, &sub);
    if (x && rows.index) x = qn_gather(c, x, rows.count, rows.index);
    if (x && sub && rows.index) sub = qn_gather(c, sub, rows.count, rows.index);
    return x && e->config.pre_norm ? add_norm(c, e, x, sub, &e->final_norm, 0, NULL) : x;
}
