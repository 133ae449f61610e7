// The last error: one clean line, kept per thread, whatever stands in the arguments; and log messages.
#include "support.h"
#include "base/clock.h"
#include "base/utf8.h"
#include <errno.h>
#include <pthread.h>

// A hostile file must not be able to write to the user's terminal through a message.
static void test_message_is_sanitised(void **state) {
    (void)state;
    assert_int_equal(qn_fail(QN_ERROR_FORMAT, "a\x1b[31m\r\nb\x7f%s", "\xC2\x9B!"), QN_ERROR_FORMAT);
    assert_string_equal(qn_last_error(), "a?[31m??b?"
                                         "?!");
    qn_fail(QN_ERROR_FORMAT, "%s", "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
    assert_string_equal(qn_last_error(), "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
    // Overlong, surrogate, truncated, stray, bidi override.
    qn_fail(QN_ERROR_FORMAT, "%s", "\xC0\xAF|\xED\xA0\x80|\xE2\x82|\x80|\xE2\x80\xAEx");
    assert_string_equal(qn_last_error(), "??|??"
                                         "?|?|?|?x");
}

// A message longer than the store ends in "..." and not in half a character.
static void test_long_message_is_cut_between_characters(void **state) {
    (void)state;
    for (int shift = 0; shift < 4; shift++) {
        char text[4096] = "";
        memset(text, 'a', (size_t)shift);
        for (size_t i = (size_t)shift; i + 4 < sizeof text; i += 3) memcpy(text + i, "\xE2\x82\xAC", 4);
        qn_fail(QN_ERROR_IO, "%s", text);
        const char *message = qn_last_error();
        size_t length = strlen(message);
        assert_true(length > 1000 && length < 1024);
        assert_string_equal(message + length - 3, "...");
        assert_null(strchr(message, '?'));
    }
}

// Callers add the file's name to what a callee said; the old message is an argument of the new one.
static void test_prefix_keeps_the_message(void **state) {
    (void)state;
    qn_fail(QN_ERROR_FORMAT, "line %d", 3);
    assert_int_equal(qn_fail_prefix(QN_ERROR_FORMAT, "file %s", "x"), QN_ERROR_FORMAT);
    assert_string_equal(qn_last_error(), "file x: line 3");
    qn_fail(QN_ERROR_FORMAT, "again: %s", qn_last_error());
    assert_string_equal(qn_last_error(), "again: file x: line 3");
}

static void test_errno_is_named_and_kept(void **state) {
    (void)state;
    errno = ENOSPC;
    assert_int_equal(qn_fail_errno(QN_ERROR_IO, "out.bin"), QN_ERROR_IO);
    assert_string_equal(qn_last_error(), "out.bin: No space left on device");
    assert_int_equal(errno, ENOSPC);
}

static void *fail_elsewhere(void *seen) {
    *(bool *)seen = *qn_last_error() != '\0';
    qn_fail(QN_ERROR_IO, "theirs");
    return NULL;
}

// Another thread's failure must not replace this thread's message.
static void test_message_belongs_to_its_thread(void **state) {
    (void)state;
    qn_fail(QN_ERROR_IO, "ours");
    bool seen = true;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &seen), 0);
    pthread_join(thread, NULL);
    assert_false(seen);
    assert_string_equal(qn_last_error(), "ours");
}

static void test_every_status_has_a_text(void **state) {
    (void)state;
    assert_string_equal(qn_status_text(QN_OK), "done");
    assert_string_equal(qn_status_text(QN_ERROR_MEMORY), "out of memory");
    assert_string_equal(qn_status_text((qn_status)1234), "an unknown status");
    assert_true(strlen(qn_version()) >= 5);
}

static int log_calls;
static void receive(void *user, qn_log_level level, const char *message) {
    log_calls++;
    assert_int_equal(level, QN_LOG_WARNING);
    snprintf(user, 64, "%s", message);
}

static void test_log_goes_to_the_callback_or_nowhere(void **state) {
    (void)state;
    char message[64];
    qn_log(QN_LOG_INFO, "dropped");
    qn_set_log(receive, message);
    qn_log(QN_LOG_WARNING, "%d\n%s", 7, "bell\a");
    qn_set_log(NULL, NULL);
    qn_log(QN_LOG_INFO, "dropped");
    assert_int_equal(log_calls, 1);
    assert_string_equal(message, "7?bell?");
}

static void test_clock_and_memory(void **state) {
    (void)state;
    double start = qn_seconds();
    assert_true(qn_seconds() >= start);
    assert_true(qn_peak_memory() > 100000 && qn_peak_memory() < (size_t)1 << 36);
}

// Every scalar value must survive writing and reading, and no other bytes may decode.
static void test_utf8_round_trip(void **state) {
    (void)state;
    for (int32_t code = 0; code <= 0x10FFFF; code++) {
        if (code >= 0xD800 && code <= 0xDFFF) continue;
        char bytes[4];
        int32_t read;
        size_t length = qn_utf8_put(bytes, code);
        assert_int_equal(qn_utf8_next(bytes, length, &read), length);
        assert_int_equal(read, code);
        for (size_t cut = 1; cut < length; cut++) {
            assert_int_equal(qn_utf8_next(bytes, cut, &read), cut);
            assert_int_equal(read, -1);
        }
    }
}

// The lengths of broken sequences are those of Python's errors="replace" (table 3-8 of the Unicode standard).
static void test_utf8_maximal_subparts(void **state) {
    (void)state;
    const char *text = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64\xF5\xC1\xFF";
    const size_t lengths[] = {1, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int32_t codes[] = {'a', -1, -1, -1, 'b', -1, 'c', -1, -1, 'd', -1, -1, -1};
    size_t size = strlen(text), at = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int32_t code;
        size_t length = qn_utf8_next(text + at, size - at, &code);
        assert_int_equal(length, lengths[i]);
        assert_int_equal(code, codes[i]);
        at += length;
    }
    assert_int_equal(at, size);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_is_sanitised),
        cmocka_unit_test(test_long_message_is_cut_between_characters),
        cmocka_unit_test(test_prefix_keeps_the_message),
        cmocka_unit_test(test_errno_is_named_and_kept),
        cmocka_unit_test(test_message_belongs_to_its_thread),
        cmocka_unit_test(test_every_status_has_a_text),
        cmocka_unit_test(test_log_goes_to_the_callback_or_nowhere),
        cmocka_unit_test(test_clock_and_memory),
        cmocka_unit_test(test_utf8_round_trip),
        cmocka_unit_test(test_utf8_maximal_subparts),
    };
    return cmocka_run_group_tests_name("base_status", tests, NULL, NULL);
}
