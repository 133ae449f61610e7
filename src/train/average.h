// The running mean of the weights that train: e = decay e + (1 - decay) w after each update, and the first one's
// weights to begin with (Polyak & Juditsky 1992; as torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn). It
// is less noisy than the weights, and what is evaluated and saved.
#pragma once
#include "backend/backend.h"
#include "tensor/parameters.h"

typedef struct {
    qn_backend *backend;
    qn_parameters *set;
    float rest;    // 1 - decay
    float *values; // [set->trained], at the slots of the parameters: the mean; after a swap the weights
} qn_average;

// For parameters with memory for training, none of them by rows; begins with what they are now. It keeps both pointers.
qn_status qn_average_create(qn_backend *backend, qn_parameters *set, double decay, qn_average **out);
void qn_average_free(qn_average *average); // NULL is allowed
// After an update; the first one's weights are the mean.
void qn_average_update(qn_average *average, bool first);
// Exchanges weights and mean; NULL: nothing to do.
void qn_average_swap(qn_average *average);
