// warmup: peak * (end of the step) / warmup; then with x from 0 to 1 over the rest:
// linear peak (1 - x), cosine peak (1 + cos(pi x)) / 2, constant peak;
// or, whatever the run's length: inverse_sqrt peak sqrt(warmup / steps so far) (Vaswani et al. 2017, section 5.3)
#include "train/schedule.h"
#include <math.h>
#include <string.h>

qn_status qn_schedule_parse(const char *name, qn_schedule_kind *kind) {
    static const char *const names[] = {"linear", "cosine", "constant", "inverse_sqrt"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            *kind = (qn_schedule_kind)i;
            return QN_OK;
        }
    return qn_fail(QN_ERROR_ARGUMENT, "schedule is \"%s\" (expected linear, cosine, constant or inverse_sqrt)", name);
}

double qn_schedule_rate(const qn_schedule *s, double done, double width) {
    if (done < s->warmup) return s->peak * fmin(1, (done + width) / s->warmup);
    if (s->kind == QN_SCHEDULE_INVERSE_SQRT) return s->peak * sqrt(s->warmup / done);
    double x = fmin(1, fmax(0, (done - s->warmup) / (1 - s->warmup)));
    if (s->kind == QN_SCHEDULE_CONSTANT) return s->peak;
    return s->kind == QN_SCHEDULE_LINEAR ? s->peak * (1 - x) : s->peak * 0.5 * (1 + cos(3.14159265358979323846 * x));
}
