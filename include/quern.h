/* quern.h - transformer encoders from scratch: build, pre-train, fine-tune, evaluate, serve.
 *
 * The library never exits, aborts or prints. A function that can fail returns a qn_status; qn_last_error() then has one
 * line that names file, place, what is wrong and what was expected. */
#ifndef QUERN_H
#define QUERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QN_API __attribute__((visibility("default")))
#else
#define QN_API
#endif

/* Name, value, meaning. */
#define QN_STATUS_MAP(X)                                                                                               \
    X(OK, 0, "done")                                                                                                   \
    X(ERROR_ARGUMENT, 1, "an argument has a wrong value or shape")                                                     \
    X(ERROR_FORMAT, 2, "a file or text is not what it should be")                                                      \
    X(ERROR_IO, 3, "the operating system refused to read or write")                                                    \
    X(ERROR_MEMORY, 4, "out of memory")                                                                                \
    X(ERROR_UNSUPPORTED, 5, "well-formed, but not something this version or CPU does")                                 \
    X(ERROR_DIVERGED, 6, "training met NaN or spikes again and again")                                                 \
    X(INTERRUPTED, 7, "stopped on request; what was done so far is saved")

typedef enum {
#define QN_STATUS_ENUM(name, value, text) QN_##name = value,
    QN_STATUS_MAP(QN_STATUS_ENUM)
#undef QN_STATUS_ENUM
} qn_status;

/* The message of the last failed call in this thread; "" when none failed. Valid until the next failing call in this
 * thread. */
QN_API const char *qn_last_error(void);

/* The meaning of a status, a static string. */
QN_API const char *qn_status_text(qn_status status);

/* The version, for example "0.1.0". */
QN_API const char *qn_version(void);

typedef enum { QN_LOG_DEBUG, QN_LOG_INFO, QN_LOG_WARNING } qn_log_level;
typedef void (*qn_log_function)(void *user, qn_log_level level, const char *message);

/* Sets the receiver of log messages for the whole process; NULL (the default) drops them. Call before other threads use
 * the library. The message is one line and valid during the call only. */
QN_API void qn_set_log(qn_log_function function, void *user);

/* ---- Tokenizers ----------------------------------------------------------------------------------------------------
 * A tokenizer turns text into token ids and back. It does not change after it is made: any number of threads may use
 * one at once, each with a qn_encoding of its own. Text is UTF-8; bytes that are not count as U+FFFD, one for each
 * maximal subpart, as Python's errors="replace" reads them. */

typedef struct qn_tokenizer qn_tokenizer;

/* Reads `path`: a folder with tokenizer.json or else vocab.txt, vocab.json and merges.txt, or a SentencePiece model
 * (spiece.model, tokenizer.model, sentencepiece.bpe.model), where tokenizer_config.json and special_tokens_map.json
 * beside them are read too; or one of these files itself; or a tiktoken file, NAME.tiktoken, whose pattern and special
 * tokens come from NAME (gpt2, r50k_base, p50k_base, p50k_edit, cl100k_base, o200k_base, also behind a dot as in
 * MINE.cl100k_base.tiktoken) or from "tiktoken_encoding" in tokenizer_config.json; or a GGUF file. Caller frees with qn_tokenizer_free. */
QN_API qn_status qn_tokenizer_load(const char *path, qn_tokenizer **out);
QN_API void qn_tokenizer_free(qn_tokenizer *tokenizer); /* NULL is allowed */

/* Writes tokenizer.json, vocab.txt, tokenizer_config.json and special_tokens_map.json into `folder` (made if it is
 * missing), so that transformers reads them and gives equal ids. Files that the tokenizer was loaded from are written
 * as they were. */
QN_API qn_status qn_tokenizer_save(const qn_tokenizer *tokenizer, const char *folder);

/* What to cut when a text is longer than max_length: tokens of the longer sequence first, only of one sequence, or
 * nothing (an error). */
typedef enum {
    QN_TRUNCATE_LONGEST_FIRST,
    QN_TRUNCATE_ONLY_FIRST,
    QN_TRUNCATE_ONLY_SECOND,
    QN_TRUNCATE_NOT
} qn_truncation;

typedef struct {
    size_t max_length; /* tokens, special ones included; 0: no limit */
    qn_truncation truncation;
    bool truncate_left;      /* cut at the beginning of a sequence, not at its end */
    bool add_special_tokens; /* [CLS] ... [SEP] */
} qn_encode_options;

/* No limit, longest first, at the end, with special tokens. */
QN_API qn_encode_options qn_encode_defaults(void);

/* Tokens of a text, or of a pair of texts. Start with QN_ENCODING_INIT; each encoding reuses the memory, so that a
 * steady state allocates nothing; free with qn_encoding_free. The arrays are [count] long and belong to the encoding.
 * Offsets are half-open ranges of the original text (of the pair's own text for its tokens); special tokens have 0, 0,
 * word -1 and sequence -1. */
typedef struct {
    size_t count;
    int32_t *ids;
    int32_t *types;                   /* token type (segment) ids */
    int32_t *starts, *ends;           /* in bytes */
    int32_t *char_starts, *char_ends; /* in Unicode characters */
    int32_t *words;                   /* number of the word within its sequence */
    int32_t *sequences;               /* 0: text, 1: pair */
    size_t total;                     /* tokens before anything was cut, special ones included */
    bool truncated;                   /* total > count */
    size_t capacity;                  /* of the arrays; this and what follows is the library's */
    void *scratch;
} qn_encoding;
#define QN_ENCODING_INIT                                                                                               \
    { 0 }

/* `pair` may be NULL. options NULL: the defaults. QN_ERROR_ARGUMENT for a text of 2 GiB or more, and where max_length
 * cannot be kept: it is below the number of special tokens, the sequence to cut is too short, or truncation is
 * QN_TRUNCATE_NOT. */
QN_API qn_status qn_tokenizer_encode(const qn_tokenizer *tokenizer, const char *text, size_t size, const char *pair,
                                     size_t pair_size, const qn_encode_options *options, qn_encoding *encoding);
QN_API void qn_encoding_free(qn_encoding *encoding); /* back to QN_ENCODING_INIT */

/* The text of ids, NUL-terminated; the caller frees it with free(). Ids outside the vocabulary are passed over. */
QN_API qn_status qn_tokenizer_decode(const qn_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                                     char **text);

/* One more than the largest id: the rows that an embedding table needs. */
QN_API size_t qn_tokenizer_size(const qn_tokenizer *tokenizer);
/* The string of an id, owned by the tokenizer; NULL where there is no such token. */
QN_API const char *qn_tokenizer_token(const qn_tokenizer *tokenizer, int32_t id);
/* The id of a string; -1 where there is no such token. */
QN_API int32_t qn_tokenizer_id(const qn_tokenizer *tokenizer, const char *token);

/* Name, the key of Hugging Face's configuration, and the usual string. */
#define QN_SPECIAL_TOKEN_MAP(X)                                                                                        \
    X(PAD, "pad_token", "[PAD]")                                                                                       \
    X(UNK, "unk_token", "[UNK]")                                                                                       \
    X(CLS, "cls_token", "[CLS]")                                                                                       \
    X(SEP, "sep_token", "[SEP]")                                                                                       \
    X(MASK, "mask_token", "[MASK]")
typedef enum {
#define QN_SPECIAL_TOKEN_ENUM(name, key, token) QN_TOKEN_##name,
    QN_SPECIAL_TOKEN_MAP(QN_SPECIAL_TOKEN_ENUM)
#undef QN_SPECIAL_TOKEN_ENUM
        QN_TOKEN_COUNT
} qn_special_token;

/* The id of a special token, -1 where the tokenizer has none. */
QN_API int32_t qn_tokenizer_special(const qn_tokenizer *tokenizer, qn_special_token which);
QN_API bool qn_tokenizer_is_special(const qn_tokenizer *tokenizer,
                                    int32_t id); /* left out when decoding with skip_special */
QN_API bool qn_tokenizer_continues(const qn_tokenizer *tokenizer,
                                   int32_t id); /* goes on with the word of the token before it */
/* The model's limit in tokens as the tokenizer's files state it; 0 where they do not. */
QN_API size_t qn_tokenizer_max_length(const qn_tokenizer *tokenizer);

/* How a vocabulary cuts words into tokens. */
typedef enum {
    QN_WORDPIECE, /* BERT's: the longest piece first */
    QN_BPE,       /* merges of pairs; of bytes as in GPT-2, or with byte_fallback of characters as in Llama 2 */
    QN_UNIGRAM,   /* the most likely pieces, as in T5 and XLM-RoBERTa */
    QN_WORDLEVEL  /* whole words */
} qn_tokenizer_kind;

typedef struct {
    qn_tokenizer_kind kind;
    size_t vocab_size;     /* at most so many tokens, special ones included */
    size_t min_frequency;  /* a pair or word seen less often gives no token; not of Unigram */
    size_t limit_alphabet; /* at most so many different characters, the most frequent ones; 0: no limit. Byte-level BPE
                              and words have none */
    bool lowercase;        /* of WordPiece and WordLevel, as the next two */
    bool strip_accents;
    bool chinese_characters; /* each Chinese character is a word */
    bool byte_fallback; /* of BPE: pieces of characters, and tokens of single bytes for what the alphabet leaves out */
    const char *special[QN_TOKEN_COUNT]; /* strings of the special tokens, in qn_special_token's order, which get the
                                            first ids; NULL or empty: none. Without one for the beginning texts get the one
                                            for the end alone, as in T5 and Marian (not of WordPiece and words) */
    bool pad_last;         /* the padding token has the last id, as in Marian's models; not of WordPiece */
    size_t max_length;                   /* kept as the tokenizer's limit; 0: none */
    /* Called now and then; `stage` is "count" (done: texts, total: 0), "merge" (done and total: tokens) or "prune" (of
     * Unigram; done: pieces left, total: of them wanted). False stops with QN_INTERRUPTED. May be NULL. */
    bool (*progress)(void *user, const char *stage, size_t done, size_t total);
    void *progress_user;
} qn_tokenizer_options;

/* 30,000 tokens, pairs seen twice, 1,000 characters, lower case without accents, 512 tokens; the special tokens of BERT
 * for WordPiece and words, of RoBERTa for the others. */
QN_API qn_tokenizer_options qn_tokenizer_defaults(qn_tokenizer_kind kind);

/* Gives the next text in *text and *size, valid until the next call; *text NULL at the end. Any status but QN_OK stops
 * the training with that status. */
typedef qn_status (*qn_text_source)(void *user, const char **text, size_t *size);

/* Learns a vocabulary as Hugging Face's WordPieceTrainer, BpeTrainer, UnigramTrainer and WordLevelTrainer do; NULL
 * options are WordPiece's defaults. The same texts, in any order, give the same vocabulary. Memory grows with the number
 * of different words, not with the text. Caller frees *out with qn_tokenizer_free. */
QN_API qn_status qn_tokenizer_train(const qn_tokenizer_options *options, qn_text_source next, void *user,
                                    qn_tokenizer **out);

/* ---- Models in use -------------------------------------------------------------------------------------------------
 *
 * A model is an encoder with its heads and its tokenizer, read from a Hugging Face folder. One model serves one thread at a
 * time (it uses several threads inside); open it once per thread that calls at the same moment: the weights are mapped, so
 * most of their memory is shared. The same text gives the same bytes, whatever stands beside it and however many threads run. */

typedef struct qn_model qn_model;

/* What happens to a text that is longer than the model's limit: it is cut at the end, it is an error, or it is split into windows
 * that overlap, whose results become one (qn_tag, qn_answer). QN_OVERFLOW_USUAL splits where that is possible and cuts elsewhere. */
typedef enum { QN_OVERFLOW_USUAL, QN_OVERFLOW_TRUNCATE, QN_OVERFLOW_ERROR, QN_OVERFLOW_SPLIT } qn_overflow;

/* What embedded texts are, for models whose folder has a prompt for each: "query"; "document", "passage" or "corpus". Without one of that
 * name, and for QN_FOR_ANYTHING, it is the folder's default prompt, if it has one. */
typedef enum { QN_FOR_ANYTHING, QN_FOR_QUERIES, QN_FOR_DOCUMENTS } qn_purpose;

/* Names of the dtypes that products read: name, enumerator of the library. The first name of each is its own. */
#define QN_DTYPE_MAP(X)                                                                                                \
    X("f32", F32) X("float32", F32) X("bf16", BF16) X("bfloat16", BF16) X("int8", INT8) X("q8", Q8) X("q4", Q4)

typedef struct {
    int threads;         /* 0: all processors of this process */
    const char *dtype;   /* of products, one of QN_DTYPE_MAP: "f32" (NULL; of a GGUF file NULL is its own blocks where they can be computed), "bf16" or "int8", refused where this CPU would only emulate it; "q8" or "q4": weights in
                          * groups of 32 with a scale each, which take a quarter and a seventh of the memory */
    size_t batch_tokens; /* tokens computed at once; 0: a size that suits the caches. Memory grows with it, results do not change */
    size_t max_length;   /* tokens per text, special ones included; 0: what the folder says */
    qn_overflow overflow; /* of longer texts */
    const char *adapter; /* folder of a LoRA adapter for this model, as PEFT and qn_finetune write it; NULL: none. Its products are added
                          * to the weights when it is opened: it costs nothing afterwards */
    const char *prompt;  /* put before each text that is embedded: the name of one of the folder's prompts, or else the prompt itself; "":
                          * none; NULL: the folder's, by `purpose` */
    qn_purpose purpose;
    bool sparse;         /* vectors are SPLADE's: a weight for each word of the vocabulary, by the masked-language head; also without it where
                          * the folder is one of sentence-transformers' SparseEncoder */
    bool decoder;        /* also the decoder of an autoencoder of texts, which qn_reconstruct and qn_decode_vectors need */
    size_t dimensions;   /* vectors keep their first so many columns (Matryoshka), of length one again where the whole ones are; 0: all */
} qn_model_options;
QN_API qn_model_options qn_model_defaults(void);

/* `folder` may also be a GGUF file of a decoder (llama, qwen2, gpt2), or an adapter's own folder, whose adapter_config.json names the model that it is for. */
QN_API qn_status qn_model_open(const char *folder, const qn_model_options *options, qn_model **out); /* options NULL: the defaults */
QN_API void qn_model_close(qn_model *model);                                                       /* NULL is allowed */

/* Writes the model of `folder` into the new folder `output` in int8: weights of the encoder's products and tables of embeddings in
 * bytes with a scale per row, the rest in float32; about a quarter of the size. Every function here opens it, in any dtype; in "int8"
 * its vectors have the bits of the original's in "int8". transformers cannot read it. */
QN_API qn_status qn_quantize(const char *folder, const char *output);
/* Writes `model` with `adapter` put into its weights as a model folder of its own. */
QN_API qn_status qn_merge(const char *model, const char *adapter, const char *output);

/* What the model is, as one JSON object: family, layers, widths, parameters, heads, labels, pooling, dtype, threads, isa, ...
 * The caller frees *json with free(). */
QN_API qn_status qn_model_describe(const qn_model *model, char **json);
QN_API const qn_tokenizer *qn_model_tokenizer(const qn_model *model); /* the model's; do not free */
QN_API size_t qn_model_width(const qn_model *model);                  /* of a text's vector */
QN_API bool qn_model_multi_vector(const qn_model *model);             /* whether it has a vector for each token (ColBERT): see qn_embed_multi */
QN_API bool qn_model_sparse(const qn_model *model);                   /* whether it has a weight for each token of the vocabulary */
QN_API size_t qn_model_token_width(const qn_model *model);            /* of a token's */
QN_API size_t qn_model_max_length(const qn_model *model);             /* tokens per text; see qn_overflow for longer ones */

/* A text, or a pair of texts: UTF-8, not NUL-terminated. pair NULL: single. */
typedef struct {
    const char *text;
    size_t size;
    const char *pair;
    size_t pair_size;
} qn_text;

/* How the vectors of a text's tokens become one: enumerator, name in sentence-transformers' files. The mean; the first; each column's
 * largest value; sum / sqrt(tokens); the mean with the weights 1, 2, 3, ...; the last. */
#define QN_POOL_MAP(X)                                                                                                 \
    X(MEAN, "mean")                                                                                                    \
    X(CLS, "cls")                                                                                                      \
    X(MAX, "max")                                                                                                      \
    X(MEAN_SQRT_LEN, "mean_sqrt_len_tokens")                                                                           \
    X(WEIGHTED_MEAN, "weightedmean")                                                                                   \
    X(LAST_TOKEN, "lasttoken")
typedef enum {
    QN_POOLING_FOLDER, /* as the folder's sentence-transformers files say; mean without them */
#define QN_POOLING_ENUM(name, text) QN_POOLING_##name,
    QN_POOL_MAP(QN_POOLING_ENUM)
#undef QN_POOLING_ENUM
} qn_pooling;
typedef struct {
    qn_pooling pooling; /* another one than the folder's: not of a folder with dense layers or several poolings side by side */
    int normalize;      /* 1 to length one, 0 not, -1 as the folder says */
} qn_embed_options;
QN_API qn_embed_options qn_embed_defaults(void);

/* One vector per text: vectors [count, width]. options NULL: the defaults. An empty text is a text (of its special tokens). */
QN_API qn_status qn_embed(qn_model *model, const qn_text *texts, size_t count, const qn_embed_options *options, float *vectors);

/* ColBERT's vectors of a text's tokens, of length one and compared by the sum of largest similarities (qn_vectors_search_multi): `receive` is
 * called once per text, in order, with vectors [count, width] that are valid during the call. The model's options say by `purpose` whether
 * texts are queries; documents are what they are otherwise. */
typedef qn_status (*qn_multi_vectors)(void *user, size_t index, size_t count, const float *vectors);
QN_API qn_status qn_embed_multi(qn_model *model, const qn_text *texts, size_t count, qn_multi_vectors receive, void *user);

/* A sparse vector: the elements that are not 0, by ascending columns. */
typedef struct {
    size_t count;
    const int32_t *column; /* [count] of a SPLADE: tokens of the vocabulary */
    const float *value;    /* [count] */
} qn_sparse_vector;
/* SPLADE's vectors (qn_model_sparse), without their zeros: `receive` is called once per text, in order, with what is valid during the call. */
typedef qn_status (*qn_sparse_vectors)(void *user, size_t index, const qn_sparse_vector *vector);
QN_API qn_status qn_embed_sparse(qn_model *model, const qn_text *texts, size_t count, qn_sparse_vectors receive, void *user);

/* The vector of every token of each text, in the order of the texts: `receive` is called once per text with vectors [tokens, token width]
 * that are valid during the call. Any status but QN_OK from it stops with that status. */
typedef qn_status (*qn_token_vectors)(void *user, size_t index, const qn_encoding *encoding, const float *vectors);
QN_API qn_status qn_embed_tokens(qn_model *model, const qn_text *texts, size_t count, qn_token_vectors receive, void *user);

/* Labels of a model with a head for classification or tagging; 0 without one. */
QN_API size_t qn_model_labels(const qn_model *model);
QN_API const char *qn_model_label(const qn_model *model, size_t index); /* NULL outside the range */
typedef enum { QN_TASK_NONE, QN_TASK_CLASSIFY, QN_TASK_MULTILABEL, QN_TASK_REGRESS, QN_TASK_TAG, QN_TASK_ANSWER, QN_TASK_RERANK,
               QN_TASK_DISCRIMINATE } qn_task_kind;
QN_API qn_task_kind qn_model_task(const qn_model *model);

/* scores [count, labels]: probabilities (softmax, or a sigmoid each for several labels), the values of a regression, or with `logits`
 * the raw outputs. */
QN_API qn_status qn_classify(qn_model *model, const qn_text *texts, size_t count, bool logits, float *scores);

/* How well documents fit a query, by a model with one output for a pair (a cross-encoder): scores [count], after a sigmoid unless the
 * folder's config.json says otherwise, or raw with `logits`. The documents' pairs are not looked at. */
QN_API qn_status qn_rerank(qn_model *model, const char *query, size_t query_size, const qn_text *documents, size_t count, bool logits,
                           float *scores);

/* What of a text the model read. */
typedef struct {
    size_t tokens;  /* special ones included; those that windows share count once */
    size_t windows; /* 1; more where a long text was split */
    bool truncated; /* the rest was cut off */
} qn_usage;

/* What of a text the functions on whole texts read: qn_classify, qn_fill_mask, and with `embedding` qn_embed, with its prompt. */
QN_API qn_status qn_text_usage(qn_model *model, const qn_text *text, bool embedding, qn_usage *usage);

/* An entity that a tagger finds, or with labels that are no B- and I- (parts of speech) a word. */
typedef struct {
    const char *label;           /* "PER"; owned by the model */
    size_t start, end;           /* in bytes of the text */
    size_t char_start, char_end; /* in Unicode characters */
    float score;                 /* the mean probability of its words' tags */
} qn_tag_span;
typedef struct {
    bool split_by_space; /* words are what white space separates, as in texts that are split already; otherwise punctuation and
                          * Chinese characters are words of their own */
    bool unconstrained;  /* each word gets its best tag; otherwise the best legal sequence of tags is found, in which an I- stands
                          * behind a B- or I- of its type */
    size_t stride;       /* tokens that windows of a long text share; 0: 128, or half a window where that is less */
} qn_tag_options;
/* The spans of text `index`, in order, valid during the call. Any status but QN_OK stops with that status. */
typedef qn_status (*qn_tag_receiver)(void *user, size_t index, const qn_usage *usage, const qn_tag_span *spans, size_t count);
/* Tags texts by a model with a head on tokens; `receive` is called once per text, in order. options NULL: all false. A pair's second
 * text is not looked at. */
QN_API qn_status qn_tag(qn_model *model, const qn_text *texts, size_t count, const qn_tag_options *options, qn_tag_receiver receive,
                        void *user);

/* A part of a context that may answer a question. */
typedef struct {
    size_t start, end;           /* in bytes of the context, without white space at its ends */
    size_t char_start, char_end; /* in Unicode characters */
    float score;                 /* probability among the candidates */
} qn_answer_span;
typedef struct {
    const qn_answer_span *spans; /* [count] the likeliest first */
    size_t count;
    bool none;                   /* the context has no answer (only with allow_none, or where there is no text) */
    float none_score;            /* with allow_none: its probability among the candidates */
    float none_margin;           /* its logit minus that of the best span; NaN without a span */
} qn_answer_result;
typedef struct {
    size_t top;            /* spans to give at most */
    size_t candidates;     /* best starts and ends that are looked at, 1 to 100 */
    size_t max_tokens;     /* of an answer */
    bool allow_none;       /* a context may have no answer, as in SQuAD 2.0 */
    double none_threshold; /* ... which is said where none_margin is above this */
    size_t stride;         /* tokens that windows of a long context share; 0: 128, or half a window where that is less */
} qn_answer_options;
QN_API qn_answer_options qn_answer_defaults(void); /* 1, 20, 30, false, 0, 0 */
typedef qn_status (*qn_answer_receiver)(void *user, size_t index, const qn_usage *usage, const qn_answer_result *result);
/* Answers questions by a model with a head for answers: the text is the question, the pair the context, which may be of any length.
 * `receive` is called once per question, in order; what it gets is valid during the call. options NULL: the defaults. */
QN_API qn_status qn_answer(qn_model *model, const qn_text *texts, size_t count, const qn_answer_options *options,
                           qn_answer_receiver receive, void *user);

/* The `top` most probable tokens for each mask token of a text, best first. `receive` is called once per mask, in order. */
typedef struct {
    int32_t id;
    const char *token; /* owned by the tokenizer */
    float probability;
} qn_candidate;
typedef qn_status (*qn_fill_receiver)(void *user, size_t mask, size_t position, const qn_candidate *candidates, size_t count);
QN_API qn_status qn_fill_mask(qn_model *model, const qn_text *text, size_t top, qn_fill_receiver receive, void *user);

/* For each token of a text how likely it was put in another one's place, by the discriminator of an ELECTRA: probabilities [count of
 * the encoding], valid during the call, as is the encoding. `receive` is called once per text, in order. */
typedef qn_status (*qn_replaced_receiver)(void *user, size_t index, const qn_encoding *encoding, const float *probabilities);
QN_API qn_status qn_find_replaced(qn_model *model, const qn_text *texts, size_t count, qn_replaced_receiver receive, void *user);

/* ---- Text from a decoder --------------------------------------------------------------------------------------------- */

typedef struct {
    size_t max_new_tokens;
    double temperature;        /* 0: the most probable token each time (greedy) */
    size_t top_k;              /* only the k most probable; 0: all */
    double top_p, min_p;       /* only those that together reach p; only those of min_p times the best one's probability; 0: all */
    double repetition_penalty; /* logits of tokens that are there are divided by it (negative ones multiplied); 0: no */
    uint64_t seed;             /* a text is a function of it, of the prompt and of the prompt's number */
    size_t min_new_tokens;     /* the model cannot end a text before so many */
    const char *const *stop;   /* strings that end a text and are not part of it */
    size_t stop_count;
    bool chat;                 /* each prompt is a user's message, set into the model's chat template (of the shape of ChatML, Llama 2 or 3,
                                * or Zephyr; others are QN_ERROR_UNSUPPORTED), and the text is the answer */
    const char *system;        /* of a chat: the system's message; NULL: the template's own; "": none */
} qn_generation_options;
QN_API qn_generation_options qn_generation_defaults(void); /* 128 tokens, greedy */

/* A piece of text of prompt `index`, as soon as it is certain; or, with `end`, the whole text once more. Valid during the call. */
typedef struct {
    size_t index;
    const char *text; /* UTF-8 */
    size_t size;
    const char *end; /* NULL: a piece; "end": the model ended it; "stop": a stop string; "length" */
    size_t prompt_tokens, new_tokens; /* with `end` */
} qn_generated;
typedef qn_status (*qn_generation_receiver)(void *user, const qn_generated *generated);

/* Goes on from each prompt (pairs are not looked at). Several prompts are computed together, without padding, and their pieces come
 * interleaved; a text does not depend on what stands beside it. A prompt that leaves no room within the model's limit is an error, or
 * with QN_OVERFLOW_TRUNCATE cut at its beginning. options NULL: the defaults. Any status but QN_OK from `receive` stops with it. */
QN_API qn_status qn_generate(qn_model *model, const qn_text *prompts, size_t count, const qn_generation_options *options,
                             qn_generation_receiver receive, void *user);

struct qn_perplexity_result;
/* Whether the model is a decoder: it goes on from texts (qn_generate) and foresees them (qn_perplexity). */
QN_API bool qn_model_is_decoder(const qn_model *model);

typedef struct {
    size_t shared;     /* tokens that neighbouring windows share (Hugging Face's stride is a window less them); 0: none */
    bool as_llama_cpp; /* windows share nothing, and the second half of each counts, as llama.cpp's perplexity tool does */
    /* Called after each window of a text with how many of its tokens are done; a false stops with QN_INTERRUPTED. May be NULL. */
    bool (*progress)(void *user, size_t done, size_t tokens, const struct qn_perplexity_result *sums);
    void *user;
} qn_perplexity_options;
QN_API qn_perplexity_options qn_perplexity_defaults(void);
typedef struct qn_perplexity_result {
    double loss, perplexity;         /* the mean over the tokens that count, and exp(loss) */
    double loss_sum;                 /* over them */
    size_t tokens, counted, windows; /* of the texts; those that count; computed */
} qn_perplexity_result;
/* How well a decoder foresees texts (pairs are not looked at), in windows of the model's limit (qn_model_options.max_length). A token
 * counts once, in the first window that holds it and the one before it; the first of a text never. Adds to *result, which starts with
 * zeros, so that texts may come in several calls. options NULL: the defaults. */
QN_API qn_status qn_perplexity(qn_model *model, const qn_text *texts, size_t count, const qn_perplexity_options *options,
                               qn_perplexity_result *result);

/* ---- Translation ---------------------------------------------------------------------------------------------------- */

/* When the search for a text ends, once as many texts as beams have ended: when the likeliest one that goes on is no better now, as
 * transformers guesses it; at once; or when it could not become better. */
typedef enum { QN_STOP_WHEN_WORSE, QN_STOP_WHEN_FULL, QN_STOP_NEVER } qn_early_stopping;

/* Whose search it is. transformers stops as qn_early_stopping says. CTranslate2 stops at once when as many texts as beams have ended, or,
 * without a length penalty, when the likeliest one has; its texts have a token at least, and what is banned has no share of probability. */
typedef enum { QN_RULES_TRANSFORMERS, QN_RULES_CTRANSLATE2 } qn_search_rules;

/* Zeros: as generation_config.json or config.json says, and else 4 beams, the best one, a length penalty of 1, and 256 tokens. */
typedef struct {
    size_t beam_size, n_best;      /* 1 beam: the most probable token each time; n_best at most beam_size */
    size_t min_tokens, max_tokens; /* of a text before its end; with it */
    double length_penalty;         /* a score is the sum of the tokens' logarithms divided by length^penalty */
    bool own_penalty;              /* length_penalty is meant, 0 too */
    size_t no_repeat_ngram;        /* no sequence of so many tokens comes twice */
    int rules;                     /* a qn_search_rules, or -1: CTranslate2's for its folders, transformers' for others */
    int early_stopping;            /* of transformers' rules: a qn_early_stopping, or -1: as the folder says */
    const char *forced_first;      /* the token that every text begins with, such as a language's; NULL: as the folder says */
    const char *prefix;            /* put before every text; NULL: none */
} qn_translation_options;
QN_API qn_translation_options qn_translation_defaults(void);

/* One of the n_best translations of text `index`, the best first. Valid during the call. */
typedef struct {
    size_t index, rank;
    const char *text; /* UTF-8 */
    size_t size, tokens;
    double score;
    bool last; /* of its text */
} qn_translated;
typedef qn_status (*qn_translation_receiver)(void *user, const qn_translated *translation);

/* Translates, in order, with an encoder-decoder (Marian, BART, mBART, T5). Texts are computed together, without padding, and leave the
 * batch when their search is done; a translation does not depend on what stands beside it. A text longer than the model's limit is cut,
 * or an error, as the model was opened. options NULL: the defaults. Any status but QN_OK from `receive` stops with it. */
QN_API bool qn_model_is_translator(const qn_model *model); /* whether qn_translate takes it */
QN_API qn_status qn_translate(qn_model *model, const qn_text *texts, size_t count, const qn_translation_options *options,
                              qn_translation_receiver receive, void *user);

/* ---- Autoencoders of texts ----------------------------------------------------------------------------------------------
 *
 * An encoder that makes a vector of a text (qn_embed), and a decoder that writes the text again from that vector alone (docs/autoencoders.md);
 * qn_pretrain with the objective "denoise" trains them. Open one with qn_model_options.decoder. An encoder-decoder (BART), whose
 * decoder reads all tokens of a text, is trained by the same objective, and restores texts too, but has no vectors in between. */

/* Whether a folder has the decoder of an autoencoder of texts beside its encoder. */
QN_API bool qn_has_text_decoder(const char *folder);
/* Whether the model, with its decoder, is variational: standard normal vectors are those of texts, more or less. */
QN_API bool qn_model_is_variational(const qn_model *model);

typedef struct {
    size_t beam_size;  /* of the search for the likeliest text; 1: the most probable token each time */
    size_t max_tokens; /* of a text; 0: as many as the model reads */
} qn_reconstruction_options;
QN_API qn_reconstruction_options qn_reconstruction_defaults(void); /* 1 beam */

/* What was written from the vector of text, or from vector, `index`. Valid during the call. */
typedef struct {
    size_t index;
    const char *text; /* UTF-8 */
    size_t tokens;    /* of it, its end among them */
    double score;     /* the mean of their logarithms */
    /* Of qn_reconstruct: the text as its tokens have it, how many these are, how many of them stand at the same place of what was written,
     * and whether that is all there is. NULL, 0, 0, false of qn_decode_vectors. */
    const char *original;
    size_t original_tokens, right;
    bool exact;
} qn_reconstructed;
typedef qn_status (*qn_reconstruction_receiver)(void *user, const qn_reconstructed *reconstructed);

/* Encodes texts and writes them again, in order (pairs are not looked at). A text longer than the model's limit is cut, or an error, as the
 * model was opened. options NULL: the defaults. Any status but QN_OK from `receive` stops with it. */
QN_API qn_status qn_reconstruct(qn_model *model, const qn_text *texts, size_t count, const qn_reconstruction_options *options,
                                qn_reconstruction_receiver receive, void *user);
/* Writes texts from vectors [count, qn_model_width]. */
QN_API qn_status qn_decode_vectors(qn_model *model, const float *vectors, size_t count, const qn_reconstruction_options *options,
                                   qn_reconstruction_receiver receive, void *user);

/* ---- Data files ----------------------------------------------------------------------------------------------------- */

/* How to read files of texts: TSV, CSV, JSON lines, fastText's or plain lines, each also gzipped; "-" is standard input. NULL
 * fields: by name, by the names of columns that users know (docs/data.md). */
typedef struct {
    const char *format; /* "tsv", "csv", "jsonl", "text", "fasttext"; tagging: "conll", "jsonl"; answers: "squad", "jsonl" */
    const char *text_column, *pair_column, *label_column, *score_column;
    const char *text_columns; /* of examples of several texts (embeddings): names separated by commas */
    const char *columns; /* of a file without a header line, separated by commas */
    const char *query_prompt, *document_prompt; /* of the first text of an example and of the others, as qn_model_options.prompt. NULL: none
                          * in training; when a model is measured, those that its folder has for queries and documents in "retrieval",
                          * elsewhere its default */
    size_t stride;       /* tagging, answers: tokens that windows of a long text share; 0: 128, or half a window where that is less */
    size_t beams;        /* translation: of the search by which a model is measured; 0: as qn_translation_options */
} qn_data_options;

/* The texts of one or more files, one after another, as the data options say. `every_line` keeps the empty lines of plain text, so that
 * results match lines. Not thread-safe. Caller closes. */
typedef struct qn_texts qn_texts;
QN_API qn_status qn_texts_open(const char *const *paths, size_t count, const qn_data_options *data, bool every_line, qn_texts **out);
/* The next text (with its pair where the file has pairs), valid until the next call; text->text is NULL at the end. */
QN_API qn_status qn_texts_next(qn_texts *texts, qn_text *text);
QN_API void qn_texts_close(qn_texts *texts); /* NULL is allowed */

/* ---- Autoencoders of numbers ------------------------------------------------------------------------------------------
 *
 * A model that encodes a row of numbers as a short, latent vector and decodes it back (docs/autoencoders.md); qn_pretrain trains it.
 * The variational kind encodes to normal variables, and functions here take their means. One model serves one thread at a time; a row's
 * results do not depend on the rows beside it. */

/* Rows of numbers, perhaps with labels, in memory. Read-only: any number of threads may use it. */
typedef struct qn_numbers qn_numbers;
/* Reads files one after another: TSV and CSV of numbers with a column of labels or without, JSON lines (lists, or objects with one), .npy,
 * safetensors and IDX (MNIST), of which text and IDX may be gzipped. data NULL: the defaults; its label_column names the column, key or tensor
 * of labels, text_column the key or tensor of numbers. Every row has as many numbers. Caller frees *out with qn_numbers_free. */
QN_API qn_status qn_numbers_read(const char *const *paths, size_t count, const qn_data_options *data, qn_numbers **out);
QN_API void qn_numbers_free(qn_numbers *numbers); /* NULL is allowed */
QN_API size_t qn_numbers_rows(const qn_numbers *numbers);
QN_API size_t qn_numbers_columns(const qn_numbers *numbers);
QN_API const float *qn_numbers_values(const qn_numbers *numbers); /* [rows, columns] */
QN_API const char *qn_numbers_label_of(const qn_numbers *numbers, size_t row); /* NULL where it has none */
/* Height, width and channels where the file says that a row is a picture; zeros otherwise. */
QN_API void qn_numbers_picture(const qn_numbers *numbers, size_t picture[3]);

typedef struct qn_autoencoder qn_autoencoder;
/* Whether a folder, or a config.json, is one of an autoencoder of numbers; false for what cannot be read. */
QN_API bool qn_is_autoencoder(const char *path);
QN_API qn_status qn_autoencoder_open(const char *folder, int threads, qn_autoencoder **out); /* threads 0: all processors */
QN_API void qn_autoencoder_close(qn_autoencoder *model);                                     /* NULL is allowed */
QN_API size_t qn_autoencoder_columns(const qn_autoencoder *model);      /* numbers of a row */
QN_API size_t qn_autoencoder_latent_width(const qn_autoencoder *model); /* numbers of a latent vector */
QN_API bool qn_autoencoder_is_variational(const qn_autoencoder *model);
QN_API void qn_autoencoder_picture(const qn_autoencoder *model, size_t picture[3]); /* as qn_numbers_picture */
/* numbers [rows, columns] and latent [rows, latent width], as they are in the data: the model scales. */
QN_API qn_status qn_autoencoder_encode(qn_autoencoder *model, const float *numbers, size_t rows, float *latent);
QN_API qn_status qn_autoencoder_decode(qn_autoencoder *model, const float *latent, size_t rows, float *numbers);
/* outputs [rows, columns]: encoded and decoded. */
QN_API qn_status qn_autoencoder_reconstruct(qn_autoencoder *model, const float *numbers, size_t rows, float *outputs);
/* Rows [rows, columns] decoded from standard normal vectors; row r is a function of the seed and r. Variational models only. */
QN_API qn_status qn_autoencoder_sample(qn_autoencoder *model, uint64_t seed, size_t rows, float *numbers);
/* Measures it on a file: "loss", "mse" and "r2" (of scaled numbers), "bce", "kl" as one JSON object, which the caller frees with free(). */
QN_API qn_status qn_autoencoder_evaluate(qn_autoencoder *model, const char *path, const qn_data_options *data, char **json);
QN_API qn_status qn_autoencoder_describe(const qn_autoencoder *model, char **json); /* its configuration, parameters, threads */

/* Small pictures, `across` of them in a line, with gray between. */
typedef struct {
    const float *values; /* [count, height, width, channels] */
    size_t count, across, height, width, channels; /* channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
    float low, high;     /* the numbers that are black and white */
    size_t scale;        /* pixels of a number's side; 0: such that a picture is seen */
} qn_picture_sheet;
QN_API qn_status qn_pictures_write(const char *path, const qn_picture_sheet *sheet); /* .png, .pgm or .ppm, by its name */

/* Measures a model on labelled data: metrics as one JSON object (docs/metrics in the report's words), which the caller frees with
 * free(). A label that the model does not know is an error that names file and line. */
QN_API qn_status qn_evaluate(qn_model *model, const char *path, const qn_data_options *data, char **json);

/* The same for a task by its name; NULL: that of the model's head. Of a model's vectors, by their cosine: "sts", pairs of texts with
 * scores: Spearman's and Pearson's correlation; "triplets", anchor, positive and negatives: how often the positive is nearest;
 * "retrieval", queries and the documents that answer them: nDCG@10, MRR@10, recall@1, 5 and 10, MAP, among all documents of the file;
 * "embed": the one that the file's columns are for. */
QN_API qn_status qn_evaluate_task(qn_model *model, const char *task, const char *path, const qn_data_options *data, char **json);

/* Hard negatives for pairs (a query, and the document that answers it, as in qn_evaluate_task's "retrieval"): for each pair the nearest
 * documents of the file, by the cosine of the model's vectors, that do not answer its query. */
typedef struct {
    size_t negatives; /* of each pair; pairs with fewer are left out */
    size_t from, to;  /* ranks, from 0, among documents that are no answers: from .. to - 1 are looked at */
    double margin;    /* a negative's cosine is at least so far below the positive's; -2: no matter */
    double max_score; /* a negative's cosine is at most that; 2: no matter */
} qn_mining;
QN_API qn_mining qn_mining_defaults(void); /* 1 of the first 100 */
/* Writes them to `output`: JSON lines with anchor, positive and negatives if its name ends in .jsonl, else TSV with the columns anchor,
 * positive, negative (negative_1, ...). *json (free() it) says how many rows there are, and how many pairs were left out. */
QN_API qn_status qn_mine(qn_model *model, const char *path, const qn_data_options *data, const qn_mining *options, const char *output,
                         char **json);

/* Compares the model's outputs with those kept in the folder's golden file (golden.safetensors): the vectors and, with heads, the
 * logits of the texts in it. *json (free() it) says how far they differ; QN_ERROR_FORMAT when above `tolerance` (relative to the
 * largest value; 0: 1e-5 for f32). qn_golden_write makes the file from the model's outputs for `texts`. */
QN_API qn_status qn_verify(qn_model *model, double tolerance, char **json);
QN_API qn_status qn_golden_write(qn_model *model, const qn_text *texts, size_t count);

/* ---- Vectors and files ------------------------------------------------------------------------------------------------ */

/* A file that appears under its name at commit, complete and synced; abort (or a crash) leaves what was there. A device or a pipe is
 * written directly. Write errors are sticky and are reported by commit. After commit or abort the writer is gone. */
typedef struct qn_writer qn_writer;
QN_API qn_status qn_writer_open(const char *path, qn_writer **out);
QN_API qn_status qn_writer_write(qn_writer *writer, const void *data, size_t size);
QN_API qn_status qn_writer_commit(qn_writer *writer);
QN_API void qn_writer_abort(qn_writer *writer); /* NULL is allowed */

/* The same for a float32 array [n, columns] as numpy.save writes it; n is known at commit. */
typedef struct qn_npy_writer qn_npy_writer;
QN_API qn_status qn_npy_writer_open(const char *path, size_t columns, qn_npy_writer **out);
QN_API qn_status qn_npy_writer_rows(qn_npy_writer *writer, const float *rows, size_t count); /* rows [count, columns] */
QN_API qn_status qn_npy_writer_commit(qn_npy_writer *writer);
QN_API void qn_npy_writer_abort(qn_npy_writer *writer); /* NULL is allowed */

/* The same for sparse vectors, by columns (docs/formats.md); they are kept in memory, 8 bytes for each element, until commit. */
typedef struct qn_sparse_writer qn_sparse_writer;
QN_API qn_status qn_sparse_writer_open(const char *path, size_t columns, qn_sparse_writer **out);
QN_API qn_status qn_sparse_writer_row(qn_sparse_writer *writer, const qn_sparse_vector *row);
QN_API qn_status qn_sparse_writer_commit(qn_sparse_writer *writer);
QN_API void qn_sparse_writer_abort(qn_sparse_writer *writer); /* NULL is allowed */

/* A JSON string with its quotes, NUL-terminated; bytes that are not UTF-8 become U+FFFD. The caller frees *quoted with free(). */
QN_API qn_status qn_json_quote(const char *text, size_t size, char **quoted);

/* Vectors [count, width] of a .npy file, mapped. Read-only: any number of threads may search at once. */
typedef struct qn_vectors qn_vectors;
QN_API qn_status qn_vectors_open(const char *path, qn_vectors **out);
/* The same of a ColBERT's vectors, the rows of text i being offsets[i] .. offsets[i+1]-1, as the int64 array of the second file says. */
QN_API qn_status qn_vectors_open_multi(const char *path, const char *offsets, qn_vectors **out);
/* Those of qn_sparse_writer's file. */
QN_API qn_status qn_vectors_open_sparse(const char *path, qn_vectors **out);
QN_API void qn_vectors_close(qn_vectors *vectors); /* NULL is allowed */
QN_API size_t qn_vectors_count(const qn_vectors *vectors); /* of a ColBERT's: texts */
QN_API size_t qn_vectors_width(const qn_vectors *vectors);

/* The `top` vectors nearest to query [width], best first, equal scores in their order: by the cosine, or by the dot product where `dot`
 * is true. matches [top]; *found is how many were written. Every vector is looked at. */
typedef struct {
    size_t index;
    float score;
} qn_match;
QN_API qn_status qn_vectors_search(const qn_vectors *vectors, const float *query, bool dot, size_t top, qn_match *matches, size_t *found);
/* query [rows, width]: the texts whose sums over the query's rows of the largest dot product with any of their own are largest. */
QN_API qn_status qn_vectors_search_multi(const qn_vectors *vectors, const float *query, size_t rows, size_t top, qn_match *matches,
                                         size_t *found);
/* Of sparse vectors, by the dot product: the bits of qn_vectors_search on the whole vectors. Only elements in columns of the query are read. */
QN_API qn_status qn_vectors_search_sparse(const qn_vectors *vectors, const qn_sparse_vector *query, size_t top, qn_match *matches,
                                          size_t *found);

/* How sentence embeddings are trained (task "embed"). Formulas and papers: docs/mathematics.md. */
typedef struct {
    const char *loss;       /* "multiple-negatives", "simcse", "cosent", "cosine", "triplet", "margin-mse", "contrastive", "distill",
                             * "classes", "tsdae"; NULL: distill with a teacher, cosent for pairs with scores, margin-mse for triplets with scores,
                             * else multiple-negatives */
    const char *teacher;    /* folder of a model to learn from: of an embedder its vectors (distill), or its similarities in place of the
                             * data's scores (cosent, cosine, margin-mse), which may also be a cross-encoder's. NULL: none */
    const char *similarity; /* "cosine", "dot", for triplet "euclidean"; NULL: cosine; euclidean for triplet, dot for margin-mse */
    double scale;           /* of similarities in multiple-negatives, simcse and cosent; 0: 20 */
    double margin;          /* of triplet and contrastive; below 0: 5 and 0.5 */
    bool symmetric;         /* multiple-negatives: each positive must also find its anchor */
    const char *matryoshka_dims, *matryoshka_weights; /* "384,128,32": the loss also of the first so many columns; weights NULL: 1 each */
    const char *pooling;    /* "mean", "cls", ... (QN_POOL_MAP), or several that stand side by side, "cls,mean"; NULL: as the folder says, mean
                             * without */
    bool multi_vector;      /* vectors become ColBERT's: one of `dense` values (0: 128) for each token */
    size_t dense;           /* above 0: a dense layer of that width is put behind the pooling */
    const char *dense_activation; /* of it: "tanh" (NULL), "linear", "gelu", "relu", "silu" */
    int normalize;          /* vectors of length one: 1, 0, or -1: as the folder says */
    bool sparse;            /* vectors become SPLADE's: a weight for each word of the vocabulary, by the masked-language head */
    double query_flops, document_flops; /* sparse: how much each word in use costs; below 0: 5e-5 and 3e-5 */
    size_t mini_batch;      /* texts that are encoded at once; the loss is still of the whole batch, whose memory is then small (GradCache,
                             * Gao et al. 2021). 0: all */
    int no_duplicates;      /* no text twice in a batch: 1, 0, or -1: where the other examples of a batch are negatives */
} qn_embed_training;

/* The decoder that writes a text again from its vector: embed with the loss tsdae, and denoise of an encoder. */
typedef struct {
    int tied;      /* its weights are the encoder's (1), or its own, which begin as the encoder's (0); -1: tied for tsdae */
    size_t layers; /* ... of its own: so many; 0: as many as the encoder */
    size_t latent; /* denoise: numbers of a text's vector; 0: as many as of a token's */
    bool variational; /* denoise: vectors are drawn from normal variables in training (Kingma & Welling 2013) */
    double beta;      /* ... how much the divergence of these from standard normal ones counts */
    int64_t beta_warmup_steps; /* ... in which that weight rises from 0 (Bowman et al. 2016) */
} qn_decoder_training;

/* What is done to a text that a model learns to restore (Lewis et al. 2020, BART), each as a share; below 0: not, and where all are below
 * 0, what is usual for the loss or objective. What happens to a text is a function of the seed, the epoch and the text's number. */
typedef struct {
    double permute;  /* of its sentences, which change places among themselves */
    double infill;   /* of its tokens, which spans cover: each span becomes one mask */
    double span;     /* mean of the spans' lengths, which are Poisson's; below 0: 3 */
    double deletion; /* of its tokens, which go */
    double mask;     /* of its tokens, which become masks */
} qn_noise_training;

/* ---- Training -------------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t step, total_steps;
    double epoch, total_epochs;
    double loss;            /* of this step */
    double learning_rate, gradient_norm;
    double tokens_per_second, seconds, seconds_left; /* left: NaN while unknown */
    size_t peak_memory;     /* bytes */
    const char *line;       /* the progress line, laid out for `progress_width` */
} qn_training_step;

typedef struct {
    /* What to train. Paths are NULL where not used. */
    const char *model;         /* folder to go on from; for pre-training also a config.json to begin from scratch */
    const char *tokenizer;     /* folder; NULL: the model's */
    const char *output;        /* run folder; made. A finished or other run there is refused unless `overwrite` */
    bool overwrite;
    const char *resume;        /* "": the last checkpoint of `output` if there is one; a checkpoint's folder; NULL: begin */
    const char *task;          /* finetune: "classify", "few-shot", "regress", "tag", "answer", "rerank", "embed" or "translate"; pretrain's objective: "mlm" of an
                                * encoder, "clm" of a decoder, "denoise" of an encoder-decoder, or of an encoder, which gets a decoder
                                * that writes a text from its vector (an autoencoder of texts), "autoencode" of an autoencoder of numbers; NULL: by the model,
                                * mlm for an encoder */
    const char *const *train;  /* data files */
    size_t train_count;
    const char *validation;    /* file; NULL: none */
    const char *test;          /* file measured at the end with the best model; NULL: none */
    qn_data_options data;
    bool multi_label;          /* classify: any number of labels per example */
    const char *dtype;         /* of what products read, forward and backward: "f32" (NULL) or "bf16", which needs a CPU that has it.
                                * Weights, gradients and sums are float32 in both, and evaluations run in float32 */

    /* How. */
    double learning_rate, weight_decay, beta1, beta2, epsilon, max_gradient_norm; /* norm 0: no clipping */
    const char *schedule;      /* "linear", "cosine", "constant", "inverse_sqrt" (which needs a warmup) */
    double warmup_ratio;       /* of all steps */
    int64_t warmup_steps;      /* when above 0, instead of the ratio */
    double epochs;
    int64_t max_steps;         /* when above 0, instead of epochs */
    double max_minutes;        /* of this run, resumes included; when above 0, the schedule is stretched to end at that time */
    size_t batch_size;         /* examples per step; 0: batch_tokens decides */
    size_t batch_tokens;       /* tokens per step */
    int accumulation;          /* micro-batches per step */
    size_t max_length;         /* tokens per example; 0: the model's limit */
    bool group_by_length;      /* batches of similar lengths */
    double label_smoothing, layer_decay, dropout; /* dropout < 0: as config.json says */
    bool label_all_tokens;     /* tag: every token of a word is trained, not its first alone */
    bool balanced;             /* class weights n / (labels * count) */
    int64_t pairs;             /* few-shot: pairs with texts of its class that each text begins, in an epoch */
    int64_t freeze_layers;     /* the first so many layers and the embeddings stay as they are, and run without dropout; -1: nothing is
                                * frozen */
    size_t activation_cache;   /* finetune: MB of memory for what frozen layers make of the training texts, so that they run once per text;
                                * what needs more lies in a file of `output` while it trains. 0: they run in each step, to the same bits */
    bool gradient_checkpointing; /* of each layer only the input is kept, and backward runs it again: less memory, a third more time, the
                                * same bits (Chen et al. 2016) */
    qn_embed_training embed;   /* embed */
    qn_noise_training noise;   /* embed with the loss tsdae (of words; deletion 0.6 if none is given), denoise (spans of 0.3 and permuted
                                * sentences for an encoder-decoder, deletion 0.1 for an encoder) */
    qn_decoder_training decoder;
    int64_t lora_rank;         /* above 0: the weights stay as they are, and only factors of this rank that are added to them and the
                                * task's head are trained (LoRA, Hu et al. 2021). The output is then an adapter's folder, as PEFT's */
    double lora_alpha;         /* factors count alpha / rank times; 0: twice the rank */
    double lora_dropout;       /* of their inputs */
    const char *lora_targets;  /* "query,value": which linear layers, by names or ends of names, or by query, key, value,
                                * attention_output, up, down; NULL: "all-linear" */
    bool lora_rank_stabilized; /* alpha / sqrt(rank) (Kalajdzievski 2023) */
    const char *adapter;       /* folder of an adapter to go on from */
    double mask_probability;   /* mlm */
    bool whole_word, next_sentence;
    uint64_t seed;
    int threads;

    /* Evaluation and checkpoints. */
    int64_t eval_steps;        /* 0: after each epoch */
    int64_t save_steps;        /* 0: with each evaluation */
    const char *best_metric;   /* "accuracy", "macro_f1", "mcc", "loss", ...; NULL: accuracy, pearson or loss */
    int patience;              /* evaluations without improvement before stopping early; 0: never */
    int64_t log_steps;         /* steps between lines of log.jsonl */
    int keep_checkpoints;      /* last ones kept */
    double ema;                /* decay of a running mean of the weights, which is what is evaluated and saved: 0.999; 0: none */
    int average_last;          /* the model in the end is the mean of so many last checkpoints' weights; 0: the best or last one */
    const char *command;       /* the command line, for the report */

    /* Called after each step on the calling thread; may be NULL. A false from `stop` lets training go on; true saves a checkpoint and
     * leaves with QN_INTERRUPTED. `stop` is asked often and must be quick. */
    void (*on_step)(void *user, const qn_training_step *step);
    void (*on_message)(void *user, const char *message); /* what a person wants to read: evaluations, checkpoints */
    bool (*stop)(void *user);
    void *user;
    int progress_width;        /* columns of the terminal; 0: not a terminal */
    bool progress_unicode;
} qn_training;

QN_API qn_training qn_training_defaults(bool pretraining);
/* Trains; the run folder then holds the model (the best one, by the validation file if given), report.html, log.jsonl and args.json.
 * *json (free() it; NULL is allowed) has the last metrics. */
QN_API qn_status qn_finetune(const qn_training *training, char **json);
QN_API qn_status qn_pretrain(const qn_training *training, char **json);

/* ---- A search for settings ------------------------------------------------------------------------------------------- */

/* A training of a search, with the settings that were searched. */
typedef struct {
    int64_t number;            /* from 1 */
    const char *stage;         /* "first", "halving", "near the best" */
    double learning_rate, epochs;
    size_t batch_size;
    int64_t freeze_layers;     /* as in qn_training */
    size_t layers;             /* of the model */
    const char *metric;        /* of the validation file, by which trials are compared */
    double value;              /* NaN: the training diverged */
    bool lower_is_better, best; /* best: of all trials so far */
    double seconds;
} qn_trial;

typedef struct {
    qn_training training;      /* of all trials. output is the search's folder; learning_rate and batch_size are where it begins, epochs is the
                                * longest training; a validation file is needed */
    double minutes;            /* of the whole search, resumes included */
    double least_rate, most_rate;
    size_t least_batch, most_batch; /* examples; equal bounds settle a setting */
    bool search_depth;         /* how many of the first layers are frozen; not with freeze_layers from 0 on, nor with LoRA */
    size_t most_trials;        /* 0: as many as there is time for */
    void (*on_trial)(void *user, const qn_trial *trial); /* after each one, with training.user; may be NULL */
} qn_tuning;

QN_API qn_tuning qn_tuning_defaults(void);
/* Searches learning rate, batch size, epochs and depth of a fine-tuning: successive halving over random settings (Jamieson & Talwalkar
 * 2016), then settings near the best. The folder then holds best/ (the best trial's model), trials.jsonl and report.html. With
 * training.resume "" a search goes on that was stopped, or whose time was over, if it gets more. *json (free() it; NULL is allowed) has the
 * best settings, and with a test file its measures. */
QN_API qn_status qn_tune(const qn_tuning *tuning, char **json);

/* ---- Tensors and operations (advanced) -------------------------------------------------------------------------------
 *
 * The pieces that models are made of, for layers built by hand (examples/layer.c). They are the functions that the library
 * itself calls: nothing is wrapped.
 *
 * An operation returns NULL when it fails; the context keeps the first failure, and an operation that is given a NULL tensor
 * returns NULL. So a layer is written without checks, and the loss, qn_backward or qn_context_status says at the end whether
 * all went well. Messages name shapes: QN_ERROR_ARGUMENT for those that do not fit, QN_ERROR_MEMORY.
 *
 * Values are float32, row-major. T is the number of rows (tokens of all sequences, packed one after another, without padding),
 * d a width, n a number of sequences. Rows of an operation's result have the same bits whatever other rows are there and however
 * many threads run. What a formula says is in docs/mathematics.md, with the file that computes it. */

/* Where operations run: threads, memory for one step, and the recording. One context serves one thread at a time. */
typedef struct qn_context qn_context;
/* A shape over memory, and perhaps its gradient. */
typedef struct qn_tensor qn_tensor;

/* threads 0: all processors of this process. isa: NULL for the best that this CPU has (or the environment's QUERN_ISA), or
 * "ref", "avx2", "avx512"; QN_ERROR_UNSUPPORTED where it is unknown or this CPU lacks it. Caller destroys. */
QN_API qn_status qn_context_create(int threads, const char *isa, qn_context **out);
QN_API void qn_context_destroy(qn_context *context); /* NULL is allowed; parameters live on */

/* Begins a step: every tensor but parameters is gone, and so are the recording's entries and the failure. Memory is kept, so
 * that steps of equal size take nothing from the heap. */
QN_API void qn_context_reset(qn_context *context);
/* The first failure since the last reset; QN_OK when there was none. */
QN_API qn_status qn_context_status(const qn_context *context);

/* From begin to end, operations remember what backward needs. Both forget what was recorded before. */
QN_API void qn_recording_begin(qn_context *context);
QN_API void qn_recording_end(qn_context *context);

/* Switches dropout on or off (it is off in a new context). Which elements are dropped is a function of `seed`, the number of the
 * dropout since this call and the element's place: give each step its own seed. */
QN_API void qn_context_dropout(qn_context *context, bool on, uint64_t seed);

/* A constant of this step: a copy of `data` in a tensor of 1 to 4 dimensions. Belongs to the context until the next reset. */
QN_API qn_tensor *qn_constant(qn_context *context, int rank, const size_t *shape, const float *data);

/* A parameter, with room for its gradient and the optimizer's two moments (both zero); data NULL: zeros. It belongs to no context.
 * The caller frees it, after the last use by any context. Several contexts may read one at once; writing is for one thread. */
QN_API qn_status qn_parameter_create(int rank, const size_t *shape, const float *data, qn_tensor **out);
QN_API void qn_parameter_free(qn_tensor *parameter); /* NULL is allowed */

/* `count` normal random numbers with mean 0: a function of seed, stream and place alone. */
QN_API void qn_random_normal(uint64_t seed, uint64_t stream, double deviation, float *values, size_t count);

QN_API int qn_tensor_rank(const qn_tensor *tensor);
QN_API size_t qn_tensor_size(const qn_tensor *tensor, int dimension); /* 0 outside the rank */
QN_API size_t qn_tensor_count(const qn_tensor *tensor);               /* elements: the sizes multiplied */
QN_API float *qn_tensor_data(qn_tensor *tensor);
/* The gradient, of the same shape. NULL where there is none: before a loss, and for what no parameter contributed to. Parameters
 * always have one; backward adds to it, the optimizer's step zeroes it. Gradients of other tensors are gone after backward. */
QN_API float *qn_tensor_grad(qn_tensor *tensor);

/* Name in a Hugging Face config.json (hidden_act), enumerator. */
#define QN_ACTIVATION_MAP(X)                                                                                           \
    X("linear", NONE)                                                                                                  \
    X("gelu", GELU)          /* x Phi(x), Phi by erf: Hendrycks & Gimpel 2016 */                                       \
    X("gelu_new", GELU_TANH) /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), same paper */                         \
    X("relu", RELU)                                                                                                    \
    X("silu", SILU) /* x sigmoid(x) */                                                                                 \
    X("tanh", TANH)
typedef enum {
#define QN_ACTIVATION_ENUM(text, name) QN_ACTIVATION_##name,
    QN_ACTIVATION_MAP(QN_ACTIVATION_ENUM)
#undef QN_ACTIVATION_ENUM
} qn_activation;

typedef enum {
#define QN_POOL_ENUM(name, text) QN_POOL_##name,
    QN_POOL_MAP(QN_POOL_ENUM)
#undef QN_POOL_ENUM
        QN_POOLS
} qn_pool;

/* The sequences of a batch: sequence i is rows offsets[i] .. offsets[i+1]-1; offsets [n+1] ascend from 0 to T. An empty sequence is
 * allowed. */
typedef struct {
    size_t sequences;
    const int32_t *offsets;
} qn_ragged;

/* In what follows, arrays of integers (offsets, ids, index) belong to the caller; while recording they must stay as they are until
 * qn_backward. Weights, biases, tables, gamma and beta are parameters or constants, not results of operations. */

/* f(x W^T + b): x [T, in], weight [out, in], bias [out] or NULL -> [T, out] */
QN_API qn_tensor *qn_linear(qn_context *context, qn_tensor *x, qn_tensor *weight, qn_tensor *bias, qn_activation f);
/* The sum of one to three tables' rows: table[k] [size_k, d], ids[k] [rows], each 0 .. size_k-1 -> [rows, d] */
QN_API qn_tensor *qn_embedding(qn_context *context, size_t rows, size_t tables, qn_tensor *const *table,
                               const int32_t *const *ids);
/* Multi-head self-attention inside each sequence, softmax(Q K^T / sqrt(h)) V with h = d / heads (Vaswani et al. 2017, equation 1):
 * qkv [T, 3 d], queries, keys and values side by side -> [T, d]. No s x s matrix is kept. `dropout` is of the probabilities. */
QN_API qn_tensor *qn_self_attention(qn_context *context, qn_tensor *qkv, size_t heads, qn_ragged batch, float dropout);
/* Attention of some rows, or of other rows: the queries [Tq, d] of sequence i see the keys and values kv [T, 2 d] (side by side) of
 * sequence i -> [Tq, d]. A query of an empty sequence gives zeros. */
QN_API qn_tensor *qn_attention(qn_context *context, qn_tensor *query, qn_ragged queries, qn_tensor *kv, qn_ragged batch, size_t heads,
                               float dropout);
/* The layer norm (Ba, Kiros, Hinton 2016) of x + dropout(sub): x, sub [T, d] (sub NULL: x alone), gamma, beta [d] -> [T, d].
 * beta NULL: zeros. *sum gets x + dropout(sub); `sum` NULL: not wanted. */
QN_API qn_tensor *qn_add_norm(qn_context *context, qn_tensor *x, qn_tensor *sub, qn_tensor *gamma, qn_tensor *beta, float eps,
                              float dropout, qn_tensor **sum);
/* The same as RMSNorm (Zhang, Sennrich 2019): the mean counts as 0, and there is no beta. */
QN_API qn_tensor *qn_add_rms_norm(qn_context *context, qn_tensor *x, qn_tensor *sub, qn_tensor *gamma, float eps, float dropout,
                                  qn_tensor **sum);
/* A gated linear unit (GeGLU, SwiGLU: Shazeer 2020): x [T, 2 n] holds gate and value side by side, the gate first or last;
 * f(gate) value -> [T, n] */
QN_API qn_tensor *qn_glu(qn_context *context, qn_tensor *x, qn_activation f, bool gate_last);
/* f(x), any shape */
QN_API qn_tensor *qn_activate(qn_context *context, qn_tensor *x, qn_activation f);
/* x keep / (1 - p), any shape; x itself where dropout is off or p is 0 (Srivastava et al. 2014) */
QN_API qn_tensor *qn_drop(qn_context *context, qn_tensor *x, float p);
/* factor x, any shape */
QN_API qn_tensor *qn_scale(qn_context *context, qn_tensor *x, float factor);
/* y[i] = x[index[i]]: x [T, d], index [rows] -> [rows, d] */
QN_API qn_tensor *qn_gather(qn_context *context, qn_tensor *x, size_t rows, const int32_t *index);
/* One vector per sequence (QN_POOL_MAP): x [T, d] -> [n, d]; zeros for an empty one */
QN_API qn_tensor *qn_pool_sequences(qn_context *context, qn_tensor *x, qn_ragged batch, qn_pool mode);
/* Rows divided by their length (at least 1e-12): x [T, d] -> [T, d] */
QN_API qn_tensor *qn_normalize(qn_context *context, qn_tensor *x);
/* count columns of x [T, d], from `first` on -> [T, count] */
QN_API qn_tensor *qn_columns(qn_context *context, qn_tensor *x, size_t first, size_t count);
/* scale a_i . b_j: a [n, d], b [m, d] -> [n, m] */
QN_API qn_tensor *qn_similarities(qn_context *context, qn_tensor *a, qn_tensor *b, float scale);
/* In groups of `width` rows, the first with each of the others: the dot product, or the Euclidean distance. x [n width, d] ->
 * [n, width - 1] */
QN_API qn_tensor *qn_group_scores(qn_context *context, qn_tensor *x, size_t width, bool distance);

/* Draws from normal variables of which each row x [T, 2 n] has the means, then the logarithms of the variances: mean + exp(log variance
 * / 2) noise -> [T, n], through which gradients pass (the reparameterization of Kingma & Welling 2013). The noise is a function of
 * qn_context_dropout's seed, the number of the operation since that call and the element's place. */
QN_API qn_tensor *qn_reparameterize(qn_context *context, qn_tensor *x);

/* Losses: the mean over the batch in *loss; while recording, the gradient of their input too. They return the context's status. */

/* Softmax cross-entropy of logits [T, C]: targets [T], one class per row, negative for none; class_weights [C] or NULL; smoothing is
 * the share of the target that is spread over all classes (as torch.nn.functional.cross_entropy and transformers; fairseq spreads its
 * own over the other C - 1 classes, which is smoothing C / (C - 1) here). */
QN_API qn_status qn_cross_entropy(qn_context *context, qn_tensor *logits, const int32_t *targets, const float *class_weights,
                                  float smoothing, double *loss);
/* Two softmax cross-entropies of each sequence over its own rows: of column 0 of logits [T, 2] with the row starts[i], of column 1 with
 * ends[i], counted from the sequence's first; negative for none. starts, ends [n] */
QN_API qn_status qn_span_cross_entropy(qn_context *context, qn_tensor *logits, qn_ragged batch, const int32_t *starts,
                                       const int32_t *ends, double *loss);
/* Of sigmoid(logits), each an answer of its own: logits, targets [n, C] */
QN_API qn_status qn_binary_cross_entropy(qn_context *context, qn_tensor *logits, const float *targets, double *loss);
/* predictions, targets [n, C] */
QN_API qn_status qn_mean_squared_error(qn_context *context, qn_tensor *predictions, const float *targets, double *loss);

/* How far such variables x [T, 2 n] are from standard normal ones: the mean over rows of KL(N(mean, variance) || N(0, 1)), in nats. The
 * gradient is that of weight times it; *loss is without the weight. */
QN_API qn_status qn_gaussian_divergence(qn_context *context, qn_tensor *x, float weight, double *loss);

/* Of similarities or distances of texts, which examples have one or more of: */
/* CoSENT, log(1 + sum over pairs i, j with targets_i > targets_j of exp(scale (s_j - s_i))): scores [n, 1], targets [n] */
QN_API qn_status qn_cosent_loss(qn_context *context, qn_tensor *scores, const float *targets, float scale, double *loss);
/* max(0, s_0 - s_1 + margin) of distances [n, 2] to a positive and a negative; of similarities max(0, s_1 - s_0 + margin) */
QN_API qn_status qn_triplet_loss(qn_context *context, qn_tensor *scores, bool distances, float margin, double *loss);
/* (s_0 - s_k - t_k)^2, k = 1 .. K: scores [n, K + 1], targets [n, K] */
QN_API qn_status qn_margin_loss(qn_context *context, qn_tensor *scores, const float *targets, double *loss);
/* (t e^2 + (1 - t) max(0, margin - e)^2) / 2 with e = 1 - s: scores [n, 1], targets [n], 1 for pairs that belong together, else 0 */
QN_API qn_status qn_contrastive_loss(qn_context *context, qn_tensor *scores, const float *targets, float margin, double *loss);

/* The mean over texts i, and over the others p of i's class, of -log softmax_p(s_i without s_ii): scores [n, n], classes [n]. A text that
 * is alone in its class counts for nothing. */
QN_API qn_status qn_class_contrastive_loss(qn_context *context, qn_tensor *scores, const int32_t *classes, double *loss);

/* Runs the recording backward from the losses and empties it: parameters' gradients are added to. QN_ERROR_ARGUMENT when nothing
 * records; else the context's status. */
QN_API qn_status qn_backward(qn_context *context);

typedef struct {
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    double max_gradient_norm; /* of all gradients together; larger ones are scaled down; 0: no clipping */
} qn_adamw_options;
/* 1e-3, 0.9, 0.999, 1e-8, no decay, no clipping */
QN_API qn_adamw_options qn_adamw_defaults(void);
/* One update of `count` parameters by their gradients, which are zero afterwards (Loshchilov & Hutter 2019, as torch.optim.AdamW).
 * step is 1 for the first one. options NULL: the defaults. A gradient that is not finite is QN_ERROR_DIVERGED and changes nothing. */
QN_API qn_status qn_adamw_step(qn_context *context, qn_tensor *const *parameters, size_t count, const qn_adamw_options *options,
                               int64_t step);

#ifdef __cplusplus
}
#endif
#endif
