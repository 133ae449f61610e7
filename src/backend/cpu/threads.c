// See threads.h. One 64-bit word carries the job's generation, its number of tasks and the next task, so that a thread
// that comes late cannot take a task of one job with the function of another.
#include "backend/cpu/threads.h"
#include "base/memory.h"
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <stdatomic.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { COUNT_BITS = 20, SPINS = 4000 };
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)

typedef struct {
    qn_threads *team;
    int worker;
    pthread_t thread;
} member;

struct qn_threads {
    int count;
    _Alignas(64) _Atomic uint64_t state; // generation << 40 | tasks << 20 | next
    _Alignas(64) _Atomic uint64_t done;
    qn_task task;
    void *context;
    size_t base; // added to a task's number: jobs above the word's limit are run in pieces
    _Atomic bool stop;
    _Atomic int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    member *members; // count - 1
};

static inline void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#endif
}

static inline unsigned flush_denormals(void) {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); // FTZ and DAZ
    return before;
#else
    return 0;
#endif
}

static inline void restore_denormals(unsigned before) {
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

// Takes tasks of the current job until none is left.
static void work(qn_threads *team, int worker) {
    for (;;) {
        uint64_t taken = atomic_fetch_add_explicit(&team->state, 1, memory_order_acq_rel);
        uint64_t next = taken & COUNT_MASK, tasks = taken >> COUNT_BITS & COUNT_MASK;
        if (next >= tasks) return;
        team->task(team->context, team->base + next, worker);
        atomic_fetch_add_explicit(&team->done, 1, memory_order_release);
    }
}

static uint64_t generation(const qn_threads *team) {
    return atomic_load(&team->state) >> (2 * COUNT_BITS); // sequentially consistent: pairs with `sleepers`
}

static void *member_main(void *argument) {
    member *self = argument;
    qn_threads *team = self->team;
    uint64_t seen = 0;
    flush_denormals();
    for (;;) {
        for (int i = 0; i < SPINS && generation(team) == seen && !atomic_load(&team->stop); i++) relax();
        if (generation(team) == seen) {
            pthread_mutex_lock(&team->mutex);
            atomic_fetch_add(&team->sleepers, 1);
            while (generation(team) == seen && !atomic_load(&team->stop)) pthread_cond_wait(&team->wake, &team->mutex);
            atomic_fetch_sub(&team->sleepers, 1);
            pthread_mutex_unlock(&team->mutex);
        }
        if (atomic_load(&team->stop)) return NULL;
        seen = generation(team);
        work(team, self->worker);
    }
}

int qn_threads_available(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count;
}

qn_threads *qn_threads_create(int count) {
    qn_threads *team = qn_aligned_alloc(sizeof *team);
    if (!team) return NULL;
    *team = (qn_threads){.count = 1};
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->wake, NULL);
    team->members = qn_calloc((size_t)count, sizeof *team->members);
    if (!team->members) goto fail;
    for (int i = 1; i < count; i++) {
        team->members[i - 1] = (member){.team = team, .worker = i};
        int error = pthread_create(&team->members[i - 1].thread, NULL, member_main, &team->members[i - 1]);
        if (error) {
            qn_fail(QN_ERROR_MEMORY, "cannot start thread %d of %d", i + 1, count);
            goto fail;
        }
        team->count = i + 1;
    }
    return team;
fail:
    qn_threads_destroy(team);
    return NULL;
}

void qn_threads_destroy(qn_threads *team) {
    if (!team) return;
    pthread_mutex_lock(&team->mutex);
    atomic_store(&team->stop, true);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
    for (int i = 1; i < team->count; i++) pthread_join(team->members[i - 1].thread, NULL);
    free(team->members);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->mutex);
    qn_aligned_free(team);
}

int qn_threads_count(const qn_threads *team) {
    return team->count;
}

static void run_piece(qn_threads *team, size_t base, size_t tasks) {
    team->base = base;
    atomic_store_explicit(&team->done, 0, memory_order_relaxed);
    atomic_store(&team->state, (generation(team) + 1) << (2 * COUNT_BITS) | (uint64_t)tasks << COUNT_BITS);
    if (atomic_load(&team->sleepers) > 0) {
        pthread_mutex_lock(&team->mutex);
        pthread_cond_broadcast(&team->wake);
        pthread_mutex_unlock(&team->mutex);
    }
    work(team, 0);
    for (int i = 0; atomic_load_explicit(&team->done, memory_order_acquire) < tasks; i++) {
        if (i < SPINS)
            relax();
        else
            sched_yield();
    }
}

void qn_threads_run(qn_threads *team, size_t tasks, qn_task task, void *context) {
    const size_t most = COUNT_MASK / 2; // leaves room for late threads to count past the end
    unsigned control = flush_denormals();
    if (team->count == 1 || tasks <= 1) {
        for (size_t i = 0; i < tasks; i++) task(context, i, 0);
    } else {
        team->task = task;
        team->context = context;
        for (size_t base = 0; base < tasks; base += most)
            run_piece(team, base, tasks - base < most ? tasks - base : most);
    }
    restore_denormals(control);
}
