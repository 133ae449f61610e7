// What the formats' readers share. Only src/data/reader*.c include it.
#pragma once
#include "data/reader.h"

// What a column can be for.
typedef enum { QN_ROLE_TEXT, QN_ROLE_PAIR, QN_ROLE_LABEL, QN_ROLE_SCORE, QN_ROLES } qn_role;

typedef enum {
    QN_JSON_STRING,
    QN_JSON_NUMBER,
    QN_JSON_TRUE,
    QN_JSON_FALSE,
    QN_JSON_NULL,
    QN_JSON_ARRAY,
    QN_JSON_OBJECT
} qn_json_kind;

// A value of a JSON line. `text` is the content of a string, unescaped, and the source text of anything else.
typedef struct {
    qn_json_kind kind;
    qn_span text;
} qn_json_value;

// A piece of reader->scratch, which may move while a record is being read.
typedef struct {
    size_t offset, size;
} qn_piece;

struct qn_reader {
    qn_input *input;
    qn_format format;
    qn_reader_options options; // with strings of its own
    const struct qn_reader_methods *methods;
    int64_t index;        // records read so far
    bool starts_document; // the next line of plain text does
    // Columns: a cell number for TSV and CSV, -1 for none; key names for JSON lines, NULL for none.
    ptrdiff_t column[QN_ROLES];
    char *key[QN_ROLES];
    // Columns of a group: cell numbers, and key names for JSON lines.
    ptrdiff_t *group;
    char **group_key;
    size_t group_count;
    size_t cells; // columns of the header; 0 while unknown
    char delimiter;
    // Buffers, grown to the longest record.
    char *scratch; // unquoted or unescaped text of the record
    size_t scratch_size, scratch_capacity;
    qn_span *cell; // [cell_capacity] cells of a row, or keys of an object
    size_t cell_capacity;
    qn_piece *piece; // [piece_capacity] of a row with quotes: where in scratch the cells are
    size_t piece_capacity;
    qn_json_value *value; // [value_capacity] what stands under the keys
    size_t value_capacity;
    qn_span *label; // [label_capacity]
    size_t label_capacity;
    char *label_text; // unescaped strings of a JSON array of labels
    size_t label_text_capacity;
    qn_span *text; // [text_capacity] of a group
    size_t text_capacity;
    char *group_text; // unescaped strings of JSON arrays of texts
    size_t group_text_capacity;
};

// A format: how it starts, and how it fills a record. `next` sets every field of the record but file and index.
typedef struct qn_reader_methods {
    qn_status (*start)(qn_reader *reader);
    qn_status (*next)(qn_reader *reader, qn_record *record, bool *end);
} qn_reader_methods;

extern const qn_reader_methods qn_reader_delimited, qn_reader_jsonl, qn_reader_lines;

// Finds the columns that `options` or the known names ask for among `names`. column[role] is -1 where there is none.
// False, without an error message, if there is no text.
bool qn_reader_find_columns(const qn_reader_options *options, const qn_span *names, size_t count, bool numbers,
                            ptrdiff_t column[QN_ROLES]);
// The same with errors: a column that was asked for or is needed is missing; names the columns there are.
qn_status qn_reader_resolve(qn_reader *reader, const qn_span *names, size_t count, bool numbers,
                            ptrdiff_t column[QN_ROLES]);

// Appends to the texts of the record's group. The text is not copied.
qn_status qn_reader_add_text(qn_reader *reader, qn_record *record, qn_span text);
// Appends to the labels of the record. The text is not copied.
qn_status qn_reader_add_label(qn_reader *reader, qn_record *record, qn_span label);
// A cell of several labels.
qn_status qn_reader_split_labels(qn_reader *reader, qn_record *record, qn_span cell);

// Splits a line at each `delimiter`, without quoting, into reader->cell. Returns the number of cells, at least 1; 0
// when out of memory.
size_t qn_reader_split(qn_reader *reader, qn_span line, char delimiter);

// Reads a JSON array of strings, numbers and booleans into the labels of the record. `text` is all of it. Errors have
// no place prefix.
qn_status qn_reader_json_labels(qn_reader *reader, qn_record *record, qn_span text);

// Grows reader->scratch to at least `size` bytes. What points into it becomes stale.
qn_status qn_reader_reserve(qn_reader *reader, size_t size);
