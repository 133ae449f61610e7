// The order of examples and its batches.
#include "tests/support.h"
#include "base/rng.h"
#include "data/sampler.h"

static qn_sequences sequences;

// 1000 sequences of 1 to 40 tokens, mostly short; number 500 has 300.
static int set_up(void **state) {
    (void)state;
    qn_rng rng = {7, 0, 0};
    for (size_t i = 0; i < 1000; i++) {
        size_t length = i == 500 ? 300 : 1 + (size_t)(40 * qn_rng_real(&rng) * qn_rng_real(&rng));
        for (size_t k = 0; k < length; k++) assert_ok(qn_sequences_put(&sequences, 1));
        assert_ok(qn_sequences_close(&sequences, (int32_t)length));
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    qn_sequences_free(&sequences);
    return 0;
}

static qn_sampler *make(qn_order order, size_t size, size_t tokens, uint64_t seed) {
    qn_sampler *sampler;
    assert_ok(qn_sampler_create(
        &sequences, &(qn_sampler_options){.order = order, .batch_size = size, .batch_tokens = tokens, .seed = seed},
        &sampler));
    return sampler;
}

// The examples of the current epoch in their order.
static void flatten(const qn_sampler *sampler, uint32_t *out) {
    size_t n = 0;
    for (size_t b = 0; b < qn_sampler_batches(sampler); b++) {
        const uint32_t *examples;
        size_t count;
        qn_sampler_batch(sampler, b, &examples, &count);
        assert_true(count > 0 && n + count <= 1000);
        memcpy(out + n, examples, count * sizeof *examples);
        n += count;
    }
    assert_int_equal(n, 1000);
}

static void every_order_is_a_permutation(void **state) { // each example once an epoch
    (void)state;
    for (qn_order order = QN_ORDER_SHUFFLED; order <= QN_ORDER_GIVEN; order++)
        for (uint64_t epoch = 0; epoch < 3; epoch++)
            for (int tokens = 0; tokens < 2; tokens++) {
                qn_sampler *sampler = make(order, tokens ? 0 : 32, tokens ? 200 : 0, 1);
                assert_ok(qn_sampler_set_epoch(sampler, epoch));
                uint32_t examples[1000];
                bool seen[1000] = {false};
                flatten(sampler, examples);
                for (size_t i = 0; i < 1000; i++) {
                    assert_false(seen[examples[i]]);
                    seen[examples[i]] = true;
                }
                qn_sampler_free(sampler);
            }
}

static void
order_depends_on_seed_and_epoch_only(void **state) { // so that any batch of any epoch can be reached directly
    (void)state;
    for (qn_order order = QN_ORDER_SHUFFLED; order <= QN_ORDER_GROUPED; order++) {
        qn_sampler *a = make(order, 16, 0, 1), *b = make(order, 16, 0, 1), *c = make(order, 16, 0, 2);
        uint32_t first[1000], second[1000], other[1000];
        for (uint64_t epoch = 0; epoch < 6; epoch++) assert_ok(qn_sampler_set_epoch(a, epoch));
        assert_ok(qn_sampler_set_epoch(b, 5));
        assert_ok(qn_sampler_set_epoch(c, 5));
        flatten(a, first);
        flatten(b, second);
        assert_memory_equal(first, second, sizeof first);
        flatten(c, other);
        assert_true(memcmp(first, other, sizeof first) != 0);
        assert_ok(qn_sampler_set_epoch(b, 4));
        flatten(b, other);
        assert_true(memcmp(first, other, sizeof first) != 0);
        qn_sampler_free(a);
        qn_sampler_free(b);
        qn_sampler_free(c);
    }
}

static void
limits_are_kept(void **state) { // the token budget is never exceeded, except by one example alone; and batches are full
    (void)state;
    for (qn_order order = QN_ORDER_SHUFFLED; order <= QN_ORDER_GIVEN; order++) {
        qn_sampler *sampler = make(order, 12, 150, 3);
        size_t alone = 0, previous = 0;
        for (size_t b = 0; b < qn_sampler_batches(sampler); b++) {
            const uint32_t *examples;
            size_t count, tokens = 0;
            qn_sampler_batch(sampler, b, &examples, &count);
            for (size_t i = 0; i < count; i++) tokens += (size_t)qn_sequences_length(&sequences, examples[i]);
            assert_true(count <= 12);
            if (tokens > 150) {
                assert_int_equal(count, 1);
                alone++;
            }
            // The first example of this batch did not fit the one before.
            if (b > 0 && order != QN_ORDER_GROUPED)
                assert_true(previous + (size_t)qn_sequences_length(&sequences, examples[0]) > 150 || previous == 0);
            previous = count == 12 ? 0 : tokens;
        }
        assert_int_equal(alone, 1);
        qn_sampler_free(sampler);
    }
}

// The tokens that padding each batch to its longest example would add, as a share of the real ones.
static double padding(const qn_sampler *sampler) {
    size_t padded = 0;
    for (size_t b = 0; b < qn_sampler_batches(sampler); b++) {
        const uint32_t *examples;
        size_t count, most = 0;
        qn_sampler_batch(sampler, b, &examples, &count);
        for (size_t i = 0; i < count; i++) {
            size_t length = (size_t)qn_sequences_length(&sequences, examples[i]);
            if (length > most) most = length;
        }
        padded += most * count;
    }
    return (double)padded / (double)sequences.tokens - 1;
}

static void grouping_makes_batches_even(void **state) {
    (void)state;
    qn_sampler *shuffled = make(QN_ORDER_SHUFFLED, 8, 0, 1), *grouped = make(QN_ORDER_GROUPED, 8, 0, 1),
               *sorted = make(QN_ORDER_SORTED, 8, 0, 1);
    assert_true(padding(shuffled) > 0.8);
    assert_true(padding(grouped) < 0.5 * padding(shuffled));
    const uint32_t *examples;
    size_t count;
    qn_sampler_batch(sorted, 0, &examples, &count);
    assert_int_equal(examples[0], 500); // the longest comes first: if memory suffices for it, it suffices for all
    qn_sampler_free(shuffled);
    qn_sampler_free(grouped);
    qn_sampler_free(sorted);
}

static void
shuffling_is_even(void **state) { // over many epochs each example is as often in the first half as in the second
    (void)state;
    qn_sampler *sampler = make(QN_ORDER_SHUFFLED, 10, 0, 1);
    int early[1000] = {0};
    for (uint64_t epoch = 0; epoch < 400; epoch++) {
        uint32_t examples[1000];
        assert_ok(qn_sampler_set_epoch(sampler, epoch));
        flatten(sampler, examples);
        for (size_t i = 0; i < 500; i++) early[examples[i]]++;
    }
    for (size_t i = 0; i < 1000; i++) assert_in_range(early[i], 150, 250); // 200, five standard deviations
    qn_sampler_free(sampler);
}

static void batches_are_known_in_advance(void **state) { // for schedules and the time left
    (void)state;
    for (qn_order order = QN_ORDER_SHUFFLED; order <= QN_ORDER_GIVEN; order++)
        for (int tokens = 0; tokens < 2; tokens++) {
            qn_sampler *sampler = make(order, tokens ? 0 : 7, tokens ? 100 : 0, 9);
            uint64_t total, counted = 0;
            assert_ok(qn_sampler_total(sampler, 4, &total));
            for (uint64_t epoch = 0; epoch < 4; epoch++) {
                size_t count;
                assert_ok(qn_sampler_count(sampler, epoch, &count));
                assert_ok(qn_sampler_set_epoch(sampler, epoch));
                assert_int_equal(count, qn_sampler_batches(sampler));
                counted += count;
            }
            assert_int_equal(total, counted);
            qn_sampler_free(sampler);
        }
}

static void a_new_epoch_allocates_nothing(void **state) {
    (void)state;
    qn_sampler *sampler = make(QN_ORDER_GROUPED, 10, 0, 1);
    size_t before = test_allocations();
    for (uint64_t epoch = 1; epoch < 4; epoch++) assert_ok(qn_sampler_set_epoch(sampler, epoch));
    assert_int_equal(test_allocations(), before);
    qn_sampler_free(sampler);
}

static void no_limit_is_refused(void **state) {
    (void)state;
    qn_sampler *sampler;
    assert_fails(qn_sampler_create(&sequences, &(qn_sampler_options){0}, &sampler), QN_ERROR_ARGUMENT,
                 "a batch without a limit");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_is_a_permutation),
        cmocka_unit_test(order_depends_on_seed_and_epoch_only),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(grouping_makes_batches_even),
        cmocka_unit_test(shuffling_is_even),
        cmocka_unit_test(batches_are_known_in_advance),
        cmocka_unit_test(a_new_epoch_allocates_nothing),
        cmocka_unit_test(no_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
