// Protects the GGUF reader: metadata of every type and tensors of every dtype equal llama.cpp's own reading, and
// hostile files are refused with a message.
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "support.h"
#include <math.h>

#define GOLDEN QN_SOURCE_DIR "/tests/golden/formats/"

static void test_reads_every_dtype(void **state) {
    (void)state;
    qn_gguf *file;
    qn_safetensors *expected;
    assert_ok(qn_gguf_open(GOLDEN "gguf.gguf", &file));
    assert_ok(qn_safetensors_open(GOLDEN "gguf.safetensors", &expected));
    assert_int_equal(qn_gguf_count(file), QN_GGUF_DTYPES);
    for (size_t i = 0; i < qn_gguf_count(file); i++) {
        const qn_gguf_tensor *t = qn_gguf_at(file, i);
        const qn_st_tensor *want = qn_safetensors_find(expected, t->name);
        assert_string_equal(t->name, qn_gguf_dtype_name(t->dtype));
        assert_ptr_equal(qn_gguf_find(file, t->name), t);
        assert_non_null(want);
        assert_int_equal(t->dims, 2);
        assert_int_equal(t->shape[0], want->shape[0]);
        assert_int_equal(t->shape[1], want->shape[1]);
        float *got = malloc((size_t)t->count * sizeof *got), *right = malloc((size_t)t->count * sizeof *right);
        qn_gguf_to_f32(t, 0, t->count, got);
        memcpy(right, want->data, (size_t)t->count * sizeof *right);
        for (int64_t k = 0; k < t->count; k++)
            if (fabsf(got[k] - right[k]) > 1e-6f * fmaxf(1, fabsf(right[k])))
                fail_msg("%s: element %d is %g (expected %g)", t->name, (int)k, (double)got[k], (double)right[k]);
        qn_gguf_to_f32(t, t->shape[1], t->shape[1], got); // a row from the middle
        assert_true(fabsf(got[0] - right[t->shape[1]]) <= 1e-6f);
        free(got);
        free(right);
    }
    assert_null(qn_gguf_find(file, "none"));
    qn_safetensors_close(expected);
    qn_gguf_close(file);
}

// Blocks as groups, in their own form and in the one that has a place for all, have the values of the blocks.
static void test_groups(void **state) {
    (void)state;
    qn_gguf *file;
    assert_ok(qn_gguf_open(GOLDEN "gguf.gguf", &file));
    size_t found = 0;
    for (size_t i = 0; i < qn_gguf_count(file); i++) {
        const qn_gguf_tensor *t = qn_gguf_at(file, i);
        const qn_compute own = qn_gguf_group_form(t->dtype), forms[] = {own, QN_DTYPE_K8};
        size_t in = (size_t)t->shape[1], rows = (size_t)t->shape[0];
        float *right = malloc(in * rows * sizeof *right), *scale = malloc(in * sizeof *scale),
              *minimum = malloc(in * sizeof *minimum);
        int8_t *q = calloc(in, 1);
        qn_gguf_to_f32(t, 0, t->count, right);
        for (size_t f = 0; f < 2 && own != QN_DTYPE_F32; f++, found++)
            for (size_t row = 0; row < rows; row++) {
                qn_gguf_to_groups(t, (int64_t)row, forms[f], q, scale, minimum);
                for (size_t k = 0; k < in; k++) {
                    float add = forms[f] == QN_DTYPE_Q8 ? 0 : minimum[k / QN_GROUP];
                    float w = scale[k / qn_scale_width(forms[f])] * (float)q[k] + add, want = right[row * in + k];
                    if (((forms[f] == QN_DTYPE_Q4 || forms[f] == QN_DTYPE_K4) && (q[k] < 0 || q[k] > 15)) ||
                        fabsf(w - want) > 1e-6f * fmaxf(1, fabsf(want)))
                        fail_msg("%s as %s: row %zu, element %zu is %g (expected %g)", t->name,
                                 qn_compute_name(forms[f]), row, k, (double)w, (double)want);
                }
            }
        free(right);
        free(scale);
        free(minimum);
        free(q);
    }
    assert_int_equal(found, 2 * 9); // all but float32, the two halves and Q2_K
    qn_gguf_close(file);
}

static void test_reads_every_type(void **state) {
    (void)state;
    static const struct {
        const char *key;
        double value;
    } numbers[] = {{"a.u8", 200},           {"a.i8", -100},           {"a.u16", 60000}, {"a.i16", -30000},
                   {"a.u32", 4000000000.0}, {"a.i32", -2000000000.0}, {"a.f32", 1.5},   {"a.u64", 0x1p40},
                   {"a.i64", -0x1p40},      {"a.f64", 1e-5}};
    qn_gguf *file;
    assert_ok(qn_gguf_open(GOLDEN "gguf.gguf", &file));
    double real;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_ok(qn_gguf_read_real(file, numbers[i].key, -1e30, 1e30, NULL, &real));
        assert_true(fabs(real - numbers[i].value) < 1e-12);
    }
    int64_t whole;
    assert_ok(qn_gguf_read_integer(file, "a.i64", INT64_MIN, 0, NULL, &whole));
    assert_int_equal(whole, -(INT64_C(1) << 40));
    assert_ok(qn_gguf_read_integer(file, "missing", 0, 9, &(int64_t){7}, &whole));
    assert_int_equal(whole, 7);
    assert_fails(qn_gguf_read_integer(file, "missing", 0, 9, NULL, &whole), QN_ERROR_FORMAT, "missing");
    assert_fails(qn_gguf_read_integer(file, "a.u8", 0, 9, NULL, &whole), QN_ERROR_FORMAT, "a.u8");
    assert_fails(qn_gguf_read_integer(file, "a.f32", 0, 9, NULL, &whole), QN_ERROR_FORMAT, "whole");
    assert_fails(qn_gguf_read_integer(file, "a.string", 0, 9, NULL, &whole), QN_ERROR_FORMAT, "a.string");
    const char *text;
    size_t size;
    assert_ok(qn_gguf_read_string(file, "a.string", &text, &size));
    assert_int_equal(size, 5);
    assert_memory_equal(text,
                        "\xC3\xBC"
                        "ber",
                        5);
    const qn_gguf_value *flag = qn_gguf_value_of(file, "a.bool"), *list = qn_gguf_value_of(file, "a.strings");
    assert_int_equal(flag->kind, QN_GGUF_BOOL);
    assert_true(qn_gguf_number(flag, 0) > 0);
    assert_true(list->list && list->kind == QN_GGUF_STRING && list->count == 3);
    const uint8_t *at = list->data;
    qn_gguf_next_string(&at, &size);
    qn_gguf_next_string(&at, &size);
    assert_int_equal(size, 0);
    text = qn_gguf_next_string(&at, &size);
    assert_memory_equal(text, "three", 5);
    const qn_gguf_value *values = qn_gguf_value_of(file, "a.numbers");
    assert_true(values->list && values->count == 3 && qn_gguf_number(values, 1) < -1);
    assert_true(isnan(qn_gguf_number(values, 3)));
    qn_gguf_close(file);
}

// Whatever the length it is cut to, the file is refused and nothing beyond its end is read (a block of its own size, so
// that a sanitizer sees it).
static void test_refuses_every_cut(void **state) {
    (void)state;
    qn_gguf *file;
    FILE *in = fopen(GOLDEN "gguf.gguf", "rb");
    assert_non_null(in);
    static char bytes[1 << 16];
    size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    for (size_t cut = 0; cut < size; cut += cut < 2000 ? 1 : 97) {
        char *copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        char *exact = realloc(copy, cut ? cut : 1);
        assert_fails(qn_gguf_open_memory(exact, cut, "cut.gguf", &file), QN_ERROR_FORMAT, "cut.gguf");
        assert_null(file);
        free(exact);
    }
}

static void put(uint8_t **at, uint64_t value, size_t bytes) {
    memcpy(*at, &value, bytes);
    *at += bytes;
}

// A header with one tensor "t" of these dimensions, dtype and offset, and 64 bytes of data.
static qn_status open_tensor(uint32_t dims, const uint64_t *shape, uint32_t dtype, uint64_t offset) {
    uint8_t file[512] = {0}, *at = file;
    put(&at, 0x46554747, 4);
    put(&at, 3, 4);
    put(&at, 1, 8);
    put(&at, 0, 8);
    put(&at, 1, 8);
    *at++ = 't';
    put(&at, dims, 4);
    for (uint32_t i = 0; i < dims && i < 8; i++) put(&at, shape[i], 8);
    put(&at, dtype, 4);
    put(&at, offset, 8);
    size_t size = (size_t)(at - file + 31) / 32 * 32 + 64;
    qn_gguf *opened;
    qn_status status = qn_gguf_open_memory(file, size, "x.gguf", &opened);
    qn_gguf_close(opened);
    return status;
}

static void test_refuses_hostile_tensors(void **state) {
    (void)state;
    assert_ok(open_tensor(1, (uint64_t[]){16}, 0, 0));
    assert_ok(open_tensor(0, NULL, 0, 32));
    assert_fails(open_tensor(1, (uint64_t[]){17}, 0, 0), QN_ERROR_FORMAT, "beyond the end");
    assert_fails(open_tensor(1, (uint64_t[]){16}, 0, 32), QN_ERROR_FORMAT, "beyond the end");
    assert_fails(open_tensor(1, (uint64_t[]){16}, 0, UINT64_MAX - 31), QN_ERROR_FORMAT, "beyond the end");
    assert_fails(open_tensor(1, (uint64_t[]){16}, 0, 1), QN_ERROR_FORMAT, "multiple of 32");
    assert_fails(open_tensor(5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0), QN_ERROR_FORMAT, "5 dimensions");
    assert_fails(open_tensor(2, (uint64_t[]){1u << 31, UINT64_C(1) << 40}, 0, 0), QN_ERROR_FORMAT, "larger than any");
    assert_fails(open_tensor(1, (uint64_t[]){UINT64_MAX}, 0, 0), QN_ERROR_FORMAT, "larger than any");
    assert_fails(open_tensor(1, (uint64_t[]){INT64_MAX}, 0, 0), QN_ERROR_FORMAT, "larger than any");
    assert_fails(open_tensor(1, (uint64_t[]){16}, 99, 0), QN_ERROR_UNSUPPORTED, "99");
    assert_fails(open_tensor(1, (uint64_t[]){33}, 2, 0), QN_ERROR_FORMAT, "multiple of 32 for Q4_0");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_every_dtype), cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_reads_every_type),
                                       cmocka_unit_test(test_refuses_every_cut),
                                       cmocka_unit_test(test_refuses_hostile_tensors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
