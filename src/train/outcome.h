// What a finished run leaves: args.json, the model's folder and the report.
#pragma once
#include "data/dataset.h"
#include "train/report.h"
#include "train/trainer.h"

// Scores of a labelled data set and what they are worth.
typedef struct {
    qn_problem problem;
    size_t count, labels;
    float *scores;                    // [n, labels] probabilities, or values of a regression
    int32_t *predicted;               // [n] for one label per example
    double loss;                      // mean over the examples, without smoothing and weights
    qn_classification classification; // one of these, by the problem
    qn_multilabel multilabel;
    qn_regression regression;
} qn_outcome;

// Takes the logits [n, labels] (they become the scores and belong to the outcome) of a data set and measures them.
qn_status qn_outcome_measure(qn_problem problem, const qn_dataset *dataset, size_t labels, float *logits,
                             qn_outcome *out);
size_t qn_outcome_scalars(const qn_outcome *outcome, qn_metric out[QN_METRICS_MAX]); // with "loss"
void qn_outcome_json(const qn_outcome *outcome, const char *const *labels, qn_buffer *out);
void qn_outcome_free(qn_outcome *outcome);

// All options as a JSON object, in the names of the command; the caller decrefs.
json_t *qn_training_json(const qn_training *options, bool pretraining);
qn_status qn_training_save_arguments(const qn_training *options, bool pretraining);

// Writes report.html. outcome, dataset: NULL for pre-training. data: a line on the data; eval_name: what was measured.
qn_status qn_outcome_report(qn_trainer *t, const char *data, const char *eval_name, const qn_outcome *outcome,
                            const qn_dataset *dataset);
