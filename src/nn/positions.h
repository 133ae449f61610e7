// What an encoder knows of positions besides learned tables: sinusoids, rotary tables, and biases by distance.
#pragma once
#include "ops/ops.h"

// table[pos, 2 i] = sin(pos / 10000^(2 i / d)), table[pos, 2 i + 1] = cos(the same) (Vaswani et al. 2017, section 3.5);
// with `halves` the sines of all i stand first, then the cosines.
void qn_fill_sinusoid(size_t rows, size_t d, bool halves, float *table);
qn_status qn_make_sinusoid(size_t rows, size_t d, bool halves, qn_tensor *out); // free its data with qn_aligned_free

// Rotary positions: the angle of pair i at position p is p f_i, f_i = theta^(-2 i / width). Longer texts than a model
// was trained on: LINEAR divides positions by `factor`; NTK takes theta factor and divides f by factor^(2 / width).
// LLAMA3 and YARN (Peng et al. 2023) leave f as it is where it turns often within the length of training, divide it by
// `factor` where it turns rarely, and go from one to the other between: Llama 3.1 by the number of turns, from `slow`
// to `fast`; YaRN by the pair, from that which turns `fast` times to that which turns `slow` times. YaRN's cosines and
// sines are longer by `stretch`.
typedef enum { QN_ROTARY_PLAIN, QN_ROTARY_LINEAR, QN_ROTARY_NTK, QN_ROTARY_LLAMA3, QN_ROTARY_YARN } qn_rotary_scaling;
typedef struct {
    double theta, factor;
    qn_rotary_scaling scaling;
    double slow, fast, trained; // turns; positions of training
    double stretch;             // 0: 1
    bool whole_pairs;           // YaRN's ramp begins and ends at whole pairs
} qn_rotary_config;

typedef struct {
    qn_rotary rotary;
    qn_rotary_config config;
    size_t width, positions, filled; // rows of the tables; those that are computed
    float *frequency;                // [width / 2]
    float *cosine, *sine;            // [positions, width / 2]
} qn_rotary_tables;

qn_status qn_rotary_create(const qn_rotary_config *config, size_t width, size_t positions, qn_rotary_tables *out);
// Computes the rows 0 .. positions - 1. Memory of rows that nobody asks for is never taken.
void qn_rotary_extend(qn_rotary_tables *tables, size_t positions);
void qn_rotary_free(qn_rotary_tables *tables);

// Which distances share a bias (Raffel et al. 2020): a quarter of `count` buckets is for 0, 1, 2, ... before the query,
// the next for logarithmic steps up to `most`, and the other half is the same for keys after it; with `back` there are
// none of these, and each part is twice as large.
typedef struct {
    size_t count, most;
    bool back;
} qn_buckets;
// The buckets [2 max_positions - 1] of distances for a table of biases; they and `reach` go into `bias`. Free the
// result with free(); NULL without memory.
int32_t *qn_make_buckets(size_t max_positions, const qn_buckets *buckets, qn_attention_bias *bias);
// DeBERTa's distances (He et al. 2021): the row, 0 .. 2 span - 1, of query - key + reach, [2 reach + 1]. With `buckets`
// (then the span) the distances from half of them on share rows in logarithmic steps up to `most`. Free with free().
int32_t *qn_make_distances(size_t reach, size_t span, size_t buckets, size_t most);
// ALiBi (Press et al. 2022) as such a bias: a constant table [max_positions, heads] of -slope_head distance. The
// table's data is for qn_aligned_free.
int32_t *qn_make_alibi(size_t max_positions, size_t heads, qn_tensor *table, qn_attention_bias *bias);
