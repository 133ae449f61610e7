#include "tensor/used_rows.h"
#include <stdlib.h>
#include <string.h>

qn_used_rows *qn_used_rows_create(size_t size) {
    qn_used_rows *used = qn_calloc(1, sizeof *used);
    if (!used) return NULL;
    *used = (qn_used_rows){0, size, qn_malloc(size, sizeof *used->rows), qn_malloc(size, sizeof *used->place)};
    if (!used->rows || !used->place) {
        qn_used_rows_free(used);
        return NULL;
    }
    memset(used->place, 0xff, size * sizeof *used->place);
    return used;
}

void qn_used_rows_free(qn_used_rows *used) {
    if (!used) return;
    free(used->rows);
    free(used->place);
    free(used);
}

size_t qn_used_rows_add(qn_used_rows *used, size_t count, const int32_t *ids) {
    size_t before = used->count;
    for (size_t i = 0; i < count; i++) {
        if (used->place[ids[i]] >= 0) continue;
        used->place[ids[i]] = (int32_t)used->count;
        used->rows[used->count++] = ids[i];
    }
    return before;
}

void qn_used_rows_clear(qn_used_rows *used) {
    for (size_t i = 0; i < used->count; i++) used->place[used->rows[i]] = -1;
    used->count = 0;
}
