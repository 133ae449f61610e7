// Protects the TensorBoard log: framing, checksums and encoding byte by byte, and that a resumed run leaves one exact
// curve.
#include "formats/tfevents.h"
#include "support.h"
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

// The names of the event files in a folder, in TensorBoard's order (sorted).
static size_t list(const char *folder, char names[8][256]) {
    struct dirent **entries;
    int found = scandir(folder, &entries, NULL, alphasort);
    size_t count = 0;
    for (int i = 0; i < found; i++) {
        if (strstr(entries[i]->d_name, "tfevents") && count < 8)
            snprintf(names[count++], 256, "%s", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return count;
}

// The steps of all scalars in a folder, in TensorBoard's order of reading.
static size_t steps(const char *folder, int64_t *out, size_t room) {
    char names[8][256];
    size_t files = list(folder, names), count = 0;
    for (size_t f = 0; f < files; f++) {
        size_t size, offset = 0;
        char *data = test_read(test_path(folder, names[f]), &size);
        qn_tfevents_record record;
        while (qn_tfevents_next((const uint8_t *)data, size, &offset, &record)) {
            if (!record.has_summary) continue;
            assert_true(count < room);
            out[count++] = record.step;
        }
        assert_int_equal(offset, size); // every byte belongs to a whole record
        free(data);
    }
    return count;
}

static void log_steps(qn_tfevents *log, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; step++)
        assert_ok(qn_tfevents_scalar(log, step, "loss", 1.0 / (double)step));
}

// The first record is the file's version, and a scalar has TensorFlow's bytes around its wall time.
static void test_bytes(void **state) {
    (void)state;
    char *folder = test_folder(), names[8][256];
    qn_tfevents *log;
    assert_ok(qn_tfevents_open(folder, -1, &log));
    assert_ok(qn_tfevents_scalar(log, 300, "train/loss", 0.5));
    assert_ok(qn_tfevents_close(log));
    assert_int_equal(list(folder, names), 1);
    assert_int_equal(strncmp(names[0], "events.out.tfevents.", 20), 0);
    assert_string_equal(names[0] + strlen(names[0]) - 6, ".quern");
    size_t size;
    char *data = test_read(test_path(folder, names[0]), &size);
    // 26 bytes: wall_time (9), step 0 (2), file_version (15); framed by 16.
    assert_memory_equal(data, "\x1a\0\0\0\0\0\0\0\x12\x9b\xd8\x2d", 12); // the length and its checksum
    assert_int_equal(data[12], 0x09);
    assert_memory_equal(data + 21,
                        "\x10\0\x1a\x0d"
                        "brain.Event:2",
                        17);
    // 33 bytes: wall_time (9), step 300 (3), summary { value { tag, simple_value } } (21)
    assert_memory_equal(data + 42, "\x21\0\0\0\0\0\0\0\x01\x7b\xec\xf6", 12);
    assert_memory_equal(data + 54 + 9,
                        "\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0a"
                        "train/loss\x15\0\0\0\x3f",
                        24);
    assert_int_equal(size, 42 + 16 + 33);
    free(data);
}

// A record with checksums that TensorBoard computed is accepted; with any one bit changed it is not, nor cut at any
// byte.
static void test_checksums(void **state) {
    (void)state;
    uint8_t bytes[] = {2, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x27, 0x0b, 0x34, 0x10, 1, 0x76, 0x64, 0x23, 0xad};
    qn_tfevents_record found;
    size_t offset = 0;
    assert_true(qn_tfevents_next(bytes, sizeof bytes, &offset, &found));
    assert_int_equal(offset, sizeof bytes);
    assert_int_equal(found.step, 1);
    assert_false(found.has_summary);
    assert_false(qn_tfevents_next(bytes, sizeof bytes, &offset, &found));
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        offset = 0;
        assert_false(qn_tfevents_next(bytes, sizeof bytes, &offset, &found));
        assert_int_equal(offset, 0);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < sizeof bytes; cut++) assert_false(qn_tfevents_next(bytes, cut, &offset, &found));
}

// Values reach the file at a flush, and in blocks before it; a steady log takes nothing from the heap.
static void test_buffering(void **state) {
    (void)state;
    char *folder = test_folder();
    int64_t out[8];
    qn_tfevents *log;
    assert_ok(qn_tfevents_open(folder, -1, &log));
    log_steps(log, 1, 3);
    assert_int_equal(steps(folder, out, 8), 0);
    assert_ok(qn_tfevents_flush(log));
    assert_int_equal(steps(folder, out, 8), 3);
    log_steps(log, 4, 5000);
    size_t before = test_allocations();
    log_steps(log, 5001, 9000);
    assert_ok(qn_tfevents_flush(log));
    assert_int_equal(test_allocations(), before);
    assert_ok(qn_tfevents_close(log));
    assert_ok(qn_tfevents_close(NULL));
}

// A resumed run keeps what was logged up to its step, drops the rest, even across several resumptions, and goes on in a
// new file.
static void test_resume_is_exact(void **state) {
    (void)state;
    char *folder = test_folder(), names[8][256];
    int64_t out[64];
    qn_tfevents *log;
    assert_ok(qn_tfevents_open(folder, -1, &log));
    log_steps(log, 1, 15);
    assert_ok(qn_tfevents_close(log));
    assert_ok(qn_tfevents_open(folder, 10, &log));
    log_steps(log, 11, 25);
    assert_ok(qn_tfevents_close(log));
    assert_int_equal(list(folder, names), 2);
    size_t count = steps(folder, out, 64);
    assert_int_equal(count, 25);
    for (size_t i = 0; i < count; i++) assert_int_equal(out[i], i + 1);
    // Back to before the first resumption: its file has nothing left and goes.
    assert_ok(qn_tfevents_open(folder, 7, &log));
    log_steps(log, 8, 12);
    assert_ok(qn_tfevents_close(log));
    assert_int_equal(list(folder, names), 2);
    count = steps(folder, out, 64);
    assert_int_equal(count, 12);
    for (size_t i = 0; i < count; i++) assert_int_equal(out[i], i + 1);
    // A fresh run keeps nothing of ours, and all of others'.
    test_write_text(test_path(folder, "events.out.tfevents.1.host"), "another's");
    assert_ok(qn_tfevents_open(folder, -1, &log));
    assert_ok(qn_tfevents_close(log));
    assert_int_equal(list(folder, names), 2);
    char *others = test_read(test_path(folder, "events.out.tfevents.1.host"), NULL);
    assert_string_equal(others, "another's");
    free(others);
}

// A record cut by a crash at any byte, or damaged, ends what is kept; records before it stay.
static void test_resume_after_crash(void **state) {
    (void)state;
    char *source = test_folder(), *target = test_folder(), names[8][256];
    qn_tfevents *log;
    int64_t out[8];
    assert_ok(qn_tfevents_open(source, -1, &log));
    log_steps(log, 1, 3);
    assert_ok(qn_tfevents_close(log));
    list(source, names);
    size_t size;
    char *data = test_read(test_path(source, names[0]), &size);
    size_t start = size - 16 - 26; // the last record: 26 bytes of event
    for (size_t i = 0; i < 2 * (size - start); i++) {
        size_t at = start + i / 2;
        const char *path = test_path(target, names[0]);
        data[at] ^= 1;
        test_write(path, data, i % 2 ? size : at); // damaged at this byte, or ends before it
        data[at] ^= 1;
        assert_ok(qn_tfevents_open(target, 3, &log));
        assert_ok(qn_tfevents_close(log));
        assert_int_equal(steps(target, out, 8), 2);
        assert_ok(qn_tfevents_open(target, -1, &log)); // removes the two files, and begins one
        assert_ok(qn_tfevents_close(log));
    }
    free(data);
}

// On a full disk the file ends with its last whole record, and the values are written when there is room again.
static void test_full_disk(void **state) {
    (void)state;
    char *folder = test_folder();
    int64_t out[128];
    qn_tfevents *log;
    assert_ok(qn_tfevents_open(folder, -1, &log));
    log_steps(log, 1, 10);
    assert_ok(qn_tfevents_flush(log));
    log_steps(log, 11, 100);
    // A limit on the size of files stands in for the disk: writes are cut short at it, then fail.
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 1000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    qn_status status = qn_tfevents_flush(log);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, QN_ERROR_IO);
    assert_int_equal(steps(folder, out, 128), 10);
    assert_ok(qn_tfevents_close(log));
    assert_int_equal(steps(folder, out, 128), 100);
}

static void test_fails_with_a_message(void **state) {
    (void)state;
    qn_tfevents *log;
    assert_fails(qn_tfevents_open(test_path(test_folder(), "none"), -1, &log), QN_ERROR_IO, "/none: cannot list");
    assert_null(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_buffering),
        cmocka_unit_test(test_resume_is_exact),
        cmocka_unit_test(test_resume_after_crash),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_fails_with_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
