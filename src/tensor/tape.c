#include "tensor/tape.h"

qn_status qn_tape_push(qn_tape *tape, qn_arena *arena, qn_backward_function backward, void *record) {
    qn_tape_entry *entry = qn_arena_alloc(arena, 1, sizeof *entry);
    if (!entry) return QN_ERROR_MEMORY;
    *entry = (qn_tape_entry){tape->last, backward, record};
    tape->last = entry;
    tape->length++;
    return QN_OK;
}

void qn_tape_run(qn_tape *tape, void *context) {
    for (qn_tape_entry *entry = tape->last; entry; entry = entry->previous) entry->backward(context, entry->record);
    *tape = (qn_tape){0};
}
