// NumPy's .npy: magic, version, header length, a Python dictionary as text, then the elements.
#include "formats/npy.h"
#include "base/memory.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
// NumPy aligns the elements to 64 bytes; 128 bytes leave room for any two sizes.
enum { MAGIC_SIZE = 6, WRITE_HEADER = 128 };

struct qn_npy_writer {
    qn_writer *file;
    char *path;
    size_t columns, rows;
};

// The header in its fixed place: 10 bytes of preamble, the dictionary, spaces, and a newline as the last byte.
static void write_header(char header[WRITE_HEADER], size_t rows, size_t columns) {
    memset(header, ' ', WRITE_HEADER);
    memcpy(header, MAGIC "\1\0", MAGIC_SIZE + 2);
    header[8] = (char)(WRITE_HEADER - 10);
    header[9] = 0;
    char text[WRITE_HEADER - 10];
    int length =
        snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
    memcpy(header + 10, text, (size_t)length); // at most 108 bytes: two sizes of 20 digits
    header[WRITE_HEADER - 1] = '\n';
}

qn_status qn_npy_writer_open(const char *path, size_t columns, qn_npy_writer **out) {
    *out = NULL;
    qn_npy_writer *writer = qn_calloc(1, sizeof *writer);
    if (!writer) return QN_ERROR_MEMORY;
    writer->columns = columns;
    writer->path = qn_strdup(path);
    qn_status status = writer->path ? qn_writer_open(path, &writer->file) : QN_ERROR_MEMORY;
    char header[WRITE_HEADER];
    write_header(header, 0, columns);
    if (status == QN_OK) status = qn_writer_write(writer->file, header, sizeof header);
    if (status != QN_OK) {
        qn_npy_writer_abort(writer);
        return status;
    }
    *out = writer;
    return QN_OK;
}

qn_status qn_npy_writer_rows(qn_npy_writer *writer, const float *rows, size_t count) {
    size_t values, total;
    if (__builtin_add_overflow(writer->rows, count, &total) ||
        __builtin_mul_overflow(total, writer->columns, &values) || values > INT64_MAX / sizeof *rows)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: %zu more rows of %zu numbers are larger than any file", writer->path,
                       count, writer->columns);
    writer->rows = total;
    if (!count || !writer->columns) return QN_OK;
    return qn_writer_write(writer->file, rows, count * writer->columns * sizeof *rows);
}

qn_status qn_npy_writer_commit(qn_npy_writer *writer) {
    char header[WRITE_HEADER];
    write_header(header, writer->rows, writer->columns);
    qn_status status = qn_writer_patch(writer->file, 0, header, sizeof header);
    if (status == QN_OK) {
        status = qn_writer_commit(writer->file);
        writer->file = NULL;
    }
    qn_npy_writer_abort(writer);
    return status;
}

void qn_npy_writer_abort(qn_npy_writer *writer) {
    if (!writer) return;
    qn_writer_abort(writer->file);
    free(writer->path);
    free(writer);
}

// --- Reading ---

// Walks over the dictionary. Only what numpy writes is understood: string keys; a string, a boolean or a tuple of sizes
// as values.
typedef struct {
    const char *source;
    const uint8_t *start, *at, *end;
} cursor;

static qn_status fail_at(const cursor *c, const char *expected) {
    return qn_fail(QN_ERROR_FORMAT, "%s: header, byte %zu: unexpected %s (expected %s)", c->source,
                   (size_t)(c->at - c->start), c->at < c->end ? "text" : "end", expected);
}

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

static bool accept(cursor *c, const char *token) {
    size_t length = strlen(token);
    skip_space(c);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, token, length)) return false;
    c->at += length;
    return true;
}

// A Python string without escapes, in either kind of quotes.
static qn_status read_string(cursor *c, char *out, size_t room) {
    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return fail_at(c, "a string");
    uint8_t quote = *c->at++;
    size_t length = 0;
    for (; c->at < c->end && *c->at != quote; c->at++) {
        if (*c->at == '\\' || !*c->at || length + 1 >= room) return fail_at(c, "a short string without escapes");
        out[length++] = (char)*c->at;
    }
    out[length] = 0;
    if (!accept(c, quote == '"' ? "\"" : "'")) return fail_at(c, "the end of a string");
    return QN_OK;
}

static qn_status read_size(cursor *c, int64_t *out) {
    skip_space(c);
    if (c->at == c->end || *c->at < '0' || *c->at > '9') return fail_at(c, "a size of at least 0");
    *out = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (__builtin_mul_overflow(*out, (int64_t)10, out) ||
            __builtin_add_overflow(*out, (int64_t)(*c->at - '0'), out))
            return fail_at(c, "a size below 2^63");
    }
    if (c->at < c->end && *c->at == 'L') c->at++; // Python 2 wrote long integers as 5L
    return QN_OK;
}

static qn_status read_shape(cursor *c, qn_npy *out) {
    if (!accept(c, "(")) return fail_at(c, "a tuple of sizes");
    while (!accept(c, ")")) {
        if (out->dims == QN_NPY_MAX_DIMS)
            return qn_fail(QN_ERROR_UNSUPPORTED, "%s: an array of more than %d dimensions", c->source, QN_NPY_MAX_DIMS);
        QN_TRY(read_size(c, &out->shape[out->dims++]));
        if (!accept(c, ",") && (out->dims == 1 || c->at == c->end || *c->at != ')')) return fail_at(c, "\",\"");
    }
    return QN_OK;
}

static qn_status read_dtype(cursor *c, qn_npy *out) {
    static const char *const names[] = {
        [QN_NPY_F4] = "<f4", [QN_NPY_F8] = "<f8", [QN_NPY_I4] = "<i4", [QN_NPY_I8] = "<i8", [QN_NPY_U1] = "|u1"};
    char text[16];
    if (accept(c, "["))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: an array of records (expected '<f4', '<f8', '<i4', '<i8' or '|u1')",
                       c->source);
    QN_TRY(read_string(c, text, sizeof text));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        out->dtype = (qn_npy_dtype)i;
        if (!strcmp(text, names[i])) return QN_OK;
    }
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: an array of '%s' (expected '<f4', '<f8', '<i4', '<i8' or '|u1')", c->source,
                   text);
}

static qn_status read_order(cursor *c) {
    if (accept(c, "False")) return QN_OK;
    if (accept(c, "True"))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: an array in Fortran order (expected C order)", c->source);
    return fail_at(c, "True or False");
}

static qn_status read_dictionary(cursor *c, qn_npy *out) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    bool seen[3] = {false};
    if (!accept(c, "{")) return fail_at(c, "\"{\"");
    while (!accept(c, "}")) {
        char key[16];
        int which = 0;
        QN_TRY(read_string(c, key, sizeof key));
        while (which < 3 && strcmp(key, keys[which])) which++;
        if (which == 3 || seen[which])
            return qn_fail(QN_ERROR_FORMAT, "%s: header key \"%s\" %s (expected descr, fortran_order and shape, once)",
                           c->source, key, which == 3 ? "is unknown" : "is repeated");
        seen[which] = true;
        if (!accept(c, ":")) return fail_at(c, "\":\"");
        QN_TRY(which == 0 ? read_dtype(c, out) : which == 1 ? read_order(c) : read_shape(c, out));
        skip_space(c);
        if (!accept(c, ",") && (c->at == c->end || *c->at != '}')) return fail_at(c, "\",\" or \"}\"");
    }
    for (int i = 0; i < 3; i++)
        if (!seen[i]) return qn_fail(QN_ERROR_FORMAT, "%s: header key \"%s\" is missing", c->source, keys[i]);
    skip_space(c);
    return c->at == c->end ? QN_OK : fail_at(c, "the end of the header");
}

static size_t item_size(qn_npy_dtype dtype) {
    return dtype == QN_NPY_U1 ? 1 : dtype == QN_NPY_F4 || dtype == QN_NPY_I4 ? 4 : 8;
}

static qn_status check_size(const cursor *c, qn_npy *out, size_t have) {
    size_t count = 1, need = 0;
    bool fits = true;
    for (int i = 0; i < out->dims; i++)
        fits = fits && (uint64_t)out->shape[i] <= SIZE_MAX &&
               !__builtin_mul_overflow(count, (size_t)out->shape[i], &count);
    if (!fits || __builtin_mul_overflow(count, item_size(out->dtype), &need))
        return qn_fail(QN_ERROR_FORMAT, "%s: the shape is larger than any file", c->source);
    if (need != have)
        return qn_fail(QN_ERROR_FORMAT, "%s: %zu bytes of elements (expected %zu for %zu elements of %zu bytes)",
                       c->source, have, need, count, item_size(out->dtype));
    out->count = count;
    return QN_OK;
}

qn_status qn_npy_open_memory(const void *data, size_t size, const char *source, qn_npy *out) {
    *out = (qn_npy){0};
    const uint8_t *bytes = data;
    if (size < MAGIC_SIZE + 2 || memcmp(bytes, MAGIC, MAGIC_SIZE))
        return qn_fail(QN_ERROR_FORMAT, "%s: not a .npy file", source);
    unsigned version = bytes[6];
    if (version < 1 || version > 3 || bytes[7])
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: .npy format %u.%u (expected 1.0, 2.0 or 3.0)", source, version,
                       bytes[7]);
    size_t preamble = version == 1 ? 10 : 12;
    if (size < preamble) return qn_fail(QN_ERROR_FORMAT, "%s: the file ends in its first %zu bytes", source, preamble);
    size_t length = bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > size - preamble)
        return qn_fail(QN_ERROR_FORMAT, "%s: a header of %zu bytes in a file of %zu", source, length, size);
    cursor c = {source, bytes + preamble, bytes + preamble, bytes + preamble + length};
    QN_TRY(read_dictionary(&c, out));
    QN_TRY(check_size(&c, out, size - preamble - length));
    out->data = out->count ? bytes + preamble + length : NULL;
    return QN_OK;
}

qn_status qn_npy_open(const char *path, qn_npy *out) {
    *out = (qn_npy){0};
    qn_mapping mapping;
    QN_TRY(qn_map_file(path, &mapping));
    qn_status status = qn_npy_open_memory(mapping.data, mapping.size, path, out);
    if (status == QN_OK)
        out->mapping = mapping;
    else
        qn_unmap(&mapping);
    return status;
}

void qn_npy_close(qn_npy *array) {
    qn_unmap(&array->mapping);
    *array = (qn_npy){0};
}

void qn_npy_to_f32(const qn_npy *array, size_t first, size_t count, float *out) {
    if (!count) return;
    size_t width = item_size(array->dtype);
    const uint8_t *from = array->data + first * width;
    for (size_t i = 0; i < count; i++, from += width) {
        double f8;
        int32_t i4;
        int64_t i8;
        switch (array->dtype) {
        case QN_NPY_F4:
            memcpy(&out[i], from, 4);
            break;
        case QN_NPY_F8:
            memcpy(&f8, from, 8);
            out[i] = (float)f8;
            break;
        case QN_NPY_I4:
            memcpy(&i4, from, 4);
            out[i] = (float)i4;
            break;
        case QN_NPY_I8:
            memcpy(&i8, from, 8);
            out[i] = (float)i8;
            break;
        case QN_NPY_U1:
            out[i] = (float)*from;
            break;
        }
    }
}
