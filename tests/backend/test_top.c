// The next tokens that a search looks at: the largest of a row's log-softmax, in order, equal ones by their columns,
// without what is banned, on every instruction set.
#include "backend/backend.h"
#include "base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 5, CLASSES = 333, MOST = 8 };
static qn_rng rng = {5, 1, 0};
static const int32_t banned_offsets[] = {0, 0, 2, 3, 3, 3}, banned[] = {7, 300, 0};

static bool is_banned(size_t row, size_t column) {
    for (int32_t i = banned_offsets[row]; i < banned_offsets[row + 1]; i++)
        if (banned[i] == (int32_t)column) return true;
    return false;
}

static double log_sum(const float *x, size_t classes, size_t row, bool renormalize) {
    double sum = 0;
    for (size_t c = 0; c < classes; c++)
        if (!renormalize || !is_banned(row, c)) sum += exp(x[c]);
    return log(sum);
}

// The best column that is worse than the last one, or equal and behind it.
static size_t next_best(const float *x, size_t classes, size_t row, const size_t *last) {
    size_t best = classes;
    for (size_t c = 0; c < classes; c++) {
        bool behind = !last || x[c] < x[*last] || (!(x[c] > x[*last]) && c > *last);
        if (behind && !is_banned(row, c) && (best == classes || x[c] > x[best])) best = c;
    }
    return best;
}

static void check(qn_backend *b, size_t classes, size_t k, bool renormalize) {
    float x[ROWS * CLASSES], scratch[ROWS * CLASSES], value[ROWS * MOST];
    int32_t index[ROWS * MOST];
    for (size_t i = 0; i < ROWS * classes; i++) x[i] = (float)(int)(qn_rng_real(&rng) * 40 - 20) / 4; // some are equal
    memcpy(scratch, x, sizeof x);
    b->ops->top(b, &(qn_top_args){.rows = ROWS,
                                  .classes = classes,
                                  .k = k,
                                  .x = scratch,
                                  .banned_offsets = banned_offsets,
                                  .banned = banned,
                                  .renormalize = renormalize,
                                  .value = value,
                                  .index = index});
    for (size_t r = 0; r < ROWS; r++) {
        const float *row = x + r * classes;
        double sum = log_sum(row, classes, r, renormalize);
        size_t column = 0;
        for (size_t i = 0; i < k; i++) {
            column = next_best(row, classes, r, i ? &column : NULL);
            if (column == classes) { // there are no more
                for (; i < k; i++) assert_true(isinf(value[r * k + i]) && value[r * k + i] < 0);
                break;
            }
            assert_int_equal(index[r * k + i], column);
            assert_true(fabs(value[r * k + i] - (row[column] - sum)) < 1e-5);
        }
    }
}

static void test_top(void **state) {
    (void)state;
    static const char *const isas[] = {"ref", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        qn_backend *b;
        if (qn_backend_create_cpu(2, isas[i], &b) != QN_OK) continue;
        for (int renormalize = 0; renormalize < 2; renormalize++) {
            check(b, CLASSES, 1, renormalize);
            check(b, CLASSES, MOST, renormalize);
            check(b, 301, 3, renormalize);
        }
        qn_backend_destroy(b);
    }
}

// Fewer columns than are wanted.
static void test_few(void **state) {
    (void)state;
    qn_backend *b;
    assert_int_equal(qn_backend_create_cpu(1, NULL, &b), QN_OK);
    float x[3] = {1, 3, 2}, value[4];
    int32_t index[4];
    b->ops->top(b, &(qn_top_args){.rows = 1, .classes = 3, .k = 4, .x = x, .value = value, .index = index});
    assert_int_equal(index[0], 1);
    assert_int_equal(index[1], 2);
    assert_int_equal(index[2], 0);
    assert_true(isinf(value[3]) && value[3] < 0);
    qn_backend_destroy(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_top), cmocka_unit_test(test_few)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
