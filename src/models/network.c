// Networks: building, reading, writing, and the heads' forward passes.
#include "models/ct2_model.h"
#include "models/gguf_model.h"
#include "models/sentence.h"
#include "models/lora.h"
#include "models/text_decoder.h"
#include "base/clock.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Heads on tokens are called the same in nearly every family.
#define TAGGER "classifier"
#define SPAN "qa_outputs"

static qn_status add_dense(qn_parameters *set, const char *name, size_t out, size_t in, int layer, bool plain,
                           qn_dense *dense) {
    return (plain ? qn_dense_add_plain : qn_dense_add)(set, name, out, in, layer, true, dense);
}

// The output projection of masked LM: the word table, or a weight of its own. In transformers that has a bias of its
// own too in some families; the other one stays in the file, and nobody reads it.
static qn_status add_decoder(qn_network *n, size_t width, int layer) {
    const qn_family *f = n->config.family;
    const char *names[2] = {f->decoder_bias, n->config.untied ? f->decoder_own_bias : NULL};
    size_t vocabulary = qn_network_last_stack(n)->config.vocabulary;
    if (n->config.untied) {
        n->decoder = qn_parameters_add(&n->parameters, f->decoder, vocabulary, width,
                                       (qn_parameter_options){QN_INIT_NORMAL, true, true, layer, false});
        if (!n->decoder) return QN_ERROR_MEMORY;
    }
    for (int i = 0; i < 2 && names[i] && !n->config.plain_decoder; i++) {
        n->decoder_bias = qn_parameters_add(&n->parameters, names[i], f->bias_is_constant, vocabulary,
                                            (qn_parameter_options){QN_INIT_ZEROS, false, true, layer, false});
        if (!n->decoder_bias) return QN_ERROR_MEMORY;
    }
    return QN_OK;
}

qn_status qn_network_add_language_head(qn_network *n, size_t width, int layer) {
    const qn_family *f = n->config.family;
    size_t d = n->config.encoder.hidden;
    if (f->transform) {
        QN_TRY(add_dense(&n->parameters, f->transform, width, d, layer, n->config.plain_head, &n->transform));
        QN_TRY(add_dense(&n->parameters, f->transform_norm, width, 0, layer, n->config.encoder.plain & QN_PLAIN_NORMS,
                         &n->transform_norm));
    }
    return add_decoder(n, width, layer);
}

static qn_status add_token_heads(qn_network *n, int last) {
    const qn_family *f = n->config.family;
    qn_parameters *set = &n->parameters;
    size_t d = n->config.encoder.hidden;
    bool tags = n->heads & QN_HEAD_TAGGER, answers = n->heads & QN_HEAD_SPAN;
    if ((tags && !f->class_tagger) || (answers && !f->class_span))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this family has no head for %s", n->config.source,
                       tags ? "tags" : "answers");
    if (f->token_layer && (tags || answers)) {
        QN_TRY(add_dense(set, f->classifier_pooler, d, d, last, n->config.plain_head, &n->pooler));
        QN_TRY(add_dense(set, f->classifier_norm, d, 0, last, n->config.encoder.plain & QN_PLAIN_NORMS, &n->pooler_norm));
    }
    if (tags) QN_TRY(qn_dense_add(set, TAGGER, n->config.labels, d, last, true, &n->tagger));
    if (answers) QN_TRY(qn_dense_add(set, f->span ? f->span : SPAN, 2, d, last, true, &n->span));
    if (!(n->heads & QN_HEAD_DISCRIMINATOR)) return QN_OK;
    char name[QN_NAME_SIZE];
    snprintf(name, sizeof name, "%sdense", f->discriminator);
    QN_TRY(qn_dense_add(set, name, d, d, last, true, &n->discriminator));
    snprintf(name, sizeof name, "%sdense_prediction", f->discriminator);
    return qn_dense_add(set, name, 1, d, last, true, &n->replaced);
}

static qn_status add_heads(qn_network *n) {
    const qn_family *f = n->config.family;
    if ((n->config.encoder.causal || n->config.encoder_decoder) && n->heads & ~(unsigned)QN_HEAD_LM)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a decoder has no such head (expected its language model)",
                       n->config.source);
    qn_parameters *set = &n->parameters;
    size_t d = n->config.encoder.hidden, width = n->encoder.config.embedding;
    int last = qn_model_layers(&n->config) + 1;
    bool classifies = n->heads & QN_HEAD_CLASSIFIER, plain_norm = n->config.encoder.plain & QN_PLAIN_NORMS;
    if (n->heads & QN_HEAD_POOLER)
        QN_TRY(add_dense(set, classifies ? f->classifier_pooler : f->pooler, d, d, last, n->config.plain_head,
                         &n->pooler));
    if (classifies && f->classifier_norm)
        QN_TRY(add_dense(set, f->classifier_norm, d, 0, last, plain_norm, &n->pooler_norm));
    if (classifies) QN_TRY(qn_dense_add(set, f->classifier, n->config.labels, d, last, true, &n->classifier));
    if (n->heads & QN_HEAD_LM) QN_TRY(qn_network_add_language_head(n, width, last));
    if (n->heads & QN_HEAD_NEXT_SENTENCE) {
        if (!f->next_sentence)
            return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this family has no next-sentence head", n->config.source);
        QN_TRY(qn_dense_add(set, f->next_sentence, 2, d, last, true, &n->next_sentence));
    }
    return add_token_heads(n, last);
}

// The name of the table of the encoder's words, which may be everybody's.
static const char *word_name(const qn_model_config *config) {
    return config->own_words ? config->family->encoder_word : config->family->names.word;
}

static qn_status add_stacks(qn_network *n) {
    const qn_model_config *config = &n->config;
    qn_encoder_names names = config->family->names;
    names.word = word_name(config);
    QN_TRY(qn_encoder_add(&n->encoder, &config->encoder, &names, NULL, &n->parameters));
    if (!config->encoder_decoder) return QN_OK;
    return qn_encoder_add(&n->decoder_stack, &config->decoder, config->family->decoder_names,
                          config->own_words ? NULL : n->encoder.word, &n->parameters);
}

static bool is_constant(const qn_network *n, const qn_parameter *p) {
    return n->config.family->bias_is_constant && &p->tensor == n->decoder_bias;
}

static qn_status build(qn_model_config *config, const qn_network_options *options, qn_network **out) {
    *out = NULL;
    qn_network *n = qn_calloc(1, sizeof *n);
    if (!n) {
        qn_model_config_free(config);
        if (options->sentence) qn_sbert_free(options->sentence);
        return QN_ERROR_MEMORY;
    }
    n->config = *config;
    *config = (qn_model_config){0};
    n->sentence = options->sentence ? *options->sentence : qn_sbert_defaults();
    if (options->sentence) *options->sentence = qn_sbert_defaults();
    n->heads = options->heads;
    // A base model without a pooler has one under a classifier alone.
    if (!n->config.family->pooler && !(n->heads & QN_HEAD_CLASSIFIER)) n->heads &= ~(unsigned)QN_HEAD_POOLER;
    qn_status status = options->text_decoder ? qn_text_decoder_configure(&n->config, options->text_decoder) : QN_OK;
    if (status == QN_OK) status = add_stacks(n);
    if (status == QN_OK) status = add_heads(n);
    if (status == QN_OK) status = qn_sentence_add(n);
    if (status == QN_OK && options->text_decoder) status = qn_text_decoder_add(n);
    // Every row of a table that is also the output projection of a language model has a gradient in every step.
    if (status == QN_OK && options->by_rows && !(n->heads & QN_HEAD_LM) && !n->config.decoder_tied)
        qn_parameters_find(&n->parameters, word_name(&n->config))->by_rows = true;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++)
        n->parameters.items[i]->frozen =
            n->parameters.items[i]->layer < options->frozen || is_constant(n, n->parameters.items[i]);
    if (status == QN_OK && options->lora && options->trainable) status = qn_lora_add(n, options->lora);
    if (status != QN_OK) {
        qn_network_free(n);
        return status;
    }
    *out = n;
    return QN_OK;
}

static qn_status finish(qn_network *n, const qn_network_options *options) {
    if (options->lora)
        QN_TRY(options->trainable ? qn_lora_start(n, options->lora, options->seed) : qn_lora_merge(n, options->lora));
    if (options->trainable) QN_TRY(qn_parameters_allocate_training(&n->parameters));
    for (size_t i = 0; i < n->parameters.count; i++)
        if (!options->trainable || n->parameters.items[i]->frozen) n->parameters.items[i]->tensor.requires_grad = false;
    QN_TRY(qn_encoder_bind(&n->encoder, &n->parameters));
    if (options->trainable && !options->lora) n->encoder.frozen = qn_encoder_frozen_depth(&n->encoder);
    return qn_model_has_decoder(&n->config) ? qn_encoder_bind(&n->decoder_stack, &n->parameters) : QN_OK;
}

qn_status qn_network_create(qn_model_config *config, const qn_network_options *options, qn_network **out) {
    QN_TRY(build(config, options, out));
    qn_network *n = *out;
    qn_status status = qn_parameters_allocate(&n->parameters);
    if (status == QN_OK) {
        qn_parameters_initialize(&n->parameters, options->seed, n->config.encoder.initializer_range);
        qn_encoder_initialize(&n->encoder);
        qn_encoder_initialize(&n->decoder_stack);
        status = finish(n, options);
    }
    if (status != QN_OK) {
        qn_network_free(n);
        *out = NULL;
    }
    return status;
}

const char *qn_network_prefix(const qn_network *n) {
    return n->heads & ~(unsigned)QN_HEAD_POOLER ? n->config.family->prefix : "";
}

const char *qn_network_file_name(const qn_network *n, const qn_parameter *p, const char *prefix, char *name) {
    const qn_family *f = n->config.family;
    bool base =
        p->layer <= qn_model_layers(&n->config) || (f->pooler && strncmp(p->name, f->pooler, strlen(f->pooler)) == 0);
    snprintf(name, QN_NAME_SIZE, "%s%s", base ? prefix : "", p->name);
    return name;
}

// Files of an encoder-decoder whose tables are one keep it under one of their names.
static const qn_st_tensor *find_shared(const qn_network *n, char *name) {
    static const char *const others[] = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"};
    size_t length = strlen(name), own = strlen(n->config.family->names.word);
    for (size_t i = 0; i < sizeof others / sizeof *others && n->config.encoder_decoder; i++) {
        if (length < own || strcmp(name + length - own, n->config.family->names.word) != 0) break;
        char other[QN_NAME_SIZE];
        snprintf(other, sizeof other, "%.*s%s", (int)(length - own), name, others[i]);
        const qn_st_tensor *t = qn_weights_find(n->weights, other);
        if (t) memcpy(name, other, sizeof other);
        if (t) return t;
    }
    return NULL;
}

// Old files call a norm's weight and bias gamma and beta.
const qn_st_tensor *qn_network_find(const qn_network *n, char *name) {
    const qn_st_tensor *t = qn_weights_find(n->weights, name);
    size_t length = strlen(name);
    if (!t && length > 7 && strcmp(name + length - 7, ".weight") == 0) {
        memcpy(name + length - 7, ".gamma", 7);
        t = qn_weights_find(n->weights, name);
        if (!t) memcpy(name + length - 7, ".weight", 8);
        if (!t) t = find_shared(n, name);
    } else if (!t && length > 5 && strcmp(name + length - 5, ".bias") == 0) {
        memcpy(name + length - 5, ".beta", 6);
        t = qn_weights_find(n->weights, name);
        if (!t) memcpy(name + length - 5, ".bias", 6);
    }
    return t;
}

// A matrix that folders hold as [in, out].
static bool is_transposed(const qn_network *n, const qn_parameter *p) {
    return n->config.family->transposed && p->tensor.rank == 2 && p->layer > 0 &&
           p->layer <= qn_model_layers(&n->config);
}

// y [columns, rows] = x^T
static void transpose(size_t rows, size_t columns, const float *x, float *y) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
}

// ... and that the weights being read do.
static bool reads_transposed(const qn_network *n, const qn_parameter *p) {
    return is_transposed(n, p) && !qn_weights_is_gguf(n->weights);
}

static void file_shape(const qn_parameter *p, bool turned, int64_t *shape) {
    for (int i = 0; i < p->tensor.rank; i++) shape[i] = (int64_t)p->tensor.shape[turned ? 1 - i : i];
}

static bool same_shape(const qn_network *n, const qn_st_tensor *t, const qn_parameter *p) {
    int64_t shape[QN_MAX_RANK];
    if (t->dims != p->tensor.rank) return false;
    file_shape(p, reads_transposed(n, p), shape);
    return memcmp(t->shape, shape, (size_t)t->dims * sizeof *shape) == 0;
}

static qn_status read_transposed(qn_network *n, const qn_parameter *p, const char *name, const int64_t *shape) {
    float *x = qn_malloc(qn_count(&p->tensor), sizeof *x);
    if (!x) return QN_ERROR_MEMORY;
    qn_status status = qn_weights_read_f32(n->weights, name, 2, shape, x);
    if (status == QN_OK) transpose((size_t)shape[0], (size_t)shape[1], x, p->tensor.data);
    free(x);
    return status;
}

static bool begins(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

// Which parameters start fresh: those of a head that is missing, or has another number of labels while training.
static bool starts_fresh(qn_network *n, const qn_parameter *p, char *name, const qn_network_options *options) {
    const qn_st_tensor *t = qn_network_find(n, name);
    bool replaced = options->lora && qn_lora_has(n, options->lora, p->name); // by the adapter's, in a moment
    if (is_constant(n, p)) return !t;                                        // zeros
    if (!p->optional || (!options->trainable && !replaced)) return false;
    const char *classifier = n->config.family->classifier;
    return !t || (!same_shape(n, t, p) &&
                  ((classifier && begins(p->name, classifier)) || begins(p->name, TAGGER) || begins(p->name, SPAN)));
}

static bool is_grouped(const qn_network *n, size_t index) {
    return n->parameters.items[index]->joined ||
           (index + 1 < n->parameters.count && n->parameters.items[index + 1]->joined);
}

static bool is_stored(const qn_network *n, size_t index) {
    while (n->parameters.items[index]->joined) index--;
    return n->parameters.items[index]->tensor.stored != NULL;
}

static bool is_bytes(const qn_network *n, const char *name) {
    const qn_st_tensor *t = qn_weights_find(n->weights, name);
    return t && t->dtype == QN_ST_I8;
}

// Whether the parameter is never written, so that a mapped file can hold it.
static bool may_stay(const qn_network *n, size_t index, const qn_network_options *options) {
    const qn_parameter *p = n->parameters.items[index];
    if (is_grouped(n, index) || (options->trainable && !p->frozen)) return false;
    return options->trainable || !options->lora || !qn_lora_changes(n, options->lora, p);
}

static qn_status read_parameter(qn_network *n, size_t index, const char *prefix, const qn_network_options *options,
                                bool copy) {
    qn_parameter *p = n->parameters.items[index];
    char name[QN_NAME_SIZE];
    if (p->module) return QN_OK; // in a file of its own
    qn_network_file_name(n, p, prefix, name);
    if (starts_fresh(n, p, name, options)) {
        if (copy) {
            qn_parameter_initialize(p, options->seed, n->config.encoder.initializer_range);
            n->fresh += !is_constant(n, p);
        }
        return QN_OK;
    }
    int64_t shape[QN_MAX_RANK];
    file_shape(p, reads_transposed(n, p), shape);
    const float *view = NULL;
    qn_network_find(n, name); // settles an old name
    if (!copy) { // the first pass checks every shape before any memory is taken
        const qn_st_tensor *t = qn_weights_find(n->weights, name);
        if (t && same_shape(n, t, p) && qn_st_is_float(t->dtype)) return QN_OK;
        if (t && same_shape(n, t, p) && t->dtype == QN_ST_I8) return qn_quantized_check(n, p, name);
        return qn_weights_view_f32(n->weights, name, p->tensor.rank, shape, &view); // says what is wrong
    }
    if (is_stored(n, index)) {
        qn_weights_mark_used(n->weights, name);
        return QN_OK;
    }
    if (is_bytes(n, name)) return qn_quantized_read(n, p, name, p->tensor.data);
    if (reads_transposed(n, p)) return read_transposed(n, p, name, shape);
    if (may_stay(n, index, options)) {
        QN_TRY(qn_weights_view_f32(n->weights, name, p->tensor.rank, shape, &view));
        if (view) return QN_OK; // it is where it should be already
    }
    return qn_weights_read_f32(n->weights, name, p->tensor.rank, shape, p->tensor.data);
}

// What is not written and the file holds as float32 stays there, and only the rest takes memory of its own.
static qn_status place(qn_network *n, const char *prefix, const qn_network_options *options) {
    bool *elsewhere = qn_calloc(n->parameters.count, sizeof *elsewhere);
    if (!elsewhere) return QN_ERROR_MEMORY;
    bool stores = options->stored && qn_weights_is_gguf(n->weights);
    qn_status status = stores ? qn_gguf_store(n, prefix, elsewhere) : QN_OK;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        if (p->module || elsewhere[i] || !may_stay(n, i, options) || reads_transposed(n, p)) continue;
        char name[QN_NAME_SIZE];
        qn_network_file_name(n, p, prefix, name);
        const qn_st_tensor *t = qn_network_find(n, name); // settles an old name
        if (t && t->dtype == QN_ST_I8) continue;
        int64_t shape[QN_MAX_RANK];
        for (int k = 0; k < p->tensor.rank; k++) shape[k] = (int64_t)p->tensor.shape[k];
        const float *view = NULL;
        status = qn_weights_view_f32(n->weights, name, p->tensor.rank, shape, &view);
        elsewhere[i] = view != NULL;
        if (view) p->tensor.data = (float *)(uintptr_t)view; // never written: inference only
    }
    if (status == QN_OK) status = qn_parameters_allocate_except(&n->parameters, elsewhere);
    free(elsewhere);
    return status;
}

static void warn_unused(qn_network *n) {
    static const char *const silent[] = {"position_ids", "cls.",         "lm_head.", "classifier.",
                                         "pooler.",      "predictions.", "vocab_",   "qa_outputs.",
                                         "head.",        "decoder.",     "inv_freq", "embed_positions",
                                         "embed_tokens"}; // other heads, constants, and tied tables
    size_t cursor = 0, count = 0;
    const char *first = NULL;
    for (const qn_st_tensor *t; (t = qn_weights_unused(n->weights, &cursor));) {
        bool known = false;
        for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) known = known || strstr(t->name, silent[i]);
        if (known) continue;
        if (count++ == 0) first = t->name;
    }
    if (count)
        qn_log(QN_LOG_WARNING, "%s: %zu tensors are not used, the first is %s", qn_weights_path(n->weights), count,
               first);
}

static qn_status read_weights(qn_network *n, const char *folder, const qn_network_options *options) {
    const qn_family *f = n->config.family;
    if (qn_is_gguf(folder)) {
        qn_gguf *file;
        QN_TRY(qn_gguf_open(folder, &file));
        QN_TRY(qn_gguf_weights(file, n, &n->weights));
    } else if (qn_ct2_is_folder(folder)) {
        QN_TRY(qn_ct2_model_weights(folder, &n->weights));
    } else {
        QN_TRY(qn_weights_open(folder, &n->weights));
    }
    const char *prefix = qn_weights_prefix(n->weights, (const char *const[]){f->prefix, ""}, 2, word_name(&n->config));
    if (!prefix) prefix = f->prefix;
    for (size_t i = 0; i < n->parameters.count; i++) QN_TRY(read_parameter(n, i, prefix, options, false));
    QN_TRY(place(n, prefix, options));
    for (size_t i = 0; i < n->parameters.count; i++) QN_TRY(read_parameter(n, i, prefix, options, true));
    if (n->sentence_layer_count) QN_TRY(qn_sentence_read(n, options));
    if (n->config.text_decoder) QN_TRY(qn_text_decoder_read(n, options, prefix));
    warn_unused(n);
    bool all_copied = options->trainable;
    for (size_t i = 0; i < n->parameters.count; i++) all_copied = all_copied && !n->parameters.items[i]->frozen;
    if (all_copied) {
        qn_weights_close(n->weights);
        n->weights = NULL;
    }
    return finish(n, options);
}

// Whether an encoder-decoder's output projection has a weight of its own is what its file says: newer configurations of
// T5 call it tied in any case.
static qn_status see_tied(qn_model_config *config, const char *folder) {
    const qn_family *f = config->family;
    qn_weights *weights = NULL;
    char full[QN_NAME_SIZE];
    if (qn_ct2_is_folder(folder)) return QN_OK; // its configuration follows from them
    QN_TRY(qn_weights_open(folder, &weights));
    const char *prefix = qn_weights_prefix(weights, (const char *const[]){f->prefix, ""}, 2, word_name(config));
    const char *name = config->own_words ? f->decoder_names->word : f->names.word;
    snprintf(full, sizeof full, "%s%s", prefix ? prefix : f->prefix, name);
    const qn_st_tensor *word = qn_weights_find(weights, full), *own = qn_weights_find(weights, f->decoder);
    bool same = word && own && word->size == own->size && memcmp(word->data, own->data, own->size) == 0;
    config->untied = own && word && (config->untied || !same);
    qn_weights_close(weights);
    return QN_OK;
}

qn_status qn_network_load(qn_model_config *config, const char *folder, const qn_network_options *options,
                          qn_network **out) {
    qn_status status = config->encoder_decoder ? see_tied(config, folder) : QN_OK;
    if (status != QN_OK) {
        qn_model_config_free(config);
        return status;
    }
    QN_TRY(build(config, options, out));
    status = read_weights(*out, folder, options);
    if (status != QN_OK) {
        qn_network_free(*out);
        *out = NULL;
    }
    return status;
}

void qn_network_free(qn_network *n) {
    if (!n) return;
    qn_encoder_free(&n->encoder);
    qn_encoder_free(&n->decoder_stack);
    qn_parameters_free(&n->parameters);
    qn_weights_close(n->weights);
    qn_stored_free(n->stored);
    qn_model_config_free(&n->config);
    qn_sbert_free(&n->sentence);
    free(n->sentence_layers);
    free(n->adapters);
    free(n->lora.base);
    free(n);
}

static qn_status write_weights(qn_network *n, const char *folder, qn_st_entry *entries, char (*names)[QN_NAME_SIZE],
                               float **turned) {
    const char *prefix = qn_network_prefix(n);
    size_t count = 0;
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (p->module) continue;
        qn_st_entry *e = &entries[count++];
        *e = (qn_st_entry){.name = qn_network_file_name(n, p, prefix, names[i]),
                           .dtype = QN_ST_F32,
                           .dims = p->tensor.rank,
                           .values = p->tensor.data};
        file_shape(p, is_transposed(n, p), e->shape);
        if (!is_transposed(n, p)) continue;
        turned[i] = qn_malloc(qn_count(&p->tensor), sizeof **turned);
        if (!turned[i]) return QN_ERROR_MEMORY;
        transpose(p->tensor.shape[0], p->tensor.shape[1], p->tensor.data, turned[i]);
        e->values = turned[i];
    }
    return qn_weights_write(folder, entries, count, NULL, 0);
}

static qn_status save_weights(qn_network *n, const char *folder) {
    size_t count = n->parameters.count;
    qn_st_entry *entries = qn_calloc(count, sizeof *entries);
    char(*names)[QN_NAME_SIZE] = qn_calloc(count, sizeof *names);
    float **turned = qn_calloc(count, sizeof *turned);
    qn_status status = entries && names && turned ? write_weights(n, folder, entries, names, turned) : QN_ERROR_MEMORY;
    for (size_t i = 0; turned && i < count; i++) free(turned[i]);
    free(turned);
    free(entries);
    free(names);
    return status;
}

qn_status qn_network_save(qn_network *n, const char *folder) {
    QN_TRY(qn_make_folders(folder));
    json_object_del(n->config.json, "quantization"); // the weights are float32
    QN_TRY(qn_model_config_write(&n->config, n->heads, folder));
    QN_TRY(n->adapter_count ? qn_lora_save(n, folder) : save_weights(n, folder));
    QN_TRY(qn_sentence_save(n, folder));
    return n->config.text_decoder ? qn_text_decoder_save(n, folder) : QN_OK;
}

qn_status qn_network_read_trained(qn_network *n, const char *folder) {
    qn_weights *kept = n->weights; // what is frozen may stay there
    char *path = n->adapter_count ? qn_path_join(folder, "adapter_model.safetensors") : qn_strdup(folder);
    n->weights = NULL;
    qn_status status = path ? qn_weights_open(path, &n->weights) : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        if (p->frozen || p->module) continue;
        char name[QN_LORA_NAME];
        int64_t shape[QN_MAX_RANK];
        if (n->adapter_count)
            qn_lora_file_name(n, p, name);
        else
            qn_network_file_name(n, p, qn_network_prefix(n), name);
        bool turned = !n->adapter_count && is_transposed(n, p); // factors never are
        for (int k = 0; k < p->tensor.rank; k++) shape[k] = (int64_t)p->tensor.shape[turned ? 1 - k : k];
        status = turned ? read_transposed(n, p, name, shape)
                        : qn_weights_read_f32(n->weights, name, p->tensor.rank, shape, p->tensor.data);
    }
    qn_weights_close(n->weights);
    n->weights = kept;
    free(path);
    if (status == QN_OK) status = qn_sentence_restore(n, folder);
    return status == QN_OK && n->config.text_decoder ? qn_text_decoder_restore(n, folder) : status;
}

static qn_tensor *norm(qn_context *c, const qn_network *n, qn_tensor *x, const qn_dense *norm) {
    return qn_add_norm(c, x, NULL, norm->weight, norm->bias, n->config.encoder.norm_eps, 0, NULL);
}

qn_tensor *qn_network_pooled(qn_context *c, qn_network *n, qn_tensor *hidden, qn_ragged batch) {
    const qn_family *f = n->config.family;
    bool classifies = n->heads & QN_HEAD_CLASSIFIER;
    bool mean = classifies && n->config.classifier_mean;
    qn_tensor *x = qn_pool_sequences(c, hidden, batch, mean ? QN_POOL_MEAN : QN_POOL_CLS);
    if (classifies && f->classifier_drops_first) x = qn_drop(c, x, n->config.classifier_dropout);
    x = qn_linear(c, x, n->pooler.weight, n->pooler.bias, classifies ? n->config.head_activation : QN_ACTIVATION_TANH);
    return n->pooler_norm.weight ? norm(c, n, x, &n->pooler_norm) : x;
}

static qn_tensor *classify(qn_context *c, qn_network *n, qn_tensor *values) {
    qn_tensor *kept = qn_drop(c, values, n->config.classifier_dropout);
    return qn_linear(c, kept, n->classifier.weight, n->classifier.bias, QN_ACTIVATION_NONE);
}

qn_tensor *qn_network_classify(qn_context *c, qn_network *n, qn_tensor *hidden, qn_ragged batch) {
    return classify(c, n, qn_network_pooled(c, n, hidden, batch));
}

qn_tensor *qn_network_class_values(qn_context *c, qn_network *n, const qn_tokens *tokens) {
    qn_ragged batch = tokens->ragged;
    if (n->config.classifier_mean) return qn_network_pooled(c, n, qn_encoder_forward(c, &n->encoder, tokens), batch);
    int32_t *one_each = qn_arena_alloc(c->records, batch.sequences + 1, sizeof *one_each);
    if (!one_each) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i <= batch.sequences; i++) one_each[i] = (int32_t)i;
    qn_tensor *first = qn_encoder_forward_rows(c, &n->encoder, tokens, (qn_rows_read){batch.sequences, batch.offsets});
    return qn_network_pooled(c, n, first, (qn_ragged){batch.sequences, one_each});
}

qn_tensor *qn_network_classify_tokens(qn_context *c, qn_network *n, const qn_tokens *tokens) {
    return classify(c, n, qn_network_class_values(c, n, tokens));
}

// What the language model's last product reads.
static qn_tensor *word_values(qn_context *c, const qn_network *n, qn_tensor *x) {
    const qn_family *family = n->config.family;
    qn_activation f = family->transform_gelu    ? QN_ACTIVATION_GELU
                      : family->classifier_norm ? n->config.head_activation // one head for both tasks
                                                : n->config.encoder.activation;
    if (n->transform.weight) x = norm(c, n, qn_linear(c, x, n->transform.weight, n->transform.bias, f), &n->transform_norm);
    return n->config.logit_scale < 1 ? qn_scale(c, x, n->config.logit_scale) : x;
}

// Its weight: the table of words, or one of its own.
static qn_tensor *word_weight(qn_network *n) {
    return n->decoder ? n->decoder : qn_network_last_stack(n)->word;
}

qn_tensor *qn_network_masked_lm(qn_context *c, qn_network *n, qn_tensor *hidden, size_t rows, const int32_t *index) {
    qn_tensor *x = word_values(c, n, index ? qn_gather(c, hidden, rows, index) : hidden);
    return qn_linear(c, x, word_weight(n), n->decoder_bias, QN_ACTIVATION_NONE);
}

qn_tensor *qn_network_translate(qn_context *c, qn_network *n, const qn_tokens *source, const qn_tokens *target,
                                qn_rows_read rows) {
    qn_encoded *read = qn_arena_alloc(c->records, 1, sizeof *read);
    if (!read) return qn_fail_operation(c, QN_ERROR_MEMORY);
    *read = (qn_encoded){qn_encoder_forward(c, &n->encoder, source), source->ragged};
    qn_tokens tokens = *target;
    tokens.source = read;
    return qn_encoder_forward_rows(c, &n->decoder_stack, &tokens, rows);
}

void qn_network_shift(const qn_network *n, qn_ragged batch, const int32_t *labels, int32_t *ids) {
    int32_t pad = n->config.pad_id, start = n->config.start_id;
    for (size_t i = 0; i < batch.sequences; i++) {
        int32_t first = batch.offsets[i], end = batch.offsets[i + 1], last = end - 1;
        if (first == end) continue;
        while (start < 0 && last > first && labels[last] < 0) last--;
        ids[first] = start < 0 ? labels[last] : start;
        for (int32_t t = first + 1; t < end; t++) ids[t] = labels[t - 1] < 0 ? pad : labels[t - 1];
        if (ids[first] < 0) ids[first] = pad;
    }
}

qn_tensor *qn_network_lexical(qn_context *c, qn_network *n, qn_tensor *hidden, qn_ragged batch) {
    return qn_lexical(c, word_values(c, n, hidden), word_weight(n), n->decoder_bias, batch);
}

// What heads on tokens read.
static qn_tensor *token_values(qn_context *c, const qn_network *n, qn_tensor *hidden) {
    if (!n->config.family->token_layer) return hidden;
    return norm(c, n, qn_linear(c, hidden, n->pooler.weight, n->pooler.bias, n->config.head_activation),
                &n->pooler_norm);
}

qn_tensor *qn_network_tag(qn_context *c, qn_network *n, qn_tensor *hidden) {
    return qn_linear(c, qn_drop(c, token_values(c, n, hidden), n->config.tagger_dropout), n->tagger.weight,
                     n->tagger.bias, QN_ACTIVATION_NONE);
}

qn_tensor *qn_network_answer(qn_context *c, qn_network *n, qn_tensor *hidden) {
    return qn_linear(c, qn_drop(c, token_values(c, n, hidden), n->config.span_dropout), n->span.weight, n->span.bias,
                     QN_ACTIVATION_NONE);
}

qn_tensor *qn_network_discriminate(qn_context *c, qn_network *n, qn_tensor *hidden) {
    qn_tensor *x =
        qn_linear(c, hidden, n->discriminator.weight, n->discriminator.bias, n->config.encoder.activation);
    return qn_linear(c, x, n->replaced.weight, n->replaced.bias, QN_ACTIVATION_NONE);
}

qn_tensor *qn_network_next_sentence(qn_context *c, qn_network *n, qn_tensor *hidden, qn_ragged batch) {
    return qn_linear(c, qn_network_pooled(c, n, hidden, batch), n->next_sentence.weight, n->next_sentence.bias,
                     QN_ACTIVATION_NONE);
}
