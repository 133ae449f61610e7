// See late.h.
#include "data/late.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

static qn_status find_prefix(const char *prefix, const qn_tokenizer *tokenizer, int32_t *id) {
    *id = prefix && *prefix ? qn_tokenizer_id(tokenizer, prefix) : -1;
    if (*id >= 0 || !prefix || !*prefix) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "the prefix \"%.50s\" is no token of the tokenizer", prefix);
}

qn_status qn_late_resolve(const qn_sbert *sentence, const qn_tokenizer *tokenizer, qn_late *out) {
    *out = (qn_late){.on = sentence->late.on};
    if (!out->on) return QN_OK;
    const qn_sbert_late *l = &sentence->late;
    for (int side = 0; side < 2; side++) {
        QN_TRY(find_prefix(l->prefix[side], tokenizer, &out->prefix[side]));
        out->length[side] = (size_t)l->length[side];
    }
    int32_t mask = qn_tokenizer_special(tokenizer, QN_TOKEN_MASK), pad = qn_tokenizer_special(tokenizer, QN_TOKEN_PAD);
    out->fill = !l->expand ? -1 : mask >= 0 ? mask : pad;
    out->seen = l->attend;
    out->vocabulary = qn_tokenizer_size(tokenizer);
    out->skipped = qn_calloc(out->vocabulary + 1, 1);
    if (!out->skipped) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < l->skip_count; i++) {
        int32_t id = qn_tokenizer_id(tokenizer, l->skip[i]);
        if (id >= 0) out->skipped[id] = 1;
    }
    return QN_OK;
}

void qn_late_free(qn_late *late) {
    free(late->skipped);
    *late = (qn_late){0};
}

qn_encode_options qn_late_encoding(const qn_late *late, size_t side, const qn_encode_options *options) {
    qn_encode_options o = *options;
    size_t limit = late->length[side];
    if (o.max_length == 0 || limit < o.max_length) o.max_length = limit;
    if (late->prefix[side] >= 0 && o.max_length > 1) o.max_length--;
    return o;
}

qn_status qn_late_append(const qn_late *late, size_t side, const qn_encoding *e, qn_sequences *out) {
    size_t count = e->count;
    for (size_t i = 0; i < e->count; i++) {
        QN_TRY(qn_sequences_put(out, e->ids[i]));
        if (i == 0 && late->prefix[side] >= 0) QN_TRY(qn_sequences_put(out, late->prefix[side]));
    }
    count += e->count > 0 && late->prefix[side] >= 0;
    for (; side == 0 && late->fill >= 0 && count < late->length[0]; count++) QN_TRY(qn_sequences_put(out, late->fill));
    return qn_sequences_close(out, (int32_t)count);
}

int32_t *qn_late_seen(const qn_late *late, qn_arena *memory, const qn_tokens *tokens) {
    const int32_t *offsets = tokens->ragged.offsets;
    size_t n = tokens->ragged.sequences;
    bool all = true;
    if (!late->on || late->fill < 0 || late->seen) return NULL;
    int32_t *seen = qn_arena_alloc(memory, n + 1, sizeof *seen);
    for (size_t i = 0; seen && i < n; i++) {
        int32_t end = offsets[i + 1];
        while (end > offsets[i] + 1 && tokens->ids[end - 1] == late->fill) end--;
        seen[i] = end - offsets[i];
        all = all && end == offsets[i + 1];
    }
    return all ? NULL : seen;
}
