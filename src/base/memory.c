// Checked heap allocation, and the arena: a list of chunks that becomes one chunk at the next reset.
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define QN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QN_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define QN_TSAN 1
#endif
#ifdef QN_ASAN
#include <sanitizer/asan_interface.h>
#define GUARD 64 // forbidden bytes between two allocations, so that AddressSanitizer sees an overrun inside an arena
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define GUARD 0
#endif

#define ALIGNMENT 64
#define HUGE_PAGE ((size_t)2 << 20)
#define RESERVE_FROM ((size_t)8 << 20) // bytes of a chunk

static void *no_memory(size_t count, size_t size) {
    qn_fail(QN_ERROR_MEMORY, "out of memory (%zu x %zu bytes asked for)", count, size);
    return NULL;
}

// count * size into *bytes, at least 1 so that NULL always means failure. Above PTRDIFF_MAX pointer differences would
// be undefined.
static bool multiply(size_t count, size_t size, size_t *bytes) {
    if (__builtin_mul_overflow(count, size, bytes) || *bytes > PTRDIFF_MAX - 4096) return false;
    if (*bytes == 0) *bytes = 1;
    return true;
}

void *qn_malloc(size_t count, size_t size) {
    size_t bytes;
    void *pointer = multiply(count, size, &bytes) ? malloc(bytes) : NULL;
    return pointer != NULL ? pointer : no_memory(count, size);
}

void *qn_calloc(size_t count, size_t size) {
    size_t bytes;
    void *pointer = multiply(count, size, &bytes) ? calloc(bytes, 1) : NULL;
    return pointer != NULL ? pointer : no_memory(count, size);
}

void *qn_realloc(void *pointer, size_t count, size_t size) {
    size_t bytes;
    void *moved = multiply(count, size, &bytes) ? realloc(pointer, bytes) : NULL;
    return moved != NULL ? moved : no_memory(count, size);
}

void *qn_aligned_alloc(size_t bytes) {
    size_t checked;
    if (!multiply(bytes, 1, &checked) || checked > PTRDIFF_MAX - HUGE_PAGE) return no_memory(bytes, 1);
    // Large blocks ask for huge pages, which many systems give only on request: 256 MiB are touched first in 33 ms
    // instead of 143.
    size_t alignment = checked >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    size_t size = (checked + alignment - 1) / alignment * alignment;
    void *pointer = aligned_alloc(alignment, size);
    if (pointer == NULL) return no_memory(bytes, 1);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) (void)madvise(pointer, size, MADV_HUGEPAGE); // a wish: it may be refused
#endif
    return pointer;
}

void qn_aligned_free(void *pointer) {
    free(pointer);
}

char *qn_strdup(const char *text) {
    return qn_strndup(text, strlen(text));
}

char *qn_strndup(const char *text, size_t length) {
    char *copy = length == SIZE_MAX ? no_memory(length, 1) : qn_malloc(length + 1, 1);
    if (copy == NULL) return NULL;
    if (length > 0) memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

qn_status qn_grow(void **array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return QN_OK;
    size_t wanted = *capacity < SIZE_MAX / 2 ? 2 * *capacity : need;
    if (wanted < 16) wanted = 16;
    if (wanted < need) wanted = need;
    void *grown = qn_realloc(*array, wanted, size);
    if (grown == NULL) return QN_ERROR_MEMORY;
    *array = grown;
    *capacity = wanted;
    return QN_OK;
}

// --- Arena ---

typedef struct chunk {
    struct chunk *next;
    size_t size, used; // bytes of `data`
    char *data;
} chunk;

typedef struct spare { // stands at the beginning of the memory that it is about
    struct spare *next;
    size_t size; // a multiple of ALIGNMENT
} spare;

struct qn_arena {
    chunk *first, *current; // chunks after `current` are empty and wait to be used again
    spare *spares;          // recycled
    size_t first_size;      // of the first chunk
    size_t in_use, peak;
};

static chunk *chunk_create(size_t size) {
    chunk *c = qn_malloc(1, sizeof *c);
    if (c == NULL) return NULL;
    *c = (chunk){.size = size, .data = qn_aligned_alloc(size)};
    if (c->data == NULL) {
        free(c);
        return NULL;
    }
    ASAN_POISON_MEMORY_REGION(c->data, size);
    return c;
}

static void drop_first(qn_arena *arena) {
    chunk *c = arena->first;
    arena->first = c->next;
    arena->in_use -= c->used;
    ASAN_UNPOISON_MEMORY_REGION(c->data, c->size);
    qn_aligned_free(c->data);
    free(c);
}

static void free_chunks(qn_arena *arena) {
    while (arena->first != NULL) drop_first(arena);
    arena->current = NULL;
    arena->spares = NULL;
}

qn_arena *qn_arena_create(size_t initial_bytes) {
    qn_arena *arena = qn_calloc(1, sizeof *arena);
    if (arena == NULL) return NULL;
    arena->first_size = initial_bytes > 4096 ? initial_bytes : 4096;
    return arena;
}

void qn_arena_destroy(qn_arena *arena) {
    if (arena == NULL) return;
    free_chunks(arena);
    free(arena);
}

// What a chunk that is large anyway reserves: addresses, half as many as there is memory, which cost nothing until they
// are used. An arena then grows without moving, and no page that it has is cleared by the system a second time;
// clearing was 19 % of the processor time of a fine-tuning of 12 steps, its start included. 0 where sanitizers keep
// books about every address.
static size_t reserve_size(void) {
#if defined(QN_ASAN) || defined(QN_TSAN) || !defined(_SC_PHYS_PAGES)
    return 0;
#else
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages / 2 * (size_t)size : 0;
#endif
}

// Makes `current` a chunk with `bytes` free: the next one that waits, or a new one of at least all the memory that the
// arena has.
static bool next_chunk(qn_arena *arena, size_t bytes) {
    chunk **link = arena->current != NULL ? &arena->current->next : &arena->first;
    while (*link != NULL && (*link)->size < bytes) link = &(*link)->next;
    if (*link == NULL) {
        size_t size = arena->first_size;
        for (chunk *c = arena->first; c != NULL; c = c->next)
            size = c->size > SIZE_MAX / 4 - size ? SIZE_MAX / 4 : size + c->size;
        if (size < bytes) size = bytes;
        size_t reserve = size >= RESERVE_FROM ? reserve_size() : 0;
        chunk *created = reserve > size ? chunk_create(reserve) : NULL;
        if (created == NULL) created = chunk_create(size);
        // Memory may be short for doubling, and still enough for what is needed.
        if (created == NULL && size > bytes) created = chunk_create(bytes);
        if (created == NULL) return false;
        *link = created;
    }
    // A waiting chunk that is too small stays in the list, with nothing used.
    arena->current = *link;
    return true;
}

static size_t round_up(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

// The smallest recycled piece that fits, unless more than half of it would be lost. There are few: an arena that
// recycles does so with the gradients that live at once.
static void *take_spare(qn_arena *arena, size_t bytes) {
    spare **best = NULL;
    for (spare **link = &arena->spares; *link != NULL; link = &(*link)->next)
        if ((*link)->size >= bytes && (*link)->size / 2 <= bytes && (best == NULL || (*link)->size < (*best)->size))
            best = link;
    if (best == NULL) return NULL;
    spare *taken = *best;
    *best = taken->next;
    ASAN_POISON_MEMORY_REGION(taken, sizeof *taken);
    return taken;
}

void *qn_arena_alloc(qn_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (!multiply(count, size, &bytes)) return no_memory(count, size);
    void *recycled = arena->spares != NULL ? take_spare(arena, bytes) : NULL;
    if (recycled != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(recycled, bytes);
        return recycled;
    }
    size_t rounded = round_up(bytes) + GUARD;
    chunk *c = arena->current;
    if (c == NULL || c->size - c->used < rounded) {
        if (!next_chunk(arena, rounded)) return NULL;
        c = arena->current;
    }
    void *pointer = c->data + c->used;
    c->used += rounded;
    arena->in_use += rounded;
    if (arena->in_use > arena->peak) arena->peak = arena->in_use;
    ASAN_UNPOISON_MEMORY_REGION(pointer, bytes);
    return pointer;
}

void *qn_arena_zalloc(qn_arena *arena, size_t count, size_t size) {
    void *pointer = qn_arena_alloc(arena, count, size);
    if (pointer != NULL) memset(pointer, 0, count * size);
    return pointer;
}

char *qn_arena_strndup(qn_arena *arena, const char *text, size_t length) {
    char *copy = length == SIZE_MAX ? no_memory(length, 1) : qn_arena_alloc(arena, length + 1, 1);
    if (copy == NULL) return NULL;
    if (length > 0) memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void qn_arena_recycle(qn_arena *arena, void *pointer, size_t count, size_t size) {
    size_t bytes = round_up(count * size);
    if (pointer == NULL || bytes == 0) return;
    spare *given = pointer;
    ASAN_POISON_MEMORY_REGION(pointer, bytes);
    ASAN_UNPOISON_MEMORY_REGION(pointer, sizeof *given);
    *given = (spare){arena->spares, bytes};
    arena->spares = given;
}

void qn_arena_trim(qn_arena *arena) {
    free_chunks(arena);
    arena->in_use = arena->peak = 0;
}

void qn_arena_reset(qn_arena *arena) {
    if (arena->first != NULL && arena->first->next != NULL) {
        // One chunk: the last one, where it has room for the largest use so far, as reserved ones do. Otherwise one for
        // that and an eighth more, so that a slowly growing step does not come here each time. When there is no memory
        // now, the next allocation will say so.
        chunk *last = arena->first;
        while (last->next != NULL) last = last->next;
        if (last->size >= arena->peak) {
            while (arena->first != last) drop_first(arena);
            arena->current = last;
        }
    }
    if (arena->first != NULL && arena->first->next != NULL) {
        size_t size = arena->peak + arena->peak / 8;
        free_chunks(arena);
        arena->first = chunk_create(size > arena->first_size ? size : arena->first_size);
    }
    qn_arena_restore(arena, (qn_arena_mark){0});
}

qn_arena_mark qn_arena_save(const qn_arena *arena) {
    return (qn_arena_mark){.chunk = arena->current, .used = arena->current != NULL ? arena->current->used : 0};
}

void qn_arena_restore(qn_arena *arena, qn_arena_mark mark) {
    chunk *c = mark.chunk != NULL ? mark.chunk : arena->first;
    arena->spares = NULL; // they may lie behind the mark
    if (c == NULL) return;
    arena->current = c;
    for (size_t keep = mark.chunk != NULL ? mark.used : 0; c != NULL; c = c->next, keep = 0) {
        ASAN_POISON_MEMORY_REGION(c->data + keep, c->size - keep);
        arena->in_use -= c->used - keep;
        c->used = keep;
    }
}

size_t qn_arena_peak(const qn_arena *arena) {
    return arena->peak;
}
