// The order of examples per epoch, and the batches it is cut into.
#include "data/sampler.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/hash.h"
#include <stdlib.h>
#include <string.h>

// Keeps these random numbers apart from others drawn with the same seed.
#define SEED_OF_ORDER 0x6F726465722E2E2Eu
enum { GROUP_BATCHES = 50 }; // as in transformers' LengthGroupedSampler

// One epoch: examples in their order, and where batches begin in it.
typedef struct {
    uint32_t *order;  // [n]
    uint32_t *begins; // [batches] in the order of training
    uint32_t *sizes;  // [batches]
    size_t batches, begin_capacity, size_capacity;
} plan;

struct qn_sampler {
    const qn_sequences *sequences;
    qn_sampler_options options;
    uint64_t epoch;
    plan current, other; // `other` counts the batches of epochs that are not the current one
    uint64_t *keys;      // [n] for sorting by length, as is the next one
    uint32_t *copy;      // [n]
    // Without duplicates: the number of each sequence's text, and the batch that it was last put into.
    uint32_t *text;  // [sequences]
    uint32_t *taken; // [texts] counted from 1
    uint32_t *next;  // [n + 1] the next example that waits, in the order of the epoch; `n` ends the list
};

static size_t count_of(const qn_sampler *s) {
    return s->sequences->count / s->options.width;
}

static size_t length_of(const qn_sampler *s, size_t example) {
    size_t w = s->options.width;
    return (size_t)(s->sequences->offsets[(example + 1) * w] - s->sequences->offsets[example * w]);
}

static void free_plan(plan *p) {
    free(p->order);
    free(p->begins);
    free(p->sizes);
}

void qn_sampler_free(qn_sampler *sampler) {
    if (!sampler) return;
    free_plan(&sampler->current);
    free_plan(&sampler->other);
    free(sampler->keys);
    free(sampler->copy);
    free(sampler->text);
    free(sampler->taken);
    free(sampler->next);
    free(sampler);
}

static void shuffle(uint32_t *items, size_t count, qn_rng *rng) {
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)qn_rng_below(rng, i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

static int compare_keys(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

// Sorts items[0 .. count-1] by length, longest first; equal lengths keep their order.
static void sort_by_length(qn_sampler *s, uint32_t *items, size_t count) {
    for (size_t i = 0; i < count; i++) s->keys[i] = (uint64_t)(UINT32_MAX - (uint32_t)length_of(s, items[i])) << 32 | i;
    qsort(s->keys, count, sizeof *s->keys, compare_keys);
    memcpy(s->copy, items, count * sizeof *items);
    for (size_t i = 0; i < count; i++) items[i] = s->copy[(uint32_t)s->keys[i]];
}

static qn_status add_batch(plan *p, size_t begin, size_t end) {
    void *begins = p->begins, *sizes = p->sizes;
    qn_status status = qn_grow(&begins, &p->begin_capacity, p->batches + 1, sizeof *p->begins);
    p->begins = begins;
    if (status == QN_OK) status = qn_grow(&sizes, &p->size_capacity, p->batches + 1, sizeof *p->sizes);
    p->sizes = sizes;
    if (status != QN_OK) return status;
    p->begins[p->batches] = (uint32_t)begin;
    p->sizes[p->batches++] = (uint32_t)(end - begin);
    return QN_OK;
}

// Cuts order[begin .. end-1] into batches.
static qn_status cut(const qn_sampler *s, plan *p, size_t begin, size_t end) {
    size_t start = begin, tokens = 0;
    for (size_t i = begin; i < end; i++) {
        size_t length = length_of(s, p->order[i]);
        bool full = s->options.batch_size > 0 && i - start == s->options.batch_size;
        bool above = s->options.batch_tokens > 0 && tokens + length > s->options.batch_tokens;
        if (i > start && (full || above)) {
            QN_TRY(add_batch(p, start, i));
            start = i;
            tokens = 0;
        }
        tokens += length;
    }
    return end > start ? add_batch(p, start, end) : QN_OK;
}

// --- Without duplicates

// Numbers the sequences' texts, equal ones alike, by their hash.
static qn_status number_texts(qn_sampler *s) {
    size_t count = s->sequences->count, n = count_of(s), texts = 0;
    uint64_t(*hashes)[2] = qn_malloc(count, sizeof *hashes);
    s->text = qn_malloc(count, sizeof *s->text);
    s->taken = qn_malloc(count, sizeof *s->taken);
    s->next = qn_malloc(n + 1, sizeof *s->next);
    if (!hashes || !s->text || !s->taken || !s->next) {
        free(hashes);
        return QN_ERROR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bytes = (size_t)qn_sequences_length(s->sequences, i) * sizeof *s->sequences->ids;
        hashes[i][0] = bytes ? qn_hash(0, s->sequences->ids + qn_sequences_begin(s->sequences, i), bytes) : 0;
        hashes[i][1] = i;
    }
    qsort(hashes, count, sizeof *hashes, compare_keys);
    for (size_t i = 0; i < count; i++) {
        texts += i > 0 && hashes[i][0] != hashes[i - 1][0];
        s->text[hashes[i][1]] = (uint32_t)texts;
    }
    free(hashes);
    return QN_OK;
}

static bool is_taken(const qn_sampler *s, uint32_t example, uint32_t batch) {
    for (size_t k = 0; k < s->options.width; k++)
        if (s->taken[s->text[example * s->options.width + k]] == batch) return true;
    return false;
}

// Each batch takes the first examples that wait and share no text with it; those passed over are first in the next. As
// NoDuplicatesBatchSampler of sentence-transformers. `order` is written from the left while it is read further right.
static qn_status cut_without_duplicates(qn_sampler *s, plan *p) {
    uint32_t n = (uint32_t)count_of(s), done = 0, first = 0;
    uint32_t *order = s->copy;
    memcpy(order, p->order, n * sizeof *order);
    memset(s->taken, 0, s->sequences->count * sizeof *s->taken);
    for (uint32_t i = 0; i < n; i++) s->next[i] = i + 1;
    for (uint32_t batch = 1; first < n; batch++) {
        uint32_t begin = done, *link = &first;
        size_t tokens = 0;
        while (*link < n) {
            uint32_t example = order[*link];
            size_t length = length_of(s, example);
            if (s->options.batch_size > 0 && done - begin == s->options.batch_size) break;
            if (s->options.batch_tokens > 0 && done > begin && tokens + length > s->options.batch_tokens) break;
            if (is_taken(s, example, batch)) {
                link = &s->next[*link];
                continue;
            }
            for (size_t k = 0; k < s->options.width; k++) s->taken[s->text[example * s->options.width + k]] = batch;
            tokens += length;
            p->order[done++] = example;
            *link = s->next[*link];
        }
        QN_TRY(add_batch(p, begin, done));
    }
    return QN_OK;
}

// Examples in a group of GROUP_BATCHES batches, fewer if the data would not give four groups (as transformers does).
static size_t group_size(const qn_sampler *s) {
    size_t n = count_of(s), batch = s->options.batch_size;
    if (s->options.batch_tokens > 0) {
        double mean = (double)s->sequences->tokens / (double)n;
        size_t fits = mean > 0 ? (size_t)((double)s->options.batch_tokens / mean) : n;
        if (fits < 1) fits = 1;
        if (batch == 0 || fits < batch) batch = fits;
    }
    if (batch > n) batch = n;
    size_t groups = n / (batch * 4);
    if (groups > GROUP_BATCHES) groups = GROUP_BATCHES;
    return batch * (groups > 0 ? groups : 1);
}

static qn_status make_plan(qn_sampler *s, uint64_t epoch, plan *p) {
    size_t n = count_of(s);
    qn_rng rng = {s->options.seed ^ SEED_OF_ORDER, epoch, 0};
    p->batches = 0;
    for (size_t i = 0; i < n; i++) p->order[i] = (uint32_t)i;
    switch (s->options.order) {
    case QN_ORDER_GIVEN:
        return cut(s, p, 0, n);
    case QN_ORDER_SORTED:
        sort_by_length(s, p->order, n);
        return cut(s, p, 0, n);
    case QN_ORDER_SHUFFLED:
        shuffle(p->order, n, &rng);
        return s->options.no_duplicates ? cut_without_duplicates(s, p) : cut(s, p, 0, n);
    case QN_ORDER_GROUPED:
        break;
    }
    shuffle(p->order, n, &rng);
    size_t group = n > 0 ? group_size(s) : 1;
    for (size_t begin = 0; begin < n; begin += group) {
        size_t end = n - begin < group ? n : begin + group;
        sort_by_length(s, p->order + begin, end - begin);
        QN_TRY(cut(s, p, begin, end));
    }
    for (size_t i = p->batches; i > 1; i--) {
        size_t j = (size_t)qn_rng_below(&rng, i);
        uint32_t begin = p->begins[i - 1], size = p->sizes[i - 1];
        p->begins[i - 1] = p->begins[j];
        p->sizes[i - 1] = p->sizes[j];
        p->begins[j] = begin;
        p->sizes[j] = size;
    }
    return QN_OK;
}

static qn_status plan_epoch(qn_sampler *s, uint64_t epoch, plan *p) {
    size_t n = count_of(s);
    bool sorts = s->options.order == QN_ORDER_GROUPED || s->options.order == QN_ORDER_SORTED;
    if (!p->order) p->order = qn_malloc(n, sizeof *p->order);
    if (!p->order) return QN_ERROR_MEMORY;
    if (sorts && !s->keys) s->keys = qn_malloc(n, sizeof *s->keys);
    if (!s->copy) s->copy = qn_malloc(n, sizeof *s->copy);
    if ((sorts && !s->keys) || !s->copy) return QN_ERROR_MEMORY;
    if (s->options.no_duplicates && !s->text) QN_TRY(number_texts(s));
    return make_plan(s, epoch, p);
}

qn_status qn_sampler_create(const qn_sequences *sequences, const qn_sampler_options *options, qn_sampler **out) {
    *out = NULL;
    if (options->batch_size == 0 && options->batch_tokens == 0)
        return qn_fail(QN_ERROR_ARGUMENT,
                       "a batch without a limit (expected a number of examples, of tokens, or both)");
    if (sequences->count >= UINT32_MAX) return qn_fail(QN_ERROR_UNSUPPORTED, "more than 4 billion examples");
    if (options->no_duplicates && options->order != QN_ORDER_SHUFFLED)
        return qn_fail(QN_ERROR_ARGUMENT, "batches without duplicates have a shuffled order (not grouped by length)");
    qn_sampler *s = qn_calloc(1, sizeof *s);
    if (!s) return QN_ERROR_MEMORY;
    s->sequences = sequences;
    s->options = *options;
    if (s->options.width == 0) s->options.width = 1;
    s->epoch = options->first_epoch;
    qn_status status = plan_epoch(s, s->epoch, &s->current);
    if (status != QN_OK) {
        qn_sampler_free(s);
        return status;
    }
    *out = s;
    return QN_OK;
}

static bool same_every_epoch(const qn_sampler *s) {
    return s->options.order == QN_ORDER_GIVEN || s->options.order == QN_ORDER_SORTED;
}

qn_status qn_sampler_set_epoch(qn_sampler *s, uint64_t epoch) {
    if (epoch == s->epoch) return QN_OK;
    if (!same_every_epoch(s)) QN_TRY(plan_epoch(s, epoch, &s->current));
    s->epoch = epoch;
    return QN_OK;
}

size_t qn_sampler_batches(const qn_sampler *s) {
    return s->current.batches;
}

void qn_sampler_batch(const qn_sampler *s, size_t b, const uint32_t **examples, size_t *count) {
    *examples = s->current.order + s->current.begins[b];
    *count = s->current.sizes[b];
}

void qn_sampler_bounds(const qn_sampler *s, size_t *sequences, size_t *tokens) {
    size_t n = count_of(s), longest = 0, shortest = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t length = length_of(s, i);
        if (length > longest) longest = length;
        if (length < shortest) shortest = length;
    }
    *sequences = s->options.batch_size > 0 && s->options.batch_size < n ? s->options.batch_size : n;
    *tokens = s->sequences->tokens;
    size_t budget = s->options.batch_tokens > longest ? s->options.batch_tokens : longest, most;
    if (s->options.batch_tokens > 0) {
        if (budget < *tokens) *tokens = budget;
        if (shortest > 0 && budget / shortest < *sequences) *sequences = budget / shortest;
    }
    if (!__builtin_mul_overflow(*sequences, longest, &most) && most < *tokens) *tokens = most;
    *sequences *= s->options.width;
}

// Whether every epoch has as many batches: the order is the same, or only examples are counted.
static bool same_count(const qn_sampler *s) {
    return same_every_epoch(s) || (s->options.batch_tokens == 0 && !s->options.no_duplicates);
}

qn_status qn_sampler_count(qn_sampler *s, uint64_t epoch, size_t *batches) {
    bool known = epoch == s->epoch || same_count(s);
    if (!known) QN_TRY(plan_epoch(s, epoch, &s->other));
    *batches = known ? s->current.batches : s->other.batches;
    return QN_OK;
}

qn_status qn_sampler_total(qn_sampler *s, uint64_t epochs, uint64_t *batches) {
    *batches = same_count(s) ? epochs * s->current.batches : 0;
    for (uint64_t epoch = 0; epoch < epochs && !same_count(s); epoch++) {
        size_t count;
        QN_TRY(qn_sampler_count(s, epoch, &count));
        *batches += count;
    }
    return QN_OK;
}
