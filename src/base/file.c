// Files and folders over POSIX. Whatever replaces something that exists does so by one rename.
#include "base/file.h"
#include "base/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// --- Reading ---

qn_status qn_map_file(const char *path, qn_mapping *out) {
    *out = (qn_mapping){0};
    int file =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // O_NONBLOCK: a named pipe must not hang us before it is refused
    if (file < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot open", path);
    qn_status status = QN_OK;
    struct stat info;
    if (fstat(file, &info) != 0) {
        status = qn_fail_errno(QN_ERROR_IO, "%s: cannot read", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = qn_fail(QN_ERROR_FORMAT, "%s: is a %s (expected a file)", path,
                         S_ISDIR(info.st_mode)    ? "folder"
                         : S_ISFIFO(info.st_mode) ? "pipe"
                                                  : "device or socket");
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            status = qn_fail_errno(errno == ENOMEM ? QN_ERROR_MEMORY : QN_ERROR_IO, "%s: cannot map %lld bytes", path,
                                   (long long)info.st_size);
        } else {
            *out = (qn_mapping){.data = data, .size = (size_t)info.st_size};
        }
    }
    close(file);
    return status;
}

static qn_status open_unnamed(const char *folder, size_t bytes, int *file) {
    char *path = qn_path_join(folder, ".scratch-XXXXXX");
    if (!path) return QN_ERROR_MEMORY;
    *file = mkstemp(path);
    if (*file >= 0) unlink(path);
    free(path);
    if (*file < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot make a file", folder);
    errno = posix_fallocate(*file, 0, (off_t)bytes); // a full disk is an error now, not a signal later
    if (errno == 0) return QN_OK;
    qn_status status = qn_fail_errno(QN_ERROR_IO, "%s: cannot take %zu bytes", folder, bytes);
    close(*file);
    return status;
}

qn_status qn_map_scratch(const char *folder, size_t bytes, void **out) {
    int file = -1, kind = folder ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    *out = NULL;
    if (bytes == 0) return QN_OK;
    if (folder) QN_TRY(open_unnamed(folder, bytes, &file));
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kind, file, 0);
    qn_status status =
        data == MAP_FAILED ? qn_fail_errno(QN_ERROR_MEMORY, "cannot map %zu bytes of memory", bytes) : QN_OK;
    if (file >= 0) close(file);
    if (status == QN_OK) *out = data;
    return status;
}

void qn_unmap(qn_mapping *mapping) {
    if (mapping->data != NULL) munmap((void *)(uintptr_t)mapping->data, mapping->size);
    *mapping = (qn_mapping){0};
}

void qn_forget_pages(const void *data, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)data + page - 1) / page * page,
              last = ((uintptr_t)data + size) / page * page;
    if (first < last) (void)madvise((void *)first, last - first, MADV_DONTNEED); // a wish: what fails costs memory
}

qn_status qn_read_file(const char *path, size_t limit, qn_buffer *out) {
    qn_buffer_clear(out);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot open", path);
    qn_status status = QN_OK;
    struct stat info;
    if (fstat(file, &info) == 0 && S_ISREG(info.st_mode)) {
        // Room for all at once, and the answer to a file that is too large before it is read.
        if ((uintmax_t)info.st_size > limit) goto too_large;
        QN_TRY_GOTO(status, qn_grow((void **)&out->data, &out->capacity, (size_t)info.st_size + 1, 1), done);
        out->data[0] = '\0';
    }
    char block[65536];
    for (;;) {
        ssize_t got = read(file, block, sizeof block);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = qn_fail_errno(QN_ERROR_IO, "%s: cannot read", path);
            goto done;
        }
        if (got == 0) break;
        if ((size_t)got > limit - out->size) goto too_large;
        qn_buffer_append(out, block, (size_t)got);
        QN_TRY_GOTO(status, qn_buffer_status(out), done);
    }
    goto done;
too_large:
    status = qn_fail(QN_ERROR_FORMAT, "%s: is too large (expected at most %zu bytes)", path, limit);
done:
    close(file);
    if (status != QN_OK) qn_buffer_clear(out);
    return status;
}

// --- Writing ---

struct qn_writer {
    char *path, *temporary; // temporary is NULL when a device or pipe is written as it is
    int file, error;        // error: errno of the first failed write
    size_t used;
    char block[65536];
};

static void writer_free(qn_writer *writer) {
    if (writer == NULL) return;
    if (writer->file >= 0) close(writer->file);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

// The folder that `path` lies in, on the heap.
static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) return qn_strdup(".");
    return qn_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

// FOLDER/.NAME.tmp: one name for each target, so that what a killed process left behind is overwritten by the next.
static char *temporary_of(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash != NULL ? (size_t)(slash - path) + 1 : 0, size = strlen(path) + sizeof "..tmp";
    char *name = qn_malloc(size, 1);
    if (name != NULL) snprintf(name, size, "%.*s.%s.tmp", (int)folder, path, path + folder);
    return name;
}

// Opens and locks the temporary file. Another writer may rename it between our open and our lock; then we hold its
// finished file and must begin again.
static qn_status open_temporary(qn_writer *writer) {
    for (int attempt = 0; attempt < 100; attempt++) {
        writer->file = open(writer->temporary, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (writer->file < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot create", writer->path);
        if (flock(writer->file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
            return qn_fail(QN_ERROR_IO, "%s: is being written by another process or thread", writer->path);
        struct stat ours, there;
        if (fstat(writer->file, &ours) != 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot create", writer->path);
        if (!S_ISREG(ours.st_mode))
            return qn_fail(QN_ERROR_IO, "%s: %s is not a file", writer->path, writer->temporary);
        if (lstat(writer->temporary, &there) == 0 && there.st_ino == ours.st_ino && there.st_dev == ours.st_dev) {
            if (ftruncate(writer->file, 0) != 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot create", writer->path);
            return QN_OK;
        }
        close(writer->file);
        writer->file = -1;
    }
    return qn_fail(QN_ERROR_IO, "%s: is being written by other processes", writer->path);
}

qn_status qn_writer_open(const char *path, qn_writer **out) {
    *out = NULL;
    qn_writer *writer = qn_malloc(1, sizeof *writer);
    if (writer == NULL) return QN_ERROR_MEMORY;
    writer->path = writer->temporary = NULL;
    writer->file = -1;
    writer->error = 0;
    writer->used = 0;

    qn_status status = QN_ERROR_MEMORY;
    struct stat info;
    bool exists = lstat(path, &info) == 0;
    // A link stays a link, and the file it points to is replaced. A link to nothing is replaced itself.
    if (exists && S_ISLNK(info.st_mode) && (exists = stat(path, &info) == 0)) {
        char *target = realpath(path, NULL);
        writer->path = target != NULL ? qn_strdup(target) : qn_strdup(path);
        free(target);
    } else {
        writer->path = qn_strdup(path);
    }
    if (writer->path == NULL) goto fail;
    if (exists && S_ISDIR(info.st_mode)) {
        status = qn_fail(QN_ERROR_IO, "%s: is a folder (expected a file to write)", path);
        goto fail;
    }
    if (exists && !S_ISREG(info.st_mode)) {
        // A rename over /dev/null or a named pipe would replace the device, which is never meant.
        writer->file = open(writer->path, O_WRONLY | O_CLOEXEC);
        if (writer->file < 0) {
            status = qn_fail_errno(QN_ERROR_IO, "%s: cannot open for writing", path);
            goto fail;
        }
        *out = writer;
        return QN_OK;
    }
    writer->temporary = temporary_of(writer->path);
    if (writer->temporary == NULL) goto fail;
    QN_TRY_GOTO(status, open_temporary(writer), fail);
    if (exists) fchmod(writer->file, info.st_mode & 07777); // permissions stay; where that is refused the defaults do
    *out = writer;
    return QN_OK;
fail:
    writer_free(writer);
    return status;
}

static qn_status writer_failed(const qn_writer *writer) {
    errno = writer->error;
    return qn_fail_errno(QN_ERROR_IO, "%s: cannot write", writer->path);
}

static qn_status write_all(qn_writer *writer, const char *data, size_t size) {
    while (size > 0 && writer->error == 0) {
        ssize_t done = write(writer->file, data, size < 1u << 30 ? size : 1u << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            writer->error = errno;
        } else {
            data += done;
            size -= (size_t)done;
        }
    }
    return writer->error == 0 ? QN_OK : writer_failed(writer);
}

static qn_status writer_flush(qn_writer *writer) {
    size_t size = writer->used;
    writer->used = 0;
    return write_all(writer, writer->block, size);
}

qn_status qn_writer_write(qn_writer *writer, const void *data, size_t size) {
    if (writer->error != 0) return writer_failed(writer);
    if (size > sizeof writer->block - writer->used) {
        QN_TRY(writer_flush(writer));
        if (size >= sizeof writer->block) return write_all(writer, data, size);
    }
    if (size > 0) memcpy(writer->block + writer->used, data, size);
    writer->used += size;
    return QN_OK;
}

qn_status qn_writer_patch(qn_writer *writer, uint64_t offset, const void *data, size_t size) {
    if (writer->error != 0) return writer_failed(writer);
    QN_TRY(writer_flush(writer));
    const char *from = data;
    while (size > 0) {
        ssize_t done = pwrite(writer->file, from, size < 1u << 30 ? size : 1u << 30, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            writer->error = errno;
            return writer_failed(writer);
        }
        from += done;
        offset += (uint64_t)done;
        size -= (size_t)done;
    }
    return QN_OK;
}

qn_status qn_writer_commit(qn_writer *writer) {
    qn_status status = writer_flush(writer);
    if (status != QN_OK) {
        qn_writer_abort(writer);
        return status;
    }
    if (writer->temporary == NULL) { // a device or pipe: nothing to sync or rename
        int closed = close(writer->file);
        writer->file = -1;
        if (closed != 0) status = qn_fail_errno(QN_ERROR_IO, "%s: cannot write", writer->path);
        writer_free(writer);
        return status;
    }
    // Synced before the rename, or a power cut could leave the new name with no content. The lock is held until after
    // it.
    if (fsync(writer->file) != 0 || rename(writer->temporary, writer->path) != 0) {
        writer->error = errno;
        status = writer_failed(writer);
        qn_writer_abort(writer);
        return status;
    }
    char *folder = parent_of(writer->path);
    status = folder == NULL ? QN_ERROR_MEMORY : qn_sync_folder(folder);
    free(folder);
    writer_free(writer);
    return status;
}

void qn_writer_abort(qn_writer *writer) {
    if (writer == NULL) return;
    if (writer->temporary != NULL) unlink(writer->temporary); // before the lock goes with the file
    writer_free(writer);
}

qn_status qn_write_file(const char *path, const void *data, size_t size) {
    qn_writer *writer;
    QN_TRY(qn_writer_open(path, &writer));
    qn_status status = qn_writer_write(writer, data, size);
    if (status != QN_OK) {
        qn_writer_abort(writer);
        return status;
    }
    return qn_writer_commit(writer);
}

// --- Folders ---

bool qn_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool qn_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

qn_status qn_make_folders(const char *path) {
    if (*path == '\0') return qn_fail(QN_ERROR_ARGUMENT, "a folder's name is empty");
    char *copy = qn_strdup(path);
    if (copy == NULL) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    for (char *end = copy + 1; status == QN_OK; end++) {
        char c = *end;
        if (c != '/' && c != '\0') continue;
        *end = '\0';
        if (mkdir(copy, 0777) != 0 && !qn_is_folder(copy)) {
            if (errno == EEXIST) errno = ENOTDIR; // "exists" would puzzle: what exists is not a folder
            status = qn_fail_errno(QN_ERROR_IO, "%s: cannot create the folder", copy);
        }
        *end = c;
        if (c == '\0') break;
    }
    free(copy);
    return status;
}

// Removes what lies in the folder open as `folder`, which is closed. Walks by descriptors, so that a link put in the
// place of a folder meanwhile is not followed. Returns false with errno set.
static bool empty_folder(int folder) {
    DIR *stream = fdopendir(folder);
    if (stream == NULL) {
        close(folder);
        return false;
    }
    bool ok = true;
    struct dirent *entry;
    while (ok && (errno = 0, entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(folder, entry->d_name, 0) == 0) continue;
        if (errno != EISDIR && errno != EPERM) { // EPERM is POSIX's answer for a folder, EISDIR Linux's
            ok = errno == ENOENT;
            continue;
        }
        int inner = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        ok = inner >= 0 && empty_folder(inner) && unlinkat(folder, entry->d_name, AT_REMOVEDIR) == 0;
    }
    int error = ok ? errno : errno == 0 ? EIO : errno;
    closedir(stream);
    errno = error;
    return error == 0 || error == ENOENT;
}

qn_status qn_remove_tree(const char *path) {
    if (unlink(path) == 0 || errno == ENOENT) return QN_OK;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || !empty_folder(folder) || rmdir(path) != 0) {
        if (errno == ENOENT) return QN_OK;
        return qn_fail_errno(QN_ERROR_IO, "%s: cannot remove", path);
    }
    return QN_OK;
}

qn_status qn_sync_folder(const char *path) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot open", path);
    // Some file systems cannot sync folders and say EINVAL; they order their renames themselves.
    qn_status status = QN_OK;
    if (fsync(folder) != 0 && errno != EINVAL && errno != EROFS)
        status = qn_fail_errno(QN_ERROR_IO, "%s: cannot sync", path);
    close(folder);
    return status;
}

static qn_status sync_parent(const char *path) {
    char *copy = qn_strdup(path);
    if (copy == NULL) return QN_ERROR_MEMORY;
    for (size_t end = strlen(copy); end > 1 && copy[end - 1] == '/'; end--) copy[end - 1] = '\0';
    char *folder = parent_of(copy);
    free(copy);
    qn_status status = folder == NULL ? QN_ERROR_MEMORY : qn_sync_folder(folder);
    free(folder);
    return status;
}

qn_status qn_rename_folder(const char *from, const char *to) {
    QN_TRY(qn_sync_folder(from));
    if (rename(from, to) == 0) return sync_parent(to);
    if (errno != ENOTEMPTY && errno != EEXIST) return qn_fail_errno(QN_ERROR_IO, "%s: cannot rename to %s", from, to);
#ifdef RENAME_EXCHANGE
    // The two change places in one step; what was `to` is then removed under the name `from`.
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) {
        QN_TRY(sync_parent(to));
        return qn_remove_tree(from);
    }
#endif
    // File systems without that: for a moment there is no `to`, but the old folder beside it under the name TO.old.
    qn_buffer old = {0};
    qn_buffer_printf(&old, "%s.old", to);
    qn_status status = qn_buffer_status(&old);
    if (status == QN_OK) status = qn_remove_tree(old.data);
    if (status == QN_OK && (rename(to, old.data) != 0 || rename(from, to) != 0))
        status = qn_fail_errno(QN_ERROR_IO, "%s: cannot rename to %s", from, to);
    if (status == QN_OK) status = sync_parent(to);
    if (status == QN_OK) status = qn_remove_tree(old.data);
    qn_buffer_free(&old);
    return status;
}

char *qn_path_join(const char *folder, const char *name) {
    size_t length = strlen(folder);
    if (length == 0 || *name == '/') return qn_strdup(name);
    while (length > 1 && folder[length - 1] == '/') length--;
    bool root = length == 1 && folder[0] == '/';
    size_t size = length + strlen(name) + 2;
    char *path = qn_malloc(size, 1);
    if (path != NULL) snprintf(path, size, "%.*s%s%s", (int)length, folder, root ? "" : "/", name);
    return path;
}
