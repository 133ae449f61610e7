// Writing of safetensors: the header is laid out first, then the tensors stream through one small buffer.
#include "formats/safetensors.h"
#include "base/file.h"
#include "base/half.h"
#include "base/memory.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LIMIT 100000000u // what the reference library reads
#define CHUNK 65536u            // bytes converted at a time

qn_status qn_st_entry_size(const qn_st_entry *entry, size_t *bytes) {
    char shape[QN_ST_SHAPE_TEXT];
    if (entry->dims < 0 || entry->dims > QN_ST_MAX_DIMS)
        return qn_fail(QN_ERROR_ARGUMENT, "tensor \"%.100s\" has %d dimensions (expected at most %d)", entry->name,
                       entry->dims, QN_ST_MAX_DIMS);
    int64_t count = 1, bits = 0;
    bool fits = true;
    for (int i = 0; i < entry->dims; i++)
        fits = fits && entry->shape[i] >= 0 && !__builtin_mul_overflow(count, entry->shape[i], &count);
    fits = fits && !__builtin_mul_overflow(count, (int64_t)qn_st_dtype_bits(entry->dtype), &bits) && bits % 8 == 0;
    if (!fits || (uint64_t)bits / 8 > SIZE_MAX)
        return qn_fail(QN_ERROR_ARGUMENT, "tensor \"%.100s\": %s %s has no size in bytes", entry->name,
                       qn_st_dtype_name(entry->dtype), qn_st_shape_text(entry->dims, entry->shape, shape));
    *bytes = (size_t)(bits / 8);
    return QN_OK;
}

// JSON holds text only: bytes that are none would come back as another name.
static bool is_utf8(const char *text) {
    int32_t code = 0;
    for (size_t left = strlen(text); left > 0 && code >= 0;) {
        size_t used = qn_utf8_next(text, left, &code);
        text += used;
        left -= used;
    }
    return code >= 0;
}

static qn_status check_entry(const qn_st_entry *entry) {
    if (!entry->name || !strcmp(entry->name, "__metadata__") || !is_utf8(entry->name))
        return qn_fail(QN_ERROR_ARGUMENT, "a tensor cannot be called \"%.100s\"", entry->name ? entry->name : "");
    if ((unsigned)entry->dtype >= QN_ST_DTYPES)
        return qn_fail(QN_ERROR_ARGUMENT, "tensor \"%.100s\" has no dtype", entry->name);
    size_t bytes;
    QN_TRY(qn_st_entry_size(entry, &bytes));
    if (bytes && !entry->values == !entry->bytes)
        return qn_fail(QN_ERROR_ARGUMENT, "tensor \"%.100s\" needs either values or bytes", entry->name);
    if (entry->values && entry->dtype != QN_ST_F32 && entry->dtype != QN_ST_F16 && entry->dtype != QN_ST_BF16 &&
        entry->dtype != QN_ST_F64)
        return qn_fail(QN_ERROR_ARGUMENT, "tensor \"%.100s\": float32 values cannot be stored as %s", entry->name,
                       qn_st_dtype_name(entry->dtype));
    return QN_OK;
}

// The reference's order: wider dtypes first, so that every tensor is aligned; then by name.
static int compare_entries(const void *a, const void *b) {
    const qn_st_entry *left = *(const qn_st_entry *const *)a, *right = *(const qn_st_entry *const *)b;
    if (left->dtype != right->dtype) return left->dtype > right->dtype ? -1 : 1;
    return strcmp(left->name, right->name);
}

static int compare_entry_names(const void *a, const void *b) {
    return strcmp((*(const qn_st_entry *const *)a)->name, (*(const qn_st_entry *const *)b)->name);
}

static qn_status append_metadata(qn_buffer *header, const char *const *metadata) {
    bool has_format = false;
    for (size_t i = 0; metadata && metadata[i]; i += 2) {
        if (!is_utf8(metadata[i]) || !is_utf8(metadata[i + 1]))
            return qn_fail(QN_ERROR_ARGUMENT, "metadata \"%.100s\" is not UTF-8", metadata[i]);
        has_format = has_format || !strcmp(metadata[i], "format");
    }
    qn_buffer_text(header, "{\"__metadata__\":{");
    if (!has_format) qn_buffer_text(header, "\"format\":\"pt\"");
    for (size_t i = 0; metadata && metadata[i]; i += 2) {
        if (i || !has_format) qn_buffer_char(header, ',');
        qn_buffer_json_string(header, metadata[i], strlen(metadata[i]));
        qn_buffer_char(header, ':');
        qn_buffer_json_string(header, metadata[i + 1], strlen(metadata[i + 1]));
    }
    qn_buffer_char(header, '}');
    return QN_OK;
}

static qn_status append_header(qn_buffer *header, const qn_st_entry *const *order, size_t count,
                               const char *const *metadata) {
    QN_TRY(append_metadata(header, metadata));
    size_t offset = 0, bytes;
    for (size_t i = 0; i < count; i++) {
        QN_TRY(qn_st_entry_size(order[i], &bytes));
        if (bytes > (size_t)INT64_MAX - offset)
            return qn_fail(QN_ERROR_ARGUMENT, "the tensors up to \"%.100s\" are larger than any file", order[i]->name);
        qn_buffer_char(header, ',');
        qn_buffer_json_string(header, order[i]->name, strlen(order[i]->name));
        qn_buffer_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", qn_st_dtype_name(order[i]->dtype));
        for (int d = 0; d < order[i]->dims; d++)
            qn_buffer_printf(header, d ? ",%" PRId64 : "%" PRId64, order[i]->shape[d]);
        qn_buffer_printf(header, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
        offset += bytes;
    }
    qn_buffer_char(header, '}');
    while (header->size % 8 && !header->failed) qn_buffer_char(header, ' ');
    if (header->size > HEADER_LIMIT)
        return qn_fail(QN_ERROR_ARGUMENT, "a header of %zu bytes for %zu tensors (expected at most %u)", header->size,
                       count, HEADER_LIMIT);
    return qn_buffer_status(header);
}

static void convert(qn_st_dtype dtype, const float *values, size_t count, void *chunk) {
    if (dtype == QN_ST_F64) {
        double *out = chunk;
        for (size_t i = 0; i < count; i++) out[i] = values[i];
    } else {
        uint16_t *out = chunk;
        if (dtype == QN_ST_F16)
            for (size_t i = 0; i < count; i++) out[i] = qn_f32_to_f16(values[i]);
        else
            for (size_t i = 0; i < count; i++) out[i] = qn_f32_to_bf16(values[i]);
    }
}

static qn_status write_data(qn_writer *writer, const qn_st_entry *entry, void *chunk) {
    size_t bytes;
    QN_TRY(qn_st_entry_size(entry, &bytes));
    if (!bytes) return QN_OK;
    if (entry->bytes) return qn_writer_write(writer, entry->bytes, bytes);
    if (entry->dtype == QN_ST_F32) return qn_writer_write(writer, entry->values, bytes);
    size_t width = (size_t)qn_st_dtype_bits(entry->dtype) / 8, count = bytes / width;
    for (size_t done = 0; done < count;) {
        size_t step = count - done < CHUNK / width ? count - done : CHUNK / width;
        convert(entry->dtype, entry->values + done, step, chunk);
        QN_TRY(qn_writer_write(writer, chunk, step * width));
        done += step;
    }
    return QN_OK;
}

static qn_status write_file(const char *path, const qn_buffer *header, const qn_st_entry *const *order, size_t count) {
    void *chunk = qn_malloc(1, CHUNK);
    if (!chunk) return QN_ERROR_MEMORY;
    qn_writer *writer;
    qn_status status = qn_writer_open(path, &writer);
    if (status != QN_OK) {
        free(chunk);
        return status;
    }
    uint64_t header_size = header->size;
    status = qn_writer_write(writer, &header_size, sizeof header_size);
    if (status == QN_OK) status = qn_writer_write(writer, header->data, header->size);
    for (size_t i = 0; i < count && status == QN_OK; i++) status = write_data(writer, order[i], chunk);
    free(chunk);
    if (status == QN_OK) return qn_writer_commit(writer);
    qn_writer_abort(writer);
    return status;
}

qn_status qn_safetensors_write(const char *path, const qn_st_entry *entries, size_t count,
                               const char *const *metadata) {
    qn_buffer header = {0};
    qn_status status = QN_OK;
    const qn_st_entry **order = qn_malloc(count ? count : 1, sizeof *order);
    if (!order) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        QN_TRY_GOTO(status, check_entry(&entries[i]), done);
        order[i] = &entries[i];
    }
    qsort(order, count, sizeof *order, compare_entry_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(order[i - 1]->name, order[i]->name)) continue;
        status = qn_fail(QN_ERROR_ARGUMENT, "two tensors are called \"%.100s\"", order[i]->name);
        goto done;
    }
    qsort(order, count, sizeof *order, compare_entries);
    QN_TRY_GOTO(status, append_header(&header, order, count, metadata), done);
    status = write_file(path, &header, order, count);
done:
    if (status == QN_ERROR_ARGUMENT) qn_fail_prefix(status, "%s", path);
    qn_buffer_free(&header);
    free(order);
    return status;
}
