// A fixed team of threads that share out numbered tasks. Which thread runs which task is left to chance, so a task's
// result must not depend on it. oneDNN is called from inside tasks with its own threading off: there is one pool and no
// oversubscription.
#pragma once
#include "base/status.h"

typedef struct qn_threads qn_threads;
typedef void (*qn_task)(void *context, size_t index, int worker); // worker: 0 .. count-1, for scratch memory

qn_threads *qn_threads_create(int count); // count >= 1 including the caller; NULL with the last error set
void qn_threads_destroy(qn_threads *threads);
int qn_threads_count(const qn_threads *threads);
// Runs task(context, 0 .. tasks-1), the caller taking part; returns when all are done. Denormals are flushed to
// zero inside tasks, on the caller too, so that a task's result does not depend on the thread.
void qn_threads_run(qn_threads *threads, size_t tasks, qn_task task, void *context);
int qn_threads_available(void); // processors this process may run on
