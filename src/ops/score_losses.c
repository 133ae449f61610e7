// Losses on the scores s [n, k] of texts: similarities or distances, see qn_group_scores. Scores are few, so they are
// computed here, in double precision; a loss puts the gradient of its input at once, as those in losses.c.
//   cosent       log(1 + sum over i, j with t_i > t_j of exp(scale (s_j - s_i)))    s [n, 1] (Su 2022; as Huang et al.
//   2024) triplet      mean of max(0, s_0 - s_1 + margin) for distances s [n, 2], max(0, s_1 - s_0 + margin) else
//   (Schroff et al. 2015) margin       mean of (s_0 - s_k - t_k)^2, k = 1 ..     s [n, k + 1], t [n, k] (Hofstätter et
//   al. 2020) contrastive  mean of (t e^2 + (1 - t) max(0, margin - e)^2) / 2, e = 1 - s     s [n, 1] (Hadsell et al.
//   2006)
//   classes      mean over i of the mean over p of i's class, p != i, of -log softmax_p over a != i of s_ia; texts that
//   are alone in their class count for nothing    s [n, n] (Khosla et al. 2020)
#include "ops/ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Where a loss puts its gradient ds [n, k], times loss_scale; freed by `end`.
typedef struct {
    size_t n, width;
    double *ds;
} gradient;

static bool begin(qn_context *c, const char *name, const qn_tensor *scores, size_t least, size_t most, gradient *g) {
    *g = (gradient){0};
    if (!scores || c->status != QN_OK) return false;
    g->n = qn_rows(scores);
    g->width = qn_width(scores);
    if (g->width < least || g->width > most) {
        qn_fail(QN_ERROR_ARGUMENT, "%s: %zu scores of an example (expected %zu%s)", name, g->width, least,
                most > least ? " or more" : "");
        qn_fail_operation(c, QN_ERROR_ARGUMENT);
        return false;
    }
    g->ds = qn_calloc(g->n * g->width + 1, sizeof *g->ds);
    if (!g->ds) qn_fail_operation(c, QN_ERROR_MEMORY);
    return g->ds != NULL;
}

static qn_status end(qn_context *c, qn_tensor *scores, gradient *g) {
    bool accumulate;
    float *to = g->ds && qn_taping(c) ? qn_gradient(c, scores, &accumulate) : NULL;
    for (size_t i = 0; to && i < g->n * g->width; i++) {
        float value = (float)(g->ds[i] * c->loss_scale);
        to[i] = accumulate ? to[i] + value : value;
    }
    free(g->ds);
    return qn_context_status(c);
}

// --- CoSENT

typedef struct {
    double target, score;
    size_t index;
} ranked;

static int by_target(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    if (a->target != b->target) return a->target < b->target ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

// log(e^a + e^b)
static double log_add(double a, double b) {
    double top = fmax(a, b);
    return top == -INFINITY ? top : top + log(exp(a - top) + exp(b - top));
}

// With the examples in the order of their targets: above[i] = log sum of e^-s over those with a higher target than i,
// below[i] = log sum of e^s over those with a lower one; each pair of examples counts once in either.
static double cosent(const ranked *order, size_t n, double scale, double *above, double *below, double *ds) {
    double sum = -INFINITY, loss = 0;
    for (size_t end = n, from; end > 0; end = from) {
        for (from = end; from > 0 && order[from - 1].target == order[end - 1].target;) above[--from] = sum;
        for (size_t i = from; i < end; i++) sum = log_add(sum, -scale * order[i].score);
    }
    sum = -INFINITY;
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from; to < n && order[to].target == order[from].target; to++) below[to] = sum;
        for (size_t i = from; i < to; i++) sum = log_add(sum, scale * order[i].score);
    }
    for (size_t i = 0; i < n; i++) loss = log_add(loss, scale * order[i].score + above[i]);
    for (size_t i = 0; i < n; i++)
        ds[order[i].index] =
            scale * (exp(scale * order[i].score + above[i] - loss) - exp(below[i] - scale * order[i].score - loss));
    return loss;
}

qn_status qn_cosent_loss(qn_context *c, qn_tensor *scores, const float *targets, float scale, double *loss) {
    gradient g;
    *loss = 0;
    if (!begin(c, "cosent loss", scores, 1, 1, &g)) return qn_context_status(c);
    ranked *order = qn_malloc(g.n + 1, sizeof *order);
    double *sums = qn_malloc(2 * g.n + 1, sizeof *sums);
    if (order && sums) {
        for (size_t i = 0; i < g.n; i++) order[i] = (ranked){targets[i], scores->data[i], i};
        qsort(order, g.n, sizeof *order, by_target);
        *loss = cosent(order, g.n, scale, sums, sums + g.n, g.ds);
    } else
        qn_fail_operation(c, QN_ERROR_MEMORY);
    free(order);
    free(sums);
    return end(c, scores, &g);
}

// --- The others

qn_status qn_triplet_loss(qn_context *c, qn_tensor *scores, bool distances, float margin, double *loss) {
    gradient g;
    double sign = distances ? 1 : -1;
    *loss = 0;
    if (!begin(c, "triplet loss", scores, 2, 2, &g)) return qn_context_status(c);
    for (size_t i = 0; i < g.n; i++) {
        const float *s = scores->data + 2 * i;
        double excess = sign * ((double)s[0] - s[1]) + margin;
        if (!(excess > 0)) continue;
        *loss += excess / (double)g.n;
        g.ds[2 * i] = sign / (double)g.n;
        g.ds[2 * i + 1] = -sign / (double)g.n;
    }
    return end(c, scores, &g);
}

qn_status qn_margin_loss(qn_context *c, qn_tensor *scores, const float *targets, double *loss) {
    gradient g;
    *loss = 0;
    if (!begin(c, "margin loss", scores, 2, SIZE_MAX, &g)) return qn_context_status(c);
    size_t others = g.width - 1;
    double count = (double)(g.n * others);
    for (size_t i = 0; i < g.n; i++)
        for (size_t k = 1; k <= others; k++) {
            const float *s = scores->data + i * g.width;
            double error = (double)s[0] - s[k] - targets[i * others + k - 1];
            *loss += error * error / count;
            g.ds[i * g.width] += 2 * error / count;
            g.ds[i * g.width + k] -= 2 * error / count;
        }
    return end(c, scores, &g);
}

qn_status qn_contrastive_loss(qn_context *c, qn_tensor *scores, const float *targets, float margin, double *loss) {
    gradient g;
    *loss = 0;
    if (!begin(c, "contrastive loss", scores, 1, 1, &g)) return qn_context_status(c);
    for (size_t i = 0; i < g.n; i++) {
        double distance = 1 - (double)scores->data[i], t = targets[i], gap = fmax(0, margin - distance);
        *loss += 0.5 * (t * distance * distance + (1 - t) * gap * gap) / (double)g.n;
        g.ds[i] = ((1 - t) * gap - t * distance) / (double)g.n;
    }
    return end(c, scores, &g);
}

// Adds the loss of text i and its gradient, divided by `texts`; nothing where it is alone in its class.
static void class_row(const float *s, size_t n, size_t i, const int32_t *classes, double texts, double *loss,
                      double *ds) {
    double top = -INFINITY, sum = 0;
    size_t friends = 0;
    for (size_t k = 0; k < n; k++) {
        if (k == i) continue;
        friends += classes[k] == classes[i];
        top = fmax(top, s[k]);
    }
    if (!friends) return;
    for (size_t k = 0; k < n; k++)
        if (k != i) sum += exp(s[k] - top);
    for (size_t k = 0; k < n; k++) {
        if (k == i) continue;
        double share = classes[k] == classes[i] ? 1 / (double)friends : 0;
        if (share > 0) *loss += share * (top + log(sum) - s[k]) / texts;
        ds[k] = (exp(s[k] - top) / sum - share) / texts;
    }
}

qn_status qn_class_contrastive_loss(qn_context *c, qn_tensor *scores, const int32_t *classes, double *loss) {
    gradient g;
    *loss = 0;
    if (!begin(c, "class contrastive loss", scores, scores ? qn_rows(scores) : 0, scores ? qn_rows(scores) : 0, &g))
        return qn_context_status(c);
    size_t texts = 0;
    for (size_t i = 0; i < g.n; i++) {
        size_t friends = 0;
        for (size_t k = 0; k < g.n; k++) friends += k != i && classes[k] == classes[i];
        texts += friends > 0;
    }
    for (size_t i = 0; i < g.n; i++)
        class_row(scores->data + i * g.width, g.n, i, classes, (double)texts, loss, g.ds + i * g.width);
    return end(c, scores, &g);
}
