// The tokenizer as an object: making, questions about single tokens, decoding.
#include "text/tokenizer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/pipeline.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

#define QN_SPECIAL_KEY(name, key, token) key,
#define QN_SPECIAL_NAME(name, key, token) token,
const char *const qn_special_keys[QN_TOKEN_COUNT] = {QN_SPECIAL_TOKEN_MAP(QN_SPECIAL_KEY)};
const char *const qn_special_names[QN_TOKEN_COUNT] = {QN_SPECIAL_TOKEN_MAP(QN_SPECIAL_NAME)};

qn_status qn_tokenizer_create(qn_tokenizer **out) {
    *out = qn_calloc(1, sizeof **out);
    if (!*out) return QN_ERROR_MEMORY;
    (*out)->model.unknown = (*out)->words.unknown = -1;
    (*out)->words.bpe.unknown = (*out)->words.unigram.unknown = -1;
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++) (*out)->special[i] = -1;
    return QN_OK;
}

void qn_tokenizer_free(qn_tokenizer *t) {
    if (!t) return;
    qn_added_free(&t->added);
    qn_bert_free(t->bert);
    qn_vocabulary_free(&t->vocabulary);
    qn_wordpiece_clear(&t->model);
    qn_steps_free(&t->normalizers);
    qn_steps_free(&t->splitters);
    qn_steps_free(&t->decoders);
    qn_word_model_clear(&t->words);
    free(t->trims);
    free(t->single.parts);
    free(t->pair.parts);
    free(t->decoder_prefix);
    free(t->info);
    qn_buffer_free(&t->json_file);
    qn_buffer_free(&t->config_file);
    qn_buffer_free(&t->special_file);
    free(t);
}

// Whether a token goes on with the word of the one before: it has the model's prefix, or lacks its sign of a space.
static bool continues_word(const qn_tokenizer *t, const char *token, size_t size) {
    if (t->words.kind == QN_MODEL_WORDPIECE) return qn_wordpiece_continues(&t->model, token, size);
    if (t->words.kind == QN_MODEL_WORDLEVEL || size == 0) return false;
    const char *prefix = t->words.bpe.prefix;
    if (prefix) return size >= strlen(prefix) && memcmp(token, prefix, strlen(prefix)) == 0;
    return memcmp(token, "\xC4\xA0", size < 2 ? size : 2) != 0 &&
           memcmp(token, "\xE2\x96\x81", size < 3 ? size : 3) != 0;
}

// The normalised form of an added token's content.
typedef struct {
    const qn_bert *bert;
    qn_words words;
    qn_buffer text;
    qn_align *aligns;
    size_t aligns_capacity;
} normalizer;

static qn_status normalize_content(void *user, const char *text, size_t size, const char **out, size_t *out_size) {
    normalizer *n = user;
    qn_buffer_clear(&n->text);
    QN_TRY(qn_bert_normalize(&n->words, n->bert, text, 0, size, 0, &n->text, &n->aligns, &n->aligns_capacity));
    *out = n->text.data;
    *out_size = n->text.size;
    return QN_OK;
}

typedef struct {
    const qn_steps *steps;
    qn_work work;
} step_normalizer;

static qn_status normalize_by_steps(void *user, const char *text, size_t size, const char **out, size_t *out_size) {
    step_normalizer *n = user;
    int32_t character = 0;
    QN_TRY(qn_form_read(&n->work.form, text, 0, size, &character));
    QN_TRY(qn_run_normalizers(n->steps, &n->work));
    *out = n->work.form.text;
    *out_size = n->work.form.size;
    return QN_OK;
}

// The models, and the added tokens in their normalised forms.
static qn_status finish_parts(qn_tokenizer *t, const qn_bert_options *options) {
    if (t->words.kind == QN_MODEL_WORDPIECE) QN_TRY(qn_wordpiece_finish(&t->model, &t->vocabulary));
    if (t->general) {
        t->words.vocabulary = &t->vocabulary;
        t->words.wordpiece = &t->model;
        QN_TRY(qn_word_model_finish(&t->words));
        size_t count = t->splitters.count;
        t->raw_bytes = count > 0 && t->splitters.steps[count - 1].kind == QN_STEP_BYTES &&
                       t->words.kind == QN_MODEL_BPE && t->words.bpe.all_bytes;
        if (t->raw_bytes) t->splitters.count--;
        step_normalizer n = {.steps = &t->normalizers};
        qn_status status = qn_added_finish(&t->added, normalize_by_steps, &n);
        qn_work_free(&n.work);
        return status;
    }
    QN_TRY(qn_bert_create(options, &t->bert));
    normalizer n = {.bert = t->bert};
    qn_status status = qn_added_finish(&t->added, normalize_content, &n);
    qn_words_free(&n.words);
    qn_buffer_free(&n.text);
    free(n.aligns);
    return status;
}

// Characters of white space, GPT-2's sign for a space included, that a token begins and ends with.
static void count_spaces(const char *token, size_t size, uint16_t trims[2]) {
    uint32_t leading = 0, trailing = 0;
    bool begun = false;
    for (size_t i = 0; i < size;) {
        int32_t code;
        i += qn_utf8_next(token + i, size - i, &code);
        bool space = code >= 0 && (code == 0x120 || qn_unicode_is_space((uint32_t)code));
        begun |= !space;
        leading += !begun;
        trailing = space ? trailing + 1 : 0;
    }
    trims[0] = (uint16_t)(leading < UINT16_MAX ? leading : UINT16_MAX);
    trims[1] = (uint16_t)(trailing < UINT16_MAX ? trailing : UINT16_MAX);
}

static qn_status finish_trims(qn_tokenizer *t) {
    if (!t->trim_offsets) return QN_OK;
    t->trims = qn_calloc(t->size + 1, sizeof *t->trims);
    if (!t->trims) return QN_ERROR_MEMORY;
    for (size_t id = 0; id < t->vocabulary.size; id++) {
        size_t size;
        const char *token = qn_vocabulary_token(&t->vocabulary, (int32_t)id, &size);
        if (token) count_spaces(token, size, t->trims[id]);
    }
    return QN_OK;
}

qn_status qn_tokenizer_finish(qn_tokenizer *t, const qn_bert_options *options) {
    QN_TRY(finish_parts(t, options));

    t->size = t->vocabulary.size;
    for (size_t i = 0; i < t->added.count; i++)
        if ((size_t)t->added.tokens[i].id >= t->size) t->size = (size_t)t->added.tokens[i].id + 1;
    t->info = qn_calloc(t->size + 1, sizeof *t->info);
    if (!t->info) return QN_ERROR_MEMORY;
    for (size_t id = 0; id < t->vocabulary.size; id++) {
        size_t size;
        const char *token = qn_vocabulary_token(&t->vocabulary, (int32_t)id, &size);
        if (token && continues_word(t, token, size)) t->info[id] = QN_TOKEN_CONTINUES;
    }
    for (size_t i = 0; i < t->added.count; i++) {
        const qn_added_token *token = &t->added.tokens[i];
        t->info[token->id] = (uint32_t)(i + 1) << QN_TOKEN_ADDED_SHIFT | (token->special ? QN_TOKEN_SPECIAL : 0);
    }
    // A string that stands for two ids is special by either.
    for (size_t id = 0; t->vocabulary.trie.duplicates > 0 && id < t->vocabulary.size; id++) {
        size_t size;
        const char *token = qn_vocabulary_token(&t->vocabulary, (int32_t)id, &size);
        const qn_added_token *same = token && size > 0 ? qn_added_by_content(&t->added, token, size) : NULL;
        if (same && same->special) t->info[id] |= QN_TOKEN_SPECIAL;
    }
    return finish_trims(t);
}

qn_status qn_template_add(qn_template *template, int32_t id, int32_t type) {
    QN_TRY(qn_grow((void **)&template->parts, &template->capacity, template->count + 1, sizeof *template->parts));
    template->parts[template->count++] = (qn_template_part){id, type};
    return QN_OK;
}

qn_status qn_template_bert(qn_tokenizer *t) {
    int32_t cls = t->special[QN_TOKEN_CLS], sep = t->special[QN_TOKEN_SEP];
    if (cls >= 0) QN_TRY(qn_template_add(&t->single, cls, 0));
    QN_TRY(qn_template_add(&t->single, QN_TEMPLATE_TEXT, 0));
    if (sep >= 0) QN_TRY(qn_template_add(&t->single, sep, 0));
    for (size_t i = 0; i < t->single.count; i++) QN_TRY(qn_template_add(&t->pair, t->single.parts[i].id, 0));
    QN_TRY(qn_template_add(&t->pair, QN_TEMPLATE_PAIR, 1));
    return sep >= 0 ? qn_template_add(&t->pair, sep, 1) : QN_OK;
}

// --- Single tokens --------------------------------------------------------------------------------------------------

static const char *token_text(const qn_tokenizer *t, int32_t id, size_t *size) {
    *size = 0;
    if (id < 0 || (size_t)id >= t->size) return NULL;
    uint32_t number = t->info[id] >> QN_TOKEN_ADDED_SHIFT;
    if (number == 0) return qn_vocabulary_token(&t->vocabulary, id, size);
    *size = t->added.tokens[number - 1].size;
    return t->added.tokens[number - 1].content;
}

int32_t qn_tokenizer_find(const qn_tokenizer *t, const char *token, size_t size) {
    const qn_added_token *added = qn_added_by_content(&t->added, token, size);
    return added ? added->id : qn_vocabulary_id(&t->vocabulary, token, size);
}

size_t qn_tokenizer_size(const qn_tokenizer *t) {
    return t->size;
}

const char *qn_tokenizer_token(const qn_tokenizer *t, int32_t id) {
    size_t size;
    return token_text(t, id, &size);
}

int32_t qn_tokenizer_id(const qn_tokenizer *t, const char *token) {
    return qn_tokenizer_find(t, token, strlen(token));
}

int32_t qn_tokenizer_special(const qn_tokenizer *t, qn_special_token which) {
    return which < QN_TOKEN_COUNT ? t->special[which] : -1;
}

bool qn_tokenizer_is_special(const qn_tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->size && (t->info[id] & QN_TOKEN_SPECIAL);
}

bool qn_tokenizer_continues(const qn_tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->size && (t->info[id] & QN_TOKEN_CONTINUES);
}

size_t qn_tokenizer_max_length(const qn_tokenizer *t) {
    return t->max_length;
}

// --- Decoding -------------------------------------------------------------------------------------------------------

// Replaces each `from` in text[begin ..] by `to`, which is not longer.
static void replace_all(qn_buffer *text, size_t begin, const char *from, const char *to) {
    size_t from_size = strlen(from), to_size = strlen(to), out = begin;
    for (size_t i = begin; i < text->size;) {
        if (text->size - i >= from_size && memcmp(text->data + i, from, from_size) == 0) {
            memcpy(text->data + out, to, to_size);
            out += to_size;
            i += from_size;
        } else {
            text->data[out++] = text->data[i++];
        }
    }
    text->size = out;
    text->data[out] = 0;
}

// Of one token at a time, as the reference does it.
static void clean_up(qn_buffer *text, size_t begin) {
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) replace_all(text, begin, pairs[i][0], pairs[i][1]);
}

static qn_status decode_by_steps(const qn_tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                                 char **text) {
    qn_token_texts texts = {0};
    qn_pattern_room room = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        size_t size;
        const char *token = token_text(t, ids[i], &size);
        if (!token || (skip_special && qn_tokenizer_is_special(t, ids[i]))) continue;
        if (t->decoders.count == 0 && texts.count > 0) qn_buffer_char(&texts.text, ' ');
        status = qn_token_texts_add(&texts, token, size);
    }
    if (status == QN_OK) status = qn_run_decoders(&t->decoders, &texts, &room);
    if (status == QN_OK) {
        *text = qn_strndup(texts.text.size ? texts.text.data : "", texts.text.size);
        if (!*text) status = QN_ERROR_MEMORY;
    }
    qn_token_texts_free(&texts);
    qn_pattern_room_free(&room);
    return status;
}

qn_status qn_tokenizer_decode(const qn_tokenizer *t, const int32_t *ids, size_t count, bool skip_special, char **text) {
    *text = NULL;
    if (t->general) return decode_by_steps(t, ids, count, skip_special, text);
    qn_buffer out = {0};
    bool first = true;
    qn_buffer_append(&out, "", 0);
    for (size_t i = 0; i < count && !out.failed; i++) {
        size_t size;
        const char *token = token_text(t, ids[i], &size);
        if (!token || (skip_special && qn_tokenizer_is_special(t, ids[i]))) continue;
        size_t begin = out.size, prefix = t->decoder_prefix ? strlen(t->decoder_prefix) : 0;
        if (!first) {
            if (t->decoder_prefix && size >= prefix && memcmp(token, t->decoder_prefix, prefix) == 0) {
                token += prefix;
                size -= prefix;
            } else {
                qn_buffer_char(&out, ' ');
            }
        }
        first = false;
        qn_buffer_append(&out, token, size);
        if (t->decoder_prefix && t->decoder_cleanup && !out.failed && out.size > begin) clean_up(&out, begin);
    }
    qn_status status = qn_buffer_status(&out);
    if (status == QN_OK && !out.data) {
        out.data = qn_strdup("");
        status = out.data ? QN_OK : QN_ERROR_MEMORY;
    }
    if (status != QN_OK) {
        qn_buffer_free(&out);
        return status;
    }
    *text = out.data;
    return QN_OK;
}
