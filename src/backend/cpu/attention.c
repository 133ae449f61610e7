// Ragged multi-head attention. A task is one head of one sequence; it walks over blocks of queries and keeps one block
// of score rows, so memory grows with the length s, never with s x s. Products go through the same gemm kernel as the
// linear layers.
//
// Forward:  S = scale Q K^T, P = softmax(S) by rows, O = dropout(P) V; lse_i = log sum_j exp(S_ij) is kept.
// In bf16 the products are those of bf16.
// Backward: P = exp(S - lse); dV = dropout(P)^T dO; dP = dropout(dO V^T); delta_i = sum dO_i O_i = sum_j P_ij dP_ij;
//           dS = P (dP - delta); dQ = scale dS K; dK = scale dS^T Q.   (Dao et al., FlashAttention, 2022, appendix B)
//
// A bias by distance (Raffel et al. 2020): S_ij += b[j - i]; db[j - i] = sum dS_ij. Scores begin as b / scale, to which
// the product adds.
//
// A window (Beltagy et al. 2020, Longformer) or causal attention: a block of queries meets only the keys that one of
// them sees, in whole panels, and scores of what a query itself does not see begin so low that their probability is 0.
//
// Where query heads share a key head, dK and dV are sums over them.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { QUERY_BLOCK = 48 };

typedef struct {
    qn_cpu *cpu;
    const qn_attention_args *a;
    size_t padded; // longest sequence, in whole panels
    float *sums;   // [sequences, heads, buckets] of a bias's gradient, in backward
} job_t;

// A head's bias by distance, values[key - query + s - 1], in units of the product.
static void spread_bias(const qn_attention_args *a, size_t head, size_t s, float *values) {
    const int32_t *bucket = a->bias_bucket + a->bias_reach + 1 - s;
    for (size_t i = 0; i + 1 < 2 * s; i++) values[i] = a->bias[(size_t)bucket[i] * a->heads + head] / a->scale;
}

// Queries q .. q + rows - 1 of a sequence, counted in it, and the keys low .. high - 1 that they meet.
typedef struct {
    size_t q, rows, low, high;
    size_t ld; // of their scores
} span;

static size_t place_of(const qn_attention_args *a, size_t token, size_t begin) {
    return a->query_positions ? (size_t)a->query_positions[token] : token - begin;
}

// Where the distances of one query begin in an array of that kind.
static size_t first_distance(const qn_attention_args *a, size_t token, size_t begin, size_t s) {
    return s - 1 - place_of(a, token, begin);
}

static bool sees_part(const qn_attention_args *a) {
    return a->window || a->causal;
}

// The next block: of rows that stand near each other where there is a window. `low` begins a panel.
static span span_at(const qn_attention_args *a, size_t q, size_t queries, size_t begin, size_t s, size_t width) {
    span f = {.q = q, .rows = qn_smaller(queries - q, QUERY_BLOCK), .high = s};
    if (sees_part(a)) {
        size_t first = place_of(a, begin + q, begin), last = first;
        size_t reach = a->window ? QUERY_BLOCK + 2 * a->window : SIZE_MAX - first;
        for (size_t i = 1; i < f.rows; i++) {
            size_t place = place_of(a, begin + q + i, begin);
            if (place >= first + reach) f.rows = i;
            if (place < first + reach) last = place;
        }
        size_t after = a->causal ? 0 : a->window;
        if (a->window && first > a->window) f.low = (first - a->window) / width * width;
        f.high = qn_smaller(qn_round_up(last + after + 1, width), s);
    }
    f.ld = qn_round_up(f.high - f.low, width);
    return f;
}

// What scores begin with, where there is a bias or keys that some do not see; false: nothing, they are written.
static bool begin_scores(const qn_attention_args *a, const span *f, size_t begin, size_t s, const float *bias,
                         float *scores) {
    const float unseen = -1e30f;
    if (!a->bias && !sees_part(a)) return false;
    for (size_t i = 0; i < f->rows; i++) {
        size_t token = begin + f->q + i, n = f->high - f->low, place = place_of(a, token, begin);
        float *row = scores + i * f->ld;
        if (a->bias)
            memcpy(row, bias + first_distance(a, token, begin, s) + f->low, n * sizeof *row);
        else
            memset(row, 0, n * sizeof *row);
        if (!sees_part(a)) continue;
        size_t from = a->window && place > a->window ? place - a->window : 0, to = place + 1; // what it sees
        if (!a->causal) to += a->window;
        for (size_t j = f->low; j < f->high && j < from; j++) row[j - f->low] = unseen;
        for (size_t j = to > f->low ? to : f->low; j < f->high; j++) row[j - f->low] = unseen;
    }
    return true;
}

// Where the keys and values of a query head begin in their rows.
static size_t key_column(const qn_attention_args *a, size_t head) {
    return head / (a->heads / a->key_heads) * a->head_width;
}

// A row's counters start at (token * heads + head) * 2^20, enough for 8 million keys.
void qn_cpu_drop_probabilities(const qn_cpu *cpu, const qn_attention_args *a, size_t token, size_t head, size_t n,
                               const float *x, float *y) {
    uint64_t row = (uint64_t)token * a->heads + head;
    cpu->kernels->dropout(a->dropout, row << 20, n, x, y, false);
}

static void forward_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t head = index % a->heads, sequence = index / a->heads, h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t width = k->panel_width;
    size_t begin = (size_t)a->query_offsets[sequence], queries = (size_t)a->query_offsets[sequence + 1] - begin;
    float *keys = job->cpu->per_worker[worker].memory, *scores = keys + job->padded * h;
    float *bias = scores + QUERY_BLOCK * job->padded;
    if (queries == 0) return;
    if (s == 0) { // nothing to see: zeros
        for (size_t i = 0; i < queries; i++) memset(a->out + (begin + i) * d + column, 0, h * sizeof(float));
        return;
    }
    k->pack(s, h, a->key + first * a->stride + key_column(a, head), a->stride, keys);
    if (a->bias) spread_bias(a, head, s, bias);
    for (size_t q = 0; q < queries;) {
        span f = span_at(a, q, queries, begin, s, width);
        size_t rows = f.rows, token = begin + q, ld = f.ld, n = f.high - f.low;
        bool begun = begin_scores(a, &f, begin, s, bias, scores);
        k->gemm(&(qn_gemm){.m = rows,
                           .n = n,
                           .k = h,
                           .a = a->query + token * a->query_stride + column,
                           .a_row = a->query_stride,
                           .a_step = 1,
                           .b = keys + f.low * h,
                           .b_row = width,
                           .b_panel = h * width,
                           .b_packed = true,
                           .c = scores,
                           .c_row = ld,
                           .accumulate = begun});
        float lse[QUERY_BLOCK];
        k->softmax(rows, n, a->scale, scores, ld, lse, NULL, 0);
        for (size_t i = 0; i < rows; i++) {
            if (a->lse) a->lse[(token + i) * a->heads + head] = lse[i];
            if (a->dropout.p > 0)
                qn_cpu_drop_probabilities(job->cpu, a, token + i, head, n, scores + i * ld, scores + i * ld);
        }
        k->gemm(&(qn_gemm){.m = rows,
                           .n = h,
                           .k = n,
                           .a = scores,
                           .a_row = ld,
                           .a_step = 1,
                           .b = a->value + (first + f.low) * a->stride + key_column(a, head),
                           .b_row = a->stride,
                           .b_panel = width,
                           .c = a->out + token * d + column,
                           .c_row = d});
        q += rows;
    }
}

// The same of bf16, with products of bf16, whose rows are words of two: keys in pairs along the head's width,
// probabilities and values in pairs along the sequence.
static void narrow_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t head = index % a->heads, sequence = index / a->heads, h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t width = k->panel_width, pairs = (s + 1) / 2;
    const uint16_t *row = a->narrow + first * a->stride, *query = row + column, *key = row + d + key_column(a, head);
    const uint16_t *value = key + a->key_heads * h;
    float *keys = job->cpu->per_worker[worker].memory, *values = keys + job->padded * h;
    float *scores = values + job->padded * qn_round_up(h, width);
    float *bias = scores + 2 * QUERY_BLOCK * job->padded;
    uint16_t *p = (uint16_t *)(void *)(scores + QUERY_BLOCK * job->padded);
    if (s == 0) return;
    k->pack(s, h / 2, (const qn_word *)(const void *)key, a->stride / 2, keys);
    k->pack_pairs(s, h, value, a->stride, values);
    if (a->bias) spread_bias(a, head, s, bias);
    for (size_t q = 0; q < s; q += QUERY_BLOCK) {
        span f = span_at(a, q, s, first, s, width);
        size_t rows = f.rows, ld = f.ld, n = f.high - f.low, out = (first + q) * d + column;
        bool begun = begin_scores(a, &f, first, s, bias, scores);
        k->gemm_bf16(&(qn_gemm){.m = rows,
                                .n = n,
                                .k = h / 2,
                                .a = (const qn_word *)(const void *)(query + q * a->stride),
                                .a_row = a->stride / 2,
                                .a_step = 1,
                                .b = keys + f.low * (h / 2),
                                .b_row = width,
                                .b_panel = h / 2 * width,
                                .b_packed = true,
                                .c = scores,
                                .c_row = ld,
                                .accumulate = begun});
        bool drops = a->dropout.p > 0;
        float lse[QUERY_BLOCK];
        k->softmax(rows, n, a->scale, scores, ld, lse, drops ? NULL : p, ld);
        for (size_t i = 0; i < rows; i++) {
            size_t token = first + q + i;
            if (a->lse) a->lse[token * a->heads + head] = lse[i];
            if (drops) {
                qn_cpu_drop_probabilities(job->cpu, a, token, head, n, scores + i * ld, scores + i * ld);
                k->to_bf16(n, scores + i * ld, p + i * ld);
            }
            if (n % 2) p[i * ld + n] = 0;
        }
        k->gemm_bf16(&(qn_gemm){.m = rows,
                                .n = h,
                                .k = (n + 1) / 2,
                                .a = (const qn_word *)(const void *)p,
                                .a_row = ld / 2,
                                .a_step = 1,
                                .b = values + f.low / 2 * width,
                                .b_row = width,
                                .b_panel = pairs * width,
                                .b_packed = true,
                                .c = a->out ? a->out + out : NULL,
                                .narrow = a->narrow_out ? a->narrow_out + out : NULL,
                                .c_row = d});
    }
}

// The gradients of one head where there is nothing to attend to, or nobody who attends.
static void zero_rows(float *x, float *y, size_t rows, size_t stride, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        memset(x + i * stride, 0, width * sizeof *x);
        if (y) memset(y + i * stride, 0, width * sizeof *y);
    }
}

// One query head; `added`: others have written the gradients of its keys and values already.
static void backward_head(const job_t *job, size_t sequence, size_t head, bool added, int worker) {
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t width = k->panel_width, start = first * a->stride + key_column(a, head);
    float *keys = job->cpu->per_worker[worker].memory, *values = keys + job->padded * h, *p = values + job->padded * h;
    float *dp = p + QUERY_BLOCK * job->padded, *dropped = dp + QUERY_BLOCK * job->padded;
    float *bias = dropped + QUERY_BLOCK * job->padded, *dbias = bias + 2 * job->padded;
    size_t begin = (size_t)a->query_offsets[sequence], queries = (size_t)a->query_offsets[sequence + 1] - begin;
    if (!added && (queries == 0 || sees_part(a))) // nobody looked yet
        zero_rows(a->dkey + start, a->dvalue + start, s, a->stride, h);
    if (s == 0) zero_rows(a->dquery + begin * a->query_stride + column, NULL, queries, a->query_stride, h);
    if (s == 0 || queries == 0) return;
    k->pack(s, h, a->key + start, a->stride, keys);
    k->pack(s, h, a->value + start, a->stride, values);
    if (a->bias) {
        spread_bias(a, head, s, bias);
        memset(dbias, 0, 2 * s * sizeof *dbias);
    }
    for (size_t q = 0; q < queries;) {
        span f = span_at(a, q, queries, begin, s, width);
        size_t rows = f.rows, token = begin + q, ld = f.ld, n = f.high - f.low, at = token * a->query_stride + column;
        size_t seen = start + f.low * a->stride; // the first key that they meet
        bool begun = begin_scores(a, &f, begin, s, bias, p), written = added || q > 0 || sees_part(a);
        const float *out = a->out + token * d + column, *dout = a->dout + token * d + column;
        k->gemm(&(qn_gemm){.m = rows,
                           .n = n,
                           .k = h,
                           .a = a->query + at,
                           .a_row = a->query_stride,
                           .a_step = 1,
                           .b = keys + f.low * h,
                           .b_row = width,
                           .b_panel = h * width,
                           .b_packed = true,
                           .c = p,
                           .c_row = ld,
                           .accumulate = begun});
        k->gemm(&(qn_gemm){.m = rows,
                           .n = n,
                           .k = h,
                           .a = dout,
                           .a_row = d,
                           .a_step = 1,
                           .b = values + f.low * h,
                           .b_row = width,
                           .b_panel = h * width,
                           .b_packed = true,
                           .c = dp,
                           .c_row = ld});
        float *used = a->dropout.p > 0 ? dropped : p; // the probabilities that met the values
        for (size_t i = 0; i < rows; i++) {
            float *row = p + i * ld, *drow = dp + i * ld;
            k->exp_sum(n, row, a->scale, a->lse[(token + i) * a->heads + head], row);
            if (a->dropout.p > 0) {
                qn_cpu_drop_probabilities(job->cpu, a, token + i, head, n, row, dropped + i * ld);
                qn_cpu_drop_probabilities(job->cpu, a, token + i, head, n, drow, drow);
            }
        }
        k->gemm(&(qn_gemm){.m = n,
                           .n = h,
                           .k = rows,
                           .a = used,
                           .a_row = 1,
                           .a_step = ld,
                           .b = dout,
                           .b_row = d,
                           .b_panel = width,
                           .c = a->dvalue + seen,
                           .c_row = a->stride,
                           .accumulate = written});
        for (size_t i = 0; i < rows; i++) {
            float delta = k->dot(h, out + i * d, dout + i * d);
            k->score_backward(n, p + i * ld, dp + i * ld, delta, a->scale, dp + i * ld);
            if (a->bias) k->axpy(n, 1 / a->scale, dp + i * ld, dbias + first_distance(a, token + i, begin, s) + f.low);
        }
        k->gemm(&(qn_gemm){.m = n,
                           .n = h,
                           .k = rows,
                           .a = dp,
                           .a_row = 1,
                           .a_step = ld,
                           .b = a->query + at,
                           .b_row = a->query_stride,
                           .b_panel = width,
                           .c = a->dkey + seen,
                           .c_row = a->stride,
                           .accumulate = written});
        k->gemm(&(qn_gemm){.m = rows,
                           .n = h,
                           .k = n,
                           .a = dp,
                           .a_row = ld,
                           .a_step = 1,
                           .b = a->key + seen,
                           .b_row = a->stride,
                           .b_panel = width,
                           .c = a->dquery + at,
                           .c_row = a->query_stride});
        q += rows;
    }
    if (!job->sums) return;
    const int32_t *bucket = a->bias_bucket + a->bias_reach + 1 - s;
    for (size_t i = 0; i + 1 < 2 * s; i++)
        job->sums[(sequence * a->heads + head) * a->buckets + (size_t)bucket[i]] += dbias[i];
}

// A key head of a sequence, for all query heads that share it.
static void backward_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    size_t shared = job->a->heads / job->a->key_heads;
    for (size_t i = 0; i < shared; i++)
        backward_head(job, index / job->a->key_heads, index % job->a->key_heads * shared + i, i > 0, worker);
}

// What narrow_backward_task needs of a worker's memory.
typedef struct {
    qn_word *keys, *values;  // panels over the sequence, in pairs along the head's width
    qn_word *key_pairs;      // panels over the width, in pairs along the sequence
    float *p, *dp, *dropped; // [QUERY_BLOCK, padded]
    qn_word *turned;         // [QUERY_BLOCK / 2, padded] p or ds in pairs of queries
    uint16_t *ds;            // [QUERY_BLOCK, padded]
    uint16_t *dout;          // [QUERY_BLOCK, head_width]
    qn_word *dout_pairs;     // [QUERY_BLOCK / 2, room]
    qn_word *query_pairs;    // panels over the width, in pairs of queries
    size_t room;             // the head's width in whole panels
} narrow_memory;

static narrow_memory narrow_memory_of(const job_t *job, int worker) {
    size_t padded = job->padded, block = QUERY_BLOCK * padded;
    size_t room = qn_round_up(job->a->head_width, job->cpu->kernels->panel_width);
    float *at = job->cpu->per_worker[worker].memory;
    narrow_memory m = {.room = room};
    m.keys = at, at += padded * room / 2;
    m.values = at, at += padded * room / 2;
    m.key_pairs = at, at += padded * room;
    m.p = at, at += block;
    m.dp = at, at += block;
    m.dropped = at, at += block;
    m.turned = at, at += block / 2;
    m.ds = (uint16_t *)(void *)at, at += block / 2;
    m.dout = (uint16_t *)(void *)at, at += QUERY_BLOCK * room / 2;
    m.dout_pairs = at, at += QUERY_BLOCK * room / 2;
    m.query_pairs = at;
    return m;
}

// A product [m, n] of one head: a in rows or, turned, in columns `step` apart; b in panels b_row wide rows.
static qn_gemm head_product(const qn_kernels *k, size_t m, size_t n, size_t depth, const void *a, const qn_word *b,
                            float *c, size_t c_row) {
    size_t width = k->panel_width;
    return (qn_gemm){.m = m,
                     .n = n,
                     .k = depth,
                     .a = a,
                     .a_step = 1,
                     .b = b,
                     .b_row = width,
                     .b_panel = depth * width,
                     .b_packed = true,
                     .c = c,
                     .c_row = c_row};
}

// As backward_task, of bf16: scores, their gradients and probabilities are rounded on their way into the next product,
// all sums and softmax are float32. delta is the sum of what dS is computed from, so that its rows add up to nothing.
static void narrow_backward_task(void *context, size_t index, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t head = index % a->heads, sequence = index / a->heads, h = a->head_width, d = a->heads * h, column = head * h;
    size_t first = (size_t)a->offsets[sequence], s = (size_t)a->offsets[sequence + 1] - first;
    size_t ld = qn_round_up(s, k->panel_width), start = first * a->stride + column;
    const uint16_t *query = a->narrow + start, *key = query + d, *value = key + d;
    narrow_memory m = narrow_memory_of(job, worker);
    if (s == 0) return;
    k->pack(s, h / 2, (const qn_word *)(const void *)key, a->stride / 2, m.keys);
    k->pack(s, h / 2, (const qn_word *)(const void *)value, a->stride / 2, m.values);
    k->pack_pairs(s, h, key, a->stride, m.key_pairs);
    for (size_t q = 0; q < s; q += QUERY_BLOCK) {
        size_t rows = s - q < QUERY_BLOCK ? s - q : QUERY_BLOCK, token = first + q, pairs = (rows + 1) / 2;
        const float *dout = a->dout + token * d + column;
        qn_gemm scores = head_product(k, rows, s, h / 2, query + q * a->stride, m.keys, m.p, ld);
        scores.a_row = a->stride / 2;
        k->gemm_bf16(&scores);
        for (size_t i = 0; i < rows; i++) k->to_bf16(h, dout + i * d, m.dout + i * h);
        qn_gemm dscores = head_product(k, rows, s, h / 2, m.dout, m.values, m.dp, ld);
        dscores.a_row = h / 2;
        k->gemm_bf16(&dscores);
        bool drops = a->dropout.p > 0;
        for (size_t i = 0; i < rows; i++) {
            float *p = m.p + i * ld, *dp = m.dp + i * ld;
            k->exp_sum(s, p, a->scale, a->lse[(token + i) * a->heads + head], p);
            if (drops) {
                qn_cpu_drop_probabilities(job->cpu, a, token + i, head, s, p, m.dropped + i * ld);
                qn_cpu_drop_probabilities(job->cpu, a, token + i, head, s, dp, dp);
            }
        }
        k->narrow_pairs(rows, s, drops ? m.dropped : m.p, ld, m.turned, ld); // what met the values
        k->narrow_pairs(rows, h, dout, d, m.dout_pairs, m.room);
        qn_gemm dvalue = head_product(k, s, h, pairs, m.turned, m.dout_pairs, a->dvalue + start, a->stride);
        dvalue.a_row = 1, dvalue.a_step = ld;
        dvalue.b_row = m.room, dvalue.b_panel = k->panel_width;
        dvalue.accumulate = q > 0;
        k->gemm_bf16(&dvalue);
        for (size_t i = 0; i < rows; i++) {
            float *p = m.p + i * ld, *dp = m.dp + i * ld;
            k->score_backward(s, p, dp, k->dot(s, p, dp), a->scale, dp);
            k->to_bf16(s, dp, m.ds + i * ld);
            if (s % 2) m.ds[i * ld + s] = 0;
        }
        k->narrow_pairs(rows, s, m.dp, ld, m.turned, ld);
        k->pack_pairs(rows, h, query + q * a->stride, a->stride, m.query_pairs);
        qn_gemm dkey = head_product(k, s, h, pairs, m.turned, m.query_pairs, a->dkey + start, a->stride);
        dkey.a_row = 1, dkey.a_step = ld;
        dkey.accumulate = q > 0;
        k->gemm_bf16(&dkey);
        float *to = a->dquery + start + q * a->stride;
        qn_gemm dquery = head_product(k, rows, h, (s + 1) / 2, m.ds, m.key_pairs, to, a->stride);
        dquery.a_row = ld / 2;
        k->gemm_bf16(&dquery);
    }
}

static void run(qn_backend *b, const qn_attention_args *a, qn_task task, size_t tasks, size_t packs, size_t blocks,
                float *sums) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t longest = 0;
    for (size_t i = 0; i < a->sequences; i++) {
        size_t s = (size_t)(a->offsets[i + 1] - a->offsets[i]);
        if (s > longest) longest = s;
    }
    job_t job = {cpu, a, qn_round_up(longest, cpu->kernels->panel_width), sums};
    if (longest == 0) job.padded = cpu->kernels->panel_width; // queries may stand before empty sequences
    size_t room = qn_round_up(a->head_width, cpu->kernels->panel_width);
    if (!qn_cpu_worker_scratch(cpu, job.padded * (packs * room + blocks * QUERY_BLOCK + (a->bias ? 4 : 0)) +
                                        2 * QUERY_BLOCK * room))
        return;
    qn_threads_run(cpu->threads, a->sequences * tasks, task, &job);
}

void qn_cpu_attention_forward(qn_backend *b, const qn_attention_args *a) {
    if (a->distance_index)
        qn_cpu_disentangled_forward(qn_cpu_of(b), a);
    else if (a->narrow)
        run(b, a, narrow_task, a->heads, 2, 2, NULL);
    else
        run(b, a, forward_task, a->heads, 1, 1, NULL);
}

void qn_cpu_attention_backward(qn_backend *b, const qn_attention_args *a) {
    size_t tasks = a->sequences * a->heads;
    float *sums = NULL;
    if (a->distance_index) {
        qn_cpu_disentangled_backward(qn_cpu_of(b), a);
        return;
    }
    if (a->bias && a->dbias) {
        sums = qn_cpu_shared_scratch(qn_cpu_of(b), tasks * a->buckets);
        if (!sums) return;
        memset(sums, 0, tasks * a->buckets * sizeof *sums);
    }
    run(b, a, a->narrow ? narrow_backward_task : backward_task, a->key_heads, 2, a->narrow ? 4 : 3, sums);
    for (size_t i = 0; sums && i < tasks; i++) // in the order of the sequences, whoever computed them
        for (size_t k = 0; k < a->buckets; k++) a->dbias[k * a->heads + i % a->heads] += sums[i * a->buckets + k];
}
