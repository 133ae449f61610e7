// y = x[:, first .. first + count - 1]        x [T, d] -> [T, count];  dx = dy there, 0 elsewhere
// y = x_1 | x_2 | ... side by side            x_i [T, d_i] -> [T, sum of d_i];  dx_i = its columns of dy
#include "ops/ops.h"
#include <string.h>

typedef struct {
    qn_tensor *x, *y;
    size_t first;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    size_t rows = qn_rows(r->x), d = qn_width(r->x), count = qn_width(r->y);
    float *dx = qn_gradient(c, r->x, &accumulate);
    if (dx && !accumulate) c->backend->ops->zero(c->backend, dx, rows * d);
    for (size_t i = 0; dx && i < rows; i++)
        for (size_t k = 0; k < count; k++) dx[i * d + r->first + k] += r->y->grad[i * count + k];
}

qn_tensor *qn_columns(qn_context *c, qn_tensor *x, size_t first, size_t count) {
    if (!x) return NULL;
    size_t rows = qn_rows(x), d = qn_width(x);
    if (count > d || first > d - count) {
        qn_fail(QN_ERROR_ARGUMENT, "columns: %zu from %zu on (expected some of %zu)", count, first, d);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    record r = {x, qn_new_matrix(c, rows, count, x->requires_grad), first};
    if (!r.y) return NULL;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < count; k++) r.y->data[i * count + k] = x->data[i * d + first + k];
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}

typedef struct {
    qn_tensor **part, *y;
    size_t count;
} joined;

static void backward_joined(void *context, void *content) {
    qn_context *c = context;
    joined *r = content;
    if (!r->y->has_grad) return;
    size_t rows = qn_rows(r->y), width = qn_width(r->y), first = 0;
    for (size_t k = 0; k < r->count; k++) {
        bool accumulate;
        size_t d = qn_width(r->part[k]);
        float *dx = qn_gradient(c, r->part[k], &accumulate);
        if (dx && !accumulate) c->backend->ops->zero(c->backend, dx, rows * d);
        for (size_t i = 0; dx && i < rows; i++)
            for (size_t e = 0; e < d; e++) dx[i * d + e] += r->y->grad[i * width + first + e];
        first += d;
    }
}

qn_tensor *qn_side_by_side(qn_context *c, qn_tensor *const *part, size_t count) {
    size_t width = 0, first = 0;
    bool trains = false;
    for (size_t k = 0; k < count; k++) {
        if (!part[k]) return NULL;
        width += qn_width(part[k]);
        trains = trains || part[k]->requires_grad;
        if (qn_rows(part[k]) == qn_rows(part[0])) continue;
        qn_fail(QN_ERROR_ARGUMENT, "side by side: %zu rows beside %zu", qn_rows(part[k]), qn_rows(part[0]));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (count == 1) return part[0];
    size_t rows = qn_rows(part[0]);
    joined r = {qn_arena_alloc(c->records, count, sizeof *r.part), qn_new_matrix(c, rows, width, trains), count};
    if (!r.part || !r.y) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t k = 0; k < count; k++) {
        size_t d = qn_width(part[k]);
        r.part[k] = part[k];
        for (size_t i = 0; i < rows; i++)
            memcpy(r.y->data + i * width + first, part[k]->data + i * d, d * sizeof(float));
        first += d;
    }
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward_joined, &r)) return NULL;
    return r.y;
}
