// Rows into bf16 and bytes and back, for the products in narrow dtypes.
#include "backend/cpu/constants.h"
#include "backend/cpu/ref/ref.h"
#include "base/half.h"
#include <math.h>
#include <string.h>

void qn_ref_to_bf16(size_t n, const float *x, uint16_t *y) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bool nan = (bits & 0x7fffffff) > 0x7f800000;
        y[i] = (uint16_t)(nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

void qn_ref_from_bf16(size_t n, const uint16_t *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = qn_bf16_to_f32(x[i]);
}

void qn_ref_pack_pairs(size_t k, size_t n, const uint16_t *b, size_t row, qn_word *panels) {
    for (size_t first = 0; first < n; first += QN_REF_PANEL_WIDTH)
        for (size_t p = 0; p < k; p += 2)
            for (size_t j = first; j < first + QN_REF_PANEL_WIDTH; j++) {
                uint16_t pair[2] = {j < n ? b[p * row + j] : 0, j < n && p + 1 < k ? b[(p + 1) * row + j] : 0};
                memcpy(panels++, pair, sizeof pair);
            }
}

void qn_ref_narrow_pairs(size_t k, size_t n, const float *b, size_t row, qn_word *words, size_t word_row) {
    for (size_t p = 0; p < k; p += 2)
        for (size_t j = 0; j < (n + QN_REF_PANEL_WIDTH - 1) / QN_REF_PANEL_WIDTH * QN_REF_PANEL_WIDTH; j++) {
            uint16_t pair[2] = {0, 0};
            if (j < n) qn_ref_to_bf16(1, b + p * row + j, pair);
            if (j < n && p + 1 < k) qn_ref_to_bf16(1, b + (p + 1) * row + j, pair + 1);
            memcpy(words + p / 2 * word_row + j, pair, sizeof pair);
        }
}

void qn_ref_quantize(size_t n, const float *x, const qn_exact *exact, uint8_t *y, qn_byte_row *row) {
    float low = 0, high = 0;
    for (size_t i = 0, e = 0; i < n; i++) {
        if (e < exact->count && exact->channel[e] == i) {
            row->exact[e++] = x[i];
            continue;
        }
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    qn_byte_range range = qn_byte_range_of(low, high);
    for (size_t i = 0, e = 0; i < n; i++) {
        bool out = e < exact->count && exact->channel[e] == i;
        y[i] = out ? 0 : (uint8_t)fminf(x[i] * range.inverse + range.start, 255);
        e += out;
    }
    if (!exact->count) row->exact[0] = 0; // gemm_int8 reads it always
    row->scale = range.scale;
    row->zero = range.zero;
}

void qn_ref_dequantize(size_t n, const int32_t *sum, const qn_byte_row *row, const qn_byte_columns *columns, float *y) {
    for (size_t i = 0; i < n; i++) {
        y[i] = (float)(sum[i] - row->zero * columns->sum[i]) * (columns->scale[i] * row->scale);
        for (size_t e = 0; e < columns->exact_count; e++)
            y[i] = fmaf(row->exact[e], columns->exact[e * columns->exact_row + i], y[i]);
    }
}

void qn_ref_round_int8(size_t n, const float *x, float *y) {
    float top = 0;
    for (size_t i = 0; i < n; i++) top = fmaxf(top, fabsf(x[i]));
    float scale = qn_int8_scale(top), inverse = scale > 0 ? 1 / scale : 0;
    for (size_t i = 0; i < n; i++) y[i] = scale * rintf(x[i] * inverse);
}

void qn_ref_finish(qn_activation f, size_t n, const float *x, const float *bias, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = bias ? x[i] + bias[i] : x[i];
    qn_ref_activation_forward(f, n, y, y);
}
