// Translation (or any text made from a text): an encoder-decoder learns to give the next token of the target from its
// source and the tokens before. Measured by the loss of the right tokens, and by what it writes on its own: BLEU and
// chrF.
#include "data/loader.h"
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

// --- Batches

// The two sides of a batch, whose sequences alternate.
typedef struct {
    qn_tokens source, target; // target's ids: what the decoder is given
    int32_t *labels;          // [target.tokens] what it is to give
} sides;

// Copies every second sequence, from `first` on. NULL, with the last error set, without memory.
static int32_t *copy_side(qn_arena *arena, const qn_batch *b, size_t first, qn_tokens *out) {
    size_t n = b->sequences / 2, used = 0;
    int32_t *ids = qn_arena_alloc(arena, b->tokens, sizeof *ids),
            *types = qn_arena_zalloc(arena, b->tokens, sizeof *types),
            *positions = qn_arena_alloc(arena, b->tokens, sizeof *positions),
            *offsets = qn_arena_alloc(arena, n + 1, sizeof *offsets);
    if (!ids || !types || !positions || !offsets) return NULL;
    for (size_t i = 0; i < n; i++) {
        int32_t begin = b->offsets[2 * i + first], end = b->offsets[2 * i + first + 1];
        offsets[i] = (int32_t)used;
        for (int32_t t = begin; t < end; t++, used++) {
            ids[used] = b->ids[t];
            positions[used] = b->positions[t];
        }
    }
    offsets[n] = (int32_t)used;
    *out = (qn_tokens){.tokens = used, .ids = ids, .types = types, .positions = positions, .ragged = {n, offsets}};
    return ids;
}

static qn_status split(qn_context *c, const qn_network *network, const qn_batch *b, sides *out) {
    int32_t *shifted = qn_arena_alloc(c->records, b->tokens, sizeof *shifted);
    if (!shifted || !copy_side(c->records, b, 0, &out->source)) return QN_ERROR_MEMORY;
    out->labels = copy_side(c->records, b, 1, &out->target);
    if (!out->labels) return QN_ERROR_MEMORY;
    qn_network_shift(network, out->target.ragged, out->labels, shifted);
    out->target.ids = shifted;
    return QN_OK;
}

static qn_status batch_loss(qn_network *network, qn_context *c, const qn_batch *batch, float smoothing, size_t *tokens,
                            double *value) {
    sides s;
    QN_TRY(split(c, network, batch, &s));
    qn_tensor *hidden = qn_network_translate(c, network, &s.source, &s.target, (qn_rows_read){0});
    *tokens = s.target.tokens;
    return qn_cross_entropy(c, qn_network_masked_lm(c, network, hidden, s.target.tokens, NULL), s.labels, NULL,
                            smoothing, value);
}

static qn_status loss(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch, double *value) {
    size_t tokens;
    return batch_loss(network, c, batch, (float)j->training->label_smoothing, &tokens, value);
}

// --- Measuring

// The mean loss of all target tokens, without smoothing.
static qn_status mean_loss(qn_model *m, const qn_dataset *d, double *mean, size_t *tokens) {
    qn_sampler_options options = {.order = QN_ORDER_SORTED, .batch_tokens = m->batch_tokens, .width = 2};
    qn_loader loader = {.dataset = d, .epochs = 1};
    qn_batch batch = {0};
    double sum = 0;
    bool end = false;
    QN_TRY(qn_sampler_create(&d->sequences, &options, &loader.sampler));
    qn_source source = qn_loader_source(&loader);
    qn_status status;
    *tokens = 0;
    while ((status = source.next(source.self, &batch, &end)) == QN_OK && !end) {
        double part;
        size_t some;
        qn_arena_reset(m->arena);
        qn_arena_reset(m->records);
        qn_context c = {.backend = m->backend, .arena = m->arena, .records = m->records, .loss_scale = 1};
        status = batch_loss(m->network, &c, &batch, 0, &some, &part);
        if (status != QN_OK) break;
        sum += part * (double)some;
        *tokens += some;
    }
    qn_batch_free(&batch);
    qn_sampler_free(loader.sampler);
    *mean = *tokens ? sum / (double)*tokens : NAN;
    return status;
}

static qn_status measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    double mean;
    size_t tokens;
    QN_TRY(mean_loss(m, d, &mean, &tokens));
    const qn_metric scalars[] = {{"perplexity", exp(mean), true}};
    qn_outcome_metrics(out, mean, scalars, 1);
    qn_buffer_printf(&out->json, "{\"count\": %zu, \"target_tokens\": %zu, \"loss\": ", qn_dataset_count(d), tokens);
    qn_buffer_json_number(&out->json, mean, 9);
    qn_buffer_text(&out->json, ", \"perplexity\": ");
    qn_buffer_json_number(&out->json, exp(mean), 9);
    qn_buffer_char(&out->json, '}');
    return qn_buffer_status(&out->json);
}

const qn_task qn_task_translate = {.name = "translate",
                                   .title = "Translation",
                                   .heads = QN_HEAD_MASKED_LM,
                                   .problem = QN_PROBLEM_SINGLE_LABEL,
                                   .best_metric = "loss",
                                   .check = check,
                                   .read = read,
                                   .configure = configure,
                                   .loss = loss,
                                   .measure = measure};
