// Reads tokenizer.json, the one-file form of Hugging Face tokenizers. Each part of the pipeline is read by a function
// of its own and refused by name where it is a kind that this version does not have.
#include "base/json.h"
#include "base/memory.h"
#include "text/pipeline.h"
#include "text/vocabulary_json.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_TEMPLATE = 64, MAX_NESTING = 16 };

typedef struct {
    const char *path;
    const json_t *root;
    qn_tokenizer *tokenizer;
    qn_bert_options *options;
    bool has_vocabulary; // read before
} reader;

// The part root[key] and its "type"; *part is NULL where it is missing or null.
static qn_status get_part(const reader *r, const char *key, json_t **part, const char **type) {
    *part = NULL;
    *type = "";
    QN_TRY(qn_json_object(r->root, r->path, key, false, part));
    return *part ? qn_json_string(*part, r->path, "type", false, type) : QN_OK;
}

static qn_status unsupported(const reader *r, const char *key, const char *type, const char *expected) {
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" of type \"%s\" is not supported (expected %s)", r->path, key, type,
                   expected);
}

// BERT's pipeline is folded into one pass (bert.h); all others go step by step.
static qn_status is_general(const reader *r, bool *general) {
    static const char *const expected[][2] = {{"normalizer", "BertNormalizer"},
                                              {"pre_tokenizer", "BertPreTokenizer"},
                                              {"model", "WordPiece"},
                                              {"decoder", "WordPiece"}};
    *general = false;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        json_t *part;
        const char *type;
        QN_TRY(get_part(r, expected[i][0], &part, &type));
        bool needed = i == 1, old = i == 2 && part && !*type; // old files have no type of the model
        *general |= part ? !old && strcmp(type, expected[i][1]) != 0 : needed;
    }
    return QN_OK;
}

static qn_status read_normalizer(const reader *r) {
    json_t *part;
    const char *type;
    QN_TRY(get_part(r, "normalizer", &part, &type));
    *r->options = (qn_bert_options){0};
    if (r->tokenizer->general) return qn_steps_read_normalizer(&r->tokenizer->normalizers, part, r->path);
    if (!part) return QN_OK;
    qn_bert_options *o = r->options;
    *o = (qn_bert_options){.clean_text = true, .chinese_characters = true, .lowercase = true};
    QN_TRY(qn_json_bool(part, r->path, "clean_text", false, &o->clean_text));
    QN_TRY(qn_json_bool(part, r->path, "handle_chinese_chars", false, &o->chinese_characters));
    QN_TRY(qn_json_bool(part, r->path, "lowercase", false, &o->lowercase));
    o->strip_accents = o->lowercase; // null means: as lowercase
    return qn_json_bool(part, r->path, "strip_accents", false, &o->strip_accents);
}

static qn_status read_pre_tokenizer(const reader *r) {
    json_t *part;
    const char *type;
    QN_TRY(get_part(r, "pre_tokenizer", &part, &type));
    return r->tokenizer->general ? qn_steps_read_pre_tokenizer(&r->tokenizer->splitters, part, r->path) : QN_OK;
}

// The largest id that is believed: tables are as long as the largest one, and a small file must not ask for large
// tables.
static int64_t largest_id(const qn_tokenizer *t) {
    return t->json_file.size < QN_MAX_TOKEN_ID - 65536 ? (int64_t)t->json_file.size + 65536 : QN_MAX_TOKEN_ID;
}

static qn_status read_model(const reader *r) {
    json_t *part = NULL, *vocabulary = NULL;
    const char *type = "WordPiece"; // old files have no type
    QN_TRY(qn_json_object(r->root, r->path, "model", true, &part));
    QN_TRY(qn_json_string(part, r->path, "type", false, &type));
    if (strcmp(type, "WordPiece") != 0)
        return qn_tokenizer_parse_model(r->tokenizer, r->path, type, part, r->has_vocabulary);
    const char *unknown = "[UNK]", *prefix = "##";
    int64_t max_characters = 100;
    QN_TRY(qn_json_string(part, r->path, "unk_token", false, &unknown));
    QN_TRY(qn_json_string(part, r->path, "continuing_subword_prefix", false, &prefix));
    QN_TRY(qn_json_int(part, r->path, "max_input_chars_per_word", false, 0, INT32_MAX, &max_characters));
    QN_TRY(qn_json_object(part, r->path, "vocab", true, &vocabulary));
    qn_tokenizer *t = r->tokenizer;
    if (!r->has_vocabulary) QN_TRY(qn_tokenizer_parse_tokens(t, r->path, vocabulary, largest_id(t)));
    if (t->vocabulary.count == 0) return qn_fail(QN_ERROR_FORMAT, "%s: the vocabulary is empty", r->path);
    QN_TRY(qn_vocabulary_finish(&t->vocabulary));
    if (t->vocabulary.trie.duplicates > 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: a token stands twice in the vocabulary", r->path);
    t->model.unknown = qn_vocabulary_id(&t->vocabulary, unknown, strlen(unknown));
    t->model.max_characters = (size_t)max_characters;
    t->model.prefix = qn_strdup(prefix);
    return t->model.prefix ? QN_OK : QN_ERROR_MEMORY;
}

static qn_status read_added_tokens(const reader *r) {
    json_t *list = NULL;
    QN_TRY(qn_json_array(r->root, r->path, "added_tokens", false, &list));
    int64_t limit = largest_id(r->tokenizer);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_object(item))
            return qn_fail(QN_ERROR_FORMAT, "%s: \"added_tokens\"[%zu] is not an object", r->path, i);
        qn_added_token token = {.normalized = true};
        const char *content = NULL;
        int64_t id = 0;
        QN_TRY(qn_json_string(item, r->path, "content", true, &content));
        QN_TRY(qn_json_int(item, r->path, "id", true, 0, limit, &id));
        QN_TRY(qn_json_bool(item, r->path, "single_word", false, &token.single_word));
        QN_TRY(qn_json_bool(item, r->path, "lstrip", false, &token.lstrip));
        QN_TRY(qn_json_bool(item, r->path, "rstrip", false, &token.rstrip));
        QN_TRY(qn_json_bool(item, r->path, "special", false, &token.special));
        token.normalized = !token.special;
        QN_TRY(qn_json_bool(item, r->path, "normalized", false, &token.normalized));
        // Where the model has the string too, its id counts, as in the reference.
        int32_t known = qn_vocabulary_id(&r->tokenizer->vocabulary, content, strlen(content));
        token.id = known >= 0 ? known : (int32_t)id;
        QN_TRY(qn_added_add(&r->tokenizer->added, &token, content, strlen(content)));
    }
    return QN_OK;
}

// {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}
static qn_status read_template_part(const reader *r, const json_t *specials, const json_t *item, qn_template *out) {
    json_t *special = NULL, *sequence = NULL;
    if (!json_is_object(item)) return qn_fail(QN_ERROR_FORMAT, "%s: a part of the template is not an object", r->path);
    QN_TRY(qn_json_object(item, r->path, "SpecialToken", false, &special));
    QN_TRY(qn_json_object(item, r->path, "Sequence", false, &sequence));
    const char *name = NULL;
    int64_t type = 0;
    const json_t *object = special ? special : sequence;
    if (!object)
        return qn_fail(QN_ERROR_FORMAT, "%s: a part of the template is neither SpecialToken nor Sequence", r->path);
    QN_TRY(qn_json_string(object, r->path, "id", true, &name));
    QN_TRY(qn_json_int(object, r->path, "type_id", false, 0, INT32_MAX, &type));
    if (!special) {
        int32_t which = strcmp(name, "B") == 0 ? QN_TEMPLATE_PAIR : QN_TEMPLATE_TEXT;
        return qn_template_add(out, which, (int32_t)type);
    }
    json_t *entry = NULL, *ids = NULL;
    QN_TRY(qn_json_object(specials, r->path, name, true, &entry));
    QN_TRY(qn_json_array(entry, r->path, "ids", true, &ids));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > QN_MAX_TOKEN_ID)
            return qn_fail(QN_ERROR_FORMAT, "%s: an id of \"%s\" in the template is out of range", r->path, name);
        if (out->count >= MAX_TEMPLATE) return qn_fail(QN_ERROR_FORMAT, "%s: the template is too long", r->path);
        QN_TRY(qn_template_add(out, (int32_t)json_integer_value(id), (int32_t)type));
    }
    return QN_OK;
}

static qn_status read_template(const reader *r, const json_t *part, const char *key, bool pair, qn_template *out) {
    json_t *list = NULL, *specials = NULL;
    QN_TRY(qn_json_array(part, r->path, key, true, &list));
    QN_TRY(qn_json_object(part, r->path, "special_tokens", false, &specials));
    json_t *none = specials ? NULL : json_object();
    qn_status status = QN_OK;
    for (size_t i = 0; i < json_array_size(list) && i < MAX_TEMPLATE && status == QN_OK; i++)
        status = read_template_part(r, specials ? specials : none, json_array_get(list, i), out);
    json_decref(none);
    QN_TRY(status);
    size_t texts = 0, pairs = 0;
    for (size_t i = 0; i < out->count; i++) {
        texts += out->parts[i].id == QN_TEMPLATE_TEXT;
        pairs += out->parts[i].id == QN_TEMPLATE_PAIR;
    }
    if (texts != 1 || pairs != pair)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: the template \"%s\" does not have each sequence once", r->path, key);
    return QN_OK;
}

// ["[SEP]", 102]
static qn_status read_named_id(const reader *r, const json_t *part, const char *key, int32_t *id) {
    json_t *list = NULL;
    QN_TRY(qn_json_array(part, r->path, key, true, &list));
    const json_t *value = json_array_get(list, 1);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > QN_MAX_TOKEN_ID)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" of the post-processor is not a token and its id", r->path, key);
    *id = (int32_t)json_integer_value(value);
    return QN_OK;
}

// <s> text </s>, and <s> text </s> </s> pair </s>, all of type 0.
static qn_status read_roberta(const reader *r, const json_t *part) {
    qn_tokenizer *t = r->tokenizer;
    int32_t cls, sep;
    QN_TRY(read_named_id(r, part, "cls", &cls));
    QN_TRY(read_named_id(r, part, "sep", &sep));
    t->special[QN_TOKEN_CLS] = cls;
    t->special[QN_TOKEN_SEP] = sep;
    t->trim_offsets = t->trim_keeps_first = t->bare_pair_type = true;
    QN_TRY(qn_json_bool(part, r->path, "trim_offsets", false, &t->trim_offsets));
    QN_TRY(qn_json_bool(part, r->path, "add_prefix_space", false, &t->trim_keeps_first));
    const int32_t single[] = {cls, QN_TEMPLATE_TEXT, sep},
                  pair[] = {cls, QN_TEMPLATE_TEXT, sep, sep, QN_TEMPLATE_PAIR, sep};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) QN_TRY(qn_template_add(&t->single, single[i], 0));
    for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) QN_TRY(qn_template_add(&t->pair, pair[i], 0));
    return QN_OK;
}

static qn_status read_processor(const reader *r, const json_t *part, int depth) {
    qn_tokenizer *t = r->tokenizer;
    const char *type = "";
    if (!json_is_object(part)) return qn_fail(QN_ERROR_FORMAT, "%s: \"post_processor\" is not an object", r->path);
    QN_TRY(qn_json_string(part, r->path, "type", false, &type));
    if (strcmp(type, "Sequence") == 0 && depth < MAX_NESTING) {
        json_t *list = NULL;
        QN_TRY(qn_json_array(part, r->path, "processors", true, &list));
        for (size_t i = 0; i < json_array_size(list); i++)
            QN_TRY(read_processor(r, json_array_get(list, i), depth + 1));
        return QN_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        t->trim_offsets = t->trim_keeps_first = true;
        QN_TRY(qn_json_bool(part, r->path, "trim_offsets", false, &t->trim_offsets));
        return qn_json_bool(part, r->path, "add_prefix_space", false, &t->trim_keeps_first);
    }
    if (t->single.count > 0)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: two post-processors that set special tokens", r->path);
    if (strcmp(type, "RobertaProcessing") == 0) return read_roberta(r, part);
    if (strcmp(type, "TemplateProcessing") == 0) {
        QN_TRY(read_template(r, part, "single", false, &t->single));
        return read_template(r, part, "pair", true, &t->pair);
    }
    if (strcmp(type, "BertProcessing") != 0)
        return unsupported(r, "post_processor", type,
                           "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel or Sequence");
    QN_TRY(read_named_id(r, part, "cls", &t->special[QN_TOKEN_CLS]));
    QN_TRY(read_named_id(r, part, "sep", &t->special[QN_TOKEN_SEP]));
    return qn_template_bert(t);
}

static qn_status read_post_processor(const reader *r) {
    json_t *part;
    const char *type;
    QN_TRY(get_part(r, "post_processor", &part, &type));
    if (part) QN_TRY(read_processor(r, part, 0));
    return r->tokenizer->single.count > 0 ? QN_OK : qn_template_bert(r->tokenizer); // bare sequences
}

static qn_status read_decoder(const reader *r) {
    json_t *part;
    const char *type, *prefix = "##";
    QN_TRY(get_part(r, "decoder", &part, &type));
    if (r->tokenizer->general) return qn_steps_read_decoder(&r->tokenizer->decoders, part, r->path);
    if (!part) return QN_OK;
    r->tokenizer->decoder_cleanup = true;
    QN_TRY(qn_json_bool(part, r->path, "cleanup", false, &r->tokenizer->decoder_cleanup));
    QN_TRY(qn_json_string(part, r->path, "prefix", false, &prefix));
    r->tokenizer->decoder_prefix = qn_strdup(prefix);
    return r->tokenizer->decoder_prefix ? QN_OK : QN_ERROR_MEMORY;
}

// Every id that the template gives must be a token's.
static qn_status check_template(const reader *r, const qn_template *template) {
    for (size_t i = 0; i < template->count; i++) {
        int32_t id = template->parts[i].id;
        size_t size;
        bool known = id < 0 || qn_vocabulary_token(&r->tokenizer->vocabulary, id, &size);
        for (size_t j = 0; j < r->tokenizer->added.count && !known; j++) known = r->tokenizer->added.tokens[j].id == id;
        if (!known) return qn_fail(QN_ERROR_FORMAT, "%s: the template has id %d, which no token has", r->path, (int)id);
    }
    return QN_OK;
}

static qn_status read_all(const reader *r) {
    QN_TRY(is_general(r, &r->tokenizer->general));
    QN_TRY(read_model(r)); // first: a file of another kind is best told by its model
    QN_TRY(read_normalizer(r));
    QN_TRY(read_pre_tokenizer(r));
    QN_TRY(read_added_tokens(r));
    QN_TRY(read_post_processor(r));
    QN_TRY(read_decoder(r));
    QN_TRY(check_template(r, &r->tokenizer->single));
    return check_template(r, &r->tokenizer->pair);
}

qn_status qn_tokenizer_parse_json(qn_tokenizer *tokenizer, const char *path, qn_bert_options *options) {
    const qn_buffer *text = &tokenizer->json_file;
    qn_buffer rest = {0};
    json_t *root = NULL;
    reader r = {path, NULL, tokenizer, options, false};
    qn_status status = qn_vocabulary_scan_json(text->data ? text->data : "", text->size, path, largest_id(tokenizer),
                                               &tokenizer->vocabulary, &rest, &r.has_vocabulary);
    if (status == QN_OK && r.has_vocabulary)
        status = qn_json_parse(rest.data, rest.size, path, &root);
    else if (status == QN_OK)
        status = qn_json_parse(text->data, text->size, path, &root);
    qn_buffer_free(&rest);
    QN_TRY(status);
    r.root = root;
    status = json_is_object(root) ? read_all(&r) : qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object", path);
    json_decref(root);
    return status;
}
