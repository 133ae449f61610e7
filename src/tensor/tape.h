// The tape: what forward did, so that backward can undo it in reverse order. A record is the operation's own struct;
// tape and records live in an arena and vanish with its reset.
#pragma once
#include "tensor/tensor.h"

typedef void (*qn_backward_function)(void *context, void *record);

typedef struct qn_tape_entry {
    struct qn_tape_entry *previous;
    qn_backward_function backward;
    void *record;
    qn_tensor *results; // of this operation, linked by `sibling`
} qn_tape_entry;

typedef struct {
    qn_tape_entry *last;
    qn_tensor *results; // made since the last entry: those of the operation that is being recorded
    size_t length;
} qn_tape;

void qn_tape_result(qn_tape *tape, qn_tensor *result); // made by the operation that pushes the next entry
void qn_tape_recycle_value(qn_tensor *t, qn_arena *memory); // t's value is forgotten
// Remembers backward(context, record). QN_ERROR_MEMORY when the arena has none left.
qn_status qn_tape_push(qn_tape *tape, qn_arena *arena, qn_backward_function backward, void *record);
// Calls every backward, last first, and empties the tape. Once an operation's backward has run, nobody needs its
// results' gradients, nor, unless `keep_values`, their values: they are recycled in `memory`, the arena they are from.
void qn_tape_run(qn_tape *tape, void *context, qn_arena *memory, bool keep_values);
