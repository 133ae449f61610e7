// What a tokenizer is made of. A text goes through the parts in this order: added tokens are cut out of it; the rest is
// normalised and cut into words (bert.h in one pass, or steps.h); the model turns each word into pieces (wordpiece.h,
// or any through model.h); too long sequences are cut; the template sets special tokens around them. Only the files of
// this folder see this; all others see tokenizer.h.
#pragma once
#include "base/buffer.h"
#include "text/added.h"
#include "text/bert.h"
#include "text/model.h"
#include "text/steps.h"
#include "text/tokenizer.h"
#include "text/wordpiece.h"

// A template is a row of special tokens with each sequence in it once.
enum { QN_TEMPLATE_TEXT = -1, QN_TEMPLATE_PAIR = -2 };
typedef struct {
    int32_t id;   // of a special token, or QN_TEMPLATE_*
    int32_t type; // token type of the token, or of the sequence's tokens
} qn_template_part;
typedef struct {
    qn_template_part *parts;
    size_t count, capacity;
} qn_template;

enum { QN_TOKEN_CONTINUES = 1, QN_TOKEN_SPECIAL = 2, QN_TOKEN_ADDED_SHIFT = 8 };

struct qn_tokenizer {
    qn_added added;
    qn_bert *bert;
    qn_vocabulary vocabulary;
    qn_wordpiece model;
    // Every pipeline but BERT's goes through steps and a word model instead of `bert` and `model`.
    bool general;
    qn_steps normalizers, splitters, decoders;
    qn_word_model words;
    bool raw_bytes;        // the words are bytes, and the model looks them up as GPT-2's characters
    bool trim_offsets;     // offsets leave out the white space of a token
    bool trim_keeps_first; // but for a space that was set before the text
    bool bare_pair_type;   // without special tokens, a pair's second text has type 1
    uint16_t (*trims)[2];  // [size] white space that a token begins and ends with; NULL without trim_offsets
    qn_template single, pair;
    char *decoder_prefix; // NULL: decoding sets a space between all tokens
    bool decoder_cleanup; // takes back the spaces before punctuation and in English contractions
    int32_t special[QN_TOKEN_COUNT];
    size_t max_length; // 0: none
    // Filled by qn_tokenizer_finish:
    size_t size;    // the largest id + 1
    uint32_t *info; // [size] QN_TOKEN_* bits, and above them the number of the added token + 1
    // The files it was loaded from, byte for byte; empty: it is written anew when saved.
    qn_buffer json_file, config_file, special_file;
};

// A tokenizer without parts, for the readers and the trainer to fill.
qn_status qn_tokenizer_create(qn_tokenizer **out);
// After vocabulary, model settings, added tokens and templates are set: builds what encoding needs.
qn_status qn_tokenizer_finish(qn_tokenizer *tokenizer, const qn_bert_options *options);
qn_status qn_template_add(qn_template *template, int32_t id, int32_t type);
// [CLS] text [SEP], and [CLS] text [SEP] pair [SEP] with types 0 and 1; bare sequences where the tokenizer has no such
// tokens.
qn_status qn_template_bert(qn_tokenizer *tokenizer);
// The vocabulary's or added token's id of `token`, -1.
int32_t qn_tokenizer_find(const qn_tokenizer *tokenizer, const char *token, size_t size);

// The model of tokenizer.json but for WordPiece: `part` is its object, whose "vocab" may have been read before.
qn_status qn_tokenizer_parse_model(qn_tokenizer *tokenizer, const char *path, const char *type, const json_t *part,
                                   bool has_vocabulary);
// The tokens of {"token": id, ...}, none of them above `limit`.
qn_status qn_tokenizer_parse_tokens(qn_tokenizer *tokenizer, const char *path, const json_t *tokens, int64_t limit);

// Readers of the two file formats (tokenizer_json.c, tokenizer_load.c), for messages from `path`: tokenizer.json from
// the text in json_file, and vocab.txt. Each leaves special[] and finishing to the caller.
qn_status qn_tokenizer_parse_json(qn_tokenizer *tokenizer, const char *path, qn_bert_options *options);
qn_status qn_tokenizer_parse_vocabulary(qn_tokenizer *tokenizer, const char *path, const char *text, size_t size);

// Other formats, written as tokenizer.json into `out`: a SentencePiece model, a tiktoken file of the encoding `name`
// (NULL: the file's name says it), and vocab.json with merges.txt.
qn_status qn_sentencepiece_to_json(const char *path, const void *data, size_t size, qn_buffer *out);
// The same of a SentencePiece model whose ids are those of a vocab.json (marian.c).
qn_status qn_marian_to_json(const char *path, const qn_buffer *model, const char *vocabulary_path,
                            const qn_buffer *vocabulary, qn_buffer *out);
qn_status qn_tiktoken_to_json(const char *path, const void *data, size_t size, const char *name, qn_buffer *out);
qn_status qn_merges_to_json(const char *vocabulary_path, const qn_buffer *vocabulary, const char *merges_path,
                            const qn_buffer *merges, bool prefix_space, qn_buffer *out);

// Keys of special tokens in configuration files, and their usual strings, by qn_special_token.
extern const char *const qn_special_keys[QN_TOKEN_COUNT], *const qn_special_names[QN_TOKEN_COUNT];
