// The monotonic clock, the process's memory, and log messages to the program's callback.
#include "base/clock.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static qn_log_function log_function;
static void *log_user;

double qn_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

size_t qn_peak_memory(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
    return (size_t)usage.ru_maxrss; // bytes there, kilobytes elsewhere
#else
    return (size_t)usage.ru_maxrss * 1024;
#endif
}

void qn_set_log(qn_log_function function, void *user) {
    log_function = function;
    log_user = user;
}

void qn_log(qn_log_level level, const char *format, ...) {
    if (log_function == NULL) return;
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    qn_utf8_sanitize(message);
    log_function(log_user, level, message);
}
