// The helpers of support.h. The __wrap_ functions stand in for the heap's by the linker's --wrap.
#include "support.h"
#include "base/file.h"
#include <stdatomic.h>
#include <unistd.h>

static atomic_size_t allocations;
static atomic_size_t allowed = SIZE_MAX; // SIZE_MAX: no limit

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **pointer, size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t length);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **pointer, size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t length);

static bool may_allocate(void) {
    atomic_fetch_add(&allocations, 1);
    size_t left = atomic_load(&allowed);
    while (left != SIZE_MAX) {
        if (left == 0) return false;
        if (atomic_compare_exchange_weak(&allowed, &left, left - 1)) return true;
    }
    return true;
}

void *__wrap_malloc(size_t size) {
    return may_allocate() ? __real_malloc(size) : NULL;
}
void *__wrap_calloc(size_t count, size_t size) {
    return may_allocate() ? __real_calloc(count, size) : NULL;
}
void *__wrap_realloc(void *pointer, size_t size) {
    return may_allocate() ? __real_realloc(pointer, size) : NULL;
}
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return may_allocate() ? __real_aligned_alloc(alignment, size) : NULL;
}
int __wrap_posix_memalign(void **pointer, size_t alignment, size_t size) {
    return may_allocate() ? __real_posix_memalign(pointer, alignment, size) : 12; // ENOMEM
}
char *__wrap_strdup(const char *text) {
    return may_allocate() ? __real_strdup(text) : NULL;
}
char *__wrap_strndup(const char *text, size_t length) {
    return may_allocate() ? __real_strndup(text, length) : NULL;
}

size_t test_allocations(void) {
    return atomic_load(&allocations);
}
void test_fail_allocations_after(size_t count) {
    atomic_store(&allowed, count);
}
void test_fail_allocations_off(void) {
    atomic_store(&allowed, SIZE_MAX);
}

// --- Files ---

static char *folders[64];
static size_t folder_count;
static pid_t owner;

static void remove_folders(void) {
    if (getpid() != owner) return; // a forked child must not take its parent's files away
    for (size_t i = 0; i < folder_count; i++) {
        qn_remove_tree(folders[i]);
        free(folders[i]);
    }
    folder_count = 0;
}

char *test_folder(void) {
    const char *base = getenv("TMPDIR");
    char path[1024];
    snprintf(path, sizeof path, "%s/quern-test-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    if (folder_count == 0) {
        owner = getpid();
        atexit(remove_folders);
    }
    assert_true(folder_count < sizeof folders / sizeof *folders);
    return folders[folder_count++] = strdup(path);
}

const char *test_path(const char *folder, const char *name) {
    static char buffers[64][1200];
    static unsigned next;
    char *buffer = buffers[next++ % 64];
    snprintf(buffer, sizeof buffers[0], "%s/%s", folder, name);
    return buffer;
}

char *test_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("cannot open %s", path);
    char *data = NULL;
    size_t used = 0, got;
    do {
        data = realloc(data, used + 65537);
        assert_non_null(data);
        got = fread(data + used, 1, 65536, file);
        used += got;
    } while (got > 0);
    fclose(file);
    data[used] = '\0';
    if (size != NULL) *size = used;
    return data;
}

void test_write(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) fail_msg("cannot create %s", path);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void test_write_text(const char *path, const char *text) {
    test_write(path, text, strlen(text));
}
