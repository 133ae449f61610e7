// What the tests of operations share: contexts on every instruction set, parameters of random values, and gradients
// compared with finite differences.
#pragma once
#include "ops/ops.h"
#include "support.h"
#include <math.h>

enum { MOST_PARAMETERS = 8, MOST_VALUES = 1 << 17 };

// The instruction sets of the library; those that this CPU lacks are passed over by open_context.
static const char *const all_isas[] = {"ref", "avx2", "avx512"};

static inline qn_context *open_context(int threads, const char *isa) { // NULL where the CPU lacks it
    qn_context *c;
    qn_status status = qn_context_create(threads, isa, &c);
    if (status == QN_ERROR_UNSUPPORTED) return NULL;
    assert_ok(status);
    return c;
}

static inline const float *random_values(uint64_t stream, size_t count) { // [count], the same for the same stream
    static float values[MOST_VALUES];
    assert_true(count <= MOST_VALUES);
    qn_random_normal(11, stream, 1, values, count);
    return values;
}

static inline qn_tensor *random_parameter(size_t rows, size_t width, uint64_t stream) { // rows 0: a vector
    qn_tensor *p;
    size_t shape[2] = {rows ? rows : width, width};
    assert_ok(qn_parameter_create(rows ? 2 : 1, shape, random_values(stream, (rows ? rows : 1) * width), &p));
    return p;
}

static inline qn_tensor *random_matrix(size_t rows, size_t width, uint64_t stream) { // rows may be 0
    qn_tensor *p;
    assert_ok(qn_parameter_create(2, (size_t[]){rows, width}, random_values(stream, rows * width), &p));
    return p;
}

// J = sum over elements of w y with fixed random w, in double precision; while recording, y's gradient becomes w.
static inline double weighed(qn_context *c, qn_tensor *y) {
    if (!y) fail_msg("%s", qn_last_error());
    size_t count = qn_count(y);
    const float *w = random_values(99, count);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)w[i] * y->data[i];
    if (!qn_taping(c)) return sum;
    bool accumulate;
    float *grad = qn_gradient(c, y, &accumulate);
    for (size_t i = 0; grad && i < count; i++) grad[i] = accumulate ? grad[i] + w[i] : w[i];
    return sum;
}

// A function of parameters: its value, with gradients put where it is recorded.
typedef double (*objective)(qn_context *c, qn_tensor **p);

static inline double value_of(qn_context *c, objective f, qn_tensor **p) {
    qn_context_reset(c);
    qn_context_dropout(c, true, 5);
    return f(c, p);
}

// Central differences at h and 2 h, combined so that the error is of the fourth order (Richardson). The forward is the
// reference's, in float32 with double sums, so that h = 1/64 leaves some 1e-5 of rounding.
static inline double difference(qn_context *reference, objective f, qn_tensor **p, float *value) {
    const double h = 1.0 / 64;
    double j[4], kept = *value, steps[4] = {-2 * h, -h, h, 2 * h};
    for (int i = 0; i < 4; i++) {
        *value = (float)(kept + steps[i]);
        j[i] = value_of(reference, f, p);
    }
    *value = (float)kept;
    return (8 * (j[2] - j[1]) - (j[3] - j[0])) / (12 * h);
}

// Compares every gradient with finite differences, on every instruction set and two threads. Frees the parameters.
static inline void check_gradients(const char *name, objective f, qn_tensor **p, size_t count, double tolerance) {
    qn_context *reference = open_context(1, "ref");
    double *expected[MOST_PARAMETERS];
    for (size_t i = 0; i < count; i++) {
        size_t n = qn_count(p[i]);
        expected[i] = calloc(n + 1, sizeof *expected[i]);
        for (size_t e = 0; e < n; e++) expected[i][e] = difference(reference, f, p, p[i]->data + e);
    }
    for (size_t isa = 0; isa < 3; isa++) {
        qn_context *c = open_context(2, all_isas[isa]);
        if (!c) continue;
        qn_recording_begin(c);
        value_of(c, f, p);
        assert_ok(qn_backward(c));
        for (size_t i = 0; i < count; i++) {
            double top = 1, worst = 0;
            for (size_t e = 0; e < qn_count(p[i]); e++) {
                top = fmax(top, fabs(expected[i][e]));
                worst = fmax(worst, fabs(expected[i][e] - p[i]->grad[e]));
                p[i]->grad[e] = 0;
            }
            if (!(worst <= tolerance * top))
                fail_msg("%s, %s, parameter %zu: gradient differs by %.3g, largest value %.3g", name, all_isas[isa], i,
                         worst, top);
        }
        qn_context_destroy(c);
    }
    for (size_t i = 0; i < count; i++) {
        free(expected[i]);
        qn_parameter_free(p[i]);
    }
    qn_context_destroy(reference);
}
