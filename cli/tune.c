// quern tune: finds the settings of a fine-tuning in a given time.
#include "cli/training.h"
#include <math.h>
#include <stdio.h>

typedef struct {
    training_settings training; // first: the options of finetune write into it
    qn_tuning tuning;
} tune_settings;

static void defaults(void *memory) {
    tune_settings *s = memory;
    s->tuning = qn_tuning_defaults();
    s->training.training = s->tuning.training;
}

#define TUNING(field) FIELD(tune_settings, tuning.field)

static const option options[] = {
    {"model", TRAINING(model), "DIR", .help = "folder of the pre-trained model", .required = true,
     .alias = "model-name-or-path", .letter = 'm'},
    {"output-dir", TRAINING(output), "DIR",
     .help = "folder of the search: best/ is the model, report.html, trials.jsonl", .required = true, .letter = 'o'},
    {"train-file", FIELD(training_settings, files), "FILE", .help = "training data; may be repeated"},
    {"validation-file", TRAINING(validation), "FILE", .help = "data by which trials are compared", .required = true},
    {"test-file", TRAINING(test), "FILE", .help = "data measured at the end with the best trial"},
    {"tokenizer", TRAINING(tokenizer), "DIR", .help = "folder of the tokenizer", .alias = "tokenizer-name",
     .fallback = "the model's"},
    HEADING("The search"),
    {"budget", FIELD_AS(OPTION_MINUTES, tune_settings, tuning.minutes), "TIME",
     .help = "wall-clock time of the whole search: 90s, 10m, 1.5h"},
    {"min-learning-rate", TUNING(least_rate), "X", .help = "smallest learning rate", .min = 1e-9},
    {"max-learning-rate", TUNING(most_rate), "X", .help = "largest learning rate", .min = 1e-9},
    {"min-batch-size", TUNING(least_batch), "N", .help = "smallest batch, in examples", .min = 1},
    {"max-batch-size", TUNING(most_batch), "N", .help = "largest batch", .min = 1},
    {"search-depth", TUNING(search_depth), NULL, .help = "also how many of the first layers are frozen"},
    {"max-trials", TUNING(most_trials), "N", .help = "end after so many trials", .fallback = "as the time allows"},
    HEADING(
        "The trainings: --learning-rate and --batch-size are the first trial's, --num-train-epochs the longest one's"),
    TRAINING_TASK,
    TRAINING_LENGTH,
    TRAINING_RUN,
    {0}};

static const tune_settings *chosen;

// One line of the table of trials, with its head above the first.
static void on_trial(void *user, const qn_trial *t) {
    char line[256], trained[32], value[32] = "diverged";
    if (chosen->training.quiet) return;
    if (t->freeze_layers < 0)
        snprintf(trained, sizeof trained, "all");
    else
        snprintf(trained, sizeof trained, "%lld of %zu layers",
                 t->freeze_layers < (int64_t)t->layers ? (long long)t->layers - (long long)t->freeze_layers : 0,
                 t->layers);
    if (!isnan(t->value)) snprintf(value, sizeof value, "%.4f", t->value);
    snprintf(line, sizeof line, "%5s  %13s  %5s  %7s  %-14s  %8s  %-12s", "trial", "learning rate", "batch", "epochs",
             "trained", "seconds", t->metric);
    if (t->number == 1) print_line(user, line);
    snprintf(line, sizeof line, "%5lld  %13.2e  %5zu  %7.3g  %-14s  %8.1f  %-12s%s", (long long)t->number,
             t->learning_rate, t->batch_size, t->epochs, trained, t->seconds, value, t->best ? "  best so far" : "");
    print_line(user, line);
}

static qn_status tune(const qn_training *training, char **json) {
    qn_tuning t = chosen->tuning;
    t.training = *training;
    if (!training->progress_width) t.training.on_step = NULL; // in a log the table of trials alone
    t.on_trial = on_trial;
    return qn_tune(&t, json);
}

static int run(const void *memory) {
    chosen = memory;
    return run_training(&chosen->training, tune);
}

const command command_tune = {
    .name = "tune",
    .help = "Finds learning rate, batch size, epochs and depth of a fine-tuning in a given time.",
    .details = "Random settings are trained for a short time, the better ones three times as long, and so on; the time "
               "that is left goes\ninto settings near the best. SIGINT and SIGTERM stop; --resume goes on, also with a "
               "larger budget.",
    .example = "quern tune --budget 10m --model all-MiniLM-L6-v2 --train-file data/wordnet/train.tsv \\\n"
               "    --validation-file data/wordnet/validation.tsv --output-dir search",
    .options = options,
    .size = sizeof(tune_settings),
    .defaults = defaults,
    .run = run};
