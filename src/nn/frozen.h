// What frozen layers make of the texts of a data set, computed once for each text. Embeddings and first layers that do
// not train run without dropout, so that a text's rows are the same in every step.
#pragma once
#include "base/status.h"

typedef struct qn_frozen_cache qn_frozen_cache;

// For `texts` texts with rows of `width` values; those of text i are offsets[i] .. offsets[i+1]-1, and the array must
// stand. Up to `budget` bytes lie in memory; if all together are more they lie in a file without a name in `folder`,
// whose pages are in memory as long as there is room.
qn_status qn_frozen_cache_create(size_t texts, const int64_t *offsets, size_t width, size_t budget, const char *folder,
                                 qn_frozen_cache **out);
void qn_frozen_cache_free(qn_frozen_cache *cache); // NULL is allowed
size_t qn_frozen_cache_bytes(const qn_frozen_cache *cache);
bool qn_frozen_cache_in_file(const qn_frozen_cache *cache);
