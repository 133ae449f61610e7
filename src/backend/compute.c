// The names of dtypes.
#include "backend/backend.h"
#include <string.h>

static const struct {
    const char *name;
    qn_compute compute;
} names[] = {
#define NAME(text, dtype) {text, QN_DTYPE_##dtype},
    QN_DTYPE_MAP(NAME)
#undef NAME
    {"k8", QN_DTYPE_K8}, {"k4", QN_DTYPE_K4}, // weights of files have these; no other weight becomes one of them
};

const char *qn_compute_name(qn_compute compute) {
    size_t i = 0;
    while (names[i].compute != compute) i++;
    return names[i].name;
}

qn_status qn_compute_parse(const char *name, qn_compute *out) {
    *out = QN_DTYPE_F32;
    if (!name || !*name) return QN_OK;
    for (size_t i = 0; names[i].compute != QN_DTYPE_K8; i++)
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].compute;
            return QN_OK;
        }
#define LISTED(text, dtype) ", " text
    static const char listed[] = QN_DTYPE_MAP(LISTED);
#undef LISTED
    return qn_fail(QN_ERROR_ARGUMENT, "dtype \"%s\" is not known (expected one of %s)", name, listed + 2);
}
