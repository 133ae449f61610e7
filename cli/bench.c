// quern bench: how fast this machine runs the user's model on the user's texts.
#include "cli/measure.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LENGTHS = 32 };

typedef struct {
    use_settings use; // its dtype is not used: `dtype` has one choice more
    const char *dtype;
    list measures, lengths;
    size_t texts, window;
    double seconds;
    size_t rounds, beams;
    bool json;
} settings;

static void defaults(void *memory) {
    settings *s = memory;
    s->seconds = 2;
    s->texts = 512;
}

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    HEADING("What is measured"),
    {"measure", FIELD(settings, measures), "WHAT",
     .help = "bulk, latency, batch, length, threads, all of these, prefill, decode or translate; may be repeated",
     .fallback = "bulk and latency; of a decoder prefill and decode; of an encoder-decoder translate"},
    {"dtype", FIELD(settings, dtype), "TYPE", .help = "of products", .choices = DTYPE_CHOICES("|all"),
     .fallback = "f32; of a GGUF file as its blocks are"},
    {"max-texts", FIELD(settings, texts), "N", .help = "the first so many texts are used", .min = 1, .max = 4096},
    {"lengths", FIELD(settings, lengths), "N", .help = "tokens of the texts of latency and length; may be repeated",
     .fallback = "chosen"},
    {"window", FIELD(settings, window), "N",
     .help = "texts per call, in their order; 0: all at once, sorted by length"},
    {"seconds", FIELD(settings, seconds), "X", .help = "spend so long on a figure at least", .min = 0, .max = 86400},
    {"rounds", FIELD(settings, rounds), "N", .help = "time so many rounds through the texts instead", .max = 100000,
     .fallback = "as --seconds says, at least 3"},
    {"beam-size", FIELD(settings, beams), "N", .help = "beams of translate", .min = 1, .max = 1024,
     .fallback = "as the folder says, or 4"},
    {"json", FIELD(settings, json), NULL, .help = "all figures as one JSON object"},
    HEADING("Speed"),
    {"threads", FIELD(settings, use.options.threads), "N", .help = "threads", .letter = 't', .max = 1024,
     .fallback = "all"},
    {"batch-tokens", FIELD(settings, use.options.batch_tokens), "N", .help = "tokens computed at once", .max = 1 << 24,
     .fallback = "chosen"},
    {"max-seq-length", FIELD(settings, use.options.max_length), "N", .help = "tokens of a text; longer texts are cut",
     .alias = "max-length", .fallback = "the model's limit"},
    ARGUMENTS(settings, use.texts, "TEXT"),
    {0}};

// ---- Output --------------------------------------------------------------------------------------------------------

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

// 12345.6 as "12,346".
static const char *grouped(double value, char text[32]) {
    char plain[24];
    int size = snprintf(plain, sizeof plain, "%.0f", value), used = 0;
    for (int i = 0; i < size && used < 30; i++) {
        if (i && (size - i) % 3 == 0) text[used++] = ',';
        text[used++] = plain[i];
    }
    text[used] = 0;
    return text;
}

static const char *duration(double seconds, char text[32]) {
    if (seconds < 1e-3)
        snprintf(text, 32, "%.0f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(text, 32, seconds < 0.1 ? "%.2f ms" : "%.0f ms", seconds * 1e3);
    else
        snprintf(text, 32, "%.2f s", seconds);
    return text;
}

static size_t varied(const point *p) {
    return p->kind == MEASURE_BATCH     ? p->batch_tokens
           : p->kind == MEASURE_THREADS ? (size_t)p->threads
           : p->kind == MEASURE_DECODE  ? p->texts
                                        : p->length;
}

// A table for each kind: a line for each dtype and value.
static void print_table(const points *all) {
    char a[32], b[32], c[32], d[32];
    for (measure_kind kind = 0; kind < MEASURES; kind++) {
        const measure_name *name = &measure_names[kind];
        bool begun = false, calls = kind == MEASURE_LATENCY;
        for (size_t i = 0; i < all->count; i++) {
            const point *p = &all->items[i];
            if (p->kind != kind) continue;
            if (!begun) printf("\n%-28s", name->heading);
            if (!begun && name->column) printf(" %12s", name->column);
            if (!begun && calls) printf(" %10s %10s %10s\n", "best", "median", "95 %");
            if (!begun && !calls) printf(" %10s %10s %12s\n", "tokens/s", "texts/s", "peak memory");
            begun = true;
            printf("  %-26s", p->dtype);
            if (name->column) printf(" %12s", grouped((double)varied(p), a));
            if (calls)
                printf(" %10s %10s %10s\n", duration(p->best, a), duration(p->median, b), duration(p->p95, c));
            else
                printf(" %10s %10s %9s MB\n", grouped((double)p->tokens / p->best, a),
                       grouped((double)p->texts / p->best, b), grouped((double)p->peak / 1e6, d));
        }
    }
}

static void print_point(const point *p) {
    printf("    {\"measure\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, \"batch_tokens\": %zu, \"length\": %zu, "
           "\"texts\": %zu, \"tokens\": %zu,\n",
           measure_names[p->kind].name, p->dtype, p->threads, p->batch_tokens, p->length, p->texts, p->tokens);
    printf("     \"rounds\": %zu, \"first_seconds\": %.6g, \"best_seconds\": %.6g, \"median_seconds\": %.6g, "
           "\"p95_seconds\": %.6g,\n",
           p->rounds, p->first, p->best, p->median, p->p95);
    printf("     \"tokens_per_second\": %.6g, \"texts_per_second\": %.6g, \"peak_memory\": %zu}",
           (double)p->tokens / p->best, (double)p->texts / p->best, p->peak);
}

typedef struct {
    const char *names[3];
    char *errors[3]; // NULL: measured; else why this CPU does not
    size_t count;
} dtypes;

static int print_json(const char *cpu, const char *about, const dtypes *types, const points *all) {
    char *quoted = NULL, *line = NULL;
    int status = 0;
    if (qn_json_quote(cpu, strlen(cpu), &quoted) != QN_OK ||
        qn_json_quote(command_line(), strlen(command_line()), &line) != QN_OK)
        status = failed();
    if (!status) {
        printf("{\n  \"cpu\": %s,\n  \"version\": \"%s\",\n  \"command\": %s,\n  \"points\": [\n", quoted, qn_version(),
               line);
        for (size_t i = 0; i < all->count; i++) {
            print_point(&all->items[i]);
            printf(i + 1 < all->count ? ",\n" : "\n");
        }
        printf("  ],\n  \"refused\": {");
        for (size_t i = 0, n = 0; i < types->count; i++) {
            char *why = NULL;
            if (!types->errors[i] || qn_json_quote(types->errors[i], strlen(types->errors[i]), &why) != QN_OK) continue;
            printf("%s\"%s\": %s", n++ ? ", " : "", types->names[i], why);
            free(why);
        }
        printf("},\n  \"model\": %s\n}\n", about);
    }
    free(quoted);
    free(line);
    return status;
}

// A member of the model's description, for the line above the tables.
static long member(const char *about, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = strstr(about, quoted);
    return at ? strtol(at + strlen(quoted), NULL, 10) : 0;
}

static void print_heading(const settings *s, const char *cpu, const char *about, size_t texts) {
    const char *isa = strstr(about, "\"isa\": \"");
    char a[32];
    isa = isa ? isa + 8 : "";
    printf("%s: %ld layers, width %ld\n", s->use.model, member(about, "layers"), member(about, "width"));
    printf("%s, %.*s, %ld threads; %s texts; rates are those of the best round, tokens are real ones\n", cpu,
           (int)strcspn(isa, "\""), isa, member(about, "threads"), grouped((double)texts, a));
}

// ---- The command ---------------------------------------------------------------------------------------------------

typedef enum { ENCODER, DECODER, TRANSLATOR } model_kind;

static int choose_kinds(const list *names, model_kind model, bool kinds[MEASURES]) {
    static const measure_kind usual[][2] = {[ENCODER] = {MEASURE_BULK, MEASURE_LATENCY},
                                            [DECODER] = {MEASURE_PREFILL, MEASURE_DECODE},
                                            [TRANSLATOR] = {MEASURE_TRANSLATE, MEASURE_TRANSLATE}};
    for (size_t i = 0; names->count == 0 && i < 2; i++) kinds[usual[model][i]] = true;
    for (size_t i = 0; i < names->count; i++) {
        bool known = !strcmp(names->items[i], "all");
        for (measure_kind k = 0; k < MEASURES; k++)
            if ((known && k < MEASURE_PREFILL) || !strcmp(names->items[i], measure_names[k].name)) kinds[k] = true;
        for (measure_kind k = 0; k < MEASURES; k++) known |= !strcmp(names->items[i], measure_names[k].name);
        if (!known)
            return wrong_usage("--measure: \"%s\" is not known (expected "
                               "bulk|latency|batch|length|threads|prefill|decode|translate|all)",
                               names->items[i]);
    }
    return 0;
}

static int read_lengths(const list *texts, size_t lengths[MOST_LENGTHS], size_t *count) {
    if (texts->count > MOST_LENGTHS) return wrong_usage("--lengths: at most %d", MOST_LENGTHS);
    for (*count = 0; *count < texts->count; ++*count) {
        const char *text = texts->items[*count];
        char *end;
        errno = 0;
        unsigned long value = strtoul(text, &end, 10);
        if (*end || errno || value < 1 || value > 1000000 || *text < '0' || *text > '9')
            return wrong_usage("--lengths: \"%s\" is not a number of tokens", text);
        lengths[*count] = value;
    }
    return 0;
}

// Opens the model in each dtype once: those that this CPU refuses are left out with the reason, unless asked for alone.
static int describe(const settings *s, dtypes *types, char **about, model_kind *kind) {
    static const char *const all[] = {"f32", "bf16", "int8"};
    bool every = s->dtype && !strcmp(s->dtype, "all");
    types->count = every ? 3 : 1;
    for (size_t i = 0; i < types->count; i++) {
        qn_model_options o = s->use.options;
        types->names[i] = o.dtype = every ? all[i] : s->dtype;
        types->errors[i] = NULL;
        qn_model *model;
        qn_status status = qn_model_open(s->use.model, &o, &model);
        if (every && i > 0 && status == QN_ERROR_UNSUPPORTED) {
            types->errors[i] = strdup(qn_last_error());
            if (!types->errors[i]) return fail("out of memory");
            continue;
        }
        if (status != QN_OK) return failed();
        if (!*about) status = qn_model_describe(model, about);
        if (!types->names[i]) types->names[i] = *about && strstr(*about, "\"dtype\": \"stored\"") ? "stored" : "f32";
        *kind = qn_model_is_decoder(model) ? DECODER : qn_model_is_translator(model) ? TRANSLATOR : ENCODER;
        qn_model_close(model);
        if (status != QN_OK) return failed();
    }
    return 0;
}

static int measure_all(const measuring *m, const bool kinds[MEASURES], const dtypes *types, points *all) {
    int status = 0;
    for (measure_kind kind = 0; kind < MEASURES && !status; kind++)
        for (size_t i = 0; kinds[kind] && i < types->count && !status; i++)
            if (!types->errors[i]) status = measure(m, kind, types->names[i], all);
    if (m->progress) fprintf(stderr, "\r\033[K");
    return status;
}

static int run(const void *memory) {
    const settings *s = memory;
    bool kinds[MEASURES] = {false};
    size_t lengths[MOST_LENGTHS], length_count = 0;
    model_kind kind = ENCODER;
    int status = read_lengths(&s->lengths, lengths, &length_count);
    if (status) return status;
    dtypes types = {.count = 0};
    text_window window = {0};
    points all = {0};
    char *about = NULL, cpu[256];
    cpu_name(cpu, sizeof cpu);
    status = describe(s, &types, &about, &kind);
    if (!status) status = choose_kinds(&s->measures, kind, kinds);
    if (!status) status = window_open(&window, &s->use);
    if (!status) status = window_next(&window);
    if (!status && window.count == 0) status = fail("no texts to measure with");
    measuring m = {.model = s->use.model,
                   .options = s->use.options,
                   .texts = window.texts,
                   .count = window.count < s->texts ? window.count : s->texts,
                   .window = s->window,
                   .seconds = s->seconds,
                   .rounds = s->rounds,
                   .progress = isatty(STDERR_FILENO),
                   .lengths = lengths,
                   .length_count = length_count,
                   .beams = s->beams};
    if (!status) status = measure_all(&m, kinds, &types, &all);
    if (!status && s->json) status = print_json(cpu, about, &types, &all);
    if (!status && !s->json) {
        print_heading(s, cpu, about, m.count);
        for (size_t i = 0; i < types.count; i++)
            if (types.errors[i]) printf("%s: not measured: %s\n", types.names[i], types.errors[i]);
        print_table(&all);
    }
    for (size_t i = 0; i < types.count; i++) free(types.errors[i]);
    free(all.items);
    free(about);
    window_close(&window);
    return status;
}

const command command_bench = {
    .name = "bench",
    .help = "Measures how fast this machine runs a model on your texts.",
    .details =
        "Tokens are real ones: there is no padding. bulk: all texts at once, sorted by length. latency: calls with "
        "one text.\nbatch: 256 to 16,384 tokens at once. length: texts of 8 tokens up to the model's limit. "
        "threads: 1, 2, 4, ...\nprefill: a decoder reads a prompt; decode: it goes on from prompts of 32 tokens, 64 "
        "tokens each; translate: all texts,\nand tokens are those written. Texts of a given length are cut from yours. "
        "Repeat --measure and --lengths for "
        "several.",
    .example =
        "quern bench --model all-MiniLM-L6-v2 --input texts.txt --dtype all\n"
        "quern bench --model all-MiniLM-L6-v2 --input texts.txt --measure latency --lengths 20 --threads 1 --json",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
