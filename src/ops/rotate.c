// Rotary position embeddings (Su et al. 2021), in place: in each of the first `heads` heads of a row at position p, the
// pairs (x[i], x[i + half]) turn by the angle p theta_i:
//   x[i] <- x[i] cos - x[i + half] sin, x[i + half] <- x[i + half] cos + x[i] sin        x [T, at least heads h]
// Backward turns the gradient back, in place too: whoever made x asks for its gradient alone, not for its value.
#include "ops/ops.h"

typedef struct {
    qn_rotate_args args;
    qn_tensor *x;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->x->has_grad) return;
    r->args.x = r->x->grad;
    r->args.back = true;
    c->backend->ops->rotate(c->backend, &r->args);
}

qn_tensor *qn_rotate(qn_context *c, qn_tensor *x, size_t heads, size_t head_width, const int32_t *positions,
                     const qn_rotary *rotary) {
    if (!x) return NULL;
    if (heads * head_width > qn_width(x) || 2 * rotary->half > head_width) {
        qn_fail(QN_ERROR_ARGUMENT, "rotary: %zu heads of %zu with %zu pairs in rows of %zu (expected them to fit)",
                heads, head_width, rotary->half, qn_width(x));
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    record r = {.x = x};
    r.args = (qn_rotate_args){.rows = qn_rows(x),
                              .heads = heads,
                              .head_width = head_width,
                              .stride = qn_width(x),
                              .x = x->data,
                              .positions = positions,
                              .rotary = *rotary};
    c->backend->ops->rotate(c->backend, &r.args);
    if (x->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return x;
}
