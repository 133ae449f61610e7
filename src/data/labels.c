// The names of classes: a list by id, and a hash table over it.
#include "data/labels.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "data/hash.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void qn_labels_free(qn_labels *labels) {
    for (size_t i = 0; i < labels->count; i++) free(labels->names[i]);
    free(labels->names);
    free(labels->slots);
    *labels = (qn_labels){0};
}

// True for what qn_labels_sort orders by value: an optional minus and at most 18 digits.
static bool is_integer(qn_span name, int64_t *value) {
    size_t i = name.size > 0 && name.data[0] == '-';
    int64_t number = 0;
    if (name.size == i || name.size - i > 18) return false;
    for (size_t at = i; at < name.size; at++) {
        if (name.data[at] < '0' || name.data[at] > '9') return false;
        number = number * 10 + (name.data[at] - '0');
    }
    *value = i ? -number : number;
    return true;
}

// Where the name is, or the free slot where it would go. There is always a free one.
static uint32_t *slot_of(const qn_labels *labels, qn_span name) {
    size_t mask = labels->slot_count - 1, at = (size_t)qn_hash(0, name.data, name.size) & mask;
    for (;; at = (at + 1) & mask) {
        uint32_t id = labels->slots[at];
        if (id == 0) return &labels->slots[at];
        const char *known = labels->names[id - 1];
        if (strlen(known) == name.size && memcmp(known, name.data, name.size) == 0) return &labels->slots[at];
    }
}

static void fill_slots(qn_labels *labels) {
    memset(labels->slots, 0, labels->slot_count * sizeof *labels->slots);
    for (size_t i = 0; i < labels->count; i++)
        *slot_of(labels, (qn_span){labels->names[i], strlen(labels->names[i])}) = (uint32_t)i + 1;
}

static qn_status make_room(qn_labels *labels) {
    if (labels->count >= INT32_MAX - 1) return qn_fail(QN_ERROR_UNSUPPORTED, "more than %d labels", INT32_MAX - 1);
    void *names = labels->names;
    qn_status status = qn_grow(&names, &labels->capacity, labels->count + 1, sizeof *labels->names);
    labels->names = names;
    if (status != QN_OK || 2 * (labels->count + 1) <= labels->slot_count) return status;
    size_t slot_count = labels->slot_count ? 2 * labels->slot_count : 64;
    uint32_t *slots = qn_malloc(slot_count, sizeof *slots);
    if (!slots) return QN_ERROR_MEMORY;
    free(labels->slots);
    labels->slots = slots;
    labels->slot_count = slot_count;
    fill_slots(labels);
    return QN_OK;
}

qn_status qn_labels_add(qn_labels *labels, qn_span name, int32_t *id) {
    QN_TRY(make_room(labels));
    uint32_t *slot = slot_of(labels, name);
    if (*slot == 0) {
        char *copy = qn_strndup(name.data, name.size);
        if (!copy) return QN_ERROR_MEMORY;
        int64_t value;
        labels->any_integer |= is_integer(name, &value);
        labels->names[labels->count++] = copy;
        *slot = (uint32_t)labels->count;
    }
    if (id) *id = (int32_t)*slot - 1;
    return QN_OK;
}

typedef struct {
    char *name;
    int64_t value;
    int32_t old;
} sort_item;

static int by_value(const void *left, const void *right) {
    const sort_item *a = left, *b = right;
    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    return strcmp(a->name, b->name); // 1 and 01
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const sort_item *)left)->name, ((const sort_item *)right)->name);
}

qn_status qn_labels_sort(qn_labels *labels, int32_t *renumber) {
    if (labels->count == 0) return QN_OK;
    sort_item *items = qn_malloc(labels->count, sizeof *items);
    if (!items) return QN_ERROR_MEMORY;
    bool numeric = true;
    for (size_t i = 0; i < labels->count; i++) {
        items[i] = (sort_item){labels->names[i], 0, (int32_t)i};
        numeric &= is_integer((qn_span){labels->names[i], strlen(labels->names[i])}, &items[i].value);
    }
    qsort(items, labels->count, sizeof *items, numeric ? by_value : by_name);
    for (size_t i = 0; i < labels->count; i++) {
        labels->names[i] = items[i].name;
        if (renumber) renumber[items[i].old] = (int32_t)i;
    }
    free(items);
    fill_slots(labels);
    return QN_OK;
}

qn_status qn_labels_set(qn_labels *labels, const char *const *names, size_t count) {
    qn_labels_free(labels);
    for (size_t i = 0; i < count; i++) {
        int32_t id;
        qn_status status = qn_labels_add(labels, (qn_span){names[i], strlen(names[i])}, &id);
        if (status == QN_OK && (size_t)id != i)
            status = qn_fail(QN_ERROR_FORMAT, "the label \"%s\" occurs twice (expected distinct labels)", names[i]);
        if (status != QN_OK) {
            qn_labels_free(labels);
            return status;
        }
    }
    return QN_OK;
}

int32_t qn_labels_find(const qn_labels *labels, qn_span name) {
    if (labels->count == 0) return -1;
    uint32_t id = *slot_of(labels, name);
    int64_t value;
    if (id == 0 && !labels->any_integer && is_integer(name, &value) && value >= 0 && (uint64_t)value < labels->count)
        return (int32_t)value;
    return (int32_t)id - 1;
}

qn_status qn_labels_lookup(const qn_labels *labels, qn_span name, const char *file, int64_t line, int32_t *id) {
    *id = qn_labels_find(labels, name);
    if (*id >= 0) return QN_OK;
    qn_buffer known = {0};
    for (size_t i = 0; i < labels->count && i < 8; i++)
        qn_buffer_printf(&known, "%s\"%.40s\"", i ? ", " : "", labels->names[i]);
    if (labels->count > 8) qn_buffer_printf(&known, ", ... (%zu in all)", labels->count);
    qn_fail(QN_ERROR_FORMAT, "%s:%lld: the label \"%.*s\" is not one of the model's (expected %s)", file,
            (long long)line, (int)(name.size < 80 ? name.size : 80), name.data,
            known.data ? known.data : "none: it has no labels");
    qn_buffer_free(&known);
    return QN_ERROR_FORMAT;
}
