// quern finetune: a classifier, a regression or sentence embeddings from a pre-trained model and a user's texts.
#include "cli/training.h"
#include "cli/use.h"

static void defaults(void *memory) {
    ((training_settings *)memory)->training = qn_training_defaults(false);
}

static const option options[] = {
    {"model", TRAINING(model), "DIR", .help = "folder of the pre-trained model, or a config.json to begin from scratch",
     .required = true, .alias = "model-name-or-path", .letter = 'm'},
    TRAINING_FILES,
    {"test-file", TRAINING(test), "FILE", .help = "data measured at the end with the best checkpoint"},
    {"task", TRAINING(task), "NAME", .help = "what is learned",
     .choices = "classify|few-shot|regress|tag|answer|rerank|embed|translate"},
    {"multi-label", TRAINING(multi_label), NULL, .help = "classify: an example has any number of labels"},
    TRAINING_DATA,
    {"label-all-tokens", TRAINING(label_all_tokens), NULL,
     .help = "tag: train every token of a word, not its first alone"},
    {"doc-stride", TRAINING(data.stride), "N", .help = "tag, answer: tokens that windows of a long text share",
     .alias = "stride", .fallback = "128, or half a window"},
    {"text-pair-column", TRAINING(data.pair_column), "NAME", .help = "column of the second text",
     .fallback = "by name"},
    {"label-column", TRAINING(data.label_column), "NAME", .help = "column of the label", .fallback = "by name"},
    {"score-column", TRAINING(data.score_column), "NAME", .help = "column of the number to learn",
     .fallback = "by name"},
    TRAINING_LENGTH,
    {"activation-cache", TRAINING(activation_cache), "MB", .help = "memory for what frozen layers make of the texts, which then run once; more goes to a file; 0: never", .max = 1 << 24},
    TRAINING_LORA,
    {"label-smoothing-factor", TRAINING(label_smoothing), "X", .help = "share of the target spread over all labels",
     .alias = "label-smoothing", .max = 0.999},
    {"balanced", TRAINING(balanced), NULL, .help = "weigh labels by how rare they are"},
    {"pairs", TRAINING(pairs), "N", .help = "few-shot: pairs of texts of one label that each text begins", .min = 1},
    {"text-columns", TRAINING(data.text_columns), "A,B,C",
     .help = "columns of the texts: embed: anchor, positive, negatives; translate: source, target",
     .fallback = "by name"},
    {"generation-num-beams", TRAINING(data.beams), "N",
     .help = "translate: beams of the search that validation data is measured by", .alias = "num-beams",
     .fallback = "as the folder says, or 4"},
    HEADING("Embeddings (--task embed)"),
    {"loss", TRAINING(embed.loss), "NAME", .help = "what is near and what is not",
     .choices = "multiple-negatives|simcse|cosent|cosine|triplet|margin-mse|contrastive|distill|classes", .fallback = "by the columns"},
    {"teacher", TRAINING(embed.teacher), "DIR",
     .help = "folder of a model to learn from: its vectors (distill), or its scores of pairs (cosent, cosine, margin-mse)",
     .fallback = "none"},
    {"similarity", TRAINING(embed.similarity), "NAME", .help = "of two vectors", .choices = "cosine|dot|euclidean",
     .fallback = "by the loss"},
    {"scale", TRAINING(embed.scale), "X", .help = "similarities are multiplied by it: the inverse of the temperature",
     .min = 0, .fallback = "20"},
    {"margin", TRAINING(embed.margin), "X", .help = "between near and far: triplet, contrastive", .min = 0,
     .fallback = "5 and 0.5"},
    {"symmetric", TRAINING(embed.symmetric), NULL, .help = "multiple-negatives: positives find their anchors too"},
    {"matryoshka-dims", TRAINING(embed.matryoshka_dims), "N,N,N", .help = "train the first N columns as vectors too"},
    {"matryoshka-weights", TRAINING(embed.matryoshka_weights), "X,X,X", .help = "of their losses",
     .fallback = "1 each"},
    {"sparse", TRAINING(embed.sparse), NULL, .help = "vectors of words' weights, by the masked-language head (SPLADE)"},
    {"query-flops", TRAINING(embed.query_flops), "X", .help = "sparse: what words of an example's first text cost",
     .unlimited = true, .fallback = "5e-5"},
    {"document-flops", TRAINING(embed.document_flops), "X", .help = "sparse: what words of its other texts cost",
     .unlimited = true, .fallback = "3e-5"},
    {"pooling", TRAINING(embed.pooling), "HOW",
     .help = "how tokens' vectors become one: mean, cls, max, mean_sqrt_len_tokens, weightedmean, lasttoken, or several "
             "side by side: cls,mean",
     .fallback = "as the folder says, else mean"},
    {"dense", TRAINING(embed.dense), "N", .help = "a dense layer of N values behind the pooling", .max = 1 << 20,
     .fallback = "none"},
    {"dense-activation", TRAINING(embed.dense_activation), "NAME", .help = "of that layer",
     .choices = "tanh|linear|gelu|relu|silu", .fallback = "tanh"},
    USE_PROMPTS(TRAINING(data.query_prompt), TRAINING(data.document_prompt)),
    {"normalize", FIELD_AS(OPTION_SWITCH, training_settings, training.embed.normalize), NULL,
     .help = "vectors of length one; --no-normalize", .fallback = "as the folder says"},
    {"mini-batch-size", TRAINING(embed.mini_batch), "N", .alias = "mini-batch",
     .help = "texts encoded at once; the loss is still of the whole batch (GradCache)", .fallback = "all"},
    {"no-duplicates", FIELD_AS(OPTION_SWITCH, training_settings, training.embed.no_duplicates), NULL,
     .help = "no text twice in a batch; --no-duplicates=false", .fallback = "where the loss needs it"},
    TRAINING_RUN,
    {0}};

static int run(const void *memory) {
    return run_training(memory, qn_finetune);
}

const command command_finetune = {.name = "finetune",
                                  .help = "Trains a classifier, a regression, a tagger, a reader of answers, a "
                                          "reranker, sentence embeddings or a translator.",
                                  .details = "Data is TSV, CSV or JSON lines with the columns text (or sentence1 and "
                                             "sentence2) and label or score, or fastText's\n"
                                             "__label__ lines; also gzipped. SIGINT and SIGTERM save a checkpoint; "
                                             "--resume goes on from there and ends in the same bytes.",
                                  .example = "quern finetune --model all-MiniLM-L6-v2 --train-file "
                                             "data/wordnet/train.tsv --validation-file data/wordnet/validation.tsv \\\n"
                                             "    --learning-rate 2e-4 --num-train-epochs 1 --output-dir topics",
                                  .options = options,
                                  .size = sizeof(training_settings),
                                  .defaults = defaults,
                                  .run = run};
