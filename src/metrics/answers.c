// Exact match and F1 of answers.
#include "metrics/answers.h"
#include "base/utf8.h"
#include "text/unicode.h"
#include <math.h>
#include <string.h>

// --- Normalising

// What Python's str.split() splits at.
static bool is_space(uint32_t code) {
    return qn_unicode_is_space(code) || (code >= 0x1C && code <= 0x1F);
}

static bool is_ascii_punctuation(uint32_t code) {
    return code < 0x80 && code > 0x20 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", (int)code) != NULL;
}

// Lower case without punctuation.
static void lower(const char *text, size_t size, qn_buffer *out) {
    for (size_t i = 0; i < size;) {
        int32_t code;
        i += qn_utf8_next(text + i, size - i, &code);
        uint32_t small[2];
        size_t count = qn_unicode_lower(code < 0 ? 0xFFFD : (uint32_t)code, small);
        for (size_t k = 0; k < count; k++) {
            char bytes[4];
            if (!is_ascii_punctuation(small[k])) qn_buffer_append(out, bytes, qn_utf8_put(bytes, (int32_t)small[k]));
        }
    }
}

// The next run of characters that are all of a word, or all not; *word says which.
static size_t next_run(const char *text, size_t size, bool *word) {
    size_t end = 0;
    while (end < size) {
        int32_t code;
        size_t length = qn_utf8_next(text + end, size - end, &code);
        // Python's \\w: letters and numbers, but no marks.
        bool now = code >= 0 && (qn_unicode_is_letter((uint32_t)code) || qn_unicode_is_number((uint32_t)code));
        if (end == 0) *word = now;
        if (now != *word) break;
        end += length;
    }
    return end;
}

static bool is_article(const char *word, size_t size) {
    return (size == 1 && word[0] == 'a') || (size == 2 && memcmp(word, "an", 2) == 0) ||
           (size == 3 && memcmp(word, "the", 3) == 0);
}

qn_status qn_answer_normalize(const char *text, size_t size, qn_buffer *out) {
    qn_buffer plain = {0};
    lower(text, size, &plain);
    size_t begin = out->size;
    bool gap = false; // white space or an article was passed over
    for (size_t i = 0; i < plain.size;) {
        bool word = false;
        size_t run = next_run(plain.data + i, plain.size - i, &word);
        if (word && is_article(plain.data + i, run)) {
            gap = true;
            i += run;
            continue;
        }
        for (size_t end = i + run; i < end;) {
            int32_t code;
            size_t length = qn_utf8_next(plain.data + i, end - i, &code);
            if (code >= 0 && is_space((uint32_t)code)) {
                gap = true;
            } else {
                if (gap && out->size > begin) qn_buffer_char(out, ' ');
                qn_buffer_append(out, plain.data + i, length);
                gap = false;
            }
            i += length;
        }
    }
    qn_status status = qn_buffer_status(&plain);
    qn_buffer_free(&plain);
    return status == QN_OK ? qn_buffer_status(out) : status;
}

// --- Scores

typedef struct {
    const char *text;
    size_t size;
} piece;

static bool next_word(const qn_buffer *b, size_t *at, piece *out) {
    if (*at >= b->size) return false;
    const char *begin = b->data + *at, *space = memchr(begin, ' ', b->size - *at);
    *out = (piece){begin, space ? (size_t)(space - begin) : b->size - *at};
    *at += out->size + 1;
    return true;
}

static size_t count_word(const qn_buffer *b, piece word) {
    size_t count = 0, at = 0;
    for (piece p; next_word(b, &at, &p);) count += p.size == word.size && memcmp(p.text, word.text, p.size) == 0;
    return count;
}

// The F1 of two bags of words; of two empty ones, or one, whether both are empty.
static double bag_f1(const qn_buffer *a, const qn_buffer *b) {
    if (a->size == 0 || b->size == 0) return a->size == b->size;
    size_t left = 0, right = 0, at = 0, common = 0;
    for (piece p; next_word(b, &at, &p);) right++;
    at = 0;
    for (piece p; next_word(a, &at, &p);) {
        // The k-th time that a word occurs counts if the other has it as often.
        size_t before = 0, inner = 0;
        for (piece q; inner < (size_t)(p.text - a->data) && next_word(a, &inner, &q);)
            before += q.size == p.size && memcmp(q.text, p.text, p.size) == 0;
        common += count_word(b, p) > before;
        left++;
    }
    return common ? 2.0 * (double)common / (double)(left + right) : 0;
}

qn_status qn_answer_score(const char *prediction, size_t size, const char *gold, bool *exact, double *f1) {
    qn_buffer ours = {0}, theirs = {0};
    qn_status status = qn_answer_normalize(prediction, size, &ours);
    *exact = false;
    *f1 = 0;
    bool first = true;
    for (const char *g = gold; status == QN_OK && (first || *g != '\0'); g += strlen(g) + 1, first = false) {
        qn_buffer_clear(&theirs);
        status = qn_answer_normalize(g, strlen(g), &theirs);
        *exact |= ours.size == theirs.size && (ours.size == 0 || memcmp(ours.data, theirs.data, ours.size) == 0);
        *f1 = fmax(*f1, bag_f1(&ours, &theirs));
        if (*g == '\0') break;
    }
    qn_buffer_free(&ours);
    qn_buffer_free(&theirs);
    return status;
}

void qn_answers_add(qn_answers *s, bool answerable, bool exact, double f1) {
    s->n++;
    s->exact += exact;
    s->f1 += f1;
    s->answerable += answerable;
    if (answerable)
        s->has_exact += exact, s->has_f1 += f1;
    else
        s->no_exact += exact;
}

qn_answers qn_answers_mean(const qn_answers *s) {
    double n = (double)s->n, has = (double)s->answerable, none = n - has;
    return (qn_answers){.n = s->n,
                        .answerable = s->answerable,
                        .exact = n > 0 ? s->exact / n : NAN,
                        .f1 = n > 0 ? s->f1 / n : NAN,
                        .has_exact = has > 0 ? s->has_exact / has : NAN,
                        .has_f1 = has > 0 ? s->has_f1 / has : NAN,
                        .no_exact = none > 0 ? s->no_exact / none : NAN};
}

size_t qn_answers_scalars(const qn_answers *m, qn_metric out[QN_METRICS_MAX]) {
    const qn_metric all[] = {{"f1", m->f1, false},
                             {"exact_match", m->exact, false},
                             {"has_answer_f1", m->has_f1, false},
                             {"has_answer_exact", m->has_exact, false},
                             {"no_answer_exact", m->no_exact, false}};
    size_t count = m->answerable < m->n ? 5 : 2; // the rest says nothing new
    memcpy(out, all, count * sizeof *all);
    return count;
}

void qn_answers_json(const qn_answers *m, qn_buffer *out) {
    qn_metric scalars[QN_METRICS_MAX];
    size_t count = qn_answers_scalars(m, scalars);
    qn_buffer_printf(out, "{\"task\": \"answer\", \"questions\": %zu, \"answerable\": %zu", m->n, m->answerable);
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(out, ", \"%s\": ", scalars[i].name);
        qn_buffer_json_number(out, scalars[i].value, 9);
    }
    qn_buffer_char(out, '}');
}
