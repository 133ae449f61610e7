// The vocabulary: strings in one block, ids in a trie.
#include "text/vocabulary.h"
#include "base/memory.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

qn_status qn_vocabulary_add(qn_vocabulary *v, const char *text, size_t size, int64_t id) {
    if (id < 0 || id > QN_MAX_TOKEN_ID)
        return qn_fail(QN_ERROR_FORMAT, "token id %" PRId64 " is out of range (expected 0 to %d)", id, QN_MAX_TOKEN_ID);
    if (size > UINT32_MAX / 2 || v->byte_count + size + 1 > UINT32_MAX / 2)
        return qn_fail(QN_ERROR_UNSUPPORTED, "the vocabulary's strings are above 2 GiB");
    size_t index = (size_t)id;
    QN_TRY(qn_grow((void **)&v->starts, &v->starts_capacity, index + 1, sizeof *v->starts));
    QN_TRY(qn_grow((void **)&v->lengths, &v->lengths_capacity, index + 1, sizeof *v->lengths));
    QN_TRY(qn_grow((void **)&v->bytes, &v->byte_capacity, v->byte_count + size + 1, 1));
    for (; v->size <= index; v->size++) {
        v->starts[v->size] = UINT32_MAX;
        v->lengths[v->size] = 0;
    }
    if (v->starts[index] != UINT32_MAX) return qn_fail(QN_ERROR_FORMAT, "two tokens have the id %" PRId64, id);
    v->count++;
    v->starts[index] = (uint32_t)v->byte_count;
    v->lengths[index] = (uint32_t)size;
    memcpy(v->bytes + v->byte_count, text, size);
    v->bytes[v->byte_count + size] = 0;
    v->byte_count += size + 1;
    return QN_OK;
}

qn_status qn_vocabulary_finish(qn_vocabulary *v) {
    qn_trie_entry *entries = qn_malloc(v->count + 1, sizeof *entries);
    if (!entries) return QN_ERROR_MEMORY;
    size_t count = 0;
    for (size_t id = 0; id < v->size; id++)
        if (v->lengths[id] > 0)
            entries[count++] = (qn_trie_entry){v->bytes + v->starts[id], v->lengths[id], (int32_t)id};
    qn_status status = qn_trie_build(&v->trie, entries, count);
    free(entries);
    return status;
}

void qn_vocabulary_free(qn_vocabulary *v) {
    free(v->bytes);
    free(v->starts);
    free(v->lengths);
    qn_trie_free(&v->trie);
    *v = (qn_vocabulary){0};
}

const char *qn_vocabulary_token(const qn_vocabulary *v, int32_t id, size_t *size) {
    *size = 0;
    if (id < 0 || (size_t)id >= v->size || v->starts[id] == UINT32_MAX) return NULL;
    *size = v->lengths[id];
    return v->bytes + v->starts[id];
}

int32_t qn_vocabulary_id(const qn_vocabulary *v, const char *text, size_t size) {
    if (size == 0) return -1;
    int32_t node = qn_trie_walk(&v->trie, QN_TRIE_ROOT, text, size);
    return node < 0 ? -1 : v->trie.cells[node].value;
}
