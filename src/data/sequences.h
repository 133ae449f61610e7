// Token sequences packed one after the other: what datasets, blocks of a corpus and batches are made from.
#pragma once
#include "base/status.h"

// Start with zeros. Sequence i is tokens offsets[i] .. offsets[i+1]-1.
typedef struct {
    size_t count, tokens;
    int32_t *ids;        // [tokens]
    uint64_t *continues; // [tokens] bits: the token goes on with the word of the token before it
    int64_t *offsets;    // [count + 1]; NULL while there is none
    int32_t *second;     // [count] where token type 1 begins in the sequence; its length where it does not
    size_t id_capacity, bit_capacity, offset_capacity, second_capacity;
} qn_sequences;

void qn_sequences_free(qn_sequences *sequences);
void qn_sequences_clear(qn_sequences *sequences); // keeps the memory
// Appends the tokens of an encoding as one sequence.
qn_status qn_sequences_append(qn_sequences *sequences, const qn_encoding *encoding);
// In pieces: qn_sequences_put appends tokens (-1 is passed over: a special token that the tokenizer lacks),
// qn_sequences_put_from copies tokens [begin, end) of another set, and qn_sequences_close ends the sequence.
qn_status qn_sequences_put(qn_sequences *sequences, int32_t id);
qn_status qn_sequences_put_from(qn_sequences *sequences, const qn_sequences *from, int64_t begin, int64_t end);
qn_status qn_sequences_close(qn_sequences *sequences, int32_t second);

static inline int64_t qn_sequences_begin(const qn_sequences *sequences, size_t i) {
    return sequences->offsets[i];
}
static inline int32_t qn_sequences_length(const qn_sequences *sequences, size_t i) {
    return (int32_t)(sequences->offsets[i + 1] - sequences->offsets[i]);
}
static inline bool qn_sequences_continues(const qn_sequences *sequences, int64_t token) {
    return sequences->continues[token >> 6] >> (token & 63) & 1;
}
size_t qn_sequences_bytes(const qn_sequences *sequences);  // memory in use
uint64_t qn_sequences_hash(const qn_sequences *sequences); // of ids and lengths
