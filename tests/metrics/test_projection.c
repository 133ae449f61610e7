// Protects the principal plane: axes of known data, shares of the variance, and data that has fewer directions.
#include "metrics/projection.h"
#include "base/rng.h"
#include "support.h"
#include <math.h>

// Data that is spread along (3, 4, 0) / 5 and half as far along (0, 0, -1).
static void test_known_axes(void **state) {
    (void)state;
    enum { ROWS = 500 };
    float x[ROWS][3], points[ROWS][2];
    double share[2], own = 0;
    qn_rng rng = {.seed = 4};
    for (size_t r = 0; r < ROWS; r++) {
        double a = qn_rng_normal(&rng), b = 0.5 * qn_rng_normal(&rng);
        x[r][0] = (float)(0.6 * a + 7), x[r][1] = (float)(0.8 * a - 2), x[r][2] = (float)-b;
    }
    assert_ok(qn_principal_plane(x[0], ROWS, 3, points[0], share));
    assert_true(share[0] > 0.77 && share[0] < 0.83 && fabs(share[0] + share[1] - 1) < 1e-6);
    for (size_t r = 1; r < ROWS; r++) { // distances stay
        double before = 0, after = 0;
        for (int k = 0; k < 3; k++) before += pow(x[r][k] - x[0][k], 2);
        for (int k = 0; k < 2; k++) after += pow(points[r][k] - points[0][k], 2);
        own = fmax(own, fabs(before - after));
    }
    assert_true(own < 1e-3);
    assert_true(points[1][0] * (x[1][1] + 2) > 0); // an axis points where its largest entry is positive
}

static void test_few_directions(void **state) {
    (void)state;
    const float line[4] = {1, 2, 3, 6}, same[6] = {1, 1, 1, 1, 1, 1};
    float points[8];
    double share[2];
    assert_ok(qn_principal_plane(line, 4, 1, points, share));
    assert_float_equal(points[0], -2, 1e-6);
    assert_float_equal(points[6], 3, 1e-6);
    assert_true(share[0] > 0.999 && share[1] < 1e-9 && fabsf(points[1]) < 1e-6f);
    assert_ok(qn_principal_plane(same, 2, 3, points, share));
    assert_true(share[0] == 0 && points[0] == 0 && points[3] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_axes), cmocka_unit_test(test_few_directions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
