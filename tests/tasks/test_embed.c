// Training of sentence embeddings: the cached loss is the loss, a killed run goes on, evaluators give what they are
// defined to give, and the folder opens as an embedder.
#include "base/file.h"
#include "data/loader.h"
#include "metrics/ranking.h"
#include "support.h"
#include "tasks/embed.h"
#include <math.h>

static char folder[256];

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 60, \"hidden_size\": 16, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 32, \"max_position_embeddings\": 32}";

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "config.json"), config);
    qn_buffer text = {0};
    qn_buffer_text(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 0; i < 50; i++) qn_buffer_printf(&text, "x%d\n", i);
    test_write(test_path(folder, "vocab.txt"), text.data, text.size);
    qn_buffer_clear(&text);
    qn_buffer_text(&text, "anchor\tpositive\tnegative\tscore\n");
    for (int i = 0; i < 40; i++)
        qn_buffer_printf(&text, "x%d\tx%d x%d x3\tx%d x7\t0.%d\n", i, i, i / 2, (i + 20) % 50, i % 10);
    test_write(test_path(folder, "train.tsv"), text.data, text.size);
    qn_buffer_free(&text);
    return 0;
}

typedef struct {
    qn_network *network;
    qn_tokenizer *tokenizer;
    qn_job job;
    qn_training training;
    qn_dataset data;
    qn_context *context;
} fixture;

static void open_fixture(fixture *f, const char *loss, const char *columns, const char *dims, float dropout) {
    static char model[300], train[300];
    static const char *files[1] = {train};
    *f = (fixture){.training = qn_training_defaults(false)};
    snprintf(model, sizeof model, "%s", test_path(folder, "config.json"));
    snprintf(train, sizeof train, "%s", test_path(folder, "train.tsv"));
    f->training.model = model;
    f->training.embed.loss = loss;
    f->training.embed.matryoshka_dims = dims;
    f->training.embed.matryoshka_weights = dims ? "1,0.5" : NULL;
    f->training.embed.symmetric = dims != NULL;
    f->training.data.text_columns = columns;
    if (!columns) { // everything that can stand behind the encoder
        f->training.embed.pooling = "weightedmean,lasttoken,cls";
        f->training.embed.dense = 10;
        f->training.embed.normalize = 1;
        f->training.data.query_prompt = "x4 x5";
    }
    assert_ok(qn_tokenizer_load(test_path(folder, "vocab.txt"), &f->tokenizer));
    qn_model_config c;
    assert_ok(qn_model_config_read(model, &c));
    c.encoder.hidden_dropout = c.encoder.attention_dropout = dropout;
    c.encoder.initializer_range = 0.4;
    f->job = (qn_job){.task = &qn_task_embed,
                      .training = &f->training,
                      .data = &f->training.data,
                      .tokenizer = f->tokenizer,
                      .encode = qn_encode_defaults()};
    f->job.sentence.include_prompt = false;
    assert_ok(qn_task_embed.read(&f->job, files, 1, true, &f->data));
    assert_ok(qn_task_embed.configure(&f->job, &c));
    assert_ok(qn_network_create(&c, &(qn_network_options){.trainable = true, .seed = 3, .sentence = &f->job.sentence},
                                &f->network));
    assert_ok(qn_context_create(2, NULL, &f->context));
}

static void close_fixture(fixture *f) {
    qn_context_destroy(f->context);
    qn_network_free(f->network);
    qn_dataset_free(&f->data);
    qn_job_free(&f->job);
    qn_tokenizer_free(f->tokenizer);
}

// Loss of the first `count` examples, gradients added to the network's.
static double loss_of(fixture *f, size_t count, size_t mini_batch) {
    qn_batch batch = {0};
    uint32_t examples[40];
    for (uint32_t i = 0; i < count; i++) examples[i] = i;
    assert_ok(qn_batch_fill(&batch, &f->data, examples, count));
    ((qn_embed_job *)f->job.own)->mini_batch = mini_batch;
    qn_context *c = f->context;
    qn_context_reset(c);
    qn_context_dropout(c, true, 9);
    qn_recording_begin(c);
    memset(f->network->parameters.grads, 0, f->network->parameters.size * sizeof(float));
    double loss;
    assert_ok(qn_task_embed.loss(&f->job, f->network, c, &batch, &loss));
    assert_ok(qn_backward(c));
    qn_batch_free(&batch);
    return loss;
}

static const struct {
    const char *loss, *columns, *dims;
} losses[] = {{"multiple-negatives", NULL, NULL},   {"multiple-negatives", "anchor,positive", "16,4"},
              {"simcse", "positive", NULL},         {"cosent", "anchor,positive", NULL},
              {"cosine", "anchor,positive", "8,3"}, {"triplet", NULL, NULL},
              {"margin-mse", NULL, NULL},           {"contrastive", "anchor,positive", NULL}};
enum { LOSSES = sizeof losses / sizeof *losses };

// Cut into any chunks, the loss and the gradients of all parameters are those of the whole batch.
static void cached_is_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < LOSSES; i++) {
        fixture f;
        open_fixture(&f, losses[i].loss, losses[i].columns, losses[i].dims, 0);
        size_t size = f.network->parameters.size;
        float *whole = malloc(size * sizeof *whole);
        double loss = loss_of(&f, 12, 0), top = 0;
        memcpy(whole, f.network->parameters.grads, size * sizeof *whole);
        for (size_t k = 0; k < size; k++) top = fmax(top, fabs(whole[k]));
        assert_true(top > 1e-4 || strcmp(losses[i].loss, "simcse") == 0);
        for (size_t step = 1; step < 12; step += 5) {
            assert_true(fabs(loss_of(&f, 12, step) - loss) <= 1e-6 * (1 + loss));
            for (size_t k = 0; k < size; k++)
                assert_true(fabs(f.network->parameters.grads[k] - whole[k]) <= 2e-6 * (1 + top));
        }
        free(whole);
        close_fixture(&f);
    }
}

// With dropout: gradients along a direction are differences of the loss, cached or not.
static void gradients(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * LOSSES; i++) {
        fixture f;
        size_t step = i % 2 ? 5 : 0;
        open_fixture(&f, losses[i / 2].loss, losses[i / 2].columns, losses[i / 2].dims, 0.2f);
        qn_parameters *p = &f.network->parameters;
        float *direction = malloc(p->size * sizeof *direction), *kept = malloc(p->size * sizeof *kept);
        qn_random_normal(4, 1, 1, direction, p->size);
        memcpy(kept, p->values, p->size * sizeof *kept);
        loss_of(&f, 7, step);
        double expected = 0, j[4];
        for (size_t k = 0; k < p->size; k++) expected += (double)direction[k] * p->grads[k];
        static const double steps[4] = {-2e-3, -1e-3, 1e-3, 2e-3};
        for (int k = 0; k < 4; k++) {
            for (size_t e = 0; e < p->size; e++) p->values[e] = (float)(kept[e] + steps[k] * direction[e]);
            j[k] = loss_of(&f, 7, step);
        }
        double difference = (8 * (j[2] - j[1]) - (j[3] - j[0])) / 12e-3;
        if (!(fabs(difference - expected) <= 0.02 * (0.1 + fabs(expected))))
            fail_msg("%s, mini-batch %zu: difference %g, gradient %g", losses[i / 2].loss, step, difference, expected);
        free(direction);
        free(kept);
        close_fixture(&f);
    }
}

// --- Whole runs

static qn_status train(const char *output, const char *loss, size_t mini_batch, const char *resume, int threads,
                       bool (*stop)(void *)) {
    static char model[300], words[300], data[300], out[300];
    static const char *files[1] = {data};
    snprintf(model, sizeof model, "%s", test_path(folder, "config.json"));
    snprintf(words, sizeof words, "%s", test_path(folder, "vocab.txt"));
    snprintf(data, sizeof data, "%s", test_path(folder, "train.tsv"));
    snprintf(out, sizeof out, "%s", test_path(folder, output));
    qn_training t = qn_training_defaults(false);
    t.task = "embed";
    t.model = model;
    t.tokenizer = words;
    t.output = out;
    t.train = files;
    t.train_count = 1;
    t.validation = data;
    t.embed.loss = loss;
    if (strcmp(loss, "multiple-negatives") == 0) t.data.text_columns = "anchor,positive";
    t.embed.mini_batch = mini_batch;
    t.embed.normalize = 1;
    t.embed.pooling = "max,cls";
    t.embed.dense = 12;
    t.data.query_prompt = "x1 ";
    t.learning_rate = 5e-3;
    t.batch_size = 8;
    t.epochs = 30;
    t.save_steps = 40;
    t.eval_steps = 50;
    t.resume = resume;
    t.threads = threads;
    t.stop = stop;
    return qn_finetune(&t, NULL);
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 70;
}

static void resumed(void **state) { // the same bytes, on another number of threads
    (void)state;
    assert_ok(train("whole", "multiple-negatives", 5, NULL, 2, NULL));
    assert_fails(train("stopped", "multiple-negatives", 5, NULL, 1, stop_after_some), QN_INTERRUPTED, "--resume");
    assert_ok(train("stopped", "multiple-negatives", 5, "", 1, NULL));
    size_t m, n;
    char *x = test_read(test_path(folder, "whole/model.safetensors"), &m);
    char *y = test_read(test_path(folder, "stopped/model.safetensors"), &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
    qn_sbert s;
    assert_ok(qn_sbert_read(test_path(folder, "stopped"), &s));
    assert_true(s.present && s.poolings[0] == QN_POOL_MAX && s.poolings[1] == QN_POOL_CLS && s.pooling_count == 2);
    assert_true(qn_sbert_normalizes(&s) && s.width == 16 && s.max_seq_length == 32 && qn_sbert_width(&s, 16, 60) == 12);
    qn_sbert_free(&s);
}

static double metric(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *at = strstr(json, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

static void measured(void **state) { // by each evaluator; training made positives near
    (void)state;
    qn_model *m;
    char *json;
    assert_ok(qn_model_open(test_path(folder, "whole"), NULL, &m));
    char data[300];
    snprintf(data, sizeof data, "%s", test_path(folder, "train.tsv"));
    assert_ok(qn_evaluate_task(m, "embed", data, NULL, &json));
    assert_non_null(strstr(json, "{\"task\": \"triplets\", \"examples\": 40"));
    assert_true(metric(json, "accuracy") > 0.8);
    free(json);
    assert_ok(qn_evaluate_task(m, "retrieval", data, NULL, &json));
    assert_non_null(strstr(json, "{\"task\": \"retrieval\", \"examples\": 40, \"documents\": 80"));
    assert_true(metric(json, "ndcg_at_10") > 0.4);
    assert_true(metric(json, "recall_at_10") >= metric(json, "recall_at_1"));
    free(json);
    assert_ok(qn_evaluate_task(m, "sts", data, &(qn_data_options){.text_columns = "anchor,positive"}, &json));
    assert_true(fabs(metric(json, "spearman")) <= 1);
    free(json);
    assert_fails(qn_evaluate_task(m, "sts", data, NULL, &json), QN_ERROR_FORMAT, "3 texts per example (expected two)");
    assert_fails(qn_evaluate_task(m, NULL, data, NULL, &json), QN_ERROR_UNSUPPORTED, "");
    qn_model_close(m);
}

static void mined(void **state) { // near, no answers, within the ranks and the margin; in both formats
    (void)state;
    qn_model *m;
    char *json, data[300], out[300];
    assert_ok(qn_model_open(test_path(folder, "whole"), NULL, &m));
    snprintf(data, sizeof data, "%s", test_path(folder, "train.tsv"));
    qn_mining o = qn_mining_defaults();
    qn_data_options columns = {.text_columns = "anchor,positive"};
    o.negatives = 2;
    o.from = 1;
    o.to = 5;
    o.margin = 0.05;
    snprintf(out, sizeof out, "%s", test_path(folder, "hard.tsv"));
    assert_ok(qn_mine(m, data, &columns, &o, out, &json));
    assert_non_null(strstr(json, "{\"rows\": "));
    assert_true(metric(json, "rows") + metric(json, "left_out") == 40 && metric(json, "rows") > 10);
    free(json);
    char *text = test_read(out, NULL);
    assert_memory_equal(text, "anchor\tpositive\tnegative_1\tnegative_2\n", 38);
    free(text);
    // What was mined is triplets on which the model is right, since the margin is above 0.
    assert_ok(qn_evaluate_task(m, "triplets", out, NULL, &json));
    assert_true(metric(json, "accuracy") == 1);
    free(json);
    snprintf(out, sizeof out, "%s", test_path(folder, "hard.jsonl"));
    assert_ok(qn_mine(m, data, &columns, &o, out, &json));
    free(json);
    text = test_read(out, NULL);
    assert_memory_equal(text, "{\"anchor\": \"x", 13);
    assert_non_null(strstr(text, "\"negatives\": [\"x"));
    free(text);
    o.to = 2;
    assert_fails(qn_mine(m, data, &columns, &o, out, &json), QN_ERROR_ARGUMENT, "ranks 1 to 2 for 2 negatives");
    qn_model_close(m);
}

// A run of the embedding task that begins from `model` with options of its own; what it wrote is opened.
static qn_model *trained(const char *output, const char *model, void (*choose)(qn_training *t)) {
    static char from[300], words[300], data[300], out[300];
    static const char *files[1] = {data};
    snprintf(from, sizeof from, "%s", test_path(folder, model));
    snprintf(words, sizeof words, "%s", test_path(folder, "vocab.txt"));
    snprintf(data, sizeof data, "%s", test_path(folder, "train.tsv"));
    snprintf(out, sizeof out, "%s", test_path(folder, output));
    qn_training t = qn_training_defaults(false);
    t.task = "embed";
    t.model = from;
    t.tokenizer = words;
    t.output = out;
    t.train = files;
    t.train_count = 1;
    t.data.text_columns = "anchor,positive";
    t.learning_rate = 5e-3;
    t.batch_size = 10;
    t.epochs = 40;
    t.threads = 2;
    choose(&t);
    assert_ok(qn_finetune(&t, NULL));
    qn_model *m;
    assert_ok(qn_model_open(out, &(qn_model_options){.threads = 1}, &m));
    return m;
}

static void choose_sparse(qn_training *t) {
    t->embed.sparse = true;
    t->embed.loss = "multiple-negatives";
    t->embed.query_flops = t->embed.document_flops = 1e-3;
    t->epochs = 80;
}

static void sparse(void **state) { // retrieval by the weights of words, most of which are zero
    (void)state;
    qn_model *m = trained("sparse", "config.json", choose_sparse);
    assert_true(qn_model_sparse(m));
    assert_int_equal(qn_model_width(m), 60);
    char *json, data[300];
    snprintf(data, sizeof data, "%s", test_path(folder, "train.tsv"));
    assert_ok(qn_evaluate_task(m, "retrieval", data, &(qn_data_options){.text_columns = "anchor,positive"}, &json));
    assert_true(metric(json, "ndcg_at_10") > 0.5);
    assert_true(metric(json, "document_words") < 40);
    free(json);
    qn_model_close(m);
    qn_sbert s;
    assert_ok(qn_sbert_read(test_path(folder, "sparse"), &s));
    assert_true(s.sparse && s.width == 60 && s.similarity == QN_SBERT_DOT);
    qn_sbert_free(&s);
}

static char teacher[300];
static void choose_teacher(qn_training *t) {
    t->embed.teacher = teacher;
    t->embed.dense = 12;
    t->embed.dense_activation = "linear";
    t->embed.normalize = 1;
    t->epochs = 60;
}

static void choose_scores(qn_training *t) {
    t->embed.teacher = teacher;
    t->embed.loss = "margin-mse";
    t->embed.similarity = "cosine";
    t->data.text_columns = NULL;
}

static void distilled(void **state) { // the student's vectors come near the teacher's, and its scores are learned
    (void)state;
    snprintf(teacher, sizeof teacher, "%s", test_path(folder, "whole"));
    qn_model *own, *m = trained("distilled", "config.json", choose_teacher);
    assert_ok(qn_model_open(teacher, &(qn_model_options){.threads = 1, .prompt = ""}, &own));
    qn_text texts[2] = {{"x5", 2, NULL, 0}, {"x7 x7 x3", 8, NULL, 0}};
    float a[24], b[24];
    assert_ok(qn_embed(m, texts, 2, NULL, a));
    assert_ok(qn_embed(own, texts, 2, NULL, b));
    for (int i = 0; i < 2; i++) {
        double dot = 0;
        for (int k = 0; k < 12; k++) dot += (double)a[12 * i + k] * (double)b[12 * i + k];
        assert_true(dot > 0.7);
    }
    qn_model_close(own);
    qn_model_close(m);
    qn_model_close(trained("margins", "config.json", choose_scores));
}

static void ranked(void **state) { // worked by hand: three relevant documents, found at ranks 2, 3 and 12
    (void)state;
    bool hit[QN_RANKING_DEPTH] = {[1] = true, [2] = true, [11] = true};
    qn_ranking r = {0};
    qn_ranking_add(&r, hit, 20, 3);
    qn_ranking_add(&r, (const bool[]){true}, 1, 1);
    qn_ranking_finish(&r);
    double gain = 1 / log2(3) + 1 / log2(4), best = 1 + 1 / log2(3) + 1 / log2(4);
    assert_true(fabs(r.ndcg_at_10 - (gain / best + 1) / 2) < 1e-12);
    assert_true(fabs(r.mrr_at_10 - 0.75) < 1e-12);
    assert_true(fabs(r.accuracy_at_1 - 0.5) < 1e-12);
    assert_true(fabs(r.recall_at_5 - (2.0 / 3 + 1) / 2) < 1e-12);
    assert_true(fabs(r.map_at_100 - ((1.0 / 2 + 2.0 / 3 + 3.0 / 12) / 3 + 1) / 2) < 1e-12);
}

static void refused(void **state) { // options that do not fit the data or each other
    (void)state;
    assert_fails(train("refused", "near", 0, NULL, 1, NULL), QN_ERROR_ARGUMENT,
                 "loss is \"near\" (expected one of mul");
    assert_fails(train("refused", "cosine", 0, NULL, 1, NULL), QN_ERROR_FORMAT,
                 "3 texts per example (the loss cosine expects 2)");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cached_is_whole), cmocka_unit_test(gradients),
                                       cmocka_unit_test(resumed),         cmocka_unit_test(measured),
                                       cmocka_unit_test(mined),           cmocka_unit_test(sparse),
                                       cmocka_unit_test(distilled),
                                       cmocka_unit_test(ranked),          cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
