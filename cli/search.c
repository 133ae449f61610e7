// quern index and quern search: a folder of vectors with their texts, and what in it is nearest to a query.
#include "cli/use.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- index
// -----------------------------------------------------------------------------------------------------------

typedef struct {
    use_settings use;
    const char *similarity;
} index_settings;

static void index_defaults(void *memory) {
    index_settings *s = memory;
    s->use.options.purpose = QN_FOR_DOCUMENTS;
}

static const option index_options[] = {USE_MODEL(index_settings),
                                       USE_INPUT(index_settings),
                                       {"output", FIELD(index_settings, use.output), "DIR",
                                        .help = "folder of the index: vectors, texts.jsonl, index.json",
                                        .letter = 'o', .required = true},
                                       {"similarity", FIELD(index_settings, similarity), "HOW",
                                        .help = "what search compares by", .choices = "cosine|dot",
                                        .fallback = "cosine; dot of sparse vectors"},
                                       USE_VECTORS(index_settings),
                                       USE_SPEED(index_settings),
                                       {0}};

static int join(char path[PATH_MAX], const char *folder, const char *name) {
    int size = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return size < 0 || size >= PATH_MAX ? fail("%s: the name is too long", folder) : 0;
}

// An index's kind, as index.json's "similarity" says it, and its files of vectors.
static const char SPARSE[] = "sparse-dot", MULTI[] = "maxsim";
static const char DENSE_FILE[] = "vectors.npy", OFFSETS_FILE[] = "vectors.offsets.npy",
                  SPARSE_FILE[] = "vectors.safetensors";

typedef struct {
    qn_model *model;
    text_window window;
    qn_npy_writer *vectors;
    qn_sparse_writer *sparse; // in place of them
    output texts, about;
    text_rows rows; // of a ColBERT's
    size_t count;
} indexer;

static qn_status index_multi(void *user, size_t index, size_t count, const float *vectors) {
    (void)index;
    indexer *x = user;
    if (!text_rows_add(&x->rows, count)) return QN_ERROR_MEMORY;
    return qn_npy_writer_rows(x->vectors, vectors, count);
}

static qn_status index_sparse(void *user, size_t index, const qn_sparse_vector *vector) {
    (void)index;
    return qn_sparse_writer_row(((indexer *)user)->sparse, vector);
}

static int index_vectors(indexer *x) {
    size_t n = x->window.count;
    const qn_text *texts = x->window.texts;
    if (qn_model_multi_vector(x->model)) return qn_embed_multi(x->model, texts, n, index_multi, x) == QN_OK ? 0 : failed();
    if (x->sparse) return qn_embed_sparse(x->model, texts, n, index_sparse, x) == QN_OK ? 0 : failed();
    float *vectors = malloc(n * qn_model_width(x->model) * sizeof *vectors);
    if (!vectors) return fail("out of memory");
    bool done =
        qn_embed(x->model, texts, n, NULL, vectors) == QN_OK && qn_npy_writer_rows(x->vectors, vectors, n) == QN_OK;
    free(vectors);
    return done ? 0 : failed();
}

static int index_window(indexer *x) {
    size_t n = x->window.count;
    int status = index_vectors(x);
    for (size_t i = 0; i < n && !status; i++) {
        output_text(&x->texts, "{\"text\": ");
        output_quoted(&x->texts, x->window.texts[i].text, x->window.texts[i].size);
        output_text(&x->texts, "}\n");
    }
    x->count += n;
    return status;
}

static int open_index(indexer *x, const index_settings *s) {
    char path[PATH_MAX];
    size_t width = qn_model_width(x->model);
    bool sparse = qn_model_sparse(x->model);
    if (sparse && s->similarity && strcmp(s->similarity, "dot") != 0)
        return wrong_usage("sparse vectors are compared by their dot product, not by --similarity %s", s->similarity);
    if (mkdir(s->use.output, 0777) != 0 && errno != EEXIST) return fail("%s: %s", s->use.output, strerror(errno));
    int status = join(path, s->use.output, sparse ? SPARSE_FILE : DENSE_FILE);
    if (!status && (sparse ? qn_sparse_writer_open(path, width, &x->sparse)
                           : qn_npy_writer_open(path, width, &x->vectors)) != QN_OK)
        status = failed();
    if (!status) status = join(path, s->use.output, "texts.jsonl");
    if (!status) status = output_open(&x->texts, path);
    if (!status) status = join(path, s->use.output, "index.json");
    if (!status) status = output_open(&x->about, path);
    return status;
}

static void describe_index(indexer *x, const index_settings *s) {
    char full[PATH_MAX];
    const char *model = realpath(s->use.model, full) ? full : s->use.model;
    const char *similarity = s->similarity ? s->similarity : "cosine";
    output_text(&x->about, "{\"model\": ");
    output_quoted(&x->about, model, strlen(model));
    output_printf(&x->about, ", \"similarity\": \"%s\", \"count\": %zu, \"width\": %zu}\n",
                  qn_model_multi_vector(x->model) ? MULTI
                  : x->sparse                     ? SPARSE
                                                  : similarity,
                  x->count, qn_model_width(x->model));
}

// The vectors appear under their names, or after a failure are gone.
static int close_vectors(indexer *x, const index_settings *s, int status) {
    char path[PATH_MAX];
    bool multi = qn_model_multi_vector(x->model);
    if (status) {
        qn_npy_writer_abort(x->vectors);
        qn_sparse_writer_abort(x->sparse);
        return status;
    }
    if ((x->sparse ? qn_sparse_writer_commit(x->sparse) : qn_npy_writer_commit(x->vectors)) != QN_OK) return failed();
    status = join(path, s->use.output, DENSE_FILE);
    if (!status && multi) status = text_rows_write(&x->rows, path);
    return status;
}

static int index_run(const void *memory) {
    const index_settings *s = memory;
    indexer x = {0};
    if (qn_model_open(s->use.model, &s->use.options, &x.model) != QN_OK) return failed();
    int status = window_open(&x.window, &s->use);
    if (!status) status = open_index(&x, s);
    while (!status && !(status = window_next(&x.window)) && x.window.count > 0) status = index_window(&x);
    if (!status && x.count == 0) status = fail("%s: no texts", s->use.input ? s->use.input : "standard input");
    if (!status) describe_index(&x, s);
    status = close_vectors(&x, s, status);
    free(x.rows.offsets);
    status = output_close(&x.texts, status);
    status = output_close(&x.about, status);
    if (!status) fprintf(stderr, "%zu texts in %s\n", x.count, s->use.output);
    window_close(&x.window);
    qn_model_close(x.model);
    return status;
}

const command command_index = {.name = "index",
                               .help = "Makes a folder of vectors from texts, for quern search.",
                               .example = "quern index --model all-MiniLM-L6-v2 --input texts.txt --output index",
                               .options = index_options,
                               .size = sizeof(index_settings),
                               .defaults = index_defaults,
                               .run = index_run};

// ---- search
// ----------------------------------------------------------------------------------------------------------

typedef struct {
    use_settings use;
    const char *index;
    size_t top;
    bool json;
} search_settings;

static void search_defaults(void *memory) {
    search_settings *s = memory;
    s->top = 10;
    s->use.options.purpose = QN_FOR_QUERIES;
}

static const option search_options[] = {
    {"index", FIELD(search_settings, index), "DIR", .help = "folder that quern index made", .required = true},
    {"model", FIELD(search_settings, use.model), "DIR", .help = "folder of the model", .letter = 'm',
     .fallback = "the index's"},
    {"top-k", FIELD(search_settings, top), "N", .help = "texts for each query", .letter = 'k', .min = 1, .max = 1e6},
    {"json", FIELD(search_settings, json), NULL, .help = "a JSON line for each query"},
    {"prompt", FIELD(search_settings, use.options.prompt), "NAME|TEXT",
     .help = "put before each query: the name of one of the folder's prompts, or a text", .fallback = "the folder's"},
    USE_INPUT(search_settings),
    USE_SPEED(search_settings),
    ARGUMENTS(search_settings, use.texts, "QUERY"),
    {0}};

// One text that was found; the texts themselves are read once, after all queries of a window.
typedef struct {
    size_t index, place; // place: in the list of matches
} wanted;

typedef struct {
    const search_settings *s;
    qn_model *model;
    qn_vectors *vectors;
    text_window window;
    output out;
    bool dot, multi, sparse; // by index.json
    qn_match *matches; // [queries, top]
    size_t *found;     // [queries]
    char **texts;      // [queries, top]
} searcher;

static int compare_wanted(const void *a, const void *b) {
    size_t x = ((const wanted *)a)->index, y = ((const wanted *)b)->index;
    return (x > y) - (x < y);
}

static int read_texts(searcher *x, wanted *list_, size_t count) {
    char path[PATH_MAX];
    const char *paths[] = {path};
    qn_texts *reader = NULL;
    int status = join(path, x->s->index, "texts.jsonl");
    if (!status &&
        qn_texts_open(paths, 1, &(qn_data_options){.format = "jsonl", .text_column = "text"}, false, &reader) != QN_OK)
        status = failed();
    qn_text text = {0};
    size_t at = 0;
    for (size_t i = 0; i < count && !status; i++) {
        for (; at <= list_[i].index && !status; at++) {
            if (qn_texts_next(reader, &text) != QN_OK)
                status = failed();
            else if (!text.text)
                status =
                    fail("%s: only %zu texts (expected %zu, as vectors)", path, at, qn_vectors_count(x->vectors));
        }
        if (!status && !(x->texts[list_[i].place] = strndup(text.text, text.size))) status = fail("out of memory");
    }
    qn_texts_close(reader);
    return status;
}

static int look_up(searcher *x) {
    size_t top = x->s->top, n = x->window.count, count = 0;
    wanted *all = malloc((n * top + 1) * sizeof *all);
    if (!all) return fail("out of memory");
    for (size_t q = 0; q < n; q++)
        for (size_t k = 0; k < x->found[q]; k++) all[count++] = (wanted){x->matches[q * top + k].index, q * top + k};
    qsort(all, count, sizeof *all, compare_wanted);
    int status = read_texts(x, all, count);
    free(all);
    return status;
}

static void write_results(searcher *x, size_t q) {
    size_t top = x->s->top;
    const qn_text *query = &x->window.texts[q];
    if (x->s->json) {
        output_text(&x->out, "{\"query\": ");
        output_quoted(&x->out, query->text, query->size);
        output_text(&x->out, ", \"results\": [");
    } else if (x->window.count > 1 || x->window.reader) {
        output_printf(&x->out, "%s%.*s\n", q ? "\n" : "", (int)(query->size < 400 ? query->size : 400), query->text);
    }
    for (size_t k = 0; k < x->found[q]; k++) {
        const qn_match *m = &x->matches[q * top + k];
        const char *text = x->texts[q * top + k];
        if (x->s->json) {
            output_printf(&x->out, "%s{\"score\": %.9g, \"index\": %zu, \"text\": ", k ? ", " : "", (double)m->score,
                          m->index);
            output_quoted(&x->out, text, strlen(text));
            output_text(&x->out, "}");
        } else {
            output_printf(&x->out, "%.4f  ", (double)m->score);
            output_text(&x->out, text);
            output_text(&x->out, "\n");
        }
    }
    if (x->s->json) output_text(&x->out, "]}\n");
}

static qn_status search_multi(void *user, size_t index, size_t count, const float *vectors) {
    searcher *x = user;
    return qn_vectors_search_multi(x->vectors, vectors, count, x->s->top, x->matches + index * x->s->top,
                                   &x->found[index]);
}

static qn_status search_sparse(void *user, size_t index, const qn_sparse_vector *query) {
    searcher *x = user;
    return qn_vectors_search_sparse(x->vectors, query, x->s->top, x->matches + index * x->s->top, &x->found[index]);
}

// Fills in matches and found of all queries.
static int find_matches(searcher *x) {
    size_t n = x->window.count, top = x->s->top, width = qn_model_width(x->model);
    if (x->sparse) return qn_embed_sparse(x->model, x->window.texts, n, search_sparse, x) == QN_OK ? 0 : failed();
    if (x->multi) return qn_embed_multi(x->model, x->window.texts, n, search_multi, x) == QN_OK ? 0 : failed();
    float *queries = malloc(n * width * sizeof *queries);
    if (!queries) return fail("out of memory");
    bool done = qn_embed(x->model, x->window.texts, n, NULL, queries) == QN_OK;
    for (size_t q = 0; q < n && done; q++)
        done = qn_vectors_search(x->vectors, queries + q * width, x->dot, top, x->matches + q * top, &x->found[q]) ==
               QN_OK;
    free(queries);
    return done ? 0 : failed();
}

static int search_window(searcher *x) {
    size_t n = x->window.count, top = x->s->top;
    x->matches = malloc(n * top * sizeof *x->matches);
    x->found = calloc(n, sizeof *x->found);
    x->texts = calloc(n * top, sizeof *x->texts);
    int status = x->matches && x->found && x->texts ? 0 : fail("out of memory");
    if (!status) status = find_matches(x);
    if (!status) status = look_up(x);
    for (size_t q = 0; q < n && !status; q++) write_results(x, q);
    for (size_t i = 0; x->texts && i < n * top; i++) free(x->texts[i]);
    free(x->matches);
    free(x->found);
    free(x->texts);
    return status;
}

static bool is_kind(const qn_text *about, const char *kind) {
    return about->pair_size == strlen(kind) && memcmp(about->pair, kind, about->pair_size) == 0;
}

// index.json is one line with the model and the similarity: a record like any other. *model is the caller's to free.
static int read_about(searcher *x, char **model) {
    char path[PATH_MAX];
    const char *paths[] = {path};
    qn_texts *about = NULL;
    qn_text line = {0};
    int status = join(path, x->s->index, "index.json");
    if (status) return status;
    qn_data_options columns = {.format = "jsonl", .text_column = "model", .pair_column = "similarity"};
    if (qn_texts_open(paths, 1, &columns, false, &about) != QN_OK || qn_texts_next(about, &line) != QN_OK)
        status = failed();
    else if (!line.text || !line.pair)
        status = fail("%s: no model and similarity (expected a file that quern index made)", path);
    else if (!(*model = strndup(line.text, line.size)))
        status = fail("out of memory");
    else {
        x->dot = is_kind(&line, "dot");
        x->multi = is_kind(&line, MULTI);
        x->sparse = is_kind(&line, SPARSE);
    }
    qn_texts_close(about);
    return status;
}

static int open_vectors(searcher *x) {
    char path[PATH_MAX], offsets[PATH_MAX];
    int status = join(path, x->s->index, x->sparse ? SPARSE_FILE : DENSE_FILE);
    if (!status) status = join(offsets, x->s->index, OFFSETS_FILE);
    if (status) return status;
    qn_status opened = x->sparse  ? qn_vectors_open_sparse(path, &x->vectors)
                       : x->multi ? qn_vectors_open_multi(path, offsets, &x->vectors)
                                  : qn_vectors_open(path, &x->vectors);
    return opened == QN_OK ? 0 : failed();
}

static int open_search(searcher *x) {
    char *model = NULL;
    const char *index = x->s->index;
    qn_model_options options = x->s->use.options;
    int status = read_about(x, &model);
    if (!status) status = open_vectors(x);
    if (!status && !x->sparse) options.dimensions = qn_vectors_width(x->vectors); // the index may have fewer than the model
    if (!status && qn_model_open(x->s->use.model ? x->s->use.model : model, &options, &x->model) != QN_OK)
        status = failed();
    free(model);
    if (status) return status;
    if (x->multi != qn_model_multi_vector(x->model))
        return fail("%s: is an index of vectors of %s (expected a model of such)", index, x->multi ? "tokens" : "texts");
    if (x->sparse && !qn_model_sparse(x->model))
        return fail("%s: is an index of sparse vectors (expected a model of such)", index);
    if (qn_vectors_width(x->vectors) != qn_model_width(x->model))
        return fail("%s: vectors of %zu values (expected %zu, as the model's)", index, qn_vectors_width(x->vectors),
                    qn_model_width(x->model));
    return 0;
}

static int search_run(const void *memory) {
    searcher x = {.s = memory};
    int status = open_search(&x);
    if (!status) status = window_open(&x.window, &x.s->use);
    while (!status && !(status = window_next(&x.window)) && x.window.count > 0) status = search_window(&x);
    window_close(&x.window);
    qn_vectors_close(x.vectors);
    qn_model_close(x.model);
    return status;
}

const command command_search = {.name = "search",
                                .help = "Finds the texts of an index that are nearest in meaning.",
                                .details = "Nothing is missed: every vector is compared, of sparse ones each that "
                                           "shares a word with the query.",
                                .example = "quern search --index index 'a place to sleep'",
                                .options = search_options,
                                .size = sizeof(search_settings),
                                .defaults = search_defaults,
                                .run = search_run};
