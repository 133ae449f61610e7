// The families: a table of names each, and where their configurations differ.
#include "models/network.h"
#include <string.h>

static const qn_config_keys bert_keys = {.hidden = "hidden_size",
                                         .layers = "num_hidden_layers",
                                         .heads = "num_attention_heads",
                                         .intermediate = "intermediate_size",
                                         .activation = "hidden_act",
                                         .hidden_dropout = "hidden_dropout_prob",
                                         .attention_dropout = "attention_probs_dropout_prob",
                                         .classifier_dropout = "classifier_dropout"};

static const qn_config_keys distilbert_keys = {.hidden = "dim",
                                               .layers = "n_layers",
                                               .heads = "n_heads",
                                               .intermediate = "hidden_dim",
                                               .activation = "activation",
                                               .hidden_dropout = "dropout",
                                               .attention_dropout = "attention_dropout",
                                               .classifier_dropout = "seq_classif_dropout",
                                               .tagger_dropout = "dropout",
                                               .span_dropout = "qa_dropout"};

static const qn_config_keys albert_keys = {.hidden = "hidden_size",
                                           .layers = "num_hidden_layers",
                                           .heads = "num_attention_heads",
                                           .intermediate = "intermediate_size",
                                           .activation = "hidden_act",
                                           .hidden_dropout = "hidden_dropout_prob",
                                           .attention_dropout = "attention_probs_dropout_prob",
                                           .classifier_dropout = "classifier_dropout_prob"};

static const qn_config_keys modernbert_keys = {.hidden = "hidden_size",
                                               .layers = "num_hidden_layers",
                                               .heads = "num_attention_heads",
                                               .intermediate = "intermediate_size",
                                               .activation = "hidden_activation",
                                               .hidden_dropout = "mlp_dropout",
                                               .attention_dropout = "attention_dropout",
                                               .classifier_dropout = "classifier_dropout",
                                               .span_dropout = "classifier_dropout",
                                               .norm_eps = "norm_eps"};

static const qn_config_keys nomic_keys = {.hidden = "n_embd",
                                          .layers = "n_layer",
                                          .heads = "n_head",
                                          .intermediate = "n_inner",
                                          .activation = "activation_function",
                                          .hidden_dropout = "resid_pdrop",
                                          .attention_dropout = "attn_pdrop",
                                          .classifier_dropout = "classifier_dropout",
                                          .positions = "n_positions",
                                          .norm_eps = "layer_norm_epsilon"};

static const qn_config_keys deberta_keys = {.hidden = "hidden_size",
                                            .layers = "num_hidden_layers",
                                            .heads = "num_attention_heads",
                                            .intermediate = "intermediate_size",
                                            .activation = "hidden_act",
                                            .hidden_dropout = "hidden_dropout_prob",
                                            .attention_dropout = "attention_probs_dropout_prob",
                                            .classifier_dropout = "cls_dropout",
                                            .tagger_dropout = "hidden_dropout_prob"};

static const qn_config_keys llama_keys = {.hidden = "hidden_size",
                                          .layers = "num_hidden_layers",
                                          .heads = "num_attention_heads",
                                          .key_heads = "num_key_value_heads",
                                          .intermediate = "intermediate_size",
                                          .activation = "hidden_act",
                                          .attention_dropout = "attention_dropout",
                                          .norm_eps = "rms_norm_eps"};

static const qn_config_keys gpt2_keys = {.hidden = "n_embd",
                                         .layers = "n_layer",
                                         .heads = "n_head",
                                         .intermediate = "n_inner",
                                         .activation = "activation_function",
                                         .hidden_dropout = "resid_pdrop",
                                         .attention_dropout = "attn_pdrop",
                                         .positions = "n_positions",
                                         .norm_eps = "layer_norm_epsilon"};

static const qn_config_keys bart_keys = {.hidden = "d_model",
                                         .layers = "encoder_layers",
                                         .heads = "encoder_attention_heads",
                                         .intermediate = "encoder_ffn_dim",
                                         .activation = "activation_function",
                                         .hidden_dropout = "dropout",
                                         .attention_dropout = "attention_dropout",
                                         .inner_dropout = "activation_dropout",
                                         .initializer = "init_std",
                                         .decoder_layers = "decoder_layers",
                                         .decoder_heads = "decoder_attention_heads",
                                         .decoder_intermediate = "decoder_ffn_dim"};

static const qn_config_keys t5_keys = {.hidden = "d_model",
                                       .layers = "num_layers",
                                       .heads = "num_heads",
                                       .head_width = "d_kv",
                                       .intermediate = "d_ff",
                                       .feed_forward = "feed_forward_proj",
                                       .hidden_dropout = "dropout_rate",
                                       .attention_dropout = "dropout_rate",
                                       .positions = "n_positions",
                                       .norm_eps = "layer_norm_epsilon",
                                       .decoder_layers = "num_decoder_layers"};

#define DEFAULTS(activation_, types_, embedding_, dropout_)                                                            \
    {                                                                                                                  \
        .max_positions = 512, .types = types_, .embedding = embedding_, .norm_eps = 1e-12f,                            \
        .hidden_dropout = dropout_, .attention_dropout = dropout_, .initializer_range = 0.02,                          \
        .activation = QN_ACTIVATION_##activation_                                                                      \
    }
#define BERT_LAYER                                                                                                     \
    .layer = "encoder.layer.%zu.", .query = "attention.self.query", .key = "attention.self.key",                       \
    .value = "attention.self.value", .attention_output = "attention.output.dense", .up = "intermediate.dense",         \
    .down = "output.dense"
#define BERT_NORMS .attention_norm = "attention.output.LayerNorm", .feed_forward_norm = "output.LayerNorm"
#define BERT_EMBEDDINGS                                                                                                \
    .word = "embeddings.word_embeddings.weight", .position = "embeddings.position_embeddings.weight",                  \
    .type = "embeddings.token_type_embeddings.weight", .embedding_norm = "embeddings.LayerNorm"
#define ROBERTA_HEADS                                                                                                  \
    .pooler = "pooler.dense", .classifier_pooler = "classifier.dense", .classifier = "classifier.out_proj",            \
    .classifier_activation = QN_ACTIVATION_TANH, .classifier_drops_first = true, .classifier_dropout = -1,             \
    .transform = "lm_head.dense", .transform_norm = "lm_head.layer_norm", .decoder_bias = "lm_head.bias",              \
    .decoder = "lm_head.decoder.weight", .decoder_own_bias = "lm_head.decoder.bias", .transform_gelu = true
#define BERT_HEADS                                                                                                     \
    .pooler = "pooler.dense", .classifier_pooler = "pooler.dense", .classifier = "classifier",                         \
    .classifier_activation = QN_ACTIVATION_TANH, .classifier_dropout = -1,                                             \
    .transform = "cls.predictions.transform.dense", .decoder_bias = "cls.predictions.bias",                            \
    .decoder = "cls.predictions.decoder.weight", .decoder_own_bias = "cls.predictions.decoder.bias"
// Zhang et al. 2024 (mGTE): rotary positions, a gated feed-forward. "new" is its older name.
#define GTE(type_, class_)                                                                                             \
    {                                                                                                                  \
        .model_type = type_, .prefix = type_ ".", .keys = &bert_keys,                                                  \
        .defaults = {.max_positions = 8192,                                                                            \
                     .types = 1,                                                                                       \
                     .norm_eps = 1e-12f,                                                                               \
                     .hidden_dropout = 0.1f,                                                                           \
                     .initializer_range = 0.02,                                                                        \
                     .activation = QN_ACTIVATION_GELU,                                                                 \
                     .positions = QN_POSITIONS_ROTARY,                                                                 \
                     .rotary = {{.theta = 160000}},                                                                    \
                     .gated = true,                                                                                    \
                     .gate_last = true,                                                                                \
                     .plain = QN_PLAIN_UP,                                                                             \
                     .drops = QN_DROPS_BOTH},                                                                          \
        .names = {.word = "embeddings.word_embeddings.weight",                                                         \
                  .type = "embeddings.token_type_embeddings.weight",                                                   \
                  .embedding_norm = "embeddings.LayerNorm",                                                            \
                  .layer = "encoder.layer.%zu.",                                                                       \
                  .qkv = "attention.qkv_proj",                                                                         \
                  .attention_output = "attention.o_proj",                                                              \
                  .attention_norm = "attn_ln",                                                                         \
                  .up = "mlp.up_gate_proj",                                                                            \
                  .down = "mlp.down_proj",                                                                             \
                  .feed_forward_norm = "mlp_ln"},                                                                      \
        .pooler = "pooler.dense", .classifier_pooler = "pooler.dense", .classifier = "classifier",                     \
        .classifier_activation = QN_ACTIVATION_TANH, .classifier_dropout = -1, .transform = "lm_head.dense",           \
        .transform_norm = "lm_head.norm", .decoder_bias = "lm_head.decoder.bias", .decoder = "lm_head.decoder.weight", \
        .class_base = class_ "Model", .class_masked_lm = class_ "ForMaskedLM",                                         \
        .class_classifier = class_ "ForSequenceClassification", .class_tagger = class_ "ForTokenClassification",       \
        .transform_gelu = true                                                                                         \
    }
// Liu et al. 2019 (RoBERTa), Conneau et al. 2020 (XLM-RoBERTa), Martin et al. 2020 (CamemBERT): one model, three names.
#define ROBERTA(type_, class_)                                                                                         \
    {                                                                                                                  \
        .model_type = type_, .prefix = "roberta.", .keys = &bert_keys, .defaults = DEFAULTS(GELU, 2, 0, 0.1f),         \
        .names = {BERT_EMBEDDINGS, BERT_LAYER, BERT_NORMS}, ROBERTA_HEADS, .class_base = class_ "Model",               \
        .class_masked_lm = class_ "ForMaskedLM", .class_classifier = class_ "ForSequenceClassification",               \
        .class_tagger = class_ "ForTokenClassification", .class_span = class_ "ForQuestionAnswering",                  \
        .class_text_decoder = class_ "ForCausalLM", .positions_after_padding = true                                       \
    }

// Touvron et al. 2023 (Llama), Jiang et al. 2023 (Mistral), Yang et al. 2024 (Qwen2): one decoder. `plain_` are the
// parts without a bias.
#define LLAMA(type_, class_, plain_, ...)                                                                              \
    {                                                                                                                  \
        .model_type = type_, .prefix = "model.", .keys = &llama_keys,                                                  \
        .defaults = {.max_positions = 2048,                                                                            \
                     .norm_eps = 1e-6f,                                                                                \
                     .initializer_range = 0.02,                                                                        \
                     .activation = QN_ACTIVATION_SILU,                                                                 \
                     .positions = QN_POSITIONS_ROTARY,                                                                 \
                     .rotary = {{.theta = 10000}},                                                                     \
                     .plain = plain_,                                                                                  \
                     .gated = true,                                                                                    \
                     .rms = true,                                                                                      \
                     .causal = true},                                                                                  \
        .names = {.word = "embed_tokens.weight",                                                                       \
                  .final_norm = "norm",                                                                                \
                  .layer = "layers.%zu.",                                                                              \
                  .query = "self_attn.q_proj",                                                                         \
                  .key = "self_attn.k_proj",                                                                           \
                  .value = "self_attn.v_proj",                                                                         \
                  .attention_output = "self_attn.o_proj",                                                              \
                  .attention_norm = "input_layernorm",                                                                 \
                  .gate = "mlp.gate_proj",                                                                             \
                  .up = "mlp.up_proj",                                                                                 \
                  .down = "mlp.down_proj",                                                                             \
                  .feed_forward_norm = "post_attention_layernorm"},                                                    \
        .decoder = "lm_head.weight", .class_base = class_ "Model", .class_masked_lm = class_ "ForCausalLM",            \
        .pre_norm = true, .untied = true, __VA_ARGS__                                                                  \
    }
// Junczys-Dowmunt et al. 2018 (Marian), Lewis et al. 2020 (BART), Liu et al. 2020 (mBART): the transformer of Vaswani et
// al. 2017, with learned positions and a norm of the embeddings in the last two, and pre-norm in the last.
#define BART_LAYER                                                                                                     \
    .query = "self_attn.q_proj", .key = "self_attn.k_proj", .value = "self_attn.v_proj",                               \
    .attention_output = "self_attn.out_proj", .attention_norm = "self_attn_layer_norm", .up = "fc1", .down = "fc2",    \
    .feed_forward_norm = "final_layer_norm"
#define BART_CROSS                                                                                                     \
    .cross_query = "encoder_attn.q_proj", .cross_key = "encoder_attn.k_proj", .cross_value = "encoder_attn.v_proj",    \
    .cross_output = "encoder_attn.out_proj", .cross_norm = "encoder_attn_layer_norm"
#define BART(type_, class_, lm_class_, ...)                                                                            \
    {                                                                                                                  \
        .model_type = type_, .prefix = "model.", .keys = &bart_keys, .decoder = "lm_head.weight",                      \
        .decoder_bias = "final_logits_bias", .class_base = class_ "Model", .class_masked_lm = lm_class_,               \
        .bias_is_constant = true, __VA_ARGS__                                                                          \
    }
#define BART_DEFAULTS                                                                                                  \
    .max_positions = 1024, .norm_eps = 1e-5f, .hidden_dropout = 0.1f, .initializer_range = 0.02,                       \
    .activation = QN_ACTIVATION_GELU, .fixed_padding = true
#define BART_NAMES(stack_)                                                                                             \
    .position = stack_ ".embed_positions.weight", .embedding_norm = stack_ ".layernorm_embedding",                     \
    .layer = stack_ ".layers.%zu.", BART_LAYER
static const qn_encoder_names marian_decoder = {
    .word = "decoder.embed_tokens.weight", .layer = "decoder.layers.%zu.", BART_LAYER, BART_CROSS};
static const qn_encoder_names bart_decoder = {BART_NAMES("decoder"), BART_CROSS};
static const qn_encoder_names mbart_decoder = {BART_NAMES("decoder"), BART_CROSS, .final_norm = "decoder.layer_norm"};

// Raffel et al. 2020: a bias by distance in place of positions, scores that are not scaled, and no biases of products.
#define T5_LAYER(feed_forward_)                                                                                        \
    .query = "layer.0.SelfAttention.q", .key = "layer.0.SelfAttention.k", .value = "layer.0.SelfAttention.v",          \
    .attention_output = "layer.0.SelfAttention.o", .attention_norm = "layer.0.layer_norm",                             \
    .plain_up = feed_forward_ ".DenseReluDense.wi", .gate = feed_forward_ ".DenseReluDense.wi_0",                      \
    .up = feed_forward_ ".DenseReluDense.wi_1", .down = feed_forward_ ".DenseReluDense.wo",                            \
    .feed_forward_norm = feed_forward_ ".layer_norm"
static const qn_encoder_names t5_decoder = {
    .relative_bias = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    .layer = "decoder.block.%zu.",
    T5_LAYER("layer.2"),
    .cross_query = "layer.1.EncDecAttention.q",
    .cross_key = "layer.1.EncDecAttention.k",
    .cross_value = "layer.1.EncDecAttention.v",
    .cross_output = "layer.1.EncDecAttention.o",
    .cross_norm = "layer.1.layer_norm",
    .final_norm = "decoder.final_layer_norm"};

#define ALL_PLAIN (QN_PLAIN_NORMS | QN_PLAIN_QKV | QN_PLAIN_ATTENTION_OUTPUT | QN_PLAIN_UP | QN_PLAIN_DOWN)

static const qn_family families[] = {
    // Devlin et al. 2019. "norm_position": "pre" in config.json is our own: the same names, norms before the sublayers,
    // a last one after.
    {.model_type = "bert",
     .prefix = "bert.",
     .keys = &bert_keys,
     .defaults = DEFAULTS(GELU, 2, 0, 0.1f),
     .names = {BERT_EMBEDDINGS, BERT_LAYER, BERT_NORMS, .final_norm = "encoder.LayerNorm"},
     BERT_HEADS,
     .transform_norm = "cls.predictions.transform.LayerNorm",
     .next_sentence = "cls.seq_relationship",
     .class_base = "BertModel",
     .class_masked_lm = "BertForMaskedLM",
     .class_pretraining = "BertForPreTraining",
     .class_text_decoder = "BertLMHeadModel",
     .class_classifier = "BertForSequenceClassification",
     .class_tagger = "BertForTokenClassification",
     .class_span = "BertForQuestionAnswering"},
    ROBERTA("roberta", "Roberta"),
    ROBERTA("xlm-roberta", "XLMRoberta"),
    ROBERTA("camembert", "Camembert"),
    // RoBERTa with norms before the sublayers (fairseq's efficient_mlm; transformers' RobertaPreLayerNorm).
    {.model_type = "roberta-prelayernorm",
     .prefix = "roberta_prelayernorm.",
     .keys = &bert_keys,
     .defaults = DEFAULTS(GELU, 2, 0, 0.1f),
     .names = {BERT_EMBEDDINGS, BERT_LAYER, .attention_norm = "attention.LayerNorm",
               .cross_norm = "crossattention.LayerNorm",
               .feed_forward_norm = "intermediate.LayerNorm", .final_norm = "LayerNorm"},
     ROBERTA_HEADS,
     .class_base = "RobertaPreLayerNormModel",
     .class_masked_lm = "RobertaPreLayerNormForMaskedLM",
     .class_text_decoder = "RobertaPreLayerNormForCausalLM",
     .class_classifier = "RobertaPreLayerNormForSequenceClassification",
     .class_tagger = "RobertaPreLayerNormForTokenClassification",
     .class_span = "RobertaPreLayerNormForQuestionAnswering",
     .pre_norm = true,
     .positions_after_padding = true},
    // Sanh et al. 2019. No token types, no pooler; the classifier's own layer is ReLU. Its epsilon of norms is fixed.
    {.model_type = "distilbert",
     .prefix = "distilbert.",
     .keys = &distilbert_keys,
     .defaults = DEFAULTS(GELU, 0, 0, 0.1f),
     .names = {.word = "embeddings.word_embeddings.weight",
               .position = "embeddings.position_embeddings.weight",
               .embedding_norm = "embeddings.LayerNorm",
               .layer = "transformer.layer.%zu.",
               .query = "attention.q_lin",
               .key = "attention.k_lin",
               .value = "attention.v_lin",
               .attention_output = "attention.out_lin",
               .attention_norm = "sa_layer_norm",
               .up = "ffn.lin1",
               .down = "ffn.lin2",
               .feed_forward_norm = "output_layer_norm"},
     .classifier_pooler = "pre_classifier",
     .classifier = "classifier",
     .classifier_activation = QN_ACTIVATION_RELU,
     .classifier_dropout = 0.2f,
     .transform = "vocab_transform",
     .transform_norm = "vocab_layer_norm",
     .decoder_bias = "vocab_projector.bias",
     .decoder = "vocab_projector.weight",
     .class_base = "DistilBertModel",
     .class_masked_lm = "DistilBertForMaskedLM",
     .class_classifier = "DistilBertForSequenceClassification",
     .class_tagger = "DistilBertForTokenClassification",
     .class_span = "DistilBertForQuestionAnswering"},
    // Clark et al. 2020. Generators have the masked-LM head, discriminators one on each token.
    {.model_type = "electra",
     .prefix = "electra.",
     .keys = &bert_keys,
     .defaults = DEFAULTS(GELU, 2, 128, 0.1f),
     .names = {BERT_EMBEDDINGS, BERT_LAYER, BERT_NORMS, .projection = "embeddings_project"},
     .classifier_pooler = "classifier.dense",
     .classifier = "classifier.out_proj",
     .classifier_activation = QN_ACTIVATION_GELU,
     .classifier_drops_first = true,
     .classifier_dropout = -1,
     .transform = "generator_predictions.dense",
     .transform_norm = "generator_predictions.LayerNorm",
     .decoder_bias = "generator_lm_head.bias",
     .decoder = "generator_lm_head.weight",
     .class_base = "ElectraModel",
     .class_masked_lm = "ElectraForMaskedLM",
     .class_text_decoder = "ElectraForCausalLM",
     .class_classifier = "ElectraForSequenceClassification",
     .class_tagger = "ElectraForTokenClassification",
     .class_span = "ElectraForQuestionAnswering",
     .discriminator = "discriminator_predictions.",
     .class_discriminator = "ElectraForPreTraining",
     .transform_gelu = true,
     .narrow_embeddings = true},
    // Lan et al. 2020. One set of parameters for all layers, or one for each of some groups.
    {.model_type = "albert",
     .prefix = "albert.",
     .keys = &albert_keys,
     .defaults = DEFAULTS(GELU_TANH, 2, 128, 0.0f),
     .names = {BERT_EMBEDDINGS, .projection = "encoder.embedding_hidden_mapping_in",
               .layer = "encoder.albert_layer_groups.%zu.albert_layers.%zu.", .query = "attention.query",
               .key = "attention.key", .value = "attention.value", .attention_output = "attention.dense",
               .attention_norm = "attention.LayerNorm", .up = "ffn", .down = "ffn_output",
               .feed_forward_norm = "full_layer_layer_norm"},
     .pooler = "pooler",
     .classifier_pooler = "pooler",
     .classifier = "classifier",
     .classifier_activation = QN_ACTIVATION_TANH,
     .classifier_dropout = 0.1f,
     .transform = "predictions.dense",
     .transform_norm = "predictions.LayerNorm",
     .decoder_bias = "predictions.bias",
     .decoder = "predictions.decoder.weight",
     .decoder_own_bias = "predictions.decoder.bias",
     .next_sentence = "sop_classifier.classifier", // the order of two sentences: 0 as written, 1 swapped
     .class_base = "AlbertModel",
     .class_masked_lm = "AlbertForMaskedLM",
     .class_pretraining = "AlbertForPreTraining",
     .class_classifier = "AlbertForSequenceClassification",
     .class_tagger = "AlbertForTokenClassification",
     .class_span = "AlbertForQuestionAnswering",
     .narrow_embeddings = true,
     .always_projects = true,
     .shares_layers = true},
    // Song et al. 2020. Attention scores have a bias by distance, the same in all layers.
    {.model_type = "mpnet",
     .prefix = "mpnet.",
     .keys = &bert_keys,
     .defaults = DEFAULTS(GELU, 0, 0, 0.1f),
     .names = {.word = "embeddings.word_embeddings.weight",
               .position = "embeddings.position_embeddings.weight",
               .embedding_norm = "embeddings.LayerNorm",
               .relative_bias = "encoder.relative_attention_bias.weight",
               .layer = "encoder.layer.%zu.",
               .query = "attention.attn.q",
               .key = "attention.attn.k",
               .value = "attention.attn.v",
               .attention_output = "attention.attn.o",
               .attention_norm = "attention.LayerNorm",
               .up = "intermediate.dense",
               .down = "output.dense",
               .feed_forward_norm = "output.LayerNorm"},
     ROBERTA_HEADS,
     .class_base = "MPNetModel",
     .class_masked_lm = "MPNetForMaskedLM",
     .class_classifier = "MPNetForSequenceClassification",
     .class_tagger = "MPNetForTokenClassification",
     .class_span = "MPNetForQuestionAnswering",
     .positions_after_padding = true,
     .pads_with_one = true,
     .fixed_buckets = true},
    // He et al. 2021, 2023 (DeBERTa v2 and v3).
    {.model_type = "deberta-v2",
     .prefix = "deberta.",
     .keys = &deberta_keys,
     .defaults = {.max_positions = 512,
                  .norm_eps = 1e-7f,
                  .hidden_dropout = 0.1f,
                  .attention_dropout = 0.1f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_GELU},
     .names = {.word = "embeddings.word_embeddings.weight",
               .position = "embeddings.position_embeddings.weight",
               .type = "embeddings.token_type_embeddings.weight",
               .embedding_norm = "embeddings.LayerNorm",
               .distances = "encoder.rel_embeddings.weight",
               .distance_norm = "encoder.LayerNorm",
               .layer = "encoder.layer.%zu.",
               .query = "attention.self.query_proj",
               .key = "attention.self.key_proj",
               .value = "attention.self.value_proj",
               .attention_output = "attention.output.dense",
               .attention_norm = "attention.output.LayerNorm",
               .up = "intermediate.dense",
               .down = "output.dense",
               .feed_forward_norm = "output.LayerNorm"},
     .classifier_pooler = "pooler.dense",
     .classifier = "classifier",
     .classifier_activation = QN_ACTIVATION_GELU,
     .classifier_dropout = -1,
     .transform = "cls.predictions.transform.dense",
     .transform_norm = "cls.predictions.transform.LayerNorm",
     .decoder_bias = "cls.predictions.bias",
     .decoder = "cls.predictions.decoder.weight",
     .decoder_own_bias = "cls.predictions.decoder.bias",
     .class_base = "DebertaV2Model",
     .class_masked_lm = "DebertaV2ForMaskedLM",
     .class_classifier = "DebertaV2ForSequenceClassification",
     .class_tagger = "DebertaV2ForTokenClassification",
     .class_span = "DebertaV2ForQuestionAnswering",
     .disentangled = true},
    // Warner et al. 2024 (ModernBERT).
    {.model_type = "modernbert",
     .prefix = "model.",
     .keys = &modernbert_keys,
     .defaults = {.max_positions = 8192,
                  .norm_eps = 1e-5f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_GELU,
                  .positions = QN_POSITIONS_ROTARY,
                  .rotary = {{.theta = 160000}, {.theta = 10000}},
                  .window = 64,
                  .gated = true,
                  .unnormed_start = true,
                  .drops = QN_DROPS_INSIDE},
     .names = {.word = "embeddings.tok_embeddings.weight",
               .embedding_norm = "embeddings.norm",
               .final_norm = "final_norm",
               .layer = "layers.%zu.",
               .qkv = "attn.Wqkv",
               .attention_output = "attn.Wo",
               .attention_norm = "attn_norm",
               .up = "mlp.Wi",
               .down = "mlp.Wo",
               .feed_forward_norm = "mlp_norm"},
     .classifier_pooler = "head.dense",
     .classifier_norm = "head.norm",
     .classifier = "classifier",
     .classifier_activation = QN_ACTIVATION_GELU,
     .transform = "head.dense",
     .transform_norm = "head.norm",
     .decoder_bias = "decoder.bias",
     .decoder = "decoder.weight",
     .class_base = "ModernBertModel",
     .class_masked_lm = "ModernBertForMaskedLM",
     .class_classifier = "ModernBertForSequenceClassification",
     .class_tagger = "ModernBertForTokenClassification",
     .class_span = "ModernBertForQuestionAnswering",
     .span = "classifier",
     .token_layer = true,
     .pre_norm = true,
     .optional_biases = true},
    // Nussbaum et al. 2024 (Nomic Embed).
    {.model_type = "nomic_bert",
     .prefix = "nomic_bert.",
     .keys = &bert_keys,
     .older_keys = &nomic_keys,
     .defaults = {.max_positions = 2048,
                  .types = 2,
                  .norm_eps = 1e-12f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_SILU,
                  .positions = QN_POSITIONS_ROTARY,
                  .rotary = {{.theta = 1000}},
                  .gated = true,
                  .plain = QN_PLAIN_QKV | QN_PLAIN_ATTENTION_OUTPUT | QN_PLAIN_UP | QN_PLAIN_DOWN},
     .names = {.word = "embeddings.word_embeddings.weight",
               .type = "embeddings.token_type_embeddings.weight",
               .embedding_norm = "emb_ln",
               .layer = "encoder.layers.%zu.",
               .qkv = "attn.Wqkv",
               .attention_output = "attn.out_proj",
               .attention_norm = "norm1",
               .gate = "mlp.fc12",
               .up = "mlp.fc11",
               .down = "mlp.fc2",
               .feed_forward_norm = "norm2"},
     BERT_HEADS,
     .transform_norm = "cls.predictions.transform.layer_norm",
     .class_base = "NomicBertModel",
     .class_masked_lm = "NomicBertForMaskedLM",
     .class_classifier = "NomicBertForSequenceClassification",
     .class_tagger = "NomicBertForTokenClassification"},
    GTE("gte", "Gte"),
    GTE("new", "New"),
    // Sturua et al. 2024 (jina-embeddings-v3): XLM-RoBERTa with rotary positions.
    {.model_type = "jina_embeddings_v3",
     .prefix = "roberta.",
     .keys = &bert_keys,
     .defaults = {.max_positions = 8194,
                  .types = 1,
                  .norm_eps = 1e-5f,
                  .hidden_dropout = 0.1f,
                  .attention_dropout = 0.1f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_GELU,
                  .positions = QN_POSITIONS_ROTARY,
                  .rotary = {{.theta = 20000}}},
     .names = {.word = "embeddings.word_embeddings.weight",
               .type = "embeddings.token_type_embeddings.weight",
               .embedding_norm = "emb_ln",
               .layer = "encoder.layers.%zu.",
               .qkv = "mixer.Wqkv",
               .attention_output = "mixer.out_proj",
               .attention_norm = "norm1",
               .up = "mlp.fc1",
               .down = "mlp.fc2",
               .feed_forward_norm = "norm2"},
     ROBERTA_HEADS,
     .class_base = "JinaEmbeddingsV3Model",
     .class_masked_lm = "JinaEmbeddingsV3ForMaskedLM",
     .class_classifier = "JinaEmbeddingsV3ForSequenceClassification",
     .class_tagger = "JinaEmbeddingsV3ForTokenClassification",
     .class_span = "JinaEmbeddingsV3ForQuestionAnswering"},
    // Günther et al. 2023 (Jina Embeddings 2): BERT with ALiBi and a gated feed-forward, in files that call it BERT.
    {.model_type = "bert",
     .alibi = true,
     .prefix = "bert.",
     .keys = &bert_keys,
     .defaults = {.max_positions = 8192,
                  .types = 2,
                  .norm_eps = 1e-12f,
                  .hidden_dropout = 0.1f,
                  .attention_dropout = 0.1f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_GELU,
                  .positions = QN_POSITIONS_ALIBI,
                  .gated = true,
                  .plain = QN_PLAIN_UP,
                  .drops = QN_DROPS_INSIDE},
     .names = {.word = "embeddings.word_embeddings.weight",
               .type = "embeddings.token_type_embeddings.weight",
               .embedding_norm = "embeddings.LayerNorm",
               .layer = "encoder.layer.%zu.",
               .query = "attention.self.query",
               .key = "attention.self.key",
               .value = "attention.self.value",
               .attention_output = "attention.output.dense",
               .attention_norm = "attention.output.LayerNorm",
               .up = "mlp.gated_layers",
               .down = "mlp.wo",
               .feed_forward_norm = "mlp.layernorm"},
     BERT_HEADS,
     .transform_norm = "cls.predictions.transform.LayerNorm",
     .class_base = "JinaBertModel",
     .class_masked_lm = "JinaBertForMaskedLM",
     .class_classifier = "JinaBertForSequenceClassification",
     .class_tagger = "JinaBertForTokenClassification",
     .class_span = "JinaBertForQuestionAnswering"},
    LLAMA("llama", "Llama", QN_PLAIN_NORMS, .optional_biases = true),
    LLAMA("mistral", "Mistral", ALL_PLAIN, .optional_biases = false),
    LLAMA("qwen2", "Qwen2", ALL_PLAIN & ~QN_PLAIN_QKV, .optional_biases = false),
    // Radford et al. 2019. Its products are x W, the weights in files therefore transposed.
    {.model_type = "gpt2",
     .prefix = "transformer.",
     .keys = &gpt2_keys,
     .defaults = {.max_positions = 1024,
                  .norm_eps = 1e-5f,
                  .hidden_dropout = 0.1f,
                  .attention_dropout = 0.1f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_GELU_TANH,
                  .causal = true},
     .names = {.word = "wte.weight",
               .position = "wpe.weight",
               .final_norm = "ln_f",
               .layer = "h.%zu.",
               .qkv = "attn.c_attn",
               .attention_output = "attn.c_proj",
               .attention_norm = "ln_1",
               .up = "mlp.c_fc",
               .down = "mlp.c_proj",
               .feed_forward_norm = "ln_2"},
     .decoder = "lm_head.weight",
     .class_base = "GPT2Model",
     .class_masked_lm = "GPT2LMHeadModel",
     .pre_norm = true,
     .transposed = true},
    BART("marian", "Marian", "MarianMTModel",
         .defaults = {BART_DEFAULTS, .positions = QN_POSITIONS_SINUSOIDAL, .sinusoid_halves = true},
         .names = {.word = "shared.weight", .layer = "encoder.layers.%zu.", BART_LAYER},
         .decoder_names = &marian_decoder, .encoder_word = "encoder.embed_tokens.weight", .pad = 58100),
    BART("bart", "Bart", "BartForConditionalGeneration", .defaults = {BART_DEFAULTS, .position_offset = 2},
         .names = {.word = "shared.weight", BART_NAMES("encoder")}, .decoder_names = &bart_decoder, .pad = 1,
         .start = 2),
    BART("mbart", "MBart", "MBartForConditionalGeneration", .defaults = {BART_DEFAULTS, .position_offset = 2},
         .names = {.word = "shared.weight", BART_NAMES("encoder"), .final_norm = "encoder.layer_norm"},
         .decoder_names = &mbart_decoder, .pad = 1, .wraps = true, .pre_norm = true),
    {.model_type = "t5",
     .prefix = "",
     .keys = &t5_keys,
     .defaults = {.max_positions = 512,
                  .head_width = 64,
                  .norm_eps = 1e-6f,
                  .hidden_dropout = 0.1f,
                  .attention_dropout = 0.1f,
                  .initializer_range = 0.02,
                  .activation = QN_ACTIVATION_RELU,
                  .positions = QN_POSITIONS_NONE,
                  .plain = ALL_PLAIN,
                  .drops = QN_DROPS_BOTH,
                  .score_scale = 1,
                  .final_dropout = true,
                  .rms = true},
     .names = {.word = "shared.weight",
               .relative_bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
               .layer = "encoder.block.%zu.",
               T5_LAYER("layer.1"),
               .final_norm = "encoder.final_layer_norm"},
     .decoder_names = &t5_decoder,
     .decoder = "lm_head.weight",
     .class_base = "T5Model",
     .class_masked_lm = "T5ForConditionalGeneration",
     .pre_norm = true,
     .scales_tied = true},
};

const qn_family *qn_family_find(const char *model_type, bool alibi) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].model_type, model_type) == 0 && families[i].alibi == alibi) return &families[i];
    return NULL;
}

const char *qn_family_list(void) {
    return "bert, roberta, xlm-roberta, camembert, roberta-prelayernorm, distilbert, electra, albert, mpnet, "
           "deberta-v2, modernbert, nomic_bert, gte, new, jina_embeddings_v3, llama, mistral, qwen2, gpt2, marian, bart, "
           "mbart, t5";
}
