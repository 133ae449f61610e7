// Tagged texts: opening, CoNLL's columns, and what both formats share.
#include "base/memory.h"
#include "base/utf8.h"
#include "data/reader.h"
#include "data/tagged_private.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// --- Opening

static qn_status column_number(const char *text, const char *what, long *out) {
    *out = -1;
    if (!text) return QN_OK;
    char *end;
    *out = strtol(text, &end, 10);
    if (*end != '\0' || *out < 1 || *out > 1000)
        return qn_fail(QN_ERROR_ARGUMENT, "%s column \"%s\" (expected a number of a column, from 1)", what, text);
    --*out;
    return QN_OK;
}

static bool named_json(const char *path) {
    static const char *const ends[] = {".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t size = strlen(path), n = strlen(ends[i]);
        if (size > n && strcasecmp(path + size - n, ends[i]) == 0) return true;
    }
    return false;
}

static qn_status choose_format(qn_tagged_reader *r, const char *path, const char *format) {
    if (format && strcmp(format, "auto") != 0) {
        r->json = strcmp(format, "jsonl") == 0;
        if (r->json || strcmp(format, "conll") == 0) return QN_OK;
        return qn_fail(QN_ERROR_ARGUMENT, "%s: tagged texts are not read as %s (expected conll or jsonl)", path,
                       format);
    }
    qn_span first;
    QN_TRY(qn_input_peek(r->input, 4096, &first));
    first = qn_span_trim(first);
    r->json = named_json(path) || (first.size > 1 && first.data[0] == '{' && memchr(first.data, '"', first.size));
    return QN_OK;
}

qn_status qn_tagged_open(const char *path, const qn_tagged_options *options, qn_tagged_reader **out) {
    *out = NULL;
    qn_tagged_reader *r = qn_calloc(1, sizeof *r);
    if (!r) return QN_ERROR_MEMORY;
    qn_status status = column_number(options->word_column, "word", &r->word_column);
    if (status == QN_OK) status = column_number(options->tag_column, "tag", &r->tag_column);
    if (status == QN_OK) status = qn_input_open(path, &r->input);
    if (status == QN_OK) status = choose_format(r, path, options->format);
    if (status != QN_OK) {
        qn_tagged_close(r);
        return status;
    }
    *out = r;
    return QN_OK;
}

void qn_tagged_close(qn_tagged_reader *r) {
    if (!r) return;
    qn_input_close(r->input);
    qn_buffer_free(&r->text);
    qn_buffer_free(&r->tags);
    free(r->words.items);
    free(r->spans);
    free(r);
}

// --- Words and tags

qn_status qn_tagged_add_word(qn_tagged_reader *r, const char *word, size_t size) {
    if (r->text.size > 0) qn_buffer_char(&r->text, ' ');
    size_t begin = r->text.size;
    qn_buffer_append(&r->text, word, size);
    if (r->text.size > INT32_MAX) return qn_fail(QN_ERROR_FORMAT, "a text of 2 GiB or more");
    void *items = r->words.items;
    qn_status status = qn_grow(&items, &r->words.capacity, r->words.count + 1, sizeof *r->words.items);
    r->words.items = items;
    if (status == QN_OK) r->words.items[r->words.count++] = (qn_word){(int32_t)begin, (int32_t)r->text.size};
    return status;
}

qn_status qn_tagged_add_tag(qn_tagged_reader *r, const char *prefix, const char *tag, size_t size) {
    if (size == 0) return qn_fail(QN_ERROR_FORMAT, "an empty tag (expected O, B-NAME, I-NAME or the like)");
    if (memchr(tag, 0, size)) return qn_fail(QN_ERROR_FORMAT, "a tag with a NUL character");
    if (!qn_utf8_is_valid(tag, size))
        return qn_fail(QN_ERROR_FORMAT, "the tag \"%.*s\" is not UTF-8 (as config.json has to be)",
                       (int)(size < 80 ? size : 80), tag);
    qn_buffer_text(&r->tags, prefix);
    qn_buffer_append(&r->tags, tag, size);
    qn_buffer_char(&r->tags, '\0');
    return qn_buffer_status(&r->tags);
}

// An entity that begins with I- is IOB1's, where B- stands only between neighbours of one type.
static void begin_entities(qn_tagged_reader *r) {
    for (size_t i = 0; i < r->words.count; i++) {
        char *tag = (char *)(uintptr_t)r->spans[i].data; // in the reader's buffer
        if (tag[0] != 'I' || tag[1] != '-') continue;
        const char *before = i > 0 ? r->spans[i - 1].data : "O";
        bool inside = (before[0] == 'B' || before[0] == 'I') && before[1] == '-' && strcmp(before + 2, tag + 2) == 0;
        if (!inside) tag[0] = 'B';
    }
}

static qn_status finish(qn_tagged_reader *r, qn_tagged *out) {
    QN_TRY(qn_buffer_status(&r->text));
    void *spans = r->spans;
    qn_status status = qn_grow(&spans, &r->span_capacity, r->words.count + 1, sizeof *r->spans);
    r->spans = spans;
    if (status != QN_OK) return status;
    const char *tag = r->tags.data;
    for (size_t i = 0; i < r->words.count; i++) {
        r->spans[i] = (qn_span){tag, strlen(tag)};
        tag += r->spans[i].size + 1;
    }
    begin_entities(r);
    out->text = (qn_span){r->text.data ? r->text.data : "", r->text.size};
    out->words = r->words.items;
    out->tags = r->spans;
    out->count = r->words.count;
    return QN_OK;
}

// --- CoNLL

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

// The cell of a number, and how many there are. A line with a tab is cut at tabs, so that words may hold spaces.
static size_t find_cell(qn_span line, long number, qn_span *cell) {
    bool tabs = memchr(line.data, '\t', line.size) != NULL;
    size_t count = 0;
    for (size_t i = 0; i < line.size;) {
        if (!tabs)
            while (i < line.size && is_blank(line.data[i])) i++;
        size_t begin = i;
        while (i < line.size && !(tabs ? line.data[i] == '\t' : is_blank(line.data[i]))) i++;
        if (i == begin && !tabs) break;
        if (number < 0 || (size_t)number == count) *cell = (qn_span){line.data + begin, i - begin};
        count++;
        if (tabs && ++i == line.size) { // a tab at the end: one more, empty
            if (number < 0 || (size_t)number == count) *cell = (qn_span){line.data + line.size, 0};
            count++;
        }
    }
    return count;
}

// "# sent_id = 1" and "# newdoc" of CoNLL-U; a # alone may be a word.
static bool is_comment(qn_span line) {
    if (line.size < 3 || line.data[0] != '#' || line.data[1] != ' ') return false;
    if (line.size >= 8 && (!memcmp(line.data, "# newdoc", 8) || !memcmp(line.data, "# newpar", 8))) return true;
    for (size_t i = 2; i + 3 <= line.size; i++)
        if (memcmp(line.data + i, " = ", 3) == 0) return true;
    return false;
}

static qn_status add_line(qn_tagged_reader *r, qn_span line) {
    qn_span word = {0}, tag = {0};
    size_t count = find_cell(line, r->tag_column, &tag);
    find_cell(line, r->word_column < 0 ? 0 : r->word_column, &word);
    if (r->columns == 0) r->columns = count;
    if (count != r->columns)
        return qn_fail(QN_ERROR_FORMAT, "%zu column%s (expected %zu as in the lines before)", count,
                       count == 1 ? "" : "s", r->columns);
    if (count < 2)
        return qn_fail(QN_ERROR_FORMAT, "one column (expected a word and its tag, separated by white space)");
    if (r->tag_column >= (long)count || r->word_column >= (long)count)
        return qn_fail(QN_ERROR_FORMAT, "%zu columns (expected the word in %ld and the tag in %ld)", count,
                       r->word_column < 0 ? 1 : r->word_column + 1,
                       r->tag_column < 0 ? (long)count : r->tag_column + 1);
    if (word.size == 0) return qn_fail(QN_ERROR_FORMAT, "an empty word");
    QN_TRY(qn_tagged_add_word(r, word.data, word.size));
    return qn_tagged_add_tag(r, "", tag.data, tag.size);
}

static qn_status next_sentence(qn_tagged_reader *r, qn_tagged *out, bool *end) {
    for (;;) {
        qn_span line;
        QN_TRY(qn_input_text(r->input, &line, end));
        if (*end) break;
        while (line.size > 0 && (line.data[line.size - 1] == '\r' || line.data[line.size - 1] == ' ')) line.size--;
        bool document = line.size >= 10 && memcmp(line.data, "-DOCSTART-", 10) == 0;
        if (qn_span_trim(line).size == 0 || document) {
            if (r->words.count > 0) break;
            continue;
        }
        if (r->words.count == 0) {
            if (is_comment(line)) continue;
            out->line = qn_input_line_number(r->input);
        }
        qn_status status = add_line(r, line);
        if (status == QN_ERROR_MEMORY) return status;
        if (status != QN_OK)
            return qn_fail_prefix(status, "%s:%lld", qn_input_name(r->input),
                                  (long long)qn_input_line_number(r->input));
    }
    if (r->words.count > 0) *end = false;
    return QN_OK;
}

// --- JSON lines

static qn_status next_line(qn_tagged_reader *r, qn_tagged *out, bool *end) {
    qn_span line;
    do {
        QN_TRY(qn_input_line(r->input, &line, end));
        if (*end) return QN_OK;
    } while (qn_span_trim(line).size == 0);
    out->line = qn_input_line_number(r->input);
    return qn_tagged_json(r, line, out->line);
}

qn_status qn_tagged_next(qn_tagged_reader *r, qn_tagged *out, bool *end) {
    *out = (qn_tagged){.file = qn_input_name(r->input)};
    qn_buffer_clear(&r->text);
    qn_buffer_clear(&r->tags);
    r->words.count = 0;
    QN_TRY(r->json ? next_line(r, out, end) : next_sentence(r, out, end));
    return *end ? QN_OK : finish(r, out);
}
