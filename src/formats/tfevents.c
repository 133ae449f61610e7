// TensorBoard's event files. A file is a sequence of TFRecords: length (u64), CRC of the length, payload, CRC of the
// payload; a payload is the protocol buffer Event {1: wall_time double, 2: step int64, 3: file_version string, 5:
// summary, 7: session_log}.
#include "formats/tfevents.h"
#include "base/file.h"
#include "base/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "events.out.tfevents."
#define SUFFIX ".quern"
enum { FLUSH_AT = 65536, RECORD_EXTRA = 16, FILE_NAME = 160 };

struct qn_tfevents {
    char *path;
    int file;
    off_t written; // bytes of whole records in the file
    qn_buffer pending, event;
};

// --- CRC32C (Castagnoli), masked as TFRecord does so that a CRC of data that holds CRCs stays sound ---

static uint32_t masked_crc(const uint8_t *data, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

// --- Protocol buffer encoding: a key is field number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes, 5
// four bytes) ---

static void put_varint(qn_buffer *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) qn_buffer_char(out, (char)(value | 0x80));
    qn_buffer_char(out, (char)value);
}

static size_t varint_size(uint64_t value) {
    size_t size = 1;
    while (value >>= 7) size++;
    return size;
}

static void put_header(qn_buffer *event, int64_t step) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    qn_buffer_clear(event);
    qn_buffer_char(event, 1 << 3 | 1);
    qn_buffer_append(event, &seconds, sizeof seconds);
    qn_buffer_char(event, 2 << 3 | 0);
    put_varint(event, (uint64_t)step);
}

// Appends the event as one framed record to what is pending.
static qn_status put_record(qn_tfevents *log) {
    QN_TRY(qn_buffer_status(&log->event));
    size_t before = log->pending.size;
    uint64_t length = log->event.size;
    uint32_t length_crc = masked_crc((const uint8_t *)&length, sizeof length);
    uint32_t crc = masked_crc((const uint8_t *)log->event.data, log->event.size);
    qn_buffer_append(&log->pending, &length, sizeof length);
    qn_buffer_append(&log->pending, &length_crc, sizeof length_crc);
    qn_buffer_append(&log->pending, log->event.data, log->event.size);
    qn_buffer_append(&log->pending, &crc, sizeof crc);
    if (!log->pending.failed) return QN_OK;
    log->pending.size = before; // a record is there in whole or not at all
    log->pending.failed = false;
    return qn_fail(QN_ERROR_MEMORY, "%s: out of memory for an event", log->path);
}

qn_status qn_tfevents_scalar(qn_tfevents *log, int64_t step, const char *tag, double value) {
    qn_buffer *event = &log->event;
    float simple_value = (float)value;
    size_t tag_size = strlen(tag);
    // Summary {1: Value {1: tag, 2: simple_value float}}
    size_t value_size = 1 + varint_size(tag_size) + tag_size + 1 + sizeof simple_value;
    put_header(event, step);
    qn_buffer_char(event, 5 << 3 | 2);
    put_varint(event, 1 + varint_size(value_size) + value_size);
    qn_buffer_char(event, 1 << 3 | 2);
    put_varint(event, value_size);
    qn_buffer_char(event, 1 << 3 | 2);
    put_varint(event, tag_size);
    qn_buffer_append(event, tag, tag_size);
    qn_buffer_char(event, 2 << 3 | 5);
    qn_buffer_append(event, &simple_value, sizeof simple_value);
    QN_TRY(put_record(log));
    return log->pending.size >= FLUSH_AT ? qn_tfevents_flush(log) : QN_OK;
}

static qn_status put_file_version(qn_tfevents *log) {
    static const char version[] = "brain.Event:2";
    put_header(&log->event, 0);
    qn_buffer_char(&log->event, 3 << 3 | 2);
    put_varint(&log->event, sizeof version - 1);
    qn_buffer_append(&log->event, version, sizeof version - 1);
    return put_record(log);
}

// SessionLog {1: status START}: tells a TensorBoard that is already running to forget its points from this step on.
static qn_status put_session_start(qn_tfevents *log, int64_t step) {
    put_header(&log->event, step);
    qn_buffer_char(&log->event, 7 << 3 | 2);
    put_varint(&log->event, 2);
    qn_buffer_char(&log->event, 1 << 3 | 0);
    put_varint(&log->event, 1);
    return put_record(log);
}

qn_status qn_tfevents_flush(qn_tfevents *log) {
    size_t done = 0;
    while (done < log->pending.size) {
        ssize_t wrote = write(log->file, log->pending.data + done, log->pending.size - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            qn_status status = qn_fail_errno(QN_ERROR_IO, "%s: cannot write", log->path);
            // Half a record would hide all that follow it. If this fails too, the next opening cuts it.
            if (ftruncate(log->file, log->written) == 0) lseek(log->file, log->written, SEEK_SET);
            return status;
        }
        done += (size_t)wrote;
    }
    log->written += (off_t)done;
    qn_buffer_clear(&log->pending);
    return QN_OK;
}

// --- Reading back ---

static uint32_t load32(const uint8_t *data) {
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

static bool get_varint(const uint8_t *data, size_t size, size_t *at, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && *at < size; shift += 7) {
        uint8_t byte = data[(*at)++];
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool parse_event(const uint8_t *data, size_t size, qn_tfevents_record *record) {
    record->step = 0;
    record->has_summary = false;
    for (size_t at = 0; at < size;) {
        uint64_t key, value = 0;
        if (!get_varint(data, size, &at, &key)) return false;
        switch (key & 7) {
        case 0:
            if (!get_varint(data, size, &at, &value)) return false;
            break;
        case 1:
            value = 8;
            break;
        case 2:
            if (!get_varint(data, size, &at, &value)) return false;
            break;
        case 5:
            value = 4;
            break;
        default:
            return false;
        }
        if ((key & 7) != 0) {
            if (value > size - at) return false;
            at += (size_t)value;
        }
        if (key == (2 << 3 | 0)) record->step = (int64_t)value;
        if (key == (5 << 3 | 2)) record->has_summary = true;
    }
    return true;
}

bool qn_tfevents_next(const uint8_t *data, size_t size, size_t *offset, qn_tfevents_record *record) {
    if (*offset > size || size - *offset < RECORD_EXTRA) return false;
    const uint8_t *start = data + *offset;
    uint64_t length;
    memcpy(&length, start, sizeof length);
    if (load32(start + 8) != masked_crc(start, 8) || length > size - *offset - RECORD_EXTRA) return false;
    if (load32(start + 12 + length) != masked_crc(start + 12, (size_t)length)) return false;
    if (!parse_event(start + 12, (size_t)length, record)) return false;
    record->start = start;
    record->size = (size_t)length + RECORD_EXTRA;
    *offset += record->size;
    return true;
}

// --- Opening ---

static bool is_own_file(const char *name) {
    size_t length = strlen(name), prefix = strlen(PREFIX), suffix = strlen(SUFFIX);
    return length > prefix + suffix && !strncmp(name, PREFIX, prefix) && !strcmp(name + length - suffix, SUFFIX);
}

// Removes from one file what came after `last_step`, and the file itself when no scalar is left.
static qn_status cut_file(const char *path, int64_t last_step) {
    qn_mapping map;
    QN_TRY(qn_map_file(path, &map));
    qn_status status = QN_OK;
    qn_buffer kept = {0};
    qn_tfevents_record record;
    size_t scalars = 0;
    for (size_t offset = 0; qn_tfevents_next(map.data, map.size, &offset, &record);) {
        if (record.has_summary && record.step > last_step) continue;
        scalars += record.has_summary;
        qn_buffer_append(&kept, record.start, record.size);
    }
    status = qn_buffer_status(&kept);
    if (status == QN_OK && !scalars) {
        if (unlink(path)) status = qn_fail_errno(QN_ERROR_IO, "%s: cannot remove", path);
    } else if (status == QN_OK && kept.size != map.size) {
        status = qn_write_file(path, kept.data, kept.size);
    }
    qn_buffer_free(&kept);
    qn_unmap(&map);
    return status;
}

// Cuts all of Quern's files in the folder. *newest becomes the largest time stamp in their names.
static qn_status cut_folder(const char *folder, int64_t last_step, int64_t *newest) {
    DIR *entries = opendir(folder);
    if (!entries) return qn_fail_errno(QN_ERROR_IO, "%s: cannot list the folder", folder);
    qn_status status = QN_OK;
    struct dirent *entry;
    while (status == QN_OK && (entry = readdir(entries))) {
        if (!is_own_file(entry->d_name)) continue;
        int64_t stamp = strtoll(entry->d_name + strlen(PREFIX), NULL, 10);
        if (stamp > *newest && stamp < INT64_MAX / 2) *newest = stamp;
        char *path = qn_path_join(folder, entry->d_name);
        status = path ? cut_file(path, last_step) : QN_ERROR_MEMORY;
        free(path);
    }
    closedir(entries);
    return status;
}

// The name carries the time and the machine, as TensorFlow's do. TensorBoard reads the files of a folder in the order
// of their names, so a resumed run gets a later stamp than all that are there, even when it begins within the same
// second.
static qn_status create_file(const char *folder, int64_t newest, qn_tfevents *log) {
    char host[64] = "localhost", name[FILE_NAME];
    if (gethostname(host, sizeof host)) memcpy(host, "localhost", sizeof "localhost");
    host[sizeof host - 1] = 0;
    for (char *c = host; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *c)) *c = '_';
    int64_t stamp = (int64_t)time(NULL);
    if (stamp <= newest) stamp = newest + 1;
    snprintf(name, sizeof name, PREFIX "%010" PRId64 ".%s" SUFFIX, stamp, host);
    log->path = qn_path_join(folder, name);
    if (!log->path) return QN_ERROR_MEMORY;
    log->file = open(log->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (log->file < 0) return qn_fail_errno(QN_ERROR_IO, "%s: cannot create", log->path);
    return QN_OK;
}

static void destroy(qn_tfevents *log) {
    if (log->file >= 0) close(log->file);
    qn_buffer_free(&log->pending);
    qn_buffer_free(&log->event);
    free(log->path);
    free(log);
}

qn_status qn_tfevents_open(const char *folder, int64_t last_step, qn_tfevents **out) {
    *out = NULL;
    qn_tfevents *log = qn_calloc(1, sizeof *log);
    if (!log) return QN_ERROR_MEMORY;
    log->file = -1;
    int64_t newest = 0;
    qn_status status = cut_folder(folder, last_step, &newest);
    if (status == QN_OK) status = create_file(folder, newest, log);
    if (status == QN_OK) status = put_file_version(log);
    if (status == QN_OK && last_step >= 0) status = put_session_start(log, last_step + 1);
    if (status == QN_OK) status = qn_tfevents_flush(log);
    if (status != QN_OK) {
        destroy(log);
        return status;
    }
    *out = log;
    return QN_OK;
}

qn_status qn_tfevents_close(qn_tfevents *log) {
    if (!log) return QN_OK;
    qn_status status = qn_tfevents_flush(log);
    if (close(log->file) && status == QN_OK) status = qn_fail_errno(QN_ERROR_IO, "%s: cannot write", log->path);
    log->file = -1;
    destroy(log);
    return status;
}
