// How time and memory grow, asserted as ratios on models with random weights: a wrong growth is a mistake on any
// machine.
//   bench_growth [THREADS]      prints a line for each assertion; status 1 when one is broken
// What disturbs a measurement only makes it longer, so each time is the best of rounds that take turns, and rounds are
// added while an assertion fails, for 90 seconds: a broken one stays broken.
#include "base/clock.h"
#include "base/file.h"
#include "models/network.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VOCABULARY = 1000, POSITIONS = 512, LEAST_ROUNDS = 3, MOST_SECONDS = 90 };

static char folder[] = "/tmp/quern-growth-XXXXXX";
static int threads, broken;

static void check(bool good, const char *what, const char *figures) {
    printf("%s  %s: %s\n", good ? "ok    " : "BROKEN", what, figures);
    fflush(stdout);
    broken += !good;
}

static void must(qn_status status) {
    if (status == QN_OK) return;
    fprintf(stderr, "bench_growth: %s\n", qn_last_error());
    qn_remove_tree(folder);
    exit(1);
}

static void *need(void *memory) {
    if (!memory) must(qn_fail(QN_ERROR_MEMORY, "out of memory"));
    return memory;
}

// ---- Models and texts ----------------------------------------------------------------------------------------------

// A model with random weights, and a vocabulary of words w5, w6, ... of one token each, in folder/NAME.
static const char *make_model(size_t layers, size_t d) {
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8], config[1024], file[160];
    snprintf(path, sizeof paths[0], "%s/l%zu-d%zu", folder, layers, d);
    if (qn_is_folder(path)) return path;
    must(qn_make_folders(path));
    snprintf(config, sizeof config,
             "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], \"vocab_size\": %d, \"hidden_size\": %zu, "
             "\"num_hidden_layers\": %zu, \"num_attention_heads\": %zu, \"intermediate_size\": %zu, \"hidden_act\": "
             "\"gelu\", "
             "\"max_position_embeddings\": %d, \"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12, \"pad_token_id\": 0}",
             VOCABULARY, d, layers, d / 32, 4 * d, POSITIONS);
    qn_model_config c;
    qn_network *network;
    must(qn_model_config_parse(config, strlen(config), "bench_growth", &c));
    must(qn_network_create(&c, &(qn_network_options){.trainable = true, .seed = 1}, &network));
    must(qn_network_save(network, path));
    qn_network_free(network);
    qn_buffer words = {0};
    qn_buffer_text(&words, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (int i = 5; i < VOCABULARY; i++) qn_buffer_printf(&words, "w%d\n", i);
    must(qn_buffer_status(&words));
    snprintf(file, sizeof file, "%s/vocab.txt", path);
    must(qn_write_file(file, words.data, words.size));
    qn_buffer_free(&words);
    return path;
}

typedef struct {
    const char *name;
    qn_text *texts;
    size_t count, capacity, tokens;
    double squares;
} text_set;

static unsigned random_state = 1;
static unsigned below(unsigned limit) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

// A text of `tokens` tokens, [CLS] and [SEP] included.
static void add_text(text_set *set, size_t tokens) {
    qn_buffer words = {0};
    for (size_t i = 2; i < tokens; i++) qn_buffer_printf(&words, "w%u ", 5 + below(VOCABULARY - 5));
    must(qn_buffer_status(&words));
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? 2 * set->capacity : 64;
        set->texts = need(realloc(set->texts, set->capacity * sizeof *set->texts));
    }
    set->texts[set->count++] = (qn_text){words.data ? words.data : "", words.size, NULL, 0};
    set->tokens += tokens;
    set->squares += (double)tokens * (double)tokens;
}

static void add_texts(text_set *set, size_t tokens, size_t count) {
    while (count--) add_text(set, tokens);
}

// Lengths as in prose: many short ones, a few long ones.
static void add_mixed(text_set *set, size_t tokens) {
    while (set->tokens < tokens) {
        double x = (below(1000) + below(1000) + below(1000)) / 3000.0;
        add_text(set, 6 + (size_t)(240 * x * x * x * x));
    }
}

static void free_texts(text_set *set) {
    for (size_t i = 0; i < set->count; i++)
        if (set->texts[i].size) free((char *)set->texts[i].text);
    free(set->texts);
}

// ---- Times ---------------------------------------------------------------------------------------------------------

typedef struct {
    const char *model, *dtype;
    size_t batch_tokens;
    const text_set *texts;
    double best; // seconds
    qn_model *open;
    float *vectors;
} timing;

static void open_model(timing *t) {
    qn_model_options o = qn_model_defaults();
    o.dtype = t->dtype;
    o.threads = threads;
    o.batch_tokens = t->batch_tokens;
    must(qn_model_open(t->model, &o, &t->open));
    t->vectors = need(malloc(t->texts->count * qn_model_width(t->open) * sizeof *t->vectors));
    t->best = INFINITY;
    must(qn_embed(t->open, t->texts->texts, t->texts->count, NULL, t->vectors)); // packs weights, takes memory
}

static void one_round(timing *timings, size_t count) {
    for (size_t i = 0; i < count; i++) {
        timing *t = &timings[i];
        double start = qn_seconds();
        must(qn_embed(t->open, t->texts->texts, t->texts->count, NULL, t->vectors));
        t->best = fmin(t->best, qn_seconds() - start);
    }
}

// Rounds until `good` holds, or until the limit.
static bool measure(timing *timings, size_t count, bool (*good)(const timing *, size_t, char *), char *figures) {
    bool holds = false;
    for (size_t i = 0; i < count; i++) open_model(&timings[i]);
    double end = qn_seconds() + MOST_SECONDS;
    for (int round = 0; round < LEAST_ROUNDS || (!holds && qn_seconds() < end); round++) {
        one_round(timings, count);
        holds = good(timings, count, figures);
    }
    for (size_t i = 0; i < count; i++) {
        free(timings[i].vectors);
        qn_model_close(timings[i].open);
    }
    return holds;
}

static bool flat(const timing *t, size_t count, char *figures) {
    double low = INFINITY, high = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        double rate = (double)t[i].texts->tokens / t[i].best;
        low = fmin(low, rate);
        high = fmax(high, rate);
        used += (size_t)sprintf(figures + used, "%zu: %.0f, ", t[i].batch_tokens, rate);
    }
    sprintf(figures + used, "slowest / fastest %.3f (at least 0.95)", low / high);
    return low >= 0.95 * high;
}

static void growth_with_batch(const char *dtype) {
    text_set texts = {0};
    add_mixed(&texts, 16384);
    timing t[7];
    char figures[512], what[64];
    qn_model *probe;
    qn_model_options o = qn_model_defaults();
    o.dtype = dtype;
    const char *model = make_model(2, 384);
    if (qn_model_open(model, &o, &probe) != QN_OK) { // this CPU does not compute in this dtype
        free_texts(&texts);
        return;
    }
    qn_model_close(probe);
    for (size_t i = 0; i < 7; i++)
        t[i] = (timing){.model = model, .dtype = dtype, .batch_tokens = (size_t)256 << i, .texts = &texts};
    snprintf(what, sizeof what, "tokens/s flat over batch tokens, %s", dtype);
    check(measure(t, 7, flat, figures), what, figures);
    free_texts(&texts);
}

// Least squares of time = a * sum of lengths + b * sum of squared lengths, each case weighted by 1 / time.
static bool explained(const timing *t, size_t count, char *figures) {
    double xx = 0, xy = 0, yy = 0, xt = 0, yt = 0, worst = 0;
    const char *name = "";
    for (size_t i = 0; i < count; i++) {
        double x = (double)t[i].texts->tokens / t[i].best, y = t[i].texts->squares / t[i].best;
        xx += x * x, xy += x * y, yy += y * y, xt += x, yt += y;
    }
    double det = xx * yy - xy * xy, a = (xt * yy - yt * xy) / det, b = (yt * xx - xt * xy) / det;
    for (size_t i = 0; i < count; i++) {
        double fit = a * (double)t[i].texts->tokens + b * t[i].texts->squares, off = fabs(t[i].best / fit - 1);
        if (off > worst) name = t[i].texts->name;
        worst = fmax(worst, off);
    }
    sprintf(figures, "%.0f ns a token, %.2f ns a squared token; off by %.1f %% at most (%s; allowed: 5 %%)", a * 1e9,
            b * 1e9, worst * 100, name);
    return worst <= 0.05;
}

static void growth_with_lengths(void) {
    enum { CASES = 9, TOKENS = 4096 };
    text_set sets[CASES] = {{.name = "all 16"},           {.name = "all 64"},           {.name = "all 256"},
                            {.name = "all 512"},          {.name = "16 and 256"},       {.name = "mixed, shuffled"},
                            {.name = "mixed, ascending"}, {.name = "one 512, rest 24"}, {.name = "twice the tokens"}};
    const size_t lengths[] = {16, 64, 256, 512};
    for (int i = 0; i < 4; i++) add_texts(&sets[i], lengths[i], TOKENS / lengths[i]);
    for (int i = 0; i < 8; i++) {
        add_texts(&sets[4], 16, 16);
        add_text(&sets[4], 256);
    }
    add_mixed(&sets[5], TOKENS);
    for (size_t length = 8; sets[6].tokens < TOKENS; length += 2) add_text(&sets[6], length);
    add_text(&sets[7], 512);
    add_texts(&sets[7], 24, 150);
    add_mixed(&sets[8], 2 * TOKENS);
    timing t[CASES];
    char figures[512];
    for (int i = 0; i < CASES; i++) t[i] = (timing){.model = make_model(2, 384), .dtype = "f32", .texts = &sets[i]};
    check(measure(t, CASES, explained, figures), "time is that of the sum of lengths and of squared lengths", figures);
    for (int i = 0; i < CASES; i++) free_texts(&sets[i]);
}

// The slope of log time over log d.
static bool quadratic(const timing *t, size_t count, char *figures) {
    double slope = log(t[count - 1].best / t[0].best) / log(4);
    sprintf(figures, "d 192: %.2f us a token, 384: %.2f, 768: %.2f; exponent %.2f (expected 1.8 to 2.1)",
            t[0].best / (double)t[0].texts->tokens * 1e6, t[1].best / (double)t[1].texts->tokens * 1e6,
            t[2].best / (double)t[2].texts->tokens * 1e6, slope);
    return slope >= 1.8 && slope <= 2.1;
}

static void growth_with_width(void) {
    text_set texts = {0};
    add_texts(&texts, 32, 64);
    timing t[3];
    char figures[512];
    for (size_t i = 0; i < 3; i++)
        t[i] = (timing){.model = make_model(2, (size_t)192 << i), .dtype = "f32", .texts = &texts};
    check(measure(t, 3, quadratic, figures), "time per token grows with d as d^2", figures);
    free_texts(&texts);
}

// ---- Memory: each measurement in a process of its own --------------------------------------------------------------

// What `work` writes as its result, in a child; it must run before this process has threads.
static void in_child(void (*work)(size_t, double *), size_t argument, double result[2]) {
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0) must(qn_fail(QN_ERROR_IO, "no pipe"));
    pid_t child = fork();
    if (child < 0) must(qn_fail(QN_ERROR_IO, "no process"));
    if (child == 0) {
        double values[2] = {0, 0};
        work(argument, values);
        _exit(write(ends[1], values, sizeof values) == sizeof values ? 0 : 1);
    }
    close(ends[1]);
    bool whole = read(ends[0], result, 2 * sizeof *result) == 2 * sizeof *result;
    int status = 1;
    waitpid(child, &status, 0);
    close(ends[0]);
    if (!whole || status != 0) must(qn_fail(QN_ERROR_IO, "a measurement of memory failed"));
}

// result[0]: peak after one short text, weights and their packed form included; result[1]: after 16,384 tokens at once.
static void memory_of_layers(size_t layers, double *result) {
    text_set one = {0}, many = {0};
    add_text(&one, 16);
    add_texts(&many, 64, 256);
    timing t = {.model = make_model(layers, 256), .dtype = "f32", .batch_tokens = 16384, .texts = &many};
    qn_model_options o = qn_model_defaults();
    o.threads = threads;
    o.batch_tokens = t.batch_tokens;
    must(qn_model_open(t.model, &o, &t.open));
    t.vectors = need(calloc(many.count * qn_model_width(t.open), sizeof *t.vectors));
    must(qn_embed(t.open, one.texts, 1, NULL, t.vectors));
    result[0] = (double)qn_peak_memory();
    must(qn_embed(t.open, many.texts, many.count, NULL, t.vectors));
    result[1] = (double)qn_peak_memory();
}

static void memory_with_layers(void) {
    enum { FEW = 2, MANY = 12 };
    double few[2], many[2];
    char figures[256];
    make_model(FEW, 256);
    make_model(MANY, 256);
    in_child(memory_of_layers, FEW, few);
    in_child(memory_of_layers, MANY, many);
    double a = few[1] - few[0], b = many[1] - many[0];
    sprintf(figures, "16,384 tokens take %.1f MB with %d layers, %.1f MB with %d (at most 1.1 times as much)", a * 1e-6,
            FEW, b * 1e-6, MANY);
    check(b <= 1.1 * a + 1e6, "memory of inference does not grow with the layers beyond the weights", figures);
}

static void keep_peak(void *user, const qn_training_step *step) {
    *(double *)user = (double)step->peak_memory;
}

// result[0]: peak of two training steps of 4,096 tokens in texts of `length`.
static void memory_of_training(size_t length, double *result) {
    enum { TOKENS = 4096 };
    text_set texts = {0};
    add_texts(&texts, length, 2 * TOKENS / length);
    char train[128], run[128];
    snprintf(train, sizeof train, "%s/train-%zu.tsv", folder, length);
    snprintf(run, sizeof run, "%s/run-%zu", folder, length);
    qn_buffer file = {0};
    qn_buffer_text(&file, "label\ttext\n");
    for (size_t i = 0; i < texts.count; i++)
        qn_buffer_printf(&file, "%c\t%.*s\n", i % 2 ? 'a' : 'b', (int)texts.texts[i].size, texts.texts[i].text);
    must(qn_buffer_status(&file));
    must(qn_write_file(train, file.data, file.size));
    const char *files[] = {train};
    qn_training t = qn_training_defaults(false);
    t.model = make_model(4, 256);
    t.train = files;
    t.train_count = 1;
    t.output = run;
    t.batch_size = TOKENS / length;
    t.max_steps = 2;
    t.threads = threads;
    t.on_step = keep_peak;
    t.user = result;
    t.progress_width = 80; // every step is shown
    must(qn_finetune(&t, NULL));
}

static void memory_with_length(void) {
    double half[2], whole[2];
    char figures[256];
    make_model(4, 256);
    in_child(memory_of_training, 256, half);
    in_child(memory_of_training, 512, whole);
    // Kept probabilities of 4 layers, 8 heads: 4,096 tokens * s * 4 bytes * 32, that is 134 MB more for 512 than for
    // 256.
    sprintf(figures, "4,096 tokens in texts of 256 take %.1f MB, in texts of 512 %.1f MB (at most 5 %% more)",
            half[0] * 1e-6, whole[0] * 1e-6);
    check(whole[0] <= 1.05 * half[0], "training keeps nothing of size s^2", figures);
}

int main(int argc, char **argv) {
    threads = argc > 1 ? atoi(argv[1]) : 0;
    if (argc > 2 || threads < 0 || threads > 1024) {
        fprintf(stderr, "usage: bench_growth [THREADS]\n");
        return 2;
    }
    if (!mkdtemp(folder)) must(qn_fail(QN_ERROR_IO, "no temporary folder"));
    memory_with_layers(); // processes are forked before there are threads
    memory_with_length();
    static const char *const dtypes[] = {"f32", "bf16", "int8"};
    for (int i = 0; i < 3; i++) growth_with_batch(dtypes[i]);
    growth_with_lengths();
    growth_with_width();
    must(qn_remove_tree(folder));
    return broken ? 1 : 0;
}
