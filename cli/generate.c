// quern generate: text that goes on from a prompt.
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    use_settings use;
    qn_generation_options generation;
    list stop;
    bool json;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->generation = qn_generation_defaults();
}

#define GENERATION(field) FIELD(settings, generation.field)

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "file for the texts", .letter = 'o',
     .fallback = "standard output"},
    {"json", FIELD(settings, json), NULL,
     .help = "a JSON line for each prompt; so it is with several prompts or an input file"},
    HEADING("The text"),
    {"max-new-tokens", GENERATION(max_new_tokens), "N", .help = "tokens after the prompt", .min = 1, .letter = 'n'},
    {"min-new-tokens", GENERATION(min_new_tokens), "N", .help = "the model cannot end the text before"},
    {"temperature", GENERATION(temperature), "X", .help = "0: the most probable token each time; above: drawn",
     .max = 100},
    {"top-k", GENERATION(top_k), "N", .help = "draw from the N most probable tokens; 0: from all"},
    {"top-p", GENERATION(top_p), "P", .help = "draw from the most probable ones that reach P together; 0: from all",
     .max = 1},
    {"min-p", GENERATION(min_p), "P", .help = "draw from those with P times the best one's probability; 0: from all",
     .max = 1},
    {"repetition-penalty", GENERATION(repetition_penalty), "X",
     .help = "above 1: tokens that are there already are less probable; 0: no penalty", .max = 100},
    {"chat", GENERATION(chat), NULL, .help = "the prompt is a message; the model's chat template is set around it"},
    {"system", GENERATION(system), "TEXT", .help = "of a chat: the system's message", .fallback = "the template's"},
    {"stop", FIELD(settings, stop), "TEXT", .help = "ends the text and is not part of it; may be repeated"},
    {"seed", GENERATION(seed), "N", .help = "of what is drawn"},
    USE_OVERFLOW(settings),
    USE_SPEED(settings),
    ARGUMENTS(settings, use.texts, "PROMPT"),
    {0}};

typedef struct {
    output out;
    bool stream;
    size_t done; // prompts of the windows before
    // JSON lines come in the order of the prompts, whichever ends first.
    char **lines;
    size_t count, next;
} writer;

static qn_status piece(writer *w, const qn_generated *g) {
    if (g->end)
        output_text(&w->out, "\n");
    else
        output_bytes(&w->out, g->text, g->size);
    output_show(&w->out);
    return QN_OK;
}

static qn_status receive(void *user, const qn_generated *g) {
    writer *w = user;
    if (w->stream) return piece(w, g);
    if (!g->end) return QN_OK;
    char *quoted, *line;
    qn_status status = qn_json_quote(g->text, g->size, &quoted);
    if (status != QN_OK) return status;
    size_t room = strlen(quoted) + 200;
    line = malloc(room);
    if (line)
        snprintf(line, room, "{\"text\": %s, \"end\": \"%s\", \"prompt_tokens\": %zu, \"new_tokens\": %zu}\n", quoted,
                 g->end, g->prompt_tokens, g->new_tokens);
    free(quoted);
    w->lines[g->index] = line;
    for (; w->next < w->count && w->lines[w->next]; w->next++) output_text(&w->out, w->lines[w->next]);
    output_show(&w->out);
    return line ? QN_OK : QN_ERROR_MEMORY;
}

static int generate(const settings *s, qn_model *model, text_window *window, writer *w) {
    qn_generation_options o = s->generation;
    o.stop = s->stop.items;
    o.stop_count = s->stop.count;
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        w->stream = !s->json && !s->use.input && window->count == 1 && w->done == 0;
        w->lines = calloc(window->count, sizeof *w->lines);
        w->count = window->count;
        w->next = 0;
        if (!w->lines) return fail("out of memory");
        if (qn_generate(model, window->texts, window->count, &o, receive, w) != QN_OK) status = failed();
        for (size_t i = 0; i < w->count; i++) free(w->lines[i]);
        free(w->lines);
        w->done += window->count;
        if (status) return status;
        if (output_broken(&w->out)) return 1;
    }
}

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    text_window window = {0};
    writer w = {0};
    int status = use_model(&s->use, &model);
    if (status) return status;
    status = window_open(&window, &s->use);
    if (!status) status = output_open(&w.out, s->use.output);
    if (!status) status = output_close(&w.out, generate(s, model, &window, &w));
    window_close(&window);
    qn_model_close(model);
    return status;
}

const command command_generate = {
    .name = "generate",
    .help = "Writes text that goes on from a prompt.",
    .details = "One prompt is shown as it is written; several give a JSON line each, {\"text\": ..., \"end\": \"end\" "
               "(the model ended "
               "it),\n\"stop\" or \"length\", \"prompt_tokens\": ..., \"new_tokens\": ...}.",
    .example = "quern generate --model SmolLM2-135M --temperature 0.8 --top-p 0.9 'A mill is a machine that'\n"
               "quern generate --model SmolLM2-135M-Instruct.Q4_1.gguf --chat 'What is a mill?'",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
