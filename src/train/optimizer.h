// AdamW over the flat parameters (Loshchilov & Hutter 2019, as torch.optim.AdamW). Runs of neighbours with the same
// learning rate and decay are one call of the backend. A table that trains by rows costs what its rows in use cost: a
// row that gets no gradient is left behind, and takes the updates that it missed when it is used again, to the same
// values.
#pragma once
#include "backend/backend.h"
#include "tensor/parameters.h"

typedef struct {
    double beta1, beta2, eps, weight_decay; // decay is for weights and tables, not for biases and norms
    double layer_decay; // learning rate of depth k is multiplied by layer_decay^(top - k); 1: the same for all
} qn_optimizer_options;

// What is known of a table that trains by rows.
typedef struct {
    qn_parameter *parameter;
    int64_t *updated; // [rows] the last update that the row has taken
    int64_t *trained; // [rows] the last one with a gradient; -idle_limit where there was none
    qn_adamw *missed; // updates that some row may have missed: the last `missed_count`
} qn_lazy_table;

typedef struct {
    qn_optimizer_options options;
    qn_backend *backend;
    qn_parameters *set;
    int64_t updates;    // so far
    int64_t idle_limit; // updates without a gradient after which the first moment counts as zero: beta1^limit <= 1e-6
    int top;            // the largest depth of a parameter
    qn_lazy_table *tables;
    size_t table_count, missed_count;
    int32_t *rows, *behind, *live; // [largest table] which rows take how many updates now
} qn_optimizer;

// For parameters with memory for training; what is frozen by now stays out. It keeps `backend` and `set`.
qn_status qn_optimizer_create(qn_backend *backend, qn_parameters *set, const qn_optimizer_options *options,
                              qn_optimizer **out);
void qn_optimizer_free(qn_optimizer *optimizer); // NULL is allowed
// Brings these rows of a table into use until the next update or skip: they take the updates that they missed, and get
// a gradient. Call it before the forward pass that reads them. Nothing to do for tables with a dense gradient.
qn_status qn_optimizer_use(qn_optimizer *optimizer, const qn_tensor *table, size_t count, const int32_t *ids);
// The global norm of all gradients that train, before clipping.
double qn_optimizer_norm(qn_optimizer *optimizer);
// One update; gradients are multiplied by `scale` first and are zero afterwards. Frozen parameters stay as they are.
void qn_optimizer_step(qn_optimizer *optimizer, double learning_rate, double scale);
void qn_optimizer_skip(qn_optimizer *optimizer); // drops the gradients
// Every row takes what it missed: before weights are read by anything but a forward pass of rows in use. When it is
// called changes no bit of any later value.
void qn_optimizer_settle(qn_optimizer *optimizer);

// After so many updates, whose values and moments are in the set; as if every row had a gradient in the last one.
void qn_optimizer_restore(qn_optimizer *optimizer, int64_t updates);
// What a checkpoint keeps of a table beside values and moments: for each row the updates since its last gradient, at
// most idle_limit [rows]. Save after qn_optimizer_settle; restore fails for numbers that cannot be.
void qn_optimizer_save_idle(const qn_optimizer *optimizer, size_t table, float *idle);
qn_status qn_optimizer_restore_idle(qn_optimizer *optimizer, size_t table, const float *idle);
