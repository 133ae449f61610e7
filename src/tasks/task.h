// A task: what a model is fine-tuned for and measured by. One file and one entry in the table of tasks.c for each; the
// training loop, the command and the report know nothing of any.
#pragma once
#include "data/noise.h"
#include "infer/model.h"
#include "metrics/answers.h"
#include "metrics/projection.h"

// What a model's outputs for a data set are worth. Only what the task has is there.
typedef struct {
    qn_metric metrics[QN_METRICS_MAX]; // "loss" first, where it is known
    size_t metric_count;
    qn_buffer json;                                    // the metrics as one object
    bool classified, multilabelled, regressed, tagged; // which of these is there
    qn_classification classification;
    qn_multilabel multilabel;
    qn_regression regression;
    qn_tagging tagging;
    qn_tag_scheme scheme; // of `tagging`
    float *scores;        // [count, labels] probabilities, or the values of a regression
    size_t count;         // of `scores`
    bool valued;          // mistakes are by their values
    qn_mistake *mistakes; // worst first; the strings are the data set's, the model's, or in `strings`
    size_t mistake_count;
    qn_arena *strings; // may be NULL
    qn_plane plane;    // of an autoencoder's vectors; no points where it was not asked for
} qn_outcome;
void qn_outcome_free(qn_outcome *outcome);

typedef struct qn_task qn_task;

// A task at work. The caller fills in the first part; start with zeros, end with qn_job_free.
typedef struct {
    const qn_task *task;
    const qn_training *training; // NULL where a model is only measured
    const qn_data_options *data; // NULL: the defaults
    const qn_tokenizer *tokenizer;
    const char *folder; // of the model, or of the checkpoint to go on from
    bool resumes;       // it is a checkpoint's
    const qn_sbert *prompts; // whose prompts have names, or NULL
    qn_encode_options encode;
    // The task's.
    qn_sbert sentence; // how vectors are made; moves into the network that is trained
    qn_labels labels;
    float *class_weights;    // [labels] or NULL
    bool no_duplicates;      // a batch has no text twice
    qn_noise *noise;         // batches have a noisy form of each text before it; or NULL
    const qn_text_decoder *text_decoder; // which the network to be made has in training; or NULL
    const char *best_metric; // of the validation data, in place of the task's; or NULL
    void *own;               // freed by the task's free_own
} qn_job;
void qn_job_free(qn_job *job);

struct qn_task {
    const char *name;  // "classify", as --task says
    const char *title; // "Classification", as the report says
    unsigned heads;    // QN_HEAD_..., that it trains
    qn_problem problem;
    bool reranks;            // a regression's head that scores how well two texts fit
    const char *best_metric; // chooses the best checkpoint unless the user names another
    // Options that this task has no use for are errors. May be NULL.
    qn_status (*check)(const qn_training *training);
    // Reads and tokenises files. `training`: the first call, whose labels are collected; texts are kept otherwise.
    qn_status (*read)(qn_job *job, const char *const *paths, size_t count, bool training, qn_dataset *out);
    // Puts what was read from the training data into the configuration of the network to be made.
    qn_status (*configure)(qn_job *job, qn_model_config *config);
    // Forward pass of a batch; puts the loss's gradient (scaled by c->loss_scale) on the tape's ends.
    qn_status (*loss)(const qn_job *job, qn_network *network, qn_context *c, const qn_batch *batch, double *loss);
    // Sets what the loss does not train, from the training data, before the model is measured or saved. May be NULL.
    qn_status (*settle)(const qn_job *job, qn_model *model);
    // Measures the model. The outcome starts with zeros and is freed by the caller, also after a failure.
    qn_status (*measure)(const qn_job *job, qn_model *model, const qn_dataset *dataset, qn_outcome *out);
    void (*free_own)(qn_job *job); // frees job->own; may be NULL
};

// The task of a name, which may be NULL for the one that the training's other options ask for; an error lists the
// names.
qn_status qn_task_find(const char *name, bool multi_label, const qn_task **out);
// The task that a model's head is for; an error where it has none.
qn_status qn_task_of(const qn_model *model, const qn_task **out);
extern const qn_task qn_task_classify, qn_task_multilabel, qn_task_regress, qn_task_tag, qn_task_embed, qn_task_answer,
    qn_task_rerank, qn_task_translate, qn_task_few_shot;
extern const qn_task qn_task_reconstruct; // which autoencoders of texts are only measured by
extern const qn_task qn_task_sts, qn_task_retrieval, qn_task_triplets; // of embeddings, which they only measure

// --- What tasks share
enum { QN_MOST_MISTAKES = 50 };
// An error where class weights are asked for.
qn_status qn_task_check_balance(const qn_training *training);
// The loss, and the scalars after it.
void qn_outcome_metrics(qn_outcome *outcome, double loss, const qn_metric *scalars, size_t count);
// Outputs of the head on whole texts: [n, labels]
qn_tensor *qn_task_text_logits(qn_network *network, qn_context *c, const qn_batch *batch);
// Rows of logits [n, classes] whose largest is at their target.
size_t qn_count_right(const qn_tensor *logits, const int32_t *targets);
// -log softmax(row [count])[target]
double qn_row_cross_entropy(const float *row, size_t count, int32_t target);
// The data options that all tasks share.
qn_status qn_job_reader(const qn_job *job, qn_reader_options *out);
