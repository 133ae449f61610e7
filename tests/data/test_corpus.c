// The corpus: sequences from text, blocks, exact resuming, and the prefetcher.
#include "tests/data/fixture.h"
#include "base/file.h"
#include "data/corpus.h"
#include "data/prefetch.h"
#include <unistd.h>
#include <zlib.h>

static char *folder;
static qn_tokenizer *tokenizer;
static qn_masker masker;

// A corpus of two files, one of them compressed: 300 + 500 lines of 1 to 8 words, an empty line after every tenth.
static const char *paths[2];

static int set_up(void **state) {
    (void)state;
    folder = test_folder();
    tokenizer = fixture_tokenizer(folder);
    qn_mask_options options = qn_mask_defaults();
    options.seed = 11;
    assert_ok(qn_masker_init(&masker, tokenizer, &options));
    for (int f = 0; f < 2; f++) {
        qn_buffer text = {0};
        for (int i = 0; i < (f ? 500 : 300); i++) {
            for (int k = 0; k < 1 + (i * 7 + f) % 8; k++)
                qn_buffer_printf(&text, "%s%d ", k % 3 == 2 ? "w" : "x", (i + 31 * k + 100 * f) % 200);
            qn_buffer_text(&text, i % 10 == 9 ? "\n\n" : "\n");
        }
        char *path = qn_path_join(folder, f ? "b.txt.gz" : "a.txt");
        if (f) {
            gzFile out = gzopen(path, "wb");
            gzwrite(out, text.data, (unsigned)text.size);
            gzclose(out);
        } else {
            test_write(path, text.data, text.size);
        }
        paths[f] = path;
        qn_buffer_free(&text);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int f = 0; f < 2; f++) free((char *)paths[f]);
    qn_masker_free(&masker);
    qn_tokenizer_free(tokenizer);
    return 0;
}

static qn_corpus_options small(bool streamed) {
    qn_corpus_options options = qn_corpus_defaults();
    options.max_length = 16;
    options.window = 100;
    options.memory_limit = streamed ? 0 : (size_t)1 << 20;
    options.batch_size = 0;
    options.batch_tokens = 120;
    options.seed = 5;
    options.epochs = 2;
    options.masker = &masker;
    return options;
}

static qn_corpus *open_all(const qn_corpus_options *options) {
    qn_corpus *corpus;
    assert_ok(qn_corpus_open(paths, 2, tokenizer, options, &corpus));
    return corpus;
}

// One corpus of a single file.
static qn_status open_text(const char *text, const qn_corpus_options *options, qn_corpus **corpus) {
    const char *path = test_path(folder, "one.txt");
    test_write_text(path, text);
    return qn_corpus_open(&path, 1, tokenizer, options, corpus);
}

static void assert_same_batch(const qn_batch *a, const qn_batch *b) {
    assert_int_equal(a->sequences, b->sequences);
    assert_int_equal(a->tokens, b->tokens);
    assert_memory_equal(a->ids, b->ids, a->tokens * sizeof *a->ids);
    assert_memory_equal(a->types, b->types, a->tokens * sizeof *a->types);
    assert_memory_equal(a->offsets, b->offsets, (a->sequences + 1) * sizeof *a->offsets);
    assert_int_equal(a->masked, b->masked);
    assert_memory_equal(a->masked_rows, b->masked_rows, a->masked * sizeof *a->masked_rows);
    assert_memory_equal(a->masked_ids, b->masked_ids, a->masked * sizeof *a->masked_ids);
    if (a->has_next_sentence)
        assert_memory_equal(a->next_sentence, b->next_sentence, a->sequences * sizeof *a->next_sentence);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->ends_epoch, b->ends_epoch);
    qn_buffer after[2] = {0}; // as text: the struct has padding
    qn_data_position_write(&a->after, &after[0]);
    qn_data_position_write(&b->after, &after[1]);
    assert_string_equal(after[0].data, after[1].data);
    for (int i = 0; i < 2; i++) qn_buffer_free(&after[i]);
}

// The sequences of one epoch as text, in the order of training.
static void decode(qn_corpus *corpus, qn_buffer *out) {
    qn_source source = qn_corpus_source(corpus);
    qn_batch batch = {0};
    bool end;
    for (;;) {
        assert_ok(source.next(source.self, &batch, &end));
        if (end) break;
        for (size_t i = 0; i < batch.sequences; i++) {
            char *text;
            size_t begin = (size_t)batch.offsets[i];
            assert_ok(
                qn_tokenizer_decode(tokenizer, batch.ids + begin, (size_t)batch.offsets[i + 1] - begin, false, &text));
            qn_buffer_printf(out, "%s\n", text);
            free(text);
        }
    }
    qn_batch_free(&batch);
}

static void expect(const char *text, const qn_corpus_options *options, const char *expected) {
    qn_corpus *corpus;
    qn_buffer out = {0};
    assert_ok(open_text(text, options, &corpus));
    decode(corpus, &out);
    assert_string_equal(out.data, expected);
    qn_buffer_free(&out);
    qn_corpus_close(corpus);
}

static void lines_become_sequences(void **state) { // a long one becomes several, or is cut; packed ones are full
    (void)state;
    for (int streamed = 0; streamed < 2; streamed++) {
        qn_corpus_options options = small(streamed);
        options.max_length = 8;
        options.masker = NULL;
        options.shuffle = false;
        options.epochs = 1;
        const char *text = "x1 x2\n\nx3 x4 x5 x6 x7 x8 x9 x10\nx11\n";
        expect(text, &options,
               "[CLS] x1 x2 [SEP]\n[CLS] x3 x4 x5 x6 x7 x8 [SEP]\n[CLS] x9 x10 [SEP]\n[CLS] x11 [SEP]\n");
        options.cut = true;
        expect(text, &options, "[CLS] x1 x2 [SEP]\n[CLS] x3 x4 x5 x6 x7 x8 [SEP]\n[CLS] x11 [SEP]\n");
        options.cut = false;
        options.pack = true;
        expect(text, &options, "[CLS] x1 x2 [SEP] x3 x4 x5 [SEP]\n[CLS] x6 x7 x8 x9 x10 [SEP]\n[CLS] x11 [SEP]\n");
        options.documents = true; // lines of a document follow each other
        expect(text, &options, "[CLS] x1 x2 [SEP] x3 x4 x5 [SEP]\n[CLS] x6 x7 x8 x9 x10 x11 [SEP]\n");
    }
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted_lines(qn_buffer *text, size_t *count) {
    char *lines[4096];
    *count = 0;
    for (char *line = strtok(text->data, "\n"); line; line = strtok(NULL, "\n")) lines[(*count)++] = line;
    qsort(lines, *count, sizeof *lines, compare_lines);
    qn_buffer out = {0};
    for (size_t i = 0; i < *count; i++) qn_buffer_printf(&out, "%s\n", lines[i]);
    return out.data;
}

static void an_epoch_has_every_line_once(void **state) { // streamed in blocks or kept in memory, shuffled or not
    (void)state;
    char *expected = NULL;
    for (int k = 0; k < 4; k++) {
        qn_corpus_options options = small(k & 1);
        options.masker = NULL;
        options.shuffle = k & 2;
        options.epochs = 1;
        qn_corpus *corpus = open_all(&options);
        assert_int_equal(qn_corpus_in_memory(corpus), !(k & 1));
        qn_buffer text = {0};
        decode(corpus, &text);
        size_t count;
        char *sorted = sorted_lines(&text, &count);
        assert_true(count >= 800);
        if (expected) assert_string_equal(sorted, expected);
        if (expected)
            free(sorted);
        else
            expected = sorted;
        qn_buffer_free(&text);
        qn_corpus_close(corpus);
    }
    free(expected);
}

static void
a_resumed_corpus_gives_the_same_batches(void **state) { // from every position, in every mode, over two epochs
    (void)state;
    for (int mode = 0; mode < 6; mode++) {
        qn_corpus_options options = small(mode % 2 == 0);
        options.pack = mode / 2 == 1;
        options.next_sentence = mode / 2 == 2;
        options.group_by_length = mode / 2 == 0;
        qn_corpus *corpus = open_all(&options), *other = open_all(&options);
        qn_source source = qn_corpus_source(corpus), again = qn_corpus_source(other);
        qn_data_position position = {.fingerprint = qn_corpus_fingerprint(corpus)};
        qn_batch a = {0}, b = {0};
        uint64_t total, count = 0;
        size_t ends = 0;
        assert_ok(qn_corpus_total(corpus, 2, &total));
        for (bool end = false, other_end; !end; count += !end) {
            assert_ok(source.next(source.self, &a, &end));
            // Now and then the other one is somewhere else.
            if (count % 7 == 3) assert_ok(again.next(again.self, &b, &other_end));
            assert_ok(qn_corpus_seek(other, &position));
            assert_ok(again.next(again.self, &b, &other_end));
            assert_int_equal(end, other_end);
            if (end) break;
            assert_same_batch(&a, &b);
            assert_true(a.tokens <= 120);
            ends += a.ends_epoch;
            position = a.after;
        }
        assert_int_equal(ends, 2);
        if (mode % 2)
            assert_int_equal(count, total);
        else
            assert_int_equal(total, 0);
        position.fingerprint++;
        assert_fails(qn_corpus_seek(corpus, &position), QN_ERROR_FORMAT, "not the corpus");
        qn_batch_free(&a);
        qn_batch_free(&b);
        qn_corpus_close(corpus);
        qn_corpus_close(other);
    }
}

static void prefetching_changes_nothing(void **state) { // with and without a thread, and when it is stopped early
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        qn_corpus_options options = small(mode == 0);
        options.next_sentence = mode == 2;
        qn_corpus *plain = open_all(&options), *threaded = open_all(&options);
        qn_prefetch *here, *ahead;
        assert_ok(qn_prefetch_start(qn_corpus_source(plain), 0, &here));
        assert_ok(qn_prefetch_start(qn_corpus_source(threaded), 4, &ahead));
        size_t count = 0;
        for (;; count++) {
            qn_batch *a, *b;
            bool end, other_end;
            if (count % 16 == 5) usleep(2000); // let the ring fill up, at other times run it dry
            assert_ok(qn_prefetch_next(here, &a, &end));
            assert_ok(qn_prefetch_next(ahead, &b, &other_end));
            assert_int_equal(end, other_end);
            if (end) break;
            assert_same_batch(a, b);
        }
        assert_true(count > 50);
        qn_prefetch_stop(here);
        qn_prefetch_stop(ahead);
        qn_corpus_close(plain);
        qn_corpus_close(threaded);
    }
    for (int taken = 0; taken < 6; taken++) {
        qn_corpus_options options = small(true);
        options.epochs = 0;
        qn_corpus *corpus = open_all(&options);
        qn_prefetch *prefetch;
        qn_batch *batch;
        bool end;
        assert_ok(qn_prefetch_start(qn_corpus_source(corpus), 3, &prefetch));
        for (int i = 0; i < taken; i++) assert_ok(qn_prefetch_next(prefetch, &batch, &end));
        qn_prefetch_stop(prefetch);
        qn_corpus_close(corpus);
    }
}

static void errors_come_in_their_place(
    void **state) { // after the batches before them, with their message, with and without a thread
    (void)state;
    qn_buffer text = {0};
    for (int i = 0; i < 250; i++) qn_buffer_printf(&text, "{\"text\": \"x%d\"}\n", i % 200);
    qn_buffer_text(&text, "{\"text\": 3}\n");
    const char *path = test_path(folder, "bad.jsonl");
    test_write(path, text.data, text.size);
    qn_buffer_free(&text);
    qn_corpus_options options = small(true);
    options.batch_tokens = 30;
    for (size_t depth = 0; depth < 6; depth += 5) {
        qn_corpus *corpus;
        qn_prefetch *prefetch;
        qn_batch *batch;
        bool end;
        assert_ok(qn_corpus_open(&path, 1, tokenizer, &options, &corpus));
        assert_ok(qn_prefetch_start(qn_corpus_source(corpus), depth, &prefetch));
        for (int i = 0; i < 20; i++) assert_ok(qn_prefetch_next(prefetch, &batch, &end)); // two blocks of 100
        assert_fails(qn_prefetch_next(prefetch, &batch, &end), QN_ERROR_FORMAT, "bad.jsonl:251: \"text\" is a number");
        assert_fails(qn_prefetch_next(prefetch, &batch, &end), QN_ERROR_FORMAT, "bad.jsonl:251:");
        qn_prefetch_stop(prefetch);
        qn_corpus_close(corpus);
    }
}

static void pairs_of_segments(
    void **state) { // half of them of two documents, the others neighbours; both segments there, none too long
    (void)state;
    qn_buffer text = {0}; // document i has the words x(2 i) and x(2 i + 1), two lines of each
    for (int i = 0; i < 100; i++)
        qn_buffer_printf(&text, "x%d x%d\nx%d\nx%d x%d\nx%d\n\n", 2 * i, 2 * i, 2 * i, 2 * i + 1, 2 * i + 1, 2 * i + 1);
    qn_corpus_options options = small(false);
    options.next_sentence = true;
    options.masker = NULL;
    options.epochs = 20;
    qn_corpus *corpus;
    assert_ok(open_text(text.data, &options, &corpus));
    qn_buffer_free(&text);
    qn_source source = qn_corpus_source(corpus);
    qn_batch batch = {0};
    size_t random = 0, count = 0;
    for (bool end;;) {
        assert_ok(source.next(source.self, &batch, &end));
        if (end) break;
        assert_true(batch.has_next_sentence);
        for (size_t i = 0; i < batch.sequences; i++) {
            int32_t begin = batch.offsets[i], last = batch.offsets[i + 1] - 1, second = begin;
            while (batch.types[second] == 0) second++;
            assert_true(last - begin < 16);
            assert_int_equal(batch.ids[begin], FIXTURE_CLS);
            assert_int_equal(batch.ids[second - 1], FIXTURE_SEP);
            assert_int_equal(batch.ids[last], FIXTURE_SEP);
            assert_true(second - 1 > begin + 1 && last > second);
            bool same = (batch.ids[begin + 1] - FIXTURE_X) / 2 == (batch.ids[second] - FIXTURE_X) / 2;
            assert_int_equal(batch.next_sentence[i], !same);
            random += !same;
            count++;
        }
    }
    assert_true(count > 2000);
    assert_true((double)random / (double)count > 0.45 && (double)random / (double)count < 0.65);
    qn_batch_free(&batch);
    qn_corpus_close(corpus);
}

static void
one_document_has_no_other(void **state) { // pairs would all be neighbours, and there would be nothing to learn
    (void)state;
    qn_corpus_options options = small(false);
    options.next_sentence = true;
    qn_corpus *corpus;
    assert_fails(open_text("x1\nx2\nx3\n", &options, &corpus), QN_ERROR_FORMAT, "one.txt: is a single document");
}

static void files_folders_and_patterns(void **state) { // in the order of their names, hidden files left out
    (void)state;
    char *sub = qn_path_join(folder, "texts/inner");
    assert_ok(qn_make_folders(sub));
    free(sub);
    test_write_text(test_path(folder, "texts/b.txt"), "x2\n");
    test_write_text(test_path(folder, "texts/a.txt"), "x1\n");
    test_write_text(test_path(folder, "texts/.hidden"), "x9\n");
    test_write_text(test_path(folder, "texts/inner/c.txt"), "x3\n");
    test_write_text(test_path(folder, "texts/empty.txt"), "");
    qn_corpus_options options = small(false);
    options.shuffle = false;
    options.masker = NULL;
    options.epochs = 1;
    const char *both[] = {test_path(folder, "texts/[b]*.txt"), test_path(folder, "texts")};
    qn_corpus *corpus;
    qn_buffer out = {0};
    assert_ok(qn_corpus_open(both, 2, tokenizer, &options, &corpus));
    decode(corpus, &out);
    assert_string_equal(out.data, "[CLS] x2 [SEP]\n[CLS] x1 [SEP]\n[CLS] x2 [SEP]\n[CLS] x3 [SEP]\n");
    qn_buffer_free(&out);
    qn_corpus_close(corpus);
    const char *none = test_path(folder, "texts/*.tsv"), *empty = test_path(folder, "texts/empty.txt");
    assert_fails(qn_corpus_open(&none, 1, tokenizer, &options, &corpus), QN_ERROR_IO, "no such file");
    assert_fails(qn_corpus_open(&empty, 1, tokenizer, &options, &corpus), QN_ERROR_FORMAT, "empty.txt: holds no text");
    options.memory_limit = 0;
    assert_fails(qn_corpus_open(&empty, 1, tokenizer, &options, &corpus), QN_ERROR_FORMAT, "empty.txt: holds no text");
    options.max_length = 4;
    assert_fails(qn_corpus_open(both, 2, tokenizer, &options, &corpus), QN_ERROR_ARGUMENT, "at least 8");
}

static void too_large_for_memory_is_streamed(void **state) { // found out while reading
    (void)state;
    qn_corpus_options options = small(false);
    options.memory_limit = 20000;
    qn_corpus *corpus = open_all(&options);
    assert_false(qn_corpus_in_memory(corpus));
    options.memory_limit = 0;
    qn_corpus *other = open_all(&options);
    qn_source source = qn_corpus_source(corpus), again = qn_corpus_source(other);
    qn_batch a = {0}, b = {0};
    for (bool end = false, other_end; !end;) {
        assert_ok(source.next(source.self, &a, &end));
        assert_ok(again.next(again.self, &b, &other_end));
        assert_int_equal(end, other_end);
        if (!end) assert_same_batch(&a, &b);
    }
    qn_batch_free(&a);
    qn_batch_free(&b);
    qn_corpus_close(corpus);
    qn_corpus_close(other);
}

static void memory_running_out_leaks_nothing(void **state) {
    (void)state;
    qn_corpus_options options = small(true);
    options.next_sentence = true;
    const char *path = paths[0];
    for (size_t count = 0;; count += 1 + count / 8) {
        qn_corpus *corpus = NULL;
        qn_batch batch = {0};
        bool end = false;
        test_fail_allocations_after(count);
        qn_status status = qn_corpus_open(&path, 1, tokenizer, &options, &corpus);
        while (status == QN_OK && !end) status = qn_corpus_source(corpus).next(corpus, &batch, &end);
        test_fail_allocations_off();
        qn_batch_free(&batch);
        qn_corpus_close(corpus);
        if (status == QN_OK) break;
        assert_int_equal(status, QN_ERROR_MEMORY);
        assert_true(count < 100000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_sequences),
        cmocka_unit_test(an_epoch_has_every_line_once),
        cmocka_unit_test(a_resumed_corpus_gives_the_same_batches),
        cmocka_unit_test(prefetching_changes_nothing),
        cmocka_unit_test(errors_come_in_their_place),
        cmocka_unit_test(pairs_of_segments),
        cmocka_unit_test(one_document_has_no_other),
        cmocka_unit_test(files_folders_and_patterns),
        cmocka_unit_test(too_large_for_memory_is_streamed),
        cmocka_unit_test(memory_running_out_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
