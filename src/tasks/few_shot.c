// Classification from a few examples per class (SetFit: Tunstall et al. 2022, arXiv:2209.11055): pairs of the labelled
// texts tune the encoder, so that what the classifier reads is near for texts of one class and far for others; the
// classifier itself is a logistic regression on what the tuned encoder makes of the texts, fitted whenever the model is
// measured, and at the end.
#include "base/rng.h"
#include "tasks/embed.h"
#include "tasks/logistic.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_STREAM = 0x70616972, STRENGTH = 10 }; // of the head's penalty, as C of scikit-learn

typedef struct {
    qn_dataset texts;    // as they were read: [n] with their classes
    qn_embed_job tuning; // its loss on pairs
    uint32_t *members;   // [n] the texts, class by class
    size_t *first;       // [classes + 1] where a class begins in them
} few_shot;

static qn_status check(const qn_training *o) {
    if (o->multi_label || o->balanced || o->label_smoothing > 0)
        return qn_fail(
            QN_ERROR_ARGUMENT,
            "few-shot learns by pairs of texts with one label each: no multi-label, balanced or label smoothing");
    if (o->pairs < 1 || o->pairs > 10000)
        return qn_fail(QN_ERROR_ARGUMENT, "%lld pairs for each text (expected 1 to 10000)", (long long)o->pairs);
    return QN_OK;
}

static void free_own(qn_job *j) {
    few_shot *f = j->own;
    if (!f) return;
    qn_dataset_free(&f->texts);
    free(f->members);
    free(f->first);
    free(f);
    j->own = NULL;
}

static qn_status choose_loss(const qn_embed_training *o, qn_embed_job *e) {
    e->loss = qn_embed_loss_find(o->loss ? o->loss : "classes");
    if (!e->loss) return QN_ERROR_ARGUMENT;
    if (!e->loss->classes && !(e->loss->scores && e->loss->most == 2))
        return qn_fail(QN_ERROR_ARGUMENT,
                       "the loss %s does not learn from labels (expected classes, cosine, cosent or contrastive)",
                       e->loss->name);
    e->similarity = QN_SBERT_COSINE;
    e->scale = (float)(o->scale > 0 ? o->scale : e->loss->scale);
    e->margin = (float)(o->margin >= 0 ? o->margin : e->loss->margin);
    return QN_OK;
}

// --- Pairs

static qn_status sort_by_class(few_shot *f) {
    const qn_dataset *d = &f->texts;
    size_t n = qn_dataset_count(d);
    f->members = qn_malloc(n, sizeof *f->members);
    f->first = qn_calloc(d->labels + 2, sizeof *f->first);
    if (!f->members || !f->first) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) f->first[d->classes[i] + 2]++;
    for (size_t c = 0; c < d->labels; c++) f->first[c + 2] += f->first[c + 1];
    for (size_t i = 0; i < n; i++) f->members[f->first[d->classes[i] + 1]++] = (uint32_t)i;
    return QN_OK;
}

// The texts of i's class in a random order, but for i itself, over and over. A text that is alone in its class is its
// own partner: two dropout masks make two vectors of it.
typedef struct {
    qn_rng rng;
    uint32_t *list; // [count], or [0] where it is alone
    size_t count, at;
} partners;

static void start_partners(const few_shot *f, uint32_t i, uint64_t seed, partners *p) {
    size_t class = (size_t)f->texts.classes[i];
    p->rng = (qn_rng){seed, (uint64_t)PAIRS_STREAM << 32 | i, 0};
    p->count = p->at = 0;
    p->list[0] = i;
    for (size_t k = f->first[class]; k < f->first[class + 1]; k++)
        if (f->members[k] != i) p->list[p->count++] = f->members[k];
}

static uint32_t next_partner(partners *p) {
    if (p->count == 0) return p->list[0];
    if (p->at == 0)
        for (size_t k = p->count; k > 1; k--) {
            size_t other = (size_t)qn_rng_below(&p->rng, k);
            uint32_t swapped = p->list[k - 1];
            p->list[k - 1] = p->list[other];
            p->list[other] = swapped;
        }
    uint32_t partner = p->list[p->at];
    p->at = (p->at + 1) % p->count;
    return partner;
}

static uint32_t next_stranger(const few_shot *f, uint32_t i, partners *p) {
    size_t n = qn_dataset_count(&f->texts), first = f->first[f->texts.classes[i]],
           end = f->first[f->texts.classes[i] + 1];
    size_t k = (size_t)qn_rng_below(&p->rng, n - (end - first));
    return f->members[k < first ? k : k + end - first];
}

static qn_status add_text(const few_shot *f, uint32_t i, qn_dataset *out) {
    const qn_sequences *from = &f->texts.sequences;
    QN_TRY(qn_sequences_put_from(&out->sequences, from, from->offsets[i], from->offsets[i + 1]));
    return qn_sequences_close(&out->sequences, from->second[i]);
}

// Pair number qn_dataset_count(out): with the class of both, or with a score.
static qn_status add_pair(const few_shot *f, uint32_t i, uint32_t other, qn_dataset *out) {
    size_t n = qn_dataset_count(out);
    if (out->classes)
        out->classes[n] = f->texts.classes[i];
    else
        out->scores[n] = f->texts.classes[i] == f->texts.classes[other];
    QN_TRY(add_text(f, i, out));
    return add_text(f, other, out);
}

// For each text so many pairs with texts of its class; where the loss learns from scores, as many with others.
static qn_status make_pairs(const qn_job *j, const few_shot *f, qn_dataset *out) {
    size_t n = qn_dataset_count(&f->texts), pairs;
    bool scores = f->tuning.loss->scores;
    if (__builtin_mul_overflow(n, (size_t)j->training->pairs * (scores ? 2 : 1), &pairs) || pairs > UINT32_MAX / 2)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%lld pairs for each of %zu texts are too many",
                       (long long)j->training->pairs, n);
    *out = (qn_dataset){.width = 2, .target = scores ? QN_TARGET_SCORE : QN_TARGET_CLASS, .labels = f->texts.labels};
    out->names = qn_calloc(1, sizeof *out->names);
    if (out->names) out->name_count = (out->names[0] = qn_strdup(f->texts.names[0])) != NULL;
    if (scores)
        out->scores = qn_malloc(pairs, sizeof *out->scores);
    else
        out->classes = qn_malloc(pairs, sizeof *out->classes);
    partners p = {.list = qn_malloc(n, sizeof *p.list)};
    qn_status status = out->name_count && (out->scores || out->classes) && p.list ? QN_OK : QN_ERROR_MEMORY;
    for (uint32_t i = 0; status == QN_OK && i < n; i++) {
        start_partners(f, i, j->training->seed, &p);
        for (int64_t k = 0; status == QN_OK && k < j->training->pairs; k++) {
            status = add_pair(f, i, next_partner(&p), out);
            if (status == QN_OK && scores) status = add_pair(f, i, next_stranger(f, i, &p), out);
        }
    }
    free(p.list);
    out->truncated = f->texts.truncated;
    out->fingerprint = qn_sequences_hash(&out->sequences);
    return status;
}

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    if (!training) return qn_task_classify.read(j, paths, count, false, out);
    few_shot *f = j->own = qn_calloc(1, sizeof *f);
    if (!f) return QN_ERROR_MEMORY;
    QN_TRY(choose_loss(&j->training->embed, &f->tuning));
    QN_TRY(qn_task_classify.read(j, paths, count, true, &f->texts));
    if (f->texts.labels < 2)
        return qn_fail(QN_ERROR_FORMAT, "%s: all texts have one label (expected two or more)", paths[0]);
    QN_TRY(sort_by_class(f));
    qn_status status = make_pairs(j, f, out);
    if (status != QN_OK) qn_dataset_free(out);
    return status;
}

static qn_status loss(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch, double *value) {
    const few_shot *f = j->own;
    qn_tokens tokens = qn_batch_tokens(batch);
    return qn_embed_loss_of(&f->tuning, c, qn_network_class_values(c, network, &tokens), batch, value);
}

// --- The head

static qn_status receive_values(qn_model *m, qn_context *c, const qn_infer_batch *batch, void *user) {
    float *values = user;
    size_t d = qn_width(m->network->classifier.weight);
    qn_tensor *x = qn_network_pooled(c, m->network, batch->hidden, batch->tokens.ragged);
    if (!x) return qn_context_status(c);
    for (size_t i = 0; i < batch->tokens.ragged.sequences; i++)
        m->backend->ops->copy_out(m->backend, values + batch->index[i] * d, x->data + i * d, d * sizeof *values);
    return QN_OK;
}

// What the values are divided by, so that their mean squared length is one and the penalty means the same for every
// encoder.
static double root_mean_length(size_t rows, size_t d, const float *values) {
    double sum = 0;
    for (size_t k = 0; k < rows * d; k++) sum += (double)values[k] * values[k];
    return sum > 0 ? sqrt(sum / (double)rows) : 1;
}

static qn_status settle(const qn_job *j, qn_model *m) {
    const few_shot *f = j->own;
    qn_tensor *weight = m->network->classifier.weight;
    size_t n = qn_dataset_count(&f->texts), d = qn_width(weight), labels = f->texts.labels;
    float *values = qn_malloc(n, d * sizeof *values);
    if (!values) return QN_ERROR_MEMORY;
    qn_status status = qn_infer_sequences(m, &f->texts.sequences, false, receive_values, values);
    if (status == QN_OK) {
        double length = root_mean_length(n, d, values);
        for (size_t k = 0; k < n * d; k++) values[k] = (float)(values[k] / length);
        qn_logistic problem = {n, d, labels, values, f->texts.classes, STRENGTH};
        status = qn_logistic_fit(&problem, weight->data, m->network->classifier.bias->data);
        for (size_t k = 0; k < labels * d; k++) weight->data[k] = (float)(weight->data[k] / length);
    }
    free(values);
    return status;
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    return qn_task_classify.configure(j, config);
}

static qn_status measure(const qn_job *j, qn_model *model, const qn_dataset *d, qn_outcome *out) {
    return qn_task_classify.measure(j, model, d, out);
}

const qn_task qn_task_few_shot = {.name = "few-shot",
                                  .title = "Few-shot classification",
                                  .heads = QN_HEAD_POOLER | QN_HEAD_CLASSIFIER,
                                  .problem = QN_PROBLEM_SINGLE_LABEL,
                                  .best_metric = "accuracy",
                                  .check = check,
                                  .read = read,
                                  .configure = configure,
                                  .loss = loss,
                                  .settle = settle,
                                  .measure = measure,
                                  .free_own = free_own};
