// Entity scores equal seqeval's, in its default mode and strictly; schemes are known by their labels; and the best
// legal sequence is the best of all legal ones.
#include "support.h"
#include "base/json.h"
#include "base/rng.h"
#include "metrics/tagging.h"
#include <math.h>

enum { MOST_LABELS = 16, MOST_WORDS = 1000 };

typedef struct {
    qn_tag_scheme scheme;
    const char *labels[MOST_LABELS];
    size_t label_count, sentences, offsets[64];
    int32_t gold[MOST_WORDS], predicted[MOST_WORDS];
} fixture;

static int32_t index_of(const fixture *f, const char *label) {
    for (size_t i = 0; i < f->label_count; i++)
        if (strcmp(f->labels[i], label) == 0) return (int32_t)i;
    fail_msg("no label %s", label);
    return -1;
}

static void read_tags(const fixture *f, const json_t *sentences, int32_t *out, size_t *offsets) {
    size_t at = 0;
    for (size_t i = 0; i < json_array_size(sentences); i++) {
        const json_t *s = json_array_get(sentences, i);
        offsets[i] = at;
        for (size_t w = 0; w < json_array_size(s); w++)
            out[at++] = index_of(f, json_string_value(json_array_get(s, w)));
    }
    offsets[json_array_size(sentences)] = at;
}

static void check(const char *what, double got, const json_t *object, const char *key) {
    double want = json_number_value(json_object_get(object, key));
    if (!json_object_get(object, key) || fabs(got - want) > 1e-12)
        fail_msg("%s %s: %.15g, seqeval has %.15g", what, key, got, want);
}

static void check_scores(const char *what, const qn_entity_scores *s, const json_t *want) {
    check(what, s->precision, want, "precision");
    check(what, s->recall, want, "recall");
    check(what, s->f1, want, "f1");
    check(what, s->macro_precision, want, "macro_precision");
    check(what, s->macro_recall, want, "macro_recall");
    check(what, s->macro_f1, want, "macro_f1");
    check(what, s->weighted_f1, want, "weighted_f1");
}

static void scores_equal_the_reference(void **state) {
    (void)state;
    static fixture f;
    json_t *golden;
    assert_ok(qn_json_load(QN_SOURCE_DIR "/tests/golden/metrics/tagging.json", &golden));
    for (size_t i = 0; i < json_array_size(golden); i++) {
        const json_t *c = json_array_get(golden, i), *labels = json_object_get(c, "labels"),
                     *scores = json_object_get(c, "scores");
        f.label_count = json_array_size(labels);
        for (size_t k = 0; k < f.label_count; k++) f.labels[k] = json_string_value(json_array_get(labels, k));
        assert_ok(qn_tag_scheme_init(f.labels, f.label_count, &f.scheme));
        assert_int_equal(f.scheme.types, 3);
        f.sentences = json_array_size(json_object_get(c, "gold"));
        read_tags(&f, json_object_get(c, "gold"), f.gold, f.offsets);
        read_tags(&f, json_object_get(c, "predicted"), f.predicted, f.offsets);
        qn_tagging m;
        assert_ok(qn_tagging_measure(&f.scheme, f.sentences, f.offsets, f.gold, f.predicted, &m));
        check("words", m.accuracy, scores, "accuracy");
        check_scores("lenient", &m.lenient, json_object_get(scores, "lenient"));
        check_scores("strict", &m.strict, json_object_get(scores, "strict"));
        qn_tagging_free(&m);
        qn_tag_scheme_free(&f.scheme);
    }
    json_decref(golden);
}

// B- and I-; with E- and S-, or L- and U-; parts of speech; and IOB1, where an I- needs no B-.
static void schemes_are_known_by_their_labels(void **state) {
    (void)state;
    qn_tag_scheme s;
    assert_ok(qn_tag_scheme_init((const char *[]){"B-B", "I-B", "O", "B-A", "I-A"}, 5, &s));
    assert_true(!s.plain && !s.ended && s.constrained && s.types == 2);
    assert_string_equal(s.names[0], "A");
    qn_tag_scheme_free(&s);
    assert_ok(qn_tag_scheme_init((const char *[]){"B-A", "I-A", "L-A", "U-A", "O"}, 5, &s));
    assert_true(!s.plain && s.ended && s.constrained && s.kinds[2].prefix == 'E' && s.kinds[3].prefix == 'S');
    qn_tag_scheme_free(&s);
    assert_ok(qn_tag_scheme_init((const char *[]){"O", "I-A", "B-A", "I-B"}, 4, &s));
    assert_true(!s.plain && !s.constrained);
    qn_tag_scheme_free(&s);
    assert_ok(qn_tag_scheme_init((const char *[]){"NOUN", "B-", "I", "O"}, 4, &s));
    assert_true(s.plain && !s.constrained && s.types == 3);
    qn_entity e[4];
    assert_int_equal(qn_tag_entities(&s, (int32_t[]){0, 0, 3, 2}, 4, true, e), 3); // each word alone
    assert_true(e[1].first == 1 && e[1].last == 1 && e[2].first == 3);
    qn_tag_scheme_free(&s);
}

static bool is_legal(const qn_tag_scheme *s, const int32_t *tags, size_t n) {
    char last = 'O';
    int32_t type = -1;
    for (size_t i = 0; i < n; i++) {
        qn_tag_kind k = s->kinds[tags[i]];
        bool open = last == 'B' || last == 'I', inside = k.prefix == 'I' || k.prefix == 'E';
        if (inside && !(open && k.type == type)) return false;
        if (!inside && open && s->ended) return false;
        last = k.prefix, type = k.type;
    }
    return !s->ended || (last != 'B' && last != 'I');
}

// Against all sequences of four words, in both schemes.
static void decoding_finds_the_best_legal_sequence(void **state) {
    (void)state;
    static const char *const bio[] = {"O", "B-A", "I-A", "B-B", "I-B"}, *const bioes[] = {"O",   "B-A", "I-A", "E-A",
                                                                                          "S-A", "S-B", "B-B", "E-B"};
    enum { WORDS = 4 };
    for (int which = 0; which < 2; which++) {
        size_t labels = which ? 8 : 5;
        qn_tag_scheme s;
        assert_ok(qn_tag_scheme_init(which ? bioes : bio, labels, &s));
        for (uint64_t seed = 0; seed < 50; seed++) {
            float scores[WORDS * 8];
            int32_t found[WORDS], tags[WORDS];
            qn_random_normal(seed, 1, 2, scores, WORDS * labels);
            size_t all = 1;
            for (int i = 0; i < WORDS; i++) all *= labels;
            double best = -INFINITY, got = 0;
            for (size_t k = 0; k < all; k++) {
                double sum = 0;
                for (size_t i = 0, rest = k; i < WORDS; i++, rest /= labels) {
                    tags[i] = (int32_t)(rest % labels);
                    sum += (double)scores[i * labels + (size_t)tags[i]];
                }
                if (sum > best && is_legal(&s, tags, WORDS)) best = sum;
            }
            assert_ok(qn_tag_decode(&s, scores, WORDS, true, found));
            assert_true(is_legal(&s, found, WORDS));
            for (size_t i = 0; i < WORDS; i++) got += (double)scores[i * labels + (size_t)found[i]];
            assert_true(fabs(got - best) < 1e-6);
            assert_ok(qn_tag_decode(&s, scores, WORDS, false, found));
            for (size_t i = 0; i < WORDS; i++)
                for (size_t l = 0; l < labels; l++)
                    assert_true(scores[i * labels + (size_t)found[i]] >= scores[i * labels + l]);
        }
        qn_tag_scheme_free(&s);
    }
}

static void json_is_complete(void **state) {
    (void)state;
    qn_tag_scheme s;
    qn_tagging m;
    qn_buffer text = {0};
    assert_ok(qn_tag_scheme_init((const char *[]){"B-\"q\"", "I-\"q\"", "O"}, 3, &s));
    assert_ok(qn_tagging_measure(&s, 2, (size_t[]){0, 3, 3}, (int32_t[]){0, 1, 2}, (int32_t[]){0, 1, 1}, &m));
    qn_tagging_json(&m, &s, &m.strict, &text);
    json_t *json;
    assert_ok(qn_json_parse(text.data, text.size, "metrics", &json));
    assert_true(json_real_value(json_object_get(json, "f1")) == 0.0 || json_is_number(json_object_get(json, "f1")));
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(json, "per_type"), 0), "type")), "\"q\"");
    json_decref(json);
    qn_buffer_free(&text);
    qn_tagging_free(&m);
    // Nothing to measure is no error.
    assert_ok(qn_tagging_measure(&s, 0, (size_t[]){0}, NULL, NULL, &m));
    qn_tagging_free(&m);
    qn_tag_scheme_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_equal_the_reference), cmocka_unit_test(schemes_are_known_by_their_labels),
        cmocka_unit_test(decoding_finds_the_best_legal_sequence), cmocka_unit_test(json_is_complete)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
