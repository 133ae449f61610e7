// See gguf_model.h. Keys and names are those of llama.cpp's gguf-py (constants.py); that library's converter turns the
// rows of Llama's queries and keys so that a head's pairs stand side by side (permute in convert_hf_to_gguf.py).
#include "models/gguf_model.h"
#include "base/file.h"
#include "base/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SIZE = 128, MOST_WIDTH = 65536, MOST_TOKENS = 10000000 };

typedef struct {
    const char *name, *class; // general.architecture, "architectures"
    bool table;               // positions are a table, norms have biases: GPT-2
} architecture;

static const architecture architectures[] = {
    {"llama", "LlamaForCausalLM", false}, {"qwen2", "Qwen2ForCausalLM", false}, {"gpt2", "GPT2LMHeadModel", true}};

static qn_status find_architecture(const qn_gguf *file, const architecture **out) {
    const char *text;
    size_t size;
    QN_TRY(qn_gguf_read_string(file, "general.architecture", &text, &size));
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        *out = &architectures[i];
        if (strlen((*out)->name) == size && memcmp((*out)->name, text, size) == 0) return QN_OK;
    }
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: architecture \"%.*s\" is not known (expected llama, qwen2 or gpt2)",
                   qn_gguf_path(file), size < 60 ? (int)size : 60, text);
}

// --- config.json

typedef struct {
    const qn_gguf *file;
    const architecture *of;
    json_t *json;
    qn_status status; // the first failure
} config;

static const char *key_of(const config *c, const char *key, char full[KEY_SIZE]) {
    snprintf(full, KEY_SIZE, "%s.%s", c->of->name, key);
    return full;
}

static int64_t integer(config *c, const char *key, int64_t lowest, int64_t highest, const int64_t *fallback) {
    char full[KEY_SIZE];
    int64_t value = 1;
    if (c->status == QN_OK)
        c->status = qn_gguf_read_integer(c->file, key_of(c, key, full), lowest, highest, fallback, &value);
    return value;
}

static double real(config *c, const char *key, double lowest, double highest, const double *fallback) {
    char full[KEY_SIZE];
    double value = 1;
    if (c->status == QN_OK)
        c->status = qn_gguf_read_real(c->file, key_of(c, key, full), lowest, highest, fallback, &value);
    return value;
}

static void set(config *c, const char *key, json_t *value) {
    if (json_object_set_new(c->json, key, value) && c->status == QN_OK)
        c->status = qn_fail(QN_ERROR_MEMORY, "%s: out of memory", qn_gguf_path(c->file));
}

static void set_integer(config *c, const char *name, int64_t value) {
    set(c, name, json_integer((json_int_t)value));
}

// The sizes that all architectures have, by the names of Hugging Face's families.
static void read_sizes(config *c) {
    bool table = c->of->table;
    int64_t width = integer(c, "embedding_length", 1, MOST_WIDTH, NULL);
    int64_t heads = integer(c, "attention.head_count", 1, 4096, NULL);
    set_integer(c, table ? "n_embd" : "hidden_size", width);
    set_integer(c, table ? "n_layer" : "num_hidden_layers", integer(c, "block_count", 0, QN_MOST_LAYERS, NULL));
    set_integer(c, table ? "n_head" : "num_attention_heads", heads);
    set_integer(c, table ? "n_inner" : "intermediate_size", integer(c, "feed_forward_length", 1, 1 << 20, NULL));
    set_integer(c, table ? "n_positions" : "max_position_embeddings",
                integer(c, "context_length", 1, MOST_TOKENS, NULL));
    set(c, table ? "layer_norm_epsilon" : "rms_norm_eps",
        json_real(real(c, table ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 0, 1, NULL)));
    if (table) return;
    int64_t head = width / heads;
    set_integer(c, "num_key_value_heads", integer(c, "attention.head_count_kv", 1, heads, &heads));
    head = integer(c, "attention.key_length", 1, MOST_WIDTH, &head);
    set_integer(c, "head_dim", head);
    integer(c, "attention.value_length", head, head, &head);
    integer(c, "rope.dimension_count", head, head, &head);
    integer(c, "expert_count", 0, 0, &(int64_t){0});
    int64_t window = integer(c, "attention.sliding_window", 0, MOST_TOKENS, &(int64_t){0});
    if (window > 0) set_integer(c, "sliding_window", window);
}

// Llama 3.1's scaling of positions comes as the numbers that frequencies are divided by. All its models have the same
// limits, so that these numbers follow from the largest.
static void read_divisors(config *c, const qn_gguf_tensor *t, double theta) {
    enum { TRAINED = 8192, SLOW = 1, FAST = 4 };
    int64_t half = json_integer_value(json_object_get(c->json, "head_dim")) / 2;
    bool known = t->dims == 1 && t->count == half && half > 0 && t->dtype == QN_GGUF_F32;
    float factor = 1;
    if (known) qn_gguf_to_f32(t, half - 1, 1, &factor);
    known = known && factor >= 1 && factor <= 1e6f;
    for (int64_t i = 0; i < half && known; i++) {
        float divisor;
        qn_gguf_to_f32(t, i, 1, &divisor);
        double turns = TRAINED * pow(theta, -(double)i / (double)half) / (2 * M_PI);
        double part = fmin(fmax((FAST - turns) / (FAST - SLOW), 0), 1);
        known = fabs((double)divisor * (part / (double)factor + 1 - part) - 1) < 1e-3;
    }
    if (!known)
        c->status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"rope_freqs.weight\" is not the scaling of Llama 3.1",
                            qn_gguf_path(c->file));
    else
        set(c, "rope_scaling",
            json_pack("{s:s, s:f, s:i, s:i, s:i}", "rope_type", "llama3", "factor", (double)factor, "low_freq_factor",
                      SLOW, "high_freq_factor", FAST, "original_max_position_embeddings", TRAINED));
}

static void read_rotary(config *c) {
    char full[KEY_SIZE];
    const char *kind = "none";
    size_t size = 4;
    if (c->of->table) return;
    double theta = real(c, "rope.freq_base", 1, 1e12, &(double){10000});
    set(c, "rope_theta", json_real(theta));
    if (c->status == QN_OK && qn_gguf_value_of(c->file, key_of(c, "rope.scaling.type", full)))
        c->status = qn_gguf_read_string(c->file, full, &kind, &size);
    bool linear = size == 6 && memcmp(kind, "linear", 6) == 0, yarn = size == 4 && memcmp(kind, "yarn", 4) == 0;
    if (c->status == QN_OK && !linear && !yarn && (size != 4 || memcmp(kind, "none", 4) != 0))
        c->status = qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" is \"%.*s\" (expected none, linear or yarn)",
                            qn_gguf_path(c->file), full, size < 60 ? (int)size : 60, kind);
    const qn_gguf_tensor *divisors = qn_gguf_find(c->file, "rope_freqs.weight");
    if (c->status == QN_OK && divisors) read_divisors(c, divisors, theta);
    if (linear)
        set(c, "rope_scaling",
            json_pack("{s:s, s:f}", "rope_type", "linear", "factor", real(c, "rope.scaling.factor", 1, 1e6, NULL)));
    if (yarn) {
        double factor = real(c, "rope.scaling.factor", 1, 1e6, NULL);
        int64_t trained = integer(c, "rope.scaling.original_context_length", 1, MOST_TOKENS, NULL);
        set(c, "rope_scaling",
            json_pack("{s:s, s:f, s:I}", "rope_type", "yarn", "factor", factor, "original_max_position_embeddings",
                      (json_int_t)trained));
    }
}

static bool has(const config *c, const char *tensor) {
    return qn_gguf_find(c->file, tensor) != NULL;
}

// What the tensors say.
static void read_tensors(config *c) {
    const qn_gguf_tensor *words = qn_gguf_find(c->file, "token_embd.weight");
    if (c->status == QN_OK && (!words || words->dims != 2 || words->shape[0] < 1 || words->shape[0] > MOST_TOKENS))
        c->status =
            qn_fail(QN_ERROR_FORMAT, "%s: there is no table \"token_embd.weight\" of words", qn_gguf_path(c->file));
    if (c->status != QN_OK) return;
    set_integer(c, "vocab_size", words->shape[0]);
    set(c, "tie_word_embeddings", json_boolean(!has(c, "output.weight")));
    if (strcmp(c->of->name, "llama") != 0) return;
    set(c, "attention_bias", json_boolean(has(c, "blk.0.attn_q.bias")));
    set(c, "mlp_bias", json_boolean(has(c, "blk.0.ffn_down.bias")));
}

// Which tokens begin, end and fill up texts.
static void read_specials(config *c) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    static const char *const others[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                            {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
    int64_t id = 0;
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof ends / sizeof *ends && c->status == QN_OK; i++) {
        if (!qn_gguf_value_of(c->file, ends[i])) continue;
        c->status = qn_gguf_read_integer(c->file, ends[i], 0, MOST_TOKENS, NULL, &id);
        json_array_append_new(list, json_integer((json_int_t)id));
    }
    set(c, "eos_token_id", list);
    for (size_t i = 0; i < 2 && c->status == QN_OK; i++) {
        if (!qn_gguf_value_of(c->file, others[i][0])) continue;
        c->status = qn_gguf_read_integer(c->file, others[i][0], 0, MOST_TOKENS, NULL, &id);
        set_integer(c, others[i][1], id);
    }
}

qn_status qn_gguf_config(const qn_gguf *file, qn_buffer *json) {
    config c = {.file = file, .status = QN_OK};
    QN_TRY(find_architecture(file, &c.of));
    c.json = json_object();
    set(&c, "architectures", json_pack("[s]", c.of->class));
    set(&c, "model_type", json_string(c.of->name));
    read_sizes(&c);
    read_rotary(&c);
    read_tensors(&c);
    read_specials(&c);
    if (c.status == QN_OK) {
        qn_json_write(c.json, json);
        c.status = qn_buffer_status(json);
    }
    json_decref(c.json);
    return c.status;
}

// --- Tensors

bool qn_is_gguf(const char *path) {
    FILE *file = qn_is_file(path) ? fopen(path, "rb") : NULL;
    char magic[4] = {0};
    if (!file) return false;
    bool read = fread(magic, 1, sizeof magic, file) == sizeof magic;
    fclose(file);
    return read && memcmp(magic, "GGUF", sizeof magic) == 0;
}

static const char *part_of(const qn_encoder_names *names, const char *part) {
    const struct {
        const char *gguf, *name;
    } parts[] = {{"attn_qkv", names->qkv},
                 {"attn_q", names->query},
                 {"attn_k", names->key},
                 {"attn_v", names->value},
                 {"attn_norm", names->attention_norm},
                 {"attn_output", names->attention_output},
                 {"ffn_gate", names->gate},
                 {"ffn_up", names->up},
                 {"ffn_down", names->down},
                 {"ffn_norm", names->feed_forward_norm}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].gguf, part) == 0) return parts[i].name;
    return NULL;
}

// Names that no family has stay as they are, and nobody asks for them.
static void name_of(void *user, const qn_gguf_tensor *t, char name[QN_WEIGHT_NAME], size_t *heads) {
    const qn_network *n = user;
    const qn_family *f = n->config.family;
    const qn_encoder_names *names = &f->names;
    const struct {
        const char *gguf, *prefix, *name;
    } single[] = {{"token_embd.weight", f->prefix, names->word},
                  {"position_embd.weight", f->prefix, names->position},
                  {"output.weight", "", f->decoder}};
    size_t layer;
    char part[32], end[8];
    int used = 0;
    *heads = 0;
    snprintf(name, QN_WEIGHT_NAME, "%s", t->name);
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (strcmp(t->name, single[i].gguf) == 0 && single[i].name)
            snprintf(name, QN_WEIGHT_NAME, "%s%s", single[i].prefix, single[i].name);
    if (sscanf(t->name, "output_norm.%7[a-z]%n", end, &used) == 1 && !t->name[used])
        snprintf(name, QN_WEIGHT_NAME, "%s%s.%s", f->prefix, names->final_norm, end);
    if (sscanf(t->name, "blk.%zu.%31[a-z_].%7[a-z]%n", &layer, part, end, &used) != 3 || t->name[used]) return;
    const char *own = part_of(names, part);
    if (!own || layer >= n->config.encoder.layers) return;
    int length = snprintf(name, QN_WEIGHT_NAME, "%s", f->prefix);
    length += snprintf(name + length, QN_WEIGHT_NAME - (size_t)length, names->layer, layer);
    snprintf(name + length, QN_WEIGHT_NAME - (size_t)length, "%s.%s", own, end);
    if (strcmp(f->model_type, "llama") != 0) return;
    if (strcmp(part, "attn_q") == 0) *heads = n->config.encoder.heads;
    if (strcmp(part, "attn_k") == 0) *heads = n->config.encoder.key_heads;
}

qn_status qn_gguf_weights(qn_gguf *file, const qn_network *n, qn_weights **out) {
    return qn_weights_of_gguf(file, name_of, (void *)(uintptr_t)n, out);
}

// --- Blocks that stay

enum { MOST_PARTS = 3 }; // queries, keys and values

// The parts of a weight, one below the other.
typedef struct {
    qn_grouped_weight weight; // what the tensor's `stored` points to
    size_t parts, end[MOST_PARTS], heads[MOST_PARTS];
    const qn_gguf_tensor *part[MOST_PARTS];
} stored_weight;

struct qn_stored {
    stored_weight *weights;
    size_t count;
};

static void read_row(void *user, size_t row, int8_t *q, float *scale, float *minimum) {
    const stored_weight *s = user;
    size_t i = 0, first = 0;
    for (; row >= s->end[i]; i++) first = s->end[i];
    qn_gguf_to_groups(s->part[i], qn_weights_block_row(s->part[i], s->heads[i], (int64_t)(row - first)),
                      s->weight.compute, q, scale, minimum);
}

// Parameters first .. first + count - 1, which one product computes together.
static bool store(const qn_network *n, const char *prefix, size_t first, size_t count, stored_weight *s) {
    *s = (stored_weight){.parts = count};
    qn_compute form = QN_DTYPE_F32;
    for (size_t i = 0; i < count; i++) {
        const qn_parameter *p = n->parameters.items[first + i];
        char name[QN_NAME_SIZE];
        qn_network_file_name(n, p, prefix, name);
        s->part[i] = qn_weights_blocks(n->weights, name, &s->heads[i]);
        if (!s->part[i]) return false;
        qn_compute own = qn_gguf_group_form(s->part[i]->dtype);
        if (own == QN_DTYPE_F32) return false;
        form = i == 0 || own == form ? own : QN_DTYPE_K8;
        s->end[i] = p->tensor.shape[0] + (i > 0 ? s->end[i - 1] : 0);
    }
    s->weight = (qn_grouped_weight){read_row, s, form};
    return true;
}

qn_status qn_gguf_store(qn_network *n, const char *prefix, bool *stays) {
    const qn_parameters *set = &n->parameters;
    n->stored = qn_calloc(1, sizeof *n->stored);
    if (!n->stored) return QN_ERROR_MEMORY;
    n->stored->weights = qn_calloc(set->count, sizeof *n->stored->weights);
    if (!n->stored->weights) return QN_ERROR_MEMORY;
    for (size_t i = 0, count; i < set->count; i += count) {
        qn_tensor *t = &set->items[i]->tensor;
        size_t product;
        for (count = 1; i + count < set->count && set->items[i + count]->joined;) count++;
        bool reads =
            qn_encoder_product_of(&n->encoder, set, set->items[i], &product) || t == n->encoder.word || t == n->decoder;
        stored_weight *s = &n->stored->weights[n->stored->count];
        if (!reads || count > MOST_PARTS || !store(n, prefix, i, count, s)) continue;
        t->stored = &s->weight;
        n->stored->count++;
        for (size_t k = 0; k < count; k++) stays[i + k] = true;
    }
    return QN_OK;
}

void qn_stored_free(qn_stored *stored) {
    if (!stored) return;
    free(stored->weights);
    free(stored);
}
