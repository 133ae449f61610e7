// The names of dtypes.
#include "backend/backend.h"
#include <string.h>

static const char *const names[] = {[QN_DTYPE_F32] = "f32", [QN_DTYPE_BF16] = "bf16", [QN_DTYPE_INT8] = "int8",
                                    [QN_DTYPE_Q8] = "q8",   [QN_DTYPE_Q4] = "q4",     [QN_DTYPE_K8] = "k8",
                                    [QN_DTYPE_K4] = "k4"};

const char *qn_compute_name(qn_compute compute) {
    return names[compute];
}

qn_status qn_compute_parse(const char *name, qn_compute *out) {
    *out = QN_DTYPE_F32;
    if (!name || !*name) return QN_OK;
    for (int i = 0; i <= QN_DTYPE_Q4; i++) // no weight of other files becomes one of the others
        if (strcmp(names[i], name) == 0) {
            *out = (qn_compute)i;
            return QN_OK;
        }
    return qn_fail(QN_ERROR_ARGUMENT, "dtype \"%s\" is not known (expected f32, bf16, int8, q8 or q4)", name);
}
