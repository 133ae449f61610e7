// A model: an encoder, or an encoder and a decoder that reads it, with heads, its parameters and its configuration,
// from a Hugging Face folder or from scratch.
#pragma once
#include "base/json.h"
#include "formats/model_folder.h"
#include "formats/weights.h"
#include "nn/encoder.h"

enum {
    QN_HEAD_POOLER = 1,        // f(W h_first + b): tanh, or as the family's classifier has it
    QN_HEAD_CLASSIFIER = 2,    // on the pooled vector: classes, labels or numbers
    QN_HEAD_LM = 4,     // scores over the vocabulary: of a masked word, or in a decoder of the next one
    QN_HEAD_NEXT_SENTENCE = 8, // on the pooled vector: 0 follows, 1 does not
    QN_HEAD_TAGGER = 16,       // on each token: tags
    QN_HEAD_SPAN = 32,         // on each token: whether an answer begins there, and whether it ends there
    QN_HEAD_DISCRIMINATOR = 64, // on each token: whether it was put in another one's place
};

typedef enum { QN_PROBLEM_SINGLE_LABEL, QN_PROBLEM_MULTI_LABEL, QN_PROBLEM_REGRESSION } qn_problem;

// What config.json calls things, where families differ.
typedef struct {
    const char *hidden, *layers, *heads, *intermediate, *activation;
    const char *hidden_dropout, *attention_dropout, *classifier_dropout;
    const char *positions, *norm_eps;          // NULL: max_position_embeddings, layer_norm_eps
    const char *tagger_dropout, *span_dropout; // NULL: the classifier's, and none
    const char *key_heads;                     // NULL: as many as heads
    const char *head_width;                    // NULL: head_dim, and hidden / heads in encoders
    const char *inner_dropout;                 // of a feed-forward network's inside where it has its own
    const char *initializer;                   // NULL: initializer_range
    const char *feed_forward; // "gated-gelu": whether it is gated, and the activation, in place of the key for that
    const char *decoder_layers, *decoder_heads, *decoder_intermediate; // NULL: as the encoder's
} qn_config_keys;

// What makes a family: names and the places where its configuration differs. One entry in the table of families.c.
typedef struct {
    const char *model_type, *prefix; // "bert", "bert."
    const qn_config_keys *keys;
    const qn_config_keys *older_keys;           // of a config.json that has this `hidden` instead, or NULL
    qn_encoder_config defaults;                 // of keys that config.json leaves out
    qn_encoder_names names;                     // `type` NULL: no token types whatever the file says
    const qn_encoder_names *decoder_names;      // of an encoder-decoder, or NULL; `word` is that of a table of its own,
    const char *encoder_word;                   // and this the encoder's, where names.word is not one for both
    const char *pooler;                         // NULL: the base model has none
    const char *classifier_pooler, *classifier; // the pooled vector's layer may be named by the head
    qn_activation classifier_activation;        // of that layer under a classifier; otherwise it is tanh
    bool classifier_drops_first;                // dropout before that layer too
    float classifier_dropout;                   // where config.json has none; negative: as the hidden dropout
    const char *classifier_norm;                // after that layer, or NULL
    const char *transform, *transform_norm;     // of the masked-LM head; NULL: it reads the hidden states
    const char *decoder_bias, *next_sentence;
    const char *decoder,
        *decoder_own_bias; // of masked LM where its weight is not the word table; NULL: as decoder_bias
    const char *class_base, *class_masked_lm, *class_pretraining, *class_classifier; // "architectures"
    const char *class_text_decoder;                 // of a decoder that reads a text's vector (text_decoder.h); NULL: none in transformers
    const char *class_tagger, *class_span;       // NULL: no such head
    const char *span;                            // NULL: "qa_outputs"
    bool token_layer;                            // heads on tokens, too, read the classifier's own layer
    const char *discriminator, *class_discriminator; // names of its two layers follow `discriminator`; NULL: none
    bool pre_norm;
    bool positions_after_padding; // positions count from pad_token_id + 1, and the table has as many rows more
    bool pads_with_one;           // ... whatever pad_token_id says
    bool transform_gelu;          // the masked-LM head uses GELU whatever hidden_act is
    bool narrow_embeddings;       // embedding_size, and a product where it differs from hidden_size
    bool always_projects;         // ... or always
    bool shares_layers;           // num_hidden_groups, inner_group_num
    bool disentangled;            // relative_attention and what belongs to it
    bool alibi;                   // the entry of a model_type for "position_embedding_type": "alibi"
    bool fixed_buckets;           // of biases by distance, 32 whatever more rows their table has
    bool untied;                  // "tie_word_embeddings" is false if absent
    bool transposed;              // layers' weights are [in, out] in files
    int pad, start;               // pad_token_id and decoder_start_token_id if absent; start 0: the padding
    bool wraps;                   // a target begins with its last token, which is its language's
    bool bias_is_constant;        // the output projection's bias, [1, V], does not train, and is zeros if absent
    bool scales_tied;             // an output projection that is the word table reads its input times hidden^(-1/2)
    bool optional_biases;         // attention_bias, mlp_bias, norm_bias, classifier_bias, decoder_bias: false if absent
} qn_family;

const qn_family *qn_family_find(const char *model_type, bool alibi); // NULL when unknown
const char *qn_family_list(void);                                    // the known ones, for messages

typedef struct {
    const qn_family *family;
    json_t *json; // config.json as it was read, updated by save
    char *source; // the file it came from, for messages
    qn_encoder_config encoder, decoder;
    bool encoder_decoder; // whether there is a decoder
    bool own_words;       // and its tokens have a table of their own
    bool text_decoder;    // there is a decoder that reads a text's vector alone (text_decoder.h)
    bool decoder_tied;    // whose parameters are the encoder's
    bool variational;     // and whose vectors are drawn in training
    int pad_id;
    int start_id;      // that a decoder's inputs begin with; -1: with the last of their tokens
    float logit_scale; // of what the output projection reads
    unsigned heads;    // as "architectures" says
    float classifier_dropout, tagger_dropout, span_dropout;
    qn_activation head_activation;  // of the classifier's own layer
    bool classifier_mean;           // it reads the mean of a text's vectors, not the first
    bool plain_head, plain_decoder; // without biases
    bool untied;                    // the masked-LM head has a weight of its own
    qn_exact *exact;                // [qn_model_products] of a folder in int8 (quantized.c); NULL: none
    size_t labels;
    char **label_names; // [labels]
    qn_problem problem;
    bool reranks;   // "sentence_transformers" says that the one output scores a pair, as of a cross-encoder
    bool raw_score; // ... and that it is used as it is, without a sigmoid
} qn_model_config;

// Reads a folder's config.json, the file itself, or what a GGUF file says. Every value is checked; errors name file and
// key.
qn_status qn_model_config_read(const char *path, qn_model_config *out);
qn_status qn_model_config_parse(const char *text, size_t size, const char *source, qn_model_config *out);
void qn_model_config_free(qn_model_config *config);
// All layers, of which a decoder's follow the encoder's in the depth of parameters; heads are deeper.
static inline bool qn_model_has_decoder(const qn_model_config *config) {
    return config->encoder_decoder || config->text_decoder;
}
static inline int qn_model_layers(const qn_model_config *config) {
    bool more = qn_model_has_decoder(config) && !config->decoder_tied;
    return (int)(config->encoder.layers + (more ? config->decoder.layers : 0));
}
// Puts one probability in place of all of the configuration's dropouts.
void qn_model_config_set_dropout(qn_model_config *config, float p);
// Replaces the labels (copied) and the problem; names NULL: LABEL_0, LABEL_1, ...
qn_status qn_model_config_set_labels(qn_model_config *config, qn_problem problem, size_t labels,
                                     const char *const *names);
// Writes config.json into the folder.
qn_status qn_model_config_write(qn_model_config *config, unsigned heads, const char *folder);

typedef struct qn_lora qn_lora; // lora.h
typedef struct qn_text_decoder qn_text_decoder; // text_decoder.h
struct qn_stored;              // gguf_model.h

// What is written of a network's adapters beside their factors.
typedef struct {
    int64_t rank;
    double alpha, dropout;
    bool rank_stabilized;
    char *base; // the folder of the model that they are for
} qn_lora_summary;

typedef struct {
    qn_model_config config;
    unsigned heads;
    qn_parameters parameters;
    qn_encoder encoder;
    qn_encoder decoder_stack; // of an encoder-decoder, or of texts' vectors
    qn_dense log_variance;    // of a text's vector where it is drawn in training (text_decoder.h)
    qn_dense unfold;          // between such a vector and that decoder, where it has another width than tokens'
    qn_dense pooler, pooler_norm, classifier, transform, transform_norm, next_sentence, tagger, span;
    qn_dense discriminator, replaced; // its layer, and its output
    qn_tensor *decoder;      // the output projection [V, width], NULL: the word table
    qn_tensor *decoder_bias; // or NULL
    qn_sbert sentence;         // how a text's vector is made (sentence.h); the defaults where nobody said
    qn_dense *sentence_layers; // [sentence_layer_count] its dense layers
    size_t sentence_layer_count;
    qn_weights *weights;     // kept open while tensors point into the file
    struct qn_stored *stored; // of a GGUF file's weights that stay in its blocks
    size_t fresh;            // parameters of heads that the file did not have
    qn_adapter *adapters;    // [adapter_count] of weights, in training
    size_t adapter_count;
    qn_lora_summary lora;
} qn_network;

typedef struct {
    unsigned heads; // wanted
    bool trainable; // own memory for all values, and gradients and moments
    uint64_t seed;  // of fresh parameters
    bool by_rows;   // the word table's gradient has the rows in use alone (qn_optimizer_use), unless it is tied
    int frozen;     // this many depths stay as they are: 0 none, 1 the embeddings, 1 + N the first N layers too
    qn_lora *lora;  // adapters, to be trained or, for inference, put into the weights; NULL: none
    bool stored;    // inference from a GGUF file: what products can compute in the file's blocks has no other form
    qn_sbert *sentence; // moves into the network, also on failure; NULL: the defaults
    const qn_text_decoder *text_decoder; // there shall be one; NULL: none
} qn_network_options;

// A network of `config` (which moves into it, also on failure) with random parameters.
qn_status qn_network_create(qn_model_config *config, const qn_network_options *options, qn_network **out);
// The same with the weights of `folder`, or of a GGUF file. A head that the file lacks, or whose number of labels differs, starts fresh
// when trainable and is an error otherwise.
qn_status qn_network_load(qn_model_config *config, const char *folder, const qn_network_options *options,
                          qn_network **out);
void qn_network_free(qn_network *network);
// The prefix under which the network is saved, and a parameter's name in a file: with the prefix for what belongs to
// the base model.
enum { QN_NAME_SIZE = 320 };
const char *qn_network_prefix(const qn_network *network);
const char *qn_network_file_name(const qn_network *network, const qn_parameter *p, const char *prefix, char *name);
// For modules of the network: the language model's head, and a tensor of the weights that are being read; an old name of a
// norm is replaced.
qn_status qn_network_add_language_head(qn_network *network, size_t width, int layer);
const qn_st_tensor *qn_network_find(const qn_network *network, char *name);
// Writes config.json and the weights, or with adapters in training only those and the heads (atomic, each); and the
// files of sentence-transformers and of a decoder of texts, where the network has them.
qn_status qn_network_save(qn_network *network, const char *folder);
// Reads what a folder written by qn_network_save has of the parameters that train.
qn_status qn_network_read_trained(qn_network *network, const char *folder);

// --- Folders in int8 (quantized.c)
qn_status qn_quantization_read(qn_model_config *config); // config->exact, from the section of config.json
// Whether a tensor in bytes is all that the parameter needs, and its values as float32.
qn_status qn_quantized_check(const qn_network *network, const qn_parameter *p, const char *name);
qn_status qn_quantized_read(const qn_network *network, const qn_parameter *p, const char *name, float *values);
// The products of all stacks (see qn_encoder_products), the encoder's first.
size_t qn_model_products(const qn_model_config *config);
// Writes config.json and the weights, as qn_network_save. exact [qn_model_products].
qn_status qn_quantized_write(qn_network *network, const qn_exact *exact, const char *folder);

// --- Forward. Hidden states [T, d] come from qn_encoder_forward.
qn_tensor *qn_network_pooled(qn_context *c, qn_network *network, qn_tensor *hidden, qn_ragged batch); // [n, d]
qn_tensor *qn_network_classify(qn_context *c, qn_network *network, qn_tensor *hidden,
                               qn_ragged batch); // logits [n, labels]
// The same from tokens; the encoder's last layer computes only the rows that the head reads. And what the classifier's
// last product reads, without its dropout: [n, d]
qn_tensor *qn_network_classify_tokens(qn_context *c, qn_network *network, const qn_tokens *tokens);
qn_tensor *qn_network_class_values(qn_context *c, qn_network *network, const qn_tokens *tokens);
// The stack whose hidden states the output projection reads: the decoder where there is one.
static inline qn_encoder *qn_network_last_stack(qn_network *n) {
    return qn_model_has_decoder(&n->config) ? &n->decoder_stack : &n->encoder;
}
// index NULL: `hidden` holds the rows already.
qn_tensor *qn_network_masked_lm(qn_context *c, qn_network *network, qn_tensor *hidden, size_t rows,
                                const int32_t *index); // [rows, V]
// An encoder-decoder's hidden states [T, d] of its target's tokens, which the source's are read for: sequence i of the
// one belongs to sequence i of the other. `rows` of the target, as in qn_encoder_forward_rows.
qn_tensor *qn_network_translate(qn_context *c, qn_network *network, const qn_tokens *source, const qn_tokens *target,
                                qn_rows_read rows);
// The decoder's inputs [T] of a batch whose labels are `labels` [T], each sequence shifted right by one; a label that
// is negative (ignored) is padding there.
void qn_network_shift(const qn_network *network, qn_ragged batch, const int32_t *labels, int32_t *ids);
qn_tensor *qn_network_lexical(qn_context *c, qn_network *network, qn_tensor *hidden, qn_ragged batch); // [n, V], see qn_lexical
qn_tensor *qn_network_next_sentence(qn_context *c, qn_network *network, qn_tensor *hidden, qn_ragged batch); // [n, 2]
qn_tensor *qn_network_tag(qn_context *c, qn_network *network, qn_tensor *hidden);    // logits [rows, labels]
qn_tensor *qn_network_answer(qn_context *c, qn_network *network, qn_tensor *hidden); // logits [rows, 2]: start, end
qn_tensor *qn_network_discriminate(qn_context *c, qn_network *network, qn_tensor *hidden); // logits [rows, 1]
