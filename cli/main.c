// quern: finds the command, runs it, and sees that all of its output arrived.
#include "cli/cli.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_ENTRY(name) &command_##name,
const command *const commands[] = {COMMAND_MAP(COMMAND_ENTRY) NULL};
#undef COMMAND_ENTRY

static int argument_count;
static char **argument_values;

int failed(void) {
    fprintf(stderr, "quern: %s\n", qn_last_error());
    return 1;
}

int fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("quern: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return 1;
}

static bool is_plain(const char *text) {
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+.,:/@%";
    return *text && text[strspn(text, safe)] == 0;
}

const char *command_line(void) {
    static char *line;
    if (line) return line;
    size_t size = 1;
    for (int i = 0; i < argument_count; i++) size += 4 * strlen(argument_values[i]) + 3;
    char *out = line = malloc(size);
    if (!line) return "";
    for (int i = 0; i < argument_count; i++) {
        const char *text = argument_values[i];
        if (i) *out++ = ' ';
        if (is_plain(text)) {
            out = stpcpy(out, text);
            continue;
        }
        *out++ = '\'';
        for (; *text; text++) {
            if (*text == '\'')
                out = stpcpy(out, "'\\''");
            else
                *out++ = *text;
        }
        *out++ = '\'';
    }
    *out = 0;
    return line;
}

static void print_warning(void *user, qn_log_level level, const char *message) {
    (void)user;
    if (level >= QN_LOG_WARNING) fprintf(stderr, "quern: warning: %s\n", message);
}

// ---- quern help ----------------------------------------------------------------------------------------------------

typedef struct {
    list names;
} settings;

static const option options[] = {ARGUMENTS(settings, names, "COMMAND"), {0}};

static int run(const void *memory) {
    const list *names = &((const settings *)memory)->names;
    char path[256] = "quern";
    const command *self = NULL;
    const command *const *table = commands;
    for (size_t i = 0; i < names->count; i++) {
        if (!table) return wrong_usage("%s has no commands of its own", path);
        self = find_command(table, path, names->items[i]);
        if (!self) return 2;
        table = self->children;
        size_t used = strlen(path);
        snprintf(path + used, sizeof path - used, " %s", self->name);
    }
    print_help(self, path);
    return 0;
}

const command command_help = {.name = "help",
                              .help = "Explains a command.",
                              .example = "quern help embed",
                              .options = options,
                              .size = sizeof(settings),
                              .run = run};

int main(int argc, char **argv) {
    // A closed pipe and a full quota are write errors, which are reported, not signals that kill without a word.
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    argument_count = argc;
    argument_values = argv;
    qn_set_log(print_warning, NULL);
    int status = 0;
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(NULL, "quern");
        status = argc < 2 ? 2 : 0;
    } else if (!strcmp(argv[1], "--version")) {
        printf("quern %s\n", qn_version());
    } else {
        const command *self = find_command(commands, "quern", argv[1]);
        if (!self) return 2;
        char path[256];
        snprintf(path, sizeof path, "quern %s", self->name);
        status = run_command(self, path, argc - 2, argv + 2);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) status = fail("standard output: %s", strerror(errno));
    return status;
}
