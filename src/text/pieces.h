// What a model cuts a word into.
#pragma once
#include "base/memory.h"

typedef struct {
    int32_t id;
    uint32_t start, end; // bytes of the word
} qn_span_piece;

typedef struct {
    qn_span_piece *pieces;
    size_t count, capacity;
} qn_pieces;

static inline qn_status qn_pieces_reserve(qn_pieces *p, size_t more) {
    if (p->count + more <= p->capacity) return QN_OK;
    return qn_grow((void **)&p->pieces, &p->capacity, p->count + more, sizeof *p->pieces);
}
