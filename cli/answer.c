// quern answer: answers that stand in a text.
#include "cli/predict.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    use_settings use;
    qn_answer_options how;
    const char *question, *context;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->how = qn_answer_defaults();
}

static const option options[] = {
    USE_MODEL(settings),
    {"question", FIELD(settings, question), "TEXT", .help = "what is asked; then the input is one text", .letter = 'Q'},
    {"context", FIELD(settings, context), "TEXT", .help = "the text that is asked, in place of --input"},
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "file of JSON lines", .letter = 'o',
     .fallback = "standard output"},
    HEADING("Answers"),
    {"top-k", FIELD(settings, how.top), "N", .help = "answers to each question, likeliest first", .letter = 'k',
     .min = 1},
    {"allow-none", FIELD(settings, how.allow_none), NULL,
     .help = "a text may have no answer; for models trained on such questions", .alias = "version-2-with-negative"},
    {"none-threshold", FIELD(settings, how.none_threshold), "X",
     .help = "... which is said where its logit is so much above the best answer's", .unlimited = true,
     .alias = "null-score-diff-threshold"},
    {"max-answer-length", FIELD(settings, how.max_tokens), "N", .help = "tokens of an answer", .min = 1},
    {"n-best-size", FIELD(settings, how.candidates), "N", .help = "best beginnings and ends that are paired", .min = 1,
     .max = 100},
    {"doc-stride", FIELD(settings, how.stride), "N", .help = "tokens that windows of a long text share",
     .alias = "stride", .fallback = "128, or half a window"},
    USE_OVERFLOW(settings),
    USE_SPEED(settings),
    {0}};

// --- Output

typedef struct {
    const qn_text *texts;
    output *out;
} receiver;

static void write_span(output *out, const qn_text *text, const qn_answer_span *s, const char *name) {
    output_printf(out, "\"%s\": ", name);
    output_quoted(out, text->pair + s->start, s->end - s->start);
    output_printf(out,
                  ", \"start\": %zu, \"end\": %zu, \"byte_start\": %zu, \"byte_end\": %zu, \"score\": ", s->char_start,
                  s->char_end, s->start, s->end);
    output_number(out, (double)s->score);
}

static qn_status write_answer(void *user, size_t index, const qn_usage *usage, const qn_answer_result *r) {
    const receiver *to = user;
    const qn_text *text = &to->texts[index];
    output_text(to->out, "{");
    if (r->none || r->count == 0) {
        output_text(to->out, "\"answer\": null, \"score\": ");
        output_number(to->out, (double)r->none_score);
    } else {
        write_span(to->out, text, &r->spans[0], "answer");
    }
    output_text(to->out, ", \"none_margin\": ");
    output_number(to->out, (double)r->none_margin);
    if (r->count > 1) {
        output_text(to->out, ", \"answers\": [");
        for (size_t i = 0; i < r->count; i++) {
            output_text(to->out, i ? ", {" : "{");
            write_span(to->out, text, &r->spans[i], "text");
            output_text(to->out, "}");
        }
        output_text(to->out, "]");
    }
    output_text(to->out, ", ");
    output_usage(to->out, usage);
    output_text(to->out, "}\n");
    return QN_OK;
}

// --- Input

// All of a file, or of standard input.
static int read_whole(const char *path, char **text, size_t *size) {
    bool standard = !path || !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file) return fail("%s: cannot open", path);
    size_t capacity = 0;
    int status = 0;
    *text = NULL;
    *size = 0;
    do {
        if (*size == capacity) {
            char *more = realloc(*text, capacity = capacity ? 2 * capacity : 1 << 16);
            if (!more) {
                status = fail("out of memory");
                break;
            }
            *text = more;
        }
        *size += fread(*text + *size, 1, capacity - *size, file);
    } while (!feof(file) && !ferror(file));
    if (!status && ferror(file)) status = fail("%s: cannot read", path ? path : "standard input");
    if (!standard) fclose(file);
    return status;
}

static int answer_one(const settings *s, qn_model *model, output *out) {
    qn_text text = {s->question, strlen(s->question), s->context, s->context ? strlen(s->context) : 0};
    char *whole = NULL;
    int status = s->context ? 0 : read_whole(s->use.input, &whole, &text.pair_size);
    if (!s->context) text.pair = whole;
    if (!status && qn_answer(model, &text, 1, &s->how, write_answer, &(receiver){&text, out}) != QN_OK)
        status = failed();
    free(whole);
    return status;
}

int answer_all(qn_model *model, const qn_answer_options *how, text_window *window, output *out) {
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        for (size_t i = 0; i < window->count; i++)
            if (!window->texts[i].pair)
                return fail("the input has no contexts (expected the columns question and context, or --question)");
        if (qn_answer(model, window->texts, window->count, how, write_answer, &(receiver){window->texts, out}) != QN_OK)
            return failed();
        if (output_broken(out)) return 1;
    }
}

static int run(const void *memory) {
    const settings *s = memory;
    if (s->context && !s->question) return wrong_usage("--context goes with --question");
    if (s->context && s->use.input) return wrong_usage("--context and --input exclude each other");
    qn_model *model;
    text_window window = {0};
    output out;
    int status = use_model(&s->use, &model);
    if (status) return status;
    if (!s->question) status = window_open(&window, &s->use);
    if (!status) status = output_open(&out, s->use.output);
    if (!status)
        status =
            output_close(&out, s->question ? answer_one(s, model, &out) : answer_all(model, &s->how, &window, &out));
    window_close(&window);
    qn_model_close(model);
    return status;
}

const command command_answer = {
    .name = "answer",
    .help = "Finds answers to questions in texts, as JSON lines.",
    .details = "With --question, the input is one text of any length. Without, it is a file of questions and contexts: "
               "TSV, CSV or\n"
               "JSON lines with the columns question and context.",
    .example = "quern answer --model reader --question 'What does a quern grind?' --input README.md\n"
               "quern answer --model reader --input questions.jsonl --top-k 3",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
