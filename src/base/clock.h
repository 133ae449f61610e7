// Time, memory use and log messages.
#pragma once
#include "base/status.h"

double qn_seconds(void);        // monotonic clock
size_t qn_peak_memory(void);    // peak resident set of the process in bytes
void qn_log(qn_log_level level, const char *format, ...) QN_PRINTF(2, 3); // to the callback set by qn_set_log(); nothing without one
