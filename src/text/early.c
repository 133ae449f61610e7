// Finds what becomes of characters early.
//
// A character alone goes through the merges r1, r2, ... of its bytes. Beside neighbours nothing else becomes of it if
// at each of these steps every merge of its first part with something before it, and of its last part with something
// behind it, ranks behind the step that waits: that step is then always taken first. The merges of what it is in the
// end with its neighbours must rank behind all of the steps, so that to take the steps first delays nothing.
#include "text/early.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/steps.h"
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 5 }; // bytes of a space and a character

// Which bytes merges bring beside a token, by rank, each once: a list in builder.nodes.
typedef struct {
    uint64_t seen[2];
    uint32_t first, last; // 0: none
} side;

typedef struct {
    uint32_t rank, next;
    uint8_t byte;
} node;

typedef struct {
    const qn_vocabulary *vocabulary;
    const qn_merge_table *merges;
    const int32_t *characters;
    side *before, *behind; // [vocabulary->size]
    node *nodes;           // [2 * merges->count + 1], from 1
    uint32_t node_count;
} builder;

// The byte that a token of GPT-2's characters begins or ends with; -1 where it is none.
static int outer_byte(const builder *b, int32_t id, bool last) {
    size_t size, at = 0;
    const char *token = qn_vocabulary_token(b->vocabulary, id, &size);
    if (size == 0) return -1;
    if (last)
        for (at = size - 1; at > 0 && ((uint8_t)token[at] & 0xC0) == 0x80;) at--;
    uint32_t code;
    qn_form_next(token + at, &code);
    return qn_character_byte(code);
}

static void note(builder *b, side *s, size_t rank, int byte) {
    if (byte < 0 || s->seen[byte >> 7] >> (byte & 63) & 1) return;
    s->seen[byte >> 7] |= (uint64_t)1 << (byte & 63);
    uint32_t at = ++b->node_count;
    b->nodes[at] = (node){(uint32_t)rank, 0, (uint8_t)byte};
    *(s->first ? &b->nodes[s->last].next : &s->first) = at;
    s->last = at;
}

static void note_merges(builder *b) {
    for (size_t rank = 0; rank < b->merges->count; rank++) {
        qn_bpe_merge merge = b->merges->merges[rank];
        int before = outer_byte(b, merge.left, true), behind = outer_byte(b, merge.right, false);
        // Within a character a first byte is not behind anything, nor any other byte before anything.
        if (before < 0xC0) note(b, &b->before[merge.right], rank, before);
        if (behind < 0x80 || behind >= 0xC0) note(b, &b->behind[merge.left], rank, behind);
    }
}

// Adds the neighbours that could merge with `first` or `last` no later than `rank`.
static void add_disturbers(const builder *b, int32_t first, int32_t last, uint32_t rank, qn_early_context *context) {
    for (uint32_t i = b->before[first].first; i && b->nodes[i].rank <= rank; i = b->nodes[i].next)
        context->before[b->nodes[i].byte >> 7] |= (uint64_t)1 << (b->nodes[i].byte & 63);
    for (uint32_t i = b->behind[last].first; i && b->nodes[i].rank <= rank; i = b->nodes[i].next)
        context->behind[b->nodes[i].byte >> 7] |= (uint64_t)1 << (b->nodes[i].byte & 63);
}

// What becomes of a row of bytes: tokens in ids. Returns how many.
static size_t settle(const builder *b, const uint8_t *bytes, size_t size, int32_t ids[LONGEST],
                     qn_early_context *context) {
    uint32_t highest = 0;
    size_t count = size;
    for (size_t i = 0; i < size; i++) ids[i] = b->characters[bytes[i]];
    while (count > 1) {
        uint32_t best = QN_NO_RANK;
        size_t at = 0;
        for (size_t i = 0; i + 1 < count; i++) {
            uint32_t rank = qn_merge_rank(b->merges, ids[i], ids[i + 1]);
            if (rank >= best) continue;
            best = rank;
            at = i;
        }
        if (best == QN_NO_RANK) break;
        add_disturbers(b, ids[0], ids[count - 1], best, context);
        if (best > highest) highest = best;
        ids[at] = b->merges->merges[best].id;
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
        count--;
    }
    if (count < size) add_disturbers(b, ids[0], ids[count - 1], highest, context);
    return count;
}

static qn_status put_entry(qn_early *early, int form, uint32_t code, qn_early_entry entry,
                           const qn_early_context *context) {
    static const qn_early_context none;
    uint16_t *start = &early->starts[form][code / QN_EARLY_BLOCK];
    if (*start == 0) {
        QN_TRY(qn_grow((void **)&early->blocks, &early->block_capacity, early->block_count + 1, sizeof *early->blocks));
        memset(early->blocks + early->block_count, 0, sizeof *early->blocks);
        *start = (uint16_t)early->block_count++;
    }
    if (memcmp(context, &none, sizeof none) != 0) {
        QN_TRY(qn_grow((void **)&early->contexts, &early->context_capacity, early->context_count + 1,
                       sizeof *early->contexts));
        entry.context = (uint32_t)early->context_count;
        early->contexts[early->context_count++] = *context;
    }
    early->blocks[*start][code % QN_EARLY_BLOCK] = entry;
    return QN_OK;
}

// Bytes of GPT-2's characters that a token has.
static size_t count_bytes(const builder *b, int32_t id) {
    size_t size, count = 0;
    const char *token = qn_vocabulary_token(b->vocabulary, id, &size);
    for (size_t i = 0; i < size; i++) count += ((uint8_t)token[i] & 0xC0) != 0x80;
    return count;
}

static qn_status add_character(qn_early *early, const builder *b, uint32_t code) {
    uint8_t bytes[LONGEST] = {' '};
    size_t size = 1 + qn_utf8_put((char *)bytes + 1, (int32_t)code);
    for (int form = 0; form < QN_EARLY_FORMS; form++) {
        size_t skip = form == QN_EARLY_ALONE;
        int32_t ids[LONGEST];
        qn_early_context context = {{0}, {0}};
        size_t count = settle(b, bytes + skip, size - skip, ids, &context);
        // A space that stays alone is a character of its own.
        if (count > 2 || count == size - skip || (!skip && ids[0] == b->characters[' '])) continue;
        qn_early_entry entry = {(uint32_t)ids[0] | (uint32_t)count_bytes(b, ids[0]) << QN_EARLY_SIZE_SHIFT,
                                count > 1 ? (uint32_t)ids[1] : 0, 0};
        QN_TRY(put_entry(early, form, code, entry, &context));
    }
    return QN_OK;
}

// Whether the first bytes that the characters of a block share merge at all. Where not, little would be gained.
static bool is_worth_it(const builder *b, uint32_t code) {
    uint8_t bytes[4];
    size_t size = qn_utf8_put((char *)bytes, (int32_t)code);
    bool merges = size == 2;
    for (size_t i = 0; i + 2 < size; i++)
        merges |= qn_merge_rank(b->merges, b->characters[bytes[i]], b->characters[bytes[i + 1]]) != QN_NO_RANK;
    return merges;
}

static qn_status add_characters(qn_early *early, const builder *b) {
    for (uint32_t code = 0x80; code < QN_EARLY_LIMIT; code++) {
        if (code == 0xD800) code = 0xE000; // surrogates
        if (code % QN_EARLY_BLOCK == 0 && !is_worth_it(b, code))
            code += QN_EARLY_BLOCK - 1;
        else
            QN_TRY(add_character(early, b, code));
    }
    return QN_OK;
}

qn_status qn_early_build(qn_early *early, const qn_vocabulary *vocabulary, const qn_merge_table *merges,
                         const int32_t characters[256]) {
    builder b = {.vocabulary = vocabulary, .merges = merges, .characters = characters};
    b.before = qn_calloc(vocabulary->size, sizeof *b.before);
    b.behind = qn_calloc(vocabulary->size, sizeof *b.behind);
    b.nodes = qn_malloc(2 * merges->count + 1, sizeof *b.nodes);
    early->starts = qn_calloc(QN_EARLY_FORMS, sizeof *early->starts);
    early->blocks = qn_calloc(1, sizeof *early->blocks);
    early->contexts = qn_calloc(1, sizeof *early->contexts);
    early->block_count = early->block_capacity = early->context_count = early->context_capacity = 1;
    bool there = b.before && b.behind && b.nodes && early->starts && early->blocks && early->contexts;
    qn_status status = there ? QN_OK : QN_ERROR_MEMORY;
    if (there) {
        note_merges(&b);
        status = add_characters(early, &b);
    }
    free(b.before);
    free(b.behind);
    free(b.nodes);
    return status;
}

void qn_early_free(qn_early *early) {
    free(early->starts);
    free(early->blocks);
    free(early->contexts);
    *early = (qn_early){0};
}
