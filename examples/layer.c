/* A transformer block built by hand: attention, residual, norm, feed-forward and a head, trained with AdamW.
 *
 *     cc layer.c $(pkg-config --cflags --libs quern) -lm -o layer && ./layer
 * The task: each sequence of symbols has one marked symbol; its class is the symbol that comes right after the mark. No
 * token knows that alone, so attention must look for it. Gradients are compared with finite differences before training
 * begins. */
#include <math.h>
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>

enum { SYMBOLS = 8, MARK = SYMBOLS, D = 16, HEADS = 2, WIDE = 32, LONGEST = 9, SEQUENCES = 32, STEPS = 400 };
enum { WORDS, PLACES, QKV, QKV_BIAS, OUT, NORM1, SHIFT1, UP, UP_BIAS, DOWN, NORM2, SHIFT2, HEAD, HEAD_BIAS, COUNT };

/* One line per parameter: rows (0: a vector), width, and the deviation of its first values (-1: ones). */
static const struct {
    size_t rows, width;
    double deviation;
} shapes[COUNT] = {{SYMBOLS + 1, D, 0.5}, {LONGEST, D, 0.5}, {3 * D, D, 0.25}, {0, 3 * D, 0},
                   {D, D, 0.25},          {0, D, -1},        {0, D, 0},        {WIDE, D, 0.25},
                   {0, WIDE, 0},          {D, WIDE, 0.2},    {0, D, -1},       {0, D, 0},
                   {SYMBOLS, D, 0.1},     {0, SYMBOLS, 0}};

typedef struct { /* packed: the tokens of all sequences behind one another, without padding */
    int32_t ids[SEQUENCES * LONGEST], places[SEQUENCES * LONGEST], offsets[SEQUENCES + 1], targets[SEQUENCES];
} batch;

static void make_batch(batch *b) {
    int32_t t = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        int length = 3 + rand() % (LONGEST - 2), mark = rand() % (length - 1);
        b->offsets[i] = t;
        for (int p = 0; p < length; p++, t++) {
            b->places[t] = p;
            b->ids[t] = p == mark ? MARK : rand() % SYMBOLS;
            if (p == mark + 1) b->targets[i] = b->ids[t];
        }
    }
    b->offsets[SEQUENCES] = t;
}

/* The layer. No operation is checked: the first failure stays in the context, and the loss reports it. */
static qn_status forward(qn_context *c, qn_tensor **p, const batch *b, double *loss) {
    qn_ragged ragged = {SEQUENCES, b->offsets};
    size_t tokens = (size_t)b->offsets[SEQUENCES];
    qn_tensor *tables[] = {p[WORDS], p[PLACES]};
    const int32_t *ids[] = {b->ids, b->places};
    qn_tensor *x = qn_embedding(c, tokens, 2, tables, ids);                    /* [T, D] */
    qn_tensor *qkv = qn_linear(c, x, p[QKV], p[QKV_BIAS], QN_ACTIVATION_NONE); /* [T, 3 D] */
    qn_tensor *mixed = qn_self_attention(c, qkv, HEADS, ragged, 0.0f);         /* [T, D] */
    mixed = qn_linear(c, mixed, p[OUT], NULL, QN_ACTIVATION_NONE);
    x = qn_add_norm(c, x, mixed, p[NORM1], p[SHIFT1], 1e-5f, 0.0f, NULL);
    qn_tensor *wide = qn_linear(c, x, p[UP], p[UP_BIAS], QN_ACTIVATION_GELU); /* [T, WIDE] */
    x = qn_add_norm(c, x, qn_linear(c, wide, p[DOWN], NULL, QN_ACTIVATION_NONE), p[NORM2], p[SHIFT2], 1e-5f, 0.0f,
                    NULL);
    qn_tensor *pooled = qn_pool_sequences(c, x, ragged, QN_POOL_MAX);                    /* [n, D] */
    qn_tensor *logits = qn_linear(c, pooled, p[HEAD], p[HEAD_BIAS], QN_ACTIVATION_NONE); /* [n, SYMBOLS] */
    return qn_cross_entropy(c, logits, b->targets, NULL, 0.0f, loss);
}

/* The largest difference between a gradient and (loss(w + h) - loss(w - h)) / 2h, over one element of each parameter,
 * relative to that parameter's largest gradient. Expect some 1e-3, since the losses are float32; a wrong formula gives
 * 1e-1 and more. */
static double check(qn_context *c, qn_tensor **p, const batch *b) {
    double worst = 0, loss[2], h = 1.0 / 128;
    for (int i = 0; i < COUNT; i++) {
        size_t at = 0;
        float *data = qn_tensor_data(p[i]), *grad = qn_tensor_grad(p[i]);
        for (size_t j = 0; j < qn_tensor_count(p[i]); j++)
            if (fabsf(grad[j]) > fabsf(grad[at])) at = j;
        float kept = data[at];
        for (int side = 0; side < 2; side++) {
            data[at] = kept + (float)(side ? h : -h);
            qn_context_reset(c);
            if (forward(c, p, b, &loss[side]) != QN_OK) return INFINITY;
        }
        data[at] = kept;
        worst = fmax(worst, fabs((loss[1] - loss[0]) / (2 * h) - grad[at]) / fabs(grad[at]));
    }
    return worst;
}

int main(void) {
    static batch b;
    static float values[64 * WIDE];
    qn_context *c = NULL;
    qn_tensor *p[COUNT] = {NULL};
    qn_status status = qn_context_create(0, NULL, &c);
    for (int i = 0; status == QN_OK && i < COUNT; i++) {
        size_t rows = shapes[i].rows, shape[] = {rows ? rows : shapes[i].width, shapes[i].width};
        size_t count = (rows ? rows : 1) * shapes[i].width;
        qn_random_normal(1, (uint64_t)i, fmax(shapes[i].deviation, 0), values, count);
        for (size_t j = 0; shapes[i].deviation < 0 && j < count; j++) values[j] = 1;
        status = qn_parameter_create(rows ? 2 : 1, shape, values, &p[i]);
    }
    qn_adamw_options options = qn_adamw_defaults();
    options.learning_rate = 5e-3;
    options.max_gradient_norm = 1;
    double loss = 0, first = 0, last = 0, worst = 0;
    for (int step = 1; status == QN_OK && step <= STEPS; step++) {
        make_batch(&b);
        qn_context_reset(c); /* the tensors of the last step are gone, the parameters stay */
        qn_recording_begin(c);
        status = forward(c, p, &b, &loss);
        if (status == QN_OK) status = qn_backward(c); /* adds to the parameters' gradients; the optimizer zeroes them */
        if (status == QN_OK && step == 1) {
            worst = check(c, p, &b);
            printf("gradients differ from finite differences by %.1e\n", worst);
        }
        if (status == QN_OK) status = qn_adamw_step(c, p, COUNT, &options, step);
        if (step <= 10) first += loss / 10;
        if (step > STEPS - 10) last += loss / 10;
        if (step % 50 == 0) printf("step %d: loss %.4f\n", step, loss);
    }
    if (status != QN_OK) fprintf(stderr, "layer: %s\n", qn_last_error());
    for (int i = 0; i < COUNT; i++) qn_parameter_free(p[i]);
    qn_context_destroy(c);
    return status == QN_OK && worst < 0.02 && last < first / 2 ? 0 : 1;
}
