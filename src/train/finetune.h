// Fine-tuning as one trial of a search.
#pragma once
#include "base/status.h"

typedef struct {
    char metric[64]; // that chose the best checkpoint
    double value;
    bool lower_is_better;
    double passes;     // through the training data
    double steps;      // seconds in them, without evaluations, checkpoints and what comes before and after
} qn_run_result;

// As qn_finetune, but the model is not measured again at the end: *result has what its evaluation in training gave,
// which needs a validation file.
qn_status qn_finetune_trial(const qn_training *training, qn_run_result *result);
