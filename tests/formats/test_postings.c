// Files of sparse vectors: what is written is read again, by columns, and no file makes the reader look outside of it.
#include "support.h"
#include "formats/postings.h"

static void add(qn_sparse_rows *m, size_t count, const int32_t *column, const float *value) {
    assert_ok(qn_sparse_rows_add(m, &(qn_sparse_vector){count, column, value}));
}

// [[0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 0]]
static void make(qn_sparse_rows *rows) {
    *rows = (qn_sparse_rows){.columns = 4};
    add(rows, 2, (const int32_t[]){1, 3}, (const float[]){1, 2});
    add(rows, 0, NULL, NULL);
    add(rows, 1, (const int32_t[]){1}, (const float[]){3});
}

static void check(const qn_postings *p) {
    static const int64_t offsets[] = {0, 0, 2, 2, 3};
    static const int32_t row[] = {0, 2, 0};
    static const float value[] = {1, 3, 2};
    assert_int_equal(p->rows, 3);
    assert_int_equal(p->columns, 4);
    assert_memory_equal(p->offsets, offsets, sizeof offsets);
    assert_memory_equal(p->row, row, sizeof row);
    assert_memory_equal(p->value, value, sizeof value);
}

static void test_columns(void **state) { // rows by columns, from memory and from a file
    (void)state;
    qn_sparse_rows rows;
    qn_postings p;
    make(&rows);
    assert_int_equal(qn_sparse_rows_at(&rows, 0).count, 2);
    assert_int_equal(qn_sparse_rows_at(&rows, 1).count, 0);
    assert_int_equal(qn_sparse_rows_at(&rows, 2).column[0], 1);
    assert_ok(qn_postings_make(&rows, &p));
    check(&p);
    const char *path = test_path(test_folder(), "vectors.safetensors");
    assert_ok(qn_postings_write(&p, path));
    qn_postings_free(&p);
    assert_ok(qn_postings_open(path, &p));
    check(&p);
    qn_postings_free(&p);
    qn_sparse_rows_free(&rows);
}

static void test_empty(void **state) { // no rows, and rows without elements
    (void)state;
    const char *path = test_path(test_folder(), "empty.safetensors");
    for (size_t n = 0; n < 3; n += 2) {
        qn_sparse_rows rows = {.columns = 2};
        qn_postings p;
        for (size_t i = 0; i < n; i++) add(&rows, 0, NULL, NULL);
        assert_ok(qn_postings_make(&rows, &p));
        assert_ok(qn_postings_write(&p, path));
        qn_postings_free(&p);
        assert_ok(qn_postings_open(path, &p));
        assert_int_equal(p.rows, n);
        assert_int_equal(p.offsets[2], 0);
        qn_postings_free(&p);
        qn_sparse_rows_free(&rows);
    }
}

static void test_bad_rows(void **state) { // columns that do not ascend, or are outside
    (void)state;
    static const int32_t bad[][2] = {{1, 1}, {3, 2}, {-1, 2}, {0, 4}};
    qn_sparse_rows rows = {.columns = 4};
    for (size_t i = 0; i < 4; i++)
        assert_fails(qn_sparse_rows_add(&rows, &(qn_sparse_vector){2, bad[i], (const float[]){1, 1}}),
                     QN_ERROR_ARGUMENT, "expected ascending ones below 4");
    qn_sparse_rows_free(&rows);
}

static void test_hostile(void **state) { // each array in turn is wrong
    (void)state;
    static const struct {
        int64_t rows, columns, indptr[5];
        int32_t indices[3];
        int64_t count; // of data
        const char *error;
    } files[] = {{3, 4, {0, 0, 2, 2, 3}, {0, 2, 0}, 3, NULL},
                 {-1, 4, {0, 0, 2, 2, 3}, {0, 2, 0}, 3, "\"shape\" is -1 rows"},
                 {3, INT64_MAX, {0, 0, 2, 2, 3}, {0, 2, 0}, 3, "\"shape\" is 3 rows"},
                 {3, 3, {0, 0, 2, 2, 3}, {0, 2, 0}, 3, "\"indptr\" is I64 [5] (expected I64 [4])"},
                 {3, 4, {1, 1, 2, 2, 3}, {0, 2, 0}, 3, "\"indptr\" does not ascend"},
                 {3, 4, {0, 3, 2, 2, 3}, {0, 2, 0}, 3, "\"indptr\" does not ascend"},
                 {3, 4, {0, 0, 2, 2, 9}, {0, 2, 0}, 3, "\"indices\" is I32 [3] (expected I32 [9])"},
                 {3, 4, {0, 0, 2, 2, 3}, {0, 2, 0}, 2, "\"data\" is F32 [2] (expected F32 [3])"},
                 {2, 4, {0, 0, 2, 2, 3}, {0, 2, 0}, 3, "row 2 in column 1 (expected ascending ones below 2)"},
                 {3, 4, {0, 0, 2, 2, 3}, {2, 2, 0}, 3, "row 2 in column 1"},
                 {3, 4, {0, 0, 2, 2, 3}, {0, 2, -1}, 3, "row -1 in column 3"}};
    const char *path = test_path(test_folder(), "hostile.safetensors");
    static const float data[3] = {1, 3, 2};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const int64_t shape[] = {files[i].rows, files[i].columns};
        const qn_st_entry entries[] = {
            {.name = "shape", .dtype = QN_ST_I64, .dims = 1, .shape = {2}, .bytes = shape},
            {.name = "indptr", .dtype = QN_ST_I64, .dims = 1, .shape = {5}, .bytes = files[i].indptr},
            {.name = "indices", .dtype = QN_ST_I32, .dims = 1, .shape = {3}, .bytes = files[i].indices},
            {.name = "data", .dtype = QN_ST_F32, .dims = 1, .shape = {files[i].count}, .values = data}};
        qn_postings p;
        assert_ok(qn_safetensors_write(path, entries, 4, NULL));
        if (files[i].error)
            assert_fails(qn_postings_open(path, &p), QN_ERROR_FORMAT, files[i].error);
        else
            assert_ok(qn_postings_open(path, &p));
        qn_postings_free(&p);
        assert_ok(qn_safetensors_write(path, entries + 1, 3, NULL));
        assert_fails(qn_postings_open(path, &p), QN_ERROR_FORMAT, "no array \"shape\"");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_columns), cmocka_unit_test(test_empty),
                                       cmocka_unit_test(test_bad_rows), cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
