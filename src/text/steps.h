// The parts of tokenizer.json that are rows of small steps: normalisers, pre-tokenizers and decoders. Each kind is one
// entry here, one reader in steps_json.c, and one function in normalize.c, split.c or decode.c.
#pragma once
#include "base/buffer.h"
#include "base/json.h"
#include "text/form.h"
#include "text/pattern.h"

typedef enum {
    // Normalisers
    QN_STEP_COMPOSE, // NFC; with `flag` NFKC
    QN_STEP_DECOMPOSE,
    QN_STEP_LOWERCASE,
    QN_STEP_STRIP,
    QN_STEP_STRIP_ACCENTS, // `flag`: as BERT does, nonspacing marks only
    QN_STEP_REPLACE,       // also a decoder
    QN_STEP_PREPEND,
    QN_STEP_PRECOMPILED,
    QN_STEP_CLEAN,   // BERT's: no control characters, all white space is a space
    QN_STEP_CHINESE, // BERT's: spaces around Chinese characters
    QN_STEP_BYTES,   // each byte becomes a printable character, as GPT-2 has it
    // Pre-tokenizers
    QN_STEP_SPLIT_SPACES,
    QN_STEP_SPLIT_PUNCTUATION,
    QN_STEP_SPLIT_DIGITS,
    QN_STEP_SPLIT_WORDS,
    QN_STEP_SPLIT_PATTERN,
    QN_STEP_SPLIT_GPT2, // `flag`: a space before what does not begin with one; `second`: GPT-2's pattern
    QN_STEP_METASPACE,  // also a decoder
    // Decoders
    QN_STEP_DECODE_BYTES,
    QN_STEP_DECODE_WORDPIECE,
    QN_STEP_DECODE_SUFFIX,
    QN_STEP_DECODE_FALLBACK,
    QN_STEP_DECODE_FUSE,
    QN_STEP_DECODE_STRIP,
} qn_step_kind;

// What becomes of the matches of a pattern that a text is split by.
typedef enum {
    QN_SPLIT_REMOVED,
    QN_SPLIT_ISOLATED,
    QN_SPLIT_CONTIGUOUS,
    QN_SPLIT_WITH_PREVIOUS,
    QN_SPLIT_WITH_NEXT
} qn_behavior;
// Where Metaspace sets its sign before a text that does not begin with it.
typedef enum { QN_PREPEND_NEVER, QN_PREPEND_FIRST, QN_PREPEND_ALWAYS } qn_prepend;

typedef struct {
    qn_step_kind kind;
    bool flag;           // compatibility forms; left; GPT-2's space; individual digits; split of Metaspace; clean-up
    bool second;         // right; inverted pattern
    int32_t start, stop; // of the decoder Strip; of Metaspace, start is a qn_prepend
    qn_behavior behavior;
    qn_pattern *pattern;
    const struct qn_known_pattern *known; // NULL: matched by PCRE2
    char *content; // NUL-terminated: replacement, prefix, sign
    size_t content_size;
    // Precompiled: a Darts double array and the strings it leads to.
    uint32_t *units;
    size_t unit_count;
    qn_buffer strings;
} qn_step;

typedef struct {
    qn_step *steps;
    size_t count, capacity;
} qn_steps;
void qn_steps_free(qn_steps *steps);
// The patterns of GPT-4 and Llama 3, and of Qwen 2, which a few lines of C match faster; NULL: another one.
const struct qn_known_pattern *qn_known_pattern_find(const char *expression);
// A step of zeros but for its kind, with a copy of `content` (NULL: none).
qn_status qn_steps_add(qn_steps *steps, qn_step_kind kind, const char *content, qn_step **out);

// Each reads one part of tokenizer.json, which may be NULL, for messages from `path`.
qn_status qn_steps_read_normalizer(qn_steps *steps, const json_t *part, const char *path);
qn_status qn_steps_read_pre_tokenizer(qn_steps *steps, const json_t *part, const char *path);
qn_status qn_steps_read_decoder(qn_steps *steps, const json_t *part, const char *path);
qn_status qn_steps_set_precompiled(qn_step *step, const void *map, size_t size, const char *path);

// A piece of a form.
typedef struct {
    uint32_t start, end;
} qn_range;

typedef struct {
    uint32_t code;
    int32_t change;
    uint32_t order; // combining class
} qn_normal_char;

// What the steps need on their way; belongs to one thread.
typedef struct {
    qn_form form, other;
    qn_range *ranges, *other_ranges;
    size_t range_count, ranges_capacity, other_capacity;
    qn_normal_char *chars, *sorted;
    size_t chars_capacity, sorted_capacity;
    qn_pattern_room room;
} qn_work;
void qn_work_free(qn_work *work);

// All steps on work->form.
qn_status qn_run_normalizers(const qn_steps *steps, qn_work *work);
// work->form into work->ranges, which are pieces of work->form as it is then: some steps rewrite it.
qn_status qn_run_splitters(const qn_steps *steps, qn_work *work);
// Tokens, one behind the other in `text` with their ends, into one text in text->data.
typedef struct {
    qn_buffer text, other;
    size_t *ends, *other_ends;
    size_t count, capacity, other_capacity;
} qn_token_texts;
qn_status qn_token_texts_add(qn_token_texts *texts, const char *text, size_t size);
qn_status qn_run_decoders(const qn_steps *steps, qn_token_texts *texts, qn_pattern_room *room);
void qn_token_texts_free(qn_token_texts *texts);

// GPT-2's characters for bytes: code point of a byte, and byte of a code point (-1).
uint32_t qn_byte_character(uint8_t byte);
int qn_character_byte(uint32_t code);
