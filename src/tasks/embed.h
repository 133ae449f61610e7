// What the parts of the embedding task share: its options, its losses, and its forward pass.
#pragma once
#include "models/text_decoder.h"
#include "tasks/task.h"

typedef struct qn_embed_job qn_embed_job;

// A loss on the vectors of a batch's examples.
typedef struct {
    const char *name;
    size_t least, most;             // texts of an example; most 0: any number
    bool scores;                    // needs a number for each example, its own or a teacher's
    bool teacher;                   // needs a teacher's vectors
    bool classes;                   // needs a label for each example
    bool twice;                     // an example of one text is read twice: dropout makes two vectors of it
    bool in_batch;                  // other examples of the batch are negatives
    bool restores;                  // a decoder writes the text again from the vector of its noisy form; there is no `compute`
    qn_sbert_similarity similarity; // unless the user names another
    double scale, margin;           // the same
    // vectors [n width, d], normalized already where the similarity is the cosine. The mean over the batch in *loss,
    // and the gradient of the vectors where the context records.
    qn_status (*compute)(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch, double *loss);
} qn_embed_loss;

// NULL, with an error that lists the names, where there is none of that name.
const qn_embed_loss *qn_embed_loss_find(const char *name);
// The usual loss for examples of so many texts with or without scores, or a teacher.
const qn_embed_loss *qn_embed_loss_usual(size_t texts, bool scores, bool teacher);

enum { QN_MATRYOSHKA_MOST = 16 };
struct qn_embed_job { // qn_job.own
    const qn_embed_loss *loss;
    const char *prompts[2];   // before the first text of an example, before the others; NULL: none
    int32_t prompt_tokens[2]; // of them, that are not pooled
    qn_sbert_similarity similarity;
    float scale, margin;
    bool symmetric;
    size_t dims[QN_MATRYOSHKA_MOST], dim_count; // Matryoshka; 0: the whole vectors alone
    float weights[QN_MATRYOSHKA_MOST];
    bool sparse;
    qn_late late; // ColBERT
    float flops[2];    // what words of the first texts cost, and of the others
    size_t mini_batch; // texts that are encoded at once; 0: all of a batch
    float *teacher; // [sequences of the training data, teacher_width] of loss->teacher
    size_t teacher_width;
    qn_noise noise;          // of a loss that restores, as the next one
    qn_text_decoder decoder;
};

// The tokens of text k of an example that are not pooled.
static inline int32_t qn_embed_skipped(const qn_embed_job *j, size_t k) {
    return j->prompt_tokens[k > 0];
}

// The loss of vectors, and of their first columns where Matryoshka dims are asked for.
qn_status qn_embed_loss_of(const qn_embed_job *j, qn_context *c, qn_tensor *vectors, const qn_batch *batch,
                           double *loss);
// The same of a batch's texts, through the network; with j->mini_batch the texts are encoded a few at a time, and again
// in backward (GradCache: Gao et al. 2021).
qn_status qn_embed_batch_loss(const qn_embed_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                              double *loss);
// embed_teacher.c: the scores of the data set, or the vectors of e->teacher, from the folder that the training names.
qn_status qn_embed_teach(const qn_job *j, qn_embed_job *e, qn_dataset *dataset);
// embed_measure.c: by what a data set has (j->task may insist): spearman of pairs with scores, accuracy of triplets,
// else retrieval.
qn_status qn_embed_measure(const qn_job *j, qn_model *model, const qn_dataset *dataset, qn_outcome *out);
// The metric that chooses the best checkpoint there. QN_ERROR_FORMAT where the data has not what the task needs.
qn_status qn_embed_best_metric(const qn_job *j, const qn_dataset *dataset, const char **metric);
