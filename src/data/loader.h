// Sources of batches, and the one that reads from a data set.
#pragma once
#include "data/noise.h"
#include "data/sampler.h"

// A source of batches: what a loader, a corpus and a prefetcher are to a training loop. `next` fills the batch
// (clearing it first), or sets *end at the end of the last epoch.
typedef struct {
    void *self;
    qn_status (*next)(void *self, qn_batch *batch, bool *end);
} qn_source;

// Batches of a data set, epoch after epoch, in the order of a sampler.
typedef struct {
    const qn_dataset *dataset;
    qn_sampler *sampler;
    qn_noise *noise; // NULL: none; otherwise of texts alone: batches have two sequences for each
    uint64_t epoch, batch, epochs;      // the next batch; epochs 0: without end
    size_t most_sequences, most_tokens; // of a batch; worked out by the first
} qn_loader;
qn_source qn_loader_source(qn_loader *loader);
// Goes to a position that a batch of the same data and options carried. Other data (by its fingerprint) is an error.
qn_status qn_loader_seek(qn_loader *loader, const qn_data_position *position);
