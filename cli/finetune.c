// quern finetune: a classifier or a regression from a pre-trained model and labelled texts.
#include "cli/training.h"

static void defaults(void *memory) {
    ((training_settings *)memory)->training = qn_training_defaults(false);
}

static const option options[] = {
    {"model", TRAINING(model), "DIR", .help = "folder of the pre-trained model, or a config.json to begin from scratch",
     .required = true, .alias = "model-name-or-path", .letter = 'm'},
    TRAINING_FILES,
    {"test-file", TRAINING(test), "FILE", .help = "data measured at the end with the best checkpoint"},
    {"task", TRAINING(task), "NAME", .help = "what is learned", .choices = "classify|regress|tag"},
    {"multi-label", TRAINING(multi_label), NULL, .help = "classify: an example has any number of labels"},
    TRAINING_DATA,
    {"label-all-tokens", TRAINING(label_all_tokens), NULL,
     .help = "tag: train every token of a word, not its first alone"},
    {"doc-stride", TRAINING(data.stride), "N", .help = "tag: tokens that windows of a long text share",
     .alias = "stride", .fallback = "128, or half a window"},
    {"text-pair-column", TRAINING(data.pair_column), "NAME", .help = "column of the second text",
     .fallback = "by name"},
    {"label-column", TRAINING(data.label_column), "NAME", .help = "column of the label", .fallback = "by name"},
    {"score-column", TRAINING(data.score_column), "NAME", .help = "column of the number to learn",
     .fallback = "by name"},
    TRAINING_LENGTH,
    {"label-smoothing-factor", TRAINING(label_smoothing), "X", .help = "share of the target spread over all labels",
     .alias = "label-smoothing", .max = 0.999},
    {"balanced", TRAINING(balanced), NULL, .help = "weigh labels by how rare they are"},
    TRAINING_RUN,
    {0}};

static int run(const void *memory) {
    return run_training(memory, qn_finetune);
}

const command command_finetune = {.name = "finetune",
                                  .help = "Trains a classifier, a regression or a tagger on labelled texts.",
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
