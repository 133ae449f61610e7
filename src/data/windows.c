// Windows over a long text.
#include "data/windows.h"

enum { USUAL_STRIDE = 128 };

qn_status qn_windows_plan(const qn_encoding *e, int sequence, size_t max_length, size_t stride, qn_windows *out) {
    qn_windows w = {.begin = e->count, .end = e->count};
    for (size_t t = 0; t < e->count; t++) {
        if (e->sequences[t] != sequence) continue;
        if (w.begin == e->count) w.begin = t;
        w.end = t + 1;
    }
    size_t part = w.end - w.begin, around = e->count - part;
    *out = w;
    out->count = 1;
    out->room = out->step = part;
    if (max_length == 0 || e->count <= max_length) return QN_OK;
    if (around >= max_length)
        return qn_fail(QN_ERROR_ARGUMENT,
                       "%s of %zu tokens leaves no room for the text (expected fewer than the limit of %zu)",
                       sequence ? "a question" : "a frame", around, max_length);
    out->room = max_length - around;
    if (stride == 0) stride = out->room / 2 < USUAL_STRIDE ? out->room / 2 : USUAL_STRIDE;
    if (stride >= out->room)
        return qn_fail(QN_ERROR_ARGUMENT, "a stride of %zu tokens (expected fewer than the %zu that a window holds)",
                       stride, out->room);
    out->step = out->room - stride;
    out->count = 1 + (part - out->room + out->step - 1) / out->step;
    return QN_OK;
}

void qn_windows_at(const qn_windows *w, size_t i, size_t *begin, size_t *end) {
    *begin = w->begin + i * w->step;
    *end = *begin + w->room < w->end ? *begin + w->room : w->end;
}

size_t qn_windows_best(const qn_windows *w, size_t token) {
    size_t best = 0, most = 0;
    bool found = false;
    // Windows that begin behind the token do not have it.
    for (size_t i = 0; i < w->count && w->begin + i * w->step <= token; i++) {
        size_t begin, end;
        qn_windows_at(w, i, &begin, &end);
        if (token >= end) continue;
        size_t left = token - begin, right = end - 1 - token, context = left < right ? left : right;
        if (found && context <= most) continue;
        found = true;
        best = i;
        most = context;
    }
    return best;
}

size_t qn_windows_token(const qn_windows *w, size_t i, size_t place) {
    size_t begin, end;
    qn_windows_at(w, i, &begin, &end);
    if (place < w->begin) return place;
    size_t inside = place - w->begin;
    return inside < end - begin ? begin + inside : w->end + (inside - (end - begin));
}

qn_status qn_windows_append(const qn_windows *w, size_t i, const qn_encoding *e, qn_sequences *out) {
    size_t begin, end;
    qn_windows_at(w, i, &begin, &end);
    size_t count = e->count - (w->end - w->begin) + (end - begin), second = count;
    for (size_t place = 0; place < count; place++) {
        size_t token = qn_windows_token(w, i, place);
        if (second == count && e->types[token] != 0) second = place;
        QN_TRY(qn_sequences_put(out, e->ids[token]));
    }
    return qn_sequences_close(out, (int32_t)second);
}
