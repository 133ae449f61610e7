// Losses and their gradients. A loss is the sum of its rows' losses in double precision, in the order of the rows.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

typedef struct {
    const qn_cross_entropy_args *a;
    double *losses;       // [T]
    const float *weights; // [C] the class weights, or ones; NULL without smoothing
    float weight_sum;     // their sum
} cross_entropy_job;

// With p = softmax(z), class weights w, smoothing e, target y and W = the batch's sum of w_y
// (torch.nn.CrossEntropyLoss):
//   loss = sum over rows of [(1 - e) w_y (-log p_y) + e / C sum_c w_c (-log p_c)] / W
//   d loss / d z_c = [p_c ((1 - e) w_y + e / C sum_k w_k) - (1 - e) w_y [c = y] - e / C w_c] / W
static void cross_entropy_rows(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    const cross_entropy_job *job = arguments;
    const qn_cross_entropy_args *a = job->a;
    const qn_kernels *k = cpu->kernels;
    size_t classes = a->classes;
    const float *w = a->class_weights;
    float share = a->smoothing / (float)classes;
    for (size_t i = first; i < last; i++) {
        const float *z = a->logits + i * classes;
        float *dz = a->dlogits ? a->dlogits + i * classes : cpu->per_worker[worker].memory;
        int32_t y = a->targets[i];
        job->losses[i] = 0;
        if (y < 0 || a->total_weight <= 0) {
            if (a->dlogits) memset(dz, 0, classes * sizeof *dz);
            continue;
        }
        float target = (1 - a->smoothing) * (w ? w[y] : 1), top = k->max(classes, z), zy = z[y], smooth = 0;
        if (share > 0) // sum_c w_c (z_c - top), before dlogits may overwrite the logits
            smooth = k->dot(classes, job->weights, z) - job->weight_sum * top;
        float sum = k->exp_sum(classes, z, 1.0f, top, dz), log_sum = logf(sum);
        job->losses[i] =
            (double)target * (log_sum - (zy - top)) + (double)share * ((double)job->weight_sum * log_sum - smooth);
        if (!a->dlogits) continue;
        float factor = (float)(1 / a->total_weight);
        k->scale(classes, (target + share * job->weight_sum) * factor / sum, dz, dz);
        if (share > 0) k->axpy(classes, -share * factor, job->weights, dz);
        dz[y] -= target * factor;
    }
}

static double in_order(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum;
}

void qn_cpu_cross_entropy(qn_backend *b, const qn_cross_entropy_args *a) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t ones = a->smoothing > 0 && !a->class_weights ? a->classes : 0;
    cross_entropy_job job = {.a = a, .losses = (double *)(void *)qn_cpu_shared_scratch(cpu, 2 * a->rows + ones)};
    *a->loss = 0;
    if (!job.losses || !qn_cpu_worker_scratch(cpu, a->classes)) return;
    float *one = (float *)(void *)(job.losses + a->rows);
    for (size_t c = 0; c < ones; c++) one[c] = 1;
    job.weights = ones ? one : a->class_weights;
    job.weight_sum = (float)a->classes;
    if (a->class_weights) {
        job.weight_sum = 0;
        for (size_t c = 0; c < a->classes; c++) job.weight_sum += a->class_weights[c];
    }
    qn_cpu_ranges(cpu, a->rows, 8, cross_entropy_rows, &job);
    if (a->total_weight > 0) *a->loss = in_order(job.losses, a->rows) / a->total_weight;
}

// -log softmax(column)[target] over `rows` rows of two columns; dz gets [p - (row = target)] / divisor.
static double column_cross_entropy(const float *z, size_t rows, int32_t target, double divisor, float *dz) {
    double top = -INFINITY, sum = 0;
    for (size_t i = 0; i < rows; i++) top = fmax(top, z[2 * i]);
    for (size_t i = 0; i < rows; i++) sum += exp(z[2 * i] - top);
    for (size_t i = 0; dz && i < rows; i++)
        dz[2 * i] = (float)((exp(z[2 * i] - top) / sum - (i == (size_t)target)) / divisor);
    return log(sum) - (z[2 * target] - top);
}

// Two numbers per token are little work beside the product that made them: one thread does it.
void qn_cpu_span_cross_entropy(qn_backend *b, const qn_span_cross_entropy_args *a) {
    (void)b;
    double sum = 0;
    for (size_t i = 0; i < a->sequences; i++) {
        size_t first = (size_t)a->offsets[i], rows = (size_t)a->offsets[i + 1] - first;
        for (size_t k = 0; k < 2; k++) {
            const float *z = a->logits + 2 * first + k;
            float *dz = a->dlogits ? a->dlogits + 2 * first + k : NULL;
            int32_t target = a->targets[k][i];
            if (target >= 0) sum += column_cross_entropy(z, rows, target, a->divisor, dz);
            for (size_t t = 0; dz && target < 0 && t < rows; t++) dz[2 * t] = 0;
        }
    }
    *a->loss = a->divisor > 0 ? sum / a->divisor : 0;
}

// Losses of single elements: ranges of them are summed by themselves, and the sums in order, so that the loss does not
// depend on the number of threads.
enum { ELEMENTS = 4096 };

typedef struct {
    const qn_elementwise_loss_args *a;
    double *partial; // [ranges]
} elementwise_job;

// loss = max(x, 0) - x t + log(1 + exp(-|x|)); d loss / d x = sigmoid(x) - t (torch.nn.BCEWithLogitsLoss)
static void binary_cross_entropy(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const elementwise_job *j = arguments;
    const qn_elementwise_loss_args *a = j->a;
    double sum = 0, factor = 1 / a->divisor, product = 1;
    for (size_t i = first; i < last; i++) {
        double x = a->x[i], t = a->target[i], e = expf(-fabsf(a->x[i]));
        sum += fmax(x, 0) - x * t;
        product *= 1 + e; // at most 2 each: one logarithm is that of 64
        if (i % 64 == 63) {
            sum += log(product);
            product = 1;
        }
        if (a->dx) a->dx[i] = (float)(((x >= 0 ? 1 : e) / (1 + e) - t) * factor);
    }
    j->partial[first / ELEMENTS] = sum + log(product);
}

// loss = (x - t)^2; d loss / d x = 2 (x - t)
static void squared_error(qn_cpu *cpu, const void *arguments, size_t first, size_t last, int worker) {
    (void)cpu, (void)worker;
    const elementwise_job *j = arguments;
    const qn_elementwise_loss_args *a = j->a;
    double sum = 0, factor = 2 / a->divisor;
    for (size_t i = first; i < last; i++) {
        double error = (double)a->x[i] - a->target[i];
        sum += error * error;
        if (a->dx) a->dx[i] = (float)(error * factor);
    }
    j->partial[first / ELEMENTS] = sum;
}

static void elementwise(qn_backend *b, const qn_elementwise_loss_args *a, qn_range_task task) {
    qn_cpu *cpu = qn_cpu_of(b);
    size_t ranges = (a->count + ELEMENTS - 1) / ELEMENTS;
    elementwise_job job = {a, (double *)(void *)qn_cpu_shared_scratch(cpu, 2 * ranges)};
    *a->loss = 0;
    if (!job.partial) return;
    qn_cpu_ranges(cpu, a->count, ELEMENTS, task, &job);
    *a->loss = in_order(job.partial, ranges) / a->divisor;
}

void qn_cpu_binary_cross_entropy(qn_backend *b, const qn_elementwise_loss_args *a) {
    elementwise(b, a, binary_cross_entropy);
}

void qn_cpu_mean_squared_error(qn_backend *b, const qn_elementwise_loss_args *a) {
    elementwise(b, a, squared_error);
}
