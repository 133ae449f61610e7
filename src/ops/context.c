// What operations share: new tensors, records and gradients.
#include "ops/ops.h"
#include <string.h>

void *qn_fail_operation(qn_context *c, qn_status status) {
    if (c->status == QN_OK) c->status = status;
    return NULL;
}

static bool make_value(qn_context *c, qn_tensor *t) {
    if (t->is_narrow)
        t->narrow = qn_arena_alloc(c->arena, qn_count(t), sizeof *t->narrow);
    else
        t->data = qn_arena_alloc(c->arena, qn_count(t), sizeof *t->data);
    if (!t->data && !t->narrow) qn_fail_operation(c, QN_ERROR_MEMORY);
    return t->data || t->narrow;
}

static qn_tensor *new_tensor(qn_context *c, int rank, const size_t *shape, bool requires_grad, bool narrow) {
    qn_tensor *t = qn_arena_zalloc(c->records, 1, sizeof *t);
    if (!t) return qn_fail_operation(c, QN_ERROR_MEMORY);
    t->rank = rank;
    memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
    t->is_narrow = narrow;
    t->requires_grad = requires_grad && c->tape;
    if (t->requires_grad) qn_tape_result(c->tape, t);
    return make_value(c, t) ? t : NULL;
}

qn_tensor *qn_new_tensor(qn_context *c, int rank, const size_t *shape, bool requires_grad) {
    return new_tensor(c, rank, shape, requires_grad, false);
}

qn_tensor *qn_new_matrix(qn_context *c, size_t rows, size_t width, bool requires_grad) {
    return new_tensor(c, 2, (size_t[]){rows, width}, requires_grad, false);
}

qn_tensor *qn_new_narrow_matrix(qn_context *c, size_t rows, size_t width, bool requires_grad) {
    return new_tensor(c, 2, (size_t[]){rows, width}, requires_grad, true);
}

void *qn_new_record(qn_context *c, size_t size, qn_backward_function backward, const void *content) {
    if (!c->tape) return NULL;
    void *record = qn_arena_alloc(c->records, 1, size);
    if (!record || qn_tape_push(c->tape, c->records, backward, record) != QN_OK)
        return qn_fail_operation(c, QN_ERROR_MEMORY);
    memcpy(record, content, size);
    return record;
}

float *qn_gradient(qn_context *c, qn_tensor *t, bool *accumulate) {
    if (!t->requires_grad) return NULL;
    if (!t->grad) {
        t->grad = qn_arena_alloc(c->arena, qn_count(t), sizeof(float));
        if (!t->grad) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    *accumulate = t->has_grad;
    t->has_grad = true;
    return t->grad;
}

float *qn_gradient_to_write(qn_context *c, qn_tensor *t) {
    bool accumulate;
    if (!t->requires_grad) return NULL;
    if (!t->has_grad) return qn_gradient(c, t, &accumulate);
    float *place = qn_arena_alloc(c->arena, qn_count(t), sizeof *place);
    return place ? place : qn_fail_operation(c, QN_ERROR_MEMORY);
}

void qn_gradient_written(qn_context *c, qn_tensor *t, float *where) {
    if (!where || where == t->grad) return;
    c->backend->ops->add(c->backend, qn_count(t), where, t->grad);
    qn_arena_recycle(c->arena, where, qn_count(t), sizeof *where);
}

bool qn_check_ragged(qn_context *c, const char *operation, qn_ragged batch, size_t rows) {
    const int32_t *at = batch.offsets;
    bool good = at[0] == 0 && (size_t)at[batch.sequences] == rows;
    for (size_t i = 0; good && i < batch.sequences; i++) good = at[i] <= at[i + 1];
    if (good) return true;
    qn_fail(QN_ERROR_ARGUMENT, "%s: offsets of %zu sequences end at %d (expected ascending ones from 0 to %zu)",
            operation, batch.sequences, at[batch.sequences], rows);
    qn_fail_operation(c, QN_ERROR_ARGUMENT);
    return false;
}

bool qn_check_parameter(qn_context *c, const char *operation, const qn_tensor *t) {
    if (!t || !qn_taping(c) || !t->requires_grad || t->has_grad) return true;
    qn_fail(QN_ERROR_ARGUMENT, "%s: a weight is the result of another operation (expected a parameter or a constant)",
            operation);
    qn_fail_operation(c, QN_ERROR_ARGUMENT);
    return false;
}

void qn_forget_value(qn_context *c, qn_tensor *t) {
    if (!t || !qn_taping(c) || c->keep) return;
    qn_tape_recycle_value(t, c->arena);
}

void qn_forget_for_now(qn_context *c, qn_tensor *t) {
    if (t && t->again) qn_forget_value(c, t);
}

bool qn_value(qn_context *c, qn_tensor *t) {
    if (t->data || t->narrow) return true;
    if (!t->again || !make_value(c, t)) return false;
    t->again(c, t->record, t);
    return true;
}

void qn_add_gradient(qn_context *c, qn_tensor *t, const float *from) {
    bool accumulate;
    float *to = qn_gradient(c, t, &accumulate);
    if (!to) return;
    if (accumulate)
        c->backend->ops->add(c->backend, qn_count(t), from, to);
    else
        memcpy(to, from, qn_count(t) * sizeof *to);
}

qn_status qn_context_status(const qn_context *c) {
    return c->status != QN_OK ? c->status : c->backend->status;
}

qn_status qn_backward(qn_context *c) {
    if (!c->tape) return qn_fail(QN_ERROR_ARGUMENT, "backward: nothing is recorded (expected qn_recording_begin)");
    if (qn_context_status(c) == QN_OK)
        qn_tape_run(c->tape, c, c->arena, c->keep);
    else
        *c->tape = (qn_tape){0};
    return qn_context_status(c);
}
