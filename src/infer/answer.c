// Answers to questions: parts of a text.
#include "infer/answer.h"
#include "base/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_BATCHES = 8, MOST_GUESSES = 100 };

// --- Choosing

// The tokens with the largest values of a column, best first, ties by the later token as a reversed sort has them.
static size_t best_tokens(const qn_answer_window *w, size_t column, size_t most, size_t *out) {
    size_t found = 0;
    for (size_t t = 0; t < w->tokens; t++) {
        float value = w->logits[2 * t + column];
        if (found == most && value < w->logits[2 * out[found - 1] + column]) continue;
        size_t at = found < most ? found++ : found - 1;
        for (; at > 0 && value >= w->logits[2 * out[at - 1] + column]; at--) out[at] = out[at - 1];
        out[at] = t;
    }
    return found;
}

// Keeps the `most` best, an earlier one before an equal later one.
static size_t keep(qn_answer_guess *guesses, size_t count, size_t most, qn_answer_guess g) {
    if (count == most && !(g.logit > guesses[count - 1].logit)) return count;
    size_t at = count < most ? count++ : count - 1;
    for (; at > 0 && g.logit > guesses[at - 1].logit; at--) guesses[at] = guesses[at - 1];
    guesses[at] = g;
    return count;
}

static size_t add_window(const qn_answer_window *w, const qn_answer_limits *limits, qn_answer_guess *guesses,
                         size_t count) {
    size_t starts[MOST_GUESSES], ends[MOST_GUESSES];
    size_t most = limits->best < MOST_GUESSES ? limits->best : MOST_GUESSES;
    size_t n = best_tokens(w, 0, most, starts), m = best_tokens(w, 1, most, ends);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++) {
            size_t s = starts[i], e = ends[k];
            if (w->starts[s] < 0 || w->starts[e] < 0 || e < s || e - s + 1 > limits->longest) continue;
            double logit = (double)w->logits[2 * s] + (double)w->logits[2 * e + 1];
            count = keep(guesses, count, limits->best,
                         (qn_answer_guess){.start = w->starts[s], .end = w->ends[e], .logit = logit});
        }
    return count;
}

size_t qn_answer_guesses(const qn_answer_window *windows, size_t windows_count, const qn_answer_limits *limits,
                         qn_answer_guess *guesses, double *none_logit) {
    size_t count = 0;
    *none_logit = INFINITY;
    for (size_t i = 0; i < windows_count; i++) {
        const qn_answer_window *w = &windows[i];
        if (w->tokens == 0) continue;
        *none_logit = fmin(*none_logit, (double)w->logits[0] + (double)w->logits[1]);
        count = add_window(w, limits, guesses, count);
    }
    if (limits->allow_none && isfinite(*none_logit)) { // one of the guesses, however unlikely
        qn_answer_guess none = {.logit = *none_logit, .none = true};
        size_t all = keep(guesses, count, limits->best, none);
        bool in = false;
        for (size_t i = 0; i < all; i++) in |= guesses[i].none;
        if (!in) guesses[all++] = none;
        count = all;
    }
    double total = 0;
    for (size_t i = 0; i < count; i++) total += exp(guesses[i].logit - guesses[0].logit);
    for (size_t i = 0; i < count; i++) guesses[i].probability = exp(guesses[i].logit - guesses[0].logit) / total;
    return count;
}

// --- Texts

typedef struct {
    size_t index, first, windows; // first of its windows
    qn_usage usage;
} asked_text;

typedef struct {
    qn_model *model;
    const qn_text *texts;
    const qn_answer_options *options;
    qn_answer_receiver receive;
    void *user;
    asked_text *asked; // of a group
    size_t asked_count, asked_capacity;
    int32_t *starts, *ends; // [T] of the group's windows
    float *logits;          // [T, 2]
    qn_answer_window *windows;
    size_t start_capacity, end_capacity, logit_capacity, window_capacity;
} reader;

#define GROW(array, capacity, need) QN_TRY(qn_grow((void **)&(array), &(capacity), (need), sizeof *(array)))

static qn_status plan(reader *r, const qn_text *text, size_t index, qn_windows *windows, qn_usage *usage) {
    qn_model *m = r->model;
    qn_encode_options whole = m->encode;
    whole.max_length = 0;
    QN_TRY(qn_tokenizer_encode(m->tokenizer, text->text, text->size, text->pair ? text->pair : "", text->pair_size,
                               &whole, &m->encoding));
    qn_status status = qn_windows_plan(&m->encoding, 1, m->encode.max_length, r->options->stride, windows);
    if (status != QN_OK) return qn_fail_prefix(status, "question %zu", index + 1);
    return qn_infer_overflow(m, index, windows, usage);
}

static qn_status add_text(reader *r, const qn_text *text, size_t index) {
    qn_model *m = r->model;
    qn_windows windows;
    GROW(r->asked, r->asked_capacity, r->asked_count + 1);
    asked_text *a = &r->asked[r->asked_count++];
    *a = (asked_text){.index = index, .first = m->window.count};
    QN_TRY(plan(r, text, index, &windows, &a->usage));
    a->windows = windows.count;
    for (size_t i = 0; i < windows.count; i++) {
        size_t begin = m->window.tokens;
        QN_TRY(qn_windows_append(&windows, i, &m->encoding, &m->window));
        GROW(r->starts, r->start_capacity, m->window.tokens);
        GROW(r->ends, r->end_capacity, m->window.tokens);
        for (size_t t = begin; t < m->window.tokens; t++) {
            size_t token = qn_windows_token(&windows, i, t - begin);
            bool context = token >= windows.begin && token < windows.end;
            r->starts[t] = context ? m->encoding.starts[token] : -1;
            r->ends[t] = context ? m->encoding.ends[token] : -1;
        }
    }
    return QN_OK;
}

// Tokens may begin or end with white space, which is no part of an answer.
static void trim(const qn_text *text, int32_t *start, int32_t *end) {
    while (*start < *end && strchr(" \t\r\n", text->pair[*start])) ++*start;
    while (*end > *start && strchr(" \t\r\n", text->pair[*end - 1])) --*end;
}

static size_t characters(const char *text, size_t from, size_t to) {
    size_t count = 0;
    for (int32_t code; from < to; count++) from += qn_utf8_next(text + from, to - from, &code);
    return count;
}

static qn_status give(reader *r, const asked_text *a) {
    qn_answer_guess guesses[MOST_GUESSES + 1];
    qn_answer_span spans[MOST_GUESSES + 1];
    const qn_answer_options *o = r->options;
    const qn_text *text = &r->texts[a->index];
    qn_answer_limits limits = {o->candidates, o->max_tokens, o->allow_none};
    double none;
    size_t count = qn_answer_guesses(r->windows + a->first, a->windows, &limits, guesses, &none), given = 0;
    qn_answer_result result = {.spans = spans, .none_margin = NAN};
    for (size_t i = 0; i < count; i++) {
        const qn_answer_guess *g = &guesses[i];
        if (g->none) result.none_score = (float)g->probability;
        if (g->none) continue;
        int32_t start = g->start, end = g->end;
        if (given == 0) result.none_margin = (float)(none - g->logit);
        trim(text, &start, &end);
        spans[given++] = (qn_answer_span){(size_t)start, (size_t)end, characters(text->pair, 0, (size_t)start),
                                          characters(text->pair, 0, (size_t)end), (float)g->probability};
    }
    result.none = given == 0 || (o->allow_none && (double)result.none_margin > o->none_threshold);
    result.count = given < o->top ? given : o->top;
    return r->receive(r->user, a->index, &a->usage, &result);
}

static qn_status run_group(reader *r) {
    const qn_sequences *s = &r->model->window;
    GROW(r->logits, r->logit_capacity, 2 * s->tokens);
    GROW(r->windows, r->window_capacity, s->count);
    QN_TRY(qn_infer_tokens(r->model, s, QN_HEAD_SPAN, NULL, r->logits));
    for (size_t i = 0; i < s->count; i++) {
        size_t first = (size_t)qn_sequences_begin(s, i);
        r->windows[i] = (qn_answer_window){r->logits + 2 * first, r->starts + first, r->ends + first,
                                           (size_t)qn_sequences_length(s, i)};
    }
    for (size_t i = 0; i < r->asked_count; i++) QN_TRY(give(r, &r->asked[i]));
    return QN_OK;
}

static qn_status run(reader *r, size_t count) {
    qn_model *m = r->model;
    for (size_t i = 0; i < count;) {
        qn_sequences_clear(&m->window);
        r->asked_count = 0;
        do QN_TRY(add_text(r, &r->texts[i], i));
        while (++i < count && m->window.tokens < GROUP_BATCHES * m->batch_tokens);
        QN_TRY(run_group(r));
    }
    return QN_OK;
}

qn_answer_options qn_answer_defaults(void) {
    return (qn_answer_options){.top = 1, .candidates = 20, .max_tokens = 30};
}

qn_status qn_answer(qn_model *model, const qn_text *texts, size_t count, const qn_answer_options *options,
                    qn_answer_receiver receive, void *user) {
    qn_answer_options defaults = qn_answer_defaults();
    reader r = {
        .model = model, .texts = texts, .options = options ? options : &defaults, .receive = receive, .user = user};
    if (!(model->network->heads & QN_HEAD_SPAN))
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: this model has no head for answers (expected \"architectures\" [\"%s\"])",
                       model->network->config.source,
                       model->network->config.family->class_span ? model->network->config.family->class_span
                                                                 : "...ForQuestionAnswering");
    if (r.options->candidates < 1 || r.options->candidates > MOST_GUESSES || r.options->max_tokens < 1)
        return qn_fail(QN_ERROR_ARGUMENT, "%zu candidates of %zu tokens (expected 1 to %d, of 1 or more)",
                       r.options->candidates, r.options->max_tokens, MOST_GUESSES);
    qn_status status = run(&r, count);
    free(r.asked);
    free(r.starts);
    free(r.ends);
    free(r.logits);
    free(r.windows);
    return status;
}
