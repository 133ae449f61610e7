// See sides.h.
#include "tasks/sides.h"
#include "tasks/task.h"

// Copies every second sequence, from `first` on, without its first `skip` and its last `drop` tokens. NULL, with the
// last error set, without memory.
static int32_t *copy_side(qn_arena *arena, const qn_batch *b, size_t first, int32_t skip, int32_t drop,
                          qn_tokens *out) {
    size_t n = b->sequences / 2, used = 0;
    int32_t *ids = qn_arena_alloc(arena, b->tokens, sizeof *ids),
            *types = qn_arena_zalloc(arena, b->tokens, sizeof *types),
            *positions = qn_arena_alloc(arena, b->tokens, sizeof *positions),
            *offsets = qn_arena_alloc(arena, n + 1, sizeof *offsets);
    if (!ids || !types || !positions || !offsets) return NULL;
    for (size_t i = 0; i < n; i++) {
        int32_t begin = b->offsets[2 * i + first] + skip, end = b->offsets[2 * i + first + 1] - drop;
        offsets[i] = (int32_t)used;
        for (int32_t t = begin; t < end; t++, used++) {
            ids[used] = b->ids[t];
            positions[used] = t - begin;
        }
    }
    offsets[n] = (int32_t)used;
    *out = qn_tokens_of(used, ids, types, positions, (qn_ragged){n, offsets});
    return ids;
}

qn_status qn_sides_split(qn_context *c, const qn_network *network, const qn_batch *b, qn_sides *out) {
    if (!copy_side(c->records, b, 0, 0, 0, &out->source)) return QN_ERROR_MEMORY;
    if (network->config.text_decoder) {
        out->labels = copy_side(c->records, b, 1, 1, 0, &out->target);
        return out->labels && copy_side(c->records, b, 1, 0, 1, &out->target) ? QN_OK : QN_ERROR_MEMORY;
    }
    int32_t *shifted = qn_arena_alloc(c->records, b->tokens, sizeof *shifted);
    out->labels = copy_side(c->records, b, 1, 0, 0, &out->target);
    if (!shifted || !out->labels) return QN_ERROR_MEMORY;
    qn_network_shift(network, out->target.ragged, out->labels, shifted);
    out->target.ids = shifted;
    return QN_OK;
}

qn_tensor *qn_sides_logits(qn_context *c, qn_network *n, const qn_sides *s, float weight, double *divergence) {
    qn_tensor *hidden;
    *divergence = 0;
    if (n->config.text_decoder) {
        float share = s->target.tokens ? (float)s->source.ragged.sequences / (float)s->target.tokens : 0;
        qn_tensor *vectors = qn_text_decoder_encode(c, n, &s->source, weight * share, divergence);
        hidden = qn_text_decoder_hidden(c, n, vectors, &s->target);
    } else
        hidden = qn_network_translate(c, n, &s->source, &s->target, (qn_rows_read){0});
    return qn_network_masked_lm(c, n, hidden, s->target.tokens, NULL);
}

qn_status qn_sides_loss(qn_network *network, qn_context *c, const qn_batch *batch, float smoothing, float weight,
                        qn_sides_sums *sums, double *value) {
    qn_sides s;
    double divergence;
    QN_TRY(qn_sides_split(c, network, batch, &s));
    qn_tensor *logits = qn_sides_logits(c, network, &s, weight, &divergence);
    size_t texts = s.source.ragged.sequences, tokens = s.target.tokens;
    if (logits && !qn_taping(c)) sums->right += qn_count_right(logits, s.labels);
    QN_TRY(qn_cross_entropy(c, logits, s.labels, NULL, smoothing, value));
    sums->loss += *value * (double)tokens;
    sums->divergence += divergence * (double)texts;
    sums->tokens += tokens;
    sums->texts += texts;
    if (tokens) *value += (double)weight * divergence * (double)texts / (double)tokens;
    return QN_OK;
}

qn_status qn_sides_measure(qn_network *network, const qn_context *c, qn_source source, qn_sides_sums *sums) {
    qn_batch batch = {0};
    bool end = false;
    qn_status status;
    while ((status = source.next(source.self, &batch, &end)) == QN_OK && !end) {
        double value;
        qn_context own = *c;
        qn_arena_reset(c->arena);
        qn_arena_reset(c->records);
        status = qn_sides_loss(network, &own, &batch, 0, 0, sums, &value);
        if (status != QN_OK) break;
    }
    qn_batch_free(&batch);
    return status;
}
