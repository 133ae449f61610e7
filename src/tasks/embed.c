// Sentence embeddings: vectors of texts that are near when their texts belong together.
#include "tasks/embed.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Options

static qn_status choose_similarity(const char *name, qn_embed_job *e) {
    static const qn_sbert_similarity known[] = {QN_SBERT_COSINE, QN_SBERT_DOT, QN_SBERT_EUCLIDEAN};
    e->similarity = e->loss ? e->loss->similarity : QN_SBERT_COSINE;
    if (!name) return QN_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, qn_sbert_similarity_name(known[i])) != 0) continue;
        e->similarity = known[i];
        if (known[i] == QN_SBERT_EUCLIDEAN && strcmp(e->loss->name, "triplet") != 0)
            return qn_fail(QN_ERROR_ARGUMENT, "similarity euclidean is for the loss triplet (expected cosine or dot)");
        return QN_OK;
    }
    return qn_fail(QN_ERROR_ARGUMENT, "similarity is \"%s\" (expected cosine, dot or euclidean)", name);
}

// "768, 256, 64": numbers separated by commas; *count of them.
static qn_status parse_list(const char *what, const char *text, double least, double *out, size_t *count) {
    *count = 0;
    while (*text) {
        char *end;
        double value = strtod(text, &end);
        while (*end == ' ') end++;
        if (end == text || (*end && *end != ',') || !(value >= least && value <= 1e6) || *count == QN_MATRYOSHKA_MOST)
            return qn_fail(QN_ERROR_ARGUMENT, "%s: \"%s\" (expected up to %d numbers from %g on, separated by commas)",
                           what, text, QN_MATRYOSHKA_MOST, least);
        out[(*count)++] = value;
        text = *end ? end + 1 : end;
    }
    return QN_OK;
}

static qn_status choose_dims(const qn_embed_training *o, qn_embed_job *e) {
    double dims[QN_MATRYOSHKA_MOST], weights[QN_MATRYOSHKA_MOST];
    size_t count = 0;
    if (!o->matryoshka_dims) return QN_OK;
    QN_TRY(parse_list("Matryoshka dims", o->matryoshka_dims, 1, dims, &e->dim_count));
    if (o->matryoshka_weights) {
        QN_TRY(parse_list("Matryoshka weights", o->matryoshka_weights, 0, weights, &count));
        if (count != e->dim_count)
            return qn_fail(QN_ERROR_ARGUMENT, "%zu Matryoshka weights for %zu dims (expected one each)", count,
                           e->dim_count);
    }
    for (size_t i = 0; i < e->dim_count; i++) {
        e->dims[i] = (size_t)dims[i];
        e->weights[i] = count ? (float)weights[i] : 1;
    }
    return QN_OK;
}

static qn_status choose_pooling(const qn_embed_training *o, qn_sbert *sbert) {
    if (o->pooling) {
        int i = 0;
        while (i < QN_SBERT_POOLINGS && strcmp(o->pooling, qn_sbert_pooling_name((qn_sbert_pooling)i)) != 0) i++;
        if (i == QN_SBERT_POOLINGS)
            return qn_fail(QN_ERROR_ARGUMENT, "pooling is \"%s\" (expected mean, cls or max)", o->pooling);
        sbert->pooling = (qn_sbert_pooling)i;
    }
    if (sbert->pooling > QN_SBERT_POOL_MEAN)
        return qn_fail(QN_ERROR_UNSUPPORTED, "pooling %s does not train (expected mean, cls or max)",
                       qn_sbert_pooling_name(sbert->pooling));
    if (o->normalize >= 0) sbert->normalize = o->normalize != 0;
    return QN_OK;
}

// What can be said before the data are read.
static qn_status prepare(qn_job *j, qn_embed_job *e) {
    const qn_embed_training *o = &j->training->embed;
    QN_TRY(qn_sbert_read(j->training->model, &e->sbert));
    QN_TRY(choose_pooling(o, &e->sbert));
    if (o->loss && !(e->loss = qn_embed_loss_find(o->loss))) return QN_ERROR_ARGUMENT;
    e->mini_batch = o->mini_batch;
    e->symmetric = o->symmetric;
    return choose_dims(o, e);
}

// The rest, once it is known what an example has.
static qn_status choose_loss(qn_job *j, qn_embed_job *e, const qn_dataset *d) {
    const qn_embed_training *o = &j->training->embed;
    bool scores = d->scores != NULL;
    if (d->width == 1)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: one text per example (expected two or more columns of texts, or the loss simcse)",
                       d->names[0]);
    if (!e->loss) e->loss = qn_embed_loss_usual(d->width, scores);
    if (d->width < e->loss->least || (e->loss->most && d->width > e->loss->most))
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu texts per example (the loss %s expects %zu%s)", d->names[0], d->width,
                       e->loss->name, e->loss->least, e->loss->most ? "" : " or more");
    QN_TRY(choose_similarity(o->similarity, e));
    if (e->dim_count && e->similarity != QN_SBERT_COSINE)
        return qn_fail(QN_ERROR_ARGUMENT, "Matryoshka dims go with the similarity cosine");
    e->scale = (float)(o->scale > 0 ? o->scale : e->loss->scale);
    e->margin = (float)(o->margin >= 0 ? o->margin : e->loss->margin);
    j->no_duplicates =
        o->no_duplicates < 0 ? e->loss->in_batch && !j->training->group_by_length : o->no_duplicates != 0;
    return QN_OK;
}

static qn_status check(const qn_training *o) {
    if (o->multi_label || o->balanced || o->label_smoothing > 0)
        return qn_fail(QN_ERROR_ARGUMENT, "embeddings have no labels: no multi-label, balanced or label smoothing");
    return QN_OK;
}

static qn_status only_measures(const qn_training *o) {
    return qn_fail(QN_ERROR_ARGUMENT, "the task %s measures (expected embed to train)", o->task);
}

// --- Data

static void free_own(qn_job *j) {
    qn_embed_job *e = j->own;
    if (e) qn_sbert_free(&e->sbert);
    free(e);
    j->own = NULL;
}

static qn_target target_of(const qn_job *j, const qn_embed_job *e, bool training) {
    if (training && e->loss) return e->loss->scores ? QN_TARGET_SCORE : QN_TARGET_NONE;
    if (j->task == &qn_task_sts) return QN_TARGET_SCORE;
    if (j->task != &qn_task_embed) return QN_TARGET_NONE;
    return !training && e->loss && e->loss->scores && e->loss->most == 2 ? QN_TARGET_SCORE : QN_TARGET_ANY_SCORE;
}

static qn_status read(qn_job *j, const char *const *paths, size_t count, bool training, qn_dataset *out) {
    qn_embed_job *e = j->own;
    if (!e) {
        e = j->own = qn_calloc(1, sizeof *e);
        if (!e) return QN_ERROR_MEMORY;
        e->sbert = qn_sbert_defaults();
        if (training) QN_TRY(prepare(j, e));
        size_t limit = (size_t)e->sbert.max_seq_length;
        if (training && limit && limit < j->encode.max_length) j->encode.max_length = limit;
    }
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(qn_job_reader(j, &options.reader));
    options.reader.group = true;
    options.target = target_of(j, e, training);
    options.reader.texts_only = options.target == QN_TARGET_NONE;
    options.encode = j->encode;
    options.keep_texts = !training;
    options.twice = training && e->loss && e->loss->twice;
    QN_TRY(qn_dataset_read(paths, count, j->tokenizer, &options, NULL, out));
    qn_status status = training ? choose_loss(j, e, out) : qn_embed_best_metric(j, out, &j->best_metric);
    if (status != QN_OK) qn_dataset_free(out);
    return status;
}

static qn_status configure(const qn_job *j, qn_model_config *config) {
    const qn_embed_job *e = j->own;
    for (size_t i = 0; i < e->dim_count; i++)
        if (e->dims[i] > config->encoder.hidden)
            return qn_fail(QN_ERROR_ARGUMENT, "Matryoshka dim %zu is above the model's width %zu", e->dims[i],
                           config->encoder.hidden);
    return QN_OK;
}

// --- Training

static qn_status loss(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch, double *value) {
    return qn_embed_batch_loss(j->own, network, c, batch, value);
}

static qn_status save(const qn_job *j, const qn_network *network, const char *folder) {
    qn_sbert *sbert = &((qn_embed_job *)j->own)->sbert;
    sbert->width = (int64_t)network->config.encoder.hidden;
    sbert->max_seq_length = (int64_t)j->encode.max_length;
    return qn_sbert_write(folder, sbert);
}

const qn_task qn_task_embed = {.name = "embed",
                               .title = "Sentence embeddings",
                               .best_metric = "loss",
                               .check = check,
                               .read = read,
                               .configure = configure,
                               .loss = loss,
                               .measure = qn_embed_measure,
                               .save = save,
                               .free_own = free_own};
#define MEASURE(name_, title_)                                                                                         \
    {                                                                                                                  \
        .name = name_, .title = title_, .check = only_measures, .read = read, .measure = qn_embed_measure,             \
        .free_own = free_own                                                                                           \
    }
const qn_task qn_task_sts = MEASURE("sts", "Similarity of texts"),
              qn_task_retrieval = MEASURE("retrieval", "Retrieval"), qn_task_triplets = MEASURE("triplets", "Triplets");
