// Plain text, one text per line, and fastText's lines of "__label__" words followed by a text.
#include "data/reader_private.h"
#include <string.h>

static const char prefix[] = "__label__";
enum { PREFIX = sizeof prefix - 1 };

static qn_status start(qn_reader *reader) {
    if (reader->format == QN_FORMAT_FASTTEXT) {
        reader->column[QN_ROLE_LABEL] = 0;
        return QN_OK;
    }
    if (reader->options.need_label)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: read as plain text, which has no labels (expected TSV, CSV, JSON lines or fastText; "
                       "--format says which)",
                       qn_input_name(reader->input));
    return QN_OK;
}

// Takes the labels off the front of the text.
static qn_status fasttext_labels(qn_reader *reader, qn_record *record) {
    qn_span rest = qn_span_trim(record->text);
    while (rest.size > PREFIX && memcmp(rest.data, prefix, PREFIX) == 0) {
        size_t size = 0;
        while (size < rest.size && rest.data[size] != ' ' && rest.data[size] != '\t') size++;
        if (size == PREFIX)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: \"__label__\" without a name (expected __label__NAME)",
                           qn_input_name(reader->input), (long long)record->line);
        QN_TRY(qn_reader_add_label(reader, record, (qn_span){rest.data + PREFIX, size - PREFIX}));
        rest = qn_span_trim((qn_span){rest.data + size, rest.size - size});
    }
    record->has_label = record->label_count > 0 || reader->options.multi_label;
    record->text = rest;
    return QN_OK;
}

static qn_status next(qn_reader *reader, qn_record *record, bool *end) {
    bool fasttext = reader->format == QN_FORMAT_FASTTEXT;
    for (;;) {
        record->offset = qn_input_offset(reader->input);
        QN_TRY(qn_input_text(reader->input, &record->text, end));
        if (*end) return QN_OK;
        if (record->text.size > 0 && record->text.data[record->text.size - 1] == '\r') record->text.size--;
        bool blank = qn_span_trim(record->text).size == 0;
        if (!blank || (reader->options.keep_blank_lines && !fasttext)) break;
        reader->starts_document = true;
    }
    record->line = qn_input_line_number(reader->input);
    record->starts_document = reader->starts_document;
    reader->starts_document = false;
    return fasttext ? fasttext_labels(reader, record) : QN_OK;
}

const qn_reader_methods qn_reader_lines = {start, next};
