// Tagged texts: what CoNLL files and JSON lines say, with errors that name file and line; words and their tokens; and
// windows, in which every word has its label once.
#include "support.h"
#include "data/dataset.h"
#include "data/tagged.h"
#include "data/windows.h"

static char *folder;

static const char *put(const char *name, const char *text) {
    const char *path = test_path(folder, name);
    test_write_text(path, text);
    return path;
}

// "word/TAG word/TAG | word/TAG" of a whole file, words as they stand in the text.
static void read_all(const char *path, const qn_tagged_options *options, char *out, size_t size) {
    const qn_tagged_options none = {0};
    qn_tagged_reader *reader;
    size_t used = 0;
    out[0] = 0;
    assert_ok(qn_tagged_open(path, options ? options : &none, &reader));
    for (size_t n = 0;; n++) {
        qn_tagged t;
        bool end;
        assert_ok(qn_tagged_next(reader, &t, &end));
        if (end) break;
        used += (size_t)snprintf(out + used, size - used, "%s", n ? "| " : "");
        for (size_t i = 0; i < t.count; i++)
            used += (size_t)snprintf(out + used, size - used, "%.*s/%.*s ", (int)(t.words[i].end - t.words[i].begin),
                                     t.text.data + t.words[i].begin, (int)t.tags[i].size, t.tags[i].data);
    }
    qn_tagged_close(reader);
}

#define assert_reads(path, options, want)                                                                              \
    do {                                                                                                               \
        char got_[1024];                                                                                               \
        read_all(path, options, got_, sizeof got_);                                                                    \
        assert_string_equal(got_, want);                                                                               \
    } while (0)

static void conll_is_read(void **state) {
    (void)state;
    assert_reads(
        put("a.conll", "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\nBlackburn NNP I-PER\r\n"),
        NULL, "EU/B-ORG rejects/O | Peter/B-PER Blackburn/I-PER ");
    // A column by its number; comments of CoNLL-U; a # that is a word; tabs, between which words may have spaces.
    assert_reads(put("b.conll", "# sent_id = 1\nEU NNP B-ORG\n# SYM O\n"), &(qn_tagged_options){.tag_column = "2"},
                 "EU/NNP #/SYM ");
    assert_reads(put("c.conll", "New York\tx\tB-LOC\nis\ty\tO\n"), NULL, "New York/B-LOC is/O ");
    assert_reads(put("d.conll", "\n\n"), NULL, "");
    assert_reads(put("e.conll", "caf\xe9 O\n"), NULL, "caf\xe9/O "); // with a warning; the tokenizer replaces it
}

// IOB1's first I- becomes a B-; BIO and BIOES stay as they are.
static void iob1_becomes_bio(void **state) {
    (void)state;
    assert_reads(put("iob1.conll", "a I-P\nb I-P\nc B-P\nd I-L\ne O\nf I-L\n\ng I-L\n"), NULL,
                 "a/B-P b/I-P c/B-P d/B-L e/O f/B-L | g/B-L ");
    assert_reads(put("bioes.conll", "a B-P\nb I-P\nc E-P\nd S-L\ne O\n"), NULL, "a/B-P b/I-P c/E-P d/S-L e/O ");
}

static void json_lines_are_read(void **state) {
    (void)state;
    assert_reads(put("a.jsonl", "{\"tokens\": [\"EU\", \"says\"], \"ner_tags\": [\"B-ORG\", \"O\"], \"id\": 3}\n\n"
                                "{\"words\": [], \"tags\": []}\n"),
                 NULL, "EU/B-ORG says/O | ");
    // Characters, not bytes; spans in any order; words are cut where spans end.
    assert_reads(put("b.jsonl", "{\"text\": \"\xC3\x9C"
                                "ber Bl\xC3\xBC"
                                "cher's (Bonn)\", \"spans\": [{\"start\": 16, \"end\": 20, "
                                "\"label\": \"LOC\"}, {\"start\": 5, \"end\": 12, \"label\": \"PER\"}]}\n"),
                 NULL,
                 "\xC3\x9C"
                 "ber/O Bl\xC3\xBC"
                 "cher/B-PER '/O s/O (/O Bonn/B-LOC )/O ");
    assert_reads(
        put("c.jsonl",
            "{\"text\": \"Sankt Gallen-Ost\", \"entities\": [{\"start\": 0, \"end\": 10, \"label\": \"L\"}]}\n"),
        NULL, "Sankt/B-L Gall/I-L en/O -/O Ost/O ");
    assert_reads(put("d.jsonl", "{\"text\": \"\", \"spans\": []}\n"), NULL, "");
}

static qn_status read_status(const char *path, const qn_tagged_options *options) {
    const qn_tagged_options none = {0};
    qn_tagged_reader *reader;
    QN_TRY(qn_tagged_open(path, options ? options : &none, &reader));
    qn_status status = QN_OK;
    for (bool end = false; status == QN_OK && !end;) {
        qn_tagged t;
        status = qn_tagged_next(reader, &t, &end);
    }
    qn_tagged_close(reader);
    return status;
}

static void errors_name_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *error;
    } bad[] = {
        {"1.conll", "a O\nb\n", "1.conll:2: 1 column (expected 2"},
        {"2.conll", "word\n", "2.conll:1: one column"},
        {"3.conll", "a\tO\nb\t\n", "3.conll:2: an empty tag"},
        {"4.conll", "a O\n\nb O x\n", "4.conll:3: 3 columns (expected 2"},
        {"5.conll", "a\tO\n\tO\n", "5.conll:2: an empty word"},
        {"6.conll", "a O\nb B-\xff\n", "6.conll:2: the tag \"B-"},
        {"1.jsonl", "{\"tokens\": [\"a\"], \"tags\": [\"O\"]}\n{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\"]}\n",
         "1.jsonl:2: 2 of \"tokens\" and 1 of \"tags\""},
        {"2.jsonl", "{\"tokens\": [\"a\"], \"tags\": [3]}\n", "2.jsonl:1: \"tags\"[0] is no string"},
        {"3.jsonl", "{\"tokens\": [\"a\"]}\n", "3.jsonl:1: no tags"},
        {"4.jsonl", "{\"text\": \"ab\", \"spans\": [{\"start\": 0, \"end\": 3, \"label\": \"A\"}]}\n",
         "4.jsonl:1: span 0 ends at character 3 of 2"},
        {"5.jsonl",
         "{\"text\": \"abcd\", \"spans\": [{\"start\": 1, \"end\": 3, \"label\": \"A\"}, {\"start\": 2, \"end\": 4, "
         "\"label\": \"B\"}]}\n",
         "5.jsonl:1: span 1 overlaps"},
        {"6.jsonl", "{\"text\": \"a  b\", \"spans\": [{\"start\": 1, \"end\": 2, \"label\": \"A\"}]}\n",
         "white space alone"},
        {"7.jsonl", "{\"text\": \"ab\", \"spans\": [{\"start\": 1, \"end\": 1, \"label\": \"A\"}]}\n",
         "7.jsonl:1: span 0 is 1 to 1"},
        {"8.jsonl", "{\"text\": \"ab\", \"spans\": [{\"start\": 0, \"end\": 1}]}\n", "8.jsonl:1: span 0 (expected"},
        {"9.jsonl", "{\"texts\": \"ab\"}\n", "9.jsonl:1: neither"},
        {"10.jsonl", "[1]\n", "10.jsonl:1: no JSON object"},
        {"11.jsonl", "\n{\"tokens\": [\"a\"\n", "11.jsonl:2:15: "},
        {"12.jsonl", "{\"tokens\": [\"a\"], \"tags\": [\"O\\u0000\"]}\n", "12.jsonl:1: \"tags\"[0]: a tag with a NUL"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(read_status(put(bad[i].name, bad[i].text), NULL), QN_ERROR_FORMAT, bad[i].error);
    const char *good = put("good.conll", "a O\n");
    assert_fails(read_status(good, &(qn_tagged_options){.format = "csv"}), QN_ERROR_ARGUMENT,
                 "expected conll or jsonl");
    assert_fails(read_status(good, &(qn_tagged_options){.tag_column = "7"}), QN_ERROR_FORMAT, "the tag in 7");
    assert_fails(read_status(good, &(qn_tagged_options){.tag_column = "tag"}), QN_ERROR_ARGUMENT, "\"tag\"");
}

// A tokenizer of whole words and pieces, and long texts.
static qn_tokenizer *tokenizer(void) {
    qn_tokenizer *t;
    put("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n##c\n.\nd\n");
    assert_ok(qn_tokenizer_load(test_path(folder, "vocab.txt"), &t));
    return t;
}

static void words_find_their_tokens(void **state) {
    (void)state;
    qn_tokenizer *t = tokenizer();
    qn_encoding e = QN_ENCODING_INIT;
    const char text[] = "abc a. d";
    qn_words w = {0};
    int32_t of[16];
    assert_ok(qn_tokenizer_encode(t, text, strlen(text), NULL, 0, NULL, &e));
    assert_ok(qn_words_split(text, strlen(text), &w));
    assert_int_equal(w.count, 4);
    qn_words_align(&e, w.items, w.count, false, of); // [CLS] a ##b ##c a . d [SEP]
    assert_memory_equal(of, ((int32_t[]){-1, 0, -1, -1, 1, 2, 3, -1}), 8 * sizeof *of);
    qn_words_align(&e, w.items, w.count, true, of);
    assert_memory_equal(of, ((int32_t[]){-1, 0, 0, 0, 1, 2, 3, -1}), 8 * sizeof *of);
    w.count = 0;
    assert_ok(qn_words_split_by_space(text, strlen(text), &w));
    assert_int_equal(w.count, 3);
    qn_words_align(&e, w.items, w.count, false, of);
    assert_memory_equal(of, ((int32_t[]){-1, 0, -1, -1, 1, -1, 2, -1}), 8 * sizeof *of);
    free(w.items);
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
}

// As tokenizers' return_overflowing_tokens cuts: 20 tokens, windows of 6 that share 2.
static void windows_cover_a_text(void **state) {
    (void)state;
    qn_tokenizer *t = tokenizer();
    qn_encoding e = QN_ENCODING_INIT;
    qn_windows w;
    const char text[] = "a a a a a a a a a a a a a a a a a a a a";
    assert_ok(qn_tokenizer_encode(t, text, strlen(text), NULL, 0, NULL, &e));
    assert_ok(qn_windows_plan(&e, 0, 8, 2, &w));
    assert_int_equal(w.count, 5);
    size_t begin, end, covered = 1, best = 0;
    for (size_t i = 0; i < w.count; i++) {
        qn_windows_at(&w, i, &begin, &end);
        assert_int_equal(begin, 1 + 4 * i);
        assert_true(begin <= covered && end > covered);
        covered = end;
    }
    assert_int_equal(covered, 21);
    for (size_t token = 1; token < 21; token++) { // ascending, and a window that has the token
        size_t i = qn_windows_best(&w, token);
        qn_windows_at(&w, i, &begin, &end);
        assert_true(i >= best && token >= begin && token < end);
        best = i;
    }
    assert_int_equal(qn_windows_best(&w, 5), 0); // tokens 5 and 6 are in windows 0 and 1
    assert_int_equal(qn_windows_best(&w, 6), 1);
    assert_ok(qn_windows_plan(&e, 0, 22, 2, &w));
    assert_int_equal(w.count, 1);
    assert_fails(qn_windows_plan(&e, 0, 8, 6, &w), QN_ERROR_ARGUMENT, "a stride of 6 tokens");
    assert_fails(qn_windows_plan(&e, 0, 2, 0, &w), QN_ERROR_ARGUMENT, "no room");
    qn_encoding_free(&e);
    qn_tokenizer_free(t);
}

static void every_word_has_its_label_once(void **state) {
    (void)state;
    qn_tokenizer *t = tokenizer();
    char text[400] = "";
    for (int i = 0; i < 20; i++) strcat(text, i % 3 ? "ab O\n" : "d B-X\n");
    const char *path = put("long.conll", text);
    qn_labels labels = {0};
    qn_dataset d;
    qn_windowed_options o = {.encode = qn_encode_defaults(), .stride = 3, .collect_labels = true, .keep_texts = true};
    o.encode.max_length = 9;
    assert_ok(qn_dataset_read_tags(&path, 1, t, &o, &labels, &d));
    assert_true(d.documents == 1 && d.split == 1 && d.sequences.count > 4);
    size_t word = 0;
    for (size_t k = 0; k < d.sequences.tokens; k++) {
        if (d.tags[k] < 0) continue;
        assert_string_equal(labels.names[d.tags[k]], word % 3 ? "O" : "B-X");
        assert_int_equal(d.ends[k] - d.starts[k], word % 3 ? 2 : 1);
        word++;
    }
    assert_int_equal(word, 20);
    uint64_t fingerprint = d.fingerprint;
    qn_dataset_free(&d);
    o.all_tokens = true;
    assert_ok(qn_dataset_read_tags(&path, 1, t, &o, &labels, &d));
    assert_true(d.fingerprint != fingerprint);
    qn_dataset_free(&d);
    // A label that a model does not have.
    o.collect_labels = false;
    path = put("new.conll", "a O\n\na B-Y\n");
    assert_fails(qn_dataset_read_tags(&path, 1, t, &o, &labels, &d), QN_ERROR_FORMAT, "new.conll:3: the label \"B-Y\"");
    qn_labels_free(&labels);
    qn_tokenizer_free(t);
}

static void memory_may_run_out(void **state) {
    (void)state;
    qn_tokenizer *t = tokenizer();
    const char *paths[] = {
        put("m.conll", "a O\nb B-X\n"),
        put("m.jsonl", "{\"text\": \"a b\", \"spans\": [{\"start\": 0, \"end\": 1, \"label\": \"X\"}]}\n")};
    qn_windowed_options o = {.encode = qn_encode_defaults(), .collect_labels = true, .keep_texts = true};
    for (size_t n = 0, ended = 0; !ended; n++) {
        qn_labels labels = {0};
        qn_dataset d;
        test_fail_allocations_after(n);
        qn_status status = qn_dataset_read_tags(paths, 2, t, &o, &labels, &d);
        test_fail_allocations_off();
        ended = status == QN_OK;
        if (!ended) assert_int_equal(status, QN_ERROR_MEMORY);
        if (ended) qn_dataset_free(&d);
        qn_labels_free(&labels);
    }
    qn_tokenizer_free(t);
}

static int setup(void **state) {
    (void)state;
    folder = test_folder();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(conll_is_read),
                                       cmocka_unit_test(iob1_becomes_bio),
                                       cmocka_unit_test(json_lines_are_read),
                                       cmocka_unit_test(errors_name_file_and_line),
                                       cmocka_unit_test(words_find_their_tokens),
                                       cmocka_unit_test(windows_cover_a_text),
                                       cmocka_unit_test(every_word_has_its_label_once),
                                       cmocka_unit_test(memory_may_run_out)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
