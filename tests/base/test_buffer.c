// The growing buffer and what is written into it: JSON and HTML must stay well-formed whatever bytes a data file holds.
#include "support.h"
#include "base/buffer.h"
#include <jansson.h>
#include <locale.h>
#include <math.h>

static void test_append_and_print(void **state) {
    (void)state;
    qn_buffer b = {0};
    qn_buffer_text(&b, "");
    assert_string_equal(b.data, "");
    for (int i = 0; i < 1000; i++) qn_buffer_printf(&b, "%d,", i);
    qn_buffer_char(&b, '!');
    qn_buffer_append(&b, "a\0b", 3);
    assert_ok(qn_buffer_status(&b));
    assert_int_equal(b.size, 10 * 2 + 90 * 3 + 900 * 4 + 4);
    assert_int_equal(memcmp(b.data, "0,1,2,3,", 8), 0);
    assert_int_equal(memcmp(b.data + b.size - 4, "!a\0b", 5), 0); // a NUL follows
    qn_buffer_clear(&b);
    assert_int_equal(b.size, 0);
    assert_string_equal(b.data, "");
    qn_buffer_free(&b);
    assert_null(b.data);
}

// printf of a text far beyond the room left.
static void test_print_grows(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    qn_buffer b = {0};
    qn_buffer_printf(&b, "<%s>", text);
    assert_int_equal(b.size, sizeof text + 1);
    assert_int_equal(b.data[b.size - 1], '>');
    qn_buffer_free(&b);
}

// Callers check once at the end: a failure in the middle must not be forgotten, nor crash what follows.
static void test_failure_is_sticky(void **state) {
    (void)state;
    qn_buffer b = {0};
    qn_buffer_text(&b, "good");
    test_fail_allocations_after(0);
    for (int i = 0; i < 100; i++) qn_buffer_text(&b, "more and more");
    test_fail_allocations_off();
    qn_buffer_text(&b, "late");
    qn_buffer_printf(&b, "%d", 1);
    assert_fails(qn_buffer_status(&b), QN_ERROR_MEMORY, "out of memory");
    assert_null(strstr(b.data, "late"));
    qn_buffer_clear(&b);
    qn_buffer_text(&b, "fresh");
    assert_ok(qn_buffer_status(&b));
    assert_string_equal(b.data, "fresh");
    qn_buffer_free(&b);

    qn_buffer empty = {0};
    test_fail_allocations_after(0);
    qn_buffer_printf(&empty, "%d", 1);
    test_fail_allocations_off();
    assert_fails(qn_buffer_status(&empty), QN_ERROR_MEMORY, "out of memory");
    qn_buffer_free(&empty);
}

static void check_json(const char *text, size_t size, const char *expected) {
    qn_buffer b = {0};
    qn_buffer_json_string(&b, text, size);
    assert_ok(qn_buffer_status(&b));
    assert_string_equal(b.data, expected);
    qn_buffer_free(&b);
}

static void test_json_string(void **state) {
    (void)state;
    check_json("", 0, "\"\"");
    check_json("plain", 5, "\"plain\"");
    check_json("\"\\/\b\n\r\t\0\x1f", 9, "\"\\\"\\\\/\\u0008\\n\\r\\t\\u0000\\u001f\"");
    check_json("caf\xC3\xA9 \xF0\x9F\x98\x80", 10, "\"caf\xC3\xA9 \xF0\x9F\x98\x80\"");
    // Broken UTF-8: what Python's errors="replace" gives.
    check_json("a\xFF\xE2\x82z\xED\xA0\x80", 8, "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
    check_json("\xF0\x9F\x98", 3, "\"\xEF\xBF\xBD\"");
    // What could end a script element in the report, drive a terminal or break a line of JSON lines.
    check_json("</script><!--<b>", 16, "\"\\u003c/script>\\u003c!--<b>\"");
    check_json("\x7F\xC2\x9B\xE2\x80\xA8", 6, "\"\\u007f\\u009b\\u2028\"");
}

// Any bytes at all must give JSON that another parser accepts.
static void test_json_string_of_all_bytes(void **state) {
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int c = 0; c < 256; c++) {
            char text[3] = {(char)a, (char)c, (char)(a ^ c)};
            qn_buffer b = {0};
            qn_buffer_char(&b, '[');
            qn_buffer_json_string(&b, text, 3);
            qn_buffer_char(&b, ']');
            json_error_t error;
            json_t *parsed = json_loadb(b.data, b.size, JSON_ALLOW_NUL, &error);
            if (parsed == NULL) fail_msg("%s", error.text);
            json_decref(parsed);
            qn_buffer_free(&b);
        }
    }
}

static void check_number(double value, int digits, const char *expected) {
    qn_buffer b = {0};
    qn_buffer_json_number(&b, value, digits);
    assert_string_equal(b.data, expected);
    qn_buffer_free(&b);
}

static void test_json_number(void **state) {
    (void)state;
    check_number(0.1, 6, "0.1");
    check_number(1.0 / 3, 4, "0.3333");
    check_number(-1e300, 3, "-1e+300");
    check_number(16777217, 9, "16777217");
    check_number(NAN, 6, "null");
    check_number(-INFINITY, 6, "null");
    check_number(0.1, 99, "0.10000000000000001");
    // A host program with another decimal point still gets JSON.
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") != NULL) check_number(0.5, 6, "0.5");
    setlocale(LC_NUMERIC, "C");
}

static void test_html(void **state) {
    (void)state;
    qn_buffer b = {0};
    const char text[] = "<a href=\"x\">Tom & 'J'</a>\n\x1b\xFF\xC3\xA9";
    qn_buffer_html(&b, text, sizeof text - 1);
    assert_string_equal(
        b.data, "&lt;a href=&quot;x&quot;&gt;Tom &amp; &#39;J&#39;&lt;/a&gt;\n\xEF\xBF\xBD\xEF\xBF\xBD\xC3\xA9");
    qn_buffer_free(&b);
}

// RFC 4648's examples.
static void test_base64(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},    {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_buffer b = {0};
        qn_buffer_base64(&b, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(b.data ? b.data : "", cases[i][1]);
        qn_buffer_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_print),
        cmocka_unit_test(test_print_grows),
        cmocka_unit_test(test_failure_is_sticky),
        cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_json_string_of_all_bytes),
        cmocka_unit_test(test_json_number),
        cmocka_unit_test(test_html),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests_name("base_buffer", tests, NULL, NULL);
}
