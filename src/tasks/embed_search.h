// Queries of a data set among all its documents: what measuring retrieval and finding hard negatives share.
#pragma once
#include "infer/search.h"
#include "tasks/embed.h"

// The different texts of some columns, in the order in which they occur.
typedef struct {
    size_t count, *first; // [count] the sequence where each occurs first
    uint32_t *number;     // [sequences] of the data set: its text's number; UINT32_MAX outside the columns
    qn_sequences sequences;
    float *vectors; // [count, width], of length one
    size_t *rows;   // [count + 1] of a ColBERT: where each text's vectors begin, [rows[count], width]; NULL: one for each
    qn_sparse_rows sparse; // of a SPLADE, in place of vectors
} qn_embed_texts;

// A query and a document that answers it.
typedef struct {
    uint32_t query, document;
} qn_embed_answer;

typedef struct {
    const qn_dataset *dataset;
    qn_embed_texts queries, documents; // of the first column, and of all others
    qn_postings postings;              // of a SPLADE's documents
    qn_embed_answer *answers;          // sorted, each once: the second column's
    size_t answer_count;
} qn_embed_search;

// What was found for a query.
typedef struct {
    uint32_t query;
    const qn_embed_answer *answers; // [answer_count] its own, at least one
    size_t answer_count;
    const float *scores; // [documents] cosines; of sparse vectors dot products
    const uint32_t *top; // [count] the best documents, best first, equal scores in their order
    size_t count;
} qn_embed_found;
typedef qn_status (*qn_embed_receiver)(void *user, const qn_embed_search *search, const qn_embed_found *found);

// Vectors of length one (sparse ones as they are) into *out [count, width of the model]; the caller frees. The sequences are texts column ..
// column + width - 1 of examples, in turns.
qn_status qn_embed_vectors(const qn_job *j, qn_model *model, const qn_sequences *sequences, size_t column, size_t width,
                           float **out);
// The texts, which the data set must have kept, and their vectors; free also after a failure.
qn_status qn_embed_search_open(const qn_job *j, qn_model *model, const qn_dataset *dataset, qn_embed_search *out);
void qn_embed_search_free(qn_embed_search *search);
// Calls `receive` for each query, in order, with its `depth` best documents.
qn_status qn_embed_search_run(const qn_embed_search *search, qn_model *model, size_t depth, qn_embed_receiver receive,
                              void *user);
bool qn_embed_answers(const qn_embed_found *found, uint32_t document); // whether it is one of the answers
const char *qn_embed_text(const qn_embed_search *search, const qn_embed_texts *texts, size_t number);
