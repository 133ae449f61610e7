// Several row-wise operations of inference as one: values and steps are noted down and run by the backend.
#include "ops/ops.h"

void qn_block_begin(qn_block *b, qn_context *c, size_t rows) {
    b->context = c;
    b->args = (qn_block_args){.rows = rows, .value = b->value, .step = b->step};
}

static int add_value(qn_block *b, size_t width, float *memory, uint16_t *narrow) {
    if (b->args.values == QN_BLOCK_VALUES) {
        qn_fail(QN_ERROR_ARGUMENT, "block: more than %d values", QN_BLOCK_VALUES);
        qn_fail_operation(b->context, QN_ERROR_ARGUMENT);
        return 0;
    }
    b->value[b->args.values] = (qn_block_value){width, memory, narrow};
    return (int)b->args.values++;
}

int qn_block_tensor(qn_block *b, qn_tensor *t) {
    if (t && qn_rows(t) == b->args.rows) return add_value(b, qn_width(t), t->data, NULL);
    if (t) qn_fail(QN_ERROR_ARGUMENT, "block: %zu rows (expected %zu)", qn_rows(t), b->args.rows);
    qn_fail_operation(b->context, QN_ERROR_ARGUMENT);
    return 0;
}

int qn_block_narrow(qn_block *b, qn_narrow_tensor *t) {
    if (t && t->rows == b->args.rows) return add_value(b, t->width, NULL, t->data);
    qn_fail_operation(b->context, QN_ERROR_ARGUMENT);
    return 0;
}

int qn_block_inside(qn_block *b, size_t width) {
    return add_value(b, width, NULL, NULL);
}

static void add_step(qn_block *b, const qn_block_step *s, bool fits) {
    if (fits && b->args.steps < sizeof b->step / sizeof *b->step) {
        b->step[b->args.steps++] = *s;
        return;
    }
    qn_fail(QN_ERROR_ARGUMENT, "block: step %zu does not fit (expected packed weights of the values' widths)",
            b->args.steps);
    qn_fail_operation(b->context, QN_ERROR_ARGUMENT);
}

void qn_block_linear(qn_block *b, int from, const qn_tensor *weight, const qn_tensor *bias, qn_activation f, int to) {
    bool fits = weight->packed && b->value[from].width == qn_width(weight) && b->value[to].width == weight->shape[0];
    add_step(b,
             &(qn_block_step){.kind = QN_STEP_LINEAR,
                              .from = from,
                              .to = to,
                              .sub = -1,
                              .sum = -1,
                              .bias = bias ? bias->data : NULL,
                              .weight = {weight->data, weight->shape[0], qn_width(weight), weight->packed},
                              .activation = f},
             fits);
}

void qn_block_norm(qn_block *b, int from, int sub, int sum, const qn_block_norm_form *form, int to) {
    size_t d = qn_count(form->gamma);
    bool fits = b->value[from].width == d && b->value[to].width == d && (sub < 0 || b->value[sub].width == d) &&
                (sum < 0 || b->value[sum].width == d);
    add_step(b,
             &(qn_block_step){.kind = QN_STEP_NORM,
                              .from = from,
                              .to = to,
                              .sub = sub,
                              .sum = sum,
                              .bias = form->beta ? form->beta->data : NULL,
                              .gamma = form->gamma->data,
                              .eps = form->eps,
                              .rms = form->rms},
             fits);
}

void qn_block_glu(qn_block *b, int from, qn_activation f, bool gate_last, int to) {
    add_step(
        b,
        &(qn_block_step){
            .kind = QN_STEP_GLU, .from = from, .to = to, .sub = -1, .sum = -1, .activation = f, .gate_last = gate_last},
        b->value[from].width == 2 * b->value[to].width);
}

void qn_block_rotate(qn_block *b, int value, size_t heads, size_t head_width, const int32_t *positions,
                     const qn_rotary *rotary) {
    add_step(b,
             &(qn_block_step){.kind = QN_STEP_ROTATE,
                              .from = value,
                              .to = value,
                              .sub = -1,
                              .sum = -1,
                              .heads = heads,
                              .head_width = head_width,
                              .positions = positions,
                              .rotary = *rotary},
             heads * head_width <= b->value[value].width && 2 * rotary->half <= head_width);
}

void qn_block_run(qn_block *b) {
    if (b->context->status == QN_OK) b->context->backend->ops->block_forward(b->context->backend, &b->args);
}

qn_narrow_tensor *qn_new_narrow(qn_context *c, size_t rows, size_t width) {
    qn_narrow_tensor *t = qn_arena_alloc(c->records, 1, sizeof *t);
    if (!t) return qn_fail_operation(c, QN_ERROR_MEMORY);
    *t = (qn_narrow_tensor){rows, width, qn_arena_alloc(c->arena, rows * width, sizeof(uint16_t))};
    return t->data ? t : qn_fail_operation(c, QN_ERROR_MEMORY);
}
