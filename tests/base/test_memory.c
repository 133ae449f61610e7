// Checked allocation, growth, and the arena: marks, coalescing, and the promise that a steady step takes nothing from
// the heap.
#include "support.h"
#include "base/memory.h"

// A size from a hostile file must fail cleanly and not wrap around to a small allocation.
static void test_overflow_is_refused(void **state) {
    (void)state;
    assert_null(qn_malloc(SIZE_MAX / 2, 3));
    assert_non_null(strstr(qn_last_error(), "out of memory"));
    assert_null(qn_calloc(SIZE_MAX, SIZE_MAX));
    assert_null(qn_realloc(NULL, SIZE_MAX / 4 + 1, 4));
    assert_null(qn_aligned_alloc(SIZE_MAX - 3));
    assert_null(qn_strndup("", SIZE_MAX));
    void *array = NULL;
    size_t capacity = 0;
    assert_fails(qn_grow(&array, &capacity, SIZE_MAX / 2, 8), QN_ERROR_MEMORY, "out of memory");
    assert_null(array);
    assert_int_equal(capacity, 0);
    qn_arena *arena = qn_arena_create(0);
    assert_non_null(arena);
    assert_null(qn_arena_alloc(arena, SIZE_MAX, 2));
    assert_null(qn_arena_zalloc(arena, SIZE_MAX / 2 + 1, 2));
    assert_null(qn_arena_strndup(arena, "", SIZE_MAX));
    assert_non_null(qn_arena_alloc(arena, 1, 1)); // the arena is still good
    qn_arena_destroy(arena);
}

// NULL always means failure, so that no caller needs a special case for empty arrays.
static void test_nothing_is_not_null(void **state) {
    (void)state;
    void *a = qn_malloc(0, 8), *b = qn_calloc(8, 0), *c = qn_realloc(NULL, 0, 0), *d = qn_aligned_alloc(0);
    assert_true(a != NULL && b != NULL && c != NULL && d != NULL);
    free(a);
    free(b);
    free(c);
    qn_aligned_free(d);
    char *text = qn_strndup("quern", 3);
    assert_string_equal(text, "que");
    free(text);
}

static void test_grow_doubles(void **state) {
    (void)state;
    int *array = NULL;
    size_t capacity = 0, before = test_allocations();
    for (size_t i = 0; i < 100000; i++) {
        assert_ok(qn_grow((void **)&array, &capacity, i + 1, sizeof *array));
        array[i] = (int)i;
    }
    assert_int_equal(array[77777], 77777);
    assert_true(test_allocations() - before < 20);
    free(array);
}

static void test_arena_memory_is_aligned_and_apart(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(100);
    assert_non_null(arena);
    char *pieces[200];
    for (size_t i = 0; i < 200; i++) {
        pieces[i] = qn_arena_alloc(arena, i * 37, 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 64, 0);
        memset(pieces[i], (int)i, i * 37);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < i * 37; j++) assert_int_equal((unsigned char)pieces[i][j], i);
    float *zero = qn_arena_zalloc(arena, 1000, sizeof *zero);
    for (size_t i = 0; i < 1000; i++) assert_true(zero[i] == 0);
    assert_string_equal(qn_arena_strndup(arena, "grain", 4), "grai");
    qn_arena_destroy(arena);
}

// One step of changing sizes: what a training step does to its arena.
static void step(qn_arena *arena, size_t scale) {
    for (size_t i = 0; i < 50; i++) {
        assert_non_null(qn_arena_alloc(arena, (i * 7919) % 1000 + 1, scale));
        qn_arena_mark mark = qn_arena_save(arena);
        assert_non_null(qn_arena_alloc(arena, 3000, scale));
        assert_non_null(qn_arena_alloc(arena, 100, scale));
        qn_arena_restore(arena, mark);
    }
}

// The first step may take chunks; the second runs in the one chunk they became; from then on the heap is not touched.
static void test_steady_step_allocates_nothing(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(0);
    assert_non_null(arena);
    step(arena, 64);
    qn_arena_reset(arena);
    size_t before = test_allocations();
    for (int i = 0; i < 100; i++) {
        step(arena, i % 2 == 0 ? 64 : 17);
        qn_arena_reset(arena);
    }
    assert_int_equal(test_allocations(), before);
    qn_arena_destroy(arena);
}

// A request that saves and restores, and never resets, is steady too.
static void test_marks_reuse_later_chunks(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(0);
    assert_non_null(arena);
    char *kept = qn_arena_strndup(arena, "kept", 4);
    qn_arena_mark mark = qn_arena_save(arena);
    step(arena, 100);
    qn_arena_restore(arena, mark);
    size_t before = test_allocations();
    for (int i = 0; i < 10; i++) {
        step(arena, 100);
        qn_arena_restore(arena, mark);
    }
    assert_int_equal(test_allocations(), before);
    assert_string_equal(kept, "kept");
    void *first = qn_arena_alloc(arena, 10, 1);
    qn_arena_restore(arena, mark);
    assert_ptr_equal(qn_arena_alloc(arena, 10, 1), first);
    qn_arena_destroy(arena);
}

// A mark of an empty arena gives everything back.
static void test_mark_of_nothing(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(0);
    assert_non_null(arena);
    qn_arena_mark mark = qn_arena_save(arena);
    void *first = qn_arena_alloc(arena, 10, 1);
    qn_arena_alloc(arena, 100000, 1);
    qn_arena_restore(arena, mark);
    assert_ptr_equal(qn_arena_alloc(arena, 10, 1), first);
    qn_arena_destroy(arena);
    qn_arena_destroy(NULL);
}

// The peak is of bytes in use at once, and not of all that was ever handed out: memory is planned by it.
static void test_peak(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(0);
    assert_non_null(arena);
    for (int i = 0; i < 100; i++) {
        qn_arena_mark mark = qn_arena_save(arena);
        assert_non_null(qn_arena_alloc(arena, 100000, 1));
        assert_non_null(qn_arena_alloc(arena, 300000, 1));
        qn_arena_restore(arena, mark);
    }
    assert_true(qn_arena_peak(arena) >= 400000 && qn_arena_peak(arena) < 401000);
    qn_arena_reset(arena);
    assert_non_null(qn_arena_alloc(arena, 1, 1));
    assert_true(qn_arena_peak(arena) >= 400000 && qn_arena_peak(arena) < 401000);
    qn_arena_destroy(arena);
}

// When the heap is empty the arena says so, keeps what it has, and works again when there is memory.
static void test_arena_survives_an_empty_heap(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(0);
    assert_non_null(arena);
    char *text = qn_arena_strndup(arena, "still here", 10);
    for (size_t allowed = 0; allowed < 2; allowed++) {
        test_fail_allocations_after(allowed);
        void *pointer = qn_arena_alloc(arena, 1000000, 1);
        test_fail_allocations_off();
        assert_null(pointer);
    }
    assert_string_equal(text, "still here");
    assert_non_null(qn_arena_alloc(arena, 1000000, 1));
    test_fail_allocations_after(0);
    qn_arena_reset(arena); // two chunks were to become one
    void *pointer = qn_arena_alloc(arena, 1, 1);
    test_fail_allocations_off();
    assert_null(pointer);
    assert_non_null(qn_arena_alloc(arena, 1000000, 1));
    qn_arena_destroy(arena);
    test_fail_allocations_after(0);
    assert_null(qn_arena_create(10));
    test_fail_allocations_off();
}

// Protects: recycled memory serves what takes at least half of it, the smallest piece first, and takes nothing new; a
// reset or a restore forgets it, and a trimmed arena begins anew.
static void test_arena_recycle(void **state) {
    (void)state;
    qn_arena *arena = qn_arena_create(1 << 16);
    qn_arena_mark mark = qn_arena_save(arena);
    char *large = qn_arena_alloc(arena, 1000, 4), *small = qn_arena_alloc(arena, 600, 4);
    size_t peak = qn_arena_peak(arena);
    qn_arena_recycle(arena, large, 1000, 4);
    qn_arena_recycle(arena, small, 600, 4);
    qn_arena_recycle(arena, NULL, 7, 4);
    char *tiny = qn_arena_alloc(arena, 100, 4); // would lose most of a piece
    assert_true(tiny != large && tiny != small && qn_arena_peak(arena) > peak);
    peak = qn_arena_peak(arena);
    assert_ptr_equal(qn_arena_alloc(arena, 590, 4), small);
    assert_ptr_equal(qn_arena_alloc(arena, 600, 4), large);
    assert_int_equal(qn_arena_peak(arena), peak);
    memset(small, 1, 590 * 4);
    memset(large, 1, 600 * 4);
    qn_arena_recycle(arena, large, 600, 4);
    qn_arena_restore(arena, mark);
    assert_ptr_equal(qn_arena_alloc(arena, 10, 4), large); // the arena's first memory, and not the recycled piece
    assert_true((char *)qn_arena_alloc(arena, 600, 4) > large);
    qn_arena_recycle(arena, large, 10, 4);
    qn_arena_reset(arena);
    assert_ptr_equal(qn_arena_alloc(arena, 2000, 4), large);
    qn_arena_trim(arena);
    assert_int_equal(qn_arena_peak(arena), 0);
    assert_non_null(memset(qn_arena_alloc(arena, 300000, 4), 1, 300000 * 4));
    qn_arena_destroy(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overflow_is_refused),
        cmocka_unit_test(test_nothing_is_not_null),
        cmocka_unit_test(test_grow_doubles),
        cmocka_unit_test(test_arena_memory_is_aligned_and_apart),
        cmocka_unit_test(test_steady_step_allocates_nothing),
        cmocka_unit_test(test_marks_reuse_later_chunks),
        cmocka_unit_test(test_mark_of_nothing),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_arena_survives_an_empty_heap),
        cmocka_unit_test(test_arena_recycle),
    };
    return cmocka_run_group_tests_name("base_memory", tests, NULL, NULL);
}
