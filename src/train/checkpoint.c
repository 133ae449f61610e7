// See checkpoint.h. A checkpoint is written under a name that starts with a dot, synced, and renamed.
#include "train/checkpoint.h"
#include "base/file.h"
#include "formats/weights.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "checkpoint-", PARTIAL[] = ".checkpoint-";

static char *numbered(const char *output, const char *prefix, int64_t step) {
    char name[64];
    snprintf(name, sizeof name, "%s%" PRId64, prefix, step);
    return qn_path_join(output, name);
}

enum { NAME_SIZE = 384 };

// Of optimizer.safetensors.
static const char *const whole_names[] = {"moment1", "moment2", "weights"};

static const char *idle_name(const qn_lazy_table *table, char name[NAME_SIZE]) {
    snprintf(name, NAME_SIZE, "idle.%s", table->parameter->name);
    return name;
}

// The moments [size], the weights [size] where the model's file has their mean, and for each table that trains by rows
// its rows' updates without a gradient, idle.NAME [rows].
static qn_status save_optimizer(const char *folder, const qn_optimizer *o, const qn_average *average) {
    const int64_t size = (int64_t)o->set->trained;
    size_t rows = 0;
    for (size_t i = 0; i < o->table_count; i++) rows += o->tables[i].parameter->tensor.used->size;
    qn_st_entry *entries = qn_calloc(3 + o->table_count, sizeof *entries);
    char(*names)[NAME_SIZE] = qn_calloc(o->table_count, sizeof *names);
    float *idle = qn_malloc(rows, sizeof *idle), *next = idle;
    char *path = qn_path_join(folder, "optimizer.safetensors");
    qn_status status = entries && names && idle && path ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        const float *whole[] = {o->set->moment1, o->set->moment2, average ? average->values : NULL};
        size_t count = 0;
        for (; count < 3 && whole[count]; count++)
            entries[count] = (qn_st_entry){.name = whole_names[count],
                                           .dtype = QN_ST_F32,
                                           .dims = 1,
                                           .shape = {size},
                                           .values = whole[count]};
        for (size_t i = 0; i < o->table_count; i++) {
            const qn_lazy_table *t = &o->tables[i];
            entries[count++] = (qn_st_entry){.name = idle_name(t, names[i]),
                                           .dtype = QN_ST_F32,
                                           .dims = 1,
                                           .shape = {(int64_t)t->parameter->tensor.used->size},
                                           .values = next};
            qn_optimizer_save_idle(o, i, next);
            next += t->parameter->tensor.used->size;
        }
        status = qn_safetensors_write(path, entries, count, NULL);
    }
    free(path);
    free(idle);
    free(names);
    free(entries);
    return status;
}

// The numbers that are kept, by key; reals are written with 17 digits, which restores them exactly.
#define INTEGERS(X) X(step) X(updates) X(skipped) X(skipped_in_a_row) X(best_step) X(evaluations_without_improvement)
#define REALS(X) X(seconds) X(tokens) X(padded) X(typical_norm) X(best_value) X(last_loss)

static qn_status save_state(const char *folder, const qn_training_state *state) {
    qn_buffer text = {0};
    qn_buffer_printf(&text, "{\n  \"seed\": \"%" PRIu64 "\",\n", state->seed);
#define WRITE(name) qn_buffer_printf(&text, "  \"" #name "\": %" PRId64 ",\n", state->name);
    INTEGERS(WRITE)
#undef WRITE
#define WRITE(name)                                                                                                    \
    qn_buffer_text(&text, "  \"" #name "\": ");                                                                        \
    qn_buffer_json_number(&text, state->name, 17);                                                                     \
    qn_buffer_text(&text, ",\n");
    REALS(WRITE)
#undef WRITE
    qn_buffer_text(&text, "  \"position\": ");
    qn_data_position_write(&state->position, &text);
    qn_buffer_text(&text, "\n}\n");
    qn_status status = qn_buffer_status(&text);
    char *path = status == QN_OK ? qn_path_join(folder, "trainer_state.json") : NULL;
    if (status == QN_OK) status = path ? qn_write_file(path, text.data, text.size) : QN_ERROR_MEMORY;
    free(path);
    qn_buffer_free(&text);
    return status;
}

qn_status qn_checkpoint_save(const char *output, qn_status (*model)(void *user, const char *folder), void *user,
                             const qn_optimizer *optimizer, const qn_average *average,
                             const qn_training_state *state) {
    char *partial = numbered(output, PARTIAL, state->step), *whole = numbered(output, PREFIX, state->step);
    qn_status status = partial && whole ? qn_remove_tree(partial) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_make_folders(partial);
    if (status == QN_OK) status = model(user, partial);
    if (status == QN_OK) status = save_optimizer(partial, optimizer, average);
    if (status == QN_OK) status = save_state(partial, state);
    if (status == QN_OK) status = qn_sync_folder(partial);
    if (status == QN_OK) status = qn_rename_folder(partial, whole);
    if (status != QN_OK && partial) qn_remove_tree(partial); // a full disk gets its room back
    free(partial);
    free(whole);
    return status;
}

// The step in a name like "checkpoint-120"; -1 for other names.
static int64_t step_of(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9') return -1;
    char *end;
    errno = 0;
    long long step = strtoll(name + length, &end, 10);
    return *end || errno ? -1 : step;
}

static int by_step_downwards(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

// The steps of folders with such names, the newest first.
static qn_status list_steps(const char *output, const char *prefix, int64_t **steps, size_t *count) {
    size_t capacity = 0;
    qn_status status = QN_OK;
    DIR *folder = opendir(output);
    *steps = NULL;
    *count = 0;
    for (struct dirent *entry; folder && status == QN_OK && (entry = readdir(folder));) {
        int64_t step = step_of(entry->d_name, prefix);
        if (step < 0) continue;
        status = qn_grow((void **)steps, &capacity, *count + 1, sizeof **steps);
        if (status == QN_OK) (*steps)[(*count)++] = step;
    }
    if (folder) closedir(folder);
    if (*count) qsort(*steps, *count, sizeof **steps, by_step_downwards);
    if (status != QN_OK) {
        free(*steps);
        *steps = NULL;
        *count = 0;
    }
    return status;
}

qn_status qn_checkpoint_steps(const char *output, int64_t **steps, size_t *count) {
    return list_steps(output, PREFIX, steps, count);
}

char *qn_checkpoint_path(const char *output, int64_t step) {
    return numbered(output, PREFIX, step);
}

char *qn_checkpoint_newest(const char *output) {
    int64_t *steps;
    size_t count;
    char *newest = NULL;
    if (qn_checkpoint_steps(output, &steps, &count) == QN_OK && count) newest = numbered(output, PREFIX, steps[0]);
    free(steps);
    return newest;
}

// Removes the folders with such names from place `first` on, but for the one of step `kept`.
static qn_status remove_old(const char *output, const char *prefix, size_t first, int64_t kept) {
    int64_t *steps;
    size_t count;
    QN_TRY(list_steps(output, prefix, &steps, &count));
    qn_status status = QN_OK;
    for (size_t i = first; i < count && status == QN_OK; i++) {
        if (steps[i] == kept) continue;
        char *path = numbered(output, prefix, steps[i]);
        status = path ? qn_remove_tree(path) : QN_ERROR_MEMORY;
        free(path);
    }
    free(steps);
    return status;
}

qn_status qn_checkpoint_prune(const char *output, int keep, int64_t best_step) {
    QN_TRY(remove_old(output, PARTIAL, 0, -1));
    return remove_old(output, PREFIX, (size_t)(keep < 1 ? 1 : keep), best_step);
}

static qn_status read_state(const char *folder, qn_training_state *state) {
    char *path = qn_path_join(folder, "trainer_state.json");
    json_t *json = NULL, *position = NULL;
    const char *seed = NULL;
    qn_status status = path ? qn_json_load(path, &json) : QN_ERROR_MEMORY;
#define READ(name)                                                                                                     \
    if (status == QN_OK) status = qn_json_int(json, path, #name, true, -1, INT64_MAX, &state->name);
    INTEGERS(READ)
#undef READ
#define READ(name)                                                                                                     \
    if (status == QN_OK) status = qn_json_real(json, path, #name, false, -1e300, 1e300, &state->name);
    REALS(READ)
#undef READ
    if (status == QN_OK) status = qn_json_string(json, path, "seed", true, &seed);
    if (status == QN_OK) state->seed = strtoull(seed, NULL, 10);
    if (status == QN_OK) status = qn_json_object(json, path, "position", true, &position);
    if (status == QN_OK) status = qn_data_position_read(position, path, &state->position);
    json_decref(json);
    free(path);
    return status;
}

static qn_status read_idle(qn_weights *moments, qn_optimizer *o, size_t table) {
    const qn_lazy_table *t = &o->tables[table];
    const int64_t shape[1] = {(int64_t)t->parameter->tensor.used->size};
    char name[NAME_SIZE];
    float *idle = qn_malloc((size_t)shape[0], sizeof *idle);
    qn_status status = idle ? qn_weights_read_f32(moments, idle_name(t, name), 1, shape, idle) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_optimizer_restore_idle(o, table, idle);
    free(idle);
    return status;
}

// The network has the mean, as it was loaded.
static qn_status read_weights(qn_weights *file, const char *folder, const int64_t *shape, qn_average *average) {
    bool there = qn_weights_find(file, whole_names[2]) != NULL;
    if (there != (average != NULL))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: was trained with%s a running mean of the weights (expected %s)", folder,
                       there ? "" : "out", there ? "the same decay" : "none");
    if (!average) return QN_OK;
    QN_TRY(qn_weights_read_f32(file, whole_names[2], 1, shape, average->values));
    qn_average_swap(average);
    return QN_OK;
}

qn_status qn_checkpoint_restore(const char *folder, qn_optimizer *o, qn_average *average, qn_training_state *state) {
    *state = (qn_training_state){.best_step = -1};
    QN_TRY(read_state(folder, state));
    const int64_t shape[1] = {(int64_t)o->set->trained};
    char *path = qn_path_join(folder, "optimizer.safetensors");
    qn_weights *moments = NULL;
    qn_status status = path ? qn_weights_open(path, &moments) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_weights_read_f32(moments, whole_names[0], 1, shape, o->set->moment1);
    if (status == QN_OK) status = qn_weights_read_f32(moments, whole_names[1], 1, shape, o->set->moment2);
    if (status == QN_OK) status = read_weights(moments, folder, shape, average);
    qn_optimizer_restore(o, state->updates);
    for (size_t i = 0; status == QN_OK && i < o->table_count; i++) status = read_idle(moments, o, i);
    qn_weights_close(moments);
    free(path);
    return status;
}
