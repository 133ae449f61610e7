// A batch: sequences packed without padding, with their targets; and the masking of masked-language modelling.
#pragma once
#include "base/json.h"
#include "base/buffer.h"
#include "data/dataset.h"
#include "nn/encoder.h"

// Where a source of batches goes on after a batch: plain data, kept in checkpoints. A source fills what it needs.
typedef struct {
    uint64_t epoch;
    uint64_t batch; // in the epoch of a data set, in the block of a corpus
    // A corpus that is larger than memory: the block of the epoch, and where its text begins.
    uint64_t block, file;
    qn_reader_position record;
    uint64_t fingerprint; // of data and options
} qn_data_position;
// {"epoch": 1, "batch": 20, ...} appended to `out`.
void qn_data_position_write(const qn_data_position *position, qn_buffer *out);
// Reads such an object; `file` is for messages.
qn_status qn_data_position_read(const json_t *object, const char *file, qn_data_position *out);

// Start with zeros; memory is grown and used again. n sequences of T tokens in all.
typedef struct {
    size_t sequences, tokens; // n, T
    int32_t *ids;             // [T]
    int32_t *types;           // [T] 0, or 1 in the second segment
    int32_t *positions;       // [T] within the sequence, from 0
    uint8_t *continues;       // [T] the token goes on with the word before
    int32_t *offsets;         // [n + 1]
    uint32_t *examples;       // [n] index of the sequence in the data set, or in the block of the corpus
    size_t width;             // sequences of an example, one after the other
    // Targets; those that the source has.
    bool has_classes, has_scores, has_multi, has_tags, has_answers;
    int32_t *classes; // [n / width]
    float *scores;    // [n / width]
    float *multi;     // [n / width, labels] 0 or 1
    size_t labels;
    int32_t *tags;               // [T] a label, -1 for none
    float *numbers; // [n, columns] of rows of numbers; NULL where there never were any
    size_t columns;
    int32_t *answers[2];         // [n] the answer's first and last token, counted from the sequence's first
    // Language modelling: rows of T, and the ids that stood there (masked) or follow.
    size_t masked;
    int32_t *masked_rows, *masked_ids; // [masked]
    bool has_next_sentence;
    int32_t *next_sentence; // [n] 0: the second segment follows the first, 1: it does not
    uint64_t epoch;         // that the batch belongs to
    bool ends_epoch;
    double progress; // share of the epoch that is done after this batch, 0 to 1; an estimate where the source streams
    qn_data_position after; // where the source goes on
    size_t token_capacity, sequence_capacity, multi_capacity, number_capacity;
} qn_batch;

// What the encoder reads of it.
static inline qn_tokens qn_batch_tokens(const qn_batch *b) {
    qn_tokens tokens =
        qn_tokens_of(b->tokens, b->ids, b->types, b->positions, (qn_ragged){b->sequences, b->offsets});
    tokens.texts = b->examples;
    return tokens;
}

void qn_batch_free(qn_batch *batch);
void qn_batch_clear(qn_batch *batch); // keeps the memory
// Takes memory for a batch of that size, so that no later one up to it takes any.
qn_status qn_batch_reserve(qn_batch *batch, size_t sequences, size_t tokens);
// Appends sequence i. Fails where a batch would have 2^31 tokens.
qn_status qn_batch_append(qn_batch *batch, const qn_sequences *sequences, uint32_t i);
// Clears, appends these examples of the data set, and sets their targets.
qn_status qn_batch_fill(qn_batch *batch, const qn_dataset *dataset, const uint32_t *examples, size_t count);

typedef struct {
    double probability;  // of a token (or word) to be chosen: 0.15
    double mask_share;   // of the chosen: replaced by [MASK]: 0.8
    double random_share; // of the chosen: replaced by a random token: 0.1; the rest stays as it is
    bool whole_words;    // all tokens of a word are chosen, or none
    uint64_t seed;
} qn_mask_options;
qn_mask_options qn_mask_defaults(void);

// Ready to mask. Read-only after qn_masker_init.
typedef struct {
    qn_mask_options options;
    int32_t mask_id;
    uint32_t vocabulary;
    uint8_t *special;              // [vocabulary] never chosen, and never the random token
    uint64_t choose, mask, random; // thresholds for 32-bit random numbers
} qn_masker;
// Fails for a tokenizer without a mask token, and for shares outside 0 .. 1.
qn_status qn_masker_init(qn_masker *masker, const qn_tokenizer *tokenizer, const qn_mask_options *options);
void qn_masker_free(qn_masker *masker);
// Masks every sequence of the batch. What happens to a token is a pure function of (seed, epoch, the sequence's key,
// its position), where the key of sequence i is `stream` << 32 | examples[i]. A batch may end up without a masked
// token.
qn_status qn_batch_mask(qn_batch *batch, const qn_masker *masker, uint64_t epoch, uint32_t stream);
// Causal language modelling: every token but a sequence's last one is to give the next.
void qn_batch_predict_next(qn_batch *batch);
