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
    .transform_gelu = true
// Liu et al. 2019 (RoBERTa), Conneau et al. 2020 (XLM-RoBERTa), Martin et al. 2020 (CamemBERT): one model, three names.
#define ROBERTA(type_, class_)                                                                                         \
    {                                                                                                                  \
        .model_type = type_, .prefix = "roberta.", .keys = &bert_keys, .defaults = DEFAULTS(GELU, 2, 0, 0.1f),         \
        .names = {BERT_EMBEDDINGS, BERT_LAYER, BERT_NORMS}, ROBERTA_HEADS, .class_base = class_ "Model",               \
        .class_masked_lm = class_ "ForMaskedLM", .class_classifier = class_ "ForSequenceClassification",               \
        .positions_after_padding = true                                                                                \
    }

static const qn_family families[] = {
    // Devlin et al. 2019. "norm_position": "pre" in config.json is our own: the same names, norms before the sublayers,
    // a last one after.
    {.model_type = "bert",
     .prefix = "bert.",
     .keys = &bert_keys,
     .defaults = DEFAULTS(GELU, 2, 0, 0.1f),
     .names = {BERT_EMBEDDINGS, BERT_LAYER, BERT_NORMS, .final_norm = "encoder.LayerNorm"},
     .pooler = "pooler.dense",
     .classifier_pooler = "pooler.dense",
     .classifier = "classifier",
     .classifier_activation = QN_ACTIVATION_TANH,
     .classifier_dropout = -1,
     .transform = "cls.predictions.transform.dense",
     .transform_norm = "cls.predictions.transform.LayerNorm",
     .decoder_bias = "cls.predictions.bias",
     .next_sentence = "cls.seq_relationship",
     .class_base = "BertModel",
     .class_masked_lm = "BertForMaskedLM",
     .class_pretraining = "BertForPreTraining",
     .class_classifier = "BertForSequenceClassification"},
    ROBERTA("roberta", "Roberta"),
    ROBERTA("xlm-roberta", "XLMRoberta"),
    ROBERTA("camembert", "Camembert"),
    // RoBERTa with norms before the sublayers (fairseq's efficient_mlm; transformers' RobertaPreLayerNorm).
    {.model_type = "roberta-prelayernorm",
     .prefix = "roberta_prelayernorm.",
     .keys = &bert_keys,
     .defaults = DEFAULTS(GELU, 2, 0, 0.1f),
     .names = {BERT_EMBEDDINGS, BERT_LAYER, .attention_norm = "attention.LayerNorm",
               .feed_forward_norm = "intermediate.LayerNorm", .final_norm = "LayerNorm"},
     ROBERTA_HEADS,
     .class_base = "RobertaPreLayerNormModel",
     .class_masked_lm = "RobertaPreLayerNormForMaskedLM",
     .class_classifier = "RobertaPreLayerNormForSequenceClassification",
     .pre_norm = true,
     .positions_after_padding = true},
};

const qn_family *qn_family_find(const char *model_type) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

const char *qn_family_list(void) {
    return "bert, roberta, xlm-roberta, camembert, roberta-prelayernorm";
}
