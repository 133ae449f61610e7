// Gradient checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost"): of a layer only its input
// is kept; backward runs the layer again, with the same dropout, records it this time, and goes back through it. All
// values and gradients have the bits that they have without it.
#include "nn/encoder_private.h"
#include <string.h>

typedef struct {
    qn_encoder *encoder;
    size_t layer;
    qn_tensor *x, *sub;  // what it read; sub: pre-norm, may be NULL
    qn_tensor *y, *rest; // what it gave; rest: the next sub, or NULL
    qn_tensor *distance_rows;
    qn_tokens tokens; // their arrays stand until backward
    uint64_t stream;  // of its first dropout
} record;

// The value of t as the beginning of a tape of its own.
static qn_tensor *leaf(qn_context *c, const qn_tensor *t) {
    qn_tensor *copy = qn_arena_alloc(c->records, 1, sizeof *copy);
    if (!copy) return qn_fail_operation(c, QN_ERROR_MEMORY);
    *copy = *t;
    copy->grad = NULL;
    copy->has_grad = false;
    copy->again = NULL;
    copy->record = NULL;
    copy->sibling = NULL;
    return copy;
}

static void pass_on(qn_context *c, qn_tensor *leaf, qn_tensor *to) {
    if (!leaf || !leaf->has_grad) return;
    qn_add_gradient(c, to, leaf->grad);
    qn_arena_recycle(c->arena, leaf->grad, qn_count(leaf), sizeof *leaf->grad);
}

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    bool y_counts = r->y->has_grad, rest_counts = r->rest && r->rest->has_grad;
    if ((!y_counts && !rest_counts) || !qn_value(c, r->x)) return;
    qn_tape *outer = c->tape, tape = {0};
    uint64_t stream = c->stream;
    qn_tensor *x = leaf(c, r->x), *sub = r->sub ? leaf(c, r->sub) : NULL, *next = sub;
    if (!x || (r->sub && !sub)) return;
    if (r->sub) r->sub->data = NULL; // the layer forgets it once it is in the sum
    c->tape = &tape;
    c->stream = r->stream;
    r->encoder->distance_rows = r->distance_rows;
    qn_tensor *y = qn_encoder_layer_forward(c, r->encoder, r->layer, x, &next, &r->tokens);
    if (y) {
        if (y_counts) qn_add_gradient(c, y, r->y->grad);
        if (rest_counts) qn_add_gradient(c, next, r->rest->grad);
        qn_backward(c);
    }
    c->tape = outer;
    c->stream = stream;
    pass_on(c, x, r->x);
    pass_on(c, sub, r->sub);
}

static void copy(const qn_tensor *from, qn_tensor *to) {
    memcpy(to->data, from->data, qn_count(from) * sizeof *to->data);
}

qn_tensor *qn_encoder_layer_again(qn_context *c, qn_encoder *e, size_t i, qn_tensor *x, qn_tensor **sub,
                                  const qn_tokens *tokens) {
    record r = {e, i, x, *sub, qn_new_tensor(c, x->rank, x->shape, true), NULL, e->distance_rows, *tokens, c->stream};
    if (r.y && e->config.pre_norm) r.rest = qn_new_tensor(c, x->rank, x->shape, true);
    if (!r.y || (e->config.pre_norm && !r.rest)) return NULL;
    // Recorded here too, so that each operation does what it does in backward; but that record is dropped.
    qn_arena_mark values = qn_arena_save(c->arena), records = qn_arena_save(c->records);
    qn_tape *outer = c->tape, dropped = {0};
    qn_tensor *in = leaf(c, x), *in_sub = NULL;
    if (*sub) { // a copy: the layer forgets it
        in_sub = qn_new_tensor(c, x->rank, x->shape, false);
        if (in_sub) copy(*sub, in_sub);
    }
    c->tape = &dropped;
    qn_tensor *y = in && !*sub == !in_sub ? qn_encoder_layer_forward(c, e, i, in, &in_sub, tokens) : NULL;
    c->tape = outer;
    if (y) copy(y, r.y);
    if (y && r.rest) copy(in_sub, r.rest);
    qn_arena_restore(c->arena, values);
    qn_arena_restore(c->records, records);
    if (!y || !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    *sub = r.rest;
    return r.y;
}
