// TensorBoard's event files: scalars over steps, in a file that TensorBoard reads while it grows.
#pragma once
#include "base/status.h"

// A log of scalars in one folder. For one thread at a time.
typedef struct qn_tfevents qn_tfevents;

// Opens the log of `folder` after step `last_step`: what Quern's event files there hold of later steps, and any record
// cut short by a crash, is removed (atomically), and a new file is begun. So a resumed run shows one curve. A fresh run
// passes -1: nothing is kept. Files that others wrote into the folder are left alone.
qn_status qn_tfevents_open(const char *folder, int64_t last_step, qn_tfevents **out);

// Records one value. It is kept in memory until a flush or until 64 KiB have gathered.
qn_status qn_tfevents_scalar(qn_tfevents *log, int64_t step, const char *tag, double value);

// Hands everything to the operating system. Call it before a checkpoint is committed, so that what a resumed run keeps
// is there. After a failure (a full disk) the file ends with its last whole record, and the values are kept for the
// next try.
qn_status qn_tfevents_flush(qn_tfevents *log);
qn_status qn_tfevents_close(qn_tfevents *log); // flushes; NULL is allowed; the log is gone even when this fails

// Finds the record at *offset of an event file: its payload, its step, and whether it holds scalars. Moves *offset
// behind it. Returns false at the end and where the bytes are not a whole record with right checksums.
typedef struct {
    const uint8_t *start; // of the framed record
    size_t size;          // of the framed record
    int64_t step;
    bool has_summary;
} qn_tfevents_record;
bool qn_tfevents_next(const uint8_t *data, size_t size, size_t *offset, qn_tfevents_record *record);
