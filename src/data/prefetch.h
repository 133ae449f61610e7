// A thread that keeps a few batches ready, so that reading and tokenising do not stall a training step.
#pragma once
#include "data/loader.h"

typedef struct qn_prefetch qn_prefetch;

// Starts taking batches from `source`, which nothing else may touch until qn_prefetch_stop. At most `depth` batches
// exist at once, the one that the caller works on included; depth below 2 makes no thread: batches are then made when
// they are asked for. The batches, and where an error appears among them, do not depend on timing.
qn_status qn_prefetch_start(qn_source source, size_t depth, qn_prefetch **out);
// The next batch, valid until the next call, or *end = true. An error of the source comes after the batches before it,
// and stays. One thread at a time.
qn_status qn_prefetch_next(qn_prefetch *prefetch, qn_batch **batch, bool *end);
// Ends the thread (after the batch that it is making) and frees everything; NULL is allowed. The source may have run
// ahead: where to go on is in batch->after of the last batch that was used.
void qn_prefetch_stop(qn_prefetch *prefetch);
