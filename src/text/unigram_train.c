// Learns a Unigram vocabulary (Kudo: "Subword regularization", 2018) with the steps and constants of SentencePiece and
// Hugging Face's UnigramTrainer: frequent substrings are the seed; expectation maximisation gives each piece its
// probability; the pieces whose loss costs the least likelihood are dropped, a quarter at a time, until few enough are
// left. Words are weighted by how often they occur, for the seed too, where UnigramTrainer counts different words only.
#include "base/memory.h"
#include "text/form.h"
#include "text/substrings.h"
#include "text/train.h"
#include "text/trie.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEED_PIECES = 1000000, LONGEST_PIECE = 16, ROUNDS = 2, CODES = 0x110000, SCALE_BITS = 300 };
static const double shrink = 0.75, headroom = 1.1, rare = 0.5, unknown_penalty = 10;

typedef struct {
    uint32_t start, size; // in the bytes of all words
    double score;         // log probability
    double probability;   // 0: it is gone
    uint64_t frequency;   // of the seed
} piece;

// A piece in a word; id -1 is a character that is none.
typedef struct {
    uint32_t start, end;
    int32_t id;
} edge;

typedef struct {
    double score;
    uint32_t start;
    int32_t id;
} best;

typedef struct {
    qn_learning *learning;
    piece *pieces;
    size_t count, capacity, alive;
    size_t letters; // the first pieces as the seed had them: the alphabet
    qn_trie trie;
    double unknown; // log probability of a character that no piece has
    double *expected;
    // Of one word:
    edge *edges;
    size_t edge_count, edges_capacity;
    double *forward, *backward;
    uint32_t *shifts;
    best *path;
    size_t forward_capacity, backward_capacity, shifts_capacity, path_capacity;
} trainer;

static qn_status add_piece(trainer *t, uint32_t start, uint32_t size, uint64_t frequency) {
    if (t->count == t->capacity) QN_TRY(qn_grow((void **)&t->pieces, &t->capacity, t->count + 1, sizeof *t->pieces));
    t->pieces[t->count++] = (piece){.start = start, .size = size, .frequency = frequency};
    return QN_OK;
}

// --- The seed -------------------------------------------------------------------------------------------------------

static int by_frequency(const void *left, const void *right) {
    const piece *a = left, *b = right;
    if (a->frequency != b->frequency) return a->frequency > b->frequency ? -1 : 1;
    return a->start < b->start ? -1 : a->start > b->start;
}

// The most frequent characters. `known` is set for the code points that became pieces.
static qn_status add_letters(trainer *t, uint64_t *frequencies, uint32_t *places, uint8_t *known) {
    const qn_word_counts *words = &t->learning->words;
    const qn_tokenizer_options *o = t->learning->options;
    uint32_t code;
    for (size_t i = 0; i < words->count; i++) {
        uint32_t begin = (uint32_t)words->words[i].start, end = begin + words->words[i].size;
        for (uint32_t at = begin; at < end;) {
            uint32_t length = (uint32_t)qn_form_next(words->bytes + at, &code);
            if (frequencies[code] == 0) places[code] = at;
            frequencies[code] += words->words[i].count;
            at += length;
        }
    }
    for (code = 0; code < CODES; code++)
        if (frequencies[code] > 0)
            QN_TRY(add_piece(t, places[code],
                             code < 0x80      ? 1
                             : code < 0x800   ? 2
                             : code < 0x10000 ? 3
                                              : 4,
                             frequencies[code]));
    qsort(t->pieces, t->count, sizeof *t->pieces, by_frequency);
    size_t room = o->vocab_size - t->learning->tokens.count;
    if (o->limit_alphabet > 0 && o->limit_alphabet < room) room = o->limit_alphabet;
    uint64_t all = 0, left = 0;
    for (size_t i = 0; i < t->count; i++) {
        all += t->pieces[i].frequency;
        if (i >= room) left += t->pieces[i].frequency;
    }
    qn_learning_warn(t->count < room ? t->count : room, t->count, left, all);
    if (t->count > room) t->count = room;
    for (size_t i = 0; i < t->count; i++) {
        qn_form_next(words->bytes + t->pieces[i].start, &code);
        known[code] = 1;
    }
    t->letters = t->count;
    return QN_OK;
}

static qn_status add_substrings(trainer *t, const uint8_t *known) {
    const qn_word_counts *words = &t->learning->words;
    qn_substrings found;
    QN_TRY(qn_find_substrings(words, LONGEST_PIECE, &found));
    qn_status status = QN_OK;
    for (size_t i = 0; i < found.count && status == QN_OK; i++) {
        const qn_substring *s = &found.items[i];
        bool good = true;
        for (uint32_t at = 0; at < s->size && good;) {
            uint32_t code;
            at += (uint32_t)qn_form_next(words->bytes + s->start + at, &code);
            good = known[code];
        }
        if (good) status = add_piece(t, s->start, s->size, s->frequency * s->characters);
    }
    free(found.items);
    QN_TRY(status);
    qsort(t->pieces + t->letters, t->count - t->letters, sizeof *t->pieces, by_frequency);
    if (t->count > SEED_PIECES && t->letters < SEED_PIECES) t->count = SEED_PIECES;
    return QN_OK;
}

static void set_score(piece *p, double score) {
    p->score = score;
    p->probability = exp(score);
}

static void update_unknown(trainer *t) {
    double lowest = 0;
    for (size_t i = 0; i < t->count; i++)
        if (t->pieces[i].probability > 0 && t->pieces[i].score < lowest) lowest = t->pieces[i].score;
    t->unknown = lowest - unknown_penalty;
}

static qn_status build_trie(trainer *t) {
    qn_trie_free(&t->trie);
    qn_trie_entry *entries = qn_malloc(t->count + 1, sizeof *entries);
    if (!entries) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < t->count; i++)
        entries[i] = (qn_trie_entry){t->learning->words.bytes + t->pieces[i].start, t->pieces[i].size, (int32_t)i};
    qn_status status = qn_trie_build(&t->trie, entries, t->count);
    free(entries);
    return status;
}

static qn_status seed(trainer *t) {
    uint64_t *frequencies = qn_calloc(CODES, sizeof *frequencies);
    uint32_t *places = qn_malloc(CODES, sizeof *places);
    uint8_t *known = qn_calloc(CODES, 1);
    qn_status status = frequencies && places && known ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) status = add_letters(t, frequencies, places, known);
    if (status == QN_OK) status = add_substrings(t, known);
    free(frequencies);
    free(places);
    free(known);
    QN_TRY(status);
    double sum = 0;
    for (size_t i = 0; i < t->count; i++) sum += (double)t->pieces[i].frequency;
    for (size_t i = 0; i < t->count; i++) set_score(&t->pieces[i], log((double)t->pieces[i].frequency) - log(sum));
    t->alive = t->count;
    t->expected = qn_malloc(t->count + 1, sizeof *t->expected);
    if (!t->expected) return QN_ERROR_MEMORY;
    return build_trie(t);
}

// --- A word ---------------------------------------------------------------------------------------------------------

static qn_status reserve_word(trainer *t, size_t size) {
    QN_TRY(qn_grow((void **)&t->forward, &t->forward_capacity, size + 1, sizeof *t->forward));
    QN_TRY(qn_grow((void **)&t->backward, &t->backward_capacity, size + 1, sizeof *t->backward));
    QN_TRY(qn_grow((void **)&t->shifts, &t->shifts_capacity, size + 1, sizeof *t->shifts));
    return qn_grow((void **)&t->path, &t->path_capacity, size + 1, sizeof *t->path);
}

// Appends the pieces that begin at `start`; an edge without a piece where not even the character is one.
static qn_status add_edges(trainer *t, const char *word, uint32_t size, uint32_t start, uint32_t *length) {
    uint32_t code;
    *length = (uint32_t)qn_form_next(word + start, &code);
    bool whole = false;
    int32_t node = QN_TRIE_ROOT;
    for (uint32_t end = start; end < size;) {
        node = qn_trie_step(&t->trie, node, (uint8_t)word[end++]);
        if (node < 0) break;
        int32_t id = t->trie.cells[node].value;
        if (id < 0 || t->pieces[id].probability == 0) continue;
        whole |= end - start == *length;
        if (t->edge_count == t->edges_capacity)
            QN_TRY(qn_grow((void **)&t->edges, &t->edges_capacity, t->edge_count + 1, sizeof *t->edges));
        t->edges[t->edge_count++] = (edge){start, end, id};
    }
    if (whole) return QN_OK;
    QN_TRY(qn_grow((void **)&t->edges, &t->edges_capacity, t->edge_count + 1, sizeof *t->edges));
    t->edges[t->edge_count++] = (edge){start, start + *length, -1};
    return QN_OK;
}

static inline double probability(const trainer *t, const edge *e, double unknown) {
    return e->id < 0 ? unknown : t->pieces[e->id].probability;
}

// Multiplies what later pieces reach, so that products of many probabilities stay numbers. True if it did.
static bool rescale(double *values, uint32_t first, uint32_t size) {
    if (values[first] >= 0x1p-300) return false;
    uint32_t last = size - first < 4 * LONGEST_PIECE ? size : first + 4 * LONGEST_PIECE;
    for (uint32_t i = first; i <= last; i++) values[i] = ldexp(values[i], SCALE_BITS);
    return true;
}

// Adds to expected[] how often each piece stands in the word, over all ways to cut it: forward and backward sums.
static qn_status expect(trainer *t, const char *word, uint32_t size, double times) {
    QN_TRY(reserve_word(t, size));
    double *forward = t->forward, *backward = t->backward, unknown = exp(t->unknown);
    for (uint32_t i = 0; i <= size; i++) forward[i] = backward[i] = 0;
    uint32_t shift = 0, length, back_shift = 0;
    forward[0] = backward[size] = 1;
    t->edge_count = 0;
    for (uint32_t start = 0; start < size; start += length) {
        shift += rescale(forward, start, size);
        t->shifts[start] = shift;
        size_t first = t->edge_count;
        QN_TRY(add_edges(t, word, size, start, &length));
        for (size_t i = first; i < t->edge_count; i++)
            forward[t->edges[i].end] += forward[start] * probability(t, &t->edges[i], unknown);
    }
    for (size_t i = t->edge_count; i-- > 0;) {
        const edge *e = &t->edges[i];
        double part = backward[e->end] * probability(t, e, unknown);
        if (e->id >= 0) {
            double share = forward[e->start] * part / forward[size];
            int scale = (int)(shift - t->shifts[e->start]) - (int)back_shift;
            t->expected[e->id] += times * (scale == 0 ? share : ldexp(share, scale * SCALE_BITS));
        }
        backward[e->start] += part;
        if (i == 0 || t->edges[i - 1].start != e->start) back_shift += rescale(backward, e->start, size);
    }
    return QN_OK;
}

// The best way to cut the word into t->path, read from its end back; `but` is a piece that may not be used, -1.
static qn_status find_best(trainer *t, const char *word, uint32_t size, int32_t but) {
    QN_TRY(reserve_word(t, size));
    for (uint32_t i = 0; i <= size; i++) t->path[i] = (best){-INFINITY, 0, -1};
    t->path[0].score = 0;
    uint32_t length;
    for (uint32_t start = 0; start < size; start += length) {
        t->edge_count = 0;
        QN_TRY(add_edges(t, word, size, start, &length));
        for (size_t i = 0; i < t->edge_count; i++) {
            const edge *e = &t->edges[i];
            if (e->id >= 0 && e->id == but) continue;
            double score = t->path[start].score + (e->id < 0 ? t->unknown : t->pieces[e->id].score);
            if (score > t->path[e->end].score) t->path[e->end] = (best){score, start, e->id};
        }
    }
    return QN_OK;
}

// --- Expectation maximisation ---------------------------------------------------------------------------------------

static double digamma(double x) {
    double result = 0;
    for (; x < 7; x++) result -= 1 / x;
    x -= 0.5;
    double y = 1 / (x * x), y2 = y * y;
    return result + log(x) + y / 24 - 7.0 / 960 * y2 + 31.0 / 8064 * y2 * y - 127.0 / 30720 * y2 * y2;
}

// Pieces that are hardly expected anywhere go; the others get the mean of their log probability under a Dirichlet
// posterior, which is below the log of the mean, the more so the rarer they are.
static void maximise(trainer *t) {
    double sum = 0;
    for (size_t i = 0; i < t->count; i++) sum += t->expected[i] >= rare ? t->expected[i] : 0;
    double log_sum = digamma(sum);
    t->alive = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->pieces[i].probability == 0) continue;
        if (t->expected[i] >= rare) {
            set_score(&t->pieces[i], digamma(t->expected[i]) - log_sum);
            t->alive++;
        } else {
            t->pieces[i].probability = 0;
        }
    }
    update_unknown(t);
}

static qn_status iterate(trainer *t) {
    const qn_word_counts *words = &t->learning->words;
    memset(t->expected, 0, t->count * sizeof *t->expected);
    for (size_t i = 0; i < words->count; i++)
        QN_TRY(expect(t, words->bytes + words->words[i].start, words->words[i].size, (double)words->words[i].count));
    maximise(t);
    return QN_OK;
}

// --- Pruning --------------------------------------------------------------------------------------------------------

typedef struct {
    uint32_t id;
    double loss;
} candidate;

static int by_loss(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->loss != b->loss) return a->loss > b->loss ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

// How often each piece stands in the best way to cut each word, into expected[]; their sum.
static qn_status count_best(trainer *t, double *sum, double *all_words) {
    const qn_word_counts *words = &t->learning->words;
    memset(t->expected, 0, t->count * sizeof *t->expected);
    *sum = *all_words = 0;
    for (size_t i = 0; i < words->count; i++) {
        double times = (double)words->words[i].count;
        QN_TRY(find_best(t, words->bytes + words->words[i].start, words->words[i].size, -1));
        *all_words += times;
        for (uint32_t end = words->words[i].size; end > 0; end = t->path[end].start) {
            if (t->path[end].id < 0) continue;
            t->expected[t->path[end].id] += times;
            *sum += times;
        }
    }
    return QN_OK;
}

typedef enum { KEEP, DROP, WEIGH } verdict;

// What becomes of a piece: weighed by its loss where other pieces could take its places.
static qn_status judge(trainer *t, size_t id, double sum, double all_words, verdict *what, double *loss) {
    const piece *p = &t->pieces[id];
    double frequency = t->expected[id];
    QN_TRY(find_best(t, t->learning->words.bytes + p->start, p->size, (int32_t)id));
    const best *path = t->path;
    bool others = path[p->size].score > -INFINITY;
    for (uint32_t end = p->size; end > 0 && others; end = path[end].start) others = path[end].id >= 0;
    bool wins = !others || p->score >= path[p->size].score;
    *what = frequency == 0 && !wins ? DROP : others && wins ? WEIGH : KEEP;
    if (*what != WEIGH) return QN_OK;
    if (frequency == 0) {
        *what = DROP;
        return QN_OK;
    }
    size_t parts = 0;
    for (uint32_t end = p->size; end > 0; end = path[end].start) parts++;
    double log_sum = log(sum + frequency * (double)(parts - 1)), replaced = 0;
    for (uint32_t end = p->size; end > 0; end = path[end].start)
        replaced += log(t->expected[path[end].id] + frequency) - log_sum;
    *loss = frequency / all_words * (log(frequency) - log(sum) - replaced);
    return QN_OK;
}

// Drops the pieces that cost the least, down to three quarters, but to no fewer than `wanted`.
static qn_status prune(trainer *t, size_t wanted, piece *kept, candidate *candidates) {
    size_t count = 0, kept_count = 0, limit = (size_t)((double)t->alive * shrink);
    double sum, all_words;
    if (limit < wanted) limit = wanted;
    QN_TRY(count_best(t, &sum, &all_words));
    for (size_t i = 0; i < t->count; i++) {
        verdict what;
        candidate c = {(uint32_t)i, 0};
        if (t->pieces[i].probability == 0) continue;
        QN_TRY(judge(t, i, sum, all_words, &what, &c.loss));
        if (what == KEEP) kept[kept_count++] = t->pieces[i];
        if (what == WEIGH) candidates[count++] = c;
    }
    qsort(candidates, count, sizeof *candidates, by_loss);
    for (size_t i = 0; i < count && kept_count < limit; i++) kept[kept_count++] = t->pieces[candidates[i].id];
    memcpy(t->pieces, kept, kept_count * sizeof *kept);
    t->count = t->alive = kept_count;
    update_unknown(t);
    return build_trie(t);
}

static qn_status improve(trainer *t) {
    const qn_tokenizer_options *o = t->learning->options;
    size_t wanted = (size_t)((double)o->vocab_size * headroom);
    piece *kept = qn_malloc(t->count + 1, sizeof *kept);
    candidate *candidates = qn_malloc(t->count + 1, sizeof *candidates);
    qn_status status = kept && candidates ? QN_OK : QN_ERROR_MEMORY;
    update_unknown(t);
    while (status == QN_OK) {
        for (int i = 0; i < ROUNDS && status == QN_OK; i++) status = iterate(t);
        if (status == QN_OK && !qn_learning_report(o, "prune", t->alive, wanted)) status = QN_INTERRUPTED;
        size_t before = t->alive;
        if (status != QN_OK || before <= wanted) break;
        status = prune(t, wanted, kept, candidates);
        if (t->alive == before) break; // nothing can be spared
    }
    free(kept);
    free(candidates);
    return status;
}

// --- The vocabulary -------------------------------------------------------------------------------------------------

typedef struct {
    const char *text;
    uint32_t size;
    double score;
} scored;

static int by_score(const void *left, const void *right) {
    const scored *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
    return order != 0 ? order : a->size < b->size ? -1 : a->size > b->size;
}

// The alphabet, with scores at the lower end for characters that are pieces no more, then the pieces that cost most.
static size_t choose(const trainer *t, const piece *letters, scored *out) {
    const char *bytes = t->learning->words.bytes;
    size_t count = 0, room = t->learning->options->vocab_size - t->learning->tokens.count;
    double lowest = t->unknown + unknown_penalty;
    for (size_t i = 0; i < t->letters; i++) {
        int32_t node = qn_trie_walk(&t->trie, QN_TRIE_ROOT, bytes + letters[i].start, letters[i].size);
        int32_t id = node < 0 ? -1 : t->trie.cells[node].value;
        bool there = id >= 0 && t->pieces[id].probability > 0;
        out[count++] = (scored){bytes + letters[i].start, letters[i].size, there ? t->pieces[id].score : lowest};
    }
    for (size_t i = 0; i < t->count && count < room; i++) {
        uint32_t code;
        const piece *p = &t->pieces[i];
        if (p->probability == 0 || qn_form_next(bytes + p->start, &code) == p->size) continue;
        out[count++] = (scored){bytes + p->start, p->size, p->score};
    }
    qsort(out, count, sizeof *out, by_score);
    return count;
}

static void put_piece(const char *text, size_t size, double score, qn_buffer *out) {
    qn_buffer_char(out, '[');
    qn_buffer_json_string(out, text, size);
    qn_buffer_text(out, ", ");
    qn_buffer_json_number(out, score, 17);
    qn_buffer_char(out, ']');
}

static qn_status put_model(qn_learning *l, const scored *pieces, size_t count) {
    const char *unknown = l->options->special[QN_TOKEN_UNK];
    size_t specials = l->tokens.count;
    int32_t id = -1;
    if (unknown && *unknown) QN_TRY(qn_learning_token(l, unknown, strlen(unknown), "", 0, &id));
    qn_buffer_text(&l->model, "{\"type\": \"Unigram\", \"unk_id\": ");
    qn_buffer_printf(&l->model, id < 0 ? "null" : "%d", (int)id);
    qn_buffer_text(&l->model, ", \"byte_fallback\": false, \"vocab\": [\n");
    for (size_t i = 0; i < specials; i++) {
        size_t size;
        const char *text = qn_learning_token_text(l, i, &size);
        if (i > 0) qn_buffer_text(&l->model, ",\n");
        put_piece(text, size, 0, &l->model);
    }
    for (size_t i = 0; i < count; i++) {
        size_t before = l->tokens.count;
        QN_TRY(qn_learning_token(l, pieces[i].text, pieces[i].size, "", 0, &id));
        if (l->tokens.count == before) continue; // a special token's string
        if (before > 0) qn_buffer_text(&l->model, ",\n");
        put_piece(pieces[i].text, pieces[i].size, pieces[i].score, &l->model);
    }
    qn_buffer_text(&l->model, "]}");
    return qn_buffer_status(&l->model);
}

static qn_status learn(trainer *t) {
    QN_TRY(seed(t));
    piece *letters = qn_malloc(t->letters + 1, sizeof *letters);
    scored *chosen = qn_malloc(t->count + t->letters + 1, sizeof *chosen);
    qn_status status = letters && chosen ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        memcpy(letters, t->pieces, t->letters * sizeof *letters);
        status = improve(t);
    }
    if (status == QN_OK) status = put_model(t->learning, chosen, choose(t, letters, chosen));
    free(letters);
    free(chosen);
    return status;
}

qn_status qn_learn_unigram(qn_learning *learning) {
    trainer t = {.learning = learning};
    qn_status status = learn(&t);
    free(t.pieces);
    qn_trie_free(&t.trie);
    free(t.expected);
    free(t.edges);
    free(t.forward);
    free(t.backward);
    free(t.shifts);
    free(t.path);
    return status;
}
