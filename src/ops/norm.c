// sum = x + dropout(sub), y = (sum - mean) / sqrt(variance + eps) gamma + beta by rows        x, sub, sum, y [T, d];
// gamma, beta [d] (Ba, Kiros, Hinton 2016.) With n = (sum - mean) rstd and g = dy gamma: dsum = rstd (g - mean(g) - n
// mean(g n)) + what reaches sum elsewhere; dx = dsum, dsub = dropout(dsum); dgamma = sum dy n, dbeta = sum dy
// Without beta it is 0. RMSNorm (Zhang, Sennrich 2019): y = sum / sqrt(mean(sum^2) + eps) gamma, and mean(g) drops out.
#include "ops/ops.h"

typedef struct {
    qn_norm_args args;
    qn_tensor *x, *sub, *gamma, *beta, *sum, *y;
} record;

// The same bits: forward computes `out` from the sum as it stands in memory.
static void norm_again(void *context, void *content, qn_tensor *y) {
    qn_context *c = context;
    const record *r = content;
    qn_norm_args args = r->args;
    if (r->sum) args.x = r->sum->data;
    args.sub = NULL;
    args.sum = args.mean = args.rstd = NULL;
    args.out = y->data;
    c->backend->ops->norm_forward(c->backend, &args);
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad && !(r->sum && r->sum->has_grad)) return;
    bool accumulate = false;
    if (!r->y->has_grad) { // only the sum was used
        float *zeros = qn_gradient(c, r->y, &accumulate);
        if (!zeros) return;
        c->backend->ops->zero(c->backend, zeros, qn_count(r->y));
        accumulate = false;
    }
    r->args.dout = r->y->grad;
    r->args.dsum = r->sum && r->sum->has_grad ? r->sum->grad : NULL;
    r->args.dx = qn_gradient(c, r->x, &accumulate);
    r->args.accumulate = accumulate;
    r->args.dsub = r->sub ? qn_gradient_to_write(c, r->sub) : NULL;
    if (!r->args.dx) { // the first norm over frozen embeddings: a place to write what nobody reads
        r->args.dx = qn_arena_alloc(c->arena, qn_count(r->x), sizeof(float));
        if (!r->args.dx) qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    if (c->status != QN_OK) return;
    r->args.dgamma = r->gamma->requires_grad ? r->gamma->grad : NULL;
    r->args.dbeta = r->beta && r->beta->requires_grad ? r->beta->grad : NULL;
    c->backend->ops->norm_backward(c->backend, &r->args);
    if (r->sub) qn_gradient_written(c, r->sub, r->args.dsub);
}

static qn_tensor *add_norm(qn_context *c, qn_tensor *x, qn_tensor *sub, qn_tensor *gamma, qn_tensor *beta, bool rms,
                           float eps, float dropout, qn_tensor **sum) {
    if (!x || !gamma) return NULL;
    size_t rows = qn_rows(x), d = qn_width(x);
    if ((sub && (qn_rows(sub) != rows || qn_width(sub) != d)) || qn_count(gamma) != d ||
        (beta && qn_count(beta) != d)) {
        qn_fail(QN_ERROR_ARGUMENT, "norm: x is [%zu, %zu], gamma [%zu] (expected equal shapes)", rows, d,
                qn_width(gamma));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    if (!qn_check_parameter(c, "norm", gamma) || !qn_check_parameter(c, "norm", beta)) return NULL;
    bool trains =
        x->requires_grad || (sub && sub->requires_grad) || gamma->requires_grad || (beta && beta->requires_grad);
    bool keep = qn_taping(c) && trains;
    record r = {.x = x, .sub = sub, .gamma = gamma, .beta = beta};
    bool own = keep || c->keep; // else x's memory is reused: for the sum where it is wanted, for the result otherwise
    if (!own && sub && !sum)
        r.y = x;
    else
        r.y = qn_new_matrix(c, rows, d, trains);
    if (!r.y) return NULL;
    if (sub && own && (keep || sum))
        r.sum = qn_new_matrix(c, rows, d, trains);
    else if (sub && sum)
        r.sum = x;
    if (sub && own && (keep || sum) && !r.sum) return NULL;
    r.args = (qn_norm_args){.rows = rows,
                            .d = d,
                            .eps = eps,
                            .rms = rms,
                            .x = x->data,
                            .sub = sub ? sub->data : NULL,
                            .gamma = gamma->data,
                            .beta = beta ? beta->data : NULL,
                            .sum = r.sum ? r.sum->data : NULL,
                            .out = r.y->data};
    if (sub && c->dropout && dropout > 0) r.args.dropout = (qn_dropout){dropout, c->seed, c->stream++};
    if (keep) {
        r.args.mean = qn_arena_alloc(c->arena, rows, sizeof(float));
        r.args.rstd = qn_arena_alloc(c->arena, rows, sizeof(float));
        if (!r.args.mean || !r.args.rstd) return qn_fail_operation(c, QN_ERROR_MEMORY);
    }
    c->backend->ops->norm_forward(c->backend, &r.args);
    if (sum) *sum = r.sum ? r.sum : x;
    if (!keep) return r.y;
    r.y->record = qn_new_record(c, sizeof r, backward, &r);
    if (!r.y->record) return NULL;
    r.y->again = norm_again;
    return r.y;
}

qn_tensor *qn_add_norm(qn_context *c, qn_tensor *x, qn_tensor *sub, qn_tensor *gamma, qn_tensor *beta, float eps,
                       float dropout, qn_tensor **sum) {
    return add_norm(c, x, sub, gamma, beta, false, eps, dropout, sum);
}

qn_tensor *qn_add_rms_norm(qn_context *c, qn_tensor *x, qn_tensor *sub, qn_tensor *gamma, float eps, float dropout,
                           qn_tensor **sum) {
    return add_norm(c, x, sub, gamma, NULL, true, eps, dropout, sum);
}
