// Normal variables that a network describes: x [T, 2 n] has their means m, then the logarithms v of their variances.
//   qn_reparameterize: y = m + exp(v / 2) e, e ~ N(0, 1), as a function of x through which gradients pass. The noise is
//                      drawn again in backward, nothing is stored.
//   qn_gaussian_divergence: the mean over rows of KL(N(m, exp(v)) || N(0, 1)), in nats
// (Kingma & Welling 2013, arXiv:1312.6114; formulas and gradients: backend/cpu/gaussian.c)
#include "ops/ops.h"

typedef struct {
    qn_tensor *x, *y;
    uint64_t seed, stream;
} record;

static qn_gaussian_args arguments(const record *r) {
    return (qn_gaussian_args){.rows = qn_rows(r->y),
                              .n = qn_width(r->y),
                              .x = r->x->data,
                              .seed = r->seed,
                              .stream = r->stream,
                              .y = r->y->data};
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    qn_gaussian_args a = arguments(r);
    a.dy = r->y->grad;
    a.dx = qn_gradient(c, r->x, &a.accumulate);
    if (a.dx) c->backend->ops->gaussian_backward(c->backend, &a);
}

static bool check(qn_context *c, const char *operation, const qn_tensor *x) {
    if (qn_width(x) % 2 == 0) return true;
    qn_fail(QN_ERROR_ARGUMENT, "%s: %zu columns (expected as many means as logarithms of variances)", operation,
            qn_width(x));
    return qn_fail_operation(c, QN_ERROR_ARGUMENT) != NULL;
}

qn_tensor *qn_reparameterize(qn_context *c, qn_tensor *x) {
    if (!x || !check(c, "reparameterize", x)) return NULL;
    qn_tensor *y = qn_new_matrix(c, qn_rows(x), qn_width(x) / 2, x->requires_grad);
    if (!y) return NULL;
    record r = {x, y, c->seed, c->stream++};
    qn_gaussian_args a = arguments(&r);
    c->backend->ops->gaussian_forward(c->backend, &a);
    if (y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return y;
}

qn_status qn_gaussian_divergence(qn_context *c, qn_tensor *x, float weight, double *loss) {
    *loss = 0;
    if (!x || !check(c, "Gaussian divergence", x)) return qn_context_status(c);
    size_t rows = qn_rows(x);
    if (rows == 0) return c->status;
    qn_gaussian_divergence_args a = {.rows = rows,
                                     .n = qn_width(x) / 2,
                                     .x = x->data,
                                     .divisor = (double)rows,
                                     .weight = (double)weight * c->loss_scale,
                                     .loss = loss,
                                     .dx = qn_taping(c) ? qn_gradient_to_write(c, x) : NULL};
    if (c->status != QN_OK) return c->status;
    c->backend->ops->gaussian_divergence(c->backend, &a);
    qn_gradient_written(c, x, a.dx);
    return qn_context_status(c);
}
