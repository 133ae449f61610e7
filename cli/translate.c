// quern translate: lines in one language to lines in another.
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    use_settings use;
    qn_translation_options translation;
    const char *penalty, *rules, *stopping;
    bool json;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->translation = qn_translation_defaults();
}

#define TRANSLATION(field) FIELD(settings, translation.field)
#define AS_FOLDER .fallback = "as the folder says"

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "file for the translations", .letter = 'o',
     .fallback = "standard output"},
    {"json", FIELD(settings, json), NULL, .help = "a JSON line for each text, with scores"},
    HEADING("The search"),
    {"beam-size", TRANSLATION(beam_size), "N", .help = "beams; 1: the most probable token each time", .min = 1,
     .max = 1024, .fallback = "as the folder says, or 4"},
    {"n-best", TRANSLATION(n_best), "N", .help = "translations of each text, at most as many as beams", .min = 1,
     .max = 1024, .fallback = "1"},
    {"length-penalty", FIELD(settings, penalty), "X", .help = "scores are divided by the length to the power of it",
     AS_FOLDER},
    {"search-rules", FIELD(settings, rules), "WHOSE",
     .help = "when a search ends, and whether what is banned has a share of probability",
     .choices = "transformers|ctranslate2", .fallback = "those of the library that the folder is from"},
    {"early-stopping", FIELD(settings, stopping), "WHEN",
     .help = "transformers' rules: when enough texts ended: when none that goes on is better, at "
             "once, or when none could become better",
     .choices = "worse|full|never", AS_FOLDER},
    {"min-tokens", TRANSLATION(min_tokens), "N", .help = "tokens before a translation may end", AS_FOLDER},
    {"max-tokens", TRANSLATION(max_tokens), "N", .help = "tokens of a translation at most", .min = 1,
     .fallback = "as the folder says, or 256"},
    {"no-repeat-ngram-size", TRANSLATION(no_repeat_ngram), "N", .help = "no sequence of N tokens comes twice",
     AS_FOLDER},
    {"forced-first", TRANSLATION(forced_first), "TOKEN",
     .help = "token that translations begin with, such as their language's", AS_FOLDER},
    {"prefix", TRANSLATION(prefix), "TEXT", .help = "put before each text, such as \"translate English to German: \""},
    USE_OVERFLOW(settings),
    USE_SPEED(settings),
    ARGUMENTS(settings, use.texts, "TEXT"),
    {0}};

typedef struct {
    output out;
    bool json;
} writer;

static void put_json(writer *w, const qn_translated *t, const char *quoted) {
    char numbers[80];
    output_text(&w->out, t->rank == 0 ? "{\"translations\": [" : ", ");
    output_text(&w->out, "{\"text\": ");
    output_text(&w->out, quoted);
    snprintf(numbers, sizeof numbers, ", \"score\": %.6g, \"tokens\": %zu}", t->score, t->tokens);
    output_text(&w->out, numbers);
    if (t->last) output_text(&w->out, "]}\n");
}

static qn_status receive(void *user, const qn_translated *t) {
    writer *w = user;
    if (w->json) {
        char *quoted;
        qn_status status = qn_json_quote(t->text, t->size, &quoted);
        if (status != QN_OK) return status;
        put_json(w, t, quoted);
        free(quoted);
    } else {
        for (size_t i = 0; i < t->size; i++) { // a line stays one
            char c = t->text[i] == '\n' || t->text[i] == '\r' ? ' ' : t->text[i];
            output_bytes(&w->out, &c, 1);
        }
        output_text(&w->out, "\n");
    }
    if (t->last) output_show(&w->out);
    return QN_OK;
}

static int translate(const settings *s, qn_model *model, text_window *window, writer *w) {
    qn_translation_options o = s->translation;
    if (s->penalty) {
        char *end;
        o.length_penalty = strtod(s->penalty, &end);
        o.own_penalty = true;
        if (end == s->penalty || *end) return wrong_usage("--length-penalty %s is not a number", s->penalty);
    }
    if (s->rules) o.rules = s->rules[0] == 't' ? QN_RULES_TRANSFORMERS : QN_RULES_CTRANSLATE2;
    if (s->stopping)
        o.early_stopping = s->stopping[0] == 'w'   ? QN_STOP_WHEN_WORSE
                           : s->stopping[0] == 'f' ? QN_STOP_WHEN_FULL
                                                   : QN_STOP_NEVER;
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        if (qn_translate(model, window->texts, window->count, &o, receive, w) != QN_OK) return failed();
        if (output_broken(&w->out)) return 1;
    }
}

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    text_window window = {0};
    writer w = {.json = s->json};
    int status = use_model(&s->use, &model);
    if (status) return status;
    status = window_open(&window, &s->use);
    if (!status) status = output_open(&w.out, s->use.output);
    if (!status) status = output_close(&w.out, translate(s, model, &window, &w));
    window_close(&window);
    qn_model_close(model);
    return status;
}

const command command_translate = {
    .name = "translate",
    .help = "Translates texts with an encoder-decoder.",
    .details = "Each line of the input becomes a line, or --n-best lines, in the same order; with --json a line\n"
               "{\"translations\": [{\"text\": ..., \"score\": ..., \"tokens\": ...}, ...]}, the best first.",
    .example = "echo 'A mill grinds corn.' | quern translate --model opus-mt-en-de --beam-size 4",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
