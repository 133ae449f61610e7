// What quern pretrain and quern finetune share: their options, progress on standard error, and signals.
#pragma once
#include "cli/cli.h"
#include "cli/use.h"

typedef struct {
    qn_training training;
    list files, more_files;
    bool resume, quiet;
    const char *checkpoint;
} training_settings;

#define TRAINING(field) FIELD(training_settings, training.field)

#define TRAINING_FILES                                                                                                 \
    {"output-dir", TRAINING(output), "DIR", .help = "run folder: the model, report.html, log.jsonl, checkpoints", .required = true, .letter = 'o'}, \
        {"train-file", FIELD(training_settings, files), "FILE", .help = "training data; may be repeated"},             \
        {"validation-file", TRAINING(validation), "FILE", .help = "data that chooses the best checkpoint"},            \
        {"tokenizer", TRAINING(tokenizer), "DIR", .help = "folder of the tokenizer", .alias = "tokenizer-name", .fallback = "the model's"}

#define TRAINING_DATA                                                                                                  \
    {"format", TRAINING(data.format), "FORMAT", .help = "of the files", .choices = "tsv|csv|jsonl|text|fasttext|conll|squad", .fallback = "by name and first line"}, \
        {"text-column", TRAINING(data.text_column), "NAME", .help = "column of the text", .fallback = "by name"},      \
        {"columns", TRAINING(data.columns), "A,B,C", .help = "columns of a file without a header line"}

#define TRAINING_LORA                                                                                                  \
    {"lora-rank", TRAINING(lora_rank), "N",                                                                            \
     .help = "train factors of this rank (LoRA) and the head alone; the output folder is an adapter as PEFT's",        \
     .fallback = "all weights are trained"},                                                                           \
    {"lora-alpha", TRAINING(lora_alpha), "X", .help = "the factors count alpha / rank times",                          \
     .fallback = "twice the rank"},                                                                                    \
    {"lora-targets", TRAINING(lora_targets), "NAMES",                                                                  \
     .help = "query,key,value,attention_output,up,down, or names of linear layers, or ends of them",                   \
     .alias = "target-modules", .fallback = "all-linear"},                                                             \
    {"lora-dropout", TRAINING(lora_dropout), "X", .help = "of the factors' inputs", .max = 0.99},                      \
    {"use-rslora", TRAINING(lora_rank_stabilized), NULL, .help = "the factors count alpha / sqrt(rank) times"},        \
    {"adapter", TRAINING(adapter), "DIR", .help = "adapter to go on from"}

// What the tasks of finetune learn, and from what.
#define TRAINING_TASK \
    {"task", TRAINING(task), "NAME", .help = "what is learned", \
     .choices = "classify|few-shot|regress|tag|answer|rerank|embed|translate"}, \
    {"multi-label", TRAINING(multi_label), NULL, .help = "classify: an example has any number of labels"}, \
    TRAINING_DATA, \
    {"label-all-tokens", TRAINING(label_all_tokens), NULL, \
     .help = "tag: train every token of a word, not its first alone"}, \
    {"doc-stride", TRAINING(data.stride), "N", .help = "tag, answer: tokens that windows of a long text share", \
     .alias = "stride", .fallback = "128, or half a window"}, \
    {"text-pair-column", TRAINING(data.pair_column), "NAME", .help = "column of the second text", \
     .fallback = "by name"}, \
    {"label-column", TRAINING(data.label_column), "NAME", .help = "column of the label", .fallback = "by name"}, \
    {"score-column", TRAINING(data.score_column), "NAME", .help = "column of the number to learn", \
     .fallback = "by name"}, \
    {"activation-cache", TRAINING(activation_cache), "MB", .help = "memory for what frozen layers make of the texts, which then run once; more goes to a file; 0: never", .max = 1 << 24}, \
    TRAINING_LORA, \
    {"label-smoothing-factor", TRAINING(label_smoothing), "X", .help = "share of the target spread over all labels", \
     .alias = "label-smoothing", .max = 0.999}, \
    {"balanced", TRAINING(balanced), NULL, .help = "weigh labels by how rare they are"}, \
    {"pairs", TRAINING(pairs), "N", .help = "few-shot: pairs of texts of one label that each text begins", .min = 1}, \
    {"text-columns", TRAINING(data.text_columns), "A,B,C", \
     .help = "columns of the texts: embed: anchor, positive, negatives; translate: source, target", \
     .fallback = "by name"}, \
    {"generation-num-beams", TRAINING(data.beams), "N", \
     .help = "translate: beams of the search that validation data is measured by", .alias = "num-beams", \
     .fallback = "as the folder says, or 4"}, \
    HEADING("Embeddings (--task embed)"), \
    {"loss", TRAINING(embed.loss), "NAME", .help = "what is near and what is not", \
     .choices = "multiple-negatives|simcse|cosent|cosine|triplet|margin-mse|contrastive|distill|classes|tsdae", .fallback = "by the columns"}, \
    {"teacher", TRAINING(embed.teacher), "DIR", \
     .help = "folder of a model to learn from: its vectors (distill), or its scores of pairs (cosent, cosine, margin-mse)", \
     .fallback = "none"}, \
    {"similarity", TRAINING(embed.similarity), "NAME", .help = "of two vectors", .choices = "cosine|dot|euclidean", \
     .fallback = "by the loss"}, \
    {"scale", TRAINING(embed.scale), "X", .help = "similarities are multiplied by it: the inverse of the temperature", \
     .min = 0, .fallback = "20"}, \
    {"margin", TRAINING(embed.margin), "X", .help = "between near and far: triplet, contrastive", .min = 0, \
     .fallback = "5 and 0.5"}, \
    {"symmetric", TRAINING(embed.symmetric), NULL, .help = "multiple-negatives: positives find their anchors too"}, \
    {"matryoshka-dims", TRAINING(embed.matryoshka_dims), "N,N,N", .help = "train the first N columns as vectors too"}, \
    {"matryoshka-weights", TRAINING(embed.matryoshka_weights), "X,X,X", .help = "of their losses", \
     .fallback = "1 each"}, \
    {"sparse", TRAINING(embed.sparse), NULL, .help = "vectors of words' weights, by the masked-language head (SPLADE)"}, \
    {"multi-vector", TRAINING(embed.multi_vector), NULL, .help = "a vector for each token (ColBERT), of --dense values (128)"}, \
    {"query-flops", TRAINING(embed.query_flops), "X", .help = "sparse: what words of an example's first text cost", \
     .unlimited = true, .fallback = "5e-5"}, \
    {"document-flops", TRAINING(embed.document_flops), "X", .help = "sparse: what words of its other texts cost", \
     .unlimited = true, .fallback = "3e-5"}, \
    {"pooling", TRAINING(embed.pooling), "HOW", \
     .help = "how tokens' vectors become one: mean, cls, max, mean_sqrt_len_tokens, weightedmean, lasttoken, or several " \
             "side by side: cls,mean", \
     .fallback = "as the folder says, else mean"}, \
    {"dense", TRAINING(embed.dense), "N", .help = "a dense layer of N values behind the pooling", .max = 1 << 20, \
     .fallback = "none"}, \
    {"dense-activation", TRAINING(embed.dense_activation), "NAME", .help = "of that layer", \
     .choices = "tanh|linear|gelu|relu|silu", .fallback = "tanh"}, \
    USE_PROMPTS(TRAINING(data.query_prompt), TRAINING(data.document_prompt)), \
    {"normalize", FIELD_AS(OPTION_SWITCH, training_settings, training.embed.normalize), NULL, \
     .help = "vectors of length one; --no-normalize", .fallback = "as the folder says"}, \
    {"mini-batch-size", TRAINING(embed.mini_batch), "N", .alias = "mini-batch", \
     .help = "texts encoded at once; the loss is still of the whole batch (GradCache)", .fallback = "all"}, \
    {"no-duplicates", FIELD_AS(OPTION_SWITCH, training_settings, training.embed.no_duplicates), NULL, \
     .help = "no text twice in a batch; --no-duplicates=false", .fallback = "where the loss needs it"}

// What is done to texts that are to be restored.
#define TRAINING_NOISE(units_, deletion_, infill_, permute_)                                                           \
    {"noise-delete", TRAINING(noise.deletion), "X", .help = "share of " units_ " that go", .max = 0.99,                 \
     .fallback = deletion_},                                                                                           \
    {"noise-mask", TRAINING(noise.mask), "X", .help = "share of them that become masks", .max = 0.99,                  \
     .fallback = "none"},                                                                                              \
    {"noise-infill", TRAINING(noise.infill), "X", .help = "share of them that spans cover; each span becomes one mask", \
     .max = 0.99, .fallback = infill_},                                                                                \
    {"noise-span", TRAINING(noise.span), "X", .help = "mean length of spans (Poisson)", .alias = "poisson-lambda",     \
     .max = 100, .fallback = "3"},                                                                                     \
    {"noise-permute", TRAINING(noise.permute), "X", .help = "share of a text's sentences that change places",          \
     .alias = "permute-sentence-ratio", .max = 1, .fallback = permute_}

// The decoder that restores them from a vector.
#define TRAINING_DECODER(tied_)                                                                                        \
    {"tied-decoder", FIELD_AS(OPTION_SWITCH, training_settings, training.decoder.tied), NULL,                          \
     .help = "the decoder's weights are the encoder's; --no-tied-decoder: its own, which begin as these",              \
     .fallback = tied_},                                                                                               \
    {"decoder-layers", TRAINING(decoder.layers), "N", .help = "layers of a decoder with weights of its own",           \
     .max = 1024, .fallback = "the encoder's"}

#define TRAINING_LENGTH                                                                                                \
    HEADING("How long and how large"),                                                                                 \
        {"num-train-epochs", TRAINING(epochs), "X", .help = "times through the data", .alias = "epochs", .min = 0},    \
        {"max-steps", TRAINING(max_steps), "N", .help = "updates in all, instead of epochs"},                          \
        {"max-time", FIELD_AS(OPTION_MINUTES, training_settings, training.max_minutes), "TIME",                        \
         .help = "end by then: 90s, 5m, 1.5h; the schedule ends with it. Such a run depends on the machine's speed", .fallback = "no limit"}, \
        {"per-device-train-batch-size", TRAINING(batch_size), "N", .help = "examples per step; 0: --batch-tokens decides", .alias = "batch-size"}, \
        {"batch-tokens", TRAINING(batch_tokens), "N", .help = "tokens per step; 0: --batch-size decides"},             \
        {"gradient-accumulation-steps", TRAINING(accumulation), "N", .help = "batches that make one update", .min = 1}, \
        {"max-seq-length", TRAINING(max_length), "N", .help = "tokens per example; longer ones are cut", .alias = "max-length", .fallback = "the model's limit"}, \
        {"group-by-length", TRAINING(group_by_length), NULL, .help = "put examples of similar lengths into a batch"},  \
        HEADING("Optimizer"),                                                                                          \
        {"learning-rate", TRAINING(learning_rate), "X", .help = "largest learning rate of AdamW", .min = 0, .alias = "lr"}, \
        {"lr-scheduler-type", TRAINING(schedule), "NAME", .help = "how the rate falls after the warmup", .choices = "linear|cosine|constant|inverse_sqrt", .alias = "schedule"}, \
        {"warmup-ratio", TRAINING(warmup_ratio), "X", .help = "share of the run in which the rate rises", .min = 0, .max = 0.999}, \
        {"warmup-steps", TRAINING(warmup_steps), "N", .help = "the same in steps; wins over the ratio"},               \
        {"weight-decay", TRAINING(weight_decay), "X", .help = "of weights, not of biases and norms", .min = 0},        \
        {"adam-beta1", TRAINING(beta1), "X", .help = "decay of the first moment", .min = 0, .max = 0.99999},           \
        {"adam-beta2", TRAINING(beta2), "X", .help = "decay of the second moment", .min = 0, .max = 0.9999999},        \
        {"adam-epsilon", TRAINING(epsilon), "X", .help = "added to the root of the second moment", .min = 0},          \
        {"max-grad-norm", TRAINING(max_gradient_norm), "X", .help = "gradients are clipped to this norm; 0: never", .min = 0}, \
        {"dropout", TRAINING(dropout), "X", .help = "instead of config.json's", .min = -1, .max = 0.99, .fallback = "config.json's"}, \
        {"layer-decay", TRAINING(layer_decay), "X", .help = "each lower layer's rate is so much smaller", .min = 0.01, .max = 1}, \
        {"freeze-layers", TRAINING(freeze_layers), "N", .help = "embeddings and the first N layers stay as they are", .unlimited = true, .fallback = "nothing is frozen"}, \
        {"gradient-checkpointing", TRAINING(gradient_checkpointing), NULL, .help = "keep only the input of each layer and run it again in backward: less memory, more time"}

#define TRAINING_RUN                                                                                                   \
    HEADING("The run"),                                                                                                \
        {"eval-steps", TRAINING(eval_steps), "N", .help = "steps between evaluations", .fallback = "each epoch"},      \
        {"save-steps", TRAINING(save_steps), "N", .help = "steps between checkpoints", .fallback = "with each evaluation"}, \
        {"metric-for-best-model", TRAINING(best_metric), "NAME", .help = "metric of the validation data that chooses the best checkpoint", .fallback = "by the task"}, \
        {"early-stopping-patience", TRAINING(patience), "N", .help = "stop after so many evaluations without a better one", .alias = "patience", .fallback = "never"}, \
        {"logging-steps", TRAINING(log_steps), "N", .help = "steps between lines of log.jsonl", .min = 1},             \
        {"ema", TRAINING(ema), "DECAY", .help = "the model is a running mean of the weights, mean = DECAY mean + (1 - DECAY) weights after each step: 0.999", .max = 0.999999, .fallback = "none"}, \
        {"average-last", TRAINING(average_last), "N", .help = "the model is the mean of the last N checkpoints, not the best one", .fallback = "the best one"}, \
        {"save-total-limit", TRAINING(keep_checkpoints), "N", .help = "newest checkpoints kept, besides the best one", .min = 1}, \
        {"resume", FIELD(training_settings, resume), NULL, .help = "go on from the newest checkpoint in the output folder, if there is one"}, \
        {"resume-from-checkpoint", FIELD(training_settings, checkpoint), "DIR", .help = "go on from this checkpoint"}, \
        {"overwrite-output-dir", TRAINING(overwrite), NULL, .help = "replace the run that is in the output folder", .alias = "overwrite"}, \
        {"seed", TRAINING(seed), "N", .help = "of weights, order, masks and dropout"},                                 \
        {"dtype", TRAINING(dtype), "TYPE", .help = "of what products read; weights stay float32", .choices = DTYPE_CHOICES(""), .fallback = "f32"}, \
        {"threads", TRAINING(threads), "N", .help = "threads; they do not change the result", .fallback = "all"},      \
        {"quiet", FIELD(training_settings, quiet), NULL, .help = "nothing on standard error but errors", .letter = 'q'}, \
        ARGUMENTS(training_settings, more_files, "FILE")

// A message on a line of its own, whether or not a progress line stands on the terminal; user: that of the training.
void print_line(void *user, const char *message);
// Runs qn_pretrain or qn_finetune with the settings; prints the metrics' JSON on standard output. The exit status.
int run_training(const training_settings *settings, qn_status (*train)(const qn_training *, char **));
