// The learning rate along a run.
#pragma once
#include "base/status.h"

typedef enum {
    QN_SCHEDULE_LINEAR,
    QN_SCHEDULE_COSINE,
    QN_SCHEDULE_CONSTANT,
    QN_SCHEDULE_INVERSE_SQRT // needs a warmup
} qn_schedule_kind;

typedef struct {
    qn_schedule_kind kind;
    double peak;   // learning rate after the warmup
    double warmup; // share of the run, 0 to below 1
} qn_schedule;

qn_status qn_schedule_parse(const char *name, qn_schedule_kind *kind); // "linear", ...
// The rate of an update that begins when the share `done` of the run is over and ends at `done + width`.
double qn_schedule_rate(const qn_schedule *schedule, double done, double width);
