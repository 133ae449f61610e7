// BERT's normaliser and pre-tokenizer at work: words out of text. ASCII words take a short path; all else goes one
// character at a time through the table of bert_table.c.
#include "text/bert.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/bert_table.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUFFER = 512, REPLACEMENT = 0xFFFD };

// Two- and three-byte characters in line, all others (and what is not UTF-8) through base.
static inline size_t decode(const char *text, size_t size, uint32_t *code) {
    const uint8_t *t = (const uint8_t *)text;
    if (t[0] < 0x80) {
        *code = t[0];
        return 1;
    }
    if (t[0] >= 0xC2 && t[0] < 0xE0 && size >= 2 && (t[1] & 0xC0) == 0x80) {
        *code = (uint32_t)(t[0] & 0x1F) << 6 | (t[1] & 0x3F);
        return 2;
    }
    if (t[0] > 0xE0 && t[0] < 0xF0 && t[0] != 0xED && size >= 3 && (t[1] & 0xC0) == 0x80 && (t[2] & 0xC0) == 0x80) {
        *code = (uint32_t)(t[0] & 0x0F) << 12 | (uint32_t)(t[1] & 0x3F) << 6 | (t[2] & 0x3F);
        return 3;
    }
    int32_t value;
    size_t length = qn_utf8_next(text, size, &value);
    *code = value < 0 ? REPLACEMENT : (uint32_t)value;
    return length;
}

void qn_words_begin(qn_words *words, const qn_bert *bert, const char *text, size_t from, size_t to, int32_t character,
                    size_t limit) {
    words->bert = bert;
    words->text = text;
    words->position = from;
    words->end = to;
    words->limit = limit;
    words->character = character;
    words->run_start = from;
    words->run_character = character;
    words->has_run_start = false;
    words->normalized = false;
    words->has_held = false;
    words->queue_next = words->queue_count = 0;
    words->text_aligns = NULL;
    words->status = QN_OK;
    if (words->buffer_capacity == 0)
        words->status = qn_grow((void **)&words->buffer, &words->buffer_capacity, FIRST_BUFFER, 1);
}

void qn_words_begin_normalized(qn_words *words, const qn_bert *bert, const char *text, const qn_align *aligns,
                               size_t from, size_t to, size_t limit) {
    qn_words_begin(words, bert, text, from, to, 0, limit);
    words->normalized = true;
    words->text_aligns = aligns;
}

void qn_words_free(qn_words *words) {
    free(words->queue);
    free(words->marks);
    free(words->buffer);
    free(words->aligns);
    *words = (qn_words){0};
}

// --- Characters -----------------------------------------------------------------------------------------------------

static void enqueue(qn_words *w, uint32_t code, uint32_t kind, qn_align align) {
    if (w->queue_count == w->queue_capacity && w->status == QN_OK)
        w->status = qn_grow((void **)&w->queue, &w->queue_capacity, w->queue_count + 1, sizeof *w->queue);
    if (w->status == QN_OK) w->queue[w->queue_count++] = (qn_char){code, kind, align};
}

static void enqueue_lowered(qn_words *w, uint32_t code, qn_align align) {
    uint32_t lowered[2] = {code};
    size_t count = w->bert->options.lowercase ? qn_unicode_lower(code, lowered) : 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t kind = qn_unicode_is_punctuation(lowered[i]) ? QN_CHAR_PUNCTUATION
                        : qn_unicode_is_space(lowered[i])     ? QN_CHAR_SPACE
                                                              : QN_CHAR_LETTER;
        enqueue(w, lowered[i], kind, align);
    }
}

// A mark of a run: code point, combining class, and whether it is the first of what its character became.
#define MARK(code, class, first) ((code) | (uint32_t)(first) << 21 | (uint32_t)(class) << 22)
#define MARK_CODE(mark) ((mark)&0x1FFFFFu)
#define MARK_FIRST(mark) ((mark) >> 21 & 1)
#define MARK_CLASS(mark) ((mark) >> 22 & 0xFF)

static void add_mark(qn_words *w, size_t *count, uint32_t mark) {
    // The second half of the array is room for sorting.
    if (w->status == QN_OK)
        w->status = qn_grow((void **)&w->marks, &w->marks_capacity, 2 * (*count + 1), sizeof *w->marks);
    if (w->status == QN_OK) w->marks[(*count)++] = mark;
}

// A run is a starter and all the combining marks after it, up to the next starter. Gathers the marks of the run at hand
// and moves past it. Its first character (which may have marks of its own) is at run_start where there is one. Returns
// the number of marks.
static size_t gather_run(qn_words *w) {
    size_t p = w->run_start, here = w->position, count = 0;
    int32_t character = w->run_character;
    bool first_character = w->has_run_start;
    while (p < w->end && w->status == QN_OK) {
        uint32_t code, parts[4];
        size_t length = decode(w->text + p, w->end - p, &code);
        if (!w->bert->options.clean_text || !qn_unicode_is_removed(code)) {
            size_t part_count = qn_unicode_decompose(code, parts), begin = 0;
            if (first_character) {
                for (size_t i = 0; i < part_count; i++)
                    if (qn_unicode_combining_class(parts[i]) == 0) begin = i + 1;
                qn_align align = {(int32_t)p, (int32_t)(p + length), character};
                for (size_t i = 0; i < begin && p == here; i++) // else it was passed on when it was read
                    if (!qn_unicode_is_mark(parts[i])) enqueue_lowered(w, parts[i], align);
            } else if (qn_unicode_combining_class(parts[0]) == 0) {
                break;
            }
            for (size_t i = begin; i < part_count; i++)
                add_mark(w, &count, MARK(parts[i], qn_unicode_combining_class(parts[i]), i == 0));
            first_character = false;
        }
        p += length;
        character++;
    }
    w->position = p;
    w->character = character;
    return count;
}

// Puts the run at hand into canonical order and queues the marks that stay. As in the reference, the n-th character of
// the ordered run keeps the place of the n-th character of the text, whichever that was.
static void reorder_run(qn_words *w) {
    size_t place = w->run_start;
    int32_t character = w->run_character;
    bool has_first = w->has_run_start;
    size_t count = gather_run(w), ends[256] = {0};
    if (w->status != QN_OK) return;
    uint32_t *sorted = w->marks + count;
    for (size_t i = 0; i < count; i++) ends[MARK_CLASS(w->marks[i])]++;
    for (size_t class = 0, sum = 0; class < 256; class ++) {
        size_t size = ends[class];
        ends[class] = sum;
        sum += size;
    }
    for (size_t i = 0; i < count; i++) sorted[ends[MARK_CLASS(w->marks[i])]++] = w->marks[i];

    qn_align align = {(int32_t)place, (int32_t)place, character - 1};
    bool advance = has_first; // the first character of the run stands before all marks
    for (size_t i = 0; i < count + has_first; i++) {
        if (i >= has_first) advance = MARK_FIRST(sorted[i - has_first]);
        while (advance && place < w->position) {
            uint32_t code;
            size_t length = decode(w->text + place, w->end - place, &code);
            align = (qn_align){(int32_t)place, (int32_t)(place + length), character++};
            place += length;
            advance = w->bert->options.clean_text && qn_unicode_is_removed(code);
        }
        if (i < has_first) continue;
        uint32_t code = MARK_CODE(sorted[i - has_first]);
        if (!qn_unicode_is_mark(code)) enqueue_lowered(w, code, align);
    }
}

static void enqueue_hangul(qn_words *w, uint32_t code, qn_align align) {
    uint32_t index = code - 0xAC00;
    enqueue(w, 0x1100 + index / 588, QN_CHAR_LETTER, align);
    enqueue(w, 0x1161 + index % 588 / 28, QN_CHAR_LETTER, align);
    if (index % 28) enqueue(w, 0x11A7 + index % 28, QN_CHAR_LETTER, align);
}

// The next normalised character; false at the end.
static inline bool next_char(qn_words *w, qn_char *c) {
    for (;;) {
        if (w->has_held) {
            w->has_held = false;
            *c = w->held;
            return true;
        }
        if (w->queue_next < w->queue_count) {
            *c = w->queue[w->queue_next++];
            return true;
        }
        if (w->position >= w->end || w->status != QN_OK) return false;
        uint32_t code;
        size_t length = decode(w->text + w->position, w->end - w->position, &code);
        uint32_t entry = qn_bert_entry(w->bert, code), kind = entry & QN_CHAR_KIND, value = entry & QN_CHAR_CODE;
        qn_align align = {(int32_t)w->position, (int32_t)(w->position + length), w->character};
        if (!(entry & QN_CHAR_TRANSPARENT)) {
            w->run_start = w->position;
            w->run_character = w->character;
            w->has_run_start = true;
        }
        if (kind <= QN_CHAR_ALONE) {
            w->position += length;
            w->character++;
            *c = (qn_char){value ? value : code, kind, align};
            return true;
        }
        w->queue_next = w->queue_count = 0;
        if (kind == QN_CHAR_REORDER) {
            reorder_run(w);
            continue;
        }
        w->position += length;
        w->character++;
        if (kind == QN_CHAR_HANGUL) {
            enqueue_hangul(w, code, align);
        } else if (kind == QN_CHAR_EXPANDED) {
            const uint32_t *parts = w->bert->expansions + value;
            for (uint32_t i = 1; i <= parts[0]; i++)
                enqueue(w, parts[i] & QN_CHAR_CODE, parts[i] & QN_CHAR_KIND, align);
        }
    }
}

// --- Words ----------------------------------------------------------------------------------------------------------

static bool make_room(qn_words *w, size_t size) {
    if (w->status == QN_OK) w->status = qn_grow((void **)&w->buffer, &w->buffer_capacity, size, 1);
    if (w->status == QN_OK) w->status = qn_grow((void **)&w->aligns, &w->aligns_capacity, size, sizeof *w->aligns);
    return w->status == QN_OK;
}

static inline void push_char(qn_words *w, qn_word *word, const qn_char *c) {
    if (word->characters == 0) {
        word->start = c->align.start;
        word->char_start = c->align.character;
    }
    word->end = c->align.end;
    word->char_end = c->align.character + 1;
    if (word->characters++ >= w->limit) return;
    if (word->size + 4 > w->buffer_capacity || word->size + 4 > w->aligns_capacity)
        if (!make_room(w, word->size + 4)) return;
    size_t length = 1;
    if (c->code < 0x80)
        w->buffer[word->size] = (char)c->code;
    else
        length = qn_utf8_put(w->buffer + word->size, (int32_t)c->code);
    for (size_t i = 0; i < length; i++) w->aligns[word->size + i] = c->align;
    word->size += length;
}

// Takes characters that become one letter, nothing or a space, which are nearly all, without a detour. True when a
// space ended the word; false at a character of another kind and at the end of the text.
static bool take_letters(qn_words *w, qn_word *word) {
    size_t position = w->position, size = word->size, characters = word->characters;
    size_t room = w->buffer_capacity < w->aligns_capacity ? w->buffer_capacity : w->aligns_capacity;
    int32_t character = w->character;
    bool done = false;
    while (position < w->end && !done) {
        uint32_t code;
        size_t length = decode(w->text + position, w->end - position, &code);
        uint32_t entry = qn_bert_entry(w->bert, code), kind = entry & QN_CHAR_KIND, value = entry & QN_CHAR_CODE;
        if (kind == QN_CHAR_LETTER) {
            if (characters == 0) {
                word->start = (int32_t)position;
                word->char_start = character;
            }
            word->end = (int32_t)(position + length);
            word->char_end = character + 1;
            if (characters++ < w->limit) {
                if (size + 4 > room) {
                    if (!make_room(w, size + 4)) break;
                    room = w->buffer_capacity < w->aligns_capacity ? w->buffer_capacity : w->aligns_capacity;
                }
                if (value == 0 && code == REPLACEMENT) value = code; // its bytes in the text may be others
                size_t bytes = value ? qn_utf8_put(w->buffer + size, (int32_t)value) : length;
                qn_align align = {(int32_t)position, (int32_t)(position + length), character};
                for (size_t i = 0; i < bytes; i++) {
                    if (!value) w->buffer[size + i] = w->text[position + i];
                    w->aligns[size + i] = align;
                }
                size += bytes;
            }
        } else if (kind == QN_CHAR_SPACE) {
            done = characters > 0;
        } else if (kind != QN_CHAR_REMOVED) {
            break;
        }
        if (!(entry & QN_CHAR_TRANSPARENT)) {
            w->run_start = position;
            w->run_character = character;
            w->has_run_start = true;
        }
        position += length;
        character++;
    }
    w->position = position;
    w->character = character;
    word->size = size;
    word->characters = characters;
    return done;
}

// The word goes on (or begins) with a character that is not plain ASCII.
static bool next_slow(qn_words *w, qn_word *word) {
    for (;;) {
        if (!w->has_held && w->queue_next >= w->queue_count && take_letters(w, word)) break;
        qn_char c;
        if (!next_char(w, &c)) break;
        if (c.kind == QN_CHAR_LETTER) {
            push_char(w, word, &c);
        } else if (word->characters > 0) {
            w->held = c;
            w->has_held = c.kind != QN_CHAR_SPACE;
            break;
        } else if (c.kind != QN_CHAR_SPACE) {
            push_char(w, word, &c);
            break;
        }
    }
    word->text = w->buffer;
    word->aligns = w->aligns;
    return word->characters > 0 && w->status == QN_OK;
}

// Cuts a text that is normalised already. The word lies in that text.
static bool next_normalized(qn_words *w, qn_word *word) {
    size_t begin = 0, end = 0;
    while (w->position < w->end) {
        uint32_t code;
        size_t at = w->position, length = decode(w->text + at, w->end - at, &code);
        bool space = qn_unicode_is_space(code), punctuation = qn_unicode_is_punctuation(code);
        if (word->characters > 0 && (space || punctuation)) break;
        w->position += length;
        if (space) continue;
        if (word->characters++ == 0) begin = at;
        end = at + length;
        if (punctuation) break;
    }
    if (word->characters == 0) return false;
    word->text = w->text + begin;
    word->size = end - begin;
    word->aligns = w->text_aligns + begin;
    word->start = word->aligns[0].start;
    word->char_start = word->aligns[0].character;
    word->end = word->aligns[word->size - 1].end;
    word->char_end = word->aligns[word->size - 1].character + 1;
    return true;
}

bool qn_words_next(qn_words *w, qn_word *word) {
    word->size = word->characters = 0;
    if (w->status != QN_OK) return false;
    if (w->normalized) return next_normalized(w, word);
    if (w->has_held || w->queue_next < w->queue_count) return next_slow(w, word);

    const uint8_t *text = (const uint8_t *)w->text, *map = w->bert->word, *edge = w->bert->edge;
    size_t p = w->position, first = p;
    while (p < w->end && edge[text[p]] == QN_EDGE_SPACE) p++;
    size_t begin = p, room = w->buffer_capacity < w->limit ? w->buffer_capacity : w->limit;
    size_t stop = w->end - p < room ? w->end : p + room;
    char *out = w->buffer;
    uint8_t letter;
    while (p < stop && (letter = map[text[p]]) != 0) {
        *out++ = (char)letter;
        p++;
    }
    if (p == begin && p < stop && edge[text[p]] == QN_EDGE_PUNCTUATION) {
        *out = (char)text[p++];
    } else if (p < w->end && (p == begin || edge[text[p]] == 0)) {
        // Not ASCII, a control character, or above the room: go on from here by single characters.
        size_t length = p - begin;
        if (length > w->aligns_capacity && !make_room(w, length)) return false;
        for (size_t i = 0; i < length; i++) {
            int32_t at = (int32_t)(begin + i);
            w->aligns[i] = (qn_align){at, at + 1, w->character + (int32_t)(begin - first + i)};
        }
        word->size = word->characters = length;
        word->start = (int32_t)begin;
        word->char_start = w->character + (int32_t)(begin - first);
        word->end = (int32_t)p;
        word->char_end = word->char_start + (int32_t)length;
        w->position = p;
        w->character += (int32_t)(p - first);
        if (p > first) { // the run of marks that may follow begins at the last byte
            w->run_start = p - 1;
            w->run_character = w->character - 1;
            w->has_run_start = true;
        }
        return next_slow(w, word);
    }
    w->position = p;
    word->start = (int32_t)begin;
    word->end = (int32_t)p;
    word->char_start = w->character + (int32_t)(begin - first);
    w->character += (int32_t)(p - first);
    word->char_end = w->character;
    word->text = w->buffer;
    word->size = word->characters = p - begin;
    word->aligns = NULL;
    if (p > first) {
        w->run_start = p - 1;
        w->run_character = w->character - 1;
        w->has_run_start = true;
    }
    return p > begin;
}

qn_status qn_bert_normalize(qn_words *words, const qn_bert *bert, const char *text, size_t from, size_t to,
                            int32_t character, qn_buffer *out, qn_align **aligns, size_t *aligns_capacity) {
    qn_words_begin(words, bert, text, from, to, character, SIZE_MAX);
    qn_char c;
    while (next_char(words, &c)) {
        char bytes[6];
        size_t length = 0;
        if (c.kind == QN_CHAR_ALONE) bytes[length++] = ' ';
        length += qn_utf8_put(bytes + length, (int32_t)c.code);
        if (c.kind == QN_CHAR_ALONE) bytes[length++] = ' ';
        QN_TRY(qn_grow((void **)aligns, aligns_capacity, out->size + length, sizeof **aligns));
        for (size_t i = 0; i < length; i++) (*aligns)[out->size + i] = c.align;
        qn_buffer_append(out, bytes, length);
        QN_TRY(qn_buffer_status(out));
    }
    return words->status;
}
