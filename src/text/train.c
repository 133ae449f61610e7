// Learning of a vocabulary of any kind: words are counted behind the kind's normaliser and pre-tokenizer, tokens are
// found for them, and all is written as a tokenizer.json, which is then read like any other.
#include "text/train.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

enum { PROGRESS_TEXTS = 16384 };

// Pre-tokenizers that are decoders too.
static const char metaspace[] = "{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": "
                                "\"always\", \"split\": true}";
static const char byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                                 "\"use_regex\": true}";

qn_tokenizer_options qn_tokenizer_defaults(qn_tokenizer_kind kind) {
    bool bert = kind == QN_WORDPIECE || kind == QN_WORDLEVEL;
    qn_tokenizer_options options = {.kind = kind,
                                    .vocab_size = 30000,
                                    .min_frequency = 2,
                                    .limit_alphabet = 1000,
                                    .lowercase = true,
                                    .strip_accents = true,
                                    .chinese_characters = true,
                                    .special = {"<pad>", "<unk>", "<s>", "</s>", "<mask>"},
                                    .max_length = 512};
    for (size_t i = 0; i < QN_TOKEN_COUNT && bert; i++) options.special[i] = qn_special_names[i];
    return options;
}

void qn_learning_warn(size_t kept, size_t letters, uint64_t left, uint64_t all) {
    if (left > all / 1000)
        qn_log(QN_LOG_WARNING,
               "the alphabet has %zu of the text's %zu characters (--limit-alphabet, --vocab-size), which leaves out "
               "%.2g %% of "
               "the text",
               kept, letters, 100 * (double)left / (double)all);
}

bool qn_learning_report(const qn_tokenizer_options *options, const char *stage, size_t done, size_t total) {
    return !options->progress || options->progress(options->progress_user, stage, done, total);
}

qn_status qn_learning_token(qn_learning *l, const char *head, size_t head_size, const char *tail, size_t tail_size,
                            int32_t *id) {
    size_t number = 0;
    qn_buffer_clear(&l->joined); // a copy, since the parts may lie in the array that grows
    qn_buffer_append(&l->joined, head, head_size);
    qn_buffer_append(&l->joined, tail, tail_size);
    QN_TRY(qn_buffer_status(&l->joined));
    QN_TRY(qn_word_counts_add(&l->tokens, l->joined.data, l->joined.size, 1, &number));
    *id = (int32_t)number;
    return QN_OK;
}

const char *qn_learning_token_text(const qn_learning *l, size_t id, size_t *size) {
    *size = l->tokens.words[id].size;
    return l->tokens.bytes + l->tokens.words[id].start;
}

// --- Words ----------------------------------------------------------------------------------------------------------

static const char *truth(bool value) {
    return value ? "true" : "false";
}

// {"normalizer": ..., "pre_tokenizer": ...
static void put_pipeline(const qn_tokenizer_options *o, qn_buffer *out) {
    if (o->kind == QN_WORDLEVEL)
        qn_buffer_printf(out,
                         "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, "
                         "\"handle_chinese_chars\": %s, \"strip_accents\": %s, \"lowercase\": %s},\n"
                         "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}",
                         truth(o->chinese_characters), truth(o->strip_accents), truth(o->lowercase));
    else if (o->kind == QN_UNIGRAM)
        qn_buffer_printf(out,
                         "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}, {\"type\": "
                         "\"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}]},\n"
                         "\"pre_tokenizer\": %s",
                         metaspace);
    else
        qn_buffer_printf(out, "\"normalizer\": null,\n\"pre_tokenizer\": %s",
                         o->byte_fallback ? metaspace : byte_level);
}

static qn_status count_text(qn_learning *l, const qn_steps steps[2], qn_work *work, const char *text, size_t size) {
    int32_t character = 0;
    if (size >= INT32_MAX) return qn_fail(QN_ERROR_ARGUMENT, "a text of 2 GiB or more (expected a smaller one)");
    QN_TRY(qn_form_read(&work->form, text, 0, size, &character));
    QN_TRY(qn_run_normalizers(&steps[0], work));
    QN_TRY(qn_run_splitters(&steps[1], work));
    for (size_t i = 0; i < work->range_count; i++) {
        size_t number;
        qn_range range = work->ranges[i];
        QN_TRY(qn_word_counts_add(&l->words, work->form.text + range.start, range.end - range.start, 1, &number));
    }
    return QN_OK;
}

static qn_status count_texts(qn_learning *l, const qn_steps steps[2], qn_text_source next, void *user) {
    qn_work work = {0};
    qn_status status = QN_OK;
    for (size_t texts = 0; status == QN_OK; texts++) {
        const char *text = NULL;
        size_t size = 0;
        if (texts % PROGRESS_TEXTS == 0 && !qn_learning_report(l->options, "count", texts, 0)) status = QN_INTERRUPTED;
        if (status == QN_OK) status = next(user, &text, &size);
        if (status != QN_OK || !text) break;
        status = count_text(l, steps, &work, text, size);
    }
    qn_work_free(&work);
    if (status == QN_OK && l->words.count == 0)
        return qn_fail(QN_ERROR_ARGUMENT, "the text to learn a vocabulary from has no words");
    return status;
}

static qn_status count_words(qn_learning *l, qn_text_source next, void *user) {
    static const char path[] = "pipeline";
    qn_buffer text = {0};
    json_t *root = NULL;
    qn_steps steps[2] = {{0}};
    qn_buffer_char(&text, '{');
    put_pipeline(l->options, &text);
    qn_buffer_char(&text, '}');
    qn_status status = qn_buffer_status(&text);
    if (status == QN_OK) status = qn_json_parse(text.data, text.size, path, &root);
    if (status == QN_OK) status = qn_steps_read_normalizer(&steps[0], json_object_get(root, "normalizer"), path);
    if (status == QN_OK) status = qn_steps_read_pre_tokenizer(&steps[1], json_object_get(root, "pre_tokenizer"), path);
    if (status == QN_OK) status = count_texts(l, steps, next, user);
    qn_steps_free(&steps[0]);
    qn_steps_free(&steps[1]);
    qn_buffer_free(&text);
    json_decref(root);
    return status;
}

// Words come in any order of texts, and tokens must not depend on it.
static int by_bytes(const char *bytes, const qn_counted_word *a, const qn_counted_word *b) {
    size_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(bytes + a->start, bytes + b->start, common);
    return order != 0 ? order : a->size < b->size ? -1 : a->size > b->size;
}

static int by_text(const void *left, const void *right, void *bytes) {
    return by_bytes(bytes, left, right);
}

static int by_count(const void *left, const void *right, void *bytes) {
    const qn_counted_word *a = left, *b = right;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    return by_bytes(bytes, a, b);
}

// --- WordLevel ------------------------------------------------------------------------------------------------------

static qn_status learn_words(qn_learning *l) {
    const qn_tokenizer_options *o = l->options;
    qsort_r(l->words.words, l->words.count, sizeof *l->words.words, by_count, l->words.bytes);
    for (size_t i = 0; i < l->words.count && l->tokens.count < o->vocab_size; i++) {
        const qn_counted_word *word = &l->words.words[i];
        int32_t id;
        if (word->count < o->min_frequency) break;
        QN_TRY(qn_learning_token(l, l->words.bytes + word->start, word->size, "", 0, &id));
    }
    const char *unknown = o->special[QN_TOKEN_UNK];
    if (!unknown || !*unknown)
        return qn_fail(QN_ERROR_ARGUMENT, "a vocabulary of words needs a token for unknown ones");
    qn_buffer_text(&l->model, "{\"type\": \"WordLevel\", \"unk_token\": ");
    qn_buffer_json_string(&l->model, unknown, strlen(unknown));
    qn_buffer_text(&l->model, ", \"vocab\": {");
    for (size_t i = 0; i < l->tokens.count; i++) {
        size_t size;
        const char *text = qn_learning_token_text(l, i, &size);
        qn_buffer_text(&l->model, i > 0 ? ",\n" : "\n");
        qn_buffer_json_string(&l->model, text, size);
        qn_buffer_printf(&l->model, ": %zu", i);
    }
    qn_buffer_text(&l->model, "}}");
    return qn_buffer_status(&l->model);
}

// --- tokenizer.json -------------------------------------------------------------------------------------------------

// A special token's string and id; NULL where there is none.
static const char *special_of(const qn_learning *l, qn_special_token which, int *id) {
    const char *name = l->options->special[which];
    if (!name || !*name) return NULL;
    *id = (int)l->tokens.count;
    if (l->options->pad_last && which == QN_TOKEN_PAD) return name;
    for (size_t i = 0; i < l->tokens.count; i++) {
        size_t size;
        const char *text = qn_learning_token_text(l, i, &size);
        *id = (int)i;
        if (size == strlen(name) && memcmp(text, name, size) == 0) return name;
    }
    return NULL;
}

static void put_added_tokens(const qn_learning *l, qn_buffer *out) {
    bool first = true;
    qn_buffer_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n\"added_tokens\": [");
    for (int i = 0; i < QN_TOKEN_COUNT; i++) {
        int id;
        const char *name = special_of(l, (qn_special_token)i, &id);
        if (!name) continue;
        qn_buffer_printf(out, "%s\n{\"id\": %d, \"content\": ", first ? "" : ",", id);
        qn_buffer_json_string(out, name, strlen(name));
        qn_buffer_printf(out,
                         ", \"single_word\": false, \"lstrip\": %s, \"rstrip\": false, \"normalized\": false, "
                         "\"special\": true}",
                         truth(i == QN_TOKEN_MASK && l->options->kind != QN_WORDLEVEL));
        first = false;
    }
    qn_buffer_text(out, "],\n");
}

// text </s>, pair </s>, as T5 and Marian.
static void put_ends(const char *last, int id, qn_buffer *out) {
    static const char *const keys[] = {"single", "pair"};
    qn_buffer name = {0};
    qn_buffer_json_string(&name, last, strlen(last));
    const char *quoted = name.data ? name.data : "";
    qn_buffer_text(out, "{\"type\": \"TemplateProcessing\"");
    for (int k = 0; k < 2; k++) {
        qn_buffer_printf(out, ", \"%s\": [", keys[k]);
        for (int i = 0; i <= k; i++)
            qn_buffer_printf(out,
                             "%s{\"Sequence\": {\"id\": \"%c\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": %s, "
                             "\"type_id\": 0}}",
                             i ? ", " : "", 'A' + i, quoted);
        qn_buffer_char(out, ']');
    }
    qn_buffer_printf(out, ", \"special_tokens\": {%s: {\"id\": %s, \"ids\": [%d], \"tokens\": [%s]}}}", quoted, quoted,
                     id, quoted);
    qn_buffer_free(&name);
}

// [CLS] text [SEP] pair [SEP] for words, and RoBERTa's <s> text </s> </s> pair </s> for the others.
static void put_template(const qn_learning *l, qn_buffer *out) {
    int begin = 0, end = 0;
    const char *first = special_of(l, QN_TOKEN_CLS, &begin), *last = special_of(l, QN_TOKEN_SEP, &end);
    bool bytes = l->options->kind == QN_BPE && !l->options->byte_fallback, bert = l->options->kind == QN_WORDLEVEL;
    if (!last || (!first && bert)) {
        qn_buffer_text(out, bytes ? byte_level : "null");
        return;
    }
    if (!first) {
        put_ends(last, end, out);
        return;
    }
    qn_buffer_printf(out, "{\"type\": \"%s\", \"sep\": [", bert ? "BertProcessing" : "RobertaProcessing");
    qn_buffer_json_string(out, last, strlen(last));
    qn_buffer_printf(out, ", %d], \"cls\": [", end);
    qn_buffer_json_string(out, first, strlen(first));
    qn_buffer_printf(out, ", %d]", begin);
    if (!bert) qn_buffer_printf(out, ", \"trim_offsets\": %s, \"add_prefix_space\": false", truth(bytes));
    qn_buffer_char(out, '}');
}

static const char *decoder_of(const qn_tokenizer_options *o) {
    if (o->kind == QN_UNIGRAM) return metaspace;
    if (o->kind == QN_WORDLEVEL) return "null";
    if (!o->byte_fallback) return byte_level;
    return "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": "
           "\"\xE2\x96\x81\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": "
           "\"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}";
}

static qn_status put_json(const qn_learning *l, qn_buffer *out) {
    put_added_tokens(l, out);
    put_pipeline(l->options, out);
    qn_buffer_text(out, ",\n\"post_processor\": ");
    put_template(l, out);
    qn_buffer_printf(out, ",\n\"decoder\": %s,\n\"model\": ", decoder_of(l->options));
    qn_buffer_append(out, l->model.data, l->model.size);
    qn_buffer_text(out, "\n}\n");
    return qn_buffer_status(out);
}

static qn_status build(const qn_learning *l, qn_tokenizer *t) {
    static const char path[] = "the learned tokenizer.json";
    qn_bert_options options = {0};
    QN_TRY(put_json(l, &t->json_file));
    QN_TRY(qn_tokenizer_parse_json(t, path, &options));
    for (int i = 0; i < QN_TOKEN_COUNT; i++) {
        int id;
        if (special_of(l, (qn_special_token)i, &id)) t->special[i] = id;
    }
    if (t->model.unknown < 0) t->model.unknown = t->special[QN_TOKEN_UNK];
    t->max_length = l->options->max_length;
    return qn_tokenizer_finish(t, &options);
}

// --- All of it ------------------------------------------------------------------------------------------------------

static qn_status learn(qn_learning *l, qn_text_source next, void *user) {
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++) {
        const char *name = l->options->special[i];
        int32_t id;
        bool later = l->options->pad_last && i == QN_TOKEN_PAD;
        if (name && *name && !later) QN_TRY(qn_learning_token(l, name, strlen(name), "", 0, &id));
    }
    if (l->tokens.count + 2 > l->options->vocab_size)
        return qn_fail(QN_ERROR_ARGUMENT, "a vocabulary of %zu tokens has no room beside the %zu special ones",
                       l->options->vocab_size, l->tokens.count);
    QN_TRY(count_words(l, next, user));
    if (l->options->kind == QN_WORDLEVEL) return learn_words(l);
    // The hash table of the words is not used from here on.
    qsort_r(l->words.words, l->words.count, sizeof *l->words.words, by_text, l->words.bytes);
    return l->options->kind == QN_BPE ? qn_learn_bpe(l) : qn_learn_unigram(l);
}

qn_status qn_tokenizer_train(const qn_tokenizer_options *options, qn_text_source next, void *user, qn_tokenizer **out) {
    *out = NULL;
    qn_tokenizer_options defaults = qn_tokenizer_defaults(QN_WORDPIECE);
    if (!options) options = &defaults;
    if (options->kind == QN_WORDPIECE && options->pad_last)
        return qn_fail(QN_ERROR_ARGUMENT, "the padding token of WordPiece is the first one, not the last");
    if (options->kind == QN_WORDPIECE) return qn_wordpiece_train(options, next, user, out);
    qn_tokenizer_options own = *options;
    own.vocab_size -= options->pad_last && own.vocab_size > 0; // one stands behind what is learned
    qn_learning l = {.options = &own};
    qn_tokenizer *tokenizer = NULL;
    qn_status status = learn(&l, next, user);
    if (status == QN_OK) status = qn_tokenizer_create(&tokenizer);
    if (status == QN_OK) status = build(&l, tokenizer);
    qn_word_counts_free(&l.words);
    qn_word_counts_free(&l.tokens);
    qn_buffer_free(&l.joined);
    qn_buffer_free(&l.model);
    if (status != QN_OK) {
        qn_tokenizer_free(tokenizer);
        return status;
    }
    *out = tokenizer;
    return QN_OK;
}
