// The families: a table of names each.
#include "models/network.h"
#include <string.h>

#define BERT_LAYER                                                                                                     \
    .layer = "encoder.layer.%zu.", .query = "attention.self.query", .key = "attention.self.key",                       \
    .value = "attention.self.value", .attention_output = "attention.output.dense", .up = "intermediate.dense",         \
    .down = "output.dense"
#define BERT_EMBEDDINGS                                                                                                \
    .word = "embeddings.word_embeddings.weight", .position = "embeddings.position_embeddings.weight",                  \
    .type = "embeddings.token_type_embeddings.weight", .embedding_norm = "embeddings.LayerNorm"

static const qn_family families[] = {
    // Devlin et al. 2019. "norm_position": "pre" in config.json is our own: the same names, norms before the sublayers,
    // a last one after.
    {.model_type = "bert",
     .prefix = "bert.",
     .names = {BERT_EMBEDDINGS, BERT_LAYER, .attention_norm = "attention.output.LayerNorm",
               .feed_forward_norm = "output.LayerNorm", .final_norm = "encoder.LayerNorm"},
     .pooler = "pooler.dense",
     .classifier_pooler = "pooler.dense",
     .classifier = "classifier",
     .transform = "cls.predictions.transform.dense",
     .transform_norm = "cls.predictions.transform.LayerNorm",
     .decoder_bias = "cls.predictions.bias",
     .next_sentence = "cls.seq_relationship",
     .class_base = "BertModel",
     .class_masked_lm = "BertForMaskedLM",
     .class_pretraining = "BertForPreTraining",
     .class_classifier = "BertForSequenceClassification"},
    // RoBERTa with norms before the sublayers (fairseq's efficient_mlm; transformers' RobertaPreLayerNorm).
    {.model_type = "roberta-prelayernorm",
     .prefix = "roberta_prelayernorm.",
     .names = {BERT_EMBEDDINGS, BERT_LAYER, .attention_norm = "attention.LayerNorm",
               .feed_forward_norm = "intermediate.LayerNorm", .final_norm = "LayerNorm"},
     .pooler = "pooler.dense",
     .classifier_pooler = "classifier.dense",
     .classifier = "classifier.out_proj",
     .transform = "lm_head.dense",
     .transform_norm = "lm_head.layer_norm",
     .decoder_bias = "lm_head.bias",
     .next_sentence = NULL,
     .class_base = "RobertaPreLayerNormModel",
     .class_masked_lm = "RobertaPreLayerNormForMaskedLM",
     .class_pretraining = NULL,
     .class_classifier = "RobertaPreLayerNormForSequenceClassification",
     .pre_norm = true,
     .positions_after_padding = true,
     .transform_gelu = true},
};

const qn_family *qn_family_find(const char *model_type) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

const char *qn_family_list(void) {
    return "bert, roberta-prelayernorm";
}
