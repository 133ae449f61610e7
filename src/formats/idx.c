// See idx.h; the format is Yann LeCun's, described with MNIST (1998).
#include "formats/idx.h"
#include <errno.h>
#include <string.h>
#include <zlib.h>

static const size_t LIMIT = (size_t)16 << 30; // bytes

static size_t item_size(uint8_t type) { // 0: no such type
    static const size_t sizes[] = {[0x08] = 1, [0x09] = 1, [0x0B] = 2, [0x0C] = 4, [0x0D] = 4, [0x0E] = 8};
    return type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

bool qn_idx_is(const void *start, size_t size) {
    const uint8_t *bytes = start;
    return size >= 4 && bytes[0] == 0 && bytes[1] == 0 && item_size(bytes[2]) > 0;
}

static uint64_t big_endian(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value << 8 | bytes[i];
    return value;
}

qn_status qn_idx_open_memory(const void *data, size_t size, const char *source, qn_idx *out) {
    *out = (qn_idx){0};
    const uint8_t *bytes = data;
    if (!qn_idx_is(bytes, size))
        return qn_fail(QN_ERROR_FORMAT, "%s: not an IDX file (expected two zero bytes and a type)", source);
    size_t dims = bytes[3], item = item_size(bytes[2]), header = 4 + 4 * dims, count = 1, need = 0;
    if (dims < 1 || dims > QN_IDX_MAX_DIMS)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: %zu dimensions (expected 1 to %d)", source, dims, QN_IDX_MAX_DIMS);
    if (size < header)
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu bytes (expected %zu of sizes alone)", source, size, header);
    bool fits = true;
    for (size_t i = 0; i < dims; i++) {
        out->shape[i] = (size_t)big_endian(bytes + 4 + 4 * i, 4);
        fits = fits && !__builtin_mul_overflow(count, out->shape[i], &count);
    }
    if (!fits || __builtin_mul_overflow(count, item, &need) || need != size - header)
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu bytes of elements (expected %s%zu, as the sizes say)", source,
                       size - header, fits ? "" : "more than ", fits ? need : SIZE_MAX);
    out->type = bytes[2];
    out->dims = (int)dims;
    out->count = count;
    out->data = bytes + header;
    return QN_OK;
}

// zlib's file functions read plain files too.
static qn_status open_gzip(const char *path, gzFile *file) {
    if (!qn_is_file(path)) return qn_fail(QN_ERROR_IO, "%s: no such file", path);
    *file = gzopen(path, "rb");
    return *file ? QN_OK : qn_fail_errno(QN_ERROR_IO, "%s: cannot open", path);
}

static qn_status read_failed(gzFile file, const char *path) {
    int code;
    const char *message = gzerror(file, &code);
    if (code == Z_ERRNO) return qn_fail_errno(QN_ERROR_IO, "%s: cannot read", path);
    return qn_fail(QN_ERROR_FORMAT, "%s: corrupt gzip data (%s)", path, message);
}

qn_status qn_idx_peek(const char *path, void *start, size_t size, size_t *got) {
    gzFile file;
    *got = 0;
    QN_TRY(open_gzip(path, &file));
    int n = gzread(file, start, (unsigned)size);
    qn_status status = n < 0 ? read_failed(file, path) : QN_OK;
    *got = n < 0 ? 0 : (size_t)n;
    gzclose(file);
    return status;
}

static qn_status read_all(gzFile file, const char *path, qn_buffer *out) {
    static const size_t piece = 1 << 16;
    char bytes[1 << 16];
    for (int n; (n = gzread(file, bytes, (unsigned)piece)) != 0;) {
        if (n < 0) return read_failed(file, path);
        qn_buffer_append(out, bytes, (size_t)n);
        QN_TRY(qn_buffer_status(out));
        if (out->size > LIMIT) return qn_fail(QN_ERROR_UNSUPPORTED, "%s: more than 16 GiB", path);
    }
    int code;
    gzerror(file, &code); // the end in the middle of a member
    return code == Z_OK ? QN_OK : read_failed(file, path);
}

qn_status qn_idx_open(const char *path, qn_idx *out) {
    gzFile file;
    qn_buffer bytes = {0};
    *out = (qn_idx){0};
    QN_TRY(open_gzip(path, &file));
    qn_status status = read_all(file, path, &bytes);
    gzclose(file);
    if (status == QN_OK) status = qn_idx_open_memory(bytes.data, bytes.size, path, out);
    if (status == QN_OK)
        out->bytes = bytes;
    else
        qn_buffer_free(&bytes);
    return status;
}

void qn_idx_close(qn_idx *array) {
    qn_buffer_free(&array->bytes);
    *array = (qn_idx){0};
}

void qn_idx_to_f32(const qn_idx *a, size_t first, size_t count, float *out) {
    size_t item = item_size(a->type);
    const uint8_t *from = a->data + first * item;
    for (size_t i = 0; i < count; i++, from += item) {
        uint64_t bits = big_endian(from, item);
        uint32_t low = (uint32_t)bits;
        float single;
        double wide;
        switch (a->type) {
        case 0x08:
            out[i] = (float)bits;
            break;
        case 0x09:
            out[i] = (float)(int8_t)bits;
            break;
        case 0x0B:
            out[i] = (float)(int16_t)bits;
            break;
        case 0x0C:
            out[i] = (float)(int32_t)bits;
            break;
        case 0x0D:
            memcpy(&single, &low, sizeof single);
            out[i] = single;
            break;
        default:
            memcpy(&wide, &bits, sizeof wide);
            out[i] = (float)wide;
        }
    }
}
