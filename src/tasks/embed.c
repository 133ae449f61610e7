// Sentence embeddings: vectors of texts that are near when their texts belong together.
#include "tasks/embed.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- Options

static qn_status choose_similarity(const char *name, qn_embed_job *e) {
    static const qn_sbert_similarity known[] = {QN_SBERT_COSINE, QN_SBERT_DOT, QN_SBERT_EUCLIDEAN};
    e->similarity = e->loss ? e->loss->similarity : QN_SBERT_COSINE;
    if (e->sparse && e->similarity == QN_SBERT_COSINE) e->similarity = QN_SBERT_DOT;
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

// The prefixes are colbert-ir's, where the vocabulary has them.
static qn_status make_late(const qn_job *j, const qn_embed_training *o, qn_sbert *sentence) {
    const char *prefixes[] = {"[unused0]", "[unused1]"};
    bool known = qn_tokenizer_id(j->tokenizer, prefixes[0]) >= 0 && qn_tokenizer_id(j->tokenizer, prefixes[1]) >= 0;
    return qn_sbert_make_late(sentence, o->dense ? o->dense : 128, known ? prefixes[0] : NULL,
                              known ? prefixes[1] : NULL);
}

// What the user asks for on top of what the folder has. A checkpoint has it already.
static qn_status choose_modules(const qn_job *j, const qn_embed_training *o, qn_sbert *sentence) {
    sentence->present = true;
    if (j->resumes) return QN_OK;
    if (o->sparse) qn_sbert_make_sparse(sentence);
    if (o->multi_vector) QN_TRY(make_late(j, o, sentence));
    if (sentence->late.on && (o->pooling || o->normalize >= 0 || o->sparse || o->matryoshka_dims))
        return qn_fail(QN_ERROR_ARGUMENT, "vectors of tokens have no pooling, Matryoshka dims or choice of normalisation");
    if (sentence->sparse && (o->pooling || o->dense || o->normalize > 0))
        return qn_fail(QN_ERROR_ARGUMENT, "sparse vectors have no pooling, dense layer or normalisation");
    if (o->pooling) QN_TRY(qn_sbert_set_poolings(sentence, o->pooling));
    return o->normalize >= 0 ? qn_sbert_set_normalize(sentence, o->normalize != 0) : QN_OK;
}

// In retrieval there are queries and documents, with prompts of their own.
static qn_status choose_prompts(qn_job *j, qn_embed_job *e) {
    const qn_data_options *d = j->data;
    const char *given[2] = {d ? d->query_prompt : NULL, d ? d->document_prompt : NULL};
    const qn_purpose purposes[2] = {QN_FOR_QUERIES, QN_FOR_DOCUMENTS};
    bool searches = j->task == &qn_task_retrieval;
    for (int i = 0; i < 2; i++) {
        if (!j->prompts || (j->training && !given[i])) continue; // none in training unless asked for
        e->prompts[i] = qn_sbert_prompt_of(j->prompts, given[i], searches ? purposes[i] : QN_FOR_ANYTHING);
        QN_TRY(qn_infer_prompt_tokens(j->prompts, j->tokenizer, &j->encode, e->prompts[i], &e->prompt_tokens[i]));
    }
    return QN_OK;
}

// Deleted words, unless the user wants other noise; and the decoder.
static qn_status prepare_restoring(qn_job *j, qn_embed_job *e) {
    qn_noise_options o = {.words = true, .max_length = j->encode.max_length, .seed = j->training->seed};
    if (!qn_noise_options_take(&o, &j->training->noise)) o.deletion = 0.6;
    QN_TRY(qn_noise_init(&e->noise, j->tokenizer, &o));
    e->decoder = (qn_text_decoder){.tied = j->training->decoder.tied != 0, .layers = j->training->decoder.layers};
    if (qn_has_text_decoder(j->folder)) e->decoder.folder = j->folder;
    j->noise = &e->noise;
    j->text_decoder = &e->decoder;
    return QN_OK;
}

// What can be said before the data are read.
static qn_status prepare(qn_job *j, qn_embed_job *e) {
    const qn_embed_training *o = &j->training->embed;
    QN_TRY(qn_sbert_read(j->folder ? j->folder : j->training->model, &j->sentence));
    QN_TRY(choose_modules(j, o, &j->sentence));
    j->prompts = &j->sentence;
    size_t limit = (size_t)j->sentence.max_seq_length;
    if (limit && limit < j->encode.max_length) j->encode.max_length = limit;
    if (o->loss && !(e->loss = qn_embed_loss_find(o->loss))) return QN_ERROR_ARGUMENT;
    e->mini_batch = o->mini_batch;
    e->sparse = j->sentence.sparse;
    e->flops[0] = (float)(o->query_flops < 0 ? 5e-5 : o->query_flops);
    e->flops[1] = (float)(o->document_flops < 0 ? 3e-5 : o->document_flops);
    e->symmetric = o->symmetric;
    if (e->loss && e->loss->restores) QN_TRY(prepare_restoring(j, e));
    return choose_dims(o, e);
}

// The rest, once it is known what an example has.
static qn_status choose_loss(qn_job *j, qn_embed_job *e, const qn_dataset *d) {
    const qn_embed_training *o = &j->training->embed;
    bool scores = d->scores != NULL;
    if (!e->loss && d->width == 1 && !o->teacher)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: one text per example (expected two or more columns of texts, the loss simcse or tsdae, or a teacher)",
                       d->names[0]);
    if (!e->loss) e->loss = qn_embed_loss_usual(d->width, scores, o->teacher != NULL);
    if (e->loss->teacher && !o->teacher)
        return qn_fail(QN_ERROR_ARGUMENT, "the loss %s needs a teacher (expected its folder)", e->loss->name);
    if (o->teacher && !e->loss->teacher && !e->loss->scores)
        return qn_fail(QN_ERROR_ARGUMENT, "the loss %s has no use for a teacher (expected distill, margin-mse, cosent or cosine)",
                       e->loss->name);
    if (d->width < e->loss->least || (e->loss->most && d->width > e->loss->most))
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu texts per example (the loss %s expects %zu%s)", d->names[0], d->width,
                       e->loss->name, e->loss->least, e->loss->most ? "" : " or more");
    QN_TRY(choose_similarity(o->similarity, e));
    if (e->late.on && (!e->loss->in_batch || e->loss->twice || e->symmetric || e->mini_batch))
        return qn_fail(QN_ERROR_ARGUMENT, "vectors of tokens are trained by the loss multiple-negatives (expected no other, "
                                          "no symmetric, no mini-batches)");
    if (e->dim_count && e->similarity != QN_SBERT_COSINE)
        return qn_fail(QN_ERROR_ARGUMENT, "Matryoshka dims go with the similarity cosine");
    e->scale = (float)(o->scale > 0 ? o->scale : e->sparse || e->late.on ? 1 : e->loss->scale); // as sentence-transformers and PyLate
    e->margin = (float)(o->margin >= 0 ? o->margin : e->loss->margin);
    j->no_duplicates =
        o->no_duplicates < 0 ? e->loss->in_batch && !j->training->group_by_length : o->no_duplicates != 0;
    return QN_OK;
}

static qn_status check(const qn_training *o) {
    const qn_embed_training *e = &o->embed;
    if (o->multi_label || o->balanced || o->label_smoothing > 0)
        return qn_fail(QN_ERROR_ARGUMENT, "embeddings have no labels: no multi-label, balanced or label smoothing");
    const qn_embed_loss *loss = e->loss ? qn_embed_loss_find(e->loss) : NULL;
    if (!loss || !loss->restores) return QN_OK;
    const char *excluded = o->lora_rank > 0 || o->adapter                          ? "LoRA"
                           : o->data.query_prompt || o->data.document_prompt       ? "prompts"
                           : e->sparse                                             ? "sparse vectors"
                           : e->matryoshka_dims                                    ? "Matryoshka dims"
                           : e->mini_batch                                         ? "mini-batches"
                                                                                   : NULL;
    return excluded ? qn_fail(QN_ERROR_ARGUMENT, "the loss %s goes with no %s", loss->name, excluded) : QN_OK;
}

static qn_status only_measures(const qn_training *o) {
    return qn_fail(QN_ERROR_ARGUMENT, "the task %s measures (expected embed to train)", o->task);
}

// --- Data

static void free_own(qn_job *j) {
    qn_embed_job *e = j->own;
    if (e) qn_noise_free(&e->noise);
    if (e) free(e->teacher);
    if (e) qn_late_free(&e->late);
    free(e);
    j->own = NULL;
}

static qn_target target_of(const qn_job *j, const qn_embed_job *e, bool training) {
    if (training && e->loss && e->loss->classes) return QN_TARGET_CLASS;
    if (training && j->training->embed.teacher) return QN_TARGET_NONE;
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
        if (training) QN_TRY(prepare(j, e));
        QN_TRY(choose_prompts(j, e));
        if (j->prompts) QN_TRY(qn_late_resolve(j->prompts, j->tokenizer, &e->late));
    }
    qn_dataset_options options = qn_dataset_defaults();
    QN_TRY(qn_job_reader(j, &options.reader));
    options.target = target_of(j, e, training);
    options.reader.group = options.target != QN_TARGET_CLASS;
    options.collect_labels = training;
    options.reader.texts_only = options.target == QN_TARGET_NONE;
    options.encode = j->encode;
    options.keep_texts = !training || j->training->embed.teacher;
    options.prompts[0] = e->prompts[0], options.prompts[1] = e->prompts[1];
    options.late = e->late.on ? &e->late : NULL;
    options.twice = training && e->loss && e->loss->twice;
    QN_TRY(qn_dataset_read(paths, count, j->tokenizer, &options, &j->labels, out));
    qn_status status = training ? choose_loss(j, e, out) : qn_embed_best_metric(j, out, &j->best_metric);
    if (status == QN_OK && training && j->training->embed.teacher) status = qn_embed_teach(j, e, out);
    if (status != QN_OK) qn_dataset_free(out);
    QN_TRY(status);
    // The columns say that this is retrieval: queries and documents may have prompts of their own.
    if (training || j->training || j->task != &qn_task_embed || strcmp(j->best_metric, "ndcg_at_10")) return QN_OK;
    const char *before[2] = {e->prompts[0], e->prompts[1]};
    j->task = &qn_task_retrieval;
    QN_TRY(choose_prompts(j, e));
    if (before[0] == e->prompts[0] && before[1] == e->prompts[1]) return QN_OK;
    qn_dataset_free(out);
    return read(j, paths, count, false, out);
}

static qn_status configure(qn_job *j, qn_model_config *config) {
    const qn_embed_job *e = j->own;
    const qn_embed_training *o = &j->training->embed;
    size_t width = qn_sbert_width(&j->sentence, config->encoder.hidden, config->encoder.vocabulary);
    if (o->dense && !j->resumes && !e->late.on) {
        QN_TRY(qn_sbert_add_dense(&j->sentence, width, o->dense, o->dense_activation));
        width = o->dense;
    }
    if (e->teacher && e->teacher_width != width)
        return qn_fail(QN_ERROR_ARGUMENT,
                       "%s: the teacher's vectors have %zu values, the student's %zu (expected as many; a dense layer "
                       "can change them)",
                       o->teacher, e->teacher_width, width);
    j->sentence.max_seq_length = (int64_t)j->encode.max_length;
    for (size_t i = 0; i < e->dim_count; i++)
        if (e->dims[i] > width)
            return qn_fail(QN_ERROR_ARGUMENT, "Matryoshka dim %zu is above the vectors' width %zu", e->dims[i], width);
    return QN_OK;
}

// --- Training

static qn_status loss(const qn_job *j, qn_network *network, qn_context *c, const qn_batch *batch, double *value) {
    return qn_embed_batch_loss(j->own, network, c, batch, value);
}

const qn_task qn_task_embed = {.name = "embed",
                               .title = "Sentence embeddings",
                               .best_metric = "loss",
                               .check = check,
                               .read = read,
                               .configure = configure,
                               .loss = loss,
                               .measure = qn_embed_measure,
                               .free_own = free_own};
#define MEASURE(name_, title_)                                                                                         \
    {                                                                                                                  \
        .name = name_, .title = title_, .check = only_measures, .read = read, .measure = qn_embed_measure,             \
        .free_own = free_own                                                                                           \
    }
const qn_task qn_task_sts = MEASURE("sts", "Similarity of texts"),
              qn_task_retrieval = MEASURE("retrieval", "Retrieval"), qn_task_triplets = MEASURE("triplets", "Triplets");
