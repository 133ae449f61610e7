// What tags mean: schemes, entities, and the best legal sequence.
#include "base/memory.h"
#include "metrics/tagging.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Schemes

// The prefix of a label as BIOES has it, and its type; 0 where it has none.
static char prefix_of(const char *label, const char **type) {
    static const char from[] = "BIESLU", to[] = "BIESES";
    const char *at = *label ? strchr(from, *label) : NULL;
    *type = "_"; // what seqeval calls the type of a bare B
    if (label[0] == 'O' && label[1] == '\0') return 'O';
    if (!at || (label[1] != '\0' && label[1] != '-')) return 0;
    if (label[1] == '-' && label[2] != '\0') *type = label + 2;
    return to[at - from];
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static int32_t type_index(const qn_tag_scheme *s, const char *name) {
    for (size_t i = 0; i < s->types; i++)
        if (strcmp(s->names[i], name) == 0) return (int32_t)i;
    return -1;
}

static qn_status add_type(qn_tag_scheme *s, const char *name) {
    if (type_index(s, name) >= 0) return QN_OK;
    s->names[s->types] = qn_strdup(name);
    return s->names[s->types] ? (s->types++, QN_OK) : QN_ERROR_MEMORY;
}

static bool has_kind(const qn_tag_scheme *s, char prefix, size_t type) {
    for (size_t i = 0; i < s->labels; i++)
        if (s->kinds[i].prefix == prefix && s->kinds[i].type == (int32_t)type) return true;
    return false;
}

static qn_status fill(qn_tag_scheme *s, const char *const *labels) {
    const char *type;
    for (size_t i = 0; i < s->labels; i++) s->plain |= !prefix_of(labels[i], &type);
    for (size_t i = 0; i < s->labels; i++) {
        char prefix = prefix_of(labels[i], &type);
        if (prefix != 'O') QN_TRY(add_type(s, s->plain ? labels[i] : type));
    }
    qsort(s->names, s->types, sizeof *s->names, by_name);
    s->constrained = !s->plain;
    for (size_t i = 0; i < s->labels; i++) {
        char prefix = prefix_of(labels[i], &type);
        s->kinds[i] = prefix == 'O'
                          ? (qn_tag_kind){'O', -1}
                          : (qn_tag_kind){s->plain ? 'S' : prefix, type_index(s, s->plain ? labels[i] : type)};
        s->ended |= !s->plain && (prefix == 'E' || prefix == 'S');
    }
    // A type that has an I- but no B- begins with I-: IOB1, where every sequence is legal.
    for (size_t k = 0; k < s->types; k++)
        if (has_kind(s, 'I', k) && !has_kind(s, 'B', k)) s->constrained = false;
    return QN_OK;
}

qn_status qn_tag_scheme_init(const char *const *labels, size_t count, qn_tag_scheme *out) {
    *out = (qn_tag_scheme){.labels = count};
    out->kinds = qn_calloc(count, sizeof *out->kinds);
    out->names = qn_calloc(count, sizeof *out->names);
    qn_status status = out->kinds && out->names ? fill(out, labels) : QN_ERROR_MEMORY;
    if (status != QN_OK) qn_tag_scheme_free(out);
    return status;
}

void qn_tag_scheme_free(qn_tag_scheme *s) {
    for (size_t i = 0; i < s->types; i++) free(s->names[i]);
    free(s->names);
    free(s->kinds);
    *s = (qn_tag_scheme){0};
}

// --- Entities

// Whether an entity ends before `next`, and whether one begins with `next`: seqeval's end_of_chunk and start_of_chunk.
static bool ends(qn_tag_kind last, qn_tag_kind next) {
    if (last.prefix == 'O') return false;
    if (last.prefix == 'E' || last.prefix == 'S' || last.type != next.type) return true;
    return next.prefix == 'B' || next.prefix == 'S' || next.prefix == 'O';
}

static bool begins(qn_tag_kind last, qn_tag_kind next) {
    if (next.prefix == 'O') return false;
    if (next.prefix == 'B' || next.prefix == 'S' || last.type != next.type) return true;
    return last.prefix == 'E' || last.prefix == 'S' || last.prefix == 'O';
}

static size_t lenient_entities(const qn_tag_scheme *s, const int32_t *tags, size_t n, qn_entity *out) {
    const qn_tag_kind none = {'O', -1};
    qn_tag_kind last = none;
    size_t count = 0, first = 0;
    for (size_t i = 0; i <= n; i++) {
        qn_tag_kind next = i < n ? s->kinds[tags[i]] : none;
        if (ends(last, next)) out[count++] = (qn_entity){last.type, (uint32_t)first, (uint32_t)i - 1};
        if (begins(last, next)) first = i;
        last = next;
    }
    return count;
}

static size_t strict_entities(const qn_tag_scheme *s, const int32_t *tags, size_t n, qn_entity *out) {
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        qn_tag_kind kind = s->kinds[tags[i]];
        size_t first = i++;
        if (kind.prefix != 'B' && kind.prefix != 'S') continue;
        char last = kind.prefix;
        while (i < n && (last == 'B' || last == 'I') && s->kinds[tags[i]].type == kind.type &&
               (s->kinds[tags[i]].prefix == 'I' || s->kinds[tags[i]].prefix == 'E'))
            last = s->kinds[tags[i++]].prefix;
        if (!s->ended || last == 'E' || last == 'S')
            out[count++] = (qn_entity){kind.type, (uint32_t)first, (uint32_t)i - 1};
    }
    return count;
}

size_t qn_tag_entities(const qn_tag_scheme *s, const int32_t *tags, size_t n, bool strict, qn_entity *out) {
    return strict && !s->plain ? strict_entities(s, tags, n, out) : lenient_entities(s, tags, n, out);
}

// --- The best legal sequence

// An entity is open after B and I; in a scheme without E and S it may also end there.
static bool may_follow(const qn_tag_scheme *s, qn_tag_kind last, qn_tag_kind next) {
    bool open = last.prefix == 'B' || last.prefix == 'I', inside = next.prefix == 'I' || next.prefix == 'E';
    if (inside) return open && last.type == next.type;
    return !open || !s->ended;
}

// Without the log of each word's sum of exponentials, which is the same for all sequences.
static void best_of_each(const float *scores, size_t labels, size_t n, int32_t *tags) {
    for (size_t i = 0; i < n; i++) {
        const float *row = scores + i * labels;
        tags[i] = 0;
        for (size_t k = 1; k < labels; k++)
            if (row[k] > row[tags[i]]) tags[i] = (int32_t)k;
    }
}

// best [2, labels]: the sum of the best sequence that ends with each tag; from [n, labels]: the tag before it there.
static void follow(const qn_tag_scheme *s, const float *scores, size_t n, double *best, int32_t *from, int32_t *tags) {
    const qn_tag_kind none = {'O', -1};
    size_t labels = s->labels;
    for (size_t k = 0; k < labels; k++) best[k] = may_follow(s, none, s->kinds[k]) ? (double)scores[k] : -INFINITY;
    for (size_t i = 1; i < n; i++) {
        const double *last = best + (i - 1) % 2 * labels;
        double *next = best + i % 2 * labels;
        for (size_t k = 0; k < labels; k++) {
            int32_t chosen = 0;
            double most = -INFINITY;
            for (size_t j = 0; j < labels; j++)
                if (last[j] > most && may_follow(s, s->kinds[j], s->kinds[k])) chosen = (int32_t)j, most = last[j];
            next[k] = most + (double)scores[i * labels + k];
            from[i * labels + k] = chosen;
        }
    }
    const double *end = best + (n - 1) % 2 * labels;
    double most = -INFINITY;
    tags[n - 1] = -1;
    for (size_t k = 0; k < labels; k++)
        if (end[k] > most && may_follow(s, s->kinds[k], none)) tags[n - 1] = (int32_t)k, most = end[k];
    if (tags[n - 1] < 0) { // a scheme in which nothing is legal
        best_of_each(scores, labels, n, tags);
        return;
    }
    for (size_t i = n - 1; i > 0; i--) tags[i - 1] = from[i * labels + (size_t)tags[i]];
}

qn_status qn_tag_decode(const qn_tag_scheme *s, const float *scores, size_t n, bool constrained, int32_t *tags) {
    if (!constrained || !s->constrained || n == 0) {
        best_of_each(scores, s->labels, n, tags);
        return QN_OK;
    }
    double *best = qn_malloc(2 * s->labels, sizeof *best);
    int32_t *from = qn_malloc(n, s->labels * sizeof *from);
    if (best && from) follow(s, scores, n, best, from, tags);
    free(best);
    free(from);
    return best && from ? QN_OK : QN_ERROR_MEMORY;
}
