// Batches of two sides: a source, and the target that is written from it. What translation, denoising and the
// autoencoders of texts share.
#pragma once
#include "data/loader.h"
#include "models/text_decoder.h"

// Of a batch whose sequences alternate, in the arena of records.
typedef struct {
    qn_tokens source, target; // target's ids: what the decoder is given
    int32_t *labels;          // [target.tokens] what it is to give
} qn_sides;
// A decoder of texts' vectors reads a target's tokens but the last, and gives those but the first; for that of an
// encoder-decoder see qn_network_shift.
qn_status qn_sides_split(qn_context *c, const qn_network *network, const qn_batch *batch, qn_sides *out);
// The logits of the labels [target.tokens, V]. divergence: see qn_text_decoder_encode; `weight` times it is part of the
// loss of a text, which is the sum over its labels.
qn_tensor *qn_sides_logits(qn_context *c, qn_network *network, const qn_sides *sides, float weight, double *divergence);

// Of one batch or many.
typedef struct {
    double loss;          // cross-entropy of the labels, summed
    double divergence;    // of a variational decoder, summed over texts
    size_t tokens, texts; // labels, and texts that they are of
    size_t right;         // of them, that are the most probable; counted outside of training alone
} qn_sides_sums;
// Adds those of a batch; in training the gradient is that of *value: the mean loss of its labels, and `weight` times
// the divergence, which is divided by the labels too.
qn_status qn_sides_loss(qn_network *network, qn_context *c, const qn_batch *batch, float smoothing, float weight,
                        qn_sides_sums *sums, double *value);
// Adds those of all batches of a source, without training; each batch resets the arenas of `c`.
qn_status qn_sides_measure(qn_network *network, const qn_context *c, qn_source source, qn_sides_sums *sums);
