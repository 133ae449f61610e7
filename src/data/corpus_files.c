// The files of a corpus: files, folders and patterns, in the order of their names.
#include "base/file.h"
#include "base/memory.h"
#include "data/corpus_private.h"
#include <dirent.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 32 }; // of folders in folders; a loop of links ends here

typedef struct {
    char **files;
    size_t count, capacity;
} list;

static qn_status add_file(list *l, const char *path) {
    void *files = l->files;
    qn_status status = qn_grow(&files, &l->capacity, l->count + 1, sizeof *l->files);
    l->files = files;
    if (status != QN_OK) return status;
    l->files[l->count] = qn_strdup(path);
    return l->files[l->count] ? (l->count++, QN_OK) : QN_ERROR_MEMORY;
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

// By bytes, whatever the locale.
static int by_name(const struct dirent **left, const struct dirent **right) {
    return strcmp((*left)->d_name, (*right)->d_name);
}

static qn_status add_folder(list *l, const char *path, int depth) {
    if (depth > DEPTH) return qn_fail(QN_ERROR_FORMAT, "%s: folders are nested too deeply", path);
    struct dirent **entries;
    int count = scandir(path, &entries, visible, by_name);
    if (count < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot list", path);
    qn_status status = QN_OK;
    for (int i = 0; i < count; i++) {
        char *inner = status == QN_OK ? qn_path_join(path, entries[i]->d_name) : NULL;
        if (status == QN_OK)
            status = !inner                ? QN_ERROR_MEMORY
                     : qn_is_folder(inner) ? add_folder(l, inner, depth + 1)
                                           : add_file(l, inner);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static qn_status add_pattern(list *l, const char *pattern) {
    glob_t found;
    int error = glob(pattern, 0, NULL, &found);
    if (error == GLOB_NOMATCH) return qn_fail(QN_ERROR_IO, "%s: no such file", pattern);
    if (error != 0) return qn_fail(QN_ERROR_IO, "%s: cannot look for files", pattern);
    qn_status status = QN_OK;
    for (size_t i = 0; i < found.gl_pathc && status == QN_OK; i++)
        status = qn_is_folder(found.gl_pathv[i]) ? add_folder(l, found.gl_pathv[i], 0) : add_file(l, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

qn_status qn_corpus_files(const char *const *paths, size_t count, char ***files, size_t *file_count) {
    list l = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        if (strcmp(paths[i], "-") != 0 && qn_is_folder(paths[i]))
            status = add_folder(&l, paths[i], 0);
        else if (strpbrk(paths[i], "*?[") && !qn_is_file(paths[i]))
            status = add_pattern(&l, paths[i]);
        else
            status = add_file(&l, paths[i]);
    }
    if (status == QN_OK && l.count == 0)
        status = qn_fail(QN_ERROR_ARGUMENT, "%s: no files (expected text)", count > 0 ? paths[0] : "the corpus");
    *files = l.files;
    *file_count = l.count;
    return status;
}
