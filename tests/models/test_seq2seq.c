// Tiny random encoder-decoders against transformers: outputs, every gradient, and the losses of 20 AdamW steps, on
// every instruction set that this CPU has; decoding with a cache. What each case covers is in
// tests/golden/seq2seq/README.md.
#include "models/golden.h"
#include "train/optimizer.h"

typedef struct {
    qn_backend *backend;
    qn_network *network;
    qn_optimizer *optimizer;
    qn_weights *golden;
    qn_context c;
    qn_tape tape;
    qn_tokens source, target;
    int32_t *labels, *inputs;
    float smoothing;
} fixture;

// Positions and types of packed sequences.
static void complete(qn_tokens *tokens, size_t count, size_t offsets) {
    int32_t *positions = calloc(count, sizeof *positions);
    tokens->tokens = count;
    tokens->ragged.sequences = offsets - 1;
    for (size_t i = 0; i + 1 < offsets; i++)
        for (int32_t t = tokens->ragged.offsets[i]; t < tokens->ragged.offsets[i + 1]; t++)
            positions[t] = t - tokens->ragged.offsets[i];
    tokens->positions = positions;
    tokens->types = calloc(count, sizeof *tokens->types);
}

static void open_case(fixture *f, const char *name, const char *isa, int threads) {
    char folder[512], file[600];
    size_t tokens, offsets;
    *f = (fixture){0};
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", QN_SOURCE_DIR, name);
    snprintf(file, sizeof file, "%s/golden.safetensors", folder);
    qn_model_config config;
    assert_ok(qn_model_config_read(folder, &config));
    assert_int_equal(config.heads, QN_HEAD_LM);
    assert_ok(qn_network_load(&config, folder, &(qn_network_options){.heads = QN_HEAD_LM, .trainable = true},
                              &f->network));
    assert_int_equal(f->network->fresh, 0);
    assert_ok(qn_weights_open(file, &f->golden));
    assert_ok(qn_backend_create_cpu(threads, isa, &f->backend));
    assert_ok(qn_optimizer_create(f->backend, &f->network->parameters,
                                  &(qn_optimizer_options){0.9, 0.999, 1e-8, 0.01, 1}, &f->optimizer));
    f->source.ids = golden_i32(f->golden, "ids", &tokens);
    f->source.ragged.offsets = golden_i32(f->golden, "offsets", &offsets);
    complete(&f->source, tokens, offsets);
    f->labels = golden_i32(f->golden, "labels", &tokens);
    f->target.ragged.offsets = golden_i32(f->golden, "label_offsets", &offsets);
    complete(&f->target, tokens, offsets);
    f->target.ids = f->inputs = calloc(tokens, sizeof *f->inputs);
    qn_network_shift(f->network, f->target.ragged, f->labels, f->inputs);
    float *smoothing = golden_f32(f->golden, "smoothing", NULL);
    f->smoothing = *smoothing;
    free(smoothing);
    f->c = (qn_context){.backend = f->backend,
                        .arena = qn_arena_create(1 << 20),
                        .records = qn_arena_create(1 << 16),
                        .tape = &f->tape,
                        .loss_scale = 1};
}

static void close_case(fixture *f) {
    qn_arena_destroy(f->c.arena);
    qn_arena_destroy(f->c.records);
    qn_optimizer_free(f->optimizer);
    qn_network_free(f->network);
    qn_weights_close(f->golden);
    qn_backend_destroy(f->backend);
    qn_tokens *all[2] = {&f->source, &f->target};
    for (int i = 0; i < 2; i++) {
        free((void *)all[i]->ids);
        free((void *)all[i]->types);
        free((void *)all[i]->positions);
        free((void *)all[i]->ragged.offsets);
    }
    free(f->labels);
}

static void begin_step(fixture *f) {
    qn_arena_reset(f->c.arena);
    qn_arena_reset(f->c.records);
}

static qn_tensor *logits_of(fixture *f, qn_context *c, qn_tensor **hidden) {
    *hidden = qn_network_translate(c, f->network, &f->source, &f->target, (qn_rows_read){0, NULL});
    return qn_network_masked_lm(c, f->network, *hidden, f->target.tokens, NULL);
}

static double forward(fixture *f, bool check) {
    qn_context *c = &f->c;
    qn_tensor *hidden;
    double loss;
    begin_step(f);
    if (check) {
        qn_context plain = *c;
        plain.tape = NULL;
        qn_tensor *encoded = qn_encoder_forward(&plain, &f->network->encoder, &f->source);
        assert_non_null(encoded);
        golden_compare(f->golden, "encoder_last_hidden_state", encoded->data, 1e-5);
    }
    qn_tensor *logits = logits_of(f, c, &hidden);
    if (!logits) fail_msg("%s", qn_last_error());
    if (check) golden_compare(f->golden, "logits", logits->data, 1e-5);
    assert_ok(qn_cross_entropy(c, logits, f->labels, NULL, f->smoothing, &loss));
    return loss;
}

static void compare_gradients(fixture *f) {
    char name[512];
    const qn_network *n = f->network;
    for (size_t i = 0; i < n->parameters.count; i++) {
        const qn_parameter *p = n->parameters.items[i];
        if (p->frozen) continue;
        snprintf(name, sizeof name, "grad.%s%s", n->config.family->prefix, p->name);
        if (!qn_weights_find(f->golden, name)) snprintf(name, sizeof name, "grad.%s", p->name);
        golden_compare(f->golden, name, p->tensor.grad, 1e-5);
    }
}

static void run_case(const char *name, const char *isa, int threads) {
    fixture f;
    open_case(&f, name, isa, threads);
    size_t count;
    float *expected = golden_f32(f.golden, "loss", NULL), *steps = golden_f32(f.golden, "adamw_losses", &count);
    double loss = forward(&f, true);
    if (!(fabs(loss - expected[0]) <= 1e-5 * fabs(expected[0])))
        fail_msg("%s on %s: loss %.8g, expected %.8g", name, isa, loss, expected[0]);
    assert_ok(qn_backward(&f.c));
    compare_gradients(&f);
    qn_optimizer_skip(f.optimizer);
    for (size_t step = 0; step < count; step++) {
        loss = forward(&f, false);
        if (!(fabs(loss - steps[step]) <= 1e-4 * fabs(steps[step])))
            fail_msg("%s on %s: loss %.8g before step %zu, expected %.8g", name, isa, loss, step + 1, steps[step]);
        assert_ok(qn_backward(&f.c));
        double norm = qn_optimizer_norm(f.optimizer);
        qn_optimizer_step(f.optimizer, 1e-3, norm > 1 ? 1 / (norm + 1e-6) : 1);
    }
    free(expected);
    free(steps);
    close_case(&f);
}

static void unpack(fixture *f) {
    qn_encoder_unpack(&f->network->encoder, f->backend);
    qn_encoder_unpack(&f->network->decoder_stack, f->backend);
}

static void pack(fixture *f, qn_compute compute) {
    assert_ok(qn_encoder_pack(&f->network->encoder, f->backend, compute, NULL));
    assert_ok(qn_encoder_pack(&f->network->decoder_stack, f->backend, compute, NULL));
}

// Inference reuses memory, packed or not; it must give the same bits as the recorded pass, and near ones in other
// dtypes.
static void inference_equals_training(const char *name) {
    static const double tolerance[] = {[QN_DTYPE_F32] = 0, [QN_DTYPE_BF16] = 0.05, [QN_DTYPE_INT8] = 0.1};
    fixture f;
    open_case(&f, name, NULL, 2);
    qn_tensor *recorded, *x;
    begin_step(&f);
    assert_non_null(logits_of(&f, &f.c, &recorded));
    qn_context plain = f.c;
    plain.tape = NULL;
    assert_non_null(logits_of(&f, &plain, &x));
    assert_memory_equal(x->data, recorded->data, qn_count(x) * sizeof(float));
    for (qn_compute compute = QN_DTYPE_F32; compute <= QN_DTYPE_INT8; compute++) {
        if (compute != QN_DTYPE_F32 && !f.backend->ops->computes(f.backend, compute)) continue;
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
    qn_encoder *e = &f.network->decoder_stack;
    qn_context c = f.c;
    c.tape = NULL;
    pack(&f, QN_DTYPE_F32);
    qn_tensor *whole;
    assert_non_null(logits_of(&f, &c, &whole));
    qn_encoded source = {qn_encoder_forward(&c, &f.network->encoder, &f.source), f.source.ragged};
    size_t n = f.target.ragged.sequences, d = qn_width(whole);
    size_t capacity[8], source_capacity[8], floats = qn_encoder_token_floats(e);
    int32_t none[8] = {0}, source_lengths[8];
    float *memory[8], *tokens[8][MOST], **lists[8];
    for (size_t i = 0; i < n; i++) {
        source_lengths[i] = f.source.ragged.offsets[i + 1] - f.source.ragged.offsets[i];
        source_capacity[i] = (size_t)source_lengths[i];
        memory[i] = f.backend->ops->alloc(f.backend, qn_encoder_cache_floats(e, f.backend, source_capacity[i]) * 4);
        capacity[i] = (size_t)(f.target.ragged.offsets[i + 1] - f.target.ragged.offsets[i]);
        for (size_t t = 0; t < capacity[i]; t++) tokens[i][t] = f.backend->ops->alloc(f.backend, floats * 4);
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
        f.backend->ops->release(f.backend, memory[i]);
        for (size_t t = 0; t < capacity[i]; t++) f.backend->ops->release(f.backend, tokens[i][t]);
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
    assert_null(qn_encoder_forward(&f.c, &f.network->decoder_stack, &f.target));
    assert_int_equal(f.c.status, QN_ERROR_ARGUMENT);
    close_case(&f);
}

static const char *const cases[] = {"seq2seq/marian", "seq2seq/marian-two-vocabularies",
                                    "seq2seq/bart",   "seq2seq/mbart",
                                    "seq2seq/t5",     "seq2seq/t5-gated"};
enum { CASES = sizeof cases / sizeof *cases };

static void test_case(void **state) {
    static const char *const isas[] = {"ref", "avx2", "avx512"};
    for (size_t i = 0; i < 3; i++) {
        qn_backend *probe;
        if (qn_backend_create_cpu(1, isas[i], &probe) != QN_OK) continue;
        qn_backend_destroy(probe);
        run_case(*state, isas[i], 1 + (int)i);
    }
    inference_equals_training(*state);
    cached_equals_whole(*state);
    fixture f;
    open_case(&f, *state, NULL, 1);
    golden_written(f.network, *state);
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
