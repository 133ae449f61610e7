// See measure.h.
#include "cli/measure.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MEASURE_NAME(name, text, column, heading) {text, column, heading},
const measure_name measure_names[MEASURES] = {MEASURE_MAP(MEASURE_NAME)};

enum { ROUNDS = 100000, LEAST_ROUNDS = 3, LEAST_CALLS = 20, MADE_TEXTS = 32, LENGTH_TOKENS = 4096 };

int processors(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? count : 1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- Memory --------------------------------------------------------------------------------------------------------

// Linux forgets the peak on request, so that each point has its own; elsewhere it is that of the process so far.
static void peak_forget(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

static size_t peak_bytes(void) {
    char line[256];
    size_t kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %zu", &kilobytes) == 1) break;
    if (file) fclose(file);
    struct rusage usage;
    if (kilobytes == 0 && getrusage(RUSAGE_SELF, &usage) == 0) kilobytes = (size_t)usage.ru_maxrss;
    return kilobytes * 1024;
}

// ---- Texts of a given length ---------------------------------------------------------------------------------------

typedef struct {
    qn_text *texts; // [count], they point into `bytes`
    size_t count, tokens;
    char *bytes;
} made_texts;

static void made_free(made_texts *made) {
    free(made->texts);
    free(made->bytes);
    *made = (made_texts){0};
}

static int token_count(qn_model *model, const char *text, size_t size, size_t *tokens) {
    qn_encode_options o = qn_encode_defaults();
    o.max_length = qn_model_max_length(model);
    qn_encoding e = QN_ENCODING_INIT;
    int status = 0;
    if (qn_tokenizer_encode(qn_model_tokenizer(model), text, size, NULL, 0, &o, &e) != QN_OK) status = failed();
    *tokens = e.count;
    qn_encoding_free(&e);
    return status;
}

static int count_tokens(qn_model *model, const qn_text *texts, size_t count, size_t *tokens) {
    qn_encode_options o = qn_encode_defaults();
    o.max_length = qn_model_max_length(model);
    qn_encoding e = QN_ENCODING_INIT;
    int status = 0;
    *tokens = 0;
    for (size_t i = 0; i < count && !status; i++) {
        const qn_text *t = &texts[i];
        if (qn_tokenizer_encode(qn_model_tokenizer(model), t->text, t->size, t->pair, t->pair_size, &o, &e) != QN_OK)
            status = failed();
        *tokens += e.count;
    }
    qn_encoding_free(&e);
    return status;
}

// The user's texts one after another, again and again until there are `enough` bytes.
static char *join(const measuring *m, size_t enough, size_t *size) {
    size_t once = 0;
    for (size_t i = 0; i < m->count; i++) once += m->texts[i].size + 1;
    size_t times = once > m->count ? 1 + enough / once : 0; // texts that are all empty give nothing
    char *bytes = malloc(times * once + 1);
    *size = 0;
    for (size_t k = 0; bytes && k < times; k++)
        for (size_t i = 0; i < m->count && *size < enough + once; i++) {
            memcpy(bytes + *size, m->texts[i].text, m->texts[i].size);
            *size += m->texts[i].size;
            bytes[(*size)++] = ' ';
        }
    return bytes;
}

// Cuts texts of exactly `length` tokens out of the joined one: from the beginning of a word so many tokens on. Where
// that ends inside a word the rest may be other tokens than before; then the next word begins the text.
static int cut(qn_model *model, const qn_encoding *e, size_t length, size_t most, made_texts *made) {
    size_t special;
    int status = token_count(model, "", 0, &special);
    if (status) return status;
    size_t content = length > special ? length - special : 1;
    for (size_t first = 0; first + content <= e->count && made->count < most;) {
        const char *text = made->bytes + e->starts[first];
        size_t size = (size_t)(e->ends[first + content - 1] - e->starts[first]), tokens;
        if ((status = token_count(model, text, size, &tokens))) return status;
        size_t next = first + 1;
        if (tokens == content + special) {
            made->texts[made->count++] = (qn_text){text, size, NULL, 0};
            made->tokens += tokens;
            next = first + content;
        }
        while (next < e->count && e->words[next] == e->words[next - 1]) next++;
        first = next;
    }
    return made->count ? 0 : fail("the texts are too short to make one of %zu tokens", length);
}

static int make_texts(const measuring *m, qn_model *model, size_t length, size_t most, made_texts *made) {
    *made = (made_texts){0};
    size_t size = 0;
    // A token has rarely more than eight bytes, and some places do not give a text.
    made->bytes = join(m, 8 * length * (most + 16), &size);
    made->texts = calloc(most, sizeof *made->texts);
    qn_encode_options o = qn_encode_defaults();
    o.add_special_tokens = false;
    qn_encoding e = QN_ENCODING_INIT;
    int status = 0;
    if (!made->bytes || !made->texts)
        status = fail("out of memory");
    else if (qn_tokenizer_encode(qn_model_tokenizer(model), made->bytes, size, NULL, 0, &o, &e) != QN_OK)
        status = failed();
    if (!status) status = cut(model, &e, length, most, made);
    qn_encoding_free(&e);
    if (status) made_free(made);
    return status;
}

// ---- Rounds --------------------------------------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(double *times, size_t count, point *p) {
    qsort(times, count, sizeof *times, compare_doubles);
    p->rounds = count;
    p->best = times[0];
    p->median = (times[(count - 1) / 2] + times[count / 2]) / 2;
    p->p95 = times[(count * 95 + 99) / 100 - 1];
}

// Calls `work` round after round.
static int time_rounds(const measuring *m, int (*work)(void *), void *context, point *p) {
    double *times = malloc(ROUNDS * sizeof *times), spent = 0, seconds = m->rounds ? 0 : m->seconds;
    size_t rounds = 0, least = m->rounds ? m->rounds : LEAST_ROUNDS;
    int status = times ? 0 : fail("out of memory");
    for (bool warm = false; !status && (rounds < least || spent < seconds) && rounds < ROUNDS; warm = true) {
        double start = now();
        status = work(context);
        double time = now() - start;
        if (warm)
            spent += times[rounds++] = time;
        else
            p->first = time;
    }
    if (!status) summarise(times, rounds, p);
    free(times);
    return status;
}

// A round of embedding: the texts in calls of `window` texts.
typedef struct {
    qn_model *model;
    const qn_text *texts;
    size_t count, window;
    float *vectors;
} embed_round;

static int embed(void *context) {
    const embed_round *r = context;
    for (size_t i = 0; i < r->count; i += r->window) {
        size_t some = r->count - i < r->window ? r->count - i : r->window;
        if (qn_embed(r->model, r->texts + i, some, NULL, r->vectors) != QN_OK) return failed();
    }
    return 0;
}

static int time_embedding(const measuring *m, qn_model *model, const qn_text *texts, size_t count, size_t window,
                          point *p) {
    embed_round round = {model, texts, count, window == 0 || window > count ? count : window, NULL};
    round.vectors = malloc(round.window * qn_model_width(model) * sizeof *round.vectors);
    int status = round.vectors ? time_rounds(m, embed, &round, p) : fail("out of memory");
    p->texts = count;
    free(round.vectors);
    return status;
}

// Calls with one text each, in turn, so that caches do not hold one text's rows alone.
static int time_calls(const measuring *m, qn_model *model, const made_texts *made, point *p) {
    float *vector = malloc(qn_model_width(model) * sizeof *vector);
    double *times = malloc(ROUNDS * sizeof *times), spent = 0;
    size_t calls = 0, least = m->seconds > 0 ? LEAST_CALLS : LEAST_ROUNDS;
    int status = vector && times ? 0 : fail("out of memory");
    // A tenth of the time warms up.
    for (bool warm = false; !status && calls < ROUNDS && (calls < least || spent < m->seconds);) {
        double start = now();
        if (qn_embed(model, &made->texts[calls % made->count], 1, NULL, vector) != QN_OK) status = failed();
        double time = now() - start;
        if (calls == 0 && !warm) p->first = time;
        spent += times[calls++] = time;
        if (!warm && calls >= LEAST_ROUNDS && spent >= m->seconds / 10) {
            warm = true;
            calls = 0;
            spent = 0;
        }
    }
    if (!status) summarise(times, calls, p);
    p->texts = 1;
    p->tokens = p->length;
    free(vector);
    free(times);
    return status;
}

// ---- Points --------------------------------------------------------------------------------------------------------

static int add(points *out, const point *p) {
    if (out->count == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 64;
        point *items = realloc(out->items, capacity * sizeof *items);
        if (!items) return fail("out of memory");
        out->items = items;
        out->capacity = capacity;
    }
    out->items[out->count++] = *p;
    return 0;
}

static void show(const measuring *m, const point *p) {
    if (!m->progress) return;
    fprintf(stderr, "\r\033[Kquern bench: %s, %s", p->dtype, measure_names[p->kind].name);
    if (p->length) fprintf(stderr, ", %zu tokens", p->length);
    if (p->kind == MEASURE_BATCH) fprintf(stderr, ", %zu tokens at once", p->batch_tokens);
    if (p->kind == MEASURE_THREADS) fprintf(stderr, ", %d threads", p->threads);
    fflush(stderr);
}

static int open_model(const measuring *m, const point *p, qn_model **model) {
    qn_model_options o = m->options;
    o.dtype = strcmp(p->dtype, "stored") ? p->dtype : NULL;
    o.threads = p->threads;
    o.batch_tokens = p->batch_tokens;
    return qn_model_open(m->model, &o, model) == QN_OK ? 0 : failed();
}

static int measure_texts(const measuring *m, point p, const qn_text *texts, size_t count, points *out) {
    qn_model *model;
    show(m, &p);
    peak_forget();
    int status = open_model(m, &p, &model);
    if (status) return status;
    status = count_tokens(model, texts, count, &p.tokens);
    if (!status) status = time_embedding(m, model, texts, count, m->window, &p);
    p.peak = peak_bytes();
    qn_model_close(model);
    return status ? status : add(out, &p);
}

// The user's texts over and over until they have as many tokens as the largest batch, so that every size is filled.
static int measure_batches(const measuring *m, point p, points *out) {
    enum { SMALLEST = 256, LARGEST = 16384 };
    qn_model *model;
    size_t tokens, capacity = 0, count = 0;
    p.batch_tokens = SMALLEST;
    int status = open_model(m, &p, &model);
    if (status) return status;
    status = count_tokens(model, m->texts, m->count, &tokens);
    qn_model_close(model);
    if (status) return status;
    capacity = LARGEST * m->count / (tokens ? tokens : 1) + 1;
    qn_text *texts = calloc(capacity, sizeof *texts);
    if (!texts) return fail("out of memory");
    for (; count < capacity; count++) texts[count] = m->texts[count % m->count];
    measuring all = *m;
    all.window = 0;
    for (; !status && p.batch_tokens <= LARGEST; p.batch_tokens *= 2)
        status = measure_texts(&all, p, texts, count, out);
    free(texts);
    return status;
}

static int measure_lengths(const measuring *m, point p, points *out) {
    static const size_t few[] = {10, 20, 50, 100, 200, 500},
                        doubled[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
    bool one = p.kind == MEASURE_LATENCY;
    const size_t *lengths = m->length_count ? m->lengths : one ? few : doubled;
    size_t count = m->length_count ? m->length_count
                   : one           ? sizeof few / sizeof *few
                                   : sizeof doubled / sizeof *doubled;
    qn_model *model;
    int status = open_model(m, &p, &model);
    if (status) return status;
    for (size_t i = 0; i < count && !status; i++) {
        made_texts made;
        p.length = lengths[i];
        if (p.length > qn_model_max_length(model)) {
            if (m->length_count)
                status = fail("--lengths %zu is above the model's %zu tokens", p.length, qn_model_max_length(model));
            continue;
        }
        size_t texts = one ? MADE_TEXTS : LENGTH_TOKENS / p.length + 1;
        show(m, &p);
        if ((status = make_texts(m, model, p.length, texts, &made))) break;
        p.tokens = made.tokens;
        peak_forget();
        status = one ? time_calls(m, model, &made, &p) : time_embedding(m, model, made.texts, made.count, 0, &p);
        p.peak = peak_bytes();
        made_free(&made);
        if (!status) status = add(out, &p);
    }
    qn_model_close(model);
    return status;
}

static int measure_threads(const measuring *m, point p, points *out) {
    int most = m->options.threads ? m->options.threads : processors(), status = 0;
    for (p.threads = 1; !status; p.threads = 2 * p.threads < most ? 2 * p.threads : most) {
        status = measure_texts(m, p, m->texts, m->count, out);
        if (p.threads == most) break;
    }
    return status;
}

// ---- Decoders ------------------------------------------------------------------------------------------------------

static qn_status ignore(void *user, const qn_generated *generated) {
    (void)user, (void)generated;
    return QN_OK;
}

// A round of writing: so many tokens behind each prompt.
typedef struct {
    qn_model *model;
    const made_texts *made;
    qn_generation_options options;
} write_round;

static int write_texts(void *context) {
    const write_round *r = context;
    return qn_generate(r->model, r->made->texts, r->made->count, &r->options, ignore, NULL) == QN_OK ? 0 : failed();
}

static int time_writing(const measuring *m, qn_model *model, const made_texts *made, size_t tokens, point *p) {
    write_round round = {model, made, qn_generation_defaults()};
    round.options.max_new_tokens = round.options.min_new_tokens = tokens;
    return time_rounds(m, write_texts, &round, p);
}

// Prompts of some lengths up to the first token; or the tokens after it, of some numbers of sequences at once.
static int measure_decoder(const measuring *m, point p, points *out) {
    enum { PROMPT = 32, WRITTEN = 64 };
    static const size_t lengths[] = {32, 128, 512}, together[] = {1, 4, 16};
    bool prefill = p.kind == MEASURE_PREFILL;
    const size_t *values = !prefill ? together : m->length_count ? m->lengths : lengths;
    size_t count = prefill && m->length_count ? m->length_count : 3;
    qn_model *model;
    int status = open_model(m, &p, &model);
    if (status) return status;
    if (!qn_model_is_decoder(model)) status = fail("--measure %s is for decoders", measure_names[p.kind].name);
    for (size_t i = 0; i < count && !status; i++) {
        made_texts made;
        point start = p;
        p.length = prefill ? values[i] : PROMPT;
        size_t texts = prefill ? 1 : values[i];
        show(m, &p);
        if ((status = make_texts(m, model, p.length, texts, &made))) break;
        peak_forget();
        p.texts = made.count;
        p.tokens = prefill ? made.tokens : made.count * WRITTEN;
        status = time_writing(m, model, &made, 1, prefill ? &p : &start);
        if (!status && !prefill) status = time_writing(m, model, &made, 1 + WRITTEN, &p);
        if (!prefill) {
            p.best -= start.best;
            p.median -= start.median;
            p.p95 -= start.median;
        }
        p.peak = peak_bytes();
        made_free(&made);
        if (!status) status = add(out, &p);
    }
    qn_model_close(model);
    return status;
}

// ---- Translation ---------------------------------------------------------------------------------------------------

typedef struct {
    qn_model *model;
    const qn_text *texts;
    size_t count, beams, tokens;
} translate_round;

static qn_status count_written(void *user, const qn_translated *t) {
    if (t->rank == 0) ((translate_round *)user)->tokens += t->tokens;
    return QN_OK;
}

static int translate(void *context) {
    translate_round *r = context;
    qn_translation_options o = qn_translation_defaults();
    o.beam_size = r->beams;
    r->tokens = 0;
    return qn_translate(r->model, r->texts, r->count, &o, count_written, r) == QN_OK ? 0 : failed();
}

// All texts, by the search that the folder says; what counts are the tokens of the translations.
static int measure_translation(const measuring *m, point p, points *out) {
    qn_model *model;
    show(m, &p);
    peak_forget();
    int status = open_model(m, &p, &model);
    if (status) return status;
    translate_round round = {model, m->texts, m->count, m->beams, 0};
    status = time_rounds(m, translate, &round, &p);
    p.texts = m->count;
    p.tokens = round.tokens;
    p.peak = peak_bytes();
    qn_model_close(model);
    return status ? status : add(out, &p);
}

int measure(const measuring *m, measure_kind kind, const char *dtype, points *out) {
    point p = {.kind = kind,
               .dtype = dtype,
               .threads = m->options.threads ? m->options.threads : processors(),
               .batch_tokens = m->options.batch_tokens};
    switch (kind) {
    case MEASURE_BULK:
        return measure_texts(m, p, m->texts, m->count, out);
    case MEASURE_LATENCY:
    case MEASURE_LENGTH:
        return measure_lengths(m, p, out);
    case MEASURE_BATCH:
        return measure_batches(m, p, out);
    case MEASURE_THREADS:
        return measure_threads(m, p, out);
    case MEASURE_PREFILL:
    case MEASURE_DECODE:
        return measure_decoder(m, p, out);
    case MEASURE_TRANSLATE:
        return measure_translation(m, p, out);
    case MEASURES:
        break;
    }
    return 0;
}
