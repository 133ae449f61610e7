// Batches of a data set, epoch after epoch.
#include "data/loader.h"
#include <inttypes.h>

static qn_status loader_next(void *self, qn_batch *batch, bool *end) {
    qn_loader *l = self;
    *end = false;
    QN_TRY(qn_sampler_set_epoch(l->sampler, l->epoch));
    if (l->batch >= qn_sampler_batches(l->sampler)) { // only after a seek to the end of an epoch
        l->epoch++;
        l->batch = 0;
        QN_TRY(qn_sampler_set_epoch(l->sampler, l->epoch));
    }
    *end = l->epochs > 0 && l->epoch >= l->epochs;
    if (*end) return QN_OK;
    const uint32_t *examples;
    size_t count;
    qn_sampler_batch(l->sampler, l->batch, &examples, &count);
    if (l->most_tokens == 0) qn_sampler_bounds(l->sampler, &l->most_sequences, &l->most_tokens);
    size_t sides = l->noise ? 2 : 1;
    QN_TRY(qn_batch_reserve(batch, sides * l->most_sequences, sides * l->most_tokens));
    QN_TRY(l->noise
               ? qn_batch_fill_noisy(batch, l->noise, &l->dataset->sequences, examples, count, l->epoch, 0)
               : qn_batch_fill(batch, l->dataset, examples, count));
    batch->epoch = l->epoch;
    batch->ends_epoch = ++l->batch == qn_sampler_batches(l->sampler);
    batch->progress = (double)l->batch / (double)qn_sampler_batches(l->sampler);
    if (batch->ends_epoch) {
        l->epoch++;
        l->batch = 0;
    }
    batch->after = (qn_data_position){.epoch = l->epoch, .batch = l->batch, .fingerprint = l->dataset->fingerprint};
    return QN_OK;
}

qn_source qn_loader_source(qn_loader *loader) {
    return (qn_source){loader, loader_next};
}

qn_status qn_loader_seek(qn_loader *l, const qn_data_position *position) {
    if (position->fingerprint != l->dataset->fingerprint)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: not the data that the checkpoint was trained on (expected the same files, tokenizer and "
                       "maximum length)",
                       l->dataset->names[0]);
    QN_TRY(qn_sampler_set_epoch(l->sampler, position->epoch));
    if (position->batch > qn_sampler_batches(l->sampler))
        return qn_fail(QN_ERROR_FORMAT,
                       "the checkpoint is at batch %" PRIu64 " of %zu (expected the same batch size and seed)",
                       position->batch, qn_sampler_batches(l->sampler));
    l->epoch = position->epoch;
    l->batch = position->batch;
    return QN_OK;
}
