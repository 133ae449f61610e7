// From tokenised lines to sequences with special tokens: line by line, joined to full length, or as pairs of segments.
#include "base/memory.h"
#include "data/corpus_private.h"
#include <stdlib.h>

size_t qn_corpus_body(const qn_corpus_shape *shape) {
    size_t special = (size_t)(shape->begin >= 0) + (size_t)(shape->end >= 0) * (shape->options->next_sentence ? 2 : 1);
    return shape->options->max_length - special;
}

static int32_t open_length(const qn_sequences *out) {
    return (int32_t)((int64_t)out->tokens - (out->count > 0 ? out->offsets[out->count] : 0));
}

// One sequence of lines' tokens [begin, end).
static qn_status add_piece(const qn_corpus_shape *shape, const qn_sequences *lines, int64_t begin, int64_t end,
                           qn_sequences *out) {
    QN_TRY(qn_sequences_put(out, shape->begin));
    QN_TRY(qn_sequences_put_from(out, lines, begin, end));
    QN_TRY(qn_sequences_put(out, shape->end));
    return qn_sequences_close(out, open_length(out));
}

// Each line a sequence, or as many as it fills.
static qn_status build_lines(const qn_corpus_shape *shape, const qn_sequences *lines, qn_sequences *out) {
    int64_t body = (int64_t)qn_corpus_body(shape);
    for (size_t i = 0; i < lines->count; i++) {
        int64_t end = lines->offsets[i + 1];
        for (int64_t at = lines->offsets[i]; at < end; at += body) {
            QN_TRY(add_piece(shape, lines, at, end - at < body ? end : at + body, out));
            if (shape->options->cut) break;
        }
    }
    return QN_OK;
}

// One stream of tokens, [SEP] between documents, cut wherever a sequence is full. Only the last one of a block may be
// shorter.
static qn_status build_packed(const qn_corpus_shape *shape, const qn_sequences *lines, const uint8_t *starts,
                              qn_sequences *out) {
    int64_t body = (int64_t)qn_corpus_body(shape), used = 0;
    for (size_t i = 0; i < lines->count; i++) {
        int64_t at = lines->offsets[i], end = lines->offsets[i + 1];
        // At the beginning of a sequence the special tokens around it separate.
        bool separate = i > 0 && starts[i] && used > 0 && shape->end >= 0;
        while (at < end) {
            if (used > 0 && used + separate >= body) {
                QN_TRY(qn_sequences_put(out, shape->end));
                QN_TRY(qn_sequences_close(out, open_length(out)));
                used = 0;
                separate = false;
            }
            if (used == 0) QN_TRY(qn_sequences_put(out, shape->begin));
            if (separate) {
                QN_TRY(qn_sequences_put(out, shape->end));
                used++;
                separate = false;
            }
            int64_t take = end - at < body - used ? end - at : body - used;
            QN_TRY(qn_sequences_put_from(out, lines, at, at + take));
            at += take;
            used += take;
        }
    }
    if (used == 0) return QN_OK;
    QN_TRY(qn_sequences_put(out, shape->end));
    return qn_sequences_close(out, open_length(out));
}

// --- Pairs of segments, as BERT's create_pretraining_data.py makes them (Devlin et al., 2018): lines of a document are
// gathered up to a target length and split in two; half of the time the second part is replaced by lines of another
// document, and its own lines are used again.

typedef struct {
    const qn_corpus_shape *shape;
    const qn_sequences *lines;
    const size_t *documents; // [count + 1] first line of each
    size_t count;
    qn_rng *rng;
    qn_sequences *out;
} pairs;

// Tokens [begin, end) of neighbouring lines.
typedef struct {
    int64_t begin, end;
} segment;

static segment segment_of(const qn_sequences *lines, size_t first, size_t last) {
    return (segment){lines->offsets[first], lines->offsets[last]};
}

// Takes tokens off the longer one, at its front or back by chance.
static void fit(segment *a, segment *b, int64_t body, qn_rng *rng) {
    // Of a line of megabytes all but a few lengths go at once.
    if (a->end - a->begin > 4 * body) a->end = a->begin + 4 * body;
    if (b->end - b->begin > 4 * body) b->end = b->begin + 4 * body;
    while (a->end - a->begin + b->end - b->begin > body) {
        segment *longer = a->end - a->begin > b->end - b->begin ? a : b;
        if (qn_rng_below(rng, 2) == 0)
            longer->begin++;
        else
            longer->end--;
    }
}

static qn_status add_pair(const pairs *p, segment a, segment b, int64_t body) {
    fit(&a, &b, body, p->rng);
    QN_TRY(qn_sequences_put(p->out, p->shape->begin));
    QN_TRY(qn_sequences_put_from(p->out, p->lines, a.begin, a.end));
    QN_TRY(qn_sequences_put(p->out, p->shape->end));
    int32_t second = open_length(p->out);
    QN_TRY(qn_sequences_put_from(p->out, p->lines, b.begin, b.end));
    QN_TRY(qn_sequences_put(p->out, p->shape->end));
    return qn_sequences_close(p->out, second);
}

// Lines of a document other than `own`, from one chosen by chance on, up to `target` tokens.
static segment other_segment(const pairs *p, size_t own, int64_t target) {
    size_t other = (size_t)qn_rng_below(p->rng, p->count - 1);
    other += other >= own;
    size_t begin = p->documents[other], end = p->documents[other + 1];
    size_t first = begin + (size_t)qn_rng_below(p->rng, end - begin), last = first + 1;
    while (last < end && p->lines->offsets[last] - p->lines->offsets[first] < target) last++;
    return segment_of(p->lines, first, last);
}

static qn_status add_next(int32_t **next, size_t *capacity, size_t at, int32_t value) {
    void *grown = *next;
    qn_status status = qn_grow(&grown, capacity, at + 1, sizeof **next);
    *next = grown;
    if (status == QN_OK) (*next)[at] = value;
    return status;
}

static qn_status build_document(const pairs *p, size_t document, int32_t **next, size_t *capacity) {
    const qn_sequences *lines = p->lines;
    int64_t body = (int64_t)qn_corpus_body(p->shape);
    size_t end = p->documents[document + 1];
    for (size_t first = p->documents[document]; first < end;) {
        // One in ten is shorter, so that short inputs are not foreign to the model.
        int64_t target =
            qn_rng_below(p->rng, 10) == 0 && body > 2 ? 2 + (int64_t)qn_rng_below(p->rng, (uint64_t)body - 1) : body;
        size_t last = first + 1;
        while (last < end && lines->offsets[last] - lines->offsets[first] < target) last++;
        size_t split = last - first > 1 ? first + 1 + (size_t)qn_rng_below(p->rng, last - first - 1) : last;
        segment a = segment_of(lines, first, split), b = segment_of(lines, split, last);
        bool random = p->count > 1 && (split == last || qn_rng_below(p->rng, 2) == 0);
        if (random) {
            b = other_segment(p, document, target - (a.end - a.begin));
            last = split; // the second part's own lines come again
        }
        if (b.end > b.begin) {
            QN_TRY(add_pair(p, a, b, body));
            QN_TRY(add_next(next, capacity, p->out->count - 1, random));
        }
        first = last;
    }
    return QN_OK;
}

static qn_status build_pairs(const qn_corpus_shape *shape, const qn_sequences *lines, const uint8_t *starts,
                             qn_rng *rng, qn_sequences *out, int32_t **next, size_t *capacity) {
    size_t *documents = qn_malloc(lines->count + 1, sizeof *documents), count = 0;
    if (!documents) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < lines->count; i++)
        if (i == 0 || starts[i]) documents[count++] = i;
    documents[count] = lines->count;
    pairs p = {shape, lines, documents, count, rng, out};
    qn_status status = QN_OK;
    for (size_t i = 0; i < count && status == QN_OK; i++) status = build_document(&p, i, next, capacity);
    free(documents);
    return status;
}

qn_status qn_corpus_build(const qn_corpus_shape *shape, const qn_sequences *lines, const uint8_t *starts, qn_rng *rng,
                          qn_sequences *out, int32_t **next_sentence, size_t *next_capacity) {
    qn_sequences_clear(out);
    if (shape->options->next_sentence) return build_pairs(shape, lines, starts, rng, out, next_sentence, next_capacity);
    return shape->options->pack ? build_packed(shape, lines, starts, out) : build_lines(shape, lines, out);
}
