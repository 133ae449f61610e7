// The double-array trie against plain search.
#include "text/trie.h"
#include "base/rng.h"
#include "support.h"

enum { STRINGS = 3000, LONGEST = 9 };

static int32_t plain_search(const qn_trie_entry *entries, size_t count, const char *text, size_t size) {
    int32_t value = -1;
    for (size_t i = 0; i < count; i++)
        if (entries[i].size == size && memcmp(entries[i].text, text, size) == 0) value = entries[i].value;
    return value;
}

static int32_t trie_search(const qn_trie *trie, const char *text, size_t size) {
    int32_t node = qn_trie_walk(trie, QN_TRIE_ROOT, text, size);
    return node < 0 ? -1 : trie->cells[node].value;
}

// Protects lookups of strings that are there, that are not, and that come twice, over narrow and wide alphabets.
static void test_random_strings(void **state) {
    (void)state;
    static char bytes[STRINGS][LONGEST];
    static qn_trie_entry entries[STRINGS], copy[STRINGS];
    qn_rng rng = {1, 2, 0};
    for (uint64_t alphabet = 2; alphabet <= 256; alphabet *= 128) {
        for (size_t i = 0; i < STRINGS; i++) {
            size_t size = 1 + qn_rng_below(&rng, LONGEST);
            for (size_t j = 0; j < size; j++) bytes[i][j] = (char)qn_rng_below(&rng, alphabet);
            entries[i] = copy[i] = (qn_trie_entry){bytes[i], size, (int32_t)i};
        }
        qn_trie trie;
        assert_ok(qn_trie_build(&trie, copy, STRINGS));
        size_t before = test_allocations();
        for (size_t i = 0; i < STRINGS; i += 3) {
            assert_int_equal(trie_search(&trie, bytes[i], entries[i].size),
                             plain_search(entries, STRINGS, bytes[i], entries[i].size));
            char other[LONGEST];
            size_t size = 1 + qn_rng_below(&rng, LONGEST);
            for (size_t j = 0; j < size; j++) other[j] = (char)qn_rng_below(&rng, alphabet);
            assert_int_equal(trie_search(&trie, other, size), plain_search(entries, STRINGS, other, size));
        }
        assert_int_equal(test_allocations(), before);
        qn_trie_free(&trie);
    }
}

// Protects the empty trie and that of one string.
static void test_small(void **state) {
    (void)state;
    qn_trie trie;
    assert_ok(qn_trie_build(&trie, NULL, 0));
    assert_int_equal(trie_search(&trie, "a", 1), -1);
    qn_trie_free(&trie);
    qn_trie_entry entry = {"\xff\x00z", 3, 5};
    assert_ok(qn_trie_build(&trie, &entry, 1));
    assert_int_equal(trie_search(&trie, "\xff\x00z", 3), 5);
    assert_int_equal(trie_search(&trie, "\xff", 1), -1);
    assert_int_equal(trie_search(&trie, "\xff\x00zz", 4), -1);
    qn_trie_free(&trie);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_strings), cmocka_unit_test(test_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
