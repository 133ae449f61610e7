// See translation.h. The texts of a segment become rows of units (words or characters); an n-gram's number follows from
// that of its first n - 1 units and its last unit, so that counting every order takes time linear in the text.
#include "metrics/translation.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/unicode.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Numbers 0, 1, ... for pairs (a number, a unit), each new pair the next one.
typedef struct {
    uint64_t *keys;
    int32_t *values; // -1: free
    size_t slots, key_capacity, value_capacity;
    int32_t distinct;
} numbering;

typedef struct {
    size_t texts;     // the output and its references
    size_t *ends;     // [texts] in `units`
    int32_t *units;   // [ends[texts - 1]]
    int32_t *numbers; // [the same] of the n-gram that begins there
    int32_t *counts;  // [texts, distinct n-grams]
    size_t used, end_capacity, unit_capacity, number_capacity, count_capacity;
    numbering grams, letters;
    qn_buffer a, b;
} counter;

static void counter_free(counter *c) {
    free(c->ends);
    free(c->units);
    free(c->numbers);
    free(c->counts);
    free(c->grams.keys);
    free(c->grams.values);
    free(c->letters.keys);
    free(c->letters.values);
    qn_buffer_free(&c->a);
    qn_buffer_free(&c->b);
}

static qn_status clear(numbering *n, size_t most) {
    n->slots = 16;
    while (n->slots < 2 * most) n->slots *= 2;
    QN_TRY(qn_grow((void **)&n->keys, &n->key_capacity, n->slots, sizeof *n->keys));
    QN_TRY(qn_grow((void **)&n->values, &n->value_capacity, n->slots, sizeof *n->values));
    memset(n->values, 0xFF, n->slots * sizeof *n->values);
    n->distinct = 0;
    return QN_OK;
}

static int32_t number_of(numbering *n, int32_t before, int32_t unit) {
    uint64_t key = (uint64_t)(uint32_t)before << 32 | (uint32_t)unit;
    size_t slot = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (n->slots - 1);
    while (n->values[slot] >= 0 && n->keys[slot] != key) slot = (slot + 1) & (n->slots - 1);
    if (n->values[slot] < 0) {
        n->keys[slot] = key;
        n->values[slot] = n->distinct++;
    }
    return n->values[slot];
}

// --- Units

static qn_status add_unit(counter *c, int32_t unit) {
    QN_TRY(qn_grow((void **)&c->units, &c->unit_capacity, c->used + 1, sizeof *c->units));
    c->units[c->used++] = unit;
    return QN_OK;
}

static bool is_space(int32_t code) { // as Python's str.split
    return code >= 0 && (qn_unicode_is_space((uint32_t)code) || (code >= 0x1C && code <= 0x1F));
}

static qn_status add_characters(counter *c, const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        int32_t code;
        i += qn_utf8_next(text + i, size - i, &code);
        if (!is_space(code)) QN_TRY(add_unit(c, code < 0 ? 0xFFFD : code));
    }
    return QN_OK;
}

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}
static bool is_stop(unsigned char c) {
    return c == '.' || c == ',';
}
// ASCII other than letters, digits, controls and . , - ' is a word of its own.
static bool stands_alone(unsigned char c) {
    return c >= ' ' && c < 0x7F && !is_digit(c) && !((c | 32) >= 'a' && (c | 32) <= 'z') && !strchr(".,-'", c);
}

static void replace_all(const char *from, const char *to, const qn_buffer *in, qn_buffer *out) {
    size_t length = strlen(from);
    qn_buffer_clear(out);
    for (size_t i = 0; i < in->size;)
        if (i + length <= in->size && memcmp(in->data + i, from, length) == 0) {
            qn_buffer_text(out, to);
            i += length;
        } else
            qn_buffer_char(out, in->data[i++]);
}

// Whether a pair of neighbours is cut, and where: bit 0 before the first, bit 1 between them, bit 2 after the second.
static int cut_pair(int rule, unsigned char first, unsigned char second) {
    if (rule == 0) return !is_digit(first) && is_stop(second) ? 2 | 4 : 0;
    if (rule == 1) return is_stop(first) && !is_digit(second) ? 1 | 2 : 0;
    return is_digit(first) && second == '-' ? 2 | 4 : 0;
}

static void apply_rule(int rule, const qn_buffer *in, qn_buffer *out) {
    qn_buffer_clear(out);
    for (size_t i = 0; i < in->size; i++) {
        int cut = i + 1 < in->size ? cut_pair(rule, (unsigned char)in->data[i], (unsigned char)in->data[i + 1]) : 0;
        if (cut & 1) qn_buffer_char(out, ' ');
        qn_buffer_char(out, in->data[i]);
        if (!cut) continue;
        qn_buffer_char(out, ' ');
        qn_buffer_char(out, in->data[++i]);
        if (cut & 4) qn_buffer_char(out, ' ');
    }
}

// Splits as mteval-v13a: its rules one after the other, each from left to right over what the one before left, matches
// not overlapping. Bytes of characters beyond ASCII are "no digit", which is all that they are asked for. The result,
// with white space between words, is in c->a.
static void split_words(counter *c, const char *text, size_t size) {
    static const char *const replaced[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                                              {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};
    qn_buffer *in = &c->a, *out = &c->b, *swap;
    while (size > 0 && strchr(" \t\n\r\v\f", text[size - 1]))
        size--; // so that "-" and the line's end are no hyphenation
    qn_buffer_clear(in);
    qn_buffer_append(in, text, size);
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        replace_all(replaced[i][0], replaced[i][1], in, out);
        swap = in, in = out, out = swap;
    }
    qn_buffer_clear(out);
    qn_buffer_char(out, ' ');
    for (size_t i = 0; i < in->size; i++) {
        bool alone = stands_alone((unsigned char)in->data[i]);
        if (alone) qn_buffer_char(out, ' ');
        qn_buffer_char(out, in->data[i]);
        if (alone) qn_buffer_char(out, ' ');
    }
    qn_buffer_char(out, ' ');
    for (int rule = 0; rule < 3; rule++) {
        swap = in, in = out, out = swap;
        apply_rule(rule, in, out);
    }
    if (out != &c->a) {
        qn_buffer kept = c->a;
        c->a = c->b;
        c->b = kept;
    }
}

// A word's unit is the number of its last letter in a tree of all words' letters.
static qn_status add_words(counter *c, const char *text, size_t size) {
    split_words(c, text, size);
    QN_TRY(qn_buffer_status(&c->a));
    int32_t word = -1;
    for (size_t i = 0; i < c->a.size;) {
        int32_t code;
        size_t length = qn_utf8_next(c->a.data + i, c->a.size - i, &code);
        if (!is_space(code))
            word = number_of(&c->letters, word, code);
        else if (word >= 0) {
            QN_TRY(add_unit(c, word));
            word = -1;
        }
        i += length;
    }
    return QN_OK; // the last rule leaves white space at the end
}

// --- Counting

static size_t begin_of(const counter *c, size_t text) {
    return text ? c->ends[text - 1] : 0;
}
static size_t length_of(const counter *c, size_t text) {
    return c->ends[text] - begin_of(c, text);
}
static int64_t grams_of(const counter *c, size_t text, size_t order) {
    size_t length = length_of(c, text);
    return length < order ? 0 : (int64_t)(length - order + 1);
}

// Numbers the n-grams of an order, whose predecessors' numbers are there unless it is 1, and counts them by text.
static qn_status count_order(counter *c, size_t order) {
    QN_TRY(clear(&c->grams, c->used));
    QN_TRY(qn_grow((void **)&c->numbers, &c->number_capacity, c->used + 1, sizeof *c->numbers));
    for (size_t t = 0; t < c->texts; t++)
        for (size_t i = begin_of(c, t); i + order <= c->ends[t]; i++)
            c->numbers[i] = number_of(&c->grams, order == 1 ? 0 : c->numbers[i], c->units[i + order - 1]);
    size_t distinct = (size_t)c->grams.distinct;
    QN_TRY(qn_grow((void **)&c->counts, &c->count_capacity, c->texts * distinct + 1, sizeof *c->counts));
    memset(c->counts, 0, c->texts * distinct * sizeof *c->counts);
    for (size_t t = 0; t < c->texts; t++)
        for (size_t i = begin_of(c, t); i + order <= c->ends[t]; i++) c->counts[t * distinct + (size_t)c->numbers[i]]++;
    return QN_OK;
}

// What the output shares with the references [first, last), where an n-gram counts as often as in the one that has it
// most.
static int64_t matches_of(const counter *c, size_t first, size_t last) {
    size_t distinct = (size_t)c->grams.distinct;
    int64_t matches = 0;
    for (size_t g = 0; g < distinct; g++) {
        int32_t most = 0, own = c->counts[g];
        for (size_t t = first; t < last && most < own; t++)
            if (c->counts[t * distinct + g] > most) most = c->counts[t * distinct + g];
        matches += own < most ? own : most;
    }
    return matches;
}

static qn_status add_bleu(counter *c, qn_translation *sums) {
    size_t own = length_of(c, 0), closest = length_of(c, 1);
    for (size_t t = 2; t < c->texts; t++) { // of two as close, the shorter
        size_t length = length_of(c, t), gap = length > own ? length - own : own - length,
               least = closest > own ? closest - own : own - closest;
        if (gap < least || (gap == least && length < closest)) closest = length;
    }
    sums->output_words += (int64_t)own;
    sums->reference_words += (int64_t)closest;
    for (size_t order = 1; order <= QN_BLEU_ORDERS; order++) {
        QN_TRY(count_order(c, order));
        sums->matches[order - 1] += matches_of(c, 1, c->texts);
        sums->totals[order - 1] += grams_of(c, 0, order);
    }
    return QN_OK;
}

typedef struct {
    int64_t output[QN_CHRF_ORDERS], reference[QN_CHRF_ORDERS], match[QN_CHRF_ORDERS];
} chrf_counts;

// F = (1 + b^2) P R / (b^2 P + R), b = 2, P and R the means over the orders that both sides have
static double chrf_of(const chrf_counts *s) {
    double precision = 0, recall = 0, factor = 4;
    int orders = 0;
    for (int k = 0; k < QN_CHRF_ORDERS; k++) {
        if (s->output[k] <= 0 || s->reference[k] <= 0) continue;
        precision += (double)s->match[k] / (double)s->output[k];
        recall += (double)s->match[k] / (double)s->reference[k];
        orders++;
    }
    if (orders == 0 || precision + recall <= 0) return 0;
    precision /= orders;
    recall /= orders;
    return 100 * (1 + factor) * precision * recall / (factor * precision + recall);
}

// The reference that the output is closest to counts.
static qn_status add_chrf(counter *c, qn_translation *sums) {
    chrf_counts *each = qn_calloc(c->texts, sizeof *each);
    if (!each) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    for (size_t order = 1; status == QN_OK && order <= QN_CHRF_ORDERS; order++) {
        status = count_order(c, order);
        for (size_t t = 1; status == QN_OK && t < c->texts; t++) {
            each[t].reference[order - 1] = grams_of(c, t, order);
            each[t].output[order - 1] = each[t].reference[order - 1] ? grams_of(c, 0, order) : 0;
            each[t].match[order - 1] = matches_of(c, t, t + 1);
        }
    }
    size_t best = 1;
    for (size_t t = 2; status == QN_OK && t < c->texts; t++)
        if (chrf_of(&each[t]) > chrf_of(&each[best])) best = t;
    for (int k = 0; status == QN_OK && k < QN_CHRF_ORDERS; k++) {
        sums->output_characters[k] += each[best].output[k];
        sums->reference_characters[k] += each[best].reference[k];
        sums->character_matches[k] += each[best].match[k];
    }
    free(each);
    return status;
}

static qn_status add_segment(counter *c, qn_translation *sums, const char *const *texts, const size_t *sizes) {
    size_t letters = 0;
    for (size_t t = 0; t < c->texts; t++) letters += sizes[t];
    QN_TRY(qn_grow((void **)&c->ends, &c->end_capacity, c->texts, sizeof *c->ends));
    QN_TRY(clear(&c->letters, letters));
    for (size_t t = 0; t < c->texts; t++) {
        QN_TRY(add_words(c, texts[t], sizes[t]));
        c->ends[t] = c->used;
    }
    QN_TRY(add_bleu(c, sums));
    c->used = 0;
    for (size_t t = 0; t < c->texts; t++) {
        QN_TRY(add_characters(c, texts[t], sizes[t]));
        c->ends[t] = c->used;
    }
    QN_TRY(add_chrf(c, sums));
    sums->segments++;
    return QN_OK;
}

qn_status qn_translation_add(qn_translation *sums, const char *output, size_t size, const char *const *references,
                             const size_t *sizes, size_t count) {
    if (count == 0) return qn_fail(QN_ERROR_ARGUMENT, "no reference for a translation (expected at least one)");
    counter c = {.texts = count + 1};
    const char **texts = qn_malloc(c.texts, sizeof *texts);
    size_t *all = qn_malloc(c.texts, sizeof *all);
    qn_status status = texts && all ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        texts[0] = output;
        all[0] = size;
        memcpy(texts + 1, references, count * sizeof *texts);
        memcpy(all + 1, sizes, count * sizeof *all);
        qn_translation sum = *sums; // a failure adds nothing
        status = add_segment(&c, &sum, texts, all);
        if (status == QN_OK) *sums = sum;
    }
    counter_free(&c);
    free(texts);
    free(all);
    return status;
}

qn_translation_scores qn_translation_measure(const qn_translation *s) {
    qn_translation_scores r = {0};
    double sum = 0, smooth = 1;
    bool any = false, all = true;
    if (s->output_words >= s->reference_words)
        r.brevity = 1;
    else if (s->output_words > 0)
        r.brevity = exp(1 - (double)s->reference_words / (double)s->output_words);
    r.length_ratio = s->reference_words ? (double)s->output_words / (double)s->reference_words : 0;
    for (int k = 0; k < QN_BLEU_ORDERS; k++) any = any || s->matches[k] > 0;
    for (int k = 0; any && k < QN_BLEU_ORDERS; k++) {
        if (s->totals[k] == 0) {
            all = false;
            break;
        }
        if (s->matches[k] == 0) smooth *= 2; // "exp": an order without a match counts half of the one before it
        r.precisions[k] = 100 * (s->matches[k] ? (double)s->matches[k] : 1 / smooth) / (double)s->totals[k];
        sum += log(r.precisions[k]);
    }
    if (any && all) r.bleu = r.brevity * exp(sum / QN_BLEU_ORDERS);
    chrf_counts c;
    memcpy(c.output, s->output_characters, sizeof c.output);
    memcpy(c.reference, s->reference_characters, sizeof c.reference);
    memcpy(c.match, s->character_matches, sizeof c.match);
    r.chrf = chrf_of(&c);
    return r;
}
