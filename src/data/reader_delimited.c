// TSV (no quoting, as Python's csv.QUOTE_NONE) and CSV (RFC 4180).
#include "base/memory.h"
#include "data/reader_private.h"
#include <stdlib.h>
#include <string.h>

static qn_span without_return(qn_span line) {
    if (line.size > 0 && line.data[line.size - 1] == '\r') line.size--;
    return line;
}

static qn_status put(qn_reader *reader, const char *data, size_t size) {
    QN_TRY(qn_reader_reserve(reader, reader->scratch_size + size + 1));
    if (size > 0) memcpy(reader->scratch + reader->scratch_size, data, size);
    reader->scratch_size += size;
    return QN_OK;
}

// The rest of a quoted field, after its opening quote. `line` is what is left of the line; the field may go on in the
// lines after it.
static qn_status quoted(qn_reader *reader, int64_t first_line, qn_span *line) {
    for (;;) {
        const char *quote = line->size > 0 ? memchr(line->data, '"', line->size) : NULL;
        size_t size = quote ? (size_t)(quote - line->data) : line->size;
        QN_TRY(put(reader, line->data, size));
        if (quote) {
            line->data += size + 1;
            line->size -= size + 1;
            if (line->size == 0 || line->data[0] != '"') return QN_OK;
            QN_TRY(put(reader, "\"", 1));
            line->data++;
            line->size--;
            continue;
        }
        QN_TRY(put(reader, "\n", 1));
        bool end;
        QN_TRY(qn_input_text(reader->input, line, &end));
        if (end || reader->scratch_size > QN_LINE_LIMIT)
            return qn_fail(
                QN_ERROR_FORMAT, "%s:%lld: a quoted field that begins in this record %s (expected a closing quote)",
                qn_input_name(reader->input), (long long)first_line, end ? "never ends" : "does not end within 64 MiB");
    }
}

// A record with quotes in it: its fields are put together in reader->scratch, and become reader->cell when it stands
// still.
static qn_status split_quoted(qn_reader *reader, qn_span line, int64_t first_line, size_t *count) {
    char delimiter = reader->delimiter;
    size_t n = 0;
    reader->scratch_size = 0;
    for (;;) {
        size_t begin = reader->scratch_size;
        if (line.size > 0 && line.data[0] == '"') {
            line.data++;
            line.size--;
            QN_TRY(quoted(reader, first_line, &line));
            qn_span rest = without_return(line);
            if (rest.size > 0 && rest.data[0] != delimiter)
                return qn_fail(QN_ERROR_FORMAT,
                               "%s:%lld: a quoted field goes on after its closing quote (expected a separator, or \"\" "
                               "for a quote)",
                               qn_input_name(reader->input), (long long)qn_input_line_number(reader->input));
            line = rest;
        } else {
            const char *at = line.size > 0 ? memchr(line.data, delimiter, line.size) : NULL;
            size_t size = at ? (size_t)(at - line.data) : without_return(line).size;
            QN_TRY(put(reader, line.data, size));
            line.data += size;
            line.size = at ? line.size - size : 0;
        }
        void *pieces = reader->piece;
        qn_status status = qn_grow(&pieces, &reader->piece_capacity, n + 1, sizeof *reader->piece);
        reader->piece = pieces;
        if (status != QN_OK) return status;
        reader->piece[n++] = (qn_piece){begin, reader->scratch_size - begin};
        if (line.size == 0) break;
        line.data++; // the separator
        line.size--;
    }
    void *cells = reader->cell;
    qn_status status = qn_grow(&cells, &reader->cell_capacity, n, sizeof *reader->cell);
    reader->cell = cells;
    if (status != QN_OK) return status;
    for (size_t i = 0; i < n; i++)
        reader->cell[i] = (qn_span){reader->scratch + reader->piece[i].offset, reader->piece[i].size};
    *count = n;
    return QN_OK;
}

// The next row into reader->cell; empty lines are skipped.
static qn_status next_row(qn_reader *reader, qn_record *record, size_t *count, bool *end) {
    qn_span line;
    do {
        record->offset = qn_input_offset(reader->input);
        QN_TRY(qn_input_text(reader->input, &line, end));
        if (*end) return QN_OK;
    } while (without_return(line).size == 0);
    record->line = qn_input_line_number(reader->input);
    if (reader->format == QN_FORMAT_CSV && memchr(line.data, '"', line.size))
        return split_quoted(reader, line, record->line, count);
    *count = qn_reader_split(reader, without_return(line), reader->delimiter);
    return *count > 0 ? QN_OK : QN_ERROR_MEMORY;
}

static char guess_delimiter(qn_span text) {
    const char *newline = text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;
    if (newline) text.size = (size_t)(newline - text.data);
    if (text.size == 0 || memchr(text.data, ',', text.size)) return ',';
    if (memchr(text.data, ';', text.size)) return ';';
    return memchr(text.data, '\t', text.size) ? '\t' : ',';
}

// Names from options.columns, or one empty name for each cell of the first row, which stays to be read.
static qn_status start_without_header(qn_reader *reader) {
    const char *names = reader->options.columns;
    size_t count = 1;
    if (*names) {
        count = qn_reader_split(reader, (qn_span){names, strlen(names)}, ',');
        if (count == 0) return QN_ERROR_MEMORY;
        for (size_t i = 0; i < count; i++) reader->cell[i] = qn_span_trim(reader->cell[i]);
    } else {
        qn_reader_position begin = qn_reader_tell(reader);
        qn_record row = {0};
        bool end;
        QN_TRY(next_row(reader, &row, &count, &end));
        if (end) return QN_OK;
        QN_TRY(qn_reader_seek(reader, &begin));
        for (size_t i = 0; i < count; i++) reader->cell[i].size = 0;
    }
    reader->cells = count;
    return qn_reader_resolve(reader, reader->cell, count, true, reader->column);
}

static qn_status start(qn_reader *reader) {
    reader->delimiter = reader->format == QN_FORMAT_TSV ? '\t' : reader->options.delimiter;
    qn_span text;
    QN_TRY(qn_input_peek(reader->input, 64 << 10, &text));
    if (!reader->delimiter) reader->delimiter = guess_delimiter(text);
    if (text.size == 0 || reader->options.cells) return QN_OK; // an empty file: whoever needs records says so
    if (reader->options.columns) return start_without_header(reader);
    qn_record header = {0};
    bool end;
    size_t count;
    QN_TRY(next_row(reader, &header, &count, &end));
    if (end) return QN_OK;
    for (size_t i = 0; i < count; i++) reader->cell[i] = qn_span_trim(reader->cell[i]);
    reader->cells = count;
    return qn_reader_resolve(reader, reader->cell, count, true, reader->column);
}

static qn_status next(qn_reader *reader, qn_record *record, bool *end) {
    size_t count;
    QN_TRY(next_row(reader, record, &count, end));
    if (*end) return QN_OK;
    const char *file = qn_input_name(reader->input);
    if (reader->options.cells && reader->cells == 0) reader->cells = count;
    if (count != reader->cells)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: %zu column%s (expected %zu, as in the first line)", file,
                       (long long)record->line, count, count == 1 ? "" : "s", reader->cells);
    if (reader->options.cells) {
        record->cells = reader->cell;
        record->cell_count = count;
        return QN_OK;
    }
    const ptrdiff_t *column = reader->column;
    record->text = reader->cell[column[QN_ROLE_TEXT]];
    if (column[QN_ROLE_PAIR] >= 0) record->pair = reader->cell[column[QN_ROLE_PAIR]];
    for (size_t i = 0; i < reader->group_count; i++)
        QN_TRY(qn_reader_add_text(reader, record, reader->cell[reader->group[i]]));
    if (column[QN_ROLE_LABEL] >= 0) {
        qn_span cell = qn_span_trim(reader->cell[column[QN_ROLE_LABEL]]);
        if (reader->options.multi_label) {
            qn_status status = qn_reader_split_labels(reader, record, cell);
            if (status != QN_OK) return qn_fail_prefix(status, "%s:%lld", file, (long long)record->line);
            record->has_label = true;
        } else if (cell.size > 0) {
            QN_TRY(qn_reader_add_label(reader, record, cell));
            record->has_label = true;
        }
    }
    if (column[QN_ROLE_SCORE] >= 0) {
        qn_span cell = qn_span_trim(reader->cell[column[QN_ROLE_SCORE]]);
        record->has_score = cell.size > 0;
        if (cell.size > 0 && !qn_parse_number(cell, &record->score))
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the score is \"%.*s\" (expected a number)", file,
                           (long long)record->line, (int)(cell.size < 60 ? cell.size : 60), cell.data);
    }
    return QN_OK;
}

const qn_reader_methods qn_reader_delimited = {start, next};
