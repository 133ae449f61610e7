// See noise.h.
//
// A text is the tokens between the special ones at its ends. They are looked at from the first to the last, one unit (a
// token, or a word) at a time:
//   with probability q a span begins: of n ~ Poisson(span) units, which one mask replaces; where n is 0 a mask stands
//   in front of the unit, which stays; a unit outside of spans goes with probability `deletion`, or is masked with
//   probability `mask`.
// Of all units a share infill = q span / (q span + 1 - q + q exp(-span)) is then covered, which gives q.
#include "data/noise.h"
#include "base/memory.h"
#include "base/rng.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED_OF_NOISE 0x6E6F6973652E2E2Eu

// Of a token.
enum { SPECIAL = 1, ENDS_SENTENCE = 2 };

static bool ends_sentence(const char *token) {
    static const char *const ends[] = {".", "!", "?", ";", "\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f"};
    static const char *const before[] = {"##", "\xe2\x96\x81",
                                         "\xc4\xa0"}; // marks of pieces: ## of BERT, U+2581, U+0120
    if (!token) return false;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (strncmp(token, before[i], strlen(before[i])) == 0) token += strlen(before[i]);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strcmp(token, ends[i]) == 0) return true;
    return false;
}

bool qn_noise_options_take(qn_noise_options *o, const qn_noise_training *given) {
    const double all[] = {given->permute, given->infill, given->deletion, given->mask};
    double *const shares[] = {&o->permute, &o->infill, &o->deletion, &o->mask};
    bool any = false;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) any = any || all[i] >= 0;
    for (size_t i = 0; any && i < sizeof all / sizeof *all; i++) *shares[i] = all[i] > 0 ? all[i] : 0;
    o->span = given->span >= 0 ? given->span : 3;
    return any;
}

static qn_status check(const qn_noise_options *o, const qn_tokenizer *tokenizer) {
    const struct {
        const char *name;
        double value;
    } shares[] = {{"sentences that change places", o->permute},
                  {"tokens in spans", o->infill},
                  {"deleted tokens", o->deletion},
                  {"masked tokens", o->mask}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (!(shares[i].value >= 0 && shares[i].value <= (i == 0 ? 1 : 0.99)))
            return qn_fail(QN_ERROR_ARGUMENT, "the share of %s is %g (expected 0 to %g)", shares[i].name,
                           shares[i].value, i == 0 ? 1 : 0.99);
    if (!(o->span >= 0 && o->span <= 100))
        return qn_fail(QN_ERROR_ARGUMENT, "spans of %g tokens in the mean (expected 0 to 100)", o->span);
    if (o->infill > 0 && !(o->span > 0))
        return qn_fail(QN_ERROR_ARGUMENT, "spans of no tokens cover none (expected a mean length above 0)");
    if ((o->infill > 0 || o->mask > 0) && qn_tokenizer_special(tokenizer, QN_TOKEN_MASK) < 0)
        return qn_fail(QN_ERROR_ARGUMENT, "the tokenizer has no mask token (expected one for this noise)");
    return QN_OK;
}

qn_status qn_noise_init(qn_noise *n, const qn_tokenizer *tokenizer, const qn_noise_options *options) {
    *n = (qn_noise){.options = *options, .vocabulary = qn_tokenizer_size(tokenizer)};
    QN_TRY(check(options, tokenizer));
    double span = options->span, share = options->infill;
    n->mask_id = qn_tokenizer_special(tokenizer, QN_TOKEN_MASK);
    if (share > 0) n->start = share / (span * (1 - share) + share * (1 - exp(-span)));
    if (n->start > 1)
        return qn_fail(QN_ERROR_ARGUMENT, "spans of %g tokens cannot cover %g of a text (expected longer ones)", span,
                       share);
    n->kind = qn_calloc(n->vocabulary, 1);
    if (!n->kind) return QN_ERROR_MEMORY;
    int32_t unknown = qn_tokenizer_special(tokenizer, QN_TOKEN_UNK);
    for (size_t id = 0; id < n->vocabulary; id++) {
        if (qn_tokenizer_is_special(tokenizer, (int32_t)id) && (int32_t)id != unknown) n->kind[id] = SPECIAL;
        if (ends_sentence(qn_tokenizer_token(tokenizer, (int32_t)id))) n->kind[id] |= ENDS_SENTENCE;
    }
    return QN_OK;
}

void qn_noise_free(qn_noise *n) {
    free(n->kind);
    free(n->order);
    free(n->begin);
    free(n->place);
    free(n->chosen);
    *n = (qn_noise){0};
}

// --- A sequence at work

typedef struct {
    qn_noise *noise;
    const qn_sequences *from;
    int64_t begin;     // of the sequence in them
    int32_t length;    // of it
    int32_t head, end; // its text is the tokens head .. end - 1
    qn_rng rng;
} text;

static int32_t id_at(const text *t, int32_t place) {
    return t->from->ids[t->begin + t->noise->order[place]];
}

static bool is(const text *t, int32_t id, uint8_t kind) {
    return (size_t)id < t->noise->vocabulary && t->noise->kind[id] & kind;
}

static bool continues(const text *t, int32_t place) {
    return qn_sequences_continues(t->from, t->begin + t->noise->order[place]);
}

// Where the unit at `place` ends.
static int32_t unit_end(const text *t, int32_t place) {
    int32_t end = place + 1;
    while (t->noise->options.words && end < t->end && continues(t, end) && !is(t, id_at(t, end), SPECIAL)) end++;
    return end;
}

// --- Sentences

// Where they begin; with special tokens (between documents) as their last ones too. *count of them.
static qn_status find_sentences(text *t, size_t *count) {
    qn_noise *n = t->noise;
    size_t need = (size_t)t->length + 2, grown[2] = {n->sentence_capacity, n->sentence_capacity};
    QN_TRY(qn_grow((void **)&n->begin, &grown[0], need, sizeof *n->begin));
    QN_TRY(qn_grow((void **)&n->place, &grown[1], need, sizeof *n->place));
    QN_TRY(qn_grow((void **)&n->chosen, &n->sentence_capacity, need, sizeof *n->chosen));
    *count = 0;
    for (int32_t i = t->head; i < t->end; i++) {
        bool ended = i > t->head && is(t, id_at(t, i - 1), SPECIAL | ENDS_SENTENCE) && !continues(t, i);
        if (i == t->head || (ended && !is(t, id_at(t, i), SPECIAL | ENDS_SENTENCE))) n->begin[(*count)++] = i;
    }
    n->begin[*count] = t->end;
    return QN_OK;
}

// The first `chosen` of a random order of 0 .. count - 1 into `out`.
static void draw(qn_rng *rng, size_t count, size_t chosen, int32_t *out) {
    for (size_t i = 0; i < count; i++) out[i] = (int32_t)i;
    for (size_t i = 0; i < chosen; i++) {
        size_t j = i + (size_t)qn_rng_below(rng, count - i);
        int32_t item = out[i];
        out[i] = out[j];
        out[j] = item;
    }
}

// As fairseq does it: some sentences are drawn, and change places among themselves.
static qn_status permute(text *t) {
    qn_noise *n = t->noise;
    size_t count;
    QN_TRY(find_sentences(t, &count));
    if (count < 2) return QN_OK;
    size_t moved = (size_t)ceil(n->options.permute * (double)count);
    draw(&t->rng, count, moved, n->chosen);
    for (size_t i = 0; i < count; i++) n->place[i] = (int32_t)i; // the sentence that stands at place i
    for (size_t i = 0; i + 1 < moved; i++) {
        size_t j = i + (size_t)qn_rng_below(&t->rng, moved - i);
        int32_t a = n->chosen[i], b = n->chosen[j], item = n->place[a];
        n->place[a] = n->place[b];
        n->place[b] = item;
    }
    int32_t at = t->head;
    for (size_t i = 0; i < count; i++)
        for (int32_t k = n->begin[n->place[i]]; k < n->begin[n->place[i] + 1]; k++) n->order[at++] = k;
    return QN_OK;
}

// --- Tokens

static void put(qn_batch *b, int32_t id, bool goes_on) {
    size_t at = b->tokens++;
    b->ids[at] = id;
    b->types[at] = 0;
    b->positions[at] = (int32_t)at - b->offsets[b->sequences];
    b->continues[at] = goes_on;
}

static void put_unit(const text *t, qn_batch *b, int32_t place, int32_t end) {
    for (int32_t i = place; i < end; i++) put(b, id_at(t, i), continues(t, i));
}

// k with probability exp(-mean) mean^k / k!, by the sums of these.
static int32_t poisson(qn_rng *rng, double mean) {
    double u = qn_rng_real(rng), p = exp(-mean), sum = p;
    int32_t k = 0;
    for (; u >= sum && k < 1000; sum += p) p *= mean / ++k;
    return k;
}

// Whether there is room for one token more than what is still to come.
static bool has_room(const text *t, const qn_batch *b, int32_t place) {
    return b->tokens - (size_t)b->offsets[b->sequences] + (size_t)(t->length - place) < t->noise->options.max_length;
}

// Writes what is left of the units from `place` on of one span or one unit; where it ends.
static int32_t write_units(text *t, qn_batch *b, int32_t place, bool *left) {
    const qn_noise *n = t->noise;
    const qn_noise_options *o = &n->options;
    if (o->infill > 0 && qn_rng_real(&t->rng) < n->start) {
        int32_t count = poisson(&t->rng, o->span);
        if (count > 0 || has_room(t, b, place)) put(b, n->mask_id, false);
        for (int32_t i = 0; i < count && place < t->end && !is(t, id_at(t, place), SPECIAL); i++)
            place = unit_end(t, place);
        *left = true;
        if (count > 0) return place;
    }
    int32_t end = unit_end(t, place);
    if (o->deletion > 0 && qn_rng_real(&t->rng) < o->deletion) return end;
    if (o->mask > 0 && qn_rng_real(&t->rng) < o->mask)
        for (int32_t i = place; i < end; i++) put(b, n->mask_id, i > place);
    else
        put_unit(t, b, place, end);
    *left = true;
    return end;
}

// Where nothing was left of a text one unit stays.
static void keep_one(text *t, qn_batch *b) {
    uint64_t units = 0, kept;
    for (int32_t i = t->head; i < t->end; i = unit_end(t, i)) units += !is(t, id_at(t, i), SPECIAL);
    if (units == 0) return;
    kept = qn_rng_below(&t->rng, units);
    for (int32_t i = t->head; i < t->end; i = unit_end(t, i)) {
        if (is(t, id_at(t, i), SPECIAL)) continue;
        if (kept-- > 0) continue;
        put_unit(t, b, i, unit_end(t, i));
        return;
    }
}

static qn_status append_noisy(text *t, qn_batch *b, uint32_t example) {
    qn_noise *n = t->noise;
    int32_t length = t->length;
    bool left = false;
    if ((uint64_t)b->tokens + 2 * (uint64_t)length > INT32_MAX)
        return qn_fail(QN_ERROR_ARGUMENT, "a batch of more than %d tokens", INT32_MAX);
    QN_TRY(qn_batch_reserve(b, b->sequences + 1, b->tokens + 2 * (size_t)length)); // a mask before each token at most
    QN_TRY(qn_grow((void **)&n->order, &n->order_capacity, (size_t)length, sizeof *n->order));
    for (int32_t i = 0; i < length; i++) n->order[i] = i;
    t->head = 0, t->end = length;
    while (t->head < length && is(t, id_at(t, t->head), SPECIAL)) t->head++;
    while (t->end > t->head && is(t, id_at(t, t->end - 1), SPECIAL)) t->end--;
    b->offsets[b->sequences] = (int32_t)b->tokens;
    put_unit(t, b, 0, t->head);
    if (n->options.permute > 0) QN_TRY(permute(t));
    for (int32_t i = t->head; i < t->end;) {
        bool stays = is(t, id_at(t, i), SPECIAL);
        if (stays) put_unit(t, b, i, i + 1);
        i = stays ? i + 1 : write_units(t, b, i, &left);
    }
    if (!left) keep_one(t, b);
    put_unit(t, b, t->end, length);
    b->examples[b->sequences] = example;
    b->offsets[++b->sequences] = (int32_t)b->tokens;
    return QN_OK;
}

qn_status qn_batch_fill_noisy(qn_batch *b, qn_noise *noise, const qn_sequences *sequences, const uint32_t *examples,
                              size_t count, uint64_t epoch, uint32_t stream) {
    qn_batch_clear(b);
    b->width = 2;
    for (size_t i = 0; i < count; i++) {
        uint64_t key = (uint64_t)stream << 32 | examples[i];
        text t = {.noise = noise,
                  .from = sequences,
                  .begin = qn_sequences_begin(sequences, examples[i]),
                  .length = qn_sequences_length(sequences, examples[i]),
                  .rng = {noise->options.seed ^ SEED_OF_NOISE, key, epoch << 32}};
        QN_TRY(append_noisy(&t, b, examples[i]));
        QN_TRY(qn_batch_append(b, sequences, examples[i]));
    }
    return QN_OK;
}
