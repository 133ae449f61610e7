// AdamW over the flat parameters: runs of neighbours with the same learning rate and decay are one call of the backend.
#pragma once
#include "backend/backend.h"
#include "tensor/parameters.h"

typedef struct {
    double beta1, beta2, eps, weight_decay; // decay is for weights and tables, not for biases and norms
    double layer_decay; // learning rate of depth k is multiplied by layer_decay^(top - k); 1: the same for all
} qn_optimizer_options;

// The global norm of all gradients that train, before clipping.
double qn_gradient_norm(qn_backend *backend, const qn_parameters *set);
// One update, number `step` (from 1); gradients are multiplied by `scale` first and are zero afterwards. Frozen
// parameters stay as they are.
void qn_optimizer_step(qn_backend *backend, qn_parameters *set, const qn_optimizer_options *options, int64_t step,
                       double learning_rate, double scale);
void qn_optimizer_skip(qn_backend *backend, qn_parameters *set); // zeroes the gradients
