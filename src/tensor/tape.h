// The tape: what forward did, so that backward can undo it in reverse order. A record is the operation's own struct;
// tape and records live in an arena and vanish with its reset.
#pragma once
#include "base/memory.h"

typedef void (*qn_backward_function)(void *context, void *record);

typedef struct qn_tape_entry {
    struct qn_tape_entry *previous;
    qn_backward_function backward;
    void *record;
} qn_tape_entry;

typedef struct {
    qn_tape_entry *last;
    size_t length;
} qn_tape;

// Remembers backward(context, record). QN_ERROR_MEMORY when the arena has none left.
qn_status qn_tape_push(qn_tape *tape, qn_arena *arena, qn_backward_function backward, void *record);
// Calls every backward, last first, and empties the tape.
void qn_tape_run(qn_tape *tape, void *context);
