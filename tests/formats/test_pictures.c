// Protects sheets of pictures: the pixels, the gray lines between, PNG's checksums, and sizes that cannot be.
#include "formats/pictures.h"
#include "support.h"
#include <math.h>
#include <zlib.h>

static uint32_t number(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

// The pixels of a PNG as qn_pictures_png writes it, without the filters' bytes; free with free().
static uint8_t *decode(const char *data, size_t size, size_t *width, size_t *height, size_t channels) {
    const uint8_t *at = (const uint8_t *)data + 8, *end = (const uint8_t *)data + size;
    uint8_t *pixels = NULL;
    assert_memory_equal(data, "\x89PNG\r\n\x1a\n", 8);
    while (at < end) {
        uint32_t length = number(at);
        assert_int_equal(number(at + 8 + length), crc32(0, at + 4, length + 4));
        if (!memcmp(at + 4, "IHDR", 4)) {
            *width = number(at + 8);
            *height = number(at + 12);
            assert_int_equal(at[16], 8);
        }
        if (!memcmp(at + 4, "IDAT", 4)) {
            uLongf raw_size = *height * (*width * channels + 1);
            uint8_t *raw = malloc(raw_size);
            assert_int_equal(uncompress(raw, &raw_size, at + 8, length), Z_OK);
            assert_int_equal(raw_size, *height * (*width * channels + 1));
            pixels = malloc(raw_size);
            for (size_t y = 0; y < *height; y++)
                memcpy(pixels + y * *width * channels, raw + y * (*width * channels + 1) + 1, *width * channels);
            free(raw);
        }
        at += length + 12;
    }
    assert_ptr_equal(at, end);
    return pixels;
}

static const float values[] = {0, 1, 2, 4, -9, 99, NAN, 1};

static void test_png(void **state) {
    (void)state;
    qn_picture_sheet sheet = {values, 2, 5, 2, 2, 1, 0, 4, 1};
    static const uint8_t expected[4][7] = {{128, 128, 128, 128, 128, 128, 128},
                                           {128, 0, 64, 128, 0, 255, 128},
                                           {128, 128, 255, 128, 0, 64, 128},
                                           {128, 128, 128, 128, 128, 128, 128}};
    qn_buffer out = {0};
    size_t width, height;
    assert_ok(qn_pictures_png(&sheet, &out));
    uint8_t *pixels = decode(out.data, out.size, &width, &height, 1);
    assert_true(width == 7 && height == 4);
    assert_memory_equal(pixels, expected, sizeof expected);
    free(pixels);
    qn_buffer_clear(&out);
    sheet.scale = 0; // so large that two pixels are seen
    assert_ok(qn_pictures_png(&sheet, &out));
    pixels = decode(out.data, out.size, &width, &height, 1);
    assert_true(width == 2 * 33 + 1 && height == 34 && pixels[width + 1] == 0 && pixels[width + 17] == 64);
    free(pixels);
    qn_buffer_clear(&out);
    sheet = (qn_picture_sheet){values, 2, 1, 1, 1, 4, 0, 4, 1}; // RGB and alpha, below each other
    assert_ok(qn_pictures_png(&sheet, &out));
    pixels = decode(out.data, out.size, &width, &height, 4);
    assert_true(width == 3 && height == 5 && pixels[(1 * 3 + 1) * 4 + 3] == 255 && pixels[(3 * 3 + 1) * 4 + 1] == 255);
    free(pixels);
    qn_buffer_free(&out);
}

static void test_files(void **state) {
    (void)state;
    qn_picture_sheet sheet = {values, 1, 1, 2, 2, 1, 0, 4, 1};
    const char *folder = test_folder();
    size_t size;
    assert_ok(qn_pictures_write(test_path(folder, "a.pgm"), &sheet));
    char *bytes = test_read(test_path(folder, "a.pgm"), &size);
    assert_int_equal(size, 11 + 16);
    assert_memory_equal(bytes, "P5\n4 4\n255\n\x80\x80\x80\x80\x80\0\x40\x80\x80\x80\xff\x80\x80\x80\x80\x80", size);
    free(bytes);
    assert_ok(qn_pictures_write(test_path(folder, "a.PNG"), &sheet));
    assert_fails(qn_pictures_write(test_path(folder, "a.jpg"), &sheet), QN_ERROR_ARGUMENT,
                 "expected .png, .pgm or .ppm");
    sheet.channels = 2, sheet.width = 1;
    assert_fails(qn_pictures_write(test_path(folder, "a.ppm"), &sheet), QN_ERROR_UNSUPPORTED, "2 channels");
    sheet.channels = 5;
    assert_fails(qn_pictures_write(test_path(folder, "a.png"), &sheet), QN_ERROR_ARGUMENT, "a sheet of");
    sheet = (qn_picture_sheet){values, 1 << 20, 1, 1 << 20, 1 << 20, 1, 0, 4, 0};
    assert_fails(qn_pictures_write(test_path(folder, "a.png"), &sheet), QN_ERROR_UNSUPPORTED, "expected fewer");
    sheet.height = SIZE_MAX / 2;
    assert_int_not_equal(qn_pictures_write(test_path(folder, "a.png"), &sheet), QN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_png), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
