// See beam.h. What is found equals what transformers' generate() or CTranslate2 find, which decide the order of the
// steps here.
#include "infer/beam.h"
#include "models/text_decoder.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Values of the output projection that are there at once; and bytes of tokens that are taken together, enough for huge
// pages, as they are read in any order.
enum { LOGITS = 1 << 22, SLAB_BYTES = 1 << 22 };

// A token that was written: the end of a beam, and what is in front of others. Its keys and values belong to it.
typedef struct token {
    struct token *parent;
    size_t users; // beams, hypotheses and tokens behind it
    int32_t id, place;
    float *memory;
} token;

typedef struct slab {
    struct slab *next;
    float *memory;
    token tokens[];
} slab;

typedef struct {
    token *tip;
    float score;  // sum of logarithms
    int32_t last; // of a finished one, behind its tip
    float **path; // of a running one: the memory of its tokens, that of the tip last [max_tokens + 1]
} beam;

typedef struct {
    size_t index, length;
    float *cache;                   // keys and values of the source
    beam *running, *finished, *new; // [beams] each, the best first
    float **paths;                  // of those that run, and of those that take their place
    size_t running_count, finished_count;
    bool best_ended, done; // whether the likeliest continuation of any step was an end
} source;

typedef struct {
    qn_model *model;
    const qn_search *o;
    const qn_sources *sources;
    size_t next;          // source that joins
    source *sources_here; // those that were not handed out yet, in order
    size_t count, capacity;
    slab *slabs;
    token *free_tokens;
    size_t vocabulary, keep; // candidates of a row
    qn_hypothesis_receiver receive;
    void *user;
} search;

// A step's batch, all in the arena of records.
typedef struct {
    qn_tokens tokens;
    qn_kv_cache cache, kept; // of the decoder, and of the sources
    size_t *rows;            // [sources that are here + 1] where each begins
    int32_t *banned_offsets, *banned;
    float *value; // [rows, keep]
    int32_t *index;
} batch;

static void *take(search *s, size_t count, size_t size) {
    void *memory = qn_arena_alloc(s->model->records, count ? count : 1, size);
    if (!memory) qn_fail(QN_ERROR_MEMORY, "out of memory for a step of beam search");
    return memory;
}

// --- Tokens

static qn_status more_tokens(search *s) {
    qn_backend *b = s->model->backend;
    size_t floats = qn_encoder_token_floats(&s->model->network->decoder_stack), bytes = floats * sizeof(float);
    size_t count = SLAB_BYTES / (bytes ? bytes : 1) + 1;
    slab *more = qn_calloc(1, sizeof *more + count * sizeof(token));
    if (more) more->memory = b->ops->alloc(b, count * bytes);
    if (!more || !more->memory) {
        free(more);
        return qn_fail(QN_ERROR_MEMORY, "out of memory for beams");
    }
    more->next = s->slabs;
    s->slabs = more;
    for (size_t i = count; i-- > 0;) {
        more->tokens[i] = (token){.parent = s->free_tokens, .memory = more->memory + i * floats};
        s->free_tokens = &more->tokens[i];
    }
    return QN_OK;
}

static token *new_token(search *s, token *parent, int32_t id) {
    if (!s->free_tokens && more_tokens(s) != QN_OK) return NULL;
    token *t = s->free_tokens;
    s->free_tokens = t->parent;
    t->parent = parent;
    t->users = 1;
    t->id = id;
    t->place = parent ? parent->place + 1 : 0;
    if (parent) parent->users++;
    return t;
}

static void give_back(search *s, token *t) {
    while (t && --t->users == 0) {
        token *parent = t->parent;
        t->parent = s->free_tokens;
        s->free_tokens = t;
        t = parent;
    }
}

// --- Sources

// Memory that only a source that is still searched for needs.
static void release_search(search *s, source *x) {
    for (size_t i = 0; i < x->running_count; i++) give_back(s, x->running[i].tip);
    x->running_count = 0;
    if (x->cache) s->model->backend->ops->release(s->model->backend, x->cache);
    x->cache = NULL;
}

static void free_source(search *s, source *x) {
    release_search(s, x);
    for (size_t i = 0; i < x->finished_count; i++) give_back(s, x->finished[i].tip);
    free(x->running);
    free(x->finished);
    free(x->new);
    free(x->paths);
    *x = (source){0};
}

// Rows that the decoder's attention reads of a source.
static size_t length_of(const search *s, size_t index) {
    return s->sources->texts ? (size_t)qn_sequences_length(s->sources->texts, index) : 1;
}

static qn_status open_source(search *s, size_t index, source *x) {
    size_t beams = s->o->beams, room = s->o->max_tokens + 1;
    qn_model *m = s->model;
    *x = (source){.index = index, .length = length_of(s, index)};
    x->running = qn_calloc(beams, sizeof *x->running);
    x->finished = qn_calloc(beams, sizeof *x->finished);
    x->new = qn_calloc(beams, sizeof *x->new);
    x->paths = qn_calloc(2 * beams * room, sizeof *x->paths);
    size_t floats = qn_encoder_cache_floats(&m->network->decoder_stack, m->backend, x->length);
    x->cache = m->backend->ops->alloc(m->backend, (floats ? floats : 1) * sizeof(float));
    if (!x->running || !x->finished || !x->new || !x->paths || !x->cache) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < beams; i++) {
        x->running[i].path = x->paths + 2 * i * room;
        x->new[i].path = x->paths + (2 * i + 1) * room;
    }
    token *first = new_token(s, NULL, s->o->start);
    if (!first) return QN_ERROR_MEMORY;
    x->running[0].tip = first;
    x->running[0].path[0] = first->memory;
    x->running_count = 1;
    return QN_OK;
}

// A source counts with its tokens and with its rows of a step.
static size_t cost(const search *s, size_t length) {
    return length + s->o->beams;
}

// The sources first .. of those that are here through the encoder. NULL after a failure.
static qn_tensor *encode_texts(search *s, qn_context *c, size_t first, qn_ragged ragged) {
    const qn_sequences *texts = s->sources->texts;
    size_t total = (size_t)ragged.offsets[ragged.sequences], at = 0;
    int32_t *ids = take(s, total, sizeof *ids), *types = take(s, total, sizeof *types);
    int32_t *positions = take(s, total, sizeof *positions);
    if (!ids || !types || !positions) return qn_fail_operation(c, QN_ERROR_MEMORY);
    for (size_t i = 0; i < ragged.sequences; i++) {
        const source *x = &s->sources_here[first + i];
        memcpy(ids + at, texts->ids + qn_sequences_begin(texts, x->index), x->length * sizeof *ids);
        for (size_t t = 0; t < x->length; t++) types[at + t] = 0, positions[at + t] = (int32_t)t;
        at += x->length;
    }
    qn_tokens tokens = qn_tokens_of(total, ids, types, positions, ragged);
    return qn_encoder_forward(c, &s->model->network->encoder, &tokens);
}

// ... which are vectors, as the decoder reads them.
static qn_tensor *place_vectors(search *s, qn_context *c, size_t first, size_t count) {
    qn_network *n = s->model->network;
    size_t width = qn_sbert_width(&n->sentence, n->config.encoder.hidden, n->config.encoder.vocabulary);
    qn_tensor *x = qn_new_matrix(c, count, width, false);
    for (size_t i = 0; x && i < count; i++) {
        const float *vector = s->sources->vectors + s->sources_here[first + i].index * width;
        memcpy(x->data + i * width, vector, width * sizeof *vector);
    }
    return x ? qn_text_decoder_source(c, n, x) : NULL;
}

// Keeps the keys and values of the sources first .. of those that are here.
static qn_status encode(search *s, size_t first) {
    qn_model *m = s->model;
    size_t n = s->count - first;
    qn_arena_reset(m->arena);
    qn_arena_reset(m->records);
    int32_t *offsets = take(s, n + 1, sizeof *offsets), *none = take(s, n, sizeof *none);
    size_t *capacity = take(s, n, sizeof *capacity);
    float **memory = take(s, n, sizeof *memory);
    if (!offsets || !none || !capacity || !memory) return QN_ERROR_MEMORY;
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const source *x = &s->sources_here[first + i];
        offsets[i + 1] = offsets[i] + (int32_t)x->length;
        none[i] = 0, capacity[i] = x->length, memory[i] = x->cache;
    }
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_ragged ragged = {n, offsets};
    qn_encoded encoded = {
        s->sources->texts ? encode_texts(s, &c, first, ragged) : place_vectors(s, &c, first, n), ragged};
    if (encoded.hidden)
        qn_encoder_keep_source(&c, &m->network->decoder_stack, &encoded,
                               &(qn_kv_cache){.lengths = none, .capacity = capacity, .memory = memory});
    return qn_context_status(&c);
}

// New sources come in groups, as a few rows alone would not be worth reading the encoder's weights.
static qn_status join(search *s) {
    size_t used = 0, first = s->count, budget = s->model->batch_tokens;
    for (size_t i = 0; i < s->count; i++)
        if (!s->sources_here[i].done) used += cost(s, s->sources_here[i].length);
    if (used > 0 && used + budget / 4 > budget) return QN_OK;
    for (; s->next < s->sources->count; s->next++) {
        size_t more = cost(s, length_of(s, s->next));
        if (used > 0 && used + more > budget) break;
        QN_TRY(qn_grow((void **)&s->sources_here, &s->capacity, s->count + 1, sizeof *s->sources_here));
        s->sources_here[s->count] = (source){0};
        QN_TRY(open_source(s, s->next, &s->sources_here[s->count++]));
        used += more;
    }
    return s->count > first ? encode(s, first) : QN_OK;
}

// Hands out the hypotheses of sources that are done, as long as none before them is not.
static qn_status hand_out(search *s) {
    size_t gone = 0;
    qn_status status = QN_OK;
    for (; status == QN_OK && gone < s->count && s->sources_here[gone].done; gone++) {
        source *x = &s->sources_here[gone];
        size_t best = x->finished_count < s->o->best ? x->finished_count : s->o->best;
        for (size_t i = 0; status == QN_OK && i < best; i++) {
            const beam *h = &x->finished[i];
            size_t count = (size_t)h->tip->place + 1;
            int32_t *ids = qn_malloc(count, sizeof *ids);
            if (!ids) return QN_ERROR_MEMORY;
            ids[count - 1] = h->last;
            for (const token *t = h->tip; t->place > 0; t = t->parent) ids[t->place - 1] = t->id;
            status = s->receive(s->user, &(qn_hypothesis){x->index, i, ids, count, h->score, i + 1 == best});
            free(ids);
        }
        free_source(s, x);
    }
    if (gone) memmove(s->sources_here, s->sources_here + gone, (s->count - gone) * sizeof *s->sources_here);
    s->count -= gone;
    return status;
}

// --- A step

static bool ends(const qn_search *o, int32_t id) {
    for (size_t i = 0; i < o->end_count; i++)
        if (o->ends[i] == id) return true;
    return false;
}

// What may not follow a tip, added to `banned`: returns how many there are.
static size_t ban(const search *s, const token *tip, int32_t *banned) {
    const qn_search *o = s->o;
    size_t count = 0;
    for (size_t i = 0; i < o->banned_count; i++) banned[count++] = o->banned[i];
    for (size_t i = 0; (size_t)tip->place < o->min_tokens && i < o->end_count; i++) banned[count++] = o->ends[i];
    // The token that the decoder reads first is one of a sequence for transformers.
    size_t least = o->ngram + (o->rules == QN_RULES_CTRANSLATE2);
    if (o->ngram == 0 || (size_t)tip->place + 2 < least) return count;
    for (const token *t = tip; (size_t)t->place + 1 >= least; t = t->parent) { // does t end such a sequence again?
        const token *a = t->parent, *b = tip;
        size_t same = 1;
        while (same < o->ngram && a->id == b->id) a = a->parent, b = b->parent, same++;
        if (same == o->ngram) banned[count++] = t->id;
        if (!t->parent) break;
    }
    return count;
}

// The tip of each running beam is a row; rows of a source stand together.
static qn_status fill(search *s, batch *b) {
    size_t rows = 0, sources = 0, banned = 0, row = 0, k = 0;
    for (size_t i = 0; i < s->count; i++) {
        const source *x = &s->sources_here[i];
        if (x->done) continue;
        sources++;
        rows += x->running_count;
        size_t depth = (size_t)x->running[0].tip->place + 1; // the same of all beams of a source
        banned += x->running_count * (depth + s->o->banned_count + s->o->end_count);
    }
    int32_t *ids = take(s, rows, sizeof *ids), *types = take(s, rows, sizeof *types);
    int32_t *positions = take(s, rows, sizeof *positions), *offsets = take(s, rows + 1, sizeof *offsets);
    int32_t *source_rows = take(s, sources + 1, sizeof *source_rows);
    int32_t *lengths = take(s, sources, sizeof *lengths);
    size_t *capacity = take(s, sources, sizeof *capacity);
    float **memory = take(s, sources, sizeof *memory);
    float *const **lists = take(s, rows, sizeof *lists);
    b->rows = take(s, s->count + 1, sizeof *b->rows);
    b->banned_offsets = take(s, rows + 1, sizeof *b->banned_offsets);
    b->banned = take(s, banned, sizeof *b->banned);
    b->value = take(s, rows * s->keep, sizeof *b->value);
    b->index = take(s, rows * s->keep, sizeof *b->index);
    if (!ids || !types || !positions || !offsets || !source_rows || !lengths || !capacity || !memory || !lists ||
        !b->rows || !b->banned_offsets || !b->banned || !b->value || !b->index)
        return QN_ERROR_MEMORY;
    source_rows[0] = offsets[0] = b->banned_offsets[0] = 0;
    for (size_t i = 0; i < s->count; i++) {
        const source *x = &s->sources_here[i];
        b->rows[i] = row;
        if (x->done) continue;
        for (size_t j = 0; j < x->running_count; j++, row++) {
            const token *tip = x->running[j].tip;
            ids[row] = tip->id;
            types[row] = 0;
            positions[row] = tip->place;
            offsets[row + 1] = (int32_t)row + 1;
            lists[row] = x->running[j].path;
            b->banned_offsets[row + 1] =
                b->banned_offsets[row] + (int32_t)ban(s, tip, b->banned + b->banned_offsets[row]);
        }
        lengths[k] = (int32_t)x->length, capacity[k] = x->length, memory[k] = x->cache;
        source_rows[++k] = (int32_t)row;
    }
    b->rows[s->count] = row;
    b->tokens = qn_tokens_of(rows, ids, types, positions, (qn_ragged){rows, offsets});
    b->kept = (qn_kv_cache){.lengths = lengths, .capacity = capacity, .memory = memory};
    b->cache =
        (qn_kv_cache){.lengths = positions, .tokens = lists, .source = &b->kept, .source_rows = {sources, source_rows}};
    return QN_OK;
}

// The best continuations of each row.
static qn_status compute(search *s, batch *b) {
    qn_model *m = s->model;
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    qn_tensor *hidden =
        qn_encoder_forward_cached(&c, &m->network->decoder_stack, &b->tokens, &b->cache, (qn_rows_read){0, NULL});
    size_t some = LOGITS / s->vocabulary + 1, d = hidden ? qn_width(hidden) : 0;
    for (size_t first = 0; hidden && first < b->tokens.tokens; first += some) {
        qn_arena_mark mark = qn_arena_save(m->arena);
        qn_tensor part = *hidden;
        part.shape[0] = b->tokens.tokens - first < some ? b->tokens.tokens - first : some;
        part.data += first * d;
        qn_tensor *logits = qn_network_masked_lm(&c, m->network, &part, part.shape[0], NULL);
        if (!logits) break;
        m->backend->ops->top(m->backend, &(qn_top_args){.rows = part.shape[0],
                                                        .classes = s->vocabulary,
                                                        .k = s->keep,
                                                        .x = logits->data,
                                                        .banned_offsets = b->banned_offsets + first,
                                                        .banned = b->banned,
                                                        .renormalize = s->o->renormalize,
                                                        .value = b->value + first * s->keep,
                                                        .index = b->index + first * s->keep});
        qn_arena_restore(m->arena, mark);
    }
    qn_status status = qn_context_status(&c);
    m->backend->status = QN_OK;
    return status;
}

typedef struct {
    float score;
    size_t row; // of the source's beams
    int32_t id;
} candidate;

static int by_score(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->score > b->score || a->score < b->score) return a->score > b->score ? -1 : 1;
    if (a->row != b->row) return a->row < b->row ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

// The candidates of a source, the best first; *count of them.
static candidate *gather(search *s, const source *x, const float *value, const int32_t *index, size_t *count) {
    candidate *list = take(s, x->running_count * s->keep, sizeof *list);
    size_t place = (size_t)x->running[0].tip->place;
    int32_t forced = place == 0 ? s->o->first : -1;
    if (place + 1 == s->o->max_tokens && s->o->last >= 0) forced = s->o->last;
    *count = 0;
    for (size_t j = 0; list && j < x->running_count; j++) {
        if (forced >= 0) {
            list[(*count)++] = (candidate){x->running[j].score, j, forced};
            continue;
        }
        for (size_t i = 0; i < s->keep; i++)
            if (isfinite(value[j * s->keep + i]))
                list[(*count)++] = (candidate){x->running[j].score + value[j * s->keep + i], j, index[j * s->keep + i]};
    }
    if (list) qsort(list, *count, sizeof *list, by_score);
    if (*count > s->keep) *count = s->keep;
    return list;
}

static void finish(search *s, source *x, const candidate *c, float length) {
    float score = c->score / length;
    size_t at = x->finished_count;
    if (at == s->o->beams && !(score > x->finished[at - 1].score)) return;
    if (at == s->o->beams)
        give_back(s, x->finished[--at].tip);
    else
        x->finished_count++;
    for (; at > 0 && score > x->finished[at - 1].score; at--) x->finished[at] = x->finished[at - 1];
    token *tip = x->running[c->row].tip;
    tip->users++;
    x->finished[at] = (beam){.tip = tip, .score = score, .last = c->id};
}

// Whether nothing that runs on can be among the best any more, as the two libraries guess it.
static bool is_done(const search *s, const source *x, size_t written) {
    const qn_search *o = s->o;
    bool full = x->finished_count == o->beams;
    if (x->running_count == 0) return true;
    if (o->rules == QN_RULES_CTRANSLATE2)
        return fabsf(o->length_penalty) > 0 ? full : x->best_ended && x->finished_count >= o->best;
    if (full && o->stopping == QN_STOP_WHEN_FULL) return true;
    if (o->beams == 1) return full;
    size_t length = o->stopping == QN_STOP_NEVER && o->length_penalty > 0 ? o->max_tokens : written;
    float possible = x->running[0].score / powf((float)length, o->length_penalty);
    return full && !(possible > x->finished[o->beams - 1].score);
}

static qn_status advance(search *s, source *x, const float *value, const int32_t *index) {
    size_t count, kept = 0, written = (size_t)x->running[0].tip->place + 1;
    const candidate *list = gather(s, x, value, index, &count);
    float length = powf((float)written, s->o->length_penalty);
    if (!list) return QN_ERROR_MEMORY;
    if (count == 0) return qn_fail(QN_ERROR_DIVERGED, "the model's scores of the next token are no numbers");
    for (size_t i = 0; i < count; i++) {
        bool stops = ends(s->o, list[i].id) || written >= s->o->max_tokens;
        x->best_ended |= stops && i == 0;
        if (stops && i < s->o->beams) finish(s, x, &list[i], length);
        if (stops || kept == s->o->beams) continue;
        token *tip = new_token(s, x->running[list[i].row].tip, list[i].id);
        if (!tip) {
            while (kept > 0) give_back(s, x->new[--kept].tip);
            return QN_ERROR_MEMORY;
        }
        beam *next = &x->new[kept++];
        next->tip = tip;
        next->score = list[i].score;
        memcpy(next->path, x->running[list[i].row].path, written * sizeof *next->path);
        next->path[written] = tip->memory;
    }
    for (size_t i = 0; i < x->running_count; i++) give_back(s, x->running[i].tip);
    beam *old = x->running;
    x->running = x->new, x->new = old;
    x->running_count = kept;
    x->done = is_done(s, x, written);
    if (x->done) release_search(s, x);
    return QN_OK;
}

static qn_status step(search *s) {
    batch b;
    qn_arena_reset(s->model->arena);
    qn_arena_reset(s->model->records);
    QN_TRY(fill(s, &b));
    QN_TRY(compute(s, &b));
    for (size_t i = 0; i < s->count; i++)
        if (!s->sources_here[i].done)
            QN_TRY(advance(s, &s->sources_here[i], b.value + b.rows[i] * s->keep, b.index + b.rows[i] * s->keep));
    return hand_out(s);
}

qn_status qn_beam_search(qn_model *m, const qn_search *o, const qn_sources *sources, qn_hypothesis_receiver receive,
                         void *user) {
    search s = {.model = m, .o = o, .sources = sources, .receive = receive, .user = user};
    size_t most = o->end_count + 1 > 2 ? o->end_count + 1 : 2;
    s.vocabulary = m->network->config.decoder.vocabulary;
    s.keep = most * o->beams < s.vocabulary ? most * o->beams : s.vocabulary;
    qn_status status = QN_OK;
    while (status == QN_OK) {
        status = join(&s);
        if (status != QN_OK || s.count == 0) break;
        status = step(&s);
    }
    for (size_t i = 0; i < s.count; i++) free_source(&s, &s.sources_here[i]);
    for (slab *x = s.slabs, *next; x; x = next) {
        next = x->next;
        m->backend->ops->release(m->backend, x->memory);
        free(x);
    }
    free(s.sources_here);
    return status;
}
