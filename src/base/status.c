// Status texts and the last error of each thread. The message lives in thread-local storage, so that failing never
// needs memory.
#include "base/status.h"
#include "base/utf8.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_SIZE 1024

static _Thread_local char last_error[MESSAGE_SIZE];

const char *qn_last_error(void) {
    return last_error;
}

const char *qn_status_text(qn_status status) {
    switch (status) {
#define STATUS_CASE(name, value, text)                                                                                 \
    case QN_##name:                                                                                                    \
        return text;
        QN_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    }
    return "an unknown status";
}

const char *qn_version(void) {
    return QN_VERSION;
}

// Ends a text that was too long for MESSAGE_SIZE in "...", cut between two characters.
static void mark_cut(char *text) {
    size_t end = MESSAGE_SIZE - 4;
    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80) end--;
    memcpy(text + end, "...", 4);
}

// Formats beside the message in use, since the arguments may point into it, and then replaces it.
static void set_message(const char *format, va_list arguments, const char *separator, const char *tail) {
    char text[MESSAGE_SIZE];
    int length = vsnprintf(text, sizeof text, format, arguments);
    if (length < 0) length = snprintf(text, sizeof text, "%s", format);
    if (*separator != '\0' && length < MESSAGE_SIZE)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%s", separator, tail);
    if (length >= MESSAGE_SIZE) mark_cut(text);
    qn_utf8_sanitize(text);
    memcpy(last_error, text, sizeof text);
}

qn_status qn_fail(qn_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments, "", "");
    va_end(arguments);
    return status;
}

qn_status qn_fail_errno(qn_status status, const char *format, ...) {
    int error = errno; // before anything here can change it
    char buffer[128];
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments, ": ", strerror_r(error, buffer, sizeof buffer));
    va_end(arguments);
    errno = error;
    return status;
}

qn_status qn_fail_prefix(qn_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments, ": ", last_error);
    va_end(arguments);
    return status;
}
