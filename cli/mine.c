// quern mine: hard negatives for pairs of texts.
#include "cli/use.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    use_settings use;
    qn_mining mining;
    const char *data;
} settings;

static void defaults(void *memory) {
    ((settings *)memory)->mining = qn_mining_defaults();
}

static const option options[] = {
    USE_MODEL(settings),
    {"data", FIELD(settings, data), "FILE", .help = "pairs: anchor and positive, query and document", .required = true,
     .letter = 'd'},
    {"output", FIELD(settings, use.output), "FILE", .help = "FILE.jsonl, any other name is TSV", .required = true,
     .letter = 'o'},
    USE_FORMAT(settings),
    {"text-columns", FIELD(settings, use.data.text_columns), "A,B,C", .help = "columns of the texts",
     .fallback = "by name"},
    USE_PROMPTS(FIELD(settings, use.data.query_prompt), FIELD(settings, use.data.document_prompt)),
    HEADING("Negatives"),
    {"negatives", FIELD(settings, mining.negatives), "N", .help = "of each pair", .min = 1, .alias = "num-negatives"},
    {"range-min", FIELD(settings, mining.from), "N", .help = "so many of the nearest documents are passed over"},
    {"range-max", FIELD(settings, mining.to), "N", .help = "no document of a later rank is taken", .min = 1},
    {"margin", FIELD(settings, mining.margin), "X",
     .help = "a negative's cosine is at least so far below the positive's", .unlimited = true,
     .alias = "absolute-margin", .fallback = "none"},
    {"max-score", FIELD(settings, mining.max_score), "X", .help = "a negative's cosine is at most that",
     .unlimited = true, .fallback = "none"},
    USE_SPEED(settings),
    {0}};

static int run(const void *memory) {
    const settings *s = memory;
    qn_model *model;
    char *json = NULL;
    int status = use_model(&s->use, &model);
    if (status) return status;
    if (qn_mine(model, s->data, &s->use.data, &s->mining, s->use.output, &json) != QN_OK) status = failed();
    if (!status) printf("%s\n", json);
    free(json);
    qn_model_close(model);
    return status;
}

const command command_mine = {
    .name = "mine",
    .help = "Finds hard negatives: texts that are near a query and do not answer it.",
    .details =
        "All texts of the second column (and of further ones) are documents; those that stand beside a query in any "
        "row answer it. Pairs for which\nthere are not enough negatives are left out.",
    .example = "quern mine --model all-MiniLM-L6-v2 --data data/wordnet/validation.tsv --text-columns word,text "
               "--range-min 5 \\\n"
               "    --margin 0.1 --negatives 3 --output hard.tsv",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
