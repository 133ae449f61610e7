// Operations that pick, add up or scale whole rows: embedding, gather, pooling over sequences, L2 normalisation; and
// the optimizer's steps on some rows of a table.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { ROWS = 64, COLUMNS = 64, UPDATED_ROWS = 16 };

static void embed(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    const qn_embedding_args *a = arguments;
    float *rounded = cpu->per_worker[worker].memory;
    for (size_t t = first; t < last; t++) {
        float *y = a->y + t * a->d;
        for (size_t i = 0; i < a->tables; i++) {
            const float *row = a->table[i] + (size_t)a->ids[i][t] * a->d;
            float *to = i ? rounded : y;
            if (a->int8) cpu->kernels->round_int8(a->d, row, to);
            if (i)
                cpu->kernels->axpy(a->d, 1.0f, a->int8 ? rounded : row, y);
            else
                cpu->kernels->scale(a->d, a->scale, a->int8 ? y : row, y);
        }
    }
}

void qn_cpu_embedding_forward(qn_backend *b, const qn_embedding_args *a) {
    if (!a->int8 || qn_cpu_worker_scratch(qn_cpu_of(b), a->d)) qn_cpu_ranges(qn_cpu_of(b), a->rows, ROWS, embed, a);
}

// Rows of a table meet several tokens, so a task owns columns, not tokens: each sum runs in the order of the tokens.
static void embed_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_embedding_args *a = arguments;
    for (size_t i = 0; i < a->tables; i++)
        for (size_t t = 0; t < a->rows && a->dtable[i]; t++)
            if (a->ids[i][t] >= 0)
                cpu->kernels->axpy(last - first, i ? 1.0f : a->scale, a->dy + t * a->d + first,
                                   a->dtable[i] + (size_t)a->ids[i][t] * a->d + first);
}

void qn_cpu_embedding_backward(qn_backend *b, const qn_embedding_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->d, COLUMNS, embed_backward, a);
}

typedef struct {
    size_t rows, d;
    const float *x;
    const int32_t *index;
    float *y;
} gather_job;

static void gather(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const gather_job *j = arguments;
    for (size_t i = first; i < last; i++)
        memcpy(j->y + i * j->d, j->x + (size_t)j->index[i] * j->d, j->d * sizeof *j->y);
}

void qn_cpu_gather_forward(qn_backend *b, size_t rows, size_t d, const float *x, const int32_t *index, float *y) {
    qn_cpu_ranges(qn_cpu_of(b), rows, ROWS, gather, &(gather_job){rows, d, x, index, y});
}

static void scatter(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const gather_job *j = arguments;
    for (size_t i = 0; i < j->rows; i++)
        cpu->kernels->axpy(last - first, 1.0f, j->x + i * j->d + first, j->y + (size_t)j->index[i] * j->d + first);
}

void qn_cpu_gather_backward(qn_backend *b, size_t rows, size_t d, const float *dy, const int32_t *index, float *dx) {
    qn_cpu_ranges(qn_cpu_of(b), d, COLUMNS, scatter, &(gather_job){rows, d, dy, index, dx});
}

// The rows of sequence i that are pooled.
static void pooled_rows(const qn_pool_args *a, size_t i, size_t *begin, size_t *end) {
    *begin = (size_t)a->offsets[i], *end = (size_t)a->offsets[i + 1];
    size_t skip = a->skip ? (size_t)a->skip[i] : 0;
    *begin += skip < *end - *begin ? skip : *end - *begin;
}

// A pooling that is a weighted sum: of which rows, and the weight of the token at `place` of its sequence, from 1.
typedef struct {
    size_t begin, end;
    float each, by_place;
} weighted_rows;

static weighted_rows weights_of(const qn_pool_args *a, size_t i) {
    size_t begin, end;
    pooled_rows(a, i, &begin, &end);
    float n = (float)(end - begin), first = (float)(begin - (size_t)a->offsets[i] + 1);
    switch (a->mode) {
    case QN_POOL_CLS:
        return (weighted_rows){begin, begin < end ? begin + 1 : end, 1, 0};
    case QN_POOL_LAST_TOKEN:
        return (weighted_rows){begin < end ? end - 1 : end, end, 1, 0};
    case QN_POOL_MEAN_SQRT_LEN:
        return (weighted_rows){begin, end, 1 / sqrtf(n), 0};
    case QN_POOL_WEIGHTED_MEAN: // the sum of first .. first + n - 1
        return (weighted_rows){begin, end, 0, 1 / (n * (first + (n - 1) / 2))};
    default:
        return (weighted_rows){begin, end, 1 / n, 0};
    }
}

static float weight_of(const weighted_rows *w, size_t place) {
    return w->each + w->by_place * (float)place;
}

static void pool_max(const qn_pool_args *a, size_t i) {
    size_t begin, end, d = a->d;
    float *y = a->y + i * d;
    int32_t *argmax = a->argmax ? a->argmax + i * d : NULL;
    pooled_rows(a, i, &begin, &end);
    for (size_t c = 0; argmax && c < d; c++) argmax[c] = begin < end ? (int32_t)begin : -1;
    if (begin == end) {
        memset(y, 0, d * sizeof *y);
        return;
    }
    memcpy(y, a->x + begin * d, d * sizeof *y);
    for (size_t t = begin + 1; t < end; t++)
        for (size_t c = 0; c < d; c++)
            if (a->x[t * d + c] > y[c]) {
                y[c] = a->x[t * d + c];
                if (argmax) argmax[c] = (int32_t)t;
            }
}

// Sums run in the order of the tokens; a mean is divided in the end.
static void pool(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_pool_args *a = arguments;
    for (size_t i = first; i < last; i++) {
        if (a->mode == QN_POOL_MAX) {
            pool_max(a, i);
            continue;
        }
        weighted_rows w = weights_of(a, i);
        float *y = a->y + i * a->d;
        memset(y, 0, a->d * sizeof *y);
        if (!w.by_place) cpu->kernels->add_rows(w.end - w.begin, a->d, a->x + w.begin * a->d, a->d, y);
        for (size_t t = w.begin; w.by_place && t < w.end; t++)
            cpu->kernels->axpy(a->d, (float)(t - (size_t)a->offsets[i] + 1), a->x + t * a->d, y);
        float scale = w.by_place ? w.by_place : w.each;
        if (w.begin < w.end && scale != 1) cpu->kernels->scale(a->d, scale, y, y);
    }
}

void qn_cpu_pool_forward(qn_backend *b, const qn_pool_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->sequences, 4, pool, a);
}

static void pool_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_pool_args *a = arguments;
    for (size_t i = first; i < last; i++) {
        size_t begin = (size_t)a->offsets[i], end = (size_t)a->offsets[i + 1], d = a->d;
        const float *dy = a->dy + i * d;
        if (!a->accumulate) memset(a->dx + begin * d, 0, (end - begin) * d * sizeof(float));
        if (a->mode == QN_POOL_MAX) {
            for (size_t c = 0; c < d; c++)
                if (a->argmax[i * d + c] >= 0) a->dx[(size_t)a->argmax[i * d + c] * d + c] += dy[c];
            continue;
        }
        weighted_rows w = weights_of(a, i);
        for (size_t t = w.begin; t < w.end; t++)
            cpu->kernels->axpy(d, weight_of(&w, t - begin + 1), dy, a->dx + t * d);
    }
}

void qn_cpu_pool_backward(qn_backend *b, const qn_pool_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->sequences, 4, pool_backward, a);
}

// y = x / max(|x|, 1e-12), as torch.nn.functional.normalize. Backward: dx = (dy - y (y . dy)) / |x|, and dy / 1e-12
// below the floor.
typedef struct {
    size_t d;
    const float *x, *y, *dy;
    float *out, *norm;
    const float *given;
    bool accumulate;
} normalize_job;

static const float LEAST_NORM = 1e-12f;

static void normalize(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const normalize_job *j = arguments;
    for (size_t i = first; i < last; i++) {
        const float *x = j->x + i * j->d;
        float norm = (float)sqrt(cpu->kernels->sum_squares(j->d, x));
        if (j->norm) j->norm[i] = norm;
        cpu->kernels->scale(j->d, 1.0f / fmaxf(norm, LEAST_NORM), x, j->out + i * j->d);
    }
}

void qn_cpu_normalize_forward(qn_backend *b, size_t rows, size_t d, const float *x, float *y, float *norm) {
    qn_cpu_ranges(qn_cpu_of(b), rows, 16, normalize, &(normalize_job){.d = d, .x = x, .out = y, .norm = norm});
}

static void normalize_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const normalize_job *j = arguments;
    for (size_t i = first; i < last; i++) {
        const float *y = j->y + i * j->d, *dy = j->dy + i * j->d;
        float *dx = j->out + i * j->d, inverse = 1.0f / fmaxf(j->given[i], LEAST_NORM);
        if (!j->accumulate) memset(dx, 0, j->d * sizeof *dx);
        cpu->kernels->axpy(j->d, inverse, dy, dx);
        if (j->given[i] > LEAST_NORM) cpu->kernels->axpy(j->d, -inverse * cpu->kernels->dot(j->d, y, dy), y, dx);
    }
}

void qn_cpu_normalize_backward(qn_backend *b, size_t rows, size_t d, const float *y, const float *norm, const float *dy,
                               float *dx, bool accumulate) {
    qn_cpu_ranges(qn_cpu_of(b), rows, 16, normalize_backward,
                  &(normalize_job){.d = d, .y = y, .dy = dy, .out = dx, .given = norm, .accumulate = accumulate});
}

typedef struct {
    const qn_adamw *f;
    const qn_adamw_missed *missed;
    const qn_adamw_rows *r;
    float *gradient;
} adamw_job;

static void adamw_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const adamw_job *j = arguments;
    const qn_adamw_rows *r = j->r;
    for (size_t i = first; i < last; i++) {
        size_t at = (size_t)r->index[i] * r->d;
        cpu->kernels->adamw(j->f, r->d, r->parameter + at, j->gradient + i * r->d, r->m + at, r->v + at);
    }
}

void qn_cpu_adamw_rows(qn_backend *b, const qn_adamw *f, const qn_adamw_rows *r, float *gradient) {
    qn_cpu_ranges(qn_cpu_of(b), r->rows, UPDATED_ROWS, adamw_rows, &(adamw_job){.f = f, .r = r, .gradient = gradient});
}

static void adamw_idle(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const adamw_job *j = arguments;
    const qn_adamw_rows *r = j->r;
    for (size_t i = first; i < last; i++) {
        size_t at = (size_t)r->index[i] * r->d, behind = (size_t)j->missed->behind[i];
        if (behind)
            cpu->kernels->adamw_idle(j->missed->updates + j->missed->count - behind, behind, (size_t)j->missed->live[i],
                                     r->d, r->parameter + at, r->m + at, r->v + at);
    }
}

void qn_cpu_adamw_idle(qn_backend *b, const qn_adamw_missed *f, const qn_adamw_rows *r) {
    qn_cpu_ranges(qn_cpu_of(b), r->rows, UPDATED_ROWS, adamw_idle, &(adamw_job){.missed = f, .r = r});
}
