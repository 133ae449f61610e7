// Noise does what its shares say, keeps special tokens, words and lengths, and is a function of seed, epoch and text.
#include "data/fixture.h"
#include "data/loader.h"
#include <math.h>

static char folder[256];
static qn_tokenizer *tokenizer;

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "ends.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n;\n!\n##a\nw\n");
    tokenizer = fixture_tokenizer(folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    qn_tokenizer_free(tokenizer);
    return 0;
}

static void append(qn_sequences *s, const int32_t *ids, size_t count, const uint8_t *continues) {
    qn_encoding e = {.count = count, .ids = (int32_t *)(uintptr_t)ids};
    int32_t words[256], zeros[256] = {0};
    for (size_t i = 0; i < count; i++) words[i] = i == 0 ? 0 : words[i - 1] + !(continues && continues[i]);
    e.words = words, e.sequences = e.types = zeros;
    assert_ok(qn_sequences_append(s, &e));
}

// 100 texts of 100 words x..., in special tokens.
static void many(qn_sequences *s) {
    int32_t ids[102];
    for (int32_t i = 0; i < 100; i++) {
        ids[0] = FIXTURE_CLS, ids[101] = FIXTURE_SEP;
        for (int32_t k = 0; k < 100; k++) ids[k + 1] = FIXTURE_X + (i * 3 + k) % 200;
        append(s, ids, 102, NULL);
    }
}

static qn_batch noisy(const qn_sequences *s, const qn_tokenizer *words, const qn_noise_options *o, uint64_t epoch) {
    qn_noise noise;
    qn_batch b = {0};
    uint32_t *all = malloc(s->count * sizeof *all);
    for (uint32_t i = 0; i < s->count; i++) all[i] = i;
    assert_ok(qn_noise_init(&noise, words, o));
    assert_ok(qn_batch_fill_noisy(&b, &noise, s, all, s->count, epoch, 0));
    assert_int_equal(b.sequences, 2 * s->count);
    assert_int_equal(b.width, 2);
    for (size_t i = 0; i < s->count; i++) { // the whole text follows its noisy form
        assert_int_equal(b.offsets[2 * i + 2] - b.offsets[2 * i + 1], qn_sequences_length(s, i));
        assert_memory_equal(b.ids + b.offsets[2 * i + 1], s->ids + s->offsets[i],
                            (size_t)qn_sequences_length(s, i) * sizeof *b.ids);
        for (int32_t t = b.offsets[2 * i]; t < b.offsets[2 * i + 1]; t++)
            assert_int_equal(b.positions[t], t - b.offsets[2 * i]);
    }
    qn_noise_free(&noise);
    free(all);
    return b;
}

static size_t count_of(const qn_batch *b, int32_t id) { // in noisy forms
    size_t found = 0;
    for (size_t i = 0; i < b->sequences; i += 2)
        for (int32_t t = b->offsets[i]; t < b->offsets[i + 1]; t++) found += b->ids[t] == id;
    return found;
}

static size_t left(const qn_batch *b) { // tokens of noisy forms, without special ones
    size_t found = 0;
    for (size_t i = 0; i < b->sequences; i += 2) found += (size_t)(b->offsets[i + 1] - b->offsets[i]) - 2;
    return found;
}

static void near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%g (expected %g)", value, expected);
}

static void shares(void **state) {
    (void)state;
    qn_sequences s = {0};
    many(&s);
    qn_batch b = noisy(&s, tokenizer, &(qn_noise_options){.deletion = 0.6, .max_length = 200}, 0);
    near((double)left(&b), 4000, 150);
    for (size_t i = 0; i < b.sequences; i += 2) {
        assert_int_equal(b.ids[b.offsets[i]], FIXTURE_CLS);
        assert_int_equal(b.ids[b.offsets[i + 1] - 1], FIXTURE_SEP);
    }
    qn_batch_free(&b);
    b = noisy(&s, tokenizer, &(qn_noise_options){.mask = 0.3, .max_length = 200}, 0);
    near((double)count_of(&b, FIXTURE_MASK), 3000, 150);
    assert_int_equal(left(&b), 10000);
    qn_batch_free(&b);
    static const double spans[] = {1, 3, 8};
    for (size_t i = 0; i < 3; i++) {
        double span = spans[i];
        b = noisy(&s, tokenizer, &(qn_noise_options){.infill = 0.3, .span = span, .max_length = 200}, 0);
        double masks = (double)count_of(&b, FIXTURE_MASK), covered = 10000 - ((double)left(&b) - masks);
        near(covered, 3000, 250);
        near(masks, 3000 / span, 0.15 * 3000 / span); // with those of spans of length 0
        qn_batch_free(&b);
    }
    qn_sequences_free(&s);
}

static void functional(void **state) { // of seed and epoch; texts beside it do not matter
    (void)state;
    qn_sequences s = {0};
    many(&s);
    qn_noise_options o = {.deletion = 0.2, .infill = 0.2, .span = 3, .mask = 0.1, .max_length = 200, .seed = 4};
    qn_batch a = noisy(&s, tokenizer, &o, 1), b = noisy(&s, tokenizer, &o, 1), other = noisy(&s, tokenizer, &o, 2);
    assert_int_equal(a.tokens, b.tokens);
    assert_memory_equal(a.ids, b.ids, a.tokens * sizeof *a.ids);
    assert_true(other.tokens != a.tokens || memcmp(other.ids, a.ids, a.tokens * sizeof *a.ids) != 0);
    qn_noise noise;
    qn_batch alone = {0};
    assert_ok(qn_noise_init(&noise, tokenizer, &o));
    assert_ok(qn_batch_fill_noisy(&alone, &noise, &s, (const uint32_t[]){37}, 1, 1, 0));
    assert_int_equal(alone.offsets[1], a.offsets[75] - a.offsets[74]);
    assert_memory_equal(alone.ids, a.ids + a.offsets[74], (size_t)alone.offsets[1] * sizeof *a.ids);
    qn_noise_free(&noise);
    qn_batch_free(&a);
    qn_batch_free(&b);
    qn_batch_free(&other);
    qn_batch_free(&alone);
    qn_sequences_free(&s);
}

static void words(void **state) { // go or stay as a whole; one always stays
    (void)state;
    const int32_t ids[] = {FIXTURE_CLS, FIXTURE_W, FIXTURE_PIECE, FIXTURE_PIECE + 1,
                           FIXTURE_X,   FIXTURE_W, FIXTURE_PIECE, FIXTURE_SEP};
    const uint8_t continues[] = {0, 0, 1, 1, 0, 0, 1, 0};
    qn_sequences s = {0};
    for (int i = 0; i < 300; i++) append(&s, ids, 8, continues);
    qn_batch b = noisy(&s, tokenizer, &(qn_noise_options){.deletion = 0.8, .words = true, .max_length = 8}, 0);
    size_t lengths[9] = {0};
    for (size_t i = 0; i < b.sequences; i += 2) {
        int32_t length = b.offsets[i + 1] - b.offsets[i];
        const int32_t *t = b.ids + b.offsets[i];
        lengths[length]++;
        assert_true(length > 2);
        for (int32_t k = 1; k + 1 < length; k++)
            if (t[k] >= FIXTURE_PIECE && t[k] < FIXTURE_X)
                assert_true(t[k - 1] == FIXTURE_W || t[k - 1] == FIXTURE_PIECE);
    }
    assert_true(lengths[3] > 50 && lengths[4] > 50 && lengths[5] > 50); // x, w 0, w 0 1
    assert_int_equal(lengths[3] + lengths[4] + lengths[5] + lengths[6] + lengths[7] + lengths[8], 300);
    qn_batch_free(&b);
    qn_sequences_free(&s);
}

static void lengths(void **state) { // masks between tokens do not make a text longer than the limit
    (void)state;
    qn_sequences s = {0};
    many(&s);
    qn_batch b = noisy(&s, tokenizer, &(qn_noise_options){.infill = 0.3, .span = 0.5, .max_length = 102}, 0);
    int32_t longest = 0;
    for (size_t i = 0; i < b.sequences; i += 2)
        if (b.offsets[i + 1] - b.offsets[i] > longest) longest = b.offsets[i + 1] - b.offsets[i];
    assert_int_equal(longest, 102);
    qn_batch_free(&b);
    // Texts without a word, and without anything.
    qn_sequences_clear(&s);
    append(&s, (const int32_t[]){FIXTURE_CLS, FIXTURE_SEP}, 2, NULL);
    append(&s, NULL, 0, NULL);
    b = noisy(&s, tokenizer,
              &(qn_noise_options){.infill = 0.3, .span = 3, .deletion = 0.5, .permute = 1, .max_length = 9}, 0);
    assert_int_equal(b.tokens, 4);
    qn_batch_free(&b);
    qn_sequences_free(&s);
}

static void sentences(void **state) { // change places, each in one piece; a share of them
    (void)state;
    enum { STOP = 5, OTHER = 6, MARK = 7, W = 9, SENTENCES = 8 };
    qn_tokenizer *t;
    assert_ok(qn_tokenizer_load(test_path(folder, "ends.txt"), &t));
    int32_t ids[64] = {FIXTURE_CLS};
    size_t count = 1;
    for (int i = 0; i < SENTENCES; i++) { // w, i + 1 times, and its end
        for (int k = 0; k <= i; k++) ids[count++] = W;
        ids[count++] = i % 3 == 0 ? STOP : i % 3 == 1 ? OTHER : MARK;
    }
    ids[count++] = FIXTURE_SEP;
    qn_sequences s = {0};
    for (int i = 0; i < 50; i++) append(&s, ids, count, NULL);
    for (int part = 1; part <= 2; part++) {
        qn_batch b = noisy(&s, t, &(qn_noise_options){.permute = 0.5 * part, .max_length = 64}, 0);
        size_t moved = 0, most = 0;
        for (size_t i = 0; i < b.sequences; i += 2) {
            const int32_t *x = b.ids + b.offsets[i];
            size_t seen = 0, place = 0, own = 0;
            assert_int_equal((size_t)(b.offsets[i + 1] - b.offsets[i]), count);
            for (size_t k = 1, run = 0; k < count; k++) {
                if (x[k] == W) {
                    run++;
                    continue;
                }
                if (place == SENTENCES) break;
                assert_int_equal(x[k], (run - 1) % 3 == 0 ? STOP : (run - 1) % 3 == 1 ? OTHER : MARK);
                seen += run;
                own += run != ++place;
                run = 0;
            }
            assert_int_equal(seen, SENTENCES * (SENTENCES + 1) / 2);
            moved += own > 0;
            if (own > most) most = own;
        }
        assert_true(moved > 30);
        assert_true(part == 1 ? most <= SENTENCES / 2 : most > SENTENCES / 2);
        qn_batch_free(&b);
    }
    qn_sequences_free(&s);
    qn_tokenizer_free(t);
}

static void refused(void **state) {
    (void)state;
    qn_noise noise;
    assert_fails(qn_noise_init(&noise, tokenizer, &(qn_noise_options){.mask = -0.1}), QN_ERROR_ARGUMENT,
                 "masked tokens is -0.1");
    assert_fails(qn_noise_init(&noise, tokenizer, &(qn_noise_options){.permute = 1.5}), QN_ERROR_ARGUMENT,
                 "(expected 0 to 1)");
    assert_fails(qn_noise_init(&noise, tokenizer, &(qn_noise_options){.infill = 0.3}), QN_ERROR_ARGUMENT,
                 "spans of no tokens");
    assert_fails(qn_noise_init(&noise, tokenizer, &(qn_noise_options){.infill = 0.9, .span = 0.1}), QN_ERROR_ARGUMENT,
                 "cannot cover 0.9");
    test_write_text(test_path(folder, "plain.txt"), "[UNK]\nw\n");
    qn_tokenizer *plain;
    assert_ok(qn_tokenizer_load(test_path(folder, "plain.txt"), &plain));
    assert_fails(qn_noise_init(&noise, plain, &(qn_noise_options){.mask = 0.1}), QN_ERROR_ARGUMENT, "no mask token");
    assert_ok(qn_noise_init(&noise, plain, &(qn_noise_options){.deletion = 0.1}));
    qn_noise_free(&noise);
    qn_tokenizer_free(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares),    cmocka_unit_test(functional),
                                       cmocka_unit_test(words),     cmocka_unit_test(lengths),
                                       cmocka_unit_test(sentences), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
