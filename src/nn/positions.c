// What an encoder knows of positions besides learned tables: sinusoids, rotary tables, and biases by distance.
#include "nn/positions.h"
#include <math.h>
#include <stdlib.h>

void qn_fill_sinusoid(size_t rows, size_t d, bool halves, float *table) {
    size_t sines = (d + 1) / 2;
    for (size_t p = 0; p < rows; p++)
        for (size_t i = 0; i < d; i++) {
            double angle = (double)p / pow(10000.0, (double)(i / 2 * 2) / (double)d);
            table[p * d + (halves ? i / 2 + i % 2 * sines : i)] = (float)(i % 2 ? cos(angle) : sin(angle));
        }
}

qn_status qn_make_sinusoid(size_t rows, size_t d, bool halves, qn_tensor *out) {
    float *table = qn_aligned_alloc(rows * d * sizeof *table);
    if (!table) return QN_ERROR_MEMORY;
    qn_fill_sinusoid(rows, d, halves, table);
    *out = (qn_tensor){.rank = 2, .shape = {rows, d}, .data = table};
    return QN_OK;
}

// ---- Rotary tables

// The pair that turns so many times within the length of training, as a number between pairs.
static double pair_of(const qn_rotary_config *f, double turns, size_t width) {
    return (double)width * log(f->trained / (turns * 2 * M_PI)) / (2 * log(f->theta));
}

// How much of a frequency is divided by `factor`, 0 to 1.
static float divided_part(const qn_rotary_config *f, size_t i, size_t width, float frequency) {
    if (f->scaling == QN_ROTARY_LLAMA3) {
        double turns = f->trained * (double)frequency / (2 * M_PI);
        return turns < f->slow ? 1 : turns > f->fast ? 0 : (float)((f->fast - turns) / (f->fast - f->slow));
    }
    double low = pair_of(f, f->fast, width), high = pair_of(f, f->slow, width);
    if (f->whole_pairs) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, (double)width - 1);
    double part = ((double)i - low) / (high <= low && high >= low ? 0.001 : high - low);
    return (float)fmin(fmax(part, 0), 1);
}

qn_status qn_rotary_create(const qn_rotary_config *config, size_t width, size_t positions, qn_rotary_tables *out) {
    *out = (qn_rotary_tables){.config = *config, .width = width, .positions = positions};
    size_t half = width / 2, count = positions * half;
    out->rotary.half = half;
    out->frequency = qn_malloc(half ? half : 1, sizeof *out->frequency);
    out->cosine = qn_aligned_alloc((count ? count : 1) * sizeof *out->cosine);
    out->sine = qn_aligned_alloc((count ? count : 1) * sizeof *out->sine);
    if (!out->frequency || !out->cosine || !out->sine) return QN_ERROR_MEMORY;
    out->rotary.cosine = out->cosine;
    out->rotary.sine = out->sine;
    bool ntk = config->scaling == QN_ROTARY_NTK, linear = config->scaling == QN_ROTARY_LINEAR;
    float theta = (float)(ntk ? config->theta * config->factor : config->theta);
    for (size_t i = 0; i < half; i++) { // in single precision, as the reference libraries round
        float f = 1.0f / powf(theta, (float)(2 * i) / (float)width);
        if (linear) f /= (float)config->factor;
        if (ntk) f /= powf((float)config->factor, 2.0f / (float)width);
        if (config->scaling == QN_ROTARY_LLAMA3 || config->scaling == QN_ROTARY_YARN) {
            float part = divided_part(config, i, width, f);
            f = f / (float)config->factor * part + f * (1 - part);
        }
        out->frequency[i] = f;
    }
    return QN_OK;
}

void qn_rotary_extend(qn_rotary_tables *t, size_t positions) {
    size_t half = t->rotary.half;
    double length = t->config.stretch > 0 ? t->config.stretch : 1;
    if (positions > t->positions) positions = t->positions;
    for (; t->filled < positions; t->filled++)
        for (size_t i = 0; i < half; i++) {
            double angle = (float)t->filled * t->frequency[i];
            t->cosine[t->filled * half + i] = (float)(cos(angle) * length);
            t->sine[t->filled * half + i] = (float)(sin(angle) * length);
        }
}

void qn_rotary_free(qn_rotary_tables *t) {
    free(t->frequency);
    qn_aligned_free(t->cosine);
    qn_aligned_free(t->sine);
    *t = (qn_rotary_tables){0};
}

// ---- Biases by distance

// In single precision, as the reference rounds.
static int32_t distance_bucket(int64_t key_minus_query, const qn_buckets *f) {
    int32_t side = (int32_t)f->count / (f->back ? 1 : 2), exact = side / 2;
    int32_t first = key_minus_query > 0 && !f->back ? side : 0;
    int64_t n = key_minus_query < 0 ? -key_minus_query : f->back ? 0 : key_minus_query;
    if (n < exact) return first + (int32_t)n;
    float steps = logf((float)n / (float)exact) / (float)log((double)f->most / exact) * (float)(side - exact);
    return first + (steps < (float)(side - 1 - exact) ? exact + (int32_t)steps : side - 1);
}

// `buckets` NULL: each distance has its own.
static int32_t *make_buckets(size_t max_positions, const qn_buckets *f, qn_attention_bias *bias) {
    int64_t reach = (int64_t)max_positions - 1;
    int32_t *buckets = qn_malloc((size_t)(2 * reach + 1), sizeof *buckets);
    if (!buckets) return NULL;
    for (int64_t i = -reach; i <= reach; i++)
        buckets[i + reach] = f ? distance_bucket(i, f) : (int32_t)(i < 0 ? -i : i);
    bias->bucket = buckets;
    bias->reach = (size_t)reach;
    return buckets;
}

int32_t *qn_make_buckets(size_t max_positions, const qn_buckets *buckets, qn_attention_bias *bias) {
    return make_buckets(max_positions, buckets, bias);
}

// In single precision, as the reference rounds.
static int64_t logarithmic(int64_t distance, size_t buckets, size_t most) {
    int64_t middle = (int64_t)buckets / 2, n = distance < 0 ? -distance : distance;
    if (n <= middle) return distance;
    float whole = logf((float)((double)(most - 1) / (double)middle));
    float steps = ceilf(logf((float)n / (float)middle) / whole * (float)(middle - 1));
    return (distance < 0 ? -1 : 1) * ((int64_t)steps + middle);
}

int32_t *qn_make_distances(size_t reach, size_t span, size_t buckets, size_t most) {
    int32_t *index = qn_malloc(2 * reach + 1, sizeof *index);
    int64_t end = (int64_t)reach, last = 2 * (int64_t)span - 1;
    for (int64_t i = -end; index && i <= end; i++) {
        int64_t x = (buckets ? logarithmic(i, buckets, most) : i) + (int64_t)span;
        index[i + end] = (int32_t)(x < 0 ? 0 : x > last ? last : x);
    }
    return index;
}

// The slopes of ALiBi (Press et al. 2022): 2^(-8 i / n) for n heads where n is a power of two; otherwise those of the
// next smaller power, followed by every second one of the next larger.
static double slope(size_t head, size_t heads) {
    size_t power = 1;
    while (2 * power <= heads) power *= 2;
    if (head < power) return pow(2, -8.0 * (double)(head + 1) / (double)power);
    return pow(2, -8.0 * (double)(2 * (head - power) + 1) / (double)(2 * power));
}

int32_t *qn_make_alibi(size_t max_positions, size_t heads, qn_tensor *table, qn_attention_bias *bias) {
    float *values = qn_aligned_alloc(max_positions * heads * sizeof *values);
    int32_t *buckets = values ? make_buckets(max_positions, NULL, bias) : NULL;
    if (!buckets) {
        qn_aligned_free(values);
        return NULL;
    }
    for (size_t p = 0; p < max_positions; p++)
        for (size_t k = 0; k < heads; k++) values[p * heads + k] = (float)(-slope(k, heads) * (double)p);
    *table = (qn_tensor){.rank = 2, .shape = {max_positions, heads}, .data = values};
    bias->weight = table;
    return buckets;
}
