// The largest of each row's log-softmax. Most columns are far below the k best so far: a stretch of them is passed over by
// its largest value.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { STRETCH = 64 };

// Puts x at its place among the `count` best, of which there are at most k; returns how many there are then.
static size_t insert(float x, int32_t column, size_t k, size_t count, float *value, int32_t *index) {
    size_t at = count < k ? count : k - 1;
    for (; at > 0 && x > value[at - 1]; at--) {
        value[at] = value[at - 1];
        index[at] = index[at - 1];
    }
    value[at] = x;
    index[at] = column;
    return count < k ? count + 1 : k;
}

static float log_sum(const qn_kernels *k, size_t n, const float *x, float *memory) {
    float top = k->max(n, x);
    return top + logf(k->exp_sum(n, x, 1.0f, top, memory));
}

static void rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    const qn_top_args *a = arguments;
    for (size_t r = first; r < last; r++) {
        float *x = a->x + r * a->classes, *value = a->value + r * a->k, *memory = cpu->per_worker[worker].memory;
        int32_t *index = a->index + r * a->k;
        float sum = a->renormalize ? 0 : log_sum(cpu->kernels, a->classes, x, memory);
        for (int32_t i = a->banned_offsets ? a->banned_offsets[r] : 0; a->banned_offsets && i < a->banned_offsets[r + 1];
             i++)
            x[a->banned[i]] = -INFINITY;
        if (a->renormalize) sum = log_sum(cpu->kernels, a->classes, x, memory);
        size_t count = 0;
        for (size_t begin = 0; begin < a->classes; begin += STRETCH) {
            size_t end = qn_smaller(begin + STRETCH, a->classes);
            float least = count < a->k ? -INFINITY : value[a->k - 1];
            if (!(cpu->kernels->max(end - begin, x + begin) > least)) continue;
            for (size_t c = begin; c < end; c++)
                if (x[c] > (count < a->k ? -INFINITY : value[a->k - 1]))
                    count = insert(x[c], (int32_t)c, a->k, count, value, index);
        }
        for (size_t i = 0; i < count; i++) value[i] -= sum;
        for (size_t i = count; i < a->k; i++) value[i] = -INFINITY, index[i] = 0;
    }
}

void qn_cpu_top(qn_backend *b, const qn_top_args *a) {
    if (qn_cpu_worker_scratch(qn_cpu_of(b), a->classes)) qn_cpu_ranges(qn_cpu_of(b), a->rows, 1, rows, a);
}
