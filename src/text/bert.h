// BERT's normaliser and pre-tokenizer: cleans, lowers and strips a text and cuts it into words, each with its place in
// the original.
#pragma once
#include "base/buffer.h"

typedef struct {
    bool clean_text;         // drop control characters, make every white space a space
    bool chinese_characters; // each Chinese character is a word
    bool strip_accents;
    bool lowercase;
} qn_bert_options;

// What becomes of every code point under given options, worked out once. Read-only afterwards.
typedef struct qn_bert qn_bert;
qn_status qn_bert_create(const qn_bert_options *options, qn_bert **out);
void qn_bert_free(qn_bert *bert);
const qn_bert_options *qn_bert_get_options(const qn_bert *bert);

// The character of the original text that a normalised byte comes from.
typedef struct {
    int32_t start, end, character; // bytes [start, end), and the number of the character
} qn_align;

typedef struct {
    const char *text;   // the normalised word; valid until the next call
    size_t size;        // bytes
    size_t characters;  // of the normalised word; where it is above the limit, `text` has only its beginning
    int32_t start, end; // bytes of the original text
    int32_t char_start, char_end;
    const qn_align *aligns; // [size]; NULL where byte i of the word is byte start + i, a character by itself
} qn_word;

// A character on its way from the text to a word.
typedef struct {
    uint32_t code;
    uint32_t kind;
    qn_align align;
} qn_char;

// Walks over the words of a piece of text. Start from zeros; the memory is used again by the next walk.
typedef struct {
    const qn_bert *bert;
    const char *text;
    size_t position, end, limit;
    int32_t character;
    size_t run_start; // the last character that holds a starter (combining class 0), where marks after it begin
    int32_t run_character;
    bool has_run_start;
    bool normalized; // the text went through qn_bert_normalize: only cut it
    bool has_held;
    qn_char held;   // read, but part of the next word
    qn_char *queue; // the rest of what one character became
    size_t queue_next, queue_count, queue_capacity;
    uint32_t *marks; // of a run that has to be put into canonical order
    size_t marks_capacity;
    char *buffer; // the word
    size_t buffer_capacity;
    qn_align *aligns;
    size_t aligns_capacity;
    const qn_align *text_aligns; // of a normalised text
    qn_status status;
} qn_words;

// Begins with text[from, to); `character` is the number of the character at `from`. Words of more than `limit`
// characters are only counted.
void qn_words_begin(qn_words *words, const qn_bert *bert, const char *text, size_t from, size_t to, int32_t character,
                    size_t limit);
// False at the end, and where memory ran out: words->status tells.
bool qn_words_next(qn_words *words, qn_word *word);
void qn_words_free(qn_words *words);

// The whole piece normalised, appended to `out`, with one align for each byte in *aligns (grown as needed). Used where
// added tokens are looked for in normalised text.
qn_status qn_bert_normalize(qn_words *words, const qn_bert *bert, const char *text, size_t from, size_t to,
                            int32_t character, qn_buffer *out, qn_align **aligns, size_t *aligns_capacity);
// Walks over the words of such a normalised text, text[from, to).
void qn_words_begin_normalized(qn_words *words, const qn_bert *bert, const char *text, const qn_align *aligns,
                               size_t from, size_t to, size_t limit);
