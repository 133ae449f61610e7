// Questions: SQuAD's JSON and JSON lines say the same; wrong ones are errors that name their place; and answers are
// found among the tokens of windows.
#include "support.h"
#include "data/dataset.h"
#include "data/questions.h"

static char *folder;

static const char *put(const char *name, const char *text) {
    const char *path = test_path(folder, name);
    test_write_text(path, text);
    return path;
}

#define CONTEXT "\xC3\x9C is a letter. a b c d"

// "question|answer[begin,end) " of a whole file
static void assert_reads(const char *path, const char *want) {
    char got[1024] = "";
    size_t used = 0;
    qn_question_reader *reader;
    assert_ok(qn_questions_open(path, NULL, &reader));
    for (;;) {
        qn_question q;
        bool end;
        assert_ok(qn_questions_next(reader, &q, &end));
        if (end) break;
        used += (size_t)snprintf(got + used, sizeof got - used, "%.*s|", (int)q.question.size, q.question.data);
        for (size_t i = 0; i < q.count; i++)
            used += (size_t)snprintf(got + used, sizeof got - used, "%.*s[%d,%d) ", (int)q.answers[i].text.size,
                                     q.answers[i].text.data, (int)q.answers[i].begin, (int)q.answers[i].end);
    }
    qn_questions_close(reader);
    assert_string_equal(got, want);
}

static void formats_say_the_same(void **state) {
    (void)state;
    const char *want = "Q1|letter[8,14) a[6,7) Q2|";
    assert_reads(put("a.json",
                     "{\"version\": \"v2.0\", \"data\": [{\"title\": \"T\", \"paragraphs\": [{\"context\": \"" CONTEXT
                     "\", \"qas\": [{\"id\": \"1\", \"question\": \" Q1\", \"answers\": [{\"text\": \"letter\", "
                     "\"answer_start\": 7}, {\"text\": \"a\", \"answer_start\": 5}]}, {\"question\": \"Q2\", "
                     "\"is_impossible\": true, \"answers\": []}]}, {\"context\": \"\", \"qas\": []}]}]}"),
                 want);
    assert_reads(put("b.jsonl",
                     "{\"question\": \"Q1\", \"context\": \"" CONTEXT
                     "\", \"answers\": {\"text\": [\"letter\", \"a\"], \"answer_start\": [7, 5]}}\n\n"
                     "{\"question\": \"Q2\", \"context\": \"x\", \"answers\": {\"text\": [], \"answer_start\": []}}\n"),
                 want);
    // Without a place, and with a wrong one, the first occurrence counts.
    assert_reads(put("c.jsonl",
                     "{\"context\": \"" CONTEXT "\", \"question\": \"Q1\", \"answers\": [\"letter\", {\"text\": \"a\", "
                     "\"answer_start\": 0}]}\n{\"context\": \"x\", \"question\": \"Q2\"}\n"),
                 want);
}

static void errors_name_their_place(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *error;
    } bad[] = {
        {"1.jsonl", "{\"question\": \"q\", \"context\": \"c\", \"answers\": [\"d\"]}\n",
         "1.jsonl:1: the answer \"d\" is not in the context"},
        {"2.jsonl", "{\"question\": \"q\", \"context\": \"c\"}\n{\"question\": 3, \"context\": \"c\"}\n",
         "2.jsonl:2: \"question\" is not there, or no string"},
        {"3.jsonl", "{\"question\": \"q\", \"context\": \"c\", \"answers\": 3}\n", "3.jsonl:1: \"answers\" is neither"},
        {"4.jsonl", "{\"question\": \"q\", \"context\": \"c\", \"answers\": [\"\"]}\n", "4.jsonl:1: an empty answer"},
        {"5.json",
         "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", \"answers\": [{\"text\": "
         "\"x\", \"answer_start\": 0}]}]}]}]}",
         "5.json: data[0].paragraphs[0].qas[0]: the answer \"x\""},
        {"6.jsonl", "{\"version\": \"1\"}\n", "6.jsonl:1: no \"question\" (expected"},
        {"7.jsonl", "{\"question\": \"q\", \"context\": \"c\"}\n{\"question\"\n", "7.jsonl:2:11: "},
        {"6.json", "{\n\"datum\": []}", "6.json: no array \"data\""},
        {"7.json", "{\"data\": [{}]}", "7.json: data[0]: no array \"paragraphs\""},
        {"8.json", "{\"data\": [{\"paragraphs\": [{}]}]}", "8.json: data[0].paragraphs[0]: no array \"qas\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        qn_question_reader *reader = NULL;
        qn_status status = qn_questions_open(put(bad[i].name, bad[i].text), NULL, &reader);
        for (bool end = false; status == QN_OK && !end;) {
            qn_question q;
            status = qn_questions_next(reader, &q, &end);
        }
        assert_fails(status, QN_ERROR_FORMAT, bad[i].error);
        qn_questions_close(reader);
    }
}

static void answers_are_found_in_windows(void **state) {
    (void)state;
    qn_tokenizer *t;
    put("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nq\na\nb\nc\nd\n##c\n");
    assert_ok(qn_tokenizer_load(test_path(folder, "vocab.txt"), &t));
    const char *path =
        put("w.jsonl", "{\"question\": \"q\", \"context\": \"a b c d a bc d a b c\", \"answers\": [\"d a bc\"]}\n"
                       "{\"question\": \"q\", \"context\": \"a b\", \"answers\": []}\n");
    qn_dataset d;
    qn_windowed_options o = {.encode = qn_encode_defaults(), .stride = 4, .keep_texts = true};
    o.encode.max_length = 10; // [CLS] q [SEP] and six tokens [SEP]
    assert_ok(qn_dataset_read_answers(&path, 1, t, &o, &d));
    assert_int_equal(d.documents, 2);
    // 11 tokens: windows at 0, 2, 4 and 6; the answer is tokens 3 to 6.
    static const int32_t want[5][2] = {{0, 0}, {4, 7}, {0, 0}, {0, 0}, {0, 0}};
    assert_int_equal(d.sequences.count, 5);
    assert_memory_equal(d.answers, want, sizeof want);
    assert_string_equal(d.gold + d.gold_offsets[0], "d a bc");
    assert_int_equal(d.gold[d.gold_offsets[1]], 0);
    size_t token = (size_t)d.sequences.offsets[1] + 4;
    assert_true(d.starts[token] == 6 && d.ends[token] == 7 && d.starts[token - 2] == -1);
    qn_dataset_free(&d);
    o.encode.max_length = 4;
    assert_fails(qn_dataset_read_answers(&path, 1, t, &o, &d), QN_ERROR_ARGUMENT, "w.jsonl:1: a question of 4 tokens");
    qn_tokenizer_free(t);
}

static int setup(void **state) {
    (void)state;
    folder = test_folder();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats_say_the_same),
                                       cmocka_unit_test(errors_name_their_place),
                                       cmocka_unit_test(answers_are_found_in_windows)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
