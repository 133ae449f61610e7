// Protects the .npy writer (numpy's bytes, atomic, any number of rows) and reader (every header numpy writes, and
// hostile ones).
#include "formats/npy.h"
#include "support.h"

#define GOLDEN QN_SOURCE_DIR "/tests/golden/formats/"

static float golden(size_t i) {
    return ((float)i - 7) * 0.375f;
}

// Everything numpy wrote is read, in formats 1.0, 2.0 and 3.0.
static void test_reads_numpy(void **state) {
    (void)state;
    static const struct {
        const char *path;
        qn_npy_dtype dtype;
        int dims;
        int64_t shape[3];
    } cases[] = {
        {GOLDEN "f4.npy", QN_NPY_F4, 2, {3, 4}},    {GOLDEN "f8.npy", QN_NPY_F8, 2, {3, 4}},
        {GOLDEN "v2.npy", QN_NPY_F4, 2, {3, 4}},    {GOLDEN "v3.npy", QN_NPY_F4, 2, {3, 4}},
        {GOLDEN "i4.npy", QN_NPY_I4, 1, {5}},       {GOLDEN "i8.npy", QN_NPY_I8, 3, {1, 5, 1}},
        {GOLDEN "empty.npy", QN_NPY_F4, 2, {0, 4}}, {GOLDEN "scalar.npy", QN_NPY_F4, 0, {0}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        qn_npy array;
        float values[12];
        assert_ok(qn_npy_open(cases[c].path, &array));
        assert_int_equal(array.dtype, cases[c].dtype);
        assert_int_equal(array.dims, cases[c].dims);
        for (int d = 0; d < array.dims; d++) assert_int_equal(array.shape[d], cases[c].shape[d]);
        qn_npy_to_f32(&array, 0, array.count, values);
        for (size_t i = 0; i < array.count && array.dims == 2; i++) assert_true(values[i] == golden(i));
        for (size_t i = 0; i < array.count && array.dims % 2 == 1; i++) assert_true(values[i] == (float)i - 2);
        if (array.dims == 0) assert_true(values[0] == 0.375f);
        if (array.dims == 2 && array.count) {
            qn_npy_to_f32(&array, 5, 1, values);
            assert_true(values[0] == golden(5));
        }
        qn_npy_close(&array);
    }
}

static qn_status open_header(const char *version, const char *header, size_t data_size) {
    size_t length = strlen(header), preamble = version[0] == 1 ? 10 : 12;
    uint8_t *file = calloc(preamble + length + data_size + 1, 1);
    memcpy(file, "\x93NUMPY", 6);
    memcpy(file + 6, version, 2);
    file[8] = (uint8_t)length;
    file[9] = (uint8_t)(length >> 8);
    memcpy(file + preamble, header, length);
    uint8_t *exact =
        malloc(preamble + length + data_size); // a block of its own size, so that a sanitizer sees overruns
    memcpy(exact, file, preamble + length + data_size);
    qn_npy array;
    qn_status status = qn_npy_open_memory(exact, preamble + length + data_size, "x.npy", &array);
    free(exact);
    free(file);
    return status;
}

// Headers that other writers made are read: other order of keys, double quotes, Python 2's long integers, no trailing
// commas.
static void test_reads_other_headers(void **state) {
    (void)state;
    assert_ok(open_header("\1", "{\"shape\":(2,1),\"descr\":\"<f4\",\"fortran_order\":False}", 8));
    assert_ok(open_header("\1", "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }  \n", 8));
    assert_ok(open_header("\1", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8));
    assert_ok(open_header("\2", "{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4));
}

// Each breach is refused with its own message.
static void test_refuses_hostile_headers(void **state) {
    (void)state;
    static const struct {
        const char *version, *header;
        size_t data;
        qn_status status;
        const char *message;
    } cases[] = {
        {"\4", "", 0, QN_ERROR_UNSUPPORTED, "x.npy: .npy format 4.0 (expected 1.0, 2.0 or 3.0)"},
        {"\1\1", "", 0, QN_ERROR_UNSUPPORTED, "x.npy: .npy format 1.1"},
        {"\1", "", 0, QN_ERROR_FORMAT, "x.npy: header, byte 0: unexpected end (expected \"{\")"},
        {"\1", "{", 0, QN_ERROR_FORMAT, "x.npy: header, byte 1: unexpected end (expected a string)"},
        {"\1", "{'descr", 0, QN_ERROR_FORMAT, "x.npy: header, byte 7: unexpected end (expected the end of a string)"},
        {"\1", "{}", 0, QN_ERROR_FORMAT, "x.npy: header key \"descr\" is missing"},
        {"\1", "{'descr':'<f4','shape':(1,)}", 4, QN_ERROR_FORMAT, "x.npy: header key \"fortran_order\" is missing"},
        {"\1", "{'descr':'<f4','descr':'<f4'}", 4, QN_ERROR_FORMAT, "x.npy: header key \"descr\" is repeated"},
        {"\1", "{'eval':'<f4'}", 4, QN_ERROR_FORMAT, "x.npy: header key \"eval\" is unknown"},
        {"\1", "{'descr':'<f2','fortran_order':False,'shape':(2,)}", 4, QN_ERROR_UNSUPPORTED,
         "x.npy: an array of '<f2' (expected '<f4', '<f8', '<i4', '<i8' or '|u1')"},
        {"\1", "{'descr':[('x','<f4')],'fortran_order':False,'shape':(1,)}", 4, QN_ERROR_UNSUPPORTED,
         "x.npy: an array of records"},
        {"\1", "{'descr':'<f4','fortran_order':maybe,'shape':(1,)}", 4, QN_ERROR_FORMAT,
         "x.npy: header, byte 31: unexpected text (expected True or False)"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(-1,)}", 4, QN_ERROR_FORMAT,
         "x.npy: header, byte 46: unexpected text (expected a size of at least 0)"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(1)}", 4, QN_ERROR_FORMAT, "(expected \",\")"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(1,2", 4, QN_ERROR_FORMAT, "unexpected end (expected"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(1,1,1,1,1,1,1,1,1)}", 4, QN_ERROR_UNSUPPORTED,
         "x.npy: an array of more than 8 dimensions"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(9223372036854775808,)}", 4, QN_ERROR_FORMAT,
         "(expected a size below 2^63)"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(4294967296,4294967296)}", 4, QN_ERROR_FORMAT,
         "x.npy: the shape is larger than any file"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(4611686018427387904,)}", 4, QN_ERROR_FORMAT,
         "x.npy: the shape is larger than any file"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(2,)}", 4, QN_ERROR_FORMAT,
         "x.npy: 4 bytes of elements (expected 8 for 2 elements of 4 bytes)"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(1,)}", 5, QN_ERROR_FORMAT,
         "x.npy: 5 bytes of elements (expected 4 for 1 elements of 4 bytes)"},
        {"\1", "{'descr':'<f4','fortran_order':False,'shape':(1,)} x", 4, QN_ERROR_FORMAT,
         "(expected the end of the header)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_status status = open_header(cases[i].version, cases[i].header, cases[i].data);
        if (status != cases[i].status || !strstr(qn_last_error(), cases[i].message))
            fail_msg("case %zu: status %d, \"%s\" (expected %d, \"%s\")", i, status, qn_last_error(), cases[i].status,
                     cases[i].message);
    }
    qn_npy array;
    assert_fails(qn_npy_open(GOLDEN "fortran.npy", &array), QN_ERROR_UNSUPPORTED,
                 "fortran.npy: an array in Fortran order (expected C order)");
    assert_fails(qn_npy_open(GOLDEN "big_endian.npy", &array), QN_ERROR_UNSUPPORTED, "an array of '>f4'");
    assert_fails(qn_npy_open(GOLDEN "make.py", &array), QN_ERROR_FORMAT, "make.py: not a .npy file");
    assert_fails(qn_npy_open(GOLDEN "none.npy", &array), QN_ERROR_IO, "none.npy");
}

// A file cut at any byte is refused.
static void test_refuses_truncated_files(void **state) {
    (void)state;
    size_t size;
    char *whole = test_read(GOLDEN "v2.npy", &size);
    for (size_t cut = 0; cut < size; cut++) {
        char *part = malloc(cut ? cut : 1);
        memcpy(part, whole, cut);
        qn_npy array;
        assert_int_equal(qn_npy_open_memory(part, cut, "x.npy", &array), QN_ERROR_FORMAT);
        free(part);
    }
    free(whole);
}

// The writer gives numpy's bytes, however the rows come.
static void test_writes_numpy(void **state) {
    (void)state;
    float rows[12];
    for (size_t i = 0; i < 12; i++) rows[i] = golden(i);
    const char *path = test_path(test_folder(), "out.npy");
    qn_npy_writer *writer;
    assert_ok(qn_npy_writer_open(path, 4, &writer));
    assert_ok(qn_npy_writer_rows(writer, rows, 1));
    assert_ok(qn_npy_writer_rows(writer, rows, 0));
    assert_ok(qn_npy_writer_rows(writer, rows + 4, 2));
    assert_ok(qn_npy_writer_commit(writer));
    size_t size, expected_size;
    char *written = test_read(path, &size), *expected = test_read(GOLDEN "f4.npy", &expected_size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(written, expected, size);
    free(written);
    free(expected);

    assert_ok(qn_npy_writer_open(path, 4, &writer));
    assert_ok(qn_npy_writer_commit(writer));
    written = test_read(path, &size);
    expected = test_read(GOLDEN "empty.npy", &expected_size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(written, expected, size);
    free(written);
    free(expected);
}

// More data than any buffer between, and the old file stays until commit and after an abort.
static void test_is_atomic(void **state) {
    (void)state;
    enum { ROWS = 5000, COLUMNS = 37 };
    const char *path = test_path(test_folder(), "out.npy");
    float *rows = malloc(sizeof(float) * ROWS * COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++) rows[i] = (float)i;
    test_write_text(path, "old");
    for (int commit = 0; commit < 2; commit++) {
        qn_npy_writer *writer;
        assert_ok(qn_npy_writer_open(path, COLUMNS, &writer));
        for (int i = 0; i < ROWS; i += 100) assert_ok(qn_npy_writer_rows(writer, rows + i * COLUMNS, 100));
        char *old = test_read(path, NULL);
        assert_string_equal(old, "old");
        free(old);
        if (commit)
            assert_ok(qn_npy_writer_commit(writer));
        else
            qn_npy_writer_abort(writer);
    }
    qn_npy array;
    assert_ok(qn_npy_open(path, &array));
    assert_int_equal(array.shape[0], ROWS);
    assert_int_equal(array.shape[1], COLUMNS);
    assert_memory_equal(array.data, rows, sizeof(float) * ROWS * COLUMNS);
    qn_npy_close(&array);
    qn_npy_writer *writer;
    assert_ok(qn_npy_writer_open(path, COLUMNS, &writer));
    assert_fails(qn_npy_writer_rows(writer, rows, SIZE_MAX / 4), QN_ERROR_ARGUMENT, "are larger than any file");
    qn_npy_writer_abort(writer);
    qn_npy_writer_abort(NULL);
    free(rows);
    assert_int_equal(qn_npy_writer_open(test_path(test_folder(), "none/out.npy"), 1, &writer), QN_ERROR_IO);
    assert_null(writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_numpy),
        cmocka_unit_test(test_reads_other_headers),
        cmocka_unit_test(test_refuses_hostile_headers),
        cmocka_unit_test(test_refuses_truncated_files),
        cmocka_unit_test(test_writes_numpy),
        cmocka_unit_test(test_is_atomic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
