// Encoding: a text, or a pair of texts, through the whole pipeline into the arrays of a qn_encoding.
#include "base/memory.h"
#include "base/utf8.h"
#include "text/pipeline.h"
#include "text/unicode.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 8, FIRST_PIECES = 512 };

typedef struct {
    qn_words words;
    qn_piece *pieces;
    size_t pieces_capacity;
    qn_buffer normalized;
    qn_align *aligns;
    size_t aligns_capacity;
    qn_word_cache cache;
    // Of a pipeline of steps:
    qn_work work;
    qn_form segment;
    qn_model_room room;
    qn_pieces found;
} scratch;

qn_encode_options qn_encode_defaults(void) {
    return (qn_encode_options){.truncation = QN_TRUNCATE_LONGEST_FIRST, .add_special_tokens = true};
}

static void get_columns(qn_encoding *e, int32_t **columns[COLUMNS]) {
    int32_t **all[COLUMNS] = {&e->ids,         &e->types,     &e->starts, &e->ends,
                              &e->char_starts, &e->char_ends, &e->words,  &e->sequences};
    memcpy(columns, all, sizeof all);
}

static qn_status reserve(qn_encoding *e, size_t need) {
    if (need <= e->capacity) return QN_OK;
    size_t wanted = need < SIZE_MAX / 2 ? need + need / 2 + 64 : need;
    int32_t **columns[COLUMNS];
    get_columns(e, columns);
    for (size_t i = 0; i < COLUMNS; i++) {
        int32_t *grown = qn_realloc(*columns[i], wanted, sizeof(int32_t));
        if (!grown) return QN_ERROR_MEMORY; // the columns that grew are only longer than they need be
        *columns[i] = grown;
    }
    e->capacity = wanted;
    return QN_OK;
}

void qn_encoding_free(qn_encoding *e) {
    int32_t **columns[COLUMNS];
    get_columns(e, columns);
    for (size_t i = 0; i < COLUMNS; i++) free(*columns[i]);
    scratch *s = e->scratch;
    if (s) {
        qn_words_free(&s->words);
        free(s->pieces);
        qn_buffer_free(&s->normalized);
        free(s->aligns);
        qn_work_free(&s->work);
        qn_form_free(&s->segment);
        qn_model_room_free(&s->room);
        free(s->found.pieces);
        free(s);
    }
    *e = (qn_encoding)QN_ENCODING_INIT;
}

// --- One sequence ---------------------------------------------------------------------------------------------------

static inline void put(qn_encoding *e, int32_t id, qn_align first, int32_t end, int32_t char_end, int32_t word) {
    size_t i = e->count++;
    e->ids[i] = id;
    e->starts[i] = first.start;
    e->ends[i] = end;
    e->char_starts[i] = first.character;
    e->char_ends[i] = char_end;
    e->words[i] = word;
}

static qn_status put_unknown(const qn_tokenizer *t, qn_encoding *e, const qn_word *w, int32_t word) {
    if (t->model.unknown < 0)
        return qn_fail(QN_ERROR_FORMAT, "a word has no token, and the vocabulary has no token for unknown words");
    put(e, t->model.unknown, (qn_align){w->start, w->end, w->char_start}, w->end, w->char_end, word);
    return QN_OK;
}

// All words that s->words was begun with.
static qn_status put_words(const qn_tokenizer *t, scratch *s, qn_encoding *e, int32_t *word) {
    qn_word w;
    // Words that stand in the buffer have room behind them.
    qn_word_cache *cache = s->words.normalized ? NULL : &s->cache;
    while (qn_words_next(&s->words, &w)) {
        if (e->count + w.size + 1 > e->capacity) QN_TRY(reserve(e, e->count + w.size + 1));
        if (w.characters > t->model.max_characters) {
            QN_TRY(put_unknown(t, e, &w, (*word)++));
            continue;
        }
        if (w.size > s->pieces_capacity)
            QN_TRY(qn_grow((void **)&s->pieces, &s->pieces_capacity, w.size, sizeof *s->pieces));
        size_t count = qn_wordpiece_match(&t->model, cache, w.text, w.size, s->pieces);
        if (count == 0) {
            QN_TRY(put_unknown(t, e, &w, *word));
        } else if (!w.aligns) {
            uint32_t begin = 0;
            for (size_t i = 0; i < count; i++) {
                uint32_t end = s->pieces[i].end;
                put(e, s->pieces[i].id, (qn_align){w.start + (int32_t)begin, 0, w.char_start + (int32_t)begin},
                    w.start + (int32_t)end, w.char_start + (int32_t)end, *word);
                begin = end;
            }
        } else {
            uint32_t begin = 0;
            for (size_t i = 0; i < count; i++) {
                uint32_t end = s->pieces[i].end;
                put(e, s->pieces[i].id, w.aligns[begin], w.aligns[end - 1].end, w.aligns[end - 1].character + 1, *word);
                begin = end;
            }
        }
        ++*word;
    }
    return s->words.status;
}

// --- One sequence through steps -------------------------------------------------------------------------------------

// What lies in s->work.form, a text without added tokens.
static qn_status put_form(const qn_tokenizer *t, scratch *s, qn_encoding *e, int32_t *word) {
    QN_TRY(qn_run_splitters(&t->splitters, &s->work));
    const qn_form *form = &s->work.form;
    for (size_t i = 0; i < s->work.range_count; i++) {
        qn_range range = s->work.ranges[i];
        const qn_align *aligns = form->aligns + range.start;
        QN_TRY(qn_word_model_encode(&t->words, &s->room, form->text + range.start, range.end - range.start,
                                    t->raw_bytes, &s->found));
        if (e->count + s->found.count > e->capacity) QN_TRY(reserve(e, e->count + s->found.count));
        for (size_t j = 0; j < s->found.count; j++) {
            qn_span_piece piece = s->found.pieces[j];
            const qn_align *last = &aligns[piece.end - 1];
            put(e, piece.id, aligns[piece.start], last->end, last->character + 1, *word);
        }
        ++*word;
    }
    return QN_OK;
}

// Text between two added tokens, as put_segment.
static qn_status put_steps(const qn_tokenizer *t, scratch *s, qn_encoding *e, const char *text, size_t from, size_t to,
                           int32_t *character, int32_t *word) {
    qn_form *form = &s->work.form;
    if (from == to) return QN_OK;
    QN_TRY(qn_form_read(form, text, from, to, character));
    QN_TRY(qn_run_normalizers(&t->normalizers, &s->work));
    if (t->added.trie_counts[1] == 0) return put_form(t, s, e, word);
    qn_form segment = *form;
    *form = s->segment;
    s->segment = segment;
    size_t done = 0, search = 0;
    qn_added_match match;
    bool more = true;
    while (more) {
        more = qn_added_find(&t->added, true, segment.text, segment.size, done, &search, &match);
        if (more && match.start < done) match.start = done;
        if (more && match.end <= match.start) continue;
        size_t end = more ? match.start : segment.size;
        QN_TRY(qn_form_reserve(form, end - done + 1));
        if (end > done) {
            memcpy(form->text, segment.text + done, end - done);
            memcpy(form->aligns, segment.aligns + done, (end - done) * sizeof *form->aligns);
        }
        form->size = end - done;
        QN_TRY(put_form(t, s, e, word));
        if (!more) break;
        QN_TRY(reserve(e, e->count + 1));
        const qn_align *last = &segment.aligns[match.end - 1];
        put(e, match.token->id, segment.aligns[match.start], last->end, last->character + 1, (*word)++);
        done = match.end;
    }
    return QN_OK;
}

// Whether an added token's text has white space at `at`; its bytes, 0.
static size_t space_at(const char *text, size_t at, size_t end) {
    int32_t code;
    size_t length = at < end ? qn_utf8_next(text + at, end - at, &code) : 0;
    return length > 0 && code >= 0 && qn_unicode_is_space((uint32_t)code) ? length : 0;
}

// Takes the white space at the ends of tokens out of their offsets: as many characters as the token's string has.
static void trim_offsets(const qn_tokenizer *t, qn_encoding *e, const char *text, size_t from) {
    for (size_t i = from; i < e->count; i++) {
        int32_t left = t->trims[e->ids[i]][0], right = t->trims[e->ids[i]][1];
        if (t->info[e->ids[i]] >> QN_TOKEN_ADDED_SHIFT) { // its text may have more than its string
            size_t start = (size_t)e->starts[i], end = (size_t)e->ends[i], length;
            for (left = right = 0; (length = space_at(text, start, end)) > 0; left++) start += length;
            for (; start < end; start += length) {
                int32_t code;
                right = (length = space_at(text, start, end)) > 0 ? right + 1 : 0;
                if (length == 0) length = qn_utf8_next(text + start, end - start, &code);
            }
        }
        if (left == 0 && right == 0) continue;
        int32_t size = e->char_ends[i] - e->char_starts[i], begin = 0;
        // One space may be the one that was set before the text; of more none was.
        if (left == 1 && (i == from || e->char_starts[i] == 0) && t->trim_keeps_first) left = 0;
        begin = left < size ? left : size;
        int32_t end = right > 0 && e->char_ends[i] >= right ? size - right : size;
        if (end < begin) end = begin;
        // Both are counted in characters; the bytes follow.
        size_t at = (size_t)e->starts[i], limit = (size_t)e->ends[i];
        for (int32_t k = 0; k <= end; k++) {
            int32_t code;
            if (k == begin) e->starts[i] = (int32_t)at;
            if (k == end) e->ends[i] = (int32_t)at;
            if (at < limit) at += qn_utf8_next(text + at, limit - at, &code);
        }
        e->char_ends[i] = e->char_starts[i] + end;
        e->char_starts[i] += begin;
    }
}

// Text between two added tokens, text[from, to). *character is the number of the character at `from`, then at `to`.
static qn_status put_segment(const qn_tokenizer *t, scratch *s, qn_encoding *e, const char *text, size_t from,
                             size_t to, int32_t *character, int32_t *word) {
    if (t->general) return put_steps(t, s, e, text, from, to, character, word);
    size_t limit = t->model.max_characters;
    if (t->added.trie_counts[1] == 0) {
        qn_words_begin(&s->words, t->bert, text, from, to, *character, limit);
        QN_TRY(put_words(t, s, e, word));
        *character = s->words.character;
        return QN_OK;
    }
    // Some added tokens are looked for in the normalised text.
    qn_buffer_clear(&s->normalized);
    QN_TRY(qn_bert_normalize(&s->words, t->bert, text, from, to, *character, &s->normalized, &s->aligns,
                             &s->aligns_capacity));
    *character = s->words.character;
    const char *normalized = s->normalized.data;
    size_t size = s->normalized.size, done = 0, search = 0;
    qn_added_match match;
    while (qn_added_find(&t->added, true, normalized, size, done, &search, &match)) {
        if (match.start < done) match.start = done;
        if (match.end <= match.start) continue;
        qn_words_begin_normalized(&s->words, t->bert, normalized, s->aligns, done, match.start, limit);
        QN_TRY(put_words(t, s, e, word));
        QN_TRY(reserve(e, e->count + 1));
        const qn_align *last = &s->aligns[match.end - 1];
        put(e, match.token->id, s->aligns[match.start], last->end, last->character + 1, (*word)++);
        done = match.end;
    }
    qn_words_begin_normalized(&s->words, t->bert, normalized, s->aligns, done, size, limit);
    return put_words(t, s, e, word);
}

// UTF-8 characters of text[from, to) that is part of an added token with the white space around it, and so is valid.
static int32_t count_characters(const char *text, size_t from, size_t to) {
    int32_t count = 0;
    for (size_t i = from; i < to; i++) count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

// Appends the tokens of one sequence.
static qn_status put_sequence(const qn_tokenizer *t, scratch *s, qn_encoding *e, const char *text, size_t size) {
    size_t done = 0, search = 0, first = e->count;
    int32_t character = 0, word = 0;
    qn_added_match match;
    while (qn_added_find(&t->added, false, text, size, done, &search, &match)) {
        if (match.start < done) match.start = done;
        if (match.end <= match.start) continue;
        QN_TRY(put_segment(t, s, e, text, done, match.start, &character, &word));
        QN_TRY(reserve(e, e->count + 1));
        int32_t char_end = character + count_characters(text, match.start, match.end);
        put(e, match.token->id, (qn_align){(int32_t)match.start, 0, character}, (int32_t)match.end, char_end, word++);
        character = char_end;
        done = match.end;
    }
    QN_TRY(put_segment(t, s, e, text, done, size, &character, &word));
    if (t->trims) trim_offsets(t, e, text, first);
    return QN_OK;
}

// --- Cutting and the template ---------------------------------------------------------------------------------------

// How many tokens of each sequence stay. `room` is what special tokens leave of max_length.
static qn_status cut(const qn_encode_options *options, size_t room, bool is_pair, size_t lengths[2]) {
    size_t total = lengths[0] + lengths[1];
    if (total <= room) return QN_OK;
    if (options->truncation == QN_TRUNCATE_NOT)
        return qn_fail(QN_ERROR_ARGUMENT, "the text has %zu tokens and must not be cut (expected at most %zu)", total,
                       room);
    if (room == 0) {
        lengths[0] = lengths[1] = 0;
        return QN_OK;
    }
    if (options->truncation != QN_TRUNCATE_LONGEST_FIRST) {
        size_t which = options->truncation == QN_TRUNCATE_ONLY_SECOND, other = lengths[1 - which];
        if (which == 1 && !is_pair)
            return qn_fail(QN_ERROR_ARGUMENT, "only the second text may be cut, and there is none");
        if (other >= room)
            return qn_fail(QN_ERROR_ARGUMENT,
                           "the %s text leaves no room for the one to cut (its %zu tokens, and a limit of %zu)",
                           which ? "first" : "second", other, room);
        lengths[which] = room - other;
        return QN_OK;
    }
    if (!is_pair) {
        lengths[0] = room;
        return QN_OK;
    }
    // The longer text is cut to the length of the shorter one, then both alike; an odd token goes to the longer.
    size_t small = lengths[0] > lengths[1], large = 1 - small, shorter = lengths[small];
    if (2 * shorter <= room) {
        lengths[large] = room - shorter;
    } else {
        lengths[small] = room / 2;
        lengths[large] = room - room / 2;
    }
    return QN_OK;
}

// Keeps `keep` of the `length` tokens at `from` and moves them to `to`, to <= from or nothing in between is needed.
static void move(qn_encoding *e, size_t from, size_t length, size_t keep, bool left, size_t to) {
    if (left) from += length - keep;
    if (from == to || keep == 0) return;
    int32_t **columns[COLUMNS];
    get_columns(e, columns);
    for (size_t i = 0; i < COLUMNS; i++) memmove(*columns[i] + to, *columns[i] + from, keep * sizeof(int32_t));
}

static void put_special(qn_encoding *e, size_t at, qn_template_part part) {
    e->ids[at] = part.id;
    e->types[at] = part.type;
    e->starts[at] = e->ends[at] = e->char_starts[at] = e->char_ends[at] = 0;
    e->words[at] = e->sequences[at] = -1;
}

typedef struct {
    const char *text;
    size_t size;
} source;

// Each sequence is written where the template would have it if nothing were cut, and moved down if something is.
static qn_status encode(const qn_tokenizer *t, const source *sources, bool is_pair, const qn_encode_options *options,
                        qn_encoding *e) {
    const qn_template *template = is_pair ? &t->pair : &t->single;
    bool specials = options->add_special_tokens;
    size_t special_count = specials ? template->count - (is_pair ? 2 : 1) : 0;
    size_t starts[2] = {0}, lengths[2] = {0};
    for (size_t i = 0; i < template->count; i++) {
        if (template->parts[i].id >= 0) {
            if (!specials) continue;
            QN_TRY(reserve(e, e->count + 1));
            e->count++;
            continue;
        }
        size_t which = template->parts[i].id == QN_TEMPLATE_PAIR;
        starts[which] = e->count;
        QN_TRY(put_sequence(t, e->scratch, e, sources[which].text, sources[which].size));
        lengths[which] = e->count - starts[which];
    }
    e->total = e->count;
    size_t kept[2] = {lengths[0], lengths[1]};
    if (options->max_length > 0) {
        if (options->max_length < special_count)
            return qn_fail(QN_ERROR_ARGUMENT, "a limit of %zu tokens has no room for the %zu special ones",
                           options->max_length, special_count);
        QN_TRY(cut(options, options->max_length - special_count, is_pair, kept));
    }
    QN_TRY(reserve(e, 1));
    size_t at = 0;
    for (size_t i = 0; i < template->count; i++) {
        qn_template_part part = template->parts[i];
        if (part.id >= 0) {
            if (specials) put_special(e, at++, part);
            continue;
        }
        int32_t which = part.id == QN_TEMPLATE_PAIR;
        move(e, starts[which], lengths[which], kept[which], options->truncate_left, at);
        for (size_t j = at; j < at + kept[which]; j++) {
            e->types[j] = t->bare_pair_type && !specials ? which : part.type;
            e->sequences[j] = which;
        }
        at += kept[which];
    }
    e->count = at;
    e->truncated = at < e->total;
    return QN_OK;
}

qn_status qn_tokenizer_encode(const qn_tokenizer *tokenizer, const char *text, size_t size, const char *pair,
                              size_t pair_size, const qn_encode_options *options, qn_encoding *encoding) {
    qn_encode_options defaults = qn_encode_defaults();
    if (!options) options = &defaults;
    encoding->count = encoding->total = 0;
    encoding->truncated = false;
    if (size >= INT32_MAX || (pair && pair_size >= INT32_MAX))
        return qn_fail(QN_ERROR_ARGUMENT, "a text of 2 GiB or more (expected a smaller one)");
    if (!encoding->scratch) {
        scratch *s = qn_calloc(1, sizeof *s);
        if (!s) return QN_ERROR_MEMORY;
        encoding->scratch = s;
        QN_TRY(qn_grow((void **)&s->pieces, &s->pieces_capacity, FIRST_PIECES, sizeof *s->pieces));
    }
    source sources[2] = {{size ? text : "", size}, {pair && pair_size ? pair : "", pair ? pair_size : 0}};
    qn_status status = encode(tokenizer, sources, pair != NULL, options, encoding);
    if (status != QN_OK) encoding->count = 0;
    return status;
}
