// Learns byte-pair encoding as Hugging Face's BpeTrainer does: the alphabet in the order of code points, then what the
// most frequent pair of neighbours becomes, again and again. Words of byte-level BPE are GPT-2's characters for bytes;
// with byte fallback, characters that the alphabet leaves out become tokens of single bytes.
#include "base/memory.h"
#include "base/utf8.h"
#include "text/form.h"
#include "text/merges.h"
#include "text/steps.h"
#include "text/train.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODES = 0x110000, BYTES = 256, PROGRESS_TOKENS = 256 };

typedef struct {
    qn_learning *learning;
    int32_t *ids; // [CODES] token of a character, -1
    qn_pair *merges;
    size_t merge_count, merges_capacity;
} trainer;

typedef struct {
    uint64_t frequency;
    uint32_t code;
} letter;

static int by_frequency(const void *left, const void *right) {
    const letter *a = left, *b = right;
    if (a->frequency != b->frequency) return a->frequency > b->frequency ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

// The most frequent characters, as many as the limit and the room for tokens allow: their ids become 0.
static qn_status choose_alphabet(trainer *t) {
    const qn_learning *l = t->learning;
    const qn_tokenizer_options *o = l->options;
    size_t room = o->vocab_size > l->tokens.count ? o->vocab_size - l->tokens.count : 0, count = 0;
    if (o->limit_alphabet > 0 && o->limit_alphabet < room) room = o->limit_alphabet;
    letter *letters = qn_malloc(CODES, sizeof *letters);
    if (!letters) return QN_ERROR_MEMORY;
    for (uint32_t code = 0; code < CODES; code++) letters[code] = (letter){0, code};
    for (size_t i = 0; i < l->words.count; i++) {
        const qn_counted_word *word = &l->words.words[i];
        for (size_t j = 0; j < word->size;) {
            uint32_t code;
            j += qn_form_next(l->words.bytes + word->start + j, &code);
            letters[code].frequency += word->count;
        }
    }
    for (uint32_t code = 0; code < CODES; code++)
        if (letters[code].frequency > 0) letters[count++] = letters[code];
    qsort(letters, count, sizeof *letters, by_frequency);
    uint64_t all = 0, left = 0;
    for (size_t i = 0; i < count; i++) {
        all += letters[i].frequency;
        if (i < room)
            t->ids[letters[i].code] = 0;
        else
            left += letters[i].frequency;
    }
    qn_learning_warn(count < room ? count : room, count, left, all);
    free(letters);
    return QN_OK;
}

static qn_status add_alphabet(trainer *t) {
    qn_learning *l = t->learning;
    int32_t id;
    if (l->options->byte_fallback) {
        for (int byte = 0; byte < BYTES; byte++) {
            char name[8];
            snprintf(name, sizeof name, "<0x%02X>", byte);
            QN_TRY(qn_learning_token(l, name, 6, "", 0, &id));
        }
        QN_TRY(choose_alphabet(t));
    } else {
        for (int byte = 0; byte < BYTES; byte++) t->ids[qn_byte_character((uint8_t)byte)] = 0;
    }
    for (int32_t code = 0; code < CODES; code++) {
        char bytes[4];
        if (t->ids[code] >= 0) QN_TRY(qn_learning_token(l, bytes, qn_utf8_put(bytes, code), "", 0, &t->ids[code]));
    }
    if (l->tokens.count > l->options->vocab_size)
        return qn_fail(QN_ERROR_ARGUMENT,
                       "a vocabulary of %zu tokens has no room for all bytes (expected at least %zu)",
                       l->options->vocab_size, l->tokens.count);
    return QN_OK;
}

static qn_status split_words(const trainer *t, qn_merge_words *out) {
    const qn_word_counts *words = &t->learning->words;
    for (size_t i = 0; i < words->count; i++) {
        QN_TRY(qn_merge_words_begin(out, words->words[i].count));
        for (size_t j = 0; j < words->words[i].size;) {
            uint32_t code;
            j += qn_form_next(words->bytes + words->words[i].start + j, &code);
            if (t->ids[code] >= 0) QN_TRY(qn_merge_words_symbol(out, (uint32_t)t->ids[code]));
        }
    }
    return QN_OK;
}

static qn_status merge_pair(void *user, qn_pair pair, uint32_t *symbol, bool *stop) {
    trainer *t = user;
    qn_learning *l = t->learning;
    size_t count = l->tokens.count, limit = l->options->vocab_size, left_size, right_size;
    *stop = count >= limit;
    if (*stop) return QN_OK;
    if (count % PROGRESS_TOKENS == 0 && !qn_learning_report(l->options, "merge", count, limit)) return QN_INTERRUPTED;
    QN_TRY(qn_grow((void **)&t->merges, &t->merges_capacity, t->merge_count + 1, sizeof *t->merges));
    t->merges[t->merge_count++] = pair;
    const char *left = qn_learning_token_text(l, pair.left, &left_size);
    const char *right = qn_learning_token_text(l, pair.right, &right_size);
    int32_t id = 0;
    QN_TRY(qn_learning_token(l, left, left_size, right, right_size, &id));
    *symbol = (uint32_t)id;
    return QN_OK;
}

static void put_token(const qn_learning *l, size_t id, qn_buffer *out) {
    size_t size;
    const char *text = qn_learning_token_text(l, id, &size);
    qn_buffer_json_string(out, text, size);
}

static qn_status put_model(const trainer *t) {
    const qn_learning *l = t->learning;
    qn_buffer *out = &t->learning->model;
    const char *unknown = l->options->special[QN_TOKEN_UNK], *fallback = l->options->byte_fallback ? "true" : "false";
    qn_buffer_text(out, "{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
    if (l->options->byte_fallback && unknown && *unknown)
        qn_buffer_json_string(out, unknown, strlen(unknown));
    else
        qn_buffer_text(out, "null");
    qn_buffer_printf(out,
                     ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": %s, "
                     "\"byte_fallback\": %s, \"ignore_merges\": false,\n\"vocab\": {",
                     fallback, fallback);
    for (size_t i = 0; i < l->tokens.count; i++) {
        qn_buffer_text(out, i > 0 ? ",\n" : "\n");
        put_token(l, i, out);
        qn_buffer_printf(out, ": %zu", i);
    }
    qn_buffer_text(out, "},\n\"merges\": [");
    for (size_t i = 0; i < t->merge_count; i++) {
        qn_buffer_text(out, i > 0 ? ",\n[" : "\n[");
        put_token(l, t->merges[i].left, out);
        qn_buffer_text(out, ", ");
        put_token(l, t->merges[i].right, out);
        qn_buffer_char(out, ']');
    }
    qn_buffer_text(out, "]}");
    return qn_buffer_status(out);
}

static qn_status learn(trainer *t) {
    QN_TRY(add_alphabet(t));
    qn_merge_words words = {0};
    qn_merge_options options = {.min_frequency = t->learning->options->min_frequency, .merge = merge_pair, .user = t};
    qn_status status = split_words(t, &words);
    if (status == QN_OK) status = qn_merge_pairs(&words, &options);
    qn_merge_words_free(&words);
    QN_TRY(status);
    size_t count = t->learning->tokens.count;
    return qn_learning_report(t->learning->options, "merge", count, count) ? put_model(t) : QN_INTERRUPTED;
}

qn_status qn_learn_bpe(qn_learning *learning) {
    trainer t = {.learning = learning, .ids = qn_malloc(CODES, sizeof *t.ids)};
    if (!t.ids) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < CODES; i++) t.ids[i] = -1;
    qn_status status = learn(&t);
    free(t.ids);
    free(t.merges);
    return status;
}
