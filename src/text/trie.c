// Building of the double-array trie, breadth first, sorting by one more byte at each node.
#include "text/trie.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

enum {
    MAX_TRIES = 16,   // free cells tried for the children of one node before they go behind the last taken one
    FIRST_CELL = 256, // no base can put a first child below it
};

// The strings entries[first, last) share their first `depth` bytes, which lead to `node`.
typedef struct {
    int32_t node;
    uint32_t first, last, depth;
} pending;

typedef struct {
    qn_trie *trie;
    int32_t *next, *previous; // the list of free cells in ascending order; cell 0 (the root) is its head
    size_t next_capacity, previous_capacity;
    int32_t top; // all cells from here on are free
} builder;

// Sorts `entries`, which agree in their first `depth` bytes, by the byte after them, those that end there first; equal
// ones stay in order.
static void sort_by_byte(qn_trie_entry *entries, qn_trie_entry *room, size_t count, size_t depth) {
#define KEY(entry) ((entry).size > depth ? 1 + (uint8_t)(entry).text[depth] : 0)
    if (count < 32) {
        for (size_t i = 1; i < count; i++) {
            qn_trie_entry moved = entries[i];
            int key = KEY(moved);
            size_t j = i;
            for (; j > 0 && KEY(entries[j - 1]) > key; j--) entries[j] = entries[j - 1];
            entries[j] = moved;
        }
        return;
    }
    size_t starts[258] = {0};
    for (size_t i = 0; i < count; i++) starts[KEY(entries[i]) + 1]++;
    for (size_t i = 1; i < 258; i++) starts[i] += starts[i - 1];
    memcpy(room, entries, count * sizeof *entries);
    for (size_t i = 0; i < count; i++) entries[starts[KEY(room[i])]++] = room[i];
#undef KEY
}

// Makes the array at least `need` cells long and puts the new cells at the end of the free list.
static qn_status extend(builder *b, size_t need) {
    qn_trie *trie = b->trie;
    if (need <= trie->count) return QN_OK;
    if (need > INT32_MAX / 2) return qn_fail(QN_ERROR_UNSUPPORTED, "a vocabulary of too many bytes");
    QN_TRY(qn_grow((void **)&trie->cells, &trie->capacity, need, sizeof *trie->cells));
    QN_TRY(qn_grow((void **)&b->next, &b->next_capacity, need, sizeof *b->next));
    QN_TRY(qn_grow((void **)&b->previous, &b->previous_capacity, need, sizeof *b->previous));
    for (size_t i = trie->count; i < need; i++) {
        trie->cells[i] = (qn_trie_cell){0, -1, -1};
        bool linked = i >= FIRST_CELL;
        int32_t cell = (int32_t)i, last = linked ? b->previous[0] : cell;
        b->previous[i] = last;
        b->next[i] = linked ? 0 : cell;
        if (!linked) continue;
        b->next[last] = cell;
        b->previous[0] = cell;
    }
    trie->count = need;
    return QN_OK;
}

static void take(builder *b, int32_t cell, int32_t parent) {
    b->trie->cells[cell].parent = parent;
    if (cell >= b->top) b->top = cell + 1;
    b->next[b->previous[cell]] = b->next[cell];
    b->previous[b->next[cell]] = b->previous[cell];
}

// A base at which the cells of all `labels` are free.
static qn_status find_base(builder *b, const uint8_t *labels, size_t count, int32_t *base) {
    qn_trie *trie = b->trie;
    int tries = 0;
    for (int32_t cell = b->next[0]; cell != 0 && tries < MAX_TRIES; cell = b->next[cell], tries++) {
        int32_t candidate = cell - labels[0];
        QN_TRY(extend(b, (size_t)candidate + 256));
        size_t i = 1;
        while (i < count && trie->cells[candidate + labels[i]].parent < 0) i++;
        if (i == count) {
            *base = candidate;
            return QN_OK;
        }
        if (tries == MAX_TRIES - 1 &&
            count < 8) { // a cell that fits few children is given up, or all later ones would try it again
            int32_t dead = b->next[0];
            b->next[0] = b->next[dead];
            b->previous[b->next[dead]] = 0;
            b->next[dead] = b->previous[dead] = dead;
        }
    }
    *base = b->top - labels[0];
    return extend(b, (size_t)*base + 256);
}

static qn_status build(builder *b, qn_trie_entry *entries, qn_trie_entry *room, pending *queue, size_t count) {
    qn_trie *trie = b->trie;
    size_t head = 0, tail = 0;
    queue[tail++] = (pending){QN_TRIE_ROOT, 0, (uint32_t)count, 0};
    while (head < tail) {
        pending at = queue[head++];
        uint8_t labels[256];
        uint32_t starts[257];
        size_t children = 0;
        sort_by_byte(entries + at.first, room, at.last - at.first, at.depth);
        for (uint32_t i = at.first; i < at.last; i++) {
            if (entries[i].size == at.depth) {
                trie->duplicates += trie->cells[at.node].value >= 0;
                trie->cells[at.node].value = entries[i].value;
                continue;
            }
            uint8_t label = (uint8_t)entries[i].text[at.depth];
            if (children == 0 || labels[children - 1] != label) {
                starts[children] = i;
                labels[children++] = label;
            }
        }
        if (children == 0) continue; // its base stays 0; no child of it can be found there, since parents are compared
        starts[children] = at.last;
        int32_t base = 0;
        QN_TRY(find_base(b, labels, children, &base));
        trie->cells[at.node].base = base;
        for (size_t i = 0; i < children; i++) take(b, base + labels[i], at.node);
        for (size_t i = 0; i < children; i++)
            queue[tail++] = (pending){base + labels[i], starts[i], starts[i + 1], at.depth + 1};
    }
    return QN_OK;
}

qn_status qn_trie_build(qn_trie *trie, qn_trie_entry *entries, size_t count) {
    *trie = (qn_trie){0};
    size_t nodes = 1;
    for (size_t i = 0; i < count; i++) nodes += entries[i].size;
    if (count > UINT32_MAX - 1 || nodes > INT32_MAX / 2)
        return qn_fail(QN_ERROR_UNSUPPORTED, "a vocabulary of too many bytes");
    builder b = {.trie = trie, .top = FIRST_CELL};
    qn_status status = QN_ERROR_MEMORY;
    pending *queue = qn_malloc(nodes, sizeof *queue);
    qn_trie_entry *room = qn_malloc(count + 1, sizeof *room);
    if (!queue || !room) goto done;
    QN_TRY_GOTO(status, extend(&b, 512), done);
    trie->cells[QN_TRIE_ROOT].parent = -2; // taken, and nobody's child
    status = build(&b, entries, room, queue, count);
done:
    free(queue);
    free(room);
    free(b.next);
    free(b.previous);
    if (status != QN_OK) qn_trie_free(trie);
    return status;
}

void qn_trie_free(qn_trie *trie) {
    free(trie->cells);
    *trie = (qn_trie){0};
}

int32_t qn_trie_walk(const qn_trie *trie, int32_t node, const char *text, size_t size) {
    for (size_t i = 0; i < size && node >= 0; i++) node = qn_trie_step(trie, node, (uint8_t)text[i]);
    return node;
}
