// Batches of two sides: a source, and the target that is written from it. What translation, denoising and the
// autoencoders of texts share.
#pragma once
#include "data/batch.h"
#include "models/text_decoder.h"

// Of a batch whose sequences alternate, in the arena of records.
typedef struct {
    qn_tokens source, target; // target's ids: what the decoder is given
    int32_t *labels;          // [target.tokens] what it is to give
} qn_sides;
// A decoder of texts' vectors reads a target's tokens but the last, and gives those but the first; that of an
// encoder-decoder see qn_network_shift.
qn_status qn_sides_split(qn_context *c, const qn_network *network, const qn_batch *batch, qn_sides *out);
// The logits of the labels [target.tokens, V].
qn_tensor *qn_sides_logits(qn_context *c, qn_network *network, const qn_sides *sides);
// The mean cross-entropy of the labels, of which there are *tokens.
qn_status qn_sides_loss(qn_network *network, qn_context *c, const qn_batch *batch, float smoothing, size_t *tokens,
                        double *loss);
