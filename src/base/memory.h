// Heap memory with checked sizes, and the arena that holds what one step or one request needs.
#pragma once
#include "base/status.h"

// malloc, calloc and realloc of count * size bytes, overflow checked. NULL, with the last error set, when there is no memory; never NULL
// otherwise, not even for 0 bytes. Free with free().
void *qn_malloc(size_t count, size_t size);
void *qn_calloc(size_t count, size_t size);
void *qn_realloc(void *pointer, size_t count, size_t size);
void *qn_aligned_alloc(size_t bytes); // 64-byte aligned, in huge pages from 4 MiB on; free with qn_aligned_free
void qn_aligned_free(void *pointer);
char *qn_strdup(const char *text);
char *qn_strndup(const char *text, size_t length);

// Grows *array (of `size`-byte items) so that it holds at least `need` items; *capacity is doubled as needed.
qn_status qn_grow(void **array, size_t *capacity, size_t need, size_t size);

// An arena hands out 64-byte aligned memory that is given back all at once, or back to a mark. Not thread-safe. After a reset it keeps its
// memory as one chunk, so that a steady step takes nothing from the heap; a reset makes all marks invalid. A failed allocation returns
// NULL and sets the last error. AddressSanitizer builds forbid access to what was given back.
typedef struct qn_arena qn_arena;
typedef struct {
    void *chunk;
    size_t used;
} qn_arena_mark;

qn_arena *qn_arena_create(size_t initial_bytes);
void qn_arena_destroy(qn_arena *arena); // NULL is allowed
void *qn_arena_alloc(qn_arena *arena, size_t count, size_t size);
void *qn_arena_zalloc(qn_arena *arena, size_t count, size_t size);
char *qn_arena_strndup(qn_arena *arena, const char *text, size_t length);
// Offers memory of qn_arena_alloc(arena, count, size) to later allocations of at least half its size, before the next
// reset or restore.
void qn_arena_recycle(qn_arena *arena, void *pointer, size_t count, size_t size);
void qn_arena_reset(qn_arena *arena);
void qn_arena_trim(qn_arena *arena); // a reset that keeps no memory
qn_arena_mark qn_arena_save(const qn_arena *arena);
void qn_arena_restore(qn_arena *arena, qn_arena_mark mark);
size_t qn_arena_peak(const qn_arena *arena); // most bytes ever in use at once
