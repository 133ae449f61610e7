// A sheet's pixels, and the formats they are written in: PNG (ISO/IEC 15948) over zlib, and the binary forms of
// Netpbm's PGM and PPM.
#include "formats/pictures.h"
#include "base/file.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum { GAP = 128, MOST_PIXELS = 1 << 28, MOST_SIDE = 1 << 20, MOST_SCALE = 1 << 10, SMALLEST = 32 };

// Pixels of 8 bits; of channels 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
typedef struct {
    size_t width, height, channels;
    uint8_t *pixels;
} image;

static uint8_t shade(const qn_picture_sheet *s, float value) {
    float span = s->high - s->low, share = span > 0 ? (value - s->low) / span : 0.5f;
    return (uint8_t)lrintf(255 * fminf(fmaxf(share, 0), 1)); // NaN is black
}

// Number (y, x) of picture i fills a square of `scale` pixels; there is a line of GAP between pictures.
static void draw(const qn_picture_sheet *s, size_t scale, image *out) {
    size_t cell_height = s->height * scale + 1, cell_width = s->width * scale + 1, c = s->channels;
    memset(out->pixels, GAP, out->width * out->height * c);
    for (size_t i = 0; i < s->count; i++) {
        const float *values = s->values + i * s->height * s->width * c;
        size_t top = i / s->across * cell_height + 1, left = i % s->across * cell_width + 1;
        for (size_t y = 0; y < s->height * scale; y++)
            for (size_t x = 0; x < s->width * scale; x++)
                for (size_t k = 0; k < c; k++)
                    out->pixels[((top + y) * out->width + left + x) * c + k] =
                        shade(s, values[(y / scale * s->width + x / scale) * c + k]);
    }
}

static qn_status make_image(const qn_picture_sheet *s, image *out) {
    *out = (image){.channels = s->channels};
    if (s->count == 0 || s->across == 0 || s->height == 0 || s->width == 0 || s->channels == 0 || s->channels > 4)
        return qn_fail(QN_ERROR_ARGUMENT, "a sheet of %zu pictures of %zu x %zu x %zu, %zu in a line", s->count,
                       s->height, s->width, s->channels, s->across);
    if (s->count > MOST_PIXELS || s->height > MOST_SIDE || s->width > MOST_SIDE || s->scale > MOST_SCALE)
        return qn_fail(QN_ERROR_UNSUPPORTED, "a sheet of %zu pictures of %zu x %zu (expected fewer and smaller ones)",
                       s->count, s->height, s->width);
    size_t smaller = s->height < s->width ? s->height : s->width, pixels;
    size_t scale = s->scale ? s->scale : smaller >= SMALLEST || s->height == 1 ? 1 : (SMALLEST + smaller - 1) / smaller;
    size_t across = s->count < s->across ? s->count : s->across, down = (s->count + across - 1) / across;
    out->width = across * (s->width * scale + 1) + 1;
    out->height = down * (s->height * scale + 1) + 1;
    if (__builtin_mul_overflow(out->width, out->height, &pixels) || pixels > MOST_PIXELS)
        return qn_fail(QN_ERROR_UNSUPPORTED, "a sheet of %zu x %zu pixels (expected fewer pictures)", out->width,
                       out->height);
    out->pixels = qn_malloc(pixels, s->channels);
    if (!out->pixels) return QN_ERROR_MEMORY;
    draw(s, scale, out);
    return QN_OK;
}

static void put_big_endian(uint32_t value, uint8_t *to) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put_chunk(const char *type, const uint8_t *data, size_t size, qn_buffer *out) {
    uint8_t number[4];
    uLong crc = crc32(0, (const uint8_t *)type, 4);
    if (size) crc = crc32(crc, data, (uInt)size); // of no data it would begin again
    put_big_endian((uint32_t)size, number);
    qn_buffer_append(out, number, 4);
    qn_buffer_append(out, type, 4);
    qn_buffer_append(out, data, size);
    put_big_endian((uint32_t)crc, number);
    qn_buffer_append(out, number, 4);
}

static qn_status put_png(const image *m, qn_buffer *out) {
    static const uint8_t color_types[] = {0, 0, 4, 2, 6};
    uint8_t header[13] = {[8] = 8, [9] = color_types[m->channels]};
    size_t row = m->width * m->channels, raw_size = m->height * (row + 1);
    uLongf size = compressBound(raw_size);
    uint8_t *raw = qn_malloc(raw_size, 1), *packed = qn_malloc(size, 1);
    qn_status status = raw && packed ? QN_OK : QN_ERROR_MEMORY;
    for (size_t y = 0; y < m->height && status == QN_OK; y++) {
        raw[y * (row + 1)] = 0; // the filter: none
        memcpy(raw + y * (row + 1) + 1, m->pixels + y * row, row);
    }
    if (status == QN_OK && compress2(packed, &size, raw, raw_size, 9) != Z_OK) status = QN_ERROR_MEMORY;
    if (status == QN_OK) {
        put_big_endian((uint32_t)m->width, header);
        put_big_endian((uint32_t)m->height, header + 4);
        qn_buffer_append(out, "\x89PNG\r\n\x1a\n", 8);
        put_chunk("IHDR", header, sizeof header, out);
        put_chunk("IDAT", packed, size, out);
        put_chunk("IEND", NULL, 0, out);
        status = qn_buffer_status(out);
    }
    free(raw);
    free(packed);
    return status;
}

static qn_status put_netpbm(const image *m, const char *path, qn_buffer *out) {
    if (m->channels != 1 && m->channels != 3)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: pictures of %zu channels (expected a .png)", path, m->channels);
    qn_buffer_printf(out, "P%d\n%zu %zu\n255\n", m->channels == 1 ? 5 : 6, m->width, m->height);
    qn_buffer_append(out, m->pixels, m->width * m->height * m->channels);
    return qn_buffer_status(out);
}

qn_status qn_pictures_png(const qn_picture_sheet *sheet, qn_buffer *out) {
    image m;
    qn_status status = make_image(sheet, &m);
    if (status == QN_OK) status = put_png(&m, out);
    free(m.pixels);
    return status;
}

qn_status qn_pictures_write(const char *path, const qn_picture_sheet *sheet) {
    const char *dot = strrchr(path, '.');
    bool png = dot && !strcasecmp(dot, ".png"), netpbm = dot && (!strcasecmp(dot, ".pgm") || !strcasecmp(dot, ".ppm"));
    image m;
    qn_buffer bytes = {0};
    if (!png && !netpbm)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: no name of a picture (expected .png, .pgm or .ppm)", path);
    qn_status status = make_image(sheet, &m);
    if (status == QN_OK) status = png ? put_png(&m, &bytes) : put_netpbm(&m, path, &bytes);
    if (status == QN_OK) status = qn_write_file(path, bytes.data, bytes.size);
    qn_buffer_free(&bytes);
    free(m.pixels);
    return status;
}
