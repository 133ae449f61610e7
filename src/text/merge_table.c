// Filling a table of merges.
#include "text/merge_table.h"
#include "base/memory.h"
#include <stdlib.h>

enum { LONGEST_CHAIN = 256, MOST_TRIES = 8 };

qn_status qn_merge_table_add(qn_merge_table *table, qn_bpe_merge merge) {
    if (table->count == QN_MAX_MERGES)
        return qn_fail(QN_ERROR_UNSUPPORTED, "a model of more than %d merges", QN_MAX_MERGES);
    QN_TRY(qn_grow((void **)&table->merges, &table->capacity, table->count + 1, sizeof *table->merges));
    table->merges[table->count++] = merge;
    return QN_OK;
}

// Puts a merge into one of its slots. What was there goes to its other one, and so on; false: the chain is too long.
static bool insert(qn_merge_table *table, uint32_t rank) {
    const qn_bpe_merge *merges = table->merges;
    uint32_t none = (uint32_t)table->count;
    size_t from = SIZE_MAX; // the slot that the merge was driven out of
    for (int i = 0; i < LONGEST_CHAIN; i++) {
        const qn_bpe_merge *merge = &merges[rank];
        uint64_t hash = qn_merge_hash(table, merge->left, merge->right);
        size_t places[2] = {hash & table->slot_mask, hash >> 28 & table->slot_mask};
        uint32_t tagged = (uint32_t)(hash >> 56) << 24 | rank;
        uint32_t there[2] = {table->slots[places[0]] & QN_MAX_MERGES, table->slots[places[1]] & QN_MAX_MERGES};
        int to = -1;
        for (int k = 0; k < 2; k++)
            if (there[k] == none && to < 0) to = k;
        for (int k = 0; k < 2; k++)
            if (merges[there[k]].left == merge->left && merges[there[k]].right == merge->right) to = k;
        if (to >= 0) {
            table->slots[places[to]] = tagged;
            return true;
        }
        size_t place = places[0] == from ? places[1] : places[0];
        rank = table->slots[place] & QN_MAX_MERGES;
        table->slots[place] = tagged;
        from = place;
    }
    return false;
}

static bool insert_all(qn_merge_table *table) {
    for (size_t i = 0; i <= table->slot_mask; i++) table->slots[i] = (uint32_t)table->count;
    for (size_t rank = 0; rank < table->count; rank++)
        if (!insert(table, (uint32_t)rank)) return false;
    return true;
}

qn_status qn_merge_table_build(qn_merge_table *table) {
    QN_TRY(qn_grow((void **)&table->merges, &table->capacity, table->count + 1, sizeof *table->merges));
    table->merges[table->count] = (qn_bpe_merge){-2, -2, -1};
    size_t slots = 16;
    while (slots < 2 * table->count) slots *= 2; // with fewer than two slots a merge there may be no place
    table->factor = 0xD6E8FEB86659FD93u;
    for (int i = 0; i < MOST_TRIES; i++, slots *= 2, table->factor = table->factor * 0xBF58476D1CE4E5B9u + 2) {
        uint32_t *grown = qn_realloc(table->slots, slots, sizeof *grown);
        if (!grown) return QN_ERROR_MEMORY;
        table->slots = grown;
        table->slot_mask = slots - 1;
        if (insert_all(table)) return QN_OK;
    }
    return qn_fail(QN_ERROR_UNSUPPORTED, "the merges have no place in a table (expected pairs that hash apart)");
}

void qn_merge_table_free(qn_merge_table *table) {
    free(table->merges);
    free(table->slots);
    *table = (qn_merge_table){0};
}
