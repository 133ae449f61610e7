// Protects the weights of a model folder: single and sharded files, the index's checks, conversion, and what is told
// about leftovers.
#include "formats/weights.h"
#include "base/file.h"
#include "support.h"
#include <unistd.h>

#define GOLDEN QN_SOURCE_DIR "/tests/golden/formats/"
#define SHARD1 "model-00001-of-00002.safetensors"
#define SHARD2 "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"

static float golden(size_t i) {
    return ((float)i - 7) * 0.375f;
}

static void copy(const char *from, const char *to) {
    size_t size;
    char *data = test_read(from, &size);
    test_write(to, data, size);
    free(data);
}

// A fresh folder with Python's sharded weights and another index text (NULL: Python's).
static char *sharded_folder(const char *index) {
    char *folder = test_folder();
    copy(GOLDEN "sharded/" SHARD1, test_path(folder, SHARD1));
    copy(GOLDEN "sharded/" SHARD2, test_path(folder, SHARD2));
    if (index)
        test_write_text(test_path(folder, INDEX), index);
    else
        copy(GOLDEN "sharded/" INDEX, test_path(folder, INDEX));
    return folder;
}

// Each float dtype that Python wrote is read as float32, exactly.
static void test_reads_every_float(void **state) {
    (void)state;
    qn_weights *weights;
    assert_ok(qn_weights_open(GOLDEN "mixed.safetensors", &weights));
    static const struct {
        const char *name;
        int dims;
        int64_t shape[3];
        size_t count;
    } cases[] = {
        {"embeddings.weight", 2, {3, 4}, 12}, {"half", 1, {5}, 5}, {"brain", 3, {2, 3, 2}, 12}, {"wide", 1, {3}, 3}};
    float out[12];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        assert_ok(qn_weights_read_f32(weights, cases[c].name, cases[c].dims, cases[c].shape, out));
        for (size_t i = 0; i < cases[c].count; i++) assert_true(out[i] == golden(i));
    }
    assert_ok(qn_weights_read_f32(weights, "scalar", 0, NULL, out));
    assert_true(out[0] == 0.375f);
    out[0] = 5;
    assert_ok(qn_weights_read_f32(weights, "empty", 2, (int64_t[]){0, 4}, out));
    assert_true(out[0] == 5);
    qn_weights_close(weights);
}

// What is missing, of another dtype or of another shape is named, with what was found and expected.
static void test_refuses_wrong_tensors(void **state) {
    (void)state;
    qn_weights *weights;
    float out[12];
    assert_ok(qn_weights_open(GOLDEN "mixed.safetensors", &weights));
    assert_fails(qn_weights_read_f32(weights, "encoder.x", 1, (int64_t[]){1}, out), QN_ERROR_FORMAT,
                 "mixed.safetensors: tensor \"encoder.x\" is missing");
    assert_fails(qn_weights_read_f32(weights, "positions", 2, (int64_t[]){1, 4}, out), QN_ERROR_FORMAT,
                 "mixed.safetensors: tensor \"positions\" is I64 (expected F32, F16, BF16 or F64)");
    assert_fails(qn_weights_read_f32(weights, "embeddings.weight", 2, (int64_t[]){4, 3}, out), QN_ERROR_FORMAT,
                 "mixed.safetensors: tensor \"embeddings.weight\" has the shape [3, 4] (expected [4, 3])");
    assert_fails(qn_weights_read_f32(weights, "embeddings.weight", 1, (int64_t[]){12}, out), QN_ERROR_FORMAT,
                 "has the shape [3, 4] (expected [12])");
    assert_fails(qn_weights_read_f32(weights, "half", 0, NULL, out), QN_ERROR_FORMAT,
                 "has the shape [5] (expected [])");
    qn_weights_close(weights);
}

// A view is given where the bytes may be used as they are, and nowhere else: not for other dtypes, not unaligned.
static void test_views(void **state) {
    (void)state;
    qn_weights *weights;
    const float *view;
    assert_ok(qn_weights_open(GOLDEN "mixed.safetensors", &weights));
    assert_ok(qn_weights_view_f32(weights, "embeddings.weight", 2, (int64_t[]){3, 4}, &view));
    assert_non_null(view);
    assert_true(view[11] == golden(11));
    assert_ok(qn_weights_view_f32(weights, "half", 1, (int64_t[]){5}, &view));
    assert_null(view);
    assert_int_equal(qn_weights_view_f32(weights, "half", 1, (int64_t[]){6}, &view), QN_ERROR_FORMAT);
    qn_weights_close(weights);

    // A header that is not a multiple of 4, as other writers make it, puts float32 data on odd addresses.
    const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ";
    uint64_t length = sizeof header - 1;
    for (int extra = 0; extra < 2; extra++) {
        char bytes[8 + sizeof header + 8];
        const float values[2] = {1.5f, -2};
        uint64_t used = length - (uint64_t)extra;
        memcpy(bytes, &used, 8);
        memcpy(bytes + 8, header, used);
        memcpy(bytes + 8 + used, values, 8);
        const char *path = test_path(test_folder(), "model.safetensors");
        test_write(path, bytes, 8 + used + 8);
        assert_ok(qn_weights_open(path, &weights));
        assert_ok(qn_weights_view_f32(weights, "a", 1, (int64_t[]){2}, &view));
        assert_true((view != NULL) == ((8 + used) % 4 == 0));
        float out[2];
        assert_ok(qn_weights_read_f32(weights, "a", 1, (int64_t[]){2}, out));
        assert_memory_equal(out, values, 8);
        qn_weights_close(weights);
    }
}

// Python's shards are one set of tensors.
static void test_reads_shards(void **state) {
    (void)state;
    qn_weights *weights;
    assert_ok(qn_weights_open(GOLDEN "sharded", &weights));
    assert_string_equal(qn_weights_path(weights), GOLDEN "sharded");
    assert_int_equal(qn_weights_count(weights), 3);
    assert_string_equal(qn_weights_at(weights, 0)->name, "encoder.a");
    assert_string_equal(qn_weights_at(weights, 2)->name, "encoder.c");
    assert_null(qn_weights_at(weights, 3));
    assert_string_equal(qn_weights_metadata(weights, "format"), "pt");
    float out[6];
    assert_ok(qn_weights_read_f32(weights, "encoder.b", 1, (int64_t[]){4}, out));
    assert_true(out[3] == golden(3));
    assert_ok(qn_weights_read_f32(weights, "encoder.c", 1, (int64_t[]){3}, out));
    assert_true(out[2] == golden(2));
    // An error of one tensor names its shard, not the folder.
    assert_fails(qn_weights_read_f32(weights, "encoder.a", 1, (int64_t[]){6}, out), QN_ERROR_FORMAT,
                 "sharded/" SHARD1 ": tensor \"encoder.a\" has the shape [2, 3] (expected [6])");
    qn_weights_close(weights);
}

// An index that does not fit its shards, or whose shard names lead out of the folder, is refused.
static void test_refuses_bad_indexes(void **state) {
    (void)state;
    static const struct {
        const char *index, *message;
    } cases[] = {
        {"", INDEX ":1:1: "},
        {"[]", INDEX ": \"weight_map\" is missing (expected an object from tensor to file)"},
        {"{\"weight_map\":[]}", INDEX ": \"weight_map\" is no object"},
        {"{\"weight_map\":{}}", INDEX ": \"weight_map\" is empty"},
        {"{\"weight_map\":{\"a\":1}}", INDEX ": tensor \"a\" is in \"no file\" (expected the name of a .safetensors"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", INDEX ": tensor \"a\" is in \"../x.safetensors\" (expected"},
        {"{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", "is in \"/etc/x.safetensors\" (expected"},
        {"{\"weight_map\":{\"a\":\"sub\\\\x.safetensors\"}}", "is in \"sub\\x.safetensors\" (expected"},
        {"{\"weight_map\":{\"a\":\".safetensors\"}}", "is in \".safetensors\" (expected"},
        {"{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}", "is in \"pytorch_model.bin\" (expected"},
        {"{\"weight_map\":{\"a\":\"" SHARD1 "\",\"a\":\"" SHARD1 "\"}}", "duplicate object key"},
        {"{\"weight_map\":{\"encoder.a\":\"model-00003-of-00002.safetensors\"}}",
         "model-00003-of-00002.safetensors: missing ("},
        {"{\"weight_map\":{\"encoder.a\":\"" SHARD1 "\"}}",
         INDEX ": tensor \"encoder.b\" of " SHARD1 " is not in the index"},
        {"{\"weight_map\":{\"encoder.a\":\"" SHARD1 "\",\"encoder.b\":\"" SHARD1 "\",\"encoder.d\":\"" SHARD1 "\"}}",
         INDEX ": tensor \"encoder.d\" is not in " SHARD1 " (the index says it is)"},
        {"{\"weight_map\":{\"encoder.a\":\"" SHARD1 "\",\"encoder.b\":\"" SHARD2 "\",\"encoder.c\":\"" SHARD2 "\"}}",
         INDEX ": tensor \"encoder.b\" stands in " SHARD1 " (the index says " SHARD2 ")"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_weights *weights;
        qn_status status = qn_weights_open(sharded_folder(cases[i].index), &weights);
        if (status == QN_OK || !strstr(qn_last_error(), cases[i].message))
            fail_msg("case %zu: %d \"%s\" (expected \"%s\")", i, status, qn_last_error(), cases[i].message);
        assert_null(weights);
    }
    // One name in two shards.
    char *folder = sharded_folder("{\"weight_map\":{\"encoder.a\":\"" SHARD1 "\",\"encoder.b\":\"" SHARD2 "\"}}");
    copy(test_path(folder, SHARD1), test_path(folder, SHARD2));
    qn_weights *weights;
    assert_fails(qn_weights_open(folder, &weights), QN_ERROR_FORMAT, SHARD1 ": tensor \"encoder.a\" stands in ");
    // A shard that was cut.
    folder = sharded_folder(NULL);
    assert_int_equal(truncate(test_path(folder, SHARD2), 110), 0);
    assert_fails(qn_weights_open(folder, &weights), QN_ERROR_FORMAT, SHARD2 ": tensor \"encoder.c\": data_offsets");
}

// Folders without weights say what is expected.
static void test_folders_without_weights(void **state) {
    (void)state;
    qn_weights *weights;
    char *folder = test_folder();
    assert_fails(qn_weights_open(folder, &weights), QN_ERROR_IO,
                 ": no model.safetensors and no model.safetensors.index.json");
    test_write_text(test_path(folder, "pytorch_model.bin"), "x");
    assert_fails(qn_weights_open(folder, &weights), QN_ERROR_UNSUPPORTED,
                 ": only pytorch_model.bin (expected model.safetensors)");
    assert_fails(qn_weights_open(test_path(folder, "none"), &weights), QN_ERROR_IO, "/none");
}

// The caller can warn of tensors that no part of the model read, and silence names that are known to be harmless.
static void test_unused_and_prefix(void **state) {
    (void)state;
    qn_weights *weights;
    assert_ok(qn_weights_open(GOLDEN "sharded", &weights));
    float out[6];
    assert_ok(qn_weights_read_f32(weights, "encoder.b", 1, (int64_t[]){4}, out));
    assert_true(qn_weights_mark_used(weights, "encoder.c"));
    assert_false(qn_weights_mark_used(weights, "encoder.x"));
    size_t cursor = 0;
    assert_string_equal(qn_weights_unused(weights, &cursor)->name, "encoder.a");
    assert_null(qn_weights_unused(weights, &cursor));
    static const char *const prefixes[] = {"", "bert.", "encoder."};
    assert_string_equal(qn_weights_prefix(weights, prefixes, 3, "a"), "encoder.");
    assert_string_equal(qn_weights_prefix(weights, prefixes, 3, "encoder.a"), "");
    assert_null(qn_weights_prefix(weights, prefixes, 3, "x"));
    qn_weights_close(weights);
}

static void check_written(const char *folder, const float *values) {
    qn_weights *weights;
    float out[6];
    assert_ok(qn_weights_open(folder, &weights));
    assert_int_equal(qn_weights_count(weights), 3);
    assert_ok(qn_weights_read_f32(weights, "c", 2, (int64_t[]){2, 3}, out));
    assert_memory_equal(out, values, sizeof out);
    assert_ok(qn_weights_read_f32(weights, "a", 1, (int64_t[]){4}, out));
    assert_memory_equal(out, values, 16);
    qn_weights_close(weights);
}

// Weights are cut into shards at the limit, each layout reads back, and a new layout leaves nothing of the old one.
static void test_writes_shards(void **state) {
    (void)state;
    float values[6];
    for (size_t i = 0; i < 6; i++) values[i] = golden(i);
    const qn_st_entry entries[] = {
        {.name = "c", .dtype = QN_ST_F32, .dims = 2, .shape = {2, 3}, .values = values}, // 24 bytes
        {.name = "a", .dtype = QN_ST_F32, .dims = 1, .shape = {4}, .values = values},    // 16
        {.name = "b", .dtype = QN_ST_BF16, .dims = 1, .shape = {4}, .values = values},   // 8
    };
    char *folder = test_folder();
    test_write_text(test_path(folder, "model-notes.txt"), "not ours");
    assert_ok(qn_weights_write(folder, entries, 3, NULL, 0));
    check_written(folder, values);
    assert_true(qn_is_file(test_path(folder, "model.safetensors")));

    assert_ok(qn_weights_write(folder, entries, 3, NULL, 24));
    assert_false(qn_is_file(test_path(folder, "model.safetensors")));
    char *index = test_read(test_path(folder, INDEX), NULL);
    assert_string_equal(index, "{\n  \"metadata\": {\n    \"total_size\": 48\n  },\n  \"weight_map\": {\n"
                               "    \"a\": \"model-00002-of-00002.safetensors\",\n"
                               "    \"b\": \"model-00002-of-00002.safetensors\",\n"
                               "    \"c\": \"model-00001-of-00002.safetensors\"\n  }\n}\n");
    free(index);
    check_written(folder, values);

    assert_ok(qn_weights_write(folder, entries, 3, NULL, 1)); // each tensor is above the limit: a shard of its own
    assert_true(qn_is_file(test_path(folder, "model-00003-of-00003.safetensors")));
    assert_false(qn_is_file(test_path(folder, SHARD1)));
    check_written(folder, values);

    assert_ok(qn_weights_write(folder, entries, 3, NULL, 48));
    assert_false(qn_is_file(test_path(folder, INDEX)));
    assert_false(qn_is_file(test_path(folder, "model-00003-of-00003.safetensors")));
    assert_true(qn_is_file(test_path(folder, "model-notes.txt")));
    check_written(folder, values);

    const qn_st_entry twice[] = {entries[0], entries[0]};
    assert_fails(qn_weights_write(folder, twice, 2, NULL, 24), QN_ERROR_ARGUMENT, "two tensors are called \"c\"");
    check_written(folder, values); // the single file is still there, and still wins
}

// When memory is short at any allocation, opening shards fails with a status and leaks nothing (a sanitizer build sees
// leaks).
static void test_out_of_memory(void **state) {
    (void)state;
    qn_status status = QN_ERROR_MEMORY;
    for (size_t allowed = 0; status != QN_OK; allowed++) {
        assert_true(allowed < 200);
        qn_weights *weights;
        test_fail_allocations_after(allowed);
        status = qn_weights_open(GOLDEN "sharded", &weights);
        test_fail_allocations_off();
        if (status == QN_OK)
            qn_weights_close(weights);
        else
            assert_int_equal(status, QN_ERROR_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_float),
        cmocka_unit_test(test_refuses_wrong_tensors),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_reads_shards),
        cmocka_unit_test(test_refuses_bad_indexes),
        cmocka_unit_test(test_folders_without_weights),
        cmocka_unit_test(test_unused_and_prefix),
        cmocka_unit_test(test_writes_shards),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
