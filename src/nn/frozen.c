// The embeddings and first layers that do not train: run without a tape and without dropout, or taken from the cache.
#include "nn/frozen.h"
#include "base/file.h"
#include "nn/encoder_private.h"
#include <stdlib.h>
#include <string.h>

struct qn_frozen_cache {
    size_t texts, width, bytes;
    const int64_t *offsets; // [texts + 1]
    bool *known;            // [texts]
    float *values;          // [offsets[texts], width]
    bool in_file;
};

qn_status qn_frozen_cache_create(size_t texts, const int64_t *offsets, size_t width, size_t budget, const char *folder,
                                 qn_frozen_cache **out) {
    qn_frozen_cache *cache = *out = qn_calloc(1, sizeof *cache);
    if (!cache) return QN_ERROR_MEMORY;
    *cache = (qn_frozen_cache){.texts = texts, .width = width, .offsets = offsets};
    if (__builtin_mul_overflow((size_t)offsets[texts], width * sizeof(float), &cache->bytes))
        return qn_fail(QN_ERROR_MEMORY, "the activations of %lld tokens do not fit", (long long)offsets[texts]);
    cache->in_file = cache->bytes > budget;
    cache->known = qn_calloc(texts, sizeof *cache->known);
    if (!cache->known) return QN_ERROR_MEMORY;
    return qn_map_scratch(cache->in_file ? folder : NULL, cache->bytes, (void **)&cache->values);
}

void qn_frozen_cache_free(qn_frozen_cache *cache) {
    if (!cache) return;
    qn_unmap(&(qn_mapping){(const uint8_t *)cache->values, cache->bytes});
    free(cache->known);
    free(cache);
}

size_t qn_frozen_cache_bytes(const qn_frozen_cache *cache) {
    return cache->bytes;
}

bool qn_frozen_cache_in_file(const qn_frozen_cache *cache) {
    return cache->in_file;
}

// --- Computing

static qn_tensor *compute(qn_context *c, qn_encoder *e, const qn_tokens *tokens, size_t layers) {
    qn_tape *tape = c->tape;
    bool dropout = c->dropout;
    qn_tensor *sub = NULL;
    c->tape = NULL;
    c->dropout = false;
    qn_tensor *x = qn_encoder_start(c, e, tokens);
    x = qn_encoder_run(c, e, x, &sub, tokens, 0, layers);
    if (x && sub) c->backend->ops->add(c->backend, qn_count(x), sub->data, x->data);
    c->tape = tape;
    c->dropout = dropout;
    return x;
}

static float *rows_of(const qn_frozen_cache *cache, uint32_t text) {
    return cache->values + (size_t)cache->offsets[text] * cache->width;
}

static size_t length_of(const qn_tokens *tokens, size_t i) {
    return (size_t)(tokens->ragged.offsets[i + 1] - tokens->ragged.offsets[i]);
}

// The sequences of a batch whose texts are not known yet, as a batch of their own; `which` [n] are their places.
static bool gather_unknown(qn_context *c, const qn_frozen_cache *cache, const qn_tokens *tokens, qn_tokens *out,
                           size_t *which) {
    size_t n = tokens->ragged.sequences, used = 0, count = 0;
    int32_t *ids = qn_arena_alloc(c->records, 3 * tokens->tokens + 2 * n + 2, sizeof *ids);
    if (!ids) return qn_fail_operation(c, QN_ERROR_MEMORY);
    int32_t *types = ids + tokens->tokens, *positions = types + tokens->tokens, *offsets = positions + tokens->tokens;
    int32_t *seen = offsets + n + 1;
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t from = (size_t)tokens->ragged.offsets[i], length = length_of(tokens, i);
        if (cache->known[tokens->texts[i]]) continue;
        memcpy(ids + used, tokens->ids + from, length * sizeof *ids);
        memcpy(types + used, tokens->types + from, length * sizeof *types);
        memcpy(positions + used, tokens->positions + from, length * sizeof *positions);
        used += length;
        if (tokens->seen) seen[count] = tokens->seen[i];
        which[count++] = i;
        offsets[count] = (int32_t)used;
    }
    *out = qn_tokens_of(used, ids, types, positions, (qn_ragged){count, offsets});
    if (tokens->seen) out->seen = seen;
    return true;
}

static bool learn_unknown(qn_context *c, qn_encoder *e, const qn_tokens *tokens, size_t layers) {
    qn_frozen_cache *cache = e->cache;
    size_t *which = qn_arena_alloc(c->records, tokens->ragged.sequences + 1, sizeof *which);
    qn_tokens unknown;
    if (!which) return qn_fail_operation(c, QN_ERROR_MEMORY);
    if (!gather_unknown(c, cache, tokens, &unknown, which)) return false;
    if (unknown.ragged.sequences == 0) return true;
    qn_arena_mark mark = qn_arena_save(c->arena);
    qn_tensor *x = compute(c, e, &unknown, layers);
    for (size_t k = 0; x && k < unknown.ragged.sequences; k++) {
        uint32_t text = tokens->texts[which[k]];
        size_t first = (size_t)unknown.ragged.offsets[k];
        memcpy(rows_of(cache, text), x->data + first * cache->width,
               length_of(&unknown, k) * cache->width * sizeof(float));
        cache->known[text] = true;
    }
    qn_arena_restore(c->arena, mark);
    return x != NULL;
}

qn_tensor *qn_encoder_frozen(qn_context *c, qn_encoder *e, const qn_tokens *tokens, size_t layers) {
    const qn_frozen_cache *cache = e->cache;
    if (!cache || !tokens->texts) return compute(c, e, tokens, layers);
    qn_tensor *x = qn_new_matrix(c, tokens->tokens, cache->width, false);
    if (!x || !learn_unknown(c, e, tokens, layers)) return NULL;
    for (size_t i = 0; i < tokens->ragged.sequences; i++)
        memcpy(x->data + (size_t)tokens->ragged.offsets[i] * cache->width, rows_of(cache, tokens->texts[i]),
               length_of(tokens, i) * cache->width * sizeof(float));
    return x;
}

size_t qn_encoder_frozen_depth(qn_encoder *e) {
    size_t layers = 0;
    const qn_tensor *shared[] = {e->bias.weight, e->distance_table}; // read by all layers
    if (e->word->requires_grad || (e->position && e->position->requires_grad)) return 0;
    for (size_t i = 0; i < 2; i++)
        if (shared[i] && shared[i]->requires_grad) return 1;
    while (layers < e->config.layers && !qn_layer_at(e, layers)->first.weight->requires_grad) layers++;
    return 1 + layers;
}
