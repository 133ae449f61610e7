// The names of classes and their numbers.
#pragma once
#include "data/reader.h"

// Start with zeros. Read-only use is safe in any number of threads.
typedef struct {
    char **names; // [count], by id
    size_t count, capacity;
    uint32_t *slots; // hash table: id + 1, 0 where free
    size_t slot_count;
    bool any_integer; // a name is a whole number: then numbers are names, not ids
} qn_labels;

void qn_labels_free(qn_labels *labels);
// The id of a name, which is copied and gets the next id if it is new.
qn_status qn_labels_add(qn_labels *labels, qn_span name, int32_t *id);
// Gives the ids an order that does not depend on the order of the data: numeric if all names are whole numbers, else by
// bytes. `renumber`, if not NULL, is [count]: the new id of each old one.
qn_status qn_labels_sort(qn_labels *labels, int32_t *renumber);
// The names of a model's configuration, in their order.
qn_status qn_labels_set(qn_labels *labels, const char *const *names, size_t count);
// The id of a name, or -1. A whole number that is no name counts as an id if no name is a number, so that data with 0,
// 1, 2 fits a model whose classes are called LABEL_0 or NEGATIVE.
int32_t qn_labels_find(const qn_labels *labels, qn_span name);
// The same; an unknown name is an error that names FILE:LINE, the label and the first known ones.
qn_status qn_labels_lookup(const qn_labels *labels, qn_span name, const char *file, int64_t line, int32_t *id);
