// Batches, their masking, and the loader.
#include "tests/data/fixture.h"
#include "data/loader.h"

static char *folder;
static qn_tokenizer *tokenizer;
static qn_dataset dataset;
static qn_labels labels;

enum { EXAMPLES = 2000 };

static int set_up(void **state) {
    (void)state;
    folder = test_folder();
    tokenizer = fixture_tokenizer(folder);
    qn_buffer text = {0};
    qn_buffer_text(&text, "label\ttext\ttext_pair\n");
    for (int i = 0; i < EXAMPLES; i++) {
        qn_buffer_printf(&text, "l%d\t", i % 3);
        for (int k = 0; k < 1 + i % 9; k++) qn_buffer_printf(&text, "x%d w%d ", (i + k) % 200, 100 + k);
        qn_buffer_printf(&text, "\tx%d\n", i % 200);
    }
    const char *path = test_path(folder, "data.tsv");
    test_write(path, text.data, text.size);
    qn_buffer_free(&text);
    qn_dataset_options options = qn_dataset_defaults();
    options.target = QN_TARGET_CLASS;
    options.collect_labels = true;
    assert_ok(qn_dataset_read(&path, 1, tokenizer, &options, &labels, &dataset));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    qn_dataset_free(&dataset);
    qn_labels_free(&labels);
    qn_tokenizer_free(tokenizer);
    return 0;
}

static void fill_all(qn_batch *batch) {
    uint32_t examples[EXAMPLES];
    for (uint32_t i = 0; i < EXAMPLES; i++) examples[i] = i;
    assert_ok(qn_batch_fill(batch, &dataset, examples, EXAMPLES));
}

static void sequences_are_packed(
    void **state) { // ids, positions from 0, types, offsets, targets; one after the other without padding
    (void)state;
    qn_batch batch = {0};
    assert_ok(qn_batch_fill(&batch, &dataset, (const uint32_t[]){1, 0}, 2));
    static const int32_t ids[] = {2, 17, 5, 7, 6, 6, 18, 5, 7, 6, 7, 3, 17, 3, 2, 16, 5, 7, 6, 6, 3, 16, 3};
    static const int32_t types[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1};
    static const int32_t offsets[] = {0, 14, 23};
    assert_int_equal(batch.tokens, 23);
    assert_int_equal(batch.sequences, 2);
    assert_memory_equal(batch.ids, ids, sizeof ids);
    assert_memory_equal(batch.types, types, sizeof types);
    assert_memory_equal(batch.offsets, offsets, sizeof offsets);
    for (int i = 0; i < 23; i++) assert_int_equal(batch.positions[i], i < 14 ? i : i - 14);
    assert_true(batch.has_classes);
    assert_int_equal(batch.classes[0], 1);
    assert_int_equal(batch.examples[1], 0);
    qn_batch_free(&batch);
}

static qn_masker make_masker(double probability, bool whole_words, uint64_t seed) {
    qn_mask_options options = qn_mask_defaults();
    options.probability = probability;
    options.whole_words = whole_words;
    options.seed = seed;
    qn_masker masker;
    assert_ok(qn_masker_init(&masker, tokenizer, &options));
    return masker;
}

static void
masking_keeps_its_shares(void **state) { // 15 % of the tokens; of them 80 % masked, 10 % random, 10 % as they are
    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        qn_batch batch = {0}, plain = {0};
        qn_masker masker = make_masker(0.15, whole, 1);
        size_t chosen = 0, masked = 0, kept = 0, random = 0, tokens = 0;
        fill_all(&plain);
        for (uint64_t epoch = 0; epoch < 10; epoch++) {
            fill_all(&batch);
            assert_ok(qn_batch_mask(&batch, &masker, epoch, 0));
            for (size_t i = 0; i < batch.tokens; i++) tokens += plain.ids[i] > FIXTURE_MASK;
            chosen += batch.masked;
            for (size_t i = 0; i < batch.masked; i++) {
                int32_t row = batch.masked_rows[i], now = batch.ids[row];
                assert_int_equal(batch.masked_ids[i], plain.ids[row]);
                assert_true(batch.masked_ids[i] > FIXTURE_MASK); // special tokens are never chosen
                assert_true(i == 0 || row > batch.masked_rows[i - 1]);
                masked += now == FIXTURE_MASK;
                kept += now == plain.ids[row];
                random += now != FIXTURE_MASK && now != plain.ids[row];
                plain.ids[row] = -plain.ids[row]; // seen
            }
            for (size_t i = 0; i < batch.tokens; i++) {
                if (plain.ids[i] < 0)
                    plain.ids[i] = -plain.ids[i];
                else
                    assert_int_equal(batch.ids[i], plain.ids[i]); // all others are as they were
            }
        }
        double n = (double)chosen;
        assert_true(tokens > 300000);
        assert_true(n / (double)tokens > 0.147 && n / (double)tokens < 0.153);
        assert_true((double)masked / n > 0.79 && (double)masked / n < 0.81);
        assert_true((double)random / n > 0.094 && (double)random / n < 0.106);
        assert_true((double)kept / n > 0.094 && (double)kept / n < 0.106);
        qn_masker_free(&masker);
        qn_batch_free(&batch);
        qn_batch_free(&plain);
    }
}

static void
words_stay_whole(void **state) { // all pieces of a word are chosen, or none; without the option, some are cut
    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        qn_batch batch = {0};
        qn_masker masker = make_masker(0.3, whole, 1);
        fill_all(&batch);
        assert_ok(qn_batch_mask(&batch, &masker, 0, 0));
        uint8_t *chosen = calloc(batch.tokens, 1);
        size_t cut = 0;
        for (size_t i = 0; i < batch.masked; i++) chosen[batch.masked_rows[i]] = 1;
        for (size_t i = 1; i < batch.tokens; i++) cut += batch.continues[i] && chosen[i] != chosen[i - 1];
        assert_true(whole ? cut == 0 : cut > 100);
        free(chosen);
        qn_masker_free(&masker);
        qn_batch_free(&batch);
    }
}

static void masks_are_a_function_of_seed_epoch_and_example(
    void **state) { // not of the batch, so that a resumed run sees the same ones
    (void)state;
    qn_batch alone = {0}, among = {0};
    qn_masker masker = make_masker(0.15, false, 5), other = make_masker(0.15, false, 6);
    const uint32_t few[] = {7, 8, 9}, one[] = {8};
    assert_ok(qn_batch_fill(&among, &dataset, few, 3));
    assert_ok(qn_batch_mask(&among, &masker, 3, 0));
    assert_ok(qn_batch_fill(&alone, &dataset, one, 1));
    assert_ok(qn_batch_mask(&alone, &masker, 3, 0));
    assert_memory_equal(alone.ids, among.ids + among.offsets[1], alone.tokens * sizeof *alone.ids);
    int different = 0;
    for (int k = 0; k < 3; k++) { // another epoch, another block, another seed
        fill_all(&among);
        fill_all(&alone);
        assert_ok(qn_batch_mask(&among, &masker, 3, 0));
        assert_ok(qn_batch_mask(&alone, k == 2 ? &other : &masker, k == 0 ? 4 : 3, k == 1));
        different += memcmp(alone.ids, among.ids, alone.tokens * sizeof *alone.ids) != 0;
    }
    assert_int_equal(different, 3);
    qn_masker_free(&masker);
    qn_masker_free(&other);
    qn_batch_free(&alone);
    qn_batch_free(&among);
}

static void extreme_probabilities(void **state) { // nothing masked, and everything but the special tokens
    (void)state;
    qn_batch batch = {0};
    qn_masker none = make_masker(0, false, 1), all = make_masker(1, true, 1);
    fill_all(&batch);
    assert_ok(qn_batch_mask(&batch, &none, 0, 0));
    assert_int_equal(batch.masked, 0);
    assert_ok(qn_batch_mask(&batch, &all, 0, 0));
    assert_int_equal(batch.masked, batch.tokens - 3 * EXAMPLES);
    qn_masker_free(&none);
    qn_masker_free(&all);
    qn_batch_free(&batch);
    qn_mask_options options = qn_mask_defaults();
    options.mask_share = 0.95;
    assert_fails(qn_masker_init(&none, tokenizer, &options), QN_ERROR_ARGUMENT, "at most 1 together");
}

static qn_loader make_loader(qn_sampler **sampler) {
    qn_sampler_options options = {.order = QN_ORDER_GROUPED, .batch_tokens = 700, .seed = 3};
    assert_ok(qn_sampler_create(&dataset.sequences, &options, sampler));
    return (qn_loader){.dataset = &dataset, .sampler = *sampler, .epochs = 3};
}

static void
a_resumed_loader_gives_the_same_batches(void **state) { // from the position that any batch carried, through JSON
    (void)state;
    qn_sampler *sampler, *other_sampler;
    qn_loader loader = make_loader(&sampler), other = make_loader(&other_sampler);
    qn_source source = qn_loader_source(&loader), again = qn_loader_source(&other);
    qn_batch a = {0}, b = {0};
    bool end;
    size_t count = 0, ends = 0;
    uint64_t total;
    assert_ok(qn_sampler_total(sampler, 3, &total));
    qn_data_position position = {.fingerprint = dataset.fingerprint};
    for (;; count++) {
        qn_buffer text = {0};
        json_t *json;
        bool other_end;
        assert_ok(source.next(source.self, &a, &end));
        qn_data_position_write(&position, &text);
        assert_ok(qn_json_parse(text.data, text.size, "state.json", &json));
        qn_buffer_free(&text);
        assert_ok(qn_data_position_read(json, "state.json", &position));
        json_decref(json);
        assert_ok(qn_loader_seek(&other, &position));
        assert_ok(again.next(again.self, &b, &other_end));
        assert_int_equal(end, other_end);
        if (end) break;
        assert_int_equal(a.tokens, b.tokens);
        assert_memory_equal(a.ids, b.ids, a.tokens * sizeof *a.ids);
        assert_memory_equal(a.classes, b.classes, a.sequences * sizeof *a.classes);
        assert_int_equal(a.epoch, b.epoch);
        ends += a.ends_epoch;
        position = a.after;
    }
    assert_int_equal(count, total);
    assert_int_equal(ends, 3);
    position.fingerprint ^= 1;
    assert_fails(qn_loader_seek(&other, &position), QN_ERROR_FORMAT, "not the data that the checkpoint was trained on");
    qn_batch_free(&a);
    qn_batch_free(&b);
    qn_sampler_free(sampler);
    qn_sampler_free(other_sampler);
}

static void a_steady_epoch_allocates_nothing(void **state) { // after the first
    (void)state;
    qn_sampler *sampler;
    qn_loader loader = make_loader(&sampler);
    qn_source source = qn_loader_source(&loader);
    qn_masker masker = make_masker(0.15, true, 1);
    qn_batch batch = {0};
    bool end = false;
    size_t before = 0;
    while (!end) {
        assert_ok(source.next(source.self, &batch, &end));
        if (end) break;
        assert_ok(qn_batch_mask(&batch, &masker, batch.epoch, 0));
        if (before == 0) before = test_allocations();
    }
    assert_int_equal(test_allocations(), before);
    qn_batch_free(&batch);
    qn_masker_free(&masker);
    qn_sampler_free(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_packed),
        cmocka_unit_test(masking_keeps_its_shares),
        cmocka_unit_test(words_stay_whole),
        cmocka_unit_test(masks_are_a_function_of_seed_epoch_and_example),
        cmocka_unit_test(extreme_probabilities),
        cmocka_unit_test(a_resumed_loader_gives_the_same_batches),
        cmocka_unit_test(a_steady_epoch_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
