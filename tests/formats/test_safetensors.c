// Protects the safetensors reader (every rule of the format, and its messages) and writer (the reference library's
// bytes).
#include "formats/safetensors.h"
#include "base/half.h"
#include "formats/npy.h"
#include "support.h"
#include <math.h>
#include <unistd.h>

#define GOLDEN QN_SOURCE_DIR "/tests/golden/formats/"

// Element i of a golden tensor (tests/golden/formats/make.py).
static float golden(size_t i) {
    return ((float)i - 7) * 0.375f;
}

// A file in memory: header length, header, and `data_size` bytes of data. *size is its length. Caller frees.
static char *make_file(const char *header, size_t data_size, size_t *size) {
    uint64_t length = strlen(header);
    *size = 8 + (size_t)length + data_size;
    char *file = malloc(*size);
    assert_non_null(file);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, (size_t)length);
    for (size_t i = 0; i < data_size; i++) file[8 + length + i] = (char)i;
    return file;
}

static qn_status open_text(const char *header, size_t data_size, qn_safetensors **out) {
    size_t size;
    char *file = make_file(header, data_size, &size);
    qn_status status = qn_safetensors_open_memory(file, size, "x.safetensors", out);
    free(file);
    return status;
}

// What Python's safetensors wrote is read: all dtypes, shapes, odd names, metadata, and the order of the bytes.
static void test_reads_reference(void **state) {
    (void)state;
    qn_safetensors *file;
    assert_ok(qn_safetensors_open(GOLDEN "mixed.safetensors", &file));
    assert_int_equal(qn_safetensors_count(file), 10);
    static const struct {
        const char *name;
        qn_st_dtype dtype;
        const char *shape;
        size_t size;
    } expected[] = {
        {"embeddings.weight", QN_ST_F32, "[3, 4]", 48},
        {"half", QN_ST_F16, "[5]", 10},
        {"brain", QN_ST_BF16, "[2, 3, 2]", 24},
        {"wide", QN_ST_F64, "[3]", 24},
        {"scalar", QN_ST_F32, "[]", 4},
        {"empty", QN_ST_F32, "[0, 4]", 0},
        {"positions", QN_ST_I64, "[1, 4]", 32},
        {"flags", QN_ST_BOOL, "[3]", 3},
        {"quote \" and \\ and \t", QN_ST_F32, "[1]", 4},
        {"ключ", QN_ST_F32, "[2]", 8},
    };
    char shape[QN_ST_SHAPE_TEXT];
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const qn_st_tensor *tensor = qn_safetensors_find(file, expected[i].name);
        assert_non_null(tensor);
        assert_string_equal(tensor->name, expected[i].name);
        assert_int_equal(tensor->dtype, expected[i].dtype);
        assert_string_equal(qn_st_shape_text(tensor->dims, tensor->shape, shape), expected[i].shape);
        assert_int_equal(tensor->size, expected[i].size);
        assert_true((tensor->data == NULL) == (tensor->size == 0));
    }
    float value;
    memcpy(&value, qn_safetensors_find(file, "embeddings.weight")->data + 4 * 5, 4);
    assert_true(value == golden(5));
    assert_null(qn_safetensors_find(file, "embeddings"));
    assert_null(qn_safetensors_find(file, "__metadata__"));
    assert_string_equal(qn_safetensors_metadata(file, "format"), "pt");
    assert_null(qn_safetensors_metadata(file, "author"));
    assert_int_equal(qn_safetensors_metadata_count(file), 1);
    const char *text;
    assert_string_equal(qn_safetensors_metadata_at(file, 0, &text), "format");
    assert_string_equal(text, "pt");
    assert_null(qn_safetensors_metadata_at(file, 1, &text));
    const uint8_t *reached = NULL;
    for (size_t i = 0; i < qn_safetensors_count(file); i++) {
        const qn_st_tensor *tensor = qn_safetensors_at(file, i);
        if (reached && tensor->data) assert_ptr_equal(tensor->data, reached);
        if (tensor->data) reached = tensor->data + tensor->size;
    }
    assert_null(qn_safetensors_at(file, 10));
    qn_safetensors_close(file);
}

// Each breach of the format is refused with its own message, which names file, tensor, what was found and what was
// expected.
static void test_refuses_hostile_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        qn_status status;
        const char *message;
    } cases[] = {
        {"", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 0 is the end (expected '{')"},
        {" {}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 0 is ' ' (expected '{')"},
        {"[]", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 0 is '[' (expected '{')"},
        {"{\"a\":1}", 0, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": header byte 5 is '1' (expected an object with dtype, shape and data_offsets)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, QN_ERROR_FORMAT, "x.safetensors: two tensors are called \"a\""},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": \"dtype\" is repeated"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, QN_ERROR_FORMAT,
         "x.safetensors: \"__metadata__\" is repeated"},
        {"{\"__metadata__\":{\"k\":\"1\",\"j\":\"2\",\"k\":\"3\"}}", 0, QN_ERROR_FORMAT,
         "x.safetensors: \"__metadata__\": \"k\" is repeated"},
        {"{\"__metadata__\":{\"k\":1}}", 0, QN_ERROR_FORMAT,
         "x.safetensors: header byte 21 is '1' (expected a string)"},
        {"{\"__metadata__\":[]}", 0, QN_ERROR_FORMAT,
         "x.safetensors: header byte 16 is '[' (expected an object of strings)"},
        {"{\"__metadata__\":{\"k\":\"v\"}", 0, QN_ERROR_FORMAT,
         "x.safetensors: header byte 25 is the end (expected ',' or '}')"},
        {"{}x", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is 'x' (expected nothing after the header's object)"},
        {"{,}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 1 is ',' (expected a string)"},
        {"{\"a\\u0000\":{}}", 0, QN_ERROR_FORMAT,
         "x.safetensors: header byte 3 is '\\' (expected UTF-8 text with JSON's escapes)"},
        {"{\"\xff\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is '"},
        {"{\"\xc0\x80\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is '"},
        {"{\"\\ud83d\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is '\\' (expected UTF-8"},
        {"{\"\\ud83d\\u0041\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is '\\' (expected UTF-8"},
        {"{\"\\ude00\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is '\\' (expected UTF-8"},
        {"{\"\\x41\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 2 is '\\' (expected UTF-8"},
        {"{\"a\tb\":{}}", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 3 is '"},
        {"{\"a", 0, QN_ERROR_FORMAT, "x.safetensors: header byte 3 is the end (expected the end of a string)"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": \"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, QN_ERROR_UNSUPPORTED,
         "x.safetensors: tensor \"a\": dtype \"F33\" is unknown (expected one of BOOL F4 "},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": \"shape\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": header byte 29 is '[' (expected a whole number below 2^63)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": header byte 30 is '.' (expected a whole number below 2^63)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,-1],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": shape[1] is -1 (expected at least 0)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, QN_ERROR_UNSUPPORTED,
         "x.safetensors: tensor \"a\" has more than 8 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": F32 [4294967296, 4294967296] is larger than any file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1152921504606846977],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": F32 [1152921504606846977] is larger than any file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551617],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "(expected a whole number below 2^63)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": header byte 31 is ']' (expected a whole number below 2^63)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":[1,{\"y\":tru}]}}", 4, QN_ERROR_FORMAT,
         "is 't' (expected a value)"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": F4 [3] is not a whole number of bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": \"data_offsets\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": header byte 51 is ',' (expected ']')"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": data_offsets [-4, 0] (expected 0 <= begin <= end)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": data_offsets [4, 0] (expected 0 <= begin <= end)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": data_offsets [0, 8] reach beyond the end (the file holds 4 bytes of data)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,4]}}", 4, QN_ERROR_FORMAT,
         "x.safetensors: tensor \"a\": data_offsets [0, 4] hold 4 bytes (expected 8 for F32 [2, 1])"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, QN_ERROR_FORMAT, "x.safetensors: tensor \"b\": begins at byte 4 of the data, inside \"a\" (expected 8)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, QN_ERROR_FORMAT, "x.safetensors: tensor \"b\": begins at byte 0 of the data, inside \"a\" (expected 4)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         12, QN_ERROR_FORMAT, "x.safetensors: tensor \"b\": begins at byte 8 of the data, after a hole (expected 4)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, QN_ERROR_FORMAT,
         "x.safetensors: the tensors end at byte 4 of the data (expected 5, the end of the file)"},
        {"{}", 1, QN_ERROR_FORMAT,
         "x.safetensors: the tensors end at byte 0 of the data (expected 1, the end of the file)"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4611686018427387904,0],\"data_offsets\":[0,0]}}", 0,
         QN_ERROR_FORMAT, "is larger than any file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_safetensors *file = (qn_safetensors *)&file;
        qn_status status = open_text(cases[i].header, cases[i].data, &file);
        if (status != cases[i].status || !strstr(qn_last_error(), cases[i].message))
            fail_msg("case %zu: status %d, \"%s\" (expected %d, \"%s\")", i, status, qn_last_error(), cases[i].status,
                     cases[i].message);
        assert_null(file);
    }
}

// What is odd but right is read: spaces after the header, unknown keys, a null metadata, empty tensors anywhere, a zero
// before a huge size, a name of length 0.
static void test_accepts_what_the_reference_accepts(void **state) {
    (void)state;
    static const char *const headers[] = {
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   \n\t ",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"note\":{\"x\":[-0.5e+3,true,[null],{}]}}}",
        "{\"__metadata__\":null,\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
        ("{\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[0,4]},\"c\":{\"dtype\":\"F32\",\"shape\":[0,4611686018427387904],\"data_offsets\":[4,4]}}"),
        "{\"a\":{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]}}",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        qn_safetensors *file;
        assert_ok(open_text(headers[i], 4, &file));
        qn_safetensors_close(file);
    }
    qn_safetensors *file;
    assert_ok(open_text("{}", 0, &file));
    assert_int_equal(qn_safetensors_count(file), 0);
    assert_null(qn_safetensors_find(file, "a"));
    qn_safetensors_close(file);
}

// A file cut at any byte, empty, or with an absurd header length is refused, and nothing large is allocated for it.
static void test_refuses_truncated_files(void **state) {
    (void)state;
    size_t size;
    char *whole = test_read(GOLDEN "mixed.safetensors", &size);
    qn_safetensors *file;
    for (size_t cut = 0; cut < size; cut++) {
        char *part = malloc(cut ? cut : 1); // its own block, so that a sanitizer sees a read beyond it
        memcpy(part, whole, cut);
        assert_int_equal(qn_safetensors_open_memory(part, cut, "x.safetensors", &file), QN_ERROR_FORMAT);
        assert_null(file);
        free(part);
    }
    free(whole);
    char huge[16] = "\xff\xff\xff\xff\xff\xff\xff\x7f{}";
    assert_fails(qn_safetensors_open_memory(huge, sizeof huge, "x.safetensors", &file), QN_ERROR_FORMAT,
                 "x.safetensors: a header of 9223372036854775807 bytes (expected at most 100000000)");
    memcpy(huge, "\x00\xe1\xf5\x05\x00\x00\x00\x00", 8); // exactly the limit
    assert_fails(qn_safetensors_open_memory(huge, sizeof huge, "x.safetensors", &file), QN_ERROR_FORMAT,
                 "x.safetensors: a header of 100000000 bytes in a file of 16 (truncated, or not a safetensors file)");
    const char *folder = test_folder();
    test_write(test_path(folder, "empty.safetensors"), "", 0);
    assert_fails(qn_safetensors_open(test_path(folder, "empty.safetensors"), &file), QN_ERROR_FORMAT,
                 "empty.safetensors: 0 bytes are not a safetensors file (expected at least 8)");
    assert_fails(qn_safetensors_open(test_path(folder, "none.safetensors"), &file), QN_ERROR_IO, "none.safetensors");
    assert_fails(qn_safetensors_open(folder, &file), QN_ERROR_FORMAT, folder);
}

// Nesting that would exhaust a recursive parser is an error, not a crash, also under a key that the format does not
// know.
static void test_refuses_deep_nesting(void **state) {
    (void)state;
    enum { DEPTH = 200000 };
    static const char *const begins[] = {"{\"a\":", "{\"a\":{\"x\":"};
    char *header = malloc(DEPTH + 32);
    for (int i = 0; i < 2; i++) {
        size_t begin = strlen(begins[i]);
        memcpy(header, begins[i], begin);
        memset(header + begin, '[', DEPTH);
        header[begin + DEPTH] = 0;
        qn_safetensors *file;
        assert_fails(open_text(header, 0, &file), QN_ERROR_FORMAT,
                     i ? "(expected less nesting)" : "(expected an object");
    }
    free(header);
}

// Escapes are decoded as JSON means them, and names are found by their decoded form.
static void test_decodes_escapes(void **state) {
    (void)state;
    qn_safetensors *file;
    assert_ok(open_text("{\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83d\\uDE00\":{\"d\\u0074ype\":\"F32\",\"shape\":[],"
                        "\"data_offsets\":[0,4]}}",
                        4, &file));
    assert_non_null(qn_safetensors_find(file, "\"\\/\b\f\n\r\té😀"));
    qn_safetensors_close(file);
}

// A control sequence in a tensor's name does not reach the terminal, and a name of a megabyte does not drown the
// reason.
static void test_messages_are_safe(void **state) {
    (void)state;
    qn_safetensors *file;
    assert_int_equal(open_text("{\"\\u001b[31m\":1}", 0, &file), QN_ERROR_FORMAT);
    assert_null(strchr(qn_last_error(), 0x1b));
    size_t length = 1 << 20;
    char *header = malloc(length + 16);
    memset(header, 'n', length + 16);
    memcpy(header, "{\"", 2);
    strcpy(header + length, "\":1}");
    assert_fails(open_text(header, 0, &file), QN_ERROR_FORMAT,
                 "(expected an object with dtype, shape and data_offsets)");
    free(header);
}

static float ramp[300];

static void fill_ramp(void) {
    for (int i = 0; i < 300; i++) ramp[i] = (float)sin(i);
}

// The writer's bytes are those of Python's safetensors: order, header, padding, and rounding to float16 and bfloat16.
static void test_writes_reference_bytes(void **state) {
    (void)state;
    fill_ramp();
    static const int64_t ids[3] = {0, 1, 2};
    const qn_st_entry entries[] = {
        {.name = "z.half", .dtype = QN_ST_F16, .dims = 1, .shape = {300}, .values = ramp},
        {.name = "b.weight", .dtype = QN_ST_F32, .dims = 2, .shape = {4, 6}, .values = ramp},
        {.name = "a.bias", .dtype = QN_ST_F32, .dims = 1, .shape = {7}, .bytes = ramp},
        {.name = "y.brain", .dtype = QN_ST_BF16, .dims = 1, .shape = {300}, .values = ramp},
        {.name = "ids", .dtype = QN_ST_I64, .dims = 1, .shape = {3}, .bytes = ids},
        {.name = "wide", .dtype = QN_ST_F64, .dims = 1, .shape = {5}, .values = ramp},
    };
    const char *path = test_path(test_folder(), "written.safetensors");
    assert_ok(qn_safetensors_write(path, entries, 6, NULL));
    size_t size, expected_size;
    char *written = test_read(path, &size), *expected = test_read(GOLDEN "written.safetensors", &expected_size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(written, expected, size);
    free(written);
    free(expected);
}

// What was written is read back: more data than the conversion's buffer, metadata, an escaped name, an empty tensor, no
// tensor at all.
static void test_round_trip(void **state) {
    (void)state;
    enum { LARGE = 100003 };
    float *large = malloc(LARGE * sizeof *large);
    for (int i = 0; i < LARGE; i++) large[i] = (float)(i % 2048) / 1024;
    const qn_st_entry entries[] = {
        {.name = "large", .dtype = QN_ST_F16, .dims = 1, .shape = {LARGE}, .values = large},
        {.name = "q\"\\\n\x01ü", .dtype = QN_ST_F32, .dims = 0, .values = large},
        {.name = "none", .dtype = QN_ST_F32, .dims = 2, .shape = {0, 7}},
    };
    const char *metadata[] = {"format", "np", "step", "100", NULL};
    const char *path = test_path(test_folder(), "round.safetensors");
    assert_ok(qn_safetensors_write(path, entries, 3, metadata));
    qn_safetensors *file;
    assert_ok(qn_safetensors_open(path, &file));
    assert_string_equal(qn_safetensors_metadata(file, "format"), "np");
    assert_string_equal(qn_safetensors_metadata(file, "step"), "100");
    const qn_st_tensor *tensor = qn_safetensors_find(file, "large");
    for (int i = 0; i < LARGE; i++) {
        uint16_t half;
        memcpy(&half, tensor->data + 2 * i, 2);
        assert_true(qn_f16_to_f32(half) == large[i]); // below 2 with 10 bits: exact
    }
    assert_non_null(qn_safetensors_find(file, "q\"\\\n\x01ü"));
    assert_int_equal(qn_safetensors_find(file, "none")->shape[1], 7);
    qn_safetensors_close(file);
    free(large);
    assert_ok(qn_safetensors_write(path, NULL, 0, NULL));
    assert_ok(qn_safetensors_open(path, &file));
    assert_int_equal(qn_safetensors_count(file), 0);
    qn_safetensors_close(file);
}

// The writer refuses what nobody could read, and leaves the old file in its place.
static void test_writer_refuses(void **state) {
    (void)state;
    fill_ramp();
    const char *folder = test_folder();
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    test_write_text(path, "old");
    const qn_st_entry good = {.name = "a", .dtype = QN_ST_F32, .dims = 1, .shape = {2}, .values = ramp};
    qn_st_entry entries[2] = {good, good};
    assert_fails(qn_safetensors_write(path, entries, 2, NULL), QN_ERROR_ARGUMENT, "two tensors are called \"a\"");
    entries[1].dtype = QN_ST_F16;
    assert_fails(qn_safetensors_write(path, entries, 2, NULL), QN_ERROR_ARGUMENT, "two tensors are called \"a\"");
    entries[0].name = "__metadata__";
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT, "cannot be called \"__metadata__\"");
    entries[0].name = "a\xff";
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT, "cannot be called");
    const char *metadata[] = {"step", "\xff", NULL};
    assert_fails(qn_safetensors_write(path, &good, 1, metadata), QN_ERROR_ARGUMENT, "metadata \"step\" is not UTF-8");
    entries[0] = good;
    entries[0].dtype = QN_ST_I32;
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT,
                 "tensor \"a\": float32 values cannot be stored as I32");
    entries[0] = good;
    entries[0].shape[0] = -1;
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT, "F32 [-1] has no size in bytes");
    entries[0].shape[0] = INT64_MAX;
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT, "has no size in bytes");
    entries[0] = good;
    entries[0].values = NULL;
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT, "needs either values or bytes");
    entries[0] = good;
    entries[0].bytes = ramp;
    assert_fails(qn_safetensors_write(path, entries, 1, NULL), QN_ERROR_ARGUMENT, "needs either values or bytes");
    char *left = test_read(path, NULL);
    assert_string_equal(left, "old");
    free(left);
    assert_int_equal(qn_safetensors_write(test_path(folder, "none/x.safetensors"), &good, 1, NULL), QN_ERROR_IO);
}

// Rounding equals PyTorch's at every edge: ties, subnormals, overflow, infinities, signed zeros.
static void test_half_rounding(void **state) {
    (void)state;
    qn_npy rows;
    assert_ok(qn_npy_open(GOLDEN "rounding.npy", &rows));
    assert_int_equal(rows.shape[1], 3);
    for (int64_t i = 0; i < rows.shape[0]; i++) {
        int64_t row[3];
        memcpy(row, rows.data + i * 24, 24);
        float value = qn_float_from_bits((uint32_t)row[0]);
        if (qn_f32_to_f16(value) != row[1] || qn_f32_to_bf16(value) != row[2])
            fail_msg("%a: f16 %04x (expected %04x), bf16 %04x (expected %04x)", (double)value, qn_f32_to_f16(value),
                     (unsigned)row[1], qn_f32_to_bf16(value), (unsigned)row[2]);
    }
    qn_npy_close(&rows);
    assert_true(isnan(qn_f16_to_f32(qn_f32_to_f16(NAN))));
    assert_true(isnan(qn_bf16_to_f32(qn_f32_to_bf16(NAN))));
    assert_true(isnan(qn_bf16_to_f32(qn_f32_to_bf16(qn_float_from_bits(0x7FFFFFFF)))));
    assert_true(isnan(qn_f16_to_f32(qn_f32_to_f16(qn_float_from_bits(0xFFFFFFFF)))));
}

// Every half survives the way to float32 and back, and a sample has PyTorch's value.
static void test_half_is_exact(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        if ((half & 0x7FFF) <= 0x7C00) assert_int_equal(qn_f32_to_f16(qn_f16_to_f32((uint16_t)half)), half);
        if ((half & 0x7FFF) <= 0x7F80) assert_int_equal(qn_f32_to_bf16(qn_bf16_to_f32((uint16_t)half)), half);
    }
    qn_npy sample;
    assert_ok(qn_npy_open(GOLDEN "half_values.npy", &sample));
    size_t finite = 0, taken = 0;
    for (uint32_t half = 0; half < 65536; half++) {
        if ((half & 0x7FFF) >= 0x7C00 || finite++ % 61) continue;
        int64_t bits;
        memcpy(&bits, sample.data + 8 * taken++, 8);
        assert_int_equal(qn_float_bits(qn_f16_to_f32((uint16_t)half)), (uint32_t)bits);
    }
    assert_int_equal(taken, sample.count);
    qn_npy_close(&sample);
}

// When memory is short at any allocation, reading and writing fail with a status, leak nothing and leave no
// half-written file.
static void test_out_of_memory(void **state) {
    (void)state;
    fill_ramp();
    const char *folder = test_folder();
    char path[512];
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    const qn_st_entry entry = {.name = "a", .dtype = QN_ST_F16, .dims = 1, .shape = {300}, .values = ramp};
    qn_status status = QN_ERROR_MEMORY;
    for (size_t allowed = 0; status != QN_OK; allowed++) {
        assert_true(allowed < 100);
        test_fail_allocations_after(allowed);
        status = qn_safetensors_write(path, &entry, 1, NULL);
        test_fail_allocations_off();
        if (status == QN_OK) break;
        assert_int_equal(status, QN_ERROR_MEMORY);
        qn_safetensors *file;
        if (access(path, F_OK)) continue;
        assert_ok(qn_safetensors_open(path, &file)); // the rename was done, the sync of the folder was not
        qn_safetensors_close(file);
    }
    status = QN_ERROR_MEMORY;
    for (size_t allowed = 0; status != QN_OK; allowed++) {
        assert_true(allowed < 100);
        qn_safetensors *file;
        test_fail_allocations_after(allowed);
        status = qn_safetensors_open(path, &file);
        test_fail_allocations_off();
        if (status == QN_OK) qn_safetensors_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_reference),
        cmocka_unit_test(test_refuses_hostile_headers),
        cmocka_unit_test(test_accepts_what_the_reference_accepts),
        cmocka_unit_test(test_refuses_truncated_files),
        cmocka_unit_test(test_refuses_deep_nesting),
        cmocka_unit_test(test_decodes_escapes),
        cmocka_unit_test(test_messages_are_safe),
        cmocka_unit_test(test_writes_reference_bytes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_half_rounding),
        cmocka_unit_test(test_half_is_exact),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
