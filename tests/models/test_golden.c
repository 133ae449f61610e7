// Tiny random models of each family against transformers: outputs, every gradient, and the losses of 20 AdamW steps, on
// every instruction set that this CPU has. What each case covers is in tests/golden/bert/README.md and
// tests/golden/families/README.md.
#include "models/golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    golden_case g;
    qn_tokens tokens;
    int32_t *all, *targets, *next_targets;
    float *real_targets, *class_weights;
    size_t sequences;
} fixture;

static const qn_st_tensor *golden(fixture *f, const char *name) {
    return qn_weights_find(f->g.golden, name);
}

static int32_t *read_i32(fixture *f, const char *name, size_t *count) {
    return golden_i32(f->g.golden, name, count);
}

static float *read_f32(fixture *f, const char *name, size_t *count) {
    return golden_f32(f->g.golden, name, count);
}

static void compare(fixture *f, const char *name, const float *ours, double tolerance) {
    golden_compare(f->g.golden, name, ours, tolerance);
}

static void open_case(fixture *f, const char *name, const char *isa, int threads) {
    *f = (fixture){0};
    golden_open(&f->g, name, isa, threads);
    qn_model_config config;
    assert_ok(qn_model_config_read(f->g.folder, &config));
    unsigned heads = config.heads;
    assert_int_not_equal(heads, 0);
    assert_ok(qn_network_load(&config, f->g.folder,
                              &(qn_network_options){.heads = heads, .trainable = true, .by_rows = true},
                              &f->g.network));
    golden_train(&f->g);
    golden_tokens(&f->g, "ids", "offsets", &f->tokens);
    f->sequences = f->tokens.ragged.sequences;
    f->all = malloc(f->tokens.tokens * sizeof *f->all);
    for (size_t t = 0; t < f->tokens.tokens; t++) f->all[t] = (int32_t)t;
    f->real_targets = read_f32(f, "targets", NULL);
    f->targets = f->real_targets ? NULL : read_i32(f, "targets", NULL);
    f->next_targets = read_i32(f, "next_sentence_targets", NULL);
    f->class_weights = read_f32(f, "class_weights", NULL);
}

static void close_case(fixture *f) {
    golden_close(&f->g);
    golden_free_tokens(&f->tokens);
    free(f->all);
    free(f->targets);
    free(f->next_targets);
    free(f->real_targets);
    free(f->class_weights);
}

static void begin_step(fixture *f) {
    golden_begin_step(&f->g);
    assert_ok(qn_optimizer_use(f->g.optimizer, f->g.network->encoder.word, f->tokens.tokens, f->tokens.ids));
}

static double span_loss(fixture *f, qn_tensor *hidden, bool check) {
    int32_t starts[16], ends[16];
    double loss;
    for (size_t i = 0; i < f->sequences && i < 16; i++) starts[i] = f->targets[2 * i], ends[i] = f->targets[2 * i + 1];
    qn_tensor *logits = qn_network_answer(&f->g.c, f->g.network, hidden);
    assert_non_null(logits);
    if (check) compare(f, "logits", logits->data, 1e-5);
    assert_ok(qn_span_cross_entropy(&f->g.c, logits, f->tokens.ragged, starts, ends, &loss));
    return loss;
}

// Forward and loss; the outputs are compared when `check` is set.
static double forward(fixture *f, bool check) {
    qn_network *n = f->g.network;
    qn_context *c = &f->g.c;
    double loss = 0, part = 0;
    begin_step(f);
    qn_tensor *hidden = qn_encoder_forward(c, &n->encoder, &f->tokens);
    assert_non_null(hidden);
    if (check) compare(f, "last_hidden_state", hidden->data, 1e-5);
    if (n->heads & QN_HEAD_CLASSIFIER) {
        qn_tensor *logits = qn_network_classify(c, n, hidden, f->tokens.ragged);
        assert_non_null(logits);
        if (check) compare(f, "logits", logits->data, 1e-5);
        if (n->config.problem == QN_PROBLEM_SINGLE_LABEL)
            assert_ok(qn_cross_entropy(c, logits, f->targets, f->class_weights, f->class_weights ? 0.1f : 0, &loss));
        else if (n->config.problem == QN_PROBLEM_MULTI_LABEL)
            assert_ok(qn_binary_cross_entropy(c, logits, f->real_targets, &loss));
        else
            assert_ok(qn_mean_squared_error(c, logits, f->real_targets, &loss));
    }
    if (n->heads & QN_HEAD_LM) {
        qn_tensor *logits = qn_network_masked_lm(c, n, hidden, f->tokens.tokens, f->all);
        assert_non_null(logits);
        if (check) compare(f, "logits", logits->data, 1e-5);
        assert_ok(qn_cross_entropy(c, logits, f->targets, NULL, 0, &part));
        loss += part;
    }
    if (n->heads & QN_HEAD_TAGGER) {
        qn_tensor *logits = qn_network_tag(c, n, hidden);
        assert_non_null(logits);
        if (check) compare(f, "logits", logits->data, 1e-5);
        assert_ok(qn_cross_entropy(c, logits, f->targets, NULL, 0, &loss));
    }
    if (n->heads & QN_HEAD_SPAN) loss = span_loss(f, hidden, check);
    if (n->heads & QN_HEAD_DISCRIMINATOR) {
        qn_tensor *logits = qn_network_discriminate(c, n, hidden);
        assert_non_null(logits);
        if (check) compare(f, "logits", logits->data, 1e-5);
        assert_ok(qn_binary_cross_entropy(c, logits, f->real_targets, &loss));
    }
    if (n->heads & QN_HEAD_NEXT_SENTENCE) {
        qn_tensor *logits = qn_network_next_sentence(c, n, hidden, f->tokens.ragged);
        assert_non_null(logits);
        if (check) compare(f, "next_sentence_logits", logits->data, 1e-5);
        assert_ok(qn_cross_entropy(c, logits, f->next_targets, NULL, 0, &part));
        loss += part;
    }
    return loss;
}

// The same loss when the last layer computes only the rows that the head reads.
static double forward_rows(fixture *f) {
    qn_network *n = f->g.network;
    qn_context *c = &f->g.c;
    double loss = 0;
    begin_step(f);
    if (n->heads & QN_HEAD_CLASSIFIER) {
        qn_tensor *logits = qn_network_classify_tokens(c, n, &f->tokens);
        assert_non_null(logits);
        compare(f, "logits", logits->data, 1e-5);
        if (n->config.problem == QN_PROBLEM_SINGLE_LABEL)
            assert_ok(qn_cross_entropy(c, logits, f->targets, f->class_weights, f->class_weights ? 0.1f : 0, &loss));
        else if (n->config.problem == QN_PROBLEM_MULTI_LABEL)
            assert_ok(qn_binary_cross_entropy(c, logits, f->real_targets, &loss));
        else
            assert_ok(qn_mean_squared_error(c, logits, f->real_targets, &loss));
        return loss;
    }
    int32_t rows[256], targets[256];
    size_t count = 0;
    for (size_t t = 0; t < f->tokens.tokens && count < 256; t++)
        if (f->targets[t] >= 0) {
            rows[count] = (int32_t)t;
            targets[count++] = f->targets[t];
        }
    qn_tensor *read = qn_encoder_forward_rows(c, &n->encoder, &f->tokens, (qn_rows_read){count, rows});
    qn_tensor *logits = n->heads & QN_HEAD_TAGGER ? qn_network_tag(c, n, read)
                                                  : qn_network_masked_lm(c, n, read, count, NULL);
    assert_ok(qn_cross_entropy(c, logits, targets, NULL, 0, &loss));
    assert_ok(qn_backward(c)); // while rows and targets stand
    return loss;
}

// Of a table whose gradient has only the rows in use; NULL for others.
static float *dense_gradient(const qn_tensor *t) {
    if (!t->used) return NULL;
    size_t d = qn_width(t);
    float *dense = calloc(qn_count(t), sizeof *dense);
    for (size_t i = 0; i < t->used->count; i++)
        memcpy(dense + (size_t)t->used->rows[i] * d, t->grad + i * d, d * sizeof *dense);
    return dense;
}

// Of a weight that files hold as [in, out]; NULL for others.
static float *turned_gradient(const qn_network *n, const qn_parameter *p) {
    const qn_tensor *t = &p->tensor;
    if (!n->config.family->transposed || t->rank != 2 || p->layer == 0) return NULL;
    float *turned = calloc(qn_count(t), sizeof *turned);
    for (size_t i = 0; i < t->shape[0]; i++)
        for (size_t j = 0; j < t->shape[1]; j++) turned[j * t->shape[0] + i] = t->grad[i * t->shape[1] + j];
    return turned;
}

static void compare_gradients(fixture *f) {
    char name[512];
    qn_network *n = f->g.network;
    for (size_t i = 0; i < n->parameters.count; i++) {
        qn_parameter *p = n->parameters.items[i];
        snprintf(name, sizeof name, "grad.%s%s", n->config.family->prefix, p->name);
        if (!golden(f, name)) snprintf(name, sizeof name, "grad.%s", p->name);
        float *dense = dense_gradient(&p->tensor);
        if (!dense) dense = turned_gradient(n, p);
        compare(f, name, dense ? dense : p->tensor.grad, 1e-5);
        free(dense);
    }
}

static void run_case(const char *name, const char *isa, int threads) {
    fixture f;
    open_case(&f, name, isa, threads);
    golden_check_loss(&f.g, "loss", 0, forward(&f, true), 1e-5);
    assert_ok(qn_backward(&f.g.c));
    compare_gradients(&f);
    qn_optimizer_skip(f.g.optimizer);
    if (!(f.g.network->heads & (QN_HEAD_NEXT_SENTENCE | QN_HEAD_SPAN | QN_HEAD_DISCRIMINATOR))) { // these read every row
        golden_check_loss(&f.g, "loss", 0, forward_rows(&f), 1e-5);
        if (f.g.network->heads & QN_HEAD_CLASSIFIER) assert_ok(qn_backward(&f.g.c));
        compare_gradients(&f);
        qn_optimizer_skip(f.g.optimizer);
    }
    for (size_t step = 0; step < golden_steps(&f.g); step++) golden_step(&f.g, step, forward(&f, false));
    close_case(&f);
}

// Inference without a tape reuses memory; it must give the same bits as the recorded forward pass.
static void inference_equals_training(const char *name) {
    fixture f;
    open_case(&f, name, NULL, 2);
    qn_context *c = &f.g.c;
    begin_step(&f);
    qn_tensor *recorded = qn_encoder_forward(c, &f.g.network->encoder, &f.tokens);
    assert_non_null(recorded);
    qn_context plain = *c;
    plain.tape = NULL;
    for (int packed = 0; packed < 2; packed++) {
        if (packed) assert_ok(qn_encoder_pack(&f.g.network->encoder, f.g.backend, QN_DTYPE_F32, NULL));
        qn_tensor *x = qn_encoder_forward(&plain, &f.g.network->encoder, &f.tokens);
        assert_non_null(x);
        assert_memory_equal(x->data, recorded->data, qn_count(x) * sizeof(float));
    }
    qn_encoder_unpack(&f.g.network->encoder, f.g.backend);
    close_case(&f);
}

// Packed in every dtype: near the reference, and the same bits for a text alone, in a batch, and on more threads.
static void packed_is_near(const char *name, qn_compute compute, double tolerance) {
    fixture f;
    open_case(&f, name, NULL, 3);
    qn_backend *one;
    assert_ok(qn_backend_create_cpu(1, NULL, &one));
    if (f.g.backend->ops->computes(f.g.backend, compute)) {
        qn_context c = f.g.c;
        c.tape = NULL;
        qn_encoder *e = &f.g.network->encoder;
        assert_ok(qn_encoder_pack(e, f.g.backend, compute, NULL));
        qn_tensor *x = qn_encoder_forward(&c, e, &f.tokens);
        assert_non_null(x);
        float *expected = read_f32(&f, "last_hidden_state", NULL);
        double error = 0, square = 0;
        for (size_t i = 0; i < qn_count(x); i++) {
            error += ((double)x->data[i] - expected[i]) * ((double)x->data[i] - expected[i]);
            square += (double)expected[i] * expected[i];
        }
        if (!(error <= tolerance * tolerance * square))
            fail_msg("%s in %s: relative error %.3g", name, qn_compute_name(compute), sqrt(error / square));
        free(expected);
        c.backend = one;
        for (size_t i = 0; i < f.sequences; i++) {
            int32_t first = f.tokens.ragged.offsets[i], offsets[2] = {0, f.tokens.ragged.offsets[i + 1] - first};
            qn_tokens alone = {(size_t)offsets[1],
                               f.tokens.ids + first,
                               f.tokens.types + first,
                               f.tokens.positions + first,
                               {1, offsets},
                               NULL, NULL, NULL};
            qn_tensor *y = qn_encoder_forward(&c, e, &alone);
            assert_non_null(y);
            assert_memory_equal(y->data, x->data + (size_t)first * qn_width(x), qn_count(y) * sizeof *y->data);
        }
        qn_encoder_unpack(e, f.g.backend);
    }
    qn_backend_destroy(one);
    close_case(&f);
}

static void written_equals_read(const char *name) {
    fixture f;
    open_case(&f, name, NULL, 1);
    golden_written(f.g.network, name);
    close_case(&f);
}

// A bias that all layers share trains on when everything else is frozen, and gets the gradient that it gets otherwise.
static void test_bias_alone(void **state) {
    (void)state;
    fixture f;
    open_case(&f, "families/mpnet-classify", NULL, 2);
    qn_parameters *set = &f.g.network->parameters;
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i]->name, f.g.network->config.family->names.relative_bias) != 0) {
            set->items[i]->frozen = true;
            set->items[i]->tensor.requires_grad = false;
        }
    assert_ok(qn_encoder_bind(&f.g.network->encoder, set));
    forward(&f, false);
    assert_ok(qn_backward(&f.g.c));
    compare(&f, "grad.mpnet.encoder.relative_attention_bias.weight", f.g.network->encoder.bias.weight->grad, 1e-5);
    close_case(&f);
}

static const char *const cases[] = {
    "families/llama-causal",
    "families/llama-wide-causal",
    "families/llama-scaled-causal",
    "families/qwen2-yarn-causal",
    "families/qwen2-causal",
    "families/gpt2-causal",
    "bert/mlm-gelu-w8",
    "bert/pretrain-gelu_new-w20",
    "bert/classify-relu-w32",
    "bert/multilabel-silu-w64",
    "bert/regress-gelu-w20",
    "bert/regress3-gelu_pytorch_tanh-w8",
    "bert/smooth-weighted-gelu-w32",
    "bert/mlm-sinusoidal-relu-w8",
    "bert/classify-prenorm-gelu_new-w20",
    "bert/pretrain-prenorm-sinusoidal-silu-w32",
    "bert/roberta_prelayernorm-mlm-gelu-w8",
    "families/roberta-mlm",
    "families/roberta-classify",
    "families/xlm_roberta-regress",
    "families/camembert-mlm",
    "families/distilbert-mlm",
    "families/distilbert-classify",
    "families/electra-mlm",
    "families/electra-classify",
    "families/electra-discriminate",
    "families/modernbert-tag",
    "families/modernbert-answer",
    "families/deberta_v2-tag",
    "families/deberta_v2-answer",
    "families/nomic_bert-tag",
    "families/gte-tag",
    "families/jina_embeddings_v3-answer",
    "families/albert-pretrain",
    "families/albert-classify",
    "families/mpnet-mlm",
    "families/mpnet-classify",
    "families/modernbert-mlm",
    "families/modernbert-classify",
    "families/nomic_bert-mlm",
    "families/nomic_bert-classify",
    "families/gte-mlm",
    "families/gte-classify",
    "families/jina_embeddings_v3-mlm",
    "families/jina_embeddings_v3-classify",
    "families/deberta_v2-mlm",
    "families/deberta_v2-classify",
    "families/bert-untied-mlm",
    "families/bert-tag",
    "families/distilbert-tag",
    "families/roberta-answer",
    "families/albert-answer",
};
enum { CASES = sizeof cases / sizeof *cases };

static void test_case(void **state) {
    golden_everywhere(run_case, *state);
    inference_equals_training(*state);
    packed_is_near(*state, QN_DTYPE_F32, 1e-5);
    packed_is_near(*state, QN_DTYPE_BF16, 0.05);
    packed_is_near(*state, QN_DTYPE_INT8, 0.1);
    written_equals_read(*state);
}

int main(void) {
    struct CMUnitTest tests[CASES + 1];
    for (size_t i = 0; i < CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i], test_case, NULL, NULL, (void *)(uintptr_t)cases[i]};
    tests[CASES] = (struct CMUnitTest)cmocka_unit_test(test_bias_alone);
    return _cmocka_run_group_tests("golden", tests, CASES + 1, NULL, NULL);
}
