// Every operation's backward against finite differences, on odd shapes: no tokens, one token, widths that no vector
// divides, empty sequences.
#include "fixture.h"

static const double TOLERANCE = 2e-4;

// What the objectives below read: the case that runs.
static struct {
    qn_activation f;
    bool bias, sub, sum;
    float dropout, smoothing;
    size_t heads, rows;
    qn_ragged batch;
    qn_pool pool;
    const int32_t *skip;
    const int32_t *ids[QN_EMBEDDING_TABLES], *targets;
    const float *weights, *reals;
} now;

static const struct {
    size_t tokens, sequences;
    int32_t offsets[7];
} batches[] = {{0, 0, {0}}, {0, 2, {0, 0, 0}}, {1, 1, {0, 1}}, {13, 5, {0, 0, 1, 1, 6, 13}}, {19, 2, {0, 17, 19}}};
enum { BATCHES = sizeof batches / sizeof *batches };

static qn_ragged ragged(size_t i) {
    return (qn_ragged){batches[i].sequences, batches[i].offsets};
}

static double linear(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_linear(c, p[0], p[1], now.bias ? p[2] : NULL, now.f));
}

// Also where a value lies near a corner of ReLU: those are moved away first.
static void test_linear(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{0, 3, 2}, {1, 1, 1}, {1, 5, 7}, {7, 5, 3}, {9, 17, 19}};
    for (size_t i = 0; i < 5; i++)
        for (int f = 0; f <= QN_ACTIVATION_TANH; f++) {
            now.f = (qn_activation)f;
            now.bias = i % 2 == 0;
            size_t t = shapes[i][0], in = shapes[i][1], out = shapes[i][2];
            if (f == QN_ACTIVATION_RELU) continue; // a corner may lie anywhere: see test_activation
            qn_tensor *p[] = {random_matrix(t, in, 1), random_matrix(out, in, 2), random_parameter(0, out, 3)};
            check_gradients("linear", linear, p, 3, TOLERANCE);
        }
}

// Two weights that are one product, each with its factors, or the second alone, or a product with the last rows of
// both; x has passed another operation.
static double adapted(qn_context *c, qn_tensor **p) {
    size_t in = qn_width(p[1]);
    static qn_tensor first, second, last; // backward reads them later
    static qn_adapter adapters[2];
    first = (qn_tensor){.rank = 2, .shape = {4, in}, .data = p[1]->data};
    second = (qn_tensor){.rank = 2, .shape = {3, in}, .data = p[1]->data + 4 * in};
    adapters[0] = (qn_adapter){&first, p[2], p[3], 0.7f, now.dropout, &adapters[1]};
    adapters[1] = (qn_adapter){&second, p[4], p[5], 2, 0, NULL};
    p[1]->adapter = &adapters[now.heads % 2];
    last = *p[1];
    last.shape[0] = 4;
    last.data += 3 * in;
    last.grad += 3 * in;
    return weighed(c,
                   qn_linear(c, qn_activate(c, p[0], QN_ACTIVATION_TANH), now.heads < 2 ? p[1] : &last, NULL, now.f));
}

static void test_adapters(void **state) {
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        now.f = i % 3 ? QN_ACTIVATION_GELU : QN_ACTIVATION_NONE;
        now.heads = i % 4; // the first adapter that counts, and with 2 more the last rows alone
        now.dropout = i < 6 ? 0 : 0.3f;
        size_t rows = i < 2 ? i : 35, in = 5, r[2] = {1 + i % 3, 9};
        qn_tensor *p[] = {random_matrix(rows, in, 1), random_matrix(7, in, 2),    random_matrix(r[0], in, 3),
                          random_matrix(4, r[0], 4),  random_matrix(r[1], in, 5), random_matrix(3, r[1], 6)};
        check_gradients("adapted linear", adapted, p, 6, 4 * TOLERANCE);
    }
}

static double activation(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_activate(c, p[0], now.f));
}

static void test_activation(void **state) {
    (void)state;
    for (int f = 0; f <= QN_ACTIVATION_TANH; f++)
        for (size_t n = 0; n <= 37; n += 37) {
            now.f = (qn_activation)f;
            qn_tensor *p[] = {random_matrix(n, 3, 4)};
            for (size_t i = 0; i < 3 * n; i++)
                if (fabsf(p[0]->data[i]) < 0.05f) p[0]->data[i] += 0.2f; // away from ReLU's corner
            check_gradients("activation", activation, p, 1, TOLERANCE);
        }
}

static double linear_relu(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_linear(c, p[0], p[1], p[2], QN_ACTIVATION_RELU));
}

static void test_linear_relu(void **state) {
    (void)state;
    qn_tensor *p[] = {random_matrix(5, 3, 1), random_matrix(8, 3, 2), random_parameter(0, 8, 3)};
    for (size_t i = 0; i < 15; i++) p[0]->data[i] = 0.1f + 0.05f * (float)(i % 4); // |x W| stays far below |b|
    for (size_t i = 0; i < 24; i++) p[1]->data[i] *= 0.1f;
    for (size_t i = 0; i < 8; i++) p[2]->data[i] = i % 2 ? 1.0f : -1.0f;
    check_gradients("linear with ReLU", linear_relu, p, 3, TOLERANCE);
}

static double embedding(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_embedding(c, now.rows, 3, p, now.ids));
}

static void test_embedding(void **state) {
    (void)state;
    static const int32_t words[9] = {4, 4, 0, 1, 4, 2, 0, 3, 4}, types[9] = {0, 1, 0, 0, 1, 1, 1, 0, 0},
                         places[9] = {0, 1, 2, 0, 1, 0, 1, 2, 3};
    static const size_t rows[] = {0, 1, 9};
    for (size_t i = 0; i < 3; i++) {
        now.rows = rows[i];
        now.ids[0] = words, now.ids[1] = types, now.ids[2] = places;
        qn_tensor *p[] = {random_matrix(5, 19, 1), random_matrix(2, 19, 2), random_matrix(4, 19, 3)};
        check_gradients("embedding", embedding, p, 3, TOLERANCE);
    }
}

static double attention(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_self_attention(c, p[0], now.heads, now.batch, now.dropout));
}

static void test_attention(void **state) {
    (void)state;
    static const size_t heads[] = {1, 3}, widths[] = {5, 4};
    for (size_t i = 0; i < BATCHES; i++)
        for (int k = 0; k < 4; k++) {
            now.heads = heads[k % 2];
            now.batch = ragged(i);
            now.dropout = k < 2 ? 0 : 0.3f;
            qn_tensor *p[] = {random_matrix(batches[i].tokens, 3 * heads[k % 2] * widths[k % 2], 1)};
            check_gradients("attention", attention, p, 1, TOLERANCE);
        }
}

// Queries of their own: some rows of each sequence, or none.
static double crossed(qn_context *c, qn_tensor **p) {
    static const int32_t offsets[BATCHES][7] = {{0}, {0, 0, 0}, {0, 1}, {0, 2, 2, 3, 5, 8}, {0, 4, 4}};
    static const int32_t positions[] = {0, 0, 0, 1, 4, 0, 3, 6}, first[] = {0, 5, 11, 16};
    static int32_t bucket[2 * 18 + 1];
    for (int i = -18; i <= 18; i++) bucket[i + 18] = i < -2 ? 0 : i > 1 ? 4 : i + 3;
    qn_attention_bias bias = {p[2], bucket, 18};
    qn_attention_form form = {.heads = 4,
                              .key_heads = now.heads,
                              .dropout = now.dropout,
                              .causal = now.sub,
                              .bias = now.bias ? &bias : NULL};
    qn_ragged queries = {now.batch.sequences, offsets[now.rows]};
    const int32_t *places = now.rows < 4 ? positions : first;
    return weighed(c, qn_attention_of(c, p[0], queries, places, p[1], now.batch, &form));
}

// Key heads that query heads share, no later keys, a bias by distance, each also alone.
static void test_crossed(void **state) {
    (void)state;
    static const size_t queries[BATCHES] = {0, 0, 1, 8, 4}, h = 3;
    for (size_t i = 0; i < BATCHES; i++)
        for (int k = 0; k < 8; k++) {
            now.rows = i;
            now.batch = ragged(i);
            now.heads = k & 1 ? 2 : 4;
            now.bias = k & 2;
            now.sub = k & 4;
            now.dropout = k % 3 ? 0 : 0.3f;
            qn_tensor *p[] = {random_matrix(queries[i], 4 * h, 1),
                              random_matrix(batches[i].tokens, 2 * now.heads * h, 2), random_matrix(5, 4, 3)};
            check_gradients("attention to other rows", crossed, p, 3, TOLERANCE);
        }
}

// The same of rows that are queries and keys.
static double grouped(qn_context *c, qn_tensor **p) {
    static int32_t bucket[2 * 18 + 1];
    for (int i = -18; i <= 18; i++) bucket[i + 18] = (i + 18) % 5;
    qn_attention_bias bias = {p[1], bucket, 18};
    qn_attention_form form = {
        .heads = 4, .key_heads = now.heads, .causal = now.sub, .bias = now.bias ? &bias : NULL, .scale = 0.4f};
    return weighed(c, qn_self_attention_of(c, p[0], now.batch, &form));
}

static void test_grouped(void **state) {
    (void)state;
    for (size_t i = 0; i < BATCHES; i++)
        for (int k = 0; k < 8; k++) {
            now.batch = ragged(i);
            now.heads = k & 1 ? 1 : 2;
            now.bias = k & 2;
            now.sub = k & 4;
            qn_tensor *p[] = {random_matrix(batches[i].tokens, (4 + 2 * now.heads) * 3, 1), random_matrix(5, 4, 2)};
            check_gradients("attention with shared key heads", grouped, p, 2, TOLERANCE);
        }
}

// A window, of every kind of attention, and rotary positions before it.
static double windowed(qn_context *c, qn_tensor **p) {
    static float cosine[19 * 2], sine[19 * 2];
    static int32_t positions[19];
    for (size_t i = 0; i < 38; i++) cosine[i] = cosf(0.3f * (float)i), sine[i] = sinf(0.3f * (float)i);
    for (size_t i = 0; i < now.batch.sequences; i++)
        for (int32_t t = now.batch.offsets[i]; t < now.batch.offsets[i + 1]; t++)
            positions[t] = t - now.batch.offsets[i];
    qn_rotary rotary = {2, cosine, sine};
    qn_attention_form form = {.heads = now.heads, .dropout = now.dropout, .window = 2};
    qn_tensor *qkv = qn_linear(c, p[0], p[1], NULL, QN_ACTIVATION_NONE);
    qn_tensor *x = qn_rotate(c, qkv, 2 * now.heads, qn_width(p[0]) / now.heads, positions, &rotary);
    return weighed(c, qn_self_attention_of(c, x, now.batch, &form));
}

static void test_windowed(void **state) {
    (void)state;
    for (size_t i = 0; i < BATCHES; i++)
        for (int k = 0; k < 2; k++) {
            size_t d = 2 * 5;
            now.heads = 2;
            now.batch = ragged(i);
            now.dropout = k ? 0.3f : 0;
            qn_tensor *p[] = {random_matrix(batches[i].tokens, d, 1), random_matrix(3 * d, d, 2)};
            for (size_t e = 0; e < 3 * d * d; e++) p[1]->data[e] *= 0.3f; // scores of a few units, not of tens
            check_gradients("windowed attention of turned queries and keys", windowed, p, 2, TOLERANCE);
        }
}

// Attention to distances, of which some share a row.
static double disentangled(qn_context *c, qn_tensor **p) {
    static int32_t index[2 * 18 + 1];
    for (int i = -18; i <= 18; i++) index[i + 18] = i < -3 ? 0 : i > 2 ? 5 : i + 3;
    qn_attention_distances distances = {p[1], now.bias, now.sub, index, 18};
    qn_attention_form form = {.heads = now.heads, .dropout = now.dropout, .distances = &distances};
    return weighed(c, qn_self_attention_of(c, p[0], now.batch, &form));
}

static void test_disentangled(void **state) {
    (void)state;
    for (size_t i = 0; i < BATCHES; i++)
        for (int k = 1; k < 4; k++) {
            size_t d = 2 * 5;
            now.heads = 2;
            now.batch = ragged(i);
            now.bias = k & 1;
            now.sub = k & 2;
            now.dropout = k == 3 ? 0.3f : 0;
            qn_tensor *p[] = {random_matrix(batches[i].tokens, 3 * d, 1), random_matrix(6, 2 * d, 2)};
            check_gradients("attention to distances", disentangled, p, 2, TOLERANCE);
        }
}

static double gated(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_glu(c, p[0], now.f, now.bias)) + weighed(c, qn_glu(c, p[0], now.f, !now.bias));
}

static double rms_norm(qn_context *c, qn_tensor **p) {
    qn_tensor *sum;
    double j = weighed(c, qn_add_rms_norm(c, p[0], p[2], p[1], 1e-5f, now.dropout, &sum));
    return j + weighed(c, sum) + weighed(c, qn_add_norm(c, p[0], NULL, p[1], NULL, 1e-5f, 0, NULL));
}

static void test_gated_and_rms(void **state) {
    (void)state;
    static const size_t rows[] = {0, 1, 6}, widths[] = {3, 7, 33};
    for (size_t i = 0; i < 3; i++) {
        for (int f = 0; f <= QN_ACTIVATION_TANH; f++) {
            now.f = (qn_activation)f;
            now.bias = i % 2;
            if (f == QN_ACTIVATION_RELU) continue; // a corner may lie anywhere
            qn_tensor *p[] = {random_matrix(rows[i], 2 * widths[i], 1)};
            check_gradients("gated linear unit", gated, p, 1, TOLERANCE);
        }
        now.dropout = i ? 0.2f : 0;
        qn_tensor *p[] = {random_matrix(rows[i], widths[i], 1), random_parameter(0, widths[i], 2),
                          random_matrix(rows[i], widths[i], 3)};
        check_gradients("RMS norm, and a norm without beta", rms_norm, p, 3, TOLERANCE);
    }
}

static double norm(qn_context *c, qn_tensor **p) {
    qn_tensor *sum = NULL;
    double j =
        weighed(c, qn_add_norm(c, p[0], now.sub ? p[3] : NULL, p[1], p[2], 1e-5f, now.dropout, now.sum ? &sum : NULL));
    return now.sum ? j + weighed(c, sum) : j;
}

static void test_norm(void **state) {
    (void)state;
    static const size_t rows[] = {0, 1, 6}, widths[] = {2, 7, 33};
    for (size_t i = 0; i < 3; i++)
        for (int k = 0; k < 8; k++) {
            now.sub = k & 1;
            now.sum = k & 2;
            now.dropout = k & 4 ? 0.25f : 0;
            if (widths[i] == 2) now.dropout = 0; // two equal values have no norm to differentiate
            size_t t = rows[i], d = widths[i];
            qn_tensor *p[] = {random_matrix(t, d, 1), random_parameter(0, d, 2), random_parameter(0, d, 3),
                              random_matrix(t, d, 4)};
            check_gradients("norm", norm, p, 4, TOLERANCE);
        }
}

// The sum alone is used, and the sublayer's output is used twice more: nothing may be lost or overwritten.
static double shared(qn_context *c, qn_tensor **p) {
    static const int32_t index[4] = {2, 0, 0, 1};
    qn_tensor *sub = qn_linear(c, p[0], p[1], NULL, QN_ACTIVATION_TANH), *sum, *other;
    double j = weighed(c, qn_gather(c, sub, 4, index));
    qn_add_norm(c, p[0], sub, p[2], p[3], 1e-5f, 0, &sum);
    j += weighed(c, sum);
    other = qn_add_norm(c, sub, sub, p[2], p[3], 1e-5f, 0, NULL);
    return j + weighed(c, other) + weighed(c, qn_drop(c, sub, 0.5f));
}

static void test_shared(void **state) {
    (void)state;
    qn_tensor *p[] = {random_matrix(3, 9, 1), random_matrix(9, 9, 2), random_parameter(0, 9, 3),
                      random_parameter(0, 9, 4)};
    check_gradients("tensors used more than once", shared, p, 4, TOLERANCE);
}

static double shared_attention(qn_context *c, qn_tensor **p) {
    qn_tensor *qkv = qn_linear(c, p[0], p[1], NULL, QN_ACTIVATION_NONE);
    double j = weighed(c, qn_activate(c, qkv, QN_ACTIVATION_SILU)) +
               weighed(c, qn_self_attention(c, qkv, 2, now.batch, 0)),
           loss;
    assert_ok(qn_mean_squared_error(c, qkv, now.reals, &loss));
    j += loss;
    assert_ok(qn_binary_cross_entropy(c, qkv, now.reals, &loss));
    return j + loss + weighed(c, qn_activate(c, qkv, QN_ACTIVATION_TANH));
}

static void test_shared_attention(void **state) {
    (void)state;
    static float reals[13 * 12];
    for (size_t i = 0; i < 13 * 12; i++) reals[i] = (float)(i % 2);
    now.reals = reals;
    now.batch = ragged(3);
    qn_tensor *p[] = {random_matrix(13, 3, 1), random_matrix(12, 3, 2)};
    check_gradients("queries, keys and values used more than once", shared_attention, p, 2, TOLERANCE);
}

// Twice, so that the second gradient is added to the first.
static double scaled(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_scale(c, p[0], 0.7f)) + weighed(c, qn_activate(c, qn_scale(c, p[0], -3), QN_ACTIVATION_TANH));
}

static void test_scale(void **state) {
    (void)state;
    static const size_t rows[] = {0, 1, 37};
    for (size_t i = 0; i < 3; i++) {
        qn_tensor *p[] = {random_matrix(rows[i], 3, 1)};
        check_gradients("scale", scaled, p, 1, TOLERANCE);
    }
    qn_tensor *vector[] = {random_parameter(0, 5, 2)};
    check_gradients("scale of a vector", scaled, vector, 1, TOLERANCE);
}

static double drop(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_drop(c, qn_drop(c, p[0], 0.4f), 0.1f));
}

static double gather(qn_context *c, qn_tensor **p) {
    static const int32_t index[] = {3, 0, 3, 3, 1};
    return weighed(c, qn_gather(c, p[0], now.rows, index));
}

static double normalize(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_normalize(c, p[0]));
}

static void test_rows(void **state) {
    (void)state;
    for (size_t t = 4; t < 20; t += 9) {
        qn_tensor *p[] = {random_matrix(t, 11, 1)};
        check_gradients("dropout", drop, p, 1, TOLERANCE);
        qn_tensor *q[] = {random_matrix(t, 11, 2)};
        check_gradients("normalize", normalize, q, 1, TOLERANCE);
        now.rows = t == 4 ? 0 : 5;
        qn_tensor *g[] = {random_matrix(t, 67, 3)};
        check_gradients("gather", gather, g, 1, TOLERANCE);
    }
    qn_tensor *none[] = {random_matrix(0, 11, 1)};
    check_gradients("normalize without rows", normalize, none, 1, TOLERANCE);
}

static double pool(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_pool_sequences_after(c, p[0], now.batch, now.skip, now.pool));
}

static void test_pooling(void **state) {
    (void)state;
    for (size_t i = 0; i < BATCHES; i++)
        for (int mode = 0; mode < 2 * QN_POOLS; mode++) {
            static const int32_t skip[] = {1, 0, 2, 3, 9};
            now.batch = ragged(i);
            now.pool = (qn_pool)(mode % QN_POOLS);
            now.skip = mode < QN_POOLS ? NULL : skip; // also all tokens of a sequence
            qn_tensor *p[] = {random_matrix(batches[i].tokens, 9, 1)};
            for (size_t e = 0; now.pool == QN_POOL_MAX && e < qn_count(p[0]); e++)
                p[0]->data[e] = 0.25f * (float)(e * 7919 % 171); // far from each other: the largest stays the largest
            check_gradients("pooling", pool, p, 1, TOLERANCE);
        }
}

static double side_by_side(qn_context *c, qn_tensor **p) {
    return weighed(c, qn_side_by_side(c, (qn_tensor *[]){p[0], qn_columns(c, p[1], 1, 2), p[0]}, 3));
}

static void test_columns(void **state) {
    (void)state;
    for (size_t rows = 0; rows < 4; rows += 3) {
        qn_tensor *p[] = {random_matrix(rows, 5, 1), random_matrix(rows, 4, 2)};
        check_gradients("side by side", side_by_side, p, 2, TOLERANCE);
    }
}

static double cross_entropy(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_cross_entropy(c, p[0], now.targets, now.weights, now.smoothing, &loss));
    return loss;
}

static double span_cross_entropy(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_span_cross_entropy(c, p[0], now.batch, now.targets, now.targets + now.batch.sequences, &loss));
    return loss;
}

// Also sequences without an answer, and empty ones.
static void test_span_loss(void **state) {
    (void)state;
    static const int32_t answers[BATCHES][10] = {
        {-1}, {-1, -1, -1, -1}, {0, 0}, {-1, 0, -1, 3, 6, -1, 0, -1, 4, 2}, {16, 1, 0, -1}}; // starts, ends
    for (size_t i = 0; i < BATCHES; i++) {
        now.batch = ragged(i);
        now.targets = answers[i];
        qn_tensor *p[] = {random_matrix(batches[i].tokens, 2, 4)};
        check_gradients("span cross-entropy", span_cross_entropy, p, 1, TOLERANCE);
    }
}

static double binary_cross_entropy(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_binary_cross_entropy(c, p[0], now.reals, &loss));
    return loss;
}

static double squared_error(qn_context *c, qn_tensor **p) {
    double loss;
    assert_ok(qn_mean_squared_error(c, p[0], now.reals, &loss));
    return loss;
}

static void test_losses(void **state) {
    (void)state;
    static const int32_t targets[6] = {2, -100, 0, 6, -1, 2}, ignored[6] = {-1, -1, -1, -1, -1, -1};
    static const float weights[7] = {0.5f, 2, 0, 1, 1, 3, 1}, reals[42] = {1, 0, 0.5f, 1, [30] = 1, [41] = 1};
    for (int k = 0; k < 16; k++) {
        now.targets = k & 1 ? targets : ignored;
        now.weights = k & 2 ? weights : NULL;
        now.smoothing = k & 4 ? 0.1f : 0;
        now.reals = reals;
        size_t rows = k & 8 ? 6 : (size_t)(k & 1);
        qn_tensor *p[] = {random_matrix(rows, 7, 1)};
        check_gradients("cross-entropy", cross_entropy, p, 1, TOLERANCE);
        qn_tensor *q[] = {random_matrix(rows, 7, 2)};
        check_gradients("binary cross-entropy", binary_cross_entropy, q, 1, TOLERANCE);
        qn_tensor *r[] = {random_matrix(rows, 7, 3)};
        check_gradients("squared error", squared_error, r, 1, TOLERANCE);
    }
}

static double gaussian(qn_context *c, qn_tensor **p) {
    double loss, j = weighed(c, qn_reparameterize(c, p[0]));
    assert_ok(qn_gaussian_divergence(c, p[0], 0.7f, &loss));
    return j + 0.7 * loss + weighed(c, qn_reparameterize(c, p[0]));
}

// Draws from normal variables, and their distance from standard ones.
static void test_gaussian(void **state) {
    (void)state;
    static const size_t rows[] = {0, 1, 21}, widths[] = {3, 1, 5};
    for (size_t i = 0; i < 3; i++) {
        qn_tensor *p[] = {random_matrix(rows[i], 2 * widths[i], 6)};
        check_gradients("reparameterization and divergence", gaussian, p, 1, TOLERANCE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),           cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_activation),       cmocka_unit_test(test_linear_relu),
        cmocka_unit_test(test_scale),            cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_attention),        cmocka_unit_test(test_crossed),
        cmocka_unit_test(test_grouped),          cmocka_unit_test(test_windowed),
        cmocka_unit_test(test_disentangled),     cmocka_unit_test(test_gated_and_rms),
        cmocka_unit_test(test_norm),             cmocka_unit_test(test_shared),
        cmocka_unit_test(test_shared_attention), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_pooling),          cmocka_unit_test(test_columns),
        cmocka_unit_test(test_span_loss),        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_gaussian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
