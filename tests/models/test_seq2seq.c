// Tiny random encoder-decoders against transformers: outputs, every gradient, and the losses of 20 AdamW steps, on
// every instruction set that this CPU has; decoding with a cache. What each case covers is in
// tests/golden/seq2seq/README.md.
#include "models/golden.h"

typedef struct {
    golden_case g;
    qn_tokens source, target;
    int32_t *labels, *inputs;
    float smoothing;
} fixture;

static void open_case(fixture *f, const char *name, const char *isa, int threads) {
    *f = (fixture){0};
    golden_open(&f->g, name, isa, threads);
    qn_model_config config;
    assert_ok(qn_model_config_read(f->g.folder, &config));
    assert_int_equal(config.heads, QN_HEAD_LM);
    assert_ok(qn_network_load(&config, f->g.folder, &(qn_network_options){.heads = QN_HEAD_LM, .trainable = true},
                              &f->g.network));
    golden_train(&f->g);
    golden_tokens(&f->g, "ids", "offsets", &f->source);
    golden_tokens(&f->g, NULL, "label_offsets", &f->target);
    f->labels = golden_i32(f->g.golden, "labels", NULL);
    f->target.ids = f->inputs = calloc(f->target.tokens, sizeof *f->inputs);
    qn_network_shift(f->g.network, f->target.ragged, f->labels, f->inputs);
    float *smoothing = golden_f32(f->g.golden, "smoothing", NULL);
    f->smoothing = *smoothing;
    free(smoothing);
}

static void close_case(fixture *f) {
    golden_close(&f->g);
    golden_free_tokens(&f->source);
    golden_free_tokens(&f->target);
    free(f->labels);
}

static qn_tensor *logits_of(fixture *f, qn_context *c, qn_tensor **hidden) {
    *hidden = qn_network_translate(c, f->g.network, &f->source, &f->target, (qn_rows_read){0, NULL});
    return qn_network_masked_lm(c, f->g.network, *hidden, f->target.tokens, NULL);
}

static double forward(fixture *f, bool check) {
    qn_context *c = &f->g.c;
    qn_tensor *hidden;
    double loss;
    golden_begin_step(&f->g);
    if (check) {
        qn_context plain = *c;
        plain.tape = NULL;
        qn_tensor *encoded = qn_encoder_forward(&plain, &f->g.network->encoder, &f->source);
        assert_non_null(encoded);
        golden_compare(f->g.golden, "encoder_last_hidden_state", encoded->data, 1e-5);
    }
    qn_tensor *logits = logits_of(f, c, &hidden);
    if (!logits) fail_msg("%s", qn_last_error());
    if (check) golden_compare(f->g.golden, "logits", logits->data, 1e-5);
    assert_ok(qn_cross_entropy(c, logits, f->labels, NULL, f->smoothing, &loss));
    return loss;
}

static void compare_gradients(fixture *f) {
    char name[512];
    const qn_network *n = f->g.network;
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (p->frozen) continue;
        snprintf(name, sizeof name, "grad.%s%s", n->config.family->prefix, p->name);
        if (!qn_weights_find(f->g.golden, name)) snprintf(name, sizeof name, "grad.%s", p->name);
        golden_compare(f->g.golden, name, p->tensor.grad, 1e-5);
    }
}

static void run_case(const char *name, const char *isa, int threads) {
    fixture f;
    open_case(&f, name, isa, threads);
    golden_check_loss(&f.g, "loss", 0, forward(&f, true), 1e-5);
    assert_ok(qn_backward(&f.g.c));
    compare_gradients(&f);
    qn_optimizer_skip(f.g.optimizer);
    for (size_t step = 0; step < golden_steps(&f.g); step++) golden_step(&f.g, step, forward(&f, false));
    close_case(&f);
}

static void unpack(fixture *f) {
    qn_encoder_unpack(&f->g.network->encoder, f->g.backend);
    qn_encoder_unpack(&f->g.network->decoder_stack, f->g.backend);
}

static void pack(fixture *f, qn_compute compute) {
    assert_ok(qn_encoder_pack(&f->g.network->encoder, f->g.backend, compute, NULL));
    assert_ok(qn_encoder_pack(&f->g.network->decoder_stack, f->g.backend, compute, NULL));
}

// Inference reuses memory, packed or not; it must give the same bits as the recorded pass, and near ones in other
// dtypes.
static void inference_equals_training(const char *name) {
    static const double tolerance[] = {[QN_DTYPE_F32] = 0, [QN_DTYPE_BF16] = 0.05, [QN_DTYPE_INT8] = 0.1};
    fixture f;
    open_case(&f, name, NULL, 2);
    qn_tensor *recorded, *x;
    golden_begin_step(&f.g);
    assert_non_null(logits_of(&f, &f.g.c, &recorded));
    qn_context plain = f.g.c;
    plain.tape = NULL;
    assert_non_null(logits_of(&f, &plain, &x));
    assert_memory_equal(x->data, recorded->data, qn_count(x) * sizeof(float));
    for (qn_compute compute = QN_DTYPE_F32; compute <= QN_DTYPE_INT8; compute++) {
        if (compute != QN_DTYPE_F32 && !f.g.backend->ops->computes(f.g.backend, compute)) continue;
        pack(&f, compute);
        assert_non_null(logits_of(&f, &plain, &x));
        double error = 0, square = 0;
        for (size_t i = 0; i < qn_count(x); i++) {
            error += pow((double)x->data[i] - recorded->data[i], 2);
            square += pow(recorded->data[i], 2);
        }
        if (!(error <= pow(tolerance[compute], 2) * square))
            fail_msg("%s in %s: relative error %.3g", name, qn_compute_name(compute), sqrt(error / square));
        unpack(&f);
    }
    close_case(&f);
}

// Decoding token by token, with the sources' keys and values computed once and each token's kept in memory of its own,
// gives what the whole sequence gives.
static void cached_equals_whole(const char *name) {
    enum { MOST = 64 };
    fixture f;
    open_case(&f, name, NULL, 3);
    qn_encoder *e = &f.g.network->decoder_stack;
    qn_context c = f.g.c;
    c.tape = NULL;
    pack(&f, QN_DTYPE_F32);
    qn_tensor *whole;
    assert_non_null(logits_of(&f, &c, &whole));
    qn_encoded source = {qn_encoder_forward(&c, &f.g.network->encoder, &f.source), f.source.ragged};
    size_t n = f.target.ragged.sequences, d = qn_width(whole);
    size_t capacity[8], source_capacity[8], floats = qn_encoder_token_floats(e);
    int32_t none[8] = {0}, source_lengths[8];
    float *memory[8], *tokens[8][MOST], **lists[8];
    for (size_t i = 0; i < n; i++) {
        source_lengths[i] = f.source.ragged.offsets[i + 1] - f.source.ragged.offsets[i];
        source_capacity[i] = (size_t)source_lengths[i];
        memory[i] = f.g.backend->ops->alloc(f.g.backend, qn_encoder_cache_floats(e, f.g.backend, source_capacity[i]) * 4);
        capacity[i] = (size_t)(f.target.ragged.offsets[i + 1] - f.target.ragged.offsets[i]);
        for (size_t t = 0; t < capacity[i]; t++) tokens[i][t] = f.g.backend->ops->alloc(f.g.backend, floats * 4);
        lists[i] = tokens[i];
    }
    qn_kv_cache kept = {.lengths = none, .capacity = source_capacity, .memory = memory};
    qn_encoder_keep_source(&c, e, &source, &kept);
    kept.lengths = source_lengths;
    for (int32_t t = 0; t < MOST; t++) { // those that are long enough go on
        int32_t ids[8], positions[8], types[8] = {0}, offsets[9] = {0}, lengths[8], rows[9] = {0};
        float *const *going[8];
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            bool goes = (size_t)t < capacity[i];
            rows[i + 1] = rows[i] + goes;
            if (!goes) continue;
            ids[count] = f.inputs[f.target.ragged.offsets[i] + t];
            positions[count] = lengths[count] = t;
            going[count++] = lists[i];
            offsets[count] = (int32_t)count;
        }
        if (count == 0) break;
        qn_kv_cache cache = {.lengths = lengths, .tokens = going, .source = &kept, .source_rows = {n, rows}};
        qn_tokens step = qn_tokens_of(count, ids, types, positions, (qn_ragged){count, offsets});
        qn_tensor *x = qn_encoder_forward_cached(&c, e, &step, &cache, (qn_rows_read){0, NULL});
        if (!x) fail_msg("%s: %s", name, qn_last_error());
        size_t row = 0;
        for (size_t i = 0; i < n; i++) {
            if ((size_t)t >= capacity[i]) continue;
            const float *want = whole->data + (size_t)(f.target.ragged.offsets[i] + t) * d, *have = x->data + row++ * d;
            for (size_t k = 0; k < d; k++)
                if (!(fabsf(have[k] - want[k]) <= 2e-5f * (1 + fabsf(want[k]))))
                    fail_msg("%s: token %d of sequence %zu: %g, expected %g", name, t, i, have[k], want[k]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        f.g.backend->ops->release(f.g.backend, memory[i]);
        for (size_t t = 0; t < capacity[i]; t++) f.g.backend->ops->release(f.g.backend, tokens[i][t]);
    }
    unpack(&f);
    close_case(&f);
}

// Of a language's own beginning: the last label that counts comes first.
static void test_shift(void **state) {
    (void)state;
    const int32_t labels[] = {7, 8, 9, -100, 5, 6}, offsets[] = {0, 4, 4, 6};
    int32_t ids[6];
    qn_network n = {.config = {.pad_id = 1, .start_id = 2}};
    qn_network_shift(&n, (qn_ragged){3, offsets}, labels, ids);
    assert_memory_equal(ids, ((const int32_t[]){2, 7, 8, 9, 2, 5}), sizeof ids);
    n.config.start_id = -1;
    qn_network_shift(&n, (qn_ragged){3, offsets}, labels, ids);
    assert_memory_equal(ids, ((const int32_t[]){9, 7, 8, 9, 6, 5}), sizeof ids);
}

// A sequence needs a source.
static void test_sources(void **state) {
    (void)state;
    fixture f;
    open_case(&f, "seq2seq/bart", NULL, 1);
    assert_null(qn_encoder_forward(&f.g.c, &f.g.network->decoder_stack, &f.target));
    assert_int_equal(f.g.c.status, QN_ERROR_ARGUMENT);
    close_case(&f);
}

static const char *const cases[] = {"seq2seq/marian", "seq2seq/marian-two-vocabularies",
                                    "seq2seq/bart",   "seq2seq/mbart",
                                    "seq2seq/t5",     "seq2seq/t5-gated"};
enum { CASES = sizeof cases / sizeof *cases };

static void test_case(void **state) {
    golden_everywhere(run_case, *state);
    inference_equals_training(*state);
    cached_equals_whole(*state);
    fixture f;
    open_case(&f, *state, NULL, 1);
    golden_written(f.g.network, *state);
    close_case(&f);
}

int main(void) {
    struct CMUnitTest tests[CASES + 2];
    for (size_t i = 0; i < CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i], test_case, NULL, NULL, (void *)(uintptr_t)cases[i]};
    tests[CASES] = (struct CMUnitTest)cmocka_unit_test(test_shift);
    tests[CASES + 1] = (struct CMUnitTest)cmocka_unit_test(test_sources);
    return _cmocka_run_group_tests("seq2seq", tests, CASES + 2, NULL, NULL);
}
