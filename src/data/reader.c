// Opening of labelled and raw text files: options, the choice of the format, position.
#include "base/memory.h"
#include "data/reader_private.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const format_names[] = {"auto", "tsv", "csv", "jsonl", "text", "fasttext"};
static const struct {
    const char *extension;
    qn_format format;
} extensions[] = {
    {".tsv", QN_FORMAT_TSV},      {".tab", QN_FORMAT_TSV},    {".csv", QN_FORMAT_CSV},  {".jsonl", QN_FORMAT_JSONL},
    {".ndjson", QN_FORMAT_JSONL}, {".json", QN_FORMAT_JSONL}, {".txt", QN_FORMAT_TEXT},
};

qn_status qn_format_parse(const char *name, qn_format *out) {
    for (size_t i = 0; i < sizeof format_names / sizeof *format_names; i++) {
        if (strcasecmp(name, format_names[i]) != 0) continue;
        *out = (qn_format)i;
        return QN_OK;
    }
    return qn_fail(QN_ERROR_ARGUMENT, "\"%s\" is no data format (expected auto, tsv, csv, jsonl, text or fasttext)",
                   name);
}

const char *qn_format_name(qn_format format) {
    return (size_t)format < sizeof format_names / sizeof *format_names ? format_names[format] : "unknown";
}

static bool ends_with(const char *text, size_t size, const char *end) {
    size_t n = strlen(end);
    return size > n && strncasecmp(text + size - n, end, n) == 0;
}

static qn_format format_by_name(const char *path) {
    size_t size = strlen(path);
    if (ends_with(path, size, ".gz")) size -= 3;
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        if (ends_with(path, size, extensions[i].extension)) return extensions[i].format;
    return QN_FORMAT_AUTO;
}

// True if the first line, split at `delimiter`, is a header with known names of texts and, where `labelled`, of labels
// or scores.
static bool is_header(qn_reader *reader, qn_span line, char delimiter, bool labelled) {
    if (line.size == 0 || !memchr(line.data, delimiter, line.size)) return false;
    size_t count = qn_reader_split(reader, line, delimiter);
    for (size_t i = 0; i < count; i++) {
        qn_span name = qn_span_trim(reader->cell[i]);
        if (delimiter == ',' && name.size >= 2 && name.data[0] == '"') name = (qn_span){name.data + 1, name.size - 2};
        reader->cell[i] = name;
    }
    ptrdiff_t column[QN_ROLES];
    return qn_reader_find_columns(&reader->options, reader->cell, count, false, column) &&
           (!labelled || column[QN_ROLE_LABEL] >= 0 || column[QN_ROLE_SCORE] >= 0);
}

// The same of numbers: objects and lists, or cells.
static qn_status format_of_numbers(qn_reader *reader, qn_format *out) {
    qn_span line;
    QN_TRY(qn_input_peek(reader->input, 64 << 10, &line));
    const char *newline = line.size > 0 ? memchr(line.data, '\n', line.size) : NULL;
    if (newline) line.size = (size_t)(newline - line.data);
    line = qn_span_trim(line);
    bool json = line.size > 0 && (line.data[0] == '{' || line.data[0] == '[');
    *out = json                                                     ? QN_FORMAT_JSONL
           : line.size > 0 && memchr(line.data, '\t', line.size) ? QN_FORMAT_TSV
                                                                    : QN_FORMAT_CSV;
    return QN_OK;
}

// A look at the first line. Plain text is the answer unless something else is plain to see.
static qn_status format_by_content(qn_reader *reader, bool name_says_text, qn_format *out) {
    qn_span line;
    QN_TRY(qn_input_peek(reader->input, 64 << 10, &line));
    const char *newline = line.size > 0 ? memchr(line.data, '\n', line.size) : NULL;
    if (newline) line.size = (size_t)(newline - line.data);
    line = qn_span_trim(line);
    *out = QN_FORMAT_TEXT;
    if (line.size > 9 && memcmp(line.data, "__label__", 9) == 0)
        *out = QN_FORMAT_FASTTEXT;
    else if (name_says_text)
        return QN_OK;
    else if (line.size >= 2 && line.data[0] == '{' &&
             qn_span_trim((qn_span){line.data + 1, line.size - 1}).data[0] == '"')
        *out = QN_FORMAT_JSONL;
    else if (is_header(reader, line, '\t', false))
        *out = QN_FORMAT_TSV;
    else if (is_header(reader, line, ',', true))
        *out = QN_FORMAT_CSV;
    return QN_OK;
}

// The caller's strings may go away after the call.
static qn_status copy_options(qn_reader *reader, const qn_reader_options *options) {
    if (!options) return QN_OK;
    reader->options = *options;
    const char **strings[] = {&reader->options.text_column, &reader->options.pair_column, &reader->options.label_column,
                              &reader->options.score_column, &reader->options.columns,
                              &reader->options.text_columns};
    bool failed = false;
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        if (!*strings[i]) continue;
        *strings[i] = qn_strdup(*strings[i]);
        failed |= !*strings[i];
    }
    return failed ? QN_ERROR_MEMORY : QN_OK;
}

static qn_status open_reader(qn_reader *reader, const char *path, const qn_reader_options *options) {
    QN_TRY(copy_options(reader, options));
    QN_TRY(qn_input_open(path, &reader->input));
    reader->format = reader->options.format;
    if (reader->format == QN_FORMAT_AUTO)
        reader->format = strcmp(path, "-") == 0 ? QN_FORMAT_AUTO : format_by_name(path);
    bool says_text = reader->format == QN_FORMAT_TEXT && reader->options.format == QN_FORMAT_AUTO;
    bool numbers = reader->options.cells;
    if (reader->format == QN_FORMAT_AUTO || says_text)
        QN_TRY(numbers ? format_of_numbers(reader, &reader->format)
                       : format_by_content(reader, says_text, &reader->format));
    switch (reader->format) {
    case QN_FORMAT_TSV:
    case QN_FORMAT_CSV:
        reader->methods = &qn_reader_delimited;
        break;
    case QN_FORMAT_JSONL:
        reader->methods = numbers ? &qn_reader_lines : &qn_reader_jsonl;
        break;
    default:
        reader->methods = &qn_reader_lines;
        break;
    }
    return reader->methods->start(reader);
}

qn_status qn_reader_open(const char *path, const qn_reader_options *options, qn_reader **out) {
    *out = NULL;
    qn_reader *reader = qn_calloc(1, sizeof *reader);
    if (!reader) return QN_ERROR_MEMORY;
    for (int role = 0; role < QN_ROLES; role++) reader->column[role] = -1;
    reader->starts_document = true;
    qn_status status = open_reader(reader, path, options);
    if (status != QN_OK) {
        qn_reader_close(reader);
        return status;
    }
    *out = reader;
    return QN_OK;
}

void qn_reader_close(qn_reader *reader) {
    if (!reader) return;
    qn_input_close(reader->input);
    free((char *)reader->options.text_column);
    free((char *)reader->options.pair_column);
    free((char *)reader->options.label_column);
    free((char *)reader->options.score_column);
    free((char *)reader->options.columns);
    free((char *)reader->options.text_columns);
    for (int role = 0; role < QN_ROLES; role++) free(reader->key[role]);
    for (size_t i = 0; i < reader->group_count && reader->group_key; i++) free(reader->group_key[i]);
    free(reader->group_key);
    free(reader->group);
    free(reader->text);
    free(reader->group_text);
    free(reader->scratch);
    free(reader->cell);
    free(reader->piece);
    free(reader->value);
    free(reader->label);
    free(reader->label_text);
    free(reader);
}

qn_status qn_reader_next(qn_reader *reader, qn_record *record, bool *end) {
    *record = (qn_record){0};
    QN_TRY(reader->methods->next(reader, record, end));
    if (*end) return QN_OK;
    record->file = qn_input_name(reader->input);
    record->index = reader->index++;
    return QN_OK;
}

qn_reader_position qn_reader_tell(const qn_reader *reader) {
    return (qn_reader_position){qn_input_offset(reader->input), qn_input_line_number(reader->input), reader->index,
                                reader->starts_document};
}

qn_status qn_reader_seek(qn_reader *reader, const qn_reader_position *position) {
    QN_TRY(qn_input_seek(reader->input, position->offset, position->line));
    reader->index = position->index;
    reader->starts_document = position->starts_document;
    return QN_OK;
}

qn_format qn_reader_format(const qn_reader *reader) {
    return reader->format;
}

bool qn_reader_has_pair(const qn_reader *reader) {
    return reader->column[QN_ROLE_PAIR] >= 0;
}

bool qn_reader_has_label(const qn_reader *reader) {
    return reader->column[QN_ROLE_LABEL] >= 0;
}

bool qn_reader_has_score(const qn_reader *reader) {
    return reader->column[QN_ROLE_SCORE] >= 0;
}

int64_t qn_reader_invalid_lines(const qn_reader *reader) {
    return qn_input_invalid_lines(reader->input);
}

double qn_reader_progress(const qn_reader *reader) {
    return qn_input_progress(reader->input);
}
