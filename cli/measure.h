// Timing of a model on a user's texts: what `quern bench` measures, apart from how it is shown.
#pragma once
#include "cli/use.h"

// What a point is a measurement of. Name, the column that varies, heading.
#define MEASURE_MAP(X)                                                                                                 \
    X(BULK, "bulk", NULL, "Many texts at once")                                                                        \
    X(LATENCY, "latency", "tokens", "One text at a time")                                                              \
    X(BATCH, "batch", "batch tokens", "Tokens computed at once")                                                       \
    X(LENGTH, "length", "tokens", "Length of the texts")                                                               \
    X(THREADS, "threads", "threads", "Threads")                                                                        \
    X(PREFILL, "prefill", "tokens", "A decoder reads a prompt")                                                        \
    X(DECODE, "decode", "sequences", "A decoder writes")                                                               \
    X(TRANSLATE, "translate", NULL, "Translations")
typedef enum {
#define MEASURE_ENUM(name, text, column, heading) MEASURE_##name,
    MEASURE_MAP(MEASURE_ENUM)
#undef MEASURE_ENUM
        MEASURES
} measure_kind;

typedef struct {
    const char *name, *column, *heading;
} measure_name;
extern const measure_name measure_names[MEASURES];

// One figure. Times are of a round: of one call for latency, else of all texts.
typedef struct {
    measure_kind kind;
    const char *dtype;
    int threads;
    size_t batch_tokens, length; // 0: the model's choice; the texts' own
    size_t texts, tokens, rounds;
    double first, best, median, p95; // seconds; `first` packs weights and takes memory
    size_t peak;                     // resident bytes at most while it was measured, model included
} point;

typedef struct {
    point *items;
    size_t count, capacity;
} points;

typedef struct {
    const char *model;
    qn_model_options options; // threads and dtype of the point are put into it
    const qn_text *texts;     // [count]
    size_t count;
    size_t window;         // texts handed over in one call; 0: all
    double seconds;        // to spend on a point at least
    size_t rounds;         // when above 0, so many rounds instead
    bool progress;         // a line on standard error says what is being measured
    const size_t *lengths; // [length_count] of latency and length; none: chosen
    size_t length_count;
    size_t beams; // of translations; 0: as the folder says
} measuring;

// Measures one kind in one dtype and adds its points. Exit status; QN_ERROR_UNSUPPORTED for the dtype is failed() too.
int measure(const measuring *m, measure_kind kind, const char *dtype, points *out);

// Processors of this process.
int processors(void);
