// Fuzzes model.safetensors.index.json: an index that parses names each tensor once, and only files of its own folder.
#include "formats/weights.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_shard_index index;
    if (qn_shard_index_parse((const char *)data, size, "x", &index) != QN_OK) return 0;
    for (size_t i = 0; i < index.shard_count; i++) {
        if (strpbrk(index.shards[i], "/\\") || index.shards[i][0] == '.') abort();
        if (i && strcmp(index.shards[i - 1], index.shards[i]) >= 0) abort();
    }
    for (size_t i = 0; i < index.count; i++) {
        if (index.entries[i].shard >= index.shard_count) abort();
        if (i && strcmp(index.entries[i - 1].tensor, index.entries[i].tensor) >= 0) abort();
    }
    qn_shard_index_free(&index);
    return 0;
}
