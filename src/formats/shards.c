// Sharded weights: the index file that says which shard holds which tensor, read and written.
#include "formats/weights.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARD_DEFAULT 5000000000u // "5GB", the default of transformers' save_pretrained

// "model-00001-of-00003.safetensors" and room for more digits.
enum { SHARD_NAME = 64 };

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_shard_entries(const void *a, const void *b) {
    return strcmp(((const struct qn_shard_entry *)a)->tensor, ((const struct qn_shard_entry *)b)->tensor);
}

// A shard is a file of the folder itself: a name from a foreign index must not lead out of it.
static bool is_shard_name(const char *name) {
    size_t length = strlen(name);
    const char *suffix = ".safetensors";
    if (length <= strlen(suffix) || length > 255 || name[0] == '.') return false;
    if (strpbrk(name, "/\\:")) return false;
    return !strcmp(name + length - strlen(suffix), suffix);
}

static qn_status collect_shards(const json_t *map, const char *source, qn_shard_index *out) {
    const char *tensor;
    json_t *value;
    size_t count = json_object_size(map), filled = 0;
    const char **names = qn_malloc(count, sizeof *names);
    if (!names) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    json_object_foreach((json_t *)map, tensor, value) {
        const char *name = json_string_value(value);
        if (!name || !is_shard_name(name)) {
            status = qn_fail(QN_ERROR_FORMAT,
                             "%s: tensor \"%.100s\" is in \"%.100s\" (expected the name of a .safetensors file beside "
                             "the index)",
                             source, tensor, name ? name : "no file");
            goto done;
        }
        names[filled++] = name;
    }
    qsort(names, count, sizeof *names, compare_texts);
    out->shards = qn_calloc(count, sizeof *out->shards);
    if (!out->shards) status = QN_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        if (i && !strcmp(names[i - 1], names[i])) continue;
        out->shards[out->shard_count] = qn_strdup(names[i]);
        if (!out->shards[out->shard_count++]) status = QN_ERROR_MEMORY;
    }
done:
    free(names);
    return status;
}

static qn_status collect_entries(const json_t *map, qn_shard_index *out) {
    const char *tensor;
    json_t *value;
    out->entries = qn_calloc(json_object_size(map), sizeof *out->entries);
    if (!out->entries) return QN_ERROR_MEMORY;
    json_object_foreach((json_t *)map, tensor, value) {
        const char *name = json_string_value(value);
        char **shard = bsearch(&name, out->shards, out->shard_count, sizeof *out->shards, compare_texts);
        struct qn_shard_entry *entry = &out->entries[out->count++];
        entry->shard = shard ? (size_t)(shard - out->shards) : 0;
        entry->tensor = qn_strdup(tensor);
        if (!entry->tensor) return QN_ERROR_MEMORY;
    }
    qsort(out->entries, out->count, sizeof *out->entries, compare_shard_entries);
    return QN_OK;
}

qn_status qn_shard_index_parse(const char *text, size_t size, const char *source, qn_shard_index *out) {
    *out = (qn_shard_index){0};
    json_t *root;
    QN_TRY(qn_json_parse(text, size, source, &root));
    const json_t *map = json_object_get(root, "weight_map");
    qn_status status = QN_OK;
    if (!json_is_object(map) || !json_object_size(map))
        status = qn_fail(QN_ERROR_FORMAT, "%s: \"weight_map\" is %s (expected an object from tensor to file)", source,
                         !map                  ? "missing"
                         : json_is_object(map) ? "empty"
                                               : "no object");
    if (status == QN_OK) status = collect_shards(map, source, out);
    if (status == QN_OK) status = collect_entries(map, out);
    json_decref(root);
    if (status != QN_OK) qn_shard_index_free(out);
    return status;
}

void qn_shard_index_free(qn_shard_index *index) {
    for (size_t i = 0; i < index->shard_count; i++) free(index->shards[i]);
    for (size_t i = 0; i < index->count; i++) free(index->entries[i].tensor);
    free(index->shards);
    free(index->entries);
    *index = (qn_shard_index){0};
}

static void shard_name(char name[SHARD_NAME], size_t shard, size_t count) {
    snprintf(name, SHARD_NAME, "model-%05zu-of-%05zu.safetensors", shard + 1, count);
}

// Cuts the entries, in their order, into runs of at most `max_shard` bytes (one tensor may exceed it); starts[s] is the
// first entry of shard s, starts[count] the end. Returns the number of shards through *shards.
static qn_status cut(const qn_st_entry *entries, size_t count, size_t max_shard, size_t *starts, size_t *shards,
                     size_t *total) {
    size_t held = 0;
    *shards = 0;
    *total = 0;
    starts[(*shards)++] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        QN_TRY(qn_st_entry_size(&entries[i], &bytes));
        if (bytes > (size_t)INT64_MAX - *total)
            return qn_fail(QN_ERROR_ARGUMENT, "the tensors up to \"%.100s\" are larger than any file", entries[i].name);
        if (i > starts[*shards - 1] && (held > max_shard || bytes > max_shard - held)) {
            starts[(*shards)++] = i;
            held = 0;
        }
        held += bytes;
        *total += bytes;
    }
    starts[*shards] = count;
    return QN_OK;
}

static qn_status save_index(const char *folder, const qn_st_entry *entries, const size_t *starts, size_t shards,
                            size_t total) {
    qn_status status = QN_ERROR_MEMORY;
    char *path = qn_path_join(folder, "model.safetensors.index.json");
    json_t *map = json_object();
    json_t *root = json_pack("{s:{s:I},s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    if (!path || !map || !root) {
        qn_fail(QN_ERROR_MEMORY, "%s: out of memory for the index", folder);
        goto done;
    }
    char name[SHARD_NAME];
    for (size_t s = 0; s < shards; s++) {
        shard_name(name, s, shards);
        for (size_t i = starts[s]; i < starts[s + 1]; i++) {
            // A tensor that two shards hold would be a folder that nobody reads, this library included.
            if (json_object_get(map, entries[i].name)) {
                status = qn_fail(QN_ERROR_ARGUMENT, "%s: two tensors are called \"%.100s\"", path, entries[i].name);
                goto done;
            }
            if (json_object_set_new(map, entries[i].name, json_string(name))) {
                status = qn_fail(QN_ERROR_ARGUMENT, "%s: tensor \"%.100s\" has a name that JSON cannot hold", path,
                                 entries[i].name);
                goto done;
            }
        }
    }
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    qn_buffer lines = {0};
    if (text) qn_buffer_printf(&lines, "%s\n", text);
    if (!text)
        qn_fail(QN_ERROR_MEMORY, "%s: out of memory for the index", folder);
    else if ((status = qn_buffer_status(&lines)) == QN_OK)
        status = qn_write_file(path, lines.data, lines.size);
    qn_buffer_free(&lines);
    free(text);
done:
    json_decref(map);
    json_decref(root);
    free(path);
    return status;
}

// Whether `name` is a shard that an earlier save may have left, and not one of the `shards` just written.
static bool is_stale(const char *name, size_t shards) {
    size_t shard, count;
    int end = 0;
    if (sscanf(name, "model-%zu-of-%zu.safetensors%n", &shard, &count, &end) != 2 || !end || name[end]) return false;
    return count != shards || shard < 1 || shard > shards;
}

// Removes what an earlier save in another layout left: it would be read instead of, or counted with, the new files.
static qn_status remove_stale(const char *folder, size_t shards) {
    DIR *entries = opendir(folder);
    if (!entries) return qn_fail_errno(QN_ERROR_IO, "%s: cannot list the folder", folder);
    qn_status status = QN_OK;
    struct dirent *entry;
    while (status == QN_OK && (entry = readdir(entries))) {
        const char *name = entry->d_name;
        bool stale = shards ? !strcmp(name, "model.safetensors") : !strcmp(name, "model.safetensors.index.json");
        if (!stale && !is_stale(name, shards)) continue;
        char *path = qn_path_join(folder, name);
        if (!path) status = QN_ERROR_MEMORY;
        if (path && unlink(path) && errno != ENOENT) status = qn_fail_errno(QN_ERROR_IO, "%s: cannot remove", path);
        free(path);
    }
    closedir(entries);
    return status;
}

qn_status qn_weights_write(const char *folder, const qn_st_entry *entries, size_t count, const char *const *metadata,
                           size_t max_shard) {
    size_t shards, total, *starts = qn_malloc(count + 2, sizeof *starts);
    if (!starts) return QN_ERROR_MEMORY;
    qn_status status;
    QN_TRY_GOTO(status, cut(entries, count, max_shard ? max_shard : SHARD_DEFAULT, starts, &shards, &total), done);
    for (size_t s = 0; s < shards; s++) {
        char name[SHARD_NAME] = "model.safetensors";
        if (shards > 1) shard_name(name, s, shards);
        char *path = qn_path_join(folder, name);
        status = path ? qn_safetensors_write(path, entries + starts[s], starts[s + 1] - starts[s], metadata)
                      : QN_ERROR_MEMORY;
        free(path);
        if (status != QN_OK) goto done;
    }
    if (shards > 1) QN_TRY_GOTO(status, save_index(folder, entries, starts, shards, total), done);
    status = remove_stale(folder, shards > 1 ? shards : 0);
done:
    free(starts);
    return status;
}
