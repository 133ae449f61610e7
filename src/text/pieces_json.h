// A vocabulary of SentencePiece, pieces with scores, and the tokenizer.json that transformers makes of it. Its own
// files (sentencepiece.c) and GGUF come as such pieces.
#pragma once
#include "base/buffer.h"

enum { QN_PIECE_NORMAL = 1, QN_PIECE_UNKNOWN = 2, QN_PIECE_CONTROL = 3, QN_PIECE_USER = 4 };
enum { QN_PIECES_UNIGRAM = 1, QN_PIECES_BPE = 2 };

typedef struct {
    const char *text;
    size_t size;
    float score;
    uint64_t type; // QN_PIECE_...
} qn_scored_piece;

typedef struct {
    const char *path; // for messages
    qn_scored_piece *pieces;
    size_t count, capacity;
    uint64_t model, byte_fallback, dummy_prefix, remove_spaces, as_suffix;
    const char *map; // of the normaliser
    size_t map_size;
    bool as_llama;         // the prefix stands before a text that begins with a space too, as in SentencePiece itself
    const char *processor; // "post_processor" as JSON; NULL: none
} qn_scored_pieces;

// The text stays the caller's. An error for a piece that is not text or has no score.
qn_status qn_scored_pieces_add(qn_scored_pieces *pieces, const qn_scored_piece *piece);
// Of a SentencePiece model; free its pieces, also after a failure. Their text stays in `data`.
qn_status qn_sentencepiece_read(const char *path, const void *data, size_t size, qn_scored_pieces *out);
qn_status qn_scored_pieces_to_json(const qn_scored_pieces *pieces, qn_buffer *out);
