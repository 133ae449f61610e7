// quern quantize: a folder in int8; and what products in bf16 and int8 cost on the user's own texts, and what they
// bring.
#include "cli/use.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DTYPES = 3, START = 60 };
static const char *const names[DTYPES] = {"f32", "bf16", "int8"}; // the first is what the others are compared with
// Shares of the texts whose cosine is below.
static const struct {
    const char *name;
    double share;
} quantiles[] = {{"min", 0}, {"p0.1", 0.001}, {"p1", 0.01}, {"p10", 0.1}, {"median", 0.5}};
enum { QUANTILES = sizeof quantiles / sizeof *quantiles };

typedef struct {
    use_settings use;
    const char *eval, *folder;
    size_t worst;
    bool json;
} settings;

static void defaults(void *memory) {
    settings *s = memory;
    s->worst = 5;
}

static const option options[] = {
    USE_MODEL(settings),
    {"output-dir", FIELD(settings, folder), "DIR", .help = "new folder for the model in int8, a quarter of the size"},
    {"eval", FIELD(settings, eval), "FILE",
     .help = "texts: one per line, or TSV, CSV, JSON lines, also gzipped; with labels, metrics are compared too",
     .letter = 'e'},
    USE_FORMAT(settings),
    {"label-column", FIELD(settings, use.data.label_column), "NAME", .help = "column of the label",
     .fallback = "by name"},
    {"score-column", FIELD(settings, use.data.score_column), "NAME", .help = "column of the number",
     .fallback = "by name"},
    HEADING("Report"),
    {"json", FIELD(settings, json), NULL, .help = "JSON instead of a table"},
    {"output", FIELD(settings, use.output), "FILE", .help = "file of the report", .letter = 'o',
     .fallback = "standard output"},
    {"worst", FIELD(settings, worst), "N", .help = "texts to name whose vectors change most", .max = 1000},
    HEADING("Speed"),
    {"threads", FIELD(settings, use.options.threads), "N", .help = "threads; they do not change the result",
     .letter = 't', .max = 1024, .fallback = "all"},
    {"batch-tokens", FIELD(settings, use.options.batch_tokens), "N", .help = "tokens computed at once", .max = 1 << 24,
     .fallback = "chosen"},
    {"max-seq-length", FIELD(settings, use.options.max_length), "N", .help = "tokens of a text; longer texts are cut",
     .alias = "max-length", .fallback = "the model's limit"},
    {0}};

typedef struct {
    size_t number; // of the text, from 1
    double cosine;
    char start[START + 1];
} worst_text;

// One dtype: its model, the results of the current window, and what is known of all windows before.
typedef struct {
    qn_model *model;
    char *refused;          // why this CPU does not compute the dtype
    float *vectors;         // [window, width]
    float *scores;          // [window, labels]
    double *cosine;         // [texts]
    size_t capacity;        // of cosine
    double seconds, change; // for all vectors; the largest change of a probability (of a value, in a regression)
    size_t same;            // texts with the same best label
    worst_text *worst;      // [settings.worst], the worst first
    size_t worst_count;
    char *metrics; // JSON
} variant;

typedef struct {
    const settings *s;
    variant of[DTYPES];
    text_window window;
    size_t texts, width, labels, room; // room: texts that vectors and scores hold
} evaluation;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int open_models(evaluation *e) {
    for (size_t i = 0; i < DTYPES; i++) {
        variant *v = &e->of[i];
        qn_model_options o = e->s->use.options;
        o.dtype = names[i];
        qn_status status = qn_model_open(e->s->use.model, &o, &v->model);
        if (status == QN_ERROR_UNSUPPORTED && i > 0) {
            v->refused = strdup(qn_last_error());
            if (!v->refused) return fail("out of memory");
            continue;
        }
        if (status != QN_OK) return failed();
        v->worst = calloc(e->s->worst + 1, sizeof *v->worst);
        if (!v->worst) return fail("out of memory");
    }
    e->width = qn_model_width(e->of[0].model);
    // Of whole texts: what a tagger or a reader of answers gives is not compared.
    e->labels = qn_model_task(e->of[0].model) != QN_TASK_TAG ? qn_model_labels(e->of[0].model) : 0;
    return 0;
}

static int make_room(evaluation *e) {
    size_t count = e->window.count;
    for (size_t i = 0; i < DTYPES; i++) {
        variant *v = &e->of[i];
        if (e->texts + count > v->capacity) {
            size_t capacity = 2 * v->capacity + count;
            double *cosine = realloc(v->cosine, capacity * sizeof *cosine);
            if (!cosine) return fail("out of memory");
            v->cosine = cosine, v->capacity = capacity;
        }
        if (count <= e->room) continue;
        free(v->vectors), free(v->scores);
        v->vectors = malloc(count * e->width * sizeof *v->vectors);
        v->scores = malloc((count * e->labels + 1) * sizeof *v->scores);
        if (!v->vectors || !v->scores) return fail("out of memory");
    }
    if (count > e->room) e->room = count;
    return 0;
}

// 1 for two vectors of zeros.
static double cosine_of(size_t n, const float *a, const float *b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return aa == 0 && bb == 0 ? 1 : aa == 0 || bb == 0 ? 0 : ab / sqrt(aa * bb);
}

// Keeps the worst texts in order: insertion into a short sorted list.
static void keep_worst(const settings *s, variant *v, size_t number, double cosine, const qn_text *text) {
    if (s->worst == 0 || (v->worst_count == s->worst && cosine >= v->worst[s->worst - 1].cosine)) return;
    size_t at = v->worst_count < s->worst ? v->worst_count++ : s->worst - 1;
    for (; at > 0 && cosine < v->worst[at - 1].cosine; at--) v->worst[at] = v->worst[at - 1];
    worst_text *w = &v->worst[at];
    size_t size = text->size < START ? text->size : START;
    while (size < text->size && size > 0 && ((unsigned char)text->text[size] & 0xc0) == 0x80)
        size--; // whole characters
    w->number = number, w->cosine = cosine;
    if (size) memcpy(w->start, text->text, size);
    w->start[size] = 0;
}

static size_t best_of(const float *scores, size_t labels) {
    size_t best = 0;
    for (size_t k = 1; k < labels; k++)
        if (scores[k] > scores[best]) best = k;
    return best;
}

static void compare(evaluation *e, variant *v) {
    const variant *exact = &e->of[0];
    for (size_t i = 0; i < e->window.count; i++) {
        double cosine = cosine_of(e->width, v->vectors + i * e->width, exact->vectors + i * e->width);
        v->cosine[e->texts + i] = cosine;
        keep_worst(e->s, v, e->texts + i + 1, cosine, &e->window.texts[i]);
        const float *a = v->scores + i * e->labels, *b = exact->scores + i * e->labels;
        if (e->labels) v->same += best_of(a, e->labels) == best_of(b, e->labels);
        for (size_t k = 0; k < e->labels; k++) v->change = fmax(v->change, fabs((double)a[k] - (double)b[k]));
    }
}

static int evaluate_window(evaluation *e) {
    int status = make_room(e);
    for (size_t i = 0; i < DTYPES && !status; i++) {
        variant *v = &e->of[i];
        if (!v->model) continue;
        // The first text packs the weights, which belongs to the start and not to the speed.
        if (e->texts == 0 && qn_embed(v->model, e->window.texts, 1, NULL, v->vectors) != QN_OK) return failed();
        double begin = now();
        if (qn_embed(v->model, e->window.texts, e->window.count, NULL, v->vectors) != QN_OK) return failed();
        v->seconds += now() - begin;
        if (e->labels && qn_classify(v->model, e->window.texts, e->window.count, false, v->scores) != QN_OK)
            return failed();
        if (i > 0) compare(e, v);
    }
    e->texts += e->window.count;
    return status;
}

static int evaluate(evaluation *e) {
    use_settings use = e->s->use;
    use.input = e->s->eval;
    int status = window_open(&e->window, &use);
    while (!status) {
        status = window_next(&e->window);
        if (status || e->window.count == 0) break;
        status = evaluate_window(e);
    }
    if (!status && e->texts == 0) status = fail("%s: no texts", e->s->eval);
    return status;
}

// A file without labels is fine: then the vectors and the labels that the dtypes choose are all there is to compare.
static int measure_labels(evaluation *e) {
    for (size_t i = 0; i < DTYPES && e->labels; i++) {
        variant *v = &e->of[i];
        if (!v->model || qn_evaluate(v->model, e->s->eval, &e->s->use.data, &v->metrics) == QN_OK) continue;
        if (i > 0) return failed();
        fprintf(stderr, "quern: warning: no metrics: %s\n", qn_last_error());
        break;
    }
    return 0;
}

// ---- The report
// ------------------------------------------------------------------------------------------------------

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double mean_of(const variant *v, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += v->cosine[i];
    return sum / (double)count;
}

static double quantile(const variant *v, size_t count, double share) { // of sorted values
    return v->cosine[(size_t)(share * (double)(count - 1))];
}

// A number of the metrics' JSON by its name, or NaN.
static double metric(const variant *v, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = v->metrics ? strstr(v->metrics, key) : NULL;
    return at ? strtod(at + strlen(key), NULL) : (double)NAN;
}

static void put_changes(output *out, const evaluation *e, const variant *v) {
    output_text(out, ", \"cosine\": {");
    for (size_t q = 0; q < QUANTILES; q++)
        output_printf(out, "\"%s\": %.6f, ", quantiles[q].name, quantile(v, e->texts, quantiles[q].share));
    output_printf(out, "\"mean\": %.6f}", mean_of(v, e->texts));
    if (e->labels) output_printf(out, ", \"largest_change\": %.6g", v->change);
    if (e->labels > 1) output_printf(out, ", \"same_label\": %.6f", (double)v->same / (double)e->texts);
    output_text(out, ", \"worst\": [");
    for (size_t i = 0; i < v->worst_count; i++) {
        output_printf(out, "%s\n      {\"text\": %zu, \"cosine\": %.6f, \"start\": ", i ? "," : "", v->worst[i].number,
                      v->worst[i].cosine);
        output_quoted(out, v->worst[i].start, strlen(v->worst[i].start));
        output_text(out, "}");
    }
    output_text(out, "]");
}

static void put_json(output *out, const evaluation *e) {
    output_text(out, "{\"version\": ");
    output_quoted(out, qn_version(), strlen(qn_version()));
    output_text(out, ", \"command\": ");
    output_quoted(out, command_line(), strlen(command_line()));
    output_printf(out, ", \"texts\": %zu, \"dtypes\": {", e->texts);
    for (size_t i = 0; i < DTYPES; i++) {
        const variant *v = &e->of[i];
        output_printf(out, "%s\n    \"%s\": {", i ? "," : "", names[i]);
        if (v->refused) {
            output_text(out, "\"refused\": ");
            output_quoted(out, v->refused, strlen(v->refused));
        } else {
            output_printf(out, "\"texts_per_second\": %.6g, \"speed\": %.4g", (double)e->texts / v->seconds,
                          e->of[0].seconds / v->seconds);
            if (i > 0) put_changes(out, e, v);
            if (v->metrics) output_text(out, ", \"metrics\": "), output_text(out, v->metrics);
        }
        output_text(out, "}");
    }
    output_text(out, "}}\n");
}

static void put_row(output *out, const evaluation *e, size_t i) {
    static const char *const measured[] = {"accuracy", "macro_f1", "pearson"};
    const variant *v = &e->of[i];
    output_printf(out, "%-5s %10.1f %6.2f", names[i], (double)e->texts / v->seconds, e->of[0].seconds / v->seconds);
    for (size_t q = 0; q < QUANTILES; q++)
        if (i > 0)
            output_printf(out, " %8.5f", quantile(v, e->texts, quantiles[q].share));
        else
            output_printf(out, " %8s", "");
    if (i > 0)
        output_printf(out, " %8.5f", mean_of(v, e->texts));
    else
        output_printf(out, " %8s", "");
    if (i > 0 && e->labels > 1) output_printf(out, "  same label %.2f %%", 100 * (double)v->same / (double)e->texts);
    if (i > 0 && e->labels) output_printf(out, "  largest change %.4f", v->change);
    for (size_t k = 0; k < sizeof measured / sizeof *measured; k++)
        if (!isnan(metric(v, measured[k]))) output_printf(out, "  %s %.4f", measured[k], metric(v, measured[k]));
    output_text(out, "\n");
}

static void put_table(output *out, const evaluation *e) {
    output_printf(out, "%zu texts; cosine of each vector to that in f32\n\n%-5s %10s %6s", e->texts, "", "texts/s",
                  "speed");
    for (size_t q = 0; q < QUANTILES; q++) output_printf(out, " %8s", quantiles[q].name);
    output_printf(out, " %8s\n", "mean");
    for (size_t i = 0; i < DTYPES; i++) {
        if (e->of[i].refused)
            output_printf(out, "%-5s not measured: %s\n", names[i], e->of[i].refused);
        else
            put_row(out, e, i);
    }
    for (size_t i = 1; i < DTYPES; i++) {
        const variant *v = &e->of[i];
        if (v->worst_count) output_printf(out, "\nLeast cosines in %s\n", names[i]);
        for (size_t k = 0; k < v->worst_count; k++)
            output_printf(out, "%8.5f  text %zu: %s\n", v->worst[k].cosine, v->worst[k].number, v->worst[k].start);
    }
}

static int report(evaluation *e) {
    output out;
    for (size_t i = 1; i < DTYPES; i++)
        if (e->of[i].model) qsort(e->of[i].cosine, e->texts, sizeof(double), by_value);
    int status = output_open(&out, e->s->use.output);
    if (status) return status;
    if (e->s->json)
        put_json(&out, e);
    else
        put_table(&out, e);
    return output_close(&out, 0);
}

static int run(const void *memory) {
    evaluation e = {.s = memory};
    if (!e.s->folder && !e.s->eval) return wrong_usage("nothing to do (expected --output-dir or --eval)");
    if (e.s->folder && qn_quantize(e.s->use.model, e.s->folder) != QN_OK) return failed();
    if (!e.s->eval) return 0;
    int status = open_models(&e);
    if (!status) status = evaluate(&e);
    if (!status) status = measure_labels(&e);
    if (!status) status = report(&e);
    window_close(&e.window);
    for (size_t i = 0; i < DTYPES; i++) {
        variant *v = &e.of[i];
        qn_model_close(v->model);
        free(v->refused), free(v->vectors), free(v->scores), free(v->cosine), free(v->worst), free(v->metrics);
    }
    return status;
}

const command command_quantize = {
    .name = "quantize",
    .help = "Writes a model in int8, and shows what bf16 and int8 cost on your texts.",
    .details = "--output-dir writes a folder that every command of quern opens, with the vectors of --dtype int8; "
               "transformers\ncannot. --eval compares: each dtype is compared with f32: the cosine of the vectors, "
               "speed, and for a model with labels the "
               "labels and\n(where the file has labels) the metrics. min is the worst text, p1 the cosine that 1 % of "
               "the texts are below.",
    .example = "quern quantize --model all-MiniLM-L6-v2 --output-dir MiniLM-int8\n"
               "quern quantize --model all-MiniLM-L6-v2 --eval texts.txt\n"
               "quern quantize --model topics --eval data/wordnet/test.tsv --json --output int8.json",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
