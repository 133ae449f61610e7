// Shared helpers of the tests: cmocka with its includes, temporary folders, whole files, and a count of heap
// allocations.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

// Fails the test with qn_last_error() unless `expression` is QN_OK.
#define assert_ok(expression)                                                                                          \
    do {                                                                                                               \
        if ((expression) != QN_OK) fail_msg("%s: %s", #expression, qn_last_error());                                   \
    } while (0)

// Fails the test unless `expression` gives `status` and the last error contains `part`.
#define assert_fails(expression, status, part)                                                                         \
    do {                                                                                                               \
        assert_int_equal((expression), (status));                                                                      \
        if (strstr(qn_last_error(), (part)) == NULL)                                                                   \
            fail_msg("%s: the error is \"%s\" (expected \"%s\" in it)", #expression, qn_last_error(), (part));         \
    } while (0)

// A new folder under $TMPDIR (or /tmp). It is removed, with all that lies in it, when the process ends. The string
// stays valid until then.
char *test_folder(void);

// "folder/name" in one of 64 static buffers that are used in turn: good within one test, not for keeping.
const char *test_path(const char *folder, const char *name);

// A whole file, with a NUL after its last byte; *size (where not NULL) is its size. Fails the test when it cannot be
// read.
char *test_read(const char *path, size_t *size);
void test_write(const char *path, const void *data, size_t size);
void test_write_text(const char *path, const char *text);

// The number of calls to malloc, calloc, realloc, aligned_alloc, posix_memalign, strdup and strndup by Quern and the
// test so far, in all threads. Memory that other libraries take for themselves is not counted.
size_t test_allocations(void);

// From now on lets `count` allocations of Quern and the test succeed and all later ones fail, until
// test_fail_allocations_off().
void test_fail_allocations_after(size_t count);
void test_fail_allocations_off(void);
