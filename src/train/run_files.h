// What a run leaves beside the model: args.json and the report.
#pragma once
#include "tasks/task.h"
#include "train/report.h"
#include "train/trainer.h"

// All options as a JSON object, in the names of the command; the caller decrefs.
json_t *qn_training_json(const qn_training *options, bool pretraining);
qn_status qn_training_save_arguments(const qn_training *options, bool pretraining);

// Writes report.html. task: its title. outcome, dataset: NULL for pre-training. data: a line on the data; eval_name:
// what was measured.
qn_status qn_run_report(qn_trainer *t, const char *task, const char *data, const char *eval_name,
                        const qn_outcome *outcome, const qn_dataset *dataset);
