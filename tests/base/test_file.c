// Files: reading refuses what is not a file, and a write that is cut off at any moment leaves the old file as it was.
#include "support.h"
#include "base/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;

static int set_up(void **state) {
    (void)state;
    folder = test_folder();
    return 0;
}

static void assert_content(const char *path, const char *expected) {
    char *text = test_read(path, NULL);
    assert_string_equal(text, expected);
    free(text);
}

// The number of names in a folder, hidden ones too.
static int entries(const char *path) {
    DIR *stream = opendir(path);
    assert_non_null(stream);
    int count = -2;
    while (readdir(stream) != NULL) count++;
    closedir(stream);
    return count;
}

static void test_map(void **state) {
    (void)state;
    const char *path = test_path(folder, "data");
    test_write(path, "a\0b", 3);
    qn_mapping map;
    assert_ok(qn_map_file(path, &map));
    assert_int_equal(map.size, 3);
    assert_memory_equal(map.data, "a\0b", 3);
    qn_forget_pages(map.data, map.size); // less than a page
    assert_memory_equal(map.data, "a\0b", 3);
    qn_unmap(&map);
    assert_null(map.data);
    qn_unmap(&map);

    test_write(path, "", 0);
    assert_ok(qn_map_file(path, &map));
    assert_null(map.data);
    assert_int_equal(map.size, 0);
}

// What was forgotten is read from the file again, and the neighbouring pages stay.
static void test_forget_pages(void **state) {
    (void)state;
    enum { SIZE = 100000 };
    static uint8_t bytes[SIZE];
    for (size_t i = 0; i < SIZE; i++) bytes[i] = (uint8_t)(i * 7 + i / 251);
    const char *path = test_path(folder, "pages");
    test_write(path, bytes, SIZE);
    qn_mapping map;
    assert_ok(qn_map_file(path, &map));
    qn_forget_pages(map.data + 5, SIZE - 9000);
    assert_memory_equal(map.data, bytes, SIZE);
    qn_forget_pages(map.data, 0);
    qn_forget_pages(map.data, SIZE);
    assert_memory_equal(map.data, bytes, SIZE);
    qn_unmap(&map);
}

// A pipe in the place of a model file must not hang the program.
static void test_map_refuses_what_is_no_file(void **state) {
    (void)state;
    qn_mapping map;
    assert_fails(qn_map_file(test_path(folder, "missing"), &map), QN_ERROR_IO, "missing: cannot open: No such file");
    assert_fails(qn_map_file(folder, &map), QN_ERROR_FORMAT, "is a folder (expected a file)");
    assert_fails(qn_map_file("/dev/null", &map), QN_ERROR_FORMAT, "is a device or socket (expected a file)");
    const char *pipe_path = test_path(folder, "pipe");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_fails(qn_map_file(pipe_path, &map), QN_ERROR_FORMAT, "is a pipe (expected a file)");
    assert_null(map.data);
}

static void test_read_whole(void **state) {
    (void)state;
    const char *path = test_path(folder, "text");
    qn_buffer b = {0};
    test_write_text(path, "0123456789");
    assert_ok(qn_read_file(path, 10, &b));
    assert_string_equal(b.data, "0123456789");
    assert_fails(qn_read_file(path, 9, &b), QN_ERROR_FORMAT, "text: is too large (expected at most 9 bytes)");
    assert_int_equal(b.size, 0);
    assert_fails(qn_read_file(folder, 100, &b), QN_ERROR_IO, "Is a directory");
    assert_fails(qn_read_file(test_path(folder, "none"), 100, &b), QN_ERROR_IO, "No such file");
    assert_fails(qn_read_file("/dev/zero", 1000000, &b), QN_ERROR_FORMAT, "too large");
    test_write_text(path, "");
    assert_ok(qn_read_file(path, 0, &b));
    assert_int_equal(b.size, 0);
    qn_buffer_free(&b);
}

static void test_commit_replaces_and_abort_does_not(void **state) {
    (void)state;
    const char *path = test_path(folder, "model");
    qn_writer *w;
    assert_ok(qn_writer_open(path, &w));
    assert_ok(qn_writer_write(w, "one", 3));
    assert_false(qn_is_file(path)); // nothing shows before the commit
    assert_ok(qn_writer_commit(w));
    assert_content(path, "one");

    assert_ok(qn_writer_open(path, &w));
    assert_ok(qn_writer_write(w, "two", 3));
    qn_writer_abort(w);
    assert_content(path, "one");
    qn_writer_abort(NULL);

    assert_ok(qn_write_file(path, "three", 5));
    assert_content(path, "three");
    assert_int_equal(entries(folder), 1); // no temporary file stays
}

static void test_large_and_small_writes_keep_their_order(void **state) {
    (void)state;
    const char *path = test_path(folder, "large");
    size_t size = 1000003;
    char *data = malloc(size);
    for (size_t i = 0; i < size; i++) data[i] = (char)(i * 31 >> 3);
    qn_writer *w;
    assert_ok(qn_writer_open(path, &w));
    for (size_t at = 0, piece = 1; at < size; at += piece, piece = piece * 3 % 100003 + 1) {
        if (piece > size - at) piece = size - at;
        assert_ok(qn_writer_write(w, data + at, piece));
    }
    assert_ok(qn_writer_patch(w, 70000, "PATCH", 5));
    assert_ok(qn_writer_write(w, "end", 3));
    assert_ok(qn_writer_commit(w));
    memcpy(data + 70000, "PATCH", 5);
    size_t got;
    char *read = test_read(path, &got);
    assert_int_equal(got, size + 3);
    assert_memory_equal(read, data, size);
    assert_string_equal(read + size, "end");
    free(read);
    free(data);
}

// A process killed in the middle of a write leaves the old file, and the next writer tidies up.
static void test_kill_leaves_the_old_file(void **state) {
    (void)state;
    const char *path = test_path(folder, "weights");
    assert_ok(qn_write_file(path, "old", 3));
    pid_t child = fork();
    if (child == 0) {
        char block[100000] = "half";
        qn_writer *w;
        if (qn_writer_open(path, &w) != QN_OK || qn_writer_write(w, block, sizeof block) != QN_OK) _exit(1);
        kill(getpid(), SIGKILL);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result));
    assert_content(path, "old");
    assert_ok(qn_write_file(path, "new", 3));
    assert_content(path, "new");
    assert_int_equal(entries(folder), 1);
}

// Two writers of one file must not mix their bytes.
static void test_second_writer_is_refused(void **state) {
    (void)state;
    const char *path = test_path(folder, "shared");
    qn_writer *first, *second;
    assert_ok(qn_writer_open(path, &first));
    assert_fails(qn_writer_open(path, &second), QN_ERROR_IO, "is being written by another");
    assert_null(second);
    assert_ok(qn_writer_write(first, "first", 5));
    assert_ok(qn_writer_commit(first));
    assert_content(path, "first");
    assert_ok(qn_write_file(path, "next", 4));
}

// A full disk is told from the first failed write on, and the old file stays.
static void test_full_disk(void **state) {
    (void)state;
    const char *path = test_path(folder, "full");
    assert_ok(qn_write_file(path, "old", 3));
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 1 << 20, .rlim_max = 1 << 20});
        char block[70000] = {0};
        qn_writer *w;
        if (qn_writer_open(path, &w) != QN_OK) _exit(1);
        qn_status status = QN_OK;
        for (int i = 0; i < 100; i++) status = qn_writer_write(w, block, sizeof block);
        if (status != QN_ERROR_IO) _exit(2);
        qn_fail(QN_ERROR_FORMAT, "something else");
        if (qn_writer_commit(w) != QN_ERROR_IO) _exit(3);
        if (strstr(qn_last_error(), "full: cannot write: File too large") == NULL) _exit(4);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    assert_content(path, "old");
    assert_int_equal(entries(folder), 1);
    // The same through a device, whose error comes at the commit.
    assert_fails(qn_write_file("/dev/full", "x", 1), QN_ERROR_IO, "/dev/full: cannot write: No space left on device");
}

// Running as root, a rename over /dev/null would destroy the device for everybody.
static void test_devices_stay_devices(void **state) {
    (void)state;
    assert_ok(qn_write_file("/dev/null", "x", 1));
    struct stat info;
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void test_link_and_permissions_stay(void **state) {
    (void)state;
    const char *target = test_path(folder, "target"), *link = test_path(folder, "link");
    test_write_text(target, "old");
    assert_int_equal(chmod(target, 0640), 0);
    assert_int_equal(symlink("target", link), 0);
    assert_ok(qn_write_file(link, "new", 3));
    assert_content(target, "new");
    struct stat info;
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(target, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static void test_unwritable_places(void **state) {
    (void)state;
    assert_fails(qn_write_file(folder, "x", 1), QN_ERROR_IO, "is a folder (expected a file to write)");
    assert_fails(qn_write_file(test_path(folder, "no/where"), "x", 1), QN_ERROR_IO,
                 "no/where: cannot create: No such file");
    const char *file = test_path(folder, "file");
    test_write_text(file, "x");
    assert_fails(qn_write_file(test_path(file, "x"), "x", 1), QN_ERROR_IO, "Not a directory");
    assert_fails(qn_make_folders(test_path(file, "x/y")), QN_ERROR_IO,
                 "file: cannot create the folder: Not a directory");
    assert_fails(qn_make_folders(file), QN_ERROR_IO, "Not a directory");
    assert_fails(qn_make_folders(""), QN_ERROR_ARGUMENT, "empty");
    // Root may write anywhere, so an unwritable folder is tried as nobody.
    const char *locked = test_path(folder, "locked");
    assert_int_equal(mkdir(locked, 0555), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && seteuid(65534) != 0) _exit(1);
        if (qn_write_file(test_path(locked, "new"), "x", 1) != QN_ERROR_IO) _exit(2);
        if (strstr(qn_last_error(), "locked/new: cannot create: Permission denied") == NULL) _exit(3);
        if (qn_make_folders(test_path(locked, "a/b")) != QN_ERROR_IO) _exit(4);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void test_folders(void **state) {
    (void)state;
    const char *deep = test_path(folder, "a//b/c/");
    assert_ok(qn_make_folders(deep));
    assert_ok(qn_make_folders(deep));
    assert_true(qn_is_folder(deep));
    assert_false(qn_is_file(deep));
    // A link out of the tree is removed, what it points to is not.
    const char *outside = test_path(folder, "outside");
    assert_ok(qn_make_folders(outside));
    test_write_text(test_path(outside, "keep"), "kept");
    assert_int_equal(symlink(outside, test_path(folder, "a/b/link")), 0);
    test_write_text(test_path(folder, "a/b/.hidden"), "x");
    assert_ok(qn_remove_tree(test_path(folder, "a")));
    assert_false(qn_is_folder(test_path(folder, "a")));
    assert_content(test_path(outside, "keep"), "kept");
    assert_ok(qn_remove_tree(test_path(folder, "a")));
    assert_int_equal(symlink(outside, test_path(folder, "alias")), 0);
    assert_ok(qn_remove_tree(test_path(folder, "alias")));
    assert_content(test_path(outside, "keep"), "kept");
}

// A checkpoint folder takes the place of the one before it.
static void test_rename_folder(void **state) {
    (void)state;
    const char *from = test_path(folder, "new.tmp"), *to = test_path(folder, "best");
    for (int round = 0; round < 3; round++) {
        assert_ok(qn_make_folders(from));
        test_write_text(test_path(from, "step"), round == 0 ? "0" : round == 1 ? "1" : "2");
        if (round == 1) test_write_text(test_path(from, "extra"), "x");
        assert_ok(qn_rename_folder(from, to));
        assert_false(qn_is_folder(from));
        assert_int_equal(entries(to), round == 1 ? 2 : 1);
        assert_content(test_path(to, "step"), round == 0 ? "0" : round == 1 ? "1" : "2");
    }
    assert_fails(qn_rename_folder(from, to), QN_ERROR_IO, "new.tmp: cannot open: No such file");
    assert_content(test_path(to, "step"), "2");
}

static void test_path_join(void **state) {
    (void)state;
    const char *cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a//", "b/c", "a/b/c"}, {"", "b", "b"},
                              {"/", "b", "/b"},  {"a", "/b", "/b"},  {"..", "b", "../b"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = qn_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        free(path);
    }
}

// No allocation may be taken for granted, and none may leak when a later one fails (AddressSanitizer looks).
static void test_every_allocation_may_fail(void **state) {
    (void)state;
    const char *path = test_path(folder, "file");
    for (size_t allowed = 0;; allowed++) {
        assert_true(allowed < 20);
        test_fail_allocations_after(allowed);
        qn_status status = qn_write_file(path, "x", 1);
        test_fail_allocations_off();
        if (status == QN_OK) break;
        assert_int_equal(status, QN_ERROR_MEMORY);
    }
    assert_int_equal(entries(folder), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        TEST(test_map),
        TEST(test_forget_pages),
        TEST(test_map_refuses_what_is_no_file),
        TEST(test_read_whole),
        TEST(test_commit_replaces_and_abort_does_not),
        TEST(test_large_and_small_writes_keep_their_order),
        TEST(test_kill_leaves_the_old_file),
        TEST(test_second_writer_is_refused),
        TEST(test_full_disk),
        TEST(test_devices_stay_devices),
        TEST(test_link_and_permissions_stay),
        TEST(test_unwritable_places),
        TEST(test_folders),
        TEST(test_rename_folder),
        TEST(test_path_join),
        TEST(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("base_file", tests, NULL, NULL);
}
