// Models in use: outputs against the golden BERTs, the independence of batches and threads, and every error that a
// folder or a caller can cause.
#include "support.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "infer/golden.h"
#include "infer/model.h"
#include <math.h>

// ---- A model folder: weights of a golden BERT, and a vocabulary of 101 words ----------------------------------------

static void write_vocabulary(const char *folder) {
    qn_buffer text = {0};
    qn_buffer_text(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 5; i < 101; i++) qn_buffer_printf(&text, "w%d\n", i);
    test_write(test_path(folder, "vocab.txt"), text.data, text.size);
    qn_buffer_free(&text);
}

static void make_folder(char *out, size_t size, const char *name) {
    char from[512];
    snprintf(out, size, "%s/%s", test_folder(), name);
    assert_ok(qn_make_folders(out));
    snprintf(from, sizeof from, "%s/tests/golden/bert/%s", QN_SOURCE_DIR, name);
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        char *data = test_read(test_path(from, files[i]), &bytes);
        test_write(test_path(out, files[i]), data, bytes);
        free(data);
    }
    write_vocabulary(out);
}

typedef struct {
    char folder[256];
    qn_model *model;
} fixture;

static void open_model(fixture *f, const char *name, int threads, size_t batch_tokens) {
    make_folder(f->folder, sizeof f->folder, name);
    qn_model_options options = qn_model_defaults();
    options.threads = threads;
    options.batch_tokens = batch_tokens;
    assert_ok(qn_model_open(f->folder, &options, &f->model));
}

// Texts of many lengths, the empty one and one that is cut among them, and every third a pair.
enum { TEXTS = 37 };
static char bytes[TEXTS][1024];
static void make_texts(qn_text texts[TEXTS]) {
    for (size_t i = 0; i < TEXTS; i++) {
        size_t used = 0, words = i == 5 ? 200 : (i * i * 7) % 41;
        bytes[i][0] = 0;
        for (size_t k = 0; k < words && used < 1000; k++)
            used += (size_t)snprintf(bytes[i] + used, sizeof bytes[i] - used, "w%zu ", 5 + (i * 31 + k * 17) % 96);
        texts[i] = (qn_text){.text = bytes[i], .size = used};
        if (i % 3 == 2) {
            texts[i].pair = "w7 w8 nothing";
            texts[i].pair_size = strlen(texts[i].pair);
        }
    }
}

// ---- Against the network itself, which its own tests compare with PyTorch -------------------------------------------

typedef struct {
    const float *expected;
    const int32_t *offsets;
    size_t rows;
} comparison;

static qn_status compare_hidden(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    (void)c;
    comparison *r = user;
    size_t d = qn_model_width(m);
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++) {
        size_t begin = (size_t)batch->tokens.ragged.offsets[i], end = (size_t)batch->tokens.ragged.offsets[i + 1];
        assert_memory_equal(batch->hidden->data + begin * d, r->expected + (size_t)r->offsets[batch->index[i]] * d,
                            (end - begin) * d * sizeof(float));
        r->rows += end - begin;
    }
    return QN_OK;
}

enum { COUNT = 5, TOKENS = 113 };

static void check_batches(const char *name, size_t batch_tokens) {
    static const int32_t offsets[COUNT + 1] = {0, 7, 8, 41, 43, TOKENS}, seconds[COUNT] = {7, 0, 20, 1, 70};
    int32_t ids[TOKENS], types[TOKENS], positions[TOKENS];
    qn_sequences sequences = {0};
    for (size_t i = 0; i < COUNT; i++) {
        for (int32_t t = offsets[i]; t < offsets[i + 1]; t++) {
            positions[t] = t - offsets[i];
            ids[t] = 5 + t * 29 % 96;
            types[t] = positions[t] >= seconds[i];
            assert_ok(qn_sequences_put(&sequences, ids[t]));
        }
        assert_ok(qn_sequences_close(&sequences, seconds[i]));
    }
    fixture f;
    open_model(&f, name, 1, batch_tokens);
    qn_network *n = f.model->network;
    qn_context c = {
        .backend = f.model->backend, .arena = qn_arena_create(1 << 20), .records = qn_arena_create(1 << 16)};
    qn_tokens tokens = qn_tokens_of(TOKENS, ids, types, positions, (qn_ragged){COUNT, offsets});
    qn_tensor *hidden = qn_encoder_forward(&c, &n->encoder, &tokens);
    assert_non_null(hidden);
    comparison r = {.expected = hidden->data, .offsets = offsets};
    assert_ok(qn_infer_sequences(f.model, &sequences, false, compare_hidden, &r));
    assert_int_equal(r.rows, TOKENS);
    size_t labels = qn_model_labels(f.model);
    if (labels) {
        float scores[COUNT * 6];
        qn_tensor *logits = qn_network_classify(&c, n, hidden, tokens.ragged);
        assert_non_null(logits);
        assert_ok(qn_infer_sequences(f.model, &sequences, false, qn_infer_classify, &(qn_infer_scores){scores}));
        assert_memory_equal(scores, logits->data, COUNT * labels * sizeof(float));
    }
    qn_arena_destroy(c.arena);
    qn_arena_destroy(c.records);
    qn_sequences_free(&sequences);
    qn_model_close(f.model);
}

// Protects: sorted batches of any size, over packed weights, give the hidden states and logits of one batch in the
// order of the texts, each in its place.
static void test_batches(void **state) {
    (void)state;
    static const char *const names[] = {"mlm-gelu-w8",
                                        "classify-relu-w32",
                                        "multilabel-silu-w64",
                                        "regress3-gelu_pytorch_tanh-w8",
                                        "classify-prenorm-gelu_new-w20",
                                        "mlm-sinusoidal-relu-w8",
                                        "roberta_prelayernorm-mlm-gelu-w8",
                                        "pretrain-gelu_new-w20"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_batches(names[i], 1);
        check_batches(names[i], 40);
        check_batches(names[i], 4096);
    }
}

// ---- Batches and threads
// ---------------------------------------------------------------------------------------------

static void embed_all(const char *name, int threads, size_t batch_tokens, float *vectors) {
    fixture f;
    qn_text texts[TEXTS];
    make_texts(texts);
    open_model(&f, name, threads, batch_tokens);
    assert_ok(qn_embed(f.model, texts, TEXTS, NULL, vectors));
    qn_model_close(f.model);
}

// Protects: a text's vector has the same bytes alone, in any batch, and on one or two threads.
static void test_same_bytes(void **state) {
    (void)state;
    enum { D = 64 };
    static float expected[TEXTS * D], other[TEXTS * D];
    qn_text texts[TEXTS];
    fixture f;
    make_texts(texts);
    open_model(&f, "classify-relu-w32", 1, 0);
    for (size_t i = 0; i < TEXTS; i++) assert_ok(qn_embed(f.model, &texts[i], 1, NULL, expected + i * D));
    qn_model_close(f.model);
    static const size_t sizes[] = {1, 33, 100, 100000};
    for (size_t i = 0; i < 4; i++)
        for (int threads = 1; threads <= 2; threads++) {
            memset(other, 0, sizeof other);
            embed_all("classify-relu-w32", threads, sizes[i], other);
            assert_memory_equal(expected, other, sizeof other);
        }
}

// ---- bf16 and int8
// ---------------------------------------------------------------------------------------------------

// The vectors of the texts, all of them or one after the other; false where this CPU lacks the dtype.
static bool embed_in(const char *folder, const char *dtype, const char *isa, int threads, bool alone, float *vectors) {
    qn_model *model;
    qn_text texts[TEXTS];
    make_texts(texts);
    qn_model_options options = qn_model_defaults();
    options.threads = threads, options.dtype = dtype, options.batch_tokens = 100;
    if (isa) setenv("QUERN_ISA", isa, 1);
    qn_status status = qn_model_open(folder, &options, &model);
    if (isa) unsetenv("QUERN_ISA");
    if (status == QN_ERROR_UNSUPPORTED) return false;
    assert_ok(status);
    size_t d = qn_model_width(model);
    for (size_t i = 0; alone && i < TEXTS; i++) assert_ok(qn_embed(model, texts + i, 1, NULL, vectors + i * d));
    if (!alone) assert_ok(qn_embed(model, texts, TEXTS, NULL, vectors));
    qn_model_close(model);
    return true;
}

// The least cosine of two sets of vectors.
static double least_cosine(const float *a, const float *b, size_t d) {
    double least = 1;
    for (size_t i = 0; i < TEXTS; i++) {
        double ab = 0, aa = 0, bb = 0;
        for (size_t k = i * d; k < (i + 1) * d; k++)
            ab += (double)a[k] * b[k], aa += (double)a[k] * a[k], bb += (double)b[k] * b[k];
        least = fmin(least, ab / sqrt(aa * bb));
    }
    return least;
}

// Protects: in a narrow dtype, too, a text's vector has the same bytes alone, in a batch, and on one or two threads; it
// is near that of float32; and the reference kernels compute the same.
static void test_narrow(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t d;
    } models[] = {{"classify-relu-w32", 64}, {"classify-prenorm-gelu_new-w20", 40}, {"mlm-sinusoidal-relu-w8", 32}};
    static float exact[TEXTS * 128], expected[TEXTS * 128], other[TEXTS * 128];
    const char *isa = getenv("QUERN_ISA");
    char *kept = isa ? strdup(isa) : NULL;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char folder[256];
        make_folder(folder, sizeof folder, models[i].name);
        for (int narrow = 0; narrow < 2; narrow++) {
            const char *dtype = narrow ? "int8" : "bf16";
            assert_true(embed_in(folder, "f32", NULL, 1, false, exact));
            assert_true(embed_in(folder, dtype, "ref", 1, false, other));
            size_t d = models[i].d;
            assert_true(least_cosine(other, exact, d) > (narrow ? 0.995 : 0.9995));
            if (!embed_in(folder, dtype, kept, 1, true, expected)) continue;
            assert_true(least_cosine(expected, exact, d) > (narrow ? 0.995 : 0.9995));
            assert_true(least_cosine(expected, other, d) > (narrow ? 0.9995 : 0.9999));
            for (int threads = 1; threads <= 2; threads++) {
                memset(other, 0, sizeof other);
                assert_true(embed_in(folder, dtype, kept, threads, false, other));
                assert_memory_equal(other, expected, TEXTS * d * sizeof *other);
            }
        }
    }
    if (kept) setenv("QUERN_ISA", kept, 1);
    free(kept);
}

// Protects: once its buffers have met the longest batch, embedding takes nothing from the heap.
static void test_allocates_nothing(void **state) {
    (void)state;
    static float vectors[TEXTS * 64];
    qn_text texts[TEXTS];
    fixture f;
    make_texts(texts);
    open_model(&f, "classify-relu-w32", 2, 64);
    for (int i = 0; i < 2; i++) {
        assert_ok(qn_embed(f.model, texts, TEXTS, NULL, vectors));
        assert_ok(qn_classify(f.model, texts, TEXTS, false, vectors));
    }
    size_t before = test_allocations();
    assert_ok(qn_embed(f.model, texts, TEXTS, NULL, vectors));
    assert_ok(qn_classify(f.model, texts, TEXTS, false, vectors));
    size_t taken = test_allocations() - before;
    assert_int_equal(taken, 0);
    qn_model_close(f.model);
}

// Protects: running out of memory at any moment is an error, after which the model still works.
static void test_out_of_memory(void **state) {
    (void)state;
    static float vectors[TEXTS * 64];
    qn_text texts[TEXTS];
    char folder[256];
    make_texts(texts);
    make_folder(folder, sizeof folder, "classify-relu-w32");
    qn_model_options options = {.threads = 1};
    for (size_t n = 0;; n += 1 + n / 16) {
        qn_model *model;
        test_fail_allocations_after(n);
        qn_status status = qn_model_open(folder, &options, &model);
        bool opened = status == QN_OK;
        if (opened) status = qn_embed(model, texts, TEXTS, NULL, vectors);
        test_fail_allocations_off();
        if (status != QN_OK) assert_int_not_equal(qn_last_error()[0], 0);
        if (opened) {
            assert_ok(qn_embed(model, texts, TEXTS, NULL, vectors));
            qn_model_close(model);
        } else
            assert_null(model);
        if (status == QN_OK) break;
    }
}

// ---- Vectors
// ---------------------------------------------------------------------------------------------------------

typedef struct {
    float *mean, *largest, *first, *weighted, *last;
    size_t d, skip, next;
} pooled;

static qn_status pool_by_hand(void *user, size_t index, const qn_encoding *e, const float *vectors) {
    pooled *p = user;
    assert_int_equal(index, p->next++); // in the order of the texts
    assert_true(e->count > p->skip);
    for (size_t k = 0; k < p->d; k++) {
        double sum = 0, weighted = 0, weights = 0, largest = -INFINITY;
        for (size_t t = p->skip; t < e->count; t++) {
            double value = (double)vectors[t * p->d + k], weight = (double)(t + 1);
            sum += value;
            weighted += weight * value;
            weights += weight;
            largest = fmax(largest, value);
        }
        p->mean[index * p->d + k] = (float)(sum / (double)(e->count - p->skip));
        p->weighted[index * p->d + k] = (float)(weighted / weights);
        p->largest[index * p->d + k] = (float)largest;
        p->first[index * p->d + k] = vectors[p->skip * p->d + k];
        p->last[index * p->d + k] = vectors[(e->count - 1) * p->d + k];
    }
    return QN_OK;
}

static void assert_near(const float *a, const float *b, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) < 1e-5f))
            fail_msg("%s: value %zu is %g (expected %g)", what, i, (double)a[i], (double)b[i]);
}

enum { D = 64 };
static float by_hand[5][TEXTS * D], ours[TEXTS * D];

static void pool_tokens(qn_model *model, const qn_text *texts, size_t skip) {
    pooled p = {by_hand[0], by_hand[1], by_hand[2], by_hand[3], by_hand[4], D, skip, 0};
    assert_ok(qn_embed_tokens(model, texts, TEXTS, pool_by_hand, &p));
    assert_int_equal(p.next, TEXTS);
}

// Protects: mean, cls and max agree with the tokens' vectors, and normalisation gives length one.
static void test_pooling(void **state) {
    (void)state;
    qn_text texts[TEXTS];
    fixture f;
    make_texts(texts);
    open_model(&f, "classify-relu-w32", 1, 100);
    pool_tokens(f.model, texts, 0);
    static const qn_pooling modes[] = {QN_POOLING_MEAN, QN_POOLING_MAX, QN_POOLING_CLS};
    for (size_t i = 0; i < 3; i++) {
        assert_ok(qn_embed(f.model, texts, TEXTS, &(qn_embed_options){modes[i], 0}, ours));
        assert_near(ours, by_hand[i], TEXTS * D, "pooling");
    }
    assert_ok(qn_embed(f.model, texts, TEXTS, NULL, ours)); // without files of sentence-transformers: mean
    assert_near(ours, by_hand[0], TEXTS * D, "default");
    assert_ok(qn_embed(f.model, texts, TEXTS, &(qn_embed_options){QN_POOLING_FOLDER, 1}, ours));
    for (size_t i = 0; i < TEXTS; i++) {
        double length = 0;
        for (size_t k = 0; k < D; k++) length += (double)ours[i * D + k] * (double)ours[i * D + k];
        assert_true(fabs(length - 1) < 1e-5);
    }
    assert_fails(qn_embed(f.model, texts, 1, &(qn_embed_options){(qn_pooling)9, 0}, ours), QN_ERROR_ARGUMENT,
                 "pooling 9");
    qn_model_close(f.model);
}

static void check_sbert(qn_sbert *config, size_t expected, size_t skip, const char *prefix) {
    qn_text texts[TEXTS], prefixed[TEXTS];
    static char with_prefix[TEXTS][1100];
    char folder[256];
    qn_model *model;
    make_texts(texts);
    make_folder(folder, sizeof folder, "classify-relu-w32");
    // By hand: the same folder before it says anything, and texts that carry the prompt themselves.
    qn_model_options options = {.threads = 1, .max_length = (size_t)config->max_seq_length};
    assert_ok(qn_model_open(folder, &options, &model));
    for (size_t i = 0; i < TEXTS; i++) {
        prefixed[i] = texts[i];
        prefixed[i].size = (size_t)snprintf(with_prefix[i], sizeof with_prefix[i], "%s%s", prefix, texts[i].text);
        prefixed[i].text = with_prefix[i];
    }
    pool_tokens(model, prefixed, skip);
    qn_model_close(model);
    assert_ok(qn_sbert_write(folder, config));
    assert_ok(qn_model_open(folder, &(qn_model_options){.threads = 1}, &model));
    assert_ok(qn_embed(model, texts, TEXTS, NULL, ours));
    assert_near(ours, by_hand[expected], TEXTS * D, "as the folder says");
    qn_model_close(model);
}

// Protects: poolings, prompts (pooled or not), lower case and the limit are those of the folder's files.
static void test_sentence_transformers(void **state) {
    (void)state;
    qn_sbert_prompt prompt = {(char *)(uintptr_t) "query", (char *)(uintptr_t) "w9 w10 "};
    qn_sbert config = qn_sbert_defaults();
    config.width = D;
    config.max_seq_length = 30;
    config.poolings[0] = QN_POOL_WEIGHTED_MEAN;
    check_sbert(&config, 3, 0, "");
    config.poolings[0] = QN_POOL_LAST_TOKEN;
    check_sbert(&config, 4, 0, "");
    config.poolings[0] = QN_POOL_MEAN;
    config.prompts = &prompt;
    config.prompt_count = 1;
    config.default_prompt = prompt.name;
    config.include_prompt = true;
    check_sbert(&config, 0, 0, "w9 w10 ");
    config.include_prompt = false;
    check_sbert(&config, 0, 3, "w9 w10 ");
    config.poolings[0] = QN_POOL_CLS; // the first token behind the prompt, and places count from the beginning
    check_sbert(&config, 2, 3, "w9 w10 ");
    config.poolings[0] = QN_POOL_WEIGHTED_MEAN;
    check_sbert(&config, 3, 3, "w9 w10 ");
    config.poolings[0] = QN_POOL_MEAN;
    config.do_lower_case = true;
    prompt.text = (char *)(uintptr_t) "W9 W10 ";
    check_sbert(&config, 0, 3, "w9 w10 ");
}

// Protects: poolings side by side, a dense layer and its activation, the first columns of a normalized vector, and
// prompts by name, by role and as they are.
static void test_modules(void **state) {
    (void)state;
    char folder[256];
    static float values[5 * 2 * D + 5], both[TEXTS * 2 * D], dense[TEXTS * 5];
    qn_sbert_prompt prompts[] = {{(char *)(uintptr_t) "query", (char *)(uintptr_t) "w9 "},
                                 {(char *)(uintptr_t) "passage", (char *)(uintptr_t) "w10 "}};
    qn_sbert config = qn_sbert_defaults();
    qn_text texts[TEXTS];
    qn_model *m;
    make_texts(texts);
    make_folder(folder, sizeof folder, "classify-relu-w32");
    config.width = D;
    assert_ok(qn_sbert_set_poolings(&config, "max,mean"));
    assert_ok(qn_sbert_write(folder, &config));
    assert_ok(qn_model_open(folder, &(qn_model_options){.threads = 1}, &m));
    assert_int_equal(qn_model_width(m), 2 * D);
    assert_ok(qn_embed(m, texts, TEXTS, NULL, both));
    pool_tokens(m, texts, 0);
    for (size_t i = 0; i < TEXTS; i++) {
        assert_near(both + i * 2 * D, by_hand[1] + i * D, D, "max");
        assert_near(both + i * 2 * D + D, by_hand[0] + i * D, D, "mean");
    }
    qn_model_close(m);

    qn_random_normal(3, 1, 0.1, values, sizeof values / sizeof *values);
    config.prompts = prompts;
    config.prompt_count = 2;
    assert_ok(qn_sbert_add_dense(&config, 2 * D, 5, NULL));
    assert_ok(qn_sbert_set_normalize(&config, true));
    assert_ok(qn_sbert_write(folder, &config));
    assert_fails(qn_model_open(folder, NULL, &m), QN_ERROR_IO, "2_Dense");
    const qn_st_entry entries[] = {{.name = "linear.weight", .dtype = QN_ST_F32, .dims = 2, .shape = {5, 2 * D}, .values = values},
                                   {.name = "linear.bias", .dtype = QN_ST_F32, .dims = 1, .shape = {5}, .values = values + 10 * D}};
    assert_ok(qn_weights_write(test_path(folder, "2_Dense"), entries, 2, NULL, 0));
    assert_ok(qn_model_open(folder, &(qn_model_options){.threads = 1, .dimensions = 3}, &m));
    assert_int_equal(qn_model_width(m), 3);
    assert_ok(qn_embed(m, texts, TEXTS, NULL, dense));
    for (size_t i = 0; i < TEXTS; i++) {
        double y[3], length = 0;
        for (size_t o = 0; o < 3; o++) {
            y[o] = (double)values[10 * D + o];
            for (size_t k = 0; k < 2 * D; k++) y[o] += (double)values[o * 2 * D + k] * (double)both[i * 2 * D + k];
            y[o] = tanh(y[o]);
            length += y[o] * y[o];
        }
        for (size_t o = 0; o < 3; o++) assert_true(fabs(y[o] / sqrt(length) - (double)dense[i * 3 + o]) < 1e-5);
    }
    assert_fails(qn_embed(m, texts, 1, &(qn_embed_options){QN_POOLING_CLS, -1}, dense), QN_ERROR_ARGUMENT, "dense layers");
    qn_model_close(m);
    assert_fails(qn_model_open(folder, &(qn_model_options){.dimensions = 6}, &m), QN_ERROR_ARGUMENT, "5 dimensions");

    // "w9 " before a text, in four ways; and a document's prompt.
    static const qn_model_options ways[] = {{.prompt = "query"}, {.prompt = "w9 "}, {.purpose = QN_FOR_QUERIES}, {.prompt = "w10 "},
                                            {.purpose = QN_FOR_DOCUMENTS}, {.prompt = ""}};
    float v[6][5];
    for (size_t i = 0; i < 6; i++) {
        assert_ok(qn_model_open(folder, &ways[i], &m));
        assert_ok(qn_embed(m, texts, 1, NULL, v[i]));
        if (i == 5) {
            qn_text given = {"w9 w5", 5, NULL, 0}, with = {"w5", 2, NULL, 0};
            assert_ok(qn_embed(m, &given, 1, NULL, v[5]));
            qn_model_close(m);
            assert_ok(qn_model_open(folder, &ways[0], &m));
            assert_ok(qn_embed(m, &with, 1, NULL, v[0]));
            assert_memory_equal(v[0], v[5], sizeof v[0]);
        }
        qn_model_close(m);
        if (i == 1 || i == 2) assert_memory_equal(v[i], v[0], sizeof v[0]);
    }
    assert_memory_equal(v[3], v[4], sizeof v[3]);
    assert_memory_not_equal(v[1], v[3], sizeof v[3]);
    config.prompts = NULL;
    config.prompt_count = 0;
    qn_sbert_free(&config);
}

// ---- Labels
// ----------------------------------------------------------------------------------------------------------

// Protects: probabilities are those of the logits, for one label, several labels and numbers.
static void test_probabilities(void **state) {
    (void)state;
    static const char *const names[] = {"classify-relu-w32", "multilabel-silu-w64", "regress-gelu-w20"};
    static const qn_task_kind tasks[] = {QN_TASK_CLASSIFY, QN_TASK_MULTILABEL, QN_TASK_REGRESS};
    qn_text texts[TEXTS];
    make_texts(texts);
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        float logits[TEXTS * 6], scores[TEXTS * 6];
        open_model(&f, names[i], 1, 0);
        size_t labels = qn_model_labels(f.model);
        assert_int_equal(qn_model_task(f.model), tasks[i]);
        assert_string_equal(qn_model_label(f.model, 0), "topic 0");
        assert_null(qn_model_label(f.model, labels));
        assert_ok(qn_classify(f.model, texts, TEXTS, true, logits));
        assert_ok(qn_classify(f.model, texts, TEXTS, false, scores));
        for (size_t t = 0; t < TEXTS; t++) {
            double total = 0;
            for (size_t k = 0; k < labels; k++) total += exp((double)logits[t * labels + k]);
            for (size_t k = 0; k < labels; k++) {
                double x = (double)logits[t * labels + k];
                double expected = i == 0 ? exp(x) / total : i == 1 ? 1 / (1 + exp(-x)) : x;
                assert_true(fabs(expected - (double)scores[t * labels + k]) < 1e-6);
            }
        }
        qn_model_close(f.model);
    }
}

static void write_data(const char *path, qn_model *model, const char *extra) {
    qn_text texts[TEXTS];
    float scores[TEXTS * 6];
    make_texts(texts);
    size_t labels = qn_model_labels(model);
    assert_ok(qn_classify(model, texts, TEXTS, false, scores));
    qn_buffer out = {0};
    qn_buffer_text(&out, "label\ttext\n");
    for (size_t i = 0; i < TEXTS; i++) {
        if (texts[i].size == 0 || texts[i].pair) continue;
        size_t best = 0;
        for (size_t k = 1; k < labels; k++)
            if (scores[i * labels + k] > scores[i * labels + best]) best = k;
        if (qn_model_task(model) == QN_TASK_REGRESS)
            qn_buffer_printf(&out, "%.9g\t%s\n", (double)scores[i], texts[i].text);
        else
            qn_buffer_printf(&out, "topic %zu\t%s\n", best, texts[i].text);
    }
    qn_buffer_text(&out, extra);
    test_write(path, out.data, out.size);
    qn_buffer_free(&out);
}

// Protects: metrics are those of the model's own predictions, and an unknown label names its place.
static void test_evaluate(void **state) {
    (void)state;
    fixture f;
    char *json, path[512];
    open_model(&f, "classify-relu-w32", 1, 0);
    snprintf(path, sizeof path, "%s", test_path(f.folder, "data.tsv"));
    write_data(path, f.model, "");
    assert_ok(qn_evaluate(f.model, path, NULL, &json));
    assert_non_null(strstr(json, "\"accuracy\": 1"));
    free(json);
    write_data(path, f.model, "topic 9\tw5\n");
    assert_fails(qn_evaluate(f.model, path, NULL, &json), QN_ERROR_FORMAT, "data.tsv:");
    assert_non_null(strstr(qn_last_error(), "topic 9"));
    assert_null(json);
    test_write_text(path, "");
    assert_int_not_equal(qn_evaluate(f.model, path, NULL, &json), QN_OK);
    assert_fails(qn_evaluate(f.model, "/nowhere.tsv", NULL, &json), QN_ERROR_IO, "/nowhere.tsv");
    assert_fails(qn_evaluate(f.model, path, &(qn_data_options){.format = "xls"}, &json), QN_ERROR_ARGUMENT, "xls");
    qn_model_close(f.model);
    open_model(&f, "regress-gelu-w20", 1, 0);
    write_data(path, f.model, "");
    assert_ok(qn_evaluate(f.model, path, NULL, &json));
    json_t *metrics;
    double mae = 1;
    assert_ok(qn_json_parse(json, strlen(json), "metrics", &metrics));
    assert_ok(qn_json_real(metrics, "metrics", "mae", true, 0, 1, &mae));
    assert_true(mae < 1e-6);
    json_decref(metrics);
    free(json);
    qn_model_close(f.model);
    open_model(&f, "mlm-gelu-w8", 1, 0);
    assert_fails(qn_evaluate(f.model, path, NULL, &json), QN_ERROR_UNSUPPORTED, "no classification head");
    qn_model_close(f.model);
}

// ---- Masks
// -----------------------------------------------------------------------------------------------------------

typedef struct {
    size_t masks, positions[4];
    double total, last;
} masks;

static qn_status count_masks(void *user, size_t mask, size_t position, const qn_candidate *candidates, size_t count) {
    masks *m = user;
    assert_int_equal(mask, m->masks);
    m->positions[m->masks++] = position;
    m->total = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) assert_true(candidates[i].probability <= candidates[i - 1].probability);
        assert_non_null(candidates[i].token);
        m->total += (double)candidates[i].probability;
    }
    return QN_OK;
}

static qn_status refuse_mask(void *user, size_t mask, size_t position, const qn_candidate *candidates, size_t count) {
    (void)user, (void)mask, (void)position, (void)candidates, (void)count;
    return QN_INTERRUPTED;
}

// Protects: every mask is filled in order, all candidates together are certain, and errors are told.
static void test_fill_mask(void **state) {
    (void)state;
    fixture f;
    masks m = {0};
    const char *text = "w5 [MASK] w7 [MASK]";
    open_model(&f, "mlm-gelu-w8", 1, 0);
    assert_ok(qn_fill_mask(f.model, &(qn_text){.text = text, .size = strlen(text)}, 1000, count_masks, &m));
    assert_int_equal(m.masks, 2);
    assert_int_equal(m.positions[0], 2);
    assert_int_equal(m.positions[1], 4);
    assert_true(fabs(m.total - 1) < 1e-5);
    assert_int_equal(qn_fill_mask(f.model, &(qn_text){.text = text, .size = strlen(text)}, 3, refuse_mask, NULL),
                     QN_INTERRUPTED);
    assert_fails(qn_fill_mask(f.model, &(qn_text){.text = "w5", .size = 2}, 3, count_masks, &m), QN_ERROR_ARGUMENT,
                 "[MASK]");
    assert_fails(qn_fill_mask(f.model, &(qn_text){.text = text, .size = strlen(text)}, 0, count_masks, &m),
                 QN_ERROR_ARGUMENT, "1 or more");
    qn_model_close(f.model);
    open_model(&f, "classify-relu-w32", 1, 0);
    assert_fails(qn_fill_mask(f.model, &(qn_text){.text = text, .size = strlen(text)}, 3, count_masks, &m),
                 QN_ERROR_UNSUPPORTED, "masked-language");
    qn_model_close(f.model);
}

// ---- Opening
// ---------------------------------------------------------------------------------------------------------

// Protects: what cannot be opened as asked says why, and a description is JSON.
static void test_open(void **state) {
    (void)state;
    char folder[256], *json;
    qn_model *model;
    make_folder(folder, sizeof folder, "classify-relu-w32");
    assert_fails(qn_model_open("/nowhere", NULL, &model), QN_ERROR_IO, "/nowhere");
    assert_fails(qn_model_open(folder, &(qn_model_options){.dtype = "f8"}, &model), QN_ERROR_ARGUMENT, "expected one of f32, float32, bf16, bfloat16, int8, q8, q4");
    assert_fails(qn_model_open(folder, &(qn_model_options){.threads = -1}, &model), QN_ERROR_ARGUMENT, "threads");
    assert_fails(qn_model_open(folder, &(qn_model_options){.max_length = 81}, &model), QN_ERROR_ARGUMENT, "at most 80");
    assert_fails(qn_model_open(folder, &(qn_model_options){.max_length = 1}, &model), QN_ERROR_ARGUMENT, folder);
    assert_ok(qn_model_open(folder, NULL, &model));
    assert_int_equal(qn_model_max_length(model), 80);
    assert_int_equal(qn_model_width(model), 64);
    assert_int_equal(qn_tokenizer_size(qn_model_tokenizer(model)), 101);
    assert_ok(qn_model_describe(model, &json));
    json_t *parsed;
    assert_ok(qn_json_parse(json, strlen(json), "description", &parsed));
    assert_int_equal(json_array_size(json_object_get(parsed, "labels")), 5);
    assert_string_equal(json_string_value(json_object_get(parsed, "task")), "classify");
    json_decref(parsed);
    free(json);
    qn_model_close(model);
    assert_int_equal(remove(test_path(folder, "vocab.txt")), 0);
    assert_int_not_equal(qn_model_open(folder, NULL, &model), QN_OK);
    write_vocabulary(folder);
    test_write_text(test_path(folder, "config.json"), "{\"model_type\": \"bert\"}");
    assert_fails(qn_model_open(folder, NULL, &model), QN_ERROR_FORMAT, "vocab_size");
    qn_model_close(NULL);
}

// Protects: a folder that lacks only the vocabulary's last words computes, and an id beyond the table is an error.
static void test_vocabulary_too_large(void **state) {
    (void)state;
    char folder[256];
    qn_model *model;
    float vector[64];
    make_folder(folder, sizeof folder, "classify-relu-w32");
    size_t size = 0;
    char *words = test_read(test_path(folder, "vocab.txt"), &size);
    qn_buffer more = {0};
    qn_buffer_append(&more, words, size);
    qn_buffer_text(&more, "beyond\n");
    test_write(test_path(folder, "vocab.txt"), more.data, more.size);
    qn_buffer_free(&more);
    free(words);
    assert_ok(qn_model_open(folder, NULL, &model));
    assert_ok(qn_embed(model, &(qn_text){.text = "w5", .size = 2}, 1, NULL, vector));
    assert_fails(qn_embed(model, &(qn_text){.text = "beyond", .size = 6}, 1, NULL, vector), QN_ERROR_ARGUMENT,
                 "id 101");
    assert_ok(qn_embed(model, &(qn_text){.text = "w5", .size = 2}, 1, NULL, vector));
    qn_model_close(model);
}

// ---- The golden file
// -------------------------------------------------------------------------------------------------

// Protects: a model agrees with its own golden file, and differences and damage are found.
static void test_verify(void **state) {
    (void)state;
    fixture f;
    char *json, path[512];
    qn_text texts[TEXTS];
    make_texts(texts);
    open_model(&f, "classify-relu-w32", 1, 0);
    snprintf(path, sizeof path, "%s", test_path(f.folder, "golden.safetensors"));
    assert_fails(qn_verify(f.model, 0, &json), QN_ERROR_IO, "golden.safetensors");
    assert_null(json);
    assert_fails(qn_golden_write(f.model, texts, 0), QN_ERROR_ARGUMENT, "no texts");
    assert_ok(qn_golden_write(f.model, texts, 1)); // an empty text alone
    assert_ok(qn_verify(f.model, 0, &json));
    free(json);
    assert_ok(qn_golden_write(f.model, texts, TEXTS));
    assert_ok(qn_verify(f.model, 0, &json));
    assert_non_null(strstr(json, "\"passed\": true"));
    free(json);
    // The last bytes are vectors' or logits': one exponent changed is a difference.
    size_t size = 0;
    char *data = test_read(path, &size);
    qn_safetensors *file;
    assert_ok(qn_safetensors_open_memory(data, size, "copy", &file));
    size_t at = (size_t)((const char *)qn_safetensors_find(file, "logits")->data - data);
    size_t offsets = (size_t)((const char *)qn_safetensors_find(file, "offsets")->data - data);
    qn_safetensors_close(file);
    data[at + 3] ^= 0x01;
    test_write(path, data, size);
    assert_fails(qn_verify(f.model, 0, &json), QN_ERROR_FORMAT, "differ by");
    assert_non_null(strstr(json, "\"passed\": false"));
    free(json);
    data[at + 3] ^= 0x01;
    data[offsets + 8 + 7] = 0x7F; // text 0 ends far outside
    test_write(path, data, size);
    assert_fails(qn_verify(f.model, 0, &json), QN_ERROR_FORMAT, "ascending offsets");
    free(data);
    qn_model_close(f.model);
}

// ---- Search
// ----------------------------------------------------------------------------------------------------------

// Protects: the best come first, ties in their order; cosine ignores length; odd widths and absurd counts work.
static void test_search(void **state) {
    (void)state;
    enum { N = 3000, W = 19 };
    static float vectors[N][W];
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < W; k++) vectors[i][k] = (float)((i * 37 + k * 11) % 101) - 50;
    memcpy(vectors[77], vectors[5], sizeof vectors[5]);
    for (size_t k = 0; k < W; k++) vectors[90][k] = 0.5f * vectors[5][k];
    for (size_t k = 0; k < W; k++) vectors[91][k] = 0;
    vectors[92][3] = NAN;
    const char *path = test_path(test_folder(), "vectors.npy");
    qn_npy_writer *writer;
    assert_ok(qn_npy_writer_open(path, W, &writer));
    assert_ok(qn_npy_writer_rows(writer, vectors[0], N));
    assert_ok(qn_npy_writer_commit(writer));
    qn_vectors *v;
    assert_ok(qn_vectors_open(path, &v));
    assert_int_equal(qn_vectors_count(v), N);
    assert_int_equal(qn_vectors_width(v), W);
    static qn_match matches[N + 5];
    size_t found;
    assert_ok(qn_vectors_search(v, vectors[5], false, N + 5, matches, &found));
    assert_int_equal(found, N);
    for (size_t i = 1; i < N; i++) assert_true(matches[i].score <= matches[i - 1].score);
    // Rows repeat after 101, so that the first one with a cosine of 1 is row 5 itself.
    assert_int_equal(matches[0].index, 5);
    assert_true(fabsf(matches[0].score - 1) < 1e-6f);
    assert_int_equal(matches[N - 1].index, 92); // a NaN is never near
    assert_ok(qn_vectors_search(v, vectors[5], true, 2, matches, &found));
    assert_int_equal(found, 2);
    assert_ok(qn_vectors_search(v, vectors[5], false, 0, matches, &found));
    assert_int_equal(found, 0);
    qn_vectors_close(v);
    test_write_text(path, "not an array");
    assert_fails(qn_vectors_open(path, &v), QN_ERROR_FORMAT, "vectors.npy");
}

// Protects: sparse vectors by their columns give the matches of whole ones, with the bits of their scores; ties, rows
// and columns without elements, and more matches than rows with any among them.
static void test_search_sparse(void **state) {
    (void)state;
    enum { N = 700, W = 61 };
    static float vectors[N][W];
    static qn_match dense[N + 5], sparse[N + 5];
    char npy[300], path[300];
    snprintf(npy, sizeof npy, "%s", test_path(test_folder(), "whole.npy"));
    snprintf(path, sizeof path, "%s", test_path(test_folder(), "sparse.safetensors"));
    qn_npy_writer *whole;
    qn_sparse_writer *writer;
    assert_ok(qn_npy_writer_open(npy, W, &whole));
    assert_ok(qn_sparse_writer_open(path, W, &writer));
    for (size_t i = 0; i < N; i++) {
        int32_t column[W];
        float value[W];
        size_t count = 0;
        for (size_t k = 0; k < W && i % 5; k++) {
            size_t draw = (i * 7919 + k * 104729) % 1009; // some 15 of a row's columns, never column 7
            vectors[i][k] = draw < 250 && k != 7 ? 0.01f * (float)(1 + draw % 17) : 0;
            if (vectors[i][k] != 0) column[count] = (int32_t)k, value[count++] = vectors[i][k];
        }
        assert_ok(qn_sparse_writer_row(writer, &(qn_sparse_vector){count, column, value}));
    }
    assert_ok(qn_npy_writer_rows(whole, vectors[0], N));
    assert_ok(qn_npy_writer_commit(whole));
    assert_ok(qn_sparse_writer_commit(writer));
    qn_vectors *a, *b;
    assert_ok(qn_vectors_open(npy, &a));
    assert_ok(qn_vectors_open_sparse(path, &b));
    assert_int_equal(qn_vectors_count(b), N);
    assert_int_equal(qn_vectors_width(b), W);
    size_t found[2];
    for (size_t q = 0; q < 20; q++) {
        float query[W] = {0}, value[W];
        int32_t column[W];
        size_t count = 0, top = q % 2 ? 10 : N + 5;
        for (size_t k = q; k < W && q != 3; k += 1 + q % 7) { // also a query without elements
            query[k] = value[count] = 0.3f + 0.1f * (float)((k + q) % 5);
            column[count++] = (int32_t)k;
        }
        assert_ok(qn_vectors_search(a, query, true, top, dense, &found[0]));
        assert_ok(qn_vectors_search_sparse(b, &(qn_sparse_vector){count, column, value}, top, sparse, &found[1]));
        assert_int_equal(found[0], found[1]);
        for (size_t i = 0; i < found[0]; i++) {
            assert_int_equal(dense[i].index, sparse[i].index);
            assert_memory_equal(&dense[i].score, &sparse[i].score, sizeof(float));
        }
    }
    qn_sparse_vector outside = {1, (const int32_t[]){W}, (const float[]){1}};
    assert_fails(qn_vectors_search_sparse(b, &outside, 1, sparse, &found[1]), QN_ERROR_ARGUMENT, "below 61");
    assert_fails(qn_vectors_search_sparse(a, &outside, 1, sparse, &found[1]), QN_ERROR_ARGUMENT, "dense vectors");
    assert_fails(qn_vectors_search(b, vectors[0], true, 1, dense, &found[0]), QN_ERROR_ARGUMENT, "sparse vectors");
    qn_vectors_close(a);
    qn_vectors_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_allocates_nothing),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_sentence_transformers),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_probabilities),
        cmocka_unit_test(test_evaluate),
        cmocka_unit_test(test_fill_mask),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_vocabulary_too_large),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_search_sparse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
