// A run that is killed (SIGKILL) at 20 random moments and goes on from its last checkpoint ends in the same bytes as
// one that was left alone; so does a run on another number of threads; and a stopped run says so and leaves a
// checkpoint.
#include "base/file.h"
#include "quern.h"
#include "support.h"
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[256];
static const char *files[1];

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 400, \"hidden_size\": 32, \"num_hidden_layers\": 2, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 64}";

static qn_status next_line(void *user, const char **text, size_t *size) {
    char **at = user, *end = strchr(*at, '\n');
    *text = end ? *at : NULL;
    if (!end) return QN_OK;
    *size = (size_t)(end - *at);
    *at = end + 1;
    return QN_OK;
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", test_folder());
    test_write_text(test_path(folder, "config.json"), config);
    // 300 lines of the real training data with 3 topics.
    size_t size, lines = 0;
    char *all = test_read(QN_SOURCE_DIR "/data/wordnet/train.tsv", &size), *labelled = malloc(size),
         *plain = malloc(size);
    char *l = labelled + sprintf(labelled, "label\ttext\n"), *p = plain;
    for (char *line = strchr(all, '\n') + 1; lines < 300 && line && *line; line = strchr(line, '\n') + 1) {
        if (((uintptr_t)(line - all) % 7)) continue;
        char *tab = strchr(line, '\t'), *text = strchr(tab + 1, '\t') + 1, *end = strchr(text, '\n');
        l += sprintf(l, "t%zu\t%.*s\n", lines % 3, (int)(end - text), text);
        p += sprintf(p, "%.*s\n", (int)(end - text), text);
        lines++;
    }
    assert_int_equal(lines, 300);
    test_write_text(test_path(folder, "train.tsv"), labelled);
    test_write_text(test_path(folder, "text.txt"), plain);
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    qn_tokenizer *tokenizer;
    char *at = plain;
    o.vocab_size = 400;
    assert_ok(qn_tokenizer_train(&o, next_line, &at, &tokenizer));
    assert_ok(qn_tokenizer_save(tokenizer, test_path(folder, "tokenizer")));
    qn_tokenizer_free(tokenizer);
    free(all);
    free(labelled);
    free(plain);
    return 0;
}

static qn_status train(bool pretraining, const char *output, const char *resume, int threads, bool (*stop)(void *)) {
    char model[300], tokenizer[300], data[300], out[300];
    snprintf(model, sizeof model, "%s/config.json", folder);
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer", folder);
    snprintf(data, sizeof data, "%s/%s", folder, pretraining ? "text.txt" : "train.tsv");
    snprintf(out, sizeof out, "%s/%s", folder, output);
    qn_training t = qn_training_defaults(pretraining);
    files[0] = data;
    t.model = model;
    t.tokenizer = tokenizer;
    t.output = out;
    t.train = files;
    t.train_count = 1;
    t.validation = data;
    t.resume = resume;
    t.threads = threads;
    t.seed = 7;
    t.batch_size = pretraining ? 0 : 16;
    t.batch_tokens = pretraining ? 300 : 0;
    t.epochs = 3;
    t.save_steps = 4;
    t.eval_steps = 10;
    t.log_steps = 1;
    t.stop = stop;
    return pretraining ? qn_pretrain(&t, NULL) : qn_finetune(&t, NULL);
}

static void assert_same_file(const char *a, const char *b, const char *name) {
    char left[300], right[300];
    size_t m, n;
    snprintf(left, sizeof left, "%s/%s/%s", folder, a, name);
    snprintf(right, sizeof right, "%s/%s/%s", folder, b, name);
    char *x = test_read(left, &m), *y = test_read(right, &n);
    assert_int_equal(m, n);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

// Starts the run in a process of its own and kills it after `milliseconds`. True when it had ended by itself.
static bool run_and_kill(bool pretraining, const char *output, long milliseconds) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(train(pretraining, output, "", 1, NULL) == QN_OK ? 0 : 1);
    struct timespec wait = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) assert_int_equal(WEXITSTATUS(status), 0);
    return WIFEXITED(status);
}

static void killed_run_ends_in_the_same_bytes(bool pretraining) {
    const char *whole = pretraining ? "whole-p" : "whole-f", *killed = pretraining ? "killed-p" : "killed-f";
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_ok(train(pretraining, whole, NULL, 2, NULL));
    clock_gettime(CLOCK_MONOTONIC, &to);
    long duration = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
    srand((unsigned)to.tv_nsec);
    int kills = 0;
    for (int tries = 0; kills < 20 && tries < 60; tries++)
        kills += !run_and_kill(pretraining, killed, 5 + rand() % (duration / 8 + 10));
    assert_ok(train(pretraining, killed, "", 1, NULL));
    print_message("killed %d times, a whole run takes %ld ms\n", kills, duration);
    assert_same_file(whole, killed, "model.safetensors");
    assert_same_file(whole, killed, "config.json");
    assert_same_file(whole, killed, "tokenizer.json");
}

static void test_pretraining(void **state) {
    (void)state;
    killed_run_ends_in_the_same_bytes(true);
}

static void test_finetuning(void **state) {
    (void)state;
    killed_run_ends_in_the_same_bytes(false);
}

static int polls;
static bool stop_after_some(void *user) {
    (void)user;
    return ++polls == 9;
}

static void test_stop(void **state) {
    (void)state;
    assert_fails(train(false, "stopped", NULL, 1, stop_after_some), QN_INTERRUPTED, "--resume");
    assert_true(qn_is_file(test_path(folder, "stopped/checkpoint-9/model.safetensors")));
    assert_fails(train(false, "stopped", NULL, 1, NULL), QN_ERROR_ARGUMENT, "holds another run");
    assert_ok(train(false, "stopped", "", 2, NULL));
    assert_same_file("whole-f", "stopped", "model.safetensors");
}

// Weights that are not numbers: every step is skipped, and the run stops with a message instead of writing a spoilt
// model.
static void test_diverged(void **state) {
    (void)state;
    size_t size;
    char path[300];
    snprintf(path, sizeof path, "%s/whole-f/model.safetensors", folder);
    char *bytes = test_read(path, &size);
    memset(bytes + size / 2, 0xff, 4096);
    test_write(path, bytes, size);
    free(bytes);
    char model[300], data[300], out[300];
    snprintf(model, sizeof model, "%s/whole-f", folder);
    snprintf(data, sizeof data, "%s/train.tsv", folder);
    snprintf(out, sizeof out, "%s/diverged", folder);
    qn_training t = qn_training_defaults(false);
    files[0] = data;
    t.model = model;
    t.output = out;
    t.train = files;
    t.train_count = 1;
    t.threads = 1;
    t.batch_size = 4;
    assert_fails(qn_finetune(&t, NULL), QN_ERROR_DIVERGED,
                 "10 steps in a row had a loss or gradient that is not a number");
    assert_false(qn_is_file(test_path(folder, "diverged/model.safetensors")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pretraining), cmocka_unit_test(test_finetuning),
                                       cmocka_unit_test(test_stop), cmocka_unit_test(test_diverged)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
