// quern finetune: a classifier, a regression or sentence embeddings from a pre-trained model and a user's texts.
#include "cli/training.h"

static void defaults(void *memory) {
    ((training_settings *)memory)->training = qn_training_defaults(false);
}

static const option options[] = {
    {"model", TRAINING(model), "DIR", .help = "folder of the pre-trained model, or a config.json to begin from scratch",
     .required = true, .alias = "model-name-or-path", .letter = 'm'},
    TRAINING_FILES,
    {"test-file", TRAINING(test), "FILE", .help = "data measured at the end with the best checkpoint"},
    TRAINING_TASK,
    TRAINING_LENGTH,
    HEADING("Embeddings without labels (--loss tsdae): a decoder restores texts from their vectors"),
    TRAINING_NOISE("words", "0.6 where no noise is given", "none", "none"),
    TRAINING_DECODER("tied"),
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
