// The transformer encoder: embeddings and N blocks with N sets of parameters, driven by a configuration and a table of
// names. With `causal` it is a decoder, and with `cross` too one that also reads what an encoder made of its source.
#pragma once
#include "nn/positions.h"
#include "ops/ops.h"
#include "tensor/parameters.h"

// How a token knows its place. The first two are added to the word; rotary positions turn queries and keys; ALiBi is a
// bias of scores; NONE leaves it to a bias that is learned.
typedef enum {
    QN_POSITIONS_LEARNED,
    QN_POSITIONS_SINUSOIDAL,
    QN_POSITIONS_ROTARY,
    QN_POSITIONS_ALIBI,
    QN_POSITIONS_NONE
} qn_positions;

// Parts without a bias.
enum {
    QN_PLAIN_NORMS = 1,
    QN_PLAIN_QKV = 2,
    QN_PLAIN_ATTENTION_OUTPUT = 4,
    QN_PLAIN_UP = 8,
    QN_PLAIN_DOWN = 16,
};

// Where hidden_dropout acts in a feed-forward network: on its result, on what `down` reads (inner_dropout), or on both.
typedef enum { QN_DROPS_RESULT, QN_DROPS_INSIDE, QN_DROPS_BOTH } qn_feed_forward_drops;

enum { QN_MOST_LAYERS = 1024 };

typedef struct {
    size_t vocabulary, hidden, layers, heads, intermediate, max_positions, types;
    size_t key_heads, head_width; // of keys and values, shared by query heads; of each: 0: heads, hidden / heads
    bool causal;                  // a decoder: no token sees a later one
    bool cross;                   // each layer attends to an encoder's result too, after itself
    bool rms;                     // norms are RMSNorm
    size_t position_offset;       // position ids start here (RoBERTa: padding id + 1)
    size_t embedding;             // width of the tables; 0: hidden. A product widens it where `project` is set
    bool project;
    size_t groups, inner;    // parameters that layers share (ALBERT): `groups` times `inner` sets; 0: each has its own
    bool sinusoidal_start;   // learned positions begin as sinusoids
    bool sinusoid_halves;    // sinusoids have all sines first, then all cosines
    float embedding_scale;   // of words; 0: 1
    bool fixed_padding;      // word `padding` gets no gradient as an input
    int32_t padding;
    float score_scale;       // of attention; 0: 1 / sqrt(head_width)
    size_t relative_buckets; // rows of a table of attention biases by distance, for all layers; 0: none
    qn_buckets buckets;      // which distances share one of its rows
    qn_positions positions;
    size_t rotary_width;                    // of a head that turns; 0: all of it
    qn_rotary_config rotary[2];             // of layers that see all keys; of local ones
    size_t distance_span;                   // disentangled attention: half the rows of its table of distances; 0: none
    size_t distance_buckets, distance_most; // see qn_make_distances
    bool distance_key, distance_query;      // its parts
    bool distance_norm;                     // of the table
    size_t window;                          // local layers see keys at distances up to it
    uint64_t local[QN_MOST_LAYERS / 64];    // bit i: layer i is local
    unsigned plain;                         // QN_PLAIN_...
    bool gated, gate_last; // feed-forward: down(f(gate) value), where `up` makes both, the gate first or last
    bool unnormed_start;   // pre-norm: the first attention reads the embeddings as they are
    qn_feed_forward_drops drops;
    float inner_dropout; // of what `down` reads
    bool final_dropout;  // hidden_dropout acts on the last norm's result too
    bool pre_norm;       // x + f(norm(x)) and a last norm, instead of norm(x + f(x))
    qn_activation activation;
    float norm_eps, hidden_dropout, attention_dropout;
    double initializer_range;
    size_t below; // layers of the encoder below a decoder, for the depth of parameters
} qn_encoder_config;

// Tensor names of a family; those of a layer follow `layer` (a format with one %zu, or where layers share parameters
// two: group and place in the group). "weight" and "bias" are appended with a dot.
typedef struct {
    const char *word, *position, *type, *embedding_norm, *projection, *relative_bias, *final_norm;
    const char *distances, *distance_norm;
    const char *layer;
    const char *qkv; // one tensor in place of the next three
    const char *query, *key, *value, *attention_output, *attention_norm;
    const char *cross_query, *cross_key, *cross_value, *cross_output, *cross_norm;
    const char *gate; // gated: a tensor of its own, and `up` the value; NULL: `up` is both
    const char *up, *down, *feed_forward_norm;
    const char *plain_up; // `up` without a gate, where that has another name
} qn_encoder_names;

typedef struct {
    qn_tensor *weight, *bias;
} qn_dense;

typedef struct {
    qn_dense first;                 // query's, or all of qkv's: where the views begin
    qn_tensor qkv_weight, qkv_bias; // views over query, key, value: [3 d, d], [3 d]; a bias may be without data
    qn_tensor query_weight, query_bias, kv_weight, kv_bias; // parts of them: [d, d], [d], [2 d, d], [2 d]
    qn_tensor query_key_weight, query_key_bias;             // views over query and key, which distances have too
    qn_tensor distances;                                    // [2 span, 2 d] of packed weights, kept from batch to batch
    qn_dense gate;                                          // the first of two tensors that `up` is then a view over
    qn_tensor gate_up_weight, gate_up_bias;
    qn_dense attention_output, attention_norm, up, down, feed_forward_norm; // `weight` NULL: no such norm
    // Attention to an encoder's result: the first of two tensors that the view joins, [2 d, d].
    qn_dense cross_query, cross_first, cross_output, cross_norm;
    qn_tensor cross_kv_weight, cross_kv_bias;
} qn_encoder_layer;

typedef struct {
    qn_encoder_config config;
    qn_tensor *word, *position, *type; // [vocabulary, d], [positions, d], [types, d]
    qn_tensor sinusoid;                // in place of `position`, not a parameter
    qn_dense embedding_norm, projection, final_norm;
    qn_attention_bias bias; // weight NULL: none
    qn_tensor alibi;        // its weight where that is no parameter
    int32_t *buckets;       // [2 max_positions - 1], its buckets
    qn_rotary_tables rotary[2];
    qn_tensor *distance_table; // [2 span, d], or NULL
    qn_dense distance_norm;
    int32_t *distance_index;  // see qn_make_distances
    qn_tensor *distance_rows; // of the forward pass that runs: the table, normed
    qn_encoder_layer *layers; // [sets of parameters]: one for each layer, or fewer that several layers share
    qn_compute compute;       // of the packed weights
    size_t frozen; // while recording: 0, or 1 for embeddings that do not train and 1 for each first layer that does not
    struct qn_frozen_cache *cache; // of what these make of texts (frozen.h), somebody else's; or NULL
} qn_encoder;

// What cross-attention reads: an encoder's result [S, d], and where its sequences begin. Sequence i of a decoder's
// batch reads sequence i.
typedef struct {
    qn_tensor *hidden;
    qn_ragged ragged;
} qn_encoded;

// Packed tokens of a batch, on the host: T ids, types and positions (each sequence counts from 0), and where sequences
// begin.
typedef struct {
    size_t tokens;
    const int32_t *ids, *types, *positions;
    qn_ragged ragged;
    const qn_encoded *source; // of a decoder with cross-attention; it must stand until backward
    const int32_t *seen;      // [sequences] how many of each one's first tokens others attend to; NULL: all
    const uint32_t *texts;    // [sequences] numbers of the texts that they are, for the encoder's cache; NULL: unknown
} qn_tokens;

static inline qn_tokens qn_tokens_of(size_t tokens, const int32_t *ids, const int32_t *types, const int32_t *positions,
                                     qn_ragged ragged) {
    return (qn_tokens){.tokens = tokens, .ids = ids, .types = types, .positions = positions, .ragged = ragged};
}

// Adds a dense layer [out, in] or a norm (in 0) "name.weight", "name.bias" to the set.
qn_status qn_dense_add_plain(qn_parameters *set, const char *name, size_t out, size_t in, int layer, bool optional,
                             qn_dense *dense); // without a bias
qn_status qn_dense_add(qn_parameters *set, const char *name, size_t out, size_t in, int layer, bool optional,
                       qn_dense *dense);
// Adds the encoder's parameters to the set; `word` is the table of another one that it shares, or NULL. Call
// qn_encoder_bind once the set's memory is there.
qn_status qn_encoder_add(qn_encoder *encoder, const qn_encoder_config *config, const qn_encoder_names *names,
                         qn_tensor *word, qn_parameters *set);
// A decoder that has the parameters of an encoder which was added, and is not yet bound, and of its own those of its
// attention to a source alone. `config` as the encoder has it, but for what makes it a decoder.
qn_status qn_encoder_add_tied(qn_encoder *decoder, const qn_encoder *encoder, const qn_encoder_config *config,
                              const qn_encoder_names *names, qn_parameters *set);
qn_status qn_encoder_bind(qn_encoder *encoder, const qn_parameters *set); // makes the views and the table of sinusoids
// The products whose weights are packed, as many for each set of parameters, and the width of their inputs.
size_t qn_encoder_products(const qn_encoder_config *config);
size_t qn_encoder_product_width(const qn_encoder_config *config, size_t product);
// Which of them a parameter belongs to (queries, keys and values to one); false: to none.
bool qn_encoder_product_of(const qn_encoder *encoder, const qn_parameters *set, const qn_parameter *p, size_t *product);
// Whether a parameter is computed with in int8: such a weight, or a table of embeddings.
bool qn_encoder_is_quantized(const qn_encoder *encoder, const qn_parameters *set, const qn_parameter *p);

// The exact channels (see qn_exact) of every product, exact [qn_encoder_products], found by a forward pass in float32
// of unpacked weights over `tokens`: the channels k whose largest |x_k| / rms(x) over the rows is at least
// QN_EXACT_RATIO, of these the QN_EXACT_CHANNELS largest.
enum { QN_EXACT_RATIO = 10 };
qn_status qn_encoder_find_exact(qn_context *c, qn_encoder *encoder, const qn_tokens *tokens, qn_exact *exact);
// Packs every product's weight for inference, for int8 with its exact channels (NULL: none); qn_encoder_unpack gives
// that memory back.
qn_status qn_encoder_pack(qn_encoder *encoder, qn_backend *backend, qn_compute compute, const qn_exact *exact);
void qn_encoder_unpack(qn_encoder *encoder, qn_backend *backend);
void qn_encoder_free(qn_encoder *encoder);
// What of it does not train, as `frozen` counts, by its parameters.
size_t qn_encoder_frozen_depth(qn_encoder *encoder);
// Puts what a model from scratch begins with in place of random values: sinusoids where the configuration wants them.
void qn_encoder_initialize(qn_encoder *encoder);
// What decoding keeps of a batch's sequences: their keys and values in all layers. Each sequence has memory of its own,
// or, in a beam search, each token, so that sequences share those that they have in common.
typedef struct qn_kv_cache {
    const int32_t *lengths; // [n] tokens that are there
    const size_t *capacity; // [n] tokens that there is room for
    float *const *memory;   // [n] device memory of qn_encoder_cache_floats(capacity) floats each
    // In place of these two: of each sequence, which has one new token, the memory of its tokens, that of the new one
    // last; qn_encoder_token_floats each.
    float *const *const *tokens;
    // Of a decoder with cross-attention: the keys and values of the sources that qn_encoder_keep_source has put there,
    // and which of the batch's rows are written from each.
    const struct qn_kv_cache *source;
    qn_ragged source_rows;
} qn_kv_cache;
size_t qn_encoder_cache_floats(const qn_encoder *encoder, const qn_backend *backend, size_t capacity);
size_t qn_encoder_token_floats(const qn_encoder *encoder);

// Rows of T that somebody reads, ascending. `index` NULL: all.
typedef struct {
    size_t count;
    const int32_t *index;
} qn_rows_read;

// The last layer's hidden states [T, d], or [rows, d] of those that are read: the last layer then computes no others,
// which for a head on few rows saves most of that layer. A sequence longer than max_positions is an error.
qn_tensor *qn_encoder_forward(qn_context *c, qn_encoder *encoder, const qn_tokens *tokens);
qn_tensor *qn_encoder_forward_rows(qn_context *c, qn_encoder *encoder, const qn_tokens *tokens, qn_rows_read rows);
// The same of a packed causal encoder, for the tokens that follow what the cache holds; their keys and values go into
// it (the caller then counts them in `lengths`). Positions go on from there.
qn_tensor *qn_encoder_forward_cached(qn_context *c, qn_encoder *encoder, const qn_tokens *tokens,
                                     const qn_kv_cache *cache, qn_rows_read rows);
// Puts the keys and values of an encoder's result into the empty caches of its sequences, for all layers of a packed
// decoder.
void qn_encoder_keep_source(qn_context *c, qn_encoder *decoder, const qn_encoded *source, const qn_kv_cache *cache);
