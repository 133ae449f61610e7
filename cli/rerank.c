// quern rerank: which documents fit a query best.
#include "cli/use.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    use_settings use;
    const char *query;
    size_t top;
    bool logits;
    list files;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->top = 10;
}

static const option options[] = {
    USE_MODEL(settings),
    {"query", FIELD(settings, query), "TEXT", .help = "what is looked for", .required = true, .letter = 'Q'},
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "file of JSON lines", .letter = 'o',
     .fallback = "standard output"},
    {"top", FIELD(settings, top), "N", .help = "documents to print, best first; 0: all", .alias = "top-k",
     .letter = 'k'},
    {"logits", FIELD(settings, logits), NULL, .help = "the raw outputs, without a sigmoid"},
    USE_SPEED(settings),
    ARGUMENTS(settings, files, "FILE"),
    {0}};

typedef struct {
    float score;
    size_t index, size;
    char *text;
} document;

typedef struct {
    const settings *s;
    qn_model *model;
    document *best; // [count] best first
    size_t count, capacity, seen;
} ranking;

// A document among the best so far; one of equal score that came earlier stays before it.
static int add(ranking *r, const qn_text *text, float score) {
    size_t index = r->seen++, top = r->s->top ? r->s->top : (size_t)-1;
    bool full = r->count == top;
    if (full && !(score > r->best[r->count - 1].score)) return 0;
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 64;
        document *best = realloc(r->best, capacity * sizeof *best);
        if (!best) return fail("out of memory");
        r->best = best;
        r->capacity = capacity;
    }
    char *copy = malloc(text->size + 1);
    if (!copy) return fail("out of memory");
    if (text->size) memcpy(copy, text->text, text->size);
    size_t at = full ? r->count - 1 : r->count++;
    if (full) free(r->best[at].text);
    for (; at > 0 && score > r->best[at - 1].score; at--) r->best[at] = r->best[at - 1];
    r->best[at] = (document){score, index, text->size, copy};
    return 0;
}

static int score_all(ranking *r, text_window *window) {
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        float *scores = malloc(window->count * sizeof *scores);
        if (!scores) return fail("out of memory");
        if (qn_rerank(r->model, r->s->query, strlen(r->s->query), window->texts, window->count, r->s->logits, scores) !=
            QN_OK)
            status = failed();
        for (size_t i = 0; !status && i < window->count; i++) status = add(r, &window->texts[i], scores[i]);
        free(scores);
        if (status) return status;
    }
}

static void write_all(const ranking *r, output *out) {
    for (size_t i = 0; i < r->count; i++) {
        output_printf(out, "{\"rank\": %zu, \"index\": %zu, \"score\": ", i + 1, r->best[i].index);
        output_number(out, (double)r->best[i].score);
        output_text(out, ", \"text\": ");
        output_quoted(out, r->best[i].text, r->best[i].size);
        output_text(out, "}\n");
    }
}

static int run(const void *memory) {
    const settings *s = memory;
    use_settings use = s->use;
    if (s->files.count > 1) return wrong_usage("one FILE of documents at most");
    if (s->files.count && use.input) return wrong_usage("--input and FILE exclude each other");
    if (s->files.count) use.input = s->files.items[0];
    ranking r = {.s = s};
    text_window window = {0};
    output out;
    int status = use_model(&use, &r.model);
    if (status) return status;
    status = window_open(&window, &use);
    if (!status) status = output_open(&out, use.output);
    if (!status) {
        status = score_all(&r, &window);
        if (!status) write_all(&r, &out);
        status = output_close(&out, status);
    }
    window_close(&window);
    for (size_t i = 0; i < r.count; i++) free(r.best[i].text);
    free(r.best);
    qn_model_close(r.model);
    return status;
}

const command command_rerank = {
    .name = "rerank",
    .help = "Sorts documents by how well they fit a query, as JSON lines.",
    .details = "The model has one output for a pair of texts: a cross-encoder, as `quern finetune --task rerank` makes "
               "it, or a folder of\n"
               "sentence-transformers' CrossEncoder. Documents are the lines of FILE, or TSV, CSV or JSON lines.",
    .example = "quern rerank --model reranker --query 'a mill for grain' --top 5 data/wordnet/test.tsv",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
