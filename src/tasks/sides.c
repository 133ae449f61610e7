// See sides.h.
#include "tasks/sides.h"
#include "models/sentence.h"

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
    *out = (qn_tokens){.tokens = used, .ids = ids, .types = types, .positions = positions, .ragged = {n, offsets}};
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

qn_tensor *qn_sides_logits(qn_context *c, qn_network *n, const qn_sides *s) {
    qn_tensor *hidden = n->config.text_decoder
                            ? qn_text_decoder_hidden(c, n, qn_sentence_vectors(c, n, &s->source, NULL), &s->target)
                            : qn_network_translate(c, n, &s->source, &s->target, (qn_rows_read){0});
    return qn_network_masked_lm(c, n, hidden, s->target.tokens, NULL);
}

qn_status qn_sides_loss(qn_network *network, qn_context *c, const qn_batch *batch, float smoothing, size_t *tokens,
                        double *loss) {
    qn_sides s;
    QN_TRY(qn_sides_split(c, network, batch, &s));
    *tokens = s.target.tokens;
    return qn_cross_entropy(c, qn_sides_logits(c, network, &s), s.labels, NULL, smoothing, loss);
}
