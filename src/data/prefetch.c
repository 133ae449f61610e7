// A ring of batches: one thread fills it, another one takes from it.
#include "data/prefetch.h"
#include "base/memory.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qn_prefetch {
    qn_source source;
    pthread_t thread;
    bool threaded;
    pthread_mutex_t mutex;
    pthread_cond_t filled, freed;
    qn_batch *slots; // [depth]
    size_t depth;
    // Under the mutex. Slots first .. first+count-1 (modulo depth) are full; the first of them is the caller's if
    // `lent`.
    size_t first, count;
    bool lent, stop, finished;
    qn_status status; // of the source, once finished
    char message[1024];
};

static void *produce(void *argument) {
    qn_prefetch *p = argument;
    pthread_mutex_lock(&p->mutex);
    while (!p->stop && !p->finished) {
        if (p->count == p->depth) {
            pthread_cond_wait(&p->freed, &p->mutex);
            continue;
        }
        qn_batch *slot = &p->slots[(p->first + p->count) % p->depth];
        pthread_mutex_unlock(&p->mutex);
        bool end = false;
        qn_status status = p->source.next(p->source.self, slot, &end);
        pthread_mutex_lock(&p->mutex);
        if (status != QN_OK) snprintf(p->message, sizeof p->message, "%s", qn_last_error());
        p->status = status;
        p->finished = end || status != QN_OK;
        p->count += !p->finished;
        pthread_cond_signal(&p->filled);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

// Signals are for the threads of the program, which save and leave; this one takes none.
static int start_thread(qn_prefetch *p) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&p->thread, NULL, produce, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

qn_status qn_prefetch_start(qn_source source, size_t depth, qn_prefetch **out) {
    *out = NULL;
    qn_prefetch *p = qn_calloc(1, sizeof *p);
    if (!p) return QN_ERROR_MEMORY;
    p->source = source;
    p->depth = depth < 2 ? 1 : depth;
    p->slots = qn_calloc(p->depth, sizeof *p->slots);
    if (!p->slots) {
        free(p);
        return QN_ERROR_MEMORY;
    }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->filled, NULL);
    pthread_cond_init(&p->freed, NULL);
    p->threaded = depth >= 2;
    if (p->threaded && start_thread(p) != 0) {
        p->threaded = false;
        qn_prefetch_stop(p);
        return qn_fail(QN_ERROR_IO, "cannot start a thread for reading data");
    }
    *out = p;
    return QN_OK;
}

static qn_status next_here(qn_prefetch *p, qn_batch **batch, bool *end) {
    if (!p->finished) {
        p->status = p->source.next(p->source.self, &p->slots[0], end);
        p->finished = *end || p->status != QN_OK;
        if (p->status != QN_OK) snprintf(p->message, sizeof p->message, "%s", qn_last_error());
    }
    *end = p->finished && p->status == QN_OK;
    *batch = p->finished ? NULL : &p->slots[0];
    return p->status == QN_OK ? QN_OK : qn_fail(p->status, "%s", p->message);
}

qn_status qn_prefetch_next(qn_prefetch *p, qn_batch **batch, bool *end) {
    *end = false;
    *batch = NULL;
    if (!p->threaded) return next_here(p, batch, end);
    pthread_mutex_lock(&p->mutex);
    if (p->lent) {
        p->first = (p->first + 1) % p->depth;
        p->count--;
        p->lent = false;
        pthread_cond_signal(&p->freed);
    }
    while (p->count == 0 && !p->finished) pthread_cond_wait(&p->filled, &p->mutex);
    qn_status status = QN_OK;
    if (p->count > 0) {
        *batch = &p->slots[p->first];
        p->lent = true;
    } else {
        status = p->status;
        *end = status == QN_OK;
    }
    pthread_mutex_unlock(&p->mutex);
    // After the end the thread writes the message no more.
    return status == QN_OK ? QN_OK : qn_fail(status, "%s", p->message);
}

void qn_prefetch_stop(qn_prefetch *p) {
    if (!p) return;
    if (p->threaded) {
        pthread_mutex_lock(&p->mutex);
        p->stop = true;
        pthread_cond_signal(&p->freed);
        pthread_mutex_unlock(&p->mutex);
        pthread_join(p->thread, NULL);
    }
    for (size_t i = 0; i < p->depth; i++) qn_batch_free(&p->slots[i]);
    pthread_cond_destroy(&p->filled);
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->mutex);
    free(p->slots);
    free(p);
}
