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

/* Reads `path`: a folder with tokenizer.json or else vocab.txt (tokenizer_config.json and special_tokens_map.json
 * beside them are read too), or one of these two files itself. Caller frees with qn_tokenizer_free. */
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

typedef struct {
    size_t vocab_size;     /* at most so many tokens, special ones included */
    size_t min_frequency;  /* a pair seen less often is not merged */
    size_t limit_alphabet; /* at most so many different characters, the most frequent ones; 0: no limit */
    bool lowercase;
    bool strip_accents;
    bool chinese_characters;             /* each Chinese character is a word */
    const char *special[QN_TOKEN_COUNT]; /* strings of the special tokens, in qn_special_token's order, which get the
                                            first ids */
    size_t max_length;                   /* kept as the tokenizer's limit; 0: none */
    /* Called now and then; `stage` is "count" (done: texts, total: 0) or "merge" (done and total: tokens). False stops
     * with QN_INTERRUPTED. May be NULL. */
    bool (*progress)(void *user, const char *stage, size_t done, size_t total);
    void *progress_user;
} qn_wordpiece_options;

/* 30,000 tokens, pairs seen twice, 1,000 characters, lower case without accents, BERT's special tokens, 512 tokens. */
QN_API qn_wordpiece_options qn_wordpiece_defaults(void);

/* Gives the next text in *text and *size, valid until the next call; *text NULL at the end. Any status but QN_OK stops
 * the training with that status. */
typedef qn_status (*qn_text_source)(void *user, const char **text, size_t *size);

/* Learns a WordPiece vocabulary as Hugging Face's WordPieceTrainer does. The same texts, in any order, give the same
 * vocabulary. Memory grows with the number of different words, not with the text. Caller frees *out with
 * qn_tokenizer_free. */
QN_API qn_status qn_wordpiece_train(const qn_wordpiece_options *options, qn_text_source next, void *user,
                                    qn_tokenizer **out);

#ifdef __cplusplus
}
#endif
#endif
