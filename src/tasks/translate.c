// Translation (or any text made from a text): an encoder-decoder learns to give the next token of the target from its
// source and the tokens before. Measured by the loss of the right tokens, and by what it writes on its own: BLEU and
// chrF.
#include "data/loader.h"
#include "metrics/translation.h"
#include "tasks/sides.h"
#include "tasks/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qn_status check(const qn_training *o) {
    if (o->multi_label || o->balanced)
        return qn_fail(QN_ERROR_ARGUMENT, "a translation has no labels: no multi-label and no balanced");
    return QN_OK;
}

// --- Data. An example is two sequences, source and target.

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(qn_job_reader(j, &options.reader));
    options.reader.group = options.reader.texts_only = true;
    if (!options.reader.text_columns && !options.reader.text_column) options.reader.text_columns = "source,target";
    options.encode = j->encode;
    options.keep_texts = !training;
    QN_TRY(qn_dataset_read(paths, count, j->tokenizer, &options, NULL, out));
    if (out->width == 2) return QN_OK;
    qn_status status = qn_fail(QN_ERROR_FORMAT, "%s: %zu texts per example (expected two: a source and its target)",
                               paths[0], out->width);
    qn_dataset_free(out);
    return status;
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    (void)j;
    if (config->encoder_decoder) return QN_OK;
    return qn_fail(QN_ERROR_ARGUMENT,
                   "%s: \"%s\" has no decoder that reads an encoder (expected an encoder-decoder such as \"marian\")",
                   config->source, config->family->model_type);
}

static qn_status loss(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch, double *value) {
    return qn_sides_loss(network, c, batch, (float)j->training->label_smoothing, 0, &(qn_sides_sums){0}, value);
}

// --- Measuring

// The loss of all target tokens, without smoothing.
static qn_status measure_loss(qn_model *m, const qn_dataset *d, qn_sides_sums *sums) {
    qn_sampler_options options = {.order = QN_ORDER_SORTED, .batch_tokens = m->batch_tokens, .width = 2};
    qn_loader loader = {.dataset = d, .epochs = 1};
    qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
    QN_TRY(qn_sampler_create(&d->sequences, &options, &loader.sampler));
    qn_status status = qn_sides_measure(m->network, &c, qn_loader_source(&loader), sums);
    qn_sampler_free(loader.sampler);
    return status;
}

typedef struct {
    const qn_dataset *dataset;
    qn_outcome *outcome;
    qn_translation sums;
} judge;

// The translations that are least like their references, by chrF.
static qn_status add_mistake(judge *g, size_t i, const char *text, double chrf) {
    qn_outcome *o = g->outcome;
    size_t at = o->mistake_count;
    if (at == QN_MOST_MISTAKES && chrf >= o->mistakes[at - 1].score) return QN_OK;
    const char *source, *target, *found = qn_arena_strndup(o->strings, text, strlen(text));
    if (!found) return QN_ERROR_MEMORY;
    qn_dataset_text(g->dataset, i, &source, &target);
    if (at < QN_MOST_MISTAKES)
        o->mistake_count++;
    else
        at--;
    for (; at > 0 && chrf < o->mistakes[at - 1].score; at--) o->mistakes[at] = o->mistakes[at - 1];
    o->mistakes[at] = (qn_mistake){source, NULL, target, found, NAN, chrf};
    return QN_OK;
}

static qn_status judge_one(void *user, const qn_translated *t) {
    judge *g = user;
    const char *target = qn_dataset_group_text(g->dataset, t->index, 1);
    size_t size = strlen(target);
    qn_translation own = {0};
    if (t->rank > 0) return QN_OK;
    QN_TRY(qn_translation_add(&g->sums, t->text, t->size, &target, &size, 1));
    QN_TRY(qn_translation_add(&own, t->text, t->size, &target, &size, 1));
    return add_mistake(g, t->index, t->text, qn_translation_measure(&own).chrf);
}

// Text is written by packed weights; those of a network in training are as they were afterwards.
static qn_status translate(qn_model *m, const qn_text *texts, size_t count, const qn_translation_options *options,
                           judge *g) {
    if (m->lent) m->packed = m->head_packed = false;
    qn_status status = qn_translate(m, texts, count, options, judge_one, g);
    if (!m->lent) return status;
    qn_infer_unpack(m);
    m->packed = m->head_packed = true;
    return status;
}

static qn_status write_all(const qn_job *j, qn_model *m, judge *g) {
    const qn_dataset *d = g->dataset;
    qn_outcome *o = g->outcome;
    size_t count = qn_dataset_count(d);
    qn_translation_options options = qn_translation_defaults();
    options.beam_size = j->data ? j->data->beams : 0;
    o->mistakes = qn_calloc(QN_MOST_MISTAKES, sizeof *o->mistakes);
    o->strings = qn_arena_create(1 << 12);
    qn_text *texts = qn_calloc(count, sizeof *texts);
    qn_status status = o->mistakes && o->strings && texts ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < count; i++) {
        const char *source = qn_dataset_group_text(d, i, 0);
        texts[i] = (qn_text){.text = source, .size = strlen(source)};
    }
    qn_overflow overflow = m->overflow; // what the loss reads is cut too
    m->overflow = QN_OVERFLOW_TRUNCATE;
    if (status == QN_OK) status = translate(m, texts, count, &options, g);
    m->overflow = overflow;
    free(texts);
    return status;
}

static qn_status measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    judge g = {.dataset = d, .outcome = out};
    qn_sides_sums sums = {0};
    QN_TRY(measure_loss(m, d, &sums));
    double mean = sums.tokens ? sums.loss / (double)sums.tokens : NAN;
    QN_TRY(write_all(j, m, &g));
    qn_translation_scores scores = qn_translation_measure(&g.sums);
    const qn_metric scalars[] = {
        {"perplexity", exp(mean), true}, {"bleu", scores.bleu, false}, {"chrf", scores.chrf, false}};
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"loss", mean},        {"perplexity", exp(mean)},   {"bleu", scores.bleu},
                   {"chrf", scores.chrf}, {"brevity", scores.brevity}, {"length_ratio", scores.length_ratio}};
    qn_outcome_metrics(out, mean, scalars, 3);
    out->valued = true;
    qn_buffer_printf(&out->json, "{\"task\": \"translate\", \"count\": %zu, \"target_tokens\": %zu",
                     qn_dataset_count(d), sums.tokens);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        qn_buffer_printf(&out->json, ", \"%s\": ", numbers[i].name);
        qn_buffer_json_number(&out->json, numbers[i].value, 9);
    }
    qn_buffer_char(&out->json, '}');
    return qn_buffer_status(&out->json);
}

const qn_task qn_task_translate = {.name = "translate",
                                   .title = "Translation",
                                   .heads = QN_HEAD_LM,
                                   .problem = QN_PROBLEM_SINGLE_LABEL,
                                   .best_metric = "bleu",
                                   .check = check,
                                   .read = read,
                                   .configure = configure,
                                   .loss = loss,
                                   .measure = measure};
