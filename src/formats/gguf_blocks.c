// The quantized blocks of GGUF (ggml's ggml-quants): each a few scales and the small integers that they scale. d is a
// block's scale, m its minimum; in the "K" blocks of 256 they scale the scales of groups of 16 or 32.
#include "base/half.h"
#include "formats/gguf.h"
#include <string.h>

static float half_at(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return qn_f16_to_f32(half);
}

static uint32_t word_at(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static void from_F32(const uint8_t *b, float *out) {
    memcpy(out, b, sizeof *out);
}
static void from_F16(const uint8_t *b, float *out) {
    *out = half_at(b);
}
static void from_BF16(const uint8_t *b, float *out) {
    uint16_t half;
    memcpy(&half, b, sizeof half);
    *out = qn_bf16_to_f32(half);
}

// Blocks of 32: the low halves of the bytes are the first 16 elements, the high halves the others; a fifth bit of each
// element stands apart.
static void nibbles(const uint8_t *q, uint32_t fifth, float d, float add, float *out) {
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((q[i] & 15) | (fifth >> i & 1) << 4) + add;
        out[i + 16] = d * (float)(q[i] >> 4 | (fifth >> (i + 16) & 1) << 4) + add;
    }
}
static void from_Q4_0(const uint8_t *b, float *out) {
    nibbles(b + 2, 0, half_at(b), -8 * half_at(b), out);
}
static void from_Q4_1(const uint8_t *b, float *out) {
    nibbles(b + 4, 0, half_at(b), half_at(b + 2), out);
}
static void from_Q5_0(const uint8_t *b, float *out) {
    nibbles(b + 6, word_at(b + 2), half_at(b), -16 * half_at(b), out);
}
static void from_Q5_1(const uint8_t *b, float *out) {
    nibbles(b + 8, word_at(b + 4), half_at(b), half_at(b + 2), out);
}
static void from_Q8_0(const uint8_t *b, float *out) {
    for (int i = 0; i < 32; i++) out[i] = half_at(b) * (float)(int8_t)b[2 + i];
}

// 16 groups of 16, 2 bits an element; a group's byte has its scale (low half) and minimum.
static void from_Q2_K(const uint8_t *b, float *out) {
    const uint8_t *scales = b, *q = b + 16;
    float d = half_at(b + 80), m = half_at(b + 82);
    for (int i = 0; i < 256; i++) {
        uint8_t s = scales[i / 16];
        out[i] = d * (float)(s & 15) * (float)(q[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) - m * (float)(s >> 4);
    }
}

// 16 groups of 16, 3 bits an element: two in `q`, and one that says "not minus 4" in `high`. Scales have 6 bits: four
// in the first 8 bytes, two in the last 4.
static int scale_of_3(const uint8_t *b, int g) {
    const uint8_t *s = b + 96;
    return (s[g % 8] >> g / 8 * 4 & 15) | (s[8 + g % 4] >> g / 4 * 2 & 3) << 4;
}
static int value_of_3(const uint8_t *b, int i) {
    const uint8_t *high = b, *q = b + 32;
    return (q[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3) - (high[i % 32] >> i / 32 & 1 ? 0 : 4);
}
static void from_Q3_K(const uint8_t *b, float *out) {
    float d = half_at(b + 108);
    for (int i = 0; i < 256; i++) out[i] = d * (float)(scale_of_3(b, i / 16) - 32) * (float)value_of_3(b, i);
}

// Scale and minimum of group g of 8, 6 bits each, in 12 bytes.
static void scale_and_minimum(const uint8_t *s, int g, float *scale, float *minimum) {
    if (g < 4) {
        *scale = (float)(s[g] & 63);
        *minimum = (float)(s[g + 4] & 63);
    } else {
        *scale = (float)((s[g + 4] & 15) | s[g - 4] >> 6 << 4);
        *minimum = (float)(s[g + 4] >> 4 | s[g] >> 6 << 4);
    }
}

// Element i of group g of 8; `fifth` has a bit for each group in the byte of an element's place in its group, or is
// NULL.
static int group_value(const uint8_t *fifth, const uint8_t *q, int g, int i) {
    return (q[g / 2 * 32 + i] >> g % 2 * 4 & 15) | (fifth ? (fifth[i] >> g & 1) << 4 : 0);
}
static void groups_of_32(const uint8_t *b, const uint8_t *fifth, const uint8_t *q, float *out) {
    float d = half_at(b), m = half_at(b + 2);
    for (int g = 0; g < 8; g++) {
        float scale, minimum;
        scale_and_minimum(b + 4, g, &scale, &minimum);
        for (int i = 0; i < 32; i++) out[g * 32 + i] = d * scale * (float)group_value(fifth, q, g, i) - m * minimum;
    }
}
static void from_Q4_K(const uint8_t *b, float *out) {
    groups_of_32(b, NULL, b + 16, out);
}
static void from_Q5_K(const uint8_t *b, float *out) {
    groups_of_32(b, b + 16, b + 48, out);
}

// 16 groups of 16, 6 bits an element: four in `low`, two in `high`; a signed byte scales each group.
static int value_of_6(const uint8_t *b, int i) {
    const uint8_t *low = b + i / 128 * 64, *high = b + 128 + i / 128 * 32;
    int part = i / 32 % 4;
    return ((low[i % 64] >> part / 2 * 4 & 15) | (high[i % 32] >> part * 2 & 3) << 4) - 32;
}
static void from_Q6_K(const uint8_t *b, float *out) {
    float d = half_at(b + 208);
    for (int i = 0; i < 256; i++) out[i] = d * (float)(int8_t)b[192 + i / 16] * (float)value_of_6(b, i);
}

static const struct {
    void (*read)(const uint8_t *block, float *out);
    int64_t elements, bytes;
} blocks[] = {
#define BLOCK(name, number, elements_, bytes_) {from_##name, elements_, bytes_},
    QN_GGUF_DTYPE_MAP(BLOCK)
#undef BLOCK
};

void qn_gguf_to_f32(const qn_gguf_tensor *t, int64_t first, int64_t count, float *out) {
    const int64_t elements = blocks[t->dtype].elements, bytes = blocks[t->dtype].bytes;
    const uint8_t *block = t->data + first / elements * bytes;
    for (int64_t i = 0; i < count; i += elements, block += bytes) blocks[t->dtype].read(block, out + i);
}

// --- Blocks as groups

// 32 elements: q, the scales of the first and of the last 16 of them, and what is added.
typedef struct {
    int8_t *q;
    float first, last, minimum;
} group;

static void take_nibbles(const uint8_t *quants, uint32_t fifth, int zero, int8_t *q) {
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)(((quants[i] & 15) | (int)(fifth >> i & 1) << 4) - zero);
        q[i + 16] = (int8_t)((quants[i] >> 4 | (int)(fifth >> (i + 16) & 1) << 4) - zero);
    }
}

static void take_group_of_32(const uint8_t *b, const uint8_t *fifth, const uint8_t *q, int g, group *out) {
    float scale, minimum;
    scale_and_minimum(b + 4, g, &scale, &minimum);
    for (int i = 0; i < 32; i++) out->q[i] = (int8_t)group_value(fifth, q, g, i);
    out->first = out->last = half_at(b) * scale;
    out->minimum = -half_at(b + 2) * minimum;
}

// Group g of a block; of most dtypes a block is one.
static void take_group(qn_gguf_dtype dtype, const uint8_t *b, int g, group *out) {
    out->first = out->last = half_at(b);
    out->minimum = 0;
    switch (dtype) {
    case QN_GGUF_Q4_0:
        out->minimum = -8 * out->first;
        take_nibbles(b + 2, 0, 0, out->q);
        break;
    case QN_GGUF_Q4_1:
        out->minimum = half_at(b + 2);
        take_nibbles(b + 4, 0, 0, out->q);
        break;
    case QN_GGUF_Q5_0:
        take_nibbles(b + 6, word_at(b + 2), 16, out->q);
        break;
    case QN_GGUF_Q5_1:
        out->minimum = half_at(b + 2);
        take_nibbles(b + 8, word_at(b + 4), 0, out->q);
        break;
    case QN_GGUF_Q8_0:
        memcpy(out->q, b + 2, 32);
        break;
    case QN_GGUF_Q3_K:
        out->first = half_at(b + 108) * (float)(scale_of_3(b, 2 * g) - 32);
        out->last = half_at(b + 108) * (float)(scale_of_3(b, 2 * g + 1) - 32);
        for (int i = 0; i < 32; i++) out->q[i] = (int8_t)value_of_3(b, 32 * g + i);
        break;
    case QN_GGUF_Q4_K:
        take_group_of_32(b, NULL, b + 16, g, out);
        break;
    case QN_GGUF_Q5_K:
        take_group_of_32(b, b + 16, b + 48, g, out);
        break;
    default: // Q6_K
        out->first = half_at(b + 208) * (float)(int8_t)b[192 + 2 * g];
        out->last = half_at(b + 208) * (float)(int8_t)b[193 + 2 * g];
        for (int i = 0; i < 32; i++) out->q[i] = (int8_t)value_of_6(b, 32 * g + i);
    }
}

qn_compute qn_gguf_group_form(qn_gguf_dtype dtype) {
    switch (dtype) {
    case QN_GGUF_Q4_0:
    case QN_GGUF_Q4_1:
        return QN_DTYPE_Q4;
    case QN_GGUF_Q5_0:
    case QN_GGUF_Q8_0:
        return QN_DTYPE_Q8;
    case QN_GGUF_Q4_K:
        return QN_DTYPE_K4;
    case QN_GGUF_Q3_K:
    case QN_GGUF_Q5_1:
    case QN_GGUF_Q5_K:
    case QN_GGUF_Q6_K:
        return QN_DTYPE_K8;
    default:
        return QN_DTYPE_F32;
    }
}

void qn_gguf_to_groups(const qn_gguf_tensor *t, int64_t row, qn_compute form, int8_t *q, float *scale, float *minimum) {
    const int64_t groups = t->shape[t->dims - 1] / 32, of_block = blocks[t->dtype].elements / 32;
    const int64_t bytes = blocks[t->dtype].bytes;
    const uint8_t *b = t->data + row * groups / of_block * bytes;
    for (int64_t g = 0; g < groups; g++, q += 32) {
        group taken = {.q = q};
        take_group(t->dtype, b + g / of_block * bytes, (int)(g % of_block), &taken);
        *scale++ = taken.first;
        if (form == QN_DTYPE_K8) *scale++ = taken.last;
        if (form != QN_DTYPE_Q8) minimum[g] = taken.minimum;
    }
}
