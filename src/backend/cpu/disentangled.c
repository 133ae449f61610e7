// Disentangled attention (He et al. 2021, DeBERTa): a score has three parts, of contents and of the distance i - j of
// query and key, whose row x of two tables all pairs at one distance (or in one range of them) share:
//   S_ij = scale (Q_i K_j + Q_i R_x + K_j S_x)
// Q R^T and K S^T are products of a few rows, those of distances that a sequence has; scores begin as what is picked
// from them, and the product Q K^T adds. As in attention.c a task keeps one block of score rows; for K S^T it keeps
// [s, distances].
//
// Backward sums dS over the pairs of one x: A_ix = sum_j dS_ij, B_jx = sum_i dS_ij. Then dQ += A R, dR += A^T Q,
// dK += B S, dS += B^T K. Tables have partial sums per group of sequences, which are added in order.
#include "backend/cpu/cpu.h"
#include <string.h>

enum { QUERY_BLOCK = 48, MOST_GROUPS = 8 };

typedef struct {
    qn_cpu *cpu;
    const qn_attention_args *a;
    size_t longest, reach; // the longest sequence; the most rows of the tables that one has
    size_t groups;
    float *partial; // [groups, 2, distances, heads * head_width] sums of the tables' gradients, or NULL
} job_t;

// A head of a sequence, and the rows first .. first + count - 1 of the tables that its distances have.
typedef struct {
    size_t head, s, queries, begin, start; // tokens, queries, the first query, the place of the first key
    const int32_t *index;                  // of distance 0
    size_t first, count, ld;
} part_t;

static part_t part_of(const qn_attention_args *a, size_t sequence, size_t head, size_t width) {
    size_t first = (size_t)a->offsets[sequence], h = a->head_width;
    part_t p = {.head = head, .s = (size_t)a->offsets[sequence + 1] - first};
    p.begin = (size_t)a->query_offsets[sequence];
    p.queries = (size_t)a->query_offsets[sequence + 1] - p.begin;
    p.start = first * a->stride + head * h;
    p.index = a->distance_index + a->distance_reach;
    if (p.s == 0) return p;
    p.first = (size_t)p.index[1 - (ptrdiff_t)p.s];
    p.count = (size_t)p.index[p.s - 1] - p.first + 1;
    p.ld = qn_round_up(p.count, width);
    return p;
}

// What a task works in.
typedef struct {
    float *keys, *values, *by_query, *by_key, *table; // packed; packed; [QUERY_BLOCK, count]; [s, count]; packed
    float *p, *dp, *dropped, *sum_query, *sum_key;    // but for p in backward alone
} room_t;

static size_t room_size(const job_t *job, bool backward) {
    size_t h = qn_round_up(job->a->head_width, job->cpu->kernels->panel_width), s = job->longest, n = job->reach;
    return s * h * 2 + QUERY_BLOCK * n + s * n + n * h + QUERY_BLOCK * s +
           (backward ? 2 * QUERY_BLOCK * s + QUERY_BLOCK * n + s * n : 0);
}

static room_t room_of(const job_t *job, int worker) {
    size_t h = qn_round_up(job->a->head_width, job->cpu->kernels->panel_width), s = job->longest, n = job->reach;
    room_t r = {.keys = job->cpu->per_worker[worker].memory};
    r.values = r.keys + s * h;
    r.by_query = r.values + s * h;
    r.by_key = r.by_query + QUERY_BLOCK * n;
    r.table = r.by_key + s * n;
    r.p = r.table + n * h;
    r.dp = r.p + QUERY_BLOCK * s;
    r.dropped = r.dp + QUERY_BLOCK * s;
    r.sum_query = r.dropped + QUERY_BLOCK * s;
    r.sum_key = r.sum_query + QUERY_BLOCK * n;
    return r;
}

// c [m, n] (+)= a [m, h] b^T, where b [n, h] is packed.
static void multiply_packed(const job_t *job, size_t m, size_t n, const float *a, size_t row, const float *panels,
                            float *c, size_t ld, bool accumulate) {
    size_t width = job->cpu->kernels->panel_width, h = job->a->head_width;
    job->cpu->kernels->gemm(&(qn_gemm){.m = m,
                                       .n = n,
                                       .k = h,
                                       .a = a,
                                       .a_row = row,
                                       .a_step = 1,
                                       .b = panels,
                                       .b_row = width,
                                       .b_panel = h * width,
                                       .b_packed = true,
                                       .c = c,
                                       .c_row = ld,
                                       .accumulate = accumulate});
}

// c [m, h] (+)= a b, where a [m, k] may lie transposed and b [k, h] lies as it is.
static void multiply(const job_t *job, size_t m, size_t k, const float *a, size_t row, size_t step, const float *b,
                     size_t b_row, float *c, size_t c_row, bool accumulate) {
    job->cpu->kernels->gemm(&(qn_gemm){.m = m,
                                       .n = job->a->head_width,
                                       .k = k,
                                       .a = a,
                                       .a_row = row,
                                       .a_step = step,
                                       .b = b,
                                       .b_row = b_row,
                                       .b_panel = job->cpu->kernels->panel_width,
                                       .c = c,
                                       .c_row = c_row,
                                       .accumulate = accumulate});
}

static const float *table_row(const job_t *job, const float *table, const part_t *p) {
    return table + p->first * job->a->distance_stride + p->head * job->a->head_width;
}

static ptrdiff_t place_of(const qn_attention_args *a, const part_t *p, size_t query) {
    return (ptrdiff_t)(a->query_positions ? (size_t)a->query_positions[p->begin + query] : query);
}

// Keys and what they say of distances.
static void begin_part(const job_t *job, const part_t *p, const room_t *r) {
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    k->pack(p->s, a->head_width, a->key + p->start, a->stride, r->keys);
    if (a->distance_query) {
        k->pack(p->count, a->head_width, table_row(job, a->distance_query, p), a->distance_stride, r->table);
        multiply_packed(job, p->s, p->count, a->key + p->start, a->stride, r->table, r->by_key, p->ld, false);
    }
    if (a->distance_key)
        k->pack(p->count, a->head_width, table_row(job, a->distance_key, p), a->distance_stride, r->table);
}

// The scores of queries q .. q + rows - 1, before the scale.
static void score_block(const job_t *job, const part_t *p, const room_t *r, size_t q, size_t rows, size_t ld) {
    const qn_attention_args *a = job->a;
    const float *query = a->query + (p->begin + q) * a->query_stride + p->head * a->head_width;
    if (a->distance_key)
        multiply_packed(job, rows, p->count, query, a->query_stride, r->table, r->by_query, p->ld, false);
    for (size_t i = 0; i < rows; i++) {
        const int32_t *index = p->index + place_of(a, p, q + i);
        const float *from_query = r->by_query + i * p->ld;
        float *row = r->p + i * ld;
        for (size_t j = 0; j < p->s; j++) {
            size_t x = (size_t)index[-(ptrdiff_t)j] - p->first;
            row[j] = (a->distance_key ? from_query[x] : 0) + (a->distance_query ? r->by_key[j * p->ld + x] : 0);
        }
    }
    multiply_packed(job, rows, p->s, query, a->query_stride, r->keys, r->p, ld, true);
}

static void forward_task(void *context, size_t task, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t h = a->head_width, d = a->heads * h;
    part_t p = part_of(a, task / a->heads, task % a->heads, k->panel_width);
    room_t r = room_of(job, worker);
    float *out = a->out + p.begin * d + p.head * h, lse[QUERY_BLOCK];
    for (size_t i = 0; p.s == 0 && i < p.queries; i++) memset(out + i * d, 0, h * sizeof *out);
    if (p.s == 0 || p.queries == 0) return;
    size_t ld = qn_round_up(p.s, k->panel_width);
    begin_part(job, &p, &r);
    for (size_t q = 0; q < p.queries; q += QUERY_BLOCK) {
        size_t rows = qn_smaller(p.queries - q, QUERY_BLOCK);
        score_block(job, &p, &r, q, rows, ld);
        k->softmax(rows, p.s, a->scale, r.p, ld, lse, NULL, 0);
        for (size_t i = 0; i < rows; i++) {
            size_t token = p.begin + q + i;
            float *row = r.p + i * ld;
            if (a->lse) a->lse[token * a->heads + p.head] = lse[i];
            if (a->dropout.p > 0) qn_cpu_drop_probabilities(job->cpu, a, token, p.head, p.s, row, row);
        }
        multiply(job, rows, p.s, r.p, ld, 1, a->value + p.start, a->stride, out + q * d, d, false);
    }
}

// A and B of a block from dS, and the gradients of queries and of the table R.
static void distance_gradients(const job_t *job, const part_t *p, const room_t *r, size_t q, size_t rows, size_t ld,
                               float *dtable) {
    const qn_attention_args *a = job->a;
    size_t h = a->head_width, at = (p->begin + q) * a->query_stride + p->head * h;
    memset(r->sum_query, 0, rows * p->ld * sizeof *r->sum_query);
    for (size_t i = 0; i < rows; i++) {
        const int32_t *index = p->index + place_of(a, p, q + i);
        const float *row = r->dp + i * ld;
        float *sum = r->sum_query + i * p->ld;
        for (size_t j = 0; j < p->s; j++) {
            size_t x = (size_t)index[-(ptrdiff_t)j] - p->first;
            sum[x] += row[j];
            r->sum_key[j * p->ld + x] += row[j];
        }
    }
    if (!a->distance_key) return;
    multiply(job, rows, p->count, r->sum_query, p->ld, 1, table_row(job, a->distance_key, p), a->distance_stride,
             a->dquery + at, a->query_stride, true);
    if (dtable)
        multiply(job, p->count, rows, r->sum_query, 1, p->ld, a->query + at, a->query_stride, dtable, a->heads * h,
                 true);
}

static void zero_rows(float *x, size_t rows, size_t stride, size_t width) {
    for (size_t i = 0; i < rows; i++) memset(x + i * stride, 0, width * sizeof *x);
}

// Probabilities of a block from its scores, and dS from dO; used: the probabilities that met the values.
static const float *score_gradients(const job_t *job, const part_t *p, const room_t *r, size_t token, size_t rows,
                                    size_t ld) {
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    for (size_t i = 0; i < rows; i++) {
        float *row = r->p + i * ld, *drow = r->dp + i * ld;
        k->exp_sum(p->s, row, a->scale, a->lse[(token + i) * a->heads + p->head], row);
        if (a->dropout.p > 0) {
            qn_cpu_drop_probabilities(job->cpu, a, token + i, p->head, p->s, row, r->dropped + i * ld);
            qn_cpu_drop_probabilities(job->cpu, a, token + i, p->head, p->s, drow, drow);
        }
    }
    return a->dropout.p > 0 ? r->dropped : r->p;
}

// One head of one sequence; dr, ds: where its rows of the tables' partial sums begin, or NULL.
static void backward_part(const job_t *job, const part_t *p, const room_t *r, float *dr, float *ds) {
    const qn_attention_args *a = job->a;
    const qn_kernels *k = job->cpu->kernels;
    size_t h = a->head_width, d = a->heads * h, ld = qn_round_up(p->s, k->panel_width);
    size_t query = p->begin * a->query_stride + p->head * h;
    zero_rows(a->dquery + query, p->s ? 0 : p->queries, a->query_stride, h);
    zero_rows(a->dkey + p->start, p->queries ? 0 : p->s, a->stride, h);
    zero_rows(a->dvalue + p->start, p->queries ? 0 : p->s, a->stride, h);
    if (p->s == 0 || p->queries == 0) return;
    begin_part(job, p, r);
    k->pack(p->s, h, a->value + p->start, a->stride, r->values);
    memset(r->sum_key, 0, p->s * p->ld * sizeof *r->sum_key);
    for (size_t q = 0; q < p->queries; q += QUERY_BLOCK) {
        size_t rows = qn_smaller(p->queries - q, QUERY_BLOCK), token = p->begin + q, at = query + q * a->query_stride;
        const float *out = a->out + token * d + p->head * h, *dout = a->dout + token * d + p->head * h;
        score_block(job, p, r, q, rows, ld);
        multiply_packed(job, rows, p->s, dout, d, r->values, r->dp, ld, false);
        const float *used = score_gradients(job, p, r, token, rows, ld);
        multiply(job, p->s, rows, used, 1, ld, dout, d, a->dvalue + p->start, a->stride, q > 0);
        for (size_t i = 0; i < rows; i++) {
            float delta = k->dot(h, out + i * d, dout + i * d);
            k->score_backward(p->s, r->p + i * ld, r->dp + i * ld, delta, a->scale, r->dp + i * ld);
        }
        multiply(job, p->s, rows, r->dp, 1, ld, a->query + at, a->query_stride, a->dkey + p->start, a->stride, q > 0);
        multiply(job, rows, p->s, r->dp, ld, 1, a->key + p->start, a->stride, a->dquery + at, a->query_stride, false);
        distance_gradients(job, p, r, q, rows, ld, dr);
    }
    if (!a->distance_query) return;
    multiply(job, p->s, p->count, r->sum_key, p->ld, 1, table_row(job, a->distance_query, p), a->distance_stride,
             a->dkey + p->start, a->stride, true);
    if (ds) multiply(job, p->count, p->s, r->sum_key, 1, p->ld, a->key + p->start, a->stride, ds, d, true);
}

// One head of a group of sequences, in order.
static void backward_task(void *context, size_t task, int worker) {
    const job_t *job = context;
    const qn_attention_args *a = job->a;
    size_t group = task / a->heads, head = task % a->heads, h = a->head_width, d = a->heads * h;
    room_t r = room_of(job, worker);
    float *dr = job->partial ? job->partial + group * 2 * a->distances * d : NULL;
    float *ds = dr ? dr + a->distances * d : NULL;
    if (dr) zero_rows(dr + head * h, 2 * a->distances, d, h);
    for (size_t i = group * a->sequences / job->groups; i < (group + 1) * a->sequences / job->groups; i++) {
        part_t p = part_of(a, i, head, job->cpu->kernels->panel_width);
        size_t at = p.first * d + head * h;
        backward_part(job, &p, &r, dr ? dr + at : NULL, ds ? ds + at : NULL);
    }
}

static job_t job_of(qn_cpu *cpu, const qn_attention_args *a) {
    size_t width = cpu->kernels->panel_width;
    job_t job = {.cpu = cpu, .a = a};
    for (size_t i = 0; i < a->sequences; i++) {
        part_t p = part_of(a, i, 0, width);
        if (p.s > job.longest) job.longest = p.s;
        if (p.ld > job.reach) job.reach = p.ld;
    }
    job.longest = qn_round_up(job.longest, width);
    return job;
}

void qn_cpu_disentangled_forward(qn_cpu *cpu, const qn_attention_args *a) {
    job_t job = job_of(cpu, a);
    if (!qn_cpu_worker_scratch(cpu, room_size(&job, false))) return;
    qn_threads_run(cpu->threads, a->sequences * a->heads, forward_task, &job);
}

// The partial sums of one table, in the order of the groups.
static void add_groups(const job_t *job, size_t table, float *out) {
    const qn_attention_args *a = job->a;
    size_t d = a->heads * a->head_width;
    for (size_t x = 0; out && x < a->distances; x++) {
        float *row = out + x * a->distance_stride;
        memset(row, 0, d * sizeof *row);
        for (size_t g = 0; g < job->groups; g++)
            job->cpu->kernels->axpy(d, 1, job->partial + ((g * 2 + table) * a->distances + x) * d, row);
    }
}

void qn_cpu_disentangled_backward(qn_cpu *cpu, const qn_attention_args *a) {
    job_t job = job_of(cpu, a);
    job.groups = qn_smaller(a->sequences, MOST_GROUPS);
    if (!qn_cpu_worker_scratch(cpu, room_size(&job, true))) return;
    if (a->ddistance_key || a->ddistance_query) {
        job.partial = qn_cpu_shared_scratch(cpu, job.groups * 2 * a->distances * a->heads * a->head_width);
        if (!job.partial) return;
    }
    qn_threads_run(cpu->threads, job.groups * a->heads, backward_task, &job);
    add_groups(&job, 0, a->ddistance_key);
    add_groups(&job, 1, a->ddistance_query);
}
