// Operations without structure, cut into ranges of elements.
#include "backend/cpu/cpu.h"

enum { GRAIN = 16384 };

typedef struct {
    qn_activation f;
    const float *x, *dy;
    float *y;
} activation_job;

static void activation_forward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const activation_job *j = arguments;
    cpu->kernels->activation_forward(j->f, last - first, j->x + first, j->y + first);
}

static void activation_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const activation_job *j = arguments;
    cpu->kernels->activation_backward(j->f, last - first, j->x + first, j->dy + first, j->y + first);
}

void qn_cpu_activation_forward(qn_backend *b, qn_activation f, size_t count, const float *x, float *y) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, activation_forward, &(activation_job){f, x, NULL, y});
}

void qn_cpu_activation_backward(qn_backend *b, qn_activation f, size_t count, const float *x, const float *dy,
                                float *dx) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, activation_backward, &(activation_job){f, x, dy, dx});
}

// Rows of a gated unit; the gate's half is the first or the last.
static void glu_forward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_glu_args *a = arguments;
    for (size_t r = first; r < last; r++) {
        const float *x = a->x + r * 2 * a->n;
        cpu->kernels->glu_forward(a->activation, a->n, x + (a->gate_last ? a->n : 0), x + (a->gate_last ? 0 : a->n),
                                  a->y + r * a->n);
    }
}

static void glu_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_glu_args *a = arguments;
    size_t gate = a->gate_last ? a->n : 0, value = a->gate_last ? 0 : a->n;
    for (size_t r = first; r < last; r++) {
        const float *x = a->x + r * 2 * a->n;
        float *dx = a->dx + r * 2 * a->n;
        cpu->kernels->glu_backward(a->activation, a->n, x + gate, x + value, a->dy + r * a->n, dx + gate, dx + value);
    }
}

void qn_cpu_glu_forward(qn_backend *b, const qn_glu_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->rows, 8, glu_forward, a);
}

void qn_cpu_glu_backward(qn_backend *b, const qn_glu_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->rows, 8, glu_backward, a);
}

static void rotate_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_rotate_args *a = arguments;
    const qn_rotary *f = &a->rotary;
    for (size_t r = first; r < last; r++) {
        size_t at = (size_t)a->positions[r] * f->half;
        cpu->kernels->rotate(a->heads, a->head_width, f->half, f->cosine + at, f->sine + at, a->back ? -1.0f : 1.0f,
                             a->x + r * a->stride);
    }
}

void qn_cpu_rotate(qn_backend *b, const qn_rotate_args *a) {
    qn_cpu_ranges(qn_cpu_of(b), a->rows, 32, rotate_rows, a);
}

typedef struct {
    qn_activation f;
    const uint16_t *x;
    uint16_t *y;
} narrow_job;

enum { PIECE = 1024 }; // stays in the first-level cache as float32

static void activation_narrow(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const narrow_job *j = arguments;
    float piece[PIECE];
    for (size_t at = first; at < last; at += PIECE) {
        size_t n = qn_smaller(PIECE, last - at);
        cpu->kernels->from_bf16(n, j->x + at, piece);
        cpu->kernels->activation_forward(j->f, n, piece, piece);
        cpu->kernels->to_bf16(n, piece, j->y + at);
    }
}

void qn_cpu_activation_narrow_forward(qn_backend *b, qn_activation f, size_t count, const uint16_t *x, uint16_t *y) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, activation_narrow, &(narrow_job){f, x, y});
}

void qn_activation_narrow_backward(const qn_kernels *k, qn_activation f, size_t count, const uint16_t *x, float *dy) {
    float piece[PIECE];
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = qn_smaller(PIECE, count - at);
        k->from_bf16(n, x + at, piece);
        k->activation_backward(f, n, piece, dy + at, dy + at);
    }
}

typedef struct {
    qn_dropout f;
    size_t d;
    const float *x;
    float *y;
    bool accumulate;
} dropout_job;

static void dropout_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const dropout_job *j = arguments;
    for (size_t r = first; r < last; r++)
        cpu->kernels->dropout(j->f, r * ((j->d + 7) / 8), j->d, j->x + r * j->d, j->y + r * j->d, j->accumulate);
}

void qn_cpu_dropout(qn_backend *b, qn_dropout f, size_t rows, size_t d, const float *x, float *y, bool accumulate) {
    qn_cpu_ranges(qn_cpu_of(b), rows, 32, dropout_rows, &(dropout_job){f, d, x, y, accumulate});
}

typedef struct {
    const float *x;
    float *y;
} add_job;

static void add(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const add_job *j = arguments;
    cpu->kernels->axpy(last - first, 1.0f, j->x + first, j->y + first);
}

void qn_cpu_add(qn_backend *b, size_t count, const float *x, float *y) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, add, &(add_job){x, y});
}

typedef struct {
    float factor;
    const float *x;
    float *y;
    bool accumulate;
} scale_job;

static void scale(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const scale_job *j = arguments;
    (j->accumulate ? cpu->kernels->axpy : cpu->kernels->scale)(last - first, j->factor, j->x + first, j->y + first);
}

void qn_cpu_scale(qn_backend *b, size_t count, float factor, const float *x, float *y, bool accumulate) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, scale, &(scale_job){factor, x, y, accumulate});
}

typedef struct {
    const float *x;
    double *partial;
} squares_job;

static void squares(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const squares_job *j = arguments;
    j->partial[first / GRAIN] = cpu->kernels->sum_squares(last - first, j->x + first);
}

double qn_cpu_sum_squares(qn_backend *b, size_t count, const float *x) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t blocks = (count + GRAIN - 1) / GRAIN;
    double *partial = (double *)(void *)qn_cpu_shared_scratch(cpu, 2 * blocks), sum = 0;
    if (!partial) return 0;
    qn_cpu_ranges(cpu, count, GRAIN, squares, &(squares_job){x, partial});
    for (size_t i = 0; i < blocks; i++) sum += partial[i];
    return sum;
}

typedef struct {
    const qn_adamw *f;
    float *parameter, *gradient, *m, *v;
} adamw_job;

static void adamw(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const adamw_job *j = arguments;
    cpu->kernels->adamw(j->f, last - first, j->parameter + first, j->gradient + first, j->m + first, j->v + first);
}

void qn_cpu_adamw(qn_backend *b, const qn_adamw *f, size_t count, float *parameter, float *gradient, float *m,
                  float *v) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, adamw, &(adamw_job){f, parameter, gradient, m, v});
}

typedef struct {
    float share;
    const float *x;
    float *y;
} approach_job;

static void approach(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const approach_job *j = arguments;
    cpu->kernels->approach(last - first, j->share, j->x + first, j->y + first);
}

void qn_cpu_approach(qn_backend *b, size_t count, float share, const float *x, float *y) {
    qn_cpu_ranges(qn_cpu_of(b), count, GRAIN, approach, &(approach_job){share, x, y});
}
