// Extractive question answering: where in a text the answer begins and ends.
#include "infer/answer.h"
#include "base/memory.h"
#include "tasks/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Data

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    qn_windowed_options options = {.format = j->data ? j->data->format : NULL,
                                   .encode = j->encode,
                                   .stride = j->data ? j->data->stride : 0,
                                   .keep_texts = !training};
    return qn_dataset_read_answers(paths, count, j->tokenizer, &options, out);
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    (void)j;
    return qn_model_config_set_labels(config, QN_PROBLEM_SINGLE_LABEL, 2, NULL);
}

static qn_status check(const qn_training *o) {
    if (o->label_smoothing > 0) return qn_fail(QN_ERROR_ARGUMENT, "label smoothing is for tasks with labels");
    return qn_task_check_balance(o);
}

// --- Training

static qn_status loss_of_answers(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch,
                                 double *loss) {
    (void)j;
    qn_tokens tokens = qn_batch_tokens(batch);
    qn_tensor *hidden = qn_encoder_forward(c, &network->encoder, &tokens);
    return qn_span_cross_entropy(c, qn_network_answer(c, network, hidden), tokens.ragged, batch->answers[0],
                                 batch->answers[1], loss);
}

// --- Measuring

// -log softmax(column)[target] over the rows of [rows, 2]
static double column_cross_entropy(const float *z, size_t rows, int32_t target) {
    double top = -INFINITY, sum = 0;
    for (size_t i = 0; i < rows; i++) top = fmax(top, z[2 * i]);
    for (size_t i = 0; i < rows; i++) sum += exp(z[2 * i] - top);
    return log(sum) - (z[2 * (size_t)target] - top);
}

static double mean_loss(const qn_dataset *d, const float *logits) {
    double sum = 0;
    for (size_t i = 0; i < d->sequences.count; i++) {
        const float *z = logits + 2 * qn_sequences_begin(&d->sequences, i);
        size_t rows = (size_t)qn_sequences_length(&d->sequences, i);
        for (size_t k = 0; k < 2; k++) sum += column_cross_entropy(z + k, rows, d->answers[2 * i + k]) / 2;
    }
    return sum / (double)d->sequences.count;
}

typedef struct {
    qn_answer_window *windows; // [sequences]
    qn_answer_limits limits;
    qn_answers sums;
    double worst[QN_MOST_MISTAKES]; // probabilities of the mistakes, descending
} reading;

static qn_status add_mistake(const qn_dataset *d, size_t document, const qn_answer_guess *g, reading *r,
                             qn_outcome *o) {
    size_t count = o->mistake_count;
    if (count == QN_MOST_MISTAKES && g->probability <= r->worst[count - 1]) return QN_OK;
    const char *question, *context, *gold = d->gold + d->gold_offsets[document];
    qn_dataset_text(d, document, &question, &context);
    char *found = g->none ? "none" : qn_arena_strndup(o->strings, context + g->start, (size_t)(g->end - g->start));
    if (!found) return QN_ERROR_MEMORY;
    size_t at = count < QN_MOST_MISTAKES ? o->mistake_count++ : count - 1;
    for (; at > 0 && g->probability > r->worst[at - 1]; at--) {
        o->mistakes[at] = o->mistakes[at - 1];
        r->worst[at] = r->worst[at - 1];
    }
    o->mistakes[at] = (qn_mistake){question, context, *gold ? gold : "none", found, NAN, g->probability};
    r->worst[at] = g->probability;
    return QN_OK;
}

static qn_status judge(const qn_dataset *d, size_t document, size_t first, size_t count, reading *r, qn_outcome *o) {
    qn_answer_guess guesses[32];
    double none, f1;
    bool exact;
    size_t found = qn_answer_guesses(r->windows + first, count, &r->limits, guesses, &none);
    const char *question, *context, *gold = d->gold + d->gold_offsets[document];
    qn_dataset_text(d, document, &question, &context);
    qn_answer_guess best = found ? guesses[0] : (qn_answer_guess){.none = true};
    QN_TRY(qn_answer_score(best.none ? "" : context + best.start, best.none ? 0 : (size_t)(best.end - best.start), gold,
                           &exact, &f1));
    qn_answers_add(&r->sums, *gold != '\0', exact, f1);
    return f1 < 1 ? add_mistake(d, document, &best, r, o) : QN_OK;
}

static qn_status measure_windows(qn_model *m, const qn_dataset *d, reading *r, qn_outcome *o) {
    const qn_sequences *s = &d->sequences;
    o->count = s->tokens;
    o->scores = qn_malloc(s->tokens, 2 * sizeof *o->scores);
    o->mistakes = qn_calloc(QN_MOST_MISTAKES, sizeof *o->mistakes);
    o->strings = qn_arena_create(1 << 12);
    r->windows = qn_malloc(s->count, sizeof *r->windows);
    if (!o->scores || !o->mistakes || !o->strings || !r->windows) return QN_ERROR_MEMORY;
    QN_TRY(qn_infer_tokens(m, s, QN_HEAD_SPAN, NULL, o->scores));
    for (size_t i = 0; i < s->count; i++) {
        size_t first = (size_t)qn_sequences_begin(s, i);
        r->windows[i] = (qn_answer_window){o->scores + 2 * first, d->starts + first, d->ends + first,
                                           (size_t)qn_sequences_length(s, i)};
    }
    // "None" is a guess where the data has such questions, as SQuAD 2.0.
    r->limits = (qn_answer_limits){.best = 20, .longest = 30};
    for (size_t i = 0; i < d->documents; i++) r->limits.allow_none |= d->gold[d->gold_offsets[i]] == '\0';
    for (size_t first = 0, last; first < s->count; first = last) {
        for (last = first + 1; last < s->count && d->document[last] == d->document[first];) last++;
        QN_TRY(judge(d, d->document[first], first, last - first, r, o));
    }
    qn_answers mean = qn_answers_mean(&r->sums);
    qn_metric scalars[QN_METRICS_MAX];
    qn_outcome_metrics(o, mean_loss(d, o->scores), scalars, qn_answers_scalars(&mean, scalars));
    qn_answers_json(&mean, &o->json);
    return qn_buffer_status(&o->json);
}

static qn_status measure(const qn_job *j, qn_model *m, const qn_dataset *d, qn_outcome *out) {
    (void)j;
    reading r = {0};
    qn_status status = measure_windows(m, d, &r, out);
    free(r.windows);
    return status;
}

const qn_task qn_task_answer = {.name = "answer",
                                .title = "Question answering",
                                .heads = QN_HEAD_SPAN,
                                .problem = QN_PROBLEM_SINGLE_LABEL,
                                .best_metric = "f1",
                                .check = check,
                                .read = read,
                                .configure = configure,
                                .loss = loss_of_answers,
                                .measure = measure};
