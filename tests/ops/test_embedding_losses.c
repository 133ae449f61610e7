// Losses of sentence embeddings against finite differences and against their formulas written as they stand in the
// papers: over all pairs, without sorting.
#include "fixture.h"

static const double TOLERANCE = 2e-4;
static struct {
    size_t width;
    bool distance, symmetric;
    const float *targets;
} now;

static double similarities(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_similarities(c, p[0], p[1], 1.5f));
}

// A matrix with itself: both gradients come to one place.
static double own_similarities(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_similarities(c, p[0], p[0], 0.5f));
}

static double columns(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_normalize(c, qn_columns(c, p[0], 1, 3))) + weighed(c, qn_columns(c, p[0], 0, 2));
}

static double group_scores(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_group_scores(c, p[0], now.width, now.distance));
}

static void test_scores(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{0, 3, 4}, {1, 1, 1}, {3, 5, 7}, {9, 17, 19}};
    for (size_t i = 0; i < 4; i++) {
        qn_tensor *p[] = {random_matrix(shapes[i][0], shapes[i][2], 1), random_matrix(shapes[i][1], shapes[i][2], 2)};
        check_gradients("similarities", similarities, p, 2, TOLERANCE);
    }
    qn_tensor *own[] = {random_matrix(5, 6, 3)};
    check_gradients("own similarities", own_similarities, own, 1, TOLERANCE);
    for (size_t rows = 0; rows < 8; rows += 7) {
        qn_tensor *p[] = {random_matrix(rows, 5, 4)};
        check_gradients("columns", columns, p, 1, TOLERANCE);
    }
    for (int k = 0; k < 8; k++) {
        now.width = k & 1 ? 2 : 4;
        now.distance = k & 2;
        qn_tensor *p[] = {random_matrix(k & 4 ? now.width * 5 : 0, 9, 5)};
        check_gradients("group scores", group_scores, p, 1, TOLERANCE);
    }
}

static const float levels[6] = {1, 0.5f, 0.5f, 3, -1, 1}, pairs[6] = {1, 0, 0, 1, 1, 0};

static double cosent(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_cosent_loss(c, p[0], now.targets, 3, &loss));
    return loss;
}

static double triplet(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_triplet_loss(c, p[0], now.distance, 0.7f, &loss));
    return loss;
}

static double margin(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_margin_loss(c, p[0], now.targets, &loss));
    return loss;
}

static double contrastive(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_contrastive_loss(c, p[0], now.targets, 0.9f, &loss));
    return loss;
}

static const int32_t classes[7] = {2, 0, 2, 1, 0, 2, 7};

static double by_class(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_class_contrastive_loss(c, p[0], classes, &loss));
    return loss;
}

static const int32_t offsets[] = {0, 3, 3, 8};

static double lexical(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_lexical(c, qn_activate(c, p[0], QN_ACTIVATION_TANH), p[1], p[2], (qn_ragged){3, offsets}));
}

static double flops(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_flops_loss(c, qn_activate(c, p[0], QN_ACTIVATION_TANH), &loss));
    return loss;
}

// SPLADE's vectors against their formula, and gradients; a text without tokens has no words.
static void test_sparse(void **state) {
    (void)state;
    qn_tensor *p[] = {random_matrix(8, 5, 1), random_matrix(300, 5, 2), random_parameter(0, 300, 3)};
    for (size_t v = 9; v < 299; v++) p[2]->data[v] = -30; // few words are in use, and no corner of max is near
    check_gradients("lexical", lexical, p, 3, TOLERANCE);
    qn_tensor *q[] = {random_matrix(4, 7, 4)};
    check_gradients("flops", flops, q, 1, TOLERANCE);
    qn_context *c;
    assert_ok(qn_context_create(2, NULL, &c));
    qn_tensor *x = qn_constant(c, 2, (size_t[]){2, 2}, (const float[]){1, 2, 3, -1});
    qn_tensor *w = qn_constant(c, 2, (size_t[]){3, 2}, (const float[]){1, 0, 0, 1, -1, -1});
    qn_tensor *b = qn_constant(c, 1, (size_t[]){3}, (const float[]){0, -3, 0});
    qn_tensor *y = qn_lexical(c, x, w, b, (qn_ragged){1, (const int32_t[]){0, 2}});
    assert_non_null(y);
    assert_true(fabs((double)y->data[0] - log(4)) < 1e-6 && y->data[1] == 0 && y->data[2] == 0);
    double loss;
    assert_ok(qn_flops_loss(c, y, &loss));
    assert_true(fabs(loss - log(4) * log(4)) < 1e-6);
    qn_context_destroy(c);
}

// Texts of one class among all others, over all pairs; one that is alone counts for nothing.
static void test_classes(void **state) {
    (void)state;
    enum { N = 7 };
    qn_tensor *p[] = {random_matrix(N, N, 5)};
    check_gradients("classes", by_class, p, 1, TOLERANCE);
    qn_context *c;
    assert_ok(qn_context_create(1, NULL, &c));
    float values[N * N];
    qn_random_normal(5, 1, 1, values, N * N);
    qn_tensor *s = qn_constant(c, 2, (size_t[]){N, N}, values);
    double loss, expected = 0, texts = 0;
    assert_ok(qn_class_contrastive_loss(c, s, classes, &loss));
    for (int i = 0; i < N; i++) {
        double all = 0, mean = 0, friends = 0;
        for (int k = 0; k < N; k++) all += k == i ? 0 : exp((double)s->data[i * N + k]);
        for (int k = 0; k < N; k++)
            if (k != i && classes[k] == classes[i]) mean += log(all) - (double)s->data[i * N + k], friends++;
        if (friends > 0) expected += mean / friends, texts++;
    }
    assert_true(texts == 5 && fabs(loss - expected / texts) < 1e-6 * expected);
    qn_context_destroy(c);
}

static void test_gradients(void **state) {
    (void)state;
    now.targets = levels;
    for (size_t n = 0; n <= 6; n += 3) {
        qn_tensor *p[] = {random_matrix(n, 1, 1)}, *q[] = {random_matrix(n, 1, 7)}, *r[] = {random_matrix(n / 3, 4, 3)};
        check_gradients("cosent", cosent, p, 1, TOLERANCE);
        now.targets = pairs;
        for (size_t i = 0; i < n; i++) q[0]->data[i] = (float)i / 4 - 0.45f; // no distance at the margin's corner
        check_gradients("contrastive", contrastive, q, 1, TOLERANCE);
        now.targets = levels;
        check_gradients("margin", margin, r, 1, TOLERANCE);
        for (int k = 0; k < 2; k++) {
            now.distance = k;
            qn_tensor *s[] = {random_matrix(n, 2, 4)};
            for (size_t i = 0; i < n; i++) s[0]->data[2 * i] = s[0]->data[2 * i + 1] + (i % 2 ? 1.3f : -1.3f);
            check_gradients("triplet", triplet, s, 1, TOLERANCE);
        }
    }
}

// CoSENT over all pairs, with scores that overflow when they are exponentiated one by one.
static void test_cosent(void **state) {
    (void)state;
    qn_context *c = open_context(1, "ref");
    qn_tensor *s = random_matrix(6, 1, 8);
    for (float size = 1; size < 2000; size *= 40) {
        double loss, top = 0, sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < 6; i++)
                for (size_t k = 0; k < 6; k++) {
                    double z = (double)size * ((double)s->data[k] - s->data[i]);
                    if (levels[i] <= levels[k]) continue;
                    if (pass == 0) top = fmax(top, z);
                    if (pass == 1) sum += exp(z - top);
                }
        assert_ok(qn_cosent_loss(c, s, levels, size, &loss));
        double expected = top + log(exp(-top) + sum);
        assert_true(fabs(loss - expected) <= 1e-12 * (1 + expected));
    }
    qn_parameter_free(s);
    qn_context_destroy(c);
}

// Shapes that do not fit are errors that say so.
static void test_refused(void **state) {
    (void)state;
    qn_context *c = open_context(1, "ref");
    qn_tensor *a = random_matrix(3, 4, 1), *b = random_matrix(3, 5, 2);
    double loss;
    assert_null(qn_similarities(c, a, b, 1));
    assert_non_null(strstr(qn_last_error(), "widths 4 and 5"));
    qn_context_reset(c);
    assert_null(qn_group_scores(c, a, 2, false));
    qn_context_reset(c);
    assert_null(qn_columns(c, a, 2, 3));
    qn_context_reset(c);
    assert_fails(qn_cosent_loss(c, a, levels, 1, &loss), QN_ERROR_ARGUMENT, "4 scores of an example (expected 1)");
    qn_parameter_free(a);
    qn_parameter_free(b);
    qn_context_destroy(c);
}

// --- ColBERT

static struct {
    qn_ragged queries, documents;
} late;

static double max_similarities(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_max_similarities(c, p[0], late.queries, p[1], late.documents));
}

static void test_late(void **state) {
    (void)state;
    static const int32_t queries[][4] = {{0, 0, 0, 0}, {0, 1, 1, 1}, {0, 3, 3, 7}},
                         documents[][5] = {{0, 0, 0, 0, 0}, {0, 1, 4, 4, 6}, {0, 2, 3, 17, 20}};
    for (size_t i = 0; i < 9; i++) {
        late.queries = (qn_ragged){3, queries[i / 3]};
        late.documents = (qn_ragged){4, documents[i % 3]};
        qn_tensor *p[] = {random_matrix((size_t)queries[i / 3][3], 5, 1), random_matrix((size_t)documents[i % 3][4], 5, 2)};
        // Values that are far from a tie.
        static const float values[] = {-1.2f, -0.6f, 0.3f, 0.9f, 1.5f};
        for (size_t k = 0; k < qn_count(p[0]); k++) p[0]->data[k] = values[(k % 5 + 2 * (k / 5)) % 5];
        for (size_t k = 0; k < qn_count(p[1]); k++) p[1]->data[k] = k / 5 % 5 == k % 5 ? 1 + 0.25f * (float)(k / 25) : 0;
        check_gradients("max similarities", max_similarities, p, 2, TOLERANCE);
    }
    // By hand: (1, 0) is nearest to (3, 1), (0, 2) to (0, 4); the second document has no rows.
    static const float q[] = {1, 0, 0, 2}, d[] = {3, 1, 0, 4};
    qn_context *c = open_context(1, "ref");
    qn_tensor *x = qn_constant(c, 2, (const size_t[]){2, 2}, q), *y = qn_constant(c, 2, (const size_t[]){2, 2}, d);
    qn_tensor *s = qn_max_similarities(c, x, (qn_ragged){1, (const int32_t[]){0, 2}}, y,
                                       (qn_ragged){2, (const int32_t[]){0, 2, 2}});
    assert_non_null(s);
    assert_true(s->data[0] == 11 && s->data[1] == 0);
    qn_context_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores), cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_sparse), cmocka_unit_test(test_classes),
                                       cmocka_unit_test(test_cosent), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_late)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
