// The optimizer: tables that train by rows end where dense ones end, and it does not matter when their rows catch up.
#include "base/rng.h"
#include "support.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS = 60, WIDTH = 19, STEPS = 2600, USES = 5 };

// A table of depth 0, a weight of depth 3 and a bias.
typedef struct {
    qn_parameters set;
    qn_backend *backend;
    qn_optimizer *optimizer;
    qn_tensor *table;
} fixture;

static const qn_optimizer_options options = {0.9, 0.999, 1e-8, 0.05, 0.7};

static void open_fixture(fixture *f, bool by_rows, int threads, const char *isa) {
    *f = (fixture){0};
    f->table =
        qn_parameters_add(&f->set, "table", ROWS, WIDTH, (qn_parameter_options){QN_INIT_NORMAL, true, false, 0, false});
    qn_parameters_add(&f->set, "weight", 7, WIDTH, (qn_parameter_options){QN_INIT_NORMAL, true, false, 3, false});
    qn_parameters_add(&f->set, "bias", 0, 7, (qn_parameter_options){QN_INIT_NORMAL, false, false, 3, false});
    f->set.items[0]->by_rows = by_rows;
    assert_ok(qn_parameters_allocate(&f->set));
    qn_parameters_initialize(&f->set, 3, 0.05);
    assert_ok(qn_parameters_allocate_training(&f->set));
    assert_ok(qn_backend_create_cpu(threads, isa, &f->backend));
    assert_ok(qn_optimizer_create(f->backend, &f->set, &options, &f->optimizer));
}

static void close_fixture(fixture *f) {
    qn_optimizer_free(f->optimizer);
    qn_parameters_free(&f->set);
    qn_backend_destroy(f->backend);
}

static float *table_gradient(fixture *f, int32_t row) {
    return f->table->grad + (size_t)(f->table->used ? f->table->used->place[row] : row) * WIDTH;
}

// Two micro-batches of gradients for a few rows, common ones more often; one row is met every 1200 steps, some
// never. Whatever the fixture, step number `step` has the same gradients.
static void backward(fixture *f, int step) {
    qn_rng rng = {.seed = 5, .stream = (uint64_t)step};
    for (int batch = 0; batch < 2; batch++) {
        int32_t ids[USES];
        for (int i = 0; i < USES; i++) ids[i] = (int32_t)(pow(qn_rng_real(&rng), 8) * (ROWS - 4));
        if (step % 1200 == 0) ids[0] = ROWS - 3;
        assert_ok(qn_optimizer_use(f->optimizer, f->table, USES, ids));
        for (int i = 0; i < USES; i++)
            for (int k = 0; k < WIDTH; k++) table_gradient(f, ids[i])[k] += (float)(0.01 * qn_rng_normal(&rng));
    }
    for (size_t i = 1; i < f->set.count; i++)
        for (size_t k = 0; k < qn_count(&f->set.items[i]->tensor); k++)
            f->set.items[i]->tensor.grad[k] += (float)(0.01 * qn_rng_normal(&rng));
}

// One step as a trainer makes it: clipped, at a changing rate, and now and then skipped.
static void take_step(fixture *f, int step) {
    backward(f, step);
    if (step % 97 == 13) {
        qn_optimizer_skip(f->optimizer);
        return;
    }
    double norm = qn_optimizer_norm(f->optimizer);
    qn_optimizer_step(f->optimizer, 1e-3 * (1 - (double)step / STEPS), norm > 0.1 ? 0.1 / norm : 1);
}

static void assert_close(const char *what, const float *found, const float *expected, size_t count) {
    double worst = 0, top = 0;
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)found[i] - expected[i]));
        top = fmax(top, fabs(expected[i]));
    }
    if (!(worst <= 1e-6 * top)) fail_msg("%s differs by %.3g, largest value %.3g", what, worst, top);
}

// Protects: rows that take their updates late have the values of torch.optim.AdamW's dense update, over gaps of one
// step, of more than the first moment lives, and of more than the optimizer remembers; so do gradient norms, and all
// other parameters have the same bits.
static void test_as_dense(void **state) {
    (void)state;
    static const char *const isas[] = {"ref", NULL};
    for (int isa = 0; isa < 2; isa++) {
        fixture dense, lazy;
        open_fixture(&dense, false, 1, isas[isa]);
        open_fixture(&lazy, true, 2, isas[isa]);
        for (int step = 0; step < STEPS; step++) {
            take_step(&dense, step);
            take_step(&lazy, step);
        }
        qn_optimizer_settle(lazy.optimizer);
        size_t count = ROWS * WIDTH, rest = lazy.set.items[1]->offset;
        assert_close("the table", lazy.set.values, dense.set.values, count);
        assert_close("its second moment", lazy.set.moment2, dense.set.moment2, count);
        for (size_t i = 0; i < count; i++)
            assert_true(fabs((double)lazy.set.moment1[i] - dense.set.moment1[i]) <= 1e-7 * 0.01);
        for (size_t i = 1; i < lazy.set.count; i++)
            assert_close(lazy.set.items[i]->name, lazy.set.items[i]->tensor.data, dense.set.items[i]->tensor.data,
                         qn_count(&lazy.set.items[i]->tensor));
        assert_close("the second moments", lazy.set.moment2 + rest, dense.set.moment2 + rest, lazy.set.size - rest);
        backward(&dense, STEPS);
        backward(&lazy, STEPS);
        double a = qn_optimizer_norm(dense.optimizer), b = qn_optimizer_norm(lazy.optimizer);
        assert_true(a > 0 && fabs(a - b) <= 1e-9 * a);
        close_fixture(&dense);
        close_fixture(&lazy);
    }
}

// Protects: catching up early, as before an evaluation, or being saved and restored changes no bit; nor do threads.
static void test_when_does_not_matter(void **state) {
    (void)state;
    fixture late, early;
    open_fixture(&late, true, 1, NULL);
    open_fixture(&early, true, 2, NULL);
    qn_rng rng = {.seed = 9};
    for (int step = 0; step < STEPS; step++) {
        take_step(&late, step);
        take_step(&early, step);
        uint32_t chance = qn_rng_below(&rng, step < 1300 ? 40 : 400);
        if (chance == 0) qn_optimizer_settle(early.optimizer);
        if (chance == 1) {
            float idle[ROWS];
            int64_t updates = early.optimizer->updates;
            qn_optimizer_settle(early.optimizer);
            qn_optimizer_save_idle(early.optimizer, 0, idle);
            qn_optimizer_free(early.optimizer);
            assert_ok(qn_optimizer_create(early.backend, &early.set, &options, &early.optimizer));
            qn_optimizer_restore(early.optimizer, updates);
            assert_ok(qn_optimizer_restore_idle(early.optimizer, 0, idle));
        }
    }
    qn_optimizer_settle(late.optimizer);
    qn_optimizer_settle(early.optimizer);
    assert_memory_equal(late.set.values, early.set.values, late.set.size * sizeof(float));
    assert_memory_equal(late.set.moment1, early.set.moment1, late.set.size * sizeof(float));
    assert_memory_equal(late.set.moment2, early.set.moment2, late.set.size * sizeof(float));
    close_fixture(&late);
    close_fixture(&early);
}

// Protects: a row's gradient is gone after an update and after a skipped step, and a row that was never used decays.
static void test_rows_in_use(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, true, 1, NULL);
    float never = f.table->data[9 * WIDTH], rate = 0.01f;
    for (int skip = 0; skip < 2; skip++) {
        assert_ok(qn_optimizer_use(f.optimizer, f.table, 3, (int32_t[]){4, 2, 4}));
        assert_int_equal(f.table->used->count, 2);
        for (int k = 0; k < 2 * WIDTH; k++) assert_true(f.table->grad[k] == 0);
        assert_true(qn_optimizer_norm(f.optimizer) == 0);
        for (int k = 0; k < 2 * WIDTH; k++) f.table->grad[k] = 1;
        assert_true(fabs(qn_optimizer_norm(f.optimizer) - sqrt(2 * WIDTH)) < 1e-6);
        if (skip)
            qn_optimizer_skip(f.optimizer);
        else
            qn_optimizer_step(f.optimizer, rate, 1);
        assert_int_equal(f.table->used->count, 0);
    }
    assert_true(f.table->data[9 * WIDTH] == never); // not yet
    qn_optimizer_settle(f.optimizer);
    assert_true(fabs(f.table->data[9 * WIDTH] - never * (1 - rate * pow(0.7, 3) * 0.05)) < 1e-8);
    close_fixture(&f);
}

// Protects: rows outside the table and numbers that no run can have written are refused; a frozen table stays out.
static void test_refused(void **state) {
    (void)state;
    fixture f;
    float idle[ROWS] = {0};
    open_fixture(&f, true, 1, NULL);
    assert_fails(qn_optimizer_use(f.optimizer, f.table, 1, (int32_t[]){ROWS}), QN_ERROR_ARGUMENT, "row 60");
    assert_fails(qn_optimizer_use(f.optimizer, f.table, 1, (int32_t[]){-1}), QN_ERROR_ARGUMENT, "row -1");
    static const float wrong[] = {-1, 0.5f, 133, NAN, INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        idle[5] = wrong[i];
        assert_fails(qn_optimizer_restore_idle(f.optimizer, 0, idle), QN_ERROR_FORMAT, "table: row 5");
    }
    qn_optimizer_free(f.optimizer);
    f.set.items[0]->frozen = true;
    assert_ok(qn_optimizer_create(f.backend, &f.set, &options, &f.optimizer));
    assert_int_equal(f.optimizer->table_count, 0);
    assert_ok(qn_optimizer_use(f.optimizer, f.table, 1, (int32_t[]){3}));
    qn_optimizer_step(f.optimizer, 0.1, 1);
    assert_int_equal(f.table->used->count, 0);
    close_fixture(&f);
}

// Protects: memory that runs out at any point of opening is an error without a leak.
static void test_no_memory(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, true, 1, NULL);
    qn_optimizer_free(f.optimizer);
    qn_status status = QN_ERROR_MEMORY;
    for (size_t count = 0; status != QN_OK; count++) {
        test_fail_allocations_after(count);
        status = qn_optimizer_create(f.backend, &f.set, &options, &f.optimizer);
        test_fail_allocations_off();
        assert_true(status == QN_OK || status == QN_ERROR_MEMORY);
    }
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_dense), cmocka_unit_test(test_when_does_not_matter),
                                       cmocka_unit_test(test_rows_in_use), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
