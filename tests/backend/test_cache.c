// Attention over a cache: equal to the formula in double precision, for shared key heads, several sequences and any cut
// of a prompt into steps; and the bits are those of the whole prompt at once, whatever stands beside it and however
// many threads run. Tokens that branches share are kept once, with and without a bias by distance.
#include "backend/backend.h"
#include "base/memory.h"
#include "base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { HEADS = 6, KEY_HEADS = 2, H = 12, STRIDE = (HEADS + 2 * KEY_HEADS) * H, MOST = 150 };
static qn_rng rng = {3, 1, 0};

enum { BUCKETS = 5 };
static float bias[BUCKETS * HEADS];
static int32_t bias_bucket[2 * MOST - 1]; // for key - query + MOST - 1

static int make_bias(void **state) {
    (void)state;
    for (size_t i = 0; i < BUCKETS * HEADS; i++) bias[i] = (float)(qn_rng_real(&rng) * 4 - 2);
    for (size_t i = 0; i < 2 * MOST - 1; i++) bias_bucket[i] = (int32_t)(i % BUCKETS);
    return 0;
}

// One sequence alone, in double precision: with `causal` token t sees those up to it.
static void expect(size_t count, const float *qkv, bool causal, bool biased, double *out) {
    for (size_t t = 0; t < count; t++)
        for (size_t head = 0; head < HEADS; head++) {
            const float *q = qkv + t * STRIDE + head * H;
            size_t shared = head / (HEADS / KEY_HEADS), seen = causal ? t + 1 : count;
            double p[MOST], total = 0, top = -INFINITY;
            for (size_t j = 0; j < seen; j++) {
                const float *key = qkv + j * STRIDE + (HEADS + shared) * H;
                p[j] = 0;
                for (size_t i = 0; i < H; i++) p[j] += (double)q[i] * key[i];
                p[j] *= 0.3;
                if (biased) p[j] += bias[(size_t)bias_bucket[j + MOST - 1 - t] * HEADS + head];
                top = fmax(top, p[j]);
            }
            for (size_t j = 0; j < seen; j++) total += p[j] = exp(p[j] - top);
            for (size_t i = 0; i < H; i++) {
                double sum = 0;
                for (size_t j = 0; j < seen; j++)
                    sum += p[j] / total * qkv[j * STRIDE + (HEADS + KEY_HEADS + shared) * H + i];
                out[(t * HEADS + head) * H + i] = sum;
            }
        }
}

typedef struct {
    float *cache;
    size_t capacity;
    int32_t length;
} slot;

static slot new_slot(qn_backend *b, size_t capacity) {
    size_t floats = b->ops->cache_floats(b, capacity, KEY_HEADS, H);
    slot s = {b->ops->alloc(b, floats * sizeof(float)), capacity, 0};
    assert_non_null(s.cache);
    for (size_t i = 0; i < floats; i++) s.cache[i] = NAN; // nothing that was not written may be seen
    return s;
}

// A step of `sequences` slots with offsets[i+1] - offsets[i] new tokens each.
static void step(qn_backend *b, size_t sequences, slot *const *slots, const int32_t *offsets, const float *qkv,
                 float *out) {
    float *cache[4];
    int32_t lengths[4];
    size_t capacity[4];
    for (size_t i = 0; i < sequences; i++)
        cache[i] = slots[i]->cache, lengths[i] = slots[i]->length, capacity[i] = slots[i]->capacity;
    b->ops->cache_attention(b, &(qn_cache_args){.sequences = sequences,
                                                .offsets = offsets,
                                                .lengths = lengths,
                                                .capacity = capacity,
                                                .cache = cache,
                                                .heads = HEADS,
                                                .key_heads = KEY_HEADS,
                                                .head_width = H,
                                                .query = qkv,
                                                .key = qkv + HEADS * H,
                                                .value = qkv + (HEADS + KEY_HEADS) * H,
                                                .query_stride = STRIDE,
                                                .stride = STRIDE,
                                                .scale = 0.3f,
                                                .causal = true,
                                                .out = out});
    for (size_t i = 0; i < sequences; i++) slots[i]->length += offsets[i + 1] - offsets[i];
}

static qn_backend *backend(const char *isa, int threads) {
    qn_backend *b = NULL;
    return qn_backend_create_cpu(threads, isa, &b) == QN_OK ? b : NULL;
}

static void test_prompt_and_steps(void **state) {
    (void)state;
    static const char *const isas[] = {"ref", "avx2", "avx512"};
    static float qkv[MOST * STRIDE], whole[MOST * HEADS * H], part[MOST * HEADS * H], mixed[2 * MOST * STRIDE],
        outs[2 * MOST * HEADS * H];
    static double right[MOST * HEADS * H];
    for (size_t i = 0; i < MOST * STRIDE; i++) qkv[i] = (float)(qn_rng_real(&rng) * 4 - 2);
    expect(MOST, qkv, true, false, right);
    for (int i = 0; i < 3; i++) {
        qn_backend *b = backend(isas[i], 1), *two = backend(isas[i], 2);
        if (!b) continue;
        slot all = new_slot(b, MOST), steps = new_slot(b, MOST + 3), other = new_slot(b, MOST);
        step(b, 1, &(slot *){&all}, (int32_t[]){0, MOST}, qkv, whole);
        for (size_t k = 0; k < MOST * HEADS * H; k++) assert_true(fabs(whole[k] - right[k]) < 1e-5);
        for (int32_t at = 0, n = 1; at < MOST; at += n, n = n % 7 + 1) { // 1, 2, .. 7 tokens at a time, beside another
            if (at + n > MOST) n = MOST - at;
            size_t bytes = (size_t)n * STRIDE * sizeof(float);
            memcpy(mixed, qkv, STRIDE * sizeof(float));
            memcpy(mixed + STRIDE, qkv + (size_t)at * STRIDE, bytes);
            if (other.length == MOST) other.length = 0;
            step(two, 2, (slot *[]){&other, &steps}, (int32_t[]){0, 1, 1 + n}, mixed, outs);
            memcpy(part + (size_t)at * HEADS * H, outs + HEADS * H, (size_t)n * HEADS * H * sizeof(float));
        }
        assert_memory_equal(part, whole, sizeof part);
        b->ops->release(b, all.cache), b->ops->release(b, steps.cache), b->ops->release(b, other.cache);
        qn_backend_destroy(b), qn_backend_destroy(two);
    }
}

// As a decoder reads an encoder: the keys come once, then queries alone see all of them; without keys there are zeros.
static void test_cross_attention(void **state) {
    (void)state;
    static float qkv[20 * STRIDE], out[20 * HEADS * H];
    static double right[20 * HEADS * H];
    for (size_t i = 0; i < 20 * STRIDE; i++) qkv[i] = (float)(qn_rng_real(&rng) * 4 - 2);
    expect(20, qkv, false, false, right);
    qn_backend *b = backend(NULL, 2);
    slot s = new_slot(b, 20);
    qn_cache_args a = {.sequences = 1,
                       .offsets = (int32_t[]){0, 20},
                       .lengths = &s.length,
                       .capacity = &s.capacity,
                       .cache = &s.cache,
                       .heads = HEADS,
                       .key_heads = KEY_HEADS,
                       .head_width = H,
                       .key = qkv + HEADS * H,
                       .value = qkv + (HEADS + KEY_HEADS) * H,
                       .query_stride = STRIDE,
                       .stride = STRIDE,
                       .scale = 0.3f,
                       .out = out};
    b->ops->cache_attention(b, &a);
    a.key = a.value = NULL, a.query = qkv;
    memset(out, 1, sizeof out);
    b->ops->cache_attention(b, &a);
    for (size_t k = 0; k < 20 * HEADS * H; k++) assert_true(out[k] == 0);
    s.length = 20;
    b->ops->cache_attention(b, &a);
    for (size_t k = 0; k < 20 * HEADS * H; k++) assert_true(fabs(out[k] - right[k]) < 1e-5);
    b->ops->release(b, s.cache);
    qn_backend_destroy(b);
}

// Tokens with memory of their own: two sequences that have their first tokens in common and then go apart.
enum { SHARED = 9, ALL = 21, TOKEN = 3 + 2 * KEY_HEADS * H };
typedef struct {
    float memory[2][ALL][TOKEN], *path[2][ALL], out[2][ALL * HEADS * H];
} branches;

// Sequences first .. last - 1 grow from nothing to ALL tokens, side by side.
static void grow(qn_backend *b, bool biased, const float qkv[2][ALL * STRIDE], size_t first, size_t last, branches *r) {
    for (size_t t = 0; t < ALL; t++) {
        size_t n = t < SHARED ? 1 : last - first; // what they have in common is computed once
        float rows[2 * STRIDE], out[2 * HEADS * H];
        for (size_t k = first; k < last; k++) {
            r->path[k][t] = r->memory[t < SHARED ? first : k][t];
            memcpy(rows + (k - first) * STRIDE, qkv[k] + t * STRIDE, STRIDE * sizeof(float));
        }
        b->ops->token_attention(b, &(qn_token_args){.sequences = n,
                                                    .lengths = (int32_t[]){(int32_t)t, (int32_t)t},
                                                    .tokens = (float *const *[]){r->path[first], r->path[last - 1]},
                                                    .first = 3,
                                                    .heads = HEADS,
                                                    .key_heads = KEY_HEADS,
                                                    .head_width = H,
                                                    .query = rows,
                                                    .key = rows + HEADS * H,
                                                    .value = rows + (HEADS + KEY_HEADS) * H,
                                                    .stride = STRIDE,
                                                    .scale = 0.3f,
                                                    .bias = biased ? bias : NULL,
                                                    .bias_reach = MOST - 1,
                                                    .bias_bucket = bias_bucket,
                                                    .out = out});
        for (size_t k = first; k < last; k++)
            memcpy(r->out[k] + t * HEADS * H, out + (n > 1 ? k - first : 0) * HEADS * H, HEADS * H * sizeof(float));
    }
}

static void check_branches(const char *isa, bool biased) {
    static float qkv[2][ALL * STRIDE];
    static double right[ALL * HEADS * H];
    static branches both, alone;
    qn_backend *one = backend(isa, 1), *two = backend(isa, 2);
    if (!one) return;
    for (size_t i = 0; i < ALL * STRIDE; i++) qkv[0][i] = (float)(qn_rng_real(&rng) * 4 - 2);
    memcpy(qkv[1], qkv[0], sizeof qkv[0]);
    for (size_t i = SHARED * STRIDE; i < ALL * STRIDE; i++) qkv[1][i] = (float)(qn_rng_real(&rng) * 4 - 2);
    grow(two, biased, qkv, 0, 2, &both);
    for (size_t k = 0; k < 2; k++) {
        grow(one, biased, qkv, k, k + 1, &alone);
        assert_memory_equal(both.out[k], alone.out[k], sizeof both.out[k]);
        expect(ALL, qkv[k], true, biased, right);
        for (size_t i = 0; i < ALL * HEADS * H; i++) assert_true(fabs(both.out[k][i] - right[i]) < 1e-5);
    }
    qn_backend_destroy(one), qn_backend_destroy(two);
}

static void test_branches(void **state) {
    (void)state;
    static const char *const isas[] = {"ref", "avx2", "avx512"};
    for (int i = 0; i < 6; i++) check_branches(isas[i % 3], i >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prompt_and_steps), cmocka_unit_test(test_cross_attention),
                                       cmocka_unit_test(test_branches)};
    return cmocka_run_group_tests(tests, make_bias, NULL);
}
