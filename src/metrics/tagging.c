// Entity scores, equal to seqeval's.
#include "metrics/tagging.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double ratio(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : NAN;
}

static double or_zero(double value) {
    return isnan(value) ? 0 : value;
}

static void score(qn_class_score *c) {
    c->precision = ratio(c->correct, c->predicted);
    c->recall = ratio(c->correct, c->support);
    c->f1 = ratio(2 * c->correct, c->predicted + c->support);
    c->average_precision = NAN;
}

// Entities are equal that have the same words and type; both lists ascend and have no overlaps.
static void count_entities(const qn_entity *gold, size_t golds, const qn_entity *predicted, size_t predictions,
                           qn_class_score *scores) {
    for (size_t i = 0; i < golds; i++) scores[gold[i].type].support++;
    for (size_t i = 0; i < predictions; i++) scores[predicted[i].type].predicted++;
    for (size_t i = 0, k = 0; i < golds && k < predictions;) {
        if (gold[i].first == predicted[k].first && gold[i].last == predicted[k].last &&
            gold[i].type == predicted[k].type)
            scores[gold[i].type].correct++;
        if (gold[i].first < predicted[k].first)
            i++;
        else if (gold[i].first > predicted[k].first)
            k++;
        else
            i++, k++;
    }
}

static void summarise(qn_class_score *scores, size_t types, qn_entity_scores *out) {
    qn_class_score all = {0};
    double used = 0;
    *out = (qn_entity_scores){0};
    for (size_t k = 0; k < types; k++) {
        qn_class_score *c = &scores[k];
        score(c);
        all.support += c->support;
        all.predicted += c->predicted;
        all.correct += c->correct;
        if (c->support + c->predicted == 0) continue;
        used++;
        out->macro_precision += or_zero(c->precision);
        out->macro_recall += or_zero(c->recall);
        out->macro_f1 += or_zero(c->f1);
        out->weighted_f1 += (double)c->support * or_zero(c->f1);
    }
    score(&all);
    out->precision = or_zero(all.precision);
    out->recall = or_zero(all.recall);
    out->f1 = or_zero(all.f1);
    out->macro_precision = used > 0 ? out->macro_precision / used : 0;
    out->macro_recall = used > 0 ? out->macro_recall / used : 0;
    out->macro_f1 = used > 0 ? out->macro_f1 / used : 0;
    out->weighted_f1 = all.support > 0 ? out->weighted_f1 / (double)all.support : 0;
}

static void count_sentences(const qn_tag_scheme *scheme, size_t sentences, const size_t *offsets, const int32_t *gold,
                            const int32_t *predicted, bool strict, qn_entity *room, qn_class_score *scores) {
    for (size_t i = 0; i < sentences; i++) {
        size_t n = offsets[i + 1] - offsets[i];
        qn_entity *other = room + n;
        size_t golds = qn_tag_entities(scheme, gold + offsets[i], n, strict, room);
        size_t predictions = qn_tag_entities(scheme, predicted + offsets[i], n, strict, other);
        count_entities(room, golds, other, predictions, scores);
    }
}

qn_status qn_tagging_measure(const qn_tag_scheme *scheme, size_t sentences, const size_t *offsets, const int32_t *gold,
                             const int32_t *predicted, qn_tagging *out) {
    size_t words = sentences ? offsets[sentences] : 0, longest = 0, right = 0;
    *out = (qn_tagging){.sentences = sentences, .words = words, .types = scheme->types};
    for (size_t i = 0; i < sentences; i++)
        if (offsets[i + 1] - offsets[i] > longest) longest = offsets[i + 1] - offsets[i];
    for (size_t w = 0; w < words; w++) right += gold[w] == predicted[w];
    out->accuracy = ratio((int64_t)right, (int64_t)words);
    out->per_type = qn_calloc(scheme->types, sizeof *out->per_type);
    qn_class_score *strict = qn_calloc(scheme->types, sizeof *strict);
    qn_entity *room = qn_malloc(2 * longest, sizeof *room);
    qn_status status = out->per_type && strict && room ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        count_sentences(scheme, sentences, offsets, gold, predicted, false, room, out->per_type);
        count_sentences(scheme, sentences, offsets, gold, predicted, true, room, strict);
        summarise(out->per_type, scheme->types, &out->lenient);
        summarise(strict, scheme->types, &out->strict);
    }
    free(strict);
    free(room);
    return status;
}

void qn_tagging_free(qn_tagging *metrics) {
    free(metrics->per_type);
    *metrics = (qn_tagging){0};
}

size_t qn_tagging_scalars(const qn_tagging *m, qn_metric out[QN_METRICS_MAX]) {
    const qn_metric all[] = {{"f1", m->lenient.f1, false},
                             {"precision", m->lenient.precision, false},
                             {"recall", m->lenient.recall, false},
                             {"macro_f1", m->lenient.macro_f1, false},
                             {"weighted_f1", m->lenient.weighted_f1, false},
                             {"strict_f1", m->strict.f1, false},
                             {"accuracy", m->accuracy, false}};
    memcpy(out, all, sizeof all);
    return sizeof all / sizeof *all;
}

static void put(qn_buffer *out, const char *before, const char *name, double value) {
    qn_buffer_printf(out, "%s\"%s\": ", before, name);
    qn_buffer_json_number(out, value, 9);
}

static void put_scores(const qn_entity_scores *s, qn_buffer *out) {
    put(out, "", "precision", s->precision);
    put(out, ", ", "recall", s->recall);
    put(out, ", ", "f1", s->f1);
    put(out, ", ", "macro_precision", s->macro_precision);
    put(out, ", ", "macro_recall", s->macro_recall);
    put(out, ", ", "macro_f1", s->macro_f1);
    put(out, ", ", "weighted_f1", s->weighted_f1);
}

void qn_tagging_json(const qn_tagging *m, const qn_tag_scheme *scheme, const qn_entity_scores *constrained,
                     qn_buffer *out) {
    qn_buffer_printf(out, "{\"task\": \"tag\", \"sentences\": %zu, \"words\": %zu", m->sentences, m->words);
    put(out, ", ", "accuracy", m->accuracy);
    qn_buffer_text(out, ", ");
    put_scores(&m->lenient, out);
    qn_buffer_text(out, ", \"strict\": {");
    put_scores(&m->strict, out);
    qn_buffer_char(out, '}');
    if (constrained) {
        qn_buffer_text(out, ", \"constrained\": {");
        put_scores(constrained, out);
        qn_buffer_char(out, '}');
    }
    qn_buffer_text(out, ", \"per_type\": [");
    for (size_t k = 0; k < m->types; k++) {
        const qn_class_score *c = &m->per_type[k];
        qn_buffer_text(out, k ? ", {\"type\": " : "{\"type\": ");
        qn_buffer_json_string(out, scheme->names[k], strlen(scheme->names[k]));
        put(out, ", ", "precision", c->precision);
        put(out, ", ", "recall", c->recall);
        put(out, ", ", "f1", c->f1);
        qn_buffer_printf(out, ", \"support\": %lld, \"predicted\": %lld}", (long long)c->support,
                         (long long)c->predicted);
    }
    qn_buffer_text(out, "]}");
}
