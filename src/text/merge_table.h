// The merges of a BPE model by their pair of tokens. To ask costs the same whether there is one or not, and takes no
// branch on the answer, which is hardly ever foreseen.
#pragma once
#include "base/status.h"

typedef struct {
    int32_t left, right, id; // two tokens and what they become
} qn_bpe_merge;

enum { QN_MAX_MERGES = (1 << 24) - 1 };
#define QN_NO_RANK UINT32_MAX

// Cuckoo hashing (Pagh, Rodler, 2004): a pair is in one of two slots. A slot has eight bits of its hash above its rank,
// so that four bytes are enough; a free one has the rank `count`, and merges[count] is of no pair.
typedef struct {
    qn_bpe_merge *merges; // [count + 1] by rank
    size_t count, capacity;
    uint32_t *slots; // [slot_mask + 1]
    size_t slot_mask;
    uint64_t factor; // of the hash function
} qn_merge_table;

qn_status qn_merge_table_add(qn_merge_table *table, qn_bpe_merge merge); // the next rank
qn_status qn_merge_table_build(qn_merge_table *table);                   // after the last; of equal pairs it counts
void qn_merge_table_free(qn_merge_table *table);

static inline uint64_t qn_merge_hash(const qn_merge_table *table, int32_t left, int32_t right) {
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * table->factor;
    return (hash ^ hash >> 32) * 0x9E3779B97F4A7C15u;
}

// The rank in a slot, `none` where its tag is another.
static inline uint32_t qn_merge_candidate(uint32_t slot, uint32_t tag, uint32_t none) {
    uint32_t rank = slot ^ tag << 24;
    return rank > QN_MAX_MERGES ? none : rank;
}

// QN_NO_RANK where they do not merge. Ids may be any numbers.
static inline uint32_t qn_merge_rank(const qn_merge_table *table, int32_t left, int32_t right) {
    uint64_t hash = qn_merge_hash(table, left, right);
    uint32_t tag = (uint32_t)(hash >> 56), none = (uint32_t)table->count;
    uint32_t first = qn_merge_candidate(table->slots[hash & table->slot_mask], tag, none);
    uint32_t second = qn_merge_candidate(table->slots[hash >> 28 & table->slot_mask], tag, none);
    uint32_t rank = first != none ? first : second;
    const qn_bpe_merge *merge = &table->merges[rank];
    if (__builtin_expect((first != none) & (second != none), 0) && (merge->left != left || merge->right != right)) {
        rank = second;
        merge = &table->merges[rank];
    }
    bool same = (merge->left == left) & (merge->right == right);
    return same ? rank : QN_NO_RANK;
}
