// See lora.h. A factor is a parameter "MODULE.lora_A.weight" [r, in] or "MODULE.lora_B.weight" [out, r] beside its
// weight "MODULE.weight" [out, in]; files have "base_model.model." and the family's prefix before that.
#include "models/lora.h"
#include "models/lora_private.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WEIGHT[] = ".weight", FACTOR_A[] = ".lora_A.weight", FACTOR_B[] = ".lora_B.weight";

// --- Which weights

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

// "a.b.c" is named by itself, "b.c" and "c".
static bool names_module(const char *module, const char *target) {
    size_t length = strlen(module), size = strlen(target);
    return ends_with(module, target) && (length == size || (length > size && module[length - size - 1] == '.'));
}

bool qn_lora_module(const qn_parameter *p, char module[QN_LORA_NAME]) {
    snprintf(module, QN_LORA_NAME, "%s", p->name);
    if (!ends_with(module, WEIGHT)) return false;
    module[strlen(module) - (sizeof WEIGHT - 1)] = 0;
    return true;
}

// A weight of the encoder that a linear layer multiplies with; tables are not.
static bool is_product(const qn_network *n, const qn_parameter *p, char module[QN_LORA_NAME]) {
    const qn_encoder_names *names = &n->config.family->names;
    if (p->tensor.rank != 2 || p->layer > qn_model_layers(&n->config) || !qn_lora_module(p, module)) return false;
    const qn_encoder_names *stacks[2] = {names, n->config.family->decoder_names};
    for (int i = 0; i < 2 && stacks[i]; i++)
        if (stacks[i]->relative_bias && strcmp(p->name, stacks[i]->relative_bias) == 0) return false;
    return p->layer > 0 || (names->projection && strcmp(module, names->projection) == 0);
}

// A target is a module's name or its end, "all-linear", or one of Quern's names, which are the same for all families.
static bool is_target(const qn_network *n, const char *module, const char *target) {
    const qn_encoder_names *e = &n->config.family->names;
    const char *const own[][2] = {
        {"query", e->query}, {"key", e->key}, {"value", e->value}, {"attention_output", e->attention_output},
        {"gate", e->gate},   {"up", e->up},   {"down", e->down}};
    if (strcmp(target, "all-linear") == 0 || names_module(module, target)) return true;
    size_t prefix = strlen(n->config.family->prefix);
    if (strncmp(target, n->config.family->prefix, prefix) == 0 && strcmp(module, target + prefix) == 0) return true;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        // BERT's "output.dense" is also the end of "attention.output.dense": a name of ours means one of a layer.
        if (strcmp(target, own[i][0]) != 0 || !own[i][1] || !names_module(module, own[i][1])) continue;
        return own[i][1] != e->down || !names_module(module, e->attention_output);
    }
    return false;
}

static qn_status say_unknown(const qn_network *n, const char *target) {
    qn_buffer known = {0};
    char module[QN_LORA_NAME];
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (p->layer == 1 && is_product(n, p, module)) qn_buffer_printf(&known, "%s%s", known.size ? ", " : "", module);
    }
    qn_status status = qn_fail(QN_ERROR_ARGUMENT,
                               "LoRA target \"%s\" names no linear layer (expected all-linear, query, "
                               "key, value, attention_output, up, down, or the end of a name such as %s)",
                               target, known.data ? known.data : "");
    qn_buffer_free(&known);
    return status;
}

// Marks what the targets name: chosen[i] for parameter i.
static qn_status choose(const qn_network *n, const char *targets, bool *chosen) {
    char target[QN_LORA_NAME], module[QN_LORA_NAME];
    for (const char *at = targets; *at;) {
        size_t length = strcspn(at, ", ");
        if (length > 0 && length < sizeof target) {
            bool found = false;
            snprintf(target, sizeof target, "%.*s", (int)length, at);
            for (size_t i = 0; i < n->parameters.count; i++)
                if (is_product(n, n->parameters.items[i], module) && is_target(n, module, target))
                    found = chosen[i] = true;
            if (!found) return say_unknown(n, target);
        }
        at += length;
        at += strspn(at, ", ");
    }
    return QN_OK;
}

// --- Tensors of a file

static const qn_st_tensor *find(const qn_network *n, const qn_lora *lora, const char *name, const char *end,
                                char full[QN_LORA_NAME]) {
    const char *const prefixes[] = {n->config.family->prefix, ""};
    for (int i = 0; i < 2; i++) {
        snprintf(full, QN_LORA_NAME, "base_model.model.%s%s%s", prefixes[i], name, end);
        const qn_st_tensor *t = qn_weights_find(lora->weights, full);
        if (t) return t;
    }
    return NULL;
}

bool qn_lora_has(const qn_network *n, const qn_lora *lora, const char *parameter) {
    char full[QN_LORA_NAME];
    return lora->weights && find(n, lora, parameter, "", full) != NULL;
}

static bool is_head(const qn_network *n, const qn_parameter *p) {
    return p->layer > qn_model_layers(&n->config) && !p->module;
}

bool qn_lora_changes(const qn_network *n, const qn_lora *lora, const qn_parameter *p) {
    char module[QN_LORA_NAME], full[QN_LORA_NAME];
    if (!lora->weights) return false;
    if (is_head(n, p)) return find(n, lora, p->name, "", full) != NULL;
    return is_product(n, p, module) && find(n, lora, module, FACTOR_A, full) != NULL;
}

// The rank of a weight's factors in the file, whose shapes are checked; 0: it has none.
static qn_status find_rank(const qn_network *n, const qn_lora *lora, const qn_parameter *p, size_t *rank) {
    char module[QN_LORA_NAME], a_name[QN_LORA_NAME], b_name[QN_LORA_NAME];
    *rank = 0;
    if (!is_product(n, p, module)) return QN_OK;
    const qn_st_tensor *a = find(n, lora, module, FACTOR_A, a_name), *b = find(n, lora, module, FACTOR_B, b_name);
    if (!a && !b) return QN_OK;
    const char *file = qn_weights_path(lora->weights);
    if (!a || !b)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is alone (expected both factors, lora_A and lora_B)", file,
                       a ? a_name : b_name);
    int64_t expected = qn_lora_rank(lora, module), in = (int64_t)qn_width(&p->tensor),
            out = (int64_t)p->tensor.shape[0];
    char found[QN_ST_SHAPE_TEXT];
    if (a->dims != 2 || a->shape[1] != in || a->shape[0] != expected)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %s (expected [%lld, %lld] by adapter_config.json and the model)",
                       file, a_name, qn_st_shape_text(a->dims, a->shape, found), (long long)expected, (long long)in);
    if (b->dims != 2 || b->shape[0] != out || b->shape[1] != expected)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is %s (expected [%lld, %lld] by adapter_config.json and the model)",
                       file, b_name, qn_st_shape_text(b->dims, b->shape, found), (long long)out, (long long)expected);
    *rank = (size_t)expected;
    return QN_OK;
}

static qn_status read_tensor(qn_lora *lora, const char *name, const qn_tensor *shape, float *to) {
    int64_t dims[QN_MAX_RANK];
    for (int i = 0; i < shape->rank; i++) dims[i] = (int64_t)shape->shape[i];
    return qn_weights_read_f32(lora->weights, name, shape->rank, dims, to);
}

// Whole parameters of heads. A classifier for other labels stays fresh where it is trained.
static qn_status read_heads(qn_network *n, qn_lora *lora, bool trainable) {
    char full[QN_LORA_NAME];
    for (size_t i = 0; i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        const qn_st_tensor *t = is_head(n, p) ? find(n, lora, p->name, "", full) : NULL;
        if (!t) continue;
        const char *labels = n->config.family->classifier;
        bool classifier = labels && strncmp(p->name, labels, strlen(labels)) == 0;
        if (trainable && classifier && (t->dims != p->tensor.rank || t->shape[0] != (int64_t)p->tensor.shape[0])) {
            qn_weights_mark_used(lora->weights, full);
            continue;
        }
        QN_TRY(read_tensor(lora, full, &p->tensor, p->tensor.data));
    }
    return QN_OK;
}

static qn_status check_all_used(const qn_lora *lora) {
    size_t cursor = 0;
    const qn_st_tensor *t = qn_weights_unused(lora->weights, &cursor);
    return t ? qn_fail(QN_ERROR_FORMAT,
                       "%s: \"%s\" belongs to nothing in this model (expected factors of its linear "
                       "layers, and heads)",
                       qn_weights_path(lora->weights), t->name)
             : QN_OK;
}

// --- Training

static qn_status add_factors(qn_network *n, const qn_lora *lora, qn_parameter *p, size_t rank, qn_adapter *adapter) {
    char module[QN_LORA_NAME], name[QN_LORA_NAME + 16];
    qn_lora_module(p, module);
    snprintf(name, sizeof name, "%s%s", module, FACTOR_A);
    qn_parameter_options options = {QN_INIT_NORMAL, true, true, p->layer, false};
    adapter->a = qn_parameters_add(&n->parameters, name, rank, qn_width(&p->tensor), options);
    if (!adapter->a) return QN_ERROR_MEMORY;
    snprintf(name, sizeof name, "%s%s", module, FACTOR_B);
    options.init = QN_INIT_ZEROS;
    adapter->b = qn_parameters_add(&n->parameters, name, p->tensor.shape[0], rank, options);
    if (!adapter->b) return QN_ERROR_MEMORY;
    adapter->target = &p->tensor;
    adapter->scale = qn_lora_scale(lora, module, rank);
    adapter->dropout = (float)lora->dropout;
    p->tensor.adapter = adapter;
    return QN_OK;
}

static qn_status find_ranks(qn_network *n, const qn_lora *lora, bool *chosen, size_t *ranks, size_t *total) {
    if (!lora->weights) QN_TRY(choose(n, lora->targets, chosen));
    for (size_t i = 0; i < n->parameters.count; i++) {
        if (lora->weights)
            QN_TRY(find_rank(n, lora, n->parameters.items[i], &ranks[i]));
        else if (chosen[i])
            ranks[i] = (size_t)lora->rank;
        *total += ranks[i] > 0;
    }
    if (*total == 0)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: no weight of this model has an adapter (expected \"base_model.model....lora_A.weight\")",
                       lora->weights ? qn_weights_path(lora->weights) : "LoRA");
    return QN_OK;
}

static qn_status add_all(qn_network *n, const qn_lora *lora, const size_t *ranks, size_t total) {
    size_t count = n->parameters.count; // without the factors
    n->adapters = qn_calloc(total, sizeof *n->adapters);
    if (!n->adapters) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (ranks[i]) QN_TRY(add_factors(n, lora, n->parameters.items[i], ranks[i], &n->adapters[n->adapter_count++]));
    for (size_t i = count; i-- > 0;) { // of weights that one product joins, the next one's
        qn_parameter *p = n->parameters.items[i];
        size_t next = i + 1;
        while (next < count && n->parameters.items[next]->joined && !n->parameters.items[next]->tensor.adapter) next++;
        if (ranks[i] && next < count && n->parameters.items[next]->joined)
            ((qn_adapter *)(uintptr_t)p->tensor.adapter)->next = n->parameters.items[next]->tensor.adapter;
    }
    // A language model's head is the model's own; others are new.
    bool heads = !(n->heads & QN_HEAD_LM);
    for (size_t i = 0; i < count; i++) {
        qn_parameter *p = n->parameters.items[i];
        p->frozen = !p->module && (!heads || !is_head(n, p));
    }
    return QN_OK;
}

qn_status qn_lora_add(qn_network *n, qn_lora *lora) {
    size_t count = n->parameters.count, total = 0;
    bool *chosen = qn_calloc(count, sizeof *chosen);
    size_t *ranks = qn_calloc(count, sizeof *ranks);
    qn_status status = chosen && ranks ? find_ranks(n, lora, chosen, ranks, &total) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = add_all(n, lora, ranks, total);
    free(chosen);
    free(ranks);
    n->lora = (qn_lora_summary){lora->rank, lora->alpha, lora->dropout, lora->rank_stabilized,
                                lora->base ? qn_strdup(lora->base) : NULL};
    return status == QN_OK && lora->base && !n->lora.base ? QN_ERROR_MEMORY : status;
}

qn_status qn_lora_start(qn_network *n, qn_lora *lora, uint64_t seed) {
    char module[QN_LORA_NAME], full[QN_LORA_NAME];
    for (size_t i = 0; i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        if (!p->tensor.adapter) continue;
        const qn_adapter *a = p->tensor.adapter;
        qn_lora_module(p, module);
        if (lora->weights) {
            find(n, lora, module, FACTOR_A, full);
            QN_TRY(read_tensor(lora, full, a->a, a->a->data));
            find(n, lora, module, FACTOR_B, full);
            QN_TRY(read_tensor(lora, full, a->b, a->b->data));
            continue;
        }
        snprintf(full, sizeof full, "%.*s%s", QN_LORA_NAME - 16, module, FACTOR_A);
        // As large as PEFT's: uniform with the variance 1 / (3 in). B is zero: the model starts as it is.
        qn_parameter_initialize(qn_parameters_find(&n->parameters, full), seed, 1 / sqrt(3.0 * (double)qn_width(a->a)));
    }
    if (!lora->weights) return QN_OK;
    QN_TRY(read_heads(n, lora, true));
    return check_all_used(lora);
}

// --- Merging

// W += scale B A
static qn_status merge_weight(qn_network *n, qn_lora *lora, qn_parameter *p, size_t rank) {
    char module[QN_LORA_NAME], full[QN_LORA_NAME];
    size_t out = p->tensor.shape[0], in = qn_width(&p->tensor);
    qn_lora_module(p, module);
    float scale = qn_lora_scale(lora, module, rank);
    float *a = qn_malloc(rank * in, sizeof *a), *b = qn_malloc(rank * out, sizeof *b);
    qn_status status = a && b ? QN_OK : QN_ERROR_MEMORY;
    find(n, lora, module, FACTOR_A, full);
    if (status == QN_OK) status = read_tensor(lora, full, &(qn_tensor){.rank = 2, .shape = {rank, in}}, a);
    find(n, lora, module, FACTOR_B, full);
    if (status == QN_OK) status = read_tensor(lora, full, &(qn_tensor){.rank = 2, .shape = {out, rank}}, b);
    for (size_t o = 0; status == QN_OK && o < out; o++)
        for (size_t r = 0; r < rank; r++) {
            float factor = scale * b[o * rank + r], *row = p->tensor.data + o * in;
            for (size_t i = 0; i < in; i++) row[i] += factor * a[r * in + i];
        }
    free(a);
    free(b);
    return status;
}

qn_status qn_lora_merge(qn_network *n, qn_lora *lora) {
    size_t total = 0;
    for (size_t i = 0; i < n->parameters.count; i++) {
        size_t rank;
        QN_TRY(find_rank(n, lora, n->parameters.items[i], &rank));
        if (rank) QN_TRY(merge_weight(n, lora, n->parameters.items[i], rank));
        total += rank > 0;
    }
    if (total == 0)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: no weight of this model has an adapter (expected "
                       "\"base_model.model....lora_A.weight\")",
                       qn_weights_path(lora->weights));
    QN_TRY(read_heads(n, lora, false));
    return check_all_used(lora);
}
