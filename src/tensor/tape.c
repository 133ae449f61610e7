#include "tensor/tape.h"

void qn_tape_result(qn_tape *tape, qn_tensor *result) {
    result->sibling = tape->results;
    tape->results = result;
}

qn_status qn_tape_push(qn_tape *tape, qn_arena *arena, qn_backward_function backward, void *record) {
    qn_tape_entry *entry = qn_arena_alloc(arena, 1, sizeof *entry);
    if (!entry) return QN_ERROR_MEMORY;
    *entry = (qn_tape_entry){tape->last, backward, record, tape->results};
    tape->last = entry;
    tape->results = NULL;
    tape->length++;
    return QN_OK;
}

void qn_tape_recycle_value(qn_tensor *t, qn_arena *memory) {
    qn_arena_recycle(memory, t->data, qn_count(t), sizeof *t->data);
    qn_arena_recycle(memory, t->narrow, qn_count(t), sizeof *t->narrow);
    t->data = NULL;
    t->narrow = NULL;
}

void qn_tape_run(qn_tape *tape, void *context, qn_arena *memory, bool keep_values) {
    for (qn_tape_entry *entry = tape->last; entry; entry = entry->previous) {
        entry->backward(context, entry->record);
        for (qn_tensor *t = entry->results; t; t = t->sibling) {
            qn_arena_recycle(memory, t->grad, qn_count(t), sizeof *t->grad);
            t->grad = NULL;
            t->has_grad = false;
            if (!keep_values) qn_tape_recycle_value(t, memory);
        }
    }
    *tape = (qn_tape){0};
}
