// Learns a WordPiece vocabulary from text: counts words, then merges pairs of pieces from single characters up, most
// frequent first. Symbols are token ids: special tokens, then characters, then characters that continue a word, then
// what pairs become. The order of characters is that of their code points, so that nothing depends on the order of the
// texts; Hugging Face's trainer numbers continuing characters at random, and equally frequent pairs may come in another
// order there.
#include "base/memory.h"
#include "base/utf8.h"
#include "text/merges.h"
#include "text/pipeline.h"
#include "text/train.h"
#include <stdlib.h>
#include <string.h>

enum { CODES = 0x110000, MAX_CHARACTERS = 100, PROGRESS_TEXTS = 16384, PROGRESS_TOKENS = 256 };
#define PREFIX "##"

typedef struct {
    const qn_tokenizer_options *options;
    qn_bert_options bert_options;
    qn_word_counts words;
    uint64_t *frequencies; // [CODES] of each character
    int32_t *initial;      // [CODES] token id of a character that begins a word, -1
    int32_t *continuing;   // [CODES] of one that continues it, -1
    qn_word_counts tokens; // strings of all tokens; a word's number is its id
    qn_buffer joined;
} trainer;

static qn_status count_words(trainer *t, qn_text_source next, void *user) {
    qn_bert *bert = NULL;
    QN_TRY(qn_bert_create(&t->bert_options, &bert));
    qn_words words = {0};
    qn_status status = QN_OK;
    for (size_t texts = 0; status == QN_OK; texts++) {
        const char *text = NULL;
        size_t size = 0;
        if (texts % PROGRESS_TEXTS == 0 && !qn_learning_report(t->options, "count", texts, 0)) status = QN_INTERRUPTED;
        if (status == QN_OK) status = next(user, &text, &size);
        if (status != QN_OK || !text) break;
        if (size >= INT32_MAX) {
            status = qn_fail(QN_ERROR_ARGUMENT, "a text of 2 GiB or more (expected a smaller one)");
            break;
        }
        qn_words_begin(&words, bert, text, 0, size, 0, MAX_CHARACTERS);
        qn_word word;
        size_t number;
        while (status == QN_OK && qn_words_next(&words, &word)) // a word too long to be encoded teaches nothing
            if (word.characters <= MAX_CHARACTERS)
                status = qn_word_counts_add(&t->words, word.text, word.size, 1, &number);
        if (status == QN_OK) status = words.status;
    }
    qn_words_free(&words);
    qn_bert_free(bert);
    return status;
}

// --- Tokens ---------------------------------------------------------------------------------------------------------

// The id of the token `head` + `tail`, new or known.
static qn_status token_id(trainer *t, const char *head, size_t head_size, const char *tail, size_t tail_size,
                          int32_t *id) {
    size_t number = 0;
    qn_buffer_clear(&t->joined); // a copy, since the parts may lie in the array that grows
    qn_buffer_append(&t->joined, head, head_size);
    qn_buffer_append(&t->joined, tail, tail_size);
    QN_TRY(qn_buffer_status(&t->joined));
    QN_TRY(qn_word_counts_add(&t->tokens, t->joined.data, t->joined.size, 1, &number));
    *id = (int32_t)number;
    return QN_OK;
}

static qn_status add_special_tokens(trainer *t) {
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++) {
        const char *name = t->options->special[i];
        int32_t id;
        if (name && *name) QN_TRY(token_id(t, name, strlen(name), "", 0, &id));
    }
    return QN_OK;
}

typedef struct {
    uint64_t frequency;
    uint32_t code;
} letter;

static int by_frequency(const void *left, const void *right) {
    const letter *a = left, *b = right;
    if (a->frequency != b->frequency) return a->frequency > b->frequency ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

static void count_letters(trainer *t) {
    for (size_t i = 0; i < t->words.count; i++) {
        const qn_counted_word *word = &t->words.words[i];
        const char *text = t->words.bytes + word->start;
        for (size_t j = 0; j < word->size;) {
            int32_t code;
            size_t length = qn_utf8_next(text + j, word->size - j, &code);
            t->frequencies[code] += word->count;
            if (j > 0) t->continuing[code] = 0;
            j += length;
        }
    }
}

// Chooses the most frequent characters; `room` tokens are left for them and their continuing forms.
static qn_status choose_alphabet(trainer *t, size_t room) {
    size_t count = 0, limit = t->options->limit_alphabet;
    for (size_t code = 0; code < CODES; code++) count += t->frequencies[code] > 0;
    letter *letters = qn_malloc(count + 1, sizeof *letters);
    if (!letters) return QN_ERROR_MEMORY;
    count = 0;
    for (uint32_t code = 0; code < CODES; code++)
        if (t->frequencies[code] > 0) letters[count++] = (letter){t->frequencies[code], code};
    qsort(letters, count, sizeof *letters, by_frequency);
    size_t kept = 0;
    for (size_t tokens = 0; kept < count && (limit == 0 || kept < limit); kept++) {
        tokens += 1 + (t->continuing[letters[kept].code] == 0);
        if (tokens > room) break;
        t->initial[letters[kept].code] = 0;
    }
    uint64_t all = 0, left = 0;
    for (size_t i = 0; i < count; i++) {
        all += letters[i].frequency;
        if (i >= kept) left += letters[i].frequency;
    }
    qn_learning_warn(kept, count, left, all);
    free(letters);
    return QN_OK;
}

static qn_status add_alphabet(trainer *t) {
    size_t room = t->options->vocab_size > t->tokens.count ? t->options->vocab_size - t->tokens.count : 0;
    QN_TRY(choose_alphabet(t, room));
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t code = 0; code < CODES; code++) {
            int32_t *id = pass == 0 ? &t->initial[code] : &t->continuing[code];
            if (*id < 0 || t->initial[code] < 0) continue;
            char bytes[4];
            size_t size = qn_utf8_put(bytes, code);
            QN_TRY(token_id(t, PREFIX, pass == 0 ? 0 : strlen(PREFIX), bytes, size, id));
        }
    }
    return QN_OK;
}

// Words as rows of single characters. One that is not in the alphabet is left out, as the reference does it.
static qn_status split_words(trainer *t, qn_merge_words *out) {
    for (size_t i = 0; i < t->words.count; i++) {
        const qn_counted_word *word = &t->words.words[i];
        const char *text = t->words.bytes + word->start;
        QN_TRY(qn_merge_words_begin(out, word->count));
        for (size_t j = 0; j < word->size;) {
            int32_t code;
            size_t length = qn_utf8_next(text + j, word->size - j, &code);
            if (t->initial[code] >= 0)
                QN_TRY(qn_merge_words_symbol(out, (uint32_t)(j == 0 ? t->initial[code] : t->continuing[code])));
            j += length;
        }
    }
    return QN_OK;
}

static qn_status merge_pair(void *user, qn_pair pair, uint32_t *symbol, bool *stop) {
    trainer *t = user;
    if (t->tokens.count >= t->options->vocab_size) {
        *stop = true;
        return QN_OK;
    }
    if (t->tokens.count % PROGRESS_TOKENS == 0 &&
        !qn_learning_report(t->options, "merge", t->tokens.count, t->options->vocab_size))
        return QN_INTERRUPTED;
    const qn_counted_word *left = &t->tokens.words[pair.left], *right = &t->tokens.words[pair.right];
    const char *right_text = t->tokens.bytes + right->start;
    size_t right_size = right->size, skip = strlen(PREFIX);
    if (right_size >= skip && memcmp(right_text, PREFIX, skip) == 0) {
        right_text += skip;
        right_size -= skip;
    }
    int32_t id = 0;
    QN_TRY(token_id(t, t->tokens.bytes + left->start, left->size, right_text, right_size, &id));
    *symbol = (uint32_t)id;
    return QN_OK;
}

// --- The tokenizer --------------------------------------------------------------------------------------------------

static qn_status build(const trainer *t, qn_tokenizer *out) {
    for (size_t i = 0; i < t->tokens.count; i++)
        QN_TRY(qn_vocabulary_add(&out->vocabulary, t->tokens.bytes + t->tokens.words[i].start, t->tokens.words[i].size,
                                 (int64_t)i));
    QN_TRY(qn_vocabulary_finish(&out->vocabulary));
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++) {
        const char *name = t->options->special[i];
        if (!name || !*name) continue;
        qn_added_token token = {.id = qn_vocabulary_id(&out->vocabulary, name, strlen(name)), .special = true};
        out->special[i] = token.id;
        QN_TRY(qn_added_add(&out->added, &token, name, strlen(name)));
    }
    out->model.unknown = out->special[QN_TOKEN_UNK];
    out->model.max_characters = MAX_CHARACTERS;
    out->model.prefix = qn_strdup(PREFIX);
    out->decoder_prefix = qn_strdup(PREFIX);
    out->decoder_cleanup = true;
    out->max_length = t->options->max_length;
    if (!out->model.prefix || !out->decoder_prefix) return QN_ERROR_MEMORY;
    QN_TRY(qn_template_bert(out));
    return qn_tokenizer_finish(out, &t->bert_options);
}

static qn_status learn(trainer *t, qn_text_source next, void *user) {
    QN_TRY(add_special_tokens(t));
    if (t->tokens.count + 2 > t->options->vocab_size)
        return qn_fail(QN_ERROR_ARGUMENT, "a vocabulary of %zu tokens has no room beside the %zu special ones",
                       t->options->vocab_size, t->tokens.count);
    QN_TRY(count_words(t, next, user));
    if (t->words.count == 0) return qn_fail(QN_ERROR_ARGUMENT, "the text to learn a vocabulary from has no words");
    t->frequencies = qn_calloc(CODES, sizeof *t->frequencies);
    t->initial = qn_malloc(CODES, sizeof *t->initial);
    t->continuing = qn_malloc(CODES, sizeof *t->continuing);
    if (!t->frequencies || !t->initial || !t->continuing) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < CODES; i++) t->initial[i] = t->continuing[i] = -1;
    count_letters(t);
    QN_TRY(add_alphabet(t));
    qn_merge_words words = {0};
    qn_merge_options options = {.min_frequency = t->options->min_frequency, .merge = merge_pair, .user = t};
    qn_status status = split_words(t, &words);
    if (status == QN_OK) status = qn_merge_pairs(&words, &options);
    qn_merge_words_free(&words);
    if (status == QN_OK && !qn_learning_report(t->options, "merge", t->tokens.count, t->tokens.count))
        status = QN_INTERRUPTED;
    return status;
}

qn_status qn_wordpiece_train(const qn_tokenizer_options *options, qn_text_source next, void *user, qn_tokenizer **out) {
    *out = NULL;
    trainer t = {.options = options};
    t.bert_options = (qn_bert_options){.clean_text = true,
                                       .chinese_characters = t.options->chinese_characters,
                                       .strip_accents = t.options->strip_accents,
                                       .lowercase = t.options->lowercase};
    qn_tokenizer *tokenizer = NULL;
    qn_status status = learn(&t, next, user);
    if (status == QN_OK) status = qn_tokenizer_create(&tokenizer);
    if (status == QN_OK) status = build(&t, tokenizer);
    qn_word_counts_free(&t.words);
    qn_word_counts_free(&t.tokens);
    qn_buffer_free(&t.joined);
    free(t.frequencies);
    free(t.initial);
    free(t.continuing);
    if (status != QN_OK) {
        qn_tokenizer_free(tokenizer);
        return status;
    }
    *out = tokenizer;
    return QN_OK;
}
