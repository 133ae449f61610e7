// Philox: the published known answers, and the distributions built on it.
#include "support.h"
#include "base/rng.h"
#include <math.h>

// The vectors of philox4x32-10 in the kat_vectors file that accompanies the paper. Another value here would change
// every training run.
static void test_known_answers(void **state) {
    (void)state;
    const struct {
        uint64_t seed, stream, counter;
        uint32_t expected[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_random4 r = qn_philox(cases[i].seed, cases[i].stream, cases[i].counter);
        for (int j = 0; j < 4; j++) assert_int_equal(r.v[j], cases[i].expected[j]);
    }
}

// A resumed run sets the counter and must draw what the uninterrupted one draws.
static void test_counter_is_the_whole_state(void **state) {
    (void)state;
    qn_rng walking = {.seed = 5, .stream = 9};
    for (int i = 0; i < 1000; i++) {
        qn_rng resumed = {.seed = 5, .stream = 9, .counter = walking.counter};
        assert_true(qn_rng_u64(&resumed) == qn_rng_u64(&walking));
    }
    qn_rng a = {.seed = 5, .stream = 9}, b = {.seed = 5, .stream = 10};
    assert_true(qn_rng_u64(&a) != qn_rng_u64(&b));
}

static void test_uniform(void **state) {
    (void)state;
    qn_rng rng = {.seed = 1};
    size_t counts[7] = {0};
    double sum = 0, smallest = 1, largest = 0;
    for (int i = 0; i < 70000; i++) {
        counts[qn_rng_below(&rng, 7)]++;
        double x = qn_rng_real(&rng);
        sum += x;
        smallest = fmin(smallest, x);
        largest = fmax(largest, x);
    }
    for (int i = 0; i < 7; i++) assert_true(counts[i] > 9600 && counts[i] < 10400); // four standard deviations
    assert_true(fabs(sum / 70000 - 0.5) < 0.005);
    assert_true(smallest >= 0 && smallest < 0.001 && largest > 0.999 && largest < 1);
    assert_int_equal(qn_rng_below(&rng, 1), 0);
}

static void test_normal(void **state) {
    (void)state;
    qn_rng rng = {.seed = 2, .stream = 3};
    double sum = 0, squares = 0, fourth = 0;
    const int count = 200000;
    for (int i = 0; i < count; i++) {
        double x = qn_rng_normal(&rng);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    assert_true(fabs(sum / count) < 0.01);
    assert_true(fabs(squares / count - 1) < 0.015);
    assert_true(fabs(fourth / count - 3) < 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_counter_is_the_whole_state),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_normal),
    };
    return cmocka_run_group_tests_name("base_rng", tests, NULL, NULL);
}
