// See sample.h.
#include "infer/sample.h"
#include "base/memory.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_sampling_check(const qn_sampling *s) {
#define CHECK(condition, text)                                                                                         \
    if (!(condition)) return qn_fail(QN_ERROR_ARGUMENT, "%s", text)
    CHECK(s->temperature >= 0 && s->temperature <= 100, "the temperature is out of range (expected 0 to 100)");
    CHECK(s->top_p >= 0 && s->top_p <= 1, "top-p is out of range (expected 0 to 1)");
    CHECK(s->min_p >= 0 && s->min_p <= 1, "min-p is out of range (expected 0 to 1)");
    CHECK(s->repetition_penalty >= 0 && s->repetition_penalty <= 100,
          "the repetition penalty is out of range (expected 0 to 100)");
#undef CHECK
    return QN_OK;
}

void qn_choices_free(qn_choices *c) {
    free(c->choices);
    free(c->seen);
    *c = (qn_choices){0};
}

// A token that stands in the text already, once however often: its logit is divided by the penalty, or multiplied where
// it is negative.
static qn_status penalize(double penalty, float *logits, size_t vocabulary, const int32_t *text, size_t length,
                          qn_choices *memory) {
    size_t words = vocabulary / 64 + 1;
    QN_TRY(qn_grow((void **)&memory->seen, &memory->seen_capacity, words, sizeof *memory->seen));
    memset(memory->seen, 0, words * sizeof *memory->seen);
    for (size_t i = 0; i < length; i++) {
        size_t id = (size_t)text[i];
        if (text[i] < 0 || id >= vocabulary || memory->seen[id / 64] >> id % 64 & 1) continue;
        memory->seen[id / 64] |= UINT64_C(1) << id % 64;
        logits[id] = (float)(logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty);
    }
    return QN_OK;
}

static bool before(qn_choice a, qn_choice b) { // more probable; of equals the smaller id
    return a.value > b.value || (!(a.value < b.value) && a.id < b.id);
}

static int compare(const void *a, const void *b) {
    return before(*(const qn_choice *)a, *(const qn_choice *)b) ? -1 : 1;
}

// Restores a heap whose root is the least of the choices.
static void sink(qn_choice *heap, size_t count, size_t at) {
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (before(heap[least], heap[child])) least = child;
        if (least == at) return;
        qn_choice swap = heap[at];
        heap[at] = heap[least];
        heap[least] = swap;
        at = least;
    }
}

// The `top` largest logits, unsorted.
static void keep_top(const float *logits, size_t vocabulary, size_t top, qn_choices *out) {
    for (size_t i = 0; i < vocabulary; i++) {
        qn_choice c = {(int32_t)i, logits[i]};
        if (out->count < top) {
            out->choices[out->count++] = c;
            if (out->count == top)
                for (size_t k = top / 2 + 1; k-- > 0;) sink(out->choices, top, k);
        } else if (before(c, out->choices[0])) {
            out->choices[0] = c;
            sink(out->choices, top, 0);
        }
    }
}

// p_i = exp((x_i - max) / temperature) / sum
static void softmax(double temperature, qn_choices *c) {
    float top = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < c->count; i++) top = fmaxf(top, c->choices[i].value);
    for (size_t i = 0; i < c->count; i++) {
        double p = exp(((double)c->choices[i].value - top) / temperature);
        c->choices[i].value = (float)p;
        sum += p;
    }
    for (size_t i = 0; i < c->count; i++) c->choices[i].value = (float)(c->choices[i].value / sum);
}

// The most probable ones that together reach p, sorted. Of a large vocabulary only those are sorted that are above a
// bound, which falls until enough of the mass is above it.
static void keep_mass(double p, qn_choices *c) {
    size_t above = 0;
    for (double bound = 0x1p-6; above<c->count; bound = bound> 1e-30 ? bound / 16 : -1) {
        double mass = 0;
        above = 0;
        for (size_t i = 0; i < c->count; i++)
            if (c->choices[i].value >= bound) {
                qn_choice swap = c->choices[above];
                c->choices[above++] = c->choices[i];
                c->choices[i] = swap;
                mass += c->choices[above - 1].value;
            }
        if (above > 0 && mass >= p) break;
    }
    qsort(c->choices, above, sizeof *c->choices, compare);
    double mass = 0;
    size_t kept = 0;
    while (kept < above && (kept == 0 || mass < p)) mass += c->choices[kept++].value;
    c->count = kept;
}

static void rescale(qn_choices *c) {
    double sum = 0;
    for (size_t i = 0; i < c->count; i++) sum += c->choices[i].value;
    for (size_t i = 0; i < c->count; i++) c->choices[i].value = (float)(c->choices[i].value / sum);
}

qn_status qn_choices_of(const qn_sampling *s, float *logits, size_t vocabulary, const int32_t *text, size_t length,
                        qn_choices *out) {
    double penalty = s->repetition_penalty;
    if (penalty > 0 && fabs(penalty - 1) > 0) QN_TRY(penalize(penalty, logits, vocabulary, text, length, out));
    size_t top = s->temperature <= 0 ? 1 : s->top_k > 0 && s->top_k < vocabulary ? s->top_k : vocabulary;
    QN_TRY(qn_grow((void **)&out->choices, &out->capacity, top, sizeof *out->choices));
    out->count = 0;
    keep_top(logits, vocabulary, top, out);
    if (out->count == 0 || !isfinite(out->choices[0].value))
        return qn_fail(QN_ERROR_DIVERGED, "the model's scores of the next token are no numbers");
    softmax(s->temperature > 0 ? s->temperature : 1, out);
    if (s->top_p > 0 && s->top_p < 1)
        keep_mass(s->top_p, out);
    else
        qsort(out->choices, out->count, sizeof *out->choices, compare);
    if (s->min_p > 0) {
        size_t kept = 1;
        while (kept < out->count && out->choices[kept].value >= (float)(s->min_p * out->choices[0].value)) kept++;
        out->count = kept;
    }
    rescale(out);
    return QN_OK;
}

qn_status qn_sample(const qn_sampling *s, float *logits, size_t vocabulary, const int32_t *text, size_t length,
                    uint64_t sequence, uint64_t step, qn_choices *memory, int32_t *token) {
    QN_TRY(qn_choices_of(s, logits, vocabulary, text, length, memory));
    qn_rng rng = {s->seed, sequence, step};
    double drawn = qn_rng_real(&rng), mass = 0;
    size_t i = 0;
    while (i + 1 < memory->count && drawn >= (mass += memory->choices[i].value)) i++;
    *token = memory->choices[i].id;
    return QN_OK;
}
