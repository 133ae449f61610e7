// z += scale drop(x) A^T B^T for each adapter of a linear layer's weight: A [r, in], B [out, r], z [T, out] or a part
// of wider rows, where several weights are one product (Hu et al. 2021) du = scale dz B, dA = du^T drop(x), dB = scale
// dz^T (drop(x) A^T), dx += drop(du A)
#include "base/half.h"
#include "ops/ops.h"

struct qn_adapted {
    const qn_adapter *adapter;
    size_t first, skip, count; // columns first .. first + count - 1 of z are the adapter's outputs from `skip` on
    float *u;                  // [T, r]
    qn_dropout dropout;        // p = 0: none
    qn_adapted *next;
};

// The part of an adapter's weight that lies in `weight`, which may be a view over several or over a part of one.
static bool overlap(const qn_tensor *weight, const qn_adapter *a, qn_adapted *out) {
    const float *start = weight->data, *end = start + qn_count(weight);
    const float *from = a->target->data, *to = from + qn_count(a->target);
    if (from >= end || to <= start) return false;
    size_t in = qn_width(weight);
    out->adapter = a;
    out->skip = from < start ? (size_t)(start - from) / in : 0;
    out->first = from > start ? (size_t)(from - start) / in : 0;
    out->count = (size_t)((to < end ? to : end) - (from > start ? from : start)) / in;
    return true;
}

bool qn_adapters_train(const qn_tensor *weight) {
    qn_adapted part;
    for (const qn_adapter *a = weight->adapter; a; a = a->next)
        if (overlap(weight, a, &part) && (a->a->requires_grad || a->b->requires_grad)) return true;
    return false;
}

static qn_low_rank_args arguments(const qn_adapted *r, size_t rows, const float *x) {
    const qn_adapter *a = r->adapter;
    size_t rank = qn_width(a->b);
    return (qn_low_rank_args){.rows = rows,
                              .in = qn_width(a->a),
                              .out = r->count,
                              .rank = rank,
                              .x = x,
                              .a = a->a->data,
                              .b = a->b->data + r->skip * rank,
                              .scale = a->scale,
                              .u = r->u};
}

// drop(x) in float32: x itself, or memory of the arena; NULL after a failure.
static const float *input_of(qn_context *c, const qn_adapted *r, const qn_tensor *x) {
    if (r->dropout.p <= 0 && !x->narrow) return x->data;
    size_t count = qn_count(x);
    float *y = qn_arena_alloc(c->arena, count, sizeof *y);
    if (!y) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; x->narrow && i < count; i++) y[i] = qn_bf16_to_f32(x->narrow[i]);
    if (r->dropout.p > 0)
        c->backend->ops->dropout(c->backend, r->dropout, qn_rows(x), qn_width(x), x->narrow ? y : x->data, y, false);
    return y;
}

static void give_back(qn_context *c, const qn_tensor *x, const float *input) {
    if (input != x->data) qn_arena_recycle(c->arena, (float *)(uintptr_t)input, qn_count(x), sizeof *input);
}

bool qn_adapters_forward(qn_context *c, const qn_tensor *x, const qn_tensor *weight, float *z, qn_adapted **out) {
    size_t rows = qn_rows(x);
    *out = NULL;
    for (const qn_adapter *a = weight->adapter; a; a = a->next) {
        qn_adapted part = {0};
        if (!overlap(weight, a, &part)) continue;
        qn_adapted *r = qn_arena_zalloc(c->records, 1, sizeof *r);
        float *u = r ? qn_arena_alloc(c->arena, rows * qn_width(a->b), sizeof *u) : NULL;
        if (!u) return qn_fail_operation(c, QN_ERROR_MEMORY);
        *r = part;
        r->u = u;
        r->next = *out;
        if (c->dropout && a->dropout > 0) r->dropout = (qn_dropout){a->dropout, c->seed, c->stream++};
        *out = r;
        const float *from = input_of(c, r, x);
        if (!from) return false;
        qn_low_rank_args args = arguments(r, rows, from);
        args.y = z + r->first;
        args.y_stride = weight->shape[0];
        c->backend->ops->low_rank_forward(c->backend, &args);
        give_back(c, x, from);
    }
    return true;
}

static void backward(qn_context *c, const qn_adapted *r, const qn_tensor *x, const qn_tensor *weight, const float *dz,
                     float *dx) {
    size_t rows = qn_rows(x), in = qn_width(x);
    const qn_adapter *a = r->adapter;
    const float *from = input_of(c, r, x);
    float *own_dx = dx;
    if (dx && r->dropout.p > 0) own_dx = qn_arena_alloc(c->arena, rows * in, sizeof *own_dx);
    if (!from || (dx && !own_dx)) {
        qn_fail_operation(c, QN_ERROR_MEMORY);
        return;
    }
    qn_low_rank_args args = arguments(r, rows, from);
    args.dy = dz + r->first;
    args.y_stride = weight->shape[0];
    args.dx = own_dx;
    args.accumulate = own_dx == dx;
    args.da = a->a->requires_grad ? a->a->grad : NULL;
    args.db = a->b->requires_grad ? a->b->grad + r->skip * qn_width(a->b) : NULL;
    c->backend->ops->low_rank_backward(c->backend, &args);
    give_back(c, x, from);
    if (own_dx == dx) return;
    c->backend->ops->dropout(c->backend, r->dropout, rows, in, own_dx, dx, true);
    qn_arena_recycle(c->arena, own_dx, rows * in, sizeof *own_dx);
}

void qn_adapters_backward(qn_context *c, const qn_adapted *steps, const qn_tensor *x, const qn_tensor *weight,
                          const float *dz, float *dx) {
    for (const qn_adapted *r = steps; r; r = r->next) backward(c, r, x, weight, dz, dx);
}
