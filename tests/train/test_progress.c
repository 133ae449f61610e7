// The progress line says the right numbers, fits its terminal and estimates the time left.
#include "support.h"
#include "train/progress.h"
#include <math.h>
#include <string.h>

static qn_progress sample(void) {
    qn_progress p;
    qn_progress_start(&p, 2566, 3, "tok", 0, 100);
    // Ten steps a second, 2,410 tokens each.
    for (int step = 1; step <= 412; step++)
        qn_progress_step(&p, step, step * 3 / 2566.0, 1.2344, 1.8e-4, 2410, 412000000, 100 + 0.1 * step);
    return p;
}

static size_t columns(const qn_buffer *line) {
    size_t n = 0;
    for (size_t i = 0; i < line->size; i++) n += (line->data[i] & 0xC0) != 0x80;
    return n;
}

// Protects: the plain line, word by word.
static void plain_line(void **state) {
    (void)state;
    qn_progress p = sample();
    qn_buffer line = {0};
    qn_progress_format(&p, (qn_progress_style){0}, 141.2, &line);
    assert_string_equal(line.data,
                        "step 412/2,566 (16%), epoch 0.48/3, loss 1.234, lr 1.8e-04, 24.1k tok/s, 0:41 elapsed, "
                        "3:35 left, 412 MB");
    qn_buffer_free(&line);
}

// Protects: the terminal line is whole at 120 columns and never wider than the terminal, down to 1 column.
static void terminal_line_fits(void **state) {
    (void)state;
    qn_progress p = sample();
    qn_buffer line = {0};
    qn_progress_format(&p, (qn_progress_style){120, true, false}, 141.2, &line);
    assert_string_equal(line.data, "412/2,566   16%  ###---------------------  epoch 0.48/3  loss 1.234  lr 1.8e-04  "
                                   "24.1k tok/s  0:41 < 3:35  412 MB");
    for (int width = 1; width <= 200; width++) {
        qn_buffer_clear(&line);
        qn_progress_format(&p, (qn_progress_style){width, true, true}, 141.2, &line);
        assert_true(columns(&line) <= (size_t)width);
        if (width >= 40) assert_non_null(strstr(line.data, "loss 1.234"));
        if (width >= 60) assert_non_null(strstr(line.data, "3:35"));
    }
    qn_buffer_free(&line);
}

// Protects: a line in a buffer that has room takes nothing from the heap, so that steady steps stay free of it.
static void steady_lines_allocate_nothing(void **state) {
    (void)state;
    qn_progress p = sample();
    qn_buffer line = {0};
    size_t before = 0;
    for (int round = 0; round < 4; round++) {
        if (round == 2) before = test_allocations();
        qn_buffer_clear(&line);
        qn_progress_step(&p, 413 + round, 0.5, 1.2, 1e-4, 2410, 412000000, 141.3 + 0.1 * round);
        qn_progress_format(&p, (qn_progress_style){100, round % 2, true}, 141.2, &line);
    }
    assert_int_equal(test_allocations(), before);
    qn_buffer_free(&line);
}

// Protects: nothing known gives no division by zero and no NaN in the line.
static void unknown_totals(void **state) {
    (void)state;
    qn_progress p;
    qn_buffer line = {0};
    qn_progress_start(&p, 0, 0, "tok", 0, 5);
    qn_progress_format(&p, (qn_progress_style){80, true, true}, 5, &line);
    assert_string_equal(line.data, "step 0  epoch 0.00  0:00");
    qn_progress_step(&p, 1, 0.1, NAN, NAN, 0, 0, 5);
    qn_buffer_clear(&line);
    qn_progress_format(&p, (qn_progress_style){0}, 65, &line);
    assert_string_equal(line.data, "step 1, epoch 0.10, 1:00 elapsed");
    qn_buffer_free(&line);
}

// Protects: a resumed run counts the time before, and its jump to the step is not taken for speed.
static void resume_keeps_estimates(void **state) {
    (void)state;
    qn_progress p;
    qn_progress_start(&p, 1000, 1, "tok", 3600, 0);
    for (int step = 901; step <= 910; step++) qn_progress_step(&p, step, 0.9, 1, 1e-4, 500, 0, step - 900);
    assert_true(fabs(qn_progress_left(&p) - 90) < 1e-6);
    assert_true(fabs(qn_progress_speed(&p) - 500) < 1e-6);
    assert_true(fabs(qn_progress_elapsed(&p, 10) - 3610) < 1e-6);
}

// Protects: plain lines come at the first step, every N seconds and at the end, not at every step.
static void due_every_interval(void **state) {
    (void)state;
    qn_progress p;
    qn_progress_start(&p, 100, 1, "tok", 0, 0);
    int lines = 0;
    for (int step = 1; step <= 100; step++) {
        qn_progress_step(&p, step, 0, 1, 1e-4, 1, 0, step);
        lines += qn_progress_due(&p, 30, step);
    }
    assert_int_equal(lines, 5); // at 1, 31, 61, 91 and 100
}

// Protects: the smoothed loss is unbiased at the start and ignores a NaN step.
static void loss_is_smoothed(void **state) {
    (void)state;
    qn_progress p;
    qn_progress_start(&p, 0, 0, "tok", 0, 0);
    assert_true(isnan(qn_progress_loss(&p)));
    qn_progress_step(&p, 1, 0, 4, 0, 0, 0, 1);
    assert_true(fabs(qn_progress_loss(&p) - 4) < 1e-12);
    qn_progress_step(&p, 2, 0, NAN, 0, 0, 0, 2);
    assert_true(fabs(qn_progress_loss(&p) - 4) < 1e-12);
    qn_progress_step(&p, 3, 0, 2, 0, 0, 0, 3);
    assert_true(qn_progress_loss(&p) > 2.9 && qn_progress_loss(&p) < 3);
}

// Protects: rounding at the borders of units.
static void number_forms(void **state) {
    (void)state;
    const struct {
        void (*format)(double, qn_buffer *);
        double value;
        const char *text;
    } cases[] = {
        {qn_format_duration, 0, "0:00"},
        {qn_format_duration, 59.6, "1:00"},
        {qn_format_duration, 3661, "1:01:01"},
        {qn_format_duration, 1e6, "11d13h"},
        {qn_format_duration, NAN, "?"},
        {qn_format_short, 0, "0.00"},
        {qn_format_short, 999.4, "999"},
        {qn_format_short, 999.6, "1.00k"},
        {qn_format_short, 9.996, "10.0"},
        {qn_format_short, 24123, "24.1k"},
        {qn_format_bytes, 999999, "1.00 MB"},
        {qn_format_bytes, 1.5e9, "1.50 GB"},
        {qn_format_short, -1, "?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_buffer text = {0};
        cases[i].format(cases[i].value, &text);
        assert_string_equal(text.data, cases[i].text);
        qn_buffer_free(&text);
    }
    qn_buffer text = {0};
    qn_format_count(1234567, &text);
    qn_buffer_char(&text, ' ');
    qn_format_count(-123, &text);
    qn_buffer_char(&text, ' ');
    qn_format_count(1000, &text);
    assert_string_equal(text.data, "1,234,567 -123 1,000");
    qn_buffer_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_line),
        cmocka_unit_test(steady_lines_allocate_nothing),
        cmocka_unit_test(terminal_line_fits),
        cmocka_unit_test(unknown_totals),
        cmocka_unit_test(resume_keeps_estimates),
        cmocka_unit_test(due_every_interval),
        cmocka_unit_test(loss_is_smoothed),
        cmocka_unit_test(number_forms),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
