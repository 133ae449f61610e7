#include "tensor/parameters.h"
#include "base/rng.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16 }; // floats

qn_tensor *qn_parameters_add(qn_parameters *set, const char *name, size_t rows, size_t width,
                             qn_parameter_options options) {
    size_t count = rows ? rows : 1;
    if (width && count > SIZE_MAX / 64 / width) {
        qn_fail(QN_ERROR_ARGUMENT, "%s: [%zu, %zu] is too large", name, rows, width);
        return NULL;
    }
    count *= width;
    if (set->size + count < set->size || set->size + count > SIZE_MAX / 64) {
        qn_fail(QN_ERROR_ARGUMENT, "%s: the model is too large", name);
        return NULL;
    }
    if (qn_grow((void **)&set->items, &set->capacity, set->count + 1, sizeof *set->items) != QN_OK) return NULL;
    qn_parameter *p = qn_calloc(1, sizeof *p);
    if (!p) return NULL;
    p->name = qn_strdup(name);
    if (!p->name) {
        free(p);
        return NULL;
    }
    p->tensor = (qn_tensor){
        .rank = rows ? 2 : 1, .shape = {rows ? rows : width, width}, .requires_grad = true, .has_grad = true};
    p->init = options.init;
    p->decay = options.decay;
    p->optional = options.optional;
    p->layer = options.layer;
    p->joined = options.joined;
    if (!options.joined) set->size = (set->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    p->offset = set->size;
    set->size += count;
    set->items[set->count++] = p;
    return &p->tensor;
}

static float *allocate(size_t size) {
    float *memory = qn_aligned_alloc((size ? size : 1) * sizeof *memory);
    if (memory) memset(memory, 0, size * sizeof *memory);
    return memory;
}

size_t qn_parameters_end(const qn_parameters *set, size_t i) {
    return i + 1 < set->count ? set->items[i + 1]->offset : set->size;
}

// Neighbours that train keep their distance, so that a run of them is one in all arrays.
static void place_training(qn_parameters *set) {
    set->trained = 0;
    for (size_t i = 0; i < set->count; i++) {
        qn_parameter *p = set->items[i];
        if (p->frozen) continue;
        if (i == 0 || set->items[i - 1]->frozen) set->trained = (set->trained + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        p->slot = set->trained;
        set->trained += qn_parameters_end(set, i) - p->offset;
    }
}

// Memory that is never written is never taken: the places of gradients by rows are left alone but for what the most
// rows of a step need.
static float *allocate_gradients(const qn_parameters *set) {
    float *memory = qn_aligned_alloc((set->trained ? set->trained : 1) * sizeof *memory);
    for (size_t i = 0; memory && i < set->count; i++) {
        const qn_parameter *p = set->items[i];
        if (p->frozen || p->by_rows) continue;
        memset(memory + p->slot, 0, (qn_parameters_end(set, i) - p->offset) * sizeof *memory);
    }
    return memory;
}

qn_status qn_parameters_allocate(qn_parameters *set) {
    set->values = allocate(set->size);
    if (!set->values) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < set->count; i++) set->items[i]->tensor.data = set->values + set->items[i]->offset;
    return QN_OK;
}

qn_status qn_parameters_allocate_except(qn_parameters *set, const bool *elsewhere) {
    set->size = 0;
    for (size_t i = 0; i < set->count; i++) {
        qn_parameter *p = set->items[i];
        if (elsewhere[i]) {
            p->offset = set->size; // as an empty entry
            continue;
        }
        if (!p->joined) set->size = (set->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        p->offset = set->size;
        set->size += qn_count(&p->tensor);
    }
    set->values = allocate(set->size);
    if (!set->values) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < set->count; i++)
        if (!elsewhere[i]) set->items[i]->tensor.data = set->values + set->items[i]->offset;
    return QN_OK;
}

qn_status qn_parameters_allocate_training(qn_parameters *set) {
    place_training(set);
    set->grads = allocate_gradients(set);
    set->moment1 = allocate(set->trained);
    set->moment2 = allocate(set->trained);
    if (!set->grads || !set->moment1 || !set->moment2) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < set->count; i++) {
        qn_parameter *p = set->items[i];
        if (p->frozen) continue;
        p->tensor.grad = set->grads + p->slot;
        if (p->by_rows && !(p->tensor.used = qn_used_rows_create(p->tensor.shape[0]))) return QN_ERROR_MEMORY;
    }
    return QN_OK;
}

static uint64_t hash(const char *text) { // FNV-1a
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

void qn_parameter_initialize(qn_parameter *p, uint64_t seed, double deviation) {
    size_t count = qn_count(&p->tensor);
    qn_rng rng = {.seed = seed, .stream = hash(p->name)};
    for (size_t i = 0; i < count; i++)
        p->tensor.data[i] = p->init == QN_INIT_ZEROS     ? 0.0f
                            : p->init == QN_INIT_ONES    ? 1.0f
                            : p->init == QN_INIT_UNIFORM ? (float)(deviation * (2 * qn_rng_real(&rng) - 1))
                                                         : (float)(deviation * qn_rng_normal(&rng));
}

void qn_parameters_initialize(qn_parameters *set, uint64_t seed, double deviation) {
    for (size_t i = 0; i < set->count; i++) qn_parameter_initialize(set->items[i], seed, deviation);
}

void qn_parameters_free_training(qn_parameters *set) {
    for (size_t i = 0; i < set->count; i++) {
        qn_tensor *t = &set->items[i]->tensor;
        qn_used_rows_free(t->used);
        t->used = NULL;
        t->grad = NULL;
    }
    qn_aligned_free(set->grads);
    qn_aligned_free(set->moment1);
    qn_aligned_free(set->moment2);
    set->grads = set->moment1 = set->moment2 = NULL;
}

void qn_parameters_free(qn_parameters *set) {
    qn_parameters_free_training(set);
    for (size_t i = 0; i < set->count; i++) {
        free(set->items[i]->name);
        free(set->items[i]);
    }
    free(set->items);
    qn_aligned_free(set->values);
    *set = (qn_parameters){0};
}

qn_parameter *qn_parameters_find(const qn_parameters *set, const char *name) {
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i]->name, name) == 0) return set->items[i];
    return NULL;
}

size_t qn_parameters_total(const qn_parameters *set) {
    size_t total = 0;
    for (size_t i = 0; i < set->count; i++) total += qn_count(&set->items[i]->tensor);
    return total;
}

size_t qn_parameters_trained(const qn_parameters *set) {
    size_t total = 0;
    for (size_t i = 0; i < set->count; i++) total += set->items[i]->frozen ? 0 : qn_count(&set->items[i]->tensor);
    return total;
}

qn_tensor qn_parameters_view(const qn_parameters *set, const qn_tensor *first, size_t count) {
    qn_tensor view = *first;
    size_t at = 0;
    while (&set->items[at]->tensor != first) at++;
    for (size_t i = 1; i < count; i++) {
        view.shape[0] += set->items[at + i]->tensor.shape[0];
        if (!view.adapter) view.adapter = set->items[at + i]->tensor.adapter;
    }
    return view;
}
