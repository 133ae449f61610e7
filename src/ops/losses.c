// Losses: the mean over the batch, and the gradient of their input, which they put at once since it needs only what
// forward has. Formulas: backend/cpu/loss.c. Dividing by divisor / loss_scale gives the gradient of loss_scale * mean.
#include "ops/ops.h"

// Where the gradient goes: NULL without a tape.
static float *place(qn_context *c, qn_tensor *x) {
    return qn_taping(c) ? qn_gradient_to_write(c, x) : NULL;
}

qn_status qn_cross_entropy(qn_context *c, qn_tensor *logits, const int32_t *targets, const float *class_weights,
                           float smoothing, double *loss) {
    *loss = 0;
    if (!logits) return qn_context_status(c);
    size_t rows = qn_rows(logits), classes = qn_width(logits);
    double total = 0;
    for (size_t i = 0; i < rows; i++) {
        if (targets[i] >= 0 && (size_t)targets[i] >= classes) {
            qn_fail(QN_ERROR_ARGUMENT, "cross-entropy: target %d of row %zu (expected 0 to %zu)", targets[i], i,
                    classes - 1);
            qn_fail_operation(c, QN_ERROR_ARGUMENT);
            return c->status;
        }
        if (targets[i] >= 0) total += class_weights ? class_weights[targets[i]] : 1;
    }
    qn_cross_entropy_args args = {.rows = rows,
                                  .classes = classes,
                                  .logits = logits->data,
                                  .targets = targets,
                                  .class_weights = class_weights,
                                  .smoothing = smoothing,
                                  .total_weight = total / c->loss_scale,
                                  .loss = loss,
                                  .dlogits = place(c, logits)};
    if (c->status != QN_OK) return c->status;
    c->backend->ops->cross_entropy(c->backend, &args);
    qn_gradient_written(c, logits, args.dlogits);
    *loss /= c->loss_scale;
    return qn_context_status(c);
}

static qn_status elementwise(qn_context *c, qn_tensor *x, const float *targets, double *loss,
                             void (*function)(qn_backend *, const qn_elementwise_loss_args *)) {
    *loss = 0;
    if (!x) return qn_context_status(c);
    size_t count = qn_count(x);
    if (count == 0) return c->status;
    qn_elementwise_loss_args args = {.count = count,
                                     .x = x->data,
                                     .target = targets,
                                     .divisor = (double)count / c->loss_scale,
                                     .loss = loss,
                                     .dx = place(c, x)};
    if (c->status != QN_OK) return c->status;
    function(c->backend, &args);
    qn_gradient_written(c, x, args.dx);
    *loss /= c->loss_scale;
    return qn_context_status(c);
}

qn_status qn_binary_cross_entropy(qn_context *c, qn_tensor *logits, const float *targets, double *loss) {
    return elementwise(c, logits, targets, loss, c->backend->ops->binary_cross_entropy);
}

qn_status qn_mean_squared_error(qn_context *c, qn_tensor *predictions, const float *targets, double *loss) {
    return elementwise(c, predictions, targets, loss, c->backend->ops->mean_squared_error);
}
