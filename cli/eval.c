// quern eval: metrics of a model on labelled data.
#include "cli/use.h"
#include <stdlib.h>

typedef struct {
    use_settings use;
    const char *data, *task;
} settings;

static const option options[] = {
    USE_MODEL(settings),
    {"data", FIELD(settings, data), "FILE", .help = "labelled texts: TSV, CSV, JSON lines or fastText's, also gzipped",
     .required = true, .letter = 'd'},
    {"task", FIELD(settings, task), "NAME",
     .help = "what is measured; of vectors: sts, retrieval, triplets, or embed for the one that the columns are for",
     .choices = "classify|regress|tag|answer|rerank|embed|sts|retrieval|triplets", .fallback = "what the model's head is for"},
    {"output", FIELD(settings, use.output), "FILE", .help = "file for the metrics", .letter = 'o',
     .fallback = "standard output"},
    USE_FORMAT(settings),
    {"doc-stride", FIELD(settings, use.data.stride), "N", .alias = "stride",
     .help = "tagging, answers: tokens that windows of a long text share", .fallback = "128, or half a window"},
    {"label-column", FIELD(settings, use.data.label_column), "NAME", .help = "column of the label",
     .fallback = "by name"},
    {"score-column", FIELD(settings, use.data.score_column), "NAME", .help = "column of the number",
     .fallback = "by name"},
    {"text-columns", FIELD(settings, use.data.text_columns), "A,B,C",
     .help = "columns of the texts of embed, sts, retrieval and triplets", .fallback = "by name"},
    USE_SPEED(settings),
    {0}};

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    char *json = NULL;
    if (qn_model_open(s->use.model, &s->use.options, &model) != QN_OK) return failed();
    int status = qn_evaluate_task(model, s->task, s->data, &s->use.data, &json) == QN_OK ? 0 : failed();
    qn_model_close(model);
    output out;
    if (!status) status = output_open(&out, s->use.output);
    if (!status) {
        output_text(&out, json);
        output_text(&out, "\n");
        status = output_close(&out, 0);
    }
    free(json);
    return status;
}

const command command_eval = {.name = "eval",
                              .help = "Measures a model on labelled data: metrics as JSON.",
                              .details = "A label that the model does not know is an error that names file and line.",
                              .example = "quern eval --model topics --data data/wordnet/test.tsv",
                              .options = options,
                              .size = sizeof(settings),
                              .run = run};
