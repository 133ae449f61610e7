// quern eval: metrics of a model on labelled data, of a decoder on text, or of an autoencoder on rows of numbers.
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    use_settings use;
    const char *data, *task, *windows;
    list files;
    bool lines, table;
} settings;

static const option options[] = {
    USE_MODEL(settings),
    {"data", FIELD(settings, data), "FILE",
     .help = "labelled texts: TSV, CSV, JSON lines or fastText's, also gzipped; of a decoder text", .letter = 'd'},
    {"task", FIELD(settings, task), "NAME",
     .help = "what is measured; of vectors: sts, retrieval, triplets, or embed for the one that the columns are for; of an "
             "autoencoder of texts: reconstruct",
     .choices = "classify|regress|tag|answer|rerank|embed|translate|sts|retrieval|triplets|reconstruct",
     .fallback = "what the model's head is for"},
    {"output", FIELD(settings, use.output), "FILE", .help = "file for the metrics", .letter = 'o',
     .fallback = "standard output"},
    USE_FORMAT(settings),
    {"doc-stride", FIELD(settings, use.data.stride), "N", .alias = "stride",
     .help = "tagging, answers, decoders: tokens that windows of a long text share",
     .fallback = "128, or half a window; of a decoder none"},
    {"num-beams", FIELD(settings, use.data.beams), "N", .help = "translate: beams of the search", .alias = "beam-size",
     .fallback = "as the folder says, or 4"},
    {"label-column", FIELD(settings, use.data.label_column), "NAME", .help = "column of the label",
     .fallback = "by name"},
    {"score-column", FIELD(settings, use.data.score_column), "NAME", .help = "column of the number",
     .fallback = "by name"},
    {"text-columns", FIELD(settings, use.data.text_columns), "A,B,C",
     .help = "columns of the texts of embed, sts, retrieval, triplets and translate", .fallback = "by name"},
    USE_PROMPTS(FIELD(settings, use.data.query_prompt), FIELD(settings, use.data.document_prompt)),
    USE_DIMENSIONS(settings),
    HEADING("Of a decoder"),
    {"lines", FIELD(settings, lines), NULL, .help = "each line, or text of a column, is a text of its own",
     .fallback = "a file is one text"},
    {"windows", FIELD(settings, windows), "HOW",
     .help = "what counts: transformers, every token once; llama.cpp, the second half of each window",
     .choices = "transformers|llama.cpp", .fallback = "transformers"},
    {"table", FIELD(settings, table), NULL, .help = "a table for people in place of JSON"},
    USE_SPEED(settings),
    ARGUMENTS(settings, files, "FILE"),
    {0}};

// ---- Perplexity ----------------------------------------------------------------------------------------------------

typedef struct {
    double begin;
    bool terminal;
} progress;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool show_progress(void *user, size_t done, size_t tokens, const qn_perplexity_result *sums) {
    const progress *p = user;
    double seconds = now() - p->begin;
    if (!p->terminal || sums->counted == 0) return true;
    fprintf(stderr, "\r\033[K%zu of %zu tokens, %.0f tokens/s, loss %.4f", done, tokens,
            (double)sums->counted / seconds, sums->loss_sum / (double)sums->counted);
    return true;
}

// A whole file as one text; "-" is standard input.
static int read_whole(const char *path, char **text, size_t *size) {
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    size_t capacity = 0, got = 1;
    if (!file) return fail("%s: cannot open", path);
    *text = NULL;
    *size = 0;
    while (got > 0) {
        if (capacity - *size < 1 << 16) {
            char *more = realloc(*text, capacity = 2 * capacity + (1 << 16));
            if (!more) break;
            *text = more;
        }
        got = fread(*text + *size, 1, capacity - *size, file);
        *size += got;
    }
    bool bad = got > 0 || ferror(file);
    if (file != stdin) fclose(file);
    return bad ? fail("%s: cannot read, or out of memory", path) : 0;
}

static int measure_lines(const settings *s, qn_model *model, const char *path, const qn_perplexity_options *o,
                         qn_perplexity_result *result) {
    use_settings use = s->use;
    text_window window;
    use.input = path;
    use.texts = (list){0};
    int status = window_open(&window, &use);
    while (!status && !(status = window_next(&window)) && window.count > 0)
        if (qn_perplexity(model, window.texts, window.count, o, result) != QN_OK) status = failed();
    window_close(&window);
    return status;
}

static int measure_file(const settings *s, qn_model *model, const char *path, const qn_perplexity_options *o,
                        qn_perplexity_result *result) {
    char *text = NULL;
    size_t size = 0;
    if (s->lines) return measure_lines(s, model, path, o, result);
    int status = read_whole(path, &text, &size);
    if (!status && qn_perplexity(model, &(qn_text){.text = text, .size = size}, 1, o, result) != QN_OK)
        status = failed();
    free(text);
    return status;
}

static void put_result(const settings *s, const qn_perplexity_result *r, double seconds, size_t window, output *out) {
    const struct {
        const char *name;
        double value;
        int digits;
    } rows[] = {{"loss", r->loss, 9},
                {"perplexity", r->perplexity, 9},
                {"tokens", (double)r->tokens, 15},
                {"tokens_counted", (double)r->counted, 15},
                {"windows", (double)r->windows, 15},
                {"window", (double)window, 15},
                {"shared", (double)s->use.data.stride, 15},
                {"seconds", seconds, 4}};
    size_t count = sizeof rows / sizeof *rows;
    if (!s->table) output_text(out, "{");
    for (size_t i = 0; i < count; i++)
        if (s->table)
            output_printf(out, "%-16s %14.*g\n", rows[i].name,
                          rows[i].digits < 9 ? rows[i].digits
                          : i < 2            ? 6
                                             : 15,
                          rows[i].value);
        else
            output_printf(out, "%s\"%s\": %.*g", i ? ", " : "", rows[i].name, rows[i].digits, rows[i].value);
    if (!s->table) output_text(out, "}\n");
}

static int measure_decoder(const settings *s, qn_model *model) {
    progress p = {now(), isatty(STDERR_FILENO)};
    qn_perplexity_options o = {.shared = s->use.data.stride,
                               .as_llama_cpp = s->windows && !strcmp(s->windows, "llama.cpp"),
                               .progress = show_progress,
                               .user = &p};
    qn_perplexity_result result = {0};
    output out;
    int status = 0;
    if (s->data) status = measure_file(s, model, s->data, &o, &result);
    for (size_t i = 0; i < s->files.count && !status; i++)
        status = measure_file(s, model, s->files.items[i], &o, &result);
    if (p.terminal) fprintf(stderr, "\r\033[K");
    if (!status && result.counted == 0)
        status = fail("the text is too short: no token counts (expected two, or with llama.cpp's windows a whole one)");
    if (!status) status = output_open(&out, s->use.output);
    if (status) return status;
    put_result(s, &result, now() - p.begin, qn_model_max_length(model), &out);
    return output_close(&out, 0);
}

// ---- Labelled data -------------------------------------------------------------------------------------------------

// Takes the JSON.
static int put_metrics(const settings *s, char *json) {
    output out;
    int status = output_open(&out, s->use.output);
    if (!status) {
        output_text(&out, json);
        output_text(&out, "\n");
        status = output_close(&out, 0);
    }
    free(json);
    return status;
}

static int measure_labelled(const settings *s, qn_model *model) {
    char *json = NULL;
    if (qn_evaluate_task(model, s->task, s->data ? s->data : s->files.items[0], &s->use.data, &json) != QN_OK)
        return failed();
    return put_metrics(s, json);
}

static int measure_autoencoder(const settings *s) {
    qn_autoencoder *model;
    char *json = NULL;
    if (s->task) return wrong_usage("an autoencoder of numbers has no tasks");
    if (qn_autoencoder_open(s->use.model, s->use.options.threads, &model) != QN_OK) return failed();
    qn_status status =
        qn_autoencoder_evaluate(model, s->data ? s->data : s->files.items[0], &s->use.data, &json);
    qn_autoencoder_close(model);
    return status == QN_OK ? put_metrics(s, json) : failed();
}

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    size_t files = s->files.count + (s->data != NULL);
    if (files == 0) return wrong_usage("--data, or a file, is missing");
    if (files == 1 && qn_is_autoencoder(s->use.model)) return measure_autoencoder(s);
    qn_model_options o = s->use.options;
    o.decoder = s->task && !strcmp(s->task, "reconstruct");
    if (qn_model_open(s->use.model, &o, &model) != QN_OK) return failed();
    bool decoder = qn_model_is_decoder(model) && !s->task;
    int status = !decoder && files > 1 ? wrong_usage("unexpected argument \"%s\": several files are for decoders",
                                                     s->files.items[s->files.count - 1])
                 : decoder             ? measure_decoder(s, model)
                                       : measure_labelled(s, model);
    qn_model_close(model);
    return status;
}

const command command_eval = {
    .name = "eval",
    .help = "Measures a model on labelled data, or a decoder on text: metrics as JSON.",
    .details = "A label that the model does not know is an error that names file and line. Of a decoder the loss (of a "
               "token)\nand the perplexity are measured, in windows of --max-seq-length tokens.",
    .example = "quern eval --model topics --data data/wordnet/test.tsv\n"
               "quern eval --model SmolLM2-135M-Instruct.Q4_1.gguf --max-seq-length 1024 --table book.txt",
    .options = options,
    .size = sizeof(settings),
    .run = run};
