// Checkpoints: everything that a run needs to go on as if it had not stopped. A folder checkpoint-STEP holds the model
// as a Hugging Face folder, the optimizer's moments (optimizer.safetensors) and trainer_state.json; it appears whole,
// by a rename.
#pragma once
#include "data/batch.h"
#include "train/average.h"
#include "train/optimizer.h"

// What trainer_state.json keeps besides the weights.
typedef struct {
    int64_t step;
    int64_t updates;           // of the optimizer: steps less those that the guard skipped
    qn_data_position position; // of the next batch
    double seconds;            // spent so far
    double tokens, padded;     // real tokens seen; what padding would have made of them
    double typical_norm;       // running mean of the gradient norm, for the guard; 0: none yet
    int64_t skipped, skipped_in_a_row;
    int64_t best_step; // -1: no evaluation yet
    double best_value;
    int64_t evaluations_without_improvement;
    double last_loss;
    uint64_t seed;
} qn_training_state;

// Writes output/checkpoint-STEP with what `model` writes of the model, the settled optimizer and the state. average: NULL,
// or swapped, so that the model has the mean; the weights themselves are kept beside the moments.
qn_status qn_checkpoint_save(const char *output, qn_status (*model)(void *user, const char *folder), void *user,
                             const qn_optimizer *optimizer, const qn_average *average,
                             const qn_training_state *state);
// The newest checkpoint of a run folder: its path, which the caller frees, or NULL when there is none.
char *qn_checkpoint_newest(const char *output);
// The path of the checkpoint of a step; the caller frees it. NULL where memory is short.
char *qn_checkpoint_path(const char *output, int64_t step);
// The steps of the checkpoints of a run folder, the newest first; the caller frees them.
qn_status qn_checkpoint_steps(const char *output, int64_t **steps, size_t *count);
// Reads state and moments of a checkpoint into the optimizer of a network whose weights have been loaded from it, and
// with a mean of the weights (or NULL) the weights themselves. A checkpoint that has a mean where none is wanted, or the
// other way round, is an error.
qn_status qn_checkpoint_restore(const char *folder, qn_optimizer *optimizer, qn_average *average,
                                qn_training_state *state);
// Removes what a killed run left half written, and all but the newest `keep` checkpoints and the one of `best_step`.
qn_status qn_checkpoint_prune(const char *output, int keep, int64_t best_step);
