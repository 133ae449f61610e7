// Status codes and the last error message of this thread.
#pragma once
#include "quern.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define QN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define QN_PRINTF(fmt, args)
#endif

// Stores the message for qn_last_error() of this thread (replacing an earlier one) and returns `status`. The message is one line
// without a trailing newline and names the place first: "FILE:LINE: what is wrong (what was expected)". Control characters and
// bytes that are not UTF-8 are replaced, so that a hostile file cannot write to the user's terminal.
qn_status qn_fail(qn_status status, const char *format, ...) QN_PRINTF(2, 3);

// The same, for a failed system call: appends ": " and strerror(errno).
qn_status qn_fail_errno(qn_status status, const char *format, ...) QN_PRINTF(2, 3);

// Puts "prefix: " before the message that is there; returns `status`. For callers that know the file when the callee did not.
qn_status qn_fail_prefix(qn_status status, const char *format, ...) QN_PRINTF(2, 3);

#define QN_TRY(expression)                                                                                             \
    do {                                                                                                               \
        qn_status try_status_ = (expression);                                                                          \
        if (try_status_ != QN_OK) return try_status_;                                                                  \
    } while (0)

// For functions that clean up at a label: leaves through `goto label` with `status` set.
#define QN_TRY_GOTO(status, expression, label)                                                                         \
    do {                                                                                                               \
        (status) = (expression);                                                                                       \
        if ((status) != QN_OK) goto label;                                                                             \
    } while (0)
