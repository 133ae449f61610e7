// Products of rows, for losses on the vectors of texts.
//   similarities      y[i, j] = scale a_i . b_j            a [n, d], b [m, d] -> [n, m]
//                     da = scale dy b, db = scale dy^T a
//   group scores      y[i, k] = x_0 . x_(k+1), or |x_0 - x_(k+1)|, of the rows x_0 .. x_(w-1) of group i
//                     x [n w, d] -> [n, w - 1]; backward: backend/cpu/scores.c
#include "ops/ops.h"
#include <string.h>

typedef struct {
    qn_tensor *a, *b, *y;
    float scale, *scaled; // scale a [n, d]
} record;

static void add_scaled(size_t count, float factor, const float *from, float *to, bool accumulate) {
    for (size_t i = 0; i < count; i++) to[i] = accumulate ? to[i] + factor * from[i] : factor * from[i];
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    size_t n = qn_rows(r->a), m = qn_rows(r->b), d = qn_width(r->a);
    bool add_a = false, add_b = false;
    float *da = qn_gradient(c, r->a, &add_a), *db = qn_gradient(c, r->b, &add_b);
    float *dx = da ? qn_arena_alloc(c->arena, n * d, sizeof *dx) : NULL;
    if (da && !dx) {
        qn_fail_operation(c, QN_ERROR_MEMORY);
        return;
    }
    if (db && !add_b) c->backend->ops->zero(c->backend, db, m * d);
    c->backend->ops->linear_backward(
        c->backend,
        &(qn_linear_backward_args){
            .rows = n, .x = r->scaled, .weight = {r->b->data, m, d, NULL}, .dy = r->y->grad, .dx = dx, .dweight = db});
    if (!da) return;
    add_scaled(n * d, r->scale, dx, da, add_a);
    qn_arena_recycle(c->arena, dx, n * d, sizeof *dx);
}

qn_tensor *qn_similarities(qn_context *c, qn_tensor *a, qn_tensor *b, float scale) {
    if (!a || !b) return NULL;
    size_t n = qn_rows(a), m = qn_rows(b), d = qn_width(a);
    if (qn_width(b) != d) {
        qn_fail(QN_ERROR_ARGUMENT, "similarities: vectors of widths %zu and %zu (expected equal ones)", d, qn_width(b));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    record r = {a, b, qn_new_matrix(c, n, m, a->requires_grad || b->requires_grad), scale,
                qn_arena_alloc(c->arena, n * d, sizeof(float))};
    if (!r.y || !r.scaled) return qn_fail_operation(c, QN_ERROR_MEMORY);
    add_scaled(n * d, scale, a->data, r.scaled, false);
    c->backend->ops->linear_forward(
        c->backend,
        &(qn_linear_forward_args){.rows = n, .x = r.scaled, .weight = {b->data, m, d, NULL}, .y = r.y->data});
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}

// --- Group scores

typedef struct {
    qn_group_scores_args args;
    qn_tensor *x, *y;
} group_record;

static void group_backward(void *context, void *content) {
    qn_context *c = context;
    group_record *r = content;
    if (!r->y->has_grad) return;
    bool accumulate;
    r->args.dy = r->y->grad;
    r->args.dx = qn_gradient(c, r->x, &accumulate);
    r->args.accumulate = accumulate;
    if (r->args.dx) c->backend->ops->group_scores_backward(c->backend, &r->args);
}

qn_tensor *qn_group_scores(qn_context *c, qn_tensor *x, size_t width, bool distance) {
    if (!x) return NULL;
    size_t rows = qn_rows(x);
    if (width < 2 || rows % width != 0) {
        qn_fail(QN_ERROR_ARGUMENT, "group scores: %zu rows in groups of %zu (expected whole groups of 2 or more)", rows,
                width);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    group_record r = {.x = x, .y = qn_new_matrix(c, rows / width, width - 1, x->requires_grad)};
    if (!r.y) return NULL;
    r.args = (qn_group_scores_args){
        .groups = rows / width, .width = width, .d = qn_width(x), .distance = distance, .x = x->data, .y = r.y->data};
    c->backend->ops->group_scores_forward(c->backend, &r.args);
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, group_backward, &r)) return NULL;
    return r.y;
}
