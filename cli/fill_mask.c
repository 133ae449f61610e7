// quern fill-mask: the tokens that fit into a gap.
#include "cli/use.h"
#include <string.h>

typedef struct {
    use_settings use;
    size_t top;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->top = 5;
}

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "file of JSON lines", .letter = 'o',
     .fallback = "standard output"},
    {"top-k", FIELD(settings, top), "N", .help = "tokens for each mask", .letter = 'k', .min = 1},
    USE_OVERFLOW(settings),
    USE_SPEED(settings),
    ARGUMENTS(settings, use.texts, "TEXT"),
    {0}};

static qn_status write_mask(void *user, size_t mask, size_t position, const qn_candidate *candidates, size_t count) {
    output *out = user;
    // The line begins with its first mask, so that a text without one leaves no half line.
    output_printf(out, "%s{\"position\": %zu, \"candidates\": [", mask ? ", " : "{\"masks\": [", position);
    for (size_t i = 0; i < count; i++) {
        const char *token = candidates[i].token ? candidates[i].token : "";
        output_printf(out, "%s{\"token\": ", i ? ", " : "");
        output_quoted(out, token, strlen(token));
        output_printf(out, ", \"id\": %d, \"score\": ", (int)candidates[i].id);
        output_number(out, (double)candidates[i].probability);
        output_text(out, "}");
    }
    output_text(out, "]}");
    return QN_OK;
}

static int fill(qn_model *model, text_window *window, output *out, size_t top) {
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        for (size_t i = 0; i < window->count; i++) {
            if (qn_fill_mask(model, &window->texts[i], top, write_mask, out) != QN_OK) return failed();
            output_text(out, "]");
            if (write_usage(out, model, &window->texts[i], false)) return 1;
            output_text(out, "}\n");
        }
        if (output_broken(out)) return 1;
    }
}

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    text_window window = {0};
    output out;
    int status = use_model(&s->use, &model);
    if (status) return status;
    status = window_open(&window, &s->use);
    if (!status) status = output_open(&out, s->use.output);
    if (!status) status = output_close(&out, fill(model, &window, &out, s->top));
    window_close(&window);
    qn_model_close(model);
    return status;
}

const command command_fill_mask = {.name = "fill-mask",
                                   .help = "Says which tokens fit for each [MASK] of a text, as JSON lines.",
                                   .example = "quern fill-mask --model bert-base-uncased 'Flour is made of [MASK].'",
                                   .options = options,
                                   .size = sizeof(settings),
                                   .defaults = defaults,
                                   .run = run};
