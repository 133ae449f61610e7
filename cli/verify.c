// quern verify: does the model still give what its golden file says?
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    use_settings use;
    const char *write;
    double tolerance;
} settings;

static const option options[] = {USE_MODEL(settings),
                                 {"tolerance", FIELD(settings, tolerance), "X",
                                  .help = "largest difference allowed, relative to the largest value",
                                  .fallback = "1e-5 for f32"},
                                 HEADING("Making the golden file"),
                                 {"write", FIELD(settings, write), "FILE",
                                  .help = "write golden.safetensors into the folder, with the outputs for these texts"},
                                 USE_FORMAT(settings),
                                 USE_SPEED(settings),
                                 {0}};

// All texts of the file, in one window after another, make one golden file; they are kept, since it is made at once.
static int write_golden(qn_model *model, const settings *s) {
    use_settings use = s->use;
    use.input = s->write;
    text_window window;
    int status = window_open(&window, &use);
    if (!status) status = window_next(&window);
    if (!status && qn_golden_write(model, window.texts, window.count) != QN_OK) status = failed();
    size_t count = window.count;
    if (!status && (status = window_next(&window)) == 0 && window.count > 0)
        fprintf(stderr,
                "quern: warning: %s: the first %zu texts are enough for a golden file; the others were not used\n",
                s->write, count);
    window_close(&window);
    return status;
}

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    if (qn_model_open(s->use.model, &s->use.options, &model) != QN_OK) return failed();
    int status = s->write ? write_golden(model, s) : 0;
    char *json = NULL;
    if (!status) {
        qn_status verified = qn_verify(model, s->tolerance, &json);
        if (json) fputs(json, stdout);
        if (verified != QN_OK) status = failed();
    }
    free(json);
    qn_model_close(model);
    return status;
}

const command command_verify = {.name = "verify",
                                .help = "Compares a model's outputs with those of the golden file in its folder.",
                                .details = "The exit status is 0 when they agree. --write makes the file first.",
                                .example = "quern verify --model all-MiniLM-L6-v2 --write texts.txt\n"
                                           "quern verify --model all-MiniLM-L6-v2",
                                .options = options,
                                .size = sizeof(settings),
                                .run = run};
