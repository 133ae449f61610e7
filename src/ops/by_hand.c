// What programs need to build layers by hand (quern.h, "Tensors and operations") and the library's own models do not: a
// context with everything in it, constants, and parameters on their own with their optimizer.
// AdamW: p -= rate decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
//        p -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)   (Loshchilov & Hutter 2019; the backend's adamw)
#include "base/rng.h"
#include "ops/ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    qn_context context; // first member
    qn_tape tape;
} whole_context;

qn_status qn_context_create(int threads, const char *isa, qn_context **out) {
    *out = NULL;
    whole_context *whole = qn_calloc(1, sizeof *whole);
    if (!whole) return QN_ERROR_MEMORY;
    qn_context *c = &whole->context;
    *c = (qn_context){
        .arena = qn_arena_create(1 << 16), .records = qn_arena_create(1 << 14), .loss_scale = 1, .keep = true};
    qn_status status = c->arena && c->records ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_backend_create_cpu(threads, isa, &c->backend);
    if (status == QN_OK)
        *out = c;
    else
        qn_context_destroy(c);
    return status;
}

void qn_context_destroy(qn_context *c) {
    if (!c) return;
    qn_arena_destroy(c->arena);
    qn_arena_destroy(c->records);
    qn_backend_destroy(c->backend);
    free(c);
}

void qn_context_reset(qn_context *c) {
    qn_arena_reset(c->arena);
    qn_arena_reset(c->records);
    if (c->tape) *c->tape = (qn_tape){0};
    c->status = c->backend->status = QN_OK;
}

void qn_recording_begin(qn_context *c) {
    whole_context *whole = (whole_context *)c;
    whole->tape = (qn_tape){0};
    c->tape = &whole->tape;
}

void qn_recording_end(qn_context *c) {
    c->tape = NULL;
}

void qn_context_dropout(qn_context *c, bool on, uint64_t seed) {
    c->dropout = on;
    c->seed = seed;
    c->stream = 0;
}

// The number of elements, or false where the shape is not one.
static bool shape_count(int rank, const size_t *shape, size_t *count) {
    *count = 1;
    if (rank < 1 || rank > QN_MAX_RANK) {
        qn_fail(QN_ERROR_ARGUMENT, "a tensor of %d dimensions (expected 1 to %d)", rank, QN_MAX_RANK);
        return false;
    }
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(*count, shape[i], count) || *count > SIZE_MAX / 64) {
            qn_fail(QN_ERROR_ARGUMENT, "a tensor is too large: dimension %d is %zu", i, shape[i]);
            return false;
        }
    return true;
}

qn_tensor *qn_constant(qn_context *c, int rank, const size_t *shape, const float *data) {
    size_t count;
    if (!shape_count(rank, shape, &count)) return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    qn_tensor *t = qn_new_tensor(c, rank, shape, false);
    if (t) c->backend->ops->copy_in(c->backend, t->data, data, count * sizeof *data);
    return t;
}

qn_status qn_parameter_create(int rank, const size_t *shape, const float *data, qn_tensor **out) {
    *out = NULL;
    size_t count;
    if (!shape_count(rank, shape, &count)) return QN_ERROR_ARGUMENT;
    qn_tensor *t = qn_calloc(1, sizeof *t);
    float *memory = t ? qn_aligned_alloc(4 * count * sizeof *memory) : NULL; // values, gradient, two moments
    if (!memory) {
        free(t);
        return QN_ERROR_MEMORY;
    }
    memset(memory, 0, 4 * count * sizeof *memory);
    if (data) memcpy(memory, data, count * sizeof *data);
    *t = (qn_tensor){.rank = rank,
                     .data = memory,
                     .grad = memory + count,
                     .moments = memory + 2 * count,
                     .requires_grad = true,
                     .has_grad = true};
    memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
    *out = t;
    return QN_OK;
}

void qn_parameter_free(qn_tensor *parameter) {
    if (!parameter) return;
    qn_aligned_free(parameter->data);
    free(parameter);
}

void qn_random_normal(uint64_t seed, uint64_t stream, double deviation, float *values, size_t count) {
    qn_rng rng = {.seed = seed, .stream = stream};
    for (size_t i = 0; i < count; i++) values[i] = (float)(deviation * qn_rng_normal(&rng));
}

int qn_tensor_rank(const qn_tensor *t) {
    return t->rank;
}

size_t qn_tensor_size(const qn_tensor *t, int dimension) {
    return dimension >= 0 && dimension < t->rank ? t->shape[dimension] : 0;
}

size_t qn_tensor_count(const qn_tensor *t) {
    return qn_count(t);
}

float *qn_tensor_data(qn_tensor *t) {
    return t->data;
}

float *qn_tensor_grad(qn_tensor *t) {
    return t->has_grad ? t->grad : NULL;
}

qn_adamw_options qn_adamw_defaults(void) {
    return (qn_adamw_options){.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
}

qn_status qn_adamw_step(qn_context *c, qn_tensor *const *parameters, size_t count, const qn_adamw_options *options,
                        int64_t step) {
    qn_adamw_options o = options ? *options : qn_adamw_defaults();
    if (step < 1) return qn_fail(QN_ERROR_ARGUMENT, "adamw: step %lld (expected 1 or more)", (long long)step);
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (!parameters[i]->moments)
            return qn_fail(QN_ERROR_ARGUMENT, "adamw: tensor %zu is not a parameter of qn_parameter_create", i);
        squares += c->backend->ops->sum_squares(c->backend, qn_count(parameters[i]), parameters[i]->grad);
    }
    if (c->backend->status != QN_OK) return c->backend->status;
    if (!isfinite(squares))
        return qn_fail(QN_ERROR_DIVERGED, "adamw: a gradient is not a number at step %lld (try a lower learning rate)",
                       (long long)step);
    double norm = sqrt(squares);
    double scale = o.max_gradient_norm > 0 && norm > o.max_gradient_norm ? o.max_gradient_norm / (norm + 1e-6) : 1;
    qn_adamw f = qn_adamw_update(&o, step, scale);
    for (size_t i = 0; i < count; i++) {
        qn_tensor *p = parameters[i];
        size_t size = qn_count(p);
        c->backend->ops->adamw(c->backend, &f, size, p->data, p->grad, p->moments, p->moments + size);
    }
    return QN_OK;
}
