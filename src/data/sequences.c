// Token sequences packed one after the other.
#include "data/sequences.h"
#include "base/memory.h"
#include "data/hash.h"
#include <stdlib.h>
#include <string.h>

void qn_sequences_free(qn_sequences *s) {
    free(s->ids);
    free(s->continues);
    free(s->offsets);
    free(s->second);
    *s = (qn_sequences){0};
}

void qn_sequences_clear(qn_sequences *s) {
    s->count = s->tokens = 0;
}

static qn_status reserve(qn_sequences *s, size_t tokens) {
    void *ids = s->ids, *bits = s->continues;
    qn_status status = qn_grow(&ids, &s->id_capacity, tokens, sizeof *s->ids);
    s->ids = ids;
    if (status == QN_OK) status = qn_grow(&bits, &s->bit_capacity, tokens / 64 + 1, sizeof *s->continues);
    s->continues = bits;
    return status;
}

static void set_bit(qn_sequences *s, size_t token, bool value) {
    uint64_t bit = (uint64_t)1 << (token & 63), *word = &s->continues[token >> 6];
    *word = value ? *word | bit : *word & ~bit;
}

qn_status qn_sequences_close(qn_sequences *s, int32_t second) {
    int64_t begin = s->count > 0 ? s->offsets[s->count] : 0;
    if ((int64_t)s->tokens - begin > INT32_MAX)
        return qn_fail(QN_ERROR_UNSUPPORTED, "a sequence of more than %d tokens", INT32_MAX);
    void *offsets = s->offsets, *seconds = s->second;
    qn_status status = qn_grow(&offsets, &s->offset_capacity, s->count + 2, sizeof *s->offsets);
    s->offsets = offsets;
    if (status == QN_OK) status = qn_grow(&seconds, &s->second_capacity, s->count + 1, sizeof *s->second);
    s->second = seconds;
    if (status != QN_OK) return status;
    s->offsets[s->count] = begin;
    s->second[s->count] = second;
    s->offsets[++s->count] = (int64_t)s->tokens;
    return QN_OK;
}

qn_status qn_sequences_append(qn_sequences *s, const qn_encoding *encoding) {
    size_t n = encoding->count, second = 0;
    QN_TRY(reserve(s, s->tokens + n));
    if (n > 0) memcpy(s->ids + s->tokens, encoding->ids, n * sizeof *s->ids);
    for (size_t i = 0; i < n; i++) {
        bool same = i > 0 && encoding->words[i] >= 0 && encoding->words[i] == encoding->words[i - 1] &&
                    encoding->sequences[i] == encoding->sequences[i - 1];
        set_bit(s, s->tokens + i, same);
    }
    while (second < n && encoding->types[second] == 0) second++;
    s->tokens += n;
    return qn_sequences_close(s, (int32_t)second);
}

qn_status qn_sequences_put(qn_sequences *s, int32_t id) {
    if (id < 0) return QN_OK;
    QN_TRY(reserve(s, s->tokens + 1));
    s->ids[s->tokens] = id;
    set_bit(s, s->tokens++, false);
    return QN_OK;
}

qn_status qn_sequences_put_from(qn_sequences *s, const qn_sequences *from, int64_t begin, int64_t end) {
    if (end <= begin) return QN_OK;
    size_t n = (size_t)(end - begin);
    QN_TRY(reserve(s, s->tokens + n));
    memcpy(s->ids + s->tokens, from->ids + begin, n * sizeof *s->ids);
    // The first token begins what a whole-word mask takes, even if the word was cut here.
    for (size_t i = 0; i < n; i++) set_bit(s, s->tokens + i, i > 0 && qn_sequences_continues(from, begin + (int64_t)i));
    s->tokens += n;
    return QN_OK;
}

size_t qn_sequences_bytes(const qn_sequences *s) {
    return s->id_capacity * sizeof *s->ids + s->bit_capacity * sizeof *s->continues +
           s->offset_capacity * sizeof *s->offsets + s->second_capacity * sizeof *s->second;
}

uint64_t qn_sequences_hash(const qn_sequences *s) {
    uint64_t hash = qn_hash(0, &s->count, sizeof s->count);
    if (s->count == 0) return hash;
    hash = qn_hash(hash, s->offsets, (s->count + 1) * sizeof *s->offsets);
    hash = qn_hash(hash, s->second, s->count * sizeof *s->second);
    return qn_hash(hash, s->ids, s->tokens * sizeof *s->ids);
}
