// Protects the readers of numbers: which cells are numbers, labels, names or nothing, in every format; and that what is
// no number, or of another length, is refused with its place.
#include "data/numbers.h"
#include "formats/safetensors.h"
#include "support.h"
#include <math.h>
#include <zlib.h>

static qn_status read_file(const char *path, const qn_data_options *options, qn_numbers **out) {
    return qn_numbers_read(&path, 1, options, out);
}

static const char *file(const char *name, const char *text) {
    const char *path = test_path(test_folder(), name);
    test_write_text(path, text);
    return path;
}

static void expect(const qn_numbers *n, size_t rows, size_t columns, const float *values, const char *labels) {
    assert_int_equal(qn_numbers_rows(n), rows);
    assert_int_equal(qn_numbers_columns(n), columns);
    assert_memory_equal(qn_numbers_values(n), values, rows * columns * sizeof *values);
    for (size_t r = 0; r < rows; r++) {
        const char *label = qn_numbers_label_of(n, r);
        char have[2] = {label ? *label : '-', 0}, want[2] = {labels[r], 0};
        assert_string_equal(have, want);
    }
}

static const float six[] = {1, 2, 3, 4, 5, 6};

// The same numbers in every form of text.
static void test_text(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *label_column, *columns, *labels;
    } cases[] = {
        {"a.csv", "x,y,z\n1,2,3\n4,5,6\n", NULL, NULL, "--"},
        {"b.csv", "1,2,3\r\n4,5,6\r\n", NULL, NULL, "--"},
        {"c.csv", "label,x,y,z\nb,1,2,3\na,4,5,6\n", NULL, NULL, "ba"},
        {"d.tsv", "x\tClass\ty\tz\n1\t\"b\t2\t3\n4\t\t5\t6\n", NULL, NULL, "\"-"},
        {"e.csv", ",0,1,2\n0,1,2,3\n1,4,5,6\n", NULL, NULL, "--"}, // pandas with its index
        {"f.csv", "0,1,2\n1,2,3\n4,5,6\n", NULL, NULL, "--"},      // and without
        {"g.csv", "7,1,2,3\n8,4,5,6\n", "1", NULL, "78"},          // as MNIST's CSV files
        {"h.csv", "7;1;2;3\n8;4;5;6\n", "who", "who,a,b,c", NULL}, // names come from the option
        {"i.csv", "x,y,who,z\n1,2,\"q,\"\"r\",3\n4,5,s,6\n", "WHO", NULL, "qs"},
        {"j.jsonl", "[1, 2, 3]\n\n[4, 5, 6.0]\n", NULL, NULL, "--"},
        {"k.jsonl", "{\"embedding\": [1,2,3], \"label\": 7}\n{\"embedding\": [4,5,6], \"label\": \"u\"}\n", NULL, NULL,
         "7u"},
        {"l", "{\"x\": [1,2,3]}\n{\"x\": [4,5,6], \"class\": null}\n", NULL, NULL, "--"},
        {"m", " 1 \t2\t3e0\n4\t5\t6\n", NULL, NULL, "--"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_data_options o = {.label_column = cases[i].label_column, .columns = cases[i].columns};
        qn_numbers *n;
        qn_status status = read_file(file(cases[i].name, cases[i].text), &o, &n);
        if (!cases[i].labels) { // semicolons are looked for in a header alone
            assert_true(status == QN_OK || status == QN_ERROR_ARGUMENT);
            if (status != QN_OK) continue;
        } else if (status != QN_OK)
            fail_msg("%s: %s", cases[i].name, qn_last_error());
        expect(n, 2, 3, six, cases[i].labels ? cases[i].labels : "78");
        qn_numbers_free(n);
    }
}

static void test_refuses_text(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *label_column, *message;
        qn_status status;
    } cases[] = {
        {"a.csv", "x,y\n1,2\n3,\n", NULL, "a.csv:3: column 2 is \"\" (expected a number)", QN_ERROR_FORMAT},
        {"b.csv", "x,y\n1,nan\n", NULL, "b.csv:2: column 2 is \"nan\"", QN_ERROR_FORMAT},
        {"c.csv", "x,y\n1,2\n3\n", NULL, "c.csv:3: 1 column (expected 2", QN_ERROR_FORMAT},
        {"d.csv", "x,y\n1,1e39\n", NULL, "d.csv:2: column 2", QN_ERROR_FORMAT},
        {"e.csv", "x,y\n", NULL, "e.csv: no rows of numbers", QN_ERROR_FORMAT},
        {"f.csv", "", NULL, "f.csv: no rows of numbers", QN_ERROR_FORMAT},
        {"g.csv", "x,y\n1,2\n", "who", "no column \"who\" among 2", QN_ERROR_FORMAT},
        {"h.csv", "label\na\n", NULL, "rows of 0 numbers", QN_ERROR_UNSUPPORTED},
        {"i.jsonl", "[1, 2]\n[1, 2, 3]\n", NULL, "i.jsonl:2: rows of 3 numbers (expected 2", QN_ERROR_FORMAT},
        {"j.jsonl", "[1, \"2\"]\n", NULL, "j.jsonl:1: no list of numbers", QN_ERROR_FORMAT},
        {"k.jsonl", "{\"y\": [1]}\n", NULL, "k.jsonl:1: no list of numbers", QN_ERROR_FORMAT},
        {"l.jsonl", "[1, 2\n", NULL, "l.jsonl:1", QN_ERROR_FORMAT},
        {"m.jsonl", "[[[[1]]]]\n", NULL, "m.jsonl:1: no list of numbers", QN_ERROR_FORMAT},
        {"n.jsonl", "[]\n", NULL, "rows of 0 numbers", QN_ERROR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_data_options o = {.label_column = cases[i].label_column};
        qn_numbers *n;
        qn_status status = read_file(file(cases[i].name, cases[i].text), &o, &n);
        if (status != cases[i].status || !strstr(qn_last_error(), cases[i].message))
            fail_msg("%s: status %d, \"%s\" (expected %d, \"%s\")", cases[i].name, status, qn_last_error(),
                     cases[i].status, cases[i].message);
    }
    qn_numbers *n;
    assert_fails(read_file("/no/such/file.csv", NULL, &n), QN_ERROR_IO, "/no/such/file.csv");
    assert_fails(read_file(file("a.csv", "1,2\n"), &(qn_data_options){.format = "text"}, &n), QN_ERROR_ARGUMENT,
                 "format text has no numbers");
}

// Pictures in lists of lists, in IDX with labels beside, gzipped or not, and in .npy of bytes.
static void test_pictures(void **state) {
    (void)state;
    static const uint8_t images[] = "\0\0\x08\3\0\0\0\1\0\0\0\2\0\0\0\3\1\2\3\4\5\6", labels[] = "\0\0\x08\1\0\0\0\1\7";
    const char *folder = test_folder(), *path = test_path(folder, "t-images-idx3-ubyte.gz");
    size_t picture[3];
    qn_numbers *n;
    gzFile gz = gzopen(path, "wb");
    assert_int_equal(gzwrite(gz, images, sizeof images - 1), sizeof images - 1);
    gzclose(gz);
    test_write(test_path(folder, "t-labels-idx1-ubyte.gz"), labels, sizeof labels - 1);
    assert_ok(read_file(path, NULL, &n));
    expect(n, 1, 6, six, "7");
    qn_numbers_picture(n, picture);
    assert_true(picture[0] == 2 && picture[1] == 3 && picture[2] == 1);
    qn_numbers_free(n);
    test_write(test_path(folder, "t-labels-idx1-ubyte.gz"), "\0\0\x08\1\0\0\0\2\7\7", 10);
    assert_fails(read_file(path, NULL, &n), QN_ERROR_FORMAT, "2 labels (expected 1");
    test_write(test_path(folder, "none"), "\0\0\x08\2\0\0\0\0\0\0\0\2", 12);
    assert_fails(read_file(test_path(folder, "none"), NULL, &n), QN_ERROR_FORMAT, "none: no rows of numbers");
    assert_ok(read_file(file("p.jsonl", "[[1,2,3],[4,5,6]]\n"), NULL, &n));
    qn_numbers_picture(n, picture);
    assert_true(picture[0] == 2 && picture[1] == 3 && qn_numbers_columns(n) == 6);
    qn_numbers_free(n);
    static const char header[] =
        "\x93NUMPY\1\0\x46\0{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3, 1), }      \n";
    uint8_t npy[128];
    size_t size = sizeof header - 1;
    memcpy(npy, header, size);
    npy[8] = (uint8_t)(size - 10);
    for (size_t i = 0; i < 6; i++) npy[size + i] = (uint8_t)(i + 1);
    path = test_path(folder, "bytes.npy");
    test_write(path, npy, size + 6);
    assert_ok(read_file(path, NULL, &n));
    expect(n, 1, 6, six, "-");
    qn_numbers_picture(n, picture);
    assert_true(picture[0] == 2 && picture[1] == 3 && picture[2] == 1);
    qn_numbers_free(n);
}

// A safetensors file's only tensor but for the labels', or the one that is named.
static void test_safetensors(void **state) {
    (void)state;
    static const float labels[] = {7, 8}, bad[] = {1, 2, 3, 4, 5, INFINITY};
    qn_st_entry entries[] = {{.name = "images", .dtype = QN_ST_F32, .dims = 3, .shape = {2, 1, 3}, .values = six},
                             {.name = "labels", .dtype = QN_ST_F16, .dims = 1, .shape = {2}, .values = labels},
                             {.name = "other", .dtype = QN_ST_F32, .dims = 2, .shape = {2, 3}, .values = bad}};
    const char *path = test_path(test_folder(), "n.safetensors");
    qn_numbers *n;
    assert_ok(qn_safetensors_write(path, entries, 2, NULL));
    assert_ok(read_file(path, NULL, &n));
    expect(n, 2, 3, six, "78");
    qn_numbers_free(n);
    assert_ok(qn_safetensors_write(path, entries, 3, NULL));
    assert_fails(read_file(path, NULL, &n), QN_ERROR_FORMAT, "2 tensors of numbers (expected one, or --text-column");
    assert_fails(read_file(path, &(qn_data_options){.text_column = "other"}, &n), QN_ERROR_FORMAT,
                 "row 1, column 2 is inf");
    entries[1].shape[0] = 1;
    assert_ok(qn_safetensors_write(path, entries, 2, NULL));
    assert_fails(read_file(path, NULL, &n), QN_ERROR_FORMAT, "\"labels\" is no list of 2 labels");
}

// Several files are one, with labels in an order that does not depend on theirs; the fingerprint sees a changed number.
static void test_several(void **state) {
    (void)state;
    const char *paths[] = {file("a.csv", "label,x\nz,1\n"), file("b.csv", "x,label\n2,a\n3,z\n")};
    qn_numbers *n, *other;
    assert_ok(qn_numbers_read(paths, 2, NULL, &n));
    expect(n, 3, 1, six, "zaz");
    assert_int_equal(n->classes[1], 0);
    paths[1] = file("c.csv", "x,label\n2,a\n4,z\n");
    assert_ok(qn_numbers_read(paths, 2, NULL, &other));
    assert_true(n->fingerprint != other->fingerprint);
    qn_numbers_free(other);
    qn_numbers_free(n);
    paths[1] = file("d.csv", "x,y\n2,3\n");
    assert_fails(qn_numbers_read(paths, 2, NULL, &n), QN_ERROR_FORMAT, "rows of 2 numbers (expected 1, as before)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),        cmocka_unit_test(test_refuses_text), cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_safetensors), cmocka_unit_test(test_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
