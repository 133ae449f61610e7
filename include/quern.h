/* quern.h - transformer encoders from scratch: build, pre-train, fine-tune, evaluate, serve.
 *
 * The library never exits, aborts or prints. A function that can fail returns a qn_status; qn_last_error() then has one line that names
 * file, place, what is wrong and what was expected. */
#ifndef QUERN_H
#define QUERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QN_API __attribute__((visibility("default")))
#else
#define QN_API
#endif

/* Name, value, meaning. */
#define QN_STATUS_MAP(X)                                                                                               \
    X(OK, 0, "done")                                                                                                   \
    X(ERROR_ARGUMENT, 1, "an argument has a wrong value or shape")                                                     \
    X(ERROR_FORMAT, 2, "a file or text is not what it should be")                                                      \
    X(ERROR_IO, 3, "the operating system refused to read or write")                                                    \
    X(ERROR_MEMORY, 4, "out of memory")                                                                                \
    X(ERROR_UNSUPPORTED, 5, "well-formed, but not something this version or CPU does")                                 \
    X(ERROR_DIVERGED, 6, "training met NaN or spikes again and again")                                                 \
    X(INTERRUPTED, 7, "stopped on request; what was done so far is saved")

typedef enum {
#define QN_STATUS_ENUM(name, value, text) QN_##name = value,
    QN_STATUS_MAP(QN_STATUS_ENUM)
#undef QN_STATUS_ENUM
} qn_status;

/* The message of the last failed call in this thread; "" when none failed. Valid until the next failing call in this thread. */
QN_API const char *qn_last_error(void);

/* The meaning of a status, a static string. */
QN_API const char *qn_status_text(qn_status status);

/* The version, for example "0.1.0". */
QN_API const char *qn_version(void);

typedef enum { QN_LOG_DEBUG, QN_LOG_INFO, QN_LOG_WARNING } qn_log_level;
typedef void (*qn_log_function)(void *user, qn_log_level level, const char *message);

/* Sets the receiver of log messages for the whole process; NULL (the default) drops them. Call before other threads use the library.
 * The message is one line and valid during the call only. */
QN_API void qn_set_log(qn_log_function function, void *user);

#ifdef __cplusplus
}
#endif
#endif
