// Losses: the mean over the batch, and the gradient of their input, which they put at once since it needs only what
// forward has. Formulas: backend/cpu/loss.c. Dividing by divisor / loss_scale gives the gradient of loss_scale * mean.
#include "ops/ops.h"

// Where the gradient goes: NULL without a tape.
static float *place(qn_context *c, qn_tensor *x) {
    return qn_taping(c) ? qn_gradient_to_write(c, x) : NULL;
}

// A product without an activation keeps a record but never reads its result again, and neither does anybody else: the
// gradient takes its place. The logits of a vocabulary are the largest values of a training.
static float *place_of_logits(qn_context *c, qn_tensor *logits) {
    bool spent = logits->record && !logits->again && !logits->has_grad;
    if (!qn_taping(c) || c->keep || !spent) return place(c, logits);
    logits->grad = logits->data;
    logits->data = NULL;
    logits->has_grad = true;
    return logits->grad;
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
                                  .loss = loss};
    args.dlogits = place_of_logits(c, logits);
    if (c->status != QN_OK) return c->status;
    c->backend->ops->cross_entropy(c->backend, &args);
    qn_gradient_written(c, logits, args.dlogits);
    *loss /= c->loss_scale;
    return qn_context_status(c);
}

static bool check_span(qn_context *c, qn_tensor *logits, qn_ragged batch, const int32_t *const targets[2]) {
    if (qn_width(logits) != 2) {
        qn_fail(QN_ERROR_ARGUMENT, "span cross-entropy: logits of %zu columns (expected 2)", qn_width(logits));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT) != NULL;
    }
    if (!qn_check_ragged(c, "span cross-entropy", batch, qn_rows(logits))) return false;
    for (size_t i = 0; i < 2 * batch.sequences; i++) {
        int32_t rows = batch.offsets[i / 2 + 1] - batch.offsets[i / 2], target = targets[i % 2][i / 2];
        if (target < rows) continue;
        qn_fail(QN_ERROR_ARGUMENT, "span cross-entropy: target %d of sequence %zu (expected less than its %d rows)",
                target, i / 2, rows);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT) != NULL;
    }
    return true;
}

qn_status qn_span_cross_entropy(qn_context *c, qn_tensor *logits, qn_ragged batch, const int32_t *starts,
                                const int32_t *ends, double *loss) {
    const int32_t *const targets[2] = {starts, ends};
    *loss = 0;
    if (!logits || !check_span(c, logits, batch, targets)) return qn_context_status(c);
    size_t count = 0;
    for (size_t i = 0; i < batch.sequences; i++) count += (starts[i] >= 0) + (size_t)(ends[i] >= 0);
    qn_span_cross_entropy_args args = {.sequences = batch.sequences,
                                       .offsets = batch.offsets,
                                       .logits = logits->data,
                                       .targets = {starts, ends},
                                       .divisor = count ? (double)count / c->loss_scale : 1,
                                       .loss = loss,
                                       .dlogits = place(c, logits)};
    if (c->status != QN_OK) return c->status;
    c->backend->ops->span_cross_entropy(c->backend, &args);
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
