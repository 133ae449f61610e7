// Protects the reader of CTranslate2's folders: every dtype equals the weights that ctranslate2 was given, every
// version of the format is read, and hostile files are refused with a message.
#include "base/half.h"
#include "formats/ctranslate2.h"
#include "formats/safetensors.h"
#include "support.h"
#include <math.h>

#define GOLDEN QN_SOURCE_DIR "/tests/golden/formats/ctranslate2/"

// How far a stored value may be from `value`, where `most` is the largest of its row (int8) or tensor (int16).
static float tolerance(qn_ct2_dtype dtype, float value, float most) {
    switch (dtype) {
    case QN_CT2_F32:
        return 0;
    case QN_CT2_F16:
        return fabsf(value) * 0x1p-11f + 0x1p-24f;
    case QN_CT2_BF16:
        return fabsf(value) * 0x1p-8f;
    case QN_CT2_I8:
        return most / 127 * 0.501f;
    default:
        return most / 1024 * 0.501f;
    }
}

static float largest(const float *values, size_t count) {
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(values[i]));
    return most;
}

static void compare(const qn_ct2_variable *v, const qn_st_tensor *want) {
    static float got[512], right[512], row[32];
    assert_true(v->count <= 512 && v->dims == want->dims);
    for (int i = 0; i < v->dims; i++) assert_int_equal(v->shape[i], want->shape[i]);
    memcpy(right, want->data, (size_t)v->count * sizeof *right);
    qn_ct2_to_f32(v, 0, v->count, got);
    size_t width = v->dims > 1 ? (size_t)v->shape[1] : 1;
    for (size_t i = 0; i < (size_t)v->count; i++) {
        float most =
            v->dtype == QN_CT2_I8 ? largest(right + i / width * width, width) : largest(right, (size_t)v->count);
        if (fabsf(got[i] - right[i]) > tolerance(v->dtype, right[i], most))
            fail_msg("%s: element %zu is %g (expected %g)", want->name, i, (double)got[i], (double)right[i]);
    }
    if (v->dims < 2) return;
    qn_ct2_to_f32(v, (int64_t)width, (int64_t)width, row); // a row from the middle
    assert_memory_equal(row, got + width, width * sizeof *row);
}

static void test_reads_every_dtype(void **state) {
    (void)state;
    static const struct {
        const char *folder;
        qn_ct2_dtype dtype;
    } cases[] = {{"float32", QN_CT2_F32},
                 {"float16", QN_CT2_F16},
                 {"bfloat16", QN_CT2_BF16},
                 {"int8", QN_CT2_I8},
                 {"int16", QN_CT2_I16}};
    qn_safetensors *expected;
    assert_ok(qn_safetensors_open(GOLDEN "weights.safetensors", &expected));
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        qn_ct2_folder f;
        assert_ok(qn_ct2_folder_open(test_path(GOLDEN, cases[k].folder), &f));
        assert_string_equal(qn_ct2_spec(f.weights), "TransformerSpec");
        assert_int_equal(qn_ct2_version(f.weights), 6);
        for (size_t i = 0; i < qn_safetensors_count(expected); i++) {
            const qn_st_tensor *want = qn_safetensors_at(expected, i);
            const qn_ct2_variable *v = qn_ct2_find(f.weights, want->name);
            if (!v) fail_msg("%s: %s is missing", cases[k].folder, want->name);
            compare(v, want);
        }
        // A quantized matrix keeps its dtype; a table that three places share is there once.
        const qn_ct2_variable *words = qn_ct2_find(f.weights, "decoder/projection/weight");
        assert_int_equal(words->dtype, cases[k].dtype);
        assert_int_equal(words->scale != NULL, cases[k].dtype == QN_CT2_I8 || cases[k].dtype == QN_CT2_I16);
        assert_ptr_equal(words, qn_ct2_find(f.weights, "encoder/embeddings_0/weight"));
        assert_ptr_equal(words, qn_ct2_find(f.weights, words->name));
        const qn_ct2_variable *out;
        assert_ok(qn_ct2_need(f.weights, "decoder/projection/weight", 2, (int64_t[]){7, 8}, &out));
        assert_fails(qn_ct2_need(f.weights, "decoder/projection/weight", 2, (int64_t[]){8, 7}, &out), QN_ERROR_FORMAT,
                     "[7, 8] (expected [8, 7])");
        assert_fails(qn_ct2_need(f.weights, "none", 0, NULL, &out), QN_ERROR_FORMAT, "\"none\" is missing");
        int64_t heads;
        assert_ok(qn_ct2_read_integer(f.weights, "encoder/num_heads", 1, 100, NULL, &heads));
        assert_int_equal(heads, 2);
        assert_fails(qn_ct2_read_integer(f.weights, "encoder/num_heads", 3, 100, NULL, &heads), QN_ERROR_FORMAT,
                     "num_heads\" is 2");
        assert_ok(qn_ct2_read_integer(f.weights, "none", 0, 9, &(int64_t){7}, &heads));
        assert_int_equal(heads, 7);
        assert_int_equal(f.source.count, 7);
        assert_string_equal(f.source.tokens[5], "\xC3\xBC");
        assert_string_equal(f.source.tokens[6], "\\");
        assert_int_equal(f.target.count, 0);
        assert_true(f.config.add_source_eos && !f.config.add_source_bos);
        assert_string_equal(f.config.decoder_start_token, "</s>");
        qn_ct2_folder_close(&f);
    }
    qn_safetensors_close(expected);
}

// --- Files made here

typedef struct {
    uint8_t bytes[1024];
    size_t size;
} image;

static void put(image *m, uint64_t value, size_t bytes) {
    memcpy(m->bytes + m->size, &value, bytes);
    m->size += bytes;
}

static void put_name(image *m, const char *name) {
    put(m, strlen(name) + 1, 2);
    memcpy(m->bytes + m->size, name, strlen(name) + 1);
    m->size += strlen(name) + 1;
}

static void put_variable(image *m, uint32_t version, const char *name, int dims, const uint32_t *shape, uint32_t dtype,
                         size_t item, size_t count, const void *data) {
    put_name(m, name);
    put(m, (uint64_t)dims, 1);
    for (int i = 0; i < dims; i++) put(m, shape[i], 4);
    put(m, version < 4 ? item : dtype, 1);
    put(m, version < 4 ? count : count * item, 4);
    memcpy(m->bytes + m->size, data, count * item);
    m->size += count * item;
}

// A file of that version: a matrix [2, 3] in int8 with a scale for each row, a flag, and another name of the matrix.
static image make_file(uint32_t version) {
    image m = {.size = 0};
    put(&m, version, 4);
    put_name(&m, "TransformerSpec");
    put(&m, 3, 4);
    put(&m, 3, 4);
    put_variable(&m, version, "a/weight", 2, (uint32_t[]){2, 3}, QN_CT2_I8, 1, 6, (int8_t[]){1, -2, 3, 100, -127, 0});
    put_variable(&m, version, "a/weight_scale", 1, (uint32_t[]){2}, QN_CT2_F32, 4, 2, (float[]){2, 100});
    put_variable(&m, version, "with_source_eos", 0, NULL, QN_CT2_I8, 1, 1, (int8_t[]){1});
    if (version < 3) return m;
    put(&m, 1, 4);
    put_name(&m, "b/weight");
    put_name(&m, "a/weight");
    return m;
}

// The bytes in a block of their own size, so that a sanitizer sees what is read beyond.
static qn_status open_image(const image *m, size_t size, qn_ct2 **out) {
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, m->bytes, size);
    qn_status status = qn_ct2_open_memory(exact, size, "x.bin", out);
    if (status != QN_OK) free(exact); // otherwise the test's end has it
    return status;
}

static void test_reads_every_version(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 6; version++) {
        image m = make_file(version);
        qn_ct2 *f;
        assert_ok(qn_ct2_open_memory(m.bytes, m.size, "x.bin", &f));
        assert_int_equal(qn_ct2_version(f), version);
        assert_int_equal(qn_ct2_revision(f), 3);
        assert_int_equal(qn_ct2_count(f), 3);
        const qn_ct2_variable *v = qn_ct2_find(f, version < 3 ? "a/weight" : "b/weight");
        float values[6];
        assert_ptr_equal(v, qn_ct2_at(f, 0));
        qn_ct2_to_f32(v, 0, 6, values);
        const float right[] = {0.5f, -1, 1.5f, 1, -1.27f, 0};
        for (size_t i = 0; i < 6; i++) assert_true(fabsf(values[i] - right[i]) < 1e-6f);
        qn_ct2_close(f);
    }
}

static void test_refuses_hostile_files(void **state) {
    (void)state;
    qn_ct2 *f;
    image m = make_file(6);
    for (size_t cut = 0; cut < m.size; cut++) {
        assert_fails(open_image(&m, cut, &f), QN_ERROR_FORMAT, "x.bin");
        assert_null(f);
    }
    m.bytes[m.size++] = 0;
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "1 more bytes");
    m = make_file(6);
    m.bytes[0] = 7;
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_UNSUPPORTED, "version 7");
    m = make_file(6);
    m.bytes[m.size - 2] = 'x'; // the alias stands for "a/weighx"
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "stands for");
    m = make_file(6);
    char *weight = memmem(m.bytes, m.size, "a/weight", 8);
    weight[9 + 1] = 9; // its shape becomes [9, 3]
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "6 bytes for 27 elements of I8");
    memset(weight + 9 + 1, 0xFF, 8);
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "a/weight");
    m = make_file(6);
    ((char *)memmem(m.bytes, m.size, "a/weight", 8))[9] = 5;
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "5 dimensions");
    m = make_file(6);
    ((char *)memmem(m.bytes, m.size, "a/weight", 8))[9 + 9] = 77;
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_UNSUPPORTED, "unknown dtype");
    m = make_file(6);
    memcpy(memmem(m.bytes, m.size, "b/weight", 8), "a", 1);
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "is repeated");
    m = make_file(6);
    memcpy(memmem(m.bytes, m.size, "a/weight", 8), "\0", 1);
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "is no name");
}

static void test_refuses_a_scale_of_another_size(void **state) {
    (void)state;
    image m = {.size = 0};
    qn_ct2 *f;
    put(&m, 6, 4);
    put_name(&m, "TransformerSpec");
    put(&m, 7, 4);
    put(&m, 2, 4);
    put_variable(&m, 6, "w", 2, (uint32_t[]){2, 3}, QN_CT2_I8, 1, 6, "abcdef");
    put_variable(&m, 6, "w_scale", 1, (uint32_t[]){3}, QN_CT2_F32, 4, 3, (float[]){1, 1, 1});
    put(&m, 0, 4);
    assert_fails(open_image(&m, m.size, &f), QN_ERROR_FORMAT, "w_scale\" is 3 numbers of F32 (expected F32, 1 or 2)");
}

static void test_reads_older_folders(void **state) {
    (void)state;
    char *folder = test_folder();
    image m = make_file(5);
    qn_ct2_folder f;
    test_write(test_path(folder, "model.bin"), m.bytes, m.size);
    assert_fails(qn_ct2_folder_open(folder, &f), QN_ERROR_IO, "no vocabulary");
    test_write_text(test_path(folder, "source_vocabulary.txt"), "<unk>\n<s>\r\n</s>\n\nlast");
    assert_fails(qn_ct2_folder_open(folder, &f), QN_ERROR_IO, "no vocabulary");
    test_write_text(test_path(folder, "target_vocabulary.txt"), "<unk>\n");
    assert_true(qn_ct2_is_folder(folder));
    assert_ok(qn_ct2_folder_open(folder, &f));
    assert_int_equal(f.source.count, 5);
    assert_string_equal(f.source.tokens[1], "<s>");
    assert_string_equal(f.source.tokens[3], "");
    assert_string_equal(f.source.tokens[4], "last");
    assert_int_equal(f.target.count, 1);
    assert_true(f.config.add_source_eos && !f.config.add_source_bos);
    assert_string_equal(f.config.decoder_start_token, "<s>");
    qn_ct2_folder_close(&f);
    test_write_text(test_path(folder, "model.safetensors"), "");
    assert_false(qn_ct2_is_folder(folder));
}

static void test_reads_configurations(void **state) {
    (void)state;
    qn_ct2_config c;
    qn_ct2_vocabulary v;
    const char *text = "{\"decoder_start_token\": null, \"layer_norm_epsilon\": 1e-6, \"bos_token\": \"[B]\"}";
    assert_ok(qn_ct2_config_parse(text, strlen(text), "c.json", &c));
    assert_null(c.decoder_start_token);
    assert_string_equal(c.bos_token, "[B]");
    assert_string_equal(c.eos_token, "</s>");
    assert_true(fabs(c.layer_norm_epsilon - 1e-6) < 1e-12);
    qn_ct2_config_free(&c);
    assert_fails(qn_ct2_config_parse("{\"add_source_eos\": 2}", 21, "c.json", &c), QN_ERROR_FORMAT, "add_source_eos");
    assert_fails(qn_ct2_config_parse("[]", 2, "c.json", &c), QN_ERROR_FORMAT, "c.json");
    assert_fails(qn_ct2_vocabulary_parse("[\"a\", 3]", 8, true, "v.json", &v), QN_ERROR_FORMAT, "item 1");
    assert_fails(qn_ct2_vocabulary_parse("{}", 2, true, "v.json", &v), QN_ERROR_FORMAT, "no list");
    assert_fails(qn_ct2_vocabulary_parse("", 0, false, "v.txt", &v), QN_ERROR_FORMAT, "no tokens");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_dtype),     cmocka_unit_test(test_reads_every_version),
        cmocka_unit_test(test_refuses_hostile_files), cmocka_unit_test(test_refuses_a_scale_of_another_size),
        cmocka_unit_test(test_reads_older_folders),   cmocka_unit_test(test_reads_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
