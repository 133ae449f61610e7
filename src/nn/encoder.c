// The encoder's parameters: names and shapes from its configuration, views over joined tensors, packed weights.
#include "nn/encoder_private.h"
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

static qn_status add_qkv(qn_encoder_layer *l, const qn_encoder_config *f, const char *prefix,
                         const qn_encoder_names *names, int layer, qn_parameters *set) {
    const char *parts[3] = {names->query, names->key, names->value};
    char full[NAME_SIZE];
    size_t out[3] = {qn_query_width(f), qn_key_width(f), qn_key_width(f)};
    bool plain = f->plain & QN_PLAIN_QKV;
    if (!names->qkv) return add_joined(set, prefix, parts, 3, out, f->hidden, layer, plain, &l->first);
    snprintf(full, sizeof full, "%s%s", prefix, names->qkv);
    return add_dense(set, full, qn_qkv_width(f), f->hidden, layer, plain, &l->first);
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
    snprintf(full, sizeof full, "%s%s", prefix, !f->gated && names->plain_up ? names->plain_up : names->up);
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

qn_encoder_layer *qn_layer_at(qn_encoder *e, size_t i) {
    return &e->layers[set_of(&e->config, i)];
}

// A set's depth is that of the last layer that uses it, so that freezing the first layers never freezes a later one.
static int depth_of(const qn_encoder_config *f, size_t set) {
    size_t depth = f->layers;
    while (depth > 0 && set_of(f, depth - 1) != set) depth--;
    return (int)(f->below + depth);
}

// Attention to an encoder's result.
static qn_status add_cross(qn_encoder_layer *l, const qn_encoder_config *f, const char *prefix,
                           const qn_encoder_names *names, int layer, qn_parameters *set) {
    const char *parts[2] = {names->cross_key, names->cross_value};
    char full[NAME_SIZE];
    size_t keys = qn_key_width(f);
    bool plain = f->plain & QN_PLAIN_QKV;
    snprintf(full, sizeof full, "%s%s", prefix, names->cross_query);
    QN_TRY(add_dense(set, full, qn_query_width(f), f->hidden, layer, plain, &l->cross_query));
    QN_TRY(add_joined(set, prefix, parts, 2, (size_t[]){keys, keys}, f->hidden, layer, plain, &l->cross_first));
    snprintf(full, sizeof full, "%s%s", prefix, names->cross_output);
    plain = f->plain & QN_PLAIN_ATTENTION_OUTPUT;
    QN_TRY(add_dense(set, full, f->hidden, qn_query_width(f), layer, plain, &l->cross_output));
    snprintf(full, sizeof full, "%s%s", prefix, names->cross_norm);
    return add_dense(set, full, f->hidden, 0, layer, f->plain & QN_PLAIN_NORMS, &l->cross_norm);
}

// What the names of a set's parameters begin with.
static void set_prefix(const qn_encoder_config *f, const qn_encoder_names *names, size_t index,
                       char prefix[NAME_SIZE / 2]) {
    if (f->groups)
        snprintf(prefix, NAME_SIZE / 2, names->layer, index / f->inner, index % f->inner);
    else
        snprintf(prefix, NAME_SIZE / 2, names->layer, index);
}

// `index` counts the sets.
static qn_status add_layer(qn_encoder *e, size_t index, const qn_encoder_names *names, qn_parameters *set) {
    const qn_encoder_config *f = &e->config;
    qn_encoder_layer *l = &e->layers[index];
    char prefix[NAME_SIZE / 2], full[NAME_SIZE];
    int depth = depth_of(f, index);
    set_prefix(f, names, index, prefix);
    QN_TRY(add_qkv(l, f, prefix, names, depth, set));
    const struct {
        const char *name;
        size_t out, in;
        unsigned plain;
        qn_dense *dense;
    } rest[] = {
        {names->attention_output, f->hidden, qn_query_width(f), QN_PLAIN_ATTENTION_OUTPUT, &l->attention_output},
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
    return f->cross ? add_cross(l, f, prefix, names, depth, set) : QN_OK;
}

static qn_tensor *add_table(qn_parameters *set, const char *name, size_t rows, size_t d) {
    return qn_parameters_add(set, name, rows, d, (qn_parameter_options){QN_INIT_NORMAL, true, false, 0, false});
}

// Without zeros that stand for what follows from others.
static qn_encoder_config completed(const qn_encoder_config *config) {
    qn_encoder_config f = *config;
    if (!f.embedding) f.embedding = f.hidden;
    if (!f.key_heads) f.key_heads = f.heads;
    if (!f.head_width) f.head_width = f.hidden / f.heads;
    return f;
}

qn_status qn_encoder_add(qn_encoder *e, const qn_encoder_config *config, const qn_encoder_names *names, qn_tensor *word,
                         qn_parameters *set) {
    *e = (qn_encoder){.config = completed(config)};
    const qn_encoder_config *f = &e->config;
    size_t width = f->embedding, sets = count_sets(f);
    int last = (int)(f->below + f->layers);
    e->layers = qn_calloc(sets ? sets : 1, sizeof *e->layers);
    e->word = word ? word : add_table(set, names->word, f->vocabulary, width);
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
                                           (qn_parameter_options){QN_INIT_NORMAL, true, false, last, false});
        if (!e->bias.weight) return QN_ERROR_MEMORY;
    }
    if (f->distance_span) {
        e->distance_table = qn_parameters_add(set, names->distances, 2 * f->distance_span, f->hidden,
                                              (qn_parameter_options){QN_INIT_NORMAL, true, false, last, false});
        if (!e->distance_table) return QN_ERROR_MEMORY;
        if (f->distance_norm)
            QN_TRY(add_dense(set, names->distance_norm, f->hidden, 0, last, false, &e->distance_norm));
    }
    if (!f->pre_norm) return QN_OK;
    return add_dense(set, names->final_norm, f->hidden, 0, last, f->plain & QN_PLAIN_NORMS, &e->final_norm);
}

qn_status qn_encoder_add_tied(qn_encoder *d, const qn_encoder *encoder, const qn_encoder_config *config,
                              const qn_encoder_names *names, qn_parameters *set) {
    size_t sets = count_sets(&encoder->config);
    *d = *encoder;
    d->config = completed(config);
    d->layers = qn_calloc(sets ? sets : 1, sizeof *d->layers);
    if (!d->layers) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < sets; i++) {
        char prefix[NAME_SIZE / 2];
        d->layers[i] = encoder->layers[i];
        set_prefix(&encoder->config, names, i, prefix);
        QN_TRY(add_cross(&d->layers[i], &d->config, prefix, names, depth_of(&d->config, i), set));
    }
    return QN_OK;
}

void qn_encoder_initialize(qn_encoder *e) {
    if (e->position && e->config.sinusoidal_start)
        qn_fill_sinusoid(e->position->shape[0], e->config.embedding, false, e->position->data);
}

// Rows first .. first + count - 1 of a matrix, or that part of a vector; without data where there is none.
static qn_tensor part(const qn_tensor *t, size_t first, size_t count) {
    qn_tensor view = *t;
    size_t width = t->rank == 2 ? t->shape[1] : 1;
    view.packed = NULL;
    view.stored = NULL;
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
        QN_TRY(qn_make_sinusoid(f->max_positions + f->position_offset, f->embedding, f->sinusoid_halves, &e->sinusoid));
    for (size_t i = 0; i < 2 && f->positions == QN_POSITIONS_ROTARY; i++)
        if (f->rotary[i].theta > 0 && !e->rotary[i].cosine)
            QN_TRY(qn_rotary_create(&f->rotary[i], f->rotary_width ? f->rotary_width : h, f->max_positions,
                                    &e->rotary[i]));
    if (f->positions == QN_POSITIONS_ALIBI && !e->buckets)
        e->buckets = qn_make_alibi(f->max_positions, f->heads, &e->alibi, &e->bias);
    else if (e->bias.weight && !e->buckets)
        e->buckets = qn_make_buckets(f->max_positions, &f->buckets, &e->bias);
    if (f->distance_span && !e->distance_index)
        e->distance_index =
            qn_make_distances(f->max_positions - 1, f->distance_span, f->distance_buckets, f->distance_most);
    return (e->bias.weight && !e->buckets) || (f->distance_span && !e->distance_index) ? QN_ERROR_MEMORY : QN_OK;
}

qn_status qn_encoder_bind(qn_encoder *e, const qn_parameters *set) {
    size_t d = qn_query_width(&e->config), keys = 2 * qn_key_width(&e->config);
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
        if (l->cross_first.weight) {
            l->cross_kv_weight = joined_view(set, l->cross_first.weight, 2, &l->cross_kv_weight);
            l->cross_kv_bias = joined_view(set, l->cross_first.bias, 2, &l->cross_kv_bias);
        }
        if (!l->gate.weight) continue;
        l->gate_up_weight = joined_view(set, l->gate.weight, 2, &l->gate_up_weight);
        l->gate_up_bias = joined_view(set, l->gate.bias, 2, &l->gate_up_bias);
        l->up = (qn_dense){&l->gate_up_weight, l->gate.bias ? &l->gate_up_bias : NULL};
    }
    return bind_positions(e);
}

// --- Products. Those of a set of parameters are qkv, attention_output, up and down, and with cross-attention its
// queries, keys and values, and its output.
enum { MOST_PRODUCTS = 7 };

static size_t layer_products(const qn_encoder_config *f) {
    return f->cross ? MOST_PRODUCTS : 4;
}

static qn_tensor *product_weight(qn_encoder *e, size_t i) {
    size_t each = layer_products(&e->config);
    qn_encoder_layer *l = &e->layers[i / each];
    qn_tensor *weights[MOST_PRODUCTS] = {&l->qkv_weight,        l->attention_output.weight, l->up.weight,
                                         l->down.weight,        l->cross_query.weight,      &l->cross_kv_weight,
                                         l->cross_output.weight};
    return weights[i % each];
}

size_t qn_encoder_products(const qn_encoder_config *config) {
    return layer_products(config) * count_sets(config);
}

size_t qn_encoder_product_width(const qn_encoder_config *f, size_t product) {
    const size_t widths[MOST_PRODUCTS] = {f->hidden, qn_query_width(f), f->hidden,        f->intermediate,
                                          f->hidden, f->hidden,         qn_query_width(f)};
    return widths[product % layer_products(f)];
}

// Weights that one product computes together stand behind the first of them.
bool qn_encoder_product_of(const qn_encoder *e, const qn_parameters *set, const qn_parameter *p, size_t *product) {
    size_t at = 0, each = layer_products(&e->config);
    while (set->items[at] != p) at++;
    while (set->items[at]->joined) at--;
    const qn_tensor *first = &set->items[at]->tensor;
    for (size_t i = 0; i < count_sets(&e->config); i++) {
        const qn_encoder_layer *l = &e->layers[i];
        const qn_tensor *weights[MOST_PRODUCTS] = {
            l->first.weight,       l->attention_output.weight, l->gate.weight ? l->gate.weight : l->up.weight,
            l->down.weight,        l->cross_query.weight,      l->cross_first.weight,
            l->cross_output.weight};
        for (size_t k = 0; k < each; k++)
            if (weights[k] == first) {
                *product = i * each + k;
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
    size_t i = 0, count = qn_encoder_products(&s->encoder->config), width = qn_width(x);
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
    size_t count = qn_encoder_products(f), width = 0;
    for (size_t i = 0; i < count; i++)
        if (qn_encoder_product_width(f, i) > width) width = qn_encoder_product_width(f, i);
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
    for (size_t i = 0; i < qn_encoder_products(&e->config); i++) {
        qn_tensor *w = product_weight(e, i);
        if (w->packed) continue;
        w->packed = backend->ops->pack(backend, &(qn_pack_args){.out = w->shape[0],
                                                                .in = w->shape[1],
                                                                .compute = w->stored ? w->stored->compute : compute,
                                                                .weight = w->data,
                                                                .exact = exact ? exact[i] : (qn_exact){0},
                                                                .grouped = w->stored});
        if (!w->packed) return QN_ERROR_MEMORY;
    }
    return QN_OK;
}

void qn_encoder_unpack(qn_encoder *e, qn_backend *backend) {
    for (size_t i = 0; e->layers && i < qn_encoder_products(&e->config); i++) {
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
