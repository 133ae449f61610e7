// quern bench: how fast this machine embeds the user's own texts.
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    use_settings use;
    double seconds;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->seconds = 5;
}

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    {"seconds", FIELD(settings, seconds), "X", .help = "measure so long at least", .min = 0, .max = 86400},
    USE_SPEED(settings),
    ARGUMENTS(settings, use.texts, "TEXT"),
    {0}};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void cpu_name(char *name, size_t size) {
    snprintf(name, size, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[512];
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value || strncmp(line, "model name", 10)) continue;
        value += 1 + strspn(value + 1, " ");
        value[strcspn(value, "\n")] = 0;
        snprintf(name, size, "%s", value);
        break;
    }
    if (file) fclose(file);
}

static int count_tokens(qn_model *model, const text_window *window, size_t *tokens) {
    qn_encode_options o = qn_encode_defaults();
    o.max_length = qn_model_max_length(model);
    qn_encoding e = QN_ENCODING_INIT;
    int status = 0;
    *tokens = 0;
    for (size_t i = 0; i < window->count && !status; i++) {
        const qn_text *t = &window->texts[i];
        if (qn_tokenizer_encode(qn_model_tokenizer(model), t->text, t->size, t->pair, t->pair_size, &o, &e) != QN_OK)
            status = failed();
        *tokens += e.count;
    }
    qn_encoding_free(&e);
    return status;
}

static int measure(qn_model *model, const text_window *window, double seconds) {
    size_t tokens, rounds = 0;
    int status = count_tokens(model, window, &tokens);
    if (status) return status;
    float *vectors = malloc(window->count * qn_model_width(model) * sizeof *vectors);
    if (!vectors) return fail("out of memory");
    double best = 0, first = 0, begin = now(), last = begin, spent = 0;
    // The first round packs weights and takes memory; the best of the others says what the machine can do.
    while (!status && (rounds < 3 || spent < seconds)) {
        if (qn_embed(model, window->texts, window->count, NULL, vectors) != QN_OK) status = failed();
        double time = now() - last;
        last += time;
        if (rounds == 0)
            first = time;
        else if (best == 0 || time < best)
            best = time;
        if (rounds++) spent += time;
    }
    free(vectors);
    char *about = NULL, *quoted = NULL, name[256];
    cpu_name(name, sizeof name);
    if (!status && (qn_model_describe(model, &about) != QN_OK || qn_json_quote(name, strlen(name), &quoted) != QN_OK))
        status = failed();
    if (!status)
        printf("{\"cpu\": %s, \"texts\": %zu, \"tokens\": %zu, \"rounds\": %zu, \"first_seconds\": %.6g, "
               "\"best_seconds\": %.6g,\n"
               "\"mean_seconds\": %.6g, \"tokens_per_second\": %.6g, \"texts_per_second\": %.6g, \"model\": %s}\n",
               quoted, window->count, tokens, rounds, first, best, spent / (double)(rounds - 1), (double)tokens / best,
               (double)window->count / best, about);
    free(about);
    free(quoted);
    return status;
}

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    text_window window = {0};
    if (qn_model_open(s->use.model, &s->use.options, &model) != QN_OK) return failed();
    int status = window_open(&window, &s->use);
    if (!status) status = window_next(&window);
    if (!status && window.count == 0) status = fail("no texts to measure with");
    if (!status) status = measure(model, &window, s->seconds);
    window_close(&window);
    qn_model_close(model);
    return status;
}

const command command_bench = {
    .name = "bench",
    .help = "Measures how fast this machine embeds your texts, as JSON.",
    .details =
        "The first 4,096 texts are used. Tokens are real ones: there is no padding. Rates are those of the best round.",
    .example = "quern bench --model all-MiniLM-L6-v2 --input texts.txt --threads 2",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
