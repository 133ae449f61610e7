// Distillation: what a teacher's folder says of the training texts, once, before the training begins. Of an embedder
// its vectors, or the similarities that a loss wants as scores; of a cross-encoder its scores of pairs.
#include "tasks/embed.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS_AT_ONCE = 4096 };

static qn_text text_of(const qn_dataset *d, size_t sequence) {
    const char *text = qn_dataset_group_text(d, sequence / d->width, sequence % d->width);
    return (qn_text){text, strlen(text), NULL, 0};
}

// --- Vectors

static qn_status teach_vectors(qn_model *teacher, const qn_dataset *d, float *vectors) {
    size_t width = qn_model_width(teacher);
    qn_text *texts = qn_malloc(TEXTS_AT_ONCE, sizeof *texts);
    qn_status status = texts ? QN_OK : QN_ERROR_MEMORY;
    for (size_t first = 0, count; status == QN_OK && first < d->sequences.count; first += count) {
        count = d->sequences.count - first < TEXTS_AT_ONCE ? d->sequences.count - first : TEXTS_AT_ONCE;
        for (size_t i = 0; i < count; i++) texts[i] = text_of(d, first + i);
        status = qn_embed(teacher, texts, count, NULL, vectors + first * width);
    }
    free(texts);
    return status;
}

// --- Scores

static double similarity(size_t d, const float *a, const float *b, bool cosine) {
    double dot = 0, aa = 0, bb = 0;
    for (size_t k = 0; k < d; k++) {
        dot += (double)a[k] * b[k];
        aa += (double)a[k] * a[k];
        bb += (double)b[k] * b[k];
    }
    return cosine ? dot / fmax(sqrt(aa * bb), 1e-12) : dot;
}

// The similarity of the first text with text k of each example: scores [n], by the student's similarity.
static qn_status score_by_vectors(const qn_embed_job *e, qn_model *teacher, const qn_dataset *d, size_t k,
                                  float *scores) {
    size_t width = qn_model_width(teacher), n = qn_dataset_count(d);
    float *vectors = qn_malloc(d->sequences.count, width * sizeof *vectors);
    qn_status status = vectors ? teach_vectors(teacher, d, vectors) : QN_ERROR_MEMORY;
    for (size_t i = 0; status == QN_OK && i < n; i++) {
        const float *x = vectors + i * d->width * width;
        scores[i] = (float)similarity(width, x, x + k * width, e->similarity == QN_SBERT_COSINE);
    }
    free(vectors);
    return status;
}

static qn_status score_by_pairs(qn_model *teacher, const qn_dataset *d, size_t k, float *scores) {
    size_t n = qn_dataset_count(d);
    qn_text *pairs = qn_malloc(n, sizeof *pairs);
    if (!pairs) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < n; i++) {
        qn_text query = text_of(d, i * d->width), document = text_of(d, i * d->width + k);
        pairs[i] = (qn_text){query.text, query.size, document.text, document.size};
    }
    qn_status status = qn_classify(teacher, pairs, n, true, scores);
    free(pairs);
    return status;
}

static qn_status score(const qn_embed_job *e, qn_model *teacher, const qn_dataset *d, size_t k, float *scores) {
    if (qn_model_labels(teacher) == 1) return score_by_pairs(teacher, d, k, scores);
    return score_by_vectors(e, teacher, d, k, scores);
}

// Of pairs their score; of triplets by how much the positive's is above the negative's.
static qn_status teach_scores(const qn_embed_job *e, qn_model *teacher, qn_dataset *d) {
    size_t n = qn_dataset_count(d);
    float *negative = d->width > 2 ? qn_malloc(n, sizeof *negative) : NULL;
    d->scores = qn_malloc(n, sizeof *d->scores);
    qn_status status = d->scores && (negative || d->width == 2) ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) status = score(e, teacher, d, 1, d->scores);
    if (status == QN_OK && negative) status = score(e, teacher, d, 2, negative);
    for (size_t i = 0; status == QN_OK && negative && i < n; i++) d->scores[i] -= negative[i];
    free(negative);
    return status;
}

qn_status qn_embed_teach(const qn_job *j, qn_embed_job *e, qn_dataset *d) {
    const char *folder = j->training->embed.teacher;
    qn_model *teacher;
    QN_TRY(qn_model_open(folder, &(qn_model_options){.threads = j->training->threads}, &teacher));
    qn_status status = QN_OK;
    if (e->loss->scores)
        status = teach_scores(e, teacher, d);
    else {
        e->teacher_width = qn_model_width(teacher);
        e->teacher = qn_malloc(d->sequences.count, e->teacher_width * sizeof *e->teacher);
        status = e->teacher ? teach_vectors(teacher, d, e->teacher) : QN_ERROR_MEMORY;
    }
    qn_model_close(teacher);
    return status;
}
