// The readers of TSV, CSV, JSON lines, fastText and plain text, plain and gzip-compressed.
#include "tests/support.h"
#include "data/reader.h"
#include "base/memory.h"
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

static char *folder;

static int set_up(void **state) {
    (void)state;
    folder = test_folder();
    return 0;
}

static const char *file(const char *name, const char *text) {
    const char *path = test_path(folder, name);
    test_write_text(path, text);
    return path;
}

// Appends one gzip member, so that several calls give a concatenated file.
static void append_gzip(const char *path, const char *text, size_t size) {
    gzFile out = gzopen(path, "ab");
    assert_non_null(out);
    assert_int_equal(gzwrite(out, text, (unsigned)size), (int)size);
    assert_int_equal(gzclose(out), Z_OK);
}

static void append_span(char *out, size_t room, const char *name, qn_span span) {
    size_t used = strlen(out);
    snprintf(out + used, room - used, "%s%.*s", name, (int)span.size, span.data ? span.data : "");
}

// All records in one line of text: "text|p:pair|l:label,label|s:score;" for each, to compare with one string.
static qn_status read_all(const char *path, const qn_reader_options *options, char *out, size_t room) {
    qn_reader *reader;
    *out = '\0';
    QN_TRY(qn_reader_open(path, options, &reader));
    for (;;) {
        qn_record r;
        bool end;
        qn_status status = qn_reader_next(reader, &r, &end);
        if (status != QN_OK || end) {
            qn_reader_close(reader);
            return status;
        }
        append_span(out, room, "", r.text);
        if (r.pair.data) append_span(out, room, "|p:", r.pair);
        for (size_t i = 0; i < r.label_count; i++) append_span(out, room, i ? "," : "|l:", r.labels[i]);
        if (r.has_label && r.label_count == 0) append_span(out, room, "|l:", (qn_span){0});
        size_t used = strlen(out);
        if (r.has_score) snprintf(out + used, room - used, "|s:%g", r.score);
        used = strlen(out);
        snprintf(out + used, room - used, ";");
    }
}

static void expect(const char *path, const qn_reader_options *options, const char *expected) {
    char out[4096];
    assert_ok(read_all(path, options, out, sizeof out));
    assert_string_equal(out, expected);
}

static void expect_error(const char *path, const qn_reader_options *options, const char *part) {
    char out[4096];
    assert_fails(read_all(path, options, out, sizeof out), QN_ERROR_FORMAT, part);
}

static void tsv_has_no_quoting(void **state) { // a quote is a character of the text, as in our own data
    (void)state;
    expect(file("a.tsv", "label\tword\ttext\nnoun\tx\tsay \"hi\nverb\ty\t\"q\"\r\n"), NULL,
           "say \"hi|l:noun;\"q\"|l:verb;");
}

static void csv_follows_rfc_4180(
    void **state) { // separators, quotes and line ends inside quotes; CRLF; empty cells; no end of line at the end
    (void)state;
    expect(file("a.csv",
                "text,label\r\n\"a,b\",x\r\n\"say \"\"hi\"\"\",y\r\n\"two\r\nlines\",z\r\n\r\nplain,\"w\"\r\n\"\",v"),
           NULL, "a,b|l:x;say \"hi\"|l:y;two\r\nlines|l:z;plain|l:w;|l:v;");
    expect(file("b.csv", "\"text\",\"label\"\n\"a\n\nb\",\"1\"\n"), NULL, "a\n\nb|l:1;");
    expect(file("semicolons.csv", "text;label\na, b;x\n"), NULL, "a, b|l:x;");
}

static void csv_mistakes_name_the_line(void **state) {
    (void)state;
    expect_error(file("open.csv", "text,label\na,b\n\"never,c\nd,e\n"), NULL,
                 "open.csv:3: a quoted field that begins in this record never ends");
    expect_error(file("after.csv", "text,label\n\"a\"b,c\n"), NULL, "after.csv:2: a quoted field goes on");
    expect_error(file("cells.csv", "text,label\na,b\na,b,c\n"), NULL, "cells.csv:3: 3 columns (expected 2");
    expect_error(file("cells.tsv", "text\tlabel\na\n"), NULL, "cells.tsv:2: 1 column (expected 2");
}

static void byte_order_mark_is_skipped(void **state) { // files that Excel wrote
    (void)state;
    expect(file("bom.csv", "\xef\xbb\xbftext,label\r\nx,y\r\n"), NULL, "x|l:y;");
    expect(file("bom.txt", "\xef\xbb\xbfone\ntwo\n"), NULL, "one;two;");
}

static void
json_lines_are_read(void **state) { // every kind of label, escapes, pairs of surrogates, keys in any order, blank lines
    (void)state;
    expect(file("a.jsonl", "{\"text\": \"a \\\"b\\\" \\u00e9\\ud83d\\ude00\\ud800\\n\", \"label\": 3}\n\n"
                           "{\"other\": [1, {\"x\": null}], \"label\": \"x\", \"text\": \"c\"}\n"
                           "{\"label\": [\"p\", \"q\", 1], \"text\": \"d\"}\r\n"
                           "{\"label\": null, \"text\": \"\"}\n{\"text\": \"e\"}\n{\"text\": \"f\", \"label\": true}"),
           NULL, "a \"b\" \xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd\n|l:3;c|l:x;d|l:p,q,1;;e;f|l:true;");
    expect(file("pair.jsonl", "{\"premise\":\"a\",\"hypothesis\":\"b\",\"score\":2.5}\n{\"premise\":\"a\","
                              "\"hypothesis\":null,\"score\":\"-1e1\"}\n"),
           NULL, "a|p:b|s:2.5;a|s:-10;");
}

static void json_mistakes_name_the_place(void **state) {
    (void)state;
    expect_error(file("array.json", "[{\"text\": \"a\"}]"), NULL, "array.json:1:1: a JSON array");
    expect_error(file("pretty.json", "{\n  \"text\": \"a\"\n}"), NULL,
                 "pretty.json:1:2: the object does not end in this line");
    expect_error(file("comma.jsonl", "{\"text\": \"a\"}\n{\"text\": \"a\",}\n"), NULL, "comma.jsonl:2:14: no key");
    expect_error(file("open.jsonl", "{\"text\": \"a}\n"), NULL, "open.jsonl:1:13: a string does not end");
    expect_error(file("more.jsonl", "{\"text\": \"a\"} {}\n"), NULL, "more.jsonl:1:15: more after the object");
    expect_error(file("number.jsonl", "{\"text\": 01}\n"), NULL, "number.jsonl:1:11:");
    expect_error(file("kind.jsonl", "{\"text\": 7}\n"), NULL, "kind.jsonl:1: \"text\" is a number (expected a string)");
    expect_error(file("gone.jsonl", "{\"text\": \"a\"}\n{\"label\": \"a\"}\n"), NULL,
                 "gone.jsonl:2: \"text\" is not there");
    expect_error(file("label.jsonl", "{\"text\": \"a\", \"label\": {}}\n"), NULL,
                 "label.jsonl:1: the label is an object");
    char deep[4096] = "{\"text\": \"a\", \"x\": ";
    memset(deep + strlen(deep), '[', 3000);
    expect_error(file("deep.jsonl", deep), NULL, "nested too deeply");
}

static void fasttext_lines(void **state) { // found by their first line, also in a .txt
    (void)state;
    expect(file("a.txt", "__label__x hello world\n__label__a __label__b more\nnone\n"), NULL,
           "hello world|l:x;more|l:a,b;none;");
    expect_error(file("bad.txt", "__label__x a\n__label__ b\n"), NULL, "bad.txt:2: \"__label__\" without a name");
}

static void
plain_text_marks_documents(void **state) { // empty lines end documents and are no records, unless they are asked for
    (void)state;
    const char *path = file("documents.txt", "\n\na\nb\n \nc\n\n");
    qn_reader *reader;
    assert_ok(qn_reader_open(path, NULL, &reader));
    const bool starts[] = {true, false, true};
    const int64_t lines[] = {3, 4, 6}, offsets[] = {2, 4, 8};
    qn_record r;
    bool end;
    for (int i = 0; i < 3; i++) {
        assert_ok(qn_reader_next(reader, &r, &end));
        assert_false(end);
        assert_int_equal(r.starts_document, starts[i]);
        assert_int_equal(r.line, lines[i]);
        assert_int_equal(r.offset, offsets[i]);
        assert_int_equal(r.index, i);
    }
    assert_ok(qn_reader_next(reader, &r, &end));
    assert_true(end);
    qn_reader_close(reader);
    expect(path, &(qn_reader_options){.keep_blank_lines = true}, ";;a;b; ;c;;");
}

static void columns_are_found_by_name(void **state) {
    (void)state;
    expect(file("1.tsv", "idx\tSentence1\tsentence2\tScore\n1\ta\tb\t4.5\n"), NULL, "a|p:b|s:4.5;");
    expect(file("2.tsv", "question\tsentence\tlabel\na\tb\tyes\n"), NULL, "a|p:b|l:yes;");
    expect(file("3.tsv", "sentence\tlabel\na\t 1 \nb\t\n"), NULL, "a|l:1;b;");
    expect(file("4.tsv", "x\ty\tz\na\tb\tc\n"),
           &(qn_reader_options){.text_column = "z", .pair_column = "1", .label_column = "y"}, "c|p:a|l:b;");
    expect(file("5.csv", "text,labels\na,\"x, y\"\nb,x|y z\nc,\"[\"\"u\"\",2]\"\nd,\n"),
           &(qn_reader_options){.multi_label = true}, "a|l:x,y;b|l:x,y z;c|l:u,2;d|l:;");
    expect(file("6.tsv", "text\tlabel\tscore\na\tb\tc\n"), &(qn_reader_options){.texts_only = true}, "a;");
}

static void missing_columns_are_named(void **state) { // the message lists what there is
    (void)state;
    expect_error(file("m.tsv", "foo\tbar\na\tb\n"), NULL, "m.tsv:1: no column of texts (expected \"text\"");
    expect_error(file("m.tsv", "foo\tbar\na\tb\n"), NULL, "found: \"foo\", \"bar\")");
    expect_error(file("m.tsv", "text\tbar\na\tb\n"), &(qn_reader_options){.need_label = true}, "no column of labels");
    expect_error(file("m.tsv", "text\tbar\na\tb\n"), &(qn_reader_options){.label_column = "baz"},
                 "no column \"baz\" (found: \"text\", \"bar\")");
    expect_error(file("m.tsv", "text\tbar\na\tb\n"), &(qn_reader_options){.label_column = "3"}, "no column \"3\"");
    expect_error(file("m.jsonl", "{\"foo\": 1}\n"), NULL, "m.jsonl:1: no column of texts");
    expect_error(file("m.txt", "a\n"), &(qn_reader_options){.need_label = true}, "plain text, which has no labels");
    expect_error(file("s.tsv", "text\tscore\na\thigh\n"), NULL, "s.tsv:2: the score is \"high\" (expected a number)");
}

static void files_without_header(void **state) { // names or numbers of columns; the first row is a record
    (void)state;
    expect(file("h.tsv", "x\ta\ny\tb\n"), &(qn_reader_options){.columns = "label,text"}, "a|l:x;b|l:y;");
    expect(file("h.csv", "x,\"a,b\"\ny,c\n"),
           &(qn_reader_options){.columns = "", .text_column = "2", .label_column = "1"}, "a,b|l:x;c|l:y;");
    expect(file("h1.csv", "\"a,b\"\nc\n"), &(qn_reader_options){.columns = ""}, "a,b;c;");
    expect_error(file("h2.csv", "a,b\n"), &(qn_reader_options){.columns = ""}, "no column of texts");
}

static void gzip_is_undone(void **state) { // by content, not by name; several members in a row; zeros behind them
    (void)state;
    const char *path = test_path(folder, "z.tsv.gz");
    append_gzip(path, "text\tlabel\none\t1\ntw", 19);
    append_gzip(path, "o\t2\n", 4);
    append_gzip(path, "", 0);
    expect(path, NULL, "one|l:1;two|l:2;");
    size_t size;
    char *bytes = test_read(path, &size);
    char *padded = calloc(size + 512, 1);
    memcpy(padded, bytes, size);
    test_write(test_path(folder, "padded.tsv"), padded, size + 512);
    expect(test_path(folder, "padded.tsv"), NULL, "one|l:1;two|l:2;");
    memcpy(padded + size, "junk", 4);
    test_write(test_path(folder, "junk.tsv"), padded, size + 4);
    expect_error(test_path(folder, "junk.tsv"), NULL, "junk.tsv: other bytes follow the gzip data");
    free(padded);
    free(bytes);
}

static void broken_gzip_is_an_error(void **state) { // a copy that was cut off must not look like a shorter file
    (void)state;
    char text[20000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = i % 50 == 49 ? '\n' : (char)('a' + (i * i + i / 7) % 26);
    append_gzip(test_path(folder, "whole.gz"), text, sizeof text);
    size_t size;
    char *bytes = test_read(test_path(folder, "whole.gz"), &size);
    char out[4096];
    for (size_t cut = 18; cut < size; cut += size / 7) {
        test_write(test_path(folder, "cut.gz"), bytes, cut);
        assert_fails(read_all(test_path(folder, "cut.gz"), NULL, out, sizeof out), QN_ERROR_FORMAT,
                     "the gzip data ends here in the middle");
    }
    bytes[size / 2] ^= 0x55;
    test_write(test_path(folder, "bad.gz"), bytes, size);
    assert_fails(read_all(test_path(folder, "bad.gz"), NULL, out, sizeof out), QN_ERROR_FORMAT, "corrupt gzip data");
    free(bytes);
}

static void
standard_input(void **state) { // "-" works for every format, and what is plain to see is found without an option
    (void)state;
    static const char *const contents[] = {"text\tlabel\na\tb\n", "{\"text\": \"a\", \"label\": \"b\"}\n",
                                           "text,label\na,b\n", "__label__b a\n"};
    int saved = dup(STDIN_FILENO);
    for (size_t i = 0; i < 4; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], contents[i], strlen(contents[i])), (ssize_t)strlen(contents[i]));
        close(ends[1]);
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        expect("-", NULL, "a|l:b;");
    }
    dup2(saved, STDIN_FILENO);
    close(saved);
}

static void a_pipe_is_read_line_by_line(void **state) { // a program that waits for an answer to its line must get it
    (void)state;
    int ends[2], saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    qn_reader *reader = NULL;
    alarm(20); // instead of waiting for ever
    for (int i = 0; i < 3; i++) {
        qn_record r;
        bool end;
        assert_int_equal(write(ends[1], "hi\n", 3), 3);
        if (!reader) assert_ok(qn_reader_open("-", NULL, &reader));
        assert_ok(qn_reader_next(reader, &r, &end));
        assert_int_equal(r.text.size, 2);
    }
    alarm(0);
    qn_reader_close(reader);
    close(ends[1]);
    dup2(saved, STDIN_FILENO);
    close(saved);
}

static void binary_data_is_refused(void **state) {
    (void)state;
    test_write(test_path(folder, "nul.txt"), "good\nab\0cd\n", 11);
    expect_error(test_path(folder, "nul.txt"), NULL, "nul.txt:2: a NUL byte at column 3");
    test_write(test_path(folder, "zip.csv"), "PK\3\4 and so on .....", 20);
    expect_error(test_path(folder, "zip.csv"), NULL, "zip.csv: is a zip archive");
    test_write(test_path(folder, "wide.txt"),
               "\xff\xfe"
               "a\0b\0",
               6);
    expect_error(test_path(folder, "wide.txt"), NULL, "UTF-16");
    char out[16];
    assert_fails(read_all(folder, NULL, out, sizeof out), QN_ERROR_ARGUMENT, "is a folder");
    assert_fails(read_all("/nowhere/x.tsv", NULL, out, sizeof out), QN_ERROR_IO, "/nowhere/x.tsv: cannot open");
}

static void invalid_utf8_is_counted(void **state) { // and passed on: the tokenizer replaces it
    (void)state;
    qn_reader *reader;
    assert_ok(qn_reader_open(file("latin.txt", "caf\xe9\nfine \xc3\xa9\n\xff\n"), NULL, &reader));
    qn_record r;
    bool end = false;
    while (!end) assert_ok(qn_reader_next(reader, &r, &end));
    assert_int_equal(qn_reader_invalid_lines(reader), 2);
    qn_reader_close(reader);
}

static void empty_files_have_no_records(void **state) { // the consumer says what it needs
    (void)state;
    static const char *const names[] = {"e.tsv", "e.csv", "e.jsonl", "e.txt"};
    for (size_t i = 0; i < 4; i++) expect(file(names[i], ""), NULL, "");
    expect(file("header.tsv", "text\tlabel\n"), NULL, "");
    append_gzip(test_path(folder, "e.gz"), "", 0);
    expect(test_path(folder, "e.gz"), NULL, "");
}

static void long_lines(void **state) { // 10 MB is fine, more than 64 MiB is not
    (void)state;
    size_t size = (size_t)10 << 20;
    char *text = malloc(size + 8);
    memset(text, 'a', size);
    memcpy(text + size, "\nlast\n", 7);
    test_write(test_path(folder, "long.txt"), text, size + 6);
    qn_reader *reader;
    assert_ok(qn_reader_open(test_path(folder, "long.txt"), NULL, &reader));
    qn_record r;
    bool end;
    assert_ok(qn_reader_next(reader, &r, &end));
    assert_int_equal(r.text.size, size);
    assert_ok(qn_reader_next(reader, &r, &end));
    assert_int_equal(r.text.size, 4);
    qn_reader_close(reader);
    free(text);

    const char *path = test_path(folder, "huge.gz");
    gzFile out = gzopen(path, "wb1");
    text = malloc((size_t)1 << 20);
    memset(text, 'a', (size_t)1 << 20);
    for (int i = 0; i < 66; i++) gzwrite(out, text, 1u << 20);
    gzclose(out);
    free(text);
    assert_ok(qn_reader_open(path, NULL, &reader));
    assert_fails(qn_reader_next(reader, &r, &end), QN_ERROR_FORMAT, "longer than 64 MiB");
    qn_reader_close(reader);
}

// Reads on from every record's position and compares with reading from the start.
static void check_seek(const char *path, const qn_reader_options *options) {
    qn_reader *reader, *other;
    assert_ok(qn_reader_open(path, options, &reader));
    assert_ok(qn_reader_open(path, options, &other));
    for (;;) {
        qn_reader_position position = qn_reader_tell(reader);
        qn_record a, b;
        bool end, other_end;
        assert_ok(qn_reader_next(reader, &a, &end));
        // Away and back, so that both directions are met.
        while (position.index % 3 == 1) {
            assert_ok(qn_reader_next(other, &b, &other_end));
            if (other_end) break;
        }
        assert_ok(qn_reader_seek(other, &position));
        assert_ok(qn_reader_next(other, &b, &other_end));
        assert_int_equal(end, other_end);
        if (end) break;
        assert_int_equal(a.line, b.line);
        assert_int_equal(a.offset, b.offset);
        assert_int_equal(a.index, b.index);
        assert_int_equal(a.starts_document, b.starts_document);
        assert_int_equal(a.text.size, b.text.size);
        assert_memory_equal(a.text.data, b.text.data, a.text.size);
        assert_int_equal(a.label_count, b.label_count);
    }
    qn_reader_close(reader);
    qn_reader_close(other);
}

static void reading_goes_on_at_a_position(void **state) { // in every format, plain and compressed
    (void)state;
    check_seek(file("s.tsv", "\xef\xbb\xbftext\tlabel\na\tb\n\nc\td\ne\tf\n"), NULL);
    check_seek(file("s.csv", "text,label\n\"a\n\nb\",c\n\"d\",e\nf,g\n"), NULL);
    check_seek(file("s.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\\n\"}\n{\"text\": \"c\"}\n"), NULL);
    check_seek(file("s.txt", "\xef\xbb\xbf"
                             "a\n\nb\nc\n\n\nd"),
               NULL);
    check_seek(file("nohead.tsv", "x\ta\ny\tb\n"), &(qn_reader_options){.columns = "label,text"});
    char text[600000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = i % 30011 == 30010 ? '\n' : (char)('a' + (i * 7 + i / 13) % 26);
    append_gzip(test_path(folder, "s.gz"), text, sizeof text);
    check_seek(test_path(folder, "s.gz"), NULL);
    qn_reader *reader;
    assert_ok(qn_reader_open(file("short.txt", "a\n"), NULL, &reader));
    assert_fails(qn_reader_seek(reader, &(qn_reader_position){.offset = 10}), QN_ERROR_FORMAT, "was the file changed?");
    qn_reader_close(reader);
}

static void steady_reading_allocates_nothing(void **state) { // after the longest record has been met
    (void)state;
    static const char *const names[] = {"n.tsv", "n.csv", "n.jsonl", "n.txt"};
    static const char *const heads[] = {"text\tlabel\n", "text,labels\n", "", ""};
    static const char *const rows[] = {"some text\tx\n", "\"some\n\"\"text\"\"\",\"x,y\"\n",
                                       "{\"text\": \"so\\u00e9\", \"label\": [\"a\", \"b\\n\"]}\n", "some text\n"};
    for (size_t i = 0; i < 4; i++) {
        char text[8192] = "";
        strcat(text, heads[i]);
        for (int k = 0; k < 100; k++) strcat(text, rows[i]);
        qn_reader *reader;
        assert_ok(qn_reader_open(file(names[i], text), &(qn_reader_options){.multi_label = i == 1}, &reader));
        qn_record r;
        bool end = false;
        assert_ok(qn_reader_next(reader, &r, &end));
        size_t before = test_allocations();
        while (!end) assert_ok(qn_reader_next(reader, &r, &end));
        assert_int_equal(test_allocations(), before);
        qn_reader_close(reader);
    }
}

static void
memory_running_out_leaks_nothing(void **state) { // every allocation fails once; the sanitizer run sees leaks
    (void)state;
    const char *path = file("o.csv", "text,labels\n\"some \"\"text\"\"\",\"[\"\"a\"\"]\"\nb,c\n");
    char out[256];
    for (size_t count = 0;; count++) {
        test_fail_allocations_after(count);
        qn_status status =
            read_all(path, &(qn_reader_options){.multi_label = true, .text_column = "text"}, out, sizeof out);
        test_fail_allocations_off();
        if (status == QN_OK) break;
        assert_int_equal(status, QN_ERROR_MEMORY);
        assert_true(count < 100);
    }
}

static void format_names(void **state) {
    (void)state;
    qn_format format;
    assert_ok(qn_format_parse("JSONL", &format));
    assert_int_equal(format, QN_FORMAT_JSONL);
    assert_fails(qn_format_parse("xml", &format), QN_ERROR_ARGUMENT, "expected auto, tsv");
    expect(file("as.txt", "text\tlabel\na\tb\n"), &(qn_reader_options){.format = QN_FORMAT_TSV}, "a|l:b;");
    expect(file("unknown.data", "{\"text\": \"a\"}\n"), NULL, "a;");
    expect(file("unknown2.data", "{a} is a set\n"), NULL, "{a} is a set;");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tsv_has_no_quoting),
        cmocka_unit_test(csv_follows_rfc_4180),
        cmocka_unit_test(csv_mistakes_name_the_line),
        cmocka_unit_test(byte_order_mark_is_skipped),
        cmocka_unit_test(json_lines_are_read),
        cmocka_unit_test(json_mistakes_name_the_place),
        cmocka_unit_test(fasttext_lines),
        cmocka_unit_test(plain_text_marks_documents),
        cmocka_unit_test(columns_are_found_by_name),
        cmocka_unit_test(missing_columns_are_named),
        cmocka_unit_test(files_without_header),
        cmocka_unit_test(gzip_is_undone),
        cmocka_unit_test(broken_gzip_is_an_error),
        cmocka_unit_test(standard_input),
        cmocka_unit_test(a_pipe_is_read_line_by_line),
        cmocka_unit_test(binary_data_is_refused),
        cmocka_unit_test(invalid_utf8_is_counted),
        cmocka_unit_test(empty_files_have_no_records),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(reading_goes_on_at_a_position),
        cmocka_unit_test(steady_reading_allocates_nothing),
        cmocka_unit_test(memory_running_out_leaks_nothing),
        cmocka_unit_test(format_names),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
