// Records of labelled or raw text, streamed from TSV, CSV, JSON lines, fastText lines and plain text, each also
// gzip-compressed.
#pragma once
#include "data/input.h"

typedef enum {
    QN_FORMAT_AUTO,  // by the name (.tsv .tab .csv .jsonl .ndjson .json .txt, a .gz after it ignored); otherwise by a
                     // look at the first line
    QN_FORMAT_TSV,   // tabs, a header, no quoting
    QN_FORMAT_CSV,   // RFC 4180: a header, quoted fields may hold separators, quotes and line ends
    QN_FORMAT_JSONL, // one JSON object per line
    QN_FORMAT_TEXT,  // one text per line
    QN_FORMAT_FASTTEXT, // "__label__A __label__B text"
} qn_format;

// The name for --format ("tsv", "csv", "jsonl", "text", "fasttext", "auto"). An unknown name is QN_ERROR_ARGUMENT and
// names the known ones.
qn_status qn_format_parse(const char *name, qn_format *out);
const char *qn_format_name(qn_format format);

typedef struct {
    qn_format format;
    // Which columns to read. NULL: by their names, as docs/data.md lists them. A name is compared as it is, then
    // regardless of ASCII case; in TSV and CSV a number that is no name counts columns from 1. With a text column
    // given, a pair is read only if its column is given.
    const char *text_column, *pair_column, *label_column, *score_column;
    // TSV and CSV without a header line: the names of the columns, separated by commas. NULL, or "" for a file without
    // a header whose columns are given by number (or that has only one column, the text).
    const char *columns;
    // Examples of several texts: all columns of texts, in the order anchor, positive, negative; JSON lines also with lists
    // of texts under a key. By their names, or those of `text_columns`, separated by commas.
    bool group;
    const char *text_columns;
    char delimiter;   // CSV; 0: a comma, unless the header has none and has semicolons or tabs
    bool multi_label; // a label cell of TSV and CSV may hold several: a JSON array, or separated by '|', else by ','
    bool need_label;  // a file without labels and scores is an error
    bool texts_only;  // labels and scores are not looked at, whatever is in them
    bool cells; // of numbers: each row of TSV and CSV is a record of its cells, the header among them, and each line of
                // JSON lines a text
    bool keep_blank_lines; // plain text: an empty line is a record with an empty text, so that output lines match input
                           // lines
} qn_reader_options;

// All pointers are valid until the next call on the reader.
typedef struct {
    qn_span text, pair; // pair.data is NULL where there is none
    const qn_span *texts; // [text_count] of a group: all of them, `text` first; NULL where the format has only one
    size_t text_count;
    const qn_span *cells; // [cell_count] with the option `cells`, of TSV and CSV
    size_t cell_count;
    const qn_span
        *labels; // [label_count]; without the white space around them; several only if multi-label or from a JSON array
    size_t label_count;
    bool has_label,
        has_score;        // has_label is also true for an empty list of labels (`[]`, or an empty cell if multi-label)
    double score;         // finite
    bool starts_document; // plain text: the first line of the file, or after empty lines
    const char *file;     // for messages; lives as long as the reader
    int64_t line;         // where the record begins, from 1
    int64_t offset;       // the same in bytes of the uncompressed text
    int64_t index;        // records before this one
} qn_record;

// Where to go on. Plain data, to be stored in a checkpoint.
typedef struct {
    int64_t offset, line, index;
    bool starts_document;
} qn_reader_position;

typedef struct qn_reader qn_reader;

// Opens `path` ("-" is standard input), reads the header where there is one and finds the columns. `options` may be
// NULL for the defaults; its strings are not kept. Errors name the file, for a missing column also the columns found.
// An empty file is fine here: it has no records. Not thread-safe; several readers may work at the same time.
qn_status qn_reader_open(const char *path, const qn_reader_options *options, qn_reader **out);
void qn_reader_close(qn_reader *reader); // NULL is allowed

// The next record, or *end = true. Errors begin with FILE:LINE. Takes nothing from the heap once its buffers have met
// the longest record. Text that is not UTF-8 is passed on as it is (the tokenizer replaces it), counted, and reported
// once as a warning.
qn_status qn_reader_next(qn_reader *reader, qn_record *record, bool *end);

qn_reader_position qn_reader_tell(const qn_reader *reader); // of the next record
// Continues at a position that qn_reader_tell gave for the same file and options. Plain files jump; gzip reads again up
// to there.
qn_status qn_reader_seek(qn_reader *reader, const qn_reader_position *position);

qn_format qn_reader_format(const qn_reader *reader);      // never QN_FORMAT_AUTO
bool qn_reader_has_pair(const qn_reader *reader);         // JSON lines: of the first record
bool qn_reader_has_label(const qn_reader *reader);        // the same
bool qn_reader_has_score(const qn_reader *reader);        // the same
int64_t qn_reader_invalid_lines(const qn_reader *reader); // lines so far that were not UTF-8
double qn_reader_progress(const qn_reader *reader);       // share of the file that is read, 0 to 1; 0 for pipes

// A decimal number as in JSON, also with a leading '+' or '.'; no hexadecimal, infinity or NaN. White space around it
// is skipped.
bool qn_parse_number(qn_span text, double *out);
// Without the ASCII white space at both ends.
qn_span qn_span_trim(qn_span text);
