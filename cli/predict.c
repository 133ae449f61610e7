// quern predict: labels, numbers or entities of texts.
#include "cli/predict.h"
#include <stdlib.h>
#include <string.h>

typedef predict_settings settings;

static void defaults(void *memory) {
    settings *s = memory;
    s->top = 1;
    s->threshold = 0.5;
}

static const option options[] = {
    USE_MODEL(settings),
    USE_INPUT(settings),
    {"output", FIELD(settings, use.output), "FILE", .help = "file of JSON lines", .letter = 'o',
     .fallback = "standard output"},
    HEADING("What to print"),
    {"top-k", FIELD(settings, top), "N", .help = "also the scores of the N best labels; 0: of all", .letter = 'k'},
    {"threshold", FIELD(settings, threshold), "P",
     .help = "probability from which a label counts, for models of several labels", .max = 1},
    {"logits", FIELD(settings, logits), NULL, .help = "the raw outputs, in the order of the labels (see quern info)"},
    HEADING("Tagging"),
    {"split-by-space", FIELD(settings, split_by_space), NULL,
     .help = "words are what white space separates; otherwise punctuation stands alone"},
    {"unconstrained", FIELD(settings, unconstrained), NULL,
     .help = "each word's best tag, even where an I- stands without its B-"},
    {"doc-stride", FIELD(settings, stride), "N", .help = "tokens that windows of a long text share", .alias = "stride",
     .fallback = "128, or half a window"},
    USE_OVERFLOW(settings),
    USE_SPEED(settings),
    ARGUMENTS(settings, use.texts, "TEXT"),
    {0}};

typedef struct {
    const settings *s;
    qn_model *model;
    text_window window;
    output out;
    size_t labels, capacity;
    float *scores;
    size_t *order;
} predictor;

static void write_label(predictor *p, size_t label) {
    const char *name = qn_model_label(p->model, label);
    output_quoted(&p->out, name, strlen(name));
}

// The first `top` labels of `order` become the best ones, ties in the order of the labels.
static void choose_best(const predictor *p, const float *scores, size_t top) {
    for (size_t i = 0; i < p->labels; i++) p->order[i] = i;
    for (size_t k = 0; k < top; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < p->labels; i++) {
            float a = scores[p->order[i]], b = scores[p->order[best]];
            if (a > b || (!(a < b) && p->order[i] < p->order[best])) best = i;
        }
        size_t swap = p->order[k];
        p->order[k] = p->order[best];
        p->order[best] = swap;
    }
}

static void write_scores(predictor *p, const float *scores, size_t top) {
    output_text(&p->out, ", \"scores\": {");
    for (size_t k = 0; k < top; k++) {
        if (k) output_text(&p->out, ", ");
        write_label(p, p->order[k]);
        output_text(&p->out, ": ");
        output_number(&p->out, (double)scores[p->order[k]]);
    }
    output_text(&p->out, "}");
}

static int write_prediction(predictor *p, const qn_text *text, const float *scores) {
    qn_task_kind task = qn_model_task(p->model);
    size_t top = p->s->top == 0 || p->s->top > p->labels ? p->labels : p->s->top;
    output_text(&p->out, "{");
    if (p->s->logits) {
        output_text(&p->out, "\"logits\": ");
        output_vector(&p->out, scores, p->labels);
    } else if (task == QN_TASK_REGRESS || task == QN_TASK_RERANK) {
        output_text(&p->out, p->labels == 1 ? "\"score\": " : "\"scores\": ");
        if (p->labels == 1)
            output_number(&p->out, (double)scores[0]);
        else
            output_vector(&p->out, scores, p->labels);
    } else if (task == QN_TASK_MULTILABEL) {
        bool any = false;
        output_text(&p->out, "\"labels\": [");
        choose_best(p, scores, p->labels);
        for (size_t k = 0; k < p->labels; k++) {
            if (!((double)scores[p->order[k]] >= p->s->threshold)) continue;
            if (any) output_text(&p->out, ", ");
            write_label(p, p->order[k]);
            any = true;
        }
        output_text(&p->out, "]");
        write_scores(p, scores, top);
    } else {
        choose_best(p, scores, top);
        output_text(&p->out, "\"label\": ");
        write_label(p, p->order[0]);
        output_text(&p->out, ", \"score\": ");
        output_number(&p->out, (double)scores[p->order[0]]);
        if (p->s->top != 1) write_scores(p, scores, top);
    }
    if (write_usage(&p->out, p->model, text, false)) return 1;
    output_text(&p->out, "}\n");
    return 0;
}

static int predict(predictor *p) {
    for (;;) {
        int status = window_next(&p->window);
        if (status || p->window.count == 0) return status;
        if (p->window.count > p->capacity) {
            free(p->scores);
            p->scores = malloc(p->window.count * p->labels * sizeof *p->scores);
            p->capacity = p->scores ? p->window.count : 0;
            if (!p->scores) return fail("out of memory");
        }
        if (qn_classify(p->model, p->window.texts, p->window.count, p->s->logits, p->scores) != QN_OK) return failed();
        for (size_t i = 0; i < p->window.count; i++)
            if (write_prediction(p, &p->window.texts[i], p->scores + i * p->labels)) return 1;
        if (output_broken(&p->out)) return 1;
    }
}

static int run(const void *memory) {
    predictor p = {.s = memory};
    const use_settings *use = &p.s->use;
    int status = use_model(use, &p.model);
    if (status) return status;
    p.labels = qn_model_labels(p.model);
    bool tags = qn_model_task(p.model) == QN_TASK_TAG, answers = qn_model_task(p.model) == QN_TASK_ANSWER;
    bool replaced = qn_model_task(p.model) == QN_TASK_DISCRIMINATE;
    qn_answer_options how = qn_answer_defaults();
    how.stride = p.s->stride;
    if (p.s->top > 1) how.top = p.s->top;
    // A model without labels says so itself; then there is nothing to allocate.
    if (!tags && !answers && !replaced && p.labels == 0 && qn_classify(p.model, NULL, 0, false, NULL) != QN_OK) status = failed();
    if (!status && !(p.order = calloc(p.labels, sizeof *p.order))) status = fail("out of memory");
    if (!status) status = window_open(&p.window, use);
    if (!status) status = output_open(&p.out, use->output);
    if (!status)
        status = output_close(&p.out, tags       ? predict_tags(p.s, p.model, &p.window, &p.out)
                                      : answers  ? answer_all(p.model, &how, &p.window, &p.out)
                                      : replaced ? predict_replaced(p.model, &p.window, &p.out)
                                                 : predict(&p));
    window_close(&p.window);
    free(p.scores);
    free(p.order);
    qn_model_close(p.model);
    return status;
}

const command command_predict = {
    .name = "predict",
    .help = "Gives texts their labels, a regression's numbers or their entities, as JSON lines.",
    .details = "A line is {\"label\": ..., \"score\": ...}, with several labels per text "
               "{\"labels\": [...], \"scores\": {...}}, of a regression\n"
               "{\"score\": ...}, of a tagging model {\"spans\": [{\"label\", "
               "\"text\", \"start\", \"end\", ...}]} with places in characters and bytes, of an ELECTRA discriminator\n"
               "{\"tokens\": [...], \"replaced\": [...]}: how likely each token stands in another one's place.",
    .example = "echo 'a small mill for grain' | quern predict --model topics --top-k 3",
    .options = options,
    .size = sizeof(settings),
    .defaults = defaults,
    .run = run};
