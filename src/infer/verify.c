// Parity with the golden file that lies in a model's folder: golden.safetensors.
#include "infer/golden.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "infer/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_FILE "golden.safetensors"

static int64_t read_i64(const uint8_t *at, size_t index) {
    int64_t value;
    memcpy(&value, at + 8 * index, sizeof value);
    return value;
}

static const qn_st_tensor *find(const qn_safetensors *file, const char *name, qn_st_dtype dtype, int dims) {
    const qn_st_tensor *t = qn_safetensors_find(file, name);
    if (t && t->dtype == dtype && t->dims == dims) return t;
    qn_fail(QN_ERROR_FORMAT, "%s: no tensor \"%s\" of type %s and %d dimensions", qn_safetensors_path(file), name,
            qn_st_dtype_name(dtype), dims);
    return NULL;
}

static qn_status check_offsets(const qn_safetensors *file, const qn_st_tensor *offsets, const qn_st_tensor *bytes,
                               size_t count) {
    bool good = offsets->shape[0] == (int64_t)count + 1 && read_i64(offsets->data, 0) == 0 &&
                read_i64(offsets->data, count) == bytes->shape[0];
    for (size_t i = 0; good && i < count; i++)
        good = read_i64(offsets->data, i) >= 0 && read_i64(offsets->data, i) <= read_i64(offsets->data, i + 1);
    if (good) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" does not fit \"%s\" (expected %zu ascending offsets from 0 to %lld)",
                   qn_safetensors_path(file), offsets->name, bytes->name, count + 1, (long long)bytes->shape[0]);
}

static const char *text_of(const qn_st_tensor *bytes) {
    return bytes->data ? (const char *)bytes->data : "";
}

qn_status qn_golden_read(const qn_safetensors *file, qn_golden *out) {
    *out = (qn_golden){0};
    const qn_st_tensor *texts = find(file, "texts", QN_ST_U8, 1),
                       *pairs = texts ? find(file, "pairs", QN_ST_U8, 1) : NULL;
    const qn_st_tensor *offsets = pairs ? find(file, "offsets", QN_ST_I64, 1) : NULL;
    const qn_st_tensor *pair_offsets = offsets ? find(file, "pair_offsets", QN_ST_I64, 1) : NULL;
    const qn_st_tensor *has_pair = pair_offsets ? find(file, "has_pair", QN_ST_U8, 1) : NULL;
    const qn_st_tensor *vectors = has_pair ? find(file, "vectors", QN_ST_F32, 2) : NULL;
    if (!vectors) return QN_ERROR_FORMAT;
    size_t count = (size_t)vectors->shape[0];
    if (count == 0 || has_pair->shape[0] != (int64_t)count)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: \"vectors\" has %zu rows and \"has_pair\" %lld (expected the same, and one at least)",
                       qn_safetensors_path(file), count, (long long)has_pair->shape[0]);
    QN_TRY(check_offsets(file, offsets, texts, count));
    QN_TRY(check_offsets(file, pair_offsets, pairs, count));
    *out = (qn_golden){.count = count,
                       .width = (size_t)vectors->shape[1],
                       .texts = text_of(texts),
                       .pairs = text_of(pairs),
                       .offsets = offsets->data,
                       .pair_offsets = pair_offsets->data,
                       .has_pair = has_pair->data,
                       .vectors = vectors->data};
    if (!qn_safetensors_find(file, "logits")) return QN_OK;
    const qn_st_tensor *logits = find(file, "logits", QN_ST_F32, 2);
    if (!logits) return QN_ERROR_FORMAT;
    if (logits->shape[0] != (int64_t)count)
        return qn_fail(QN_ERROR_FORMAT, "%s: \"logits\" has %lld rows (expected %zu)", qn_safetensors_path(file),
                       (long long)logits->shape[0], count);
    out->labels = (size_t)logits->shape[1];
    out->logits = logits->data;
    return QN_OK;
}

void qn_golden_text(const qn_golden *g, size_t i, qn_text *text) {
    int64_t begin = read_i64(g->offsets, i), pair = read_i64(g->pair_offsets, i);
    *text = (qn_text){.text = g->texts + begin, .size = (size_t)(read_i64(g->offsets, i + 1) - begin)};
    if (!g->has_pair[i]) return;
    text->pair = g->pairs + pair;
    text->pair_size = (size_t)(read_i64(g->pair_offsets, i + 1) - pair);
}

// ---- Writing
// ---------------------------------------------------------------------------------------------------------

// Labels of whole texts: a tagger's logits are not kept.
static size_t text_labels(const qn_model *m) {
    return m->network->heads & QN_HEAD_CLASSIFIER ? qn_model_labels(m) : 0;
}

typedef struct {
    float *vectors, *logits; // logits NULL without a head for labels
} outputs;

static void free_outputs(outputs *o) {
    free(o->vectors);
    free(o->logits);
}

static qn_status compute_outputs(qn_model *m, const qn_text *texts, size_t count, outputs *out) {
    size_t labels = text_labels(m);
    out->vectors = qn_malloc(count, qn_model_width(m) * sizeof(float));
    out->logits = labels ? qn_malloc(count, labels * sizeof(float)) : NULL;
    if (!out->vectors || (labels && !out->logits)) return QN_ERROR_MEMORY;
    QN_TRY(qn_embed(m, texts, count, NULL, out->vectors));
    return labels ? qn_classify(m, texts, count, true, out->logits) : QN_OK;
}

typedef struct {
    qn_buffer texts, pairs;
    int64_t *offsets, *pair_offsets;
    uint8_t *has_pair;
} packed_texts;

static void free_texts(packed_texts *p) {
    qn_buffer_free(&p->texts);
    qn_buffer_free(&p->pairs);
    free(p->offsets);
    free(p->pair_offsets);
    free(p->has_pair);
}

static qn_status pack_texts(const qn_text *texts, size_t count, packed_texts *p) {
    p->offsets = qn_calloc(count + 1, sizeof *p->offsets);
    p->pair_offsets = qn_calloc(count + 1, sizeof *p->pair_offsets);
    p->has_pair = qn_calloc(count, 1);
    if (!p->offsets || !p->pair_offsets || !p->has_pair) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        qn_buffer_append(&p->texts, texts[i].text, texts[i].size);
        if (texts[i].pair) qn_buffer_append(&p->pairs, texts[i].pair, texts[i].pair_size);
        p->has_pair[i] = texts[i].pair != NULL;
        p->offsets[i + 1] = (int64_t)p->texts.size;
        p->pair_offsets[i + 1] = (int64_t)p->pairs.size;
    }
    QN_TRY(qn_buffer_status(&p->texts));
    return qn_buffer_status(&p->pairs);
}

static qn_status write_golden(qn_model *m, const packed_texts *p, const outputs *o, size_t count) {
    int64_t n = (int64_t)count, width = (int64_t)qn_model_width(m), labels = (int64_t)text_labels(m);
    qn_st_entry entries[] = {
        {.name = "texts", .dtype = QN_ST_U8, .dims = 1, .shape = {(int64_t)p->texts.size}, .bytes = p->texts.data},
        {.name = "offsets", .dtype = QN_ST_I64, .dims = 1, .shape = {n + 1}, .bytes = p->offsets},
        {.name = "pairs", .dtype = QN_ST_U8, .dims = 1, .shape = {(int64_t)p->pairs.size}, .bytes = p->pairs.data},
        {.name = "pair_offsets", .dtype = QN_ST_I64, .dims = 1, .shape = {n + 1}, .bytes = p->pair_offsets},
        {.name = "has_pair", .dtype = QN_ST_U8, .dims = 1, .shape = {n}, .bytes = p->has_pair},
        {.name = "vectors", .dtype = QN_ST_F32, .dims = 2, .shape = {n, width}, .values = o->vectors},
        {.name = "logits", .dtype = QN_ST_F32, .dims = 2, .shape = {n, labels}, .values = o->logits}};
    for (size_t i = 0; i < 3; i += 2) // an empty text has no bytes
        if (entries[i].shape[0] == 0) entries[i].bytes = NULL;
    const char *metadata[] = {"quern", qn_version(), "dtype", qn_compute_name(m->compute), NULL};
    char *path = qn_path_join(m->folder, GOLDEN_FILE);
    if (!path) return QN_ERROR_MEMORY;
    qn_status status = qn_safetensors_write(path, entries, labels ? 7 : 6, metadata);
    free(path);
    return status;
}

qn_status qn_golden_write(qn_model *model, const qn_text *texts, size_t count) {
    if (count == 0)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: no texts for a golden file (expected one at least)", model->folder);
    outputs o = {0};
    packed_texts p = {0};
    qn_status status = compute_outputs(model, texts, count, &o);
    if (status == QN_OK) status = pack_texts(texts, count, &p);
    if (status == QN_OK) status = write_golden(model, &p, &o, count);
    free_outputs(&o);
    free_texts(&p);
    return status;
}

// ---- Comparing
// -------------------------------------------------------------------------------------------------------

// The largest difference, relative to the largest value that was expected. NaN anywhere gives infinity.
static double compare(const float *ours, const uint8_t *golden, size_t count, json_t *report, const char *name) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        float expected;
        memcpy(&expected, golden + 4 * i, sizeof expected);
        double difference = fabs((double)ours[i] - expected);
        if (!(difference <= worst)) worst = isnan(difference) ? INFINITY : difference;
        largest = fmax(largest, fabs((double)expected));
    }
    double relative = worst == 0 ? 0 : largest > 0 ? worst / largest : INFINITY;
    json_object_set_new(report, name,
                        json_pack("{s:f, s:f, s:f}", "largest_difference", isfinite(worst) ? worst : 1e308,
                                  "largest_value", largest, "relative_difference",
                                  isfinite(relative) ? relative : 1e308));
    return relative;
}

static qn_status verify(qn_model *m, const qn_golden *g, double tolerance, const char *path, json_t *report) {
    if (g->width != qn_model_width(m) || g->labels != text_labels(m))
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: vectors of %zu and logits of %zu values (expected %zu and %zu, as the model's)", path,
                       g->width, g->labels, qn_model_width(m), text_labels(m));
    outputs o = {0};
    qn_text *texts = qn_malloc(g->count, sizeof *texts);
    if (!texts) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < g->count; i++) qn_golden_text(g, i, &texts[i]);
    qn_status status = compute_outputs(m, texts, g->count, &o);
    free(texts);
    double worst = 0;
    if (status == QN_OK) {
        json_object_set_new(report, "texts", json_integer((json_int_t)g->count));
        json_object_set_new(report, "tolerance", json_real(tolerance));
        worst = compare(o.vectors, g->vectors, g->count * g->width, report, "vectors");
        if (g->labels) worst = fmax(worst, compare(o.logits, g->logits, g->count * g->labels, report, "logits"));
        json_object_set_new(report, "passed", json_boolean(worst <= tolerance));
    }
    free_outputs(&o);
    if (status == QN_OK && !(worst <= tolerance))
        return qn_fail(QN_ERROR_FORMAT, "%s: outputs differ by %.3g of the largest value (expected at most %.3g)", path,
                       worst, tolerance);
    return status;
}

qn_status qn_verify(qn_model *model, double tolerance, char **json) {
    static const double tolerances[] = {[QN_DTYPE_F32] = 1e-5,
                                        [QN_DTYPE_BF16] = 2e-2,
                                        [QN_DTYPE_INT8] = 1e-1,
                                        [QN_DTYPE_Q8] = 1e-1,
                                        [QN_DTYPE_Q4] = 5e-1};
    *json = NULL;
    if (!(tolerance >= 0)) return qn_fail(QN_ERROR_ARGUMENT, "tolerance %g (expected 0 or more)", tolerance);
    char *path = qn_path_join(model->folder, GOLDEN_FILE);
    json_t *report = json_object();
    qn_safetensors *file = NULL;
    qn_golden golden;
    qn_buffer text = {0};
    qn_status status = path && report ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_safetensors_open(path, &file);
    if (status == QN_OK) status = qn_golden_read(file, &golden);
    if (status == QN_OK)
        status = verify(model, &golden, tolerance > 0 ? tolerance : tolerances[model->compute], path, report);
    if (json_object_get(report, "passed")) qn_json_write(report, &text);
    if (text.data && !text.failed)
        *json = text.data;
    else
        qn_buffer_free(&text);
    qn_safetensors_close(file);
    json_decref(report);
    free(path);
    return status;
}
