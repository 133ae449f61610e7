// JSON: wrong types, absurd values and hostile nesting are one clear error, and what is written reads back the same.
#include "support.h"
#include "base/json.h"

static json_t *parse(const char *text) {
    json_t *value;
    assert_ok(qn_json_parse(text, strlen(text), "test.json", &value));
    return value;
}

static void assert_rejected(const char *text, const char *part) {
    json_t *value;
    assert_fails(qn_json_parse(text, strlen(text), "test.json", &value), QN_ERROR_FORMAT, part);
    assert_null(value);
}

static void test_syntax_errors_name_the_place(void **state) {
    (void)state;
    assert_rejected("{\"a\": 1,\n  \"b\": }", "test.json:2:8: ");
    assert_rejected("", "test.json:1:1: ");
    assert_rejected("   ", "test.json:1:3: ");
    assert_rejected("[1] x", "test.json:1:5: end of file expected");
    assert_rejected("{\"a\": nul}", "test.json:1:9: ");
    assert_rejected("[\"\xFF\"]", "test.json:1:");
    assert_rejected("[NaN]", "test.json:1:4: ");
    assert_rejected("[1e999]", "test.json:1:");
}

// Two values for one key: which one counts would be a matter of taste, so a file with that is refused.
static void test_duplicate_keys_are_refused(void **state) {
    (void)state;
    assert_rejected("{\"a\": 1, \"a\": 2}", "duplicate object key");
}

// Nesting is limited before the stack is.
static void test_deep_nesting(void **state) {
    (void)state;
    size_t depth = 1000000;
    char *text = malloc(depth + 1);
    memset(text, '[', depth);
    text[depth] = '\0';
    assert_rejected(text, "maximum parsing depth");
    free(text);
}

static const char *const file = "config.json";

static void test_int(void **state) {
    (void)state;
    json_t *o = parse(
        "{\"n\": 12, \"r\": 12.0, \"e\": 1e3, \"h\": 12.5, \"s\": \"12\", \"z\": null, \"big\": 9223372036854775807}");
    int64_t value = -1;
    assert_ok(qn_json_int(o, file, "n", true, 1, 100, &value));
    assert_int_equal(value, 12);
    assert_ok(qn_json_int(o, file, "r", true, 1, 100, &value));
    assert_int_equal(value, 12);
    assert_ok(qn_json_int(o, file, "e", true, 1, 1000, &value));
    assert_int_equal(value, 1000);
    assert_ok(qn_json_int(o, file, "big", true, 0, INT64_MAX, &value));
    assert_true(value == INT64_MAX);
    value = 7;
    assert_ok(qn_json_int(o, file, "z", false, 1, 100, &value)); // null and missing leave the default
    assert_ok(qn_json_int(o, file, "missing", false, 1, 100, &value));
    assert_int_equal(value, 7);
    assert_fails(qn_json_int(o, file, "missing", true, 1, 100, &value), QN_ERROR_FORMAT,
                 "config.json: \"missing\" is missing (expected an integer from 1 to 100)");
    assert_fails(qn_json_int(o, file, "n", true, 13, 100, &value), QN_ERROR_FORMAT,
                 "config.json: \"n\" is 12 (expected an integer from 13 to 100)");
    assert_fails(qn_json_int(o, file, "h", true, 1, 100, &value), QN_ERROR_FORMAT,
                 "\"h\" is 12.5 (expected an integer");
    assert_fails(qn_json_int(o, file, "s", true, 1, 100, &value), QN_ERROR_FORMAT,
                 "\"s\" is \"12\" (expected an integer");
    assert_fails(qn_json_int(o, file, "z", true, 1, 100, &value), QN_ERROR_FORMAT, "missing");
    assert_int_equal(value, 7); // a failure writes nothing
    json_decref(o);
}

// transformers writes 10^30 for "no limit"; such a file must load, and nobody may take the number for an int.
static void test_integers_beyond_64_bits(void **state) {
    (void)state;
    json_t *o = parse(
        "{\"model_max_length\": 1000000000000000019884624838656, \"text\": \"\\\"1000000000000000019884624838656\", "
        "\"n\": -99999999999999999999, \"k\": 512, \"f\": 0.1000000000000000055511151231257827, "
        "\"x\": 1.5E+0000000000000000000002, \"limit\": -9223372036854775808}");
    double real = 0;
    int64_t number = 0;
    const char *text = NULL;
    assert_ok(qn_json_real(o, file, "model_max_length", true, 0, 1e300, &real));
    assert_true(real > 0.999999e30 && real < 1.000001e30);
    assert_fails(qn_json_int(o, file, "model_max_length", true, 0, INT64_MAX, &number), QN_ERROR_FORMAT,
                 "expected an integer");
    assert_ok(qn_json_string(o, file, "text", true, &text));
    assert_string_equal(text, "\"1000000000000000019884624838656");
    assert_ok(qn_json_real(o, file, "n", true, -1e300, 0, &real));
    assert_true(real < -9.999e19 && real > -1.0001e20);
    assert_ok(qn_json_int(o, file, "k", true, 0, 1000, &number));
    assert_int_equal(number, 512);
    assert_ok(qn_json_real(o, file, "f", true, 0, 1, &real));
    assert_true(real == 0.1);
    assert_ok(qn_json_real(o, file, "x", true, 0, 1000, &real));
    assert_true(real == 150);
    json_decref(o);
}

static void test_real(void **state) {
    (void)state;
    json_t *o = parse("{\"eps\": 1e-12, \"i\": 2, \"b\": true}");
    double value = 0.5;
    assert_ok(qn_json_real(o, file, "eps", true, 0, 1, &value));
    assert_true(value == 1e-12);
    assert_ok(qn_json_real(o, file, "i", true, 0, 10, &value));
    assert_true(value == 2);
    assert_fails(qn_json_real(o, file, "i", true, 0, 1, &value), QN_ERROR_FORMAT,
                 "\"i\" is 2 (expected a number from 0 to 1)");
    assert_fails(qn_json_real(o, file, "b", true, 0, 1, &value), QN_ERROR_FORMAT,
                 "\"b\" is true (expected a number from 0 to 1)");
    json_decref(o);
}

static void test_other_types(void **state) {
    (void)state;
    json_t *o = parse("{\"b\": false, \"s\": \"\xC3\xA9\", \"o\": {}, \"a\": [1], \"nul\": \"a\\u0000b\","
                      " \"long\": \"0123456789012345678901234567890123456789more\\u001b\"}");
    bool yes = true;
    const char *text = NULL;
    json_t *value = NULL;
    assert_ok(qn_json_bool(o, file, "b", true, &yes));
    assert_false(yes);
    assert_fails(qn_json_bool(o, file, "s", true, &yes), QN_ERROR_FORMAT, "(expected true or false)");
    assert_ok(qn_json_string(o, file, "s", true, &text));
    assert_string_equal(text, "\xC3\xA9");
    assert_fails(qn_json_string(o, file, "nul", true, &text), QN_ERROR_FORMAT, "\"nul\" has a NUL in it");
    assert_fails(qn_json_string(o, file, "a", true, &text), QN_ERROR_FORMAT, "\"a\" is an array (expected a string)");
    assert_ok(qn_json_object(o, file, "o", true, &value));
    assert_true(json_is_object(value));
    assert_fails(qn_json_object(o, file, "a", true, &value), QN_ERROR_FORMAT, "\"a\" is an array (expected an object)");
    assert_ok(qn_json_array(o, file, "a", true, &value));
    assert_int_equal(json_array_size(value), 1);
    assert_fails(qn_json_array(o, file, "long", true, &value), QN_ERROR_FORMAT,
                 "is \"0123456789012345678901234567890123456789...\"");
    // A configuration that is not an object at all.
    value = parse("[1]");
    assert_fails(qn_json_bool(value, file, "b", true, &yes), QN_ERROR_FORMAT,
                 "config.json: an array where \"b\" is looked for");
    assert_fails(qn_json_bool(NULL, file, "b", false, &yes), QN_ERROR_FORMAT,
                 "config.json: nothing where \"b\" is looked for");
    json_decref(value);
    json_decref(o);
}

// What is saved is what Python would write, and reads back as the same values.
static void test_save_and_load(void **state) {
    (void)state;
    char *folder = test_folder();
    const char *path = test_path(folder, "out.json");
    json_t *o = parse(
        "\xEF\xBB\xBF{\"z\": 0.1, \"a\": 1e-12, \"i\": 3, \"one\": 1.0, \"big\": 1e30, \"empty\": [], \"none\": {}, "
        "\"list\": [1, [true, null]], \"s\": \"\xC3\xA9\\n\", \"third\": 0.3333333333333333}");
    assert_ok(qn_json_save(o, path));
    char *text = test_read(path, NULL);
    assert_string_equal(
        text, "{\n  \"z\": 0.1,\n  \"a\": 1e-12,\n  \"i\": 3,\n  \"one\": 1.0,\n  \"big\": 1e+30,\n  \"empty\": [],\n"
              "  \"none\": {},\n  \"list\": [\n    1,\n    [\n      true,\n      null\n    ]\n  ],\n"
              "  \"s\": \"\xC3\xA9\\n\",\n  \"third\": 0.3333333333333333\n}\n");
    free(text);
    json_t *again;
    assert_ok(qn_json_load(path, &again));
    assert_true(json_equal(o, again));
    json_decref(again);
    json_decref(o);
    assert_fails(qn_json_load(test_path(folder, "none.json"), &again), QN_ERROR_IO, "none.json: cannot open");
    test_write_text(path, "{");
    assert_fails(qn_json_load(path, &again), QN_ERROR_FORMAT, "out.json:1:1: ");
    test_write_text(path, "");
    assert_fails(qn_json_load(path, &again), QN_ERROR_FORMAT, "out.json:1:1: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syntax_errors_name_the_place),
        cmocka_unit_test(test_duplicate_keys_are_refused),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_int),
        cmocka_unit_test(test_integers_beyond_64_bits),
        cmocka_unit_test(test_real),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_save_and_load),
    };
    return cmocka_run_group_tests_name("base_json", tests, NULL, NULL);
}
