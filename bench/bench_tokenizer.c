// How fast text becomes tokens, and a vocabulary is learned, on one thread. bench/tokenizer.py runs it beside Hugging
// Face tokenizers.
//   bench_tokenizer encode MODEL FILE     one text per line: MB/s and ns per token, the best of five rounds; time to
//   load bench_tokenizer hostile MODEL         ns per byte of one endless word, at two sizes: flat where time is linear
//   bench_tokenizer train FILE TOKENS     seconds, of which for counting words
#include "quern.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Of this thread, so that what else runs on the machine counts less.
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(void) {
    fprintf(stderr, "bench_tokenizer: %s\n", qn_last_error());
    return 1;
}

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) return NULL;
    *size = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*size + 1);
    if (text && fread(text, 1, *size, file) != *size) *size = 0;
    fclose(file);
    return text;
}

typedef struct {
    const char *at, *end;
} lines;

static qn_status next_line(void *user, const char **text, size_t *size) {
    lines *l = user;
    *text = l->at < l->end ? l->at : NULL;
    if (!*text) return QN_OK;
    const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
    *size = (size_t)((newline ? newline : l->end) - l->at);
    l->at += *size + 1;
    return QN_OK;
}

static int bench_encode(const char *model, const char *path) {
    size_t size = 0, tokens = 0, length;
    char *text = read_file(path, &size);
    if (!text) return fprintf(stderr, "bench_tokenizer: cannot read %s\n", path), 1;
    double start = seconds(), best = 1e9;
    qn_tokenizer *tokenizer;
    if (qn_tokenizer_load(model, &tokenizer) != QN_OK) return fail();
    double loaded = seconds() - start;
    qn_encoding e = QN_ENCODING_INIT;
    for (int round = 0; round < 5; round++) {
        lines l = {text, text + size};
        const char *line;
        tokens = 0;
        start = seconds();
        while (next_line(&l, &line, &length) == QN_OK && line) {
            if (qn_tokenizer_encode(tokenizer, line, length, NULL, 0, NULL, &e) != QN_OK) return fail();
            tokens += e.count;
        }
        double time = seconds() - start;
        if (time < best) best = time;
    }
    printf("%.1f MB/s, %.1f ns per token, %zu tokens, loaded in %.1f ms\n", (double)size / best / 1e6,
           best / (double)tokens * 1e9, tokens, loaded * 1e3);
    qn_encoding_free(&e);
    qn_tokenizer_free(tokenizer);
    free(text);
    return 0;
}

static int bench_hostile(const char *model) {
    static const char *const parts[] = {"a", "\xc3\xa9", "\xcc\x81", "\xe3\x80\xae\xcc\x81", "\xff", "\xe4\xb8\xad",
                                        "#", "[SEP",     " a"};
    qn_tokenizer *tokenizer;
    if (qn_tokenizer_load(model, &tokenizer) != QN_OK) return fail();
    enum { SMALL = 1000000, LARGE = 10000000 };
    char *text = malloc(LARGE);
    for (size_t i = 0; text && i < sizeof parts / sizeof parts[0]; i++) {
        size_t length = strlen(parts[i]), sizes[2] = {SMALL / length * length, LARGE / length * length};
        double times[2];
        for (size_t j = 0; j < sizes[1]; j++) text[j] = parts[i][j % length];
        qn_encoding e = QN_ENCODING_INIT;
        for (int j = 1; j >= 0; j--) { // the large one first, so that neither pays for memory that is new
            if (qn_tokenizer_encode(tokenizer, text, sizes[j], NULL, 0, NULL, &e) != QN_OK) return fail();
            double start = seconds();
            if (qn_tokenizer_encode(tokenizer, text, sizes[j], NULL, 0, NULL, &e) != QN_OK) return fail();
            times[j] = (seconds() - start) / (double)sizes[j] * 1e9;
        }
        qn_encoding_free(&e);
        printf("\"%s\" for 1 MB: %.2f ns per byte, for 10 MB: %.2f\n", *parts[i] == '\xff' ? "(0xFF)" : parts[i],
               times[0], times[1]);
    }
    free(text);
    qn_tokenizer_free(tokenizer);
    return 0;
}

typedef struct {
    double start, counted;
} train_times;

static bool note_time(void *user, const char *stage, size_t done, size_t total) {
    (void)done, (void)total;
    train_times *times = user;
    if (times->counted == 0 && *stage == 'm') times->counted = seconds() - times->start;
    return true;
}

static int bench_train(const char *path, size_t tokens) {
    size_t size = 0;
    char *text = read_file(path, &size);
    if (!text) return fprintf(stderr, "bench_tokenizer: cannot read %s\n", path), 1;
    lines l = {text, text + size};
    train_times times = {seconds(), 0};
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    o.vocab_size = tokens;
    o.progress = note_time;
    o.progress_user = &times;
    qn_tokenizer *tokenizer;
    if (qn_tokenizer_train(&o, next_line, &l, &tokenizer) != QN_OK) return fail();
    printf("%.2f s for %.1f MB and %zu tokens, %.2f s of it counting words\n", seconds() - times.start,
           (double)size / 1e6, qn_tokenizer_size(tokenizer), times.counted);
    qn_tokenizer_free(tokenizer);
    free(text);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "encode") == 0) return bench_encode(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "hostile") == 0) return bench_hostile(argv[2]);
    if (argc == 4 && strcmp(argv[1], "train") == 0) return bench_train(argv[2], (size_t)atol(argv[3]));
    fprintf(stderr, "usage: bench_tokenizer encode MODEL FILE | hostile MODEL | train FILE TOKENS\n");
    return 2;
}
