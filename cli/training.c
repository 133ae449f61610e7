// See training.h.
#include "cli/training.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t stop_requested;

// The first signal asks for a checkpoint; the second one ends the process.
static void on_signal(int number) {
    stop_requested = 1;
    signal(number, SIG_DFL);
}

static bool stop(void *user) {
    (void)user;
    return stop_requested != 0;
}

typedef struct {
    int width; // of the terminal; 0: none
    bool open; // a progress line stands on the terminal
} screen;

static void on_step(void *user, const qn_training_step *step) {
    screen *s = user;
    if (s->width)
        fprintf(stderr, "\r\033[K%s", step->line);
    else
        fprintf(stderr, "%s\n", step->line);
    s->open = s->width > 0;
    fflush(stderr);
}

void print_line(void *user, const char *message) {
    screen *s = user;
    fprintf(stderr, "%s%s\n", s->open ? "\r\033[K" : "", message);
    s->open = false;
}

static int terminal_width(void) {
    struct winsize size;
    if (!isatty(STDERR_FILENO)) return 0;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static bool unicode(void) {
    const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strstr(value, "UTF-8") || strstr(value, "utf8");
    }
    return false;
}

int run_training(const training_settings *settings, qn_status (*train)(const qn_training *, char **)) {
    qn_training t = settings->training;
    screen s = {terminal_width(), false};
    size_t count = settings->files.count + settings->more_files.count;
    const char **files = calloc(count ? count : 1, sizeof *files);
    if (!files) return fail("out of memory");
    for (size_t i = 0; i < settings->files.count; i++) files[i] = settings->files.items[i];
    for (size_t i = 0; i < settings->more_files.count; i++)
        files[settings->files.count + i] = settings->more_files.items[i];
    t.train = files;
    t.train_count = count;
    t.command = command_line();
    if (settings->checkpoint)
        t.resume = settings->checkpoint;
    else if (settings->resume)
        t.resume = "";
    t.stop = stop;
    t.user = &s;
    if (!settings->quiet) {
        t.on_step = on_step;
        t.on_message = print_line;
        t.progress_width = s.width;
        t.progress_unicode = unicode();
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    char *json = NULL;
    qn_status status = train(&t, &json);
    if (s.open) fputc('\n', stderr);
    free(files);
    if (status != QN_OK) return failed();
    if (!settings->quiet) fprintf(stderr, "report: %s/report.html\n", t.output);
    printf("%s\n", json);
    free(json);
    return 0;
}
