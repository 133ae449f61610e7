// Reads the models of tokenizer.json: BPE, Unigram and WordLevel.
#include "base/json.h"
#include "base/memory.h"
#include "text/pipeline.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_tokenizer_parse_tokens(qn_tokenizer *t, const char *path, const json_t *tokens, int64_t limit) {
    for (void *i = json_object_iter((json_t *)tokens); i; i = json_object_iter_next((json_t *)tokens, i)) {
        const json_t *id = json_object_iter_value(i);
        const char *key = json_object_iter_key(i);
        if (!json_is_integer(id))
            return qn_fail(QN_ERROR_FORMAT, "%s: the id of token \"%s\" is not a whole number", path, key);
        if (json_integer_value(id) < 0 || json_integer_value(id) > limit)
            return qn_fail(QN_ERROR_FORMAT, "%s: the id %lld of token \"%s\" is out of range (expected 0 to %lld)",
                           path, (long long)json_integer_value(id), key, (long long)limit);
        qn_status status = qn_vocabulary_add(&t->vocabulary, key, json_object_iter_key_len(i), json_integer_value(id));
        if (status != QN_OK) return qn_fail_prefix(status, "%s", path);
    }
    return QN_OK;
}

static qn_status read_tokens(qn_tokenizer *t, const char *path, const json_t *part, bool has_vocabulary) {
    json_t *tokens = NULL;
    int64_t limit = t->json_file.size < QN_MAX_TOKEN_ID - 65536 ? (int64_t)t->json_file.size + 65536 : QN_MAX_TOKEN_ID;
    QN_TRY(qn_json_object(part, path, "vocab", true, &tokens));
    if (!has_vocabulary) QN_TRY(qn_tokenizer_parse_tokens(t, path, tokens, limit));
    if (t->vocabulary.count == 0) return qn_fail(QN_ERROR_FORMAT, "%s: the vocabulary is empty", path);
    return qn_vocabulary_finish(&t->vocabulary);
}

static qn_status find_unknown(const qn_tokenizer *t, const char *path, const json_t *part, int32_t *id) {
    const char *unknown = NULL;
    QN_TRY(qn_json_string(part, path, "unk_token", false, &unknown));
    *id = unknown ? qn_vocabulary_id(&t->vocabulary, unknown, strlen(unknown)) : -1;
    return QN_OK;
}

// --- BPE ------------------------------------------------------------------------------------------------------------

// "left right", or ["left", "right"] where tokens have spaces.
static qn_status read_merge(qn_bpe *bpe, const char *path, const json_t *item, size_t number) {
    if (json_is_string(item)) {
        const char *text = json_string_value(item);
        size_t size = json_string_length(item);
        const char *space = memchr(text, ' ', size);
        if (!space)
            return qn_fail(QN_ERROR_FORMAT, "%s: merge %zu is not two tokens with a space between", path, number);
        size_t left = (size_t)(space - text);
        return qn_bpe_add_merge(bpe, path, number, text, left, space + 1, size - left - 1);
    }
    const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
    if (!json_is_string(left) || !json_is_string(right) || json_array_size(item) != 2)
        return qn_fail(QN_ERROR_FORMAT, "%s: merge %zu is not two tokens", path, number);
    return qn_bpe_add_merge(bpe, path, number, json_string_value(left), json_string_length(left),
                            json_string_value(right), json_string_length(right));
}

static qn_status copy_affix(const char *path, const json_t *part, const char *key, char **out) {
    const char *text = NULL;
    QN_TRY(qn_json_string(part, path, key, false, &text));
    if (!text || !*text) return QN_OK;
    *out = qn_strdup(text);
    return *out ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status read_bpe(qn_tokenizer *t, const char *path, const json_t *part, bool has_vocabulary) {
    qn_bpe *bpe = &t->words.bpe;
    json_t *merges = NULL;
    double dropout = 0;
    QN_TRY(qn_json_real(part, path, "dropout", false, 0, 1, &dropout));
    if (dropout > 0)
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: \"dropout\" is %g: the same text would give other tokens each time "
                       "(expected null or 0)",
                       path, dropout);
    QN_TRY(read_tokens(t, path, part, has_vocabulary));
    QN_TRY(find_unknown(t, path, part, &bpe->unknown));
    QN_TRY(copy_affix(path, part, "continuing_subword_prefix", &bpe->prefix));
    QN_TRY(copy_affix(path, part, "end_of_word_suffix", &bpe->suffix));
    QN_TRY(qn_json_bool(part, path, "fuse_unk", false, &bpe->fuse_unknown));
    QN_TRY(qn_json_bool(part, path, "byte_fallback", false, &bpe->byte_fallback));
    QN_TRY(qn_json_bool(part, path, "ignore_merges", false, &bpe->ignore_merges));
    QN_TRY(qn_json_array(part, path, "merges", true, &merges));
    bpe->vocabulary = &t->vocabulary;
    for (size_t i = 0; i < json_array_size(merges); i++) QN_TRY(read_merge(bpe, path, json_array_get(merges, i), i));
    return QN_OK;
}

// --- Unigram --------------------------------------------------------------------------------------------------------

// The score as the reference's parser (serde_json) reads it: all digits as one whole number, then divided or multiplied
// by a power of ten, which may be off by one in the last place. Ties between ways to cut a word depend on it.
static double read_score(const json_t *value) {
    double score = json_number_value(value);
    char text[40], *end;
    int digits = 15;
    do snprintf(text, sizeof text, "%.*e", digits - 1, score);
    while (strtod(text, NULL) != score && ++digits <= 17);
    uint64_t significand = 0;
    int fraction = 0;
    const char *c = text;
    for (bool point = false; *c && *c != 'e'; c++) {
        if (*c == '.') point = true;
        if (*c < '0' || *c > '9') continue;
        significand = 10 * significand + (uint64_t)(*c - '0');
        fraction += point;
    }
    if (*c != 'e') return score; // not finite
    long exponent = strtol(c + 1, &end, 10) - fraction;
    for (; significand > 0 && significand % 10 == 0; exponent++) significand /= 10; // as they are written
    if (exponent < -22 || exponent > 22) return score;
    double power = 1, result = (double)significand;
    for (long i = exponent < 0 ? -exponent : exponent; i > 0; i--) power *= 10; // exact up to 10^22
    result = exponent < 0 ? result / power : result * power;
    return score < 0 ? -result : result;
}

static qn_status read_unigram(qn_tokenizer *t, const char *path, const json_t *part) {
    qn_unigram *unigram = &t->words.unigram;
    json_t *tokens = NULL;
    int64_t unknown = -1;
    QN_TRY(qn_json_array(part, path, "vocab", true, &tokens));
    size_t count = json_array_size(tokens);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(tokens, i), *token = json_array_get(item, 0),
                     *score = json_array_get(item, 1);
        if (!json_is_string(token) || !json_is_number(score))
            return qn_fail(QN_ERROR_FORMAT, "%s: \"vocab\"[%zu] is not a token and its score", path, i);
        QN_TRY(qn_unigram_add_score(unigram, read_score(score)));
        qn_status status =
            qn_vocabulary_add(&t->vocabulary, json_string_value(token), json_string_length(token), (int64_t)i);
        if (status != QN_OK) return qn_fail_prefix(status, "%s", path);
    }
    if (count == 0) return qn_fail(QN_ERROR_FORMAT, "%s: the vocabulary is empty", path);
    QN_TRY(qn_vocabulary_finish(&t->vocabulary));
    QN_TRY(qn_json_int(part, path, "unk_id", false, 0, (int64_t)count - 1, &unknown));
    unigram->unknown = (int32_t)unknown;
    return qn_json_bool(part, path, "byte_fallback", false, &unigram->byte_fallback);
}

qn_status qn_tokenizer_parse_model(qn_tokenizer *t, const char *path, const char *type, const json_t *part,
                                   bool has_vocabulary) {
    if (strcmp(type, "BPE") == 0) {
        t->words.kind = QN_MODEL_BPE;
        QN_TRY(read_bpe(t, path, part, has_vocabulary));
        t->model.unknown = t->words.bpe.unknown;
    } else if (strcmp(type, "Unigram") == 0) {
        t->words.kind = QN_MODEL_UNIGRAM;
        QN_TRY(read_unigram(t, path, part));
        t->model.unknown = t->words.unigram.unknown;
    } else if (strcmp(type, "WordLevel") == 0) {
        t->words.kind = QN_MODEL_WORDLEVEL;
        QN_TRY(read_tokens(t, path, part, has_vocabulary));
        QN_TRY(find_unknown(t, path, part, &t->words.unknown));
        t->model.unknown = t->words.unknown;
    } else {
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: \"model\" of type \"%s\" is not supported (expected WordPiece, BPE, Unigram or WordLevel)",
                       path, type);
    }
    return QN_OK;
}
