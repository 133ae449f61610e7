// The order of examples, and how it is cut into batches: a pure function of (seed, epoch) and the examples' lengths.
#pragma once
#include "data/sequences.h"

typedef enum {
    QN_ORDER_SHUFFLED, // every order equally likely
    QN_ORDER_GROUPED,  // shuffled, then sorted by length within groups of 50 batches, then the batches shuffled: less
                       // uneven batches
    QN_ORDER_SORTED, // by length, longest first: evaluation; batches carry the index of each example, so the order can
                     // be undone
    QN_ORDER_GIVEN,  // as the data lies
} qn_order;

typedef struct {
    qn_order order;
    size_t batch_size;   // examples per batch at most; 0: no limit
    size_t batch_tokens; // tokens per batch at most, but a longer example is a batch by itself; 0: no limit
    size_t width;        // sequences of an example, one after the other; 0: 1
    bool no_duplicates;  // examples that share a text are not put into one batch
    uint64_t seed;
    uint64_t first_epoch; // that it starts in
} qn_sampler_options;

typedef struct qn_sampler qn_sampler;

// Keeps a reference to `sequences`, which must not change. At least one of the limits must be set. Not thread-safe.
qn_status qn_sampler_create(const qn_sequences *sequences, const qn_sampler_options *options, qn_sampler **out);
void qn_sampler_free(qn_sampler *sampler); // NULL is allowed
// Works out the order of an epoch; nothing if it is the current one.
qn_status qn_sampler_set_epoch(qn_sampler *sampler, uint64_t epoch);
size_t qn_sampler_batches(const qn_sampler *sampler); // of the current epoch
// The examples of batch `b` of the current epoch: any batch, in any order.
void qn_sampler_batch(const qn_sampler *sampler, size_t b, const uint32_t **examples, size_t *count);
// What no batch of any epoch exceeds.
void qn_sampler_bounds(const qn_sampler *sampler, size_t *sequences, size_t *tokens);
// Batches of any epoch. With a token budget and shuffling the number differs between epochs, and is worked out.
qn_status qn_sampler_count(qn_sampler *sampler, uint64_t epoch, size_t *batches);
// Batches of epochs 0 .. epochs-1 together, for schedules.
qn_status qn_sampler_total(qn_sampler *sampler, uint64_t epochs, uint64_t *batches);
