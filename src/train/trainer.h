// The training loop that all objectives share: batches in, updates, evaluations, checkpoints, the log, and a clean end.
#pragma once
#include "data/prefetch.h"
#include "models/network.h"
#include "train/checkpoint.h"
#include "metrics/metrics.h"
#include "train/optimizer.h"
#include "train/progress.h"
#include "train/runlog.h"
#include "train/schedule.h"
#include "formats/tfevents.h"

typedef struct qn_trainer qn_trainer;

// What an objective does differently.
typedef struct {
    // Forward pass of a batch; puts the loss's gradient (scaled by c->loss_scale) on the tape's ends.
    qn_status (*loss)(qn_trainer *t, qn_context *c, const qn_batch *batch, double *loss);
    // Measures the current weights on the validation data; NULL where there is none.
    qn_status (*evaluate)(qn_trainer *t, qn_metric metrics[QN_METRICS_MAX], size_t *count);
    // Goes to a position of the data, before the prefetcher starts.
    qn_status (*seek)(qn_trainer *t, const qn_data_position *position);
    // Writes the model into a folder, and reads the weights that train from one that was written so; NULL: those of
    // t->network.
    qn_status (*save)(qn_trainer *t, const char *folder);
    qn_status (*read)(qn_trainer *t, const char *folder);
} qn_objective;

struct qn_trainer {
    const qn_training *options;
    bool pretraining;
    const qn_objective *objective;
    void *data; // the objective's own
    qn_network *network;       // NULL where something else is trained, whose
    qn_parameters *parameters; // these are; NULL: the network's
    const char *unit;          // of what a batch has so many of; NULL: tokens
    const qn_tokenizer *tokenizer;
    qn_backend *backend;
    qn_source source;
    int64_t total_steps;     // 0: unknown beforehand (a streamed corpus)
    const char *best_metric; // NULL: the last evaluation is the best
    // The loop's own.
    qn_context context;
    qn_tape tape;
    qn_optimizer *optimizer;
    qn_average *average; // of the weights, or NULL
    qn_training_state state;
    qn_schedule schedule;
    qn_runlog *log;
    qn_tfevents *events;
    qn_progress progress;
    qn_buffer line;
    double began, seconds_before;
    double aside; // seconds of this process that went into evaluations and checkpoints
    const struct qn_autoencoding *autoencoding; // for the report, or NULL
    qn_metric metrics[QN_METRICS_MAX]; // of the last evaluation
    size_t metric_count;
    const char *end; // why it ended: "completed", "max_time", "early_stopping", "interrupted"
};

// Checks the options that all objectives share.
qn_status qn_training_check(const qn_training *options);
// The steps of the options' epochs: `whole` batches are in floor(epochs) of them, `last` in ceil(epochs).
int64_t qn_training_steps(const qn_training *options, uint64_t whole, uint64_t last);
// Prepares the run folder: refuses one that holds another run, removes it with `overwrite`; *checkpoint is what to go
// on from (free() it) or NULL. Call before anything is loaded.
qn_status qn_run_folder(const qn_training *options, char **checkpoint);
// Runs the loop; `checkpoint` as above, already loaded into the network. QN_INTERRUPTED: stopped on request, a
// checkpoint is there.
qn_status qn_trainer_run(qn_trainer *t, const char *checkpoint);
// After a run: puts the weights that the run is for into the network: the mean of the last checkpoints where the options
// ask for it, else those of the best evaluation, if there was one and it is not the last.
qn_status qn_trainer_take_final(qn_trainer *t);
void qn_trainer_free(qn_trainer *t); // the loop's own
// A message for a person, formatted, through on_message.
void qn_trainer_say(qn_trainer *t, const char *format, ...) QN_PRINTF(2, 3);
// A context for inference with the trainer's backend and arenas (reset).
qn_context qn_trainer_inference(qn_trainer *t);
