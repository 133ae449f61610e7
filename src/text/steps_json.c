// Reads normaliser, pre-tokenizer and decoder of tokenizer.json, which may be nested sequences, into rows of steps.
#include "base/memory.h"
#include "text/steps.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 256, MAX_NESTING = 16 };

static const char sign[] = "\xE2\x96\x81"; // U+2581, Metaspace's

void qn_steps_free(qn_steps *steps) {
    for (size_t i = 0; i < steps->count; i++) {
        qn_pattern_free(steps->steps[i].pattern);
        free(steps->steps[i].content);
        free(steps->steps[i].units);
        qn_buffer_free(&steps->steps[i].strings);
    }
    free(steps->steps);
    *steps = (qn_steps){0};
}

qn_status qn_steps_add(qn_steps *steps, qn_step_kind kind, const char *content, qn_step **out) {
    if (steps->count >= MAX_STEPS)
        return qn_fail(QN_ERROR_UNSUPPORTED, "a part of the tokenizer has more than %d steps", MAX_STEPS);
    QN_TRY(qn_grow((void **)&steps->steps, &steps->capacity, steps->count + 1, sizeof *steps->steps));
    qn_step *step = &steps->steps[steps->count];
    *step = (qn_step){.kind = kind};
    if (content) {
        if (!(step->content = qn_strdup(content))) return QN_ERROR_MEMORY;
        step->content_size = strlen(content);
    }
    steps->count++;
    if (out) *out = step;
    return QN_OK;
}

typedef struct {
    qn_steps *steps;
    const char *path, *part; // "normalizer", ...
    int depth;
} reader;

typedef struct {
    const char *type;
    qn_status (*read)(const reader *r, const json_t *item);
} kind;

static qn_status read_part(const reader *r, const json_t *item, const kind *kinds, const char *list) {
    const char *type = "";
    if (!item || json_is_null(item)) return QN_OK;
    if (!json_is_object(item)) return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is not an object", r->path, r->part);
    QN_TRY(qn_json_string(item, r->path, "type", true, &type));
    if (strcmp(type, "Sequence") == 0) {
        if (r->depth >= MAX_NESTING) return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" is nested too deep", r->path, r->part);
        reader inner = *r;
        inner.depth++;
        json_t *items = NULL;
        QN_TRY(qn_json_array(item, r->path, list, true, &items));
        for (size_t i = 0; i < json_array_size(items); i++)
            QN_TRY(read_part(&inner, json_array_get(items, i), kinds, list));
        return QN_OK;
    }
    for (; kinds->type; kinds++)
        if (strcmp(type, kinds->type) == 0) return kinds->read(r, item);
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: \"%s\" of type \"%s\" is not supported", r->path, r->part, type);
}

// "pattern": {"String": "x"} or {"Regex": "x"}
static qn_status read_pattern(const reader *r, const json_t *item, qn_step *step) {
    json_t *pattern = NULL;
    const char *text = NULL;
    QN_TRY(qn_json_object(item, r->path, "pattern", true, &pattern));
    QN_TRY(qn_json_string(pattern, r->path, "Regex", false, &text));
    bool expression = text != NULL;
    if (!text) QN_TRY(qn_json_string(pattern, r->path, "String", true, &text));
    return qn_pattern_create(r->path, text, strlen(text), expression, &step->pattern);
}

static qn_status read_replace(const reader *r, const json_t *item) {
    const char *content = NULL;
    qn_step *step = NULL;
    QN_TRY(qn_json_string(item, r->path, "content", true, &content));
    QN_TRY(qn_steps_add(r->steps, QN_STEP_REPLACE, content, &step));
    return read_pattern(r, item, step);
}

// --- Normalisers ----------------------------------------------------------------------------------------------------

static qn_status add_flagged(const reader *r, qn_step_kind step_kind, bool flag) {
    qn_step *step = NULL;
    QN_TRY(qn_steps_add(r->steps, step_kind, NULL, &step));
    step->flag = flag;
    return QN_OK;
}

#define SIMPLE(name, step_kind, flag)                                                                                  \
    static qn_status name(const reader *r, const json_t *item) {                                                       \
        (void)item;                                                                                                    \
        return add_flagged(r, step_kind, flag);                                                                        \
    }
SIMPLE(read_nfc, QN_STEP_COMPOSE, false)
SIMPLE(read_nfd, QN_STEP_DECOMPOSE, false)
SIMPLE(read_nfkc, QN_STEP_COMPOSE, true)
SIMPLE(read_nfkd, QN_STEP_DECOMPOSE, true)
SIMPLE(read_lowercase, QN_STEP_LOWERCASE, false)
SIMPLE(read_strip_accents, QN_STEP_STRIP_ACCENTS, false)
SIMPLE(read_bytes, QN_STEP_BYTES, false)
SIMPLE(read_split_spaces, QN_STEP_SPLIT_SPACES, false)
SIMPLE(read_split_words, QN_STEP_SPLIT_WORDS, false)
SIMPLE(read_decode_bytes, QN_STEP_DECODE_BYTES, false)
SIMPLE(read_fallback, QN_STEP_DECODE_FALLBACK, false)
SIMPLE(read_fuse, QN_STEP_DECODE_FUSE, false)

static qn_status read_strip(const reader *r, const json_t *item) {
    qn_step *step = NULL;
    QN_TRY(qn_steps_add(r->steps, QN_STEP_STRIP, NULL, &step));
    step->flag = step->second = true;
    QN_TRY(qn_json_bool(item, r->path, "strip_left", false, &step->flag));
    return qn_json_bool(item, r->path, "strip_right", false, &step->second);
}

static qn_status read_prepend(const reader *r, const json_t *item) {
    const char *text = NULL;
    QN_TRY(qn_json_string(item, r->path, "prepend", true, &text));
    return qn_steps_add(r->steps, QN_STEP_PREPEND, text, NULL);
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static qn_status read_precompiled(const reader *r, const json_t *item) {
    const char *text = NULL;
    qn_step *step = NULL;
    QN_TRY(qn_json_string(item, r->path, "precompiled_charsmap", false, &text));
    if (!text || !*text) return QN_OK; // no map: nothing changes
    QN_TRY(qn_steps_add(r->steps, QN_STEP_PRECOMPILED, NULL, &step));
    qn_buffer map = {0};
    uint32_t bits = 0;
    int count = 0;
    qn_status status = QN_OK;
    for (const char *c = text; *c && *c != '=' && status == QN_OK; c++) {
        int value = base64_value(*c);
        if (value < 0) {
            status = qn_fail(QN_ERROR_FORMAT, "%s: the precompiled map is not base64", r->path);
            break;
        }
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count < 8) continue;
        count -= 8;
        qn_buffer_char(&map, (char)(bits >> count & 0xFF));
    }
    if (status == QN_OK) status = qn_buffer_status(&map);
    if (status == QN_OK) status = qn_steps_set_precompiled(step, map.data, map.size, r->path);
    qn_buffer_free(&map);
    return status;
}

static qn_status read_bert(const reader *r, const json_t *item) {
    bool clean = true, chinese = true, lowercase = true;
    QN_TRY(qn_json_bool(item, r->path, "clean_text", false, &clean));
    QN_TRY(qn_json_bool(item, r->path, "handle_chinese_chars", false, &chinese));
    QN_TRY(qn_json_bool(item, r->path, "lowercase", false, &lowercase));
    bool strip = lowercase; // null means: as lowercase
    QN_TRY(qn_json_bool(item, r->path, "strip_accents", false, &strip));
    if (clean) QN_TRY(add_flagged(r, QN_STEP_CLEAN, false));
    if (chinese) QN_TRY(add_flagged(r, QN_STEP_CHINESE, false));
    if (strip) QN_TRY(add_flagged(r, QN_STEP_DECOMPOSE, false));
    if (strip) QN_TRY(add_flagged(r, QN_STEP_STRIP_ACCENTS, true));
    return lowercase ? add_flagged(r, QN_STEP_LOWERCASE, false) : QN_OK;
}

static const kind normalizers[] = {
    {"NFC", read_nfc},
    {"NFD", read_nfd},
    {"NFKC", read_nfkc},
    {"NFKD", read_nfkd},
    {"Lowercase", read_lowercase},
    {"Strip", read_strip},
    {"StripAccents", read_strip_accents},
    {"Replace", read_replace},
    {"Prepend", read_prepend},
    {"Precompiled", read_precompiled},
    {"BertNormalizer", read_bert},
    {"ByteLevel", read_bytes},
    {NULL, NULL},
};

// --- Pre-tokenizers -------------------------------------------------------------------------------------------------

static qn_status get_behavior(const reader *r, const json_t *item, qn_behavior *behavior) {
    static const char *const names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
    const char *name = NULL;
    QN_TRY(qn_json_string(item, r->path, "behavior", false, &name));
    for (size_t i = 0; name && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *behavior = (qn_behavior)i;
        return QN_OK;
    }
    return name ? qn_fail(QN_ERROR_FORMAT,
                          "%s: \"behavior\" is \"%s\" (expected Removed, Isolated, Contiguous, "
                          "MergedWithPrevious or MergedWithNext)",
                          r->path, name)
                : QN_OK;
}

static qn_status read_punctuation(const reader *r, const json_t *item) {
    qn_step *step = NULL;
    QN_TRY(qn_steps_add(r->steps, QN_STEP_SPLIT_PUNCTUATION, NULL, &step));
    step->behavior = QN_SPLIT_ISOLATED;
    return get_behavior(r, item, &step->behavior);
}

static qn_status read_bert_split(const reader *r, const json_t *item) {
    QN_TRY(read_split_spaces(r, item));
    return read_punctuation(r, item);
}

static qn_status read_digits(const reader *r, const json_t *item) {
    qn_step *step = NULL;
    QN_TRY(qn_steps_add(r->steps, QN_STEP_SPLIT_DIGITS, NULL, &step));
    return qn_json_bool(item, r->path, "individual_digits", false, &step->flag);
}

static qn_status read_split(const reader *r, const json_t *item) {
    qn_step *step = NULL;
    QN_TRY(qn_steps_add(r->steps, QN_STEP_SPLIT_PATTERN, NULL, &step));
    QN_TRY(qn_json_bool(item, r->path, "invert", false, &step->second));
    QN_TRY(get_behavior(r, item, &step->behavior));
    const char *expression = json_string_value(json_object_get(json_object_get(item, "pattern"), "Regex"));
    if (expression) step->known = qn_known_pattern_find(expression);
    return read_pattern(r, item, step);
}

static qn_status read_delimiter(const reader *r, const json_t *item) {
    const char *text = NULL;
    qn_step *step = NULL;
    QN_TRY(qn_json_string(item, r->path, "delimiter", true, &text));
    QN_TRY(qn_steps_add(r->steps, QN_STEP_SPLIT_PATTERN, NULL, &step));
    return qn_pattern_create(r->path, text, strlen(text), false, &step->pattern);
}

static qn_status read_byte_level(const reader *r, const json_t *item) {
    qn_step *step = NULL;
    QN_TRY(qn_steps_add(r->steps, QN_STEP_SPLIT_GPT2, NULL, &step));
    step->flag = step->second = true;
    QN_TRY(qn_json_bool(item, r->path, "add_prefix_space", false, &step->flag));
    QN_TRY(qn_json_bool(item, r->path, "use_regex", false, &step->second));
    return add_flagged(r, QN_STEP_BYTES, false);
}

static qn_status read_metaspace(const reader *r, const json_t *item) {
    const char *text = sign, *scheme = NULL;
    bool prefix = true, split = true;
    qn_step *step = NULL;
    QN_TRY(qn_json_string(item, r->path, "replacement", false, &text));
    QN_TRY(qn_json_string(item, r->path, "prepend_scheme", false, &scheme));
    QN_TRY(qn_json_bool(item, r->path, "add_prefix_space", false, &prefix)); // of old files
    QN_TRY(qn_json_bool(item, r->path, "split", false, &split));
    QN_TRY(qn_steps_add(r->steps, QN_STEP_METASPACE, text, &step));
    if (step->content_size == 0 || step->content_size > 4)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"replacement\" is not one character", r->path);
    step->flag = split;
    step->start = prefix ? QN_PREPEND_ALWAYS : QN_PREPEND_NEVER;
    if (!scheme) return QN_OK;
    if (strcmp(scheme, "always") == 0)
        step->start = QN_PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        step->start = QN_PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
        step->start = QN_PREPEND_NEVER;
    else
        return qn_fail(QN_ERROR_FORMAT, "%s: \"prepend_scheme\" is \"%s\" (expected always, first or never)", r->path,
                       scheme);
    return QN_OK;
}

static const kind pre_tokenizers[] = {
    {"BertPreTokenizer", read_bert_split},  {"ByteLevel", read_byte_level},
    {"Whitespace", read_split_words},       {"WhitespaceSplit", read_split_spaces},
    {"Metaspace", read_metaspace},          {"Split", read_split},
    {"Punctuation", read_punctuation},      {"Digits", read_digits},
    {"CharDelimiterSplit", read_delimiter}, {NULL, NULL},
};

// --- Decoders -------------------------------------------------------------------------------------------------------

static qn_status read_decode_wordpiece(const reader *r, const json_t *item) {
    const char *prefix = "##";
    qn_step *step = NULL;
    QN_TRY(qn_json_string(item, r->path, "prefix", false, &prefix));
    QN_TRY(qn_steps_add(r->steps, QN_STEP_DECODE_WORDPIECE, prefix, &step));
    step->flag = true;
    return qn_json_bool(item, r->path, "cleanup", false, &step->flag);
}

static qn_status read_decode_suffix(const reader *r, const json_t *item) {
    const char *suffix = "</w>";
    QN_TRY(qn_json_string(item, r->path, "suffix", false, &suffix));
    return qn_steps_add(r->steps, QN_STEP_DECODE_SUFFIX, suffix, NULL);
}

static qn_status read_decode_strip(const reader *r, const json_t *item) {
    const char *content = " ";
    int64_t start = 0, stop = 0;
    qn_step *step = NULL;
    QN_TRY(qn_json_string(item, r->path, "content", false, &content));
    QN_TRY(qn_json_int(item, r->path, "start", false, 0, INT32_MAX, &start));
    QN_TRY(qn_json_int(item, r->path, "stop", false, 0, INT32_MAX, &stop));
    QN_TRY(qn_steps_add(r->steps, QN_STEP_DECODE_STRIP, content, &step));
    if (step->content_size == 0 || step->content_size > 4)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"content\" of the decoder Strip is not one character", r->path);
    step->start = (int32_t)start;
    step->stop = (int32_t)stop;
    return QN_OK;
}

static const kind decoders[] = {
    {"ByteLevel", read_decode_bytes},   {"Metaspace", read_metaspace},   {"WordPiece", read_decode_wordpiece},
    {"BPEDecoder", read_decode_suffix}, {"ByteFallback", read_fallback}, {"Fuse", read_fuse},
    {"Strip", read_decode_strip},       {"Replace", read_replace},       {NULL, NULL},
};

qn_status qn_steps_read_normalizer(qn_steps *steps, const json_t *part, const char *path) {
    reader r = {steps, path, "normalizer", 0};
    return read_part(&r, part, normalizers, "normalizers");
}

qn_status qn_steps_read_pre_tokenizer(qn_steps *steps, const json_t *part, const char *path) {
    reader r = {steps, path, "pre_tokenizer", 0};
    return read_part(&r, part, pre_tokenizers, "pretokenizers");
}

qn_status qn_steps_read_decoder(qn_steps *steps, const json_t *part, const char *path) {
    reader r = {steps, path, "decoder", 0};
    return read_part(&r, part, decoders, "decoders");
}
