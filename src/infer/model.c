// Opening a model folder, and what the model is.
#include "infer/model.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "models/ct2_model.h"
#include "models/gguf_model.h"
#include "models/lora.h"
#include "models/text_decoder.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Enough rows that products run at full speed, few enough that a batch's activations stay in the cache.
enum { BATCH_TOKENS = 2048, WEIGHTS_LIMIT = 16 };

qn_model_options qn_model_defaults(void) {
    return (qn_model_options){0};
}

// Asks the backend with the smallest weight there is, so that a dtype is refused before anything is read.
static qn_status try_dtype(qn_model *m) {
    if (m->compute == QN_DTYPE_F32) return QN_OK;
    const float weight[WEIGHTS_LIMIT] = {0};
    void *packed = m->backend->ops->pack(
        m->backend, &(qn_pack_args){.out = 1, .in = WEIGHTS_LIMIT, .compute = m->compute, .weight = weight});
    if (!packed) return qn_fail_prefix(QN_ERROR_UNSUPPORTED, "dtype %s", qn_compute_name(m->compute));
    m->backend->ops->unpack(m->backend, packed);
    return QN_OK;
}

// `sentence` moves into the network, also on failure.
static qn_status open_network(qn_model *m, qn_lora *lora, const qn_model_options *given, qn_sbert *sentence) {
    const char *adapter = given->adapter;
    qn_model_config config;
    qn_status status = qn_model_config_read(m->transformer, &config);
    bool vectors = given->decoder && !(status == QN_OK && config.encoder_decoder); // has one that reads vectors
    if (status == QN_OK && vectors && !qn_has_text_decoder(m->transformer)) {
        status = qn_fail(QN_ERROR_UNSUPPORTED,
                         "%s: has no decoder of texts (expected the folder of an autoencoder, or an encoder-decoder)",
                         m->transformer);
        qn_model_config_free(&config);
    }
    if (status == QN_OK && lora) {
        status = qn_lora_configure(lora, adapter, &config);
        if (status != QN_OK) qn_model_config_free(&config);
    }
    if (status != QN_OK) {
        qn_sbert_free(sentence);
        return status;
    }
    // The pooler serves the heads above it; many folders of plain encoders come without one.
    unsigned heads = config.heads;
    if (!(heads & (QN_HEAD_CLASSIFIER | QN_HEAD_NEXT_SENTENCE))) heads &= ~(unsigned)QN_HEAD_POOLER;
    qn_text_decoder decoder = {.folder = m->transformer, .separate = true};
    qn_network_options options = {.heads = vectors ? 0 : heads,
                                  .lora = lora,
                                  .stored = m->stored,
                                  .sentence = sentence,
                                  .text_decoder = vectors ? &decoder : NULL};
    return qn_network_load(&config, m->transformer, &options, &m->network);
}

static void smaller(size_t *limit, size_t other) {
    if (other && (!*limit || other < *limit)) *limit = other;
}

static qn_status choose_length(qn_model *m, size_t wanted) {
    size_t most = m->network->config.encoder.max_positions, limit = 0;
    if (wanted > most)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: a text of %zu tokens is too long for this model (expected at most %zu)",
                       m->folder, wanted, most);
    smaller(&limit, wanted ? wanted : (size_t)m->network->sentence.max_seq_length);
    if (!limit) smaller(&limit, qn_tokenizer_max_length(m->tokenizer));
    smaller(&limit, most);
    m->encode = qn_encode_defaults();
    m->encode.max_length = limit;
    // A limit that has no room for the special tokens is found here and not at the first text.
    if (qn_tokenizer_encode(m->tokenizer, "", 0, NULL, 0, &m->encode, &m->encoding) != QN_OK)
        return qn_fail_prefix(QN_ERROR_ARGUMENT, "%s", m->folder);
    return QN_OK;
}

qn_status qn_infer_prompt_tokens(const qn_sbert *sentence, const qn_tokenizer *tokenizer,
                                 const qn_encode_options *encode, const char *prompt, int32_t *count) {
    *count = 0;
    if (!prompt || sentence->include_prompt) return QN_OK;
    qn_encoding alone = QN_ENCODING_INIT;
    qn_status status = qn_tokenizer_encode(tokenizer, prompt, strlen(prompt), NULL, 0, encode, &alone);
    if (status == QN_OK) *count = (int32_t)alone.count;
    if (*count && alone.ids[*count - 1] == qn_tokenizer_special(tokenizer, QN_TOKEN_SEP)) --*count;
    qn_encoding_free(&alone);
    return status;
}

static qn_status choose_prompt(qn_model *m, const qn_model_options *options) {
    const char *prompt = qn_sbert_prompt_of(&m->network->sentence, options->prompt, options->purpose);
    if (prompt && !(m->prompt = qn_strdup(prompt))) return QN_ERROR_MEMORY;
    return qn_infer_prompt_tokens(&m->network->sentence, m->tokenizer, &m->encode, m->prompt, &m->prompt_tokens);
}

static qn_status choose_dimensions(qn_model *m, size_t wanted) {
    size_t width = qn_model_width(m);
    bool sparse = qn_model_sparse(m);
    if ((m->late.on || sparse) && wanted && wanted != width)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: %s have %zu dimensions (expected all of them)", m->folder,
                       sparse ? "sparse vectors" : "vectors of tokens", width);
    if (wanted > width)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: vectors have %zu dimensions (expected at most that, not %zu)", m->folder,
                       width, wanted);
    m->dimensions = wanted;
    return QN_OK;
}

// How vectors are made is said by the model's folder, or by that of an adapter which was trained for vectors.
static qn_status read_sentence(qn_model *m, const char *adapter, bool sparse, qn_sbert *sentence) {
    QN_TRY(qn_sbert_read(m->folder, sentence));
    const char *inside = sentence->transformer_path;
    m->transformer = *inside ? qn_path_join(m->folder, inside) : qn_strdup(m->folder);
    qn_sbert own;
    qn_status status = m->transformer ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK && adapter) {
        status = qn_sbert_read(adapter, &own);
        if (status == QN_OK && own.present) {
            qn_sbert old = *sentence;
            *sentence = own;
            own = old;
        }
        if (status == QN_OK) qn_sbert_free(&own);
    }
    if (sparse) qn_sbert_make_sparse(sentence);
    if (status != QN_OK) qn_sbert_free(sentence);
    return status;
}

// `folder` is the model's, that of `lora` (NULL: none) is options->adapter.
static qn_status open_parts(qn_model *m, const char *folder, qn_lora *lora, const qn_model_options *options) {
    QN_TRY(qn_compute_parse(options->dtype, &m->compute));
    if (options->threads < 0) return qn_fail(QN_ERROR_ARGUMENT, "%d threads (expected 0 or more)", options->threads);
    m->overflow = options->overflow;
    m->batch_tokens = options->batch_tokens ? options->batch_tokens : BATCH_TOKENS;
    m->folder = qn_strdup(folder);
    if (!m->folder) return QN_ERROR_MEMORY;
    bool gguf = qn_is_gguf(folder);
    if (!gguf && !qn_is_folder(folder))
        return qn_fail(QN_ERROR_IO, "%s: no such folder (expected a model's folder, or a GGUF file)", folder);
    m->stored = gguf && !options->dtype && !lora;
    QN_TRY(qn_backend_create_cpu(options->threads, NULL, &m->backend));
    QN_TRY(try_dtype(m));
    qn_sbert sentence;
    QN_TRY(read_sentence(m, options->adapter, options->sparse, &sentence));
    QN_TRY(open_network(m, lora, options, &sentence));
    qn_tokenizer *tokenizer = NULL;
    QN_TRY(qn_tokenizer_load(m->transformer, &tokenizer));
    m->tokenizer = tokenizer;
    if (qn_ct2_is_folder(m->transformer)) QN_TRY(qn_ct2_model_check(m->transformer, tokenizer));
    QN_TRY(choose_length(m, options->max_length));
    QN_TRY(qn_late_resolve(&m->network->sentence, tokenizer, &m->late));
    m->side = options->purpose != QN_FOR_QUERIES;
    QN_TRY(choose_prompt(m, options));
    QN_TRY(choose_dimensions(m, options->dimensions));
    m->arena = qn_arena_create(1 << 20);
    m->records = qn_arena_create(1 << 16);
    return m->arena && m->records ? QN_OK : QN_ERROR_MEMORY;
}

// An adapter's folder in place of a model's stands for the model that it names, and itself.
static qn_status open_adapter(const char **folder, qn_model_options *options, qn_lora *lora) {
    if (!options->adapter && qn_lora_is_folder(*folder)) options->adapter = *folder;
    if (!options->adapter) return QN_OK;
    QN_TRY(qn_lora_open(options->adapter, lora));
    if (options->adapter != *folder) return QN_OK;
    if (!lora->base || !qn_is_folder(lora->base))
        return qn_fail(QN_ERROR_IO,
                       "%s: is for the model \"%s\", which is no folder (expected the model, and this as its "
                       "adapter)",
                       *folder, lora->base ? lora->base : "");
    *folder = lora->base;
    return QN_OK;
}

qn_status qn_model_open(const char *folder, const qn_model_options *given, qn_model **out) {
    *out = NULL;
    qn_model_options options = given ? *given : qn_model_defaults();
    qn_lora lora = {0};
    qn_model *m = qn_calloc(1, sizeof *m);
    if (!m) return QN_ERROR_MEMORY;
    qn_status status = open_adapter(&folder, &options, &lora);
    if (status == QN_OK) status = open_parts(m, folder, options.adapter ? &lora : NULL, &options);
    qn_lora_free(&lora);
    if (status != QN_OK) {
        qn_model_close(m);
        return status;
    }
    *out = m;
    return QN_OK;
}

qn_status qn_model_lend(qn_network *network, const qn_tokenizer *tokenizer, const qn_context *c,
                        const qn_encode_options *encode, qn_model **out) {
    *out = NULL;
    qn_model *m = qn_calloc(1, sizeof *m);
    if (!m) return QN_ERROR_MEMORY;
    *m = (qn_model){.network = network,
                    .tokenizer = tokenizer,
                    .backend = c->backend,
                    .arena = c->arena,
                    .records = c->records,
                    .encode = *encode,
                    .batch_tokens = BATCH_TOKENS,
                    .lent = true,
                    .packed = true,
                    .head_packed = true};
    qn_status status = qn_late_resolve(&network->sentence, tokenizer, &m->late);
    if (status == QN_OK)
        *out = m;
    else
        qn_model_close(m);
    return status;
}

static void close_own(qn_model *m) {
    if (m->network && m->backend) qn_infer_unpack(m);
    qn_network_free(m->network);
    qn_backend_destroy(m->backend);
    qn_tokenizer_free((qn_tokenizer *)(uintptr_t)m->tokenizer);
    qn_arena_destroy(m->arena);
    qn_arena_destroy(m->records);
}

void qn_model_close(qn_model *m) {
    if (!m) return;
    if (!m->lent) close_own(m);
    qn_encoding_free(&m->encoding);
    qn_sequences_free(&m->window);
    qn_tag_scheme_free(&m->tags);
    free(m->order);
    free(m->starts);
    free(m->ids);
    free(m->types);
    free(m->positions);
    free(m->offsets);
    free(m->text);
    qn_late_free(&m->late);
    free(m->prompt);
    free(m->folder);
    free(m->transformer);
    free(m);
}

const qn_tokenizer *qn_model_tokenizer(const qn_model *model) {
    return model->tokenizer;
}

size_t qn_model_width(const qn_model *model) {
    const qn_encoder_config *e = &model->network->config.encoder;
    return model->dimensions ? model->dimensions : qn_sbert_width(&model->network->sentence, e->hidden, e->vocabulary);
}

bool qn_model_multi_vector(const qn_model *model) {
    return model->network->sentence.late.on;
}

bool qn_model_sparse(const qn_model *model) {
    return model->network->sentence.sparse;
}

size_t qn_model_token_width(const qn_model *model) {
    return model->network->config.encoder.hidden;
}

size_t qn_model_max_length(const qn_model *model) {
    return model->encode.max_length;
}

size_t qn_model_labels(const qn_model *model) {
    return model->network->heads & (QN_HEAD_CLASSIFIER | QN_HEAD_TAGGER) ? model->network->config.labels : 0;
}

const char *qn_model_label(const qn_model *model, size_t index) {
    return index < qn_model_labels(model) ? model->network->config.label_names[index] : NULL;
}

bool qn_model_is_decoder(const qn_model *m) {
    return m->network->config.encoder.causal && (m->network->heads & QN_HEAD_LM);
}

bool qn_model_is_translator(const qn_model *m) {
    return m->network->config.encoder_decoder && (m->network->heads & QN_HEAD_LM);
}

qn_task_kind qn_model_task(const qn_model *model) {
    static const qn_task_kind kinds[] = {[QN_PROBLEM_SINGLE_LABEL] = QN_TASK_CLASSIFY,
                                         [QN_PROBLEM_MULTI_LABEL] = QN_TASK_MULTILABEL,
                                         [QN_PROBLEM_REGRESSION] = QN_TASK_REGRESS};
    if (model->network->heads & QN_HEAD_TAGGER) return QN_TASK_TAG;
    if (model->network->heads & QN_HEAD_SPAN) return QN_TASK_ANSWER;
    if (model->network->heads & QN_HEAD_DISCRIMINATOR) return QN_TASK_DISCRIMINATE;
    if (qn_model_labels(model) && model->network->config.reranks) return QN_TASK_RERANK;
    return qn_model_labels(model) ? kinds[model->network->config.problem] : QN_TASK_NONE;
}

// ---- What the model is ---------------------------------------------------------------------------------------------

static const char *activation_name(qn_activation activation) {
    static const char *const names[] = {
#define NAME(text, name) [QN_ACTIVATION_##name] = text,
        QN_ACTIVATION_MAP(NAME)
#undef NAME
    };
    return names[activation];
}

static json_t *describe_heads(unsigned heads) {
    static const struct {
        unsigned head;
        const char *name;
    } names[] = {{QN_HEAD_POOLER, "pooler"},
                 {QN_HEAD_CLASSIFIER, "classifier"},
                 {QN_HEAD_LM, "masked-lm"},
                 {QN_HEAD_NEXT_SENTENCE, "next-sentence"},
                 {QN_HEAD_TAGGER, "tagger"},
                 {QN_HEAD_SPAN, "span"},
                 {QN_HEAD_DISCRIMINATOR, "discriminator"}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (heads & names[i].head) json_array_append_new(list, json_string(names[i].name));
    return list;
}

static json_t *describe_weights(const qn_network *network) {
    json_t *dtypes_seen = json_object();
    size_t bytes = 0;
    for (size_t i = 0; i < qn_weights_count(network->weights); i++) {
        const qn_st_tensor *t = qn_weights_at(network->weights, i);
        const char *dtype = qn_weights_dtype(network->weights, i);
        json_int_t before = json_integer_value(json_object_get(dtypes_seen, dtype));
        json_object_set_new(dtypes_seen, dtype, json_integer(before + 1));
        bytes += t->size;
    }
    return json_pack("{s:I, s:I, s:o}", "bytes", (json_int_t)bytes, "tensors",
                     (json_int_t)qn_weights_count(network->weights), "dtypes", dtypes_seen);
}

static json_t *describe_labels(const qn_model *m) {
    static const char *const tasks[] = {[QN_TASK_NONE] = "none",
                                        [QN_TASK_CLASSIFY] = "classify",
                                        [QN_TASK_MULTILABEL] = "multilabel",
                                        [QN_TASK_REGRESS] = "regress",
                                        [QN_TASK_TAG] = "tag",
                                        [QN_TASK_ANSWER] = "answer",
                                        [QN_TASK_RERANK] = "rerank",
                                        [QN_TASK_DISCRIMINATE] = "discriminate"};
    json_t *labels = json_array();
    for (size_t i = 0; i < qn_model_labels(m); i++) json_array_append_new(labels, json_string(qn_model_label(m, i)));
    return json_pack("{s:s, s:o}", "task", tasks[qn_model_task(m)], "labels", labels);
}

static json_t *describe_modules(const qn_sbert *s) {
    json_t *modules = json_array();
    for (size_t i = 0; i < s->module_count; i++) {
        const qn_sbert_module *m = &s->modules[i];
        json_array_append_new(modules, m->kind == QN_SBERT_DENSE
                                           ? json_pack("{s:I, s:I, s:s}", "in", (json_int_t)m->in, "out",
                                                       (json_int_t)m->out, "activation", activation_name(m->activation))
                                           : json_string("normalize"));
    }
    return modules;
}

static json_t *describe_embedding(const qn_model *m) {
    const qn_sbert *s = &m->network->sentence;
    json_t *prompts = json_object(), *poolings = json_array();
    for (size_t i = 0; i < s->prompt_count; i++)
        json_object_set_new(prompts, s->prompts[i].name, json_string(s->prompts[i].text));
    for (size_t i = 0; i < s->pooling_count; i++)
        json_array_append_new(poolings, json_string(qn_pool_name(s->poolings[i])));
    return json_pack("{s:b, s:I, s:o, s:o, s:b, s:s, s:o, s:s?, s:s?}", "sentence_transformers", (int)s->present,
                     "width", (json_int_t)qn_model_width(m), "pooling", poolings, "modules", describe_modules(s),
                     "normalize", (int)qn_sbert_normalizes(s), "similarity", qn_sbert_similarity_name(s->similarity),
                     "prompts", prompts, "default_prompt", s->default_prompt, "prompt", m->prompt);
}

qn_status qn_model_describe(const qn_model *m, char **json) {
    *json = NULL;
    const qn_network *n = m->network;
    const qn_encoder_config *e = &n->config.encoder;
    json_t *root = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:f}", "folder", m->folder, "family",
        n->config.family->model_type, "parameters", (json_int_t)qn_parameters_total(&n->parameters), "layers",
        (json_int_t)e->layers, "width", (json_int_t)e->hidden, "attention_heads", (json_int_t)e->heads, "intermediate",
        (json_int_t)e->intermediate, "vocabulary", (json_int_t)e->vocabulary, "max_positions",
        (json_int_t)e->max_positions, "max_length", (json_int_t)m->encode.max_length, "positions",
        e->positions == QN_POSITIONS_SINUSOIDAL ? "sinusoidal" : "learned", "norm", e->pre_norm ? "pre" : "post",
        "activation", activation_name(e->activation), "norm_eps", round(1e18 * (double)e->norm_eps) / 1e18);
    json_t *labels = describe_labels(m);
    if (root && labels) json_object_update(root, labels);
    json_decref(labels);
    qn_buffer text = {0};
    if (root) {
        json_object_set_new(root, "heads", describe_heads(n->heads));
        json_object_set_new(root, "weights", describe_weights(n));
        json_object_set_new(root, "embedding", describe_embedding(m));
        json_object_set_new(root, "tokenizer_size", json_integer((json_int_t)qn_tokenizer_size(m->tokenizer)));
        json_object_set_new(root, "dtype", json_string(m->stored ? "stored" : qn_compute_name(m->compute)));
        json_object_set_new(root, "threads", json_integer(qn_backend_threads(m->backend)));
        json_object_set_new(root, "isa", json_string(qn_backend_isa(m->backend)));
        json_object_set_new(root, "batch_tokens", json_integer((json_int_t)m->batch_tokens));
        json_object_set_new(root, "version", json_string(qn_version()));
        qn_json_write(root, &text);
    }
    json_decref(root);
    if (!root || qn_buffer_status(&text) != QN_OK) {
        qn_buffer_free(&text);
        return qn_fail(QN_ERROR_MEMORY, "%s: out of memory", m->folder);
    }
    *json = text.data;
    return QN_OK;
}
