// A line of tagged JSON: {"tokens": [...], "tags": [...]}, or {"text": ..., "spans": [{"start", "end", "label"}, ...]}
// with offsets in characters.
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/tagged_private.h"
#include <stdlib.h>
#include <string.h>

// The first key of several that is there.
static json_t *any_of(const json_t *object, const char *const *keys, const char **key) {
    for (; *keys; keys++) {
        json_t *value = json_object_get(object, *keys);
        if (!value) continue;
        *key = *keys;
        return value;
    }
    return NULL;
}

// --- Words and tags

static qn_status read_words(qn_tagged_reader *r, const json_t *words, const char *words_key, const json_t *tags,
                            const char *tags_key) {
    if (!json_is_array(words))
        return qn_fail(QN_ERROR_FORMAT, "\"%s\" is no array (expected a list of words)", words_key);
    if (!json_is_array(tags))
        return qn_fail(QN_ERROR_FORMAT, "no tags beside \"%s\" (expected \"tags\", a list as long)", words_key);
    if (json_array_size(words) != json_array_size(tags))
        return qn_fail(QN_ERROR_FORMAT, "%zu of \"%s\" and %zu of \"%s\" (expected one tag for each word)",
                       json_array_size(words), words_key, json_array_size(tags), tags_key);
    for (size_t i = 0; i < json_array_size(words); i++) {
        const json_t *word = json_array_get(words, i), *tag = json_array_get(tags, i);
        if (!json_is_string(word))
            return qn_fail(QN_ERROR_FORMAT, "\"%s\"[%zu] is no string (expected a word)", words_key, i);
        if (!json_is_string(tag))
            return qn_fail(QN_ERROR_FORMAT, "\"%s\"[%zu] is no string (expected a tag by its name, such as B-NAME)",
                           tags_key, i);
        QN_TRY(qn_tagged_add_word(r, json_string_value(word), json_string_length(word)));
        qn_status status = qn_tagged_add_tag(r, "", json_string_value(tag), json_string_length(tag));
        if (status != QN_OK) return qn_fail_prefix(status, "\"%s\"[%zu]", tags_key, i);
    }
    return QN_OK;
}

// --- Spans

typedef struct {
    int64_t start, end; // characters, then bytes
    const char *label;
    size_t index; // in the array
} marked;

static int by_start(const void *left, const void *right) {
    const marked *a = left, *b = right;
    if (a->start != b->start) return a->start < b->start ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static qn_status read_span(const json_t *span, size_t index, marked *out) {
    const json_t *start = json_object_get(span, "start"), *end = json_object_get(span, "end"),
                 *label = json_object_get(span, "label");
    if (!json_is_integer(start) || !json_is_integer(end) || !json_is_string(label) || json_string_length(label) == 0)
        return qn_fail(QN_ERROR_FORMAT, "span %zu (expected {\"start\": N, \"end\": N, \"label\": \"NAME\"})", index);
    *out = (marked){json_integer_value(start), json_integer_value(end), json_string_value(label), index};
    if (out->start < 0 || out->end <= out->start)
        return qn_fail(QN_ERROR_FORMAT, "span %zu is %lld to %lld (expected 0 or more, and an end above the start)",
                       index, (long long)out->start, (long long)out->end);
    if (strlen(out->label) != json_string_length(label))
        return qn_fail(QN_ERROR_FORMAT, "span %zu has a label with a NUL character", index);
    return QN_OK;
}

// From characters to bytes; the spans ascend.
static qn_status place_spans(marked *spans, size_t count, const char *text, size_t size) {
    size_t byte = 0;
    int64_t character = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        int64_t *at = i % 2 ? &spans[i / 2].end : &spans[i / 2].start;
        if (*at < character)
            return qn_fail(QN_ERROR_FORMAT, "span %zu overlaps with another one (expected spans apart)",
                           spans[i / 2].index);
        for (int32_t code; character < *at && byte < size; character++)
            byte += qn_utf8_next(text + byte, size - byte, &code);
        if (character < *at)
            return qn_fail(QN_ERROR_FORMAT, "span %zu ends at character %lld of %lld (expected within the text)",
                           spans[i / 2].index, (long long)spans[i / 2].end, (long long)character);
        *at = (int64_t)byte;
    }
    return QN_OK;
}

// The words of text[begin, end), with one kind of tag.
static qn_status add_part(qn_tagged_reader *r, size_t begin, size_t end, const marked *span) {
    size_t first = r->words.count;
    QN_TRY(qn_words_split(r->text.data + begin, end - begin, &r->words));
    for (size_t w = first; w < r->words.count; w++) {
        r->words.items[w].begin += (int32_t)begin;
        r->words.items[w].end += (int32_t)begin;
        const char *prefix = !span ? "" : w == first ? "B-" : "I-", *tag = span ? span->label : "O";
        QN_TRY(qn_tagged_add_tag(r, prefix, tag, strlen(tag)));
    }
    if (span && r->words.count == first)
        return qn_fail(QN_ERROR_FORMAT, "span %zu holds white space alone (expected a word)", span->index);
    return QN_OK;
}

static qn_status add_spans(qn_tagged_reader *r, const json_t *list, marked *spans) {
    size_t count = json_array_size(list), at = 0;
    for (size_t i = 0; i < count; i++) QN_TRY(read_span(json_array_get(list, i), i, &spans[i]));
    qsort(spans, count, sizeof *spans, by_start);
    QN_TRY(place_spans(spans, count, r->text.data, r->text.size));
    for (size_t i = 0; i < count; i++) {
        QN_TRY(add_part(r, at, (size_t)spans[i].start, NULL));
        QN_TRY(add_part(r, (size_t)spans[i].start, (size_t)spans[i].end, &spans[i]));
        at = (size_t)spans[i].end;
    }
    return add_part(r, at, r->text.size, NULL);
}

static qn_status read_spans(qn_tagged_reader *r, const json_t *text, const json_t *list, const char *key) {
    if (!json_is_string(text)) return qn_fail(QN_ERROR_FORMAT, "\"text\" is no string");
    if (!json_is_array(list))
        return qn_fail(QN_ERROR_FORMAT, "\"%s\" is no array (expected a list of spans, which may be empty)", key);
    qn_buffer_append(&r->text, json_string_value(text), json_string_length(text));
    QN_TRY(qn_buffer_status(&r->text));
    if (!r->text.data) return QN_OK; // an empty text has no spans, or wrong ones that nobody misses
    marked *spans = qn_calloc(json_array_size(list) + 1, sizeof *spans);
    qn_status status = spans ? add_spans(r, list, spans) : QN_ERROR_MEMORY;
    free(spans);
    return status;
}

// --- The line

static qn_status read_object(qn_tagged_reader *r, const json_t *object) {
    static const char *const words_keys[] = {"tokens", "words", NULL},
                             *const tags_keys[] = {"tags", "ner_tags", "labels", NULL},
                             *const spans_keys[] = {"spans", "entities", NULL};
    const char *words_key = NULL, *tags_key = "tags", *spans_key = "spans";
    if (!json_is_object(object)) return qn_fail(QN_ERROR_FORMAT, "no JSON object (expected one on each line)");
    const json_t *words = any_of(object, words_keys, &words_key), *tags = any_of(object, tags_keys, &tags_key);
    if (words) return read_words(r, words, words_key, tags, tags_key);
    const json_t *text = json_object_get(object, "text"), *spans = any_of(object, spans_keys, &spans_key);
    if (text && spans) return read_spans(r, text, spans, spans_key);
    return qn_fail(QN_ERROR_FORMAT, "neither \"tokens\" and \"tags\" nor \"text\" and \"spans\"");
}

qn_status qn_tagged_json(qn_tagged_reader *r, qn_span line, int64_t number) {
    json_t *object = NULL;
    qn_buffer place = {0};
    qn_buffer_printf(&place, "%s:%lld", qn_input_name(r->input), (long long)number);
    qn_status status = qn_buffer_status(&place);
    if (status == QN_OK) status = qn_json_parse_line(line.data, line.size, qn_input_name(r->input), number, &object);
    if (status == QN_OK) {
        status = read_object(r, object);
        if (status != QN_OK && status != QN_ERROR_MEMORY) qn_fail_prefix(status, "%s", place.data);
    }
    json_decref(object);
    qn_buffer_free(&place);
    return status;
}
