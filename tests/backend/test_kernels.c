// Every kernel of every instruction set that this CPU can run, against its definition. Arrays end where an unreadable
// page begins, so that reading or writing one element too many is a crash, and they have a guard in front.
#include "backend/cpu/constants.h"
#include "backend/cpu/ref/ref.h"
#include "base/half.h"
#include "base/rng.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

// ---- Arrays before an unreadable page
// --------------------------------------------------------------------------------

enum { SLOTS = 16, SLOT_BYTES = 1 << 20, GUARD = 40 };
static char *slots[SLOTS];
static struct {
    float *data;
    size_t count;
} taken[SLOTS];
static int used;
static const uint32_t GUARD_BITS = 0x7fc0dead; // a NaN: reading it spoils every result

static int make_slots(void **state) {
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < SLOTS; i++) {
        slots[i] = mmap(NULL, SLOT_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (slots[i] == MAP_FAILED || mprotect(slots[i] + SLOT_BYTES, page, PROT_NONE) != 0) return -1;
    }
    return 0;
}

static int drop_slots(void **state) {
    (void)state;
    for (int i = 0; i < SLOTS; i++) munmap(slots[i], SLOT_BYTES + (size_t)sysconf(_SC_PAGESIZE));
    return 0;
}

// `count` floats that end `slack` floats before the unreadable page; what stands before and after holds the guard
// pattern.
static float *take_slack(size_t count, size_t slack) {
    assert_true(used < SLOTS && (count + slack + GUARD) * sizeof(float) < SLOT_BYTES);
    float *data = (float *)(void *)(slots[used] + SLOT_BYTES) - count - slack;
    for (float *p = data - GUARD; p < data + count + slack; p++) memcpy(p, &GUARD_BITS, sizeof *p);
    taken[used].data = data;
    taken[used++].count = count;
    return data;
}

static float *take(size_t count) {
    return take_slack(count, 0);
}

// Checks the guards in front of all arrays and gives them back.
static void give_back(const char *isa, const char *kernel) {
    for (int i = 0; i < used; i++)
        for (const float *p = taken[i].data - GUARD; p < (float *)(void *)(slots[i] + SLOT_BYTES); p++)
            if ((p < taken[i].data || p >= taken[i].data + taken[i].count) && memcmp(p, &GUARD_BITS, sizeof *p) != 0)
                fail_msg("%s %s wrote outside array %d of %zu floats", isa, kernel, i, taken[i].count);
    used = 0;
}

static qn_rng rng = {2024, 1, 0};

static float uniform(float low, float high) {
    return low + (high - low) * (float)qn_rng_real(&rng);
}

static float *random_array(size_t count, float low, float high) {
    float *x = take(count);
    for (size_t i = 0; i < count; i++) x[i] = uniform(low, high);
    return x;
}

static float *copy_of(const float *x, size_t count) {
    float *y = take(count);
    if (count) memcpy(y, x, count * sizeof *y);
    return y;
}

// ---- Comparison
// ------------------------------------------------------------------------------------------------------

static bool near(double found, double expected, double relative, double absolute) {
    if (isnan(expected)) return isnan(found);
    if (isinf(expected) || isinf(found)) return found == expected;
    return fabs(found - expected) <= relative * fabs(expected) + absolute;
}

static void assert_near(const char *isa, const char *what, size_t n, const float *found, const float *expected,
                        double relative, double absolute) {
    for (size_t i = 0; i < n; i++)
        if (!near(found[i], expected[i], relative, absolute))
            fail_msg("%s %s[%zu of %zu] is %.9g (expected %.9g)", isa, what, i, n, found[i], expected[i]);
}

static void assert_same(const char *isa, const char *what, size_t n, const float *found, const float *expected) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(found + i, expected + i, sizeof *found) != 0 && !(isnan(found[i]) && isnan(expected[i])))
            fail_msg("%s %s[%zu of %zu] is %.9g (expected the bits of %.9g)", isa, what, i, n, found[i], expected[i]);
}

static double ulp_of(double value) { // distance of floats at value, the smallest denormal included
    double a = fabs(value);
    if (a < FLT_MIN) return 0x1p-149;
    int exponent;
    frexp(a, &exponent);
    return ldexp(1.0, exponent - 24);
}

static const size_t long_sizes[] = {127, 128, 129, 255, 384, 1000, 4099};
enum { SHORT_SIZES = 71, SIZES = SHORT_SIZES + 7 };
static size_t size_at(size_t i) {
    return i < SHORT_SIZES ? i : long_sizes[i - SHORT_SIZES];
}

static qn_kernels ref;

// ---- Activations
// -----------------------------------------------------------------------------------------------------

static const qn_activation functions[] = {
#define FUNCTION(text, name) QN_ACTIVATION_##name,
    QN_ACTIVATION_MAP(FUNCTION)};
static const char *const function_names[] = {
#define FUNCTION_NAME(text, name) #name,
    QN_ACTIVATION_MAP(FUNCTION_NAME)};

// The definitions, in a form that keeps the digits of the negative tail.
static long double activation(qn_activation f, long double x) {
    const long double root = sqrtl(2.0L / acosl(-1.0L));
    switch (f) {
    case QN_ACTIVATION_GELU:
        return x * erfcl(-x / sqrtl(2.0L)) / 2;
    case QN_ACTIVATION_GELU_TANH:
        return x / (1 + expl(-2 * root * (x + 0.044715L * x * x * x)));
    case QN_ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case QN_ACTIVATION_SILU:
        return x / (1 + expl(-x));
    case QN_ACTIVATION_TANH:
        return tanhl(x);
    default:
        return x;
    }
}

// Calls visit with blocks of a sweep: a fine grid where the functions bend, then every sign and exponent.
enum { SWEEP_BLOCK = 4096 };
typedef void (*sweep_visit)(const qn_kernels *k, qn_activation f, size_t n, const float *x);
static void sweep(const qn_kernels *k, qn_activation f, sweep_visit visit) {
    static float x[SWEEP_BLOCK];
    size_t n = 0;
    for (int i = -16 * 2048; i <= 16 * 2048; i++) {
        x[n++] = (float)i * (1.0f / 2048) + uniform(0, 1.0f / 2048);
        if (n == SWEEP_BLOCK) {
            visit(k, f, n, x);
            n = 0;
        }
    }
    visit(k, f, n, x);
    n = 0;
    for (int e = -149; e < 128; e++)
        for (int sign = -1; sign <= 1; sign += 2) x[n++] = (float)sign * ldexpf(uniform(1, 2), e);
    visit(k, f, n, x);
}

// How far off a function may be, in units in the last place, where neither the result nor a factor of it is denormal.
// In the negative tail the cubic of GELU_TANH is an exponent, which magnifies its rounding error as much as it is
// large.
static double ulps_allowed(qn_activation f, float x) {
    return f == QN_ACTIVATION_GELU_TANH && x < -1 ? 300 : 4;
}

static void visit_forward(const qn_kernels *k, qn_activation f, size_t n, const float *x) {
    static float y[SWEEP_BLOCK];
    k->activation_forward(f, n, x, y);
    for (size_t i = 0; i < n; i++) {
        double expected = (double)activation(f, x[i]), error = fabs(y[i] - expected);
        bool large = error > 1.5e-7 * (1 + fabs((double)x[i]));
        if (f == QN_ACTIVATION_GELU && error <= 3e-8) continue; // absolute in the tail, as x (1 + erf) / 2 is
        if (large || (fabs(expected) >= 1e-36 && error > ulps_allowed(f, x[i]) * ulp_of(expected)))
            fail_msg("%s %s(%.9g) is %.9g (expected %.9g)", k->name, function_names[f], x[i], y[i], expected);
    }
}

static void check_activation_forward(const qn_kernels *k) {
    for (size_t f = 0; f < COUNT(functions); f++) {
        sweep(k, functions[f], visit_forward);
        for (size_t s = 0; s < SIZES; s++) {
            size_t n = size_at(s);
            float *x = random_array(n, -5, 5), *y = take(n), *expected = take(n);
            k->activation_forward(functions[f], n, x, y);
            for (size_t i = 0; i < n; i++) k->activation_forward(functions[f], 1, x + i, expected + i);
            assert_same(k->name, "an activation alone", n, y, expected);
            k->activation_forward(functions[f], n, x, x);
            assert_same(k->name, "an activation in place", n, x, expected);
            give_back(k->name, "activation_forward");
        }
        static const float special[] = {NAN,      INFINITY, -INFINITY, 0.0f, -0.0f, FLT_MAX,
                                        -FLT_MAX, 1e-45f,   100,       -100, 20,    -20};
        float y[COUNT(special)], expected[COUNT(special)];
        k->activation_forward(functions[f], COUNT(special), special, y);
        ref.activation_forward(functions[f], COUNT(special), special, expected);
        assert_near(k->name, function_names[f], COUNT(special), y, expected, 4e-7,
                    functions[f] == QN_ACTIVATION_GELU ? 3e-8 : (double)FLT_MIN);
    }
}

static void visit_backward(const qn_kernels *k, qn_activation f, size_t n, const float *x) {
    static float dy[SWEEP_BLOCK], dx[SWEEP_BLOCK];
    for (size_t i = 0; i < n; i++) dy[i] = 1;
    k->activation_backward(f, n, x, dy, dx);
    for (size_t i = 0; i < n; i++) {
        if (fabsf(x[i]) > 1e6f) continue;
        long double h = 1e-6L;
        double expected = (double)((activation(f, x[i] + h) - activation(f, x[i] - h)) / (2 * h));
        if (f == QN_ACTIVATION_RELU && fabsf(x[i]) < 1e-6f) continue; // the kink
        if (!near(dx[i], expected, 3e-7, 1e-7))
            fail_msg("%s %s'(%.9g) is %.9g (expected %.9g)", k->name, function_names[f], x[i], dx[i], expected);
    }
}

static void check_activation_backward(const qn_kernels *k) {
    for (size_t f = 0; f < COUNT(functions); f++) {
        sweep(k, functions[f], visit_backward);
        for (size_t s = 0; s < SIZES; s++) {
            size_t n = size_at(s);
            float *x = random_array(n, -5, 5), *dy = random_array(n, -2, 2), *dx = take(n), *expected = take(n);
            ref.activation_backward(functions[f], n, x, dy, expected);
            k->activation_backward(functions[f], n, x, dy, dx);
            assert_near(k->name, "activation_backward", n, dx, expected, 1e-6, 2e-7);
            k->activation_backward(functions[f], n, x, dy, dy);
            assert_same(k->name, "activation_backward in place", n, dy, dx);
            give_back(k->name, "activation_backward");
        }
        static const float special[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, FLT_MAX, -FLT_MAX, 1e-45f, 100, -100};
        float one[COUNT(special)], y[COUNT(special)], expected[COUNT(special)];
        for (size_t i = 0; i < COUNT(special); i++) one[i] = 1;
        k->activation_backward(functions[f], COUNT(special), special, one, y);
        ref.activation_backward(functions[f], COUNT(special), special, one, expected);
        assert_near(k->name, "a slope at a special value", COUNT(special), y, expected, 1e-6, 1e-37);
    }
}

// ---- Dropout
// ---------------------------------------------------------------------------------------------------------

static void check_dropout(const qn_kernels *k) {
    static const float rates[] = {0, 0.1f, 0.5f, 0.999f, 0.9999999f};
    for (size_t p = 0; p < COUNT(rates); p++) {
        qn_dropout f = {rates[p], 0x123456789abcdef0u, 0xfedcba9876543210u};
        uint32_t threshold = (uint32_t)lrint(rates[p] * 65536.0);
        size_t kept = 0, all = 0;
        for (size_t s = 0; s < SIZES; s++) {
            size_t n = size_at(s);
            uint64_t counter = s % 3 == 0 ? 0xfffffffffffffff8u + s : s % 3 == 1 ? 0xfffffffeu : 7 * s;
            float *x = random_array(n, -3, 3), *y = take(n), *expected = take(n), *sum = random_array(n, -1, 1),
                  *base = copy_of(sum, n);
            for (size_t i = 0; i < n; i++) { // as kernels.h says
                qn_random4 r = qn_philox(f.seed, f.stream, counter + i / 8);
                uint32_t word = r.v[i % 8 / 2], lane = i % 2 ? word >> 16 : word & 0xffff;
                expected[i] = lane >= threshold ? x[i] * (1 / (1 - rates[p])) : 0;
                kept += lane >= threshold;
            }
            all += n;
            k->dropout(f, counter, n, x, y, false);
            assert_same(k->name, "dropout", n, y, expected);
            k->dropout(f, counter, n, x, sum, true);
            for (size_t i = 0; i < n; i++) expected[i] += base[i];
            assert_same(k->name, "accumulated dropout", n, sum, expected);
            k->dropout(f, counter, n, x, x, false);
            assert_same(k->name, "dropout in place", n, x, y);
            give_back(k->name, "dropout");
        }
        assert_true(near((double)kept / (double)all, 1 - rates[p], 0, 0.02));
    }
}

// ---- Norm
// ------------------------------------------------------------------------------------------------------------

enum { ROWS = 5, FIRST = 1, LAST = 4 };

static void check_norm_forward(const qn_kernels *k) {
    for (size_t s = 1; s < SIZES; s++) {
        size_t d = size_at(s), count = ROWS * d;
        for (int variant = 0; variant < 4;
             variant++) { // 0: no sub, 1: inference, 2: training, 3: training with dropout in place
            float offset = s % 4 == 0 ? 1000.0f : 0.5f;
            float *x = random_array(count, offset - 2, offset + 2), *sub = variant ? random_array(count, -1, 1) : NULL;
            float *gamma = random_array(d, 0.5f, 2), *beta = random_array(d, -1, 1);
            qn_norm_args a = {.rows = ROWS, .d = d, .eps = 1e-5f, .x = x, .sub = sub, .gamma = gamma, .beta = beta};
            if (variant == 3) a.dropout = (qn_dropout){0.2f, 5, s};
            qn_norm_args b = a;
            a.out = take(count), b.out = take(count);
            if (variant != 1) a.mean = take(ROWS), b.mean = take(ROWS), a.rstd = take(ROWS), b.rstd = take(ROWS);
            if (variant >= 2) a.sum = take(count), b.sum = take(count);
            if (variant == 3) { // sum takes the place of x, and out that of sub
                a.x = a.sum, a.sub = a.out;
                memcpy(a.sum, x, count * sizeof *x);
                memcpy(a.out, sub, count * sizeof *sub);
            }
            k->norm_forward(&a, FIRST, LAST);
            ref.norm_forward(&b, FIRST, LAST);
            size_t at = FIRST * d, n = (LAST - FIRST) * d;
            // With few columns a row may have nearly no variance, which magnifies the last bit of its elements.
            double least = 1e9;
            for (size_t r = FIRST; r < LAST; r++) {
                const float *row = (b.sum ? b.sum : x) + r * d;
                double mean = 0, square = 0;
                for (size_t i = 0; i < d; i++) mean += row[i] / (double)d;
                for (size_t i = 0; i < d; i++) square += (row[i] - mean) * (row[i] - mean) / (double)d;
                least = fmin(least, sqrt(square + 1e-5));
            }
            double tolerance = variant == 1 ? 1e-3 : fmax(2e-6, (offset > 1 ? 3e-8 : 3e-7) / least);
            assert_near(k->name, "norm out", n, a.out + at, b.out + at, 1e-6, tolerance);
            if (a.sum) assert_same(k->name, "norm sum", n, a.sum + at, b.sum + at);
            if (a.mean) assert_near(k->name, "norm mean", LAST - FIRST, a.mean + FIRST, b.mean + FIRST, 2e-7, 2e-7);
            if (a.rstd)
                assert_near(k->name, "norm rstd", LAST - FIRST, a.rstd + FIRST, b.rstd + FIRST,
                            fmax(1e-6, tolerance / 4), 0);
            if (variant < 3) { // rows outside are left alone: they still hold the guard
                assert_memory_equal(a.out, &GUARD_BITS, sizeof GUARD_BITS);
                assert_memory_equal(a.out + LAST * d, &GUARD_BITS, sizeof GUARD_BITS);
            }
            give_back(k->name, "norm_forward");
        }
    }
}

// sum over rows of dout . norm(x + keep sub) in double precision; the loss whose gradient norm_backward gives.
static double norm_loss(size_t d, const double *x, const double *gamma, const double *beta, const float *dout,
                        double eps) {
    double mean = 0, variance = 0, loss = 0;
    for (size_t i = 0; i < d; i++) mean += x[i] / (double)d;
    for (size_t i = 0; i < d; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)d;
    for (size_t i = 0; i < d; i++) loss += dout[i] * ((x[i] - mean) / sqrt(variance + eps) * gamma[i] + beta[i]);
    return loss;
}

static void norm_differences(const char *isa, const qn_norm_args *a, const float *dgamma, const float *dbeta) {
    enum { MOST = 64 };
    size_t d = a->d;
    double x[MOST], gamma[MOST], beta[MOST], slope_gamma[MOST] = {0}, slope_beta[MOST] = {0}, h = 1e-4;
    for (size_t i = 0; i < d; i++) gamma[i] = a->gamma[i], beta[i] = a->beta[i];
#define SLOPE(variable, loss)                                                                                          \
    (variable += h, plus = loss, variable -= 2 * h, minus = loss, variable += h, (plus - minus) / (2 * h))
#define LOSS norm_loss(d, x, gamma, beta, a->dout + r * d, a->eps)
    for (size_t r = FIRST; r < LAST; r++) {
        for (size_t i = 0; i < d; i++) x[i] = a->sum[r * d + i];
        for (size_t i = 0; i < d; i++) {
            double plus, minus, slope = SLOPE(x[i], LOSS);
            if (!near(a->dx[r * d + i], slope, 1e-4, 3e-5))
                fail_msg("%s norm dx[%zu of %zu] is %.9g (expected %.9g)", isa, i, d, a->dx[r * d + i], slope);
            slope_gamma[i] += SLOPE(gamma[i], LOSS);
            slope_beta[i] += SLOPE(beta[i], LOSS);
        }
    }
    for (size_t i = 0; i < d; i++) {
        assert_true(near(dgamma[i] - 1, slope_gamma[i], 1e-5, 1e-5)); // both began at 1
        assert_true(near(dbeta[i] - 1, slope_beta[i], 1e-5, 1e-5));
    }
#undef SLOPE
#undef LOSS
}

static void check_norm_backward(const qn_kernels *k) {
    for (size_t s = 1; s < SIZES; s++) {
        size_t d = size_at(s), count = ROWS * d;
        for (int variant = 0; variant < 3;
             variant++) { // 0: no sub; 1: sub with dropout; 2: all, accumulated, parameters frozen
            float *x = random_array(count, -2, 2), *dout = random_array(count, -1, 1),
                  *gamma = random_array(d, 0.5f, 2);
            float *beta = random_array(d, -1, 1), *mean = take(ROWS), *rstd = take(ROWS), *out = take(count);
            qn_norm_args f = {.rows = ROWS,
                              .d = d,
                              .eps = 0.1f,
                              .x = x,
                              .gamma = gamma,
                              .beta = beta,
                              .mean = mean,
                              .rstd = rstd,
                              .out = out};
            ref.norm_forward(&f, FIRST, LAST);
            qn_norm_args a = f;
            a.dout = dout, a.out = NULL, a.sum = x;
            a.dropout = (qn_dropout){0.25f, 9, s};
            if (variant) a.sub = out;
            if (variant == 2) a.dsum = random_array(count, -1, 1), a.accumulate = true;
            qn_norm_args b = a;
            a.dx = random_array(count, -1, 1), b.dx = copy_of(a.dx, count);
            if (variant) a.dsub = take(count), b.dsub = take(count);
            float *parameters[4] = {NULL};
            for (int i = 0; i < 4 && variant < 2; i++) {
                parameters[i] = take(d);
                for (size_t j = 0; j < d; j++) parameters[i][j] = 1;
            }
            k->norm_backward(&a, FIRST, LAST, parameters[0], parameters[1]);
            ref.norm_backward(&b, FIRST, LAST, parameters[2], parameters[3]);
            if (variant < 2 && d <= 24) norm_differences(k->name, &a, parameters[0], parameters[1]);
            size_t at = FIRST * d, n = (LAST - FIRST) * d;
            assert_near(k->name, "norm dx", n, a.dx + at, b.dx + at, 2e-6, 4e-6);
            if (variant) assert_near(k->name, "norm dsub", n, a.dsub + at, b.dsub + at, 2e-6, 6e-6);
            for (size_t i = at; i < at + n && variant; i++) assert_true((a.dsub[i] == 0) == (b.dsub[i] == 0));
            if (variant < 2) {
                assert_near(k->name, "norm dgamma", d, parameters[0], parameters[2], 2e-6, 2e-6);
                assert_near(k->name, "norm dbeta", d, parameters[1], parameters[3], 1e-6, 1e-6);
            }
            give_back(k->name, "norm_backward");
        }
    }
}

// ---- Sums and multiples
// ----------------------------------------------------------------------------------------------

// The same numbers at another distance from an aligned address.
static float *shifted_copy(const float *x, size_t n) {
    float *y = take_slack(n, 3);
    if (n) memcpy(y, x, n * sizeof *y);
    return y;
}

static void check_max(const qn_kernels *k) {
    for (size_t s = 1; s < SIZES; s++) {
        size_t n = size_at(s);
        float *x = random_array(n, -9, -1), expected = ref.max(n, x), found = k->max(n, x);
        assert_same(k->name, "max", 1, &found, &expected);
        for (size_t i = 0; i < n; i += n < 80 ? 1 : 37) {
            float kept = x[i];
            x[i] = 3;
            assert_true(k->max(n, x) == 3);
            x[i] = NAN;
            assert_true(isnan(k->max(n, x)));
            x[i] = INFINITY;
            assert_true(k->max(n, x) == INFINITY);
            x[i] = kept;
        }
        for (size_t i = 0; i < n; i++) x[i] = -INFINITY;
        assert_true(k->max(n, x) == -INFINITY);
        give_back(k->name, "max");
    }
}

static void check_exp_sum(const qn_kernels *k) {
    float x[64], y[64];
    for (double t = -110; t < 92; t += 0.05) { // to 2 ulp from the denormal numbers to infinity
        for (size_t i = 0; i < 64; i++) x[i] = (float)(t + 0.05 * qn_rng_real(&rng));
        k->exp_sum(64, x, 1, 0, y);
        for (size_t i = 0; i < 64; i++) {
            double expected = exp(x[i]);
            if (expected > FLT_MAX ? y[i] != INFINITY && expected > FLT_MAX * (1 + 1e-7)
                                   : fabs(y[i] - expected) > 2 * ulp_of(expected))
                fail_msg("%s exp(%.9g) is %.9g (expected %.9g)", k->name, x[i], y[i], expected);
        }
    }
    static const float special[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, -200, FLT_MAX, -FLT_MAX, 1e-45f};
    static const float expected_special[] = {NAN, INFINITY, 0, 1, 1, 0, INFINITY, 0, 1};
    k->exp_sum(COUNT(special), special, 1, 0, y);
    assert_same(k->name, "exp of special values", COUNT(special), y, expected_special);
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *a = random_array(n, -30, 8), *b = take(n), *expected = take(n), *c = shifted_copy(a, n);
        float want = ref.exp_sum(n, a, 0.7f, 3, expected), got = k->exp_sum(n, a, 0.7f, 3, b),
              again = k->exp_sum(n, c, 0.7f, 3, c);
        assert_near(k->name, "exp", n, b, expected, 3e-7, 0);
        assert_near(k->name, "sum of exp", 1, &got, &want, 1e-6, 0);
        assert_same(k->name, "exp in place", n, c, b);
        assert_same(k->name, "sum at another address", 1, &again, &got);
        give_back(k->name, "exp_sum");
    }
}

static void check_scale(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *x = random_array(n, -2, 2), *y = take(n), *expected = take(n);
        for (size_t i = 0; i < n; i++) expected[i] = 0.3f * x[i];
        k->scale(n, 0.3f, x, y);
        k->scale(n, 0.3f, x, x);
        assert_same(k->name, "scale", n, y, expected);
        assert_same(k->name, "scale in place", n, x, expected);
        give_back(k->name, "scale");
    }
}

static void check_axpy(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *x = random_array(n, -2, 2), *y = random_array(n, -2, 2), *expected = take(n);
        if (n > 2) x[n - 1] = NAN, x[0] = INFINITY;
        for (size_t i = 0; i < n; i++) expected[i] = fmaf(-1.7f, x[i], y[i]);
        k->axpy(n, -1.7f, x, y);
        assert_same(k->name, "axpy", n, y, expected);
        give_back(k->name, "axpy");
    }
}

static void check_approach(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *x = random_array(n, -2, 2), *y = random_array(n, -2, 2), *expected = take(n);
        for (size_t i = 0; i < n; i++) expected[i] = fmaf(0.01f, x[i] - y[i], y[i]);
        k->approach(n, 0.01f, x, y);
        assert_same(k->name, "approach", n, y, expected);
        give_back(k->name, "approach");
    }
}

static void check_add_rows(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s), row = n + 3, rows = s % 4;
        float *x = random_array(rows * row + 1, -2, 2), *y = random_array(n, -2, 2), *expected = take(n);
        for (size_t i = 0; i < n; i++) {
            expected[i] = y[i];
            for (size_t r = 0; r < rows; r++) expected[i] += x[r * row + i];
        }
        k->add_rows(rows, n, x, row, y);
        assert_same(k->name, "add_rows", n, y, expected);
        give_back(k->name, "add_rows");
    }
}

static void check_dot(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *x = random_array(n, -2, 2), *y = random_array(n, -2, 2), *z = shifted_copy(y, n);
        double expected = 0, size = 0;
        for (size_t i = 0; i < n; i++) expected += (double)x[i] * y[i], size += fabs((double)x[i] * y[i]);
        float found = k->dot(n, x, y), again = k->dot(n, x, z);
        if (!near(found, expected, 0, 5e-7 * size))
            fail_msg("%s dot of %zu is %.9g (expected %.9g)", k->name, n, found, expected);
        assert_same(k->name, "dot at another address", 1, &again, &found);
        if (n) {
            x[n - 1] = NAN;
            assert_true(isnan(k->dot(n, x, y)));
        }
        give_back(k->name, "dot");
    }
}

// Rows that lie anywhere: the bits of dot, and of a sum in order.
static void check_gather_dot(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s), rows = s % 5, at = s % 3;
        float *x = random_array(n, -2, 2), *y = take(rows), *expected = take(rows), *row[4];
        for (size_t r = 0; r < rows; r++) {
            row[r] = random_array(n + at, -2, 2);
            expected[r] = k->dot(n, x, row[r] + at);
        }
        k->gather_dot(rows, n, x, row, at, y);
        assert_same(k->name, "gather_dot", rows, y, expected);
        give_back(k->name, "gather_dot");
    }
}

static void check_gather_sum(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s), rows = s % 5, at = s % 3;
        float *factor = random_array(rows, -2, 2), *y = random_array(n, -2, 2), *expected = take(n), *row[4];
        for (size_t r = 0; r < rows; r++) row[r] = random_array(n + at, -2, 2);
        for (size_t i = 0; i < n; i++) {
            expected[i] = 0;
            for (size_t r = 0; r < rows; r++) expected[i] = fmaf(factor[r], row[r][at + i], expected[i]);
        }
        k->gather_sum(rows, n, factor, row, at, y);
        assert_same(k->name, "gather_sum", n, y, expected);
        give_back(k->name, "gather_sum");
    }
}

// The product of an activation and a value, and its two slopes, also in place.
static void check_glu_forward(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++)
        for (int f = 0; f <= QN_ACTIVATION_TANH; f++) {
            size_t n = size_at(s);
            float *gate = random_array(n, -4, 4), *value = random_array(n, -2, 2), *y = take(n), *expected = take(n);
            k->activation_forward((qn_activation)f, n, gate, expected);
            for (size_t i = 0; i < n; i++) expected[i] *= value[i];
            k->glu_forward((qn_activation)f, n, gate, value, y);
            assert_same(k->name, "glu_forward", n, y, expected);
            give_back(k->name, "glu_forward");
        }
}

static void check_glu_backward(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++)
        for (int f = 0; f <= QN_ACTIVATION_TANH; f++) {
            size_t n = size_at(s);
            float *gate = random_array(n, -4, 4), *value = random_array(n, -2, 2), *dy = random_array(n, -2, 2);
            float *dgate = take(n), *dvalue = take(n), *expected = take(n), *active = take(n);
            for (size_t i = 0; i < n; i++) expected[i] = dy[i] * value[i];
            k->activation_backward((qn_activation)f, n, gate, expected, expected);
            k->activation_forward((qn_activation)f, n, gate, active);
            for (size_t i = 0; i < n; i++) active[i] *= dy[i];
            k->glu_backward((qn_activation)f, n, gate, value, dy, dgate, dvalue);
            assert_same(k->name, "glu_backward dgate", n, dgate, expected);
            assert_same(k->name, "glu_backward dvalue", n, dvalue, active);
            k->glu_backward((qn_activation)f, n, gate, value, dy, gate, value);
            assert_same(k->name, "glu_backward in place", n, gate, expected);
            assert_same(k->name, "glu_backward in place", n, value, active);
            give_back(k->name, "glu_backward");
        }
}

// Every instruction set turns to the same bits; turning back restores, and what follows the pairs stays.
static void check_rotate(const qn_kernels *k) {
    for (size_t half = 0; half < 40; half++)
        for (size_t rest = 0; rest < 4; rest += 3) {
            size_t heads = 3, step = 2 * half + rest, n = heads * step;
            float *x = random_array(n, -2, 2), *before = copy_of(x, n), *expected = copy_of(x, n);
            float *cosine = take(half), *sine = take(half);
            for (size_t i = 0; i < half; i++) {
                float angle = uniform(-100, 100);
                cosine[i] = cosf(angle);
                sine[i] = sinf(angle);
            }
            k->rotate(heads, step, half, cosine, sine, 1, x);
            qn_ref_rotate(heads, step, half, cosine, sine, 1, expected);
            assert_same(k->name, "rotate", n, x, expected);
            k->rotate(heads, step, half, cosine, sine, -1, x);
            assert_near(k->name, "rotate back", n, x, before, 0, 1e-6);
            give_back(k->name, "rotate");
        }
}

static void check_rotate_bf16(const qn_kernels *k) {
    for (size_t half = 1; half < 40; half++) {
        size_t heads = 2, step = 2 * half, n = heads * step;
        float *x = random_array(n, -2, 2), *cosine = random_array(half, -1, 1), *sine = random_array(half, -1, 1);
        float *memory = take(half * 2), *expected = take(half * 2); // n values of 16 bits
        uint16_t *narrow = (uint16_t *)(void *)memory, *wanted = (uint16_t *)(void *)expected;
        qn_ref_to_bf16(n, x, narrow);
        qn_ref_to_bf16(n, x, wanted);
        k->rotate_bf16(heads, step, half, cosine, sine, 1, narrow);
        qn_ref_rotate_bf16(heads, step, half, cosine, sine, 1, wanted);
        assert_memory_equal(narrow, wanted, n * sizeof *narrow);
        give_back(k->name, "rotate_bf16");
    }
}

static void check_score_backward(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *p = random_array(n, 0, 1), *dp = random_array(n, -2, 2), *ds = take(n), *expected = take(n);
        for (size_t i = 0; i < n; i++) expected[i] = p[i] * (dp[i] - 0.4f) * 0.125f;
        k->score_backward(n, p, dp, 0.4f, 0.125f, ds);
        k->score_backward(n, p, dp, 0.4f, 0.125f, dp); // as attention calls it
        assert_same(k->name, "score_backward", n, ds, expected);
        assert_same(k->name, "score_backward in place", n, dp, expected);
        give_back(k->name, "score_backward");
    }
}

static void check_sum_squares(const qn_kernels *k) {
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *x = random_array(n, -2e20f, 2e20f), *y = shifted_copy(x, n); // squares that floats cannot hold
        double expected = 0, found = k->sum_squares(n, x), again = k->sum_squares(n, y);
        for (size_t i = 0; i < n; i++) expected += (double)x[i] * x[i];
        assert_true(near(found, expected, 1e-13, 0));
        assert_memory_equal(&found, &again, sizeof found);
        if (n) {
            x[n / 2] = NAN;
            assert_true(isnan(k->sum_squares(n, x)));
        }
        give_back(k->name, "sum_squares");
    }
}

// ---- AdamW
// -----------------------------------------------------------------------------------------------------------

static void check_adamw(const qn_kernels *k) {
    enum { STEPS = 6 };
    static double p[4099], m[4099], v[4099];
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_at(s);
        float *parameter = random_array(n, -1, 1), *gradient = take(n), *first = take(n), *second = take(n);
        for (size_t i = 0; i < n; i++) p[i] = parameter[i], m[i] = v[i] = 0, first[i] = second[i] = 0;
        for (int64_t t = 1; t <= STEPS; t++) {
            const qn_adamw_options o = {1e-2, 0.9, 0.999, 1e-8, 0.1, 0};
            qn_adamw f = qn_adamw_update(&o, t, 0.5);
            for (size_t i = 0; i < n; i++) {
                gradient[i] = uniform(-1, 1);
                double g = 0.5 * gradient[i], b1 = o.beta1, b2 = o.beta2;
                p[i] -= o.learning_rate * o.weight_decay * p[i];
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                double mean = m[i] / (1 - pow(b1, (double)t)), square = v[i] / (1 - pow(b2, (double)t));
                p[i] -= o.learning_rate * mean / (sqrt(square) + o.epsilon);
            }
            k->adamw(&f, n, parameter, gradient, first, second);
            for (size_t i = 0; i < n; i++) {
                assert_true(gradient[i] == 0);
                if (!near(parameter[i], p[i], 3e-7, 3e-7) || !near(first[i], m[i], 1e-6, 1e-7) ||
                    !near(second[i], v[i], 1e-6, 0))
                    fail_msg("%s adamw[%zu of %zu] step %d is %.9g %.9g %.9g (expected %.9g %.9g %.9g)", k->name, i, n,
                             (int)t, parameter[i], first[i], second[i], p[i], m[i], v[i]);
            }
        }
        give_back(k->name, "adamw");
    }
}

// Protects: updates that are made up for have the bits of those with gradients of zero in their time; the first moment
// is dropped at its update, and the cut into calls does not matter.
static void check_adamw_idle(const qn_kernels *k) {
    enum { STEPS = 9 };
    qn_adamw f[STEPS];
    for (int t = 0; t < STEPS; t++)
        f[t] = qn_adamw_update(&(qn_adamw_options){1e-2 / (t + 1), 0.9, 0.999, 1e-8, 0.1, 0}, t + 5, 0.5);
    for (size_t s = 0; s < SIZES; s++)
        for (size_t live = 0; live <= STEPS; live += 3) {
            size_t n = size_at(s), cut = 1 + s % (STEPS - 1);
            float *p = random_array(n, -1, 1), *m = random_array(n, -1, 1), *v = random_array(n, 0, 1);
            float *p1 = shifted_copy(p, n), *m1 = shifted_copy(m, n), *v1 = shifted_copy(v, n), *zero = take(n);
            for (size_t i = 0; i < n; i++) zero[i] = 0;
            for (size_t t = 0; t < STEPS; t++) {
                for (size_t i = 0; i < n && t == live; i++) m1[i] = 0;
                k->adamw(&f[t], n, p1, zero, m1, v1);
            }
            k->adamw_idle(f, cut, live < cut ? live : cut, n, p, m, v);
            k->adamw_idle(f + cut, STEPS - cut, live < cut ? 0 : live - cut, n, p, m, v);
            assert_same(k->name, "adamw_idle parameter", n, p, p1);
            assert_same(k->name, "adamw_idle first moment", n, m, m1);
            assert_same(k->name, "adamw_idle second moment", n, v, v1);
            give_back(k->name, "adamw_idle");
        }
}

// ---- Matrix product
// --------------------------------------------------------------------------------------------------

static size_t panel_floats(const qn_kernels *k, size_t n, size_t depth) {
    return (n + k->panel_width - 1) / k->panel_width * k->panel_width * depth;
}

static void check_pack(const qn_kernels *k) {
    size_t width = k->panel_width;
    for (size_t n = 0; n <= 70; n += n < 4 ? 1 : 3)
        for (size_t depth = 0; depth <= 40; depth += depth < 4 ? 1 : 5) {
            size_t row = depth + n % 3;
            float *w = random_array(n * row, -1, 1), *panels = take(panel_floats(k, n, depth));
            k->pack(n, depth, w, row, panels);
            for (size_t i = 0; i < panel_floats(k, n, depth); i++) {
                size_t panel = i / (width * depth), p = i / width % depth, j = panel * width + i % width;
                float expected = j < n ? w[j * row + p] : 0;
                assert_same(k->name, "pack", 1, panels + i, &expected);
            }
            give_back(k->name, "pack");
        }
}

// One product with arguments drawn at random, compared bit by bit with fused multiply-adds in the promised order.
static void one_product(const qn_kernels *k, size_t m, size_t n, size_t depth) {
    bool transposed = qn_rng_below(&rng, 2), packed = qn_rng_below(&rng, 2), accumulate = qn_rng_below(&rng, 3) == 0;
    size_t gap = qn_rng_below(&rng, 3), c_row = n + qn_rng_below(&rng, 3), b_row = n + gap;
    qn_gemm g = {.m = m, .n = n, .k = depth, .b_packed = packed, .accumulate = accumulate, .c_row = c_row};
    g.a_row = transposed ? 1 : depth + gap;
    g.a_step = transposed ? m + gap : 1;
    const float *a = random_array(transposed ? depth * g.a_step : m * g.a_row, -1, 1),
                *w = random_array(n * depth, -1, 1);
    float *b = take(packed ? panel_floats(k, n, depth) : depth * b_row);
    if (packed) {
        k->pack(n, depth, w, depth, b);
        g.b_row = k->panel_width, g.b_panel = depth * k->panel_width;
    } else {
        for (size_t p = 0; p < depth; p++)
            for (size_t j = 0; j < n; j++) b[p * b_row + j] = w[j * depth + p];
        g.b_row = b_row, g.b_panel = k->panel_width;
    }
    float *c = random_array(m * c_row, -1, 1), *expected = copy_of(c, m * c_row), *pre = NULL,
          *expected_pre = take(m * c_row);
    if (!accumulate && qn_rng_below(&rng, 2)) g.bias = random_array(n, -1, 1);
    if (!accumulate && qn_rng_below(&rng, 2)) g.activation = functions[qn_rng_below(&rng, COUNT(functions))];
    if (!accumulate && qn_rng_below(&rng, 2)) pre = take(m * c_row);
    g.a = a, g.b = b, g.c = c, g.pre = pre;
    k->gemm(&g);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = accumulate ? expected[i * c_row + j] : 0;
            for (size_t p = 0; p < depth; p++) sum = fmaf(a[i * g.a_row + p * g.a_step], w[j * depth + p], sum);
            if (g.bias) sum += g.bias[j];
            expected_pre[i * c_row + j] = sum;
        }
        k->activation_forward(g.activation, n, expected_pre + i * c_row, expected + i * c_row);
        if (pre) assert_same(k->name, "gemm pre", n, pre + i * c_row, expected_pre + i * c_row);
    }
    // Gaps between the rows included: they stay as they were. (The comparison of bits also says that a row does not
    // depend on m or on its place.)
    assert_same(k->name, "gemm", m * c_row, c, expected);
    give_back(k->name, "gemm");
}

static void check_gemm(const qn_kernels *k) {
    static const size_t columns[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 70};
    static const size_t depths[] = {0, 1, 2, 3, 7, 8, 16, 33, 40};
    for (size_t m = 0; m <= 30; m++)
        for (size_t n = 0; n < COUNT(columns); n++)
            for (size_t p = 0; p < COUNT(depths); p++) one_product(k, m, columns[n], depths[p]);
    one_product(k, 67, 129, 300);
}

// ---- The list and the choice
// -----------------------------------------------------------------------------------------

// Narrow dtypes: equal bits to the reference, and the documented rounding.
static void check_to_bf16(const qn_kernels *k) {
    enum { N = 71 };
    float x[N] = {0, -0.0f, 1, 1.00390625f, 1.01171875f, INFINITY, -INFINITY, NAN, 3.4e38f, 1e-36f};
    uint16_t y[N], expected[N];
    for (size_t i = 10; i < N; i++) x[i] = (float)sin((double)i * 12.9898) * (float)i;
    for (size_t n = 0; n <= N; n++) {
        k->to_bf16(n, x, y);
        qn_ref_to_bf16(n, x, expected);
        assert_memory_equal(y, expected, n * sizeof *y);
    }
    assert_int_equal(y[2], 0x3f80);
    assert_int_equal(y[3], 0x3f80); // ties to even
    assert_int_equal(y[4], 0x3f82);
    assert_int_equal(y[5], 0x7f80);
    assert_true((y[7] & 0x7fff) > 0x7f80);
}

static void check_from_bf16(const qn_kernels *k) {
    for (size_t n = 0; n <= 71; n++) {
        float *memory = take((n + 1) / 2), *y = take(n);
        uint16_t *x = (uint16_t *)(void *)memory + n % 2; // read to the page's end
        for (size_t i = 0; i < n; i++) x[i] = (uint16_t)(i * 919 + 1);
        k->from_bf16(n, x, y);
        for (size_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)x[i] << 16;
            assert_memory_equal(y + i, &bits, sizeof bits);
        }
        give_back(k->name, "from_bf16");
    }
}

// The sets of exact channels that fit n channels: none, ends, neighbours.
static const qn_exact exact_sets[] = {{0, {0}}, {1, {0}}, {1, {70}}, {2, {15, 16}}, {4, {0, 1, 33, 70}}};

static void check_quantize(const qn_kernels *k) {
    enum { N = 71 };
    float x[N];
    uint8_t y[N + 1], expected[N + 1];
    for (int shift = -1; shift <= 1; shift++) { // values of one sign too: the range always holds 0
        for (size_t i = 0; i < N; i++) x[i] = (float)sin((double)i * 78.233) * 3 + 4 * (float)shift;
        for (size_t n = 0; n <= N; n++)
            for (size_t s = 0; s < COUNT(exact_sets); s++) {
                const qn_exact *exact = &exact_sets[s];
                if (exact->count && exact->channel[exact->count - 1] >= n) continue;
                for (size_t e = 0; e < exact->count; e++) x[exact->channel[e]] = e % 2 ? -1e30f : 1e30f;
                qn_byte_row row, reference;
                y[n] = expected[n] = 77;
                k->quantize(n, x, exact, y, &row);
                qn_ref_quantize(n, x, exact, expected, &reference);
                assert_true(row.scale == reference.scale);
                assert_int_equal(row.zero, reference.zero);
                assert_memory_equal(y, expected, n + 1);
                for (size_t e = 0; e < exact->count; e++) {
                    assert_true(row.exact[e] == x[exact->channel[e]]);
                    assert_int_equal(y[exact->channel[e]], 0);
                    x[exact->channel[e]] = (float)sin((double)exact->channel[e] * 78.233) * 3 + 4 * (float)shift;
                }
                if (exact->count) continue;
                assert_true(row.exact[0] == 0);
                for (size_t i = 0; i < n; i++)
                    assert_true(fabsf((float)(y[i] - row.zero) * row.scale - x[i]) <= row.scale * 1.01f);
            }
    }
}

// Where the zero falls half way between two steps the highest value would round to 256, which is no byte.
static void check_highest_byte(const qn_kernels *k) {
    for (int i = 0; i < 255; i++) {
        const float low = -((float)i + 0.5f) / 128, x[2] = {low, low + 255.0f / 128};
        uint8_t y[2];
        qn_byte_row row;
        k->quantize(2, x, &(qn_exact){0}, y, &row);
        assert_true(y[0] <= 1);
        assert_int_equal(y[1], 255);
    }
}

static qn_byte_columns some_columns(size_t n, size_t exact) {
    float *scale = random_array(n, 0.001f, 0.01f), *weights = random_array(exact * n, -1, 1);
    int32_t *sum = (int32_t *)(void *)take(n);
    for (size_t j = 0; j < n; j++) sum[j] = (int32_t)qn_rng_below(&rng, 4000) - 2000;
    return (qn_byte_columns){scale, sum, exact, weights, n};
}

static qn_byte_row some_row(void) {
    qn_byte_row row = {.scale = uniform(0.001f, 0.1f), .zero = (int32_t)qn_rng_below(&rng, 256)};
    for (int e = 0; e < QN_EXACT_CHANNELS; e++) row.exact[e] = uniform(-9, 9);
    return row;
}

static void check_dequantize(const qn_kernels *k) {
    for (size_t n = 0; n <= 71; n++)
        for (size_t exact = 0; exact <= QN_EXACT_CHANNELS; exact++) {
            const qn_byte_columns columns = some_columns(n, exact);
            const qn_byte_row row = some_row();
            int32_t *sum = (int32_t *)(void *)take(n);
            float *y = take(n), *expected = take(n);
            for (size_t i = 0; i < n; i++) sum[i] = (int32_t)qn_rng_below(&rng, 2000000) - 1000000;
            k->dequantize(n, sum, &row, &columns, y);
            qn_ref_dequantize(n, sum, &row, &columns, expected);
            assert_same(k->name, "dequantize", n, y, expected);
            give_back(k->name, "dequantize");
        }
}

// A product in a narrow dtype against the reference: int8 to the bit where no activation rounds, bf16 but for the order
// of its sums and the rounding of its result. Results in bf16 are compared as floats.
static void one_narrow_product(const qn_kernels *k, bool int8, size_t m, size_t n, size_t depth) {
    size_t values = int8 ? 4 : 2, gap = qn_rng_below(&rng, 3), c_row = n + qn_rng_below(&rng, 3), count = m * c_row;
    bool narrow = qn_rng_below(&rng, 2), accumulate = !int8 && !narrow && qn_rng_below(&rng, 4) == 0;
    qn_gemm g = {.m = m, .n = n, .k = depth, .b_packed = true, .c_row = c_row, .accumulate = accumulate};
    g.a_row = depth + gap, g.a_step = 1;
    float *a = take(m * g.a_row), *w = take(n * depth), *b = take(panel_floats(k, n, depth));
    float *reference = take(panel_floats(&ref, n, depth));
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < (side ? n * depth : m * g.a_row); i++)
            for (size_t v = 0; v < values; v++) {
                uint8_t byte = (uint8_t)qn_rng_below(&rng, 256);
                if (side && byte == 128) byte = 0; // weights are -127 .. 127
                float x = uniform(-1, 1);
                uint16_t half;
                ref.to_bf16(1, &x, &half);
                memcpy((char *)((side ? w : a) + i) + v * 4 / values, int8 ? (void *)&byte : (void *)&half, 4 / values);
            }
    k->pack(n, depth, w, depth, b);
    ref.pack(n, depth, w, depth, reference);
    g.a = a, g.b = b, g.b_row = k->panel_width, g.b_panel = depth * k->panel_width;
    if (!accumulate && qn_rng_below(&rng, 2)) g.bias = random_array(n, -1, 1);
    if (!accumulate && qn_rng_below(&rng, 2)) g.activation = functions[qn_rng_below(&rng, COUNT(functions))];
    qn_byte_row *bytes = (qn_byte_row *)(void *)take(m * sizeof *bytes / sizeof(float));
    if (int8) {
        for (size_t i = 0; i < m; i++) bytes[i] = some_row();
        g.columns = some_columns(n, qn_rng_below(&rng, QN_EXACT_CHANNELS + 1));
        for (size_t i = 0; i < m && !g.columns.exact_count; i++) bytes[i].exact[0] = 0;
        g.bytes = bytes;
    }
    float *c = random_array(count, -1, 1), *expected = copy_of(c, count), *pre = NULL, *expected_pre = NULL;
    uint16_t *halves = (uint16_t *)(void *)take((count + 1) / 2),
             *expected_halves = (uint16_t *)(void *)take((count + 1) / 2);
    if (narrow) memset(halves, 0, count * 2), memset(expected_halves, 0, count * 2);
    if (!accumulate && qn_rng_below(&rng, 2)) pre = random_array(count, 0, 1), expected_pre = copy_of(pre, count);
    qn_gemm r = g;
    r.b = reference, r.b_row = ref.panel_width, r.b_panel = depth * ref.panel_width;
    g.c = narrow ? NULL : c, g.pre = pre, g.narrow = narrow ? halves : NULL;
    r.c = narrow ? NULL : expected, r.pre = expected_pre, r.narrow = narrow ? expected_halves : NULL;
    (int8 ? k->gemm_int8 : k->gemm_bf16)(&g);
    (int8 ? ref.gemm_int8 : ref.gemm_bf16)(&r);
    for (size_t i = 0; narrow && i < count; i++) { // the distance of neighbours is 2^-7
        uint32_t x = (uint32_t)halves[i] << 16, y = (uint32_t)expected_halves[i] << 16;
        memcpy(c + i, &x, sizeof x), memcpy(expected + i, &y, sizeof y);
    }
    const char *what = int8 ? "gemm_int8" : "gemm_bf16";
    double near_enough = 2e-6 * (double)(depth + 1), relative = narrow ? 0x1p-7 : 1e-6;
    if (pre && int8) assert_same(k->name, what, count, pre, expected_pre);
    if (pre && !int8) assert_near(k->name, what, count, pre, expected_pre, 1e-6, near_enough);
    if (int8 && g.activation == QN_ACTIVATION_NONE)
        assert_same(k->name, what, count, c, expected);
    else
        assert_near(k->name, what, count, c, expected, relative, int8 ? 1e-6 : near_enough);
    give_back(k->name, what);
}

static void check_narrow_products(const qn_kernels *k, bool int8) {
    static const size_t columns[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 64, 70}, depths[] = {1, 2, 3, 8, 33};
    for (size_t m = 0; m <= 30; m++)
        for (size_t n = 0; n < COUNT(columns); n++)
            for (size_t p = 0; p < COUNT(depths); p++) one_narrow_product(k, int8, m, columns[n], depths[p]);
    one_narrow_product(k, int8, 67, 129, 100);
}

// What f is applied to, kept in bf16: the rounded product, and the result is f of it.
static void check_pre_narrow(const qn_kernels *k) {
    enum { M = 17, N = 70, DEPTH = 5 };
    qn_gemm g = {.m = M, .n = N, .k = DEPTH, .a_row = DEPTH, .a_step = 1, .b_packed = true, .c_row = N};
    float *a = take(M * DEPTH), *w = take(N * DEPTH), *b = take(panel_floats(k, N, DEPTH)), *values = take(M * N);
    uint16_t pre[M * N], expected[M * N];
    k->to_bf16(2 * M * DEPTH, random_array(2 * M * DEPTH, -1, 1), (uint16_t *)(void *)a);
    k->to_bf16(2 * N * DEPTH, random_array(2 * N * DEPTH, -1, 1), (uint16_t *)(void *)w);
    k->pack(N, DEPTH, w, DEPTH, b);
    g.a = a, g.b = b, g.b_row = k->panel_width, g.b_panel = DEPTH * k->panel_width;
    g.bias = random_array(N, -1, 1);
    g.c = values;
    k->gemm_bf16(&g);
    k->to_bf16(M * N, values, expected);
    g.c = take(M * N), g.pre_narrow = pre, g.activation = QN_ACTIVATION_GELU;
    k->gemm_bf16(&g);
    assert_memory_equal(pre, expected, sizeof pre);
    k->from_bf16(M * N, pre, values);
    k->activation_forward(QN_ACTIVATION_GELU, M * N, values, values);
    assert_near(k->name, "gemm_bf16", M * N, g.c, values, 1e-6, 1e-6);
    give_back(k->name, "gemm_bf16");
}

static void check_gemm_bf16(const qn_kernels *k) {
    if (!k->gemm_bf16) return;
    check_narrow_products(k, false);
    check_pre_narrow(k);
}

static void check_gemm_int8(const qn_kernels *k) {
    if (k->gemm_int8) check_narrow_products(k, true);
    check_highest_byte(k);
}

// Whole numbers are exact, and a group's are added by the same operations everywhere: equal bits.
static void check_gemm_groups(const qn_kernels *k) {
    for (size_t m = 0; m <= 19; m++)
        for (size_t n = 1; n <= 50; n += 7)
            for (size_t groups = 1; groups <= 3; groups++)
                for (qn_compute form = QN_DTYPE_Q8; form <= QN_DTYPE_K4; form++) {
                    size_t row = qn_group_row(groups), c_row = n + m % 2, panels = (n + 15) / 16;
                    size_t bytes = panels * qn_group_panel(groups, form), quants = qn_group_quants(form);
                    int8_t *a = (int8_t *)take(m * row / 4);
                    uint8_t *b = (uint8_t *)take((bytes + 3) / 4);
                    for (size_t i = 0; i < bytes; i++) b[i] = (uint8_t)qn_rng_below(&rng, 256);
                    for (size_t i = 0; i < bytes && !qn_group_four(form); i++) b[i] = b[i] == 128 ? 129 : b[i];
                    size_t size = qn_group_fine(form) ? 4 : 2;
                    for (size_t p = 0; p < panels * groups; p++) // scales and minima that are numbers
                        for (size_t at = quants; at < qn_group_panel(1, form); at += size) {
                            float number = uniform(-2, 2);
                            uint16_t half = qn_f32_to_f16(number);
                            const void *from = size == 4 ? (const void *)&number : &half;
                            memcpy(b + p * qn_group_panel(1, form) + at, from, size);
                        }
                    float *x = random_array(groups * 32, -3, 3);
                    for (size_t i = 0; i < m; i++) {
                        for (size_t p = 0; p < groups * 32; p++) x[p] = uniform(-3, 3);
                        ref.quantize_groups(groups * 32, x, a + i * row);
                    }
                    float *c = random_array(m * c_row, -1, 1), *expected = copy_of(c, m * c_row);
                    k->gemm_groups(&(qn_group_gemm){m, n, groups, a, b, form, c, c_row});
                    ref.gemm_groups(&(qn_group_gemm){m, n, groups, a, b, form, expected, c_row});
                    assert_same(k->name, "gemm_groups", m * c_row, c, expected);
                    give_back(k->name, "gemm_groups");
                }
}

static void check_quantize_groups(const qn_kernels *k) {
    for (size_t n = 1; n <= 100; n++) {
        size_t groups = (n + 31) / 32, row = qn_group_row(groups);
        float *x = random_array(n, -5, 5);
        if (n % 3 == 0)
            for (size_t i = 0; i < n && i < 32; i++) x[i] = n % 2 ? 0 : 1e-35f;
        int8_t *got = (int8_t *)take(row / 4), *expected = (int8_t *)take(row / 4);
        k->quantize_groups(n, x, got);
        ref.quantize_groups(n, x, expected);
        assert_memory_equal(got, expected, row);
        give_back(k->name, "quantize_groups");
    }
}

static void check_softmax(const qn_kernels *k) {
    for (size_t n = 1; n <= 70; n++)
        for (size_t rows = 0; rows <= 6; rows++) {
            size_t row = n + rows % 2;
            float *x = random_array(rows * row, -9, 9), *expected = copy_of(x, rows * row), *lse = take(rows);
            float *same = copy_of(x, rows * row), expected_lse[6];
            uint16_t narrow[6 * 71], expected_narrow[71];
            k->softmax(rows, n, 0.7f, x, row, lse, NULL, 0);
            k->softmax(rows, n, 0.7f, same, row, NULL, narrow, 71);
            ref.softmax(rows, n, 0.7f, expected, row, expected_lse, NULL, 0);
            assert_near(k->name, "softmax", rows * row, x, expected, 1e-6, 0);
            assert_near(k->name, "softmax lse", rows, lse, expected_lse, 1e-6, 1e-6);
            for (size_t r = 0; r < rows; r++) {
                k->to_bf16(n, x + r * row, expected_narrow);
                assert_memory_equal(narrow + r * 71, expected_narrow, n * sizeof *narrow);
            }
            give_back(k->name, "softmax");
        }
    float spoilt[3] = {1, NAN, 2};
    k->softmax(1, 3, 1, spoilt, 3, NULL, NULL, 0);
    assert_true(isnan(spoilt[0]) && isnan(spoilt[2]));
}

static void check_pack_pairs(const qn_kernels *k) {
    for (size_t n = 1; n <= 70; n += 3)
        for (size_t depth = 0; depth <= 7; depth++) {
            size_t row = n + n % 2 * 2, width = k->panel_width, floats = panel_floats(k, n, (depth + 1) / 2);
            float *memory = take((depth * row + 1) / 2), *panels = take(floats);
            uint16_t *b = (uint16_t *)(void *)memory; // rows that are read to the page's end
            if (depth * row % 2) b++;
            for (size_t i = 0; i < depth * row; i++) b[i] = (uint16_t)(i + 1);
            k->pack_pairs(depth, n, b, row, panels);
            for (size_t i = 0; i < 2 * floats; i++) {
                size_t word = i / 2, steps = (depth + 1) / 2, panel = word / (width * steps), p = word / width % steps;
                size_t j = panel * width + word % width, r = 2 * p + i % 2;
                assert_int_equal(((uint16_t *)(void *)panels)[i], j < n && r < depth ? b[r * row + j] : 0);
            }
            give_back(k->name, "pack_pairs");
        }
}

static void check_narrow_pairs(const qn_kernels *k) {
    for (size_t n = 1; n <= 70; n += 3)
        for (size_t depth = 0; depth <= 7; depth++) {
            size_t row = n + n % 3, room = (n + k->panel_width - 1) / k->panel_width * k->panel_width;
            float *b = random_array(depth * row, -3, 3), *words = take((depth + 1) / 2 * room);
            k->narrow_pairs(depth, n, b, row, words, room);
            for (size_t i = 0; i < (depth + 1) / 2 * room * 2; i++) {
                size_t r = i / 2 / room * 2 + i % 2, j = i / 2 % room;
                uint16_t expected = 0;
                if (r < depth && j < n) qn_ref_to_bf16(1, b + r * row + j, &expected);
                assert_int_equal(((uint16_t *)(void *)words)[i], expected);
            }
            give_back(k->name, "narrow_pairs");
        }
}

// The same bits as the weight's quantization, which does not change them again.
static void check_round_int8(const qn_kernels *k) {
    for (size_t n = 0; n <= 71; n++)
        for (int large = 0; large < 3; large++) {
            float *x = random_array(n, -3, 3), *y = take(n), *again = take(n);
            for (size_t i = 0; i < n; i++) x[i] *= large == 2 ? 1e30f : large ? 1e-32f : 1;
            int8_t q[72], second[72];
            float scale = qn_int8_quantize(n, x, &(qn_exact){0}, q);
            k->round_int8(n, x, y);
            for (size_t i = 0; i < n; i++) assert_true(y[i] == scale * q[i]);
            assert_true(qn_int8_quantize(n, y, &(qn_exact){0}, second) == scale);
            assert_memory_equal(q, second, n);
            k->round_int8(n, y, again);
            for (size_t i = 0; i < n; i++) assert_true(y[i] == again[i]);
            for (size_t i = 0; i < n; i++) assert_true(fabsf(y[i] - x[i]) <= 0.501f * scale + 1e-30f);
            give_back(k->name, "round_int8");
        }
}

static void check_finish(const qn_kernels *k) {
    enum { N = 71 };
    float x[N], bias[N], y[N], expected[N];
    for (size_t i = 0; i < N; i++) {
        x[i] = (float)sin((double)i * 3.7) * 4;
        bias[i] = (float)cos((double)i);
    }
    for (int f = QN_ACTIVATION_NONE; f <= QN_ACTIVATION_TANH; f++)
        for (size_t n = 0; n <= N; n++)
            for (int with = 0; with < 2; with++) {
                k->finish((qn_activation)f, n, x, with ? bias : NULL, y);
                qn_ref_finish((qn_activation)f, n, x, with ? bias : NULL, expected);
                for (size_t i = 0; i < n; i++)
                    assert_true(fabsf(y[i] - expected[i]) <= 1e-6f * (1 + fabsf(expected[i])));
            }
}

// A kernel without a check_NAME here does not compile.
#define KERNEL_TEST(kernel, result, parameters)                                                                        \
    static void test_##kernel(void **state) {                                                                          \
        (void)state;                                                                                                   \
        static const char *const names[] = {"ref", "avx2", "avx512"};                                                  \
        for (size_t i = 0; i < COUNT(names); i++) {                                                                    \
            const qn_kernels *k = qn_kernels_choose(names[i]);                                                         \
            used = 0;                                                                                                  \
            if (k) check_##kernel(k);                                                                                  \
        }                                                                                                              \
    }
QN_KERNEL_MAP(KERNEL_TEST)
QN_NARROW_KERNEL_MAP(KERNEL_TEST)

// The environment and the argument choose; a wrong name is an error that says so.
static void test_choice(void **state) {
    (void)state;
    const char *given = getenv("QUERN_ISA");
    char *kept = given ? strdup(given) : NULL;
    assert_null(qn_kernels_choose("sse9"));
    assert_non_null(strstr(qn_last_error(), "sse9"));
    assert_string_equal(qn_kernels_choose("ref")->name, "ref");
    setenv("QUERN_ISA", "ref", 1);
    assert_string_equal(qn_kernels_choose(NULL)->name, "ref");
    setenv("QUERN_ISA", "nonsense", 1);
    assert_null(qn_kernels_choose(NULL));
    assert_non_null(strstr(qn_last_error(), "QUERN_ISA"));
    unsetenv("QUERN_ISA");
    const qn_kernels *best = qn_kernels_choose(NULL);
    assert_non_null(best);
#define NOT_NULL(kernel, result, parameters) assert_non_null(best->kernel);
    QN_KERNEL_MAP(NOT_NULL)
    if (qn_kernels_choose("avx2")) assert_string_not_equal(best->name, "ref");
    if (qn_kernels_choose("avx512")) assert_string_equal(best->name, "avx512");
    if (kept) setenv("QUERN_ISA", kept, 1);
    free(kept);
}

int main(void) {
    qn_kernels_ref(&ref);
    const struct CMUnitTest tests[] = {
#define KERNEL_ENTRY(kernel, result, parameters) cmocka_unit_test(test_##kernel),
        QN_KERNEL_MAP(KERNEL_ENTRY) QN_NARROW_KERNEL_MAP(KERNEL_ENTRY) cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, make_slots, drop_slots);
}
