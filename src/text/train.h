// Learning of vocabularies: what the kinds share. train.c counts words and writes what was learned as tokenizer.json;
// bpe_train.c and unigram_train.c find the tokens; wordpiece_train.c does all of WordPiece, whose words come from
// BERT's pipeline in one pass.
#pragma once
#include "base/buffer.h"
#include "text/tokenizer.h"
#include "text/word_count.h"

typedef struct {
    const qn_tokenizer_options *options;
    qn_word_counts words;  // all different words of the text
    qn_word_counts tokens; // strings of all tokens, special ones first; a token's number is its id
    qn_buffer joined, model;
} qn_learning;

// False: the caller of the library wants it to end.
bool qn_learning_report(const qn_tokenizer_options *options, const char *stage, size_t done, size_t total);
// Warns where an alphabet of `kept` of `letters` characters leaves out more than a thousandth of the text: `left` of
// `all` characters.
void qn_learning_warn(size_t kept, size_t letters, uint64_t left, uint64_t all);
// The id of the token `head` + `tail`, new or known.
qn_status qn_learning_token(qn_learning *learning, const char *head, size_t head_size, const char *tail,
                            size_t tail_size, int32_t *id);
const char *qn_learning_token_text(const qn_learning *learning, size_t id, size_t *size);

// Each finds tokens for learning->words and writes the model's object of tokenizer.json into learning->model.
qn_status qn_learn_bpe(qn_learning *learning);
qn_status qn_learn_unigram(qn_learning *learning);

qn_status qn_wordpiece_train(const qn_tokenizer_options *options, qn_text_source next, void *user, qn_tokenizer **out);
