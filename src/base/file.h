// Files: mapped for reading, and written so that a crash at any moment leaves either the old file or the new one.
#pragma once
#include "base/buffer.h"

typedef struct {
    const uint8_t *data; // NULL when size is 0
    size_t size;
} qn_mapping;

qn_status qn_map_file(const char *path, qn_mapping *out); // read-only; refuses folders, devices and pipes
void qn_unmap(qn_mapping *mapping);
// Memory of `bytes` zeros, which takes room as it is written to. folder: it lies in a file there that has no name, whose
// room is taken at once (QN_ERROR_IO where there is none); NULL: in no file. Given back by qn_unmap.
qn_status qn_map_scratch(const char *folder, size_t bytes, void **out);
// Gives back the memory of a part of a mapping, for what was read and will not be read again soon; then it is read from
// the file again.
void qn_forget_pages(const void *data, size_t size);
qn_status qn_read_file(const char *path, size_t limit, qn_buffer *out); // whole file; QN_ERROR_FORMAT when it is above `limit` bytes

// A writer collects bytes in a temporary file beside `path`; commit syncs, renames over `path` and syncs the folder. Abort (or a crash)
// leaves `path` as it was. After commit or abort the writer is gone. Write errors are sticky and are reported by commit. The permissions
// of an existing file stay, a link stays a link; a device or pipe is written directly. While one writer is open, a second one for the
// same path fails. The temporary file is FOLDER/.NAME.tmp: what a killed process left is overwritten by the next writer of that path.
// qn_writer_open, qn_writer_write, qn_writer_commit and qn_writer_abort are public: see quern.h.
// Overwrites bytes that were written before: for a header that is known only at the end.
qn_status qn_writer_patch(qn_writer *writer, uint64_t offset, const void *data, size_t size);
qn_status qn_write_file(const char *path, const void *data, size_t size);

bool qn_is_file(const char *path);
bool qn_is_folder(const char *path);
qn_status qn_make_folders(const char *path);             // like mkdir -p
qn_status qn_remove_tree(const char *path);              // like rm -rf; a missing path is fine; does not follow links
qn_status qn_rename_folder(const char *from, const char *to); // replaces an existing folder `to` (in one step on Linux); syncs the parent
qn_status qn_sync_folder(const char *path);
char *qn_path_join(const char *folder, const char *name); // on the heap; caller frees
