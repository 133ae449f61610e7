// quern merge: a model with the weights of its adapter in it.
#include "cli/cli.h"

typedef struct {
    const char *model, *adapter, *output;
} settings;

static const option options[] = {
    {"model", FIELD(settings, model), "DIR", .help = "folder of the model", .required = true, .letter = 'm'},
    {"adapter", FIELD(settings, adapter), "DIR", .help = "folder of a LoRA adapter for the model", .required = true},
    {"output-dir", FIELD(settings, output), "DIR", .help = "folder of the new model", .required = true, .letter = 'o'},
    {0}};

static int run(const void *memory) {
    const settings *s = memory;
    return qn_merge(s->model, s->adapter, s->output) == QN_OK ? 0 : failed();
}

const command command_merge = {.name = "merge",
                               .help = "Puts a LoRA adapter into the weights of its model.",
                               .details = "The new folder needs neither of the two, and loads in transformers.",
                               .example =
                                   "quern merge --model all-MiniLM-L6-v2 --adapter topics-lora --output-dir topics",
                               .options = options,
                               .size = sizeof(settings),
                               .run = run};
