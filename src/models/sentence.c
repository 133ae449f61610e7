// See sentence.h.
#include "models/sentence.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- The vectors

qn_tensor *qn_sentence_pool(qn_context *c, qn_network *n, qn_tensor *hidden, qn_ragged batch, const int32_t *skip,
                            size_t modules) {
    const qn_sbert *s = &n->sentence;
    qn_tensor *part[QN_POOLS];
    if (s->sparse) return qn_network_lexical(c, n, hidden, batch);
    for (size_t i = 0; i < s->pooling_count; i++)
        part[i] = qn_pool_sequences_after(c, hidden, batch, skip, s->poolings[i]);
    qn_tensor *y = qn_side_by_side(c, part, s->pooling_count);
    for (size_t i = 0, layer = 0; i < modules; i++) {
        const qn_sbert_module *m = &s->modules[i];
        if (m->kind == QN_SBERT_NORMALIZE)
            y = qn_normalize(c, y);
        else {
            const qn_dense *dense = &n->sentence_layers[layer++];
            y = qn_linear(c, y, dense->weight, dense->bias, m->activation);
        }
    }
    return y;
}

qn_tensor *qn_sentence_tokens(qn_context *c, qn_network *n, qn_tensor *hidden) {
    for (size_t i = 0; i < n->sentence.module_count; i++)
        hidden = qn_linear(c, hidden, n->sentence_layers[i].weight, n->sentence_layers[i].bias,
                           n->sentence.modules[i].activation);
    return qn_normalize(c, hidden);
}

qn_tensor *qn_sentence_vectors(qn_context *c, qn_network *n, const qn_tokens *tokens, const int32_t *skip) {
    const qn_sbert *s = &n->sentence;
    bool first_alone = !s->sparse && s->pooling_count == 1 && s->poolings[0] == QN_POOL_CLS && !skip;
    if (!first_alone)
        return qn_sentence_pool(c, n, qn_encoder_forward(c, &n->encoder, tokens), tokens->ragged, skip,
                                s->module_count);
    // The last layer computes no other rows.
    qn_ragged one_each = {tokens->ragged.sequences, NULL};
    int32_t *offsets = qn_arena_alloc(c->records, one_each.sequences + 1, sizeof *offsets);
    if (!offsets) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i <= one_each.sequences; i++) offsets[i] = (int32_t)i;
    one_each.offsets = offsets;
    qn_rows_read firsts = {one_each.sequences, tokens->ragged.offsets};
    return qn_sentence_pool(c, n, qn_encoder_forward_rows(c, &n->encoder, tokens, firsts), one_each, NULL,
                            s->module_count);
}

// --- The layers' parameters

static qn_status add_layer(qn_network *n, const qn_sbert_module *m, size_t number) {
    char name[64];
    size_t first = n->parameters.count;
    snprintf(name, sizeof name, "sentence.%zu.linear", number);
    int depth = (int)n->config.encoder.layers + 1;
    QN_TRY((m->bias ? qn_dense_add : qn_dense_add_plain)(&n->parameters, name, m->out, m->in, depth, true,
                                                         &n->sentence_layers[n->sentence_layer_count]));
    n->sentence_layer_count++;
    for (size_t i = first; i < n->parameters.count; i++) n->parameters.items[i]->module = (int)number + 1;
    return QN_OK;
}

qn_status qn_sentence_add(qn_network *n) {
    const qn_sbert *s = &n->sentence;
    size_t width = n->config.encoder.hidden * s->pooling_count;
    if (s->sparse && !(n->heads & QN_HEAD_LM))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: sparse vectors are made by a masked-language head (expected \"architectures\" [\"%s\"])",
                       n->config.source, n->config.family->class_masked_lm);
    n->sentence_layers = qn_calloc(s->module_count + 1, sizeof *n->sentence_layers);
    if (!n->sentence_layers) return QN_ERROR_MEMORY;
    if (s->present && !s->sparse && s->width && (size_t)s->width != n->config.encoder.hidden)
        return qn_fail(QN_ERROR_FORMAT, "%s: the pooling's width is %lld, the model's %zu", s->folder ? s->folder : "",
                       (long long)s->width, n->config.encoder.hidden);
    for (size_t i = 0; i < s->module_count; i++) {
        if (s->modules[i].kind != QN_SBERT_DENSE) continue;
        if (s->late.on && s->modules[i].in == 0) s->modules[i].in = width; // colbert-ir's files leave it out
        if (s->modules[i].in != width)
            return qn_fail(QN_ERROR_FORMAT, "%s: module %zu takes vectors of %zu values (expected %zu)",
                           s->folder ? s->folder : "", i + 2, s->modules[i].in, width);
        QN_TRY(add_layer(n, &s->modules[i], i));
        width = s->modules[i].out;
    }
    return QN_OK;
}

// "linear.weight", as a module's file has it.
static const char *tensor_name(const qn_parameter *p) {
    return strchr(strchr(p->name, '.') + 1, '.') + 1;
}

static bool is_of(const qn_parameter *p, size_t module) {
    return p->module == (int)module + 1;
}

static qn_status read_module(qn_network *n, size_t module, const char *folder) {
    qn_weights *file = NULL;
    char *path = qn_path_join(folder, n->sentence.modules[module].path);
    qn_status status = path ? qn_weights_open(path, &file) : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (!is_of(p, module)) continue;
        int64_t shape[QN_MAX_RANK];
        for (int k = 0; k < p->tensor.rank; k++) shape[k] = (int64_t)p->tensor.shape[k];
        status = qn_weights_read_f32(file, tensor_name(p), p->tensor.rank, shape, p->tensor.data);
    }
    qn_weights_close(file);
    free(path);
    return status;
}

static void begin_fresh(qn_network *n, size_t module, uint64_t seed) {
    for (size_t i = 0; i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        if (!is_of(p, module)) continue;
        qn_parameter_initialize(p, seed, n->config.encoder.initializer_range);
        n->fresh++;
    }
}

qn_status qn_sentence_read(qn_network *n, const qn_network_options *options) {
    const qn_sbert *s = &n->sentence;
    for (size_t i = 0; i < s->module_count; i++) {
        if (s->modules[i].kind != QN_SBERT_DENSE) continue;
        if (*s->modules[i].path)
            QN_TRY(read_module(n, i, s->folder));
        else // it was added to what the folder has
            begin_fresh(n, i, options->seed);
    }
    return QN_OK;
}

qn_status qn_sentence_restore(qn_network *n, const char *folder) {
    for (size_t i = 0; i < n->sentence.module_count; i++)
        if (n->sentence.modules[i].kind == QN_SBERT_DENSE) QN_TRY(read_module(n, i, folder));
    return QN_OK;
}

// --- Writing

static qn_status save_module(qn_network *n, size_t module, const char *folder) {
    qn_st_entry entries[2] = {{0}};
    size_t count = 0;
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (!is_of(p, module)) continue;
        qn_st_entry *e = &entries[count++];
        *e =
            (qn_st_entry){.name = tensor_name(p), .dtype = QN_ST_F32, .dims = p->tensor.rank, .values = p->tensor.data};
        for (int k = 0; k < p->tensor.rank; k++) e->shape[k] = (int64_t)p->tensor.shape[k];
    }
    char *path = qn_path_join(folder, n->sentence.modules[module].path);
    qn_status status = path ? qn_weights_write(path, entries, count, NULL, 0) : QN_ERROR_MEMORY;
    free(path);
    return status;
}

qn_status qn_sentence_save(qn_network *n, const char *folder) {
    if (!n->sentence.present) return QN_OK;
    n->sentence.width = (int64_t)(n->sentence.sparse ? n->config.encoder.vocabulary : n->config.encoder.hidden);
    QN_TRY(qn_sbert_write(folder, &n->sentence));
    for (size_t i = 0; i < n->sentence.module_count; i++)
        if (n->sentence.modules[i].kind == QN_SBERT_DENSE) QN_TRY(save_module(n, i, folder));
    return QN_OK;
}
