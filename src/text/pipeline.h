// What a tokenizer is made of. A text goes through the parts in this order: added tokens are cut out of it; the rest is
// normalised and cut into words (bert.h); the model turns each word into pieces (wordpiece.h); too long sequences are
// cut; the template sets special tokens around them. Only the files of this folder see this; all others see
// tokenizer.h.
#pragma once
#include "base/buffer.h"
#include "text/added.h"
#include "text/bert.h"
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

// Readers of the two file formats (tokenizer_json.c, tokenizer_load.c), for messages from `path`: tokenizer.json from
// the text in json_file, and vocab.txt. Each leaves special[] and finishing to the caller.
qn_status qn_tokenizer_parse_json(qn_tokenizer *tokenizer, const char *path, qn_bert_options *options);
qn_status qn_tokenizer_parse_vocabulary(qn_tokenizer *tokenizer, const char *path, const char *text, size_t size);

// Keys of special tokens in configuration files, and their usual strings, by qn_special_token.
extern const char *const qn_special_keys[QN_TOKEN_COUNT], *const qn_special_names[QN_TOKEN_COUNT];
