// The tokenizer of a GGUF file, as the tokenizer.json and tokenizer_config.json that Hugging Face's library reads: BPE
// of bytes ("gpt2"), whose pre-tokenizer has a name that llama.cpp maps to patterns, or SentencePiece's ("llama").
#include "base/json.h"
#include "models/gguf_model.h"
#include "text/pieces_json.h"
#include <stdlib.h>
#include <string.h>

enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_BYTE = 6 }; // of tokens; 1 normal, 5 unused

// The names of pre-tokenizers (llama-vocab.cpp) by what they cut at, before or in place of GPT-2's pattern.
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS(digits)                                                                                                  \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                                                        \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const struct {
    const char *names;  // with a space around each
    const char *before; // of GPT-2's pattern
    const char *instead;
    bool begins, whole; // a text begins with the first token by default; a word that is a token is not cut
} kinds[] = {
    {" gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de jina-v2-code gigachat mpt olmo jais trillion granite-docling "
     "exaone4 ",
     NULL, NULL, false, false},
    {" smollm starcoder refact command-r codeshell exaone minerva-7b ", "\\p{N}", NULL, false, false},
    {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 dbrx smaug-bpe ", NULL, WORDS("{1,3}"), true,
     true},
    {" qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan ", NULL, WORDS(""), false, false},
};

// llama.cpp's own pattern for files that do not say which: punctuation, GPT-2's, and digits in threes.
static const char *const unnamed[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
    "\\p{N}+",
    "[0-9][0-9][0-9]",
};

typedef struct {
    const qn_gguf *file;
    const qn_gguf_value *tokens, *types, *scores, *merges;
    const char **text; // [tokens->count]
    size_t *size;
    bool begins, ends; // a text begins and ends with the tokens `begin` and `end`
    int64_t begin, end;
} vocabulary;

// --- Metadata

static bool same(const char *text, size_t size, const char *with) {
    return strlen(with) == size && memcmp(text, with, size) == 0;
}

static qn_status list_of(const qn_gguf *file, const char *key, qn_gguf_kind kind, uint64_t count,
                         const qn_gguf_value **out) {
    const qn_gguf_value *v = qn_gguf_value_of(file, key);
    if (!v || !v->list || v->kind != kind || (count && v->count != count))
        return qn_fail(QN_ERROR_FORMAT, "%s: key \"%s\" is missing or something else (expected a list of %s%s)",
                       qn_gguf_path(file), key, kind == QN_GGUF_STRING ? "strings" : "numbers",
                       count ? ", one for each token" : "");
    *out = v;
    return QN_OK;
}

static qn_status read_bool(const qn_gguf *file, const char *key, bool *out) {
    const qn_gguf_value *v = qn_gguf_value_of(file, key);
    if (!v) return QN_OK;
    if (v->list || v->kind != QN_GGUF_BOOL)
        return qn_fail(QN_ERROR_FORMAT, "%s: key \"%s\" is something else (expected a bool)", qn_gguf_path(file), key);
    *out = qn_gguf_number(v, 0) > 0;
    return QN_OK;
}

// The id of a token that a key names; -1 without the key.
static qn_status read_id(const vocabulary *v, const char *key, int64_t *out) {
    return qn_gguf_read_integer(v->file, key, 0, (int64_t)v->tokens->count - 1, &(int64_t){-1}, out);
}

static qn_status read_vocabulary(vocabulary *v) {
    QN_TRY(list_of(v->file, "tokenizer.ggml.tokens", QN_GGUF_STRING, 0, &v->tokens));
    if (v->tokens->count == 0 || v->tokens->count > 10000000)
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu tokens (expected 1 to 10000000)", qn_gguf_path(v->file),
                       (size_t)v->tokens->count);
    if (qn_gguf_value_of(v->file, "tokenizer.ggml.token_type"))
        QN_TRY(list_of(v->file, "tokenizer.ggml.token_type", QN_GGUF_NUMBER, v->tokens->count, &v->types));
    v->text = qn_malloc(v->tokens->count, sizeof *v->text);
    v->size = qn_malloc(v->tokens->count, sizeof *v->size);
    if (!v->text || !v->size) return QN_ERROR_MEMORY;
    const uint8_t *at = v->tokens->data;
    for (uint64_t i = 0; i < v->tokens->count; i++) v->text[i] = qn_gguf_next_string(&at, &v->size[i]);
    QN_TRY(read_bool(v->file, "tokenizer.ggml.add_bos_token", &v->begins));
    QN_TRY(read_bool(v->file, "tokenizer.ggml.add_eos_token", &v->ends));
    QN_TRY(read_id(v, "tokenizer.ggml.bos_token_id", &v->begin));
    QN_TRY(read_id(v, "tokenizer.ggml.eos_token_id", &v->end));
    v->begins = v->begins && v->begin >= 0;
    v->ends = v->ends && v->end >= 0;
    return QN_OK;
}

static int type_of(const vocabulary *v, uint64_t id) {
    double type = v->types ? qn_gguf_number(v->types, id) : 1;
    return type >= 1 && type <= TYPE_BYTE ? (int)type : 1;
}

// --- tokenizer.json

static void put_token(const vocabulary *v, int64_t id, qn_buffer *out) {
    qn_buffer_json_string(out, v->text[id], v->size[id]);
}

static void put_special(const vocabulary *v, int64_t id, int type, qn_buffer *out) {
    qn_buffer_text(out, "{\"SpecialToken\": {\"id\": ");
    put_token(v, id, out);
    qn_buffer_printf(out, ", \"type_id\": %d}}", type);
}

static void put_template(const vocabulary *v, bool pair, qn_buffer *out) {
    for (int i = 0; i <= pair; i++) {
        if (i) qn_buffer_text(out, ", ");
        if (v->begins) put_special(v, v->begin, i, out);
        qn_buffer_printf(out, "%s{\"Sequence\": {\"id\": \"%c\", \"type_id\": %d}}", v->begins ? ", " : "", 'A' + i, i);
        if (v->ends) qn_buffer_text(out, ", ");
        if (v->ends) put_special(v, v->end, i, out);
    }
}

// The tokens that are set around a text; null where there are none.
static void put_processor(const vocabulary *v, qn_buffer *out) {
    if (!v->begins && !v->ends) {
        qn_buffer_text(out, "null");
        return;
    }
    qn_buffer_text(out, "{\"type\": \"TemplateProcessing\", \"single\": [");
    put_template(v, false, out);
    qn_buffer_text(out, "], \"pair\": [");
    put_template(v, true, out);
    qn_buffer_text(out, "], \"special_tokens\": {");
    for (int i = 0; i < 2; i++) {
        int64_t id = i ? v->end : v->begin;
        if (i ? !v->ends || (v->begins && v->begin == v->end) : !v->begins) continue;
        if (i && v->begins) qn_buffer_text(out, ", ");
        put_token(v, id, out);
        qn_buffer_text(out, ": {\"id\": ");
        put_token(v, id, out);
        qn_buffer_printf(out, ", \"ids\": [%lld], \"tokens\": [", (long long)id);
        put_token(v, id, out);
        qn_buffer_text(out, "]}");
    }
    qn_buffer_text(out, "}}");
}

static void put_added_tokens(const vocabulary *v, qn_buffer *out) {
    const char *comma = "";
    qn_buffer_text(out, "\"added_tokens\": [");
    for (uint64_t i = 0; i < v->tokens->count; i++) {
        int type = type_of(v, i);
        if ((type != TYPE_UNKNOWN && type != TYPE_CONTROL && type != TYPE_USER) || v->size[i] == 0) continue;
        qn_buffer_printf(out, "%s\n{\"id\": %llu, \"content\": ", comma, (unsigned long long)i);
        put_token(v, (int64_t)i, out);
        qn_buffer_printf(out,
                         ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                         "\"special\": %s}",
                         type == TYPE_USER ? "false" : "true");
        comma = ",";
    }
    qn_buffer_text(out, "],\n\"normalizer\": null,\n");
}

static void put_split(const char *pattern, qn_buffer *out) {
    qn_buffer_text(out, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
    qn_buffer_json_string(out, pattern, strlen(pattern));
    qn_buffer_text(out, "}, \"behavior\": \"Isolated\", \"invert\": false}, ");
}

static const char byte_level[] =
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": ";

// The kind of a pre-tokenizer's name, or the number of them for one that is not said.
static qn_status find_kind(const qn_gguf *file, size_t *out) {
    const char *name = "default";
    size_t size = 7, count = sizeof kinds / sizeof *kinds;
    if (qn_gguf_value_of(file, "tokenizer.ggml.pre"))
        QN_TRY(qn_gguf_read_string(file, "tokenizer.ggml.pre", &name, &size));
    for (*out = 0; *out < count; ++*out)
        for (const char *at = kinds[*out].names + 1; *at; at += strcspn(at, " ") + 1)
            if (strcspn(at, " ") == size && memcmp(at, name, size) == 0) return QN_OK;
    if (same(name, size, "default")) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED,
                   "%s: pre-tokenizer \"%.*s\" is not known (expected default, gpt-2, smollm, llama-bpe, qwen2 or "
                   "another name for one of them)",
                   qn_gguf_path(file), size < 60 ? (int)size : 60, name);
}

static void put_pre_tokenizer(size_t kind, qn_buffer *out) {
    bool named = kind < sizeof kinds / sizeof *kinds, own = named && !kinds[kind].instead;
    qn_buffer_text(out, "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [");
    for (size_t i = 0; !named && i < sizeof unnamed / sizeof *unnamed; i++) put_split(unnamed[i], out);
    if (named && kinds[kind].before) put_split(kinds[kind].before, out);
    if (named && kinds[kind].instead) put_split(kinds[kind].instead, out);
    qn_buffer_printf(out, "%s%s}]},\n", byte_level, own ? "true" : "false");
}

static qn_status put_byte_bpe(vocabulary *v, qn_buffer *out) {
    size_t kind;
    QN_TRY(find_kind(v->file, &kind));
    bool named = kind < sizeof kinds / sizeof *kinds;
    v->begins = named && kinds[kind].begins;
    QN_TRY(read_vocabulary(v));
    QN_TRY(list_of(v->file, "tokenizer.ggml.merges", QN_GGUF_STRING, 0, &v->merges));
    qn_buffer_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n");
    put_added_tokens(v, out);
    put_pre_tokenizer(kind, out);
    qn_buffer_text(out, "\"post_processor\": ");
    put_processor(v, out);
    qn_buffer_printf(out,
                     ",\n\"decoder\": %strue},\n\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                     "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                     "\"byte_fallback\": false, \"ignore_merges\": %s,\n\"vocab\": {",
                     byte_level, named && kinds[kind].whole ? "true" : "false");
    const char *comma = "";
    for (uint64_t i = 0; i < v->tokens->count; i++) {
        if (v->size[i] == 0) continue;
        qn_buffer_text(out, comma);
        put_token(v, (int64_t)i, out);
        qn_buffer_printf(out, ": %llu", (unsigned long long)i);
        comma = ",\n";
    }
    qn_buffer_text(out, "},\n\"merges\": [");
    const uint8_t *at = v->merges->data;
    for (uint64_t i = 0; i < v->merges->count; i++) {
        size_t size;
        const char *text = qn_gguf_next_string(&at, &size);
        qn_buffer_text(out, i ? ",\n" : "\n");
        qn_buffer_json_string(out, text, size);
    }
    qn_buffer_text(out, "]}\n}\n");
    return qn_buffer_status(out);
}

static qn_status put_pieces(vocabulary *v, qn_buffer *out) {
    bool prefix = true, spaces = false;
    v->begins = true;
    QN_TRY(read_vocabulary(v));
    QN_TRY(list_of(v->file, "tokenizer.ggml.scores", QN_GGUF_NUMBER, v->tokens->count, &v->scores));
    QN_TRY(read_bool(v->file, "tokenizer.ggml.add_space_prefix", &prefix));
    QN_TRY(read_bool(v->file, "tokenizer.ggml.remove_extra_whitespaces", &spaces));
    qn_buffer processor = {0};
    put_processor(v, &processor);
    qn_scored_pieces pieces = {.path = qn_gguf_path(v->file),
                               .model = QN_PIECES_BPE,
                               .dummy_prefix = prefix,
                               .remove_spaces = spaces,
                               .as_llama = true,
                               .processor = processor.data};
    qn_status status = qn_buffer_status(&processor);
    for (uint64_t i = 0; status == QN_OK && i < v->tokens->count; i++) {
        int type = type_of(v, i);
        pieces.byte_fallback |= type == TYPE_BYTE;
        status = qn_scored_pieces_add(
            &pieces, &(qn_scored_piece){v->text[i], v->size[i], (float)qn_gguf_number(v->scores, i),
                                        type >= TYPE_UNKNOWN && type <= TYPE_USER ? (uint64_t)type : QN_PIECE_NORMAL});
    }
    if (status == QN_OK) status = qn_scored_pieces_to_json(&pieces, out);
    free(pieces.pieces);
    qn_buffer_free(&processor);
    return status;
}

// --- tokenizer_config.json

static qn_status put_config(const vocabulary *v, qn_buffer *out) {
    static const char *const tokens[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                            {"eos_token", "tokenizer.ggml.eos_token_id"},
                                            {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                            {"pad_token", "tokenizer.ggml.padding_token_id"}};
    qn_buffer_text(out, "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"cls_token\": null, \"sep_token\": null, "
                        "\"mask_token\": null");
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        int64_t id;
        QN_TRY(read_id(v, tokens[i][1], &id));
        qn_buffer_printf(out, ",\n\"%s\": ", tokens[i][0]);
        if (id < 0)
            qn_buffer_text(out, "null");
        else
            put_token(v, id, out);
    }
    if (qn_gguf_value_of(v->file, "tokenizer.chat_template")) {
        const char *text;
        size_t size;
        QN_TRY(qn_gguf_read_string(v->file, "tokenizer.chat_template", &text, &size));
        qn_buffer_text(out, ",\n\"chat_template\": ");
        qn_buffer_json_string(out, text, size);
    }
    qn_buffer_text(out, "}\n");
    return qn_buffer_status(out);
}

static qn_status put_all(vocabulary *v, qn_buffer *json, qn_buffer *config) {
    const char *model;
    size_t size;
    QN_TRY(qn_gguf_read_string(v->file, "tokenizer.ggml.model", &model, &size));
    bool bytes = same(model, size, "gpt2");
    if (!bytes && !same(model, size, "llama"))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: tokenizer \"%.*s\" is not known (expected gpt2 or llama)",
                       qn_gguf_path(v->file), size < 60 ? (int)size : 60, model);
    QN_TRY(bytes ? put_byte_bpe(v, json) : put_pieces(v, json));
    return put_config(v, config);
}

qn_status qn_gguf_tokenizer(const qn_gguf *file, qn_buffer *json, qn_buffer *config) {
    vocabulary v = {.file = file};
    qn_status status = put_all(&v, json, config);
    free(v.text);
    free(v.size);
    return status;
}

qn_status qn_tokenizer_load(const char *path, qn_tokenizer **out) {
    *out = NULL;
    if (!qn_is_gguf(path)) return qn_tokenizer_load_files(path, out);
    qn_gguf *file;
    qn_buffer json = {0}, config = {0};
    QN_TRY(qn_gguf_open(path, &file));
    qn_status status = qn_gguf_tokenizer(file, &json, &config);
    if (status == QN_OK) status = qn_tokenizer_from_json(path, &json, &config, out);
    qn_buffer_free(&json);
    qn_buffer_free(&config);
    qn_gguf_close(file);
    return status;
}
