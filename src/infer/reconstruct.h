// Measuring an autoencoder of numbers; the rest is public (quern.h).
#pragma once
#include "metrics/metrics.h"
#include "models/autoencoder.h"

enum { QN_RECONSTRUCT_ROWS = 256 }; // computed at once

// On scaled numbers [rows, inputs]: "loss" as in training, with latent vectors that are drawn as functions of the row's
// place; "bce" and "kl" where the loss has such parts; "mse" and "r2" of the reconstruction, of scaled numbers, through
// the mean. The context's arenas are reset.
qn_status qn_autoencoder_measure(qn_context *c, qn_autoencoder_network *network, const float *numbers, size_t rows,
                                 qn_metric metrics[QN_METRICS_MAX], size_t *count);
// Of scaled numbers [rows, inputs] the latent vectors [rows, latent] and the reconstructions, as they were before
// scaling [rows, inputs]; either may be NULL.
qn_status qn_autoencoder_run(qn_context *c, qn_autoencoder_network *network, const float *numbers, size_t rows,
                             float *latent, float *outputs);
// From latent vectors.
qn_status qn_autoencoder_run_decoder(qn_context *c, qn_autoencoder_network *network, const float *latent, size_t rows,
                                     float *outputs);
