// SPLADE's vectors of texts. All logits of a few sequences are computed into scratch memory at a time and only the
// largest of each word is kept: neither they nor their gradient exist as a whole. In backward a word's gradient goes to
// the one token that decided.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

enum { ROWS = 512, WORDS = 256 };

typedef struct {
    const qn_lexical_args *a;
    const float *logits; // [rows of the sequences, V]
    size_t first, last;  // the sequences
} lexical_job;

static void keep_largest(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const lexical_job *job = arguments;
    const qn_lexical_args *a = job->a;
    size_t words = a->weight.out;
    for (size_t i = job->first; i < job->last; i++) {
        size_t begin = (size_t)a->offsets[i], end = (size_t)a->offsets[i + 1], base = (size_t)a->offsets[job->first];
        float *y = a->y + i * words;
        int32_t *which = a->argmax ? a->argmax + i * words : NULL;
        memset(y + first, 0, (last - first) * sizeof *y);
        if (which) memset(which + first, 0, (last - first) * sizeof *which);
        for (size_t t = begin; t < end; t++) {
            const float *row = job->logits + (t - base) * words;
            for (size_t v = first; v < last; v++) {
                if (!(row[v] > y[v])) continue;
                y[v] = row[v];
                if (which) which[v] = (int32_t)t;
            }
        }
        for (size_t v = first; v < last; v++)
            if (y[v] > 0) y[v] = log1pf(y[v]);
    }
}

void qn_cpu_lexical_forward(qn_backend *b, const qn_lexical_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t words = a->weight.out, width = a->weight.in;
    for (size_t first = 0, last; first < a->sequences; first = last) {
        size_t begin = (size_t)a->offsets[first];
        for (last = first + 1; last < a->sequences && (size_t)a->offsets[last + 1] - begin <= ROWS;) last++;
        size_t rows = (size_t)a->offsets[last] - begin;
        float *logits = qn_cpu_block_scratch(cpu, rows * words);
        if (!logits) return;
        qn_cpu_linear_forward(
            b, &(qn_linear_forward_args){
                   .rows = rows, .x = a->x + begin * width, .weight = a->weight, .bias = a->bias, .y = logits});
        qn_cpu_ranges(cpu, words, WORDS, keep_largest, &(lexical_job){a, logits, first, last});
    }
}

// The gradient of the logit that decided; y > 0 there, and 1 + logit = e^y.
static float logit_gradient(const qn_lexical_args *a, size_t at) {
    return a->y[at] > 0 && a->dy[at] != 0 ? a->dy[at] * expf(-a->y[at]) : 0;
}

static void words_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_lexical_args *a = arguments;
    size_t words = a->weight.out, d = a->weight.in;
    for (size_t v = first; v < last; v++)
        for (size_t i = 0; i < a->sequences; i++) {
            float g = logit_gradient(a, i * words + v);
            if (g == 0) continue;
            if (a->dweight) cpu->kernels->axpy(d, g, a->x + (size_t)a->argmax[i * words + v] * d, a->dweight + v * d);
            if (a->dbias) a->dbias[v] += g;
        }
}

static void tokens_backward(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)worker;
    const qn_lexical_args *a = arguments;
    size_t words = a->weight.out, d = a->weight.in;
    for (size_t i = first; i < last; i++) {
        size_t begin = (size_t)a->offsets[i], end = (size_t)a->offsets[i + 1];
        if (!a->accumulate) memset(a->dx + begin * d, 0, (end - begin) * d * sizeof *a->dx);
        for (size_t v = 0; v < words; v++) {
            float g = logit_gradient(a, i * words + v);
            if (g != 0) cpu->kernels->axpy(d, g, a->weight.data + v * d, a->dx + (size_t)a->argmax[i * words + v] * d);
        }
    }
}

void qn_cpu_lexical_backward(qn_backend *b, const qn_lexical_args *a) {
    if (a->dweight || a->dbias) qn_cpu_ranges(qn_cpu_of(b), a->weight.out, WORDS, words_backward, a);
    if (a->dx) qn_cpu_ranges(qn_cpu_of(b), a->sequences, 1, tokens_backward, a);
}
