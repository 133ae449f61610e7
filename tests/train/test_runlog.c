// log.jsonl is whole lines, is cut back to the checkpoint on resume, and reads back as columns.
#include "base/file.h"
#include "support.h"
#include "train/runlog.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], path[96];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/quern-runlog-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    return 0;
}

static int drop_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static char *contents(void) {
    qn_buffer text = {0};
    assert_int_equal(qn_read_file(path, 1 << 20, &text), QN_OK);
    if (!text.data) qn_buffer_text(&text, "");
    return text.data;
}

// Writes the lines of steps from+1 .. to as a loop does: an evaluation every 4 steps, a skipped step 5.
static void run(qn_runlog *log, int from, int to) {
    for (int step = from + 1; step <= to; step++) {
        if (step == 5) {
            qn_runlog_begin(log, "skip", step);
            qn_runlog_string(log, "reason", "gradient norm is NaN");
            qn_runlog_real(log, "grad_norm", NAN);
            assert_int_equal(qn_runlog_end(log), QN_OK);
        }
        qn_runlog_begin(log, "train", step);
        qn_runlog_real(log, "epoch", step / 10.0);
        qn_runlog_real(log, "loss", 1.0 / step);
        qn_runlog_int(log, "tokens", 100 * step);
        assert_int_equal(qn_runlog_end(log), QN_OK);
        if (step % 4) continue;
        qn_runlog_begin(log, "eval", step);
        qn_runlog_metrics(log, &(qn_metric){"accuracy", 0.5 + 0.01 * step, false}, 1);
        qn_runlog_bool(log, "best", true);
        assert_int_equal(qn_runlog_end(log), QN_OK);
    }
    assert_int_equal(qn_runlog_sync(log), QN_OK);
}

static void end(qn_runlog *log, int step, const char *reason) {
    qn_runlog_begin(log, "end", step);
    qn_runlog_string(log, "reason", reason);
    assert_int_equal(qn_runlog_end(log), QN_OK);
    qn_runlog_close(log);
}

// Protects: a run that was killed after its checkpoint, and one that was stopped at it, end in the log of an
// uninterrupted run.
static void resumed_log_is_the_same(void **state) {
    (void)state;
    qn_runlog *log;
    assert_int_equal(qn_runlog_open(path, -1, &log), QN_OK);
    run(log, 0, 12);
    end(log, 12, "completed");
    char *whole = contents();

    // Killed at step 9 with half a line written; the last checkpoint is of step 8.
    assert_int_equal(qn_runlog_open(path, -1, &log), QN_OK);
    run(log, 0, 9);
    qn_runlog_close(log);
    FILE *file = fopen(path, "a");
    fputs("{\"event\": \"train\", \"step\": 10, \"lo", file);
    fclose(file);
    assert_int_equal(qn_runlog_open(path, 8, &log), QN_OK);
    run(log, 8, 12);
    end(log, 12, "completed");
    char *resumed = contents();
    assert_string_equal(resumed, whole);
    free(resumed);

    // Interrupted at step 6, which wrote a checkpoint and an end; then interrupted again before anything happened.
    assert_int_equal(qn_runlog_open(path, -1, &log), QN_OK);
    run(log, 0, 6);
    end(log, 6, "interrupted");
    assert_int_equal(qn_runlog_open(path, 6, &log), QN_OK);
    end(log, 6, "interrupted");
    assert_int_equal(qn_runlog_open(path, 6, &log), QN_OK);
    run(log, 6, 12);
    end(log, 12, "completed");
    resumed = contents();
    assert_string_equal(resumed, whole);
    free(resumed);
    free(whole);
}

// Protects: after the first lines a line takes nothing from the heap.
static void steady_lines_allocate_nothing(void **state) {
    (void)state;
    qn_runlog *log;
    assert_int_equal(qn_runlog_open(path, -1, &log), QN_OK);
    run(log, 0, 8);
    size_t before = test_allocations();
    run(log, 8, 20);
    assert_int_equal(test_allocations(), before);
    qn_runlog_close(log);
}

// Protects: garbage after a power loss (zero bytes) is cut off, a missing log is begun, step 0 keeps nothing later.
static void cut_is_robust(void **state) {
    (void)state;
    qn_runlog *log;
    const char damaged[] = "{\"event\": \"train\", \"step\": 1}\n\0\0\0\0\n{\"event\": \"train\", \"step\": 2}\n";
    assert_int_equal(qn_write_file(path, damaged, sizeof damaged - 1), QN_OK);
    assert_int_equal(qn_runlog_open(path, 2, &log), QN_OK);
    qn_runlog_close(log);
    char *text = contents();
    assert_string_equal(text, "{\"event\": \"train\", \"step\": 1}\n");
    free(text);
    assert_int_equal(qn_runlog_open(path, 0, &log), QN_OK);
    qn_runlog_close(log);
    text = contents();
    assert_string_equal(text, "");
    free(text);
    unlink(path);
    assert_int_equal(qn_runlog_open(path, 7, &log), QN_OK);
    run(log, 7, 8);
    qn_runlog_close(log);
    text = contents();
    assert_int_equal(strncmp(text, "{\"event\": \"train\", \"step\": 8", 28), 0);
    free(text);
}

// Protects: values come back by event and key, missing and null ones are left out, texts are kept.
static void history_has_columns(void **state) {
    (void)state;
    qn_runlog *log;
    assert_int_equal(qn_runlog_open(path, -1, &log), QN_OK);
    run(log, 0, 300);
    end(log, 300, "completed");
    qn_history history;
    assert_int_equal(qn_history_read(path, &history), QN_OK);
    assert_int_equal(history.rows, 300 + 75 + 2);
    double *x = malloc(2 * history.rows * sizeof *x), *y = x + history.rows;
    assert_int_equal(qn_history_series(&history, QN_EVENT_TRAIN, "step", "loss", x, y), 300);
    assert_true(x[299] == 300 && fabs(y[299] - 1.0 / 300) < 1e-8);
    assert_int_equal(qn_history_series(&history, QN_EVENT_TRAIN, "epoch", "tokens", x, y), 300);
    assert_true(fabs(x[9] - 1.0) < 1e-12 && y[9] == 1000);
    assert_int_equal(qn_history_series(&history, QN_EVENT_EVAL, "step", "eval_accuracy", x, y), 75);
    assert_true(x[0] == 4);
    assert_int_equal(qn_history_series(&history, QN_EVENT_EVAL, "step", "best", x, y), 75);
    assert_int_equal(qn_history_series(&history, QN_EVENT_SKIP, "step", "grad_norm", x, y), 0);
    assert_int_equal(qn_history_series(&history, QN_EVENT_TRAIN, "step", "nothing", x, y), 0);
    assert_int_equal(history.event[4], QN_EVENT_EVAL);
    assert_string_equal(history.text[5], "gradient norm is NaN");
    assert_string_equal(history.text[history.rows - 1], "completed");
    free(x);
    qn_history_free(&history);
}

// Protects: a foreign or damaged log is refused with its line; only a last line cut short is forgiven; keys are
// bounded.
static void history_refuses_garbage(void **state) {
    (void)state;
    const char *bad[] = {"[]\n",
                         "{\"event\": \"train\"}\n",
                         "{\"event\": 3, \"step\": 1}\n",
                         "{\"event\": \"train\", \"step\": 1.5}\n",
                         "\n",
                         "x\n"};
    qn_history history;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"event\": \"train\", \"step\": 1, \"loss\": 2}\n%s", bad[i]);
        assert_int_equal(qn_history_parse(text, strlen(text), "log.jsonl", &history), QN_ERROR_FORMAT);
        assert_non_null(strstr(qn_last_error(), "log.jsonl:2:"));
        qn_history_free(&history);
    }
    const char cut[] = "{\"event\": \"train\", \"step\": 1, \"loss\": 2}\n{\"event\": \"tra";
    assert_int_equal(qn_history_parse(cut, sizeof cut - 1, "log.jsonl", &history), QN_OK);
    assert_int_equal(history.rows, 1);
    qn_history_free(&history);
    qn_buffer many = {0};
    qn_buffer_text(&many, "{\"event\": \"train\", \"step\": 1");
    for (int i = 0; i < 1000; i++) qn_buffer_printf(&many, ", \"k%d\": %d", i, i);
    qn_buffer_text(&many, "}\n");
    assert_int_equal(qn_history_parse(many.data, many.size, "log.jsonl", &history), QN_OK);
    assert_int_equal(history.keys, QN_HISTORY_KEYS);
    qn_history_free(&history);
    qn_buffer_free(&many);
}

// Protects: a folder that cannot be written gives a message with the path.
static void unwritable(void **state) {
    (void)state;
    qn_runlog *log;
    assert_int_equal(qn_runlog_open("/nonexistent/log.jsonl", -1, &log), QN_ERROR_IO);
    assert_null(log);
    assert_non_null(strstr(qn_last_error(), "/nonexistent/log.jsonl"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumed_log_is_the_same),       cmocka_unit_test(cut_is_robust),
        cmocka_unit_test(steady_lines_allocate_nothing), cmocka_unit_test(history_has_columns),
        cmocka_unit_test(history_refuses_garbage),       cmocka_unit_test(unwritable),
    };
    return cmocka_run_group_tests_name("runlog", tests, make_folder, drop_folder);
}
