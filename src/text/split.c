// The pre-tokenizers of tokenizer.json: each cuts the pieces that there are into smaller ones.
#include "base/memory.h"
#include "text/steps.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

void qn_work_free(qn_work *work) {
    qn_form_free(&work->form);
    qn_form_free(&work->other);
    free(work->ranges);
    free(work->other_ranges);
    free(work->chars);
    free(work->sorted);
    qn_pattern_room_free(&work->room);
    *work = (qn_work){0};
}

// --- Pieces ---------------------------------------------------------------------------------------------------------

// Collects what becomes of one piece under a behaviour.
typedef struct {
    qn_work *work;
    size_t count, first; // ranges written; those of this piece
    qn_behavior behavior;
    bool last_match, any; // of what was put before, in this piece
} cutter;

static qn_status put_range(cutter *c, size_t start, size_t end) {
    qn_work *w = c->work;
    if (start == end) return QN_OK;
    if (c->count == w->other_capacity)
        QN_TRY(qn_grow((void **)&w->other_ranges, &w->other_capacity, c->count + 1, sizeof *w->other_ranges));
    w->other_ranges[c->count++] = (qn_range){(uint32_t)start, (uint32_t)end};
    return QN_OK;
}

// What is empty is dropped only at the end by the reference, after joining; to join it changes nothing but whether a
// match was before.
static qn_status put_part(cutter *c, size_t start, size_t end, bool match) {
    qn_range *last = c->count > c->first ? &c->work->other_ranges[c->count - 1] : NULL;
    bool join = false;
    switch (c->behavior) {
    case QN_SPLIT_REMOVED:
        if (match) return QN_OK;
        break;
    case QN_SPLIT_ISOLATED:
        break;
    case QN_SPLIT_CONTIGUOUS:
        join = c->any && match == c->last_match;
        break;
    case QN_SPLIT_WITH_PREVIOUS:
        join = match && c->any && !c->last_match;
        break;
    case QN_SPLIT_WITH_NEXT:
        join = c->any && c->last_match && !match;
        break;
    }
    c->any = true;
    c->last_match = match;
    if (join && last) {
        last->end = (uint32_t)end;
        return QN_OK;
    }
    return put_range(c, start, end);
}

static void swap_ranges(qn_work *w, size_t count) {
    qn_range *ranges = w->ranges;
    size_t capacity = w->ranges_capacity;
    w->ranges = w->other_ranges;
    w->ranges_capacity = w->other_capacity;
    w->other_ranges = ranges;
    w->other_capacity = capacity;
    w->range_count = count;
}

// --- Splitting by characters ----------------------------------------------------------------------------------------

// Each character for which `matches` holds is a match by itself.
static qn_status split_characters(qn_work *w, bool (*matches)(uint32_t code), qn_behavior behavior) {
    cutter c = {.work = w, .behavior = behavior};
    const char *text = w->form.text;
    for (size_t i = 0; i < w->range_count; i++) {
        qn_range range = w->ranges[i];
        c.first = c.count;
        c.any = false;
        size_t begin = range.start;
        for (size_t at = range.start; at < range.end;) {
            uint32_t code;
            size_t length = qn_form_next(text + at, &code);
            if (matches(code)) {
                if (at > begin) QN_TRY(put_part(&c, begin, at, false));
                QN_TRY(put_part(&c, at, at + length, true));
                begin = at + length;
            }
            at += length;
        }
        if (begin < range.end) QN_TRY(put_part(&c, begin, range.end, false));
    }
    swap_ranges(w, c.count);
    return QN_OK;
}

enum { CLASS_SPACE, CLASS_WORD, CLASS_OTHER };

static int class_of(uint32_t code) {
    if (code < 0x80 && ((code | 32) >= 'a' && (code | 32) <= 'z')) return CLASS_WORD;
    if (qn_unicode_is_space(code)) return CLASS_SPACE;
    return qn_unicode_is_word(code) ? CLASS_WORD : CLASS_OTHER;
}

// \w+|[^\w\s]+
static qn_status split_words(qn_work *w) {
    cutter c = {.work = w};
    const char *text = w->form.text;
    for (size_t i = 0; i < w->range_count; i++) {
        qn_range range = w->ranges[i];
        size_t begin = range.start;
        int before = CLASS_SPACE;
        for (size_t at = range.start; at < range.end;) {
            uint32_t code;
            size_t length = qn_form_next(text + at, &code);
            int class = class_of(code);
            if (class != before) {
                if (before != CLASS_SPACE) QN_TRY(put_range(&c, begin, at));
                begin = at;
                before = class;
            }
            at += length;
        }
        if (before != CLASS_SPACE) QN_TRY(put_range(&c, begin, range.end));
    }
    swap_ranges(w, c.count);
    return QN_OK;
}

// --- Patterns -------------------------------------------------------------------------------------------------------

// A piece is a text of its own: what lies around it is not looked at.
static qn_status split_pattern(const qn_step *step, qn_work *w) {
    cutter c = {.work = w, .behavior = step->behavior};
    for (size_t i = 0; i < w->range_count; i++) {
        qn_range range = w->ranges[i];
        const char *text = w->form.text + range.start;
        size_t size = range.end - range.start, done = 0, start, end;
        c.first = c.count;
        c.any = false;
        for (size_t search = 0; search <= size;) {
            bool found;
            QN_TRY(qn_pattern_find(step->pattern, &w->room, text, size, search, &found, &start, &end));
            if (!found) break;
            if (start > done) QN_TRY(put_part(&c, range.start + done, range.start + start, step->second));
            QN_TRY(put_part(&c, range.start + start, range.start + end, !step->second));
            done = search = end;
            uint32_t code;
            if (start == end) search += end < size ? qn_form_next(text + end, &code) : 1;
        }
        if (done < size) QN_TRY(put_part(&c, range.start + done, range.end, step->second));
    }
    swap_ranges(w, c.count);
    return QN_OK;
}

enum { GPT2_LETTER, GPT2_NUMBER, GPT2_SPACE, GPT2_OTHER };

static inline int gpt2_class(const char *text, size_t *length) {
    uint32_t code;
    *length = qn_form_next(text, &code);
    if (code < 0x80) {
        if ((code | 32) >= 'a' && (code | 32) <= 'z') return GPT2_LETTER;
        if (code >= '0' && code <= '9') return GPT2_NUMBER;
        return code == ' ' || (code >= 9 && code <= 13) ? GPT2_SPACE : GPT2_OTHER;
    }
    if (qn_unicode_is_letter(code)) return GPT2_LETTER;
    if (qn_unicode_is_number(code)) return GPT2_NUMBER;
    return qn_unicode_is_space(code) ? GPT2_SPACE : GPT2_OTHER;
}

// Bytes of 's, 't, 'm, 'd, 're, 've, 'll at text[at], 0.
static size_t contraction(const char *text, size_t at, size_t end) {
    if (text[at] != '\'' || at + 1 >= end) return 0;
    char a = text[at + 1], b = at + 2 < end ? text[at + 2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ from `at`; returns the end of the match.
static size_t gpt2_match(const char *text, size_t at, size_t end) {
    size_t length = contraction(text, at, end), begin = at;
    if (length > 0) return at + length;
    int class = gpt2_class(text + at, &length);
    if (text[at] == ' ' && at + 1 < end) {
        size_t next;
        int second = gpt2_class(text + at + 1, &next);
        if (second != GPT2_SPACE) {
            class = second;
            length = 1 + next;
        }
    }
    size_t last = begin; // where the last character began
    at += length;
    while (at < end && gpt2_class(text + at, &length) == class) {
        last = at;
        at += length;
    }
    // White space leaves its last character to what comes behind it.
    return class == GPT2_SPACE && at < end && last > begin ? last : at;
}

// --- GPT-4's pattern ------------------------------------------------------------------------------------------------

struct qn_known_pattern {
    const char *expression;
    size_t digits;  // that a number has at most
    bool whole_end; // white space at the end of a text is one piece, whatever newlines are in it
};

#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
#define SIGNS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const struct qn_known_pattern known_patterns[] = {
    {WORDS "{1,3}" SIGNS SPACES, 3, false},
    {WORDS SIGNS SPACES, 1, false},
    {WORDS "{1,3}" SIGNS "\\s+\\z|" SPACES, 3, true},
};

const struct qn_known_pattern *qn_known_pattern_find(const char *expression) {
    for (size_t i = 0; i < sizeof known_patterns / sizeof known_patterns[0]; i++)
        if (strcmp(expression, known_patterns[i].expression) == 0) return &known_patterns[i];
    return NULL;
}

// Bytes of a contraction in any case. The long s, U+017F, is an s in another case.
static size_t caseless_contraction(const char *text, size_t at, size_t end) {
    if (text[at] != '\'' || at + 1 >= end) return 0;
    if (at + 2 < end && memcmp(text + at + 1, "\xC5\xBF", 2) == 0) return 3;
    char a = (char)(text[at + 1] | 32), b = at + 2 < end ? (char)(text[at + 2] | 32) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

static bool is_newline(char c) {
    return c == '\r' || c == '\n';
}

// The end of the characters of one class that follow, at most `most` of them.
static size_t skip_class(const char *text, size_t at, size_t end, int class, size_t most) {
    size_t length;
    for (; at < end && most > 0 && gpt2_class(text + at, &length) == class; most--) at += length;
    return at;
}

// A run of white space: up to its last newline, or without its last character, which the next word takes.
static size_t match_spaces(const struct qn_known_pattern *known, const char *text, size_t at, size_t end) {
    size_t begin = at, last = at, newline = 0, length;
    while (at < end && gpt2_class(text + at, &length) == GPT2_SPACE) {
        last = at;
        at += length;
        if (is_newline(text[last])) newline = at;
    }
    if (at == end && known->whole_end) return at;
    if (newline > 0) return newline;
    return at < end && last > begin ? last : at;
}

static size_t match_known(const struct qn_known_pattern *known, const char *text, size_t at, size_t end) {
    size_t length = caseless_contraction(text, at, end), next;
    if (length > 0) return at + length;
    int class = gpt2_class(text + at, &length);
    if (class == GPT2_LETTER) return skip_class(text, at + length, end, GPT2_LETTER, SIZE_MAX);
    if (class == GPT2_NUMBER) return skip_class(text, at, end, GPT2_NUMBER, known->digits);
    int second = at + length < end ? gpt2_class(text + at + length, &next) : GPT2_NUMBER;
    if (second == GPT2_LETTER && !is_newline(text[at])) // with one sign or space before it
        return skip_class(text, at + length, end, GPT2_LETTER, SIZE_MAX);
    if (class == GPT2_SPACE && (text[at] != ' ' || second != GPT2_OTHER)) return match_spaces(known, text, at, end);
    at = skip_class(text, at + length, end, GPT2_OTHER, SIZE_MAX);
    while (at < end && is_newline(text[at])) at++;
    return at;
}

// Matches lie one behind the other, so that all behaviours that keep them apart are one.
static qn_status split_known(const struct qn_known_pattern *known, qn_work *w) {
    cutter c = {.work = w};
    for (size_t i = 0; i < w->range_count; i++) {
        for (size_t at = w->ranges[i].start; at < w->ranges[i].end;) {
            size_t end = match_known(known, w->form.text, at, w->ranges[i].end);
            QN_TRY(put_range(&c, at, end));
            at = end;
        }
    }
    swap_ranges(w, c.count);
    return QN_OK;
}

static qn_status split_gpt2(qn_work *w) {
    cutter c = {.work = w};
    for (size_t i = 0; i < w->range_count; i++) {
        for (size_t at = w->ranges[i].start; at < w->ranges[i].end;) {
            size_t end = gpt2_match(w->form.text, at, w->ranges[i].end);
            QN_TRY(put_range(&c, at, end));
            at = end;
        }
    }
    swap_ranges(w, c.count);
    return QN_OK;
}

// --- Rewriting pieces -----------------------------------------------------------------------------------------------

static qn_status copy_piece(const qn_form *from, qn_range range, qn_form *to) {
    size_t size = range.end - range.start;
    QN_TRY(qn_form_reserve(to, to->size + size));
    memcpy(to->text + to->size, from->text + range.start, size);
    memcpy(to->aligns + to->size, from->aligns + range.start, size * sizeof *to->aligns);
    to->size += size;
    return QN_OK;
}

static void swap_forms(qn_work *w) {
    qn_form form = w->form;
    w->form = w->other;
    w->other = form;
}

// A space before each piece that does not begin with one.
static qn_status prepend_spaces(qn_work *w) {
    cutter c = {.work = w};
    w->other.size = 0;
    for (size_t i = 0; i < w->range_count; i++) {
        qn_range range = w->ranges[i];
        size_t begin = w->other.size;
        if (w->form.text[range.start] != ' ') QN_TRY(qn_form_append(&w->other, " ", 1, w->form.aligns[range.start]));
        QN_TRY(copy_piece(&w->form, range, &w->other));
        QN_TRY(put_range(&c, begin, w->other.size));
    }
    swap_forms(w);
    swap_ranges(w, c.count);
    return QN_OK;
}

static qn_status to_bytes(qn_work *w) {
    cutter c = {.work = w};
    w->other.size = 0;
    for (size_t i = 0; i < w->range_count; i++) {
        qn_range range = w->ranges[i];
        size_t begin = w->other.size;
        QN_TRY(qn_form_reserve(&w->other, begin + 2 * (size_t)(range.end - range.start)));
        for (size_t at = range.start; at < range.end; at++) {
            uint32_t code = qn_byte_character((uint8_t)w->form.text[at]);
            char bytes[2] = {(char)(code < 0x80 ? code : 0xC0 | code >> 6), (char)(0x80 | (code & 0x3F))};
            QN_TRY(qn_form_append(&w->other, bytes, code < 0x80 ? 1 : 2, w->form.aligns[at]));
        }
        QN_TRY(put_range(&c, begin, w->other.size));
    }
    swap_forms(w);
    swap_ranges(w, c.count);
    return QN_OK;
}

// Spaces become the sign, which is set before the text too, and each sign begins a piece.
static qn_status metaspace(const qn_step *step, qn_work *w) {
    cutter c = {.work = w};
    const char *sign = step->content;
    size_t size = step->content_size;
    qn_form *out = &w->other;
    out->size = 0;
    for (size_t i = 0; i < w->range_count; i++) {
        qn_range range = w->ranges[i];
        const char *text = w->form.text;
        size_t begin = out->size, length = range.end - range.start;
        bool starts = text[range.start] == ' ' || (length >= size && memcmp(text + range.start, sign, size) == 0);
        if (!starts && (step->start == QN_PREPEND_ALWAYS ||
                        (step->start == QN_PREPEND_FIRST && w->form.aligns[range.start].start == 0)))
            QN_TRY(qn_form_append(out, sign, size, w->form.aligns[range.start]));
        size_t cut = begin;
        for (size_t at = range.start; at < range.end;) {
            uint32_t code;
            size_t bytes = qn_form_next(text + at, &code);
            bool space = code == ' ', is_sign = space || (bytes == size && memcmp(text + at, sign, size) == 0);
            if (is_sign && step->flag) {
                QN_TRY(put_range(&c, cut, out->size));
                cut = out->size;
            }
            if (space)
                QN_TRY(qn_form_append(out, sign, size, w->form.aligns[at]));
            else
                QN_TRY(qn_form_append(out, text + at, bytes, w->form.aligns[at]));
            at += bytes;
        }
        QN_TRY(put_range(&c, cut, out->size));
    }
    swap_forms(w);
    swap_ranges(w, c.count);
    return QN_OK;
}

static qn_status apply(const qn_step *step, qn_work *w) {
    switch (step->kind) {
    case QN_STEP_SPLIT_SPACES:
        return split_characters(w, qn_unicode_is_space, QN_SPLIT_REMOVED);
    case QN_STEP_SPLIT_PUNCTUATION:
        return split_characters(w, qn_unicode_is_punctuation, step->behavior);
    case QN_STEP_SPLIT_DIGITS:
        return split_characters(w, qn_unicode_is_numeric, step->flag ? QN_SPLIT_ISOLATED : QN_SPLIT_CONTIGUOUS);
    case QN_STEP_SPLIT_WORDS:
        return split_words(w);
    case QN_STEP_SPLIT_PATTERN:
        if (step->known && step->behavior == QN_SPLIT_ISOLATED) return split_known(step->known, w);
        return split_pattern(step, w);
    case QN_STEP_SPLIT_GPT2:
        if (step->flag) QN_TRY(prepend_spaces(w));
        return step->second ? split_gpt2(w) : QN_OK;
    case QN_STEP_BYTES:
        return to_bytes(w);
    case QN_STEP_METASPACE:
        return metaspace(step, w);
    default:
        return QN_OK;
    }
}

qn_status qn_run_splitters(const qn_steps *steps, qn_work *w) {
    QN_TRY(qn_grow((void **)&w->ranges, &w->ranges_capacity, 1, sizeof *w->ranges));
    w->ranges[0] = (qn_range){0, (uint32_t)w->form.size};
    w->range_count = w->form.size > 0;
    for (size_t i = 0; i < steps->count && w->range_count > 0; i++) QN_TRY(apply(&steps->steps[i], w));
    return QN_OK;
}
