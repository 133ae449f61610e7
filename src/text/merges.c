// Merging of the most frequent pairs. Each pair knows the words it may stand in; a queue is ordered by counts that may
// have gone down since an entry was made, which is found out when the entry comes up. The bookkeeping is that of
// Hugging Face's trainer, down to the counts that overlapping pairs ("aaa") leave behind, so that vocabularies are
// equal.
#include "text/merges.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

qn_status qn_merge_words_begin(qn_merge_words *w, uint64_t count) {
    QN_TRY(qn_grow((void **)&w->words, &w->words_capacity, w->word_count + 1, sizeof *w->words));
    w->words[w->word_count++] = (struct qn_merge_word){w->symbol_count, 0, count};
    return QN_OK;
}

qn_status qn_merge_words_symbol(qn_merge_words *w, uint32_t symbol) {
    QN_TRY(qn_grow((void **)&w->symbols, &w->symbols_capacity, w->symbol_count + 1, sizeof *w->symbols));
    w->symbols[w->symbol_count++] = symbol;
    w->words[w->word_count - 1].length++;
    return QN_OK;
}

void qn_merge_words_free(qn_merge_words *w) {
    free(w->symbols);
    free(w->words);
    *w = (qn_merge_words){0};
}

// A pair of symbols that has been neighbours somewhere.
typedef struct {
    qn_pair pair;
    int64_t count;
    uint32_t last_word; // the word it was last seen in, + 1, during the present merge
    uint32_t round;     // the merge it was last made in
    uint32_t found;     // words of the present merge that it was made in
    size_t place;       // where they go in `positions`
} pair_info;

typedef struct {
    uint64_t count;
    uint32_t pair;
    uint32_t length; // words
    size_t start;    // of `positions`
} queue_entry;

typedef struct {
    uint32_t pair, word;
} sighting;

typedef struct {
    qn_merge_words *words;
    pair_info *pairs;
    size_t pair_count, pairs_capacity;
    uint32_t *slots; // number of the pair + 1, 0 where free
    size_t slot_mask;
    queue_entry *queue; // a binary heap
    size_t queue_count, queue_capacity;
    uint32_t *positions; // words, for each entry of the queue a part
    size_t position_count, positions_capacity;
    sighting *sightings; // pairs made in the present merge
    size_t sighting_count, sightings_capacity;
    uint32_t *touched; // the pairs among them
    size_t touched_count, touched_capacity;
    uint32_t round;
} merger;

// --- Pairs ----------------------------------------------------------------------------------------------------------

static inline size_t pair_slot(const merger *m, qn_pair pair) {
    uint64_t hash = ((uint64_t)pair.left << 32 | pair.right) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(hash ^ hash >> 29) & m->slot_mask;
    while (m->slots[at] != 0) {
        const qn_pair *known = &m->pairs[m->slots[at] - 1].pair;
        if (known->left == pair.left && known->right == pair.right) break;
        at = (at + 1) & m->slot_mask;
    }
    return at;
}

static qn_status find_pair(merger *m, qn_pair pair, uint32_t *index) {
    if (2 * (m->pair_count + 1) > m->slot_mask + 1) {
        size_t slots = m->slots ? 2 * (m->slot_mask + 1) : 1 << 14;
        uint32_t *fresh = qn_calloc(slots, sizeof *fresh);
        if (!fresh) return QN_ERROR_MEMORY;
        free(m->slots);
        m->slots = fresh;
        m->slot_mask = slots - 1;
        for (size_t i = 0; i < m->pair_count; i++) m->slots[pair_slot(m, m->pairs[i].pair)] = (uint32_t)i + 1;
    }
    size_t at = pair_slot(m, pair);
    if (m->slots[at] == 0) {
        if (m->pair_count >= INT32_MAX)
            return qn_fail(QN_ERROR_UNSUPPORTED, "more than 2^31 different pairs of symbols");
        QN_TRY(qn_grow((void **)&m->pairs, &m->pairs_capacity, m->pair_count + 1, sizeof *m->pairs));
        m->pairs[m->pair_count] = (pair_info){.pair = pair};
        m->slots[at] = (uint32_t)++m->pair_count;
    }
    *index = m->slots[at] - 1;
    return QN_OK;
}

// --- The queue ------------------------------------------------------------------------------------------------------

static bool comes_before(const merger *m, const queue_entry *a, const queue_entry *b) {
    if (a->count != b->count) return a->count > b->count;
    const qn_pair *left = &m->pairs[a->pair].pair, *right = &m->pairs[b->pair].pair;
    if (left->left != right->left) return left->left < right->left;
    if (left->right != right->right) return left->right < right->right;
    return a->start < b->start;
}

static qn_status push(merger *m, queue_entry entry) {
    QN_TRY(qn_grow((void **)&m->queue, &m->queue_capacity, m->queue_count + 1, sizeof *m->queue));
    size_t at = m->queue_count++;
    while (at > 0 && comes_before(m, &entry, &m->queue[(at - 1) / 2])) {
        m->queue[at] = m->queue[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    m->queue[at] = entry;
    return QN_OK;
}

static queue_entry pop(merger *m) {
    queue_entry top = m->queue[0], last = m->queue[--m->queue_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= m->queue_count) break;
        if (child + 1 < m->queue_count && comes_before(m, &m->queue[child + 1], &m->queue[child])) child++;
        if (!comes_before(m, &m->queue[child], &last)) break;
        m->queue[at] = m->queue[child];
        at = child;
    }
    if (m->queue_count > 0) m->queue[at] = last;
    return top;
}

// --- Counting and merging -------------------------------------------------------------------------------------------

// The pair is made in a word: counts it, and notes the word once.
static qn_status see_pair(merger *m, qn_pair pair, uint32_t word) {
    uint32_t index;
    QN_TRY(find_pair(m, pair, &index));
    pair_info *info = &m->pairs[index];
    info->count += (int64_t)m->words->words[word].count;
    if (info->round != m->round) {
        info->round = m->round;
        info->last_word = info->found = 0;
        QN_TRY(qn_grow((void **)&m->touched, &m->touched_capacity, m->touched_count + 1, sizeof *m->touched));
        m->touched[m->touched_count++] = index;
    }
    if (info->last_word == word + 1) return QN_OK;
    info->last_word = word + 1;
    info->found++;
    QN_TRY(qn_grow((void **)&m->sightings, &m->sightings_capacity, m->sighting_count + 1, sizeof *m->sightings));
    m->sightings[m->sighting_count++] = (sighting){index, word};
    return QN_OK;
}

static qn_status lose_pair(merger *m, qn_pair pair, uint32_t word) {
    uint32_t index;
    QN_TRY(find_pair(m, pair, &index));
    m->pairs[index].count -= (int64_t)m->words->words[word].count;
    return QN_OK;
}

// Makes queue entries of what see_pair noted, and begins the next round.
static qn_status queue_sightings(merger *m) {
    QN_TRY(qn_grow((void **)&m->positions, &m->positions_capacity, m->position_count + m->sighting_count,
                   sizeof *m->positions));
    for (size_t i = 0; i < m->touched_count; i++) {
        pair_info *info = &m->pairs[m->touched[i]];
        info->place = m->position_count;
        m->position_count += info->found;
        if (info->count > 0)
            QN_TRY(push(m, (queue_entry){(uint64_t)info->count, m->touched[i], info->found, info->place}));
    }
    for (size_t i = 0; i < m->sighting_count; i++)
        m->positions[m->pairs[m->sightings[i].pair].place++] = m->sightings[i].word;
    m->touched_count = m->sighting_count = 0;
    m->round++;
    return QN_OK;
}

static qn_status count_pairs(merger *m) {
    for (size_t w = 0; w < m->words->word_count; w++) {
        const uint32_t *symbols = m->words->symbols + m->words->words[w].start;
        for (uint32_t i = 1; i < m->words->words[w].length; i++)
            QN_TRY(see_pair(m, (qn_pair){symbols[i - 1], symbols[i]}, (uint32_t)w));
    }
    return queue_sightings(m);
}

static qn_status merge_in_word(merger *m, qn_pair pair, uint32_t symbol, uint32_t word) {
    struct qn_merge_word *w = &m->words->words[word];
    uint32_t *symbols = m->words->symbols + w->start;
    uint32_t out = 0;
    for (uint32_t i = 0; i < w->length; out++) {
        if (symbols[i] != pair.left || i + 1 >= w->length || symbols[i + 1] != pair.right) {
            symbols[out] = symbols[i++];
            continue;
        }
        if (out > 0) {
            QN_TRY(lose_pair(m, (qn_pair){symbols[out - 1], pair.left}, word));
            QN_TRY(see_pair(m, (qn_pair){symbols[out - 1], symbol}, word));
        }
        if (i + 2 < w->length) {
            QN_TRY(lose_pair(m, (qn_pair){pair.right, symbols[i + 2]}, word));
            QN_TRY(see_pair(m, (qn_pair){symbol, symbols[i + 2]}, word));
        }
        symbols[out] = symbol;
        i += 2;
    }
    w->length = out;
    return QN_OK;
}

static qn_status merge_all(merger *m, const qn_merge_options *options) {
    while (m->queue_count > 0) {
        queue_entry top = pop(m);
        int64_t count = m->pairs[top.pair].count;
        if (count < 1) continue;
        if (top.count != (uint64_t)count) {
            top.count = (uint64_t)count;
            QN_TRY(push(m, top));
            continue;
        }
        if (top.count < options->min_frequency) break;
        qn_pair pair = m->pairs[top.pair].pair;
        uint32_t symbol;
        bool stop = false;
        QN_TRY(options->merge(options->user, pair, &symbol, &stop));
        if (stop) break;
        for (uint32_t i = 0; i < top.length; i++) QN_TRY(merge_in_word(m, pair, symbol, m->positions[top.start + i]));
        QN_TRY(queue_sightings(m));
    }
    return QN_OK;
}

qn_status qn_merge_pairs(qn_merge_words *words, const qn_merge_options *options) {
    merger m = {.words = words, .round = 1};
    qn_status status = count_pairs(&m);
    if (status == QN_OK) status = merge_all(&m, options);
    free(m.pairs);
    free(m.slots);
    free(m.queue);
    free(m.positions);
    free(m.sightings);
    free(m.touched);
    return status;
}
