// quern embed: texts to vectors.
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    use_settings use;
    const char *pooling;
    int normalize;
    size_t top;
    bool multi, queries;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->normalize = -1;
}

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "FILE.npy for an array, any other name for JSON lines",
     .letter = 'o', .fallback = "JSON lines on standard output"},
    HEADING("Vectors"),
    USE_VECTORS(settings),
    {"pooling", FIELD(settings, pooling), "HOW",
     .help = "how the tokens' vectors become one; none gives every token's vector",
     .choices = "mean|cls|max|mean_sqrt_len_tokens|weightedmean|lasttoken|none",
     .fallback = "as the folder says, else mean"},
    {"normalize", FIELD_AS(OPTION_SWITCH, settings, normalize), NULL,
     .help = "scale vectors to length one; --no-normalize", .fallback = "as the folder says"},
    {"sparse", FIELD(settings, use.options.sparse), NULL,
     .help = "the weights of words, by a masked-language head (SPLADE): {\"sparse\": {WORD: WEIGHT, ...}}"},
    {"multi-vector", FIELD(settings, multi), NULL,
     .help = "a vector for each token, as a ColBERT's folder has them without this option too: {\"vectors\": [[...], ...]}"},
    {"queries", FIELD(settings, queries), NULL, .help = "the texts are queries, where the folder tells them from documents"},
    {"top-k", FIELD(settings, top), "N", .help = "sparse: so many of the largest weights", .fallback = "all"},
    USE_OVERFLOW(settings),
    USE_SPEED(settings),
    ARGUMENTS(settings, use.texts, "TEXT"),
    {0}};

static bool is_npy(const char *path) {
    size_t size = path ? strlen(path) : 0;
    return size > 4 && !strcmp(path + size - 4, ".npy");
}

enum { MOST_VALUES = 1 << 23 }; // in memory at a time

// ---- One vector per text
// ---------------------------------------------------------------------------------------------

typedef struct {
    qn_model *model;
    text_window window;
    output lines;
    qn_npy_writer *array;
    float *vectors;
    size_t capacity;
    struct word_weight *words; // [width] of sparse vectors; NULL: of others
    size_t top;
} embedder;

typedef struct word_weight {
    float weight;
    int32_t word;
} word_weight;

static int by_weight(const void *left, const void *right) {
    const word_weight *a = left, *b = right;
    if (a->weight != b->weight) return a->weight < b->weight ? 1 : -1;
    return (a->word > b->word) - (a->word < b->word);
}

// The words of a sparse vector, the heaviest first.
static void write_words(embedder *e, const float *vector, size_t width) {
    const qn_tokenizer *tokenizer = qn_model_tokenizer(e->model);
    size_t count = 0;
    for (size_t v = 0; v < width; v++)
        if (vector[v] > 0 && qn_tokenizer_token(tokenizer, (int32_t)v))
            e->words[count++] = (word_weight){vector[v], (int32_t)v};
    qsort(e->words, count, sizeof *e->words, by_weight);
    if (e->top && count > e->top) count = e->top;
    output_text(&e->lines, "{\"sparse\": {");
    for (size_t i = 0; i < count; i++) {
        const char *word = qn_tokenizer_token(tokenizer, e->words[i].word);
        if (i) output_text(&e->lines, ", ");
        output_quoted(&e->lines, word, strlen(word));
        output_text(&e->lines, ": ");
        output_number(&e->lines, (double)e->words[i].weight);
    }
    output_text(&e->lines, "}");
}

static int write_vectors(embedder *e, size_t first, size_t count, size_t width) {
    if (e->array) return qn_npy_writer_rows(e->array, e->vectors, count) == QN_OK ? 0 : failed();
    for (size_t i = 0; i < count; i++) {
        if (e->words)
            write_words(e, e->vectors + i * width, width);
        else {
            output_text(&e->lines, "{\"embedding\": ");
            output_vector(&e->lines, e->vectors + i * width, width);
        }
        if (write_usage(&e->lines, e->model, &e->window.texts[first + i], true)) return 1;
        output_text(&e->lines, "}\n");
    }
    return output_broken(&e->lines) ? 1 : 0;
}

// A window's vectors, in parts where they are as long as a vocabulary.
static int embed_window(embedder *e, const qn_embed_options *how) {
    size_t width = qn_model_width(e->model), most = MOST_VALUES / width + 1;
    for (size_t first = 0, count; first < e->window.count; first += count) {
        count = e->window.count - first < most ? e->window.count - first : most;
        if (count > e->capacity) {
            free(e->vectors);
            e->vectors = malloc(count * width * sizeof *e->vectors);
            e->capacity = e->vectors ? count : 0;
            if (!e->vectors) return fail("out of memory");
        }
        if (qn_embed(e->model, e->window.texts + first, count, how, e->vectors) != QN_OK) return failed();
        int status = write_vectors(e, first, count, width);
        if (status) return status;
    }
    return 0;
}

static int embed_windows(embedder *e, const qn_embed_options *how) {
    for (;;) {
        int status = window_next(&e->window);
        if (status || e->window.count == 0) return status;
        if ((status = embed_window(e, how))) return status;
    }
}

// ---- Every token's vector
// --------------------------------------------------------------------------------------------

typedef struct {
    embedder *e;
    const qn_tokenizer *tokenizer;
    text_rows rows; // for an array
} token_output;

static qn_status write_tokens(void *user, size_t index, const qn_encoding *encoding, const float *vectors) {
    (void)index;
    token_output *t = user;
    size_t width = qn_model_token_width(t->e->model);
    if (t->e->array) {
        if (!text_rows_add(&t->rows, encoding->count)) return QN_ERROR_MEMORY;
        return qn_npy_writer_rows(t->e->array, vectors, encoding->count);
    }
    output *out = &t->e->lines;
    output_text(out, "{\"tokens\": [");
    for (size_t i = 0; i < encoding->count; i++) {
        const char *token = qn_tokenizer_token(t->tokenizer, encoding->ids[i]);
        if (i) output_text(out, ", ");
        output_quoted(out, token ? token : "", token ? strlen(token) : 0);
    }
    output_text(out, "], \"vectors\": [");
    for (size_t i = 0; i < encoding->count; i++) {
        if (i) output_text(out, ", ");
        output_vector(out, vectors + i * width, width);
    }
    output_text(out, "]}\n");
    return QN_OK;
}

static int embed_tokens(embedder *e, const char *path) {
    token_output t = {.e = e, .tokenizer = qn_model_tokenizer(e->model)};
    int status = 0;
    for (;;) {
        status = window_next(&e->window);
        if (status || e->window.count == 0) break;
        if (qn_embed_tokens(e->model, e->window.texts, e->window.count, write_tokens, &t) != QN_OK) status = failed();
        if (!status && output_broken(&e->lines)) status = 1;
        if (status) break;
    }
    if (!status && e->array) status = text_rows_write(&t.rows, path);
    free(t.rows.offsets);
    return status;
}

// ---- A ColBERT's vectors

static qn_status write_multi(void *user, size_t index, size_t count, const float *vectors) {
    (void)index;
    token_output *t = user;
    size_t width = qn_model_width(t->e->model);
    if (t->e->array) {
        if (!text_rows_add(&t->rows, count)) return QN_ERROR_MEMORY;
        return qn_npy_writer_rows(t->e->array, vectors, count);
    }
    output_text(&t->e->lines, "{\"vectors\": [");
    for (size_t i = 0; i < count; i++) {
        if (i) output_text(&t->e->lines, ", ");
        output_vector(&t->e->lines, vectors + i * width, width);
    }
    output_text(&t->e->lines, "]}\n");
    return QN_OK;
}

static int embed_multi(embedder *e, const char *path) {
    token_output t = {.e = e};
    int status = 0;
    for (;;) {
        status = window_next(&e->window);
        if (status || e->window.count == 0) break;
        if (qn_embed_multi(e->model, e->window.texts, e->window.count, write_multi, &t) != QN_OK) status = failed();
        if (!status && output_broken(&e->lines)) status = 1;
        if (status) break;
    }
    if (!status && e->array) status = text_rows_write(&t.rows, path);
    free(t.rows.offsets);
    return status;
}

// ---- The command
// -----------------------------------------------------------------------------------------------------

static int embed(embedder *e, const settings *s) {
    qn_embed_options how = qn_embed_defaults();
    how.normalize = s->normalize;
    if (qn_model_multi_vector(e->model) && !s->pooling) return embed_multi(e, s->use.output);
    if (s->multi) return fail("%s: has one vector for a text (expected a ColBERT's folder)", s->use.model);
    if (!s->pooling) return embed_windows(e, &how);
    if (!strcmp(s->pooling, "none")) return embed_tokens(e, s->use.output);
    static const char *const names[] = {
#define NAME(name, text) [QN_POOLING_##name] = text,
        QN_POOL_MAP(NAME)
#undef NAME
    };
    for (size_t i = QN_POOLING_FOLDER + 1; i < sizeof names / sizeof *names; i++)
        if (!strcmp(s->pooling, names[i])) how.pooling = (qn_pooling)i;
    return embed_windows(e, &how);
}

static int run(const void *memory) {
    const settings *s = memory;
    bool none = s->pooling && !strcmp(s->pooling, "none"), npy = is_npy(s->use.output);
    if (none && (s->normalize >= 0 || s->use.options.dimensions))
        return wrong_usage("%s is for pooled vectors, not for --pooling none",
                           s->normalize >= 0 ? "--normalize" : "--dimensions");
    embedder e = {0};
    use_settings use = s->use;
    if (s->queries) use.options.purpose = QN_FOR_QUERIES;
    int status = use_model(&use, &e.model);
    if (status) return status;
    size_t width = none ? qn_model_token_width(e.model) : qn_model_width(e.model);
    status = window_open(&e.window, &s->use);
    if (!status && npy && qn_npy_writer_open(s->use.output, width, &e.array) != QN_OK)
        status = failed();
    if (!status && !npy) status = output_open(&e.lines, s->use.output);
    if (!status && qn_model_sparse(e.model) && !(e.words = malloc(width * sizeof *e.words)))
        status = fail("out of memory");
    e.top = s->top;
    if (!status) status = embed(&e, s);
    if (e.array && status)
        qn_npy_writer_abort(e.array);
    else if (e.array && qn_npy_writer_commit(e.array) != QN_OK)
        status = failed();
    status = output_close(&e.lines, status);
    window_close(&e.window);
    free(e.vectors);
    free(e.words);
    qn_model_close(e.model);
    return status;
}

const command command_embed = {.name = "embed",
                               .help = "Turns texts into vectors.",
                               .details = "The vector of a text does not depend on the texts beside it nor on the "
                                          "number of threads. With --pooling none, FILE.npy\n"
                                          "has a row per token, and FILE.offsets.npy says where each text begins.",
                               .example = "echo hello | quern embed --model all-MiniLM-L6-v2\n"
                                          "quern embed --model all-MiniLM-L6-v2 --input texts.txt --output vectors.npy",
                               .options = options,
                               .size = sizeof(settings),
                               .defaults = defaults,
                               .run = run};
