// Protects the reader of IDX files: every type, big-endian, and files whose sizes do not fit.
#include "formats/idx.h"
#include "support.h"

static qn_status open(const void *bytes, size_t size, qn_idx *out) {
    uint8_t *exact = malloc(size ? size : 1); // a block of its own size, so that a sanitizer sees overruns
    memcpy(exact, bytes, size);
    qn_status status = qn_idx_open_memory(exact, size, "x", out);
    float *values = malloc((out->count + 1) * sizeof *values);
    if (status == QN_OK) qn_idx_to_f32(out, 0, out->count, values);
    free(values);
    free(exact);
    return status;
}

static void test_reads_every_type(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        float value;
    } cases[] = {{"\0\0\x08\1\0\0\0\1\xff", 9, 255},           {"\0\0\x09\1\0\0\0\1\xff", 9, -1},
                 {"\0\0\x0B\1\0\0\0\1\xff\xfe", 10, -2},       {"\0\0\x0C\1\0\0\0\1\0\1\0\0", 12, 65536},
                 {"\0\0\x0D\1\0\0\0\1\x3f\xc0\0\0", 12, 1.5f}, {"\0\0\x0E\1\0\0\0\1\xc0\0\0\0\0\0\0\0", 16, -2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_idx array;
        float value;
        assert_ok(qn_idx_open_memory(cases[i].bytes, cases[i].size, "x", &array));
        assert_true(array.dims == 1 && array.shape[0] == 1 && array.count == 1);
        qn_idx_to_f32(&array, 0, 1, &value);
        assert_true(value == cases[i].value);
        for (size_t cut = 0; cut < cases[i].size; cut++)
            assert_int_equal(open(cases[i].bytes, cut, &array), QN_ERROR_FORMAT);
    }
}

static void test_refuses(void **state) {
    (void)state;
    qn_idx array;
    assert_fails(open("\0\0\x07\1\0\0\0\0", 8, &array), QN_ERROR_FORMAT, "x: not an IDX file");
    assert_fails(open("\0\1\x08\1\0\0\0\0", 8, &array), QN_ERROR_FORMAT, "x: not an IDX file");
    assert_fails(open("\0\0\x08\0", 4, &array), QN_ERROR_UNSUPPORTED, "0 dimensions");
    assert_fails(open("\0\0\x08\x09", 4, &array), QN_ERROR_UNSUPPORTED, "9 dimensions");
    assert_fails(open("\0\0\x08\1\0\0\0\2\1", 9, &array), QN_ERROR_FORMAT, "1 bytes of elements (expected 2");
    assert_fails(open("\0\0\x08\1\0\0\0\1\1\1", 10, &array), QN_ERROR_FORMAT, "2 bytes of elements (expected 1");
    assert_fails(open("\0\0\x0E\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16, &array), QN_ERROR_FORMAT,
                 "(expected more than");
    assert_ok(open("\0\0\x08\2\0\0\0\0\xff\xff\xff\xff", 12, &array)); // no rows
    assert_fails(qn_idx_open("/no/such/file", &array), QN_ERROR_IO, "/no/such/file");
    const char *path = test_path(test_folder(), "cut.gz");
    test_write(path, "\x1f\x8b\x08\0\0\0\0\0\0\3\x63\x60", 12);
    assert_fails(qn_idx_open(path, &array), QN_ERROR_FORMAT, "corrupt gzip data");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_every_type), cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
